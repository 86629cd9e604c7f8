"""Files that come in: notebooks, what is not a notebook, and the folders of students."""

import datetime
import json
import time
import unicodedata

import nbformat
import pytest

from tools.classroom import grading, submissions
from tools.classroom.assignments import answers_in
from tools.classroom.rebuilding import rebuild

HEAD = '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": '
BROKEN = {
    "": "not a notebook",
    "no JSON": "not a notebook",
    "[1]": "not a notebook",
    "{}": "not a notebook",
    '{"nbformat": 4, "cells": 3}': "not a notebook",
    HEAD + '[{"a": 1}]}': "not a notebook",
    HEAD + "[]}": "no cells",
}


@pytest.mark.parametrize("text, why", BROKEN.items())
def test_files_that_are_no_notebooks(text, why, tmp_path):
    (tmp_path / "A1.ipynb").write_text(text, encoding="utf-8")
    notebook, said = submissions.read_submission(tmp_path / "A1.ipynb")
    assert notebook is None and why in said


def test_odd_cells_are_read_as_far_as_can_be(source, empty, tmp_path):
    odd = [
        {"source": None, "metadata": {}, "id": 3},
        {"source": {"a": 1}, "metadata": {"nbgrader": 3}, "id": "b"},
        {"source": "pass", "metadata": {"nbgrader": {"grade_id": [1]}}, "id": "c"},
    ]
    cells = json.dumps([{"cell_type": "code"} | cell for cell in odd])
    (tmp_path / "A1.ipynb").write_text(HEAD + cells + "}", encoding="utf-8")
    submitted, why = submissions.read_submission(tmp_path / "A1.ipynb")
    assert why == "" and answers_in(rebuild(source, empty, submitted)[0]) == answers_in(empty)
    text = json.dumps(
        [{"cell_type": "code", "source": "import numpy as np", "metadata": {}, "id": ["b"]}]
    )
    # before minor version 5 an id means nothing, and may be anything
    (tmp_path / "A1.ipynb").write_text(
        HEAD.replace('minor": 5', 'minor": 4') + text + "}", encoding="utf-8"
    )
    submitted, why = submissions.read_submission(tmp_path / "A1.ipynb")
    assert why == "" and answers_in(rebuild(source, empty, submitted)[0]) == answers_in(empty)


def test_a_mark_of_the_encoding_is_read_over(empty, tmp_path):
    (tmp_path / "A1.ipynb").write_text(
        nbformat.writes(empty), encoding="utf-8-sig"
    )  # as some editors save it
    assert submissions.read_submission(tmp_path / "A1.ipynb") == (empty, "")


def test_a_huge_file_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(submissions, "LARGEST", 10)
    (tmp_path / "A1.ipynb").write_text("x" * 11)
    assert "clear its outputs" in submissions.read_submission(tmp_path / "A1.ipynb")[1]


def test_students_are_folders_and_the_newest_file_counts(tmp_path):
    for form in ("NFC", "NFD"):
        folder = tmp_path / (unicodedata.normalize(form, "Zoë Å") + " " * (form == "NFD"))
        folder.mkdir()
        (folder / f"{form}.ipynb").write_text("")
        (folder / "timestamp.txt").write_text(
            "2026-10-05 10:00" if form == "NFD" else "2026-10-04 10:00:00 CET"
        )
    found = submissions.collect(tmp_path)
    assert list(found) == [unicodedata.normalize("NFC", "Zoë Å")]
    assert [path.name for path in found[unicodedata.normalize("NFC", "Zoë Å")]] == [
        "NFC.ipynb",
        "NFD.ipynb",
    ]


def test_hidden_folders_and_checkpoints_are_no_submissions(tmp_path):
    for file in ("ana/a.ipynb", "ana/.ipynb_checkpoints/a-checkpoint.ipynb", ".git/x.ipynb"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("")
    assert submissions.collect(tmp_path) == {"ana": [tmp_path / "ana" / "a.ipynb"]}


def test_a_missing_or_empty_inbox(tmp_path):
    with pytest.raises(SystemExit, match="There is no folder"):
        grading.grade(tmp_path, "A1")
    (tmp_path / "inbox" / "A1").mkdir(parents=True)
    with pytest.raises(SystemExit, match="holds no student"):
        grading.grade(tmp_path, "A1")
    with pytest.raises(SystemExit, match="There is no assignment A9; there are A1"):
        grading.grade(tmp_path, "A9")


def test_times_of_the_exchange_are_utc(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")  # a teacher nine hours ahead
        time.tzset()
        (tmp_path / "timestamp.txt").write_text("2026-10-05 10:00:00.25 UTC\n")
        assert submissions.when(tmp_path / "A1.ipynb") == datetime.datetime(2026, 10, 5, 19)
    time.tzset()
