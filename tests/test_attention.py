"""Attention equals PyTorch's, keeps its invariances, and says what is wrong with a mask."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmcourse.attention import MultiHeadAttention, fused_attention, scaled_dot_product_attention
from tests.helpers import close, copy_attention, past, randomise, some

SHAPES = [
    (1, 1, 1, 3, 1),
    (2, 5, 7, 15, 3),
    (3, 8, 4, 20, 5),
    (2, 6, 6, 128, 2),
]  # B, T, S, D, H: heads of 3, 5, 4, 64
LEADING = [
    ((), 3, 4, 5, 2),
    ((2,), 7, 1, 3, 6),
    ((2, 3), 5, 9, 7, 7),
    ((1, 2), 9, 5, 64, 1),
]  # leading, T, S, d_k, d_v
MASKS = ["none", "square", "padding", "causal", "causal and padding"]

pytestmark = pytest.mark.usefixtures("double")


def test_three_quarters_by_hand():
    query = torch.tensor(
        [[2 * math.log(3), 0, 0, 0]]
    )  # two halves the logarithm, so the scores are ln 3 and 0
    key, value = (
        torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]]),
        torch.tensor([[8.0, 0.0], [0.0, 4.0]]),
    )
    output, weights = scaled_dot_product_attention(query, key, value, return_weights=True)
    close(weights, torch.tensor([[0.75, 0.25]]))
    close(output, torch.tensor([[6.0, 1.0]]))


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize(("leading", "T", "S", "d_k", "d_v"), LEADING)
def test_equals_torch(leading, T, S, d_k, d_v, kind):
    inputs = [
        torch.randn(*leading, *shape, requires_grad=True)
        for shape in [(T, d_k), (S, d_k), (S, d_v)]
    ]
    mask = {"square": some(*leading, T, S), "padding": some(*leading, 1, S)}.get(kind.split()[-1])
    allowed = mask
    if "causal" in kind:
        allowed = past(T, S) if mask is None else mask & past(T, S)
    reached = (
        torch.ones(T, 1, dtype=torch.bool) if allowed is None else allowed.any(-1, keepdim=True)
    )
    theirs = F.scaled_dot_product_attention(*inputs, attn_mask=allowed).nan_to_num() * reached
    ours, weights = scaled_dot_product_attention(
        *inputs, mask, causal="causal" in kind, return_weights=True
    )
    close(ours, theirs)
    close(weights @ inputs[2], theirs)
    gradients = torch.autograd.grad(ours.square().sum(), inputs)
    expected = torch.autograd.grad(theirs.square().sum(), inputs)
    for mine, other in zip(gradients, expected, strict=True):
        close(mine, other.nan_to_num())
    assert torch.equal(scaled_dot_product_attention(*inputs, mask, causal="causal" in kind), ours)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equals_torch_in_low_precision(dtype):
    query, key, value = torch.randn(3, 2, 5, 7, dtype=dtype)
    mask = some(5, 5)
    mask[2] = False
    ours = scaled_dot_product_attention(query, key, value, mask)
    theirs = F.scaled_dot_product_attention(query, key, value, mask).nan_to_num()
    assert ours.dtype == dtype
    close(ours, theirs, 1e-6 if dtype == torch.float32 else 3e-2)


@pytest.mark.parametrize("masked", [False, True])
def test_scores_that_float16_cannot_hold(masked):
    """Its largest number is 65,504. PyTorch's kernel adds up in 32 bits, so it stays finite."""
    query, key, value = 300 * torch.randn(3, 2, 5, 64).half()
    assert (query.float() @ key.float().mT / 8).abs().max() > 65504
    mask = some(5, 5) if masked else None
    theirs = F.scaled_dot_product_attention(query, key, value, mask)
    ours, weights = scaled_dot_product_attention(query, key, value, mask, return_weights=True)
    assert ours.dtype == weights.dtype == torch.float16 and theirs.isfinite().all()
    close(ours.float(), theirs.float(), 1.0)  # values go up to 1,000, of 11 bits


