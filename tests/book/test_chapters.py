"""Every chapter's text has its parts, in plain words and short cells."""

import re
from pathlib import Path

import pytest

from tests.book.pages import (
    CASES,
    CHAPTERS,
    OVERVIEW,
    ROOT,
    TEXTS,
    code_of,
    read_notebook,
    read_page,
    read_text,
    words_of,
)

EACH = pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.stem)
EACH_CHAPTER = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
EACH_CASE = pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)


def tags(cell):
    return set(cell.metadata.get("tags", []))


# Cells -----------------------------------------------------------------------------------------


@EACH
def test_text_names_its_notebook(path):
    head = dict(read_text(path).metadata["course"])
    head.pop("module", None)  # of a chapter that has none
    assert head == {"notebook": f"notebooks/{path.stem}.ipynb"}


@EACH_CHAPTER
def test_a_chapter_has_a_module_and_tests_or_says_that_it_has_none(path):
    name = path.stem[3:]
    module = [ROOT / "mmcourse" / f"{name}.py", ROOT / "mmcourse" / name / "__init__.py"]
    tests = [ROOT / "tests" / f"test_{name}.py", ROOT / "tests" / name]
    there = [any(map(Path.exists, places)) for places in (module, tests)]
    says = read_text(path).metadata["course"].get("module", "its own")
    assert (says, there) in [("its own", [True, True]), ("none", [False, False])]


@EACH
def test_cells_are_short(path):
    for cell in code_of(read_text(path)):
        assert len(cell.source.splitlines()) <= 25, cell.source


@EACH
def test_shown_code_fits_a_page(path):
    for cell in code_of(read_text(path)):
        if not tags(cell) & {"remove-cell", "remove-input"}:
            widest = max(map(len, cell.source.splitlines()), default=0)
            assert widest <= 110, f"{widest} characters:\n{cell.source}"


@EACH
def test_pictures_have_alternative_text(path):
    for cell in code_of(read_page(path)):
        kinds = [kind for output in cell.outputs for kind in output.get("data", {})]
        if any(kind.startswith("image/") for kind in kinds):
            text = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
            assert len(text) >= 15, f"no alternative text in the metadata of: {cell.source}"


# Words -----------------------------------------------------------------------------------------

# Praise and filler, and American spelling. What stands in code is left out.
BANNED = re.compile(
    r"""\b(powerful|exciting|amazing|fascinating|elegant|seamless|obviously|trivially|simply|
    basically|actually|of\ course|note\ that|in\ order\ to|delve|leverage[sd]?|cutting.edge|
    state.of.the.art|crucial|colors?|colored|gray|behaviors?|neighbors?|centers?|labeled|modeling|
    \w+(?:al|im|en|gn|or|ar)iz(?:e|es|ed|ing))\b""",
    flags=re.IGNORECASE | re.VERBOSE,
)
PROSE = [*TEXTS, *(ROOT / "book").glob("*.md"), ROOT / "index.md", ROOT / "README.md"]


def prose(text):
    code = r"(?sm)^(`{3,})(?:[a-z]+)?\n.*?^\1$|`[^`]*`|\$[^$]*\$|\]\([^)]*\)"
    return re.sub(code, "", text)


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.stem)
def test_words_are_plain(path):
    is_chapter = path.suffix == ".py"
    text = words_of(read_text(path)) if is_chapter else path.read_text(encoding="utf-8")
    assert [match[0] for match in BANNED.finditer(prose(text))] == []
    assert re.findall(r".*\d%.*", prose(text)) == [], "a space stands between a number and its %"


def test_banned_words_are_found():
    text = "Note that normalizing is, of course, simply a gray colored size."
    found = [match[0] for match in BANNED.finditer(text)]
    assert found == ["Note that", "normalizing", "of course", "simply", "gray", "colored"]
    assert re.findall(r"\d%", prose("From 5 % to {glue:text}`x:.1%`, `5%`, $5%$ and 6%")) == ["6%"]


# Parts -----------------------------------------------------------------------------------------


@EACH_CHAPTER
def test_chapter_has_its_parts(path):
    chapter = read_text(path)
    text = words_of(chapter)
    assert text.startswith("# ")
    for part in (":class-card: chapter-card", "**Goals**", "**Before you start:**"):
        assert part in text
    assert {"reading", "seconds"} <= set(re.findall(r"\{measured\}`(\w+)`", text))
    sections = re.findall(r"^## (.*)", text, flags=re.MULTILINE)
    end = ["What goes wrong", "Exercises", "Quiz", "Take-aways", "Further reading"]
    assert sections[-5:] == end
    assert re.search(r"^\$\$ \(eq-", text, flags=re.MULTILINE), "no numbered formula"
    sources = [cell for cell in code_of(chapter) if re.match(r"show_source\(", cell.source)]
    assert sources, "no source of the package is shown"
    assert "{cite" in text.split("## Further reading")[1]


