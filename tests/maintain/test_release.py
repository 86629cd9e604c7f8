"""What leaves the workshop: one version, a wheel that works anywhere, files for other programs."""

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import mmcourse
from tools.maintain import version as tool

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def test_there_is_one_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert tool.version() == mmcourse.__version__ == citation["version"]
    assert tool.changes(tool.version())
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_changes_are_those_of_the_version_that_is_asked_for():
    assert tool.changes("0.1.0").startswith("The first eight chapters")
    with pytest.raises(ValueError, match="CHANGELOG.md has no part about 9.9.9"):
        tool.changes("9.9.9")


def test_the_release_asks_for_files_that_make_writes():
    release = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    printer = (ROOT / "tools" / "book" / "pdf.py").read_text(encoding="utf-8")
    assert "_build/pdf/mmcourse.pdf" in release and '"mmcourse.pdf"' in printer
    assert "python tools/maintain/version.py" in release


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_calls_what_there_is(path):
    """Every target of make and every path that a step names exists, and so does every extra."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    jobs = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].values()
    commands = "\n".join(step.get("run", "") for job in jobs for step in job["steps"])
    for target in re.findall(r"\bmake (\w+)", commands):
        assert re.search(rf"^{target}(?: \w+)*:", makefile, flags=re.MULTILINE), target
    for extras in re.findall(r"\.\[([\w,]+)\]", commands):
        assert all(f"\n{extra} = [" in project for extra in extras.split(","))
    for name in re.findall(r"(?:--ignore|pytest|python) ((?:tests|tools)/[\w/.]+)", commands):
        assert (ROOT / name).exists(), name
    assert all("timeout-minutes" in job for job in jobs)


# Packages that only extras bring: the command line must not need them.
BLOCK = """
import runpy, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"{{name}} comes with an extra only")
sys.meta_path.insert(0, Blocker())
sys.argv = ["mmcourse", *sys.argv[1:]]
runpy.run_module("mmcourse", run_name="__main__")
"""
BLOCKED = {"transformers", "IPython", "anywidget", "jupytext", "nbformat", "myst_nb", "optuna"}


@pytest.mark.slow
def test_the_wheel_works_from_another_folder_read_only_and_without_extras(tmp_path):
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path]
    subprocess.run([*build, ROOT], check=True, capture_output=True, text=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"mmcourse-{mmcourse.__version__}-py3")
    site, elsewhere = tmp_path / "site", tmp_path / "elsewhere"
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
        assert tops == {"mmcourse", f"mmcourse-{mmcourse.__version__}.dist-info"}, tops
        archive.extractall(site)
    elsewhere.mkdir()
    for path in [*site.rglob("*"), site]:
        path.chmod(0o555 if path.is_dir() else 0o444)

    def run(*arguments):
        environment = os.environ | {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-c", BLOCK.format(blocked=BLOCKED), *arguments]
        done = subprocess.run(
            command, cwd=elsewhere, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    try:
        run("data", "--split", "val", "--count", "1", "--out", "scenes")
        assert run("caption", "scenes/val-000000.png").startswith("scenes/val-000000.png: ")
        assert run("--version").strip() == f"mmcourse {mmcourse.__version__}"
        where = "import mmcourse; print(mmcourse.__file__)"
        shown = subprocess.run(
            [sys.executable, "-c", where],
            env=os.environ | {"PYTHONPATH": str(site)},
            cwd=elsewhere,
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown.stdout.startswith(str(site))
    finally:
        for path in [site, *site.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
