"""Assignments: a folder each. One text file is the source; the notebooks come from it.

In `notebooks/assignments/` lie `checks.py` and `checks_torch.py`, what every assignment checks
with, and a folder for each assignment, say `A1_attention/`:

    source.py           the teacher's text: tasks, answers, visible and hidden tests
    references.py       what the hidden tests compare with
    wrong_answers.py    wrong answers that the tests must notice
    right_answers.py    unusual answers that must get all points
    wrong_answers.csv   what the tests said to each (written by tools.classroom.build)
    A1_attention.ipynb  the student's notebook (likewise; a test fails when it is old)

The cells of a source:

    # %% answer="softmax"              the student's answer, between BEGIN and END SOLUTION
    # %% tests="softmax" points=3      visible tests, `hidden=` for hidden ones
    # %% [markdown] written="why" points=10    an answer in words, graded by a person
    # %% include="checks.py"           that file, folded away; two: "checks.py checks_torch.py"
    # %% given="captioner"             code that is handed out; the grader has its own copy
    # %% install=true                  installs the course where it is missing, as in the chapters

A cell that needs more time than others says how much, in seconds of the processor: `seconds=90`.
"""

import functools
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat

from tools.notebooks import INSTALL

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "notebooks" / "assignments"
PART = r"^## (Part \d+) · (.+) \((\d+) points, (\d+) minutes, (easy|medium|hard)\)$"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


@dataclass(frozen=True)
class Assignment:
    """The folder of an assignment and the files in it."""

    folder: Path

    @property
    def name(self):
        """For example "A1_attention"; the student's notebook is called so."""
        return self.folder.name

    @property
    def short(self):
        """For example "A1"; folders of a class and commands call it so."""
        return self.name.split("_")[0]

    @property
    def source(self):
        return self.folder / "source.py"

    @property
    def references(self):
        return self.folder / "references.py"

    @property
    def notebook(self):
        return self.folder / f"{self.name}.ipynb"

    @property
    def wrong_answers(self):
        return self.folder / "wrong_answers.py"

    @property
    def right_answers(self):
        return self.folder / "right_answers.py"

    @property
    def table(self):
        """What the tests said to each wrong answer."""
        return self.folder / "wrong_answers.csv"


def assignments():
    """All assignments by their short names: {"A1": Assignment(...), ...}."""
    found = [Assignment(path.parent) for path in sorted(FOLDER.glob("A*/source.py"))]
    return {assignment.short: assignment for assignment in found}


# The teacher's notebook


@functools.cache
def teachers_notebook(assignment):
    """The notebook of a source: solutions, visible and hidden tests, with nbgrader's metadata.

    It is made once; who changes it takes a copy.
    """
    notebook = jupytext.read(assignment.source, fmt="py:percent")
    text = "\n".join(cell.source for cell in notebook.cells)
    parts = re.findall(PART, text, flags=re.MULTILINE)
    for number, cell in enumerate(notebook.cells):
        marks = cell.metadata
        cell.metadata = nbformat.NotebookNode()
        cell.id = f"cell-{number:02}"
        cell.source = cell.source.replace("{{parts}}", table_of_parts(parts))
        if "seconds" in marks:
            cell.metadata["seconds"] = marks["seconds"]
        fill_cell(cell, marks, assignment)
    notebook.metadata = nbformat.NotebookNode(kernelspec=KERNEL, language_info={"name": "python"})
    nbformat.validate(notebook)
    return notebook


def fill_cell(cell, marks, assignment):
    """Make of a source's cell, by its marks, the cell of the teacher's notebook."""
    if "install" in marks:
        cell.source = INSTALL
    elif "include" in marks:
        files = [FOLDER / name for name in marks["include"].split()]
        texts = [file.read_text(encoding="utf-8") for file in files]
        cell.source = "\n\n".join(texts).rstrip("\n")
        cell.metadata.update(jupyter={"source_hidden": True}, cellView="form")
        mark(cell, "checks", locked=True)
    elif "given" in marks:
        mark(cell, marks["given"], locked=True)
    elif "answer" in marks:
        mark(cell, marks["answer"], solution=True)
    elif "written" in marks:
        mark(cell, marks["written"], solution=True, points=marks["points"])
    elif "tests" in marks:
        mark(cell, marks["tests"] + "-tests", locked=True, points=marks["points"])
    elif "hidden" in marks:
        references = ""
        if assignment.references.exists():
            references = assignment.references.read_text(encoding="utf-8")
        cell.source = hidden_test(marks["hidden"], marks["points"], references, cell.source)
        mark(cell, marks["hidden"] + "-hidden", locked=True, points=marks["points"])


def mark(cell, name, *, solution=False, locked=False, points=None):
    """Give a cell its name, and nbgrader's words for what it is."""
    cell.id = name
    cell.metadata["nbgrader"] = {
        "schema_version": 3,
        "task": False,
        "grade_id": name,
        "solution": solution,
        "locked": locked,
        "grade": points is not None,
    }
    if points is not None:
        cell.metadata["nbgrader"]["points"] = points


HIDDEN = """\
# The grader tries {name} on inputs that you do not see ({points} points).
### BEGIN HIDDEN TESTS
def hidden_tests():
{body}

hidden_tests()
### END HIDDEN TESTS"""


def hidden_test(name, points, references, tests):
    """A hidden test's cell: for students, nbgrader takes out what lies between the marks."""
    body = textwrap.indent(f"{references}\n{tests}", "    ")
    return HIDDEN.format(name=name, points=points, body=body)


def table_of_parts(parts):
    """The parts of an assignment as a Markdown table, from their headings."""
    rows = [
        "| part | subject | points | minutes | difficulty |",
        "|---|---|---|---|---|",
    ]
    all_points = 0
    all_minutes = 0
    for part, title, points, minutes, difficulty in parts:
        rows.append(f"| {part} | {title} | {points} | {minutes} | {difficulty} |")
        all_points += int(points)
        all_minutes += int(minutes)
    rows.append(f"| | together | {all_points} | {all_minutes} | |")
    return "\n".join(rows)


# Cells


def name_of(cell):
    """The name that nbgrader has for a cell, or "", whatever a student's file holds there."""
    nbgrader = cell.metadata.get("nbgrader")
    name = nbgrader.get("grade_id") if isinstance(nbgrader, dict) else ""
    return name if isinstance(name, str) else ""


def is_answer(cell):
    return cell.metadata.get("nbgrader", {}).get("solution", False)


def is_test(cell):
    return cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).get("grade", False)


def answers_in(notebook):
    """{name: text} of a notebook's answers."""
    return {name_of(cell): cell.source for cell in notebook.cells if is_answer(cell)}