def test_causal_without_a_mask_is_torch_is_causal():
    query, key, value = torch.randn(3, 2, 5, 3)
    theirs = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    close(scaled_dot_product_attention(query, key, value, causal=True), theirs)


def test_the_lowest_visible_score_still_wins_over_a_hidden_one():
    key = torch.tensor(
        [[-1e200], [1.0], [-1e200]]
    )  # a mask that only subtracts 1e9 would fail here
    mask = torch.tensor([True, False, True])
    weights = scaled_dot_product_attention(torch.ones(1, 1), key, key, mask, return_weights=True)[1]
    close(weights, torch.tensor([[0.5, 0.0, 0.5]]))


def test_a_row_that_may_look_nowhere_is_zero_in_both_passes():
    inputs = [torch.randn(2, 4, 3, requires_grad=True) for _ in range(3)]
    mask = torch.ones(2, 4, 4, dtype=torch.bool)
    mask[0, 1] = mask[1] = False
    output, weights = scaled_dot_product_attention(*inputs, mask, return_weights=True)
    gradients = torch.autograd.grad((output**3).sum() + (weights**2).sum(), inputs)
    assert (
        not output[0, 1].any()
        and not output[1].any()
        and not weights[0, 1].any()
        and not weights[1].any()
    )
    close(weights[0, [0, 2, 3]].sum(-1), torch.ones(3))
    assert all(gradient.isfinite().all() and not gradient[1].any() for gradient in gradients)
    assert not gradients[0][0, 1].any() and gradients[0][0, 0].all()


def test_more_targets_than_sources_leave_the_first_targets_blind():
    value = torch.randn(2, 3)
    output, weights = scaled_dot_product_attention(
        torch.randn(5, 3), value, value, causal=True, return_weights=True
    )
    assert not weights[:3].any() and not output[:3].any()
    close(output[3], value[0])
    assert weights[4].all()


@pytest.mark.parametrize("function", [scaled_dot_product_attention, fused_attention])
@pytest.mark.parametrize(
    "mask", [torch.ones(3, 4), torch.ones(3, 4, dtype=torch.long), [[True] * 4] * 3, "causal"]
)
def test_a_mask_that_is_not_boolean_says_so(mask, function):
    got = str(mask.dtype) if isinstance(mask, torch.Tensor) else type(mask).__name__
    with pytest.raises(TypeError, match=rf"torch\.bool tensor, True = may look, got .*{got}\. Try"):
        function(torch.ones(3, 2), torch.ones(4, 2), torch.ones(4, 2), mask)


@pytest.mark.parametrize("function", [scaled_dot_product_attention, fused_attention])
@pytest.mark.parametrize("shape", [(4, 3), (3,), (2, 3, 4), (3, 5), (0, 4)])
def test_a_mask_of_the_wrong_shape_says_so(shape, function):
    inputs = [torch.ones(n, 2) for n in (3, 4, 4)]
    with pytest.raises(ValueError) as error:
        function(*inputs, torch.ones(shape, dtype=torch.bool))
    assert "(..., T, S) = (3, 4)" in str(error.value) and f"got {shape}" in str(error.value)
    assert str(error.value).endswith("is passed as mask[:, None, None, :].")


