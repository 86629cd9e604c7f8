"""Is what a student's functions gave right? Decided in a process that their code can't reach."""

import base64
from dataclasses import dataclass

import numpy as np


@dataclass
class Call:
    """One call of a test: what the kernel gets, and what it must give."""

    request: bytes  # (function, arguments, given, after), pickled (tools/classroom/answering.py)
    about: str  # what messages call it
    gives: object  # the result that is wanted, or a function that complains about a result
    hint: str
    within: float
    has_given: bool  # whether functions of the grader replace the student's meanwhile


def run_checks(text):
    """The namespace of the checks."""
    checks = {"__name__": "__main__"}
    exec(compile(text, "<checks>", "exec"), checks)
    return checks


def judge(function):
    """Mark a function that gets a result, and complains about it in words or gives ""."""
    function.is_judge = True
    return function


def complaint(calls, outcomes, checks):
    """Why a test has not passed, or "". ``outcomes`` come from answering.answer."""
    for call, outcome in zip(calls, outcomes, strict=False):
        problem = complaint_about(call, outcome, checks)
        if problem:
            return problem
    if len(outcomes) < len(calls):
        return "The check did not run to its end."
    return ""


def complaint_about(call, outcome, checks):
    if "failed" in outcome:
        return str(outcome["failed"])
    try:
        result = decode(outcome["result"], checks)
        if hasattr(call.gives, "is_judge"):
            return call.gives(result)
        checks["compare"](result, call.gives, call.about, call.hint, call.within)
    except checks["CheckFailed"] as error:
        return str(error)
    except Exception as error:  # whatever the kernel handed back
        return f"{call.about}: the result can't be read ({type(error).__name__})."
    return ""


class Other:
    """A result that is neither an array nor a number, by its description."""

    def __init__(self, kind, text):
        self.kind = kind
        self.text = text

    def __repr__(self):
        return f"({self.kind}) {self.text}"


def decode(data, checks):
    """A result that answering.encode turned into plain data."""
    kind = data["kind"]
    if kind == "tuple":
        return tuple(decode(item, checks) for item in data["items"])
    if kind == "other":
        return Other(str(data["type"]), str(data["text"]))
    dtype = np.dtype(data["dtype"])
    if dtype.kind not in "biufc":
        return Other("array", data["dtype"])
    numbers = np.frombuffer(base64.b64decode(data["data"]), dtype)
    array = numbers.reshape([int(size) for size in data["shape"]]).copy()
    if kind == "tensor":
        return checks["torch"].from_numpy(array)
    return array[()] if kind == "number" else array
