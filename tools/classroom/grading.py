"""Grade a class: from a folder of submissions to grades, feedback pages and a CSV file.

    python -m tools.classroom.grading grade COURSE A1 [--due "2026-10-09 18:00"] [--seed 7]   submissions to grades
    python -m tools.classroom.grading export COURSE A1     feedback and CSV again, after a person graded the written answers

COURSE is any folder. Submissions lie in COURSE/inbox/A1/STUDENT/*.ipynb; the newest one of a student counts. What is
written there: source, release, submitted, autograded and feedback (nbgrader's folders), gradebook.db, and A1.csv.
"""

import argparse
import copy
import csv
import datetime
import re
import shutil
import sqlite3
import sys
import time
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat
from dateutil import parser as dates
from nbformat.v4 import new_markdown_cell

from tools.classroom import apart
from tools.classroom.assignments import (
    assignments,
    converter,
    is_answer,
    name_of,
    read_source,
    release,
)
from tools.classroom.feedback import Grades, page_settings

LARGEST = 20 * 2**20  # bytes of a submitted file


class Trouble(SystemExit):
    """Something that the teacher must change; the message says what."""


# What was handed in --------------------------------------------------------------------------------------------------


def collect(inbox):
    """{student: [file, ...]}, the newest last. Folders whose names differ only in their encoding are one student."""
    if not inbox.is_dir():
        raise Trouble(
            f"There is no folder {inbox}. Put each student's notebook into {inbox / 'STUDENT'}."
        )
    found = {}
    for folder in sorted(
        path for path in inbox.iterdir() if path.is_dir() and not path.name.startswith(".")
    ):
        student = unicodedata.normalize("NFC", folder.name).strip()
        files = [path for path in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts]
        found.setdefault(student, []).extend(files)
    if not found:
        raise Trouble(
            f"{inbox} holds no student's folder. A submission is {inbox / 'STUDENT' / 'A1_attention.ipynb'}."
        )
    return {
        student: sorted(found[student], key=lambda path: (when(path), str(path)))
        for student in sorted(found)
    }


def when(path):
    """When a file was handed in: the folder's timestamp.txt if there is one, else the file's own time."""
    stamp = path.parent / "timestamp.txt"
    if stamp.exists():  # nbgrader's exchange writes UTC; a due date is meant in local time
        moment = dates.parse(stamp.read_text(encoding="utf-8").strip())
        return (moment.astimezone() if moment.tzinfo else moment).replace(
            tzinfo=None, microsecond=0
        )
    return datetime.datetime.fromtimestamp(path.stat().st_mtime).replace(microsecond=0)


def read_submission(path):
    """The notebook of a file, and what is wrong with it in words: (None, why) when it can't be read."""
    if path.stat().st_size > LARGEST:
        return (
            None,
            f"{path.name} has more than {LARGEST // 2**20} MB: clear its outputs and hand in again.",
        )
    try:
        notebook = nbformat.reads(path.read_text(encoding="utf-8-sig"), as_version=4)
        for cell in notebook.cells:
            cell.source, cell.cell_type, cell.metadata = (
                str(cell.source),
                str(cell.cell_type),
                cell.get("metadata", {}),
            )
            cell.id = str(cell.get("id"))
    except Exception as error:  # whatever a file can hold
        return (
            None,
            f"{path.name} is not a notebook: {type(error).__name__}. Save it in Jupyter and hand in again.",
        )
    return (notebook, "") if notebook.cells else (None, f"{path.name} has no cells.")


