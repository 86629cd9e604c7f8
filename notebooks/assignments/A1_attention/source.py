# %% [markdown]
# # A1 Attention: the lost module
#
# A small museum has a program that writes captions for its pictures. Last night the disk that held one file of it broke:
# `attention.py` is lost. The program's log survived. It holds a few calls with small inputs and what came back.
#
# You rebuild the module, piece by piece, in NumPy. The log pages are the checks that you see. The museum then runs your module on
# pictures and sentences of other sizes: these are the checks that you do not see. At the end you find out why an older version of the
# module, which had forgotten one small factor, could not learn.
#
# {{parts}}
#
# **Before you start:** chapter 1 of the course (attention), matrix products, NumPy's broadcasting.
#
# ## How it works
#
# - Write your code where it says `YOUR CODE HERE`, and delete the line that raises `NotImplementedError`. Helper functions go into the same cell.
# - Run the check below it. When it fails, it says what was expected, what came and a hint. A check that prints nothing has passed.
# - Only NumPy, and what Python itself brings (`math`, `itertools`, `collections`, `functools` and all its other modules). The checks notice
#   when your function calls PyTorch, `mmcourse` or another library, or starts a thread or another program. You may print what you like.
# - Your functions get arrays of `float64` and must not change them.
# - A mistake counts once in the checks that you do not see: there the grader replaces your earlier functions by correct ones of the
#   same name. So call them by name, and keep their names.
# - Before you hand in: restart the kernel and run all cells. The grader runs your notebook from top to bottom; a cell that needs more
#   than ten seconds counts as failed.
#
# **Open book.** You may read the course, the package's source and the web. The package has these functions in PyTorch, and the solutions of the
# course are public. What counts is that you can write them and explain them: your teacher may ask you to.

# %%
import numpy as np

# %% include="checks.py"

# %% [markdown]
# ## Part 1 · Softmax (8 points, 25 minutes, easy)
#
# $$ \operatorname{softmax}(s)_j = \frac{e^{s_j}}{\sum_k e^{s_k}} $$
#
# Attention scores become weights that are positive and sum to one. The softmax is taken **along the last axis**, whatever the number of
# axes. Scores of a thousand occur, and $e^{1000}$ is too large for a computer. Which number can you subtract from all scores of a row so
# that nothing overflows and the weights stay the same?

# %% answer="softmax"
def softmax(scores):
    """The softmax of `scores` (..., S) along the last axis; the same shape."""
    ### BEGIN SOLUTION
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
    ### END SOLUTION

# %% tests="softmax" points=3
check(softmax, np.log([[1.0, 2.0, 5.0]]), gives=np.array([[1, 2, 5]]) / 8,
      hint="divide each exponential by the sum of its row.")
check(softmax, np.array([[0.0, 0.0], [1000.0, 1000.0]]), gives=np.full((2, 2), 0.5),
      hint="subtract the largest score of each row before np.exp.")

# %% hidden="softmax" points=5
random = fresh("softmax")
for shape in [(7,), (3, 5), (2, 1, 4), (2, 3, 1, 6)]:
    check(softmax, random.normal(size=shape) * 3, gives=ref_softmax)
check(softmax, np.array([[-1000.0, -1001.0], [800.0, -800.0]]), gives=ref_softmax)
check(softmax, np.array([[5000.0, 0.0, 4999.0], [-1e5, -1e5, -1e5 - 2]]), gives=ref_softmax)

# %% [markdown]
# ## Part 2 · Scaled dot-product attention (11 points, 35 minutes, easy)
#
# $$ \operatorname{attention}(Q, K, V) = \operatorname{softmax}\!\left(\frac{Q K^\top}{\sqrt{d_k}}\right) V $$
#
# Each of $T$ queries of width $d_k$ is compared with each of $S$ keys; the weights mix the $S$ values. There may be axes in front (a
# batch, heads): `@` takes care of them, if you transpose only the last two. Return the output **and** the weights. Use your `softmax`.

