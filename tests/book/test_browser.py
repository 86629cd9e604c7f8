"""Every page in a real browser: served or from a folder, narrow, wide, light and dark."""

import functools
import http.server
import json
import threading
from contextlib import contextmanager
from pathlib import Path

import anywidget
import ipywidgets
import pytest
import traitlets
import yaml
from ipywidgets.embed import embed_data

from tests.book.pages import CHAPTERS as TEXTS_WITH_QUIZ
from tests.book.pages import PAGES, ROOT, RUN_PAGES

AXE = (ROOT / "tests" / "book" / "axe" / "axe.min.js").read_text(encoding="utf-8")
ALL_PAGES = [*PAGES, "search", "genindex", "py-modindex"]
CHAPTERS = [f"book/chapters/{path.stem}" for path in TEXTS_WITH_QUIZ]
FIGURES = [
    "index",
    *(
        page
        for page in RUN_PAGES
        if "widget-view+json"
        in (ROOT / "notebooks" / f"{Path(page).name}.ipynb").read_text("utf-8")
    ),
]
WIDTHS = pytest.mark.parametrize("width", [390, 1440])

pytestmark = pytest.mark.slow


class Counter(anywidget.AnyWidget):
    count = traitlets.Int(7).tag(sync=True)
    _esm = """export default { render({ model, el }) {
      const button = el.appendChild(document.createElement("button"));
      const show = () => { button.textContent = `counted ${model.get("count")}`; };
      button.onclick = () => { model.set("count", model.get("count") + 1); };
      model.on("change:count", show); show();
    } }"""


class Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def served(site):
    """The address of the book on a server of this machine."""
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Silent, directory=site)
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(params=["http", "file"])
def address(request, site, tmp_path):
    """Where the book is: on a server, and in a folder whose name has spaces and letters that are
    not ASCII.
    """
    if request.param == "http":
        return request.getfixturevalue("served")
    folder = tmp_path / "Übung 1 (多模态) & mehr"
    folder.symlink_to(site, target_is_directory=True)
    return folder.as_uri()


@contextmanager
def opened(browser, url, width=1440, **options):
    """The page, and a list of what it complains about and asks for in vain or elsewhere.

    The list grows.
    """
    home = "file://" if url.startswith("file:") else url[: url.index("/", 8)]
    problems = []

    def note(bad, text):
        if bad:
            problems.append(text)

    with browser.new_page(
        viewport={"width": width, "height": 900}, color_scheme="light", **options
    ) as page:
        page.set_default_timeout(120_000)
        page.on(
            "console", lambda message: note(message.type == "error", f"console: {message.text}")
        )
        page.on("pageerror", lambda error: note(True, f"error: {error}"))
        page.on(
            "request",
            lambda sent: note(
                not sent.url.startswith((home, "data:", "blob:")), f"asks for {sent.url}"
            ),
        )
        page.on("requestfailed", lambda sent: note(True, f"does not get {sent.url}"))
        page.on(
            "response",
            lambda answer: note(answer.status >= 400, f"{answer.status} for {answer.url}"),
        )
        page.goto(url)
        page.evaluate("window.MathJax && MathJax.startup.promise")
        page.evaluate("document.fonts.ready")
        yield page, problems


RAW_FORMULAS = r"""() => {
  const formulas = [...document.querySelectorAll(".math")];
  const raw = formulas.filter(e => !e.querySelector("mjx-container"));
  return [...raw, ...document.querySelectorAll("mjx-merror")].map(e => e.textContent.trim());
}"""
TOO_WIDE = """() => {
  const wide = e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1;
  const clips = e => getComputedStyle(e).overflowX != "visible";
  const scrolls = e => e && (clips(e) || scrolls(e.parentElement));
  const root = document.scrollingElement, parts = [...document.querySelectorAll("article *")];
  return [...(root.scrollWidth > root.clientWidth ? [root] : []),
          ...parts.filter(e => wide(e) && !scrolls(e.parentElement))]
    .map(e => `${e.tagName} ${e.className} ${e.textContent.trim().slice(0, 60)}`);
}"""

