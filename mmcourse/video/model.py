"""A model that says what happens in a clip: the event, and the one or two nouns of its caption.

Shapes: B batch, F frames, T steps in time, N cells of a step, D width.
"""

import torch
import torch.nn.functional as F
from torch import nn

from mmcourse.attention import MultiHeadAttention
from mmcourse.data.clips import EVENTS, FRAME, FRAMES, NOUNS, clip_caption
from mmcourse.video.encoders import ENCODERS
from mmcourse.video.facts import Scores, best_facts
from mmcourse.video.tubelets import FrameStem, TubeletEmbedding, to_clips
from mmcourse.weights import SavedModel

CELL = 8  # pixels of the side of a token
PARTS = ("event", "first", "second")  # of a caption


class ClipReader(SavedModel):
    """Reads a clip by one of four encoders.

    ``encoder`` is one of ``ENCODERS``, ``long`` the number of frames of a tubelet. All else is the
    same: convolutions in each frame, tokens, and three learned queries that look at what the
    encoder returns, for the three parts of a caption. ValueError for another encoder.
    """

    def __init__(self, encoder="joint", long=1, width=64, layers=2, heads=4, frames=FRAMES):
        super().__init__()
        if encoder not in ENCODERS:
            raise ValueError(f"unknown encoder {encoder!r}: choose one of {', '.join(ENCODERS)}")
        self.frames = frames
        self.stem = FrameStem()
        self.tubelets = TubeletEmbedding(32, (long, CELL // 4, CELL // 4), width)
        cells = (FRAME // CELL) ** 2
        self.encoder = ENCODERS[encoder](frames // long, cells, width, layers, heads)
        self.queries = nn.Parameter(torch.empty(len(PARTS), width))
        nn.init.normal_(self.queries)
        self.readout = MultiHeadAttention(width, heads)
        sizes = (len(EVENTS), len(NOUNS), len(NOUNS) + 1)
        self.heads = nn.ModuleList(nn.Linear(width, size) for size in sizes)

    @classmethod
    def sizes_in(cls, shapes):
        """The arguments that tensors of these shapes were made with."""
        return {"width": shapes["queries"][1]}

    def forward(self, clips, mask=None, *, return_weights=False):
        """Read ``clips`` (B, F, 3, H, W): :class:`Scores`. ``mask`` (B, T): True for real steps.

        What is in the other steps does not matter: neither the stem's mean of the frames, nor the
        encoder, nor the queries have them.
        """
        check_frames(clips, self.frames)
        frames = None
        if mask is not None:
            frames = mask.repeat_interleave(self.tubelets.tube[0], 1)  # (B, F)
        x = self.tubelets(self.stem(clips, frames))  # (B, T, N, D)
        x = self.encoder(x, mask)
        steps, cells = x.shape[1:3]
        x = x.flatten(1, 2)
        hidden = None
        if mask is not None and steps > 1:
            hidden = mask.repeat_interleave(cells, 1)[:, None, None]
        queries = self.queries.expand(len(x), -1, -1)  # (B, 3, D)
        found = self.readout(queries, x, hidden, return_weights=return_weights)
        weights = None
        if return_weights:
            found, weights = found
            weights = weights.mean(1).unflatten(-1, (steps, cells))  # (B, 3, T, N)
        parts = [head(found[:, place]).log_softmax(-1) for place, head in enumerate(self.heads)]
        return Scores(*parts, weights)

    def loss(self, clips, targets):
        """Cross-entropy of the three parts (3,), of ``targets`` (B, 3)."""
        scores = self(clips)
        return torch.stack([F.nll_loss(scores[place], targets[:, place]) for place in range(3)])

    @torch.no_grad()
    def read(self, clips, batch=100):
        """:class:`Scores` of uint8 clips (B, F, H, W, 3), a batch at a time.

        ValueError for no clip at all.
        """
        if len(clips) == 0:
            raise ValueError("there is no clip to read: pass one or more, as (B, F, H, W, 3)")
        parts = []
        for start in range(0, len(clips), batch):
            pixels = to_clips(clips[start : start + batch])
            parts.append(self(pixels, return_weights=True))
        return Scores(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def captions(self, clips):
        """The most probable caption of each of some uint8 clips, a list."""
        return [clip_caption(*fact) for fact in best_facts(self.read(clips))]


def check_frames(clips, frames):
    """ValueError unless ``clips`` (B, F, 3, H, W) have so many frames of the course's size."""
    expected = (frames, 3, FRAME, FRAME)
    if tuple(clips.shape[1:]) != expected:
        raise ValueError(
            f"clips must be (B, {', '.join(map(str, expected))}), got {tuple(clips.shape)}. "
            "read_clip gives a file that shape, sample_frames an array."
        )