# %% answer="attention"
def attention(query, key, value):
    """query (..., T, d_k), key (..., S, d_k), value (..., S, d_v): the output (..., T, d_v), the weights (..., T, S)."""
    ### BEGIN SOLUTION
    scores = query @ key.swapaxes(-2, -1) / np.sqrt(query.shape[-1])
    weights = softmax(scores)
    return weights @ value, weights
    ### END SOLUTION

# %% tests="attention" points=3
check(attention, np.ones((1, 4)), np.log([[1.0], [3.0]]) * np.full((2, 4), 0.5), np.array([[0.0, 8.0], [4.0, 0.0]]),
      gives=(np.array([[3.0, 2.0]]), np.array([[0.25, 0.75]])),
      hint="d_k = 4: the scores are the products divided by 2, here log 1 and log 3.")

# %% hidden="attention" points=8
random = fresh("attention")
for front, length, source, width, out in [((), 3, 5, 7, 2), ((2,), 1, 4, 3, 6), ((2, 3), 6, 2, 5, 5), ((), 4, 4, 16, 4)]:
    check(attention, random.normal(size=(*front, length, width)), random.normal(size=(*front, source, width)),
          random.normal(size=(*front, source, out)), gives=ref_attention, given={"softmax": ref_softmax})
large = random.normal(size=(2, 4)), 1000 * random.normal(size=(5, 4)), random.normal(size=(5, 3))
check(attention, *large, gives=ref_attention, given={"softmax": ref_softmax})

# %% [markdown]
# ## Part 3 · Masks (25 points, 60 minutes, medium)
#
# A **mask** is an array of booleans: `True` = may look. A sentence is written one word after another, so a word may look at itself and at
# earlier words only: the **causal mask**. Query $t$ of $T$ may look at key $s$ of $S$ when $s \le t + (S - T)$: the last query sees everything, also when
# the first keys come from an earlier step and have no query.

# %% answer="causal_mask"
def causal_mask(length, source):
    """Booleans (length, source): may target t look at source s? The last target sees all; length <= source."""
    ### BEGIN SOLUTION
    return np.arange(source) <= np.arange(length)[:, None] + (source - length)
    ### END SOLUTION

# %% tests="causal_mask" points=2
check(causal_mask, 2, 4, gives=np.array([[True, True, True, False], [True, True, True, True]]),
      hint="row t is True up to column t + (source - length), that one included.")

# %% hidden="causal_mask" points=4
for length, source in [(1, 1), (5, 5), (1, 6), (3, 7), (6, 8), (2, 300)]:
    check(causal_mask, length, source, gives=ref_causal)

# %% [markdown]
# Sentences of a batch have different lengths; the shorter ones are filled up with **padding** that nobody may look at. The axis of length 1
# in the middle stands for all queries.

# %% answer="padding_mask"
def padding_mask(lengths, source):
    """lengths (B,) whole numbers: booleans (B, 1, source), True where the source is a word and not padding."""
    ### BEGIN SOLUTION
    return np.arange(source) < lengths[:, None, None]
    ### END SOLUTION

# %% tests="padding_mask" points=2
check(padding_mask, np.array([3, 1]), 3, gives=np.array([[[True, True, True]], [[True, False, False]]]),
      hint="compare np.arange(source) with each length, and add the axis in the middle.")

# %% hidden="padding_mask" points=3
random = fresh("padding_mask")
for batch, source in [(1, 1), (4, 6), (6, 4), (3, 9)]:
    check(padding_mask, random.integers(0, source + 1, size=batch), source, gives=ref_padding)

# %% [markdown]
# Attention with a mask: a weight where the mask is `False` is **exactly zero**, and the others of its row sum to one. The mask
# broadcasts to the scores $(\ldots, T, S)$; `None` means that everything may be looked at. A row that may look nowhere (a sentence of
# length zero) has all weights zero and the output zero, never NaN. What is the softmax of a row of $-\infty$? Find a way round it.

