"""Make a PDF of the whole book: Sphinx writes one page, tools/book/paper.py lays it out, Chromium
prints it.

    python -m tools.book.pdf    writes _build/pdf/mmcourse.pdf

It is printed twice: only a print tells on which page a heading lies, and the list of contents is to
say it. Should the numbers move what they count, it is printed again.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from playwright.sync_api import sync_playwright
from pypdf import PdfReader

from tools.book.paper import add_front, lay_out

ROOT = Path(__file__).resolve().parents[2]
PRINTS = 4  # at most, until the page numbers are right
BROWSERS = "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"


def find_browser():
    """The program of Chromium or Chrome, or None. The tests of pages and figures run in it too."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)


# What hinders a print: formulas that MathJax has not set or finds wrong, and fonts that did not
# come.
UNREADY = """() => [
  ...[...document.querySelectorAll(".math")]
    .filter(e => !e.querySelector("mjx-container")),
  ...document.querySelectorAll("mjx-merror")].map(e => e.textContent.trim()).concat(
  [...document.fonts].filter(font => font.status == "error")
    .map(font => `the font ${font.family}`))"""
NUMBER = """pages => {
  for (const line of document.querySelectorAll("nav a"))
    line.querySelector("i").textContent = pages[line.hash.slice(1)];
}"""


def print_book(program, page, pdf):
    """Print a page on paper once its mathematics is set; then again, with page numbers in the list
    of contents, until they are those of the print.
    """
    with (
        sync_playwright() as play,
        play.chromium.launch(executable_path=program, args=["--disable-gpu"]) as browser,
    ):
        tab = browser.new_page()
        tab.set_default_timeout(0)  # hundreds of formulas take a slow computer minutes
        tab.emulate_media(media="print")
        tab.goto(page.as_uri())
        tab.evaluate("MathJax.startup.promise")
        tab.evaluate("document.fonts.ready")
        if unready := tab.evaluate(UNREADY):
            raise SystemExit(
                "The book is not printed, because these are not ready:\n" + "\n".join(unready[:20])
            )
        numbers = {}
        for _ in range(PRINTS):
            tab.pdf(
                path=pdf,
                prefer_css_page_size=True,
                print_background=True,
                outline=True,
                tagged=True,
            )
            found = headings(PdfReader(pdf))
            if found == numbers:
                return
            numbers = found
            tab.evaluate(NUMBER, numbers)
    raise SystemExit(
        f"The page numbers in the list of contents still change after {PRINTS} prints: make room "
        "for them in book/static/paper.css (nav a i)."
    )


def headings(reader):
    """The page on which each named place of a PDF lies."""
    return {
        name.removeprefix("/"): reader.get_destination_page_number(place) + 1
        for name, place in reader.named_destinations.items()
    }


def main(build=ROOT / "_build"):
    browser = find_browser()
    if not browser:
        raise SystemExit(
            "The PDF is printed by Chromium or Chrome, and neither was found. Install one, or name "
            "it: CHROMIUM=/path/to/chromium make pdf"
        )
    sphinx = [
        Path(sys.executable).with_name("jupyter-book"),
        "build",
        ROOT,
        "--path-output",
        build.parent,
    ]
    subprocess.run(
        [*sphinx, "--builder", "singlehtml", "-n", "-W", "--keep-going", "--quiet"], check=True
    )
    pdf = typeset(browser, build / "singlehtml", build / "pdf" / "mmcourse.pdf")
    print(f"The book as a PDF: {pdf.as_uri()}")


def typeset(browser, folder, pdf):
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    parts = {part["chapters"][0]["file"]: part["caption"] for part in contents["parts"]}
    soup = lay_out((folder / "index.html").read_text(encoding="utf-8"))
    add_front(soup, config["title"], f"By {config['author']}<br>© {config['copyright']}", parts)
    paper = folder / "paper.html"
    paper.write_text(str(soup), encoding="utf-8")
    pdf.parent.mkdir(parents=True, exist_ok=True)
    print_book(browser, paper, pdf)
    return pdf


if __name__ == "__main__":
    main()
