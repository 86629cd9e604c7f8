"""Which word, and how sure the captioner was of it: what every method of this chapter asks about.

Shapes: B batch, T words, N cells of the grid, V vocabulary, S pixels along a side.
"""

from typing import NamedTuple

import torch

from mmcourse.captioning import START
from mmcourse.data.language import phrase_book


class NamedThing(NamedTuple):
    """A noun in a caption."""

    place: int  #: of its first word, counted from 0
    stop: int  #: the place after its last word
    noun: str  #: its name as in :func:`~mmcourse.data.drawings.nouns`


def things_named(words):
    """The nouns that a caption, a list of words, names, in their order: :class:`NamedThing` s."""
    book, longest = phrase_book()
    found = []
    place = 0
    while place < len(words):
        for length in range(min(longest, len(words) - place), 0, -1):
            kind, noun = book.get(tuple(words[place : place + length]), (None, None))
            if kind:
                break
        if kind == "object":
            found.append(NamedThing(place, place + length, noun))
        place += length
    return found


def place_of(noun, words):
    """Where a caption, a list of words, begins to name a noun. ValueError where it does not."""
    named = things_named(words)
    for thing in named:
        if thing.noun == noun:
            return thing.place
    nouns = ", ".join(thing.noun for thing in named) or "nothing"
    raise ValueError(f"the caption {' '.join(words)!r} does not name {noun!r}: it names {nouns}")


def boxes_of(scene, noun):
    """The boxes of a noun's things in a scene. ValueError for a scene without one."""
    boxes = [thing.box for thing in scene.objects if thing.noun == noun]
    if not boxes:
        there = ", ".join(sorted({thing.noun for thing in scene.objects}))
        raise ValueError(f"the scene {scene.key} has no {noun!r}, so no box: it has {there}")
    return boxes


def given_words(model, words, place):
    """The ids (1, 1 + place) that the decoder has read when it says the word at a place.

    ``words`` are those of a caption, with ``<end>`` or without. ValueError for a place outside
    them or for a word that the model does not know.
    """
    if not 0 <= place < len(words):
        raise ValueError(f"the caption has {len(words)} words, counted from 0, got place {place}")
    for word in words[: place + 1]:
        if word not in model.ids:
            raise ValueError(f"{word!r} is no word of the model, which has {len(model.words)}")
    return torch.tensor([[START, *(model.ids[word] for word in words[:place])]])


def word_score(model, words, place):
    r"""The function that is to be explained: :math:`\log p(y_t \mid y_{<t}, x)`.

    It maps pixels (B, 3, S, S) in [-1, 1] to the log-probability (B,) of the word at ``place`` of
    a caption, given the words before it, and can be differentiated. ``words`` is a list.
    ValueError for a place outside them or for a word that the model does not know.
    """
    given = given_words(model, words, place)
    target = model.ids[words[place]]

    def score(pixels):
        memory = model.relate(model.convolutions(pixels))  # (B, N, D)
        logits = model.decode(memory, given.expand(len(pixels), -1))  # (B, T, V)
        return logits[:, -1].log_softmax(-1)[:, target]

    return score
