"""Flickr8k and COCO as they lie on a disk, whatever is wrong in their files; and a few photographs of our own.

The folder beside this file is laid out as Flickr8k is: 22 photographs (its NOTICE says whose), with captions of ours.
"""

import codecs
import csv
import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

TINY = Path(__file__).with_name("photographs")
SPLITS = ("train", "val", "test")
PICTURES = ("Images", "images", "Flicker8k_Dataset", "Flickr8k_Dataset")
LAYOUT = {
    "flickr8k": """
  DIR/Images/*.jpg                           the pictures (also: images, Flicker8k_Dataset, Flickr8k_Dataset)
  DIR/captions.txt                           "image,caption" in the first line, then a picture and a caption a line,
  DIR/Flickr8k.token.txt                     ... or this: PICTURE#0, a tab, a caption
  DIR/Flickr_8k.{train,dev,test}Images.txt   optional: the pictures of each split, a name a line
  DIR/dataset_flickr8k.json                  optional: Karpathy's, used instead of all these
The text files may also lie in DIR/Flickr8k_text.""",
    "coco": """
  DIR/train2017/*.jpg, DIR/val2017/*.jpg     the pictures
  DIR/annotations/captions_{train,val}2017.json
  DIR/dataset_coco.json                      optional: Karpathy's, used instead of the annotations""",
}


@dataclass(frozen=True)
class Photograph:
    """A picture on the disk; ``name`` is its path below the root, ``captions`` are words with a space between."""

    name: str
    path: Path
    captions: tuple[str, ...]


def words_of(text):
    """The words of a caption: in small letters, runs of letters, digits and apostrophes; all else only separates."""
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text.lower().replace("’", "'"))


def vocabulary(photographs, min_count=5):
    """The words, sorted, that come at least ``min_count`` times in all captions. ValueError if there are none."""
    counts = Counter(
        word for photograph in photographs for text in photograph.captions for word in text.split()
    )
    common = sorted(word for word, count in counts.items() if count >= min_count)
    if not common:
        raise ValueError(
            f"no word comes {min_count} times in the captions of {len(photographs)} photographs: "
            "take a smaller minimum count"
        )
    return common


def load_photographs(data, root):
    """The photographs of each split, as lists in a dict, and notes: one line a kind of fault in the files, counted.

    ``data`` is ``flickr8k`` or ``coco``, ``root`` the folder that it lies in. Splits that no file gives come from the
    names: of Flickr8k an eighth each is ``val`` and ``test``; of COCO a 24th of train2017 is ``val``, and val2017 is
    ``test``. Raises ValueError, which shows the layout, when files are missing or of another kind.
    """
    if data not in LAYOUT:
        raise ValueError(f"unknown data {data!r}: choose {' or '.join(LAYOUT)}")
    root, problems = Path(root), defaultdict(list)
    try:
        rows, splits, folders = (_flickr8k if data == "flickr8k" else _coco)(root, problems)
    except (FileNotFoundError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{root} does not hold {data} as expected ({type(error).__name__}: {error}):{LAYOUT[data]}"
        ) from error
    captions, known = defaultdict(list), set()
    for key, name, text in rows:
        words = " ".join(words_of(text))
        if key in known or not words:
            problems["captions that came before" if words else "captions without words"].append(
                name
            )
        else:
            captions[name].append(words)
        known.add(key)
    there = {
        file.relative_to(root).as_posix()
        for folder in folders
        for file in (root / folder).glob("*.*")
        if file.suffix.lower() in (".jpg", ".jpeg")
    }
    found = {split: [] for split in SPLITS}
    for name, texts in sorted(captions.items()):
        if name not in there:
            problems["pictures with captions that are not there"].append(name)
        elif splits.get(name) not in found:
            problems["pictures in no split"].append(name)
        else:
            found[splits[name]].append(Photograph(name, root / name, tuple(texts)))
    problems["pictures without captions"] += sorted(there - captions.keys())
    if not any(found.values()):
        raise ValueError(
            f"{root} holds captions, but of no picture that is there. Expected:{LAYOUT[data]}"
        )
    return found, [
        f"{len(names):,} {kind} (the first: {names[0]})"
        for kind, names in problems.items()
        if names
    ]


