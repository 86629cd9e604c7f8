"""The table of fusions, which takes longer than a page: measured once, stored, and read.

``python -m mmcourse.recipes.fusion_studies NAME`` makes ``measured/fusion_NAME.json`` beside this
file, with the command, the seconds and the machine in it; NAME is ``table`` or ``dropout``. The
page reads it with :func:`read`, and does a small part of it again.
"""

import json
import os
import platform
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from mmcourse.captioning import SceneCaptioner
from mmcourse.fusion import (
    FUSIONS,
    KINDS,
    QuestionAnswerer,
    TwoGroups,
    answers,
    fit,
    parameters,
    predict,
    shares,
    sized_fusion,
    tensors,
    tokenizer,
)
from mmcourse.text import LSTMEncoder
from mmcourse.vision import to_pixels

FOLDER = Path(__file__).with_name("measured")
CAPTIONER = Path(__file__).parents[1] / "shipped" / "scenes"  # whose convolutions see
WIDTH = 48
PARAMETERS = 50_000  # of a fusion
STEPS = 1000  # of training; a rate is chosen with half of them
BATCH = 64
SEEDS = (0, 1, 2)
RATES = (1.5e-3, 3e-3, 6e-3)  # each arm takes the best of these
TRAINING, TUNING, TESTED = 3000, 200, 400  # scenes, of five questions each
DROPPED = 0.3  # the share of rows in which modality dropout hides a side
NOISES = (0.5, 1.0, 2.0)  # standard deviations added to each feature
ONE_SIDED = ("question alone", "picture alone")
LSTM = "LSTM, concatenation"
ROBUST = ("concatenation", "late", "gated", "cross-attention")  # trained with dropout too


def read(name):
    """What a study found, a dict."""
    return json.loads((FOLDER / f"fusion_{name}.json").read_text(encoding="utf-8"))


@torch.no_grad()
def see(images, captioner):
    """Features (B, 16, 128) of pictures: those of the captioner's convolutions, frozen.

    Each four neighbours of its 64 cells are averaged.
    """
    features = captioner.convolutions(to_pixels(np.stack(images)))  # (B, 64, C)
    grid = features.transpose(1, 2).unflatten(-1, (8, 8))  # (B, C, 8, 8)
    return F.avg_pool2d(grid, 2).flatten(2).transpose(1, 2)  # (B, 16, C)


def load_questions(split, first, count, captioner):
    """Questions about ``count`` scenes, as :func:`~mmcourse.fusion.fit` takes them, and features
    (count, 16, 128).
    """
    world = TwoGroups(split)
    asked = []
    images = []
    for index in range(first, first + count):
        scene, questions = world.ask(index)
        asked += questions
        images.append(scene.image)
    parts = [see(images[start : start + 100], captioner) for start in range(0, count, 100)]
    data = tensors(asked)
    data["scene"] = torch.arange(count).repeat_interleave(len(KINDS))
    return data, torch.cat(parts)


def whitening(features):
    """A function that turns features (..., C) so that each of their directions varies as much.

    We suspect, and did not measure, that without it the few directions that tell nouns apart drown
    those that tell colours apart.
    """
    rows = features.flatten(0, 1)  # (cells, C)
    mean = rows.mean(0)
    _, sizes, axes = torch.linalg.svd(rows[::4] - mean, full_matrices=False)
    spread = sizes / len(rows[::4]) ** 0.5
    turn = axes.T / (spread + 0.02 * spread[0])
    return lambda found: (found - mean) @ turn


def load_all():
    """Training, tuning and test questions with whitened features: a dict of pairs."""
    captioner = SceneCaptioner.from_pretrained(CAPTIONER).eval()
    found = {
        "train": load_questions("train", 0, TRAINING, captioner),
        "tune": load_questions("val", TESTED, TUNING, captioner),
        "test": load_questions("val", 0, TESTED, captioner),
    }
    whiten = whitening(found["train"][1])
    return {name: (data, whiten(features)) for name, (data, features) in found.items()}


def make(arm, seed):
    """An answerer for an arm: a name of FUSIONS, LSTM, or ONE_SIDED."""
    torch.manual_seed(seed)
    name = arm if arm in FUSIONS else "concatenation"
    encoder = LSTMEncoder(len(tokenizer()), WIDTH) if arm == LSTM else None
    fusion = sized_fusion(name, WIDTH, PARAMETERS)
    return QuestionAnswerer(
        fusion, len(tokenizer()), len(answers()), cells=16, text_encoder=encoder
    )


