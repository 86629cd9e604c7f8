"""``mmcourse train`` on scenes: what reaches the run, how it ends, and how it goes on."""

import pytest
from safetensors.torch import load_file

from mmcourse import cli
from mmcourse.training import CHECKPOINT, read_log


@pytest.fixture
def configs(monkeypatch):
    """The configurations of runs that do not take place."""
    seen = []

    def train(*given, **named):
        seen.append(given[3])
        return [{"step": 1}]

    monkeypatch.setattr("mmcourse.training.train", train)
    return seen


def test_train_resume_and_fresh(tmp_path, quick_recipe, picture, capsys, complaint):
    out = str(tmp_path / "run")
    given = ["train", "--out", out, "--workers", "0"]
    assert cli.main([*given, "--resume"]) == 2
    assert "expected a checkpoint" in complaint()
    assert cli.main(given) == 0
    assert f"--model {out}" in capsys.readouterr().out
    rows = read_log(out)
    card = (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    assert "# SceneCaptioner" in card and "pushed" not in card
    weights = load_file(tmp_path / "run" / "model.safetensors")
    assert f"holds its {sum(tensor.numel() for tensor in weights.values()):,} parameters" in card
    assert rows[-1]["step"] == 4 and "BLEU-4" in rows[-1] and "all recall" in rows[-1]
    assert cli.main([*given, "--resume"]) == 0 and read_log(out) == rows
    capsys.readouterr()
    assert cli.main([*given, "--steps", "6"]) == 2
    assert "steps is 4 there and 6 here" in complaint()
    assert cli.main([*given, "--steps", "6", "--fresh"]) == 0
    assert read_log(out)[-1]["step"] == 6
    capsys.readouterr()
    assert cli.main(["caption", picture, "--model", out]) == 0


def test_options_reach_the_run(tmp_path, quick_recipe, configs):
    given = ["train", "--out", str(tmp_path), "--steps", "100", "--batch-size", "7"]
    given += ["--learning-rate", "0.5", "--seed", "9", "--workers", "3", "--accumulate", "2"]
    given += ["--mixed-precision", "bf16"]
    assert cli.main(given) == 0
    (config,) = configs
    assert (config.steps, config.batch_size, config.learning_rate) == (100, 7, 0.5)
    assert (config.seed, config.workers, config.accumulate) == (9, 3, 2)
    assert (config.mixed_precision, config.warmup) == ("bf16", 5)


def test_the_shipped_schedule(tmp_path, configs):
    given = ["train", "--out", str(tmp_path), "--config", "shipped"]
    cli.main(given)
    cli.main([*given, "--steps", "40"])
    long, short = configs
    assert (long.steps, long.batch_size, long.warmup) == (20_000, 64, 200)
    assert long.restarts == (10_000, 15_000)
    assert (long.learning_rate, long.weight_decay) == (1.2e-3, 0.05)
    assert (short.steps, short.restarts) == (40, ())
    assert short.warmup == 2, "a short run warms up for less"


def test_a_damaged_checkpoint(tmp_path, quick_recipe, complaint):
    (tmp_path / CHECKPOINT).write_bytes(b"damaged")
    assert cli.main(["train", "--out", str(tmp_path), "--workers", "0"]) == 2
    assert "cut off, damaged or of another kind" in complaint()


@pytest.mark.parametrize(
    "error, code, message",
    [
        (
            KeyboardInterrupt("stopped after step 3 of 9: start again"),
            130,
            "mmcourse train: stopped after step 3 of 9",
        ),
        (KeyboardInterrupt(), 130, "mmcourse train: stopped"),
        (FloatingPointError("step 3: nan"), 2, "step 3: nan"),
        (OSError(28, "No space left on device"), 2, "No space left on device"),
        (MemoryError(), 2, "mmcourse train: MemoryError"),
    ],
)
def test_ends_of_a_run(tmp_path, quick_recipe, monkeypatch, complaint, error, code, message):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("mmcourse.training.train", fail)
    assert cli.main(["train", "--out", str(tmp_path)]) == code
    assert message in complaint()


@pytest.mark.parametrize(
    "given, message",
    [
        (["--root", "x"], "--root x is a folder of photographs: add --data flickr8k"),
        (["--data", "coco"], "--data coco needs --root DIR, the folder that it lies in"),
    ],
)
def test_where_photographs_lie(tmp_path, complaint, given, message):
    assert cli.main(["train", "--out", str(tmp_path), *given]) == 2
    assert message in complaint()
