"""Boxes, the assignment and the set loss, against independent computations and ``transformers``."""

import itertools

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from mmcourse.detection import (
    Weights,
    box_iou,
    check_boxes,
    check_objects,
    exhaustive,
    generalised_iou,
    greedy,
    hungarian,
    layered_loss,
    match,
    set_loss,
    to_centres,
    to_corners,
)
from mmcourse.detection.boxes import suppress

SHAPES = [(1, 1), (3, 5), (7, 2)]


def whole_boxes(count, generator, side=12):
    """Boxes (count, 4) whose edges are whole numbers, each with an area."""
    edges = torch.stack(
        [torch.randperm(side + 1, generator=generator)[:4].sort().values for _ in range(count)]
    )
    orders = [[0, 2, 1, 3], [0, 1, 2, 3], [1, 0, 3, 2]]
    rows = [row[orders[number % 3]] for number, row in enumerate(edges)]
    boxes = torch.stack([torch.cat([row[:2], row[2:]]) for row in rows]).double()
    low = torch.minimum(boxes[:, :2], boxes[:, 2:])
    high = torch.maximum(boxes[:, :2], boxes[:, 2:])
    return torch.cat([low, high], 1)


def share_boxes(count, generator):
    """Boxes (count, 4) in shares of a picture."""
    centres = 0.2 + 0.6 * torch.rand(count, 2, generator=generator)
    sizes = 0.05 + 0.3 * torch.rand(count, 2, generator=generator)
    return to_corners(torch.cat([centres, sizes], 1))


def painted(box, side=12):
    """The pixels of a box with whole edges."""
    x0, y0, x1, y1 = (int(edge) for edge in box)
    pixels = np.zeros((side, side), bool)
    pixels[y0:y1, x0:x1] = True
    return pixels


@pytest.mark.parametrize(("n", "m"), SHAPES)
def test_iou_counts_pixels(n, m):
    generator = torch.Generator().manual_seed(n)
    a, b = whole_boxes(n, generator), whole_boxes(m, generator)
    found, generalised = box_iou(a, b), generalised_iou(a, b)
    assert found.shape == generalised.shape == (n, m)
    for row, column in itertools.product(range(n), range(m)):
        first, second = painted(a[row]), painted(b[column])
        union = (first | second).sum()
        iou = (first & second).sum() / union
        ys, xs = np.nonzero(first | second)
        hull = (np.ptp(ys) + 1) * (np.ptp(xs) + 1)
        assert abs(found[row, column].item() - iou) < 1e-12
        assert abs(generalised[row, column].item() - (iou - (hull - union) / hull)) < 1e-12


@pytest.mark.parametrize(("n", "m"), SHAPES)
def test_generalised_iou_as_transformers(n, m):
    from transformers.loss.loss_for_object_detection import generalized_box_iou

    generator = torch.Generator().manual_seed(n + 10 * m)
    a, b = share_boxes(n, generator), share_boxes(m, generator)
    assert torch.allclose(generalised_iou(a, b), generalized_box_iou(a, b), atol=1e-6)


def test_iou_is_symmetric_and_forgets_scale_and_place():
    generator = torch.Generator().manual_seed(0)
    a, b = share_boxes(5, generator).double(), share_boxes(4, generator).double()
    for measure in (box_iou, generalised_iou):
        expected = measure(a, b)
        assert torch.allclose(measure(b, a).T, expected)
        moved = measure(a * 3.7 + 2, b * 3.7 + 2)
        assert torch.allclose(moved, expected)
        assert torch.allclose(measure(a, a).diag(), torch.ones(5).double())
    assert (generalised_iou(a, b) <= box_iou(a, b)).all()


def test_generalised_iou_tells_far_from_near():
    unit = torch.tensor([[0.0, 0, 1, 1]])
    apart = torch.tensor([[1.0, 0, 2, 1], [2, 0, 3, 1], [9, 0, 10, 1]])
    assert box_iou(unit, apart).tolist() == [[0, 0, 0]]
    assert torch.allclose(generalised_iou(unit, apart), torch.tensor([[0, -1 / 3, -0.8]]))


def test_no_boxes_give_an_empty_table():
    assert box_iou(torch.zeros(0, 4), torch.ones(3, 4).cumsum(1)).shape == (0, 3)


def test_a_point_overlaps_nothing_and_two_points_are_undefined():
    point = torch.tensor([[0.5, 0.5, 0.5, 0.5]])
    assert box_iou(point, torch.tensor([[0.0, 0, 1, 1]])).item() == 0
    with pytest.raises(ValueError, match=r"both have no area.*0 / 0"):
        box_iou(point, point)
    with pytest.raises(ValueError, match="both have no area"):
        generalised_iou(point, point)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[0.0, 0, float("nan"), 1]], r"b\[0\] .* infinite or NaN"),
        (
            [[0.0, 0, 1, 1], [0.5, 0, 0.2, 1]],
            r"b\[1\] = \(0.5, 0, 0.2, 1\) has its corners swapped",
        ),
        ([0.0, 0, 1, 1], r"b must be \(n, 4\).*box\[None\]"),
    ],
)
def test_what_is_no_box_is_named(boxes, message):
    with pytest.raises(ValueError, match=message):
        box_iou(torch.tensor([[0.0, 0, 1, 1]]), torch.tensor(boxes))


