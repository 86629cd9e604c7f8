"""Captions as people have them: other scripts, bad items among good ones, two lines for one."""

import json
import unicodedata

import numpy as np
import pytest
from PIL import Image

from mmcourse.data.captioned import load_photographs, vocabulary, words_of

NAMES = ["0.jpg", "1.jpg", "2.jpg"]


def pictures(folder, names=NAMES):
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        Image.fromarray(np.full((8, 8, 3), 10 * number, np.uint8)).save(folder / name, "JPEG")


def flickr8k(root, lines, names=NAMES):
    """captions.txt with these lines, and pictures, all in one split."""
    pictures(root / "Images", names)
    text = "\n".join(["image,caption", *lines]) + "\n"
    (root / "captions.txt").write_text(text, encoding="utf-8")
    (root / "Flickr_8k.trainImages.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    return root


def captions_of(root, data="flickr8k"):
    """All captions by the name of the picture's file, and the notes."""
    found, notes = load_photographs(data, root)
    return {one.path.name: one.captions for part in found.values() for one in part}, notes


# Words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, words",
    [
        ("Un CAFÉ, là-bas", ["un", "café", "là", "bas"]),
        ("हिन्दी में कुत्ता।", ["हिन्दी", "में", "कुत्ता"]),  # vowel signs are marks
        ("தமிழ் நாய்", ["தமிழ்", "நாய்"]),
        ("كَلْبٌ صَغِيرٌ", ["كَلْبٌ", "صَغِيرٌ"]),
        ("می‌خواهم سگ", ["می‌خواهم", "سگ"]),  # with a non-joiner inside
        ("ด้วยกัน 2 ตัว", ["ด้วยกัน", "2", "ตัว"]),
        ("İstanbul", ["i̇stanbul"]),
        ("a\u200c b", ["a", "b"]),
        ("\u0301 a_b ''c'' d''e", ["a", "b", "c", "d", "e"]),
        ("it's ’n the dogs’", ["it's", "n", "the", "dogs"]),
        ("", []),
    ],
)
def test_a_word_is_unicodes(text, words):
    for form in ("NFC", "NFD"):
        given = unicodedata.normalize(form, text)
        assert words_of(given) == [unicodedata.normalize("NFC", word) for word in words]


def test_both_forms_of_a_word_are_one_in_the_vocabulary(tmp_path):
    lines = ["0.jpg,un café", "1.jpg,deux cafe\u0301"]
    found, _ = load_photographs("flickr8k", flickr8k(tmp_path, lines))
    assert vocabulary(found["train"], 2) == ["café"]


def test_no_photographs_have_no_vocabulary():
    with pytest.raises(ValueError, match="expected photographs with captions, got none"):
        vocabulary([])


# Names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("on_disk, written", [("NFD", "NFC"), ("NFC", "NFD"), ("NFD", "NFD")])
def test_a_picture_is_found_in_either_form_of_its_name(tmp_path, on_disk, written):
    disk, text = (unicodedata.normalize(form, "été.jpg") for form in (on_disk, written))
    root = flickr8k(tmp_path, [f"{text},a dog"], [disk])
    (root / "Flickr_8k.trainImages.txt").write_text(text + "\n", encoding="utf-8")
    found, notes = load_photographs("flickr8k", root)
    (one,) = found["train"]
    assert not notes and one.path.is_file() and one.path == root / one.name


def test_a_dead_link_among_pictures(tmp_path):
    root = flickr8k(tmp_path, ["0.jpg,a dog", "1.jpg,a cat", "2.jpg,a cow"])
    (root / "Images" / "1.jpg").unlink()
    (root / "Images" / "1.jpg").symlink_to(root / "gone.jpg")
    (root / "Images" / "2.jpg").unlink()
    (root / "Images" / "2.jpg").mkdir()
    found, notes = captions_of(root)
    assert found == {"0.jpg": ("a dog",)}
    assert notes == ["2 pictures that are dead links or no files: Images/1.jpg, Images/2.jpg"]


def test_each_of_few_is_named_and_of_many_the_first(tmp_path):
    names = [f"{number}.jpg" for number in range(9)]
    root = flickr8k(tmp_path, [f"{name},{'...' if name != '0.jpg' else 'a dog'}" for name in names])
    _, (note, *_) = captions_of(root)
    first = ", ".join(f"Images/{number}.jpg" for number in range(1, 6))
    assert note == f"8 captions without words: {first} and 3 more"


