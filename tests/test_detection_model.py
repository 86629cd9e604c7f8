"""DETR: its layer against PyTorch's, what must not matter, and what is refused."""

import numpy as np
import pytest
import torch
from torch import nn

from mmcourse.detection import DETR, to_corners
from mmcourse.detection.model import QueryLayer, found_above, point_positions, spread_boxes
from mmcourse.transformer import sinusoidal_positions

SMALL = {"width": 16, "heads": 2, "hidden": 24, "channels": (8, 8, 8), "blocks": (0, 0, 1)}


def small(seed=0, **options):
    torch.manual_seed(seed)
    model = DETR(["cat", "dog", "cup"], **(SMALL | {"queries": 5, "image_size": 32} | options))
    for parameter in model.parameters():  # also what begins as zeros
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.2)
    return model.eval()


def pictures(count, side=32, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, side, side, 3), dtype=np.uint8)


@pytest.mark.parametrize(("batch", "queries", "cells"), [(1, 1, 3), (2, 5, 7), (3, 4, 1)])
def test_query_layer_equals_torch(batch, queries, cells):
    torch.manual_seed(batch)
    ours = QueryLayer(12, 3, 20).double().eval()
    theirs = nn.TransformerDecoderLayer(
        12, 3, 20, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    ).double()
    for mine, other in (
        (ours.attention, theirs.self_attn),
        (ours.cross_attention, theirs.multihead_attn),
    ):
        parts = (mine.query, mine.key, mine.value)
        other.in_proj_weight.data = torch.cat([part.weight.data for part in parts])
        other.in_proj_bias.data = torch.cat([part.bias.data for part in parts])
        other.out_proj.load_state_dict(mine.output.state_dict())
    theirs.linear1.load_state_dict(ours.feed_forward[0].state_dict())
    theirs.linear2.load_state_dict(ours.feed_forward[3].state_dict())
    for number in (1, 2, 3):
        norm = getattr(ours, f"norm{number}")
        nn.init.normal_(norm.weight)
        getattr(theirs, f"norm{number}").load_state_dict(norm.state_dict())
    x = torch.randn(batch, queries, 12).double()
    memory = torch.randn(batch, cells, 12).double()
    found, weights = ours(x, torch.zeros_like(x), memory, return_weights=True)
    assert torch.allclose(found, theirs(x, memory), atol=1e-10)
    assert weights.shape == (batch, 3, queries, cells)
    assert torch.allclose(weights.sum(-1), torch.ones(()).double())
    again, none = ours(x, torch.zeros_like(x), memory)
    assert none is None and torch.allclose(again, found, atol=1e-10)


def test_places_are_added_to_what_the_queries_ask():
    torch.manual_seed(0)
    layer = QueryLayer(8, 2).eval()
    x, memory = torch.zeros(1, 2, 8), torch.randn(1, 5, 8)
    same, _ = layer(x, torch.zeros(1, 2, 8), memory)
    assert torch.allclose(same[:, 0], same[:, 1])  # nothing tells two queries apart
    places = torch.randn(1, 2, 8)
    told, _ = layer(x, places, memory)
    assert not torch.allclose(told[:, 0], told[:, 1], atol=1e-3)
    _, weights = layer(x, places, memory, return_weights=True)
    assert not torch.allclose(weights[:, :, 0], weights[:, :, 1], atol=1e-3)


@pytest.mark.parametrize("silent", ["attention", "cross_attention"])
def test_both_attentions_are_told_the_places(silent):
    torch.manual_seed(1)
    layer = QueryLayer(8, 2).eval()
    nn.init.zeros_(getattr(layer, silent).output.weight)
    x, memory = torch.randn(1, 2, 8), torch.randn(1, 5, 8)
    there, _ = layer(x, torch.randn(1, 2, 8), memory)
    nowhere, _ = layer(x, torch.zeros(1, 2, 8), memory)
    assert not torch.allclose(there, nowhere, atol=1e-3)


def test_the_memory_is_told_its_positions_before_and_after_the_encoder():
    model = small()
    features = torch.randn(2, 16, 16)
    model.encoder = nn.Identity()
    x, y = torch.meshgrid((torch.arange(4) + 0.5) / 4, (torch.arange(4) + 0.5) / 4, indexing="xy")
    positions = point_positions(torch.stack([x.flatten(), y.flatten()], 1), 4, 16)
    assert (x.flatten()[:4].diff() > 0).all()  # row by row, as the cells
    expected = model.norm(features) + 2 * positions
    assert torch.allclose(model.encode(features), expected, atol=1e-5)


def test_a_new_model_answers_with_its_anchors():
    torch.manual_seed(0)
    model = DETR(["cat"], queries=5, image_size=32, **SMALL).eval()
    _, boxes = model(pictures(2))
    assert torch.allclose(boxes, to_corners(model.anchors.sigmoid()).expand(2, -1, -1), atol=1e-6)


def test_each_layer_is_told_the_corrected_box_and_that_box_alone():
    model = small()
    told = []
    places_of = model.places_of
    model.places_of = lambda reference: told.append(reference) or places_of(reference)
    answers = list(model.layers(torch.randn(2, 16, 16)))
    assert torch.equal(told[0], model.anchors.expand(2, -1, -1))
    assert torch.equal(told[1], answers[0][1]) and not told[1].requires_grad
    wider = model.anchors.clone()
    wider[:, 2:] += 1
    assert not torch.allclose(places_of(wider), places_of(model.anchors), atol=1e-3)


