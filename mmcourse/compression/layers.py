"""Layers whose weights are stored as packed codes, and a model made of them.

Shapes: C rows of a weight, n numbers in a row, B batch.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from mmcourse.compression.quantise import (
    Scheme,
    bytes_per_row,
    choose_scale,
    dequantise,
    pack,
    quantise,
    unpack,
)
from mmcourse.weights import listed


class QuantisedLayer(nn.Module):
    """The base: a weight of ``shape`` (C, ...) in packed codes, with its scales.

    Only what must be stored is a buffer: ``codes`` (C, bytes), ``scale`` (C,) or (1,) and, where
    the scheme is affine, ``zero_point``. The numbers are made anew whenever ``weight`` is asked
    for, unless :meth:`keep` was called.
    """

    def __init__(self, shape, scheme, bias=None):
        super().__init__()
        self.shape = tuple(shape)
        self.scheme = scheme
        self.length = math.prod(self.shape[1:])
        rows = self.shape[0]
        scales = rows if scheme.per_channel else 1
        width = bytes_per_row(self.length, scheme.bits)
        self.register_buffer("codes", torch.zeros(rows, width, dtype=torch.uint8))
        self.register_buffer("scale", torch.ones(scales))
        if not scheme.symmetric:
            self.register_buffer("zero_point", torch.zeros(scales, dtype=torch.int32))
        self.bias = None if bias is None else nn.Parameter(torch.zeros(bias))
        self.kept = None

    def fill(self, weight, bias=None):
        """Quantise a weight into this layer; return the layer."""
        scale, zero_point = choose_scale(weight, self.scheme)
        codes = quantise(weight, scale, zero_point, self.scheme)
        self.codes.copy_(pack(codes.flatten(1), self.scheme.bits))
        self.scale.copy_(scale)
        if not self.scheme.symmetric:
            self.zero_point.copy_(zero_point)
        if bias is not None:
            self.bias.data.copy_(bias)
        self.kept = None  # what was kept are the floats of the codes before
        return self

    def unpacked(self):
        """The codes, int8, in the shape of the weight."""
        return unpack(self.codes, self.scheme.bits, self.length).view(self.shape)

    @property
    def weight(self):
        """The weight in floats, as near as the codes are."""
        if self.kept is not None:
            return self.kept
        zero_point = torch.zeros(1) if self.scheme.symmetric else self.zero_point
        return dequantise(self.unpacked(), self.scale, zero_point)

    def keep(self, keep=True):
        """Hold the floats beside the codes: fast, and no smaller in memory than before."""
        self.kept = None
        if keep:
            self.kept = self.weight
        return self


class QuantisedLinear(QuantisedLayer):
    """``x W^T + b`` with a quantised W (C, n): ``(..., n)`` to ``(..., C)``."""

    @classmethod
    def like(cls, layer, scheme):
        """A layer of the same sizes, not filled."""
        return cls(layer.weight.shape, scheme, None if layer.bias is None else len(layer.bias))

    def forward(self, x):
        return F.linear(x, self.weight, self.bias)


class QuantisedConv2d(QuantisedLayer):
    """A convolution with a quantised kernel (C, channels, height, width)."""

    def __init__(self, shape, scheme, bias=None, stride=1, padding=0):
        super().__init__(shape, scheme, bias)
        self.stride = stride
        self.padding = padding

    @classmethod
    def like(cls, layer, scheme):
        """A layer of the same sizes, not filled."""
        bias = None if layer.bias is None else len(layer.bias)
        return cls(layer.weight.shape, scheme, bias, layer.stride, layer.padding)

    def forward(self, x):
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding)


class QuantisedEmbedding(QuantisedLayer):
    """A table of vectors (C, n), quantised: LongTensor ``(...)`` to ``(..., n)``."""

    @classmethod
    def like(cls, layer, scheme):
        """A layer of the same sizes, not filled."""
        return cls(layer.weight.shape, scheme)

    def forward(self, ids):
        return F.embedding(ids, self.weight)


class IntegerLinear(QuantisedLinear):
    """The base of linear layers that multiply codes by codes.

    The sum of products is exact here since float32 holds whole numbers up to 2 ** 24; real kernels
    add in int32. A subclass says in ``range_of`` with which scale and zero point the input (B, n)
    is quantised, affine and with 8 bits.
    """

    inputs = Scheme(8, symmetric=False, per_channel=False)

    def keep(self, keep=True):
        """Hold the codes unpacked, as floats, for speed."""
        self.kept = self.unpacked().float() if keep else None
        return self

    @property
    def weight(self):
        """The weight in floats."""
        codes = self.unpacked()
        return dequantise(codes, self.scale, torch.zeros(1))

    def range_of(self, rows):
        """Scale and zero point for an input (B, n)."""
        raise NotImplementedError("a subclass says how the input is quantised")

    def forward(self, x):
        if not self.scheme.symmetric:
            raise ValueError("layers that multiply codes take symmetric weights: symmetric=True")
        rows = x.reshape(-1, x.shape[-1])
        scale, zero_point = self.range_of(rows)
        codes = quantise(rows, scale, zero_point, self.inputs).float() - zero_point  # (B, n)
        own = self.unpacked().float() if self.kept is None else self.kept  # (C, n)
        output = (codes @ own.T) * (scale * self.scale)  # (B, C): whole numbers, then scales
        if self.bias is not None:
            output = output + self.bias
        return output.view(*x.shape[:-1], -1)


class DynamicLinear(IntegerLinear):
    """A linear layer that multiplies codes: its input is quantised anew at each call.

    The input gets one scale for all of it, as in PyTorch's dynamic quantisation.
    """

    def range_of(self, rows):
        """Scale and zero point that cover this input (B, n)."""
        return choose_scale(rows, self.inputs)


KINDS = {nn.Linear: QuantisedLinear, nn.Conv2d: QuantisedConv2d, nn.Embedding: QuantisedEmbedding}


def quantisable(model, skip=()):
    """The layers of a model that can be quantised: a dict of names and layers.

    Those whose names begin as one in ``skip`` are left out. ValueError, with its name, for a layer
    that holds a table of weights and is of no known kind.
    """
    found = {}
    inside = []  # of layers that are refused as a whole
    for name, layer in model.named_modules():
        if any(f"{name}.".startswith(f"{skipped}.") for skipped in skip):
            continue
        if type(layer) in KINDS:
            found[name] = layer
            if getattr(layer, "groups", 1) != 1:
                inside.append((name, layer))
        elif isinstance(layer, (nn.RNNBase, nn.MultiheadAttention, nn.modules.conv._ConvNd)):
            inside.append((name, layer))
    if inside:
        name, layer = inside[0]
        kind = type(layer).__name__
        known = ", ".join(kind.__name__ for kind in KINDS)
        raise ValueError(
            f"the layer {name or 'itself'} is a {kind}, which cannot be quantised here: expected "
            f"{known}, without groups. Name it in skip to leave it as it is, or build it of these"
        )
    if not found:
        raise ValueError(
            f"a {type(model).__name__} has no layer that can be quantised: expected at least one "
            f"of {', '.join(kind.__name__ for kind in KINDS)}"
        )
    return found


def quantise_model(model, bits=8, *, symmetric=True, per_channel=True, dynamic=False, skip=()):
    """Replace the layers of a model, in place, by quantised ones; return the model.

    ``bits`` is a number, or a dict of layers' names and numbers: what it does not name stays as
    it is, and so does what begins as a name in ``skip``. ``dynamic`` lets linear layers quantise
    their input, too. Raises ValueError, with the name, for a layer that is not there, cannot be
    quantised, or holds numbers that are not finite.
    """
    plan = plan_of(model, bits, skip)
    for name, each in plan.items():
        layer = model.get_submodule(name)
        scheme = Scheme(each, symmetric, per_channel)
        kind = KINDS[type(layer)]
        if dynamic and kind is QuantisedLinear:
            kind = DynamicLinear
        try:
            new = kind.like(layer, scheme).fill(layer.weight.data, getattr(layer, "bias", None))
        except ValueError as error:
            raise ValueError(f"the layer {name} cannot be quantised: {error}") from error
        put(model, name, new)
    return model


def plan_of(model, bits, skip=()):
    """For each layer that is to be quantised its bits: a dict. See :func:`quantise_model`."""
    known = quantisable(model, skip)
    if not isinstance(bits, dict):
        Scheme(bits)
        return dict.fromkeys(known, bits)
    for name, each in bits.items():
        if name not in known:
            raise ValueError(
                f"there is no layer {name!r} that can be quantised: expected one of "
                f"{listed(list(known))}"
            )
        Scheme(each)
    return dict(bits)


def put(model, name, layer):
    """Put a layer into the place of that name."""
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, layer)


def keep_floats(model, keep=True):
    """Let all quantised layers hold their floats, see :meth:`QuantisedLayer.keep`."""
    for layer in model.modules():
        if isinstance(layer, QuantisedLayer):
            layer.keep(keep)
    return model
