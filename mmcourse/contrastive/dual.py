"""Two encoders into one space: what all models of this chapter have in common.

Shapes: B batch, T words, M further texts, E numbers of an embedding.
"""

import hashlib
import math

import torch
from torch import nn

from mmcourse.contrastive.losses import MAX_SCALE, unit


class DualEncoder(nn.Module):
    """An encoder of pictures and one of texts whose embeddings can be compared by their cosine.

    A subclass has ``image_tower``, ``text_tower``, ``log_scale`` and perhaps ``bias`` (the last two
    are parameters), and says in :meth:`prepare` and :meth:`tokenize` what its towers take.
    """

    max_scale = MAX_SCALE  #: of cosines; None where nothing bounds it

    def __init__(self):
        super().__init__()
        self.register_parameter("bias", None)

    @property
    def device(self):
        """Where its numbers are, as a ``torch.device``."""
        return self.log_scale.device

    def scale(self):
        """What cosines are multiplied by, a tensor ``()``, at most ``max_scale``.

        As CLIP does, the parameter itself is set back when training has driven it higher. Clamping
        the result alone would leave it there without a gradient.
        """
        if self.max_scale is not None:
            with torch.no_grad():
                self.log_scale.clamp_(max=math.log(self.max_scale))
        at_least_single = torch.promote_types(self.log_scale.dtype, torch.float32)
        return self.log_scale.to(at_least_single).exp()

    def encode_image(self, pixels):
        """Embeddings ``(B, E)`` of length 1 of what :meth:`prepare` gives."""
        return unit(self.image_tower(pixels.to(self.device)))

    def encode_text(self, tokens):
        """Embeddings ``(B, E)`` of length 1 of what :meth:`tokenize` gives."""
        return unit(self.text_tower(tokens.to(self.device)))

    def similarity(self, image, text):
        """The scaled cosines of embeddings ``(B, E)`` and ``(M, E)``: ``(B, M)`` logits.

        With SigLIP's bias, ``sigmoid`` of a logit says how probable it is that two belong together.
        """
        logits = self.scale() * unit(image) @ unit(text).mT
        return logits if self.bias is None else logits + self.bias

    def prepare(self, pictures):
        """A list of pictures (path, PIL picture or uint8 array) as a batch of pixels."""
        raise NotImplementedError("a model says in prepare what its picture tower takes")

    def tokenize(self, texts):
        """A list of texts as token numbers ``(B, T)``."""
        raise NotImplementedError("a model says in tokenize what its text tower takes")

    def fingerprint(self):
        """Sixteen hexadecimal digits that tell this model, by its weights, from every other."""
        total = hashlib.sha256(f"{type(self).__name__} {self.image_size}".encode())
        for name, tensor in sorted(self.state_dict().items()):
            total.update(name.encode())
            total.update(tensor.cpu().contiguous().numpy().tobytes())
        return total.hexdigest()[:16]

    @torch.no_grad()
    def image_features(self, pictures, batch_size=64):
        """Embeddings ``(n, E)`` of length 1 of a list of pictures, without gradients."""
        if len(pictures) == 0:
            raise ValueError("expected at least one picture, got an empty list")
        parts = [pictures[at : at + batch_size] for at in range(0, len(pictures), batch_size)]
        return torch.cat([self.encode_image(self.prepare(part)).cpu() for part in parts])

    @torch.no_grad()
    def text_features(self, texts, batch_size=256):
        """Embeddings ``(n, E)`` of length 1 of a list of texts, without gradients."""
        if len(texts) == 0:
            raise ValueError("expected at least one text, got an empty list")
        parts = [texts[at : at + batch_size] for at in range(0, len(texts), batch_size)]
        return torch.cat([self.encode_text(self.tokenize(part)).cpu() for part in parts])
