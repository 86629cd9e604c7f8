"""How sure a captioner of scenes is that every noun of a sentence is right.

The words' own probabilities are a poor witness: they depend on how the sentence was begun. The noun
head, which names what lies in each cell, is a better one. It is asked about the nouns of the
sentence, whatever the words around them and however they were found, so two sentences about the
same things have the same confidence.

Shapes: B batch, N cells of the grid.
"""

import numpy as np
import torch

from mmcourse.data.drawings import nouns
from mmcourse.data.language import parse

LEAST = 1e-3  # a probability is cut at it and at one minus it, so that its log-odds are finite


@torch.no_grad()
def noun_evidence(model, images, texts):
    """What the noun head says of the nouns of each caption: an array (B, 2) in [0, 1].

    ``images`` are uint8 (B, H, W, 3), ``texts`` B captions. The first column is how well the least
    visible noun is seen: its probability in the cell where that is largest. The second is how well
    something is seen that the caption does not name. Both are means over the picture and its mirror
    image. A caption without a noun has 0 in the first.
    """
    pixels = model.pixels_of(images)  # (B, 3, H, W)
    views = []
    for view in (pixels, pixels.flip(-1)):
        features = model.convolutions(view)  # (B, N, D)
        views.append(model.noun_head(features).softmax(-1))
    cells = torch.stack(views, 1)  # (B, views, N, 1 + nouns)
    rows = [look_for(nouns_of(text), seen) for text, seen in zip(texts, cells, strict=True)]
    return np.array(rows).reshape(-1, 2)


def nouns_of(text):
    """The numbers of the nouns that a caption names, as in the noun head, where 0 is no noun."""
    names = [noun.name for noun in nouns()]
    return sorted(1 + names.index(fact[1]) for fact in parse(text) if fact[0] == "object")


def look_for(named, cells):
    """How well the least visible of the ``named`` nouns is seen, and what is not named: two floats.

    ``cells`` (views, N, 1 + nouns) are the noun head's probabilities.
    """
    of_named = cells[..., named]  # (views, N, named)
    unnamed = 1 - cells[..., 0] - of_named.sum(-1)  # (views, N)
    other = unnamed.amax(1).mean().item()
    if not named:
        return 0.0, other
    seen = of_named.amax(1).mean(0)  # (named,)
    return seen.min().item(), other


def log_odds(probability):
    """Probabilities as the logs of their odds, cut so that they are finite."""
    probability = np.clip(probability, LEAST, 1 - LEAST)
    return np.log(probability / (1 - probability))
