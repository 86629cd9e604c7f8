"""PatchExplorer: what it refuses, what it computes, and that keyboard and finger can use it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmcourse.book.figures.patches import PatchExplorer
from tests.helpers import attributes, said, says

PICTURE = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
POSITIONS = torch.randn(9, 5, generator=torch.Generator().manual_seed(0))


# ---- Python


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda: PatchExplorer(PICTURE / 255),
            "picture must be a uint8 array .H, W, 3., values 0 to 255, got float64",
        ),
        (lambda: PatchExplorer(PICTURE[:20]), "must be square, got .20, 24."),
        (
            lambda: PatchExplorer(PICTURE, sizes=[8, 7]),
            "must divide the side of the picture, 24 pixels, got .8, 7.",
        ),
        (
            lambda: PatchExplorer(PICTURE, positions=POSITIONS * torch.nan),
            "positions must be finite numbers",
        ),
        (lambda: PatchExplorer(PICTURE, positions=POSITIONS[:8]), "a row for each patch.* 8 rows"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_words(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "figure", [lambda: PatchExplorer(PICTURE), lambda: PatchExplorer(PICTURE, positions=POSITIONS)]
)
def test_a_still_picture_stands_beside_the_live_one(figure):
    data, _ = figure()._repr_mimebundle_()
    assert data["image/svg+xml"].count("<image") >= 1
    assert "application/vnd.jupyter.widget-view+json" in data


def test_sizes_that_give_at_most_1024_patches():
    assert PatchExplorer(PICTURE).sizes == [24, 12, 8, 6, 4, 3, 2, 1]
    assert PatchExplorer(np.zeros((64, 64, 3), np.uint8)).sizes == [64, 32, 16, 8, 4, 2]


def test_the_still_patches():
    scene, cosines, _ = PatchExplorer(PICTURE, positions=POSITIONS).draw().axes
    assert scene.get_title() == "9 patches, 81 pairs"
    assert sorted(line.get_ydata()[0] for line in scene.lines if line.get_xdata()[0] == 0) == [
        7.5,
        15.5,
    ]
    expected = F.cosine_similarity(POSITIONS[4:5], POSITIONS).reshape(3, 3)
    np.testing.assert_allclose(cosines.images[0].get_array(), expected, atol=1e-4)


# ---- in a browser


def test_numbers_of_patches_equal_torch(call):
    figure = PatchExplorer(PICTURE, positions=POSITIONS)
    rows = torch.tensor([call(figure, "cosines", figure.positions, chosen) for chosen in range(9)])
    expected = F.cosine_similarity(POSITIONS[:, None], POSITIONS[None], dim=-1)
    torch.testing.assert_close(rows, expected, atol=1e-4, rtol=0)
    assert call(figure, "cost", 24, 8) == {"columns": 3, "tokens": 9, "pairs": 81, "values": 192}


def test_the_drawing_of_patches(show):
    page = show(PatchExplorer(PICTURE, positions=POSITIONS))
    page.get_by_role("slider", name="Patch", exact=True).focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")  # patch 7: row 2, column 1
    scene = page.get_by_role("slider", name="Patch", exact=True)
    cosines = page.get_by_role("slider", name="Patch in the map of cosines")
    assert attributes(scene.locator("rect"), "x", "y", "width", "height") == [[8, 16, 8, 8]]
    assert page.get_by_label("Patch 7, enlarged").get_attribute("viewBox") == "8 16 8 8"
    cells = attributes(cosines.locator("rect"), "x", "y", "fill")
    assert [cell[:2] for cell in cells] == [*([i % 3, i // 3] for i in range(9)), [1, 2]]
    for cosine, (*_, fill) in zip(
        F.cosine_similarity(POSITIONS[7:8], POSITIONS).tolist(), cells[:9], strict=True
    ):
        red, _, blue = map(int, fill[4:-1].split(","))
        assert (red > blue) == (cosine > 0), "red alike, blue opposed"
    assert page.locator("table b").all_inner_texts() == ["9", "81", "192"]
    page.get_by_role("radio", name="4", exact=True).click()  # the one at the middle of the old one
    assert "patch 33, in row 5 and column 3" in said(page)
    assert not cosines.is_visible() and page.locator("table b").all_inner_texts() == [
        "36",
        "1,296",
        "48",
    ]


def test_patches_by_keyboard(show):
    page = show(PatchExplorer(PICTURE, positions=POSITIONS))
    assert "patch 0, in row 0 and column 0" in said(page) and "9 tokens" in said(page)
    page.get_by_role("slider", name="Patch", exact=True).focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
    nearest = F.cosine_similarity(POSITIONS[7:8], POSITIONS).argsort(descending=True)[1]
    assert "patch 7, in row 2 and column 1" in said(
        page
    ) and f"most like that of patch {nearest} " in said(page)
    page.get_by_role("radio", name="8", exact=True).focus()
    page.keyboard.press("ArrowRight")
    assert "16 tokens" in said(page) and "Choose that size" in said(page)


@pytest.mark.parametrize("rows, sizes", [(1, [24]), (144, [2])])
def test_one_patch_and_many(show, rows, sizes):
    page = show(PatchExplorer(PICTURE, sizes=sizes, positions=torch.randn(rows, 3)))
    assert f"{rows} token" in said(page) and page.get_by_role("slider").count() == 2


def test_patches_by_finger(show):
    page = show(PatchExplorer(PICTURE, positions=POSITIONS), 390, has_touch=True)
    for name in ("Patch", "Patch in the map of cosines"):
        box = page.get_by_role("slider", name=name, exact=True).bounding_box()
        for patch in (5, 7):
            row, column = divmod(patch, 3)
            x, y = (column + 0.5) / 3, (row + 0.5) / 3  # of the picture
            page.touchscreen.tap(box["x"] + box["width"] * x, box["y"] + box["height"] * y)
            assert says(page, f"This is patch {patch}, in row {row} and column {column}")
    page.get_by_role("radio", name="4", exact=True).tap()
    assert says(page, "4 × 4 pixels") and says(page, "36 tokens")
