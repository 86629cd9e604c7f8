"""Three bridges from the cells of a picture to a language model that knows words only.

Letters are those of :mod:`mmcourse.vlm`.
"""

import math

import torch
from torch import nn

from mmcourse.attention import MultiHeadAttention
from mmcourse.transformer import FeedForward


class Projector(nn.Module):
    """A small network that turns each cell of a picture into a vector like a word's.

    Two linear layers with a GELU between them, as in LLaVA-1.5 (Liu et al. 2024).
    ``merge`` puts so many by so many neighbouring cells side by side first, see
    :func:`neighbours`, so that N cells become K = N / merge ** 2 vectors. Maps (P, N, ``width_in``)
    to (P, K, ``width``); ``hidden`` is ``width`` unless given.
    """

    def __init__(self, width_in, width, hidden=None, *, merge=1):
        super().__init__()
        self.width_in = width_in
        self.width = width
        self.merge = merge
        self.layers = nn.Sequential(
            nn.Linear(width_in * merge**2, hidden or width),
            nn.GELU(),
            nn.Linear(hidden or width, width),
        )

    def forward(self, cells):
        """Map the cells (P, N, D_in) to vectors (P, K, D)."""
        check_width(self, cells)
        return self.layers(neighbours(cells, self.merge))


class QueryLayer(nn.Module):
    """The queries look at one another, then at the picture, then each thinks alone. Pre-norm."""

    def __init__(self, width, heads):
        super().__init__()
        self.self_attention = MultiHeadAttention(width, heads)
        self.cross_attention = MultiHeadAttention(width, heads)
        self.feed_forward = FeedForward(width, 2 * width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)

    def forward(self, x, cells):
        """Map the queries ``x`` (P, K, D) with what they find in ``cells`` (P, N, D)."""
        x = x + self.self_attention(self.norm1(x))
        x = x + self.cross_attention(self.norm2(x), cells)
        return x + self.feed_forward(self.norm3(x))


class QueryTransformer(nn.Module):
    """K learned queries look at a picture and hand on what they found: BLIP-2's Q-Former, the idea.

    Li et al. 2023, section 3.1. Theirs starts as a BERT and is first trained with losses of its
    own, beside the language model; ours starts at random and has the language model's loss only.
    Maps (P, N, ``width_in``) to (P, ``queries``, ``width``), whatever N is.
    """

    def __init__(self, width_in, width, queries=16, layers=2, heads=4):
        super().__init__()
        self.width_in = width_in
        self.width = width
        self.queries = nn.Parameter(torch.randn(1, queries, width_in))
        self.layers = nn.ModuleList(QueryLayer(width_in, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width_in)
        self.projection = nn.Linear(width_in, width)

    def forward(self, cells):
        """Map the cells (P, N, D_in) to vectors (P, K, D)."""
        check_width(self, cells)
        x = self.queries.expand(len(cells), -1, -1)  # (P, K, D_in)
        for layer in self.layers:
            x = layer(x, cells)
        return self.projection(self.norm(x))


class GatedCrossAttention(nn.Module):
    r"""Words look at a picture through gates that begin closed (Alayrac et al. 2022, section 2.2).

    :math:`y = x + \tanh(a)\,\mathrm{MHA}(x, M)` and then :math:`y + \tanh(b)\,\mathrm{FFN}(y)`,
    each with a norm before it. ``a`` and ``b`` are learned numbers that start at ``start``: at 0
    the layer gives what it got, so a language model around it writes as before.
    """

    def __init__(self, width_in, width, heads, *, start=0.0):
        super().__init__()
        self.enter = nn.Linear(width_in, width)
        self.attention = MultiHeadAttention(width, heads)
        self.feed_forward = FeedForward(width, 2 * width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.attention_gate = nn.Parameter(torch.tensor(float(start)))
        self.feed_forward_gate = nn.Parameter(torch.tensor(float(start)))

    def forward(self, x, cells, *, cache=None):
        """Map the words ``x`` (B, T, D), which look at ``cells`` (B, N, D_in), to (B, T, D).

        ``cache``, a dict that is empty at first, keeps the keys and values of the cells.
        """
        memory = cells
        if not cache:
            memory = self.enter(cells)  # (B, N, D)
        found = self.attention(self.norm1(x), memory, cache=cache)
        x = x + self.attention_gate.tanh() * found
        return x + self.feed_forward_gate.tanh() * self.feed_forward(self.norm2(x))


class GatedBridge(nn.Module):
    """A :class:`GatedCrossAttention` before each of the ``layers`` of a language model."""

    def __init__(self, width_in, width, layers, heads=4, *, start=0.0):
        super().__init__()
        self.width_in = width_in
        self.width = width
        self.layers = nn.ModuleList(
            GatedCrossAttention(width_in, width, heads, start=start) for _ in range(layers)
        )


def neighbours(cells, merge):
    """The cells of a square grid, ``merge`` by ``merge`` neighbours side by side in one vector.

    (P, N, D) to (P, N / merge ** 2, merge ** 2 D), row by row. No number is lost, unlike in a mean.
    ValueError where the grid is not square or ``merge`` does not divide its side.
    """
    if merge == 1:
        return cells
    count = cells.shape[1]
    side = math.isqrt(count)
    if side * side != count or side % merge:
        raise ValueError(
            f"merge={merge} needs a square grid whose side it divides, got {count} cells: "
            "take merge=1"
        )
    few = side // merge
    grid = cells.reshape(len(cells), few, merge, few, merge, -1)
    grid = grid.transpose(2, 3)  # (P, few, few, merge, merge, D)
    return grid.reshape(len(cells), few * few, -1)


def check_width(bridge, cells):
    """ValueError unless the last axis of ``cells`` is as wide as a bridge expects."""
    if cells.dim() != 3 or cells.shape[-1] != bridge.width_in:
        raise ValueError(
            f"the bridge was made for cells of width {bridge.width_in}, (P, N, {bridge.width_in}), "
            f"got {tuple(cells.shape)}: take the encoder it was trained with, or make a new bridge"
        )
