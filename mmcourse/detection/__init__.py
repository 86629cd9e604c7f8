"""Detection: what lies where, as a set of classes and boxes that one pass predicts.

``boxes`` says how far two of them overlap, ``matching`` which query answers for which object,
``losses`` what that costs, ``model`` is DETR, ``precision`` how well it finds things.
"""

from mmcourse.detection.boxes import (
    box_iou,
    check_boxes,
    check_objects,
    generalised_iou,
    to_centres,
    to_corners,
)
from mmcourse.detection.losses import NO_OBJECT, layered_loss, set_loss
from mmcourse.detection.matching import Weights, exhaustive, greedy, hungarian, match
from mmcourse.detection.model import DETR, Detection
from mmcourse.detection.precision import (
    Found,
    Truth,
    average_precision,
    curve_of,
    judge,
    precision_by_class,
    precision_interval,
)

__all__ = [
    "DETR",
    "NO_OBJECT",
    "Detection",
    "Found",
    "Truth",
    "Weights",
    "average_precision",
    "box_iou",
    "check_boxes",
    "check_objects",
    "curve_of",
    "exhaustive",
    "generalised_iou",
    "greedy",
    "hungarian",
    "judge",
    "layered_loss",
    "match",
    "precision_by_class",
    "precision_interval",
    "set_loss",
    "to_centres",
    "to_corners",
]
