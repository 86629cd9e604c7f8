"""Every notebook is what its text says and its code gives, and the tool that makes it works."""

import re

import jupytext
import nbformat
import pytest
from sphinx.errors import ExtensionError

from book._ext import chapters
from tests.book.pages import ROOT, TEXTS, code_of, read_notebook, words_of
from tools import execution, install, staleness
from tools import notebooks as tool

EACH = pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)

# What plain Markdown does not know: directives, roles, labels, cards of colons.
MYST = re.compile(
    r"^ *(?:`{3,}|~{3,}|:{3,}) *\{|\{[a-z:]+\}`|^\([\w-]+\)=$|^:{3,}|^:(?:label|class|name|alt):",
    flags=re.MULTILINE,
)


# The notebooks ---------------------------------------------------------------------------------


@EACH
def test_notebook_is_what_its_text_says_and_its_code_gives(path):
    problems = tool.faults(path)
    assert not problems, f"{path.stem} {'; '.join(problems)}. Run: make notebooks"


def test_every_notebook_has_a_text():
    notebooks = [path.stem for path in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    assert notebooks == [path.stem for path in TEXTS]


@EACH
def test_no_markup_of_the_page_is_left(path):
    words = re.sub(r"(?sm)^```(?:\w+)?\n.*?^```$", "", words_of(read_notebook(path)))
    assert MYST.findall(words) == []


@EACH
def test_no_output_names_a_place_of_the_machine_that_made_it(path):
    text = (ROOT / "notebooks" / f"{path.stem}.ipynb").read_text(encoding="utf-8")
    assert not re.findall(rf"{re.escape(str(ROOT))}|site-packages|\.venv", text)


def test_an_error_on_purpose_is_shown_by_its_last_line(tmp_path):
    code = "import json\njson.loads('')\n"
    cells = [
        nbformat.v4.new_code_cell(line, metadata={"tags": ["raises-exception"]})
        for line in (code, "from json import Nothing")
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    execution.execute(notebook, tmp_path)
    shown = ["\n".join(cell.outputs[0].traceback) for cell in notebook.cells]
    assert shown == [
        "JSONDecodeError: Expecting value: line 1 column 1 (char 0)",
        "ImportError: cannot import name 'Nothing' from 'json'",
    ]


@pytest.mark.parametrize(
    "text, found",
    [
        ("```{note}\nx\n```", True),
        (":::{card} A title\n:::", True),
        ("see {numref}`fig-a`", True),
        ("{glue:text}`share:.1%`", True),
        ("(a-label)=\n# A title", True),
        (":class: dropdown", True),
        ("```python\nx\n```", False),
        ("a set $\\{a\\}$ and `code`", False),
        ("> **Goals**", False),
    ],
)
def test_markup_of_the_page_is_found(text, found):
    assert bool(MYST.search(text)) == found


@EACH
def test_runs_in_the_time_and_memory_of_a_reader(path):
    stamp = read_notebook(path).metadata["mmcourse"]
    assert stamp["seconds"] <= 200
    assert stamp["megabytes"] <= 2000


@EACH
def test_cells_are_quiet(path):
    for cell in code_of(read_notebook(path)):
        for output in cell.outputs:
            assert output.get("name") != "stderr", f"{cell.source}\nwrites to stderr: {output.text}"
            expected = "raises-exception" in cell.metadata.get("tags", [])
            assert output.output_type != "error" or expected, cell.source


@EACH
def test_drawings_are_there_as_png_too(path):
    """JupyterLab holds SVG back until a notebook is trusted, and code hosts do."""
    for cell in code_of(read_notebook(path)):
        for output in cell.outputs:
            kinds = set(output.get("data", {}))
            assert "image/svg+xml" not in kinds or "image/png" in kinds, cell.source


@EACH
def test_first_code_cell_gets_the_course_where_it_is_missing(path):
    first = code_of(read_notebook(path))[0]
    assert first.source == install.INSTALL
    assert first.metadata["jupyter"] == {"source_hidden": True}


@pytest.mark.parametrize("published", [True, False])
def test_the_cell_that_gets_the_course(tmp_path, published):
    owner = "us" if published else "OWNER"
    config = tmp_path / "_config.yml"
    config.write_text(f"repository:\n  url: https://github.com/{owner}/mmcourse\n")
    address = install.public_address(config)
    code = install.install_code(address)
    if published:
        assert "%pip" in code
        assert "git+https://github.com/us/mmcourse" in code
    else:
        assert address == ""
        assert "git+" not in code and "OWNER" not in code and "make lab" in code
        compile(code, "cell", "exec")
        with pytest.raises(ModuleNotFoundError, match="In the folder of the course"):
            exec(code.replace('"mmcourse"', '"no_such_package"'), {})
        exec(code, {})  # where the course is, nothing happens


# The tool --------------------------------------------------------------------------------------

TEXT = """\
# ---
# jupyter:
#   course: {notebook: notebooks/01_try.ipynb}
# ---

# %% [markdown]
# # Title

# %% tags=["remove-cell"]
import mmcourse.first

# %%
mmcourse.first.VALUE
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A course of its own: a package of one module, and one chapter that imports it."""
    for module in (tool, staleness, execution):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(tool, "plain_notebook", lambda notebook, name: notebook)
    for folder in ("mmcourse", "notebooks", "book/chapters"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "mmcourse" / "__init__.py").write_text("")
    (tmp_path / "mmcourse" / "first.py").write_text("VALUE = 2\n")
    (tmp_path / "book" / "chapters" / "01_try.py").write_text(TEXT)
    return tmp_path


@pytest.fixture
def executed(project, monkeypatch):
    """That course after ``run``, without a kernel: each cell prints its source.

    Gives the list of what ran.
    """
    ran = []

    def execute(notebook, folder):
        ran.append(folder)
        for number, cell in enumerate(chapters.code_cells(notebook), 1):
            cell.execution_count = number
            cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=cell.source)]
        return 3, 40

    monkeypatch.setattr(tool, "execute", execute)
    assert tool.main(["run"]) == 0
    return ran


