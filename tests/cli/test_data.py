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


@pytest.mark.parametrize("below", [[], ["folder"]])
def test_a_file_in_the_way(tmp_path, complaint, below):
    file = tmp_path / "file"
    file.touch()
    assert cli.main(["data", "--out", str(file.joinpath(*below))]) == 2
    text = f"mmcourse data: --out must be a folder, but {file} is a file: give another name\n"
    assert complaint() == text
