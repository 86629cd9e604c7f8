"""Prefix beam search: the best text, of all of its paths together, with a language model."""

import math
from typing import NamedTuple

from mmcourse.audio.ctc import BLANK

NEVER = -math.inf


class Found(NamedTuple):
    """A text that the search found, and how good it is."""

    symbols: list  #: numbers of symbols
    log_prob: float  #: of its paths that were kept, in nats
    score: float  #: the same with the language model's share, by which the search sorts


class Prefix(NamedTuple):
    """The log-probabilities of the paths of a prefix, by how they end, and what a model says."""

    blank: float  #: of those that end in a blank
    symbol: float  #: of those that end in the prefix's last symbol
    language: float  #: the language model's share of the score

    @property
    def log_prob(self):
        return add(self.blank, self.symbol)

    @property
    def score(self):
        return self.log_prob + self.language


def add(a, b):
    """The logarithm of the sum of two numbers that are given by their logarithms."""
    high = max(a, b)
    if high == NEVER:
        return NEVER
    return high + math.log(math.exp(a - high) + math.exp(b - high))


def ctc_beam(log_probs, width=16, language_model=None, weight=1.0, bonus=0.0, least=1e-4):
    """The best texts of ``(T, V)`` log-probabilities, a list of :class:`Found`, the best first.

    The search of Hannun et al. 2014. ``width`` prefixes are kept at each step, of symbols with at
    least the probability ``least``. A ``language_model`` is a function of a prefix, a tuple of
    numbers, and the number that comes next (None at the end of the text), to a log-probability; it
    counts with ``weight``, and each symbol brings a ``bonus``. (Theirs is the bonus times the
    logarithm of the number of words.)
    """
    if width < 1:
        raise ValueError(f"the width must be at least 1, got {width}")
    judge = Judge(language_model, weight, bonus)
    beams = {(): Prefix(0.0, NEVER, 0.0)}
    for step in log_probs.tolist():
        worth = [symbol for symbol, value in enumerate(step) if value >= math.log(least)]
        beams = extended(beams, step, worth or [step.index(max(step))], judge)
        best = sorted(beams.items(), key=lambda item: -item[1].score)[:width]
        beams = dict(best)
    found = [
        Found(list(text), prefix.log_prob, prefix.score + judge.end(text))
        for text, prefix in beams.items()
    ]
    return sorted(found, key=lambda each: -each.score)


class Judge:
    """What the language model adds to the score of a prefix, remembered."""

    def __init__(self, language_model, weight, bonus):
        self.language_model = language_model
        self.weight = weight
        self.bonus = bonus
        self.known = {}

    def after(self, prefix, symbol):
        """What ``symbol`` adds after ``prefix``."""
        if self.language_model is None:
            return self.bonus
        key = (prefix, symbol)
        if key not in self.known:
            self.known[key] = self.weight * self.language_model(prefix, symbol) + self.bonus
        return self.known[key]

    def end(self, prefix):
        """What the end of the text adds after ``prefix``."""
        if self.language_model is None:
            return 0.0
        return self.weight * self.language_model(prefix, None)


def extended(beams, step, worth, judge):
    """The prefixes after one more step, with log-probabilities ``step`` of V symbols."""
    grown = {}

    def put(text, blank, symbol, language):
        old = grown.get(text, Prefix(NEVER, NEVER, language))
        grown[text] = Prefix(add(old.blank, blank), add(old.symbol, symbol), language)

    for text, prefix in beams.items():
        for symbol in worth:
            value = step[symbol]
            if symbol == BLANK:
                put(text, prefix.log_prob + value, NEVER, prefix.language)
                continue
            if text and symbol == text[-1]:
                put(text, NEVER, prefix.symbol + value, prefix.language)  # the same, held on
                came_from = prefix.blank  # a second one needs a blank before it
            else:
                came_from = prefix.log_prob
            if came_from == NEVER:
                continue
            language = prefix.language + judge.after(text, symbol)
            put((*text, symbol), NEVER, came_from + value, language)
    return grown
