"""Run one submission's notebook apart from the grader, in a process and an empty folder of its own.

``run`` starts tools/classroom/execution.py as a program, hands it the notebook through a pipe and
takes it back with its outputs.
"""

import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import psutil

from tools.classroom.execution import CLOCK, fail_tests, seconds_of_all

PROGRAM = Path(__file__).with_name("execution.py")


def run(notebook, seed=0):
    """The notebook after it ran, and a sentence about what went wrong as a whole, or ""."""
    mark = secrets.token_hex(8)
    wait = CLOCK * seconds_of_all(notebook) + 60
    with tempfile.TemporaryDirectory(prefix="submission-") as folder:
        process = subprocess.Popen(
            [sys.executable, "-P", str(PROGRAM)],
            cwd=folder,
            env=environment(folder, mark, seed),
            text=True,
            encoding="utf-8",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            text, _ = process.communicate(nbformat.writes(notebook), timeout=wait)
            done = nbformat.reads(text, as_version=4)
            return done, done.metadata.pop("trouble", "")
        except subprocess.TimeoutExpired:
            reason = f"The notebook could not be stopped in {wait} seconds."
        except (
            Exception
        ):  # no notebook came back; whatever was done to the process, go on to the next
            reason = "The process that ran the notebook was killed."
        finally:
            kill(mark)
            process.wait()
    return fail_tests(notebook, reason), reason


def environment(folder, mark, seed):
    """All the variables that the process sees; by ``mark`` it is found again."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": folder,
        "TMPDIR": folder,
        "LANG": "C.UTF-8",
        "OMP_NUM_THREADS": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONNOUSERSITE": "1",
        "MMCOURSE_SUBMISSION": mark,
        "MMCOURSE_SEED": str(seed),
    }


def kill(mark):
    """End every process that the submission left behind, in whatever group or session it hides."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("MMCOURSE_SUBMISSION") == mark:
                process.kill()
        except psutil.Error:
            continue