# What a narrow page tears apart: a formula and the comma after it or the bracket before it, a short
# name in a table.
TORN = """() => {
  const torn = [];
  for (const formula of document.querySelectorAll("article mjx-container:not([display])")) {
    const box = formula.closest(".math") || formula, here = formula.getBoundingClientRect();
    const sides = [["nextSibling", /^[.,;:!?)\\]”’]/], ["previousSibling", /[(\\[“‘]$/]];
    for (const [side, marks] of sides) {
      const text = box[side];
      if (!here.width || text?.nodeType != Node.TEXT_NODE || !marks.test(text.data)) continue;
      const range = document.createRange(), at = side == "nextSibling" ? 0 : text.length - 1;
      range.setStart(text, at);
      range.setEnd(text, at + 1);
      const mark = range.getBoundingClientRect();
      const apart = mark.bottom < here.top || mark.top > here.bottom;
      if (apart) torn.push(`${text.data[at]} in ${box.parentElement.textContent}`);
    }
  }
  for (const code of document.querySelectorAll("article table code")) {
    const size = parseFloat(getComputedStyle(code).fontSize);
    const tall = code.offsetHeight > 1.8 * size + 8; // two lines
    if (tall && /^\\S{1,16}$/.test(code.textContent)) torn.push(`the name ${code.textContent}`);
  }
  return torn.map(words => words.slice(0, 120));
}"""

# What axe finds in parts of the theme and of myst-nb that a book cannot change plainly, and why.
NOT_OURS = {
    "label-content-name-mismatch": "'Search' shows its keys too, 'Color mode' has icons "
    "with titles, and a folded cell "
    "named 'Toggle hidden content' shows 'Show code cell source'",
    "aria-required-children": "docutils calls the references a list, with anchors among its items",
}


SCROLLING = """<!doctype html><style>
  body { margin: 0; height: 2000px } p { width: 700px }
  div { overflow-x: auto } .hidden { overflow-x: hidden }
  details:not([open]) > div { display: none }
</style>
<div id="outside"><p>.</p></div>
<article>
  <div id="wide"><p>.</p></div> <div id="nearly"><p style="width: 503px">.</p></div>
  <div id="narrow">.</div>
  <div id="hidden" class="hidden"><p>.</p></div> <div id="own" tabindex="2"><p>.</p></div>
  <mjx-container><div id="formula"><p>.</p></div></mjx-container>
  <svg width="500"><foreignObject width="500" height="50">
    <div id="drawing"><p>.</p></div>
  </foreignObject></svg>
  <details><div id="folded"><p>.</p></div></details>
  <button onclick="later.hidden = false">more</button> <div id="later" hidden><p>.</p></div>
</article>"""
STATE = """() => Object.fromEntries([...document.querySelectorAll("[id]")].map(
  e => [e.id, [e.tabIndex, e.classList.contains("more"), e.style.getPropertyValue("--edge")]]))"""


def test_what_scrolls_sideways_can_be_reached_and_fades(browser):
    script, errors = (ROOT / "book" / "static" / "scrolling.js").read_text(encoding="utf-8"), []
    with browser.new_page(viewport={"width": 500, "height": 300}) as tab:
        tab.set_default_timeout(20_000)
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.set_content(f"{SCROLLING}<script>{script}</script>")
        left_alone, fading = [-1, False, ""], [0, True, "500px"]
        expected = dict.fromkeys(
            ["outside", "narrow", "hidden", "formula", "drawing", "folded", "later"], left_alone
        )
        expected |= {"wide": fading, "nearly": [0, False, "500px"], "own": [2, True, "500px"]}

        def shows(**changes):
            expected.update(changes)
            assert tab.evaluate(STATE) == expected

        shows()
        tab.evaluate("document.querySelector('details').open = true")
        tab.wait_for_function("folded.tabIndex == 0")
        shows(folded=fading)
        tab.evaluate("document.querySelector('button').click()")
        tab.wait_for_function("later.tabIndex == 0")
        shows(later=fading)
        tab.evaluate("wide.scrollLeft = 50")
        tab.wait_for_function("wide.style.getPropertyValue('--edge') == '550px'")
        shows(wide=[0, True, "550px"])
        tab.evaluate("wide.scrollLeft = 200")
        tab.wait_for_function("!wide.classList.contains('more')")
        shows(wide=[0, False, "700px"])
        tab.set_viewport_size({"width": 800, "height": 300})
        tab.wait_for_function("!own.classList.contains('more')")
        tab.evaluate("scrollTo(0, 50)")
        tab.wait_for_function("scrollY == 50")
        assert errors == []


