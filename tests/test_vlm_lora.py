"""LoRA against peft with copied weights: forward, gradients, merged; and what is refused."""

import copy

import peft
import pytest
import torch
from torch import nn

from mmcourse.gpt import GPT
from mmcourse.vlm import LoRALinear, add_lora, lora_layers, merge_lora, remove_lora
from tests.helpers import close


class Small(nn.Module):
    """Two linear layers with something between them."""

    def __init__(self, first, hidden, last):
        super().__init__()
        self.query = nn.Linear(first, hidden)
        self.output = nn.Linear(hidden, last, bias=False)

    def forward(self, x):
        return self.output(self.query(x).tanh())


@pytest.mark.parametrize(
    ("shape", "rank", "alpha"), [((5, 7, 3), 2, 16), ((9, 4, 11), 3, 5), ((6, 6, 2), 1, 1)]
)
def test_forward_gradients_and_merged_equal_peft(shape, rank, alpha):
    torch.manual_seed(0)
    ours = Small(*shape)
    theirs = copy.deepcopy(ours)
    add_lora(ours, rank, alpha=alpha, layers=("query", "output"))
    config = peft.LoraConfig(
        r=rank, lora_alpha=alpha, target_modules=["query", "output"], bias="none"
    )
    theirs = peft.get_peft_model(theirs, config)
    pairs = []
    for name in ("query", "output"):
        mine = getattr(ours, name)
        other = getattr(theirs.base_model.model, name)
        nn.init.normal_(mine.up)
        other.lora_A["default"].weight.data.copy_(mine.down)
        other.lora_B["default"].weight.data.copy_(mine.up)
        pairs += [
            (mine.down, other.lora_A["default"].weight),
            (mine.up, other.lora_B["default"].weight),
        ]
    x = torch.randn(4, 3, shape[0])
    assert (ours(x) - theirs(x)).abs().max() < 1e-6
    ours(x).square().sum().backward()
    theirs(x).square().sum().backward()
    for mine, other in pairs:
        assert mine.grad.abs().max() > 0
        assert torch.allclose(mine.grad, other.grad, rtol=1e-5, atol=1e-6)
    trained = {name for name, part in ours.named_parameters() if part.requires_grad}
    assert trained == {"query.down", "query.up", "output.down", "output.up"}
    before = ours(x)
    merge_lora(ours)
    merged = theirs.merge_and_unload()
    assert (ours(x) - before).abs().max() < 1e-5
    for name in ("query", "output"):
        weight = getattr(ours, name).weight
        assert (weight - getattr(merged, name).weight).abs().max() < 1e-6


def test_it_starts_as_the_layer_and_its_update_has_the_rank():
    torch.manual_seed(0)
    layer = nn.Linear(9, 8)
    low = LoRALinear(layer, 3, 6)
    x = torch.randn(5, 9)
    assert torch.equal(low(x), layer(x))
    nn.init.normal_(low.up)
    close(low(x) - layer(x), x @ low.down.T @ low.up.T * 2, 1e-5)
    assert low.update().shape == (8, 9)
    assert torch.linalg.matrix_rank(low.update()) == 3
    assert LoRALinear(nn.Linear(4, 4), 3).scale == 1
    spread = LoRALinear(nn.Linear(9, 8), 4000).down.abs().max()
    assert abs(spread - 1 / 9**0.5) < 1e-3  # as a linear layer of PyTorch begins
    before = low(x)
    close(low.merged()(x), before, 1e-5)
    assert torch.equal(low.merged().weight, low.merged().weight)
    assert torch.equal(low(x), before)  # the layer itself stays as it is
    assert low.merged().weight.requires_grad and not low.layer.weight.requires_grad


def test_a_language_model_learns_by_lora_alone_and_is_merged():
    torch.manual_seed(0)
    model = GPT(31, 16, 2, 4, 20).eval()
    frozen = copy.deepcopy(model.state_dict())
    names = add_lora(model, 2, alpha=8, layers=("query", "feed_forward.0"))
    assert names == [
        "layers.0.attention.query",
        "layers.1.attention.query",
        "layers.0.feed_forward.0",
        "layers.1.feed_forward.0",
    ]
    assert sorted(lora_layers(model)) == sorted(names)
    ids = torch.randint(31, (3, 9))
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 0.01)
    before = model.loss(ids).item()
    for _ in range(20):
        optimizer.zero_grad()
        model.loss(ids).backward()
        optimizer.step()
    assert model.loss(ids).item() < before - 0.1
    for name, tensor in frozen.items():
        part, _, last = name.rpartition(".")
        inner = f"{part}.layer.{last}" if part in names else name
        assert torch.equal(model.state_dict()[inner], tensor)
    logits = model(ids)
    without = copy.deepcopy(model)
    assert sorted(remove_lora(without)) == sorted(names)
    restored = without.state_dict()
    assert set(restored) == set(frozen)
    assert all(torch.equal(restored[name], tensor) for name, tensor in frozen.items())
    assert not any(part.requires_grad for part in without.parameters())
    assert sorted(merge_lora(model)) == sorted(names)
    close(model(ids), logits, 1e-5)
    assert set(model.state_dict()) == set(frozen)
    assert not lora_layers(model)
    assert isinstance(model.layers[0].attention.query, nn.Linear)


def test_what_is_refused():
    model = Small(4, 4, 4)
    with pytest.raises(
        ValueError,
        match="^no linear layer is called 'key': the names of this model's end in output, query$",
    ):
        add_lora(model, 2, layers=("query", "key"))
    assert not lora_layers(model)  # as it was
    assert all(part.requires_grad for part in model.parameters())
    with pytest.raises(ValueError, match="called 'uery'"):
        add_lora(model, 2, layers=("uery",))
    with pytest.raises(ValueError, match="end in 0, 3, key, output, query, value$"):
        add_lora(GPT(31, 16, 1, 2, 20), 2, layers=("gate",))
    never = r"^the model has no LoRA layers: .* or add_lora\(model, rank\) was never called$"
    with pytest.raises(ValueError, match=never):
        merge_lora(model)
    with pytest.raises(ValueError, match="rank must be at least 1, got 0"):
        add_lora(model, 0, layers=("query",))
    add_lora(model, 2, layers=("query", "query"))
    assert lora_layers(model) == ["query"]
    twice = r"^the model has LoRA layers already: merge_lora\(model\) first, or train those it has$"
    with pytest.raises(ValueError, match=twice):
        add_lora(model, 2, layers=("query",))
    merge_lora(model)
    with pytest.raises(ValueError, match="merged already"):
        merge_lora(model)
    gone = (
        "^the model has no LoRA layers to take out: none was added, or they were merged, and "
        "what was merged cannot be taken out again$"
    )
    with pytest.raises(ValueError, match=gone):
        remove_lora(model)
