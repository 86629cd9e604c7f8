"""Edit notebooks as text, execute those that are stale, and stamp each with what its outputs were made from.

    python tools/notebooks.py text 01_attention    write notebooks/01_attention.py, to edit it as text
    python tools/notebooks.py run [NAME ...]       take over newer text, execute what is stale, stamp it
    python tools/notebooks.py check                list what is stale, and fail if anything is

A notebook is stale when its code cells, a ``mmcourse`` module that it imports (directly or through another; comments
and docstrings do not count) or a data file of such a module differs from when its outputs were made.
"""

import argparse
import ast
import hashlib
import importlib
import io
import math
import os
import re
import sys
import time
import tokenize
from pathlib import Path

import jupytext
import nbformat
import yaml
from jupytext.combine import combine_inputs_with_outputs
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "mmcourse"
KERNEL = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
REPOSITORY = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["repository"]["url"]
# What each notebook runs first, in a cell with the tag `install`: on Colab the package is not there yet.
INSTALL = f'''\
from importlib.util import find_spec

if not find_spec("mmcourse"):  # you are on Colab
    %pip install --quiet "mmcourse[notebooks] @ git+{REPOSITORY}"'''
sys.path.insert(0, str(ROOT))


def notebooks(names=()):
    """The course's notebooks by path, or those named: 01_attention, notebooks/01_attention.py, ..."""
    stems = [Path(name).stem for name in names]
    paths = sorted({path.with_suffix(".ipynb") for suffix in ("ipynb", "py") for path in
                    (ROOT / "notebooks").glob(f"*.{suffix}")})  # fmt: skip
    unknown = sorted(set(stems) - {path.stem for path in paths})
    if unknown:
        raise SystemExit(
            f"no such notebook: {', '.join(unknown)}; there are {', '.join(path.stem for path in paths)}"
        )
    return [path for path in paths if not stems or path.stem in stems]


# What the outputs depend on ------------------------------------------------------------------------------------------


def without_words(source):
    """Python source without comments, docstrings and blank lines: what is left decides what the code does."""
    lines = source.splitlines()
    cuts = [(token.start, token.end) for token in tokenize.generate_tokens(io.StringIO(source).readline)
            if token.type == tokenize.COMMENT]  # fmt: skip
    for node in ast.walk(ast.parse(source)):
        documented = isinstance(
            node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        )
        if documented and ast.get_docstring(node, clean=False) is not None:
            text = node.body[0]
            end = len(lines[text.end_lineno - 1].encode()[: text.end_col_offset].decode())
            cuts.append(((text.lineno, text.col_offset), (text.end_lineno, end)))
    for (row, column), (last, end) in sorted(cuts, reverse=True):
        lines[row - 1 : last] = [lines[row - 1][:column] + lines[last - 1][end:]] + [""] * (
            last - row
        )
    return "\n".join(line.rstrip() for line in lines if line.strip())


