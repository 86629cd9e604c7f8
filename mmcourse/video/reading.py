"""From a file, an animated GIF, to the frames that a model takes."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence, UnidentifiedImageError

from mmcourse.data.clips import FRAME, FRAMES

MOST = 200  # frames that are read of a file


def read_clip(path, frames=FRAMES, size=FRAME, most=MOST):
    """Read an animated GIF (or WebP, or PNG): uint8 (``frames``, ``size``, ``size``, 3).

    Transparency becomes white, and the middle square of each picture is scaled. Raises
    FileNotFoundError where there is no file, and ValueError for one that is empty, broken, no
    picture, of a single frame, of more than ``most`` frames, or of more pixels than Pillow takes
    for harmless (89 million): what is meant is a short clip.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: pass the path of an animated GIF")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty, 0 bytes: save or download it again")
    pictures = read_pictures(path, size, most)
    if len(pictures) < 2:
        raise ValueError(
            f"{path} has one frame, and what happens needs two or more: pass an animated GIF. "
            "For one picture there is chapter 05."
        )
    return sample_frames(np.stack(pictures), frames)


def read_pictures(path, size, most):
    """Every frame of a file, arrays (size, size, 3) in a list; errors as in :func:`read_clip`."""
    pictures = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(path)
        with image:
            count = getattr(image, "n_frames", 1)
            if count > most:
                raise TooLong(
                    f"{path} has {count} frames, and at most {most} are read. Cut out the part in "
                    "which something happens, or pass most=... if {frames} of it will do".replace(
                        "{frames}", str(FRAMES)
                    )
                )
            for frame in ImageSequence.Iterator(image):
                pictures.append(square(frame, size))
    except TooLong:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise ValueError(
            f"{path} has too many pixels, maybe a trap: make it smaller first ({error})"
        ) from error
    except (UnidentifiedImageError, OSError, EOFError, SyntaxError, ValueError) as error:
        raise ValueError(
            f"{path} cannot be read as a picture ({str(error).splitlines()[0]:.80}): it is cut "
            "off, or no GIF. Save or download it again."
        ) from error
    return pictures


class TooLong(ValueError):
    """A file has more frames than are read."""


def square(frame, size):
    """The middle square of a picture on white, (size, size, 3)."""
    frame = frame.convert("RGBA")
    ground = Image.new("RGBA", frame.size, "white")
    ground.alpha_composite(frame)
    side = min(frame.size)
    left = (frame.width - side) // 2
    top = (frame.height - side) // 2
    part = ground.convert("RGB").crop((left, top, left + side, top + side))
    return np.array(part.resize((size, size), Image.BOX))


def sample_frames(clip, frames=FRAMES):
    """So many frames of a clip (F, H, W, 3), at equal distances from its first to its last.

    Of a clip with fewer frames some come twice. ValueError unless there are two or more.
    """
    clip = np.asarray(clip)
    if clip.ndim != 4 or clip.shape[-1] != 3:
        raise ValueError(f"a clip must be (F, H, W, 3), got {clip.shape}")
    if len(clip) < 2:
        raise ValueError("a clip needs two frames or more, got one: nothing can happen in it")
    chosen = np.linspace(0, len(clip) - 1, frames).round().astype(int)
    return clip[chosen]
