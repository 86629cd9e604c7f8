"""CLIP and SigLIP checkpoints of ``transformers`` in layers of the course, with copied weights.

Shapes: B batch, S side of a picture in pixels, N patches, T tokens, D width, E numbers of an
embedding.
"""

import re
from pathlib import Path

import torch
from torch import nn

from mmcourse.attention import MultiHeadAttention
from mmcourse.contrastive.dual import DualEncoder
from mmcourse.data.pictures import load_picture
from mmcourse.transformer import Encoder, FeedForward
from mmcourse.vision import PatchEmbedding
from mmcourse.weights import hub_answers, quiet_transformers

FILES = "config.json, model.safetensors, preprocessor_config.json and tokenizer.json"
OLD_END = 2  # what configurations of CLIP say for the end of a text that did not know it


class QuickGELU(nn.Module):
    """``x sigmoid(1.702 x)``, CLIP's approximation of the GELU (Hendrycks and Gimpel 2016)."""

    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


ACTIVATIONS = {
    "quick_gelu": QuickGELU,
    "gelu": nn.GELU,
    "gelu_pytorch_tanh": lambda: nn.GELU("tanh"),
}


class VisionTower(nn.Module):
    """A ViT: pixels ``(B, 3, S, S)`` to ``(B, E)``.

    CLIP's puts a class token before the patches, normalises first, and projects what the class
    token has become. SigLIP's has neither; one learned ``probe`` looks at all patches, and a
    feed-forward network follows.
    """

    def __init__(self, config, kind, embedding):
        super().__init__()
        width = config.hidden_size
        self.patches = PatchEmbedding(
            config.image_size, config.patch_size, width, config.num_channels
        )
        self.has_class_token = kind == "clip"
        tokens = self.patches.patches + self.has_class_token
        self.positions = nn.Parameter(torch.empty(1, tokens, width))
        self.encoder = plain_encoder(config)
        if self.has_class_token:
            self.class_token = nn.Parameter(torch.empty(1, 1, width))
            self.first_norm = nn.LayerNorm(width, config.layer_norm_eps)
            self.projection = nn.Linear(width, embedding, bias=False)
        else:
            self.probe = nn.Parameter(torch.empty(1, 1, width))
            self.attention = MultiHeadAttention(width, config.num_attention_heads)
            self.norm = nn.LayerNorm(width, config.layer_norm_eps)
            self.feed_forward = plain_feed_forward(config)

    def forward(self, pixels):
        x = self.patches(pixels)  # (B, N, D)
        if not self.has_class_token:
            x = self.encoder(x + self.positions)
            return self.look(x)
        class_token = self.class_token.expand(len(x), -1, -1)  # (B, 1, D)
        x = torch.cat([class_token, x], 1)  # (B, 1 + N, D)
        x = self.encoder(self.first_norm(x + self.positions))
        return self.projection(x[:, 0])

    def look(self, x):
        """What the probe finds in the patches ``(B, N, D)``: ``(B, D)``."""
        probe = self.probe.expand(len(x), -1, -1)  # (B, 1, D)
        found = self.attention(probe, x)
        found = found + self.feed_forward(self.norm(found))
        return found[:, 0]


class TextTower(nn.Module):
    """A Transformer over tokens ``(B, T)``, to ``(B, E)``.

    CLIP's is causal and read at the first end token, SigLIP's sees both ways and is read at the
    last token, whatever it is: its texts are filled up to the full length.
    """

    def __init__(self, config, kind, embedding):
        super().__init__()
        width = config.hidden_size
        self.causal = kind == "clip"
        self.end = config.eos_token_id
        self.context = config.max_position_embeddings
        self.embedding = nn.Embedding(config.vocab_size, width)
        self.positions = nn.Parameter(torch.empty(1, self.context, width))
        self.encoder = plain_encoder(config)
        self.projection = nn.Linear(width, embedding, bias=not self.causal)

    def forward(self, tokens):
        length = tokens.shape[1]
        if length > self.context:
            raise ValueError(f"the model reads {self.context} tokens, got {length}: cut the text")
        mask = None
        if self.causal:
            mask = torch.ones(length, length, dtype=torch.bool, device=tokens.device).tril()
        x = self.embedding(tokens) + self.positions[:, :length]  # (B, T, D)
        x = self.encoder(x, mask)
        rows = torch.arange(len(x), device=x.device)
        return self.projection(x[rows, self.last(tokens)])

    def last(self, tokens):
        """The place ``(B,)`` at which each text is read."""
        if not self.causal:
            return torch.full((len(tokens),), tokens.shape[1] - 1, device=tokens.device)
        if self.end == OLD_END:  # the end has the largest number
            return tokens.argmax(-1)
        return (tokens == self.end).int().argmax(-1)  # the first one


