"""How good is it, and how sure can we be? Captions, facts, and the statistics of both."""

from mmcourse.evaluation.calibration import (
    Reliability,
    auroc,
    ece,
    fit_logistic,
    logistic,
    reliability,
)
from mmcourse.evaluation.captions import (
    bleu,
    bleu_counts,
    bleu_from_counts,
    cider_d,
    clip_score,
    ref_clip_score,
    rouge_l,
)
from mmcourse.evaluation.facts import FactScore, fact_score, fact_scores
from mmcourse.evaluation.statistics import (
    Interval,
    Scores,
    accuracy,
    bootstrap,
    confusion_table,
    precision_recall_f1,
    recall_at_k,
)

__all__ = [
    "FactScore",
    "Interval",
    "Reliability",
    "Scores",
    "accuracy",
    "auroc",
    "bleu",
    "bleu_counts",
    "bleu_from_counts",
    "bootstrap",
    "cider_d",
    "clip_score",
    "confusion_table",
    "ece",
    "fact_score",
    "fact_scores",
    "fit_logistic",
    "logistic",
    "precision_recall_f1",
    "recall_at_k",
    "ref_clip_score",
    "reliability",
    "rouge_l",
]
