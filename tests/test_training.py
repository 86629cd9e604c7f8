"""Runs that must survive something bad are subprocesses of this file: ``python test_training.py FOLDER {json}``."""

import json
import math
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import PyTorchModelHubMixin
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from mmcourse import training
from mmcourse.captioning import Captioner
from mmcourse.data import Practice
from mmcourse.data.language import vocabulary
from mmcourse.training import (
    TrainingConfig,
    cut,
    learning_rate_at,
    parameter_groups,
    read_log,
    step_indices,
    train,
)


@pytest.fixture(autouse=True)
def one_thread():
    """As in the subprocesses: losses are equal bit for bit with as many threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class Tiny(nn.Module, PyTorchModelHubMixin):
    """A regression with dropout, an embedding and a norm."""

    def __init__(self, width=6, dropout=0.3, names=("a", "b")):
        super().__init__()
        self.embedding = nn.Embedding(11, width)
        self.layers = nn.Sequential(
            nn.Linear(width, width), nn.LayerNorm(width), nn.Dropout(dropout), nn.Linear(width, 1)
        )

    def forward(self, x):
        return self.layers(self.embedding(x)).squeeze(-1)


class Endless:
    def __getitem__(self, index):
        return index % 11, float(index * index % 5)


def loss(model, batch):
    x, y = batch
    return ((model(x) - y.float()) ** 2).mean()


def tiny(seed=0, **options):
    torch.manual_seed(seed)
    return Tiny(**options)


def run(folder, model=None, dataset=None, resume=None, evaluate=None, objective=loss, collate=None, count=None,
        **changes):  # fmt: skip
    settings = (
        dict(steps=12, batch_size=4, learning_rate=0.02, warmup=2, log_every=1, save_every=5)
        | changes
    )
    return train(
        model or tiny(),
        dataset or Endless(),
        objective,
        TrainingConfig(**settings),
        folder,
        resume=resume,
        evaluate=evaluate,
        collate=collate,
        count=count,
    )


def losses(folder):
    return [(row["step"], row["loss"], row["gradient_norm"]) for row in read_log(folder)]


def saved_step(folder):
    with safe_open(Path(folder) / training.CHECKPOINT, "pt") as file:
        return json.loads(file.metadata()["facts"])["step"]


# ---- schedule, groups, order of the samples


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
    ],
)
def test_bad_settings(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        run(tmp_path, **changes)


# ---- the loop itself


def test_the_loop_equals_plain_pytorch(tmp_path):
    """The same steps written out with PyTorch's own AdamW, scheduler formula and clipping give the same losses."""
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
    assert names == {
        training.CHECKPOINT,
        training.LOG,
        "model.safetensors",
        "config.json",
        "README.md",
    }


def test_progress_is_for_terminals_only(tmp_path, capfd):
    run(tmp_path)
    assert capfd.readouterr().err == ""


# ---- a batch in pieces, one after another: several processes do the same beside one another (below)


@pytest.mark.parametrize("length, pieces", [(8, 2), (5, 2), (7, 3), (4, 4), (3, 1), (64, 5)])
def test_pieces_are_neighbours_in_order(length, pieces):
    parts = cut(list(range(length)), pieces)
    assert len(parts) == pieces and sum(parts, []) == list(range(length))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


class Sentences:
    """Sentences of unequal length, filled up with 0: the mean over words is no mean over sentences."""

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        x = torch.zeros(7, dtype=torch.long)
        length = rng.integers(1, 8)
        x[:length] = torch.tensor(rng.integers(1, 9, length))
        return x, x.flip(0).sort(descending=True).values


def next_word(model, batch):
    x, y = batch
    return nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten(), ignore_index=0)


def two_terms(model, batch):
    x, y = batch
    return torch.stack([next_word(model, batch), model(x).square().mean()])


def words(batch):
    return (batch[1] != 0).sum()


def words_and_numbers(batch):
    return torch.stack([words(batch), torch.tensor(batch[0].numel())])


def reader(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 9))