class PretrainedCLIP(DualEncoder):
    """A CLIP or SigLIP of others: towers, tokenizer, and how pictures are prepared.

    ``mean`` and ``std`` are for colours from 0 to 1. Unlike the authors' preprocessing, which cuts
    CLIP's pictures to a square and squeezes SigLIP's, ours keeps the whole picture in its shape and
    repeats its edge.
    """

    def __init__(self, model, tokenizer, mean, std):
        super().__init__()
        config = model.config
        self.kind = config.model_type
        embedding = model.visual_projection.out_features if self.kind == "clip" else None
        vision = config.vision_config
        text = config.text_config
        self.image_tower = VisionTower(vision, self.kind, embedding or vision.hidden_size)
        self.text_tower = TextTower(text, self.kind, embedding or text.projection_size)
        self.log_scale = nn.Parameter(model.logit_scale.detach().clone().reshape(()))
        if self.kind == "siglip":
            self.max_scale = None  # nothing bounds SigLIP's
            self.bias = nn.Parameter(model.logit_bias.detach().clone().reshape(()))
        self.tokenizer = tokenizer
        self.image_size = vision.image_size
        self.mean = torch.tensor(mean).view(3, 1, 1)
        self.std = torch.tensor(std).view(3, 1, 1)

    def prepare(self, pictures):
        """Pictures (path, PIL picture or uint8 array) as pixels ``(B, 3, S, S)``."""
        arrays = [load_picture(picture, self.image_size) for picture in pictures]
        images = torch.stack([torch.from_numpy(array) for array in arrays])  # (B, S, S, 3)
        pixels = images.permute(0, 3, 1, 2) / 255
        return (pixels - self.mean) / self.std

    def tokenize(self, texts):
        """Token numbers ``(B, T)``. ValueError for an empty text, or without a tokenizer."""
        if self.tokenizer is None:
            raise ValueError(
                "this checkpoint came without a tokenizer, so it can take token numbers only: "
                f"put {FILES} into its folder"
            )
        if isinstance(texts, str):
            raise TypeError(f"expected a list of texts, got the text {texts!r}: put it in a list")
        if not all(text.strip() for text in texts):
            raise ValueError("expected texts with words, got an empty one")
        return self.tokenizer(
            list(texts),
            padding=True if self.kind == "clip" else "max_length",
            truncation=True,
            max_length=self.text_tower.context,
            return_tensors="pt",
        )["input_ids"]


def from_transformers(name):
    """A CLIP or SigLIP by its folder or by owner/name on the hub, as :class:`PretrainedCLIP`.

    ``name`` may also be a ``CLIPModel`` or ``SiglipModel`` that is already there; it then comes
    without a tokenizer. Raises ValueError for other models, and when files cannot be had.
    """
    if isinstance(name, nn.Module):
        return convert(name, None, [0.5] * 3, [0.5] * 3)
    is_folder = Path(name).is_dir()
    if not is_folder and not re.fullmatch(r"[\w.-]+/[\w.-]+", str(name)):
        raise ValueError(
            f"expected a folder, or owner/name as openai/clip-vit-base-patch32, got {str(name)!r}"
        )
    try:
        from transformers import AutoModel

        options = {
            "local_files_only": not is_folder and not hub_answers(),
            "trust_remote_code": False,  # else a model may ask on the terminal to run its own code
        }
        with quiet_transformers():
            model = AutoModel.from_pretrained(name, dtype=torch.float32, **options)
        mean, std = colours_of(name, options)
        return convert(model, tokenizer_of(name, options), mean, std)
    except ImportError as error:
        raise ValueError(
            f"{str(name)!r} needs packages that are missing ({error}): "
            "pip install 'mmcourse[photographs]'"
        ) from error
    except Exception as error:  # those of several libraries
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"cannot load {str(name)!r} ({reason}): expected {FILES} of a CLIP or SigLIP; without "
            "a network fetch them elsewhere, put them into one folder, and give that folder"
        ) from error


def colours_of(name, options):
    """Mean and standard deviation of the colours that a checkpoint was trained with.

    ``options`` are for the download.
    """
    from transformers import AutoImageProcessor

    try:
        settings = AutoImageProcessor.from_pretrained(name, **options)
    except (OSError, ValueError) as error:
        raise ValueError(f"no preprocessor_config.json: {error}") from error
    return settings.image_mean, settings.image_std


