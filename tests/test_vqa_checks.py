"""What is checked about answers: baselines, contradictions, hallucination, looking, and reading."""

import re
from collections import Counter
from itertools import combinations
from random import Random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmcourse.data import EmojiScenes
from mmcourse.data.dialogues import TwoThings, dialogues
from mmcourse.data.drawings import nouns
from mmcourse.data.language import noun_table
from mmcourse.vqa import (
    PAIRS,
    SAMPLINGS,
    Asked,
    Majority,
    Probe,
    absent,
    all_words,
    answer_from,
    ask_about,
    asked_things,
    chair,
    check,
    count_nouns,
    elsewhere,
    empty,
    erase,
    hits,
    invented,
    kind_of,
    named_things,
    not_looking,
    not_reading,
    pointed_at,
    pope,
    pope_scores,
    probes,
    read_question,
    touch,
    without_history,
)
from mmcourse.vqa.consistency import is_noun, named, where, with_article
from mmcourse.vqa.reading import check_follows, named_in, shortened, unknown_words

VAL = EmojiScenes("val")
SCENES = [VAL[index] for index in range(80)]
WORDS = set(all_words())


# ---- baselines


def test_majority_by_text_and_by_kind():
    seen = [
        Asked(0, "a ?", "no", "k"), Asked(0, "a ?", "yes", "k"), Asked(0, "a ?", "yes", "k"),
        Asked(0, "b ?", "no", "k"), Asked(0, "b ?", "no", "k"), Asked(0, "c ?", "up", "l"),
        Asked(0, "d ?", "down", "l"),
    ]  # fmt: skip
    new = [Asked(1, "a ?", "", "k"), Asked(1, "z ?", "", "k"), Asked(1, "z ?", "", "l")]
    assert Majority(seen).answer_all(new) == ["yes", "no", "down"]
    assert Majority(seen, by_text=False).answer_all(new) == ["no", "no", "down"]
    with pytest.raises(KeyError):
        Majority(seen).answer_all([Asked(0, "a ?", "", "m")])
    few = [Asked(0, "a ?", answer, "k") for answer in ("no", "yes", "yes", "no", "yes")]
    assert Majority(few).answer_all(few[:1]) == ["yes"]  # by how often, not by the alphabet
    assert Majority(few, by_text=False).answer_all(few[:1]) == ["yes"]
    once = [Asked(0, "b ?", "no", "k"), Asked(0, "b ?", "yes", "k"), Asked(0, "b ?", "yes", "k")]
    assert Majority(once + few[:1] * 2).answer_all(once[:1]) == ["yes"]


def test_a_true_caption_answers_every_question():
    for scene in SCENES:
        caption = scene.captions[0]
        for question in scene.questions:
            each = Asked(0, question.text, question.answer, question.kind)
            assert answer_from(caption, each) == question.answer, (caption, each)
    nothing = [Asked(0, "where is this ?", "", "background"),
               Asked(0, "what colour is the dog ?", "", "colour"),
               Asked(0, "what is above the dog ?", "", "object"),
               Asked(0, "where is the dog , seen from the cat ?", "", "relation")]  # fmt: skip
    assert [answer_from("", each) for each in nothing] == ["", "", "", ""]
    for text, answer in (
        ("where is the dog , seen from the cat ?", "to the left of"),
        ("where is the cat , seen from the dog ?", "to the right of"),
    ):
        each = Asked(0, text, "", "relation")
        assert answer_from("a dog to the left of a cat", each) == answer
        assert answer_from("a cat to the right of a dog", each) == answer
    assert answer_from("", Asked(0, "is there a dog ?", "", "presence")) == "no"
    assert answer_from("", Asked(0, "how many dogs are there ?", "", "count")) == "none"


