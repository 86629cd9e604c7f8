"""The modality gap: pictures on one side of the space, texts on the other.

Shapes: n pictures, m texts, E numbers of an embedding.
"""

import torch

from mmcourse.alignment.adversarial import check_sides
from mmcourse.contrastive import unit


def gap_vector(image, text):
    """From the mean of the texts to the mean of the pictures (E,), all made of length 1 first.

    ``image`` is (n, E), ``text`` is (m, E).
    """
    check_sides(image, text)
    return unit(image).mean(0) - unit(text).mean(0)


def modality_gap(image, text):
    r"""The length of :func:`gap_vector` (Liang et al. 2022), from 0 to 2.

    .. math:: \Bigl\lVert \frac1n \sum_i \frac{u_i}{\lVert u_i \rVert} -
              \frac1m \sum_j \frac{v_j}{\lVert v_j \rVert} \Bigr\rVert
    """
    return gap_vector(image, text).norm().item()


def close_gap(image, text, share=1.0, vector=None):
    """Both sides moved towards one another along the gap, and made of length 1 again.

    With ``share`` 1 the means meet before the last step; 0 leaves them, and a negative share opens
    the gap further. ``vector`` is the gap to close, such as that of other data; unless given it is
    measured here.
    """
    check_sides(image, text)
    if vector is None:
        vector = gap_vector(image, text)
    step = share / 2 * vector
    return unit(unit(image) - step), unit(unit(text) + step)


def linear_judge(image, text):
    """The share of held-out embeddings whose side a linear map tells, from 0 to 1.

    It is fitted by least squares (with a small ridge) on the rows of even number and asked for the
    others. Give at least two rows a side.
    """
    check_sides(image, text)
    if min(len(image), len(text)) < 2:
        raise ValueError("give two rows a side or more: half of them are held out")
    fitted = with_one(torch.cat([image[::2], text[::2]]))
    sides = torch.cat([torch.ones(len(image[::2])), -torch.ones(len(text[::2]))]).to(fitted)
    ridge = 1e-3 * torch.eye(fitted.shape[1], dtype=fitted.dtype) * len(fitted)
    weights = torch.linalg.solve(fitted.mT @ fitted + ridge, fitted.mT @ sides)
    right = [with_one(image[1::2]) @ weights > 0, with_one(text[1::2]) @ weights < 0]
    return sum(side.double().mean().item() for side in right) / 2


def with_one(x):
    """Rows of length 1 with a further column of ones."""
    x = unit(x)
    return torch.cat([x, x.new_ones(len(x), 1)], 1)
