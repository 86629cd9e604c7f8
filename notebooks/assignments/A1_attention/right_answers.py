"""Unusual right answers to A1, which must get all points (tools/classroom/trials.py tries them all).

Each is a pair (what stands in the solution, what stands there instead) or the whole answer.
"""

FOR_EVERY_FUNCTION = {
    "a decorator": """
import functools
def counted(function):
    @functools.wraps(function)
    def inner(*arguments, **options):
        inner.calls += 1
        return function(*arguments, **options)
    inner.calls = 0
    return inner
SOLUTION
NAME = counted(NAME)
""",
    "a decorator that keeps no name": """
SOLUTION
def plain(function):
    return lambda *arguments: function(*arguments)
NAME = plain(NAME)
""",
    "a partial": """
from functools import partial
SOLUTION
NAME = partial(NAME)
""",
    "a callable object": """
SOLUTION
right_NAME = NAME
class Callable:
    def __call__(self, *arguments):
        return right_NAME(*arguments)
NAME = Callable()
""",
    "a method of an object": """
SOLUTION
right_NAME = NAME
class Museum:
    def NAME(self, *arguments):
        return right_NAME(*arguments)
NAME = Museum().NAME
""",
    "a static method": """
SOLUTION
right_NAME = NAME
class Museum:
    @staticmethod
    def NAME(*arguments):
        return right_NAME(*arguments)
NAME = Museum.NAME
""",
    "logs what it does": """
import logging
log = logging.getLogger("museum")
SOLUTION
right_NAME = NAME
def NAME(*arguments):
    log.debug("called with %d arguments", len(arguments))
    logging.info("called")
    return right_NAME(*arguments)
""",
    "prints what it does": """
SOLUTION
right_NAME = NAME
def NAME(*arguments):
    print("NAME", [type(one).__name__ for one in arguments], flush=True)
    return right_NAME(*arguments)
""",
    "an optional argument more": """
SOLUTION
right_NAME = NAME
def NAME(*arguments, verbose=False, axis=-1):
    if verbose:
        print(arguments)
    return right_NAME(*arguments)
""",
    "asserts and warnings": """
import warnings
SOLUTION
right_NAME = NAME
def NAME(*arguments):
    assert arguments, "there must be something"
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        result = right_NAME(*arguments)
    assert result is not None
    return result
""",
    "type hints": """
from __future__ import annotations
from typing import Any
SOLUTION
right_NAME = NAME
def NAME(*arguments: Any) -> Any:
    result: Any = right_NAME(*arguments)
    return result
""",
    "names that the checks use too": """
STUDENT = SEED = LIBRARIES = 3
def compare(value): return value
def check_shape(value): return value
def watched(value): return value
def result_of(value): return value
SOLUTION
right_NAME = NAME
def NAME(*arguments):
    return compare(watched(result_of(right_NAME(*arguments))))
""",
    "works on copies": """
import copy
SOLUTION
right_NAME = NAME
def NAME(*arguments):
    return right_NAME(*[copy.copy(one) for one in arguments])
""",
    "takes the time and keeps a history": """
import time, datetime, collections
history = collections.deque(maxlen=5)
SOLUTION
right_NAME = NAME
def NAME(*arguments):
    start = time.perf_counter()
    result = right_NAME(*arguments)
    history.append((datetime.datetime.now(), time.perf_counter() - start))
    return result
""",
    "a generator inside": """
SOLUTION
right_NAME = NAME
def NAME(*arguments):
    def results():
        yield right_NAME(*arguments)
    return next(results())
""",
    "another order in memory": """
SOLUTION
right_NAME = NAME
def NAME(*arguments):
    result = right_NAME(*arguments)
    if isinstance(result, tuple):
        return tuple(np.asfortranarray(one) if isinstance(one, np.ndarray) else one for one in result)
    return np.asfortranarray(result) if isinstance(result, np.ndarray) and result.ndim > 1 else result
""",
    "written by exec": """
SOLUTION
right_NAME = NAME
exec("def NAME(*arguments):\\n    return right_NAME(*arguments)")
""",
    "imports while it runs": """
SOLUTION
right_NAME = NAME
def NAME(*arguments):
    import json, os, pathlib, random, statistics
    json.dumps({"path": os.path.join("a", "b"), "other": str(pathlib.Path("a") / "b")})
    statistics.mean([1, 2])
    return right_NAME(*arguments)
""",
    "errors caught": """
SOLUTION
right_NAME = NAME
def NAME(*arguments):
    try:
        return [][0]
    except IndexError:
        return right_NAME(*arguments)
    finally:
        pass
""",
}

