"""BitsExplorer: its arithmetic is the package's, what it refuses, and a keyboard."""

import numpy as np
import pytest

from mmcourse.book.figures.bits import BitsExplorer, outcome, settings
from mmcourse.compression.quantise import BITS
from mmcourse.data import EmojiScenes
from mmcourse.data.language import parse
from mmcourse.hub import load
from tests.helpers import said


@pytest.fixture(scope="module")
def parts():
    captioner = load("scenes").requires_grad_(False)
    pictures = [EmojiScenes("val")[index].image for index in (6, 2)]
    texts = [one.text for one in captioner.caption(pictures, "greedy")]
    weights = captioner.get_submodule("convolutions.stages.0").weight.flatten(1).tolist()
    return {
        "layer": "the first convolution",
        "weights": weights,
        "settings": settings(captioner, pictures),
        "pictures": pictures,
        "texts": texts,
    }


@pytest.fixture
def figure(parts):
    return BitsExplorer(**parts)


def test_settings_are_those_of_the_captioner(parts):
    found = parts["settings"]
    assert len(found) == 14
    sizes = [found[f"{bits} channel"]["bytes"] for bits in BITS]
    assert sizes == sorted(sizes) and sizes[-1] < 2e6
    for text, whole in zip(found["8 channel"]["texts"], parts["texts"], strict=True):
        assert parse(text) == parse(whole)  # perhaps in other words
    assert found["2 tensor"]["texts"] != parts["texts"]


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("per_channel", [False, True])
def test_the_page_computes_as_python(call, figure, bits, per_channel):
    weights = figure.weights
    setting = {"weights": weights, "bits": bits, "perChannel": per_channel}
    found, expected = call(figure, "outcome", setting), outcome(weights, bits, per_channel)
    # a number at a half may go to the other neighbour: the page has more digits than float32
    near = np.isclose(found["values"], expected["values"], atol=1e-5)
    assert near.mean() > 0.995
    assert found["error"] == pytest.approx(expected["error"], rel=1e-2)
    assert found["used"] == pytest.approx(expected["used"], abs=0.2)


def test_halves_go_to_the_even_neighbour(call, figure):
    for x, expected in ((0.5, 0), (1.5, 2), (-0.5, 0), (-1.5, -2), (2.4, 2), (-2.6, -3)):
        assert call(figure, "nearest", x) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights": [1.0]}, r"weights must be finite numbers of shape \(C, n\)"),
        ({"settings": {}}, "settings must have 14 keys such as '8 tensor'"),
        ({"pictures": []}, "must have a text for each of 0 pictures, got 2"),
    ],
)
def test_what_is_refused(parts, change, message):
    with pytest.raises(ValueError, match=message):
        BitsExplorer(**parts | change)


def test_still_picture_stands_beside_the_live_one(figure):
    data, _ = figure._repr_mimebundle_()
    assert "<svg" in data["image/svg+xml"] and "application/vnd.jupyter.widget-view+json" in data


def test_by_keyboard(show, figure):
    page = show(figure, 320)
    assert "8 bits, one scale a tensor" in said(page)
    page.get_by_role("radio", name="8").press("ArrowRight")
    assert "7 bits, one scale a tensor" in said(page)
    page.get_by_role("radio", name="one a tensor").press("ArrowRight")
    assert "7 bits, one scale a channel" in said(page)
