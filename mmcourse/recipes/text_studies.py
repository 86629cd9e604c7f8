"""Studies of text encoders that take longer than a page: measured once, stored, and read.

``python -m mmcourse.recipes.text_studies NAME`` makes ``measured/text_NAME.json`` beside this file,
with the command, the seconds of the processor and the machine in it; NAME is one of ``STUDIES``.
The page reads the file with :func:`read`, and does a small part of it again.
"""

import sys
import time
from functools import cache
from pathlib import Path
from random import Random
from statistics import mean

import torch
import torch.nn.functional as F
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from torch import nn

from mmcourse.data import EmojiScenes
from mmcourse.data.captioned import words_of
from mmcourse.data.glosses import KINDS, glosses
from mmcourse.recipes.stored import machine, read_study, write_study
from mmcourse.recipes.text import MASK, PAD, SCENES, Rows, collate, evaluate
from mmcourse.text import (
    IGNORE,
    TOKENIZER,
    BPETokenizer,
    LSTMEncoder,
    MaskedLanguageModel,
    TextClassifier,
    TextEncoder,
    mask_tokens,
    pad,
)

SHIPPED = (
    Path(__file__).parents[1] / "shipped" / "text"
)  # what `python -m mmcourse.recipes.text` made
LONGEST = 32  # tokens of a gloss that the encoders read; the bag of words reads all
WARMUP = 10  # steps

# For each number of labels: how many draws of labels are reported, how many others the settings are
# chosen on, the batch, and the most steps.
PLANS = {
    10: {"draws": 8, "trials": 3, "batch": 10, "steps": 64},
    100: {"draws": 4, "trials": 2, "batch": 16, "steps": 160},
    1000: {"draws": 3, "trials": 1, "batch": 32, "steps": 400},
}
RATES = {
    "LSTM": (3e-3, 1e-2, 3e-2),
    "untrained": (3e-4, 1e-3, 3e-3),
    "pre-trained": (3e-4, 1e-3, 3e-3),
}
STRENGTHS = (0.1, 1.0, 10.0, 100.0, 1000.0)  # the bag's C: a larger one pulls the weights less


def read(name):
    """What a study found, a dict."""
    return read_study(f"text_{name}")


# ---- labels: which encoder needs how many


def fresh(arm, seed):
    """A classifier of glosses with the encoder of an arm."""
    torch.manual_seed(seed)
    shipped = MaskedLanguageModel.from_pretrained(SHIPPED)
    if arm == "pre-trained":
        encoder = shipped.encoder
    elif arm == "untrained":  # the same sizes
        encoder = TextEncoder(len(shipped.bias), width=128, layers=4, heads=4, context=64)
    else:
        encoder = LSTMEncoder(len(shipped.bias), width=128)
    return TextClassifier(encoder, len(KINDS))


def rows_of(texts):
    """The ids of glosses, cut, and their kinds as numbers (n,)."""
    tokenizer = BPETokenizer.load(SHIPPED / TOKENIZER)
    rows = [tokenizer.encode(gloss.text)[:LONGEST] for gloss in texts]
    return rows, torch.tensor([KINDS.index(gloss.kind) for gloss in texts])


def batches(rows, size, seed):
    """Numbers of rows in batches without end; texts of like length come together."""
    rng = Random(seed)
    while True:
        order = rng.sample(range(len(rows)), len(rows))
        for start in range(0, len(order), 4 * size):
            window = sorted(order[start : start + 4 * size], key=lambda row: len(rows[row]))
            parts = [window[cut : cut + size] for cut in range(0, len(window), size)]
            rng.shuffle(parts)
            yield from parts


