"""What may be drawn: the words of the small world, and errors that say what to do about others."""

import re
from functools import cache

from mmcourse.data.language import noun_table, parse, phrase_book
from mmcourse.data.world import WORLD_NOUNS

PAD, NONE = 0, 1  #: the ids of no word, and of no caption
SPECIAL = ["<pad>", "<none>"]
MAX_WORDS = 24
MOST_THINGS = 3  # of a picture, in one group or two


@cache
def world_vocabulary():
    """Every word that a caption of the small world can hold, sorted."""
    words = {",", "of", "picture", "there", "is", "are"}
    for phrase, (kind, value) in phrase_book()[0].items():
        if kind == "size" or (kind == "object" and value not in WORLD_NOUNS):
            continue
        words.update(phrase)
    return sorted(words)


def as_words(caption):
    """The words of a caption as somebody may type it: lower case, commas apart, no other mark.

    TypeError unless it is a string.
    """
    if not isinstance(caption, str):
        raise TypeError(
            f"a caption must be a string, got {type(caption).__name__}; give many as a list"
        )
    return re.sub(r"[.!?;:\"]", " ", caption.lower()).replace(",", " , ").split()


def check_caption(caption):
    """The words of a caption that can be drawn. ValueError, which says why and what to do, else."""
    words = as_words(caption)
    if not words:
        raise ValueError("the caption is empty: write, for example, 'two red cars in the snow'")
    if len(words) > MAX_WORDS:
        raise ValueError(
            f"a caption has at most {MAX_WORDS} words, got {len(words):,}: say one or two kinds "
            "of things, where they are to one another, and on which background"
        )
    known = world_vocabulary()
    unknown = [word for word in words if word not in known]
    if unknown:
        raise ValueError(explain_unknown(words, unknown))
    facts = parse(" ".join(words))
    things = sorted({fact[1] for fact in facts if fact[0] == "object"})
    if not 1 <= len(things) <= 2:
        raise ValueError(
            f"a picture shows one or two kinds of things, got {len(things)} in {caption!r}: "
            f"it can draw {', '.join(WORLD_NOUNS)}"
        )
    check_facts(facts)
    return words


def check_facts(facts):
    """ValueError for what the small world never shows: a crowd, two backgrounds, or itself."""
    count = sum(fact[2] for fact in facts if fact[0] == "count")
    if count > MOST_THINGS:
        raise ValueError(f"a picture shows up to {MOST_THINGS} things, got {count}: ask for fewer")
    grounds = sorted(str(fact[1]) for fact in facts if fact[0] == "background")
    if len(grounds) > 1:
        raise ValueError(f"a picture has one background, got {', '.join(grounds)}: choose one")
    if any(fact[0] == "relation" and fact[1] == fact[3] for fact in facts):
        raise ValueError("a relation joins two kinds of things, got one kind: say two nouns")


def explain_unknown(words, unknown):
    """What an error says of a caption's ``unknown`` words."""
    drawn = f"It draws {', '.join(WORLD_NOUNS)}"
    if not " ".join(unknown).isascii():
        return f"the captions are English, got {' '.join(unknown)[:60]!r}. {drawn}"
    facts = parse(" ".join(words))
    other = sorted({fact[1] for fact in facts if fact[0] == "object"} - set(WORLD_NOUNS))
    if other:
        names = ", ".join(noun_table()[name].name for name in other)
        return f"the course has drawings of {names}, but this model never learned them. {drawn}"
    named = ", ".join(repr(word[:20]) for word in unknown[:5])
    more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
    return f"unknown words: {named}{more}. {drawn}; with numbers to three, colours and places"
