"""How one notebook is run: its limits, its kernels, and what cheats in it gain."""

import copy

import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tools.classroom import execution, isolation, judging
from tools.classroom.answering import answer
from tools.classroom.assignments import assignments, is_answer, is_test, name_of, teachers_notebook
from tools.classroom.noting import calls_of

# To ask for the processor's time is a call of the system: on some machines most of these
# seconds are the system's, and the limit must count them too.
SPIN = """
import time
end = time.process_time() + 2.5
while time.process_time() < end:
    pass
print('done')
"""


def shown(notebook):
    outputs = [output for cell in notebook.cells for output in cell.outputs]
    return [output.get("text") or output.ename for output in outputs]


def test_a_cell_may_state_its_seconds():
    cells = [new_code_cell(code) for code in (SPIN, SPIN, "print('next')")]
    cells[1].metadata["seconds"] = 1
    done, trouble = isolation.run(new_notebook(cells=cells), {})
    assert shown(done) == ["done\n", "KeyboardInterrupt", "next\n"] and trouble == ""
    cells[1].metadata["seconds"] = 100
    assert execution.seconds_of_all(new_notebook(cells=cells)) == execution.SECONDS + 90


def test_what_a_cell_kills_is_only_its_own():
    codes = ["a = 1", "print(a)", "b = 2\nimport os\nos._exit(1)", "print(a, 'b' in globals())"]
    done, trouble = isolation.run(new_notebook(cells=list(map(new_code_cell, codes))), {})
    assert shown(done) == ["1\n", "1 False\n"] and trouble.startswith("The kernel died here")


def test_who_kills_the_grader_keeps_what_was_before():
    codes = ["print('before')", "import os\nos.kill(os.getppid(), 9)", "print('after')"]
    done, trouble = isolation.run(new_notebook(cells=list(map(new_code_cell, codes))), {})
    assert shown(done) == ["before\n"] and "was killed" in trouble


def test_a_notebook_says_which_time_ran_out():
    run = execution.Run(new_notebook(), {}, ".", print)

    class Kernel:
        def used(self):
            return 61

    run.kernel = Kernel()
    assert "longer than 60 seconds of the processor" in run.too_long()
    Kernel.used = lambda self: 1
    assert run.too_long() == ""
    run.end = 0
    assert "too busy" in run.too_long() and "180 seconds by the clock" in run.too_long()
    assert "within 10 seconds" in execution.stopped([], 9.9, 10)
    assert "seconds" not in execution.stopped([], 0.2, 10)


CHEATS = """
import builtins, ast, sys
builtins.abs = lambda value: 0
builtins.all = lambda values: True
shell = get_ipython()

def callback(*_):
    for name in ("check", "compare", "result_of", "watched"):
        globals()[name] = lambda *_, **__: None

class Transformer(ast.NodeTransformer):
    def visit_Call(self, node):
        return ast.Constant(None)

def hook(frame, event, argument):
    for value in list(frame.f_locals.values()):
        if isinstance(value, str) and "print(" in value:
            print(value.rpartition("print(")[2].strip(")'"))

shell.events.register("pre_run_cell", callback)
shell.events.register("post_run_cell", callback)
shell.ast_transformers.append(Transformer())
shell.showtraceback = shell._showtraceback = lambda *_, **__: None
sys.setprofile(hook)

def softmax(scores):
    return scores
"""


@pytest.fixture(scope="module")
def cheated():
    """A1 with the solution, but for a softmax that is wrong and brings every cheat that we know."""
    assignment = assignments()["A1"]
    notebook = copy.deepcopy(teachers_notebook(assignment))
    for cell in notebook.cells:
        if name_of(cell) == "softmax":
            cell.source = CHEATS
    return isolation.run(notebook, calls_of(assignment))[0]


def test_cheats_in_the_kernel_gain_nothing_and_lose_nothing_else(cheated):
    failed = [name_of(cell) for cell in cheated.cells if is_test(cell) and cell.outputs]
    assert {"softmax-tests", "softmax-hidden"} <= set(failed)
    own = {"attention", "masked_attention", "multi_head_attention", "query_gradient"}
    calls_softmax = {f"{name}-tests" for name in own | {"largest_weight"}}
    assert set(failed) <= {"softmax-tests", "softmax-hidden"} | calls_softmax


def test_only_results_come_back_from_the_kernel():
    """What the kernel says is data: nothing in it runs, and nothing but right numbers passes."""
    assignment = assignments()["A1"]
    notebook = teachers_notebook(assignment)
    checks_text = next(cell.source for cell in notebook.cells if name_of(cell) == "checks")
    checks = judging.run_checks(checks_text)
    calls = calls_of(assignment, 0, False)["softmax-hidden"]
    space = {}
    for cell in notebook.cells:
        if is_answer(cell) and cell.cell_type == "code":
            exec("import numpy as np\n" + cell.source, space)
    requests = [call.request for call in calls]
    good = answer(checks_text, requests, space, True)
    assert judging.complaint(calls, good, checks) == ""
    assert judging.complaint(calls, good[:-1], checks) == "The check did not run to its end."
    an_object = {"kind": "array", "dtype": "|O", "shape": [1], "data": ""}
    wrong = [{}, {"result": None}, {"result": {"kind": "array"}}, {"failed": "no"}]
    for bad in [*wrong, {"result": an_object}]:
        assert judging.complaint(calls, [bad, *good[1:]], checks) != ""
    assert b"ref_softmax" not in requests[0], "the kernel is not told how to compute what is wanted"
