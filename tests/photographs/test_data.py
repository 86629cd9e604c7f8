"""Photographs as people have them: Flickr8k and COCO in their layouts, and what is wrong with such
files.
"""

import json
import shutil

import pytest

from mmcourse.data.captioned import TINY, load_photographs, vocabulary, words_of
from tests.photographs.helpers import NAMES, TEXTS, coco, flickr8k, names_of, picture, split_files


def test_words():
    assert words_of('A man\'s "black-and-white" dog, 2 CATS!  Été ’n the dog’s ') == [
        "a",
        "man's",
        "black",
        "and",
        "white",
        "dog",
        "2",
        "cats",
        "été",
        "n",
        "the",
        "dog's",
    ]


@pytest.mark.parametrize("form", ["captions", "token", "karpathy"])
def test_flickr8k_as_distributed(tmp_path, form):
    flickr8k(tmp_path, form)
    if form != "karpathy":
        split_files(tmp_path, NAMES[::3], NAMES[1::3], NAMES[2::3])
    found, notes = load_photographs("flickr8k", tmp_path)
    assert not notes and names_of(found) == {
        "train": NAMES[::3],
        "val": NAMES[1::3],
        "test": NAMES[2::3],
    }
    for part in found.values():
        for one in part:
            assert (
                one.path == tmp_path / "Images" / one.path.name == tmp_path / one.name
                and one.path.is_file()
            )
            seed = one.path.stem
            assert one.captions == tuple(" ".join(words_of(f"{text} {seed}")) for text in TEXTS)
    assert found["train"][0].captions[:3] == (
        "a dog runs fast 0",
        "the dog's ball is red 0",
        "a big dog jumps 0",
    )


@pytest.mark.parametrize("folder", ["images", "Flicker8k_Dataset", "Flickr8k_Dataset", "."])
def test_other_places(tmp_path, folder):
    flickr8k(tmp_path, "token", folder)
    (tmp_path / "Flickr8k_text").mkdir()
    (tmp_path / "Flickr8k.token.txt").rename(tmp_path / "Flickr8k_text" / "Flickr8k.token.txt")
    found, notes = load_photographs("flickr8k", tmp_path)
    assert sorted(sum(names_of(found).values(), [])) == NAMES
    assert len(notes) == 1 and notes[0].startswith("6 pictures without a file that splits them")


def test_a_split_without_files_depends_on_the_names_alone(tmp_path):
    names = [f"{number}.jpg" for number in range(200)]
    flickr8k(tmp_path, names=names)
    found, _ = load_photographs("flickr8k", tmp_path)
    assert (
        130 < len(found["train"]) < 170
        and 12 < len(found["val"]) < 40
        and 12 < len(found["test"]) < 40
    )
    assert names_of(found)["test"][:3] == ["0.jpg", "1.jpg", "138.jpg"], (
        "on every computer, in every process"
    )
    for one in found["val"][:5]:
        one.path.unlink()
    again, notes = load_photographs("flickr8k", tmp_path)
    assert (
        names_of(again)["test"] == names_of(found)["test"]
        and len(again["val"]) == len(found["val"]) - 5
    )
    assert notes[0].startswith(
        "200 pictures without a file that splits them: an eighth each is val and test: "
    )
    assert notes[1:] == [
        "5 pictures with captions that are not there: "
        + ", ".join(one.name for one in found["val"][:5])
    ]


def test_karpathys_split_wins_over_the_other_files(tmp_path):
    flickr8k(flickr8k(tmp_path, "captions"), "karpathy")
    split_files(tmp_path, NAMES, [], [])
    assert names_of(load_photographs("flickr8k", tmp_path)[0])["val"] == NAMES[1::3]


@pytest.mark.parametrize("karpathy", [False, True])
def test_coco(tmp_path, karpathy):
    coco(tmp_path, karpathy)
    found, notes = load_photographs("coco", tmp_path)
    everything = [one for part in found.values() for one in part]
    assert len(everything) == 40 and not notes
    assert all(one.path.is_file() and len(one.captions) == 5 for one in everything)
    if karpathy:
        assert [len(found[split]) for split in found] == [20, 10, 10]
        assert found["val"][1].path == tmp_path / "train2017" / "000000000006.jpg"
    else:
        assert names_of(found)["test"] == [f"{number:012}.jpg" for number in range(36, 40)]
        assert 0 < len(found["val"]) < 6
        assert set(found["test"][0].captions) == {
            " ".join(words_of(f"{text} 36")) for text in TEXTS
        }