@pytest.mark.parametrize("accumulate", [2, 3, 5])
@pytest.mark.parametrize("objective, count", [(next_word, words), (two_terms, words_and_numbers)])
def test_pieces_have_the_losses_of_the_whole(tmp_path, accumulate, objective, count):
    options = dict(dataset=Sentences(), objective=objective, count=count, batch_size=5, clip=0.3)
    run(tmp_path / "whole", reader(), **options)
    run(tmp_path / "pieces", reader(), accumulate=accumulate, **options)
    assert losses(tmp_path / "pieces") == [
        pytest.approx(row, rel=1e-5) for row in losses(tmp_path / "whole")
    ]


def test_a_mean_over_samples_needs_no_count(tmp_path):
    run(tmp_path / "whole", tiny(dropout=0), batch_size=5)
    run(tmp_path / "pieces", tiny(dropout=0), batch_size=5, accumulate=2)
    assert losses(tmp_path / "pieces") == [
        pytest.approx(row, rel=1e-5) for row in losses(tmp_path / "whole")
    ]


def test_without_a_count_a_mean_over_words_is_another(tmp_path):
    run(tmp_path / "whole", reader(), Sentences(), objective=next_word)
    run(tmp_path / "pieces", reader(), Sentences(), objective=next_word, accumulate=2)
    assert losses(tmp_path / "pieces")[0][1] != pytest.approx(
        losses(tmp_path / "whole")[0][1], rel=1e-3
    )


@pytest.mark.parametrize("count", [None, words_and_numbers])
def test_several_terms_are_summed(tmp_path, count):
    run(tmp_path / "terms", reader(), Sentences(), objective=two_terms, count=count)
    run(tmp_path / "sum", reader(), Sentences(), objective=lambda *both: two_terms(*both).sum())
    assert losses(tmp_path / "terms") == [
        pytest.approx(row, rel=1e-6) for row in losses(tmp_path / "sum")
    ]


def test_each_piece_has_its_own_dropout(tmp_path):
    """The two samples of a batch are equal: with the same random numbers the pieces would be equal too."""
    seen = []

    def watched(model, batch):
        seen.append(model(batch[0]).detach())
        return loss(model, batch)

    run(
        tmp_path,
        tiny(),
        [(3, 1.0), (3, 1.0)],
        objective=watched,
        steps=3,
        batch_size=2,
        warmup=0,
        accumulate=2,
    )
    assert len(seen) == 6 and not any(torch.equal(seen[i], seen[i + 1]) for i in range(0, 6, 2))


def test_the_captioner_in_pieces(tmp_path, monkeypatch):
    """Two terms over unequal numbers of words and cells, and half of the pictures have no caption."""
    monkeypatch.setattr("mmcourse.captioning.restyle", lambda pixels: pixels)
    for accumulate in (1, 2):
        train_captioner(tmp_path / str(accumulate), accumulate=accumulate)
    assert losses(tmp_path / "1") == [
        pytest.approx(row, rel=1e-5) for row in losses(tmp_path / "2")
    ]
    model = captioner().eval()
    batch = model.collate([Practice()[index] for index in range(6)])
    torch.testing.assert_close(model.loss(batch), model.terms(batch).sum())


def captioner():
    torch.manual_seed(0)
    return Captioner(
        vocabulary(), width=8, heads=2, decoder_layers=1, channels=[8, 8, 8], blocks=[0, 0, 0]
    )


def train_captioner(folder, **changes):
    model = captioner()
    return run(
        folder,
        model,
        Practice(),
        objective=Captioner.terms,
        collate=model.collate,
        count=model.counts,
        **{"steps": 3, "batch_size": 6, "learning_rate": 1e-3} | changes,
    )


def test_a_batch_has_a_sample_for_each_piece(tmp_path):
    with pytest.raises(ValueError, match="batch_size must be at least 5.* accumulate 5, got 4"):
        run(tmp_path, accumulate=5)


# ---- going on


@pytest.mark.parametrize("save_every", [1, 5, 0])
def test_a_finished_run_is_not_run_again(tmp_path, save_every):
    rows = run(tmp_path, save_every=save_every)
    model = tiny(seed=1)
    assert run(tmp_path, model, Broken(0), save_every=save_every) == rows
    assert torch.equal(model.embedding.weight, Tiny.from_pretrained(tmp_path).embedding.weight)


