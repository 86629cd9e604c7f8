"""A text model and an image model of transformers, joined by a fusion.

Shapes: B batch, T tokens, N patches and the class token, D width, R answers.
"""

from torch import nn

from mmcourse.fusion.attending import EarlyFusion


class MultimodalTransformer(nn.Module):
    """BERT reads the text, ViT the picture; both are projected, fused, and answered.

    Args:
        text_model: a ``BertModel`` or what has its interface.
        image_model: a ``ViTModel`` or what has its interface.
        answers: R.
        fusion: any :class:`~mmcourse.fusion.sides.Fusion`, whose width both sides are brought to.
            An :class:`EarlyFusion` as wide as the text model unless given.
    """

    def __init__(self, text_model, image_model, answers, fusion=None):
        super().__init__()
        text_width = text_model.config.hidden_size
        heads = text_model.config.num_attention_heads
        self.text_model = text_model
        self.image_model = image_model
        self.fusion = fusion or EarlyFusion(text_width, heads, 2 * text_width, layers=1)
        self.text_projection = nn.Linear(text_width, self.fusion.width)
        self.image_projection = nn.Linear(image_model.config.hidden_size, self.fusion.width)
        self.decoder = nn.Linear(self.fusion.width, answers)

    @classmethod
    def from_pretrained(cls, text, image, answers, fusion=None, **options):
        """Join a BERT and a ViT, each from a folder or ``owner/name`` on the hub.

        ``options`` go to both downloads. Needs the package transformers.
        """
        from transformers import BertModel, ViTModel

        text_model = BertModel.from_pretrained(text, **options)
        image_model = ViTModel.from_pretrained(image, **options)
        return cls(text_model, image_model, answers, fusion)

    def forward(self, ids, pixels, mask=None):
        """Log-probabilities (B, R) for ids (B, T), their boolean mask, and pixels (B, 3, H, W)."""
        attention_mask = None if mask is None else mask.long()
        text = self.text_model(ids, attention_mask=attention_mask).last_hidden_state  # (B, T, D)
        image = self.image_model(pixels).last_hidden_state  # (B, N, D)
        text = self.text_projection(text)
        image = self.image_projection(image)
        return self.decoder(self.fusion(text, image, mask)).log_softmax(-1)
