"""A notebook counts as stale when, and only when, its outputs could be others."""

import jupytext
import nbformat
import pytest

from mmcourse.book.source import show_source
from mmcourse.decoding import beam_search
from tools import staleness

FILES = {
    "mmcourse/__init__.py": '"""Words."""\n',
    "mmcourse/first.py": "from .data import second\n\nVALUE = second.VALUE\n",
    "mmcourse/other.py": "VALUE = 3\n",
    "mmcourse/cli/__init__.py": "",
    "mmcourse/cli/train.py": "EPOCHS = 3\n",
    "mmcourse/data/__init__.py": "",
    "mmcourse/data/second.py": (
        'VALUE = 2  # two\n\n\ndef f():\n    """Words."""\n    return "#1"\n'
    ),
    "mmcourse/data/second/table.csv": "a,b\n",
    "mmcourse/data/second/README.md": "words\n",
    "mmcourse/data/second/LICENSES/MIT.txt": "words\n",
    "mmcourse/data/third/table.csv": "a,b\n",
    "text.py": (
        "# %% [markdown]\n# # Title\n\n# %%\n# %time\nimport mmcourse.first\nmmcourse.first.VALUE\n"
    ),
}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A package of a few modules, one of which reads a folder of data, and a chapter."""
    data = {
        "mmcourse.data.second": "mmcourse/data/second",
        "mmcourse.other": "mmcourse/data/third",
    }
    monkeypatch.setattr(staleness, "ROOT", tmp_path)
    monkeypatch.setattr(staleness, "DATA", data)
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def digest_of(project):
    return staleness.digest(jupytext.read(project / "text.py", fmt="py:percent"))


SECOND = "mmcourse/data/second.py"


@pytest.mark.parametrize(
    "file, old, new, changes",
    [
        ("mmcourse/first.py", "VALUE =", "value =", True),
        (SECOND, "2  # two", "2  # three", False),
        (SECOND, '"""Words."""', '"""Other words,\n\n    on lines."""', False),
        (SECOND, "VALUE = 2", "VALUE = 3", True),
        (SECOND, '"#1"', '"#2"', True),
        (SECOND, "    return", "    if VALUE:\n        return 1\n    return", True),
        ("mmcourse/data/second/table.csv", "a", "b", True),
        ("mmcourse/data/second/README.md", "words", "more words", False),
        ("mmcourse/data/second/LICENSES/MIT.txt", "words", "more words", False),
        ("mmcourse/data/third/table.csv", "a", "b", False),
        ("mmcourse/__init__.py", "Words", "No words", False),
        ("mmcourse/__init__.py", '"""Words."""', "import mmcourse.other", True),
        ("mmcourse/other.py", "3", "4", False),
        ("mmcourse/cli/train.py", "3", "4", False),
        ("text.py", "# Title", "# Another title", False),
        ("text.py", "first.VALUE", "first.VALUE + 1", True),
    ],
)
def test_digest_changes_with_what_outputs_depend_on(project, file, old, new, changes):
    before = digest_of(project)
    content = (project / file).read_text()
    assert old in content
    (project / file).write_text(content.replace(old, new))
    assert (digest_of(project) != before) == changes


def test_every_command_counts_for_the_command_line(project):
    cells = ["!mmcourse train --epochs 3", "%time print()"]
    assert {"mmcourse.cli", "mmcourse.cli.train"} <= set(staleness.modules(cells))


def test_modules_are_found_through_every_kind_of_import():
    names = (
        "import os, mmcourse.a\nfrom mmcourse import b\ndef f():\n    from mmcourse.c import d\n"
    )
    assert staleness.imports(names) >= {"mmcourse.a", "mmcourse.b", "mmcourse.c"}
    assert "mmcourse.data.x" in staleness.imports("from .x import y", "mmcourse.data")
    assert "mmcourse.z" in staleness.imports("from ..z import y", "mmcourse.data")
    assert "os" not in staleness.imports(names)


def test_comments_and_docstrings_are_cut_exactly():
    source = '"""Über\nwords."""\nx = "#1"  # why\n\n\n'
    source += 'def f():  # é\n    "é"; y = """kept"""\n    return y\n'
    assert staleness.without_words(source) == (
        'x = "#1"\ndef f():\n    ; y = """kept"""\n    return y'
    )


def test_every_file_of_data_belongs_to_a_module_that_reads_it():
    package = staleness.ROOT / "mmcourse"
    code = {".py", ".pyc", ".js", ".css"}
    found = {
        path for path in package.rglob("*") if path.suffix not in code and staleness.is_data(path)
    }
    assert found == set(staleness.data_files(staleness.DATA)) != set()
    for module, folder in staleness.DATA.items():
        file = staleness.module_file(module)
        assert file, f"there is no {module}: correct DATA in tools/staleness.py"
        name = folder.rpartition("/")[2].partition("*")[0]  # text_ of text_*.json
        assert name in file.read_text(encoding="utf-8"), f"{module} does not name {folder}"


def test_old_source_on_a_page_is_found_and_replaced():
    cell = nbformat.v4.new_code_cell("show_source(show_source)", execution_count=1)
    about = {"text/markdown": {"mmcourse_source": "mmcourse.book.source:show_source"}}
    output = nbformat.v4.new_output("display_data", {"text/markdown": "old"}, metadata=about)
    cell.outputs = [output]
    notebook = nbformat.v4.new_notebook(cells=[cell])
    ((found, now),) = staleness.shown_sources(notebook)
    assert found is output and "def show_source" in now
    assert staleness.shows_old_source(notebook)
    staleness.refresh_source(notebook)
    assert output["data"]["text/markdown"] == now and not staleness.shows_old_source(notebook)


def test_old_script_of_a_figure_is_found_and_replaced():
    from mmcourse.book.figures.attention import MaskExplorer

    name = "mmcourse.book.figures.attention.MaskExplorer"
    state = {"_anywidget_id": name, "_esm": MaskExplorer._esm, "_css": "old"}
    notebook = nbformat.v4.new_notebook()
    notebook.metadata["widgets"] = {staleness.WIDGETS: {"state": {"k": {"state": state}}}}
    state = staleness.widgets(notebook)["k"]["state"]
    assert staleness.shows_old_source(notebook)
    staleness.refresh_source(notebook)
    assert state["_css"] == MaskExplorer._css and not staleness.shows_old_source(notebook)


def test_the_source_of_a_decorated_function_is_its_own():
    assert show_source(beam_search).data.startswith("`mmcourse/decoding/beams.py`")
