"""Shares of right answers with intervals in which the questions about a scene stay together."""

from typing import NamedTuple

import numpy as np
import torch

from mmcourse.data.captioned import words_of
from mmcourse.evaluation import bootstrap
from mmcourse.vqa.conversation import ask_about

TOGETHER = 50  # scenes that are encoded in one batch


class Part(NamedTuple):
    """Scenes with their questions and the memory that an answerer has of them."""

    scenes: list  #: of :class:`~mmcourse.data.scenes.Scene`
    asked: list  #: of :class:`~mmcourse.vqa.Asked`
    memory: object  #: tensor (scenes, N, channels)


def see_part(model, dataset, first, count, ask=ask_about):
    """A :class:`Part` of ``count`` scenes of a dataset from the index ``first`` on.

    ``ask`` makes questions of a list of scenes.
    """
    scenes = [dataset[index] for index in range(first, first + count)]
    images = [scene.image for scene in scenes]
    parts = [model.see(images[i : i + TOGETHER]) for i in range(0, count, TOGETHER)]
    return Part(scenes, ask(scenes), torch.cat(parts))


def is_right(texts, asked):
    """Which answers are right, booleans (Q,): the same words, whatever their spelling."""
    pairs = zip(texts, asked, strict=True)
    return np.array([words_of(text) == words_of(each.answer) for text, each in pairs])


def share_by_scene(flags, scenes, draws=500):
    """The share of the flags that is True, with an interval over scenes.

    ``scenes`` says to which scene each flag belongs; the flags of a scene are drawn together. Where
    all or none are True every draw is the same: there the interval is the exact one of Clopper and
    Pearson (1934) for as many scenes, each counted once.
    """
    flags = np.asarray(flags, float)
    _, rows = np.unique(np.asarray(scenes), return_inverse=True)
    right = np.bincount(rows, flags)  # (scenes,)
    total = np.bincount(rows)

    def share(right, total):
        return right.sum() / total.sum()

    found = bootstrap(share, right, total, draws=draws)
    least = 0.025 ** (1 / len(total))  # of a share of 1, at 95 %
    if found.value == 1:
        return found._replace(low=least)
    if found.value == 0:
        return found._replace(high=1 - least)
    return found


def shares_by_kind(flags, asked, draws=500):
    """For each kind of question, and for ``all``, what :func:`share_by_scene` gives: a dict."""
    flags = np.asarray(flags)
    scenes = np.array([each.scene for each in asked])
    kinds = np.array([each.kind for each in asked])
    found = {"all": share_by_scene(flags, scenes, draws)}
    for kind in dict.fromkeys(kinds.tolist()):
        chosen = kinds == kind
        found[kind] = share_by_scene(flags[chosen], scenes[chosen], draws)
    return found
