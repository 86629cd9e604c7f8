"""Quantisation: PyTorch's numbers, packed codes, layers, and what is refused by name."""

import copy
import warnings

import pytest
import torch
from torch import nn

from mmcourse.captioning import SceneCaptioner
from mmcourse.compression import (
    DynamicLinear,
    QuantisedConv2d,
    QuantisedEmbedding,
    QuantisedLinear,
    QuantisedSceneCaptioner,
    Scheme,
    StaticLinear,
    choose_scale,
    dequantise,
    fake_quantise,
    keep_floats,
    pack,
    quantisable,
    quantise,
    quantise_model,
    relative_error,
    unpack,
    weight_bytes,
)
from mmcourse.data.language import vocabulary

SHAPES = [(1, 3), (5, 7), (13, 3, 5, 3)]
SCHEMES = [Scheme(b, s, c) for b in (8, 5, 4, 2) for s in (True, False) for c in (True, False)]


def names(scheme):
    return f"{scheme.bits}-{'sym' if scheme.symmetric else 'aff'}-{scheme.per_channel}"


def observed(x, scheme):
    """Scale and zero point by PyTorch's observers."""
    from torch.ao import quantization as ao

    kind = "symmetric" if scheme.symmetric else "affine"
    options = {"dtype": torch.qint8, "quant_min": scheme.low, "quant_max": scheme.high}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if scheme.per_channel:
            qscheme = getattr(torch, f"per_channel_{kind}")
            observer = ao.PerChannelMinMaxObserver(0, qscheme=qscheme, **options)
        else:
            observer = ao.MinMaxObserver(qscheme=getattr(torch, f"per_tensor_{kind}"), **options)
        observer(x)
        return observer.calculate_qparams()


def drawn(shape, seed):
    """Numbers of odd ranges: shifted, one row loud, and one constant."""
    torch.manual_seed(seed)
    x = torch.randn(shape) * 10.0 ** (seed - 2) + 0.3 * seed
    x[-1] *= 9
    x[0] = x[0].abs()
    return x


@pytest.mark.parametrize("scheme", SCHEMES, ids=names)
@pytest.mark.parametrize("shape", SHAPES)
def test_scales_are_those_of_pytorchs_observers(shape, scheme):
    for seed in range(5):
        x = drawn(shape, seed)
        scale, zero_point = observed(x, scheme)
        ours = choose_scale(x, scheme)
        assert torch.equal(ours[0], scale) and torch.equal(ours[1], zero_point.int())


@pytest.mark.parametrize("scheme", SCHEMES, ids=names)
@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_left_is_that_of_pytorchs_fake_quantisation(shape, scheme):
    for seed in range(5):
        x = drawn(shape, seed)
        scale, zero_point = observed(x, scheme)
        ends = scheme.low, scheme.high
        if scheme.per_channel:
            left = torch.fake_quantize_per_channel_affine(x, scale, zero_point.int(), 0, *ends)
        else:
            left = torch.fake_quantize_per_tensor_affine(x, scale, zero_point.int(), *ends)
        assert torch.equal(fake_quantise(x, scheme), left)


@pytest.mark.parametrize("shape", SHAPES)
def test_codes_are_those_of_pytorch(shape):
    for seed in range(5):
        x = drawn(shape, seed)
        scale, zero_point = choose_scale(x, Scheme(8))
        codes = torch.quantize_per_channel(x, scale.double(), zero_point.long(), 0, torch.qint8)
        ours = quantise(x, scale, zero_point, Scheme(8))
        assert torch.equal(ours, codes.int_repr())
        assert torch.equal(dequantise(ours, scale, zero_point), codes.dequantize())


