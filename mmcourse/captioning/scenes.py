"""The captioner of scenes: convolutions see, and a head names what lies in each cell of their grid.

Shapes: B batch, T words, N cells of the grid, D width.
"""

import math
from zlib import crc32

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from mmcourse.captioning.captioner import PAD, Captioner, next_words
from mmcourse.captioning.confidence import log_odds, noun_evidence
from mmcourse.data.drawings import nouns
from mmcourse.data.pictures import load_picture
from mmcourse.evaluation import logistic
from mmcourse.vision import ConvEncoder, to_pixels

EMPTY_CELL = 0.1  # what a cell with nothing in it counts in the loss: most cells are empty


class SceneCaptioner(Captioner):
    """A captioner that sees with convolutions, and names what lies in each cell of their grid.

    ``vocabulary`` is a list of words, ``image_size`` a multiple of 8 pixels; ``channels`` and
    ``blocks`` are those of :class:`~mmcourse.vision.ConvEncoder`. ``blind``, a baseline, hides the
    picture from the decoder. ``calibration`` are the three numbers that
    :func:`mmcourse.recipes.scenes.calibrate` fits.
    """

    low_confidence = 0.5
    former_names = {
        "eye.": "convolutions.",
        "places": "grid_positions",
        "grid.": "noun_head.",
        "naming.": "noun_embedding.",
    }

    def __init__(
        self,
        vocabulary,
        width=128,
        heads=4,
        encoder_layers=1,
        decoder_layers=2,
        image_size=64,
        channels=(32, 64, 128),
        blocks=(0, 1, 2),
        dropout=0.0,
        max_length=28,
        blind=False,
        calibration=None,
    ):
        if calibration is not None and len(calibration) != 3:
            raise ValueError(
                f"calibration must be three numbers, or None, got {len(calibration)}: "
                "`mmcourse calibrate` fits them"
            )
        convolutions = ConvEncoder(width, channels, blocks)
        side = image_size // convolutions.stride  # cells along a side
        super().__init__(
            vocabulary, side, width, heads, encoder_layers, decoder_layers, dropout, max_length
        )
        self.image_size = image_size
        self.blind = blind
        self.calibration = calibration
        self.convolutions = convolutions
        classes = 1 + len(nouns())  # 0 is no noun
        self.noun_head = nn.Linear(width, classes)
        self.noun_embedding = nn.Linear(classes, width, bias=False)
        nn.init.zeros_(self.noun_embedding.weight)
        self.initialise()

    @classmethod
    def sizes_in(cls, shapes):
        """As in :class:`~mmcourse.weights.SavedModel`."""
        channels, blocks = convolution_sizes(shapes)
        side = math.isqrt(shapes["grid_positions"][1])
        sizes = {
            "channels": channels,
            "blocks": blocks,
            "image_size": side * 2 ** len(channels),
        }
        return super().sizes_in(shapes) | sizes

    def prepare(self, pictures):
        """A list of pictures (path, PIL picture or uint8 array) as one uint8 array (B, H, W, 3)."""
        return np.stack([load_picture(picture, self.image_size) for picture in pictures])

    def pixels_of(self, images):
        """Pictures, uint8 (B, H, W, 3), as the convolutions take them, (B, 3, H, W).

        ValueError where they are not as large as the model's.
        """
        pixels = to_pixels(images)
        side = self.image_size
        if pixels.shape[2:] != (side, side):
            raise ValueError(
                f"pictures must have {side} x {side} pixels, got {pixels.shape[2]} rows and "
                f"{pixels.shape[3]} columns: prepare() makes them fit"
            )
        return pixels.to(self.device, self.dtype)

    def encode(self, images):
        """Turn uint8 pictures (B, H, W, 3) into the memory (B, N, D) that the decoder looks at."""
        pixels = self.pixels_of(images)  # (B, 3, H, W)
        return self.relate(self.convolutions(pixels))

    def relate(self, features):
        """From the features (B, N, D) of the convolutions to the memory (B, N, D).

        Each cell is told where it is and which noun it seems to be; then all look at one another.
        """
        probabilities = self.noun_head(features).softmax(-1)  # (B, N, 1 + nouns)
        noun_vectors = self.noun_embedding(probabilities)  # (B, N, D)
        memory = self.encoder(features + self.grid_positions + noun_vectors)
        if self.blind:
            return torch.zeros_like(memory)
        return memory

    def collate(self, scenes):
        """A training batch of scenes: pictures, one of the captions of each, the nouns of the
        cells.

        Those without a description (the crowds of :class:`~mmcourse.data.practice.Practice`) come
        last, uncaptioned.
        """
        scenes = sorted(scenes, key=lambda scene: scene.description is None)
        captions = [chosen_caption(scene) for scene in scenes if scene.description]
        cells = [cell_nouns(scene, self.convolutions.stride) for scene in scenes]
        return {
            "images": torch.from_numpy(np.stack([scene.image for scene in scenes])),
            "tokens": self.tokenize_all(captions),
            "cells": torch.stack(cells),
        }

    def terms(self, batch):
        """Mean cross-entropy of the next word, and that of the noun in each cell of the grid.

        The second term teaches the convolutions early what is where; pictures without a caption
        have no other.
        """
        tokens = batch["tokens"]  # (B, T + 1), and no more rows than pictures
        pixels = self.pixels_of(batch["images"])  # (B, 3, H, W)
        if self.training:
            pixels = restyle(pixels)
        features = self.convolutions(pixels)  # (B, N, D)
        memory = self.relate(features[: len(tokens)])
        words = self.word_loss(memory, tokens)
        cells = self.cell_loss(features, batch["cells"])
        return torch.stack([words, cells])

    def cell_loss(self, features, cells):
        """Mean cross-entropy of the noun in each of the ``cells`` (B, N).

        An empty cell counts a tenth.
        """
        logits = self.noun_head(features)  # (B, N, 1 + nouns)
        weights = torch.ones(logits.shape[-1], device=logits.device, dtype=self.dtype)
        weights[0] = EMPTY_CELL
        return F.cross_entropy(logits.flatten(0, 1), cells.flatten(), weights)

    def counts(self, batch):
        """Over how much the two :meth:`terms` are means: over words, and over cells.

        An empty cell counts a tenth.
        """
        words = next_words(batch["tokens"]) != PAD
        full = batch["cells"] > 0
        return torch.stack([words.sum(), full.sum() + EMPTY_CELL * (~full).sum()])

    @property
    def confidence_is(self):
        """What ``confidence`` is, in words for a user."""
        if self.calibration is None:
            return "how well the least visible noun is seen, not calibrated"
        return "probability that every noun is right"

    def confidences(self, inputs, memory, sentences):
        """The probability that every noun of a sentence is right: a list of numbers in [0, 1].

        ``inputs`` are what :meth:`prepare` gives, ``sentences`` lists of ids. It depends on the
        picture and on which nouns a sentence has. :func:`~mmcourse.captioning.noun_evidence`
        becomes a probability by the three numbers of ``calibration``, an offset and the weights of
        its log-odds. Without them it is the first column; a sentence without a noun has 0.
        """
        texts = [" ".join(self.words[number] for number in ids) for ids in sentences]
        evidence = noun_evidence(self, inputs, texts)  # (B, 2)
        seen = evidence[:, 0]
        if self.calibration is None:
            return seen.tolist()
        probability = logistic(self.calibration, log_odds(evidence))
        return np.where(seen > 0, probability, 0.0).tolist()


