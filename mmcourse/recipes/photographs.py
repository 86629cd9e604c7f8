"""The captioners of photographs: ``photographs`` trains a decoder, ``fine-tune`` both parts.

The length of a run is given in passes over the photographs. A step takes all captions of a few
photographs, which are seen once for all of them. The model that is kept is the one with the best
captions of the validation split, and when these no longer get better the run ends.
"""

import math
from pathlib import Path

import torch

from mmcourse import training
from mmcourse.data.captioned import load_photographs, vocabulary
from mmcourse.photographs import PhotographCaptioner, Photographs, evaluate, inputs_of
from mmcourse.recipes import training_config

MODEL = {
    "photographs": {},
    "fine-tune": {"fine_tune": True},
}
TRAINING = {
    "photographs": {
        "passes": 20,
        "batch_size": 13,  # photographs, so about 64 captions
        "learning_rate": 5e-4,
        "weight_decay": 0.05,
    },
    "fine-tune": {
        "passes": 15,
        "batch_size": 13,
        "learning_rate": 5e-5,
        "weight_decay": 0.05,
    },
}
BEST = "CIDEr-D"  # what of the validation split says which model is kept
PATIENCE = 6  # evaluations that were no better, after which a run ends
JUDGED = 500  # photographs of the validation split at most, which take seconds
BETWEEN = 50  # steps at least between two evaluations, which come after whole passes


def plan(setting, count, changes, is_judged=True):
    """The configuration of a run on ``count`` photographs, by a key of ``TRAINING``.

    ``changes`` replace its settings: ``passes`` over the photographs, or ``steps`` in their place.
    Raises ValueError for both. Without photographs to judge by, the last model is kept.
    """
    if "passes" in changes and "steps" in changes:
        raise ValueError("passes and steps both say how long a run is: give one of them")
    settings = TRAINING[setting] | changes
    passes = settings.pop("passes", None)
    a_pass = math.ceil(count / settings["batch_size"])  # steps
    if "steps" not in settings:
        settings["steps"] = max(1, math.ceil(passes * count / settings["batch_size"]))
    settings.setdefault("evaluate_every", a_pass * math.ceil(BETWEEN / a_pass))
    if is_judged:
        settings |= {"keep_best": BEST, "patience": PATIENCE}
    return training_config(settings, {})


def features_folder(root):
    """Where features of the photographs below ``root`` are kept, unless a user says otherwise."""
    return Path(root, "features")


def load(data, root, splits):
    """The photographs of some splits, as lists in a dict, and notes on what is wrong in the files.

    Raises ValueError when the first of the splits has no photographs; other errors are those of
    :func:`~mmcourse.data.captioned.load_photographs`.
    """
    found, notes = load_photographs(data, root)
    if not found[splits[0]]:
        counts = [f"{len(photographs)} of {split}" for split, photographs in found.items()]
        raise ValueError(
            f"{data} in {root} has no photographs of {splits[0]}, but {', '.join(counts)}"
        )
    return {split: found[split] for split in splits}, notes


def prepare(model, photographs, folder, batch_size=32, report=print):
    """What ``model.encode`` takes for a photograph, as a function, and what can be read.

    ``photographs`` are lists in a dict, by split, and so are those that can be read. Features are
    kept in ``folder``. ``report`` gets lines for the user.
    """
    everything = [photograph for split in photographs.values() for photograph in split]
    inputs, unreadable, notes = inputs_of(model, everything, folder, batch_size)
    for note in notes:
        report(note)
    readable = {
        split: [photograph for photograph in listed if photograph not in unreadable]
        for split, listed in photographs.items()
    }
    return inputs, readable


def train(
    setting,
    photographs,
    folder,
    *,
    encoder,
    features,
    min_count=5,
    report=print,
    resume=None,
    **changes,
):
    """Train by the setting ``photographs`` or ``fine-tune`` in ``folder``; return the log.

    Args:
        setting: a key of ``MODEL`` and ``TRAINING``.
        photographs: lists of :class:`~mmcourse.data.captioned.Photograph` in a dict, under
            ``train`` and ``val``.
        folder: gets checkpoints, the log and the model.
        encoder: what :func:`~mmcourse.photographs.load_encoder` takes.
        features: the folder for features.
        min_count: a word that comes less often in the training captions is unknown.
        report: gets lines for the user, as on pictures that cannot be read.
        resume: as in :func:`mmcourse.training.train`.
        changes: replace numbers of the recipe's configuration, see :func:`plan`.
    """
    config = plan(setting, len(photographs["train"]), changes, bool(photographs["val"]))
    words = vocabulary(photographs["train"], min_count)
    torch.manual_seed(config.seed)
    with training.memory_advice(config):
        model = PhotographCaptioner(words, encoder, **MODEL[setting])
        inputs, photographs = prepare(model, photographs, features, config.batch_size, report)

    judged = photographs["val"][:JUDGED]

    def judge(model):
        return evaluate(model, judged, inputs)[0]

    return training.train(
        model,
        Photographs(photographs["train"], inputs),
        PhotographCaptioner.terms,
        config,
        folder,
        collate=model.collate,
        count=model.counts,
        resume=resume,
        evaluate=judge if judged else None,
    )
