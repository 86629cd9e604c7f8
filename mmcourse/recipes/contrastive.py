"""The CLIP of scenes: ``pairs`` by CLIP's loss, then ``sides`` with false captions.

The picture tower of ``pairs`` begins as that of the shipped captioner (chapter 14), so that minutes
are enough; that captioner was trained for hours on sentences about the same scenes and on the names
of things in each cell. The tower of ``scratch`` begins with nothing. ``sides`` keeps what ``pairs``
has learned and trains only what looks at the four sides: a second embedding, with false captions as
negatives and 1,200 further steps. Chapter 10 says what is known of each of the three.
"""

import sys
from pathlib import Path
from random import Random

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

import mmcourse
from mmcourse import training
from mmcourse.captioning import SceneCaptioner, restyle
from mmcourse.contrastive import CLIP, clip_loss, recall_at_k, same_text, true_of
from mmcourse.data import EmojiScenes, Practice
from mmcourse.data.language import (
    BACKGROUNDS,
    RELATIONS,
    SIZES,
    noun_phrase,
    plain,
    vocabulary,
)
from mmcourse.evaluation import bootstrap
from mmcourse.recipes import training_config
from mmcourse.vision import to_pixels

SHIPPED = Path(mmcourse.__file__).with_name("shipped")
MODEL = {"scratch": {}, "pairs": {}, "sides": {"sides": 48}}
TRAINING = {
    "scratch": {"steps": 800, "batch_size": 128, "learning_rate": 1e-3, "weight_decay": 0.05},
    "pairs": {
        "steps": 800,
        "batch_size": 128,
        "learning_rate": 1e-3,
        "weight_decay": 0.05,
        "mixed_precision": "bf16",
    },
    "sides": {"steps": 1200, "batch_size": 64, "learning_rate": 5e-3, "weight_decay": 0.02},
}
SEEN = 6000  # pictures that ``sides`` looks at, once, and then trains on for several epochs
SHORT = 0.25  # the share of captions that are a phrase about one thing, as people search
FOILS = ("relation", "order", "binding", "object", "count", "colour", "size", "background")
FOILS_OF_A_PICTURE = 2
WEIGHTS = (0.0, 0.3, 0.5, 0.7, 1.0)  # of the sides in an embedding; one is chosen


class Pairs:
    """Endless pairs: the described scenes of ``Practice``, each with one caption.

    A sample is (picture, caption, plain caption, false captions). The last is empty unless
    ``foils``; those of two groups come first, because they are what pairs alone do not teach. Plain
    and false captions of a picture are worded alike, so that the wording gives nothing away.
    """

    def __init__(self, foils=False):
        self.scenes = Practice()
        self.foils = foils

    def __getitem__(self, index):
        scene = self.scenes[2 * index]  # those between are crowds, not described
        rng = Random(f"pair/{index}")
        caption = short_phrase(scene, rng) if rng.random() < SHORT else rng.choice(scene.captions)
        false = []
        if self.foils:
            found = sorted(scene.foils, key=lambda foil: (FOILS.index(foil.kind) > 2, rng.random()))
            false = [foil.false for foil in found[:FOILS_OF_A_PICTURE]]
        true, *false = reword([plain(scene.description), *false], rng)
        return scene.image, caption, true, false


def short_phrase(scene, rng):
    """A phrase about one group of a scene, half of the time with the place: ``two big cats``."""
    group = rng.choice(scene.description.groups)
    text = noun_phrase(group, rng.choice)
    if rng.random() < 0.5:
        text += " " + rng.choice(BACKGROUNDS[scene.description.background][1])
    return text


def reword(texts, rng):
    """Plain captions in other words, chosen once for all of them: they still differ in one fact."""
    for table in (SIZES, RELATIONS, BACKGROUNDS):
        for _, (plainest, *others) in table.values():
            chosen = rng.choice([plainest, *others])
            texts = [f" {text} ".replace(f" {plainest} ", f" {chosen} ").strip() for text in texts]
    return texts


def collate(model, samples):
    """A batch of the samples of :class:`Pairs`: pictures, and captions as token numbers."""
    images, captions, _, _ = zip(*samples, strict=True)
    return {
        "images": torch.from_numpy(np.stack(images)),
        "texts": model.tokenize(captions),
    }


