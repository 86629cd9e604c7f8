"""Make the recordings of mmcourse/data/speech once, with espeak-ng.

    pip install espeakng-loader==0.2.4 soundfile==0.14.0
    python tools/maintain/build_speech.py

espeakng-loader brings espeak-ng 1.52.0 and its voices. Neither is needed to use the recordings.
What is said, by whom and how fast is drawn with one seed, so a second run writes the same sounds.

Nouns are the course's, of one English word; captions are those of scenes. A voice is an accent, a
variant of espeak-ng (its formants, breath and roughness), a pitch and a speed. **No variant of the
voices for testing is heard in training, in either language.**
"""

import ctypes
import json
from collections import Counter
from pathlib import Path
from random import Random

import numpy as np
import soundfile

from mmcourse.data.language import caption_zh, captions, noun_table
from mmcourse.data.scenes import EmojiScenes

FOLDER = Path(__file__).resolve().parents[2] / "mmcourse/data/speech"
RATE = 16_000
SEED = 6
NOUNS = 150
LONGEST = 10  # letters of a noun
COMPRESSION = 0.978  # of libsndfile: about 11 kbit a second
GAP = 800  # samples of silence between two clips
ACCENTS = ("en-us", "en-gb-x-rp", "en-029", "en-gb-scotland", "en-gb-x-gbclan", "en-us-nyc")
# one of each family, of those that are to sound like people
VARIANTS = """
m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 Alex Alicia Andrea Andy Annie Denis Diogo Gene
Henrique Hugo Jacky Lee Marco Michael Mike Nguyen Reed adam anika antonio aunty belinda
benjamin boris caleb david ed edward gustave ian iven john klatt linda marcelo max
michel miguel pablo paul pedro quincy rob robert sandro shelby steph travis victor zac
"""
VOICES = {("en", "train"): 11, ("en", "val"): 1, ("en", "test"): 4,
          ("zh", "train"): 9, ("zh", "val"): 1, ("zh", "test"): 4}  # fmt: skip
KEPT = {("en", "train"): 10, ("zh", "train"): 6}  # so many fit in 6 MB
CAPTIONS = {"train": 16, "val": 12, "test": 16}
SYNCHRONOUS, UTF8, END = 2, 1, 0x1000
SPEED, PITCH, PITCH_RANGE = 1, 3, 4


class Synthesiser:
    """espeak-ng through its C functions: text in, samples out."""

    def __init__(self):
        import espeakng_loader

        self.library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path().encode()
        self.rate = self.library.espeak_Initialize(SYNCHRONOUS, 0, data, 0)
        kind = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
        )
        self.callback = kind(self._take)
        self.library.espeak_SetSynthCallback(self.callback)
        self.parts = []

    def _take(self, samples, count, _):
        if samples and count > 0:
            self.parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def say(self, text, voice):
        """Samples between -1 and 1 at 16 kHz, without the silence before and after."""
        name = f"{voice['accent']}+{voice['variant']}".encode()
        if self.library.espeak_SetVoiceByName(name):
            raise ValueError(f"espeak-ng has no voice {name.decode()}")
        for parameter, value in (
            (SPEED, voice["speed"]),
            (PITCH, voice["pitch"]),
            (PITCH_RANGE, voice["pitch_range"]),
        ):
            self.library.espeak_SetParameter(parameter, value, 0)
        self.parts = []
        data = text.encode() + b"\0"
        self.library.espeak_Synth(data, len(data), 0, 0, 0, UTF8 | END, None, None)
        self.library.espeak_Synchronize()
        return trimmed(resampled(np.concatenate(self.parts) / 32768, self.rate))


def resampled(samples, rate):
    """The samples at 16 kHz, by a filter of SciPy's."""
    from math import gcd

    from scipy.signal import resample_poly

    common = gcd(rate, RATE)
    return resample_poly(samples, RATE // common, rate // common)


def trimmed(samples):
    """Without silence at both ends but for 30 ms, and with a peak of 0.5."""
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max())
    margin = RATE * 30 // 1000
    samples = samples[max(0, loud[0] - margin) : loud[-1] + margin]
    return (0.5 * samples / np.abs(samples).max()).astype(np.float32)


def choose_nouns():
    """150 nouns of one word, no two of which are the same word in Mandarin."""
    table = noun_table()
    names = [name for name in table if name.isalpha() and len(name) <= LONGEST]
    by_zh = {table[name].zh: name for name in reversed(names)}
    names = [name for name in names if by_zh[table[name].zh] == name]
    names = [name for name in names if len(table[name].zh) <= 4]
    chosen = set(Random(SEED).sample(names, NOUNS))
    return [name for name in names if name in chosen]


def choose_voices(rng):
    """A dict for each voice."""
    variants = VARIANTS.split()
    rng.shuffle(variants)
    voices = []
    for (language, split), count in VOICES.items():
        for number in range(count):
            variant = variants.pop()
            accent = "cmn" if language == "zh" else ACCENTS[number % len(ACCENTS)]
            voices.append(
                {
                    "name": f"{language}_{variant.lower()}",
                    "language": language,
                    "split": split,
                    "accent": accent,
                    "variant": variant,
                    "pitch": rng.randint(30, 70),
                    "pitch_range": rng.randint(35, 65),
                    "speed": rng.randint(135, 185),
                }
            )
    return voices


def sentences(voice, names, rng):
    """What a voice says: kind and text of each clip."""
    table = noun_table()
    english = voice["language"] == "en"
    said = [("noun", name if english else table[name].zh) for name in names]
    scenes = EmojiScenes("train" if voice["split"] == "train" else "val", 64, names)
    for _ in range(CAPTIONS[voice["split"]]):
        description = scenes.describe(rng)
        text = rng.choice(captions(description, rng)) if english else caption_zh(description)
        said.append(("caption", text))
    return said


def record(synthesiser, voice, said):
    """Write the file of a voice; where each clip begins and how long it is, in samples."""
    parts, clips, place = [], [], 0
    for text in said:
        samples = synthesiser.say(text, voice)
        parts += [samples, np.zeros(GAP, np.float32)]
        clips.append([place, len(samples)])
        place += len(samples) + GAP
    soundfile.write(
        FOLDER / f"{voice['name']}.opus", np.concatenate(parts), RATE,
        format="OGG", subtype="OPUS", compression_level=COMPRESSION,
    )  # fmt: skip
    return clips


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    rng = Random(SEED)
    names = choose_nouns()
    synthesiser = Synthesiser()
    kept, nouns, lines = Counter(), {}, []
    for voice in choose_voices(rng):
        said = sentences(voice, names, rng)
        part = (voice["language"], voice["split"])
        kept[part] += 1
        if kept[part] > KEPT.get(part, kept[part]):
            continue
        nouns[voice["language"]] = [text for kind, text in said if kind == "noun"]
        voice["clips"] = record(synthesiser, voice, [text for _, text in said])
        voice["captions"] = [text for kind, text in said if kind == "caption"]
        print(voice["name"], voice["accent"], flush=True)
        lines.append(" " + json.dumps(voice, ensure_ascii=False))
    head = json.dumps(nouns, ensure_ascii=False)
    text = f'{{"nouns": {head},\n"voices": [\n' + ",\n".join(lines) + "\n]}\n"
    (FOLDER / "voices.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
