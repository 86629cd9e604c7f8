"""Gradient descent on the loss of a line: too small a rate, a fitting one, and too large a one.

n is the number of points. The line has two weights, w and b.
"""

import matplotlib.pyplot as plt
import numpy as np
from traitlets import List

from mmcourse.book.figures import Figure, numbers, script
from mmcourse.book.plotting import INK, ORANGE

SHARES = (0.05, 0.9, 1.03)  # rates of the still picture, as shares of the largest that converges
RINGS = (
    0.04,
    0.16,
    0.36,
    0.64,
    1,
    1.44,
    2.56,
    4,
)  # losses above the lowest, as shares of the start's
STEPS = 12
RING = "#9cc4e4"  # as in descent.js


class DescentExplorer(Figure):
    """The mean squared error of y = w x + b over n points, as a bowl over its weights (w, b).

    ``x`` and ``y`` are ``(n,)``, ``start`` the weights ``(2,)`` at which the descent begins.
    """

    _esm = script("descent.js")
    x = List().tag(sync=True)
    y = List().tag(sync=True)
    start = List().tag(sync=True)

    def __init__(self, x, y, start=(0, 0)):
        x = numbers("x", x, ("n",))
        y = numbers("y", y, (len(x),))
        if len(set(x)) < 2:
            raise ValueError(
                f"x must hold two different numbers, or no line is the best, got {len(x)} times "
                f"{x[0]:g}"
            )
        super().__init__(x=x, y=y, start=numbers("start", start, (2,)))

    def draw(self):
        """The bowl three times, with the steps of three rates."""
        inputs = np.stack([self.x, np.ones(len(self.x))], 1)  # (n, 2), each times (w, b)
        targets = np.array(self.y)
        bends = 2 * np.linalg.eigvalsh(inputs.T @ inputs) / len(inputs)
        bottom, *_ = np.linalg.lstsq(inputs, targets)
        reach = 2 * max(*np.abs(np.array(self.start) - bottom), 0.5)
        sides = np.linspace(-reach, reach, 81)
        weights = np.stack(np.meshgrid(bottom[0] + sides, bottom[1] + sides), -1)  # (81, 81, 2)
        loss = ((weights @ inputs.T - targets) ** 2).mean(-1)  # (81, 81)
        above = np.square(inputs @ np.array(self.start) - targets).mean() - loss.min()
        if above < 1e-6 * bends.max():  # it starts at the bottom
            above = bends.max() / 2
        rings = loss.min() + above * np.array(RINGS)
        figure, panels = plt.subplots(1, len(SHARES), figsize=(7.2, 2.7), sharey=True)
        for axes, share in zip(panels, SHARES, strict=True):
            rate = share * 2 / bends.max()
            trail = self.steps(inputs, targets, rate)
            axes.contour(*np.moveaxis(weights, -1, 0), loss, rings, colors=RING, linewidths=1)
            axes.plot(*trail.T, ".-", color=ORANGE, linewidth=1)
            axes.plot(*trail[-1], "o", color=INK, markersize=5)
            axes.set(title=f"learning rate {rate:.2f}", xlabel="w", aspect="equal")
            axes.set(xlim=weights[0, [0, -1], 0], ylim=weights[[0, -1], 0, 1])
        panels[0].set_ylabel("b")
        return figure

    def steps(self, inputs, targets, rate):
        """The weights of some steps, (STEPS + 1, 2)."""
        trail = [np.array(self.start)]
        for _ in range(STEPS):
            errors = inputs @ trail[-1] - targets  # (n,)
            gradient = 2 * errors @ inputs / len(inputs)
            trail.append(trail[-1] - rate * gradient)
        return np.array(trail)
