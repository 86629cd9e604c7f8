"""Bridges, how many scenes each needs, and what a language model forgets: what takes an hour.

``python -m mmcourse.recipes.vlm_bridge_studies`` completes ``measured/vlm_bridges.json`` beside
this file: rows of the bridges and of the ways to train the language model too, three seeds each. A
row that is there is kept. Every arm has as many steps; its rate is that of ``RATES`` with the least
loss on scenes that nothing else uses, with many scenes. The world has the six nouns of the page.
"""

import sys
import time
from pathlib import Path

import torch

from mmcourse.captioning import SceneCaptioner
from mmcourse.data.glosses import lines
from mmcourse.gpt import GPT
from mmcourse.recipes import gpt as gpt_recipe
from mmcourse.recipes import vlm as recipe
from mmcourse.recipes.stored import machine, path_of, read_study, write_study
from mmcourse.text import BPETokenizer
from mmcourse.vlm import VLM, GatedBridge, Projector, QueryTransformer, add_lora

SHIPPED = Path(__file__).parents[1] / "shipped"
STUDY = "vlm_bridges"
SEEDS = (0, 1, 2)
MANY = 4_000  # scenes; fewer are the first of them
COUNTS = (MANY, 500, 60)
STEPS = 500
TUNING_STEPS = 250
BATCH = 16
TESTED, TUNED = 300, 150  # scenes of val
GLOSSES = 100
BRIDGES = ("projector", "queries", "gated")
RATES = {arm: (1e-3, 3e-3, 1e-2) for arm in (*BRIDGES, "gated, open")}
# Here the bridge has the rate of "gated", and what the language model learns one of these.
LANGUAGE_RATES = {"gated, LoRA": (1e-3, 3e-3, 1e-2), "gated, all": (1e-4, 3e-4, 1e-3)}
PLAN = (
    (COUNTS[0], BRIDGES),
    (COUNTS[0], tuple(LANGUAGE_RATES)),
    (COUNTS[1], BRIDGES),
    (COUNTS[2], BRIDGES),
    (COUNTS[0], ("gated, open",)),
)


def language_model():
    """The shipped GPT."""
    return GPT.from_pretrained(SHIPPED / "gpt").eval()


def make(arm, seed):
    """A VLM of an arm, whose free parameters are those that shall learn."""
    language = language_model().requires_grad_(arm == "gated, all")
    torch.manual_seed(seed)
    if arm == "projector":
        bridge = Projector(128, 160, merge=2)
    elif arm == "queries":
        bridge = QueryTransformer(128, 160, queries=8)
    else:
        bridge = GatedBridge(128, 160, layers=4, start=1.0 if arm == "gated, open" else 0.0)
    if arm == "gated, LoRA":
        add_lora(language, 4, alpha=8, layers=("query", "value", "feed_forward.0"))
    return VLM(None, bridge, language)


def see(split, first, count):
    """Scenes of the page's six nouns, as the shipped captioner encodes them."""
    captioner = SceneCaptioner.from_pretrained(SHIPPED / "scenes").eval()
    return recipe.see(captioner, split, first, count, only=recipe.NOUNS)


def tokens():
    """The tokenizer of the shipped GPT."""
    return BPETokenizer.load(SHIPPED / "gpt" / "tokenizer.json")


class Study:
    """What is the same for all rows: the scenes, and what was found so far."""

    def __init__(self):
        self.tokenizer = tokens()
        self.train = see("train", recipe.FIRST, MANY)
        self.test = see("val", 0, TESTED)
        self.tuning = see("val", TESTED, TUNED)
        self.glosses = {"glosses": gpt_recipe.some(lines("val"), GLOSSES)}
        self.found = {"command": "python -m mmcourse.recipes.vlm_bridge_studies"} | machine()
        self.found |= {"steps": STEPS, "tuning steps": TUNING_STEPS, "batch": BATCH}
        self.found |= {"before": {"bits": self.bits(language_model())}, "rates": {}, "rows": []}
        if path_of(STUDY).exists():
            self.found = read_study(STUDY)

    def bits(self, language):
        """Bits that a byte of a gloss costs a language model."""
        (bits,) = gpt_recipe.evaluate(language, self.tokenizer, self.glosses).values()
        return bits

    def trained(self, arm, count, seed, rates, steps):
        """A VLM of an arm after its steps on ``count`` scenes, and the seconds that they took."""
        model = make(arm, seed)
        seen = self.train.first(count)
        asked = recipe.ask(seen.scenes, ("caption",), 0)
        start = time.process_time()
        share = 1.0 if rates[1] is None else rates[1] / rates[0]
        recipe.fit(model, self.tokenizer, seen, asked, steps, rates[0], seed, BATCH, share)
        return model, time.process_time() - start

    @torch.no_grad()
    def loss(self, model):
        """The loss of the captions of the tuning scenes."""
        asked = recipe.ask(self.tuning.scenes, ("caption",), 0)
        return model.loss(*recipe.batch_of(model, self.tokenizer, self.tuning, asked)).item()

    def grid(self, arm):
        """The rates that are tried: pairs of the bridge's, and the language model's or None."""
        if arm in RATES:
            return [(rate, None) for rate in RATES[arm]]
        bridge, _ = self.found["rates"]["gated"]["chosen"]
        return [(bridge, rate) for rate in LANGUAGE_RATES[arm]]

    def choose(self, arm):
        """The rates of the arm with the least loss after half of the steps, on many scenes."""
        tried = []
        for rates in self.grid(arm):
            model, _ = self.trained(arm, MANY, len(SEEDS), rates, TUNING_STEPS)
            tried.append([rates, self.loss(model)])
        best = min(tried, key=lambda one: one[1])[0]
        self.found["rates"][arm] = {"chosen": best, "tried": tried}

    def add(self, arm, count, seed):
        """Measure a row, and write all that is there."""
        if arm not in self.found["rates"]:
            self.choose(arm)
        rates = self.found["rates"][arm]["chosen"]
        model, seconds = self.trained(arm, count, seed, rates, STEPS)
        row = {"arm": arm, "scenes": count, "seed": seed, "cpu seconds": round(seconds, 1)}
        asked = recipe.ask(self.test.scenes, ("caption",), 0)
        others = self.test._replace(cells=self.test.cells.roll(1, 0))
        for name, seen in (("f1", self.test), ("other picture", others)):
            texts = recipe.answers(model, self.tokenizer, seen, asked)
            row[name] = [round(float(one), 3) for one in recipe.marks(seen, asked, texts)]
        row["loss"] = self.loss(model)
        row["bits"] = self.bits(model.language)
        self.found["rows"].append(row)
        write_study(STUDY, self.found)
        means = {name: sum(row[name]) / TESTED for name in ("f1", "other picture")}
        print(arm, count, seed, row["cpu seconds"], means, row["loss"], row["bits"], flush=True)


def main():
    """Measure the rows of ``PLAN`` that are not there, and write each as soon as it is."""
    torch.set_num_threads(1)
    study = Study()
    done = {(row["arm"], row["scenes"], row["seed"]) for row in study.found["rows"]}
    for count, arms in PLAN:
        for seed in SEEDS:
            for arm in arms:
                if (arm, count, seed) not in done:
                    study.add(arm, count, seed)


if __name__ == "__main__":
    sys.exit(main())
