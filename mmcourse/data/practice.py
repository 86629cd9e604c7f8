"""Practice: what the shipped captioner trains on, scenes of the ``train`` split made harder and more crowded.

Domain randomisation (Tobin et al. 2017): each thing is drawn as some artist might, so that a new artist is no surprise.
"""

from functools import cache
from random import Random

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from mmcourse.data.drawings import drawing
from mmcourse.data.scenes import (
    PAINT,
    EmojiScenes,
    Scene,
    SceneObject,
    artist,
    held_out,
    paint,
    sprite,
)


@cache
def reduced(name, style):
    """A drawing without its details: small marks filtered away, no more than six colours, a hard edge."""
    image = Image.fromarray(drawing(name, style))
    smooth = image.convert("RGB").filter(ImageFilter.MedianFilter(5))
    flat = smooth.quantize(6, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).convert(
        "RGB"
    )
    flat.putalpha(image.getchannel("A").point(lambda value: 255 * (value > 127)))
    return flat


@cache
def outlined(name, style, flat):
    """A drawing, ``reduced`` or not, with a black line wherever neighbouring pixels differ much."""
    image = reduced(name, style) if flat else Image.fromarray(drawing(name, style))
    edges = Image.new("L", image.size)
    for channel in image.convert("RGBa").split():
        change = ImageChops.subtract(
            channel.filter(ImageFilter.MaxFilter(3)), channel.filter(ImageFilter.MinFilter(3))
        )
        edges = ImageChops.lighter(edges, change)
    drawn = image.copy()
    drawn.paste((0, 0, 0, 255), (0, 0), edges.point(lambda value: 255 * (value > 90)))
    return drawn


class Practice(EmojiScenes):
    """As ``EmojiScenes("train")``, redrawn; at odd indices a crowd of four things, which has no description.

    Like the split it shows neither the held-out style nor the held-out pairs.
    """

    def __getitem__(self, index):
        return self.crowd(f"crowd/{index // 2}") if index % 2 else super().__getitem__(index // 2)

    @staticmethod
    def draw(name, style, rng):
        """A drawing as it is or redrawn: details away, outlines, other colours, sheared and narrower or lower."""
        flat, lines, warp, recolour = (rng.random() < chance for chance in (0.35, 0.4, 0.5, 0.4))
        image = (
            outlined(name, style, flat)
            if lines
            else reduced(name, style)
            if flat
            else Image.fromarray(drawing(name, style))
        )
        if warp:
            shrink, tilt = (
                [rng.uniform(1, 1.2), 1],
                [rng.uniform(-0.2, 0.2), rng.uniform(-0.2, 0.2)],
            )
            rng.shuffle(shrink)
            middle = [32 * (1 - shrink[axis] - tilt[axis]) for axis in (0, 1)]
            matrix = (shrink[0], tilt[0], middle[0], tilt[1], shrink[1], middle[1])
            image = (
                image.convert("RGBa")
                .transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
                .convert("RGBA")
            )
        if recolour:
            mix = [
                rng.gauss(0, 15) if column == 3 else rng.gauss(row == column, 0.12)
                for row in range(3)
                for column in range(4)
            ]
            alpha, image = image.getchannel("A"), image.convert("RGB").convert("RGB", mix)
            image.putalpha(alpha)
        return image

    def crowd(self, key):
        """One thing in each quarter of a picture, any size that fits."""
        rng, half = Random(key), self.size // 2
        image, names, objects = paint(rng.choice(tuple(PAINT)), self.size, rng), [], []
        while len(names) < 4:
            name = rng.choice(self.names)
            if not any(held_out(name, other) for other in names):
                names.append(name)
        for quarter, name in enumerate(names):
            style, colour = rng.choice(artist(name, "train")), self.colour(name, rng)
            pixels = rng.randint(half // 2, half)
            drawn, (x0, y0, x1, y1) = sprite(
                self.draw(name, style, rng), pixels, colour, rng.random() < 0.5
            )
            x, y = (
                half * part + rng.randint(0, half - pixels) for part in (quarter % 2, quarter // 2)
            )
            image.paste(drawn, (x, y), drawn)
            objects.append(
                SceneObject(name, style, colour, "", (x + x0, y + y0, x + x1, y + y1), quarter)
            )
        return Scene(np.array(image), None, tuple(objects), key)
