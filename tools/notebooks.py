"""Make notebooks from the chapters' texts: execute what is stale, write plain Markdown.

    python tools/notebooks.py run [NAME ...]    make notebooks/NAME.ipynb from book/chapters/NAME.py
    python tools/notebooks.py check             list what is not up to date, and fail if anything is
    python tools/notebooks.py new NAME          begin a chapter (tools/new_chapter.py)

A chapter is one text, ``book/chapters/05_vision.py``: edit that, never the notebook, which is
written again. ``run`` executes a text only when its outputs are stale (tools/staleness.py); when
words alone changed, it executes nothing and writes the words. Each notebook carries a stamp: the
digest of what its outputs depend on, and the seconds and megabytes that they took.

**When a cell fails**, the notebook on disk stays as it was. ``run`` says the line of the text at
which the cell begins, prints the traceback, and keeps the run so far in
``_build/failed/NAME.ipynb``, with all outputs up to there.

1. Read the last lines of the traceback, and the cell.
2. Try it: open ``_build/failed/NAME.ipynb`` in JupyterLab (``.venv/bin/jupyter lab _build``), run
   the cells above the failing one (*Run All Above Selected Cell*), and change it until it works.
   ``%debug`` in a new cell opens the debugger where the exception was raised: ``u`` goes up to the
   caller, ``p name`` prints, ``q`` ends it.
3. Write the change into the text, or into the module, and run again.
"""

import argparse
import copy
import hashlib
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that it also runs as a file

import jupytext
import nbformat
from nbclient.exceptions import CellExecutionError

from book._ext.chapters import (
    FOLDER,
    code_cells,
    first_difference,
    notebook_name,
    take_outputs,
)
from book._ext.reading import reading_minutes
from tools.execution import execute
from tools.install import INSTALL
from tools.plain import plain_notebook
from tools.staleness import digest, refresh_source, shows_old_source, widgets

KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}

STALE = "is stale: its code, a module that it imports or its data changed after it ran"
OLD_SOURCE = "shows source that is no longer what the file says"
OLD_WORDS = "is not what its text says now"


def texts(names=()):
    """The paths of all texts, or of those named: 01_attention, book/chapters/01_attention.py."""
    paths = sorted((ROOT / FOLDER).glob("*.py"))
    stems = [Path(name).stem for name in names]
    unknown = sorted(set(stems) - {path.stem for path in paths})
    if unknown:
        known = ", ".join(path.stem for path in paths)
        raise SystemExit(f"no such chapter: {', '.join(unknown)}; there are {known}")
    return [path for path in paths if not stems or path.stem in stems]


def read_text(path):
    """The chapter of a text, without outputs."""
    return jupytext.read(path, fmt="py:percent")


def notebook_path(chapter):
    """Where the notebook of a chapter lies."""
    return ROOT / notebook_name(chapter)


# What a notebook is made of --------------------------------------------------------------------


def why_stale(chapter, path):
    """Why a chapter must be executed; "" when the outputs of the notebook at ``path`` are right.

    Then the chapter has them: they are taken over.
    """
    if not path.exists():
        return "never ran"
    notebook = nbformat.read(path, as_version=4)
    if first_difference(chapter, notebook):
        return STALE
    take_outputs(chapter, notebook)
    if any(cell.source.strip() and not cell.execution_count for cell in code_cells(chapter)):
        return "has code cells that never ran"
    if chapter.metadata.get("mmcourse", {}).get("digest") != digest(chapter):
        return STALE
    return ""


def derive(chapter, name):
    """The notebook of an executed chapter: plain Markdown, and a cell that installs.

    Code that the page does not show is folded (tools/plain).
    """
    notebook = copy.deepcopy(chapter)
    notebook.metadata["mmcourse"]["reading"] = reading_minutes(chapter.cells)
    kinds = [cell.cell_type for cell in notebook.cells]
    tags = ["install", "remove-cell"]
    install = nbformat.v4.new_code_cell(INSTALL, metadata={"tags": tags})
    notebook.cells.insert(kinds.index("code"), install)
    notebook = plain_notebook(notebook, name)
    tidy(notebook)
    return notebook