def fine_tune(model, rows, labels, rate, stops, batch_size, seed):
    """Train all weights of a classifier. It pauses after each number of steps in ``stops``.

    An iterator: each ``next`` trains to the next stop, and gives it.
    """
    optimizer = torch.optim.AdamW(model.parameters(), rate)
    order = batches(rows, batch_size, seed)
    for step in range(1, stops[-1] + 1):
        optimizer.param_groups[0]["lr"] = rate * min(1, step / WARMUP)
        chosen = next(order)
        logits = model(*pad([rows[number] for number in chosen]))  # (B, K)
        optimizer.zero_grad()
        F.cross_entropy(logits, labels[chosen]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step in stops:
            yield step


@torch.no_grad()
def predict(model, rows):
    """The kind of each row, as a number: (n,)."""
    found = torch.zeros(len(rows), dtype=torch.long)
    order = sorted(range(len(rows)), key=lambda number: len(rows[number]))
    for start in range(0, len(rows), 100):
        some = order[start : start + 100]
        found[some] = model(*pad([rows[number] for number in some])).argmax(-1)
    return found


def bag_of_words(chosen, strength, asked):
    """Logistic regression on which words occur, trained to its end: the kinds of ``asked`` (n,)."""
    counter = CountVectorizer(analyzer=words_of, binary=True)
    learner = LogisticRegression(C=strength, max_iter=1000)
    seen = counter.fit_transform([gloss.text for gloss in chosen])  # (n, words), 0 or 1
    learner.fit(seen, [KINDS.index(gloss.kind) for gloss in chosen])
    asked = counter.transform([gloss.text for gloss in asked])
    return torch.tensor(learner.predict(asked))


def draw(labels, seed):
    """Glosses of ``train`` whose kinds are known, the same for all arms."""
    return Random(seed).sample(glosses("train"), labels)


@cache
def asked_of(split):
    """The glosses that are asked for, their ids, and their kinds (n,).

    They are a quarter of ``test``; of ``val``, on which settings are chosen, an eighth.
    """
    chosen = glosses(split)[:: 4 if split == "test" else 8]
    return chosen, *rows_of(chosen)


def start(arm, labels, rate, stops, seed):
    """A classifier of an arm, and its training on one draw of labels, not yet begun."""
    model = fresh(arm, seed)
    rows, kinds = rows_of(draw(labels, seed))
    return model, fine_tune(model, rows, kinds, rate, stops, PLANS[labels]["batch"], seed)


def choose(arm, labels):
    """Rate and steps of an arm on validation glosses, and what was tried.

    All rates get half of the steps. The best goes on to the end, then the steps are chosen.
    """
    most = PLANS[labels]["steps"]
    stops = [most // 4, most // 2, most]
    seeds = range(100, 100 + PLANS[labels]["trials"])
    _, rows, truth = asked_of("val")
    runs = {rate: [start(arm, labels, rate, stops, seed) for seed in seeds] for rate in RATES[arm]}
    tried = {rate: {} for rate in runs}

    def go_on(rate):
        reached = [(next(training), predict(model, rows)) for model, training in runs[rate]]
        step = reached[0][0]
        tried[rate][step] = mean((found == truth).double().mean().item() for _, found in reached)

    for rate in runs:
        for _ in stops[:-1]:
            go_on(rate)
    best = max(tried, key=lambda rate: max(tried[rate].values()))
    go_on(best)
    return best, max(tried[best], key=tried[best].get), tried


def choose_strength(labels):
    """The C of the bag of words on validation glosses, and what was tried."""
    seeds = range(100, 100 + PLANS[labels]["trials"])
    asked, _, truth = asked_of("val")
    tried = {}
    for strength in STRENGTHS:
        found = [bag_of_words(draw(labels, seed), strength, asked) for seed in seeds]
        tried[strength] = mean((one == truth).double().mean().item() for one in found)
    return max(tried, key=tried.get), tried


def answers(arm, labels, setting, seed):
    """For each test gloss, 1 where an arm taught with one draw of labels is right, else 0: (n,)."""
    asked, rows, truth = asked_of("test")
    if arm == "bag":
        found = bag_of_words(draw(labels, seed), setting["C"], asked)
    else:
        model, training = start(arm, labels, setting["rate"], [setting["steps"]], seed)
        next(training)
        found = predict(model, rows)
    return (found == truth).long()


def labels():
    """Four arms and three numbers of labels: settings on ``val``, then answers on ``test``."""
    found = []
    for count, plan in PLANS.items():
        for arm in ("bag", *RATES):
            if arm == "bag":
                strength, tried = choose_strength(count)
                setting = {"C": strength}
            else:
                rate, steps, tried = choose(arm, count)
                setting = {"rate": rate, "steps": steps}
            right = [answers(arm, count, setting, seed) for seed in range(plan["draws"])]
            row = {"labels": count, "arm": arm, "setting": setting, "tried": tried}
            print(row, [round(one.double().mean().item(), 3) for one in right], flush=True)
            row["right"] = ["".join(map(str, one.tolist())) for one in right]
            found.append(row)
    return {"rows": found}


# ---- holes: a loss over the hidden tokens, or over all


def tiny(seed=0):
    """A masked language model that learns in seconds."""
    torch.manual_seed(seed)
    size = len(BPETokenizer.load(SHIPPED / TOKENIZER))
    return MaskedLanguageModel(size, width=64, layers=2, heads=4, context=64)


def captions(first, last):
    """The ids of the captions of some scenes of ``train``."""
    tokenizer = BPETokenizer.load(SHIPPED / TOKENIZER)
    scenes = EmojiScenes("train", 32)
    return [
        tokenizer.encode(text) for number in range(first, last) for text in scenes[number].captions
    ]


def masked_loss(model, batch):
    """BERT's loss of a batch: only what was hidden counts."""
    inputs, targets = mask_tokens(batch["ids"], MASK, len(model.bias), special=(PAD, MASK))
    return model.loss(inputs, targets, batch["mask"])


def loss_over_all(model, batch):
    """Every token is a target, also those that can be seen."""
    inputs, _ = mask_tokens(batch["ids"], MASK, len(model.bias), special=(PAD, MASK))
    targets = batch["ids"].masked_fill(~batch["mask"], IGNORE)
    return model.loss(inputs, targets, batch["mask"])


LOSSES = {"holes": masked_loss, "all": loss_over_all}


def pretrain(model, rows, steps, loss_of, rate=3e-3, batch_size=64, seed=0):
    """Train on rows of ids; the rate rises over 20 steps, then falls to 0. The losses of the steps.

    Rows and holes are new in each step.
    """
    torch.manual_seed(seed)
    source = Rows(rows, batch_size)
    losses = []
    optimizer = torch.optim.AdamW(model.parameters(), rate)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * min((step + 1) / 20, 1 - step / steps)
        batch = collate([source[step * batch_size + place] for place in range(batch_size)])
        loss = loss_of(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def holes(steps=600):
    """Both losses at the rate that suits each, judged by the holes alone.

    The rates are chosen on other captions, after a third of the steps. For a seed both losses have
    the same first weights, batches and holes.
    """
    learnt = captions(0, SCENES)
    chosen_on = captions(SCENES, SCENES + 100)
    held = captions(SCENES + 100, SCENES + 300)
    found = []
    for name, loss_of in LOSSES.items():
        tried = {}
        for rate in (1e-3, 3e-3, 1e-2):
            model = tiny(9)
            pretrain(model, learnt, steps // 3, loss_of, rate, seed=9)
            tried[rate] = evaluate(model.eval(), chosen_on)["masked loss"]
        best = min(tried, key=tried.get)
        for seed in range(3):
            model = tiny(seed)
            own = pretrain(model, learnt, steps, loss_of, best, seed=seed)
            row = {"loss over": name, "seed": seed, "rate": best, "tried": tried, "steps": steps}
            row["own loss"] = mean(own[-20:])
            row |= evaluate(model.eval(), held)
            found.append(row)
            print(row, flush=True)
    return {"rows": found}


STUDIES = {"labels": labels, "holes": holes}


def main(name):
    """Make a study, and write what it found."""
    start = time.process_time()
    found = STUDIES[name]()
    found["command"] = f"python -m mmcourse.recipes.text_studies {name}"
    found["seconds"] = round(time.process_time() - start)
    write_study(f"text_{name}", found | machine())


if __name__ == "__main__":
    main(*sys.argv[1:])
