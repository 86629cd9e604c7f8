"""The tokenizer: the merges and ids of the `tokenizers` library, and every text comes back."""

import json
import random
import time

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Tokenizer

from mmcourse.data.glosses import lines
from mmcourse.text import PATTERN, BPETokenizer, WordTokenizer
from mmcourse.text.bpe import BYTES, LETTERS, byte_letters, merge, replace

SPECIAL = ("<pad>", "<mask>")
MIXED = (
    ["low low low low low lower lower newest newest newest widest"] * 2
    + [
        "猫坐在垫子上。" * 3,
        "猫和狗",
        "12 345 6789 1,000.50",
        "it's we'll they've I'd you're I'm don't",
    ]
    + ["a  b   c\n\n\td \n", "🐈‍⬛ 👩‍👩‍👧 e\u0301 é", "aaaaaaaa aaa aa a", "   ", "ababab abab"]
)
HARD = [
    "",
    " ",
    "a",
    "\x00\x01\x7f\x85\xa0\u2028\u3000\ufeff",
    "\ud800",
    "x\udfffy\ud83d\ude00",
    "🐈‍⬛👩‍👩‍👧🇩🇪🏳️‍🌈",
    "e\u0301o\u0308\u0327 ﷽ ẞ ǅ",
    "नमस्ते สวัสดี ሰላም 你好 こんにちは 안녕 שלום",
    "x" * 1000,
    " \n\t  \r\n trailing  ",
    "<pad><mask> [MASK] </s>",
    "'s 't 're 've 'm 'll 'd 'S 'x ''s",
    "½ ² Ⅻ ٣ 一二三 1e10",
]


def corpus():
    return MIXED + lines("val")[:800]


def reference(texts, size, special=(), min_count=2):
    """A tokenizer of the `tokenizers` library, trained with the same settings."""
    theirs = Tokenizer(models.BPE())
    theirs.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    theirs.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=min_count,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    theirs.train_from_iterator(texts, trainer)
    return theirs


@pytest.fixture(scope="module")
def ours():
    return BPETokenizer.train(corpus(), 700, special=SPECIAL)


def as_letters(token):
    return "".join(LETTERS[byte] for byte in token)


def same(ours, theirs):
    """Merges and vocabulary agree."""
    merges = json.loads(theirs.to_str())["model"]["merges"]
    found = [[as_letters(left), as_letters(right)] for left, right in ours.learnt()]
    assert found == merges
    named = ours.special.values()
    vocabulary = {
        (token.decode() if number in named else as_letters(token)): number
        for number, token in enumerate(ours.tokens)
    }
    assert vocabulary == theirs.get_vocab()


@pytest.mark.parametrize(
    ("size", "special", "min_count"),
    [(256, (), 2), (300, (), 2), (700, SPECIAL, 2), (900, ("<s>",), 1), (5000, (), 3)],
)
def test_training_equals_tokenizers(size, special, min_count):
    ours = BPETokenizer.train(corpus(), size, special=special, min_count=min_count)
    theirs = reference(corpus(), size, special, min_count)
    same(ours, theirs)
    for text in corpus():
        assert ours.encode(text) == theirs.encode(text, add_special_tokens=False).ids


def test_training_equals_tokenizers_on_all_validation_glosses():
    texts = lines("val")
    same(BPETokenizer.train(texts, 2000), reference(texts, 2000))


def test_training_equals_tokenizers_where_all_ties():
    rng = random.Random(0)
    texts = ["".join(rng.choice("ab ") for _ in range(40)) for _ in range(30)]
    same(BPETokenizer.train(texts, 330), reference(texts, 330))
    runs = ["a" * n + " " + "ab" * n for n in range(1, 30)]
    same(BPETokenizer.train(runs, 300, min_count=1), reference(runs, 300, (), 1))
    for texts in (["ab ab"], ["aaa aaaa"]):  # until nothing is left to be joined
        same(BPETokenizer.train(texts, 300, min_count=0), reference(texts, 300, (), 0))


def test_three_merges_by_hand():
    words = ["hug"] * 4 + ["pug"] * 3 + ["bun"] * 2 + ["hugs"]
    tokenizer = BPETokenizer.train(words, 259)
    assert tokenizer.learnt() == [(b"u", b"g"), (b"h", b"ug"), (b"p", b"ug")]
    assert [tokenizer.tokens[number] for number in tokenizer.encode("pugs")] == [b"pug", b"s"]


