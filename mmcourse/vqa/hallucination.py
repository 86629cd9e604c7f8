"""Does it see what is not there? POPE's yes-no questions, and CHAIR's count of named things.

POPE: Li et al. 2023. CHAIR: Rohrbach et al. 2018.
"""

from collections import Counter
from itertools import combinations
from random import Random
from typing import NamedTuple

from mmcourse.data.drawings import nouns
from mmcourse.data.language import noun_table, parse
from mmcourse.vqa.conversation import Asked

SAMPLINGS = ("random", "popular", "adversarial", "look-alike")


class Frequencies(NamedTuple):
    """How often nouns stand in scenes, and how often two stand together."""

    alone: Counter  #: of a noun
    together: Counter  #: of a frozenset of two nouns


def count_nouns(scenes):
    """The :class:`Frequencies` of the nouns in some scenes; descriptions are enough."""
    alone, together = Counter(), Counter()
    for scene in scenes:
        present = {group.noun for group in scene.description.groups}
        alone.update(present)
        together.update(frozenset(pair) for pair in combinations(sorted(present), 2))
    return Frequencies(alone, together)


def absent(scene, sampling, count, frequencies, rng):
    """``count`` nouns that are not in a scene, the likeliest to be said of it first.

    ``random`` draws them, ``popular`` takes the most frequent nouns, ``adversarial`` those that
    most often stand beside one of the scene's; these are POPE's. ``look-alike``, ours, draws among
    the nouns of the categories of what is there. Ties are drawn. ValueError for another sampling.
    """
    present = sorted({group.noun for group in scene.description.groups})
    others = [noun.name for noun in nouns() if noun.name not in present]
    rng.shuffle(others)
    if sampling == "random":
        return others[:count]
    if sampling == "popular":
        return sorted(others, key=lambda name: -frequencies.alone[name])[:count]
    if sampling == "adversarial":
        beside = {
            name: sum(frequencies.together[frozenset((name, own))] for own in present)
            for name in others
        }
        return sorted(others, key=lambda name: -beside[name])[:count]
    if sampling == "look-alike":
        categories = {noun_table()[name].category for name in present}
        alike = [name for name in others if noun_table()[name].category in categories]
        return alike[:count]
    raise ValueError(f"unknown sampling {sampling!r}: choose one of {', '.join(SAMPLINGS)}")


def pope(scenes, sampling, frequencies):
    """Yes-no questions: for each thing that is there, one about a thing that is not.

    A list of :class:`~mmcourse.vqa.conversation.Asked`, half of them with the answer ``yes``.
    """
    found = []
    for row, scene in enumerate(scenes):
        rng = Random(f"{scene.key}/pope/{sampling}")
        present = [group.noun for group in scene.description.groups]
        not_there = absent(scene, sampling, len(present), frequencies, rng)
        for names, answer in ((present, "yes"), (not_there, "no")):
            for name in names:
                text = f"is there {noun_table()[name].article} {name} ?"
                found.append(Asked(row, text, answer, "presence"))
    return found


class PopeScores(NamedTuple):
    """POPE's numbers; ``yes`` is the positive class, and a share of nothing is 0."""

    accuracy: float  #: the share of answers that are right
    precision: float  #: of the answers ``yes``, the share that is right
    recall: float  #: of the questions whose answer is yes, the share that got it
    f1: float  #: the harmonic mean of precision and recall
    yes: float  #: the share of questions that were answered ``yes``


def pope_scores(answers, truth):
    """The :class:`PopeScores` of answers, lists of ``yes`` and ``no``; other answers are wrong."""
    pairs = list(zip(answers, truth, strict=True))
    said = sum(answer == "yes" for answer in answers)
    due = sum(true == "yes" for true in truth)
    hit = sum(answer == true == "yes" for answer, true in pairs)
    right = sum(answer == true for answer, true in pairs)
    precision = hit / max(1, said)
    recall = hit / max(1, due)
    f1 = 2 * hit / max(1, said + due)
    return PopeScores(right / len(pairs), precision, recall, f1, said / len(pairs))


class Chair(NamedTuple):
    """CHAIR's two shares; both are 0 where nothing is invented or nothing is named."""

    instances: float  #: of the things that are named, the share that is not there (CHAIR_i)
    sentences: float  #: of the sentences, the share that names such a thing (CHAIR_s)


def named_things(text):
    """The nouns that a caption or an answer names, a set."""
    return {fact[1] for fact in parse(text) if fact[0] == "object"}


def invented(text, scene):
    """How many things a text names, and how many of them are not in the scene."""
    things = named_things(text)
    return len(things), sum(not scene.holds(("object", name)) for name in things)


def chair(texts, scenes):
    """The :class:`Chair` of one text for each scene; a thing named twice in a text counts once."""
    counts = [invented(text, scene) for text, scene in zip(texts, scenes, strict=True)]
    mentioned = sum(number for number, _ in counts)
    false = sum(number for _, number in counts)
    lying = sum(number > 0 for _, number in counts)
    return Chair(false / max(1, mentioned), lying / max(1, len(counts)))
