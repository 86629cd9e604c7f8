"""A language model that sees: an encoder of pictures, a bridge, and what it had read before.

Letters are those of :mod:`mmcourse.vlm`.
"""

from functools import partial

import torch
from torch import nn

from mmcourse import decoding
from mmcourse.gpt import next_token_loss, pad
from mmcourse.gpt.language_model import check_ids
from mmcourse.vlm.bridges import GatedBridge, check_width
from mmcourse.vlm.pretrained import load_llava

PICTURE = -200  # an id that no vocabulary has: here stands a picture


class GatedLayer(nn.Module):
    """A layer of a language model, and before it a gated look at the picture.

    ``cells`` (B, N, D_in) is what :class:`VLM` sets before each reading, None for text alone.
    """

    def __init__(self, look, layer):
        super().__init__()
        self.look = look
        self.layer = layer
        self.cells = None

    def forward(self, x, *options, cache=None):
        """Map ``x`` (B, T, D); the ``options`` are those of the layer."""
        own = cross = None
        if cache is not None:
            own = cache.setdefault("self", {})
            cross = cache.setdefault("cross", {})  # the rows of a picture share it
        if self.cells is not None:
            x = self.look(x, self.cells, cache=cross)
        return self.layer(x, *options, cache=own)


class VLM(nn.Module):
    """An ``encoder`` of pictures, a ``bridge``, and a ``language`` model, joined.

    The encoder has ``encode(pictures) -> (P, N, D_in)``; it may be None where cells are given. A
    :class:`Projector` or a :class:`QueryTransformer` makes K vectors of each picture, which stand
    in the text, where it has the id ``picture`` K times (:meth:`expand`). A :class:`GatedBridge` is
    built into the layers of the language model, which is changed in place, and the text has no such
    id. ValueError where the bridge and the language model have different widths.
    """

    def __init__(self, encoder, bridge, language, *, picture=PICTURE):
        super().__init__()
        width = language.embedding.embedding_dim
        if bridge.width != width:
            raise ValueError(
                f"the parts do not fit: the bridge gives vectors of width {bridge.width}, the "
                f"language model reads width {width}. Make a bridge with width={width}"
            )
        self.encoder = encoder
        self.bridge = bridge
        self.language = language
        self.picture = picture
        self.is_gated = isinstance(bridge, GatedBridge)
        if self.is_gated:
            self.build_in(bridge)

    @classmethod
    def from_transformers(cls, name):
        """A LLaVA of ``transformers``: see :func:`mmcourse.vlm.pretrained.load_llava`."""
        return load_llava(name, cls)

    def build_in(self, bridge):
        """Put a look at the picture before each layer. ValueError where their numbers differ."""
        layers = self.language.layers
        if any(isinstance(layer, GatedLayer) for layer in layers):
            raise ValueError(
                "the language model has gated layers already: load it anew for another bridge"
            )
        if len(layers) != len(bridge.layers):
            raise ValueError(
                f"the parts do not fit: the bridge has {len(bridge.layers)} gated layers, the "
                f"language model {len(layers)} layers"
            )
        pairs = zip(bridge.layers, layers, strict=True)
        self.language.layers = nn.ModuleList(GatedLayer(look, layer) for look, layer in pairs)

    def encode(self, pictures):
        """What the encoder makes of pictures: cells (P, N, D_in)."""
        with torch.no_grad():
            return self.encoder.encode(pictures)

    # ---- reading

    def expand(self, row, vectors):
        """A list of ids with each picture's id as often as it has ``vectors``, K."""
        found = []
        for token in row:
            found += [token] * (vectors if token == self.picture else 1)
        return found

    def embed(self, ids, cells=None):
        """Vectors (B, T, D) of ids (B, T), the pictures ``cells`` (P, N, D_in) in their places.

        Pictures come in the order of the places, row by row. ValueError where the ids have more
        places than there are vectors, or fewer.
        """
        here = ids == self.picture  # (B, T)
        places = int(here.sum())
        if cells is None:
            if places:
                raise ValueError(
                    f"the text has {places} places for a picture, but no picture was given: "
                    "pass cells, or take the picture's id out of the prompt"
                )
            check_ids(ids, self.language.embedding.num_embeddings)
            return self.language.embedding(ids)
        vectors = self.bridge(cells)  # (P, K, D)
        pictures, each, _ = vectors.shape
        if places != pictures * each:
            raise ValueError(
                f"{pictures} pictures of {each} vectors need {pictures * each} places in the text, "
                f"got {places}: write the picture's id ({self.picture}) once for each picture and "
                "expand() the prompt once"
            )
        if (here.sum(1) % each).any():
            raise ValueError(
                f"the rows have {here.sum(1).tolist()} places, but a picture has {each} vectors "
                "and stands in one row: expand() each prompt once"
            )
        words = ids.masked_fill(here, 0)
        check_ids(words, self.language.embedding.num_embeddings)
        x = self.language.embedding(words)  # (B, T, D)
        return x.masked_scatter(here[..., None], vectors.to(x.dtype))

    def forward(self, ids, cells=None, mask=None, *, cache=None):
        """Logits (B, T, V) of the token after each of the ``ids`` (B, T).

        ``cells`` (P, N, D_in) are the pictures of the ids; with a ``cache`` they are given in the
        call that has their places. ``mask`` and ``cache`` are those of the language model.
        """
        return self.language.logits(self.hidden(ids, cells, mask, cache=cache))

    def hidden(self, ids, cells=None, mask=None, *, cache=None):
        """The states (B, T, D) from which the logits are computed. Arguments as in ``forward``."""
        try:
            x = self.show(ids, cells, cache) if self.is_gated else self.embed(ids, cells)
            return self.language.read(x, mask, cache=cache)
        finally:
            if self.is_gated:
                for layer in self.language.layers:
                    layer.cells = None  # the language model alone sees nothing

    def show(self, ids, cells, cache):
        """Vectors (B, T, D) of ids (B, T), after the gated layers were given what to look at.

        ValueError unless each row has one picture, of the bridge's width, and no place for one.
        """
        if (ids == self.picture).any():
            raise ValueError(
                "with gated cross-attention the text has no place for a picture: take the "
                f"picture's id ({self.picture}) out of the prompt"
            )
        if cells is not None:
            check_width(self.bridge, cells)
            if len(cells) != len(ids):
                raise ValueError(
                    f"each row needs one picture, got {len(ids)} rows and {len(cells)} pictures"
                )
        if cache is not None and cells is not None:
            cache["cross"] = {"cells": cells}  # for later calls, which look at them again
        elif cache is not None:
            cells = cache.get("cross", {}).get("cells")
        for layer in self.language.layers:
            layer.cells = cells
        check_ids(ids, self.language.embedding.num_embeddings)
        return self.language.embedding(ids)

    # ---- training and writing

    def loss(self, ids, cells, mask=None, counted=None):
        """Mean cross-entropy of the tokens of ``ids`` (B, T) that are ``counted``.

        A picture is read and never predicted. Arguments as in ``forward``.
        """
        words = ids != self.picture
        counted = words if counted is None else counted & words
        if mask is not None:
            counted = counted & mask
        return next_token_loss(self(ids, cells, mask), ids.clamp(min=0), counted)

    def generate(self, prompts, cells, *, end, max_length, decode=decoding.greedy, **options):
        """Continue ``prompts``, lists of ids, about ``cells``: ``decoding.Generated``.

        Arguments as in :meth:`mmcourse.gpt.LanguageModel.generate`.
        """
        each = 1 if self.is_gated or cells is None else self.bridge(cells[:1]).shape[1]
        self.check_places(prompts, cells)
        rows = [self.expand(row, each) for row in prompts]
        device = self.language.embedding.weight.device
        ids, mask = (part.to(device) for part in pad(rows, side="left"))
        longest = ids.shape[1] + max_length - 1
        if longest > self.language.context:
            raise ValueError(
                f"a prompt of {ids.shape[1]} tokens, pictures included, and {max_length} more do "
                f"not fit into the context of {self.language.context}: take fewer vectors for a "
                "picture, or lower max_length"
            )
        step = partial(self.step, cells=cells, mask=None if mask.all() else mask)
        return decode(step, ids, end=end, max_length=max_length, **options)

    def check_places(self, prompts, cells):
        """ValueError where one prompt has two of the places, and another none."""
        counts = [row.count(self.picture) for row in prompts]
        if cells is None or not len(cells) == len(prompts) == sum(counts):
            return  # other numbers are judged by embed
        if max(counts) > 1:
            raise ValueError(
                f"as many pictures as prompts, but the prompts have {counts} places: write the "
                f"picture's id ({self.picture}) once into each, or ask prompt by prompt"
            )

    def step(self, tokens, cache, cells=None, mask=None):
        """Logits (B, V) of the next token, as the functions of :mod:`mmcourse.decoding` ask."""
        if cache:
            cells = mask = None
        states = self.hidden(tokens, cells, mask, cache=cache)
        return self.language.logits(states[:, -1])
