"""AttributionExplorer: its maps are the package's, what it refuses, and mouse and keyboard."""

import numpy as np
import pytest
import torch

from mmcourse.book.figures.attribution import AttributionExplorer, explain
from mmcourse.data import EmojiScenes
from mmcourse.hub import load
from mmcourse.interpretability import METHODS, attention, peak
from tests.helpers import said, says, traits

PICTURE = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)


def story():
    """Three words and nine cells; the second method speaks for nothing at the second word."""
    first = np.eye(9)[[0, 4, 8]] + np.eye(9)[[1, 3, 7]] / 2
    second = first.copy()
    second[1] = -1.0
    return {
        "picture": PICTURE,
        "words": ["a", "dog", "<end>"],
        "maps": {"attention": first.tolist(), "occlusion": (2 * second).tolist()},
        "boxes": [("dog", (8, 8, 16, 16))],
    }


def test_maps_are_those_of_the_package():
    model = load("scenes").eval().requires_grad_(False)
    scene = EmojiScenes("val")[1]
    found = explain(model, scene)
    pixels = model.pixels_of(scene.image[None])
    assert list(found["maps"]) == list(METHODS)
    for place in range(len(found["words"])):
        own = attention(model, pixels, found["words"], place)[0]
        assert torch.allclose(torch.tensor(found["maps"]["attention"][place]), own, atol=1e-5)
    packed = traits(AttributionExplorer([found]))["stories"][0]
    assert packed["words"][packed["first"]] == "wolf"
    for values in packed["maps"].values():
        assert all(min(row) >= 0 and max(row) in (0, 100) for row in values)


def test_the_page_finds_the_same_peak(call):
    one = traits(AttributionExplorer([story()]))["stories"][0]
    for values in one["maps"]["attention"]:
        found = call(AttributionExplorer([story()]), "peak", one, values)
        x, y = peak(torch.tensor(values), 24)
        assert (found["n"] % 3 * 8 + 4, found["n"] // 3 * 8 + 4) == (x, y)
        assert found["box"] == ("dog" if 8 <= x < 16 and 8 <= y < 16 else None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"maps": {"attention": [[0.0] * 8] * 3}}, "must form a square, got N = 8"),
        ({"maps": {"attention": [[0.0] * 9] * 2}}, r"shape \(3, N\), got shape \(2, 9\)"),
        ({"maps": {"occlusion": [[float("nan")] * 9] * 3}}, "the maps of occlusion must be finite"),
    ],
)
def test_what_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        AttributionExplorer([story() | change])
    with pytest.raises(ValueError, match="at least one story"):
        AttributionExplorer([])


def test_still_picture_stands_beside_the_live_one():
    data, _ = AttributionExplorer([story()])._repr_mimebundle_()
    assert "<svg" in data["image/svg+xml"] and "application/vnd.jupyter.widget-view+json" in data


def test_by_keyboard_and_mouse(show):
    page = show(AttributionExplorer([story(), story()]), 320)
    assert "“dog”, attention: the largest value lies in row 2, column 2, inside the box" in said(
        page
    )
    assert "2 of 9 cells" in said(page)
    page.get_by_role("radio", name="attention").press("ArrowRight")
    assert says(page, "“dog”, occlusion: no cell speaks for the word.")
    page.get_by_role("radio", name="end of the sentence").click()
    assert says(page, "The end, occlusion: the largest value lies in row 3, column 3, outside")
    page.get_by_role("radiogroup", name="Scene").get_by_role("radio").nth(1).click()
    assert says(page, "“dog”, occlusion")
