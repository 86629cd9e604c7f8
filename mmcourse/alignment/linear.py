r"""Maps from one space to another that pairs give in closed form.

Shapes: n pairs, D and E numbers of the vectors of the two sides, K directions that are kept. Row i
of ``x`` belongs to row i of ``y``. Half precision is computed in single precision.
"""

from typing import NamedTuple

import torch


class Projection(NamedTuple):
    """An affine map of rows: what :func:`~mmcourse.alignment.principal_axes` and ``cca`` give."""

    mean: torch.Tensor  #: what is taken away, (D,)
    axes: torch.Tensor  #: the directions that are kept, (D, K)

    def __call__(self, x):
        """Rows ``(..., D)`` become ``(..., K)``."""
        return (x - self.mean) @ self.axes


def procrustes(x, y):
    r"""The orthogonal matrix W (E, E) for which ``x @ W`` is nearest to ``y``, both (n, E).

    .. math:: W = U V^\top \quad\text{where}\quad x^\top y = U S V^\top

    (Schönemann 1966.) It may turn and mirror, and changes no length and no angle, so what holds
    among the rows of x still holds among those of ``x @ W``. Means are not taken away: do it before
    where they differ. ValueError for shapes that do not pair.
    """
    x, y = checked_pairs(x, y)
    if x.shape[1] != y.shape[1]:
        raise ValueError(
            f"both sides of procrustes must have as many columns, got {x.shape[1]} and "
            f"{y.shape[1]}: bring them to one width first, by principal_axes for example"
        )
    left, _, right = torch.linalg.svd(x.mT @ y)  # (E, E), (E,), (E, E)
    return left @ right


def principal_axes(x, size, *, whiten=False):
    """The ``size`` directions in which the rows x (n, D) vary most.

    They come as a :class:`~mmcourse.alignment.linear.Projection`.

    With ``whiten`` each of them is scaled to variance 1. Each axis is turned so that its largest
    entry is positive. ValueError where the rows do not vary in so many directions.
    """
    (x,) = checked(x)
    mean = x.mean(0)
    _, lengths, axes = torch.linalg.svd(x - mean, full_matrices=False)
    rank = rank_of(lengths, x)
    if not 1 <= size <= rank:
        raise ValueError(f"size must lie between 1 and {rank}, the rank of x, got {size}")
    axes = axes[:size].mT  # (D, K)
    largest = axes.gather(0, axes.abs().argmax(0, keepdim=True))  # (1, K)
    axes = axes * largest.sign()
    if whiten:
        axes = axes * (len(x) - 1) ** 0.5 / lengths[:size]
    return Projection(mean, axes)


def cca(x, y, size, *, ridge=0.0):
    r"""Canonical correlation analysis (Hotelling 1936) of ``x`` (n, D) and ``y`` (n, E).

    It gives a :class:`~mmcourse.alignment.linear.Projection` for each side, on ``size``
    directions in which the pairs correlate most, and these correlations (K,), the largest first.
    With :math:`C_{xy}` the covariance of the sides,

    .. math:: C_{xx}^{-1/2}\, C_{xy}\, C_{yy}^{-1/2} = U S V^\top, \qquad
              A = C_{xx}^{-1/2} U, \qquad B = C_{yy}^{-1/2} V

    Without a ridge each column of ``x`` by A has variance 1 and none correlates with another.
    ``ridge`` r adds r times the mean variance of a side to all variances of that side: with few
    pairs it keeps directions that hardly vary from being taken for discoveries, and the numbers
    given are then no longer exact correlations. ValueError where a covariance has no inverse.
    """
    x, y = checked_pairs(x, y)
    most = min(x.shape[1], y.shape[1])
    if not 1 <= size <= most:
        raise ValueError(f"size must lie between 1 and {most}, got {size}")
    if ridge < 0:
        raise ValueError(f"ridge must be at least 0, got {ridge}")
    x_mean = x.mean(0)
    y_mean = y.mean(0)
    x_root = inverse_root(x - x_mean, ridge, "x")  # (D, D)
    y_root = inverse_root(y - y_mean, ridge, "y")  # (E, E)
    shared = (x - x_mean).mT @ (y - y_mean) / (len(x) - 1)  # (D, E)
    left, correlations, right = torch.linalg.svd(x_root @ shared @ y_root, full_matrices=False)
    x_axes = x_root @ left[:, :size]  # (D, K)
    y_axes = y_root @ right[:size].mT  # (E, K)
    return Projection(x_mean, x_axes), Projection(y_mean, y_axes), correlations[:size]


def inverse_root(centred, ridge, name):
    """One over the square root of the covariance of centred rows (n, D), a matrix (D, D)."""
    if ridge == 0 and rank_of(torch.linalg.svdvals(centred), centred) < centred.shape[1]:
        raise ValueError(
            f"{len(centred)} rows of {name} do not vary in all of their {centred.shape[1]} "
            "directions: give a ridge, or fewer directions by principal_axes"
        )
    covariance = centred.mT @ centred / (len(centred) - 1)
    covariance = covariance + ridge * covariance.diagonal().mean() * torch.eye(
        len(covariance), dtype=covariance.dtype, device=covariance.device
    )
    sizes, axes = torch.linalg.eigh(covariance)
    return axes * sizes.clamp(min=torch.finfo(sizes.dtype).tiny).rsqrt() @ axes.mT


def rank_of(lengths, x):
    """How many singular values of x are more than rounding."""
    rounding = torch.finfo(lengths.dtype).eps * max(x.shape) * lengths.max()
    return int((lengths > rounding).sum())


def checked_pairs(x, y):
    """Both sides, where they are matrices of as many rows, two at least."""
    x, y = checked(x, y)
    if len(x) != len(y):
        raise ValueError(f"row i of x belongs to row i of y, got {len(x)} and {len(y)} rows")
    return x, y


def checked(*sides):
    """The sides, in single precision or better, where they are finite and have two rows."""
    found = []
    for side in sides:
        if side.dim() != 2 or len(side) < 2:
            raise ValueError(f"a side must be (n, E) with n at least 2, got {tuple(side.shape)}")
        if not torch.isfinite(side).all():
            raise ValueError("a side must be finite, got NaN or infinity")
        if not side.is_floating_point():
            raise ValueError(f"a side must have floating point numbers, got {side.dtype}")
        found.append(side.float() if side.dtype in (torch.float16, torch.bfloat16) else side)
    return found
