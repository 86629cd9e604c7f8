"""The detector of chapter 8, ``detection``: a small DETR that begins with a trained backbone.

``python -m mmcourse.recipes.detection FOLDER`` trains it whole; ``FOLDER/half`` then holds what
:func:`mmcourse.hub.load` reads, in half precision. The convolutions are those of the captioner of
chapter 14 and stay as they are, so each picture is seen once, and a step costs only the encoder,
the decoder and the heads.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from mmcourse import training
from mmcourse.captioning import SceneCaptioner
from mmcourse.captioning.scenes import restyle
from mmcourse.data import EmojiScenes, Practice
from mmcourse.data.drawings import nouns
from mmcourse.detection import DETR, Found, Truth, average_precision, layered_loss
from mmcourse.recipes import training_config
from mmcourse.recipes.scenes import CALIBRATION

CAPTIONER = Path(__file__).parents[1] / "shipped" / "scenes"
SCENES = 24_000  # of Practice: half are scenes, half crowds of four
WATCHED = 400  # scenes of val, from the index CALIBRATION on, that are looked at while it trains
SEEN = "seen.safetensors"  # what the backbone saw, kept in the folder of a run
MODEL = {"shipped": {}}
TRAINING = {
    "shipped": {
        "steps": 2200,
        "batch_size": 64,
        "learning_rate": 2e-3,
        "weight_decay": 0.01,
        "evaluate_every": 500,
    },
}


class SeenScenes:
    """Scenes as a detector learns from them: features of a backbone, labels and boxes.

    ``features`` (n, N, D) are in half precision; ``objects`` has a pair of labels (M,) and boxes
    (M, 4) in shares of the sides for each.
    """

    def __init__(self, features, objects):
        self.features = features
        self.objects = objects

    def __len__(self):
        return len(self.features)

    def __getitem__(self, index):
        return self.features[index], self.objects[index]

    def save(self, path):
        """Write everything into one file of safetensors."""
        counts = torch.tensor([len(labels) for labels, _ in self.objects])
        tensors = {
            "features": self.features,
            "counts": counts,
            "labels": torch.cat([labels for labels, _ in self.objects]),
            "boxes": torch.cat([boxes for _, boxes in self.objects]),
        }
        save_file(tensors, path)

    @classmethod
    def load(cls, path):
        """Read what :meth:`save` wrote."""
        tensors = load_file(path)
        counts = tensors["counts"].tolist()
        labels = tensors["labels"].split(counts)
        boxes = tensors["boxes"].split(counts)
        return cls(tensors["features"], list(zip(labels, boxes, strict=True)))


def collate(samples):
    """A batch of :class:`SeenScenes`: features (B, N, D), and the objects of each picture."""
    return {
        "features": torch.stack([features for features, _ in samples]).float(),
        "objects": [objects for _, objects in samples],
    }


def objects_of(scene):
    """Labels (M,) and boxes (M, 4) of a scene, in shares of its sides."""
    names = {noun.name: number for number, noun in enumerate(nouns())}
    labels = torch.tensor([names[thing.noun] for thing in scene.objects])
    boxes = torch.tensor([thing.box for thing in scene.objects]).float()
    return labels, boxes / scene.image.shape[0]


@torch.no_grad()
def look_at(dataset, indices, convolutions, *, restyled=False, seed=0):
    """:class:`SeenScenes` of a dataset. ``restyled`` redraws pictures as training did."""
    generator_state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    features, objects = [], []
    indices = list(indices)
    for start in range(0, len(indices), 100):
        scenes = [dataset[index] for index in indices[start : start + 100]]
        pixels = torch.from_numpy(np.stack([scene.image for scene in scenes]))
        pixels = pixels.permute(0, 3, 1, 2).float() / 127.5 - 1
        if restyled:
            pixels = restyle(pixels)
        features.append(convolutions(pixels).half())
        objects += [objects_of(scene) for scene in scenes]
    torch.random.set_rng_state(generator_state)
    return SeenScenes(torch.cat(features), objects)


def load_convolutions():
    """The convolutions of the shipped captioner, which see."""
    return SceneCaptioner.from_pretrained(CAPTIONER).convolutions.eval().requires_grad_(False)


def begin(convolutions=None, **options):
    """A DETR whose convolutions are trained ones, and stay as they are."""
    model = DETR([noun.name for noun in nouns()], **options)
    if convolutions is not None:
        model.convolutions.load_state_dict(convolutions.state_dict())
        model.convolutions.requires_grad_(False)
    return model


def terms(model, batch, **options):
    """The three terms of the loss of a batch, over all layers."""
    logits, boxes = model.decode(model.encode(batch["features"]))
    return layered_loss(logits, boxes, batch["objects"], **options)


@torch.no_grad()
def detect(model, seen):
    """What a model finds in :class:`SeenScenes`: a Found and a Truth of each picture.

    Every query gives one detection: its most likely class, however unlikely.
    """
    found, truths = [], []
    for start in range(0, len(seen), 100):
        features = seen.features[start : start + 100].float()
        logits, boxes = model.decode(model.encode(features))
        scores, labels = logits[-1].softmax(-1)[..., :-1].max(-1)  # (B, Q) each
        for row in range(len(features)):
            parts = labels[row], scores[row], boxes[-1, row]
            found.append(Found(*(part.numpy() for part in parts)))
    for labels, boxes in seen.objects:
        truths.append(Truth(labels.numpy(), boxes.numpy()))
    return found, truths


def train(setting, folder, *, scenes=SCENES, watched=WATCHED, resume=None, **changes):
    """Train the detector ``shipped`` in ``folder``; return the model and the log.

    ``scenes`` of Practice are seen once by the backbone; ``changes`` replace numbers of the
    configuration. ``resume`` and errors are those of :func:`mmcourse.training.train`.
    """
    config = training_config(TRAINING[setting], changes)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    convolutions = load_convolutions()
    if not (folder / SEEN).exists():
        look_at(Practice(), range(scenes), convolutions, restyled=True).save(folder / SEEN)
    seen = SeenScenes.load(folder / SEEN)
    apart = range(CALIBRATION, CALIBRATION + watched)
    watching = look_at(EmojiScenes("val"), apart, convolutions)
    torch.manual_seed(config.seed)
    model = begin(convolutions, **MODEL[setting])

    def judge(model):
        return {"AP50": average_precision(*detect(model, watching))}

    log = training.train(
        model, seen, terms, config, folder, collate=collate, evaluate=judge, resume=resume
    )
    return model, log


def main(folder, **changes):
    """Train and save the detector; print what it took."""
    torch.set_num_threads(1)
    start = time.time(), time.process_time()
    train("shipped", folder, **changes)
    DETR.from_pretrained(folder).half().save_pretrained(Path(folder, "half"))
    seconds = time.time() - start[0], time.process_time() - start[1]
    print(f"{seconds[0]:.0f} s by the clock, {seconds[1]:.0f} s of one core")


if __name__ == "__main__":
    main(sys.argv[1])
