"""Grade a class: from a folder of submissions to grades, feedback pages and a CSV file.

    python -m tools.classroom.grading grade COURSE A1 [--due "2026-10-09 18:00"] [--seed 7]
    python -m tools.classroom.grading export COURSE A1

`grade` goes from submissions to grades. `export` writes feedback and CSV again, after a person
graded the answers in words. COURSE is any folder. Submissions lie in COURSE/inbox/A1/STUDENT/; the
newest notebook of a student counts. What is written there: source, release, submitted, autograded
and feedback (nbgrader's folders), gradebook.db, and A1.csv.
"""

import argparse
import csv
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat.v4 import new_markdown_cell

from tools.classroom import isolation
from tools.classroom.assignments import ROOT, assignments, teachers_notebook
from tools.classroom.execution import fail_tests
from tools.classroom.feedback import Grades, page_settings
from tools.classroom.gradebook import check_gradebook, row_of, score
from tools.classroom.noting import calls_of
from tools.classroom.rebuilding import rebuild
from tools.classroom.releases import converter, release
from tools.classroom.safety import keep_plain
from tools.classroom.submissions import (
    Trouble,
    collect,
    in_words,
    other_files,
    read_due,
    read_submission,
    when,
)

SETTINGS = """import sys

sys.path.append({course!r})
c = get_config()
c.CourseDirectory.course_id = "mmcourse"
c.CourseDirectory.root = {folder!r}
# the Formgrader's formulas, without a network
c.HTMLExporter.filters = {{"markdown2html": "tools.classroom.feedback.markdown"}}
"""


@dataclass
class Report:
    """What there is to say about one student's submission."""

    late: bool = False
    notes: list = field(default_factory=list)
    nothing: str = ""  # what was handed in, where there is no notebook


def check_name(folder):
    """Say so when nbgrader would take the path of the class for a pattern or an address."""
    odd = sorted(set(str(folder)) & set("*?[]{}#%"))
    if odd:
        raise Trouble(f"The path {folder} holds {' '.join(odd)}: rename the folder of the class.")


def find_assignment(short):
    known = assignments()
    if short not in known:
        raise Trouble(f"There is no assignment {short}; there are {', '.join(known)}.")
    return known[short]


def write_settings(folder):
    """What nbgrader's own pages and commands read in the folder of the class."""
    text = SETTINGS.format(course=str(ROOT), folder=str(folder))
    (folder / "nbgrader_config.py").write_text(text, encoding="utf-8")


# From submissions to grades


def grade(folder, short, due=None, seed=0, workers=2, show=print):
    """Grade every submission of an assignment in the course ``folder``; the rows of the CSV."""
    start = time.monotonic()
    folder = Path(folder).resolve()
    check_name(folder)
    assignment = find_assignment(short)
    due = read_due(due)
    inbox = collect(folder / "inbox" / short)
    check_gradebook(folder / "gradebook.db")
    write_settings(folder)
    released = nbformat.read(release(assignment, folder), as_version=4)
    tests = calls_of(assignment, seed)
    reports = {student: Report() for student in inbox}

    def grade_student(student):
        report = reports[student]
        if not inbox[student]:
            names = ", ".join(other_files(folder / "inbox" / short, student)) or "nothing"
            report.nothing = f"There is no notebook. Handed in: {names}."
        done = execute(assignment, released, inbox[student], tests, due, report)
        keep_submission(done, inbox[student], folder / "submitted" / student / short, assignment)
        show(f"  {student}: {' '.join(report.notes) or 'ran'}")

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(grade_student, inbox))  # waits, and raises what went wrong
    score(folder, assignment)
    rows = export(folder, short, reports)
    lost = set(inbox) - {row["student"] for row in rows}
    if lost:
        raise Trouble(f"nbgrader kept no grades of {', '.join(sorted(lost))}. Rename the folders.")
    seconds = time.monotonic() - start
    where = f"{folder / short}.csv, {folder / 'feedback'}"
    show(f"{len(rows)} submissions of {short} in {seconds:.0f} s: {where}")
    return rows


def execute(assignment, released, files, tests, due, report):
    """One student's notebook, rebuilt and run; what was unusual goes into the report."""
    submitted = None
    why = report.nothing
    if files:
        submitted, why = read_submission(files[-1])
        note_time(files, due, report)
    built, changes = rebuild(teachers_notebook(assignment), released, submitted)
    report.notes.extend(changes)
    if submitted:
        built, why = isolation.run(built, tests)
    else:
        fail_tests(built, why)
    if why:
        report.notes.append(why)
    for cell in built.cells:
        keep_plain(cell.get("outputs", []))
    if report.notes:
        lines = "\n".join(f"- {note}" for note in report.notes)
        text = f"**From the grader**\n\n{lines}"
        built.cells.insert(0, new_markdown_cell(text, id="from-the-grader"))
    return built


def note_time(files, due, report):
    """Say which of several files counts, and whether it came late."""
    handed_in, problem = when(files[-1])
    said = in_words(handed_in)
    if problem:
        report.notes.append(problem)
    if len(files) > 1:
        name = files[-1].name
        report.notes.append(f"{len(files)} notebooks were handed in; {name} of {said} counts.")
    if due and handed_in > due:
        report.late = True
        report.notes.append(f"Late: handed in {said}, due {in_words(due)}.")


def keep_submission(notebook, files, folder, assignment):
    """Write a notebook that ran where nbgrader looks for it."""
    folder.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, folder / assignment.notebook.name)
    for name in (
        "timestamp.txt",
        "submission_secret.txt",
    ):  # the exchange gives feedback back by them
        if files and files[-1].with_name(name).exists():
            shutil.copy(files[-1].with_name(name), folder / name)


# From grades to feedback and the CSV file


def export(folder, short, reports=None):
    """Write the feedback pages and the CSV file from the gradebook; gives the rows."""
    from nbgrader.api import Gradebook
    from nbgrader.converters import GenerateFeedback

    folder = Path(folder).resolve()
    check_name(folder)
    find_assignment(short)
    check_gradebook(folder / "gradebook.db")
    feedback = converter(GenerateFeedback, folder, short)
    feedback.preprocessors = [Grades]
    feedback.update_config(page_settings())
    feedback.start()
    table = folder / f"{short}.csv"
    if reports is None:
        reports = reports_of(table)
    rows = []
    with Gradebook(feedback.coursedir.db_url, "mmcourse") as gradebook:
        submissions = gradebook.assignment_submissions(short)
        for submission in sorted(submissions, key=lambda one: one.student_id):
            report = reports.get(submission.student_id)
            if report:
                late = "yes" if report.late else ""
                rows.append(row_of(submission, late, report.notes))
    with table.open(
        "w", encoding="utf-8-sig", newline=""
    ) as file:  # spreadsheets look for the mark
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return rows


def reports_of(table):
    """What the grading run noted, from its CSV file."""
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    return {row["student"]: Report(row["late"] == "yes", [row["notes"]]) for row in rows}


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
            command.add_argument("--due", help='marked late: after "2026-10-09 18:00", local time')
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
