# The checks. You need not read this cell. Changing it changes nothing: the grader has its own copy.
import gc
import linecache
import os
import sys
from contextlib import contextmanager, nullcontext

import numpy as np

STUDENT = globals()  # the names that your functions see
SEED = 0  # of the hidden tests' numbers
LIBRARIES = {"numpy"}  # that your functions may call, beside Python's own modules
MAY_USE = "Python's own modules and NumPy"
FORBIDDEN = set()  # functions of a library that is allowed otherwise
FORBIDDEN_STEPS = set()  # what these are made of
SHOWING = {"IPython", "ipykernel", "google"}  # what print and display run in a notebook
POWERFUL = {"cupy", "jax", "keras", "mmcourse", "mxnet", "numba", "paddle", "pandas", "scipy",
            "sklearn", "tensorflow", "torch", "transformers"}  # may not even be called by others
UNSEEN = {"_ctypes", "_posixsubprocess", "_thread", "concurrent", "ctypes", "multiprocessing",
          "subprocess"}  # would run what nobody watches
UNSEEN_FUNCTIONS = {"execv", "execve", "fork", "posix_spawn", "setprofile", "settrace", "system"}
SWITCHES = {"DisableTorchFunction", "DisableTorchFunctionSubclass", "_DisableTorchDispatch",
            "_DisablePythonDispatcher", "_disable_current_modes"}  # nobody watches behind these
ARRAY = np.ndarray  # what a result must be
KIND = "NumPy array"
NUMBER = (int, float, np.integer, np.floating)  # what it may be where one number is wanted


class CheckFailed(AssertionError):
    """A check that failed; the notebook shows its message and no traceback."""

    def _render_traceback_(self):
        return [str(self)]


# Values: arrays here; assignments in PyTorch put tensors in their place.


def as_array(value):
    """What holds the numbers of a result, as a plain NumPy array; anything else as it is."""
    return np.asarray(value) if isinstance(value, np.ndarray) else value


def copy_of(value):
    return value.copy() if isinstance(value, ARRAY) else value


def describe(value):
    """One line or a few about a value: its shape and its numbers."""
    value = as_array(value)
    if not isinstance(value, np.ndarray):
        return f"{type(value).__name__} {value!r}"[:300]
    text = np.array2string(value, precision=4, suppress_small=True, threshold=60, prefix=" " * 12)
    return f"shape {value.shape}, {value.dtype}\n            {text}"


# Running your function, and noticing what it calls


def watching(complain):
    """What a function runs in: no function of PyTorch's, by whatever way it is called."""
    torch = sys.modules.get("torch")
    return watch_torch(torch, complain) if torch else nullcontext()


@contextmanager
def watch_torch(torch, complain):
    from torch.utils._python_dispatch import TorchDispatchMode

    class Functions(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, arguments=(), options=None):
            if "torch" not in LIBRARIES or function.__name__ in FORBIDDEN:
                complain(f"torch's {function.__name__}")
            return function(*arguments, **(options or {}))

    class Steps(TorchDispatchMode):  # what functions are made of, also where the other is off
        def __torch_dispatch__(self, step, types, arguments=(), options=None):
            name = step.__name__.split(".")[0]
            if "torch" not in LIBRARIES or name in FORBIDDEN_STEPS:
                complain(f"torch's {name}")
            return step(*arguments, **(options or {}))

    with Steps(), Functions():
        yield


def switch_in(values):
    """The name of a switch that the code of one of these functions or classes uses, or nothing."""
    for value in values:
        if getattr(value, "__name__", "") in SWITCHES:
            return value.__name__
        code = getattr(value, "__code__", value)
        if hasattr(code, "co_names"):
            found = SWITCHES.intersection(code.co_names) or {switch_in(code.co_consts)}
        elif isinstance(value, type) and value.__module__ == "__main__":
            found = {switch_in(vars(value).values())}
        else:
            continue
        if any(found):
            return max(found)
    return ""


@contextmanager
def no_tidying():
    """Python's garbage collector waits: the code that it would run is not the function's doing."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


class Watch:
    """Python calls this at each call while your function runs (sys.setprofile)."""

    def __init__(self, name):
        self.name = name
        self.found = []
        self.homes = {}

    def complain(self, what):
        self.found.append(what)
        raise CheckFailed(self.message())

    def message(self):
        return (f"{self.name} calls {self.found[0]}.\n  Here only {MAY_USE} may be used, in this "
                "program and thread: write the steps yourself.")

    def __call__(self, frame, event, called):
        if event == "call":
            caller = frame.f_back
            home = self.home_of_frame(frame)
            what = frame.f_code.co_name
        elif event == "c_call":
            caller = frame
            home = home_of_builtin(called)
            what = called.__name__
        else:
            return
        if caller is None or caller.f_code is watched.__code__:
            return
        if self.is_refused(home, what, caller.f_globals is STUDENT):
            self.complain(f"{home}.{what}")

    def is_refused(self, home, what, direct):
        """May your code (``direct``), or code of a library that it calls, call this function?"""
        base = home.split(".")[0]
        if not direct:
            return base in POWERFUL - LIBRARIES
        if base in UNSEEN or (home, what) == ("threading", "start"):
            return True
        if what in FORBIDDEN or (what in UNSEEN_FUNCTIONS and base in ("nt", "posix", "sys")):
            return True
        if base in LIBRARIES | SHOWING or base in sys.stdlib_module_names:
            return False
        own = base in ("", "__main__") or base.startswith("namedtuple_")
        return not own and what not in ("write", "flush")  # which print calls

    def home_of_frame(self, frame):
        """The module whose code runs in a frame, also where its globals bear another name."""
        if frame.f_code not in self.homes:
            self.homes[frame.f_code] = module_of_file(frame.f_code.co_filename)
        return self.homes[frame.f_code] or str(frame.f_globals.get("__name__", ""))


def module_of_file(path):
    """The top module of an installed library's file, or nothing."""
    for folder in ("site-packages", "dist-packages"):
        before, found, after = path.rpartition(folder + os.sep)
        if found:
            return after.split(os.sep)[0].removesuffix(".py")
    return ""


