"""The checkpoint: everything that the next step depends on, in one file.

``checkpoint.safetensors`` holds the weights (``model.NAME``), AdamW's moments
(``optimizer.INDEX.NAME``), and the loss and the gradient norm of each step (``history``); where
the best model is kept, its weights too (``best.NAME``). Its metadata has the **facts**, which are
the number of steps done and everything that must be the same for the run to go on, and a checksum
of the whole file.
"""

import hashlib
import inspect
import json
import re
import tempfile
from dataclasses import asdict, is_dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError

from mmcourse.training.folder import unwritten, write_whole
from mmcourse.weights import WEIGHTS, SavedModel

CHECKPOINT = "checkpoint.safetensors"

#: Facts that may differ from those of a checkpoint.
FREE = {
    *("step", "accumulate", "log_every", "evaluate_every", "save_every"),
    *("keep_best", "patience", "workers"),
}

#: What AdamW keeps for each parameter.
MOMENTS = ("step", "exp_avg", "exp_avg_sq")

#: What :mod:`mmcourse.weights` adds to the settings of a model when it saves it.
SAVED_WITH = ("class", "sha256")

BLANK = "0" * 64  # what stands in place of a checksum while it is computed
SEAL = re.compile(rb'"checksum":"([0-9a-f]{64})"')
AGAIN = "restore it from a copy, or start a fresh run"


def facts_of(model, config):
    """What must be the same for a run to go on.

    These are its settings, those of the model, and the shapes of the model's tensors.
    """
    facts = asdict(config)
    for name, value in model_settings(model).items():
        facts[f"model.{name}"] = value
    for name, tensor in model.state_dict().items():
        facts[f"the shape of {name}"] = list(tensor.shape)
    return json.loads(json.dumps(facts))  # as they come back from a file: no tuples


def model_settings(model):
    """What the model was made with, as ``config.json`` has it; empty if there is no such file.

    Raises ValueError when that is too little to make the model again.
    """
    if not hasattr(model, "_hub_mixin_config"):
        return {}
    settings = model._hub_mixin_config or {}
    if is_dataclass(settings):
        return asdict(settings)
    arguments = list(inspect.signature(type(model).__init__).parameters.values())[1:]  # no self
    for argument in arguments:
        is_needed = argument.default is argument.empty
        is_named = argument.kind not in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD)
        if is_needed and is_named and argument.name not in settings:
            raise ValueError(
                f"config.json cannot hold {argument.name!r} of {type(model).__name__}, so nobody "
                "could load the model again: pass a list, a text or a plain number instead of a "
                "set, a generator, an array, a NumPy number or a Path"
            )
    return {name: value for name, value in settings.items() if name not in SAVED_WITH}


def save(folder, model, optimizer, history, facts, best=None):
    """Write the checkpoint; ``best`` has the tensors of the best model so far, if it is kept."""
    tensors = {"history": history}
    for name, tensor in (best or {}).items():
        tensors[f"best.{name}"] = tensor
    for name, tensor in model.state_dict().items():
        tensors[f"model.{name}"] = tensor
    for index, moments in optimizer.state_dict()["state"].items():
        for name, tensor in moments.items():
            tensors[f"optimizer.{index}.{name}"] = tensor
    for name, tensor in tensors.items():
        tensors[name] = tensor.detach().cpu().clone().contiguous()  # tied weights share no memory
    metadata = {"facts": json.dumps(facts), "checksum": BLANK}
    write_whole(folder / CHECKPOINT, seal(safetensors.torch.save(tensors, metadata)))


def export(folder, model):
    """Write what ``from_pretrained(folder)`` reads, if the model has that: whole or not at all.

    A model of the course takes care of that itself, and of its files fitting one another.
    """
    if not hasattr(model, "save_pretrained"):
        return
    if isinstance(model, SavedModel):
        try:
            model.save_pretrained(folder)
        except (OSError, SafetensorError) as error:
            raise unwritten(folder / WEIGHTS, error) from error
        return
    with tempfile.TemporaryDirectory() as beside:
        try:
            model.save_pretrained(beside)
        except (OSError, SafetensorError) as error:
            raise unwritten(beside, error) from error
        for file in Path(beside).iterdir():
            write_whole(folder / file.name, file.read_bytes())