def imports(source, package=""):
    """The names of mmcourse modules that a piece of Python imports, functions' own imports included."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] if node.level else ""
            base = ".".join(part for part in (base, node.module) if part)
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == "mmcourse"}


def module_file(name):
    """The file of a module by its dotted name, or None where the name is something inside a module."""
    path = ROOT.joinpath(*name.split("."))
    return next(
        (file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None
    )


def modules(cells):
    """Every mmcourse module that these code cells import, directly or through one another, as {name: file}."""
    code = "\n".join(re.sub(r"^(\s*)[%!].*", r"\1pass", cell, flags=re.MULTILINE) for cell in cells)
    todo, known = imports(code), {}
    if re.search(r"^\s*!.*\bmmcourse\b", "\n".join(cells), flags=re.MULTILINE):  # the command line
        todo |= {"mmcourse.cli"}
    while todo:
        name = todo.pop()
        file = module_file(name)
        if file is None or name in known:
            continue
        known[name] = file
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        todo |= imports(file.read_text(encoding="utf-8"), package) | (
            {package} if package != name else set()
        )
    return known


def data_files(names):
    """The files that modules of these names read: the drawings, the photographs, and the captioner's weights.

    Not the scripts of figures: they leave Python's outputs as they are, see ``shown_scripts``.
    """
    words = {".py", ".md", ".js", ".css"}
    files = [
        path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    ]
    files = [
        path for path in files if path.suffix not in words and "LICENSE" not in str(path).upper()
    ]
    ours = {path for path in files if (PACKAGE / "data") in path.parents}
    wanted = ours if any(name.startswith("mmcourse.data") for name in names) else set()
    if "mmcourse.data.photographs" not in names:
        wanted = {path for path in wanted if PACKAGE / "data" / "photographs" not in path.parents}
    return sorted(wanted | (set(files) - ours if "mmcourse.captioning" in names else set()))


def installs(cell):
    """Whether a cell is the one that installs the package where it is missing; nothing depends on it."""
    return "install" in cell.metadata.get("tags", [])


def digest(notebook):
    """Twelve hexadecimal digits of everything that the notebook's outputs depend on."""
    cells = [
        cell.source for cell in notebook.cells if cell.cell_type == "code" and not installs(cell)
    ]
    used = modules(cells)
    total = hashlib.sha256(repr(cells).encode())
    for name, file in sorted(used.items()):
        total.update(f"\n# {name}\n{without_words(file.read_text(encoding='utf-8'))}".encode())
    for file in data_files(used):
        total.update(
            f"\n# {file.relative_to(ROOT).as_posix()}\n".encode()
            + hashlib.sha256(file.read_bytes()).digest()
        )
    return total.hexdigest()[:12]


def shown_sources(notebook):
    """The outputs of ``show_source`` in a notebook, as pairs (output, what the file says now)."""
    for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
        name = output.get("metadata", {}).get("text/markdown", {}).get("mmcourse_source")
        if name:
            from mmcourse.book.source import show_source

            module, _, inner = name.partition(":")
            thing = importlib.import_module(module)
            for part in filter(None, inner.split(".")):
                thing = getattr(thing, part, None)
            yield output, show_source(thing).data if thing is not None else ""


def widgets(notebook):
    """The state of every widget in a notebook, by the widget's name."""
    stored = notebook.metadata.get("widgets", {}).get(
        "application/vnd.jupyter.widget-state+json", {}
    )
    return stored.get("state", {})


def shown_scripts(notebook):
    """The scripts and styles of a notebook's figures, as (state of the figure, key, what the file says now)."""
    for state in (model["state"] for model in widgets(notebook).values()):
        module, _, name = state.get("_anywidget_id", "").rpartition(".")
        if module.startswith("mmcourse."):
            figure = getattr(importlib.import_module(module), name)
            yield from ((state, key, getattr(figure, key)) for key in ("_esm", "_css"))


def faults(notebook):
    """Why a notebook's outputs cannot be trusted, in words; an empty list when they can."""
    found = []
    code = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]
    if any(not cell.execution_count and not installs(cell) for cell in code):
        found.append("has code cells that never ran")
    if notebook.metadata.get("mmcourse", {}).get("digest") != digest(notebook):
        found.append(
            "is stale: its code, a module that it imports or its data changed after it ran"
        )
    if (any(output["data"]["text/markdown"] != now for output, now in shown_sources(notebook))
            or any(state[key] != now for state, key, now in shown_scripts(notebook))):  # fmt: skip
        found.append("shows source that is no longer what the file says")
    return found


# Editing and executing -----------------------------------------------------------------------------------------------


def tidy(notebook):
    """Leave nothing in a notebook that differs from run to run or from machine to machine."""
    if widgets(notebook):
        text = nbformat.writes(notebook)
        for number, name in enumerate(
            widgets(notebook), 1
        ):  # widgets get random names when they are made
            text = text.replace(name, f"widget-{number:02}")
        notebook.update(nbformat.reads(text, as_version=4))
    notebook.metadata = {
        key: value for key, value in notebook.metadata.items() if key in {"mmcourse", "widgets"}
    }
    notebook.metadata.update(kernelspec=KERNEL, language_info={"name": "python"})
    seen = {}
    for cell in notebook.cells:
        name = hashlib.sha256(cell.source.encode()).hexdigest()[:8]
        seen[name] = seen.get(name, 0) + 1
        cell.id = name if seen[name] == 1 else f"{name}-{seen[name]}"
        cell.metadata.pop("execution", None)
    nbformat.validate(notebook)


