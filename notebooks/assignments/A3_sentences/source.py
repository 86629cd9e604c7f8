# %% [markdown]
# # A3 From logits to sentences: the harbour's log
#
# For a hundred years the keepers of a small harbour wrote a line into the log for each hour: *a red boat lies at the pier*. Now a camera
# looks at the harbour. A model gives a score, a **logit**, to every word that could come next in the line. Nobody has written the part
# that makes a line out of the scores.
#
# You write it: first the dice, then the memory that makes it fast, then a search that looks ahead. Then you write the two scores that compare
# its lines with the keepers'. At the end you choose how the harbour's lines are to be written, and defend the choice.
#
# {{parts}}
#
# **Before you start:** chapters 13 (evaluation, only BLEU and CIDEr-D) and 15 (decoding) of the course; assignment A1 or its first two parts.
#
# ## How it works
#
# - Write your code where it says `YOUR CODE HERE`, and delete the line that raises `NotImplementedError`. Helper functions go into the
#   same cell.
# - Run the check below it. When it fails, it says what was expected, what came and a hint. A check that prints nothing has passed.
# - Only NumPy, and what Python itself brings (`collections`, `itertools`, `math`, `heapq`, `re` and all its other modules). The checks
#   notice when your function calls another library, or starts a thread or another program. You may print what you like.
# - Your functions get arrays and must not change them.
# - Nothing here is left to chance: a function that needs dice gets the numbers that were thrown. Where two words are equally probable,
#   **the word with the smaller number comes first**.
# - A mistake counts once in the checks that you do not see: there the grader replaces your earlier functions by correct ones of the
#   same name. So call them by name, and keep their names.
# - Before you hand in: restart the kernel and run all cells. The grader runs your notebook from top to bottom; a cell that needs more
#   than ten seconds counts as failed.
#
# **Open book.** You may read the course, the package's source and the web. The package has these functions in PyTorch, and the solutions
# of the course are public. What counts is that you can write them and explain them: your teacher may ask you to.

# %%
import numpy as np

# %% include="checks.py"

# %% [markdown]
# ## Part 1 · Sharpen and cut (18 points, 30 minutes, easy)
#
# Words are numbers from 0 to $V - 1$; the logit of word $v$ is $z_v$. A **temperature** $\tau$ makes the probabilities sharper or flatter:
#
# $$ p_v = \frac{e^{z_v / \tau}}{\sum_u e^{z_u / \tau}} $$
#
# All functions of this part work along the last axis, whatever the number of axes. Small temperatures make large numbers: nothing may
# overflow.

# %% answer="temperature_softmax"
def temperature_softmax(logits, temperature):
    """The probabilities (..., V) of logits (..., V) at a temperature above 0."""
    ### BEGIN SOLUTION
    logits = logits / temperature
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
    ### END SOLUTION

# %% tests="temperature_softmax" points=2
check(temperature_softmax, np.log([[4.0, 2.0, 1.0]]), 0.5, gives=np.array([[16, 4, 1]]) / 21,
      hint="at temperature 1/2 the probabilities 4 : 2 : 1 become their squares: divide the logits by the temperature.")
check(temperature_softmax, np.array([[1.0, 0.0], [2.0, 2.0]]), 0.001, gives=np.array([[1.0, 0.0], [0.5, 0.5]]),
      hint="divide by the temperature, then subtract the largest of each row, and only then np.exp.")

# %% hidden="temperature_softmax" points=3
random = fresh("temperature_softmax")
for shape in [(7,), (3, 5), (2, 1, 4), (2, 3, 1, 6)]:
    for temperature in (0.3, 1.0, 1.0 + random.random(), 7):
        check(temperature_softmax, random.normal(size=shape) * 3, temperature, gives=ref_softmax)
cold = np.array([[9.0, 8.9, -1e3], [-900.0, -900.01, 3.0], [-800.0, -800.2, -900.0]])
check(temperature_softmax, cold, 0.01, gives=ref_softmax)
check(temperature_softmax, np.array([[0.0, -60.0, -90.0, 700.0], [1000.0, 940.0, 999.0, -1000.0]]), 25.0, gives=ref_softmax)

# %% [markdown]
# Many words that do not fit have a small probability each, and together a large one. **Top-k** keeps the $k$ most probable words, sets
# the others to zero, and divides by the sum of what is left.

# %% answer="keep_top_k"
def keep_top_k(probs, k):
    """Probabilities (..., V) in which only the k most probable words are not zero; of equal ones the smaller number."""
    ### BEGIN SOLUTION
    order = np.argsort(-probs, axis=-1, kind="stable")
    kept = np.zeros_like(probs)
    best = order[..., :k]
    np.put_along_axis(kept, best, np.take_along_axis(probs, best, axis=-1), axis=-1)
    return kept / kept.sum(axis=-1, keepdims=True)
    ### END SOLUTION

# %% tests="keep_top_k" points=2
check(keep_top_k, np.array([[0.1, 0.4, 0.3, 0.2], [0.2, 0.2, 0.2, 0.4]]), 2,
      gives=np.array([[0, 4, 3, 0], [1, 0, 0, 2]]) / [[7], [3]],
      hint="np.argsort(-probs, axis=-1, kind='stable') lists the words, best first, equal ones in their order. "
           "Zero the others, and divide by the sum of what is left: 0.4 and 0.3 become 4/7 and 3/7.")

# %% hidden="keep_top_k" points=4
random = fresh("keep_top_k")
for shape, k in [((7,), 3), ((3, 5), 1), ((2, 3, 6), 4), ((1, 4), 4), ((4, 3), 8)]:
    check(keep_top_k, random.dirichlet(np.ones(shape[-1]), size=shape[:-1]), k, gives=ref_top_k)
check(keep_top_k, random.permuted([[1, 1, 1, 2, 2, 3]] * 5, axis=1) / 10, 2, gives=ref_top_k)
check(keep_top_k, random.permuted([[1, 1, 1, 2, 2, 3]] * 5, axis=1) / 10, 4, gives=ref_top_k)
ties = random.permuted([[1, 1, 2, 2, 2]] * 6, axis=1) / 8
check(keep_top_k, ties.reshape(2, 3, 5), 2, gives=ref_top_k)
check(keep_top_k, ties[0], 4, gives=ref_top_k)
check(keep_top_k, np.full((2, 2, 64), 1 / 64), 33, gives=ref_top_k)

