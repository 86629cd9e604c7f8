"""What tests of the book share: its pages, and its chapters as text, page and notebook."""

import re
from pathlib import Path

import jupytext
import nbformat
import yaml

from book._ext.chapters import FOLDER, read_chapter

ROOT = Path(__file__).resolve().parents[2]
CONTENTS = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
PAGES = [
    CONTENTS["root"],
    *(page["file"] for part in CONTENTS["parts"] for page in part["chapters"]),
]
RUN_PAGES = [page for page in PAGES if page.startswith(f"{FOLDER}/")]  # those with code that ran
TEXTS = sorted((ROOT / FOLDER).glob("*.py"))
CASES = [path for path in TEXTS if path.stem.startswith("case_")]  # in a shorter form of their own
OVERVIEW = "23_case_studies"  # before the case studies: neither exercises nor a quiz
CHAPTERS = [path for path in TEXTS if re.match(r"\d\d_", path.stem) and path.stem != OVERVIEW]


def read_text(path):
    """A chapter as its text has it: MyST, without outputs."""
    return jupytext.read(path, fmt="py:percent")


def read_page(path):
    """A chapter as its page has it: MyST, with the outputs of its notebook."""
    return read_chapter(path.read_text(encoding="utf-8"), ROOT)


def read_notebook(path):
    """A chapter as its notebook has it: plain Markdown, with outputs."""
    return nbformat.read(ROOT / "notebooks" / f"{path.stem}.ipynb", as_version=4)


def words_of(notebook):
    """The Markdown of a notebook in one piece."""
    cells = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    return "\n\n".join(cells)


def code_of(notebook):
    """The code cells of a notebook."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]
