"""The set loss: each object is answered for by one query, all others answer *no object*.

Shapes: B batch, Q queries, C classes, M objects of a picture, L decoder layers.
"""

import torch
import torch.nn.functional as F

from mmcourse.detection.boxes import areas_of_pairs, check_objects, to_centres
from mmcourse.detection.matching import Weights, check_room, hungarian, pair_costs

NO_OBJECT = 0.1  # what a query without an object counts in the loss: most have none


def set_loss(
    logits, boxes, targets, *, weights=None, no_object=NO_OBJECT, assign=hungarian, checked=False
):
    """The three terms of the loss of Carion et al. 2020 (equation 2, appendix A.2), a vector (3,).

    ``logits`` (B, Q, C + 1) and ``boxes`` (B, Q, 4) are predicted, ``targets`` holds a pair of
    labels (M,) and boxes (M, 4) for each picture. The terms are the weighted cross-entropy of the
    labels, in which *no object* counts ``no_object``; the distance of the boxes; and 1 - their
    generalised IoU. The last two are means over all objects of the batch. Each is multiplied by
    its weight. ``checked`` says that :func:`check_objects` has seen the targets.
    """
    weights = weights or Weights()
    if not checked:
        targets = [check_objects(*target, logits.shape[-1] - 1) for target in targets]
    picture, query, labels, wanted = matched(logits, boxes, targets, weights, assign)
    classes = logits.shape[-1] - 1
    goal = torch.full(logits.shape[:2], classes, device=logits.device)  # (B, Q)
    goal[picture, query] = labels
    importance = torch.ones(classes + 1, dtype=logits.dtype, device=logits.device)
    importance[-1] = no_object
    label_loss = F.cross_entropy(logits.flatten(0, 1), goal.flatten(), importance)
    found = boxes[picture, query]  # (objects, 4)
    count = max(1, len(found))
    distance = (to_centres(found) - to_centres(wanted)).abs().sum() / count
    intersection, union, hull = areas_of_pairs(found, wanted)
    generalised = intersection / union - (hull - union) / hull
    overlap = (1 - generalised).sum() / count
    return torch.stack(
        [weights.label * label_loss, weights.distance * distance, weights.overlap * overlap]
    )


@torch.no_grad()
def matched(logits, boxes, targets, weights, assign):
    """The pairs of a batch: picture, query, label (objects,) each, and the boxes (objects, 4)."""
    sizes = [len(labels) for labels, _ in targets]
    check_room(max(sizes, default=0), logits.shape[1])
    device = logits.device
    labels = torch.cat([labels for labels, _ in targets]).to(device)
    wanted = torch.cat([wanted for _, wanted in targets]).to(boxes)
    picture = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes)).to(device)
    costs = pair_costs(logits[picture], boxes[picture], labels, wanted, weights)  # (objects, Q)
    if not costs.isfinite().all():
        raise ValueError(
            "the answers hold numbers that are infinite or NaN: the model has diverged, so train "
            "it again with a lower learning rate"
        )
    queries = []
    for block in costs.split(sizes):
        queries += assign(block.tolist())
    query = torch.tensor(queries, dtype=torch.long, device=device)
    return picture, query, labels, wanted


def layered_loss(logits, boxes, targets, **options):
    """The sum of :func:`set_loss` over all decoder layers, each matched anew, a vector (3,).

    ``logits`` (L, B, Q, C + 1), ``boxes`` (L, B, Q, 4): the auxiliary losses of Carion et al. 2020.
    """
    classes = logits.shape[-1] - 1
    targets = [check_objects(*target, classes) for target in targets]
    layers = zip(logits, boxes, strict=True)
    return sum(set_loss(*layer, targets, checked=True, **options) for layer in layers)
