"""ClipPlayer: its weights are the reader's, what it refuses, the keyboard, and less motion."""

import numpy as np
import pytest
import torch

from mmcourse.book.figures.player import ClipPlayer, follow
from mmcourse.data.clips import MovingScenes
from mmcourse.video import ClipReader
from tests.helpers import said, says, traits

FRAMES = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)


def story(**changes):
    """Four frames in which something happens in the second and third."""
    return {
        "frames": FRAMES,
        "caption": "a star grows",
        "truth": "a star shrinks",
        "when": (1, 2),
        "parts": {"event": [0.1, 0.2, 0.3, 0.4], "first thing": [0.25] * 4},
    } | changes


@pytest.mark.parametrize("long", [1, 2])
def test_weights_are_those_of_the_reader(long):
    torch.manual_seed(0)
    reader = ClipReader("factorised", long, width=12, heads=3).eval()
    clip = next(c for c in map(MovingScenes("val").__getitem__, range(99)) if c.kind == "order")
    found = follow(reader, clip)
    assert found["truth"] == clip.caption and found["when"] == clip.when
    weights = reader.read(clip.frames[None]).weights[0].sum(-1)  # (3, T)
    for row, values in zip(weights, found["parts"].values(), strict=True):
        assert sum(values) == pytest.approx(1, abs=1e-5)
        assert np.reshape(values, (-1, long)).sum(1) == pytest.approx(row.tolist(), abs=1e-5)
    ClipPlayer([found])


def test_a_story_is_small_and_whole():
    packed = traits(ClipPlayer([story()]))["stories"][0]
    assert packed["count"] == 4 and list(packed["size"]) == [8, 8]
    assert packed["strip"].startswith("data:image/png;base64,")
    assert packed["parts"][0] == ["event", [0.1, 0.2, 0.3, 0.4]]


def test_what_is_refused():
    with pytest.raises(ValueError, match="stories must be a list with at least one story"):
        ClipPlayer([])
    with pytest.raises(ValueError, match=r"weights of event must be finite numbers of shape \(4\)"):
        ClipPlayer([story(parts={"event": [0.5, 0.5]})])


def test_words_of_a_frame(call):
    packed = traits(ClipPlayer([story()]))["stories"][0]
    words = call(ClipPlayer([story()]), "inWords", packed, 1)
    assert words == (
        "Frame 2. Read as “a star grows”, the truth is “a star shrinks”. It happens in this "
        "frame. Weight on it: event 20 %, first thing 25 %."
    )
    right = packed | {"truth": "a star grows"}
    words = call(ClipPlayer([story()]), "inWords", right, 3)
    assert "which is true. Nothing happens in this frame." in words


def test_still_picture_stands_beside_the_live_one():
    data, _ = ClipPlayer([story()])._repr_mimebundle_()
    assert "<svg" in data["image/svg+xml"] and "application/vnd.jupyter.widget-view+json" in data


def test_by_keyboard(show):
    page = show(ClipPlayer([story(), story(truth="a star grows")]), 320)
    assert "Frame 1." in said(page)
    slider = page.get_by_role("slider")
    slider.press("ArrowRight")
    assert says(page, "Frame 2.")
    slider.press("End")
    assert says(page, "Frame 4.")
    button = page.get_by_role("button", name="Play")
    button.press("Enter")
    playing = page.get_by_role("button", name="Pause")
    assert playing.get_attribute("aria-pressed") == "true"
    page.wait_for_function("document.querySelector('input').value !== '4'")
    playing.press("Space")
    assert page.get_by_role("button", name="Play").get_attribute("aria-pressed") == "false"
    page.get_by_role("radio").first.press("ArrowRight")
    assert says(page, "Frame 1. Read as “a star grows”, which is true.")


def test_it_does_not_play_by_itself(show):
    page = show(ClipPlayer([story()]), 320)
    page.wait_for_timeout(700)
    assert "Frame 1." in said(page)


def test_less_motion_plays_once(show):
    page = show(ClipPlayer([story()]), 320, reduced_motion="reduce")
    page.get_by_role("button", name="Play").click()
    assert says(page, "Frame 4.")  # it stops at the last frame, and only then says so
    assert page.get_by_role("button", name="Play").get_attribute("aria-pressed") == "false"
