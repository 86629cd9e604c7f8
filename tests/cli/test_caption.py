"""``mmcourse caption``: pictures, strategies, standard input, and the attention picture."""

import io
import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from mmcourse import cli
from mmcourse.book.plotting import show_attention
from mmcourse.captioning import Caption, SceneCaptioner
from mmcourse.data.language import vocabulary
from mmcourse.hub import load
from tests.cli.conftest import TINY


def sampled(model, picture, seed, **options):
    """What the model samples of a picture from a seed."""
    captioner = load(model)
    generator = torch.Generator().manual_seed(seed)
    return captioner.caption(picture, "sample", generator=generator, **options).text


def send(monkeypatch, content):
    """Put bytes on standard input."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))


# ---- the line


def test_caption(model, picture, capsys):
    assert cli.main(["caption", picture, picture, "--model", model, "--strategy", "greedy"]) == 0
    lines = capsys.readouterr().out.splitlines()
    text = load(model).caption(picture, "greedy").text
    assert len(lines) == 2 and all(line.startswith(f"{picture}: {text}") for line in lines)
    assert "low confidence" in lines[0]  # it has learnt nothing


@pytest.mark.parametrize("confidence", [0.05, 0.99])
def test_confidence_is_stated(model, picture, capsys, monkeypatch, confidence):
    found = Caption("a cat", -1.0, ["a", "cat"], torch.zeros(1), confidence)
    monkeypatch.setattr(SceneCaptioner, "caption", lambda *_, **__: found)
    assert cli.main(["caption", picture, "--model", model]) == 0
    meaning = "how well the least visible noun is seen, not calibrated"
    note = f" (low confidence 0.05: {meaning})" if confidence < 0.5 else ""
    assert capsys.readouterr().out == f"{picture}: a cat{note}\n"


def test_json_is_one_object_a_line(model, picture, capsys):
    assert cli.main(["caption", picture, "--json", "--model", model, "--beams", "2"]) == 0
    (row,) = map(json.loads, capsys.readouterr().out.splitlines())
    expected = load(model).caption(picture, beams=2)
    assert (row["picture"], row["caption"]) == (picture, expected.text)
    assert row["low_confidence"] is True
    assert row["confidence"] == pytest.approx(expected.confidence, rel=1e-4)
    assert row["confidence_is"] == "how well the least visible noun is seen, not calibrated"
    assert "frame" not in row, "it is no animation"


def test_a_calibrated_confidence_is_called_a_probability(picture, tmp_path, capsys):
    torch.manual_seed(0)
    captioner = SceneCaptioner(vocabulary(), **TINY, max_length=6, calibration=[-3.0, 0.5, 0.0])
    captioner.save_pretrained(tmp_path / "model")
    given = ["caption", picture, "--model", str(tmp_path / "model")]
    assert cli.main(given) == 0
    line = capsys.readouterr().out
    assert "(low confidence 0.0" in line
    assert line.endswith(": probability that every noun is right)\n")
    assert cli.main([*given, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["confidence_is"] == "probability that every noun is right"


# ---- how words are chosen


def test_options_of_sampling_reach_the_model(model, picture, capsys):
    given = ["caption", picture, picture, "--model", model, "--strategy", "sample", "--json"]
    assert cli.main([*given, "--seed", "5"]) == 0
    texts = [json.loads(line)["caption"] for line in capsys.readouterr().out.splitlines()]
    expected = sampled(model, picture, 5)
    assert texts == [expected, expected], "each picture begins at the seed"
    for options in ({"temperature": 0.01}, {"top_k": 1}, {"top_p": 0.001}):
        ((name, value),) = options.items()
        assert cli.main([*given, "--seed", "5", f"--{name.replace('_', '-')}", str(value)]) == 0
        text = json.loads(capsys.readouterr().out.splitlines()[0])["caption"]
        assert text == sampled(model, picture, 5, **options) != expected


def test_sampling_without_a_seed_varies(model, picture, capsys):
    given = ["caption", *[picture] * 5, "--model", model, "--strategy", "sample", "--json"]
    assert cli.main(given) == 0
    texts = {json.loads(line)["caption"] for line in capsys.readouterr().out.splitlines()}
    assert len(texts) > 1


@pytest.mark.parametrize(
    "strategy, option, needed",
    [
        ("greedy", "--beams", "beam"),
        ("sample", "--beams", "beam"),
        ("beam", "--temperature", "sample"),
        ("greedy", "--top-k", "sample"),
        ("beam", "--top-p", "sample"),
        ("greedy", "--seed", "sample"),
    ],
)
def test_an_option_that_does_not_fit_the_strategy(complaint, strategy, option, needed):
    assert cli.main(["caption", "x.png", "--strategy", strategy, option, "1"]) == 2
    assert complaint() == (
        f"mmcourse caption: {option} does not fit --strategy {strategy}: "
        f"leave it out, or take --strategy {needed}\n"
    )


# ---- pictures of other kinds


def test_standard_input(model, picture, capsys, monkeypatch):
    with open(picture, "rb") as file:
        content = file.read()
    send(monkeypatch, content)
    assert cli.main(["caption", "-", picture, "--model", model]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.removeprefix("-") == second.removeprefix(picture)


@pytest.mark.parametrize("content", [b"", b"no picture", "cut"])
def test_what_is_no_picture_on_standard_input(model, picture, complaint, monkeypatch, content):
    if content == "cut":
        with open(picture, "rb") as file:
            content = file.read(90)
    send(monkeypatch, content)
    assert cli.main(["caption", "-", "--model", model]) == 2
    text = complaint()
    assert "standard input" in text and "tmp" not in text


def test_standard_input_holds_one_picture(complaint):
    assert cli.main(["caption", "-", "-"]) == 2
    assert "give - once" in complaint()


def test_the_frame_of_an_animation_is_named(model, picture, tmp_path, capsys):
    frames = [Image.new("RGB", (9, 9), colour) for colour in ("red", "green", "blue")]
    animation = str(tmp_path / "film.gif")
    frames[0].save(animation, save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "still.png")
    given = ["--model", model, "--strategy", "greedy"]
    assert cli.main(["caption", animation, picture, *given]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert " (frame 1 of 3)" in first and "(frame" not in second
    assert cli.main(["caption", animation, str(tmp_path / "still.png"), "--json", *given]) == 0
    film, still = map(json.loads, capsys.readouterr().out.splitlines())
    assert (film["frame"], film["frames"], film["caption"]) == (1, 3, still["caption"])


def test_pictures_that_cannot_be_read_do_not_stop_the_others(model, picture, tmp_path, capsys):
    (tmp_path / "empty.png").touch()
    bad = [str(tmp_path / "empty.png"), str(tmp_path / "none.png")]
    assert cli.main(["caption", bad[0], picture, bad[1], "--model", model]) == 1
    output = capsys.readouterr()
    assert len(output.out.splitlines()) == 1 and output.out.startswith(picture)
    assert "empty.png is empty" in output.err and "none.png: check its name" in output.err
    assert cli.main(["caption", *bad, "--model", model]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_a_name_that_the_terminal_cannot_print(model, picture, tmp_path, monkeypatch, capsys):
    name = str(tmp_path / "café.png")
    with open(picture, "rb") as source, open(name, "wb") as copy:
        copy.write(source.read())
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", screen)
    assert cli.main(["caption", name, picture, "--model", model]) == 0
    lines = screen.buffer.getvalue().decode("ascii").splitlines()
    assert "caf\\xe9.png: " in lines[0] and lines[1].startswith(f"{picture}: ")
    message = capsys.readouterr().err
    assert "caf\\xe9.png" in message and "encoding, ascii," in message
    assert len(message.splitlines()) == 1


# ---- the attention picture


def test_the_attention_picture(model, picture, tmp_path, monkeypatch, capsys):
    seen = []

    def show(*given):
        seen.append(given)
        return show_attention(*given)

    monkeypatch.setattr("mmcourse.book.plotting.show_attention", show)
    file = tmp_path / "attention.png"
    assert cli.main(["caption", picture, "--model", model, "--show", str(file)]) == 0
    assert Image.open(file).width > 300
    ((image, tokens, attention),) = seen
    expected = load(model).caption(picture)
    assert np.array_equal(image, np.asarray(Image.open(picture)))
    assert tokens == expected.tokens
    torch.testing.assert_close(attention, expected.attention)


@pytest.mark.parametrize(
    "given, message",
    [
        (["a.png", "b.png", "--show", "x.png"], "--show draws one picture, got 2"),
        (["a.png", "--show", "x.txt"], "--show writes .png, .svg or .pdf, got x.txt"),
    ],
)
def test_what_cannot_be_shown(complaint, given, message):
    assert cli.main(["caption", *given]) == 2
    assert message in complaint()


# ---- models


@pytest.mark.parametrize("damage", ["missing", "no weights", "cut off", "other shape", "no model"])
def test_a_model_that_cannot_be_loaded(tmp_path, picture, complaint, damage):
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
    text = complaint()
    assert "model" in text and "a folder that `mmcourse train` wrote" in text
