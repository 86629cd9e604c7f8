"""Assignments: one text file each; the student's notebook, the solution and the wrong answers' table come from it.

    python -m tools.classroom.assignments build       write the students' notebooks, the solutions and the tables of wrong answers
    python -m tools.classroom.assignments samples F   write thirty sample submissions of A1 into the folder F/inbox/A1

In `notebooks/assignments/`: `A1_attention.py` is the source, `A1_references.py` what hidden tests compare with,
`A1_wrong_answers.py` the wrong answers that the tests must notice, `checks.py` what every assignment checks with, and
`A1_attention.ipynb` the student's notebook (written by `build`; a test fails when it is old). The cells of a source:

    # %% answer="softmax"              the student's answer; what stands between BEGIN and END SOLUTION is taken out
    # %% tests="softmax" points=3      visible tests, `hidden=` for hidden ones
    # %% [markdown] written="why" points=10    an answer in words, graded by a person
    # %% include="checks.py"           that file, folded away; two files: "checks.py checks_torch.py"
    # %% given="captioner"             code that is handed out and that the grader has its own copy of
    # %% install=true                  installs the course where it is missing, as in the chapters

A cell that needs more time than others says how much, in seconds of the processor (`seconds=90`; tools/classroom/apart.py).
"""

import argparse
import contextlib
import csv
import functools
import io
import logging
import os
import re
import runpy
import signal
import sys
import tempfile
import textwrap
import warnings
from pathlib import Path

import jupytext
import nbformat

from tools.classroom import apart
from tools.notebooks import INSTALL

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "notebooks" / "assignments"
PART = r"^## (Part \d+) · (.+) \((\d+) points, (\d+) minutes, (easy|medium|hard)\)$"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}


def assignments():
    """The sources by their short names: {"A1": .../A1_attention.py}."""
    return {path.stem.split("_")[0]: path for path in sorted(FOLDER.glob("A*_*.py"))
            if not path.stem.endswith(("_references", "_wrong_answers"))}  # fmt: skip


# From the source to notebooks ----------------------------------------------------------------------------------------


def read_source(path):
    """The teacher's notebook of a source: solutions, visible and hidden tests, with nbgrader's metadata."""
    notebook = jupytext.read(path, fmt="py:percent")
    references = path.with_name(path.stem.split("_")[0] + "_references.py")
    references = references.read_text(encoding="utf-8") if references.exists() else ""
    parts = [
        found
        for cell in notebook.cells
        for found in re.findall(PART, cell.source, flags=re.MULTILINE)
    ]
    for number, cell in enumerate(notebook.cells):
        about = cell.metadata
        cell.metadata, cell.id = nbformat.NotebookNode(), f"cell-{number:02}"
        cell.source = cell.source.replace("{{parts}}", table(parts))
        if "seconds" in about:
            cell.metadata["seconds"] = about["seconds"]
        if "install" in about:
            cell.source = INSTALL
        elif "include" in about:
            texts = [
                (FOLDER / name).read_text(encoding="utf-8") for name in about["include"].split()
            ]
            cell.source = "\n\n".join(texts).rstrip("\n")
            cell.metadata.update(jupyter={"source_hidden": True}, cellView="form")
            mark(cell, "checks", locked=True)
        elif "given" in about:
            mark(cell, about["given"], locked=True)
        elif "answer" in about:
            mark(cell, about["answer"], solution=True)
        elif "written" in about:
            mark(cell, about["written"], solution=True, points=about["points"])
        elif "tests" in about:
            mark(cell, about["tests"] + "-tests", locked=True, points=about["points"])
        elif "hidden" in about:
            cell.source = hidden(about["hidden"], about["points"], references, cell.source)
            mark(cell, about["hidden"] + "-hidden", locked=True, points=about["points"])
    notebook.metadata = nbformat.NotebookNode(kernelspec=KERNEL, language_info={"name": "python"})
    nbformat.validate(notebook)
    return notebook


