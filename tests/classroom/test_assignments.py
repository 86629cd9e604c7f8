"""The assignments and their graders: solution, empty notebook, wrong answers, bad files, and a class of thirty."""

import contextlib
import copy
import csv
import io
import json
import re
import shutil
import sqlite3
import sys
import unicodedata
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import torch

from tools.classroom import apart, grading, samples
from tools.classroom import assignments as tool

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="grading needs limits that Windows does not have"
)
PATHS = tool.assignments()
EACH = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A1 as nbgrader releases it now."""
    return nbformat.read(tool.release(PATHS["A1"], tmp_path_factory.mktemp("course")), as_version=4)


@pytest.fixture(scope="module")
def source():
    return tool.read_source(PATHS["A1"])


def answers_of(notebook):
    return {tool.name_of(cell): cell.source for cell in notebook.cells if tool.is_answer(cell)}


# One source ----------------------------------------------------------------------------------------------------------


@EACH
def test_the_students_notebook_is_what_the_source_gives(path, tmp_path):
    made = tool.release(path, tmp_path).read_bytes()
    assert made == path.with_suffix(".ipynb").read_bytes(), (
        "Run: python -m tools.classroom.assignments build"
    )


@EACH
def test_the_students_notebook_gives_nothing_away(path):
    text = path.with_suffix(".ipynb").read_text(encoding="utf-8")
    assert (
        "HIDDEN TESTS" not in text
        and "SOLUTION" not in text
        and "ref_" not in text
        and "{{parts" not in text
    )
    for cell in nbformat.read(path.with_suffix(".ipynb"), as_version=4).cells:
        if tool.is_answer(cell):
            assert (
                "raise NotImplementedError" if cell.cell_type == "code" else "YOUR ANSWER HERE"
            ) in cell.source


@EACH
def test_the_solution_for_self_study(path):
    notebook = tool.solution(path)
    assert not any("nbgrader" in cell.metadata for cell in notebook.cells)
    text = "\n".join(cell.source for cell in notebook.cells)
    assert "HIDDEN TESTS" not in text and "SOLUTION" not in text
    stubs = answers_of(nbformat.read(path.with_suffix(".ipynb"), as_version=4))
    assert not any(stub in text for stub in stubs.values()) and "check(" in text


@EACH
def test_points_and_times_add_up(path):
    notebook = tool.read_source(path)
    stated, counted, minutes = [], [], 0
    for cell in notebook.cells:
        for _, _, points, time, _ in re.findall(tool.PART, cell.source, flags=re.MULTILINE):
            stated.append(int(points))
            counted.append(0)
            minutes += int(time)
        if counted:
            counted[-1] += cell.metadata.get("nbgrader", {}).get("points", 0)
    assert stated == counted and sum(stated) == 100
    assert 180 <= minutes <= 300


@EACH
def test_visible_checks_are_short(path):
    for cell in tool.read_source(path).cells:
        if tool.name_of(cell).endswith("-tests"):
            assert len(cell.source.splitlines()) <= 9, cell.source


# Graders under test --------------------------------------------------------------------------------------------------


@EACH
@pytest.mark.parametrize("seed", [0, 1, 4711])
def test_the_solution_passes_every_test_on_any_seed(path, seed):
    assert tool.failed_tests(path, {}, seed) == []


@EACH
def test_the_empty_notebook_passes_none(path):
    empty = answers_of(nbformat.read(path.with_suffix(".ipynb"), as_version=4))
    tests = [tool.name_of(cell) for cell in tool.read_source(path).cells if apart.is_test(cell)]
    assert tool.failed_tests(path, empty, long=True) == tests


@EACH
def test_wrong_answers_lose_points(path):
    rows = tool.try_wrong_answers(path)
    for name in {row[0] for row in rows}:
        assert sum(row[0] == name for row in rows) >= 12, f"only a few wrong answers for {name}"
    left = tool.survivors(rows)
    assert len(left) <= 0.05 * len(rows), f"not noticed: {left}"
    table = path.with_name(f"{path.stem.split('_')[0]}_wrong_answers.csv").read_text(
        encoding="utf-8"
    )
    assert tool.as_csv(rows) == table, (
        "the table in the book is old. Run: python -m tools.classroom.assignments build"
    )


@EACH
def test_a_mistake_costs_once(path):
    names = tool.wrong_answers(path)
    for name in names:
        wrong = names[name]["returns nothing"]
        unseen = [f"{other}-hidden" for other in names if other != name]
        assert tool.failed_tests(path, {name: wrong}, tests=unseen) == []


UNTRAINED = """
from mmcourse.captioning import Captioner
captioner = Captioner.from_pretrained("scenes")
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


