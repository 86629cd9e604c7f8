"""A checkpoint is whole or not there, and one that does not fit is refused in words that help."""

import os

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from mmcourse.training import CHECKPOINT
from tests.training.runs import Broken, Tiny, losses, run, start, tiny


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
            match=f"{len(content)} bytes. is cut off or of another kind.*start a fresh run",
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
