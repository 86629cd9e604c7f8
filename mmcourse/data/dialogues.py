"""Dialogues of two turns about a scene: the second turn means something only after the first.

Each scene has two single things in two colours. So "it", "the other one" and a question without a
verb can mean either of them, and the picture leaves two answers to most second turns.
"""

from dataclasses import dataclass
from random import Random

from mmcourse.data.drawings import nouns
from mmcourse.data.language import BACKGROUNDS, INVERSE, RELATIONS, Description, Group, noun_table
from mmcourse.data.questions import Question
from mmcourse.data.scenes import EmojiScenes
from mmcourse.data.splits import training_colours

#: What a second turn asks for.
TURNS = (
    "its colour",
    "its place",
    "the other thing",
    "the other colour",
    "the colour of the answer",
    "the other way round",
)
TINTABLE = tuple(noun.name for noun in nouns() if len(training_colours(noun.name)) > 1)


@dataclass(frozen=True)
class Dialogue:
    """Two questions with their answers; ``kind`` is one of ``TURNS``, that of the second."""

    first: Question
    second: Question
    kind: str

    @property
    def history(self):
        """A tuple of one pair, question and answer of the first turn, as an answerer takes it."""
        return ((self.first.text, self.first.answer),)


class TwoThings(EmojiScenes):
    """Scenes of two single things, both tinted, in two colours: of ``train``, ``val`` or ``style``.

    ValueError for ``composition``, whose scenes have something else that is new.
    """

    def __init__(self, split="train", size=64, only=None):
        if split == "composition":
            raise ValueError("dialogues are of train, val or style, got composition: take one")
        super().__init__(split, size, only)
        self.names = [name for name in self.names if name in TINTABLE]

    def describe(self, rng):
        """As in :class:`~mmcourse.data.scenes.EmojiScenes`."""
        names = self._choose_names(2, None, rng)
        colours = [rng.choice(training_colours(name)) for name in names]
        while colours[0] == colours[1]:
            colours[1] = rng.choice(training_colours(names[1]))
        pairs = zip(names, colours, strict=True)
        groups = tuple(Group(name, 1, colour, "medium") for name, colour in pairs)
        relation = rng.choice(tuple(RELATIONS))
        return Description(groups, relation, rng.choice(tuple(BACKGROUNDS)))


def dialogues(scene):
    """One dialogue for each of ``TURNS`` about a scene of :class:`TwoThings`, a list.

    Which of the two things the first turn is about is drawn from the scene's key.
    """
    rng = Random(f"{scene.key}/dialogues")
    found = []
    for kind in TURNS:
        order = rng.choice(((0, 1), (1, 0)))
        this, other = (scene.description.groups[number] for number in order)
        relation = scene.description.relation
        if order == (1, 0):
            relation = INVERSE[relation]
        first, second = WORDED[kind](this, other, relation)
        found.append(Dialogue(first, second, kind))
    return found


def its_colour(this, other, relation):
    """Is there a dog? What colour is it?"""
    return is_there(this), Question("what colour is it ?", this.colour, "colour")


def its_place(this, other, relation):
    """Is there a dog? Where is it, seen from the other one?"""
    text = "where is it , seen from the other one ?"
    return is_there(this), Question(text, phrase_of(relation), "relation")


def the_other_thing(this, other, relation):
    """Is there a dog? What is the other one?"""
    return is_there(this), Question("what is the other one ?", other.noun, "object")


def the_other_colour(this, other, relation):
    """What colour is the dog? And the other one?"""
    first = Question(f"what colour is the {this.noun} ?", this.colour, "colour")
    return first, Question("and the other one ?", other.colour, "colour")


def the_colour_of_the_answer(this, other, relation):
    """What is to the left of the cat? What colour is it?"""
    first = Question(f"what is {phrase_of(relation)} the {other.noun} ?", this.noun, "object")
    return first, Question("what colour is it ?", this.colour, "colour")


def the_other_way_round(this, other, relation):
    """Where is the dog, seen from the cat? And the other one?"""
    text = f"where is the {this.noun} , seen from the {other.noun} ?"
    first = Question(text, phrase_of(relation), "relation")
    return first, Question("and the other one ?", phrase_of(INVERSE[relation]), "relation")


def is_there(group):
    """Whether this thing is there, which it is."""
    noun = noun_table()[group.noun]
    return Question(f"is there {noun.article} {noun.name} ?", "yes", "presence")


def phrase_of(relation):
    """The plainest words for a relation."""
    return RELATIONS[relation][1][0]


WORDED = {
    "its colour": its_colour,
    "its place": its_place,
    "the other thing": the_other_thing,
    "the other colour": the_other_colour,
    "the colour of the answer": the_colour_of_the_answer,
    "the other way round": the_other_way_round,
}
