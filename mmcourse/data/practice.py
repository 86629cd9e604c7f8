"""Practice: what the shipped captioner trains on, scenes of ``train`` made harder and more crowded.

Domain randomisation (Tobin et al. 2017): each thing is drawn as some artist might, so that a
new artist is no surprise.
"""

from functools import cache
from random import Random

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from mmcourse.data.backgrounds import PAINT, paint
from mmcourse.data.drawings import CELL, drawing
from mmcourse.data.scenes import EmojiScenes, Scene, SceneObject, count_from_zero, shift
from mmcourse.data.splits import held_out, styles_for
from mmcourse.data.sprites import sprite

# how often a drawing is reduced, outlined, warped, recoloured
CHANCES = (0.35, 0.4, 0.5, 0.4)
CROWD = 4  # things, one in each quarter of the picture


@cache
def reduced(name, style):
    """A drawing without its details.

    Small marks are filtered away; it has no more than six colours, and a hard edge.
    """
    image = Image.fromarray(drawing(name, style))
    smooth = image.convert("RGB").filter(ImageFilter.MedianFilter(5))
    flat = smooth.quantize(6, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    flat = flat.convert("RGB")
    hard_edge = image.getchannel("A").point(lambda value: 255 * (value > 127))
    flat.putalpha(hard_edge)
    return flat


@cache
def outlined(name, style, flat):
    """A drawing, reduced if ``flat``, with a black line where neighbouring pixels differ much."""
    image = _basis(name, style, flat)
    edges = Image.new("L", image.size)
    for channel in image.convert("RGBa").split():
        brightest = channel.filter(ImageFilter.MaxFilter(3))
        darkest = channel.filter(ImageFilter.MinFilter(3))
        edges = ImageChops.lighter(edges, ImageChops.subtract(brightest, darkest))
    lines = edges.point(lambda value: 255 * (value > 90))
    drawn = image.copy()
    drawn.paste((0, 0, 0, 255), (0, 0), lines)
    return drawn


def _basis(name, style, flat):
    """A drawing as it is, or reduced."""
    return reduced(name, style) if flat else Image.fromarray(drawing(name, style))


def _warp(image, rng):
    """Sheared, and narrower or lower by up to a fifth."""
    shrink = [rng.uniform(1, 1.2), 1]
    tilt = [rng.uniform(-0.2, 0.2), rng.uniform(-0.2, 0.2)]
    rng.shuffle(shrink)
    half = CELL // 2
    centred = [half * (1 - shrink[axis] - tilt[axis]) for axis in (0, 1)]
    matrix = (shrink[0], tilt[0], centred[0], tilt[1], shrink[1], centred[1])
    premultiplied = image.convert("RGBa")
    warped = premultiplied.transform(
        image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    )
    return warped.convert("RGBA")


def _recolour(image, rng):
    """Each channel a mixture of all three, near to itself, and a little lighter or darker."""
    mixture = []
    for channel in range(3):
        for source in range(3):
            mixture.append(rng.gauss(channel == source, 0.12))
        mixture.append(rng.gauss(0, 15))
    recoloured = image.convert("RGB").convert("RGB", mixture)
    recoloured.putalpha(image.getchannel("A"))
    return recoloured


class Practice(EmojiScenes):
    """As ``EmojiScenes("train")``, redrawn; at odd indices a crowd of four things, not described.

    Like the split it shows neither the held-out style nor the held-out pairs.
    """

    def __getitem__(self, index):
        index = count_from_zero(index)
        if index % 2:
            return self.crowd(f"crowd/{index // 2}")
        return super().__getitem__(index // 2)

    @staticmethod
    def draw(name, style, rng):
        """A drawing as it is or redrawn: details away, outlines, sheared, other colours."""
        flat, lines, warp, recolour = [rng.random() < chance for chance in CHANCES]
        image = outlined(name, style, flat) if lines else _basis(name, style, flat)
        if warp:
            image = _warp(image, rng)
        if recolour:
            image = _recolour(image, rng)
        return image

    def crowd(self, key):
        """One thing in each quarter of a picture, any size that fits: a scene not described."""
        rng = Random(key)
        half = self.size // 2
        image = paint(rng.choice(tuple(PAINT)), self.size, rng)
        names = []
        while len(names) < CROWD:
            name = rng.choice(self.names)
            if not any(held_out(name, other) for other in names):
                names.append(name)
        objects = []
        for quarter, name in enumerate(names):
            style = rng.choice(styles_for(name, "train"))
            colour = self.colour(name, rng)
            pixels = rng.randint(half // 2, half)
            drawing = self.draw(name, style, rng)
            mirrored = rng.random() < 0.5
            drawn, box = sprite(drawing, pixels, colour, mirrored)
            row, column = divmod(quarter, 2)
            x = half * column + rng.randint(0, half - pixels)
            y = half * row + rng.randint(0, half - pixels)
            image.paste(drawn, (x, y), drawn)
            objects.append(SceneObject(name, style, colour, "", shift(box, (x, y)), quarter))
        return Scene(np.array(image), None, tuple(objects), key)
