"""Attention, forward and backward, at three lengths: time and memory.

Shapes: B sequences, T positions, D width, H heads.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from mmcourse.attention import MultiHeadAttention
from mmcourse.bench.profiling import peak_memory
from mmcourse.bench.races.layers import forward_and_backward

WIDTH = 256
HEADS = 8
SIZES = ((16, 256), (4, 1024), (1, 4096))  # B and T
TIME_GOAL = 0.95  # of the speed of the fastest peer
MEMORY_GOAL = 1.1  # times the memory of the smallest


def rows(race):
    """Plain and causal self-attention with its four projections: a row of time, a row of memory."""
    for batch, length in [(2, 16)] if race.quick else SIZES:
        for causal in (False, True):
            kind = "causal attention" if causal else "attention"
            sizes = f"B {batch}, T {length:,}, D {WIDTH}, H {HEADS}"
            x = torch.randn(batch, length, WIDTH, device=race.device, requires_grad=True)
            steps = contenders(x, causal)
            runs = {name: partial(step.run, step.module) for name, step in steps.items()}
            yield race.row(f"{kind}, forward and backward", sizes, runs, TIME_GOAL)
            yield memory_row(race, f"{kind}, memory", sizes, runs)


def contenders(x, causal):
    """Ours and the others as Steps, on the input ``x`` (B, T, D)."""
    modules = {
        "ours": OurAttention(causal),
        "torch.nn.MultiheadAttention": TorchAttention(causal, x.shape[1]),
        "F.scaled_dot_product_attention": FusedAttention(causal),
    }
    steps = {}
    for name, module in modules.items():
        steps[name] = forward_and_backward(module.to(x.device), x)
    return steps


def memory_row(race, what, sizes, runs):
    """The most memory of a call of each; the peer is the one that takes least."""
    race.say(f"{what}, {sizes}")
    peaks = {}
    for name, run in runs.items():
        run()  # what is made only once does not count
        peaks[name] = peak_memory(race, run) / 2**20
    ours = peaks.pop("ours")
    peer = min(peaks, key=peaks.get)
    ratio = ours / peaks[peer]
    return {
        "what": what,
        "sizes": sizes,
        "unit": "MB",
        "ours": ours,
        "peer": peaks[peer],
        "peer_name": peer,
        "ratio": ratio,
        "goal": f"≤ {MEMORY_GOAL}",
        "reached": "yes" if ratio <= MEMORY_GOAL else "no",
        "notes": ["beyond the input and the parameters"],
    }


class OurAttention(nn.Module):
    """:class:`mmcourse.attention.MultiHeadAttention`."""

    def __init__(self, causal):
        super().__init__()
        self.causal = causal
        self.attention = MultiHeadAttention(WIDTH, HEADS)

    def forward(self, x):
        return self.attention(x, causal=self.causal)


class TorchAttention(nn.Module):
    """PyTorch's own module. Its causal form wants the mask too, though it does not look at it."""

    def __init__(self, causal, length):
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        mask = nn.Transformer.generate_square_subsequent_mask(length) if causal else None
        self.register_buffer("mask", mask)  # (T, T)

    def forward(self, x):
        causal = self.mask is not None
        output, _ = self.attention(
            x, x, x, attn_mask=self.mask, is_causal=causal, need_weights=False
        )
        return output


class FusedAttention(nn.Module):
    """Four projections around PyTorch's fused function, and nothing else."""

    def __init__(self, causal):
        super().__init__()
        self.causal = causal
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key = nn.Linear(WIDTH, WIDTH)
        self.value = nn.Linear(WIDTH, WIDTH)
        self.output = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        query = split(self.query(x))  # (B, H, T, D / H)
        key = split(self.key(x))
        value = split(self.value(x))
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        return self.output(mixed.transpose(1, 2).flatten(2))  # (B, T, D)


def split(x):
    """(B, T, D) as heads (B, H, T, D / H)."""
    return x.unflatten(-1, (HEADS, -1)).transpose(1, 2)
