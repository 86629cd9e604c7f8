"""Seconds of training until captions of new scenes of eight things are true.

It is no race of speed alone: ours also learns from the noun in each cell of the grid, the peer from
the words. Both train in :func:`mmcourse.training.train`, one after the other.
"""

import tempfile
import time

import numpy as np
import torch

from mmcourse.bench.races.generation import our_ids, peer_ids
from mmcourse.bench.races.peers import peer_captioner
from mmcourse.bench.races.training import PEER, TINY, peer_loss
from mmcourse.captioning import SceneCaptioner
from mmcourse.data import EmojiScenes
from mmcourse.data.language import vocabulary
from mmcourse.evaluation import fact_scores
from mmcourse.training import TrainingConfig, train
from mmcourse.vision import to_pixels

SMALL = {"width": 96, "channels": (24, 48, 96)}
WORLD = ("cat", "dog", "car", "tree", "house", "fish", "star", "apple")
SCENES = 100
TARGET = 0.80  # share of the stated facts that are true
LIMIT = 600  # seconds after which training stops
GOAL = 0.7  # of the peer's time


def rows(race):
    """One row: ours on its own loss, the peer on the loss of the words."""
    torch.manual_seed(0)
    model = SceneCaptioner(vocabulary(), **(TINY if race.quick else SMALL)).to(race.device)
    peer = peer_captioner(model)
    world = EmojiScenes("val", only=WORLD)
    scenes = [world[index] for index in range(4 if race.quick else SCENES)]
    images = np.stack([scene.image for scene in scenes])

    def write():
        return our_ids(model, [model.encode(images)])

    race.say("ours")
    seconds, precision = learn(race, model, SceneCaptioner.loss, write, model, scenes)
    row = {
        "what": f"training until {TARGET:.0%} of the stated facts are true",
        "sizes": f"B 32, D {model.embedding.embedding_dim}, {len(WORLD)} nouns",
        "unit": "s",
        "ours": seconds,
        "goal": f"≤ {GOAL}",
        "reached": None,
        "notes": [f"at most {LIMIT} s", f"ours: {precision:.0%}"],
    }
    if peer:
        row |= learn_peer(race, peer, model, images, scenes)
        row["ratio"] = seconds / row["peer"]
        row["reached"] = "yes" if precision >= TARGET and row["ratio"] <= GOAL else "no"
        row["notes"].append(f"{PEER}: {row.pop('peer_precision'):.0%}")
    yield row


def learn_peer(race, peer, model, images, scenes):
    """The peer's part of the row."""
    pixels = to_pixels(images).to(race.device)

    def loss(peer, batch):
        return peer_loss(batch, peer)

    def write():
        return peer_ids(peer, [peer.encoder(pixels)[0]])

    race.say(PEER)
    seconds, precision = learn(race, peer, loss, write, model, scenes)
    return {"peer_name": PEER, "peer": seconds, "peer_precision": precision}


class Stop(Exception):
    """The target is reached, or the time is over; the arguments are seconds and share of facts."""


def learn(race, model, loss, write, captioner, scenes):
    """Train until captions are true: (seconds without evaluation, the share of true facts).

    ``write()`` gives the ids of a caption for each of the ``scenes``; ``captioner`` knows the
    words.
    """
    judge = Judge(race, write, captioner, scenes)
    every = 2 if race.quick else 50
    config = TrainingConfig(100_000, 32, 1e-3, warmup=100, evaluate_every=every, save_every=0)
    dataset = EmojiScenes("train", only=WORLD)
    with tempfile.TemporaryDirectory() as folder:
        try:
            train(model, dataset, loss, config, folder, collate=captioner.collate, evaluate=judge)
        except Stop as stop:
            return stop.args


class Judge:
    """Called as training's ``evaluate``; its own time does not count. Raises Stop at the end."""

    def __init__(self, race, write, captioner, scenes):
        self.race = race
        self.write = write
        self.captioner = captioner
        self.scenes = scenes
        self.start = time.perf_counter()
        self.paused = 0.0

    def __call__(self, _):
        began = time.perf_counter()
        seconds = began - self.start - self.paused
        words = self.captioner.words
        captions = [" ".join(words[number] for number in ids) for ids in self.write()]
        precision, _ = fact_scores(captions, self.scenes)["all"]
        self.race.say(f"after {seconds:.0f} s of training {precision:.0%} of the facts are true")
        if self.race.quick or precision >= TARGET or seconds > LIMIT:
            raise Stop(seconds, precision)
        self.paused += time.perf_counter() - began
        return {"precision": precision}
