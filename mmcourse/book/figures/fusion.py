"""The figure of chapter 9: which token of a fusion has heard of which, after some layers.

Tokens are numbered: T words first, then K bottleneck tokens, then N cells of the picture.
"""

import matplotlib.pyplot as plt
import numpy as np
from traitlets import Int, Unicode

from mmcourse.book.figures import Figure, script
from mmcourse.book.plotting import BLUE, ORANGE

KINDS = ("late", "cross-attention", "bottleneck", "early")


def sees(kind, words, cells, bottlenecks):
    """Which tokens each looks at in one layer, boolean (tokens, tokens); itself always."""
    middle = bottlenecks if kind == "bottleneck" else 0
    part = np.repeat([0, 1, 2], [words, middle, cells])  # word, bottleneck, cell
    asks = part[:, None]
    answers = part[None, :]
    looks = {
        "late": asks == answers,
        "cross-attention": (asks == 0) & (answers == 2),
        "bottleneck": (asks == answers) | (asks == 1) | (answers == 1),
        "early": np.ones((len(part), len(part)), dtype=bool),
    }[kind]
    return looks | np.eye(len(part), dtype=bool)


def heard(kind, words, cells, bottlenecks, layers):
    """What each token has heard of after so many layers, boolean (tokens, tokens)."""
    step = sees(kind, words, cells, bottlenecks).astype(int)
    return np.linalg.matrix_power(step, layers) > 0


class FusionExplorer(Figure):
    """The table of :func:`heard`, for a kind of fusion that can be changed.

    ``kind`` is one of ``KINDS``, ``words``, ``cells`` and ``bottlenecks`` count tokens, from 1 to
    8, and ``layers`` is from 0 to 4. Raises ValueError for another.
    """

    _esm = script("fusion.js")
    kind = Unicode().tag(sync=True)
    words = Int().tag(sync=True)
    cells = Int().tag(sync=True)
    bottlenecks = Int().tag(sync=True)
    layers = Int().tag(sync=True)

    def __init__(self, kind="cross-attention", *, words=4, cells=6, bottlenecks=2, layers=1):
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
        counts = {"words": words, "cells": cells, "bottlenecks": bottlenecks}
        for name, count in counts.items():
            if not 1 <= count <= 8:
                raise ValueError(f"{name} must be from 1 to 8, got {count}")
        if not 0 <= layers <= 4:
            raise ValueError(f"layers must be from 0 to 4, got {layers}")
        super().__init__(kind=kind, layers=layers, **counts)

    def draw(self):
        """The tables of all four kinds, after as many layers."""
        figure, axes = plt.subplots(1, 4, figsize=(7.4, 2.3))
        for kind, place in zip(KINDS, axes, strict=True):
            table = heard(kind, self.words, self.cells, self.bottlenecks, self.layers)
            middle = self.bottlenecks if kind == "bottleneck" else 0
            draw_table(place, table, self.words, middle)
            place.set_title(kind, fontsize=9)
        return figure


def draw_table(axes, table, words, middle):
    """One table; a cell of it that joins two kinds of token has a dot."""
    part = np.digitize(np.arange(len(table)), [words, words + middle])
    for row, column in zip(*np.nonzero(table), strict=True):
        across = part[row] != part[column]
        colour = ORANGE if across else BLUE
        axes.add_patch(plt.Rectangle((column, row), 1, 1, facecolor=colour, edgecolor="white"))
        if across:
            axes.plot(column + 0.5, row + 0.5, "o", color="white", markersize=2)
    size = len(table)
    axes.set(xlim=(0, size), ylim=(size, 0), aspect="equal", xticks=[], yticks=[])
    ends = [0, words, words + middle, size]
    for start, stop, name in zip(ends, ends[1:], ("words", "bottleneck", "cells"), strict=False):
        if stop > start:
            axes.text((start + stop) / 2, size + 0.4, name, ha="center", va="top", fontsize=6)
    axes.set_ylabel("words, (bottleneck,) cells" if middle else "words, cells", fontsize=7)
