"""A derived notebook says in plain Markdown what its chapter says in MyST."""

import re

import nbformat
import pytest
from markdown_it import MarkdownIt
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from book._ext.chapters import take_outputs
from tests.book.pages import ROOT, TEXTS, code_of, read_notebook, read_text, words_of
from tools.notebooks import derive
from tools.plain import plain_notebook, references

EACH = pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
GLUE = "application/papermill.record/"
PIXEL = (  # a PNG of one pixel
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
)


def glue(name, text, **pictures):
    """A code cell in which something was glued."""
    data = {f"{GLUE}text/plain": text}
    data |= {f"{GLUE}image/{kind}": picture for kind, picture in pictures.items()}
    scrapbook = {"name": name, "mime_prefix": GLUE}
    output = new_output("display_data", data=data, metadata={"scrapbook": scrapbook})
    return new_code_cell(f"glue({name!r})", outputs=[output])


def convert(*cells, name="05_vision"):
    """The cells of the plain notebook of cells; a text is a Markdown cell."""
    made = [new_markdown_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    stamp = {"seconds": 33, "megabytes": 1028, "reading": 41}
    return plain_notebook(new_notebook(cells=made, metadata={"mmcourse": stamp}), name).cells


def plain(*cells, name="05_vision"):
    """The plain Markdown of the first cell."""
    return convert(*cells, name=name)[0].source


# Roles and links -------------------------------------------------------------------------------

PROSE = [
    ("It takes {measured}`reading` min, {measured}`seconds` s.", "It takes 41 min, 33 s."),
    ("{cite:t}`vaswani2017` and {cite:t}`tan2019`", "Vaswani et al. (2017) and Tan and Le (2019)"),
    ("as shown {cite}`ba2016,he2016`.", "as shown (Ba et al., 2016; He et al., 2016)."),
    ("as shown {cite:p}`ba2016`.", "as shown (Ba et al., 2016)."),
    ("by {eq}`eq-attention`", "by [(1.2)](01_attention.ipynb)"),
    ("see {numref}`fig-attention-promise`", "see [Figure 1.1](01_attention.ipynb)"),
    ("see {numref}`picture %s <fig-attention-promise>`", "see [picture 1.1](01_attention.ipynb)"),
    ("{doc}`01_attention`, {doc}`/book/glossary`", "[Attention](01_attention.ipynb), Glossary"),
    ("{doc}`the words </book/glossary>`", "the words"),
    ("a [chapter](01_attention.py)", "a [chapter](01_attention.ipynb)"),
    ("[this chapter](05_vision.py)", "this chapter"),
    ("[*the* words](../glossary.md)", "*the* words"),
    ("[out](https://a.org/b.py)", "[out](https://a.org/b.py)"),
    ("![a logo](../static/logo.svg)", "![a logo](../book/static/logo.svg)"),
    ("{download}`the table <../formulas.csv>`", "[the table](../book/formulas.csv)"),
    ("{term}`token`, {term}`tokens <token>`", "token, tokens"),
    ("{func}`~mmcourse.decoding.greedy`, {mod}`mmcourse.vision`", "`greedy`, `mmcourse.vision`"),
    ("{math}`x < 1` and $a\n\\le b$", "$x < 1$ and $a \\le b$"),
    *[(text, text) for text in ("`{eq}` ``{cite}`x` ``", "`a [b](c.py)`", "$\\{y\\}$", r"\$5")],
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), PROSE)
def test_prose(text, expected):
    assert plain(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{glue:text}`share:.0%` of {glue:text}`count:,d`", "33\N{NO-BREAK SPACE}% of 1,000"),
        ("{glue:text}`share:.3f`, {glue}`word`", "0.327, boat"),
    ],
)
def test_glued_numbers(text, expected):
    glued = [glue("share", "0.3267"), glue("count", "1000"), glue("word", "'boat'")]
    assert plain(text, *glued) == expected


