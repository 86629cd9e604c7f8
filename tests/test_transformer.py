"""The Transformer equals PyTorch's, layer by layer and stacked, and its cache changes no number."""

import math

import pytest
import torch
from torch import nn

from mmcourse import attention
from mmcourse.attention import MultiHeadAttention, scaled_dot_product_attention
from mmcourse.transformer import (
    Decoder,
    DecoderLayer,
    Encoder,
    EncoderLayer,
    FeedForward,
    reorder,
    sinusoidal_positions,
)
from tests.helpers import close, copy_attention, past, randomise, some

SHAPES = [
    (1, 1, 3, 3, 1, 5),
    (2, 5, 7, 15, 3, 11),
    (3, 8, 4, 20, 5, 9),
    (2, 4, 6, 128, 2, 7),
]  # B, T, S, D, H, hidden

pytestmark = pytest.mark.usefixtures("double")


def copy_layer(ours, theirs):
    """Copy the weights of an encoder or a decoder layer of PyTorch."""
    copy_attention(ours.attention, theirs.self_attn)
    if hasattr(theirs, "multihead_attn"):
        copy_attention(ours.cross_attention, theirs.multihead_attn)
    first, last = (part for part in ours.feed_forward if isinstance(part, nn.Linear))
    pairs = [(first, theirs.linear1), (last, theirs.linear2)]
    pairs += [
        (getattr(ours, name), part)
        for name, part in theirs.named_children()
        if name.startswith("norm")
    ]
    for mine, other in pairs:
        mine.load_state_dict(other.state_dict())


def reference(kind, D, H, hidden, dropout=0.0, **options):
    return randomise(kind(D, H, hidden, dropout, activation="gelu", batch_first=True, **options))


def padding_and_inputs(B, T, S, D, masked):
    """A target, a memory, and for each a padding mask that lets every row look somewhere."""
    padding, memory_padding = some(B, T) if masked else None, some(B, S) if masked else None
    if masked:
        padding[:, 0] = True  # the first target sees only itself
    return torch.randn(B, T, D), torch.randn(B, S, D), padding, memory_padding


def ours(padding):
    return None if padding is None else padding[:, None, None, :]


def theirs(padding):
    return None if padding is None else ~padding


def test_sinusoidal_positions_follow_the_formula():
    table = sinusoidal_positions(50, 6)
    assert table.shape == (50, 6)
    for p in (0, 1, 7, 49):
        for i in range(3):
            assert table[p, 2 * i].item() == pytest.approx(
                math.sin(p / 10000 ** (2 * i / 6)), abs=1e-12
            )
            assert table[p, 2 * i + 1].item() == pytest.approx(
                math.cos(p / 10000 ** (2 * i / 6)), abs=1e-12
            )
    assert sinusoidal_positions(0, 4).shape == (0, 4)
    torch.set_default_dtype(torch.float32)
    assert sinusoidal_positions(3, 4).dtype == torch.float32


