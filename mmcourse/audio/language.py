"""Chapter 4's n-gram model as a judge of what a recogniser writes, symbol by symbol."""

import math

from mmcourse.gpt import NgramModel

END = 0  # stands between texts: CTC's blank is in none


class SymbolModel:
    """The log-probability of each next symbol of a text, for :func:`~mmcourse.audio.ctc_beam`.

    ``texts`` are lists of numbers of symbols, as :meth:`Recogniser.spell
    <mmcourse.audio.Recogniser.spell>` gives them; ``order`` is that of the n-grams.
    """

    def __init__(self, texts, symbols, order):
        ids = [END]
        for text in texts:
            ids += [*text, END]
        self.order = order
        self.model = NgramModel(ids, order, symbols)

    def __call__(self, prefix, symbol):
        """Of ``symbol``, or of the end (None), after ``prefix``, a tuple of numbers."""
        history = (END, *prefix)[-(self.order - 1) :] if self.order > 1 else ()
        return math.log(self.model.probability(history, END if symbol is None else symbol))
