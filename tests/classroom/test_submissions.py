"""Files that come in: notebooks, what is not a notebook, and the folders of students."""

import json
import os
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
            "2026-10-05 10:00" if form == "NFD" else "2026-10-04T10:00:00+01:00"
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


@pytest.fixture
def tokyo(monkeypatch):
    """A teacher nine hours ahead."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_times_of_the_exchange_are_utc(tmp_path, tokyo):
    (tmp_path / "timestamp.txt").write_text("2026-10-05 10:00:00.25 UTC\n")
    moment, problem = submissions.when(tmp_path / "A1.ipynb")
    assert submissions.in_words(moment) == "2026-10-05 19:00:00 JST" and problem == ""


def test_a_due_date_is_iso_8601_and_local(tokyo):
    said = submissions.in_words(submissions.read_due("2026-10-09 18:00"))
    assert said == "2026-10-09 18:00:00 JST"
    said = submissions.in_words(submissions.read_due("2026-10-09T18:00+02:00"))
    assert said == "2026-10-10 01:00:00 JST"
    assert submissions.read_due(None) is None


@pytest.mark.parametrize("text", ["09.10.2026", "9/10/2026 18:00", "2026-10-09", "Friday", "18:00"])
def test_another_due_date_is_refused(text):
    with pytest.raises(SystemExit, match="can't be read. Write year, month and day.*local time"):
        submissions.read_due(text)


@pytest.mark.parametrize(
    "text", ["", "yesterday", "05.10.2026 10:00", "\x00\xff", "2026-10-04 10:00 CET"]
)
def test_an_odd_timestamp_is_said_and_the_files_own_time_counts(text, tmp_path):
    (tmp_path / "A1.ipynb").write_text("")
    (tmp_path / "timestamp.txt").write_text(text, encoding="utf-8")
    os.utime(tmp_path / "A1.ipynb", (1_790_000_000, 1_790_000_000))
    moment, problem = submissions.when(tmp_path / "A1.ipynb")
    assert moment.timestamp() == 1_790_000_000 and problem.startswith("timestamp.txt holds no time")


def test_a_student_whose_name_is_a_pattern_is_one_student(tmp_path):
    for name in ("[ana]", "b*n?", "c d+e{f}$g"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "A1.ipynb").write_text("")
    found = submissions.collect(tmp_path)
    assert list(found) == ["b＊n？", "c d+e{f}$g", "［ana］"]
    assert all(len(files) == 1 for files in found.values())


@pytest.mark.parametrize("name", ["au[tumn]", "what?", "100%", "c#"])
def test_a_class_whose_path_is_a_pattern_is_refused(tmp_path, name):
    (tmp_path / name / "inbox" / "A1" / "ana").mkdir(parents=True)
    with pytest.raises(SystemExit, match="rename the folder of the class"):
        grading.grade(tmp_path / name, "A1")


def test_what_was_handed_in_instead_of_a_notebook(tmp_path):
    (tmp_path / "ana" / ".git").mkdir(parents=True)
    for name in ("answers.zip", "softmax.py", "timestamp.txt", ".git/config", ".DS_Store"):
        (tmp_path / "ana" / name).write_text("")
    assert submissions.collect(tmp_path) == {"ana": []}
    assert submissions.other_files(tmp_path, "ana") == ["answers.zip", "softmax.py"]