def test_dot_product_of_positions_knows_their_distance_only():
    for width in (2, 6, 32):
        products = sinusoidal_positions(40, width) @ sinusoidal_positions(40, width).T
        for p, q in [(0, 0), (3, 1), (7, 39), (39, 30)]:
            waves = [math.cos((p - q) * 10000 ** (-2 * i / width)) for i in range(width // 2)]
            assert products[p, q].item() == pytest.approx(sum(waves), abs=1e-9)


def test_an_odd_width_has_no_positions():
    with pytest.raises(ValueError, match=r"^width must be even, .* got 7\. Use 8\.$"):
        sinusoidal_positions(3, 7)


def test_feed_forward_is_gelu_between_two_maps():
    layer, x = randomise(FeedForward(3, 5)), torch.randn(2, 4, 3)
    first, last = layer[0], layer[-1]
    hidden = x @ first.weight.T + first.bias
    close(layer(x), hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2 @ last.weight.T + last.bias)
    assert first.weight.shape == (5, 3)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize(("B", "T", "S", "D", "H", "hidden"), SHAPES)
def test_encoder_layer_equals_torch(B, T, S, D, H, hidden, norm_first, masked):
    other = reference(
        nn.TransformerEncoderLayer, D, H, hidden, norm_first=norm_first, layer_norm_eps=0.1
    )
    layer = EncoderLayer(D, H, hidden, norm_first=norm_first, eps=0.1)
    copy_layer(layer, other)
    x, _, padding, _ = padding_and_inputs(B, T, S, D, masked)
    output, weights = layer(x, ours(padding), return_weights=True)
    close(output, other(x, src_key_padding_mask=theirs(padding)))
    seen = layer.norm1(x) if norm_first else x
    close(
        weights, other.self_attn(seen, seen, seen, theirs(padding), average_attn_weights=False)[1]
    )
    close(layer(x, ours(padding)), output)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize(("B", "T", "S", "D", "H", "hidden"), SHAPES)
def test_decoder_layer_equals_torch(B, T, S, D, H, hidden, norm_first, masked):
    other = reference(nn.TransformerDecoderLayer, D, H, hidden, norm_first=norm_first)
    layer = DecoderLayer(D, H, hidden, norm_first=norm_first)
    copy_layer(layer, other)
    x, memory, padding, memory_padding = padding_and_inputs(B, T, S, D, masked)
    output, weights = layer(x, memory, ours(padding), ours(memory_padding), return_weights=True)
    close(output, other(x, memory, ~past(T, T), None, theirs(padding), theirs(memory_padding)))
    assert weights.shape == (B, H, T, S)
    close(weights.sum(-1), torch.ones(B, H, T))
    if masked:
        assert not weights.masked_select(theirs(memory_padding)[:, None, None]).any()
    close(layer(x, memory, ours(padding), ours(memory_padding)), output)


def test_layers_are_pre_norm_four_times_as_wide_and_without_dropout_unless_told():
    for kind in (EncoderLayer, DecoderLayer):
        layer = kind(6, 2)
        assert layer.norm_first and layer.feed_forward[0].out_features == 24
        assert layer.norm1.eps == layer.norm2.eps == 1e-5
        assert layer.dropout.p == layer.attention.dropout == layer.feed_forward[2].p == 0.0
    for stack in (Encoder(2, 6, 2), Decoder(2, 6, 2)):
        assert len(stack.layers) == 2 and stack.norm.eps == 1e-5
        for layer in stack.layers:
            assert (
                layer.norm_first
                and layer.feed_forward[0].out_features == 24
                and layer.dropout.p == 0.0
            )
            assert layer.norm1.eps == 1e-5


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("decoder", [False, True])
def test_dropout_falls_where_torch_drops(decoder, norm_first):
    """From one seed both draw the same numbers, so every dropout must be in its place."""
    kinds = (
        (nn.TransformerDecoderLayer, DecoderLayer)
        if decoder
        else (nn.TransformerEncoderLayer, EncoderLayer)
    )
    other = reference(kinds[0], 6, 2, 10, 0.3, norm_first=norm_first).train()
    layer = kinds[1](6, 2, 10, 0.3, norm_first=norm_first).train()
    copy_layer(layer, other)
    x, memory = (
        torch.randn(1, 5, 6),
        torch.randn(1, 4, 6),
    )  # one row, since PyTorch lays a batch out differently
    outputs = []
    for module in (layer, other):
        torch.manual_seed(1)
        mask = {} if module is layer else {"tgt_mask": ~past(5, 5)}
        outputs.append(module(x, memory, **mask) if decoder else module(x))
    close(*outputs)
    assert not torch.equal(layer(x, memory) if decoder else layer(x), outputs[0])
    layer.eval()
    other.eval()
    close(
        layer(x, memory) if decoder else layer(x),
        other(x, memory, ~past(5, 5)) if decoder else other(x),
    )


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("B", "T", "S", "D", "H", "hidden"), SHAPES)
def test_encoder_equals_torch(B, T, S, D, H, hidden, masked):
    layer = reference(nn.TransformerEncoderLayer, D, H, hidden, norm_first=True)
    other = randomise(nn.TransformerEncoder(layer, 3, nn.LayerNorm(D), enable_nested_tensor=False))
    stack = Encoder(3, D, H, hidden)
    for mine, part in zip(stack.layers, other.layers, strict=True):
        copy_layer(mine, part)
    stack.norm.load_state_dict(other.norm.state_dict())
    x, _, padding, _ = padding_and_inputs(B, T, S, D, masked)
    output, weights = stack(x, ours(padding), return_weights=True)
    close(output, other(x, src_key_padding_mask=theirs(padding)))
    close(stack(x, ours(padding)), output)
    for number, mine in enumerate(stack.layers):
        x, expected = mine(x, ours(padding), return_weights=True)
        assert torch.equal(weights[:, number], expected)
    assert weights.shape == (B, 3, H, T, T)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("B", "T", "S", "D", "H", "hidden"), SHAPES)
