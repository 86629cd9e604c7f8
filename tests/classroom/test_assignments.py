"""An assignment's source, and the notebooks that are made from it."""

import re

import nbformat
import pytest

from tools.classroom import assignments as tool
from tools.classroom import releases

EACH = pytest.mark.parametrize("assignment", tool.assignments().values(), ids=tool.assignments())


@EACH
def test_the_students_notebook_is_what_the_source_gives(assignment, tmp_path):
    made = releases.release(assignment, tmp_path).read_bytes()
    assert made == assignment.notebook.read_bytes(), "Run: python -m tools.classroom.build"


@EACH
def test_the_students_notebook_gives_nothing_away(assignment):
    text = assignment.notebook.read_text(encoding="utf-8")
    assert (
        "HIDDEN TESTS" not in text
        and "SOLUTION" not in text
        and "ref_" not in text
        and "{{parts" not in text
    )
    for cell in nbformat.read(assignment.notebook, as_version=4).cells:
        if tool.is_answer(cell):
            assert (
                "raise NotImplementedError" if cell.cell_type == "code" else "YOUR ANSWER HERE"
            ) in cell.source


@EACH
def test_the_solution_for_self_study(assignment):
    notebook = releases.solution(assignment)
    assert not any("nbgrader" in cell.metadata for cell in notebook.cells)
    text = "\n".join(cell.source for cell in notebook.cells)
    assert "HIDDEN TESTS" not in text and "SOLUTION" not in text
    stubs = tool.answers_in(nbformat.read(assignment.notebook, as_version=4))
    assert not any(stub in text for stub in stubs.values()) and "check(" in text


@EACH
def test_points_and_times_add_up(assignment):
    notebook = tool.teachers_notebook(assignment)
    stated, counted, minutes = [], [], 0
    for cell in notebook.cells:
        for _, _, points, time, _ in re.findall(tool.PART, cell.source, flags=re.MULTILINE):
            stated.append(int(points))
            counted.append(0)
            minutes += int(time)
        if counted:
            counted[-1] += cell.metadata.get("nbgrader", {}).get("points", 0)
    assert stated == counted and sum(stated) == 100
    assert 180 <= minutes <= 300


@EACH
def test_visible_checks_are_short(assignment):
    for cell in tool.teachers_notebook(assignment).cells:
        if tool.name_of(cell).endswith("-tests"):
            assert len(cell.source.splitlines()) <= 9, cell.source
