"""The page on which a reader tries the captioner: its scripts, and what was measured of it."""

import json
from decimal import Decimal
from pathlib import Path

from docutils import nodes
from sphinx.util.docutils import SphinxRole

PAGE = "book/try"
SCRIPTS = ("scenes.js", "captioner.js", "page.js")
MEASURED = "mmcourse/recipes/measured"
OTHERS = "engines."  # begins what was found in other browsers than Chromium


class Tried(SphinxRole):
    """``{tried}`scenes.count```: a number of the study that compared the page with Python.

    ``{tried}`engines.firefox.scenes.count``` is one of the study in other browsers.
    """

    def run(self):
        study = "serving_page_engines" if self.text.startswith(OTHERS) else "serving_page"
        path = Path(self.env.srcdir, MEASURED, f"{study}.json")
        self.env.note_dependency(str(path))
        value = json.loads(path.read_text(encoding="utf-8"))
        try:
            for name in self.text.removeprefix(OTHERS).split("."):
                value = value[name]
        except (KeyError, TypeError):
            message = f"{path.name} has no {self.text}: run tools/book/captioner_page_study.py"
            return [], [self.inliner.reporter.error(message)]
        return [nodes.Text(written(value))], []


def written(value):
    """A number as people write it: a small one with two digits, and never as 9e-05."""
    if isinstance(value, float) and 0 < value < 0.01:
        return f"{Decimal(f'{value:.2g}'):f}"
    return str(value)


def add_scripts(app, page, template, context, doctree):
    """On that page alone, so that the others are not heavier."""
    if page == PAGE:
        app.add_css_file("try/page.css")
        for script in SCRIPTS:
            app.add_js_file(f"try/{script}", loading_method="defer")


def setup(app):
    app.add_role("tried", Tried())
    app.connect("html-page-context", add_scripts)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