@pytest.mark.slow
@pytest.mark.parametrize("wrong, failing", TRAININGS.values(), ids=TRAININGS)
def test_the_training_of_a2(wrong, failing):
    known = tool.wrong_answers(PATHS["A2"])
    answers = {name: known.get(name, {}).get(label, label) for name, label in wrong.items()}
    tests = ["captioner-tests", "captioner-hidden"]
    assert tool.failed_tests(PATHS["A2"], answers, seed=2, tests=tests, long=True) == failing


@pytest.mark.slow
def test_the_solution_of_a2_passes_in_a_process_of_its_own():
    done, trouble = apart.run(tool.read_source(PATHS["A2"]))
    errors = {
        tool.name_of(cell): output.evalue
        for cell in done.cells
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    }
    assert trouble == "" and errors == {}


# Checks that teach ---------------------------------------------------------------------------------------------------


@pytest.fixture
def checks():
    return space_with("checks.py")


@pytest.fixture
def torch_checks():
    return space_with("checks.py", "checks_torch.py")


def space_with(*files):
    space = {"__name__": "__main__"}
    exec("\n".join((tool.FOLDER / file).read_text(encoding="utf-8") for file in files), space)
    exec("def double(x): return 2 * x", space)
    return space


def message(checks, code, *arguments, **options):
    exec(code, checks)
    with pytest.raises(checks["CheckFailed"]) as failure:
        checks["check"](checks["double"], *arguments, **options)
    return str(failure.value)


ONES = np.ones((2, 3))


def test_a_right_answer_passes(checks):
    checks["check"](checks["double"], ONES, gives=2 * ONES)
    checks["check"](checks["double"], ONES, gives=lambda x: x + x)


def test_a_failing_check_says_what_was_expected_and_what_came(checks):
    said = message(checks, "def double(x): return x[0]", ONES, gives=2 * ONES, hint="twice")
    assert "double with (2, 3): the shape is wrong" in said and "hint: twice" in said
    assert "expected: shape (2, 3)" in said and "got:      shape (3,)" in said
    assert "6 of 6 numbers are wrong" in message(
        checks, "def double(x): return x", ONES, gives=2 * ONES
    )
    assert "NaN" in message(checks, "def double(x): return x * np.nan", ONES, gives=2 * ONES)
    assert "wrong kind, bool" in message(
        checks, "def double(x): return x > 0", ONES, gives=2 * ONES
    )
    assert "not a NumPy array" in message(
        checks, "def double(x): return None", ONES, gives=2 * ONES
    )
    assert "must return 2 results" in message(
        checks, "def double(x): return x", ONES, gives=(ONES, ONES)
    )
    assert "result 2 of 2" in message(
        checks, "def double(x): return x, 2 * x", ONES, gives=(ONES, ONES)
    )
    unwritten = "def double(x): raise NotImplementedError()"
    assert message(checks, unwritten, ONES, gives=ONES) == "double is not written yet."
    missing = "def half(x): raise NotImplementedError()\ndef double(x): return half(x) * 4"
    assert (
        message(checks, missing, ONES, gives=ONES)
        == "half is not written yet, and double calls it."
    )