def loss(model, batch):
    """:func:`clip_loss` of pairs, whose pictures are redrawn while the model trains."""
    pixels = to_pixels(batch["images"]).to(model.device)
    if model.training:
        pixels = restyle(pixels)
    image = model.encode_image(pixels)
    text = model.encode_text(batch["texts"])
    positives = same_text(batch["texts"])
    return clip_loss(image, text, model.scale(), positives=positives)


class SeenPairs:
    """The first pairs with their foils, and what the frozen picture tower makes of each picture.

    A sample is (tokens of the grid (N, D) in half precision, plain caption, false captions).
    """

    def __init__(self, model, count):
        self.rows = []
        pairs = Pairs(foils=True)
        for start in tqdm(range(0, count, 64), unit=" batches", leave=False, disable=None):
            samples = [pairs[index] for index in range(start, min(start + 64, count))]
            pixels = to_pixels(np.stack([sample[0] for sample in samples])).to(model.device)
            with torch.no_grad():
                tokens = model.image_tower.tokens(pixels).half().cpu()
            for row, (_, _, true, false) in zip(tokens, samples, strict=True):
                self.rows.append((row, true, false))

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.rows[index]


def collate_seen(model, samples):
    """A batch of the samples of :class:`SeenPairs`, texts as token numbers."""
    tokens, true, false = zip(*samples, strict=True)
    return {
        "tokens": torch.stack(tokens),
        "texts": model.tokenize(true),
        "foils": model.tokenize([text for texts in false for text in texts]),
    }


def loss_of_sides(model, batch):
    """:func:`clip_loss` of the four sides alone, with the foils as negatives."""
    image = model.image_sides(batch["tokens"].float())  # (B, 4, E)
    text = model.text_sides(batch["texts"])
    foils = model.text_sides(batch["foils"])
    return clip_loss(
        image.flatten(1),
        text.flatten(1),
        model.scale(),
        positives=same_text(batch["texts"]),
        negatives=foils.flatten(1),
    )


def begin_as_captioner(model):
    """Copy what the shipped captioner sees with into the picture tower.

    A second layer of the encoder, which it lacks, begins as one that changes nothing.
    """
    captioner = SceneCaptioner.from_pretrained(SHIPPED / "scenes")
    tower = model.image_tower
    with torch.no_grad():
        tower.convolutions.load_state_dict(captioner.convolutions.state_dict())
        tower.concepts.keys.load_state_dict(captioner.noun_head.state_dict())
        tower.concepts.values.load_state_dict(captioner.noun_embedding.state_dict())
        tower.positions.copy_(captioner.grid_positions)
        tower.encoder.norm.load_state_dict(captioner.encoder.norm.state_dict())
        tower.encoder.layers[0].load_state_dict(captioner.encoder.layers[0].state_dict())
        for layer in tower.encoder.layers[1:]:
            for last in (layer.attention.output, layer.feed_forward[-1]):
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)


def train(setting, folder, *, start=SHIPPED / "clip", seen=SEEN, resume=None, **changes):
    """Train ``scratch``, ``pairs`` or ``sides`` in ``folder``; return the log.

    ``sides`` goes on from the folder ``start`` of a model that was trained as ``pairs``, or has
    new places for sides in place of its own. It sees the first ``seen`` pairs. ``changes`` replace
    numbers of the configuration; ``resume`` and errors are those of
    :func:`mmcourse.training.train`.
    """
    config = training_config(TRAINING[setting], changes)
    torch.manual_seed(config.seed)
    with training.memory_advice(config):
        model = CLIP(vocabulary(), **MODEL[setting])
    if setting == "pairs":
        begin_as_captioner(model)
    if setting == "sides":
        return train_sides(model, config, folder, start, seen, resume)
    return training.train(
        model,
        Pairs(),
        loss,
        config,
        folder,
        collate=lambda samples: collate(model, samples),
        resume=resume,
        evaluate=lambda model: evaluate(model, "val", min(200, 10 * config.steps)),
    )


def train_sides(model, config, folder, start, seen, resume):
    """Train the sides of a model on top of ``start``; choose their weight; return the log."""
    before = CLIP.from_pretrained(start).without_sides()
    model.load_state_dict(before.state_dict(), strict=False)
    model.requires_grad_(False)
    for part in (model.image_sides, model.text_sides):
        part.requires_grad_(True)
    rows = training.train(
        model,
        SeenPairs(model.eval(), seen),
        loss_of_sides,
        config,
        folder,
        collate=lambda samples: collate_seen(model, samples),
        resume=resume,
    )
    choose_weight(model)
    model.save_pretrained(folder)
    return rows


