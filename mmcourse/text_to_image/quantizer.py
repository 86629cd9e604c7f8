"""A vector quantizer: each vector becomes the nearest of K codes, and its number a token.

Van den Oord et al. 2017. Letters: B batch, N places, C channels of a vector, K codes.
"""

import torch
import torch.nn.functional as F
from torch import nn


def straight_through(z, quantized):
    """Return the value of ``quantized`` with the gradient of ``z``, both of one shape.

    What is rounded has no slope. We say that it has the slope of what it was rounded from.
    """
    return z + (quantized - z).detach()


class VectorQuantizer(nn.Module):
    """Replace each vector by the nearest of ``codes`` vectors of ``width`` numbers.

    The codes follow the vectors that choose them, as exponential moving averages with this
    ``decay`` (van den Oord et al. 2017, appendix A.1), in training mode only. ``commitment`` is the
    weight of the loss that keeps vectors near their codes (their equation 3, third term). With
    ``revive`` above 0, a code whose average count falls below it is put on a vector of the batch.
    """

    def __init__(self, codes, width, decay=0.99, commitment=0.25, revive=0.0):
        super().__init__()
        if codes < 2 or not 0 <= decay < 1:
            raise ValueError(
                "a quantizer needs two codes or more and a decay from 0 up to 1, "
                f"got {codes} codes and decay {decay}"
            )
        self.decay = decay
        self.commitment = commitment
        self.revive = revive
        codebook = torch.randn(codes, width)
        self.register_buffer("codebook", codebook)  # (K, C)
        self.register_buffer("counts", torch.ones(codes))  # (K,), averages
        self.register_buffer("sums", codebook.clone())  # (K, C), averages

    def tokens(self, z):
        """The number of the nearest code for each vector (..., C): a LongTensor (...)."""
        self.check(z)
        flat = z.reshape(-1, z.shape[-1])  # (M, C)
        # |z - e|^2 without |z|^2, which is the same for all codes
        distance = self.codebook.square().sum(1) - 2 * flat @ self.codebook.T  # (M, K)
        return distance.argmin(1).view(z.shape[:-1])

    def look_up(self, tokens):
        """The codes of some tokens (...): (..., C)."""
        return F.embedding(tokens, self.codebook)

    def forward(self, z):
        """Vectors (..., C) as codes, tokens (...) and the commitment loss, a number.

        The codes have the gradient of ``z``, see :func:`straight_through`.
        """
        tokens = self.tokens(z)
        if self.training:
            self.follow(z.detach(), tokens)
        quantized = self.look_up(tokens)
        loss = self.commitment * F.mse_loss(z, quantized)
        return straight_through(z, quantized), tokens, loss

    @torch.no_grad()
    def follow(self, z, tokens):
        """Move each code towards the mean of the vectors ``z`` (..., C) that chose it."""
        flat = z.reshape(-1, z.shape[-1])  # (M, C)
        chosen = F.one_hot(tokens.flatten(), len(self.codebook)).to(flat)  # (M, K)
        self.counts.lerp_(chosen.sum(0), 1 - self.decay)
        self.sums.lerp_(chosen.T @ flat, 1 - self.decay)
        if self.revive:
            self.wake(flat)
        alive = self.counts > 1e-5  # long unused codes stay where they are
        self.codebook[alive] = self.sums[alive] / self.counts[alive, None]

    def wake(self, flat):
        """Put codes that almost nothing chooses on vectors (M, C) of the batch, drawn at random."""
        idle = self.counts < self.revive
        places = torch.randint(len(flat), (int(idle.sum()),), device=flat.device)
        self.counts[idle] = self.revive
        self.sums[idle] = self.revive * flat[places]

    def check(self, z):
        """ValueError unless the last axis has the width of the codes."""
        width = self.codebook.shape[1]
        if z.shape[-1] != width:
            raise ValueError(
                f"expected vectors of {width} numbers in the last axis, got shape "
                f"{tuple(z.shape)}: move the channels to the end"
            )


def codebook_use(tokens, codes):
    """How many of the ``codes`` some tokens use: (share used, perplexity).

    The perplexity is that of the tokens' frequencies: K where all K are used equally, 1 for one.
    """
    counts = torch.bincount(tokens.flatten(), minlength=codes).double()
    share = (counts > 0).double().mean().item()
    frequency = counts / counts.sum()
    entropy = -(frequency * frequency.clamp(min=1e-12).log()).sum()
    return share, entropy.exp().item()
