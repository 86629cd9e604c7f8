"""Rectified flow: learn the velocity from noise to data along straight lines, then follow it.

Liu, Gong and Liu 2022; Lipman et al. 2022. Time t runs from 0 (noise) to 1 (data). Letters: B
batch, ... the axes of what is made, such as C, H, W.
"""

import itertools

import torch
import torch.nn.functional as F


def spread_over(t, x):
    """Times (B,) with as many axes of length 1 as it takes to multiply ``x`` (B, ...)."""
    return t.view(-1, *[1] * (x.dim() - 1))


def between(noise, data, t):
    """The point at time ``t`` (B,) on the straight line from ``noise`` to ``data``, (B, ...)."""
    t = spread_over(t, data)
    return (1 - t) * noise + t * data


def velocity_to(data, x, t):
    """The velocity that leads from ``x`` at time ``t`` (B,) straight to ``data``, both (B, ...).

    At the very end, where 1 - t is below 0.05, it is as if 0.05 were left.
    """
    left = (1 - spread_over(t, x)).clamp(min=0.05)
    return (data - x) / left


def shifted(t, shift):
    """Times moved towards the noise: from 0 to 1 as before, slowly at first where shift is above 1.

    Esser et al. 2024, section 5.3.2, whose time runs the other way. Large pictures show what they
    are while they are still almost noise, so most of the work is there.
    """
    return t / (t + shift * (1 - t))


def guided(conditional, unconditional, guidance):
    """Classifier-free guidance (Ho and Salimans 2022), on velocities: (B, ...).

    1 is the conditional velocity and 0 the unconditional one; above 1 their difference is
    exaggerated.
    """
    if guidance == 1:
        return conditional  # exactly: a sum would round
    if guidance == 0:
        return unconditional
    return unconditional + guidance * (conditional - unconditional)


class RectifiedFlow:
    """What is made with a function ``velocity(x, t, condition)``.

    It maps ``x`` (B, ...), times ``t`` (B,) and whatever stands for the ``condition`` to (B, ...).
    ``condition`` None is no condition. ``shift`` is that of :func:`shifted`, for the times that are
    trained and for the steps alike.
    """

    def __init__(self, velocity, shift=1.0):
        self.velocity = velocity
        self.shift = shift

    def loss(self, data, condition=None, noise=None, t=None):
        """Mean squared error of the velocity along lines to ``data`` (B, ...).

        It is equation 1 of Liu et al. 2022, with more weight on the middle times: ``noise`` and
        ``t`` are drawn unless given, the times as sigmoids of normal numbers (Esser et al. 2024).
        """
        if noise is None:
            noise = torch.randn_like(data)
        if t is None:
            t = torch.randn(len(data), device=data.device).sigmoid()
            t = shifted(t, self.shift)
        x = between(noise, data, t)
        return F.mse_loss(self.velocity(x, t, condition), data - noise)

    def guided_velocity(self, x, t, condition, guidance):
        """The velocity (B, ...), of which only what ``guidance`` needs is computed."""
        if condition is None:
            return self.velocity(x, t, None)
        conditional = unconditional = None
        if guidance != 0:
            conditional = self.velocity(x, t, condition)
        if guidance != 1:
            unconditional = self.velocity(x, t, None)
        return guided(conditional, unconditional, guidance)

    @torch.no_grad()
    def path(self, noise, condition=None, steps=20, guidance=1.0):
        """All points on the way from ``noise`` (B, ...): a list of ``steps + 1`` tensors.

        Each step goes straight on until the next time (Euler's method): the times are equally far
        apart where the shift is 1.
        """
        if steps < 1:
            raise ValueError(f"the way from noise to data takes at least one step, got {steps}")
        times = [shifted(step / steps, self.shift) for step in range(steps + 1)]
        points = [noise]
        for now, then in itertools.pairwise(times):
            x = points[-1]
            t = torch.full((len(x),), now, dtype=x.dtype, device=x.device)
            velocity = self.guided_velocity(x, t, condition, guidance)
            points.append(x + (then - now) * velocity)
        return points

    def sample(self, noise, condition=None, steps=20, guidance=1.0):
        """Where the way from ``noise`` (B, ...) ends."""
        return self.path(noise, condition, steps, guidance)[-1]
