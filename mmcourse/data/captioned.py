"""Photographs with captions: Flickr8k and COCO as they lie on a disk, and a few of our own.

The folder ``photographs`` beside this file is laid out as Flickr8k is: 22 photographs (its NOTICE
says whose), with captions of ours.
"""

import re
import sys
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mmcourse.data import coco, flickr
from mmcourse.data.annotations import picture_name

TINY = Path(__file__).with_name("photographs")
SPLITS = ("train", "val", "test")
LAYOUT = {"flickr8k": flickr.LAYOUT, "coco": coco.LAYOUT}
READERS = {"flickr8k": flickr.read_flickr8k, "coco": coco.read_coco}
NAMES_SHOWN = 5  # of each kind of fault


@dataclass(frozen=True)
class Photograph:
    """A picture on the disk; ``captions`` are words in small letters with a space between."""

    name: str  #: its path below the root
    path: Path
    captions: tuple[str, ...]


def words_of(text):
    """The words of a caption in small letters, as a list.

    A word is a run of letters and digits with the marks that belong to them, in any script and in
    Unicode's composed form; an apostrophe may stand inside. All else only separates.
    """
    lower = unicodedata.normalize("NFC", text.lower().replace("’", "'"))
    return _word_pattern().findall(lower)


@cache
def _word_pattern():
    """Letters or digits, each with its marks and invisible joiners; apostrophes between them.

    Python's ``\\w`` leaves out combining marks, without which Hindi or Thai falls into pieces.
    """
    characters = map(chr, range(sys.maxunicode + 1))
    marks = "".join(c for c in characters if unicodedata.category(c).startswith("M"))
    joiners = "\u200c\u200d"  # as in Persian and Sinhala; at a word's end they join nothing
    letter = rf"[^\W_](?:[{marks}]|[{joiners}](?=[\w{marks}]))*"
    return re.compile(rf"(?:{letter})+(?:'(?:{letter})+)*")


def vocabulary(photographs, min_count=5):
    """The words, sorted, that come at least ``min_count`` times in all captions.

    Raises ValueError if there are none.
    """
    if not photographs:
        raise ValueError("expected photographs with captions, got none")
    counts = Counter()
    for photograph in photographs:
        for caption in photograph.captions:
            counts.update(caption.split())
    common = sorted(word for word, count in counts.items() if count >= min_count)
    if not common:
        raise ValueError(
            f"no word comes {min_count} times in the captions of {len(photographs)} photographs: "
            "take a smaller minimum count"
        )
    return common


def load_photographs(data, root):
    """The photographs of each split, as lists in a dict, and notes on what is wrong in the files.

    ``data`` is ``flickr8k`` or ``coco``, ``root`` the folder that it lies in. A note is a line
    for each kind of fault, with how many have it and the first names. Splits that no file gives
    come from the names: of Flickr8k an eighth each is ``val`` and ``test``; of COCO a 24th of
    train2017 is ``val``, and val2017 is ``test``. Raises ValueError, which shows the layout,
    when files are missing or of another kind.
    """
    if data not in READERS:
        raise ValueError(f"unknown data {data!r}: choose {' or '.join(READERS)}")
    root = Path(root)
    problems = defaultdict(list)
    try:
        annotations = READERS[data](root, problems)
    except (FileNotFoundError, KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(
            f"{root} does not hold {data} as expected ({reason}):{LAYOUT[data]}"
        ) from error
    captions = _captions_by_picture(annotations.captions, problems)
    pictures = _find_pictures(root, annotations.folders)
    found = {split: [] for split in SPLITS}
    for name, texts in sorted(captions.items()):
        path = pictures.get(name)
        split = annotations.splits.get(name)
        if path is None:
            problems["pictures with captions that are not there"].append(name)
        elif not path.is_file():
            problems["pictures that are dead links or no files"].append(name)
        elif split not in found:
            problems["pictures in no split"].append(name)
        else:
            on_disk = path.relative_to(root).as_posix()
            found[split].append(Photograph(on_disk, path, tuple(texts)))
    problems["pictures without captions"] += sorted(pictures.keys() - captions.keys())
    if not any(found.values()):
        raise ValueError(
            f"{root} holds captions, but of no picture that is there. Expected:{LAYOUT[data]}"
        )
    notes = [_note(kind, names) for kind, names in problems.items() if names]
    return found, notes


def _captions_by_picture(captions, problems):
    """The captions as words, in a dict from a picture's name to a list."""
    found = defaultdict(list)
    known = set()
    for key, name, text in captions:
        if not isinstance(text, str):
            problems["captions that are no text"].append(name)
            continue
        words = " ".join(words_of(text))
        if not words:
            problems["captions without words"].append(name)
        elif key in known:
            problems["captions that came before"].append(name)
        else:
            found[name].append(words)
        known.add(key)
    return found


def _find_pictures(root, folders):
    """The JPEG files in these folders below the root, in a dict from a name to a path."""
    pictures = {}
    for folder in folders:
        for file in (root / folder).glob("*.*"):
            if file.suffix.lower() in (".jpg", ".jpeg"):
                pictures[picture_name(file.relative_to(root).as_posix())] = file
    return pictures


def _note(kind, names):
    """One line: how many have this fault, what it is, and the first names."""
    different = list(dict.fromkeys(names))
    shown = ", ".join(different[:NAMES_SHOWN])
    more = len(different) - NAMES_SHOWN
    if more > 0:
        shown += f" and {more:,} more"
    return f"{len(names):,} {kind}: {shown}"
