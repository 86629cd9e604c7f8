"""The recordings, and sound files of every kind, whole or broken."""

import numpy as np
import pytest
import soundfile

from mmcourse.data import speech as module
from mmcourse.data.speech import (
    LANGUAGES,
    SPLITS,
    at_16_khz,
    plain_text,
    read_sound,
    sound_blocks,
    speech,
    spoken_nouns,
    table,
    voice_table,
    voices,
)


def tone(rate, pitch=440, seconds=0.5):
    return 0.5 * np.sin(2 * np.pi * pitch * np.arange(int(rate * seconds)) / rate)


def loudness(samples, pitch, rate=16_000):
    """The size of one frequency in the middle of some samples."""
    middle = samples[len(samples) // 4 : 3 * len(samples) // 4]
    wave = np.exp(-2j * np.pi * pitch * np.arange(len(middle)) / rate)
    return 2 * abs((middle * wave).mean())


def test_every_voice_says_what_the_table_says():
    for language in LANGUAGES:
        assert len(set(spoken_nouns(language))) == 150
    for split in SPLITS:
        for language in LANGUAGES:
            voice = voices(split, language)[0]
            clips = speech(voice)
            nouns = [clip for clip in clips if clip.kind == "noun"]
            assert [clip.text for clip in nouns] == spoken_nouns(language)
            assert len(clips) > len(nouns) == 150
            for clip in clips:
                seconds = len(clip.waveform) / 16_000
                assert 0.15 < seconds < 8 and abs(clip.waveform).max() > 0.2
                assert clip.text == plain_text(clip.text) and clip.voice == voice
            assert speech(voice, "caption")[0].text == clips[150].text


def test_no_voice_is_in_two_splits_nor_its_variant():
    variants = {}
    for voice in table()["voices"]:
        variants.setdefault(voice["variant"], set()).add(voice["split"])
    assert all(len(splits) == 1 for splits in variants.values())
    assert [len(voices(split, "en")) for split in SPLITS] == [10, 1, 4]
    assert [len(voices(split, "zh")) for split in SPLITS] == [6, 1, 4]


def test_it_is_small():
    files = list(module.FOLDER.iterdir())
    assert sum(path.stat().st_size for path in files) < 6_000_000
    names = {voice["name"] for voice in table()["voices"]}
    assert {path.stem for path in files if path.suffix == ".opus"} == names
    assert (module.FOLDER / "README.md").is_file()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: voices("dev", "en"), "unknown split 'dev': choose one of train, val, test"),
        (lambda: voices("val", "fr"), "unknown language 'fr'"),
        (lambda: spoken_nouns("fr"), "unknown language 'fr'"),
        (lambda: speech("en_nobody"), "no voice 'en_nobody'"),
        (lambda: speech("en_adam", "verb"), "unknown kind 'verb'"),
        (lambda: voice_table("x"), "no voice"),
    ],
)
def test_what_is_not_there(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_plain_text():
    assert plain_text("In the snow , TWO dogs") == "in the snow two dogs"
    assert plain_text("夕阳下，一只狗。") == "夕阳下一只狗"


@pytest.mark.parametrize(
    ("name", "subtype"),
    [
        ("a.wav", "PCM_16"),
        ("a.wav", "PCM_24"),
        ("a.wav", "FLOAT"),
        ("a.wav", "PCM_U8"),
        ("a.flac", "PCM_24"),
        ("a.ogg", "VORBIS"),
        ("a.opus", "OPUS"),
        ("a.mp3", "MPEG_LAYER_III"),
    ],
)
@pytest.mark.parametrize("rate", [16_000, 8000, 48_000])
def test_formats_and_rates(tmp_path, name, subtype, rate):
    left = tone(rate)
    stereo = np.stack([left, 0.5 * left], 1)
    file = "OGG" if name.endswith("opus") else None
    soundfile.write(tmp_path / name, stereo, rate, subtype=subtype, format=file)
    found = read_sound(tmp_path / name)
    assert found.dtype == np.float32 and abs(len(found) - 8000) < 1600
    assert loudness(found, 440) == pytest.approx(0.375, rel=0.06)


def test_a_file_of_floats_is_cut(tmp_path):
    soundfile.write(tmp_path / "a.wav", 3 * tone(16_000), 16_000, subtype="FLOAT")
    found = read_sound(tmp_path / "a.wav")
    assert found.max() == 1 and found.min() == -1


def test_one_sample(tmp_path):
    soundfile.write(tmp_path / "a.wav", [0.5], 16_000)
    assert read_sound(tmp_path / "a.wav").tolist() == [0.5]


def test_what_is_no_sound(tmp_path):
    path = tmp_path / "a.wav"
    with pytest.raises(ValueError, match="there is no file"):
        read_sound(path)
    path.write_text("I am a text")
    with pytest.raises(ValueError, match="cannot read 'a.wav' as sound"):
        read_sound(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="cannot read 'a.wav' as sound"):
        read_sound(path)
    soundfile.write(path, np.zeros(0), 16_000)
    with pytest.raises(ValueError, match="holds no sample"):
        read_sound(path)
    soundfile.write(path, np.array([0.0, np.nan]), 16_000, subtype="FLOAT")
    with pytest.raises(ValueError, match="no numbers"):
        read_sound(path)
    soundfile.write(path, np.array([0.0, np.inf]), 16_000, subtype="FLOAT")
    with pytest.raises(ValueError, match="no numbers"):
        read_sound(path)


def test_blocks_are_the_whole(tmp_path):
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.wav", rng.uniform(-1, 1, 50_000), 16_000)
    blocks = list(sound_blocks(tmp_path / "a.wav", 1))
    assert [len(block) for block in blocks] == [16_000, 16_000, 16_000, 2000]
    assert np.array_equal(np.concatenate(blocks), read_sound(tmp_path / "a.wav"))


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 48_000, 96_000])
def test_another_rate_keeps_a_tone_and_its_place(rate):
    found = at_16_khz(tone(rate, 1000), rate)
    expected = tone(16_000, 1000)[: len(found)]
    assert abs(len(found) - 8000) <= 1
    assert np.abs(found - expected)[200:-200].max() < 5e-3


def test_what_is_too_high_is_taken_away():
    found = at_16_khz(tone(48_000, 11_000), 48_000)
    assert loudness(found, 5000) < 1e-3  # where it would come back
    assert np.abs(found[200:-200]).max() < 5e-3
