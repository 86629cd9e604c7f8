"""The captioners of scenes: ``small`` takes minutes to train, ``shipped`` about three hours."""

import numpy as np
import torch
from tqdm import tqdm

from mmcourse import training
from mmcourse.captioning import SceneCaptioner, noun_evidence
from mmcourse.captioning.confidence import log_odds
from mmcourse.data import EmojiScenes, Practice
from mmcourse.data.language import parse, vocabulary
from mmcourse.data.splits import compared_with
from mmcourse.data.strangers import Strangers
from mmcourse.evaluation import fact_scores, fit_logistic
from mmcourse.photographs import evaluate as evaluate_captions
from mmcourse.recipes import training_config

MODEL = {
    "small": {"width": 96, "channels": [24, 48, 96]},
    "shipped": {},
}
CALIBRATION = 100_000  # the first index of the scenes that calibrate, and watch the detector train
TRAINING = {
    "small": {"steps": 600, "batch_size": 64, "learning_rate": 1e-3},
    "shipped": {
        "steps": 20000,
        "restarts": (10000, 15000),
        "batch_size": 64,
        "learning_rate": 1.2e-3,
        "weight_decay": 0.05,
    },
}


def train(setting, folder, *, resume=None, **changes):
    """Train the captioner ``small`` or ``shipped`` in ``folder``; return the log.

    ``changes`` replace numbers of the recipe's configuration. ``resume`` and errors are those of
    :func:`mmcourse.training.train`.
    """
    config = training_config(TRAINING[setting], changes)
    judged = min(200, 10 * config.steps)

    def judge(model):
        return evaluate(model, "val", judged, "greedy")

    torch.manual_seed(config.seed)
    with training.memory_advice(config):
        model = SceneCaptioner(vocabulary(), **MODEL[setting])
    return training.train(
        model,
        Practice(),
        SceneCaptioner.terms,
        config,
        folder,
        collate=model.collate,
        count=model.counts,
        resume=resume,
        evaluate=judge,
    )


def evaluate(model, split, count, strategy="beam", beams=4):
    """Scores of what a captioner writes of the first ``count`` scenes of a split, as a dict.

    BLEU-4, ROUGE-L, CIDEr-D, and the precision and recall of each kind of fact. Of ``val`` and
    ``composition`` also those of all facts in scenes of each novelty, see
    :func:`~mmcourse.data.splits.compared_with`.
    """
    dataset = EmojiScenes(split, model.image_size)
    indices = tqdm(range(count), unit=" scenes", leave=False, disable=None)
    scenes = [dataset[index] for index in indices]

    def inputs(scene):
        return model.prepare([scene.image])[0]

    scores, captions = evaluate_captions(model, scenes, inputs, strategy, beams)
    for kind, (precision, recall) in fact_scores(captions, scenes).items():
        scores[f"{kind} precision"] = precision
        scores[f"{kind} recall"] = recall
    if split in ("val", "composition"):
        scores |= scores_by_novelty(captions, scenes, split)
    return scores


def scores_by_novelty(captions, scenes, split):
    """Precision and recall of all facts in scenes with something new, or of scenes like those."""
    scores = {}
    for kind in ("pair", "binding"):
        rows = [row for row, scene in enumerate(scenes) if kind in compared_with(scene.description)]
        if not rows:
            continue
        name = f"new {kind}" if split == "composition" else f"like a new {kind}"
        part = fact_scores([captions[row] for row in rows], [scenes[row] for row in rows])
        scores[f"{name}, scenes"] = len(rows)
        scores[f"{name}, precision"], scores[f"{name}, recall"] = part["all"]
    return scores


@torch.no_grad()
def calibrate(model, count=300):
    """Fit the three numbers that make a captioner's noun evidence a probability; return them.

    They are fitted to what it writes greedily of ``count`` scenes of ``val``, from the index
    ``CALIBRATION`` on, and of as many that :class:`~mmcourse.data.strangers.Strangers` drew. No
    scene of these trains a model or is reported. The captioner has them from then on.
    """
    plain, strange = EmojiScenes("val", model.image_size), Strangers(model.image_size)
    evidence, right = [], []
    first = CALIBRATION
    for dataset in (plain, strange):
        for start in tqdm(range(first, first + count, 50), leave=False, disable=None):
            scenes = [dataset[index] for index in range(start, min(start + 50, first + count))]
            images = np.stack([scene.image for scene in scenes])
            texts = [caption.text for caption in model.write(model.encode(images), "greedy")]
            evidence.append(log_odds(noun_evidence(model, images, texts)))
            right += [nouns_right(text, scene) for text, scene in zip(texts, scenes, strict=True)]
        first += count
    weights = fit_logistic(np.concatenate(evidence), right)
    model.calibration = [round(weight, 4) for weight in weights.tolist()]
    return model.calibration


def nouns_right(caption, scene):
    """Whether a caption has a noun, and each of its nouns is in the scene."""
    stated = [fact for fact in parse(caption) if fact[0] == "object"]
    return bool(stated) and all(scene.holds(fact) for fact in stated)
