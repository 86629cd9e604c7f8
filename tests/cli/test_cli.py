import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmcourse import cli
from mmcourse.captioning import SceneCaptioner
from mmcourse.data import EmojiScenes
from mmcourse.data.language import vocabulary
from mmcourse.hub import load
from mmcourse.training import CHECKPOINT, read_log

TINY = dict(width=8, heads=2, decoder_layers=1, channels=[8, 8, 8], blocks=[0, 0, 0], max_length=6)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Folder of a captioner that has learnt nothing."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    SceneCaptioner(vocabulary(), **TINY).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def picture(tmp_path):
    Image.fromarray(EmojiScenes("val")[0].image).save(tmp_path / "scene.png")
    return str(tmp_path / "scene.png")


@pytest.fixture
def tiny(monkeypatch):
    settings = {"steps": 4, "batch_size": 2, "learning_rate": 1e-3}
    monkeypatch.setitem(
        cli.CONFIGS, "small", (TINY | {"max_length": 28}, settings)
    )  # the words of the longest caption


def python(*arguments):
    root = Path(cli.__file__).parents[2]
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, cwd=root)


def error_of(capsys):
    """What went to stderr: at most two lines, and no traceback."""
    text = capsys.readouterr().err
    assert 1 <= len(text.strip().splitlines()) <= 2 and "Traceback" not in text
    return text


def test_what_the_readme_shows(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    readme = Path(cli.__file__).parents[2] / "README.md"
    shown = readme.read_text(encoding="utf-8").split("```text\n")[1].split("```")[0].splitlines()
    commands = [
        line.removeprefix("$ mmcourse ").split() for line in shown if line.startswith("$ mmcourse ")
    ]
    assert len(commands) == 2 and all(cli.main(command) == 0 for command in commands)
    assert capsys.readouterr().out.splitlines() == [
        line for line in shown if not line.startswith("$")
    ]


# ---- help and bad use


def test_help_is_quick_and_shows_examples():
    result = python("-X", "importtime", "-m", "mmcourse", "--help")
    assert result.returncode == 0 and "mmcourse caption photo.png" in result.stdout
    for heavy in ("torch", "numpy", "PIL", "accelerate"):
        assert f" {heavy}\n" not in result.stderr, f"{heavy} is imported only to print the help"


@pytest.mark.parametrize("command", ["caption", "train", "evaluate", "data", "bench"])
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0 and "examples:" in text and f"usage: mmcourse {command}" in text


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["caption"],
        ["train"],
        ["caption", "x.png", "--strategy", "guess"],
        ["caption", "x.png", "--beams", "0"],
        ["evaluate", "--split", "tests"],
        ["evaluate", "--scenes", "-3"],
        ["train", "--out", "x", "--steps", "many"],
        ["train", "--out", "x", "--config", "huge"],
    ],
)
def test_bad_use(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2 and "usage:" in capsys.readouterr().err


def test_splits_are_those_of_the_data():
    from mmcourse.data import SPLITS

    assert cli.SPLITS == SPLITS


# ---- caption


def test_caption(model, picture, capsys):
    assert cli.main(["caption", picture, picture, "--model", model, "--strategy", "greedy"]) == 0
    lines = capsys.readouterr().out.splitlines()
    text = load(model).caption(picture, "greedy").text
    assert len(lines) == 2 and all(line.startswith(f"{picture}: {text}") for line in lines)
    assert "low confidence" in lines[0]  # it has learnt nothing


@pytest.mark.parametrize("confidence", [0.05, 0.99])
def test_confidence_is_stated(model, picture, capsys, monkeypatch, confidence):
    from mmcourse.captioning import Caption

    found = Caption("a cat", -1.0, ["a", "cat"], torch.zeros(1), confidence)
    monkeypatch.setattr(SceneCaptioner, "caption", lambda *_: found)
    assert cli.main(["caption", picture, "--model", model]) == 0
    note = " (low confidence 0.05: unlike what the model has seen)" if confidence < 0.5 else ""
    assert capsys.readouterr().out == f"{picture}: a cat{note}\n"


def test_json_is_one_object_a_line(model, picture, capsys):
    assert cli.main(["caption", picture, "--json", "--model", model, "--beams", "2"]) == 0
    (row,) = map(json.loads, capsys.readouterr().out.splitlines())
    expected = load(model).caption(picture, beams=2)
    assert (
        row["picture"] == picture
        and row["caption"] == expected.text
        and row["low_confidence"] is True
    )
    assert row["confidence"] == pytest.approx(expected.confidence, rel=1e-4)


def test_pictures_that_cannot_be_read_do_not_stop_the_others(model, picture, tmp_path, capsys):
    (tmp_path / "empty.png").touch()
    bad = [str(tmp_path / "empty.png"), str(tmp_path / "none.png")]
    assert cli.main(["caption", bad[0], picture, bad[1], "--model", model]) == 1
    output = capsys.readouterr()
    assert len(output.out.splitlines()) == 1 and output.out.startswith(picture)
    assert "empty.png is empty" in output.err and "none.png: check its name" in output.err
    assert cli.main(["caption", *bad, "--model", model]) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["missing", "no weights", "cut off", "other shape", "no model"])
