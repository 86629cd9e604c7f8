"""DescentExplorer: its loss and steps are PyTorch's, what it refuses, keys, a mouse, a finger."""

import re

import numpy as np
import pytest
import torch

from mmcourse.book.figures.descent import RINGS, SHARES, STEPS, DescentExplorer
from tests.helpers import drag, middle, said, says, traits

PAPER = {"x": [0, 1, 2], "y": [1, 3, 2]}
LIMIT = 2 / 4.775  # two over how much the bowl of PAPER bends where it is steepest
GENERATOR = np.random.default_rng(0)
CASES = [
    (PAPER["x"], PAPER["y"], (0.0, 0.0)),
    ([-3, 0.5], [2, 2], (1.5, -0.5)),
    (GENERATOR.standard_normal(17), GENERATOR.standard_normal(17), (-2, 4)),
]
EACH = pytest.mark.parametrize(("x", "y", "place"), CASES)


def line_loss(x, y, weights):
    """The same by an independent implementation."""
    x, y = (torch.tensor(numbers, dtype=torch.float64) for numbers in (x, y))
    return torch.nn.functional.mse_loss(weights[0] * x + weights[1], y)


@EACH
def test_loss_and_step_in_the_page(call, x, y, place):
    figure = DescentExplorer(x, y, place)
    state = traits(figure)
    weights = torch.tensor(place, dtype=torch.float64, requires_grad=True)
    loss = line_loss(x, y, weights)
    loss.backward()
    found = call(figure, "lossAt", state["x"], state["y"], state["start"])
    assert found["loss"] == pytest.approx(loss.item(), abs=1e-10)
    np.testing.assert_allclose(found["gradient"], weights.grad, atol=1e-10)
    torch.optim.SGD([weights], lr=0.3).step()
    after = call(figure, "descend", state["x"], state["y"], state["start"], 0.3)
    np.testing.assert_allclose(after, weights.detach(), atol=1e-10)


@EACH
def test_the_bowl_in_the_page(call, x, y, place):
    figure = DescentExplorer(x, y, place)
    found = call(figure, "bowl", *(traits(figure)[name] for name in ("x", "y")))
    slope, height = np.polyfit(x, y, 1)
    np.testing.assert_allclose(found["bottom"], [slope, height], atol=1e-9)
    weights = torch.tensor(place, dtype=torch.float64)
    second = torch.autograd.functional.hessian(lambda weights: line_loss(x, y, weights), weights)
    bends, directions = torch.linalg.eigh(second)  # ascending
    np.testing.assert_allclose(found["bends"], bends.flip(0), atol=1e-9)
    steepest = [np.cos(found["angle"]), np.sin(found["angle"])]
    assert abs(np.dot(steepest, directions[:, 1].numpy())) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": [[0, 1, 2]]}, r"x must be finite numbers of shape \(n\), got shape \(1, 3\)"),
        ({"y": [1, 2]}, r"y must be finite numbers of shape \(3\), got shape \(2,\)"),
        ({"y": [1, 2, np.inf]}, "with NaN or infinity in it"),
        ({"start": [0]}, r"start must be finite numbers of shape \(2\), got shape \(1,\)"),
        ({"x": [2, 2, 2]}, "two different numbers, or no line is the best, got 3 times 2"),
        ({"x": []}, "x must be finite numbers"),
    ],
)
def test_what_it_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        DescentExplorer(**{**PAPER, **change})


@EACH
def test_the_still_picture(x, y, place):
    figure = DescentExplorer(x, y, place)
    panels = figure.draw().axes
    assert len(panels) == len(SHARES)
    ends = []
    for panel in panels:
        rate = float(panel.get_title().split()[-1])
        trail = panel.lines[0].get_xydata()  # (STEPS + 1, 2)
        weights = torch.tensor(place, dtype=torch.float64, requires_grad=True)
        line_loss(x, y, weights).backward()
        expected = weights.detach() - rate * weights.grad
        assert len(trail) == STEPS + 1
        np.testing.assert_allclose(trail[0], place)
        np.testing.assert_allclose(trail[1], expected, atol=0.01 * weights.grad.abs().max())
        ends.append(line_loss(x, y, torch.tensor(trail[-1])).item())
    start = line_loss(x, y, torch.tensor(place, dtype=torch.float64)).item()
    assert ends[1] < ends[0] < start < ends[2]


def test_the_rings_of_the_still_picture():
    panel = DescentExplorer(**PAPER).draw().axes[0]
    assert np.mean([panel.get_xlim(), panel.get_ylim()], 1) == pytest.approx([0.5, 1.5])
    for share, ring in zip(RINGS, panel.collections[0].get_paths(), strict=True):
        losses = [line_loss(PAPER["x"], PAPER["y"], place) for place in ring.vertices]
        expected = 0.5 + share * (14 / 3 - 0.5)  # above the bottom, as shares of the start's
        np.testing.assert_allclose(losses, expected, atol=0.02)


def test_a_start_at_the_bottom(show):
    figure = DescentExplorer(**PAPER, start=(0.5, 1.5))
    assert len(figure.draw().axes[0].collections[0].get_paths()) == len(RINGS)
    page = show(figure)
    press(page, "Ten steps")
    assert said(page).startswith("After 10 steps w is 0.50, b is 1.50 and the loss 0.500;")
    rings = page.locator("svg").first.locator("path[transform]")
    widths = rings.evaluate_all("rings => rings.map((ring) => ring.getBBox().width)")
    assert len(widths) == len(RINGS) and widths == sorted(widths) and widths[0] > 20