def tidy(notebook):
    """Leave nothing in a notebook that differs from run to run or from machine to machine."""
    rename_widgets(notebook)
    kept = {
        key: notebook.metadata[key] for key in ("mmcourse", "widgets") if key in notebook.metadata
    }
    notebook.metadata = nbformat.NotebookNode(
        kept, kernelspec=KERNEL, language_info={"name": "python"}
    )
    seen = {}
    for cell in notebook.cells:
        name = hashlib.sha256(cell.source.encode()).hexdigest()[:8]
        seen[name] = seen.get(name, 0) + 1
        cell.id = name if seen[name] == 1 else f"{name}-{seen[name]}"
        cell.metadata.pop("execution", None)
    nbformat.validate(notebook)


def rename_widgets(notebook):
    """Number the widgets, which get random names when they are made."""
    text = nbformat.writes(notebook)
    for number, name in enumerate(widgets(notebook), 1):
        text = text.replace(name, f"widget-{number:02}")
    notebook.update(nbformat.reads(text, as_version=4))


# The commands ----------------------------------------------------------------------------------


def run(text, force=False):
    """Bring the notebook of one text up to date; gives an error message, or ""."""
    name = text.stem
    chapter = read_text(text)
    path = notebook_path(chapter)
    if why_stale(chapter, path) or force:
        print(f"{name}: runs ...", flush=True)
        try:
            seconds, megabytes = execute(chapter, path.parent)
        except CellExecutionError as error:
            return f"{name}: {keep_failed(chapter, text)}\n{error}"
        chapter.metadata["mmcourse"] = {
            "digest": digest(chapter),
            "seconds": seconds,
            "megabytes": megabytes,
        }
        print(f"{name}: {seconds} s, {megabytes} MB")
    refresh_source(chapter)
    try:
        made = as_written(derive(chapter, name))
    except ValueError as error:  # of words that have no plain form
        return str(error)
    if path.exists() and path.read_text(encoding="utf-8") == made:
        print(f"{name}: is up to date")
    else:
        path.write_text(made, encoding="utf-8")
        print(f"{name}: written to {path.relative_to(ROOT).as_posix()}")
    return ""


def as_written(notebook):
    """A notebook as its file has it."""
    return nbformat.writes(notebook) + "\n"


def keep_failed(chapter, text):
    """Write a run that failed to where it can be looked at, and say where and which cell it was."""
    path = ROOT / "_build" / "failed" / f"{text.stem}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(chapter, path)
    ran = [number for number, cell in enumerate(chapter.cells) if cell.get("outputs")]
    starts = [
        line
        for line, words in enumerate(text.read_text(encoding="utf-8").splitlines(), 1)
        if words.startswith("# %%")
    ]
    return (
        f"the cell at line {starts[ran[-1]]} of {text.relative_to(ROOT).as_posix()} failed, "
        f"and the notebook on disk is as it was.\n"
        f"The run so far: {path.relative_to(ROOT).as_posix()}"
    )


def faults(text):
    """Why the notebook of a text is not up to date, in words; an empty list when it is."""
    chapter = read_text(text)
    path = notebook_path(chapter)
    stale = why_stale(chapter, path)
    if stale:
        return [stale]
    if shows_old_source(chapter):
        return [OLD_SOURCE]
    made = as_written(derive(chapter, text.stem))
    return [] if path.read_text(encoding="utf-8") == made else [OLD_WORDS]


def check(names):
    """Problems of these chapters' notebooks, a line each, and what to do about them."""
    problems = [f"{text.stem} {fault}" for text in texts(names) for fault in faults(text)]
    if problems:
        problems.append(
            "The pages show what these notebooks gave before. To make them again: make notebooks"
        )
    return problems


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run", help="execute what is stale, and write the notebooks")
    running.add_argument(
        "names", nargs="*", metavar="NAME", help="01_attention ...; all when none is named"
    )
    running.add_argument("--force", action="store_true", help="execute also what is not stale")
    checking = commands.add_parser("check", help="list what is not up to date")
    checking.add_argument("names", nargs="*", metavar="NAME")
    beginning = commands.add_parser("new", help="begin a chapter")
    beginning.add_argument("names", nargs=1, metavar="NAME", help="03_text, say")
    options = parser.parse_args(arguments)
    if options.command == "new":
        from tools import new_chapter

        return new_chapter.main(options.names)
    if options.command == "run":
        problems = [
            problem for text in texts(options.names) if (problem := run(text, options.force))
        ]
    else:
        problems = check(options.names)
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 1
    print("every notebook is up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
