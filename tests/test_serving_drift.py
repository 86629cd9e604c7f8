"""Drift: the statistics by hand, scores against the formula, how often an alarm is false."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from mmcourse.data import EmojiScenes
from mmcourse.serving import (
    STATISTICS,
    Monitor,
    Reference,
    fit_reference,
    statistics_of,
    threshold,
)


def rows_of(count, seed, shift=0.0, column=6):
    """Statistics as normal numbers, one column shifted by so many deviations."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(0.5, [0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.1], (count, 7))
    rows[:, column] += shift * 0.1
    return rows


def test_statistics_by_hand():
    image = np.zeros((2, 2, 3), np.uint8)
    image[0, 1] = 255, 0, 0
    row = dict(zip(STATISTICS, statistics_of(image, 0.7), strict=True))
    grey = np.array([0, 1 / 3, 0, 0])
    assert row["red"] == 0.25 and row["green"] == row["blue"] == 0
    assert row["contrast"] == pytest.approx(grey.std())
    assert row["colourfulness"] == 0.25 and row["sharpness"] == pytest.approx(1 / 6)
    assert row["confidence"] == 0.7


def test_sharpness_is_along_a_row():
    image = np.zeros((4, 3, 3), np.uint8)
    image[:, 1:] = 255  # a step in each row, none in a column
    assert statistics_of(image, 0.5)[5] == 0.5
    assert statistics_of(image.transpose(1, 0, 2), 0.5)[5] == 0


def test_statistics_tell_colours_and_rows_apart():
    image = EmojiScenes("val")[3].image
    row = statistics_of(image, 0.5)
    np.testing.assert_allclose(row[:3], image.mean((0, 1)) / 255)
    turned = statistics_of(image[..., ::-1], 0.5)
    np.testing.assert_allclose(turned[:3], row[2::-1])
    np.testing.assert_allclose(turned[3:], row[3:])
    mirrored = statistics_of(image[:, ::-1], 0.5)
    np.testing.assert_allclose(mirrored, row)
    assert abs(statistics_of(image.transpose(1, 0, 2), 0.5)[5] - row[5]) > 1e-6


@pytest.mark.parametrize("count", [2, 57, 400])
def test_a_reference_has_means_and_deviations(count):
    rows = rows_of(count, 1)
    reference = fit_reference(rows)
    np.testing.assert_allclose(reference.means, rows.mean(0))
    np.testing.assert_allclose(reference.deviations, stats.tstd(rows, axis=0))
    assert reference.count == count
    again = Reference(**json.loads(json.dumps(reference.to_dict())))
    np.testing.assert_allclose(again.means, reference.means)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.ones((1, 7)), r"two or more rows .* got shape \(1, 7\)"),
        (np.ones(7), r"got shape \(7,\)"),
        (
            np.ones((3, 7)),
            "^a statistic is the same on all pictures: leave it out, it cannot drift$",
        ),
    ],
)
def test_references_that_are_refused(rows, message):
    with pytest.raises(ValueError, match=message):
        fit_reference(rows)


@pytest.mark.parametrize(("rate", "count"), [(0.01, 1), (0.01, 7), (0.2, 3)])
def test_the_threshold_is_bonferronis(rate, count):
    bound = threshold(rate, count)
    assert 2 * count * stats.norm.sf(bound) == pytest.approx(rate)


@pytest.mark.parametrize("rate", [0, 1, -0.1])
def test_rates_that_are_refused(rate):
    with pytest.raises(ValueError, match="must be between 0 and 1"):
        threshold(rate, 7)


@pytest.mark.parametrize(("window", "count"), [(5, 40), (20, 100), (33, 7)])
def test_scores_are_the_formula(window, count):
    before, now = rows_of(count, 2), rows_of(window, 3, shift=0.5)
    monitor = Monitor(fit_reference(before), window)
    for row in now:
        monitor.add(row)
    for column in range(7):
        error = before[:, column].std(ddof=1) * math.sqrt(1 / window + 1 / count)
        expected = (now[:, column].mean() - before[:, column].mean()) / error
        assert monitor.scores[column] == pytest.approx(expected, rel=1e-9)


def test_alarms_are_as_rare_as_was_asked():
    reference = fit_reference(rows_of(5000, 4))
    monitor = Monitor(reference, window=20, rate=0.05)
    alarms = [monitor.add(row) for row in rows_of(20 * 4000, 5)]
    found = sum(alarm is not None for alarm in alarms)
    assert monitor.windows == 4000 and monitor.alarms == found
    assert 0.036 < found / 4000 < 0.06  # seven independent numbers: 0.049 is expected


def test_a_change_is_noticed_at_the_end_of_a_window_and_named():
    monitor = Monitor(fit_reference(rows_of(1000, 6)), window=50)
    rows = np.concatenate([rows_of(50, 7), rows_of(50, 8, shift=-1.5)])
    alarms = [monitor.add(row) for row in rows]
    assert [number for number, alarm in enumerate(alarms, 1) if alarm] == [100]
    alarm = alarms[-1]
    assert alarm.statistic == "confidence" and alarm.score < -5 and alarm.pictures == 100


def test_windows_do_not_mix():
    monitor = Monitor(fit_reference(rows_of(1000, 6)), window=10)
    rows = np.concatenate([rows_of(10, 9, shift=9), rows_of(10, 10)])
    alarms = [monitor.add(row) for row in rows]
    assert alarms[9] and not alarms[19]


def test_a_window_of_one_is_refused():
    with pytest.raises(ValueError, match="2 pictures or more, got 1"):
        Monitor(fit_reference(rows_of(9, 0)), window=1)


def test_what_a_monitor_is_unless_told_otherwise():
    reference = fit_reference(rows_of(9, 0))
    usual = Monitor(reference)
    assert usual.window == 50 and usual.scores is None
    assert usual.threshold == threshold(0.01, len(STATISTICS))
    assert Monitor(reference, window=2).window == 2
