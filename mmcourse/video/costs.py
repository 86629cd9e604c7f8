"""What attention over space and time costs: by formula, and counted while a model runs.

T steps in time, N cells of a step, D width. A cost is a number of multiplications (each with an
addition) for one clip.
"""

import torch
from torch import nn

from mmcourse.attention import MultiHeadAttention


def attention_cost(kind, steps, cells, width):
    """Multiplications of one attention, projections included, of T ``steps`` and N ``cells``.

    ``kind`` is ``joint``, ``space`` (within each step), ``time`` (within each cell) or ``divided``
    (both). ValueError for another.
    """
    tokens = steps * cells
    looked = {"joint": tokens, "space": cells, "time": steps}
    if kind == "divided":
        return sum(attention_cost(part, steps, cells, width) for part in ("space", "time"))
    if kind not in looked:
        raise ValueError(f"kind must be divided or one of {', '.join(looked)}, got {kind!r}")
    projections = 4 * tokens * width**2
    scores_and_means = 2 * tokens * looked[kind] * width
    return projections + scores_and_means


def encoder_cost(encoder, steps, cells, width, layers):
    """Multiplications of one of ``ENCODERS`` for one clip, with its feed-forward networks.

    ValueError for another encoder.
    """
    feed_forward = 8 * steps * cells * width**2
    joint = attention_cost("joint", steps, cells, width) + feed_forward
    divided = attention_cost("divided", steps, cells, width) + feed_forward // 2
    space = attention_cost("space", steps, cells, width) + feed_forward
    time = attention_cost("joint", steps, 1, width) + 8 * steps * width**2
    if encoder == "joint":
        return layers * joint
    if encoder == "divided":
        return layers * divided
    if encoder == "bag":
        return layers * space
    if encoder == "factorised":
        return layers // 2 * space + (layers - layers // 2) * time
    raise ValueError(f"encoder must be bag, factorised, divided or joint, got {encoder!r}")


@torch.no_grad()
def count_multiplications(model, *inputs):
    """The multiplications of linear layers, convolutions and attention in ``model(*inputs)``."""
    counts = []

    def linear(layer, inputs, output):
        counts.append(output.numel() * layer.in_features)

    def convolution(layer, inputs, output):
        counts.append(output.numel() * layer.weight[0].numel())

    def attention(layer, inputs, output):
        query = inputs[0]
        context = query if len(inputs) == 1 or inputs[1] is None else inputs[1]
        counts.append(2 * query.numel() * context.shape[-2])  # scores, then means

    hooks = {nn.Linear: linear, nn.Conv2d: convolution, MultiHeadAttention: attention}
    handles = [
        part.register_forward_hook(hook)
        for part in model.modules()
        for kind, hook in hooks.items()
        if isinstance(part, kind)
    ]
    try:
        model(*inputs)
    finally:
        for handle in handles:
            handle.remove()
    return sum(counts)
