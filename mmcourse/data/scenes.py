"""EmojiScenes: pictures composed of drawings, whose truth is known down to each pixel box.

``EmojiScenes(split)[index]`` depends on these two alone: ``random.Random`` chooses, and pixels are integer arithmetic.
"""

from dataclasses import dataclass
from functools import cache, cached_property
from random import Random
from zlib import crc32

import numpy as np
from PIL import Image, ImageColor, ImageDraw

from mmcourse.data import language
from mmcourse.data.drawings import HELD_OUT_STYLE, drawing, nouns, styles_of
from mmcourse.data.language import COLOURS, Description, Group

SPLITS = ("train", "val", "composition", "style")
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
PIXELS = {
    "small": (17, 20),
    "medium": (24, 27),
    "big": (32, 37),
}  # longest side in a scene of 64 pixels, inclusive
# background: colour above the horizon, colour below, horizon in sixty-fourths of the height, texture and its colour
PAINT = {
    "grass": ("#9ed0f4", "#70ba54", 22, "flecks", "#4a923a"),
    "beach": ("#78c8f0", "#f0daa0", 24, "flecks", "#d8bc7c"),
    "snow": ("#ccd8e8", "#f4f8fc", 26, "flecks", "#ffffff"),
    "night": ("#10143a", "#222854", 48, "flecks", "#faf6c8"),
    "sea": ("#b0dcf6", "#2c80be", 20, "waves", "#62acde"),
    "room": ("#f2e6ce", "#a47042", 42, "none", "#000000"),
    "road": ("#bec4cc", "#64666c", 18, "dashes", "#f4f0dc"),
    "sunset": ("#fa9852", "#6e3e68", 40, "none", "#000000"),
    "rain": ("#8892a0", "#68727e", 44, "streaks", "#beccde"),
    "paper": ("#faf9f5", "#faf9f5", 0, "none", "#000000"),
    "dots": ("#faf4e2", "#faf4e2", 0, "dots", "#d6968c"),
    "stripes": ("#f2f6fa", "#f2f6fa", 0, "stripes", "#a6c8de"),
}


@dataclass(frozen=True)
class SceneObject:
    """One drawing in a scene; ``box`` is (x0, y0, x1, y1) in pixels, tight around what is opaque, x1, y1 exclusive."""

    noun: str
    style: str
    colour: str | None
    size: str
    box: tuple[int, int, int, int]
    group: int


@dataclass(frozen=True)
class Scene:
    """A picture ``image`` (H, W, 3) uint8 with all that is true of it; texts are made when they are asked for."""

    image: np.ndarray
    description: Description
    objects: tuple[SceneObject, ...]
    key: str

    @property
    def facts(self):
        """All facts that a full caption of this scene states."""
        return self.description.facts

    @cached_property
    def captions(self):
        """Five reference captions in English; each states every fact."""
        return language.captions(self.description, Random(f"{self.key}/captions"))

    @cached_property
    def caption_zh(self):
        """One reference caption in Mandarin."""
        return language.caption_zh(self.description)

    @cached_property
    def questions(self):
        """Question-answer pairs, as a list of :class:`~mmcourse.data.language.Question`."""
        return language.questions(self.description, Random(f"{self.key}/questions"))

    @cached_property
    def foils(self):
        """Pairs of a true and a false caption, as a list of :class:`~mmcourse.data.language.Foil`."""
        found = language.foils(self.description, Random(f"{self.key}/foils"))
        return [foil for foil in found if not all(map(self.holds, language.parse(foil.false)))]

    def holds(self, fact):
        """Whether a fact is true here: also a relation said the other way round, or the natural colour of a thing."""
        match fact:
            case "relation", first, relation, second:
                return not self.facts.isdisjoint(
                    {fact, ("relation", second, language.INVERSE[relation], first)}
                )
            case "colour", noun, colour if fact not in self.facts:
                return any(
                    thing.noun == noun
                    and thing.colour is None
                    and colour in natural_colours(noun, thing.style)
                    for thing in self.objects
                )
        return fact in self.facts


@cache
def held_out(first, second):
    """Whether a pair of nouns, or of a colour and a noun, is kept for the ``composition`` split (one pair in ten)."""
    return crc32("|".join(sorted((first, second))).encode()) % 10 == 0


@cache
def partners(name):
    """What ``name`` never meets in training: (nouns, colours)."""
    noun = language.noun_table()[name]
    colours = tuple(
        c for c in COLOURS if noun.tintable and c not in noun.denied and held_out(c, name)
    )
    return tuple(
        other.name for other in nouns() if other.name != name and held_out(name, other.name)
    ), colours


def colours_in(image):
    """Colour words for a drawing (Pillow, RGBA): the hues of at least a fifth of what is opaque."""
    hue, saturation, value = np.asarray(image.convert("RGB").convert("HSV"))[
        np.asarray(image)[..., 3] > 127
    ].T
    hues = np.array(["red", "orange", "yellow", "green", "blue", "purple", "pink", "red"])
    names = hues[np.digitize(hue, [9, 30, 48, 117, 181, 213, 245])]
    names[(hue < 30) & (value < 176)] = "brown"  # a dark orange
    coloured = names[(saturation > 60) & (value > 60)]
    return frozenset(colour for colour in COLOURS if 5 * (coloured == colour).sum() >= len(names))


