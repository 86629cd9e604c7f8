"""New things in a shop: what is known of them is a picture and some words, and nobody bought one.

The things are drawings of the course in a tint, the people are made up: their taste is a sum of
what they think of a category and of a colour, or, in another world, of something that neither a
picture nor a word tells.

Shapes: U people, I items, E numbers of an embedding, K factors.
"""

from random import Random
from typing import NamedTuple

import numpy as np
import torch

from mmcourse.data.drawings import STYLES, nouns, styles_of
from mmcourse.data.language import Description, Group
from mmcourse.data.scenes import EmojiScenes
from mmcourse.data.splits import training_colours

WORLDS = ("content", "hidden")
CATEGORIES = 2  # how many of the categories somebody likes
LIKED, OTHER = 1.2, -0.4  # what a liked category or colour adds to the taste, and another


class Item(NamedTuple):
    """A thing of the shop."""

    noun: str  #: what it is
    colour: str  #: its tint
    category: str  #: of the noun
    text: str  #: its title, as ``a red car``


class Shop(NamedTuple):
    """Items, and what people think of them."""

    items: list  #: I of :class:`Item`
    taste: np.ndarray  #: (U, I) the probability that somebody likes an item who looks at it
    liked: np.ndarray  #: (U, I) booleans, drawn with it
    looked: np.ndarray  #: who has looked at what, and so said yes or no, booleans (U, I)


def make_items(count=300, seed=0):
    """Different tinted things, ``count`` at most: a list of :class:`Item`.

    ValueError for fewer than ten.
    """
    if count < 10:
        raise ValueError(f"expected ten items or more, got {count}")
    rng = np.random.default_rng(seed)
    found = []
    for noun in nouns():
        colours = training_colours(noun.name) if set(STYLES) <= set(styles_of(noun.name)) else ()
        for colour in sorted(colours):
            text = f"{'an' if colour[0] in 'aeiou' else 'a'} {colour} {noun.name}"
            found.append(Item(noun.name, colour, noun.category, text))
    chosen = rng.permutation(len(found))[:count]
    return [found[number] for number in chosen]


def make_shop(items, people=600, world="content", seed=0, looks=0.3):
    """A made-up :class:`Shop`: ``people`` who each look at a share ``looks`` of the items.

    In the world ``content`` somebody likes two categories and two colours, and all tastes meet the
    popularity of each item. In ``hidden`` each item has six numbers drawn at random in the place of
    its category and its colour. Raises ValueError for another world or a share that is none.
    """
    if world not in WORLDS or not 0 < looks <= 1:
        raise ValueError(
            f"expected a world of {', '.join(WORLDS)} and a share of looks, got {world!r}, {looks}"
        )
    rng = np.random.default_rng(seed)
    score = 0.5 * rng.normal(size=len(items)) + np.zeros((people, 1))  # popularity
    if world == "content":
        for kind in ("category", "colour"):
            values = [getattr(item, kind) for item in items]
            names = sorted(set(values))
            column = np.array([names.index(value) for value in values])
            loved = rng.random((people, len(names))).argsort(1) < CATEGORIES  # two of them
            score = score + np.where(loved[:, column], LIKED, OTHER)
    else:
        score = score + rng.normal(size=(people, 6)) @ rng.normal(size=(6, len(items))) * 0.45
    taste = 1 / (1 + np.exp(-2 * score))
    liked = rng.random(taste.shape) < taste
    return Shop(items, taste, liked, rng.random(taste.shape) < looks)


def picture(item, seed=0):
    """A scene (64, 64, 3) of an item alone, drawn by one of the training artists."""
    described = Description((Group(item.noun, 1, item.colour, "big"),), None, "paper")
    return EmojiScenes("train").render(described, Random(f"{item.text}/{seed}"), item.text).image


def embed_items(items, clip):
    """Pictures and titles of items in the space of a CLIP: two arrays (I, E) of unit vectors."""
    with torch.no_grad():
        seen = clip.encode_image(clip.prepare([picture(item) for item in items]))
        read = clip.encode_text(clip.tokenize([item.text for item in items]))
    return seen.numpy(), read.numpy()