def test_labels_of_a_chapter_are_numbered_in_their_order():
    text = (
        "(sec-one)=\n# Vision\n\n$$\na\n$$\n\n## One\n\n$$\nb\n$$ (eq-b)\n\n### Inner\n\n## Two\n\n"
        "```{math}\n:label: eq-c\nc\n```\n\n- a list\n\n  $$\n  d\n  > e\n  $$ (eq-d)\n\n"
        "> $$\n> f\n> > 0\n> $$ (eq-f)\n\n"
        "{eq}`eq-c` {eq}`eq-b` {ref}`sec-one` {ref}`here <sec-one>`"
    )
    shown = plain(text)
    assert re.findall("^#+ .*", shown, re.MULTILINE) == [
        "# 5 Vision",
        "## 5.1 One",
        "### 5.1.1 Inner",
        "## 5.2 Two",
    ]
    assert "$$\na\n$$" in shown
    assert "$$\nb \\tag{5.1}\n$$" in shown
    assert "$$\nc \\tag{5.2}\n$$" in shown
    assert "- a list\n\n  $$ d > e \\tag{5.3} $$" in shown
    assert "> $$ f > 0 \\tag{5.4} $$" in shown
    assert "(5.2) (5.1) Vision here" in shown
    assert "sec-one" not in shown


def test_page_without_a_number_has_plain_headings_and_goes_on_counting():
    cell = new_code_cell("draw()", metadata={"mystnb": {"figure": {"caption": "A.", "name": "f"}}})
    cells = convert("# Data card\n\n## Splits\n\n{numref}`f`", cell, name="data")
    # index.md and book/try.md, before it in the table of contents, have Figures 1 and 2
    assert cells[0].source == "# Data card\n\n## Splits\n\nFigure 3"
    assert cells[2].source == "**Figure 3.** A."


# Directives ------------------------------------------------------------------------------------

CARD = """\
::::{card}
:class-card: chapter-card

**Goals**

- compute it

:::{card-footer}
Reading {measured}`reading` min
:::
::::"""
QUIZ = """\
::::::{card}
:class-card: quiz
**1.** Which?

:::{dropdown} `<start>` and $a < b$
**No.** Here:

$$
a
+ b
$$
:::
:::{dropdown} *Two*
**Yes.**
:::
::::::"""
BLOCKS = [
    (CARD, "> **Goals**\n>\n> - compute it\n>\n> Reading 41 min"),
    (
        QUIZ,
        "> **1.** Which?\n>\n"
        "> <details>\n> <summary><code>&lt;start&gt;</code> and $a \\lt  b$</summary>\n>\n"
        "> **No.** Here:\n>\n> $$ a + b $$\n>\n> </details>\n>\n"
        "> <details>\n> <summary><em>Two</em></summary>\n>\n> **Yes.**\n>\n> </details>",
    ),
    ("```{note}\nMind $x$.\n```", "> **Note.**\n>\n> Mind $x$."),
    (":::{tip} Begin\nhere.\n:::", "> **Tip.**\n>\n> Begin\n> here."),
    ("```{admonition} Why *this*\n:class: dropdown\nSo.\n```",
     "<details>\n<summary>Why <em>this</em></summary>\n\nSo.\n\n</details>"),
    ("```{margin}\nBeside.\n```", "> Beside."),
    ("```{image} ../static/logo.svg\n:alt: A logo\n```", "![A logo](../book/static/logo.svg)"),
    ("```{figure} ../static/logo.svg\n:alt: A\n:name: f\nOur *logo*.\n```\n\n{numref}`f`",
     "![A](../book/static/logo.svg)\n\n**Figure 5.1.** Our *logo*.\n\nFigure 5.1"),
    ("```{live} 14_captioning.py CaptionExplorer\n:alt: A scene.\n```",
     "*A live figure of [Captioning](14_captioning.ipynb): A scene.*"),
    ("```{math}\nx\n```", "$$\nx\n$$"),
    ("```python\n{eq}`x`\n```\n\n<b>so</b>\n\n---", "```python\n{eq}`x`\n```\n\n<b>so</b>\n\n---"),
    ("| a | b |\n|---|---|\n| {measured}`seconds` | $c$ |", "| a | b |\n|---|---|\n| 33 | $c$ |"),
    ("% a comment\n\n(label)=\n\n+++\n\nwords", "words"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), BLOCKS)
