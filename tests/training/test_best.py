"""The best model is kept, and a run ends when it gets no better: also after a kill."""

import json
import math

import pytest
import torch
from safetensors.torch import save_file

from mmcourse.training import CHECKPOINT, best_row, read_log
from mmcourse.training.best import is_exhausted
from mmcourse.training.checkpoint import read_checkpoint
from tests.training.runs import Broken, Tiny, losses, run, saved_step, tiny


def rows_of(*numbers):
    return [{"step": step, "score": number} for step, number in enumerate(numbers, 1)]


def test_the_best_row_is_the_first_of_the_highest():
    assert best_row(rows_of(1.0, 3.0, 2.0, 3.0), "score")["step"] == 2
    assert best_row(rows_of(-2, -1), "score")["step"] == 2
    assert best_row([{"step": 1}, *rows_of(math.nan, 0.5, math.nan)], "score")["score"] == 0.5
    assert best_row([{"step": 1}], "score") is best_row([], "score") is None
    assert best_row(rows_of(math.nan), "score") is None


@pytest.mark.parametrize(
    "numbers, patience, enough",
    [
        ((1, 2, 3), 1, False),
        ((1, 2, 2), 1, True),
        ((3, 1, 2), 2, True),
        ((3, 1, 2), 3, False),
        ((3, 1, 2), 0, False),
        ((math.nan, math.nan), 2, True),
        ((math.nan, 1), 2, False),
        ((1, math.nan, math.nan), 2, True),
        ((), 1, False),
    ],
)
def test_when_it_is_enough(numbers, patience, enough):
    assert is_exhausted(rows_of(*numbers), "score", patience) == enough
    without = [{"step": step} for step in (90, 91, 92)]
    assert is_exhausted(rows_of(*numbers) + without, "score", patience) == enough


class Judge:
    """Says given numbers one after another, by the step, and keeps the weights that it judged."""

    def __init__(self, numbers, every=2):
        self.numbers = numbers
        self.every = every
        self.seen = []

    def __call__(self, model):
        self.seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return {"score": self.numbers[len(self.seen) - 1], "other": 7.0}


KEPT = {"evaluate_every": 2, "keep_best": "score", "log_every": 1}


def same(model, tensors):
    return all(torch.equal(tensor, tensors[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize(
    "numbers, best", [((1, 5, 2, 5, 3, 0), 1), ((1, 2, 3, 4, 5, 6), 5), ((9, 1, 1, 1, 1, 1), 0)]
)
def test_the_best_model_is_what_the_run_ends_with(tmp_path, numbers, best):
    judge = Judge(numbers)
    model = tiny()
    rows = run(tmp_path, model, evaluate=judge, **KEPT)
    assert same(model, judge.seen[best]) and not model.training
    assert same(Tiny.from_pretrained(tmp_path), judge.seen[best])
    assert best_row(rows, "score")["step"] == 2 * (best + 1)
    assert len(judge.seen) == 6, "without patience it goes to the end"
    run(tmp_path / "plain", log_every=1)
    assert losses(tmp_path) == losses(tmp_path / "plain"), "what is kept changes no step"


@pytest.mark.parametrize("patience, last", [(1, 6), (2, 8), (3, 12)])
def test_a_run_ends_when_it_gets_no_better(tmp_path, patience, last):
    judge = Judge((1, 5, 2, 4, 6, 0))
    model = tiny()
    rows = run(tmp_path, model, evaluate=judge, patience=patience, **KEPT)
    assert rows[-1]["step"] == last == saved_step(tmp_path)
    assert same(model, judge.seen[1 if patience < 3 else 4])
    again = tiny(seed=5)
    more = Judge((99,))
    assert run(tmp_path, again, evaluate=more, patience=patience, **KEPT) == rows
    assert not more.seen and same(again, model.state_dict()), "it has ended, and is not trained on"


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_killed_run_keeps_the_best_of_both_halves(tmp_path, cut):
    """The best evaluation is the second of six; it is kept also if the run is killed after it."""
    numbers = (1, 5, 2, 4, 3, 0)
    whole = Judge(numbers)
    run(tmp_path / "whole", evaluate=whole, save_every=3, **KEPT)
    folder = tmp_path / "cut"
    with pytest.raises(RuntimeError, match="cut off"):
        broken = Broken(4 * cut)
        run(folder, dataset=broken, evaluate=Judge(numbers), save_every=3, **KEPT)
    model = tiny(seed=5)
    rest = Judge(numbers[saved_step(folder) // 2 :])
    run(folder, model, evaluate=rest, save_every=3, **KEPT)
    assert same(model, whole.seen[1]) and same(Tiny.from_pretrained(folder), whole.seen[1])
    assert read_log(folder) == read_log(tmp_path / "whole")


def test_until_the_end_the_folder_has_the_best_model(tmp_path):
    judge = Judge((1, 5, 2, 4))
    with pytest.raises(RuntimeError, match="cut off"):
        run(tmp_path, dataset=Broken(4 * 9), evaluate=judge, save_every=1, **KEPT)
    assert same(Tiny.from_pretrained(tmp_path), judge.seen[1])


def test_a_number_that_is_not_there(tmp_path):
    settings = KEPT | {"keep_best": "bleu"}
    with pytest.raises(
        ValueError, match="keep_best must name .* one of .*'score', 'other'.*'bleu'"
    ):
        run(tmp_path, evaluate=Judge((1,)), **settings)


@pytest.mark.parametrize("patience, name", [(-1, "score"), (2, "")])
def test_patience_needs_something_to_wait_for(tmp_path, patience, name):
    with pytest.raises(ValueError, match="patience counts evaluations without a better keep_best"):
        run(tmp_path, keep_best=name, patience=patience)


def test_a_damaged_best_is_named(tmp_path):
    run(tmp_path, evaluate=Judge((1, 2, 3, 4, 5, 6)), **KEPT)
    facts, tensors = read_checkpoint(tmp_path)
    del tensors["best.layers.0.weight"]
    save_file(tensors, tmp_path / CHECKPOINT, {"facts": json.dumps(facts)})
    with pytest.raises(ValueError, match="best.layers.0.weight is absent there, expected float32"):
        run(tmp_path, evaluate=Judge((1,)), **KEPT)


def test_before_the_first_evaluation_the_folder_has_the_last_model(tmp_path):
    model = tiny()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    settings = KEPT | {"evaluate_every": 10}
    with pytest.raises(RuntimeError, match="cut off"):
        run(tmp_path, model, dataset=Broken(4 * 6), evaluate=Judge((1,)), save_every=3, **settings)
    assert not same(Tiny.from_pretrained(tmp_path), before)
