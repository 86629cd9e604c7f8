"""Studies of language models that take longer than a page: measured once, stored, and read.

``python -m mmcourse.recipes.gpt_studies NAME`` makes ``measured/gpt_NAME.json`` beside this file,
with the command, the seconds of the processor and the machine in it; NAME is one of ``STUDIES``. A
number after it is the share of the steps to take, for a trial. The page reads the file with
:func:`read`, and does a small part of it again.

Every arm gets its own learning rate, by validation texts (:func:`tuned`). The decay is the same for
all, and was not tuned.
"""

import math
import re
import sys
import time
from functools import cache
from pathlib import Path
from random import Random
from statistics import mean, median

import numpy as np
import torch
from torch import nn

from mmcourse import decoding
from mmcourse.data.captioned import words_of
from mmcourse.data.glosses import KINDS, glosses, lines
from mmcourse.data.language import COLOURS, noun_table
from mmcourse.data.splits import held_out
from mmcourse.evaluation import bleu, bootstrap
from mmcourse.gpt import (
    GPT,
    Blocks,
    Llama,
    as_answer,
    as_prompt,
    collate,
    measure_words,
    novelty,
    row_log_probs,
    stream,
)
from mmcourse.recipes.gpt import END, SPECIAL, described, english, mandarin, rows_of, some
from mmcourse.recipes.stored import machine, read_study, write_study
from mmcourse.text import TOKENIZER, BPETokenizer
from mmcourse.training import TrainingConfig, learning_rate_at, parameter_groups

SHIPPED = (
    Path(__file__).parents[1] / "shipped" / "gpt"
)  # what `python -m mmcourse.recipes.gpt` made
SEEDS = (0, 1, 2)
SMALL = 512  # ids of the tokenizer for models that are trained from nothing
CONTEXT = 128
BATCH = 8  # blocks of CONTEXT
DECAY = 0.1
RATES = (1e-3, 3e-3, 9e-3)  # tried first, from nothing
FINE_RATES = (3e-4, 1e-3, 3e-3)  # tried first, of fine-tuning
STUDENT = 4.303  # of Student's t with two degrees of freedom: three seeds, 95 % in the middle


def read(name):
    """What a study found, a dict."""
    return read_study(f"gpt_{name}")


def interval(values, sizes=None):
    """Mean of ``values`` (seeds, items), and half its 95 % interval.

    Two things vary, and their squares are added: the seed (Student's t of the means over items),
    and which items were asked (a bootstrap over them of the mean over seeds). With ``sizes`` of
    the items it is a sum of values over a sum of sizes, such as bits a byte.
    """
    values = np.asarray(values, dtype=float)
    sizes = np.ones(values.shape[1]) if sizes is None else np.asarray(sizes)
    if len(values) != len(SEEDS):
        raise ValueError(f"expected values of {len(SEEDS)} seeds, got {len(values)}")
    each = values.sum(1) / sizes.sum()  # (seeds,)
    seeds = STUDENT * each.std(ddof=1) / math.sqrt(len(each))
    drawn = bootstrap(lambda value, size: value.sum() / size.sum(), values.mean(0), sizes)
    return drawn.value, math.hypot(seeds, (drawn.high - drawn.low) / 2)


# ---- training


def tuned(loss, rates):
    """The rate whose ``loss(rate)`` is smallest, and the losses of all that were tried, a dict.

    While the best one is the smallest or the largest that was tried, one beyond it, three times
    as small or as large, is tried too.
    """
    tried = {}
    wanted = list(rates)
    while wanted:
        rate = wanted.pop(0)
        found = loss(rate)
        tried[rate] = found if math.isfinite(found) else math.inf
        print(f"    {rate:g}: {tried[rate]:.3f}", flush=True)
        best = min(tried, key=tried.get)
        if not wanted and best == max(tried):
            wanted = [float(f"{3 * best:.2g}")]
        elif not wanted and best == min(tried):
            wanted = [float(f"{best / 3:.2g}")]
    return best, tried


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
    """``batch(step)`` of blocks of a stream, in an order of each seed, whatever the model.

    No block comes again before all were read.
    """
    blocks = Blocks(ids, CONTEXT)
    batches = len(blocks) // BATCH

    @cache
    def order(reading):
        numbers = list(range(len(blocks)))
        Random(f"{seed}/{reading}").shuffle(numbers)
        return numbers

    def batch(step):
        reading, place = divmod(step, batches)
        numbers = order(reading)[place * BATCH : (place + 1) * BATCH]
        return (torch.stack([blocks[number] for number in numbers]),)

    return batch


