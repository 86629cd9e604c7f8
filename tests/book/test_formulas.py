"""Every numbered formula has its row in book/formulas.csv, and what the row names exists."""

import ast
import csv
import re
from pkgutil import resolve_name

import pytest

from tests.book.pages import ROOT, TEXTS, read_text

ROWS = list(csv.DictReader((ROOT / "book" / "formulas.csv").open(encoding="utf-8", newline="")))
EACH = pytest.mark.parametrize("row", ROWS, ids=lambda row: row["label"])
DISPLAYED = re.compile(
    r"\$\$ *\(([\w-]+)\)|^:label: (eq-[\w-]+)|\\label\{([\w-]+)\}", flags=re.MULTILINE
)


def labels(text):
    return ["".join(match) for match in DISPLAYED.findall(text)]


CHAPTERS = {path: read_text(path).cells for path in TEXTS}
HOMES = {
    label: path
    for path, cells in CHAPTERS.items()
    for cell in cells
    if cell.cell_type == "markdown"
    for label in labels(cell.source)
}


def functions(path):
    """The tests in a file by name, those of a class as Class::name."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    inner = {
        f"{group.name}::{part.name}"
        for group in tree.body
        if isinstance(group, ast.ClassDef)
        for part in group.body
        if isinstance(part, ast.FunctionDef)
    }
    return inner | {part.name for part in tree.body if isinstance(part, ast.FunctionDef)}


def cells_with(row, piece):
    cells = [cell for cell in CHAPTERS[HOMES[row["label"]]] if cell.cell_type == "code"]
    return [cell for cell in cells if piece in cell.source]


def test_each_formula_has_one_row_in_the_order_of_the_book():
    assert [row["label"] for row in ROWS] == list(HOMES)


def test_each_row_is_on_the_page():
    page = (ROOT / "book" / "formulas.md").read_text(encoding="utf-8")
    shown = re.findall(r"^```\{formulas\} (\w+)$", page, flags=re.MULTILINE)
    assert shown == list(dict.fromkeys(row["label"].split("-")[1] for row in ROWS))


@EACH
def test_label_begins_with_its_chapter(row):
    assert HOMES[row["label"]].stem[3:] == row["label"].split("-")[1]


@EACH
def test_code_is_there(row):
    if row["code"].startswith("mmcourse."):
        assert resolve_name(row["code"]).__doc__, (
            "what has no docstring is not on the package's page"
        )
    else:
        assert cells_with(row, row["code"]), (
            f"no cell of {HOMES[row['label']].stem} holds {row['code']!r}"
        )


@EACH
def test_proof_is_there(row):
    path, _, name = row["test"].partition("::")
    if name:
        assert name in functions(path)
        package = row["code"].startswith("mmcourse.")
        home = ".".join(row["code"].split(".")[:2]) if package else HOMES[row["label"]].name
        assert home in (ROOT / path).read_text(encoding="utf-8"), f"{path} does not read {home}"
    elif row["test"]:
        tags = [
            tag
            for cell in cells_with(row, row["test"])
            for tag in ["ran", *cell["metadata"].get("tags", [])]
        ]
        checked = "nbval-check-output" in tags or ("ran" in tags and "assert" in row["test"])
        assert checked, f"no cell of {HOMES[row['label']].stem} checks {row['test']!r}"
    else:
        assert not row["code"].startswith("mmcourse."), "what is in the package has a test"


@pytest.mark.parametrize(
    "path", sorted((ROOT / "mmcourse").rglob("*.py")), ids=lambda path: path.stem
)
def test_docstrings_name_formulas_of_the_book(path):
    assert set(re.findall(r"\beq-[\w-]+", path.read_text(encoding="utf-8"))) <= set(HOMES)


def test_formulas_are_found_in_every_notation():
    text = "$$\nx\n$$ (eq-a)\n```{math}\n:label: eq-b\nx\n```\n"
    text += "\\begin{align}\\label{eq-c}\\end{align}"
    assert labels(text) == ["eq-a", "eq-b", "eq-c"]
