"""How fast is ours? It races against the libraries that people use, on this machine: ``mmcourse bench``.

In each round of a race every contender does the same work once, and the next round goes the other way round, so that a
busy moment slows all of them. A ratio is the median over the rounds, with the quartiles beside it. Each contender runs
at the setting that is fastest for it here (:meth:`Race.fastest`). What is raced stands in :mod:`mmcourse.bench.races`.
"""

import importlib.util
import platform
import time
from functools import partial
from importlib import metadata
from statistics import median, quantiles

import torch
from torch.profiler import ProfilerActivity

from mmcourse.bench.races import ROWS

KINDS = {
    "fused attention": ("scaled_dot",),
    "convolutions": ("conv",),
    "softmax": ("softmax",),
    "GELU": ("gelu",),
    "norms": ("norm",),
    "optimiser": ("adam",),
    "compiled": ("compiled", "graph_"),
    "copies": ("copy", "cat", "index", "clone", "gather"),
}  # parts of the names of PyTorch's operations
PRODUCTS = ("aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm")


def bench(names, *, quick=False, device="cpu", profile=False):
    """Run the rows ``names``, keys of :data:`mmcourse.bench.races.ROWS`: a dict of the ``machine`` and the ``rows``.

    ``quick`` takes tiny sizes and few rounds, to see that everything works: its times mean nothing. ``profile`` adds
    where the time goes. Raises ValueError for a name that is not there or a device that cannot be used.
    """
    if unknown := sorted(set(names) - set(ROWS)):
        raise ValueError(f"there is no row {unknown[0]!r}: choose of {', '.join(ROWS)}")
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"cannot use the device {device!r} ({str(error).splitlines()[0]}): try cpu"
        ) from error
    race = Race(quick, device, profile)
    rows = [{"name": name} | row for name in names for row in ROWS[name](race)]
    chip = (
        torch.cuda.get_device_name(race.device)
        if race.device.type == "cuda"
        else platform.machine()
    )
    machine = {
        "device": f"{chip}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
    }
    for library in ("torch", "transformers", "pycocoevalcap"):
        machine[library] = (
            metadata.version(library) if importlib.util.find_spec(library) else "not installed"
        )
    return {"machine": machine, "quick": quick, "rows": rows}


