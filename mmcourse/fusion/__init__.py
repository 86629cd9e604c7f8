"""Fusion: a text and a picture become one vector, early, late, or in between."""

from mmcourse.fusion.answering import (
    FUSIONS,
    QuestionAnswerer,
    fit,
    parameters,
    predict,
    shares,
    sized_fusion,
)
from mmcourse.fusion.attending import (
    BottleneckFusion,
    CrossAttentionFusion,
    CrossLayer,
    EarlyFusion,
    GatedFusion,
)
from mmcourse.fusion.opinions import combine, vote
from mmcourse.fusion.pooled import BilinearFusion, ConcatFusion, LateFusion
from mmcourse.fusion.pretrained import MultimodalTransformer
from mmcourse.fusion.questions import (
    KINDS,
    NAMES,
    TwoGroups,
    TwoSidedQuestion,
    answers,
    tensors,
    tokenizer,
)
from mmcourse.fusion.sides import Fusion, Side, drop_sides

__all__ = [
    "FUSIONS",
    "KINDS",
    "NAMES",
    "BilinearFusion",
    "BottleneckFusion",
    "ConcatFusion",
    "CrossAttentionFusion",
    "CrossLayer",
    "EarlyFusion",
    "Fusion",
    "GatedFusion",
    "LateFusion",
    "MultimodalTransformer",
    "QuestionAnswerer",
    "Side",
    "TwoGroups",
    "TwoSidedQuestion",
    "answers",
    "combine",
    "drop_sides",
    "fit",
    "parameters",
    "predict",
    "shares",
    "sized_fusion",
    "tensors",
    "tokenizer",
    "vote",
]
