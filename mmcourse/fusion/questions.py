"""Questions about scenes that need both sides, and how they become tensors.

Every scene has two groups of things in two colours, one thing in the one and two in the other. So
the picture leaves two answers to each kind of question, and which of them is right depends on the
thing that the question names.
"""

from dataclasses import dataclass
from random import Random

import torch

from mmcourse.data.captioned import words_of
from mmcourse.data.drawings import nouns
from mmcourse.data.language import (
    BACKGROUNDS,
    COLOURS,
    INVERSE,
    RELATIONS,
    Description,
    Group,
    noun_table,
)
from mmcourse.data.scenes import EmojiScenes
from mmcourse.data.splits import training_colours
from mmcourse.text import WordTokenizer, pad

KINDS = ("colour", "count", "presence", "relation", "object")
COUNTS = ((1, 2), (2, 1))
TINTABLE = [noun.name for noun in nouns() if len(training_colours(noun.name)) > 4]
NAMES = tuple(name for name in TINTABLE if " " not in name)[::16]  #: the nouns, every sixteenth


@dataclass(frozen=True)
class TwoSidedQuestion:
    """A question, its answer, its kind, and the question without the thing that it names."""

    text: str
    answer: str
    kind: str
    blank: str  # what a reader of the picture alone is told, the kind


class TwoGroups(EmojiScenes):
    """Scenes of two groups, both tinted, in two colours, with one thing and two."""

    def __init__(self, split="train", size=64, only=NAMES):
        super().__init__(split, size, only)

    def describe(self, rng):
        """As in :class:`~mmcourse.data.scenes.EmojiScenes`."""
        names = self._choose_names(2, None, rng)
        colours = [rng.choice(training_colours(name)) for name in names]
        while colours[0] == colours[1]:
            colours[1] = rng.choice(training_colours(names[1]))
        groups = []
        for name, count, colour in zip(names, rng.choice(COUNTS), colours, strict=True):
            groups.append(Group(name, count, colour, "medium"))
        relation = rng.choice(tuple(RELATIONS))
        background = rng.choice(tuple(BACKGROUNDS))
        return Description(tuple(groups), relation, background)

    def ask(self, index):
        """The scene and one question of each kind about it; which thing is named is drawn."""
        scene = self[index]
        return scene, ask(scene.description, self.names, Random(f"{scene.key}/two sides"))


def ask(description, names, rng):
    """One question of each kind, a list; ``names`` are the nouns that may be asked for."""
    found = []
    for kind in KINDS:
        order = rng.choice(((0, 1), (1, 0)))
        relation = description.relation if order == (0, 1) else INVERSE[description.relation]
        this, other = (description.groups[number] for number in order)
        text, answer = WORDED[kind](this, other, relation, names, rng)
        found.append(TwoSidedQuestion(text, answer, kind, f"{kind} ?"))
    return found


def ask_colour(this, other, relation, names, rng):
    """The colour of a group."""
    return f"what colour is the {this.noun} ?", this.colour


def ask_count(this, other, relation, names, rng):
    """How many things a group has."""
    return f"is there one {this.noun} or two ?", ("one", "two")[this.count - 1]


def ask_presence(this, other, relation, names, rng):
    """Whether a thing is there; every second time of what is not."""
    if rng.random() < 0.5:
        return f"is there {noun_table()[this.noun].article} {this.noun} ?", "yes"
    absent = rng.choice([name for name in names if name not in (this.noun, other.noun)])
    return f"is there {noun_table()[absent].article} {absent} ?", "no"


def ask_relation(this, other, relation, names, rng):
    """Where a group is, seen from the other."""
    return f"where is the {this.noun} from the {other.noun} ?", RELATIONS[relation][1][0]


def ask_object(this, other, relation, names, rng):
    """What is there, seen from a group."""
    return f"what is {RELATIONS[relation][1][0]} the {other.noun} ?", this.noun


WORDED = {
    "colour": ask_colour,
    "count": ask_count,
    "presence": ask_presence,
    "relation": ask_relation,
    "object": ask_object,
}


def answers(names=NAMES):
    """All answers, a list: colours, numbers, yes and no, relations, nouns."""
    relations = [RELATIONS[name][1][0] for name in RELATIONS]
    return [*COLOURS, "one", "two", "yes", "no", *relations, *names]


def tokenizer(names=NAMES):
    """A number for each word of the questions."""
    fixed = words_of("what colour is the there one or two a an where from ?")
    relations = [word for name in RELATIONS for word in RELATIONS[name][1][0].split()]
    own = [word for name in names for word in name.split()]
    return WordTokenizer(list(dict.fromkeys([*fixed, *KINDS, *relations, *own])))


def tensors(asked, names=NAMES):
    """Questions as a dict of tensors.

    ``ids`` (Q, T) and ``mask`` (Q, T) of the text, ``blank_ids`` and ``blank_mask`` of the kind
    alone, ``answer`` (Q,), ``kind`` (Q,).
    """
    reader = tokenizer(names)
    numbers = {answer: number for number, answer in enumerate(answers(names))}
    ids, mask = pad([reader.encode(question.text) for question in asked])
    blank_ids, blank_mask = pad([reader.encode(question.blank) for question in asked])
    return {
        "ids": ids,
        "mask": mask,
        "blank_ids": blank_ids,
        "blank_mask": blank_mask,
        "answer": torch.tensor([numbers[question.answer] for question in asked]),
        "kind": torch.tensor([KINDS.index(question.kind) for question in asked]),
    }