def test_affine_codes_differ_from_pytorch_at_halves_only():
    x = (torch.randn(40, 50, generator=torch.manual_seed(0)) * 64).round() / 64
    scheme = Scheme(8, symmetric=False)
    scale, zero_point = choose_scale(x, scheme)
    theirs = torch.quantize_per_channel(x, scale.double(), zero_point.long(), 0, torch.qint8)
    gap = (quantise(x, scale, zero_point, scheme).int() - theirs.int_repr().int()).abs()
    steps = x * (1 / scale)[:, None]
    is_half = ((steps - steps.floor()) - 0.5).abs() < 1e-4
    assert gap.max() <= 1 and not (gap > 0)[~is_half].any()


def test_on_paper():
    row = torch.tensor([[0.3, -0.7, 1.05, 0.0]])
    symmetric, affine = Scheme(3), Scheme(3, symmetric=False)
    assert quantise(row, *choose_scale(row, symmetric), symmetric).tolist() == [[1, -2, 3, 0]]
    assert quantise(row, *choose_scale(row, affine), affine).tolist() == [[0, -4, 3, -1]]
    torch.testing.assert_close(fake_quantise(row, affine), torch.tensor([[0.25, -0.75, 1.0, 0.0]]))


@pytest.mark.parametrize("scheme", SCHEMES, ids=names)
def test_no_number_is_further_than_a_step_and_zero_is_kept(scheme):
    x = drawn((6, 11), 1)
    x[:, 3] = 0
    left = fake_quantise(x, scheme)
    scale = choose_scale(x, scheme)[0].view(-1, 1)
    assert ((x - left).abs() <= scale * 1.001).all()
    assert (left[:, 3] == 0).all()
    assert (left.unique(dim=1).shape[1]) <= x.shape[1]


def test_rows_do_not_see_one_another_per_channel():
    x = drawn((6, 11), 2)
    before = fake_quantise(x, Scheme(4))[1:]
    x[0] *= 100
    assert torch.equal(before, fake_quantise(x, Scheme(4))[1:])
    whole = Scheme(4, per_channel=False)
    assert relative_error(x[1:-1], fake_quantise(x, whole)[1:-1]) > 0.5