def rebuild(source, empty, submitted):
    """The teacher's notebook with a student's answers in it, and notes about what was not as released.

    ``source`` has the hidden tests, ``empty`` is the notebook as released, ``submitted`` the student's or None. Answers
    are found by their nbgrader name, else by the cell's id, else by the function that they define; a text, by the
    question before it. Cells that the student added stay behind the cell that they followed; tests and texts always
    come from the teacher.
    """
    notes, answers, extra = [], {}, {}
    names = [name_of(cell) for cell in source.cells if is_answer(cell)]
    known = {
        cell.source.strip(): number
        for cells in (source.cells, empty.cells)
        for number, cell in enumerate(cells)
    }
    stubs = {name_of(cell): cell.source for cell in empty.cells if is_answer(cell)}
    order = {cell.id: number for number, cell in enumerate(source.cells)}
    place, last = 0, -1
    for cell in submitted.cells if submitted else []:
        name = which(cell, names, order)
        if name:
            if name_of(cell) != name:
                notes.append(f"The cell of {name} had lost its name and was found again.")
            if name in answers and answers[name] != harmless(cell):
                notes.append(
                    f"There are two cells of {name}: the last one that is not empty counts."
                )
            if name not in answers or cell.source.strip() != stubs[name].strip():
                answers[name] = harmless(cell)
            place = order[name]
            if place < last:
                notes.append("The answers were not in their order.")
            last = max(place, last)
        elif name_of(cell) in order or cell.source.strip() in known:
            identity = name_of(cell) or cell.get("id")
            place = order.get(identity, known.get(cell.source.strip(), place))
            if name_of(cell) and cell.source.strip() not in known:
                notes.append(f"The cell {name_of(cell)} was changed; the grader used its own.")
        elif cell.cell_type in ("code", "markdown") and cell.source.strip():
            extra.setdefault(place, []).append(fresh_cell(cell, sum(map(len, extra.values()))))
    for name in names:
        texts = [cell for cell in extra.get(order[name] - 1, []) if cell.cell_type == "markdown"]
        if name not in answers and texts and source.cells[order[name]].cell_type == "markdown":
            answers[name] = texts[0].source
            extra[order[name] - 1].remove(texts[0])
            notes.append(
                f"The cell of {name} had lost its name; the text that follows the question counts."
            )
    notes += [f"There is no cell of {name}." for name in names if submitted and name not in answers]
    built = copy.deepcopy(source)
    for number, cell in reversed(list(enumerate(built.cells))):
        if is_answer(cell):
            cell.source = answers.get(name_of(cell), stubs[name_of(cell)])
        built.cells[number + 1 : number + 1] = extra.get(number, [])
    return built, list(dict.fromkeys(notes))


def fresh_cell(cell, number):
    make = nbformat.v4.new_code_cell if cell.cell_type == "code" else new_markdown_cell
    return make(harmless(cell), id=f"student-{number}")


def harmless(cell):
    """The text of a student's cell, without HTML: the Formgrader would obey it, scripts too, in the teacher's name."""
    if cell.cell_type == "code":
        return cell.source
    text = re.sub(r"&(?=#|\w+;)", "&amp;", cell.source)
    return re.sub(r"(?i)javascript:", "javascript :", re.sub(r"<(?=[a-zA-Z/!?])", "&lt;", text))


def keep_plain(outputs):
    """Of what a student's cell displayed, leave text and pictures: likewise."""
    for output in outputs:
        kinds = output.get("data", {})
        for kind in set(kinds) - {"text/plain", "image/png", "image/jpeg"}:
            del kinds[kind]


def which(cell, names, order):
    """The answer that a submitted cell holds, or None."""
    if name_of(cell) in order:
        return name_of(cell) if name_of(cell) in names else None
    return cell.get("id") if cell.get("id") in names else defined(cell, names)


def defined(cell, names):
    found = (
        re.findall(r"^def (\w+)\(", cell.source, flags=re.MULTILINE)
        if cell.cell_type == "code"
        else []
    )
    return next((name for name in names if name in found), None)


# From submissions to grades ------------------------------------------------------------------------------------------


def check_gradebook(path):
    """Say what to do when the gradebook can't be used, before any work is done."""
    if not path.exists():
        return
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from nbgrader.dbutil import ALEMBIC_DIR

    settings = Config()
    settings.set_main_option("script_location", ALEMBIC_DIR)
    head = ScriptDirectory.from_config(settings).get_current_head()
    try:
        with sqlite3.connect(path, timeout=3) as connection:
            connection.execute("BEGIN IMMEDIATE")
            version = connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
            connection.rollback()
    except sqlite3.DatabaseError as error:
        if "locked" in str(error):
            raise Trouble(
                f"{path} is in use by another program. Close the others, and try again."
            ) from None
        raise Trouble(
            f"{path} is not a gradebook of nbgrader ({error}). Move it away, and try again."
        ) from None
    if version != head:
        raise Trouble(f"{path} was made by another version of nbgrader ({version}, this one has {head}). Copy it to a "
                      f"safe place, then run: nbgrader db upgrade --db=sqlite:///{path}")  # fmt: skip