def home_of_builtin(called):
    """The module of a function that is not written in Python."""
    owner = getattr(called, "__self__", None)
    if called.__module__:
        return called.__module__
    if isinstance(owner, type(sys)):
        return owner.__name__
    return (owner if isinstance(owner, type) else type(owner)).__module__


def watched(function, arguments, name):
    """What the function gives; complains when it stops, or calls what it may not use."""
    watch = Watch(name)
    before = sys.getprofile()
    try:
        switch = switch_in([function, *STUDENT.values()])
        if switch and "torch" in sys.modules:
            watch.complain(f"torch's {switch}")
        with np.errstate(all="ignore"), no_tidying(), watching(watch.complain):
            sys.setprofile(watch)
            try:
                result = function(*arguments)
            finally:
                sys.setprofile(before)
    except CheckFailed:
        raise
    except NotImplementedError as error:
        raise CheckFailed(unwritten(error, name)) from None
    except Exception as error:
        problem = f"{name} stops with {type(error).__name__}: {error}{line_of(error)}"
        raise CheckFailed(problem) from None
    if watch.found:
        raise CheckFailed(watch.message())
    return result


def unwritten(error, name):
    """Which function is not written yet."""
    step = error.__traceback__
    while step.tb_next:
        step = step.tb_next
    missing = step.tb_frame.f_code.co_name
    if missing in (name, "watched", "__call__"):
        return f"{name} is not written yet."
    return f"{missing} is not written yet, and {name} calls it."


def line_of(error):
    """The line of your code in which an error came up, or nothing."""
    line = ""
    step = error.__traceback__
    while step:
        frame = step.tb_frame
        if frame.f_globals is STUDENT and frame.f_code is not watched.__code__:
            line = linecache.getline(frame.f_code.co_filename, step.tb_lineno).strip() or line
        step = step.tb_next
    return f"\n  in the line: {line}" if line else ""


# Comparing


def compare(got, want, about, hint, within):
    """Complain unless ``got`` has the type, the shape and the numbers of ``want``."""
    problem = ""
    if isinstance(want, tuple):
        if isinstance(got, (tuple, list)) and len(got) == len(want):
            for number, (one, wanted) in enumerate(zip(got, want, strict=True), 1):
                compare(one, wanted, f"{about}, result {number} of {len(want)}", hint, within)
            return
        problem = f"it must return {len(want)} results, separated by a comma."
    else:
        problem = difference(got, np.asarray(as_array(want)), within)
    if problem:
        lines = [f"{about}: {problem}"]
        lines.append(f"  expected: {describe(want)}")
        lines.append(f"  got:      {describe(got)}")
        if hint:
            lines.append(f"  hint: {hint}")
        raise CheckFailed("\n".join(lines))


def difference(got, want, within):
    """In words, how ``got`` differs from the array ``want``, or nothing."""
    if want.ndim == 0 and isinstance(got, NUMBER) and not isinstance(got, bool):
        got = np.asarray(got)
    elif not isinstance(got, ARRAY):
        return f"the result is not a {KIND}." if want.ndim else "the result is not a number."
    got = as_array(got)
    numbers = {"i", "u", "f"}
    if got.dtype.kind != want.dtype.kind and not {got.dtype.kind, want.dtype.kind} <= numbers:
        return f"the numbers are of the wrong kind, {got.dtype} instead of {want.dtype}."
    if got.shape != want.shape:
        return "the shape is wrong."
    if want.dtype.kind == "b":
        wrong = got != want
    else:
        got = got.astype(np.float64)
        if np.isnan(got).any():
            return "there are NaNs in the result."
        with np.errstate(all="ignore"):
            near = np.abs(got - want) <= within * (1 + np.abs(want))
        wrong = ~(near | (got == want))  # equal infinities
    if np.any(wrong):
        return f"{int(np.sum(wrong))} of {np.size(wrong)} numbers are wrong."
    return ""


# The check itself


def name_of(function):
    return getattr(function, "__name__", type(function).__name__)


def about_call(name, arguments):
    """What a message calls this call: the function and the shapes that it got."""
    shapes = []
    for value in arguments:
        is_array = isinstance(value, ARRAY)
        shapes.append(str(tuple(value.shape)) if is_array else type(value).__name__)
    return f"{name} with {', '.join(shapes)}"


def result_of(function, arguments, name):
    """What the function gives for these arguments; complains when it changes one of them."""
    copies = [copy_of(value) for value in arguments]
    result = watched(function, copies, name)
    for value, copy in zip(arguments, copies, strict=True):
        value = as_array(value)
        if not isinstance(value, np.ndarray):
            continue
        if not np.array_equal(value, as_array(copy), equal_nan=value.dtype.kind == "f"):
            about = about_call(name, arguments)
            raise CheckFailed(f"{about}: it changes what it is given.\n  hint: make a new one.")
    return result


def check(function, *arguments, gives, hint="", within=1e-6):
    """Call ``function``, and compare what it gives with the value ``gives``."""
    name = name_of(function)
    result = result_of(function, arguments, name)
    compare(result, gives, about_call(name, arguments), hint, within)


def fresh(name):
    """A generator of random numbers for the hidden tests: the same on every run of one class."""
    return np.random.default_rng([SEED, *name.encode()])