def as_seen_by(arm, data, features):
    """The questions as an arm gets them: a side that it may not see is blank."""
    if arm == "question alone":
        return data, torch.zeros_like(features)
    if arm == "picture alone":
        return data | {"ids": data["blank_ids"], "mask": data["blank_mask"]}, features
    return data, features


def train_arm(arm, loaded, rate, seed, dropped=0.0, steps=None):
    """An answerer for an arm, trained."""
    data, features = as_seen_by(arm, *loaded["train"])
    return fit(
        make(arm, seed), data, features,
        steps=steps or STEPS, rate=rate, seed=seed, batch=BATCH, dropped=dropped,
    )  # fmt: skip


def right(model, arm, pair, **changes):
    """Which questions are answered rightly, a bool array (Q,)."""
    data, features = as_seen_by(arm, *pair)
    found = predict(model, data, features, **changes).argmax(1)
    return (found == data["answer"]).numpy()


def packed(flags):
    """Booleans as a string of hexadecimal digits."""
    return np.packbits(flags).tobytes().hex()


def unpacked(text):
    """The booleans of :func:`packed`; their number is a multiple of 8."""
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8)).astype(bool)


def tuned(arm, loaded, dropped=0.0):
    """The accuracy on the tuning scenes at each rate, with a seed of its own: a dict."""
    found = {}
    for rate in RATES:
        model = train_arm(arm, loaded, rate, seed=9, dropped=dropped, steps=STEPS // 2)
        found[rate] = float(right(model, arm, loaded["tune"]).mean())
    return found


def measure(arm, loaded, dropped=0.0, rates=None):
    """The row of an arm: the rate that was chosen, and what each seed found."""
    start = time.process_time()
    rates = rates or tuned(arm, loaded, dropped)
    rate = max(rates, key=rates.get)
    row = {"arm": arm, "dropped": dropped, "rate": rate}
    row["rates"] = {str(each): accuracy for each, accuracy in rates.items()}
    row["seeds"] = []
    for seed in SEEDS:
        model = train_arm(arm, loaded, rate, seed, dropped)
        found = {"seed": seed, "right": packed(right(model, arm, loaded["test"]))}
        if arm in FUSIONS:
            for side in ("text", "image"):
                found[f"no {side}"] = packed(right(model, arm, loaded["test"], hide=(side,)))
            for noise in NOISES:
                found[f"noise {noise}"] = packed(right(model, arm, loaded["test"], noise=noise))
            found["share of text"] = share_by_kind(model, loaded["test"])
        row["seeds"].append(found)
    row["parameters"] = parameters(model.fusion)
    row["cpu seconds"] = round(time.process_time() - start)
    print(arm, dropped, rates, [unpacked(s["right"]).mean() for s in row["seeds"]], flush=True)
    return row


def share_by_kind(model, pair):
    """The mean share of the text, by gradient, for each kind: a dict."""
    data, features = pair
    found = shares(model, data, features, torch.arange(len(data["answer"])))
    return {kind: float(found[data["kind"] == i].mean()) for i, kind in enumerate(KINDS)}


def table(loaded):
    """Every arm, each with its own rate."""
    return [measure(arm, loaded) for arm in (*FUSIONS, LSTM, *ONE_SIDED)]


def dropout(loaded):
    """Some arms again, with modality dropout."""
    return [measure(arm, loaded, DROPPED) for arm in ROBUST]


STUDIES = {"table": table, "dropout": dropout}


def main(name):
    """Make a study and write what it found."""
    torch.set_num_threads(1)
    start = time.time()
    found = {
        "command": f"python -m mmcourse.recipes.fusion_studies {name}",
        "rows": STUDIES[name](load_all()),
        "seconds": round(time.time() - start),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} thread(s)",
        "torch": torch.__version__,
    }
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"fusion_{name}.json"
    part = path.with_suffix(".part")
    part.write_text(json.dumps(found, indent=1), encoding="utf-8")
    os.replace(part, path)


if __name__ == "__main__":
    main(sys.argv[1])
