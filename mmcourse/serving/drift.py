"""Noticing that pictures have become others than those that a model was measured on.

Nobody tells a server what is truly on a picture, so it cannot count its errors. It can watch what
it sees and how sure it is. K numbers are taken of each picture and its caption; the means over a
window of W pictures are compared with those over n pictures of before.
"""

import math
from collections import deque
from dataclasses import asdict, dataclass
from statistics import NormalDist

import numpy as np

#: What is watched. All lie between 0 and 1.
STATISTICS = ("red", "green", "blue", "contrast", "colourfulness", "sharpness", "confidence")


def statistics_of(image, confidence):
    """The numbers of one picture, uint8 (H, W, 3), and of its caption: an array (K,).

    They are the means of its three colours, the standard deviation of its grey, the mean distance
    of the largest from the smallest colour of a pixel, the mean step from pixel to pixel along a
    row, and how sure the model was.
    """
    pixels = np.asarray(image, dtype=float) / 255  # (H, W, 3)
    grey = pixels.mean(-1)  # (H, W)
    spread = pixels.max(-1) - pixels.min(-1)  # (H, W)
    steps = np.abs(np.diff(grey, axis=1))  # (H, W - 1)
    red, green, blue = pixels.mean((0, 1))
    return np.array([red, green, blue, grey.std(), spread.mean(), steps.mean(), confidence])


@dataclass(frozen=True)
class Reference:
    """How the statistics were spread when all was well: over ``count`` pictures, K numbers each."""

    means: tuple  #: over the pictures
    deviations: tuple  #: standard deviations of single pictures
    count: int  #: n

    def to_dict(self):
        """Itself as JSON can hold it; ``Reference(**that)`` is the way back."""
        return asdict(self)


def fit_reference(rows):
    """The Reference of statistics (n, K). ValueError for fewer than two rows, or a constant one."""
    rows = np.asarray(rows, dtype=float)
    if rows.ndim != 2 or len(rows) < 2:
        raise ValueError(f"expected two or more rows of statistics (n, K), got shape {rows.shape}")
    deviations = rows.std(0, ddof=1)
    if not (deviations > 0).all():
        raise ValueError("a statistic is the same on all pictures: leave it out, it cannot drift")
    return Reference(tuple(rows.mean(0).tolist()), tuple(deviations.tolist()), len(rows))


def threshold(rate, count):
    """What the largest of ``count`` standard normals exceeds with probability ``rate`` at most.

    It is meant without its sign. Each gets its share of the rate, on both sides (Bonferroni).
    ValueError unless 0 < rate < 1.
    """
    if not 0 < rate < 1:
        raise ValueError(f"the rate of false alarms must be between 0 and 1, got {rate}")
    return NormalDist().inv_cdf(1 - rate / (2 * count))


@dataclass(frozen=True)
class Alarm:
    """A window was too far from the reference: by how much, and in what."""

    statistic: str  #: the one that is farthest
    score: float  #: how far, in standard errors, with its sign
    pictures: int  #: how many were seen until then


class Monitor:
    """Looks at each window of ``window`` pictures, one after another, and raises alarms.

    For statistic k the score of a window is ``(mean_k - μ_k) / (σ_k sqrt(1/W + 1/n))``, with
    the mean μ_k and the deviation σ_k of the reference over n pictures. An alarm is raised when
    the farthest score is beyond :func:`threshold`, so that a window of the same kind of pictures
    raises one with probability ``rate`` at most, as far as means are normal.
    """

    def __init__(self, reference, window=50, rate=0.01):
        if window < 2:
            raise ValueError(f"a window must have 2 pictures or more, got {window}")
        self.reference = reference
        self.window = window
        self.threshold = threshold(rate, len(reference.means))
        self.rows = deque()
        self.pictures = 0
        self.windows = 0
        self.alarms = 0
        self.scores = None  # of the last window

    def scores_of(self, rows):
        """The scores (K,) of the statistics (W, K) of a window."""
        error = math.sqrt(1 / len(rows) + 1 / self.reference.count)
        distance = np.mean(rows, axis=0) - np.array(self.reference.means)
        return distance / (np.array(self.reference.deviations) * error)

    def add(self, row):
        """Take the statistics (K,) of one picture. Returns an Alarm when its window ends in one."""
        self.pictures += 1
        self.rows.append(row)
        if len(self.rows) < self.window:
            return None
        self.scores = self.scores_of(self.rows)
        self.rows.clear()
        self.windows += 1
        farthest = int(np.abs(self.scores).argmax())
        score = float(self.scores[farthest])
        if abs(score) <= self.threshold:
            return None
        self.alarms += 1
        return Alarm(STATISTICS[farthest], score, self.pictures)