def masks_for(kind, B, T, S, H):
    """Our mask, then torch's attn_mask and key_padding_mask, in which True = may not look."""
    if kind == "square":
        mask = some(B, H, T, S)
        return mask, ~mask.flatten(0, 1), None
    padding = some(B, S) if "padding" in kind else None
    ours = None if padding is None else padding[:, None, None, :]
    return ours, ~past(T, S) if "causal" in kind else None, None if padding is None else ~padding


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize(("B", "T", "S", "D", "H"), SHAPES)
def test_multi_head_attention_equals_torch(B, T, S, D, H, kind, bias):
    theirs = randomise(nn.MultiheadAttention(D, H, bias=bias, batch_first=True))
    ours = MultiHeadAttention(D, H, bias=bias)
    copy_attention(ours, theirs)
    query, context = torch.randn(B, T, D), torch.randn(B, S, D)
    if "causal" in kind:
        context = torch.cat(
            [context, query], 1
        )  # so that no row is blind, which torch answers with NaN
        S = S + T
    mask, attn_mask, padding = masks_for(kind, B, T, S, H)
    if kind == "causal and padding":
        padding[:, 0], mask[..., 0] = False, True
    masks = {"attn_mask": attn_mask, "key_padding_mask": padding}
    expected, expected_weights = theirs(
        query, context, context, average_attn_weights=False, **masks
    )
    output, weights = ours(query, context, mask, causal="causal" in kind, return_weights=True)
    close(output, expected)
    close(weights, expected_weights)
    close(ours(query, context, mask, causal="causal" in kind), output)
    close(ours(query), theirs(query, query, query)[0])
    names = {f"{part}.weight" for part in ("query", "key", "value", "output")}
    assert set(ours.state_dict()) == names | (
        {name.replace("weight", "bias") for name in names} if bias else set()
    )


def test_bias_is_there_unless_refused_and_dropout_is_not():
    assert MultiHeadAttention(6, 2).query.bias is not None
    layer, x = MultiHeadAttention(6, 2).train(), torch.randn(1, 9, 6)
    assert torch.equal(layer(x), layer(x))


@pytest.mark.parametrize(("width", "heads"), [(10, 3), (4, 8), (4, 0), (4, -2)])
def test_heads_that_do_not_divide_the_width_say_so(width, heads):
    with pytest.raises(ValueError, match=f"divide the width, got width {width} and heads {heads}"):
        MultiHeadAttention(width, heads)
    assert MultiHeadAttention(4, 1).heads == 1


def test_dropout_is_applied_in_training_only():
    layer, x = randomise(MultiHeadAttention(6, 2, dropout=0.5)), torch.randn(2, 9, 6)
    assert not torch.equal(layer.train()(x), layer(x))
    torch.manual_seed(1)
    output, weights = layer(x, return_weights=True)
    torch.manual_seed(1)
    dropped = F.dropout(weights, 0.5) @ layer.value(x).view(2, 9, 2, 3).transpose(1, 2)
    close(output, layer.output(dropped.transpose(1, 2).reshape(2, 9, 6)))
    torch.manual_seed(1)
    close(layer(x), output)  # asked for or not, the same weights are dropped
    close(layer.eval()(x), layer(x))
    close(layer(x, return_weights=True)[0], layer(x))
    close(weights.sum(-1), torch.ones(2, 2, 9))


@pytest.fixture
def layer():
    return randomise(MultiHeadAttention(6, 3)).eval()


def test_causality(layer):
    x = torch.randn(2, 7, 6)
    changed = x.clone()
    changed[:, 4:] = torch.randn(2, 3, 6)
    before, after = layer(x, causal=True), layer(changed, causal=True)
    close(after[:, :4], before[:, :4])
    assert (after[:, 4:] - before[:, 4:]).abs().min() > 1e-6


def test_padding_changes_nothing(layer):
    x = torch.randn(2, 5, 6)
    padded = torch.cat([x, 100 * torch.randn(2, 3, 6)], 1)
    mask = (torch.arange(8) < 5).expand(2, 1, 1, 8)
    close(layer(x, padded, mask), layer(x))


def test_permutations(layer):
    x, context, order = torch.randn(2, 5, 6), torch.randn(2, 5, 6), torch.tensor([3, 0, 4, 1, 2])
    close(
        layer(x[:, order]), layer(x)[:, order]
    )  # equivariant: permuted tokens give permuted outputs
    close(
        layer(x, context[:, order]), layer(x, context)
    )  # invariant: the order of the sources does not matter
    assert (layer(x[:, order], causal=True) - layer(x, causal=True)[:, order]).abs().max() > 1e-3


