"""Where does a word come from? Seven maps of one word over the picture.

Shapes: B batch, C channels of the convolutions, N cells of the grid, S pixels along a side, H
heads. A ``score`` maps pixels (B, 3, S, S) to numbers (B,), as
:func:`~mmcourse.interpretability.word_score` makes it.
"""

import torch
import torch.nn.functional as F

from mmcourse.interpretability.words import given_words

GREY = 0.0  # what a pixel becomes that is taken away: the middle of [-1, 1]
STEPS = 32  # of integrated gradients
WINDOW = 3  # cells along a side of the square that occlusion moves: about a thing


def gradient(score, pixels):
    """How the score changes with each number of the picture: (B, 3, S, S).

    Simonyan et al. 2014, section 3, who then take its absolute value.
    """
    pixels = pixels.detach().requires_grad_()
    total = score(pixels).sum()
    return torch.autograd.grad(total, pixels)[0]


def gradient_times_input(score, pixels):
    """The change to first order when the picture becomes grey: (B, 3, S, S)."""
    return gradient(score, pixels) * (pixels - GREY)


def integrated_gradients(score, pixels, baseline=None, steps=STEPS):
    """The mean gradient on the straight way from a baseline, times the way: (B, 3, S, S).

    Sundararajan et al. 2017, equation 1, by the middle of each of ``steps`` pieces. ``baseline``
    (B, 3, S, S) is grey unless given. The sum over a picture is the difference of its score and
    that of its baseline, but for the error of the steps: that is completeness.
    """
    if steps < 1:
        raise ValueError(f"integrated gradients needs at least one step, got {steps}")
    if baseline is None:
        baseline = torch.full_like(pixels, GREY)
    way = pixels - baseline
    total = torch.zeros_like(pixels)
    for step in range(steps):
        part = (step + 0.5) / steps
        total = total + gradient(score, baseline + part * way)
    return way * total / steps


@torch.no_grad()
def occlusion(score, pixels, cell, window=WINDOW):
    """By how much the score falls when a square becomes grey: (B, N) for the cells, row by row.

    Zeiler and Fergus 2014, section 4.2. A square covers ``window`` by ``window`` cells of ``cell``
    pixels and moves by one cell; a cell has the mean of all squares that cover it. ValueError for a
    window larger than the picture.
    """
    side = pixels.shape[-1] // cell
    if not 1 <= window <= side:
        raise ValueError(f"a window covers from 1 to {side} cells along a side, got {window}")
    before = score(pixels)  # (B,)
    total = torch.zeros(len(pixels), side, side, dtype=pixels.dtype)
    times = torch.zeros(side, side, dtype=pixels.dtype)
    for row in range(side - window + 1):
        for column in range(side - window + 1):
            covered = pixels.clone()
            down = slice(row * cell, (row + window) * cell)
            right = slice(column * cell, (column + window) * cell)
            covered[:, :, down, right] = GREY
            drop = before - score(covered)  # (B,)
            total[:, row : row + window, column : column + window] += drop[:, None, None]
            times[row : row + window, column : column + window] += 1
    return (total / times).flatten(1)


def grad_cam(score, pixels, stages):
    """Channels of the last grid, each as important as its mean gradient: (B, N), not below 0.

    Selvaraju et al. 2017, equations 1 and 2. ``stages`` is the part of the model that gives the
    grid (B, C, rows, columns), and is on the way from pixels to ``score``.
    """
    kept = []
    handle = stages.register_forward_hook(lambda part, inputs, output: kept.append(output))
    try:
        total = score(pixels.detach().requires_grad_()).sum()
    finally:
        handle.remove()
    grid = kept[0]  # (B, C, rows, columns)
    importance = torch.autograd.grad(total, grid)[0].mean((2, 3), keepdim=True)  # (B, C, 1, 1)
    return F.relu((importance * grid).sum(1)).flatten(1).detach()


