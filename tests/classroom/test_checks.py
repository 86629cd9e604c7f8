"""The checks: what they say, what they allow, and what they notice."""

import contextlib
import gc
import io

import numpy as np
import pytest
import torch

from tools.classroom.assignments import FOLDER


@pytest.fixture
def checks():
    return space_with("checks.py")


@pytest.fixture
def torch_checks():
    return space_with("checks.py", "checks_torch.py")


def space_with(*files):
    space = {"__name__": "__main__"}
    exec("\n".join((FOLDER / file).read_text(encoding="utf-8") for file in files), space)
    exec("def double(x): return 2 * x", space)
    return space


def message(checks, code, *arguments, **options):
    exec(code, checks)
    with pytest.raises(checks["CheckFailed"]) as failure:
        checks["check"](checks["double"], *arguments, **options)
    return str(failure.value)


ONES = np.ones((2, 3))


def test_a_right_answer_passes(checks):
    checks["check"](checks["double"], ONES, gives=2 * ONES)
    checks["check"](checks["double"], np.array([-np.inf, 1.0]), gives=np.array([-np.inf, 2.0]))


def test_a_failing_check_says_what_was_expected_and_what_came(checks):
    said = message(checks, "def double(x): return x[0]", ONES, gives=2 * ONES, hint="twice")
    assert "double with (2, 3): the shape is wrong" in said and "hint: twice" in said
    assert "expected: shape (2, 3)" in said and "got:      shape (3,)" in said
    assert "6 of 6 numbers are wrong" in message(
        checks, "def double(x): return x", ONES, gives=2 * ONES
    )
    assert "NaN" in message(checks, "def double(x): return x * np.nan", ONES, gives=2 * ONES)
    assert "wrong kind, bool" in message(
        checks, "def double(x): return x > 0", ONES, gives=2 * ONES
    )
    assert "not a NumPy array" in message(
        checks, "def double(x): return None", ONES, gives=2 * ONES
    )
    assert "must return 2 results" in message(
        checks, "def double(x): return x", ONES, gives=(ONES, ONES)
    )
    assert "result 2 of 2" in message(
        checks, "def double(x): return x, 2 * x", ONES, gives=(ONES, ONES)
    )
    unwritten = "def double(x): raise NotImplementedError()"
    assert message(checks, unwritten, ONES, gives=ONES) == "double is not written yet."
    missing = "def half(x): raise NotImplementedError()\ndef double(x): return half(x) * 4"
    assert (
        message(checks, missing, ONES, gives=ONES)
        == "half is not written yet, and double calls it."
    )


def test_a_check_notices_changed_inputs_and_other_libraries(checks):
    inside = "def double(x):\n    x *= 2\n    return x"
    assert "changes what it is given" in message(checks, inside, ONES, gives=2 * ONES)
    for call in (
        "yaml.safe_dump(1)",
        "[yaml.safe_dump(1)]",
        "__import__('yaml').safe_dump(1)",
        "torch.ones(1)",
        "list(map(torch.softmax, [torch.ones(1)], [0]))",
        "exec('torch.ones(1)', {'__name__': 'numpy', 'torch': torch})",
        "threading.Thread(target=print).start()",
        "subprocess.run(['true'])",
        "os.system('true')",
        "sys.setprofile(None)",
        "sys.settrace(None)",
    ):
        code = "import os, subprocess, sys, threading, torch, yaml\n"
        code += f"def double(x):\n    {call}\n    return 2 * x"
        said = message(checks, code, ONES, gives=2 * ONES)
        assert "only Python's own modules and NumPy may be used" in said, call
    caught = """
import yaml
def double(x):
    try:
        yaml.safe_dump(1)
    except BaseException:
        pass
    return 2 * x
"""
    assert "calls yaml" in message(checks, caught, ONES, gives=2 * ONES)


