"""What a page offers of the course's public address: buttons for Colab and Binder.

The address stands in ``_config.yml`` under ``repository`` and nowhere else. While OWNER in it is a
placeholder, buttons that would lead nowhere are left out, and so is what stands under ``{only}
published`` on a page.
"""

import shutil
from pathlib import Path

from chapters import notebook_of


def is_published(config):
    """Whether the course has a public address."""
    return "/OWNER/" not in config.html_theme_options.get("repository_url", "/OWNER/")


def leave_out_buttons(app, config):
    """No button leads nowhere: without an address there is none for Colab and Binder."""
    if is_published(config):
        app.tags.add("published")
    else:
        config.html_theme_options["launch_buttons"] = {}


def offer_notebook(app, document, template, context, doctree):
    """Let the buttons of a chapter's page lead to its notebook, not to the page's text."""
    notebook = notebook_of(app.env, document) if doctree else None
    if notebook is None or "header_buttons" not in context:
        return
    name = notebook.relative_to(app.srcdir).as_posix()
    for group in context["header_buttons"]:
        for button in group.get("buttons", []):
            if "url" in button:
                button["url"] = button["url"].replace(f"{document}.py", name)
            if button["text"] == ".py":
                button["text"] = ".ipynb"
    copy = Path(app.outdir, "_sources", name)
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(notebook, copy)


def setup(app):
    app.connect("config-inited", leave_out_buttons)
    app.connect(
        "html-page-context", offer_notebook, priority=900
    )  # after the theme made its buttons
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
