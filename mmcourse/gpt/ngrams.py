"""An n-gram model with Kneser-Ney smoothing: what a neural language model has to beat.

n is the order: the next token is predicted from the n - 1 before it.
"""

import math
from collections import Counter, defaultdict


class NgramModel:
    r"""Interpolated Kneser-Ney (Kneser and Ney 1995, as in Chen and Goodman 1999, section 2.7).

    .. math:: p(w \mid h) = \frac{\max(c(hw) - d, 0)}{c(h)} + \frac{d\, N(h)}{c(h)}\, p(w \mid h')

    :math:`c` counts how often ids come in the training text at the highest order; below it, after
    how many different ids they come. :math:`N(h)` is how many different ids follow the history
    :math:`h`, :math:`h'` is :math:`h` without its first id, and below order 1 all ids are equal. A
    history that was never seen leaves all to the shorter one.
    The discount :math:`d` of an order is :math:`n_1 / (n_1 + 2 n_2)`, where :math:`n_k` of its
    n-grams are counted k times.
    """

    def __init__(self, ids, order, vocab_size):
        """Count the training text ``ids``, a list; ``vocab_size`` ids are possible.

        ValueError for an order below 1, fewer ids than the order, or ids outside the vocabulary.
        """
        if order < 1:
            raise ValueError(f"the order must be at least 1, got {order}")
        if len(ids) < order:
            raise ValueError(f"expected at least {order} ids to count, got {len(ids)}")
        if min(ids) < 0 or max(ids) >= vocab_size:
            raise ValueError(
                f"ids must lie between 0 and {vocab_size - 1}, got {min(ids)} to {max(ids)}"
            )
        self.order = order
        self.vocab_size = vocab_size
        self.tables = []  # of each order from 1: counts of n-grams
        counts = Counter(windows(ids, order))
        for _ in range(order):
            self.tables.insert(0, counts)
            counts = Counter(gram[1:] for gram in counts)  # each n-gram has one id before the rest
        self.discounts = [discount(table) for table in self.tables]
        self.totals = [totals(table) for table in self.tables]

    def probability(self, history, token):
        """The probability of ``token`` after ``history``, a tuple of any length.

        TypeError where it is no tuple.
        """
        if not isinstance(history, tuple):
            raise TypeError(f"history must be a tuple of ids, got {type(history).__name__}")
        probability = 1 / self.vocab_size
        for size in range(min(self.order, len(history) + 1)):
            context = history[len(history) - size :]
            found = self.totals[size].get(context)
            if found is None:
                break  # longer histories were not seen either
            total, followers = found
            d = self.discounts[size]
            count = self.tables[size].get((*context, token), 0)
            share = d * followers / total  # of the shorter history
            probability = max(count - d, 0) / total + share * probability
        return probability

    def log_probs(self, ids):
        """The log-probability, in nats, of each of the ``ids``, a list, after those before it."""
        found = []
        for place, token in enumerate(ids):
            history = tuple(ids[max(0, place - self.order + 1) : place])
            found.append(math.log(self.probability(history, token)))
        return found


def windows(ids, size):
    """All runs of ``size`` ids, as tuples."""
    return zip(*(ids[start:] for start in range(size)), strict=False)


def discount(table):
    """How much each count gives up for what was never seen, between 0 and 1."""
    once = sum(count == 1 for count in table.values())
    twice = sum(count == 2 for count in table.values())
    if once == 0:
        return 0.5  # nothing was seen once: any share will do
    return once / (once + 2 * twice)


def totals(table):
    """Of each history: the sum of its counts, and how many different ids follow it."""
    sums = defaultdict(int)
    followers = Counter()
    for gram, count in table.items():
        sums[gram[:-1]] += count
        followers[gram[:-1]] += 1
    return {history: (total, followers[history]) for history, total in sums.items()}
