"""Quantisation: numbers become small integers, which times a scale are nearly the numbers again.

Shapes: C channels, which are the rows of a weight: what one output of a layer is computed with.
"""

from dataclasses import dataclass

import torch

BITS = range(2, 9)  # of a code
SMALLEST = torch.finfo(torch.float32).eps  # of a scale, so that zeros do not divide by zero


@dataclass(frozen=True)
class Scheme:
    """How numbers are quantised.

    A code has so many ``bits``, from 2 to 8. A ``symmetric`` scheme has the zero point 0; else
    (affine) zero may be any code. ``per_channel`` gives each row its own scale; else the whole
    tensor has one. Raises ValueError for other bits.
    """

    bits: int = 8
    symmetric: bool = True
    per_channel: bool = True

    def __post_init__(self):
        if isinstance(self.bits, bool) or self.bits not in BITS:
            raise ValueError(
                f"bits must be a whole number from {BITS[0]} to {BITS[-1]}, got {self.bits!r}: one "
                "bit has no code between its ends, and above 8 take half precision"
            )

    @property
    def low(self):
        """The smallest code, such as -128."""
        return -(2 ** (self.bits - 1))

    @property
    def high(self):
        """The largest code, such as 127."""
        return 2 ** (self.bits - 1) - 1


def choose_scale(x, scheme):
    """The scale and the zero point of each row of ``x`` (C, ...), or of all of it.

    Two tensors: floats, and whole numbers as int32; (C,) per channel, else (1,). They cover the
    smallest and the largest number of ``x``, and 0. As PyTorch's ``MinMaxObserver`` and
    ``PerChannelMinMaxObserver``. Raises ValueError for numbers that are none, or not finite.
    """
    check_numbers(x)
    rows = x.float().flatten(1) if scheme.per_channel else x.float().reshape(1, -1)
    smallest = rows.amin(1).clamp(max=0)  # 0 must have a code: padding, ReLU and pruning give it
    largest = rows.amax(1).clamp(min=0)
    if scheme.symmetric:
        reach = torch.maximum(-smallest, largest)
        scale = (reach / ((scheme.high - scheme.low) / 2)).clamp(min=SMALLEST)
        return scale, torch.zeros(len(scale), dtype=torch.int32)
    scale = ((largest - smallest) / (scheme.high - scheme.low)).clamp(min=SMALLEST)
    zero_point = (scheme.low - torch.round(smallest / scale)).clamp(scheme.low, scheme.high)
    return scale, zero_point.to(torch.int32)


def check_numbers(x):
    """ValueError unless a tensor has rows, and finite numbers in them."""
    if x.dim() < 2 or x.numel() == 0:
        raise ValueError(
            f"expected numbers in rows, (C, ...), got the shape {tuple(x.shape)}: without numbers "
            "there is no smallest one, so show it some, or reshape a vector to (1, n)"
        )
    if not x.isfinite().all():
        bad = (~x.isfinite()).sum().item()
        raise ValueError(
            f"{bad} of {x.numel()} numbers are infinite or NaN, and no scale covers them: look "
            "where they come from before you quantise"
        )


def quantise(x, scale, zero_point, scheme):
    r"""Codes of ``x`` (C, ...), int8: :math:`\mathrm{clamp}(\mathrm{round}(x / s) + z)`.

    Halves are rounded to the even neighbour. What lies outside of the range gets its end.
    """
    shape = (-1,) + (1,) * (x.dim() - 1)
    steps = torch.round(x.float() * (1 / scale).view(shape))
    codes = steps + zero_point.view(shape)
    return codes.clamp(scheme.low, scheme.high).to(torch.int8)


def dequantise(codes, scale, zero_point):
    """The numbers of codes (C, ...): :math:`s (q - z)`, floats."""
    shape = (-1,) + (1,) * (codes.dim() - 1)
    return (codes.float() - zero_point.view(shape)) * scale.view(shape)


def fake_quantise(x, scheme):
    """``x`` (C, ...) quantised and back: what a layer computes with, in floats."""
    scale, zero_point = choose_scale(x, scheme)
    return dequantise(quantise(x, scale, zero_point, scheme), scale, zero_point)


def relative_error(x, approximation):
    """How far ``approximation`` is from ``x``: the length of the difference by that of ``x``."""
    return ((x - approximation).norm() / x.norm()).item()


def pack(codes, bits):
    """Codes (C, n), int8, as bytes (C, ceil(n bits / 8)), uint8: no bit lies idle but the last few.

    The least code becomes 0. Its bits come with the least significant first, and codes follow one
    another without a gap: with 4 bits, two share a byte.
    """
    numbers = codes.to(torch.int16) + 2 ** (bits - 1)  # 0 to 2 ** bits - 1
    ones = (numbers[..., None] >> torch.arange(bits)) & 1  # (C, n, bits)
    row = ones.flatten(1)  # (C, n bits)
    row = torch.nn.functional.pad(row, (0, -row.shape[1] % 8))
    values = row.unflatten(1, (-1, 8)) << torch.arange(8)  # (C, bytes, 8)
    return values.sum(-1).to(torch.uint8)


def unpack(packed, bits, length):
    """The codes (C, length), int8, of what :func:`pack` gave."""
    ones = (packed[..., None].to(torch.int16) >> torch.arange(8)) & 1  # (C, bytes, 8)
    row = ones.flatten(1)[:, : length * bits].unflatten(1, (length, bits))
    numbers = (row << torch.arange(bits)).sum(-1)
    return (numbers - 2 ** (bits - 1)).to(torch.int8)


def bytes_per_row(length, bits):
    """How many bytes the codes of a row take."""
    return -(-length * bits // 8)
