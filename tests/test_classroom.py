"""The classroom around the assignments: feedback pages, the exchange of a shared machine, and JupyterHub's settings."""

import datetime
import re
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tools import assignments, exchange, feedback, grading

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="grading needs limits that Windows does not have")
ROOT = Path(__file__).resolve().parent.parent
EVIL = "<script>alert(1)</script> <img src=x onerror=alert(1)> [go](javascript:alert(1)) &lt;b&gt; but 1 < 2 & 3"


# Feedback ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The feedback page of a student who answers two questions, writes HTML, and prints and shows things."""
    folder = tmp_path_factory.mktemp("class")
    empty = nbformat.read(assignments.release(assignments.assignments()["A1"], folder), as_version=4)
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
    assert not re.findall(r"<script|<link|<iframe|<img", text), "a page that loads or runs something"
    assert text.count("<math") > 30 and "$" not in re.sub(r"(?s)<pre>.*?</pre>|<code>.*?</code>", "", text)
    assert "<code>\\wrong{</code>" in text


@pytest.mark.slow
def test_a_feedback_page_shows_what_counts(page):
    text = page.read_text(encoding="utf-8")
    assert "0 of 100" in text and "not graded yet" in text and "- of 10<" in text
    assert "Late: handed in" in text
    assert "class CheckFailed" not in text, "the checks are the same for everybody, 130 lines of them"


@pytest.mark.slow
def test_what_a_student_writes_is_shown_and_not_obeyed(page):
    text = page.read_text(encoding="utf-8")
    assert "<b>loud" not in text and "onerror=alert" in text and "<img" not in text and "javascript:" not in text
    folder = page.parents[3]
    autograded = nbformat.read(folder / "autograded" / "zoë +1" / "A1" / "A1_attention.ipynb", as_version=4)
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
    data = {"text/html": "<b>", "text/plain": "b", "image/svg+xml": "<svg>", "application/javascript": "x()"}
    outputs = [new_output("display_data", data=data), new_output("stream", text="hello")]
    grading.keep_plain(outputs)
    assert outputs[0].data == {"text/plain": "b"} and outputs[1].text == "hello"


def test_every_formula_of_the_assignments_can_be_drawn():
    for path in assignments.assignments().values():
        for cell in assignments.read_source(path).cells:
            if cell.cell_type == "markdown":
                shown = feedback.markdown(cell.source)
                assert "<code>\\" not in shown and "$" not in shown, f"{path.stem}: {cell.source}"


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
    found = [re.match(r"([\w.-]+)==([\w.]+)(; .+)?$", line) for line in lines if line and line[0] not in "#-"]
    assert all(found), f"a line of {name} is not a pin"
    return {match[1].lower(): match[2] for match in found}


def test_the_hubs_packages_are_pinned_and_fit_the_others():
    assert "jupyterhub" in pins("tools/hub-requirements.txt")
    assert not pins("tools/hub-requirements.txt").keys() & pins("requirements.txt").keys()


def test_the_hubs_settings_are_settings_that_it_has(monkeypatch):
    hub = pytest.importorskip("jupyterhub.app", reason="needs JupyterHub: pip install -r tools/hub-requirements.txt")
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
    assert settings.PAMAuthenticator.allowed_groups == {"class"} and "allow_all" not in settings.PAMAuthenticator
    assert "//127.0.0.1:" in settings.JupyterHub.bind_url


def hub_settings(monkeypatch):
    from traitlets.config import Config

    settings = Config()
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: None)
    path = ROOT / "tools" / "jupyterhub_config.py"
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), {"get_config": lambda: settings})
    return settings
