"""Show code in a notebook from the file that holds it, so that page and package cannot differ."""

import inspect
from pathlib import Path
from textwrap import dedent

from IPython.display import Markdown


def show_source(thing):
    """The source of a function, a class or a module as a code block, with its file and lines.

    Raises TypeError when ``thing`` has no Python source, such as a number or a function in C.
    """
    try:
        thing = inspect.unwrap(thing)  # a decorator would lead to its own file
        lines, first = inspect.getsourcelines(thing)
        file = Path(inspect.getsourcefile(thing))
    except TypeError as error:
        raise TypeError(
            f"expected a function, a class or a module written in Python, got {thing!r}"
        ) from error
    first = max(first, 1)  # of a module it is 0
    last = first + len(lines) - 1
    module = inspect.getmodule(thing).__name__
    folders = module.split(".")[:-1]
    path = "/".join([*folders, file.name])
    code = dedent("".join(lines)).rstrip()
    text = f"`{path}`, lines {first} to {last}\n\n```python\n{code}\n```"
    name = "" if inspect.ismodule(thing) else thing.__qualname__
    # tools/notebooks.py finds the output by this
    return Markdown(text, metadata={"mmcourse_source": f"{module}:{name}"})
