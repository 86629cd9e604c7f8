"""The book builds without a warning, and its pages hold what was written and run."""

import html
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from bs4 import BeautifulSoup
from fontTools.ttLib import TTFont

from tests.book.pages import PAGES, ROOT, RUN_PAGES, TEXTS, code_of, read_page
from tools.classroom.assignments import assignments

HIDDEN = {"remove-cell", "remove_cell"}

pytestmark = pytest.mark.slow


def read(site, page):
    return (site / f"{page}.html").read_text(encoding="utf-8")


def article(site, page):
    return re.search(r"<article.*</article>", read(site, page), flags=re.DOTALL)[0]


def test_contents_list_every_chapter():
    assert set(RUN_PAGES) == {path.relative_to(ROOT).with_suffix("").as_posix() for path in TEXTS}


def test_every_page_is_there(site):
    assert [page for page in PAGES if not (site / f"{page}.html").exists()] == []
    built = {path.relative_to(site).with_suffix("").as_posix() for path in site.rglob("*.html")}
    ours = ("book/", "notebooks/", "mmcourse/", "tests/", "tools/", "index")
    assert {page for page in built if page.startswith(ours)} == set(PAGES)


@pytest.mark.parametrize("page", RUN_PAGES)
def test_every_executed_cell_is_on_its_page(site, page):
    shown = [
        cell
        for cell in code_of(read_page(ROOT / f"{page}.py"))
        if cell.source.strip() and not HIDDEN & tags(cell)
    ]
    assert shown and all(cell.execution_count for cell in shown)
    text = article(site, page)
    assert len(re.findall(r'<div class="cell[ "]', text)) == len(shown)
    outputs = [cell for cell in shown if cell.outputs and "remove-output" not in tags(cell)]
    drawn = re.findall(r'<div class="cell_output[ "]|<details[^>]*cell_output', text)
    assert len(drawn) >= len(outputs) > 0


def tags(cell):
    return set(cell.metadata.get("tags", []))


@pytest.mark.parametrize("page", RUN_PAGES)
def test_page_offers_its_notebook(site, page):
    """The page's button gives the derived notebook, not the text of the page."""
    soup = BeautifulSoup(read(site, page), "html.parser")
    addresses = [link["href"] for link in soup.select(".dropdown-download-buttons a[href]")]
    name = f"notebooks/{Path(page).name}.ipynb"
    assert [address.partition("_sources/")[2] for address in addresses] == [name]
    assert (site / "_sources" / name).read_bytes() == (ROOT / name).read_bytes()


@pytest.mark.parametrize("page", PAGES)
def test_page_says_what_its_pictures_show(site, page):
    pictures = re.findall(r"<img[^>]*>", article(site, page))
    alternatives = [
        html.unescape((re.search(r'alt="([^"]*)"', tag) or [0, ""])[1]) for tag in pictures
    ]
    assert [
        tag
        for tag, text in zip(pictures, alternatives, strict=True)
        if len(text) < 15 or "_images/" in text
    ] == []


@pytest.mark.parametrize("page", PAGES)
def test_page_is_light(site, page):
    """Without what all pages share: the theme and the index of the search, which is deferred."""
    text = read(site, page)
    sources = re.findall(r'<(?:img|script|iframe)[^>]* src="(?!data:)([^":?]*)', text)
    files = {(site / page).parent / name for name in sources}
    shared = {site / "_static", site / "searchindex.js"}
    files = {path for path in map(Path.resolve, files) if shared.isdisjoint({path, *path.parents})}
    weight = len(text.encode()) + sum(path.stat().st_size for path in files)
    allowed = 2.5e6 if page == "book/api" else 1.5e6  # the list of all names, looked up, not read
    assert weight <= allowed, (
        f"{page} weighs {weight / 1e6:.1f} MB with its pictures; {allowed / 1e6} MB are allowed"
    )


@pytest.mark.parametrize("page", PAGES)
def test_no_large_script_keeps_a_page_from_showing(site, page):
    """A browser shows nothing before the scripts in the head have run, but for those that are
    deferred.
    """
    head = read(site, page).partition("</head>")[0]
    sources = re.findall(r'<script(?![^>]*defer)[^>]* src="([^"?]*)', head)
    sizes = {name: ((site / page).parent / name).resolve().stat().st_size for name in sources}
    assert max(sizes.values()) < 300_000, sizes


def test_site_is_light(site):
    """Without what a reader asks for by a button (tests/book/test_try.py weighs it)."""
    asked_for = {site / "_static" / "try", site / "_static" / "vendor" / "onnxruntime"}
    files = [path for path in site.rglob("*") if path.is_file()]
    weight = sum(path.stat().st_size for path in files if asked_for.isdisjoint(path.parents))
    assert weight <= 60e6, f"the pages weigh {weight / 1e6:.0f} MB; 60 MB are allowed"


class Names(HTMLParser):
    """The anchors of a page, and the (tag, address) pairs that it names."""

    def __init__(self, path):
        super().__init__()
        self.anchors, self.addresses = set(), set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        for name, value in attributes:
            if name == "id":
                self.anchors.add(value)
            elif name in ("href", "src"):
                self.addresses.add((tag, value))


@pytest.fixture(scope="module")
def names(site):
    return {
        path: Names(path) for path in site.rglob("*.html") if site / "_static" not in path.parents
    }


