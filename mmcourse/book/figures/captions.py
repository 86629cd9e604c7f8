"""What a captioner did: where it looked for each word, and the beams among which it found its sentence."""

import math
from textwrap import fill

import numpy as np
import torch
import traitlets
from matplotlib import pyplot as plt

from mmcourse.book.figures import Figure, numbers, script
from mmcourse.book.figures.beams import beam_steps
from mmcourse.book.figures.pictures import pixels, png
from mmcourse.book.plotting import show_scene
from mmcourse.captioning import END, START


@torch.no_grad()
def retell(captioner, scene, beams=4):
    """What CaptionExplorer shows of a scene: the caption that beam search finds, and how it found it."""
    memory = captioner.encode(scene.image[None])
    found, steps = beam_steps(lambda tokens, cache: captioner.decode(memory, tokens, cache=cache)[:, -1],
                              torch.tensor([START], device=memory.device), end=END,
                              max_length=captioner.max_length, beams=beams)  # fmt: skip
    caption = captioner.explain(memory, found.tokens, found.log_prob.tolist())[0]
    boxes = [
        (" ".join(filter(None, (thing.colour, thing.noun))), thing.box) for thing in scene.objects
    ]
    steps = [
        [(parent, captioner.words[token], *rest) for parent, token, *rest in step] for step in steps
    ]
    return {"picture": scene.image, "words": caption.tokens, "attention": caption.attention, "boxes": boxes,
            "truth": scene.captions[0], "steps": steps}  # fmt: skip


class CaptionExplorer(Figure):
    """Scenes to choose from: a caption word by word over its picture, and its beam search step by step.

    ``stories`` come from :func:`retell`. Attention (layers, H, T, N) is rounded to thousandths; N cells are a square.
    """

    _esm = script("captions.js")
    stories = traitlets.List().tag(sync=True)

    def __init__(self, stories):
        if not stories:
            raise ValueError(
                "stories must be a list with at least one story, as retell(captioner, scene) gives it"
            )
        super().__init__(stories=[self.pack(**story) for story in stories])

    @staticmethod
    def pack(picture, words, attention, boxes, truth, steps):
        """A story as the page gets it: few characters, checked numbers."""
        weights = np.array(numbers("attention", attention, ("layers", "H", len(words), "N")))
        if math.isqrt(weights.shape[-1]) ** 2 != weights.shape[-1]:
            raise ValueError(
                f"the N cells of the attention must form a square, as 64 do, got N = {weights.shape[-1]}"
            )
        numbers("log-probabilities", [x for step in steps for _, _, x, _ in step], ("candidates",))
        return {"picture": png(picture), "size": picture.shape[:2], "words": list(words), "truth": truth,
                "shape": weights.shape, "attention": (1000 * weights).round().astype(int).ravel().tolist(),
                "boxes": [(name, list(map(int, box))) for name, box in boxes], "steps": steps}  # fmt: skip

    def draw(self):
        """The first scene, and where the decoder looked for the words at which it looked most closely."""
        story = self.stories[0]
        weights = np.reshape(story["attention"], story["shape"]).mean((0, 1))  # (T, N)
        closest = sorted(weights.max(1).argsort()[::-1][:4])
        figure, axes = plt.subplots(1, 1 + len(closest), figsize=(7.2, 2.1), squeeze=False)
        names, boxes = zip(*story["boxes"], strict=True) if story["boxes"] else ((), ())
        picture, side = pixels(story["picture"]), math.isqrt(weights.shape[1])
        show_scene(picture, boxes=boxes, labels=names, axes=axes[0, 0], title="the truth")
        for axis, place in zip(axes[0, 1:], closest, strict=True):
            show_scene(
                picture,
                weights=weights[place].reshape(side, side),
                axes=axis,
                title=story["words"][place],
            )
        figure.suptitle(fill(" ".join(story["words"][:-1]), 80))
        return figure
