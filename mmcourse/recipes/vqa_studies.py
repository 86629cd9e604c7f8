"""Answerers that lack something, which takes longer than a page: measured, stored, and read.

``python -m mmcourse.recipes.vqa_studies NAME`` makes ``measured/vqa_NAME.json`` beside this file,
with the command, the seconds and the machine in it; NAME is ``table``. The page reads it with
:func:`read`. All arms have the same scenes, batches and steps; each has its own rate, chosen with
fewer steps on scenes that are not reported. All begin as the recipe's, and get fewer steps and
scenes. Each arm is stored as soon as it is measured.
"""

import sys
import time
from dataclasses import replace

import numpy as np
import torch

from mmcourse.captioning import SceneCaptioner
from mmcourse.data import EmojiScenes
from mmcourse.data.dialogues import TwoThings
from mmcourse.data.language import vocabulary
from mmcourse.recipes.stored import machine, read_study, write_study
from mmcourse.recipes.vqa import (
    COMPARED,
    MODEL,
    ask_in_turn,
    cells_of,
    encode,
    load_captioner,
    start_from,
)
from mmcourse.vqa import (
    Answerer,
    Lessons,
    all_answers,
    all_words,
    ask_about,
    fit,
    not_looking,
    not_reading,
    pope,
)

TRAINING, OF_DIALOGUES = 4000, 1000  # scenes
TESTED, TUNED, TALKED = 200, 100, 100  # scenes for testing, tuning, and testing second turns
STEPS, TRIED_STEPS = 160, 60  # of training, and of each rate that is tried
SCENES = 16  # of a batch, with four questions each
SEEDS = (0, 1, 2)
RATES = (1.5e-4, 5e-4, 1.5e-3, 4.5e-3)
ARMS = ("answerer", "no grounding", "untrained encoder", "does not look", "does not read")


def read(name="table"):
    """What a study found, a dict."""
    return read_study(f"vqa_{name}")


def untrained_encoder():
    """A captioner of the shipped one's sizes, whose weights are as they were drawn."""
    torch.manual_seed(1000)
    return SceneCaptioner(vocabulary()).eval().requires_grad_(False)


PARTS = {
    "train": (EmojiScenes("train"), 0, TRAINING),
    "train dialogues": (TwoThings("train"), 0, OF_DIALOGUES),
    "tune": (EmojiScenes("val"), 2000, TUNED),
    "val": (EmojiScenes("val"), 0, TESTED),
    "composition": (EmojiScenes("composition"), 0, TESTED),
    "dialogues": (TwoThings("val"), 0, TALKED),
}  # each a dataset, its first scene, and how many


def load_part(name):
    """The scenes of a part, and its questions. Training has more about presence, as the recipe."""
    dataset, first, count = PARTS[name]
    scenes = [dataset[index] for index in range(first, first + count)]
    asked = ask_in_turn(scenes) if "dialogues" in name else ask_about(scenes)
    if name == "train":
        asked += pope(scenes, "random", None)
    return scenes, asked


def test_questions():
    """The questions of the parts that are reported: a dict of lists."""
    return {name: load_part(name)[1] for name in ("val", "composition", "dialogues")}


def load_all():
    """For each part its questions, and the memory that each of two encoders gives; the nouns of
    the cells of training under ``cells``.
    """
    encoders = {"trained": load_captioner().encode, "untrained": untrained_encoder().encode}
    found = {}
    for name in PARTS:
        scenes, asked = load_part(name)
        images = [scene.image for scene in scenes]
        memory = {kind: encode(images, encoder) for kind, encoder in encoders.items()}
        found[name] = asked, memory
        if name == "train":
            found["cells"] = cells_of(scenes[:COMPARED])
    return found


def as_seen_by(arm, asked, memory):
    """What an arm gets of some questions and the memories of both encoders."""
    seen = memory["untrained" if arm == "untrained encoder" else "trained"]
    if arm == "does not look":
        return asked, not_looking(seen)
    if arm == "does not read":
        return not_reading(asked), seen
    return asked, seen


def train_arm(arm, parts, rate, seed, steps=STEPS):
    """An answerer, trained as an arm."""
    asked, memory = as_seen_by(arm, *parts["train"])
    later, more = as_seen_by(arm, *parts["train dialogues"])
    together = asked + moved(later, len(memory))
    torch.manual_seed(seed)
    if arm == "no grounding":
        model = Answerer(all_words(), all_answers(), ground=0, **MODEL)
        start_from(model, load_captioner())
    else:
        model = Answerer(all_words(), all_answers(), **MODEL)
        start_from(model, load_captioner(), memory[:COMPARED], parts["cells"])
    lessons = Lessons(together, model)
    memory = torch.cat([memory, more])
    return fit(model, lessons, memory, steps=steps, rate=rate, seed=seed, scenes=SCENES)


def moved(asked, rows):
    """The questions, whose scenes come so many rows later."""
    return [replace(each, scene=each.scene + rows) for each in asked]


def right(model, arm, part, choose=False):
    """Which questions of a part an arm answers rightly, a list of booleans."""
    asked, memory = as_seen_by(arm, *part)
    texts, _ = model.answer_all(memory, asked, choose)
    return [text == each.answer for text, each in zip(texts, asked, strict=True)]


def measure(arm, parts):
    """The row of an arm: the rates that were tried, and what each seed answered rightly."""
    start = time.process_time()
    rates = {}
    for rate in RATES:
        model = train_arm(arm, parts, rate, 9, TRIED_STEPS)
        rates[rate] = float(np.mean(right(model, arm, parts["tune"])))
    rate = max(rates, key=rates.get)
    row = {"arm": arm, "rate": rate, "rates": {str(each): rates[each] for each in rates}}
    row["seeds"] = []
    for seed in SEEDS:
        model = train_arm(arm, parts, rate, seed)
        found = {"seed": seed}
        for name in ("val", "composition", "dialogues"):
            found[name] = packed(right(model, arm, parts[name]))
            found[f"{name} chosen"] = packed(right(model, arm, parts[name], choose=True))
        row["seeds"].append(found)
    row["cpu seconds"] = round(time.process_time() - start)
    print(arm, rates, np.mean(unpacked(row["seeds"][0]["val"])), row["cpu seconds"], flush=True)
    return row


def packed(flags):
    """Booleans as a text of 0 and 1."""
    return "".join("1" if flag else "0" for flag in flags)


def unpacked(text):
    """The booleans of :func:`packed`, an array."""
    return np.array([letter == "1" for letter in text])


def settings():
    """What all rows share, a dict."""
    return {
        "scenes": [TRAINING, OF_DIALOGUES, TUNED, TESTED, TALKED],
        "steps": STEPS,
        "steps of each rate tried": TRIED_STEPS,
        "scenes of a batch": SCENES,
        "parameters": sum(
            p.numel() for p in Answerer(all_words(), all_answers(), **MODEL).parameters()
        ),
    }


def main(name):
    """Measure all arms; write what was found after each of them."""
    torch.set_num_threads(1)
    start = time.time(), time.process_time()
    parts = load_all()
    found = {
        "command": f"python -m mmcourse.recipes.vqa_studies {name}",
        "settings": settings(),
        "rows": [],
    }
    for arm in ARMS:
        found["rows"].append(measure(arm, parts))
        found["seconds"] = round(time.time() - start[0])
        found["cpu seconds"] = round(time.process_time() - start[1])
        write_study(f"vqa_{name}", found | machine())


if __name__ == "__main__":
    main(sys.argv[1])
