"""How the models of chapter 21 are trained: each part is one command, in this order.

``python -m mmcourse.recipes.text_to_image cells --out runs/t2i``, then ``flow``,
``decoder``, ``judge``, ``codes``, ``tokens`` and ``clips`` in its place. One thread; the card says
how long each took.
"""

import argparse
import copy
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mmcourse.data.world import DrawnWorld
from mmcourse.text_to_image import (
    Autoencoder,
    CentreReader,
    CodeAutoencoder,
    PictureGPT,
    TextToImage,
)
from mmcourse.text_to_image.captions import world_vocabulary
from mmcourse.text_to_image.clips import MovingThings, TextToClip, as_sheet, clip_vocabulary
from mmcourse.text_to_image.reader import centres
from mmcourse.training import TrainingConfig, learning_rate_at
from mmcourse.vision import to_pixels

SCENES = 40_000  # of the training split, in the first trainings
SHOWN = 60_000  # to the flow
EMPTY = 0.05  # what a cell with nothing in it counts


def scenes(count=SCENES, split="train", places="four"):
    """The first scenes of a split: pictures (count, 64, 64, 3), captions, and cells' weights.

    A cell (count, 64) has the weight 1 where something stands, and 0.05 elsewhere.
    """
    world = DrawnWorld(split, places)
    images = np.empty((count, 64, 64, 3), np.uint8)
    weights = np.full((count, 8, 8), EMPTY, np.float32)
    captions = []
    for index in range(count):
        scene = world[index]
        images[index] = scene.image
        captions.append(scene.captions)
        for thing in scene.objects:
            x0, y0, x1, y1 = thing.box
            weights[index, y0 // 8 : -(-y1 // 8), x0 // 8 : -(-x1 // 8)] = 1
    return torch.from_numpy(images), captions, torch.from_numpy(weights).flatten(1)


def adamw(parameters, peak):
    """The optimizer of most parts; ``peak`` is the highest learning rate."""
    return torch.optim.AdamW(parameters, peak, betas=(0.9, 0.99), weight_decay=0.001)


def muon_and_adamw(model, peak=0.02, peak_of_others=1.5e-3):
    """Two optimizers: Muon (Jordan et al. 2024) for the layers' matrices, AdamW for the rest.

    Muon makes the singular values of each update alike. It needs torch 2.9.
    """
    matrices = []
    others = []
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        is_matrix = parameter.dim() == 2 and ".layers." in name and not name.endswith("table")
        (matrices if is_matrix else others).append(parameter)
    return [torch.optim.Muon(matrices, peak, weight_decay=0.0), adamw(others, peak_of_others)]


def fit(model, loss, steps, optimizers, folder, *, average=0.0):
    """Train: ``loss(step)`` is the loss of the batch of a step.

    The rates of all ``optimizers`` rise to their peaks for 100 steps, or a twentieth of them, then
    fall to 0 as a cosine. With ``average`` above 0 the model ends with the exponential moving
    average of its weights, in which the last 1 / (1 - average) steps count most. Writes the model
    and ``log.json``.
    """
    warmup = min(100, steps // 20)
    plan = TrainingConfig(steps=steps, batch_size=1, learning_rate=1.0, warmup=warmup)
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    peaks = [group["lr"] for group in groups]
    smooth = copy.deepcopy(model) if average else None
    start = time.perf_counter()
    rows = []
    recent = 0.0
    model.train()
    for step in range(steps):
        for group, peak in zip(groups, peaks, strict=True):
            group["lr"] = peak * learning_rate_at(step, plan)
        value = loss(step)
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if smooth is not None:
            follow(smooth, model, min(average, (1 + step) / (10 + step)))
        recent += value.item()
        if (step + 1) % 100 == 0 or step + 1 == steps:
            seconds = round(time.perf_counter() - start)
            count = step % 100 + 1
            rows.append({"step": step + 1, "seconds": seconds, "loss": recent / count})
            print(rows[-1], flush=True)
            recent = 0.0
        if (step + 1) % 500 == 0 or step + 1 == steps:
            kept = smooth or model
            kept.eval()
            kept.save_pretrained(folder)
            Path(folder, "log.json").write_text(json.dumps(rows), encoding="utf-8")
            kept.train()
    return (smooth or model).eval()


@torch.no_grad()
def follow(smooth, model, average):
    """Move the averaged weights towards those of the model."""
    pairs = zip(smooth.state_dict().values(), model.state_dict().values(), strict=True)
    for old, new in pairs:
        if old.is_floating_point():
            old.lerp_(new, 1 - average)
        else:
            old.copy_(new)


def fit_cells(out):
    """The linear map between pixels and latents, which needs no training."""
    images, _, weights = scenes(8_000, places="grid")
    Autoencoder().fit_cells(images, weights).save_pretrained(Path(out, "cells"))


def train_flow(out, steps=8000, batch=64, seed=0):
    """The flow over the latents of ``cells``, with one of the five captions of each scene."""
    torch.manual_seed(seed)
    model = TextToImage(world_vocabulary())
    cells = Autoencoder.from_pretrained(Path(out, "cells"))
    model.autoencoder.load_state_dict(cells.state_dict())
    model.autoencoder.requires_grad_(False)
    latents, ids = flow_lessons(model)
    loss = drawing(model, latents, ids, batch)
    optimizers = muon_and_adamw(model)
    return fit(model, loss, steps, optimizers, Path(out, "flow"), average=0.998)


def flow_lessons(model, count=SHOWN):
    """Latents (M, C, 8, 8) of training scenes, and ids (M, 5, T) of their captions."""
    images, captions, _ = scenes(count)
    latents = latents_of(model.autoencoder, images)
    ids = model.tokenize([text for five in captions for text in five])
    return latents, ids.view(len(images), 5, -1)


def drawing(model, latents, ids, batch):
    """The loss of a step for :func:`fit`: how well the flow follows scenes drawn anew."""

    def loss(step):
        rows = torch.randint(len(latents), (batch,))
        chosen = ids[rows, torch.randint(5, (batch,))]  # (B, T)
        longest = int((chosen > 0).sum(1).max())
        return model.loss(latents[rows], chosen[:, :longest])

    return loss


def rebuilding(model, images, weights, batch):
    """The loss of a step for :func:`fit`: how well an autoencoder rebuilds pictures drawn anew."""

    def loss(step):
        rows = torch.randint(len(images), (batch,))
        return model.loss(images[rows], weights[rows])

    return loss


def train_decoder(out, steps=2000, batch=32, seed=0):
    """The decoder's corrections, which make the pictures of ``cells`` sharper."""
    torch.manual_seed(seed)
    model = Autoencoder(width=72)
    cells = Autoencoder.from_pretrained(Path(out, "cells"))
    model.encoder.load_state_dict(cells.encoder.state_dict())
    model.decoder.linear.load_state_dict(cells.decoder.linear.state_dict())
    images, _, weights = scenes(places="grid")

    loss = rebuilding(model, images, weights, batch)
    return fit(model, loss, steps, [adamw(model.parameters(), 2e-3)], Path(out, "autoencoder"))


def train_judge(out, steps=2500, batch=48, seed=1):
    """The second judge: things of all colours and pairs, anywhere, a sixth larger or smaller."""
    torch.manual_seed(seed)
    model = CentreReader()
    half = SCENES // 2
    shown = []
    for split in ("train", "composition"):
        world = DrawnWorld(split, "any")
        shown += [world[index] for index in range(1_000_000, 1_000_000 + half)]
    images = torch.from_numpy(np.stack([scene.image for scene in shown]))
    targets = centres(shown)

    def loss(step):
        rows = torch.randint(len(images), (batch,))
        return model.loss(images[rows], {name: part[rows] for name, part in targets.items()})

    return fit(
        model, loss, steps, [adamw(model.parameters(), 2e-3)], Path(out, "judge"), average=0.99
    )


def train_codes(out, steps=1200, batch=32, seed=0, **quantizer):
    """The autoencoder with 512 codes, whose tokens the GPT writes."""
    torch.manual_seed(seed)
    model = CodeAutoencoder(quantizer={"revive": 0.05, **quantizer})
    images, _, weights = scenes(12_000, places="grid")

    loss = rebuilding(model, images, weights, batch)
    return fit(model, loss, steps, [adamw(model.parameters(), 2e-3)], Path(out, "codes"))


def train_tokens(out, steps=1000, batch=16, seed=0):
    """The GPT over captions and the codes of ``codes``."""
    torch.manual_seed(seed)
    model = PictureGPT(world_vocabulary(), width=128, layers=4)
    autoencoder = CodeAutoencoder.from_pretrained(Path(out, "codes"))
    model.autoencoder.load_state_dict(autoencoder.state_dict())
    model.autoencoder.requires_grad_(False)
    images, captions, _ = scenes(12_000)
    with torch.no_grad():
        parts = [model.autoencoder.tokens(to_pixels(part)) for part in images.split(500)]
    codes = torch.cat(parts).flatten(1)  # (M, 64)
    words = model.tokenize([text for five in captions for text in five]).view(len(images), 5, -1)

    def loss(step):
        rows = torch.randint(len(codes), (batch,))
        chosen = words[rows, torch.randint(5, (batch,))]  # (B, T)
        return model.loss(chosen, codes[rows])

    return fit(
        model, loss, steps, [adamw(model.parameters(), 1.2e-3)], Path(out, "tokens"), average=0.998
    )


def train_clips(out, steps=3000, batch=32, seed=0):
    """The flow over sheets of nine frames, whose cells need no trained decoder."""
    torch.manual_seed(seed)
    world = MovingThings()
    clips = [world[index] for index in range(4_000)]
    sheets = torch.from_numpy(np.stack([as_sheet(clip.frames) for clip in clips]))
    model = TextToClip(clip_vocabulary(), 32, 24, width=96, layers=4, side=12)
    weights = torch.ones(500, 144)
    model.autoencoder.fit_cells(sheets[:500], weights).requires_grad_(False)
    latents = latents_of(model.autoencoder, sheets)
    ids = model.tokenize([clip.caption for clip in clips])

    def loss(step):
        rows = torch.randint(len(latents), (batch,))
        return model.loss(latents[rows], ids[rows])

    optimizers = muon_and_adamw(model)
    return fit(model, loss, steps, optimizers, Path(out, "clips"), average=0.998)


@torch.no_grad()
def latents_of(autoencoder, images):
    """The latents (M, C, H / 8, W / 8) of uint8 pictures (M, H, W, 3)."""
    return torch.cat([autoencoder.encode(to_pixels(part)) for part in images.split(500)])


PARTS = {
    "cells": fit_cells,
    "flow": train_flow,
    "decoder": train_decoder,
    "judge": train_judge,
    "codes": train_codes,
    "tokens": train_tokens,
    "clips": train_clips,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--out", default="runs/t2i", help="folder for all parts")
    parser.add_argument("--steps", type=int, help="instead of the recipe's")
    given = parser.parse_args()
    torch.set_num_threads(1)
    options = {} if given.steps is None else {"steps": given.steps}
    PARTS[given.part](given.out, **options)


if __name__ == "__main__":
    main()
