"""Pictures as people have them: any size, mode and orientation becomes a uint8 array (size, size, 3) for a model."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM")


def load_picture(picture, size=64):
    """Read a path, a PIL picture or a uint8 array (H, W, 3) into a uint8 array (size, size, 3).

    The whole picture is kept: its longer side becomes ``size``, and its edge is repeated to
    fill the square. Of an animation the first frame is taken; what is transparent lies on
    white; EXIF orientation is applied; 16-bit grey becomes 8-bit, other deep grey is stretched
    to its brightest pixel. Raises FileNotFoundError or IsADirectoryError when no file is there,
    ValueError when it is empty, cut off, no picture, or over 89 million pixels (a bomb).
    """
    if isinstance(picture, np.ndarray):
        if (
            picture.dtype != np.uint8
            or picture.ndim != 3
            or picture.shape[2] != 3
            or not picture.size
        ):
            raise ValueError(
                f"expected a uint8 array (H, W, 3) from 0 to 255, got {picture.dtype} {picture.shape}"
            )
        picture = Image.fromarray(picture)
    if isinstance(picture, Image.Image):
        return _fit(picture, size)
    path = Path(picture)
    if path.is_dir():
        raise IsADirectoryError(
            f"expected a picture, got the folder {path}: name what is in it, as {path / '*.png'}"
        )
    if not path.exists():
        raise FileNotFoundError(
            f"expected a picture, found no file {path}: check its name and the current folder"
        )
    if not path.is_file() or not path.stat().st_size:
        raise ValueError(
            f"expected a picture, but {path} is empty or not an ordinary file: copy or download it again"
        )
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            image = Image.open(file, formats=FORMATS)
            image.draft(
                "RGB", (2 * size, 2 * size)
            )  # a large JPEG is read at a fraction of its size
            return _fit(image, size)
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise ValueError(
                f"{path} has too many pixels, maybe a trap: make it smaller first ({error})"
            ) from error
        except Image.UnidentifiedImageError as error:
            raise ValueError(
                f"expected a picture ({', '.join(FORMATS)}), but {path} is none: convert it"
            ) from error
        except Exception as error:  # a broken file makes Pillow raise nearly anything
            raise ValueError(
                f"{path} is cut off or damaged ({error}): copy or download it again"
            ) from error


def _fit(image, size):
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(
        ("I", "F")
    ):  # more than 8 bits of grey, which Pillow would clip at 255
        values = np.nan_to_num(np.asarray(image, np.float64))
        top = 65535 if image.mode.startswith("I;16") else max(values.max(), 1e-9)
        image = Image.fromarray((values / top * 255).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    width, height = (max(1, round(side * size / max(image.size))) for side in image.size)
    pixels = np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC))
    top, left = (size - height) // 2, (size - width) // 2
    return np.pad(
        pixels, ((top, size - height - top), (left, size - width - left), (0, 0)), mode="edge"
    )
