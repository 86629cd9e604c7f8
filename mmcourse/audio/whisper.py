"""Whisper's encoder (Radford et al. 2023) of our layers, with the weights of ``transformers``."""

from pathlib import Path

import torch
from torch import nn

from mmcourse.transformer import Encoder
from mmcourse.weights import SavedModel

# Names of tensors: in transformers, and here; of a layer, after its number.
OUTSIDE = {"embed_positions.weight": "positions", "layer_norm": "encoder.norm"}
LAYER = {
    "self_attn.q_proj": "attention.query",
    "self_attn.k_proj": "attention.key",
    "self_attn.v_proj": "attention.value",
    "self_attn.out_proj": "attention.output",
    "self_attn_layer_norm": "norm1",
    "fc1": "feed_forward.0",
    "fc2": "feed_forward.3",
    "final_layer_norm": "norm2",
}


class WhisperEncoder(SavedModel):
    """Log-mel frames ``(B, T, M)`` to vectors ``(B, T / 2, D)``: two convolutions, our encoder.

    ``context`` is the largest T / 2; in Whisper always 1,500, of 30 s filled with silence.
    """

    def __init__(self, mels, width, heads, layers, hidden, context):
        super().__init__()
        self.conv1 = nn.Conv1d(mels, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.positions = nn.Parameter(torch.zeros(context, width))
        self.encoder = Encoder(layers, width, heads, hidden)

    @classmethod
    def sizes_in(cls, shapes):
        """All but the heads and layers; see :meth:`mmcourse.weights.SavedModel.sizes_in`."""
        width, mels, _ = shapes["conv1.weight"]
        return {"width": width, "mels": mels, "context": shapes["positions"][0]}

    def forward(self, features):
        """ValueError for more frames than the encoder has positions for."""
        x = nn.functional.gelu(self.conv1(features.transpose(1, 2)))  # (B, D, T)
        x = nn.functional.gelu(self.conv2(x)).transpose(1, 2)  # (B, T / 2, D)
        if x.shape[1] > len(self.positions):
            raise ValueError(
                f"expected at most {2 * len(self.positions)} frames, got {features.shape[1]}"
            )
        return self.encoder(x + self.positions[: x.shape[1]])

    @classmethod
    def from_transformers(cls, name):
        """The encoder of a ``WhisperModel``: one that is there, or its folder.

        ValueError for another model.
        """
        theirs = name
        if not isinstance(name, nn.Module):
            if not Path(name).is_dir():
                raise ValueError(f"expected the folder of a Whisper, got {str(name)!r}")
            from transformers import WhisperModel

            theirs = WhisperModel.from_pretrained(name, local_files_only=True)
        config = theirs.config
        if config.model_type != "whisper" or config.activation_function != "gelu":
            raise ValueError(f"expected a Whisper with GELU, got a {config.model_type}")
        model = cls(
            config.num_mel_bins,
            config.d_model,
            config.encoder_attention_heads,
            config.encoder_layers,
            config.encoder_ffn_dim,
            config.max_source_positions,
        )
        tensors = {our_name(key): value for key, value in theirs.get_encoder().state_dict().items()}
        for number in range(config.encoder_layers):  # Whisper's keys have no bias
            tensors[f"encoder.layers.{number}.attention.key.bias"] = torch.zeros(config.d_model)
        model.load_state_dict(tensors)
        return model.eval()


def our_name(theirs):
    """The name here of a tensor of the encoder in transformers."""
    for before, now in OUTSIDE.items():
        if theirs.startswith(before):
            return now + theirs.removeprefix(before)
    if not theirs.startswith("layers."):
        return theirs
    _, number, rest = theirs.split(".", 2)
    part, kind = rest.rsplit(".", 1)
    return f"encoder.layers.{number}.{LAYER[part]}.{kind}"
