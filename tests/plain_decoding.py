"""What the tests of decoding share: a toy model, and searches written out in the plainest way."""

import itertools
import math

import torch

END, START = 0, 1


class Toy:
    """A random language model whose next token depends on the picture and on the last two tokens.

    It reads both from the cache alone, so it goes wrong when the cache is not repeated, reordered
    or kept.
    """

    def __init__(self, batch=1, vocabulary=4, seed=0, scale=2.0):
        generator = torch.Generator().manual_seed(seed)
        shape = (batch, vocabulary, vocabulary, vocabulary)
        self.table = scale * torch.randn(shape, generator=generator, dtype=torch.float64)
        self.start = torch.full((batch,), START)
        self.seen = []  # shapes of the tokens in each call

    def step(self, tokens, cache):
        self.seen.append(tuple(tokens.shape))
        if cache:
            cache["history"] = torch.cat([cache["history"], tokens], 1)
        else:
            cache["picture"], cache["history"] = torch.arange(len(tokens)), tokens
        history = torch.cat([torch.zeros_like(cache["history"][:, :1]), cache["history"]], 1)
        return self.table[cache["picture"], history[:, -2], history[:, -1]]

    def row(self, picture):
        """The same model with one picture only."""
        alone = Toy()
        alone.table, alone.start = (
            self.table[picture : picture + 1],
            self.start[picture : picture + 1],
        )
        return alone

    def log_probs(self, picture, written, prompt=(START,)):
        history = [0, *prompt, *written]
        return self.table[picture, history[-2], history[-1]].log_softmax(-1).tolist()

    def log_prob(self, picture, written, prompt=(START,)):
        return sum(
            self.log_probs(picture, written[:i], prompt)[token] for i, token in enumerate(written)
        )


def strip(written):
    return [token for token in written if token != END]


def whole(tokens, max_length):
    """The tokens with the end token, if there was one."""
    return tokens if len(tokens) == max_length else [*tokens, END]


def plain_greedy(toy, picture, max_length, prompt=(START,), size=99):
    written = []
    while len(written) < max_length and END not in written:
        log_probs = plain_ban(toy.log_probs(picture, written, prompt), [*prompt, *written], size)
        written.append(log_probs.index(max(log_probs)))
    return written


def plain_beams(toy, picture, max_length, beams, length_penalty, size=99):
    """Beam search with lists, no cache and no early stop: (score, log_prob, written)."""
    vocabulary = toy.table.size(-1)
    live, complete = [(0.0, [])], []
    for length in range(1, max_length + 1):
        candidates = []
        for log_prob, written in live:
            following = plain_ban(toy.log_probs(picture, written), [START, *written], size)
            candidates += [
                (log_prob + following[token], [*written, token]) for token in range(vocabulary)
            ]
        candidates.sort(reverse=True)
        complete += [c for c in candidates[:beams] if c[1][-1] == END or length == max_length]
        live = [c for c in candidates if c[1][-1] != END][:beams]
    path = plain_greedy(toy, picture, max_length, size=size)
    complete.append((toy.log_prob(picture, path), path))
    return max(
        (log_prob / len(written) ** length_penalty, log_prob, written)
        for log_prob, written in complete
    )


def exhaustive(toy, picture, max_length, length_penalty):
    tokens = range(1, toy.table.size(-1))
    written = [
        [*body, END] for n in range(max_length) for body in itertools.product(tokens, repeat=n)
    ]
    written += [list(body) for body in itertools.product(tokens, repeat=max_length)]
    return max((toy.log_prob(picture, w) / len(w) ** length_penalty, w) for w in written)


def plain_ban(log_probs, written, size):
    """A list of log-probabilities without those that would repeat an n-gram of ``written``."""
    ngrams = [written[i : i + size] for i in range(len(written) - size + 1)]
    return [
        -math.inf if [*written[len(written) - size + 1 :], token] in ngrams else log_prob
        for token, log_prob in enumerate(log_probs)
    ]


def never_ends(toy):
    toy.table[..., END] = -torch.inf
    return toy
