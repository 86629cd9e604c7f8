"""The book builds without a warning, and its pages hold what was written and run."""

import html
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
CONTENTS = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
PAGES = [CONTENTS["root"], *(page["file"] for part in CONTENTS["parts"] for page in part["chapters"])]
NOTEBOOKS = [page for page in PAGES if page.startswith("notebooks/")]
HIDDEN = {"remove-cell", "remove_cell"}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("book")
    command = [str(Path(sys.executable).parent / "jupyter-book"), "build", str(ROOT), "--path-output", str(folder)]
    done = subprocess.run([*command, "--all", "-n", "-W", "--keep-going"], capture_output=True, text=True)
    report = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
    problems = [line for line in report.splitlines() if re.search(r"WARNING|ERROR", line)]
    assert done.returncode == 0, "\n".join(problems) or report[-3000:]
    return folder / "_build" / "html"


def read(site, page):
    return (site / f"{page}.html").read_text(encoding="utf-8")


def article(site, page):
    return re.search(r"<article.*</article>", read(site, page), flags=re.DOTALL)[0]


def test_contents_list_every_notebook():
    written = {f"notebooks/{path.stem}" for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert set(NOTEBOOKS) == written


def test_every_page_is_there(site):
    assert [page for page in PAGES if not (site / f"{page}.html").exists()] == []
    built = {path.relative_to(site).with_suffix("").as_posix() for path in site.rglob("*.html")}
    assert {page for page in built if page.startswith(("book/", "notebooks/", "index"))} == set(PAGES)


@pytest.mark.parametrize("page", NOTEBOOKS)
def test_every_executed_cell_is_on_its_page(site, page):
    cells = json.loads((ROOT / f"{page}.ipynb").read_text(encoding="utf-8"))["cells"]
    shown = [cell for cell in cells if cell["cell_type"] == "code" and "".join(cell["source"]).strip()
             and not HIDDEN & set(cell["metadata"].get("tags", []))]  # fmt: skip
    assert shown and all(cell["execution_count"] for cell in shown)
    text = article(site, page)
    assert len(re.findall(r'<div class="cell[ "]', text)) == len(shown)
    outputs = sum(bool(cell["outputs"]) for cell in shown if "remove-output" not in cell["metadata"].get("tags", []))
    assert len(re.findall(r'<div class="cell_output[ "]|<details[^>]*cell_output', text)) >= outputs > 0


@pytest.mark.parametrize("page", PAGES)
def test_page_says_what_its_pictures_show(site, page):
    pictures = re.findall(r"<img[^>]*>", article(site, page))
    alternatives = [html.unescape((re.search(r'alt="([^"]*)"', tag) or [0, ""])[1]) for tag in pictures]
    assert [tag for tag, text in zip(pictures, alternatives, strict=True) if len(text) < 15 or "_images/" in text] == []


@pytest.mark.parametrize("page", PAGES)
def test_page_is_light(site, page):
    text = read(site, page)
    pictures = {site / Path(page).parent / name for name in re.findall(r'<img[^>]* src="([^":]*)"', text)}
    weight = len(text.encode()) + sum(path.resolve().stat().st_size for path in pictures)
    assert weight <= 1.5e6, f"{page} weighs {weight / 1e6:.1f} MB with its pictures; 1.5 MB are allowed"


@pytest.mark.parametrize("page", PAGES)
def test_no_markup_is_left_over(site, page):
    visible = re.sub(r"<(script|style|pre|code)\b.*?</\1>", "", article(site, page), flags=re.DOTALL)
    visible = html.unescape(re.sub(r"<[^>]*>", " ", visible))
    leftovers = re.findall(r"\{[a-z:]+\}`|:::+|\$\$|\*\*\w|\[\^|None, None", visible)
    assert leftovers == []


@pytest.mark.parametrize("page", NOTEBOOKS)
def test_numbers_start_with_the_chapter(site, page):
    chapter = re.match(r"notebooks/(\d\d)_", page)
    if not chapter:
        pytest.skip("not a chapter")
    text, number = article(site, page), int(chapter[1])
    assert re.search(rf'<h1><span class="section-number">{number} ', text)
    numbers = re.findall(r'<span class="eqno">\(([\d.]+)\)|Exercise ([\d.]+)</span>|Figure ([\d.]+) ?</span>', text)
    assert {int("".join(found).split(".")[0]) for found in numbers} == {number}
