"""The language of the scenes: from facts to captions, and from a caption back to its facts.

A scene is described by a :class:`Description`: groups of equal things, how two are arranged,
and where. All texts are made from it; :func:`parse` is the inverse. Captions are lower case,
one space between words; a comma is a word. For questions and false captions see
:mod:`mmcourse.data.questions`.
"""

from dataclasses import dataclass
from functools import cache
from operator import itemgetter

from mmcourse.data.drawings import nouns

# of each word: Mandarin, and English synonyms, the plainest first
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
    """``count`` equal things."""

    noun: str
    count: int = 1
    colour: str | None = None  #: the tint, None for natural colours
    size: str = "medium"  #: small, medium or big


@dataclass(frozen=True)
class Description:
    """What a scene holds: one group or two, how they are arranged, and where."""

    groups: tuple[Group, ...]
    relation: str | None  #: of the first group to the second, None for one group
    background: str

    @property
    def facts(self):
        """All facts that a full caption states, as a frozenset of tuples."""
        facts = {("background", self.background)}
        for group in self.groups:
            facts.add(("object", group.noun))
            facts.add(("count", group.noun, group.count))
            if group.colour:
                facts.add(("colour", group.noun, group.colour))
            if group.size in SIZES:  # medium is not said
                facts.add(("size", group.noun, group.size))
        if self.relation:
            first, second = self.groups
            facts.add(("relation", first.noun, self.relation, second.noun))
        return frozenset(facts)


@cache
def noun_table():
    """Dictionary from a noun's name to its :class:`~mmcourse.data.drawings.Noun`."""
    return {noun.name: noun for noun in nouns()}


# Speaking ------------------------------------------------------------------------------------


def noun_phrase(group, choose):
    """English noun phrase of a group, for example ``two big red cars``.

    ``choose`` picks one of some synonyms.
    """
    noun = noun_table()[group.noun]
    words = []
    if group.size in SIZES:
        words.append(choose(SIZES[group.size][1]))
    if group.colour:
        words.append(group.colour)
    words.append(noun.name if group.count == 1 else noun.plural)
    number = choose(COUNTS[group.count][1])
    if number == "a":
        number = _article(noun, words)
    return " ".join([number, *words])


def _article(noun, words):
    """The article before these words, of which the last is the noun."""
    if len(words) == 1:
        return noun.article
    return "an" if words[0][0] in "aeiou" else "a"


def clause(description, choose, swap=False):
    """The groups and their relation.

    ``swap`` starts from the second group and uses the inverse relation.
    """
    if description.relation is None:
        return noun_phrase(description.groups[0], choose)
    first, second = description.groups
    relation = description.relation
    if swap:
        first, second = second, first
        relation = INVERSE[relation]
    subject = noun_phrase(first, choose)
    preposition = choose(RELATIONS[relation][1])
    return f"{subject} {preposition} {noun_phrase(second, choose)}"


def captions(description, rng):
    """Five different English captions, each of which states every fact of the description."""
    choose = rng.choice
    where = BACKGROUNDS[description.background][1]
    first_is = _there(description.groups[0])
    last_is = _there(description.groups[-1])
    opening = "" if description.relation else "a picture of "
    return [
        f"{clause(description, choose)} {choose(where)}",
        f"{opening}{clause(description, choose, swap=True)} {choose(where)}",
        f"{choose(where)} , {clause(description, choose)}",
        f"{first_is} {clause(description, choose)} {choose(where)}",
        f"{choose(where)} {last_is} {clause(description, choose, swap=True)}",
    ]


def _there(group):
    """How a sentence about this group begins."""
    return "there is" if group.count == 1 else "there are"


def caption_zh(description):
    """One Mandarin caption, with the measure word that each noun asks for."""
    phrases = [_noun_phrase_zh(group) for group in description.groups]
    where = BACKGROUNDS[description.background][0]
    if description.relation is None:
        return f"{where}有{phrases[0]}。"
    side = RELATIONS[description.relation][0]
    return f"{where}，{phrases[0]}在{phrases[1]}的{side}。"


def _noun_phrase_zh(group):
    """Mandarin noun phrase of a group: number, measure word, colour, size, noun."""
    noun = noun_table()[group.noun]
    colour = COLOURS[group.colour] + "的" if group.colour else ""
    size = SIZES[group.size][0] if group.size in SIZES else ""
    if size and "的" in noun.zh:
        size += "的"
    number = COUNTS[group.count][0]
    return f"{number}{noun.measure}{colour}{size}{noun.zh}"


def plain(description):
    """The plainest caption: always the first synonym.

    So two captions of one foil differ in one fact only.
    """
    first = itemgetter(0)
    where = first(BACKGROUNDS[description.background][1])
    return f"{clause(description, first)} {where}"


# Understanding -------------------------------------------------------------------------------


@cache
def phrase_book():
    """Every phrase that carries a fact, and the length of the longest.

    A dictionary from the phrase's words, a tuple, to (kind, value).
    """
    book = {("an",): ("count", 1)}
    tables = {"size": SIZES, "count": COUNTS, "relation": RELATIONS, "background": BACKGROUNDS}
    for kind, table in tables.items():
        for value, (_, phrases) in table.items():
            for phrase in phrases:
                book[tuple(phrase.split())] = (kind, value)
    for colour in COLOURS:
        book[(colour,)] = ("colour", colour)
    for noun in nouns():
        book[tuple(noun.name.split())] = ("object", noun.name)
        book[tuple(noun.plural.split())] = ("object", noun.name)
    return book, max(len(words) for words in book)


def parse(caption):
    """Facts that a caption states, as a set of tuples; words that carry no fact are ignored.

    The longest phrase wins. Counts, sizes and colours belong to the noun right after them, a
    relation to those around.
    """
    facts = set()
    attributes = []  # of the noun that may come next
    previous = None  # the noun that a relation would start from
    relation = None  # waits for its second noun
    for kind, value in _phrases(caption.split()):
        if kind in ("count", "size", "colour"):
            attributes.append((kind, value))
            continue
        if kind == "object":
            facts.add(("object", value))
            facts |= {(name, value, content) for name, content in attributes}
            if relation and previous:
                facts.add(("relation", previous, relation, value))
            previous = value
            relation = None
        elif kind == "relation":
            relation = value
        elif kind == "background":
            facts.add(("background", value))
            previous = None
            relation = None
        attributes = []
    return facts


def _phrases(words):
    """The phrases of a text in turn, each as long as can be: (kind, value), or None twice."""
    book, longest = phrase_book()
    position = 0
    while position < len(words):
        for length in range(min(longest, len(words) - position), 0, -1):
            found = book.get(tuple(words[position : position + length]))
            if found:
                break
        yield found or (None, None)
        position += length


@cache
def vocabulary():
    """Every word that a caption can hold, sorted."""
    book, _ = phrase_book()
    return sorted({",", "of", "picture", "there", "is", "are"}.union(*book))


@cache
def noun_words():
    """The words that only the names of nouns have, singular and plural."""
    book, _ = phrase_book()
    in_names = set()
    other = {"a", "of"}
    for phrase, (kind, _) in book.items():
        if kind == "object":
            in_names.update(phrase)
        else:
            other.update(phrase)
    return frozenset(in_names - other)