def test_a_model_that_cannot_be_loaded(tmp_path, picture, capsys, damage):
    folder = tmp_path / "model"
    if damage != "missing":
        SceneCaptioner(vocabulary(), **TINY).save_pretrained(folder)
    weights = folder / "model.safetensors"
    if damage == "no weights":
        weights.unlink()
    elif damage == "cut off":
        weights.write_bytes(weights.read_bytes()[:1000])
    elif damage == "other shape":
        SceneCaptioner(vocabulary(), **TINY | {"width": 12}).save_pretrained(tmp_path / "other")
        weights.write_bytes((tmp_path / "other" / weights.name).read_bytes())
    elif damage == "no model":
        (folder / "config.json").write_text("[]")
    name = "notamodel" if damage == "missing" else str(folder)
    assert cli.main(["caption", picture, "--model", name]) == 2
    text = error_of(capsys)
    assert "model" in text and "expected scenes, a folder that `mmcourse train` wrote" in text


# ---- evaluate


def test_evaluate(model, capsys):
    from mmcourse.evaluation import bleu, cider_d, fact_scores, rouge_l

    arguments = [
        "evaluate",
        "--model",
        model,
        "--scenes",
        "3",
        "--split",
        "style",
        "--strategy",
        "greedy",
        "--json",
    ]
    assert cli.main(arguments) == 0
    scores = json.loads(capsys.readouterr().out)
    scenes = [EmojiScenes("style")[index] for index in range(3)]
    captioner = load(model)
    captions = [captioner.caption(scene.image, "greedy").text for scene in scenes]
    references = [scene.captions for scene in scenes]
    assert scores["BLEU-4"] == pytest.approx(bleu(captions, references)[3])
    assert scores["ROUGE-L"] == pytest.approx(rouge_l(captions, references))
    assert scores["CIDEr-D"] == pytest.approx(cider_d(captions, references))
    assert (scores["all precision"], scores["all recall"]) == pytest.approx(
        fact_scores(captions, scenes)["all"]
    )
    assert cli.main(["evaluate", "--model", model, "--scenes", "2"]) == 0
    table = capsys.readouterr().out
    assert table.startswith("2 scenes of val\n") and "BLEU-4" in table and "all recall" in table


# ---- data


