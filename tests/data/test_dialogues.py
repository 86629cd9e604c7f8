"""Dialogues: true of their scene, and such that the second turn needs the first."""

from collections import Counter

import pytest

from mmcourse.data.dialogues import TURNS, TwoThings, dialogues
from mmcourse.data.language import RELATIONS

SCENES = [TwoThings("val", 32)[index] for index in range(60)]
OPPOSITE = {
    "to the left of": "to the right of", "to the right of": "to the left of",
    "above": "below", "below": "above",
}  # fmt: skip


def test_scenes_have_two_single_things_in_two_colours():
    for scene in SCENES:
        first, second = scene.description.groups
        assert (first.count, second.count) == (1, 1) and first.noun != second.noun
        assert first.colour and second.colour and first.colour != second.colour


def test_every_kind_once_and_both_things_as_often():
    asked = Counter()
    for scene in SCENES:
        found = dialogues(scene)
        assert tuple(each.kind for each in found) == TURNS
        assert found == dialogues(scene)
        first = scene.description.groups[0]
        asked.update(found[0].second.answer == first.colour for _ in (0,))
    assert 15 < asked[True] < 45


def place(scene, noun):
    """The middle of the thing with this noun."""
    (thing,) = [thing for thing in scene.objects if thing.noun == noun]
    x0, y0, x1, y1 = thing.box
    return (x0 + x1) / 2, (y0 + y1) / 2


def side(scene, noun, seen_from):
    """Where one thing is from the other, by their boxes alone."""
    x, y = place(scene, noun)
    a, b = place(scene, seen_from)
    if abs(x - a) > abs(y - b):
        return "to the left of" if x < a else "to the right of"
    return "above" if y < b else "below"


def test_answers_are_those_of_the_boxes():
    for scene in SCENES:
        colours = {group.noun: group.colour for group in scene.description.groups}
        names = list(colours)
        other = {names[0]: names[1], names[1]: names[0]}
        one, two, three, four, five, six = dialogues(scene)
        for each in (one, two, three):
            assert each.first.answer == "yes" and each.first.kind == "presence"
        thing = {each.kind: named(each.first.text, names) for each in (one, two, three, four, six)}
        assert one.second.answer == colours[thing[one.kind]]
        assert two.second.answer == side(scene, thing[two.kind], other[thing[two.kind]])
        assert three.second.answer == other[thing[three.kind]]
        assert four.first.answer == colours[thing[four.kind]]
        assert four.second.answer == colours[other[thing[four.kind]]]
        assert five.second.answer == colours[five.first.answer]
        assert five.first.text.startswith(
            f"what is {side(scene, five.first.answer, other[five.first.answer])} the "
        )
        assert six.first.answer == side(scene, thing[six.kind], other[thing[six.kind]])
        assert six.second.answer == OPPOSITE[six.first.answer]
        assert four.history == ((four.first.text, four.first.answer),)


def named(text, names):
    """The one of the names that a question begins with."""
    return min((name for name in names if f" {name} " in text), key=text.index)


def test_the_second_turn_names_no_thing():
    nouns = {group.noun for scene in SCENES for group in scene.description.groups}
    for scene in SCENES:
        for each in dialogues(scene):
            assert not any(f" {noun} " in each.second.text for noun in nouns)
            assert each.second.answer in {
                *nouns, *(group.colour for group in scene.description.groups),
                *(phrases[0] for _, phrases in RELATIONS.values()),
            }  # fmt: skip


def test_no_composition():
    with pytest.raises(ValueError, match="train, val or style, got composition"):
        TwoThings("composition")
