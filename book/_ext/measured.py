"""What a chapter takes: minutes to read, seconds and megabytes to run."""

from pathlib import Path

import jupytext
import nbformat
from chapters import FOLDER, notebook_name, notebook_of
from docutils import nodes
from numbering import CHAPTER
from reading import reading_minutes
from sphinx.util.docutils import SphinxDirective, SphinxRole


class Measured(SphinxRole):
    """``{measured}`seconds``` and ``megabytes`` to run a chapter, minutes of ``reading``.

    The page's own, or the sum over the chapters named: ``{measured}`reading 03_text 04_gpt```.
    """

    def run(self):
        what, *names = self.text.split()
        total = 0
        for document in [f"{FOLDER}/{name}" for name in names] or [self.env.docname]:
            if document not in self.env.found_docs:
                message = f"{self.env.docname} asks what {document} takes: there is no such page"
                return [], [self.inliner.reporter.error(message)]
            values = measurements(self.env, document)
            if what not in values:
                message = (
                    f"{document} has no measured {what!r}, "
                    f"only {', '.join(values) or 'chapters have'}: make notebooks"
                )
                return [], [self.inliner.reporter.error(message)]
            if names:
                self.env.note_dependency(self.env.doc2path(document))
                self.env.note_dependency(str(notebook_of(self.env, document)))
            total += values[what]
        return [nodes.Text(str(total))], []


class Measurements(SphinxDirective):
    """``{measurements}``: a table of what every chapter took, in the order of the files' names."""

    def run(self):
        lines = ["| chapter | minutes to read | seconds to run | megabytes |", "|---|--:|--:|--:|"]
        for path in sorted(Path(self.env.srcdir, FOLDER).glob("*.py")):
            document = f"{FOLDER}/{path.stem}"
            self.env.note_dependency(str(path))
            self.env.note_dependency(str(notebook_of(self.env, document)))
            values = measurements(self.env, document)
            chapter = CHAPTER.fullmatch(document)
            number = int(chapter[1]) if chapter else ""
            cells = [f"{number} {{doc}}`/{document}`"]
            cells += [str(values.get(name, "")) for name in ("reading", "seconds", "megabytes")]
            lines.append(f"| {' | '.join(cells)} |")
        return self.parse_text_to_nodes("\n".join(lines))


def measurements(environment, document):
    """What a chapter took to run, from the stamp of its notebook, and the minutes to read it.

    Nothing for a page that is no chapter.
    """
    text = Path(environment.doc2path(document))
    if text.suffix != ".py":
        return {}
    chapter = jupytext.read(text, fmt="py:percent")
    notebook = nbformat.read(Path(environment.srcdir, notebook_name(chapter)), as_version=4)
    return notebook.metadata.get("mmcourse", {}) | {"reading": reading_minutes(chapter.cells)}


def setup(app):
    app.add_role("measured", Measured())
    app.add_directive("measurements", Measurements)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
