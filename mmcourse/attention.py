"""Attention: every target looks at the sources and takes a weighted mean of what it finds there.

Shapes: B batch, T target length, S source length, D width, H heads, d_k = D / H width of a head.
A mask is boolean, ``True`` = may look, as in ``torch.nn.functional``
(``torch.nn.MultiheadAttention`` inverts it).
"""

import math

import torch
from torch import nn


def scaled_dot_product_attention(
    query, key, value, mask=None, *, causal=False, return_weights=False
):
    r"""Compute :math:`\mathrm{softmax}(Q K^\top / \sqrt{d_k})\, V`.

    Vaswani et al. 2017, equation 1. ``query`` is ``(..., T, d_k)``, ``key`` ``(..., S, d_k)``,
    ``value`` ``(..., S, d_v)``. ``mask`` is boolean and broadcasts to ``(..., T, S)``; anything
    else raises a TypeError or a ValueError. ``causal`` lets target ``t`` see source ``s`` only
    when ``s <= t + (S - T)``, so that the last one sees everything. Returns the output
    ``(..., T, d_v)``; with ``return_weights`` also the weights ``(..., T, S)``. A row that may
    look nowhere gets zeros, never NaN, not even backwards.
    """
    wide = torch.promote_types(query.dtype, torch.float32)  # float16 ends at 65,504; scores do not
    scaled = query.to(wide) / math.sqrt(query.shape[-1])
    scores = scaled @ key.to(wide).transpose(-2, -1)  # (..., T, S)
    mask = visible(mask, scores.shape, causal, scores.device)
    if mask is None:
        weights = scores.softmax(-1)
    else:
        hidden = torch.finfo(scores.dtype).min  # not -inf: the softmax of a row of -inf is NaN
        weights = scores.masked_fill(~mask, hidden).softmax(-1)
        weights = weights.masked_fill(~mask.any(-1, keepdim=True), 0.0)
    weights = weights.to(value.dtype)
    output = weights @ value  # (..., T, d_v)
    return (output, weights) if return_weights else output


def fused_attention(query, key, value, mask=None, *, causal=False, dropout=0.0):
    """Compute what :func:`scaled_dot_product_attention` does with PyTorch's kernel.

    The kernel works through the sources block by block and never holds the weights
    ``(..., T, S)`` in memory (Dao et al. 2022). Arguments, errors and output are the same, a row
    that may look nowhere included. ``dropout`` is the probability that a weight is dropped.
    """
    kernel = nn.functional.scaled_dot_product_attention
    length = query.shape[-2]
    source = key.shape[-2]
    if causal and mask is None and length == source:
        return kernel(query, key, value, is_causal=True, dropout_p=dropout)
    mask = visible(mask, (*query.shape[:-1], source), causal, query.device)
    if mask is None:
        return kernel(query, key, value, dropout_p=dropout)
    blind = ~mask.any(-1, keepdim=True)  # (..., T, 1): rows for which a kernel may give NaN
    output = kernel(query, key, value, mask | blind, dropout_p=dropout)
    return output.masked_fill(blind, 0.0)


def visible(mask, shape, causal, device):
    """Join a mask with the causal one, for scores of ``shape`` ``(..., T, S)``; None: no mask."""
    if mask is not None:
        check_mask(mask, shape)
    length = shape[-2]
    source = shape[-1]
    if not causal or length == 1:
        return mask
    past = torch.ones(length, source, dtype=torch.bool, device=device).tril(source - length)
    return past if mask is None else mask & past


def check_mask(mask, shape):
    """Raise a TypeError if a mask is not boolean, a ValueError if it does not fit ``shape``."""
    if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool:
        got = f"{type(mask).__name__} {getattr(mask, 'dtype', '')}".strip()
        raise TypeError(
            f"mask must be a torch.bool tensor, True = may look, got {got}. "
            "Try mask = tokens != padding."
        )
    try:
        mask.expand(shape)
    except RuntimeError:
        raise ValueError(
            f"mask must broadcast to the scores (..., T, S) = {tuple(shape)}, "
            f"got {tuple(mask.shape)}. "
            "A padding mask (B, S) for attention with heads is passed as mask[:, None, None, :]."
        ) from None


