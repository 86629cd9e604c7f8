"""Vision: from pixels to a row of tokens that attention can look at.

Shapes: B batch, H and W height and width of the picture, N patches or cells of a grid, D width of a
token.
"""

import numpy as np
import torch
from torch import nn

from mmcourse.transformer import Encoder


def to_pixels(images):
    """Turn uint8 pictures ``(B, H, W, 3)`` into a float tensor ``(B, 3, H, W)`` in [-1, 1].

    ``images`` is an array, a tensor or a list of arrays. Raises a TypeError when the pictures are
    not uint8, a ValueError when they have another shape.
    """
    if not isinstance(images, torch.Tensor):
        images = torch.tensor(np.asarray(images))
    if images.dtype != torch.uint8:
        raise TypeError(
            f"images must be uint8, values 0 to 255, got {images.dtype}. "
            "Try (255 * x).astype('uint8')."
        )
    if images.dim() != 4 or images.shape[-1] != 3:
        raise ValueError(
            f"images must be (B, H, W, 3), got {tuple(images.shape)}. "
            "Pass one picture as image[None], and a grey or transparent one converted to RGB."
        )
    pixels = images.permute(0, 3, 1, 2).float()  # (B, 3, H, W)
    return pixels / 127.5 - 1


class PatchEmbedding(nn.Module):
    """Cut a square picture into square patches and project each, row by row.

    Maps ``(B, channels, H, W)`` to ``(B, N, D)``. A convolution whose stride is its width is one
    linear map of every patch (Dosovitskiy et al. 2021, equation 1). ``patch`` must divide
    ``image_size`` (ValueError otherwise); both are in pixels.
    """

    def __init__(self, image_size, patch, width, channels=3):
        super().__init__()
        if patch < 1 or image_size % patch:
            raise ValueError(
                f"patch must divide image_size, got patch {patch} and image_size {image_size}."
            )
        self.shape = (channels, image_size, image_size)
        self.patches = (image_size // patch) ** 2
        self.projection = nn.Conv2d(channels, width, kernel_size=patch, stride=patch)

    def forward(self, images):
        if images.shape[1:] != self.shape:
            expected = ", ".join(map(str, self.shape))
            raise ValueError(
                f"images must be (B, {expected}), got {tuple(images.shape)}. Resize them first."
            )
        grid = self.projection(images)  # (B, D, rows, columns)
        return as_tokens(grid)


class VisionTransformer(nn.Module):
    """ViT (Dosovitskiy et al. 2021): patches, a class token before them, positions, an encoder.

    Maps ``(B, channels, H, W)`` to ``(B, 1 + N, D)`` as ``transformers.ViTModel`` does. The
    positions are learned; the norms' epsilon is 1e-12.
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
        """Encode ``images``; with ``return_weights`` also ``(B, layers, H, 1 + N, 1 + N)``."""
        patches = self.patches(images)  # (B, N, D)
        class_token = self.class_token.expand(len(images), -1, -1)  # (B, 1, D)
        x = torch.cat([class_token, patches], 1)  # (B, 1 + N, D)
        x = self.dropout(x + self.positions)
        return self.encoder(x, return_weights=return_weights)


class ResidualBlock(nn.Module):
    """``x + conv(act(norm(conv(act(norm(x))))))``: two 3 x 3 convolutions that learn a change.

    The order is that of *Identity Mappings in Deep Residual Networks* (He et al. 2016b), with group
    norm and GELU for its batch norm and ReLU: ``(B, channels, H, W)`` to the same.
    """

    def __init__(self, channels):
        super().__init__()
        self.change = nn.Sequential(
            nn.GroupNorm(8, channels),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(8, channels),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x):
        return x + self.change(x)


class ConvEncoder(nn.Module):
    """A small residual network whose last grid becomes tokens, row by row.

    Maps ``(B, 3, H, W)`` to ``(B, N, D)``. Every stage halves the height and the width and ends
    with its number of ``blocks``, so N is ``H * W / 4 ** stages``. ValueError unless ``channels``
    and ``blocks`` are equally long, and H and W multiples of ``2 ** stages``.
    """

    def __init__(self, width, channels=(32, 64, 128), blocks=(0, 1, 2)):
        super().__init__()
        self.stride = 2 ** len(channels)
        layers = []
        before = 3  # the colours
        for after, depth in zip(channels, blocks, strict=True):
            kernel = 5 if before == 3 else 3
            layers.append(nn.Conv2d(before, after, kernel, stride=2, padding=kernel // 2))
            for _ in range(depth):
                layers.append(ResidualBlock(after))
            before = after
        self.stages = nn.Sequential(*layers, nn.GroupNorm(8, before), nn.GELU())
        self.projection = nn.Linear(before, width)

    def forward(self, images):
        height, width = images.shape[-2:]
        if height % self.stride or width % self.stride:
            raise ValueError(
                f"height and width must be multiples of {self.stride}, got {(height, width)}."
            )
        grid = self.stages(images)  # (B, channels, rows, columns)
        return self.projection(as_tokens(grid))


def as_tokens(grid):
    """Read a grid ``(B, C, rows, columns)`` row by row: ``(B, N, C)``."""
    return grid.flatten(2).transpose(1, 2)
