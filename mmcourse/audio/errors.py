"""How far a transcript is from what was said: error rates of words and of characters."""

from typing import NamedTuple


class Edits(NamedTuple):
    """The fewest changes that make one row of items another."""

    substituted: int  #: items that stand for others
    deleted: int  #: items that are missing
    inserted: int  #: items too many

    @property
    def total(self):
        """The Levenshtein distance, which is all of them together."""
        return sum(self)


def edits(said, heard):
    """The fewest :class:`Edits` from one list of items, as words, to another.

    Where several ways have as few, one with the fewest insertions and deletions is counted.
    """
    above = [Edits(0, 0, count) for count in range(len(heard) + 1)]
    for row, item in enumerate(said, 1):
        current = [Edits(0, row, 0)]
        for column, other in enumerate(heard, 1):
            kept = above[column - 1]
            if item != other:
                kept = kept._replace(substituted=kept.substituted + 1)
            missing = above[column]._replace(deleted=above[column].deleted + 1)
            extra = current[-1]._replace(inserted=current[-1].inserted + 1)
            current.append(min((kept, missing, extra), key=cost))
        above = current
    return above[-1]


def cost(found):
    """What is least: all edits, then those that change the length."""
    return found.total, found.deleted + found.inserted


def word_error_rate(said, heard):
    """The edits of all texts together, in words, by the number of words that were said.

    Both are a text, or lists of texts. It can be above 1. ValueError for lists of other lengths,
    or when nothing was said.
    """
    return rate([text.split() for text in as_list(said)], [text.split() for text in as_list(heard)])


def character_error_rate(said, heard):
    """As :func:`word_error_rate`, in characters, of which the space is one.

    It is the rate for languages without spaces between words.
    """
    return rate([list(text) for text in as_list(said)], [list(text) for text in as_list(heard)])


def as_list(texts):
    """One text as a list of one."""
    return [texts] if isinstance(texts, str) else list(texts)


def rate(said, heard):
    """Edits by items, of lists of lists of items."""
    if len(said) != len(heard):
        raise ValueError(f"expected as many texts heard as said, got {len(heard)} and {len(said)}")
    items = sum(len(each) for each in said)
    if items == 0:
        raise ValueError("nothing was said, so there is no rate: expected at least one word")
    changes = sum(edits(one, other).total for one, other in zip(said, heard, strict=True))
    return changes / items
