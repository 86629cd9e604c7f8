"""Speech: nouns and captions of scenes, spoken in English and Mandarin by many voices.

``speech/`` has what ``tools/maintain/build_speech.py`` had espeak-ng say: one Opus file a voice,
and ``voices.json``. Each voice of a language says 150 nouns, then captions of its own. **The
voices of ``val`` and ``test`` are not heard in ``train``**, nor is their variant of espeak-ng in
the other language.

:func:`read_sound` reads any sound file into samples at 16 kHz.
"""

import json
from functools import cache
from math import gcd
from pathlib import Path
from typing import NamedTuple

import numpy as np

FOLDER = Path(__file__).with_suffix("")
RATE = 16_000  # samples a second
SPLITS = ("train", "val", "test")
LANGUAGES = ("en", "zh")
KINDS = ("noun", "caption")
NOT_SAID = str.maketrans("", "", ",，。.")
BLOCK = 60  # seconds of a long file that are read at once
FILTER = 16  # zero crossings of the filter that changes the rate, on each side


class Spoken(NamedTuple):
    """One clip."""

    waveform: np.ndarray  #: samples ``(N,)`` at 16 kHz, float32 between -1 and 1
    text: str  #: what is said, without punctuation
    voice: str  #: who says it, as ``en_jacky``
    kind: str  #: ``noun`` or ``caption``


@cache
def table():
    """What ``voices.json`` holds: ``nouns`` of each language, and ``voices``."""
    return json.loads((FOLDER / "voices.json").read_text(encoding="utf-8"))


def spoken_nouns(language):
    """The 150 nouns that every voice of a language says, in their order. ValueError as below."""
    return list(table()["nouns"][check(language, LANGUAGES, "language")])


def voices(split, language):
    """The names of the voices of a split.

    ValueError for a split that is not train, val or test, or a language that is not en or zh.
    """
    check(split, SPLITS, "split")
    check(language, LANGUAGES, "language")
    return [
        voice["name"]
        for voice in table()["voices"]
        if voice["split"] == split and voice["language"] == language
    ]


def check(value, allowed, name):
    """``value``, or ValueError when it is not among those that are allowed."""
    if value not in allowed:
        raise ValueError(f"unknown {name} {value!r}: choose one of {', '.join(allowed)}")
    return value


def voice_table(name):
    """How a voice was made and what it says, a dict. ValueError for an unknown name."""
    for voice in table()["voices"]:
        if voice["name"] == name:
            return voice
    raise ValueError(f"there is no voice {name!r}: voices(split, language) lists their names")


def speech(voice, kind=None):
    """What a voice says, a list of :class:`Spoken`; with a ``kind`` only those clips."""
    if kind is not None:
        check(kind, KINDS, "kind")
    about = voice_table(voice)
    texts = spoken_nouns(about["language"]) + about["captions"]
    kinds = ["noun"] * (len(texts) - len(about["captions"])) + ["caption"] * len(about["captions"])
    waveform = read_sound(FOLDER / f"{voice}.opus")
    return [
        Spoken(waveform[start : start + length], plain_text(text), voice, own)
        for (start, length), text, own in zip(about["clips"], texts, kinds, strict=True)
        if kind in (None, own)
    ]


def plain_text(text):
    """A text in lower case, without punctuation, and with one space between words."""
    return " ".join(text.lower().translate(NOT_SAID).split())


# Sound files ---------------------------------------------------------------------------------


def read_sound(path):
    """A whole sound file as samples ``(N,)`` at 16 kHz, float32, its channels averaged.

    WAV of any depth, FLAC, Ogg (Vorbis or Opus), MP3 and what else libsndfile reads. Samples that
    are louder than 1, as in files of floats, are cut to -1 and 1. ValueError for a file that is
    no sound, has no sample or holds NaN or infinity.
    """
    blocks = list(sound_blocks(path))
    return np.concatenate(blocks)


def sound_blocks(path, seconds=BLOCK):
    """The blocks of a sound file, each of so many ``seconds``, as :func:`read_sound` gives them.

    So an hour of sound needs the memory of a minute. Each block changes its rate by itself.
    """
    import soundfile

    if not Path(path).is_file():
        raise ValueError(f"there is no file {str(path)!r}")
    try:
        with soundfile.SoundFile(path) as file:
            rate = file.samplerate
            read = 0
            for block in file.blocks(seconds * rate, dtype="float32", always_2d=True):
                read += len(block)
                yield at_16_khz(sane(block.mean(1), path), rate)
    except soundfile.LibsndfileError as error:
        raise ValueError(
            f"cannot read {Path(path).name!r} as sound: expected WAV, FLAC, Ogg, Opus or MP3"
        ) from error
    if read == 0:
        raise ValueError(f"{Path(path).name!r} holds no sample")


def sane(samples, path):
    """The samples cut to -1 and 1. ValueError for NaN and infinity."""
    if not np.isfinite(samples).all():
        raise ValueError(f"{Path(path).name!r} holds samples that are no numbers")
    return samples.clip(-1, 1)


def at_16_khz(samples, rate):
    """Samples ``(N,)`` of any rate at 16 kHz: a low-pass filter, then other places.

    What lies above half of the lower of both rates is taken away first: it would come back as a
    frequency that was never there.
    """
    if rate == RATE:
        return samples.astype(np.float32)
    common = gcd(rate, RATE)
    up, down = RATE // common, rate // common
    reach = FILTER * max(1.0, rate / RATE)  # samples of the old rate on each side
    cutoff = min(1.0, RATE / rate)
    count = -(-len(samples) * up // down)
    padded = np.pad(samples.astype(np.float64), int(reach) + 1)
    found = np.empty(count)
    offsets = np.arange(-int(reach), int(reach) + 2)
    for phase in range(min(up, count)):  # all new samples that lie alike between two old ones
        places = np.arange(phase, count, up) * down / up
        whole = places.astype(int)
        distance = offsets - (places[0] - whole[0])
        taper = np.cos(np.pi * (distance / (reach + 1)).clip(-1, 1) / 2) ** 2
        weights = cutoff * np.sinc(cutoff * distance) * taper
        rows = np.lib.stride_tricks.sliding_window_view(padded, len(offsets))
        found[phase::up] = rows[whole + 1] @ weights
    return found.astype(np.float32)
