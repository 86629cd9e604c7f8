"""Pruning: weights, or whole heads and neurons, become zeros.

Shapes: C rows of a weight, n numbers in a row, H heads, D width.
"""

import torch

from mmcourse.attention import MultiHeadAttention
from mmcourse.compression.layers import quantisable
from mmcourse.transformer import FeedForward


def magnitude_mask(weight, share):
    """Which numbers of a weight stay when the ``share`` of the smallest goes: boolean, its shape.

    As ``torch.nn.utils.prune.l1_unstructured``. ValueError unless the share is from 0 to below 1.
    """
    check_share(share)
    gone = round(share * weight.numel())
    mask = torch.ones(weight.numel(), dtype=torch.bool)
    mask[weight.abs().flatten().topk(gone, largest=False).indices] = False
    return mask.view(weight.shape)


def check_share(share):
    """ValueError unless a share is from 0 to below 1."""
    if not 0 <= share < 1:
        raise ValueError(
            f"the share that goes must be from 0 to below 1, got {share}: at 1 nothing is left"
        )


def magnitude_masks(model, share):
    """Which numbers of each layer stay, see :func:`magnitude_mask`: a dict of masks."""
    layers = quantisable(model)
    return {name: magnitude_mask(layer.weight.data, share) for name, layer in layers.items()}


def magnitude_prune(model, share):
    """Set the smallest numbers of each layer to 0, in place: the masks, by layer."""
    masks = magnitude_masks(model, share)
    apply_masks(model, masks)
    return masks


@torch.no_grad()
def apply_masks(model, masks):
    """Set the numbers to 0 that the ``masks`` leave out, in place."""
    for name, mask in masks.items():
        model.get_submodule(name).weight.mul_(mask)


def masked_bytes(masks):
    """How many bytes masked weights take: half precision for what stays, a bit for each place."""
    return sum(2 * int(mask.sum()) + -(-mask.numel() // 8) for mask in masks.values())


@torch.no_grad()
def silence_heads(attention, heads):
    """Make heads of a :class:`~mmcourse.attention.MultiHeadAttention` say nothing, in place.

    What the output takes from them becomes 0; so could their rows of query, key and value be left
    out. ValueError for a head that is not there.
    """
    size = attention.output.weight.shape[1] // attention.heads
    for head in heads:
        if not 0 <= head < attention.heads:
            raise ValueError(f"there is no head {head}: expected 0 to {attention.heads - 1}")
        attention.output.weight[:, head * size : (head + 1) * size] = 0


@torch.no_grad()
def prune_neurons(layer, share):
    """Leave out the hidden neurons of a feed-forward network that weigh least, in place.

    A neuron weighs the product of the lengths of what comes in and what goes out. The layers become
    smaller: ``share`` of the hidden neurons goes. Returns the numbers of those that stay.
    """
    check_share(share)
    first, last = layer[0], layer[3]
    weight = first.weight.norm(dim=1) * last.weight.norm(dim=0)  # (hidden,)
    stay = weight.topk(len(weight) - round(share * len(weight))).indices.sort().values
    first.weight = torch.nn.Parameter(first.weight[stay].clone())
    first.bias = torch.nn.Parameter(first.bias[stay].clone())
    last.weight = torch.nn.Parameter(last.weight[:, stay].clone())
    first.out_features = last.in_features = len(stay)
    return stay


def heads_of(model):
    """All heads of a model: a list of (name of the attention, head)."""
    found = []
    for name, layer in model.named_modules():
        if isinstance(layer, MultiHeadAttention):
            found += [(name, head) for head in range(layer.heads)]
    return found


def feed_forwards(model):
    """The feed-forward networks of a model: a dict of names and layers."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, FeedForward)}
