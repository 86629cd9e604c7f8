"""Rotary positions: a query and a key whose pairs turn with their positions.

d_k is the width of a head.
"""

import matplotlib.pyplot as plt
import torch
from traitlets import List

from mmcourse.book.figures import Figure, numbers, script
from mmcourse.book.plotting import BLUE, GREY, INK, ORANGE, TEAL
from mmcourse.gpt import rotary_angles, rotate

FIRST = (9, 4)  # positions of query and key at the start, as in rotary.js
REACH = 32  # the largest distance


class RotaryExplorer(Figure):
    """A ``query`` and a ``key`` (d_k,), each pair of which turns by a frequency (d_k / 2,).

    Two positions can be moved, each alone or both together.
    """

    _esm = script("rotary.js")
    query = List().tag(sync=True)
    key = List().tag(sync=True)
    frequencies = List().tag(sync=True)

    def __init__(self, query, key, frequencies):
        query = numbers("query", query, ("d_k",))
        key = numbers("key", key, (len(query),))
        frequencies = numbers("frequencies", frequencies, ("d_k / 2",))
        if 2 * len(frequencies) != len(query):
            raise ValueError(
                f"expected a frequency for each pair of the query's {len(query)} numbers, "
                f"got {len(frequencies)}"
            )
        super().__init__(query=query, key=key, frequencies=frequencies)

    def turned(self, vector, position):
        """A vector (d_k,) at a position."""
        frequencies = torch.tensor(self.frequencies)
        cos, sin = rotary_angles(torch.tensor([[position]]), frequencies)
        return rotate(torch.tensor(vector)[None, None, None], cos, sin).flatten()

    def draw(self):
        """The pairs at the first positions, and the product for every distance."""
        pairs = len(self.frequencies)
        layout = [[f"{pair}" for pair in range(pairs)], ["curve"] * pairs]
        figure, axes = plt.subplot_mosaic(layout, figsize=(6.4, 3.6))
        query = self.turned(self.query, FIRST[0]).view(2, -1).T  # (pairs, 2)
        key = self.turned(self.key, FIRST[1]).view(2, -1).T
        reach = 1.2 * max(query.norm(dim=1).max().item(), key.norm(dim=1).max().item())
        for pair in range(pairs):
            panel = axes[f"{pair}"]
            around = plt.Circle((0, 0), query[pair].norm().item(), color=GREY, fill=False, lw=0.8)
            panel.add_patch(around)
            for tip, colour, name in ((key[pair], ORANGE, "k"), (query[pair], BLUE, "q")):
                arrow = {"arrowstyle": "->", "color": colour, "lw": 1.8}
                panel.annotate("", tip.tolist(), (0, 0), arrowprops=arrow)
                panel.annotate(name, tip.tolist(), color=colour)
            panel.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
            panel.set_title(f"{self.frequencies[pair]:.2f} rad a position")
            panel.set_axis_off()
        distances = list(range(-REACH, REACH + 1))
        still = torch.tensor(self.key)
        products = [float(self.turned(self.query, distance) @ still) for distance in distances]
        axes["curve"].axhline(0, color=GREY, linewidth=0.8)
        axes["curve"].plot(distances, products, color=TEAL)
        here = FIRST[0] - FIRST[1]
        axes["curve"].plot(here, products[here + REACH], "o", color=INK)
        axes["curve"].set(xlabel="distance $m - n$", ylabel="product")
        return figure
