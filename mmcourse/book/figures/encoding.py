"""A picture as the text of a PNG file, which a page can show without a file beside it."""

import base64
import io

import numpy as np
from PIL import Image


def encode_png(picture):
    """The ``data:`` address of a picture, uint8 (H, W, 3). Raises ValueError for anything else."""
    array = np.asarray(picture)
    is_picture = array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3
    if not is_picture or array.size == 0:
        raise ValueError(
            "a picture must be a uint8 array (H, W, 3), values 0 to 255, "
            f"got {array.dtype} {array.shape}"
        )
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def decode_png(text):
    """The uint8 array (H, W, 3) of such an address."""
    _, _, content = text.partition(",")
    file = io.BytesIO(base64.b64decode(content))
    return np.asarray(Image.open(file))
