"""How contenders are timed, and what a row of the table holds.

In each round of a race every contender does the same work once, and the next round goes the other
way round, so that a busy moment slows all of them. A ratio is the median over the rounds, with the
quartiles beside it.
"""

import math
import time
from functools import partial
from statistics import median, quantiles
from typing import NamedTuple

import torch

from mmcourse.bench.profiling import shares

SECONDS = 6  # of rounds, for a row
ROUNDS = 8  # at least, so that quartiles mean something


class Step(NamedTuple):
    """Work of a module: ``run(call)``, where ``call`` is the module or a faster form of it."""

    module: torch.nn.Module  #: what is measured
    run: object  #: calls it, given the form to call


class Race:
    """The conditions of a race.

    ``quick`` asks for tiny sizes and three rounds; ``say(text)`` tells the user how far it is. A
    row that begins after ``compile_until``, by ``time.perf_counter()``, compiles nothing.
    """

    def __init__(self, quick=False, device="cpu", say=print, compile_until=math.inf):
        self.quick = quick
        self.device = torch.device(device)
        self.say = say
        self.compile_until = compile_until

    def time(self, run):
        """Seconds of one call, to the end of what it started on the device."""
        self.wait()
        start = time.perf_counter()
        run()
        self.wait()
        return time.perf_counter() - start

    def wait(self):
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)

    def rounds(self, contenders):
        """Seconds of each contender, a function, in each round: a dict of lists."""
        times = {name: [] for name in contenders}
        order = list(contenders)
        least = 3 if self.quick else ROUNDS
        seconds = 0 if self.quick else SECONDS
        start = time.perf_counter()
        count = 0
        while count < least or time.perf_counter() - start < seconds:
            for name in order:
                times[name].append(self.time(contenders[name]))
            order.reverse()
            count += 1
        return times

    def settle(self, steps):
        """The fastest form of each Step, as functions by name, and remarks on how each runs.

        Either all may be compiled or none. A None, for a library that is missing, stays None.
        """
        torch.compiler.reset()  # it compiles one function for so many modules only, then no more
        compiling = time.perf_counter() < self.compile_until
        runs = {}
        notes = []
        for name, step in steps.items():
            if step is None:
                runs[name] = None
                continue
            self.say(f"the fastest setting of {name}")
            setting, runs[name] = self.fastest(step, compiling)
            notes.append(f"{name}: {setting}")
        return runs, notes

    def fastest(self, step, compiling=True):
        """The fastest setting of a Step: its name and a function.

        Tried are float32, bfloat16 (autocast around the module), and, if ``compiling``,
        ``torch.compile`` with the faster of the two.
        """
        if self.quick:
            return "float32", partial(step.run, step.module)
        calls = {"float32": step.module, "bfloat16": self.in_bfloat16(step.module)}
        seconds = {name: self.trial(step, call) for name, call in calls.items()}
        name = min(seconds, key=seconds.get)
        if not compiling:
            return f"{name}, not compiled to save time", partial(step.run, calls[name])
        try:
            compiled = torch.compile(calls[name])
            if self.trial(step, compiled) < seconds[name]:
                return f"{name}, compiled", partial(step.run, compiled)
        except Exception:  # of many kinds: no compiler here, or a model that it cannot take
            pass
        return name, partial(step.run, calls[name])

    def trial(self, step, call):
        """Seconds of the best of three calls, after a first one, which allocates and compiles."""
        step.run(call)
        return min(self.time(partial(step.run, call)) for _ in range(3))

    def in_bfloat16(self, module):
        """The module under autocast."""

        def low(*inputs, **named):
            with torch.autocast(self.device.type, torch.bfloat16):
                return module(*inputs, **named)

        return low

    def row(self, what, sizes, contenders, goal=None, *, work=None, unit="ms", notes=()):
        """Race, and return the row, a dict.

        Args:
            what: the work, in words.
            sizes: its sizes, in words.
            contenders: functions without arguments by name, ours first; or None when the library
                is missing.
            goal: how many times faster than its fastest peer ours shall be.
            work: how much each contender does in a call; without it, milliseconds are shown.
            unit: of ``work`` a second.
            notes: remarks on the row.
        """
        self.say(f"{what}, {sizes}")
        notes = list(notes)
        runs = {}
        for name, run in contenders.items():
            if run is None:
                notes.append(f"{name} is not installed (pip install '.[test]')")
            else:
                runs[name] = run
        times = self.rounds(runs)
        row = {"what": what, "sizes": sizes, "unit": unit, "notes": notes}
        row |= compare(times, work or dict.fromkeys(runs, 1), in_ms=unit == "ms")
        row |= verdict(row, goal)
        raced = ["ours"]
        if "peer_name" in row:
            raced.append(row["peer_name"])
        row["profile"] = {name: shares(self, runs[name]) for name in raced}
        return row


def compare(times, work, in_ms):
    """Ours, the first, beside the fastest of the others: a part of a row.

    ``times`` are the seconds of each contender in each round, ``work`` what each does in a call.
    """
    ours, *others = times
    speed = {name: work[name] / median(seconds) for name, seconds in times.items()}
    shown = {name: 1000 / value if in_ms else value for name, value in speed.items()}
    if not others:
        return {"ours": shown[ours]}
    peer = max(others, key=speed.get)
    ratios = [
        (work[ours] / mine) / (work[peer] / theirs)
        for mine, theirs in zip(times[ours], times[peer], strict=True)
    ]
    low, ratio, high = quantiles(ratios, n=4)
    return {
        "ours": shown[ours],
        "peer": shown[peer],
        "peer_name": peer,
        "ratio": ratio,
        "spread": [low, high],
        "rounds": len(ratios),
    }


def verdict(row, goal):
    """The goal of a row and whether it is reached: ``yes``, ``no``, or ``draw``.

    It is a draw where the quartiles lie on both sides of the goal.
    """
    if goal is None:
        return {"goal": None, "reached": None}
    reached = None
    if "spread" in row:
        low, high = row["spread"]
        reached = "draw"
        if low >= goal:
            reached = "yes"
        elif high < goal:
            reached = "no"
    return {"goal": f"≥ {goal}", "reached": reached}
