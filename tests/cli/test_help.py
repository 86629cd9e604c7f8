"""Help, bad use, and what the README shows."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mmcourse import cli
from mmcourse.cli import arguments
from mmcourse.cli import train as train_command
from mmcourse.data import SPLITS
from mmcourse.recipes import scenes

ROOT = Path(cli.__file__).parents[2]


def test_what_the_readme_shows(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = readme.split("```text\n")[1].split("```")[0].splitlines()
    commands = [shlex.split(line.removeprefix("$ ")) for line in shown if line.startswith("$ ")]
    assert [given[0] for _, *given in commands] == ["data", "caption", "search"]
    for program, *given in commands:
        assert program == "mmcourse" and cli.main(given) == 0
    output = [line for line in shown if not line.startswith("$")]
    assert capsys.readouterr().out.splitlines() == output


def test_help_is_quick_and_shows_examples():
    command = [sys.executable, "-X", "importtime", "-m", "mmcourse", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0 and "mmcourse caption scene.png" in result.stdout
    for heavy in ("torch", "numpy", "PIL", "accelerate", "matplotlib"):
        assert f" {heavy}\n" not in result.stderr, f"{heavy} is imported only to print the help"


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_help_with_its_own_examples(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert f"usage: mmcourse {command}" in text
    examples = text.split("examples:\n")[1].splitlines()
    assert len(examples) >= 2
    assert all(f"mmcourse {command}" in line for line in examples)


def test_the_help_promises_photographs_to_those_who_train_on_them(capsys):
    with pytest.raises(SystemExit):
        cli.main(["caption", "--help"])
    assert "drawn scenes, or photographs with a model trained on them" in capsys.readouterr().out
    for line in cli.COMMANDS["caption"].EXAMPLES.splitlines():
        assert ("photo" in line) == ("--model" in line), line


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_the_examples_of_the_help_are_good_use(command):
    for line in cli.COMMANDS[command].EXAMPLES.splitlines():
        given = shlex.split(line.split("mmcourse ", 1)[1])
        assert cli.command_line().parse_args(given).command == command


@pytest.mark.parametrize(
    "given",
    [
        [],
        ["fly"],
        ["caption"],
        ["train"],
        ["caption", "x.png", "--strategy", "guess"],
        ["caption", "x.png", "--beams", "0"],
        ["caption", "x.png", "--strategy", "sample", "--temperature", "0"],
        ["caption", "x.png", "--strategy", "sample", "--temperature", "nan"],
        ["caption", "x.png", "--strategy", "sample", "--temperature", "inf"],
        ["caption", "x.png", "--strategy", "sample", "--temperature", "warm"],
        ["caption", "x.png", "--strategy", "sample", "--top-p", "1.5"],
        ["caption", "x.png", "--strategy", "sample", "--top-p", "0"],
        ["caption", "x.png", "--strategy", "sample", "--top-k", "0"],
        ["caption", "x.png", "--strategy", "sample", "--seed", "-1"],
        ["evaluate", "--split", "tests"],
        ["evaluate", "--scenes", "-3"],
        ["train", "--out", "x", "--steps", "many"],
        ["train", "--out", "x", "--config", "huge"],
        ["train", "--out", "x", "--seed", "-1"],
        ["train", "--out", "x", "--workers", "-1"],
        ["train", "--out", "x", "--learning-rate", "0"],
    ],
)
def test_bad_use(given, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(given)
    assert stop.value.code == 2
    text = capsys.readouterr().err
    assert "usage:" in text and "Traceback" not in text


def test_choices_are_those_of_the_package():
    assert arguments.SPLITS == SPLITS
    assert set(train_command.CONFIGS) == set(scenes.MODEL) == set(scenes.TRAINING)
