"""The captioner: a picture becomes a grid of cells, and a decoder that looks at them writes.

:class:`Captioner` is what all captioners have. :class:`SceneCaptioner` adds what reads the scenes
of the course.
"""

from mmcourse.captioning.captioner import END, PAD, SPECIAL, START, UNKNOWN, Caption, Captioner
from mmcourse.captioning.confidence import noun_evidence
from mmcourse.captioning.scenes import SceneCaptioner, cell_nouns, restyle

__all__ = [
    "END",
    "PAD",
    "SPECIAL",
    "START",
    "UNKNOWN",
    "Caption",
    "Captioner",
    "SceneCaptioner",
    "cell_nouns",
    "noun_evidence",
    "restyle",
]
