"""How one notebook is run: limits, and a namespace of the test's own."""

from types import SimpleNamespace

import nbformat

from tools.classroom import execution, isolation


def test_a_cell_may_state_its_seconds():
    spin = """
import time
end = time.process_time() + 2.5
while time.process_time() < end:
    pass
print('done')
"""
    cells = [nbformat.v4.new_code_cell(code) for code in (spin, spin, "print('next')")]
    cells[1].metadata["seconds"] = 1
    done, trouble = isolation.run(nbformat.v4.new_notebook(cells=cells))
    shown = [output.get("text") or output.ename for cell in done.cells for output in cell.outputs]
    assert shown == ["done\n", "KeyboardInterrupt", "next\n"] and trouble == ""
    cells[1].metadata["seconds"] = 100
    sent = []
    client = SimpleNamespace(execute_cell=lambda cell, *_, **__: sent.append(cell.source))
    execution.execute_cell(client, cells[1], 1, "")
    assert "setitimer(1, 100)" in sent[0] and "setitimer" not in cells[1].source
    assert execution.seconds_of_all(nbformat.v4.new_notebook(cells=cells)) == execution.SECONDS + 90


def test_students_names_do_not_replace_the_graders():
    student = {"check": lambda: "cheat", "open": None, "mine": 3}
    test = "assert check() == 'ours' and callable(open) and mine == 3 and student is None"
    exec(execution.guarded("def check(): return 'ours'", test, "passed"), {"student": student})
