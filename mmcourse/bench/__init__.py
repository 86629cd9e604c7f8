"""``mmcourse bench``: how fast is ours, beside the libraries that people use, on this machine?

What is raced stands in :mod:`mmcourse.bench.races`, one module a race; how time is taken, in
:mod:`mmcourse.bench.timing`; what a row says, in :mod:`mmcourse.bench.table`; how rows are kept in
a file, in :mod:`mmcourse.bench.results`.
"""

import sys
import time
from functools import partial

import torch

from mmcourse.bench import results, table
from mmcourse.bench.races import RACES
from mmcourse.bench.timing import Race

COMPILING = 400  # seconds after which no row compiles its contenders: all ends in ten minutes


def bench(names, *, quick=False, device="cpu", file=None):
    """Run some races, print each row when it is measured, and return what was found.

    Args:
        names: keys of :data:`mmcourse.bench.races.RACES`.
        quick: take tiny sizes and few rounds, to see that everything works; the times mean nothing.
        device: ``cpu`` or ``cuda``.
        file: after each race, put its rows into this JSON file (see :func:`results.merge`).

    Returns a dict of the ``machine``, ``quick`` and the ``rows``, those in the file included. How
    far it is goes to stderr. Raises ValueError for a race that is not there, a device that cannot
    be used, or a file whose rows cannot stand beside the new ones.
    """
    unknown = sorted(set(names) - set(RACES))
    if unknown:
        raise ValueError(f"there is no race {unknown[0]!r}: choose of {', '.join(RACES)}")
    check_device(device)
    found = {"machine": results.machine(device), "quick": quick, "rows": []}
    if file:
        results.merge(found, file)  # a file that does not fit shows now, not in ten minutes
    print(table.heading(found), flush=True)
    start = time.perf_counter()
    for number, name in enumerate(names, 1):
        where = f"race {number} of {len(names)}, {name}"
        say = partial(progress, start, where)
        race = Race(quick, device, say, compile_until=start + COMPILING)
        for row in RACES[name](race):
            row = {"race": name} | row
            found["rows"].append(row)
            print(table.lines(row), flush=True)
        if file:
            results.write(results.merge(found, file), file)
    return results.merge(found, file) if file else found


def check_device(device):
    """Raise ValueError when tensors cannot be made there."""
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"cannot use the device {device!r} ({reason}): try cpu") from error


def progress(start, where, text):
    """Say on stderr how far the races are, and how many minutes and seconds they have taken."""
    minutes, seconds = divmod(int(time.perf_counter() - start), 60)
    print(f"{minutes}:{seconds:02} {where}: {text}", file=sys.stderr, flush=True)
