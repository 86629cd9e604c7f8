"""What needs the course's public address is offered when there is one, and else is not."""

import nbformat
import pytest
from bs4 import BeautifulSoup
from nbformat.v4 import new_markdown_cell, new_notebook
from sphinx.application import Sphinx

from tests.book.pages import ROOT

CONF = """
extensions = ["myst_nb", "chapters", "address", "assignments"]
nb_execution_mode, html_theme, root_doc = "off", "sphinx_book_theme", "book/chapters/05_far"
exclude_patterns = ["notebooks", "conf.py"]
html_theme_options = {"repository_url": "https://github.com/%s/course", "repository_branch": "main",
                      "launch_buttons": {"colab_url": "https://colab.example", "binderhub_url": "https://binder.example",
                                         "notebook_interface": "jupyterlab"}}
"""
WORDS = """# Far

```{only} published
There is a rocket.
```

```{only} not published
There is none.
```

```{assignments}
```
"""
TASK = "# %% [markdown]\n# # A7 The lost key\n"
TEXT = f"""\
# ---
# jupyter:
#   course: {{notebook: notebooks/05_far.ipynb}}
# ---

# %% [markdown]
{"".join(f"# {line}".rstrip() + chr(10) for line in WORDS.splitlines())}"""


def build(folder, monkeypatch, owner):
    """The page of a book of one chapter, as soup."""
    (folder / "book" / "chapters").mkdir(parents=True)
    (folder / "conf.py").write_text(CONF % owner)
    (folder / "book" / "chapters" / "05_far.py").write_text(TEXT)
    task = folder / "notebooks" / "assignments" / "A7_key"
    task.mkdir(parents=True)
    (task / "source.py").write_text(TASK)
    (task / "A7_key.ipynb").write_text("{}")
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(cells=[new_markdown_cell("plain")], metadata={"kernelspec": kernel})
    nbformat.write(notebook, folder / "notebooks" / "05_far.ipynb")
    monkeypatch.syspath_prepend(str(ROOT / "book" / "_ext"))
    Sphinx(
        folder, folder, folder / "out", folder / "trees", "html", status=None, warning=None
    ).build()
    page = folder / "out" / "book" / "chapters" / "05_far.html"
    return BeautifulSoup(page.read_text(encoding="utf-8"), "html.parser")


def links(page):
    """The addresses that the buttons at the top of a page lead to."""
    return [link["href"] for link in page.select(".article-header-buttons a[href]")]


def offered(page):
    """What the table of assignments offers."""
    return page.select_one("article table td:last-child").get_text(strip=True)


def test_with_an_address_the_buttons_lead_to_the_notebook(tmp_path, monkeypatch):
    page = build(tmp_path, monkeypatch, "us")
    launch = {address for address in links(page) if "_sources" not in address}
    assert launch == {
        "https://binder.example/v2/gh/us/course/main?urlpath=lab/tree/notebooks/05_far.ipynb",
        "https://colab.example/github/us/course/blob/main/notebooks/05_far.ipynb",
    }
    assert offered(page) == "download,open in Colab"
    assert "There is a rocket." in page.get_text() and "There is none." not in page.get_text()


@pytest.mark.parametrize("owner", ["OWNER", "us"])
def test_a_page_offers_its_notebook_in_any_case(tmp_path, monkeypatch, owner):
    page = build(tmp_path, monkeypatch, owner)
    download = next(address for address in links(page) if "_sources" in address)
    file = (tmp_path / "out" / "book" / "chapters" / download).resolve()
    assert file == (tmp_path / "out" / "_sources" / "notebooks" / "05_far.ipynb").resolve()
    assert file.read_bytes() == (tmp_path / "notebooks" / "05_far.ipynb").read_bytes()
    names = [link.get_text(strip=True) for link in page.select(".dropdown-download-buttons li")]
    assert ".ipynb" in names and ".py" not in names


def test_without_an_address_there_is_no_button_that_needs_it(tmp_path, monkeypatch):
    page = build(tmp_path, monkeypatch, "OWNER")
    assert [address for address in links(page) if "_sources" not in address] == []
    assert "OWNER" not in str(page)
    assert offered(page) == "download"
    assert "There is none." in page.get_text() and "There is a rocket." not in page.get_text()
