"""The folder of a run: its files are whole or not there, and one run at a time writes into it."""

import json
import os
from contextlib import contextmanager, suppress
from pathlib import Path

from accelerate.utils import broadcast_object_list
from filelock import FileLock, Timeout

LOG = "log.jsonl"
LOCK = ".lock"


def write_whole(path, data):
    """Write bytes to ``path`` whole or not at all: to a file beside it, then renamed.

    The file beside it, ``path`` with ``.part``, is a new one and through to the disk before it gets
    its name. Raises OSError when that fails. What was at ``path`` is still there then.
    """
    part = path.with_name(path.name + ".part")
    try:
        part.unlink(missing_ok=True)  # left by a run that was killed, or a link to anywhere
        with open(part, "xb") as file:  # x: made anew, or it is an error
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise unwritten(path, error.strerror) from error


def unwritten(path, reason):
    """The OSError of a file that could not be written."""
    return OSError(
        f"could not write {path} ({reason}). What was saved before is whole: make room on the "
        "disk, then start the same run again to go on"
    )


def read_log(folder):
    """Rows of ``log.jsonl``, empty where there is none.

    A row is a dict of ``step``, ``loss``, ``gradient_norm``, ``learning_rate`` and the evaluation.
    Raises ValueError when a line is cut off or has no step.
    """
    path = Path(folder) / LOG
    if not path.exists():
        return []
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            row = json.loads(line)
            is_row = type(row["step"]) is int  # True is no number
        except (ValueError, KeyError, TypeError):
            is_row = False
        if not is_row:
            raise ValueError(
                f"line {number} of {path} is cut off or has no whole number as its step: delete "
                "that line, or restore the file from a copy"
            )
        rows.append(row)
    return rows


def write_log(folder, rows):
    """Write the rows of a log, a line each."""
    lines = [json.dumps(row) + "\n" for row in rows]
    write_whole(folder / LOG, "".join(lines).encode())


@contextmanager
def locked(folder, accelerator):
    """Within ``with``, no other run gets the folder; process 0 holds the lock for all of this run.

    The operating system ends the lock with the process, however that ends. Raises BlockingIOError
    when another run has it.
    """
    lock = FileLock(folder / LOCK, timeout=0)
    problem = None
    if accelerator.is_main_process:
        try:
            lock.acquire()
        except Timeout:
            problem = BlockingIOError(
                f"another run is training in {folder}: wait until it ends, or take another folder"
            )
        except OSError as error:
            problem = unwritten(folder / LOCK, error.strerror)
    problem = broadcast_object_list([problem])[0]
    if problem:
        raise problem
    try:
        yield
    finally:
        lock.release()
