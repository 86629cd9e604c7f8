"""The vision encoders: pixels in their range, patches in order, a ViT equal to transformers'."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import ViTConfig, ViTModel

from mmcourse.vision import ConvEncoder, PatchEmbedding, ResidualBlock, VisionTransformer, to_pixels
from tests.helpers import close, randomise

# image size, patch, width, layers, heads, hidden, channels: heads of 3, 5, 4, 64
CONFIGS = [
    (6, 3, 3, 1, 1, 5, 3),
    (12, 4, 15, 2, 3, 7, 1),
    (10, 2, 20, 3, 5, 33, 4),
    (8, 8, 128, 2, 2, 9, 3),
]

pytestmark = pytest.mark.usefixtures("double")


def pictures(*shape):
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_to_pixels_has_the_right_range_and_order():
    images = pictures(2, 4, 5, 3)
    images[0, 0, 0], images[1, 3, 4] = (0, 255, 51), (255, 0, 102)
    pixels = to_pixels(images)
    assert pixels.shape == (2, 3, 4, 5) and pixels.dtype == torch.float32
    expected = torch.tensor(images.astype(np.float32).transpose(0, 3, 1, 2) / 127.5 - 1)
    close(pixels, expected, 1e-6)
    close(pixels[0, :, 0, 0], torch.tensor([-1.0, 1.0, -0.6]).float(), 1e-6)
    assert torch.equal(to_pixels(torch.tensor(images)), pixels)


@pytest.mark.filterwarnings("error")
def test_to_pixels_takes_what_is_read_only_or_a_list_and_changes_nothing():
    images = pictures(2, 4, 5, 3)
    before = images.copy()
    images.flags.writeable = False
    assert torch.equal(to_pixels(images), to_pixels([images[0], images[1]]))
    assert (images == before).all()


@pytest.mark.parametrize("images", [np.zeros((1, 4, 4, 3)), torch.zeros(1, 4, 4, 3).float()])
def test_to_pixels_refuses_other_types(images):
    with pytest.raises(TypeError, match=r"uint8, values 0 to 255, got torch\.float(32|64)\. Try"):
        to_pixels(images)


@pytest.mark.parametrize(
    "shape", [(4, 4, 3), (1, 4, 4), (1, 4, 4, 4), (1, 3, 4, 4), (1, 1, 4, 4, 3)]
)
def test_to_pixels_refuses_other_shapes(shape):
    with pytest.raises(ValueError) as error:
        to_pixels(pictures(*shape))
    assert f"must be (B, H, W, 3), got {shape}. Pass one picture as image[None]" in str(error.value)


@pytest.mark.parametrize(
    ("size", "patch", "width", "channels"),
    [(6, 3, 5, 3), (12, 4, 7, 1), (10, 2, 3, 4), (7, 7, 2, 3)],
)
def test_a_patch_is_one_linear_map_row_by_row(size, patch, width, channels):
    layer, images = (
        randomise(PatchEmbedding(size, patch, width, channels)),
        torch.randn(2, channels, size, size),
    )
    tokens = []
    for row in range(0, size, patch):
        for column in range(0, size, patch):
            pixels = images[:, :, row : row + patch, column : column + patch].flatten(1)
            tokens.append(pixels @ layer.projection.weight.flatten(1).T + layer.projection.bias)
    close(layer(images), torch.stack(tokens, 1))
    assert layer.patches == len(tokens)


@pytest.mark.parametrize(("size", "patch"), [(10, 3), (4, 8), (4, 0)])
def test_a_patch_must_divide_the_picture(size, patch):
    with pytest.raises(
        ValueError, match=f"^patch must divide image_size, got patch {patch} and image_size {size}"
    ):
        PatchEmbedding(size, patch, 8)


@pytest.mark.parametrize("shape", [(2, 3, 8, 6), (2, 3, 8, 8), (2, 1, 6, 6), (3, 6, 6)])
def test_pictures_of_another_size_are_refused(shape):
    with pytest.raises(ValueError) as error:
        PatchEmbedding(6, 3, 8)(torch.zeros(shape))
    assert "(B, 3, 6, 6)" in str(error.value) and f"got {shape}" in str(error.value)


def copy_vit(ours, theirs):
    """Copy the weights of transformers.ViTModel by the names that each gives them."""
    new = {"class_token": "embeddings.cls_token", "positions": "embeddings.position_embeddings"}
    for kind in ("weight", "bias"):
        new[f"patches.projection.{kind}"] = f"embeddings.patch_embeddings.projection.{kind}"
        new[f"encoder.norm.{kind}"] = f"layernorm.{kind}"
        for i in range(len(ours.encoder.layers)):
            parts = {
                "attention.query": "attention.q_proj",
                "attention.key": "attention.k_proj",
                "attention.value": "attention.v_proj",
                "attention.output": "attention.o_proj",
                "norm1": "layernorm_before",
                "norm2": "layernorm_after",
                "feed_forward.0": "mlp.fc1",
                "feed_forward.3": "mlp.fc2",
            }
            new |= {
                f"encoder.layers.{i}.{mine}.{kind}": f"layers.{i}.{other}.{kind}"
                for mine, other in parts.items()
            }
    weights = theirs.state_dict()
    assert set(new.values()) == set(weights)
    ours.load_state_dict({mine: weights[other] for mine, other in new.items()})


@pytest.mark.parametrize(
    ("size", "patch", "width", "layers", "heads", "hidden", "channels"), CONFIGS
)
def test_vit_equals_transformers(size, patch, width, layers, heads, hidden, channels):
    config = ViTConfig(
        image_size=size,
        patch_size=patch,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=hidden,
        num_channels=channels,
        hidden_dropout_prob=0.0,
        attn_implementation="eager",
    )
    theirs = randomise(ViTModel(config, add_pooling_layer=False)).eval()
    ours = VisionTransformer(size, patch, width, layers, heads, hidden, channels=channels).eval()
    copy_vit(ours, theirs)
    images = torch.randn(2, channels, size, size)
    expected = theirs(images, output_attentions=True)
    output, weights = ours(images, return_weights=True)
    close(
        output, expected.last_hidden_state, 1e-6
    )  # this softmax of transformers computes in float32
    close(weights, torch.stack(expected.attentions, 1), 1e-6)
    close(ours(images), output)
    tokens = 1 + (size // patch) ** 2
    assert output.shape == (2, tokens, width) and weights.shape == (
        2,
        layers,
        heads,
        tokens,
        tokens,
    )
    norms = [module.eps for module in ours.modules() if isinstance(module, torch.nn.LayerNorm)]
    assert norms == [config.layer_norm_eps] * (2 * layers + 1)


def test_vit_says_which_patch_is_where():
    model = VisionTransformer(8, 4, 6, 1, 2).eval()
    images = torch.randn(3, 3, 8, 8)
    turned = images.roll(4, -1)  # exchanges the left and the right column of patches
    tokens, order = model.patches(images), torch.tensor([1, 0, 3, 2])
    close(model.patches(turned), tokens[:, order])
    assert (model(turned)[:, 1:] - model(images)[:, 1:][:, order]).abs().max() > 1e-4
    model.positions.data.zero_()
    close(model(turned)[:, 1:], model(images)[:, 1:][:, order])
    close(model(turned)[:, 0], model(images)[:, 0])


def test_vit_starts_with_small_positions_and_drops_in_training_only():
    model, images = VisionTransformer(16, 2, 64, 1, 2, dropout=0.5), torch.randn(1, 3, 16, 16)
    assert 0.018 < model.positions.std() < 0.022 and not model.class_token.any()
    assert not torch.equal(model.train()(images), model(images))
    assert torch.equal(model.eval()(images), model(images))
    plain = VisionTransformer(16, 2, 64, 1, 2)
    assert torch.equal(plain.train()(images), plain(images))
    assert model.dropout.p == model.encoder.layers[0].dropout.p == 0.5


@pytest.mark.parametrize("kind", ["vit", "conv"])
def test_pictures_of_a_batch_do_not_meet(kind):
    model = VisionTransformer(8, 2, 6, 2, 2) if kind == "vit" else ConvEncoder(6)
    images = torch.randn(3, 3, 8, 8)
    close(torch.cat([model.eval()(image[None]) for image in images]), model(images))


def test_conv_encoder_gives_a_grid_row_by_row():
    model = ConvEncoder(6).eval()
    images = torch.randn(2, 3, 48, 32)
    tokens = model(images)
    assert tokens.shape == (2, 48 * 32 // model.stride**2, 6)
    grid = model.projection(model.stages(images).movedim(1, -1))  # (B, rows, columns, D)
    close(tokens.unflatten(1, (48 // model.stride, -1)), grid)


def test_conv_encoder_refuses_what_it_cannot_halve():
    model = ConvEncoder(6)
    for shape in ((1, 3, model.stride, model.stride + 1), (1, 3, model.stride + 1, model.stride)):
        with pytest.raises(ValueError, match=f"multiples of {model.stride}, got"):
            model(torch.zeros(shape))


@pytest.mark.parametrize("blocks", [(0,), (0, 1, 2), ()])
def test_conv_encoder_wants_a_number_of_blocks_for_every_stage(blocks):
    with pytest.raises(ValueError, match="zip.* argument 2 is (shorter|longer)"):
        ConvEncoder(6, (8, 16), blocks)


# height and width in cells, channels, residual blocks of every stage, width: odd grids, one stage
# to three
GRIDS = [((3, 5), (8, 16), (0, 2), 7), ((1, 3), (16, 8, 24), (1, 0, 1), 5), ((5, 2), (8,), (1,), 3)]


def conv_encoder(cells, channels, blocks, width):
    model = randomise(ConvEncoder(width, channels, blocks)).eval()
    return model, torch.randn(2, 3, *(side * 2 ** len(channels) for side in cells))


def norm(layer, x):
    """Group norm written out: eight groups, each with a mean and a variance of its own."""
    groups = x.reshape(len(x), 8, -1)
    groups = (groups - groups.mean(2, keepdim=True)) / (
        groups.var(2, keepdim=True, correction=0) + 1e-5
    ).sqrt()
    return groups.reshape(x.shape) * layer.weight[:, None, None] + layer.bias[:, None, None]


def gelu(x):
    return x * (1 + torch.erf(x / 2**0.5)) / 2


def convolve(layer, x, stride):
    return torch.nn.functional.conv2d(
        x, layer.weight, layer.bias, stride, layer.weight.shape[-1] // 2
    )


def residual(block, x):
    norm1, _, conv1, norm2, _, conv2 = block.change
    return x + convolve(conv2, gelu(norm(norm2, convolve(conv1, gelu(norm(norm1, x)), 1))), 1)


@pytest.mark.parametrize("shape", [(2, 8, 3, 5), (1, 16, 1, 7), (3, 24, 4, 4)])
def test_residual_block_is_its_formula_and_starts_from_its_input(shape):
    block, x = randomise(ResidualBlock(shape[1])), torch.randn(shape)
    close(block(x), residual(block, x))
    assert (block(x) - x).abs().max() > 0.01
    for weight in block.change[-1].parameters():
        torch.nn.init.zeros_(weight)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize(("cells", "channels", "blocks", "width"), GRIDS)
def test_conv_encoder_is_its_formula(cells, channels, blocks, width):
    model, images = conv_encoder(cells, channels, blocks, width)
    layers, x = iter(model.stages), images
    for after, depth in zip(channels, blocks, strict=True):
        x = convolve(next(layers), x, 2)
        assert x.shape[1] == after
        for _ in range(depth):
            x = residual(next(layers), x)
    x = gelu(norm(next(layers), x))
    tokens = model(images)
    assert model.stride == 2 ** len(channels) and tokens.shape == (2, cells[0] * cells[1], width)
    for row in range(cells[0]):
        for column in range(cells[1]):
            expected = x[:, :, row, column] @ model.projection.weight.T + model.projection.bias
            close(tokens[:, row * cells[1] + column], expected)


@pytest.mark.parametrize(("cells", "channels", "blocks", "width"), GRIDS)
def test_a_picture_shifted_by_the_stride_has_its_tokens_shifted(cells, channels, blocks, width):
    model, images = conv_encoder(cells, channels, blocks, width)
    for layer in model.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.padding_mode = (
                "circular"  # what leaves on one side comes in on the other: no border
            )
    grid = model(images).unflatten(1, cells)
    for rows, columns in ((1, 0), (0, 1), (-1, 1)):
        shifted = model(images.roll((rows * model.stride, columns * model.stride), (2, 3)))
        close(shifted.unflatten(1, cells), grid.roll((rows, columns), (1, 2)))
    assert (model(images.roll(1, 3)) - grid.flatten(1, 2)).abs().max() > 1e-3


def test_pictures_of_every_size_share_the_weights_of_conv_encoder():
    model = ConvEncoder(6).eval()
    for rows, columns in ((1, 1), (3, 2), (2, 5)):
        assert model(torch.randn(1, 3, rows * model.stride, columns * model.stride)).shape == (
            1,
            rows * columns,
            6,
        )


def test_distance_of_pictures_in_the_chapter_is_its_formula():
    """The function as the chapter has it, in book/chapters/05_vision.py."""
    path = Path(__file__).resolve().parent.parent / "book" / "chapters" / "05_vision.py"
    text = ast.parse(path.read_text(encoding="utf-8"))
    names = {"torch": torch}
    function = next(
        part for part in text.body if isinstance(part, ast.FunctionDef) and part.name == "distances"
    )
    exec(ast.unparse(function), names)
    for count, others, numbers in [(1, 1, 1), (3, 5, 7), (4, 2, 12)]:
        a, b = torch.randn(count, numbers), torch.randn(others, numbers)
        expected = ((a[:, None] - b) ** 2).mean(-1).sqrt()
        close(names["distances"](a, b), expected, 1e-6)


def test_dropout_also_drops_the_positions():
    """As in the paper, it comes after they are added; with a share of 1 nothing is left."""
    model = VisionTransformer(8, 4, 12, 1, 2, dropout=1.0).train()
    seen = []
    model.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    model(torch.randn(2, 3, 8, 8))
    assert (seen[0] == 0).all()
    model.eval()(torch.randn(2, 3, 8, 8))
    assert (seen[1] != 0).any()
