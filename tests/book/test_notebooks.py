"""Every notebook's outputs are current, every chapter has its parts, and the tool that says so works."""

import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from mmcourse.book.source import show_source
from mmcourse.decoding import beam_search
from tools import notebooks as tool

TOP = tool.ROOT  # of the course; some tests give the tool another project
PATHS = tool.notebooks()
CHAPTERS = [path for path in PATHS if re.match(r"\d\d_", path.stem)]
EACH = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
EACH_CHAPTER = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def read(path):
    return nbformat.read(path, as_version=4)


def text_of(path):
    return "\n\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")


# The notebooks -------------------------------------------------------------------------------------------------------


@EACH
def test_outputs_are_current(path):
    problems = tool.faults(read(path))
    assert not problems, f"{path.stem} {'; '.join(problems)}. Run: make notebooks"


@EACH
def test_runs_in_the_time_and_memory_of_a_reader(path):
    stamp = read(path).metadata["mmcourse"]
    assert stamp["seconds"] <= 150 and stamp["megabytes"] <= 2000


@EACH
def test_saving_it_again_changes_nothing(path, tmp_path):
    notebook = read(path)
    tool.save(notebook, tmp_path / path.name)
    assert (tmp_path / path.name).read_bytes() == path.read_bytes(), (
        "saved by another tool. Run: make notebooks"
    )


@EACH
def test_cells_are_short_and_quiet(path):
    for cell in read(path).cells:
        assert cell.cell_type != "code" or len(cell.source.splitlines()) <= 25, cell.source
        for output in cell.get("outputs", []):
            assert output.get("name") != "stderr", f"{cell.source}\nwrites to stderr: {output.text}"
            assert output.output_type != "error" or "raises-exception" in cell.metadata.get(
                "tags", []
            )


@EACH
def test_shown_code_fits_a_page(path):
    for cell in read(path).cells:
        hidden = {"remove-cell", "remove-input"} & set(cell.metadata.get("tags", []))
        if cell.cell_type == "code" and not hidden:
            assert all(len(line) <= 110 for line in cell.source.splitlines()), (
                f"wider than 110:\n{cell.source}"
            )


# Praise and filler, and American spelling. What stands in code is left out.
BANNED = re.compile(r"""\b(powerful|exciting|amazing|fascinating|elegant|seamless|obviously|trivially|simply|basically|
    actually|of\ course|note\ that|in\ order\ to|delve|leverage[sd]?|cutting.edge|state.of.the.art|crucial|
    colors?|colored|gray|behaviors?|neighbors?|centers?|labeled|modeling|\w+(?:al|im|en|gn|or|ar)iz(?:e|es|ed|ing))\b""",
    flags=re.IGNORECASE | re.VERBOSE)  # fmt: skip
TEXTS = [*PATHS, *(TOP / "book").glob("*.md"), *(TOP / name for name in ("index.md", "README.md"))]


