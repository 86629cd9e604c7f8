"""Masked patches equal those of transformers, and pseudo-labels follow Lee's formulas."""

import math

import pytest
import torch
import torch.nn.functional as F
from transformers import ViTMAEConfig, ViTMAEForPreTraining

from mmcourse.training.selfsupervision import (
    NO_LABEL,
    MaskedAutoencoder,
    pixels_of_patches,
    pseudo_labels,
    pseudo_weight,
    semi_supervised_loss,
)
from mmcourse.vision import PatchEmbedding, VisionTransformer
from tests.helpers import close, randomise

# image size, patch, width, layers, heads, decoder width, its layers, its heads, channels, hidden
CONFIGS = [
    (6, 3, 6, 1, 2, 4, 1, 1, 3, 0.75),
    (12, 4, 15, 2, 3, 8, 2, 4, 1, 0.5),
    (10, 2, 20, 1, 5, 12, 1, 3, 4, 0.75),
]
EACH = pytest.mark.parametrize("config", CONFIGS, ids=str)

pytestmark = pytest.mark.usefixtures("double")


def ours_of(
    size, patch, width, layers, heads, narrow, decoder_layers, decoder_heads, channels, hidden
):
    encoder = VisionTransformer(size, patch, width, layers, heads, channels=channels)
    model = MaskedAutoencoder(encoder, hidden, narrow, decoder_layers, decoder_heads)
    return randomise(model).eval()


def theirs_of(
    size, patch, width, layers, heads, narrow, decoder_layers, decoder_heads, channels, hidden
):
    config = ViTMAEConfig(
        image_size=size,
        patch_size=patch,
        num_channels=channels,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        decoder_hidden_size=narrow,
        decoder_num_hidden_layers=decoder_layers,
        decoder_num_attention_heads=decoder_heads,
        decoder_intermediate_size=4 * narrow,
        mask_ratio=hidden,
        norm_pix_loss=True,
        attn_implementation="eager",
    )
    return randomise(ViTMAEForPreTraining(config)).eval()


# The names of weights, ours and theirs.
TENSORS = {
    "encoder.class_token": "vit.embeddings.cls_token",
    "encoder.positions": "vit.embeddings.position_embeddings",
    "mask_token": "decoder.mask_token",
    "positions": "decoder.decoder_pos_embed",
}
MODULES = {
    "encoder.patches.projection": "vit.embeddings.patch_embeddings.projection",
    "encoder.encoder.norm": "vit.layernorm",
    "narrow": "decoder.decoder_embed",
    "decoder.norm": "decoder.decoder_norm",
    "output": "decoder.decoder_pred",
}
STACKS = {"encoder.encoder.layers": "vit.layers", "decoder.layers": "decoder.decoder_layers"}
PARTS = {
    "attention.query": "attention.q_proj",
    "attention.key": "attention.k_proj",
    "attention.value": "attention.v_proj",
    "attention.output": "attention.o_proj",
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "feed_forward.0": "mlp.fc1",
    "feed_forward.3": "mlp.fc2",
}


def copy(ours, theirs):
    """Copy the weights of ViTMAEForPreTraining.

    Its pixels of a patch have the channel last, ours have it first.
    """
    modules = dict(MODULES)
    for our_stack, their_stack in STACKS.items():
        for number in range(len(ours.get_submodule(our_stack))):
            for our_part, their_part in PARTS.items():
                part = f"{our_stack}.{number}.{our_part}"
                modules[part] = f"{their_stack}.{number}.{their_part}"
    names = dict(TENSORS)
    for our_module, their_module in modules.items():
        for kind in ("weight", "bias"):
            names[f"{our_module}.{kind}"] = f"{their_module}.{kind}"
    weights = theirs.state_dict()
    assert set(names.values()) == set(weights)
    copied = {our_name: weights[their_name] for our_name, their_name in names.items()}
    channels = ours.encoder.patches.projection.in_channels
    for name in ("output.weight", "output.bias"):
        pixels = copied[name].unflatten(0, (-1, channels))  # (P * P, C, ...)
        copied[name] = pixels.transpose(0, 1).flatten(0, 1)
    ours.load_state_dict(copied)


@EACH
def test_masked_patches_equal_transformers(config):
    ours, theirs = ours_of(*config), theirs_of(*config)
    copy(ours, theirs)
    for module in ours.modules():  # theirs has 1e-12, our decoder PyTorch's default
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-12
    size, channels = config[0], config[8]
    images = torch.randn(3, channels, size, size)
    noise = torch.rand(3, ours.encoder.patches.patches)
    expected = theirs(images, noise=noise)
    painted, hidden = ours(images, noise)
    assert torch.equal(hidden, expected.mask.bool()) and 0 < hidden.sum() < hidden.numel()
    theirs_painted = expected.logits.unflatten(-1, (-1, channels)).transpose(-1, -2).flatten(-2)
    close(painted, theirs_painted, 1e-5)  # this softmax of transformers computes in float32
    close(ours.loss(images, noise), expected.loss, 1e-5)


@EACH
def test_pixels_are_those_that_the_patch_embedding_multiplies(config):
    size, patch, width, channels = config[0], config[1], config[2], config[8]
    layer = randomise(PatchEmbedding(size, patch, width, channels))
    images = torch.randn(2, channels, size, size)
    pixels = pixels_of_patches(images, patch)
    close(pixels @ layer.projection.weight.flatten(1).T + layer.projection.bias, layer(images))


