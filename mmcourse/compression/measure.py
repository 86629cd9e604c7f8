"""How far a captioner is from another, and how fast it is beside another."""

import statistics
import time

import numpy as np
import torch

from mmcourse.captioning import END
from mmcourse.evaluation import bootstrap, fact_score


def fact_counts(captions, scenes):
    """Of each caption, facts that are true, stated, due, and both due and stated: (B, 4) int."""
    rows = []
    for caption, scene in zip(captions, scenes, strict=True):
        score = fact_score(caption, scene)
        due = len(fact_score("", scene).missed)
        stated = len(score.true) + len(score.false)
        rows.append([len(score.true), stated, due - len(score.missed), due])
    return np.array(rows).reshape(-1, 4)


def precision_recall(counts):
    """Precision and recall of all facts of a corpus, from :func:`fact_counts`: an array (2,)."""
    true, stated, found, due = counts.sum(0)
    return np.array([true / max(1, stated), found / max(1, due)])


def paired_change(counts, original, which, draws=1000):
    """How much precision (``which`` 0) or recall (1) changed: an interval that redraws scenes."""

    def change(ours, theirs):
        return (precision_recall(ours) - precision_recall(theirs))[which]

    return bootstrap(change, counts, original, draws=draws)


@torch.no_grad()
def divergence(model, original, images, sentences):
    """How far the word distributions of a captioner are from those of the original: a number.

    The mean Kullback-Leibler divergence, in nats a word, along ``sentences`` (lists of ids), which
    the original wrote of the ``images``. ValueError without pictures.
    """
    if len(images) == 0:
        raise ValueError("expected at least one picture to compare on, got none")
    tokens = original.inputs_of(sentences)  # (B, T)
    theirs = original.decode(original.encode(images), tokens).log_softmax(-1)
    ours = model.decode(model.encode(images), tokens).log_softmax(-1)
    each = (theirs.exp() * (theirs - ours)).sum(-1)  # (B, T)
    lengths = torch.tensor([1 + len(ids) for ids in sentences])
    there = torch.arange(tokens.shape[1]) < lengths[:, None]
    return each[there].mean().item()


def write_one_by_one(model, images):
    """What a captioner writes greedily, a picture at a time: a list of lists of ids."""
    found = []
    for image in images:
        caption = model.write(model.encode(image[None]), "greedy")[0]
        found.append([model.ids[word] for word in caption.tokens if model.ids[word] != END])
    return found


def compare_speed(tasks, rounds=7):
    """How long each of ``tasks``, a dict of functions, takes beside the first: a dict of ratios.

    All run once to warm up, then in turn, ``rounds`` times; a ratio above 1 is faster than the
    first. It is the median over the rounds, with the smallest and the largest.
    """
    seconds = {name: [] for name in tasks}
    for number in range(rounds + 1):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            if number:
                seconds[name].append(time.perf_counter() - start)
    first = next(iter(seconds.values()))
    found = {}
    for name, values in seconds.items():
        ratios = [before / now for before, now in zip(first, values, strict=True)]
        found[name] = [statistics.median(ratios), min(ratios), max(ratios)]
    return found