def popularity(liked, looked):
    """The share (I,) of yes of each item, drawn to the mean of all; an item without looks has it.

    Arguments are (U, I), booleans.
    """
    mean = liked[looked].mean()
    return ((liked & looked).sum(0) + 5 * mean) / (looked.sum(0) + 5)


def factorise(liked, looked, factors=8, penalty=5.0, rounds=12, seed=0):
    """Collaborative filtering by alternating least squares: people (U, K) and items (I, K).

    A person times an item is what they think of it, beyond its popularity (Koren et al. 2009). An
    item at which nobody has looked gets zeros: nothing is known of it. Raises ValueError for tables
    that do not pair, or where nobody has looked at anything.
    """
    liked, looked = np.asarray(liked, bool), np.asarray(looked, bool)
    if liked.shape != looked.shape or liked.ndim != 2 or not looked.any():
        raise ValueError(
            f"expected two tables (people, items) with looks in them, got {liked.shape} and "
            f"{looked.shape}"
        )
    rest = np.where(looked, liked - popularity(liked, looked), 0.0)  # (U, I)
    rng = np.random.default_rng(seed)
    items = rng.normal(size=(liked.shape[1], factors)) * 0.3
    for _ in range(rounds):
        people = solve(rest, looked, items, penalty)
        items = solve(rest.T, looked.T, people, penalty)
    return people, items


def solve(rest, known, other, penalty):
    """For each row of ``rest`` (R, C) the K numbers that fit its known entries best, (R, K).

    ``other`` (C, K) stays as it is; ``penalty`` keeps the numbers small.
    """
    squares = np.einsum("rc,ck,cl->rkl", known.astype(float), other, other, optimize=True)
    squares += penalty * np.eye(other.shape[1])
    return np.linalg.solve(squares, (rest @ other)[..., None])[..., 0]


def principal(features, size=24):
    """The ``size`` directions in which features (I, E) differ most: (I, size), of length about 1.

    With these in the place of an item's factors, :func:`solve` learns what each person thinks of
    content. Raises ValueError for more directions than there are.
    """
    features = np.asarray(features, float)
    if not 0 < size <= min(features.shape):
        raise ValueError(f"expected 1 to {min(features.shape)} directions, got {size}")
    centred = features - features.mean(0)
    left, spread, _ = np.linalg.svd(centred, full_matrices=False)
    found = left[:, :size] * spread[:size]
    return found / np.sqrt((found**2).sum(1).mean())


def content_scores(liked, trained, features, penalty=3.0):
    """What people who looked (U, I) will think of all items, by their ``features`` (I, K): (U, I).

    Popularity, and for each person the numbers that fit the rest best.
    """
    known = popularity(liked, trained)
    rest = np.where(trained, liked - known, 0.0)
    return known + solve(rest, trained, features, penalty) @ features.T


def label_features(items):
    """The category and the colour of each item as zeros and ones, (I, categories + colours)."""
    columns = []
    for kind in ("category", "colour"):
        values = [getattr(item, kind) for item in items]
        columns += [[value == name for value in values] for name in sorted(set(values))]
    return np.array(columns, float).T


def split_items(items, seed=0):
    """Which items are new: of a known noun, and of a noun that is new too: two (I,) booleans.

    A sixth of the nouns is new, and a fifth of the other items. An item counts as of a known noun
    only where another item of that noun is old; else it is neither, and old.
    """
    rng = np.random.default_rng(seed)
    names = sorted({item.noun for item in items})
    chosen = set(rng.permutation(names)[: len(names) // 6])
    new_noun = np.array([item.noun in chosen for item in items])
    new_item = ~new_noun & (rng.random(len(items)) < 0.2)
    old_nouns = {item.noun for item, new in zip(items, new_noun | new_item, strict=True) if not new}
    new_item &= np.array([item.noun in old_nouns for item in items])
    return new_item, new_noun


def taste_aucs(scores, liked, shown):
    """For each person how often a liked item of ``shown`` (U, I) stands above one not liked: (U,).

    Equal scores count half. NaN for who liked all, or none, of what is shown.
    """
    found = np.full(len(liked), np.nan)
    for person, row in enumerate(shown):
        yes, no = scores[person, row & liked[person]], scores[person, row & ~liked[person]]
        if len(yes) and len(no):
            gap = yes[:, None] - no
            found[person] = (gap > 0).mean() + (gap == 0).mean() / 2
    return found
