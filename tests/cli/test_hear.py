"""``mmcourse hear``: a line for each piece; what is no sound is named."""

import json

import numpy as np
import pytest
import soundfile

from mmcourse.cli import main
from mmcourse.data.speech import speech


def test_it_writes_what_is_said(tmp_path, capsys):
    clip = speech("en_adam", "noun")[0]
    path = tmp_path / "a.wav"
    soundfile.write(path, clip.waveform, 16_000)
    assert main(["hear", str(path)]) == 0
    assert capsys.readouterr().out.startswith("    0.0 s  ")
    assert main(["hear", "--json", str(path)]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["file"] == str(path) and line["start"] == 0
    assert line["end"] == pytest.approx(len(clip.waveform) / 16_000)


def test_silence_says_nothing(tmp_path, capsys):
    soundfile.write(tmp_path / "a.flac", np.zeros(16_000 * 20), 16_000)
    assert main(["hear", str(tmp_path / "a.flac")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 2 and all(line.endswith("(nothing)") for line in lines)


def test_what_is_no_sound_is_named(tmp_path, capsys):
    good, bad = tmp_path / "good.wav", tmp_path / "bad.wav"
    soundfile.write(good, np.zeros(16_000), 16_000)
    bad.write_text("no sound")
    assert main(["hear", str(bad), str(good)]) == 1
    printed = capsys.readouterr()
    assert "cannot read 'bad.wav' as sound" in printed.err
    assert printed.out.startswith(f"{good}:     0.0 s  ")
    assert main(["hear", str(bad)]) == 2
    assert main(["hear", str(tmp_path / "missing.wav")]) == 2
    assert main(["hear", "--model", "scenes", str(good)]) == 2
    assert "hears nothing: take speech" in capsys.readouterr().err
