"""Readers of clips that look at time in different ways: measured, stored, and read by the page.

``python -m mmcourse.recipes.video_studies arms`` makes ``measured/video_arms.json`` beside this
file, with the command, the seconds and the machine in it. The page reads it with :func:`read`. All
arms have the same clips, batches, steps and learning rate, and nearly the same number of
parameters. Each is stored as soon as it is measured, and an arm that is stored already is not
measured again. ``... long`` makes ``video_long.json``: the shipped reader, and two more
trainings of its whole recipe with other seeds.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from mmcourse import training
from mmcourse.data.clips import FRAME, MovingScenes
from mmcourse.recipes.stored import machine, path_of, read_study, write_study
from mmcourse.recipes.video import collate, loss, seen, train
from mmcourse.training import TrainingConfig
from mmcourse.video import (
    ClipReader,
    count_multiplications,
    knows_direction,
    one_frame,
    reads_rightly,
    shuffled,
)

SHIPPED = Path(__file__).parents[1] / "shipped" / "clips"
STEPS = 1000
BATCH = 16
SEEDS = (0, 1, 2)
RATE = 2e-3  # that of the recipe; 200 steps do not tell it from half of it
TESTED = {"val": 800, "composition": 400, "style": 400}  # clips
ARMS = {
    "factorised": {"encoder": "factorised"},
    "mean of frames": {"encoder": "bag"},
    "one frame": {"encoder": "bag", "frames": 1},
    "divided": {"encoder": "divided"},
    "joint": {"encoder": "joint"},
    "tubelets": {"encoder": "joint", "long": 2},
}


def read(name="arms"):
    """What a study found, a dict."""
    return read_study(f"video_{name}")


def as_seen_by(arm, frames, seed):
    """What an arm gets of clips (B, F, H, W, 3)."""
    if arm == "one frame":
        return one_frame(frames, seed=seed)[:, :1]
    return frames


class SeenClips:
    """Clips of training as an arm sees them: sample ``i`` depends on ``i`` alone."""

    def __init__(self, arm):
        self.arm = arm
        self.clips = MovingScenes("train")

    def __getitem__(self, index):
        clip = self.clips[index]
        return clip._replace(frames=as_seen_by(self.arm, clip.frames[None], index)[0])


def train_arm(arm, seed, steps=STEPS):
    """A reader, trained as an arm."""
    torch.manual_seed(seed)
    model = ClipReader(**ARMS[arm])
    config = TrainingConfig(
        steps=steps, batch_size=BATCH, learning_rate=RATE, warmup=steps // 20, seed=seed
    )
    with tempfile.TemporaryDirectory() as folder:
        training.train(model, SeenClips(arm), loss, config, folder, collate=collate)
    return model


def packed(flags):
    """Booleans as a text of 0 and 1."""
    return "".join("1" if flag else "0" for flag in flags)


def unpacked(text):
    """The booleans of :func:`packed`, an array."""
    return np.array([letter == "1" for letter in text])


def measure(arm, tests):
    """The row of an arm: what each seed knew of the tests, (frames, facts) by name."""
    start = time.process_time()
    model = ClipReader(**ARMS[arm])
    pixels = torch.zeros(1, model.frames, 3, FRAME, FRAME)
    row = {
        "arm": arm,
        "parameters": sum(p.numel() for p in model.parameters()),
        "multiplications": count_multiplications(model, pixels),
        "seeds": [],
    }
    for seed in SEEDS:
        begun = time.process_time()
        model = train_arm(arm, seed)
        found = {"seed": seed, "cpu seconds": round(time.process_time() - begun, 1)}
        for name, (frames, facts) in tests.items():
            scores = model.read(as_seen_by(arm, frames, seed))
            found[name] = packed(knows_direction(scores, facts))
            found[f"{name} captions"] = packed(reads_rightly(scores, facts))
        if model.frames > 1:
            frames, facts = tests["val"]
            scores = model.read(shuffled(frames, seed))
            found["val shuffled"] = packed(knows_direction(scores, facts))
        row["seeds"].append(found)
    row["cpu seconds"] = round(time.process_time() - start)
    print(arm, np.mean(unpacked(row["seeds"][0]["val"])), row["cpu seconds"], flush=True)
    return row


def long():
    """What three trainings of the shipped reader know of the tests; the first is the shipped one.

    The arms have fewer steps than the recipe, which these have whole.
    """
    tests = {split: seen(split, 0, count) for split, count in TESTED.items()}
    rows = []
    for seed in SEEDS:
        model = ClipReader.from_pretrained(SHIPPED)
        if seed != SEEDS[0]:
            with tempfile.TemporaryDirectory() as folder:
                train("clips", folder, judged=16, seed=seed)
                model = ClipReader.from_pretrained(folder)
        found = {"seed": seed}
        for name, (frames, facts) in tests.items():
            scores = model.read(frames)
            found[name] = packed(knows_direction(scores, facts))
            found[f"{name} captions"] = packed(reads_rightly(scores, facts))
        frames, facts = tests["val"]
        scores = model.read(shuffled(frames, seed))
        found["val shuffled"] = packed(knows_direction(scores, facts))
        rows.append(found)
        print(seed, np.mean(unpacked(found["val"])), flush=True)
    command = "python -m mmcourse.recipes.video_studies long"
    write_study("video_long", {"command": command, "clips": TESTED, "rows": rows} | machine())


def main(name):
    """Measure all arms; write what was found after each of them."""
    tests = {split: seen(split, 0, count) for split, count in TESTED.items()}
    found = {
        "command": f"python -m mmcourse.recipes.video_studies {name}",
        "settings": {"steps": STEPS, "batch": BATCH, "rate": RATE},
        "clips": TESTED,
        "cpu seconds": 0,
        "rows": [],
    }
    if path_of(f"video_{name}").exists():
        found = read(name)
    for arm in ARMS:
        if arm in [row["arm"] for row in found["rows"]]:
            continue
        found["rows"].append(measure(arm, tests))
        found["cpu seconds"] += found["rows"][-1]["cpu seconds"]
        write_study(f"video_{name}", found | machine())


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "long":
        long()
    else:
        main(sys.argv[1])
