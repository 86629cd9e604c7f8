"""One space for pictures and texts without, or with few, pairs: maps, shared codes, adversaries.

Chapter 11. Maps in closed form are in ``linear``, the autoencoder in ``autoencoder``, gradient
reversal and the discriminator in ``adversarial``, matching without a teacher in ``unpaired``, and
the modality gap in ``gap``.
"""

from mmcourse.alignment.adversarial import (
    Discriminator,
    fool_loss,
    judge_accuracy,
    judge_loss,
    reversal_loss,
    reverse_gradient,
)
from mmcourse.alignment.autoencoder import CrossModalAutoencoder
from mmcourse.alignment.gap import close_gap, gap_vector, linear_judge, modality_gap
from mmcourse.alignment.linear import cca, principal_axes, procrustes
from mmcourse.alignment.unpaired import energy_distance, match_moments, mutual_nearest, refine

__all__ = [
    "CrossModalAutoencoder",
    "Discriminator",
    "cca",
    "close_gap",
    "energy_distance",
    "fool_loss",
    "gap_vector",
    "judge_accuracy",
    "judge_loss",
    "linear_judge",
    "match_moments",
    "modality_gap",
    "mutual_nearest",
    "principal_axes",
    "procrustes",
    "refine",
    "reversal_loss",
    "reverse_gradient",
]
