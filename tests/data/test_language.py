"""What is said of a scene is true of it, and parsing is the inverse of speaking."""

from collections import Counter, defaultdict
from operator import itemgetter
from random import Random

import pytest

from mmcourse.data import EmojiScenes, language
from mmcourse.data.language import Description, Group, parse

SCENES = [EmojiScenes(split)[index] for split in ("train", "composition") for index in range(400)]


def test_every_caption_states_every_fact():
    for scene in SCENES:
        assert len(set(scene.captions)) == 5
        for caption in scene.captions:
            stated = parse(caption)
            assert all(map(scene.holds, stated)) and len(stated) == len(scene.facts), caption


def test_captions_are_plain_words_of_the_vocabulary():
    words = set(language.vocabulary())
    for scene in SCENES:
        for caption in scene.captions:
            assert caption == " ".join(caption.lower().split()) and set(caption.split()) <= words


@pytest.mark.parametrize(
    "caption, facts",
    [
        ("a cat on the grass", {("object", "cat"), ("count", "cat", 1), ("background", "grass")}),
        (
            "two small red cats",
            {
                ("object", "cat"),
                ("count", "cat", 2),
                ("size", "cat", "small"),
                ("colour", "cat", "red"),
            },
        ),
        ("cats", {("object", "cat")}),
        ("the happy cat that we know", {("object", "cat")}),
        (
            "a cat to the right of a dog",
            {
                ("object", "cat"),
                ("count", "cat", 1),
                ("object", "dog"),
                ("count", "dog", 1),
                ("relation", "cat", "right of", "dog"),
            },
        ),
        (
            "cat , above dog",
            {("object", "cat"), ("object", "dog"), ("relation", "cat", "above", "dog")},
        ),
        ("above dog", {("object", "dog")}),
        ("a red on a beach cat", {("object", "cat"), ("background", "beach")}),
        ("cat above at night dog", {("object", "cat"), ("object", "dog"), ("background", "night")}),
        ("red sky cat", {("object", "cat")}),
        ("", set()),
        ("nothing known", set()),
    ],
)
def test_parse(caption, facts):
    assert parse(caption) == facts


def test_articles_and_plurals():
    first = itemgetter(0)
    assert language.noun_phrase(Group("cat"), first) == "a cat"
    assert language.noun_phrase(Group("umbrella"), first) == "an umbrella"
    assert language.noun_phrase(Group("unicorn"), first) == "a unicorn"
    assert language.noun_phrase(Group("cat", 1, "orange"), first) == "an orange cat"
    assert language.noun_phrase(Group("umbrella", 1, "red", "big"), first) == "a big red umbrella"
    assert (
        language.noun_phrase(Group("person rowing a boat", 2), first) == "two people rowing boats"
    )


def test_mandarin():
    cat = Description((Group("cat", 2, "red", "small"),), None, "beach")
    assert language.caption_zh(cat) == "沙滩上有两只红色的小猫。"
    two = Description((Group("car"), Group("horse", 3)), "left of", "snow")
    assert language.caption_zh(two) == "雪地里，一辆汽车在三匹马的左边。"


def test_foils_differ_in_one_fact_and_are_false():
    kinds = Counter()
    for scene in SCENES:
        for foil in scene.foils:
            kinds[foil.kind] += 1
            assert all(map(scene.holds, parse(foil.true)))
            false = [fact for fact in parse(foil.false) if not scene.holds(fact)]
            assert false, foil
            if foil.kind in ("count", "colour", "size", "background", "relation", "order"):
                assert {fact[0] for fact in false} == {
                    "relation" if foil.kind == "order" else foil.kind
                }, foil
            if foil.kind == "binding":
                assert {fact[0] for fact in false} == {"colour"}
    assert set(kinds) == {
        "object",
        "count",
        "colour",
        "size",
        "background",
        "relation",
        "order",
        "binding",
    }
    assert min(kinds.values()) > 10


def test_questions_are_true():
    for scene in SCENES:
        counts = {group.noun: group.count for group in scene.description.groups}
        plural = {language.noun_table()[noun].plural: noun for noun in language.noun_table()}
        for question in scene.questions:
            words = question.text.split()
            if question.kind == "count":
                noun = plural[" ".join(words[2:-3])]
                assert ("none", "one", "two", "three")[counts.get(noun, 0)] == question.answer
            elif question.kind == "presence":
                assert question.answer == ("yes" if " ".join(words[3:-1]) in counts else "no")
            elif question.kind == "object":
                assert question.answer in counts
            elif question.kind == "colour":
                assert question.answer in {g.colour for g in scene.description.groups}
            elif question.kind == "relation":
                assert question.answer == language.RELATIONS[scene.description.relation][1][0]
            else:
                assert parse(question.answer) == {("background", scene.description.background)}


def test_a_baseline_that_reads_only_the_question_stays_low():
    """The most frequent answer to each question, else to its first words, else to its kind."""
    answers = defaultdict(Counter)
    train, val = EmojiScenes("train"), EmojiScenes("val")
    for index in range(6000):
        for question in train[index].questions:
            for key in (question.text, " ".join(question.text.split()[:2]), question.kind):
                answers[key][question.answer] += 1
    right = total = 0
    for index in range(1000):
        for question in val[index].questions:
            keys = (question.text, " ".join(question.text.split()[:2]), question.kind)
            key = next(key for key in keys if sum(answers[key].values()) >= 5)
            right += answers[key].most_common(1)[0][0] == question.answer
            total += 1
    assert right / total < 0.35


def test_the_same_rng_says_the_same():
    description = SCENES[0].description
    assert language.captions(description, Random(3)) == language.captions(description, Random(3))