SETTINGS = """import sys

sys.path.append({course!r})
c = get_config()
c.CourseDirectory.course_id = "mmcourse"
c.CourseDirectory.root = {folder!r}
c.HTMLExporter.filters = {{"markdown2html": "tools.classroom.feedback.markdown"}}  # the Formgrader's formulas, without a network
"""


def write_settings(folder):
    """What nbgrader's own pages and commands read in the folder of the class."""
    course = str(Path(__file__).resolve().parents[2])
    text = SETTINGS.format(course=course, folder=str(folder))
    (folder / "nbgrader_config.py").write_text(text, encoding="utf-8")


def grade(folder, short, due=None, seed=0, workers=2, show=print):
    """Grade every submission of assignment ``short`` in the course ``folder``; the rows of the CSV file."""
    folder, start = Path(folder).resolve(), time.monotonic()
    path = find_assignment(short)
    inbox = collect(folder / "inbox" / short)
    check_gradebook(folder / "gradebook.db")
    write_settings(folder)
    source, empty = read_source(path), nbformat.read(release(path, folder), as_version=4)
    reports, jobs = {}, {}
    for student, files in inbox.items():
        notes = []
        submitted, why = read_submission(files[-1]) if files else (None, "There is no notebook.")
        notes += [why] * bool(why)
        if len(files) > 1:
            notes.append(
                f"{len(files)} notebooks were handed in; {files[-1].name} of {when(files[-1])} counts."
            )
        late = bool(due and files and when(files[-1]) > dates.parse(due))
        if late:
            notes.append(f"Late: handed in {when(files[-1])}, due {dates.parse(due)}.")
        built, changes = rebuild(source, empty, submitted)
        reports[student] = {"late": "yes" if late else "", "notes": notes + changes}
        jobs[student] = built, bool(submitted)

    def execute(student):
        built, readable = jobs[student]
        done, why = (
            apart.run(built, seed)
            if readable
            else (apart.fail_tests(built, reports[student]["notes"][0]), "")
        )
        for cell in done.cells:
            keep_plain(cell.get("outputs", []))
        show(f"  {student}: {why or 'ran' if readable else reports[student]['notes'][0]}")
        reports[student]["notes"] += [why] * bool(why)
        return done

    with ThreadPoolExecutor(workers) as pool:
        for student, done in zip(jobs, pool.map(execute, jobs), strict=True):
            if reports[student]["notes"]:
                lines = "\n".join(f"- {note}" for note in reports[student]["notes"])
                done.cells.insert(
                    0, new_markdown_cell(f"**From the grader**\n\n{lines}", id="from-the-grader")
                )
            target = folder / "submitted" / student / short / f"{path.stem}.ipynb"
            target.parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(done, target)
            for name in (
                "timestamp.txt",
                "submission_secret.txt",
            ):  # nbgrader's exchange gives feedback back by them
                if inbox[student] and inbox[student][-1].with_name(name).exists():
                    shutil.copy(inbox[student][-1].with_name(name), target.with_name(name))
    score(folder, short)
    rows = export(folder, short, reports)
    seconds = time.monotonic() - start
    show(
        f"{len(rows)} submissions of {short} in {seconds:.0f} s: {folder / short}.csv, {folder / 'feedback'}"
    )
    return rows


def find_assignment(short):
    if short not in assignments():
        raise Trouble(f"There is no assignment {short}; there are {', '.join(assignments())}.")
    return assignments()[short]


