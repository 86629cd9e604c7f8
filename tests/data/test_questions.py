"""Questions in their numbers: no answer is so frequent that the picture is not needed."""

from collections import Counter
from random import Random

import pytest

from mmcourse.data import EmojiScenes
from mmcourse.data.drawings import nouns
from mmcourse.data.language import Description, Group, parse
from mmcourse.data.questions import foils, questions

COUNT = 4000


@pytest.fixture(scope="module")
def asked():
    """For each kind of question, how often each answer comes."""
    scenes = EmojiScenes("train")
    kinds = {}
    for index in range(COUNT):
        for question in scenes[index].questions:
            kinds.setdefault(question.kind, Counter())[question.answer] += 1
    return kinds


def share(answers, answer):
    return answers[answer] / answers.total()


def test_how_many(asked):
    """Of what is there one scene in 9 has three, 3 of 9 a two; of single things we keep 0.4.

    With the counts of scenes as they are drawn, three quarters of what is asked for is there, and
    the others are "none": 0.25 of all, before most of the "one" are left out.
    """
    answers = asked["count"]
    one = (
        0.75 * (2 + 0 + 0 + 3 + 1) / 9 * 0.4
    )  # scenes (1,) (1,) | (1, 1) x 3 | half of (1, 2) (2, 1)
    two = 0.75 * (1 + 1) / 9
    three = 0.75 * 1 / 9
    none = 0.25
    total = one + two + three + none
    for answer, expected in zip(
        ("none", "one", "two", "three"), (none, one, two, three), strict=True
    ):
        assert share(answers, answer) == pytest.approx(expected / total, abs=0.025), answer
    assert answers.total() == pytest.approx(COUNT * total, rel=0.03)


def test_is_there(asked):
    assert share(asked["presence"], "yes") == pytest.approx(0.5, abs=0.03)
    assert asked["presence"].total() == COUNT


def test_no_answer_is_safe(asked):
    for kind, answers in asked.items():
        _, most = answers.most_common(1)[0]
        limit = {"presence": 0.53, "count": 0.36, "relation": 0.28}.get(kind, 0.2)
        assert most / answers.total() < limit, kind


def test_foils_by_hand():
    groups = (Group("cat", 1, "red"), Group("car", 2, "blue"))
    found = {foil.kind: foil for foil in foils(Description(groups, "above", "sea"), Random(0))}
    assert {foil.true for foil in found.values()} == {"a red cat above two blue cars at sea"}
    assert found["binding"].false == "a blue cat above two red cars at sea"
    assert found["order"].false == "two blue cars above a red cat at sea"
    assert found["relation"].false == "a red cat below two blue cars at sea"
    same = (Group("cat", 1, "red"), Group("car", 2, "red"))
    kinds = [foil.kind for foil in foils(Description(same, "above", "sea"), Random(0))]
    assert "binding" not in kinds, "nothing would change"


def test_questions_by_hand():
    """Nouns and verbs agree with how many things a group has, on both sides of a relation."""
    groups = (Group("cat", 1, "red"), Group("car", 2, "blue"))
    told = {}
    for relation, description in {
        "above": Description(groups, "above", "sea"),
        "below": Description(groups[::-1], "below", "sea"),
    }.items():
        found = questions(description, Random(0))
        told[relation] = {question.text: question.answer for question in found}
    assert told["above"]["what is above the cars ?"] == "cat"
    assert told["above"]["where is the cat , seen from the cars ?"] == "above"
    assert told["below"]["what is below the cat ?"] == "car"
    assert told["below"]["where are the cars , seen from the cat ?"] == "below"
    for answers in told.values():
        assert answers["what colour is the cat ?"] == "red"
        assert answers["what colour are the cars ?"] == "blue"
        assert answers["where is this ?"] == "at sea"


def test_the_false_noun_is_of_the_same_category_and_not_there():
    """Else a foil could be told from the sentence alone, as a car that is eaten."""
    category = {noun.name: noun.category for noun in nouns()}
    groups = (Group("cat"), Group("dog", 2))
    drawn = set()
    for seed in range(60):
        for foil in foils(Description(groups, "above", "sea"), Random(seed)):
            if foil.kind == "object":
                false = {fact[1] for fact in parse(foil.false) if fact[0] == "object"}
                (new,) = false - {"cat", "dog"}
                assert len(false) == 2 and category[new] == category["cat"]
                drawn.add(new)
    assert len(drawn) > 20, "any of them"