class MultiHeadAttention(nn.Module):
    """H attentions side by side, each on projections of its own.

    Vaswani et al. 2017, section 3.2.2. ``heads``, H, divides ``width``, D, else ValueError.
    ``bias`` is for the projections, ``dropout`` for the weights.
    """

    def __init__(self, width, heads, *, bias=True, dropout=0.0):
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(
                f"heads must divide the width, got width {width} and heads {heads}. "
                "Change one of them."
            )
        self.heads = heads
        self.dropout = dropout
        self.query = nn.Linear(width, width, bias=bias)
        self.key = nn.Linear(width, width, bias=bias)
        self.value = nn.Linear(width, width, bias=bias)
        self.output = nn.Linear(width, width, bias=bias)

    def forward(
        self, query, context=None, mask=None, *, causal=False, cache=None, return_weights=False
    ):
        """Look from ``query`` ``(B, T, D)`` at ``context`` ``(B, S, D)``, or at ``query`` itself.

        ``mask`` broadcasts to ``(B, H, T, S)``: ``(B, 1, 1, S)`` hides padding. ``cache`` is a
        dict, empty at first: self-attention appends its keys and values and looks at all of them,
        so S counts the earlier ones; those of a context are projected once and used again. Then
        n B rows of ``query`` may share B rows of the context, n each. Returns ``(B, T, D)``; with
        ``return_weights`` also the weights before dropout, ``(B, H, T, S)``, or
        ``(B, H, n T, S)`` of n rows that share. They are computed by the formula, all others by
        the kernel.
        """
        key, value = self.keys_and_values(query, context, cache)  # (B, H, S, d_k) each
        targets = self.share(query, key) if context is not None and cache else query
        heads = self.split(self.query(targets))  # (B, H, T, d_k)
        found, weights = self.attend(heads, key, value, mask, causal, return_weights)
        output = self.output(self.merge(found).reshape(query.shape))  # (B, T, D)
        return (output, weights) if return_weights else output

    def keys_and_values(self, query, context, cache):
        """What is looked at, each ``(B, H, S, d_k)``: projected now, kept in the cache, or both."""
        if context is not None and cache:
            return cache["key"], cache["value"]
        source = query if context is None else context  # (B, S, D)
        key = self.split(self.key(source))
        value = self.split(self.value(source))
        if cache:  # of self-attention: the new ones come after the earlier ones
            key = torch.cat([cache["key"], key], -2)
            value = torch.cat([cache["value"], value], -2)
        if cache is not None:
            key = key.contiguous()  # so that rows are kept and dropped as whole blocks of memory
            value = value.contiguous()
            cache["key"] = key
            cache["value"] = value
        return key, value

    def attend(self, query, key, value, mask, causal, return_weights):
        """What all heads find, ``(B, H, T, d_k)``, and the weights, None where nobody asks."""
        dropout = self.dropout if self.training else 0.0
        if not return_weights:
            found = fused_attention(query, key, value, mask, causal=causal, dropout=dropout)
            return found, None
        found, weights = scaled_dot_product_attention(
            query, key, value, mask, causal=causal, return_weights=True
        )
        if dropout:
            found = nn.functional.dropout(weights, dropout) @ value
        return found, weights

    def split(self, x):
        """Cut ``(B, T, D)`` into heads ``(B, H, T, d_k)``."""
        return x.unflatten(-1, (self.heads, -1)).transpose(-3, -2)

    def merge(self, heads):
        """Put heads ``(B, H, T, d_k)`` side by side, ``(B, T, D)``."""
        return heads.transpose(-3, -2).flatten(-2)

    def share(self, query, key):
        """Rows ``(n B, T, D)`` that share the B rows of ``key``, n each, as ``(B, n T, D)``."""
        if query.dim() == 3 and len(query) % len(key):
            raise ValueError(
                f"the {len(key)} rows of the cached context must be shared by as many rows of the "
                f"query each, got {len(query)}. Reorder the cache when rows are dropped."
            )
        return query.reshape(*key.shape[:-3], -1, query.shape[-1])
