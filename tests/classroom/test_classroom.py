"""The classroom around the assignments: feedback pages, the exchange of a shared machine, and JupyterHub's settings."""

import datetime
import json
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools.classroom import assignments, exchange, feedback, grading

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="grading needs limits that Windows does not have"
)
ROOT = Path(__file__).resolve().parents[2]
EVIL = "<script>alert(1)</script> <img src=x onerror=alert(1)> [go](javascript:alert(1)) &lt;b&gt; but 1 < 2 & 3"


# Feedback ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The feedback page of a student who answers two questions, writes HTML, and prints and shows things."""
    folder = tmp_path_factory.mktemp("class")
    empty = nbformat.read(
        assignments.release(assignments.assignments()["A1"], folder), as_version=4
    )
    for cell in empty.cells:
        if assignments.name_of(cell) == "softmax":
            cell.source = "from IPython.display import HTML\nHTML('<b>loud</b>')"
        if assignments.name_of(cell) == "why_the_scale":
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
    assert grading.harmless(cell) == EVIL.replace("<s", "&lt;s").replace("</", "&lt;/").replace("<i", "&lt;i").replace(
        "javascript:", "javascript :").replace("&lt;b&gt;", "&amp;lt;b&amp;gt;")  # fmt: skip
    assert grading.harmless(new_code_cell("a <b")) == "a <b"


def test_plain_outputs():
    data = {
        "text/html": "<b>",
        "text/plain": "b",
        "image/svg+xml": "<svg>",
        "application/javascript": "x()",
    }
    outputs = [new_output("display_data", data=data), new_output("stream", text="hello")]
    grading.keep_plain(outputs)
    assert outputs[0].data == {"text/plain": "b"} and outputs[1].text == "hello"


def test_every_formula_of_the_assignments_can_be_drawn():
    for path in assignments.assignments().values():
        for cell in assignments.read_source(path).cells:
            if cell.cell_type == "markdown":
                shown = feedback.markdown(cell.source)
                assert "<code>\\" not in shown and "$" not in shown, f"{path.stem}: {cell.source}"


# Grading again -------------------------------------------------------------------------------------------------------


def test_points_given_by_a_person_stay_while_the_text_does(tmp_path):
    """First everybody waits; a person grades ana and ben; ben writes something else, and the grader runs again."""
    from nbgrader.api import Gradebook

    path = assignments.assignments()["A1"]
    released = nbformat.read(assignments.release(path, tmp_path), as_version=4)
    place = next(
        number
        for number, cell in enumerate(released.cells)
        if assignments.name_of(cell) == "why_the_scale"
    )

    def score_again(texts):
        for student, text in texts.items():
            released.cells[place].source = text
            target = tmp_path / "submitted" / student / "A1" / path.with_suffix(".ipynb").name
            target.parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(released, target)
        grading.score(tmp_path, "A1")
        with Gradebook(f"sqlite:///{tmp_path / 'gradebook.db'}") as gradebook:
            found = {
                submission.student_id: submission
                for submission in gradebook.assignment_submissions("A1")
            }
            return {
                name: (one.written_score, one.needs_manual_grade)
                for name, one in sorted(found.items())
            }

    class_of_three = ("ana", "ben", "dan")
    assert score_again(dict.fromkeys(class_of_three, "As it was.")) == dict.fromkeys(
        class_of_three, (0, True)
    )
    with Gradebook(f"sqlite:///{tmp_path / 'gradebook.db'}") as gradebook:
        for student in ("ana", "ben"):
            grade = gradebook.find_grade("why_the_scale", path.stem, "A1", student)
            grade.manual_score, grade.needs_manual_grade = 7, False
        gradebook.db.commit()
    assert score_again({"ben": "As it was. And more."}) == {
        "ana": (7, False),
        "ben": (7, True),
        "dan": (0, True),
    }
    empty = nbformat.read(path.with_suffix(".ipynb"), as_version=4).cells[place].source
    again = score_again({"ana": empty})
    assert again["ana"] == (7, True), "the answer is gone"
    assert again["ben"] == (7, True), "an answer that waits for a person goes on waiting"


def test_the_formgrader_draws_formulas_and_shows_what_students_write(tmp_path, monkeypatch):
    """The settings in the folder of the class reach the page: formulas are MathML, and nothing is obeyed."""
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


# The exchange --------------------------------------------------------------------------------------------------------


def hand_in(root, student, time, text):
    """Submit as nbgrader does."""
    folder = root / "mmcourse" / "inbound" / f"{student}+A1+{time} UTC+abc="
    folder.mkdir(parents=True)
    nbformat.write(new_notebook(cells=[new_markdown_cell(text)]), folder / "A1_attention.ipynb")
    (folder / "timestamp.txt").write_text(f"{time} UTC")
    (folder / "submission_secret.txt").write_text(f"secret of {student}")


