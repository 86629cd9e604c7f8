"""Is a map right? Exact boxes, deletion and insertion, and weights that know nothing.

Shapes: B batch, N cells of the grid, S pixels along a side. Boxes are (x0, y0, x1, y1) in pixels,
x1 and y1 exclusive.
"""

import copy
import math

import numpy as np
import torch

from mmcourse.evaluation import bootstrap
from mmcourse.interpretability.attribution import GREY

PARTS = ("output", "decoder", "encoder", "convolutions")  # from the words down to the pixels


def peak(cells, size):
    """The middle (x, y) in pixels of the cell with the largest of N values; S is ``size``."""
    side = math.isqrt(len(cells))
    row, column = divmod(int(cells.argmax()), side)
    step = size / side
    return (column + 0.5) * step, (row + 0.5) * step


def points_at(cells, boxes, size):
    """Whether the peak of a map (N,) lies in one of the boxes: the pointing game.

    Zhang et al. 2018, section 4.1, without their margin of pixels. ValueError without a box.
    """
    if not boxes:
        raise ValueError("a picture without the thing has no box to point at: skip the word")
    x, y = peak(cells, size)
    return any(x0 <= x < x1 and y0 <= y < y1 for x0, y0, x1, y1 in boxes)


def centre_map(side):
    """A map (N,) that is largest in the middle of the picture, whatever is in it."""
    middle = torch.arange(side) - (side - 1) / 2 + 0.1  # of the four in the middle, one is first
    distance = middle[:, None] ** 2 + middle[None, :] ** 2
    return -distance.flatten()


@torch.no_grad()
def deletion(score, pixels, cells, cuts):
    """The probability of the word as the cells of one picture (1, 3, S, S) go: (cuts + 1,).

    The cells with the largest values of a map (N,) become grey first, in ``cuts`` equal portions.
    Petsiuk et al. 2018, section 4.3.
    """
    return score(covered(pixels, cells, cuts)).exp()


@torch.no_grad()
def insertion(score, pixels, cells, cuts):
    """As :func:`deletion`, but from a grey picture, to which the same cells come first."""
    shown = covered(pixels, -cells, cuts).flip(0)
    return score(shown).exp()


def covered(pixels, cells, cuts):
    """A picture (1, 3, S, S) with more and more grey cells, the largest first: (cuts + 1, ...).

    ``cuts`` divides the number of cells N, else ValueError.
    """
    count = len(cells)
    if cuts < 1 or count % cuts:
        raise ValueError(f"cuts must divide the {count} cells, got {cuts}")
    side = math.isqrt(count)
    cell = pixels.shape[-1] // side
    order = cells.argsort(descending=True)
    steps = []
    for cut in range(cuts + 1):
        mask = torch.zeros(count, dtype=torch.bool)
        mask[order[: cut * count // cuts]] = True
        grid = mask.reshape(side, side)
        grown = grid.repeat_interleave(cell, 0).repeat_interleave(cell, 1)  # (S, S)
        steps.append(pixels[0].masked_fill(grown, GREY))
    return torch.stack(steps)


def area(curve):
    """The area under a curve (cuts + 1,) over [0, 1], by trapezia."""
    curve = curve.double()
    return ((curve[:-1] + curve[1:]) / 2).mean().item()


def spearman(first, second):
    """The rank correlation of two maps (N,); equal values share the middle of their ranks.

    It is 0 where one map is the same everywhere.
    """
    a = ranks(first) - (len(first) + 1) / 2
    b = ranks(second) - (len(second) + 1) / 2
    scale = np.sqrt((a**2).sum() * (b**2).sum())
    return float((a * b).sum() / scale) if scale else 0.0


def ranks(values):
    """The ranks (N,) from 1, equal values sharing the middle of theirs."""
    _, place, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    last = counts.cumsum()
    return (last - (counts - 1) / 2)[place]


def randomised(model, parts, seed):
    """A copy of the captioner whose ``parts`` have the weights of an untrained one.

    Adebayo et al. 2018, section 3: from the words downwards, ``PARTS[:1]``, ``PARTS[:2]`` and so
    on. ValueError for a part that it does not have.
    """
    found = copy.deepcopy(model)
    groups = {
        "output": (found.output,),
        "decoder": (found.decoder,),
        "encoder": (found.encoder,),
        "convolutions": (found.convolutions, found.noun_head, found.noun_embedding),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for part in parts:
            if part not in groups:
                raise ValueError(f"no part {part!r} of a captioner: choose of {', '.join(PARTS)}")
            for group in groups[part]:
                redraw(group)
    return found


def redraw(part):
    """Draw the weights of all layers in a part anew, as PyTorch does."""
    for layer in part.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()


def mean_by_scene(values, scenes, draws=500):
    """The mean of some values (n,), with the interval that redrawing whole ``scenes`` (n,) gives.

    An ``Interval``, as of :func:`~mmcourse.evaluation.statistics.bootstrap`.
    """
    values = np.asarray(values, dtype=float)
    _, owner = np.unique(scenes, return_inverse=True)
    sums = np.bincount(owner, values)
    counts = np.bincount(owner)
    return bootstrap(lambda a, b: a.sum() / b.sum(), sums, counts, draws=draws)
