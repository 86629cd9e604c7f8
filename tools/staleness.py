"""Whether the outputs of a notebook are what its code gives today.

A notebook's outputs depend on its code cells, on the ``mmcourse`` modules that they import,
directly or through another, and on the data files of those modules. ``digest`` makes twelve digits
of all that. Comments and docstrings do not count. What a notebook merely shows, source code and the
scripts of figures, is compared with the files.
"""

import ast
import hashlib
import importlib
import io
import re
import tokenize
from pathlib import Path

from book._ext.chapters import code_cells

ROOT = Path(__file__).resolve().parent.parent

# Which data a module reads: a folder, or files by a pattern. A module that is not here reads none.
DATA = {
    "mmcourse.data.drawings": "mmcourse/data/drawings",
    "mmcourse.data.glosses": "mmcourse/data/glosses",
    "mmcourse.data.captioned": "mmcourse/data/photographs",
    "mmcourse.hub": "mmcourse/shipped",
    "mmcourse.data.speech": "mmcourse/data/speech",
    "mmcourse.recipes.audio_studies": "mmcourse/recipes/measured/audio_*.json",
    "mmcourse.case_studies.education": "mmcourse/case_studies/course*.gz",
    "mmcourse.recipes.gpt_studies": "mmcourse/recipes/measured/gpt_*.json",
    "mmcourse.recipes.fusion_studies": "mmcourse/recipes/measured/fusion_*.json",
    "mmcourse.recipes.text_studies": "mmcourse/recipes/measured/text_*.json",
    "mmcourse.recipes.alignment_studies": "mmcourse/recipes/measured/alignment_*.json",
    "mmcourse.recipes.interpretability_studies": (
        "mmcourse/recipes/measured/interpretability_*.json"
    ),
    "mmcourse.recipes.compression_studies": "mmcourse/recipes/measured/compression_*.json",
    "mmcourse.recipes.vqa_studies": "mmcourse/recipes/measured/vqa_*.json",
    "mmcourse.recipes.detection_studies": "mmcourse/recipes/measured/detection_*.json",
    "mmcourse.recipes.vlm_studies": "mmcourse/recipes/measured/vlm_*.json",
    "mmcourse.serving.server": "mmcourse/serving/*.html",
    "mmcourse.recipes.serving_studies": "mmcourse/recipes/measured/serving_*.json",
    "mmcourse.recipes.video_studies": "mmcourse/recipes/measured/video_*.json",
    "mmcourse.recipes.text_to_image_studies": "mmcourse/recipes/measured/text_to_image_*.json",
}
WIDGETS = "application/vnd.jupyter.widget-state+json"


# What outputs depend on ------------------------------------------------------------------------


def without_words(source):
    """Python source without comments, docstrings and blank lines: what decides what it does."""
    lines = source.splitlines()
    for (row, column), (last, end) in sorted(comments(source) + docstrings(source), reverse=True):
        kept = lines[row - 1][:column] + lines[last - 1][end:]
        lines[row - 1 : last] = [kept] + [""] * (last - row)
    return "\n".join(line.rstrip() for line in lines if line.strip())


def comments(source):
    """Where comments stand: pairs of start and end, ((row, column), (row, column))."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return [(token.start, token.end) for token in tokens if token.type == tokenize.COMMENT]


def docstrings(source):
    """Where docstrings stand in Python source, as ``comments`` gives it."""
    places = []
    lines = source.splitlines()
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            text = node.body[0]
            # ast counts bytes in a line, tokenize counts characters
            end = len(lines[text.end_lineno - 1].encode()[: text.end_col_offset].decode())
            places.append(((text.lineno, text.col_offset), (text.end_lineno, end)))
    return places


def imports(source, package=""):
    """The names of mmcourse modules that a piece of Python imports, also inside functions.

    ``package`` is the one that relative imports start from. A name may also be that of something
    inside a module.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            base = ".".join(part for part in (base, node.module) if part)
            found.add(base)
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == "mmcourse"}


def module_file(name):
    """The file of a module by its dotted name, or None for the name of something inside one."""
    path = ROOT.joinpath(*name.split("."))
    for file in (path / "__init__.py", path.with_suffix(".py")):
        if file.is_file():
            return file
    return None


