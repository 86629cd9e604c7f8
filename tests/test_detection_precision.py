"""Average precision against ``pycocotools``, on random and on adversarial detections."""

from contextlib import redirect_stdout

import numpy as np
import pytest

from mmcourse.detection import (
    Found,
    Truth,
    average_precision,
    curve_of,
    judge,
    precision_by_class,
    precision_interval,
)
from mmcourse.detection.precision import MOST, area_under, precision_redrawn, ranked

THRESHOLDS = (0.5, 0.75)


def coco_precision(found, truths, threshold):
    """Average precision by ``pycocotools``: of each class that has an object, and their mean."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    classes = {label for part in (*found, *truths) for label in part.labels}
    truth = COCO()
    truth.dataset = {
        "images": [{"id": number} for number in range(len(truths))],
        "categories": [{"id": int(label)} for label in sorted(classes)],
        "annotations": [],
        "info": {},
    }
    for number, picture in enumerate(truths):
        crowd = np.zeros(len(picture.labels)) if picture.crowd is None else picture.crowd
        for label, box, many in zip(picture.labels, picture.boxes, crowd, strict=True):
            entry = entry_of(number, label, box) | {"iscrowd": int(many)}
            entry["id"] = len(truth.dataset["annotations"]) + 1
            truth.dataset["annotations"].append(entry)
    detections = []
    for number, picture in enumerate(found):
        for label, score, box in zip(*picture, strict=True):
            detections.append(entry_of(number, label, box) | {"score": float(score)})
    with redirect_stdout(None):
        truth.createIndex()
        if detections:
            results = truth.loadRes(detections)
        else:  # loadRes fails on an empty list
            results = COCO()
            results.dataset = truth.dataset | {"annotations": []}
            results.createIndex()
        judge = COCOeval(truth, results, "bbox")
        judge.params.iouThrs = np.array([threshold])
        judge.evaluate()
        judge.accumulate()
    by_class = judge.eval["precision"][0, :, :, 0, -1].mean(0)  # -1 where there is no object
    return {
        label: value for label, value in zip(sorted(classes), by_class, strict=True) if value > -1
    }


def entry_of(number, label, box):
    x0, y0, x1, y1 = (float(edge) for edge in box)
    width, height = x1 - x0, y1 - y0
    return {
        "image_id": number,
        "category_id": int(label),
        "bbox": [x0, y0, width, height],
        "area": width * height,
    }


def random_boxes(rng, count, side=16):
    """Boxes with edges at whole numbers: every computation of them is exact."""
    low = rng.integers(0, side - 4, (count, 2))
    return np.concatenate([low, low + rng.integers(2, 8, (count, 2))], 1).astype(float)


def random_pictures(seed, pictures, classes, most, crowds=False, ties=False):
    """Found and Truth of some pictures; half of the detections are objects, moved a little."""
    rng = np.random.default_rng(seed)
    found, truths = [], []
    for _ in range(pictures):
        count = rng.integers(0, 5)
        boxes = random_boxes(rng, count)
        labels = rng.integers(1, classes + 1, count)
        crowd = rng.random(count) < 0.3 if crowds else None
        moved = boxes + rng.integers(-1, 2, boxes.shape) * (rng.random(boxes.shape) < 0.4)
        moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2])
        more = rng.integers(0, most + 1)
        seen = np.concatenate([moved, moved, random_boxes(rng, more)])
        called = np.concatenate([labels, labels, rng.integers(1, classes + 1, more)])
        scores = rng.random(len(seen))
        if ties:
            scores = np.round(scores, 1)
        found.append(Found(called, scores, seen))
        truths.append(Truth(labels, boxes, crowd))
    return found, truths


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("crowds", [False, True])
@pytest.mark.parametrize(("pictures", "classes", "most"), [(3, 1, 4), (25, 4, 6), (9, 11, 0)])
def test_as_pycocotools(pictures, classes, most, crowds, ties, threshold):
    for seed in range(4):
        pair = random_pictures(seed, pictures, classes, most, crowds, ties)
        expected = coco_precision(*pair, threshold)
        ours = precision_by_class(*pair, threshold)
        assert ours.keys() == expected.keys()
        for label, value in expected.items():
            assert abs(ours[label] - value) < 1e-6
        assert abs(average_precision(*pair, threshold) - np.mean(list(expected.values()))) < 1e-6


def one(labels, scores, boxes):
    return Found(np.array(labels), np.array(scores), np.array(boxes, float).reshape(-1, 4))


SQUARE = [0, 0, 10, 10]
ADVERSARIAL = {
    "nothing found": (one([], [], []), Truth([1], [SQUARE])),
    "the same box ten times": (one([1] * 10, [0.5] * 10, [SQUARE] * 10), Truth([1], [SQUARE])),
    "two equal objects": (one([1] * 3, [0.9, 0.8, 0.7], [SQUARE] * 3), Truth([1, 1], [SQUARE] * 2)),
    "IoU on the threshold": (one([1], [0.9], [[0, 0, 10, 5]]), Truth([1], [SQUARE])),
    "a box without area": (one([1, 1], [0.9, 0.8], [[5, 5, 5, 5], SQUARE]), Truth([1], [SQUARE])),
    "a wrong class": (one([2], [0.9], [SQUARE]), Truth([1], [SQUARE])),
    "on a crowd": (
        one([1] * 4, [0.9, 0.8, 0.7, 0.6], [[1, 1, 3, 3], [5, 5, 9, 9], SQUARE, [20, 0, 30, 10]]),
        Truth([1, 1], [SQUARE, [20, 0, 30, 10]], [True, False]),
    ),
    "an object inside a crowd": (
        one([1, 1], [0.9, 0.8], [[1, 1, 5, 5], [1, 1, 5, 5]]),
        Truth([1, 1], [[0, 0, 20, 20], [1, 1, 5, 5]], [True, False]),
    ),
    "equal overlaps": (
        one([1, 1], [0.9, 0.8], [[2, 0, 12, 10], SQUARE]),
        Truth([1, 1], [SQUARE, [4, 0, 14, 10]]),
    ),
    "equal overlaps, turned": (
        one([1, 1], [0.9, 0.8], [[2, 0, 12, 10], SQUARE]),
        Truth([1, 1], [[4, 0, 14, 10], SQUARE]),
    ),
    "negative scores": (
        one([1, 1], [-3.0, -1.0], [SQUARE, [50, 50, 60, 60]]),
        Truth([1], [SQUARE]),
    ),
}


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("name", ADVERSARIAL)
def test_adversarial_as_pycocotools(name, threshold):
    found, truth = ADVERSARIAL[name]
    truth = Truth(*(None if part is None else np.array(part) for part in truth))
    pair = [found], [truth]
    expected = coco_precision(*pair, threshold)
    ours = precision_by_class(*pair, threshold)
    assert ours == pytest.approx(expected, abs=1e-6)


def test_no_more_than_a_hundred_count():
    rng = np.random.default_rng(0)
    boxes = np.concatenate([random_boxes(rng, MOST + 40) + 40, [SQUARE]])
    scores = np.linspace(1, 0, len(boxes))
    pair = [one([1] * len(boxes), scores, boxes)], [Truth(np.array([1]), np.array([SQUARE]))]
    assert precision_by_class(*pair) == coco_precision(*pair, 0.5) == {1: 0}


def test_by_hand():
    recall, precision = np.array([0.5, 0.5, 1.0]), np.array([1, 1 / 2, 2 / 3])
    assert area_under(recall, precision) == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert area_under(np.zeros(0), np.zeros(0)) == 0


def test_perfect_detections_reach_one_in_any_order():
    _, truths = random_pictures(3, 12, 3, 0)
    found = [Found(t.labels, np.full(len(t.labels), 0.4), t.boxes) for t in truths]
    assert average_precision(found, truths) == 1
    turned = average_precision(found[::-1], truths[::-1])
    assert turned == 1
    curve = curve_of(judge(found, truths)[1].values())
    assert curve[0][-1] == curve[1][-1] == 1


def test_a_picture_without_objects_counts_against():
    found, truths = [one([1], [0.5], [SQUARE])], [Truth(np.array([1]), np.array([SQUARE]))]
    empty = Truth(np.zeros(0, int), np.zeros((0, 4)))
    invented = one([1], [0.9], [SQUARE])
    assert average_precision(found, truths) == 1
    assert average_precision([*found, invented], [*truths, empty]) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("found", "truth", "message"),
    [
        (one([1], [0.5], [SQUARE]), Truth([], np.zeros((0, 4))), "no picture has an object"),
        (one([1], [np.nan], [SQUARE]), Truth([1], [SQUARE]), "score in picture 0"),
        (one([1], [0.5], [[5, 0, 1, 1]]), Truth([1], [SQUARE]), "detections.*swapped corners"),
        (one([1], [0.5], [SQUARE]), Truth([1], [[0, 0, np.nan, 1]]), "objects.*NaN"),
        (one([1, 1], [0.5], [SQUARE]), Truth([1], [SQUARE]), "a label and a box each"),
    ],
)
def test_what_cannot_be_judged_is_named(found, truth, message):
    with pytest.raises(ValueError, match=message):
        average_precision([found], [truth])


def test_lists_that_do_not_pair_and_thresholds_out_of_range():
    found, truth = one([1], [0.5], [SQUARE]), Truth([1], [SQUARE])
    with pytest.raises(ValueError, match="got 1 and 2"):
        average_precision([found], [truth, truth])
    with pytest.raises(ValueError, match="threshold"):
        average_precision([found], [truth], 50)


@pytest.mark.parametrize("crowds", [False, True])
def test_a_picture_that_is_drawn_twice_counts_twice(crowds):
    found, truths = random_pictures(5, 12, 3, 4, crowds)
    rankings = ranked(judge(found, truths), 12)
    ones = np.ones(12, int)
    assert precision_redrawn(rankings, ones) == pytest.approx(average_precision(found, truths))
    times = np.array([0, 1, 2, 0, 3, 1, 0, 1, 1, 2, 0, 1])
    rows = np.repeat(np.arange(12), times)
    pair = [found[row] for row in rows], [truths[row] for row in rows]
    assert precision_redrawn(rankings, times) == pytest.approx(average_precision(*pair), abs=0.02)


def test_the_interval_holds_the_value_and_shrinks_with_pictures():
    wide = precision_interval(*random_pictures(1, 12, 2, 4), draws=60)
    narrow = precision_interval(*random_pictures(1, 120, 2, 4), draws=60)
    assert wide.low < wide.value < wide.high
    assert wide.high - wide.value == pytest.approx(1.96 * wide.draws.std())
    assert narrow.high - narrow.low < wide.high - wide.low


def test_at_a_threshold_of_one_rounding_is_forgiven_as_by_coco():
    nearly = one([1], [0.9], [[0, 0, 10, 10 + 1e-11]])
    truth = Truth(np.array([1]), np.array([SQUARE]))
    expected = coco_precision([nearly], [truth], 1)
    assert expected == pytest.approx({1: 1}, abs=1e-6)
    assert precision_by_class([nearly], [truth], 1) == pytest.approx(expected, abs=1e-6)
    larger = one([1], [0.9], [[0, 0, 10, 10.001]])
    assert precision_by_class([larger], [truth], 1) == {1: 0}


def test_a_threshold_of_zero_is_refused():
    found, truth = one([1], [0.5], [SQUARE]), Truth([1], [SQUARE])
    with pytest.raises(ValueError, match="above 0"):
        average_precision([found], [truth], 0)


def test_a_class_that_is_not_drawn_is_left_out_and_a_crowd_never_counts():
    found = [one([1], [0.9], [SQUARE]), one([2], [0.8], [SQUARE]), one([1], [0.95], [SQUARE])]
    alone, other = (Truth(np.array([label]), np.array([SQUARE])) for label in (1, 2))
    crowd = Truth(np.array([1]), np.array([SQUARE]), np.array([True]))
    rankings = ranked(judge(found, [alone, other, crowd]), 3)
    assert precision_redrawn(rankings, np.array([2, 0, 0])) == 1  # the second class is not there
    assert precision_redrawn(rankings, np.array([1, 0, 3])) == 1  # nothing on the crowd is wrong