def test_missing_files_show_the_layout(tmp_path):
    for data, piece in (("flickr8k", "DIR/captions.txt"), ("coco", "DIR/annotations/captions_")):
        with pytest.raises(ValueError, match=f"does not hold {data} as expected") as error:
            load_photographs(data, tmp_path / "nowhere")
        assert piece in str(error.value)
    with pytest.raises(ValueError, match="unknown data 'flickr30k': choose flickr8k or coco"):
        load_photographs("flickr30k", tmp_path)
    flickr8k(tmp_path)
    shutil.rmtree(tmp_path / "Images")
    with pytest.raises(ValueError, match="captions, but of no picture that is there") as error:
        load_photographs("flickr8k", tmp_path)
    assert "DIR/Images/" in str(error.value)
    (tmp_path / "captions.txt").write_text("image_name| comment_number| comment\n")
    with pytest.raises(ValueError, match="must be image,caption and is 'image_name|"):
        load_photographs("flickr8k", tmp_path)
    for text, kind in (
        ('{"images": [{"file', "JSONDecodeError"),
        ("[]", "TypeError"),
        ("{}", "KeyError"),
    ):
        (tmp_path / "dataset_flickr8k.json").write_text(text)
        with pytest.raises(ValueError, match=f"does not hold flickr8k as expected .{kind}"):
            load_photographs("flickr8k", tmp_path)


def faulty(tmp_path, change, form="captions"):
    """The notes, and all photographs by name, after a change of the caption file's bytes."""
    split_files(flickr8k(tmp_path, form), NAMES[:4], NAMES[4:5], NAMES[5:])
    file = tmp_path / ("captions.txt" if form == "captions" else "Flickr8k.token.txt")
    file.write_bytes(change(file.read_bytes()))
    found, notes = load_photographs("flickr8k", tmp_path)
    return notes, {one.path.name: one for part in found.values() for one in part}


WAYS = {
    "BOM": lambda raw: b"\xef\xbb\xbf" + raw,
    "CRLF": lambda raw: raw.replace(b"\n", b"\r\n"),
    "CR": lambda raw: raw.replace(b"\n", b"\r"),
    "BOM and CRLF": lambda raw: b"\xef\xbb\xbf" + raw.replace(b"\n", b"\r\n"),
    "empty lines": lambda raw: raw.replace(b"\n", b"\n\n"),
    "spelling": lambda raw: raw.replace(b"image,caption", b"Image, Caption"),
    "no last newline": lambda raw: raw.rstrip(b"\n"),
}


@pytest.mark.parametrize("change", WAYS.values(), ids=WAYS)
def test_ways_to_write_a_csv(tmp_path, change):
    notes, found = faulty(tmp_path, change)
    assert not notes and sorted(found) == NAMES
    assert found["4.jpg"].captions == tuple(" ".join(words_of(f"{text} 4")) for text in TEXTS)


def test_commas_and_quotation_marks(tmp_path):
    lines = (
        b"0.jpg,One, two, three dogs\n"
        b'0.jpg,"One, ""two"" dogs"\n'
        b'0.jpg,"A dog nobody closes\n'
        b'"1.jpg",After it .\n'
    )
    notes, found = faulty(tmp_path, lambda raw: raw + lines)
    assert not notes
    assert found["0.jpg"].captions[5:] == (
        "one two three dogs",
        "one two dogs",
        "a dog nobody closes",
    )
    assert found["1.jpg"].captions[5:] == ("after it",)


def test_bytes_that_are_not_utf8(tmp_path):
    lines = (
        "0.jpg,a caf\u00e9\n".encode()
        + b"1.jpg,a caf\xe9 \x93red\x94 \xff\n2.jpg,the caf\xe9\x92s dog\n"
    )
    notes, found = faulty(tmp_path, lambda raw: raw + lines)
    assert found["0.jpg"].captions[5] == "a café" and found["1.jpg"].captions[5] == "a café red ÿ"
    assert found["2.jpg"].captions[5] == "the café's dog", "two bytes that begin like UTF-8"
    (note,) = notes
    assert note.startswith(
        "6 bytes that are not UTF-8, read as Windows-1252: captions.txt at byte "
    )


