"""A pretrained network with its preprocessing, and the features that it gives.

Shapes: B batch, S side of a picture in pixels, N cells of the grid, C numbers that the encoder has
for each.
"""

import hashlib
import math

import numpy as np
import torch
from torch import nn

from mmcourse.data.pictures import load_picture

#: A picture of noise, not a square, with which an encoder is tried out.
PROBE = np.random.default_rng(0).integers(0, 256, (48, 96, 3), dtype=np.uint8)


class PretrainedEncoder(nn.Module):
    """A pretrained network that gives a grid of features, row by row.

    It maps pictures (B, 3, S, S) to (B, N, C).
    ``extract(network, pixels)`` calls it. ``mean`` and ``scale`` are its own preprocessing, ``(x -
    mean) / scale`` for x from 0 to 255 of each colour; ``size`` is S. Its ``fingerprint`` tells it
    from every other, whatever its name.
    """

    def __init__(self, network, extract, size, mean, scale):
        super().__init__()
        self.network = network.eval()
        self.extract = extract
        self.size = size
        self.mean = torch.tensor(mean).view(3, 1, 1)
        self.scale = torch.tensor(scale).view(3, 1, 1)
        self.fingerprint = fingerprint(network, size, self.mean.tolist(), self.scale.tolist())

    def view(self, picture):
        """What the grid covers of a picture, uint8 (S, S, 3): here the whole picture."""
        return load_picture(picture, self.size)

    def prepare(self, picture):
        """A picture (path, PIL picture or array) as the network wants it, (3, S, S)."""
        image = torch.from_numpy(self.view(picture))  # (S, S, 3)
        pixels = image.permute(2, 0, 1).float()  # (3, S, S)
        return (pixels - self.mean) / self.scale

    def forward(self, pixels):
        """From prepared pictures (B, 3, S, S) to their grids (B, N, C)."""
        grid = self.extract(self.network, pixels)
        if grid.dim() == 4:  # (B, C, rows, columns)
            grid = grid.flatten(2).transpose(1, 2)  # (B, N, C)
        cells = self.cells_of(grid.shape[1])
        return grid[:, -cells:]  # class and register tokens stand before the patches

    def cells_of(self, rows):
        """How many of a grid's rows are cells: as many as a square holds; the others are tokens."""
        return math.isqrt(rows) ** 2

    @torch.no_grad()
    def grid_shape(self):
        """How many cells its grid has, N, and how many numbers each, C."""
        blank = torch.zeros_like(self.prepare(PROBE))
        return self(blank[None]).shape[1:]

    @torch.no_grad()
    def check_repeatable(self, device="cpu"):
        """ValueError unless it says the same of the same picture twice.

        Dropout, a random mask or noise would be kept for ever where features are kept.
        """
        grids = [self(self.prepare(PROBE)[None].to(device)) for _ in range(2)]
        least = 1e-4 * grids[0].abs().max()  # less is lost in half precision
        moved = (grids[0] - grids[1]).abs().max()
        if moved > least:
            raise ValueError(
                f"{type(self.network).__name__} gives other features of the same picture each time "
                f"(they move by up to {moved:.2g}): it draws random numbers, as for dropout, noise "
                "or a mask. Take a model that does not, or switch that off in its configuration"
            )


def fingerprint(network, *facts):
    """Sixteen hexadecimal digits of a network's weights by name, and of its preprocessing."""
    total = hashlib.sha256(repr(facts).encode())
    for name, tensor in sorted(network.state_dict().items()):
        total.update(name.encode())
        total.update(tensor.contiguous().numpy().tobytes())
    return total.hexdigest()[:16]