def test_baselines_hide_what_they_say():
    memory = torch.randn(3, 4, 5).half()
    assert not not_looking(memory).any() and not_looking(memory).shape == memory.shape
    asked = ask_about(SCENES[:20])
    hidden = not_reading(asked)
    texts = {}
    for before, after in zip(asked, hidden, strict=True):
        assert (before.answer, before.scene, before.kind) == (after.answer, after.scene, after.kind)
        texts.setdefault(after.kind, set()).add(after.text)
        assert after.text in WORDS and after.history == ()
    assert all(len(found) == 1 for found in texts.values())
    assert len(set.union(*texts.values())) == len(texts) == 6
    with_one = [Asked(0, "what colour is it ?", "red", "c", (("is there a dog ?", "yes"),))]
    assert without_history(with_one) == [Asked(0, "what colour is it ?", "red", "c")]
    assert not_reading([Asked(0, "x ?", "red", "colour", (("y ?", "z"),))])[0].history == ()


# ---- contradictions


def truth(scene, text):
    """The true answer to a question of a probe, from the boxes and the things."""
    words = text.removesuffix(" ?")
    if words == "what is in the picture":
        return scene.description.groups[0].noun
    for noun in sorted(nouns(), key=lambda noun: -len(noun.plural)):
        here = [thing for thing in scene.objects if thing.noun == noun.name]
        if words in (f"is there a {noun.name}", f"is there an {noun.name}"):
            return "yes" if here else "no"
        if words == f"how many {noun.plural} are there":
            return ("none", "one", "two", "three")[len(here)]
    for question in scene.questions:
        if question.text == text:
            return question.answer
    first, second = scene.description.groups
    turned = {"left of": "to the right of", "right of": "to the left of", "above": "below"}
    return turned.get(scene.description.relation, "above")  # the second, seen from the first


def test_true_answers_never_contradict_each_other():
    found = check(lambda asked: [truth(SCENES[e.scene], e.text) for e in asked], probes(SCENES))
    kinds = Counter(probe.kind for probe, _, _ in found)
    assert set(kinds) == set(PAIRS) and kinds["none and no"] == len(SCENES)
    assert kinds["what and whether"] == len(SCENES)
    for probe, first, second in found:
        assert probe.agrees(first, second), (probe, first, second)
    told = Counter(first for probe, first, _ in found if probe.kind == "none and no")
    assert 20 < told["no"] < 60
    assert probes(SCENES) == probes(SCENES)


AGREEMENTS = [
    ("none and no", "no", "none", True), ("none and no", "no", "two", False),
    ("none and no", "yes", "none", False), ("none and no", "yes", "one", True),
    ("there and back", "above", "below", True), ("there and back", "above", "above", False),
    ("there and back", "to the left of", "to the right of", True),
    ("there and back", "dog", "below", False),
    ("what and where", "dog", "to the left of", True), ("what and where", "dog", "above", False),
    ("what and where", "red", "to the left of", False),
    ("what and whether", "dog", "yes", True), ("what and whether", "dog", "no", False),
    ("what and whether", "yes", "yes", False),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "first", "second", "agree"), AGREEMENTS)
def test_what_agrees(kind, first, second, agree):
    probe = Probe(kind, 0, "what is to the left of the cat ?", "")
    assert probe.agrees(first, second) is agree


def test_second_questions_follow_from_first_answers():
    probe = Probe("what and whether", 3, "what is in the picture ?", "is there a {} ?")
    asked = []

    def answer_all(questions):
        asked.append(questions)
        return ["owl"] * len(questions)

    assert check(answer_all, [probe]) == [(probe, "owl", "owl")]
    assert [each.text for (each,) in asked] == ["what is in the picture ?", "is there an owl ?"]
    texts = ("what is in the picture ?", "is there an owl ?")
    assert asked == [[Asked(3, texts[0], "", "first")], [Asked(3, texts[1], "", "second")]]
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        check(lambda questions: [], [probe])


def test_there_and_back_asks_where_each_is_from_the_other():
    found = [probe for probe in probes(SCENES) if probe.kind == "there and back"]
    assert len(found) > 20
    for probe in found:
        pattern = "where (is|are) the (.+) , seen from the (.+) \\?"
        _, first, second = re.fullmatch(pattern, probe.first).groups()
        assert re.fullmatch(pattern, probe.second).groups()[1:] == (second, first)
        groups = SCENES[probe.scene].description.groups
        assert {first, second} == {named(group) for group in groups}


