"""Run one submission's notebook apart from the grader: a process of its own, an empty folder, limits, no secrets.

``run`` starts this file as a program, hands it the notebook through a pipe and takes it back with its outputs. The
program starts the kernel. A test cell of the result has an error among its outputs unless it ran to its end.
"""

import os
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat.v4 import new_output

CELL_SECONDS, CELL_CLOCK = (
    10,
    4,
)  # of the processor's time, and how many times as many by the clock: a cell is stopped
SECONDS, CLOCK = (
    60,
    3,
)  # likewise for the whole notebook: then the cells that are left count as failed
MEGABYTES = 3000  # of address space: a larger array raises MemoryError in the student's cell
CHARACTERS = 50_000  # that one cell may print; the rest is dropped

# Runs in the kernel first of all. Time is the processor's, so that a busy machine does not change grades.
LIMITS = f"""
def _limit(seconds):
    import resource, signal, sys
    resource.setrlimit(resource.RLIMIT_AS, ({MEGABYTES} * 2**20,) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50 * 2**20,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds + {2 * CELL_SECONDS},) * 2)

    def begin(*_):  # IPython puts a new write into each stream for each cell, and takes it out again
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


def seconds_of(cell):
    """How long a cell may run: the teacher's cell may state more (tools/classroom/assignments.py), for a training, say."""
    return cell.metadata.get("seconds", CELL_SECONDS)


def seconds_of_all(notebook):
    return SECONDS + sum(seconds_of(cell) - CELL_SECONDS for cell in notebook.cells)


def is_test(cell):
    return cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).get("grade", False)


def fail(cell, reason):
    """Leave an error in the cell's outputs, whatever else they say, so that it earns nothing."""
    cell.outputs = [
        output for output in cell.get("outputs", []) if output.output_type in ("stream", "error")
    ]
    if not any(output.output_type == "error" for output in cell.outputs):
        cell.outputs.append(
            new_output("error", ename="NotPassed", evalue=reason, traceback=[reason])
        )


def fail_tests(notebook, reason):
    for cell in filter(is_test, notebook.cells):
        fail(cell, reason)
    return notebook


# In the grader -------------------------------------------------------------------------------------------------------


def run(notebook, seed=0):
    """The notebook after it ran, and a sentence about what went wrong with the run as a whole, or ""."""
    mark, wait = secrets.token_hex(8), CLOCK * seconds_of_all(notebook) + 60
    with tempfile.TemporaryDirectory(prefix="submission-") as folder:
        environment = {"PATH": os.environ["PATH"], "HOME": folder, "TMPDIR": folder, "LANG": "C.UTF-8",
                       "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0", "PYTHONNOUSERSITE": "1",
                       "MMCOURSE_SUBMISSION": mark, "MMCOURSE_SEED": str(seed)}  # fmt: skip
        process = subprocess.Popen([sys.executable, "-P", str(Path(__file__).resolve())], cwd=folder, env=environment,
                                   text=True, encoding="utf-8", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
        try:
            text, _ = process.communicate(nbformat.writes(notebook), timeout=wait)
            done = nbformat.reads(text, as_version=4)
            return done, done.metadata.pop("trouble", "")
        except subprocess.TimeoutExpired:
            reason = f"The notebook could not be stopped in {wait} seconds."
        except (
            Exception
        ):  # no notebook came back: whatever was done to the process, the others are graded
            reason = "The process that ran the notebook was killed."
        finally:
            kill(mark)
            process.wait()
    return fail_tests(notebook, reason), reason


def kill(mark):
    """End every process that the submission left behind, in whatever group or session it hides."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("MMCOURSE_SUBMISSION") == mark:
                process.kill()
        except psutil.Error:
            continue


# In the process apart ------------------------------------------------------------------------------------------------


def execute(notebook):
    """Run the cells from top to bottom. A test passes when its last line ran, and not when it merely shows no error."""
    seconds = seconds_of_all(notebook)
    client = NotebookClient(notebook, timeout_func=lambda cell: CELL_CLOCK * seconds_of(cell),
                            interrupt_on_timeout=True, allow_errors=True, startup_timeout=CLOCK * SECONDS,
                            record_timing=False, coalesce_streams=True)  # fmt: skip
    names = [cell.metadata.get("nbgrader", {}).get("grade_id") for cell in notebook.cells]
    checks = notebook.cells[names.index("checks")].source if "checks" in names else ""
    trouble = ""
    with client.setup_kernel():
        notebook.cells.append(nbformat.v4.new_code_cell(LIMITS.replace("SECONDS", str(seconds))))
        client.execute_cell(notebook.cells[-1], len(notebook.cells) - 1, store_history=False)
        notebook.cells.pop()
        kernel, end = psutil.Process(client.km.provisioner.pid), time.monotonic() + CLOCK * seconds
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


def used(process):
    """The processor's seconds that a process used; 0 when it is gone."""
    try:
        return sum(process.cpu_times()[:2])
    except psutil.Error:
        return 0


def execute_cell(client, cell, index, checks):
    """Run one cell; a sentence when the notebook can't go on."""
    source, passed = cell.source, secrets.token_hex(8)
    try:
        if is_test(cell):
            cell.source = f"exec({guarded(checks, source, passed)!r}, {{'__name__': '__main__', 'student': globals()}})"
        if "seconds" in cell.metadata:
            cell.source = f"__import__('signal').setitimer(1, {seconds_of(cell)})  # ITIMER_VIRTUAL\n{cell.source}"
        client.execute_cell(cell, index, store_history=not is_test(cell))
    except (DeadKernelError, CellTimeoutError, RuntimeError):
        return "The kernel died here or earlier; this cell did not run to its end."
    finally:
        cell.source = source
        if is_test(cell):
            judge(cell, passed)
    return ""


def guarded(checks, test, passed):
    """A test as it runs in a namespace of its own, where no name that the student defined can get in its way.

    ``passed`` is printed after its last line: only then has it passed.
    """
    merge = """
import builtins
known = {*vars(builtins), *globals()}
globals().update({name: value for name, value in student.items() if name not in known}, student=None)
"""
    return f"{checks}\n{merge}\n{test}\nprint({passed!r})"


def judge(cell, passed):
    """Leave a test without outputs if it passed, else with one error that says why not."""
    if any(passed in output.text for output in cell.outputs if output.output_type == "stream"):
        cell.outputs = []
        return
    errors = [output for output in cell.outputs if output.output_type == "error"]
    cell.outputs = []
    if errors and errors[0].ename != "KeyboardInterrupt":
        kind = "" if errors[0].ename == "CheckFailed" else f"{errors[0].ename}: "
        fail(cell, kind + errors[0].evalue)
    else:
        fail(
            cell,
            f"The check did not run to its end within {seconds_of(cell)} seconds, or something stopped it.",
        )


if __name__ == "__main__":
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what anything else prints does not get between
    result = execute(nbformat.reads(sys.stdin.read(), as_version=4))
    with pipe:
        pipe.write(nbformat.writes(result))
