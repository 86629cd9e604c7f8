"""Drawings of things: emoji art in six independent styles, 64 x 64 pixels each, with names in English and Chinese.

Five styles are for training. The sixth, OpenMoji, is held out: who knows castles, not Noto's pixels, knows its castle.
``drawings/`` has authors and licences (``NOTICE``), nouns (``nouns.csv``), and what ``tools/maintain/build_drawings.py`` makes.
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
FOLDER, CELL = Path(__file__).with_suffix(""), 64


@dataclass(frozen=True)
class Noun:
    """A thing that can be drawn. A tint in a ``denied`` colour would make it another thing: a green banana, a cucumber.

    ``measure`` is its Mandarin measure word (一只猫, one cat). What is not ``tintable`` keeps its own colours.
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
    rows = csv.DictReader((FOLDER / "nouns.csv").read_text("utf-8").splitlines())
    return tuple(
        Noun(
            **{
                **row,
                "denied": frozenset(row["denied"].split()),
                "tintable": row["tintable"] == "yes",
            }
        )
        for row in rows
    )


@cache
def _cells(style):
    if style not in (*STYLES, HELD_OUT_STYLE):
        raise ValueError(
            f"unknown style {style!r}: use one of {', '.join(STYLES)}, or {HELD_OUT_STYLE} (held out)"
        )
    sheet = np.asarray(Image.open(FOLDER / f"{style}.webp").convert("RGBA"))
    cells = (
        sheet.reshape(len(sheet) // CELL, CELL, -1, CELL, 4)
        .swapaxes(1, 2)
        .reshape(-1, CELL, CELL, 4)
    )
    cells.flags.writeable = False
    return {
        noun.name: cell
        for noun, cell in zip(nouns(), cells[: len(nouns())], strict=True)
        if cell.any()
    }


def styles_of(name):
    """The styles that have a drawing of ``name``, training styles first. ``ValueError`` for an unknown noun."""
    found = tuple(style for style in (*STYLES, HELD_OUT_STYLE) if name in _cells(style))
    if not found:
        near = difflib.get_close_matches(name, [noun.name for noun in nouns()]) or [
            "one of the names in nouns()"
        ]
        raise ValueError(f"unknown noun {name!r}: did you mean {' or '.join(near)}?")
    return found


def drawing(name, style):
    """The drawing of a noun: read-only uint8 (64, 64, 4), straight alpha. ``ValueError`` where the style has none."""
    if name not in _cells(style):
        raise ValueError(
            f"{style} has no drawing of {name!r}: it is in {', '.join(styles_of(name))}"
        )
    return _cells(style)[name]
