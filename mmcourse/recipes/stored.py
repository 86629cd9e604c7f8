"""What studies found that take longer than a page: stored once, as JSON, and read by the pages."""

import json
import platform
from pathlib import Path

import torch

from mmcourse.training import write_whole

FOLDER = Path(__file__).with_name("measured")


def path_of(study):
    """The file of a study, such as ``gpt_blocks``."""
    return FOLDER / f"{study}.json"


def read_study(study):
    """What a study found, a dict."""
    return json.loads(path_of(study).read_text(encoding="utf-8"))


def write_study(study, found):
    """Store what a study found, a dict, whole or not at all; each of its ``rows`` in a line."""
    head = {name: value for name, value in found.items() if name != "rows"}
    text = json.dumps(head, indent=1, ensure_ascii=False)
    if "rows" in found:
        rows = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in found["rows"])
        text = text.removesuffix("\n}") + f',\n "rows": [\n{rows}\n ]\n}}'
    FOLDER.mkdir(exist_ok=True)
    write_whole(path_of(study), (text + "\n").encode())


def machine():
    """On what a study was measured: a dict."""
    return {
        "machine": f"{platform.machine()}, {torch.get_num_threads()} thread(s)",
        "torch": torch.__version__,
    }
