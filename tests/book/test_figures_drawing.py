"""DrawingSteps: what it counts, what it refuses, keyboard and mouse."""

import numpy as np
import pytest

from mmcourse.book.figures.drawing import DrawingSteps, true_share
from tests.helpers import said, says

DICE = np.random.default_rng(0)


def drawing(caption, marks):
    """A drawing of as many steps as there are rows of ``marks``."""
    facts = [[("object: dog", a), ("background: sea", b)] for a, b in marks]
    pictures = [DICE.integers(0, 256, (8, 8, 3), dtype=np.uint8) for _ in marks]
    readings = [f"reading {number}" for number in range(len(marks))]
    return {"caption": caption, "pictures": pictures, "readings": readings, "facts": facts}


FIRST = drawing(
    "a dog at sea", [(False, False), (True, True), (False, True), (True, True), (True, True)]
)
SECOND = drawing(
    "a cat at sea", [(False, False), (False, True), (True, True), (True, False), (False, True)]
)


TIMES = [0, 0.05, 0.2, 0.6, 1]


@pytest.mark.parametrize(
    ("drawings", "message"),
    [
        ([], "one or more, got none"),
        ([FIRST, drawing("short", [(True, True), (True, True)])], "as many pictures"),
        ([drawing("one", [(True, True)])], "two or more"),
        ([FIRST | {"readings": ["one"]}], "as many pictures"),
        ([FIRST | {"pictures": [np.zeros((8, 8, 3))] * 5}], "uint8"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_words(drawings, message):
    with pytest.raises(ValueError, match=message):
        DrawingSteps(drawings, TIMES)


def test_each_picture_has_its_time():
    with pytest.raises(ValueError, match="got 4 times, 5 pictures"):
        DrawingSteps([FIRST], TIMES[:4])
    titles = [axes.get_title() for axes in DrawingSteps([FIRST], TIMES).draw().axes]
    assert titles == [f"t = {time:.2f}" for time in (0, 0.05, 0.2, 0.2, 0.6, 1)]


def test_still_picture_stands_beside_the_live_one():
    data, _ = DrawingSteps([FIRST, SECOND], TIMES)._repr_mimebundle_()
    assert "<svg" in data["image/svg+xml"] and "application/vnd.jupyter.widget-view+json" in data


def test_the_page_counts_as_python(call):
    figure = DrawingSteps([FIRST, SECOND], TIMES)
    for facts in figure.facts[0]:
        stated = {name for name, right in facts if right}
        expected, asked = true_share(stated, [name for name, _ in facts])
        assert call(figure, "cameTrue", facts) == expected and asked == 2
    assert call(figure, "settled", figure.facts[0]) == 3
    assert call(figure, "settled", figure.facts[1]) == -1


def test_by_keyboard(show):
    page = show(DrawingSteps([FIRST, SECOND], TIMES), 320)
    slider = page.get_by_role("slider", name="time t")
    assert "Asked for: “a dog at sea”. At time 0.00 the judge reads “reading 0”" in said(page)
    slider.press("End")
    assert "At time 1.00 the judge reads “reading 4”: 2 of 2 facts are true" in said(page)
    assert "From time 0.60 on" in said(page)
    slider.press("ArrowLeft")
    slider.press("ArrowLeft")
    assert "At time 0.20 the judge reads “reading 2”: 1 of 2" in said(page)
    assert page.locator("td").all_inner_texts() == ["object: dog", "no", "background: sea", "yes"]


def test_a_long_caption_stays_inside_on_a_phone(show):
    long = drawing("two red cars " * 9, [(False, False), (True, True)])
    page = show(DrawingSteps([long], [0, 1]), 320)
    page.add_style_tag(content="label { display: inline-block; }")  # as the theme of the book does
    edge = "part => part.getBoundingClientRect().right"
    card = page.locator(".mm-figure").evaluate(edge)
    assert page.get_by_label("caption").evaluate(edge) < card


def test_by_mouse(show):
    page = show(DrawingSteps([FIRST, SECOND], TIMES), 700)
    page.get_by_role("slider", name="time t").press("End")
    page.get_by_label("caption").select_option("a cat at sea")
    assert says(page, "Asked for: “a cat at sea”. At time 1.00")  # a phone cuts the chooser off
    assert says(page, "1 of 2 facts are true. It never shows all")
    assert page.locator("svg image").get_attribute("x") == "-32"