def test_blocks(text, expected):
    assert plain(text) == expected


def test_glued_figure_travels_as_an_attachment():
    text = "```{glue:figure} opening\n:name: f\n:alt: A scene.\nWhat it *shows*.\n```"
    cell = convert(text, glue("opening", "Figure", png=PIXEL))[0]
    assert cell.source == "![A scene.](attachment:opening.png)\n\n**Figure 5.1.** What it *shows*."
    assert cell.attachments == {"opening.png": {"image/png": PIXEL}}


def test_exercise_and_its_solution():
    first = (
        "```{exercise-start} How *many*\n:label: ex-a\n```\n*Easy.* Count.\n```{exercise-end}\n```"
    )
    second = "````{solution-start} ex-a\n:label: so-a\n:class: dropdown\n````\nThe words."
    cells = convert(
        first, second, new_code_cell("1 + 1"), "More.", "````{solution-end}\n````\n\n## Quiz"
    )
    assert [cell.source for cell in cells] == [
        "### Exercise 5.1 (How *many*)\n\n*Easy.* Count.",
        "<details>\n<summary>Solution to Exercise 5.1</summary>\n\nThe words.\n\n</details>",
        "1 + 1",
        "<details>\n<summary>Solution to Exercise 5.1, continued</summary>\n\nMore.\n\n</details>",
        "## 5.1 Quiz",
    ]
    assert cells[2].metadata.jupyter == {"source_hidden": True, "outputs_hidden": True}


def test_solution_of_code_alone_says_where_it_is():
    exercise = "```{exercise-start} Count\n:label: ex-a\n```\n```{exercise-end}\n```"
    start = "````{solution-start} ex-a\n````"
    cells = convert(exercise, start, new_code_cell("1"), "````{solution-end}\n````", "After.")
    sources = [cell.source for cell in cells]
    assert sources[1:] == ["**Solution to Exercise 5.1:** the folded cells below.", "1", "After."]


# Code cells ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "folds"),
    [
        ([], None),
        (["nbval-check-output"], None),
        (["install", "remove-cell"], {"source_hidden": True}),
        (["hide-input"], {"source_hidden": True}),
        (["remove-input"], {"source_hidden": True}),
        (["hide-cell"], {"source_hidden": True, "outputs_hidden": True}),
        (["remove-output"], {"outputs_hidden": True}),
    ],
)
def test_code_is_folded_as_on_the_page(tags, folds):
    cell = convert(new_code_cell("1 + 1", metadata={"tags": tags}))[0]
    assert cell.metadata.get("jupyter") == folds
    assert cell.metadata.tags == tags


def test_caption_stands_below_its_figure():
    figure = {"figure": {"caption": "Rows of {eq}`eq-a`.", "name": "fig-a"}, "image": {"alt": "A"}}
    cell = new_code_cell("draw()", metadata={"mystnb": figure})
    text = "{numref}`fig-a`: \n\n$$\nx\n$$ (eq-a)"
    shown = [cell.source for cell in convert(text, cell)]
    assert shown == [
        "Figure 5.1:\n\n$$\nx \\tag{5.1}\n$$",
        "draw()",
        "**Figure 5.1.** Rows of (5.1).",
    ]


def test_given_notebook_stays_as_it_is():
    code = new_code_cell("1", metadata={"tags": ["hide-input"]})
    notebook = new_notebook(cells=[new_markdown_cell("# A\n\n{cite}`ba2016`"), code])
    before = nbformat.writes(notebook)
    plain_notebook(notebook, "05_vision")
    assert nbformat.writes(notebook) == before


# References ------------------------------------------------------------------------------------


