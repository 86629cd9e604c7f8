"""The two towers of the course's own CLIP: a grid of a picture, and words, each to one embedding.

Shapes: B batch, N cells of the grid, T words, D width, P probes, E numbers of an embedding.
"""

import torch
from torch import nn

from mmcourse.attention import MultiHeadAttention
from mmcourse.contrastive.losses import unit
from mmcourse.text import TextEncoder
from mmcourse.transformer import Encoder, sinusoidal_positions
from mmcourse.vision import ConvEncoder

PAD = 0  # the number of what fills up a short text


class AttentionPool(nn.Module):
    """From tokens ``(B, N, D)`` to one embedding ``(B, E)``: a few learned probes look at them.

    What the ``probes`` find stands side by side and is projected. With one probe it is the pooling
    of Set Transformers (Lee et al. 2019) without their feed-forward network; several can look at
    several places. ``mask`` ``(B, N)`` is True where there is a token.
    """

    def __init__(self, width, heads, probes, embedding):
        super().__init__()
        self.probes = nn.Parameter(torch.empty(1, probes, width))
        nn.init.normal_(self.probes, std=1.0)
        self.attention = MultiHeadAttention(width, heads)
        self.projection = nn.Linear(probes * width, embedding, bias=False)

    def forward(self, tokens, mask=None):
        probes = self.probes.expand(len(tokens), -1, -1)  # (B, P, D)
        if mask is not None:
            mask = mask[:, None, None]  # (B, 1, 1, N)
        found = self.attention(probes, tokens, mask)  # (B, P, D)
        return self.projection(found.flatten(1))  # (B, E)


class Concepts(nn.Module):
    """Each token ``(..., D)`` is told which of ``count`` learned concepts it is most like.

    ``x + softmax(keys(x)) values``: attention to a table that is the same for all pictures. The
    values start at zero.
    """

    def __init__(self, width, count):
        super().__init__()
        self.keys = nn.Linear(width, count)
        self.values = nn.Linear(count, width, bias=False)
        nn.init.zeros_(self.values.weight)

    def forward(self, x):
        return x + self.values(self.keys(x).softmax(-1))


class GridTower(nn.Module):
    """Convolutions, concepts, positions and an encoder: pixels ``(B, 3, H, W)`` to ``(B, E)``.

    Up to the pooling it is what the captioner of scenes sees with (chapter 14).
    """

    def __init__(
        self, image_size, width, heads, layers, embedding, probes, channels, blocks, concepts
    ):
        super().__init__()
        self.convolutions = ConvEncoder(width, channels, blocks)
        side = image_size // self.convolutions.stride  # cells along a side
        self.concepts = Concepts(width, concepts)
        self.positions = nn.Parameter(grid_positions(side, width)[None])  # (1, N, D)
        self.encoder = Encoder(layers, width, heads)
        self.pool = AttentionPool(width, heads, probes, embedding)

    def tokens(self, pixels):
        """What the encoder makes of the cells, ``(B, N, D)``."""
        x = self.convolutions(pixels)  # (B, N, D)
        return self.encoder(self.concepts(x) + self.positions)

    def forward(self, pixels):
        return self.pool(self.tokens(pixels))


class WordTower(nn.Module):
    """The text encoder of chapter 3 and a pooling: token numbers ``(B, T)`` to ``(B, E)``."""

    def __init__(self, vocabulary, width, heads, layers, embedding, probes, context):
        super().__init__()
        self.encoder = TextEncoder(vocabulary, width, layers, heads, context)
        self.pool = AttentionPool(width, heads, probes, embedding)

    def forward(self, ids):
        mask = ids != PAD  # (B, T)
        tokens = self.encoder(ids, mask)  # (B, T, D)
        return self.pool(tokens, mask)


class SidePool(nn.Module):
    """Four looks at the cells of a grid, each weighted to one side: ``(B, N, D)`` to ``(B, 4, E)``.

    The sides are left, right, above and below. A cell's weight is a softmax of one learned score,
    the same for all four, plus ``3 log`` of how near it lies to that side, from 0 to 1. All four
    are projected by the same matrix, so that a thing looks alike wherever it is: only the place in
    the embedding says where that was.
    """

    def __init__(self, side, width, embedding):
        super().__init__()
        middles = (torch.arange(side) + 0.5) / side  # (side,)
        columns = middles.repeat(side)  # (N,)
        rows = middles.repeat_interleave(side)
        near = torch.stack([1 - columns, columns, 1 - rows, rows])  # (4, N)
        self.register_buffer("near", 3 * near.log(), persistent=False)
        self.score = nn.Linear(width, 1)
        nn.init.zeros_(self.score.weight)
        self.projection = nn.Linear(width, embedding, bias=False)

    def forward(self, tokens):
        scores = self.score(tokens).mT + self.near  # (B, 4, N)
        found = scores.softmax(-1) @ tokens  # (B, 4, D)
        return unit(self.projection(found))


class SideReader(nn.Module):
    """Four looks at a text, one for each side: token numbers ``(B, T)`` to ``(B, 4, E)``.

    A small text encoder reads; four learned scores say which words each side is about; again one
    matrix projects all four.
    """

    def __init__(self, vocabulary, width, layers, heads, context, embedding):
        super().__init__()
        self.encoder = TextEncoder(vocabulary, width, layers, heads, context)
        self.score = nn.Linear(width, 4)
        self.projection = nn.Linear(width, embedding, bias=False)

    def forward(self, ids):
        mask = ids != PAD  # (B, T)
        tokens = self.encoder(ids, mask)  # (B, T, D)
        scores = self.score(tokens).mT  # (B, 4, T)
        hidden = torch.finfo(scores.dtype).min
        weights = scores.masked_fill(~mask[:, None], hidden).softmax(-1)
        return unit(self.projection(weights @ tokens))


def grid_positions(side, width):
    """A table ``(side * side, width)``: sinusoids of row and column for each cell of a grid."""
    table = sinusoidal_positions(side, width // 2)  # (side, D / 2)
    rows = table.repeat_interleave(side, 0)  # (N, D / 2)
    columns = table.repeat(side, 1)  # (N, D / 2)
    return torch.cat([rows, columns], -1)  # (N, D)
