"""Video: frames in time, and what only their order tells."""

from mmcourse.video.costs import attention_cost, count_multiplications, encoder_cost
from mmcourse.video.encoders import (
    ENCODERS,
    BagEncoder,
    DividedEncoder,
    DividedLayer,
    FactorisedEncoder,
    JointEncoder,
)
from mmcourse.video.facts import (
    Scores,
    all_facts,
    best_facts,
    caption_scores,
    knows_direction,
    log_probability,
    reads_rightly,
    targets_of,
    weights_of_frames,
)
from mmcourse.video.frames import backwards, one_frame, shuffled, without_frame
from mmcourse.video.model import PARTS, ClipReader
from mmcourse.video.reading import read_clip, sample_frames
from mmcourse.video.tubelets import FrameStem, TubeletEmbedding, cut_tubelets, to_clips

__all__ = [
    "ENCODERS",
    "PARTS",
    "BagEncoder",
    "ClipReader",
    "DividedEncoder",
    "DividedLayer",
    "FactorisedEncoder",
    "FrameStem",
    "JointEncoder",
    "Scores",
    "TubeletEmbedding",
    "all_facts",
    "attention_cost",
    "backwards",
    "best_facts",
    "caption_scores",
    "count_multiplications",
    "cut_tubelets",
    "encoder_cost",
    "knows_direction",
    "log_probability",
    "one_frame",
    "read_clip",
    "reads_rightly",
    "sample_frames",
    "shuffled",
    "targets_of",
    "to_clips",
    "weights_of_frames",
    "without_frame",
]
