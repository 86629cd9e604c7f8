"""The loop is plain PyTorch's; log, evaluation and folder are what they are said to be."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from mmcourse.training import (
    CHECKPOINT,
    LOG,
    TrainingConfig,
    learning_rate_at,
    parameter_groups,
    read_log,
)
from mmcourse.training.folder import LOCK
from tests.training.runs import Endless, Tiny, loss, losses, run, tiny


def test_the_loop_equals_plain_pytorch(tmp_path):
    """The same steps, written out with PyTorch's own AdamW and clipping, give the same losses."""
    rows = run(tmp_path, tiny(dropout=0.0), clip=7.5, weight_decay=0.2)
    assert sum(row["gradient_norm"] > 7.5 for row in rows) == 7, (
        "some steps are clipped and some are not"
    )
    model, data = tiny(dropout=0.0), Endless()
    config = TrainingConfig(12, 4, 0.02, 2)
    optimizer = torch.optim.AdamW(parameter_groups(model, 0.2))
    for step in range(12):
        x, y = zip(*(data[i] for i in range(4 * step, 4 * step + 4)), strict=True)
        value = ((model(torch.tensor(x)) - torch.tensor(y)) ** 2).mean()
        optimizer.zero_grad()
        value.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 7.5)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, config)
        optimizer.step()
        assert rows[step]["loss"] == pytest.approx(value.item(), rel=1e-5)
        assert rows[step]["gradient_norm"] == pytest.approx(norm.item(), rel=1e-4)
        assert rows[step]["learning_rate"] == pytest.approx(learning_rate_at(step, config))


def test_it_learns_and_ends_in_evaluation_mode(tmp_path):
    model = tiny(dropout=0.0)
    pairs = [(x, float(x % 3)) for x in range(11)]
    rows = run(tmp_path, model, pairs, steps=150, batch_size=11, learning_rate=0.05, log_every=50)
    assert rows[-1]["loss"] < 0.02 < rows[0]["loss"]
    assert not model.training


def test_rows_hold_means_since_the_row_before(tmp_path):
    each = [row["loss"] for row in run(tmp_path / "each")]
    rows = run(tmp_path / "some", log_every=5)
    assert [row["step"] for row in rows] == [5, 10, 12]
    expected = [np.mean(each[:5]), np.mean(each[5:10]), np.mean(each[10:])]
    assert [row["loss"] for row in rows] == pytest.approx(expected, rel=1e-6)


def test_evaluation_changes_nothing_and_is_logged(tmp_path):
    def evaluate(model):
        assert not model.training and not torch.is_grad_enabled()
        return {"score": torch.rand(()).item()}

    rows = run(tmp_path / "with", evaluate=evaluate, evaluate_every=5)
    run(tmp_path / "without")
    assert losses(tmp_path / "with") == losses(tmp_path / "without")
    assert [row["step"] for row in rows if "score" in row] == [5, 10, 12]


def test_seeds_differ(tmp_path):
    run(tmp_path / "0", seed=0)
    run(tmp_path / "1", seed=1)
    assert losses(tmp_path / "0") != losses(tmp_path / "1")  # the dropout differs


def test_workers_see_the_same_data(tmp_path):
    run(tmp_path / "0")
    run(tmp_path / "2", workers=2)
    assert losses(tmp_path / "0") == losses(tmp_path / "2")


def test_bfloat16_after_full_precision_in_one_process(tmp_path):
    kinds = []

    def watched(model, batch):
        kinds.append(torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype)
        return loss(model, batch)

    for precision, kind in (("no", torch.float32), ("bf16", torch.bfloat16), ("no", torch.float32)):
        kinds.clear()
        rows = run(
            tmp_path / precision,
            objective=watched,
            mixed_precision=precision,
            resume=False,
            steps=3,
        )
        assert set(kinds) == {kind} and math.isfinite(rows[-1]["loss"])


def test_tensorboard_reads_the_log(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows = run(tmp_path)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [round(event.value, 4) for event in events.Scalars("loss")] == [
        round(row["loss"], 4) for row in rows
    ]


def test_folder_is_what_from_pretrained_reads(tmp_path):
    model = tiny(width=5)
    run(tmp_path, model)
    loaded = Tiny.from_pretrained(tmp_path).eval()
    assert torch.equal(loaded(torch.arange(11)), model(torch.arange(11)))
    names = {
        path.name for path in tmp_path.iterdir() if not path.name.startswith("events.out.tfevents")
    }
    assert names - {LOCK} == {
        CHECKPOINT,
        LOG,
        "model.safetensors",
        "config.json",
        "README.md",
    }


def test_progress_is_for_terminals_only(tmp_path, capfd):
    run(tmp_path)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "number",
    [np.float32(0.5), np.float64(0.5), np.array(0.5), torch.tensor(0.5), np.int64(3), 3, True],
)
def test_evaluate_may_return_numbers_of_numpy_and_pytorch(tmp_path, number):
    rows = run(tmp_path, evaluate=lambda model: {"score": number})
    assert read_log(tmp_path) == rows
    assert rows[-1]["score"] == number and type(rows[-1]["score"]) in (int, float, bool)


@pytest.mark.parametrize(
    "found, message",
    [
        ({"score": [0.5]}, r"single numbers, got 'score': \[0.5\]"),
        ({"score": np.zeros(2)}, r"single numbers, got 'score': \[0.0, 0.0\]"),
        ({"score": torch.zeros(1)}, r"single numbers, got 'score': \[0.0\]"),
        ({"score": "good"}, "single numbers, got 'score': 'good'"),
        ({"score": None}, "single numbers, got 'score': None"),
        ({1: 0.5}, "names and single numbers, got 1: 0.5"),
        (0.5, "evaluate must return a dict of names and numbers, got 0.5"),
        (None, "evaluate must return a dict of names and numbers, got None"),
        ({"step": 7}, "the log has a 'step' of its own"),
        ({"loss": 7.0}, "the log has a 'loss' of its own"),
    ],
)
def test_evaluate_that_returns_something_else(tmp_path, found, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path, evaluate=lambda model: found)
    assert read_log(tmp_path)[-1]["step"] == 11


def test_a_dataset_without_samples(tmp_path):
    with pytest.raises(ValueError, match="the dataset has no samples: check its folder"):
        run(tmp_path / "run", dataset=Empty())
    assert not (tmp_path / "run").exists()


class Empty:
    def __len__(self):
        return 0

    def __bool__(self):
        return True


def test_the_mode_after_an_evaluation_is_that_of_training(tmp_path):
    modes = []

    def watched(model, batch):
        modes.append(model.training)
        return loss(model, batch)

    run(tmp_path, objective=watched, evaluate=lambda model: {}, evaluate_every=2)
    assert modes == [True] * 12
