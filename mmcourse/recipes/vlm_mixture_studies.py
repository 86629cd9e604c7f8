"""Four tasks, alone and mixed: what takes an hour.

``python -m mmcourse.recipes.vlm_mixture_studies`` completes ``measured/vlm_mixture.json`` beside
this file, after :mod:`~mmcourse.recipes.vlm_bridge_studies`, whose arm ``gated, LoRA`` it trains,
at the rates that were chosen there: on each task alone, on all four for as many steps, and on all
four for four times as many, so that each task has about as many samples as alone. Three seeds each.
A row that is there is kept. The world has the six nouns of the page.
"""

import sys
import time
from collections import Counter, defaultdict

import numpy as np
import torch

from mmcourse.recipes import vlm as recipe
from mmcourse.recipes.stored import machine, path_of, read_study, write_study
from mmcourse.recipes.vlm_bridge_studies import make, see, tokens

STUDY = "vlm_mixture"
ARM = "gated, LoRA"
SEEDS = (0, 1, 2)
SCENES = 4_000
STEPS = 300
BATCH = 16
TESTED = 300  # scenes of val
LONG = len(recipe.TASKS)  # times as many steps


def plan():
    """What is trained: a name, its tasks, and its steps."""
    found = [(task, (task,), STEPS) for task in recipe.TASKS]
    found.append(("mixture", recipe.TASKS, STEPS))
    found.append(("mixture, long", recipe.TASKS, LONG * STEPS))
    return found


def without_looking(seen, asked, questions):
    """What can be answered to ``questions`` without any picture: a list of texts.

    ``seen`` and ``asked`` are those of training. A caption is the best of 100 for 300 scenes, a
    question gets its most frequent answer, or that of all questions where it is new, and of a box
    each edge is the median of its noun. Who asks where an absent thing is gets the box, too, since
    nothing tells that it is absent.
    """
    of_task = defaultdict(list)
    for one in asked:
        of_task[one.instruction.task].append(one)
    captions = of_task["caption"]
    candidates = [one.instruction.answer for one in captions[:100]]
    part = captions[:300]
    caption = max(candidates, key=lambda text: recipe.marks(seen, part, [text] * len(part)).mean())
    known = defaultdict(Counter)
    for one in of_task["question"]:
        known[one.instruction.prompt][one.instruction.answer] += 1
    boxes = defaultdict(list)
    for one in of_task["box"]:
        boxes[one.instruction.prompt].append([int(edge) for edge in one.instruction.answer.split()])
    found = []
    for one in questions:
        task, prompt = one.instruction.task, one.instruction.prompt
        if task == "caption":
            found.append(caption)
        elif task == "question":
            answers = known[prompt] or sum(known.values(), Counter())
            found.append(answers.most_common(1)[0][0])
        else:
            alike = boxes[prompt] or sum(boxes.values(), [])
            edges = np.median(alike, 0)  # (4,)
            found.append(" ".join(str(int(edge)) for edge in edges))
    return found


class Study:
    """What is the same for all rows: the scenes, what is asked, and what was found so far."""

    def __init__(self):
        self.tokenizer = tokens()
        self.train = see("train", recipe.FIRST, SCENES)
        self.test = see("val", 0, TESTED)
        self.rates = read_study("vlm_bridges")["rates"][ARM]["chosen"]
        self.taught = recipe.ask(self.train.scenes, recipe.TASKS, 0, recipe.NOUNS)
        self.asked = recipe.ask(self.test.scenes, recipe.TASKS, 0, recipe.NOUNS)
        self.found = {"command": "python -m mmcourse.recipes.vlm_mixture_studies"} | machine()
        self.found |= {"scenes": SCENES, "batch": BATCH, "rates": self.rates, "rows": []}
        if path_of(STUDY).exists():
            self.found = read_study(STUDY)

    def mark(self, row, texts):
        """The row, completed with the marks of the texts of all questions."""
        row["marks"] = {task: [] for task in recipe.TASKS}
        for one, mark in zip(self.asked, recipe.marks(self.test, self.asked, texts), strict=True):
            row["marks"][one.instruction.task].append(round(float(mark), 3))
        means = {task: round(float(np.mean(found)), 3) for task, found in row["marks"].items()}
        print({name: row[name] for name in row if name != "marks"}, means, flush=True)
        return row

    def keep(self, *rows):
        """Write all that was found, together with these rows."""
        self.found["rows"] += rows
        write_study(STUDY, self.found)

    def add(self, arm, tasks, steps, seed):
        """Train an arm, and store what it answers, also where it is shown another picture."""
        model = make(ARM, seed)
        asked = [one for one in self.taught if one.instruction.task in tasks]
        rate, language_rate = self.rates
        start = time.process_time()
        share = language_rate / rate
        recipe.fit(model, self.tokenizer, self.train, asked, steps, rate, seed, BATCH, share)
        row = {"arm": arm, "seed": seed, "steps": steps}
        row["cpu seconds"] = round(time.process_time() - start, 1)
        self.mark(row, recipe.answers(model, self.tokenizer, self.test, self.asked))
        others = self.test._replace(cells=self.test.cells.roll(1, 0))
        blind = {"arm": f"{arm}, other picture", "seed": seed, "steps": steps}
        self.mark(blind, recipe.answers(model, self.tokenizer, others, self.asked))
        self.keep(row, blind)


def main():
    """Measure the rows that are not there, and write each as soon as it is."""
    torch.set_num_threads(1)
    study = Study()
    done = {(row["arm"], row["seed"]) for row in study.found["rows"]}
    if ("without looking", 0) not in done:
        texts = without_looking(study.train, study.taught, study.asked)
        study.keep(study.mark({"arm": "without looking", "seed": 0, "steps": 0}, texts))
    for seed in SEEDS:
        for arm, tasks, steps in plan():
            if (arm, seed) not in done:
                study.add(arm, tasks, steps, seed)


if __name__ == "__main__":
    sys.exit(main())
