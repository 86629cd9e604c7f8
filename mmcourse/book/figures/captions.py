"""What a captioner did: where it looked for each word, and how beam search found the sentence.

Shapes: T words and end, N cells of the captioner's grid, H heads.
"""

import math
from textwrap import fill

import numpy as np
import torch
import traitlets
from matplotlib import pyplot as plt

from mmcourse.book.figures import Figure, numbers, script
from mmcourse.book.figures.beams import beam_steps
from mmcourse.book.figures.encoding import decode_png, encode_png
from mmcourse.book.plotting import show_scene
from mmcourse.captioning import END, START

CLOSEST = 4  # words in the still picture


@torch.no_grad()
def retell(captioner, scene, beams=4):
    """What CaptionExplorer shows of a scene: the caption of a beam search, and how it was found."""
    memory = captioner.encode(scene.image[None])  # (1, N, D)

    def step(tokens, cache):
        return captioner.decode(memory, tokens, cache=cache)[:, -1]

    found, steps = beam_steps(
        step,
        torch.tensor([START], device=memory.device),
        end=END,
        max_length=captioner.max_length,
        beams=beams,
    )
    (caption,) = captioner.explain(memory, found.tokens, found.log_prob.tolist())
    return {
        "picture": scene.image,
        "words": caption.tokens,
        "attention": caption.attention,
        "boxes": [(name_of(thing), thing.box) for thing in scene.objects],
        "truth": scene.captions[0],
        "steps": [
            [(parent, captioner.words[token], *rest) for parent, token, *rest in candidates]
            for candidates in steps
        ],
    }


def name_of(thing):
    """An object of a scene with its colour, if it has one."""
    return f"{thing.colour} {thing.noun}" if thing.colour else thing.noun


class CaptionExplorer(Figure):
    """Scenes to choose from: a caption word by word over its picture, and its search step by step.

    ``stories`` come from :func:`retell`. Attention (layers, H, T, N) is rounded to thousandths; the
    N cells are a square.
    """

    _esm = script("captions.js")
    stories = traitlets.List().tag(sync=True)

    def __init__(self, stories):
        if not stories:
            raise ValueError(
                "stories must be a list with at least one story, as retell(captioner, scene) "
                "gives it"
            )
        super().__init__(stories=[self.pack(**story) for story in stories])

    @staticmethod
    def pack(picture, words, attention, boxes, truth, steps):
        """A story as the page gets it: few characters, checked numbers."""
        weights = np.array(numbers("attention", attention, ("layers", "H", len(words), "N")))
        cells = weights.shape[-1]
        if math.isqrt(cells) ** 2 != cells:
            raise ValueError(
                f"the N cells of the attention must form a square, as 64 do, got N = {cells}"
            )
        log_probs = [log_prob for candidates in steps for _, _, log_prob, _ in candidates]
        numbers("log-probabilities", log_probs, ("candidates",))
        return {
            "picture": encode_png(picture),
            "size": picture.shape[:2],
            "words": list(words),
            "truth": truth,
            "shape": weights.shape,
            "attention": (1000 * weights).round().astype(int).ravel().tolist(),
            "boxes": [(name, [int(side) for side in box]) for name, box in boxes],
            "steps": steps,
        }

    def draw(self):
        """The first scene, and the words for which the decoder looked most closely."""
        story = self.stories[0]
        weights = np.reshape(story["attention"], story["shape"]).mean((0, 1))  # (T, N)
        side = math.isqrt(weights.shape[1])
        picture = decode_png(story["picture"])
        closest = sorted(weights.max(1).argsort()[::-1][:CLOSEST])
        figure, axes = plt.subplots(1, 1 + len(closest), figsize=(7.2, 2.1), squeeze=False)
        first, *others = axes[0]
        names = [name for name, _ in story["boxes"]]
        boxes = [box for _, box in story["boxes"]]
        show_scene(picture, boxes=boxes, labels=names, axes=first, title="the truth")
        for panel, place in zip(others, closest, strict=True):
            looked = weights[place].reshape(side, side)
            show_scene(picture, weights=looked, axes=panel, title=story["words"][place])
        sentence = " ".join(story["words"][:-1])  # without the end
        figure.suptitle(fill(sentence, 80))
        return figure