def test_more_bits_are_nearer():
    x = drawn((9, 33), 3)
    errors = [relative_error(x, fake_quantise(x, Scheme(bits))) for bits in range(2, 9)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.01


def test_zeros_and_one_number_do_not_divide_by_zero():
    for x in (torch.zeros(2, 3), torch.full((2, 3), 5.0), torch.full((2, 3), -5.0)):
        for scheme in SCHEMES:
            left = fake_quantise(x, scheme)
            assert left.isfinite().all() and (x - left).abs().max() <= 5 / 1.5 / 2 + 1e-6


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("length", [1, 3, 8, 17])
def test_what_is_packed_comes_back(bits, length):
    torch.manual_seed(bits)
    codes = torch.randint(-(2 ** (bits - 1)), 2 ** (bits - 1), (5, length), dtype=torch.int8)
    packed = pack(codes, bits)
    assert packed.dtype == torch.uint8 and packed.shape == (5, -(-length * bits // 8))
    assert torch.equal(unpack(packed, bits, length), codes)


def test_two_codes_of_four_bits_share_a_byte():
    assert pack(torch.tensor([[-8, 7, 0]], dtype=torch.int8), 4).tolist() == [[0xF0, 0x08]]


@pytest.mark.parametrize("bits", [0, 1, 9, 16, 4.5, True, "8"])
def test_bits_that_cannot_be(bits):
    with pytest.raises(ValueError, match=r"whole number from 2 to 8, got"):
        Scheme(bits)


def test_numbers_that_have_no_scale():
    for x, message in (
        (torch.zeros(0, 4), "without numbers"),
        (torch.zeros(4), r"\(C, \.\.\.\), got the shape \(4,\)"),
        (torch.tensor([[1.0, float("nan")]]), "1 of 2 numbers are infinite or NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            choose_scale(x, Scheme(8))


# ---- layers


def some_layers():
    torch.manual_seed(0)
    return [
        (nn.Linear(7, 5), torch.randn(3, 2, 7)),
        (nn.Linear(3, 11, bias=False), torch.randn(4, 3)),
        (nn.Conv2d(3, 5, 3, stride=2, padding=1), torch.randn(2, 3, 9, 7)),
        (nn.Embedding(13, 6), torch.randint(0, 13, (3, 4))),
    ]


@pytest.mark.parametrize("bits", [8, 4, 3])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("per_channel", [True, False])
def test_layers_compute_with_what_is_left(bits, symmetric, per_channel):
    for layer, x in some_layers():
        model = nn.Sequential(copy.deepcopy(layer))
        quantise_model(model, bits, symmetric=symmetric, per_channel=per_channel)
        layer.weight.data = fake_quantise(layer.weight.data, Scheme(bits, symmetric, per_channel))
        torch.testing.assert_close(model(x), layer(x), atol=1e-6, rtol=1e-6)
        held = keep_floats(copy.deepcopy(model))
        assert torch.equal(held(x), model(x))
        assert torch.equal(keep_floats(held, keep=False)(x), model(x))


def test_layers_take_the_bytes_that_they_say():
    model = quantise_model(nn.Sequential(nn.Linear(64, 32)), 4)
    assert weight_bytes(model) == 32 * 32 + 32 * 4 + 32 * 2  # codes, scales, bias
    eight = quantise_model(nn.Sequential(nn.Linear(64, 32)), 8, symmetric=False)
    assert weight_bytes(eight) == 32 * 64 + 32 * 8 + 32 * 2  # and zero points


@pytest.mark.parametrize("shape", [(1, 3), (7, 5), (33, 17)])
def test_whole_numbers_are_multiplied(shape):
    torch.manual_seed(1)
    layer = nn.Linear(shape[1], shape[0])
    x = torch.randn(4, 6, shape[1]) + 0.5
    flat = x.view(-1, shape[1])
    inputs = fake_quantise(flat, Scheme(8, symmetric=False, per_channel=False)).view(x.shape)
    expected = nn.functional.linear(inputs, fake_quantise(layer.weight, Scheme(8)), layer.bias)
    dynamic = DynamicLinear.like(layer, Scheme(8)).fill(layer.weight.data, layer.bias)
    torch.testing.assert_close(dynamic(x), expected, atol=1e-5, rtol=1e-5)
    static = StaticLinear.like(layer, Scheme(8)).fill(layer.weight.data, layer.bias)
    static.set_range(x.min().item(), x.max().item())
    torch.testing.assert_close(static(x), expected, atol=1e-5, rtol=1e-5)


def test_static_ranges_cut_what_lies_outside():
    layer = nn.Linear(1, 1, bias=False)
    layer.weight.data[:] = 1
    static = StaticLinear.like(layer, Scheme(8)).fill(layer.weight.data)
    static.set_range(-1, 1)
    found = static(torch.tensor([[-9.0], [0.5], [9.0]])).flatten()
    torch.testing.assert_close(found, torch.tensor([-1.0, 0.5, 1.0]), atol=0.02, rtol=0)


def test_dynamic_is_near_pytorchs():
    from torch.ao.quantization import quantize_dynamic

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(33, 17))
    x = torch.randn(20, 33)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = quantize_dynamic(model, {nn.Linear}, dtype=torch.qint8)(x)
    ours = quantise_model(copy.deepcopy(model), 8, per_channel=False, dynamic=True)(x)
    exact = model(x)
    assert relative_error(exact, ours) < 0.03 and relative_error(exact, theirs) < 0.03
    assert relative_error(theirs, ours) < 0.03  # their kernels may keep 7 bits of an input


def test_layers_of_other_kinds_are_named():
    class Reader(nn.Module):
        def __init__(self):
            super().__init__()
            self.read = nn.GRU(4, 4)
            self.say = nn.Linear(4, 2)

    with pytest.raises(ValueError, match="the layer read is a GRU, which cannot be quantised"):
        quantise_model(Reader(), 8)
    quantise_model(Reader(), {"say": 8}, skip=("read",))
    for bad, name in (
        (nn.Sequential(nn.Conv1d(2, 2, 1)), "0 is a Conv1d"),
        (nn.Sequential(nn.Conv2d(2, 2, 1, groups=2)), "0 is a Conv2d"),
        (nn.TransformerEncoderLayer(4, 2), "self_attn is a MultiheadAttention"),
        (nn.Sequential(nn.GELU()), "has no layer that can be quantised"),
    ):
        with pytest.raises(ValueError, match=name):
            quantise_model(bad, 8)


def test_plans_are_checked():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with pytest.raises(ValueError, match="there is no layer 'third'"):
        quantise_model(model, {"third": 8})
    with pytest.raises(ValueError, match="from 2 to 8, got 12"):
        quantise_model(model, {"0": 12})
    model[1].weight.data[0, 0] = float("inf")
    with pytest.raises(ValueError, match="the layer 1 cannot be quantised: 1 of 4 numbers"):
        quantise_model(model, 8)


# ---- captioners


def tiny(**changes):
    torch.manual_seed(0)
    sizes = {"width": 24, "heads": 3, "channels": [8, 8, 16], "blocks": [0, 0, 1]}
    return SceneCaptioner(vocabulary(), **sizes | changes).eval()


@pytest.mark.parametrize("bits", [8, 4, 3])
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_quantised_captioner_comes_back(tmp_path, bits, symmetric):
    model = tiny(calibration=[0.1, 0.2, 0.3])
    small = QuantisedSceneCaptioner.of(model, bits, symmetric=symmetric)
    small.store(tmp_path)
    again = QuantisedSceneCaptioner.from_pretrained(tmp_path)
    assert again.calibration == [0.1, 0.2, 0.3]
    images = torch.randint(0, 255, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(again.encode(images), small.encode(images), atol=5e-3, rtol=5e-3)
    for name, layer in quantisable(model).items():
        ours = again.get_submodule(name)
        assert torch.equal(ours.weight, fake_quantise(layer.weight.data, ours.scheme)), name
    file = (tmp_path / "model.safetensors").stat().st_size
    assert 0 <= file - weight_bytes(small) < 0.1 * file + 12_000  # names of tensors come on top


def test_a_captioner_that_was_stored_is_as_before(tmp_path):
    small = QuantisedSceneCaptioner.of(tiny(), 8)
    before = copy.deepcopy(small.state_dict())
    small.store(tmp_path)
    after = small.state_dict()
    assert all(after[name].dtype == tensor.dtype for name, tensor in before.items())
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_copies_are_copies():
    model = tiny()
    before = copy.deepcopy(model.state_dict())
    small = QuantisedSceneCaptioner.of(model, {"output": 2})
    assert type(small.output) is QuantisedLinear and type(small.embedding) is nn.Embedding
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    kinds = {type(layer) for layer in QuantisedSceneCaptioner.of(model, 4).modules()}
    assert {QuantisedLinear, QuantisedConv2d, QuantisedEmbedding} <= kinds
    assert not kinds & {nn.Linear, nn.Conv2d, nn.Embedding}


def test_bits_of_a_captioner_are_named():
    with pytest.raises(ValueError, match="bits must name layers"):
        QuantisedSceneCaptioner(vocabulary(), 8)
    with pytest.raises(ValueError, match="there is no layer 'head'"):
        QuantisedSceneCaptioner(vocabulary(), {"head": 8})


def test_a_layer_that_is_filled_again_forgets_the_floats_that_it_kept():
    layer = QuantisedLinear((3, 5), Scheme(8)).fill(torch.ones(3, 5)).keep()
    layer.fill(torch.full((3, 5), 2.0))
    torch.testing.assert_close(layer.weight, torch.full((3, 5), 2.0), atol=0.02, rtol=0)
