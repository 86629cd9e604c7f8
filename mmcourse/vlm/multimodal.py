"""The article's model, finished: BERT and ViT encode, a decoder of the same library writes.

Shapes: B batch, S tokens of the text, N patches and the class token, T words of the answer, D width
of the text model, V vocabulary.
"""

import torch
from torch import nn


class MultimodalEncoderDecoder(nn.Module):
    """BERT reads a text, ViT a picture; a causal decoder looks at both and writes.

    ``text_model`` is a ``BertModel``, ``image_model`` a ``ViTModel``, ``decoder`` a
    ``BertLMHeadModel`` with ``is_decoder`` and ``add_cross_attention``, all of ``transformers``.
    ValueError for a decoder that cannot look, or is not as wide as the text model.
    """

    def __init__(self, text_model, image_model, decoder):
        super().__init__()
        config = decoder.config
        if not (config.is_decoder and config.add_cross_attention):
            raise ValueError(
                "the decoder must be causal and look at the encoders: make its BertConfig with "
                "is_decoder=True, add_cross_attention=True"
            )
        width = text_model.config.hidden_size
        if config.hidden_size != width:
            raise ValueError(
                f"the decoder has width {config.hidden_size}, the text model {width}: "
                "make them equal"
            )
        self.text_model = text_model
        self.image_model = image_model
        self.image_projection = nn.Linear(image_model.config.hidden_size, width)
        self.kind = nn.Parameter(0.02 * torch.randn(2, width))  # marks words, and patches
        self.decoder = decoder

    def encode(self, ids, pixels, mask=None):
        """The memory (B, S + N, D) of ids (B, S) and pixels (B, 3, H, W), and its mask."""
        if mask is None:
            mask = torch.ones_like(ids, dtype=torch.bool)
        words = self.text_model(ids, attention_mask=mask.long()).last_hidden_state  # (B, S, D)
        patches = self.image_model(pixels).last_hidden_state
        patches = self.image_projection(patches)  # (B, N, D)
        memory = torch.cat([words + self.kind[0], patches + self.kind[1]], 1)
        visible = torch.cat([mask, mask.new_ones(patches.shape[:2])], 1)
        return memory, visible

    def forward(self, ids, pixels, answer, mask=None):
        """Logits (B, T, V) of the word after each of the ``answer``'s (B, T)."""
        memory, visible = self.encode(ids, pixels, mask)
        out = self.decoder(
            answer, encoder_hidden_states=memory, encoder_attention_mask=visible.long()
        )
        return out.logits