# %% [markdown]
# **Top-p** keeps the fewest words, from the most probable one down, that together hold at least the probability $p$. So the word with
# which the sum reaches $p$ stays. Where the model is sure, few words stay; where it is not, many.

# %% answer="keep_top_p"
def keep_top_p(probs, p):
    """Probabilities (..., V) in which only the fewest most probable words that hold p together are not zero."""
    ### BEGIN SOLUTION
    order = np.argsort(-probs, axis=-1, kind="stable")
    ordered = np.take_along_axis(probs, order, axis=-1)
    before = ordered.cumsum(axis=-1) - ordered
    kept = np.zeros_like(probs)
    np.put_along_axis(kept, order, np.where(before < p, ordered, 0.0), axis=-1)
    return kept / kept.sum(axis=-1, keepdims=True)
    ### END SOLUTION

# %% tests="keep_top_p" points=2
check(keep_top_p, np.array([[0.05, 0.4, 0.1, 0.3, 0.15]]), 0.8, gives=np.array([[0, 8, 0, 6, 3]]) / 17,
      hint="0.4 + 0.3 is less than 0.8, so 0.15 stays too: a word stays when those BEFORE it hold less than p. "
           "Each word keeps its place.")
check(keep_top_p, np.array([[0.1, 0.9], [0.5, 0.5]]), 0.3, gives=np.array([[0.0, 1.0], [1.0, 0.0]]),
      hint="the best word always stays; of two equal ones the first.")

# %% hidden="keep_top_p" points=5
random = fresh("keep_top_p")
for shape in [(7,), (3, 5), (2, 3, 6), (1, 9)]:
    for p in (1e-6, 0.15 + 0.3 * random.random(), 0.6 + 0.3 * random.random(), 1.0):
        check(keep_top_p, random.dirichlet(np.ones(shape[-1]), size=shape[:-1]), p, gives=ref_top_p)
check(keep_top_p, random.permuted([[1, 1, 1, 2, 2, 3]] * 5, axis=1) / 10, 0.45, gives=ref_top_p)
check(keep_top_p, random.permuted([[1, 1, 1, 2, 2, 3]] * 5, axis=1) / 10, 0.85, gives=ref_top_p)
halves = random.permuted([[8, 4, 2, 1, 1]] * 6, axis=1) / 16  # their sums are exact, and may be exactly p
for p in (0.5, 0.75, 0.875, 0.9375):
    check(keep_top_p, halves.reshape(2, 3, 5), p, gives=ref_top_p)
check(keep_top_p, np.full((2, 2, 64), 1 / 64), 0.5, gives=ref_top_p)

# %% [markdown]
# ## Part 2 · Write a line (18 points, 40 minutes, medium)
#
# A throw of the dice is a number $u$ with $0 \le u < 1$. Lay the probabilities side by side in the order of the words' numbers: word 0
# from 0 to $p_0$, word 1 from $p_0$ to $p_0 + p_1$, and so on. Draw the word in whose stretch $u$ lies: the first one up to and including
# which the sum is **larger** than $u$. Sums of floats may stay a little below 1, and $u$ may lie above all of them: then take the last
# word whose probability is not zero.

# %% answer="draw"
def draw(probs, u):
    """One word (B,) for each row of probs (B, V), by the numbers u (B,) in [0, 1)."""
    ### BEGIN SOLUTION
    above = probs.cumsum(axis=-1) > u[:, None]
    last = probs.shape[-1] - 1 - (probs[:, ::-1] > 0).argmax(axis=-1)
    return np.where(above.any(axis=-1), above.argmax(axis=-1), last)
    ### END SOLUTION

# %% tests="draw" points=2
check(draw, np.array([[0.25, 0.5, 0.25]] * 4), np.array([0.1, 0.25, 0.7, 0.8]), gives=np.array([0, 1, 1, 2]),
      hint="the sums are 0.25, 0.75, 1: look for the first that is larger than u. At u = 0.25 this is word 1.")
check(draw, np.array([[0.0, 1.0], [0.5, 0.5]]), np.array([0.0, 0.0]), gives=np.array([1, 0]),
      hint="a word with the probability zero is never drawn.")
check(draw, np.array([[0.1] * 10 + [0.0]]), np.nextafter([1.0], 0), gives=np.array([9]),
      hint="ten times 0.1 adds up to 0.9999999999999999, no more than this u: then the last word that is not zero.")

# %% hidden="draw" points=4
random = fresh("draw")
for batch, words in [(1, 1), (1, 6), (40, 3), (30, 9)]:
    check(draw, random.dirichlet(np.ones(words), size=batch), random.random(batch), gives=ref_draw)
probs = ref_top_k(random.dirichlet(np.ones(7), size=30), 3)
check(draw, probs, random.random(30) * (np.arange(30) % 2), gives=ref_draw)
check(draw, np.array([[0.1] * 10 + [0.0] * 2, [0.0] * 2 + [0.1] * 10]), np.nextafter([1.0, 1.0], 0), gives=ref_draw)

# %% [markdown]
# From here on a model is a function `step`. It gets `rows` (B, t), whole numbers: the words so far of B lines, with the start word in
# front. It gives the logits (B, V) of the next word of each. **Greedy** decoding of one line (B = 1) takes the word with the largest
# logit, again and again, until that is the word `end` or `max_length` words are written; the end word counts as one. Return the words
# without start and end, and their log-probability under the model, **that of the end included**, if it was reached.

# %% answer="greedy"
def greedy(step, start, end, max_length):
    """The words (t,) that greedy decoding writes, and their log-probability, a number."""
    ### BEGIN SOLUTION
    row, log_prob = [start], 0.0
    for _ in range(max_length):
        probs = temperature_softmax(step(np.array([row])), 1.0)[0]
        word = int(probs.argmax())
        log_prob += np.log(probs[word])
        if word == end:
            break
        row.append(word)
    return np.array(row[1:], dtype=int), log_prob
    ### END SOLUTION

