"""FusionExplorer: its arithmetic is the package's, what it refuses, and a keyboard."""

import itertools

import numpy as np
import pytest
import torch

from mmcourse.book.figures.fusion import KINDS, FusionExplorer, heard, sees
from mmcourse.fusion import CrossLayer
from mmcourse.fusion.attending import exchange
from mmcourse.transformer import EncoderLayer
from tests.helpers import said

SIZES = [(4, 6, 2), (1, 3, 1), (5, 2, 3)]  # words, cells, bottleneck tokens


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"kind": "sum"},
            "kind must be one of late, cross-attention, bottleneck, early, got 'sum'",
        ),
        ({"words": 0}, "words must be from 1 to 8, got 0"),
        ({"cells": 9}, "cells must be from 1 to 8, got 9"),
        ({"layers": 5}, "layers must be from 0 to 4, got 5"),
    ],
)
def test_what_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        FusionExplorer(**change)


@pytest.mark.parametrize(("size", "kind"), [*itertools.product(SIZES, KINDS)])
def test_the_page_computes_as_python(call, size, kind):
    words, cells, bottlenecks = size
    setting = {"kind": kind, "words": words, "cells": cells, "bottlenecks": bottlenecks}
    figure = FusionExplorer(**setting)
    assert call(figure, "sees", setting) == sees(kind, *size).tolist()
    for layers in (0, 1, 3):
        found = call(figure, "heard", setting | {"layers": layers})
        assert found == heard(kind, *size, layers).tolist()


def moved(out, *inputs):
    """Which tokens of ``out`` (1, M, D) depend on which of the inputs (1, n, D), boolean."""
    rows = []
    for token in range(out.shape[1]):
        found = torch.autograd.grad(out[0, token].pow(2).sum(), inputs, retain_graph=True)
        rows.append(torch.cat([gradient[0].abs().sum(-1) > 0 for gradient in found]).numpy())
    return np.stack(rows)


def test_one_layer_is_that_of_the_package():
    torch.manual_seed(0)
    words, cells, middle = 4, 6, 2
    t, v, m = (torch.randn(1, n, 8, requires_grad=True) for n in (words, cells, middle))
    found = moved(CrossLayer(8, 2, 5)(t, v), t, v)
    table = heard("cross-attention", words, cells, middle, 1)
    assert (found == table[:words]).all()
    layers = EncoderLayer(8, 2, 5), EncoderLayer(8, 2, 5)
    x, first = exchange(layers[0], t, m, torch.ones(1, words).bool())
    y, second = exchange(layers[1], v, m, torch.ones(1, cells).bool())
    found = moved(torch.cat([x, first + second, y], 1), t, m, v)
    assert (found == heard("bottleneck", words, cells, middle, 1)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_scores(call, kind):
    setting = {"kind": kind, "words": 4, "cells": 6, "bottlenecks": 2}
    expected = {"late": 52, "cross-attention": 24, "bottleneck": 100, "early": 100}
    assert call(FusionExplorer(), "scores", setting) == expected[kind]


def test_still_picture_stands_beside_the_live_one():
    data, _ = FusionExplorer()._repr_mimebundle_()
    assert "<svg" in data["image/svg+xml"] and "application/vnd.jupyter.widget-view+json" in data


def test_by_keyboard(show):
    page = show(FusionExplorer(), 320)
    assert "the first word has heard of 1 of 4 words and 6 of 6 cells" in said(page)
    page.get_by_role("radio").nth(1).press("ArrowRight")
    assert "After 1 layer the first word has heard of 4 of 4 words and 0 of 6 cells" in said(page)
    page.get_by_role("slider").first.press("ArrowRight")
    assert "After 2 layers the first word has heard of 4 of 4 words and 6 of 6 cells" in said(page)
    page.get_by_role("slider").first.press("Home")
    assert "Before the first layer" in said(page)
