"""Token by token: greedy search and sampling, and how a choice is cut or steered.

What ``step`` and ``cache`` are stands at the top of :mod:`mmcourse.decoding`.
"""

from typing import NamedTuple

import torch

from mmcourse.transformer import reorder


class Generated(NamedTuple):
    """What a decoder wrote for a batch of B rows."""

    #: the token ids of each row, without the prompt and without the end token
    tokens: list[list[int]]
    #: (B,) log-probability of the row under the model, the end token included
    log_prob: torch.Tensor
    #: (B,) ``log_prob / length ** length_penalty``; the length counts the end token
    score: torch.Tensor


@torch.no_grad()
def greedy(step, start, *, end, max_length, repetition_penalty=1.0, no_repeat_ngram_size=0):
    r"""Takes the most probable token, again and again: :math:`y_t = \arg\max_v p(v \mid y_{<t})`.

    ``step`` is the model, see the top of this module; ``start`` a LongTensor (B,) of start tokens
    or (B, t) of prompts; ``end`` the id of the token that ends a row. After ``max_length`` tokens,
    the end token included, a row is cut. The last two options are those of :func:`discourage` and
    :func:`ban_ngrams`: they steer the choice, ``log_prob`` stays the model's own. The ``score`` is
    the mean log-probability of a token (a length penalty of 1). TypeError if ``start`` is no
    LongTensor; ValueError for an option out of its range, or logits of a wrong shape or with NaN.
    """

    def most_probable(logits):
        return logits.argmax(-1)

    return write_token_by_token(
        step,
        start,
        most_probable,
        end=end,
        max_length=max_length,
        repetition_penalty=repetition_penalty,
        no_repeat_ngram_size=no_repeat_ngram_size,
    )


@torch.no_grad()
def sample(
    step,
    start,
    *,
    end,
    max_length,
    temperature=1.0,
    top_k=None,
    top_p=None,
    repetition_penalty=1.0,
    no_repeat_ngram_size=0,
    generator=None,
):
    """Draws each token at random from the model's distribution, sharpened and cut as asked.

    The logits are divided by ``temperature`` (> 0), then cut by :func:`truncate` (``top_p`` alone
    is nucleus sampling, Holtzman et al. 2020). ``log_prob`` is the model's own, before any of that.
    The rows share the ``generator``.
    """
    if not temperature > 0:
        raise ValueError(
            f"temperature must be above 0, got {temperature}; for the limit at 0 call greedy()"
        )

    def at_random(logits):
        probs = truncate(logits / temperature, top_k, top_p).softmax(-1)  # (B, V)
        drawn = torch.multinomial(probs, 1, generator=generator)  # (B, 1)
        return drawn[:, 0]

    return write_token_by_token(
        step,
        start,
        at_random,
        end=end,
        max_length=max_length,
        repetition_penalty=repetition_penalty,
        no_repeat_ngram_size=no_repeat_ngram_size,
    )


def write_token_by_token(
    step, start, choose, *, end, max_length, repetition_penalty, no_repeat_ngram_size
):
    """The loop of :func:`greedy` and :func:`sample`: writes what ``choose`` picks.

    ``choose`` gives a token (B,) for logits (B, V). A row that ended leaves the batch. The other
    arguments, the errors and the result are those of :func:`greedy`.
    """
    tokens = as_prompts(start, max_length)  # (B, t)
    batch, prompt = tokens.shape
    room = tokens.new_full((batch, max_length), end)
    written = torch.cat([tokens, room], 1)  # (B, t + max_length)
    unfinished = torch.arange(batch, device=tokens.device)  # the rows that have not ended
    log_prob = 0.0
    cache = {}
    for length in range(prompt, prompt + max_length):
        logits = step(tokens, cache)  # (unfinished, V)
        log_probs = next_log_probs(logits, len(unfinished), end)
        if repetition_penalty != 1 or no_repeat_ngram_size:
            before = written[unfinished, :length]
            logits = discourage(logits, before, repetition_penalty)
            logits = ban_ngrams(logits, before, no_repeat_ngram_size)
        token = choose(logits)  # (unfinished,)
        written[unfinished, length] = token
        gained = log_probs.new_zeros(batch)
        gained[unfinished] = log_probs.gather(1, token[:, None])[:, 0]
        log_prob = log_prob + gained
        going = (token != end).nonzero()[:, 0]  # of the unfinished, those that go on
        if len(going) == 0:
            break
        if len(going) < len(token):
            reorder(cache, going, shared=going)
            unfinished = unfinished[going]
            token = token[going]
        tokens = token[:, None]
    written = written[:, prompt:]
    length = (written != end).sum(1) + 1
    score = log_prob / length.clamp(max=max_length)
    return Generated([without(end, row) for row in written.tolist()], log_prob, score)