@pytest.mark.parametrize(
    ("labels", "boxes", "message"),
    [
        ([0], [[0.2, 0.2, 0.2, 0.6]], "has no area"),
        ([0], [[0.2, 0.2, 1.2, 0.6]], "leaves the picture.*divide pixels"),
        ([0], [[-0.1, 0.2, 0.2, 0.6]], "leaves the picture"),
        ([3], [[0.2, 0.2, 0.4, 0.6]], "between 0 and 2.*3 stands for no object"),
        ([-1], [[0.2, 0.2, 0.4, 0.6]], "between 0 and 2"),
        ([0, 1], [[0.2, 0.2, 0.4, 0.6]], "one label, got 1 boxes"),
    ],
)
def test_what_is_no_object_is_named(labels, boxes, message):
    with pytest.raises(ValueError, match=message):
        check_objects(torch.tensor(labels), torch.tensor(boxes), 3)


def test_corners_and_centres():
    generator = torch.Generator().manual_seed(3)
    boxes = share_boxes(6, generator)
    assert torch.allclose(to_corners(to_centres(boxes)), boxes, atol=1e-6)
    assert to_centres(torch.tensor([0.0, 0.2, 0.4, 1.0])).tolist() == pytest.approx(
        [0.2, 0.6, 0.4, 0.8]
    )
    assert check_boxes([[0, 1, 2, 3]]).dtype == torch.float32


def test_suppression_as_torch_computes_it_by_hand():
    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10], [0, 0, 10, 4]])
    assert suppress(boxes, torch.tensor([0.5, 0.9, 0.1, 0.4])).tolist() == [1, 3, 2]
    assert suppress(boxes, torch.tensor([0.5, 0.9, 0.1, 0.4]), 0.3).tolist() == [1, 2]
    half = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]])  # an IoU of just 0.5 stays
    assert suppress(half, torch.tensor([0.9, 0.8])).tolist() == [0, 1]


# The assignment -------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 3), (2, 7), (4, 16), (6, 6), (0, 4)])
def test_hungarian_costs_what_scipy_costs(rows, columns):
    rng = np.random.default_rng(rows + 10 * columns)
    for trial in range(20):
        cost = rng.normal(size=(rows, columns))
        if trial % 2:
            cost = np.round(cost)  # many ties
        chosen = hungarian(cost.tolist())
        assert len(set(chosen)) == rows
        best = cost[linear_sum_assignment(cost)].sum()
        assert abs(cost[range(rows), chosen].sum() - best) < 1e-9
        if columns < 8:
            tried = exhaustive(cost.tolist())
            assert abs(cost[range(rows), tried].sum() - best) < 1e-9


def test_greedy_takes_the_cheapest_pair_first():
    cost = [[1.0, 2.0], [1.5, 9.0]]
    assert greedy(cost) == [0, 1]
    assert hungarian(cost) == [1, 0]
    assert greedy([[3.0, 1.0], [0.5, 2.0]]) == [1, 0]
    assert greedy([[1.0, 5.0], [0.0, 0.5]]) == [1, 0]  # not row by row


def test_more_rows_than_columns_are_refused():
    with pytest.raises(ValueError, match="3 objects and the model 2 queries"):
        hungarian([[1.0, 2.0]] * 3)


