"""Calibration: by hand, bin by bin, and against scikit-learn and SciPy."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_auc_score

from mmcourse.evaluation import (
    Reliability,
    auroc,
    ece,
    fit_logistic,
    logistic,
    reliability,
)


def answers(seed, items):
    """Confidences, some of them on the borders of bins, and whether the answers were right."""
    rng = np.random.default_rng(seed)
    confidence = rng.beta(2, 1, items)
    confidence[::5] = rng.integers(0, 11, len(confidence[::5])) / 10
    right = rng.random(items) < confidence**2
    right[:2] = True, False
    return confidence, right


ANSWERS = [answers(0, 7), answers(1, 53), answers(2, 1201)]


def ece_by_loops(confidence, right, bins):
    """From the definition, a bin at a time."""
    total = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = [
            (c, r)
            for c, r in zip(confidence.tolist(), right.tolist(), strict=True)
            if low < c <= high or (number == 0 and c == 0)
        ]
        if inside:
            mean = sum(c for c, _ in inside) / len(inside)
            share = sum(r for _, r in inside) / len(inside)
            total += len(inside) * abs(mean - share)
    return total / len(confidence)


class TestReliability:
    def test_by_hand(self):
        found = reliability(
            [0.1, 0.3, 0.5, 0.9, 0.9, 0.9], [False, True, True, True, True, False], 2
        )
        assert isinstance(found, Reliability)
        assert found.counts.tolist() == [3, 3]
        assert found.confidence.tolist() == pytest.approx([0.3, 0.9])
        assert found.accuracy.tolist() == pytest.approx([2 / 3, 2 / 3])

    def test_a_bin_without_answers_has_no_mean(self):
        found = reliability([0.0, 1.0], [False, True], 3)
        assert found.counts.tolist() == [1, 0, 1]
        assert np.isnan(found.confidence[1]) and np.isnan(found.accuracy[1])
        assert found.confidence[[0, 2]].tolist() == [0, 1]

    @pytest.mark.parametrize("bins", [1, 3, 10, 15])
    @pytest.mark.parametrize(("confidence", "right"), ANSWERS)
    def test_against_sklearn(self, confidence, right, bins):
        found = reliability(confidence, right, bins)
        shares, means = calibration_curve(right, confidence, n_bins=bins)
        filled = found.counts > 0
        assert found.counts.sum() == len(right)
        assert found.accuracy[filled].tolist() == pytest.approx(shares.tolist())
        assert found.confidence[filled].tolist() == pytest.approx(means.tolist())


class TestECE:
    def test_by_hand(self):
        """Half of the answers are 0.3667 off, the other half 0.2333."""
        confidence = [0.1, 0.3, 0.5, 0.9, 0.9, 0.9]
        right = [False, True, True, True, True, False]
        assert ece(confidence, right, 2) == pytest.approx((11 / 30 + 7 / 30) / 2)

    @pytest.mark.parametrize("bins", [1, 3, 10, 15])
    @pytest.mark.parametrize(("confidence", "right"), ANSWERS)
    def test_against_the_definition(self, confidence, right, bins):
        assert ece(confidence, right, bins) == pytest.approx(ece_by_loops(confidence, right, bins))

    def test_too_sure_and_too_modest_do_not_cancel(self):
        confidence = [0.25] * 4 + [0.75] * 4
        assert ece(confidence, [True, False] * 4) == pytest.approx(0.25)

    def test_order_does_not_matter(self):
        confidence, right = ANSWERS[1]
        turned = ece(confidence[::-1], right[::-1])
        assert turned == pytest.approx(ece(confidence, right))

    def test_a_calibrated_confidence_tends_to_zero(self):
        rng = np.random.default_rng(0)
        few, many = (
            [ece(p, rng.random(size) < p) for p in rng.random((20, size))] for size in (100, 10000)
        )
        assert np.mean(few) > 0.05 and np.mean(many) < 0.012


class TestAUROC:
    @pytest.mark.parametrize(("confidence", "right"), ANSWERS)
    def test_against_sklearn(self, confidence, right):
        assert auroc(confidence, right) == pytest.approx(roc_auc_score(right, confidence))

    def test_by_hand(self):
        """Of the six pairs of right and wrong three are in order, and one is a tie."""
        assert auroc([0.9, 0.5, 0.3, 0.5, 0.4], [True, True, True, False, False]) == 3.5 / 6

    def test_any_increasing_function_leaves_it(self):
        confidence, right = ANSWERS[2]
        assert auroc(confidence**3, right) == auroc(confidence, right)


class TestLogistic:
    @pytest.mark.parametrize(("items", "columns"), [(50, 1), (301, 3), (2000, 5)])
    def test_maximum_likelihood_against_scipy(self, items, columns):
        rng = np.random.default_rng(items)
        evidence = rng.normal(size=(items, columns))
        right = rng.random(items) < logistic([0.5, *[1.0] * columns], evidence)

        def loss(weights):
            score = weights[0] + evidence @ weights[1:]
            return np.logaddexp(0, np.where(right, -score, score)).sum()

        theirs = minimize(loss, np.zeros(1 + columns), method="BFGS").x
        assert fit_logistic(evidence, right).tolist() == pytest.approx(theirs.tolist(), abs=1e-3)

    def test_what_it_fits_is_right_on_the_whole(self):
        confidence, right = ANSWERS[2]
        found = logistic(fit_logistic(confidence[:, None], right), confidence[:, None])
        assert found.mean() == pytest.approx(right.mean())
        assert ece(found, right) < ece(confidence, right)

    def test_the_offset_comes_first(self):
        assert logistic([1.0, 2.0, -1.0], [[0.5, 2.0]]) == pytest.approx(1 / 2)

    def test_large_evidence_does_not_overflow(self):
        found = logistic([0.0, 1.0], [[-1e4], [1e4], [math.log(3)]])
        assert found.tolist() == pytest.approx([0, 1, 3 / 4])


@pytest.mark.parametrize(
    ("confidence", "right", "error", "message"),
    [
        ([0.5], [1], TypeError, "must be boolean"),
        ([0.5, 0.2], [True], ValueError, r"got shapes \(2,\) and \(1,\)"),
        ([], np.array([], bool), ValueError, "at least one"),
        ([[0.5]], [[True]], ValueError, "as many confidences"),
        ([1.01], [True], ValueError, "from 0 to 1"),
        ([-0.01], [True], ValueError, "from 0 to 1"),
        ([np.nan], [True], ValueError, "not NaN"),
    ],
)
@pytest.mark.parametrize("function", [reliability, ece, auroc])
def test_bad_input(function, confidence, right, error, message):
    with pytest.raises(error, match=message):
        function(confidence, right)


def test_more_bad_input():
    with pytest.raises(ValueError, match="one bin or more, got 0"):
        ece([0.5], [True], 0)
    with pytest.raises(ValueError, match="one kind only"):
        auroc([0.5, 0.6], [True, True])
    with pytest.raises(ValueError, match="3 right of 3"):
        fit_logistic(np.ones((3, 1)), [True] * 3)
    with pytest.raises(ValueError, match="does not separate"):
        fit_logistic([[0.0], [1.0], [2.0]], [False, True, True])
    with pytest.raises(ValueError, match=r"finite evidence \(N, F\)"):
        fit_logistic([[np.nan]], [True])