def test_every_link_leads_somewhere(site, names):
    broken = []
    for path, page in names.items():
        for link in (urlsplit(address) for _, address in page.addresses):
            if not (link.scheme or link.netloc):
                target = (path.parent / unquote(link.path)).resolve() if link.path else path
                anchors = names[target].anchors | {""} if target in names else {link.fragment}
                if not target.exists() or unquote(link.fragment) not in anchors:
                    broken.append(f"{path.relative_to(site)}: {link.geturl()}")
    assert broken == []


def test_no_link_needs_an_address_that_the_course_does_not_have(names):
    """OWNER in _config.yml is a placeholder: a page with it would lead nowhere."""
    placeholders = {
        (path.name, address)
        for path, page in names.items()
        for _, address in page.addresses
        if "OWNER" in address
    }
    assert placeholders == set()


def test_pages_load_nothing_from_elsewhere(names):
    loaded = {address for page in names.values() for tag, address in page.addresses if tag != "a"}
    assert {address for address in loaded if urlsplit(address).netloc} == set()


@pytest.mark.parametrize("page", PAGES)
def test_no_markup_is_left_over(site, page):
    code = (
        r"<(script|style|pre|code)\b.*?</\1>|<dt class=\"sig.*?</dt>"  # a signature has **options
    )
    visible = re.sub(code, "", article(site, page), flags=re.DOTALL)
    visible = html.unescape(re.sub(r"<[^>]*>", " ", visible))
    leftovers = re.findall(
        r"\{[a-z:]+\}`|:::+|\$\$|\*\*\w|\[\^|None, None|\|:?[-–—]+:?\||Alias for field", visible
    )
    assert leftovers == []


@pytest.mark.parametrize("page", PAGES)
def test_a_number_and_its_percent_sign_stand_together(site, page):
    """Also where the number comes from a run.

    Code, its output and frames of pandas are as they were printed.
    """
    frames = r'<table border="1" class="dataframe.*?</table>'
    verbatim = rf"(?s)<(script|style|pre|code)\b.*?</\1>|{frames}|<[^>]*>"
    text = html.unescape(re.sub(verbatim, "", article(site, page)))
    assert re.findall(r"[^\n]{,20}\d ?%", text) == []


def test_glossary_and_index_are_in_order(site):
    """English terms by the alphabet; in the index Chinese ones stand together, not each under a
    letter of its own.
    """
    terms = re.findall(r"<dt[^>]* id=\"term-[^>]*>([^<]*)", article(site, "book/glossary"))
    latin = [term for term in terms if not re.search("[\u4e00-\u9fff]", term)]
    english = [re.sub(r"[^a-z0-9 ]", "", term.lower()) for term in latin]
    assert len(english) > 100 and english == sorted(english)
    assert len(terms) == 2 * len(english), "every term has its Chinese"
    letters = re.findall(r"<h2 id=[^>]*>([^<]*)</h2>", article(site, "genindex"))
    assert [letter for letter in letters if not letter.isascii()] == ["中文 (Chinese)"]


@pytest.mark.parametrize("page", RUN_PAGES)
def test_numbers_start_with_the_chapter(site, page):
    chapter = re.match(r"book/chapters/(\d\d)_", page)
    if not chapter:
        pytest.skip("not a chapter")
    text, number = article(site, page), int(chapter[1])
    assert re.search(rf'<h1><span class="section-number">{number} ', text)
    numbers = re.findall(
        r'<span class="eqno">\(([\d.]+)\)|Exercise ([\d.]+)</span>|Figure ([\d.]+) ?</span>', text
    )
    assert {int("".join(found).split(".")[0]) for found in numbers} == {number}


def test_a_teacher_can_leave_the_solutions_out(site, names):
    """Without its line in the table of contents there must be no link that breaks, and no other
    page that tells.
    """
    contents = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    assert contents.count("      - file: book/solutions\n") == 1
    source = (ROOT / "book" / "teaching.md").read_text(encoding="utf-8")
    assert "\n      - file: book/solutions\n" in source
    links = r"\(/?(\.\./)?(book/)?solutions\.md|\{doc\}`[^`]*solutions"
    telling = [
        page
        for page in PAGES
        for path in ROOT.glob(f"{page}.*")
        if path.suffix in (".md", ".py") and re.search(links, path.read_text(encoding="utf-8"))
    ]
    assert telling == []
    written = BeautifulSoup(article(site, "book/solutions"), "html.parser").select("summary code")
    sources = [
        assignment.source.read_text(encoding="utf-8") for assignment in assignments().values()
    ]
    assert (
        [code.get_text() for code in written]
        == re.findall(r'answer="(\w+)"', "".join(sources))
        != []
    )


def test_chinese_is_legible_where_no_font_of_the_reader_has_it(site):
    """The font in the book has every Chinese character and mark of its pages, and both families
    fall back on it.
    """
    styles = (site / "_static" / "custom.css").read_text(encoding="utf-8")
    face = re.search(
        r'"Chinese";\s*src: url\("(.*?)"\).*?unicode-range: ([^;]*)', styles, flags=re.DOTALL
    )
    address, ranges = face.groups()
    spans = [[int(end, 16) for end in span.strip()[2:].split("-")] for span in ranges.split(",")]
    for family in ("base", "monospace"):
        assert re.search(rf'--pst-font-family-{family}: .*"Chinese", \S+;', styles)
    font = TTFont(site / "_static" / address).getBestCmap()
    used = {ord(sign) for path in site.rglob("*.html") for sign in path.read_text(encoding="utf-8")}
    chinese = {sign for sign in used if any(first <= sign <= last for first, last in spans)}
    assert len(chinese) > 500 and sorted(map(chr, chinese - font.keys())) == []