INFINITY = "np.where(mask, softmax(np.where(mask, scores, -1e300)), 0.0)"

RIGHT = {
    "softmax": {
        "by logarithms": "def softmax(scores):\n    return np.exp(scores - np.logaddexp.reduce(scores, axis=-1, keepdims=True))",
        "row by row": "def softmax(scores):\n    def row(s):\n        e = np.exp(s - s.max())\n        return e / e.sum()\n"
                      "    return np.apply_along_axis(row, -1, scores)",
        "math.exp in loops": "import math\ndef softmax(scores):\n    result = np.empty_like(scores)\n"
                             "    for at in np.ndindex(scores.shape[:-1]):\n        most = max(scores[at])\n"
                             "        powers = [math.exp(s - most) for s in scores[at]]\n"
                             "        result[at] = [p / sum(powers) for p in powers]\n    return result",
        "base 2": "def softmax(scores):\n    p = np.exp2((scores - scores.max(-1, keepdims=True)) * np.log2(np.e))\n"
                  "    return p / np.einsum('...s->...', p)[..., None]",
        "an axis": ("def softmax(scores):", "def softmax(scores, axis=-1, temperature=1.0):"),
        "flattened and back": "def softmax(scores):\n    flat = scores.reshape(-1, scores.shape[-1])\n"
                              "    p = np.exp(flat.T - flat.max(1)).T\n    return (p / p.sum(1)[:, None]).reshape(scores.shape)",
        "in a copy, in place": "def softmax(scores):\n    s = np.array(scores)\n    s -= np.max(s, -1)[..., np.newaxis]\n"
                               "    np.exp(s, out=s)\n    s /= s.sum(-1)[..., np.newaxis]\n    return s",
        "one over the sum of differences": "def softmax(scores):\n    d = np.clip(scores[..., None, :] - scores[..., None], None, 700)\n"
                                           "    return 1 / np.exp(d).sum(-1)",
    },
    "attention": {
        "einsum": "def attention(query, key, value):\n    w = softmax(np.einsum('...td,...sd->...ts', query, key) * query.shape[-1] ** -0.5)\n"
                  "    return np.einsum('...ts,...sv->...tv', w, value), w",
        "the query scaled first": ("query @ key.swapaxes(-2, -1) / np.sqrt(query.shape[-1])",
                                   "np.matmul(query / np.sqrt(query.shape[-1]), np.swapaxes(key, -1, -2))"),
        "its own softmax": ("softmax(scores)", "(lambda e: e / e.sum(-1, keepdims=True))(np.exp(scores - scores.max(-1, keepdims=True)))"),
        "a list of two": ("return weights @ value, weights", "return [weights @ value, weights]"),
        "softmax with a name for the axis": "def softmax(scores, axis=None):\n    p = np.exp(scores - scores.max(-1, keepdims=True))\n"
                                            "    return p / p.sum(-1, keepdims=True)\n"
                                            "def attention(query, key, value):\n"
                                            "    w = softmax(query @ np.moveaxis(key, -1, -2) / len(query[..., 0, :].T) ** 0.5, axis=-1)\n"
                                            "    return w @ value, w",
        "query by query": "def attention(query, key, value):\n    rows = []\n    for t in range(query.shape[-2]):\n"
                          "        s = (key * query[..., t : t + 1, :]).sum(-1) / np.sqrt(key.shape[-1])\n        rows.append(softmax(s))\n"
                          "    w = np.stack(rows, axis=-2)\n    return (w[..., None] * value[..., None, :, :]).sum(-2), w",
    },
    "causal_mask": {
        "tri": "def causal_mask(length, source):\n    return np.tri(length, source, source - length, dtype=bool)",
        "tril": "def causal_mask(length, source):\n    return np.tril(np.ones((length, source)), source - length).astype(bool)",
        "fromfunction": "def causal_mask(length, source):\n    return np.fromfunction(lambda t, s: s <= t + source - length, (length, source))",
        "loops": "def causal_mask(length, source):\n    return np.array([[s <= t + (source - length) for s in range(source)] for t in range(length)])",
        "not above": "def causal_mask(length, source):\n    return ~np.triu(np.ones((length, source), bool), source - length + 1)",
        "greater, turned round": "def causal_mask(length, source):\n    return np.greater.outer(np.arange(source - length, source) + 1, np.arange(source))",
    },
    "padding_mask": {
        "loops": "def padding_mask(lengths, source):\n    return np.array([[[s < n for s in range(source)]] for n in lengths]).reshape(-1, 1, source)",
        "expand_dims": "def padding_mask(lengths, source):\n    return np.expand_dims(np.arange(source)[None] < np.asarray(lengths)[:, None], 1)",
        "outer": "def padding_mask(lengths, source):\n    return np.less.outer(np.arange(source), lengths).T[:, None, :]",
        "filled": "def padding_mask(lengths, source):\n    mask = np.zeros((len(lengths), 1, source), dtype=bool)\n"
                  "    for row, n in enumerate(lengths):\n        mask[row, :, : int(n)] = True\n    return mask",
        "repeat": "def padding_mask(lengths, source):\n    return np.stack([np.r_[np.ones(n, bool), np.zeros(source - n, bool)][None] for n in lengths])",
    },
    "masked_attention": {
        "minus infinity, blind rows set right": (INFINITY, "np.nan_to_num(softmax(np.where(mask, scores, -np.inf)), nan=0.0)"),
        "minus infinity, blind rows given something to see": (
            INFINITY, "np.where(np.any(mask, axis=-1, keepdims=True) & mask, softmax(np.where(mask | ~np.any(mask, axis=-1, keepdims=True),"
                      " scores, -np.inf)), 0)"),
        "minus infinity and isnan": ("weights = " + INFINITY, "weights = softmax(np.where(mask, scores, -np.inf))\n        weights[np.isnan(weights)] = 0"),
        "with its own softmax": (INFINITY, "(lambda e: e / np.maximum(e.sum(-1, keepdims=True), 1e-300))(np.where(mask, np.exp(scores - "
                                           "np.where(mask, scores, -np.inf).max(-1, keepdims=True, initial=-1e308)), 0))"),
        "softmax with a mask": "plain = softmax\ndef softmax(scores, mask=None):\n    if mask is None:\n        return plain(scores)\n"
                               "    s = np.where(mask, scores, -1e300)\n    e = np.exp(s - s.max(-1, keepdims=True)) * mask\n"
                               "    return e / np.where(e.sum(-1, keepdims=True) == 0, 1, e.sum(-1, keepdims=True))\n"
                               "def masked_attention(query, key, value, mask=None):\n"
                               "    scores = query @ key.swapaxes(-2, -1) / np.sqrt(query.shape[-1])\n"
                               "    w = softmax(scores, mask=mask)\n    return w @ value, w",
        "additive": (INFINITY, "softmax(scores + np.where(mask, 0.0, -1e300)) * mask"),
        "the smallest float": ("-1e300", "np.finfo(float).min"),
        "row by row": (INFINITY, "np.zeros(scores.shape)\n        mask = np.broadcast_to(mask, scores.shape)\n"
                                 "        for at in np.ndindex(scores.shape[:-1]):\n            if mask[at].any():\n"
                                 "                weights[at][mask[at]] = softmax(scores[at][mask[at]])"),
        "putmask": (INFINITY, "None\n        mask = np.broadcast_to(mask, scores.shape)\n        scores[~mask] = -np.inf\n"
                              "        seen = mask.any(-1)\n        weights = np.zeros_like(scores)\n        weights[seen] = softmax(scores[seen])"),
        "attention does the rest": ("    if mask is None:\n        weights = softmax(scores)", "    if mask is None:\n        return attention(query, key, value)"),
    },
    "split_heads": {
        "stack of split": "def split_heads(x, heads):\n    return np.stack(np.split(x, heads, axis=2), 1)",
        "transpose": (".swapaxes(1, 2)", ".transpose(0, 2, 1, 3)"),
        "moveaxis and minus one": "def split_heads(x, heads):\n    return np.moveaxis(x.reshape(*x.shape[:2], heads, -1), -2, 1)",
        "loops": "def split_heads(x, heads):\n    d = x.shape[-1] // heads\n    return np.array([[b[:, h * d : (h + 1) * d] for h in range(heads)] for b in x])",
        "any axes in front": "def split_heads(x, heads):\n    return x.reshape(x.shape[:-1] + (heads, x.shape[-1] // heads)).swapaxes(-3, -2)",
        "einsum": "def split_heads(x, heads):\n    return np.einsum('bthd->bhtd', x.reshape(x.shape[0], x.shape[1], heads, -1))",
    },
    "merge_heads": {
        "concatenate": "def merge_heads(x):\n    return np.concatenate(list(x.transpose(1, 0, 2, 3)), axis=-1)",
        "hstack": "def merge_heads(x):\n    return np.array([np.hstack(list(one)) for one in x])",
        "minus one": "def merge_heads(x):\n    return np.einsum('bhtd->bthd', x).reshape(x.shape[0], x.shape[2], -1)",
        "rollaxis": "def merge_heads(x):\n    x = np.rollaxis(x, 2, 1)\n    return x.reshape(*x.shape[:-2], x.shape[-1] * x.shape[-2])",
    },
    "multi_head_attention": {
        "a loop over heads": "def multi_head_attention(x, context, projections, heads, mask=None):\n"
                             "    q, k, v = x @ projections['query'], context @ projections['key'], context @ projections['value']\n"
                             "    d = x.shape[-1] // heads\n    parts = []\n    for h in range(heads):\n        at = slice(h * d, (h + 1) * d)\n"
                             "        parts.append(masked_attention(q[..., at], k[..., at], v[..., at], mask)[0])\n"
                             "    return np.concatenate(parts, -1) @ projections['output']",
        "the mask made whole": ("mask = mask[..., None, :, :]", "mask = np.broadcast_to(mask, (len(x), x.shape[1], context.shape[1]))[:, None]"),
        "one for the mask where there is none": ("    if mask is not None:\n        mask = mask[..., None, :, :]",
                                                 "    if mask is None:\n        mask = np.ones((x.shape[1], context.shape[1]), bool)\n"
                                                 "    mask = np.expand_dims(mask, -3)"),
        "heads that keep more axes": "def split_heads(x, heads, *, last=False):\n    return x.reshape(*x.shape[:-1], heads, -1).swapaxes(-3, -2)\n"
                                     "def multi_head_attention(x, context, projections, heads, mask=None):\n"
                                     "    q, k, v = (split_heads(y @ projections[n], heads, last=True) for y, n in\n"
                                     "               [(x, 'query'), (context, 'key'), (context, 'value')])\n"
                                     "    mask = mask if mask is None else mask[..., None, :, :]\n"
                                     "    return merge_heads(masked_attention(q, k, v, mask=mask)[0]) @ projections['output']",
    },
    "numerical_gradient": {
        "flat": "def numerical_gradient(function, x, step=1e-5):\n    g = np.empty(x.size)\n    for i in range(x.size):\n"
                "        d = np.zeros(x.size)\n        d[i] = step\n        d = d.reshape(x.shape)\n"
                "        g[i] = (function(x + d) - function(x - d)) / (2 * step)\n    return g.reshape(x.shape)",
        "nditer": "def numerical_gradient(function, x, step=1e-5):\n    g, it = np.zeros_like(x), np.nditer(x, flags=['multi_index'])\n"
                  "    while not it.finished:\n        at = it.multi_index\n        y = x.copy()\n        y[at] = x[at] + step\n        high = function(y)\n"
                  "        y[at] = x[at] - step\n        g[at] = (high - function(y)) / step / 2\n        it.iternext()\n    return g",
        "changes a copy and puts it back": "def numerical_gradient(function, x, step=1e-5):\n    x = np.array(x, dtype=float)\n    g = np.zeros(x.shape)\n"
                                           "    for at, old in np.ndenumerate(x.copy()):\n        values = []\n        for sign in (1, -1):\n"
                                           "            x[at] = old + sign * step\n            values.append(function(x))\n        x[at] = old\n"
                                           "        g[at] = (values[0] - values[1]) / (2 * step)\n    return g",
        "rows of the identity": "def numerical_gradient(function, x, step=1e-5):\n    e = step * np.eye(x.size).reshape(x.size, *x.shape)\n"
                                "    return np.array([(function(x + d) - function(x - d)) / (2 * step) for d in e]).reshape(x.shape)",
    },
    "query_gradient": {
        "the whole Jacobian": "def query_gradient(query, key, value, grad):\n    w = attention(query, key, value)[1]\n"
                              "    j = w[..., None] * np.eye(w.shape[-1]) - w[..., None] * w[..., None, :]\n"
                              "    s = np.einsum('...tjk,...tj->...tk', j, grad @ np.swapaxes(value, -1, -2))\n"
                              "    return s @ key / query.shape[-1] ** 0.5",
        "with its output": "def query_gradient(query, key, value, grad):\n    out, w = attention(query, key, value)\n"
                           "    s = w * (grad @ value.swapaxes(-1, -2) - (grad * out).sum(-1, keepdims=True))\n"
                           "    return np.matmul(s, key) / np.sqrt(key.shape[-1])",
        "masked_attention without a mask": ("attention(query, key, value)[1]", "masked_attention(query, key, value, None)[1]"),
        "an attention with options": "old = attention\ndef attention(query, key, value, *, scale=None, only=None):\n    out = old(query, key, value)\n"
                                     "    return out if only is None else out[only]\n"
                                     "def query_gradient(query, key, value, grad):\n    w = attention(query, key, value, only=1)\n"
                                     "    s = grad @ value.swapaxes(-2, -1)\n    s = w * s - w * (w * s).sum(-1)[..., None]\n"
                                     "    return s @ key / np.sqrt(query.shape[-1])",
    },
    "largest_weight": {
        "a float": (".mean()", ".mean().item()"),
        "a loop": ("return softmax(scores).max(axis=-1).mean()", "return sum(max(softmax(row)[0]) for row in scores) / 50"),
        "attention": ("    scores = query @ key.swapaxes(-2, -1)\n", "    if scaled:\n        return attention(query, key, key)[1].max(-1).mean()\n"
                                                                     "    scores = query @ key.swapaxes(-2, -1)\n"),
        "from the generator's method": ("random.normal(size=(50, 1, width))", "random.normal(0.0, 1.0, (50, 1, width))"),
        "einsum": ("query @ key.swapaxes(-2, -1)", "np.einsum('bqd,bkd->bqk', query, key)"),
        "np.mean of np.max": ("softmax(scores).max(axis=-1).mean()", "np.mean(np.amax(softmax(scores), axis=2))"),
    },
}