@torch.no_grad()
def attention(model, pixels, words, place, layer=None, head=None):
    """Where the decoder looked before it said the word at a place: (B, N), with sum 1.

    The mean over layers and heads, or that of one ``layer``, one ``head``, or both; both count
    from 0. ValueError for one that the model does not have.
    """
    weights = all_attention(model, pixels, words, place)  # (B, layers, H, N)
    layers, heads = weights.shape[1:3]
    if layer is not None:
        check_number("layer", layer, layers)
        weights = weights[:, layer : layer + 1]
    if head is not None:
        check_number("head", head, heads)
        weights = weights[:, :, head : head + 1]
    return weights.mean((1, 2))


def all_attention(model, pixels, words, place):
    """The cross-attention (B, layers, H, N) from the word before a place."""
    memory = model.relate(model.convolutions(pixels))
    given = given_words(model, words, place).expand(len(pixels), -1)
    _, weights = model.decode(memory, given, return_weights=True)  # (B, layers, H, T, N)
    return weights[:, :, :, -1]


def check_number(name, number, count):
    """ValueError unless a layer or a head of this number is there."""
    if not 0 <= number < count:
        raise ValueError(f"the decoder has {count} {name}s, from 0 to {count - 1}, got {number}")


def rollout(weights):
    """Attention of several layers as one, (B, N, N), from their weights (B, layers, H, N, N).

    Abnar and Zuidema 2020, section 3: heads are averaged, half of each row is the residual
    connection, and the layers are multiplied. A row has sum 1.
    """
    size = weights.shape[-1]
    own = torch.eye(size, dtype=weights.dtype, device=weights.device)
    joined = own.expand(len(weights), size, size)
    for layer in weights.mean(2).unbind(1):  # (B, N, N)
        joined = (0.5 * layer + 0.5 * own) @ joined
    return joined


@torch.no_grad()
def attention_rollout(model, pixels, words, place):
    """Cross-attention followed back through the encoder's layers: (B, N), with sum 1.

    What a word looks at is a cell of the memory; :func:`rollout` says of which cells that is made.
    """
    features = model.convolutions(pixels)  # (B, N, D)
    kept = []
    handle = model.encoder.register_forward_pre_hook(lambda part, inputs: kept.append(inputs[0]))
    try:
        model.relate(features)
    finally:
        handle.remove()
    _, weights = model.encoder(kept[0], return_weights=True)  # (B, layers, H, N, N)
    looks = attention(model, pixels, words, place)  # (B, N)
    return (looks[:, None] @ rollout(weights))[:, 0]


def to_cells(values, cell):
    """Sum numbers (B, 3, S, S) over channels and over the pixels of each cell: (B, N)."""
    summed = values.sum(1, keepdim=True)  # (B, 1, S, S)
    grid = F.avg_pool2d(summed, cell) * cell**2  # (B, 1, rows, columns)
    return grid.flatten(1)


def cell_of(model):
    """The side of a cell of the grid in pixels."""
    return model.convolutions.stride


METHODS = (
    "attention",
    "rollout",
    "gradient",
    "gradient x input",
    "integrated gradients",
    "occlusion",
    "Grad-CAM",
)


def word_map(method, model, score, pixels, words, place):
    """The map (B, N) of one of the ``METHODS``, over the cells, for the word at a place.

    ``score`` is the :func:`~mmcourse.interpretability.word_score` of that word. ValueError for
    another method.
    """
    cell = cell_of(model)
    if method == "attention":
        return attention(model, pixels, words, place)
    if method == "rollout":
        return attention_rollout(model, pixels, words, place)
    if method == "gradient":
        return to_cells(gradient(score, pixels).abs(), cell)
    if method == "gradient x input":
        return to_cells(gradient_times_input(score, pixels), cell)
    if method == "integrated gradients":
        return to_cells(integrated_gradients(score, pixels), cell)
    if method == "occlusion":
        return occlusion(score, pixels, cell)
    if method == "Grad-CAM":
        return grad_cam(score, pixels, model.convolutions.stages)
    raise ValueError(f"unknown method {method!r}: choose one of {', '.join(METHODS)}")
