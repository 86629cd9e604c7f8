"""What can be done without pairs: how unlike two clouds are, and guesses at who belongs to whom.

Shapes: n and m rows of E numbers.
"""

import torch

from mmcourse.alignment.linear import checked, principal_axes, procrustes
from mmcourse.contrastive import cosines


def energy_distance(x, y):
    r"""How unlike two clouds of points are, (n, E) and (m, E): 0 where they are the same cloud.

    .. math:: \frac{2}{nm} \sum_{i,j} \lVert x_i - y_j \rVert - \frac{1}{n^2} \sum_{i,i'}
              \lVert x_i - x_{i'} \rVert - \frac{1}{m^2} \sum_{j,j'} \lVert y_j - y_{j'} \rVert

    (Székely and Rizzo 2013.) The order of the rows does not enter: it knows nothing of pairs.
    """
    x, y = checked(x, y)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"points of {x.shape[1]} and {y.shape[1]} numbers have no distance")
    exact = "donot_use_mm_for_euclid_dist"
    between = torch.cdist(x, y, compute_mode=exact).mean()
    within = torch.cdist(x, x, compute_mode=exact).mean()
    return 2 * between - within - torch.cdist(y, y, compute_mode=exact).mean()


def match_moments(x, y):
    """An orthogonal guess W (E, E) without pairs: ``x @ W`` spreads and leans as ``y`` does.

    The principal axes of both clouds are matched in the order of their spread. The sign of each is
    that which makes its third moment positive. Rows need not pair; means are not used. It is right
    where y is x turned, no two axes have equal spread, and each leans to one side.
    """
    x, y = checked(x, y)
    return leaning_axes(x) @ leaning_axes(y).mT


def leaning_axes(x):
    """The principal axes (E, E) of a cloud, each in the direction in which it leans."""
    found = principal_axes(x, x.shape[1])
    third = found(x).pow(3).mean(0)  # (E,)
    return found.axes * torch.where(third < 0, -1.0, 1.0)


def mutual_nearest(similarity):
    """Rows and columns, each an array, of those that prefer one another: ``(n, m)`` in."""
    column = similarity.argmax(1)  # (n,)
    row = similarity.argmax(0)  # (m,)
    chosen = torch.arange(len(similarity), device=similarity.device)
    mutual = row[column] == chosen
    return chosen[mutual], column[mutual]


def refine(x, y, start, rounds=5):
    """Procrustes again and again, on whom the last map pairs: W (E, E).

    ``x`` (n, E) and ``y`` (m, E) need not pair. In each round those that are one another's nearest
    by cosine under the last map are taken for pairs (Conneau et al. 2018 begin with a map that was
    learned without pairs, Artetxe et al. 2017 with one from few). A start that is right for some
    gets better; one that is wrong stays wrong.
    """
    x, y = checked(x, y)
    mapping = start
    for _ in range(rounds):
        rows, columns = mutual_nearest(cosines(x @ mapping, y))
        if len(rows) < 2:
            return mapping
        mapping = procrustes(x[rows], y[columns])
    return mapping
