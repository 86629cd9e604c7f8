"""The teaching guide: its plans fit the chapters, whatever these say next year."""

import re
from functools import cache

import pytest

from tests.book.pages import ROOT, TEXTS, read_text, words_of

GUIDE = (ROOT / "book" / "teaching.md").read_text(encoding="utf-8")
NAMES = {path.stem for path in TEXTS}
SECTIONS = dict(re.findall(r"^## (.*)\n((?:(?!## ).*\n)*)", GUIDE, flags=re.MULTILINE))
PLANS = [title for title in SECTIONS if re.match(r"Six weeks|A term|Tracks", title)]


def linked(text):
    return re.findall(r"\((?:chapters/)?(\w+)\.py\)", text)


def rows(title):
    """The rows of a section's table, without its head, cell by cell."""
    lines = [line for line in SECTIONS[title].splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines[1:]]


@cache
def text_of(name):
    return words_of(read_text(TEXTS[0].with_stem(name)))


def before(name):
    """The chapters that a chapter's card names; those after it are only looked ahead to."""
    line = text_of(name).split("**Before you start:**")[1].split("\n\n")[0]
    number = name[:2] if name[0].isdigit() else "99"
    return {found for found in linked(line) if found[:2] < number and found[:2] != "00"}


def test_what_builds_on_what_is_on_the_cards():
    table = {linked(row[0])[0]: row[1:] for row in rows("What builds on what")}
    numbered = {name[:2]: name for name in table if name[0].isdigit()}
    assert sorted(map(int, numbered)) == list(range(1, 24))
    used = {name: set() for name in table}
    for name, (builds, _) in table.items():
        given = {f"{int(found):02d}" for found in re.findall(r"\d+", re.sub(r"\(.*\)", "", builds))}
        if name in NAMES:
            assert given == {found[:2] for found in before(name)}, name
        for found in given:
            used[numbered[found]].add(name[:2] if name[0].isdigit() else "23")
    for name, (_, users) in table.items():
        users = {f"{int(found):02d}" for found in re.findall(r"\d+", users.split(";")[-1])}
        assert users == used[name], name


@pytest.mark.parametrize("title", PLANS)
def test_a_plan_asks_for_nothing_before_its_turn(title):
    seen = set()
    for row in rows(title):
        chapters = linked(row[1])
        if title == "Tracks":
            seen = set()
        for name in sorted(chapters):
            if name in NAMES:
                assert before(name) <= seen, f"{row[0]}: {name}"
            seen.add(name)
        (asked,) = re.findall(r"\{measured\}`reading ([\w ]+)`", row[1])
        assert set(asked.split()) <= set(chapters), row[0]


def test_the_term_reads_the_whole_book_in_its_order():
    read = [name for row in rows("A term of fourteen weeks through the whole book")
            for name in linked(row[1]) if name[0].isdigit()]  # fmt: skip
    assert [int(name[:2]) for name in read] == list(range(24))
    assert {name for name in NAMES if name[0].isdigit()} <= set(read)


def test_the_exercises_of_the_plans_exist():
    named = re.findall(r"\*([^*|]+)\* \((\d+)\)", "".join(SECTIONS[title] for title in PLANS))
    assert len(named) > 20
    for title, number in named:
        for name in NAMES:
            if name.startswith(f"{int(number):02d}_"):
                assert f"{{exercise-start}} {title}\n" in text_of(name), (number, title)