def prose(text):
    code = r"(?sm)^(`{3,})(?:[a-z]+)?\n.*?^\1$|`[^`]*`|\$[^$]*\$|\]\([^)]*\)"
    return re.sub(code, "", text)


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
def test_words_are_plain(path):
    text = prose(text_of(path) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8"))
    assert [match[0] for match in BANNED.finditer(text)] == []
    assert re.findall(r".*\d%.*", text) == [], "a space stands between a number and its %"


def test_banned_words_are_found():
    found = [
        match[0]
        for match in BANNED.finditer(
            "Note that normalizing is, of course, simply a gray colored size."
        )
    ]
    assert re.findall(r"\d%", prose("From 5 % to {glue:text}`x:.1%`, `5%`, $5%$ and 6%")) == ["6%"]
    assert found == ["Note that", "normalizing", "of course", "simply", "gray", "colored"]


@EACH
def test_first_code_cell_installs_the_package_where_it_is_missing(path):
    first = next(cell for cell in read(path).cells if cell.cell_type == "code")
    assert set(first.metadata["tags"]) == {"install", "remove-cell"}
    assert first.source == tool.INSTALL, "another address than in _config.yml. Run: make notebooks"


@EACH
def test_pictures_have_alternative_text(path):
    for cell in read(path).cells:
        if any(
            kind.startswith("image/")
            for output in cell.get("outputs", [])
            for kind in output.get("data", {})
        ):
            text = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(text) >= 15, f"no alternative text in the metadata of: {cell.source}"


@EACH_CHAPTER
def test_chapter_has_its_parts(path):
    text = text_of(path)
    assert text.startswith("# ")
    assert (
        ":class-card: chapter-card" in text
        and "**Goals**" in text
        and "**Before you start:**" in text
    )
    assert {"reading", "seconds"} <= set(re.findall(r"\{measured\}`(\w+)`", text))
    sections = re.findall(r"^## (.*)", text, flags=re.MULTILINE)
    assert sections[-5:] == [
        "What goes wrong",
        "Exercises",
        "Quiz",
        "Take-aways",
        "Further reading",
    ]
    assert re.search(r"^\$\$ \(eq-", text, flags=re.MULTILINE), "no numbered formula"
    assert list(tool.shown_sources(read(path))), "no source of the package is shown"
    assert "{cite" in text.split("## Further reading")[1]


@EACH_CHAPTER
def test_every_exercise_has_level_minutes_and_solution(path):
    text = text_of(path)
    exercises = re.findall(
        r"\{exercise-start\}.*?\n:label: (\S+)(.*?)\{exercise-end\}", text, flags=re.DOTALL
    )
    assert 4 <= len(exercises) <= 8
    for label, task in exercises:
        assert re.search(r"\*(Easy|Medium|Hard), \d+ minutes\.\*", task), (
            f"{label}: level and minutes"
        )
    solutions = re.findall(r"\{solution-start\} (\S+)\n:label: \S+\n:class: dropdown", text)
    assert solutions == [label for label, _ in exercises]
    assert text.count("{solution-end}") == len(solutions)


@EACH_CHAPTER
def test_every_quiz_option_is_explained(path):
    questions = text_of(path).split(":class-card: quiz")[1:]
    assert 4 <= len(questions) <= 6
    for question in questions:
        options = re.findall(r"\{dropdown\} (.+)\n(.*)", question)
        assert 3 <= len(options) <= 5, question
        verdicts = [re.match(r"\*\*(Yes|No)\.\*\* \S", answer) for _, answer in options]
        assert all(verdicts), question
        assert sum(verdict[1] == "Yes" for verdict in verdicts) == 1 or "all that" in question, (
            question
        )


# The tool ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project of its own: a package of three modules with data, and a notebook that imports one of them."""
    monkeypatch.setattr(tool, "ROOT", tmp_path)
    monkeypatch.setattr(tool, "PACKAGE", tmp_path / "mmcourse")
    files = {
        "mmcourse/__init__.py": '"""Words."""\n',
        "mmcourse/first.py": "from .data import second\n\nVALUE = second.VALUE\n",
        "mmcourse/other.py": "VALUE = 3\n",
        "mmcourse/data/__init__.py": "",
        "mmcourse/data/second.py": 'VALUE = 2  # two\n\n\ndef f():\n    """Words."""\n    return "#1"\n',
        "mmcourse/data/table.csv": "a,b\n",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    (tmp_path / "notebooks").mkdir()
    cells = [
        new_markdown_cell("# Title"),
        new_code_cell("%time\nimport mmcourse.first\nmmcourse.first.VALUE"),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "notebooks" / "01_try.ipynb")
    return tmp_path


@pytest.mark.parametrize("file, old, new, changes", [
    ("mmcourse/first.py", "VALUE =", "value =", True),
    ("mmcourse/data/second.py", "2  # two", "2  # three", False),
    ("mmcourse/data/second.py", '"""Words."""', '"""Other words,\n\n    on lines."""', False),
    ("mmcourse/data/second.py", "VALUE = 2", "VALUE = 3", True),
    ("mmcourse/data/second.py", '"#1"', '"#2"', True),
    ("mmcourse/data/second.py", '    return', '    if VALUE:\n        return 1\n    return', True),
    ("mmcourse/data/table.csv", "a", "b", True),
    ("mmcourse/__init__.py", "Words", "No words", False),
    ("mmcourse/other.py", "3", "4", False),
    ("notebooks/01_try.ipynb", "# Title", "# Another title", False),
    ("notebooks/01_try.ipynb", "first.VALUE", "first.VALUE + 1", True),
])  # fmt: skip
def test_digest_changes_with_what_outputs_depend_on(project, file, old, new, changes):
    path = project / "notebooks" / "01_try.ipynb"
    before = tool.digest(read(path))
    content = (project / file).read_text()
    assert old in content
    (project / file).write_text(content.replace(old, new.replace("\n", "\n")))
    assert (tool.digest(read(path)) != before) == changes


def test_modules_are_found_through_every_kind_of_import():
    names = (
        "import os, mmcourse.a\nfrom mmcourse import b\ndef f():\n    from mmcourse.c import d\n"
    )
    assert tool.imports(names) >= {"mmcourse.a", "mmcourse.b", "mmcourse.c"}
    assert "mmcourse.data.x" in tool.imports("from .x import y", "mmcourse.data")
    assert "mmcourse.z" in tool.imports("from ..z import y", "mmcourse.data")
    assert "os" not in tool.imports(names)


def test_the_command_line_counts_as_an_import():
    assert (
        "mmcourse.cli" in tool.modules(["!mmcourse train"])
        or tool.module_file("mmcourse.cli") is None
    )


def test_the_cell_that_installs_is_written_by_the_tool_and_changes_no_digest(project):
    path = project / "notebooks" / "01_try.ipynb"
    notebook = read(path)
    before = tool.digest(notebook)
    notebook.cells.insert(
        1, new_code_cell("%pip install old", metadata={"tags": ["install", "remove-cell"]})
    )
    assert tool.digest(notebook) == before
    notebook.metadata["mmcourse"] = {"digest": before}
    for cell in notebook.cells[2:]:
        cell["execution_count"] = 1
    nbformat.write(notebook, path)
    assert tool.main(["run"]) == 0 and read(path).cells[1].source == tool.INSTALL
    assert tool.REPOSITORY in tool.INSTALL and len(tool.INSTALL.splitlines()) <= 5


def test_the_build_says_what_is_stale_and_how_to_refresh_it(project, capsys):
    assert tool.main(["check"]) == 1
    report = capsys.readouterr().err
    assert "01_try is stale" in report and "make notebooks" in report
    recipe = re.search(
        r"^book:.*\n((?:\t.*\n)+)",
        (TOP / "Makefile").read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    assert "tools/notebooks.py check" in recipe[1]


@pytest.mark.slow
def test_run_stamps_and_text_comes_back(project, monkeypatch, capsys):
    path = project / "notebooks" / "01_try.ipynb"
    assert tool.main(["check"]) == 1
    assert tool.main(["run"]) == 0
    first = path.read_bytes()
    stamp = read(path).metadata["mmcourse"]
    assert set(stamp) == {"digest", "seconds", "megabytes"} and tool.main(["check"]) == 0

    assert tool.main(["text", "01_try"]) == 0 and tool.main(["run"]) == 0
    assert path.read_bytes() == first, "to text and back changes nothing"

    text = path.with_suffix(".py")
    text.write_text(text.read_text().replace("# # Title", "# # A better title"))
    tool.os.utime(text, (path.stat().st_mtime + 5,) * 2)
    assert tool.main(["run"]) == 0
    assert (
        read(path).cells[0].source == "# A better title"
        and read(path).metadata["mmcourse"] == stamp
    )
    assert read(path).cells[1].outputs, "words changed, so nothing ran and nothing was lost"

    good = path.read_bytes()
    text.write_text(text.read_text() + "\n# %%\n1 / 0\n")
    tool.os.utime(text, (path.stat().st_mtime + 5,) * 2)
    assert tool.main(["run"]) == 1 and path.read_bytes() == good
    assert "ZeroDivisionError" in capsys.readouterr().err


def test_unknown_notebook_is_named():
    with pytest.raises(SystemExit, match="no such notebook: 99_nothing"):
        tool.notebooks(["99_nothing"])


def test_old_source_on_a_page_is_found():
    cell = new_code_cell("show_source(show_source)", execution_count=1)
    output = nbformat.v4.new_output("display_data", {"text/markdown": "old"}, metadata={
        "text/markdown": {"mmcourse_source": "mmcourse.book.source:show_source"}})  # fmt: skip
    cell.outputs = [output]
    ((found, now),) = tool.shown_sources(new_notebook(cells=[cell]))
    assert found is output and "def show_source" in now
    assert Path(tool.module_file("mmcourse.book.source")).read_text().count("\n") < 40


def test_the_source_of_a_decorated_function_is_its_own():
    assert show_source(beam_search).data.startswith("`mmcourse/decoding.py`")
