"""What assignment A3 calls right is what the package does, and what COCO's scorers give."""

import math

import numpy as np
import pytest
import torch
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider

from mmcourse import decoding, evaluation
from mmcourse.attention import MultiHeadAttention
from tools.classroom.assignments import FOLDER

FILE = FOLDER / "A3_sentences" / "references.py"
REF = {"np": np}
exec(compile(FILE.read_text(encoding="utf-8"), str(FILE), "exec"), REF)


@pytest.fixture(params=range(4))
def random(request):
    return np.random.default_rng(request.param)


def for_package(model):
    """A3's step(rows) as the package's step(tokens, cache)."""

    def step(tokens, cache):
        cache["rows"] = torch.cat([cache["rows"], tokens], 1) if "rows" in cache else tokens
        return torch.from_numpy(model(cache["rows"].numpy()))

    return step


@pytest.mark.parametrize("k, p", [(9, 1.0), (3, 1.0), (9, 0.7), (5, 0.6), (1, 0.2)])
def test_cuts_are_the_packages(random, k, p):
    logits = 2 * random.normal(size=(4, 9))
    ours = REF["ref_top_p"](REF["ref_top_k"](REF["ref_softmax"](logits, 0.7), k), p)
    theirs = decoding.truncate(torch.from_numpy(logits / 0.7), k, p).softmax(-1).numpy()
    assert np.allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("words, end, longest", [(5, 0, 12), (3, 1, 7), (9, 4, 1)])
def test_greedy_is_the_packages(random, words, end, longest):
    model = REF["ref_model"](random, words)
    row, log_prob = REF["ref_greedy"](model, words - 1, end, longest)
    theirs = decoding.greedy(
        for_package(model), torch.tensor([words - 1]), end=end, max_length=longest
    )
    assert row.tolist() == theirs.tokens[0] and math.isclose(log_prob, theirs.log_prob.item())


def test_draws_have_the_frequencies_of_the_probabilities(random):
    probs = random.dirichlet(np.ones(5))
    drawn = REF["ref_draw"](np.tile(probs, (4000, 1)), random.random(4000))
    assert abs(np.bincount(drawn, minlength=5) / 4000 - probs).max() < 0.03


@pytest.mark.parametrize("beams, alpha", [(1, 0.0), (3, 1.0), (4, 0.6)])
def test_beam_search_is_the_packages_where_greedys_row_does_not_win(random, beams, alpha):
    equal = 0
    for _ in range(10):
        model = REF["ref_model"](random, 5)
        row, score = REF["ref_beams"](model, 4, 0, 6, beams, alpha)
        theirs = decoding.beam_search(
            for_package(model),
            torch.tensor([4]),
            end=0,
            max_length=6,
            beams=beams,
            length_penalty=alpha,
        )
        assert theirs.score.item() > score - 1e-9  # its row more can only help
        equal += theirs.tokens[0] == row.tolist()
    assert equal >= 8


def test_attention_is_the_packages(random):
    layer = MultiHeadAttention(6, 1, bias=False).double().requires_grad_(False)
    layer.output.weight.copy_(torch.eye(6))
    x = random.normal(size=(2, 5, 6))
    ours = REF["ref_whole"](
        x, {name: getattr(layer, name).weight.T.numpy() for name in ("query", "key", "value")}
    )[0]
    assert np.allclose(ours, layer(torch.from_numpy(x), causal=True).numpy(), atol=1e-12)


def test_scores_are_the_packages_and_cocos(random):
    references = [REF["ref_lines"](random, 5, 9, 3) for _ in range(6)]
    hypotheses = [*REF["ref_lines"](random, 5, 9, 5), "a"]
    given = dict(enumerate(references)), {i: [text] for i, text in enumerate(hypotheses)}
    for bleu in (
        evaluation.bleu(hypotheses, references),
        Bleu(4).compute_score(*given, verbose=0)[0],
    ):
        assert np.allclose(REF["ref_bleu"](hypotheses, references, 4), bleu, atol=1e-9)
    counts = [REF["ref_bleu_counts"](*pair, 4) for pair in zip(hypotheses, references, strict=True)]
    assert (counts == evaluation.bleu_counts(hypotheses, references)).all()
    for cider in (
        evaluation.cider_d(hypotheses, references, each=True),
        Cider().compute_score(*given)[1],
    ):
        assert np.allclose(REF["ref_cider"](hypotheses, references), cider, atol=1e-9)


def references_of(name, **names):
    """The reference functions of an assignment."""
    space = {"np": np, **names}
    text = (FOLDER / name / "references.py").read_text(encoding="utf-8")
    exec(compile(text, name, "exec"), space)
    return space


INFINITE = np.array([[0.0, -np.inf, 0.0], [-np.inf, 1e4, -np.inf]])
HALVES = np.array([[0.5, 0.0, 0.5], [0.0, 1.0, 0.0]])


def test_a_reference_takes_what_a_right_answer_may_feed_it():
    """Minus infinity for what is hidden, whole numbers, an empty list of rows, a huge score."""
    a1, a3 = references_of("A1_attention"), REF
    a2 = references_of("A2_caption")
    assert np.array_equal(a1["ref_softmax"](INFINITE), HALVES)
    assert np.array_equal(a3["ref_softmax"](INFINITE), HALVES)
    assert np.allclose(a1["ref_softmax"](np.array([[1, 1]])), 0.5)
    blind = a1["ref_attention"](
        np.ones((1, 2)), np.ones((2, 2)), np.ones((2, 1)), np.array([[0, 1]])
    )
    assert np.array_equal(blind[1], [[0.0, 1.0]]), "a mask of whole numbers"
    rows, words, totals = a3["ref_best"](np.zeros(0), np.zeros((0, 4)), 3)
    assert len(rows) == len(words) == len(totals) == 0 and rows.dtype.kind == "i"
    same = {name: torch.nn.Identity() for name in ("query", "key", "value", "output")}
    context = torch.tensor([[[1.0], [1e6]]])
    hidden = a2["ref_attention"](
        torch.ones(1, 1, 1), context, same, 1, torch.tensor([[True, False]])
    )
    assert hidden.item() == 1.0
    assert a2["ref_attention"](torch.ones(1, 1, 1), context, same, 1).item() == 1e6