# %% tests="greedy" points=1
tree = np.log([[0.2, 0.2, 0.6], [0.2, 0.3, 0.5], [0.6, 0.3, 0.1]])  # a row for each last word; 0 ends, 1 starts
check(greedy, lambda rows: tree[rows[:, -1]], 1, 0, 9, gives=(np.array([2]), np.log(0.5 * 0.6)),
      hint="1 goes to 2 (0.5), 2 goes to the end (0.6), and only 2 is returned. "
           "Call step(np.array([row])) and take the row [0] of what it gives.")
check(greedy, lambda rows: tree[rows[:, -1]] + 7, 1, 2, 3, gives=(np.array([]), np.log(0.5)),
      hint="logits are not log-probabilities: take their softmax. The end alone gives an empty line.")

# %% hidden="greedy" points=3
random = fresh("greedy")
for words, start, end, most in [(5, 1, 0, 12), (4, 0, 3, 7), (9, 8, 4, 1), (6, 2, 2, 25), (3, 1, 0, 4)] * 3:
    for shift in (4.0, 1000.0):
        model = ref_model(random, words, shift=shift)
        check(greedy, model, start, end, most, gives=ref_greedy, given={"temperature_softmax": ref_softmax})

# %% [markdown]
# Now with dice. For the word number $t$ (from 0): the logits, then the temperature, then top-k, then top-p **of what top-k left**, then
# draw with `u[t]`. Stop at the end word, or when `u` is used up. The log-probability is again the **model's own**, of the logits as they
# came: temperature and cuts decide which word is drawn, not what the model thinks of it.

# %% answer="sample"
def sample(step, start, end, u, temperature, k, p):
    """The words (t,) that are drawn with u (max_length,), and their log-probability under the model, a number."""
    ### BEGIN SOLUTION
    row, log_prob = [start], 0.0
    for number in u:
        logits = step(np.array([row]))
        probs = keep_top_p(keep_top_k(temperature_softmax(logits, temperature), k), p)
        word = int(draw(probs, np.array([number]))[0])
        log_prob += np.log(temperature_softmax(logits, 1.0)[0, word])
        if word == end:
            break
        row.append(word)
    return np.array(row[1:], dtype=int), log_prob
    ### END SOLUTION

# %% tests="sample" points=2
tree = np.log([[0.2, 0.2, 0.6], [0.1, 0.3, 0.6], [0.6, 0.3, 0.1]])  # a row for each last word; 0 ends, 1 starts
check(sample, lambda rows: tree[rows[:, -1]], 1, 0, np.array([0.3, 0.5, 0.1]), 1.0, 3, 1.0,
      gives=(np.array([1, 2]), np.log(0.3 * 0.6 * 0.6)),
      hint="0.3 draws word 1 (from 0.1 to 0.4), 0.5 draws word 2, and 0.1 the end.")
check(sample, lambda rows: tree[rows[:, -1]], 1, 0, np.array([0.25, 0.15]), 0.5, 2, 0.9,
      gives=(np.array([2]), np.log(0.6 * 0.6)),
      hint="squares 0.09 : 0.36 stay after top-k; u = 0.25 draws word 2. The log-probability is that of 0.6, not of the squares.")

# %% hidden="sample" points=6
random = fresh("sample")
correct = {"temperature_softmax": ref_softmax, "keep_top_k": ref_top_k, "keep_top_p": ref_top_p, "draw": ref_draw}
for words, start, end, most in [(5, 1, 0, 9), (4, 0, 3, 7), (9, 8, 4, 1), (6, 2, 2, 14), (7, 1, 0, 5)] * 4:
    options = 0.4 + 1.2 * random.random(), int(random.integers(1, words + 1)), 0.5 + 0.5 * random.random()
    model = ref_model(random, words, shift=random.choice([4.0, 1000.0]))
    check(sample, model, start, end, random.random(most), *options, gives=ref_sample, given=correct)

# %% [markdown]
# ## Part 3 · Remember (16 points, 50 minutes, hard)
#
# The model inside is a Transformer, and it is slow: for each new word it computes the keys and values of all earlier words again, though
# they have not changed. A **KV cache** keeps them. Write one layer of attention (one head, no output projection) with a cache. It gets
# the vectors `x` (B, T, D) of T **new** words and the `keys` and `values` (B, S, D) of the S words before them; S may be 0. It must
#
# 1. compute queries, keys and values of the new words: `x @ projections["query"]` and so on, each $(D, D)$;
# 2. put the new keys and values behind the old ones;
# 3. let each new word look at all old words, at itself, and at the new words before it, and at no later one;
# 4. return the output (B, T, D) and the longer keys and values (B, S + T, D), which are the cache for the next call.
#
# The scores are divided by $\sqrt{D}$. Whether a sentence comes at once or word by word, the outputs are the same.

# %% answer="cached_attention"
def cached_attention(x, keys, values, projections):
    """Attention of the new words x (B, T, D) to keys, values (B, S, D) and to themselves: output, new keys, new values."""
    ### BEGIN SOLUTION
    query = x @ projections["query"]
    keys = np.concatenate([keys, x @ projections["key"]], axis=1)
    values = np.concatenate([values, x @ projections["value"]], axis=1)
    scores = query @ keys.swapaxes(-2, -1) / np.sqrt(x.shape[-1])
    new, source = scores.shape[-2:]
    may_look = np.arange(source) <= np.arange(new)[:, None] + source - new
    weights = temperature_softmax(np.where(may_look, scores, -1e300), 1.0)
    return weights @ values, keys, values
    ### END SOLUTION

# %% tests="cached_attention" points=3
page, none = {name: np.eye(1) for name in ("query", "key", "value")}, np.zeros((1, 0, 1))
check(cached_attention, np.zeros((1, 1, 1)), np.array([[[5.0]]]), np.array([[[6.0]]]), page,
      gives=(np.array([[[3.0]]]), np.array([[[5.0], [0.0]]]), np.array([[[6.0], [0.0]]])),
      hint="equal scores: the mean of the old value 6 and the new value 0. The new key and value go behind the old ones.")
