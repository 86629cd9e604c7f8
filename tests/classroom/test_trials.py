"""The graders under test: solutions, empty notebooks and wrong answers."""

import copy

import nbformat
import pytest

from tools.classroom import isolation, trials
from tools.classroom.assignments import answers_in, assignments, is_test, name_of, teachers_notebook
from tools.classroom.noting import calls_of

ALL = assignments()
EACH = pytest.mark.parametrize("assignment", ALL.values(), ids=ALL)
UNTRAINED = """
from mmcourse.hub import load
captioner = load("scenes")
def train(model, lessons, steps, rate):
    pass
"""
TRAININGS = {  # answers to A2, and which tests of the training they fail
    "the solution": ({}, []),
    "a mistake in the first part": ({"patchify": "reshape alone"}, []),
    "no causal mask": ({"decoder_block": "no causal mask"}, ["captioner-tests"]),
    "weights that never change": ({"train": "no step"}, ["captioner-tests", "captioner-hidden"]),
    "the captioner of the package": (
        {"training": UNTRAINED},
        ["captioner-tests", "captioner-hidden"],
    ),
}


@EACH
@pytest.mark.parametrize("seed", [0, 1, 4711])
def test_the_solution_passes_every_test_on_any_seed(assignment, seed):
    assert trials.failed_tests(assignment, {}, seed) == []


@EACH
def test_the_empty_notebook_passes_none(assignment):
    empty = answers_in(nbformat.read(assignment.notebook, as_version=4))
    tests = [name_of(cell) for cell in teachers_notebook(assignment).cells if is_test(cell)]
    assert trials.failed_tests(assignment, empty, long=True) == tests


@EACH
def test_wrong_answers_lose_points(assignment):
    rows = trials.try_wrong_answers(assignment)
    for name in {row[0] for row in rows}:
        assert sum(row[0] == name for row in rows) >= 12, f"only a few wrong answers for {name}"
    left = trials.survivors(rows)
    assert len(left) <= 0.05 * len(rows), f"not noticed: {left}"
    table = assignment.table.read_text(encoding="utf-8")
    assert trials.as_csv(rows) == table, (
        "the table in the book is old. Run: python -m tools.classroom.build"
    )


@EACH
def test_unusual_right_answers_get_all_points(assignment):
    results = trials.try_right_answers(assignment)
    names = [name for name, _ in results]
    for name in set(names):
        assert names.count(name) >= 15, f"only a few unusual right answers for {name}"
    assert {answer: failed for answer, failed in results.items() if failed} == {}


@EACH
def test_a_mistake_costs_once(assignment):
    names = trials.wrong_answers(assignment)
    for name in names:
        wrong = names[name]["returns nothing"]
        unseen = [f"{other}-hidden" for other in names if other != name]
        assert trials.failed_tests(assignment, {name: wrong}, tests=unseen) == []


@pytest.mark.slow
@pytest.mark.parametrize("wrong, failing", TRAININGS.values(), ids=TRAININGS)
def test_the_training_of_a2(wrong, failing):
    known = trials.wrong_answers(ALL["A2"])
    answers = {name: known.get(name, {}).get(label, label) for name, label in wrong.items()}
    tests = ["captioner-tests", "captioner-hidden"]
    assert trials.failed_tests(ALL["A2"], answers, seed=2, tests=tests, long=True) == failing


@pytest.mark.slow
def test_the_solution_of_a2_passes_in_a_process_of_its_own():
    done, trouble = isolation.run(copy.deepcopy(teachers_notebook(ALL["A2"])), calls_of(ALL["A2"]))
    errors = {
        name_of(cell): output.evalue
        for cell in done.cells
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    }
    assert trouble == "" and errors == {}
