"""The program that runs one submission's notebook, and says of each test whether it passed.

tools/classroom/isolation.py starts it. It reads a notebook and the calls of its tests from its
input. After each cell it writes a line to its output: the cell's number, and its outputs. A test
has an error among its outputs unless it passed. Time is the processor's, so that a busy machine
does not change grades.

The student's code runs in a kernel, another process. The kernel makes the calls of a test and hands
back the results; whether they are right is decided here. When a kernel dies, a new one runs the
cells so far, without the one that killed it.
"""

import base64
import ctypes
import json
import os
import pickle
import sys
import time
from pathlib import Path

import nbformat
import psutil
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat.v4 import new_code_cell, new_output

from tools.classroom import judging

CELL_SECONDS = 10  # of the processor's time: a cell that needs more is stopped
CELL_CLOCK = 4  # and after how many times as many by the clock
SECONDS = 60  # of the whole notebook: then the cells that are left count as failed
CLOCK = 3  # and by the clock, likewise
KERNELS = 8  # that a notebook may kill
MEGABYTES = 3000  # of address space: a larger array raises MemoryError in the student's cell
CHARACTERS = 50_000  # that one cell may print; the rest is dropped
HERE = Path(__file__).parent


def seconds_of(cell):
    """How long a cell may run: the teacher's cell may state more, for a training, say."""
    return cell.metadata.get("seconds", CELL_SECONDS)


def seconds_of_all(notebook):
    """How long a notebook may run: longer when some of its cells may."""
    return SECONDS + sum(seconds_of(cell) - CELL_SECONDS for cell in notebook.cells)


def grade_id(cell):
    return cell.metadata.get("nbgrader", {}).get("grade_id", "")


def is_test(cell):
    return cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).get("grade", False)


def fail(cell, reason):
    """Leave an error in the cell's outputs, and nothing else, so that it earns nothing."""
    cell.outputs = [new_output("error", ename="NotPassed", evalue=reason, traceback=[reason])]


def fail_tests(notebook, reason):
    for cell in filter(is_test, notebook.cells):
        fail(cell, reason)
    return notebook


class Kernel:
    """A kernel in which the cells of a notebook run one by one."""

    def __init__(self, notebook, seconds):
        self.notebook = notebook
        self.client = NotebookClient(
            notebook,
            timeout_func=lambda cell: CELL_CLOCK * seconds_of(cell),
            interrupt_on_timeout=True,
            allow_errors=True,
            startup_timeout=CLOCK * SECONDS,
            record_timing=False,
            coalesce_streams=True,
        )
        self.setup = self.client.setup_kernel()
        self.setup.__enter__()
        self.process = psutil.Process(self.client.km.provisioner.pid)
        first = f"_limits = {(seconds, CELL_SECONDS, MEGABYTES, CHARACTERS, str(HERE))!r}\n"
        begin = (HERE / "kernel.py").read_text(encoding="utf-8")
        self.run_own(first + begin, CELL_SECONDS)

    def end(self):
        self.setup.__exit__(None, None, None)

    def used(self):
        """The processor's seconds that it used; 0 when it is gone."""
        try:
            return sum(self.process.cpu_times()[:2])
        except psutil.Error:
            return 0

    def run(self, cell, keep=True):
        """Run a cell of the notebook; its outputs come with it."""
        index = next(at for at, one in enumerate(self.notebook.cells) if one is cell)
        source = cell.source
        if "seconds" in cell.metadata:
            timer = f"__import__('signal').setitimer(2, {seconds_of(cell)})  # ITIMER_PROF"
            cell.source = f"{timer}\n{source}"
        try:
            self.client.execute_cell(cell, index, store_history=keep)
        finally:
            cell.source = source

    def run_own(self, source, seconds):
        """Run a text that is not in the notebook; gives its outputs."""
        cell = new_code_cell(source, metadata={"seconds": seconds})
        self.notebook.cells.append(cell)
        try:
            self.run(cell, keep=False)
        finally:
            self.notebook.cells.pop()
        return cell.outputs


