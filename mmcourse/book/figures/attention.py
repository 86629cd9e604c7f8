"""Figures of chapter 1: attention as arrows in the plane, and what a mask leaves to be seen."""

import matplotlib.pyplot as plt
import numpy as np
import torch
from traitlets import Bool, Int, List

from mmcourse.attention import scaled_dot_product_attention
from mmcourse.book.figures import Figure, numbers, script
from mmcourse.book.plotting import BLUE, GOLD, INK, ORANGE, PINK, TEAL, attention_map

HUES = ORANGE, BLUE, TEAL, PINK, GOLD  # as in common.js


class AttentionExplorer(Figure):
    """A query and S keys as arrows that can be moved, with the scores, the weights and the mean of the values.

    ``query`` is ``(2,)``, ``key`` ``(S, 2)``, ``value`` ``(S, d_v)``; ``names`` are S words, by default 1 to S.
    """

    _esm = script("attention.js")
    query, key, value, names = (List().tag(sync=True) for _ in range(4))

    def __init__(self, query, key, value, names=None):
        key = numbers("key", key, ("S", 2))
        super().__init__(query=numbers("query", query, (2,)), key=key, names=words("names", names, len(key)),
                         value=numbers("value", value, (len(key), "d_v")))  # fmt: skip

    def draw(self):
        query, key, value = map(torch.tensor, ([self.query], self.key, self.value))
        weights = scaled_dot_product_attention(query, key, value, return_weights=True)[1][
            0
        ].tolist()
        figure, (plane, bars) = plt.subplots(1, 2, figsize=(6.4, 2.9))
        colours = [HUES[index % len(HUES)] for index in range(len(weights))]
        for tip, name, colour in [
            *zip(self.key, self.names, colours, strict=True),
            (self.query, "query", INK),
        ]:
            plane.annotate(
                "", tip, (0, 0), arrowprops={"arrowstyle": "->", "color": colour, "lw": 1.8}
            )
            place, drop = (
                (np.array(tip) / 2, -14) if colour == INK else (tip, 4)
            )  # "query" under the arrow's middle
            plane.annotate(name, place, (4, drop), textcoords="offset points", color=colour)
        reach = 1.4 * np.abs([*self.key, self.query]).max() or 1
        plane.set(
            xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", title="query and keys"
        )
        bars.barh(range(len(weights)), weights, color=colours)
        bars.set_yticks(range(len(weights)), self.names)
        bars.set(xlim=(0, 1), title="weights")
        bars.invert_yaxis()
        return figure


class MaskExplorer(Figure):
    """Scores ``(T, S)`` under a causal mask, a padding mask, both or none, with the weights after the softmax.

    ``targets`` and ``sources`` are T and S words, by default numbers. The last ``padding`` sources are padding.
    """

    _esm = script("mask.js")
    scores, targets, sources = (List().tag(sync=True) for _ in range(3))
    causal, padding = Bool().tag(sync=True), Int().tag(sync=True)

    def __init__(self, scores, targets=None, sources=None, *, causal=False, padding=0):
        scores = numbers("scores", scores, ("T", "S"))
        if not 0 <= padding <= len(scores[0]):
            raise ValueError(
                f"padding must be between 0 and the {len(scores[0])} sources, got {padding}"
            )
        super().__init__(scores=scores, targets=words("targets", targets, len(scores)), causal=causal, padding=padding,
                         sources=words("sources", sources, len(scores[0])))  # fmt: skip

    def draw(self):
        scores, length = torch.tensor(self.scores), len(self.sources)
        seen = torch.arange(length) < length - self.padding
        weights = scaled_dot_product_attention(scores * length**0.5, *torch.eye(length).expand(2, -1, -1), seen,
                                               causal=self.causal)  # fmt: skip
        few = max(scores.shape) <= 12  # more would not be legible
        sides = (self.targets, self.sources) if few else ([""] * len(scores), [""] * length)
        axes = plt.subplots(figsize=(4.2, 4.2))[1]
        return attention_map(weights, *sides, axes=axes, values=few, title="weights").figure


def words(name, value, count):
    """``value`` as a list of words, or the numbers from 1 where it is None; a ValueError if they are not ``count``."""
    value = [str(word) for word in (range(1, count + 1) if value is None else value)]
    if len(value) != count:
        raise ValueError(f"{name} must be {count} words, got {len(value)}")
    return value
