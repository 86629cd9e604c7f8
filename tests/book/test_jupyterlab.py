"""Each notebook is read and run in a real JupyterLab, which knows plain Markdown and no MyST."""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import nbformat
import pytest

from tests.book.pages import ROOT, TEXTS

pytestmark = pytest.mark.slow

NAMES = [path.stem for path in TEXTS]
QUICK = "01_attention"  # run whole: it has an opening picture, figures, live figures and solutions
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # every cell is on the page
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
# JupyterLab itself asks for an attachment by its name before it puts the picture in its place.
HARMLESS = re.compile("ERR_UNKNOWN_URL_SCHEME")
RAW = {
    "a role or a substitution": r"\{[\w:.-]+\}",
    "a colon fence": r":::",
    "a label": r"\((eq|fig|ex|so|sec)-[\w-]+\)|\b(eq|fig|ex|so)-[a-z]+-[a-z]+",
    "an option": r"(?m)^:[\w-]+:",
    "a formula that is not set": r"\$|\\(begin|frac|tag|text)\b",
    "an error of the page": r"Unknown Directive|Error displaying widget|model not found",
}
# What stands on the page as words: all folds open, without code and formulas.
WORDS = """() => {
    document.querySelectorAll("details").forEach((fold) => { fold.open = true; });
    const parts = document.querySelectorAll(".jp-MarkdownOutput, .jp-RenderedHTMLCommon");
    return [...parts].map((part) => {
        const copy = part.cloneNode(true);
        copy.querySelectorAll("pre, code, mjx-container").forEach((piece) => piece.remove());
        return copy.textContent;
    }).join("\\n");
}"""
RENDERED = """() => document.querySelector(".jp-Notebook h1")
    && !document.querySelector(".jp-MarkdownCell:not(:has(.jp-MarkdownOutput))")
    && [...document.querySelectorAll(".jp-Notebook img")].every((image) => image.complete)"""
IDLE = """() => ![...document.querySelectorAll(".jp-InputPrompt")]
    .some((prompt) => prompt.textContent.includes("*"))"""
# The code cells, each as [is its code folded, are its outputs folded, the pictures that it shows].
CELLS = """() => [...document.querySelectorAll(".jp-CodeCell")].map((cell) => [
    !cell.querySelector(".jp-InputArea")?.checkVisibility(),
    [...cell.querySelectorAll(".jp-OutputArea-child")].every((output) => !output.checkVisibility()),
    [...cell.querySelectorAll(".jp-OutputArea img, .jp-OutputArea svg, .jp-OutputArea .mm-figure")]
        .filter((picture) => picture.getBoundingClientRect().width > 20).length,
])"""
PICTURES = """() => [...document.querySelectorAll(".jp-MarkdownOutput img")]
    .map((image) => image.naturalWidth)"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a notebook in a JupyterLab, in which ``{}`` is the notebook's name.

    The notebooks are copies, the settings are the test's, and the extension that knows MyST is off.
    """
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    write(
        folder / "config/labconfig/page_config.json",
        {"disabledExtensions": {"jupyterlab-myst": True}},
    )
    for name, setting in SETTINGS.items():
        write(folder / f"settings/@jupyterlab/{name}.jupyterlab-settings", setting)
    environment = os.environ | {
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1",
    }
    port = free_port()
    token = secrets.token_hex(8)
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
        "--expose-app-in-browser",
        f"--port={port}",
        f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={folder}",
    ]
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as server,
    ):
        try:
            wait_for(f"http://localhost:{port}/api?token={token}", server, folder / "log")
            yield f"http://localhost:{port}/lab/tree/notebooks/{{}}.ipynb?reset&token={token}"
        finally:
            server.terminate()


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def free_port():
    with socket.socket() as one:
        one.bind(("localhost", 0))
        return one.getsockname()[1]