def test_captions_and_pictures_that_do_not_meet(tmp_path):
    lines = b"none.jpg,a dog\nnone.jpg,two dogs\n2.jpg,...\n3.jpg\n0.jpg,a dog\n0.jpg,a dog\n"
    picture(tmp_path / "Images" / "alone.JPG")
    notes, found = faulty(tmp_path, lambda raw: raw + lines)
    assert sorted(found) == NAMES and [len(found[name].captions) for name in NAMES] == [
        6,
        5,
        5,
        5,
        5,
        5,
    ]
    assert sorted(notes) == [
        "1 captions that came before: Images/0.jpg",
        "1 pictures with captions that are not there: Images/none.jpg",
        "1 pictures without captions: Images/alone.JPG",
        "2 captions without words: Images/2.jpg, Images/3.jpg",
    ]


def test_ids_that_come_twice(tmp_path):
    lines = b"0.jpg#0\ta second caption of one id\n9.jpg.1#0\tno file\n9#b.jpg#0\tnor this\n"
    notes, found = faulty(tmp_path, lambda raw: raw + lines, "token")
    assert found["0.jpg"].captions == tuple(" ".join(words_of(f"{text} 0")) for text in TEXTS)
    assert sorted(notes) == [
        "1 captions that came before: Images/0.jpg",
        "2 pictures with captions that are not there: Images/9#b.jpg, Images/9.jpg.1",
    ]


def test_pictures_in_two_splits_or_none(tmp_path):
    flickr8k(tmp_path)
    split_files(tmp_path, NAMES[:3], NAMES[2:4], NAMES[4:5])
    found, notes = load_photographs("flickr8k", tmp_path)
    assert names_of(found) == {"train": NAMES[:3], "val": NAMES[3:4], "test": NAMES[4:5]}
    assert sorted(notes) == [
        "1 pictures in no split: Images/5.jpg",
        "1 pictures in two splits, and now only in the first: 2.jpg",
    ]


def test_coco_ids_that_come_twice(tmp_path):
    file = coco(tmp_path) / "annotations" / "captions_train2017.json"
    truth = json.loads(file.read_text())
    truth["images"].append({"id": 3, "file_name": "other.jpg"})
    truth["annotations"] += [
        truth["annotations"][0],
        {"id": 9000, "image_id": 777, "caption": "nowhere"},
    ]
    file.write_text(json.dumps(truth))
    found, notes = load_photographs("coco", tmp_path)
    assert [len(one.captions) for part in found.values() for one in part] == [5] * 40
    assert sorted(notes) == [
        "1 captions that came before: train2017/000000000035.jpg",
        "1 pictures that came before: other.jpg",
        "1 pictures with captions that are not there: picture 777",
    ]


def test_karpathys_pictures_that_come_twice(tmp_path):
    file = flickr8k(tmp_path, "karpathy") / "dataset_flickr8k.json"
    truth = json.loads(file.read_text())
    truth["images"].append(truth["images"][0] | {"split": "test"})
    file.write_text(json.dumps(truth))
    found, notes = load_photographs("flickr8k", tmp_path)
    assert NAMES[0] in names_of(found)["train"] and NAMES[0] not in names_of(found)["test"]
    assert "1 pictures that came before: Images/0.jpg" in notes


def test_vocabulary(tmp_path):
    found, _ = load_photographs("flickr8k", flickr8k(tmp_path))
    everything = [one for part in found.values() for one in part]
    assert vocabulary(everything, 6)[:4] == ["a", "ball", "big", "brown"] and "3" not in vocabulary(
        everything, 6
    )
    assert "3" in vocabulary(everything, 5) and vocabulary(everything, 18) == ["a", "dog"]
    with pytest.raises(
        ValueError, match="no word comes 1000 times in the captions of 6 photographs"
    ):
        vocabulary(everything, 1000)


def test_the_photographs_of_the_course():
    found, notes = load_photographs("flickr8k", TINY)
    assert not notes and [len(found[split]) for split in found] == [16, 3, 3]
    assert all(len(one.captions) == 5 for part in found.values() for one in part)
    notice = (TINY / "NOTICE").read_text()
    assert all(f"{one.name} " in notice for part in found.values() for one in part), "whose is it?"
    assert sum(file.stat().st_size for file in TINY.rglob("*") if file.is_file()) < 1e6
