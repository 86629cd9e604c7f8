"""The PDF: laid out as a book, with page numbers that are right and links that lead somewhere."""

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml
from pypdf import PdfReader

from tools.book import pdf as tool
from tools.book.paper import add_front, html, lay_out

ROOT = Path(__file__).resolve().parents[2]
PARTS = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]
PAGE = """<html><head><script src="theme.js"></script><script src="mathjax.js"></script></head>
<body><p>menu</p>
<article><section id="top"><h1>Book</h1>
<span id="document-a"></span><section id="quiz"><h2>First<a class="headerlink">#</a></h2>
<a href="index.html#id1">Work</a> <a href="#document-b">Next</a> <span id="id1"></span>
<div class="quiz sd-card"><div class="sd-card-body"><p><strong>1.</strong> Why?</p>
<details><summary><span class="sd-summary-text">So</span></summary>
<div class="sd-summary-content">No.</div></details>
</div></div>
<div class="solution dropdown" id="so">It is 4.</div></section>
<span id="document-b"></span><section id="quiz"><h2>Second</h2>
<details><summary>More</summary>x</details>
<div class="citation" id="id1">Vaswani</div></section></section></article></body></html>"""


def test_layout():
    soup = lay_out(PAGE)
    add_front(soup, "Book", "We", {"a": "Part"})
    text = soup.body.get_text(" ", strip=True)
    assert "menu" not in text and "#" not in text
    assert [script["src"] for script in soup.find_all("script")] == ["mathjax.js"]
    assert "Contents Part First 0000 Answers 0000 Second 0000" in text, "the list"
    assert "1. Why? So Answers It is 4. Question 1. No. Second" in text, (
        "answers are after the chapter"
    )
    names = [tag["id"] for tag in soup.select("[id]")]
    assert len(names) == len(set(names)) and {
        link["href"][1:] for link in soup.select("a[href]")
    } <= set(names)
    assert soup.find("a", string="Work")["href"] == "#" + soup.select_one("div.citation")["id"]
    assert all(details.has_attr("open") for details in soup.find_all("details"))


def test_a_missing_browser_is_explained(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("CHROMIUM", raising=False)
    with pytest.raises(SystemExit, match=r"Install one, or name it: CHROMIUM="):
        tool.main()


def test_it_is_printed_until_the_numbers_are_those_of_the_print(tmp_path, monkeypatch, chromium):
    page, pdf = tmp_path / "page.html", tmp_path / "page.pdf"
    page.write_text(
        "<script>MathJax = { startup: { promise: null } }</script>"
        '<nav><a href="#a">A <i>0000</i></a></nav><p id="a">A</p>'
    )
    prints = []

    def numbers_of(*found):
        left = iter(found)
        monkeypatch.setattr(tool, "headings", lambda reader: prints.append(reader) or next(left))

    numbers_of({"a": 1}, {"a": 7}, {"a": 7}, {"a": 9})
    tool.print_book(tool.find_browser(), page, pdf)
    assert len(prints) == 3 and "A 7" in prints[-1].pages[0].extract_text()
    numbers_of({"a": 1}, {"a": 2}, {"a": 1}, {"a": 2})
    with pytest.raises(SystemExit, match="still change after 4 prints"):
        tool.print_book(tool.find_browser(), page, pdf)


@pytest.fixture(scope="module")
def printed(tmp_path_factory, chromium):
    """The PDF, the text of its pages, how many letters of it MathJax set, and the page that was
    printed.
    """
    build, letters = tmp_path_factory.mktemp("pdf") / "_build", Counter()
    tool.main(build)
    reader = PdfReader(build / "pdf" / "mmcourse.pdf")

    def count(text, matrix, line, font, size):
        letters[font and font["/Subtype"]] += len(text.strip())

    texts = [page.extract_text(visitor_text=count) for page in reader.pages]
    return (
        reader,
        texts,
        letters["/Type3"],
        build / "singlehtml" / "paper.html",
    )  # Chromium makes web fonts Type 3


@pytest.mark.slow
def test_formulas_are_set(printed):
    """None is left as Sphinx writes it, TeX in brackets with backslashes. Code may hold TeX: a
    docstring does.
    """
    _, texts, letters, paper = printed
    text = squeezed("".join(texts))
    formulas = [squeezed(tag.get_text()) for tag in html(paper.read_text("utf-8")).select(".math")]
    assert len(formulas) > 500 and [formula for formula in formulas if formula in text] == []
    assert letters > 5 * len(formulas)


def squeezed(text):
    return re.sub(r"\s", "", text)


@pytest.mark.slow
def test_pages_outline_and_links(printed):
    printed, texts, *_ = printed
    assert len(texts) > 100 and not [
        number for number, text in enumerate(texts, 1) if not text.strip()
    ]
    assert {round(float(page.mediabox.height)) for page in printed.pages} <= {841, 842}  # A4

    # The first links are those of the list of contents, each beside the number of the page to which
    # it leads.
    annotations = [
        (number, part.get_object())
        for number, page in enumerate(printed.pages, 1)
        for part in page.get("/Annots", [])
    ]
    targets = [str(link["/Dest"]) for _, link in annotations if "/Dest" in link]
    pages = {
        name.removeprefix("/"): printed.get_destination_page_number(place) + 1
        for name, place in printed.named_destinations.items()
    }
    assert {name.removeprefix("/") for name in targets} <= set(pages)
    files = [chapter["file"] for part in PARTS for chapter in part["chapters"]]
    starts = [pages[f"document-{file}"] for file in files]
    contents = "\n".join(texts[: starts[0] - 1])
    assert starts == sorted(starts) and all(
        re.search(rf"\D{start}\b", contents) for start in starts
    )
    assert any(
        "/A" in link and str(link["/A"].get("/URI", "")).startswith("https://")
        for _, link in annotations
    )
    assert len(list(flat(printed.outline))) > 100


def flat(outline):
    for entry in outline:
        if isinstance(entry, list):
            yield from flat(entry)
        else:
            yield entry.title
