"""The files of COCO's captions: those of 2017, or Karpathy's splits of 2014."""

from zlib import crc32

from mmcourse.data.annotations import (
    Annotations,
    CaptionEntry,
    fields,
    picture_name,
    read_json,
    read_karpathy,
)

LAYOUT = """
  DIR/train2017/*.jpg, DIR/val2017/*.jpg     the pictures
  DIR/annotations/captions_{train,val}2017.json
  DIR/dataset_coco.json                      optional: Karpathy's, instead of the annotations"""
FOLDERS = ("train2017", "val2017", "train2014", "val2014")


def read_coco(root, problems):
    """The :class:`~mmcourse.data.annotations.Annotations` in a folder.

    Raises FileNotFoundError where a file is missing, ValueError, KeyError or TypeError where it has
    another form.
    """
    folders = [folder for folder in FOLDERS if (root / folder).is_dir()]
    karpathy = root / "dataset_coco.json"
    if karpathy.is_file():
        captions, splits = read_karpathy(
            karpathy,
            problems,
            lambda *where: _find(root, *where),
            filepath=str,
            filename=str,
            cocoid=int,
        )
        return Annotations(captions, splits, folders)
    captions = []
    splits = {}
    for part in ("train", "val"):
        truth = read_json(root / "annotations" / f"captions_{part}2017.json", problems)
        names = _names_by_id(truth["images"], f"{part}2017", problems)
        splits |= {name: _split(part, name) for name in names.values()}
        captions += _captions(truth["annotations"], names, problems)
    return Annotations(captions, splits, folders)


def _find(root, folder, file_name, number):
    """The name of a picture: those of 2014 are longer, and may lie in the other folder of 2017."""
    original = picture_name(folder, file_name)
    choices = [original, f"train2017/{number:012}.jpg", f"val2017/{number:012}.jpg"]
    for choice in choices:
        if (root / choice).is_file():
            return choice
    return original


def _names_by_id(images, folder, problems):
    """The name of each picture, by its number."""
    names = {}
    for number, image in enumerate(images, start=1):
        known = fields(image, id=int, file_name=str)
        if known is None:
            problems["pictures without a number or a file name"].append(f"{folder}, entry {number}")
            continue
        key, file_name = known
        if key in names:
            problems["pictures that came before"].append(file_name)
        else:
            names[key] = picture_name(folder, file_name)
    return names


def _captions(notes, names, problems):
    """The captions of one file, with the names of their pictures."""
    captions = []
    for number, note in enumerate(notes, start=1):
        known = fields(note, id=int, image_id=int)
        if known is None:
            problems["captions without a number or a picture"].append(f"annotation {number}")
            continue
        key, picture = known
        name = names.get(picture, f"picture {picture}")
        captions.append(CaptionEntry(key, name, note.get("caption")))
    return captions


def _split(part, name):
    """COCO's val is our test; of its train, a 24th by name is our val."""
    if part == "val":
        return "test"
    return "train" if crc32(name.encode()) % 24 else "val"
