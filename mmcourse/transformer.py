"""The Transformer: layers of attention and a feed-forward network. Letters and masks as in ``mmcourse.attention``."""

import torch
from torch import nn

from mmcourse.attention import MultiHeadAttention


def sinusoidal_positions(length, width):
    r"""Return the ``(length, width)`` position table of Vaswani et al. 2017, section 3.5.

    Row :math:`p` has :math:`\sin(p / 10000^{2i/D})` in column :math:`2i`, its cosine in the next. Odd: ValueError.
    """
    if width % 2:
        raise ValueError(
            f"width must be even, because sines and cosines come in pairs, got {width}. Use {width + 1}."
        )
    angle = torch.arange(length)[:, None].double() / 10000 ** (
        torch.arange(0, width, 2).double() / width
    )
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(-2).to(torch.get_default_dtype())


class FeedForward(nn.Sequential):
    """Two linear layers with a GELU between them, at every position alone: ``(..., D)`` to ``(..., D)``."""

    def __init__(self, width, hidden, dropout=0.0):
        super().__init__(
            nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width)
        )


class EncoderLayer(nn.Module):
    """Self-attention, then a feed-forward network, each with a residual and a layer norm.

    ``norm_first`` computes ``x + sublayer(norm(x))`` (pre-norm, Xiong et al. 2020); without it, the original
    ``norm(x + sublayer(x))`` (post-norm, Vaswani et al. 2017). ``hidden`` is four times the width unless given.
    """

    def __init__(self, width, heads, hidden=None, dropout=0.0, *, norm_first=True, eps=1e-5):
        super().__init__()
        self.norm_first, self.dropout = norm_first, nn.Dropout(dropout)
        self.attention = MultiHeadAttention(width, heads, dropout=dropout)
        self.feed_forward = FeedForward(width, hidden or 4 * width, dropout)
        self.norm1, self.norm2 = nn.LayerNorm(width, eps), nn.LayerNorm(width, eps)

    def forward(self, x, mask=None, return_weights=False):
        """Map ``(B, T, D)`` to ``(B, T, D)``; with ``return_weights`` also return the weights ``(B, H, T, T)``."""
        if self.norm_first:
            update, weights = self.attention(self.norm1(x), mask=mask, return_weights=True)
            x = x + self.dropout(update)
            x = x + self.dropout(self.feed_forward(self.norm2(x)))
        else:
            update, weights = self.attention(x, mask=mask, return_weights=True)
            x = self.norm1(x + self.dropout(update))
            x = self.norm2(x + self.dropout(self.feed_forward(x)))
        return (x, weights) if return_weights else x


class DecoderLayer(nn.Module):
    """Causal self-attention, cross-attention to the memory, then a feed-forward network; otherwise an EncoderLayer."""

    def __init__(self, width, heads, hidden=None, dropout=0.0, *, norm_first=True):
        super().__init__()
        self.norm_first, self.dropout = norm_first, nn.Dropout(dropout)
        self.attention = MultiHeadAttention(width, heads, dropout=dropout)
        self.cross_attention = MultiHeadAttention(width, heads, dropout=dropout)
        self.feed_forward = FeedForward(width, hidden or 4 * width, dropout)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, x, memory, mask=None, memory_mask=None, *, cache=None, return_weights=False):
        """Map ``x`` ``(B, T, D)``, which looks at ``memory`` ``(B, S, D)``, to ``(B, T, D)``.

        ``cache`` is a dict, empty at first: ``x`` continues the ``x`` of the earlier calls, and ``mask`` covers both.
        With ``return_weights`` also return the cross-attention weights ``(B, H, T, S)``.
        """
        own, cross = (
            None if cache is None else cache.setdefault(name, {}) for name in ("self", "cross")
        )
        if self.norm_first:
            x = x + self.dropout(self.attention(self.norm1(x), mask=mask, causal=True, cache=own))
            update, weights = self.cross_attention(
                self.norm2(x), memory, memory_mask, cache=cross, return_weights=True
            )
            x = x + self.dropout(update)
            x = x + self.dropout(self.feed_forward(self.norm3(x)))
        else:
            x = self.norm1(x + self.dropout(self.attention(x, mask=mask, causal=True, cache=own)))
            update, weights = self.cross_attention(
                x, memory, memory_mask, cache=cross, return_weights=True
            )
            x = self.norm2(x + self.dropout(update))
            x = self.norm3(x + self.dropout(self.feed_forward(x)))
        return (x, weights) if return_weights else x


class Encoder(nn.Module):
    """A stack of pre-norm encoder layers and a last layer norm: ``(B, T, D)`` to ``(B, T, D)``."""

    def __init__(self, layers, width, heads, hidden=None, dropout=0.0, *, eps=1e-5):
        super().__init__()
        self.layers = nn.ModuleList(
            EncoderLayer(width, heads, hidden, dropout, eps=eps) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width, eps)

    def forward(self, x, mask=None, return_weights=False):
        """Encode ``x``; with ``return_weights`` also return the weights ``(B, layers, H, T, T)``."""
        maps = []
        for layer in self.layers:
            x, weights = layer(x, mask, return_weights=True)
            maps.append(weights)
        return (self.norm(x), torch.stack(maps, 1)) if return_weights else self.norm(x)


class Decoder(nn.Module):
    """A stack of pre-norm decoder layers and a last layer norm."""

    def __init__(self, layers, width, heads, hidden=None, dropout=0.0):
        super().__init__()
        self.layers = nn.ModuleList(
            DecoderLayer(width, heads, hidden, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x, memory, mask=None, memory_mask=None, *, cache=None, return_weights=False):
        """As in DecoderLayer; with ``return_weights`` also return the cross-attention ``(B, layers, H, T, S)``."""
        maps = []
        for number, layer in enumerate(self.layers):
            own = None if cache is None else cache.setdefault(number, {})
            x, weights = layer(x, memory, mask, memory_mask, cache=own, return_weights=True)
            maps.append(weights)
        return (self.norm(x), torch.stack(maps, 1)) if return_weights else self.norm(x)


def reorder(cache, index, memory=None):
    """Keep the batch rows ``index`` (LongTensor) of every tensor in a nested cache, in place: beam search needs it.

    All beams of a picture share what its ``cross`` caches hold, one row a picture. ``memory`` names the rows to keep
    there, rising; without it, they are treated as all others.
    """
    for name, entry in cache.items():
        if isinstance(entry, dict):
            reorder(entry, index if name != "cross" or memory is None else memory, memory)
        elif isinstance(entry, torch.Tensor) and (index is not memory or len(index) < len(entry)):
            cache[name] = entry.index_select(0, index)
