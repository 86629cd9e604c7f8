"""Scores of captions: against values worked out by hand, and against ``pycocoevalcap``."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from scipy.stats import hmean

from mmcourse.evaluation import (
    bleu,
    bleu_counts,
    bleu_from_counts,
    cider_d,
    clip_score,
    fast,
    ref_clip_score,
    rouge_l,
)
from tests.evaluation.corpora import CORPORA, theirs


@pytest.mark.parametrize(("hypotheses", "references"), CORPORA)
class TestAgainstCOCO:
    @pytest.mark.parametrize("max_order", [1, 2, 3, 4])
    def test_bleu(self, hypotheses, references, max_order):
        expected = theirs(Bleu(max_order), hypotheses, references, verbose=0)
        assert bleu(hypotheses, references, max_order) == expected

    def test_rouge_l(self, hypotheses, references):
        assert rouge_l(hypotheses, references) == theirs(Rouge(), hypotheses, references)

    def test_cider_d(self, hypotheses, references):
        assert cider_d(hypotheses, references) == theirs(Cider(), hypotheses, references)

    @pytest.mark.parametrize(("metric", "scorer"), [(rouge_l, Rouge()), (cider_d, Cider())])
    def test_each_caption(self, hypotheses, references, metric, scorer):
        ids = dict(enumerate(references)), {i: [h] for i, h in enumerate(hypotheses)}
        expected = scorer.compute_score(*ids)[1]
        found = metric(hypotheses, references, each=True)
        assert found.shape == (len(hypotheses),)
        assert found.tolist() == pytest.approx(list(expected), rel=0, abs=1e-12)


class TestBleu:
    def test_by_hand(self):
        # 4 of 5 words, 2 of 4 pairs (a red, red car), 1 of 3 triples, no four in a row; 5 words
        # against 6.
        scores = bleu(["a red car the on"], [["there is a red car on"]])
        shorter = math.exp(1 - 6 / 5)
        assert scores[:3] == pytest.approx(
            [0.8 * shorter, (0.8 * 0.5) ** (1 / 2) * shorter, (0.8 * 0.5 / 3) ** (1 / 3) * shorter]
        )
        assert 0 < scores[3] < 1e-3

    def test_a_word_counts_at_most_as_often_as_in_one_reference(self):
        # Papineni et al., section 2.1: 2 of the 7 words count.
        scores = bleu(
            ["the the the the the the the"],
            [["the cat is on the mat", "there is a cat on the mat"]],
        )
        assert scores[0] == pytest.approx(2 / 7)

    def test_the_closest_reference_gives_the_length_and_of_two_the_shorter(self):
        assert bleu(["a b c d"], [["a b c d x", "a b c d x y z", "a"]], 1) == pytest.approx(
            [math.exp(1 - 5 / 4)]
        )
        assert bleu(["a b c d"], [["a b c d x", "a b c"]], 1) == pytest.approx([1.0])

    def test_counts_are_summed_over_the_corpus(self):
        assert bleu(["a b c", "x"], [["a b c"], ["y"]], 1) == pytest.approx([3 / 4])

    def test_a_perfect_corpus_has_1(self):
        assert bleu(["a b c d", "e f g h i"], [["a b c d", "z"], ["e f g h i"]]) == pytest.approx(
            [1.0] * 4
        )
        assert bleu(["a b c d e"], [["a b c d"]], 1) == pytest.approx(
            [4 / 5]
        )  # longer is not rewarded

    def test_orders(self):
        hypotheses, references = CORPORA[3]
        assert len(bleu(hypotheses, references)) == 4
        assert bleu(hypotheses, references, 6)[:2] == bleu(hypotheses, references, 2)
        for order in (0, -1):
            with pytest.raises(ValueError, match=f"max_order must be at least 1, got {order}"):
                bleu(hypotheses, references, order)

    def test_nothing_said_has_nothing(self):
        assert bleu([""], [["a b"]]) == pytest.approx([0.0] * 4, abs=1e-12)

    def test_counts_by_hand(self):
        counts = bleu_counts(
            ["a red car the on", "x", ""], [["there is a red car on"], ["y z", "x"], ["a b"]], 3
        )
        assert counts.tolist() == [
            [4, 2, 1, 5, 4, 3, 5, 6],
            [1, 0, 0, 1, 0, 0, 1, 1],
            [0, 0, 0, 0, 0, 0, 0, 2],
        ]

    @pytest.mark.parametrize("part", [slice(0, 7), slice(20, 21), slice(3, 40, 2)])
    def test_sums_of_counts_are_all_it_needs(self, part):
        hypotheses, references = CORPORA[3]
        counts = bleu_counts(hypotheses, references)
        assert counts.shape == (40, 10) and counts.dtype == int
        found = bleu_from_counts(counts[part].sum(0))
        assert found == theirs(Bleu(4), hypotheses[part], references[part], verbose=0)


class TestRougeL:
    def test_by_hand(self):
        # In common and in order: a, dog, on (3). P = 3/4, R = 3/5.
        precision, recall = 3 / 4, 3 / 5
        expected = (1 + 1.44) * precision * recall / (recall + 1.44 * precision)
        assert rouge_l(["a dog on grass"], [["a big dog sits on"]]) == pytest.approx(expected)

    def test_precision_and_recall_come_from_the_best_reference_for_each(self):
        # P = 3/3 from the long one, R = 1/1 from the short one.
        assert rouge_l(["a b c"], [["a x b y c z", "b"]]) == pytest.approx(1.0)

    def test_order_counts(self):
        assert rouge_l(["c b a"], [["a b c"]]) == pytest.approx(1 / 3)
        assert rouge_l(["a b c d"], [["b d"]]) == pytest.approx(2.44 * 0.5 / (1 + 1.44 * 0.5))

    def test_mean_over_captions(self):
        assert rouge_l(["a b", "c", ""], [["a b"], ["d"], ["e"]]) == pytest.approx(1 / 3)


class TestCiderD:
    def test_by_hand(self):
        # Two images, each n-gram in one of them, so all weigh log 2. Words a b | a c: cosine
        # 1/2; no pair in common.
        hypotheses, references = ["a b", "x y z u"], [["a c"], ["x y z u"]]
        assert cider_d(hypotheses, references) == pytest.approx((10 / 4 * (1 / 2) + 10) / 2)

    def test_what_every_image_has_weighs_nothing(self):
        assert cider_d(["a b", "a c"], [["a d"], ["a e"]]) == 0.0
        assert cider_d(["a b c d e", "a"], [["a b c d e"], ["f"]]) == pytest.approx(10 / 2)

    def test_a_longer_caption_is_penalised(self):
        # The hypothesis has 6 words more, none of them known: the cosine and exp(-36 / 72) remain.
        found = cider_d(["a q q q q q q", "b"], [["a"], ["c"]])
        assert found == pytest.approx(10 / 4 / math.sqrt(37) * math.exp(-0.5) / 2)

    def test_repeating_a_word_does_not_help(self):
        assert cider_d(["a a", "b"], [["a c"], ["d"]]) < cider_d(["a", "b"], [["a c"], ["d"]])
        # Clipped: the product counts one of the three, the norm all three; two words too many.
        assert cider_d(["a a a", "b"], [["a"], ["c"]]) == pytest.approx(
            10 / 4 / 3 * math.exp(-4 / 72) / 2
        )

    def test_mean_over_references(self):
        assert cider_d(["a b c d", "x"], [["a b c d", "e f g h"], ["y"]]) == pytest.approx(
            10 / 2 / 2
        )

    def test_perfect_captions_have_10_and_a_single_image_0(self):
        captions = [f"{i} a{i} b{i} c{i} d{i}" for i in range(5)]
        assert cider_d(captions, [[caption] for caption in captions]) == pytest.approx(10.0)
        assert cider_d(captions[:1], [captions[:1]]) == 0.0


@pytest.mark.parametrize("metric", [bleu, rouge_l, cider_d, fast.bleu, fast.cider_d])
class TestErrors:
    @pytest.mark.parametrize(
        ("hypotheses", "references"), [("a b", [["a b"]]), (["a b"], "a b"), ("a", "a")]
    )
    def test_a_string_in_place_of_the_list(self, metric, hypotheses, references):
        with pytest.raises(
            TypeError, match="^hypotheses must be a list of strings .* got a string$"
        ):
            metric(hypotheses, references)

    @pytest.mark.parametrize(
        ("hypotheses", "references", "number"),
        [
            (["a", "b"], [["a"], "b"], 1),
            ([["a", "b"]], [["a b"]], 0),
            (["a"], [["a", ["b"]]], 0),
            (["a"], [[None]], 0),
        ],
    )
    def test_what_a_single_caption_has(self, metric, hypotheses, references, number):
        with pytest.raises(TypeError, match=f"even a single one; number {number} has"):
            metric(hypotheses, references)

    @pytest.mark.parametrize(
        ("hypotheses", "references"), [(["a"], [["a"], ["b"]]), (["a", "b"], [["a"]]), ([], [])]
    )
    def test_lengths(self, metric, hypotheses, references):
        message = f"got {len(hypotheses)} hypotheses and {len(references)} lists"
        with pytest.raises(
            ValueError, match=f"one list of references for each hypothesis, .*{message}"
        ):
            metric(hypotheses, references)

    @pytest.mark.parametrize("empty", [[], ["b", ""], ["  "]])
    def test_empty_references(self, metric, empty):
        with pytest.raises(
            ValueError, match="hypothesis 1 needs at least one reference, each with words, got"
        ):
            metric(["a", "b"], [["a"], empty])


class TestClipScore:
    def test_by_hand(self):
        # Cosines 24 / 25, -1 and 0: the length of a feature does not matter, and below 0 is 0.
        found = clip_score([[3, 4], [1, 0], [0, 2]], [[8, 6], [-5, 0], [7, 0]])
        assert found == pytest.approx([2.5 * 0.96, 0.0, 0.0])
        assert clip_score([[3.0, 4.0]], [[8.0, 6.0]], weight=1) == pytest.approx([0.96])
        assert clip_score(
            np.array([[200, 100]], np.uint8), np.array([[200, 100]], np.uint8)
        ) == pytest.approx([2.5])

    @pytest.mark.parametrize(("items", "width", "references"), [(1, 1, 1), (5, 3, 2), (7, 65, 5)])
    def test_against_torch_and_scipy(self, items, width, references):
        torch.manual_seed(items)
        image, text = torch.randn(2, items, width, dtype=torch.double)
        others = torch.randn(items, references, width, dtype=torch.double)
        score = 2.5 * F.cosine_similarity(image, text).clamp(min=0)
        assert clip_score(image, text) == pytest.approx(score.numpy(), rel=0, abs=1e-12)
        assert clip_score(image.float(), text.float()) == pytest.approx(
            score.numpy(), rel=0, abs=1e-5
        )
        closest = F.cosine_similarity(text[:, None], others, dim=-1).max(1).values.clamp(min=0)
        expected = hmean([score.numpy(), closest.numpy()])
        assert ref_clip_score(image, text, others) == pytest.approx(expected, rel=0, abs=1e-12)

    def test_with_references_by_hand(self):
        # CLIPScore 2.5 * 0.8 = 2; the closest of two references has cosine 0.6: 2 * 2 * 0.6 / 2.6.
        found = ref_clip_score([[1, 0]], [[4, 3]], [[[0, 1], [-1, 0]]])
        assert found == pytest.approx([2.4 / 2.6])
        assert ref_clip_score([[1, 0]], [[4, 3]], [[[0, 1]]], weight=1) == pytest.approx(
            [2 * 0.8 * 0.6 / 1.4]
        )

    def test_either_at_zero_gives_zero(self):
        image, text = [[1, 0], [-1, 0], [1, 0]], [[1, 0], [1, 0], [0, 1]]
        assert ref_clip_score(image, text, [[[-1, 0]], [[1, 0]], [[-1, 0]]]).tolist() == [
            0.0,
            0.0,
            0.0,
        ]

    @pytest.mark.parametrize(
        ("first", "second"), [((3,), (3,)), ((2, 3), (2, 4)), ((2, 3), (3, 3)), ((2, 1, 3),) * 2]
    )
    def test_shapes(self, first, second):
        with pytest.raises(
            ValueError, match=r"features must be \(I, D\), a row for each pair, got shapes"
        ):
            clip_score(np.ones(first), np.ones(second))

    @pytest.mark.parametrize("wrong", [0.0, math.nan])
    def test_no_direction(self, wrong):
        good, bad = np.ones((4, 3)), np.ones((4, 3))
        bad[2] = wrong
        for pair in ((good, bad), (bad, good)):
            with pytest.raises(
                ValueError, match="pair 2 has features of length 0 or with NaN; look at the encoder"
            ):
                clip_score(*pair)

    def test_references_of_another_shape(self):
        with pytest.raises(ValueError, match=r"must be \(I, M, D\), got shape \(2, 3\)"):
            ref_clip_score(np.ones((2, 3)), np.ones((2, 3)), np.ones((2, 3)))
        with pytest.raises(ValueError, match=r"features must be \(I, D\)"):
            ref_clip_score(np.ones((2, 3)), np.ones((2, 3)), np.ones((1, 2, 3)))