def test_a_check_allows_what_numpy_offers(checks):
    exec("""
import copy, itertools, math
def double(x):
    for index in itertools.product(*map(range, x.shape)):
        math.sqrt(abs(x[index]))
    y = np.einsum("ij->ij", copy.deepcopy(x)) + np.linalg.norm(x) * 0
    y = y + np.where(x > 0, x, 0).sum(-1, keepdims=True) * 0
    y = y + np.stack([dict.fromkeys("a", y)["a"]]).sum(0)
    y = np.concatenate([y], axis=-1).reshape(2, 3)
    return y + np.full_like(y, 0) * np.random.default_rng().random()
""", checks)  # fmt: skip
    checks["check"](checks["double"], ONES, gives=2 * ONES)


def test_a_check_allows_what_python_itself_offers(checks):
    exec("""
import bisect, datetime, heapq, json, logging, os, pathlib, re, string, sys
from collections import namedtuple
from collections.abc import Sequence
from dataclasses import dataclass
Row = namedtuple("Row", "total words")
@dataclass(order=True)
class Beam:
    total: float
    words: str = ""
def double(x):
    heap = [Beam(3.0), Beam(2.0)]
    heapq.heapify(heap)
    heapq.nlargest(1, [Row(1, "a"), Row(2, "b")], key=lambda row: row.total)
    bisect.bisect([1, 2], 1), re.findall("a", "banana")
    string.capwords(repr(heap[0])), isinstance(heap, Sequence)
    logging.getLogger("mine").warning("at %s", datetime.datetime.now())
    logging.info(json.dumps({"path": str(pathlib.Path(os.getcwd()) / "x")}))
    sys.getsizeof(x)
    return 2 * x
""", checks)  # fmt: skip
    checks["check"](checks["double"], ONES, gives=2 * ONES)


def test_a_function_that_is_checked_may_print(checks):
    class Screen(io.StringIO):  # as in Jupyter, where printing runs Python code of another module
        def write(self, text):
            return super().write(text)

    exec("def double(x):\n    print('so far:', x.shape, flush=True)\n    return 2 * x", checks)
    with contextlib.redirect_stdout(Screen()) as screen:
        checks["check"](checks["double"], ONES, gives=2 * ONES)
    assert screen.getvalue() == "so far: (2, 3)\n"


@pytest.mark.parametrize("collects", [True, False])
def test_what_python_tidies_up_meanwhile_is_not_blamed_on_the_function(checks, collects):
    class Ring:
        def __init__(self):
            self.itself = self  # only the garbage collector finds that nobody needs it

        def __del__(self):
            pytest.approx(1)  # code of a library that the function may not call

    exec("def double(x):\n    [[] for _ in range(20000)]\n    return 2 * x", checks)
    before = gc.isenabled()
    try:
        (gc.enable if collects else gc.disable)()
        Ring()
        checks["check"](checks["double"], ONES, gives=2 * ONES)
        assert gc.isenabled() == collects
        exec("def double(x): return None", checks)
        with pytest.raises(checks["CheckFailed"]):
            checks["check"](checks["double"], ONES, gives=2 * ONES)
        assert gc.isenabled() == collects, "also after a failure"
    finally:
        (gc.enable if before else gc.disable)()


@pytest.mark.parametrize(
    "number",
    ["0", "0.0", "np.int64(0)", "np.uint8(0)", "np.float32(0)", "np.float64(0)", "np.array(0.0)"],
)
def test_a_number_may_be_of_any_kind(checks, number):
    exec(f"def double(x): return {number}", checks)
    checks["check"](checks["double"], ONES, gives=0.0)


@pytest.mark.parametrize("other", ["False", "None", "'0'", "[0.0]", "(0,)"])
def test_what_is_not_a_number(checks, other):
    assert "the result is not a number" in message(
        checks, f"def double(x): return {other}", ONES, gives=0.0
    )


TENSOR = torch.ones(2, 3)


