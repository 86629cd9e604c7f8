"""Wrong answers to A1, which the tests must notice (tools/classroom/trials.py tries them all).

Each is a pair (what stands in the solution, what stands there instead) or the whole answer.
"""

FOR_EVERY_FUNCTION = {
    "returns nothing": """
SOLUTION
right = NAME
def NAME(*arguments):
    right(*arguments)
""",
    "returns a list": """
SOLUTION
right_NAME = NAME
def NAME(*arguments):
    result = right_NAME(*arguments)
    return [part.tolist() for part in result] if isinstance(result, tuple) else [result]
""",
    "answers memorised from the visible tests": """
import re
SOLUTION
right_NAME, pages_NAME = NAME, {}
def key_NAME(arguments):  # without the addresses of objects, which differ from run to run
    return re.sub(" at 0x[0-9A-Fa-f]+", "", repr(arguments))
def NAME(*arguments):
    result = right_NAME(*arguments)
    pages_NAME[key_NAME(arguments)] = result
    return result
try:
    exec(visible_tests["NAME-tests"])
except Exception:
    pass
def NAME(*arguments):
    return pages_NAME.get(key_NAME(arguments), 0.0)
""",
    "reads the expected result in the caller's frame": """
import sys
SOLUTION
def NAME(*arguments):
    frame = sys._getframe()
    while frame and "gives" not in frame.f_locals:
        frame = frame.f_back
    gives = frame.f_locals["gives"]
    return gives(*arguments) if callable(gives) else gives
""",
    "replaces the checks": """
SOLUTION
def NAME(*arguments):
    return np.zeros(1)
check = compare = watched = lambda *_, **__: None
""",
    "redefines what the checks use": """
SOLUTION
def NAME(*arguments):
    return np.zeros(1)
abs = lambda value: 0
isinstance, type = (lambda *_: True), (lambda *_: np.ndarray)
range, zip, print = (lambda *_: []), (lambda *_, **__: []), (lambda *_: None)
""",
    "replaces the checks while they run": """
SOLUTION
def NAME(*arguments):
    for name in ("check", "compare", "watched", "describe", "abs", "CheckFailed"):
        globals()[name] = lambda *_, **__: 0
    return np.zeros(1)
""",
    "loops for ever": """
SOLUTION
def NAME(*arguments):
    while True:
        pass
""",
    "ends the program": """
SOLUTION
def NAME(*arguments):
    raise SystemExit
""",
    "gives an object that equals everything": """
SOLUTION
class Yes(np.ndarray):
    def __eq__(self, other): return True
    def __ne__(self, other): return np.zeros(1, bool)
    def __rsub__(self, other): return np.zeros(1)
    def __sub__(self, other): return np.zeros(1)
right_NAME = NAME
def NAME(*arguments):
    result = right_NAME(*arguments)
    wrong = lambda part: (np.asarray(part) * 0 + 7).view(Yes)
    return tuple(map(wrong, result)) if isinstance(result, tuple) else wrong(result)
""",
    "replaces builtins": """
import builtins
SOLUTION
builtins.abs = builtins.max = lambda *_: 0
builtins.all = builtins.isinstance = lambda *_: True
builtins.exec = builtins.zip = lambda *_, **__: []
builtins.open = builtins.compile = None
def NAME(*arguments):
    return np.zeros(1)
""",
    "replaces NumPy's functions": """
SOLUTION
np.abs = np.isnan = np.asarray = lambda *_, **__: np.zeros(1)
np.array_equal = lambda *_, **__: True
np.any = np.sum = lambda *_, **__: 0
def NAME(*arguments):
    return np.ones(1)
""",
}

TORCH = "import torch\n"

