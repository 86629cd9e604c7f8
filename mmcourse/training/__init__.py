"""One training loop for every model of the course, in one process or, with Hugging Face Accelerate,
in many.

Step ``s`` depends on three things only: the weights and moments after step ``s - 1``, samples ``s *
batch_size`` to ``(s + 1) * batch_size - 1``, and random numbers seeded with ``(seed, s)``. So a run
that was killed and goes on from its last checkpoint has the losses of a run that was never killed:
bit for bit on a CPU with as many threads.

A batch can be cut into pieces of neighbouring samples: one for each process of ``accelerate
launch``, or, with ``accumulate``, several that a process computes one after another. Each piece
counts by its share of the batch and the gradients are added up, so the losses are those of the
whole batch (to 1e-5: sums are rounded in another order). Two things can differ: the random numbers
of dropout, which are seeded with the number of the piece too (so two processes equal
``accumulate=2`` in one), and layers that mix samples, such as batch normalisation.
"""

from mmcourse.training.best import best_row
from mmcourse.training.checkpoint import CHECKPOINT
from mmcourse.training.distributed import cut
from mmcourse.training.folder import LOG, read_log, write_whole
from mmcourse.training.interruptions import memory_advice
from mmcourse.training.loop import train
from mmcourse.training.schedule import (
    TrainingConfig,
    learning_rate_at,
    parameter_groups,
    step_indices,
)

__all__ = [
    "CHECKPOINT",
    "LOG",
    "TrainingConfig",
    "best_row",
    "cut",
    "learning_rate_at",
    "memory_advice",
    "parameter_groups",
    "read_log",
    "step_indices",
    "train",
    "write_whole",
]
