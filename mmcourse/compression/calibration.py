"""What must be seen before it is chosen: ranges of inputs, and which layers bear few bits.

Shapes: B pictures, n numbers of an input, C outputs.
"""

import torch
from torch import nn

from mmcourse.compression.captioner import QuantisedSceneCaptioner
from mmcourse.compression.layers import IntegerLinear, keep_floats, plan_of, put, quantisable
from mmcourse.compression.measure import divergence
from mmcourse.compression.quantise import Scheme, choose_scale

LEAST_SEEN = 0.4  # how well the clearest noun is seen in pictures to calibrate with, in the mean
LEAST_EMPTY = 0.3  # how probable it is that a cell of them is empty, in the mean


def check_calibration(captioner, images):
    """ValueError unless ``images``, uint8 (B, H, W, 3), are some, and of the captioner's kind.

    Its noun head decides: it must see something in them, a largest probability of any noun in any
    cell of at least ``LEAST_SEEN``, and it must see empty cells, with a probability of at least
    ``LEAST_EMPTY``, both in the mean. The first refuses grey pictures, the second noise. What
    looks like scenes to it passes, right or wrong.
    """
    if len(images) == 0:
        raise ValueError(
            "expected pictures to calibrate with, got none: a few dozen of those that the model "
            "will meet, and that report nothing"
        )
    pixels = captioner.pixels_of(images)  # TypeError or ValueError for what is no picture of its
    with torch.no_grad():
        cells = captioner.noun_head(captioner.convolutions(pixels)).softmax(-1)  # (B, N, 1 + nouns)
    seen = cells[..., 1:].amax((1, 2)).mean().item()
    empty = cells[..., 0].mean().item()
    if seen < LEAST_SEEN or empty < LEAST_EMPTY:
        raise ValueError(
            f"these pictures are of another kind than the captioner's: the clearest noun has a "
            f"probability of {seen:.2f} and a cell is empty with {empty:.2f}, expected at least "
            f"{LEAST_SEEN} and {LEAST_EMPTY}. Ranges taken from them would not fit real pictures: "
            "take scenes, or pass any_kind=True"
        )


@torch.no_grad()
def record_ranges(captioner, images, *, any_kind=False):
    """The smallest and the largest input of each linear layer while it captions: a dict of pairs.

    ``images`` are uint8 (B, H, W, 3). The errors are those of :func:`check_calibration`, whose
    second half ``any_kind`` leaves out.
    """
    if not any_kind or len(images) == 0:
        check_calibration(captioner, images)
    ranges = {}

    def watch(name):
        def look(_, inputs):
            low, high = inputs[0].min().item(), inputs[0].max().item()
            before = ranges.get(name, (0.0, 0.0))
            ranges[name] = (min(before[0], low), max(before[1], high))

        return look

    hooks = [
        layer.register_forward_pre_hook(watch(name))
        for name, layer in captioner.named_modules()
        if type(layer) is nn.Linear
    ]
    try:
        captioner.write(captioner.encode(images), "greedy")
    finally:
        for hook in hooks:
            hook.remove()
    return ranges


class StaticLinear(IntegerLinear):
    """A linear layer that multiplies codes, with a range of its input that was fixed before.

    Inputs outside of the range get its end. Nothing is measured while it runs.
    """

    def set_range(self, low, high):
        """Fix the range; return the layer."""
        self.range = choose_scale(torch.tensor([[low, high]]), self.inputs)
        return self

    def range_of(self, rows):
        """The scale and the zero point that were fixed, whatever the input is."""
        return self.range


def quantise_static(model, ranges):
    """Replace the linear layers of a model, in place, by :class:`StaticLinear` with 8 bits."""
    for name, (low, high) in ranges.items():
        layer = model.get_submodule(name)
        new = StaticLinear.like(layer, Scheme(8)).fill(layer.weight.data, layer.bias)
        put(model, name, new.set_range(low, high))
    return model


def sensitivity(captioner, images, bits=4):
    """How much each layer alone costs at so many bits per channel: a dict of nats a word.

    See :func:`~mmcourse.compression.divergence`. The errors are those of
    :func:`check_calibration`.
    """
    check_calibration(captioner, images)
    written = captioner.write(captioner.encode(images), "greedy")
    sentences = [[captioner.ids[word] for word in one.tokens[:-1]] for one in written]
    found = {}
    for name in quantisable(captioner):
        model = keep_floats(QuantisedSceneCaptioner.of(captioner, {name: bits}))
        found[name] = divergence(model, captioner, images, sentences)
    return found


def mixed_plan(captioner, costs, most, low=4, high=8):
    """Bits for each layer: ``low`` for those that cost least for what they save, else ``high``.

    ``costs`` are those of :func:`sensitivity`; together the layers with few bits cost at most
    ``most``, as if costs added up. ValueError for ``costs`` of other layers.
    """
    plan = plan_of(captioner, high)
    if set(costs) != set(plan):
        raise ValueError(
            f"costs must name the {len(plan)} layers that can be quantised, got {len(costs)}: "
            "measure them with sensitivity() on the same captioner"
        )
    sizes = {name: captioner.get_submodule(name).weight.numel() for name in plan}
    total = 0.0
    for name in sorted(plan, key=lambda name: costs[name] / sizes[name]):
        if total + costs[name] <= most:
            plan[name] = low
            total += costs[name]
    return plan
