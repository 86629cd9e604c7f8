"""The figure of chapter 21: from noise to a picture, a step at a time."""

import numpy as np
import traitlets
from matplotlib import pyplot as plt

from mmcourse.book.figures import Figure, script
from mmcourse.book.figures.encoding import decode_png, encode_png


def true_share(said, asked):
    """How many of the facts that were ``asked`` for are among those ``said``: (true, asked)."""
    return sum(fact in said for fact in asked), len(asked)


class DrawingSteps(Figure):
    """Pictures on their way from noise, each with what a judge reads at every step.

    ``drawings`` is a list of dicts: ``caption``, ``pictures`` (steps + 1 uint8 arrays (H, W, 3)),
    ``readings`` (a caption for each), ``facts`` (lists, for each picture, of what is true of what
    was asked for: pairs of a name and a boolean). All have as many steps. ``times`` are those of
    the pictures, steps + 1 numbers from 0, noise, to 1.
    """

    _esm = script("drawing.js")
    captions = traitlets.List().tag(sync=True)
    strips = traitlets.List().tag(sync=True)
    readings = traitlets.List().tag(sync=True)
    facts = traitlets.List().tag(sync=True)
    times = traitlets.List().tag(sync=True)
    side = traitlets.Int().tag(sync=True)

    def __init__(self, drawings, times):
        if not drawings:
            raise ValueError("drawings must be one or more, got none")
        lengths = set()
        for drawing in drawings:
            lengths |= {len(drawing[name]) for name in ("pictures", "readings", "facts")}
        if len(lengths) > 1 or min(lengths) < 2:
            raise ValueError(
                "each drawing needs as many pictures, readings and lists of facts, two or more, "
                f"got {sorted(lengths)}"
            )
        if lengths != {len(times)}:
            raise ValueError(
                f"each picture needs its time: got {len(times)} times, {max(lengths)} pictures"
            )
        strips = [encode_png(np.concatenate(list(one["pictures"]), 1)) for one in drawings]
        super().__init__(
            captions=[one["caption"] for one in drawings],
            strips=strips,
            readings=[list(one["readings"]) for one in drawings],
            facts=[[[list(f) for f in facts] for facts in one["facts"]] for one in drawings],
            times=[float(time) for time in times],
            side=len(drawings[0]["pictures"][0]),
        )

    def draw(self):
        """Each drawing as a row of six of its pictures."""
        steps = len(self.readings[0]) - 1
        shown = np.linspace(0, steps, 6).round().astype(int)
        height = 1.5 * len(self.captions)
        figure, grid = plt.subplots(len(self.captions), 6, figsize=(7.2, height), squeeze=False)
        for row, (caption, strip) in enumerate(zip(self.captions, self.strips, strict=True)):
            pixels = decode_png(strip)
            for axes, step in zip(grid[row], shown, strict=True):
                axes.imshow(pixels[:, step * self.side : (step + 1) * self.side])
                axes.set(xticks=[], yticks=[])
                if row == 0:
                    axes.set_title(f"t = {self.times[step]:.2f}")
            grid[row, 0].set_xlabel(caption, fontsize=8, loc="left")
        return figure