def truncate(logits, top_k=None, top_p=None):
    """Sets all logits (..., V) to -inf but the most probable.

    These are the ``top_k`` largest and, of them, the fewest that hold ``top_p`` of the probability.
    """
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1 token, got {top_k}; None keeps all")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(
            f"top_p is a share of the probability in (0, 1], got {top_p}; None keeps all"
        )
    ordered, index = logits.sort(descending=True)
    if top_k is not None:
        ordered[..., top_k:] = -torch.inf
    if top_p is not None and top_p < 1:  # 1 keeps all, though sums of shares may be rounded to 1
        probs = ordered.softmax(-1)
        before = probs.cumsum(-1) - probs  # the share of all tokens that are more probable
        ordered[before >= top_p] = -torch.inf
    return torch.empty_like(logits).scatter(-1, index, ordered)


def discourage(logits, written, penalty):
    """Makes tokens that were written before less probable.

    Of each token in its row of ``written`` (B, t), ``logits`` (B, V) holds afterwards z / penalty
    where z is positive and z * penalty where it is negative. Keskar et al. 2019, section 4.1,
    divide every z, which makes a token with a negative one more probable; the second case is a
    later variant, that of transformers. 1 changes nothing; ValueError unless > 0.
    """
    if not penalty > 0:
        raise ValueError(
            f"repetition_penalty must be above 0, got {penalty}; 1 changes nothing, 1.2 is usual, "
            "and below 1 repetition is encouraged"
        )
    seen = logits.gather(1, written)  # (B, t)
    seen = torch.where(seen < 0, seen * penalty, seen / penalty)
    return logits.scatter(1, written, seen)


def ban_ngrams(logits, written, size):
    """Sets those ``logits`` (B, V) to -inf that would repeat an n-gram of ``written`` (B, t).

    ``size`` is n, a whole number, else ValueError: 0 bans nothing, 1 bans every token of the row
    that was written. After Paulus et al. 2018, section 2.5.
    """
    if not isinstance(size, int) or size < 0:
        raise ValueError(
            f"no_repeat_ngram_size must be a whole number of tokens, got {size}; "
            "0 bans nothing, and 3 that any three tokens in succession come twice"
        )
    length = written.shape[1]
    if size == 0 or length < size:
        return logits
    ngrams = written.unfold(1, size, 1)  # (B, t - n + 1, n)
    last = written[:, None, length - size + 1 :]  # (B, 1, n - 1): an n-gram that lacks its end
    again = (ngrams[:, :, :-1] == last).all(-1)  # (B, t - n + 1)
    repeats = torch.zeros_like(logits).scatter_add(1, ngrams[:, :, -1], again.to(logits))
    return logits.masked_fill(repeats > 0, -torch.inf)


def without(end, tokens):
    """The tokens that come before the end token."""
    return tokens[: tokens.index(end)] if end in tokens else tokens


def as_prompts(start, max_length):
    """Checks the prompts and gives them the shape (B, t)."""
    if not isinstance(start, torch.Tensor) or start.dtype != torch.long:
        got = getattr(start, "dtype", type(start).__name__)
        raise TypeError(f"start must be a LongTensor of token ids, got {got}")
    if start.dim() not in (1, 2) or start.numel() == 0:
        raise ValueError(
            f"start must be (B,) or (B, t) with at least one token, got shape {tuple(start.shape)}"
        )
    if max_length < 1:
        raise ValueError(f"max_length must be at least 1 token, got {max_length}")
    return start.view(len(start), -1)


def next_log_probs(logits, batch, end):
    """Checks the logits of a step and returns log-probabilities, both (B, V)."""
    if logits.dim() != 2 or len(logits) != batch:
        raise ValueError(
            f"step must return the next token's logits ({batch}, V), got shape "
            f"{tuple(logits.shape)}; of logits (B, t, V) return [:, -1]; "
            "keep whatever has B rows in the cache"
        )
    if not 0 <= end < logits.size(-1):
        raise ValueError(
            f"end must be a token of the vocabulary, 0 to {logits.size(-1) - 1}, got {end}"
        )
    log_probs = logits.log_softmax(-1)
    if log_probs[:, 0].isnan().any():  # one bad logit makes its whole row NaN
        raise ValueError(
            "the logits hold NaN or +inf, or only -inf; "
            "look at the weights and the input of the model"
        )
    return log_probs
