"""The network that says what noise becomes: a Transformer over words and patches, told the time.

It is a small DiT (Peebles and Xie 2023), whose caption stands before the patches in one sequence.
Letters: B batch, T words, N patches, P cells along a patch's side, C channels of a cell, D width.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from mmcourse.attention import MultiHeadAttention
from mmcourse.captioning.captioner import grid_positions
from mmcourse.transformer import FeedForward

FREQUENCIES = 64


def time_features(t, count=FREQUENCIES):
    """Sines and cosines of times (B,) in 0 to 1, at frequencies from 1 to 1000: (B, 2 count)."""
    frequencies = torch.logspace(0, 3, count, dtype=t.dtype, device=t.device)
    angle = t[:, None] * frequencies  # (B, count)
    return torch.cat([angle.sin(), angle.cos()], -1)


def modulate(x, shift, scale):
    """Scale and shift vectors (B, T, D) by what the time says, (B, 1, D) each."""
    return x * (1 + scale) + shift


def cut_into_patches(latents, patch):
    """Latents (B, C, P rows, P columns) as rows of patches, (B, N, C P P), left to right."""
    return F.unfold(latents, patch, stride=patch).transpose(1, 2)


def join_patches(patches, patch, side):
    """Latents (B, C, side, side) of patches (B, N, C P P): the inverse of cutting."""
    return F.fold(patches.transpose(1, 2), side, patch, stride=patch)


class TimedLayer(nn.Module):
    """An encoder layer whose norms the time scales and shifts, and whose updates it gates.

    The six vectors are those of all layers plus a table of this one (Chen et al. 2024, *PixArt*),
    which needs far fewer weights than DiT's own linear map in each layer.
    """

    def __init__(self, width, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False)
        self.attention = MultiHeadAttention(width, heads)
        self.feed_forward = FeedForward(width, 4 * width)
        self.table = nn.Parameter(torch.randn(6, width) / math.sqrt(width))

    def forward(self, x, time, mask=None):
        """Map ``x`` (B, T + N, D), told the ``time`` (B, 6, D), to the same shape."""
        parts = (self.table + time).unsqueeze(2).unbind(1)  # six of (B, 1, D)
        shift1, scale1, gate1, shift2, scale2, gate2 = parts
        seen = modulate(self.norm1(x), shift1, scale1)
        x = x + gate1 * self.attention(seen, mask=mask)
        seen = modulate(self.norm2(x), shift2, scale2)
        return x + gate2 * self.feed_forward(seen)


class Denoiser(nn.Module):
    """The data that noisy latents (B, C, side, side) at times (B,) come from, for captions.

    ``words`` is the size of the vocabulary, in which 0 is padding. Captions are ids (B, T). The
    network guesses the data itself, not the velocity (Li and He 2025): the noise of a patch is as
    many numbers as the network is wide, and the data have few that matter.
    """

    def __init__(
        self, words, channels=48, side=8, patch=2, width=192, layers=6, heads=4, max_words=24
    ):
        super().__init__()
        self.patch = patch
        self.side = side
        self.word_embedding = nn.Embedding(words, width)
        self.word_positions = nn.Parameter(0.02 * torch.randn(1, max_words, width))
        self.patch_projection = nn.Linear(channels * patch**2, width)
        self.patch_positions = nn.Parameter(grid_positions(side // patch, width)[None])  # (1, N, D)
        self.time_vector = nn.Sequential(
            nn.Linear(2 * FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.caption_vector = nn.Sequential(
            nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.layer_parts = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.layers = nn.ModuleList(TimedLayer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, channels * patch**2)
        nn.init.normal_(self.word_embedding.weight, std=0.5)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def summary(self, t, words, real):
        """What scales and shifts every layer, (B, 6, D): of the time, and of all words together.

        Esser et al. 2024 add the two. ``words`` are embeddings (B, T, D), where ``real`` (B, T).
        """
        count = real.sum(1, keepdim=True)
        pooled = (words * real.unsqueeze(-1)).sum(1) / count.sqrt()  # (B, D), spread as one word
        vector = self.time_vector(time_features(t)) + self.caption_vector(pooled)
        return self.layer_parts(vector).unflatten(1, (6, -1))

    def forward(self, latents, t, captions):
        """The data, of the shape of ``latents`` (B, C, side, side)."""
        real = captions > 0  # (B, T)
        words = self.word_embedding(captions)
        summary = self.summary(t, words, real)  # (B, 6, D)
        words = words + self.word_positions[:, : captions.shape[1]]
        patches = self.patch_projection(cut_into_patches(latents, self.patch))
        patches = patches + self.patch_positions  # (B, N, D)
        x = torch.cat([words, patches], 1)  # (B, T + N, D)
        there = torch.cat([real, real.new_ones(patches.shape[:2])], 1)  # (B, T + N)
        mask = there[:, None, None, :]
        for layer in self.layers:
            x = layer(x, summary, mask)
        patches = self.output(self.norm(x[:, captions.shape[1] :]))  # (B, N, C P P)
        return join_patches(patches, self.patch, self.side)
