"""SpectrumExplorer: what it refuses, that its arithmetic is the package's, and a keyboard."""

import base64

import numpy as np
import pytest
import torch

from mmcourse.audio import power_spectrum
from mmcourse.book.figures.spectrum import SpectrumExplorer
from tests.helpers import said

TIME = torch.arange(8000) / 16_000
SOUNDS = [
    ("low", 0.5 * torch.sin(6.2832 * 400 * TIME)),
    ("high", 0.5 * torch.sin(6.2832 * 3000 * TIME)),
]


@pytest.mark.parametrize(
    ("sounds", "message"),
    [
        ([], "at least one .label, waveform."),
        ([("a", torch.zeros(48_001))], "'a' has 48001 samples, expected 1 to 48000"),
        ([("a", torch.zeros(0))], "expected 1 to 48000"),
        ([("a", torch.tensor([0.0, torch.nan]))], "NaN"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_words(sounds, message):
    with pytest.raises(ValueError, match=message):
        SpectrumExplorer(sounds)


def test_samples_are_kept():
    sound = SpectrumExplorer(SOUNDS).sounds[1]
    samples = np.frombuffer(base64.b64decode(sound["audio"]), "<i2") / 32767
    np.testing.assert_allclose(samples, SOUNDS[1][1], atol=2e-5)
    assert len(base64.b64decode(sound["mel"])) == sound["frames"] * sound["mels"] == 50 * 80


def test_still_picture_stands_beside_the_live_one():
    data, _ = SpectrumExplorer(SOUNDS)._repr_mimebundle_()
    assert "<svg" in data["image/svg+xml"] and "application/vnd.jupyter.widget-view+json" in data


def test_the_page_computes_the_power_of_the_package(call):
    figure = SpectrumExplorer(SOUNDS)
    for size in (400, 12):
        frame = torch.randn(size, generator=torch.Generator().manual_seed(size)).double()
        found = torch.tensor(call(figure, "power", frame.tolist())).double()
        torch.testing.assert_close(found, power_spectrum(frame), atol=1e-4, rtol=1e-4)
    samples = list(range(1000))
    assert call(figure, "frameOf", samples, 2) == list(range(120, 520))
    assert call(figure, "frameOf", samples, 0)[:201] == [0] * 200 + [0]


def test_by_keyboard(show):
    page = show(SpectrumExplorer(SOUNDS))
    slider = page.get_by_label("Frame")
    slider.focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    assert "Frame 20, at 0.20 s: loudest at 400 Hz" in said(page)
    page.get_by_role("radio", name="low").focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("radio", name="high").get_attribute("aria-checked") == "true"
    page.get_by_label("Frame").focus()
    page.keyboard.press("End")
    page.keyboard.press("PageDown")
    assert "3000 Hz" in said(page)
