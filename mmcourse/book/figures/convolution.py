"""A kernel that slides over a picture: the products under its window, their sum, and all sums.

Shapes: h and w height and width of the picture, k side of a kernel.
"""

import matplotlib.pyplot as plt
import torch
from matplotlib.patches import Rectangle
from torch.nn.functional import conv2d
from traitlets import List

from mmcourse.book.figures import Figure, numbers, script
from mmcourse.book.plotting import ORANGE


class ConvolutionExplorer(Figure):
    """A grey picture (h, w), 0 is black and 1 is white, and kernels by name, each square (k, k)."""

    _esm = script("convolution.js")
    picture = List().tag(sync=True)
    kernels = List().tag(sync=True)

    def __init__(self, picture, kernels):
        picture = numbers("picture", picture, ("h", "w"))
        darkest = min(min(row) for row in picture)
        brightest = max(max(row) for row in picture)
        if darkest < 0 or brightest > 1:
            raise ValueError("the numbers of picture must be between 0 and 1: divide bytes by 255")
        if not kernels:
            raise ValueError("kernels must be at least one, as {name: kernel}, got none")
        height = len(picture)
        width = len(picture[0])
        checked = []
        for name, kernel in kernels.items():
            side = len(kernel)
            checked.append([name, numbers(name, kernel, (side, side))])
            if side > min(height, width):
                raise ValueError(
                    f"{name} of side {side} does not fit a picture of {height} x {width} pixels"
                )
        super().__init__(picture=picture, kernels=checked)

    def draw(self):
        """The picture with a window, and the sums of the first kernel."""
        _, kernel = self.kernels[0]
        sums = conv2d(torch.tensor([[self.picture]]), torch.tensor([[kernel]]))[0, 0]
        figure, (scene, output) = plt.subplots(1, 2, figsize=(5, 2.7))
        scene.imshow(self.picture, cmap="gray", vmin=0, vmax=1)
        largest = sums.abs().max()
        drawn = output.imshow(sums, cmap="RdBu_r", vmin=-largest, vmax=largest)
        figure.colorbar(drawn, ax=output)
        row = len(self.picture) // 3
        column = len(self.picture[0]) // 3
        scene.set(title="picture", xticks=[], yticks=[])
        scene.add_patch(frame(row, column, len(kernel)))
        output.set(title="output", xticks=[], yticks=[])
        output.add_patch(frame(row, column, 1))
        return figure


def frame(row, column, side):
    """A square around ``side`` x ``side`` pixels, of which this is the first."""
    corner = (column - 0.5, row - 0.5)  # a pixel's middle is a whole number
    return Rectangle(corner, side, side, fill=False, edgecolor=ORANGE, linewidth=2)