class Broken(Endless):
    """Fails from one index on, as a run would that is cut off there."""

    def __init__(self, last):
        self.last = last

    def __getitem__(self, index):
        if index >= self.last:
            raise RuntimeError("cut off")
        return super().__getitem__(index)


@pytest.mark.parametrize("stop", [1, 4, 5, 6, 11])
@pytest.mark.parametrize("log_every", [1, 4])
def test_resumed_losses_are_the_same(tmp_path, stop, log_every):
    run(tmp_path / "whole", log_every=log_every)
    with pytest.raises(RuntimeError, match="cut off"):
        run(tmp_path / "cut", dataset=Broken(4 * stop), log_every=log_every)
    assert saved_step(tmp_path / "cut") == stop // 5 * 5
    run(
        tmp_path / "cut", tiny(seed=9), resume=True, log_every=log_every
    )  # other weights at first: all must come back
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")


def test_resume_of_a_shuffled_dataset_with_workers(tmp_path):
    data = [(x % 11, float(x)) for x in range(9)]
    run(tmp_path / "whole", dataset=data)
    with pytest.raises(FloatingPointError):
        run(tmp_path / "cut", dataset=data, objective=explode_at(8))
    run(tmp_path / "cut", dataset=data, workers=2, log_every=3, save_every=2)  # these may change
    whole = dict((step, value) for step, value, _ in losses(tmp_path / "whole"))
    assert losses(tmp_path / "cut")[-1][1] == pytest.approx(
        np.mean([whole[10], whole[11], whole[12]]), rel=1e-6
    )


def test_a_run_may_go_on_in_other_pieces(tmp_path):
    run(tmp_path / "whole", tiny(dropout=0))
    with pytest.raises(RuntimeError):
        run(tmp_path / "cut", tiny(dropout=0), Broken(4 * 7))
    run(tmp_path / "cut", tiny(dropout=0), accumulate=2)
    near(tmp_path / "cut", tmp_path / "whole")


def test_tensorboard_forgets_what_was_done_again(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with pytest.raises(RuntimeError):
        run(tmp_path, dataset=Broken(4 * 7))
    run(tmp_path)
    events = EventAccumulator(str(tmp_path)).Reload().Scalars("loss")
    assert [event.step for event in events] == list(range(1, 13))


def test_fresh_run_forgets(tmp_path):
    run(tmp_path, seed=3)
    run(tmp_path, resume=False)
    run(tmp_path / "other")
    assert losses(tmp_path) == losses(tmp_path / "other")


# ---- what goes wrong


def explode_at(step, value=math.nan):
    count = [0]

    def objective(model, batch):
        count[0] += 1
        return loss(model, batch) * (value if count[0] == step else 1)

    return objective


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("log_every", [1, 4, 0])
def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, value, log_every):
    with pytest.raises(FloatingPointError, match="^step 8: .*(nan|inf).*lower the learning rate"):
        run(tmp_path, objective=explode_at(8, value), log_every=log_every)
    assert saved_step(tmp_path) == 5
    assert all(math.isfinite(row["loss"]) for row in read_log(tmp_path))
    run(tmp_path)
    run(tmp_path / "other")
    assert losses(tmp_path)[-1] == losses(tmp_path / "other")[-1] or log_every != 1


def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path):
    count = [0]

    def steep(model, batch):  # the slope of the root is infinite at 0, and 0 times that is NaN
        count[0] += 1
        return loss(model, batch) + (
            (0 * model(batch[0])).abs().sqrt().sum() if count[0] == 8 else 0
        )

    with pytest.raises(
        FloatingPointError, match="^step 8: loss and gradient norm are .[0-9.]+, nan"
    ):
        run(tmp_path, objective=steep, log_every=0)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError("Unable to allocate 9 PiB for an array"),
        MemoryError(),
        None,
    ],
)
def test_out_of_memory(tmp_path, error):
    """None asks PyTorch for what no machine has."""
    count = [0]

    def greedy(model, batch):
        count[0] += 1
        if count[0] < 8:
            return loss(model, batch)
        if error:
            raise error
        return torch.empty(2**55).sum()

    with pytest.raises(
        MemoryError,
        match="batch_size 4 and accumulate 1: take a smaller batch_size, or accumulate=2",
    ):
        run(tmp_path, objective=greedy)
    assert saved_step(tmp_path) == 5