def mark(cell, name, *, solution=False, locked=False, points=None):
    cell.id = name
    cell.metadata["nbgrader"] = {
        "schema_version": 3, "task": False, "grade_id": name, "solution": solution, "locked": locked,
        "grade": points is not None
    } | ({} if points is None else {"points": points})  # fmt: skip


def hidden(name, points, references, tests):
    body = textwrap.indent(f"{references}\n{tests}", "    ")
    return (f"# The grader tries {name} on inputs that you do not see ({points} points).\n### BEGIN HIDDEN TESTS\n"
            f"def hidden_tests():\n{body}\n\nhidden_tests()\n### END HIDDEN TESTS")  # fmt: skip


def table(parts):
    """The parts of an assignment, from their headings."""
    points, minutes = (sum(int(part[column]) for part in parts) for column in (2, 3))
    rows = [
        f"| {part} | {title} | {worth} | {time} | {level} |"
        for part, title, worth, time, level in parts
    ]
    return "\n".join(["| part | subject | points | minutes | difficulty |", "|---|---|---|---|---|", *rows,
                      f"| | together | {points} | {minutes} | |"])  # fmt: skip


def name_of(cell):
    """The name that nbgrader has for a cell, or "": whatever a student's file holds in its place."""
    about = cell.metadata.get("nbgrader")
    name = about.get("grade_id") if isinstance(about, dict) else ""
    return name if isinstance(name, str) else ""


def is_answer(cell):
    return cell.metadata.get("nbgrader", {}).get("solution", False)


def reach_programs():
    """Let nbgrader find alembic, which it calls by its name and which lies beside this Python."""
    programs = str(Path(sys.executable).parent)
    if programs not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = programs + os.pathsep + os.environ["PATH"]


def converter(kind, folder, short):
    """One of nbgrader's converters for one assignment of the course in ``folder``; it shows errors only."""
    from nbgrader.coursedir import CourseDirectory
    from traitlets.config import Config

    reach_programs()
    warnings.filterwarnings("ignore", module="nbgrader")  # SQLAlchemy's, about nbgrader's own code
    log = logging.getLogger("nbgrader")
    log.setLevel(logging.ERROR)
    config = Config({"CourseDirectory": {"root": str(folder), "course_id": "mmcourse"}})
    directory = CourseDirectory(config=config, log=log)
    directory.assignment_id = short
    made = kind(coursedir=directory, config=config, log=log)
    made.force = True
    return made


def release(path, folder):
    """Let nbgrader make the student's notebook in the course ``folder`` (and its gradebook); gives its path."""
    from nbgrader.converters import GenerateAssignment

    short = path.stem.split("_")[0]
    target = Path(folder) / "source" / short / f"{path.stem}.ipynb"
    target.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(read_source(path), target)
    converter(GenerateAssignment, folder, short).start()
    return Path(folder) / "release" / short / target.name


def solution(path):
    """The notebook with the answers, without the marks around them and without hidden tests: for self-study."""
    notebook = read_source(path)
    notebook.cells = [cell for cell in notebook.cells if not name_of(cell).endswith("-hidden")]
    for cell in notebook.cells:
        cell.source = re.sub(r"\n *### (BEGIN|END) SOLUTION", "", cell.source)
        cell.metadata.pop("nbgrader", None)
    return notebook


def build():
    for path in assignments().values():
        with tempfile.TemporaryDirectory() as folder:
            path.with_suffix(".ipynb").write_bytes(release(path, folder).read_bytes())
        target = ROOT / "_build" / "assignments" / f"{path.stem}_solution.ipynb"
        target.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(solution(path), target)
        results = try_wrong_answers(path)
        path.with_name(f"{path.stem.split('_')[0]}_wrong_answers.csv").write_text(
            as_csv(results), encoding="utf-8"
        )
        print(
            f"{path.with_suffix('.ipynb').relative_to(ROOT)}, {target.relative_to(ROOT)}, {summary(results)}"
        )


