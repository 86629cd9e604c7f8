"""One space for pictures and texts: contrastive losses, a CLIP, retrieval, naming without teaching.

Chapter 10. The losses are in ``losses``, the model in
``model``, checkpoints of others in ``pretrained``,
the search over a folder of pictures in ``search``.
"""

from mmcourse.contrastive.dual import DualEncoder
from mmcourse.contrastive.losses import (
    MAX_SCALE,
    clip_loss,
    cosines,
    gather,
    gathered_clip_loss,
    gathered_siglip_loss,
    same_text,
    siglip_loss,
    unit,
)
from mmcourse.contrastive.model import CLIP
from mmcourse.contrastive.retrieval import recall_at_k, true_of, zero_shot

__all__ = [
    "CLIP",
    "MAX_SCALE",
    "DualEncoder",
    "clip_loss",
    "cosines",
    "gather",
    "gathered_clip_loss",
    "gathered_siglip_loss",
    "recall_at_k",
    "same_text",
    "siglip_loss",
    "true_of",
    "unit",
    "zero_shot",
]