@EACH
def test_hidden_patches_are_not_seen(config):
    """Other pixels in hidden patches change nothing that is painted; in a seen one they do."""
    ours = ours_of(*config)
    size, patch, channels = config[0], config[1], config[8]
    noise = torch.rand(1, ours.encoder.patches.patches)
    images = torch.randn(1, channels, size, size)
    painted, hidden = ours(images, noise)
    places = (
        hidden.unflatten(1, (size // patch, -1))
        .repeat_interleave(patch, 1)
        .repeat_interleave(patch, 2)
    )
    assert torch.equal(ours(images.masked_fill(places[:, None], 9.0), noise)[0], painted)
    assert not torch.allclose(ours(images.masked_fill(~places[:, None], 9.0), noise)[0], painted)


def test_the_loss_is_of_hidden_patches_only_and_of_their_shape_not_their_brightness():
    ours = ours_of(*CONFIGS[2])
    noise, images = torch.rand(2, 25), torch.randn(2, 4, 10, 10)
    painted, hidden = ours(images, noise)
    truth = pixels_of_patches(images, 2)
    truth = (truth - truth.mean(-1, keepdim=True)) / truth.std(-1, keepdim=True)
    errors = [
        (painted[b, n] - truth[b, n]).square().mean()
        for b in range(2)
        for n in range(25)
        if hidden[b, n]
    ]
    close(ours.loss(images, noise), torch.stack(errors).mean(), 1e-5)


def test_each_picture_has_its_own_random_patches():
    ours = ours_of(*CONFIGS[2])
    torch.manual_seed(3)
    hidden = ours(torch.zeros(50, 4, 10, 10))[1]
    assert (hidden.sum(1) == 19).all() and len({tuple(row.tolist()) for row in hidden}) > 45
    shares = hidden.double().mean(0)  # of the pictures in which each patch is hidden
    assert shares.min() > 0.5 and shares.max() < 0.97, "no patch has a privilege"


@pytest.mark.parametrize("hidden", [0.0, 1.0, 0.99, -0.5])
def test_something_must_be_hidden_and_something_seen(hidden):
    with pytest.raises(
        ValueError, match=r"hidden must leave 1 to 24 of 25 patches, got .*Take 0\.75"
    ):
        MaskedAutoencoder(VisionTransformer(10, 2, 8, 1, 2), hidden)


def test_it_learns_and_the_encoder_gets_gradients():
    torch.manual_seed(0)
    model = MaskedAutoencoder(VisionTransformer(8, 2, 16, 1, 2), 0.5, 16, 1, 2)
    ramp = (
        torch.linspace(-1, 1, 8).expand(4, 3, 8, 8)
        * torch.tensor([1.0, -1, 1, -1])[:, None, None, None]
    )
    optimizer = torch.optim.AdamW(model.parameters(), 0.01)
    first = model.loss(ramp).item()
    for _ in range(60):
        loss = model.loss(ramp)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3 * first
    assert all(parameter.grad is not None for parameter in model.parameters())


# ---- pseudo-labels


def test_pseudo_labels_are_the_most_probable_classes_that_are_sure_enough():
    logits = torch.tensor(
        [[0.0, math.log(3)], [math.log(9), 0.0], [0.0, math.log(1.5)]], requires_grad=True
    )
    assert pseudo_labels(logits).tolist() == [1, 0, 1]
    assert pseudo_labels(logits, 0.7).tolist() == [1, 0, NO_LABEL]  # probabilities 0.75, 0.9, 0.6
    assert pseudo_labels(logits, 0.8).tolist() == [NO_LABEL, 0, NO_LABEL]
    assert pseudo_labels(torch.zeros(1, 2), 0.5).tolist() == [0], (
        "exactly as sure as asked is sure enough"
    )


def test_the_weight_rises_in_a_line():
    weights = [pseudo_weight(step, 100, 600) for step in (0, 99, 100, 225, 350, 600, 5000)]
    assert weights == pytest.approx([0, 0, 0, 0.75, 1.5, 3, 3])
    assert pseudo_weight(350, 100, 600, 0.5) == 0.25


def test_semi_supervised_loss_by_hand():
    torch.manual_seed(0)
    logits, unlabelled = torch.randn(3, 4), torch.randn(5, 4)
    labels, pseudo = torch.tensor([0, 3, 1]), torch.tensor([2, NO_LABEL, 0, 1, NO_LABEL])
    one = -sum(logits[i].log_softmax(0)[k] for i, k in enumerate(labels)) / 3
    two = -sum(unlabelled[i].log_softmax(0)[k] for i, k in enumerate(pseudo) if k >= 0) / 5
    close(semi_supervised_loss(logits, labels, unlabelled, pseudo, 0.7), one + 0.7 * two)
    close(
        semi_supervised_loss(logits, labels, unlabelled, pseudo, 0.0),
        F.cross_entropy(logits, labels),
    )


def test_without_a_sure_answer_only_the_labels_count():
    logits, labels = torch.randn(3, 4), torch.tensor([0, 3, 1])
    nobody = torch.full((5,), NO_LABEL)
    close(
        semi_supervised_loss(logits, labels, torch.randn(5, 4), nobody, 3.0),
        F.cross_entropy(logits, labels),
    )
