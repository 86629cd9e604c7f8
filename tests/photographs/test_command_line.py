"""The command line on photographs: from raw files to scores."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from mmcourse import cli
from mmcourse.data.captioned import load_photographs
from mmcourse.hub import load
from mmcourse.photographs import evaluate, inputs_of
from mmcourse.recipes import photographs as recipe
from mmcourse.training import read_log
from tests.photographs.helpers import NAMES, flickr8k, split_files


@pytest.fixture
def arguments(tmp_path, vit, monkeypatch):
    sizes = dict(width=24, heads=3, decoder_layers=1, dropout=0.0, max_length=9)
    monkeypatch.setitem(recipe.MODEL, "photographs", sizes)
    monkeypatch.setitem(recipe.MODEL, "fine-tune", sizes | {"fine_tune": True})
    split_files(flickr8k(tmp_path / "data"), NAMES[:4], NAMES[4:5], NAMES[5:])
    return [
        "--data",
        "flickr8k",
        "--root",
        str(tmp_path / "data"),
        "--encoder",
        vit,
        "--out",
        str(tmp_path / "run"),
        "--steps",
        "4",
        "--batch-size",
        "3",
        "--min-count",
        "1",
        "--workers",
        "0",
    ]


@pytest.mark.parametrize("fine_tune", [False, True])
def test_from_raw_files_to_scores(tmp_path, arguments, capsys, fine_tune):
    (tmp_path / "data" / "Images" / "2.jpg").write_bytes(b"broken")
    assert cli.main(["train", *arguments, *["--fine-tune"] * fine_tune]) == 0
    output = capsys.readouterr()
    assert (
        "BLEU-4" in output.out
        and "CIDEr-D" in output.out
        and f"--model {tmp_path / 'run'}" in output.out
    )
    assert (
        output.err.count("1 pictures that cannot be read: Images/2.jpg\n") == 1
        and "2.jpg is none: convert it" in output.err
    )
    assert bool(list((tmp_path / "data" / "features").glob("features-*"))) != fine_tune
    common = [
        "--data",
        "flickr8k",
        "--root",
        str(tmp_path / "data"),
        "--model",
        str(tmp_path / "run"),
    ]
    assert (
        cli.main(
            ["evaluate", *common, "--split", "test", "--json", "--cache", str(tmp_path / "cache")]
        )
        == 0
    )
    scores = json.loads(capsys.readouterr().out)
    captioner = load(tmp_path / "run")
    found, _ = load_photographs("flickr8k", tmp_path / "data")
    to_input, *_ = inputs_of(captioner, found["test"], tmp_path / "cache")
    assert scores == pytest.approx(evaluate(captioner, found["test"], to_input, "beam")[0])
    assert bool(list((tmp_path / "cache").glob("features-*"))) != fine_tune
    assert cli.main(["evaluate", *common]) == 0
    assert capsys.readouterr().out.startswith("1 photographs of flickr8k, of val\nBLEU-4")
    one = str(tmp_path / "data" / "Images" / "0.jpg")
    assert cli.main(["caption", one, "--model", str(tmp_path / "run"), "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["caption"] == captioner.caption(one).text and row["low_confidence"] == (
        row["confidence"] < 0.25
    )


def test_the_settings_reach_the_run(tmp_path, arguments, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "mmcourse.training.train",
        lambda *given, **named: seen.append((given, named)) or [{"step": 1}],
    )
    cli.main(["train", *arguments])
    (model, pairs, _, config, folder), named = seen[0]
    assert (config.steps, config.batch_size, config.learning_rate, config.weight_decay) == (
        4,
        3,
        5e-4,
        0.05,
    )
    assert (
        len(pairs) == 4
        and len(pairs[0][1]) == 5
        and folder == str(tmp_path / "run")
        and not model.fine_tune
    )
    assert "3" in model.words and "4" not in model.words, "the words are those of training"
    assert set(named["evaluate"](model.eval())) == {"BLEU-4", "ROUGE-L", "CIDEr-D"}
    cli.main(["train", *arguments, "--fine-tune", "--min-count", "12"])
    (model, _, _, config, _), _ = seen[1]
    assert (config.keep_best, config.patience) == ("CIDEr-D", recipe.PATIENCE)
    assert config.learning_rate == 5e-5 and model.fine_tune and model.words[4:] == ["a", "dog"]


@pytest.mark.parametrize(
    "count, changes, steps, every",
    [
        (750, {}, 1154, 58),  # 20 passes; one is 57.7 steps
        (750, {"passes": 3}, 174, 58),
        (750, {"passes": 0.5}, 29, 58),
        (750, {"batch_size": 750, "passes": 120}, 120, 50),
        (6000, {}, 9231, 462),
        (16, {}, 25, 50),
        (16, {"passes": 100}, 124, 50),
        (60, {"steps": 7}, 7, 50),
        (1, {"passes": 0.001}, 1, 50),
    ],
)
def test_a_run_is_so_many_passes_long(count, changes, steps, every):
    config = recipe.plan("photographs", count, changes)
    assert (config.steps, config.evaluate_every) == (steps, every)
    assert (config.keep_best, config.patience) == ("CIDEr-D", recipe.PATIENCE)
    assert config.warmup == min(200, steps // 20)
    assert not recipe.plan("photographs", count, changes, is_judged=False).keep_best


def test_passes_and_steps_are_not_given_both(arguments, capsys):
    assert cli.main(["train", *arguments, "--passes", "2"]) == 2
    assert "passes and steps both say how long a run is" in capsys.readouterr().err
    assert cli.main(["train", "--passes", "2", "--out", "x"]) == 2
    assert "--passes is for photographs" in capsys.readouterr().err


def test_the_best_model_is_kept_and_said(tmp_path, arguments, monkeypatch, capsys):
    """Four evaluations, the second is the best, and patience for two that are no better."""
    scores = iter([0.1, 0.4, 0.3, 0.2, 0.9])
    judged = []

    def judge(model, photographs, inputs):
        judged.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        return {"CIDEr-D": next(scores)}, []

    monkeypatch.setattr(recipe, "evaluate", judge)
    monkeypatch.setattr(recipe, "BETWEEN", 1)
    monkeypatch.setattr(recipe, "PATIENCE", 2)
    at = arguments.index("--steps")
    passes = [*arguments[:at], "--passes", "9", *arguments[at + 2 :]]
    assert cli.main(["train", *passes]) == 0
    said = capsys.readouterr().out
    assert "kept: step 4 of 8, the best on the validation split (CIDEr-D 0.400)" in said
    assert [row["step"] for row in read_log(tmp_path / "run") if "CIDEr-D" in row] == [2, 4, 6, 8]
    kept = load(tmp_path / "run").state_dict()
    assert all(torch.equal(kept[name], tensor) for name, tensor in judged[1].items())


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"),
        MemoryError(),
    ],
)
@pytest.mark.parametrize(
    "where",
    [
        "mmcourse.photographs.PhotographCaptioner.terms",
        "mmcourse.photographs.PretrainedEncoder.forward",
    ],
)
def test_out_of_memory(arguments, monkeypatch, capsys, error, where):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(where, fail)
    assert cli.main(["train", *arguments, "--batch-size", "6"]) == 2
    said = capsys.readouterr().err
    advice = "out of memory with batch_size 6 and accumulate 1: take a smaller batch_size, or acc"
    assert said.count(advice) == 1


def test_other_errors_are_not_taken_for_memory(arguments, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.setattr("mmcourse.training.train", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["train", *arguments])


@pytest.mark.parametrize(
    "change, message",
    [
        (["--root", "nowhere"], "does not hold flickr8k as expected"),
        (["--data", "coco"], "DIR/annotations/captions_"),
        (["--encoder", "efficientnet"], "nearest known: efficientnet-lite0"),
        (["--min-count", "99"], "no word comes 99"),
        (["--data", "scenes"], "add --data flickr8k"),
    ],
)
def test_mistakes_are_explained(arguments, capsys, change, message):
    assert cli.main(["train", *arguments, *change]) == 2
    text = capsys.readouterr().err
    assert message in text and "Traceback" not in text


def test_photographs_need_a_root_and_a_split(tmp_path, arguments, capsys):
    assert cli.main(["train", "--data", "coco", "--out", "x"]) == 2
    assert "--data coco needs --root DIR" in capsys.readouterr().err
    split_files(tmp_path / "data", NAMES, [], [])
    assert cli.main(["train", *arguments]) == 0, "a run without validation"
    capsys.readouterr()
    common = [
        "--data",
        "flickr8k",
        "--root",
        str(tmp_path / "data"),
        "--model",
        str(tmp_path / "run"),
    ]
    assert cli.main(["evaluate", *common, "--split", "test"]) == 2
    assert "has no photographs of test, but 6 of train, 0 of val" in capsys.readouterr().err
    assert cli.main(["evaluate", "--split", "test"]) == 2
    assert "unknown split 'test': choose one of train, val" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path, vit):
    split_files(flickr8k(tmp_path / "data"), NAMES[:5], NAMES[5:], [])

    given = ["--data", "flickr8k", "--root", str(tmp_path / "data"), "--encoder", vit]
    given += ["--min-count", "1", "--workers", "0"]

    def start(out):
        code = (
            "from mmcourse import cli\n"
            "from mmcourse.recipes import photographs as recipe\n"
            "sizes = dict(width=24, heads=3, decoder_layers=1, max_length=9)\n"
            "schedule = dict(steps=60, batch_size=3, learning_rate=1e-3)\n"
            "schedule |= dict(save_every=10, log_every=5)\n"
            "recipe.MODEL['photographs'] = sizes\n"
            "recipe.TRAINING['photographs'] = schedule\n"
            f"raise SystemExit(cli.main({['train', *given, '--out', str(out)]}))"
        )
        return subprocess.Popen([sys.executable, "-c", code], cwd=Path(cli.__file__).parents[2])

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert start(whole).wait() == 0
    process = start(cut)
    while (
        len(read_log(cut)) < 5 and process.poll() is None
    ):  # step 25: after the checkpoint of step 20
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert len(read_log(cut)) < 12, "too late to kill it"
    assert start(cut).wait() == 0
    assert read_log(cut) == read_log(whole) and read_log(cut)[-1]["step"] == 60
    weights = [load(folder).state_dict() for folder in (whole, cut)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
