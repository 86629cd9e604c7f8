"""Scenes drawn by strangers, on which a confidence is calibrated besides plain scenes.

A new artist cannot be borrowed: five were trained on, and the sixth is the test. So programs stand
in for new artists, each a *hand* that redraws a training drawing further than
:class:`~mmcourse.data.practice.Practice` does. The held-out style had no part in choosing them.
"""

import numpy as np
from PIL import Image, ImageChops, ImageEnhance, ImageFilter

from mmcourse.data.drawings import CELL, drawing
from mmcourse.data.scenes import EmojiScenes


def with_alpha(image, alpha):
    """A picture in RGB with another picture's transparency, as RGBA."""
    result = image.convert("RGBA")
    result.putalpha(alpha)
    return result


def edges(image, size):
    """How far neighbouring pixels differ, 0 to 255: a grey picture."""
    flat = image.convert("RGBa").convert("L")
    brightest = flat.filter(ImageFilter.MaxFilter(size))
    darkest = flat.filter(ImageFilter.MinFilter(size))
    return ImageChops.subtract(brightest, darkest)


def line_art(image, rng):
    """Black lines on a nearly white filling."""
    alpha = image.getchannel("A")
    pale = Image.blend(
        image.convert("RGB"), Image.new("RGB", image.size, "white"), rng.uniform(0.3, 1)
    )
    border = rng.randint(30, 90)
    lines = edges(image, rng.choice((3, 5))).point(lambda value: 255 * (value > border))
    pale.paste((0, 0, 0), (0, 0), lines)
    return with_alpha(pale, ImageChops.lighter(alpha, lines))


def few_colours(image, rng):
    """Two to four colours."""
    flat = image.convert("RGB").filter(ImageFilter.MedianFilter(rng.choice((3, 5, 7))))
    flat = flat.quantize(rng.randint(2, 4), dither=Image.Dither.NONE).convert("RGB")
    return with_alpha(flat, image.getchannel("A"))


def other_hues(image, rng):
    """Every hue turned by one angle."""
    hue, saturation, value = image.convert("RGB").convert("HSV").split()
    turn = rng.randint(20, 235)
    hue = hue.point(lambda angle: (angle + turn) % 256)
    turned = Image.merge("HSV", (hue, saturation, value)).convert("RGB")
    return with_alpha(turned, image.getchannel("A"))


def grey(image, rng):
    """Hardly any colour, and another contrast."""
    pale = ImageEnhance.Color(image.convert("RGB")).enhance(rng.uniform(0, 0.3))
    pale = ImageEnhance.Contrast(pale).enhance(rng.uniform(0.4, 2))
    return with_alpha(pale, image.getchannel("A"))


def leaning(image, rng):
    """Turned by up to 40 degrees, and narrower or lower by up to a half."""
    turned = image.convert("RGBa").rotate(
        rng.choice((-1, 1)) * rng.uniform(10, 40), Image.Resampling.BILINEAR
    )
    scale = [rng.uniform(1, 2), 1]
    rng.shuffle(scale)
    half = CELL // 2
    matrix = (scale[0], 0, half * (1 - scale[0]), 0, scale[1], half * (1 - scale[1]))
    squeezed = turned.transform(image.size, Image.Transform.AFFINE, matrix)
    return squeezed.convert("RGBA")


def wavy(image, rng):
    """Rows and columns shifted along waves."""
    pixels = np.asarray(image.convert("RGBa"))
    for axis in (0, 1):
        phase = rng.uniform(0, 6.28)
        length = rng.uniform(12, 40)
        height = rng.uniform(1, 5)
        waves = height * np.sin(2 * np.pi * np.arange(CELL) / length + phase)
        shifted = [
            np.roll(np.take(pixels, line, axis), round(waves[line]), 0) for line in range(CELL)
        ]
        pixels = np.stack(shifted, axis)
    return Image.fromarray(np.ascontiguousarray(pixels), "RGBa").convert("RGBA")


def coarse(image, rng):
    """Large square pixels."""
    side = rng.randint(9, 20)
    small = image.convert("RGBa").resize((side, side), Image.Resampling.BOX)
    return small.resize(image.size, Image.Resampling.NEAREST).convert("RGBA")


def broad_brush(image, rng):
    """Bright or dark parts swollen, as with a broad brush."""
    kind = rng.choice((ImageFilter.MaxFilter, ImageFilter.MinFilter, ImageFilter.ModeFilter))
    size = rng.choice((5, 7, 9))
    swollen = image.convert("RGB").filter(kind(size))
    alpha = image.getchannel("A")
    thinner = alpha.filter(ImageFilter.MinFilter(5))
    if rng.random() < 0.5 and 2 * opaque(thinner) > opaque(alpha):
        alpha = thinner
    return with_alpha(swollen, alpha)


def opaque(alpha):
    """How many pixels a grey picture of transparency lets see."""
    return int((np.asarray(alpha) > 127).sum())


HANDS = {
    "line art": line_art,
    "few colours": few_colours,
    "other hues": other_hues,
    "grey": grey,
    "leaning": leaning,
    "wavy": wavy,
    "coarse": coarse,
    "broad brush": broad_brush,
}


class Strangers(EmojiScenes):
    """As ``EmojiScenes("val")``, each thing redrawn by one or two of the ``hands``.

    These are names of ``HANDS``: line art, few colours, other hues, grey, leaning, wavy, coarse,
    broad brush.
    """

    def __init__(self, size=64, hands=tuple(HANDS)):
        super().__init__("val", size)
        self.hands = hands

    def draw(self, name, style, rng):
        """A drawing as a stranger might draw it."""
        image = Image.fromarray(drawing(name, style))
        many = min(len(self.hands), rng.choice((1, 2)))
        for hand in rng.sample(self.hands, many):
            image = HANDS[hand](image, rng)
        return image
