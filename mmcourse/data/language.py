"""The language of the scenes: from facts to captions, questions and foils, and from a caption back to its facts.

A scene is described by a :class:`Description`: groups of equal things, how two are arranged, and where. All texts are
made from it; :func:`parse` is the inverse. Captions are lower case, one space between words; a comma is a word.
"""

from dataclasses import dataclass, replace
from functools import cache
from operator import itemgetter

from mmcourse.data.drawings import nouns

COLOURS = {
    "red": "红色",
    "orange": "橙色",
    "yellow": "黄色",
    "green": "绿色",
    "blue": "蓝色",
    "purple": "紫色",
    "pink": "粉色",
    "brown": "棕色",
}
SIZES = {"small": ("小", ("small", "little")), "big": ("大", ("big", "large"))}
COUNTS = {1: ("一", ("a", "one")), 2: ("两", ("two",)), 3: ("三", ("three",))}
RELATIONS = {
    "left of": ("左边", ("to the left of", "left of")),
    "right of": ("右边", ("to the right of", "right of")),
    "above": ("上面", ("above", "over")),
    "below": ("下面", ("below", "under")),
}
INVERSE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
BACKGROUNDS = {
    "grass": ("草地上", ("on the grass", "in a meadow")),
    "beach": ("沙滩上", ("on a beach", "on the sand")),
    "snow": ("雪地里", ("in the snow", "in winter")),
    "night": ("夜空下", ("at night", "under the stars")),
    "sea": ("海面上", ("at sea", "on the water")),
    "room": ("房间里", ("in a room", "on a wooden floor")),
    "road": ("马路上", ("on a road", "in the street")),
    "sunset": ("夕阳下", ("at sunset", "in the evening light")),
    "rain": ("雨中", ("in the rain", "on a rainy day")),
    "paper": ("白纸上", ("on plain paper", "on a blank page")),
    "dots": ("圆点纸上", ("on dotted paper", "on a page with dots")),
    "stripes": ("条纹纸上", ("on striped paper", "on a page with stripes")),
}


@dataclass(frozen=True)
class Group:
    """``count`` equal things: a noun, and its tint (or None) and size ("small", "medium" or "big")."""

    noun: str
    count: int = 1
    colour: str | None = None
    size: str = "medium"


@dataclass(frozen=True)
class Description:
    """One or two groups, the relation of the first to the second (None for one group), and the background."""

    groups: tuple[Group, ...]
    relation: str | None
    background: str

    @property
    def facts(self):
        """All facts that a full caption states, as a frozenset of tuples."""
        facts = {("background", self.background)}
        for group in self.groups:
            facts |= {("object", group.noun), ("count", group.noun, group.count)}
            facts |= {("colour", group.noun, group.colour)} if group.colour else set()
            facts |= {("size", group.noun, group.size)} if group.size in SIZES else set()
        facts |= (
            {("relation", self.groups[0].noun, self.relation, self.groups[1].noun)}
            if self.relation
            else set()
        )
        return frozenset(facts)


@dataclass(frozen=True)
class Question:
    """A question, its answer (one noun, word or phrase) and its kind."""

    text: str
    answer: str
    kind: str


@dataclass(frozen=True)
class Foil:
    """Two captions that differ in one fact: ``true`` holds, ``false`` does not; ``kind`` says which fact."""

    true: str
    false: str
    kind: str


@cache
def noun_table():
    """Dictionary from a noun's name to its :class:`~mmcourse.data.drawings.Noun`."""
    return {noun.name: noun for noun in nouns()}


def noun_phrase(group, choose):
    """English noun phrase of a group, for example ``two big red cars``; ``choose`` picks one of some synonyms."""
    noun = noun_table()[group.noun]
    words = [choose(SIZES[group.size][1])] if group.size in SIZES else []
    words += [group.colour] if group.colour else []
    words.append(noun.name if group.count == 1 else noun.plural)
    number = choose(COUNTS[group.count][1])
    if number == "a":
        number = noun.article if len(words) == 1 else "an" if words[0][0] in "aeiou" else "a"
    return " ".join([number, *words])


def clause(description, choose, swap=False):
    """The groups and their relation; ``swap`` starts from the second group and uses the inverse relation."""
    groups, relation = description.groups, description.relation
    if relation is None:
        return noun_phrase(groups[0], choose)
    if swap:
        groups, relation = groups[::-1], INVERSE[relation]
    return f"{noun_phrase(groups[0], choose)} {choose(RELATIONS[relation][1])} {noun_phrase(groups[1], choose)}"


def captions(description, rng):
    """Five different English captions, each of which states every fact of the description."""
    place, choose = BACKGROUNDS[description.background][1], rng.choice
    there = [f"there {'is' if group.count == 1 else 'are'}" for group in description.groups]
    opening = "" if description.relation else "a picture of "
    return [
        f"{clause(description, choose)} {choose(place)}",
        f"{opening}{clause(description, choose, swap=True)} {choose(place)}",
        f"{choose(place)} , {clause(description, choose)}",
        f"{there[0]} {clause(description, choose)} {choose(place)}",
        f"{choose(place)} {there[-1]} {clause(description, choose, swap=True)}",
    ]


def caption_zh(description):
    """One Mandarin caption, with the measure word that each noun asks for."""
    phrases = []
    for group in description.groups:
        noun = noun_table()[group.noun]
        colour = COLOURS[group.colour] + "的" if group.colour else ""
        size = SIZES[group.size][0] if group.size in SIZES else ""
        size += "的" if size and "的" in noun.zh else ""
        phrases.append(f"{COUNTS[group.count][0]}{noun.measure}{colour}{size}{noun.zh}")
    place = BACKGROUNDS[description.background][0]
    if description.relation is None:
        return f"{place}有{phrases[0]}。"
    return f"{place}，{phrases[0]}在{phrases[1]}的{RELATIONS[description.relation][0]}。"