def chosen_caption(scene):
    """One of the five captions of a scene, always the same one."""
    return scene.captions[crc32(scene.key.encode()) % 5]


def convolution_sizes(shapes):
    """The channels and the blocks of the convolutions, read from the shapes of their tensors."""
    channels = []
    blocks = []
    number = 0
    while True:
        stage = f"convolutions.stages.{number}"
        if len(shapes.get(f"{stage}.weight", ())) == 4:  # a convolution begins a stage
            channels.append(shapes[f"{stage}.weight"][0])
            blocks.append(0)
        elif f"{stage}.change.0.weight" in shapes and blocks:  # a block
            blocks[-1] += 1
        else:
            return channels, blocks
        number += 1


def restyle(pixels):
    """Redraw pictures (B, 3, H, W) as other artists might.

    Each becomes lighter or darker, sharper or softer, and some are outlined.
    """

    def between(low, high):
        return torch.empty(len(pixels), 1, 1, 1, device=pixels.device).uniform_(low, high)

    detail = pixels - F.avg_pool2d(pixels, 3, 1, 1, count_include_pad=False)
    outline = detail.abs().amax(1, keepdim=True) * between(-1.5, 1.5).relu()
    redrawn = pixels + between(-0.8, 1.2) * detail - outline
    return redrawn * between(0.8, 1.2) + between(-0.15, 0.15)


def cell_nouns(scene, stride):
    """For each cell of the grid, row by row, the number of the noun that covers its middle.

    It is 0 for none. ``stride`` is the side of a cell in pixels.
    """
    rows, columns = (side // stride for side in scene.image.shape[:2])
    names = [noun.name for noun in nouns()]
    cells = torch.zeros(rows, columns, dtype=torch.long)
    for thing in scene.objects:
        x0, y0, x1, y1 = ((edge + stride // 2) // stride for edge in thing.box)
        cells[y0:y1, x0:x1] = 1 + names.index(thing.noun)
    return cells.flatten()
