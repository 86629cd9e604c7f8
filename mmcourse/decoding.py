"""From next-token scores to a sentence: greedy search, sampling and beam search, all with a key-value cache.

The three functions know nothing of the model. They call ``step(tokens, cache)``, the logits (B, V) of the next token.
``tokens`` is a LongTensor (B, t) of the tokens that the model has not seen: first the prompt, then one token a call.
``cache`` is a dict, empty in the first call, in which the model keeps all that has B rows: what it needs of earlier
tokens and of the image. Between two calls rows are dropped (they ended), and beam search repeats and reorders them;
only a dict under the name ``cross`` keeps one row a picture, which all its beams share.
"""

from typing import NamedTuple

import torch

from mmcourse.transformer import reorder


class Generated(NamedTuple):
    """What a decoder wrote for a batch of B rows."""

    tokens: list[
        list[int]
    ]  #: the token ids of each row, without the prompt and without the end token
    log_prob: (
        torch.Tensor
    )  #: (B,) log-probability of the row under the model, the end token included
    score: (
        torch.Tensor
    )  #: (B,) ``log_prob / length ** length_penalty``; the length counts the end token


@torch.no_grad()
def greedy(step, start, *, end, max_length, repetition_penalty=1.0, no_repeat_ngram_size=0):
    r"""Takes the most probable token, again and again: :math:`y_t = \arg\max_v p(v \mid y_{<t})`.

    ``step`` is the model, see the top of this module; ``start`` a LongTensor (B,) of start tokens or (B, t) of prompts;
    ``end`` the id of the token that ends a row. After ``max_length`` tokens, the end token included, a row is cut. The
    last two options are those of :func:`discourage` and :func:`ban_ngrams`: they steer the choice, ``log_prob`` stays
    the model's own. The ``score`` is the mean log-probability of a token (a length penalty of 1). TypeError if
    ``start`` is no LongTensor; ValueError for an option out of its range, or logits of a wrong shape or with NaN.
    """
    return _write(
        step,
        start,
        end,
        max_length,
        repetition_penalty,
        no_repeat_ngram_size,
        lambda x: x.argmax(-1),
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

    The logits are divided by ``temperature`` (> 0), then cut by :func:`truncate` (``top_p`` alone is nucleus sampling,
    Holtzman et al. 2020). ``log_prob`` is the model's own, before any of that. The rows share the ``generator``.
    """
    if not temperature > 0:
        raise ValueError(
            f"temperature must be above 0, got {temperature}; for the limit at 0 call greedy()"
        )
    return _write(
        step,
        start,
        end,
        max_length,
        repetition_penalty,
        no_repeat_ngram_size,
        lambda logits: torch.multinomial(
            truncate(logits / temperature, top_k, top_p).softmax(-1), 1, generator=generator
        )[:, 0],
    )


def truncate(logits, top_k=None, top_p=None):
    """Sets all logits (..., V) to -inf but the ``top_k`` largest and, of these, the fewest that hold ``top_p``."""
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1 token, got {top_k}; None keeps all")
    if top_p is not None and not 0 < top_p <= 1:
        raise ValueError(
            f"top_p is a share of the probability in (0, 1], got {top_p}; None keeps all"
        )
    ordered, index = logits.sort(descending=True)
    if top_k is not None:
        ordered[..., top_k:] = -torch.inf
    if top_p is not None:
        probs = ordered.softmax(-1)
        ordered[
            probs.cumsum(-1) - probs >= top_p
        ] = -torch.inf  # what comes before the token holds top_p already
    return torch.empty_like(logits).scatter(-1, index, ordered)


def discourage(logits, written, penalty):
    """Makes tokens that were written before less probable (Keskar et al. 2019, section 4.1).

    Of each token in its row of ``written`` (B, t), ``logits`` (B, V) holds afterwards z / penalty where z is positive
    and z * penalty where it is negative (dividing that would encourage it). 1 changes nothing; ValueError unless > 0.
    """
    if not penalty > 0:
        raise ValueError(
            f"repetition_penalty must be above 0, got {penalty}; 1 changes nothing, 1.2 is usual, and "
            "below 1 repetition is encouraged"
        )
    seen = logits.gather(1, written)
    return logits.scatter(1, written, torch.where(seen < 0, seen * penalty, seen / penalty))


def ban_ngrams(logits, written, size):
    """Sets those ``logits`` (B, V) to -inf that would repeat an n-gram of ``size`` n in a row of ``written`` (B, t).

    After Paulus et al. 2018, section 2.5. 0 bans nothing, 1 bans every token that was written; else ValueError.
    """
    if not isinstance(size, int) or size < 0:
        raise ValueError(
            f"no_repeat_ngram_size must be a whole number of tokens, got {size}; 0 bans nothing, and 3 "
            "that any three tokens in succession come twice"
        )
    if size == 0 or written.shape[1] < size:
        return logits
    ngrams = written.unfold(1, size, 1)  # (B, t - n + 1, n)
    again = (ngrams[:, :, :-1] == written[:, None, written.shape[1] - size + 1 :]).all(-1)
    repeats = torch.zeros_like(logits).scatter_add(1, ngrams[:, :, -1], again.to(logits))
    return logits.masked_fill(repeats > 0, -torch.inf)


@torch.no_grad()
def beam_search(
    step, start, *, end, max_length, beams=4, length_penalty=1.0, no_repeat_ngram_size=0
):
    r"""Follows the ``beams`` most probable unfinished rows at once, and returns the best of all rows it completed.

    A row is complete when it ends or has ``max_length`` tokens. Its score is :math:`\log p(y) / |y|^\alpha` with
    :math:`\alpha` = ``length_penalty`` (0: the log-probability; 1: its mean per token). One more row follows greedy's
    path: the score is never below greedy's. The search stops early only when no unfinished row could still win.
    """
    if beams < 1:
        raise ValueError(f"beams must be at least 1, got {beams}")
    if not length_penalty >= 0:
        raise ValueError(
            f"length_penalty must be 0 or more (more favours longer rows), got {length_penalty}"
        )
    tokens, cache = _prompt(start, max_length), {}
    (batch, prompt), rows = (
        tokens.shape,
        beams + 1,
    )  # row 0 of each picture follows greedy's path, rows 1.. the beams
    active = torch.arange(batch, device=tokens.device)  # the pictures whose search goes on
    log_probs = _log_probs(step(tokens, cache), batch, end).repeat_interleave(
        rows, 0
    )  # (B * rows, V)
    reorder(cache, active.repeat_interleave(rows), active)
    total = log_probs.new_full((batch, rows), -torch.inf)  # log-probability of each unfinished row
    total[:, :2] = 0.0  # all beams begin alike, so only one of them counts
    written = tokens[:, None].expand(-1, rows, -1)
    best, (best_log_prob, best_score) = [[]] * batch, log_probs.new_full((2, batch), -torch.inf)
    for length in range(1, max_length + 1):
        # Candidates: greedy's next token, then the 2 * beams best of all beams, of which at most one a beam ends.
        log_probs, vocabulary = (
            ban_ngrams(log_probs, written.flatten(0, 1), no_repeat_ngram_size),
            log_probs.size(-1),
        )
        extended = (total.view(-1, 1) + log_probs).view(len(active), -1)  # (B, rows * V)
        step_greedy = extended[:, :vocabulary].argmax(1, keepdim=True)
        step_beams = (
            vocabulary + extended[:, vocabulary:].topk(min(2 * beams, beams * vocabulary)).indices
        )
        index = torch.cat([step_greedy, step_beams], 1)
        total, parent, token = extended.gather(1, index), index // vocabulary, index % vocabulary
        # Complete ones among the first 1 + beams candidates compete with the best so far.
        complete = (token == end) | (length == max_length)
        score, winner = (
            (total / length**length_penalty).masked_fill(~complete, -torch.inf)[:, :rows].max(1)
        )
        for row in (score > best_score[active]).nonzero()[:, 0].tolist():
            picture, at = active[row], winner[row]
            best[picture] = written[row, parent[row, at], prompt:].tolist() + [
                token[row, at].item()
            ]
            best_score[picture], best_log_prob[picture] = score[row], total[row, at]
        # Greedy's row and the best unfinished beams go on, in the pictures where one of them could still win.
        total = total.masked_fill(complete, -torch.inf)
        going = (total.max(1).values / max_length**length_penalty > best_score[active]).nonzero()[
            :, 0
        ]
        if len(going) == 0:
            break
        keep = torch.cat([torch.zeros_like(step_greedy), 1 + total[:, 1:].topk(beams).indices], 1)
        total, parent, token = (values.gather(1, keep)[going] for values in (total, parent, token))
        written = torch.cat([written[going[:, None], parent], token[..., None]], -1)
        reorder(cache, (going[:, None] * rows + parent).flatten(), going)
        active = active[going]
        log_probs = _log_probs(step(token.view(-1, 1), cache), len(active) * rows, end)
    return Generated(
        [[token for token in row if token != end] for row in best], best_log_prob, best_score
    )


def _write(step, start, end, max_length, penalty, size, choose):
    """Writes token by token what ``choose`` picks from the logits (B, V), and drops the rows that ended."""
    tokens, cache = _prompt(start, max_length), {}
    batch, prompt = tokens.shape
    active = torch.arange(batch, device=tokens.device)  # the rows that have not ended
    written = torch.cat([tokens, tokens.new_full((batch, max_length), end)], 1)
    log_prob = 0.0
    for length in range(prompt, prompt + max_length):
        logits = step(tokens, cache)
        log_probs = _log_probs(logits, len(active), end)
        if penalty != 1:
            logits = discourage(logits, written[active, :length], penalty)
        token = choose(ban_ngrams(logits, written[active, :length], size) if size else logits)
        written[active, length] = token
        added = log_probs.gather(1, token[:, None])[:, 0]
        log_prob = log_prob + added.new_zeros(batch).index_copy(0, active, added)
        going = (token != end).nonzero()[:, 0]
        if len(going) == 0:
            break
        if len(going) < len(active):
            reorder(cache, going, going)
            active, token = active[going], token[going]
        tokens = token[:, None]
    written = written[:, prompt:]
    length = ((written != end).sum(1) + 1).clamp(max=max_length)
    rows = [[token for token in row if token != end] for row in written.tolist()]
    return Generated(rows, log_prob, log_prob / length)


def _prompt(start, max_length):
    """Checks the prompt and gives it the shape (B, t)."""
    if not isinstance(start, torch.Tensor) or start.dtype != torch.long:
        raise TypeError(
            f"start must be a LongTensor of token ids, got {getattr(start, 'dtype', type(start).__name__)}"
        )
    if start.dim() not in (1, 2) or start.numel() == 0:
        raise ValueError(
            f"start must be (B,) or (B, t) with at least one token, got shape {tuple(start.shape)}"
        )
    if max_length < 1:
        raise ValueError(f"max_length must be at least 1 token, got {max_length}")
    return start.view(len(start), -1)


def _log_probs(logits, batch, end):
    """Checks the logits of a step and returns log-probabilities, both (B, V)."""
    if logits.dim() != 2 or len(logits) != batch:
        raise ValueError(
            f"step must return the next token's logits ({batch}, V), got shape {tuple(logits.shape)}; of "
            "logits (B, t, V) return [:, -1]; keep whatever has B rows in the cache"
        )
    if not 0 <= end < logits.size(-1):
        raise ValueError(
            f"end must be a token of the vocabulary, 0 to {logits.size(-1) - 1}, got {end}"
        )
    log_probs = logits.log_softmax(-1)
    if log_probs[:, 0].isnan().any():  # one bad logit makes its whole row NaN
        raise ValueError(
            "the logits hold NaN or +inf, or only -inf; look at the weights and the input of the model"
        )
    return log_probs
