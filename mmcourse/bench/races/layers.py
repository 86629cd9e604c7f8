"""One encoder layer and one decoder layer, forward and backward, in the sizes of the captioner.

Shapes: B pictures, D width, H heads; T positions, S grid tokens that a decoder looks at.
"""

import torch
from torch import nn

from mmcourse.bench.races.peers import gpt2, vit
from mmcourse.bench.timing import Step
from mmcourse.transformer import DecoderLayer, EncoderLayer

GRID = 64
WORDS = 20
SIZES = ((128, 4, 64), (256, 8, 64))  # D, H and B
PLAIN = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}


def rows(race):
    """A row for the encoder layer and one for the decoder layer, at two widths."""
    for width, heads, batch in [(16, 2, 2)] if race.quick else SIZES:
        sizes = f"B {batch}, D {width}, H {heads}"
        grid = torch.randn(batch, GRID, width, device=race.device, requires_grad=True)
        words = torch.randn(batch, WORDS, width, device=race.device, requires_grad=True)
        runs, notes = race.settle(encoder_layers(width, heads, grid))
        yield race.row(
            "encoder layer, forward and backward", f"{sizes}, T {GRID}", runs, 1, notes=notes
        )
        runs, notes = race.settle(decoder_layers(width, heads, words, grid))
        yield race.row(
            "decoder layer, forward and backward",
            f"{sizes}, T {WORDS}, S {GRID}",
            runs,
            1,
            notes=notes,
        )


def encoder_layers(width, heads, grid):
    """The contenders, on a grid (B, S, D)."""
    torch_layer = nn.TransformerEncoderLayer(width, heads, 4 * width, **PLAIN)
    model = vit(width, heads, 1)
    return {
        "ours": forward_and_backward(EncoderLayer(width, heads), grid),
        "torch.nn.TransformerEncoderLayer": forward_and_backward(torch_layer, grid),
        "transformers ViTLayer": model and forward_and_backward(model.layers[0], grid),
    }


def decoder_layers(width, heads, words, grid):
    """The contenders, on words (B, T, D) that look at a grid (B, S, D)."""
    torch_layer = nn.TransformerDecoderLayer(width, heads, 4 * width, **PLAIN)
    hidden = nn.Transformer.generate_square_subsequent_mask(WORDS, device=words.device)
    model = gpt2(width, heads, 1, WORDS, 50)
    block = model and model.transformer.h[0]
    return {
        "ours": forward_and_backward(DecoderLayer(width, heads), words, memory=grid),
        "torch.nn.TransformerDecoderLayer": forward_and_backward(
            torch_layer, words, memory=grid, tgt_mask=hidden, tgt_is_causal=True
        ),
        "transformers GPT2Block": block
        and forward_and_backward(block, words, encoder_hidden_states=grid),
    }


def forward_and_backward(module, *inputs, **named):
    """A Step: forward, and backward to the inputs that want it and to the parameters."""
    module = module.to(inputs[0].device)
    given = [*inputs, *named.values()]
    tensors = list(module.parameters())
    tensors += [x for x in given if isinstance(x, torch.Tensor) and x.requires_grad]

    def run(call):
        output = call(*inputs, **named)
        torch.autograd.grad(output, tensors, torch.ones_like(output))

    return Step(module, run)
