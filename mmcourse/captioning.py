"""The captioner: a picture becomes a grid of tokens, and a decoder that looks at them writes one word at a time.

Shapes: B batch, T words, N grid tokens, D width, H heads, V vocabulary.
"""

import json
import math
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from zlib import crc32

import numpy as np
import torch
import torch.nn.functional as F
from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
from torch import nn

from mmcourse import decoding
from mmcourse.data.drawings import nouns
from mmcourse.data.language import noun_words
from mmcourse.data.pictures import load_picture
from mmcourse.transformer import Decoder, Encoder, sinusoidal_positions
from mmcourse.vision import ConvEncoder, to_pixels

PAD, START, END, UNKNOWN = range(4)
SPECIAL = ["<pad>", "<start>", "<end>", "<unknown>"]
SHIPPED = Path(__file__).with_name("shipped") / "scenes"
KNOWN = "scenes, a folder that `mmcourse train` wrote, or owner/name on the Hugging Face hub"


@dataclass(frozen=True)
class Caption:
    """``attention`` (layers, H, T, N) is where the decoder looked for each of the ``tokens`` (words and end).

    ``log_prob`` is the log-probability of the whole sentence. ``confidence`` in [0, 1] is that of its least sure thing:
    where a noun was written, the probability of all nouns of the sentence, for it is free to name another one first.
    """

    text: str
    log_prob: float
    tokens: list[str]
    attention: torch.Tensor
    confidence: float


