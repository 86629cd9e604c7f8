"""PyTorch's fused kernel, as ``mmcourse.attention`` calls it, equals the formula of the page."""

import pytest
import torch
import torch.nn.functional as F

from mmcourse import attention
from mmcourse.attention import MultiHeadAttention, fused_attention, scaled_dot_product_attention
from tests.helpers import close, randomise, some

LEADING = [  # leading, T, S, d_k, d_v; the last shape is one that the kernel of the CPU takes
    ((), 3, 4, 5, 2),
    ((2,), 7, 1, 3, 6),
    ((2, 3), 5, 9, 7, 7),
    ((1, 2), 9, 5, 64, 1),
    ((2, 3), 6, 6, 5, 5),
]
KINDS = ["none", "square", "padding", "causal", "causal and padding", "causal and square"]

pytestmark = pytest.mark.usefixtures("double")


@pytest.fixture
def layer():
    return randomise(MultiHeadAttention(6, 3)).eval()


def same_in_both(inputs, mask, causal, tolerance=1e-10):
    """The kernel and the formula agree, in the output and in the gradients of all three inputs."""
    formula = scaled_dot_product_attention(*inputs, mask, causal=causal)
    fused = fused_attention(*inputs, mask, causal=causal)
    assert fused.dtype == formula.dtype and fused.shape == formula.shape
    assert fused.isfinite().all()
    close(fused, formula, tolerance)
    direction = torch.randn_like(formula)
    ours = torch.autograd.grad(formula, inputs, direction)
    theirs = torch.autograd.grad(fused, inputs, direction)
    for mine, other in zip(ours, theirs, strict=True):
        assert other.isfinite().all()
        close(other, mine, tolerance)


def mask_of(kind, leading, T, S):
    """A mask with blind rows where they can be: half of them, all sources of a row, or none."""
    if "square" in kind:
        return torch.rand(*leading, T, S) < 0.4
    if "padding" in kind:
        return torch.rand(*leading, 1, S) < 0.4
    return None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("leading", "T", "S", "d_k", "d_v"), LEADING)
def test_the_kernel_equals_the_formula(leading, T, S, d_k, d_v, kind):
    for _ in range(5):
        shapes = [(T, d_k), (S, d_k), (S, d_v)]
        inputs = [torch.randn(*leading, *shape, requires_grad=True) for shape in shapes]
        same_in_both(inputs, mask_of(kind, leading, T, S), "causal" in kind)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("T", "S"), [(1, 1), (1, 6), (6, 1), (4, 9), (9, 4), (300, 300), (3, 0)])
def test_the_kernel_equals_the_formula_whatever_the_lengths(T, S, causal):
    """The last target is level with the last source, where the kernel's own causal mask is not."""
    inputs = [torch.randn(2, 2, n, 4, requires_grad=True) for n in (T, S, S)]
    for mask in (None, torch.rand(2, 1, 1, S) < 0.5, torch.rand(T, S) < 0.5):
        same_in_both(inputs, mask, causal)


def test_a_row_that_may_look_nowhere_is_zero_in_the_kernel_too():
    inputs = [torch.randn(2, 3, 4, 5, requires_grad=True) for _ in range(3)]
    mask = torch.ones(2, 1, 4, 4, dtype=torch.bool)
    mask[0, :, 1] = False
    mask[1] = False
    output = fused_attention(*inputs, mask)
    assert not output[0, :, 1].any() and not output[1].any() and output[0, :, 0].all()
    for gradient in torch.autograd.grad((output**3).sum(), inputs):
        assert gradient.isfinite().all() and not gradient[1].any()


def test_zeros_do_not_hang_on_what_the_kernel_does_with_blind_rows(monkeypatch):
    """Some versions and devices answer a row that may look nowhere with NaN."""
    kernel = F.scaled_dot_product_attention

    def strict(query, key, value, mask=None, **options):
        assert mask is None or mask.any(-1).all(), "the kernel is never given such a row"
        return kernel(query, key, value, mask, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", strict)
    inputs = [torch.randn(2, 3, 4, 5, requires_grad=True) for _ in range(3)]
    for mask in (torch.zeros(4, 4, dtype=torch.bool), torch.rand(2, 1, 1, 4) < 0.3):
        for causal in (False, True):
            same_in_both(inputs, mask, causal)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 6e-2), (torch.float16, 8e-3)]
)
def test_the_kernel_equals_the_formula_in_low_precision(dtype, tolerance, kind):
    inputs = [torch.randn(2, 3, 5, 8, dtype=dtype, requires_grad=True) for _ in range(3)]
    same_in_both(inputs, mask_of(kind, (2, 1), 5, 5), "causal" in kind, tolerance)


@pytest.mark.parametrize("causal", [False, True])
def test_the_kernel_drops_the_same_weights_from_the_same_seed(causal):
    query, key, value = torch.randn(3, 2, 3, 50, 4)
    weights = scaled_dot_product_attention(query, key, value, causal=causal, return_weights=True)[1]
    torch.manual_seed(5)
    dropped = F.dropout(weights, 0.2)
    torch.manual_seed(5)
    close(fused_attention(query, key, value, causal=causal, dropout=0.2), dropped @ value)


def test_the_kernel_drops_weights_and_scales_the_rest():
    query, key = torch.randn(2, 3, 50, 4)
    weights = scaled_dot_product_attention(query, key, torch.eye(50))
    output = fused_attention(query, key, torch.eye(50).expand(3, -1, -1), dropout=0.2)
    kept = output != 0
    assert 0.77 < kept.double().mean() < 0.83
    close(output[kept], weights[kept] / 0.8)


def test_the_kernel_never_holds_the_weights():
    """8 heads of 2,048 x 2,048 weights are 128 MiB; what goes in and out is 2 MiB each."""
    query = torch.randn(1, 8, 2048, 32, dtype=torch.float32)
    for causal in (False, True):
        with torch.profiler.profile(profile_memory=True) as record:
            fused_attention(query, query, query, causal=causal)
        largest = max(event.self_cpu_memory_usage for event in record.events())
        assert largest < 16 * 2**20


def test_weights_are_computed_only_for_whoever_asks(layer, monkeypatch):
    def refuse(*inputs, **options):
        raise AssertionError("nobody asked for weights")

    monkeypatch.setattr(attention, "scaled_dot_product_attention", refuse)
    x = torch.randn(2, 5, 6)
    layer(x, causal=True)
    layer(x, x, some(2, 1, 1, 5), cache={})
    with pytest.raises(AssertionError, match="nobody asked"):
        layer(x, return_weights=True)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_with_weights_and_without(layer, kind):
    x = torch.randn(2, 5, 6, requires_grad=True)
    mask = mask_of(kind, (2, 1), 5, 5)
    tensors = [x, *layer.parameters()]
    found = [
        layer(x, mask=mask, causal="causal" in kind),
        layer(x, mask=mask, causal="causal" in kind, return_weights=True)[0],
    ]
    direction = torch.randn_like(x)
    gradients = [torch.autograd.grad(output, tensors, direction) for output in found]
    for mine, other in zip(*gradients, strict=True):
        close(mine, other)
