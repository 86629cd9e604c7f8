"""What several test files share: the built book, and double precision."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from filelock import FileLock

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


@pytest.fixture
def double():
    """Compute in float64, where rounding cannot be taken for a mistake, and from one seed."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