def test_a_check_notices_changed_inputs_and_other_libraries(checks):
    inside = "def double(x):\n    x *= 2\n    return x"
    assert "changes what it is given" in message(checks, inside, ONES, gives=2 * ONES)
    for call in (
        "json.dumps(1)",
        "[json.dumps(1)]",
        "__import__('json').dumps(1)",
        "sys._getframe()",
        "os.getpid()",
    ):
        code = f"import json, os, sys\ndef double(x):\n    {call}\n    return 2 * x"
        assert "only Python and NumPy" in message(checks, code, ONES, gives=2 * ONES), call
    caught = """
import json
def double(x):
    try:
        json.dumps(1)
    except BaseException:
        pass
    return 2 * x
"""
    assert "calls json" in message(checks, caught, ONES, gives=2 * ONES)


def test_a_check_allows_what_numpy_offers(checks):
    exec("""
import copy, itertools, math
def double(x):
    for index in itertools.product(*map(range, x.shape)):
        math.sqrt(abs(x[index]))
    y = np.einsum("ij->ij", copy.deepcopy(x)) + np.linalg.norm(x) * 0
    y = y + np.where(x > 0, x, 0).sum(-1, keepdims=True) * 0 + np.stack([dict.fromkeys("a", y)["a"]]).sum(0)
    return np.concatenate([y], axis=-1).reshape(2, 3) + np.full_like(y, 0) * np.random.default_rng().random()
""", checks)  # fmt: skip
    checks["check"](checks["double"], ONES, gives=2 * ONES)


def test_a_check_allows_what_python_itself_offers(checks):
    exec("""
import bisect, heapq, re, string
from collections import namedtuple
from collections.abc import Sequence
from dataclasses import dataclass
Row = namedtuple("Row", "total words")
@dataclass(order=True)
class Beam:
    total: float
    words: str = ""
def double(x):
    heap = [Beam(3.0), Beam(2.0)]
    heapq.heapify(heap)
    heapq.nlargest(1, [Row(1, "a"), Row(2, "b")], key=lambda row: row.total)
    bisect.bisect([1, 2], 1), re.findall("a", "banana"), string.capwords(repr(heap[0])), isinstance(heap, Sequence)
    return 2 * x
""", checks)  # fmt: skip
    checks["check"](checks["double"], ONES, gives=2 * ONES)


def test_a_function_that_is_checked_may_print(checks):
    class Screen(io.StringIO):  # as in Jupyter, where printing runs Python code of another module
        def write(self, text):
            return super().write(text)

    exec("def double(x):\n    print('so far:', x.shape, flush=True)\n    return 2 * x", checks)
    with contextlib.redirect_stdout(Screen()) as screen:
        checks["check"](checks["double"], ONES, gives=2 * ONES)
    assert screen.getvalue() == "so far: (2, 3)\n"


@pytest.mark.parametrize(
    "number", ["0", "0.0", "np.int64(0)", "np.float32(0)", "np.float64(0)", "np.array(0.0)"]
)
def test_a_number_may_be_of_any_kind(checks, number):
    exec(f"def double(x): return {number}", checks)
    checks["check"](checks["double"], ONES, gives=0.0)


@pytest.mark.parametrize("other", ["False", "None", "'0'", "[0.0]", "(0,)"])
def test_what_is_not_a_number(checks, other):
    assert "the result is not a number" in message(
        checks, f"def double(x): return {other}", ONES, gives=0.0
    )


TENSOR = torch.ones(2, 3)


def test_checks_of_tensors(torch_checks):
    torch_checks["check"](torch_checks["double"], TENSOR, gives=2 * TENSOR)
    said = message(torch_checks, "def double(x): return x[0]", TENSOR, gives=2 * TENSOR)
    assert (
        "double with (2, 3): the shape is wrong" in said
        and "expected: shape (2, 3), float32" in said
    )
    assert "6 of 6 numbers" in message(
        torch_checks, "def double(x): return x", TENSOR, gives=2 * TENSOR
    )
    for code in (
        "2 * x.numpy()",
        "(2 * x).tolist()",
        "(2 * x).as_subclass(type('Own', (torch.Tensor,), {}))",
        "None",
    ):
        said = message(torch_checks, f"def double(x): return {code}", TENSOR, gives=2 * TENSOR)
        assert "not a tensor" in said, code
    assert "not a number" in message(
        torch_checks, "def double(x): return 6.0", TENSOR, gives=torch.tensor(6.0)
    )
    inside = "def double(x):\n    x *= 2\n    return x"
    assert "changes what it is given" in message(torch_checks, inside, TENSOR, gives=2 * TENSOR)


