"""The gradebook of a class, which nbgrader keeps: can it be used, what is in it, and its rows."""

import sqlite3

import nbformat

from tools.classroom.assignments import answers_in
from tools.classroom.releases import converter
from tools.classroom.submissions import Trouble


def check_gradebook(path):
    """Say what to do when the gradebook can't be used, before any work is done."""
    if not path.exists():
        return
    try:
        with sqlite3.connect(path, timeout=3) as connection:
            connection.execute("BEGIN IMMEDIATE")
            version = connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
            connection.rollback()
    except sqlite3.DatabaseError as error:
        if "locked" in str(error):
            problem = "is in use by another program. Close the others, and try again."
        else:
            problem = f"is not a gradebook of nbgrader ({error}). Move it away, and try again."
        raise Trouble(f"{path} {problem}") from None
    newest = newest_version()
    if version != newest:
        raise Trouble(
            f"{path} was made by another version of nbgrader ({version}, this one has {newest}). "
            f"Copy it to a safe place, then run: nbgrader db upgrade --db=sqlite:///{path}"
        )


def newest_version():
    """The version of gradebooks that this nbgrader makes."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from nbgrader.dbutil import ALEMBIC_DIR

    settings = Config()
    settings.set_main_option("script_location", ALEMBIC_DIR)
    return ScriptDirectory.from_config(settings).get_current_head()


def score(folder, assignment):
    """Let nbgrader read the points out of the notebooks, which ran already, into its gradebook.

    nbgrader lets every answer wait that a person graded. One whose text is the same as then stays
    graded.
    """
    from nbgrader.api import Gradebook
    from nbgrader.converters import Autograde
    from nbgrader.preprocessors import (
        CheckCellMetadata,
        LimitOutput,
        OverwriteCells,
        SaveAutoGrades,
    )

    autograde = converter(Autograde, folder, assignment.short)
    autograde.sanitize_preprocessors = [OverwriteCells, CheckCellMetadata]
    autograde.autograde_preprocessors = [LimitOutput, SaveAutoGrades, CheckCellMetadata]
    with Gradebook(autograde.coursedir.db_url, "mmcourse") as gradebook:
        graded = {}
        for answer, (grade, text) in points_by_hand(gradebook, folder, assignment).items():
            if not grade.needs_manual_grade:
                graded[answer] = text
    autograde.start()
    with Gradebook(autograde.coursedir.db_url, "mmcourse") as gradebook:
        for answer, (grade, text) in points_by_hand(gradebook, folder, assignment).items():
            if graded.get(answer) == text:
                grade.needs_manual_grade = False
        gradebook.db.commit()


def points_by_hand(gradebook, folder, assignment):
    """{(student, name): (grade, text)} for the answers in words that a person gave points."""
    found = {}
    for submission in gradebook.assignment_submissions(assignment.short):
        student = submission.student_id
        path = folder / "autograded" / student / assignment.short / assignment.notebook.name
        if not path.exists():
            continue
        texts = answers_in(nbformat.read(path, as_version=4))
        for grade in grades_of(submission):
            if grade.manual_score is not None and grade.name in texts:
                found[student, grade.name] = grade, texts[grade.name]
    return found


def grades_of(submission):
    """The grades of a submission, one a test or answer in words, by name."""
    grades = []
    for notebook in submission.notebooks:
        grades.extend(notebook.grades)
    return sorted(grades, key=lambda grade: grade.name)


def row_of(submission, late, notes):
    """A submission's row of the CSV file."""
    grades = grades_of(submission)
    waiting = [grade.name for grade in grades if grade.needs_manual_grade]
    row = {
        "student": submission.student_id,
        "points": submission.score,
        "of": submission.max_score,
        "to grade by hand": " ".join(waiting),
        "late": late,
        "notes": " ".join(notes),
    }
    for grade in grades:
        row[grade.name] = grade.score
    return row
