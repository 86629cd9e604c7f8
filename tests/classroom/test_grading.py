"""A class of thirty, from submissions to grades, and grading again."""

import csv
import shutil
import sqlite3

import nbformat
import pytest

from tools.classroom import grading, samples
from tools.classroom.assignments import assignments, name_of
from tools.classroom.gradebook import check_gradebook, score
from tools.classroom.releases import release
from tools.classroom.submissions import when

# Out of 90 for code. Where one function is wrong, visible tests of later ones that call it fail
# too.
POINTS = {
    "amina": 90,
    "ben": 90,
    "chiara": 74,
    "dmitri": 49,
    "efua": 25,
    "farid": 8,
    "grace": 0,
    "hana": 82,
    "ivan": 79,
    "jun": 82,
    "karim": 84,
    "lena": 73,
    "mateo": 82,
    "nora": 84,
    "oscar": 76,
    "pablo": 44,
    "priya": 83,
    "quentin": 90,
    "rosa": 90,
    "sami": 67,
    "tova": 73,
    "umar": 68,
    "vera": 69,
    "wei": 0,
    "xenia": 0,
    "yusuf": 90,
    "zoë müller": 90,
    "Émile Ångström": 90,
    "李 小龙": 90,
    "o'neil, anna": 90,
}


def test_a_gradebook_that_cannot_be_used(tmp_path):
    release(assignments()["A1"], tmp_path)
    book = tmp_path / "gradebook.db"
    check_gradebook(book)
    with sqlite3.connect(book) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(SystemExit, match="in use by another program"):
            check_gradebook(book)
    with sqlite3.connect(book) as other:
        other.execute("UPDATE alembic_version SET version_num = 'abc'")
    with pytest.raises(
        SystemExit, match="made by another version of nbgrader .abc.*nbgrader db upgrade"
    ):
        check_gradebook(book)
    book.write_text("not a database, but long enough to be taken for one by its size" * 20)
    with pytest.raises(SystemExit, match="not a gradebook"):
        check_gradebook(book)


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("class")
    samples.write_samples(folder)
    due, _ = when(
        folder / "inbox" / "A1" / "amina" / "A1_attention.ipynb"
    )  # most hand in at that second
    rows = grading.grade(folder, "A1", due=due.isoformat(), show=lambda _: None)
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
        "zoë müller": "lost their names",
        "vera": "that were changed",
        "o'neil, anna": "2 notebooks",
    }
    for student, words in expected.items():
        assert words in rows[student]["notes"], rows[student]["notes"]
    assert [student for student, row in rows.items() if row["late"]] == ["李 小龙"]


def test_points_given_by_a_person_stay_while_the_text_does(tmp_path):
    """All wait; a person grades ana and ben; ben changes his text; the grader runs again."""
    from nbgrader.api import Gradebook

    assignment = assignments()["A1"]
    released = nbformat.read(release(assignment, tmp_path), as_version=4)
    place = next(
        number for number, cell in enumerate(released.cells) if name_of(cell) == "why_the_scale"
    )

    def score_again(texts):
        for student, text in texts.items():
            released.cells[place].source = text
            target = tmp_path / "submitted" / student / "A1" / assignment.notebook.name
            target.parent.mkdir(parents=True, exist_ok=True)
            nbformat.write(released, target)
        score(tmp_path, assignment)
        with Gradebook(f"sqlite:///{tmp_path / 'gradebook.db'}") as gradebook:
            found = {
                submission.student_id: submission
                for submission in gradebook.assignment_submissions("A1")
            }
            return {
                name: (one.written_score, one.needs_manual_grade)
                for name, one in sorted(found.items())
            }

    class_of_three = ("ana", "ben", "dan")
    assert score_again(dict.fromkeys(class_of_three, "As it was.")) == dict.fromkeys(
        class_of_three, (0, True)
    )
    with Gradebook(f"sqlite:///{tmp_path / 'gradebook.db'}") as gradebook:
        for student in ("ana", "ben"):
            grade = gradebook.find_grade("why_the_scale", assignment.name, "A1", student)
            grade.manual_score, grade.needs_manual_grade = 7, False
        gradebook.db.commit()
    assert score_again({"ben": "As it was. And more."}) == {
        "ana": (7, False),
        "ben": (7, True),
        "dan": (0, True),
    }
    empty = nbformat.read(assignment.notebook, as_version=4).cells[place].source
    again = score_again({"ana": empty})
    assert again["ana"] == (7, True), "the answer is gone"
    assert again["ben"] == (7, True), "an answer that waits for a person goes on waiting"
