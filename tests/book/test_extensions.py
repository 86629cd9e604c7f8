"""The book's own extensions of Sphinx, on a book of three small pages."""

import base64
import importlib
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import jupytext
import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from sphinx.application import Sphinx

EXTENSIONS = Path(__file__).resolve().parents[2] / "book" / "_ext"
STATE, VIEW = (
    "application/vnd.jupyter.widget-state+json",
    "application/vnd.jupyter.widget-view+json",
)
CONF = """
extensions = ["sphinx.ext.autodoc", "myst_nb", "sphinx_design",
              "chapters", "numbering", "measured", "address", "formulas", "still", "live", "words",
              "benchmarks", "assignments", "course"]
nb_execution_mode, html_theme, numfig, math_numfig = "off", "basic", True, True
myst_enable_extensions = ["dollarmath"]
exclude_patterns = ["notebooks", "conf.py"]
html_theme_options = {"repository_url": "https://github.com/us/course"}
"""
INDEX = """# A book

Both take {measured}`reading 02_near 05_far` minutes.

{measurements}

```{live} notebooks/05_far.ipynb Dial
:alt: A dial with a <hand>
```

```{formulas} far
```

```{benchmarks}
```

```{profiles}
```

```{assignments}
```

```{solutions} A7
```

```{benchmarks} learning
```

```{toctree}
:numbered:
book/chapters/02_near
book/chapters/05_far
```
"""
TASKS = '''# %% [markdown]
# # A7 The lost key
#
# ## Part 1 · Doors (8 points, 40 minutes, easy)
# %% answer="door"
def door(x):
    """Opens `x`."""
    ### BEGIN SOLUTION
    return x + 1
    ### END SOLUTION

# %% tests="door" points=8
check(door, 1, gives=2)
# %% hidden="door" points=8
check(door, 3, gives=secret)
# %% [markdown]
# ## Part 2 · Windows (2 points, 50 minutes, hard)
# %% answer="window"
window = 3
# %% [markdown] written="why" points=2
# Because $a$ is large.
'''
CHAPTERS = ("book/chapters/02_near", "book/chapters/05_far")
HIDDEN = ("remove-cell", "remove-input", "hide-input", "hide-cell")
NEAR = (
    "# Near\n\n{measured}`seconds` s, {measured}`reading` min\n\n## First\n\n### Deep\n\n## Second"
)
TIED = "It is 5% or {glue:text}`share:.1%` of `5 %`, 0.1 to +0.3 by BLEU-4 (with $x=2$), "
TIED += "ten-fold, $y$ and $z$."
FAR = "# Far\n\n## First\n\n$$\na\n$$ (eq-far-a)\n\n"
FAR += "## Second\n\n$$\nb\n$$ (eq-far-b)\n\nSee {eq}`eq-far-b`."
FAR += ' "($s$, $t$)": $u$ or $v$-th.\n\nIt **is**, $p$, $q$, **so**, $r$.'
ROWS = [
    {
        "race": "layers",
        "what": "a race",
        "sizes": "B 1",
        "unit": "ms",
        "ours": 20.0,
        "peer": 30.0,
        "peer_name": "theirs",
        "ratio": 1.5,
        "spread": [1.4, 1.6],
        "goal": "≥ 2",
        "reached": "draw",
        "notes": ["a note"],
        "profile": {"ourModel": {"softmax": 0.25, "other": 0.019}},
    },
    {
        "race": "learning",
        "what": "to learn",
        "sizes": "B 3",
        "unit": "s",
        "ours": 4.0,
        "goal": "≤ 0.7",
        "notes": [],
    },
    {
        "race": "scores",
        "what": "alone",
        "sizes": "B 2",
        "unit": "s",
        "ours": 3.0,
        "goal": None,
        "notes": [],
        "rounds": 9,
    },
]


def figure(name, key):
    """The state of a live figure, and an output that shows it."""
    state = {
        "_anywidget_id": f"mmcourse.book.figures.{name}",
        "_esm": f"/* </script> of {name} */",
        "_css": "",
    }
    still = f"<svg><title>{name}</title></svg>"
    shown = {
        VIEW: {"model_id": key, "version_major": 2},
        "image/svg+xml": still,
        "text/plain": name,
    }
    return {"state": state}, new_output("display_data", shown)