# %% answer="masked_attention"
def masked_attention(query, key, value, mask=None):
    """As `attention`, but looks only where the boolean `mask` is True; rows that may look nowhere get zeros."""
    ### BEGIN SOLUTION
    scores = query @ key.swapaxes(-2, -1) / np.sqrt(query.shape[-1])
    if mask is None:
        weights = softmax(scores)
    else:
        weights = np.where(mask, softmax(np.where(mask, scores, -1e300)), 0.0)
    return weights @ value, weights
    ### END SOLUTION

# %% tests="masked_attention" points=4
page = np.zeros((2, 4)), np.zeros((3, 4)), np.array([[3.0], [9.0], [60.0]])
check(masked_attention, *page, np.array([[True, True, False], [True, False, False]]),
      gives=(np.array([[6.0], [3.0]]), np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])),
      hint="make the hidden scores very small before the softmax, not the weights after it.")
check(masked_attention, *page, np.array([[False, False, False], [True, True, True]]),
      gives=(np.array([[0.0], [24.0]]), np.array([[0.0] * 3, [1 / 3] * 3])),
      hint="the first row may look nowhere: its weights are zeros.")

# %% hidden="masked_attention" points=10
random = fresh("masked_attention")
for front, length, source, width in [((), 3, 5, 7), ((2,), 4, 4, 3), ((2, 3), 6, 2, 5), ((3,), 1, 8, 2)]:
    page = [random.normal(size=(*front, n, width)) * 2 for n in (length, source, source)]
    masks = [None, random.random((length, source)) < 0.5, random.random((*front, 1, source)) < 0.6]
    masks += [np.zeros((length, source), bool), random.random((*front, length, source)) < 0.7]
    for mask in masks:
        check(masked_attention, *page, mask, gives=ref_attention, given={"softmax": ref_softmax, "attention": ref_attention})
for high in (50.0, 1e6):
    page = np.full((1, 1), 40.0), np.array([[high], [-50.0], [-51.0]]), np.eye(3)
    check(masked_attention, *page, np.array([[False, True, True]]), gives=ref_attention,
          given={"softmax": ref_softmax, "attention": ref_attention})

# %% [markdown]
# ## Part 4 · Heads (21 points, 45 minutes, medium)
#
# Several attentions side by side, each on its own slice of the width: the first $d_k = D / H$ numbers of each vector belong to the first head.
# Cut the width into heads, and put it together again. `reshape` alone puts numbers into wrong places; you also need to swap two axes.