def module_name(file):
    """The dotted name of a module's file."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def first_imports(cells):
    """The modules that these code cells import themselves.

    The command line in a cell (``!mmcourse``) imports any of its commands.
    """
    found = set()
    for cell in cells:
        python = re.sub(r"^(\s*)[%!].*", r"\1pass", cell, flags=re.MULTILINE)
        found |= imports(python)
        if re.search(r"^\s*!.*\bmmcourse\b", cell, flags=re.MULTILINE):
            found |= {module_name(file) for file in ROOT.glob("mmcourse/cli/**/*.py")}
    return found


def modules(cells):
    """Every module that these cells import, directly or through another: {name: file}."""
    todo = first_imports(cells)
    known = {}
    while todo:
        name = todo.pop()
        file = module_file(name)
        if file is None or name in known:
            continue
        known[name] = file
        parent = name.rpartition(".")[0]
        if parent:
            todo.add(parent)  # importing a module runs its package first
        package = name if file.name == "__init__.py" else parent
        todo |= imports(file.read_text(encoding="utf-8"), package)
    return known


def data_files(names):
    """The files that modules of these names read: drawings, photographs, shipped weights."""
    patterns = [
        found if "*" in found else f"{found}/**/*" for name, found in DATA.items() if name in names
    ]
    files = [file for pattern in patterns for file in ROOT.glob(pattern) if is_data(file)]
    return sorted(files)


def is_data(path):
    """Whether an output can depend on a file: not on words about data, nor on a licence."""
    words = path.suffix == ".md" or path.name == "NOTICE" or "LICENSES" in path.parts
    return path.is_file() and not words


def digest(notebook):
    """Twelve hexadecimal digits of everything that the notebook's outputs depend on."""
    cells = [cell.source for cell in code_cells(notebook)]
    used = modules(cells)
    total = hashlib.sha256(repr(cells).encode())
    for name, file in sorted(used.items()):
        total.update(f"\n# {name}\n".encode())
        total.update(without_words(file.read_text(encoding="utf-8")).encode())
    for file in data_files(used):
        total.update(f"\n# {file.relative_to(ROOT).as_posix()}\n".encode())
        total.update(hashlib.sha256(file.read_bytes()).digest())
    return total.hexdigest()[:12]


# What outputs show -----------------------------------------------------------------------------


def shown_sources(notebook):
    """The outputs of ``show_source`` in a notebook, as pairs (output, what the file says now)."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            name = output.get("metadata", {}).get("text/markdown", {}).get("mmcourse_source")
            if name:
                yield output, source_now(name)


def source_now(name):
    """What ``show_source`` gives now for ``module:name``; "" when it is not there any more."""
    from mmcourse.book.source import show_source

    module, _, inner = name.partition(":")
    thing = importlib.import_module(module)
    for part in inner.split(".") if inner else []:
        thing = getattr(thing, part, None)
    return show_source(thing).data if thing is not None else ""


def widgets(notebook):
    """The state of every widget in a notebook, by the widget's name."""
    return notebook.metadata.get("widgets", {}).get(WIDGETS, {}).get("state", {})


def shown_scripts(notebook):
    """The scripts and styles of figures, as (state of the figure, key, what the file says)."""
    for model in widgets(notebook).values():
        state = model["state"]
        module, _, name = state.get("_anywidget_id", "").rpartition(".")
        if module.startswith("mmcourse."):
            figure = getattr(importlib.import_module(module), name)
            for key in ("_esm", "_css"):
                yield state, key, getattr(figure, key)


def shows_old_source(notebook):
    """Whether a notebook shows source or runs scripts that are no longer what the files say."""
    sources = (output["data"]["text/markdown"] != now for output, now in shown_sources(notebook))
    scripts = (state[key] != now for state, key, now in shown_scripts(notebook))
    return any(sources) or any(scripts)


def refresh_source(notebook):
    """Put the source and scripts as the files have them now in place of what a notebook shows."""
    for output, now in shown_sources(notebook):
        output["data"]["text/markdown"] = now
    for state, key, now in shown_scripts(notebook):
        state[key] = now