def write_chapter(folder, name, notebook):
    """A notebook, and the text that it could have been made from."""
    (folder / "notebooks").mkdir(exist_ok=True)
    nbformat.write(notebook, folder / "notebooks" / f"{name}.ipynb")
    text = new_notebook(cells=notebook.cells)
    text.metadata["course"] = {"notebook": f"notebooks/{name}.ipynb"}
    text.metadata["jupytext"] = {"notebook_metadata_filter": "course"}
    path = folder / "book" / "chapters" / f"{name}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    jupytext.write(text, path, fmt="py:percent")


def near():
    """A chapter of words and code, some of it hidden, a glued number, exercises and a quiz."""
    glued = {"scrapbook": {"name": "share"}}
    share = new_output("display_data", {"text/plain": "0.25"}, metadata=glued)
    hidden = [new_code_cell("\n".join("y" * 900), metadata={"tags": [tag]}) for tag in HIDDEN]
    work = "work " * 2000
    cells = [
        new_markdown_cell(NEAR),
        new_markdown_cell("word " * 366 + TIED),
        new_code_cell("\n".join("x" * 25), outputs=[share]),
        *hidden,
        new_markdown_cell(f"## Exercises\n\n{work}"),
        new_code_cell("\n".join("z" * 900)),
        new_markdown_cell(f"## Quiz\n\n{work}"),
        new_markdown_cell("## Take-aways"),
    ]
    return new_notebook(cells=cells, metadata={"mmcourse": {"seconds": 42, "megabytes": 321}})


def far():
    """A chapter with formulas and two live figures."""
    (knob, shown_knob), (dial, shown_dial) = figure("Knob", "k"), figure("Dial", "d")
    code = new_code_cell("show()", outputs=[shown_knob, shown_dial])
    notebook = new_notebook(cells=[new_markdown_cell(FAR), code])
    state = {"state": {"k": knob, "d": dial}, "version_major": 2, "version_minor": 0}
    notebook.metadata["widgets"] = {STATE: state}
    return notebook


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The pages of the small book, as soups."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "conf.py").write_text(CONF)
    (folder / "index.md").write_text(INDEX.replace("{measurements}", "```{measurements}\n```"))
    write_chapter(folder, "02_near", near())
    write_chapter(folder, "05_far", far())
    (folder / "formulas.csv").write_text(
        "label,says,code,test\neq-far-a,the first,a + b,\neq-near-x,another,y,\n"
        "eq-far-b,the second,mmcourse.x.f,tests/test_x.py::test_f\n"
    )
    (folder / "notebooks" / "assignments" / "A7_key").mkdir(parents=True)
    (folder / "notebooks" / "assignments" / "A7_key" / "source.py").write_text(TASKS)
    (folder / "notebooks" / "assignments" / "A7_key" / "A7_key.ipynb").write_text("{}")
    (folder / "found.json").write_text(
        json.dumps({"quick": False, "machine": {"device": "a chip"}, "rows": ROWS})
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXTENSIONS))
        patch.setattr(importlib.import_module("formulas"), "TABLE", folder / "formulas.csv")
        patch.setattr(importlib.import_module("benchmarks"), "MEASURED", folder / "found.json")
        Sphinx(
            folder, folder, folder / "out", folder / "trees", "html", status=None, warning=None
        ).build()
    return {name: soup(folder / "out" / f"{name}.html") for name in ("index", *CHAPTERS)}


def soup(path):
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


def table(page, place):
    return [
        [cell.get_text(" ", strip=True) for cell in row.select("td")]
        for row in page.select("table")[place].select("tbody tr")
    ]