class Run:
    """A submission while it runs: its cells, the tests' calls, and the kernel of the moment."""

    def __init__(self, notebook, tests, folder, report):
        self.notebook = notebook
        self.tests = tests
        self.folder = Path(folder)
        self.report = report  # gets the number of a cell, when its outputs are final
        self.checks_text = next(
            (cell.source for cell in notebook.cells if grade_id(cell) == "checks"), ""
        )
        self.checks = judging.run_checks(self.checks_text)
        self.seconds = seconds_of_all(notebook)
        self.end = time.monotonic() + CLOCK * self.seconds
        self.used = 0  # seconds of the processor, of kernels that died
        self.deaths = 0
        self.done = []  # cells that ran and did not kill the kernel

    def all_cells(self):
        """Run the cells from top to bottom; a sentence about what went wrong as a whole, or ""."""
        trouble = ""
        self.kernel = Kernel(self.notebook, self.seconds)
        for index, cell in enumerate(list(self.notebook.cells)):
            if cell.cell_type != "code":
                continue
            cell.outputs = []
            reason = self.too_long()
            if not reason and self.deaths > KERNELS:
                reason = f"Cells killed {self.deaths} kernels; this cell did not run."
            if not reason:
                reason = self.one_cell(cell)
            if reason:
                trouble = trouble or reason
                if is_test(cell):
                    fail(cell, reason)
            self.report(index)
        self.kernel.end()
        return trouble

    def too_long(self):
        """A sentence when the notebook used up its time."""
        if self.used + self.kernel.used() > self.seconds:
            return (
                f"The notebook ran longer than {self.seconds} seconds of the processor; "
                "this cell did not run."
            )
        if time.monotonic() > self.end:
            return (
                f"The machine was too busy: after {CLOCK * self.seconds} seconds by the clock "
                "this cell did not run."
            )
        return ""

    def one_cell(self, cell):
        """Run one cell; a sentence when it killed the kernel."""
        try:
            if is_test(cell):
                problem = self.test(cell)
                if problem:
                    fail(cell, problem)
            else:
                self.kernel.run(cell)
                self.done.append(cell)
        except CellTimeoutError:
            seconds = CELL_CLOCK * seconds_of(cell)
            reason = f"A cell was stopped after {seconds} seconds by the clock."
        except (DeadKernelError, RuntimeError):
            reason = "The kernel died here; this cell did not run to its end."
        else:
            return ""
        self.new_kernel()
        return reason

    def new_kernel(self):
        """Start again after a death: run the cells so far, without the one that killed."""
        self.deaths += 1
        self.used += self.kernel.used()
        self.kernel.end()
        self.kernel = Kernel(self.notebook, self.seconds)
        for cell in self.done:
            outputs = cell.outputs
            try:
                self.kernel.run(cell)
            except (DeadKernelError, CellTimeoutError, RuntimeError):
                return  # what is left fails at the next cell
            finally:
                cell.outputs = outputs

    def test(self, cell):
        """Run a test; why it did not pass, or ""."""
        calls = self.tests.get(grade_id(cell))
        if calls is None:
            return self.test_as_it_is(cell)
        problem = self.answers_problem(cell, calls, with_given=True)
        if problem and not isinstance(problem, Stopped) and any(call.has_given for call in calls):
            problem = self.answers_problem(cell, calls, with_given=False)
        return problem

    def answers_problem(self, cell, calls, with_given):
        """Let the kernel make a test's calls, and judge what it gives."""
        requests = self.folder / "calls"
        results = self.folder / "results"
        requests.write_bytes(pickle.dumps([call.request for call in calls]))
        results.unlink(missing_ok=True)
        code = (
            f"__grader__({str(requests)!r}, {str(results)!r}, {self.checks_text!r}, {with_given})"
        )
        before = self.kernel.used()
        outputs = self.kernel.run_own(code, seconds_of(cell))
        try:
            outcomes = json.loads(results.read_text(encoding="utf-8"))
            return judging.complaint(calls, list(outcomes), self.checks)
        except (OSError, ValueError, TypeError, AttributeError):
            return stopped(outputs, self.kernel.used() - before, seconds_of(cell))

    def test_as_it_is(self, cell):
        """Run a test in the kernel's own names: it passes when it shows no error."""
        before = self.kernel.used()
        outputs = self.kernel.run_own(cell.source, seconds_of(cell))
        errors = [output for output in outputs if output.output_type == "error"]
        if not errors:
            return ""
        if errors[0].ename == "KeyboardInterrupt":
            return stopped(outputs, self.kernel.used() - before, seconds_of(cell))
        kind = "" if errors[0].ename == "CheckFailed" else f"{errors[0].ename}: "
        return kind + errors[0].evalue


class Stopped(str):
    """Why a check has no results, in words."""


def stopped(outputs, used, seconds):
    if used > 0.95 * seconds:
        return Stopped(f"The check did not run to its end within {seconds} seconds.")
    errors = [output for output in outputs if output.output_type == "error"]
    if errors and errors[0].ename != "KeyboardInterrupt":
        return Stopped(f"The check was stopped by {errors[0].ename}: {errors[0].evalue}")
    return Stopped("Something stopped the check, before it ran to its end.")


def main():
    """Read a notebook and the calls of its tests, run it, write a line for each cell."""
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what anything else prints does not get between
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(4, 0)  # PR_SET_DUMPABLE: other processes can't look in here
    given = json.load(sys.stdin)
    notebook = nbformat.reads(given["notebook"], as_version=4)
    tests = pickle.loads(base64.b64decode(given["tests"]))

    def report(index):
        line = {"cell": index, "outputs": notebook.cells[index].outputs}
        pipe.write(json.dumps(line) + "\n")
        pipe.flush()

    trouble = Run(notebook, tests, os.getcwd(), report).all_cells()
    pipe.write(json.dumps({"trouble": trouble}) + "\n")
    pipe.flush()
