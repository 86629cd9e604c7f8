"""Are the facts that a caption states true? ``fact_score`` looks each one up in its scene.

It is SPICE's idea made exact: a scene is known down to each object, so a caption can be parsed and
each fact that it states (object, count, colour, size, relation, background) is true or false.
"""

from collections import Counter
from typing import NamedTuple

from mmcourse.data.language import INVERSE, parse


class FactScore(NamedTuple):
    """A caption's facts against those of its scene; a relation and its inverse are one fact."""

    precision: float  #: share of the stated facts that are true, which is 1 - hallucination rate
    recall: float  #: share of the facts of a full caption that are stated
    true: frozenset  #: stated and true
    false: frozenset  #: stated and not true
    missed: frozenset  #: not stated, though a full caption states it


def fact_score(caption, scene):
    """Precision and recall of the facts in a caption: a :class:`FactScore`.

    The idea is SPICE's (Anderson et al. 2016), with exact facts. ``scene.facts`` is what a full
    caption states, ``scene.holds(fact)`` says what is true; more can be true than a full caption
    states (a drawing's natural colour), and it counts for precision only. A caption that states
    nothing has precision 0 and recall 0, so that silence does not win. Raises TypeError if the
    caption is not a string.
    """
    if not isinstance(caption, str):
        kind = type(caption).__name__
        raise TypeError(f"caption must be a string, got {kind}; for many call fact_scores()")
    stated = _one_way_each(parse(caption))
    due = _one_way_each(scene.facts)
    true = frozenset(fact for fact in stated if scene.holds(fact))
    precision = len(true) / max(1, len(stated))
    recall = len(stated & due) / max(1, len(due))
    return FactScore(precision, recall, true=true, false=stated - true, missed=due - stated)


def fact_scores(captions, scenes):
    """Precision and recall over a corpus, in which each fact counts once.

    Returns a dict from a kind of fact to the two. Its keys are "all" and each kind that is
    stated or due; a share of nothing is 0. Raises ValueError for no captions or lists that do
    not pair, TypeError for a caption that is not a string.
    """
    if len(captions) != len(scenes) or len(captions) == 0:
        raise ValueError(
            "expected one scene for each caption, and at least one, "
            f"got {len(captions)} captions, {len(scenes)} scenes"
        )
    true = Counter()  # of each kind, and of all: how many facts
    stated = Counter()
    found = Counter()
    due = Counter()
    for caption, scene in zip(captions, scenes, strict=True):
        score = fact_score(caption, scene)
        due_here = _one_way_each(scene.facts)
        _count_kinds(true, score.true)
        _count_kinds(stated, score.true | score.false)
        _count_kinds(found, due_here - score.missed)
        _count_kinds(due, due_here)
    scores = {}
    for kind in sorted({*stated, *due, "all"}):
        precision = true[kind] / max(1, stated[kind])
        recall = found[kind] / max(1, due[kind])
        scores[kind] = (precision, recall)
    return scores


def _count_kinds(counter, facts):
    """Add each fact to the count of its kind and to that of all."""
    for fact in facts:
        kind = fact[0]
        counter[kind] += 1
        counter["all"] += 1


def _one_way_each(facts):
    """The facts, each relation said in one of its two ways only."""
    return frozenset(_one_way(fact) for fact in facts)


def _one_way(fact):
    """Of a relation and its inverse the first in the alphabet; any other fact as it is."""
    if fact[0] != "relation":
        return fact
    _, first, relation, second = fact
    inverse = INVERSE[relation]
    if inverse < relation:
        return ("relation", second, inverse, first)
    return fact