class Captioner(nn.Module, PyTorchModelHubMixin):
    """Convolutions and a Transformer encoder read the picture, a Transformer decoder writes (after Xu et al. 2015).

    ``vocabulary`` is a list of words, ``image_size`` a multiple of 8 pixels; ``blind``, a baseline, hides the picture.
    """

    low_confidence = 0.5

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
    ):
        super().__init__()
        self.words = SPECIAL + list(vocabulary)
        self.ids = {word: number for number, word in enumerate(self.words)}
        self.image_size, self.max_length, self.blind = image_size, max_length, blind
        self.eye = ConvEncoder(width, channels, blocks)
        self.places = grid_positions(image_size // self.eye.stride, width)
        self.encoder = Encoder(encoder_layers, width, heads, dropout=dropout)
        self.embedding = nn.Embedding(len(self.words), width)
        self.positions = nn.Parameter(0.02 * torch.randn(1, max_length, width))
        self.decoder = Decoder(decoder_layers, width, heads, dropout=dropout)
        self.output = nn.Linear(width, len(self.words))
        self.grid = nn.Linear(width, 1 + len(nouns()))
        self.naming = nn.Linear(1 + len(nouns()), width, bias=False)
        nn.init.zeros_(self.naming.weight)
        nn.init.normal_(self.embedding.weight, std=0.02)

    @classmethod
    def from_pretrained(cls, name="scenes", **options):
        """The shipped captioner (``scenes``), one in a folder that training wrote, or one on the Hugging Face hub.

        One that was trained on photographs comes as a :class:`PhotographCaptioner`; ``options`` are for a download.
        Raises ValueError, which says what to do, when there is none or its files are cut off or of another model.
        """
        if name != "scenes" and "/" not in str(name) and not Path(name).is_dir():
            raise ValueError(f"there is no captioner {str(name)!r}: expected {KNOWN}")
        try:
            with redirect_stdout(None):  # the hub library prints
                folder = SHIPPED if name == "scenes" else name
                kind = PhotographCaptioner if "encoder" in read_config(folder, **options) else cls
                return super(Captioner, kind).from_pretrained(folder, **options)
        except Exception as error:  # those of several libraries
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ValueError(
                f"cannot load the captioner {str(name)!r} ({reason}): expected {KNOWN}"
            ) from error

    def encode(self, images):
        """Turn uint8 pictures (B, H, W, 3) into the memory (B, N, D) that the decoder looks at."""
        return self.read(self.eye(to_pixels(images).to(self.places.device)))

    def read(self, seen):
        """Tell each grid token (B, N, D) where it is and which noun it seems to be; let them look at one another."""
        memory = self.encoder(seen + self.places + self.naming(self.grid(seen).softmax(-1)))
        return torch.zeros_like(memory) if self.blind else memory

    def decode(self, memory, tokens, *, cache=None, return_weights=False):
        """Logits (B, T, V) for the word after each of the ``tokens`` (B, T), which continue those in the ``cache``."""
        cache = {} if cache is None else cache
        past = cache.get("length", 0)
        cache["length"] = past + tokens.shape[1]
        x = self.embedding(tokens) + self.positions[:, past : cache["length"]]
        x = self.decoder(
            x, memory, cache=cache.setdefault("decoder", {}), return_weights=return_weights
        )
        return (self.output(x[0]), x[1]) if return_weights else self.output(x)

    def forward(self, images, tokens):
        """Teacher forcing: pictures (B, H, W, 3) uint8 and the true words so far (B, T) give logits (B, T, V)."""
        return self.decode(self.encode(images), tokens)

    def tokenize(self, text):
        """Ids of a caption's words, between START and END. A longer caption than the model can write is cut."""
        return [
            START,
            *(self.ids.get(word, UNKNOWN) for word in text.split()[: self.max_length - 1]),
            END,
        ]

    def collate(self, scenes):
        """A training batch of scenes: pictures, what lies in each cell, and one of the five captions of each.

        Those without a description (the crowds of :class:`~mmcourse.data.practice.Practice`) come last, uncaptioned.
        """
        scenes = sorted(scenes, key=lambda scene: scene.description is None)
        chosen = [
            torch.tensor(self.tokenize(s.captions[crc32(s.key.encode()) % 5]))
            for s in scenes
            if s.description
        ]
        tokens = nn.utils.rnn.pad_sequence(chosen, batch_first=True, padding_value=PAD)
        cells = torch.stack([cell_nouns(scene, self.eye.stride) for scene in scenes])
        return {
            "images": torch.from_numpy(np.stack([s.image for s in scenes])),
            "tokens": tokens,
            "cells": cells,
        }

    def loss(self, batch):
        """The sum of the two :meth:`terms`."""
        return self.terms(batch).sum()

    def terms(self, batch):
        """Mean cross-entropy of the next word, and that of the noun in each cell of the grid.

        The second term teaches the convolutions early what is where; pictures without a caption have no other.
        """
        pixels, tokens = to_pixels(batch["images"]).to(self.places.device), batch["tokens"]
        seen = self.eye(restyle(pixels) if self.training else pixels)
        logits = self.decode(self.read(seen[: len(tokens)]), tokens[:, :-1])
        words = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=PAD)
        rarity = torch.ones(self.grid.out_features, device=pixels.device)
        rarity[0] = 0.1  # most cells are empty
        return torch.stack(
            [
                words,
                F.cross_entropy(self.grid(seen).flatten(0, 1), batch["cells"].flatten(), rarity),
            ]
        )

    def counts(self, batch):
        """Over how much the two :meth:`terms` are means: words, and cells, of which an empty one counts a tenth."""
        words, things = batch["tokens"][:, 1:] != PAD, batch["cells"] > 0
        return torch.stack([words.sum(), things.sum() + 0.1 * (~things).sum()])

    @torch.no_grad()
    def caption(self, image, strategy="beam", beams=4, **options):
        """Describe a picture (path, PIL picture or uint8 array), or a list of them: a Caption, or a list.

        ``strategy`` is ``beam``, ``greedy`` or ``sample``; ``options`` go to the function of that name in
        :mod:`mmcourse.decoding`. Raises ValueError for another strategy or for what is not a picture.
        """
        many = isinstance(image, list)
        captions = self.write(
            self.encode(self.load(image if many else [image])), strategy, beams, **options
        )
        return captions if many else captions[0]

    def load(self, pictures):
        """A list of pictures as one batch for :meth:`encode`."""
        return np.stack([load_picture(one, self.image_size) for one in pictures])

    @torch.no_grad()
    def write(self, memory, strategy="beam", beams=4, **options):
        """A Caption for each row of a memory (B, N, D); arguments and errors are those of :meth:`caption`."""
        options = options | {"beams": beams} if strategy == "beam" else options
        write = {
            "beam": decoding.beam_search,
            "greedy": decoding.greedy,
            "sample": decoding.sample,
        }.get(strategy)
        if write is None:
            raise ValueError(f"unknown strategy {strategy!r}: choose beam, greedy or sample")
        start = torch.full((len(memory),), START, device=memory.device)
        generated = write(
            lambda tokens, cache: self.decode(memory, tokens, cache=cache)[:, -1],
            start,
            end=END,
            max_length=self.max_length,
            **options,
        )
        return [
            self.explain(memory[row : row + 1], ids, float(generated.log_prob[row]))
            for row, ids in enumerate(generated.tokens)
        ]

    def explain(self, memory, ids, log_prob):
        """The Caption of the words ``ids``: one pass over all of them gives attention and probabilities."""
        tokens = torch.tensor([[START, *ids]], device=memory.device)[:, : self.max_length]
        logits, attention = self.decode(memory, tokens, return_weights=True)
        words = [self.words[number] for number in ids]
        named = [place for place, word in enumerate(words) if word in noun_words()]
        sure = (
            logits[0, named]
            .softmax(-1)[:, sorted({ids[place] for place in named})]
            .sum(-1)
            .tolist()
        )
        return Caption(
            " ".join(words),
            log_prob,
            [*words, SPECIAL[END]],
            attention[0].cpu(),
            min(sure, default=0.0),
        )


