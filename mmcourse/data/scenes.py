"""EmojiScenes: pictures composed of drawings, whose truth is known down to each pixel box.

``EmojiScenes(split)[index]`` depends on these two alone: ``random.Random`` chooses, and pixels are
integer arithmetic.
"""

import operator
from dataclasses import dataclass
from functools import cached_property
from random import Random
from typing import NamedTuple

import numpy as np

from mmcourse.data import language, questions
from mmcourse.data.backgrounds import PAINT, paint
from mmcourse.data.drawings import nouns
from mmcourse.data.language import Description, Group
from mmcourse.data.layout import Leaf, layout, place
from mmcourse.data.splits import (
    SPLITS,
    held_out,
    held_out_nouns,
    new_colours,
    styles_for,
    training_colours,
)
from mmcourse.data.sprites import artwork, natural_colours, sprite

# longest side in a scene of 64 pixels, both ends included
PIXELS = {"small": (17, 20), "medium": (24, 27), "big": (32, 37)}
# how many things of each group a scene has; what stands twice is twice as likely
COUNTS = ((1,), (1,), (2,), (3,), (1, 1), (1, 1), (1, 1), (1, 2), (2, 1))
COUNTS_OF_PAIRS = ((1, 1), (1, 1), (1, 2), (2, 1))
SIZES = ("small", "medium", "medium", "big")
TINTED = 0.4  # the share of things that get a tint, of those that may


@dataclass(frozen=True)
class SceneObject:
    """One drawing in a scene.

    ``box`` is (x0, y0, x1, y1) in pixels, tight around what is opaque; x1 and y1 are exclusive.
    """

    noun: str
    style: str
    colour: str | None
    size: str
    box: tuple[int, int, int, int]
    group: int


@dataclass(frozen=True)
class Scene:
    """A picture ``image`` (H, W, 3) uint8 with all that is true of it.

    Texts are made when they are asked for.
    """

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
        """Question-answer pairs, as a list of :class:`~mmcourse.data.questions.Question`."""
        return questions.questions(self.description, Random(f"{self.key}/questions"))

    @cached_property
    def foils(self):
        """A true and a false caption each, as a list of :class:`~mmcourse.data.questions.Foil`."""
        found = []
        for foil in questions.foils(self.description, Random(f"{self.key}/foils")):
            stated = language.parse(foil.false)
            if not all(self.holds(fact) for fact in stated):
                found.append(foil)
        return found

    def holds(self, fact):
        """Whether a fact is true here.

        Also a relation said the other way round, or the natural colour of a thing.
        """
        if fact in self.facts:
            return True
        match fact:
            case "relation", first, relation, second:
                turned = ("relation", second, language.INVERSE[relation], first)
                return turned in self.facts
            case "colour", noun, colour:
                return any(
                    colour in natural_colours(noun, thing.style)
                    for thing in self.objects
                    if thing.noun == noun and thing.colour is None
                )
        return False


