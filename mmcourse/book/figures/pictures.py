"""A picture as a page can show it."""

import base64
import io

import numpy as np
from PIL import Image


def png(picture):
    """A picture, uint8 (H, W, 3), as the text of a PNG file that a page or a figure can show."""
    array = np.asarray(picture)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or not array.size:
        raise ValueError(
            f"a picture must be a uint8 array (H, W, 3), values 0 to 255, got {array.dtype} {array.shape}"
        )
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def pixels(text):
    """The array of such a text."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text.partition(",")[2]))))
