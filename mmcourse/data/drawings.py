"""Drawings of things: emoji art in six independent styles, with names in English and Chinese.

Each is 64 x 64 pixels. Five styles are for training. The sixth, OpenMoji, is held out: who
knows castles, not Noto's pixels, knows its castle. ``drawings/`` has authors and licences
(``NOTICE``), nouns (``nouns.csv``), and what ``tools/maintain/build_drawings.py`` makes.
"""

import csv
import difflib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

STYLES = ("noto", "blob", "twemoji", "fluent", "emojitwo")
HELD_OUT_STYLE = "openmoji"
FOLDER = Path(__file__).with_suffix("")
CELL = 64  # pixels, the side of a drawing


@dataclass(frozen=True)
class Noun:
    """A thing that can be drawn.

    A tint in a ``denied`` colour would make it another thing: a green banana, a cucumber.
    ``measure`` is its Mandarin measure word (一只猫, one cat). What is not ``tintable`` keeps its
    own colours.
    """

    name: str
    plural: str
    article: str
    zh: str
    measure: str
    category: str
    emoji: str
    denied: frozenset[str]
    tintable: bool


@cache
def nouns():
    """All nouns as a tuple of :class:`Noun`, in the order of the cells in the sprite sheets."""
    lines = (FOLDER / "nouns.csv").read_text("utf-8").splitlines()
    found = []
    for row in csv.DictReader(lines):
        denied = frozenset(row.pop("denied").split())
        tintable = row.pop("tintable") == "yes"
        found.append(Noun(**row, denied=denied, tintable=tintable))
    return tuple(found)


@cache
def _cells(style):
    """The drawings of a style, read-only arrays (64, 64, 4), in a dict from a noun's name."""
    if style not in (*STYLES, HELD_OUT_STYLE):
        raise ValueError(
            f"unknown style {style!r}: use one of {', '.join(STYLES)}, "
            f"or {HELD_OUT_STYLE} (held out)"
        )
    sheet = np.asarray(Image.open(FOLDER / f"{style}.webp").convert("RGBA"))
    rows = len(sheet) // CELL
    cells = sheet.reshape(rows, CELL, -1, CELL, 4)
    cells = cells.swapaxes(1, 2)  # (rows, columns, 64, 64, 4)
    cells = cells.reshape(-1, CELL, CELL, 4)
    cells.flags.writeable = False
    pairs = zip(nouns(), cells[: len(nouns())], strict=True)
    return {noun.name: cell for noun, cell in pairs if cell.any()}  # an empty cell is no drawing


def styles_of(name):
    """The styles that have a drawing of ``name``, training styles first.

    Raises ValueError for an unknown noun.
    """
    found = tuple(style for style in (*STYLES, HELD_OUT_STYLE) if name in _cells(style))
    if not found:
        near = difflib.get_close_matches(name, [noun.name for noun in nouns()])
        hint = " or ".join(near) if near else "one of the names in nouns()"
        raise ValueError(f"unknown noun {name!r}: did you mean {hint}?")
    return found


def drawing(name, style):
    """The drawing of a noun: a read-only uint8 array (64, 64, 4), straight alpha.

    Raises ValueError for an unknown noun or style, or where the style has no drawing of it.
    """
    if name not in _cells(style):
        styles = ", ".join(styles_of(name))
        raise ValueError(f"{style} has no drawing of {name!r}: it is in {styles}")
    return _cells(style)[name]