def test_works_in_full():
    assert references.in_full("lecun1998") == (
        "Yann LeCun, Léon Bottou, Yoshua Bengio and Patrick Haffner (1998). "
        "*Gradient-Based Learning Applied to Document Recognition*. "
        "Proceedings of the IEEE 86(11), 2278–2324."
    )
    assert references.in_full("dosovitskiy2021").startswith("Alexey Dosovitskiy et al. (2021). *")
    for key in references.works():
        assert re.search(r"\(\d{4}\)\. \*.*[^.]\.$|\?\*$", references.in_full(key))


def test_list_of_references_follows_the_last_words():
    cells = convert("As {cite:t}`tan2019`", "and {cite}`ba2016` say.", new_code_cell("1"))
    assert [cell.cell_type for cell in cells] == ["markdown"] * 3 + ["code"]
    assert re.fullmatch(r"### References\n\n- Jimmy .*Ba.*\n- Mingxing Tan.*", cells[2].source)


# What is not known -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{color}`red`", r"unknown role \{color\}`red`; known are"),
        ("```{mermaid}\na --> b\n```", r"unknown directive \{mermaid\}; known are"),
        ("> ```{note}\n> a\n> ```", r"move the directive \{note\} out of a list or quote"),
        ("{eq}`eq-nothing`", "no label 'eq-nothing' in any chapter"),
        ("{cite}`nobody1900`", "no work 'nobody1900' in references.bib"),
        ("{glue:text}`nothing:.1f`", "nothing is glued as 'nothing': execute the notebook"),
        ("```{glue:figure} nothing\nA.\n```", "no picture is glued as 'nothing'"),
        ("{measured}`metres`", "no measured 'metres', only seconds, megabytes, reading"),
        ("![a](../static/nothing.svg)", "there is no file ../static/nothing.svg"),
        ("[a](#eq-attention)", "refer to #eq-attention with a role"),
        ("term\n: what it is", "plain Markdown has no dl_open"),
        ("\\begin{align}\na\n\\end{align}", "plain Markdown has no amsmath"),
        ("[a][b]\n\n[b]: https://a.org", "write the address of a link beside it"),
    ],
)
def test_what_is_not_known_is_named(text, message):
    with pytest.raises(ValueError, match=f"05_vision.*{message}|{message}"):
        plain(text)


# All chapters ----------------------------------------------------------------------------------

RAW = {
    "a role": r"\{[\w:.-]+\}`",
    "a directive": r"^[\s>]*(```+|~~~+|:::+)\s*\{",
    "a colon fence": r":::",
    "a label": r"^\([\w-]+\)=|\$\$\s*\([\w-]+\)",
    "an option": r"^[\s>]*:[\w-]+:( |$)",
    "an attribute": r"[)\]]\{[.#]",
    "a label's name": r"\b(eq|fig|ex|so|sec)-[a-z]+-?[a-z]*\b",
    "MyST's comment": r"^%|^\+\+\+",
}
CODE = re.compile(r"(?P<ticks>`+)(?!`).+?(?<!`)(?P=ticks)(?!`)", re.DOTALL)
FORMULA = re.compile(r"\$\$.+?\$\$|\$(?:\\.|[^$\\])+\$", re.DOTALL)


@pytest.fixture(scope="module")
def derived():
    """The derived notebook of a text, made once."""
    made = {}

    def notebook(path):
        if path not in made:
            made[path] = derive(executed(path), path.stem)
        return made[path]

    return notebook


def executed(path):
    """A chapter's text with the outputs of its notebook: what a notebook is derived from."""
    chapter = read_text(path)
    take_outputs(chapter, read_notebook(path))
    return chapter