def test_other_errors_pass_unchanged(tmp_path):
    def wrong(model, batch):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="^mat1 and mat2"):
        run(tmp_path, objective=wrong)


def test_missing_checkpoint(tmp_path):
    with pytest.raises(
        FileNotFoundError, match="expected a checkpoint at .*found none.*start a fresh run"
    ):
        run(tmp_path, resume=True)


def test_cut_off_checkpoint(tmp_path):
    run(tmp_path)
    path = tmp_path / training.CHECKPOINT
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


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_failing_write_leaves_the_last_checkpoint(tmp_path, monkeypatch, call):
    run(tmp_path / "whole")
    with pytest.raises(RuntimeError):
        run(tmp_path / "run", dataset=Broken(4 * 7))
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}

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
    after = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    assert {name: data for name, data in after.items() if "tfevents" not in name} == {
        name: data for name, data in before.items() if "tfevents" not in name
    }
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


# ---- runs in a process of their own, killed, interrupted and out of space


LAUNCH = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1",
          "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0")  # fmt: skip


def start(folder, *launch, **changes):
    """Train in a subprocess; ``changes`` are settings, and of ``main`` below."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(training.__file__).parents[2]),
    }
    return subprocess.Popen(
        [sys.executable, *launch, __file__, str(folder), json.dumps(changes)],
        env=environment | {"CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


class Slow(Endless):
    """Takes so many seconds for a sample."""

    def __init__(self, pause):
        self.pause = pause

    def __getitem__(self, index):
        time.sleep(self.pause)
        return super().__getitem__(index)


def main(folder, kills=(), limit=0, pause=0.0, jobs=False, **changes):
    """Train in ``folder``, or do the ``jobs``. With ``kills``, children train, in a folder for each list of numbers.

    A child dies by SIGKILL at the event that its number names, and the next one goes on; the last one lives.
    """
    torch.set_num_threads(1)
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if jobs:
        return do_jobs(Path(folder))
    if not kills:
        return run(folder, dataset=Slow(pause), **changes)
    run(Path(folder) / "warm", steps=3)  # so that the children find everything imported
    for number, events in enumerate(kills):
        for event in [*events, 10**9]:
            if not os.fork():
                die_at(event)
                run(Path(folder) / str(number), **changes)
                os._exit(0)
            ended = os.wait()[1]
            assert ended == 0 if event == 10**9 else os.WTERMSIG(ended) == signal.SIGKILL


def die_at(event):
    """Make this process kill itself at an event: a step begins, a file is half written, reaches the disk, is named."""
    count = [0]

    def counted(real, half=False):
        def call(*arguments, **options):
            count[0] += 1
            if count[0] == event:
                if half:
                    path, data = arguments
                    path.with_name(path.name + ".part").write_bytes(data[: len(data) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        return call

    training.write_whole = counted(training.write_whole, half=True)
    os.fsync, os.replace = counted(os.fsync), counted(os.replace)
    torch.manual_seed = counted(torch.manual_seed)


def test_killed_anywhere_it_goes_on_to_the_same_losses(tmp_path):
    """Twenty SIGKILLs: at the beginning of steps, in the middle of a file, before it is on the disk or has its name."""
    rng = random.Random(0)
    settings = {"steps": 30, "save_every": 3, "batch_size": 3}
    kills = [[rng.randint(1, 40) for _ in range(4)] for _ in range(5)]
    run(tmp_path / "whole", **settings)
    child = start(tmp_path, kills=kills, **settings)
    _, error = child.communicate(timeout=300)
    assert child.returncode == 0, error
    for number, events in enumerate(kills):
        assert losses(tmp_path / str(number)) == losses(tmp_path / "whole"), events


def test_interrupted_it_finishes_the_step_and_goes_on(tmp_path):
    settings, handler = (
        {"steps": 40, "save_every": 0, "workers": 1},
        signal.getsignal(signal.SIGINT),
    )
    child = start(tmp_path / "run", pause=0.02, **settings)
    wait_for_rows(tmp_path / "run", 3)
    os.killpg(child.pid, signal.SIGINT)  # as Ctrl-C does, which reaches the worker too
    _, error = child.communicate(timeout=300)
    step = saved_step(tmp_path / "run")
    assert 3 <= step < 40 and len(read_log(tmp_path / "run")) == step
    assert (
        f"KeyboardInterrupt: stopped after step {step} of 40" in error
        and "start the same run again" in error
    )
    run(tmp_path / "run", **settings)
    run(tmp_path / "whole", **settings)
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    assert signal.getsignal(signal.SIGINT) is handler


def test_an_interrupt_between_rows_stops_the_run_too(tmp_path):
    count = [0]

    def interrupted(model, batch):
        count[0] += 1
        if count[0] == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return loss(model, batch)

    with pytest.raises(KeyboardInterrupt, match="stopped after step 3 of 12"):
        run(tmp_path, objective=interrupted, log_every=0, save_every=0)
    assert saved_step(tmp_path) == 3


def test_a_second_interrupt_stops_at_once(tmp_path):
    def impatient(model, batch):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the step went on")

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, objective=impatient)
    assert saved_step(tmp_path) == 0


# ---- two processes


class Branched(Tiny):
    """``extra`` serves some samples only, ``never`` none: a process has gradients that the other has not."""

    def __init__(self):
        super().__init__(dropout=0.0)
        self.extra, self.never = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x):
        seen = self.embedding(x)
        return self.layers(
            seen + self.extra(seen) * (x == 3)[:, None] if (x == 3).any() else seen
        ).squeeze(-1)


def branched():
    torch.manual_seed(0)
    return Branched()


def do_jobs(folder):
    """What both processes of the launch do; each writes what it saw."""
    rank = int(os.environ["RANK"])
    job = lambda name, *arguments, **options: (name, run(folder / name, *arguments, **options))  # noqa: E731
    said = dict([
        job("plain", tiny(dropout=0, seed=7 * rank), batch_size=5, evaluate=lambda model: {"rank": rank}),
        job("words", reader(), Sentences(), objective=two_terms, count=words_and_numbers, batch_size=5, clip=0.3),
        job("dropout", tiny(), batch_size=6),
        job("shuffled", tiny(dropout=0), [(x % 11, float(x)) for x in range(9)], workers=1),
        job("branches", branched()), job("onward", tiny(seed=5 + rank), Broken(10**9), save_every=4)])  # fmt: skip
    train_captioner(folder / "captioner")
    messages = []
    for place, model, options in (
        (folder / "cut", tiny(), {"objective": explode_at(8)}),
        (folder / ("apart" if rank else "plain"), tiny(dropout=0), {"batch_size": 5}),
    ):
        try:
            run(place, model, **options)
        except (FloatingPointError, ValueError) as error:
            messages.append(f"{type(error).__name__} {error}")
    (folder / f"rank-{rank}.json").write_text(
        json.dumps([said, messages, os.environ.get("WORLD_SIZE")])
    )


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A folder in which two processes, started by `accelerate launch`, did the jobs."""
    folder = tmp_path_factory.mktemp("two")
    with pytest.raises(RuntimeError, match="cut off"):  # one process begins, two go on
        run(folder / "onward", dataset=Broken(4 * 7), accumulate=2, save_every=4)
    child = start(folder, *LAUNCH, jobs=True)
    output, error = child.communicate(timeout=600)
    assert child.returncode == 0, output + error
    return folder, [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in (0, 1)]


