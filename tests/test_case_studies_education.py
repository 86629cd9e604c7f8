"""The case study of education: BM25 against its formula, the snapshot, ranks, refusal."""

import gzip
import json
import math

import numpy as np
import pytest
import torch

from mmcourse.case_studies import education
from mmcourse.case_studies.education import (
    BM25,
    OUTSIDE,
    WordBag,
    embed,
    fuse_ranks,
    learn_from_pages,
    load_course,
    rank_of_page,
    threshold_for,
    words_of,
)
from mmcourse.hub import load_tokenizer
from mmcourse.recipes import case_course
from mmcourse.text import TextEncoder, mean_of_tokens

TEXT = """\
# ---
# jupyter:
#   course: {notebook: notebooks/05_vision.ipynb}
# ---

# %% [markdown]
# # Vision
#
# A picture is cut into {term}`patches <patch>`, {glue:text}`n:.0f` of them,
# as {cite:t}`tan2019` say.
#
# ```{glue:figure} opening
# :name: fig-a
# :alt: A dog.
# The *scene*.
# ```
#
# ```sh
# # no heading
# ```

# %% mystnb={"figure": {"caption": "Rows are \\"words\\".", }, "image": {"alt": "Stripes."}}
draw()

# %% [markdown]
# ## Pooling
#
# Means [lose](a.md) places.
#
# ## Quiz
#
# ::::::{card}
# :class-card: quiz
# **1.** What does a mean lose?
#
# :::{dropdown} Places
# **Yes.** All of them.
# :::
# :::{dropdown} Colours
# **No.** They stay.
# :::
# ::::::
#
# ## Further reading
#
# - nothing
"""


def plainly(question, texts, k1=1.2, b=0.75):
    """BM25 as its formula stands, word by word and passage by passage."""
    documents = [words_of(text) for text in texts]
    mean = sum(map(len, documents)) / len(documents)
    found = []
    for document in documents:
        total = 0.0
        for word in set(words_of(question)):
            n = sum(word in other for other in documents)
            if n:
                idf = math.log(1 + (len(documents) - n + 0.5) / (n + 0.5))
                times = document.count(word)
                room = k1 * (1 - b + b * len(document) / mean)
                total += idf * times * (k1 + 1) / (times + room)
        found.append(total)
    return found


@pytest.mark.parametrize(
    "count, length, k1, b", [(1, 3, 1.2, 0.75), (7, 5, 2.0, 0.0), (13, 9, 0.5, 1.0)]
)
def test_bm25_is_its_formula(count, length, k1, b):
    rng = np.random.default_rng(count)
    pool = ["dog", "cat", "bird", "fish", "horse", "snail"]
    texts = [" ".join(rng.choice(pool, rng.integers(1, length + 1))) for _ in range(count)]
    for question in ("dog cat", "snail", "dog dog whale"):
        expected = plainly(question, texts, k1, b)
        assert BM25(texts, k1, b).scores(question) == pytest.approx(expected, abs=1e-9)


def test_bm25_takes_no_notice_of_order_common_words_and_plurals():
    texts = ["two dogs and a cat", "the bird of the tree", "a class of fish"]
    search = BM25(texts)
    turned = BM25(texts[::-1]).scores("dog tree")
    assert search.scores("tree dog") == pytest.approx(turned[::-1])
    assert search.scores("What is the dog of?") == pytest.approx(search.scores("dogs"))
    assert words_of("The classes, a class!") == ["classe", "class"]
    assert not search.scores("whale").any() and search.confidence("the of") == 0
    assert search.confidence("dog") > search.confidence("dog whale") > 0


def test_bm25_says_what_it_cannot_index():
    with pytest.raises(TypeError, match="put it into a list"):
        BM25("one text")
    for texts in ([], ["the of", ""]):
        with pytest.raises(ValueError, match="expected texts with words"):
            BM25(texts)


def test_ranks_are_fused_by_their_reciprocals():
    first, second = np.array([3.0, 2.0, 1.0]), np.array([0.0, 5.0, 1.0])
    expected = [1 / 61 + 1 / 63, 1 / 62 + 1 / 61, 1 / 63 + 1 / 62]
    assert fuse_ranks(first, second) == pytest.approx(expected)
    with pytest.raises(ValueError, match="one shape"):
        fuse_ranks(first, second[:2])