@pytest.mark.parametrize("text", HARD)
def test_hard_texts_come_back(ours, text):
    assert ours.decode(ours.encode(text)) == text


def test_any_text_comes_back(ours):
    rng = random.Random(1)
    ranges = [(0, 0x250), (0x300, 0x370), (0x4E00, 0x9FFF), (0xD800, 0xE000), (0x1F300, 0x1FAFF)]
    ranges += [(0, 0x110000)]
    for _ in range(2000):
        low, high = rng.choice(ranges)
        text = "".join(chr(rng.randrange(low, high)) for _ in range(rng.randrange(12)))
        assert ours.decode(ours.encode(text)) == text


def test_every_character_comes_back(ours):
    for start in range(0, 0x110000, 0x1000):
        text = "".join(map(chr, range(start, start + 0x1000)))
        assert ours.decode(ours.encode(text)) == text


def test_pieces_join_to_the_text():
    for text in HARD:
        assert "".join(PATTERN.findall(text)) == text


def test_random_texts_have_the_ids_of_tokenizers(ours):
    theirs = reference(corpus(), 700, SPECIAL)
    rng = random.Random(2)
    letters = "aabehilnorst  .,'0123\n\t猫狗é🐈"
    for _ in range(2000):
        text = "".join(rng.choice(letters) for _ in range(rng.randrange(40)))
        assert ours.encode(text) == theirs.encode(text, add_special_tokens=False).ids


def test_a_megabyte_of_one_letter_takes_seconds(ours):
    text = "a" * 1_000_000
    start = time.process_time()
    ids = ours.encode(text)
    assert time.process_time() - start < 5
    assert ours.decode(ids) == text
    theirs = reference(corpus(), 700, SPECIAL)
    assert ours.encode(text[:2001]) == theirs.encode(text[:2001]).ids


def test_transformers_gpt2_has_the_same_ids(tmp_path):
    """GPT-2's files, made from merges of our own: both load them and agree."""
    trained = reference(corpus(), 800)
    trained.model.save(str(tmp_path))
    vocabulary = json.loads((tmp_path / "vocab.json").read_text())
    vocabulary["<|endoftext|>"] = len(vocabulary)
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    (tmp_path / "two").mkdir()
    for file in ("vocab.json", "merges.txt"):
        (tmp_path / "two" / file).write_text((tmp_path / file).read_text())
    theirs = GPT2Tokenizer.from_pretrained(tmp_path)
    theirs.save_pretrained(tmp_path / "saved")
    for folder in (tmp_path / "two", tmp_path / "saved"):
        ours = BPETokenizer.from_transformers(folder)
        assert ours.special == {"<|endoftext|>": len(vocabulary) - 1}
        assert len(ours) == len(theirs)
        for text in [*corpus(), *HARD]:
            if not any("\ud800" <= letter <= "\udfff" for letter in text):
                assert ours.encode(text) == theirs.encode(text, add_special_tokens=False)
                assert theirs.decode(ours.encode(text), clean_up_tokenization_spaces=False) == text


def test_tokenizer_of_another_kind_is_refused(tmp_path):
    trained = reference(corpus(), 400)
    path = tmp_path / "tokenizer.json"
    trained.save(str(path))
    BPETokenizer.from_transformers(tmp_path)
    whole = json.loads(path.read_text())
    changes = {
        "type": lambda c: c["model"].update(type="WordPiece"),
        "normalizer": lambda c: c.update(normalizer={"type": "NFC"}),
        "pre_tokenizer": lambda c: c.update(pre_tokenizer=None),
        "add_prefix_space": lambda c: c["pre_tokenizer"].update(add_prefix_space=True),
        "use_regex": lambda c: c["pre_tokenizer"].update(use_regex=False),
        "id": lambda c: c["model"]["vocab"].update({"a": 5}),
        "damaged": lambda c: c["model"]["merges"].reverse(),
        "byte": lambda c: c["model"]["merges"].append(["猫", "a"]),
    }
    for word, change in changes.items():
        content = json.loads(json.dumps(whole))
        change(content)
        path.write_text(json.dumps(content))
        with pytest.raises(ValueError, match="kind|damaged|byte") as error:
            BPETokenizer.from_transformers(tmp_path)
        assert word in str(error.value) or word == "type"
    path.unlink()
    with pytest.raises(ValueError, match=r"merges\.txt"):
        BPETokenizer.from_transformers(tmp_path)


