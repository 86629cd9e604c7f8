"""The house: imports run downwards, from the command line to the data, and never in a circle."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "mmcourse"
FILES = sorted(PACKAGE.rglob("*.py"))

# The numbers of the chapters' modules, also of those that are not written yet.
CHAPTERS = {
    "attention": 1,
    "transformer": 2,
    "text": 3,
    "gpt": 4,
    "vision": 5,
    "audio": 6,
    "video": 7,
    "detection": 8,
    "fusion": 9,
    "contrastive": 10,
    "alignment": 11,
    "training": 12,
    "evaluation": 13,
    "captioning": 14,
    "decoding": 15,
    "photographs": 16,
    "interpretability": 17,
    "compression": 18,
    "serving": 19,
    "vqa": 20,
    "text_to_image": 21,
    "vlm": 22,
    "case_studies": 23,
}
# What every chapter may use, whatever its number: they know no model.
TOOLS = {"training", "evaluation", "decoding", "weights"}
# What may use everything below it; hub and recipes know all chapters.
ABOVE = {"cli": 4, "book": 3, "bench": 3, "hub": 2, "recipes": 2}


def module_name(path):
    """mmcourse/data/scenes.py is mmcourse.data.scenes, mmcourse/data/__init__.py is
    mmcourse.data.
    """
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def imported(path):
    """The modules of mmcourse that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides where it leads"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = inner & MODULES.keys()
            found |= modules if modules and modules == inner else modules | {node.module}
    return {name for name in found if name in MODULES and name != "mmcourse"}


def part(name):
    """The part of the house that a module stands in: mmcourse.data.scenes in data."""
    return name.split(".")[1]


def allowed(here, there):
    """Whether a module of the part ``here`` may import one of the part ``there``."""
    if here == there:
        return True
    if here in ABOVE:
        return ABOVE.get(there, 0) < ABOVE[here]
    if here == "data":
        return False
    return there == "data" or there in TOOLS or CHAPTERS.get(there, 99) < CHAPTERS[here]


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_run_downwards(path):
    name = module_name(path)
    if name in ("mmcourse", "mmcourse.__main__"):
        return
    for other in sorted(imported(path)):
        assert allowed(part(name), part(other)), f"{name} must not import {other}"


def test_no_circle():
    arrows = {name: imported(path) - {name} for name, path in MODULES.items()}
    try:
        order = list(TopologicalSorter(arrows).static_order())
    except CycleError as error:
        pytest.fail("imports in a circle: " + " -> ".join(reversed(error.args[1])))
    assert order.index("mmcourse.data.drawings") < order.index("mmcourse.captioning")


def test_every_part_has_its_place():
    parts = {part(name) for name in MODULES if name.count(".")}
    assert parts <= {*CHAPTERS, *ABOVE, *TOOLS, "data", "__main__"}, (
        "name its place in this file, and in CONTRIBUTING.md"
    )


def test_the_rules_notice_what_they_forbid():
    assert allowed("captioning", "vision") and not allowed("vision", "captioning")
    assert not allowed("data", "vision") and not allowed("captioning", "hub")
    assert not allowed("hub", "cli") and allowed("cli", "hub") and allowed("cli", "bench")
    assert allowed("vision", "training") and not allowed("attention", "transformer")
