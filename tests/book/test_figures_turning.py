"""TurningClouds: its arithmetic is the package's, what it refuses, keyboard and finger."""

import math

import numpy as np
import pytest
import torch

from mmcourse.alignment import energy_distance, procrustes
from mmcourse.book.figures.turning import TurningClouds, found, turned, unlike
from tests.helpers import said, says

DICE = np.random.default_rng(0)
RING = [[math.cos(k * math.pi / 3), math.sin(k * math.pi / 3)] for k in range(6)]
CLOUD = DICE.normal(size=(6, 2))
CLOUDS = {"ring": (RING, turned(RING, 90)), "lopsided": (CLOUD, turned(CLOUD, 200, True))}


@pytest.mark.parametrize(
    ("clouds", "degrees", "message"),
    [
        ({}, 0, "got none"),
        ({"one": (RING[:1], RING[:1])}, 0, "two points or more, got 1"),
        ({"one": (RING, RING[:4])}, 0, r"texts of one must be finite numbers of shape \(6, 2\)"),
        ({"one": (RING, RING), "two": (RING[:3], RING)}, 0, "pictures of two must be finite"),
        ({"one": (RING, RING)}, 360, "degrees must be from 0 to 359, got 360"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_words(clouds, degrees, message):
    with pytest.raises(ValueError, match=message):
        TurningClouds(clouds, degrees)


def test_still_picture_stands_beside_the_live_one():
    data, _ = TurningClouds(CLOUDS)._repr_mimebundle_()
    assert "<svg" in data["image/svg+xml"] and "application/vnd.jupyter.widget-view+json" in data


def test_the_measures_are_the_packages():
    x, y = torch.tensor(CLOUD), torch.tensor(DICE.normal(size=(6, 2)))
    assert unlike(x.numpy(), y.numpy()) == pytest.approx(energy_distance(x, y).item(), abs=1e-12)
    nearest = torch.cdist(x, y).argmin(1) == torch.arange(6)
    assert found(x.numpy(), y.numpy()) == pytest.approx(nearest.double().mean().item())
    assert turned([[1, 0]], 90) == pytest.approx(np.array([[0, 1]]))
    assert turned([[0, 1]], 0, mirror=True) == pytest.approx(np.array([[0, -1]]))


@pytest.mark.parametrize(("degrees", "mirror"), [(0, False), (37, True), (300, False)])
def test_the_page_computes_as_python(call, degrees, mirror):
    figure = TurningClouds(CLOUDS)
    cloud, texts = figure.pictures[1], np.array(figure.texts[1])
    expected = turned(cloud, degrees, mirror)
    moved = call(figure, "turned", cloud, degrees, mirror)
    assert np.array(moved) == pytest.approx(expected)
    assert call(figure, "unlike", moved, texts.tolist()) == pytest.approx(unlike(expected, texts))
    assert call(figure, "found", moved, texts.tolist()) == found(expected, texts)


@pytest.mark.parametrize(
    ("degrees", "mirror", "count"), [(40, False, 2), (200, True, 3), (10, True, 6)]
)
def test_the_pages_procrustes_is_the_packages(call, degrees, mirror, count):
    noisy = turned(CLOUD, degrees, mirror) + 0.05 * DICE.normal(size=(6, 2))
    best = call(TurningClouds(CLOUDS), "bestTurn", CLOUD.tolist(), noisy.tolist(), count)
    assert best["mirror"] == mirror
    turn = procrustes(torch.tensor(CLOUD[:count]), torch.tensor(noisy[:count]))
    ours = turned(CLOUD, best["degrees"], best["mirror"])
    assert ours == pytest.approx((torch.tensor(CLOUD) @ turn).numpy(), abs=1e-9)


def test_by_keyboard(show):
    page = show(TurningClouds(CLOUDS), 320)
    assert "the clouds are 0.000 unlike" not in said(page) or "0 of 6" in said(page)
    page.get_by_role("slider", name="pictures turned by").press("ArrowRight")
    assert "Turned by 1°" in said(page)
    page.get_by_role("radio").first.press("ArrowRight")
    page.get_by_role("slider", name="pairs known").press("ArrowRight")
    page.get_by_role("button", name="Turn by Procrustes").press("Enter")
    assert "Turned by 200°, mirrored" in said(page) and "6 of 6 pictures" in said(page)


def test_by_mouse(show):
    page = show(TurningClouds(CLOUDS), 700)
    page.get_by_role("button", name="Turn by Procrustes").click()
    assert says(page, "Turned by 90°: the clouds are 0.000 unlike, and 6 of 6")
    page.get_by_label("pictures mirrored").check()
    assert says(page, "mirrored")
    page.get_by_label("lines between pairs").uncheck()
    assert page.locator("svg line").count() == 0
