"""Pictures as people have them: any size, mode and orientation becomes an array for a model."""

import io
import logging
import os
import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image
from PIL.Image import Transpose

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM")
MEMORY = 512 * 2**20  # bytes that one picture may take while it is read
# bytes that a pixel takes at most, in Pillow's modes, with all that is made on the way to RGB
BYTES = {"1": 5, "L": 5, "P": 9, "RGB": 4, "RGBA": 8, "I;16": 8, "I;16B": 8, "I": 13, "F": 13}
BYTES_OF_OTHERS = 12
BYTES_OF_WEBP = 20  # in any mode: its decoder keeps several copies
# by EXIF's number for the orientation: what turns the picture upright; 1 is upright
TURNS = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}

# Pillow logs what is odd in a file; a program that wants to read it sets up logging
logging.getLogger("PIL").addHandler(logging.NullHandler())


def load_picture(picture, size=64):
    """Read a picture into a uint8 array (size, size, 3), or with size None (H, W, 3) as it is.

    ``picture`` is a path, a file opened in binary mode (``io.BytesIO``, too), a PIL picture or
    a uint8 array (H, W, 3). The whole picture is kept: its longer side becomes ``size``, and
    its edge is repeated to fill the square. Of an animation the first frame is taken; what is
    transparent lies on white; EXIF orientation is applied; 16-bit grey becomes 8-bit, other
    deep grey is stretched to its brightest pixel. Raises FileNotFoundError or IsADirectoryError
    when no file is there, ValueError when it is empty, cut off, no picture, or larger than
    reading may take (89 million pixels, fewer where a pixel takes many bytes), TypeError for
    anything else, MemoryError where memory runs out.
    """
    if size is not None and size < 1:
        raise ValueError(f"size must be 1 pixel or more, got {size}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's, of files that are odd and can be read
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        if isinstance(picture, np.ndarray):
            return _fit(_from_array(picture), size)
        if isinstance(picture, Image.Image):
            return _fit(picture, size)
        if isinstance(picture, str | os.PathLike):
            path = _existing(Path(picture))
            with path.open("rb") as file:
                return _read(file, path, size)
        if hasattr(picture, "read") and not isinstance(picture, io.TextIOBase):
            return _read(picture, getattr(picture, "name", "the file"), size)
    raise TypeError(
        "expected a path, a file opened in binary mode, a PIL picture or a uint8 array, "
        f"got {type(picture).__name__}; of bytes take io.BytesIO(bytes)"
    )


def _from_array(pixels):
    """The PIL picture of an array, checked."""
    is_picture = pixels.ndim == 3 and pixels.shape[-1] == 3 and pixels.size > 0
    if pixels.dtype != np.uint8 or not is_picture:
        raise ValueError(
            f"expected a uint8 array (H, W, 3) from 0 to 255, got {pixels.dtype} {pixels.shape}"
        )
    return Image.fromarray(pixels)


def _existing(path):
    """The path, if a file with something in it is there."""
    if path.is_dir():
        raise IsADirectoryError(
            f"expected a picture, got the folder {path}: name what is in it, as {path / '*.png'}"
        )
    if path.is_symlink() and not path.exists():
        raise FileNotFoundError(
            f"expected a picture, but {path} is a link to {path.readlink()}, which is not there"
        )
    if not path.exists():
        raise FileNotFoundError(
            f"expected a picture, found no file {path}: check its name and the current folder"
        )
    if not path.is_file() or path.stat().st_size == 0:
        raise ValueError(
            f"expected a picture, but {path} is empty or not an ordinary file: "
            "copy or download it again"
        )
    return path


def _read(file, name, size):
    """Read an open file; ``name`` is for errors."""
    image = None
    try:
        image = Image.open(file, formats=FORMATS)
        if size is not None:  # a large JPEG is read at a fraction of its size
            image.draft("RGB", (2 * size, 2 * size))
        _check_memory(image, _bytes_per_pixel(image))
        return _fit(image, size)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError, TooLarge) as error:
        raise ValueError(
            f"{name} has too many pixels, maybe a trap: make it smaller first ({error})"
        ) from error
    except Image.UnidentifiedImageError as error:
        raise ValueError(
            f"expected a picture ({', '.join(FORMATS)}), but {name} is none: convert it"
        ) from error
    except MemoryError as error:
        pixels = f"{image.width} x {image.height} pixels" if image else "of a size not yet known"
        raise MemoryError(
            f"not enough memory for {name}, {pixels}: make it smaller, or close other programs"
        ) from error
    except Exception as error:  # a broken file makes Pillow raise nearly anything
        raise ValueError(
            f"{name} is cut off or damaged ({error}): copy or download it again"
        ) from error


class TooLarge(ValueError):
    """A picture would take more memory than MEMORY."""


def _bytes_per_pixel(image):
    """How many bytes a pixel takes while a picture is read that is open and not yet decoded."""
    if image.format == "WEBP":
        return BYTES_OF_WEBP
    return BYTES.get(image.mode, BYTES_OF_OTHERS)


def _check_memory(image, bytes_per_pixel):
    """Raise TooLarge where a picture needs too many bytes."""
    needed = image.width * image.height * bytes_per_pixel
    if needed > MEMORY:
        raise TooLarge(
            f"{image.width} x {image.height} in mode {image.mode} take {needed / 2**20:,.0f} MB "
            f"of memory, of {MEMORY / 2**20:,.0f} that are allowed"
        )


def _turn(image):
    """What turns the picture upright, or None."""
    return TURNS.get(image.getexif().get(ExifTags.Base.Orientation))


def _fit(image, size):
    """The picture as an array (size, size, 3), its edge repeated to fill the square.

    With size None it is (H, W, 3), upright and in RGB, and no pixel is changed otherwise.
    """
    turn = _turn(image)  # only now: Pillow decodes a PNG to find it
    if turn is not None:
        _check_memory(image, _bytes_per_pixel(image) + 4)  # there will be a turned copy
        image = image.transpose(turn)
    if image.mode.startswith(("I", "F")):
        image = _eight_bits(image)
    if image.has_transparency_data:
        image = _on_white(image)
    if image.mode != "RGB":
        image = image.convert("RGB")
    if size is None:
        return np.array(image)
    width, height = [max(1, round(side * size / max(image.size))) for side in image.size]
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
    top = (size - height) // 2
    left = (size - width) // 2
    bottom = size - height - top
    right = size - width - left
    return np.pad(pixels, ((top, bottom), (left, right), (0, 0)), mode="edge")


def _eight_bits(image):
    """Grey of more than 8 bits as 8 bits; Pillow would cut it off at 255."""
    if image.mode.startswith("I;16"):
        values = np.asarray(image) // 257  # 65535 becomes 255
    else:
        values = np.array(image, np.float32)
        np.nan_to_num(values, copy=False)
        values *= 255 / max(values.max(), 1e-9)
        values.clip(0, 255, out=values)
        values.round(out=values)
    return Image.fromarray(values.astype(np.uint8))


def _on_white(image):
    """The picture where it is opaque, white where it is not, and both where it is in between."""
    if image.mode != "RGBA":
        image = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(image, (0, 0), image)
    return white
