"""What all causal language models have: ids, positions, padding, a cache, a loss, and writing.

Letters and masks are those of :mod:`mmcourse.gpt`.
"""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from mmcourse import decoding, text
from mmcourse.gpt.checkpoints import load_checkpoint
from mmcourse.weights import SavedModel


class LanguageModel(SavedModel):
    """From token ids to the logits of the token after each.

    A subclass makes ``embedding``, ``head`` (None where the embedding is its weight) and
    ``context``, and says in :meth:`run` what its layers do. For
    :meth:`from_transformers` it says in ``families``, ``arguments_of`` and ``tensors_of``
    what it can load.
    """

    families = ()  #: the ``model_type`` of what :meth:`from_transformers` loads
    window = None  #: how many tokens a token sees, if not all

    def run(self, x, positions, mask, caches):
        """The states (B, T, D) after the last norm, from vectors ``x`` (B, T, D) of the tokens.

        ``positions`` are (1, T) or (B, T), ``mask`` is None or broadcasts to (B, H, T, S),
        ``caches`` has a dict, or None, for each layer.
        """
        raise NotImplementedError("a language model says in run what its layers do")

    # ---- reading

    def forward(self, ids, mask=None, *, cache=None):
        """Logits (B, T, V) of the token after each of the ``ids`` (B, T).

        ``mask`` (B, T) is False where ``ids`` are padding, left or right; positions count tokens
        only. ``cache`` is a dict, empty at first: the ``ids`` continue those of the earlier calls.
        TypeError for ids that are no LongTensor or a mask that is not boolean; ValueError for ids
        outside the vocabulary, more tokens than the context has, or a mask of another shape.
        """
        return self.logits(self.hidden(ids, mask, cache=cache))

    def hidden(self, ids, mask=None, *, cache=None):
        """The states (B, T, D) from which the logits are computed. Arguments as in ``forward``."""
        check_ids(ids, self.embedding.num_embeddings)
        return self.read(self.embedding(ids), mask, cache=cache)

    def read(self, x, mask=None, *, cache=None):
        """As :meth:`hidden`, from vectors ``x`` (B, T, D) where that has ids.

        So something else than words can stand in a text, such as a picture.
        """
        past = cache.get("length", 0) if cache else 0
        length = x.shape[1]
        tokens = self.tokens_so_far(x, mask, cache, past)  # (B, S) or None
        positions = self.positions_of(length, tokens, past, x.device)
        look = self.looks(length, tokens, past, x.device)
        if cache is None:
            caches = [None] * len(self.layers)
        else:
            cache["length"] = past + length
            caches = [cache.setdefault(number, {}) for number in range(len(self.layers))]
        return self.run(x, positions, look, caches)

    def logits(self, x):
        """Logits (..., V) from states (..., D)."""
        weight = self.embedding.weight if self.head is None else self.head.weight
        return F.linear(x, weight)

    def tokens_so_far(self, x, mask, cache, past):
        """Which of all S places are tokens, (B, S); None where no row has padding.

        The cache keeps it as ``mask``, so that rows can be dropped and repeated with the rest.
        """
        if mask is not None:
            check_mask(mask, x.shape[:2])
        before = cache.get("mask") if cache else None
        if mask is None and before is None:
            return None
        if mask is None:
            mask = before.new_ones(x.shape[:2])
        if past and before is None:
            before = mask.new_ones(len(x), past)
        if past:
            mask = torch.cat([before, mask], 1)  # (B, S)
        if cache is not None:
            cache["mask"] = mask
        return mask

    def positions_of(self, length, tokens, past, device):
        """The position of each of ``length`` ids, (1, T) or (B, T): how many tokens are before it.

        ValueError when one lies outside the context.
        """
        if tokens is None:
            positions = torch.arange(past, past + length, device=device)[None]  # (1, T)
            longest = past + length
        else:
            positions = (tokens.cumsum(1) - 1).clamp(min=0)[:, -length:]  # (B, T)
            longest = int(positions.max()) + 1
        if longest > self.context:
            raise ValueError(
                f"the model reads at most {self.context} tokens (its context), got {longest}: "
                "shorten the text, cut it into pieces, or write fewer tokens"
            )
        return positions

    def looks(self, length, tokens, past, device):
        """The mask for attention beside the causal one: padding and window; None where neither."""
        mask = None
        if tokens is not None:
            mask = tokens[:, None, None, :]  # (B, 1, 1, S)
        source = past + length
        if self.window is not None and source > self.window:
            target = torch.arange(past, source, device=device)[:, None]  # (T, 1)
            near = target - torch.arange(source, device=device) < self.window  # (T, S)
            mask = near if mask is None else mask & near
        return mask

    # ---- training

    def loss(self, ids, mask=None, counted=None):
        """Mean cross-entropy of the next token in ``ids`` (B, T), see :func:`next_token_loss`."""
        if counted is None:
            counted = mask
        return next_token_loss(self(ids, mask), ids, counted)

    # ---- writing

    def step(self, tokens, cache, mask=None):
        """Logits (B, V) of the next token, as the functions of :mod:`mmcourse.decoding` ask.

        ``mask`` is that of the prompts, and counts in the first call only.
        """
        if cache:
            mask = None
        states = self.hidden(tokens, mask, cache=cache)
        return self.logits(states[:, -1])

    def generate(self, prompts, *, end, max_length, decode=decoding.greedy, **options):
        """Continue ``prompts``, lists of ids of any lengths, as ``decoding.Generated``.

        ``decode`` is a function of :mod:`mmcourse.decoding`, to which the other arguments go.
        TypeError for a tensor of prompts. ValueError for an empty prompt, or where a prompt and
        ``max_length`` tokens are more than the context.
        """
        if isinstance(prompts, torch.Tensor):
            raise TypeError("prompts must be lists of ids, got a tensor: give prompts.tolist()")
        ids, mask = pad(prompts, side="left")
        longest = ids.shape[1] + max_length - 1  # the last token is written, and not read
        if longest > self.context:
            raise ValueError(
                f"a prompt of {ids.shape[1]} tokens and {max_length} more do not fit into the "
                f"context of {self.context}: shorten the prompt or lower max_length"
            )
        device = self.embedding.weight.device
        step = partial(self.step, mask=None if mask.all() else mask.to(device))
        return decode(step, ids.to(device), end=end, max_length=max_length, **options)

    # ---- weights of others

    @classmethod
    def from_transformers(cls, name, **options):
        """Load a folder that ``transformers`` saved, or ``owner/name`` on the Hugging Face hub.

        Weights are read from safetensors; nothing is unpickled. ``options`` are those of
        ``hf_hub_download``. The model is in evaluation mode and single precision. ValueError, which
        names what is wrong: no such folder, another family, a setting that this class does not
        have, tensors that are missing, left over or of another shape.
        """
        return load_checkpoint(cls, name, **options)


