"""Attribution against captum on the same model, and against plain arithmetic where it has none."""

import pytest
import torch
from captum.attr import (
    InputXGradient,
    IntegratedGradients,
    LayerGradCam,
    Occlusion,
    Saliency,
)

from mmcourse.captioning import SceneCaptioner
from mmcourse.interpretability import (
    cell_of,
    grad_cam,
    gradient,
    gradient_times_input,
    integrated_gradients,
    occlusion,
    to_cells,
    word_score,
)
from tests.helpers import close

WORDS = ["a", "dog", "on", "the", "grass"]
SHAPES = [(1, 24, 12, 3, (8, 16, 24)), (3, 32, 20, 5, (8, 24)), (2, 56, 8, 1, (16, 8, 8))]
TOLERANCE = 1e-5


def build(shape):
    """A captioner that is not trained, in double precision, and pictures for it."""
    batch, size, width, heads, channels = shape
    torch.manual_seed(size)
    model = SceneCaptioner(
        sorted(set(WORDS)),
        width=width,
        heads=heads,
        image_size=size,
        channels=channels,
        blocks=(1,) * len(channels),
    )
    torch.nn.init.normal_(model.noun_embedding.weight)
    torch.nn.init.normal_(model.embedding.weight)
    model = model.double().eval().requires_grad_(False)
    return model, torch.rand(batch, 3, size, size, dtype=torch.float64) * 2 - 1


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("place", [0, 3])
def test_gradients_equal_captum(shape, place):
    model, pixels = build(shape)
    score = word_score(model, WORDS, place)
    close(gradient(score, pixels), Saliency(score).attribute(pixels, abs=False), TOLERANCE)
    theirs = InputXGradient(score).attribute(pixels)
    close(gradient_times_input(score, pixels), theirs, TOLERANCE)
    assert theirs.abs().max() > 1e-4


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("steps", [2, 7])
def test_integrated_gradients_equal_captum(shape, steps):
    model, pixels = build(shape)
    score = word_score(model, WORDS, 2)
    for baseline in (torch.zeros_like(pixels), torch.rand_like(pixels)):
        theirs = IntegratedGradients(score).attribute(
            pixels, baseline, n_steps=steps, method="riemann_middle"
        )
        close(integrated_gradients(score, pixels, baseline, steps), theirs, TOLERANCE)
    grey = IntegratedGradients(score).attribute(pixels, n_steps=7, method="riemann_middle")
    close(integrated_gradients(score, pixels, steps=7), grey, TOLERANCE)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("window", [1, 2, 3])
def test_occlusion_equals_captum(shape, window):
    model, pixels = build(shape)
    score = word_score(model, WORDS, 1)
    cell = cell_of(model)
    square = (3, window * cell, window * cell)
    theirs = Occlusion(score).attribute(pixels, square, (3, cell, cell), baselines=0.0)
    ours = occlusion(score, pixels, cell, window)
    close(ours, to_cells(theirs[:, :1].double(), cell) / cell**2, TOLERANCE)


@pytest.mark.parametrize("shape", SHAPES)
def test_grad_cam_equals_captum(shape):
    model, pixels = build(shape)
    score = word_score(model, WORDS, 4)
    stages = model.convolutions.stages
    theirs = LayerGradCam(score, stages).attribute(pixels, relu_attributions=True)
    ours = grad_cam(score, pixels, stages)
    close(ours, theirs.flatten(1), TOLERANCE)
    assert ours.max() > 1e-5
