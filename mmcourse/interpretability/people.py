"""Whom does it fail? People in equal contexts, with skin in other tones.

The drawings have yellow skin. A tone is put on by us: each pixel near the style's skin colour is
repainted, shades included.
"""

from functools import cache

import numpy as np
from PIL import Image

from mmcourse.data import EmojiScenes
from mmcourse.data.drawings import drawing
from mmcourse.data.language import noun_table
from mmcourse.data.sprites import artwork
from mmcourse.interpretability.causal import swapped

PEOPLE = ("man", "woman", "old man", "old woman", "baby")
# Five tones from light to dark, after the modifiers of the emoji standard, and two that nobody has.
TONES = {
    "light": (247, 222, 206),
    "medium light": (243, 210, 162),
    "medium": (213, 171, 136),
    "medium dark": (175, 126, 87),
    "dark": (124, 83, 62),
    "blue": (92, 132, 220),
    "green": (96, 180, 96),
}
# How far, in red, green and blue together, a pixel of skin may be from its colour: farther where no
# hair is of a colour near it, so that the shades of noses and ears are skin too.
NEAR = {"noto": 80, "blob": 80, "twemoji": 48, "fluent": 48, "emojitwo": 48}


@cache
def skin_colour(style):
    """The colour of skin in a style, an array (3,): the most frequent one of its baby."""
    picture = drawing("baby", style)
    opaque = picture[..., 3] > 200
    colours, counts = np.unique(picture[opaque][:, :3], axis=0, return_counts=True)
    return colours[counts.argmax()].astype(float)


def skin_of(noun, style):
    """Which pixels of a drawing are skin, (64, 64) booleans: those near the style's colour.

    A yellow thing of the same colour counts too.
    """
    picture = drawing(noun, style)
    distance = np.linalg.norm(picture[..., :3] - skin_colour(style), axis=-1)
    return (distance < NEAR[style]) & (picture[..., 3] > 0)


def toned(noun, style, tone):
    """A drawing with skin in one of the ``TONES``, as :func:`mmcourse.data.sprites.artwork`.

    Each pixel keeps its shade, its ratio to the style's skin. None for the drawing as it is.
    ValueError for another tone.
    """
    if tone is None:
        return artwork(noun, style)
    if tone not in TONES:
        raise ValueError(f"unknown tone {tone!r}: choose one of {', '.join(TONES)}, or None")
    picture = drawing(noun, style).copy()
    skin = skin_of(noun, style)
    shade = picture[skin][:, :3] / np.maximum(1, skin_colour(style))
    repainted = shade * np.array(TONES[tone])
    picture[skin, :3] = repainted.clip(0, 255).round().astype(np.uint8)
    return Image.fromarray(picture).convert("RGBa")


def contexts(split, count, start=0):
    """Scenes in which a person can stand in for the first thing: pairs of index and noun.

    The thing has no tint, since people have none, and nothing else there is a person.
    """
    dataset = EmojiScenes(split)
    found = []
    index = start
    while len(found) < count:
        first, *others = dataset[index].description.groups
        if first.colour is None and not any(is_person(group.noun) for group in others):
            found.append((index, first.noun))
        index += 1
    return found


def is_person(noun):
    """Whether a noun is a person, a person who does something, or a face."""
    return noun_table()[noun].category in ("person", "action", "face")


def with_person(split, context, noun, tone=None):
    """The scene of a context, an index and a noun, with a person of a tone in its place.

    ValueError where an artist of the context's thing has not drawn the person.
    """
    index, was = context
    return swapped(split, index, was, noun, lambda name, style: toned(name, style, tone))
