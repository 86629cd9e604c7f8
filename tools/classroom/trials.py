"""Try the tests of an assignment on answers that are known to be wrong, or right, in this process.

Each answer is put into the teacher's notebook, in place of the solution; then the test cells run.
"""

import contextlib
import csv
import functools
import io
import runpy
import signal

from tools.classroom import answering, judging
from tools.classroom.assignments import answers_in, is_test, name_of, teachers_notebook
from tools.classroom.noting import calls_of, checks_of

CELL_SECONDS = 5  # of the processor, for a cell that is not a test
TEST_SECONDS = 0.5  # for a test


def wrong_answers(assignment):
    """{function: {what is wrong: code of the answer's cell}}, made from the solution."""
    special, general = variants(assignment, assignment.wrong_answers, "WRONG")
    return {name: special[name] | general[name] for name in special}


def variants(assignment, path, table):
    """The answers of single functions, and those of every one, both {name: {label: code}}."""
    space = runpy.run_path(str(path))
    answers = answers_in(teachers_notebook(assignment))
    special = {}
    general = {}
    for name, changes in space[table].items():
        special[name] = {}
        general[name] = {}
        for label, change in changes.items():
            special[name][label] = changed(answers[name], change, f"{name}, {label}")
        for label, template in space["FOR_EVERY_FUNCTION"].items():
            code = template.replace("NAME", name)
            general[name][label] = code.replace("SOLUTION", answers[name])
    return special, general


def changed(solved, change, about):
    """The solution with a change (old, new) made; a change that is a text is the whole answer."""
    if isinstance(change, str):
        return change
    old, new = change
    assert old in solved, f"{about}: {old!r} is not in the solution"
    return solved.replace(old, new)


def try_wrong_answers(assignment, seed=0):
    """Try every wrong answer.

    Gives rows (function, what is wrong, visible tests fail, hidden tests fail).
    """
    rows = []
    for name, wrong in wrong_answers(assignment).items():
        visible = f"{name}-tests"
        hidden = f"{name}-hidden"
        for label, code in wrong.items():
            failed = failed_tests(assignment, {name: code}, seed, [visible, hidden])
            rows.append((name, label, visible in failed, hidden in failed))
    return rows


def try_right_answers(assignment, seed=0):
    """Try unusual right answers: {(function, what is unusual): tests that fail, or []}.

    Those of one function also meet the visible tests of later functions, which may call it.
    """
    special, general = variants(assignment, assignment.right_answers, "RIGHT")
    results = {}
    visible = [f"{name}-tests" for name in special]
    for name in special:
        for label, code in special[name].items():
            some = [*visible, f"{name}-hidden"]
            results[name, label] = failed_tests(assignment, {name: code}, seed, some)
        own = [f"{name}-tests", f"{name}-hidden"]
        for label, code in general[name].items():
            results[name, label] = failed_tests(assignment, {name: code}, seed, own)
    return results


def failed_tests(assignment, answers, seed=0, tests=None, long=False):
    """The names of the test cells that fail with these answers, and the solution's for the rest.

    ``tests`` names those to run, None means all. Cells that state their seconds, and tests among
    them, run only if ``long``.
    """
    warm_up()
    notebook = teachers_notebook(assignment)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code" and name_of(cell)]
    cells = [cell for cell in cells if long or "seconds" not in cell.metadata]
    sources = {name_of(cell): cell.source for cell in cells}
    student = {"__name__": "__main__", "visible_tests": sources}
    for cell in cells:
        if not is_test(cell):
            code = answers.get(name_of(cell), cell.source)
            run_here(code, student, cell.metadata.get("seconds", CELL_SECONDS))
    noted = calls_of(assignment, seed, long)
    failed = []
    for cell in filter(is_test, cells):
        name = name_of(cell)
        if tests is not None and name not in tests:
            continue
        seconds = cell.metadata.get("seconds", TEST_SECONDS)
        if name not in noted:
            passed = run_here(cell.source, student, seconds)
        else:
            passed = passes(noted[name], checks_of(notebook), student, seconds)
        if not passed:
            failed.append(name)
    return failed


def passes(calls, checks, student, seconds):
    """Whether a test passes: with the grader's functions in place of earlier ones, or without."""
    judges = judging.run_checks(checks)
    requests = [call.request for call in calls]
    for with_given in (True, False):
        space = {
            "answer": answering.answer,
            "outcomes": [],
            "arguments": (checks, requests, student, with_given),
        }
        run_here("outcomes = answer(*arguments)", space, seconds)
        answering.restore()
        if not judging.complaint(calls, space["outcomes"], judges):
            return True
        if not any(call.has_given for call in calls):
            return False
    return False


@functools.cache
def warm_up():
    """Load what assignments load, so that no answer is charged with the time."""
    import torch

    torch.optim.AdamW([torch.zeros(1)])


def run_here(code, space, seconds):
    """Whether code runs to its end, in this process and in so many seconds; prints are dropped."""

    def stop(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(code, "<cell>", "exec"), space)
        return True
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return False
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        answering.restore()


# The table in the book


def survivors(rows):
    """The wrong answers that no test noticed."""
    return [f"{name}: {label}" for name, label, visible, hidden in rows if not (visible or hidden)]


def summary(rows):
    noticed = len(rows) - len(survivors(rows))
    return f"{noticed} of {len(rows)} wrong answers lose marks"


def as_csv(rows):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["function", "wrong answer", "visible tests", "hidden tests"])
    words = {True: "fail", False: "pass"}
    for name, label, visible, hidden in rows:
        if not (visible or hidden):
            label = f"**{label}** (not noticed)"
        writer.writerow([name, label, words[visible], words[hidden]])
    return text.getvalue()