@EACH_CHAPTER
def test_every_exercise_has_level_minutes_and_solution(path):
    assert 4 <= count_exercises(words_of(read_text(path))) <= 8


def count_exercises(text):
    """How many exercises a text has, each with its level, its minutes and a folded solution."""
    task = r"\{exercise-start\}.*?\n:label: (\S+)(.*?)\{exercise-end\}"
    exercises = re.findall(task, text, flags=re.DOTALL)
    for label, words in exercises:
        level = re.search(r"\*(Easy|Medium|Hard), \d+ minutes\.\*", words)
        assert level, f"{label}: level and minutes"
    solutions = re.findall(r"\{solution-start\} (\S+)\n:label: \S+\n:class: dropdown", text)
    assert solutions == [label for label, _ in exercises]
    assert text.count("{solution-end}") == len(solutions)
    return len(exercises)


@EACH_CHAPTER
def test_every_quiz_option_is_explained(path):
    questions = words_of(read_text(path)).split(":class-card: quiz")[1:]
    assert 4 <= len(questions) <= 6
    for question in questions:
        options = re.findall(r"\{dropdown\} (.+)\n(.*)", question)
        assert 3 <= len(options) <= 5, question
        verdicts = [re.match(r"\*\*(Yes|No)\.\*\* \S", answer) for _, answer in options]
        assert all(verdicts), question
        right = [verdict for verdict in verdicts if verdict[1] == "Yes"]
        assert len(right) == 1 or "all that" in question, question


@EACH_CHAPTER
def test_the_right_option_is_the_longest_in_at_most_half_of_a_quiz(path):
    questions = words_of(read_text(path)).split(":class-card: quiz")[1:]
    longest = [question for question in questions if right_is_longest(question)]
    assert 2 * len(longest) <= len(questions), "\n".join(longest)


def right_is_longest(question):
    """Whether a right option has more letters than every wrong one."""
    options = re.findall(r"\{dropdown\} (.+)\n\*\*(Yes|No)", question)
    right = [len(option) for option, verdict in options if verdict == "Yes"]
    wrong = [len(option) for option, verdict in options if verdict == "No"]
    return max(right, default=0) > max(wrong, default=0)


def test_a_right_option_that_is_the_longest_is_found():
    question = (
        ":::{dropdown} An answer\n**Yes.** It is.\n:::\n:::{dropdown} Another\n**No.** Not.\n:::"
    )
    assert right_is_longest(question)
    assert not right_is_longest(question.replace("Another", "Another one"))


# Case studies ----------------------------------------------------------------------------------

CASE_SECTIONS = (
    "The question",
    "The data",
    "The baseline",
    "What is compared",
    "What it reaches",
    "What goes wrong",
    "What this is not",
    "Exercises",
    "Further reading",
)


@EACH_CASE
def test_a_case_study_has_its_parts(path):
    chapter = read_text(path)
    text = words_of(chapter)
    assert text.startswith("# Case study: ")
    assert "At the end you can " in text
    for part in (":class-card: chapter-card", "**Goals**", "**Before you start:**"):
        assert part in text
    assert {"reading", "seconds"} <= set(re.findall(r"\{measured\}`(\w+)`", text))
    sections = re.findall(r"^## (.*)", text, flags=re.MULTILINE)
    assert tuple(section for section in sections if section in CASE_SECTIONS) == CASE_SECTIONS
    assert sections[-4:] == list(CASE_SECTIONS[-4:])
    limits = text.split("## What this is not")[1].split("## Exercises")[0]
    assert limits.count("\n- ") >= 3, "name three limits at least"
    assert "{cite" in text.split("## Further reading")[1]
    assert 2 <= count_exercises(text) <= 3


@EACH_CASE
def test_a_case_study_has_intervals_and_its_module_and_tests(path):
    code = "\n".join(cell.source for cell in code_of(read_text(path)))
    name = path.stem.removeprefix("case_")
    assert "bootstrap_groups(" in code
    assert f"from mmcourse.case_studies.{name} import" in code
    assert (ROOT / "mmcourse" / "case_studies" / f"{name}.py").is_file()
    assert (ROOT / "tests" / f"test_case_studies_{name}.py").is_file()


@EACH_CASE
def test_a_case_study_is_short(path):
    assert 6 <= read_notebook(path).metadata["mmcourse"]["reading"] <= 20


def test_the_overview_of_the_case_studies_names_each():
    text = words_of(read_text(ROOT / "book" / "chapters" / f"{OVERVIEW}.py"))
    assert text.startswith("# Case studies") and "**Goals**" in text
    named = re.findall(r"^\| \[.*?\]\((case_\w+)\.py\)", text, flags=re.MULTILINE)
    assert sorted(named) == [path.stem for path in CASES]
