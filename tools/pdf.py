"""Make a PDF of the whole book: Sphinx writes one page, tools/paper.py lays it out, Chromium prints it.

    python -m tools.pdf    writes _build/pdf/mmcourse.pdf

It is printed twice: only a print tells on which page a heading lies, and the list of contents is to say it.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from pypdf import PdfReader

from tools.paper import add_front, lay_out

ROOT = Path(__file__).resolve().parent.parent
BROWSERS = "chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"


def find_browser():
    """The program of Chromium or Chrome, or None. The tests of pages and figures run in it too."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)


def number_contents(soup, pdf):
    """Write into the list of contents what the links of the printed one say."""
    reader = PdfReader(pdf)
    pages = {name.removeprefix("/"): reader.get_destination_page_number(place) + 1
             for name, place in reader.named_destinations.items()}  # fmt: skip
    for line in soup.select("nav a"):
        line.i.string = str(pages[line["href"][1:]])


def print_page(browser, page, pdf):
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=600000",
               "--no-pdf-header-footer", "--generate-pdf-document-outline", f"--print-to-pdf={pdf}", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or not pdf.exists():
        raise SystemExit(f"{browser} did not print the book:\n{done.stderr[-2000:]}")


def main(build=ROOT / "_build"):
    browser = find_browser()
    if not browser:
        raise SystemExit("The PDF is printed by Chromium or Chrome, and neither was found. Install one, or name it: "
                         "CHROMIUM=/path/to/chromium make pdf")
    sphinx = [Path(sys.executable).with_name("jupyter-book"), "build", ROOT, "--path-output", build.parent]
    subprocess.run([*sphinx, "--builder", "singlehtml", "-n", "-W", "--keep-going", "--quiet"], check=True)
    print(f"The book as a PDF: {typeset(browser, build / 'singlehtml', build / 'pdf' / 'mmcourse.pdf').as_uri()}")


def typeset(browser, folder, pdf):
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    parts = {part["chapters"][0]["file"]: part["caption"] for part in contents["parts"]}
    soup, paper = lay_out((folder / "index.html").read_text(encoding="utf-8")), folder / "paper.html"
    add_front(soup, config["title"], f"{config['author']}<br>© {config['copyright']}", parts)
    pdf.parent.mkdir(parents=True, exist_ok=True)
    for last in (False, True):
        paper.write_text(str(soup), encoding="utf-8")
        print_page(browser, paper, pdf)
        if not last:
            number_contents(soup, pdf)
    return pdf


if __name__ == "__main__":
    main()
