"""What several test files call: how two models are compared, and how a figure is used."""

import re

import torch
from torch import nn


def traits(figure):
    """What the page receives from Python."""
    of_widgets = {"layout", "tabbable", "tooltip"}
    return {
        name: value
        for name, value in figure.get_state().items()
        if not name.startswith("_") and name not in of_widgets
    }


def said(page):
    """The sentence of a figure that says its result."""
    return page.locator("[role=status]").inner_text()


def says(page, text):
    """Wait until the figure says this: a touch is told to a page a moment later."""
    page.get_by_role("status").filter(has_text=text).wait_for(timeout=20_000)
    return True


def attributes(places, *names):
    """Attributes of elements of a page as rows, numbers as numbers."""
    script = "(places, names) => places.map((one) => names.map((name) => one.getAttribute(name)))"
    rows = places.evaluate_all(script, names)
    return [
        [float(value) if re.fullmatch(r"-?[\d.]+", value or "") else value for value in row]
        for row in rows
    ]


def drag(page, start, end, steps=4):
    """Put a finger on one point of a page, move it to another, and lift it."""
    session = page.context.new_cdp_session(page)
    path = [
        [a + (b - a) * step / steps for a, b in zip(start, end, strict=True)]
        for step in range(steps + 1)
    ]
    for number, (x, y) in enumerate(path):
        kind = "touchMove" if number else "touchStart"
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def middle(place):
    """The middle of an element on its page."""
    box = place.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def close(ours, theirs, tolerance=1e-10):
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=0)


def randomise(module):
    """Give every parameter its own value, so that no constant hides a permutation."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module


def copy_attention(ours, theirs):
    """Copy the weights of torch.nn.MultiheadAttention: it keeps three projections in one."""
    with torch.no_grad():
        for i, part in enumerate([ours.query, ours.key, ours.value]):
            part.weight.copy_(theirs.in_proj_weight.chunk(3)[i])
            if theirs.in_proj_bias is not None:
                part.bias.copy_(theirs.in_proj_bias.chunk(3)[i])
    ours.output.load_state_dict(theirs.out_proj.state_dict())


def some(*shape):
    """A random mask in which every row may look somewhere."""
    mask = torch.rand(shape) < 0.5
    mask[..., 0] |= ~mask.any(-1)
    return mask


def past(length, source):
    """What is seen when the last target is level with the last source, in the plainest way."""
    return torch.tensor([[s <= t + source - length for s in range(source)] for t in range(length)])
