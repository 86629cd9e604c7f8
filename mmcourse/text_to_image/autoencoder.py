"""Autoencoders: 64 x 64 pixels become 8 x 8 cells of a few numbers each, and pixels again.

Letters: B batch, H and W rows and columns of pixels, N cells, C channels of a cell.
"""

import torch
import torch.nn.functional as F
from torch import nn

from mmcourse.text_to_image.quantizer import VectorQuantizer
from mmcourse.vision import ResidualBlock, to_pixels
from mmcourse.weights import SavedModel

STRIDE = 8  # pixels of a cell's side


class PictureDecoder(nn.Module):
    """Cells (B, C, rows, columns) as pixels (B, 3, 8 rows, 8 columns).

    A linear map of each cell, and convolutions, which see its neighbours, correct what it makes.
    """

    def __init__(self, channels, width):
        super().__init__()
        half = width // 3
        self.linear = nn.ConvTranspose2d(channels, 3, STRIDE, stride=STRIDE)
        self.correction = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1),
            ResidualBlock(width),
            nn.Conv2d(width, 4 * half, 1),
            nn.PixelShuffle(2),  # four channels become the four cells of one
            ResidualBlock(half),
            nn.GroupNorm(8, half),
            nn.GELU(),
            nn.Conv2d(half, 16 * 3, 3, padding=1),
            nn.PixelShuffle(4),
        )
        nn.init.zeros_(self.correction[-2].weight)
        nn.init.zeros_(self.correction[-2].bias)

    def forward(self, cells):
        return self.linear(cells) + self.correction(cells)


class Autoencoder(SavedModel):
    """Pictures (B, 3, H, W) in [-1, 1] as latents (B, C, H / 8, W / 8), and back.

    The encoder is a linear map of each cell, which :meth:`fit_cells` finds without training. The
    decoder, of this ``width``, is trained, with ``noise`` on the latents so that near ones are
    decoded alike.
    """

    def __init__(self, channels=48, width=96, noise=0.1):
        super().__init__()
        self.noise = noise
        self.encoder = nn.Conv2d(3, channels, STRIDE, stride=STRIDE)
        self.encoder.requires_grad_(False)
        self.decoder = PictureDecoder(channels, width)

    @classmethod
    def sizes_in(cls, shapes):
        """As in :class:`~mmcourse.weights.SavedModel`."""
        return {
            "channels": shapes["encoder.weight"][0],
            "width": shapes["decoder.correction.0.weight"][0],
        }

    @torch.no_grad()
    def fit_cells(self, images, weights):
        """Make encoder and decoder the principal components of the cells of pictures.

        ``images`` are uint8 (B, H, W, 3); ``weights`` (B, N) say how much each cell counts. A
        component that spreads s times as far as another is root s times as strong in the latents,
        whose mean square is 1: the strong ones lead, the weak ones are not drowned.
        """
        cells = cut_into_cells(to_pixels(images)).flatten(0, 1).double()  # (M, 192)
        weights = weights.flatten().double()[:, None]  # (M, 1)
        moments = (weights * cells).T @ cells / weights.sum()  # (192, 192), around grey
        variances, directions = torch.linalg.eigh(moments)  # the least first
        channels = len(self.encoder.weight)
        spread = variances.flip(0)[:channels].clamp(min=1e-8).sqrt()  # (C,)
        directions = directions.flip(1)[:, :channels]  # (192, C)
        signs = directions.sum(0).sign()
        directions = directions * torch.where(signs == 0, 1.0, signs)
        strength = (spread * spread.mean()).sqrt()  # what one latent unit is in pixels
        encoder = (directions / strength).T  # (C, 192)
        decoder = (directions * strength).T  # (C, 192)
        self.encoder.weight.copy_(encoder.view_as(self.encoder.weight))
        self.encoder.bias.zero_()
        self.decoder.linear.weight.copy_(decoder.view_as(self.decoder.linear.weight))
        self.decoder.linear.bias.zero_()
        return self

    def encode(self, pixels):
        """Latents (B, C, H / 8, W / 8) of pictures (B, 3, H, W) in [-1, 1].

        ValueError where the sides are no multiples of 8.
        """
        check_pixels(pixels)
        return self.encoder(pixels)

    def decode(self, latents):
        """Pictures (B, 3, H, W) of latents (B, C, H / 8, W / 8)."""
        return self.decoder(latents)

    def forward(self, pixels):
        """What comes back, (B, 3, H, W)."""
        latents = self.encode(pixels)
        if self.training:
            latents = latents + self.noise * torch.randn_like(latents)
        return self.decode(latents)

    def loss(self, images, weights):
        """How far from uint8 pictures (B, H, W, 3) is what comes back, see ``distance``."""
        pixels = to_pixels(images)
        return distance(self(pixels), pixels, weights)


