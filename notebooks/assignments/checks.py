# The checks. You need not read this cell. Changing it changes nothing: the grader brings its own copy.
import inspect
import linecache
import os
import sys
from contextlib import nullcontext

import numpy as np

ALLOWED = {"__main__", "abc", "bisect", "builtins", "collections", "contextlib", "copy", "dataclasses", "decimal",
           "fractions", "functools", "heapq", "itertools", "math", "numpy", "operator", "random", "re", "secrets",
           "statistics", "string", "threading", "time", "typing", "warnings"}  # NumPy's dice call secrets and threading
FORBIDDEN = set()  # functions of a library that is allowed otherwise
MAY_USE = "Python and NumPy"
ARRAY, KIND = np.ndarray, "NumPy array"  # what a result must be
NUMBER = (int, float, np.int64, np.float32, np.float64)  # and what it may be where one number is wanted


def as_array(value):
    """What holds the numbers of a result: a NumPy array. Assignments in PyTorch put another function here."""
    return value


def copy_of(value):
    return value.copy() if isinstance(value, ARRAY) else value


def watching(complain):
    """What a function runs in; assignments in PyTorch watch its calls here."""
    return nullcontext()


class CheckFailed(AssertionError):
    """A check that failed; the notebook shows its message and no traceback."""

    def _render_traceback_(self):
        return [str(self)]


def describe(value):
    """One line or a few about a value: its shape and its numbers."""
    value = as_array(value)
    if not isinstance(value, np.ndarray):
        return f"{type(value).__name__} {value!r}"[:300]
    text = np.array2string(value, precision=4, suppress_small=True, threshold=60, prefix=" " * 12)
    return f"shape {value.shape}, {value.dtype}\n            {text}"


def place(error, function):
    """The line of your code in which an error came up, or nothing."""
    frames, step = [], error.__traceback__
    while step:
        if step.tb_frame.f_globals is home_of(function) and step.tb_frame.f_code is not watched.__code__:
            frames.append(step)
        step = step.tb_next
    line = linecache.getline(frames[-1].tb_frame.f_code.co_filename, frames[-1].tb_lineno).strip() if frames else ""
    return f"\n  in the line: {line}" if line else ""


def home_of(function):
    """The names that your function sees, also when it has a decorator."""
    return inspect.unwrap(function).__globals__


def watched(function, arguments):
    """Call the function; complain when your code calls, on the way, what it may not use."""
    name = function.__name__

    def complain(what):
        found.append(what)
        raise CheckFailed(message.format(*found))

    def watch(frame, event, called):
        caller = frame.f_back if event == "call" else frame
        if event == "call" and frame.f_globals.get("__name__", "").startswith("mmcourse."):
            complain(f"{frame.f_globals['__name__']}.{frame.f_code.co_name}")
        if (event not in ("call", "c_call") or caller is None or caller.f_code is watched.__code__
                or caller.f_globals.get("__name__") != "__main__"):
            return
        if event == "call":
            home, what = frame.f_globals.get("__name__", ""), frame.f_code.co_name
        else:
            owner, what = getattr(called, "__self__", None), called.__name__
            kind = owner if isinstance(owner, type) else type(owner)
            home = called.__module__ or (owner.__name__ if kind is type(sys) else kind.__module__)
        base = home.split(".")[0]
        known = base in ALLOWED or base.removeprefix("_") in ALLOWED or home == "importlib._bootstrap"
        known = known or base.startswith("namedtuple_") or what in ("write", "flush")  # which print calls
        thread = (home, what) == ("threading", "start")  # nobody watches what runs there
        if what in FORBIDDEN or thread or not known:
            complain(f"{home}.{what}")

    message = f"{name} calls {{0}}.\n  Here only {MAY_USE} may be used: write the steps yourself."
    found, before = [], sys.getprofile()
    try:
        with np.errstate(all="ignore"), watching(complain):
            sys.setprofile(watch)
            try:
                result = function(*arguments)
            finally:
                sys.setprofile(before)
    except NotImplementedError:
        missing = inspect.trace()[-1].function
        caller = f", and {name} calls it" if missing != name else ""
        raise CheckFailed(f"{missing} is not written yet{caller}.") from None
    except CheckFailed:
        raise
    except Exception as error:
        raise CheckFailed(f"{name} stops with {type(error).__name__}: {error}{place(error, function)}") from None
    if found:
        raise CheckFailed(message.format(*found))
    return result


def compare(got, want, about, hint, within):
    """Complain unless ``got`` has the type, the shape and the numbers of ``want``."""

    def complain(problem):
        lines = [f"{about}: {problem}", f"  expected: {describe(want)}", f"  got:      {describe(got)}"]
        raise CheckFailed("\n".join(lines + [f"  hint: {hint}"] * bool(hint)))

    if isinstance(want, tuple):
        if not isinstance(got, tuple) or len(got) != len(want):
            complain(f"it must return {len(want)} results, separated by a comma.")
        for number, (one, wanted) in enumerate(zip(got, want, strict=True), 1):
            compare(one, wanted, f"{about}, result {number} of {len(want)}", hint, within)
        return
    want = np.asarray(as_array(want))
    if want.ndim == 0 and type(got) in NUMBER:
        got = np.asarray(got)
    elif type(got) is not ARRAY:
        complain(f"the result is not a {KIND}." if want.ndim else "the result is not a number.")
    got = as_array(got)
    if got.dtype.kind != want.dtype.kind and {got.dtype.kind, want.dtype.kind} != {"i", "f"}:
        complain(f"the numbers are of the wrong kind, {got.dtype} instead of {want.dtype}.")
    if got.shape != want.shape:
        complain("the shape is wrong.")
    if got.dtype.kind == "f" and (got != got).any():
        complain("there are NaNs in the result.")
    wrong = (got != want) if want.dtype.kind == "b" else ~(abs(got - want) <= within * (1 + abs(want)))
    if wrong.any():
        complain(f"{int(wrong.sum())} of {wrong.size} numbers are wrong.")


def check(function, *arguments, gives, hint="", given=None, within=1e-6):
    """Call ``function`` and compare the result with ``gives``, a value or a function of the same arguments.

    ``given`` replaces functions that yours calls, so that a mistake in one of them is not counted twice.
    """
    copies = [copy_of(value) for value in arguments]
    shapes = [f"{tuple(value.shape)}" if isinstance(value, ARRAY) else type(value).__name__ for value in arguments]
    space = home_of(function)
    kept = {name: space[name] for name in given or {} if name in space}
    space.update(given or {})
    try:
        got = watched(function, copies)
    finally:
        space.update(kept)
    about = f"{function.__name__} with {', '.join(shapes)}"
    for value, copy in zip(arguments, copies, strict=True):
        value, copy = as_array(value), as_array(copy)
        if isinstance(value, np.ndarray) and not np.array_equal(value, copy, equal_nan=value.dtype.kind == "f"):
            raise CheckFailed(f"{about}: it changes what it is given.\n  hint: make a new array instead.")
    compare(got, gives(*arguments) if callable(gives) else gives, about, hint, within)


def fresh(name):
    """A generator of random numbers for the hidden tests: the same on every run of one class."""
    return np.random.default_rng([int(os.environ.get("MMCOURSE_SEED", "0")), *name.encode()])
