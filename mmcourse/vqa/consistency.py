"""Does an answer contradict another? Pairs of questions of which one answer decides the other.

Whether two answers agree is seen without knowing the truth, after Ribeiro et al. 2019.
"""

from dataclasses import dataclass
from random import Random

from mmcourse.data.drawings import nouns
from mmcourse.data.language import RELATIONS, noun_table, phrase_book
from mmcourse.vqa.conversation import Asked

PHRASES = tuple(phrases[0] for _, phrases in RELATIONS.values())
OPPOSITE = {
    "to the left of": "to the right of",
    "to the right of": "to the left of",
    "above": "below",
    "below": "above",
}
PAIRS = ("none and no", "there and back", "what and where", "what and whether")


@dataclass(frozen=True)
class Probe:
    """Two questions about the scene in row ``scene``, and what kind of pair they are.

    ``second`` may hold ``{}``, the place of the answer to the first.
    """

    kind: str
    scene: int
    first: str
    second: str

    def follow(self, answer):
        """The second question, when this was the answer to the first."""
        return self.second.format(answer)

    def agrees(self, first, second):
        """Whether these two answers can both be true."""
        match self.kind:
            case "none and no":
                return (first == "no") == (second == "none")
            case "there and back":
                return first in OPPOSITE and second == OPPOSITE[first]
            case "what and where":
                return is_noun(first) and second == self.asked_relation
        return is_noun(first) and second == "yes"

    @property
    def asked_relation(self):
        """The relation that the first question names, of ``what and where``."""
        return next(phrase for phrase in PHRASES if self.first.startswith(f"what is {phrase} "))


def is_noun(text):
    """Whether a text is the name of one thing."""
    book, _ = phrase_book()
    return book.get(tuple(text.split()), (None, None)) == ("object", text)


def probes(scenes):
    """Pairs of questions about each scene, a list: of every kind that applies, one.

    Every second time the first kind asks for a thing that is not there.
    """
    found = []
    for row, scene in enumerate(scenes):
        rng = Random(f"{scene.key}/consistency")
        groups = scene.description.groups
        noun = noun_table()[absent_noun(scene, rng)]
        if rng.random() < 0.5:
            noun = noun_table()[rng.choice(groups).noun]
        is_there = f"is there {noun.article} {noun.name} ?"
        how_many = f"how many {noun.plural} are there ?"
        found.append(Probe("none and no", row, is_there, how_many))
        if len(groups) == 1:
            what = "what is in the picture ?"
        else:
            first, second = (named(group) for group in groups)
            phrase = RELATIONS[scene.description.relation][1][0]
            what = f"what is {phrase} the {second} ?"
            found.append(Probe("there and back", row, where(first, second), where(second, first)))
            if groups[0].count == 1:  # the answer is a name in the singular
                found.append(Probe("what and where", row, what, where("{}", second)))
        found.append(Probe("what and whether", row, what, "is there a {} ?"))
    return found


def absent_noun(scene, rng):
    """A noun that is not in the scene."""
    present = {group.noun for group in scene.description.groups}
    return rng.choice([noun.name for noun in nouns() if noun.name not in present])


def named(group):
    """The noun of a group, in the plural where it has several things."""
    return group.noun if group.count == 1 else noun_table()[group.noun].plural


def where(first, second):
    """The question where the first is, in the number that its name has."""
    plurals = {noun.plural for noun in nouns()} - {noun.name for noun in nouns()}
    verb = "are" if first in plurals else "is"
    return f"where {verb} the {first} , seen from the {second} ?"


def with_article(question):
    """The question with ``an`` where English wants it."""
    head, found, noun = question.partition("is there a ")
    if not found or noun.removesuffix(" ?") not in noun_table():
        return question
    article = noun_table()[noun.removesuffix(" ?")].article
    return f"{head}is there {article} {noun}"


def check(answer_all, found):
    """Ask both questions of each probe: a list of (probe, first answer, second answer).

    ``answer_all`` takes a list of :class:`~mmcourse.vqa.conversation.Asked` and gives texts. The
    two questions are asked apart, each without a history.
    """
    firsts = answer_all([Asked(probe.scene, probe.first, "", "first") for probe in found])
    follow = [with_article(probe.follow(a)) for probe, a in zip(found, firsts, strict=True)]
    pairs = zip(found, follow, strict=True)
    seconds = answer_all([Asked(probe.scene, text, "", "second") for probe, text in pairs])
    return list(zip(found, firsts, seconds, strict=True))
