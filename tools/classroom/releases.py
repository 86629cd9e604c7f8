"""What an assignment's source becomes: the student's notebook, by nbgrader, and the solution."""

import copy
import logging
import os
import re
import sys
import warnings
from pathlib import Path

import nbformat

from tools.classroom.assignments import name_of, teachers_notebook


def release(assignment, folder):
    """Let nbgrader make the student's notebook in the course ``folder``; gives its path.

    The course also gets a gradebook.
    """
    from nbgrader.converters import GenerateAssignment

    folder = Path(folder)
    teachers = folder / "source" / assignment.short / assignment.notebook.name
    teachers.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(teachers_notebook(assignment), teachers)
    converter(GenerateAssignment, folder, assignment.short).start()
    return folder / "release" / assignment.short / assignment.notebook.name


def converter(kind, folder, short):
    """One of nbgrader's converters for an assignment of a course; it shows errors only."""
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


def reach_programs():
    """Let nbgrader find alembic, which it calls by its name and which lies beside this Python."""
    programs = str(Path(sys.executable).parent)
    if programs not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = programs + os.pathsep + os.environ["PATH"]


def solution(assignment):
    """The notebook for self-study: with answers, without hidden tests."""
    notebook = copy.deepcopy(teachers_notebook(assignment))
    notebook.cells = [cell for cell in notebook.cells if not name_of(cell).endswith("-hidden")]
    for cell in notebook.cells:
        cell.source = without_marks(cell.source)
        cell.metadata.pop("nbgrader", None)
    return notebook


def without_marks(answer):
    """An answer's text without the lines BEGIN SOLUTION and END SOLUTION."""
    return re.sub(r"\n *### (BEGIN|END) SOLUTION", "", answer)