def text_and_notebook(project):
    return project / "book" / "chapters" / "01_try.py", project / "notebooks" / "01_try.ipynb"


def change(path, old, new):
    content = path.read_text(encoding="utf-8")
    assert old in content
    path.write_text(content.replace(old, new), encoding="utf-8")


def test_what_is_stale_is_executed_and_stamped(project, executed, capsys):
    text, path = text_and_notebook(project)
    stamp = nbformat.read(path, as_version=4).metadata["mmcourse"]
    assert stamp == {"digest": stamp["digest"], "seconds": 3, "megabytes": 40, "reading": 1}
    assert executed == [path.parent] and tool.main(["check"]) == 0
    change(project / "mmcourse" / "first.py", "2", "3")
    assert tool.main(["check"]) == 1
    said = capsys.readouterr().err
    assert "01_try is stale" in said and "make notebooks" in said
    assert tool.main(["run"]) == 0
    assert len(executed) == 2 and tool.main(["check"]) == 0
    assert nbformat.read(path, as_version=4).metadata["mmcourse"]["digest"] != stamp["digest"]


def test_nothing_changes_when_nothing_changed(project, executed):
    path = text_and_notebook(project)[1]
    before = path.read_bytes()
    assert tool.main(["run"]) == 0
    assert path.read_bytes() == before and len(executed) == 1
    assert tool.main(["run", "01_try", "--force"]) == 0
    assert path.read_bytes() == before and len(executed) == 2


def test_words_alone_execute_nothing(project, executed):
    text, path = text_and_notebook(project)
    before = nbformat.read(path, as_version=4)
    change(text, "# # Title", "# # A better title")
    assert tool.faults(text) == [tool.OLD_WORDS]
    assert tool.main(["run"]) == 0
    after = nbformat.read(path, as_version=4)
    assert len(executed) == 1 and after.cells[0].source == "# A better title"
    assert after.cells[1:] == before.cells[1:] and after.metadata == before.metadata


def test_changed_code_is_executed(project, executed):
    text = text_and_notebook(project)[0]
    change(text, "first.VALUE", "first.VALUE + 1")
    assert tool.faults(text) == [tool.STALE]
    assert tool.main(["run"]) == 0 and len(executed) == 2


@pytest.mark.parametrize(
    "old, new",
    [
        ('"# Title"', '"# Another title"'),  # edited in JupyterLab
        ('"kernelspec"', '"toc": {}, "kernelspec"'),  # saved by it
        ("find_spec", "find"),  # another cell that installs
    ],
)
def test_a_notebook_that_was_edited_is_written_again(project, executed, old, new):
    text, path = text_and_notebook(project)
    before = path.read_bytes()
    change(path, old, new)
    assert tool.faults(text) == [tool.OLD_WORDS]
    assert tool.main(["run"]) == 0
    assert path.read_bytes() == before and len(executed) == 1


def test_a_cell_that_was_edited_in_the_notebook_is_not_believed(project, executed):
    text, path = text_and_notebook(project)
    change(path, "first.VALUE", "first.OTHER")
    assert tool.faults(text) == [tool.STALE]


def test_a_cell_that_never_ran_is_found(project, executed):
    text, path = text_and_notebook(project)
    change(path, '"execution_count": 2', '"execution_count": null')
    assert tool.faults(text) == ["has code cells that never ran"]


def test_the_cell_that_installs_stands_first_and_does_not_count(project, executed):
    text, path = text_and_notebook(project)
    notebook = nbformat.read(path, as_version=4)
    first = code_of(notebook)[0]
    assert notebook.cells.index(first) == 1 and first.source == install.INSTALL
    assert "install" in first.metadata["tags"] and len(code_of(notebook)) == 3
    assert notebook.metadata["mmcourse"]["digest"] == staleness.digest(jupytext.read(text))