def test_decoder_equals_torch(B, T, S, D, H, hidden, masked):
    layer = reference(nn.TransformerDecoderLayer, D, H, hidden, norm_first=True)
    other = randomise(nn.TransformerDecoder(layer, 3, nn.LayerNorm(D)))
    stack = Decoder(3, D, H, hidden)
    for mine, part in zip(stack.layers, other.layers, strict=True):
        copy_layer(mine, part)
    stack.norm.load_state_dict(other.norm.state_dict())
    x, memory, padding, memory_padding = padding_and_inputs(B, T, S, D, masked)
    output, weights = stack(x, memory, ours(padding), ours(memory_padding), return_weights=True)
    close(output, other(x, memory, ~past(T, T), None, theirs(padding), theirs(memory_padding)))
    close(stack(x, memory, ours(padding), ours(memory_padding)), output)
    for number, mine in enumerate(stack.layers):
        x, expected = mine(x, memory, ours(padding), ours(memory_padding), return_weights=True)
        assert torch.equal(weights[:, number], expected)
    assert weights.shape == (B, 3, H, T, S)


def test_stacks_pass_on_dropout_and_epsilon():
    assert {layer.norm1.eps for layer in Encoder(2, 6, 2, eps=0.5).layers} == {0.5}
    assert (
        Encoder(1, 6, 2, eps=0.5).layers[0].norm2.eps == Encoder(1, 6, 2, eps=0.5).norm.eps == 0.5
    )
    x = torch.randn(1, 5, 6)
    for stack, inputs in (
        (Encoder(1, 6, 2, dropout=0.4), [x]),
        (Decoder(1, 6, 2, dropout=0.4), [x, x]),
    ):
        layer = stack.layers[0]
        assert layer.dropout.p == layer.attention.dropout == layer.feed_forward[2].p == 0.4
        assert not torch.equal(stack.train()(*inputs), stack(*inputs))
        assert torch.equal(stack.eval()(*inputs), stack(*inputs))


@pytest.fixture
def decoder():
    return randomise(Decoder(2, 6, 3, 8)).eval()


@pytest.fixture
def encoder():
    return randomise(Encoder(2, 6, 3, 8)).eval()


def test_decoder_is_causal(decoder):
    x, memory = torch.randn(2, 7, 6), torch.randn(2, 4, 6)
    changed = x.clone()
    changed[:, 4:] = torch.randn(2, 3, 6)
    before, after = decoder(x, memory), decoder(changed, memory)
    close(after[:, :4], before[:, :4])
    assert (after[:, 4:] - before[:, 4:]).abs().amax(-1).min() > 1e-3


