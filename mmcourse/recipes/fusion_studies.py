"""The table of fusions, which takes longer than a page: measured once, stored, and read.

``python -m mmcourse.recipes.fusion_studies NAME`` makes ``measured/fusion_NAME.json`` beside this
file, with the command, the seconds and the machine in it; NAME is ``table``, ``dropout`` or
``longer``. The page reads it with :func:`read`, and does a small part of it again. What the file
holds already, measured with the same settings, is not measured again: delete it to begin anew.
"""

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
from mmcourse.recipes.stored import machine, path_of, read_study, write_study
from mmcourse.text import LSTMEncoder
from mmcourse.vision import to_pixels

CAPTIONER = Path(__file__).parents[1] / "shipped" / "scenes"  # whose convolutions see
WIDTH = 48
PARAMETERS = 50_000  # of a fusion
STEPS = 1000  # of training; a rate is chosen with half of them
BATCH = 64
SEEDS = (0, 1, 2)
RATES = (1.5e-3, 3e-3, 6e-3)  # each arm begins with these; see tuned
TRAINING, TUNING, TESTED = 3000, 200, 400  # scenes, of five questions each
DROPPED = 0.3  # the share of training examples in which modality dropout hides a side
NOISES = (0.5, 1.0, 2.0)  # standard deviations added to each feature
ONE_SIDED = ("question alone", "picture alone")
LSTM = "LSTM, concatenation"
LONGER = ("concatenation", "cross-attention")  # with dropout, and as many whole questions


def read(name):
    """What a study found, a dict."""
    return read_study(f"fusion_{name}")


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


def tuned(arm, loaded, dropped=0.0, known=None):
    """The accuracy on the tuning scenes at each rate, with a seed of its own: a dict.

    As long as the best rate is the smallest or the largest of those tried, the half or the double
    of it is tried too. ``known`` holds what is measured already.
    """
    found = dict(known or {})
    wanted = list(RATES)
    while wanted:
        for rate in wanted:
            if rate not in found:
                model = train_arm(arm, loaded, rate, 9, dropped, STEPS // 2)
                found[rate] = float(right(model, arm, loaded["tune"]).mean())
        wanted = beyond(found)
    return dict(sorted(found.items()))


def beyond(found):
    """The next rates to try, given the accuracy at each: none where the best lies inside."""
    best = max(found, key=found.get)
    if best == min(found):
        return [best / 2]
    if best == max(found):
        return [best * 2]
    return []


def measure(arm, loaded, dropped=0.0, known=None, steps=STEPS):
    """The row of an arm: the rate that was chosen, and what each seed found.

    ``known`` is a row that was measured before, whose rates, and whose seeds if the best rate is
    still the same, are kept.
    """
    known = known or {"rates": {}, "rate": None, "seeds": [], "cpu seconds": 0}
    start = time.process_time()
    rates = {float(rate): accuracy for rate, accuracy in known["rates"].items()}
    rates = tuned(arm, loaded, dropped, rates)
    rate = max(rates, key=rates.get)
    row = {"arm": arm, "dropped": dropped, "rate": rate}
    row["rates"] = {str(each): accuracy for each, accuracy in rates.items()}
    row["seeds"] = known["seeds"] if known["rate"] == rate else []
    for seed in SEEDS[len(row["seeds"]) :]:
        model = train_arm(arm, loaded, rate, seed, dropped, steps)
        row["seeds"].append({"seed": seed} | tested(model, arm, loaded["test"]))
    row["parameters"] = parameters(make(arm, 0).fusion)
    row["cpu seconds"] = known["cpu seconds"] + round(time.process_time() - start)
    print(arm, dropped, rates, [unpacked(s["right"]).mean() for s in row["seeds"]], flush=True)
    return row


def tested(model, arm, pair):
    """What a model answers rightly: whole, of a fusion also with a side missing, and with noise."""
    found = {"right": packed(right(model, arm, pair))}
    if arm not in FUSIONS:
        return found
    for side in ("text", "image"):
        found[f"no {side}"] = packed(right(model, arm, pair, hide=(side,)))
    for noise in NOISES:
        found[f"noise {noise}"] = packed(right(model, arm, pair, noise=noise))
    found["share of text"] = share_by_kind(model, pair)
    return found


def share_by_kind(model, pair):
    """The mean share of the text, by gradient, for each kind: a dict."""
    data, features = pair
    found = shares(model, data, features, torch.arange(len(data["answer"])))
    return {kind: float(found[data["kind"] == i].mean()) for i, kind in enumerate(KINDS)}


def table(loaded, known):
    """Every arm, each with its own rate."""
    arms = (*FUSIONS, LSTM, *ONE_SIDED)
    return [measure(arm, loaded, known=known.get(arm)) for arm in arms]


def dropout(loaded, known):
    """Every fusion again, with modality dropout."""
    return [measure(arm, loaded, DROPPED, known.get(arm)) for arm in FUSIONS]


def longer(loaded, known):
    """Some fusions with dropout and so many steps that they meet as many questions with both sides
    as without dropout; the rate is that of ``dropout``.
    """
    before = {row["arm"]: row for row in read("dropout")["rows"]}
    rows = []
    for arm in LONGER:
        row = {"rates": before[arm]["rates"], "rate": None, "seeds": [], "cpu seconds": 0}
        rows.append(measure(arm, loaded, DROPPED, known.get(arm, row), whole_steps()))
    return rows


def whole_steps():
    """The steps of ``longer``."""
    return round(STEPS / (1 - DROPPED))


def settings():
    """What all rows of a study must share, a dict."""
    return {
        "steps": STEPS,
        "batch": BATCH,
        "width": WIDTH,
        "parameters": PARAMETERS,
        "scenes": [TRAINING, TUNING, TESTED],
        "dropped": DROPPED,
    }


STUDIES = {"table": table, "dropout": dropout, "longer": longer}


def main(name):
    """Make a study, or complete it, and write what it found."""
    torch.set_num_threads(1)
    start = time.time()
    before = read(name) if path_of(f"fusion_{name}").exists() else {}
    if before.get("settings") != settings():
        before = {"rows": [], "seconds": 0}
    rows = STUDIES[name](load_all(), {row["arm"]: row for row in before["rows"]})
    found = {
        "command": f"python -m mmcourse.recipes.fusion_studies {name}",
        "settings": settings(),
        "rows": rows,
        "seconds": before["seconds"] + round(time.time() - start),
    }
    write_study(f"fusion_{name}", found | machine())


if __name__ == "__main__":
    main(sys.argv[1])
