"""The text encoder: every token becomes a vector that knows the tokens on both sides.

Shapes: B batch, T tokens, D width, H heads, V vocabulary.
"""

import torch
from torch import nn

from mmcourse.text.loading import load_encoder
from mmcourse.transformer import EncoderLayer
from mmcourse.weights import SavedModel


class TextEncoder(SavedModel):
    """A Transformer encoder over tokens (Devlin et al. 2019), pre-norm unless told otherwise.

    Args:
        vocab_size: V, how many ids there are.
        width: D, which ``heads`` divides.
        layers: how many layers.
        heads: H.
        context: the most tokens of a text, a learnt position each.
        hidden: width of the feed-forward networks, 4 D unless given.
        dropout: the probability that a number is dropped, after the embedding and in the layers.
        norm_first: pre-norm, with a last norm. False is BERT's post-norm, where that norm stands
            before the first layer.
        token_types: how many kinds of segments there are, as BERT's two sentences; 0 is no table.
        eps: of all norms.
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
        self.norm_first = norm_first
        self.embedding = nn.Embedding(vocab_size, width)
        self.positions = nn.Embedding(context, width)
        self.types = nn.Embedding(token_types, width) if token_types else None
        self.norm = nn.LayerNorm(width, eps)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            EncoderLayer(width, heads, hidden, dropout, norm_first=norm_first, eps=eps)
            for _ in range(layers)
        )
        for table in (self.embedding, self.positions):
            nn.init.normal_(table.weight, std=0.02)

    @classmethod
    def sizes_in(cls, shapes):
        """As in :class:`~mmcourse.weights.SavedModel`."""
        vocab_size, width = shapes["embedding.weight"]
        numbers = {name.split(".")[1] for name in shapes if name.startswith("layers.")}
        return {
            "vocab_size": vocab_size,
            "width": width,
            "layers": len(numbers),
            "context": shapes["positions.weight"][0],
        }

    @property
    def width(self):
        """D, how many numbers the vector of a token has."""
        return self.embedding.embedding_dim

    def forward(self, ids, mask=None, *, types=None, return_weights=False):
        """Turn ``ids`` (B, T) into vectors (B, T, D).

        ``mask`` (B, T) is boolean, False for padding, which nothing looks at; what stands there in
        the output means nothing. A row that is all padding gives finite numbers. ``types`` (B, T)
        are the segments, 0 unless given. With ``return_weights`` also give the attention
        (B, layers, H, T, T). Raises ValueError for an id outside the vocabulary and for more
        tokens than the context: nothing is cut silently.
        """
        self.check(ids)
        places = torch.arange(ids.shape[1], device=ids.device)
        x = self.embedding(ids) + self.positions(places)  # (B, T, D)
        if self.types is not None:
            segments = torch.zeros_like(ids) if types is None else types
            x = x + self.types(segments)
        if not self.norm_first:
            x = self.norm(x)
        x = self.dropout(x)
        seen = None if mask is None else mask[:, None, None, :]  # (B, 1, 1, T)
        maps = []
        for layer in self.layers:
            if return_weights:
                x, weights = layer(x, seen, return_weights=True)
                maps.append(weights)
            else:
                x = layer(x, seen)
        if self.norm_first:
            x = self.norm(x)
        return (x, torch.stack(maps, 1)) if return_weights else x

    def check(self, ids):
        """Raise a ValueError unless ``ids`` are whole numbers (B, T) that the tables know."""
        if ids.dim() != 2 or ids.is_floating_point() or ids.dtype == torch.bool:
            raise ValueError(f"ids must be whole numbers (B, T), got {ids.dtype} {list(ids.shape)}")
        context = self.positions.num_embeddings
        if ids.shape[1] > context:
            raise ValueError(
                f"a text may have {context} tokens, got {ids.shape[1]}: "
                "cut it yourself, or encode it in parts"
            )
        size = self.embedding.num_embeddings
        if ids.numel() and not (int(ids.min()) >= 0 and int(ids.max()) < size):
            raise ValueError(
                f"ids must be from 0 to {size - 1}, got {int(ids.min())} to {int(ids.max())}: "
                "take the tokenizer of this model"
            )

    @classmethod
    def from_transformers(cls, name, **options):
        """Load a model of BERT's family from a folder or from ``owner/name`` on the hub.

        Those are BERT and what has its layout, as MiniLM. What stands on top of the encoder, the
        pooler or a head, is left out. ``options`` go to the download. Raises ValueError, which
        names them, for missing tensors and for others, and for a model of another family.
        """
        return load_encoder(cls, name, **options)


class LSTMEncoder(nn.Module):
    """Reads a text from left to right and back: ids (B, T) to vectors (B, T, D).

    It is the encoder that was used before attention (Hochreiter and Schmidhuber 1997; in both
    directions, Schuster and Paliwal 1997), each direction with half of the width.
    """

    def __init__(self, vocab_size, width, layers=1):
        super().__init__()
        if width % 2:
            raise ValueError(f"width must be even, half for each direction, got {width}")
        self.width = width
        self.embedding = nn.Embedding(vocab_size, width)
        self.lstm = nn.LSTM(width, width // 2, layers, batch_first=True, bidirectional=True)

    def forward(self, ids, mask=None):
        """Vectors (B, T, D); ``mask`` (B, T) is False for padding, which comes after the text."""
        x = self.embedding(ids)  # (B, T, D)
        if mask is None:
            return self.lstm(x)[0]
        lengths = mask.sum(1).clamp(min=1).cpu()
        packed = nn.utils.rnn.pack_padded_sequence(
            x, lengths, batch_first=True, enforce_sorted=False
        )
        out, _ = self.lstm(packed)
        return nn.utils.rnn.pad_packed_sequence(out, batch_first=True, total_length=ids.shape[1])[0]


class TextClassifier(nn.Module):
    """An encoder, the mean of its vectors, and one linear layer: ids (B, T) to logits (B, K)."""

    def __init__(self, encoder, classes):
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.width, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, ids, mask=None):
        """Logits (B, K) of the classes; ``mask`` (B, T) is False for padding."""
        return self.head(mean_of_tokens(self.encoder(ids, mask), mask))


def mean_of_tokens(vectors, mask=None):
    """The mean (B, D) of the vectors (B, T, D) of a text, without padding.

    ``mask`` (B, T) is False for padding; a row that is all padding gives zeros.
    """
    if mask is None:
        return vectors.mean(1)
    kept = vectors.masked_fill(~mask[..., None], 0.0)
    return kept.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


def pad(rows, padding=0, *, side="right"):
    """Lists of ids as one batch: ids (B, T), filled up with ``padding``, and the mask (B, T).

    The padding, where the mask is False, stands at the ``right`` or ``left`` of each row.
    """
    if not rows:
        raise ValueError("rows must hold at least one list of ids, got none")
    if side not in ("left", "right"):
        raise ValueError(f"side must be left or right, got {side!r}")
    longest = max(1, *map(len, rows))
    ids = torch.full((len(rows), longest), padding)
    mask = torch.zeros(len(rows), longest, dtype=torch.bool)
    for number, row in enumerate(rows):
        begin = 0
        if side == "left":
            begin = longest - len(row)
        ids[number, begin : begin + len(row)] = torch.as_tensor(row, dtype=torch.long)
        mask[number, begin : begin + len(row)] = True
    return ids, mask