def test_from_the_exchange_to_the_inbox(tmp_path):
    root, folder = tmp_path / "exchange", tmp_path / "class"
    root.mkdir()
    exchange.exchange("release", folder, "A1", root)
    exchange.exchange("release", folder, "A1", root)  # a second time: a corrected notebook
    given = root / "mmcourse" / "outbound" / "A1" / "A1_attention.ipynb"
    assert given.read_bytes() == assignments.assignments()["A1"].with_suffix(".ipynb").read_bytes()
    assert str(folder) in (folder / "nbgrader_config.py").read_text(), (
        "the teacher's Formgrader finds the class"
    )
    hand_in(root, "ada", "2026-10-05 10:00:00.000001", "first")
    hand_in(root, "zoë +1", "2026-10-05 11:00:00.000001", "hers")
    exchange.exchange("collect", folder, "A1", root)
    grading.check_gradebook(folder / "gradebook.db")  # which collecting has begun
    hand_in(root, "ada", "2026-10-06 10:00:00.000001", "second")
    exchange.exchange("collect", folder, "A1", root)
    found = grading.collect(folder / "inbox" / "A1")
    assert list(found) == ["ada", "zoë +1"] and [len(files) for files in found.values()] == [1, 1]
    assert "second" in found["ada"][0].read_text()


def test_an_exchange_that_is_not_there(tmp_path):
    with pytest.raises(SystemExit, match="can't be used: .*Course not found"):
        exchange.exchange("collect", tmp_path, "A1", root=tmp_path)
    with pytest.raises(SystemExit, match="There is no assignment A9"):
        exchange.exchange("release", tmp_path, "A9", root=tmp_path)


def test_times_of_the_exchange_are_utc(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Tokyo")  # a teacher nine hours ahead
        time.tzset()
        (tmp_path / "timestamp.txt").write_text("2026-10-05 10:00:00.25 UTC\n")
        assert grading.when(tmp_path / "A1.ipynb") == datetime.datetime(2026, 10, 5, 19)
    time.tzset()


# JupyterHub ----------------------------------------------------------------------------------------------------------


def pins(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    found = [
        re.match(r"([\w.-]+)==([\w.]+)(; .+)?$", line)
        for line in lines
        if line and line[0] not in "#-"
    ]
    assert all(found), f"a line of {name} is not a pin"
    return {match[1].lower(): match[2] for match in found}


def test_the_hubs_packages_are_pinned_and_fit_the_others():
    assert "jupyterhub" in pins("tools/classroom/hub-requirements.txt")
    assert not pins("tools/classroom/hub-requirements.txt").keys() & pins("requirements.txt").keys()


def test_the_hubs_settings_are_settings_that_it_has(monkeypatch):
    hub = pytest.importorskip(
        "jupyterhub.app",
        reason="needs JupyterHub: pip install -r tools/classroom/hub-requirements.txt",
    )
    from jupyterhub.auth import PAMAuthenticator
    from jupyterhub.proxy import ConfigurableHTTPProxy
    from jupyterhub.spawner import LocalProcessSpawner as Spawner

    settings = hub_settings(monkeypatch)
    known = {"JupyterHub": hub.JupyterHub, "PAMAuthenticator": PAMAuthenticator, "Spawner": Spawner,
             "ConfigurableHTTPProxy": ConfigurableHTTPProxy}  # fmt: skip
    for kind, values in settings.items():
        assert not set(values) - set(known[kind].class_trait_names(config=True)), kind


def test_the_hubs_settings_let_only_the_class_in(monkeypatch):
    settings = hub_settings(monkeypatch)
    assert (
        settings.PAMAuthenticator.allowed_groups == {"class"}
        and "allow_all" not in settings.PAMAuthenticator
    )
    assert "//127.0.0.1:" in settings.JupyterHub.bind_url


def test_only_a_teacher_gets_the_formgrader(monkeypatch):
    """JupyterLab reads what it leaves out, and nbgrader where the class is, in the folders that the hub names."""
    settings = hub_settings(monkeypatch)
    monkeypatch.setattr(Path, "expanduser", lambda path: Path(str(path).replace("~", "/people/")))
    for name in ("teacher", "ada"):
        spawner = SimpleNamespace(user=SimpleNamespace(name=name))
        folders = [
            Path(one)
            for one in settings.Spawner.environment["JUPYTER_CONFIG_PATH"](spawner).split(":")
        ]
        left_out = json.loads((folders[-1] / "labconfig" / "page_config.json").read_text())[
            "disabledExtensions"
        ]
        assert ("@jupyter/nbgrader:formgrader" in left_out) == (name == "ada")
        assert "@jupyter/nbgrader:assignment-list" not in left_out
        assert [one.name for one in folders] == (
            ["student"] if name == "ada" else ["class", "teacher"]
        )
        assert name == "ada" or folders[0] == Path("/people/teacher/class")


def hub_settings(monkeypatch):
    from traitlets.config import Config

    settings = Config()
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: None)
    path = ROOT / "tools" / "jupyterhub_config.py"
    space = {"get_config": lambda: settings, "__file__": str(path)}
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), space)
    return settings