def choose_weight(model, count=300):
    """Give the sides the weight with the best mean of recall and foils on scenes of ``train``."""
    scenes = [EmojiScenes("train", model.image_size)[10**6 + index] for index in range(count)]
    found = {}
    for weight in WEIGHTS:
        nn.init.constant_(model.side_weight, weight)
        image = model.image_features([scene.image for scene in scenes])
        scores = recalls(model, scenes, image)
        foils = foil_answers(model, scenes, image)
        asked = [foils[kind].mean() for kind in ("relation", "order", "object")]
        found[weight] = (scores["to text R@1"] + scores["to picture R@1"]) / 2 + np.mean(asked)
    nn.init.constant_(model.side_weight, max(found, key=found.get))
    return found


# Scores --------------------------------------------------------------------------------------


def evaluate(model, split, count):
    """Recall both ways among the first ``count`` scenes of a split, and foils, as a dict."""
    scenes = [EmojiScenes(split, model.image_size)[index] for index in range(count)]
    image = model.image_features([scene.image for scene in scenes])
    scores = recalls(model, scenes, image)
    for kind, right in foil_answers(model, scenes, image).items():
        scores[f"foil {kind}"] = float(right.mean())
    return scores


def recalls(model, scenes, image, caption=0):
    """Recall@1, 5 and 10, from pictures to captions and back, several right answers counted."""
    captions = [scene.captions[caption] for scene in scenes]
    relevant = true_of(captions, scenes)  # (pictures, captions)
    similarity = (image @ model.text_features(captions).T).numpy()
    scores = {}
    for k in (1, 5, 10):
        scores[f"to text R@{k}"] = recall_at_k(similarity, k, relevant)
        scores[f"to picture R@{k}"] = recall_at_k(similarity.T, k, relevant.T)
    return scores


def foil_answers(model, scenes, image):
    """Whether each foil's true caption is nearer than the false one: arrays in a dict by kind."""
    found = {}
    rows = [(row, foil) for row, scene in enumerate(scenes) for foil in scene.foils]
    true = model.text_features([foil.true for _, foil in rows])
    false = model.text_features([foil.false for _, foil in rows])
    pictures = image[[row for row, _ in rows]]
    margins = ((true - false) * pictures).sum(1)
    for (_, foil), margin in zip(rows, margins.tolist(), strict=True):
        found.setdefault(foil.kind, []).append(margin > 0)
    return {kind: np.array(answers) for kind, answers in found.items()}


def interval(right, draws=1000):
    """A share of right answers with its 95 % interval, as text; ``right`` is a boolean array.

    A single answer has no interval.
    """
    if len(right) < 2:
        return f"{np.mean(right):.3f}"
    found = bootstrap(np.mean, right, draws=draws)
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"


def score_table(count=1000):
    """The scores of the card: a table in Markdown, a column for each model and split.

    ``clip-pairs`` is the shipped model without its sides.
    """
    clip = CLIP.from_pretrained(SHIPPED / "clip")
    models = {"clip-pairs": clip.without_sides(), "clip": clip}
    columns = {}
    for split in ("val", "composition", "style"):
        scenes = [EmojiScenes(split)[index] for index in range(count)]
        captions = [scene.captions[0] for scene in scenes]
        relevant = true_of(captions, scenes)
        for name, model in models.items():
            image = model.image_features([scene.image for scene in scenes])
            table = (image @ model.text_features(captions).T).numpy()
            rows = {"recall@1 to text": first_is_right(table, relevant)}
            rows["recall@1 to picture"] = first_is_right(table.T, relevant.T)
            rows |= foil_answers(model, scenes, image)
            columns[f"`{name}`, {split}"] = {kind: interval(x) for kind, x in rows.items()}
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (1 + len(columns)) + "|"]
    for kind in ("recall@1 to text", "recall@1 to picture", *FOILS):
        name = kind if kind.startswith("recall") else f"foils of {kind}"
        cells = [column.get(kind, "none") for column in columns.values()]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def first_is_right(table, relevant):
    """Of each row, whether a right answer stands alone at the top: what recall@1 counts."""
    right = np.where(relevant, table, -np.inf).max(1)
    return right > np.where(relevant, -np.inf, table).max(1)


if __name__ == "__main__":
    train(sys.argv[1], sys.argv[2])
