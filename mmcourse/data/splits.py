"""What each split of the scenes may show: which pairs are held out, and which styles draw."""

from functools import cache
from zlib import crc32

from mmcourse.data.drawings import HELD_OUT_STYLE, nouns, styles_of
from mmcourse.data.language import COLOURS, noun_table

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
    """The tints that ``name`` never has in training, though it could, as a tuple."""
    return tuple(colour for colour in _tints(name) if held_out(colour, name))


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