def questions(description, rng):
    """Questions of every kind that applies; none can be answered well without the image."""
    table, groups = noun_table(), description.groups
    names = [group.noun if group.count == 1 else table[group.noun].plural for group in groups]
    verbs = ["is" if group.count == 1 else "are" for group in groups]
    counts = {group.noun: group.count for group in groups}
    result = [Question("where is this ?", BACKGROUNDS[description.background][1][0], "background")]
    counted = rng.choice(groups).noun if rng.random() < 0.75 else rng.choice(nouns()).name
    number = ("none", "one", "two", "three")[counts.get(counted, 0)]
    if number != "one" or rng.random() < 0.4:
        result.append(Question(f"how many {table[counted].plural} are there ?", number, "count"))
    sought = rng.choice(list(counts)) if rng.random() < 0.5 else rng.choice(nouns()).name
    answer = "yes" if sought in counts else "no"
    result.append(Question(f"is there {table[sought].article} {sought} ?", answer, "presence"))
    result += [
        Question(f"what colour {verb} the {name} ?", group.colour, "colour")
        for group, name, verb in zip(groups, names, verbs, strict=True)
        if group.colour
    ]
    if not description.relation:
        return [*result, Question("what is in the picture ?", groups[0].noun, "object")]
    phrase = RELATIONS[description.relation][1][0]
    return [
        *result,
        Question(f"what is {phrase} the {names[1]} ?", groups[0].noun, "object"),
        Question(
            f"where {verbs[0]} the {names[0]} , seen from the {names[1]} ?", phrase, "relation"
        ),
    ]


def foils(description, rng):
    """A foil of every kind that applies: object, count, background, colour, size, relation, order, binding."""

    def with_group(index, **changes):
        groups = list(description.groups)
        groups[index] = replace(groups[index], **changes)
        return replace(description, groups=tuple(groups))

    index = rng.randrange(len(description.groups))
    group, used = description.groups[index], {group.noun for group in description.groups}
    category = noun_table()[group.noun].category
    others = [noun.name for noun in nouns() if noun.category == category and noun.name not in used]
    backgrounds = [name for name in BACKGROUNDS if name != description.background]
    changed = {
        "object": with_group(index, noun=rng.choice(others)),
        "count": with_group(index, count=rng.choice([n for n in COUNTS if n != group.count])),
        "background": replace(description, background=rng.choice(backgrounds)),
    }
    if group.colour:
        changed["colour"] = with_group(
            index, colour=rng.choice([c for c in COLOURS if c != group.colour])
        )
    if group.size in SIZES:
        changed["size"] = with_group(index, size="big" if group.size == "small" else "small")
    if description.relation:
        first, second = description.groups
        changed["relation"] = replace(description, relation=INVERSE[description.relation])
        changed["order"] = replace(description, groups=(second, first))
        if first.colour and second.colour and first.colour != second.colour:
            changed["binding"] = replace(
                description,
                groups=(replace(first, colour=second.colour), replace(second, colour=first.colour)),
            )
    return [Foil(plain(description), plain(false), kind) for kind, false in changed.items()]


def plain(description):
    """The plainest caption: always the first synonym, so that two captions of one foil differ in one fact only."""
    return f"{clause(description, itemgetter(0))} {BACKGROUNDS[description.background][1][0]}"


@cache
def phrase_book():
    """Every phrase that carries a fact, as a dictionary from its words to (kind, value)."""
    book = {}
    for kind, table in (
        ("size", SIZES),
        ("count", COUNTS),
        ("relation", RELATIONS),
        ("background", BACKGROUNDS),
    ):
        for value, (_, phrases) in table.items():
            book |= {tuple(phrase.split()): (kind, value) for phrase in phrases}
    book |= {("an",): ("count", 1)} | {(colour,): ("colour", colour) for colour in COLOURS}
    for noun in nouns():
        book |= {tuple(form.split()): ("object", noun.name) for form in (noun.name, noun.plural)}
    return book, max(map(len, book))


def parse(caption):
    """Facts that a caption states, as a set of tuples; words that carry no fact are ignored.

    The longest phrase wins. Counts, sizes and colours belong to the noun right after them, a relation to those around.
    """
    book, longest = phrase_book()
    words, facts, position = caption.split(), set(), 0
    attributes, previous, relation = [], None, None
    while position < len(words):
        for length in range(min(longest, len(words) - position), 0, -1):
            kind, value = book.get(tuple(words[position : position + length]), (None, None))
            if kind:
                break
        if kind == "object":
            facts |= {("object", value)} | {(name, value, content) for name, content in attributes}
            if relation and previous:
                facts.add(("relation", previous, relation, value))
            previous, relation = value, None
        elif kind == "relation":
            relation = value
        elif kind == "background":
            facts.add(("background", value))
            previous = relation = None
        attributes = [*attributes, (kind, value)] if kind in ("count", "size", "colour") else []
        position += length
    return facts


@cache
def vocabulary():
    """Every word that a caption can hold, sorted."""
    return sorted({",", "of", "picture", "there", "is", "are"}.union(*phrase_book()[0]))


@cache
def noun_words():
    """The words that only the names of nouns have, singular and plural."""
    words = {
        kind: {
            word
            for phrase, (k, _) in phrase_book()[0].items()
            if (k == "object") == kind
            for word in phrase
        }
        for kind in (True, False)
    }
    return frozenset(words[True] - words[False] - {"a", "of"})
