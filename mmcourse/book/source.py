"""Show code in a notebook from the file that holds it, so that page and package cannot differ."""

import inspect
from pathlib import Path
from textwrap import dedent

from IPython.display import Markdown


def show_source(thing):
    """Give the source of a function, a class or a module as a highlighted code block under its file and line numbers.

    Raises TypeError when ``thing`` has no Python source, such as a number or a function written in C.
    """
    try:
        thing = inspect.unwrap(thing)  # a decorator would lead to its own file
        lines, first = inspect.getsourcelines(thing)
        file = Path(inspect.getsourcefile(thing))
    except TypeError as error:
        raise TypeError(
            f"expected a function, a class or a module written in Python, got {thing!r}"
        ) from error
    module = inspect.getmodule(thing).__name__
    path = "/".join([*module.split(".")[:-1], file.name])
    where = f"`{path}`, lines {max(first, 1)} to {max(first, 1) + len(lines) - 1}"
    name = f"{module}:{'' if inspect.ismodule(thing) else thing.__qualname__}"  # tools/notebooks.py finds it by this
    return Markdown(
        f"{where}\n\n```python\n{dedent(''.join(lines)).rstrip()}\n```",
        metadata={"mmcourse_source": name},
    )
