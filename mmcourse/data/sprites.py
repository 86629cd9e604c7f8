"""A drawing as it stands in a scene: resized, mirrored, and repainted in shades of one colour."""

from functools import cache

import numpy as np
from PIL import Image

from mmcourse.data.drawings import drawing
from mmcourse.data.language import COLOURS

RGB = {
    "red": (226, 34, 34),
    "orange": (250, 136, 14),
    "yellow": (250, 218, 30),
    "green": (46, 160, 54),
    "blue": (42, 92, 226),
    "purple": (138, 48, 190),
    "pink": (250, 130, 190),
    "brown": (128, 76, 36),
}
# Pillow's hues, 0 to 255: from which one on a hue has the next name
HUE_BORDERS = (9, 30, 48, 117, 181, 213, 245)
HUE_NAMES = np.array(["red", "orange", "yellow", "green", "blue", "purple", "pink", "red"])


def sprite(image, pixels, colour, mirrored):
    """A picture resized to a square, tinted or not: (picture with alpha, tight box).

    ``image`` is a Pillow picture with premultiplied alpha, ``pixels`` the side, ``colour`` a
    name of RGB or None. The box (x0, y0, x1, y1) is around what is opaque.
    """
    image = image.resize((pixels, pixels), Image.BOX).convert("RGBA")
    if mirrored:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    opaque = image.getchannel("A").convert("1", dither=Image.Dither.NONE)
    if colour:
        image = tint(image, opaque, np.array(RGB[colour]))
    return image, opaque.getbbox()


def tint(image, opaque, colour):
    """Repaint in shades of one colour, an array (3,); the darkest pixel becomes the darkest.

    The rank of a pixel's luminance chooses its shade. Pixels of one luminance share the middle of
    their ranks, so what has one colour gets ``colour`` itself.
    """
    grey = image.convert("L")
    count = np.array(grey.histogram(opaque))  # (256,), of each luminance
    middle = 2 * count.cumsum() - count  # twice the middle of its ranks
    rank = middle * 255 // max(2 * int(count.sum()), 1)  # 0 to 255
    rank = rank[:, None]  # (256, 1)
    darker = colour * (rank + 96) // 224
    lighter = colour + (255 - colour) * (rank - 128) // 256
    shades = np.where(rank < 128, darker, lighter).astype(np.uint8)  # (256, 3)
    tinted = Image.fromarray(shades[np.asarray(grey)])
    tinted.putalpha(image.getchannel("A"))
    return tinted


@cache
def artwork(name, style):
    """A drawing as a Pillow picture with premultiplied alpha, kept for the next time (16 kB)."""
    return Image.fromarray(drawing(name, style)).convert("RGBa")


@cache
def natural_colours(name, style, parts=5):
    """Colour words that fit an untinted drawing, as a frozenset; ``parts`` as in colours_in."""
    return colours_in(Image.fromarray(drawing(name, style)), parts)


def colours_in(image, parts=5):
    """Colour words for a picture (Pillow, RGBA), as a frozenset.

    They are the colours of at least one of so many ``parts`` of what is opaque.
    """
    opaque = np.asarray(image)[..., 3] > 127  # (H, W)
    pixels = np.asarray(image.convert("RGB").convert("HSV"))[opaque]  # (N, 3)
    hue, saturation, value = pixels.T
    names = HUE_NAMES[np.digitize(hue, HUE_BORDERS)]  # (N,)
    dark_orange = (hue < 30) & (value < 176)
    names[dark_orange] = "brown"
    coloured = names[(saturation > 60) & (value > 60)]
    found = [colour for colour in COLOURS if parts * (coloured == colour).sum() >= len(names)]
    return frozenset(found)
