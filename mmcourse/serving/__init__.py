"""From a model in a script to one that many people use at once.

:mod:`~mmcourse.serving.batching` forms batches from requests that wait, and refuses what it cannot
hold. :mod:`~mmcourse.serving.queueing` says by formula and by simulation how long they wait.
:mod:`~mmcourse.serving.registry` keeps models on a disk, each with the run that made it.
:mod:`~mmcourse.serving.drift` notices that the pictures have become others than those that a model
was measured on. :mod:`~mmcourse.serving.server` is the web application (the extra ``serve``),
:mod:`~mmcourse.serving.ray_app` the same over several processes (the extra ``ray``), and
:mod:`~mmcourse.serving.load` asks it as many clients do.
:mod:`~mmcourse.serving.onnx` writes a captioner as graphs that run without PyTorch, also in a
browser (the extra ``onnx``).
"""

from mmcourse.serving.batching import Batcher, Full, Stopped, TooLate
from mmcourse.serving.drift import (
    STATISTICS,
    Alarm,
    Monitor,
    Reference,
    fit_reference,
    statistics_of,
    threshold,
)
from mmcourse.serving.onnx import OnnxCaptioner, export
from mmcourse.serving.queueing import (
    Simulation,
    closed_loop,
    md1_wait,
    mg1_wait,
    mm1_wait,
    percentile,
    poisson_arrivals,
    simulate,
)
from mmcourse.serving.registry import Registry

__all__ = [
    "STATISTICS",
    "Alarm",
    "Batcher",
    "Full",
    "Monitor",
    "OnnxCaptioner",
    "Reference",
    "Registry",
    "Simulation",
    "Stopped",
    "TooLate",
    "closed_loop",
    "export",
    "fit_reference",
    "md1_wait",
    "mg1_wait",
    "mm1_wait",
    "percentile",
    "poisson_arrivals",
    "simulate",
    "statistics_of",
    "threshold",
]