two = np.array([[[6.0], [2.0]]])
check(cached_attention, two, none, none, page | {"query": np.zeros((1, 1))}, gives=(np.array([[[6.0], [4.0]]]), two, two),
      hint="the cache is empty at first. The first new word may not look at the second: 6. The second sees both: their mean.")

# %% hidden="cached_attention" points=9
random = fresh("cached_attention")
for batch, width, pieces in [(1, 3, (1, 1, 1, 1)), (2, 5, (4, 1, 2)), (3, 1, (2, 3)), (2, 7, (1, 5)), (4, 4, (3,))]:
    page = {name: random.normal(size=(width, width)) for name in ("query", "key", "value")}
    sentence, done = random.normal(size=(batch, sum(pieces), width)), 0
    whole = ref_whole(sentence, page)
    for piece in pieces:
        until = done + piece
        check(cached_attention, sentence[:, done:until], whole[1][:, :done], whole[2][:, :done], page,
              gives=(whole[0][:, done:until], whole[1][:, :until], whole[2][:, :until]),
              given={"temperature_softmax": ref_softmax})
        done = until
page = {name: random.normal(size=(3, 3)) for name in ("query", "key", "value")}
sentence = 30 * random.normal(size=(2, 4, 3))
check(cached_attention, sentence, np.zeros((2, 0, 3)), np.zeros((2, 0, 3)), page, gives=ref_whole(sentence, page),
      given={"temperature_softmax": ref_softmax})

# %% [markdown]
# What does it save? Count **multiplications** of this layer. A call with $T$ new words and $S$ words in all (old and new) needs $3 T D^2$
# for the projections, $T S D$ for the scores and $T S D$ for mixing the values; hidden scores are counted too. We write a line of
# `length` words, one after another. Without a cache each word is a call with all words so far as new ones ($T = S$); with it each word is
# a call with $T = 1$. Return the sums up to and including each word.

# %% answer="costs"
def costs(length, width):
    """Multiplications (2, length) until words 1, 2, ..., length are written: row 0 without a cache, row 1 with it."""
    ### BEGIN SOLUTION
    word = np.arange(1, length + 1)
    without = 3 * word * width**2 + 2 * word**2 * width
    cached = 3 * width**2 + 2 * word * width
    return np.stack([without, cached]).cumsum(axis=1)
    ### END SOLUTION

# %% tests="costs" points=1
check(costs, 3, 2, gives=np.array([[16, 56, 128], [16, 36, 60]]),
      hint="D = 2, word 2: without a cache 3*2*4 + 2*2*2 + 2*2*2 = 40, so 16 + 40; with it 12 + 2*2 + 2*2 = 20.")

# %% hidden="costs" points=3
for length, width in [(1, 1), (1, 8), (7, 3), (50, 16), (12, 64), (5000, 128)]:
    check(costs, length, width, gives=ref_costs)

# %% [markdown]
# How much faster is a line of 12 words, a page of 400, a book chapter of 5,000? (This cell gives no points.)

# %%
for length in (12, 400, 5000):
    without, cached = costs(length, 128)[:, -1]
    print(f"{length:5} words: {without / cached:7.1f} times as many multiplications without the cache")

# %% [markdown]
# ## Part 4 · Look ahead (16 points, 60 minutes, hard)
#
# Greedy decoding takes the best word and may end in a bad line. **Beam search** keeps several rows. Row $b$ has so far the
# log-probability `totals[b]`; with word $v$ behind it, it would have `totals[b] + log_probs[b, v]`. First the core: of all these
# continuations of all rows, find the `count` best. There may be fewer than `count`; then return all. Of equal ones, the smaller row comes
# first, then the smaller word.

# %% answer="best_candidates"
def best_candidates(totals, log_probs, count):
    """The best continuations of totals (B,) by log_probs (B, V), best first: their rows, their words, their new totals."""
    ### BEGIN SOLUTION
    extended = (totals[:, None] + log_probs).ravel()
    best = np.argsort(-extended, kind="stable")[:count]
    return best // log_probs.shape[1], best % log_probs.shape[1], extended[best]
    ### END SOLUTION

# %% tests="best_candidates" points=2
check(best_candidates, np.array([-1.0, -2.0]), np.array([[-3.0, -1.5, -5.0], [-4.0, -0.25, -2.0]]), 4,
      gives=(np.array([1, 0, 0, 1]), np.array([1, 1, 0, 2]), np.array([-2.25, -2.5, -4.0, -4.0])),
      hint="add the total of each row, flatten, sort, and get row and word back with // and %. They compete with all rows.")

# %% hidden="best_candidates" points=3
random = fresh("best_candidates")
for rows, words, count in [(1, 5, 2), (3, 4, 5), (4, 3, 1), (2, 7, 14), (3, 2, 9), (5, 9, 10)]:
    check(best_candidates, -5 * random.random(rows), -9 * random.random((rows, words)), count, gives=ref_best)
    ties = -1.0 * random.integers(3, size=rows), -1.0 * random.integers(4, size=(rows, words))
    check(best_candidates, *ties, count, gives=ref_best)
    check(best_candidates, np.zeros(rows), np.full((rows, words), -1.0), count, gives=ref_best)

# %% [markdown]
# Now the search, for one line, with `beams` rows. $T$ is the number of words of a line, the end word included. The **length penalty**
# $\alpha$ helps long lines, since log-probabilities are negative:
#
# $$ \operatorname{score} = \frac{\log P}{T^{\alpha}} $$
#
# 1. Begin with one row, the start word alone, with the total 0.
# 2. Find the `2 * beams` best continuations of all rows. (Why twice as many? At most one continuation of each row ends, so `beams` are
#    left that do not.)
# 3. Those among the **first** `beams` of them whose word is `end` are finished. Keep them with their score.
# 4. The first `beams` continuations of the list that do **not** end are the rows of the next step. Go on until `max_length` words are
#    written.
# 5. Then the rows that are left are finished as they are, cut, with $T$ = `max_length`.
# 6. Return the finished line with the best score, without start and end, and the score.
#
# Don't stop at the first finished line: a longer one may have a better score. Call `step` with all rows at once.

