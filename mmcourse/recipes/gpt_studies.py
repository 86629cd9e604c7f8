"""Studies of language models that take longer than a page: measured once, stored, and read.

``python -m mmcourse.recipes.gpt_studies NAME`` makes ``measured/gpt_NAME.json`` beside this file,
with the command, the seconds and the machine in it; NAME is one of ``STUDIES``. A number after it
is the share of the steps to take, for who has less time. The page reads the file with :func:`read`,
and does a small part of it again.
"""

import json
import math
import os
import platform
import sys
import time
from functools import cache
from pathlib import Path
from random import Random
from statistics import mean, median

import torch
from torch import nn

from mmcourse import decoding
from mmcourse.data.glosses import KINDS, glosses, lines
from mmcourse.evaluation import bleu
from mmcourse.gpt import (
    GPT,
    Blocks,
    Llama,
    as_answer,
    as_prompt,
    bits_per_byte,
    collate,
    measure_words,
    novelty,
    row_log_probs,
    stream,
)
from mmcourse.recipes.gpt import END, SPECIAL, described, english, mandarin, rows_of, some
from mmcourse.text import TOKENIZER, BPETokenizer
from mmcourse.training import TrainingConfig, learning_rate_at, parameter_groups

FOLDER = Path(__file__).with_name("measured")
SHIPPED = (
    Path(__file__).parents[1] / "shipped" / "gpt"
)  # what `python -m mmcourse.recipes.gpt` made
SEEDS = (0, 1, 2)
SMALL = 512  # ids of the tokenizer for models that are trained from nothing
CONTEXT = 128
BATCH = 8  # blocks of CONTEXT
DECAY = 0.1
RATES = (1e-3, 3e-3, 9e-3)  # each arm takes the best of these


def read(name):
    """What a study found, a dict."""
    return json.loads((FOLDER / f"gpt_{name}.json").read_text(encoding="utf-8"))


# ---- training