def near(first, second):
    assert losses(first) == [pytest.approx(row, rel=1e-5) for row in losses(second)]


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(two, tmp_path):
    """Equal shares or not, a mean over samples or over words; the dropout is that of as many pieces in one process."""
    folder, facts = two
    assert [world for _, _, world in facts] == ["2", "2"]
    run(tmp_path / "plain", tiny(dropout=0), batch_size=5)
    options = dict(objective=two_terms, count=words_and_numbers, batch_size=5, clip=0.3)
    run(tmp_path / "words", reader(), Sentences(), **options)
    run(tmp_path / "dropout", batch_size=6, accumulate=2)
    run(tmp_path / "shuffled", tiny(dropout=0), [(x % 11, float(x)) for x in range(9)])
    run(tmp_path / "branches", branched())
    train_captioner(tmp_path / "captioner", accumulate=2)
    for name in ("plain", "words", "dropout", "shuffled", "branches", "captioner"):
        near(folder / name, tmp_path / name)
    never = [Path(path) / "branches" / "model.safetensors" for path in (folder, tmp_path)]
    with safe_open(never[0], "pt") as two_, safe_open(never[1], "pt") as one:
        assert torch.equal(two_.get_tensor("never.weight"), one.get_tensor("never.weight"))
        torch.testing.assert_close(two_.get_tensor("extra.weight"), one.get_tensor("extra.weight"))


