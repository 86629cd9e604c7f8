"""``mmcourse data``: the pictures and their truth."""

import json

import numpy as np
import pytest
from PIL import Image

from mmcourse import cli
from mmcourse.data import EmojiScenes


def test_data(tmp_path):
    folder = tmp_path / "a" / "b"
    given = ["data", "--split", "composition", "--count", "3", "--size", "40"]
    assert cli.main([*given, "--out", str(folder)]) == 0
    lines = (folder / "scenes.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 3
    for index, line in enumerate(lines):
        row = json.loads(line)
        scene = EmojiScenes("composition", 40)[index]
        assert np.array_equal(np.asarray(Image.open(folder / row["picture"])), scene.image)
        assert row["captions"] == scene.captions
        assert row["caption_zh"] == scene.caption_zh
        assert row["background"] == scene.description.background
        assert {tuple(fact) for fact in row["facts"]} == scene.facts
        boxes = [tuple(thing["box"]) for thing in row["objects"]]
        assert boxes == [thing.box for thing in scene.objects]
        assert [foil["false"] for foil in row["foils"]] == [foil.false for foil in scene.foils]
        answers = [question["answer"] for question in row["questions"]]
        assert answers == [question.answer for question in scene.questions]


def test_coco(tmp_path, capsys):
    from pycocotools.coco import COCO

    given = ["data", "--split", "style", "--count", "4", "--size", "48", "--coco"]
    assert cli.main([*given, "--out", str(tmp_path)]) == 0
    assert len((tmp_path / "scenes.jsonl").read_text(encoding="utf-8").splitlines()) == 4
    coco = COCO(str(tmp_path / "instances.json"))
    capsys.readouterr()
    names = {entry["id"]: entry["name"] for entry in coco.loadCats(coco.getCatIds())}
    images = coco.loadImgs(sorted(coco.getImgIds()))
    for index, image in enumerate(images):
        scene = EmojiScenes("style", 48)[index]
        picture = np.asarray(Image.open(tmp_path / image["file_name"]))
        assert picture.shape == (image["height"], image["width"], 3)
        assert np.array_equal(picture, scene.image)
        found = []
        for entry in coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]])):
            x, y, width, height = entry["bbox"]
            assert entry["area"] == width * height and not entry["iscrowd"]
            found.append((names[entry["category_id"]], (x, y, x + width, y + height)))
        assert found == [(thing.noun, thing.box) for thing in scene.objects]


def test_coco_is_written_only_when_asked_for(tmp_path):
    assert cli.main(["data", "--count", "1", "--out", str(tmp_path)]) == 0
    assert not (tmp_path / "instances.json").exists()


def test_instances_count_from_one_in_the_order_of_the_nouns():
    from types import SimpleNamespace

    from mmcourse.data.drawings import nouns
    from mmcourse.data.instances import coco_instances

    thing = SimpleNamespace(noun=nouns()[1].name, box=(1, 2, 5, 4))
    wide = SimpleNamespace(image=np.zeros((6, 9, 3), np.uint8), objects=[thing, thing])
    made = coco_instances([wide, wide], ["a.png", "b.png"])
    assert [entry["id"] for entry in made["categories"]] == list(range(1, len(nouns()) + 1))
    assert [entry["name"] for entry in made["categories"]] == [noun.name for noun in nouns()]
    assert [entry["id"] for entry in made["images"]] == [1, 2]
    assert [entry["id"] for entry in made["annotations"]] == [1, 2, 3, 4]
    assert made["images"][0] | {"width": 9, "height": 6} == made["images"][0]
    assert made["annotations"][0]["bbox"] == [1, 2, 4, 2]
    assert made["annotations"][0]["category_id"] == 2 and made["annotations"][0]["area"] == 8


def test_instances_need_a_name_each():
    from mmcourse.data.instances import coco_instances

    with pytest.raises(ValueError, match="got 1 scenes, 2 names"):
        coco_instances([EmojiScenes()[0]], ["a.png", "b.png"])


@pytest.mark.parametrize("below", [[], ["folder"]])
def test_a_file_in_the_way(tmp_path, complaint, below):
    file = tmp_path / "file"
    file.touch()
    assert cli.main(["data", "--out", str(file.joinpath(*below))]) == 2
    text = f"mmcourse data: --out must be a folder, but {file} is a file: give another name\n"
    assert complaint() == text