@pytest.mark.parametrize("page", ALL_PAGES)
def test_page_is_whole_and_quiet(browser, address, page):
    widths = [390, 1440] if address.startswith("http") else [1440, 390]
    with opened(browser, f"{address}/{page}.html", widths[0]) as (tab, problems):
        figures(tab)
        assert tab.evaluate(RAW_FORMULAS) == []
        for width in widths:
            tab.set_viewport_size({"width": width, "height": 900})
            assert tab.evaluate(TOO_WIDE) == [] == tab.evaluate(TORN), f"at {width} pixels"
        assert problems == []


@pytest.mark.parametrize("page", ALL_PAGES)
def test_page_is_accessible(browser, served, page):
    options = {
        "resultTypes": ["violations"],
        "rules": {rule: {"enabled": False} for rule in NOT_OURS},
    }
    with opened(browser, f"{served}/{page}.html") as (tab, _):
        tab.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
        tab.evaluate(
            "document.querySelectorAll('.toggle-button').forEach(button => button.click())"
        )
        tab.add_style_tag(
            content="* { transition: none !important; }"
        )  # else colours are measured halfway
        tab.evaluate(AXE)
        for width, theme in [(1440, "light"), (1440, "dark"), (390, "dark")]:
            tab.set_viewport_size({"width": width, "height": 900})
            tab.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
            options["rules"]["color-contrast"] = {
                "enabled": width > 390
            }  # slow, and the colours are the same
            tab.wait_for_timeout(500)  # then the theme has found what scrolls at this width
            found = tab.evaluate(
                "options => axe.run({exclude: ['mjx-container']}, options)", options
            )["violations"]
            serious = [rule for rule in found if rule["impact"] in ("serious", "critical")]
            where = f"{width} {theme}"
            report = [
                f"{rule['id']}, {where}: {node['html'][:200]}\n{node['failureSummary']}"
                for rule in serious
                for node in rule["nodes"]
            ]
            assert not report, "\n".join(report[:20])


def test_what_is_cut_off_fades_until_its_end(browser, served):
    """On a phone, whatever scrolls sideways shows that there is more: code, tables, formulas,
    figures.
    """
    with opened(browser, f"{served}/book/chapters/05_vision.html", 390) as (tab, _):
        tab.locator(".more").first.wait_for()
        kinds = set(tab.evaluate("[...document.querySelectorAll('.more')].map(e => e.tagName)"))
        assert kinds >= {"PRE", "FIGURE", "MJX-CONTAINER"}
        for fading in ("pre.more", "figure.more img"):
            mask = tab.locator(fading).first.evaluate("e => getComputedStyle(e).maskImage")
            assert "gradient" in mask, fading
        part = tab.locator("pre.more").first.element_handle()
        part.evaluate("e => { e.scrollLeft = e.scrollWidth; }")
        tab.wait_for_function("e => !e.classList.contains('more')", arg=part)


@pytest.mark.parametrize("page", RUN_PAGES)
def test_what_was_printed_is_read_without_scrolling(browser, served, page):
    """On a wide page. On a phone it scrolls, since columns would break."""
    with opened(browser, f"{served}/{page}.html") as (tab, _):
        tab.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
        tab.evaluate(
            "document.querySelectorAll('.toggle-button').forEach(button => button.click())"
        )
        wide = "parts => parts.filter(e => e.scrollWidth > e.clientWidth).map(e => e.textContent)"
        assert tab.locator(".output.stream pre").evaluate_all(wide) == []