# Captions over two lines ---------------------------------------------------------------------


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\n\n"])
def test_a_caption_over_several_lines_is_whole(tmp_path, newline):
    lines = [
        f'0.jpg,"a dog, and{newline}a ""big"" cat{newline}run"',
        "1.jpg,a cow",
        f'"2.jpg","one{newline}two"',
    ]
    found, notes = captions_of(flickr8k(tmp_path, lines))
    assert not notes
    assert found == {
        "0.jpg": ("a dog and a big cat run",),
        "1.jpg": ("a cow",),
        "2.jpg": ("one two",),
    }


def test_a_mark_that_nobody_closed_swallows_no_other_picture(tmp_path):
    lines = [
        '0.jpg,"a dog',
        "goes on",
        '"1.jpg",a cow',
        '1.jpg,"a cat',
        "2.JPG.jpg,x",
        "2.jpg,an owl",
    ]
    found, _ = captions_of(flickr8k(tmp_path, lines))
    assert found == {
        "0.jpg": ("a dog goes on",),
        "1.jpg": ("a cow", "a cat"),
        "2.jpg": ("an owl",),
    }


def test_marks_inside_a_caption_open_nothing(tmp_path):
    lines = ['0.jpg,a 5" dog', "and more", "1.jpg,a cow"]
    found, notes = captions_of(flickr8k(tmp_path, lines))
    assert found == {"0.jpg": ("a 5 dog",), "1.jpg": ("a cow",)}
    assert "1 captions without words: Images/and more" in notes


# Items that are not as they should be --------------------------------------------------------


def coco(root):
    """Three pictures with a caption each: what the file for training holds, to be spoiled."""
    pictures(root / "train2017")
    (root / "val2017").mkdir()
    images = [{"id": number, "file_name": name} for number, name in enumerate(NAMES)]
    notes = [{"id": n, "image_id": n, "caption": f"dog {n}"} for n in range(len(NAMES))]
    (root / "annotations").mkdir()
    empty = {"images": [], "annotations": []}
    (root / "annotations" / "captions_val2017.json").write_text(json.dumps(empty))
    return {"images": images, "annotations": notes}


@pytest.mark.parametrize(
    "spoil, note",
    [
        (
            lambda t: t["annotations"][0].update(caption=None),
            "captions that are no text: train2017/0",
        ),
        (lambda t: t["annotations"][0].update(caption=7), "captions that are no text: train2017/0"),
        (lambda t: t["annotations"][0].pop("caption"), "captions that are no text: train2017/0"),
        (
            lambda t: t["annotations"][0].pop("image_id"),
            "without a number or a picture: annotation 1",
        ),
        (lambda t: t["annotations"].insert(0, None), "without a number or a picture: annotation 1"),
        (
            lambda t: t["images"][0].update(file_name=None),
            "without a number or a file name: train2017",
        ),
        (lambda t: t["images"].insert(1, "2.jpg"), "a file name: train2017, entry 2"),
    ],
)
def test_coco_with_one_bad_item(tmp_path, spoil, note):
    truth = coco(tmp_path)
    spoil(truth)
    (tmp_path / "annotations" / "captions_train2017.json").write_text(json.dumps(truth))
    found, notes = captions_of(tmp_path, "coco")
    assert {"1.jpg", "2.jpg"} <= set(found)
    assert any(note in line for line in notes)


@pytest.mark.parametrize(
    "spoil, note",
    [
        (lambda e: e["sentences"][0].update(raw=None), "captions that are no text: Images/0.jpg"),
        (lambda e: e["sentences"].insert(0, None), "sentences without a number: Images/0.jpg"),
        (lambda e: e.update(filename=None), "a split or sentences: entry 1"),
        (lambda e: e.pop("split"), "a split or sentences: entry 1"),
        (lambda e: e.update(sentences="none"), "a split or sentences: entry 1"),
    ],
)
def test_karpathys_json_with_one_bad_item(tmp_path, spoil, note):
    pictures(tmp_path / "Images")
    entries = []
    for number, name in enumerate(NAMES):
        sentences = [{"sentid": number, "raw": f"dog {number}"}]
        entries.append({"filename": name, "split": "train", "sentences": sentences})
    spoil(entries[0])
    (tmp_path / "dataset_flickr8k.json").write_text(json.dumps({"images": entries}))
    found, notes = captions_of(tmp_path)
    assert {"1.jpg", "2.jpg"} <= set(found)
    assert any(note in line for line in notes)