def test_the_rank_of_a_page_is_that_of_its_best_passage_and_ties_count_against_it():
    passages = [education.Passage(page, page, "", "text", "") for page in "aabbc"]
    assert rank_of_page([1, 9, 3, 2, 5], passages, "a") == 1
    assert rank_of_page([1, 2, 3, 2, 5], passages, "b") == 2
    assert rank_of_page([0, 0, 0, 0, 0], passages, "c") == 3
    with pytest.raises(ValueError, match="no passage of the page 'd'"):
        rank_of_page([1, 2, 3, 2, 5], passages, "d")


def test_a_threshold_refuses_the_share_that_was_asked_for():
    scores = np.arange(100.0)
    assert (scores < threshold_for(scores, 0.9)).mean() == pytest.approx(0.9)
    for scores, share in (([], 0.9), ([1.0], 1.0)):
        with pytest.raises(ValueError, match="expected scores and a share"):
            threshold_for(scores, share)


def test_a_text_is_embedded_as_its_mean_whatever_stands_beside_it():
    tokenizer = load_tokenizer("text")
    torch.manual_seed(0)
    encoder = TextEncoder(len(tokenizer), 12, 1, 3, 8).eval()
    texts = ["a dog", "a cat on a mat", "bird"]
    found = embed(texts, encoder, tokenizer, window=8, batch=2)
    for text, row in zip(texts, found, strict=True):
        ids = torch.tensor([tokenizer.encode(text)])
        with torch.no_grad():
            mean = mean_of_tokens(encoder(ids))[0]
        assert row == pytest.approx((mean / mean.norm()).numpy(), abs=1e-5)
    long = "one two three four five six seven eight nine ten"
    assert embed([long], encoder, tokenizer, window=8).shape == (1, 12)
    assert embed(["", "a dog"], encoder, tokenizer, window=8)[1] == pytest.approx(
        found[0], abs=1e-5
    )


def test_a_long_text_is_the_mean_of_all_its_tokens_whatever_the_last_window_holds():
    tokenizer = load_tokenizer("text")
    torch.manual_seed(0)
    encoder = TextEncoder(len(tokenizer), 12, 1, 3, 8).eval()
    long = "a dog and a cat on a mat and a bird in a tree"
    ids = tokenizer.encode(long)
    assert len(ids) > 8 and len(ids) % 8
    with torch.no_grad():
        pieces = [encoder(torch.tensor([ids[at : at + 8]]))[0] for at in range(0, len(ids), 8)]
    mean = torch.cat(pieces).mean(0)
    found = embed([long], encoder, tokenizer, window=8)[0]
    assert found == pytest.approx((mean / mean.norm()).numpy(), abs=1e-5)


def test_a_bag_of_words_is_a_weighted_sum_without_padding():
    torch.manual_seed(0)
    bag = WordBag(9, 5)
    with torch.no_grad():
        bag.weights.normal_()
        found = bag([[1, 2, 2], [3]])
        total = sum(bag.weights[i].exp() * bag.vectors.weight[i] for i in (1, 2, 2))
    assert found[0].numpy() == pytest.approx((total / total.norm()).numpy(), abs=1e-5)
    assert torch.allclose(bag([[3]])[0], found[1], atol=1e-6)


def test_the_rate_of_learning_falls_in_a_line(monkeypatch):
    rates, step = [], torch.optim.Adam.step
    monkeypatch.setattr(
        torch.optim.Adam,
        "step",
        lambda self, *rest: rates.append(self.param_groups[0]["lr"]) or step(self, *rest),
    )
    texts = ["The dog is old. We saw a castle.", "A piano plays. My lemon fell."]
    learn_from_pages(texts, load_tokenizer("text"), steps=4, rate=0.1)
    assert rates == pytest.approx([0.1, 0.075, 0.05, 0.025])


def test_the_sentence_that_is_asked_for_is_taken_out_of_its_passage(monkeypatch):
    read, forward = [], WordBag.forward
    monkeypatch.setattr(
        WordBag, "forward", lambda self, rows: read.append(rows) or forward(self, rows)
    )
    texts = ["The dog is old. We saw a castle. Rivers run.", "A piano plays. My lemon fell."]
    tokenizer = load_tokenizer("text")
    learn_from_pages(texts, tokenizer, steps=4)
    wholes = []
    for text in texts:
        sentences = [f" {part.strip()}." for part in text.strip(".").split(".")]
        wholes.append(sum(map(tokenizer.encode, sentences), []))
    assert len(read) == 8
    for questions, answers in zip(read[::2], read[1::2], strict=True):
        for question, answer in zip(questions, answers, strict=True):
            assert question and answer and sorted(question + answer) in map(sorted, wholes)


