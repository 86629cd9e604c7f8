"""MergeExplorer: its arithmetic is the package's, what it refuses, and a keyboard."""

import pytest

from mmcourse.book.figures.merges import MergeExplorer
from mmcourse.data.glosses import lines
from mmcourse.text import BPETokenizer
from tests.helpers import said

TEXTS = ["the small bird's nest", "猫 and 狗, 12 birds  \n", "👩‍👩‍👧 e\u0301", "", "aaaa aaa"]


@pytest.fixture(scope="module")
def tokenizer():
    return BPETokenizer.train(lines("val")[:300], 420, special=("<pad>",))


def test_no_example_is_refused(tokenizer):
    with pytest.raises(ValueError, match="at least one text"):
        MergeExplorer(tokenizer, [])


@pytest.mark.parametrize("text", TEXTS)
def test_the_end_is_what_the_tokenizer_gives(tokenizer, text):
    figure = MergeExplorer(tokenizer, TEXTS)
    last = [number + 1 for row in figure.history(text)[-1] for number in row]  # one special token
    assert last == tokenizer.encode(text)
    assert b"".join(map(figure.raw, [number - 1 for number in last])).decode() == text


@pytest.mark.parametrize("text", TEXTS)
def test_the_page_merges_as_the_package(call, tokenizer, text):
    figure = MergeExplorer(tokenizer, TEXTS)
    found = call(figure, "history", text, figure.bytes, figure.merges)
    expected = [[list(row) for row in rows] for rows in figure.history(text)]
    assert [step["rows"] for step in found] == expected
    assert found[0]["rule"] is None


def test_bytes_that_are_no_character_are_shown_in_hexadecimal(call, tokenizer):
    figure = MergeExplorer(tokenizer, TEXTS)
    half = figure.history("猫")[0][0][0]
    assert figure.shown(half) == call(figure, "shown", half, figure.bytes, figure.merges) == "E7"
    space = figure.history(" ")[0][0][0]
    assert figure.shown(space) == call(figure, "shown", space, figure.bytes, figure.merges) == "␣"


def test_still_picture_stands_beside_the_live_one(tokenizer):
    data, _ = MergeExplorer(tokenizer, TEXTS)._repr_mimebundle_()
    assert "<svg" in data["image/svg+xml"] and "application/vnd.jupyter.widget-view+json" in data


def test_by_keyboard(show, tokenizer):
    page = show(MergeExplorer(tokenizer, TEXTS), 320)
    assert said(page).startswith("Merge number")
    page.get_by_role("textbox").fill("zq")
    assert "No merge yet" in said(page) and "2 characters, 2 bytes, 2 tokens" in said(page)
    page.get_by_role("textbox").fill("the birds")
    page.get_by_role("slider").press("End")
    assert "no rule is left" in said(page)
    page.get_by_role("slider").press("Home")
    assert "every token is a byte" in said(page)
    page.get_by_role("button", name="Next merge").press("Enter")
    assert said(page).startswith("Merge number")
    page.get_by_role("radio").first.press("ArrowRight")
    assert page.get_by_role("textbox").input_value() == TEXTS[1].rstrip("\n")
