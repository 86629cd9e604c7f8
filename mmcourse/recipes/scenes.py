"""The captioners of scenes: ``small`` takes minutes to train, ``shipped`` about three hours."""

import torch
from tqdm import tqdm

from mmcourse import training
from mmcourse.captioning import SceneCaptioner
from mmcourse.data import EmojiScenes, Practice
from mmcourse.data.language import vocabulary
from mmcourse.data.splits import compared_with
from mmcourse.evaluation import fact_scores
from mmcourse.photographs import evaluate as evaluate_captions
from mmcourse.recipes import training_config

MODEL = {
    "small": {"width": 96, "channels": [24, 48, 96]},
    "shipped": {},
}
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