def words(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def markdown_outputs(notebook):
    outputs = [output for cell in code_of(notebook) for output in cell.outputs]
    return [output.data["text/markdown"] for output in outputs
            if "text/markdown" in output.get("data", {})]  # fmt: skip


def leaves(tokens):
    """Every token, those of lines included."""
    for token in tokens:
        yield token
        yield from leaves(token.children or [])


def without_code_and_formulas(text):
    return FORMULA.sub("", CODE.sub("", text))


@EACH
def test_nothing_of_myst_is_left(derived, path):
    for text in words(derived(path)) + markdown_outputs(derived(path)):
        for what, pattern in RAW.items():
            found = re.search(pattern, without_code_and_formulas(text), re.MULTILINE)
            assert not found, f"{what}: {text[max(0, found.start() - 50) : found.end() + 50]}"


@EACH
def test_commonmark_reads_it_whole(derived, path):
    parser = MarkdownIt("commonmark").enable("table")
    for text in words(derived(path)):
        tokens = parser.parse(text)
        for token in tokens:
            if token.type == "inline":  # a formula is one paragraph: no line of it begins a list
                assert CODE.sub("", token.content).count("$$") % 2 == 0, token.content
            if token.type == "fence":  # every fence is closed, or it would swallow the rest
                assert text.splitlines()[token.map[1] - 1].strip(" >") == token.markup
        html = "".join(token.content for token in leaves(tokens) if token.type.startswith("html"))
        assert html.count("<details>") == html.count("</details>") == html.count("</summary>")
        names = set(re.findall(r"</?(\w+)", html))
        assert names <= {"details", "summary", "code", "em", "strong", "br"}, names


@EACH
def test_formulas_are_balanced(derived, path):
    for text in words(derived(path)):
        bare = CODE.sub("", text).replace("\\$", "")
        assert bare.count("$$") % 2 == 0, text
        assert bare.replace("$$", "").count("$") % 2 == 0, text
        for formula in re.findall(r"\$\$(.+?)\$\$", bare, re.DOTALL):
            braces = re.sub(r"\\[{}]", "", formula)
            assert braces.count("{") == braces.count("}")
            assert formula.count("\\begin{") == formula.count("\\end{")
            assert "\n>" not in formula


@EACH
def test_links_lead_somewhere(derived, path):
    parser = MarkdownIt("commonmark")
    for cell in derived(path).cells:
        if cell.cell_type != "markdown":
            continue
        for token in leaves(parser.parse(cell.source)):
            address = token.attrs.get("href") or token.attrs.get("src")
            if address and address.startswith("attachment:"):
                assert address.removeprefix("attachment:") in cell.attachments
                assert token.content, "a picture without a text in its place"
            elif address and not address.startswith("https://"):
                assert (ROOT / "notebooks" / address).is_file(), address


@EACH
def test_code_and_outputs_stay(derived, path):
    shown = code_of(derived(path))
    kept = [cell for cell in shown if "install" not in cell.metadata.get("tags", [])]
    before = code_of(executed(path))
    assert [cell.source for cell in kept] == [cell.source for cell in before]
    assert [cell.outputs for cell in kept] == [cell.outputs for cell in before]
    assert len(shown) == len(kept) + 1
    assert shown[0].metadata.jupyter.source_hidden, "the cell that installs lies open"


@EACH
def test_derived_twice_is_the_same(derived, path):
    again = derive(executed(path), path.stem)
    assert nbformat.writes(again) == nbformat.writes(derived(path))


@pytest.mark.slow
@EACH
def test_numbers_are_those_of_the_page(derived, site, path):
    page = (site / "book" / "chapters" / f"{path.stem}.html").read_text(encoding="utf-8")
    article = re.search(r"<article.*</article>", page, flags=re.DOTALL)[0]
    text = words_of(derived(path))
    captions = re.findall(r'caption-number">(Figure|Exercise) ([\d.]+)', article)
    figures = re.findall(r"^\*\*Figure ([\d.]+)\.\*\*", text, flags=re.MULTILINE)
    assert figures == [number for kind, number in captions if kind == "Figure"]
    exercises = re.findall(r"^### Exercise ([\d.]+) \(", text, flags=re.MULTILINE)
    assert exercises == [number for kind, number in captions if kind == "Exercise"]
    formulas = re.findall(r'class="eqno">\(([\d.]+)\)', article)
    assert re.findall(r"\\tag\{([\d.]+)\}", text) == formulas
    sections = re.findall(r'<h\d><span class="section-number">([\d.]+) </span>', article)
    assert re.findall(r"^#+ (\d[\d.]*) ", text, flags=re.MULTILINE) == sections
