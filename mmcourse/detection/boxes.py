"""Boxes: how far two of them overlap, and which of them are none.

A box is ``x0 y0 x1 y1``, its left, upper, right and lower edge; n and m count boxes.
"""

import torch


def box_iou(a, b):
    """Intersection over union of each box of ``a`` (n, 4) with each of ``b`` (m, 4): (n, m).

    A box may have no area, then its intersections are 0. ValueError for boxes that are not finite,
    whose corners are swapped, or for two that both have no area: that would be 0 / 0.
    """
    intersection, union, _ = areas_of_pairs(*every_pair(a, b))
    return divided(intersection, union)


def generalised_iou(a, b):
    r"""Generalised IoU of each box of ``a`` (n, 4) with each of ``b`` (m, 4): (n, m).

    :math:`\mathrm{IoU} - |H \setminus U| / |H|` with the union :math:`U` and the smallest box
    :math:`H` around both (Rezatofighi et al. 2019, algorithm 1): from -1 to 1. The errors are
    those of :func:`box_iou`.
    """
    intersection, union, hull = areas_of_pairs(*every_pair(a, b))
    return divided(intersection, union) - (hull - union) / hull


def every_pair(a, b):
    """Checked boxes ``a`` as (n, 1, 4) and ``b`` as (1, m, 4)."""
    return check_boxes(a, "a")[:, None], check_boxes(b, "b")[None]


def areas_of_pairs(a, b):
    """Areas of intersection, union, and smallest box around both, of boxes (..., 4) each."""
    inner = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    outer = torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])
    intersection = inner.clamp(min=0).prod(-1)  # (...): two that do not touch have none
    union = area(a) + area(b) - intersection
    return intersection, union, outer.prod(-1)


def area(boxes):
    """The areas (...) of boxes (..., 4)."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def divided(intersection, union):
    """IoU from its two areas. ValueError where the union is 0."""
    if (union == 0).any():
        row, column = (union == 0).nonzero()[0].tolist()
        raise ValueError(
            f"box {row} of a and box {column} of b both have no area, so their IoU is 0 / 0: "
            "leave out boxes whose edges coincide"
        )
    return intersection / union


def check_boxes(boxes, name="boxes"):
    """Boxes (n, 4) as floating-point numbers. ValueError for what is none, with the row."""
    boxes = torch.as_tensor(boxes)
    if not boxes.is_floating_point():
        boxes = boxes.float()
    if boxes.dim() != 2 or boxes.shape[1] != 4:
        raise ValueError(
            f"{name} must be (n, 4), a row x0 y0 x1 y1 for each box, got {tuple(boxes.shape)}. "
            "Pass one box as box[None]; no box at all is torch.zeros(0, 4)"
        )
    bad = (~boxes.isfinite()).any(1)
    complain(bad, boxes, name, "has an edge that is infinite or NaN: look where it was computed")
    swapped = (boxes[:, 2:] < boxes[:, :2]).any(1)
    complain(
        swapped,
        boxes,
        name,
        "has its corners swapped: x0 <= x1 and y0 <= y1 must hold. "
        "Boxes given as centre, width and height go through to_corners first",
    )
    return boxes


def check_objects(labels, boxes, classes):
    """The true objects of a picture: labels (M,) from 0 and boxes (M, 4) in shares of its sides.

    ValueError for a label that is no class, and for a box that :func:`check_boxes` refuses, that
    has no area, or that leaves the picture.
    """
    boxes = check_boxes(boxes, "boxes")
    labels = torch.as_tensor(labels)
    if labels.shape != boxes.shape[:1]:
        raise ValueError(
            f"each box needs one label, got {len(boxes)} boxes and labels of shape "
            f"{tuple(labels.shape)}"
        )
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(
            f"labels must lie between 0 and {classes - 1}, got {labels.tolist()}: "
            f"{classes} stands for no object and is never a label"
        )
    complain(area(boxes) == 0, boxes, "boxes", "has no area: no prediction can overlap it")
    outside = ((boxes < 0) | (boxes > 1)).any(1)
    complain(
        outside,
        boxes,
        "boxes",
        "leaves the picture, whose edges are 0 and 1: divide pixels by the picture's sides, "
        "and cut boxes at its edges",
    )
    return labels, boxes


def complain(bad, boxes, name, what):
    """Raise a ValueError that says ``what`` is wrong with the first of the ``bad`` boxes."""
    if bad.any():
        row = bad.nonzero()[0].item()
        numbers = ", ".join(f"{number:g}" for number in boxes[row].tolist())
        raise ValueError(f"{name}[{row}] = ({numbers}) {what}")


def to_corners(boxes):
    """Boxes (..., 4) given as centre x, centre y, width, height: as x0 y0 x1 y1."""
    centre = boxes[..., :2]
    half = boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], -1)


def to_centres(boxes):
    """Boxes (..., 4) given as x0 y0 x1 y1: as centre x, centre y, width, height."""
    low = boxes[..., :2]
    high = boxes[..., 2:]
    return torch.cat([(low + high) / 2, high - low], -1)


def suppress(boxes, scores, threshold=0.5):
    """Non-maximum suppression: the rows (k,) that stay of boxes (n, 4), the surest first.

    ``scores`` (n,). A box goes when its IoU with a surer one that stays is above the
    ``threshold``. DETR does without.
    """
    overlaps = box_iou(boxes, boxes)  # (n, n)
    kept = []
    for row in scores.argsort(descending=True, stable=True).tolist():
        if all(overlaps[row, other] <= threshold for other in kept):
            kept.append(row)
    return torch.tensor(kept, dtype=torch.long)
