"""A kernel that slides over a picture: the products under its window, their sum, and the sums of all windows."""

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
    picture, kernels = (List().tag(sync=True) for _ in range(2))

    def __init__(self, picture, kernels):
        picture = numbers("picture", picture, ("h", "w"))
        if not 0 <= min(map(min, picture)) <= max(map(max, picture)) <= 1:
            raise ValueError("the numbers of picture must be between 0 and 1: divide bytes by 255")
        kernels = [
            [name, numbers(name, kernel, (len(kernel), len(kernel)))]
            for name, kernel in kernels.items()
        ]
        if not kernels:
            raise ValueError("kernels must be at least one, as {name: kernel}, got none")
        for name, kernel in kernels:
            if len(kernel) > min(len(picture), len(picture[0])):
                raise ValueError(f"{name} of side {len(kernel)} does not fit a picture of "
                                 f"{len(picture)} x {len(picture[0])} pixels")  # fmt: skip
        super().__init__(picture=picture, kernels=kernels)

    def draw(self):
        """The picture with a window, and the sums of the first kernel."""
        kernel = self.kernels[0][1]
        sums = conv2d(torch.tensor([[self.picture]]), torch.tensor([[kernel]]))[0, 0]
        figure, (scene, output) = plt.subplots(1, 2, figsize=(5, 2.7))
        scene.imshow(self.picture, cmap="gray", vmin=0, vmax=1)
        drawn = output.imshow(sums, cmap="RdBu_r", vmin=-sums.abs().max(), vmax=sums.abs().max())
        figure.colorbar(drawn, ax=output)
        row, column = len(self.picture) // 3, len(self.picture[0]) // 3
        for axes, title, side in ((scene, "picture", len(kernel)), (output, "output", 1)):
            axes.set(title=title, xticks=[], yticks=[])
            axes.add_patch(
                Rectangle(
                    (column - 0.5, row - 0.5), side, side, fill=False, edgecolor=ORANGE, linewidth=2
                )
            )
        return figure
