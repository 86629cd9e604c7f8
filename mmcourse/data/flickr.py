"""The files of Flickr8k, in any of the three forms in which people have them."""

import csv
import re
from zlib import crc32

from mmcourse.data.annotations import (
    Annotations,
    CaptionEntry,
    picture_name,
    read_karpathy,
    read_lines,
)

LAYOUT = """
  DIR/Images/*.jpg                           the pictures (also: images, Flicker8k_Dataset,
                                             Flickr8k_Dataset)
  DIR/captions.txt                           "image,caption" in the first line, then a picture
                                             and a caption a line,
  DIR/Flickr8k.token.txt                     ... or this: PICTURE#0, a tab, a caption
  DIR/Flickr_8k.{train,dev,test}Images.txt   optional: the pictures of each split, a name a line
  DIR/dataset_flickr8k.json                  optional: Karpathy's, used instead of all these
The text files may also lie in DIR/Flickr8k_text."""
FOLDERS = ("Images", "images", "Flicker8k_Dataset", "Flickr8k_Dataset")
SPLIT_FILES = {
    "train": "Flickr_8k.trainImages.txt",
    "val": "Flickr_8k.devImages.txt",
    "test": "Flickr_8k.testImages.txt",
}
# a picture's name, quoted or not, and then a comma or nothing
NEW_RECORD = re.compile(r"[^,]*\.jpe?g\"?\s*(,|$)", re.IGNORECASE)


def read_flickr8k(root, problems):
    """The :class:`~mmcourse.data.annotations.Annotations` in a folder.

    Raises FileNotFoundError where it holds no captions, ValueError, KeyError or TypeError where
    they have another form.
    """
    files = {}
    for folder in (root, root / "Flickr8k_text"):
        if folder.is_dir():
            files |= {file.name: file for file in folder.iterdir()}
    folder = "."
    for name in reversed(FOLDERS):
        if (root / name).is_dir():
            folder = name
    if "dataset_flickr8k.json" in files:
        captions, splits = read_karpathy(
            files["dataset_flickr8k.json"],
            problems,
            lambda name: picture_name(folder, name),
            filename=str,
        )
        return Annotations(captions, splits, [folder])
    if "captions.txt" in files:
        captions = _read_csv(files["captions.txt"], folder, problems)
    elif "Flickr8k.token.txt" in files:
        captions = _read_tokens(files["Flickr8k.token.txt"], folder, problems)
    else:
        raise FileNotFoundError("neither captions.txt nor Flickr8k.token.txt is there")
    splits = _read_splits(files, folder, problems)
    if not splits:
        splits = {caption.picture: split_by_name(caption.picture) for caption in captions}
        kind = "pictures without a file that splits them: an eighth each is val and test"
        problems[kind] += splits
    return Annotations(captions, splits, [folder])


def split_by_name(name):
    """A split that depends on the name alone: an eighth of all names each is val and test."""
    eighth = crc32(name.encode()) % 8
    return {0: "test", 1: "val"}.get(eighth, "train")


def _read_csv(file, folder, problems):
    """The captions of captions.txt."""
    first, *lines = read_lines(file, problems)
    if first.replace(" ", "").lower() != "image,caption":
        raise ValueError(
            f"the first line of captions.txt must be image,caption and is {first[:40]!r}"
        )
    captions = []
    for record in _records(lines):
        name, *text = next(csv.reader([record]))
        captions.append(CaptionEntry(record, picture_name(folder, name), ",".join(text)))
    return captions


def _records(lines):
    """The lines, those of one quoted caption joined.

    A caption goes on in the next line while its quotation mark is open, but never into a line that
    begins with a picture: a mark that nobody closed must not swallow the captions after it.
    """
    records = []
    is_open = False
    for line in lines:
        if is_open and not NEW_RECORD.match(line):
            records[-1] += "\n" + line
        else:
            records.append(line)
        _, _, caption = records[-1].partition(",")
        is_open = caption.startswith('"') and caption.count('"') % 2 == 1
    return records


def _read_tokens(file, folder, problems):
    """The captions of Flickr8k.token.txt."""
    captions = []
    for line in read_lines(file, problems):
        key, _, text = line.partition("\t")
        name, _, _ = key.rpartition("#")
        captions.append(CaptionEntry(key, picture_name(folder, name), text))
    return captions


def _read_splits(files, folder, problems):
    """The split of each picture that a file names, as a dict."""
    splits = {}
    for split, file_name in SPLIT_FILES.items():
        if file_name not in files:
            continue
        for line in read_lines(files[file_name], problems):
            name = picture_name(folder, line)
            if splits.setdefault(name, split) != split:
                problems["pictures in two splits, and now only in the first"].append(line)
    return splits
