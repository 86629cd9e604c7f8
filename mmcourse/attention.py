"""Attention: every target position looks at the source positions and takes a weighted mean of what it finds there.

Shapes: B batch, T target length, S source length, D width, H heads, d_k = D / H width of a head.
A mask is boolean, ``True`` = may look, as in ``torch.nn.functional`` (``torch.nn.MultiheadAttention`` inverts it).
"""

import math

import torch
from torch import nn


def scaled_dot_product_attention(
    query, key, value, mask=None, *, causal=False, dropout=0.0, return_weights=False
):
    r"""Compute :math:`\mathrm{softmax}(Q K^\top / \sqrt{d_k})\, V` (Vaswani et al. 2017, equation 1).

    ``query`` is ``(..., T, d_k)``, ``key`` ``(..., S, d_k)``, ``value`` ``(..., S, d_v)``. ``mask`` is boolean and
    broadcasts to ``(..., T, S)``; anything else raises a TypeError or a ValueError. ``causal`` lets target ``t`` see
    source ``s`` only when ``s <= t + (S - T)``, so that the last one sees everything. ``dropout`` is the probability
    that a weight is dropped; pass zero to evaluate. Returns the output ``(..., T, d_v)``; with ``return_weights`` also
    the weights ``(..., T, S)`` before dropout. A row that may look nowhere gets zeros, never NaN, not even backwards.
    """
    length, source = query.shape[-2], key.shape[-2]
    scores = query / math.sqrt(query.shape[-1]) @ key.transpose(-2, -1)  # (..., T, S)
    blind = (
        mask is not None or causal and length > source > 0
    )  # are there rows, perhaps, that may look nowhere?
    if mask is not None:
        check_mask(mask, scores.shape)
    if causal and length > 1:
        past = torch.ones(length, source, dtype=torch.bool, device=scores.device).tril(
            source - length
        )
        mask = past if mask is None else mask & past
    if (
        mask is not None
    ):  # the lowest finite number instead of -inf, because the softmax of a row of -inf is NaN
        scores.masked_fill_(~mask, torch.finfo(scores.dtype).min)
    weights = scores.softmax(-1)
    if blind:
        weights = weights * mask.any(-1, keepdim=True)
    output = nn.functional.dropout(weights, dropout) @ value  # (..., T, d_v)
    return (output, weights) if return_weights else output


def check_mask(mask, shape):
    """Raise a TypeError if ``mask`` is not boolean, a ValueError if it does not broadcast to ``shape``."""
    if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool:
        got = f"{type(mask).__name__} {getattr(mask, 'dtype', '')}".strip()
        raise TypeError(
            f"mask must be a torch.bool tensor, True = may look, got {got}. Try mask = tokens != padding."
        )
    try:
        mask.expand(shape)
    except RuntimeError:
        raise ValueError(
            f"mask must broadcast to the scores (..., T, S) = {tuple(shape)}, got {tuple(mask.shape)}. A "
            "padding mask (B, S) for attention with heads is passed as mask[:, None, None, :]."
        ) from None


class MultiHeadAttention(nn.Module):
    """H attentions side by side, each on projections of its own (Vaswani et al. 2017, section 3.2.2).

    ``heads``, H, divides ``width``, D, else ValueError. ``bias`` is for the projections, ``dropout`` for the weights.
    """

    def __init__(self, width, heads, *, bias=True, dropout=0.0):
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(
                f"heads must divide the width, got width {width} and heads {heads}. Change one of them."
            )
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.output = (
            nn.Linear(width, width, bias=bias) for _ in range(4)
        )

    def forward(
        self, query, context=None, mask=None, *, causal=False, cache=None, return_weights=False
    ):
        """Look from ``query`` ``(B, T, D)`` at ``context`` ``(B, S, D)``; without a context, at ``query`` itself.

        ``mask`` broadcasts to ``(B, H, T, S)``: ``(B, 1, 1, S)`` hides padding. ``cache`` is a dict, empty at first:
        self-attention appends its keys and values and looks at all of them, so S counts the earlier ones; those of a
        context are projected once and used again. Then n B rows of ``query`` may share B rows of the context, n each.
        Returns ``(B, T, D)``; with ``return_weights``, ``(B, H, T, S)`` too, ``(B, H, n T, S)`` of n that share.
        """
        shape = query.shape
        if context is not None and cache:
            key, value = cache["key"], cache["value"]
            query = query.reshape(
                *key.shape[:-3], -1, shape[-1]
            )  # n rows that share a context: n T targets of one
        else:
            source = query if context is None else context
            key, value = (
                self.split(self.key(source)),
                self.split(self.value(source)),
            )  # (B, H, S, d_k)
            if cache:
                key, value = (
                    torch.cat([cache["key"], key], -2),
                    torch.cat([cache["value"], value], -2),
                )
        if cache is not None:  # contiguous, or each later product would copy them
            cache["key"], cache["value"] = key, value = key.contiguous(), value.contiguous()
        query, dropout = self.split(self.query(query)), self.dropout if self.training else 0.0
        output, weights = scaled_dot_product_attention(
            query, key, value, mask, causal=causal, dropout=dropout, return_weights=True
        )
        output = self.output(output.transpose(-3, -2).reshape(shape))  # (B, H, T, d_k) to (B, T, D)
        return (output, weights) if return_weights else output

    def split(self, x):
        """Cut ``(B, T, D)`` into heads ``(B, H, T, d_k)``."""
        return x.unflatten(-1, (self.heads, -1)).transpose(-3, -2)
