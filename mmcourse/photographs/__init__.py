"""The captioner of photographs: a pretrained encoder sees, and its features are kept on the disk.

Encoders are in ``encoders`` and ``processed``, their names in ``loading``, features in
``features``, the model in ``captioner``, its scores in ``scoring``.
"""

from mmcourse.photographs.captioner import PhotographCaptioner
from mmcourse.photographs.encoders import PretrainedEncoder
from mmcourse.photographs.features import FeatureCache, Pairs, Photographs, inputs_of
from mmcourse.photographs.loading import ENCODERS, load_encoder
from mmcourse.photographs.scoring import evaluate

__all__ = [
    "ENCODERS",
    "FeatureCache",
    "Pairs",
    "PhotographCaptioner",
    "Photographs",
    "PretrainedEncoder",
    "evaluate",
    "inputs_of",
    "load_encoder",
]