def test_learning_from_pages_finds_the_passage_of_a_sentence():
    tokenizer = load_tokenizer("text")
    nouns = ["dog", "castle", "river", "piano", "lemon", "rocket", "winter", "mirror"]
    texts = [f"The {noun} is old. We saw a {noun}. That {noun} again." for noun in nouns]
    model = learn_from_pages(texts, tokenizer, steps=30, batch=8)
    with torch.no_grad():
        asked = model([tokenizer.encode(f" which {noun}") for noun in nouns])
        found = asked @ model([tokenizer.encode(text) for text in texts]).T
    assert found.argmax(1).tolist() == list(range(len(nouns)))
    with pytest.raises(ValueError, match="two sentences or more"):
        learn_from_pages(["one", "two"], tokenizer)


# The snapshot ----------------------------------------------------------------------------------


def test_a_text_becomes_passages_and_questions(tmp_path):
    (tmp_path / "05_vision.py").write_text(TEXT, encoding="utf-8")
    (tmp_path / "case_own.py").write_text(TEXT, encoding="utf-8")
    case_course.write(tmp_path, tmp_path / "course.json.gz")
    passages, questions = load_course(tmp_path / "course.json.gz")
    rows = [(p.section, p.kind, p.text) for p in passages]
    assert rows == [
        ("", "figure", "The scene . A dog."),
        ("", "figure", 'Rows are "words". Stripes.'),
        ("", "text", "A picture is cut into patches , of them, as say."),
        ("Pooling", "text", "Means lose places."),
        ("Quiz", "quiz", rows[4][2]),
    ]
    assert "All of them." in rows[4][2] and {p.title for p in passages} == {"Vision"}
    assert passages[3].source == "Vision, Pooling" and passages[0].source == "Vision"
    assert questions == [("05_vision", "What does a mean lose?", ("Places", "Colours"))]


def test_long_sections_are_cut_and_short_paragraphs_joined():
    packed = case_course.pack(["a " * 50, "b " * 20, "c " * 170])
    assert [len(text.split()) for text in packed] == [70, 80, 80, 10]


def test_a_folder_without_quizzes_is_refused(tmp_path):
    with pytest.raises(ValueError, match="give the folder book/chapters"):
        case_course.read_folder(tmp_path)


def damaged(whole):
    row = ["a", "A", "", "poem", "text"]
    strange = json.dumps({"passages": [row], "questions": [["a", "b", []]]}).encode()
    return {
        "cut": whole[: len(whole) // 2],
        "empty": b"",
        "other": gzip.compress(b"[1]"),
        "words": b"no gzip at all",
        "strange": gzip.compress(strange),
    }


@pytest.mark.parametrize("how", ["cut", "empty", "other", "words", "strange"])
def test_a_damaged_snapshot_is_refused_in_words(tmp_path, how):
    path = tmp_path / "course.json.gz"
    path.write_bytes(damaged(education.SNAPSHOT.read_bytes())[how])
    with pytest.raises(ValueError, match="case_course book/chapters makes it"):
        load_course(path)


def test_a_missing_snapshot_is_refused_in_words(tmp_path):
    with pytest.raises(FileNotFoundError, match="found no file: python -m"):
        load_course(tmp_path / "course.json.gz")


def test_the_shipped_snapshot_keeps_questions_out_of_what_is_searched():
    passages, questions = load_course()
    assert len(questions) > 80 and len(passages) > 1500
    index = " ".join(p.text for p in passages if p.kind != "quiz")
    assert {q.page for q in questions} <= {p.page for p in passages if p.kind != "quiz"}
    repeated = [q.text for q in questions if q.text in index]
    assert repeated == []
    assert all(len(p.text.split()) <= 80 for p in passages if p.kind != "figure")
    assert all(text not in index for texts in OUTSIDE.values() for text in texts)


def test_shared_words_find_pages_and_the_quiz_leaks():
    passages, questions = load_course()
    shares = []
    for found in ([p for p in passages if p.kind != "quiz"], passages):
        search = BM25([f"{p.title} {p.section} {p.text}" for p in found])
        ranks = [rank_of_page(search.scores(q.text), found, q.page) for q in questions]
        shares.append(np.mean(np.array(ranks) == 1))
    assert 0.4 < shares[0] < 0.9 < shares[1]
