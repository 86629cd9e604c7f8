"""The notebook that readers open, derived from a chapter: plain Markdown instead of MyST.

A chapter's text has MyST in its Markdown cells: directives, roles and labels, which the book's
page needs. JupyterLab, VS Code, Colab and code hosts know plain Markdown, formulas between dollars
and a little HTML. ``plain_notebook`` says the same in these, with the numbers that the page shows.
"""

from tools.plain.notebook import plain_notebook

__all__ = ["plain_notebook"]
