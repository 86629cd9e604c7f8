"""What was found, in a JSON file to which rows of other races can be added later."""

import importlib.util
import json
import platform
from importlib import metadata
from pathlib import Path

import torch

from mmcourse.bench.races import RACES

LIBRARIES = ("torch", "transformers", "pycocoevalcap")


def machine(device):
    """The device, the number of threads, and the versions of the libraries, as a dict of texts."""
    chip = platform.machine()
    if torch.device(device).type == "cuda":
        chip = torch.cuda.get_device_name(device)
    capability = torch.backends.cpu.get_cpu_capability()
    found = {"device": f"{chip}, {capability}, {torch.get_num_threads()} threads"}
    for library in LIBRARIES:
        found[library] = "not installed"
        if importlib.util.find_spec(library):
            found[library] = metadata.version(library)
    return found


def merge(found, file):
    """What was ``found``, with the rows of other races that ``file`` holds already, in order.

    Raises ValueError when the file holds something else, or rows of another machine, of other
    versions, or of quick trials beside real ones.
    """
    path = Path(file)
    if not path.exists():
        return found
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        conditions = {"machine": kept["machine"], "quick": kept["quick"]}
        races = [row["race"] for row in kept["rows"]]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file} does not hold rows of mmcourse bench ({error!r}): give another name"
        ) from error
    for name, there in conditions.items():
        if there != found[name]:
            raise ValueError(
                f"{file} holds rows with the {name} {there}, not {found[name]}: "
                "give another name, or remove it"
            )
    new = {row["race"] for row in found["rows"]}
    rows = [row for row, race in zip(kept["rows"], races, strict=True) if race not in new]
    rows += found["rows"]
    rows.sort(key=lambda row: list(RACES).index(row["race"]))
    return found | {"rows": rows}


def write(found, file):
    """Write it, for people to read too."""
    text = json.dumps(found, indent=1, ensure_ascii=False)
    Path(file).write_text(text + "\n", encoding="utf-8")
