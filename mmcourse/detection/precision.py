"""Average precision: how well detections, the surest first, find the objects of many pictures.

The rules are those of COCO (``pycocotools``), so the numbers are too. Boxes are x0 y0 x1 y1, in any
unit; P counts pictures.
"""

from typing import NamedTuple

import numpy as np

from mmcourse.evaluation import bootstrap

MOST = 100  # detections of a class in a picture that count, the surest
RECALLS = np.linspace(0, 1, 101)  # where COCO reads the precision


class Found(NamedTuple):
    """What was detected in one picture."""

    labels: np.ndarray  #: (n,) numbers of classes
    scores: np.ndarray  #: (n,)
    boxes: np.ndarray  #: (n, 4)


class Truth(NamedTuple):
    """The objects of one picture."""

    labels: np.ndarray  #: (m,) numbers of classes
    boxes: np.ndarray  #: (m, 4)
    #: whether a box lies around many objects that nobody counted
    crowd: np.ndarray | None = (
        None  # (m,) of booleans, true for a box around uncounted many, or None where none is
    )


class Judged(NamedTuple):
    """The detections of one class in one picture, surest first: right, wrong or not counted."""

    scores: np.ndarray  #: (n,)
    right: np.ndarray  #: (n,) of booleans
    ignored: np.ndarray  #: (n,) of booleans: they lie on a crowd
    objects: int  #: how many there are to find


def average_precision(found, truths, threshold=0.5):
    """Mean over all classes of the average precision, a number from 0 to 1.

    ``found`` has a :class:`Found` for each picture, ``truths`` a :class:`Truth`. A detection is
    right when its IoU with an object of its class that no surer one has reaches the ``threshold``.
    The mean over several thresholds is COCO's AP. ValueError where there is no object at all: then
    nothing is defined.
    """
    by_class = precision_by_class(found, truths, threshold)
    if not by_class:
        raise ValueError(
            "no picture has an object that counts, so there is no recall and no average precision: "
            "pass pictures with objects (a crowd is none)"
        )
    return float(np.mean(list(by_class.values())))


def precision_by_class(found, truths, threshold=0.5):
    """The average precision of each class that has an object, a dict by its number."""
    judged = judge(found, truths, threshold)
    precisions = {label: precision_of(pictures.values()) for label, pictures in judged.items()}
    return {label: value for label, value in precisions.items() if value is not None}


def judge(found, truths, threshold=0.5):
    """All detections, compared with the truth: of each class a dict from picture to Judged."""
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must lie above 0 and up to 1, got {threshold}")
    if len(found) != len(truths):
        raise ValueError(
            f"found and truths need one entry for each picture, got {len(found)} and {len(truths)}"
        )
    judged = {}
    for picture, (seen, truth) in enumerate(zip(found, truths, strict=True)):
        seen, truth = checked(seen, truth, picture)
        for label in sorted({*seen.labels.tolist(), *truth.labels.tolist()}):
            of_class = judge_class(seen, truth, label, threshold)
            judged.setdefault(label, {})[picture] = of_class
    return judged


def checked(seen, truth, picture):
    """Both as arrays. ValueError, with the number of the picture, for what cannot be compared."""
    crowd = np.zeros(len(truth.labels), bool) if truth.crowd is None else truth.crowd
    seen = Found(*(np.asarray(part) for part in seen))
    truth = Truth(np.asarray(truth.labels), np.asarray(truth.boxes), np.asarray(crowd, bool))
    if not np.isfinite(np.asarray(seen.scores, float)).all():
        raise ValueError(f"a score in picture {picture} is infinite or NaN: nothing can be sorted")
    parts = (("detections", seen, seen.scores), ("objects", truth, truth.crowd))
    for name, part, third in parts:
        boxes = np.asarray(part.boxes, float).reshape(-1, 4)
        if not len(part.labels) == len(boxes) == len(third):
            raise ValueError(f"the {name} of picture {picture} need a label and a box each")
        if not np.isfinite(boxes).all() or (boxes[:, 2:] < boxes[:, :2]).any():
            raise ValueError(
                f"the {name} of picture {picture} hold a box with NaN or swapped corners: expected "
                "x0 <= x1 and y0 <= y1. COCO's files have x, y, width, height: add them up"
            )
    return seen, truth


def judge_class(seen, truth, label, threshold):
    """The detections of one class in a picture: :class:`Judged`."""
    mine = np.flatnonzero(seen.labels == label)
    order = np.argsort(-np.asarray(seen.scores, float)[mine], kind="stable")[:MOST]
    mine = mine[order]
    theirs = np.flatnonzero(truth.labels == label)
    crowd = truth.crowd[theirs]
    theirs = theirs[np.argsort(crowd, kind="stable")]  # crowds last
    crowd = truth.crowd[theirs]
    detected = np.asarray(seen.boxes, float).reshape(-1, 4)[mine]
    wanted = np.asarray(truth.boxes, float).reshape(-1, 4)[theirs]
    overlaps = overlap(detected, wanted, crowd)  # (n, m)
    taken = np.zeros(len(theirs), bool)
    right = np.zeros(len(mine), bool)
    ignored = np.zeros(len(mine), bool)
    for row in range(len(mine)):
        column = best_object(overlaps[row], taken, crowd, threshold)
        if column is not None:
            taken[column] = True
            ignored[row] = crowd[column]
            right[row] = not crowd[column]
    return Judged(np.asarray(seen.scores, float)[mine], right, ignored, int((~crowd).sum()))


