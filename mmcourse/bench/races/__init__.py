"""The races: ours against ``torch.nn``, ``transformers`` and ``pycocoevalcap``, one module a race.

A race's module has ``rows(race)``, which takes a :class:`mmcourse.bench.timing.Race` and yields the
rows of the table. The models of ``transformers`` have our sizes, no dropout, fused attention, and
where it says so our weights. The libraries are imported where they are needed.
"""

from mmcourse.bench.races import attention, generation, layers, learning, scores, training

#: The races by their names. ``learning`` takes up to twenty minutes and runs only when asked for.
RACES = {
    "attention": attention.rows,
    "training": training.rows,
    "generation": generation.rows,
    "scores": scores.rows,
    "layers": layers.rows,
    "learning": learning.rows,
}