def test_words_and_articles_of_questions():
    assert with_article("is there a dog ?") == "is there a dog ?"
    assert with_article("is there a to the left of ?") == "is there a to the left of ?"
    assert where("dogs", "cat") == "where are the dogs , seen from the cat ?"
    assert where("dog", "cats") == "where is the dog , seen from the cats ?"
    assert with_article("is there a is there a owl ?") == "is there a is there a owl ?"
    assert is_noun("dog") and not is_noun("dogs") and not is_noun("red") and not is_noun("")


# ---- hallucination


def test_pope_asks_as_often_for_what_is_not_there():
    frequencies = count_nouns(SCENES)
    for sampling in SAMPLINGS:
        asked = pope(SCENES, sampling, frequencies)
        answers = Counter(each.answer for each in asked)
        assert answers["yes"] == answers["no"] == sum(len(s.description.groups) for s in SCENES)
        for each in asked:
            (name,) = named_in(each.text)
            present = {thing.noun for thing in SCENES[each.scene].objects}
            assert (name in present) == (each.answer == "yes")
            assert f"is there {noun_table()[name].article} {name} ?" == each.text
        assert asked == pope(SCENES, sampling, frequencies)
    with pytest.raises(ValueError, match="unknown sampling 'rare': choose one of random, popular"):
        pope(SCENES, "rare", frequencies)


def scene_of(*names):
    groups = tuple(SimpleNamespace(noun=name) for name in names)
    return SimpleNamespace(description=SimpleNamespace(groups=groups))


def test_samplings_by_hand():
    seen = [scene_of("dog", "cat"), scene_of("dog", "bus"), scene_of("bus"), scene_of("bus")]
    frequencies = count_nouns([*seen, scene_of("cat", "key"), scene_of("cat", "key")])
    assert frequencies.alone == {"dog": 2, "cat": 3, "bus": 3, "key": 2}
    assert frequencies.together[frozenset(("cat", "key"))] == 2
    rng = Random(0)
    assert absent(scene_of("bus"), "popular", 1, frequencies, rng) == ["cat"]
    assert set(absent(scene_of("owl"), "popular", 2, frequencies, rng)) == {"cat", "bus"}
    assert absent(scene_of("key"), "adversarial", 1, frequencies, rng) == ["cat"]
    assert absent(scene_of("cat", "bus"), "adversarial", 2, frequencies, rng)[:2] != ["cat", "bus"]
    assert set(absent(scene_of("cat", "bus"), "adversarial", 2, frequencies, rng)) == {"key", "dog"}
    category = noun_table()["dog"].category
    for name in absent(scene_of("dog"), "look-alike", 5, frequencies, rng):
        assert noun_table()[name].category == category and name != "dog"
    drawn = {absent(scene_of("dog"), "random", 1, frequencies, Random(n))[0] for n in range(40)}
    assert len(drawn) > 25


def test_pope_scores_equal_scikit_learns():
    from sklearn.metrics import accuracy_score, precision_recall_fscore_support

    rng = np.random.default_rng(0)
    said = rng.choice(["yes", "no"], 40, p=[0.7, 0.3]).tolist()
    true = rng.choice(["yes", "no"], 40).tolist()
    found = pope_scores(said, true)
    expected = precision_recall_fscore_support(true, said, pos_label="yes", average="binary")
    assert found[1:4] == pytest.approx(expected[:3])
    assert found.accuracy == pytest.approx(accuracy_score(true, said))
    assert found.yes == said.count("yes") / 40
    assert pope_scores(["yes"], ["yes"]) == (1, 1, 1, 1, 1)
    assert pope_scores(["yes", "yes", "no"], ["no", "no", "yes"]) == (0, 0, 0, 0, 2 / 3)
    assert pope_scores(["yes", "no", "no"], ["yes", "no", "no"])[1:4] == (1, 1, 1)
    with pytest.raises(ValueError, match="argument 2 is longer"):
        pope_scores(["yes"], ["yes", "no"])
    assert pope_scores(["no", "dog"], ["no", "no"]) == (0.5, 0, 0, 0, 0)


