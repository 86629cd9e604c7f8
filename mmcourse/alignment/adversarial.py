"""Making two sides alike until no judge can tell them apart, without any pair.

Shapes: B pictures, M texts (any number, in any order), E numbers of a code.
"""

import torch
import torch.nn.functional as F
from torch import nn


class GradientReversal(torch.autograd.Function):
    """Forwards the identity; backwards the gradient times minus ``strength``."""

    @staticmethod
    def forward(context, x, strength):
        context.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(context, gradient):
        return -context.strength * gradient, None


def reverse_gradient(x, strength=1.0):
    r"""x itself, whose gradient is turned round (Ganin et al. 2016, section 4.2).

    .. math:: R(x) = x, \qquad \frac{\partial R}{\partial x} := -\lambda I

    What stands before it learns to make the loss larger while what stands behind it makes it
    smaller, in one step of one optimiser. ``strength`` is :math:`\lambda`, at least 0.
    """
    if strength < 0:
        raise ValueError(f"strength must be at least 0, got {strength}")
    return GradientReversal.apply(x, strength)


class Discriminator(nn.Module):
    """A judge: for each code, how much it looks like a picture's, a logit.

    Args:
        width: E.
        hidden: width of its two hidden layers.
    """

    def __init__(self, width, hidden=128):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, hidden),
            nn.LeakyReLU(0.2),
            nn.Linear(hidden, 1),
        )

    def forward(self, codes):
        """Codes (B, E) become logits (B,)."""
        return self.layers(codes).squeeze(-1)


def judge_loss(judge, image, text):
    r"""What the judge wants small: pictures (B, E) are a yes, texts (M, E) a no.

    .. math:: -\frac{1}{2B} \sum_i \log \sigma(d(u_i)) - \frac{1}{2M} \sum_j \log \sigma(-d(v_j))

    It is log 2 where the judge cannot tell them apart.
    """
    check_sides(image, text)
    yes = -F.logsigmoid(judge(image)).mean()
    no = -F.logsigmoid(-judge(text)).mean()
    return (yes + no) / 2


def fool_loss(judge, image, text):
    """What the encoders want small against a judge: :func:`judge_loss` with the labels exchanged.

    Its gradient is large where the judge is sure, as Goodfellow et al. (2014) advise. Step the
    encoders alone with it: the judge would learn to be wrong.
    """
    check_sides(image, text)
    return judge_loss(judge, text, image)


def reversal_loss(judge, image, text, strength=1.0):
    """:func:`judge_loss` behind :func:`reverse_gradient`: one loss for the judge and encoders."""
    check_sides(image, text)
    image = reverse_gradient(image, strength)
    text = reverse_gradient(text, strength)
    return judge_loss(judge, image, text)


@torch.no_grad()
def judge_accuracy(judge, image, text):
    """The mean share of pictures and of texts that the judge takes for what they are.

    One half is guessing. A logit of 0 counts half.
    """
    check_sides(image, text)
    shares = []
    for logits in (judge(image), -judge(text)):
        right = (logits > 0).double() + (logits == 0).double() / 2
        shares.append(right.mean().item())
    return sum(shares) / 2


def check_sides(image, text):
    """ValueError unless both are codes of one width."""
    fits = image.dim() == 2 and text.dim() == 2 and image.shape[1:] == text.shape[1:]
    if not fits or not len(image) or not len(text):
        raise ValueError(
            "image and text must be codes (B, E) and (M, E), "
            f"got {tuple(image.shape)} and {tuple(text.shape)}"
        )