# %% answer="beam_search"
def beam_search(step, start, end, max_length, beams, alpha):
    """The words (t,) of the best line that beam search finishes, and its score, a number."""
    ### BEGIN SOLUTION
    rows, totals = np.array([[start]]), np.zeros(1)
    best_words, best_score = rows[0, 1:], -np.inf
    for length in range(1, max_length + 1):
        log_probs = np.log(temperature_softmax(step(rows), 1.0))
        parents, words, totals = best_candidates(totals, log_probs, 2 * beams)
        finished = (words == end) & (np.arange(len(words)) < beams)
        if length == max_length:
            finished[np.flatnonzero(words != end)[:beams]] = True
        for at in np.flatnonzero(finished):
            if totals[at] / length**alpha > best_score:
                best_score = totals[at] / length**alpha
                best_words = rows[parents[at], 1:]
                if words[at] != end:
                    best_words = np.append(best_words, words[at])
        going = np.flatnonzero(words != end)[:beams]
        rows = np.concatenate([rows[parents[going]], words[going, None]], axis=1)
        totals = totals[going]
    return best_words, best_score
    ### END SOLUTION

# %% tests="beam_search" points=3
tree = np.log([[1, 1, 1, 1], [0.4, 0.3, 0.29, 0.01], [0.88, 0.1, 0.01, 0.01], [0.1, 0.5, 0.39, 0.01]])  # 0 ends, 3 starts
check(beam_search, lambda rows: tree[rows[:, -1]], 3, 0, 2, 2, 0.0, gives=(np.array([2]), np.log(0.39 * 0.88)),
      hint="word 1 is the best first word (0.5), but '2, end' has 0.39 * 0.88 and '1, end' only 0.5 * 0.4: both rows must go on.")
check(beam_search, lambda rows: tree[rows[:, -1]], 3, 0, 1, 3, 0.0, gives=(np.array([1]), np.log(0.5)),
      hint="one word only: the rows that have not ended are cut, and compete with the end alone (0.1).")
check(beam_search, lambda rows: tree[rows[:, -1]], 3, 0, 3, 2, 2.0, gives=(np.array([1, 2]), np.log(0.5 * 0.29 * 0.88) / 9),
      hint="'2, end' finishes first, with T = 2 and log(0.39 * 0.88) / 4. '1, 2, end' comes later, and has a better score.")

# %% hidden="beam_search" points=8
random = fresh("beam_search")
correct = {"temperature_softmax": ref_softmax, "best_candidates": ref_best}
pages = [(5, 0, 6, 2, 1.0), (6, 3, 5, 3, 0.0), (4, 0, 8, 1, 0.7), (9, 2, 4, 5, 0.6), (3, 1, 7, 2, 1.5)]
for words, end, most, beams, alpha in pages * 3:
    check(beam_search, ref_model(random, words), words - 1, end, most, beams, alpha, gives=ref_beams, given=correct)
for words, end in [(9, 1), (5, 0), (8, 3)] * 4:  # many rows would rather end, and long lines are worth more
    model = ref_model(random, words, shift=1000.0)
    check(beam_search, lambda rows, model=model, end=end: model(rows) + 2 * np.eye(model(rows).shape[1])[end],
          words - 1, end, 6, 2, 3.0, gives=ref_beams, given=correct)
for words, end in [(7, 0), (9, 4), (12, 3)] * 3:
    check(beam_search, ref_model(random, words, scale=0.5), words - 1, end, 5, 1, 0.1, gives=ref_beams, given=correct)
for alpha in (0.0, 0.5, 1.0, 2.0):  # so wide a beam sees every line
    check(beam_search, ref_model(random, 3), 2, 0, 4, 200, alpha, gives=ref_every_line, given=correct)

# %% [markdown]
# ## Part 5 · BLEU (11 points, 40 minutes, medium)
#
# How good are the lines? A **hypothesis** is a line that was written, its **references** are the keepers' lines for the same hour. Words
# are what `split()` gives. An **n-gram** is a sequence of $n$ words that stand next to each other. BLEU needs, of each hypothesis,
#
# - for $n$ = 1 to `max_order`: how many of its n-grams a reference has too. An n-gram that the hypothesis holds $c$ times counts
#   $\min(c, m)$, where $m$ is how often that reference has it that has it **most often**;
# - for $n$ = 1 to `max_order`: how many n-grams it has;
# - its number of words, and the number of words of the reference whose length is closest (of two, the shorter one).
#
# Return these `2 * max_order + 2` whole numbers in this order.

# %% answer="bleu_counts"
def bleu_counts(hypothesis, references, max_order):
    """Common n-grams for n = 1 to max_order, all n-grams for n = 1 to max_order, words, words of the closest reference."""
    ### BEGIN SOLUTION
    from collections import Counter

    def grams(text, n):
        words = text.split()
        return Counter(tuple(words[at : at + n]) for at in range(len(words) - n + 1))

    common, stated = [], []
    for n in range(1, max_order + 1):
        ours, most = grams(hypothesis, n), Counter()
        for reference in references:
            most |= grams(reference, n)
        common.append(sum((ours & most).values()))
        stated.append(sum(ours.values()))
    length = len(hypothesis.split())
    lengths = [len(reference.split()) for reference in references]
    return np.array(common + stated + [length, min(lengths, key=lambda other: (abs(other - length), other))])
    ### END SOLUTION

# %% tests="bleu_counts" points=2
check(bleu_counts, "a dog on the grass", ["a big dog on the grass"], 4, gives=np.array([5, 3, 2, 1, 5, 4, 3, 2, 5, 6]),
      hint="5 of 5 words are in the reference, 3 of 4 pairs, 2 of 3 triples, 1 of 2 quadruples; 5 words against 6.")