def _flickr8k(root, problems):
    """Rows (unique key, picture, caption), the split of each picture, and the folders of pictures."""
    places = (root, root / "Flickr8k_text")
    texts = {file.name: file for place in places if place.is_dir() for file in place.iterdir()}
    folder = next((name for name in PICTURES if (root / name).is_dir()), ".")

    def named(name):
        return Path(folder, name.strip()).as_posix()

    if "dataset_flickr8k.json" in texts:
        rows, splits = _karpathy(
            texts["dataset_flickr8k.json"], problems, lambda entry: named(entry["filename"])
        )
        return rows, splits, [folder]
    if "captions.txt" in texts:
        first, *lines = _lines(texts["captions.txt"], problems)
        if first.replace(" ", "").lower() != "image,caption":
            raise ValueError(
                f"the first line of captions.txt must be image,caption and is {first[:40]!r}"
            )
        # line by line: a quotation mark that nobody closed must not swallow the lines after it
        fields = [[line, *next(csv.reader([line]))] for line in lines]
        rows = [(line, named(name), ",".join(text)) for line, name, *text in fields]
    elif "Flickr8k.token.txt" in texts:
        fields = [line.partition("\t") for line in _lines(texts["Flickr8k.token.txt"], problems)]
        rows = [(key, named(key.rpartition("#")[0]), text) for key, _, text in fields]
    else:
        raise FileNotFoundError("neither captions.txt nor Flickr8k.token.txt is there")
    splits = {}
    for split, part in zip(SPLITS, ("train", "dev", "test"), strict=True):
        file = texts.get(f"Flickr_8k.{part}Images.txt")
        for name in _lines(file, problems) if file else ():
            if splits.setdefault(named(name), split) != split:
                problems["pictures in two splits, and now only in the first"].append(name)
    if not splits:
        splits = {
            name: ("test", "val", *["train"] * 6)[crc32(name.encode()) % 8] for _, name, _ in rows
        }
        problems["pictures without a file that splits them: an eighth each is val and test"] += (
            splits
        )
    return rows, splits, [folder]


def _coco(root, problems):
    """As _flickr8k."""
    folders = [
        folder
        for folder in ("train2017", "val2017", "train2014", "val2014")
        if (root / folder).is_dir()
    ]
    if (root / "dataset_coco.json").is_file():

        def place(
            entry,
        ):  # the pictures of 2014 have longer names in 2017, and may be in the other folder
            choices = [f"{entry['filepath']}/{entry['filename']}"]
            choices += [
                f"{folder}/{entry['cocoid']:012}.jpg" for folder in ("train2017", "val2017")
            ]
            return next((choice for choice in choices if (root / choice).is_file()), choices[0])

        return *_karpathy(root / "dataset_coco.json", problems, place), folders
    rows, splits = [], {}
    for part in ("train", "val"):
        truth = json.loads(_text(root / "annotations" / f"captions_{part}2017.json", problems))
        names = {}
        for image in truth["images"]:
            if image["id"] in names:
                problems["pictures that came before"].append(image["file_name"])
            name = names.setdefault(image["id"], f"{part}2017/{image['file_name']}")
            splits[name] = (
                "test" if part == "val" else "train" if crc32(name.encode()) % 24 else "val"
            )
        rows += [
            (
                note["id"],
                names.get(note["image_id"], f"picture {note['image_id']}"),
                note["caption"],
            )
            for note in truth["annotations"]
        ]
    return rows, splits, folders


def _karpathy(file, problems, place):
    """Rows and splits of the JSON of Karpathy and Fei-Fei (2015); ``place(entry)`` is where the picture lies."""
    rows, splits = [], {}
    for entry in json.loads(_text(file, problems))["images"]:
        name = place(entry)
        if name in splits:
            problems["pictures that came before"].append(name)
        splits.setdefault(name, {"restval": "train"}.get(entry["split"], entry["split"]))
        rows += [(sentence["sentid"], name, sentence["raw"]) for sentence in entry["sentences"]]
    return rows, splits


def _text(file, problems):
    """The text of a file. What is no UTF-8 in it is read as Windows-1252, byte by byte, and noted."""

    def repair(error):
        problems["bytes that are not UTF-8, read as Windows-1252"].append(
            f"{file.name}, byte {error.start + 1}"
        )
        return error.object[error.start : error.start + 1].decode(
            "cp1252", "replace"
        ), error.start + 1

    codecs.register_error("mmcourse", repair)
    return file.read_bytes().decode("utf-8-sig", "mmcourse")


def _lines(file, problems):
    """The lines of a file that are not empty, whichever way they end."""
    return [line for line in re.split(r"[\r\n]+", _text(file, problems)) if line.strip()]