def tokenizer_of(name, options):
    """The tokenizer of a checkpoint, or None where it has none; ``options`` as above."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name, **options)
    except (OSError, ValueError):
        return None


# Copying weights -----------------------------------------------------------------------------


def convert(theirs, tokenizer, mean, std):
    """A :class:`PretrainedCLIP` with the weights of a model of ``transformers``."""
    kind = theirs.config.model_type
    if kind not in ("clip", "siglip"):
        raise ValueError(f"expected a model of type clip or siglip, got {kind}")
    if kind == "siglip" and not theirs.vision_model.use_head:
        raise ValueError("this SigLIP has no pooling head, so its pictures have no embedding")
    ours = PretrainedCLIP(theirs, tokenizer, mean, std).to(theirs.logit_scale.dtype)
    with torch.no_grad():
        copy_vision(ours.image_tower, theirs)
        copy_text(ours.text_tower, theirs)
    return ours.eval().requires_grad_(False)


def plain_encoder(config):
    """Our Transformer encoder of the sizes in a configuration, with its activation."""
    encoder = Encoder(
        config.num_hidden_layers,
        config.hidden_size,
        config.num_attention_heads,
        config.intermediate_size,
        eps=config.layer_norm_eps,
    )
    for layer in encoder.layers:
        layer.feed_forward = plain_feed_forward(config)
    return encoder


def plain_feed_forward(config):
    """Our feed-forward network with the activation of a configuration."""
    if config.hidden_act not in ACTIVATIONS:
        raise ValueError(
            f"unknown activation {config.hidden_act!r}: expected one of {', '.join(ACTIVATIONS)}"
        )
    feed_forward = FeedForward(config.hidden_size, config.intermediate_size, 0.0)
    feed_forward[1] = ACTIVATIONS[config.hidden_act]()
    return feed_forward


def copy_vision(ours, theirs):
    """Copy the picture tower of a CLIPModel or SiglipModel."""
    vision = theirs.vision_model
    embeddings = vision.embeddings
    ours.patches.projection.weight.copy_(embeddings.patch_embedding.weight)
    ours.patches.projection.bias.zero_()  # CLIP's has none
    if embeddings.patch_embedding.bias is not None:
        ours.patches.projection.bias.copy_(embeddings.patch_embedding.bias)
    ours.positions.copy_(embeddings.position_embedding.weight[None])
    copy_encoder(ours.encoder, vision.encoder, vision.post_layernorm)
    if ours.has_class_token:
        ours.class_token.copy_(embeddings.class_embedding)
        copy(ours.first_norm, vision.pre_layrnorm)
        copy(ours.projection, theirs.visual_projection)
        return
    head = vision.head
    ours.probe.copy_(head.probe)
    weights = head.attention.in_proj_weight.chunk(3)
    biases = head.attention.in_proj_bias.chunk(3)
    layers = (ours.attention.query, ours.attention.key, ours.attention.value)
    for layer, weight, bias in zip(layers, weights, biases, strict=True):
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    copy(ours.attention.output, head.attention.out_proj)
    copy(ours.norm, head.layernorm)
    copy_feed_forward(ours.feed_forward, head.mlp)


def copy_text(ours, theirs):
    """Copy the text tower of a CLIPModel or SiglipModel."""
    text = theirs.text_model
    copy(ours.embedding, text.embeddings.token_embedding)
    ours.positions.copy_(text.embeddings.position_embedding.weight[None])
    copy_encoder(ours.encoder, text.encoder, text.final_layer_norm)
    copy(ours.projection, theirs.text_projection if ours.causal else text.head)


def copy_encoder(ours, theirs, norm):
    """Copy a stack of layers, and the norm after it."""
    for layer, other in zip(ours.layers, theirs.layers, strict=True):
        copy_layer(layer, other)
    copy(ours.norm, norm)


def copy_layer(ours, theirs):
    """Copy one layer of an encoder."""
    attention = ours.attention
    copy(attention.query, theirs.self_attn.q_proj)
    copy(attention.key, theirs.self_attn.k_proj)
    copy(attention.value, theirs.self_attn.v_proj)
    copy(attention.output, theirs.self_attn.out_proj)
    copy(ours.norm1, theirs.layer_norm1)
    copy(ours.norm2, theirs.layer_norm2)
    copy_feed_forward(ours.feed_forward, theirs.mlp)


def copy_feed_forward(ours, theirs):
    copy(ours[0], theirs.fc1)
    copy(ours[3], theirs.fc2)


def copy(ours, theirs):
    """Copy the tensors of one layer, which have the same names and shapes in both."""
    ours.load_state_dict(theirs.state_dict())
