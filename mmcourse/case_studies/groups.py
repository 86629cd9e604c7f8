"""The interval of a number whose items come in groups: pictures of a patient, likes of a user."""

from statistics import NormalDist

import numpy as np

from mmcourse.evaluation import Interval


def bootstrap_groups(statistic, groups, *samples, draws=1000, level=0.95, seed=0):
    """As :func:`mmcourse.evaluation.statistics.bootstrap`, but whole groups are redrawn, not items.

    ``groups`` names the group of each of the n items. Each draw takes as many groups as there are,
    with replacement, and all items of each, so what the items of a group share widens the interval
    as it should. A statistic that a draw leaves undefined may return NaN; that draw is left out.
    Raises ValueError for samples that do not pair, fewer than two groups, or options out of range.
    """
    groups = np.asarray(groups)
    samples = [np.asarray(sample) for sample in samples]
    if not samples or any(len(sample) != len(groups) for sample in samples):
        raise ValueError(
            f"expected a group for each item, got {len(groups)} groups for samples of "
            f"{[len(sample) for sample in samples]} items"
        )
    names, numbers = np.unique(groups, return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"expected two groups or more, got {len(names)}: nothing can be redrawn")
    if draws < 1 or not 0 < level < 1:
        raise ValueError(
            f"draws must be at least 1 and level between 0 and 1, got {draws}, {level}"
        )
    order = np.argsort(numbers, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(numbers))[:-1])
    generator = np.random.default_rng(seed)
    values = np.zeros(draws)
    for draw in range(draws):
        chosen = generator.integers(len(names), size=len(names))
        rows = np.concatenate([members[number] for number in chosen])
        values[draw] = statistic(*[sample[rows] for sample in samples])
    low, high = np.nanpercentile(values, [50 - 50 * level, 50 + 50 * level])
    return Interval(float(statistic(*samples)), float(low), float(high), values)


def wilson(hits, level=0.95):
    """A share of n independent items with its interval by Wilson (1927): (value, low, high).

    ``hits`` are n booleans. Unlike a bootstrap it is not empty where all items agree: of ten
    refusals in ten the true share may be 0.72. Raises ValueError for none, or a level that is none.
    """
    hits = np.asarray(hits, bool)
    if hits.ndim != 1 or not len(hits) or not 0 < level < 1:
        raise ValueError(
            f"expected a list of booleans and a level between 0 and 1, got {hits.shape} and {level}"
        )
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share, n = float(hits.mean()), len(hits)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    return share, max(0.0, middle - half), min(1.0, middle + half)
