"""Pruning and low rank: against PyTorch, NumPy and arithmetic."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from mmcourse.attention import MultiHeadAttention
from mmcourse.compression import (
    apply_masks,
    best_rank_r,
    break_even,
    factorise,
    heads_of,
    kept_energy,
    magnitude_mask,
    magnitude_prune,
    masked_bytes,
    prune_neurons,
    silence_heads,
)
from mmcourse.compression.prune import feed_forwards
from mmcourse.transformer import DecoderLayer, Encoder, FeedForward

SHAPES = [(1, 5), (7, 3), (11, 11), (4, 3, 5, 5)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.9])
def test_masks_are_those_of_pytorch(shape, share):
    torch.manual_seed(0)
    layer = nn.Module()
    layer.weight = nn.Parameter(torch.randn(shape))
    mask = magnitude_mask(layer.weight.data, share)
    if share:
        prune.l1_unstructured(layer, "weight", amount=share)
        assert torch.equal(mask.float(), layer.weight_mask)
    assert int((~mask).sum()) == round(share * mask.numel())


def test_pruning_leaves_the_largest_of_each_layer():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4))
    before = copy.deepcopy(model)
    masks = magnitude_prune(model, 0.4)
    for name, mask in masks.items():
        old, new = before.get_submodule(name), model.get_submodule(name)
        assert torch.equal(new.weight, old.weight * mask) and torch.equal(new.bias, old.bias)
        assert old.weight[mask].abs().min() >= old.weight[~mask].abs().max()
    model[0].weight.data += 1
    apply_masks(model, masks)
    assert (model[0].weight[~masks["0"]] == 0).all()


def test_bytes_of_masked_weights():
    mask = torch.tensor([[True, False, True], [False, False, True], [True, True, True]])
    assert masked_bytes({"a": mask}) == 2 * 6 + 2
    half = torch.arange(1600).view(40, 40) % 2 == 0
    assert masked_bytes({"a": half}) * 8 / 1600 == 9  # bits a number, as the page says


@pytest.mark.parametrize("share", [-0.1, 1.0, 1.5])
def test_shares_that_cannot_be(share):
    for attempt in (
        lambda: magnitude_mask(torch.ones(2, 2), share),
        lambda: prune_neurons(FeedForward(4, 8), share),
    ):
        with pytest.raises(ValueError, match=r"from 0 to below 1, got"):
            attempt()


@pytest.mark.parametrize(("width", "heads"), [(6, 2), (12, 3), (20, 5)])
def test_a_silenced_head_says_nothing(width, heads):
    torch.manual_seed(0)
    attention = MultiHeadAttention(width, heads)
    x = torch.randn(2, 5, width)
    silenced = copy.deepcopy(attention)
    silence_heads(silenced, [1])
    size = width // heads
    silent = copy.deepcopy(attention)
    silent.value.weight.data[size : 2 * size] = 0  # another way to say nothing
    silent.value.bias.data[size : 2 * size] = 0
    torch.testing.assert_close(silenced(x), silent(x), atol=1e-6, rtol=1e-5)
    assert not torch.allclose(silenced(x), attention(x), atol=1e-3)
    with pytest.raises(ValueError, match=f"no head {heads}: expected 0 to {heads - 1}"):
        silence_heads(attention, [heads])


def test_all_heads_are_found():
    model = nn.ModuleDict({"a": Encoder(2, 12, 3), "b": DecoderLayer(12, 2)})
    found = heads_of(model)
    assert len(found) == 2 * 3 + 2 * 2 and len(set(found)) == len(found)


@pytest.mark.parametrize(("width", "hidden", "share"), [(3, 8, 0.25), (5, 10, 0.5), (4, 7, 0.0)])
def test_pruned_neurons_are_as_if_their_outputs_were_zero(width, hidden, share):
    torch.manual_seed(0)
    layer = FeedForward(width, hidden)
    x = torch.randn(6, width)
    smaller = copy.deepcopy(layer)
    stay = prune_neurons(smaller, share)
    assert len(stay) == hidden - round(share * hidden) and smaller[0].out_features == len(stay)
    gone = [number for number in range(hidden) if number not in stay]
    weight = layer[0].weight.norm(dim=1) * layer[3].weight.norm(dim=0)
    assert not gone or weight[gone].max() <= weight[stay].min()
    layer[3].weight.data[:, gone] = 0
    torch.testing.assert_close(smaller(x), layer(x), atol=1e-6, rtol=1e-5)


def test_feed_forwards_are_found():
    assert list(feed_forwards(Encoder(2, 8, 2))) == [
        "layers.0.feed_forward",
        "layers.1.feed_forward",
    ]


@pytest.mark.parametrize("shape", [(3, 7), (8, 5), (9, 9)])
def test_the_loss_of_rank_r_is_the_rest_of_the_singular_values(shape):
    torch.manual_seed(0)
    weight = torch.randn(shape, dtype=torch.float64)
    left, values, right = np.linalg.svd(weight.numpy(), full_matrices=False)
    for rank in range(1, min(shape) + 1):
        first, second = best_rank_r(weight, rank)
        assert first.shape == (shape[0], rank) and second.shape == (rank, shape[1])
        product = (first @ second).numpy()
        expected = (left[:, :rank] * values[:rank]) @ right[:rank]
        np.testing.assert_allclose(product, expected, atol=1e-10)
        lost = ((weight.numpy() - product) ** 2).sum()
        np.testing.assert_allclose(lost, (values[rank:] ** 2).sum(), atol=1e-10)
        np.testing.assert_allclose(kept_energy(weight, rank), 1 - lost / (values**2).sum())


def test_nothing_of_that_rank_is_nearer():
    torch.manual_seed(1)
    weight = torch.randn(6, 8)
    first, second = best_rank_r(weight, 2)
    best = (weight - first @ second).norm()
    for _ in range(200):
        moved = (first + 0.05 * torch.randn(6, 2)) @ (second + 0.05 * torch.randn(2, 8))
        assert (weight - moved).norm() > best


def test_break_even():
    assert break_even(torch.ones(128, 128)) == 63
    assert break_even(torch.ones(704, 128)) == 108
    for shape in ((5, 7), (30, 4)):
        rank = break_even(torch.ones(shape))
        assert rank * sum(shape) < shape[0] * shape[1] <= (rank + 1) * sum(shape)


def test_ranks_and_shares_that_cannot_be():
    for rank in (0, 4):
        with pytest.raises(ValueError, match=f"the rank must be from 1 to 3, got {rank}"):
            best_rank_r(torch.ones(3, 5), rank)
    for share in (0, 1, 1.2):
        with pytest.raises(ValueError, match="above 0 and below 1, got"):
            factorise(nn.Sequential(nn.Linear(4, 4)), share)


@pytest.mark.parametrize(("inputs", "outputs"), [(40, 30), (17, 23), (64, 64)])
def test_factored_layers(inputs, outputs):
    torch.manual_seed(0)
    thin = torch.randn(outputs, 2) @ torch.randn(2, inputs)  # of rank 2
    model = nn.Sequential(nn.Linear(inputs, outputs), nn.GELU())
    model[0].weight.data = thin
    x = torch.randn(5, inputs)
    before = model(x)
    factorise(model, 0.5)
    assert isinstance(model[0], nn.Sequential)
    numbers = sum(part.weight.numel() for part in model[0])
    assert numbers <= 0.5 * inputs * outputs
    torch.testing.assert_close(model(x), before, atol=1e-4, rtol=1e-4)
