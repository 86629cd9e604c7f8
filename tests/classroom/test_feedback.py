"""Feedback pages, and what a student writes in the teacher's browser."""

import re
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools.classroom import exchange, feedback, grading, safety
from tools.classroom.assignments import ROOT, assignments, name_of, teachers_notebook
from tools.classroom.releases import release

EVIL = (
    "<script>alert(1)</script> <img src=x onerror=alert(1)> "
    "[go](javascript:alert(1)) &lt;b&gt; but 1 < 2 & 3"
)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The feedback page of a student who answers two questions and writes HTML."""
    folder = tmp_path_factory.mktemp("class")
    empty = nbformat.read(release(assignments()["A1"], folder), as_version=4)
    for cell in empty.cells:
        if name_of(cell) == "softmax":
            cell.source = "from IPython.display import HTML\nHTML('<b>loud</b>')"
        if name_of(cell) == "why_the_scale":
            cell.source = "The **variance** is $d_k$, and $\\wrong{$ is no formula. " + EVIL
    handed = folder / "inbox" / "A1" / "zoë +1" / "A1_attention.ipynb"
    handed.parent.mkdir(parents=True)
    nbformat.write(empty, handed)
    (handed.parent / "timestamp.txt").write_text("2026-10-05 10:00:00.1 UTC")
    (handed.parent / "submission_secret.txt").write_text("secret")
    grading.grade(folder, "A1", due="2026-10-04 10:00", show=lambda _: None)
    return folder / "feedback" / "zoë +1" / "A1" / "A1_attention.html"


@pytest.mark.slow
def test_a_feedback_page_needs_nothing_else(page):
    text = page.read_text(encoding="utf-8")
    assert not re.findall(r"<script|<link|<iframe|<img", text), (
        "a page that loads or runs something"
    )
    assert text.count("<math") > 30 and "$" not in re.sub(
        r"(?s)<pre>.*?</pre>|<code>.*?</code>", "", text
    )
    assert "<code>\\wrong{</code>" in text


@pytest.mark.slow
def test_a_feedback_page_shows_what_counts(page):
    text = page.read_text(encoding="utf-8")
    assert "0 of 100" in text and "not graded yet" in text and "- of 10<" in text
    assert "Late: handed in" in text
    assert "class CheckFailed" not in text, (
        "the checks are the same for everybody, 130 lines of them"
    )


@pytest.mark.slow
def test_what_a_student_writes_is_shown_and_not_obeyed(page):
    text = page.read_text(encoding="utf-8")
    assert (
        "<b>loud" not in text
        and "onerror=alert" in text
        and "<img" not in text
        and "javascript:" not in text
    )
    folder = page.parents[3]
    autograded = nbformat.read(
        folder / "autograded" / "zoë +1" / "A1" / "A1_attention.ipynb", as_version=4
    )
    from nbconvert import HTMLExporter  # as the Formgrader shows it

    shown = HTMLExporter(template_name="basic").from_notebook_node(autograded)[0]
    assert "<b>loud" not in shown and "alert(1)</script>" not in shown and "<img src=x" not in shown
    assert 'href="javascript:' not in shown


@pytest.mark.slow
def test_feedback_can_go_back_through_the_exchange(page, tmp_path):
    exchange.exchange("return", page.parents[3], "A1", root=tmp_path)
    (given,) = (tmp_path / "mmcourse" / "feedback").iterdir()
    assert given.read_bytes() == page.read_bytes()


def test_harmless_text():
    cell = new_markdown_cell(EVIL)
    assert safety.harmless(cell) == (
        "<\u200bscript>alert(1)<\u200b/script> <\u200bimg src=x onerror=alert(1)> "
        "[go](javascript :alert(1)) &\u200blt;b&\u200bgt; but 1 < 2 & 3"
    )
    assert safety.harmless(new_code_cell("a <b")) == "a <b"


def test_what_is_smaller_is_escaped_once():
    """a<b is shown as it was written, in words, in code and in a formula."""
    written = safety.harmless(new_markdown_cell("If a<b, then `a<b` and $a<b$."))
    shown = feedback.markdown(written).replace("\u200b", "")
    assert "If a&lt;b, then" in shown and ">a&lt;b</code>" in shown and "&amp;" not in shown
    assert "<mo>&#x0003C;</mo><mi>b</mi>" in shown


def test_plain_outputs():
    data = {
        "text/html": "<b>",
        "text/plain": "b",
        "image/svg+xml": "<svg>",
        "application/javascript": "x()",
    }
    outputs = [new_output("display_data", data=data), new_output("stream", text="hello")]
    safety.keep_plain(outputs)
    assert outputs[0].data == {"text/plain": "b"} and outputs[1].text == "hello"


def test_every_formula_of_the_assignments_can_be_drawn():
    for assignment in assignments().values():
        for cell in teachers_notebook(assignment).cells:
            if cell.cell_type == "markdown":
                shown = feedback.markdown(cell.source)
                assert "<code>\\" not in shown and "$" not in shown, (
                    f"{assignment.name}: {cell.source}"
                )


def test_the_formgrader_draws_formulas_and_shows_what_students_write(tmp_path, monkeypatch):
    """The settings in the folder of the class reach the page."""
    from nbconvert import HTMLExporter
    from traitlets.config import PyFileConfigLoader

    grading.write_settings(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    config = PyFileConfigLoader("nbgrader_config.py", path=str(tmp_path)).load_config()
    assert (
        config.CourseDirectory.root == str(tmp_path)
        and config.CourseDirectory.course_id == "mmcourse"
    )
    assert sys.path[-1] == str(ROOT)
    exporter = HTMLExporter(config=config, template_name="basic")
    shown = exporter.from_notebook_node(
        new_notebook(cells=[new_markdown_cell("It is $\\sqrt{d_k}$. " + EVIL)])
    )[0]
    assert "<msqrt>" in shown and "$" not in shown
    assert "alert(1)</script>" not in shown and "<img" not in shown and "javascript:" not in shown
