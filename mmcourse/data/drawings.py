"""Drawings of things: emoji art in six independent styles, 64 x 64 pixels each, with names in English and Chinese.

Five styles are for training. The sixth, OpenMoji, is held out: a model that has learnt what a lighthouse looks like, and not
which pixels Noto's lighthouse has, should know OpenMoji's too. ``drawings/NOTICE`` names the authors and the licences;
``drawings/nouns.csv`` is the table of nouns, to be read and edited; ``tools/build_drawings.py`` makes the sprite sheets.
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
CELL = 64


@dataclass(frozen=True)
class Noun:
    """A thing that can be drawn: how it is called, in which category it is, and which colours it may be tinted.

    ``measure`` is the Mandarin measure word ("只" for a cat). ``denied`` are colours whose tint would turn the drawing
    into another thing (a green banana reads as a cucumber). A thing that is not ``tintable`` keeps its own colours.
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
    """All nouns as a tuple of :class:`Noun`. The order is fixed: it is the order of the cells in the sprite sheets."""
    with open(FOLDER / "nouns.csv", encoding="utf-8", newline="") as file:
        return tuple(
            Noun(**{**row, "tintable": row["tintable"] == "yes", "denied": frozenset(row["denied"].split())})
            for row in csv.DictReader(file)
        )


@cache
def _cells(style):
    if style not in (*STYLES, HELD_OUT_STYLE):
        raise ValueError(f"unknown style {style!r}: use one of {', '.join(STYLES)}, or {HELD_OUT_STYLE} (held out)")
    sheet = np.asarray(Image.open(FOLDER / f"{style}.webp").convert("RGBA"))
    grid = sheet.reshape(sheet.shape[0] // CELL, CELL, -1, CELL, 4).swapaxes(1, 2)
    cells = grid.reshape(-1, CELL, CELL, 4)
    cells.flags.writeable = False
    return {noun.name: cell for noun, cell in zip(nouns(), cells, strict=False) if cell.any()}


def styles_of(name):
    """The styles that have a drawing of ``name``, training styles first. ``ValueError`` for an unknown noun."""
    if name not in {noun.name for noun in nouns()}:
        near = difflib.get_close_matches(name, [noun.name for noun in nouns()])
        raise ValueError(f"unknown noun {name!r}" + (f": did you mean {' or '.join(near)}?" if near else "; see nouns()"))
    return tuple(style for style in (*STYLES, HELD_OUT_STYLE) if name in _cells(style))


def drawing(name, style):
    """The drawing of a noun: read-only uint8 (64, 64, 4), straight alpha. ``ValueError`` where the style has none."""
    if name not in _cells(style):
        raise ValueError(f"{style} has no drawing of {name!r}: it is in {', '.join(styles_of(name))}")
    return _cells(style)[name]