def check_ids(ids, vocab_size):
    """TypeError or ValueError unless ``ids`` are (B, T) token ids below ``vocab_size``."""
    if not isinstance(ids, torch.Tensor) or ids.dtype != torch.long:
        got = getattr(ids, "dtype", type(ids).__name__)
        raise TypeError(f"ids must be a LongTensor of token ids, got {got}")
    if ids.dim() != 2 or ids.numel() == 0:
        raise ValueError(
            f"ids must be (B, T) with at least one token, got shape {tuple(ids.shape)}; "
            "of one sequence give ids[None]"
        )
    low, high = torch.aminmax(ids)
    if low < 0 or high >= vocab_size:
        wrong = int(low) if low < 0 else int(high)
        raise ValueError(
            f"ids must lie between 0 and {vocab_size - 1}, the vocabulary of this model, "
            f"got {wrong}: take the tokenizer that it was trained with"
        )


def check_mask(mask, shape):
    """TypeError or ValueError unless ``mask`` is boolean and has the ``shape`` (B, T)."""
    if not isinstance(mask, torch.Tensor) or mask.dtype != torch.bool:
        got = getattr(mask, "dtype", type(mask).__name__)
        raise TypeError(f"mask must be a torch.bool tensor, True = a token, got {got}")
    if mask.shape != shape:
        raise ValueError(
            f"mask must have the shape of ids, {tuple(shape)}, got {tuple(mask.shape)}; "
            "with a cache it covers the new ids only"
        )