# %% answer="split_heads"
def split_heads(x, heads):
    """Cut x (B, T, D) into heads (B, H, T, D / H)."""
    ### BEGIN SOLUTION
    batch, length, width = x.shape
    return x.reshape(batch, length, heads, width // heads).swapaxes(1, 2)
    ### END SOLUTION

# %% tests="split_heads" points=2
check(split_heads, np.array([[[1.0, 2, 3, 4], [5, 6, 7, 8]]]), 2,
      gives=np.array([[[[1.0, 2], [5, 6]], [[3, 4], [7, 8]]]]),
      hint="reshape to (B, T, H, D / H), then swap the axes of T and H.")

# %% hidden="split_heads" points=3
random = fresh("split_heads")
for batch, length, width, heads in [(1, 5, 6, 3), (2, 3, 6, 2), (3, 1, 5, 5), (2, 4, 3, 1)]:
    check(split_heads, random.normal(size=(batch, length, width)), heads, gives=ref_split)

# %% answer="merge_heads"
def merge_heads(x):
    """Put heads (B, H, T, d_k) together again: (B, T, H * d_k). The inverse of split_heads."""
    ### BEGIN SOLUTION
    batch, heads, length, width = x.shape
    return x.swapaxes(1, 2).reshape(batch, length, heads * width)
    ### END SOLUTION

# %% tests="merge_heads" points=1
check(merge_heads, np.array([[[[1.0, 2], [5, 6]], [[3, 4], [7, 8]]]]),
      gives=np.array([[[1.0, 2, 3, 4], [5, 6, 7, 8]]]), hint="swap the axes of H and T, then reshape.")

# %% hidden="merge_heads" points=3
random = fresh("merge_heads")
for batch, heads, length, width in [(1, 3, 5, 2), (2, 2, 3, 3), (3, 5, 1, 1), (2, 1, 4, 3)]:
    check(merge_heads, random.normal(size=(batch, heads, length, width)), gives=ref_merge)

# %% [markdown]
# Now all of it: project `x` to queries and `context` to keys and values (`x @ projections["query"]` and so on, each $(D, D)$), split, attend,
# merge, and project with `projections["output"]`. The mask broadcasts to $(B, T, S)$ and is the same for every head: where does the axis of
# the heads go? Return the output only.

# %% answer="multi_head_attention"
def multi_head_attention(x, context, projections, heads, mask=None):
    """x (B, T, D) looks at context (B, S, D) with `heads` heads; mask broadcasts to (B, T, S). Gives (B, T, D)."""
    ### BEGIN SOLUTION
    query = split_heads(x @ projections["query"], heads)
    key = split_heads(context @ projections["key"], heads)
    value = split_heads(context @ projections["value"], heads)
    if mask is not None:
        mask = mask[..., None, :, :]
    output, weights = masked_attention(query, key, value, mask)
    return merge_heads(output) @ projections["output"]
    ### END SOLUTION

# %% tests="multi_head_attention" points=3
page = {name: np.eye(4) for name in ("query", "key", "value")} | {"output": 2 * np.eye(4)}
check(multi_head_attention, np.zeros((1, 1, 4)), np.array([[[1.0, 2, 3, 4], [3, 4, 5, 6]]]), page, 2,
      gives=np.array([[[4.0, 6, 8, 10]]]), hint="zero queries give equal weights: the mean of the context, times two.")
check(multi_head_attention, np.zeros((2, 1, 4)), np.ones((2, 3, 4)) * [[[1.0], [2], [6]]], page, 2,
      np.array([[[True, True, False]], [[True, True, True]]]), gives=np.array([[[3.0] * 4], [[6.0] * 4]]),
      hint="the mask (B, 1, S) needs one more axis, after that of the batch.")

# %% hidden="multi_head_attention" points=9
random = fresh("multi_head_attention")
correct = {"softmax": ref_softmax, "attention": ref_attention, "masked_attention": ref_attention,
           "split_heads": ref_split, "merge_heads": ref_merge}
for batch, length, source, width, heads in [(2, 3, 5, 6, 3), (1, 4, 4, 8, 2), (3, 1, 2, 5, 1), (2, 5, 3, 6, 2), (2, 2, 2, 4, 2)]:
    page = {name: random.normal(size=(width, width)) for name in ("query", "key", "value", "output")}
    x, context = random.normal(size=(batch, length, width)), random.normal(size=(batch, source, width))
    for mask in [None, random.random((batch, 1, source)) < 0.6, random.random((batch, length, source)) < 0.6,
                 random.random((length, source)) < 0.6]:
        check(multi_head_attention, x, context, page, heads, mask, gives=ref_heads, given=correct)

# %% [markdown]
# ## Part 5 · A gradient, checked (21 points, 60 minutes, hard)
#
# A formula for a derivative that was worked out on paper is soon wrong in one place. So first write the instrument that finds out. For a function $f$ of an
# array that gives one number, the **central difference** changes one entry $x_i$ at a time:
#
# $$ \frac{\partial f}{\partial x_i} \approx \frac{f(x + h e_i) - f(x - h e_i)}{2 h} $$

# %% answer="numerical_gradient"
def numerical_gradient(function, x, step=1e-5):
    """The derivatives of function(x), one number, with respect to each entry of x: an array of x's shape."""
    ### BEGIN SOLUTION
    gradient = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[index] += step
        down[index] -= step
        gradient[index] = (function(up) - function(down)) / (2 * step)
    return gradient
    ### END SOLUTION

# %% tests="numerical_gradient" points=3
def cubes(x):
    return (x**3).sum()

check(numerical_gradient, cubes, np.array([[1.0, -2.0]]), gives=np.array([[3.0, 12.0]]), within=1e-5,
      hint="change one entry at a time, up and down, in copies of x.")

# %% hidden="numerical_gradient" points=6
random = fresh("numerical_gradient")
for shape in [(5,), (2, 3), (2, 1, 4)]:
    slope, bend = random.normal(size=shape), random.normal(size=shape) * 3

    def wave(x, slope=slope, bend=bend):
        return float((slope * x).sum() + np.sin(bend * x).sum() * x.mean())

    def exact(function, x, step=1e-5, slope=slope, bend=bend):
        return slope + bend * np.cos(bend * x) * x.mean() + np.sin(bend * x).sum() / x.size

    check(numerical_gradient, wave, random.normal(size=shape), gives=exact, within=1e-6)

    def kink(x):
        return float((x**3).sum())

    point = random.normal(size=shape)
    check(numerical_gradient, kink, point, 0.5, gives=3 * point**2 + 0.25)

# %% [markdown]
# Now on paper. Let $O$ be the output of attention without a mask, $A$ the weights, and $L = \sum_{ti} G_{ti} O_{ti}$ with a given array $G$ (`grad`, of
# the output's shape), so that $\partial L / \partial O = G$. Work out, in this order:
#
# 1. $\partial L / \partial A$, from $O = A V$;
# 2. $\partial L / \partial S$ for the scores $S$: a row of the softmax has $\partial A_j / \partial S_k = A_j (\delta_{jk} - A_k)$;
# 3. $\partial L / \partial Q$, from $S = Q K^\top / \sqrt{d_k}$.

# %% answer="query_gradient"
def query_gradient(query, key, value, grad):
    """dL/dQ (..., T, d_k) of L = sum(grad * output), where output (..., T, d_v) is attention(query, key, value)[0]."""
    ### BEGIN SOLUTION
    weights = attention(query, key, value)[1]
    slope = grad @ value.swapaxes(-2, -1)
    slope = weights * (slope - (slope * weights).sum(axis=-1, keepdims=True))
    return slope @ key / np.sqrt(query.shape[-1])
    ### END SOLUTION

# %% tests="query_gradient" points=3
check(query_gradient, np.zeros((1, 4)), np.array([[2.0, 0, 0, 0], [0, 2, 0, 0]]), np.array([[1.0], [0.0]]), np.array([[4.0]]),
      gives=np.array([[1.0, -1.0, 0.0, 0.0]]),
      hint="equal weights 1/2; dL/dA = [4, 0], dL/dS = [1, -1], then times the keys and divided by 2.")

# %% hidden="query_gradient" points=9
random = fresh("query_gradient")
for front, length, source, width, out in [((), 3, 5, 7, 2), ((2,), 2, 4, 3, 6), ((2, 2), 1, 3, 2, 4), ((), 4, 4, 16, 4)]:
    page = [random.normal(size=(*front, n, w)) for n, w in [(length, width), (source, width), (source, out), (length, out)]]
    check(query_gradient, *page, gives=ref_query_gradient, within=1e-5,
          given={"softmax": ref_softmax, "attention": ref_attention, "masked_attention": ref_attention})
page = np.array([[1.0, 2, 3, 0], [9, 1, 5, 2]]), 500 * np.eye(3, 4), random.normal(size=(3, 5)), random.normal(size=(2, 5))
check(query_gradient, *page, gives=np.zeros((2, 4)), within=1e-5,
      given={"softmax": ref_softmax, "attention": ref_attention, "masked_attention": ref_attention})

# %% [markdown]
# Let the instrument judge: the difference below should be smaller than $10^{-8}$. (This cell gives no points.)

# %%
random = np.random.default_rng(0)
query, key, value, grad = (random.normal(size=(3, 4)) for _ in range(4))
numbers = numerical_gradient(lambda q: (grad * attention(q, key, value)[0]).sum(), query)
print(f"largest difference: {abs(numbers - query_gradient(query, key, value, grad)).max():.1e}")

# %% [markdown]
# ## Part 6 · Why the scale (14 points, 35 minutes, medium)
#
# The older version of the module did not divide by $\sqrt{d_k}$. Measure what that does. Draw from the generator `random`, in this order, queries
# of shape (50, 1, width) with `random.normal(size=...)` and keys of shape (50, 16, width); compute the weights, divided by the root of the
# width or not; return the mean over the 50 rows of the **largest** of the 16 weights. A value near 1 means that each query sees a single key.

# %% answer="largest_weight"
def largest_weight(width, scaled, random):
    """The mean over 50 random queries of the largest of 16 weights; the scores are scaled when `scaled` is True."""
    ### BEGIN SOLUTION
    query = random.normal(size=(50, 1, width))
    key = random.normal(size=(50, 16, width))
    scores = query @ key.swapaxes(-2, -1)
    if scaled:
        scores = scores / np.sqrt(width)
    return softmax(scores).max(axis=-1).mean()
    ### END SOLUTION

# %% tests="largest_weight" points=1
check(largest_weight, 1024, False, np.random.default_rng(0), gives=0.965, within=0.02,
      hint="without the scale almost everything goes to one key; draw the queries first.")

# %% hidden="largest_weight" points=3
for width in (3, 7, 64, 150):
    for scaled in (True, False):
        seed = int(fresh(f"largest_weight {width} {scaled}").integers(1000))
        check(largest_weight, width, scaled, np.random.default_rng(seed), given={"softmax": ref_softmax},
              gives=ref_largest(width, scaled, np.random.default_rng(seed)))

# %% [markdown]
# Look at the table. (This cell gives no points.)

# %%
print("width   scaled   not scaled")
for width in (4, 16, 64, 256, 1024):
    print(f"{width:5}   {largest_weight(width, True, np.random.default_rng(1)):6.2f}"
          f"   {largest_weight(width, False, np.random.default_rng(1)):10.2f}")

# %% [markdown]
# **In your own words** (10 points, about 150 words). A person reads this.
#
# 1. Query and key have independent entries of mean 0 and variance 1. What is the variance of their dot product, and why? (3 points)
# 2. What does your table show, and how does it follow from 1? (3 points)
# 3. What happens to $\partial L / \partial S$ of part 5 when one weight is nearly 1? Why did the older version not learn? (3 points)
# 4. Why divide by $\sqrt{d_k}$ and not by $d_k$? (1 point)

# %% [markdown] written="why_the_scale" points=10
# 1. The dot product is a sum of $d_k$ products. Each has mean 0 and variance 1 · 1 = 1, and they are independent, so the variances add up to
#    $d_k$.
# 2. Without the scale the largest weight grows with the width, to nearly 1 at 1024; with it, it stays about the same. Scores with the
#    standard deviation $\sqrt{d_k}$ lie far apart, and the softmax of numbers that lie far apart is nearly one-hot.
# 3. $\partial L / \partial S_j = A_j (g_j - \sum_k A_k g_k)$. When one weight is nearly 1, the sum is nearly $g$ at that place, so the bracket vanishes there, and
#    everywhere else $A_j$ is nearly 0. No gradient reaches queries and keys: the model can't change where it looks.
# 4. Dividing by $\sqrt{d_k}$ brings the variance back to 1. Dividing by $d_k$ would make it $1 / d_k$: nearly equal weights for wide heads.

# %% [markdown]
# ## After handing in
#
# Compare your module with PyTorch, if it is installed: `torch.nn.functional.scaled_dot_product_attention` takes the same booleans as a mask. Then read
# `mmcourse/attention.py`. Which line of it treats the row that may look nowhere?
