"""What several test files share: the built book, a browser, a page with a figure, and how two models are compared."""

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from torch import nn

from tools.pdf import find_browser

ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser):
    parser.addoption("--book", type=Path, help="test this built book (_build/html) instead of building one")


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
    command = [str(Path(sys.executable).parent / "jupyter-book"), "build", str(ROOT), "--path-output", str(folder)]
    done = subprocess.run([*command, "--all", "-n", "-W", "--keep-going"], capture_output=True, text=True)
    report = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
    problems = [line for line in report.splitlines() if re.search(r"WARNING|ERROR", line)]
    assert done.returncode == 0, "\n".join(problems) or report[-3000:]


@pytest.fixture(scope="session")
def chromium():
    """The program of Chromium or Chrome. Where there is none, what needs it is skipped."""
    return find_browser() or pytest.skip("no Chromium on this machine (Debian and Ubuntu: apt-get install chromium)")


@pytest.fixture(scope="module")
def browser(chromium):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play, play.chromium.launch(executable_path=chromium, args=["--disable-gpu"]) as running:
        yield running


DRAW = """async ([script, state]) => {
    window.module = await import(URL.createObjectURL(new Blob([script], { type: "text/javascript" })));
    const model = { get: (name) => state[name], on() {} };
    if (state) module.default.render({ model, el: document.querySelector("main") });
}"""


def traits(figure):
    """What the page receives from Python."""
    return {name: value for name, value in figure.get_state().items()
            if not name.startswith("_") and name not in {"layout", "tabbable", "tooltip"}}  # fmt: skip


@pytest.fixture
def show(browser):
    """``show(figure)`` draws a figure as anywidget does, on a page of its own, and gives the page.

    An error in the page fails the test, and so does a page that scrolls sideways.
    """
    with contextlib.ExitStack() as pages:
        shown, errors = [], []

        def draw(figure, width=800, **options):
            page = pages.enter_context(browser.new_page(viewport={"width": width, "height": 900}, **options))
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.set_content(f"<style>{figure._css}</style><main></main>")
            page.evaluate(DRAW, [figure._esm, traits(figure)])
            shown.append(page)
            return page

        yield draw
        assert errors == []
        assert not any(page.evaluate("document.documentElement.scrollWidth > innerWidth") for page in shown), "too wide"


def said(page):
    """The sentence of a figure that says its result."""
    return page.locator("[role=status]").inner_text()


def says(page, text):
    """Wait until the figure says this: a touch is told to a page a moment later."""
    page.get_by_role("status").filter(has_text=text).wait_for(timeout=20_000)
    return True


def drag(page, start, end, steps=4):
    """Put a finger on one point of a page, move it to another, and lift it."""
    session = page.context.new_cdp_session(page)
    path = [[a + (b - a) * step / steps for a, b in zip(start, end, strict=True)] for step in range(steps + 1)]
    for number, (x, y) in enumerate(path):
        kind = "touchMove" if number else "touchStart"
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y}]})
    session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def middle(place):
    """The middle of an element on its page."""
    box = place.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


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


def close(ours, theirs, tolerance=1e-10):
    torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=0)


def randomise(module):
    """Give every parameter its own value, so that no constant hides a permutation."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module


def copy_attention(ours, theirs):
    """Copy the weights of torch.nn.MultiheadAttention, which keeps three projections in one matrix."""
    with torch.no_grad():
        for i, part in enumerate([ours.query, ours.key, ours.value]):
            part.weight.copy_(theirs.in_proj_weight.chunk(3)[i])
            if theirs.in_proj_bias is not None:
                part.bias.copy_(theirs.in_proj_bias.chunk(3)[i])
    ours.output.load_state_dict(theirs.out_proj.state_dict())


def some(*shape):
    """A random mask in which every row may look somewhere."""
    mask = torch.rand(shape) < 0.5
    mask[..., 0] |= ~mask.any(-1)
    return mask


def past(length, source):
    """What is seen when the last target is level with the last source, in the plainest way."""
    return torch.tensor([[s <= t + source - length for s in range(source)] for t in range(length)])
