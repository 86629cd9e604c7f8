"""A chapter's page: its text, ``book/chapters/05_vision.py``, with the outputs of its notebook.

The text is in the percent format, and its head names the notebook that was made from it
(``tools/notebooks.py``)::

    # ---
    # jupyter:
    #   course: {notebook: notebooks/05_vision.ipynb}
    # ---

A chapter without a module of its own adds ``module: none``. So the words of a page come from the
text, its outputs from the notebook, and both are stored once. myst-nb hands the text alone to a
reader of formats other than its own (``nb_custom_formats``). ``tools/notebooks.py`` uses the same
functions, so that a page and a notebook are made from the same cells.
"""

from pathlib import Path

import jupytext
import nbformat
from sphinx.errors import ExtensionError

FOLDER = "book/chapters"


def code_cells(notebook):
    """The code cells that a text and its notebook share: all but the one that installs."""
    return [
        cell
        for cell in notebook.cells
        if cell.cell_type == "code" and "install" not in cell.metadata.get("tags", [])
    ]


def notebook_name(chapter):
    """The notebook that a text names in its head: ``notebooks/05_vision.ipynb``."""
    try:
        return chapter.metadata["course"]["notebook"]
    except (KeyError, TypeError):
        raise ExtensionError(
            "expected a text whose head names its notebook, such as\n"
            "# ---\n# jupyter:\n#   course: {notebook: notebooks/05_vision.ipynb}\n# ---\n"
            f"but its head holds {dict(chapter.metadata)}"
        ) from None


def first_difference(chapter, notebook):
    """What differs first between the code of a text and of its notebook; "" when nothing does."""
    written, executed = code_cells(chapter), code_cells(notebook)
    for number, (text, ran) in enumerate(zip(written, executed, strict=False), 1):
        if text.source != ran.source:
            return f"code cell {number} of the text is not the one that ran:\n{text.source}"
    if len(written) != len(executed):
        return f"the text has {len(written)} code cells, {len(executed)} ran"
    return ""


def take_outputs(chapter, notebook):
    """Give a text the outputs of its notebook, the state of its widgets, and its stamp.

    The code cells of both are the same, in the same order (``first_difference``).
    """
    for cell, ran in zip(code_cells(chapter), code_cells(notebook), strict=True):
        cell.outputs = ran.outputs
        cell.execution_count = ran.execution_count
    for key in ("kernelspec", "language_info", "mmcourse", "widgets"):
        if key in notebook.metadata:
            chapter.metadata[key] = notebook.metadata[key]


def read_chapter(text, root):
    """The notebook of a page from a text, for myst-nb. ``root`` is the folder of the course.

    Raises ExtensionError when there is no notebook, or when its code is not the text's.
    """
    chapter = jupytext.reads(text, fmt="py:percent")
    name = notebook_name(chapter)
    path = Path(root, name)
    if not path.exists():
        raise ExtensionError(f"there is no {name} yet. To execute its text: make notebooks")
    notebook = nbformat.read(path, as_version=4)
    difference = first_difference(chapter, notebook)
    if difference:
        raise ExtensionError(
            f"{name} is not what its text says now. To execute it again: make notebooks\n"
            f"{difference}"
        )
    take_outputs(chapter, notebook)
    for key in ("course", "jupytext", "mmcourse"):  # else they would stand on the page
        chapter.metadata.pop(key, None)
    return chapter


def notebook_of(environment, document):
    """The path of the notebook of a page such as ``book/chapters/05_vision``; None for others."""
    text = Path(environment.doc2path(document))
    if text.suffix != ".py":
        return None
    chapter = jupytext.read(text, fmt="py:percent")
    return Path(environment.srcdir, notebook_name(chapter))


def register_reader(app, config):
    """Have myst-nb read texts with ``read_chapter``."""
    config.nb_custom_formats = {".py": ("chapters.read_chapter", {"root": str(app.srcdir)})}


def depend_on_notebook(app, document, content):
    """Make a page anew when its notebook was executed."""
    notebook = notebook_of(app.env, document)
    if notebook:
        app.env.note_dependency(str(notebook))


def setup(app):
    app.connect("config-inited", register_reader, priority=400)  # before myst-nb looks, at 500
    app.connect("source-read", depend_on_notebook)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