def best_object(overlaps, taken, crowd, threshold):
    """Which object a detection stands for, by its ``overlaps`` (m,); None for none.

    A true object comes before a crowd; a crowd may be taken by many.
    """
    for free in (~taken & ~crowd, crowd):
        allowed = np.where(free, overlaps, -1.0)
        if len(allowed) and allowed.max() >= min(threshold, 1 - 1e-10):
            return len(allowed) - 1 - int(allowed[::-1].argmax())  # the last of equals, as COCO
    return None


def overlap(detected, wanted, crowd):
    """IoU (n, m) of boxes in float64; over a crowd, the share of the detection that lies on it."""
    low = np.maximum(detected[:, None, :2], wanted[None, :, :2])
    high = np.minimum(detected[:, None, 2:], wanted[None, :, 2:])
    intersection = np.clip(high - low, 0, None).prod(-1)  # (n, m)
    own = (detected[:, 2:] - detected[:, :2]).prod(1)[:, None]
    others = (wanted[:, 2:] - wanted[:, :2]).prod(1)[None]
    whole = np.where(crowd, own, own + others - intersection)
    return np.divide(intersection, whole, out=np.zeros_like(whole), where=whole > 0)


def precision_of(pictures):
    """Average precision of one class from its :class:`Judged`; None where there is no object."""
    pictures = list(pictures)
    objects = sum(each.objects for each in pictures)
    if objects == 0:
        return None
    recall, precision = curve_of(pictures)
    return area_under(recall, precision)


def curve_of(pictures):
    """Recall and precision after each detection of a class, from the surest on: (n,) each."""
    pictures = list(pictures)
    objects = sum(each.objects for each in pictures)
    scores = np.concatenate([each.scores for each in pictures])
    right = np.concatenate([each.right for each in pictures])
    counted = ~np.concatenate([each.ignored for each in pictures])
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(right[order])
    misses = np.cumsum((counted & ~right)[order])
    precision = hits / np.maximum(hits + misses, 1)
    return hits / objects, precision


def area_under(recall, precision):
    """Mean of the precision at 101 recalls; at each, the best that is reached there or later."""
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(recall, RECALLS, side="left")
    reached = places < len(recall)
    return float(np.where(reached, np.append(envelope, 0.0)[places], 0.0).mean())


# Intervals ------------------------------------------------------------------------------------


class Ranked(NamedTuple):
    """All detections of one class in all pictures, surest first."""

    pictures: np.ndarray  #: (n,) in which picture each lies
    right: np.ndarray  #: (n,) of booleans
    counted: np.ndarray  #: (n,) of booleans: they lie on no crowd
    objects: np.ndarray  #: (P,) how many objects each picture has


def ranked(judged, count):
    """What :func:`judge` gave, as a :class:`Ranked` of each class; ``count`` is P."""
    rankings = []
    for pictures in judged.values():
        scores = np.concatenate([each.scores for each in pictures.values()])
        right = np.concatenate([each.right for each in pictures.values()])
        ignored = np.concatenate([each.ignored for each in pictures.values()])
        lengths = [len(each.scores) for each in pictures.values()]
        owners = np.repeat(list(pictures), lengths)
        order = np.argsort(-scores, kind="stable")
        objects = np.zeros(count, int)
        objects[list(pictures)] = [each.objects for each in pictures.values()]
        rankings.append(Ranked(owners[order], right[order], ~ignored[order], objects))
    return rankings


def precision_redrawn(rankings, times):
    """Average precision, a mean over classes, where each picture stands there ``times`` (P,)."""
    values = []
    for one in rankings:
        objects = times @ one.objects
        if not objects:
            continue
        weights = times[one.pictures]
        hits = np.cumsum(weights * one.right)
        seen = np.cumsum(weights * one.counted)
        values.append(area_under(hits / objects, hits / np.maximum(seen, 1)))
    return float(np.mean(values))


def precision_interval(found, truths, threshold=0.5, draws=200):
    """Average precision and its interval, as :func:`mmcourse.evaluation.statistics.bootstrap`.

    Its draws take whole pictures again; a class without an object in a draw is left out of it.
    With few objects a class the draws lie beside the value, since a picture that is drawn twice
    is ranked beside itself. So the interval is not theirs, but the value plus and minus 1.96 of
    their standard deviations.
    """
    count = len(truths)
    rankings = ranked(judge(found, truths, threshold), count)

    def measure(rows):
        return precision_redrawn(rankings, np.bincount(rows, minlength=count))

    drawn = bootstrap(measure, np.arange(count), draws=draws)
    spread = 1.96 * float(drawn.draws.std())
    return drawn._replace(low=drawn.value - spread, high=drawn.value + spread)