def outputs(batch, queries, classes, objects, seed):
    """Random logits, boxes and targets."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(batch, queries, classes + 1, generator=generator)
    boxes = share_boxes(batch * queries, generator).view(batch, queries, 4)
    targets = []
    for row in range(batch):
        count = objects[row % len(objects)]
        labels = torch.randint(classes, (count,), generator=generator)
        targets.append((labels, share_boxes(count, generator)))
    return logits, boxes, targets


CASES = [(1, 3, 2, [3]), (3, 7, 5, [2, 0, 4]), (5, 16, 11, [1, 3])]


def as_transformers(targets):
    return [{"class_labels": labels, "boxes": to_centres(boxes)} for labels, boxes in targets]


@pytest.mark.parametrize("case", CASES)
def test_match_as_transformers(case):
    from transformers.loss.loss_for_object_detection import HungarianMatcher

    logits, boxes, targets = outputs(*case, seed=sum(case[:3]))
    matcher = HungarianMatcher(1, 5, 2)
    theirs = matcher({"logits": logits, "pred_boxes": to_centres(boxes)}, as_transformers(targets))
    for row, (labels, wanted) in enumerate(targets):
        ours = match(logits[row], boxes[row], labels, wanted)
        queries, objects = theirs[row]
        assert ours[objects].tolist() == queries.tolist()


@pytest.mark.parametrize("no_object", [0.1, 1.0])
@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradient_as_transformers(case, no_object):
    from transformers.loss.loss_for_object_detection import HungarianMatcher, ImageLoss

    logits, boxes, targets = outputs(*case, seed=100 + sum(case[:3]))
    logits.requires_grad_()
    boxes.requires_grad_()
    criterion = ImageLoss(HungarianMatcher(1, 5, 2), case[2], no_object, ["labels", "boxes"])
    theirs = criterion(
        {"logits": logits, "pred_boxes": to_centres(boxes)}, as_transformers(targets)
    )
    expected = torch.stack([theirs["loss_ce"], 5 * theirs["loss_bbox"], 2 * theirs["loss_giou"]])
    ours = set_loss(logits, boxes, targets, no_object=no_object)
    assert torch.allclose(ours, expected, atol=1e-5)
    wanted = torch.autograd.grad(expected.sum(), [logits, boxes])
    found = torch.autograd.grad(ours.sum(), [logits, boxes])
    for mine, other in zip(found, wanted, strict=True):
        assert torch.allclose(mine, other, atol=1e-5)


def test_whole_loss_as_detr_of_transformers():
    from transformers import DetrConfig
    from transformers.loss.loss_for_object_detection import ForObjectDetectionLoss

    layers = [outputs(3, 7, 5, [2, 1, 3], seed) for seed in (1, 2)]
    targets = layers[0][2]
    logits = torch.stack([layer[0] for layer in layers])
    boxes = torch.stack([layer[1] for layer in layers])
    config = DetrConfig(
        num_labels=5, auxiliary_loss=True, decoder_layers=2, use_pretrained_backbone=False
    )
    centres = to_centres(boxes)
    total, _, _ = ForObjectDetectionLoss(
        logits[-1], as_transformers(targets), "cpu", centres[-1], config, logits, centres
    )
    assert abs(layered_loss(logits, boxes, targets).sum().item() - total.item()) < 1e-4


def test_the_order_of_objects_and_queries_does_not_matter():
    logits, boxes, targets = outputs(2, 6, 4, [3], seed=5)
    expected = set_loss(logits, boxes, targets)
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    turned = [(labels.flip(0), wanted.flip(0)) for labels, wanted in targets]
    assert torch.allclose(set_loss(logits[:, order], boxes[:, order], turned), expected, atol=1e-6)


def test_pictures_without_objects_teach_no_object():
    logits, boxes, _ = outputs(2, 4, 3, [1], seed=6)
    nothing = [(torch.zeros(0, dtype=torch.long), torch.zeros(0, 4))] * 2
    terms = set_loss(logits, boxes, nothing)
    expected = -logits.log_softmax(-1)[..., -1].mean()
    assert terms.tolist() == pytest.approx([expected.item(), 0, 0], abs=1e-6)
    assert match(logits[0], boxes[0], *nothing[0]).shape == (0,)


def test_more_objects_than_queries_are_refused():
    logits, boxes, targets = outputs(1, 2, 3, [3], seed=7)
    with pytest.raises(ValueError, match="3 objects and the model 2 queries.*more queries"):
        set_loss(logits, boxes, targets)
    with pytest.raises(ValueError, match="3 objects and the model 2 queries"):
        match(logits[0], boxes[0], *targets[0])


def test_a_diverged_model_is_named():
    logits, boxes, targets = outputs(1, 4, 3, [1], seed=8)
    logits[0, 1, 2] = float("nan")
    with pytest.raises(ValueError, match="predicted_logits.*diverged"):
        match(logits[0], boxes[0], *targets[0])
    with pytest.raises(ValueError, match="diverged.*lower learning rate"):
        set_loss(logits, boxes, targets)


def test_weights_and_solver_are_those_asked_for():
    logits, boxes, targets = outputs(1, 5, 3, [2], seed=9)
    terms = set_loss(logits, boxes, targets, weights=Weights(2, 0, 0))
    assert terms[1:].tolist() == [0, 0]
    chosen = match(logits[0], boxes[0], *targets[0], assign=lambda cost: [0, 1])
    assert chosen.tolist() == [0, 1]


def test_the_layers_are_summed_with_the_options_asked_for():
    layers = [outputs(2, 5, 3, [2, 1], seed) for seed in (1, 2)]
    targets = layers[0][2]
    logits, boxes = (torch.stack([layer[part] for layer in layers]) for part in (0, 1))
    options = {"no_object": 0.7, "weights": Weights(3, 1, 0)}
    pairs = zip(logits, boxes, strict=True)
    expected = sum(set_loss(*pair, targets, **options) for pair in pairs)
    assert torch.allclose(layered_loss(logits, boxes, targets, **options), expected)
    assert not torch.allclose(layered_loss(logits, boxes, targets), expected)


def test_the_loss_in_double_precision():
    logits, boxes, targets = outputs(2, 5, 3, [2, 1], seed=10)
    fine = set_loss(logits.double(), boxes.double(), targets)
    assert fine.dtype == torch.float64
    assert torch.allclose(fine.float(), set_loss(logits, boxes, targets), atol=1e-5)
