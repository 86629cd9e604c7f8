"""What several test files share: the built book, a browser, a page with a figure, and how two
models are compared.
"""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from tests.helpers import traits
from tools.book.pdf import find_browser

ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser):
    parser.addoption(
        "--book", type=Path, help="test this built book (_build/html) instead of building one"
    )


@pytest.fixture(scope="session")
def site(request, tmp_path_factory):
    """The folder of the book's pages. Built once a run, however many workers there are."""
    if given := request.config.getoption("book"):
        return given.resolve()
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "book"
    with FileLock(f"{folder}.lock"):
        if not (folder / "done").exists():
            build(folder)
            (folder / "done").touch()
    return folder / "_build" / "html"


def build(folder):
    command = [
        str(Path(sys.executable).parent / "jupyter-book"),
        "build",
        str(ROOT),
        "--path-output",
        str(folder),
    ]
    done = subprocess.run(
        [*command, "--all", "-n", "-W", "--keep-going"], capture_output=True, text=True
    )
    report = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
    problems = [line for line in report.splitlines() if re.search(r"WARNING|ERROR", line)]
    assert done.returncode == 0, "\n".join(problems) or report[-3000:]


@pytest.fixture(scope="session")
def chromium():
    """The program of Chromium or Chrome. Where there is none, what needs it is skipped."""
    return find_browser() or pytest.skip(
        "no Chromium on this machine (Debian and Ubuntu: apt-get install chromium)"
    )


@pytest.fixture(scope="module")
def browser(chromium):
    from playwright.sync_api import sync_playwright

    with (
        sync_playwright() as play,
        play.chromium.launch(executable_path=chromium, args=["--disable-gpu"]) as running,
    ):
        yield running


DRAW = """async ([script, state]) => {
    const file = new Blob([script], { type: "text/javascript" });
    window.module = await import(URL.createObjectURL(file));
    const model = { get: (name) => state[name], on() {} };
    if (state) module.default.render({ model, el: document.querySelector("main") });
}"""


@pytest.fixture
def show(browser):
    """``show(figure)`` draws a figure as anywidget does, on a page of its own, and gives the page.

    An error in the page fails the test, and so does a page that scrolls sideways.
    """
    with contextlib.ExitStack() as pages:
        shown, errors = [], []

        def draw(figure, width=800, **options):
            page = pages.enter_context(
                browser.new_page(viewport={"width": width, "height": 900}, **options)
            )
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.set_content(f"<style>{figure._css}</style><main></main>")
            page.evaluate(DRAW, [figure._esm, traits(figure)])
            shown.append(page)
            return page

        yield draw
        assert errors == []
        assert not any(
            page.evaluate("document.documentElement.scrollWidth > innerWidth") for page in shown
        ), "too wide"


@pytest.fixture
def call(browser):
    """``call(figure, "name", ...)`` runs a function that the figure's script exports."""
    with browser.new_page() as page:

        def run(figure, name, *arguments):
            page.evaluate(DRAW, [figure._esm, None])
            return page.evaluate("([name, given]) => module[name](...given)", [name, arguments])

        yield run


@pytest.fixture
def double():
    """Compute in float64, where rounding cannot be taken for a mistake, and from one seed."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
