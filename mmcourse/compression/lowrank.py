"""Low rank: a table of weights as the product of a tall and a wide one.

Shapes: C outputs, n inputs, r rank.
"""

import torch
from torch import nn

from mmcourse.compression.layers import put


def best_rank_r(weight, rank):
    """The two factors (C, r) and (r, n) whose product is nearest to ``weight`` (C, n).

    The first r parts of the singular value decomposition (Eckart and Young 1936); each factor gets
    the root of the singular values. ValueError for a rank that is not from 1 to min(C, n).
    """
    most = min(weight.shape)
    if not 1 <= rank <= most:
        raise ValueError(f"the rank must be from 1 to {most}, got {rank}")
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    roots = values[:rank].sqrt()
    return left[:, :rank] * roots, roots[:, None] * right[:rank]


def kept_energy(weight, rank):
    """The share of the squared length of a weight that rank r keeps: a number from 0 to 1."""
    values = torch.linalg.svdvals(weight) ** 2
    return (values[:rank].sum() / values.sum()).item()


def break_even(weight):
    """The largest rank at which two factors hold fewer numbers than the ``weight`` (C, n)."""
    rows, columns = weight.shape
    return (rows * columns - 1) // (rows + columns)


@torch.no_grad()
def factorise(model, share):
    """Replace linear layers by two, in place, with ``share`` of the numbers each; return the model.

    The rank is the largest for that. ValueError for a share that is not above 0 and below 1.
    """
    if not 0 < share < 1:
        raise ValueError(
            f"the share of the numbers that stays must be above 0 and below 1, got {share}: at 1 "
            "two factors save nothing"
        )
    linear = {name: each for name, each in model.named_modules() if type(each) is nn.Linear}
    for name, layer in linear.items():
        rows, columns = layer.weight.shape
        rank = max(1, int(share * rows * columns / (rows + columns)))
        put(model, name, two_layers(layer, rank))
    return model


@torch.no_grad()
def two_layers(layer, rank):
    """A linear layer as two, the first of them without a bias: ``nn.Sequential``."""
    left, right = best_rank_r(layer.weight, rank)
    first = nn.Linear(layer.in_features, rank, bias=False)
    second = nn.Linear(rank, layer.out_features, bias=layer.bias is not None)
    first.weight.copy_(right)
    second.weight.copy_(left)
    if layer.bias is not None:
        second.bias.copy_(layer.bias)
    return nn.Sequential(first, second)