def test_source_that_a_notebook_shows_is_renewed_without_running(project, executed):
    text, path = text_and_notebook(project)
    notebook = nbformat.read(path, as_version=4)
    about = {"text/markdown": {"mmcourse_source": "mmcourse.book.source:show_source"}}
    old = nbformat.v4.new_output("display_data", {"text/markdown": "old"}, metadata=about)
    code_of(notebook)[-1].outputs = [old]
    nbformat.write(notebook, path)
    assert tool.faults(text) == [tool.OLD_SOURCE]
    assert tool.main(["run"]) == 0 and len(executed) == 1
    (output,) = code_of(nbformat.read(path, as_version=4))[-1].outputs
    assert "def show_source" in output["data"]["text/markdown"] and tool.faults(text) == []


def test_random_names_of_widgets_do_not_stay(project, executed):
    text = text_and_notebook(project)[0]
    chapter = tool.read_text(text)
    chapter.metadata["mmcourse"] = {}
    chapter.metadata["widgets"] = {staleness.WIDGETS: {"state": {"0f3a9c": {}}}}
    assert list(staleness.widgets(tool.derive(chapter, "01_try"))) == ["widget-01"]


def test_widgets_get_the_same_names_in_every_run():
    state = {"0f3a9c": {"state": {"value": 1}}, "77ab01": {"state": {"value": 2}}}
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("0f3a9c 77ab01")])
    notebook.metadata["widgets"] = {staleness.WIDGETS: {"state": state}}
    tool.rename_widgets(notebook)
    assert list(staleness.widgets(notebook)) == ["widget-01", "widget-02"]
    assert notebook.cells[0].source == "widget-01 widget-02"


def test_the_build_says_what_is_stale():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = re.search(r"^book:.*\n((?:\t.*\n)+)", makefile, flags=re.MULTILINE)
    assert "tools/notebooks.py check" in recipe[1]


def test_unknown_chapter_is_named():
    with pytest.raises(SystemExit, match="no such chapter: 99_nothing"):
        tool.texts(["99_nothing"])


@pytest.mark.slow
def test_a_kernel_executes_a_chapter(project, capsys):
    text, path = text_and_notebook(project)
    assert tool.main(["run"]) == 0
    notebook = nbformat.read(path, as_version=4)
    assert code_of(notebook)[-1].outputs[0]["data"]["text/plain"] == "2"
    assert notebook.metadata["mmcourse"]["megabytes"] > 20

    before = path.read_bytes()
    text.write_text(TEXT + "\n# %%\nsay = 3 / 0\n")
    assert tool.main(["run"]) == 1 and path.read_bytes() == before
    said = capsys.readouterr().err
    line = text.read_text().splitlines().index("say = 3 / 0")  # the marker stands one before
    assert f"the cell at line {line} of book/chapters/01_try.py failed" in said
    assert "ZeroDivisionError" in said and "_build/failed/01_try.ipynb" in said
    failed = nbformat.read(project / "_build" / "failed" / "01_try.ipynb", as_version=4)
    assert failed.cells[2].outputs and failed.cells[3].outputs[0].ename == "ZeroDivisionError"


# The page from both ----------------------------------------------------------------------------


def test_a_page_has_the_words_of_the_text_and_the_outputs_of_the_notebook(project, executed):
    text, path = text_and_notebook(project)
    change(text, "# # Title", "# # New words")
    change(text, '# %% tags=["remove-cell"]', '# %% tags=["hide-input"]')
    page = chapters.read_chapter(text.read_text(), project)
    assert [cell.source for cell in page.cells] == [
        "# New words",
        "import mmcourse.first",
        "mmcourse.first.VALUE",
    ]
    assert page.cells[2].outputs[0].text == "mmcourse.first.VALUE"
    assert page.cells[1].metadata["tags"] == ["hide-input"]
    assert set(page.metadata) == {"kernelspec", "language_info"}


def test_a_page_has_the_state_of_widgets(project, executed):
    text, path = text_and_notebook(project)
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata["widgets"] = {staleness.WIDGETS: {"state": {"k": {}}}}
    nbformat.write(notebook, path)
    page = chapters.read_chapter(text.read_text(), project)
    assert page.metadata["widgets"] == notebook.metadata["widgets"]


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("first.VALUE", "first.VALUE + 1", "code cell 2 of the text is not the one that ran"),
        ("import mmcourse.first", "import mmcourse", "code cell 1 of the text"),
        ("# %%\nmmcourse.first.VALUE\n", "", "the text has 1 code cells, 2 ran"),
        ("01_try.ipynb", "02_new.ipynb", "there is no notebooks/02_new.ipynb yet"),
        ("#   course:", "#   curse:", "expected a text whose head names its notebook"),
    ],
)
def test_a_page_is_not_made_of_what_does_not_belong_together(project, executed, old, new, message):
    text = text_and_notebook(project)[0]
    change(text, old, new)
    with pytest.raises(ExtensionError, match=re.escape(message)) as raised:
        chapters.read_chapter(text.read_text(), project)
    assert "make notebooks" in str(raised.value) or "head" in message
