"""The reader of clips of chapter 07, ``clips``: what happens in eight frames, and to what.

``python -m mmcourse.recipes.video FOLDER`` trains it whole; ``FOLDER/half`` then holds what
:func:`mmcourse.hub.load` reads, in half precision.
"""

import sys
from pathlib import Path

import numpy as np
import torch

from mmcourse import training
from mmcourse.data.clips import MovingScenes
from mmcourse.recipes import training_config
from mmcourse.video import ClipReader, knows_direction, reads_rightly, targets_of, to_clips

MODEL = {"clips": {"encoder": "factorised"}}
TRAINING = {"clips": {"steps": 3000, "batch_size": 16, "learning_rate": 2e-3, "weight_decay": 0.01}}
JUDGED = 100_000  # the first clip of val that judges a run; those before are for reporting


def collate(clips):
    """A batch of some :class:`~mmcourse.data.clips.Clip`: uint8 frames and targets."""
    frames = torch.from_numpy(np.stack([clip.frames for clip in clips]))  # (B, F, H, W, 3)
    targets = torch.tensor([targets_of(clip.event, clip.nouns) for clip in clips])  # (B, 3)
    return {"frames": frames, "targets": targets}


def loss(model, batch):
    """The cross-entropy of the three parts of a caption."""
    return model.loss(to_clips(batch["frames"]), batch["targets"])


def seen(split, first, count):
    """Clips of a split: their frames (clips, F, H, W, 3), and their facts, (event, nouns) each."""
    data = MovingScenes(split)
    clips = [data[number] for number in range(first, first + count)]
    return np.stack([clip.frames for clip in clips]), [(clip.event, clip.nouns) for clip in clips]


def evaluate(model, frames, facts):
    """Shares of clips whose direction in time is known, and whose caption is wholly right."""
    scores = model.read(frames)
    return {
        "direction": knows_direction(scores, facts).float().mean(),
        "caption": reads_rightly(scores, facts).float().mean(),
    }


def train(setting, folder, *, resume=None, judged=300, **changes):
    """Train ``clips`` in ``folder``; return the log.

    ``changes`` replace numbers of the recipe's configuration. ``resume`` and errors are those of
    :func:`mmcourse.training.train`; ``judged`` clips of val judge the run.
    """
    config = training_config(TRAINING[setting], changes)
    torch.manual_seed(config.seed)
    model = ClipReader(**MODEL[setting])
    frames, facts = seen("val", JUDGED, judged)
    return training.train(
        model,
        MovingScenes("train"),
        loss,
        config,
        folder,
        collate=collate,
        resume=resume,
        evaluate=lambda model: evaluate(model, frames, facts),
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    train("clips", sys.argv[1])
    model = ClipReader.from_pretrained(sys.argv[1])
    model.half().save_pretrained(Path(sys.argv[1], "half"))