def score(folder, short):
    """Let nbgrader read the points out of the notebooks, which ran already, into its gradebook.

    nbgrader lets every answer wait that a person graded. One whose text is the same as then stays graded.
    """
    from nbgrader.api import Gradebook
    from nbgrader.converters import Autograde
    from nbgrader.preprocessors import (
        CheckCellMetadata,
        LimitOutput,
        OverwriteCells,
        SaveAutoGrades,
    )

    autograde = converter(Autograde, folder, short)
    autograde.sanitize_preprocessors = [OverwriteCells, CheckCellMetadata]
    autograde.autograde_preprocessors = [LimitOutput, SaveAutoGrades, CheckCellMetadata]
    with Gradebook(autograde.coursedir.db_url, "mmcourse") as gradebook:
        given = points_by_hand(gradebook, folder, short)
        before = {
            answer: text for answer, (grade, text) in given.items() if not grade.needs_manual_grade
        }
    autograde.start()
    with Gradebook(autograde.coursedir.db_url, "mmcourse") as gradebook:
        for answer, (grade, text) in points_by_hand(gradebook, folder, short).items():
            if before.get(answer) == text:
                grade.needs_manual_grade = False
        gradebook.db.commit()


def points_by_hand(gradebook, folder, short):
    """{(student, name): (grade, text)} for the answers in words that a person gave points."""
    found = {}
    for submission in gradebook.assignment_submissions(short):
        path = (
            folder
            / "autograded"
            / submission.student_id
            / short
            / f"{find_assignment(short).stem}.ipynb"
        )
        cells = nbformat.read(path, as_version=4).cells if path.exists() else []
        texts = {name_of(cell): cell.source for cell in cells if is_answer(cell)}
        for grade in (grade for notebook in submission.notebooks for grade in notebook.grades):
            if grade.manual_score is not None and grade.name in texts:
                found[submission.student_id, grade.name] = grade, texts[grade.name]
    return found


def export(folder, short, reports=None):
    """Write the feedback pages and the CSV file from the gradebook; gives the rows."""
    from nbgrader.api import Gradebook
    from nbgrader.converters import GenerateFeedback

    folder = Path(folder).resolve()
    find_assignment(short)
    check_gradebook(folder / "gradebook.db")
    feedback = converter(GenerateFeedback, folder, short)
    feedback.preprocessors = [Grades]
    feedback.update_config(page_settings())
    feedback.start()
    table = folder / f"{short}.csv"
    if reports is None:  # what the grading run noted stays
        with table.open(encoding="utf-8-sig", newline="") as file:
            reports = {
                row["student"]: {"late": row["late"], "notes": [row["notes"]]}
                for row in csv.DictReader(file)
            }
    rows = []
    with Gradebook(feedback.coursedir.db_url, "mmcourse") as gradebook:
        for submission in sorted(
            gradebook.assignment_submissions(short), key=lambda one: one.student_id
        ):
            if submission.student_id not in reports:
                continue
            report = reports[submission.student_id]
            grades = {
                grade.name: grade for notebook in submission.notebooks for grade in notebook.grades
            }
            waiting = " ".join(
                name for name, grade in sorted(grades.items()) if grade.needs_manual_grade
            )
            rows.append({"student": submission.student_id, "points": submission.score, "of": submission.max_score,
                         "to grade by hand": waiting, "late": report["late"], "notes": " ".join(report["notes"])}
                        | {name: grade.score for name, grade in sorted(grades.items())})  # fmt: skip
    with table.open(
        "w", encoding="utf-8-sig", newline=""
    ) as file:  # with the mark that spreadsheets look for
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return rows


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("grade", "export"):
        command = commands.add_parser(name)
        command.add_argument("course", type=Path)
        command.add_argument("assignment")
        if name == "grade":
            command.add_argument("--due", help='handed in later is marked late: "2026-10-09 18:00"')
            command.add_argument(
                "--seed", type=int, default=0, help="of the hidden tests' inputs: choose your own"
            )
    options = parser.parse_args(arguments)
    if sys.platform == "win32":
        raise Trouble("Grading sets limits that Windows does not have: run it in WSL or on Linux.")
    if options.command == "grade":
        grade(options.course, options.assignment, options.due, options.seed)
    else:
        export(options.course, options.assignment)


if __name__ == "__main__":
    main()
