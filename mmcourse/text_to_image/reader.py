"""A judge: a small convolutional network that finds the centres of things, and says what it saw.

It shares no weights with what draws, and it learned from other pictures. Letters: B batch, H and
W rows and columns of cells.
"""

from collections import defaultdict

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from mmcourse.data.backgrounds import PAINT
from mmcourse.data.language import BACKGROUNDS, COLOURS, Description, Group, noun_phrase, plain
from mmcourse.data.world import WORLD_NOUNS
from mmcourse.vision import ResidualBlock, to_pixels
from mmcourse.weights import SavedModel

TINTS = (None, *COLOURS)
PLACES = tuple(PAINT)
CELL = 8
EMPTY_CELL = 0.2  # what a cell without a centre counts in the loss


class CentreReader(SavedModel):
    """Which noun has its centre in each cell, in which tint, and on which background.

    After *Objects as Points* (Zhou et al. 2019), with a class for each cell in place of a heat map.
    """

    def __init__(self, width=64, blocks=2):
        super().__init__()
        layers = [
            nn.Conv2d(3, 24, 5, stride=2, padding=2),
            nn.GELU(),
            nn.Conv2d(24, 48, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(48, width, 3, stride=2, padding=1),
        ]
        layers += [ResidualBlock(width) for _ in range(blocks)]
        self.features = nn.Sequential(*layers, nn.GroupNorm(8, width), nn.GELU())
        self.nouns = nn.Conv2d(width, 1 + len(WORLD_NOUNS), 1)
        self.tints = nn.Conv2d(width, len(TINTS), 1)
        self.place = nn.Linear(width, len(PLACES))

    @classmethod
    def sizes_in(cls, shapes):
        """As in :class:`~mmcourse.weights.SavedModel`."""
        return {"width": shapes["nouns.weight"][1]}

    def forward(self, pixels):
        """Logits of pictures (B, 3, 64, 64) in [-1, 1].

        Nouns (B, 41, H, W), where 0 is no centre, tints (B, 9, H, W), and places (B, 12).
        """
        features = self.features(pixels)  # (B, D, H, W)
        return self.nouns(features), self.tints(features), self.place(features.mean((2, 3)))

    def loss(self, images, targets):
        """Cross-entropy of uint8 pictures (B, 64, 64, 3) with what :func:`centres` gives."""
        pixels = disturb(to_pixels(images))
        nouns, tints, places = self(pixels)
        weight = torch.ones(1 + len(WORLD_NOUNS))
        weight[0] = EMPTY_CELL
        noun_loss = F.cross_entropy(nouns, targets["nouns"], weight)
        tint_loss = F.cross_entropy(tints, targets["tints"], ignore_index=-1)
        return noun_loss + tint_loss + F.cross_entropy(places, targets["place"])

    @torch.no_grad()
    def read(self, images):
        """What it sees in uint8 pictures (B, 64, 64, 3): a list of captions."""
        nouns, tints, places = self(to_pixels(images))
        captions = []
        for row in range(len(nouns)):
            things = things_in(nouns[row].softmax(0), tints[row])
            captions.append(say(things, PLACES[int(places[row].argmax())]))
        return captions


def disturb(pixels):
    """Pictures (B, 3, H, W) blurred, noisy and in other light, as bad drawings may be."""

    def between(low, high):
        return torch.empty(len(pixels), 1, 1, 1).uniform_(low, high)

    soft = F.avg_pool2d(pixels, 3, 1, 1, count_include_pad=False)
    pixels = pixels + between(0, 1) * (soft - pixels)
    pixels = pixels * between(0.85, 1.15) + between(-0.1, 0.1)
    return pixels + between(0, 0.2) * torch.randn_like(pixels)


def centres(scenes):
    """What the reader should say of scenes: nouns (B, 8, 8), tints (B, 8, 8; -1 none), place (B,).

    Cells hold the number of the noun, from 1, whose centre lies in them.
    """
    nouns = torch.zeros(len(scenes), CELL, CELL, dtype=torch.long)
    tints = torch.full((len(scenes), CELL, CELL), -1)
    for row, scene in enumerate(scenes):
        for thing in scene.objects:
            x0, y0, x1, y1 = thing.box
            place = row, (y0 + y1) // (2 * CELL), (x0 + x1) // (2 * CELL)
            nouns[place] = 1 + WORLD_NOUNS.index(thing.noun)
            tints[place] = TINTS.index(thing.colour)
    place = torch.tensor([PLACES.index(scene.description.background) for scene in scenes])
    return {"nouns": nouns, "tints": tints, "place": place}


def things_in(probabilities, tints):
    """The things of one picture: (noun, tint, row, column), the surest first.

    ``probabilities`` are (41, H, W), ``tints`` logits (9, H, W). A cell whose most probable class
    is a noun has a thing, unless a surer one is in a neighbouring cell: a thing has one centre.
    """
    some = 1 - probabilities[0]  # (H, W), of any centre
    tallest = F.max_pool2d(some[None], 3, 1, 1)[0]
    found = []
    for row, column in torch.nonzero((some == tallest) & (some > 0.5)).tolist():
        noun = int(probabilities[1:, row, column].argmax())
        tint = TINTS[int(tints[:, row, column].argmax())]
        found.append((some[row, column].item(), WORLD_NOUNS[noun], tint, row, column))
    return [thing[1:] for thing in sorted(found, key=lambda thing: -thing[0])]


def say(things, place):
    """A caption of things (noun, tint, row, column) on a background.

    Several of a noun have the tint that most of them have, of equally many the first's.
    """
    where = BACKGROUNDS[place][1][0]
    groups = defaultdict(list)
    for noun, tint, row, column in things:
        groups[noun].append((tint, row, column))
    said = []
    middles = []
    for noun, members in groups.items():
        tints = [one[0] for one in members]
        tint = max(tints, key=tints.count)
        said.append(Group(noun, min(3, len(members)), tint))
        middles.append(np.mean([one[1:] for one in members], axis=0))
    if not said:
        return where
    if len(said) == 2:
        relation = relation_of(*middles)
        return plain(Description(tuple(said), relation, place))
    phrases = [noun_phrase(group, lambda words: words[0]) for group in said]
    return " , ".join(phrases) + f" {where}"


def relation_of(first, second):
    """How one (row, column) lies to another: the axis along which they are farther apart."""
    down, right = second - first
    if abs(right) >= abs(down):
        return "left of" if right > 0 else "right of"
    return "above" if down > 0 else "below"