@pytest.mark.slow
def test_process_0_writes_and_all_return_the_same(two):
    folder, ((said, *_), (other, *_)) = two
    assert (
        said == other
        and said["plain"] == read_log(folder / "plain")
        and said["plain"][-1]["rank"] == 0
    )
    assert len(list((folder / "plain").glob("events.out.tfevents*"))) == 1


@pytest.mark.slow
def test_from_one_process_to_two_and_back(two, tmp_path):
    folder, _ = two
    run(tmp_path / "whole", accumulate=2)
    near(folder / "onward", tmp_path / "whole")
    assert saved_step(folder / "cut") == 5
    run(folder / "cut", accumulate=2)
    near(folder / "cut", tmp_path / "whole")


@pytest.mark.slow
def test_both_processes_say_what_went_wrong(two):
    folder, facts = two
    for _, (bad_loss, apart), _ in facts:
        assert (
            bad_loss.startswith("FloatingPointError step 8")
            and "lower the learning rate" in bad_loss
        )
        assert "begin after steps [12, 0]" in apart and "on a disk that all of them share" in apart
    assert not (folder / "apart" / training.CHECKPOINT).exists()


@pytest.mark.slow
def test_two_processes_interrupted_finish_the_step(tmp_path):
    child = start(tmp_path / "run", *LAUNCH, pause=0.1, steps=60, save_every=0)
    wait_for_rows(tmp_path / "run", 3)
    child.send_signal(signal.SIGINT)
    _, error = child.communicate(timeout=300)
    step = saved_step(tmp_path / "run")
    assert 3 <= step < 60 and f"stopped after step {step} of 60" in error
    run(tmp_path / "run", steps=60, save_every=0, accumulate=2)
    run(tmp_path / "whole", steps=60, accumulate=2)
    near(tmp_path / "run", tmp_path / "whole")


def wait_for_rows(folder, count):
    for _ in range(2400):
        if len(read_log(folder)) >= count:
            return
        time.sleep(0.05)
    raise AssertionError("the run did not start")


def test_out_of_space(tmp_path):
    """The kernel lets no file grow beyond a limit, as on a full disk; the log fits, the checkpoint does not."""
    with pytest.raises(RuntimeError):
        run(tmp_path / "run", dataset=Broken(4 * 7))
    before = (tmp_path / "run" / training.CHECKPOINT).read_bytes()
    child = start(tmp_path / "run", limit=len(before) - 100)
    _, error = child.communicate(timeout=300)
    assert (
        child.returncode == 1
        and "could not write" in error
        and "File too large" in error
        and "make room" in error
    )
    assert (tmp_path / "run" / training.CHECKPOINT).read_bytes() == before
    assert not list((tmp_path / "run").glob("*.part"))
    run(tmp_path / "run")
    run(tmp_path / "whole")
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")


if __name__ == "__main__":
    main(sys.argv[1], **json.loads(sys.argv[2]))