class EmojiScenes:
    """Endless scenes: ``EmojiScenes(split)[index]`` for any index from 0.

    ``split`` is ``train``; ``val`` (as train, other scenes); ``composition`` (each scene has a
    pair of nouns, or a colour on a noun, that no scene of ``train`` shows, as a tint or by
    nature); or ``style`` (drawn by artists that training never shows). ``size`` is
    height and width in pixels, at least 32. ``only`` names the nouns to draw, two or more, for a
    smaller world. Raises ValueError for an unknown split or noun, a smaller size, or ``only``
    where it cannot be.
    """

    def __init__(self, split="train", size=64, only=None):
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
        if size < 32:
            raise ValueError(f"scenes need at least 32 pixels to be legible, got size={size}")
        self.split = split
        self.size = size
        if only is None:
            self.names = [noun.name for noun in nouns() if styles_for(noun.name, split)]
            return
        self.names = list(only)
        drawable = all(styles_for(name, split) for name in self.names)
        if len(self.names) < 2 or not drawable or split == "composition":
            raise ValueError(
                "only must be two nouns or more, in any split but composition, "
                f"got {only!r} for {split}"
            )

    def __getitem__(self, index):
        index = count_from_zero(index)
        key = f"{self.split}/{index}"
        rng = Random(key)
        description = self.describe(rng)
        return self.render(description, rng, key)

    def describe(self, rng):
        """Draw a description that belongs to this split."""
        counts = rng.choice(COUNTS)
        novelty = None
        if self.split == "composition":
            novelty = rng.choice(("pair", "binding"))
            if novelty == "pair":
                counts = rng.choice(COUNTS_OF_PAIRS)
        names = self._choose_names(len(counts), novelty, rng)
        bound = rng.choice(new_colours(names[0])) if novelty == "binding" else None
        sizes = _choose_sizes(counts, rng)
        groups = []
        for name, count, size in zip(names, counts, sizes, strict=True):
            is_bound = bound and name == names[0]
            colour = bound if is_bound else self.colour(name, rng)
            groups.append(Group(name, count, colour, size))
        relation = rng.choice(tuple(language.RELATIONS)) if len(groups) == 2 else None
        background = rng.choice(tuple(PAINT))
        return Description(tuple(groups), relation, background)

    def _choose_names(self, count, novelty, rng):
        """One noun or two that fit a scene with this novelty: a pair, a binding or None."""
        first = rng.choice(self.names)
        if novelty:
            partners = held_out_nouns if novelty == "pair" else new_colours
            while not partners(first):
                first = rng.choice(self.names)
        if count == 1:
            return [first]
        if novelty == "pair":
            return [first, rng.choice(held_out_nouns(first))]
        second = rng.choice(self.names)
        while second == first or held_out(first, second):
            second = rng.choice(self.names)
        return [first, second]

    @staticmethod
    def colour(name, rng):
        """A tint that training may show on this noun, or None (for about three things in five)."""
        allowed = training_colours(name)
        if allowed and rng.random() < TINTED:
            return rng.choice(allowed)
        return None

    @staticmethod
    def draw(name, style, rng):
        """The drawing of a thing, a Pillow picture with premultiplied alpha."""
        return artwork(name, style)

    def render(self, description, rng, key):
        """Paint the description: a :class:`Scene`."""
        image = paint(description.background, self.size, rng)
        things = self._choose_things(description, rng)
        groups = [[] for _ in description.groups]
        for index, thing in enumerate(things):
            groups[thing.number].append(Leaf(thing.pixels, index))
        tree = layout(description.relation, groups, rng)
        corners = place(tree, (0, 0, self.size, self.size), rng)
        objects = []
        for index, (group, number, pixels, style, mirrored) in enumerate(things):
            drawing = self.draw(group.noun, style, rng)
            drawn, box = sprite(drawing, pixels, group.colour, mirrored)
            corner = corners[index]
            image.paste(drawn, corner, drawn)
            box = shift(box, corner)
            objects.append(SceneObject(group.noun, style, group.colour, group.size, box, number))
        return Scene(np.array(image), description, tuple(objects), key)

    def _choose_things(self, description, rng):
        """How each thing of a description is drawn: a list of :class:`Thing`."""
        things = []
        for number, group in enumerate(description.groups):
            low, high = PIXELS[group.size]
            for _ in range(group.count):
                pixels = rng.randint(low, high) * self.size // 64
                style = rng.choice(styles_for(group.noun, self.split))
                mirrored = rng.random() < 0.5
                things.append(Thing(group, number, pixels, style, mirrored))
        return things


class Thing(NamedTuple):
    """How one thing of a scene is drawn."""

    group: Group  #: what it belongs to
    number: int  #: of its group
    pixels: int  #: the side of its square
    style: str  #: who drew it
    mirrored: bool  #: whether left and right are exchanged


def _choose_sizes(counts, rng):
    """A size for each group, so that all things fit: of two single ones, one at most is big."""
    sizes = [rng.choice(SIZES) for _ in counts]
    if sum(counts) > 2 or max(counts) > 1:
        return ["medium" if size == "big" else size for size in sizes]
    if sizes == ["big", "big"]:
        return ["big", "medium"]
    return sizes


def shift(box, corner):
    """A sprite's box (x0, y0, x1, y1) in the picture in which its corner is (x, y)."""
    x, y = corner
    x0, y0, x1, y1 = box
    return (x + x0, y + y0, x + x1, y + y1)


def count_from_zero(index):
    """The index of a scene as an int. Raises TypeError for what is none, IndexError below 0."""
    index = operator.index(index)
    if index < 0:
        raise IndexError(f"scenes are counted from 0, got index {index}")
    return index