@cache
def natural_colours(name, style):
    """Colour words that fit an untinted drawing."""
    return colours_in(Image.fromarray(drawing(name, style)))


@cache
def artist(name, split):
    """The styles that may draw a noun in a split."""
    return tuple(
        style for style in styles_of(name) if (style == HELD_OUT_STYLE) == (split == "style")
    )


@cache
def artwork(name, style):
    """A drawing as a Pillow picture with premultiplied alpha, kept since it is needed again and again (16 kB each)."""
    return Image.fromarray(drawing(name, style)).convert("RGBa")


def sprite(image, pixels, colour, mirrored):
    """A picture with premultiplied alpha resized to a square, tinted or not: (picture with alpha, tight box)."""
    image = image.resize((pixels, pixels), Image.BOX).convert("RGBA")
    image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else image
    opaque = image.getchannel("A").convert("1", dither=Image.Dither.NONE)
    return tint(image, opaque, np.array(RGB[colour])) if colour else image, opaque.getbbox()


def tint(image, opaque, colour):
    """Repaint in shades of one colour, the darkest pixel darkest: the rank of a pixel's luminance chooses the shade.

    Pixels of one luminance share the middle of their ranks, so what has one colour gets ``colour`` itself.
    """
    grey = image.convert("L")
    levels = np.array(grey.histogram(opaque))
    rank = ((2 * levels.cumsum() - levels) * 255 // max(2 * int(levels.sum()), 1))[:, None]
    shades = np.where(
        rank < 128, colour * (rank + 96) // 224, colour + (255 - colour) * (rank - 128) // 256
    )
    tinted = Image.fromarray(shades.astype(np.uint8)[np.asarray(grey)])
    tinted.putalpha(image.getchannel("A"))
    return tinted


def paint(name, size, rng):
    """The background ``name`` as a picture, with its colours, horizon and texture jittered."""
    above, below, horizon, texture, ink = PAINT[name]
    above, below, ink = (
        tuple(min(max(part + rng.randrange(-14, 15), 0), 255) for part in ImageColor.getrgb(colour))
        for colour in (above, below, ink)
    )
    line = (horizon + rng.randrange(-6, 7)) * size // 64 if horizon else 0
    image = Image.new("RGB", (size, size), below)
    image.paste(above, (0, 0, size, line))
    draw = ImageDraw.Draw(image)
    start, step = rng.randrange(8) * size // 64, rng.randrange(5, 9) * size // 64
    top = line if name in ("grass", "beach") else 0
    dice = rng.randbytes({"flecks": 144, "streaks": 90}.get(texture, 0))
    spots = [
        (x * size // 256, top + y * (size - top) // 256)
        for x, y in zip(dice[::2], dice[1::2], strict=True)
    ]
    middle, grid = (line + size) // 2, range(start % step, size, step)
    points = {"flecks": spots, "dots": [(x, y) for x in grid for y in grid]}
    lines = {
        "streaks": [(x, y, x - size // 32, y + size // 16) for x, y in spots],
        "waves": [(0, y, size, y) for y in range(line + start, size, step)],
    }
    boxes = {
        "dashes": [
            (x, middle, x + step, middle + size // 64) for x in range(start, size, 2 * step)
        ],
        "stripes": [(x, 0, x + step // 3, size) for x in range(start, size, step)],
    }
    draw.point(points.get(texture, []), ink)
    for draw_one, marks in ((draw.line, lines), (draw.rectangle, boxes)):
        for mark in marks.get(texture, ()):
            draw_one(mark, ink)
    return image


def extent(tree):
    """Width and height that a layout needs: a leaf is (pixels, index), a node is (axis, first, second)."""
    if len(tree) == 2:
        return tree[0], tree[0]
    axis, (a, b) = tree[0], (extent(tree[1]), extent(tree[2]))
    return (a[0] + b[0], max(a[1], b[1])) if axis == 0 else (max(a[0], b[0]), a[1] + b[1])


def place(tree, region, rng, places):
    """Put each leaf of a layout into the region (x0, y0, x1, y1); ``places[index]`` becomes its corner (x, y)."""
    low, high = list(region[:2]), list(region[2:])
    if len(tree) == 2:
        places[tree[1]] = tuple(rng.randint(a, b - tree[0]) for a, b in zip(low, high, strict=True))
        return
    axis, first, second = tree
    across, need = 1 - axis, extent(tree)
    band = min(
        need[across] + 4, high[across] - low[across]
    )  # one for both, so that "left of" never looks like "above"
    low[across] += rng.randint(0, high[across] - low[across] - band)
    high[across] = low[across] + band
    end, start = list(high), list(low)
    end[axis] = start[axis] = (
        low[axis] + extent(first)[axis] + rng.randint(0, high[axis] - low[axis] - need[axis])
    )
    place(first, (*low, *end), rng, places)
    place(second, (*start, *high), rng, places)


def layout(description, leaves, rng):
    """The layout tree of a description whose groups have the given lists of leaves."""
    relation = description.relation
    axis = 0 if relation in ("left of", "right of") else 1 if relation else rng.randrange(2)
    inner = 1 - axis if relation else axis
    trees = []
    for tree, *more in leaves:
        for other in more:
            tree, inner = (inner, tree, other), inner if relation else 1 - inner
        trees.append(tree)
    return (
        (axis, *(trees if relation in ("left of", "above") else trees[::-1]))
        if relation
        else trees[0]
    )


class EmojiScenes:
    """Endless scenes: ``EmojiScenes(split)[index]`` for any index from 0.

    ``split`` is ``train``; ``val`` (as train, other scenes); ``composition`` (each scene has a pair of nouns, or a
    colour on a noun, that training never shows); or ``style`` (drawn by artists that training never shows). ``size`` is
    height and width in pixels, at least 32. ``only`` names the nouns to draw, two or more, for a smaller world. Raises
    ValueError for an unknown split or noun, a smaller size, or ``only`` where it cannot be.
    """

    def __init__(self, split="train", size=64, only=None):
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
        if size < 32:
            raise ValueError(f"scenes need at least 32 pixels to be legible, got size={size}")
        self.split, self.size = split, size
        self.names = (
            [noun.name for noun in nouns() if artist(noun.name, split)]
            if only is None
            else list(only)
        )
        if (
            len(self.names) < 2
            or not all(artist(name, split) for name in self.names)
            or (only and split == SPLITS[2])
        ):
            raise ValueError(
                f"only must be two nouns or more, in any split but composition, got {only!r} for {split}"
            )

    def __getitem__(self, index):
        if index < 0:
            raise IndexError(f"scenes are counted from 0, got index {index}")
        rng = Random(key := f"{self.split}/{index}")
        return self.render(self.describe(rng), rng, key)

    def describe(self, rng):
        """Draw a description that belongs to this split."""
        counts = rng.choice(((1,), (1,), (2,), (3,), (1, 1), (1, 1), (1, 1), (1, 2), (2, 1)))
        special = rng.choice(("pair", "binding")) if self.split == "composition" else None
        if special == "pair":
            counts = rng.choice(((1, 1), (1, 1), (1, 2), (2, 1)))
        first = rng.choice(self.names)
        while special and not partners(first)[special == "binding"]:
            first = rng.choice(self.names)
        names = [first]
        if len(counts) == 2:
            second = rng.choice(partners(first)[0] if special == "pair" else self.names)
            while special != "pair" and (second == first or held_out(first, second)):
                second = rng.choice(self.names)
            names.append(second)
        bound = rng.choice(partners(first)[1]) if special == "binding" else None
        sizes = [rng.choice(("small", "medium", "medium", "big")) for _ in counts]
        if (
            sum(counts) > 2 or max(counts) > 1
        ):  # so that all fit: three things are never big, of two groups only one is
            sizes = ["medium" if size == "big" else size for size in sizes]
        elif sizes == ["big", "big"]:
            sizes = ["big", "medium"]
        groups = tuple(
            Group(name, count, bound if bound and name == first else self.colour(name, rng), size)
            for name, count, size in zip(names, counts, sizes, strict=True)
        )
        relation = rng.choice(tuple(language.RELATIONS)) if len(groups) == 2 else None
        return Description(groups, relation, rng.choice(tuple(PAINT)))

    @staticmethod
    def colour(name, rng):
        """A tint that training may show on this noun, or None (for about three things in five)."""
        noun = language.noun_table()[name]
        allowed = [c for c in COLOURS if c not in noun.denied and not held_out(c, name)]
        return rng.choice(allowed) if noun.tintable and allowed and rng.random() < 0.4 else None

    @staticmethod
    def draw(name, style, rng):
        """The drawing of a thing."""
        return artwork(name, style)

    def render(self, description, rng, key):
        """Paint the description: a :class:`Scene`."""
        image = paint(description.background, self.size, rng)
        leaves, things = [[] for _ in description.groups], []
        for number, group in enumerate(description.groups):
            for _ in range(group.count):
                pixels = rng.randint(*PIXELS[group.size]) * self.size // 64
                leaves[number].append((pixels, len(things)))
                things.append(
                    (
                        group,
                        number,
                        pixels,
                        rng.choice(artist(group.noun, self.split)),
                        rng.random() < 0.5,
                    )
                )
        places, objects = {}, []
        place(layout(description, leaves, rng), (0, 0, self.size, self.size), rng, places)
        for index, (group, number, pixels, style, mirrored) in enumerate(things):
            x, y = places[index]
            drawn, (x0, y0, x1, y1) = sprite(
                self.draw(group.noun, style, rng), pixels, group.colour, mirrored
            )
            image.paste(drawn, (x, y), drawn)
            objects.append(
                SceneObject(
                    group.noun,
                    style,
                    group.colour,
                    group.size,
                    (x + x0, y + y0, x + x1, y + y1),
                    number,
                )
            )
        return Scene(np.array(image), description, tuple(objects), key)
