"""Beam search: several rows at once, of which the best is the result.

What ``step`` and ``cache`` are stands at the top of :mod:`mmcourse.decoding`.
"""

import math
from typing import NamedTuple

import torch

from mmcourse.decoding.tokens import Generated, as_prompts, ban_ngrams, next_log_probs, without
from mmcourse.transformer import reorder


@torch.no_grad()
def beam_search(
    step, start, *, end, max_length, beams=4, length_penalty=1.0, no_repeat_ngram_size=0
):
    r"""Follows the ``beams`` most probable unfinished rows and returns the best that it completed.

    A row is complete when it ends or has ``max_length`` tokens. Its score is
    :math:`\log p(y) / |y|^\alpha` with :math:`\alpha` = ``length_penalty`` (0: the log-probability;
    1: its mean per token). One more row follows greedy's path: the score is never below greedy's.
    The search stops early only when no unfinished row could still win.
    """
    if beams < 1:
        raise ValueError(f"beams must be at least 1, got {beams}")
    if not length_penalty >= 0:
        raise ValueError(
            f"length_penalty must be 0 or more (more favours longer rows), got {length_penalty}"
        )
    tokens = as_prompts(start, max_length)  # (B, t)
    searches = [
        Search(prompt, end, max_length, beams, length_penalty) for prompt in tokens.tolist()
    ]
    rows = 1 + beams  # of each search: greedy's, then the beams
    cache = {}
    log_probs = next_log_probs(step(tokens, cache), len(searches), end)  # (B, V)
    log_probs = log_probs.repeat_interleave(rows, 0)  # (B * rows, V)
    reorder(cache, torch.arange(len(searches), device=tokens.device).repeat_interleave(rows))
    going = searches  # those that go on
    while True:
        advance(going, log_probs, no_repeat_ngram_size)
        kept = [number for number, search in enumerate(going) if search.may_win()]
        if not kept:
            break
        parents = [number * rows + row.parent for number in kept for row in going[number].rows()]
        shared = tokens.new_tensor(kept) if len(kept) < len(going) else None
        reorder(cache, tokens.new_tensor(parents), shared=shared)
        going = [going[number] for number in kept]
        last = [row.tokens[-1:] for search in going for row in search.rows()]
        log_probs = next_log_probs(step(tokens.new_tensor(last), cache), len(last), end)
    found = [without(end, search.best.tokens[search.prompt :]) for search in searches]
    log_prob = log_probs.new_tensor([search.best.log_prob for search in searches])
    score = log_probs.new_tensor([search.best_score for search in searches])
    return Generated(found, log_prob, score)


class Row(NamedTuple):
    """A row of a search so far."""

    #: the prompt, and what was written after it
    tokens: list[int]
    #: log-probability of what was written
    log_prob: float
    #: number of the row that it continues, among the rows of its search
    parent: int


class Search:
    """Beam search for one prompt: the rows that it follows, and the best that it completed.

    The arguments are those of :func:`beam_search`, with one prompt as a list of tokens.
    """

    def __init__(self, prompt, end, max_length, beams, length_penalty):
        self.prompt = len(prompt)
        self.end = end
        self.max_length = max_length
        self.size = beams
        self.length_penalty = length_penalty
        first = Row(prompt, 0.0, 0)
        copy = Row(prompt, -math.inf, 0)  # all rows begin alike, so only one of them counts
        self.beams = [first] + [copy] * (beams - 1)
        self.greedy = first
        self.best = copy
        self.best_score = -math.inf

    def rows(self):
        """The rows that the model continues: greedy's, then the beams."""
        return [self.greedy, *self.beams]

    def choose(self, log_probs, indices, vocabulary):
        """Go on with some continuations: greedy's, then the most probable of the beams, in order.

        Each has a log-probability and an index among all (1 + beams) * V continuations.
        """
        rows = self.rows()
        found = []
        for log_prob, index in zip(log_probs, indices, strict=True):
            parent, token = divmod(index, vocabulary)
            found.append(Row([*rows[parent].tokens, token], log_prob, parent))
        self.follow_greedy(found[0])
        self.follow(found[1:])

    def follow(self, continuations):
        """Keep the best unfinished rows of these, the most probable first; offer complete ones."""
        unfinished = []
        for rank, row in enumerate(continuations):
            if not self.is_complete(row):
                unfinished.append(row)
            elif rank < self.size:
                self.offer(row)
        self.beams = unfinished[: self.size]

    def follow_greedy(self, row):
        """Keep greedy's path, which the beams may leave; once complete, it can win no more."""
        if self.is_complete(row):
            self.offer(row)
            row = row._replace(log_prob=-math.inf)
        self.greedy = row

    def is_complete(self, row):
        """Whether a row has its end token, or is as long as a row may be."""
        return row.tokens[-1] == self.end or len(row.tokens) - self.prompt == self.max_length

    def offer(self, row):
        """Take a complete row as the result, if none had a better score."""
        length = len(row.tokens) - self.prompt
        score = row.log_prob / length**self.length_penalty
        if score > self.best_score:
            self.best = row
            self.best_score = score

    def may_win(self):
        """Whether a row that goes on would win if all its further tokens were certain."""
        highest = max(row.log_prob for row in self.rows())
        return highest / self.max_length**self.length_penalty > self.best_score


def advance(searches, log_probs, no_repeat_ngram_size):
    """Let each of B searches go one token on.

    ``log_probs`` (B * rows, V) are those of the token after each of their rows.
    """
    rows = [row for search in searches for row in search.rows()]
    if no_repeat_ngram_size:
        written = torch.tensor([row.tokens for row in rows], device=log_probs.device)
        log_probs = ban_ngrams(log_probs, written, no_repeat_ngram_size)
    total = log_probs.new_tensor([row.log_prob for row in rows])  # (B * rows,)
    extended = total[:, None] + log_probs  # (B * rows, V)
    vocabulary = log_probs.shape[-1]
    extended = extended.view(len(searches), -1)  # (B, rows * V), row 0 of each is greedy's
    greedy, greedy_index = extended[:, :vocabulary].max(1, keepdim=True)  # (B, 1)
    beams = extended[:, vocabulary:]  # (B, beams * V)
    # A beam has one continuation that ends, so of twice as many, enough go on.
    count = min(2 * searches[0].size, beams.shape[1])
    best, best_index = beams.topk(count)  # (B, 2 * beams)
    log_prob = torch.cat([greedy, best], 1).tolist()
    index = torch.cat([greedy_index, vocabulary + best_index], 1).tolist()
    for number, search in enumerate(searches):
        search.choose(log_prob[number], index[number], vocabulary)
