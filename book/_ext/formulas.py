"""The formula index, book/formulas.csv: where each is computed, and what proves it.

A row's ``code`` is something in mmcourse, or a piece of a code cell of the formula's chapter. Its
``test`` is ``file::name``, or a piece of the cell that checks the chapter's code, or empty.
tests/book/test_formulas.py sees to it.
"""

import csv
from pathlib import Path

from sphinx.util.docutils import SphinxDirective

TABLE = Path(__file__).resolve().parent.parent / "formulas.csv"


def rows():
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


class Formulas(SphinxDirective):
    """``{formulas} attention``: the rows of one chapter as a table."""

    required_arguments = 1

    def run(self):
        self.env.note_dependency(str(TABLE))
        lines = ["| number | formula | code and proof |", "|---|---|---|"]
        lines += [
            f"| {{eq}}`{row['label']}` | {row['says']} | {code(row)}<br>{proof(row)} |"
            for row in rows()
            if row["label"].split("-")[1] == self.arguments[0]
        ]
        (table,) = self.parse_text_to_nodes("\n".join(lines))
        table["classes"].append("formulas")
        return [table]


def code(row):
    return (
        f"{{py:obj}}`~{row['code']}`"
        if row["code"].startswith("mmcourse.")
        else f"in the chapter: `{row['code']}`"
    )


def proof(row):
    if not row["test"]:
        return "no check: it is drawn or printed"
    file, _, name = row["test"].rpartition("::")
    return f"`{name}` in `{file}`" if file else f"checked in the chapter: `{name}`"


def name_formulas(app, what, name, thing, options, lines):
    """Let the page of the package say which formulas a function computes."""
    app.env.note_dependency(str(TABLE))
    labels = [row["label"] for row in rows() if row["code"] == name]
    if labels:
        lines += [
            "",
            f"Formula{'s' * (len(labels) > 1)}: {', '.join(f':eq:`{label}`' for label in labels)}.",
        ]


def setup(app):
    app.add_directive("formulas", Formulas)
    app.connect("autodoc-process-docstring", name_formulas)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