def test_what_the_queries_know_holds_their_place():
    model = small()
    *_, (found, edges, _) = model.layers(model.encode(model.see(pictures(2))))
    assert torch.allclose(model.look(pictures(2)), found + model.places_of(edges), atol=1e-5)
    plain = small(anchors=False)
    *_, (found, _, _) = plain.layers(plain.encode(plain.see(pictures(2))))
    assert torch.allclose(plain.look(pictures(2)), found, atol=1e-5)


@pytest.mark.parametrize("anchors", [True, False])
def test_shapes_and_boxes(anchors):
    model = small(anchors=anchors)
    logits, boxes = model(pictures(3))
    assert logits.shape == (3, 5, 4) and boxes.shape == (3, 5, 4)
    assert (boxes[..., 2:] > boxes[..., :2]).all()
    all_logits, all_boxes, weights = model.decode(
        model.encode(model.see(pictures(3))), return_weights=True
    )
    assert all_logits.shape == (2, 3, 5, 4) and weights.shape == (2, 3, 2, 5, 16)
    assert torch.allclose(all_logits[-1], logits, atol=1e-5)
    assert torch.allclose(all_boxes[-1], boxes, atol=1e-5)
    assert model.look(pictures(3)).shape == (3, 5, 16)


@pytest.mark.parametrize("anchors", [True, False])
def test_the_batch_and_the_order_of_the_queries_do_not_matter(anchors):
    model = small(anchors=anchors)
    logits, boxes = model(pictures(4))
    alone = model(pictures(4)[2:3])
    assert torch.allclose(logits[2:3], alone[0], atol=1e-5)
    assert torch.allclose(boxes[2:3], alone[1], atol=1e-5)
    order = torch.tensor([3, 0, 4, 1, 2])
    table = model.anchors if anchors else model.places
    table.data = table.data[order]
    turned = model(pictures(4))
    assert torch.allclose(turned[0], logits[:, order], atol=1e-5)
    assert torch.allclose(turned[1], boxes[:, order], atol=1e-5)


def test_a_layer_corrects_the_box_of_the_one_before():
    model = small(decoder_layers=3)
    nn.init.zeros_(model.box_head[-1].weight)
    model.box_head[-1].bias.data = torch.tensor([0.5, 0, 0, -1])
    *_, (_, edges, _) = model.layers(torch.randn(2, 16, 16))
    expected = model.anchors + 3 * model.box_head[-1].bias
    assert torch.allclose(edges, expected.expand(2, -1, -1), atol=1e-5)


def test_positions_are_sinusoids_of_the_cell_and_know_y_from_x():
    middles = torch.tensor([[0.5 / 4, 1.5 / 4]])  # x in cell 0, y in cell 1
    found = point_positions(middles, 4, 8)[0]
    rates = torch.tensor([1.0, 20**-0.5])
    expected = [torch.sin(rates), torch.cos(rates), torch.zeros(2), torch.ones(2)]
    assert torch.allclose(found[:4], torch.stack(expected[:2], 1).flatten(), atol=1e-6)
    assert torch.allclose(found[4:], torch.stack(expected[2:], 1).flatten(), atol=1e-6)
    words = sinusoidal_positions(4, 4)  # the same rate in the first pair of columns
    steps = torch.stack([torch.zeros(4), (torch.arange(4) + 0.5) / 4], 1)
    assert torch.allclose(point_positions(steps, 4, 8)[:, :2], words[:, :2], atol=1e-6)


@pytest.mark.parametrize("count", [1, 5, 16])
def test_anchors_begin_spread_over_the_picture(count):
    boxes = spread_boxes(count).sigmoid()
    assert boxes.shape == (count, 4)
    assert len({tuple(row) for row in boxes[:, :2].tolist()}) == count
    assert (boxes > 0).all() and (boxes < 1).all()


def test_what_is_found_is_sorted_cut_and_above_the_threshold():
    logits = torch.tensor([[0.0, 5, 0], [3, 0, 0], [0, 0, 9]])
    boxes = torch.tensor([[-0.1, 0, 0.5, 0.5], [0.5, 0.5, 1.2, 1], [0, 0, 1, 1]])
    found = found_above(logits, boxes, ["cat", "dog"], 10, 0.5)
    assert [(one.name, one.query) for one in found] == [("dog", 0), ("cat", 1)]
    assert found[0].box == (0, 0, 5, 5) and found[1].box == (5, 5, 10, 10)
    assert found[0].score == pytest.approx(logits[0].softmax(-1)[1].item())
    assert len(found_above(logits, boxes, ["cat", "dog"], 10, 0.95)) == 1
    assert len(found_above(torch.zeros(1, 2), boxes[2:], ["cat"], 10, 0.5)) == 1  # just reached


@pytest.mark.parametrize("anchors", [True, False])
def test_saved_and_loaded(tmp_path, anchors):
    model = small(anchors=anchors)
    model.save_pretrained(tmp_path)
    again = DETR.from_pretrained(tmp_path)
    assert again.names == ["cat", "dog", "cup"]
    for mine, other in zip(model(pictures(2)), again(pictures(2)), strict=True):
        assert torch.equal(mine, other)


def test_other_pictures_are_refused():
    with pytest.raises(ValueError, match="32 x 32 pixels, got 40 rows and 40 columns"):
        small()(pictures(1, 40))
    with pytest.raises(TypeError, match="uint8"):
        small()(torch.zeros(1, 32, 32, 3))
