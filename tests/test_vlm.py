"""Bridges, and a language model that sees: by hand, with a cache, and what does not fit."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmcourse import decoding
from mmcourse.gpt import GPT, Llama
from mmcourse.vlm import (
    PICTURE,
    VLM,
    GatedBridge,
    GatedCrossAttention,
    Projector,
    QueryTransformer,
    neighbours,
)
from tests.helpers import close

pytestmark = pytest.mark.usefixtures("double")
SHAPES = [(1, 4, 6, 8), (3, 16, 12, 20), (2, 64, 4, 12)]  # pictures, cells, width of one, width


def language(kind=GPT, width=16, seed=0):
    """A small language model whose weights are large enough to tell wrong from right."""
    torch.manual_seed(seed)
    sizes = (23, width, 2, 4, 40) if kind is GPT else (23, width, 2, 4, 2, 24, 40)
    model = kind(*sizes)
    for part in model.parameters():
        nn.init.normal_(part, std=0.3)
    return model.eval()


def joined(kind="projector", model=GPT, seed=0):
    """A VLM of cells of width 6 and a small language model."""
    text = language(model, seed=seed)
    torch.manual_seed(seed + 1)
    if kind == "projector":
        bridge = Projector(6, 16, merge=2)
    elif kind == "queries":
        bridge = QueryTransformer(6, 16, queries=3, heads=2)
    else:
        bridge = GatedBridge(6, 16, 2, start=0.7)
    return VLM(None, bridge, text).eval()


# Bridges --------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_the_projector_by_hand(shape):
    pictures, count, width_in, width = shape
    torch.manual_seed(0)
    bridge = Projector(width_in, width, 7)
    cells = torch.randn(pictures, count, width_in)
    first, _, second = bridge.layers
    assert bridge.layers[0].out_features == 7
    for picture in range(pictures):
        for cell in range(count):
            inner = F.gelu(cells[picture, cell] @ first.weight.T + first.bias)
            close(bridge(cells)[picture, cell], inner @ second.weight.T + second.bias)
    assert Projector(width_in, width).layers[0].out_features == width


def test_neighbours_stand_side_by_side_and_nothing_is_lost():
    cells = torch.arange(16.0).reshape(1, 16, 1)
    found = neighbours(cells, 2)
    assert found[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    two = torch.randn(3, 36, 5)
    merged = neighbours(two, 3)
    assert merged.shape == (3, 4, 45)
    close(merged[1, 3, -5:], two[1, 35])
    assert torch.equal(neighbours(two, 1), two)
    assert Projector(5, 8, merge=3)(two).shape == (3, 4, 8)


@pytest.mark.parametrize(("count", "merge"), [(15, 3), (36, 4)])
def test_neighbours_need_a_square_grid(count, merge):
    expected = (
        f"merge={merge} needs a square grid whose side it divides, got {count} cells: take merge=1$"
    )
    with pytest.raises(ValueError, match=expected):
        neighbours(torch.zeros(1, count, 2), merge)


def test_queries_by_the_parts_of_pytorch():
    torch.manual_seed(0)
    bridge = QueryTransformer(12, 20, queries=5, layers=2, heads=3)
    cells = torch.randn(2, 9, 12)
    x = bridge.queries.expand(2, -1, -1)
    for layer in bridge.layers:
        for name, source in (("self", None), ("cross", cells)):
            ours = getattr(layer, f"{name}_attention")
            theirs = nn.MultiheadAttention(12, 3, batch_first=True)
            weights = [part.weight for part in (ours.query, ours.key, ours.value)]
            biases = [part.bias for part in (ours.query, ours.key, ours.value)]
            theirs.in_proj_weight.data = torch.cat(weights)
            theirs.in_proj_bias.data = torch.cat(biases)
            theirs.out_proj.load_state_dict(ours.output.state_dict())
            seen = (layer.norm1 if source is None else layer.norm2)(x)
            looked = seen if source is None else source
            x = x + theirs(seen, looked, looked)[0]
        first, _, _, second = layer.feed_forward
        assert first.out_features == 24  # twice the width
        x = x + second(F.gelu(first(layer.norm3(x))))
    assert len(bridge.layers) == 2
    close(bridge(cells), bridge.projection(bridge.norm(x)))


def test_what_a_query_transformer_is_unless_told_otherwise():
    bridge = QueryTransformer(8, 10)
    assert bridge.queries.shape == (1, 16, 8)
    assert [layer.cross_attention.heads for layer in bridge.layers] == [4, 4]


def test_queries_do_not_mind_how_many_cells_there_are_nor_their_order():
    torch.manual_seed(0)
    bridge = QueryTransformer(8, 10, queries=4, heads=2)
    cells = torch.randn(2, 7, 8)
    assert bridge(cells).shape == bridge(cells[:, :3]).shape == (2, 4, 10)
    close(bridge(cells), bridge(cells[:, torch.randperm(7)]))
    close(bridge(cells)[:1], bridge(cells[:1]))
    assert not torch.allclose(bridge(cells)[:, 0], bridge(cells)[:, 1])


@pytest.mark.parametrize("bridge", [Projector(6, 8), QueryTransformer(6, 8, heads=2)])
def test_a_bridge_refuses_cells_of_another_width(bridge):
    with pytest.raises(ValueError, match=r"width 6.*got \(2, 9, 5\)"):
        bridge(torch.zeros(2, 9, 5))
    with pytest.raises(ValueError, match=r"got \(9, 6\)"):
        bridge(torch.zeros(9, 6))


def test_the_gate_by_hand():
    torch.manual_seed(0)
    layer = GatedCrossAttention(6, 8, 2)
    with torch.no_grad():
        layer.attention_gate.fill_(0.5)
        layer.feed_forward_gate.fill_(-1.2)
    x, cells = torch.randn(2, 5, 8), torch.randn(2, 7, 6)
    found = layer.attention(layer.norm1(x), layer.enter(cells))
    assert layer.feed_forward[0].out_features == 16  # twice the width
    y = x + math.tanh(0.5) * found
    close(layer(x, cells), y + math.tanh(-1.2) * layer.feed_forward(layer.norm2(y)))


def test_a_closed_gate_changes_nothing_and_can_open():
    torch.manual_seed(0)
    layer = GatedCrossAttention(6, 8, 2)
    x, cells = torch.randn(2, 5, 8), torch.randn(2, 7, 6)
    assert torch.equal(layer(x, cells), x)
    layer(x, cells).square().sum().backward()
    assert layer.attention_gate.grad != 0 and layer.feed_forward_gate.grad != 0
    assert layer.attention.query.weight.grad.abs().sum() == 0  # not before the gate has moved


# The joined model -----------------------------------------------------------------------------


def test_pictures_stand_where_their_ids_are():
    model = joined()
    cells = torch.randn(3, 16, 6)
    rows = [model.expand([1, PICTURE, 2, PICTURE, 3], 4), model.expand([4, 5, 6, 7, PICTURE], 4)]
    rows[1] = [9, 9, 9] + rows[1]
    ids = torch.tensor(rows)
    x = model.embed(ids, cells)
    vectors = model.bridge(cells)
    words = model.language.embedding
    by_hand = torch.cat(
        [words(ids[0, :1]), vectors[0], words(ids[0, 5:6]), vectors[1], words(ids[0, 10:])]
    )
    close(x[0], by_hand)
    close(x[1, -4:], vectors[2])
    close(model(ids, cells), model.language.logits(model.language.read(x)))


def test_without_a_picture_it_is_the_language_model():
    for kind in ("projector", "gated"):
        model = joined(kind)
        ids = torch.randint(23, (2, 7))
        close(model(ids), language()(ids))
        cache = {}
        parts = [model(ids[:, :4], cache=cache), model(ids[:, 4:], cache=cache)]
        close(torch.cat(parts, 1), language()(ids))


@pytest.mark.parametrize("kind", ["projector", "queries", "gated"])
def test_padding_before_a_row_changes_nothing(kind):
    model = joined(kind)
    cells = torch.randn(2, 16, 6)
    places = [PICTURE] * {"projector": 4, "queries": 3, "gated": 0}[kind]
    rows = [[1, *places, 5, 6, 7], [2, *places, 0]]
    ids = torch.tensor([rows[0], [9, 9, *rows[1]]])
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[1, :2] = False
    found = model(ids, cells, mask)
    each = [model(torch.tensor([row]), cells[i : i + 1])[0] for i, row in enumerate(rows)]
    close(found[0], each[0])
    close(found[1, 2:], each[1])
    counted = mask.clone()
    counted[1, 2] = False  # no word stands before it
    gained = [each[0].log_softmax(-1)[place - 1, rows[0][place]] for place in (-3, -2, -1)]
    gained.append(each[1].log_softmax(-1)[-2, 0])
    close(model.loss(ids, cells, mask, counted), -torch.stack(gained).mean())


def test_a_gated_model_with_closed_gates_is_the_language_model():
    model = VLM(None, GatedBridge(6, 16, 2), language()).eval()
    ids, cells = torch.randint(23, (2, 7)), torch.randn(2, 9, 6)
    assert torch.equal(model(ids, cells), language()(ids))
    opened = joined("gated")
    assert not torch.allclose(opened(ids, cells), language()(ids))
    close(opened.language(ids), language()(ids))  # the pictures of before are forgotten


@pytest.mark.parametrize("kind", ["projector", "queries", "gated"])
@pytest.mark.parametrize("text", [GPT, Llama])
def test_a_cache_changes_nothing(kind, text):
    model = joined(kind, text)
    cells = torch.randn(2, 16, 6)
    each = {"projector": 4, "queries": 3, "gated": 0}[kind]
    rows = [[1] + [PICTURE] * each + [5, 6, 7, 8], [2] + [PICTURE] * each + [9, 1, 3, 4]]
    ids = torch.tensor(rows)
    cache = {}
    first = model(ids[:, : 2 + each], cells, cache=cache)
    second = model(ids[:, 2 + each : -1], cache=cache)
    third = model(ids[:, -1:], cache=cache)
    close(torch.cat([first, second, third], 1), model(ids, cells))


@pytest.mark.parametrize("kind", ["projector", "queries", "gated"])
@pytest.mark.parametrize("text", [GPT, Llama])
def test_writing_does_not_depend_on_the_batch(kind, text):
    model = joined(kind, text)
    cells = torch.randn(3, 16, 6)
    start = [] if kind == "gated" else [PICTURE]
    prompts = [[1, *start, 5, 6, 7], [2, *start, 9], [3, *start, 8, 8]]
    written = model.generate(prompts, cells, end=0, max_length=9)
    beams = model.generate(prompts, cells, end=0, max_length=9, decode=decoding.beam_search)
    for row, prompt in enumerate(prompts):
        one = cells[row : row + 1]
        assert model.generate([prompt], one, end=0, max_length=9).tokens[0] == written.tokens[row]
        alone = model.generate([prompt], one, end=0, max_length=9, decode=decoding.beam_search)
        assert alone.tokens[0] == beams.tokens[row]
    assert len({tuple(row) for row in written.tokens}) > 1


def test_options_are_handed_on_to_the_decoder():
    def decode(step, ids, **options):
        return options

    found = joined().generate([[1]], None, end=0, max_length=9, decode=decode, beams=3)
    assert found == {"end": 0, "max_length": 9, "beams": 3}


def test_the_loss_counts_words_and_no_picture():
    model = joined()
    cells = torch.randn(2, 16, 6)
    ids = torch.tensor([[1, *[PICTURE] * 4, 5, 6], [2, *[PICTURE] * 4, 9, 0]])
    mask = torch.ones_like(ids, dtype=torch.bool)
    mask[1, -1] = False
    log_probs = model(ids, cells, mask).log_softmax(-1)
    by_hand = -(log_probs[0, 4, 5] + log_probs[0, 5, 6] + log_probs[1, 4, 9]) / 3
    close(model.loss(ids, cells, mask), by_hand)
    counted = torch.zeros_like(mask)
    counted[0, -1] = True
    close(model.loss(ids, cells, mask, counted), -log_probs[0, 5, 6])


def test_parts_that_do_not_fit_are_named_with_their_widths():
    with pytest.raises(ValueError, match=r"width 12.*reads width 16"):
        VLM(None, Projector(6, 12), language())
    with pytest.raises(ValueError, match=r"3 gated layers.*2 layers"):
        VLM(None, GatedBridge(6, 16, 3), language())


def test_a_place_without_a_picture_and_a_picture_without_a_place():
    model = joined()
    cells = torch.randn(1, 16, 6)
    with pytest.raises(
        ValueError, match="no picture was given: pass cells, or take the picture's id out of"
    ):
        model(torch.tensor([[1, PICTURE, 2]]))
    with pytest.raises(
        ValueError,
        match=r"1 pictures of 4 vectors need 4 places.*got 0.*expand\(\) the prompt once$",
    ):
        model(torch.tensor([[1, 2, 3]]), cells)
    with pytest.raises(ValueError, match="need 4 places.*got 8"):
        model.generate([[1, PICTURE, PICTURE, 2]], cells, end=0, max_length=3)
    with pytest.raises(ValueError, match="need 4 places.*got 1"):
        model(torch.tensor([[1, PICTURE, 2]]), cells)  # not expanded
    gated = joined("gated")
    with pytest.raises(
        ValueError, match="^with gated cross-attention the text has no place for a picture"
    ):
        gated(torch.tensor([[1, PICTURE, 2]]), cells)
    with pytest.raises(ValueError, match="2 rows and 1 pictures"):
        gated(torch.tensor([[1, 2], [3, 4]]), cells)
    with pytest.raises(ValueError, match=r"cells of width 6, \(P, N, 6\), got \(1, 16, 5\)"):
        gated(torch.tensor([[1, 2, 3]]), cells[..., :5])


def test_a_picture_is_not_torn_nor_given_to_another_row():
    model = joined()
    cells = torch.randn(2, 16, 6)
    ids = torch.tensor([[1, *[PICTURE] * 5, 2], [1, *[PICTURE] * 3, 2, 2, 2]])
    with pytest.raises(
        ValueError, match=r"\[5, 3\] places.*has 4 vectors and stands in one row: expand\(\) each"
    ):
        model(ids, cells)
    for kind in ("projector", "queries"):
        with pytest.raises(ValueError, match=r"the prompts have \[2, 0\] places"):
            joined(kind).generate([[1, PICTURE, PICTURE], [1, 5]], cells, end=0, max_length=3)
    alone = model.generate([[1, PICTURE, PICTURE]], cells, end=0, max_length=3)
    assert len(alone.tokens) == 1  # two pictures in one prompt are fine


def test_a_refused_call_leaves_no_picture_behind():
    model = joined("gated")
    cells = torch.randn(2, 16, 6)
    ids = torch.randint(23, (2, 7))
    with pytest.raises(ValueError, match="context"):
        model(torch.randint(23, (2, 60)), cells)
    close(model.language(ids), language()(ids))
    with pytest.raises(ValueError, match="ids must lie"):
        model(torch.full((2, 3), 99), cells)
    close(model.language(ids), language()(ids))


def test_a_language_model_takes_one_gated_bridge():
    text = language()
    VLM(None, GatedBridge(6, 16, 2), text)
    with pytest.raises(
        ValueError, match="^the language model has gated layers already: load it anew"
    ):
        VLM(None, GatedBridge(6, 16, 2), text)


def test_a_prompt_that_is_too_long_with_its_picture():
    model = joined()
    with pytest.raises(ValueError, match="a prompt of 38 tokens, pictures included, and 9 more"):
        model.generate([[1] * 34 + [PICTURE]], torch.randn(1, 16, 6), end=0, max_length=9)
    prompt = [[1] * 34 + [PICTURE]]
    assert model.generate(prompt, torch.randn(1, 16, 6), end=0, max_length=3).tokens
    expected = "and 4 more do not fit into the context of 40: .* picture, or lower max_length$"
    with pytest.raises(ValueError, match=expected):
        model.generate(prompt, torch.randn(1, 16, 6), end=0, max_length=4)
    with pytest.raises(ValueError, match="ids must lie between 0 and 22"):
        model(torch.tensor([[1, 23]]))


def test_the_encoder_is_asked_without_gradients():
    class Eyes(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 6)

        def encode(self, pictures):
            return self.layer(pictures)

    eyes = Eyes()
    model = VLM(eyes, Projector(6, 16), language())
    pictures = torch.randn(2, 5, 3)
    close(model.encode(pictures), eyes.layer(pictures))
    assert not model.encode(pictures).requires_grad
