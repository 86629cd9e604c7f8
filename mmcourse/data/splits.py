"""What each split of the scenes may show: which pairs are held out, and which styles draw."""

from functools import cache
from zlib import crc32

from mmcourse.data.drawings import HELD_OUT_STYLE, nouns, styles_of
from mmcourse.data.language import COLOURS, noun_table
from mmcourse.data.sprites import natural_colours

SPLITS = ("train", "val", "composition", "style")


@cache
def held_out(first, second):
    """Whether a pair is kept for the ``composition`` split: two nouns, or a colour and a noun.

    One pair in ten is, whichever comes first.
    """
    pair = "|".join(sorted((first, second)))
    return crc32(pair.encode()) % 10 == 0


@cache
def held_out_nouns(name):
    """The nouns that ``name`` never meets in training, as a tuple."""
    return tuple(
        other.name for other in nouns() if other.name != name and held_out(name, other.name)
    )


@cache
def held_out_colours(name):
    """The tints that ``name`` never has in training, though it could, as a tuple.

    Some of them training shows all the same, where a drawing has that colour by nature.
    """
    return tuple(colour for colour in _tints(name) if held_out(colour, name))


@cache
def foreign_colours(name):
    """The tints of ``name`` that no training style shows on it by nature, as a tuple.

    A colour is shown when a twentieth of a drawing has it.
    """
    shown = set()
    for style in styles_for(name, "train"):
        shown |= natural_colours(name, style, parts=20)
    return tuple(colour for colour in _tints(name) if colour not in shown)


@cache
def new_colours(name):
    """The colours that training never shows on ``name``, as a tint or by nature, as a tuple."""
    foreign = foreign_colours(name)
    return tuple(colour for colour in held_out_colours(name) if colour in foreign)


@cache
def training_colours(name):
    """The tints that ``name`` may have in training, as a tuple; empty for what is never tinted."""
    return tuple(colour for colour in _tints(name) if not held_out(colour, name))


def _tints(name):
    """All tints that leave a thing what it is."""
    noun = noun_table()[name]
    if not noun.tintable:
        return ()
    return tuple(colour for colour in COLOURS if colour not in noun.denied)


@cache
def styles_for(name, split):
    """The styles that may draw a noun in a split, as a tuple."""
    held = split == "style"
    return tuple(style for style in styles_of(name) if (style == HELD_OUT_STYLE) == held)


def novelty(description):
    """What a scene has that training never shows: ``pair``, ``binding`` or None.

    A pair is two held-out nouns, a binding a thing in one of its :func:`new_colours`.
    """
    names = [group.noun for group in description.groups]
    if len(names) == 2 and held_out(*names):
        return "pair"
    if any(group.colour in new_colours(group.noun) for group in description.groups):
        return "binding"
    return None


def compared_with(description):
    """With which novelty a scene is compared: a tuple of ``pair``, ``binding``, both or none.

    A scene of ``composition`` counts as what is new in it. Any other compares with a pair when it
    has two kinds of things. It compares with a binding when its first thing has a foreign tint and
    is one from which some such tint is held out.
    """
    new = novelty(description)
    if new:
        return (new,)
    found = ()
    if len(description.groups) == 2:
        found += ("pair",)
    first = description.groups[0]
    if first.colour in foreign_colours(first.noun) and new_colours(first.noun):
        found += ("binding",)
    return found
