"""Questions about a scene with their answers, and foils: captions of which one fact is false."""

from dataclasses import dataclass, replace

from mmcourse.data.drawings import nouns
from mmcourse.data.language import (
    BACKGROUNDS,
    COLOURS,
    COUNTS,
    INVERSE,
    RELATIONS,
    SIZES,
    noun_table,
    plain,
)

NUMBERS = ("none", "one", "two", "three")
# how often we ask what is there, and not any noun; and keep a question whose answer is "one"
COUNT_WHAT_IS_THERE = 0.75
SEEK_WHAT_IS_THERE = 0.5
KEEP_ONE = 0.4


@dataclass(frozen=True)
class Question:
    """A question, its answer (one noun, word or phrase) and its kind."""

    text: str
    answer: str
    kind: str


@dataclass(frozen=True)
class Foil:
    """Two captions that differ in one fact: ``true`` holds, ``false`` does not."""

    true: str
    false: str
    kind: str  #: which fact differs


def questions(description, rng):
    """Questions of every kind that applies; none can be answered well without the image."""
    where = BACKGROUNDS[description.background][1][0]
    found = [Question("where is this ?", where, "background")]
    found += _ask_count(description, rng)
    found.append(_ask_presence(description, rng))
    found += _ask_colours(description)
    if description.relation is None:
        noun = description.groups[0].noun
        found.append(Question("what is in the picture ?", noun, "object"))
    else:
        found += _ask_relation(description)
    return found


def _ask_count(description, rng):
    """How many there are, often of what is there. Most answers "one" are left out."""
    noun = _choose_noun(description, COUNT_WHAT_IS_THERE, rng)
    counts = {group.noun: group.count for group in description.groups}
    number = NUMBERS[counts.get(noun, 0)]
    if number == "one" and rng.random() >= KEEP_ONE:
        return []
    return [Question(f"how many {noun_table()[noun].plural} are there ?", number, "count")]


def _ask_presence(description, rng):
    """Whether a thing is there; as often of what is there as of any noun."""
    present = [group.noun for group in description.groups]
    noun = _choose_noun(description, SEEK_WHAT_IS_THERE, rng)
    answer = "yes" if noun in present else "no"
    return Question(f"is there {noun_table()[noun].article} {noun} ?", answer, "presence")


def _choose_noun(description, share, rng):
    """A noun of the scene with this probability, else any noun."""
    if rng.random() < share:
        return rng.choice(description.groups).noun
    return rng.choice(nouns()).name


def _ask_colours(description):
    """The colour of each group that has a tint."""
    return [
        Question(f"what colour {_verb(group)} the {_name(group)} ?", group.colour, "colour")
        for group in description.groups
        if group.colour
    ]


def _ask_relation(description):
    """What is there, seen from the second group, and where the first group is."""
    first, second = description.groups
    phrase = RELATIONS[description.relation][1][0]
    what = f"what is {phrase} the {_name(second)} ?"
    where = f"where {_verb(first)} the {_name(first)} , seen from the {_name(second)} ?"
    return [Question(what, first.noun, "object"), Question(where, phrase, "relation")]


def _name(group):
    """The noun of a group, in the plural where it has several things."""
    return group.noun if group.count == 1 else noun_table()[group.noun].plural


def _verb(group):
    return "is" if group.count == 1 else "are"


def foils(description, rng):
    """A foil of every kind that applies.

    Kinds are object, count, background, colour, size, relation, order and binding.
    """
    index = rng.randrange(len(description.groups))
    changed = {
        "object": _with_group(description, index, noun=_other_noun(description, index, rng)),
        "count": _with_group(description, index, count=_other_count(description, index, rng)),
        "background": replace(description, background=_other_background(description, rng)),
    }
    group = description.groups[index]
    if group.colour:
        others = [colour for colour in COLOURS if colour != group.colour]
        changed["colour"] = _with_group(description, index, colour=rng.choice(others))
    if group.size in SIZES:
        opposite = "big" if group.size == "small" else "small"
        changed["size"] = _with_group(description, index, size=opposite)
    if description.relation:
        changed |= _rearranged(description)
    true = plain(description)
    return [Foil(true, plain(false), kind) for kind, false in changed.items()]


def _with_group(description, index, **changes):
    """The description with one group changed."""
    groups = list(description.groups)
    groups[index] = replace(groups[index], **changes)
    return replace(description, groups=tuple(groups))


def _other_noun(description, index, rng):
    """A noun of the same category that is not in the scene."""
    used = {group.noun for group in description.groups}
    category = noun_table()[description.groups[index].noun].category
    others = [noun.name for noun in nouns() if noun.category == category]
    return rng.choice([name for name in others if name not in used])


def _other_count(description, index, rng):
    count = description.groups[index].count
    return rng.choice([number for number in COUNTS if number != count])


def _other_background(description, rng):
    return rng.choice([name for name in BACKGROUNDS if name != description.background])


def _rearranged(description):
    """The foils of two groups, as a dict: their relation, their order, or their tints exchanged."""
    first, second = description.groups
    changed = {
        "relation": replace(description, relation=INVERSE[description.relation]),
        "order": replace(description, groups=(second, first)),
    }
    if first.colour and second.colour and first.colour != second.colour:
        exchanged = (
            replace(first, colour=second.colour),
            replace(second, colour=first.colour),
        )
        changed["binding"] = replace(description, groups=exchanged)
    return changed
