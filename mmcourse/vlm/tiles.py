"""A picture that is larger than an encoder: cut into tiles, with a small view of the whole."""

import numpy as np
from PIL import Image


def cut_into_tiles(image, side):
    """Tiles of a picture: uint8 (H, W, 3) to (n, ``side``, ``side``, 3), row by row.

    What is missing at the right and below is filled with the last column and row. ValueError for
    what is no such picture, or a side below 1.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"expected uint8 (H, W, 3), got {image.dtype} {image.shape}")
    if side < 1:
        raise ValueError(f"a tile has at least one pixel a side, got {side}")
    height, width = image.shape[:2]
    filled = np.pad(image, ((0, -height % side), (0, -width % side), (0, 0)), "edge")
    rows = filled.shape[0] // side
    columns = filled.shape[1] // side
    grid = filled.reshape(rows, side, columns, side, 3).swapaxes(1, 2)
    return grid.reshape(rows * columns, side, side, 3)


def overview(image, side):
    """The whole picture in ``side`` by ``side`` pixels, uint8; its shape is not kept."""
    small = Image.fromarray(image).resize((side, side), Image.Resampling.BOX)
    return np.asarray(small)
