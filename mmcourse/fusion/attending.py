"""Fusions whose tokens look at each other across the two sides.

Shapes: B batch, T tokens of the text, N tokens of the image, K bottleneck tokens, D width.
See :mod:`mmcourse.fusion.sides`.
"""

import torch
from torch import nn

from mmcourse.attention import MultiHeadAttention
from mmcourse.fusion.sides import Fusion
from mmcourse.text import mean_of_tokens
from mmcourse.transformer import Encoder, EncoderLayer, FeedForward


class EarlyFusion(Fusion):
    """One joint sequence: all tokens of both sides look at one another from the first layer on.

    A learnt token in front, as BERT's, collects the answer; a learnt vector for each side says
    where a token comes from.

    Args:
        width: D, which ``heads`` divides.
        heads: heads of the attention.
        hidden: width of the feed-forward networks.
        layers: how many encoder layers.
    """

    def __init__(self, width, heads, hidden, layers=2):
        super().__init__(width)
        self.answer = nn.Parameter(0.02 * torch.randn(width))
        self.text_type = nn.Parameter(0.02 * torch.randn(width))
        self.image_type = nn.Parameter(0.02 * torch.randn(width))
        self.encoder = Encoder(layers, width, heads, hidden)

    def fuse(self, text, image):
        """As in :class:`~mmcourse.fusion.sides.Fusion`."""
        joint, mask = self.join(text, image)  # (B, 1 + T + N, D)
        return self.encoder(joint, mask[:, None, None, :])[:, 0]

    def join(self, text, image):
        """The joint sequence (B, 1 + T + N, D), the answer's token first, and its mask."""
        answer = self.answer.expand(len(text.vectors), 1, -1)
        parts = [answer, text.vectors + self.text_type, image.vectors + self.image_type]
        always = torch.ones_like(text.mask[:, :1])
        return torch.cat(parts, 1), torch.cat([always, text.mask, image.mask], 1)


class GatedFusion(Fusion):
    r"""A gate between each word and what it found in the picture.

    Word by word, :math:`C = \mathrm{MHA}(H_T, H_I)` has the shape of :math:`H_T`, whatever the
    number of image tokens; :math:`\alpha = \sigma([H_T; C] W + b)`, and
    :math:`H = \alpha \odot H_T + (1 - \alpha) \odot C`. The gate is that of Arevalo et al. 2017,
    whose two sides are one vector each. The mean over words and a feed-forward network follow.

    Args:
        width: D, which ``heads`` divides.
        heads: heads of the attention.
        hidden: width of the feed-forward network.
    """

    def __init__(self, width, heads, hidden):
        super().__init__(width)
        self.attention = MultiHeadAttention(width, heads)
        self.gate = nn.Linear(2 * width, width)
        self.norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, hidden)

    def fuse(self, text, image):
        """As in :class:`~mmcourse.fusion.sides.Fusion`."""
        context, gate = self.open(text, image)  # (B, T, D) each
        mixed = gate * text.vectors + (1 - gate) * context
        pooled = mean_of_tokens(mixed, text.mask)  # (B, D)
        return pooled + self.feed_forward(self.norm(pooled))

    def open(self, text, image):
        """What each word found in the picture, and its gate: (B, T, D) each, the gate in 0 to 1."""
        context = self.attention(text.vectors, image.vectors, image.keys)
        gate = self.gate(torch.cat([text.vectors, context], -1)).sigmoid()
        return context, gate


class CrossLayer(nn.Module):
    """Cross-attention, then a feed-forward network, pre-norm: x (B, T, D) to (B, T, D)."""

    def __init__(self, width, heads, hidden):
        super().__init__()
        self.attention = MultiHeadAttention(width, heads)
        self.feed_forward = FeedForward(width, hidden)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, x, context, mask=None, *, return_weights=False):
        """Let ``x`` look at ``context`` (B, N, D), whose ``mask`` broadcasts to (B, H, T, N).

        With ``return_weights`` also return the weights (B, H, T, N).
        """
        found = self.attention(self.norm1(x), context, mask, return_weights=return_weights)
        update, weights = found if return_weights else (found, None)
        x = x + update
        x = x + self.feed_forward(self.norm2(x))
        return (x, weights) if return_weights else x


class CrossAttentionFusion(Fusion):
    """The words look at the picture, layer by layer; the picture does not look back.

    The mean of the words is the output.

    Args:
        width: D, which ``heads`` divides.
        heads: heads of the attention.
        hidden: width of the feed-forward networks.
        layers: how many layers.
    """

    def __init__(self, width, heads, hidden, layers=2):
        super().__init__(width)
        self.layers = nn.ModuleList(CrossLayer(width, heads, hidden) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def fuse(self, text, image):
        """As in :class:`~mmcourse.fusion.sides.Fusion`."""
        x = text.vectors
        for layer in self.layers:
            x = layer(x, image.vectors, image.keys)
        return self.norm(mean_of_tokens(x, text.mask))

    def look(self, text, image):
        """Where each word looks: the weights (B, layers, H, T, N)."""
        x = text.vectors
        maps = []
        for layer in self.layers:
            x, weights = layer(x, image.vectors, image.keys, return_weights=True)
            maps.append(weights)
        return torch.stack(maps, 1)


class BottleneckFusion(Fusion):
    """The sides meet in K bottleneck tokens only (MBT, Nagrani et al. 2021).

    In each layer a side looks at itself and at the bottleneck; the two bottlenecks that come out
    are averaged. The mean of the bottleneck after the last layer is the output; the paper reads a
    token of each side instead.

    Args:
        width: D, which ``heads`` divides.
        heads: heads of the attention.
        hidden: width of the feed-forward networks.
        bottlenecks: K, at least 1.
        layers: how many layers; with fewer than two nothing that a side says can be heard by the
            other.
    """

    def __init__(self, width, heads, hidden, bottlenecks=4, layers=2):
        super().__init__(width)
        if bottlenecks < 1 or layers < 1:
            raise ValueError(
                "bottlenecks and layers must be at least 1, "
                f"got {bottlenecks} and {layers}: without them no side reaches the output"
            )
        self.bottleneck = nn.Parameter(0.02 * torch.randn(bottlenecks, width))
        self.text_layers = nn.ModuleList(EncoderLayer(width, heads, hidden) for _ in range(layers))
        self.image_layers = nn.ModuleList(EncoderLayer(width, heads, hidden) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def fuse(self, text, image):
        """As in :class:`~mmcourse.fusion.sides.Fusion`."""
        x = text.vectors
        y = image.vectors
        middle = self.bottleneck.expand(len(x), -1, -1)  # (B, K, D)
        for text_layer, image_layer in zip(self.text_layers, self.image_layers, strict=True):
            x, from_text = exchange(text_layer, x, middle, text.mask)
            y, from_image = exchange(image_layer, y, middle, image.mask)
            middle = (from_text + from_image) / 2
        return self.norm(middle.mean(1))


def exchange(layer, tokens, middle, mask):
    """One encoder layer over a side (B, T, D) and the bottleneck (B, K, D): both, mapped."""
    always = mask.new_ones(middle.shape[:2])
    visible = torch.cat([mask, always], 1)[:, None, None, :]  # (B, 1, 1, T + K)
    out = layer(torch.cat([tokens, middle], 1), visible)
    return out[:, : tokens.shape[1]], out[:, tokens.shape[1] :]