def test_a_chapter_keeps_its_number(pages):
    numbers = {
        name: [part.get_text(strip=True) for part in page.select("div.body .section-number")]
        for name, page in pages.items()
    }
    assert numbers["book/chapters/02_near"] == [
        *("2.", "2.1.", "2.1.1.", "2.2."),
        *("2.3.", "2.4.", "2.5."),  # exercises, quiz, take-aways
    ]
    assert numbers["book/chapters/05_far"] == ["5.", "5.1.", "5.2."]
    formulas = [part.get_text() for part in pages["book/chapters/05_far"].select(".eqno")]
    assert [re.sub(r"[^\d.]", "", text) for text in formulas] == ["5.1", "5.2"]
    assert "See (5.2)" in pages["book/chapters/05_far"].get_text()
    contents = [
        link.get_text() for link in pages["index"].select("div.body .toctree-wrapper a.reference")
    ]
    assert contents[:2] == ["2. Near", "2.1. First"] and contents[-3:] == [
        "5. Far",
        "5.1. First",
        "5.2. Second",
    ]


def test_a_formula_stays_with_its_brackets_and_commas(pages):
    kept = [part.get_text() for part in pages["book/chapters/05_far"].select("span.together")]
    assert kept == ["“(\\(s\\),", "\\(t\\))”:", "\\(p\\),", "\\(q\\),", "\\(r\\)."]
    assert (
        "See (5.2). “(\\(s\\), \\(t\\))”: \\(u\\) or \\(v\\)-th."
        in pages["book/chapters/05_far"].get_text()
    )


