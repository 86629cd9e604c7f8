"""A picture cut into patches: how many tokens, what they cost, what their positions know.

Shapes: S side of the picture in pixels, N patches, D width of a position embedding.
"""

import math

import numpy as np
import traitlets
from matplotlib import pyplot as plt

from mmcourse.book.figures import Figure, numbers, script
from mmcourse.book.figures.encoding import decode_png, encode_png
from mmcourse.book.plotting import show_scene

MOST = 32  # patches a side, where no sizes are given


class PatchExplorer(Figure):
    """A square picture, uint8 (S, S, 3), under a grid of patches whose side can be chosen.

    ``sizes`` are sides that divide S; by default all that give at most 1,024 patches. ``positions``
    (N, D), the position embeddings of the patches without a class token's, add a map: the cosine
    of one with all others.
    """

    _esm = script("patches.js")
    picture = traitlets.Unicode().tag(sync=True)
    side = traitlets.Int().tag(sync=True)
    sizes = traitlets.List().tag(sync=True)
    positions = traitlets.List().tag(sync=True)

    def __init__(self, picture, sizes=None, positions=None):
        text = encode_png(picture)
        height, side = picture.shape[:2]
        if height != side:
            raise ValueError(
                f"the picture must be square, got {(height, side)}: load_picture makes it so"
            )
        sizes = check_sizes(sizes, side)
        positions = check_positions(positions, side, sizes)
        super().__init__(picture=text, side=side, sizes=sizes, positions=positions)

    def draw(self):
        """The picture cut at one size, and with positions the cosines of the middle patch."""
        panels = 2 if self.positions else 1
        figure, axes = plt.subplots(1, panels, figsize=(5, 2.6), squeeze=False)
        self.draw_grid(axes[0, 0])
        if self.positions:
            drawn = self.draw_cosines(axes[0, 1])
            figure.colorbar(drawn, ax=axes[0, 1])
        return figure

    def draw_grid(self, axes):
        """The picture, cut into as many patches as there are positions, or at a middle size."""
        size = self.sizes[len(self.sizes) // 2]
        tokens = len(self.positions) or (self.side // size) ** 2
        rows = math.isqrt(tokens)
        title = f"{tokens} patches, {tokens**2:,} pairs"
        show_scene(decode_png(self.picture), axes=axes, title=title)
        for edge in np.arange(1, rows) * self.side / rows - 0.5:
            axes.axhline(edge, color="white", linewidth=1)
            axes.axvline(edge, color="white", linewidth=1)

    def draw_cosines(self, axes):
        """The cosine of the middle position with each; returns the image, for its colour bar."""
        positions = np.array(self.positions)  # (N, D)
        positions /= np.linalg.norm(positions, axis=1, keepdims=True)
        rows = math.isqrt(len(positions))
        middle = positions[rows // 2 * rows + rows // 2]  # (D,)
        cosines = (positions @ middle).reshape(rows, rows)
        axes.set(title="cosine with the middle position", xticks=[], yticks=[])
        return axes.imshow(cosines, cmap="RdBu_r", vmin=-1, vmax=1)


def check_sizes(sizes, side):
    """The sides of patches as a list; by default those that divide ``side`` and are few."""
    if not sizes:
        return [size for size in range(side, 0, -1) if side % size == 0 and side // size <= MOST]
    for size in sizes:
        if size < 1 or side % size:
            raise ValueError(
                f"sizes must divide the side of the picture, {side} pixels, got {sizes}"
            )
    return list(sizes)


def check_positions(positions, side, sizes):
    """Positions as nested lists, rounded; an empty list for None. They must be a row a patch."""
    if positions is None:
        return []
    positions = np.round(numbers("positions", positions, ("N", "D")), 4).tolist()
    if len(positions) not in [(side // size) ** 2 for size in sizes]:
        raise ValueError(
            "positions must have a row for each patch, none for a class token; for a picture of "
            f"{side} pixels and patches of {sizes} that are not {len(positions)} rows"
        )
    return positions
