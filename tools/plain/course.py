"""What a text can refer to: chapters by name and number, and everything that has a label."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jupytext
import yaml
from nbformat.v4 import new_markdown_cell, new_notebook

from tools.plain.places import ROOT, TEXTS
from tools.plain.syntax import blocks

FIGURES = {"figure", "glue:figure"}
WORDS = {"figure": "Figure", "exercise": "Exercise", "section": "Section", "formula": "Formula"}
TARGET = re.compile(r"\((?P<label>[\w-]+)\)=")


@dataclass
class Place:
    """What a label names: its kind (a key of ``WORDS``), its chapter, its number and its title."""

    kind: str
    chapter: str
    number: str
    title: str = ""


def chapter_number(name):
    """The number of a chapter, "5" for "05_vision", or "" for a page that has none."""
    match = re.match(r"(\d\d)_", name)
    return str(int(match[1])) if match else ""


@cache
def chapters():
    """The names of the chapters, 01_attention and so on, as their texts are named."""
    return tuple(sorted(path.stem for path in TEXTS.glob("*.py")))


@cache
def text(name):
    """The text of a chapter as a notebook without outputs."""
    return jupytext.read(TEXTS / f"{name}.py", fmt="py:percent")


@cache
def title(name):
    """The title of a chapter, without its number."""
    for cell in text(name).cells:
        match = re.match(r"# (.+)", cell.source) if cell.cell_type == "markdown" else None
        if match:
            return match[1].strip()
    raise ValueError(f"{name} has no title: its first Markdown cell begins with one, # Vision")


@cache
def places():
    """Everything that has a label, in all chapters, as {label: Place}."""
    found = {}
    for name in chapters():
        for label, place in Counter(name, counted_before(name)).count(text(name)):
            if label is None:
                continue
            if label in found:
                raise ValueError(f"the label {label} stands in {found[label].chapter} and {name}")
            found[label] = place
    return found


def counted_before(name):
    """What was counted before a page without a number: all such pages are counted in one row.

    Their order is that of the table of contents. Each numbered chapter begins again.
    """
    counter = Counter(name)
    if chapter_number(name) or name not in chapters():
        return counter.counted
    for page in pages():
        if Path(page).stem == name:
            break
        if not chapter_number(Path(page).stem):
            for _ in counter.count(page_as_notebook(page)):
                pass
    return counter.counted


def pages():
    """The pages of the table of contents in its order, as they are written there."""
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    files = [chapter["file"] for part in contents["parts"] for chapter in part["chapters"]]
    return [contents["root"], *files]


def page_as_notebook(page):
    """A page as cells: those of a chapter's text, or one cell for a page without code."""
    name = Path(page).stem
    if name in chapters():
        return text(name)
    markdown = (ROOT / f"{page}.md").read_text(encoding="utf-8")
    return new_notebook(cells=[new_markdown_cell(markdown)])


class Counter:
    """Numbers figures, formulas and exercises of a chapter, each kind for itself, and sections.

    In chapter 5 they are 5.1, 5.2, ... A page without a number counts from ``counted`` on.
    """

    def __init__(self, chapter, counted=None):
        self.chapter = chapter
        self.counted = dict(counted or {"figure": 0, "exercise": 0, "formula": 0})
        self.sections = []
        self.target = None  # a label that waits for the heading below it

    def count(self, notebook):
        """The pairs (label, Place) of a notebook, in its order."""
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                yield from self.count_text(cell.source)
            elif "figure" in cell.metadata.get("mystnb", {}):
                figure = cell.metadata["mystnb"]["figure"]
                yield figure.get("name"), self.next("figure", figure["caption"])

    def count_text(self, markdown):
        """The pairs (label, Place) of a Markdown text, directives in directives included."""
        for block in blocks(markdown):
            if block.directive is not None:
                yield from self.count_directive(block.directive)
            elif block.kind == "myst_target":
                self.target = TARGET.match(block.source)["label"]
            elif block.kind == "heading_open":
                yield self.heading_label(), self.section(block.source)
            elif block.label:
                yield block.label, self.next("formula")
            for token in block.inner:
                if token.type == "math_block_label":
                    yield token.info, self.next("formula")

    def count_directive(self, directive):
        if directive.name in FIGURES:
            yield directive.options.get("name"), self.next("figure", directive.content)
        elif directive.name == "exercise-start":
            yield directive.options.get("label"), self.next("exercise", directive.argument)
        elif directive.name == "math" and "label" in directive.options:
            yield directive.options["label"], self.next("formula")
        else:
            yield from self.count_text(directive.content)

    def next(self, kind, title=""):
        """The place of the next thing of a kind."""
        self.counted[kind] += 1
        return Place(kind, self.chapter, self.number(self.counted[kind]), title)

    def section(self, source):
        """The place of a heading: chapter 5, its sections 5.1, 5.2, ..., and theirs 5.1.1, ..."""
        marks, title = source.split(" ", 1)
        depth = len(marks) - 1  # 0 for the title
        if depth > 0:
            self.sections = [*self.sections, *[0] * depth][:depth]
            self.sections[-1] += 1
        number = self.number(*self.sections[:depth]) if chapter_number(self.chapter) else ""
        return Place("section", self.chapter, number, title)

    def number(self, *counts):
        """A number after the chapter's: 5.1.1 of 1 and 1."""
        parts = [chapter_number(self.chapter), *map(str, counts)]
        return ".".join(filter(None, parts))

    def heading_label(self):
        label = self.target
        self.target = None
        return label
