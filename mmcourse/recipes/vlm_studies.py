"""Preferences: what takes longer than a page.

``python -m mmcourse.recipes.vlm_studies ARM ...`` completes ``measured/vlm_preference.json`` beside
this file with rows of these arms (``ARMS``), three seeds each. A row that is there is kept. Each
arm has its own rate of ``RATES``: that of the fewest invented facts on scenes that nothing else
uses, first seed. What sees stays as it is; in :mod:`~mmcourse.recipes.vlm_whole_studies` it learns.
"""

import sys
import time
from pathlib import Path
from random import Random

import numpy as np
import torch
from torch import nn

from mmcourse import decoding
from mmcourse.captioning import END, START, SceneCaptioner
from mmcourse.evaluation import fact_score
from mmcourse.recipes.stored import machine, path_of, read_study, write_study
from mmcourse.recipes.vlm import FIRST, see
from mmcourse.training import TrainingConfig, learning_rate_at
from mmcourse.vlm import (
    dpo_loss,
    fact_reward,
    preference_pair,
    self_critical_loss,
    sentence_log_probs,
)

SHIPPED = Path(__file__).parents[1] / "shipped" / "scenes"
STUDY = "vlm_preference"
ARMS = ("words", "f1", "precision", "dpo")
SEEDS = (0, 1, 2)
SCENES = 6_000  # of train, none of which the captioner was trained on
STEPS = 100
BATCH = 64
SAMPLES = 2  # sentences that are drawn for a picture
RATES = (1e-4, 3e-4)
BETA = 0.1
JUDGED = {"val": 1000, "composition": 500, "style": 500}
TUNING = 500  # scenes of val, after those that are judged
COLUMNS = ("true", "stated", "found", "due", "things", "invented", "words")


def read(name="preference"):
    """What a study found, a dict."""
    return read_study(f"vlm_{name}")


@torch.no_grad()
def write(captioner, memory, strategy="greedy", **options):
    """Sentences for a memory (B, N, D), lists of ids, by ``greedy`` or ``sample``."""

    def step(tokens, cache):
        return captioner.decode(memory, tokens, cache=cache)[:, -1]

    start = torch.full((len(memory),), START)
    generate = getattr(decoding, strategy)
    return generate(step, start, end=END, max_length=captioner.max_length, **options).tokens


def as_text(captioner, ids):
    """The sentence of some ids."""
    return " ".join(captioner.words[number] for number in ids)


def greedy_texts(captioner, seen, size=250):
    """The greedy captions of scenes."""
    found = []
    for start in range(0, len(seen.scenes), size):
        rows = write(captioner, seen.cells[start : start + size].float())
        found += [as_text(captioner, ids) for ids in rows]
    return found


def hard_scenes(captioner, seen):
    """The numbers of the scenes whose greedy caption is not perfect."""
    texts = greedy_texts(captioner, seen)
    pairs = enumerate(zip(texts, seen.scenes, strict=True))
    return [number for number, (text, scene) in pairs if fact_reward(text, scene) < 1]


def trained_parts(captioner):
    """Freeze what sees; return the parameters of what writes."""
    captioner.requires_grad_(False)
    writing = (captioner.decoder, captioner.embedding, captioner.output)
    parameters = [part for module in writing for part in module.parameters()]
    parameters.append(captioner.positions)
    for part in parameters:
        part.requires_grad_(True)
    return parameters