check(bleu_counts, "gull gull gull", ["gull", "two gull gull", "a gull at sea a gull"], 1, gives=np.array([2, 3, 3, 3]),
      hint="no reference has gull more than twice: two count. Don't add up the references.")
check(bleu_counts, "a boat", ["a", "a red boat"], 3, gives=np.array([2, 0, 0, 2, 1, 0, 2, 1]),
      hint="two words have no triple. 1 and 3 words are equally close to 2: the shorter reference counts.")

# %% hidden="bleu_counts" points=4
random = fresh("bleu_counts")
for vocabulary, most, order in [(3, 9, 4), (5, 6, 2), (2, 4, 5), (8, 12, 3), (4, 2, 4), (4, 7, 1)] * 3:
    lines = ref_lines(random, vocabulary, most, 1 + int(random.integers(1, 5)))
    check(bleu_counts, lines[0], lines[1:], order, gives=ref_bleu_counts)
for vocabulary, count in [(3, 5), (4, 6), (2, 8)]:
    lines = ref_lines(random, vocabulary, 7, 1 + count)
    check(bleu_counts, lines[0], lines[1:], 4, gives=ref_bleu_counts)
for tie in (["fog on the grey sea", "fog"], ["fog", "fog on the grey sea"], ["fog at sea by night", "rain", "sea"]):
    check(bleu_counts, "fog at sea", tie, 2, gives=ref_bleu_counts)
check(bleu_counts, "", ["a gull", "a"], 2, gives=ref_bleu_counts)

# %% [markdown]
# BLEU of a **corpus**, a list of hypotheses with a list of references for each: **add up the numbers of all hypotheses first**, then
#
# $$
# \text{BLEU-}n = \min\bigl(1,\; e^{1 - r/c}\bigr) \cdot \bigl(p_1\, p_2 \cdots p_n\bigr)^{1/n},
# \qquad p_k = \frac{\text{common } k\text{-grams} + 10^{-15}}{\text{all } k\text{-grams} + 10^{-9}},
# \qquad \frac rc = \frac{\text{words of the closest references} + 10^{-9}}{\text{words} + 10^{-15}}
# $$
#
# The tiny numbers are those of the program that the COCO challenge used. They prevent a division by zero. The result has an entry for
# each of BLEU-1 to BLEU-`max_order`.

# %% answer="bleu"
def bleu(hypotheses, references, max_order):
    """BLEU-1 to BLEU-max_order (max_order,) of a corpus: references is a list of lists, one for each hypothesis."""
    ### BEGIN SOLUTION
    counts = [bleu_counts(hypothesis, others, max_order) for hypothesis, others in zip(hypotheses, references, strict=True)]
    counts = np.sum(counts, axis=0)
    precisions = (counts[:max_order] + 1e-15) / (counts[max_order:-2] + 1e-9)
    brevity = min(1.0, np.exp(1 - (counts[-1] + 1e-9) / (counts[-2] + 1e-15)))
    return brevity * precisions.cumprod() ** (1 / np.arange(1, max_order + 1))
    ### END SOLUTION

# %% tests="bleu" points=2
check(bleu, ["a dog on the grass"], [["a big dog on the grass"]], 4,
      gives=np.exp(-1 / 5) * np.array([1, (3 / 4) ** (1 / 2), (1 / 2) ** (1 / 3), (1 / 4) ** (1 / 4)]),
      hint="the precisions are 1, 3/4, 2/3, 1/2; multiply the first n, take the n-th root; 5 words against 6 cost exp(1 - 6/5).")
check(bleu, ["a gull", "the sea the sea the sea"], [["a gull"], ["the sea"]], 1, gives=np.array([4 / 8]),
      hint="4 of 8 words in the whole corpus, and not the mean of 2/2 and 2/6. More words than the references cost nothing here.")

# %% hidden="bleu" points=3
random = fresh("bleu")
for vocabulary, most, order, size in [(3, 9, 4, 5), (5, 6, 2, 1), (2, 5, 4, 7), (9, 3, 4, 3), (4, 7, 1, 4), (3, 12, 5, 2)] * 2:
    references = [ref_lines(random, vocabulary, most, 1 + int(random.integers(1, 4))) for _ in range(size)]
    hypotheses = [lines.pop(0) for lines in references]
    check(bleu, hypotheses, references, order, gives=ref_bleu, given={"bleu_counts": ref_bleu_counts})
references = [ref_lines(random, 4, 8, 6) for _ in range(5)]
check(bleu, [lines.pop(0) for lines in references], references, 4, gives=ref_bleu, given={"bleu_counts": ref_bleu_counts})

# %% [markdown]
# ## Part 6 · CIDEr-D (11 points, 40 minutes, hard)
#
# Nearly every line of the log has *a* or *the* in it; that a hypothesis has them says nothing. So n-grams get weights: of $I$ pictures
# (hours), $I_g$ have the n-gram $g$ in **at least one** of their references, and $g$ weighs $\log\,(I / \max(1, I_g))$. Compute the
# weights of all n-grams of a text.

# %% answer="rarity"
def rarity(text, n, references):
    """The weight of each n-gram of a text from left to right; references is a list of lists of texts, one a picture."""
    ### BEGIN SOLUTION
    def grams(text):
        words = text.split()
        return [tuple(words[at : at + n]) for at in range(len(words) - n + 1)]

    seen = [{gram for reference in others for gram in grams(reference)} for others in references]
    found = [sum(gram in grams_of for grams_of in seen) for gram in grams(text)]
    return np.log(len(references) / np.maximum(1, found))
    ### END SOLUTION

# %% tests="rarity" points=1
log = [["a gull", "a gull on a boat"], ["a boat"], ["the sea", "the sea at night"], ["the sea"]]
check(rarity, "a gull on the sea a", 1, log, gives=np.log([4 / 2, 4 / 1, 4 / 1, 4 / 2, 4 / 2, 4 / 2]),
      hint="gull is in the references of one picture of four, twice there. A word that the text has twice is listed twice.")
check(rarity, "the sea the boat", 2, log, gives=np.log([4 / 2, 4 / 1, 4 / 1]), hint="'sea the' is in no reference: max(1, 0).")

