"""The files of a run: a checkpoint that is whole or not there, the log, and what
``from_pretrained`` reads.

``checkpoint.safetensors`` holds the weights (``model.NAME``), AdamW's moments
(``optimizer.INDEX.NAME``), the loss and the gradient norm of each step (``history``) and, in its
metadata, the **facts**: how many steps are done, and everything that must be the same for the run
to go on.
"""

import json
import os
import tempfile
from dataclasses import asdict
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError, safe_open

CHECKPOINT = "checkpoint.safetensors"
LOG = "log.jsonl"

#: Facts that may differ from those of a checkpoint.
FREE = {"step", "accumulate", "log_every", "evaluate_every", "save_every", "workers"}


def write_whole(path, data):
    """Write bytes to ``path`` whole or not at all: to a file beside it, through to the disk, then
    renamed.

    Raises OSError when that fails. What was at ``path`` is still there then.
    """
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise unwritten(path, error.strerror) from error


def unwritten(path, reason):
    """The OSError of a file that could not be written."""
    return OSError(
        f"could not write {path} ({reason}). What was saved before is whole: make room on the "
        "disk, then start the same run again to go on"
    )


def read_log(folder):
    """Rows of ``log.jsonl``, empty where there is none.

    A row is a dict of ``step``, ``loss``, ``gradient_norm``, ``learning_rate`` and the evaluation.
    """
    path = Path(folder) / LOG
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_log(folder, rows):
    """Write the rows of a log, a line each."""
    lines = [json.dumps(row) + "\n" for row in rows]
    write_whole(folder / LOG, "".join(lines).encode())


def facts_of(model, config):
    """What must be the same for a run to go on.

    These are its settings, those of the model, and the shapes of the model's tensors.
    """
    facts = asdict(config)
    settings = getattr(model, "_hub_mixin_config", None) or {}
    for name, value in settings.items():
        facts[f"model.{name}"] = value
    for name, tensor in model.state_dict().items():
        facts[f"the shape of {name}"] = list(tensor.shape)
    return json.loads(json.dumps(facts))  # as they come back from a file: no tuples


def save(folder, model, optimizer, history, facts):
    """Write the checkpoint, and what ``from_pretrained(folder)`` reads."""
    tensors = {"history": history}
    for name, tensor in model.state_dict().items():
        tensors[f"model.{name}"] = tensor
    for index, moments in optimizer.state_dict()["state"].items():
        for name, tensor in moments.items():
            tensors[f"optimizer.{index}.{name}"] = tensor
    for name, tensor in tensors.items():
        tensors[name] = tensor.detach().cpu().clone().contiguous()  # tied weights share no memory
    data = safetensors.torch.save(tensors, {"facts": json.dumps(facts)})
    write_whole(folder / CHECKPOINT, data)
    if hasattr(model, "save_pretrained"):
        export(folder, model)


def export(folder, model):
    """Write what ``model.save_pretrained`` writes, each file whole or not at all."""
    with tempfile.TemporaryDirectory() as beside:
        try:
            model.save_pretrained(beside)
        except (OSError, SafetensorError) as error:
            raise unwritten(beside, error) from error
        for file in Path(beside).iterdir():
            write_whole(folder / file.name, file.read_bytes())


def restore(folder, model, optimizer, facts):
    """Load the checkpoint into model and optimiser; return the number of steps done, and their
    history.

    Raises FileNotFoundError when there is none, and ValueError when it is cut off or of another
    configuration.
    """
    saved, tensors = read_checkpoint(folder)
    for name in sorted((facts.keys() | saved.keys()) - FREE):
        there = saved.get(name)
        here = facts.get(name)
        if there != here:
            raise ValueError(
                f"the checkpoint in {folder} is of another configuration: {name} is {there!s:.80} "
                f"there and {here!s:.80} here. Use the same, or another folder, or start a fresh "
                "run"
            )
    moments = {}
    for key, tensor in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            moments.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
    model.load_state_dict({name: tensors[f"model.{name}"] for name in model.state_dict()})
    return saved["step"], tensors["history"]


def read_checkpoint(folder):
    """The facts and the tensors of a checkpoint."""
    path = folder / CHECKPOINT
    if not path.is_file():
        raise FileNotFoundError(
            f"expected a checkpoint at {path}, found none: check the folder, or start a fresh run"
        )
    try:
        with safe_open(path, "pt") as file:
            facts = json.loads(file.metadata()["facts"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(
            f"expected a whole checkpoint, but {path} ({path.stat().st_size} bytes) is cut off or "
            f"of another kind ({error}): restore it from a copy, or start a fresh run"
        ) from error
    return facts, tensors