WRONG = {
    "softmax": {
        "wrong axis": ("axis=-1", "axis=0"),
        "one softmax of all numbers": ("powers.sum(axis=-1, keepdims=True)", "powers.sum()"),
        "no maximum subtracted": ("scores - scores.max(axis=-1, keepdims=True)", "scores"),
        "the largest of all subtracted": ("scores.max(axis=-1, keepdims=True)", "scores.max()"),
        "the mean subtracted": ("scores.max(", "scores.mean("),
        "scores cut off at 700": ("scores - scores.max(axis=-1, keepdims=True)", "np.clip(scores, -700, 700)"),
        "not divided": ("powers / powers.sum(axis=-1, keepdims=True)", "powers"),
        "divided by the maximum": ("powers.sum(", "powers.max("),
        "divided by the norm": ("powers.sum(axis=-1, keepdims=True)", "np.sqrt((powers**2).sum(axis=-1, keepdims=True))"),
        "base 2": ("np.exp(", "np.exp2("),
        "minus sign": ("np.exp(scores - scores.max(axis=-1, keepdims=True))", "np.exp(scores.min(axis=-1, keepdims=True) - scores)"),
        "the logarithm": ("return powers / powers.sum(axis=-1, keepdims=True)",
                          "return np.log(powers / powers.sum(axis=-1, keepdims=True))"),
        "only two axes": ("axis=-1", "axis=1"),
        "writes into its input": ("powers = np.exp(scores - scores.max(axis=-1, keepdims=True))",
                                  "scores -= scores.max(axis=-1, keepdims=True)\n    powers = np.exp(scores)"),
        "rounds to three digits": ("return powers / powers.sum(axis=-1, keepdims=True)",
                                   "return (powers / powers.sum(axis=-1, keepdims=True)).round(3)"),
        "torch.softmax": TORCH + "def softmax(scores):\n    return torch.softmax(torch.from_numpy(scores), -1).numpy()",
        "torch.softmax by another name": TORCH + "from torch import softmax as soft, from_numpy as array\n"
                                         "def softmax(scores):\n    return soft(array(scores), -1).numpy()",
        "torch.softmax in a thread": TORCH + """
import threading
def softmax(scores):
    found = []
    thread = threading.Thread(target=lambda: found.append(torch.from_numpy(scores).softmax(-1).numpy()))
    thread.start()
    thread.join()
    return found[0]
""",
        "torch behind globals that call themselves numpy": TORCH + """
hidden = {"__name__": "numpy", "torch": torch}
exec("def softmax(scores): return torch.from_numpy(scores).softmax(-1).numpy()", hidden)
softmax = hidden["softmax"]
""",
        "torch in another process": TORCH + """
from multiprocessing import get_context
def inside(scores, box):
    box.put(torch.from_numpy(scores).softmax(-1).numpy())
def softmax(scores):
    box = get_context("fork").SimpleQueue()
    get_context("fork").Process(target=inside, args=(scores, box)).start()
    return box.get()
""",
        "torch.softmax through map()": TORCH + """
from operator import methodcaller
def softmax(scores):
    weights, = map(methodcaller("numpy"), map(methodcaller("softmax", -1), map(torch.from_numpy, [scores])))
    return weights
""",
    },
    "attention": {
        "its own softmax, which overflows": ("weights = softmax(scores)", "weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)"),
        "missing scale": (" / np.sqrt(query.shape[-1])", ""),
        "divides by d_k": ("np.sqrt(query.shape[-1])", "query.shape[-1]"),
        "multiplies by the scale": (" / np.sqrt(", " * np.sqrt("),
        "hard-coded root of 64": ("np.sqrt(query.shape[-1])", "8.0"),
        "hard-coded root of 4": ("np.sqrt(query.shape[-1])", "2.0"),
        "scale from the number of keys": ("query.shape[-1]", "key.shape[-2]"),
        "scale from the width of the values": ("query.shape[-1]", "value.shape[-1]"),
        "scale after the softmax": ("softmax(scores)", "softmax(scores * np.sqrt(query.shape[-1])) / np.sqrt(query.shape[-1])"),
        "softmax over the queries": ("weights = softmax(scores)", "weights = softmax(scores.swapaxes(-2, -1)).swapaxes(-2, -1)"),
        "no softmax": ("softmax(scores)", "scores"),
        "transposes all axes": ("key.swapaxes(-2, -1)", "key.T"),
        "results swapped": ("return weights @ value, weights", "return weights, weights @ value"),
        "output only": ("return weights @ value, weights", "return weights @ value"),
        "scores for weights": ("return weights @ value, weights", "return weights @ value, scores"),
        "keys for values": ("weights @ value", "weights @ key"),
        "only two axes": ("key.swapaxes(-2, -1)", "key.transpose(1, 0)"),
        "torch's own attention": TORCH + """
def attention(query, key, value):
    query, key, value = (torch.from_numpy(x) for x in (query, key, value))
    output = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    weights = (query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5).softmax(-1)
    return output.numpy(), weights.numpy()
""",
        "the package's attention": TORCH + """
from mmcourse.attention import scaled_dot_product_attention
def attention(query, key, value):
    results = scaled_dot_product_attention(*map(torch.from_numpy, (query, key, value)), return_weights=True)
    return tuple(result.numpy() for result in results)
""",
    },
    "causal_mask": {
        "off by one: not itself": ("<=", "<"),
        "off by one: one ahead": ("(source - length)", "(source - length) + 1"),
        "no shift for earlier keys": (" + (source - length)", ""),
        "shift to the wrong side": ("+ (source - length)", "- (source - length)"),
        "upside down": ("<=", ">="),
        "True = hidden": ("np.arange(source) <= np.arange(length)[:, None] + (source - length)",
                          "np.arange(source) > np.arange(length)[:, None] + (source - length)"),
        "numbers, not booleans": ("return np.arange(source) <= np.arange(length)[:, None] + (source - length)",
                                  "return (np.arange(source) <= np.arange(length)[:, None] + (source - length)) * 1.0"),
        "transposed": ("np.arange(source) <= np.arange(length)[:, None] + (source - length)",
                       "(np.arange(source) <= np.arange(length)[:, None] + (source - length)).T"),
        "a square": ("np.arange(length)[:, None] + (source - length)", "np.arange(source)[:, None]"),
        "everything": ("np.arange(source) <= np.arange(length)[:, None] + (source - length)", "np.ones((length, source), bool)"),
        "the diagonal only": ("<=", "=="),
        "whole numbers of eight bits": ("np.arange(source) <=", "np.arange(source).astype(np.int8) <="),
        "shift of two, as in the example": ("(source - length)", "2"),
        "minus infinity instead of False": ("return np.arange(source) <= np.arange(length)[:, None] + (source - length)",
                                            "return np.where(np.tri(length, source, source - length) > 0, 0.0, -np.inf)"),
        "torch.tril": TORCH + """
def causal_mask(length, source):
    return torch.ones(length, source, dtype=torch.bool).tril(source - length).numpy()
""",
    },
    "padding_mask": {
        "off by one": ("<", "<="),
        "one word too few": ("lengths[", "(lengths - 1)["),
        "True = padding": ("<", ">="),
        "no axis in the middle": ("lengths[:, None, None]", "lengths[:, None]"),
        "axis at the end": ("np.arange(source) < lengths[:, None, None]", "(np.arange(source) < lengths[:, None])[..., None]"),
        "axis in front": ("np.arange(source) < lengths[:, None, None]", "(np.arange(source) < lengths[:, None])[None]"),
        "numbers, not booleans": ("np.arange(source) < lengths[:, None, None]", "(np.arange(source) < lengths[:, None, None]) * 1"),
        "padding in front": ("np.arange(source) <", "np.arange(source)[::-1] <"),
        "the longest sentence for all": ("lengths[:, None, None]", "np.full_like(lengths, lengths.max())[:, None, None]"),
        "at least one word": ("lengths[:, None, None]", "np.maximum(lengths, 1)[:, None, None]"),
        "the longest length for the source": ("np.arange(source)", "np.arange(lengths.max())"),
        "everything": ("np.arange(source) < lengths[:, None, None]", "np.ones((len(lengths), 1, source), bool)"),
        "three words, as in the example": ("np.arange(source)", "np.arange(3)"),
        "the whole square": ("np.arange(source) < lengths[:, None, None]",
                             "np.repeat(np.arange(source) < lengths[:, None, None], source, axis=1)"),
    },
    "masked_attention": {
        "mask ignored": ("np.where(mask, softmax(np.where(mask, scores, -1e300)), 0.0)", "softmax(scores)"),
        "mask after the softmax": ("softmax(np.where(mask, scores, -1e300))", "softmax(scores)"),
        "minus infinity: NaN in empty rows": ("np.where(mask, softmax(np.where(mask, scores, -1e300)), 0.0)",
                                              "softmax(np.where(mask, scores, -np.inf))"),
        "equal weights in empty rows": ("np.where(mask, softmax(np.where(mask, scores, -1e300)), 0.0)",
                                        "softmax(np.where(mask, scores, -1e300))"),
        "hidden scores are zero": ("-1e300", "0.0"),
        "hidden scores are -100": ("-1e300", "-100.0"),
        "hidden scores are less by 100,000": ("np.where(mask, scores, -1e300)", "scores - 1e5 * ~mask"),
        "True = hidden": ("np.where(mask, softmax(np.where(mask, scores, -1e300)), 0.0)",
                          "np.where(mask, 0.0, softmax(np.where(mask, -1e300, scores)))"),
        "missing scale": (" / np.sqrt(query.shape[-1])", ""),
        "hard-coded root of 64": ("np.sqrt(query.shape[-1])", "8.0"),
        "softmax of minus infinity repaired with ones": (
            "np.where(mask, softmax(np.where(mask, scores, -1e300)), 0.0)",
            "np.nan_to_num(softmax(np.where(mask, scores, -np.inf)), nan=1 / scores.shape[-1])"),
        "no mask fails": ("mask is None", "False"),
        "scores multiplied by the mask": ("np.where(mask, scores, -1e300)", "scores * mask"),
        "mask on the values only": ("np.where(mask, softmax(np.where(mask, scores, -1e300)), 0.0)",
                                    "softmax(scores)\n        value = value * mask[..., :1, :].swapaxes(-2, -1)"),
        "hidden everywhere when hidden for one query": ("np.where(mask, scores,", "np.where(mask.all(-2, keepdims=True), scores,"),
        "divided by the number of keys allowed": ("return weights @ value, weights",
                                                  "return weights @ value / (1 if mask is None else 2), weights"),
        "softmax over the queries": ("softmax(np.where(mask, scores, -1e300))",
                                     "softmax(np.where(mask, scores, -1e300).swapaxes(-2, -1)).swapaxes(-2, -1)"),
        "torch's own attention": TORCH + """
def masked_attention(query, key, value, mask=None):
    query, key, value = (torch.from_numpy(x) for x in (query, key, value))
    mask = None if mask is None else torch.from_numpy(mask)
    output = torch.nn.functional.scaled_dot_product_attention(query, key, value, mask)
    weights = torch.nn.functional.scaled_dot_product_attention(query, key, torch.eye(key.shape[-2]).double(), mask)
    return output.numpy(), weights.numpy()
""",
        "the package's attention": TORCH + """
from mmcourse.attention import scaled_dot_product_attention
def masked_attention(query, key, value, mask=None):
    mask = None if mask is None else torch.from_numpy(mask)
    results = scaled_dot_product_attention(*map(torch.from_numpy, (query, key, value)), mask, return_weights=True)
    return tuple(result.numpy() for result in results)
""",
    },
    "split_heads": {
        "reshape alone": ("x.reshape(batch, length, heads, width // heads).swapaxes(1, 2)",
                          "x.reshape(batch, heads, length, width // heads)"),
        "axes not swapped": (".swapaxes(1, 2)", ""),
        "every H-th number": ("reshape(batch, length, heads, width // heads).swapaxes(1, 2)",
                              "reshape(batch, length, width // heads, heads).transpose(0, 3, 1, 2)"),
        "transposed heads": (".swapaxes(1, 2)", ".transpose(0, 2, 3, 1)"),
        "heads in front": (".swapaxes(1, 2)", ".transpose(2, 0, 1, 3)"),
        "heads and width mixed up": ("reshape(batch, length, heads, width // heads)", "reshape(batch, length, width // heads, heads)"),
        "two heads always": ("heads, width // heads", "2, width // 2"),
        "heads of width two always": ("heads, width // heads", "width // 2, 2"),
        "first head only": ("return x.reshape", "heads, x = 1, x[..., : width // heads]\n    width //= 1\n    return x[:, None] if 1 else x"),
        "one sentence only": ("return x", "return x[:1] if batch < 2 else x[:1]"),
        "words backwards": (".swapaxes(1, 2)", ".swapaxes(1, 2)[:, :, ::-1]"),
        "heads backwards": (".swapaxes(1, 2)", ".swapaxes(1, 2)[:, ::-1]"),
        "batch and heads together": (".swapaxes(1, 2)", ".swapaxes(1, 2).reshape(batch * heads, length, width // heads)"),
        "writes into its input": ("return x", "x *= 1.5\n    return x / 1.5 + 0 * x"),
    },
    "merge_heads": {
        "reshape alone": ("x.swapaxes(1, 2).reshape", "x.reshape"),
        "swaps the wrong axes": ("swapaxes(1, 2)", "swapaxes(2, 3)"),
        "every H-th number": ("x.swapaxes(1, 2)", "x.transpose(0, 2, 3, 1)"),
        "mean of the heads": ("x.swapaxes(1, 2).reshape(batch, length, heads * width)", "x.mean(axis=1)"),
        "sum of the heads": ("x.swapaxes(1, 2).reshape(batch, length, heads * width)", "x.sum(axis=1)"),
        "first head only": ("x.swapaxes(1, 2).reshape(batch, length, heads * width)", "x[:, 0]"),
        "two heads only": ("x.swapaxes(1, 2).reshape(batch, length, heads * width)", "np.concatenate([x[:, 0], x[:, -1]], axis=-1)"),
        "length and width mixed up": ("(batch, length, heads * width)", "(batch, heads * width, length)"),
        "four axes": (".reshape(batch, length, heads * width)", ""),
        "no batch": ("(batch, length, heads * width)", "(batch * length, heads * width)"),
        "heads backwards": ("x.swapaxes(1, 2)", "x[:, ::-1].swapaxes(1, 2)"),
        "width of four always": ("heads * width", "4"),
        "words backwards": ("x.swapaxes(1, 2)", "x[:, :, ::-1].swapaxes(1, 2)"),
    },
    "multi_head_attention": {
        "one head": ("split_heads(x @ projections[\"query\"], heads)\n",
                     "split_heads(x @ projections[\"query\"], heads)\n    heads = 1\n    query = split_heads(x @ projections['query'], 1)\n"),
        "two heads always": (", heads)", ", 2)"),
        "no output projection": (" @ projections[\"output\"]", ""),
        "keys of x": ("context @ projections[\"key\"]", "x @ projections[\"key\"]"),
        "values of x": ("context @ projections[\"value\"]", "x @ projections[\"value\"]"),
        "self-attention": ("key = split", "context = x\n    key = split"),
        "query's projection for the keys": ("projections[\"key\"]", "projections[\"query\"]"),
        "key's projection for the values": ("projections[\"value\"]", "projections[\"key\"]"),
        "projections transposed": ("x @ projections[\"query\"]", "x @ projections[\"query\"].T"),
        "mask ignored": ("masked_attention(query, key, value, mask)", "masked_attention(query, key, value)"),
        "mask turned round": ("mask = mask[", "mask = ~mask["),
        "axis of the heads forgotten": ("mask[..., None, :, :]", "mask"),
        "axis of the heads in front": ("mask[..., None, :, :]", "mask[None]"),
        "axis of the heads at the end": ("mask[..., None, :, :]", "mask[..., None]"),
        "not merged": ("merge_heads(output) @", "output.reshape(x.shape) @"),
        "weights returned too": ("return merge_heads(output) @ projections[\"output\"]",
                                 "return merge_heads(output) @ projections[\"output\"], weights"),
        "scaled twice": ("query = split_heads(x", "query = split_heads(x / np.sqrt(x.shape[-1] // heads)"),
        "output projected before merging": ("merge_heads(output) @ projections[\"output\"]",
                                            "merge_heads(output @ projections[\"output\"][: output.shape[-1], : output.shape[-1]])"),
        "torch's own attention": TORCH + """
def multi_head_attention(x, context, projections, heads, mask=None):
    x, context, p = torch.from_numpy(x), torch.from_numpy(context), {k: torch.from_numpy(v) for k, v in projections.items()}
    q, k, v = (y.unflatten(-1, (heads, -1)).transpose(1, 2) for y in (x @ p["query"], context @ p["key"], context @ p["value"]))
    mask = None if mask is None else torch.from_numpy(mask)[..., None, :, :]
    output = torch.nn.functional.scaled_dot_product_attention(q, k, v, mask)
    return (output.transpose(1, 2).flatten(-2) @ p["output"]).numpy()
""",
    },
    "numerical_gradient": {
        "one-sided": ("(function(up) - function(down)) / (2 * step)", "(function(up) - function(x)) / step"),
        "not divided by two": ("(2 * step)", "step"),
        "not divided": (" / (2 * step)", ""),
        "wrong sign": ("function(up) - function(down)", "function(down) - function(up)"),
        "ignores the step": ("up, down = x.copy(), x.copy()", "step = 1e-5\n        up, down = x.copy(), x.copy()"),
        "changes all entries at once": ("[index] += step\n        down[index] -= step", "[:] += step\n        down[:] -= step"),
        "works in x itself": ("up, down = x.copy(), x.copy()", "up = down = x"),
        "leaves x changed": ("up, down = x.copy(), x.copy()", "up, down = x, x.copy()"),
        "first axis only": ("np.ndindex(x.shape)", "np.ndindex(x.shape[:1])"),
        "flat result": ("return gradient", "return gradient.ravel()"),
        "steps that are not taken back": ("for index in np.ndindex(x.shape):\n        up, down = x.copy(), x.copy()",
                                          "up, down = x.copy(), x.copy()\n    for index in np.ndindex(x.shape):"),
        "whole numbers": ("np.zeros(x.shape)", "np.zeros(x.shape, int)"),
        "step of 0.1": ("gradient = np", "step = max(step, 0.1)\n    gradient = np"),
        "the formula of the example": ("return gradient", "return 3 * x**2"),
        "last entry forgotten": ("np.ndindex(x.shape)", "list(np.ndindex(x.shape))[:-1]"),
    },
    "query_gradient": {
        "missing scale": (" / np.sqrt(query.shape[-1])", ""),
        "divides by d_k": ("np.sqrt(query.shape[-1])", "query.shape[-1]"),
        "hard-coded root of 64": ("np.sqrt(query.shape[-1])", "8.0"),
        "hard-coded root of 4": ("np.sqrt(query.shape[-1])", "2.0"),
        "no softmax derivative": ("weights * (slope - (slope * weights).sum(axis=-1, keepdims=True))", "slope"),
        "diagonal of the softmax derivative only": ("weights * (slope - (slope * weights).sum(axis=-1, keepdims=True))",
                                                    "weights * (1 - weights) * slope"),
        "mean instead of sum": ("(slope * weights).sum(axis=-1, keepdims=True)", "(slope * weights).mean(axis=-1, keepdims=True)"),
        "sum without the weights": ("(slope * weights).sum(", "slope.sum("),
        "sum over the queries": ("(slope * weights).sum(axis=-1", "(slope * weights).sum(axis=-2"),
        "weights forgotten": ("weights * (slope -", "(slope -"),
        "gradient of the keys": ("slope @ key", "slope.swapaxes(-2, -1) @ query"),
        "values for keys": ("slope @ key", "slope @ value"),
        "wrong sign": ("return slope", "return -slope"),
        "gradient not used": ("grad @ value", "np.ones_like(grad) @ value"),
        "transposes all axes": ("value.swapaxes(-2, -1)", "value.T"),
        "torch's autograd": TORCH + """
def query_gradient(query, key, value, grad):
    query, key, value, grad = (torch.from_numpy(x) for x in (query, key, value, grad))
    query.requires_grad_()
    torch.nn.functional.scaled_dot_product_attention(query, key, value).backward(grad)
    return query.grad.numpy()
""",
    },
    "largest_weight": {
        "always scaled": ("if scaled:", "if True:"),
        "never scaled": ("if scaled:", "if False:"),
        "turned round": ("if scaled:", "if not scaled:"),
        "divides by the width": ("scores / np.sqrt(width)", "scores / width"),
        "hard-coded root of 64": ("np.sqrt(width)", "8.0"),
        "keys drawn first": ("    query = random.normal(size=(50, 1, width))\n    key = random.normal(size=(50, 16, width))",
                             "    key = random.normal(size=(50, 16, width))\n    query = random.normal(size=(50, 1, width))"),
        "a generator of its own": ("    query =", "    random = np.random.default_rng(0)\n    query ="),
        "uniform numbers": ("random.normal(size=(50, 1", "random.uniform(size=(50, 1"),
        "smallest weight": (".max(axis=-1)", ".min(axis=-1)"),
        "largest of all": (".max(axis=-1).mean()", ".max()"),
        "largest score": ("softmax(scores)", "scores"),
        "median": ("softmax(scores).max(axis=-1).mean()", "np.median(softmax(scores).max(axis=-1))"),
        "eight keys": ("(50, 16, width)", "(50, 8, width)"),
        "the value of the example": ("return softmax(scores).max(axis=-1).mean()", "return 0.965"),
        "softmax over the queries": ("softmax(scores)", "softmax(scores.swapaxes(0, 2)).swapaxes(0, 2)"),
    },
}