CODE = ".highlight-python pre"


def test_code_goes_on_below_on_a_phone(browser, served):
    """What a page shows is then wider than a phone, but no line of code is cut, nor changed for who
    copies it.
    """
    with opened(browser, f"{served}/book/chapters/05_vision.html", 390) as (tab, _):
        code = tab.locator(f".cell_input {CODE}")
        cut = "parts => parts.filter(e => e.scrollWidth > e.clientWidth).map(e => e.textContent)"
        assert tab.locator(CODE).evaluate_all(cut) == []
        text = (ROOT / "book" / "chapters" / "05_vision.py").read_text(encoding="utf-8")
        shown = [part.rstrip("\n") for part in code.all_text_contents()]
        assert len(shown) > 30 and [part for part in shown if part not in text] == []
        assert max(len(line) for part in shown for line in part.splitlines()) > 60


def test_source_is_as_large_as_other_code(browser, served):
    with opened(browser, f"{served}/book/chapters/05_vision.html") as (tab, _):
        size = "parts => [...new Set(parts.map(e => getComputedStyle(e).fontSize))]"
        sizes = [
            tab.locator(f"{part} {CODE}").evaluate_all(size)
            for part in (".cell_input", ".cell_output")
        ]
        assert sizes[0] == sizes[1] and len(sizes[0]) == 1


@pytest.mark.parametrize(
    "query, anchor",
    [
        ("logit", "term-logit"),
        ("logits", "term-logit"),
        ("perplexity", "term-perplexity"),
        ("attention weights", "term-attention-weights"),
        ("tokens", "term-token"),
        ("softmax", "term-softmax"),
    ],
)
def test_search_finds_the_definition_of_a_term_first(browser, served, query, anchor):
    with opened(browser, f"{served}/search.html?q={query}") as (tab, _):
        first = tab.locator("#search-results ul.search > li > a").first
        first.wait_for()
        assert first.get_attribute("href").endswith(f"glossary.html#{anchor}")


@WIDTHS
def test_search_finds_a_term(browser, served, width):
    with opened(browser, f"{served}/index.html", width) as (tab, problems):
        tab.locator(".search-button__button:visible").first.click()
        tab.locator("#pst-search-dialog input").fill("softmax")
        tab.keyboard.press("Enter")
        tab.locator("#search-results li a[href*='book/chapters/01_attention']").first.wait_for()
        assert problems == []


@WIDTHS
def test_dark_mode_switches_and_stays(browser, served, width):
    with opened(browser, f"{served}/index.html", width) as (tab, _):
        paper = "getComputedStyle(document.body).backgroundColor"
        light = tab.evaluate(paper)
        for _ in range(3):  # automatic, light, dark in turn
            if tab.evaluate("document.documentElement.dataset.theme") == "light":
                tab.locator(".theme-switch-button:visible").first.click()
        assert (
            tab.evaluate("document.documentElement.dataset.theme") == "dark"
            and tab.evaluate(paper) != light
        )
        tab.reload()
        assert tab.evaluate("document.documentElement.dataset.theme") == "dark"


@WIDTHS
@pytest.mark.parametrize("page", CHAPTERS)
def test_a_quiz_is_answered(browser, served, page, width):
    """Every question by pointer or by keyboard: each option opens its explanation, which says
    whether it is right.
    """
    with opened(browser, f"{served}/{page}.html", width) as (tab, _):
        questions = tab.locator(".quiz").all()
        assert 4 <= len(questions) <= 6
        for number, question in enumerate(questions):
            verdicts = []
            for option in question.locator("details").all():
                explanation = option.locator(".sd-card-body")
                assert not explanation.is_visible()
                option.locator("summary").click() if number % 2 else option.locator(
                    "summary"
                ).press("Enter")
                explanation.wait_for(state="visible")
                verdicts.append(explanation.inner_text().split()[0])
            assert set(verdicts) == {"Yes.", "No."}, question.inner_text()


