"""What the tests of an assignment call, and what results they want.

The test cells run once, beside the solution. There ``check`` notes the call and the result that is
wanted. In hidden tests it takes three arguments more than the student's: ``gives`` may be a
function of the arguments; ``given`` names functions of the grader that replace the student's
earlier ones, so that a mistake costs once; ``after`` says what of a call is compared, as a function
of the result and the arguments. ``named("x")`` stands for what the student's notebook calls x.
"""

import contextlib
import functools
import io
import pickle

import cloudpickle

from tools.classroom.assignments import is_test, name_of, teachers_notebook
from tools.classroom.judging import Call, judge


@functools.cache
def calls_of(assignment, seed=0, long=True):
    """{name of a test cell: [Call, ...]} of an assignment, for this seed of the hidden tests.

    Tests that state their seconds are left out unless ``long``.
    """
    notebook = teachers_notebook(assignment)
    checks = checks_of(notebook)
    solution = solution_names(notebook)
    tests = {}
    for cell in notebook.cells:
        if not is_test(cell) or runs_as_it_is(cell) or ("seconds" in cell.metadata and not long):
            continue
        tests[name_of(cell)] = note_calls(checks, cell.source, dict(solution), seed)
    return tests


def checks_of(notebook):
    """The text of the cell with the checks."""
    return next(cell.source for cell in notebook.cells if name_of(cell) == "checks")


def solution_names(notebook):
    """The names that the solution defines, without what takes long."""
    solution = {"__name__": "__main__"}
    for cell in notebook.cells:
        is_ours = cell.cell_type == "code" and name_of(cell) and not is_test(cell)
        if is_ours and "seconds" not in cell.metadata:
            exec(cell.source, solution)
    return solution


def runs_as_it_is(cell):
    """Whether a test runs in the student's kernel as it is: a visible one that takes long."""
    return "seconds" in cell.metadata and name_of(cell).endswith("-tests")


def note_calls(checks, source, space, seed):
    """Run a test cell in which ``check`` notes what is to be called."""
    calls = []
    exec(checks, space)
    space["SEED"] = seed

    def note(function, *arguments, gives, hint="", given=None, within=1e-6, after=None):
        name = space["name_of"](function)
        is_students = space.get(name) is function and name in solution
        wanted = name if is_students else function
        request = cloudpickle.dumps((wanted, arguments, given or {}, after))
        if callable(gives) and not hasattr(gives, "is_judge"):
            gives = gives(*pickle.loads(request)[1])
        about = space["about_call"](name, arguments)
        calls.append(Call(request, about, gives, hint, within, bool(given)))

    solution = set(space)
    space["check"] = note
    space["named"] = lambda name: {"named": name}
    space["judge"] = judge
    with contextlib.redirect_stdout(io.StringIO()):
        exec(source, space)
    return calls
