"""What the book needs and Sphinx lacks: chapter numbers, measured numbers, figures live and still, one page for PDF."""

import json
import math
import re
from pathlib import Path

from docutils import nodes
from sphinx.environment.collectors.toctree import TocTreeCollector
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.docutils import SphinxDirective, SphinxRole

CHAPTER = re.compile(r"notebooks/(\d\d)_\w+")


def number_chapters(app, env):
    """Number chapter notebooks/05_vision as 5, its sections 5.1, 5.2 ... and its figures and formulas after it.

    Sphinx itself can only count chapters in the order of the table of contents, and a chapter's number is final here
    although some chapters before it are not written yet.
    """
    for document in env.found_docs:
        match = CHAPTER.fullmatch(document)
        if match and document in env.tocs:
            numbers = env.toc_secnumbers.setdefault(document, {})
            number_entries(env.tocs[document], (), int(match[1]) - 1, numbers)
            env.titles[document]["secnumber"] = numbers.get("")
    return TocTreeCollector().assign_figure_numbers(env)


def number_entries(entries, parent, before, numbers):
    """Give the reference of every entry in a (nested) list its section number, the first one ``before + 1``."""
    for position, entry in enumerate(entries.children, before + 1):
        number = (*parent, position)
        for child in entry.children:
            if isinstance(child, nodes.bullet_list):
                number_entries(child, number, 0, numbers)
            else:
                for reference in child.findall(nodes.reference):
                    numbers[reference["anchorname"]] = number
                    if len(number) < 3:
                        reference["secnumber"] = number


class Measured(SphinxRole):
    """``{measured}`seconds``` and ``megabytes``: what the page's notebook took to run; ``reading``: minutes to read."""

    def run(self):
        values = measurements(Path(self.env.doc2path(self.env.docname)))
        if self.text not in values:
            message = f"{self.env.docname} has no measured {self.text!r}, only {', '.join(values)}: make notebooks"
            return [], [self.inliner.reporter.error(message)]
        return [nodes.Text(str(values[self.text]))], []


class Measurements(SphinxDirective):
    """``{measurements}``: a table of what every notebook took to run, in the order of the files' names."""

    def run(self):
        lines = ["| notebook | minutes to read | seconds to run | megabytes |", "|---|--:|--:|--:|"]
        for path in sorted(Path(self.env.srcdir, "notebooks").glob("*.ipynb")):
            self.env.note_dependency(str(path))
            values = measurements(path)
            chapter = CHAPTER.fullmatch(f"notebooks/{path.stem}")
            numbers = (values["reading"], values.get("seconds", ""), values.get("megabytes", ""))
            title = f"{int(chapter[1]) if chapter else ''} {{doc}}`/notebooks/{path.stem}`"
            lines.append(f"| {title} | {' | '.join(map(str, numbers))} |")
        return self.parse_text_to_nodes("\n".join(lines))


def measurements(path):
    """What a notebook took to run, from its stamp, and the minutes to read it."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    return notebook["metadata"].get("mmcourse", {}) | {"reading": reading_minutes(notebook)}


def reading_minutes(notebook):
    """200 words of text or 20 lines of code a minute."""
    text = {kind: "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == kind)
            for kind in ("markdown", "code")}  # fmt: skip
    return math.ceil(len(text["markdown"].split()) / 200 + len(text["code"].splitlines()) / 20)


def leave_out_thebe(app, config):
    """jupyter-book adds sphinx-thebe, which runs code on a server. Not used here, and its script is an error."""
    for listeners in app.events.listeners.values():
        listeners[:] = [
            listener for listener in listeners if listener.handler.__module__ != "sphinx_thebe"
        ]
    app.registry.css_files[:] = [
        file for file in app.registry.css_files if file[0] != "sphinx-thebe.css"
    ]


class LiveAndStill(SphinxPostTransform):
    """Keep the still picture of a live figure beside it, where myst-nb would keep the live one alone.

    The page shows one of the two (mmcourse/book/figures/figures.css): the still one where scripts are off, and on paper.
    Elsewhere than in web pages only the still one is left.
    """

    default_priority = 3  # before myst-nb chooses, at 4

    def run(self, **options):
        for bundle in list(self.document.findall(nodes.container)):
            kinds = [
                part.get("mime_type")
                for part in bundle.children
                if isinstance(part, nodes.container)
            ]
            if {"application/vnd.jupyter.widget-view+json", "image/svg+xml"} <= set(kinds):
                parts = dict(zip(kinds, bundle.children, strict=True))
                still, live = (
                    parts["image/svg+xml"],
                    parts["application/vnd.jupyter.widget-view+json"],
                )
                if self.app.builder.name in {"html", "dirhtml", "singlehtml"}:
                    still = nodes.container("", *still.children, classes=["mm-still"])
                    bundle.replace_self(
                        nodes.container("", still, *live.children, classes=["mm-both"])
                    )
                else:
                    bundle.remove(live)


class Together(SphinxPostTransform):
    """Keep a formula on one line with the comma after it and the bracket before it.

    A browser may break a line there, as MathJax makes each formula a box of its own.
    """

    default_priority = 800  # after all that makes text

    def run(self, **options):
        for formula in list(self.document.findall(nodes.math)):
            place = formula.parent.index(formula)
            before, after = (formula.parent[at] if 0 <= at < len(formula.parent) else None
                             for at in (place - 1, place + 1))  # fmt: skip
            opens = re.search(r"[(\[“‘\"]+$", before) if isinstance(before, nodes.Text) else None
            closes = re.match(r"[.,;:!?)\]”’\"]+", after) if isinstance(after, nodes.Text) else None
            parts = [formula.deepcopy()]
            if closes:
                parts.append(nodes.Text(closes[0]))
                formula.parent.replace(after, nodes.Text(after[closes.end() :]))
            if opens:
                parts.insert(0, nodes.Text(opens[0]))
                formula.parent.replace(before, nodes.Text(before[: opens.start()]))
            if opens or closes:
                formula.parent.replace(formula, nodes.inline("", "", *parts, classes=["together"]))


def share_handlers(app):
    """Let the PDF's single page draw every node as the book's pages do.

    Sphinx forgets the handlers of ``html`` for a builder for which any extension registered one of its own.
    """
    handlers = app.registry.translation_handlers
    handlers["singlehtml"] = handlers["html"] | handlers.get("singlehtml", {})


def setup(app):
    app.connect("config-inited", leave_out_thebe)
    app.connect("builder-inited", share_handlers)
    app.connect("env-get-updated", number_chapters, priority=900)  # after Sphinx's own numbering
    app.add_role("measured", Measured())
    app.add_post_transform(LiveAndStill)
    app.add_post_transform(Together)
    app.add_directive("measurements", Measurements)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