class CodeAutoencoder(SavedModel):
    """An autoencoder whose cells are codes: pictures become tokens (van den Oord et al. 2017).

    ``codes`` is how many there are, ``channels`` how long each is, ``quantizer`` the other
    arguments of its :class:`VectorQuantizer`. A batch norm without scale and shift normalises the
    channels before they are compared with the codes.
    """

    def __init__(self, codes=512, channels=16, width=48, quantizer=None):
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, width, 8, stride=8),
            ResidualBlock(width),
            nn.GroupNorm(8, width),
            nn.GELU(),
            nn.Conv2d(width, channels, 1),
            nn.BatchNorm2d(channels, affine=False),
        )
        self.quantizer = VectorQuantizer(codes, channels, **(quantizer or {}))
        self.decoder = PictureDecoder(channels, width)

    @classmethod
    def sizes_in(cls, shapes):
        """As in :class:`~mmcourse.weights.SavedModel`."""
        codes, channels = shapes["quantizer.codebook"]
        return {"codes": codes, "channels": channels, "width": shapes["encoder.0.weight"][0]}

    def tokens(self, pixels):
        """The number of the code of each cell, (B, H / 8, W / 8), of pictures (B, 3, H, W)."""
        check_pixels(pixels)
        return self.quantizer.tokens(self.encoder(pixels).movedim(1, -1))

    def decode(self, tokens):
        """Pictures (B, 3, H, W) of the numbers of codes (B, H / 8, W / 8)."""
        return self.decoder(self.quantizer.look_up(tokens).movedim(-1, 1))

    def forward(self, pixels):
        """What comes back (B, 3, H, W), the tokens, and the commitment loss."""
        check_pixels(pixels)
        z = self.encoder(pixels).movedim(1, -1)  # (B, H / 8, W / 8, C)
        codes, tokens, commitment = self.quantizer(z)
        return self.decoder(codes.movedim(-1, 1)), tokens, commitment

    def loss(self, images, weights):
        """How far what comes back is from uint8 pictures (B, H, W, 3), and the commitment loss."""
        pixels = to_pixels(images)
        found, _, commitment = self(pixels)
        return distance(found, pixels, weights) + commitment


def distance(found, pixels, weights):
    """Mean absolute plus mean squared error of pictures (B, 3, H, W), by ``weights`` (B, N).

    A cell of weight 2 counts twice as much as one of weight 1.
    """
    error = cut_into_cells(found - pixels)  # (B, N, 192)
    each = (error.abs() + error.square()).mean(-1)  # (B, N)
    return (weights * each).sum() / weights.sum()


def cut_into_cells(pixels):
    """The cells of pictures (B, C, H, W), row by row: (B, N, 64 C)."""
    return F.unfold(pixels, STRIDE, stride=STRIDE).transpose(1, 2)


def check_pixels(pixels):
    """ValueError unless pictures are (B, 3, H, W) with sides that are multiples of 8."""
    if pixels.dim() != 4 or pixels.shape[1] != 3 or any(n % STRIDE for n in pixels.shape[2:]):
        raise ValueError(
            f"expected pictures (B, 3, H, W) with sides that are multiples of {STRIDE}, "
            f"got {tuple(pixels.shape)}: to_pixels() turns uint8 ones"
        )


def to_images(pixels):
    """Turn pictures (B, 3, H, W) in [-1, 1] into uint8 (B, H, W, 3); what lies outside is cut."""
    values = ((pixels.clamp(-1, 1) + 1) * 127.5).round()
    return values.to(torch.uint8).movedim(1, -1)