def gloss_costs(model, tokenizer, split, count):
    """Bits of each of ``count`` glosses of a split, of all kinds, and the bytes of each: lists."""
    rows = rows_of(tokenizer, some(lines(split), count), model.context)
    costs = [-value / math.log(2) for value in row_log_probs(model, rows)]
    return costs, [len(tokenizer.decode(row[1:-1]).encode()) + 1 for row in rows]


def gloss_bits(model, tokenizer, split, count):
    """Bits a byte of ``count`` glosses of a split, of all kinds."""
    costs, sizes = gloss_costs(model, tokenizer, split, count)
    return sum(costs) / sum(sizes)


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


BLOCK_STEPS = 600  # of GPT-2's block
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
    """The arms at equal time: GPT-2's block gets its steps, the others as many as take as long.

    The rate is chosen with half of the steps.
    """
    steps = round(BLOCK_STEPS * share)
    seconds = seconds_a_step(ARMS)
    tokenizer, _ = small_corpus()
    rows = []
    for name, make in ARMS.items():
        own = round(steps * seconds["GPT-2"] / seconds[name])

        def loss(rate, make=make, own=own):
            return gloss_bits(pretrain(make, own // 2, rate, seed=9), tokenizer, "val", 200)

        best, tried = tuned(loss, RATES)
        models = [pretrain(make, own, best, seed) for seed in SEEDS]
        found = [gloss_costs(model, tokenizer, "test", 300) for model in models]
        row = {
            "arm": name,
            "parameters": parameters(models[0]),
            "seconds a step": seconds[name],
            "steps": own,
            "rates": {str(rate): score for rate, score in tried.items()},
            "rate": best,
            "bits": [sum(costs) / sum(sizes) for costs, sizes in found],
            "bits of lines": [[round(cost, 2) for cost in costs] for costs, _ in found],
            "bytes of lines": found[0][1],
        }
        rows.append(row)
        print({key: row[key] for key in row if "lines" not in key}, flush=True)
    return {"rows": rows}


# ---- scaling

SIZES = ((16, 2, 2), (32, 2, 2), (48, 3, 3), (80, 3, 4))  # width, layers, heads
TOKENS = (75_000, 150_000, 300_000, 600_000)  # the text has 1.23 million


def sized(width, layers, heads):
    """``make`` for a network of these sizes."""
    return lambda vocab_size: widened(GPT(vocab_size, width, layers, heads, CONTEXT))


def scaling(share):
    """Four sizes at the most tokens, and four numbers of tokens at the largest size.

    No token is read twice. The rate is chosen for each size, on half of the most tokens.
    """
    steps = [round(count * share) // (BATCH * (CONTEXT - 1)) for count in TOKENS]
    tokenizer, ids = small_corpus()
    if steps[-1] * BATCH > len(Blocks(ids, CONTEXT)):
        raise ValueError(f"the text has {len(ids)} tokens, fewer than {TOKENS[-1]}")
    rows = []
    for sizes in SIZES:
        make = sized(*sizes)

        def loss(rate, make=make):
            return gloss_bits(pretrain(make, steps[2], rate, seed=9), tokenizer, "val", 200)

        best, tried = tuned(loss, RATES)
        for own in steps if sizes == SIZES[-1] else steps[-1:]:
            for seed in SEEDS:
                model = pretrain(make, own, best, seed)
                tables = model.embedding.weight.numel() + model.positions.weight.numel()
                row = {
                    "parameters": parameters(model) - tables,
                    "tokens": own * BATCH * (CONTEXT - 1),
                    "seed": seed,
                    "sizes": sizes,
                    "rates": {str(rate): score for rate, score in tried.items()},
                    "rate": best,
                    "bits": gloss_bits(model, tokenizer, "test", 300),
                }
                rows.append(row)
                print(row, flush=True)
    return {"rows": rows, "text": len(ids)}


# ---- fine-tuning


TRANSLATION_STEPS = 400
KIND_STEPS = 120


@cache
def shipped_tokenizer():
    """The tokenizer of the shipped model."""
    return BPETokenizer.load(SHIPPED / TOKENIZER)


def starting_points():
    """Where fine-tuning starts: ``make(seed)`` of the shipped model, and of the same untrained.

    The untrained one has first weights as wide as its width asks for, as in the other studies.
    """

    def pretrained(seed):
        torch.manual_seed(seed)
        return GPT.from_pretrained(SHIPPED)

    def untrained(seed):
        return widened(pretrained(seed))

    return {"pre-trained": pretrained, "from nothing": untrained}


def pairs_batch(pairs, seed, size=24):
    """``batch(step)`` of random pairs of prompt and answer."""

    def batch(step):
        rng = Random(f"{seed}/{step}")
        return collate([pairs[rng.randrange(len(pairs))] for _ in range(size)])

    return batch


@torch.no_grad()
def answer_loss(model, pairs):
    """The mean loss of the answers of pairs, which are few enough for one batch."""
    return model.eval().loss(*collate(pairs)).item()


@cache
def in_dictionary():
    """Pairs of colour and noun that no caption shows, but a gloss of ``train`` names: a set."""
    text = " ".join(lines("train")).lower()
    found = set()
    for colour in COLOURS:
        for noun in noun_table().values():
            named = rf"\b{colour} ({re.escape(noun.name)}|{re.escape(noun.plural)})\b"
            if held_out(colour, noun.name) and re.search(named, text):
                found.add((colour, noun.name))
    return found


def scenes(split, count, first=0):
    """Numbers of ``count`` scenes of a split from ``first`` on, a list.

    In ``composition``, scenes with a pair of :func:`in_dictionary` are passed over.
    """
    found = []
    number = first
    while len(found) < count:
        groups = described(split, number)[0].groups
        told = any((group.colour, group.noun) in in_dictionary() for group in groups)
        if split != "composition" or not told:
            found.append(number)
        number += 1
    return found


def translation_pairs(split, numbers):
    """Prompts and answers of scenes of a split, as ids, and their descriptions."""
    tokenizer = shipped_tokenizer()
    pairs = []
    for number in numbers:
        prompt = as_prompt(tokenizer, english(split, number), END)
        pairs.append((prompt, as_answer(tokenizer, mandarin(split, number), END)))
    return pairs, [described(split, number)[0] for number in numbers]


def translate(model, prompts):
    """What a model writes after each prompt, texts."""
    tokenizer = shipped_tokenizer()
    texts = []
    for start in range(0, len(prompts), 50):
        part = prompts[start : start + 50]
        found = model.generate(part, end=END, max_length=40, decode=decoding.greedy)
        texts += [tokenizer.decode(row).strip() for row in found.tokens]
    return texts


def translation_scores(texts, split, numbers):
    """Exact match, BLEU-4 of characters, and measure words: a dict."""
    truth = [mandarin(split, number) for number in numbers]
    descriptions = [described(split, number)[0] for number in numbers]
    named = [measure_words(text, what) for text, what in zip(texts, descriptions, strict=True)]
    exact = [text == wanted for text, wanted in zip(texts, truth, strict=True)]
    return {
        "exact": mean(exact),
        "BLEU-4": bleu(*spelled(texts, truth))[3],
        "named": sum(count for count, _ in named),
        "measure words right": sum(right for _, right in named),
        "groups": sum(len(what.groups) for what in descriptions),
        "scenes": numbers,
        "novelty": [novelty(what) for what in descriptions],
        "texts": texts,
    }


def spelled(texts, truth):
    """Texts and the wanted ones as :func:`mmcourse.evaluation.bleu` takes them, by characters."""
    return [" ".join(text) or "-" for text in texts], [[" ".join(wanted)] for wanted in truth]


def translation(share, taught=2000, asked=120):
    """Scene captions from English to Mandarin, from both starting points.

    The rate is chosen with a third of the steps, by the loss of the answers.
    """
    steps = round(TRANSLATION_STEPS * share)
    pairs, _ = translation_pairs("train", scenes("train", taught, first=40_000))  # not yet read
    checked, _ = translation_pairs("val", scenes("val", 80, first=1000))
    rows = []
    for name, make in starting_points().items():

        def loss(rate, make=make):
            return answer_loss(fit(make(9), pairs_batch(pairs, 9), steps // 3, rate), checked)

        best, tried = tuned(loss, FINE_RATES)
        for seed in SEEDS:
            model = fit(make(seed), pairs_batch(pairs, seed), steps, best)
            for split in ("val", "composition"):
                numbers = scenes(split, asked)
                prompts, _ = translation_pairs(split, numbers)
                texts = translate(model, [prompt for prompt, _ in prompts])
                row = {"start": name, "seed": seed, "split": split, "rate": best}
                row["rates"] = {str(rate): score for rate, score in tried.items()}
                row |= translation_scores(texts, split, numbers)
                rows.append(row)
                long = ("scenes", "novelty", "texts")
                print({key: row[key] for key in row if key not in long}, flush=True)
    told = sorted(f"{colour} {noun}" for colour, noun in in_dictionary())
    return {"rows": rows, "steps": steps, "taught": taught, "in dictionary": told}


def shortened(gloss):
    """The text of a gloss, at most 20 words."""
    return " ".join(gloss.text.split()[:20])


def kind_pairs(chosen):
    """Prompts and answers of some glosses, as ids."""
    tokenizer = shipped_tokenizer()
    pairs = []
    for gloss in chosen:
        answer = as_answer(tokenizer, gloss.kind, END)
        pairs.append((as_prompt(tokenizer, shortened(gloss), END), answer))
    return pairs


def choose_kind(model, prompts):
    """For each prompt, the kind whose name the model finds most probable as the answer."""
    answers = [as_answer(shipped_tokenizer(), kind, END) for kind in KINDS]
    rows = [prompt + answer for prompt in prompts for answer in answers]
    first = [len(prompt) for prompt in prompts for _ in answers]
    log_probs = torch.tensor(row_log_probs(model, rows, first)).view(-1, len(KINDS))
    return [KINDS[number] for number in log_probs.argmax(1).tolist()]


def right(found, chosen):
    """Whether each kind is that of its gloss, a list of 0 and 1."""
    return [int(kind == gloss.kind) for kind, gloss in zip(found, chosen, strict=True)]


class BagOfWords:
    """Which words occur, and a linear layer: what a language model has to beat.

    ``strength`` is C of scikit-learn's logistic regression.
    """

    def __init__(self, chosen, strength):
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.linear_model import LogisticRegression

        self.counter = CountVectorizer(analyzer=words_of, binary=True)
        self.learner = LogisticRegression(C=strength, max_iter=1000)
        words = self.counter.fit_transform([shortened(gloss) for gloss in chosen])
        self.learner.fit(words, [gloss.kind for gloss in chosen])

    def log_probs(self, chosen):
        """The log-probability of each kind for each gloss: (glosses, kinds), in their order."""
        words = self.counter.transform([shortened(gloss) for gloss in chosen])
        found = np.full((len(chosen), len(KINDS)), -20.0)  # a kind without a label
        places = [KINDS.index(kind) for kind in self.learner.classes_]
        found[:, places] = self.learner.predict_log_proba(words)
        return found

    def choose(self, chosen):
        """The most probable kind of each gloss."""
        return [KINDS[number] for number in self.log_probs(chosen).argmax(1)]

    def loss(self, chosen):
        """The mean of -log p of the right kinds."""
        kinds = [KINDS.index(gloss.kind) for gloss in chosen]
        return -self.log_probs(chosen)[range(len(chosen)), kinds].mean()


def classification(share, asked=200):
    """The kind of a gloss from few labels: asked for in words, and by a bag of words.

    All see the same labels. Each arm's rate is chosen by the loss on validation glosses, with half
    of the steps and another draw of labels; so is the bag's strength.
    """
    steps = round(KIND_STEPS * share)
    judged = Random(0).sample(glosses("test"), asked)
    checked = Random(0).sample(glosses("val"), 200)
    asking = [prompt for prompt, _ in kind_pairs(judged)]
    checking = kind_pairs(checked)
    rows = []

    def note(name, labels, seed, found, **more):
        rows.append({"start": name, "labels": labels, "seed": seed} | more)
        rows[-1]["each"] = right(found, judged)
        print(rows[-1] | {"each": mean(rows[-1]["each"])}, flush=True)

    note("never asked", 0, 0, choose_kind(starting_points()["pre-trained"](0), asking))
    for labels in (200, 1000):
        draws = {seed: Random(seed).sample(glosses("train"), labels) for seed in (*SEEDS, 9)}
        best, tried = tuned(lambda c, draws=draws: BagOfWords(draws[9], c).loss(checked), (1, 3, 9))
        for seed in SEEDS:
            found = BagOfWords(draws[seed], best).choose(judged)
            note("bag of words", labels, seed, found, rate=best, rates=tried)
        for name, make in starting_points().items():

            def loss(rate, make=make, draws=draws):
                batch = pairs_batch(kind_pairs(draws[9]), 9)
                return answer_loss(fit(make(9), batch, steps // 2, rate), checking)

            best, tried = tuned(loss, FINE_RATES)
            for seed in SEEDS:
                model = fit(make(seed), pairs_batch(kind_pairs(draws[seed]), seed), steps, best)
                found = choose_kind(model, asking)
                note(name, labels, seed, found, rate=best, rates=tried)
    return {"rows": rows, "steps": steps}


STUDIES = {
    "blocks": blocks,
    "scaling": scaling,
    "translation": translation,
    "classification": classification,
}


def main(name, share=None):
    """Make a study, or one with a ``share`` of its steps, and write what it found."""
    start = time.process_time()
    found = STUDIES[name](float(share or 1))
    found["command"] = f"python -m mmcourse.recipes.gpt_studies {name} {share or ''}".strip()
    found["seconds"] = round(time.process_time() - start)
    write_study(f"gpt_{name}", found | machine())


if __name__ == "__main__":
    main(*sys.argv[1:])
