"""Is a confidence of 0.8 right eight times in ten? Reliability, ECE, and how to make it so.

A confidence is a number in [0, 1] that comes with an answer, and the answer turned out right or
wrong. *Calibrated* means: of the answers with confidence p, the share p is right. That says nothing
about how well confidence tells right answers from wrong ones, which :func:`auroc` measures.
"""

from typing import NamedTuple

import numpy as np


class Reliability(NamedTuple):
    """Confidence against truth in bins of one width: what a reliability diagram draws."""

    counts: np.ndarray  #: (bins,) how many answers have a confidence in the bin
    confidence: np.ndarray  #: (bins,) their mean confidence, NaN where there are none
    accuracy: np.ndarray  #: (bins,) the share of them that is right, NaN where there are none


def reliability(confidence, right, bins=10):
    """Sort answers into ``bins`` of one width by their confidence: a :class:`Reliability`.

    ``confidence`` are N numbers in [0, 1], ``right`` N booleans. A bin holds its upper end, and the
    first one 0 as well. Raises TypeError for ``right`` that is not boolean; ValueError for lists
    that do not pair, none, a number outside [0, 1] or NaN, or fewer bins than one.
    """
    confidence, right = _paired(confidence, right)
    if bins < 1:
        raise ValueError(f"expected one bin or more, got {bins}")
    borders = np.arange(1, bins) / bins
    numbers = np.searchsorted(borders, confidence)  # (N,) of the bin of each
    counts = np.bincount(numbers, minlength=bins)
    divisors = np.where(counts > 0, counts, np.nan)  # nothing has no mean
    means = np.bincount(numbers, confidence, minlength=bins) / divisors
    shares = np.bincount(numbers, right, minlength=bins) / divisors
    return Reliability(counts, means, shares)


def ece(confidence, right, bins=10):
    """Expected calibration error: the mean gap between confidence and accuracy (Guo et al. 2017).

    The gap of a bin is the absolute difference of the two, and counts as often as the bin has
    answers. Of few answers even a perfect confidence has an error above 0. Arguments and errors are
    those of :func:`reliability`.
    """
    found = reliability(confidence, right, bins)
    filled = found.counts > 0
    gaps = np.abs(found.confidence - found.accuracy)[filled]
    shares = found.counts[filled] / found.counts.sum()
    return float((shares * gaps).sum())


def auroc(confidence, right):
    """How often a right answer has more confidence than a wrong one; equal ones count half.

    It is the area under the ROC curve: 1/2 for a confidence that knows nothing, 1 for one that
    separates all. Arguments and errors are those of :func:`reliability`; ValueError also when all
    answers are right or all are wrong.
    """
    confidence, right = _paired(confidence, right)
    if right.all() or not right.any():
        raise ValueError("expected right answers and wrong ones, got one kind only")
    ordered = np.sort(confidence[~right])  # of the wrong ones
    below = np.searchsorted(ordered, confidence[right])
    not_above = np.searchsorted(ordered, confidence[right], side="right")
    return float((below + not_above).mean() / 2 / len(ordered))


def fit_logistic(evidence, right, steps=50):
    """Weights with which evidence becomes a probability, by maximum likelihood (Platt 1999).

    ``evidence`` (N, F) are numbers about each answer, ``right`` N booleans. Returns (1 + F,): an
    offset and a weight for each column, see :func:`logistic`. Newton's method. Raises ValueError
    where no weights are best: all answers of one kind, or kinds that a line separates.
    """
    evidence = np.asarray(evidence, float)
    right = np.asarray(right, bool)
    if evidence.ndim != 2 or len(evidence) != len(right) or not np.isfinite(evidence).all():
        raise ValueError(
            f"expected finite evidence (N, F) for {len(right)} answers, got {evidence.shape}"
        )
    columns = np.column_stack([np.ones(len(evidence)), evidence])  # (N, 1 + F)
    weights = np.zeros(columns.shape[1])
    for _ in range(steps):
        probability = logistic(weights, evidence)  # (N,)
        if np.abs(right - probability).max() < 1e-6:
            break  # all is separated, and larger weights would always be better
        slope = columns.T @ (right - probability)
        spread = probability * (1 - probability)
        curvature = columns.T @ (columns * spread[:, None])
        step = np.linalg.lstsq(curvature, slope, rcond=None)[0]
        weights = weights + step
        if np.abs(step).max() < 1e-10:
            return weights
    raise ValueError(
        f"no best weights after {steps} steps: expected answers of both kinds that evidence "
        f"does not separate, got {int(right.sum())} right of {len(right)}"
    )


def logistic(weights, evidence):
    """The probabilities (N,) that :func:`fit_logistic`'s weights give to evidence (N, F)."""
    score = weights[0] + np.asarray(evidence) @ np.asarray(weights[1:])
    return np.exp(-np.logaddexp(0, -score))  # 1 / (1 + exp(-score)), of any size


def _paired(confidence, right):
    """Both arguments as arrays (N,); the errors are those of :func:`reliability`."""
    confidence = np.asarray(confidence, float)
    right = np.asarray(right)
    if right.dtype != bool:
        raise TypeError(f"right must be boolean, True where an answer is right, got {right.dtype}")
    if confidence.shape != right.shape or confidence.ndim != 1 or len(right) == 0:
        raise ValueError(
            "expected as many confidences as answers, and at least one, "
            f"got shapes {confidence.shape} and {right.shape}"
        )
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("a confidence must be from 0 to 1, and not NaN")
    return confidence, right
