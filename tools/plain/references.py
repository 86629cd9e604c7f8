"""Works of the bibliography in words: cited in a sentence, and in full."""

from functools import cache

from pybtex.database import parse_file
from pybtex.richtext import Text

from tools.plain.places import BIBLIOGRAPHY

ALL_NAMED = 6  # authors; where there are more, only the first is named
HOLDERS = ("journal", "booktitle", "publisher", "institution")  # what a work appeared in


@cache
def works():
    """The works of the bibliography by their keys."""
    return parse_file(str(BIBLIOGRAPHY)).entries


def work(key):
    """The work with this key. Raises ValueError when the bibliography lacks it."""
    if key not in works():
        raise ValueError(f"no work {key!r} in {BIBLIOGRAPHY.name}: add it there")
    return works()[key]


def in_sentence(key):
    """The work as part of a sentence: Vaswani et al. (2017)."""
    return f"{authors(key)} ({work(key).fields['year']})"


def in_brackets(keys):
    """Works in brackets, as a source beside a statement: (Ba et al., 2016; He et al., 2016)."""
    return "(" + "; ".join(f"{authors(key)}, {work(key).fields['year']}" for key in keys) + ")"


def authors(key):
    """The family names of a work's authors: the one, both, or the first "et al."."""
    names = [family_name(person) for person in work(key).persons["author"]]
    if len(names) == 1:
        return names[0]
    if len(names) == 2:
        return f"{names[0]} and {names[1]}"
    return f"{names[0]} et al."


def in_full(key):
    """The work as a line of a list: authors, year, title, where it appeared, address."""
    entry = work(key)
    people = entry.persons["author"]
    names = [full_name(person) for person in people]
    if len(names) > ALL_NAMED:
        who = f"{names[0]} et al."
    elif len(names) > 1:
        who = f"{', '.join(names[:-1])} and {names[-1]}"
    else:
        who = names[0]
    parts = [f"{who} ({entry.fields['year']})", f"*{words(entry.fields['title'])}*"]
    where = appeared(entry)
    if where:
        parts.append(where)
    if "url" in entry.fields:
        parts.append(f"<{entry.fields['url']}>")
    return " ".join(part if part.endswith((".", "?*")) else f"{part}." for part in parts)


def order(key):
    """What a list of references is sorted by: the first author's family name, then the year."""
    return family_name(work(key).persons["author"][0]).casefold(), work(key).fields["year"], key


def appeared(entry):
    """Where a work appeared: the journal with volume and pages, the conference, the publisher."""
    fields = entry.fields
    holders = [fields[kind] for kind in HOLDERS if kind in fields]
    where = words(holders[0]) if holders else ""
    if "volume" in fields:
        where += f" {fields['volume']}"
        if "number" in fields:
            where += f"({fields['number']})"
    if "pages" in fields:
        where += f", {words(fields['pages'])}"
    return where


def family_name(person):
    return words(" ".join([*person.prelast_names, *person.last_names]))


def full_name(person):
    parts = [*person.first_names, *person.middle_names, *person.prelast_names, *person.last_names]
    return words(" ".join(parts))


def words(text):
    """A field of the bibliography, which is LaTeX, as plain words."""
    return str(Text.from_latex(text))
