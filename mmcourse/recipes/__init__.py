"""How the course's models are trained: one module a kind of model, with its settings.

A module has ``MODEL``, the arguments of the model, and ``TRAINING``, those of a
:class:`~mmcourse.training.TrainingConfig`, each a dict of settings by name; and
``train(setting, ...)``, which is the whole recipe.
"""

from pathlib import Path

from mmcourse.text import TOKENIZER, BPETokenizer
from mmcourse.training import TrainingConfig


def ship(kind, folder, place):
    """Copy a trained model of texts from ``folder`` to ``place``, its weights in half precision.

    ``kind`` is its class. The tokenizer comes with it.
    """
    kind.from_pretrained(folder).half().save_pretrained(place)
    BPETokenizer.load(Path(folder, TOKENIZER)).save(Path(place, TOKENIZER))


def training_config(settings, changes):
    """The configuration of a run by a recipe's ``settings`` with a user's ``changes``, both dicts.

    The rate rises for a twentieth of the steps, at most 200. A run that is too short for a
    restart leaves it out.
    """
    settings = settings | changes
    steps = settings["steps"]
    restarts = settings.get("restarts", ())
    settings["restarts"] = tuple(step for step in restarts if step < steps)
    settings["warmup"] = min(200, steps // 20)
    settings.setdefault("evaluate_every", 1000)
    return TrainingConfig(**settings)
