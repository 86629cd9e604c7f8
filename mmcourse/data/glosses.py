"""Glosses: what WordNet says of things that can be seen, one sentence each, of eight kinds.

``glosses/`` has what ``tools/maintain/build_glosses.py`` makes of WordNet 3.1 (Miller 1995), with
its licence. The texts are true English, written by people, and their kind is known.
"""

import lzma
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from zlib import crc32

FOLDER = Path(__file__).with_suffix("")
FILE = "glosses.tsv.xz"
KINDS = ("animal", "artefact", "body", "food", "object", "phenomenon", "plant", "substance")
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Gloss:
    """What some words mean: ``("oak", "oak tree")`` are a plant, and ``text`` says which.

    The words are synonyms, each in this, its first sense. ``kind`` is one of ``KINDS``.
    """

    words: tuple[str, ...]
    text: str
    kind: str

    @property
    def line(self):
        """The words and what they mean as in a dictionary, ``oak, oak tree: a ...``."""
        return f"{', '.join(self.words)}: {self.text}"


@cache
def glosses(split):
    """The glosses of ``train``, ``val`` or ``test``, a tuple of :class:`Gloss`.

    The text of a gloss decides its split, so equal texts are never in two. One in ten is ``val``,
    one in ten ``test``. Raises ValueError for another split.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    return tuple(gloss for gloss in _everything() if split_of(gloss.text) == split)


def lines(split):
    """The glosses of a split as lines of a dictionary, a list: what language models learn from."""
    return [gloss.line for gloss in glosses(split)]


def split_of(text):
    """The split of a gloss with this text, the same on every computer."""
    tenth = crc32(text.encode()) % 10
    return {0: "val", 1: "test"}.get(tenth, "train")


@cache
def _everything():
    """All glosses, in the order of the file."""
    found = []
    with lzma.open(FOLDER / FILE, "rt", encoding="utf-8") as file:
        for row in file:
            kind, words, text = row.rstrip("\n").split("\t")
            found.append(Gloss(tuple(words.split("|")), text, kind))
    return tuple(found)
