"""Learning from pictures without labels: rebuild what is hidden, or believe one's own answers.

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

    ``encoder``, a :class:`~mmcourse.vision.VisionTransformer`, sees the visible patches only, and
    is what one keeps afterwards. A small decoder (``width``, ``layers``, ``heads``) sees its
    tokens, and one learned token in each place that is hidden. ``hidden`` is the share of patches
    to hide; ValueError unless at least one is hidden and one seen.
    """

    def __init__(self, encoder, hidden=0.75, width=32, layers=1, heads=4):
        super().__init__()
        count = encoder.patches.patches
        projection = encoder.patches.projection
        self.seen = round(count * (1 - hidden))
        if not 0 < self.seen < count:
            raise ValueError(
                f"hidden must leave 1 to {count - 1} of {count} patches, got {hidden}, which "
                f"leaves {self.seen}. Take 0.75, or smaller patches."
            )
        self.encoder = encoder
        self.patch = projection.kernel_size[0]
        self.narrow = nn.Linear(encoder.class_token.shape[-1], width)
        self.mask_token = nn.Parameter(0.02 * torch.randn(1, 1, width))
        self.positions = nn.Parameter(sinusoidal_positions(1 + count, width)[None])
        self.decoder = Encoder(layers, width, heads)
        self.output = nn.Linear(width, projection.weight[0].numel())

    def forward(self, images, noise=None):
        """Paint the patches of ``images`` (B, C, H, W).

        Returns the pixels (B, N, C * P * P), and which patches were hidden, boolean (B, N). Those
        with the smallest ``noise`` (B, N) are seen; it is random unless given.
        """
        positions = self.encoder.positions  # (1, 1 + N, D)
        patches = self.encoder.patches(images) + positions[:, 1:]  # (B, N, D)
        batch, count, width = patches.shape
        if noise is None:
            noise = torch.rand(batch, count, device=patches.device)
        seen = noise.argsort(1)[:, : self.seen]  # (B, seen), the numbers of patches
        hidden = torch.ones_like(noise, dtype=torch.bool).scatter(1, seen, False)  # (B, N)

        first = (self.encoder.class_token + positions[:, :1]).expand(batch, -1, -1)  # (B, 1, D)
        patches = patches.gather(1, seen[..., None].expand(-1, -1, width))  # (B, seen, D)
        x = self.encoder.encoder(torch.cat([first, patches], 1))  # (B, 1 + seen, D)

        x = self.narrow(x)  # (B, 1 + seen, width of the decoder)
        first = x[:, :1]
        patches = x[:, 1:]
        places = self.mask_token.expand(batch, count, -1)  # (B, N, width of the decoder)
        places = places.scatter(1, seen[..., None].expand_as(patches), patches)
        x = self.decoder(torch.cat([first, places], 1) + self.positions)
        return self.output(x[:, 1:]), hidden

    def loss(self, images, noise=None):
        """Mean squared error of the hidden patches' pixels.

        The pixels of each patch are first brought to mean 0 and variance 1.
        """
        painted, hidden = self(images, noise)
        truth = pixels_of_patches(images, self.patch)  # (B, N, C * P * P)
        mean = truth.mean(-1, keepdim=True)
        variance = truth.var(-1, keepdim=True)
        truth = (truth - mean) / (variance + 1e-6).sqrt()
        errors = (painted - truth).square().mean(-1)  # (B, N)
        return errors[hidden].mean()


def pseudo_labels(logits, confidence=0.0):
    """The most probable class of each row of ``logits`` (B, classes): (B,) (Lee 2013, equation 14).

    ``NO_LABEL`` where its probability is below ``confidence``, an addition of Sohn et al. 2020.
    """
    probability, label = logits.softmax(-1).max(-1)
    return label.masked_fill(probability < confidence, NO_LABEL)


def pseudo_weight(step, first, last, final=3.0):
    """What pseudo-labels count (Lee 2013, equation 16).

    It is 0 until step ``first``, ``final`` from ``last`` on, and rises in a line between.
    """
    risen = (step - first) / (last - first)
    return final * min(max(risen, 0.0), 1.0)


def semi_supervised_loss(logits, labels, unlabelled, pseudo, weight):
    """Cross-entropy of labels plus ``weight`` times that of pseudo-labels (Lee 2013, equation 15).

    ``logits`` (B, classes) with ``labels`` (B,), ``unlabelled`` (B', classes) with ``pseudo``
    (B',). The second is a mean over all B', so the more have ``NO_LABEL``, the less it counts.
    """
    first = F.cross_entropy(logits, labels)
    second = F.cross_entropy(unlabelled, pseudo, ignore_index=NO_LABEL, reduction="sum")
    return first + weight * second / len(pseudo)