# %% hidden="rarity" points=2
random = fresh("rarity")
for vocabulary, most, order, size in [(3, 9, 1, 5), (5, 6, 2, 1), (2, 5, 3, 7), (9, 3, 4, 3), (5, 7, 2, 6), (3, 9, 4, 5)] * 3:
    references = [ref_lines(random, vocabulary, most, int(random.integers(1, 4))) for _ in range(size)]
    check(rarity, ref_lines(random, vocabulary + 1, most, 1)[0], order, references, gives=ref_rarity)

# %% [markdown]
# Of a text, let $g$ be the vector with an entry for each **different** n-gram: how often the text holds it, times its weight. With $h$
# for the hypothesis and $r$ for one reference, the similarity of order $n$ is a cosine in which the hypothesis gains nothing from
# repeating a word:
#
# $$ \frac{\min(h, r) \cdot r}{\lVert h \rVert\, \lVert r \rVert} $$
#
# The minimum is taken entry by entry. Where either norm is zero, the similarity is 0.

# %% answer="similarity"
def similarity(hypothesis, reference, n, references):
    """The clipped cosine, a number, of the weighted n-grams of two texts; the weights come from references."""
    ### BEGIN SOLUTION
    def vector(text):
        words, entries = text.split(), {}
        for at, weight in enumerate(rarity(text, n, references)):
            gram = tuple(words[at : at + n])
            entries[gram] = entries.get(gram, 0.0) + weight
        return entries

    ours, theirs = vector(hypothesis), vector(reference)
    norms = np.sqrt(sum(value**2 for value in ours.values()) * sum(value**2 for value in theirs.values()))
    if norms == 0:
        return 0.0
    return sum(min(ours.get(gram, 0.0), value) * value for gram, value in theirs.items()) / norms
    ### END SOLUTION

# %% tests="similarity" points=1
log = [["a gull sits"], ["a boat"]]
check(similarity, "a gull", "a gull sits", 1, log, gives=np.sqrt(1 / 2),
      hint="a weighs 0, gull and sits log 2: h = (0, 1, 0) and r = (0, 1, 1), both times log 2.")
check(similarity, "gull gull gull", "a gull sits", 1, log, gives=1 / 3 / np.sqrt(2),
      hint="h = (3,) has the norm 3, and only min(3, 1) = 1 counts in the product.")
check(similarity, "a", "a gull sits", 1, log, gives=0.0, hint="h is zero: return 0.0 and not NaN.")

# %% hidden="similarity" points=3
random = fresh("similarity")
for vocabulary, most, order, size in [(3, 9, 1, 5), (5, 6, 2, 2), (2, 6, 3, 7), (6, 5, 1, 1), (4, 9, 2, 4), (3, 12, 4, 3)] * 4:
    references = [ref_lines(random, vocabulary, most, int(random.integers(1, 4))) for _ in range(size)]
    reference = references[int(random.integers(size))][0]
    words = [*reference.split(), *ref_lines(random, vocabulary + 1, 3, 1)[0].split()]
    hypothesis = " ".join(words[int(random.integers(2, 4)) :] if random.random() < 0.6 else words)
    check(similarity, hypothesis, reference, order, references, gives=ref_similarity, given={"rarity": ref_rarity})

# %% [markdown]
# CIDEr-D of a picture with $M$ references, for the lengths $l$ of the hypothesis and $l_j$ of reference $j$ in words:
#
# $$ \frac{10}{4 M} \sum_{n=1}^{4} \sum_{j=1}^{M} e^{-(l - l_j)^2 / 72}\; \text{similarity}_n(\text{hypothesis}, \text{reference } j) $$

# %% answer="cider_d"
def cider_d(hypotheses, references):
    """CIDEr-D (I,) of each of I pictures; references is a list of lists, one for each hypothesis."""
    ### BEGIN SOLUTION
    scores = []
    for hypothesis, others in zip(hypotheses, references, strict=True):
        score = 0.0
        for other in others:
            gap = len(hypothesis.split()) - len(other.split())
            common = sum(similarity(hypothesis, other, n, references) for n in (1, 2, 3, 4))
            score += np.exp(-(gap**2) / 72) * common
        scores.append(10 / 4 * score / len(others))
    return np.array(scores)
    ### END SOLUTION

# %% tests="cider_d" points=1
check(cider_d, ["a dog", "a dog"], [["a dog"], ["a cat"]], gives=np.array([5.0, 0.0]),
      hint="words and pairs agree, longer n-grams there are none: 10/4 * (1 + 1 + 0 + 0).")
check(cider_d, ["a red boat at sea", "fog"], [["a red boat at sea", "rain"], ["fog on a boat"]],
      gives=np.array([5.0, 2.5 * np.exp(-1 / 8) / np.sqrt(2)]),
      hint="10/4 * 4 for the first reference and 0 for the second: the mean is 5. Fog: 3 words too few, exp(-9/72).")

# %% hidden="cider_d" points=3
random = fresh("cider_d")
for vocabulary, most, size in [(3, 9, 5), (5, 6, 2), (2, 7, 6), (9, 3, 3), (4, 14, 3), (4, 5, 1)] * 2:
    references = [ref_lines(random, vocabulary, most, 1 + int(random.integers(1, 4))) for _ in range(size)]
    hypotheses = [" ".join(lines.pop(0).split() + lines[0].split()[:4]) for lines in references]
    check(cider_d, hypotheses, references, gives=ref_cider, given={"rarity": ref_rarity, "similarity": ref_similarity})
references = [ref_lines(random, 4, 8, 5 + extra) for extra in range(4)]
check(cider_d, [lines.pop(0) for lines in references], references, gives=ref_cider,
      given={"rarity": ref_rarity, "similarity": ref_similarity})

# %% [markdown]
# ## Part 7 · Which line goes into the log? (10 points, 35 minutes, medium)
#
# Here is a small model of the harbour. It knows which word followed which in twenty old lines of the log, and the camera adds 2 to the
# logits of words for what it sees, until they are written. There are six new pictures, with lines of three keepers. Run both cells. (They
# give no points.)