def test_checks_notice_what_does_the_task_of_itself(torch_checks):
    for call in (
        "nn.functional.scaled_dot_product_attention(x, x, x)",
        "nn.MultiheadAttention(3, 1)(x, x, x)",
        "nn.TransformerEncoderLayer(3, 1)(x)",
        "nn.CrossEntropyLoss()(x, x)",
        "nn.NLLLoss()(x, x[:, 0].long())",
        "list(map(nn.functional.scaled_dot_product_attention, [x], [x], [x]))",
    ):
        code = f"from torch import nn\ndef double(x):\n    {call}\n    return 2 * x"
        assert "double calls torch" in message(torch_checks, code, TENSOR, gives=2 * TENSOR), call
    code = (
        "from mmcourse.attention import MultiHeadAttention\nlayer = MultiHeadAttention(3, 1)\n"
        "def double(x):\n    layer(x[None])\n    return 2 * x"
    )
    assert "double calls mmcourse.attention" in message(
        torch_checks, code, TENSOR, gives=2 * TENSOR
    )


def test_a_mistake_costs_once_also_under_a_decorator(torch_checks):
    exec("def helper(x): return x\n@torch.no_grad()\ndef double(x): return helper(x)", torch_checks)
    exec("def right(x): return 2 * x", torch_checks)
    given = {"helper": torch_checks["right"]}
    torch_checks["check"](torch_checks["double"], TENSOR, gives=2 * TENSOR, given=given)


def test_a_cell_may_state_its_seconds():
    spin = "import time\nend = time.process_time() + 2.5\nwhile time.process_time() < end:\n    pass\nprint('done')"
    cells = [nbformat.v4.new_code_cell(code) for code in (spin, spin, "print('next')")]
    cells[1].metadata["seconds"] = 1
    done, trouble = apart.run(nbformat.v4.new_notebook(cells=cells))
    shown = [output.get("text") or output.ename for cell in done.cells for output in cell.outputs]
    assert shown == ["done\n", "KeyboardInterrupt", "next\n"] and trouble == ""
    cells[1].metadata["seconds"] = 100
    sent = []
    client = SimpleNamespace(execute_cell=lambda cell, *_, **__: sent.append(cell.source))
    apart.execute_cell(client, cells[1], 1, "")
    assert "setitimer(1, 100)" in sent[0] and "setitimer" not in cells[1].source
    assert apart.seconds_of_all(nbformat.v4.new_notebook(cells=cells)) == apart.SECONDS + 90


# Files that come in --------------------------------------------------------------------------------------------------


def test_answers_are_found_wherever_they_are(source, empty):
    full = answers_of(samples.fill(empty, answers_of(source)))  # without the marks around solutions
    right = [
        cell.source for cell in grading.rebuild(source, empty, samples.fill(empty, full))[0].cells
    ]
    handed = samples.fill(empty, full)
    handed.cells = handed.cells[::-1]
    shuffled, notes = grading.rebuild(source, empty, handed)
    assert [cell.source for cell in shuffled.cells] == right and sum(
        "order" in note for note in notes
    ) == 1
    renamed = samples.fill(empty, full)
    for cell in filter(tool.is_answer, renamed.cells):
        cell.metadata["nbgrader"]["grade_id"] += "-copy"
    rebuilt, notes = grading.rebuild(source, empty, renamed)
    assert [cell.source for cell in rebuilt.cells] == right and any(
        "lost its name" in note for note in notes
    )
    bare = nbformat.reads(
        nbformat.writes(samples.without_metadata(samples.fill(empty, full))), as_version=4
    )
    place = next(
        number for number, cell in enumerate(empty.cells) if tool.name_of(cell) == "why_the_scale"
    )
    full["why_the_scale"] = bare.cells[place].source = "Because of the variance."
    rebuilt = grading.rebuild(source, empty, bare)[0]
    assert answers_of(rebuilt) == full and len(rebuilt.cells) == len(source.cells)


