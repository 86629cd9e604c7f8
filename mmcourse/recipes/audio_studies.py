"""What chapter 06 shows and takes longer than a page may.

``python -m mmcourse.recipes.audio_studies baselines | split | heard`` measures and stores one;
``noise SHORT CLEAN`` stores what two recognisers hear that were trained for half as long, into
those folders, by ``python -m mmcourse.recipes.audio SHORT short``, and the same with ``clean``.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from mmcourse.audio import (
    NearestTemplate,
    Recogniser,
    SymbolModel,
    ctc_beam,
    ctc_choose,
    ctc_greedy,
    log_mel,
    word_error_rate,
)
from mmcourse.data.language import caption_zh, captions
from mmcourse.data.scenes import EmojiScenes
from mmcourse.data.speech import LANGUAGES, plain_text, speech, spoken_nouns, table, voices
from mmcourse.recipes.audio import add_noise
from mmcourse.recipes.stored import machine, write_study

SHIPPED = Path(__file__).parents[1] / "shipped" / "speech"
NOISES = (None, 20, 10, 0)  # decibels of speech above white noise
EVERY = 5  # every fifth noun is compared with the templates
TEMPLATE_VOICES = 4  # of training
NOUNS = 3  # every third noun is heard
WEIGHT, BONUS = 0.5, 0.5  # of the language model, and for each symbol
BEAM = 8
TEXTS = 3000  # captions of other scenes that the language model counts
ORDER = 3
FOLDS = 5
COPIES = (1.05, 0.95)  # lengths of the copies, by that of the clip
CELLS = (12, 40)  # the frames and mels to which each clip of the split study is shrunk


def noisy(waveform, decibels, seed):
    """A waveform with white noise so many ``decibels`` below it; None for none."""
    waveform = torch.as_tensor(waveform)
    if decibels is None:
        return waveform
    return add_noise(waveform, decibels, torch.Generator().manual_seed(seed), 0)


# Nothing learnt ------------------------------------------------------------------------------


def baselines():
    """The nearest template on the voices of test, with and without noise."""
    rows = []
    for language in LANGUAGES:
        clips = []
        for voice in voices("train", language)[:TEMPLATE_VOICES]:
            clips += [(torch.from_numpy(c.waveform), c.text) for c in speech(voice, "noun")]
        nearest = NearestTemplate(clips)
        for voice in voices("test", language):
            for number, clip in enumerate(speech(voice, "noun")[::EVERY]):
                for decibels in (None, 10):
                    text = nearest.transcribe(noisy(clip.waveform, decibels, number))
                    rows.append(
                        {"language": language, "voice": voice, "said": clip.text,
                         "noise": decibels, "heard": text}
                    )  # fmt: skip
    return {"templates": TEMPLATE_VOICES, "every": EVERY, "rows": rows} | machine()


# How a split flatters ------------------------------------------------------------------------


def shrunk(waveform):
    """A clip as 12 x 40 numbers, whatever its length."""
    features = log_mel(waveform)  # (T, 80)
    cells = torch.nn.functional.interpolate(features[None, None], CELLS, mode="area")
    return (cells - cells.mean()).flatten()


def linear(rows, labels, classes, penalty=3.0):
    """A linear classifier by ridge regression: a function of rows to classes."""
    mean = rows.mean(0)
    centred = rows - mean
    square = centred.T @ centred + penalty * torch.eye(rows.shape[1])
    weights = torch.linalg.solve(square, centred.T @ torch.eye(classes)[labels])
    return lambda others: ((others - mean) @ weights).argmax(1)


def copies_of(waveform):
    """A clip as it is, a little slower and a little faster: what is often called augmentation."""
    clip = torch.from_numpy(waveform)
    lengths = [len(clip), *(round(len(clip) * factor) for factor in COPIES)]
    changed = [
        torch.nn.functional.interpolate(clip[None, None], length, mode="linear")[0, 0]
        for length in lengths
    ]
    return torch.stack([shrunk(each) for each in changed])  # (3, 480)


def split():
    """One linear classifier under three splits of the same clips.

    All train on clips and their copies, slower and faster. ``copies`` splits these at random, each
    for itself; ``clips`` splits clips at random and keeps copies with their clip; ``voices`` keeps
    voices apart. Only clips as they were recorded are judged.
    """
    rows = []
    for language in LANGUAGES:
        names = [v["name"] for v in table()["voices"] if v["language"] == language]
        features = torch.stack(
            [torch.stack([copies_of(c.waveform) for c in speech(v, "noun")]) for v in names]
        )  # (voices, nouns, copies, 480)
        shape = features.shape[:3]
        labels = torch.arange(shape[1])[None, :, None].expand(shape)
        generator = torch.Generator().manual_seed(0)
        of_clips = torch.randperm(shape[0] * shape[1], generator=generator) % FOLDS
        of_copies = torch.randperm(labels.numel(), generator=generator) % FOLDS
        folds_of = {
            "clips": of_clips.reshape(*shape[:2], 1).expand(shape),
            "copies": of_copies.reshape(shape),
            "voices": torch.arange(shape[0])[:, None, None].expand(shape) % FOLDS,
        }
        original = torch.arange(shape[2]).expand(shape) == 0
        for name, folds in folds_of.items():
            for fold in range(FOLDS):
                held = folds == fold
                judge = linear(features[~held], labels[~held], shape[1])
                judged = held & original
                wrong = (judge(features[judged]) != labels[judged]).float().mean().item()
                rows.append({"language": language, "split": name, "fold": fold, "wrong": wrong})
    return {"cells": CELLS, "folds": FOLDS, "copies": COPIES, "rows": rows} | machine()


# What the shipped recogniser hears -----------------------------------------------------------


def language_model(model, language):
    """Counts of the symbols of captions of other scenes, of those that can be written."""
    spelt = []
    for text in caption_texts(language):
        try:
            spelt.append(model.spell(text))
        except ValueError:
            continue
    return SymbolModel(spelt, len(model.symbols) + 1, ORDER)


def caption_texts(language):
    """Captions of scenes of train with the nouns that are spoken."""
    from random import Random

    rng = Random(17)
    scenes = EmojiScenes("train", 64, spoken_nouns("en"))
    texts = []
    for _ in range(TEXTS):
        description = scenes.describe(rng)
        english = rng.choice(captions(description, rng))
        texts.append(plain_text(english if language == "en" else caption_zh(description)))
    return texts


def heard(folder=SHIPPED):
    """What a recogniser, the shipped one by default, hears of the voices of test.

    Nouns, every third: greedy, and from the list; every sixth also with noise. Captions: greedy,
    and with a language model whose weight was set before anything was measured.
    """
    model = Recogniser.from_pretrained(folder)
    rows = []
    for language in LANGUAGES:
        names = [plain_text(name) for name in spoken_nouns(language)]
        listed = [model.spell(name) for name in names]
        judge = language_model(model, language)
        for voice in voices("test", language):
            for number, clip in enumerate(speech(voice, "noun")[::NOUNS]):
                for decibels in NOISES if number % 2 == 0 else (None,):
                    log_probs = model.log_probs(noisy(clip.waveform, decibels, number))
                    rows.append(
                        {"language": language, "voice": voice, "kind": "noun",
                         "noise": decibels, "said": clip.text,
                         "greedy": model.text_of(ctc_greedy(log_probs)),
                         "listed": names[ctc_choose(log_probs, listed)]}
                    )  # fmt: skip
            for clip in speech(voice, "caption"):
                log_probs = model.log_probs(torch.from_numpy(clip.waveform))
                found = ctc_beam(log_probs, BEAM, judge, WEIGHT, BONUS)
                rows.append(
                    {"language": language, "voice": voice, "kind": "caption", "noise": None,
                     "said": clip.text, "greedy": model.text_of(ctc_greedy(log_probs)),
                     "beam": model.text_of(found[0].symbols)}
                )  # fmt: skip
    about = {"weight": WEIGHT, "bonus": BONUS, "beam": BEAM, "order": ORDER}
    return about | {"rows": rows} | machine()


def noise(*folders):
    """What two recognisers hear of nouns, one trained with noise and one without."""
    found = {}
    for name, folder in zip(("with", "without"), folders, strict=True):
        rows = heard(Path(folder) / "half")["rows"]
        found[name] = [row for row in rows if row["kind"] == "noun"]
    return found | machine()


def rates_by_voice(rows, way, rate=word_error_rate):
    """The error rate of each voice, an array: what an interval over voices is made of."""
    names = sorted({row["voice"] for row in rows})
    found = []
    for name in names:
        own = [row for row in rows if row["voice"] == name]
        found.append(rate([row["said"] for row in own], [row[way] for row in own]))
    return np.array(found)


def interval(rows, way, rate=word_error_rate, draws=500, seed=0):
    """An error rate and where 95 % of it lie when voices and words are both drawn again.

    The rows are a table of voices by words; each draw takes voices with replacement, and items with
    replacement, the same items for all voices.
    """
    names = sorted({row["voice"] for row in rows})
    by_voice = [[row for row in rows if row["voice"] == name] for name in names]
    whole = rate([row["said"] for row in rows], [row[way] for row in rows])
    generator = np.random.default_rng(seed)
    counts = np.array(
        [[rate_parts(row, way, rate) for row in own] for own in by_voice]
    )  # (voices, items, 2): wrong, and of how many
    values = []
    for _ in range(draws):
        of_voices = generator.integers(len(names), size=len(names))
        of_items = generator.integers(counts.shape[1], size=counts.shape[1])
        wrong, total = counts[of_voices][:, of_items].sum((0, 1))
        values.append(wrong / total)
    low, high = np.percentile(values, [2.5, 97.5])
    return whole, float(low), float(high)


def rate_parts(row, way, rate):
    """The edits of one row, and the items that were said."""
    items = len(row["said"].split()) if rate is word_error_rate else len(row["said"])
    return rate([row["said"]], [row[way]]) * items, items


STUDIES = {"baselines": baselines, "split": split, "heard": heard, "noise": noise}

if __name__ == "__main__":
    torch.set_num_threads(1)
    study, *arguments = sys.argv[1:]
    write_study(f"audio_{study}", STUDIES[study](*arguments))
