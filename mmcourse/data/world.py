"""A small world, which a model can learn to draw in an hour on one core.

Scenes of forty nouns by one artist, each 24 pixels wide and in one of four places, in one group or
two. What is kept from training is kept by the same rule as in
:class:`~mmcourse.data.scenes.EmojiScenes`.
"""

from random import Random

import numpy as np

from mmcourse.data.backgrounds import PAINT, paint
from mmcourse.data.language import RELATIONS, Description, Group
from mmcourse.data.layout import Leaf, layout, place
from mmcourse.data.scenes import EmojiScenes, Scene, SceneObject, count_from_zero, shift
from mmcourse.data.splits import held_out, held_out_nouns, new_colours
from mmcourse.data.sprites import artwork, sprite

STYLE = "twemoji"
PIXELS = 24  # the side of each thing: three cells
CELL = 8  # a thing's corner lies on a multiple of it
SIDES = (0, 32)  # pixels from the left or the top to the corner of a place
PLACES = ("four", "grid", "any")
WORLD_SPLITS = ("train", "val", "composition")
COUNTS = ((1,), (1,), (2,), (3,), (1, 1), (1, 1), (1, 1), (1, 2))
COUNTS_OF_PAIRS = ((1, 1), (1, 1), (1, 1), (1, 2))
WORLD_NOUNS = [
    # fmt: off
    "dog",
    "cat",
    "horse",
    "pig",
    "elephant",
    "rabbit",
    "bird",
    "owl",
    "frog",
    "turtle",
    "whale",
    "fish",
    "octopus",
    "crab",
    "snail",
    "butterfly",
    "rose",
    "tree",
    "cactus",
    "mushroom",
    "apple",
    "banana",
    "pear",
    "carrot",
    "bus",
    "car",
    "airplane",
    "rocket",
    "house",
    "castle",
    "umbrella",
    "star",
    "heart",
    "crown",
    "bell",
    "guitar",
    "key",
    "book",
    "gift",
    "robot",
    # fmt: on
]


class DrawnWorld(EmojiScenes):
    """Scenes of the small world: ``DrawnWorld(split)[index]`` for any index from 0.

    ``split`` is ``train``, ``val`` (as train, other scenes) or ``composition`` (each scene has a
    pair of nouns, or a colour on a noun, that no scene of ``train`` shows). ``places`` says where
    things stand: ``four``, one in each quarter of the picture at most; ``grid``, anywhere on a
    multiple of 8 pixels; ``any``, anywhere, and a sixth larger or smaller. ValueError for another.
    """

    def __init__(self, split="train", places="four"):
        if split not in WORLD_SPLITS:
            raise ValueError(f"unknown split {split!r}: choose one of {', '.join(WORLD_SPLITS)}")
        if places not in PLACES:
            raise ValueError(f"unknown places {places!r}: choose one of {', '.join(PLACES)}")
        super().__init__("train", 64, WORLD_NOUNS)
        self.split = split
        self.places = places

    def __getitem__(self, index):
        key = f"world/{self.split}/{count_from_zero(index)}"
        rng = Random(key)
        return self.render(self.describe(rng), rng, key)

    def describe(self, rng):
        """Draw a description that belongs to this split."""
        counts = rng.choice(COUNTS)
        novelty = None
        if self.split == "composition":
            novelty = rng.choice(("pair", "binding"))
            if novelty == "pair":
                counts = rng.choice(COUNTS_OF_PAIRS)
        names = self._choose_names(len(counts), novelty, rng)
        groups = []
        for number, (name, count) in enumerate(zip(names, counts, strict=True)):
            colour = self.colour(name, rng)
            if novelty == "binding" and number == 0:
                colour = rng.choice(new_colours(name))
            groups.append(Group(name, count, colour))
        relation = rng.choice(tuple(RELATIONS)) if len(groups) == 2 else None
        return Description(tuple(groups), relation, rng.choice(tuple(PAINT)))

    def _choose_names(self, count, novelty, rng):
        """One noun or two of the world that fit a scene with this novelty."""
        first = rng.choice(self.names)
        while not self.fits(first, novelty):
            first = rng.choice(self.names)
        if count == 1:
            return [first]
        second = rng.choice(self.names)
        while second == first or held_out(first, second) != (novelty == "pair"):
            second = rng.choice(self.names)
        return [first, second]

    def fits(self, name, novelty):
        """Whether a scene with this novelty, or None, can begin with this noun."""
        if novelty == "pair":
            return any(other in self.names for other in held_out_nouns(name))
        return novelty is None or bool(new_colours(name))

    def render(self, description, rng, key):
        """Paint the description: a :class:`~mmcourse.data.scenes.Scene`."""
        image = paint(description.background, self.size, rng)
        things = []
        for number, group in enumerate(description.groups):
            for _ in range(group.count):
                pixels = rng.randint(20, 28) if self.places == "any" else PIXELS
                things.append((number, group, pixels))
        corners = self.corners(description, things, rng)
        objects = []
        for corner, (number, group, pixels) in zip(corners, things, strict=True):
            drawn, box = sprite(artwork(group.noun, STYLE), pixels, group.colour, False)
            image.paste(drawn, corner, drawn)
            box = shift(box, corner)
            objects.append(SceneObject(group.noun, STYLE, group.colour, group.size, box, number))
        return Scene(np.array(image), description, tuple(objects), key)

    def corners(self, description, things, rng):
        """The corner (x, y) of each thing, a tuple of its group's number, the group and pixels."""
        if self.places == "four":
            return four_places(description, rng)
        groups = [[] for _ in description.groups]
        for index, (number, _, pixels) in enumerate(things):
            groups[number].append(Leaf(pixels, index))
        tree = layout(description.relation, groups, rng)
        corners = place(tree, (0, 0, self.size, self.size), rng)
        if self.places == "any":
            return [corners[index] for index in range(len(things))]
        return [
            tuple(part // CELL * CELL for part in corners[index]) for index in range(len(things))
        ]


def four_places(description, rng):
    """The corners of all things, one in a quarter of the picture: a list of (x, y).

    One group stands anywhere; of two, each has a half, and one thing of a pair is beside, or above,
    one of the other group.
    """
    counts = [group.count for group in description.groups]
    if description.relation is None:
        quarters = [(x, y) for x in (0, 1) for y in (0, 1)]
        chosen = rng.sample(quarters, counts[0])
        if counts[0] == 2 and chosen[0][0] != chosen[1][0] and chosen[0][1] != chosen[1][1]:
            chosen[1] = (chosen[0][0], chosen[1][1])  # not across the corner
    else:
        across = description.relation in ("left of", "right of")
        first = 0 if description.relation in ("left of", "above") else 1
        row = rng.randrange(2)  # where a single thing stands
        chosen = []
        for half, count in ((first, counts[0]), (1 - first, counts[1])):
            for place_in_half in range(2) if count == 2 else (row,):
                chosen.append((half, place_in_half) if across else (place_in_half, half))
    return [(SIDES[x] + margin(x), SIDES[y] + margin(y)) for x, y in chosen]


def margin(side):
    """Pixels between the edge of a quarter and its thing, so that it lies on the grid: 0 or 8."""
    return CELL if side == 0 else 0
