"""What ends a run early: a loss that is no number, too little memory, Ctrl-C, SIGTERM, a kill."""

import math
import os
import signal
import threading
from types import SimpleNamespace

import pytest
import torch

from mmcourse.training import read_log
from mmcourse.training import run as run_module
from tests.training.runs import (
    POSIX,
    Broken,
    explode_at,
    loss,
    losses,
    run,
    saved_step,
    start,
    wait_for_rows,
)


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


BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@POSIX
@BOTH
def test_interrupted_it_finishes_the_step_and_goes_on(tmp_path, number):
    settings = {"steps": 40, "save_every": 0, "workers": 1}
    handler = signal.getsignal(number)
    child = start(tmp_path / "run", pause=0.02, **settings)
    wait_for_rows(tmp_path / "run", 3)
    os.killpg(child.pid, number)  # as Ctrl-C and schedulers do, which reaches the worker too
    _, error = child.communicate(timeout=300)
    step = saved_step(tmp_path / "run")
    assert 3 <= step < 40 and len(read_log(tmp_path / "run")) == step
    assert f"KeyboardInterrupt: stopped after step {step} of 40" in error
    assert "start the same run again" in error
    run(tmp_path / "run", **settings)
    run(tmp_path / "whole", **settings)
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
    assert signal.getsignal(number) is handler


@POSIX
@BOTH
def test_an_interrupt_between_rows_stops_the_run_too(tmp_path, number):
    count = [0]

    def interrupted(model, batch):
        count[0] += 1
        if count[0] == 3:
            os.kill(os.getpid(), number)
        return loss(model, batch)

    with pytest.raises(KeyboardInterrupt, match="stopped after step 3 of 12"):
        run(tmp_path, objective=interrupted, log_every=0, save_every=0)
    assert saved_step(tmp_path) == 3


@POSIX
def test_a_second_interrupt_stops_at_once(tmp_path):
    def impatient(model, batch):
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        raise AssertionError("the step went on")

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, objective=impatient)
    assert saved_step(tmp_path) == 0


@POSIX
def test_a_second_sigterm_lets_the_step_end(tmp_path):
    """Some schedulers send it twice, to the launcher and to the whole group."""

    def patient(model, batch):
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        return loss(model, batch)

    with pytest.raises(KeyboardInterrupt, match="stopped after step 1 of 12"):
        run(tmp_path, objective=patient)
    assert saved_step(tmp_path) == 1


def test_a_run_outside_the_main_thread(tmp_path):
    """Python has no signals there."""
    run(tmp_path / "main")
    thread = threading.Thread(target=run, args=[tmp_path / "other"])
    thread.start()
    thread.join()
    assert losses(tmp_path / "other") == losses(tmp_path / "main")


@pytest.mark.parametrize("seconds, saved", [(0, 0), (30, 28), (45, 27), (200, 29)])
def test_a_kill_costs_less_than_two_minutes(tmp_path, monkeypatch, seconds, saved):
    """A step takes so many seconds, no number of steps asks for a checkpoint, and step 30 fails."""
    now = [0.0]
    monkeypatch.setattr(run_module, "time", SimpleNamespace(monotonic=lambda: now[0]))

    def slow(model, batch):
        now[0] += seconds
        return loss(model, batch)

    with pytest.raises(RuntimeError, match="cut off"):
        run(tmp_path / "cut", dataset=Broken(4 * 29), objective=slow, steps=40, save_every=0)
    assert saved_step(tmp_path / "cut") == saved
    assert (29 - saved) * seconds < 120 or saved == 29
    run(tmp_path / "cut", steps=40)
    run(tmp_path / "whole", steps=40)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