# %%
LOG = """a red boat lies at the pier / a white boat lies at the pier / a red boat leaves the harbour /
a white boat comes into the harbour / a small boat with a red sail comes into the harbour / two gulls sit on the pier /
two gulls sit on the roof of the boat house / a gull sits on the red boat / a seal sleeps on the rocks /
a seal sleeps on the beach in the sun / two seals play in the water near the pier / a man mends a net on the pier /
a man with a dog walks along the beach / a woman paints the white boat / a woman with a dog waits at the pier /
children swim in the water near the beach / fog lies over the harbour / fog lies over the water and the rocks /
rain falls on the pier and the boats / the harbour is empty in the rain"""
PICTURES = {  # what the camera sees, and what three keepers wrote
    "red boat gull": """a gull sits on the red boat at the pier / a red boat with a gull on it lies in the harbour /
                        one gull on a red boat""",
    "seals beach": "two seals sleep on the beach / two seals lie on the beach in the sun / seals on the beach",
    "woman dog beach": """a woman with a dog walks along the beach / a woman walks along the beach with a dog /
                          a dog and a woman on the beach""",
    "man white boat": """a man paints the white boat / a man mends a white boat at the pier /
                         a white boat and a man at the pier""",
    "fog rocks": "fog lies over the rocks / the rocks are in the fog / fog over the rocks and the harbour",
    "white sail": """a boat with a white sail leaves the harbour / a small boat with a white sail comes into the harbour /
                     a white sail near the harbour""",
}
WORDS = ["<end>", "<start>", *sorted({*" ".join(PICTURES).split(), *LOG.replace("/", " ").split()})]
FOLLOWS = np.full((len(WORDS), len(WORDS)), 0.02)
for line in LOG.split("/"):
    numbers = [1, *(WORDS.index(word) for word in line.split()), 0]
    np.add.at(FOLLOWS, (numbers[:-1], numbers[1:]), 1)
FOLLOWS[:, 1] = 1e-9


def camera(seen):
    """The model `step` for a picture on which these words are seen."""
    def step(rows):
        logits = np.log(FOLLOWS[rows[:, -1]])
        for word in map(WORDS.index, seen.split()):
            logits[:, word] += 2 * (rows != word).all(axis=1)
        return logits
    return step

# %%
dice, references = np.random.default_rng(3), [written.split("/") for written in PICTURES.values()]
WAYS = {
    "greedy": lambda step: greedy(step, 1, 0, 12),
    **{f"5 beams, alpha {alpha}": lambda step, alpha=alpha: beam_search(step, 1, 0, 12, 5, alpha)
       for alpha in (0.0, 0.7, 1.0, 1.5)},
    "dice": lambda step: sample(step, 1, 0, dice.random(12), 1.0, 99, 1.0),
    "dice, top-p 0.8": lambda step: sample(step, 1, 0, dice.random(12), 1.0, 99, 0.8),
    "dice, temperature 0.5": lambda step: sample(step, 1, 0, dice.random(12), 0.5, 99, 1.0),
}
print(f"{'':22} words  BLEU-1  BLEU-4  CIDEr-D")
lines = {}
for way, write in WAYS.items():
    lines[way] = [" ".join(WORDS[word] for word in write(camera(seen))[0]) for seen in PICTURES]
    scores = bleu(lines[way], references, 4)
    words = np.mean([len(line.split()) for line in lines[way]])
    print(f"{way:22} {words:5.1f}  {scores[0]:6.2f}  {scores[3]:6.2f}  {cider_d(lines[way], references).mean():7.2f}")
for way, written in lines.items():
    print(f"\n{way}")
    for seen, line in zip(PICTURES, written, strict=True):
        print(f"  {seen:16} {line}")

# %% [markdown]
# **In your own words** (10 points, about 200 words). A person reads this. Refer to lines and numbers that your notebook printed.
#
# 1. What does $\alpha$ change in the lines, and why? Which step of the formula makes 0 prefer short ones? (2 points)
# 2. Find a line that is **wrong about its picture** and shares many words with the keepers' lines, and one that is right and shares few.
#    What do BLEU and CIDEr-D see, and what do they not see? (3 points)
# 3. Which way of writing would you use for the log, and which if the harbour wanted ten different lines to choose from? Give a reason
#    that is not a score. (3 points)
# 4. Suppose you use part 3's cache in part 4's search. What must happen to the cache's rows in each step, and what would you see if it
#    were forgotten? (2 points)

# %% [markdown] written="which_line" points=10
# 1. Each further word adds a negative number to $\log P$, so with $\alpha = 0$ short lines win: "a white boat" for the white sail.
#    Dividing by $T^\alpha$ brings long lines nearer to zero. With 1.5 the lines reach nearly ten words, and begin to add things that are
#    not there, since a word more costs less than the division gains.
# 2. "a man with a white boat lies at the pier" is wrong: the man mends or paints it. All its words and most pairs are in the keepers'
#    lines, so BLEU is high. "a seal sleeps on the beach" is nearly right, and shares only "on the beach" with "two seals sleep on the
#    beach": both scores compare strings, and know neither that sleeps and sleep are one verb nor what is in the picture. CIDEr-D at least
#    gives little for "the" and "a", and more for rare words.
# 3. One line an hour: five beams with $\alpha = 1$, which name most of what is seen without padding. And they give the same line for the
#    same picture, so that the log can be checked. Ten different lines: dice with top-p, as beams differ in a word or two only, and plain
#    dice leave the subject after one bad word.
# 4. The rows of keys and values must be reordered (and repeated or dropped) like the rows of words: row $i$ of the new cache is row
#    `parents[i]` of the old one. If it is forgotten, words are chosen with another line's past. Nothing crashes. One sees it when the
#    score that the search reports differs from the log-probability of the same line computed at once, or when results change with the
#    cache.

# %% [markdown]
# ## After handing in
#
# If you have the course installed, compare: `mmcourse.decoding.truncate`, `greedy` and `beam_search`, and `mmcourse.evaluation.bleu` and
# `cider_d`. The package's beam search has one more row than yours. What does it follow, and what does it promise?