def figures(tab):
    """The live figures of a page, when all are drawn, and how many there are to be."""
    count = tab.locator(".mm-both").count()
    tab.wait_for_function(
        "count => document.querySelectorAll('.mm-both .mm-figure').length == count", arg=count
    )
    return tab.locator(".mm-both .mm-figure").all()


def answers(figure):
    """Whether a key on one of the first controls changes what the figure says."""
    before = figure.locator("[role=status]").inner_text()
    for control in figure.locator("[role=slider], input, [role=radio], button").all()[:5]:
        for key in ("ArrowUp", "ArrowRight", "Space"):
            control.press(key)
            if figure.locator("[role=status]").inner_text() != before:
                return True
    return False


@WIDTHS
@pytest.mark.parametrize("page", FIGURES)
def test_figures_answer_on_their_page(browser, address, page, width):
    with opened(browser, f"{address}/{page}.html", width) as (tab, problems):
        live = figures(tab)
        assert (
            live
            and [figure.get_attribute("aria-label") for figure in live if not answers(figure)] == []
        )
        assert problems == []


@pytest.mark.parametrize("page", FIGURES)
def test_on_paper_and_without_scripts_the_still_pictures_are_shown(browser, served, page):
    def shown(tab, name):
        return [part.is_visible() for part in tab.locator(name).all()]

    with opened(browser, f"{served}/{page}.html") as (tab, _):
        figures(tab)
        assert not any(shown(tab, ".mm-still")) and all(shown(tab, ".mm-both .mm-figure"))
        tab.emulate_media(media="print")
        assert all(shown(tab, ".mm-still")) and not any(shown(tab, ".mm-both .mm-figure"))
    with opened(browser, f"{served}/{page}.html", java_script_enabled=False) as (tab, _):
        stills = tab.locator("img.mm-still, .mm-still img")
        assert stills.count() == tab.locator(".mm-both").count() > 0
        assert all(
            image.is_visible() and image.bounding_box()["height"] > 100 for image in stills.all()
        )
        assert not tab.locator(".mm-figure").count() and tab.locator("article h1").is_visible()
        assert all(shown(tab, "article section > p"))
        tab.set_viewport_size({"width": 390, "height": 900})
        assert tab.evaluate(TOO_WIDE) == []


def test_widgets_work_from_a_folder(browser, site, tmp_path):
    """The scripts that a page with widgets loads, in their order, and the theme's icons, which
    touch theirs.
    """
    slider, text, play = (
        ipywidgets.IntSlider(3, max=9),
        ipywidgets.IntText(3),
        ipywidgets.Play(0, max=9, interval=20),
    )
    frames = ipywidgets.Stack([ipywidgets.HTML(f"frame {n}") for n in range(10)], selected_index=0)
    ipywidgets.jslink((slider, "value"), (text, "value"))
    ipywidgets.jslink((play, "value"), (frames, "selected_index"))
    data = embed_data(
        views=[ipywidgets.VBox([slider, text, play, frames, Counter()])], drop_defaults=False
    )
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["sphinx"]["config"]
    static = f"{site.as_uri()}/_static"
    scripts = f'<script defer src="{static}/scripts/fontawesome.js"></script>'  # as the theme does
    scripts += "".join(
        f'<script {" ".join(options)} src="{static}/{path}"></script>'
        for path, options in config["nb_ipywidgets_js"].items()
    )
    state, view = json.dumps(data["manager_state"]), json.dumps(data["view_specs"][0])
    page = tmp_path / "widgets.html"
    page.write_text(f"""<!doctype html><meta charset="utf-8">{scripts}
        <script type="application/vnd.jupyter.widget-state+json">{state}</script>
        <div><script type="application/vnd.jupyter.widget-view+json">{view}</script></div>""")
    with opened(browser, page.as_uri()) as (tab, problems):
        tab.get_by_role("button", name="counted 7").click()
        tab.get_by_role("button", name="counted 8").wait_for()
        tab.locator(".noUi-handle").press("ArrowRight")
        assert tab.locator(".widget-text input").input_value() == "4"
        tab.locator(".widget-play button").first.click()
        tab.get_by_text("frame 9").wait_for()
        assert problems == []
