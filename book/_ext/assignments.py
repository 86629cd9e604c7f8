"""The assignments on pages of the book: ``{assignments}`` and ``{solutions} A1``."""

import re
from pathlib import Path

import jupytext
from address import is_published
from sphinx.util.docutils import SphinxDirective

FOLDER = "notebooks/assignments"
PART = r"^## (Part \d+ · .+) \((\d+) points, (\d+) minutes, (?:easy|medium|hard)\)$"
COLAB = "https://colab.research.google.com/github/{}/blob/{}/{}"
ROW = "| {} | {} | {:.1f} | {} |"


class Assignments(SphinxDirective):
    """A table: each assignment's title, parts and hours, and where to get the notebook."""

    def run(self):
        options = self.config.html_theme_options
        repository = options["repository_url"].removeprefix("https://github.com/")
        branch = options.get("repository_branch", "main")
        lines = ["| assignment | parts | hours | get it |", "|---|--:|--:|---|"]
        for source in sorted(Path(self.env.srcdir, FOLDER).glob("A*/source.py")):
            cells = cells_of(self, source)
            title = re.match("# (.+)", cells[0].source)[1]
            text = "\n".join(cell.source for cell in cells)
            minutes = [int(part[2]) for part in re.findall(PART, text, flags=re.MULTILINE)]
            name = source.parent.name
            notebook = f"{FOLDER}/{name}/{name}.ipynb"
            links = f"{{download}}`download </{notebook}>`"
            if is_published(self.config):
                links += f", [open in Colab]({COLAB.format(repository, branch, notebook)})"
            lines.append(ROW.format(title, len(minutes), sum(minutes) / 60, links))
        return self.parse_text_to_nodes("\n".join(lines))


class Solutions(SphinxDirective):
    """``{solutions} A1``: the answer to each task, folded."""

    required_arguments = 1

    def run(self):
        folder = Path(self.env.srcdir, FOLDER)
        (source,) = folder.glob(f"{self.arguments[0]}_*/source.py")
        lines = []
        part = ""
        for cell in cells_of(self, source):
            heading = re.search(PART, cell.source, flags=re.MULTILINE)
            if heading:
                part = heading[1]
            if "answer" in cell.metadata:
                code = re.sub(r"\n *### (BEGIN|END) SOLUTION", "", cell.source)
                title = f"{part} · `{cell.metadata['answer']}`"
                lines.append(dropdown(title, f"```python\n{code}\n```"))
            elif "written" in cell.metadata:
                lines.append(dropdown(f"{part} · in your own words", cell.source))
        return self.parse_text_to_nodes("\n".join(lines))


def dropdown(title, text):
    return f"~~~~{{dropdown}} {title}\n:class-container: solved\n\n{text}\n~~~~\n"


def cells_of(directive, source):
    """The cells of an assignment's source; the page is built again when the source changes."""
    directive.env.note_dependency(str(source))
    return jupytext.read(source, fmt="py:percent").cells


def setup(app):
    app.add_directive("assignments", Assignments)
    app.add_directive("solutions", Solutions)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
