"""A picture cut into patches: how many tokens, what they cost, and what their positions know of each other."""

import math

import numpy as np
import traitlets
from matplotlib import pyplot as plt

from mmcourse.book.figures import Figure, numbers, script
from mmcourse.book.figures.pictures import pixels, png
from mmcourse.book.plotting import show_scene


class PatchExplorer(Figure):
    """A square picture, uint8 (S, S, 3), under a grid of patches whose side can be chosen.

    ``sizes`` are sides that divide S; by default all that give at most 1,024 patches. ``positions`` (N, D), the
    position embeddings of the patches without a class token's, add a map: the cosine of one with all others.
    """

    _esm = script("patches.js")
    picture = traitlets.Unicode().tag(sync=True)
    side = traitlets.Int().tag(sync=True)
    sizes = traitlets.List().tag(sync=True)
    positions = traitlets.List().tag(sync=True)

    def __init__(self, picture, sizes=None, positions=None):
        text, side = png(picture), len(picture)
        if picture.shape[1] != side:
            raise ValueError(
                f"the picture must be square, got {picture.shape[:2]}: load_picture makes it so"
            )
        sizes = sizes or [
            size for size in range(side, 0, -1) if side % size == 0 and side // size <= 32
        ]
        if any(size < 1 or side % size for size in sizes):
            raise ValueError(
                f"sizes must divide the side of the picture, {side} pixels, got {sizes}"
            )
        positions = (
            []
            if positions is None
            else np.round(numbers("positions", positions, ("N", "D")), 4).tolist()
        )
        if positions and len(positions) not in [(side // size) ** 2 for size in sizes]:
            raise ValueError(
                f"positions must have a row for each patch, none for a class token; for a picture of "
                f"{side} pixels and patches of {sizes} that are not {len(positions)} rows"
            )
        super().__init__(picture=text, side=side, sizes=list(sizes), positions=positions)

    def draw(self):
        """The picture cut at one size, and with positions the cosines of the patch in the middle."""
        tokens = len(self.positions) or (self.side // self.sizes[len(self.sizes) // 2]) ** 2
        rows, middle = math.isqrt(tokens), math.isqrt(tokens) // 2
        figure, axes = plt.subplots(1, 1 + bool(self.positions), figsize=(5, 2.6), squeeze=False)
        show_scene(
            pixels(self.picture), axes=axes[0, 0], title=f"{tokens} patches, {tokens**2:,} pairs"
        )
        for edge in np.arange(1, rows) * self.side / rows - 0.5:
            axes[0, 0].axhline(edge, color="white", linewidth=1)
            axes[0, 0].axvline(edge, color="white", linewidth=1)
        if self.positions:
            places = np.array(self.positions)
            places /= np.linalg.norm(places, axis=1, keepdims=True)
            cosines = (places @ places[middle * rows + middle]).reshape(rows, rows)
            drawn = axes[0, 1].imshow(cosines, cmap="RdBu_r", vmin=-1, vmax=1)
            axes[0, 1].set(title="cosine with the middle position", xticks=[], yticks=[])
            figure.colorbar(drawn, ax=axes[0, 1])
        return figure
