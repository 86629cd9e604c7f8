"""A vocabulary of whole words, for a small closed language such as that of the scenes."""

from mmcourse.data.captioned import words_of

UNKNOWN = "<unknown>"


class WordTokenizer:
    """Each word a number; all words that are not in the list share one.

    The id of ``<unknown>`` is 0, the words follow in the order of ``words``.
    """

    def __init__(self, words):
        self.words = [UNKNOWN, *words]
        self.ids = {word: number for number, word in enumerate(self.words)}
        if len(self.ids) < len(self.words):
            raise ValueError("words must differ from each other, and from <unknown>")

    def __len__(self):
        """How many ids there are."""
        return len(self.words)

    def encode(self, text):
        """The ids of the words of a text, a list; small letters, signs left out."""
        return [self.ids.get(word, 0) for word in words_of(text)]

    def decode(self, ids):
        """The words of some ids with a space between. Spelling and signs do not come back."""
        return " ".join(self.words[number] for number in ids)