def fit(model, batch, steps, rate):
    """Train ``model`` with AdamW for ``steps``, each on what ``batch(step)`` gives its loss.

    The rate rises for a twentieth of the steps, and falls to 0 as a cosine.
    """
    config = TrainingConfig(steps=steps, batch_size=1, learning_rate=rate, warmup=steps // 20)
    optimizer = torch.optim.AdamW(parameter_groups(model, DECAY), lr=rate, fused=True)
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, config)
        model.loss(*batch(step)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


@cache
def small_corpus():
    """A tokenizer of ``SMALL`` ids learnt from the glosses of ``train``, and their stream."""
    texts = lines("train")
    tokenizer = BPETokenizer.train(texts, SMALL, special=SPECIAL)
    rows = [tokenizer.encode(text) for text in texts]
    Random(0).shuffle(rows)
    return tokenizer, stream(rows, END)


def blocks_batch(ids, seed):
    """``batch(step)`` of random blocks of a stream, the same for a seed whatever the model."""
    blocks = Blocks(ids, CONTEXT)

    def batch(step):
        rng = Random(f"{seed}/{step}")
        return (torch.stack([blocks[rng.randrange(len(blocks))] for _ in range(BATCH)]),)

    return batch


def gloss_bits(model, tokenizer, split, count):
    """Bits a byte of ``count`` glosses of a split, of all kinds."""
    rows = rows_of(tokenizer, some(lines(split), count), model.context)
    size = sum(len(tokenizer.decode(row[1:-1]).encode()) + 1 for row in rows)
    return bits_per_byte(row_log_probs(model, rows), size)


def pretrain(make, steps, rate, seed, ids=None):
    """A model that ``make()`` makes, trained on the small corpus, or on the stream ``ids``."""
    tokenizer, whole = small_corpus()
    torch.manual_seed(seed)
    model = make(len(tokenizer))
    return fit(model, blocks_batch(whole if ids is None else ids, seed), steps, rate)


def widened(model):
    """The model with first weights as GPT-2's at width 768, scaled to its own width."""
    model.initialise(0.02 * math.sqrt(768 / model.embedding.embedding_dim))
    return model


def parameters(model):
    """How many numbers a model learns."""
    return sum(parameter.numel() for parameter in model.parameters())


# ---- GPT-2's block and today's


def gpt_block(vocab_size):
    """The network with GPT-2's block."""
    return widened(GPT(vocab_size, 96, 3, 4, CONTEXT))


def today_block(vocab_size):
    """The network with today's block: as many layers, as wide, and about as many parameters."""
    return widened(Llama(vocab_size, 96, 3, 4, 2, 304, CONTEXT, tied=True))


def no_groups(vocab_size):
    """Today's block with keys and values for each head, and a narrower SwiGLU."""
    return widened(Llama(vocab_size, 96, 3, 4, 4, 272, CONTEXT, tied=True))


ARMS = {"GPT-2": gpt_block, "today": today_block, "today, all heads": no_groups}


def seconds_a_step(makes, rounds=12):
    """Median seconds of the processor for a training step of each network, in turns: a dict.

    Not those of the clock, which also counts what other programs take.
    """
    tokenizer, ids = small_corpus()
    batch = blocks_batch(ids, 0)(0)
    models = {name: make(len(tokenizer)) for name, make in makes.items()}
    times = {name: [] for name in makes}
    for _ in range(rounds):
        for name, model in models.items():
            start = time.process_time()
            model.loss(*batch).backward()
            times[name].append(time.process_time() - start)
    return {name: median(found) for name, found in times.items()}


def blocks(share):
    """The arms at equal time: GPT-2's block gets its steps, the others as many as take as long."""
    steps = round(1500 * share)
    seconds = seconds_a_step(ARMS)
    tokenizer, _ = small_corpus()
    rows = []
    for name, make in ARMS.items():
        own = round(steps * seconds["GPT-2"] / seconds[name])
        tried = {}
        for rate in RATES:
            model = pretrain(make, own // 2, rate, seed=9)
            tried[rate] = gloss_bits(model, tokenizer, "val", 200)
        best = min(tried, key=tried.get)
        scores = []
        for seed in SEEDS:
            model = pretrain(make, own, best, seed)
            scores.append(gloss_bits(model, tokenizer, "test", 300))
        row = {
            "arm": name,
            "parameters": parameters(model),
            "seconds a step": seconds[name],
            "steps": own,
            "rates": {str(rate): score for rate, score in tried.items()},
            "rate": best,
            "bits": scores,
        }
        rows.append(row)
        print(row, flush=True)
    return {"rows": rows}


# ---- scaling

SIZES = ((16, 2, 2), (32, 2, 2), (48, 3, 3), (80, 3, 4))  # width, layers, heads
TOKENS = (250_000, 500_000, 1_000_000, 2_000_000)


def sized(width, layers, heads):
    """``make`` for a network of these sizes."""
    return lambda vocab_size: widened(GPT(vocab_size, width, layers, heads, CONTEXT))


def scaling(share):
    """Four sizes at the most tokens, and four numbers of tokens at the largest size.

    The rate is chosen for each size, on few tokens.
    """
    tokens = [round(count * share) for count in TOKENS]
    tokenizer, _ = small_corpus()
    rows = []
    for sizes in SIZES:
        make = sized(*sizes)
        tried = {}
        for rate in RATES:
            model = pretrain(make, tokens[1] // (BATCH * CONTEXT), rate, seed=9)
            tried[rate] = gloss_bits(model, tokenizer, "val", 200)
        best = min(tried, key=tried.get)
        counts = tokens if sizes == SIZES[-1] else tokens[-1:]
        for count in counts:
            for seed in SEEDS:
                model = pretrain(make, count // (BATCH * CONTEXT), best, seed)
                bits = gloss_bits(model, tokenizer, "test", 300)
                tables = model.embedding.weight.numel() + model.positions.weight.numel()
                row = {"parameters": parameters(model) - tables, "tokens": count, "seed": seed}
                rows.append(row | {"sizes": sizes, "rate": best, "bits": bits})
                print(rows[-1], flush=True)
    return {"rows": rows}


# ---- fine-tuning


@cache
def shipped_tokenizer():
    """The tokenizer of the shipped model."""
    return BPETokenizer.load(SHIPPED / TOKENIZER)


def starting_points():
    """Where fine-tuning starts: ``make(seed)`` of the shipped model, and of the same untrained."""

    def pretrained(seed):
        torch.manual_seed(seed)
        return GPT.from_pretrained(SHIPPED)

    def untrained(seed):
        model = pretrained(seed)
        model.initialise()
        return model

    return {"pre-trained": pretrained, "from nothing": untrained}


def pairs_batch(pairs, seed, size=24):
    """``batch(step)`` of random pairs of prompt and answer."""

    def batch(step):
        rng = Random(f"{seed}/{step}")
        return collate([pairs[rng.randrange(len(pairs))] for _ in range(size)])

    return batch


def translation_pairs(split, count, first=0):
    """Prompts and answers of scenes of a split, as ids, and their descriptions."""
    tokenizer = shipped_tokenizer()
    pairs = []
    descriptions = []
    for index in range(first, first + count):
        prompt = as_prompt(tokenizer, english(split, index), END)
        pairs.append((prompt, as_answer(tokenizer, mandarin(split, index), END)))
        descriptions.append(described(split, index)[0])
    return pairs, descriptions


def translate(model, prompts):
    """What a model writes after each prompt, texts."""
    tokenizer = shipped_tokenizer()
    texts = []
    for start in range(0, len(prompts), 50):
        part = prompts[start : start + 50]
        found = model.generate(part, end=END, max_length=40, decode=decoding.greedy)
        texts += [tokenizer.decode(row).strip() for row in found.tokens]
    return texts


def translation_scores(texts, split, descriptions):
    """Exact match, BLEU-4 of characters, and measure words: a dict."""
    truth = [mandarin(split, index) for index in range(len(texts))]
    named = [measure_words(text, what) for text, what in zip(texts, descriptions, strict=True)]
    spelled = [" ".join(text) or "-" for text in texts]
    return {
        "exact": mean(text == wanted for text, wanted in zip(texts, truth, strict=True)),
        "BLEU-4": bleu(spelled, [[" ".join(wanted)] for wanted in truth])[3],
        "named": sum(count for count, _ in named),
        "measure words right": sum(right for _, right in named),
        "groups": sum(len(what.groups) for what in descriptions),
        "each": [
            [novelty(what), text == wanted, count, right]
            for text, wanted, what, (count, right) in zip(
                texts, truth, descriptions, named, strict=True
            )
        ],
    }


def translation(share, taught=2000, asked=80):
    """Scene captions from English to Mandarin, from both starting points."""
    steps = round(1000 * share)
    pairs, _ = translation_pairs("train", taught, first=40_000)  # not read in pre-training
    checked, known = translation_pairs("val", 40)
    rows = []
    for name, make in starting_points().items():
        tried = {}
        for rate in (5e-4, 1e-3, 2e-3):
            model = fit(make(9), pairs_batch(pairs, 9), steps // 3, rate)
            texts = translate(model, [prompt for prompt, _ in checked])
            tried[rate] = translation_scores(texts, "val", known)["BLEU-4"]
        best = max(tried, key=tried.get)
        for seed in SEEDS:
            model = fit(make(seed), pairs_batch(pairs, seed), steps, best)
            for split in ("val", "composition"):
                prompts, descriptions = translation_pairs(split, asked)
                texts = translate(model, [prompt for prompt, _ in prompts])
                row = {"start": name, "seed": seed, "split": split, "rate": best}
                row |= translation_scores(texts, split, descriptions)
                rows.append(row)
                print({key: row[key] for key in row if key != "each"}, flush=True)
    return {"rows": rows, "steps": steps, "taught": taught}


def kind_pairs(split, count, seed=0):
    """Prompts and answers of glosses of a split, as ids, and the kinds."""
    tokenizer = shipped_tokenizer()
    chosen = Random(seed).sample(glosses(split), count)
    pairs = []
    for gloss in chosen:
        text = " ".join(gloss.text.split()[:30])  # few are longer
        answer = as_answer(tokenizer, gloss.kind, END)
        pairs.append((as_prompt(tokenizer, text, END), answer))
    return pairs, [gloss.kind for gloss in chosen]


def choose_kind(model, prompts):
    """For each prompt, the kind whose name the model finds most probable as the answer."""
    answers = [as_answer(shipped_tokenizer(), kind, END) for kind in KINDS]
    rows = [prompt + answer for prompt in prompts for answer in answers]
    first = [len(prompt) for prompt in prompts for _ in answers]
    log_probs = torch.tensor(row_log_probs(model, rows, first)).view(-1, len(KINDS))
    return [KINDS[number] for number in log_probs.argmax(1).tolist()]


def right(found, truth):
    """The share of equal pairs."""
    return mean(ours == theirs for ours, theirs in zip(found, truth, strict=True))


def classification(share, asked=200):
    """The kind of a gloss, asked for in words, from both starting points and few labels."""
    steps = round(300 * share)
    prompts, truth = kind_pairs("test", asked)
    prompts = [prompt for prompt, _ in prompts]
    checked, known = kind_pairs("val", 100)
    shipped = starting_points()["pre-trained"](0)
    rows = [{"start": "never asked", "labels": 0, "seed": 0}]
    rows[0]["right"] = right(choose_kind(shipped, prompts), truth)
    print(rows[0], flush=True)
    for name, make in starting_points().items():
        for labels in (200, 1000):
            tried = {}
            for rate in (5e-4, 1e-3, 2e-3):
                pairs, _ = kind_pairs("train", labels, seed=9)
                model = fit(make(9), pairs_batch(pairs, 9), steps // 2, rate)
                found = choose_kind(model, [prompt for prompt, _ in checked])
                tried[rate] = right(found, known)
            best = max(tried, key=tried.get)
            for seed in SEEDS:
                pairs, _ = kind_pairs("train", labels, seed=seed)
                model = fit(make(seed), pairs_batch(pairs, seed), steps, best)
                row = {"start": name, "labels": labels, "seed": seed, "rate": best}
                row["right"] = right(choose_kind(model, prompts), truth)
                rows.append(row)
                print(row, flush=True)
    return {"rows": rows, "steps": steps}


STUDIES = {
    "blocks": blocks,
    "scaling": scaling,
    "translation": translation,
    "classification": classification,
}


def main(name, share="1"):
    """Make a study, with a ``share`` of its steps, and write what it found."""
    start = time.time()
    found = STUDIES[name](float(share))
    found["command"] = f"python -m mmcourse.recipes.gpt_studies {name} {share}"
    found["seconds"] = round(time.time() - start)
    found["machine"] = f"{platform.machine()}, {torch.get_num_threads()} thread(s)"
    found["torch"] = torch.__version__
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"gpt_{name}.json"
    part = path.with_suffix(".part")
    part.write_text(json.dumps(found, indent=1, ensure_ascii=False), encoding="utf-8")
    os.replace(part, path)


if __name__ == "__main__":
    main(*sys.argv[1:])
