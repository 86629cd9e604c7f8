"""``tools/notebooks.py new 06_audio`` begins a chapter that runs, builds, and says what is left."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.book.pages import ROOT, TEXTS
from tools import new_chapter

PAGES = ["_toc.yml", "index.md", "book/api.md", "book/formulas.csv", "book/formulas.md"]
TAKEN_OUT = (6, 7, 8, 18, 23)  # the chapters that the copy does not have, so that they can begin
WRITTEN = ["book/chapters/06_audio.py", "mmcourse/audio.py", "tests/test_audio.py"]


@pytest.fixture
def course(tmp_path):
    """A copy of the course, as far as a new chapter touches it, without some of the chapters."""
    for page in PAGES:
        (tmp_path / page).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / page, tmp_path / page)
    for folder in ("book/chapters", "mmcourse", "tests"):
        (tmp_path / folder).mkdir(exist_ok=True)
    for text in TEXTS:
        shutil.copy(text, tmp_path / "book" / "chapters")
    for number in TAKEN_OUT:
        for text in sorted((tmp_path / "book" / "chapters").glob(f"{number:02}_*.py")):
            take_out(tmp_path, text)
    return tmp_path


def take_out(course, text):
    """A chapter leaves the copy: its text, and its places on the pages."""
    name = text.stem[3:]
    title = name.replace("_", " ").capitalize()
    gone = {
        "_toc.yml": rf"^ .*/{text.stem}\n"
        + (r"|^ .*/case_\w+\n" if name == "case_studies" else ""),
        "index.md": rf"^\| \[{int(text.stem[:2])} .*\n",
        "book/formulas.csv": rf"^eq-{name}-.*\n",
        "book/formulas.md": rf"^## {title}\n(?:(?!## ).*\n)*",
        "book/api.md": rf"^## mmcourse\.{name}\b.*\n(?:(?!## ).*\n)*",
    }
    for page, pattern in gone.items():
        path = course / page
        kept = re.sub(pattern, "", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        path.write_text(kept, encoding="utf-8")
    text.unlink()


def contents(course):
    table = yaml.safe_load((course / "_toc.yml").read_text(encoding="utf-8"))
    return {part["caption"]: [page["file"] for page in part["chapters"]] for part in table["parts"]}


def test_it_says_what_it_wrote(course):
    paths = [path.relative_to(course).as_posix() for path in new_chapter.new("06_audio", course)]
    assert sorted(paths) == sorted(PAGES + WRITTEN)
    for path in WRITTEN + PAGES[1:2]:
        text = (course / path).read_text(encoding="utf-8")
        assert "TODO" in text
        assert not re.search(r"@\w+@", text), "a word of the skeleton is left"


def test_it_enters_the_pages_in_the_order_of_the_book(course):
    new_chapter.new("06_audio", course)
    chapters = contents(course)["II Encoders"]
    assert chapters[-2:] == ["book/chapters/05_vision", "book/chapters/06_audio"]
    index = (course / "index.md").read_text(encoding="utf-8")
    numbers = [int(number) for number in re.findall(r"^\| \[(\d+) ", index, re.MULTILINE)]
    assert 6 in numbers and numbers == sorted(numbers)
    with (course / "book" / "formulas.csv").open(encoding="utf-8", newline="") as file:
        labels = [row["label"].split("-")[1] for row in csv.DictReader(file)]
    assert labels[labels.index("audio") - 1] == "vision"
    assert labels[labels.index("audio") + 1] == "fusion"
    formulas = (course / "book" / "formulas.md").read_text(encoding="utf-8")
    shown = re.findall(r"\{formulas\} (\w+)", formulas)
    assert shown[shown.index("audio") - 1 :][:3] == ["vision", "audio", "fusion"]
    package = (course / "book" / "api.md").read_text(encoding="utf-8")
    modules = re.findall(r"^## (\S+)$", package, re.MULTILINE)
    assert modules[modules.index("mmcourse.audio") - 1] == "mmcourse.vision"


def test_nothing_else_of_the_pages_changes(course):
    before = {page: (course / page).read_text(encoding="utf-8") for page in PAGES}
    new_chapter.new("06_audio", course)
    for page, text in before.items():
        after = (course / page).read_text(encoding="utf-8")
        rest = iter(after.splitlines())
        assert all(line in rest for line in text.splitlines()), f"{page} lost a line"
        assert len(after.splitlines()) - len(text.splitlines()) <= 7


@pytest.mark.parametrize(
    ("file", "part", "neighbours"),
    [
        ("23_cases", "VI Beyond", ["book/chapters/22_vlm", "book/chapters/23_cases"]),
        ("18_compression", "V The captioner",
         ["book/chapters/18_compression", "book/chapters/19_serving"]),
    ],
)  # fmt: skip
def test_every_number_has_its_part(course, file, part, neighbours):
    new_chapter.new(file, course)
    parts = contents(course)
    assert parts[part][-2:] == neighbours or parts[part] == neighbours
    order = [caption for caption in parts if caption in new_chapter.PARTS.values()]
    assert order == [caption for caption in new_chapter.PARTS.values() if caption in order]
    assert list(parts)[-2:] == ["Assignments", "Appendices"]


def test_a_part_that_has_no_chapter_yet_is_made(course):
    path = course / "_toc.yml"
    before, rest = path.read_text(encoding="utf-8").split("  - caption: VI Beyond\n")
    path.write_text(before + rest[rest.index("  - caption:") :], encoding="utf-8")
    assert "VI Beyond" not in contents(course)
    new_chapter.new("23_cases", course)
    parts = contents(course)
    assert parts["VI Beyond"] == ["book/chapters/23_cases"]
    assert list(parts)[-3:] == ["VI Beyond", "Assignments", "Appendices"]


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("audio", "such as 04_gpt, got audio"),
        ("4_gpt", "such as 04_gpt"),
        ("05_more", "chapter 5 is there: vision"),
        ("06_attention", "is there already"),
    ],
)
def test_what_cannot_be_begun_writes_nothing(course, file, message):
    (course / "mmcourse" / "attention.py").touch()
    before = {path: path.read_bytes() for path in course.rglob("*") if path.is_file()}
    with pytest.raises(SystemExit, match=message):
        new_chapter.new(file, course)
    assert {path: path.read_bytes() for path in course.rglob("*") if path.is_file()} == before


def test_no_chapter_is_left_unwritten():
    places = [*TEXTS, *map(ROOT.joinpath, PAGES), *(ROOT / "mmcourse").rglob("*.py")]
    assert [path.name for path in places if "TODO" in path.read_text(encoding="utf-8")] == []


@pytest.mark.slow
def test_what_it_wrote_runs_and_builds(tmp_path):
    """The skeleton's notebook runs, the book builds with it, and its tests miss content alone."""
    course = tmp_path / "course"
    unneeded = shutil.ignore_patterns(".venv", ".git", "_build", "__pycache__")
    shutil.copytree(ROOT, course, ignore=unneeded)
    run(course, "python", "tools/notebooks.py", "new", "24_robots")
    run(course, "python", "tools/notebooks.py", "run", "24_robots")
    run(course, "jupyter-book", "build", ".", "--all", "-n", "-W", "--keep-going")
    assert (course / "_build" / "html" / "book" / "chapters" / "24_robots.html").is_file()
    files = ["tests/test_robots.py", "tests/book/test_chapters.py", "tests/book/test_plain.py",
             "tests/book/test_formulas.py", "tests/book/test_new_chapter.py"]  # fmt: skip
    chosen = [
        "-m",
        "not slow",
        "-k",
        "robots or unwritten or has_one_row or each_row_is_on_the_page",
    ]
    report = run(course, "python", "-m", "pytest", "-q", *chosen, *files, code=1)
    assert set(re.findall(r"^FAILED \S+::(\w+)", report, re.MULTILINE)) == {
        "test_todo_equals_an_independent_implementation",
        "test_every_exercise_has_level_minutes_and_solution",
        "test_every_quiz_option_is_explained",
        "test_no_chapter_is_left_unwritten",
    }, report[-3000:]


def run(course, program, *arguments, code=0):
    """Run a program of this environment in a copy of the course, and give what it prints."""
    command = [str(Path(sys.executable).parent / program), *arguments]
    environment = os.environ | {"PYTHONPATH": str(course)}
    done = subprocess.run(command, cwd=course, env=environment, capture_output=True, text=True)
    report = done.stdout + done.stderr
    assert done.returncode == code, report[-3000:]
    return report
