"""What students handed in: which files there are, when each came, and what can be read of it."""

import datetime
import unicodedata

import nbformat

LARGEST = 20 * 2**20  # bytes of a submitted file
# nbgrader looks for files by patterns: characters with a meaning there, and what stands for them.
PATTERNS = {
    ord("*"): "\N{FULLWIDTH ASTERISK}",
    ord("?"): "\N{FULLWIDTH QUESTION MARK}",
    ord("["): "\N{FULLWIDTH LEFT SQUARE BRACKET}",
    ord("]"): "\N{FULLWIDTH RIGHT SQUARE BRACKET}",
    ord("\n"): " ",
    ord("\r"): " ",
}


class Trouble(SystemExit):
    """Something that the teacher must change; the message says what."""


# Students and their files


def collect(inbox):
    """{student: [notebook, ...]}, the newest last.

    Folders whose names differ only in their encoding are one student.
    """
    found = {}
    for folder in students_folders(inbox):
        files = [path for path in files_in(folder) if path.suffix == ".ipynb"]
        found.setdefault(student_of(folder), []).extend(files)
    if not found:
        example = inbox / "STUDENT" / "A1_attention.ipynb"
        raise Trouble(f"{inbox} holds no student's folder. A submission is {example}.")
    return {student: sorted(found[student], key=age) for student in sorted(found)}


def students_folders(inbox):
    if not inbox.is_dir():
        raise Trouble(
            f"There is no folder {inbox}. Put each student's notebook into {inbox / 'STUDENT'}."
        )
    return [path for path in inbox.iterdir() if path.is_dir() and not path.name.startswith(".")]


def student_of(folder):
    """The id of a student: the folder's name, without what nbgrader would take for a pattern."""
    return unicodedata.normalize("NFC", folder.name).strip().translate(PATTERNS)


def files_in(folder):
    """What was handed in, without what Jupyter and operating systems add."""
    files = []
    for path in sorted(folder.rglob("*")):
        own = not any(part.startswith(".") for part in path.relative_to(folder).parts)
        if own and path.is_file():
            files.append(path)
    return files


def other_files(inbox, student):
    """The names of what a student without a notebook handed in."""
    names = []
    for folder in students_folders(inbox):
        if student_of(folder) == student:
            names += [path.name for path in files_in(folder) if path.name != "timestamp.txt"]
    return names


def age(path):
    """What files are sorted by: their time; of two of the same second, their names."""
    return when(path)[0], str(path)


# Times


def when(path):
    """When a file was handed in, and what is wrong with the folder's timestamp.txt, or "".

    Without a timestamp.txt that can be read it is the file's own time.
    """
    stamp = path.parent / "timestamp.txt"
    problem = ""
    if stamp.exists():
        text = stamp.read_text(encoding="utf-8", errors="replace").strip()
        try:
            return read_time(text), ""
        except ValueError:
            problem = f"timestamp.txt holds no time ({text[:40]!r}); the file's own counts."
    moment = datetime.datetime.fromtimestamp(path.stat().st_mtime)
    return moment.replace(microsecond=0).astimezone(), problem


def read_time(text):
    """A moment from ISO 8601, as 2026-10-09 18:00, in local time where it names no other.

    nbgrader's exchange writes UTC behind it, Python's own form for a time zone is +02:00.
    """
    iso = text.removesuffix(" UTC") + "+00:00" if text.endswith(" UTC") else text
    if len(iso) < len("2026-10-09 18:00"):
        raise ValueError(f"{text!r} has no time of the day")
    return datetime.datetime.fromisoformat(iso).replace(microsecond=0).astimezone()


def read_due(text):
    """A due date, or None; in words when it can't be read."""
    if not text:
        return None
    try:
        return read_time(text)
    except ValueError:
        raise Trouble(
            f"The due date {text!r} can't be read. Write year, month and day, and the time of the "
            'day: "2026-10-09 18:00" in local time, or "2026-10-09 18:00+02:00".'
        ) from None


def in_words(moment):
    """A moment as the teacher's clock says it, with the time zone."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


# Notebooks


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
