"""Distillation: a small captioner learns what a trained one says of each word and each cell.

Hinton et al. 2015. A right answer is one word; the teacher's probabilities also say which others
were near it. Shapes: B batch, T words, N cells, V classes, K the teacher's largest classes.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from mmcourse.captioning import PAD, cell_nouns
from mmcourse.captioning.captioner import next_words
from mmcourse.captioning.scenes import EMPTY_CELL, chosen_caption

KEPT = 8  # of each of the teacher's distributions, the largest classes


class Soft(NamedTuple):
    """The largest classes of the teacher's distributions, in a form that takes little room."""

    classes: torch.Tensor  #: (..., K), which they are, as int16
    logits: torch.Tensor  #: (..., K), what the teacher gives them, in half precision


class Lesson(NamedTuple):
    """A picture, what is true of it, and what the teacher says of it."""

    image: np.ndarray  #: uint8 (H, W, 3)
    tokens: torch.Tensor | None  #: (T + 1,) a caption with its start and end; None for a crowd
    cells: torch.Tensor  #: (N,) the noun of each cell, 0 for none
    words: Soft | None  #: of the T next words
    seen: Soft  #: of the N cells


def distillation_loss(logits, teacher_logits, temperature):
    r"""Cross-entropy of the student with the teacher, both softened: (...).

    :math:`-\tau^2 \sum_v p_v \log q_v` with :math:`p = \mathrm{softmax}(z^{\text{teacher}} / \tau)`
    and :math:`q = \mathrm{softmax}(z / \tau)`. The factor keeps the gradient about as large as that
    of the true words, whatever the temperature is (Hinton et al. 2015, section 2). ``logits`` and
    ``teacher_logits`` are (..., V). ValueError for a ``temperature`` that is not above 0, or for
    shapes that differ.
    """
    check_temperature(temperature)
    if logits.shape != teacher_logits.shape:
        raise ValueError(
            f"student and teacher must choose among the same classes, got {tuple(logits.shape)} "
            f"and {tuple(teacher_logits.shape)}: give both the same vocabulary"
        )
    teacher = (teacher_logits / temperature).softmax(-1)
    student = (logits / temperature).log_softmax(-1)
    return -(temperature**2) * (teacher * student).sum(-1)


def soft_loss(logits, soft, temperature):
    """As :func:`distillation_loss`, of the teacher's K largest classes, which share all of its
    probability: ``logits`` (..., V), a :class:`Soft` (..., K) to (...).
    """
    check_temperature(temperature)
    teacher = (soft.logits.float() / temperature).softmax(-1)  # (..., K)
    student = (logits / temperature).log_softmax(-1)  # (..., V)
    return -(temperature**2) * (teacher * student.gather(-1, soft.classes.long())).sum(-1)


def check_temperature(temperature):
    """ValueError unless a temperature is above 0."""
    if not temperature > 0:
        raise ValueError(
            f"the temperature must be above 0, got {temperature}: 1 leaves the distributions as "
            "they are, 2 to 4 soften them"
        )


def largest(logits, kept=KEPT):
    """The ``kept`` largest of logits (..., V): a :class:`Soft`."""
    found = logits.topk(kept, -1)
    return Soft(found.indices.to(torch.int16), found.values.half())


@torch.no_grad()
def lessons(teacher, scenes, kept=KEPT):
    """What a teacher says of a list of scenes, one :class:`Lesson` each.

    The words are those of one true caption of each scene: the teacher is asked for the next word
    after each of them. A scene without a description (a crowd) has cells only.
    """
    images = np.stack([scene.image for scene in scenes])
    features = teacher.convolutions(teacher.pixels_of(images))  # (B, N, D)
    seen = largest(teacher.noun_head(features), kept)
    found = [None] * len(scenes)
    told = [row for row, scene in enumerate(scenes) if scene.description]
    tokens = {}
    if told:
        batch = teacher.tokenize_all([chosen_caption(scenes[row]) for row in told])  # (B, T + 1)
        memory = teacher.relate(features[told])
        words = largest(teacher.decode(memory, batch[:, :-1]), kept)  # (B, T, K)
        for place, row in enumerate(told):
            length = int((batch[place] != PAD).sum())
            tokens[row] = batch[place, :length].clone()
            found[row] = Soft(*(part[place, : length - 1].clone() for part in words))
    stride = teacher.convolutions.stride
    return [
        Lesson(
            scene.image,
            tokens.get(row),
            cell_nouns(scene, stride),
            found[row],
            Soft(*(part[row].clone() for part in seen)),
        )
        for row, scene in enumerate(scenes)
    ]


def collate(samples):
    """A batch of lessons, a dict of tensors; those with a caption come first."""
    samples = sorted(samples, key=lambda lesson: lesson.tokens is None)
    told = [lesson for lesson in samples if lesson.tokens is not None]

    def padded(rows):
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)

    return {
        "images": torch.from_numpy(np.stack([lesson.image for lesson in samples])),
        "tokens": padded([lesson.tokens for lesson in told]),
        "cells": torch.stack([lesson.cells for lesson in samples]),
        "word classes": padded([lesson.words.classes for lesson in told]),
        "word logits": padded([lesson.words.logits for lesson in told]),
        "cell classes": torch.stack([lesson.seen.classes for lesson in samples]),
        "cell logits": torch.stack([lesson.seen.logits for lesson in samples]),
    }


def student_terms(model, batch, *, share=0.9, temperature=2.0):
    """What a student makes small: the loss of its words and that of its cells, a tensor (2,).

    Each is ``share`` times :func:`soft_loss` plus ``1 - share`` times the cross-entropy with the
    truth. With a share of 0 nobody teaches. An empty cell counts a tenth, as in chapter 14.
    """
    tokens = batch["tokens"]  # (B', T + 1), of the first B' pictures
    features = model.convolutions(model.pixels_of(batch["images"]))  # (B, N, D)
    cells = model.noun_head(features)  # (B, N, 1 + nouns)
    words = model.decode(model.relate(features[: len(tokens)]), tokens[:, :-1])  # (B', T, V)
    targets = next_words(tokens)
    weights = torch.where(batch["cells"] > 0, 1.0, EMPTY_CELL)
    losses = [
        (words, targets, (targets != PAD).float(), "word"),
        (cells, batch["cells"], weights, "cell"),
    ]
    terms = []
    for logits, truth, weight, name in losses:
        loss = F.cross_entropy(logits.flatten(0, 1), truth.flatten(), reduction="none")
        loss = (1 - share) * loss.view_as(truth)
        if share:
            soft = Soft(batch[f"{name} classes"], batch[f"{name} logits"])
            loss = loss + share * soft_loss(logits, soft, temperature)
        terms.append((loss * weight).sum() / weight.sum())
    return torch.stack(terms)
