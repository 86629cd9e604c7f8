"""Today's block: RMSNorm, rotary positions, SwiGLU and grouped queries.

Letters are those of :mod:`mmcourse.gpt`; G kv heads, each read by H / G heads.
"""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from mmcourse.attention import scaled_dot_product_attention, visible

# Settings of rotary positions that "llama3" scaling must say, as in config.json.
LLAMA3 = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")


class RMSNorm(nn.Module):
    r"""Divide each vector by its root mean square:
    :math:`\gamma \odot x / \sqrt{\overline{x^2} + \epsilon}`.

    Zhang and Sennrich 2019, equation 4. Unlike a layer norm it does not subtract the mean and has
    no shift. The mean is taken in single precision at least.
    """

    def __init__(self, width, eps=1e-6):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        """Map ``x`` (..., D) to (..., D)."""
        exact = x if x.dtype == torch.float64 else x.float()
        mean_square = exact.square().mean(-1, keepdim=True)  # (..., 1)
        normed = exact * torch.rsqrt(mean_square + self.eps)
        return self.weight * normed.to(x.dtype)


def rotary_frequencies(width, theta=10_000.0, scaling=None):
    r"""How many radians a position turns each of the ``width / 2`` pairs: :math:`\theta^{-2i/d_k}`.

    Su et al. 2021, section 3.2.2. ``scaling`` stretches positions beyond those of the training:
    None, ``{"rope_type": "linear", "factor": f}`` (f times slower, Chen et al. 2023) or
    ``"llama3"`` with its four numbers (slow pairs f times slower, fast ones as they are).
    ValueError for an odd width, another scaling, or one without its numbers.
    """
    if width % 2:
        raise ValueError(f"rotary positions turn pairs, so d_k must be even, got {width}")
    pair = torch.arange(0, width, 2, dtype=torch.float) / width  # (d_k / 2,)
    frequencies = 1.0 / theta**pair
    kind = (scaling or {}).get("rope_type", "default")
    if kind == "default":
        return frequencies
    if kind == "linear":
        return frequencies / scaling["factor"]
    if kind == "llama3":
        missing = [name for name in LLAMA3 if name not in scaling]
        if missing:
            raise ValueError(
                f"the scaling 'llama3' needs {', '.join(LLAMA3)}; missing: {', '.join(missing)}"
            )
        return stretched(frequencies, *(scaling[name] for name in LLAMA3))
    raise ValueError(
        f"the scaling of rotary positions {kind!r} is not supported (default, linear and llama3 "
        "are): load the checkpoint with transformers instead"
    )


def stretched(frequencies, factor, low, high, length):
    """Llama 3.1's scaling of rotary ``frequencies``, for texts longer than ``length`` tokens.

    A pair that turns fewer than ``low`` times in ``length`` tokens turns ``factor`` times slower;
    one that turns more than ``high`` times stays; in between it is a mixture of both.
    """
    turns = length * frequencies / (2 * math.pi)
    kept = ((turns - low) / (high - low)).clamp(0, 1)  # 0: slowed down, 1: as it was
    return kept * frequencies + (1 - kept) * frequencies / factor


def rotary_angles(positions, frequencies):
    """Cosine and sine of the angle of each pair, (B, 1, T, d_k / 2), at ``positions`` (B, T)."""
    angles = positions[:, None, :, None] * frequencies
    return angles.cos(), angles.sin()


def rotate(x, cos, sin):
    """Turn the pairs of each vector of ``x`` (B, H, T, d_k) by the angles of its position.

    Numbers i and i + d_k / 2 are a pair, as in the checkpoints of transformers; the paper pairs
    neighbours, which is the same up to the order of the numbers.
    """
    first, second = x.chunk(2, -1)  # (B, H, T, d_k / 2) each
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


