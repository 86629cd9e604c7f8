"""The learning rate is PyTorch's, the right weights decay, and each epoch has each sample once."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from mmcourse.training import (
    TrainingConfig,
    learning_rate_at,
    parameter_groups,
    step_indices,
)
from tests.training.runs import Tiny, run


@pytest.mark.parametrize("steps, warmup", [(100, 10), (7, 0), (50, 49)])
def test_learning_rate_agrees_with_pytorch(steps, warmup):
    config = TrainingConfig(steps=steps, batch_size=1, learning_rate=0.3, warmup=warmup)
    rates = [learning_rate_at(step, config) for step in range(steps)]
    for step in range(warmup):
        assert rates[step] == pytest.approx(0.3 * (step + 1) / warmup)
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - warmup)
    for step in range(warmup, steps):
        assert rates[step] == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        schedule.step()


def test_after_a_restart_the_rate_falls_again_from_half():
    config = TrainingConfig(steps=47, batch_size=1, learning_rate=0.3, warmup=5, restarts=(20, 31))
    rates = [learning_rate_at(step, config) for step in range(47)]
    for first, last, peak in [(5, 20, 0.3), (20, 31, 0.15), (31, 47, 0.075)]:
        alone = TrainingConfig(steps=last - first, batch_size=1, learning_rate=peak)
        assert rates[first:last] == pytest.approx(
            [learning_rate_at(step, alone) for step in range(last - first)]
        )


@pytest.mark.parametrize("restarts", [(20, 10), (10, 10), (50,), (3,)])
def test_a_restart_out_of_place_is_refused(restarts):
    with pytest.raises(ValueError, match="restarts must rise|warmup must end"):
        TrainingConfig(steps=50, batch_size=1, learning_rate=0.3, warmup=5, restarts=restarts)


def test_only_matrices_of_layers_decay():
    model = Tiny()
    model.places = nn.Parameter(torch.zeros(1, 5, 6))
    model.tied = nn.Linear(6, 11)
    model.tied.weight = model.embedding.weight
    model.frozen = nn.Linear(3, 3).requires_grad_(False)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decaying, others = parameter_groups(model, 0.1)
    assert {names[id(p)] for p in decaying["params"]} == {"layers.0.weight", "layers.3.weight"}
    assert decaying["weight_decay"] == 0.1 and others["weight_decay"] == 0
    together = [names[id(p)] for p in decaying["params"] + others["params"]]
    assert len(together) == len(set(together))
    assert set(together) == {name for name in names.values() if not name.startswith("frozen")}


def test_an_endless_dataset_is_read_in_order():
    config = TrainingConfig(steps=5, batch_size=3, learning_rate=1)
    batches = list(step_indices(None, config))
    assert batches == [[3 * s, 3 * s + 1, 3 * s + 2] for s in range(5)]
    assert list(step_indices(None, config, first=3)) == batches[3:]


@pytest.mark.parametrize("length, batch_size", [(10, 4), (7, 7), (3, 8), (1, 2), (1000, 16)])
def test_a_finite_dataset_is_shuffled_each_epoch(length, batch_size):
    config = TrainingConfig(steps=3 * length, batch_size=batch_size, learning_rate=1, seed=5)
    batches = list(step_indices(length, config))
    flat = sum(batches, [])
    epochs = [flat[start : start + length] for start in range(0, len(flat), length)]
    assert all(sorted(epoch) == list(range(length)) for epoch in epochs[:-1])
    assert length < 7 or (epochs[0] != epochs[1] and epochs[0] != list(range(length)))
    for first in (1, length, 3 * length - 1):
        assert list(step_indices(length, config, first=first)) == batches[first:]


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(steps=0), "above 0"),
        (dict(batch_size=-1), "above 0"),
        (dict(learning_rate=0.0), "above 0"),
        (dict(clip=0), "above 0"),
        (dict(accumulate=0), "above 0"),
        (dict(warmup=12), "12 of 12"),
        (dict(warmup=-1), "-1 of 12"),
        (dict(mixed_precision="fp8"), "'no' or 'bf16', got 'fp8'"),
        (dict(seed=-1), "seed must lie between 0 and .*, got -1"),
        (dict(seed=2**40), "seed must lie between 0 and "),
        (dict(learning_rate=math.nan), "learning_rate must be above 0, got nan"),
        (dict(learning_rate="fast"), "learning_rate must be a number, got 'fast'"),
        (dict(steps=12.0), "steps must be a whole number, got 12.0"),
        (dict(batch_size="4"), "batch_size must be a whole number, got '4'"),
        (dict(workers=None), "workers must be a whole number, got None"),
        (dict(restarts=(3, 4.5)), r"restarts must be a tuple of whole numbers, got \(3, 4.5\)"),
        (dict(restarts=5), "restarts must be a tuple of whole numbers, got 5"),
    ],
)
def test_bad_settings(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path, **changes)


def test_numbers_of_numpy_and_pytorch_are_taken(tmp_path):
    """A sweep over np.arange or torch.logspace gives such; a checkpoint cannot hold them."""
    plain = run(tmp_path, steps=12, learning_rate=0.25, restarts=(5, 9), seed=3)
    others = {
        "steps": np.int64(12),
        "learning_rate": torch.tensor(0.25),
        "restarts": np.array([5, 9]),
        "seed": np.uint8(3),
        "clip": np.float32(1),
    }
    assert run(tmp_path, **others) == plain