def seal(data):
    """Put the SHA-256 of a file into its place in the file, where ``BLANK`` stands."""
    checksum = hashlib.sha256(data).hexdigest()
    return data.replace(f'"checksum":"{BLANK}"'.encode(), f'"checksum":"{checksum}"'.encode(), 1)


def is_sealed(data):
    """Whether a file has a checksum; ValueError if it has one and is not what it was."""
    found = SEAL.search(data)
    if found is None:
        return False
    blank = data[: found.start(1)] + BLANK.encode() + data[found.end(1) :]
    if hashlib.sha256(blank).hexdigest() != found.group(1).decode():
        raise ValueError("its checksum is of other bytes")
    return True


def restore(folder, model, optimizer, facts):
    """Load the checkpoint into model and optimiser.

    Returns the number of steps done, the history, and the tensors of the best model, or None.
    Raises FileNotFoundError when there is no checkpoint, and ValueError when it is damaged or of
    another configuration. Nothing is loaded then.
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
    problem = problem_of(saved["step"], tensors, model, optimizer, facts["steps"])
    if problem:
        raise ValueError(f"{folder / CHECKPOINT} is damaged: {problem}; {AGAIN}")
    moments = {}
    for key, tensor in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            moments.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
    names = list(model.state_dict())
    model.load_state_dict({name: tensors[f"model.{name}"] for name in names})
    best = None
    if any(key.startswith("best.") for key in tensors):
        best = {name: tensors[f"best.{name}"] for name in names}
    return saved["step"], tensors["history"], best


def read_checkpoint(folder):
    """The facts and the tensors of a checkpoint, whose checksum is right.

    Checkpoints that were written before there were checksums have none, and are taken as they are.
    """
    path = folder / CHECKPOINT
    if not path.is_file():
        raise FileNotFoundError(
            f"expected a checkpoint at {path}, found none: check the folder, or start a fresh run"
        )
    data = path.read_bytes()
    try:
        sealed = is_sealed(data)
        tensors = safetensors.torch.load(data)
        end = 8 + int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8:end])["__metadata__"]
        if not sealed and metadata.keys() != {"facts"}:
            raise ValueError("it has neither a checksum nor the facts of a run alone")
        facts = json.loads(metadata["facts"])
        facts["step"]
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"expected a whole checkpoint, but {path} ({len(data)} bytes) is cut off, damaged or "
            f"of another kind ({error}): {AGAIN}"
        ) from error
    return facts, tensors


def problem_of(step, tensors, model, optimizer, steps):
    """What is wrong with the number of steps or with a tensor, in words; None if nothing is."""
    if type(step) is not int or not 0 <= step <= steps:
        return f"{step!r} steps are done there, expected a whole number from 0 to {steps}"
    has_best = any(name.startswith("best.") for name in tensors)
    expected = {"history": torch.zeros(steps, 2)}
    for name, tensor in model.state_dict().items():
        expected[f"model.{name}"] = tensor
        if has_best:
            expected[f"best.{name}"] = tensor
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, parameter in enumerate(parameters):
        names = [f"optimizer.{index}.{name}" for name in MOMENTS]
        if tensors.keys() & set(names):  # a parameter that was never used has none
            count = torch.zeros((), dtype=torch.float32)
            expected |= dict(zip(names, (count, parameter, parameter), strict=True))
    for name in sorted(expected.keys() | tensors.keys()):
        here = kind_of(expected.get(name))
        there = kind_of(tensors.get(name))
        if here != there:
            return f"{name} is {there} there, expected {here}"
    return None


def kind_of(tensor):
    """Shape and type of a tensor in words."""
    if tensor is None:
        return "absent"
    return f"{str(tensor.dtype).removeprefix('torch.')} of shape {list(tensor.shape)}"
