"""``mmcourse search``: what it prints, draws and refuses."""

import json

import pytest
import torch
from PIL import Image

from mmcourse import cli
from mmcourse.contrastive import CLIP
from mmcourse.data import EmojiScenes
from mmcourse.data.language import vocabulary


@pytest.fixture(scope="module")
def tower(tmp_path_factory):
    """Folder of a CLIP that has learnt nothing."""
    torch.manual_seed(0)
    sizes = {"width": 8, "heads": 2, "channels": [8, 8, 8], "blocks": [0, 0, 0], "concepts": 3}
    sizes |= {"image_layers": 1, "text_layers": 1, "embedding": 6, "probes": 1}
    folder = tmp_path_factory.mktemp("tower")
    CLIP(vocabulary(), **sizes).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in range(4):
        Image.fromarray(EmojiScenes("val")[index].image).save(folder / f"{index}.png")
    return folder


def test_a_line_for_each_picture_that_was_found(folder, tower, capsys):
    assert cli.main(["search", str(folder), "two red cars", "--model", tower, "--top", "3"]) == 0
    output, error = capsys.readouterr()
    rows = [line.split() for line in output.splitlines()]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    scores = [float(row[1]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert all(row[2].startswith(str(folder)) for row in rows)
    assert "4 pictures encoded, 0 as they were" in error
    assert cli.main(["search", str(folder), "two red cars", "--model", tower]) == 0
    assert "encoded" not in capsys.readouterr().err


def test_a_picture_as_query_and_json(folder, tower, capsys):
    query = str(folder / "2.png")
    assert cli.main(["search", str(folder), query, "--model", tower, "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["rank"] for line in lines] == [1, 2, 3, 4]
    assert lines[0]["picture"] == query and lines[0]["score"] == pytest.approx(1, abs=2e-3)


def test_show_draws_them(folder, tower, tmp_path):
    for name in ("found.png", "found.svg"):
        given = ["search", str(folder), "a cat", "--model", tower, "--show", str(tmp_path / name)]
        assert cli.main(given) == 0
    with Image.open(tmp_path / "found.png") as image:
        assert image.width > 400


def test_words_it_does_not_know_and_pictures_it_cannot_read(folder, tower, capsys):
    (folder / "bad.png").write_bytes(b"no picture")
    assert cli.main(["search", str(folder), "a red zeppelin", "--model", tower]) == 0
    error = capsys.readouterr().err
    assert "left out: zeppelin" in error
    assert "1 picture left out, which cannot be read; the first: bad.png (" in error
    assert str(folder / "bad.png") not in error and "but it is none: convert it" in error


def test_one_picture_is_no_pictures(folder, tower, capsys):
    for index in range(1, 4):
        (folder / f"{index}.png").unlink()
    assert cli.main(["search", str(folder), "a cat", "--model", tower]) == 0
    assert "1 picture encoded, 0 as they were" in capsys.readouterr().err


def test_options_may_stand_anywhere(folder, tower, capsys):
    for given in (["--top", "2", str(folder), "a cat"], [str(folder), "--top", "2", "a cat"]):
        assert cli.main(["search", *given, "--model", tower]) == 0
        assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize(
    "given, complaint_",
    [
        (["{folder}", "  "], "the query is empty"),
        (["{folder}", "a", "red", "ball"], "put the words in quotation marks: mmcourse search "),
        (["{folder}", "a", "red", "ball"], ' "a red ball"'),
        (["{folder}/nowhere", "a cat"], "expected a folder of pictures"),
        (["{folder}", "a cat", "--show", "found.txt"], "--show writes .png"),
        (["{folder}", "a cat", "--model", "nowhere"], "expected a folder, or owner/name"),
        (["{folder}", "a cat", "--model", "scenes"], "SceneCaptioner, which has no space"),
        (["{folder}", "gone.png"], "found no file gone.png"),
        (["{folder}", "xyzzy"], "words that the model knows"),
    ],
)
def test_bad_use(folder, tower, complaint, given, complaint_):
    given = [one.format(folder=folder) for one in given]
    if "--model" not in given:
        given += ["--model", tower]
    assert cli.main(["search", *given]) == 2
    assert complaint_ in complaint()


def test_a_folder_without_pictures(tmp_path, tower, complaint):
    assert cli.main(["search", str(tmp_path), "a cat", "--model", tower]) == 2
    assert "found no pictures" in complaint()


def test_captions_need_a_captioner(folder, tower, complaint):
    assert cli.main(["caption", str(folder / "0.png"), "--model", tower]) == 2
    assert "is a CLIP and writes no captions" in complaint()
