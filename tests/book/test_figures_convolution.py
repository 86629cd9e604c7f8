"""ConvolutionExplorer: its sums are PyTorch's, what it refuses, and keys, a mouse and a finger."""

import numpy as np
import pytest
import torch

from mmcourse.book.figures.convolution import ConvolutionExplorer
from tests.helpers import said, says, traits

GENERATOR = np.random.default_rng(0)
PICTURE = GENERATOR.random((7, 9)).round(1)
KERNELS = {
    "three": GENERATOR.standard_normal((3, 3)).round(2),
    "four": GENERATOR.standard_normal((4, 4)).round(2),
}


def sums(name):
    """The same by an independent implementation."""
    return torch.nn.functional.conv2d(
        *(torch.tensor(part)[None, None] for part in (PICTURE, KERNELS[name]))
    )[0, 0]


@pytest.mark.parametrize("name", KERNELS)
def test_convolution_in_the_page(call, name):
    figure = ConvolutionExplorer(PICTURE, KERNELS)
    kernel = dict(traits(figure)["kernels"])[name]
    np.testing.assert_allclose(
        call(figure, "convolve", traits(figure)["picture"], kernel), sums(name), atol=1e-12
    )


@pytest.mark.parametrize(
    ("picture", "kernels", "message"),
    [
        (
            PICTURE[0],
            KERNELS,
            r"picture must be finite numbers of shape \(h, w\), got shape \(9,\)",
        ),
        (255 * PICTURE, KERNELS, "between 0 and 1: divide bytes by 255"),
        (PICTURE, {}, "at least one"),
        (
            PICTURE,
            {"flat": [[1, 2, 3]]},
            r"flat must be finite numbers of shape \(1, 1\), got shape \(1, 3\)",
        ),
        (
            PICTURE,
            {"wide": np.ones((8, 8))},
            "wide of side 8 does not fit a picture of 7 x 9 pixels",
        ),
    ],
)
def test_what_it_refuses(picture, kernels, message):
    with pytest.raises(ValueError, match=message):
        ConvolutionExplorer(picture, kernels)


def test_the_still_picture():
    scene, output = ConvolutionExplorer(PICTURE, KERNELS).draw().axes[:2]
    np.testing.assert_allclose(scene.images[0].get_array(), PICTURE)
    np.testing.assert_allclose(output.images[0].get_array(), sums("three"), atol=1e-6)


def window(page, name, row, column):
    """Whether the figure says, and draws, that the window of this kernel begins here."""
    size, expected = len(KERNELS[name]), sums(name)
    cells = [cell.split(" · ") for cell in page.locator("td").all_inner_texts()]
    part = PICTURE[row : row + size, column : column + size]
    assert [float(weight) for weight, _ in cells] == KERNELS[name].flatten().tolist()
    assert [float(pixel) for _, pixel in cells] == part.flatten().tolist()
    frames = [
        frame.evaluate("e => ['x', 'y', 'width', 'height'].map(name => +e.getAttribute(name))")
        for frame in page.locator("svg rect:last-child").all()
    ]
    assert frames == [[column, row, size, size], [column, row, 1, 1]]
    best = divmod(int(expected.argmax()), expected.shape[1])
    return said(page) == (
        f"The window begins in row {row} and column {column}, counted from 0. "
        f"Its sum is {expected[row, column]:.2f}; "
        f"the largest of all {expected.numel()} is {expected.max():.2f}, "
        f"in row {best[0]} and column {best[1]}."
    )


def test_by_keyboard(show):
    page = show(ConvolutionExplorer(PICTURE, KERNELS), 320)
    slider = page.get_by_role("slider", name="Window")
    assert window(page, "three", 2, 3)
    for key in ("ArrowRight", "ArrowRight", "ArrowUp"):
        slider.press(key)
    assert window(page, "three", 1, 5) and slider.get_attribute("aria-valuenow") == str(1 * 7 + 5)
    for key in ("Shift+ArrowDown", "Shift+ArrowRight"):
        slider.press(key)
    assert window(page, "three", 4, 6), "it stays inside"
    page.get_by_role("radio", name="three").press("ArrowRight")
    assert window(page, "four", 3, 5), "the larger window too"


def test_by_finger_and_by_mouse(show):
    page = show(ConvolutionExplorer(PICTURE, KERNELS), 390, has_touch=True)
    box = page.get_by_role("slider", name="Window").bounding_box()
    for row, column, begins in [(4, 2, (3, 1)), (0, 0, (0, 0)), (6, 8, (4, 6))]:
        x, y = (
            box["x"] + box["width"] * (column + 0.5) / 9,
            box["y"] + box["height"] * (row + 0.5) / 7,
        )
        page.touchscreen.tap(x, y)
        assert says(page, "begins in row {} and column {},".format(*begins)) and window(
            page, "three", *begins
        )
    page.mouse.move(box["x"] + box["width"] * 4.5 / 9, box["y"] + box["height"] * 3.5 / 7)
    assert window(page, "three", 2, 3)
