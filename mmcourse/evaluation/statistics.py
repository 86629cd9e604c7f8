"""Shares that are counted, and how sure we can be of them.

Answers out of a fixed set of classes have accuracy, precision, recall and F1, rankings have recall@k, and any number
has an interval that the bootstrap gives it. For captions see :mod:`mmcourse.evaluation.captions`.
"""

from typing import NamedTuple

import numpy as np


class Scores(NamedTuple):
    """Floats, or arrays (C,) with one number for each class; a share of nothing is 0."""

    precision: float  #: of the items that were called this class, the share that are
    recall: float  #: of the items of this class, the share that were called so
    f1: float  #: the harmonic mean of the two, 2 P R / (P + R)


def confusion_table(predicted, true):
    """Who is taken for whom: the classes (C,), sorted, and counts (C, C), a row a true class, a column a predicted one.

    Both arguments are lists or arrays of N classes: strings, integers or booleans. Raises TypeError for other classes
    or for two different types, ValueError for none, for lists that do not pair, or for scores in place of classes.
    """
    predicted, true = np.asarray(predicted), np.asarray(true)
    if not predicted.shape == true.shape or predicted.ndim != 1 or not len(true):
        raise ValueError(
            f"expected two lists of as many classes, got shapes {predicted.shape} and {true.shape}; of "
            "scores (N, C) give scores.argmax(-1)"
        )
    if predicted.dtype.kind != true.dtype.kind or true.dtype.kind not in "biuU":
        raise TypeError(
            "classes must be strings, integers or booleans, and of one type in both lists, got "
            f"{predicted.dtype} and {true.dtype}"
        )
    classes, number = np.unique([true, predicted], return_inverse=True)
    table = np.zeros((len(classes), len(classes)), int)
    np.add.at(table, tuple(number.reshape(2, -1)), 1)
    return classes, table


def accuracy(predicted, true):
    """Share of the answers that are right; arguments and errors as in :func:`confusion_table`."""
    table = confusion_table(predicted, true)[1]
    return float(table.trace() / table.sum())


def precision_recall_f1(predicted, true, average=None):
    """Precision, recall and F1: :class:`Scores` of each class, in the order of :func:`confusion_table`, or an average.

    ``macro`` is the mean over the classes, rare or frequent; its F1 is the mean of their F1. ``micro`` counts all
    answers together; where each item has one class, all three are then the accuracy. Raises ValueError for another.
    """
    table = confusion_table(predicted, true)[1]
    right, stated, due = table.diagonal(), table.sum(0), table.sum(1)
    if average not in (None, "macro", "micro"):
        raise ValueError(f"average must be macro, micro or None, got {average!r}")
    if average == "micro":
        right, stated, due = right.sum(), stated.sum(), due.sum()
    scores = right / np.maximum(1, stated), right / np.maximum(1, due), 2 * right / (stated + due)
    return (
        Scores(*scores) if average is None else Scores(*(float(score.mean()) for score in scores))
    )


# Rankings ------------------------------------------------------------------------------------------------------------


def recall_at_k(scores, relevant, k):
    """Share of the queries that find something relevant among the k items with the highest scores.

    ``scores`` and ``relevant``, booleans, are (queries, items). Of equal scores, what is not relevant comes first: who
    gives everything the same score finds nothing. The other way round, from items to queries, is that of ``scores.T``
    and ``relevant.T``. Raises TypeError for ``relevant`` that is not boolean; ValueError for shapes that differ, NaN, k
    below 1, or a query for which nothing is relevant.
    """
    scores, relevant = np.asarray(scores), np.asarray(relevant)
    if relevant.dtype != bool:
        raise TypeError(
            f"relevant must be boolean, True where an item answers a query, got {relevant.dtype}"
        )
    if (
        scores.ndim != 2
        or scores.shape != relevant.shape
        or not scores.size
        or np.isnan(scores).any()
    ):
        raise ValueError(
            "scores and relevant must be (queries, items) without NaN, "
            f"got shapes {scores.shape} and {relevant.shape}"
        )
    if k < 1 or not relevant.any(1).all():
        raise ValueError(
            f"k must be at least 1, and each query needs a relevant item; got k = {k} and "
            f"{int((~relevant.any(1)).sum())} queries without one"
        )
    best = np.where(relevant, scores, -np.inf).max(1, keepdims=True)
    ahead = (~relevant & (scores >= best)).sum(1)
    return float((ahead < k).mean())


# How sure we can be --------------------------------------------------------------------------------------------------


class Interval(NamedTuple):
    """A number, where it would lie if other items of the same kind had been drawn, and what it was in each draw."""

    value: float  #: the statistic of the items themselves
    low: float  #: where the middle ``level`` of the draws begins
    high: float  #: ... and ends
    draws: np.ndarray  #: the statistic of each draw, in the order drawn


def bootstrap(statistic, *samples, draws=2000, level=0.95, seed=0):
    """Percentile bootstrap (Efron and Tibshirani 1993, chapter 13) of ``statistic(*samples)``: an :class:`Interval`.

    Each draw takes n of the n items with replacement, the same ones of every sample. So two systems are compared on the
    same items: ``bootstrap(lambda a, b: a.mean() - b.mean(), first, second)``. A sample is a list or an array whose
    rows are items; the statistic gets arrays and returns a number. ``low`` and ``high`` bound the middle ``level`` of
    the draws. Raises ValueError for samples that do not pair, fewer than two items, or options out of range.
    """
    samples = [np.asarray(sample) for sample in samples]
    sizes = [len(sample) for sample in samples]
    if not sizes or min(sizes) != max(sizes) or sizes[0] < 2:
        raise ValueError(
            f"expected samples of as many items, two or more, got samples of {sizes} items"
        )
    if draws < 1 or not 0 < level < 1:
        raise ValueError(
            f"draws must be at least 1 and level between 0 and 1, got {draws} and {level}"
        )
    drawn = np.random.default_rng(seed).integers(sizes[0], size=(draws, sizes[0]))
    values = np.array([statistic(*(sample[index] for sample in samples)) for index in drawn])
    low, high = np.percentile(values, [50 - 50 * level, 50 + 50 * level])
    return Interval(float(statistic(*samples)), float(low), float(high), values)
