"""The smaller captioners of chapter 18: three students of the shipped one.

``python -m mmcourse.recipes.compression FOLDER`` trains all: ``shallow`` begins with layers of the
teacher, ``narrow`` from scratch, and ``pruned`` is the teacher itself without half of its weights.
``FOLDER/narrow`` and so on then hold what :func:`mmcourse.hub.load` reads. Pictures and what the
teacher says of them are made once. A name after ``FOLDER`` trains that one alone.
"""

import sys
import time
from functools import partial
from pathlib import Path

import torch

from mmcourse import training
from mmcourse.captioning import SceneCaptioner
from mmcourse.captioning.captioner import PAD, next_words
from mmcourse.captioning.scenes import EMPTY_CELL
from mmcourse.compression.captioner import QuantisedSceneCaptioner
from mmcourse.compression.distil import collate, lessons, student_terms
from mmcourse.compression.prune import apply_masks, magnitude_masks
from mmcourse.data import EmojiScenes, Practice
from mmcourse.data.language import vocabulary
from mmcourse.evaluation import fact_scores
from mmcourse.recipes import training_config

CAPTIONER = Path(__file__).parents[1] / "shipped" / "scenes"
# pictures of Practice; half of them have a caption
CORPUS = {"shallow": 24_000, "narrow": 24_000, "pruned": 4000}
FIRST = "convolutions.stages.0"  # the first convolution, which is not pruned
PRUNED = 0.5  # the share of the other layers' weights that goes
JUDGED = (4000, 200)  # of val: the first scene that a run is watched with, and how many
MODEL = {
    "narrow": {"width": 64, "channels": [24, 48, 96], "blocks": [0, 1, 1]},
    "shallow": {"blocks": [0, 1, 1], "decoder_layers": 1},
    "pruned": {},
}
TRAINING = {
    "narrow": {"steps": 6000, "batch_size": 32, "learning_rate": 2e-3, "weight_decay": 0.02},
    "shallow": {"steps": 1500, "batch_size": 32, "learning_rate": 8e-4, "weight_decay": 0.02},
    "pruned": {"steps": 250, "batch_size": 32, "learning_rate": 4e-4, "weight_decay": 0.0},
}


def load_teacher():
    """The shipped captioner, which teaches."""
    return SceneCaptioner.from_pretrained(CAPTIONER).eval().requires_grad_(False)


def corpus(teacher, count, piece=100):
    """The first ``count`` pictures of practice, with what the teacher says: a list of lessons."""
    practice = Practice()
    found = []
    for first in range(0, count, piece):
        last = min(first + piece, count)
        found += lessons(teacher, [practice[index] for index in range(first, last)])
    return found


def student(kind, seed=0):
    """An untrained student; but for a ``narrow`` one it begins with the teacher's layers."""
    torch.manual_seed(seed)
    model = SceneCaptioner(vocabulary(), **MODEL[kind])
    if kind != "narrow":
        begin_as(model, load_teacher())
    return model


def begin_as(model, teacher):
    """Give a student of the teacher's width the teacher's tensors of the same name.

    The last norm of the convolutions is the next of its names when a block before it is left out.
    """
    dropped = len(teacher.convolutions.stages) - len(model.convolutions.stages)
    norm = f"convolutions.stages.{len(model.convolutions.stages) - 2}"
    theirs = teacher.state_dict()
    own = {}
    for name in model.state_dict():
        source = name
        if name.startswith(norm):
            number = int(norm.rsplit(".", 1)[1]) + dropped
            source = name.replace(norm, f"convolutions.stages.{number}")
        own[name] = theirs[source]
    model.load_state_dict(own)
    return model


def train(kind, folder, told, *, resume=None, share=0.9, **changes):
    """Train a student on lessons ``told`` in a folder; return the log.

    ``changes`` replace numbers of the configuration. ``share`` is how much the teacher counts.
    """
    config = training_config({"evaluate_every": 0} | TRAINING[kind], changes)
    model = student(kind, config.seed)
    masks = pruned_masks(model) if kind == "pruned" else {}
    rows = training.train(
        model,
        told,
        partial(masked_terms, masks=masks, share=share),
        config,
        folder,
        collate=collate,
        count=counts,
        resume=resume,
        evaluate=judge,
    )
    if masks:
        apply_masks(model, masks)  # after the last update
        model.save_pretrained(folder)
    return rows


def pruned_masks(teacher):
    """Which weights of the teacher stay: the larger half of each layer, all of the first."""
    masks = magnitude_masks(teacher, PRUNED)
    masks[FIRST][:] = True
    return masks


def masked_terms(model, batch, masks, share):
    """The terms of a student, whose weights outside of the ``masks`` become 0 before each step."""
    apply_masks(model, masks)
    return student_terms(model, batch, share=share)


def counts(batch):
    """Over how much the two terms of a student are means: over words, and over cells."""
    words = (next_words(batch["tokens"]) != PAD).sum()
    full = batch["cells"] > 0
    return torch.stack([words.float(), full.sum() + EMPTY_CELL * (~full).sum()])


def judge(model):
    """Precision and recall of the facts that a captioner states of scenes of ``val`` that nothing
    else reports.
    """
    first, count = JUDGED
    val = EmojiScenes("val")
    scenes = [val[index] for index in range(first, first + count)]
    memory = model.encode(model.prepare([scene.image for scene in scenes]))
    written = [caption.text for caption in model.write(memory, "greedy")]
    precision, recall = fact_scores(written, scenes)["all"]
    return {"precision": precision, "recall": recall}


def ship_small(place, plan):
    """Store the shipped captioner with the bits of a ``plan``, a dict of layers, in a folder."""
    small = QuantisedSceneCaptioner.of(load_teacher(), plan)
    small.store(place)
    return small


def main(folder, kinds=tuple(CORPUS)):
    """Train the students; print what it took."""
    torch.set_num_threads(1)
    start = time.process_time()
    told = corpus(load_teacher(), max(CORPUS[kind] for kind in kinds))
    print(f"{len(told)} lessons after {time.process_time() - start:.0f} s of one core", flush=True)
    for kind in kinds:
        rows = train(kind, Path(folder, kind), told[: CORPUS[kind]])
        seconds = time.process_time() - start
        print(f"{kind}: {rows[-1]}, {seconds:.0f} s of one core", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:] or tuple(CORPUS))
