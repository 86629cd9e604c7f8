"""A checkpoint is whole or not there, and one that does not fit is refused in words that help."""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import PyTorchModelHubMixin
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from mmcourse.training import CHECKPOINT
from mmcourse.training.checkpoint import read_checkpoint
from tests.training.runs import POSIX, Broken, Tiny, losses, run, start, tiny


def test_missing_checkpoint(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="expected a checkpoint at .*found none.*start a fresh run"
    ):
        run(tmp_path, resume=True)


def test_cut_off_checkpoint(tmp_path):
    run(tmp_path)
    path = tmp_path / CHECKPOINT
    data = path.read_bytes()
    lengths = [0, 1, 8, 100, len(data) // 2, len(data) - 1]
    for content in [data[:length] for length in lengths] + [
        b"\x00" * 200,
        b"a text",
        os.urandom(500),
    ]:
        path.write_bytes(content)
        with pytest.raises(
            ValueError,
            match=f"{len(content)} bytes. is cut off, damaged or .*start a fresh run",
        ):
            run(tmp_path)
        assert path.read_bytes() == content  # it is left as evidence
    save_file({"x": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="of another kind"):
        run(tmp_path)
    run(tmp_path, resume=False)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"steps": 13}, "steps is 12 there and 13 here"),
        ({"seed": 1}, "seed is 0 there and 1 here"),
        ({"batch_size": 8}, "batch_size is 4"),
        ({"learning_rate": 0.1}, "learning_rate is 0.02 there and 0.1 here"),
    ],
)
def test_another_configuration(tmp_path, changes, message):
    run(tmp_path)
    with pytest.raises(ValueError, match=f"another configuration: {message}"):
        run(tmp_path, **changes)


@pytest.mark.parametrize(
    "model, message",
    [
        (dict(width=7), "model.width is 6 there and 7 here"),
        (dict(dropout=0.1), "model.dropout is 0.3 there and 0.1"),
        (dict(names=("a", "c")), r"model.names is \['a', 'b'\] there and \['a', 'c'\] here"),
    ],
)
def test_another_model(tmp_path, model, message):
    run(tmp_path)
    other = tiny(**model)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        run(tmp_path, other)
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items())


def test_another_shape_without_a_hub_configuration(tmp_path):
    run(tmp_path, nn.Sequential(nn.Embedding(11, 4), nn.Linear(4, 1), nn.Flatten(0)))
    with pytest.raises(
        ValueError, match=r"the shape of 0.weight is \[11, 4\] there and \[11, 5\] here"
    ):
        run(tmp_path, nn.Sequential(nn.Embedding(11, 5), nn.Linear(5, 1), nn.Flatten(0)))


def contents(folder):
    """The bytes of each file of a run, but for TensorBoard's."""
    files = [path for path in folder.iterdir() if "tfevents" not in path.name]
    return {path.name: path.read_bytes() for path in files}


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_failing_write_leaves_the_last_checkpoint(tmp_path, monkeypatch, call):
    run(tmp_path / "whole")
    with pytest.raises(RuntimeError):
        run(tmp_path / "run", dataset=Broken(4 * 7))
    before = contents(tmp_path / "run")

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if call == "write":
            real = open
            patch.setattr(
                "builtins.open", lambda path, *a: full() if ".part" in str(path) else real(path, *a)
            )
        else:
            patch.setattr(os, call, full)
        with pytest.raises(
            OSError, match="could not write .*No space left on device.*whole: make room"
        ):
            run(tmp_path / "run", log_every=0)
    assert contents(tmp_path / "run") == before
    run(tmp_path / "run")
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        SafetensorError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_failing_export_leaves_the_last_model(tmp_path, monkeypatch, error):
    run(tmp_path / "whole")
    with pytest.raises(RuntimeError):
        run(tmp_path / "run", dataset=Broken(4 * 7))
    before = (tmp_path / "run" / "model.safetensors").read_bytes()

    def full(*_):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Tiny, "save_pretrained", full)
        with pytest.raises(
            OSError, match="could not write .*No space left on device.*whole: make room"
        ):
            run(tmp_path / "run")
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == before
    run(tmp_path / "run")
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


@POSIX
def test_out_of_space(tmp_path):
    """No file may grow beyond a limit, as on a full disk; the log fits, the checkpoint does not."""
    with pytest.raises(RuntimeError):
        run(tmp_path / "run", dataset=Broken(4 * 7))
    before = (tmp_path / "run" / CHECKPOINT).read_bytes()
    child = start(tmp_path / "run", limit=len(before) - 100)
    _, error = child.communicate(timeout=300)
    assert child.returncode == 1
    for words in ("could not write", "File too large", "make room"):
        assert words in error
    assert (tmp_path / "run" / CHECKPOINT).read_bytes() == before
    assert not list((tmp_path / "run").glob("*.part"))
    run(tmp_path / "run")
    run(tmp_path / "whole")
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


