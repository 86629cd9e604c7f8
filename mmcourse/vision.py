"""Vision: from pixels to a row of tokens that attention can look at.

Shapes: B batch, H and W height and width of the picture, N patches or cells of a grid, D width of a token.
"""

import numpy as np
import torch
from torch import nn

from mmcourse.transformer import Encoder


def to_pixels(images):
    """Turn uint8 pictures ``(B, H, W, 3)``, array or tensor, into a float tensor ``(B, 3, H, W)`` in [-1, 1].

    Raises a TypeError when the pictures are not uint8, a ValueError when they have another shape.
    """
    images = images if isinstance(images, torch.Tensor) else torch.tensor(np.asarray(images))
    if images.dtype != torch.uint8:
        raise TypeError(
            f"images must be uint8, values 0 to 255, got {images.dtype}. Try (255 * x).astype('uint8')."
        )
    if images.dim() != 4 or images.shape[-1] != 3:
        raise ValueError(
            f"images must be (B, H, W, 3), got {tuple(images.shape)}. "
            "Pass one picture as image[None], and a grey or transparent one converted to RGB."
        )
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


class PatchEmbedding(nn.Module):
    """Cut a square picture into square patches and project each: ``(B, channels, H, W)`` to ``(B, N, D)``, row by row.

    A convolution whose stride is its width is one linear map of every patch (Dosovitskiy et al. 2021, equation 1).
    ``patch`` must divide ``image_size`` (ValueError otherwise); both are in pixels.
    """

    def __init__(self, image_size, patch, width, channels=3):
        super().__init__()
        if patch < 1 or image_size % patch:
            raise ValueError(
                f"patch must divide image_size, got patch {patch} and image_size {image_size}."
            )
        self.shape, self.patches = (channels, image_size, image_size), (image_size // patch) ** 2
        self.projection = nn.Conv2d(channels, width, kernel_size=patch, stride=patch)

    def forward(self, images):
        if images.shape[1:] != self.shape:
            raise ValueError(
                f"images must be (B, {str(self.shape)[1:]}, got {tuple(images.shape)}. Resize them first."
            )
        return (
            self.projection(images).flatten(2).transpose(1, 2)
        )  # (B, D, rows, columns) to (B, N, D)


class VisionTransformer(nn.Module):
    """ViT (Dosovitskiy et al. 2021): patches, a class token before them, learned positions, an encoder.

    Maps ``(B, channels, H, W)`` to ``(B, 1 + N, D)`` as ``transformers.ViTModel`` does: the norms' epsilon is 1e-12.
    """

    def __init__(
        self, image_size, patch, width, layers, heads, hidden=None, dropout=0.0, channels=3
    ):
        super().__init__()
        self.patches = PatchEmbedding(image_size, patch, width, channels)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, 1 + self.patches.patches, width))
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.dropout = nn.Dropout(dropout)
        self.encoder = Encoder(layers, width, heads, hidden, dropout, eps=1e-12)

    def forward(self, images, *, return_weights=False):
        """Encode ``images``; with ``return_weights`` also return the weights ``(B, layers, H, 1 + N, 1 + N)``."""
        x = self.patches(images)
        x = torch.cat([self.class_token.expand(len(x), -1, -1), x], 1) + self.positions
        return self.encoder(self.dropout(x), return_weights=return_weights)


class ResidualBlock(nn.Module):
    """``x + conv(act(norm(conv(act(norm(x))))))``: two 3 x 3 convolutions that learn a change (He et al. 2016)."""

    def __init__(self, channels):
        super().__init__()
        self.change = nn.Sequential(
            *(
                layer
                for _ in range(2)
                for layer in (
                    nn.GroupNorm(8, channels),
                    nn.GELU(),
                    nn.Conv2d(channels, channels, 3, padding=1),
                )
            )
        )

    def forward(self, x):
        return x + self.change(x)


class ConvEncoder(nn.Module):
    """A small residual network whose last grid becomes tokens: ``(B, 3, H, W)`` to ``(B, N, D)``, row by row.

    Every stage halves the height and the width and ends with its number of ``blocks``, so N is ``H * W / 4 ** stages``.
    ValueError unless ``channels`` and ``blocks`` are equally long, and H and W multiples of ``2 ** stages``.
    """

    def __init__(self, width, channels=(32, 64, 128), blocks=(0, 1, 2)):
        super().__init__()
        stages, self.stride = [], 2 ** len(channels)
        for before, after, depth in zip((3, *channels[:-1]), channels, blocks, strict=True):
            stages += [
                nn.Conv2d(
                    before,
                    after,
                    5 if before == 3 else 3,
                    stride=2,
                    padding=2 if before == 3 else 1,
                )
            ]
            stages += [ResidualBlock(after) for _ in range(depth)]
        self.stages = nn.Sequential(*stages, nn.GroupNorm(8, channels[-1]), nn.GELU())
        self.projection = nn.Linear(channels[-1], width)

    def forward(self, images):
        if images.shape[-1] % self.stride or images.shape[-2] % self.stride:
            raise ValueError(
                f"height and width must be multiples of {self.stride}, got {tuple(images.shape[-2:])}."
            )
        return self.projection(self.stages(images).flatten(2).transpose(1, 2))
