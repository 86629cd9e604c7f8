"""The captioner of photographs: in the place of convolutions, a pretrained encoder.

Shapes: B batch, S side of a picture in pixels, N cells of the grid, C numbers that the encoder has
for each, D width.
"""

import math

import torch
from torch import nn

from mmcourse.captioning import Captioner
from mmcourse.photographs.loading import load_encoder


class PhotographCaptioner(Captioner):
    """A captioner that sees with a pretrained encoder; a projector fits its features to the width.

    ``encoder`` is what :func:`~mmcourse.photographs.load_encoder` takes. It stays as it is and is
    not saved, unless ``fine_tune``. Its ``fingerprint`` is kept in the configuration; ValueError
    when that of a saved captioner differs.
    """

    former_names = {"eye.": "projector.", "places": "grid_positions", "sight.": "pretrained."}

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
        pretrained = load_encoder(encoder)
        if fingerprint not in (None, pretrained.fingerprint):
            raise ValueError(
                f"the encoder {encoder!r} is not the one it was trained with: weights or "
                f"preprocessing have the fingerprint {pretrained.fingerprint}, "
                f"expected {fingerprint}"
            )
        cells, channels = pretrained.grid_shape()
        side = math.isqrt(cells)
        super().__init__(
            vocabulary, side, width, heads, encoder_layers, decoder_layers, dropout, max_length
        )
        self._hub_mixin_config["fingerprint"] = pretrained.fingerprint
        self.image_size = pretrained.size
        self.fine_tune = fine_tune
        if fine_tune:
            self.pretrained = pretrained  # a part of the model: trained and saved
        else:
            pretrained.requires_grad_(False)
            object.__setattr__(self, "pretrained", pretrained)  # known to us, not to PyTorch
        self.projector = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, width))
        self.initialise()

    def train(self, mode=True):
        """As in PyTorch, but the encoder keeps the statistics of its normalisation.

        That holds also while it is trained.
        """
        super().train(mode)
        self.pretrained.eval()
        return self

    def view(self, picture):
        """As in :class:`~mmcourse.captioning.Captioner`; an encoder may not see the edges."""
        return self.pretrained.view(picture)

    def prepare(self, pictures):
        """A list of pictures (path, PIL picture or uint8 array) as the encoder wants them.

        Gives one batch, (B, 3, S, S).
        """
        return torch.stack([self.pretrained.prepare(picture) for picture in pictures])

    def encode(self, inputs):
        """The memory (B, N, D) of prepared pictures (B, 3, S, S).

        Features (B, N, C) that were computed before may stand in the pictures' place.
        """
        features = inputs.to(self.device)
        if inputs.dim() == 4:
            pretrained = self.pretrained.to(self.device)
            kind = next(pretrained.parameters()).dtype
            features = pretrained(features.to(kind))  # (B, N, C)
        features = features.to(self.dtype)
        return self.encoder(self.projector(features) + self.grid_positions)
