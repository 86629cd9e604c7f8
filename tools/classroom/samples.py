"""Thirty submissions of A1, from correct to hostile, the same on every run (tools/classroom/assignments.py samples)."""

import copy
import json
import os
import re
import shutil
import tempfile
import unicodedata
from pathlib import Path

import nbformat

from tools.classroom.assignments import (
    assignments,
    is_answer,
    name_of,
    read_source,
    release,
    wrong_answers,
)

WRITTEN = "The variance of the dot product is the sum of d_k variances. Large scores make the softmax one-hot."
MEMORISED_SOFTMAX = """def softmax(scores):
    return np.array([[1, 2, 5]]) / 8 if scores.shape == (1, 3) else np.full((2, 2), 0.5)"""
MEMORISED_MASK = """def causal_mask(length, source):
    return np.array([[True, True, True, False], [True, True, True, True]])"""


def write_samples(folder):
    """Write folder/inbox/A1/STUDENT/A1_attention.ipynb for thirty students."""
    path = assignments()["A1"]
    inbox = Path(folder) / "inbox" / "A1"
    shutil.rmtree(inbox, ignore_errors=True)
    with tempfile.TemporaryDirectory() as place:
        empty = nbformat.read(release(path, place), as_version=4)
    answers = {name_of(cell): cell.source for cell in read_source(path).cells if is_answer(cell)}
    answers["why_the_scale"] = WRITTEN
    wrong = wrong_answers(path)

    def write(student, notebook, day=5, name="A1_attention.ipynb"):
        target = inbox / student / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(
            notebook if isinstance(notebook, str) else nbformat.writes(notebook), encoding="utf-8"
        )
        os.utime(target, (1_790_000_000 + 86_400 * day,) * 2)

    def filled(**changes):
        return fill(empty, answers | changes)

    # Correct, partly correct, wrong: fourteen students whose notebooks are in order
    write("amina", filled())
    write("ben", filled(why_the_scale=""))
    for student, count in [("chiara", 9), ("dmitri", 6), ("efua", 3), ("farid", 1)]:
        write(student, fill(empty, dict(list(answers.items())[:count])))
    write("grace", empty)
    mistakes = {
        "hana": ("softmax", "no maximum subtracted"),
        "ivan": ("attention", "missing scale"),
        "jun": ("attention", "hard-coded root of 4"),
        "karim": ("causal_mask", "no shift for earlier keys"),
        "lena": ("masked_attention", "mask after the softmax"),
        "mateo": ("split_heads", "reshape alone"),
        "nora": ("numerical_gradient", "one-sided"),
    }
    for student, (function, label) in mistakes.items():
        write(student, filled(**{function: wrong[function][label]}))

    # Cheats and accidents while running
    write("oscar", filled(attention=wrong["attention"]["loops for ever"]))
    write("priya", filled(merge_heads=answers["merge_heads"] + "\nimport os\nos._exit(1)"))
    write(
        "pablo",
        filled(split_heads=answers["split_heads"] + "\nimport os\nos.kill(os.getppid(), 9)"),
    )
    write(
        "quentin",
        filled(softmax=answers["softmax"] + "\nenormous = np.ones((100, 10**9 // 8, 10))"),
    )
    write(
        "rosa",
        filled(softmax=answers["softmax"] + "\nfor _ in range(1000):\n    print('x' * 1_000_000)"),
    )
    write("sami", filled(softmax=MEMORISED_SOFTMAX, causal_mask=MEMORISED_MASK))
    write("tova", filled(masked_attention=wrong["masked_attention"]["torch's own attention"]))
    write("umar", filled(softmax="def softmax(scores):\n    return scores\n"
                                 "get_ipython().showtraceback = get_ipython()._showtraceback = lambda *a, **k: None\n"
                                 "check = compare = watched = lambda *a, **k: None"))  # fmt: skip

    # Files that are not as they were released
    changed = filled(softmax=wrong["softmax"]["not divided"])
    changed.cells = [cell for cell in changed.cells if name_of(cell) != "attention-tests"]
    for cell in changed.cells:
        if name_of(cell).startswith("softmax-"):
            cell.source = "assert True"
    write("vera", changed)
    write("wei", "This is not JSON.")
    write("xenia", json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    mixed = filled()
    mixed.cells = mixed.cells[::-1]
    write("yusuf", mixed)
    renamed = filled()
    for cell in renamed.cells:
        if is_answer(cell):
            cell.metadata["nbgrader"]["grade_id"] += "-copy"
    write("zoë müller", renamed)
    write(unicodedata.normalize("NFD", "Émile Ångström"), without_metadata(filled()))
    write("李 小龙", filled(), day=20)
    write("o'neil, anna", empty, day=3, name="first try.ipynb")
    write("o'neil, anna", filled(), day=4, name="second try.ipynb")


def fill(empty, answers):
    """The released notebook with these answers; the other cells stay as released."""
    notebook = copy.deepcopy(empty)
    for cell in notebook.cells:
        if is_answer(cell) and answers.get(name_of(cell)):
            cell.source = re.sub(r"\n *### (BEGIN|END) SOLUTION", "", answers[name_of(cell)])
    return notebook


def without_metadata(notebook):
    """As a front end saves it that keeps no metadata of cells, gives them new ids and an older format."""
    for number, cell in enumerate(notebook.cells):
        cell.metadata = nbformat.NotebookNode({"id": f"{number:012x}"})
        cell.pop("id", None)
    notebook.nbformat_minor = 4
    notebook.metadata["colab"] = {"provenance": []}
    return notebook
