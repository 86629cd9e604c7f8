"""The program that runs one submission's notebook, and says of each test whether it passed.

It reads a notebook from its input and writes it, with outputs, to its output
(tools/classroom/isolation.py starts it). A test cell of the result has an error among its outputs
unless it ran to its end. Time is the processor's, so that a busy machine does not change grades.
"""

import os
import secrets
import sys
import time

import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat.v4 import new_code_cell, new_output

CELL_SECONDS = 10  # of the processor's time: a cell that needs more is stopped
CELL_CLOCK = 4  # and after how many times as many by the clock
SECONDS = 60  # of the whole notebook: then the cells that are left count as failed
CLOCK = 3  # and by the clock, likewise
MEGABYTES = 3000  # of address space: a larger array raises MemoryError in the student's cell
CHARACTERS = 50_000  # that one cell may print; the rest is dropped

# Runs in the kernel first of all.
LIMITS = f"""
def _limit(seconds):
    import resource, signal, sys
    resource.setrlimit(resource.RLIMIT_AS, ({MEGABYTES} * 2**20,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50 * 2**20,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds + {2 * CELL_SECONDS},) * 2)

    def begin(*_):  # for each cell IPython puts a new write into each stream
        for stream in (sys.stdout, sys.stderr):
            stream.write = shortened(getattr(stream.write, "whole", stream.write), [{CHARACTERS}])
        signal.setitimer(signal.ITIMER_VIRTUAL, {CELL_SECONDS})

    def shortened(whole, left):
        def write(text):
            part = text[: left[0]]
            left[0] -= len(part)
            return whole(part) if part else 0
        write.whole = whole
        return write

    def end(*_):
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)

    def stop(*_):
        raise KeyboardInterrupt

    signal.signal(signal.SIGVTALRM, stop)
    get_ipython().events.register("pre_run_cell", begin)
    get_ipython().events.register("post_run_cell", end)

_limit(SECONDS)
del _limit
"""

# Runs before a test, in the test's own namespace: the student's names that are not taken.
MERGE = """
import builtins
known = {*vars(builtins), *globals()}
free = {name: value for name, value in student.items() if name not in known}
globals().update(free, student=None)
"""


def seconds_of(cell):
    """How long a cell may run: the teacher's cell may state more, for a training, say."""
    return cell.metadata.get("seconds", CELL_SECONDS)


def seconds_of_all(notebook):
    """How long a notebook may run: longer when some of its cells may."""
    return SECONDS + sum(seconds_of(cell) - CELL_SECONDS for cell in notebook.cells)


def is_test(cell):
    return cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).get("grade", False)


def fail(cell, reason):
    """Leave an error in the cell's outputs, whatever else they say, so that it earns nothing."""
    kept = ("stream", "error")
    cell.outputs = [output for output in cell.get("outputs", []) if output.output_type in kept]
    if not any(output.output_type == "error" for output in cell.outputs):
        error = new_output("error", ename="NotPassed", evalue=reason, traceback=[reason])
        cell.outputs.append(error)


def fail_tests(notebook, reason):
    for cell in filter(is_test, notebook.cells):
        fail(cell, reason)
    return notebook


def execute(notebook):
    """Run the cells from top to bottom.

    A test passes when its last line ran, and not when it merely shows no error.
    """
    client = NotebookClient(
        notebook,
        timeout_func=lambda cell: CELL_CLOCK * seconds_of(cell),
        interrupt_on_timeout=True,
        allow_errors=True,
        startup_timeout=CLOCK * SECONDS,
        record_timing=False,
        coalesce_streams=True,
    )
    seconds = seconds_of_all(notebook)
    trouble = ""
    with client.setup_kernel():
        set_limits(client, notebook, seconds)
        kernel = psutil.Process(client.km.provisioner.pid)
        end = time.monotonic() + CLOCK * seconds
        checks = checks_of(notebook)
        for index, cell in enumerate(notebook.cells):
            if cell.cell_type != "code":
                continue
            cell.outputs = []
            if not trouble and (time.monotonic() > end or used(kernel) > seconds):
                trouble = f"The notebook ran longer than {seconds} seconds; this cell did not run."
            if not trouble:
                trouble = execute_cell(client, cell, index, checks)
            if trouble and is_test(cell):
                fail(cell, trouble)
    notebook.metadata["trouble"] = trouble
    return notebook


def set_limits(client, notebook, seconds):
    """Run the cell LIMITS, which is not kept."""
    notebook.cells.append(new_code_cell(LIMITS.replace("SECONDS", str(seconds))))
    client.execute_cell(notebook.cells[-1], len(notebook.cells) - 1, store_history=False)
    notebook.cells.pop()


def checks_of(notebook):
    """The text of the cell with the checks, or ""."""
    for cell in notebook.cells:
        if cell.metadata.get("nbgrader", {}).get("grade_id") == "checks":
            return cell.source
    return ""


def used(process):
    """The processor's seconds that a process used; 0 when it is gone."""
    try:
        return sum(process.cpu_times()[:2])
    except psutil.Error:
        return 0


def execute_cell(client, cell, index, checks):
    """Run one cell; a sentence when the notebook can't go on."""
    source = cell.source
    passed = secrets.token_hex(8)
    try:
        if is_test(cell):
            code = guarded(checks, source, passed)
            cell.source = f"exec({code!r}, {{'__name__': '__main__', 'student': globals()}})"
        if "seconds" in cell.metadata:
            timer = f"__import__('signal').setitimer(1, {seconds_of(cell)})  # ITIMER_VIRTUAL"
            cell.source = f"{timer}\n{cell.source}"
        client.execute_cell(cell, index, store_history=not is_test(cell))
    except (DeadKernelError, CellTimeoutError, RuntimeError):
        return "The kernel died here or earlier; this cell did not run to its end."
    finally:
        cell.source = source
        if is_test(cell):
            judge(cell, passed)
    return ""


def guarded(checks, test, passed):
    """A test as it runs in a namespace of its own, where no student's name gets in its way.

    ``passed`` is printed after its last line: only then has it passed.
    """
    return f"{checks}\n{MERGE}\n{test}\nprint({passed!r})"


def judge(cell, passed):
    """Leave a test without outputs if it passed, else with one error that says why not."""
    streams = [output.text for output in cell.outputs if output.output_type == "stream"]
    errors = [output for output in cell.outputs if output.output_type == "error"]
    cell.outputs = []
    if any(passed in text for text in streams):
        return
    if errors and errors[0].ename == "CheckFailed":
        fail(cell, errors[0].evalue)
    elif errors and errors[0].ename != "KeyboardInterrupt":
        fail(cell, f"{errors[0].ename}: {errors[0].evalue}")
    else:
        seconds = seconds_of(cell)
        fail(
            cell,
            f"The check did not run to its end within {seconds} seconds, or something stopped it.",
        )


if __name__ == "__main__":
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what anything else prints does not get between
    result = execute(nbformat.reads(sys.stdin.read(), as_version=4))
    with pipe:
        pipe.write(nbformat.writes(result))
