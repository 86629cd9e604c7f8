"""The figure of chapter 11: a cloud of pictures is turned upon a cloud of texts.

Shapes: n pairs of points of a plane.
"""

import math

import matplotlib.pyplot as plt
import numpy as np
import traitlets

from mmcourse.book.figures import Figure, numbers, script
from mmcourse.book.plotting import BLUE, INK, ORANGE


def turned(points, degrees, mirror=False):
    """Points (n, 2), mirrored at the horizontal axis if asked, then turned to the left."""
    points = np.array(points, dtype=float)
    if mirror:
        points = points * [1, -1]
    angle = math.radians(degrees)
    matrix = [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
    return points @ np.array(matrix)


def unlike(x, y):
    """The energy distance of two clouds (n, 2), which knows no pairs."""

    def mean(a, b):
        return np.linalg.norm(a[:, None] - b[None], axis=-1).mean()

    return 2 * mean(x, y) - mean(x, x) - mean(y, y)


def found(x, y):
    """The share of the points x (n, 2) whose own point of y (n, 2) is the nearest."""
    distances = np.linalg.norm(x[:, None] - y[None], axis=-1)
    return float((distances.argmin(1) == np.arange(len(x))).mean())


class TurningClouds(Figure):
    """``clouds`` is a dict: a name, and pictures (n, 2) and texts (n, 2), of which row i is a pair.

    n is the same for all clouds, at least 2. The pictures are first shown turned by ``degrees``.
    """

    _esm = script("turning.js")
    names = traitlets.List().tag(sync=True)
    pictures = traitlets.List().tag(sync=True)
    texts = traitlets.List().tag(sync=True)
    degrees = traitlets.Int().tag(sync=True)

    def __init__(self, clouds, degrees=0):
        if not clouds:
            raise ValueError("clouds must have a name with pictures and texts, got none")
        count = len(next(iter(clouds.values()))[0])
        if count < 2:
            raise ValueError(f"a cloud must have two points or more, got {count}")
        if not 0 <= degrees < 360:
            raise ValueError(f"degrees must be from 0 to 359, got {degrees}")
        sides = [
            [numbers(f"{side} of {name}", points, (count, 2)) for name, points in each.items()]
            for side, each in (
                ("pictures", {name: pair[0] for name, pair in clouds.items()}),
                ("texts", {name: pair[1] for name, pair in clouds.items()}),
            )
        ]
        super().__init__(
            names=list(clouds),
            pictures=np.round(sides[0], 4).tolist(),
            texts=np.round(sides[1], 4).tolist(),
            degrees=degrees,
        )

    def draw(self):
        """For each cloud, both measures against the angle."""
        figure, grid = plt.subplots(1, len(self.names), figsize=(7.2, 2.6), squeeze=False)
        angles = np.arange(0, 361, 3)
        for axes, name, pictures, texts in zip(
            grid[0], self.names, self.pictures, self.texts, strict=True
        ):
            texts = np.array(texts)
            clouds = [turned(pictures, angle) for angle in angles]
            apart = np.array([unlike(cloud, texts) for cloud in clouds])
            axes.plot(angles, apart / max(apart.max(), 1e-9), color=ORANGE, linestyle="--")
            axes.plot(angles, [found(cloud, texts) for cloud in clouds], color=BLUE)
            axes.axvline(self.degrees, color=INK, linewidth=0.8)
            axes.set(title=name, xlabel="degrees", xticks=range(0, 361, 90), ylim=(-0.05, 1.05))
        grid[0, 0].set_ylabel("share of the largest; share found")
        return figure
