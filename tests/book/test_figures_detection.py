"""DetectionExplorer: its arithmetic is the package's, what it refuses, mouse and keyboard."""

import numpy as np
import pytest
import torch

from mmcourse.book.figures.detection import DetectionExplorer, explain
from mmcourse.data import EmojiScenes
from mmcourse.detection import DETR, Found, Truth, box_iou, judge
from tests.helpers import said, says, traits

PICTURE = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
DOG = (8, 8, 16, 16)


def story():
    """Three queries: a dog, the same dog again, and a cat where there is none."""
    return {
        "picture": PICTURE,
        "labels": ["dog", "dog", "cat"],
        "scores": [0.8, 0.9, 0.3],
        "boxes": [(8, 8, 16, 15), DOG, (0, 0, 6, 6)],
        "maps": (np.eye(9)[[4, 4, 0]] + 0.1).tolist(),
        "truth": [("dog", DOG)],
    }


def test_answers_are_those_of_the_model():
    torch.manual_seed(0)
    model = DETR(["dog", "cat"], queries=5, width=32, channels=(8, 16, 16), blocks=(0, 0, 0))
    scene = EmojiScenes("val")[1]
    found = explain(model.eval(), scene)
    best = {one.query: one for one in model.find(scene.image, 0)}
    for query in range(5):
        assert found["labels"][query] == best[query].name
        assert found["scores"][query] == pytest.approx(best[query].score, abs=1e-6)
        assert found["boxes"][query] == pytest.approx(best[query].box, abs=1e-3)
        assert sum(found["maps"][query]) == pytest.approx(1, abs=1e-5)
    packed = traits(DetectionExplorer([found]))["stories"][0]
    assert all(max(row) == 100 and min(row) >= 0 for row in packed["maps"])


def test_the_page_computes_iou_and_judges_as_the_package(call):
    rng = np.random.default_rng(1)
    for _ in range(6):
        boxes = np.concatenate(
            [low := rng.integers(0, 12, (4, 2)), low + 2 + rng.integers(0, 9, (4, 2))], 1
        )
        explorer = DetectionExplorer([story()])
        expected = box_iou(torch.tensor(boxes[:1]), torch.tensor(boxes[1:]))[0]
        for other, value in zip(boxes[1:].tolist(), expected.tolist(), strict=True):
            assert call(explorer, "iou", boxes[0].tolist(), other) == pytest.approx(value, abs=1e-6)
    one = story()
    seen = Found(np.array([0, 0, 1]), np.array(one["scores"]), np.array(one["boxes"]))
    right = judge([seen], [Truth(np.array([0]), np.array([DOG]))])
    found = call(
        DetectionExplorer([one]), "judged", traits(DetectionExplorer([one]))["stories"][0], 0
    )
    assert [entry["query"] for entry in found] == [1, 0, 2]
    assert [entry["right"] for entry in found] == [*right[0][0].right, *right[1][0].right]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"maps": [[0.1] * 8] * 3}, "must form a square, got N = 8"),
        ({"scores": [0.1, 0.2]}, r"scores must be finite numbers of shape \(3\)"),
        ({"boxes": [(0, 0, float("nan"), 1)] * 3}, "boxes must be finite"),
    ],
)
def test_what_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        DetectionExplorer([story() | change])
    with pytest.raises(ValueError, match="at least one story"):
        DetectionExplorer([])


def test_still_picture_stands_beside_the_live_one():
    data, _ = DetectionExplorer([story(), story()])._repr_mimebundle_()
    assert "<svg" in data["image/svg+xml"] and "application/vnd.jupyter.widget-view+json" in data


def test_by_keyboard_and_mouse(show):
    page = show(DetectionExplorer([story(), story()]), 320)
    assert "From a score of 0.50 on: 2 boxes, 1 right, 1 wrong, and 0 of 1 object missed." in said(
        page
    )
    slider = page.get_by_role("slider")
    slider.fill("0.85")
    assert says(page, "From a score of 0.85 on: 1 box, 1 right, 0 wrong")
    slider.fill("0.95")
    assert says(page, "0 boxes, 0 right, 0 wrong, and 1 of 1 object missed")
    page.get_by_role("radio", name="none").press("ArrowRight")
    assert says(page, "Query 1 says dog with 0.80, columns 8 to 16, rows 8 to 15; 1 cell of 9")
    page.get_by_role("radio", name="query 3").click()
    assert says(page, "Query 3 says cat with 0.30, columns 0 to 6, rows 0 to 6")
    page.get_by_role("radiogroup", name="Scene").get_by_role("radio").nth(1).click()
    assert "Query" not in said(page)
