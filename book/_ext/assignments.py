"""The assignments on pages of the book, from their sources: ``{assignments}`` and ``{solutions} A1``."""

import re
from pathlib import Path

import jupytext
from sphinx.util.docutils import SphinxDirective

PART = r"^## (Part \d+ · .+) \((\d+) points, (\d+) minutes, (?:easy|medium|hard)\)$"
COLAB = "https://colab.research.google.com/github/{}/blob/{}/notebooks/assignments/{}.ipynb"


class Assignments(SphinxDirective):
    """A table: each assignment's title, its parts, the hours that they take, and where to get the notebook."""

    def run(self):
        repository = self.config.html_theme_options["repository_url"].removeprefix(
            "https://github.com/"
        )
        branch = self.config.html_theme_options.get("repository_branch", "main")
        lines = ["| assignment | parts | hours | get it |", "|---|--:|--:|---|"]
        for notebook in sorted(Path(self.env.srcdir, "notebooks", "assignments").glob("*.ipynb")):
            cells = read(self, notebook.with_suffix(".py"))
            parts = re.findall(PART, "\n".join(cell.source for cell in cells), flags=re.MULTILINE)
            hours = sum(int(minutes) for *_, minutes in parts) / 60
            title = re.match("# (.+)", cells[0].source)[1]
            lines.append(f"| {title} | {len(parts)} | {hours:.1f} | {{download}}`download "
                         f"</notebooks/assignments/{notebook.name}>`, "
                         f"[open in Colab]({COLAB.format(repository, branch, notebook.stem)}) |")  # fmt: skip
        return self.parse_text_to_nodes("\n".join(lines))


class Solutions(SphinxDirective):
    """``{solutions} A1``: the answer to each task, folded."""

    required_arguments = 1

    def run(self):
        lines, part = [], ""
        (path,) = Path(self.env.srcdir, "notebooks", "assignments").glob(
            f"{self.arguments[0]}_*.ipynb"
        )
        for cell in read(self, path.with_suffix(".py")):
            part = next(
                (found[0] for found in re.findall(PART, cell.source, flags=re.MULTILINE)), part
            )
            if "answer" in cell.metadata:
                code = re.sub(r"\n *### (BEGIN|END) SOLUTION", "", cell.source)
                lines += dropdown(
                    f"{part} · `{cell.metadata['answer']}`", f"```python\n{code}\n```"
                )
            elif "written" in cell.metadata:
                lines += dropdown(f"{part} · in your own words", cell.source)
        return self.parse_text_to_nodes("\n".join(lines))


def dropdown(title, text):
    return [f"~~~~{{dropdown}} {title}\n:class-container: solved\n\n{text}\n~~~~\n"]


def read(directive, source):
    """The cells of an assignment's source; the page is built again when the source changes."""
    directive.env.note_dependency(str(source))
    return jupytext.read(source, fmt="py:percent").cells


def setup(app):
    app.add_directive("assignments", Assignments)
    app.add_directive("solutions", Solutions)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