class Race:
    """How contenders are timed: ``quick`` or for ten seconds a row, on which ``device``, with a ``profile`` or not."""

    def __init__(self, quick=False, device="cpu", profile=False):
        self.quick, self.device, self.profile = quick, torch.device(device), profile

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
        """Seconds of each contender, a function, in each round: a dict of lists. At least three rounds."""
        times, order, start = (
            {name: [] for name in contenders},
            list(contenders),
            time.perf_counter(),
        )
        while len(times[order[0]]) < 3 or (not self.quick and time.perf_counter() - start < 10):
            for name in order:
                times[name].append(self.time(contenders[name]))
            order.reverse()
        return times

    def fastest(self, module, step):
        """The fastest setting of ``step(module)``: its name and a function.

        Tried are float32, bfloat16 (autocast around the module), and ``torch.compile`` with the faster of the two.
        """

        def low(*inputs, **named):
            with torch.autocast(self.device.type, torch.bfloat16):
                return module(*inputs, **named)

        def trial(call):
            step(call)  # allocates, chooses kernels, compiles
            return min(self.time(partial(step, call)) for _ in range(3))

        if self.quick:
            return "float32", partial(step, module)
        calls = {"float32": module, "bfloat16": low}
        seconds = {name: trial(call) for name, call in calls.items()}
        name = min(seconds, key=seconds.get)
        try:
            compiled = torch.compile(calls[name])
            if trial(compiled) < seconds[name]:
                return f"{name}, compiled", partial(step, compiled)
        except Exception:  # of many kinds: no compiler here, or a model that it cannot take
            pass
        return name, partial(step, calls[name])

    def row(self, what, sizes, contenders, goal=None, *, work=None, unit="ms", notes=()):
        """Race, and return a dict. ``goal`` is how many times faster than its fastest peer ours, the first, shall be.

        A contender is a function without arguments; or a pair (module, step), for :meth:`fastest`; or None, when its
        library is missing. Shown is its ``work``, from a dict, by its seconds, in ``unit``; else its milliseconds.
        """
        runs, notes = {}, list(notes)
        for name, contender in contenders.items():
            if contender is None:
                notes.append(f"{name} is not installed (pip install '.[test]')")
            elif callable(contender):
                runs[name] = contender
            else:
                setting, runs[name] = self.fastest(*contender)
                notes.append(f"{name}: {setting}")
        times, (ours, *_) = self.rounds(runs), runs
        work = work or dict.fromkeys(runs, 1)
        speed = {name: work[name] / median(seconds) for name, seconds in times.items()}
        show = {name: 1000 / speed[name] if unit == "ms" else speed[name] for name in runs}
        row = {
            "what": what,
            "sizes": sizes,
            "unit": unit,
            "ours": show[ours],
            "goal": goal and f"≥ {goal}",
        }
        peer = max((name for name in runs if name != ours), key=speed.get, default=None)
        if peer:
            ratios = [
                work[ours] / mine * theirs / work[peer]
                for mine, theirs in zip(times[ours], times[peer], strict=True)
            ]
            low, ratio, high = quantiles(ratios, n=4)
            row |= {
                "peer": show[peer],
                "peer_name": peer,
                "ratio": ratio,
                "spread": [low, high],
                "rounds": len(ratios),
                "reached": goal and ratio >= goal,
            }
        if self.profile:
            row["profile"] = {name: self.shares(runs[name]) for name in (ours, peer) if name}
        return row | {"notes": notes}

    def shares(self, run):
        """Share of each kind of work in the time of a call, by ``torch.profiler``; "Python" is what lies between."""
        cuda = self.device.type == "cuda"
        with torch.profiler.profile(
            activities=[ProfilerActivity.CPU, *[ProfilerActivity.CUDA] * cuda]
        ) as seen:
            seconds, found = self.time(run), {}
        for event in seen.key_averages():
            spent = event.self_device_time_total if cuda else event.self_cpu_time_total
            kind = (
                "matrix products"
                if event.key in PRODUCTS
                else next(
                    (
                        kind
                        for kind, parts in KINDS.items()
                        if any(part in event.key.lower() for part in parts)
                    ),
                    "other",
                )
            )
            found[kind] = found.get(kind, 0.0) + spent / 1e6 / seconds
        found["Python"] = max(0.0, 1 - sum(found.values()))
        return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def cells(row):
    """A row as seven texts: what, sizes, ours, the peer, the ratio with its quartiles, the goal, reached or not."""

    def show(number):
        return (
            f"{number:,.0f}"
            if number >= 100
            else f"{number:.1f}"
            if number >= 10
            else f"{number:.2f}"
        )

    ours, peer = (
        f"{show(row[side])} {row['unit']}" if side in row else "–" for side in ("ours", "peer")
    )
    ratio = f"{row['ratio']:.2f}" if "ratio" in row else "–"
    if "spread" in row:
        ratio += " ({:.2f} to {:.2f})".format(*row["spread"])
    reached = {None: "–", True: "yes", False: "no"}[row.get("reached")]
    return [row["what"], row["sizes"], ours, peer, ratio, row["goal"] or "–", reached]


def remarks(row):
    """Lines under the table: the peer, how each ran, and where the time went."""
    lines = ["; ".join([f"peer: {row.get('peer_name', 'none')}", *row["notes"]])]
    for name, kinds in row.get("profile", {}).items():
        lines.append(
            f"{name}: {', '.join(f'{kind} {share:.0%}' for kind, share in kinds.items() if share >= 0.02)}"
        )
    return lines


def table(found):
    """What :func:`bench` found as a text: the machine, a line for each row, then the remarks."""
    lines = [
        ["what", "sizes", "ours", "peer", "ratio", "goal", "reached"],
        *map(cells, found["rows"]),
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [", ".join(f"{name} {value}" for name, value in found["machine"].items())]
    text += [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    for number, row in enumerate(found["rows"], 1):
        text.append(f"{number}. " + "\n   ".join(remarks(row)))
    return "\n".join(text)