def press(page, name, times=1):
    for _ in range(times):
        page.get_by_role("button", name=name).press("Enter")


def set_rate(page, rate):
    page.get_by_label("Learning rate").fill(str(rate))


def dots(page):
    return page.locator("svg").first.locator("circle[r='3']").count()


def drawn(place, name):
    """The numbers in an attribute of what is drawn, in pixels of a picture 320 wide."""
    return [float(number) for number in re.findall(r"-?[\d.]+", place.get_attribute(name))]


def test_what_is_drawn(show):
    page = show(DescentExplorer(**PAPER))
    tip = page.get_by_role("slider", name="weights w and b")
    # the bottom (0.5, 1.5) is in the middle of a plane 6 wide and high
    assert drawn(tip, "transform") == pytest.approx([160 - 0.5 * 320 / 6, 160 + 1.5 * 320 / 6])
    set_rate(page, 0.3)
    press(page, "One step")  # to w = 1.4, b = 1.2
    assert drawn(tip, "transform") == pytest.approx([160 + 0.9 * 320 / 6, 160 + 0.3 * 320 / 6])
    plot = page.locator("svg").nth(1)
    points = [
        (drawn(point, "cx")[0], drawn(point, "cy")[0]) for point in plot.locator("circle").all()
    ]
    (x0, y0), (x1, y1) = points[:2]  # of (0, 1) and (1, 3)
    start_x, start_y, end_x, end_y = drawn(plot.locator("path").nth(1), "d")
    slope = (end_y - start_y) / (end_x - start_x) / ((y1 - y0) / (x1 - x0) / 2)
    height = start_y + (end_y - start_y) * (x0 - start_x) / (end_x - start_x)
    assert slope == pytest.approx(1.4) and y0 > y1
    assert 1 + (height - y0) / (y1 - y0) * 2 == pytest.approx(1.2), "where the line meets x = 0"


def test_by_keyboard(show):
    page = show(DescentExplorer(**PAPER), 320)
    assert said(page).startswith(
        "After 0 steps w is 0.00, b is 0.00 and the loss 4.667; at the bottom it is 0.500. "
    )
    set_rate(page, 0.3)
    press(page, "One step")
    assert said(page).startswith("After 1 step w is 1.40, b is 1.20 and the loss 1.400;")
    assert said(page).endswith("it overshoots the bottom, and still comes nearer.")
    press(page, "Ten steps")
    assert said(page).startswith("After 11 steps ") and dots(page) == 11
    press(page, "Start again")
    assert said(page).startswith("After 0 steps w is 0.00, b is 0.00") and dots(page) == 0
    tip = page.get_by_role("slider", name="weights w and b")
    tip.press("ArrowRight")
    tip.press("Shift+ArrowUp")
    assert said(page).startswith("After 0 steps w is 0.10, b is 0.50 and"), "3 / 30 and 5 times it"
    assert tip.get_attribute("aria-valuetext") == "w 0.10, b 0.50"


@pytest.mark.parametrize(
    ("rate", "verdict", "nearer"),
    [
        (0.02, "safe, and slow.", True),
        (0.15, "it comes down without overshooting.", True),
        (0.38, "it overshoots the bottom, and still comes nearer.", True),
        (0.43, "too large, each step across overshoots by more than the last.", False),
    ],
)
def test_small_and_large_rates(show, rate, verdict, nearer):
    page = show(DescentExplorer(**PAPER))
    set_rate(page, rate)
    losses = []
    for _ in range(4):
        losses.append(float(said(page).split("the loss ")[1].split(";")[0]))
        press(page, "Ten steps")
    assert said(page).endswith(verdict) and (rate < LIMIT) == nearer
    assert losses == sorted(losses, reverse=nearer)
    share = f"leaves {1 - 2 / LIMIT * rate:.2f} of the way to the bottom where the bowl is steepest"
    assert share in said(page)


def test_a_descent_that_flies_away_stops(show):
    page = show(DescentExplorer(**PAPER))
    set_rate(page, 0.52)
    press(page, "Ten steps", 30)
    steps = int(said(page).split()[1])
    assert 10 < steps < 200 and "e+" in said(page) and dots(page) == steps


def test_by_finger_and_by_mouse(show):
    page = show(DescentExplorer(**PAPER), 390, has_touch=True)
    tip, plane = page.get_by_label("weights w and b"), page.locator("svg").first
    page.get_by_role("button", name="One step").tap()
    drag(page, middle(tip.locator("circle").last), middle(plane))
    assert says(page, "After 0 steps w is 0.50, b is 1.50 and the loss 0.500;"), "the bottom"
    box = plane.bounding_box()
    x, y = middle(tip.locator("circle").last)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + box["width"] / 6, y - box["height"] / 3, steps=4)
    page.mouse.up()
    assert says(page, "w is 1.50, b is 3.50 and"), "right and up, of a plane 6 wide"


@pytest.mark.parametrize("count", [2, 100])
def test_few_and_many_points_fit(show, count):
    rows = np.random.default_rng(count).normal(size=(2, count))
    page = show(DescentExplorer(*(1000 * rows)), 320)
    press(page, "Ten steps")
    assert said(page).startswith("After 10 steps")
