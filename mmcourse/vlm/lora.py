"""LoRA: a frozen linear layer learns by a product of two thin matrices beside it."""

import copy
import math

import torch
from torch import nn


class LoRALinear(nn.Module):
    r"""A linear layer that stays, plus a learned update of low rank (Hu et al. 2022, equation 3).

    :math:`y = x W + b + \frac{\alpha}{r}\, x A B`, with A (in, r) and B (r, out). ``down`` holds A
    and ``up`` B, each transposed, as PyTorch's linear layers do. ``up`` starts at zero, so at first
    the layer is what it was. ``alpha`` is ``rank`` unless given. ValueError for a rank below 1.
    """

    def __init__(self, layer, rank, alpha=None):
        super().__init__()
        if rank < 1:
            raise ValueError(f"rank must be at least 1, got {rank}: without it nothing is learned")
        self.layer = layer.requires_grad_(False)
        self.scale = (rank if alpha is None else alpha) / rank
        weight = layer.weight
        self.down = nn.Parameter(weight.new_empty(rank, layer.in_features))
        self.up = nn.Parameter(weight.new_zeros(layer.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))  # as a linear layer begins

    def forward(self, x):
        """Map ``x`` (..., in) to (..., out)."""
        low = x @ self.down.T  # (..., r)
        return self.layer(x) + self.scale * (low @ self.up.T)

    def update(self):
        """What is added to the weight of the layer, (out, in)."""
        return self.scale * (self.up @ self.down)

    @torch.no_grad()
    def merged(self):
        """A new linear layer that computes the same; this one stays as it is."""
        layer = copy.deepcopy(self.layer)
        layer.weight += self.update()
        return layer.requires_grad_(True)


def add_lora(model, rank, *, alpha=None, layers=("query", "value")):
    """Freeze ``model`` and put a :class:`LoRALinear` in place of some of its linear layers.

    ``layers`` are last parts of their names: ``"query"`` means ``layers.0.attention.query`` and
    all like it; ``"feed_forward.0"`` has two parts. The default is what the paper adapts most
    (section 4.2). Returns the names that were replaced. ValueError where a name fits no linear
    layer, or the model has LoRA already; the model is then as it was.
    """
    if lora_layers(model):
        raise ValueError(
            "the model has LoRA layers already: merge_lora(model) first, or train those it has"
        )
    linear = [name for name, part in model.named_modules() if isinstance(part, nn.Linear)]
    chosen = []
    for wanted in layers:
        found = [name for name in linear if f".{name}".endswith(f".{wanted}")]
        if not found:
            ends = sorted({name.rsplit(".", 1)[-1] for name in linear})
            raise ValueError(
                f"no linear layer is called {wanted!r}: the names of this model's end in "
                f"{', '.join(ends)}"
            )
        chosen += [name for name in found if name not in chosen]
    made = [LoRALinear(model.get_submodule(name), rank, alpha) for name in chosen]
    model.requires_grad_(False)
    for name, part in zip(chosen, made, strict=True):
        replace(model, name, part)
    return chosen


def merge_lora(model):
    """Put one linear layer in place of each :class:`LoRALinear`: nothing is left to pay for.

    In place. Returns the names. ValueError where there is none, as after a first merging.
    """
    names = lora_layers(model)
    if not names:
        raise ValueError(
            "the model has no LoRA layers: they were merged already, or add_lora(model, rank) "
            "was never called"
        )
    for name in names:
        replace(model, name, model.get_submodule(name).merged())
    return names


def remove_lora(model):
    """Take each :class:`LoRALinear` out again: the model is what it was before, to the last digit.

    In place; all stays frozen. Returns the names. ValueError where there is none, as after merging:
    a sum does not tell what was added.
    """
    names = lora_layers(model)
    if not names:
        raise ValueError(
            "the model has no LoRA layers to take out: none was added, or they were merged, and "
            "what was merged cannot be taken out again"
        )
    for name in names:
        replace(model, name, model.get_submodule(name).layer)
    return names


def lora_layers(model):
    """The names of the :class:`LoRALinear` layers in a model, a list."""
    return [name for name, part in model.named_modules() if isinstance(part, LoRALinear)]


def replace(model, name, part):
    """Put ``part`` into the model in place of what is called ``name``."""
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, part)
