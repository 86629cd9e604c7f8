"""The models of ``transformers`` that ours race against, in our sizes; None where it is missing."""

import math
from importlib.util import find_spec

import torch
from torch import nn

from mmcourse.captioning import END, PAD, START


def vit(width, heads, layers, image_size=64, patch=8):
    """Its ViT, with fused attention and without dropout."""
    if not find_spec("transformers"):
        return None
    from transformers import ViTConfig, ViTModel

    config = ViTConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
        image_size=image_size,
        patch_size=patch,
        hidden_dropout_prob=0.0,
        attn_implementation="sdpa",
    )
    return ViTModel(config, add_pooling_layer=False)


def gpt2(width, heads, layers, length, words):
    """Its GPT-2 with cross-attention, with fused attention and without dropout."""
    if not find_spec("transformers"):
        return None
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=words,
        n_positions=length,
        n_embd=width,
        n_layer=layers,
        n_head=heads,
        add_cross_attention=True,
        activation_function="gelu",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        tie_word_embeddings=False,
        bos_token_id=START,
        eos_token_id=END,
        pad_token_id=PAD,
        attn_implementation="sdpa",
    )
    return GPT2LMHeadModel(config)


def peer_captioner(model):
    """A ``VisionEncoderDecoderModel`` of the sizes of a Captioner, its decoder with our weights.

    Its encoder is a ViT with a token for each cell of our grid and, as near as may be, our number
    of parameters.
    """
    if not find_spec("transformers"):
        return None
    from transformers import VisionEncoderDecoderModel, logging

    logging.set_verbosity_error()  # it warns of padding, which the causal mask hides
    logging.disable_progress_bar()
    width = model.embedding.embedding_dim
    heads = model.decoder.layers[0].attention.heads
    device = model.embedding.weight.device
    cells = grid_cells(model)
    patch = model.image_size // math.isqrt(cells)
    peer = VisionEncoderDecoderModel(
        encoder=vit(width, heads, encoder_depth(model, width), model.image_size, patch),
        decoder=gpt2(width, heads, len(model.decoder.layers), model.max_length, len(model.words)),
    )
    peer.decoder.lm_head = nn.Linear(width, len(model.words))  # with a bias, as ours
    copy_decoder(model, peer.decoder)
    peer.generation_config.update(
        decoder_start_token_id=START,
        eos_token_id=END,
        pad_token_id=PAD,
        do_sample=False,
        max_new_tokens=model.max_length,
        use_cache=True,
    )
    return peer.to(device)


@torch.no_grad()
def grid_cells(model):
    """How many cells the grid of a captioner has, N."""
    image = torch.zeros(1, model.image_size, model.image_size, 3, dtype=torch.uint8)
    return model.encode(image).shape[1]  # of (1, N, D)


def encoder_depth(model, width):
    """How many layers of a ViT have as many parameters as ours has before its decoder."""
    decoding = ("embedding", "positions", "decoder", "output")
    count = 0
    for name, parameter in model.named_parameters():
        if name.split(".")[0] not in decoding:
            count += parameter.numel()
    return max(1, round(count / (12 * width**2 + 13 * width)))


@torch.no_grad()
def copy_decoder(model, peer):
    """Give a GPT-2 the weights of our decoder."""
    body = peer.transformer
    body.wpe.weight.copy_(model.positions[0])
    pairs = [
        (model.embedding, body.wte),
        (model.output, peer.lm_head),
        (model.decoder.norm, body.ln_f),
    ]
    for ours, theirs in zip(model.decoder.layers, body.h, strict=True):
        pairs.append((ours.norm1, theirs.ln_1))
        pairs.append((ours.norm2, theirs.ln_cross_attn))
        pairs.append((ours.norm3, theirs.ln_2))
        own = ours.attention
        cross = ours.cross_attention
        copy_linear([own.query, own.key, own.value], theirs.attn.c_attn)
        copy_linear([own.output], theirs.attn.c_proj)
        copy_linear([cross.query], theirs.crossattention.q_attn)
        copy_linear([cross.key, cross.value], theirs.crossattention.c_attn)
        copy_linear([cross.output], theirs.crossattention.c_proj)
        copy_linear([ours.feed_forward[0]], theirs.mlp.c_fc)
        copy_linear([ours.feed_forward[3]], theirs.mlp.c_proj)
    for ours, theirs in pairs:
        theirs.load_state_dict(ours.state_dict())


def copy_linear(ours, theirs):
    """Several of our linear layers as one of GPT-2's, which keeps the transpose."""
    theirs.weight.copy_(torch.cat([layer.weight for layer in ours]).T)
    theirs.bias.copy_(torch.cat([layer.bias for layer in ours]))
