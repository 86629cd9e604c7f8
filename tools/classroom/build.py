"""Write what comes from the sources of the assignments.

    python -m tools.classroom.build

The students' notebooks and the tables of wrong answers lie beside the sources, the solutions in
_build/assignments/.
"""

import tempfile

import nbformat

from tools.classroom import trials
from tools.classroom.assignments import ROOT, assignments
from tools.classroom.releases import release, solution


def build(assignment):
    """Write one assignment's notebook, solution and table; a sentence about them."""
    with tempfile.TemporaryDirectory() as folder:
        assignment.notebook.write_bytes(release(assignment, folder).read_bytes())
    solved = ROOT / "_build" / "assignments" / f"{assignment.name}_solution.ipynb"
    solved.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(solution(assignment), solved)
    rows = trials.try_wrong_answers(assignment)
    assignment.table.write_text(trials.as_csv(rows), encoding="utf-8")
    notebook = assignment.notebook.relative_to(ROOT)
    return f"{notebook}, {solved.relative_to(ROOT)}: {trials.summary(rows)}"


if __name__ == "__main__":
    for each in assignments().values():
        print(build(each))
