"""Words and picture in one row of tokens, written by a GPT: DALL-E in small (Ramesh et al. 2021).

Letters: B batch, T words, N cells, V words and codes together.
"""

import torch
import torch.nn.functional as F

from mmcourse.decoding import truncate
from mmcourse.gpt import GPT
from mmcourse.text_to_image.autoencoder import CodeAutoencoder, to_images
from mmcourse.text_to_image.captions import MAX_WORDS, PAD, SPECIAL, check_caption
from mmcourse.weights import SavedModel

TEXT_SHARE = 1 / 8  # of the loss, as in section 2.2 of Ramesh et al. 2021


class PictureGPT(SavedModel):
    """A GPT whose tokens are the words of a caption and then the codes of its picture.

    ``vocabulary`` is a list of words; ``codes``, ``channels`` and ``autoencoder_width`` are those
    of its :class:`CodeAutoencoder`, the other sizes those of the :class:`~mmcourse.gpt.GPT`.
    """

    def __init__(
        self,
        vocabulary,
        codes=512,
        channels=16,
        autoencoder_width=48,
        width=144,
        layers=5,
        heads=4,
        cells=64,
    ):
        super().__init__()
        self.words = SPECIAL + list(vocabulary)
        self.ids = {word: number for number, word in enumerate(self.words)}
        self.cells = cells
        self.autoencoder = CodeAutoencoder(codes, channels, autoencoder_width)
        self.gpt = GPT(len(self.words) + codes, width, layers, heads, MAX_WORDS + cells)

    @classmethod
    def sizes_in(cls, shapes):
        """As in :class:`~mmcourse.weights.SavedModel`."""
        return {"codes": shapes["autoencoder.quantizer.codebook"][0]}

    def tokenize(self, captions):
        """Ids (B, MAX_WORDS) of captions, filled up on the left. ValueError as for a drawing."""
        rows = torch.full((len(captions), MAX_WORDS), PAD)
        for row, caption in enumerate(captions):
            words = check_caption(caption)
            rows[row, MAX_WORDS - len(words) :] = torch.tensor([self.ids[word] for word in words])
        return rows

    def join(self, words, codes):
        """One row of words (B, T) and codes (B, N), whose numbers begin where the words' end.

        Returns the ids (B, T + N) and the mask of what is no padding.
        """
        ids = torch.cat([words, codes + len(self.words)], 1)
        return ids, ids != PAD

    def loss(self, words, codes):
        """Cross-entropy of the next token; words have ``TEXT_SHARE``, codes the rest."""
        ids, mask = self.join(words, codes)
        logits = self.gpt(ids, mask)[:, :-1]  # (B, T + N - 1, V)
        each = F.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
        picture = each[:, words.shape[1] - 1 :].mean()
        real = mask[:, : words.shape[1] - 1]  # a word after a word
        text = each[:, : words.shape[1] - 1][real].mean()
        return TEXT_SHARE * text + (1 - TEXT_SHARE) * picture

    @torch.no_grad()
    def write(self, captions, seed=0, temperature=1.0, top_k=100):
        """The codes (B, N) of pictures for captions, each drawn at random from what is probable."""
        words = self.tokenize(captions)
        generator = torch.Generator().manual_seed(seed)
        cache = {}
        logits = self.gpt(words, words != PAD, cache=cache)[:, -1]  # (B, V)
        codes = []
        for cell in range(self.cells):
            logits = logits[:, len(self.words) :]  # of codes only
            probabilities = truncate(logits / temperature, top_k).softmax(-1)
            code = torch.multinomial(probabilities, 1, generator=generator)  # (B, 1)
            codes.append(code)
            if cell + 1 < self.cells:
                logits = self.gpt(code + len(self.words), cache=cache)[:, -1]
        return torch.cat(codes, 1)

    @torch.no_grad()
    def draw(self, caption, seed=0, temperature=1.0, top_k=100):
        """The picture of a caption, uint8 (64, 64, 3); of a list of captions, a list."""
        many = isinstance(caption, list)
        codes = self.write(caption if many else [caption], seed, temperature, top_k)
        pixels = self.autoencoder.decode(codes.view(-1, 8, 8))
        images = list(to_images(pixels).numpy())
        return images if many else images[0]
