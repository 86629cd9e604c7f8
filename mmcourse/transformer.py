"""The Transformer: layers of attention and a feed-forward network.

Letters and masks are those of :mod:`mmcourse.attention`.
"""

import torch
from torch import nn

from mmcourse.attention import MultiHeadAttention


def sinusoidal_positions(length, width):
    r"""Return the ``(length, width)`` position table of Vaswani et al. 2017, section 3.5.

    Row :math:`p` has :math:`\sin(p / 10000^{2i/D})` in column :math:`2i`, its cosine in the next.
    ValueError when the width is odd.
    """
    if width % 2:
        raise ValueError(
            "width must be even, because sines and cosines come in pairs, "
            f"got {width}. Use {width + 1}."
        )
    position = torch.arange(length)[:, None].double()  # (length, 1)
    column = torch.arange(0, width, 2).double()  # (width / 2,)
    angle = position / 10000 ** (column / width)  # (length, width / 2)
    pairs = torch.stack([angle.sin(), angle.cos()], -1)  # (length, width / 2, 2)
    return pairs.flatten(-2).to(torch.get_default_dtype())


class FeedForward(nn.Sequential):
    """Two linear layers with a GELU between them, at every position alone, ``(..., D)``."""

    def __init__(self, width, hidden, dropout=0.0):
        super().__init__(
            nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width)
        )


class ResidualLayer(nn.Module):
    """What the layers share: a norm, a residual connection and dropout around every sub-layer.

    ``norm_first`` computes ``x + sublayer(norm(x))`` (pre-norm, Xiong et al. 2020); without it,
    the original ``norm(x + sublayer(x))`` (post-norm, Vaswani et al. 2017).
    """

    def __init__(self, norm_first, dropout):
        super().__init__()
        self.norm_first = norm_first
        self.dropout = nn.Dropout(dropout)

    def before(self, norm, x):
        """What a sub-layer reads of the stream ``x`` ``(B, T, D)``."""
        return norm(x) if self.norm_first else x

    def after(self, norm, x, update):
        """The stream ``x`` ``(B, T, D)`` after a sub-layer's ``update`` to it."""
        if self.training:
            update = self.dropout(update)
        x = x + update
        return x if self.norm_first else norm(x)


class EncoderLayer(ResidualLayer):
    """Self-attention, then a feed-forward network: ``(B, T, D)`` to ``(B, T, D)``.

    ``norm_first`` chooses between pre-norm and post-norm, see :class:`ResidualLayer`. ``hidden``
    is four times the width unless given.
    """

    def __init__(self, width, heads, hidden=None, dropout=0.0, *, norm_first=True, eps=1e-5):
        super().__init__(norm_first, dropout)
        self.attention = MultiHeadAttention(width, heads, dropout=dropout)
        self.feed_forward = FeedForward(width, hidden or 4 * width, dropout)
        self.norm1 = nn.LayerNorm(width, eps)
        self.norm2 = nn.LayerNorm(width, eps)

    def forward(self, x, mask=None, return_weights=False):
        """Map ``x``; with ``return_weights`` also return the weights ``(B, H, T, T)``."""
        seen = self.before(self.norm1, x)
        found = self.attention(seen, mask=mask, return_weights=return_weights)
        update, weights = found if return_weights else (found, None)
        x = self.after(self.norm1, x, update)
        update = self.feed_forward(self.before(self.norm2, x))
        x = self.after(self.norm2, x, update)
        return (x, weights) if return_weights else x


class DecoderLayer(ResidualLayer):
    """Causal self-attention, cross-attention to the memory, then a feed-forward network.

    Otherwise as :class:`EncoderLayer`.
    """

    def __init__(self, width, heads, hidden=None, dropout=0.0, *, norm_first=True):
        super().__init__(norm_first, dropout)
        self.attention = MultiHeadAttention(width, heads, dropout=dropout)
        self.cross_attention = MultiHeadAttention(width, heads, dropout=dropout)
        self.feed_forward = FeedForward(width, hidden or 4 * width, dropout)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.norm3 = nn.LayerNorm(width)

    def forward(self, x, memory, mask=None, memory_mask=None, *, cache=None, return_weights=False):
        """Map ``x`` ``(B, T, D)``, which looks at ``memory`` ``(B, S, D)``, to ``(B, T, D)``.

        ``cache`` is a dict, empty at first: ``x`` continues the ``x`` of the earlier calls, and
        ``mask`` covers both. With ``return_weights`` also return the cross-attention weights
        ``(B, H, T, S)``.
        """
        own = cross = None
        if cache is not None:
            own = cache.setdefault("self", {})
            cross = cache.setdefault("cross", {})
        seen = self.before(self.norm1, x)
        update = self.attention(seen, mask=mask, causal=True, cache=own)
        x = self.after(self.norm1, x, update)
        seen = self.before(self.norm2, x)
        found = self.cross_attention(
            seen, memory, memory_mask, cache=cross, return_weights=return_weights
        )
        update, weights = found if return_weights else (found, None)
        x = self.after(self.norm2, x, update)
        update = self.feed_forward(self.before(self.norm3, x))
        x = self.after(self.norm3, x, update)
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
        """Encode ``x``; with ``return_weights`` also give the weights ``(B, layers, H, T, T)``."""
        maps = []
        for layer in self.layers:
            if return_weights:
                x, weights = layer(x, mask, return_weights=True)
                maps.append(weights)
            else:
                x = layer(x, mask)
        x = self.norm(x)
        return (x, torch.stack(maps, 1)) if return_weights else x


class Decoder(nn.Module):
    """A stack of pre-norm decoder layers and a last layer norm."""

    def __init__(self, layers, width, heads, hidden=None, dropout=0.0):
        super().__init__()
        self.layers = nn.ModuleList(
            DecoderLayer(width, heads, hidden, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, x, memory, mask=None, memory_mask=None, *, cache=None, return_weights=False):
        """As in DecoderLayer; the weights of all layers are ``(B, layers, H, T, S)``."""
        maps = []
        for number, layer in enumerate(self.layers):
            own = None if cache is None else cache.setdefault(number, {})
            if return_weights:
                x, weights = layer(x, memory, mask, memory_mask, cache=own, return_weights=True)
                maps.append(weights)
            else:
                x = layer(x, memory, mask, memory_mask, cache=own)
        x = self.norm(x)
        return (x, torch.stack(maps, 1)) if return_weights else x


def reorder(cache, rows, *, shared=None):
    """Keep the batch rows ``rows`` (LongTensor) of every tensor in a nested cache, in place.

    A row may be named twice or not at all: beam search needs both. What lies in a dict under the
    name ``cross`` is shared: it has one row for all the rows of a picture. Of these it keeps
    ``shared`` (LongTensor); without ``shared`` it stays as it is.
    """
    for name, entry in cache.items():
        if name == "cross":
            if shared is not None:
                reorder(entry, shared)
        elif isinstance(entry, dict):
            reorder(entry, rows, shared=shared)
        elif isinstance(entry, torch.Tensor):
            cache[name] = entry.index_select(0, rows)
