"""What is liked better is made more probable: self-critical training, DPO, and what they can game.

Shapes: B sentences, T words, N cells, D width.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F

from mmcourse.captioning import END, PAD
from mmcourse.evaluation import fact_score

REWARDS = ("f1", "f0.5", "precision", "recall")


class Pair(NamedTuple):
    """Two sentences about one picture, lists of ids, of which one is liked better."""

    chosen: list  #: ids of the sentence that is liked better
    rejected: list  #: ids of the other


def fact_reward(caption, scene, kind="f1"):
    r"""How good a caption is, in [0, 1], by :func:`~mmcourse.evaluation.facts.fact_score`.

    ``kind`` is ``precision``, ``recall``, ``f1``, their harmonic mean, or ``f0.5``, in which recall
    counts half as much as precision (van Rijsbergen's F with :math:`\beta = 1/2`). ValueError for
    another.
    """
    if kind not in REWARDS:
        raise ValueError(f"unknown reward {kind!r}: choose one of {', '.join(REWARDS)}")
    score = fact_score(caption, scene)
    if kind == "precision":
        return score.precision
    if kind == "recall":
        return score.recall
    beta = float(kind[1:])
    total = beta**2 * score.precision + score.recall
    return (1 + beta**2) * score.precision * score.recall / total if total else 0.0


def sentence_log_probs(captioner, memory, sentences):
    """The log-probability (B,) of each of ``sentences``, lists of ids, its end included.

    ``memory`` (B, N, D) is what the decoder looks at.
    """
    logits = captioner.decode(memory, captioner.inputs_of(sentences))  # (B, T, V)
    rows = [torch.tensor([*ids, END])[: captioner.max_length] for ids in sentences]
    targets = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)
    targets = targets.to(logits.device)
    log_probs = logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0]  # (B, T)
    return log_probs.masked_fill(targets == PAD, 0.0).sum(1)


def self_critical_loss(log_probs, rewards, baselines):
    r"""Mean of :math:`-(r(y) - r(\hat y)) \log p(y)` over sampled sentences (B,).

    Rennie et al. 2017: ``rewards`` are those of the samples, ``baselines`` those of
    what the model would have written itself, greedily. Its gradient makes likely what was better,
    and unlikely what was worse. ValueError for shapes that differ.
    """
    if not log_probs.shape == rewards.shape == baselines.shape:
        raise ValueError(
            "expected a reward and a baseline for each sentence, got shapes "
            f"{tuple(log_probs.shape)}, {tuple(rewards.shape)} and {tuple(baselines.shape)}"
        )
    advantage = (rewards - baselines).detach()
    return -(advantage * log_probs).mean()


def dpo_loss(chosen, rejected, chosen_before, rejected_before, beta=0.1):
    r"""Direct preference optimisation (Rafailov et al. 2023, equation 7), the mean over pairs (B,).

    :math:`-\log\sigma\left(\beta \log\frac{p(y^+)}{p_0(y^+)} - \beta \log\frac{p(y^-)}{p_0(y^-)}
    \right)`. The arguments are log-probabilities of whole sentences, by the model that learns and,
    ``before``, by the frozen one that it began as. ``beta`` says how dear it is to leave that.
    ValueError for shapes that differ or a ``beta`` that is not positive.
    """
    shapes = [tuple(one.shape) for one in (chosen, rejected, chosen_before, rejected_before)]
    if len(set(shapes)) > 1:
        raise ValueError(f"expected four log-probabilities for each pair, got shapes {shapes}")
    if not beta > 0:
        raise ValueError(f"beta must be above 0, got {beta}: at 0 no pair would matter")
    gain = chosen - chosen_before  # (B,)
    loss = rejected - rejected_before
    return -F.logsigmoid(beta * (gain - loss)).mean()


def preference_pair(sentences, scores):
    """The best and the worst of some sentences about one picture: a :class:`Pair`.

    Of equal scores the first is taken. ValueError where all scores are equal: nothing is preferred.
    """
    if len(sentences) != len(scores) or len(sentences) < 2:
        raise ValueError(
            "expected a score for each of two sentences or more, "
            f"got {len(sentences)} sentences and {len(scores)} scores"
        )
    best = max(range(len(scores)), key=lambda number: scores[number])
    worst = min(range(len(scores)), key=lambda number: scores[number])
    if scores[best] == scores[worst]:
        raise ValueError(
            f"all {len(scores)} sentences have the score {scores[best]}, so none is preferred: "
            "leave this picture out, or sample more"
        )
    return Pair(sentences[best], sentences[worst])