def test_what_is_as_released_has_no_notes(source, empty):
    for submitted in (empty, None):
        built, notes = grading.rebuild(source, empty, submitted)
        assert notes == [] and answers_of(built) == answers_of(empty)


def test_tests_are_the_graders_own(source, empty):
    handed = samples.fill(empty, {})
    for cell in handed.cells:
        if apart.is_test(cell):
            cell.source = "pass"
    handed.cells = [cell for cell in handed.cells if tool.name_of(cell) != "attention-tests"]
    built, notes = grading.rebuild(source, empty, handed)
    ours = {tool.name_of(cell): cell.source for cell in source.cells if apart.is_test(cell)}
    assert {tool.name_of(cell): cell.source for cell in built.cells if apart.is_test(cell)} == ours
    assert any("softmax-tests was changed" in note for note in notes)


def test_students_names_do_not_replace_the_graders():
    student = {"check": lambda: "cheat", "open": None, "mine": 3}
    test = "assert check() == 'ours' and callable(open) and mine == 3 and student is None"
    exec(apart.guarded("def check(): return 'ours'", test, "passed"), {"student": student})


def test_copied_and_added_cells(source, empty):
    handed = samples.fill(empty, {"softmax": "def softmax(scores):\n    return helper(scores)"})
    place = next(
        number for number, cell in enumerate(handed.cells) if tool.name_of(cell) == "softmax"
    )
    stub = copy.deepcopy(empty.cells[place])
    stub.id = "copied"
    added = nbformat.v4.new_code_cell("def helper(scores):\n    return scores")
    handed.cells[place:place] = [added]
    handed.cells.append(stub)
    built, notes = grading.rebuild(source, empty, handed)
    assert "helper(scores)" in answers_of(built)["softmax"] and any(
        "two cells" in note for note in notes
    )
    texts = [cell.source for cell in built.cells]
    assert texts.index(added.source) < texts.index(answers_of(built)["softmax"])


def number_of(notebook, name):
    return [tool.name_of(cell) for cell in notebook.cells].index(name)


def test_added_cells_stay_behind_what_they_followed(source, empty):
    handed = samples.fill(empty, {"why_the_scale": "<b>why</b>"})
    handed.cells[number_of(handed, "softmax-tests")].source = "assert True"
    for name in ("softmax-tests", "softmax"):
        for text in (" \n", f"behind = {name!r}"):
            handed.cells.insert(number_of(handed, name) + 1, nbformat.v4.new_code_cell(text))
    handed.cells.append(nbformat.v4.new_markdown_cell("<b>end</b>"))
    built, _ = grading.rebuild(source, empty, handed)
    for name in ("softmax-tests", "softmax"):
        assert built.cells[number_of(built, name) + 1].source == f"behind = {name!r}"
    assert len(built.cells) == len({cell.id for cell in built.cells}) == len(source.cells) + 3, (
        "without the blank ones"
    )
    assert [answers_of(built)["why_the_scale"], built.cells[-1].source] == [
        "&lt;b>why&lt;/b>",
        "&lt;b>end&lt;/b>",
    ]


def test_what_only_looks_like_an_answer(source, empty):
    handed = samples.fill(empty, {})
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
    built, notes = grading.rebuild(source, empty, handed)
    assert answers_of(built) == answers_of(empty)
    assert notes == ["There is no cell of softmax.", "There is no cell of why_the_scale."]


HEAD = '{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": '
BROKEN = {
    "": "not a notebook",
    "no JSON": "not a notebook",
    "[1]": "not a notebook",
    "{}": "not a notebook",
    '{"nbformat": 4, "cells": 3}': "not a notebook",
    HEAD + '[{"a": 1}]}': "not a notebook",
    HEAD + "[]}": "no cells",
}


