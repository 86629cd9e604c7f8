"""What an answerer has to beat: who does not look, who does not read, who only counts, and rules
on a caption.

Shapes: N cells, C channels.
"""

from collections import Counter
from dataclasses import replace

import torch

from mmcourse.data.language import BACKGROUNDS, INVERSE, RELATIONS, parse, phrase_book
from mmcourse.data.questions import NUMBERS
from mmcourse.vqa.reading import named_in


class Majority:
    """Says what was most often right: to the same question, else to its kind.

    ``by_text`` False makes it forget the questions, so that it knows the kinds alone. Of equals
    the first in the alphabet.
    """

    def __init__(self, asked, by_text=True):
        counts = {}
        for each in asked:
            counts.setdefault(("kind", each.kind), Counter())[each.answer] += 1
            if by_text:
                counts.setdefault(("text", each.text), Counter())[each.answer] += 1
        self.best = {key: most_frequent(counter) for key, counter in counts.items()}

    def answer_all(self, asked):
        """An answer for each question, a list of texts. KeyError for a kind that never was."""
        found = []
        for each in asked:
            of_kind = self.best["kind", each.kind]
            found.append(self.best.get(("text", each.text), of_kind))
        return found


def most_frequent(counter):
    """The text that was counted most often."""
    return min(counter, key=lambda text: (-counter[text], text))


def not_looking(memory):
    """A memory (scenes, N, C) that is the same for all pictures: zeros."""
    return torch.zeros_like(memory)


def not_reading(asked):
    """The questions with the words of their kind alone, such as ``colour ?``, and no history.

    KeyError for a kind that neither questions nor dialogues have.
    """
    return [replace(each, text=WORD_OF[each.kind], history=()) for each in asked]


WORD_OF = {
    "background": "where",
    "count": "many",
    "presence": "is",
    "colour": "colour",
    "object": "what",
    "relation": "seen",
    "its colour": "colour it",
    "its place": "seen it",
    "the other thing": "what other",
    "the other colour": "colour other",
    "the colour of the answer": "colour what",
    "the other way round": "seen other",
}  # of each kind its own words, all of them known to the answerer


def without_history(asked):
    """The questions as if nothing had been said before."""
    return [replace(each, history=()) for each in asked]


def answer_from(caption, each):
    """The answer to a question that a caption implies; an empty text where it implies none.

    Nothing is learnt: the caption is parsed into facts, and a rule for each kind of question takes
    one. ``each`` is an :class:`~mmcourse.vqa.Asked` without a history.
    """
    book, _ = phrase_book()
    asked = [book[tuple(name.split())][1] for name in named_in(each.text)]
    return RULES[each.kind](sorted(parse(caption), key=str), *asked)


def rule_background(facts):
    """Where it is."""
    names = [fact[1] for fact in facts if fact[0] == "background"]
    return BACKGROUNDS[names[0]][1][0] if names else ""


def rule_presence(facts, noun):
    """Whether it is there."""
    return "yes" if ("object", noun) in facts else "no"


def rule_count(facts, noun):
    """How many there are; one where no number is said."""
    if ("object", noun) not in facts:
        return "none"
    return NUMBERS[next((int(fact[2]) for fact in facts if fact[:2] == ("count", noun)), 1)]


def rule_colour(facts, noun):
    """Which colour it has."""
    return next((fact[2] for fact in facts if fact[:2] == ("colour", noun)), "")


def rule_object(facts, noun=None):
    """What is there, beside what is named."""
    return next((fact[1] for fact in facts if fact[0] == "object" and fact[1] != noun), "")


def rule_relation(facts, noun, seen_from):
    """Where it is, seen from the other."""
    for fact in facts:
        if fact[0] == "relation":
            _, first, relation, _ = fact
            return RELATIONS[relation if first == noun else INVERSE[relation]][1][0]
    return ""


RULES = {
    "background": rule_background,
    "presence": rule_presence,
    "count": rule_count,
    "colour": rule_colour,
    "object": rule_object,
    "relation": rule_relation,
}
