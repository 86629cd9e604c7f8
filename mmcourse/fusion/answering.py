"""A model that answers questions about pictures, whatever its fusion, and how it is trained.

Shapes: B batch, T words, N cells of the picture, C channels of its features, D width, R answers.
"""

import torch
import torch.nn.functional as F
from torch import nn

from mmcourse.fusion.attending import (
    BottleneckFusion,
    CrossAttentionFusion,
    EarlyFusion,
    GatedFusion,
)
from mmcourse.fusion.pooled import BilinearFusion, ConcatFusion, LateFusion
from mmcourse.fusion.sides import drop_sides
from mmcourse.text import TextEncoder
from mmcourse.training import TrainingConfig, learning_rate_at, parameter_groups

HEADS = 4
# one number makes each of them wider: its size
FUSIONS = {
    "concatenation": lambda width, size: ConcatFusion(width, size),
    "late": lambda width, size: LateFusion(width, size),
    "early": lambda width, size: EarlyFusion(width, HEADS, size),
    "gated": lambda width, size: GatedFusion(width, HEADS, size),
    "cross-attention": lambda width, size: CrossAttentionFusion(width, HEADS, size),
    "bottleneck": lambda width, size: BottleneckFusion(width, HEADS, size),
    "bilinear": lambda width, size: BilinearFusion(width, size),
}


def parameters(module):
    """How many numbers a module learns."""
    return sum(parameter.numel() for parameter in module.parameters())


def sized_fusion(name, width, wanted):
    """A fusion of ``FUSIONS`` by name, of the size that brings it nearest to ``wanted``
    parameters.

    Their number grows by the same with each step of the size. Raises ValueError for an unknown
    name, and where the smallest has more than ``wanted``.
    """
    if name not in FUSIONS:
        raise ValueError(f"unknown fusion {name!r}: choose one of {', '.join(FUSIONS)}")
    make = FUSIONS[name]
    smallest = parameters(make(width, 1))
    step = parameters(make(width, 2)) - smallest
    size = 1 + round((wanted - smallest) / step)
    if size < 1:
        raise ValueError(f"{name} of width {width} has {smallest} parameters or more, not {wanted}")
    return make(width, size)


class QuestionAnswerer(nn.Module):
    """Words and cells of a picture become vectors, a fusion makes one of them, a line answers.

    The encoders are the same for every fusion: one Transformer layer for the words, and for the
    cells, whose features come from convolutions that stay as they are, one linear map and a learnt
    vector for each place.

    Args:
        fusion: any :class:`~mmcourse.fusion.sides.Fusion`.
        words: how many ids the tokenizer has.
        answers: R.
        channels: C, of the features.
        cells: N.
        context: the most words of a question.
        text_encoder: another encoder of ids (B, T) and mask (B, T) to (B, T, D).
    """

    def __init__(
        self, fusion, words, answers, *, channels=128, cells=64, context=16, text_encoder=None
    ):
        super().__init__()
        width = fusion.width
        self.fusion = fusion
        self.text = text_encoder or TextEncoder(words, width, 1, HEADS, context)
        self.image = nn.Linear(channels, width)
        self.places = nn.Parameter(0.02 * torch.randn(cells, width))
        self.image_norm = nn.LayerNorm(width)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, answers)

    def encode(self, ids, mask, features):
        """Both sides as vectors: (B, T, D) and (B, N, D)."""
        text = self.text(ids, mask)
        image = self.image_norm(self.image(features) + self.places)
        return text, image

    def forward(self, ids, mask, features, image_mask=None):
        """Logits (B, R) for ids (B, T) and features (B, N, C).

        ``mask`` is (B, T), ``image_mask`` (B, N), boolean, True = is there; a side may be missing.
        """
        text, image = self.encode(ids, mask, features)
        return self.head(self.norm(self.fusion(text, image, mask, image_mask)))

    def votes(self, ids, mask, features, image_mask=None):
        """Of a late fusion: the logits (B, 2, R) of each side alone, and the weights (B, 2).

        Mixed with the weights they are not the logits of the model, which mixes first and then
        normalises: each of these is what the head says of one opinion, normalised by itself.
        """
        text, image = self.encode(ids, mask, features)
        sides = self.fusion.complete_both(text, image, mask, image_mask)
        opinions, weights = self.fusion.mix(*sides)
        return self.head(self.norm(opinions)), weights


def fit(model, data, features, *, steps, rate, seed, batch=128, dropped=0.0, decay=0.01):
    """Train a model on questions, with AdamW; the rate warms up and falls to 0 as a cosine.

    ``data`` is what ``mmcourse.fusion.questions.tensors`` gives with ``scene`` (Q,), the row
    of each question's picture in ``features`` (scenes, N, C). ``dropped`` is the share of rows in
    which modality dropout hides a side. The batches depend on the seed alone.
    """
    config = TrainingConfig(steps=steps, batch_size=1, learning_rate=rate, warmup=steps // 10)
    optimizer = torch.optim.AdamW(parameter_groups(model, decay), lr=rate)
    generator = torch.Generator().manual_seed(seed)
    model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step, config)
        rows = torch.randint(len(data["answer"]), (batch,), generator=generator)
        mask = data["mask"][rows]
        cells = features[data["scene"][rows]]
        image_mask = None
        if dropped:
            there = torch.ones(cells.shape[:2], dtype=torch.bool)
            mask, image_mask = drop_sides(mask, there, dropped, generator)
        logits = model(data["ids"][rows], mask, cells, image_mask)
        F.cross_entropy(logits, data["answer"][rows]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


@torch.no_grad()
def predict(model, data, features, *, hide=(), noise=0.0, seed=0):
    """Log-probabilities (Q, R) of a model for questions, as :func:`fit` takes them.

    ``hide`` holds ``"text"`` or ``"image"``, which are then missing. ``noise`` is added to the
    features, in units of the standard deviation of each channel.
    """
    generator = torch.Generator().manual_seed(seed)
    spread = features.flatten(0, 1).std(0) if noise else 0.0  # (C,)
    parts = []
    for rows in torch.arange(len(data["answer"])).split(256):
        cells = features[data["scene"][rows]]
        if noise:
            cells = cells + noise * spread * torch.randn(cells.shape, generator=generator)
        mask = data["mask"][rows]
        image_mask = torch.ones(cells.shape[:2], dtype=torch.bool)
        if "text" in hide:
            mask = torch.zeros_like(mask)
        if "image" in hide:
            image_mask = torch.zeros_like(image_mask)
        parts.append(model(data["ids"][rows], mask, cells, image_mask).log_softmax(-1))
    return torch.cat(parts)


def shares(model, data, features, rows):
    """The share of the text, between 0 and 1, in how strongly both sides move an answer: (Q,).

    For each side it is the size of the sum of vector times gradient of the true answer's logit,
    over the tokens. What moves the logit a lot where the vector is 0 does not count.
    """
    with torch.no_grad():
        cells = features[data["scene"][rows]]
        text, image = model.encode(data["ids"][rows], data["mask"][rows], cells)
    text.requires_grad_()
    image.requires_grad_()
    fused = model.fusion(text, image, data["mask"][rows])
    logits = model.head(model.norm(fused))
    chosen = logits.gather(1, data["answer"][rows][:, None]).sum()
    text_gradient, image_gradient = torch.autograd.grad(chosen, [text, image])
    of_text = (text * text_gradient).flatten(1).norm(dim=1)
    of_image = (image * image_gradient).flatten(1).norm(dim=1)
    return (of_text / (of_text + of_image).clamp(min=1e-12)).detach()