def test_checks_of_tensors(torch_checks):
    torch_checks["check"](torch_checks["double"], TENSOR, gives=2 * TENSOR)
    said = message(torch_checks, "def double(x): return x[0]", TENSOR, gives=2 * TENSOR)
    assert (
        "double with (2, 3): the shape is wrong" in said
        and "expected: shape (2, 3), float32" in said
    )
    assert "6 of 6 numbers" in message(
        torch_checks, "def double(x): return x", TENSOR, gives=2 * TENSOR
    )
    for code in (
        "2 * x.numpy()",
        "(2 * x).tolist()",
        "None",
    ):
        said = message(torch_checks, f"def double(x): return {code}", TENSOR, gives=2 * TENSOR)
        assert "not a tensor" in said, code
    assert "not a number" in message(
        torch_checks, "def double(x): return 6.0", TENSOR, gives=torch.tensor(6.0)
    )
    inside = "def double(x):\n    x *= 2\n    return x"
    assert "changes what it is given" in message(torch_checks, inside, TENSOR, gives=2 * TENSOR)


def test_checks_notice_what_does_the_task_of_itself(torch_checks):
    for call in (
        "nn.functional.scaled_dot_product_attention(x, x, x)",
        "nn.MultiheadAttention(3, 1)(x, x, x)",
        "nn.TransformerEncoderLayer(3, 1)(x)",
        "nn.CrossEntropyLoss()(x, x)",
        "nn.NLLLoss()(x, x[:, 0].long())",
        "list(map(nn.functional.scaled_dot_product_attention, [x], [x], [x]))",
    ):
        code = f"from torch import nn\ndef double(x):\n    {call}\n    return 2 * x"
        assert "double calls torch" in message(torch_checks, code, TENSOR, gives=2 * TENSOR), call
    code = (
        "from mmcourse.attention import MultiHeadAttention\nlayer = MultiHeadAttention(3, 1)\n"
        "def double(x):\n    layer(x[None])\n    return 2 * x"
    )
    assert "double calls mmcourse.attention" in message(
        torch_checks, code, TENSOR, gives=2 * TENSOR
    )


KINDS = {
    "a callable object": """
class Double:
    def __call__(self, x):
        return 2 * x
double = Double()
""",
    "a partial": "import functools\ndouble = functools.partial(lambda two, x: two * x, 2)",
    "a bound method": "class Own:\n    def double(self, x): return 2 * x\ndouble = Own().double",
    "a lambda": "double = lambda x: 2 * x",
    "a function of NumPy's": "double = np.vectorize(lambda x: 2 * x)",
    "one of several": "double = [lambda x: x, lambda x: 2 * x][1]",
    "unsigned whole numbers": "def double(x): return (2 * x).astype(np.uint8)",
    "a subclass of arrays": "def double(x): return (2 * x).view(type('Own', (np.ndarray,), {}))",
    "another order in memory": "def double(x): return np.asfortranarray(2 * x)",
}


@pytest.mark.parametrize("code", KINDS.values(), ids=KINDS)
def test_a_right_answer_may_be_any_kind_of_function(checks, code):
    exec(code, checks)
    checks["check"](checks["double"], ONES, gives=2 * ONES)


def test_a_callable_object_that_is_wrong_has_a_name(checks):
    code = "class Double:\n    def __call__(self, x): return x\ndouble = Double()"
    assert "Double with (2, 3): 6 of 6 numbers" in message(checks, code, ONES, gives=2 * ONES)
    code = "class Double:\n    def __call__(self, x):\n        raise NotImplementedError\n"
    code += "double = Double()"
    assert message(checks, code, ONES, gives=2 * ONES) == "Double is not written yet."


def test_two_results_may_be_a_list_or_have_names(checks):
    exec("def double(x): return [x, 2 * x]", checks)
    checks["check"](checks["double"], ONES, gives=(ONES, 2 * ONES))
    exec("import collections\nPair = collections.namedtuple('Pair', 'one two')", checks)
    exec("def double(x): return Pair(x, 2 * x)", checks)
    checks["check"](checks["double"], ONES, gives=(ONES, 2 * ONES))
    assert "result 2 of 2" in message(
        checks, "def double(x): return [x, x]", ONES, gives=(ONES, 2 * ONES)
    )
