"""Fusions of two means: each side is one vector before the other side is seen.

Shapes: B batch, D width. See :mod:`mmcourse.fusion.sides`.
"""

import torch
from torch import nn

from mmcourse.fusion.sides import Fusion
from mmcourse.transformer import FeedForward


class ConcatFusion(Fusion):
    """The two means side by side, then a network of one hidden layer.

    Args:
        width: D, of both sides and of the output.
        hidden: width of the hidden layer.
    """

    def __init__(self, width, hidden):
        super().__init__(width)
        self.network = nn.Sequential(
            nn.Linear(2 * width, hidden), nn.GELU(), nn.Linear(hidden, width)
        )

    def fuse(self, text, image):
        """As in :class:`~mmcourse.fusion.sides.Fusion`."""
        both = torch.cat([text.mean, image.mean], -1)  # (B, 2 D)
        return self.network(both)


class LateFusion(Fusion):
    """Each side forms its opinion alone; the opinions are mixed.

    A linear head right after it turns the mixture of opinions into the same mixture of logits, so
    that nothing but the answer is shared; a norm before the head, as in
    :class:`~mmcourse.fusion.QuestionAnswerer`, looks at both sides at once. With ``learned`` each
    side also says how sure it is, and a softmax over the two makes the weights; else each has a
    half. It is a relative of the mixture of experts (Jacobs et al. 1991), whose experts see the
    same input. A missing side has no weight.

    Args:
        width: D.
        hidden: width of the hidden layer of each side.
        learned: whether the weights are learnt.
    """

    def __init__(self, width, hidden, *, learned=True):
        super().__init__(width)
        self.learned = learned
        self.text_opinion = FeedForward(width, hidden)
        self.image_opinion = FeedForward(width, hidden)
        if learned:
            self.text_score = nn.Linear(width, 1)
            self.image_score = nn.Linear(width, 1)

    def fuse(self, text, image):
        """As in :class:`~mmcourse.fusion.sides.Fusion`."""
        opinions, weights = self.mix(text, image)
        return (weights[..., None] * opinions).sum(1)

    def mix(self, text, image):
        """The opinions (B, 2, D) of text and image, and their weights (B, 2)."""
        opinions = [self.text_opinion(text.mean), self.image_opinion(image.mean)]
        scores = text.vectors.new_zeros(len(text.vectors), 2)
        if self.learned:
            scores = torch.cat([self.text_score(text.mean), self.image_score(image.mean)], -1)
        present = torch.stack([text.present, image.present], -1)  # (B, 2)
        alone = present.sum(-1, keepdim=True) == 1  # (B, 1)
        scores = scores.masked_fill(alone & ~present, torch.finfo(scores.dtype).min)
        return torch.stack(opinions, 1), scores.softmax(-1)


class BilinearFusion(Fusion):
    r"""Every number of the output is a product form of both sides, :math:`z_i = t\, W_i\, v^\top`.

    A whole :math:`W_i` for each i takes D³ parameters. Here each has the rank k,
    :math:`W_i = U_i V_i^\top`, so that :math:`z_i` is the sum of the k products of
    :math:`t\, U_i` and :math:`v\, V_i` (multi-modal factorized bilinear pooling, Yu et al. 2017,
    without its normalisation). With k = 1 and a linear map after it, it is the product of Kim et
    al. 2017 without its nonlinearity; the map gives each of its outputs a form of rank up to D.

    Args:
        width: D.
        rank: k, at least 1. From k = D on every bilinear form can be written.
    """

    def __init__(self, width, rank):
        super().__init__(width)
        if rank < 1:
            raise ValueError(f"rank must be at least 1, got {rank}")
        self.rank = rank
        self.text_factor = nn.Linear(width, width * rank, bias=False)
        self.image_factor = nn.Linear(width, width * rank, bias=False)
        self.bias = nn.Parameter(torch.zeros(width))

    def fuse(self, text, image):
        """As in :class:`~mmcourse.fusion.sides.Fusion`."""
        products = self.text_factor(text.mean) * self.image_factor(image.mean)  # (B, D k)
        return products.unflatten(-1, (self.width, self.rank)).sum(-1) + self.bias  # (B, D)
