"""Figures of chapter 1: attention as arrows in the plane, and what a mask leaves to be seen.

Shapes: T target positions, S source positions, d_v width of a value.
"""

import matplotlib.pyplot as plt
import numpy as np
import torch
from traitlets import Bool, Int, List

from mmcourse.attention import scaled_dot_product_attention
from mmcourse.book.figures import Figure, numbers, script, words
from mmcourse.book.plotting import BLUE, GOLD, INK, ORANGE, PINK, TEAL, attention_map

KEY_COLOURS = (ORANGE, BLUE, TEAL, PINK, GOLD)  # as in common.js
LEGIBLE = 12  # more rows or columns have no labels and no numbers


class AttentionExplorer(Figure):
    """A query and S keys as arrows that can be moved, with scores, weights and output.

    ``query`` is ``(2,)``, ``key`` ``(S, 2)``, ``value`` ``(S, d_v)``; ``names`` are S words, by
    default 1 to S.
    """

    _esm = script("attention.js")
    query = List().tag(sync=True)
    key = List().tag(sync=True)
    value = List().tag(sync=True)
    names = List().tag(sync=True)

    def __init__(self, query, key, value, names=None):
        query = numbers("query", query, (2,))
        key = numbers("key", key, ("S", 2))
        value = numbers("value", value, (len(key), "d_v"))
        super().__init__(query=query, key=key, value=value, names=words("names", names, len(key)))

    def draw(self):
        """The arrows, and the weights as bars."""
        _, weights = scaled_dot_product_attention(
            torch.tensor([self.query]),  # (1, 2)
            torch.tensor(self.key),
            torch.tensor(self.value),
            return_weights=True,
        )
        colours = [KEY_COLOURS[index % len(KEY_COLOURS)] for index in range(len(self.key))]
        figure, (plane, bars) = plt.subplots(1, 2, figsize=(6.4, 2.9))
        self.draw_arrows(plane, colours)
        bars.barh(range(len(self.key)), weights[0].tolist(), color=colours)
        bars.set_yticks(range(len(self.key)), self.names)
        bars.set(xlim=(0, 1), title="weights")
        bars.invert_yaxis()
        return figure

    def draw_arrows(self, plane, colours):
        """The keys and the query, each with its name."""
        for tip, name, colour in zip(self.key, self.names, colours, strict=True):
            draw_arrow(plane, tip, colour)
            plane.annotate(name, tip, (4, 4), textcoords="offset points", color=colour)
        draw_arrow(plane, self.query, INK)
        middle = np.array(self.query) / 2  # its name is under the middle of the arrow
        plane.annotate("query", middle, (4, -14), textcoords="offset points", color=INK)
        longest = np.abs([*self.key, self.query]).max()
        reach = 1.4 * longest or 1
        plane.set(xlim=(-reach, reach), ylim=(-reach, reach))
        plane.set(aspect="equal", title="query and keys")


def draw_arrow(plane, tip, colour):
    """An arrow from the origin."""
    plane.annotate("", tip, (0, 0), arrowprops={"arrowstyle": "->", "color": colour, "lw": 1.8})


class MaskExplorer(Figure):
    """Scores ``(T, S)`` under a causal mask, a padding mask, both or none, and their weights.

    ``targets`` and ``sources`` are T and S words, by default numbers. The last ``padding`` sources
    are padding.
    """

    _esm = script("mask.js")
    scores = List().tag(sync=True)
    targets = List().tag(sync=True)
    sources = List().tag(sync=True)
    causal = Bool().tag(sync=True)
    padding = Int().tag(sync=True)

    def __init__(self, scores, targets=None, sources=None, *, causal=False, padding=0):
        scores = numbers("scores", scores, ("T", "S"))
        length = len(scores[0])
        if not 0 <= padding <= length:
            raise ValueError(f"padding must be between 0 and the {length} sources, got {padding}")
        super().__init__(
            scores=scores,
            targets=words("targets", targets, len(scores)),
            sources=words("sources", sources, length),
            causal=causal,
            padding=padding,
        )

    def draw(self):
        """The weights, a row a target."""
        scores = torch.tensor(self.scores)  # (T, S)
        length = len(self.sources)
        seen = torch.arange(length) < length - self.padding  # (S,)
        # With the S unit vectors as keys, the scores of attention are these scores, once they are
        # multiplied by the square root that it divides by. As values, they give the weights.
        unit = torch.eye(length)
        weights = scaled_dot_product_attention(
            scores * length**0.5, unit, unit, seen, causal=self.causal
        )
        targets = self.targets
        sources = self.sources
        legible = max(scores.shape) <= LEGIBLE
        if not legible:
            targets = [""] * len(targets)
            sources = [""] * length
        _, axes = plt.subplots(figsize=(4.2, 4.2))
        attention_map(weights, targets, sources, axes=axes, values=legible, title="weights")
        return axes.figure