def test_chair_by_hand():
    world = [SimpleNamespace(holds=lambda fact, own=own: fact[1] in own) for own in (
        {"dog"}, {"dog", "cat"}, {"bus"}, {"bus"})]  # fmt: skip
    for one in world:
        one.holds = lambda fact, holds=one.holds: fact[0] == "object" and holds(fact)
    texts = ["a dog in the snow", "a dog above an owl and a dog", "two keys", "on a road"]
    assert named_things(texts[1]) == {"dog", "owl"}
    assert [invented(t, s) for t, s in zip(texts, world, strict=True)] == [
        (1, 0), (2, 1), (1, 1), (0, 0),
    ]  # fmt: skip
    assert chair(texts, world) == (2 / 4, 2 / 4)
    assert chair(["an owl above two keys", "on a road"], world[2:]) == (1, 1 / 2)
    assert chair(["on a road"], world[:1]) == (0, 0) == chair([], [])
    assert chair(["an owl"], world[:1]) == (1, 1)
    with pytest.raises(ValueError, match="argument 2 is longer"):
        chair(["an owl"], world)


# ---- looking


def test_pointing():
    weights = np.zeros(64)
    weights[8 * 2 + 5] = 1  # row 2, column 5
    assert pointed_at(weights, 64) == (44.0, 20.0)
    assert hits((44, 20), [(0, 0, 5, 5), (40, 16, 48, 24)])
    assert hits((4, 4), [(4, 4, 5, 5)])
    assert not hits((5, 4), [(4, 4, 5, 5)]) and not hits((4, 5), [(4, 4, 5, 5)])
    assert not hits((3.9, 4), [(4, 4, 5, 5)]) and not hits((4, 3.9), [(4, 4, 5, 5)])


def test_the_empty_scene_is_what_was_painted_first():
    for scene in SCENES[:10]:
        background = empty(VAL, scene)
        outside = np.ones(background.shape[:2], bool)
        for x0, y0, x1, y1 in (thing.box for thing in scene.objects):
            outside[max(0, y0 - 2) : y1 + 2, max(0, x0 - 2) : x1 + 2] = False
            assert (scene.image[y0:y1, x0:x1] != background[y0:y1, x0:x1]).any()
        assert (scene.image[outside] == background[outside]).all()
        erased = erase(scene.image, background, [thing.box for thing in scene.objects])
        assert (erased == background).all() and (scene.image != background).any()
        tight = erase(scene.image, background, [(8, 8, 10, 12)], margin=0)
        assert (tight[8:12, 8:10] == background[8:12, 8:10]).all()
        tight[8:12, 8:10] = scene.image[8:12, 8:10]
        assert (tight == scene.image).all()


def test_erased_is_the_box_with_its_margin_and_nothing_else():
    image, background = np.zeros((12, 10, 3)), np.ones((12, 10, 3))
    places = np.indices((12, 10))
    for box, margin in (((4, 5, 6, 9), 1), ((0, 0, 3, 2), 2), ((7, 9, 10, 12), 0)):
        x0, y0, x1, y1 = box
        inside = (places[0] >= y0 - margin) & (places[0] < y1 + margin)
        inside &= (places[1] >= x0 - margin) & (places[1] < x1 + margin)
        assert (erase(image, background, [box], margin) == inside[..., None]).all()
    assert (erase(image, background, [box]) == erase(image, background, [box], 2)).all()
    assert not image.any()  # a copy


