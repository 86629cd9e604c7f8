"""Speculative decoding: a cheap draft proposes words, the captioner checks several in one pass.

Leviathan et al. 2023 and Chen et al. 2023, for greedy search: a word that is not the captioner's
own choice is thrown away, so the sentence is the same.
"""

from collections import Counter, defaultdict
from typing import NamedTuple

import torch

from mmcourse.captioning import END, START


class Speculated(NamedTuple):
    """What speculative decoding wrote for one picture."""

    tokens: list[int]  #: without start and end, as :func:`mmcourse.decoding.greedy` gives them
    passes: int  #: how often the captioner ran
    proposed: int  #: words that the draft proposed
    accepted: int  #: of them, how many were the captioner's own, the end token included


class NGramDraft:
    """Proposes the word that followed most often, in given sentences, the last two or one words.

    It looks at no picture. Where the most frequent word has less than ``sure`` of the cases it
    proposes nothing: a noun cannot be guessed. ``sentences`` are lists of ids without start and
    end; ValueError for none.
    """

    def __init__(self, sentences, sure=0.5):
        if not sentences:
            raise ValueError("expected at least one sentence to count in, got none")
        following = defaultdict(Counter)
        for sentence in sentences:
            ids = [START, *sentence, END]
            for place in range(1, len(ids)):
                for length in (1, 2):
                    if place >= length:
                        following[tuple(ids[place - length : place])][ids[place]] += 1
        self.next = {}
        for before, counts in following.items():
            word, count = counts.most_common(1)[0]
            if count >= sure * counts.total():
                self.next[before] = word

    def propose(self, tokens, count):
        """Up to ``count`` words after the ``tokens``, a list of ids that begins with START."""
        words = list(tokens)
        for _ in range(count):
            word = self.next.get(tuple(words[-2:]), self.next.get(tuple(words[-1:])))
            if word is None or words[-1] == END:
                break
            words.append(word)
        return words[len(tokens) :]


class ModelDraft:
    """Proposes what a smaller captioner would write, greedily, with a cache of its own.

    ``memory`` (1, N, D) is what that captioner sees; it has the same words.
    """

    def __init__(self, model, memory):
        self.model = model
        self.memory = memory
        self.cache = {}

    def propose(self, tokens, count):
        """As in :class:`NGramDraft`."""
        cut_cache(self.cache, min(self.cache.get("length", 0), len(tokens) - 1))
        fresh = tokens[self.cache.get("length", 0) :]
        words = []
        while len(words) < count and (not words or words[-1] != END):
            logits = self.model.decode(self.memory, torch.tensor([fresh]), cache=self.cache)
            words.append(int(logits[0, -1].argmax()))
            fresh = words[-1:]
        return words


def cut_cache(cache, length):
    """Forget all but the first ``length`` tokens in the cache of a captioner, in place."""
    if cache.get("length", 0) <= length:
        return
    cache["length"] = length
    for layer in cache["decoder"].values():
        for name, entry in layer["self"].items():
            layer["self"][name] = entry[:, :, :length]


@torch.no_grad()
def speculate(captioner, memory, draft, ahead=4):
    """Write what greedy search writes of one picture's ``memory`` (1, N, D): a :class:`Speculated`.

    ``draft.propose(tokens, count)`` gives up to ``count`` words after ``tokens``. The captioner
    reads them all at once, keeps them up to the first that is not its own choice, and puts its own
    there. ``ahead`` is how many are proposed at most; with 0 this is greedy search. Two things can
    change a word: a tie that rounding decides, since several words are read at once, and layers
    such as :class:`~mmcourse.compression.DynamicLinear`, whose result depends on what else is read.
    ValueError for more than one picture, or a negative number.
    """
    if len(memory) != 1:
        raise ValueError(
            f"expected the memory of one picture, (1, N, D), got {tuple(memory.shape)}: pictures "
            "accept different numbers of words, so speculate on one at a time"
        )
    if ahead < 0:
        raise ValueError(f"ahead must be 0 or more words, got {ahead}")
    tokens = [START]
    cache = {}
    passes = proposed = accepted = 0
    while tokens[-1] != END and len(tokens) <= captioner.max_length:
        room = captioner.max_length - len(tokens)  # words that may follow the one written now
        words = draft.propose(tokens, min(ahead, room)) if room and ahead else []
        read = torch.tensor([[tokens[-1], *words]])
        logits = captioner.decode(memory, read, cache=cache)  # (1, 1 + words, V)
        own = logits[0].argmax(-1).tolist()
        same = agreeing(words, own)
        tokens += own[: same + 1]
        passes += 1
        proposed += len(words)
        accepted += same
        if END in own[: same + 1]:
            tokens = tokens[: tokens.index(END) + 1]
        cut_cache(cache, len(tokens) - 1)
    written = [token for token in tokens[1:] if token != END]
    return Speculated(written, passes, proposed, accepted)


def agreeing(words, own):
    """How many ``words`` at the beginning are the captioner's ``own`` choices."""
    for place, (word, choice) in enumerate(zip(words, own, strict=False)):
        if word != choice:
            return place
    return len(words)


def expected_words(rate, ahead):
    r"""Words a pass when each proposed word is accepted with probability ``rate``, independently.

    :math:`(1 - \alpha^{k+1}) / (1 - \alpha)` (Leviathan et al. 2023, equation 1).
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"the rate must be a probability, got {rate}")
    return sum(rate**power for power in range(ahead + 1))
