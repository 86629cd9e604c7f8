"""A run that was cut off or killed goes on to the losses of a run that never was."""

import random

import numpy as np
import pytest
import torch

from mmcourse.weights import SavedModel
from tests.training.runs import (
    POSIX,
    Broken,
    Tiny,
    explode_at,
    losses,
    near,
    run,
    saved_step,
    start,
    tiny,
)


@pytest.mark.parametrize("save_every", [1, 5, 0])
def test_a_finished_run_is_not_run_again(tmp_path, save_every):
    rows = run(tmp_path, save_every=save_every)
    model = tiny(seed=1)
    assert run(tmp_path, model, Broken(0), save_every=save_every) == rows
    assert torch.equal(model.embedding.weight, Tiny.from_pretrained(tmp_path).embedding.weight)


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


@POSIX
def test_killed_anywhere_it_goes_on_to_the_same_losses(tmp_path):
    """Twenty SIGKILLs: when a step begins, in the middle of a file, before it has its name."""
    rng = random.Random(0)
    settings = {"steps": 30, "save_every": 3, "batch_size": 3}
    kills = [[rng.randint(1, 40) for _ in range(4)] for _ in range(5)]
    run(tmp_path / "whole", **settings)
    child = start(tmp_path, kills=kills, **settings)
    _, error = child.communicate(timeout=300)
    assert child.returncode == 0, error
    for number, events in enumerate(kills):
        assert losses(tmp_path / str(number)) == losses(tmp_path / "whole"), events


class Saved(SavedModel, Tiny):
    """As the models of the course: its configuration says more after it was saved."""

    def __init__(self, width=6):
        super().__init__(width)


def test_a_model_that_was_saved_goes_on(tmp_path):
    torch.manual_seed(0)
    model = Saved()
    with pytest.raises(RuntimeError):
        run(tmp_path / "run", model, Broken(4 * 7))
    run(tmp_path / "run", model)
    run(tmp_path / "whole")
    assert losses(tmp_path / "run") == losses(tmp_path / "whole")