class PhotographCaptioner(Captioner):
    """A captioner with another eye: its memory is the grid of a pretrained encoder (see :mod:`mmcourse.photographs`).

    ``encoder`` is what :func:`~mmcourse.photographs.load_encoder` takes. It stays as it is and is not saved, unless
    ``fine_tune``. Its ``fingerprint`` is kept in the configuration; ValueError when that of a saved captioner differs.
    """

    low_confidence = 0.25  # of the mean word; not calibrated

    def __init__(
        self,
        vocabulary,
        encoder,
        width=256,
        heads=8,
        encoder_layers=1,
        decoder_layers=3,
        dropout=0.3,
        max_length=30,
        fine_tune=False,
        fingerprint=None,
    ):
        from mmcourse.photographs import load_encoder

        super().__init__(
            vocabulary,
            width,
            heads,
            encoder_layers,
            decoder_layers,
            dropout=dropout,
            max_length=max_length,
        )
        sight = load_encoder(encoder)
        if fingerprint not in (None, sight.fingerprint):
            raise ValueError(
                f"the encoder {encoder!r} is not the one it was trained with: weights or preprocessing "
                f"have the fingerprint {sight.fingerprint}, expected {fingerprint}"
            )
        self._hub_mixin_config["fingerprint"] = sight.fingerprint
        self.sight = (
            sight if fine_tune else [sight.requires_grad_(False)]
        )  # what is in a list is no part of the model
        with torch.no_grad():
            cells, channels = sight(torch.zeros(1, 3, sight.size, sight.size)).shape[1:]
        self.image_size = sight.size
        self.eye = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, width))
        self.places = grid_positions(math.isqrt(cells), width)
        del self.grid, self.naming

    @property
    def pretrained(self):
        """The encoder, a :class:`~mmcourse.photographs.PretrainedEncoder`."""
        return self.sight[0] if isinstance(self.sight, list) else self.sight

    def train(self, mode=True):
        """As in PyTorch, but the encoder keeps the statistics of its normalisation, also while it is trained."""
        super().train(mode).pretrained.eval()
        return self

    def load(self, pictures):
        return torch.stack([self.pretrained.prepare(one) for one in pictures])

    def encode(self, inputs):
        """Turn prepared pictures (B, 3, S, S), or features (B, N, C) computed before, into the memory (B, N, D)."""
        inputs = inputs.to(self.places.device)
        features = self.pretrained.to(inputs.device)(inputs) if inputs.dim() == 4 else inputs
        return self.encoder(self.eye(features) + self.places)

    def collate(self, samples):
        """A training batch of pairs: what :meth:`encode` takes for a picture, and a caption."""
        inputs, captions = zip(*samples, strict=True)
        tokens = [torch.tensor(self.tokenize(text)) for text in captions]
        return {
            "inputs": torch.stack(inputs),
            "tokens": nn.utils.rnn.pad_sequence(tokens, batch_first=True, padding_value=PAD),
        }

    def terms(self, batch):
        """Mean cross-entropy of the next word. A word outside the vocabulary is read, but never to be written."""
        logits, targets = (
            self.decode(self.encode(batch["inputs"]), batch["tokens"][:, :-1]),
            batch["tokens"][:, 1:],
        )
        targets = targets.masked_fill(targets == UNKNOWN, PAD)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=PAD)[None]

    def counts(self, batch):
        """Over how many words :meth:`terms` is a mean."""
        targets = batch["tokens"][:, 1:]
        return ((targets != PAD) & (targets != UNKNOWN)).sum()[None]

    def explain(self, memory, ids, log_prob):
        """As in :class:`Captioner`, but the confidence is the mean probability of a word (geometric)."""
        found = super().explain(memory, ids, log_prob)
        return replace(found, confidence=math.exp(log_prob / len(found.tokens)))


def read_config(name, **options):
    """What ``config.json`` holds in a folder or on the hub; ``options`` are those of a download."""
    file = (
        Path(name) / "config.json"
        if Path(name).is_dir()
        else hf_hub_download(str(name), "config.json", **options)
    )
    return json.loads(Path(file).read_text(encoding="utf-8"))


def grid_positions(side, width):
    """A parameter (1, side * side, width): sinusoids of row and column for each cell of a grid, to learn further.

    They are as strong as what is seen, else nothing learns left from right.
    """
    table = sinusoidal_positions(side, width // 2)
    return nn.Parameter(
        torch.cat([table.repeat_interleave(side, 0), table.repeat(side, 1)], -1)[None]
    )


def restyle(pixels):
    """Redraw pictures (B, 3, H, W) as other artists might: each lighter or darker, sharper or softer, some outlined."""

    def between(low, high):
        return torch.empty(len(pixels), 1, 1, 1, device=pixels.device).uniform_(low, high)

    detail = pixels - F.avg_pool2d(pixels, 3, 1, 1, count_include_pad=False)
    outline = detail.abs().amax(1, keepdim=True) * between(-1.5, 1.5).relu()
    return (pixels + between(-0.8, 1.2) * detail - outline) * between(0.8, 1.2) + between(
        -0.15, 0.15
    )


def cell_nouns(scene, stride):
    """For each cell of the grid, row by row, the number of the noun that covers its middle, and 0 for none."""
    rows, columns = (side // stride for side in scene.image.shape[:2])
    names = [noun.name for noun in nouns()]
    cells = torch.zeros(rows, columns, dtype=torch.long)
    for thing in scene.objects:
        x0, y0, x1, y1 = ((edge + stride // 2) // stride for edge in thing.box)
        cells[y0:y1, x0:x1] = 1 + names.index(thing.noun)
    return cells.flatten()
