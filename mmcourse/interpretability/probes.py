"""What does a layer know? Linear probes, and control tasks that say how much a probe learns itself.

Shapes: M cells with a thing, K numbers of a cell at some layer, C classes.
"""

from random import Random
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from mmcourse.captioning import cell_nouns
from mmcourse.data.drawings import nouns

LAYERS = ("pixels", "stage 1", "stage 2", "stage 3", "features", "memory")


@torch.no_grad()
def layer_cells(model, images, layer):
    """What each cell of uint8 pictures (B, S, S, 3) is at one of the ``LAYERS``: (B, N, K).

    A ``stage`` is a convolution with its blocks; where its grid is finer than the cells, their
    mean. ValueError for another layer.
    """
    if layer not in LAYERS:
        raise ValueError(f"unknown layer {layer!r}: choose one of {', '.join(LAYERS)}")
    x = model.pixels_of(images)  # (B, 3, S, S)
    side = x.shape[-1] // model.convolutions.stride  # cells along a side
    if layer == "pixels":
        patches = F.unfold(x, model.convolutions.stride, stride=model.convolutions.stride)
        return patches.transpose(1, 2)
    if layer == "features":
        return model.convolutions(x)
    if layer == "memory":
        return model.relate(model.convolutions(x))
    wanted = int(layer.split()[1])
    stage = 0
    for part in model.convolutions.stages:
        if isinstance(part, torch.nn.Conv2d):
            stage += 1  # a convolution begins a stage
        if stage > wanted or isinstance(part, torch.nn.GroupNorm):
            break
        x = part(x)
    return F.adaptive_avg_pool2d(x, side).flatten(2).transpose(1, 2)


class Cells(NamedTuple):
    """Cells with a thing in them, of several scenes."""

    values: torch.Tensor  #: (M, K) what each is at a layer
    nouns: np.ndarray  #: (M,) the number of its noun, from 0
    scenes: np.ndarray  #: (M,) the number of its scene


def labelled_cells(model, scenes, layer, size=64):
    """The :class:`Cells` of some scenes; ``size`` pictures at a time."""
    labels = torch.stack([cell_nouns(scene, model.convolutions.stride) for scene in scenes])
    values = []
    for start in range(0, len(scenes), size):
        images = np.stack([scene.image for scene in scenes[start : start + size]])
        values.append(layer_cells(model, images, layer))
    full = labels > 0  # (B, N)
    owner = full.nonzero()[:, 0]
    return Cells(torch.cat(values)[full], labels[full].numpy() - 1, owner.numpy())


def categories():
    """The category of each noun, (325,), as a number in the order of their names."""
    names = [noun.category for noun in nouns()]
    order = sorted(set(names))
    return np.array([order.index(name) for name in names])


def control_task(labels, seed):
    """The same labels, dealt out to the nouns at random: (325,) again.

    Hewitt and Liang 2019, section 2: a control task has the answers of the true one in the same
    shares, but which noun has which is chance. A probe can only learn it noun by noun.
    """
    dealt = list(labels)
    Random(f"control/{seed}").shuffle(dealt)
    return np.array(dealt)


class Probe(NamedTuple):
    """A linear map from a cell to the scores of C classes, of numbers that were standardised."""

    weight: torch.Tensor  #: (K, C)
    bias: torch.Tensor  #: (C,)
    mean: torch.Tensor  #: (K,)
    spread: torch.Tensor  #: (K,)

    def predict(self, values):
        """The class of each of M cells (M, K), an array."""
        scores = (values - self.mean) / self.spread @ self.weight + self.bias
        return scores.argmax(1).numpy()


def fit_probe(values, labels, classes, decay=1e-3, steps=60):
    r"""Multinomial logistic regression from cells (M, K) to ``labels`` (M,): a :class:`Probe`.

    It makes the mean cross-entropy and :math:`\frac{\text{decay}}{2} \lVert W \rVert^2` small, by
    ``steps`` of L-BFGS.
    """
    mean = values.mean(0)
    spread = values.std(0).clamp(min=1e-6)
    x = (values - mean) / spread
    y = torch.as_tensor(labels)
    weight = torch.zeros(x.shape[1], classes, dtype=x.dtype, requires_grad=True)
    bias = torch.zeros(classes, dtype=x.dtype, requires_grad=True)
    solver = torch.optim.LBFGS(
        [weight, bias], max_iter=steps, history_size=10, line_search_fn="strong_wolfe"
    )

    def loss():
        solver.zero_grad()
        total = F.cross_entropy(x @ weight + bias, y) + decay / 2 * (weight**2).sum()
        total.backward()
        return total

    solver.step(loss)
    return Probe(weight.detach(), bias.detach(), mean, spread)
