"""SamplingExplorer: what it refuses, that its arithmetic is the package's, and a keyboard."""

import math

import pytest
import torch

from mmcourse.book.figures.sampling import SamplingExplorer
from mmcourse.decoding import truncate
from tests.helpers import said

WORDS = [f"word{number}" for number in range(30)] + ["<end>"]
LOGITS = 2 * torch.randn(2, 31, generator=torch.Generator().manual_seed(0))
MOMENTS = [("a", WORDS, LOGITS[0]), ("a red", WORDS, LOGITS[1])]


@pytest.mark.parametrize(
    "moments, message",
    [
        ([], "at least one .text so far, words, logits."),
        (
            [("a", WORDS, LOGITS[0, 1:])],
            r"logits must be finite numbers of shape \(31\), got shape \(30,\)",
        ),
        ([("a", WORDS, LOGITS[0] * torch.nan)], "logits must be finite numbers"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_words(moments, message):
    with pytest.raises(ValueError, match=message):
        SamplingExplorer(moments)


def test_words_stand_from_the_largest_down():
    moment = SamplingExplorer(MOMENTS).moments[1]
    assert moment["words"][0] == WORDS[LOGITS[1].argmax()] and len(moment["words"]) == 12
    assert moment["logits"] == pytest.approx(
        LOGITS[1].sort(descending=True).values.tolist(), abs=6e-4
    )


def test_still_picture_stands_beside_the_live_one():
    data, _ = SamplingExplorer(MOMENTS)._repr_mimebundle_()
    assert "<svg" in data["image/svg+xml"] and "application/vnd.jupyter.widget-view+json" in data


def test_the_page_cuts_as_the_package(call):
    figure = SamplingExplorer(MOMENTS)
    for moment, logits in zip(figure.moments, LOGITS.double(), strict=True):
        ordered = logits.sort(descending=True).values
        for temperature, k, p in [
            (1, 31, 1),
            (0.3, 31, 1),
            (1.7, 5, 1),
            (0.8, 31, 0.6),
            (1.2, 9, 0.9),
            (1, 1, 0.05),
        ]:
            probs = call(figure, "cut", moment["logits"], temperature, k, p)
            expected = truncate(ordered / temperature, k, p).softmax(-1)
            torch.testing.assert_close(
                torch.tensor(probs, dtype=torch.float64), expected, atol=2e-3, rtol=0
            )
            bits = torch.special.entr(expected).sum().item() / math.log(2)
            assert call(figure, "entropy", probs) == pytest.approx(bits, abs=0.02)
    halves = [0, math.log(0.5), math.log(0.5)]  # 0.5, 0.25, 0.25
    assert call(figure, "cut", halves, 1, 3, 0.5) == [1, 0, 0], (
        "a share that is reached exactly needs no further word"
    )


def test_a_word_is_picked_in_proportion(call):
    figure, probs = SamplingExplorer(MOMENTS), [0.5, 0.25, 0.25, 0]
    assert [call(figure, "pick", probs, x) for x in (0, 0.49, 0.5, 0.74, 0.75, 0.99)] == [
        0,
        0,
        1,
        1,
        2,
        2,
    ]
    assert call(figure, "pick", [0.5, 0.4999, 0], 0.99995) == 1, (
        "rounding never draws what has no probability"
    )


def test_by_keyboard(show):
    page = show(SamplingExplorer(MOMENTS), 320)
    assert "After “a”: 31 of 31 words are left, which held 100.0\u00a0%" in said(page)
    page.get_by_role("slider", name="Top-k").press("Home")
    assert "1 of 31 words is left" in said(page) and "among 1.0 equally" in said(page)
    page.get_by_role("button", name="Draw 20 words").press("Enter")
    assert page.get_by_role("row").nth(1).get_by_role("cell").last.text_content() == "20"
    page.get_by_role("radio").first.press("ArrowRight")
    assert "After “a red”: 1 of 31" in said(page)
    assert page.get_by_role("row").nth(1).get_by_role("cell").last.text_content() == ""


@pytest.mark.parametrize("width", [320, 700])
def test_nothing_touches_and_no_number_breaks(show, width):
    """The longest bar ends before its number; "< 0.1 %" stays on its line: rows do not jump."""
    page = show(SamplingExplorer(MOMENTS), width)
    page.get_by_role("slider", name="Temperature").press("Home")
    assert "<\u00a00.1\u00a0%" in page.get_by_role("table").inner_text()
    gap, heights = page.evaluate("""() => {
      const box = part => part.getBoundingClientRect();
      const rows = [...document.querySelectorAll("tr")].slice(1);
      const bars = rows.map(({cells}) => [...cells[1].firstChild.children]);
      const ends = bars.map(row => Math.max(...row.map(bar => box(bar).right)));
      const gaps = rows.map(({cells}, i) => box(cells[2]).left - ends[i]);
      return [Math.min(...gaps), rows.map(row => box(row).height)];
    }""")
    assert gap >= 5 and max(heights) < 1.5 * min(heights)