def test_saved_and_loaded(ours, tmp_path):
    ours.save(tmp_path / "t.json")
    again = BPETokenizer.load(tmp_path / "t.json")
    assert again.tokens == ours.tokens
    assert again.merges == ours.merges
    assert list(again.merges) == list(ours.merges)
    assert again.special == ours.special == {"<pad>": 0, "<mask>": 1}


def test_a_file_of_another_version_is_refused(ours, tmp_path):
    path = tmp_path / "t.json"
    ours.save(path)
    whole = json.loads(path.read_text(encoding="utf-8"))
    for change in ({"version": 2}, {"format": "other"}, {"version": None}):
        path.write_text(json.dumps(whole | change))
        with pytest.raises(ValueError, match="expected .*mmcourse-bpe.*1"):
            BPETokenizer.load(path)
    path.write_text("[1]")
    with pytest.raises(ValueError, match="expected"):
        BPETokenizer.load(path)
    path.write_text("no json")
    with pytest.raises(ValueError, match="no JSON"):
        BPETokenizer.load(path)
    path.write_text(json.dumps(whole | {"merges": [["a", "zz"]]}))
    with pytest.raises(ValueError, match="damaged"):
        BPETokenizer.load(path)
    path.write_text(json.dumps(whole | {"special": {"<a>": 9999}}))
    with pytest.raises(ValueError, match="special"):
        BPETokenizer.load(path)
    path.write_text(json.dumps(whole | {"special": {"<a>": 3, "<b>": 3}}))
    with pytest.raises(ValueError, match="special"):
        BPETokenizer.load(path)


def test_merges_that_make_no_new_token_are_refused():
    for merges in (
        [(b"a", b"b")] * 2,
        [(b"a", b"bc")],
        [(b"a", b"b"), (b"ab", b"c"), (b"a", b"bc")],
    ):
        with pytest.raises(ValueError, match="damaged"):
            BPETokenizer(merges)


def test_bad_input_of_training():
    for texts in ([], [""], ["", ""]):
        with pytest.raises(ValueError, match="no character"):
            BPETokenizer.train(texts, 300)
    with pytest.raises(ValueError, match="at least 256"):
        BPETokenizer.train(["a"], 255)
    with pytest.raises(ValueError, match="at least 258"):
        BPETokenizer.train(["a"], 257, special=SPECIAL)
    with pytest.raises(TypeError, match="list of strings"):
        BPETokenizer.train("a text", 300)


def test_ids_outside_are_refused(ours):
    for number in (-1, len(ours)):
        with pytest.raises(ValueError, match=f"no id {number}"):
            ours.decode([5, number])


def test_a_cut_character_becomes_a_sign(ours):
    ids = ours.encode("\u0f40")
    assert len(ids) > 1
    assert ours.decode(ids[:-1]) == "\ufffd"


def test_special_tokens_are_not_read_from_a_text(ours):
    ids = ours.encode("<mask>")
    assert not set(ids) & {0, 1}
    assert ours.decode([1]) == ours.decode(ids) == "<mask>"


def test_bytes_have_printable_letters():
    letters = byte_letters()
    assert list(letters.values()) == sorted(letters.values())
    assert len(BYTES) == 256 and set(letters) == set(range(256))
    assert letters[32] == "Ġ" and letters[ord("a")] == "a" and letters[10] == "Ċ"


def plain_merge(ids, merges):
    """One pair after the other, by looking at all of them each time."""
    ids = list(ids)
    while True:
        known = [merges[pair] for pair in zip(ids, ids[1:], strict=False) if pair in merges]
        if not known:
            return ids
        pair = next(pair for pair, number in merges.items() if number == min(known))
        ids = list(replace(tuple(ids), pair, min(known)))


def test_fast_merging_equals_the_plain_one():
    rng = random.Random(3)
    for _ in range(300):
        merges = {}
        for new in range(3, 14):
            pair = (rng.randrange(new), rng.randrange(new))
            merges.setdefault(pair, new)
        ids = [rng.randrange(3) for _ in range(rng.randrange(30))]
        assert merge(ids, merges) == plain_merge(ids, merges)


def test_words():
    words = WordTokenizer(["a", "cat", "the"])
    assert len(words) == 4
    assert words.encode("The cat, a DOG!") == [3, 2, 1, 0]
    assert words.decode([3, 2, 1, 0]) == "the cat a <unknown>"
    assert words.encode("") == []
    with pytest.raises(ValueError, match="differ"):
        WordTokenizer(["a", "a"])
    with pytest.raises(ValueError, match="differ"):
        WordTokenizer(["<unknown>"])