def load(path):
    """The notebook at ``path``; where a newer text of it lies beside it, that text with the outputs that still fit."""
    text = path.with_suffix(".py")
    if not text.exists() or (path.exists() and text.stat().st_mtime <= path.stat().st_mtime):
        return nbformat.read(path, as_version=4)
    notebook = jupytext.read(text, fmt="py:percent")
    if path.exists():
        old = nbformat.read(path, as_version=4)
        notebook = combine_inputs_with_outputs(notebook, old)
        notebook.metadata.update(
            {key: old.metadata[key] for key in ("mmcourse", "widgets") if key in old.metadata}
        )
    return notebook


def save(notebook, path):
    tidy(notebook)
    nbformat.write(notebook, path)
    text = path.with_suffix(".py")
    if text.exists():
        os.utime(text, (path.stat().st_mtime,) * 2)  # the two agree again


def execute(notebook):
    """Run every cell in a fresh kernel and stamp the notebook with digest, seconds and peak memory in megabytes."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "0",
        "HF_HUB_OFFLINE": "1",
    }
    client = NotebookClient(notebook, timeout=900, kernel_name="python3", record_timing=False, coalesce_streams=True,
                            resources={"metadata": {"path": str(ROOT / "notebooks")}})  # fmt: skip
    memory = nbformat.v4.new_code_cell(
        "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    with client.setup_kernel(env=environment):
        start = time.perf_counter()
        for index, cell in enumerate(notebook.cells):
            client.execute_cell(cell, index)
        seconds = time.perf_counter() - start
        notebook.cells.append(memory)
        client.execute_cell(memory, len(notebook.cells) - 1)
        notebook.cells.pop()
        client.set_widgets_metadata()
    kilobytes = int(memory.outputs[0]["text"]) / (1024 if sys.platform == "darwin" else 1)
    notebook.metadata["mmcourse"] = {
        "digest": digest(notebook), "seconds": math.ceil(seconds), "megabytes": math.ceil(kilobytes / 1024)
    }  # fmt: skip


def run(path, force):
    """Bring one notebook up to date. Gives an error message, or "" when all went well."""
    notebook = load(path)
    for cell in filter(installs, notebook.cells):
        cell.source = INSTALL
    why = faults(notebook)
    if force or any("source" not in fault for fault in why):
        print(f"{path.stem}: runs ...", flush=True)
        try:
            execute(notebook)
        except CellExecutionError as error:
            return f"{path.stem}: a cell failed, the notebook on disk is as it was\n{error}"
        print(
            "{}: {seconds} s, {megabytes} MB, {digest}".format(
                path.stem, **notebook.metadata["mmcourse"]
            )
        )
    elif why:
        print(f"{path.stem}: takes the source as it is now")
        for output, now in shown_sources(notebook):
            output["data"]["text/markdown"] = now
        for state, key, now in shown_scripts(notebook):
            state[key] = now
    else:
        print(f"{path.stem}: is up to date")
    save(notebook, path)
    return ""


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["text", "run", "check"])
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="01_attention ...; all notebooks when none is named",
    )
    parser.add_argument("--force", action="store_true", help="execute also what is not stale")
    options = parser.parse_args(arguments)
    problems = []
    for path in notebooks(options.names):
        if options.command == "text":
            jupytext.write(load(path), path.with_suffix(".py"), fmt="py:percent")
            print(path.with_suffix(".py"))
        elif options.command == "run":
            problems.append(run(path, options.force))
        else:
            problems += [f"{path.stem} {fault}" for fault in faults(load(path))]
    problems = list(filter(None, problems))
    if problems and options.command == "check":
        problems.append(
            "The pages show what these notebooks gave before. To execute them again: make notebooks"
        )
    print(
        "\n".join(problems) or "every notebook is up to date",
        file=sys.stderr if problems else sys.stdout,
    )
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