class Batch:
    """Scenes of one step: their memory, and what the model that learns writes about them."""

    def __init__(self, captioner, memory, scenes, rng):
        self.captioner = captioner
        self.memory = memory  # (B, N, D)
        self.scenes = scenes
        self.rng = rng

    def sampled(self, each=SAMPLES):
        """So many sentences of each scene, one after the other, and their memory."""
        memory = self.memory.repeat_interleave(each, 0)
        return write(self.captioner, memory, "sample"), memory

    def rewards(self, sentences, kind):
        """The reward of each sentence, as many for each scene, (sentences,)."""
        each = len(sentences) // len(self.scenes)
        texts = [as_text(self.captioner, ids) for ids in sentences]
        found = [
            fact_reward(text, self.scenes[place // each], kind) for place, text in enumerate(texts)
        ]
        return torch.tensor(found)

    def by_words(self):
        """The loss that the captioner was trained with, on one of the five captions."""
        texts = [self.rng.choice(scene.captions) for scene in self.scenes]
        return self.captioner.word_loss(self.memory, self.captioner.tokenize_all(texts))

    def by_reward(self, kind):
        """The self-critical loss with a reward of this kind."""
        sentences, memory = self.sampled()
        rewards = self.rewards(sentences, kind)
        baselines = self.rewards(write(self.captioner, self.memory), kind)
        log_probs = sentence_log_probs(self.captioner, memory, sentences)
        return self_critical_loss(log_probs, rewards, baselines.repeat_interleave(SAMPLES))

    def by_others(self, kind, each):
        """The same with another baseline: the mean reward of the scene's other drawn sentences."""
        sentences, memory = self.sampled(each)
        rewards = self.rewards(sentences, kind).unflatten(0, (-1, each))  # (B, each)
        baselines = (rewards.sum(1, keepdim=True) - rewards) / (each - 1)
        log_probs = sentence_log_probs(self.captioner, memory, sentences)
        return self_critical_loss(log_probs, rewards.flatten(), baselines.flatten())

    def by_pairs(self, before):
        """The DPO loss, with the F1 of the facts as the judge; None where nothing is preferred."""
        sentences, _ = self.sampled()
        rewards = self.rewards(sentences, "f1").tolist()
        rows, pairs = [], []
        for row in range(len(self.scenes)):
            here = slice(SAMPLES * row, SAMPLES * (row + 1))
            if max(rewards[here]) > min(rewards[here]):
                pairs.append(preference_pair(sentences[here], rewards[here]))
                rows.append(row)
        if not pairs:
            return None
        memory = self.memory[rows]
        chosen, rejected = ([pair[side] for pair in pairs] for side in (0, 1))
        with torch.no_grad():
            old = [sentence_log_probs(before, memory, one) for one in (chosen, rejected)]
        new = [sentence_log_probs(self.captioner, memory, one) for one in (chosen, rejected)]
        return dpo_loss(*new, *old, beta=BETA)


def tune(arm, seen, hard, seed, rate, steps):
    """The shipped captioner, trained further by an arm; its encoder stays as it is.

    Half of each batch are scenes of which its first captions were not perfect.
    """
    torch.manual_seed(seed)
    rng = Random(seed)
    captioner = SceneCaptioner.from_pretrained(SHIPPED)
    before = SceneCaptioner.from_pretrained(SHIPPED)
    parameters = trained_parts(captioner)

    def loss_of(step):
        rows = [rng.choice(hard) for _ in range(BATCH // 2)]
        rows += [rng.randrange(len(seen.scenes)) for _ in range(BATCH // 2)]
        scenes = [seen.scenes[row] for row in rows]
        batch = Batch(captioner, seen.cells[rows].float(), scenes, rng)
        if arm == "words":
            return batch.by_words()
        if arm == "dpo":
            return batch.by_pairs(before)
        return batch.by_reward(arm)

    descend(parameters, loss_of, rate, steps)
    return captioner


def descend(parameters, loss_of, rate, steps):
    """``steps`` steps of AdamW down what ``loss_of(step)`` gives; None is left out."""
    optimizer = torch.optim.AdamW(parameters, rate, weight_decay=0.0)
    config = TrainingConfig(steps=steps, batch_size=BATCH, learning_rate=rate, warmup=steps // 10)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, config)
        loss = loss_of(step)
        if loss is None:
            continue
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()


def judge(captioner, seen):
    """Of each scene: facts that are true, stated, found and due, things named and invented, words.

    A list of seven numbers each, so that any share can be computed later, and resampled by scene.
    """
    rows = []
    for text, scene in zip(greedy_texts(captioner, seen), seen.scenes, strict=True):
        score = fact_score(text, scene)
        stated = len(score.true) + len(score.false)
        due = round((len(score.missed)) / (1 - score.recall)) if score.recall < 1 else None
        due = len(scene.facts) if due is None else due
        things = sum(fact[0] == "object" for fact in score.true | score.false)
        invented = sum(fact[0] == "object" for fact in score.false)
        found = due - len(score.missed)
        rows.append([len(score.true), stated, found, due, things, invented, len(text.split())])
    return rows


def packed(rows):
    """The rows of :func:`judge` as two hexadecimal digits for each number."""
    return np.asarray(rows, np.uint8).tobytes().hex()


def unpacked(text):
    """The rows (scenes, 7) of :func:`packed`."""
    return np.frombuffer(bytes.fromhex(text), np.uint8).astype(int).reshape(-1, len(COLUMNS))


def shares(rows):
    """Hallucination rate, recall, CHAIR_i, CHAIR_s and words of rows of :func:`judge`: a dict."""
    true, stated, found, due, things, invented, words = np.asarray(rows).T
    return {
        "hallucination": 1 - true.sum() / stated.sum(),
        "recall": found.sum() / due.sum(),
        "chair_i": invented.sum() / things.sum(),
        "chair_s": (invented > 0).mean(),
        "words": words.mean(),
    }


def over_seeds(values):
    """Half the width of the 95 % interval of the mean of two or three values, by Student's t."""
    t = {2: 12.706, 3: 4.303}[len(values)]
    return float(t * np.std(values, ddof=1) / len(values) ** 0.5)


def fewer_invented(rows, before):
    """By which part an arm invents fewer facts than the captioner before: ``1 - after / before``.

    ``rows`` (scenes, seeds, 7) and ``before`` (scenes, 7) are rows of :func:`judge`.
    """
    after = 1 - rows[..., 0].sum() / rows[..., 1].sum()
    return 1 - after / (1 - before[:, 0].sum() / before[:, 1].sum())


class Study:
    """What is the same for all rows: the scenes, and what was found so far."""

    def __init__(self):
        self.captioner = SceneCaptioner.from_pretrained(SHIPPED)
        self.seen = see(self.captioner, "train", FIRST, SCENES)
        self.hard = hard_scenes(self.captioner, self.seen)
        self.judged = {name: see(self.captioner, name, 0, JUDGED[name]) for name in JUDGED}
        self.tuning = see(self.captioner, "val", JUDGED["val"], TUNING)
        self.found = {"command": "python -m mmcourse.recipes.vlm_studies"} | machine()
        self.found |= {"scenes": SCENES, "hard": len(self.hard), "steps": STEPS, "batch": BATCH}
        self.found |= {"rates": {}, "rows": []}
        if path_of(STUDY).exists():
            self.found = read()

    def train(self, arm, seed, rate):
        """The captioner of an arm, and how many seconds of the processor it took."""
        start = time.process_time()
        model = tune(arm, self.seen, self.hard, seed, rate, STEPS)
        return model, time.process_time() - start

    def choose(self, arm):
        """The arm's runs of the first seed at each rate: keeps the better rate, returns its run."""
        runs = {rate: self.train(arm, SEEDS[0], rate) for rate in RATES}
        scores = {}
        for rate, (model, _) in runs.items():
            found = shares(judge(model, self.tuning))
            scores[rate] = [float(found["hallucination"]), float(found["recall"])]
        best = min(scores, key=lambda rate: scores[rate][0])
        self.found["rates"][arm] = {"chosen": best, "tried": list(scores.items())}
        return runs[best]

    def add(self, arm, seed):
        """Measure a row, and write all that is there."""
        if arm == "before":
            model, seconds = self.captioner, 0.0
        elif arm in self.found["rates"]:
            model, seconds = self.train(arm, seed, self.found["rates"][arm]["chosen"])
        else:
            model, seconds = self.choose(arm)
        row = {"arm": arm, "seed": seed, "cpu seconds": round(seconds, 1)}
        row["splits"] = {name: packed(judge(model, part)) for name, part in self.judged.items()}
        self.found["rows"].append(row)
        write_study(STUDY, self.found)
        print(arm, seed, row["cpu seconds"], self.found["rates"].get(arm), flush=True)
        for name, text in row["splits"].items():
            found = shares(unpacked(text))
            print("  ", name, {key: round(float(one), 4) for key, one in found.items()}, flush=True)


def main(arms):
    """Measure the arms seed by seed, and write each row as soon as it is there."""
    torch.set_num_threads(1)
    if not set(arms) <= set(ARMS):
        raise ValueError(f"unknown arms in {arms}: choose of {', '.join(ARMS)}")
    study = Study()
    done = {(row["arm"], row["seed"]) for row in study.found["rows"]}
    for arm, seed in [("before", 0)] + [(arm, seed) for seed in SEEDS for arm in arms]:
        if (arm, seed) not in done:
            study.add(arm, seed)


if __name__ == "__main__":
    main(sys.argv[1:] or list(ARMS))