def test_what_was_measured_is_on_the_page_and_in_the_table(pages):
    """200 words a minute, and 20 lines of code that the page shows; exercises and quiz are not
    read.
    """
    words = len(NEAR.split()) + 366 + len(TIED.split()) + len(["##", "Take-aways"])
    reading = -(-(words / 200 + 25 / 20) // 1)
    assert f"42 s, {reading:.0f} min" in pages["book/chapters/02_near"].get_text() and reading == 4
    assert table(pages["index"], 0) == [["2 Near", "4", "42", "321"], ["5 Far", "1", "", ""]]
    assert "Both take 5 minutes." in pages["index"].get_text()


def test_the_formulas_of_a_chapter(pages):
    assert table(pages["index"], 1) == [
        ["(5.1)", "the first", "in the chapter: a + b no check: it is drawn or printed"],
        ["(5.2)", "the second", "f test_f in tests/test_x.py"],
    ]


def test_a_function_names_the_formulas_that_it_computes(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(EXTENSIONS))
    formulas, app = (
        importlib.import_module("formulas"),
        SimpleNamespace(env=SimpleNamespace(note_dependency=print)),
    )
    monkeypatch.setattr(formulas, "TABLE", tmp_path / "formulas.csv")
    formulas.TABLE.write_text(
        "label,says,code,test\neq-a-b,x,mmcourse.f,\neq-a-c,x,mmcourse.g,\neq-a-d,x,mmcourse.f,\n"
    )
    for name, said in (
        ("mmcourse.f", ["", "Formulas: :eq:`eq-a-b`, :eq:`eq-a-d`."]),
        ("mmcourse.g", ["", "Formula: :eq:`eq-a-c`."]),
        ("mmcourse.h", []),
    ):
        lines = ["Says what it does."]
        formulas.name_formulas(app, "function", name, None, None, lines)
        assert lines == ["Says what it does.", *said]


def test_assignments_can_be_got(pages):
    assert table(pages["index"], 4) == [["A7 The lost key", "2", "1.5", "download , open in Colab"]]
    download, colab = pages["index"].select("table")[4].select("a")
    assert download["href"].endswith("/A7_key.ipynb") and "_downloads" in download["href"]
    assert colab["href"].endswith(
        "/github/us/course/blob/main/notebooks/assignments/A7_key/A7_key.ipynb"
    )


def test_solutions_are_folded_and_hidden_tests_are_not_there(pages):
    folded = pages["index"].select("details")
    assert [part.summary.get_text(strip=True) for part in folded] == [
        "Part 1 · Doors ·door",
        "Part 2 · Windows ·window",
        "Part 2 · Windows · in your own words",
    ]
    assert folded[0].pre.get_text() == 'def door(x):\n    """Opens `x`."""\n    return x + 1\n'
    assert folded[2].select_one(".math") and not any(part.has_attr("open") for part in folded)
    assert "secret" not in pages["index"].get_text()


def test_what_was_raced(pages):
    assert "Measured on device a chip." in pages["index"].get_text()
    rows = [
        [cell.replace("\N{NO-BREAK SPACE}", "~") for cell in row]
        for row in table(pages["index"], 2)
    ]
    assert rows == [
        ["1", "a race", "B 1", "20.0 ms", "30.0 ms", "1.50 (1.40~to~1.60)", "≥~2", "draw"],
        ["3", "alone", "B 2", "3.00 s", "–", "–", "–", "–"],
    ]
    assert table(pages["index"], 3) == [
        ["1", "our\N{ZERO WIDTH SPACE}Model", "softmax 25\N{NO-BREAK SPACE}%"]
    ]
    notes = [item.get_text(strip=True) for item in pages["index"].select("ol li")]
    assert notes == ["peer: theirs; a note", "peer: none; 9 rounds", "peer: none"]
    apart = [cell.replace("\N{NO-BREAK SPACE}", "~") for cell in table(pages["index"], 5)[0]]
    assert apart == ["2", "to learn", "B 3", "4.00 s", "–", "–", "≤~0.7", "–"]


def test_what_belongs_together_stays_on_one_line(pages):
    text = next(
        part for part in pages["book/chapters/02_near"].select("p") if "It is" in part.get_text()
    )
    said = text.get_text().partition("It is ")[2].replace("\N{NO-BREAK SPACE}", "~")
    assert (
        said
        == r"5~% or 25.0~% of 5 %, 0.1~to~+0.3 by BLEU-4 (with \(x=2\)), ten-fold, \(y\) and \(z\)."
    )
    assert [part.get_text() for part in text.select(".together")] == [
        "BLEU-4",
        r"\(x=2\)),",
        r"\(z\).",
    ]


def test_of_equal_marks_the_right_one_moves_to_its_formula(pages):
    text = next(
        part for part in pages["book/chapters/05_far"].select("p") if "so" in part.get_text()
    )
    assert text.get_text() == r"It is, \(p\), \(q\), so, \(r\)."


def test_a_live_figure_on_a_page_without_code(pages):
    image, data = pages["index"].select_one("img.mm-still"), pages["index"].select_one("#mm-data")
    assert base64.b64decode(image["src"].partition(",")[2]) == b"<svg><title>Dial</title></svg>"
    assert image["alt"] == "A dial with a <hand>"
    assert json.loads(data.string)["_esm"] == "/* </script> of Dial */", (
        "the script ends where it should"
    )


def test_live_and_still_stand_side_by_side(pages):
    both = pages["book/chapters/05_far"].select(".mm-both")
    assert len(both) == 2
    for place, (bundle, key) in enumerate(zip(both, "kd", strict=True)):
        assert len(bundle.select(".mm-still img, .mm-still svg")) == 1, place
        assert json.loads(bundle.find("script", type=VIEW).string)["model_id"] == key


@pytest.mark.parametrize(
    "page, message",
    [
        ("# A\n\n{measured}`hours`", "has no measured 'hours', only seconds, reading"),
        ("# A\n\n{measured}`hours 01_a`", "01_a has no measured 'hours', only seconds, reading"),
        (
            "# A\n\n{measured}`reading 02_b`",
            "asks what book/chapters/02_b takes: there is no such page",
        ),
        (
            "# A\n\n```{live} ../../notebooks/01_a.ipynb Lever\n:alt: x\n```",
            "01_a.ipynb holds no figure Lever: execute it",
        ),
    ],
)
def test_what_is_not_there_is_said(tmp_path, page, message, monkeypatch):
    notebook = new_notebook(cells=[new_markdown_cell(page)], metadata={"mmcourse": {"seconds": 3}})
    write_chapter(tmp_path, "01_a", notebook)
    (tmp_path / "conf.py").write_text(CONF + 'root_doc = "book/chapters/01_a"\n')
    monkeypatch.syspath_prepend(str(EXTENSIONS))
    with (tmp_path / "said").open("w") as said:
        Sphinx(
            tmp_path,
            tmp_path,
            tmp_path / "out",
            tmp_path / "trees",
            "html",
            status=None,
            warning=said,
        ).build()
    assert message in (tmp_path / "said").read_text()
    assert sys.modules["course"].__file__ == str(EXTENSIONS / "course.py")
