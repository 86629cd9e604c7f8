"""Where studies are stored: what comes back, and that a file is whole or as it was."""

import json
import os

import pytest

from mmcourse.recipes import stored


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "FOLDER", tmp_path / "measured")
    return tmp_path / "measured"


@pytest.mark.parametrize("found", [{"a": "猫"}, {"rows": [{"x": [1, 2]}, {"x": []}], "a": 1.5}])
def test_what_is_stored_comes_back(folder, found):
    stored.write_study("kind_name", found)
    assert stored.read_study("kind_name") == found
    assert os.listdir(folder) == ["kind_name.json"]


def test_a_row_is_a_line_and_words_stay_readable(folder):
    stored.write_study("kind_name", {"rows": [{"x": [1, 2], "y": "猫"}, {"x": 3}], "a": 1})
    lines = (folder / "kind_name.json").read_text(encoding="utf-8").splitlines()
    assert '  {"x": [1, 2], "y": "猫"},' in lines and '  {"x": 3}' in lines


def test_a_study_that_cannot_be_written_leaves_the_one_before(folder, monkeypatch):
    stored.write_study("kind_name", {"a": 1})

    def full(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="could not write"):
        stored.write_study("kind_name", {"a": 2})
    assert stored.read_study("kind_name") == {"a": 1}


def test_the_machine_can_be_stored():
    assert set(json.loads(json.dumps(stored.machine()))) == {"machine", "torch"}
