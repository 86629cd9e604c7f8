"""In the kernel of a submission: call the student's functions, and hand back the results.

What is right or wrong is not decided here, where the student's code can reach everything, but in
the process that started the kernel (tools/classroom/judging.py). Nothing here knows the results
that are wanted. This file is run inside the kernel, apart from the student's names, so it imports
nothing of the course.
"""

import base64
import builtins
import json
import pickle
import sys

import numpy as np

BUILTINS = dict(vars(builtins))  # as they were before the student's code ran
LARGEST = 20_000_000  # bytes of an array that is handed back
RESTORED = ("builtins", "math", "numpy", "operator", "random")


# Results as plain data


def encode(value):
    """A result as lists, dicts, texts and numbers; what the grader has no use for is described."""
    if isinstance(value, tuple) or (isinstance(value, list) and any(map(is_array, value))):
        return {"kind": "tuple", "items": [encode(one) for one in value]}
    if is_array(value):
        if isinstance(value, np.ndarray):
            return encode_array(np.asarray(value), "array")
        torch = sys.modules["torch"]
        plain = torch.Tensor.detach(value).as_subclass(torch.Tensor)
        return encode_array(plain.cpu().numpy(), "tensor")
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        return encode_array(np.asarray(value), "number")
    return {"kind": "other", "type": type(value).__name__, "text": repr(value)[:300]}


def is_array(value):
    """Whether a value is a NumPy array, whose masks nobody forgot, or a tensor of PyTorch's."""
    torch = sys.modules.get("torch")
    if torch and isinstance(value, torch.Tensor):
        return True
    return isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray)


def encode_array(array, kind):
    if array.dtype.kind not in "biufc" or array.nbytes > LARGEST:
        text = f"of shape {array.shape} and kind {array.dtype}"
        return {"kind": "other", "type": "array", "text": text}
    data = base64.b64encode(array.tobytes()).decode()
    return {"kind": kind, "dtype": array.dtype.str, "shape": array.shape, "data": data}


# Calls


def answer(checks, calls, space, with_given):
    """Make the calls in order, until one fails: [{"result": ...} or {"failed": why}, ...].

    ``checks`` is the text of the checks, ``calls`` are (function, arguments, given, after), pickled
    each. A function is a name of the student's, or code of the grader's. ``given`` are functions
    that replace the student's while it runs, if ``with_given``. The argument {"named": "x"} is what
    the student's notebook calls x. ``after`` says what of the outcome
    is handed back; None means the result.
    """
    own = {"__name__": "__main__", "__builtins__": BUILTINS}
    exec(compile(checks, "<checks>", "exec"), own)
    own["STUDENT"] = space
    outcomes = []
    for call in calls:
        function, arguments, given, after = pickle.loads(call)
        name = function if isinstance(function, str) else function.__name__
        replaced = given if with_given else {}
        kept = {key: space[key] for key in replaced if key in space}
        space.update(replaced)
        try:
            arguments = [space[one["named"]] if is_named(one) else one for one in arguments]
            if isinstance(function, str):
                result = own["result_of"](space[function], arguments, name)
            else:
                result = function(*arguments)
            if after:
                result = after(result, *arguments)
            outcomes.append({"result": encode(result)})
        except KeyError as error:
            outcomes.append({"failed": f"There is no {error.args[0]}."})
        except own["CheckFailed"] as error:
            outcomes.append({"failed": str(error)})
        except Exception as error:
            outcomes.append({"failed": f"{name} stops with {type(error).__name__}: {error}"})
        finally:
            for key in replaced:
                del space[key]
            space.update(kept)
        if "failed" in outcomes[-1]:
            break
    return outcomes


def is_named(value):
    return isinstance(value, dict) and set(value) == {"named"}


def answer_files(checks, calls_file, results_file, space, with_given):
    """The same from a file into a file, in a kernel whose tools a student may have changed."""
    restore()
    with BUILTINS["open"](calls_file, "rb") as file:
        calls = pickle.load(file)
    outcomes = answer(checks, calls, space, with_given)
    with BUILTINS["open"](results_file, "w", encoding="utf-8") as file:
        json.dump(outcomes, file)


# What a student's code may have changed


MODULES = {name: dict(vars(sys.modules[name])) for name in RESTORED if name in sys.modules}


def restore():
    """Put back builtins and NumPy's functions, and take out what listens to other people's code."""
    for name, content in MODULES.items():
        vars(sys.modules[name]).update(content)
    sys.setprofile(None)
    sys.settrace(None)