@pytest.mark.parametrize("text, why", BROKEN.items())
def test_files_that_are_no_notebooks(text, why, tmp_path):
    (tmp_path / "A1.ipynb").write_text(text, encoding="utf-8")
    notebook, said = grading.read_submission(tmp_path / "A1.ipynb")
    assert notebook is None and why in said


def test_odd_cells_are_read_as_far_as_can_be(source, empty, tmp_path):
    odd = [
        {"source": None, "metadata": {}, "id": 3},
        {"source": {"a": 1}, "metadata": {"nbgrader": 3}, "id": "b"},
        {"source": "pass", "metadata": {"nbgrader": {"grade_id": [1]}}, "id": "c"},
    ]
    cells = json.dumps([{"cell_type": "code"} | cell for cell in odd])
    (tmp_path / "A1.ipynb").write_text(HEAD + cells + "}", encoding="utf-8")
    submitted, why = grading.read_submission(tmp_path / "A1.ipynb")
    assert why == "" and answers_of(grading.rebuild(source, empty, submitted)[0]) == answers_of(
        empty
    )
    text = json.dumps(
        [{"cell_type": "code", "source": "import numpy as np", "metadata": {}, "id": ["b"]}]
    )
    # before minor version 5 an id means nothing, and may be anything
    (tmp_path / "A1.ipynb").write_text(
        HEAD.replace('minor": 5', 'minor": 4') + text + "}", encoding="utf-8"
    )
    submitted, why = grading.read_submission(tmp_path / "A1.ipynb")
    assert why == "" and answers_of(grading.rebuild(source, empty, submitted)[0]) == answers_of(
        empty
    )


def test_a_mark_of_the_encoding_is_read_over(empty, tmp_path):
    (tmp_path / "A1.ipynb").write_text(
        nbformat.writes(empty), encoding="utf-8-sig"
    )  # as some editors save it
    assert grading.read_submission(tmp_path / "A1.ipynb") == (empty, "")


def test_a_huge_file_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(grading, "LARGEST", 10)
    (tmp_path / "A1.ipynb").write_text("x" * 11)
    assert "clear its outputs" in grading.read_submission(tmp_path / "A1.ipynb")[1]


def test_students_are_folders_and_the_newest_file_counts(tmp_path):
    for form in ("NFC", "NFD"):
        folder = tmp_path / (unicodedata.normalize(form, "Zoë Å") + " " * (form == "NFD"))
        folder.mkdir()
        (folder / f"{form}.ipynb").write_text("")
        (folder / "timestamp.txt").write_text(
            "2026-10-05 10:00" if form == "NFD" else "2026-10-04 10:00:00 CET"
        )
    found = grading.collect(tmp_path)
    assert list(found) == [unicodedata.normalize("NFC", "Zoë Å")]
    assert [path.name for path in found[unicodedata.normalize("NFC", "Zoë Å")]] == [
        "NFC.ipynb",
        "NFD.ipynb",
    ]