def pad(rows, *, side="right", fill=0):
    """Lists of ids as a LongTensor (B, T), and the mask (B, T) that is False where ``fill`` stands.

    To write on, pad ``left``, so that the last id of each row is a token. ValueError for an empty
    row or no rows.
    """
    lengths = [len(row) for row in rows]
    if min(lengths, default=0) == 0:
        raise ValueError("expected rows of at least one id, got an empty one or none at all")
    return text.pad(rows, fill, side=side)


def draw_weights(model, last_layers, spread):
    """Draw a model's weights as GPT-2 does (Radford et al. 2019, section 2.3).

    ``spread`` is their standard deviation. L layers add 2 L updates to the residual stream, by the
    linear layers ``last_layers``. Divided by the root of 2 L, they are together as strong as one.
    """
    for part in model.modules():
        if isinstance(part, (nn.Linear, nn.Embedding)):
            nn.init.normal_(part.weight, std=spread)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
    for layer in last_layers:
        nn.init.normal_(layer.weight, std=spread / math.sqrt(len(last_layers)))


def token_log_probs(logits, ids):
    """The log-probability (B, T - 1) of each of the ``ids`` (B, T) but the first.

    The logits (B, T, V) at a token are those of the token after it: that is the shift by one.
    """
    log_probs = logits[:, :-1].log_softmax(-1)  # (B, T - 1, V)
    return log_probs.gather(-1, ids[:, 1:, None])[..., 0]


@torch.no_grad()
def row_log_probs(model, rows, first=1, batch_size=64):
    """The log-probability, in nats, of each of some rows of ids from its id number ``first`` on.

    ``first`` is a number, or a list of one for each row: the ids before it are given. Rows of
    about the same length share a batch. ValueError for a ``first`` of 0 or beyond a row.
    """
    starts = [first] * len(rows) if isinstance(first, int) else list(first)
    for row, start in zip(rows, starts, strict=True):
        if not 1 <= start < len(row):
            raise ValueError(
                "first must be at least 1 and below the length of its row, "
                f"got {start} of {len(row)}"
            )
    device = model.embedding.weight.device
    order = sorted(range(len(rows)), key=lambda number: len(rows[number]))
    found = [0.0] * len(rows)
    for place in range(0, len(order), batch_size):
        numbers = order[place : place + batch_size]
        ids, mask = pad([rows[number] for number in numbers])
        ids = ids.to(device)
        log_probs = token_log_probs(model(ids), ids).double().cpu()  # (B, T - 1)
        counted = mask[:, 1:].clone()
        for line, number in enumerate(numbers):
            counted[line, : starts[number] - 1] = False
        totals = (log_probs * counted).sum(1)  # (B,)
        for number, total in zip(numbers, totals.tolist(), strict=True):
            found[number] = total
    return found


def next_token_loss(logits, ids, counted=None):
    r"""Mean of :math:`-\log p(y_{t+1} \mid y_{\le t})`, in nats.

    ``logits`` (B, T, V) are those of a model that read ``ids`` (B, T). Where ``counted`` (B, T) is
    False, a token is read, but not to be predicted. ValueError where no token counts.
    """
    targets = ids[:, 1:]
    if counted is not None:
        targets = targets.masked_fill(~counted[:, 1:], -100)
    if targets.numel() == 0 or (counted is not None and not counted[:, 1:].any()):
        raise ValueError(
            "no token is left to be predicted: expected rows of two tokens or more, "
            "and a mask that is True somewhere after the first"
        )
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), targets.flatten(), ignore_index=-100)


def bits_per_byte(log_probs, size):
    """Bits that a text of ``size`` bytes costs, a byte: its ``log_probs`` are in nats, any shape.

    Other than perplexity, it does not depend on how the text is cut into tokens.
    """
    if not size > 0:
        raise ValueError(f"a text has at least one byte, got {size}")
    return -float(torch.as_tensor(log_probs).double().sum()) / math.log(2) / size


def cache_bytes(cache):
    """How many bytes the keys and values in a cache take."""
    total = 0
    for name, entry in cache.items():
        if isinstance(entry, dict):
            total += cache_bytes(entry)
        elif name in ("key", "value"):
            total += entry.numel() * entry.element_size()
    return total
