"""What students handed in: which files there are, when each came, and what can be read of it."""

import datetime
import unicodedata

import nbformat
from dateutil import parser as dates

LARGEST = 20 * 2**20  # bytes of a submitted file


class Trouble(SystemExit):
    """Something that the teacher must change; the message says what."""


def collect(inbox):
    """{student: [file, ...]}, the newest last.

    Folders whose names differ only in their encoding are one student.
    """
    if not inbox.is_dir():
        raise Trouble(
            f"There is no folder {inbox}. Put each student's notebook into {inbox / 'STUDENT'}."
        )
    found = {}
    for folder in inbox.iterdir():
        if not folder.is_dir() or folder.name.startswith("."):
            continue
        student = unicodedata.normalize("NFC", folder.name).strip()
        files = [path for path in folder.rglob("*.ipynb") if ".ipynb_checkpoints" not in path.parts]
        found.setdefault(student, []).extend(files)
    if not found:
        example = inbox / "STUDENT" / "A1_attention.ipynb"
        raise Trouble(f"{inbox} holds no student's folder. A submission is {example}.")
    return {student: sorted(found[student], key=age) for student in sorted(found)}


def age(path):
    """What files are sorted by: their time; of two of the same second, their names."""
    return when(path), str(path)


def when(path):
    """When a file was handed in: the folder's timestamp.txt, else the file's own time."""
    stamp = path.parent / "timestamp.txt"
    if stamp.exists():  # nbgrader's exchange writes UTC; a due date is meant in local time
        moment = dates.parse(stamp.read_text(encoding="utf-8").strip())
        if moment.tzinfo:
            moment = moment.astimezone()
        return moment.replace(tzinfo=None, microsecond=0)
    return datetime.datetime.fromtimestamp(path.stat().st_mtime).replace(microsecond=0)


def read_submission(path):
    """The notebook of a file and "", or None and why it can't be read."""
    if path.stat().st_size > LARGEST:
        megabytes = LARGEST // 2**20
        why = f"{path.name} has more than {megabytes} MB: clear its outputs and hand in again."
        return None, why
    try:
        notebook = nbformat.reads(path.read_text(encoding="utf-8-sig"), as_version=4)
        for cell in notebook.cells:
            cell.source = str(cell.source)
            cell.cell_type = str(cell.cell_type)
            cell.metadata = cell.get("metadata", {})
            cell.id = str(cell.get("id"))
    except Exception as error:  # whatever a file can hold
        kind = type(error).__name__
        why = f"{path.name} is not a notebook: {kind}. Save it in Jupyter and hand in again."
        return None, why
    if not notebook.cells:
        return None, f"{path.name} has no cells."
    return notebook, ""
