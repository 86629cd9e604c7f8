"""Which query answers for which object: the assignment of least cost.

Shapes: Q queries, M objects of a picture, C classes; the last of C + 1 logits is *no object*.
"""

from itertools import permutations
from typing import NamedTuple

import torch

from mmcourse.detection.boxes import areas_of_pairs, check_boxes, check_objects, to_centres


class Weights(NamedTuple):
    """How much each part counts, in the cost of a pair and in the loss (Carion et al. 2020)."""

    label: float = 1.0  #: the probability of the label, or its cross-entropy
    distance: float = 5.0  #: the sum of the four differences of two boxes
    overlap: float = 2.0  #: 1 - generalised IoU


@torch.no_grad()
def match(predicted_logits, predicted_boxes, labels, boxes, weights=None, assign=None):
    """The query of each object, a LongTensor (M,): no query twice, the sum of costs the least.

    ``predicted_logits`` (Q, C + 1), ``predicted_boxes`` (Q, 4), ``labels`` (M,), ``boxes`` (M, 4);
    boxes are x0 y0 x1 y1 in shares of the picture's sides. ``weights`` are the three of
    :class:`Weights`; ``assign`` is the solver, :func:`hungarian` by default. ValueError for
    more objects than queries, and for what is no box (:func:`check_objects`).
    """
    labels, boxes = check_objects(labels, boxes, predicted_logits.shape[-1] - 1)
    predicted_boxes = check_boxes(predicted_boxes, "predicted_boxes")
    if not predicted_logits.isfinite().all():
        raise ValueError(
            "predicted_logits hold numbers that are infinite or NaN: the model has diverged, "
            "lower the learning rate"
        )
    check_room(len(labels), len(predicted_logits))
    if not len(labels):
        return torch.zeros(0, dtype=torch.long)
    logits = predicted_logits.expand(len(labels), -1, -1)  # (M, Q, C + 1)
    costs = pair_costs(logits, predicted_boxes, labels, boxes, weights or Weights())  # (M, Q)
    assign = assign or hungarian
    return torch.tensor(assign(costs.tolist()))


def pair_costs(logits, predicted, labels, boxes, weights):
    """What it costs to answer for each object with each query, (M, Q).

    ``logits`` (M, Q, C + 1) and ``predicted`` boxes (M, Q, 4), or (Q, 4), are those of the picture
    in which the object lies; ``labels`` (M,), ``boxes`` (M, 4). Carion et al. 2020, section 3.1:
    less the label's probability, the distance of the boxes, less their generalised IoU.
    """
    probability = logits.softmax(-1)  # (M, Q, C + 1)
    index = labels[:, None, None].expand(-1, logits.shape[1], 1)
    of_label = probability.gather(-1, index)[..., 0]  # (M, Q)
    target = boxes[:, None]  # (M, 1, 4)
    distance = (to_centres(predicted) - to_centres(target)).abs().sum(-1)  # (M, Q)
    intersection, union, hull = areas_of_pairs(predicted, target)
    overlap = intersection / union - (hull - union) / hull  # (M, Q)
    cost = -weights.label * of_label + weights.distance * distance - weights.overlap * overlap
    return cost


def check_room(objects, queries):
    """ValueError for a picture with more objects than queries."""
    if objects > queries:
        raise ValueError(
            f"the picture has {objects} objects and the model {queries} queries: each object "
            "needs a query of its own. Make a model with more queries"
        )


def exhaustive(cost):
    """The column of each row, all different, for the least sum: every assignment is tried.

    ``cost`` is a list of rows, with at least as many columns as rows: n! / (n - m)! assignments.
    """
    columns = range(len(cost[0])) if cost else ()

    def total(choice):
        return sum(row[column] for row, column in zip(cost, choice, strict=True))

    return list(min(permutations(columns, len(cost)), key=total))


def greedy(cost):
    """The column of each row, all different: the cheapest pair of all, then the next, and so on."""
    pairs = []
    for row, costs in enumerate(cost):
        pairs += [(value, row, column) for column, value in enumerate(costs)]
    chosen = {}
    for _, row, column in sorted(pairs):
        if row not in chosen and column not in chosen.values():
            chosen[row] = column
    return [chosen[row] for row in range(len(cost))]


def hungarian(cost):
    """The column of each row, all different, for the least sum: Kuhn's method, in O(m^2 n).

    ``cost`` is a list of m rows with n >= m columns, ValueError otherwise. Rows enter one by one.
    Each has a price, each column too, and no pair costs less than its two prices together. A new
    row looks for the cheapest way to a free column, along which others move over
    (Kuhn 1955; the shortest paths are those of Jonker and Volgenant 1987).
    """
    columns = len(cost[0]) if cost else 0
    check_room(len(cost), columns)
    row_price = [0.0] * len(cost)
    column_price = [0.0] * columns
    owner = [None] * columns  # the row of each column
    for new in range(len(cost)):
        free, before = cheapest_path(cost, new, owner, row_price, column_price)
        while free is not None:  # everyone on the path moves one column on
            previous = before[free]
            owner[free] = new if previous is None else owner[previous]
            free = previous
    assigned = [0] * len(cost)
    for column, row in enumerate(owner):
        if row is not None:
            assigned[row] = column
    return assigned


def cheapest_path(cost, new, owner, row_price, column_price):
    """The free column that the row ``new`` reaches at least cost, and the column before each.

    The prices change in place, so that the path costs exactly its prices.
    """
    infinite = float("inf")
    columns = range(len(column_price))
    slack = [infinite] * len(column_price)  # what is missing to reach each column
    before = [None] * len(column_price)
    visited = []
    row, column = new, None
    while row is not None:
        nearest, step = None, infinite
        for other in columns:
            if other in visited:
                continue
            here = cost[row][other] - row_price[row] - column_price[other]
            if here < slack[other]:
                slack[other] = here
                before[other] = column
            if slack[other] < step:
                nearest, step = other, slack[other]
        row_price[new] += step
        for other in columns:
            if other in visited:
                row_price[owner[other]] += step
                column_price[other] -= step
            else:
                slack[other] -= step
        visited.append(nearest)
        column, row = nearest, owner[nearest]
    return column, before