def test_padding_changes_nothing(encoder, decoder):
    x, memory, rubbish = torch.randn(2, 5, 6), torch.randn(2, 4, 6), 100 * torch.randn(2, 3, 6)
    mask = (torch.arange(8) < 5).expand(2, 1, 1, 8)
    close(encoder(torch.cat([x, rubbish], 1), mask)[:, :5], encoder(x))
    memory_mask = (torch.arange(7) < 4).expand(2, 1, 1, 7)
    close(decoder(x, torch.cat([memory, rubbish], 1), memory_mask=memory_mask), decoder(x, memory))
    padded = decoder(
        torch.cat([rubbish, x], 1), memory, mask.flip(-1)
    )  # before the words, and so in the past
    close(padded[:, 3:], decoder(x, memory))
    assert padded.isfinite().all()


def test_permutations(encoder, decoder):
    x, memory, order = torch.randn(2, 5, 6), torch.randn(2, 5, 6), torch.tensor([3, 0, 4, 1, 2])
    close(encoder(x[:, order]), encoder(x)[:, order])
    close(decoder(x, memory[:, order]), decoder(x, memory))
    assert (decoder(x[:, order], memory) - decoder(x, memory)[:, order]).abs().max() > 1e-3


def test_batch_rows_do_not_meet(encoder, decoder):
    x, memory, mask = torch.randn(4, 5, 6), torch.randn(4, 3, 6), some(4, 1, 1, 3)
    rows = [slice(i, i + 1) for i in range(4)]
    close(torch.cat([encoder(x[i]) for i in rows]), encoder(x))
    close(
        torch.cat([decoder(x[i], memory[i], None, mask[i]) for i in rows]),
        decoder(x, memory, None, mask),
    )


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("sizes", [[1] * 7, [3, 1, 3], [1, 5, 1], [7]])
def test_cache_on_equals_cache_off(sizes, norm_first):
    decoder = randomise(Decoder(2, 6, 3, 8)).eval()
    for layer in decoder.layers:
        layer.norm_first = norm_first
    x, memory, memory_mask = torch.randn(2, 7, 6), torch.randn(2, 4, 6), some(2, 1, 1, 4)
    mask = torch.ones(2, 1, 1, 7, dtype=torch.bool)
    mask[0, ..., 2] = False
    expected, expected_weights = decoder(x, memory, mask, memory_mask, return_weights=True)
    cache, outputs, end = {}, [], 0
    for size in sizes:
        end += size
        new, seen = x[:, end - size : end], mask[..., :end]
        outputs.append(decoder(new, memory, seen, memory_mask, cache=cache, return_weights=True))
    close(torch.cat([output for output, _ in outputs], 1), expected)
    close(torch.cat([weights for _, weights in outputs], -2), expected_weights)
    assert cache[0]["self"]["key"].shape == (2, 3, 7, 2) and cache[1]["cross"]["key"].shape == (
        2,
        3,
        4,
        2,
    )


def test_the_cache_projects_the_memory_once(decoder):
    x, memory, cache = torch.randn(2, 3, 6), torch.randn(2, 4, 6), {}
    decoder(x[:, :2], memory, cache=cache)
    kept = cache[1]["cross"]["value"]
    close(decoder(x[:, 2:], memory, cache=cache), decoder(x, memory)[:, 2:])
    assert cache[1]["cross"]["value"] is kept


def test_reorder_continues_other_rows(decoder):
    x, memory, index = torch.randn(3, 5, 6), torch.randn(3, 4, 6), torch.tensor([2, 0, 0, 1])
    cache = {}
    decoder(x[:, :4], memory, cache=cache)
    cache["length"] = 4
    same = cache[0]["self"]
    reorder(cache, index, shared=index)
    assert cache[0]["self"] is same and cache["length"] == 4
    expected = decoder(x[index], memory[index])[:, 4:]
    close(decoder(x[index, 4:], memory[index], cache=cache), expected)


