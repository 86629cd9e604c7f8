"""Smaller and faster: what of a trained captioner can be left out, and what that costs.

Numbers become small integers (:class:`Scheme`, :func:`quantise_model`), weights become zeros
(:func:`magnitude_prune`), tables become products (:func:`factorise`), a student learns from a
teacher (:func:`distillation_loss`), and a draft is checked in place of writing (:func:`speculate`).
"""

from mmcourse.compression.calibration import (
    StaticLinear,
    check_calibration,
    mixed_plan,
    quantise_static,
    record_ranges,
    sensitivity,
)
from mmcourse.compression.captioner import QuantisedSceneCaptioner, weight_bytes
from mmcourse.compression.distil import (
    Lesson,
    Soft,
    distillation_loss,
    lessons,
    soft_loss,
    student_terms,
)
from mmcourse.compression.layers import (
    DynamicLinear,
    QuantisedConv2d,
    QuantisedEmbedding,
    QuantisedLayer,
    QuantisedLinear,
    keep_floats,
    quantisable,
    quantise_model,
)
from mmcourse.compression.lowrank import best_rank_r, break_even, factorise, kept_energy
from mmcourse.compression.measure import (
    compare_speed,
    divergence,
    fact_counts,
    paired_change,
    precision_recall,
    write_one_by_one,
)
from mmcourse.compression.prune import (
    apply_masks,
    heads_of,
    magnitude_mask,
    magnitude_masks,
    magnitude_prune,
    masked_bytes,
    prune_neurons,
    silence_heads,
)
from mmcourse.compression.quantise import (
    Scheme,
    choose_scale,
    dequantise,
    fake_quantise,
    pack,
    quantise,
    relative_error,
    unpack,
)
from mmcourse.compression.speculative import (
    ModelDraft,
    NGramDraft,
    Speculated,
    cut_cache,
    expected_words,
    speculate,
)

__all__ = [
    "DynamicLinear",
    "Lesson",
    "ModelDraft",
    "NGramDraft",
    "QuantisedConv2d",
    "QuantisedEmbedding",
    "QuantisedLayer",
    "QuantisedLinear",
    "QuantisedSceneCaptioner",
    "Scheme",
    "Soft",
    "Speculated",
    "StaticLinear",
    "apply_masks",
    "best_rank_r",
    "break_even",
    "check_calibration",
    "choose_scale",
    "compare_speed",
    "cut_cache",
    "dequantise",
    "distillation_loss",
    "divergence",
    "expected_words",
    "fact_counts",
    "factorise",
    "fake_quantise",
    "heads_of",
    "keep_floats",
    "kept_energy",
    "lessons",
    "magnitude_mask",
    "magnitude_masks",
    "magnitude_prune",
    "masked_bytes",
    "mixed_plan",
    "pack",
    "paired_change",
    "precision_recall",
    "prune_neurons",
    "quantisable",
    "quantise",
    "quantise_model",
    "quantise_static",
    "record_ranges",
    "relative_error",
    "sensitivity",
    "silence_heads",
    "soft_loss",
    "speculate",
    "student_terms",
    "unpack",
    "weight_bytes",
    "write_one_by_one",
]
