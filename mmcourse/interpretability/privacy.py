"""What does a model give away of its training? Exposure of a planted text, and membership.

Shapes: R candidates, n examples.
"""

from typing import NamedTuple

import numpy as np
import torch

from mmcourse.gpt import GPT, pad


def exposure(log_probs, planted):
    r"""Exposure in bits: :math:`\log_2 R - \log_2 \text{rank}` (Carlini et al. 2019, section 4).

    ``log_probs`` (R,) are those of all candidates, ``planted`` the number of the one that was in
    training. Rank 1 is the likeliest; of equal candidates the planted one comes last. ValueError
    for a number outside them.
    """
    log_probs = np.asarray(log_probs, dtype=float)
    if not 0 <= planted < len(log_probs):
        raise ValueError(f"planted must be a number of {len(log_probs)} candidates, got {planted}")
    rank = (log_probs >= log_probs[planted]).sum()
    return float(np.log2(len(log_probs)) - np.log2(rank))


class Roc(NamedTuple):
    """How many members, and how many others, each threshold takes for members."""

    false: np.ndarray  #: (points,) of those who were not in training, the share, ascending
    true: np.ndarray  #: (points,) of the members, the share


def roc(scores, members):
    """The :class:`Roc` of ``scores`` (n,), larger for members, of whom ``members`` (n,) are True.

    It has a point for each different score, and begins at (0, 0). ValueError where all are members
    or none, or for lists that do not pair.
    """
    scores = np.asarray(scores, dtype=float)
    members = np.asarray(members, dtype=bool)
    if scores.shape != members.shape or members.all() or not members.any():
        raise ValueError(
            "expected a score for each example, members and others among them, got "
            f"{scores.shape} scores and {int(members.sum())} members of {members.size}"
        )
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    true = members[order].cumsum() / members.sum()
    false = (~members[order]).cumsum() / (~members).sum()
    last = np.append(ordered[1:] != ordered[:-1], True)  # of the equal ones
    return Roc(np.append(0, false[last]), np.append(0, true[last]))


def true_at(curve, false):
    """The largest share of members found with at most so many ``false`` alarms.

    Carlini et al. 2022 ask for it where few alarms are false.
    """
    return float(curve.true[curve.false <= false].max())


def word_ids(texts):
    """A number from 1 for each word of some texts; 0 begins and ends a text."""
    words = sorted({word for text in texts for word in text.split()})
    return {word: number for number, word in enumerate(words, 1)}


def as_rows(texts, ids):
    """Texts as lists of ids, each between two zeros."""
    return [[0, *(ids[word] for word in text.split()), 0] for text in texts]


def memorise(rows, vocab_size, context, steps, seed, width=32, batch_size=32, rate=3e-3):
    """A small :class:`~mmcourse.gpt.GPT` that is trained on ``rows`` of ids, again and again.

    AdamW at a constant ``rate`` without weight decay: it is meant to learn by heart. ``context`` is
    the length of the longest row that it shall read.
    """
    torch.manual_seed(seed)
    model = GPT(vocab_size, width, 2, 4, context)
    solver = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    draws = np.random.default_rng(seed)
    order = []
    for _ in range(steps):
        if not order:
            order = list(draws.permutation(len(rows)))
        batch = order[:batch_size]
        order = order[batch_size:]
        ids, mask = pad([rows[number] for number in batch])
        solver.zero_grad()
        model.loss(ids, mask).backward()
        solver.step()
    return model.eval()
