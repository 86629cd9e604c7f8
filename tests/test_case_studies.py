"""What the case studies share: intervals of items in groups, and of shares."""

import numpy as np
import pytest
from scipy.stats import binomtest

from mmcourse.case_studies import bootstrap_groups, wilson
from mmcourse.evaluation import bootstrap


def test_groups_of_one_are_the_plain_bootstrap():
    values = np.random.default_rng(0).normal(size=40)
    ours = bootstrap_groups(np.mean, range(40), values, draws=500)
    theirs = bootstrap(np.mean, values, draws=500)
    assert ours[:3] == pytest.approx(theirs[:3])


@pytest.mark.parametrize("groups, size", [(5, 3), (12, 7), (30, 2)])
def test_items_that_repeat_their_group_narrow_nothing(groups, size):
    values = np.random.default_rng(groups).normal(size=groups)
    names = np.repeat([f"g{number:02}" for number in range(groups)], size)
    repeated = bootstrap_groups(np.mean, names, np.repeat(values, size), draws=300)
    once = bootstrap_groups(np.mean, range(groups), values, draws=300)
    assert repeated[:3] == pytest.approx(once[:3])


def test_whole_groups_are_redrawn_of_all_samples():
    names = np.array(["b", "a", "b", "c", "a", "b"])
    rows = np.arange(6)

    def same(left, right):
        assert (left == right).all()
        counts = np.bincount(left, minlength=6)
        assert counts[0] == counts[2] == counts[5] and counts[1] == counts[4]
        return len(left)

    found = bootstrap_groups(same, names, rows, rows, draws=50)
    assert found.value == 6 and set(found.draws) <= {3, 4, 5, 6, 7, 8, 9}


def test_an_undefined_draw_is_left_out():
    values = np.array([1.0, 2.0, 3.0])
    found = bootstrap_groups(
        lambda x: np.nan if x.min() == x.max() else x.mean(), [0, 1, 2], values, draws=200
    )
    assert np.isnan(found.draws).any() and np.isfinite(found[:3]).all()


@pytest.mark.parametrize(
    "groups, samples, options, message",
    [
        ([1, 2], [[1.0]], {}, "a group for each item"),
        ([1, 2], [], {}, "a group for each item"),
        ([1, 1], [[1.0, 2.0]], {}, "two groups or more"),
        ([1, 2], [[1.0, 2.0]], {"draws": 0}, "draws must be"),
        ([1, 2], [[1.0, 2.0]], {"level": 1}, "draws must be"),
    ],
)
def test_what_cannot_be_redrawn_is_named(groups, samples, options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_groups(np.mean, groups, *samples, **options)


@pytest.mark.parametrize(
    "hits, n, level", [(0, 10, 0.95), (10, 10, 0.95), (3, 7, 0.9), (40, 101, 0.99)]
)
def test_wilson_is_that_of_scipy(hits, n, level):
    theirs = binomtest(hits, n).proportion_ci(level, method="wilson")
    ours = wilson([True] * hits + [False] * (n - hits), level)
    assert ours == pytest.approx((hits / n, theirs.low, theirs.high), abs=1e-9)


@pytest.mark.parametrize("hits, level", [([], 0.95), ([[True]], 0.95), ([True], 1.0)])
def test_wilson_says_what_it_needs(hits, level):
    with pytest.raises(ValueError, match="expected a list of booleans"):
        wilson(hits, level)
