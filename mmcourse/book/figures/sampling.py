"""The next word's distribution, sharpened by a temperature and cut by top-k and top-p.

V is the number of words in the vocabulary.
"""

import matplotlib.pyplot as plt
import torch
import traitlets

from mmcourse.book.figures import Figure, numbers, script
from mmcourse.book.plotting import BLUE, GREY
from mmcourse.decoding import truncate

SHOWN = 12  # words with a bar of their own


class SamplingExplorer(Figure):
    """Moments of writing to choose from, and what temperature, top-k and top-p make of each.

    ``moments`` are (text so far, words, logits), with V words and V logits; they are stored from
    the largest down.
    """

    _esm = script("sampling.js")
    moments = traitlets.List().tag(sync=True)

    def __init__(self, moments):
        if not moments:
            raise ValueError(
                "moments must be a list with at least one (text so far, words, logits)"
            )
        super().__init__(moments=[self.pack(*moment) for moment in moments])

    @staticmethod
    def pack(text, words, logits):
        """A moment as the page gets it: the names of the first words, and all logits, rounded."""
        logits = numbers("logits", logits, (len(words),))
        order = sorted(range(len(words)), key=lambda number: -logits[number])
        return {
            "text": str(text),
            "words": [words[number] for number in order[:SHOWN]],
            "logits": [round(logits[number], 3) for number in order],
        }

    def draw(self):
        """The first moment as the model has it, sharpened, and cut."""
        moment = self.moments[0]
        logits = torch.tensor(moment["logits"], dtype=torch.float64)  # (V,)
        panels = {
            "the model's own": logits,
            "temperature 0.5": logits / 0.5,
            "top-k 3": truncate(logits, top_k=3),
            "top-p 0.9": truncate(logits, top_p=0.9),
        }
        before = logits.softmax(-1)[:SHOWN].tolist()
        figure, axes = plt.subplots(1, len(panels), figsize=(7.2, 2.6), sharey=True)
        for panel, (title, changed) in zip(axes, panels.items(), strict=True):
            after = changed.softmax(-1)[:SHOWN].tolist()
            panel.barh(moment["words"], before, color="none", edgecolor=GREY, linewidth=0.8)
            panel.barh(moment["words"], after, color=BLUE, height=0.5)
            panel.set(title=title, xlim=(0, 1), xticks=[0, 0.5, 1])
        axes[0].invert_yaxis()
        figure.suptitle(f"after “{moment['text']}”")
        return figure
