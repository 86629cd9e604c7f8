"""Thirty submissions of A1, from correct to hostile, the same on every run.

python -m tools.classroom.samples COURSE    writes COURSE/inbox/A1/STUDENT/A1_attention.ipynb
"""

import copy
import json
import os
import shutil
import sys
import tempfile
import unicodedata
from pathlib import Path

import nbformat

from tools.classroom.assignments import (
    answers_in,
    assignments,
    is_answer,
    name_of,
    teachers_notebook,
)
from tools.classroom.releases import release, without_marks
from tools.classroom.trials import wrong_answers

FIRST_DAY = 1_790_000_000  # when the first of them could hand in, in seconds since 1970
DAY = 86_400  # seconds
WRITTEN = "The variance is the sum of d_k variances. Large scores make the softmax one-hot."
MEMORISED_SOFTMAX = """def softmax(scores):
    return np.array([[1, 2, 5]]) / 8 if scores.shape == (1, 3) else np.full((2, 2), 0.5)"""
MEMORISED_MASK = """def causal_mask(length, source):
    return np.array([[True, True, True, False], [True, True, True, True]])"""
SILENCED = """def softmax(scores):
    return scores
get_ipython().showtraceback = get_ipython()._showtraceback = lambda *a, **k: None
check = compare = watched = lambda *a, **k: None"""
MISTAKES = {
    "hana": ("softmax", "no maximum subtracted"),
    "ivan": ("attention", "missing scale"),
    "jun": ("attention", "hard-coded root of 4"),
    "karim": ("causal_mask", "no shift for earlier keys"),
    "lena": ("masked_attention", "mask after the softmax"),
    "mateo": ("split_heads", "reshape alone"),
    "nora": ("numerical_gradient", "one-sided"),
    "oscar": ("attention", "loops for ever"),
    "tova": ("masked_attention", "torch's own attention"),
}
ADDED = {  # what is written below a right answer
    "priya": ("merge_heads", "import os\nos._exit(1)"),
    "pablo": ("split_heads", "import os\nos.kill(os.getppid(), 9)"),
    "quentin": ("softmax", "enormous = np.ones((100, 10**9 // 8, 10))"),
    "rosa": ("softmax", "for _ in range(1000):\n    print('x' * 1_000_000)"),
}


class Class:
    """The folder of submissions, the notebook as released, and right answers to fill it with."""

    def __init__(self, inbox, released, answers):
        self.inbox = inbox
        self.released = released
        self.answers = answers

    def filled(self, **changes):
        """The released notebook with right answers, but for the changes."""
        return fill(self.released, self.answers | changes)

    def write(self, student, notebook, day=5, name="A1_attention.ipynb"):
        text = notebook if isinstance(notebook, str) else nbformat.writes(notebook)
        target = self.inbox / student / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        time = FIRST_DAY + day * DAY
        os.utime(target, (time, time))


def write_samples(folder):
    """Write the submissions of thirty students into folder/inbox/A1."""
    assignment = assignments()["A1"]
    inbox = Path(folder) / "inbox" / "A1"
    shutil.rmtree(inbox, ignore_errors=True)
    with tempfile.TemporaryDirectory() as course:
        released = nbformat.read(release(assignment, course), as_version=4)
    answers = answers_in(teachers_notebook(assignment)) | {"why_the_scale": WRITTEN}
    students = Class(inbox, released, answers)
    write_in_order(students)
    write_mistakes(students, wrong_answers(assignment))
    write_odd_files(students)


def write_in_order(students):
    """Correct, partly correct, and empty."""
    students.write("amina", students.filled())
    students.write("ben", students.filled(why_the_scale=""))
    first = list(students.answers.items())
    for student, count in [("chiara", 9), ("dmitri", 6), ("efua", 3), ("farid", 1)]:
        students.write(student, fill(students.released, dict(first[:count])))
    students.write("grace", students.released)


def write_mistakes(students, wrong):
    """One function wrong, cheats, and accidents while running."""
    for student, (function, label) in MISTAKES.items():
        students.write(student, students.filled(**{function: wrong[function][label]}))
    for student, (function, code) in ADDED.items():
        answer = f"{students.answers[function]}\n{code}"
        students.write(student, students.filled(**{function: answer}))
    memorised = students.filled(softmax=MEMORISED_SOFTMAX, causal_mask=MEMORISED_MASK)
    students.write("sami", memorised)
    students.write("umar", students.filled(softmax=SILENCED))


def write_odd_files(students):
    """Files that are not as they were released."""
    not_divided = wrong_answers(assignments()["A1"])["softmax"]["not divided"]
    changed = students.filled(softmax=not_divided)
    changed.cells = [cell for cell in changed.cells if name_of(cell) != "attention-tests"]
    for cell in changed.cells:
        if name_of(cell).startswith("softmax-"):
            cell.source = "assert True"
    students.write("vera", changed)
    students.write("wei", "This is not JSON.")
    no_cells = {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    students.write("xenia", json.dumps(no_cells))
    backwards = students.filled()
    backwards.cells = backwards.cells[::-1]
    students.write("yusuf", backwards)
    renamed = students.filled()
    for cell in renamed.cells:
        if is_answer(cell):
            cell.metadata["nbgrader"]["grade_id"] += "-copy"
    students.write("zoë müller", renamed)
    emile = unicodedata.normalize("NFD", "Émile Ångström")
    students.write(emile, without_metadata(students.filled()))
    students.write("李 小龙", students.filled(), day=20)
    students.write("o'neil, anna", students.released, day=3, name="first try.ipynb")
    students.write("o'neil, anna", students.filled(), day=4, name="second try.ipynb")


def fill(released, answers):
    """The released notebook with these answers; the other cells stay as released."""
    notebook = copy.deepcopy(released)
    for cell in notebook.cells:
        if is_answer(cell) and answers.get(name_of(cell)):
            cell.source = without_marks(answers[name_of(cell)])
    return notebook


def without_metadata(notebook):
    """As a front end saves it that keeps no metadata, gives new ids, and an older format."""
    for number, cell in enumerate(notebook.cells):
        cell.metadata = nbformat.NotebookNode({"id": f"{number:012x}"})
        cell.pop("id", None)
    notebook.nbformat_minor = 4
    notebook.metadata["colab"] = {"provenance": []}
    return notebook


if __name__ == "__main__":
    write_samples(sys.argv[1])
