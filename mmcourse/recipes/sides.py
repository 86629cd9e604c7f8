"""A study in a small world: does it take foils, or places for the sides, or both?

Four arms learn left from right on frozen cells of the captioner of chapter 14, ten nouns, scenes of
two groups. ``study`` tries two learning rates with three seeds each; ``mmcourse/shipped/clip``
keeps what it gave.
"""

import math

import numpy as np
import torch
from torch import nn

from mmcourse.captioning import SceneCaptioner
from mmcourse.contrastive import clip_loss, cosines, recall_at_k, same_text, true_of
from mmcourse.contrastive.towers import PAD, AttentionPool, SidePool, SideReader
from mmcourse.data import EmojiScenes
from mmcourse.data.drawings import nouns
from mmcourse.data.language import vocabulary
from mmcourse.recipes.contrastive import SHIPPED
from mmcourse.text import TextEncoder

WORLD = tuple(noun.name for noun in nouns()[::32])[:10]
WORDS = ["<pad>", *vocabulary()]
ARMS = (("whole", False), ("whole", True), ("sides", False), ("sides", True))
RATES = (2e-3, 5e-3)
WIDTH = 48  # of the text encoders


class World:
    """Scenes of two groups of ten nouns: their cells (n, N, D), true captions, turned captions."""

    def __init__(self, split, count, captioner):
        dataset = EmojiScenes(split, only=WORLD)
        self.scenes = []
        index = 0
        while len(self.scenes) < count:
            scene = dataset[index]
            index += 1
            if scene.description.relation:
                self.scenes.append(scene)
        images = np.stack([scene.image for scene in self.scenes])
        with torch.no_grad():
            parts = [captioner.encode(part) for part in np.array_split(images, count // 50)]
        self.cells = torch.cat(parts)
        pairs = [turned(scene) for scene in self.scenes]
        self.captions = [true for true, _ in pairs]
        self.true = numbers_of(self.captions)
        self.false = numbers_of([false for _, false in pairs])
        self.relevant = true_of(self.captions, self.scenes)


def turned(scene):
    """The plain caption of a scene, and the one whose relation is the opposite."""
    (foil,) = [foil for foil in scene.foils if foil.kind == "relation"]
    return foil.true, foil.false


def numbers_of(texts):
    """Token numbers (n, T) of captions."""
    ids = {word: number for number, word in enumerate(WORDS)}
    rows = [torch.tensor([ids[word] for word in text.split()]) for text in texts]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)


class Whole(nn.Module):
    """Four learned probes look at the cells, four others at the words, as in ``clip-pairs``."""

    def __init__(self):
        super().__init__()
        self.look = AttentionPool(128, 4, 4, 128)
        self.reader = TextEncoder(len(WORDS), WIDTH, 2, 4, 40)
        self.pool = AttentionPool(WIDTH, 4, 4, 128)

    def image(self, cells):
        return self.look(cells)

    def text(self, ids):
        return self.pool(self.reader(ids, ids != PAD), ids != PAD)


class Sides(nn.Module):
    """Four sides, as in ``clip``."""

    def __init__(self):
        super().__init__()
        self.look = SidePool(8, 128, 32)
        self.reader = SideReader(len(WORDS), WIDTH, 2, 4, 40, 32)

    def image(self, cells):
        return self.look(cells).flatten(1)

    def text(self, ids):
        return self.reader(ids).flatten(1)


def fit(arm, foils, rate, seed, world, steps=250, batch=64):
    """Train one arm: the model. ``arm`` is ``whole`` or ``sides``."""
    torch.manual_seed(seed)
    model = Whole() if arm == "whole" else Sides()
    log_scale = nn.Parameter(torch.tensor(math.log(14.3)))
    optimizer = torch.optim.AdamW([*model.parameters(), log_scale], rate)
    plan = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / 20) * (1 - step / steps)
    )
    for _ in range(steps):
        rows = torch.randint(len(world.scenes), (batch,))
        image = model.image(world.cells[rows])
        text = model.text(world.true[rows])
        loss = clip_loss(
            image,
            text,
            log_scale.exp().clamp(max=100),
            positives=same_text(world.true[rows]),
            negatives=model.text(world.false[rows]) if foils else None,
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        plan.step()
    return model.eval()


@torch.no_grad()
def judge(model, world, rows):
    """On some rows of a world: recall@1 to text, and the share of relations that are right."""
    image = model.image(world.cells[rows])
    true = model.text(world.true[rows])
    table = cosines(image, true)
    turned_table = cosines(image, model.text(world.false[rows]))
    relation = (table.diagonal() > turned_table.diagonal()).float().mean().item()
    return recall_at_k(table, 1, world.relevant[rows, rows]), relation


def study(seeds=(0, 1, 2)):
    """All arms with both rates: a row each, with the scores for choosing a rate and the final ones.

    The rate is chosen on the first 200 scenes of ``val``, the result is that of the next 200.
    """
    captioner = SceneCaptioner.from_pretrained(SHIPPED / "scenes").requires_grad_(False)
    world = World("train", 1200, captioner)
    new = World("val", 400, captioner)
    rows = []
    for arm, foils in ARMS:
        for rate in RATES:
            for seed in seeds:
                model = fit(arm, foils, rate, seed, world)
                tuning = judge(model, new, slice(200))
                result = judge(model, new, slice(200, 400))
                rows.append(
                    {
                        "arm": arm,
                        "foils": foils,
                        "rate": rate,
                        "seed": seed,
                        "tuning": tuning,
                        "result": result,
                    }
                )
    return rows
