"""QueueExplorer: its arithmetic is the package's, what it refuses, and a keyboard."""

import itertools

import pytest

from mmcourse.book.figures.queue import MOST, QueueExplorer, outcome
from mmcourse.serving import poisson_arrivals
from tests.helpers import said

SETTINGS = [*itertools.product((5, 60, 200), MOST, (0, 5, 100))]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rate": 4}, "rate must be from 5 to 200 a second, got 4"),
        ({"most": 3}, "most must be one of 1, 2, 4, 8, 16, got 3"),
        ({"wait": 101}, "wait must be from 0 to 100 ms, got 101"),
        ({"each": 0}, r"a batch must take time, got 10.0 and 0 ms a picture"),
    ],
)
def test_what_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        QueueExplorer(**change)


def test_the_page_computes_as_python(call):
    figure = QueueExplorer()
    for rate, most, wait in SETTINGS:
        for fixed, each in ((10.0, 5.0), (7.25, 3.5)):
            setting = {"rate": rate, "most": most, "wait": wait, "fixed": fixed, "each": each}
            found, expected = call(figure, "outcome", setting), outcome(**setting)
            for name, value in expected.items():
                if name != "bars":
                    assert found[name] == pytest.approx(value, rel=1e-9), (setting, name)
            for here, there in zip(found["bars"], expected["bars"], strict=True):
                assert here == pytest.approx(there, rel=1e-9)


def test_capacity(call):
    setting = {"most": 8, "fixed": 10, "each": 5}
    assert call(QueueExplorer(), "capacity", setting) == pytest.approx(160)


def test_times_are_milliseconds():
    first = outcome(50, 1, 0, 10.0, 5.0)["bars"][0]
    assert first[0] == pytest.approx(1000 * poisson_arrivals(50, 1)[0])
    assert first[2] - first[1] == pytest.approx(15)


def test_still_picture_stands_beside_the_live_one():
    data, _ = QueueExplorer()._repr_mimebundle_()
    assert "<svg" in data["image/svg+xml"] and "application/vnd.jupyter.widget-view+json" in data


def test_by_keyboard(show):
    page = show(QueueExplorer(), 320)
    assert "The load is 90 %." in said(page)
    before = said(page)
    page.get_by_role("radio").first.press("ArrowRight")
    assert said(page) != before and "The load is 60 %." in said(page)
    page.get_by_role("slider").first.press("End")
    assert "More arrive than can be served" in said(page)
