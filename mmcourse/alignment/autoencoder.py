"""Pictures and words from one code, each from its own side and from the other.

Shapes: B rows, D numbers of a picture's features, P numbers to rebuild of a picture, F numbers of a
text's features, V words, E numbers of the code.
"""

import torch.nn.functional as F
from torch import nn


def two_layers(inputs, hidden, outputs):
    """A network of one hidden layer."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))


class CrossModalAutoencoder(nn.Module):
    """Two encoders into one code, and two decoders out of it.

    Args:
        image: D, the width of a picture's features.
        text: F, the width of a text's features.
        pixels: P, how many numbers of a picture are rebuilt; they may be its features again.
        words: V, of how many words is said whether a text has them.
        code: E.
        hidden: width of the hidden layer of each of the four networks.
        word_weight: by what the loss of the words is multiplied.
    """

    def __init__(self, image, text, pixels, words, code=64, hidden=256, word_weight=1.0):
        super().__init__()
        self.word_weight = word_weight
        self.image_encoder = two_layers(image, hidden, code)
        self.text_encoder = two_layers(text, hidden, code)
        self.image_decoder = two_layers(code, hidden, pixels)
        self.text_decoder = two_layers(code, hidden, words)

    def encode_image(self, features):
        """Features (B, D) of pictures become codes (B, E)."""
        return self.image_encoder(features)

    def encode_text(self, features):
        """Features (B, F) of texts become codes (B, E)."""
        return self.text_encoder(features)

    def decode_image(self, codes):
        """Codes (B, E) become pictures (B, P)."""
        return self.image_decoder(codes)

    def decode_text(self, codes):
        """Codes (B, E) become logits (B, V), one for each word."""
        return self.text_decoder(codes)

    def rebuild(self, codes, pixels=None, words=None):
        r"""The mean squared error of pictures, plus the weighted mean cross-entropy of words.

        ``pixels`` (B, P) are numbers, ``words`` (B, V) are 0 or 1; what is not given is not asked.
        ValueError for shapes that do not fit the codes.
        """
        loss = codes.new_zeros(())
        if pixels is not None:
            found = self.decode_image(codes)
            check_target("pixels", pixels, found)
            loss = loss + F.mse_loss(found, pixels)
        if words is not None:
            logits = self.decode_text(codes)
            check_target("words", words, logits)
            entropy = F.binary_cross_entropy_with_logits(logits, words)
            loss = loss + self.word_weight * entropy
        return loss

    def within(self, image, text, pixels, words):
        """Each side from its own code. Needs no pairs: the sides may have other rows."""
        return self.rebuild(self.encode_image(image), pixels=pixels) + self.rebuild(
            self.encode_text(text), words=words
        )

    def across(self, image, text, pixels, words):
        """Each side from the code of the other. Row i of the pictures belongs to text i."""
        if len(image) != len(text):
            raise ValueError(f"across needs pairs, got {len(image)} pictures, {len(text)} texts")
        return self.rebuild(self.encode_image(image), words=words) + self.rebuild(
            self.encode_text(text), pixels=pixels
        )


def check_target(name, target, found):
    """ValueError unless a target has the shape of what was found: nothing is broadcast."""
    if target.shape != found.shape:
        raise ValueError(f"{name} must be {tuple(found.shape)}, got {tuple(target.shape)}")
