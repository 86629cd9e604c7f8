"""Captions as they stand in files: what the readers of Flickr8k and COCO share.

Whatever is wrong in a file is noted, and the rest is read: ``problems`` maps a kind of fault to the
names of what has it.
"""

import codecs
import json
import re
import unicodedata
from pathlib import Path
from typing import NamedTuple


class CaptionEntry(NamedTuple):
    """One caption of a picture, as it was written."""

    key: object  #: what no other caption of the data set has
    picture: str  #: the name of the picture, see :func:`picture_name`
    text: str  #: ... or anything else that a file may hold in its place


class Annotations(NamedTuple):
    """All that the files of a data set say."""

    captions: list  #: of :class:`CaptionEntry`
    splits: dict  #: from a picture's name to its split
    folders: list  #: where the pictures lie, below the root


def picture_name(*parts):
    """A picture's path below the root, in Unicode's composed form: é is one letter, not two."""
    path = Path(*[part.strip() for part in parts]).as_posix()
    return unicodedata.normalize("NFC", path)


def read_text(file, problems):
    """The text of a file. What is no UTF-8 is read as Windows-1252, byte by byte, and noted."""

    def repair(error):
        place = f"{file.name} at byte {error.start + 1}"
        problems["bytes that are not UTF-8, read as Windows-1252"].append(place)
        byte = error.object[error.start : error.start + 1]
        return byte.decode("cp1252", "replace"), error.start + 1

    codecs.register_error("mmcourse", repair)
    return file.read_bytes().decode("utf-8-sig", "mmcourse")


def read_lines(file, problems):
    """The lines of a file that are not empty, whichever way they end."""
    lines = re.split(r"[\r\n]+", read_text(file, problems))
    return [line for line in lines if line.strip()]


def read_json(file, problems):
    """What a JSON file holds."""
    return json.loads(read_text(file, problems))


def fields(entry, **kinds):
    """The named fields of a JSON object, or None where one is missing or of another kind."""
    if not isinstance(entry, dict):
        return None
    if not all(isinstance(entry.get(name), kind) for name, kind in kinds.items()):
        return None
    return [entry[name] for name in kinds]


def read_karpathy(file, problems, find, **kinds):
    """Captions and splits in the JSON of Karpathy and Fei-Fei (2015).

    ``find`` gives a picture's name; it takes the fields of the picture's entry that ``kinds`` names
    with their types. Raises KeyError or TypeError where the file has another form.
    """
    captions = []
    splits = {}
    for number, entry in enumerate(read_json(file, problems)["images"], start=1):
        where = fields(entry, **kinds)
        rest = fields(entry, split=str, sentences=list)
        if where is None or rest is None:
            problems["entries without a file name, a split or sentences"].append(f"entry {number}")
            continue
        name = find(*where)
        split, sentences = rest
        if name in splits:
            problems["pictures that came before"].append(name)
        splits.setdefault(name, "train" if split == "restval" else split)
        for sentence in sentences:
            known = fields(sentence, sentid=(int, str))
            if known is None:
                problems["sentences without a number"].append(name)
            else:
                captions.append(CaptionEntry(known[0], name, sentence.get("raw")))
    return captions, splits