# Graders under test --------------------------------------------------------------------------------------------------


def wrong_answers(path):
    """{function: {what is wrong: code of the answer's cell}} of an assignment, made from its solution."""
    space = runpy.run_path(str(path.with_name(path.stem.split("_")[0] + "_wrong_answers.py")))
    cells = [cell for cell in source_of(path).cells if cell.cell_type == "code"]
    right = {name_of(cell): cell.source for cell in cells if is_answer(cell)}
    made = {}
    for name, solved in right.items():
        made[name] = {}
        for label, change in space["WRONG"][name].items():
            if isinstance(change, tuple):
                assert change[0] in solved, f"{name}, {label}: {change[0]!r} is not in the solution"
                made[name][label] = solved.replace(*change)
            else:
                made[name][label] = change
        for label, template in space["FOR_EVERY_FUNCTION"].items():
            made[name][label] = template.replace("NAME", name).replace("SOLUTION", solved)
    return made


def try_wrong_answers(path, seed=0):
    """Try every wrong answer: rows (function, what is wrong, visible tests fail, hidden tests fail)."""
    rows = []
    for name, wrong in wrong_answers(path).items():
        for label, code in wrong.items():
            failed = failed_tests(path, {name: code}, seed, [f"{name}-tests", f"{name}-hidden"])
            rows.append((name, label, f"{name}-tests" in failed, f"{name}-hidden" in failed))
    return rows


def failed_tests(path, answers, seed=0, tests=None, long=False):
    """The names of the test cells that fail in this process with these answers, and the solution's for the rest.

    Cells that state their seconds, and tests among them, run only if ``long``.
    """
    warm_up()
    cells = [cell for cell in source_of(path).cells if cell.cell_type == "code" and name_of(cell)]
    sources = {name_of(cell): cell.source for cell in cells}
    space, failed = {"__name__": "__main__", "visible_tests": sources}, []
    cells = [cell for cell in cells if long or "seconds" not in cell.metadata]
    for cell in cells:
        if not apart.is_test(cell):
            code = answers.get(name_of(cell), cell.source)
            code += f"\nos.environ['MMCOURSE_SEED'] = '{seed}'" if name_of(cell) == "checks" else ""
            run_here(code, space, cell.metadata.get("seconds", 5))
    for cell in filter(apart.is_test, cells):
        code = apart.guarded(sources["checks"], cell.source, "")
        own = {"__name__": "__main__", "student": space}
        if (tests is None or name_of(cell) in tests) and not run_here(
            code, own, cell.metadata.get("seconds", 0.5)
        ):
            failed.append(name_of(cell))
    return failed


@functools.cache
def warm_up():
    """Load what assignments load, so that it is not counted as the time of the first answer that uses it."""
    import torch

    torch.optim.AdamW([torch.zeros(1)])


source_of = functools.cache(read_source)


def run_here(code, space, seconds):
    """Whether a cell's code runs to its end in this process and in so many seconds of its time; prints are dropped."""

    def stop(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(code, "<cell>", "exec"), space)
        return True
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return False
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
        sys.setprofile(None)


def survivors(rows):
    return [f"{name}: {label}" for name, label, visible, unseen in rows if not (visible or unseen)]


def summary(rows):
    left = survivors(rows)
    return f"{len(rows) - len(left)} of {len(rows)} wrong answers lose marks"


def as_csv(rows):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["function", "wrong answer", "visible tests", "hidden tests"])
    words = {True: "fail", False: "pass"}
    for name, label, visible, unseen in rows:
        label = f"**{label}** (not noticed)" if not (visible or unseen) else label
        writer.writerow([name, label, words[visible], words[unseen]])
    return text.getvalue()


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("build")
    commands.add_parser("samples").add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    if options.command == "build":
        build()
    else:
        from tools.classroom.samples import write_samples

        write_samples(options.folder)


if __name__ == "__main__":
    main()
