"""Handing out and collecting on a machine that the class shares."""

import nbformat
import pytest
from nbformat.v4 import new_markdown_cell, new_notebook

from tools.classroom import exchange
from tools.classroom.assignments import assignments
from tools.classroom.gradebook import check_gradebook
from tools.classroom.submissions import collect


def hand_in(root, student, time, text):
    """Submit as nbgrader does."""
    folder = root / "mmcourse" / "inbound" / f"{student}+A1+{time} UTC+abc="
    folder.mkdir(parents=True)
    nbformat.write(new_notebook(cells=[new_markdown_cell(text)]), folder / "A1_attention.ipynb")
    (folder / "timestamp.txt").write_text(f"{time} UTC")
    (folder / "submission_secret.txt").write_text(f"secret of {student}")


def test_from_the_exchange_to_the_inbox(tmp_path):
    root, folder = tmp_path / "exchange", tmp_path / "class"
    root.mkdir()
    exchange.exchange("release", folder, "A1", root)
    exchange.exchange("release", folder, "A1", root)  # a second time: a corrected notebook
    given = root / "mmcourse" / "outbound" / "A1" / "A1_attention.ipynb"
    assert given.read_bytes() == assignments()["A1"].notebook.read_bytes()
    assert str(folder) in (folder / "nbgrader_config.py").read_text(), (
        "the teacher's Formgrader finds the class"
    )
    hand_in(root, "ada", "2026-10-05 10:00:00.000001", "first")
    hand_in(root, "zoë +1", "2026-10-05 11:00:00.000001", "hers")
    exchange.exchange("collect", folder, "A1", root)
    check_gradebook(folder / "gradebook.db")  # which collecting has begun
    hand_in(root, "ada", "2026-10-06 10:00:00.000001", "second")
    exchange.exchange("collect", folder, "A1", root)
    found = collect(folder / "inbox" / "A1")
    assert list(found) == ["ada", "zoë +1"] and [len(files) for files in found.values()] == [1, 1]
    assert "second" in found["ada"][0].read_text()


def test_an_exchange_that_is_not_there(tmp_path):
    with pytest.raises(SystemExit, match="can't be used: .*Course not found"):
        exchange.exchange("collect", tmp_path, "A1", root=tmp_path)
    with pytest.raises(SystemExit, match="There is no assignment A9"):
        exchange.exchange("release", tmp_path, "A9", root=tmp_path)