class GroupedQueryAttention(nn.Module):
    """Causal self-attention with fewer keys and values than queries (Ainslie et al. 2023).

    ``kv_heads``, G, divides ``heads``, H; ``head_width``, d_k, is D / H unless given. ``bias`` and
    ``output_bias`` are for the projections (Qwen2 has the first), ``normed`` puts an RMSNorm on
    each query and key (Qwen3). ValueError where the numbers do not divide.
    """

    def __init__(
        self,
        width,
        heads,
        kv_heads,
        *,
        head_width=None,
        bias=False,
        output_bias=False,
        normed=False,
        eps=1e-6,
    ):
        super().__init__()
        if heads < 1 or kv_heads < 1 or heads % kv_heads:
            raise ValueError(
                f"kv_heads must divide heads, got {kv_heads} and {heads}. Change one of them."
            )
        if head_width is None and width % heads:
            raise ValueError(
                f"heads must divide the width, got width {width} and heads {heads}. "
                "Change one of them, or give head_width."
            )
        head_width = head_width or width // heads
        self.kv_heads = kv_heads
        self.head_width = head_width
        self.query = nn.Linear(width, heads * head_width, bias=bias)
        self.key = nn.Linear(width, kv_heads * head_width, bias=bias)
        self.value = nn.Linear(width, kv_heads * head_width, bias=bias)
        self.output = nn.Linear(heads * head_width, width, bias=output_bias)
        self.query_norm = RMSNorm(head_width, eps) if normed else nn.Identity()
        self.key_norm = RMSNorm(head_width, eps) if normed else nn.Identity()

    def forward(self, x, cos, sin, mask=None, *, cache=None, return_weights=False):
        """Map ``x`` (B, T, D) to (B, T, D), its positions turned by ``cos`` and ``sin``.

        ``mask`` broadcasts to (B, H, T, S). ``cache`` is a dict, empty at first; it keeps G keys
        and values a token. With ``return_weights`` also return the weights (B, H, T, S).
        """
        query = rotate(self.query_norm(self.split(self.query(x))), cos, sin)  # (B, H, T, d_k)
        key = rotate(self.key_norm(self.split(self.key(x))), cos, sin)  # (B, G, T, d_k)
        value = self.split(self.value(x))  # (B, G, T, d_k)
        if cache:
            key = torch.cat([cache["key"], key], 2)  # (B, G, S, d_k)
            value = torch.cat([cache["value"], value], 2)
        if cache is not None:
            cache["key"] = key
            cache["value"] = value
        if not return_weights:
            return self.merge(grouped_attention(query, key, value, mask))
        readers = query.shape[1] // self.kv_heads  # heads that read the same keys and values
        found, weights = scaled_dot_product_attention(
            query,
            key.repeat_interleave(readers, 1),  # (B, H, S, d_k)
            value.repeat_interleave(readers, 1),
            mask,
            causal=True,
            return_weights=True,
        )
        return self.merge(found), weights

    def split(self, x):
        """Cut (B, T, H d_k) into heads (B, H, T, d_k)."""
        return x.unflatten(-1, (-1, self.head_width)).transpose(1, 2)

    def merge(self, heads):
        """Heads (B, H, T, d_k) side by side, then mixed, (B, T, D)."""
        return self.output(heads.transpose(1, 2).flatten(2))


def grouped_attention(query, key, value, mask=None):
    """Causal attention of ``query`` (B, H, T, d_k) to ``key`` and ``value`` (B, G, S, d_k).

    As :func:`~mmcourse.attention.fused_attention`, but G heads are read by H / G each, and the
    kernel repeats none of them in memory.
    """
    kernel = partial(F.scaled_dot_product_attention, enable_gqa=True)
    length = query.shape[2]
    source = key.shape[2]
    if mask is None and length == source:
        return kernel(query, key, value, is_causal=True)
    mask = visible(mask, (*query.shape[:-1], source), True, query.device)
    if mask is None:  # one query, which sees everything
        return kernel(query, key, value)
    blind = ~mask.any(-1, keepdim=True)  # rows for which a kernel may give NaN
    return kernel(query, key, value, mask | blind).masked_fill(blind, 0.0)


class SwiGLU(nn.Module):
    r"""A gated feed-forward network: :math:`(\mathrm{silu}(x W_1) \odot x W_3) W_2`.

    Shazeer 2020, equation 6. It has three matrices where the plain one has two, so for as many
    parameters its ``hidden`` is 2/3 as wide.
    """

    def __init__(self, width, hidden):
        super().__init__()
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x):
        """Map ``x`` (..., D) to (..., D)."""
        opened = F.silu(self.gate(x))  # (..., hidden)
        return self.down(opened * self.up(x))


class LlamaLayer(nn.Module):
    """Grouped-query attention, then SwiGLU, each with an RMSNorm before it.

    ``options`` are those of :class:`GroupedQueryAttention`.
    """

    def __init__(self, width, heads, kv_heads, hidden, eps=1e-6, **options):
        super().__init__()
        self.norm1 = RMSNorm(width, eps)
        self.attention = GroupedQueryAttention(width, heads, kv_heads, eps=eps, **options)
        self.norm2 = RMSNorm(width, eps)
        self.feed_forward = SwiGLU(width, hidden)

    def forward(self, x, cos, sin, mask=None, *, cache=None):
        """Map ``x`` (B, T, D) to (B, T, D); arguments as in the attention."""
        x = x + self.attention(self.norm1(x), cos, sin, mask, cache=cache)
        return x + self.feed_forward(self.norm2(x))
