"""What a user types, read strictly: unknown words and unknown forms of questions are named."""

import difflib
import re
from functools import cache

from mmcourse.data.captioned import words_of
from mmcourse.data.language import RELATIONS, phrase_book

#: The forms that the questions of training have, each with its kind.
FORMS = (
    ("background", r"where is this"),
    ("count", r"how many (?P<noun>.+) are there"),
    ("presence", r"is there an? (?P<noun>.+)"),
    ("colour", r"what colour (is|are) the (?P<noun>.+)"),
    ("object", r"what is in the picture"),
    ("object", r"what is (?P<relation>RELATIONS) the (?P<noun>.+)"),
    ("relation", r"where (is|are) the (?P<noun>.+) seen from the (?P<second>.+)"),
)
#: Forms that mean something only after a turn before them.
SECOND_TURNS = (
    "what colour is it",
    "where is it seen from the other one",
    "what is the other one",
    "and the other one",
)
#: After which kinds of first turn each of them was taught.
AFTER = {
    "what colour is it": ("presence", "object"),
    "where is it seen from the other one": ("presence",),
    "what is the other one": ("presence",),
    "and the other one": ("colour", "relation"),
}
EXAMPLES = (
    "where is this?",
    "how many dogs are there?",
    "is there a dog?",
    "what colour is the dog?",
    "what is in the picture?",
    "what is above the dog?",
    "where is the dog, seen from the cat?",
)


def read_question(text, words, first=True):
    """A user's question in plain small letters, and its kind (None of a second turn).

    ``words`` are those that the answerer knows, ``first`` says that no turn came before. Raises
    TypeError for what is no text; ValueError, which names the words or the forms that it knows, for
    an empty question, unknown words, another form than training has, or a second turn that
    nothing came before.
    """
    if not isinstance(text, str):
        raise TypeError(f"a question must be a text, got {type(text).__name__}")
    asked = words_of(re.sub(r"(?i)\b(what|where)['’]s\b", r"\1 is", text))
    if not asked:
        raise ValueError(f"expected a question, got none: ask for example {EXAMPLES[0]!r}")
    unknown = list(dict.fromkeys(word for word in asked if word not in words))
    if unknown:
        raise ValueError(unknown_words(unknown, words))
    plain = " ".join(asked)
    if plain in SECOND_TURNS:
        if first:
            raise ValueError(
                f"{text!r} goes on from a question before it, and there is none: ask that first, "
                "for example 'is there a dog?'"
            )
        return plain, None
    kind = kind_of(plain)
    if kind is None:
        raise ValueError(
            f"I know these words, but not this form of question: {shortened(text)!r}. "
            f"I was taught: {'; '.join(EXAMPLES)}; and after an answer: {'? '.join(SECOND_TURNS)}?"
        )
    return plain, kind


def check_follows(question, asked, kind, answered):
    """ValueError where a second turn does not go on from the first as training taught.

    ``question`` is the second turn, ``asked``, ``kind`` and ``answered`` are those of the first.
    """
    if answered in ("no", "none"):
        raise ValueError(
            f"{question!r} goes on from what I said is not there ({asked!r}: {answered}): "
            "ask about another thing"
        )
    if kind not in AFTER[" ".join(words_of(question))]:
        raise ValueError(
            f"{question!r} does not go on from {asked!r} in anything I was taught: "
            f"name the thing, as in {EXAMPLES[3]!r}"
        )


def kind_of(plain):
    """The kind of a question in small letters without signs; None where it has no known form.

    Where the form names a thing, it must be a noun of the scenes.
    """
    for kind, pattern in patterns():
        found = pattern.fullmatch(plain)
        if found and all(is_noun(name) for name in named(found)):
            return kind
    return None


def named(found):
    """The things that a match of a form names, a list of texts."""
    groups = found.groupdict()
    return [groups[name] for name in ("noun", "second") if groups.get(name)]


def is_noun(name):
    """Whether a text is a noun of the scenes, singular or plural."""
    book, _ = phrase_book()
    return book.get(tuple(name.split()), (None,))[0] == "object"


@cache
def patterns():
    """``FORMS`` with compiled patterns, a list of pairs."""
    relations = "|".join(phrases[0] for _, phrases in RELATIONS.values())
    return [(kind, re.compile(form.replace("RELATIONS", relations))) for kind, form in FORMS]


def unknown_words(unknown, words):
    """The sentence that says which words are not known, with what they may be meant for."""
    named_words = ", ".join(repr(shortened(word, 20)) for word in unknown[:5])
    more = f" and {len(unknown) - 5:,} more" if len(unknown) > 5 else ""
    close = []
    for word in unknown[:5]:
        for found in difflib.get_close_matches(word[:20], words, n=1, cutoff=0.8):
            close.append(f"{found!r} for {shortened(word, 20)!r}")
    meant = f" Did you mean {', '.join(close)}?" if close else ""
    return (
        f"I don't know the word{'s' if len(unknown) > 1 else ''} {named_words}{more}.{meant} "
        f"I read the {len(words)} English words of the scenes, as in {EXAMPLES[3]!r}"
    )


def shortened(text, length=60):
    """A text of at most so many letters, cut where it is longer."""
    return text if len(text) <= length else text[: length - 1] + "…"


def named_in(text):
    """The things that a question names, a list of texts; none where it has no known form."""
    plain = " ".join(words_of(text))
    for _, pattern in patterns():
        found = pattern.fullmatch(plain)
        if found:
            return named(found)
    return []