def test_hidden_folders_and_checkpoints_are_no_submissions(tmp_path):
    for file in ("ana/a.ipynb", "ana/.ipynb_checkpoints/a-checkpoint.ipynb", ".git/x.ipynb"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("")
    assert grading.collect(tmp_path) == {"ana": [tmp_path / "ana" / "a.ipynb"]}


def test_a_missing_or_empty_inbox(tmp_path):
    with pytest.raises(SystemExit, match="There is no folder"):
        grading.grade(tmp_path, "A1")
    (tmp_path / "inbox" / "A1").mkdir(parents=True)
    with pytest.raises(SystemExit, match="holds no student"):
        grading.grade(tmp_path, "A1")
    with pytest.raises(SystemExit, match="There is no assignment A9; there are A1"):
        grading.grade(tmp_path, "A9")


def test_a_gradebook_that_cannot_be_used(tmp_path):
    tool.release(PATHS["A1"], tmp_path)
    book = tmp_path / "gradebook.db"
    grading.check_gradebook(book)
    with sqlite3.connect(book) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(SystemExit, match="in use by another program"):
            grading.check_gradebook(book)
    with sqlite3.connect(book) as other:
        other.execute("UPDATE alembic_version SET version_num = 'abc'")
    with pytest.raises(
        SystemExit, match="made by another version of nbgrader .abc.*nbgrader db upgrade"
    ):
        grading.check_gradebook(book)
    book.write_text("not a database, but long enough to be taken for one by its size" * 20)
    with pytest.raises(SystemExit, match="not a gradebook"):
        grading.check_gradebook(book)


# A class of thirty ---------------------------------------------------------------------------------------------------

# Out of 90 for code. Where one function is wrong, visible tests of later ones that call it fail too.
POINTS = {
    "amina": 90, "ben": 90, "chiara": 74, "dmitri": 49, "efua": 25, "farid": 8, "grace": 0, "hana": 82, "ivan": 79,
    "jun": 82, "karim": 84, "lena": 73, "mateo": 82, "nora": 84, "oscar": 76, "pablo": 0, "priya": 49, "quentin": 90,
    "rosa": 90, "sami": 67, "tova": 73, "umar": 68, "vera": 69, "wei": 0, "xenia": 0, "yusuf": 90, "zoë müller": 90,
    "Émile Ångström": 90, "李 小龙": 90, "o'neil, anna": 90,
}  # fmt: skip


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("class")
    samples.write_samples(folder)
    due = grading.when(
        folder / "inbox" / "A1" / "amina" / "A1_attention.ipynb"
    )  # most hand in at that second
    rows = grading.grade(folder, "A1", due=str(due), show=lambda _: None)
    return folder, {row["student"]: row for row in rows}


@pytest.mark.slow
def test_thirty_submissions_get_their_points(graded):
    assert {student: row["points"] for student, row in graded[1].items()} == POINTS


@pytest.mark.slow
def test_every_student_has_feedback_and_a_row(graded):
    folder, rows = graded
    with (folder / "A1.csv").open(encoding="utf-8-sig", newline="") as file:
        assert [row["student"] for row in csv.DictReader(file)] == sorted(rows)
    for student in rows:
        assert (folder / "feedback" / student / "A1" / "A1_attention.html").stat().st_size > 10_000


@pytest.mark.slow
def test_grades_do_not_depend_on_the_others(graded, tmp_path):
    folder, rows = graded
    for student in ("umar", "hana", "李 小龙"):
        shutil.copytree(folder / "inbox" / "A1" / student, tmp_path / "inbox" / "A1" / student)
    alone = grading.grade(tmp_path, "A1", workers=1, show=lambda _: None)
    assert len(alone) == 3
    for row in alone:
        assert row["points"] == rows[row["student"]]["points"]


@pytest.mark.slow
def test_points_given_by_a_person_stay_and_are_exported(graded):
    from nbgrader.api import Gradebook

    folder, rows = graded
    with Gradebook(f"sqlite:///{folder / 'gradebook.db'}") as gradebook:
        grade = gradebook.find_grade("why_the_scale", "A1_attention", "A1", "amina")
        grade.manual_score, grade.needs_manual_grade = 7, False
        gradebook.db.commit()
    again = {row["student"]: row for row in grading.export(folder, "A1")}
    assert (
        again["amina"]["points"] == rows["amina"]["points"] + 7
        and again["amina"]["to grade by hand"] == ""
    )
    assert again["wei"]["notes"] == rows["wei"]["notes"]


@pytest.mark.slow
def test_notes_say_what_was_unusual(graded):
    rows = graded[1]
    expected = {
        "wei": "not a notebook",
        "xenia": "no cells",
        "priya": "kernel died",
        "pablo": "killed",
        "yusuf": "not in their order",
        "zoë müller": "lost its name",
        "vera": "was changed",
        "o'neil, anna": "2 notebooks",
    }
    for student, words in expected.items():
        assert words in rows[student]["notes"], rows[student]["notes"]
    assert [student for student, row in rows.items() if row["late"]] == ["李 小龙"]
