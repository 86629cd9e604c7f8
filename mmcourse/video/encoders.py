"""Four ways to look at space and time: all frames at once, by turns, one after the other, not.

Each maps tokens ``(B, T, N, D)`` and a ``mask`` (B, T), True for a real step, to tokens again. B
batch, T steps in time, N cells of a step, D width, H heads.
"""

import torch
from torch import nn

from mmcourse.attention import MultiHeadAttention
from mmcourse.transformer import Encoder, FeedForward

POSITION = 0.5  # the deviation of positions before training; ViT has 0.02


class Positions(nn.Module):
    """A learned vector for each cell and, unless ``steps`` is 0, for each step in time."""

    def __init__(self, steps, cells, width):
        super().__init__()
        self.space = nn.Parameter(torch.empty(cells, width))
        nn.init.normal_(self.space, std=POSITION)
        self.time = None
        if steps:
            self.time = nn.Parameter(torch.empty(steps, 1, width))
            nn.init.normal_(self.time, std=POSITION)

    def forward(self, x):
        x = x + self.space
        return x if self.time is None else x + self.time[: x.shape[1]]


class JointEncoder(nn.Module):
    """Every token looks at every token of every step.

    Model 1 of Arnab et al. 2021; "joint space-time" of Bertasius et al. 2021.
    """

    def __init__(self, steps, cells, width, layers, heads):
        super().__init__()
        self.positions = Positions(steps, cells, width)
        self.encoder = Encoder(layers, width, heads)

    def forward(self, x, mask=None):
        batch, steps, cells, _ = x.shape
        x = self.positions(x).flatten(1, 2)  # (B, T N, D)
        if mask is not None:
            mask = mask.repeat_interleave(cells, 1)[:, None, None]  # (B, 1, 1, T N)
        x = self.encoder(x, mask)
        return x.unflatten(1, (steps, cells))


class DividedLayer(nn.Module):
    """Attention among the cells of a step, then among the steps of a cell, then a feed-forward.

    Model 3 of Arnab et al. 2021; Bertasius et al. 2021 take time first. ``hidden`` is twice the
    width: so it has the parameters of an :class:`~mmcourse.transformer.EncoderLayer`, but for a
    norm.
    """

    def __init__(self, width, heads):
        super().__init__()
        self.space_norm = nn.LayerNorm(width)
        self.space = MultiHeadAttention(width, heads)
        self.time_norm = nn.LayerNorm(width)
        self.time = MultiHeadAttention(width, heads)
        self.norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, 2 * width)

    def forward(self, x, mask=None):
        batch, steps, cells, _ = x.shape
        rows = self.space_norm(x).flatten(0, 1)  # (B T, N, D): a row is a step
        x = x + self.space(rows).unflatten(0, (batch, steps))
        rows = self.time_norm(x).transpose(1, 2).flatten(0, 1)  # (B N, T, D): a row is a cell
        if mask is not None:
            mask = mask.repeat_interleave(cells, 0)[:, None, None]  # (B N, 1, 1, T)
        found = self.time(rows, mask=mask).unflatten(0, (batch, cells))
        x = x + found.transpose(1, 2)
        return x + self.feed_forward(self.norm(x))


class DividedEncoder(nn.Module):
    """A stack of :class:`DividedLayer` and a last norm."""

    def __init__(self, steps, cells, width, layers, heads):
        super().__init__()
        self.positions = Positions(steps, cells, width)
        self.layers = nn.ModuleList(DividedLayer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x, mask=None):
        x = self.positions(x)
        for layer in self.layers:
            x = layer(x, mask)
        return self.norm(x)


class FactorisedEncoder(nn.Module):
    """Each step is encoded alone to one vector; then the steps look at each other: (B, T, 1, D).

    Model 2 of Arnab et al. 2021, "factorised encoder", with the mean of the cells for a class
    token. Half of the layers are for space, half for time.
    """

    def __init__(self, steps, cells, width, layers, heads):
        super().__init__()
        self.positions = Positions(0, cells, width)
        self.space = Encoder(layers // 2, width, heads)
        self.times = nn.Parameter(torch.empty(steps, width))
        nn.init.normal_(self.times, std=POSITION)
        self.time = Encoder(layers - layers // 2, width, heads)

    def forward(self, x, mask=None):
        vectors = encode_each(self.space, self.positions(x)).mean(2)  # (B, T, D)
        vectors = vectors + self.times[: vectors.shape[1]]
        if mask is not None:
            mask = mask[:, None, None]  # (B, 1, 1, T)
        return self.time(vectors, mask)[:, :, None]


class BagEncoder(nn.Module):
    """Each step is encoded alone, then their mean is taken: (B, 1, N, D), whatever their order."""

    def __init__(self, steps, cells, width, layers, heads):
        super().__init__()
        self.positions = Positions(0, cells, width)
        self.space = Encoder(layers, width, heads)

    def forward(self, x, mask=None):
        x = encode_each(self.space, self.positions(x))  # (B, T, N, D)
        if mask is None:
            return x.mean(1, keepdim=True)
        real = mask[:, :, None, None].to(x.dtype)
        return (x * real).sum(1, keepdim=True) / real.sum(1, keepdim=True)


def encode_each(encoder, x):
    """The tokens (B, T, N, D) after an encoder has seen each step alone."""
    return encoder(x.flatten(0, 1)).unflatten(0, x.shape[:2])


ENCODERS = {
    "bag": BagEncoder,
    "factorised": FactorisedEncoder,
    "divided": DividedEncoder,
    "joint": JointEncoder,
}
