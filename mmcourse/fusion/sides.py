"""What all fusions share: two sides with their masks, of which one may be missing.

Shapes: B batch, T tokens of the text, N tokens of the image, D width. A mask is boolean,
True = is there.
"""

from typing import NamedTuple

import torch
from torch import nn

from mmcourse.text import mean_of_tokens


class Side(NamedTuple):
    """One side of a fusion, after :meth:`Fusion.complete`: each row has a token to look at."""

    vectors: torch.Tensor  #: (B, T, D), zeros where the mask is False
    mask: torch.Tensor  #: (B, T), boolean
    present: torch.Tensor  #: (B,), False where the whole side is missing

    @property
    def mean(self):
        """The mean (B, D) of the tokens that are there."""
        return mean_of_tokens(self.vectors, self.mask)

    @property
    def keys(self):
        """The mask as attention takes it, (B, 1, 1, T)."""
        return self.mask[:, None, None, :]


class Fusion(nn.Module):
    """Two sequences become one vector: a subclass says how, in :meth:`fuse`.

    A side without any token, all masked or of length 0, is replaced by one learnt vector, so that
    no row is ever empty. What stands at a masked place does not count, NaN included.

    Args:
        width: D, of both sides.
    """

    def __init__(self, width):
        super().__init__()
        self.width = width
        self.no_text = nn.Parameter(0.02 * torch.randn(width))
        self.no_image = nn.Parameter(0.02 * torch.randn(width))

    def forward(self, text, image, text_mask=None, image_mask=None):
        """Fuse ``text`` (B, T, D) and ``image`` (B, N, D) into (B, D).

        The masks are (B, T) and (B, N), boolean, True = is there; None means that all is there.
        Raises ValueError for shapes that do not fit and TypeError for a mask of another type.
        """
        text, image = self.complete_both(text, image, text_mask, image_mask)
        return self.fuse(text, image)

    def fuse(self, text, image):
        """The fused vector (B, D) of two :class:`Side`."""
        raise NotImplementedError("a fusion says in fuse how two sides become one vector")

    def complete_both(self, text, image, text_mask=None, image_mask=None):
        """Both arguments of :meth:`forward` as :class:`Side`, checked."""
        text = self.complete("text", text, text_mask, self.no_text)
        image = self.complete("image", image, image_mask, self.no_image)
        if len(text.vectors) != len(image.vectors):
            raise ValueError(
                "text and image must have as many rows, "
                f"got {len(text.vectors)} and {len(image.vectors)}: give each text its picture"
            )
        return text, image

    def complete(self, name, vectors, mask, missing):
        """A :class:`Side`: vectors (B, T, D) with ``missing`` (D,) where a row has no token."""
        check(name, vectors, mask, self.width)
        if mask is None:
            mask = torch.ones(vectors.shape[:2], dtype=torch.bool, device=vectors.device)
        if vectors.shape[1] == 0:
            vectors = vectors.new_zeros(len(vectors), 1, self.width)
            mask = torch.zeros(vectors.shape[:2], dtype=torch.bool, device=vectors.device)
        present = mask.any(1)  # (B,)
        vectors = vectors.masked_fill(~mask[..., None], 0.0)
        filled = torch.zeros_like(mask)
        filled[:, 0] = ~present
        vectors = torch.where(filled[..., None], missing, vectors)
        return Side(vectors, mask | filled, present)


def check(name, vectors, mask, width):
    """Raise an error unless vectors (B, T, width) and their mask (B, T) or None fit together."""
    if vectors.dim() != 3 or vectors.shape[-1] != width:
        raise ValueError(
            f"{name} must be (B, length, {width}), got {tuple(vectors.shape)}: "
            "encode both sides with the width of the fusion"
        )
    if mask is None:
        return
    if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool:
        got = getattr(mask, "dtype", type(mask).__name__)
        raise TypeError(
            f"the mask of the {name} must be a torch.bool tensor, True = is there, got {got}. "
            "Try mask = ids != padding."
        )
    if mask.shape != vectors.shape[:2]:
        raise ValueError(
            f"the mask of the {name} must be {tuple(vectors.shape[:2])}, got {tuple(mask.shape)}: "
            "one boolean for each token"
        )


def drop_sides(text_mask, image_mask, rate, generator=None):
    """Modality dropout: hide one side whole in a share ``rate`` of the rows.

    Each side is hidden as often, never both. (Neverova et al. 2016 drop each channel by itself, so
    that several may go at once.) Takes and gives the masks (B, T) and (B, N). Raises ValueError for
    a rate outside 0 to 1.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate must be between 0 and 1, a share of the rows, got {rate}")
    chance = torch.rand(len(text_mask), 1, generator=generator).to(text_mask.device)  # (B, 1)
    hide_text = chance < rate / 2
    hide_image = (chance >= rate / 2) & (chance < rate)
    return text_mask & ~hide_text, image_mask & ~hide_image