def rewrite(folder, change):
    """Change facts and tensors of a checkpoint; it has no checksum then, as in older versions."""
    facts, tensors = read_checkpoint(folder)
    change(facts, tensors)
    save_file(tensors, folder / CHECKPOINT, {"facts": json.dumps(facts)})


def test_a_checkpoint_without_a_checksum_is_taken(tmp_path):
    """Earlier versions wrote none."""
    run(tmp_path / "whole")
    with pytest.raises(RuntimeError):
        run(tmp_path / "run", dataset=Broken(4 * 7))
    rewrite(tmp_path / "run", lambda facts, tensors: None)
    assert b"checksum" not in (tmp_path / "run" / CHECKPOINT).read_bytes()
    run(tmp_path / "run")
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


def test_each_flipped_bit_is_noticed(tmp_path):
    run(tmp_path, tiny(width=2), steps=3, warmup=0)
    path = tmp_path / CHECKPOINT
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1 << place % 8]) + data[place + 1 :])
        with pytest.raises(ValueError, match="damaged or of another kind"):
            read_checkpoint(tmp_path)
    path.write_bytes(data)
    read_checkpoint(tmp_path)


def lose(name):
    return lambda facts, tensors: tensors.pop(name)


def put(name, tensor):
    return lambda facts, tensors: tensors.update({name: tensor})


@pytest.mark.parametrize(
    "change, words",
    [
        *(
            (lambda facts, _, step=step: facts.update(step=step), f"{step!r} steps are done there")
            for step in ("abc", -5, 10**9, 13, 2.5, None, True)
        ),
        (lose("history"), r"history is absent there, expected float32 of shape \[12, 2\]"),
        (lose("model.layers.0.weight"), "model.layers.0.weight is absent there"),
        (lose("optimizer.1.exp_avg"), "optimizer.1.exp_avg is absent there, expected float32"),
        (lose("optimizer.1.step"), "optimizer.1.step is absent there"),
        (put("optimizer.1.exp_avg", torch.zeros(2)), r"optimizer.1.exp_avg is .*\[2\] there"),
        (put("optimizer.99.exp_avg", torch.zeros(2)), "optimizer.99.exp_avg is .*expected absent"),
        (put("model.extra", torch.zeros(2)), "model.extra is .* there, expected absent"),
        (put("model.layers.3.bias", torch.zeros(1).half()), "model.layers.3.bias is float16 of"),
        (put("history", torch.zeros(3, 2)), r"history is float32 of shape \[3, 2\] there"),
    ],
)
def test_a_wrong_fact_is_named(tmp_path, change, words):
    run(tmp_path)
    rewrite(tmp_path, change)
    model = tiny(seed=3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    path = re.escape(str(tmp_path / CHECKPOINT))
    with pytest.raises(ValueError, match=f"^{path} .*{words}.*start a fresh run$") as error:
        run(tmp_path, model)
    assert "\n" not in str(error.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_checkpoint_without_a_step(tmp_path):
    run(tmp_path)
    _, tensors = read_checkpoint(tmp_path)
    for facts in ("{}", "[]", "7", "cut"):
        save_file(tensors, tmp_path / CHECKPOINT, {"facts": facts})
        with pytest.raises(ValueError, match="damaged or of another kind.*start a fresh run"):
            run(tmp_path)


class Named(Tiny):
    def __init__(self, names, *, width=6):
        super().__init__(width)
        self.names = names


@pytest.mark.parametrize(
    "names",
    [{"a", "b"}, (name for name in "ab"), np.arange(2), np.int64(3), Path("a")],
    ids=lambda names: type(names).__name__,
)
def test_a_model_that_could_not_be_loaded_is_not_trained(tmp_path, names):
    """What JSON cannot hold is left out of config.json, which is noticed only when one loads it."""
    model = Named(names)
    with pytest.raises(ValueError, match="config.json cannot hold 'names' of Named.*pass a list"):
        run(tmp_path / "run", model)
    assert not (tmp_path / "run" / CHECKPOINT).exists()


@dataclass
class Settings:
    width: int = 6
    dropout: float = 0.3


class Configured(Tiny, PyTorchModelHubMixin):
    def __init__(self, config: Settings):
        super().__init__(config.width, config.dropout)


def test_a_model_with_a_configuration_object(tmp_path):
    torch.manual_seed(0)
    run(tmp_path, Configured(Settings()))
    with pytest.raises(ValueError, match="model.dropout is 0.3 there and 0.1 here"):
        run(tmp_path, Configured(Settings(dropout=0.1)))
