"""Answers are found in whatever a student handed in; tests are the grader's own."""

import copy

import nbformat
import pytest

from tools.classroom.assignments import answers_in, is_answer, is_test, name_of
from tools.classroom.rebuilding import rebuild
from tools.classroom.samples import fill, without_metadata
from tools.classroom.submissions import read_submission


def number_of(notebook, name):
    return [name_of(cell) for cell in notebook.cells].index(name)


def test_answers_are_found_wherever_they_are(source, empty):
    full = answers_in(fill(empty, answers_in(source)))  # without the marks around solutions
    right = [cell.source for cell in rebuild(source, empty, fill(empty, full))[0].cells]
    handed = fill(empty, full)
    handed.cells = handed.cells[::-1]
    shuffled, notes = rebuild(source, empty, handed)
    assert [cell.source for cell in shuffled.cells] == right and sum(
        "order" in note for note in notes
    ) == 1
    renamed = fill(empty, full)
    for cell in filter(is_answer, renamed.cells):
        cell.metadata["nbgrader"]["grade_id"] += "-copy"
    rebuilt, notes = rebuild(source, empty, renamed)
    assert [cell.source for cell in rebuilt.cells] == right and any(
        "lost their names" in note for note in notes
    )
    bare = nbformat.reads(nbformat.writes(without_metadata(fill(empty, full))), as_version=4)
    place = next(
        number for number, cell in enumerate(empty.cells) if name_of(cell) == "why_the_scale"
    )
    full["why_the_scale"] = bare.cells[place].source = "Because of the variance."
    rebuilt = rebuild(source, empty, bare)[0]
    assert answers_in(rebuilt) == full and len(rebuilt.cells) == len(source.cells)


def test_what_is_as_released_has_no_notes(source, empty):
    for submitted in (empty, None):
        built, notes = rebuild(source, empty, submitted)
        assert notes == [] and answers_in(built) == answers_in(empty)


def test_tests_are_the_graders_own(source, empty):
    handed = fill(empty, {})
    for cell in handed.cells:
        if is_test(cell):
            cell.source = "pass"
    handed.cells = [cell for cell in handed.cells if name_of(cell) != "attention-tests"]
    built, notes = rebuild(source, empty, handed)
    ours = {name_of(cell): cell.source for cell in source.cells if is_test(cell)}
    assert {name_of(cell): cell.source for cell in built.cells if is_test(cell)} == ours
    assert notes[0].startswith(
        "The grader used its own cells for those that were changed: softmax-tests, "
    )


def test_copied_and_added_cells(source, empty):
    handed = fill(empty, {"softmax": "def softmax(scores):\n    return helper(scores)"})
    place = next(number for number, cell in enumerate(handed.cells) if name_of(cell) == "softmax")
    stub = copy.deepcopy(empty.cells[place])
    stub.id = "copied"
    added = nbformat.v4.new_code_cell("def helper(scores):\n    return scores")
    handed.cells[place:place] = [added]
    handed.cells.append(stub)
    built, notes = rebuild(source, empty, handed)
    assert "helper(scores)" in answers_in(built)["softmax"] and any(
        "two cells" in note for note in notes
    )
    texts = [cell.source for cell in built.cells]
    assert texts.index(added.source) < texts.index(answers_in(built)["softmax"])


def test_added_cells_stay_behind_what_they_followed(source, empty):
    handed = fill(empty, {"why_the_scale": "<b>why</b>"})
    handed.cells[number_of(handed, "softmax-tests")].source = "assert True"
    for name in ("softmax-tests", "softmax"):
        for text in (" \n", f"behind = {name!r}"):
            handed.cells.insert(number_of(handed, name) + 1, nbformat.v4.new_code_cell(text))
    handed.cells.append(nbformat.v4.new_markdown_cell("<b>end</b>"))
    built, _ = rebuild(source, empty, handed)
    for name in ("softmax-tests", "softmax"):
        assert built.cells[number_of(built, name) + 1].source == f"behind = {name!r}"
    assert len(built.cells) == len({cell.id for cell in built.cells}) == len(source.cells) + 3, (
        "without the blank ones"
    )
    assert [answers_in(built)["why_the_scale"], built.cells[-1].source] == [
        "<\u200bb>why<\u200b/b>",
        "<\u200bb>end<\u200b/b>",
    ]


def test_what_only_looks_like_an_answer(source, empty):
    handed = fill(empty, {})
    others = {
        "softmax": "class Own:\n    def softmax(self):\n        pass",
        "why_the_scale": "print(1)",
    }
    for name, text in others.items():
        handed.cells[number_of(handed, name)] = nbformat.v4.new_code_cell(text)
    place = number_of(handed, "softmax-tests") - 1
    handed.cells.insert(
        place, nbformat.v4.new_markdown_cell("My plan:\n\ndef softmax(scores): divide by the sum")
    )
    built, notes = rebuild(source, empty, handed)
    assert answers_in(built) == answers_in(empty)
    assert notes == ["There is no cell of softmax.", "There is no cell of why_the_scale."]


def saved_by_colab(notebook):
    return without_metadata(notebook)


def saved_by_vs_code(notebook):
    for cell in notebook.cells:
        cell.metadata = nbformat.NotebookNode({"vscode": {"languageId": "python"}})
        cell.source = cell.source.replace("\n", "\r\n")
    return notebook


def saved_by_kaggle(notebook):
    for cell in notebook.cells:
        cell.metadata = nbformat.NotebookNode({"trusted": True, "_uuid": "8f2839f25d086af736"})
        cell.source = "\n".join(line + "  " for line in cell.source.split("\n")) + "\n"
        cell.pop("id", None)
    return notebook


@pytest.mark.parametrize("save", [saved_by_colab, saved_by_vs_code, saved_by_kaggle])
def test_what_other_programs_save_has_one_note(source, empty, save, tmp_path):
    answers = answers_in(source) | {"why_the_scale": "Because of the variance."}
    notebook = save(fill(empty, answers))
    (tmp_path / "A1.ipynb").write_text(nbformat.writes(notebook), encoding="utf-8")
    submitted, why = read_submission(tmp_path / "A1.ipynb")
    built, notes = rebuild(source, empty, submitted)
    assert why == "" and set(answers_in(built)) == set(answers)
    assert all("raise NotImplementedError" not in text for text in answers_in(built).values())
    assert len([note for note in notes if "names" in note]) == 1 and len(notes) <= 2
    assert not any("changed" in note for note in notes)
