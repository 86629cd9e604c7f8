"""How the models of chapter 22 are trained: scenes encoded once, instructions, and one loop.

The small world of the page has six nouns (``NOUNS``), so that a bridge learns within seconds.
"""

from dataclasses import replace
from random import Random
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from mmcourse.data import EmojiScenes
from mmcourse.evaluation import fact_score
from mmcourse.gpt import as_answer, as_prompt, collate
from mmcourse.recipes.gpt import END
from mmcourse.training import TrainingConfig, learning_rate_at, parameter_groups
from mmcourse.vlm import PICTURE, instructions, is_right

FIRST = 2_000_000  # scenes of train from here on: the captioner saw none of their pictures
BATCH = 32
LONGEST = 30  # tokens of an answer
NOUNS = ("dog", "cat", "car", "tree", "house", "bird")
TASKS = ("caption", "question", "box", "refusal")


class Seen(NamedTuple):
    """Scenes without their pictures, and what the encoder made of these."""

    scenes: list
    cells: torch.Tensor  #: (scenes, N, D_in), half precision

    def first(self, count):
        """The first ``count`` of them."""
        return Seen(self.scenes[:count], self.cells[:count])


@torch.no_grad()
def see(captioner, split, first, count, *, only=None, size=200):
    """``count`` scenes of a split from number ``first`` on, encoded once: :class:`Seen`.

    ``only`` is that of :class:`~mmcourse.data.EmojiScenes`.
    """
    data = EmojiScenes(split, only=only)
    scenes = []
    cells = []
    for start in range(first, first + count, size):
        part = [data[number] for number in range(start, min(start + size, first + count))]
        images = np.stack([scene.image for scene in part])
        cells.append(captioner.encode(images).half())
        scenes += [replace(scene, image=None) for scene in part]
    return Seen(scenes, torch.cat(cells))


class TextAlone(nn.Module):
    """A language model that :func:`fit` trains on the answers, without any picture."""

    def __init__(self, language):
        super().__init__()
        self.language = language
        self.bridge = nn.Identity()
        self.is_gated = True  # the text has no place for a picture

    def expand(self, row, vectors):
        """The row as it is."""
        return row

    def loss(self, ids, cells, mask, counted):
        """The loss of the language model; the ``cells`` are not looked at."""
        return self.language.loss(ids, mask, counted)


class Asked(NamedTuple):
    """An instruction, and the number of the scene that it is about."""

    number: int
    instruction: object


def ask(scenes, tasks, seed, names=None):
    """An instruction of each of the ``tasks`` about each of the scenes that has it: a list.

    ``names`` are the nouns of the world, as in :func:`~mmcourse.vlm.instructions`.
    """
    found = []
    for number, scene in enumerate(scenes):
        of_scene = instructions(scene, Random(f"{scene.key}/{seed}"), names)
        found += [Asked(number, of_scene[task]) for task in tasks if task in of_scene]
    return found


def prompt_of(model, tokenizer, instruction):
    """The ids of a prompt: the picture, if it has a place in the text, then what is asked."""
    words = as_prompt(tokenizer, instruction.prompt, END)
    return words if model.is_gated else [words[0], PICTURE, *words[1:]]


def batch_of(model, tokenizer, seen, asked):
    """What :meth:`~mmcourse.vlm.VLM.loss` takes of some :class:`Asked`."""
    cells = seen.cells[[one.number for one in asked]].float()
    each = 1 if model.is_gated else model.bridge(cells[:1]).shape[1]
    pairs = []
    for one in asked:
        prompt = model.expand(prompt_of(model, tokenizer, one.instruction), each)
        pairs.append((prompt, as_answer(tokenizer, one.instruction.answer, END)))
    ids, mask, counted = collate(pairs)
    return ids, cells, None if mask.all() else mask, counted


def groups_of(model, share):
    """The free parameters in groups; those of the language model learn at ``share`` of the rate."""
    bridge = {id(part) for part in model.bridge.parameters()}
    found = []
    for group in parameter_groups(model, 0.01):
        for is_bridge in (True, False):
            parts = [part for part in group["params"] if (id(part) in bridge) == is_bridge]
            if parts:
                found.append(group | {"params": parts, "share": 1.0 if is_bridge else share})
    return found


def fit(model, tokenizer, seen, asked, steps, rate, seed, batch=BATCH, share=1.0):
    """Train what is not frozen, and return the loss of each step.

    Samples are drawn with ``seed``. The rate rises for a twentieth of the steps, then falls to 0 as
    a cosine; the language model has ``share`` of it. ``encode`` is not called: the cells are there.
    """
    rng = Random(seed)
    config = TrainingConfig(steps=steps, batch_size=batch, learning_rate=rate, warmup=steps // 20)
    groups = groups_of(model, share)
    optimizer = torch.optim.AdamW(groups, lr=rate, fused=True)
    losses = []
    model.train()
    model.language.eval()  # without dropout: most of it is frozen
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = group["share"] * learning_rate_at(step, config)
        chosen = [rng.choice(asked) for _ in range(batch)]
        loss = model.loss(*batch_of(model, tokenizer, seen, chosen))
        loss.backward()
        nn.utils.clip_grad_norm_([part for group in groups for part in group["params"]], 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    model.eval()
    return losses


@torch.no_grad()
def answers(model, tokenizer, seen, asked, size=100):
    """What the model answers, greedily: a list of texts."""
    found = []
    for start in range(0, len(asked), size):
        part = asked[start : start + size]
        prompts = [prompt_of(model, tokenizer, one.instruction) for one in part]
        cells = seen.cells[[one.number for one in part]].float()
        written = model.generate(prompts, cells, end=END, max_length=LONGEST)
        found += [tokenizer.decode(row).strip() for row in written.tokens]
    return found


def marks(seen, asked, texts):
    """A number in [0, 1] for each answer: 1 if it is right; of a caption, the F1 of its facts."""
    found = []
    for one, text in zip(asked, texts, strict=True):
        if one.instruction.task == "caption":
            score = fact_score(text, seen.scenes[one.number])
            total = score.precision + score.recall
            found.append(2 * score.precision * score.recall / max(total, 1e-9))
        else:
            found.append(float(is_right(one.instruction, text)))
    return np.array(found)
