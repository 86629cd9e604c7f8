"""Preferences when the eyes learn too: what takes an hour for three seeds.

``python -m mmcourse.recipes.vlm_whole_studies [SEED ...]`` completes ``measured/vlm_whole.json``
beside this file, for each seed (0, 1 and 2 where none is named) with a row of each arm. A row that
is there is kept. The whole shipped captioner is trained further, on scenes that it sees once each:
with its words, ``words``, the control, or with the facts of what it writes as the reward, ``f0.5``.
Both arms have the same scenes, steps and rate, which was not tuned for either.
"""

import sys
import time
from random import Random

import numpy as np
import torch

from mmcourse.captioning import SceneCaptioner
from mmcourse.data import EmojiScenes
from mmcourse.recipes.stored import machine, path_of, read_study, write_study
from mmcourse.recipes.vlm import FIRST, see
from mmcourse.recipes.vlm_studies import (
    BATCH,
    JUDGED,
    SCENES,
    SHIPPED,
    Batch,
    descend,
    judge,
    packed,
    shares,
    unpacked,
)

STUDY = "vlm_whole"
ARMS = ("words", "f0.5")
STEPS = 1000
RATE = 1e-4
DRAWN = 4  # sentences for a picture


def read():
    """What the study found, a dict."""
    return read_study(STUDY)


def tune(arm, seed, steps):
    """The shipped captioner, all of it trained further by an arm, without dropout."""
    torch.manual_seed(seed)
    rng = Random(seed)
    captioner = SceneCaptioner.from_pretrained(SHIPPED)
    captioner.requires_grad_(True)
    data = EmojiScenes("train")
    first = FIRST + SCENES + seed * steps * BATCH

    def loss_of(step):
        start = first + step * BATCH
        scenes = [data[number] for number in range(start, start + BATCH)]
        memory = captioner.encode(np.stack([scene.image for scene in scenes]))
        batch = Batch(captioner, memory, scenes, rng)
        if arm == "words":
            return batch.by_words()
        return batch.by_others(arm, DRAWN)

    descend(list(captioner.parameters()), loss_of, RATE, steps)
    return captioner


def judged(captioner):
    """The rows of :func:`~mmcourse.recipes.vlm_studies.judge` for each split, packed: a dict."""
    with torch.no_grad():
        seen = {name: see(captioner, name, 0, count) for name, count in JUDGED.items()}
    return {name: packed(judge(captioner, part)) for name, part in seen.items()}


def add(arm, seed):
    """Measure a row, and write it beside those that are there."""
    start = time.process_time()
    captioner = tune(arm, seed, STEPS)
    row = {"arm": arm, "seed": seed, "cpu seconds": round(time.process_time() - start, 1)}
    row["splits"] = judged(captioner)
    found = so_far()
    found["rows"].append(row)
    write_study(STUDY, found)
    print(arm, seed, row["cpu seconds"], flush=True)
    for name, text in row["splits"].items():
        values = shares(unpacked(text))
        print("  ", name, {key: round(float(one), 4) for key, one in values.items()}, flush=True)


def so_far():
    """What is stored, or a study without rows."""
    if path_of(STUDY).exists():
        return read()
    found = {"command": "python -m mmcourse.recipes.vlm_whole_studies"} | machine()
    return found | {"steps": STEPS, "rate": RATE, "batch": BATCH, "drawn": DRAWN, "rows": []}


def main(seeds, arms=ARMS):
    """Measure both arms seed by seed, and write each row as soon as it is there."""
    torch.set_num_threads(1)
    done = {(row["arm"], row["seed"]) for row in so_far()["rows"]}
    for seed in seeds:
        for arm in arms:
            if (arm, seed) not in done:
                add(arm, seed)


if __name__ == "__main__":
    main([int(seed) for seed in sys.argv[1:]] or [0, 1, 2])