def test_data(tmp_path):
    folder = tmp_path / "a" / "b"
    assert (
        cli.main(
            ["data", "--split", "composition", "--count", "3", "--size", "40", "--out", str(folder)]
        )
        == 0
    )
    rows = [
        json.loads(line)
        for line in (folder / "scenes.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert len(rows) == 3
    for index, row in enumerate(rows):
        scene = EmojiScenes("composition", 40)[index]
        assert np.array_equal(np.asarray(Image.open(folder / row["picture"])), scene.image)
        assert row["captions"] == scene.captions and row["caption_zh"] == scene.caption_zh
        assert [tuple(thing["box"]) for thing in row["objects"]] == [
            thing.box for thing in scene.objects
        ]
        assert {tuple(fact) for fact in row["facts"]} == scene.facts
        assert [foil["false"] for foil in row["foils"]] == [foil.false for foil in scene.foils]
        assert [question["answer"] for question in row["questions"]] == [
            each.answer for each in scene.questions
        ]


def test_data_into_a_file(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert cli.main(["data", "--out", str(tmp_path / "file")]) == 2
    assert "exists" in error_of(capsys)


# ---- train


def test_train_resume_and_fresh(tmp_path, tiny, picture, capsys):
    out = str(tmp_path / "run")
    arguments = ["train", "--out", out, "--workers", "0"]
    assert cli.main([*arguments, "--resume"]) == 2
    assert "expected a checkpoint" in error_of(capsys)
    assert cli.main(arguments) == 0
    assert f"--model {out}" in capsys.readouterr().out
    rows = read_log(out)
    assert rows[-1]["step"] == 4 and "BLEU-4" in rows[-1] and "all recall" in rows[-1]
    assert cli.main([*arguments, "--resume"]) == 0 and read_log(out) == rows
    assert cli.main([*arguments, "--steps", "6"]) == 2
    assert "steps is 4 there and 6 here" in error_of(capsys)
    assert cli.main([*arguments, "--steps", "6", "--fresh"]) == 0
    assert read_log(out)[-1]["step"] == 6
    capsys.readouterr()
    assert cli.main(["caption", picture, "--model", out]) == 0


def test_train_options_reach_the_run(tmp_path, tiny, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "mmcourse.training.train", lambda *given, **named: seen.append(given[3]) or [{"step": 1}]
    )
    cli.main(
        [
            "train",
            "--out",
            str(tmp_path),
            "--steps",
            "100",
            "--batch-size",
            "7",
            "--learning-rate",
            "0.5",
            "--seed",
            "9",
            "--workers",
            "3",
            "--mixed-precision",
            "bf16",
        ]
    )
    config = seen[0]
    assert (config.steps, config.batch_size, config.learning_rate, config.seed) == (100, 7, 0.5, 9)
    assert (config.workers, config.mixed_precision, config.warmup) == (3, "bf16", 5)


def test_the_shipped_schedule(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "mmcourse.training.train", lambda *given, **named: seen.append(given[3]) or [{"step": 1}]
    )
    cli.main(["train", "--out", str(tmp_path), "--config", "shipped"])
    config = seen[0]
    cli.main(["train", "--out", str(tmp_path), "--config", "shipped", "--steps", "40"])
    assert (seen[1].steps, seen[1].warmup, seen[1].restarts) == (40, 2, ()), (
        "a short run warms up for less"
    )
    assert (config.steps, config.batch_size, config.warmup, config.restarts) == (
        20_000,
        64,
        200,
        (10_000, 15_000),
    )
    assert (config.learning_rate, config.weight_decay) == (1.2e-3, 0.05)


def test_a_damaged_checkpoint(tmp_path, tiny, capsys):
    (tmp_path / CHECKPOINT).write_bytes(b"damaged")
    assert cli.main(["train", "--out", str(tmp_path), "--workers", "0"]) == 2
    assert "cut off or of another kind" in error_of(capsys)


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
    ],
)
def test_ends_of_a_run(tmp_path, tiny, monkeypatch, capsys, error, code, message):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr("mmcourse.training.train", fail)
    assert cli.main(["train", "--out", str(tmp_path)]) == code
    assert message in error_of(capsys)
