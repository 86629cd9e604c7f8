"""From a caption to a picture: an autoencoder's decoder behind a rectified flow over its latents.

It is latent diffusion (Rombach et al. 2022) in small. Letters: B batch, T words, C channels.
"""

import torch
from torch import nn

from mmcourse.text_to_image.autoencoder import Autoencoder, to_images
from mmcourse.text_to_image.captions import MAX_WORDS, NONE, PAD, SPECIAL, check_caption
from mmcourse.text_to_image.denoiser import Denoiser
from mmcourse.text_to_image.flow import RectifiedFlow, velocity_to
from mmcourse.weights import SavedModel

DROPPED = 0.1  # of the captions in training, for guidance
SHIFT = 6.0  # of the times: a thing can be told from noise long before half of the way


class TextToImage(SavedModel):
    """Draw captions of the small world.

    ``vocabulary`` is a list of words. ``channels`` and ``autoencoder_width`` are those of the
    :class:`Autoencoder`, the other sizes those of the :class:`Denoiser`; ``side`` is how many cells
    a picture has along each side, ``patch`` how many of them a patch has.
    """

    def __init__(
        self,
        vocabulary,
        channels=48,
        autoencoder_width=96,
        width=192,
        layers=6,
        heads=4,
        side=8,
        patch=2,
    ):
        super().__init__()
        self.words = SPECIAL + list(vocabulary)
        self.ids = {word: number for number, word in enumerate(self.words)}
        self.shape = (channels, side, side)
        self.autoencoder = Autoencoder(channels, autoencoder_width)
        self.denoiser = Denoiser(
            len(self.words), channels, side, patch, width, layers, heads, MAX_WORDS
        )
        self.flow = RectifiedFlow(self.velocity, SHIFT)

    @classmethod
    def sizes_in(cls, shapes):
        """As in :class:`~mmcourse.weights.SavedModel`."""
        return {
            "vocabulary": shapes["denoiser.word_embedding.weight"][0] - len(SPECIAL),
            "width": shapes["denoiser.word_embedding.weight"][1],
            "channels": shapes["autoencoder.encoder.weight"][0],
            "autoencoder_width": shapes["autoencoder.decoder.correction.0.weight"][0],
        }

    def guess(self, x, t, condition):
        """The latents that ``x`` at times ``t`` (B,) will become.

        ``condition`` is ids (B, T), None for no caption.
        """
        if condition is None:
            condition = torch.full((len(x), 1), NONE, device=x.device)
        return self.denoiser(x, t, condition)

    def velocity(self, x, t, condition):
        """What the flow follows: straight on to the guess."""
        return velocity_to(self.guess(x, t, condition), x, t)

    def tokenize(self, captions):
        """Ids (B, T) of captions whose words are known, filled up with PAD.

        ValueError for what cannot be drawn (:func:`check_caption`).
        """
        rows = []
        for caption in captions:
            rows.append(torch.tensor([self.ids[word] for word in check_caption(caption)]))
        return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)

    def loss(self, latents, ids):
        """The flow's loss for latents (B, C, 8, 8) and captions (B, T); some are dropped."""
        dropped = torch.rand(len(ids), device=ids.device) < DROPPED
        ids = ids.clone()
        ids[dropped] = PAD
        ids[dropped, 0] = NONE
        return self.flow.loss(latents, ids)

    def noise(self, count, seed):
        """Where pictures begin, (count, C, side, side); number ``i`` has the seed ``seed + i``."""
        rows = []
        for number in range(count):
            generator = torch.Generator().manual_seed(seed + number)
            rows.append(torch.randn(self.shape, generator=generator))
        return torch.stack(rows)

    @torch.no_grad()
    def draw(self, caption, seed=0, steps=20, guidance=2.0):
        """The picture of a caption, a uint8 array (64, 64, 3). Of a list of captions, a list.

        Number ``i`` of a list is drawn with ``seed + i``. ``guidance`` is that of
        :func:`~mmcourse.text_to_image.guided`. Raises ValueError, which says what to do, for a
        caption of which a word is unknown, or that says no thing that it can draw.
        """
        many = isinstance(caption, list)
        if many and not caption:
            return []
        ids = self.tokenize(caption if many else [caption])
        latents = self.flow.sample(self.noise(len(ids), seed), ids, steps, guidance)
        images = list(to_images(self.autoencoder.decode(latents)).numpy())
        return images if many else images[0]

    @torch.no_grad()
    def steps_of(self, caption, seed=0, steps=20, guidance=2.0):
        """Every point on the way to a picture, decoded: uint8 (steps + 1, 64, 64, 3)."""
        ids = self.tokenize([caption])
        points = self.flow.path(self.noise(1, seed), ids, steps, guidance)
        return to_images(self.autoencoder.decode(torch.cat(points))).numpy()
