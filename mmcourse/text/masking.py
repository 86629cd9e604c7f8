"""The masked language model: hide some tokens, and guess them from what is left.

Shapes: B batch, T tokens, D width, V vocabulary, M hidden tokens.
"""

import torch
import torch.nn.functional as F
from torch import nn

from mmcourse.text.encoder import TextEncoder
from mmcourse.text.loading import load_masked
from mmcourse.weights import SavedModel

IGNORE = -100  # the target where nothing is to be guessed, as in torch's cross-entropy


def mask_tokens(ids, mask_id, vocab_size, *, special=(), share=0.15, generator=None):
    """Hide tokens as BERT does (Devlin et al. 2019, section 3.1): inputs and targets, (B, T) each.

    Each token of ``ids`` (B, T) is chosen with the probability ``share``. Of the chosen, 80 %
    become ``mask_id``, 10 % a random token, and 10 % stay. The targets have the true id where a
    token was chosen, and -100 elsewhere. The ids in ``special``, padding among them, are neither
    chosen nor drawn; nor is ``mask_id`` drawn.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be from 0 to 1, got {share}")
    apart = torch.tensor(sorted({mask_id, *special}))
    words = torch.arange(vocab_size)
    words = words[~torch.isin(words, apart)]  # what a random token is drawn from
    if not len(words):
        raise ValueError(f"all {vocab_size} ids are special: nothing is left to be drawn")
    chosen = torch.rand(ids.shape, generator=generator) < share
    chosen = chosen & ~torch.isin(ids, apart)
    fate = torch.rand(ids.shape, generator=generator)
    drawn = words[torch.randint(len(words), ids.shape, generator=generator)]
    inputs = torch.where(chosen & (fate < 0.8), mask_id, ids)
    inputs = torch.where(chosen & (fate >= 0.9), drawn, inputs)
    targets = torch.where(chosen, ids, IGNORE)
    return inputs, targets


class MaskedLanguageModel(SavedModel):
    """A :class:`~mmcourse.text.TextEncoder` and BERT's head, which guesses hidden tokens.

    The head is a linear layer, GELU, a norm, and the table of embeddings used again, with a bias.
    The arguments are those of the encoder.
    """

    def __init__(
        self,
        vocab_size,
        width,
        layers,
        heads,
        context,
        *,
        hidden=None,
        dropout=0.0,
        norm_first=True,
        token_types=0,
        eps=1e-5,
    ):
        super().__init__()
        self.encoder = TextEncoder(
            vocab_size,
            width,
            layers,
            heads,
            context,
            hidden=hidden,
            dropout=dropout,
            norm_first=norm_first,
            token_types=token_types,
            eps=eps,
        )
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps)
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    @classmethod
    def sizes_in(cls, shapes):
        """As in :class:`~mmcourse.weights.SavedModel`."""
        inner = {
            name.removeprefix("encoder."): shape
            for name, shape in shapes.items()
            if name.startswith("encoder.")
        }
        return TextEncoder.sizes_in(inner)

    @classmethod
    def from_transformers(cls, name, **options):
        """Load a ``BertForMaskedLM`` from a folder or from ``owner/name`` on the hub.

        The table that reads tokens also writes them; a file may hold it once or twice. Otherwise
        as :meth:`TextEncoder.from_transformers <mmcourse.text.TextEncoder.from_transformers>`.
        """
        return load_masked(cls, name, **options)

    def guess(self, vectors):
        """Logits (..., V) of the token at the place of each vector (..., D)."""
        x = self.norm(F.gelu(self.dense(vectors)))
        return F.linear(x, self.encoder.embedding.weight, self.bias)

    def forward(self, ids, mask=None, *, types=None):
        """Logits (B, T, V) of the tokens of ``ids`` (B, T); the rest is as in the encoder."""
        return self.guess(self.encoder(ids, mask, types=types))

    def loss(self, inputs, targets, mask=None):
        """Mean cross-entropy, in nats, of the hidden tokens; 0 where none is hidden.

        ``inputs`` and ``targets`` (B, T) are those of :func:`mask_tokens`. Logits are computed only
        where something is to be guessed.
        """
        hidden = targets != IGNORE  # (B, T)
        vectors = self.encoder(inputs, mask)[hidden]  # (M, D)
        if not len(vectors):
            return vectors.sum()
        return F.cross_entropy(self.guess(vectors), targets[hidden])
