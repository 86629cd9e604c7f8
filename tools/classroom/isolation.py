"""Run one submission's notebook apart from the grader, in a process and an empty folder of its own.

``run`` starts tools/classroom/execution.py as a program, hands it the notebook and the calls of its
tests through a pipe, and takes back what each cell gave.
"""

import base64
import json
import os
import secrets
import subprocess
import sys
import tempfile

import cloudpickle
import nbformat
import psutil

from tools.classroom.assignments import ROOT, is_test
from tools.classroom.execution import CLOCK, fail, seconds_of_all

PROGRAM = f"""
import sys
sys.path.append({str(ROOT)!r})
from tools.classroom.execution import main
main()
"""


def run(notebook, tests):
    """The notebook after it ran, and a sentence about what went wrong as a whole, or "".

    ``tests`` are the calls of its test cells (tools/classroom/noting.py). Tests of which nothing
    came back fail.
    """
    mark = secrets.token_hex(8)
    wait = CLOCK * seconds_of_all(notebook) + 60
    pickled = base64.b64encode(cloudpickle.dumps(tests)).decode()
    given = json.dumps({"notebook": nbformat.writes(notebook), "tests": pickled})
    reason = "The process that ran the notebook was killed; this cell did not run to its end."
    with tempfile.TemporaryDirectory(prefix="submission-") as folder:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", PROGRAM],
            cwd=folder,
            env=environment(folder, mark),
            text=True,
            encoding="utf-8",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            text, _ = process.communicate(given, timeout=wait)
        except subprocess.TimeoutExpired as error:
            text = (error.stdout or b"").decode(errors="replace")
            reason = f"The notebook could not be stopped in {wait} seconds."
        except Exception:  # whatever was done to the process
            text = ""
        finally:
            process.kill()
            kill(mark)
            process.wait()
    return take_back(notebook, text, reason)


def take_back(notebook, text, reason):
    """Put what each cell gave into the notebook; ``reason`` says why lines are missing."""
    outputs = {}
    for line in text.splitlines():
        try:
            said = json.loads(line)
            if "trouble" in said:
                reason = said["trouble"]
            else:
                outputs[said["cell"]] = [nbformat.from_dict(one) for one in said["outputs"]]
        except (ValueError, KeyError, TypeError):
            continue
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            cell.outputs = outputs.get(index, [])
            if is_test(cell) and index not in outputs:
                fail(cell, reason or "This cell did not run.")
    return notebook, reason


def environment(folder, mark):
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
    }


def kill(mark):
    """End every process that the submission left behind, in whatever group or session it hides."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("MMCOURSE_SUBMISSION") == mark:
                process.kill()
        except psutil.Error:
            continue