def test_another_place_of_the_same_size():
    boxes, avoid = [(10, 30, 30, 40)], [(0, 0, 20, 10), (40, 40, 60, 60)]
    corners = {elsewhere([(5, 5, 67, 67)], [], 64, Random(seed))[0][:2] for seed in range(60)}
    assert corners == {(x, y) for x in range(3) for y in range(3)}
    for seed in range(30):
        ((x0, y0, x1, y1),) = elsewhere(boxes, avoid, 64, Random(seed))
        assert (x1 - x0, y1 - y0) == (20, 10) and min(x0, y0) >= 0 and max(x1, y1) <= 64
        assert not any(touch((x0, y0, x1, y1), other) for other in avoid)
        three = elsewhere([(0, 0, 20, 20)] * 3, [], 64, Random(seed))
        assert three is None or not any(touch(*pair) for pair in combinations(three, 2))
    assert elsewhere([(0, 0, 60, 60)], avoid, 64, Random(0)) is None
    assert touch((0, 0, 2, 2), (1, 1, 3, 3)) and not touch((0, 0, 2, 2), (2, 0, 3, 3))
    assert not touch((2, 0, 3, 3), (0, 0, 2, 2)) and not touch((0, 2, 3, 3), (0, 0, 2, 2))
    assert not touch((0, 0, 2, 2), (0, 2, 3, 3)) and touch((0, 0, 9, 9), (3, 3, 4, 4))


def test_things_that_a_question_is_about():
    for scene in SCENES:
        for question in scene.questions:
            names = {thing.noun for thing in asked_things(scene, question)}
            present = {group.noun for group in scene.description.groups}
            expected = {
                "background": set(), "object": present, "relation": present,
            }.get(question.kind)  # fmt: skip
            if expected is None:
                (noun,) = named_in(question.text)
                expected = {name for name in present if noun in (name, noun_table()[name].plural)}
            assert names == expected


# ---- reading


def test_every_question_of_the_data_is_read():
    for index in range(150):
        for question in VAL[index].questions:
            typed = question.text.capitalize().replace(" ,", ",").replace(" ?", "?")
            plain, kind = read_question(typed, WORDS)
            assert kind == question.kind
            assert plain == question.text.replace(" ,", "").removesuffix(" ?")
    for index in range(20):
        for each in dialogues(TwoThings("val", 32)[index]):
            assert read_question(each.second.text, WORDS, first=False)[1] is None
            assert read_question(each.first.text, WORDS)[1] == each.first.kind


