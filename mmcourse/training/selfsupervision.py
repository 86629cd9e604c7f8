"""Learning from pictures that nobody has labelled: rebuild what is hidden, or believe one's own answers.

Shapes: B batch, N patches, P side of a patch, C channels, D width of a token.
"""

import torch
import torch.nn.functional as F
from torch import nn

from mmcourse.transformer import Encoder, sinusoidal_positions

NO_LABEL = -100  # what torch.nn.functional.cross_entropy leaves out


def pixels_of_patches(images, patch):
    """Cut pictures (B, C, H, W) into the pixels of their patches, row by row: (B, N, C * P * P)."""
    return F.unfold(images, patch, stride=patch).transpose(1, 2)


class MaskedAutoencoder(nn.Module):
    """Hide most patches of a picture and paint them from the others (He et al. 2022).

    ``encoder``, a :class:`~mmcourse.vision.VisionTransformer`, sees the visible patches only, and is what one keeps
    afterwards. A small decoder (``width``, ``layers``, ``heads``) sees its tokens, and one learned token in each place
    that is hidden. ``hidden`` is the share of patches to hide; ValueError unless at least one is hidden and one seen.
    """

    def __init__(self, encoder, hidden=0.75, width=32, layers=1, heads=4):
        super().__init__()
        count, side = encoder.patches.patches, encoder.patches.projection.kernel_size[0]
        self.encoder, self.patch, self.seen = encoder, side, round(count * (1 - hidden))
        if not 0 < self.seen < count:
            raise ValueError(
                f"hidden must leave 1 to {count - 1} of {count} patches, got {hidden}, which leaves "
                f"{self.seen}. Take 0.75, or smaller patches."
            )
        self.narrow = nn.Linear(encoder.class_token.shape[-1], width)
        self.mask_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.positions = nn.Parameter(sinusoidal_positions(1 + count, width)[None])
        self.decoder = Encoder(layers, width, heads)
        self.output = nn.Linear(width, encoder.patches.projection.weight[0].numel())

    def forward(self, images, noise=None):
        """Paint the patches of ``images`` (B, C, H, W): (B, N, C * P * P), and which were hidden, boolean (B, N).

        Those with the smallest ``noise`` (B, N) are seen; it is random unless given.
        """
        tokens = self.encoder.patches(images) + self.encoder.positions[:, 1:]  # (B, N, D)
        noise = torch.rand(tokens.shape[:2], device=tokens.device) if noise is None else noise
        seen = noise.argsort(1)[:, : self.seen, None]  # (B, seen, 1)
        first = (self.encoder.class_token + self.encoder.positions[:, :1]).expand(
            len(tokens), -1, -1
        )
        tokens = torch.cat([first, tokens.gather(1, seen.expand(-1, -1, tokens.shape[-1]))], 1)
        x = self.narrow(self.encoder.encoder(tokens))  # (B, 1 + seen, width)
        places = self.mask_token.expand(*noise.shape, -1).scatter(
            1, seen.expand(-1, -1, x.shape[-1]), x[:, 1:]
        )
        x = self.decoder(torch.cat([x[:, :1], places], 1) + self.positions)  # (B, 1 + N, width)
        return self.output(x[:, 1:]), torch.ones_like(noise, dtype=torch.bool).scatter(
            1, seen[..., 0], False
        )

    def loss(self, images, noise=None):
        """Mean squared error of the hidden patches' pixels, each patch first brought to mean 0 and variance 1."""
        painted, hidden = self(images, noise)
        truth = pixels_of_patches(images, self.patch)
        truth = (truth - truth.mean(-1, keepdim=True)) / (truth.var(-1, keepdim=True) + 1e-6).sqrt()
        return (painted - truth).square().mean(-1)[hidden].mean()


def pseudo_labels(logits, confidence=0.0):
    """The most probable class of each row of ``logits`` (B, classes): (B,) (Lee 2013, equation 14).

    ``NO_LABEL`` where its probability is below ``confidence``, an addition of Sohn et al. 2020.
    """
    probability, label = logits.softmax(-1).max(-1)
    return label.masked_fill(probability < confidence, NO_LABEL)


def pseudo_weight(step, first, last, final=3.0):
    """What pseudo-labels count: 0 until step ``first``, ``final`` from ``last`` on, a line between (equation 16)."""
    return final * min(max((step - first) / (last - first), 0.0), 1.0)


def semi_supervised_loss(logits, labels, unlabelled, pseudo, weight):
    """Cross-entropy of labels plus ``weight`` times that of pseudo-labels (Lee 2013, equation 15).

    ``logits`` (B, classes) with ``labels`` (B,), ``unlabelled`` (B', classes) with ``pseudo`` (B',). The second is a
    mean over all B', so the more have ``NO_LABEL``, the less it counts.
    """
    second = F.cross_entropy(unlabelled, pseudo, ignore_index=NO_LABEL, reduction="sum") / len(
        pseudo
    )
    return F.cross_entropy(logits, labels) + weight * second
