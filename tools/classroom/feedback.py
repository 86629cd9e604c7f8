"""Feedback pages: one HTML file a student, without scripts, other files or a network."""

import html
from pathlib import Path

from latex2mathml.converter import convert
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbgrader.preprocessors import GetGrades
from traitlets.config import Config

from tools.classroom.safety import INVISIBLE


class Page(IPythonRenderer):
    """Markdown to HTML: formulas become MathML, which browsers draw; HTML is shown, not obeyed."""

    def inline_math(self, body):
        return formula(body, "inline")

    def block_math(self, body):
        return formula(body, "block")

    def latex_environment(self, name, body):
        return formula(f"\\begin{{{name}}}{body}\\end{{{name}}}", "block")


def formula(tex, display):
    """A formula as MathML; what can't be converted is shown as it was written."""
    try:
        return convert(html.unescape(tex).replace(INVISIBLE, ""), display=display)
    except Exception:
        return f"<code>{html.escape(tex)}</code>"


def markdown(text):
    return MarkdownWithMath(renderer=Page(escape=True, allow_harmful_protocols=False)).render(text)


class Grades(GetGrades):
    """nbgrader's, which also marks the answers that wait for a person."""

    def _get_score(self, cell, resources):
        super()._get_score(cell, resources)
        name = cell.metadata.nbgrader.grade_id
        grade = self.gradebook.find_grade(
            name, self.notebook_id, self.assignment_id, self.student_id
        )
        cell.metadata.nbgrader.waits = grade.needs_manual_grade


def page_settings():
    """For nbgrader's GenerateFeedback: our page, and of outputs only text and pictures."""
    templates = str(Path(__file__).with_name("templates"))
    exporter = {
        "template_name": "course",
        "extra_template_basedirs": [templates],
        "filters": {"markdown2html": markdown},
    }
    shown = {"display_data_priority": ["image/png", "image/jpeg", "text/plain"]}
    return Config(HTMLExporter=exporter, NbConvertBase=shown)