def test_batch_rows_do_not_meet(layer):
    x, context = torch.randn(4, 5, 6), torch.randn(4, 3, 6)
    mask = some(4, 1, 5, 3)
    rows = [layer(x[i : i + 1], context[i : i + 1], mask[i : i + 1]) for i in range(4)]
    close(torch.cat(rows), layer(x, context, mask))


def test_without_a_batch(layer):
    x = torch.randn(2, 5, 6)
    close(layer(x[1]), layer(x)[1])
    cache = {}
    steps = [layer(new, causal=True, cache=cache) for new in x[1].split(2)]
    close(torch.cat(steps), layer(x, causal=True)[1])


def test_stays_on_the_device_of_its_inputs():
    inputs = torch.ones(3, 4, 2, device="meta")  # a device without numbers, which every machine has
    assert scaled_dot_product_attention(*inputs, causal=True).device.type == "meta"
    assert (
        scaled_dot_product_attention(*inputs, inputs[0, :, :1] > 0, causal=True).device.type
        == "meta"
    )


@pytest.mark.parametrize("sizes", [[1] * 7, [3, 1, 3], [1, 5, 1], [7]])
def test_cache_on_equals_cache_off(layer, sizes):
    x, padding = torch.randn(2, 7, 6), torch.ones(2, 1, 1, 7, dtype=torch.bool)
    padding[0, ..., 2] = False
    cache, outputs, end = {}, [], 0
    for size in sizes:
        end += size
        new, seen = x[:, end - size : end], padding[..., :end]
        output, weights = layer(new, mask=seen, causal=True, cache=cache, return_weights=True)
        assert weights.shape == (2, 3, size, end)
        outputs.append(output)
    close(torch.cat(outputs, 1), layer(x, mask=padding, causal=True))
    assert cache["key"].shape == cache["value"].shape == (2, 3, 7, 2)


def test_a_cached_context_is_projected_once(layer):
    x, context = torch.randn(2, 4, 6), torch.randn(2, 5, 6)
    cache = {}
    close(layer(x[:, :2], context, cache=cache), layer(x, context)[:, :2])
    kept = dict(cache)
    calls = []
    layer.key.register_forward_hook(lambda *_: calls.append(1))
    close(layer(x[:, 2:], context, cache=cache), layer(x, context)[:, 2:])
    assert len(calls) == 1, "only the call without a cache projects"
    assert cache["key"] is kept["key"] and cache["value"] is kept["value"]
    assert cache["key"].shape == (2, 3, 5, 2)


@pytest.mark.parametrize("rows", [1, 3])
def test_rows_that_share_a_cached_context(layer, rows):
    """As with a context of their own: beam search keeps one for all beams of a picture."""
    x, context, cache = torch.randn(2 * rows, 4, 6), torch.randn(2, 5, 6), {}
    mask = torch.rand(2, 1, 1, 5) > 0.3
    layer(x[::rows, :1], context, mask, cache=cache)
    output, weights = layer(x, context, mask, cache=cache, return_weights=True)
    own = context.repeat_interleave(rows, 0), mask.repeat_interleave(rows, 0)
    expected = layer(x, *own, return_weights=True)
    close(output, expected[0])
    close(weights.unflatten(2, (rows, 4)).transpose(1, 2).flatten(0, 1), expected[1])
    cache = {}
    layer(x[::rows, :1], context, cache=cache)  # without a mask and weights it takes another way
    close(layer(x, context, cache=cache), layer(x, own[0]))
    assert len(cache["key"]) == 2


def test_a_cached_context_of_other_rows_says_so(layer):
    cache = {}
    layer(torch.randn(2, 1, 6), torch.randn(2, 5, 6), cache=cache)
    with pytest.raises(ValueError, match="the 2 rows of the cached context .* got 3. Reorder the"):
        layer(torch.randn(3, 1, 6), torch.randn(3, 5, 6), cache=cache)
