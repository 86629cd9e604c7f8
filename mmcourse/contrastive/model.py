"""The course's own CLIP.

Shapes: B batch, N cells of the grid, T words, E numbers of an embedding.
"""

import math
import re

import numpy as np
import torch
from torch import nn

from mmcourse.contrastive.dual import DualEncoder
from mmcourse.contrastive.losses import clip_loss, unit
from mmcourse.contrastive.pretrained import from_transformers
from mmcourse.contrastive.towers import PAD, GridTower, SidePool, SideReader, WordTower
from mmcourse.data.pictures import load_picture
from mmcourse.vision import to_pixels
from mmcourse.weights import SavedModel

SIDE_READER = (64, 2, 4)  # width, layers and heads of what reads a text for its sides
FIRST_SCALE = 1 / 0.07  # CLIP's temperature at the start (Radford et al. 2021, section 2.5)


class CLIP(DualEncoder, SavedModel):
    """The course's own CLIP, for drawn scenes and their captions.

    ``vocabulary`` is a list of words, ``image_size`` a multiple of 8 pixels, ``width`` a multiple
    of 4 that ``heads`` divides, ``embedding`` the numbers E of an embedding; ``probes`` are those
    of :class:`~mmcourse.contrastive.towers.AttentionPool`, ``channels`` and ``blocks`` those of
    :class:`~mmcourse.vision.ConvEncoder`. ``max_length`` is the most words that it reads. With
    ``sides`` above 0 an embedding has so many further numbers for each of four sides, left, right,
    above and below, of the picture and of what a text says.
    """

    def __init__(
        self,
        vocabulary,
        width=128,
        heads=4,
        image_layers=2,
        text_layers=3,
        embedding=256,
        probes=4,
        image_size=64,
        channels=(32, 64, 128),
        blocks=(0, 1, 2),
        concepts=326,
        max_length=32,
        sides=0,
    ):
        super().__init__()
        self.words = ["<pad>", *vocabulary]
        self.ids = {word: number for number, word in enumerate(self.words)}
        self.image_size = image_size
        self.max_length = max_length
        self.image_tower = GridTower(
            image_size, width, heads, image_layers, embedding, probes, channels, blocks, concepts
        )
        self.text_tower = WordTower(
            len(self.words), width, heads, text_layers, embedding, probes, max_length
        )
        self.log_scale = nn.Parameter(torch.tensor(math.log(FIRST_SCALE)))
        self.has_sides = sides > 0
        if self.has_sides:
            side = image_size // self.image_tower.convolutions.stride
            self.image_sides = SidePool(side, width, sides)
            self.text_sides = SideReader(len(self.words), *SIDE_READER, max_length, sides)
            self.side_weight = nn.Parameter(torch.tensor(0.5))

    def without_sides(self):
        """A copy without places for sides: of ``clip``, the model from before they were trained."""
        plain = CLIP(**(self._hub_mixin_config | {"sides": 0}))
        kept = plain.state_dict().keys()
        state = self.state_dict()
        plain.load_state_dict({name: state[name] for name in kept})
        return plain.train(self.training)

    def encode_image(self, pixels):
        """Embeddings ``(B, E)`` of length 1 of what :meth:`prepare` gives.

        ValueError for pictures that are not as large as the model's.
        """
        side = self.image_size
        if pixels.shape[2:] != (side, side):
            raise ValueError(
                f"pictures must have {side} x {side} pixels, got {tuple(pixels.shape[2:])}: "
                "prepare() makes them fit"
            )
        pixels = pixels.to(self.device, self.log_scale.dtype)
        tokens = self.image_tower.tokens(pixels)  # (B, N, D)
        whole = self.image_tower.pool(tokens)
        if not self.has_sides:
            return unit(whole)
        return self.join(whole, self.image_sides(tokens))

    def encode_text(self, tokens):
        """Embeddings ``(B, E)`` of length 1 of what :meth:`tokenize` gives."""
        tokens = tokens.to(self.device)
        whole = self.text_tower(tokens)
        if not self.has_sides:
            return unit(whole)
        return self.join(whole, self.text_sides(tokens))

    def join(self, whole, sides):
        """One embedding of ``whole`` ``(B, E)`` and of the four ``sides`` ``(B, 4, E)``.

        The cosine of two such is a mean of the cosines of their parts, in which all sides together
        weigh ``side_weight`` squared, and the whole 1.
        """
        four = self.side_weight * sides.flatten(1) / 2  # of length side_weight
        return unit(torch.cat([unit(whole), four], 1))

    @classmethod
    def sizes_in(cls, shapes):
        """As in :class:`~mmcourse.weights.SavedModel`."""
        return {
            "vocabulary": shapes["text_tower.encoder.embedding.weight"][0] - 1,
            "width": shapes["text_tower.encoder.embedding.weight"][1],
            "max_length": shapes["text_tower.encoder.positions.weight"][0],
            "probes": shapes["image_tower.pool.probes"][1],
            "embedding": shapes["image_tower.pool.projection.weight"][0],
            "concepts": shapes["image_tower.concepts.keys.weight"][0],
            "image_layers": count_layers(shapes, "image_tower.encoder.layers."),
            "text_layers": count_layers(shapes, "text_tower.encoder.layers."),
            "sides": shapes.get("image_sides.projection.weight", (0,))[0],
        }

    @staticmethod
    def from_transformers(name):
        """A CLIP or SigLIP checkpoint of ``transformers`` in layers of the course.

        See :func:`mmcourse.contrastive.pretrained.from_transformers`.
        """
        return from_transformers(name)

    def prepare(self, pictures):
        """A list of pictures as pixels ``(B, 3, H, W)``; errors are those of ``load_picture``."""
        images = np.stack([load_picture(picture, self.image_size) for picture in pictures])
        return to_pixels(images)

    def split(self, text):
        """The words of a text that the model knows, and those that it does not: two lists."""
        words = re.findall(r"\w+(?:['-]\w+)*|,", text.lower())
        known = [word for word in words if word in self.ids]
        unknown = [word for word in words if word not in self.ids and word != ","]
        return known, unknown

    def tokenize(self, texts):
        """Token numbers ``(B, T)`` of a list of texts, filled up with PAD.

        Unknown words are left out, and what is longer than ``max_length`` is cut. Raises ValueError
        for a text of which no word is left.
        """
        if isinstance(texts, str):
            raise TypeError(f"expected a list of texts, got the text {texts!r}: put it in a list")
        rows = []
        for text in texts:
            known, _ = self.split(text)
            if not known:
                raise ValueError(
                    f"expected a text with words that the model knows, got {text!r}: it knows the "
                    f"{len(self.words) - 1} words of the scenes, as 'two red cars in the snow'"
                )
            rows.append(torch.tensor([self.ids[word] for word in known[: self.max_length]]))
        return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)

    def loss(self, images, tokens, **options):
        """:func:`clip_loss` of uint8 pictures ``(B, H, W, 3)`` and token numbers ``(B, T)``."""
        image = self.encode_image(to_pixels(images))
        text = self.encode_text(tokens)
        return clip_loss(image, text, self.scale(), **options)


def count_layers(shapes, prefix):
    """How many numbered layers the names of tensors have after a prefix."""
    rests = [name.removeprefix(prefix) for name in shapes if name.startswith(prefix)]
    return len({rest.split(".")[0] for rest in rests})
