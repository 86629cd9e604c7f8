"""Shares that are counted, and how sure we can be of them.

Answers out of a fixed set of classes have accuracy, precision, recall and F1, rankings have
recall@k, and any number has an interval that the bootstrap gives it. For captions see
:mod:`mmcourse.evaluation.captions`.
"""

from typing import NamedTuple

import numpy as np

AVERAGES = (None, "macro", "micro")

# Answers -------------------------------------------------------------------------------------


class Scores(NamedTuple):
    """Floats, or arrays (C,) with one number for each class; a share of nothing is 0."""

    precision: float  #: of the items that were called this class, the share that are
    recall: float  #: of the items of this class, the share that were called so
    f1: float  #: the harmonic mean of the two, 2 P R / (P + R)


def confusion_table(predicted, true):
    """Who is taken for whom: the classes (C,), sorted, and counts (C, C).

    A row of the counts is a true class, a column a predicted one. Both arguments are lists or
    arrays of N classes: strings, integers or booleans. Raises TypeError for other classes or
    for two different types, ValueError for none, for lists that do not pair, or for scores in
    place of classes.
    """
    predicted = np.asarray(predicted)
    true = np.asarray(true)
    if predicted.shape != true.shape or predicted.ndim != 1 or len(true) == 0:
        raise ValueError(
            f"expected two lists of as many classes, got shapes {predicted.shape} and "
            f"{true.shape}; of scores (N, C) give scores.argmax(-1)"
        )
    if predicted.dtype.kind != true.dtype.kind or true.dtype.kind not in "biuU":
        raise TypeError(
            "classes must be strings, integers or booleans, and of one type in both lists, "
            f"got {predicted.dtype} and {true.dtype}"
        )
    classes, numbers = np.unique([true, predicted], return_inverse=True)
    row, column = numbers.reshape(2, -1)  # (N,) each
    table = np.zeros((len(classes), len(classes)), int)
    np.add.at(table, (row, column), 1)
    return classes, table


def accuracy(predicted, true):
    """Share of the answers that are right; arguments and errors as in :func:`confusion_table`."""
    _, table = confusion_table(predicted, true)
    return float(table.trace() / table.sum())


def precision_recall_f1(predicted, true, average=None):
    """Precision, recall and F1 of each class, or an average: :class:`Scores`.

    Classes come in the order of :func:`confusion_table`. ``macro`` is the mean over the
    classes, rare or frequent; its F1 is the mean of their F1. ``micro`` counts all answers
    together; where each item has one class, all three are then the accuracy. Raises ValueError
    for another.
    """
    if average not in AVERAGES:
        raise ValueError(f"average must be macro, micro or None, got {average!r}")
    _, table = confusion_table(predicted, true)
    right = table.diagonal()  # (C,)
    stated = table.sum(0)
    due = table.sum(1)
    if average == "micro":
        right = right.sum()
        stated = stated.sum()
        due = due.sum()
    precision = right / np.maximum(1, stated)
    recall = right / np.maximum(1, due)
    f1 = 2 * right / (stated + due)
    if average is None:
        return Scores(precision, recall, f1)
    return Scores(float(precision.mean()), float(recall.mean()), float(f1.mean()))


# Rankings ------------------------------------------------------------------------------------


def recall_at_k(scores, relevant, k):
    """Share of the queries that find something relevant among the k items with the highest scores.

    ``scores`` and ``relevant``, booleans, are (queries, items). Of equal scores, what is not
    relevant comes first: who gives everything the same score finds nothing. The other way
    round, from items to queries, is that of ``scores.T`` and ``relevant.T``. Raises TypeError
    for ``relevant`` that is not boolean; ValueError for shapes that differ, NaN, k below 1, or
    a query for which nothing is relevant.
    """
    scores = np.asarray(scores)
    relevant = np.asarray(relevant)
    if relevant.dtype != bool:
        raise TypeError(
            f"relevant must be boolean, True where an item answers a query, got {relevant.dtype}"
        )
    paired = scores.ndim == 2 and scores.shape == relevant.shape and scores.size > 0
    if not paired or np.isnan(scores).any():
        raise ValueError(
            "scores and relevant must be (queries, items) without NaN, "
            f"got shapes {scores.shape} and {relevant.shape}"
        )
    answerable = relevant.any(1)  # (queries,)
    if k < 1 or not answerable.all():
        raise ValueError(
            "k must be at least 1, and each query needs a relevant item; "
            f"got k = {k} and {int((~answerable).sum())} queries without one"
        )
    best = np.where(relevant, scores, -np.inf).max(1, keepdims=True)  # (queries, 1)
    ahead = (~relevant & (scores >= best)).sum(1)  # (queries,)
    return float((ahead < k).mean())


# How sure we can be --------------------------------------------------------------------------


class Interval(NamedTuple):
    """A number, and where it would lie if other items of the same kind had been drawn."""

    value: float  #: the statistic of the items themselves
    low: float  #: where the middle ``level`` of the draws begins
    high: float  #: ... and ends
    draws: np.ndarray  #: the statistic of each draw, in the order drawn


def bootstrap(statistic, *samples, draws=2000, level=0.95, seed=0):
    """Percentile bootstrap (Efron and Tibshirani 1993, chapter 13): an :class:`Interval`.

    Each draw takes n of the n items with replacement, the same ones of every sample, and
    computes ``statistic(*samples)`` of them. So two systems are compared on the same items:
    ``bootstrap(lambda a, b: a.mean() - b.mean(), first, second)``. A sample is a list or an
    array whose rows are items; the statistic gets arrays and returns a number. ``low`` and
    ``high`` bound the middle ``level`` of the draws. Raises ValueError for samples that do not
    pair, fewer than two items, or options out of range.
    """
    samples = [np.asarray(sample) for sample in samples]
    sizes = [len(sample) for sample in samples]
    if not sizes or min(sizes) != max(sizes) or sizes[0] < 2:
        raise ValueError(
            f"expected samples of as many items, two or more, got samples of {sizes} items"
        )
    if draws < 1 or not 0 < level < 1 or seed < 0:
        raise ValueError(
            "draws must be at least 1, level between 0 and 1, and seed at least 0, "
            f"got {draws}, {level} and {seed}"
        )
    items = sizes[0]
    generator = np.random.default_rng(seed)
    drawn = generator.integers(items, size=(draws, items))
    values = np.zeros(draws)
    for number, rows in enumerate(drawn):
        values[number] = statistic(*[sample[rows] for sample in samples])
    low, high = np.percentile(values, [50 - 50 * level, 50 + 50 * level])
    return Interval(float(statistic(*samples)), float(low), float(high), values)