@pytest.mark.parametrize(("B", "T", "S", "D", "H", "hidden"), SHAPES)
def test_float32_is_close_enough(B, T, S, D, H, hidden):
    """The other tests compute in float64, where agreement proves the formula; models do not."""
    torch.set_default_dtype(torch.float32)
    x, memory = torch.randn(B, T, D), torch.randn(B, S, D)
    attention, encoder, decoder = (
        nn.MultiheadAttention(D, H, batch_first=True),
        Encoder(2, D, H),
        Decoder(2, D, H),
    )
    mine = MultiHeadAttention(D, H)
    copy_attention(mine, attention)
    close(mine(x, memory), attention(x, memory, memory)[0], 1e-5)
    options = {"activation": "gelu", "batch_first": True, "norm_first": True, "dropout": 0.0}
    for stack, inputs, masks, other in (
        (encoder, [x], {}, nn.TransformerEncoderLayer(D, H, 4 * D, **options)),
        (
            decoder,
            [x, memory],
            {"tgt_mask": ~past(T, T)},
            nn.TransformerDecoderLayer(D, H, 4 * D, **options),
        ),
    ):
        for layer in stack.layers:
            copy_layer(layer, other)
        expected = inputs[0]
        for _ in stack.layers:
            expected = other(expected, *inputs[1:], **masks)
        close(stack(*inputs), stack.norm(expected), 1e-5)


def test_reorder_leaves_what_beams_share(decoder):
    x, memory, cache = torch.randn(6, 7, 6), torch.randn(3, 5, 6), {}
    decoder(x[::2, :2], memory, cache=cache)
    own = [entry["cross"]["key"] for entry in cache.values()]
    reorder(cache, torch.arange(3).repeat_interleave(2))
    reorder(cache, torch.tensor([1, 0, 3, 3, 4, 4]))  # within each pair
    assert all(entry["cross"]["key"] is key for entry, key in zip(cache.values(), own, strict=True))
    whole = torch.cat([x[[0, 0, 2, 2, 4, 4], :2], x[:, 2:]], 1)
    expected = decoder(whole, memory.repeat_interleave(2, 0))[:, 2:]
    close(decoder(x[:, 2:], memory, cache=cache), expected)
    rows, shared = torch.tensor([0, 1, 5, 4]), torch.tensor([0, 2])  # the second pair is done
    reorder(cache, rows, shared=shared)
    assert [len(entry["cross"]["key"]) for entry in cache.values()] == [2] * len(cache)
    assert [len(entry["self"]["key"]) for entry in cache.values()] == [4] * len(cache)


def test_what_is_shared_and_what_is_not_are_told_apart_by_the_call_alone():
    """The same tensor for both is no sign of anything, nor is one that names all rows."""
    both = torch.arange(3)
    cache = {"own": torch.eye(3), "cross": {"key": torch.eye(3)}}
    own, key = cache["own"], cache["cross"]["key"]
    reorder(cache, both.flip(0))
    assert torch.equal(cache["own"], own.flip(0)) and cache["cross"]["key"] is key
    reorder(cache, both, shared=both.flip(0))
    assert torch.equal(cache["own"], own.flip(0))
    assert torch.equal(cache["cross"]["key"], key.flip(0))


@pytest.mark.parametrize("kind", [EncoderLayer, DecoderLayer, Encoder, Decoder])
def test_weights_are_computed_only_for_whoever_asks(kind, monkeypatch):
    calls = []

    def counted(*inputs, **options):
        calls.append(1)
        return scaled_dot_product_attention(*inputs, **options)

    monkeypatch.setattr(attention, "scaled_dot_product_attention", counted)
    stack = kind in (Encoder, Decoder)
    module = kind(2, 6, 3) if stack else kind(6, 3)
    x = torch.randn(2, 5, 6)
    inputs = [x, x] if kind in (DecoderLayer, Decoder) else [x]
    module(*inputs)
    assert not calls
    module(*inputs, return_weights=True)
    assert len(calls) == (2 if stack else 1)
