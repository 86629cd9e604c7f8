"""Run a chapter's cells in a fresh kernel, and measure what that takes."""

import math
import os
import re
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
MEMORY = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"


def execute(notebook, folder):
    """Run every cell in a fresh kernel that works in ``folder``.

    Outputs and the state of widgets go into the notebook.
    Gives (seconds, megabytes): the time of all cells, and the kernel's peak memory.
    Raises nbclient's CellExecutionError when a cell fails; the outputs so far are in the notebook.
    """
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "0",
        "HF_HUB_OFFLINE": "1",
    }
    client = NotebookClient(
        notebook,
        timeout=900,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    with client.setup_kernel(env=environment):
        start = time.perf_counter()
        for index, cell in enumerate(notebook.cells):
            client.execute_cell(cell, index)
            shorten_errors(cell)
        seconds = time.perf_counter() - start
        megabytes = peak_memory(client)
        client.set_widgets_metadata()
    return math.ceil(seconds), math.ceil(megabytes)


def shorten_errors(cell):
    """Keep the last line of each error that a cell raises on purpose, without any path.

    The lines above it are of files of the machine that the cell ran on.
    """
    for output in cell.get("outputs", []):
        if output.output_type == "error":
            output.evalue = re.sub(r" \([^()]*[/\\][^()]*\.py\)", "", output.evalue)
            output.traceback = [f"{output.ename}: {output.evalue}"]


def peak_memory(client):
    """The megabytes that a client's kernel took at most: it is asked, in a cell that goes again."""
    cells = client.nb.cells
    question = nbformat.v4.new_code_cell(MEMORY)
    cells.append(question)
    client.execute_cell(question, len(cells) - 1)
    cells.pop()
    answer = int(question.outputs[0]["text"])
    bytes_each = 1 if sys.platform == "darwin" else 1024  # getrusage counts in other units there
    return answer * bytes_each / 1024**2