REFUSED = [
    ("", "expected a question, got none"), (" ?! ", "expected a question, got none"),
    ("Ist da ein Hund?", "I don't know the words 'ist', 'da', 'ein'"),
    ("狗是什么颜色的？", "I don't know the word '狗是什么颜色的'"),
    ("is there a stapler gun?", "I don't know the words 'stapler', 'gun'"),
    ("what color is the dog?", "Did you mean 'colour' for 'color'"),
    ("the dog is red", "not this form of question: 'the dog is red'"),
    ("is there a red?", "not this form"), ("what is above the red?", "not this form"),
    ("how many above are there?", "not this form"),
    ("where is the dog seen from the red?", "not this form"),
    ("what colour is it?", "goes on from a question before it, and there is none"),
    ("and the other one", "goes on from"),
    ("dog " * 10_000, "not this form of question: 'dog dog"),
    ("zzz " * 10_000, "I don't know the word 'zzz'"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_what_cannot_be_read_is_named(text, message):
    with pytest.raises(ValueError) as error:
        read_question(text, WORDS)
    assert message in str(error.value) and len(str(error.value)) < 600


def whole(text, words=WORDS, **options):
    """All that is said of a question that cannot be read."""
    with pytest.raises(ValueError) as error:
        read_question(text, words, **options)
    return str(error.value)


def test_what_is_said_of_a_question_that_cannot_be_read():
    """Read by people, so to the letter."""
    assert whole("") == "expected a question, got none: ask for example 'where is this?'"
    assert whole("What colour is it?") == (
        "'What colour is it?' goes on from a question before it, and there is none: ask that "
        "first, for example 'is there a dog?'"
    )
    assert whole("dog " * 40) == (
        "I know these words, but not this form of question: '" + "dog " * 14 + "dog…'. I was "
        "taught: where is this?; how many dogs are there?; is there a dog?; what colour is the "
        "dog?; what is in the picture?; what is above the dog?; where is the dog, seen from the "
        "cat?; and after an answer: what colour is it? where is it seen from the other one? what "
        "is the other one? and the other one?"
    )
    read = "I read the 3 English words of the scenes, as in 'what colour is the dog?'"
    words = ["dog", "colour", "umbrella"]
    assert whole("qqqq", words) == f"I don't know the word 'qqqq'. {read}"
    assert whole("color dogg umbrela", words) == (
        "I don't know the words 'color', 'dogg', 'umbrela'. Did you mean 'colour' for 'color', "
        f"'dog' for 'dogg', 'umbrella' for 'umbrela'? {read}"
    )
    assert whole("k l m n o colorr", words) == (
        f"I don't know the words 'k', 'l', 'm', 'n', 'o' and 1 more. {read}"
    )
    assert whole("k l m n colur", words) == (
        "I don't know the words 'k', 'l', 'm', 'n', 'colur'. "
        f"Did you mean 'colour' for 'colur'? {read}"
    )
    long = "abcdefghijklmnopqrstuvwxyz"
    assert whole(long, [long[:20]]) == (
        f"I don't know the word '{long[:19]}…'. Did you mean '{long[:20]}' for '{long[:19]}…'? "
        "I read the 1 English words of the scenes, as in 'what colour is the dog?'"
    )
    near = ["colour", "colours"]
    assert "Did you mean 'colour' for 'color'? " in whole("color", near)  # the nearest alone
    assert "Did you mean" not in whole("cool", near)
    assert shortened("a" * 61) == "a" * 59 + "…" and shortened("a" * 60) == "a" * 60


def test_what_is_said_of_a_second_turn_that_goes_on_from_nothing():
    with pytest.raises(ValueError) as error:
        check_follows("what colour is it?", "is there a dog?", "presence", "no")
    assert str(error.value) == (
        "'what colour is it?' goes on from what I said is not there ('is there a dog?': no): "
        "ask about another thing"
    )
    with pytest.raises(ValueError) as error:
        check_follows("and the other one?", "where is this?", "background", "at night")
    assert str(error.value) == (
        "'and the other one?' does not go on from 'where is this?' in anything I was taught: "
        "name the thing, as in 'what colour is the dog?'"
    )


def test_many_unknown_words_are_counted():
    text = " ".join(f"zz{number}q" for number in range(2000))
    with pytest.raises(ValueError, match="'zz4q' and 1,995 more"):
        read_question(text, WORDS)
    assert "words 'a', 'b'" in unknown_words(["a", "b"], ["dog"])
    assert shortened("abcdef", 4) == "abc…" and shortened("abc", 3) == "abc"
    with pytest.raises(TypeError, match="a question must be a text, got int"):
        read_question(3, WORDS)


def test_short_forms_are_read():
    for text in ("What's in the picture?", "what’s in the picture ?"):
        assert read_question(text, WORDS) == ("what is in the picture", "object")


FOLLOWS = [
    ("what colour is it?", "presence", "yes", None), ("what colour is it?", "object", "dog", None),
    ("and the other one?", "colour", "red", None),
    ("and the other one?", "relation", "above", None),
    ("What is the other one?", "presence", "yes", None),
    ("what colour is it?", "presence", "no", "said is not there"),
    ("what is the other one?", "count", "none", "said is not there"),
    ("what colour is it?", "background", "at night", "does not go on from 'asked'"),
    ("and the other one?", "background", "at night", "name the thing"),
    ("where is it, seen from the other one?", "count", "one", "does not go on"),
    ("what is the other one?", "object", "dog", "does not go on"),
    ("and the other one?", "presence", "yes", "does not go on"),
]  # fmt: skip


@pytest.mark.parametrize(("question", "kind", "answered", "message"), FOLLOWS)
def test_what_a_second_turn_goes_on_from(question, kind, answered, message):
    if message is None:
        assert check_follows(question, "asked", kind, answered) is None
        return
    with pytest.raises(ValueError, match=message):
        check_follows(question, "asked", kind, answered)


def test_kinds_and_names():
    assert kind_of("what is to the left of the dog") == "object"
    assert kind_of("what is in the picture") == "object"
    assert kind_of("where are the dogs seen from the owl") == "relation"
    assert kind_of("is there an owl") == "presence" and kind_of("is there owl") is None
    assert named_in("where is the dog , seen from the owls ?") == ["dog", "owls"]
    assert named_in("and the other one ?") == [] == named_in("where is this ?")