def wait_for(address, server, log, seconds=60):
    """Wait until a server answers."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            return urlopen(address).close()
        except URLError:
            time.sleep(0.3)
    raise RuntimeError(f"JupyterLab does not answer:\n{Path(log).read_text()[-2000:]}")


@pytest.fixture
def opened(lab, browser):
    """``opened(name)`` opens a notebook and gives the page. Errors in its console fail the test."""
    errors = []
    with browser.new_page(viewport={"width": 1300, "height": 1000}) as page:

        def heard(message):
            if message.type == "error" and not HARMLESS.search(message.text):
                errors.append(message.text)

        page.on("console", heard)
        page.on("pageerror", lambda error: errors.append(str(error)))

        def show(name):
            page.goto(lab.format(name))
            page.wait_for_function(RENDERED, timeout=60_000)
            settle(page)
            return page

        yield show
    assert errors == []


def settle(page):
    """Wait until no formula is set any more."""
    before = -1
    while before != (now := page.locator("mjx-container").count()):
        before = now
        page.wait_for_timeout(700)


def read(name):
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)


def draws(cell):
    """Whether a code cell stored a picture that is shown, and is not part of a folded solution."""
    kinds = {kind for output in cell.outputs for kind in output.get("data", {})}
    folded = cell.metadata.get("jupyter", {}).get("outputs_hidden", False)
    return not folded and any(kind.startswith("image/") for kind in kinds)


def check(page, notebook, ran):
    """What must be so before a run and after it; ``ran`` says which."""
    words = page.evaluate(WORDS)
    for what, pattern in RAW.items():
        found = re.search(pattern, words)
        assert not found, f"{what}: {words[max(0, found.start() - 60) : found.end() + 60]}"
    assert page.locator("mjx-merror, [data-mjx-error]").count() == 0
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    shown = page.evaluate(CELLS)
    assert len(shown) == len(code)
    for cell, (code_folded, outputs_folded, pictures) in zip(code, shown, strict=True):
        folds = cell.metadata.get("jupyter", {})
        assert code_folded == folds.get("source_hidden", False), cell.source
        if folds.get("outputs_hidden") and not ran:  # JupyterLab opens an output when its cell runs
            assert outputs_folded, cell.source
        if draws(cell):
            assert pictures > 0, f"shows no picture: {cell.source}"
    widths = page.evaluate(PICTURES)
    expected = sum(len(cell.get("attachments", {})) for cell in notebook.cells)
    assert len(widths) == expected and all(widths), "an opening picture is missing"


@pytest.mark.parametrize("name", NAMES)
def test_notebook_reads_well_before_a_run(opened, name):
    notebook = read(name)
    page = opened(name)
    check(page, notebook, ran=False)
    words = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    assert page.locator(".jp-MarkdownOutput details").count() == "".join(words).count("<details>")


def test_notebook_reads_well_after_run_all(opened):
    notebook = read(QUICK)
    page = opened(QUICK)
    page.evaluate("async () => { await jupyterapp.commands.execute('notebook:run-all-cells'); }")
    page.wait_for_function(IDLE)
    settle(page)
    assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
    assert page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    check(page, notebook, ran=True)
    live = sum("application/vnd.jupyter.widget-view+json" in output.get("data", {})
               for cell in notebook.cells for output in cell.get("outputs", []))  # fmt: skip
    page.locator(".mm-figure").first.wait_for()
    assert page.locator(".mm-figure").count() == live


def test_solution_opens(opened):
    notebook = read(QUICK)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    folded = [cell.metadata.get("jupyter", {}).get("outputs_hidden", False) for cell in code]
    index = folded.index(True)
    cell = opened(QUICK).locator(".jp-CodeCell").nth(index)
    cell.locator(".jp-InputPlaceholder").click()
    cell.locator(".jp-InputArea").wait_for()
    cell.locator(".jp-OutputPlaceholder").click()
    cell.locator(".jp-OutputArea-output").first.wait_for()
