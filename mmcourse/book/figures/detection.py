"""The figure of chapter 8: what a detector finds above a threshold, and where each query looks."""

import math

import numpy as np
import torch
import traitlets
from matplotlib import pyplot as plt

from mmcourse.book.figures import Figure, numbers, script
from mmcourse.book.figures.encoding import decode_png, encode_png
from mmcourse.book.plotting import show_scene


@torch.no_grad()
def explain(detector, scene):
    """What DetectionExplorer shows of a scene: the answer and the attention of every query.

    The attention is that of the last decoder layer, the mean over its heads.
    """
    memory = detector.encode(detector.see(scene.image[None]))
    logits, boxes, weights = detector.decode(memory, return_weights=True)
    scores, labels = logits[-1, 0].softmax(-1)[:, :-1].max(-1)  # (Q,) each
    size = detector.image_size
    return {
        "picture": scene.image,
        "labels": [detector.names[label] for label in labels.tolist()],
        "scores": scores.tolist(),
        "boxes": (boxes[-1, 0].clamp(0, 1) * size).tolist(),
        "maps": weights[-1, 0].mean(0).tolist(),
        "truth": [(thing.noun, thing.box) for thing in scene.objects],
    }


class DetectionExplorer(Figure):
    """Scenes to choose from: the boxes whose score reaches a threshold, and a query's attention.

    ``stories`` come from :func:`explain`: Q queries, whose maps have N cells in a square. Each map
    is divided by its largest value, in hundredths.
    """

    _esm = script("detection.js")
    stories = traitlets.List().tag(sync=True)

    def __init__(self, stories):
        if not stories:
            raise ValueError("stories must be a list with at least one story, as explain gives it")
        super().__init__(stories=[self.pack(**story) for story in stories])

    @staticmethod
    def pack(picture, labels, scores, boxes, maps, truth):
        """A story as the page gets it: few characters, checked numbers."""
        count = len(labels)
        maps = np.array(numbers("maps", maps, (count, "N")))
        if math.isqrt(maps.shape[1]) ** 2 != maps.shape[1]:
            raise ValueError(f"the N cells must form a square, got N = {maps.shape[1]}")
        scores = numbers("scores", scores, (count,))
        boxes = numbers("boxes", boxes, (count, 4))
        share = 100 * maps / maps.max(1, keepdims=True)
        return {
            "picture": encode_png(picture),
            "size": picture.shape[:2],
            "labels": list(labels),
            "scores": [round(score, 3) for score in scores],
            "boxes": [[round(edge, 1) for edge in box] for box in boxes],
            "maps": share.round().astype(int).tolist(),
            "truth": [(name, [int(edge) for edge in box]) for name, box in truth],
        }

    def draw(self):
        """Each scene with its boxes above a half, and where the surest query looked."""
        count = min(2, len(self.stories))
        figure, axes = plt.subplots(1, 2 * count, figsize=(7.2, 2.2), squeeze=False)
        for number, story in enumerate(self.stories[:count]):
            picture = decode_png(story["picture"])
            kept = [row for row, score in enumerate(story["scores"]) if score >= 0.5]
            boxes = [story["boxes"][row] for row in kept]
            labels = [f"{story['labels'][row]} {story['scores'][row]:.2f}" for row in kept]
            show_scene(picture, boxes=boxes, labels=labels, axes=axes[0, 2 * number])
            surest = int(np.argmax(story["scores"]))
            side = math.isqrt(len(story["maps"][surest]))
            weights = np.reshape(story["maps"][surest], (side, side)) + 1e-9
            title = f"query {surest + 1} looks"
            show_scene(picture, weights=weights, axes=axes[0, 2 * number + 1], title=title)
        return figure
