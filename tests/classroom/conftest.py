"""What tests of the classroom share: A1 as its teacher and its students have it."""

import sys

import nbformat
import pytest

from tools.classroom.assignments import assignments, teachers_notebook
from tools.classroom.releases import release

if sys.platform == "win32":
    collect_ignore_glob = ["*.py"]  # grading needs limits that Windows does not have


@pytest.fixture(scope="session")
def source():
    return teachers_notebook(assignments()["A1"])


@pytest.fixture(scope="session")
def empty(tmp_path_factory):
    """A1 as nbgrader releases it now."""
    path = release(assignments()["A1"], tmp_path_factory.mktemp("course"))
    return nbformat.read(path, as_version=4)
