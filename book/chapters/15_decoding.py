# ---
# jupyter:
#   course: {notebook: notebooks/15_decoding.ipynb}
# ---

# %% [markdown]
# # Decoding
#
# At the end of this chapter you can turn the probabilities of a language model into a sentence in five ways, say what
# each of them looks for, and prove that yours finds it.
#
# ```{glue:figure} decoding_promise
# :name: fig-decoding-promise
# :alt: A small picture of a scene, and beside it the sentences that the same captioner writes with greedy search, beam search, two temperatures and top-p sampling.
#
# One picture, one captioner, one set of weights. Only the rule that picks the next word differs. The number in brackets is the
# log-probability of the sentence under the model.
# ```
#
# ::::{card}
# :class-card: chapter-card
#
# **Goals**
#
# - work greedy search and beam search by hand, on a tree where greedy loses
# - say what temperature, top-k and top-p do to a distribution, and choose among them
# - compute what a key-value cache saves, and check it with a clock
# - compare strategies by truth and by variety, not by probability alone
# - recognise a decoder that is wrong without crashing
#
# **Before you start:** [the Transformer's decoder and its cache](02_transformer.py), [the captioner](14_captioning.py) and, for BLEU, CIDEr-D
# and intervals, [evaluation](13_evaluation.py).
#
# :::{card-footer}
# Reading {measured}`reading` min · runs in {measured}`seconds` s on two CPU cores, {measured}`megabytes` MB ·
# difficulty ●●○
# :::
# ::::

# %% tags=["remove-cell"]
import itertools
import math
import time
from textwrap import fill
from unittest.mock import patch

import matplotlib.pyplot as plt
import numpy as np
import torch
from myst_nb import glue
from transformers import logging

from mmcourse.book.plotting import BLUE, GREY, INK, ORANGE, PINK, TEAL, use_style
from mmcourse.book.source import show_source

use_style()
logging.set_verbosity_error()

# %% [markdown]
# ## One model, many sentences
#
# The captioner of [chapter 14](14_captioning.py) does not give a sentence. It gives a probability to each word that could
# come next, given the picture and the words so far. Somebody has to choose. We let four choosers write about the same
# picture: one always takes the most probable word, and three throw dice.

# %%
from mmcourse import decoding
from mmcourse.captioning import END, START
from mmcourse.data import EmojiScenes
from mmcourse.hub import load

shipped = load("scenes").requires_grad_(False)
val = [EmojiScenes("val")[index] for index in range(300)]
images = np.stack([scene.image for scene in val])
memories = torch.cat([shipped.encode(part) for part in np.split(images, 6)])  # (300, N, D)


# %%
def step_of(memory):
    """The captioner as the decoders want it, looking at memory (B, N, D)."""
    return lambda tokens, cache: shipped.decode(memory, tokens, cache=cache)[:, -1]


def texts_of(found):
    """What a decoder wrote, as texts."""
    return [" ".join(shipped.words[number] for number in row) for row in found.tokens]


def write(decode, memories=memories, maker=step_of, **options):
    """Texts and log-probabilities of many pictures, 50 at a time."""
    options = {"end": END, "max_length": shipped.max_length} | options
    texts, log_probs = [], []
    for memory in memories.split(50):
        found = decode(maker(memory), torch.full((len(memory),), START), **options)
        texts += texts_of(found)
        log_probs += found.log_prob.tolist()
    return texts, np.array(log_probs)


# %%
dice = torch.Generator().manual_seed(0)
two = [index for index, scene in enumerate(val) if len(scene.description.groups) == 2]
shown = two[2]
greedily, _ = write(decoding.greedy, memories[shown:shown + 1])
drawn, _ = write(decoding.sample, memories[[shown] * 3], generator=dice)
print("greedy: ", *greedily)
for text in drawn:
    print("sampled:", text)

# %% [markdown]
# All of them come from the same numbers. So: **is the sentence of the most probable words also the most probable
# sentence? And is the most probable sentence the one that we want?** The first question has an answer on paper. The
# second needs measurements.
#
# ## What we look for
#
# The model gives a sentence $y = (y_1, \dots, y_T)$ about a picture $x$ the log-probability
# $\log P(y \mid x) = \sum_t \log P(y_t \mid y_{<t}, x)$; the last word is the end. One goal is the best of all sentences:
#
# $$
# y^* = \arg\max_{y} \sum_{t=1}^{T} \log P(y_t \mid y_{<t}, x)
# $$ (eq-decoding-goal)
#
# **Greedy decoding** replaces one large choice by $T$ small ones:
#
# $$
# \hat y_t = \arg\max_{v} P(v \mid \hat y_{<t}, x), \qquad t = 1, 2, \dots \text{ until the end}
# $$ (eq-decoding-greedy)
#
# | symbol | what it is | size |
# |---|---|---|
# | $x$ | the picture, here the $N$ cells of its grid | $N \times D$ |
# | $y_t$, $v$ | a word of the vocabulary | a number below $V$ |
# | $T$ | words of the sentence, the end included | at most the model's limit |
# | $P(v \mid y_{<t}, x)$ | softmax of the decoder's logits, its scores of all words | $V$ numbers, one in sum |
#
# Why not try all sentences? Count them.

# %%
V, longest = len(shipped.words), shipped.max_length
power = longest * math.log10(V)
print(f"V = {V} words and up to {longest} places: about 10^{power:.1f} sentences")

# %% tags=["remove-cell"]
glue("decoding_digits", math.floor(power) + 1, display=False)
glue("decoding_words", V, display=False)

# %% [markdown]
# That is a number of {glue:text}`decoding_digits:d` digits. No computer looks at them all.
#
# ## By hand: a tree where greedy loses
#
# A tiny model knows two words, *cat* and *dog*, and the end. What comes next depends on the last word only:
#
# | after | cat | dog | the end |
# |---|---|---|---|
# | the start | **0.5** | 0.4 | 0.1 |
# | cat | 0.3 | 0.3 | **0.4** |
# | dog | 0.1 | 0.0 | **0.9** |
#
# Greedy takes *cat* (0.5 is the largest), then the end (0.4). The sentence "cat" has probability $0.5 \cdot 0.4 = 0.20$. But
# "dog" has $0.4 \cdot 0.9 = 0.36$. The most probable first word led into a place where nothing is certain.
#
# **Beam search** keeps the $k$ most probable beginnings instead of one. In each step every beginning is continued by every word. Candidates
# among the $k$ best that end are finished. Of those that do not end, the $k$ best go on. With $k = 2$:
#
# | step | candidates, best first | finished | go on |
# |---|---|---|---|
# | 1 | cat 0.5, dog 0.4, end 0.1 | none: the end is third | cat, dog |
# | 2 | **dog end 0.36**, cat end 0.20, cat cat 0.15, cat dog 0.15, dog cat 0.04, dog dog 0 | dog 0.36, cat 0.20 | cat cat 0.15, cat dog 0.15 |
#
# A further word can only make what goes on less probable. It stands at 0.15, so nothing can overtake 0.36: the search may stop, and its
# answer is "dog".
#
# The same in the plainest way: lists, no cache, one sentence at a time.

# %%
def beams_by_hand(log_probs_after, k, max_length, end=0):
    """Beam search over lists of words; log_probs_after(words) is a list of V numbers."""
    live, done = [((), 0.0)], []
    for _ in range(max_length):
        grown = [((*words, v), total + log_prob) for words, total in live
                 for v, log_prob in enumerate(log_probs_after(words))]
        grown.sort(key=lambda candidate: -candidate[1])
        done += [candidate for candidate in grown[:k] if candidate[0][-1] == end]
        live = [candidate for candidate in grown if candidate[0][-1] != end][:k]
    return max(done + live[:1], key=lambda candidate: candidate[1])


# %% tags=["nbval-check-output"]
NAMES = ["<end>", "cat", "dog", "<start>"]
tree = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.4, 0.3, 0.3, 0.0],  # after <end>, cat
                     [0.9, 0.1, 0.0, 0.0], [0.1, 0.5, 0.4, 0.0]]).log()  # after dog, <start>
for k in (1, 2):
    words, log_prob = beams_by_hand(lambda words: tree[(3, *words)[-1]].tolist(), k, 2)
    print(f"{k} beam(s): {' '.join(NAMES[word] for word in words):9} {math.exp(log_prob):.2f}")

# %% [markdown]
# One beam is greedy search; two find the better sentence. Now the package. Its functions know nothing of pictures: they call
# `step(tokens, cache)`, which answers with the logits of the next word, for many rows at once.

# %% tags=["nbval-check-output"]
def tree_step(tokens, cache):
    """The tiny model: logits (B, V) that depend on the last word."""
    return tree[tokens[:, -1]]


start = torch.tensor([3])
options = {"end": 0, "max_length": 2}
one = decoding.greedy(tree_step, start, **options)
two_beams = decoding.beam_search(tree_step, start, beams=2, length_penalty=0.0, **options)
for name, found in (("greedy", one), ("beam 2", two_beams)):
    print(name, [NAMES[word] for word in found.tokens[0]], f"{found.log_prob.exp().item():.2f}")

# %% [markdown]
# ### The package's source
#
# Greedy search and sampling share one loop. A row that has ended leaves the batch, so a short sentence does not wait for a long one:

# %% tags=["remove-input"]
show_source(decoding.write_token_by_token)

# %% [markdown]
# Beam search calls the model for all pictures at once. For each picture a `Search` does what our lists do. One
# more row follows greedy's path, so that the result is never worse than greedy's.

# %% tags=["remove-input"]
show_source(decoding.Search)

# %% [markdown]
# `extended` holds all continuations of all beams; `topk` chooses among them; `parent` says which beam a chosen one continues, and
# `reorder` puts the cache's rows into that order.

# %% tags=["remove-input"]
show_source(decoding.advance)

# %% tags=["remove-input"]
show_source(decoding.beam_search)

# %% [markdown]
# Both must agree on more than one tree. We draw 200 random models of five words and compare:

# %% tags=["nbval-check-output"]
def random_model(seed, words=5, scale=1.5):
    """Log-probabilities (V, V) of the next word given the last one; word 0 is the end."""
    numbers = torch.randn(words, words, generator=torch.Generator().manual_seed(seed))
    return (scale * numbers).log_softmax(-1)


def step_through(model):
    """A table of log-probabilities as a step function."""
    return lambda tokens, cache: model[tokens[:, -1]]


better_than_hand = 0
for seed in range(200):
    model = random_model(seed)
    rows = model.tolist()
    _, by_hand = beams_by_hand(lambda words, rows=rows: rows[(1, *words)[-1]], 3, 6)
    found = decoding.beam_search(step_through(model), torch.tensor([1]), end=0,
                                 max_length=6, beams=3, length_penalty=0.0)
    assert found.log_prob.item() > by_hand - 1e-5
    better_than_hand += found.log_prob.item() > by_hand + 1e-5
print(f"200 models: never worse, better {better_than_hand} times (greedy's row)")

# %% [markdown]
# ## Against the reference
#
# The independent reference is `generate` of `transformers`. Its GPT-2 {cite}`radford2019`, with the cross-attention that the library can add, has the structure of our
# decoder, so our weights fit into it; only GPT-2 keeps its matrices transposed, and those of query, key and value side by side.

# %%
from transformers import GPT2Config, GPT2LMHeadModel

config = GPT2Config(vocab_size=V, n_positions=longest, n_embd=128, n_layer=2, n_head=4,
                    activation_function="gelu", add_cross_attention=True,
                    bos_token_id=START, eos_token_id=END, pad_token_id=0)
theirs = GPT2LMHeadModel(config).eval().requires_grad_(False)


def put(target, *layers):
    """Linear layers, side by side, into GPT-2's transposed one."""
    target.weight.copy_(torch.cat([layer.weight.T for layer in layers], 1))
    target.bias.copy_(torch.cat([layer.bias for layer in layers]))


for a, b in zip(theirs.transformer.h, shipped.decoder.layers, strict=True):
    own, cross = b.attention, b.cross_attention
    put(a.attn.c_attn, own.query, own.key, own.value)
    put(a.attn.c_proj, own.output)
    put(a.crossattention.q_attn, cross.query)
    put(a.crossattention.c_attn, cross.key, cross.value)
    put(a.crossattention.c_proj, cross.output)
    put(a.mlp.c_fc, b.feed_forward[0])
    put(a.mlp.c_proj, b.feed_forward[3])
    for norm, ours in ((a.ln_1, b.norm1), (a.ln_cross_attn, b.norm2), (a.ln_2, b.norm3)):
        norm.load_state_dict(ours.state_dict())

# %%
theirs.transformer.ln_f.load_state_dict(shipped.decoder.norm.state_dict())
theirs.transformer.wte.weight = shipped.embedding.weight
theirs.transformer.wpe.weight.copy_(shipped.positions[0])
theirs.lm_head = shipped.output
some = memories[:12]
ids = torch.tensor([[START, 5, 9, 7]]).expand(12, -1)
gap = (theirs(ids, encoder_hidden_states=some).logits - shipped.decode(some, ids)).abs().max()
print(f"largest difference of a logit: {gap:.1e}")
assert gap < 1e-3

# %%
def their_words(**options):
    """What generate of transformers writes about the 12 pictures."""
    start = torch.full((len(some), 1), START)
    rows = theirs.generate(start, encoder_hidden_states=some, do_sample=False,
                           attention_mask=torch.ones_like(start),
                           max_new_tokens=longest, **options)[:, 1:]
    return [" ".join(shipped.words[n] for n in row if n not in (0, END)) for row in rows.tolist()]


def true_log_prob(memory, text):
    """The log-probability of a sentence, by teacher forcing, without a decoder."""
    words = [shipped.ids[word] for word in text.split()]
    ids = torch.tensor([[START, *words, END][:longest + 1]])  # a row that was cut has no end
    log_probs = shipped.decode(memory, ids[:, :-1]).log_softmax(-1)
    return log_probs.gather(-1, ids[:, 1:, None]).sum().item()


# %%
for name, decode, ours, options in (
        ("greedy", decoding.greedy, {}, {}),
        ("penalty", decoding.greedy, {"repetition_penalty": 1.3}, {"repetition_penalty": 1.3}),
        ("beam 4", decoding.beam_search, {"length_penalty": 0.0},
         {"num_beams": 4, "length_penalty": 0.0, "early_stopping": "never"})):
    found, wanted = write(decode, some, **ours)[0], their_words(**options)
    pairs = list(zip(some.split(1), found, wanted, strict=True))
    equal = sum(text == other for _, text, other in pairs)
    gains = [true_log_prob(memory, text) - true_log_prob(memory, other)
             for memory, text, other in pairs]
    print(f"{name:8} {equal} of 12 sentences equal; log P, ours less theirs, at least {min(gains):.4f}")
    assert equal >= 11 if decode is decoding.greedy else min(gains) > -1e-3

# %% tags=["remove-cell"]
glue("decoding_gap", float(gap), display=False)

# %% [markdown]
# The logits differ by at most {glue:text}`decoding_gap:.1e`, and where two choices are nearly equal
# a sentence may differ. Beam search of `transformers` has no row that follows greedy's path, either. Where a sentence differs here, ours is no less probable: that is the last column.
#
# ## Length
#
# Every further word multiplies by a number below one. So the sum of {eq}`eq-decoding-goal` prefers short sentences. The
# **length penalty** $\alpha$ divides it by a power of the length, the end included ({cite:t}`wu2016` divide by $((5 + T) / 6)^{\alpha}$):
#
# $$
# \operatorname{score}(y) = \frac{\log P(y \mid x)}{T^{\alpha}}
# $$ (eq-decoding-length)
#
# Two sentences by hand: "a dog" with the end has $T = 3$ and $\log P = -2$; "a dog in a meadow" has $T = 6$ and $\log P = -3$.
#
# | $\alpha$ | "a dog" | "a dog in a meadow" | wins |
# |---|---|---|---|
# | 0 | $-2$ | $-3$ | the short one |
# | 0.585 | $-2 / 3^{0.585} = -1.05$ | $-3 / 6^{0.585} = -1.05$ | neither: $2^\alpha = 1.5$ |
# | 1 | $-0.67$ | $-0.50$ | the long one |
#
# Why divide, when one wants to *help* long sentences? A log-probability is negative. Dividing it by a larger number
# brings it nearer to zero. On 100 pictures:

# %%
from mmcourse.evaluation import bleu, cider_d, fact_scores

hundred = memories[:100]
for alpha in (0.0, 0.5, 1.0, 2.0):
    texts, log_probs = write(decoding.beam_search, hundred, length_penalty=alpha)
    precision, recall = fact_scores(texts, val[:100])["all"]
    print(f"alpha {alpha:.1f}: {np.mean([len(text.split()) for text in texts]):5.2f} words, "
          f"mean log P {log_probs.mean():.2f}, facts {precision:.3f} true, {recall:.3f} stated")

# %% [markdown]
# The larger $\alpha$, the longer the sentences and the lower their log-probability. Longer captions can state more facts, so
# look at both shares.
#
# ### When to stop
#
# The first sentence that ends is not always the best; a longer one may overtake it. But the log-probability $s$ of an unfinished row can only
# fall. At best it keeps $s$ and grows to the limit $T_{\max}$. So the search may stop when, with $b$ the best score so far,
#
# $$
# \max_{\text{unfinished}} \frac{s}{T_{\max}^{\alpha}} \le b
# $$ (eq-decoding-stop)
#
# And if no row ever ends? Then the limit cuts them all, and the best of the cut rows is the answer. A decoder that waits for an end crashes or returns nothing here.
# We forbid the end, to see it, and then count how many steps the rule {eq}`eq-decoding-stop` saves.

# %%
def endless(memory):
    """The captioner, but the end is impossible."""
    step = step_of(memory)
    return lambda tokens, cache: step(tokens, cache).index_fill(1, torch.tensor([END]), -torch.inf)


(text,), _ = write(decoding.beam_search, memories[:1], endless, max_length=12)
print(len(text.split()), "words:", text)

rows = []


def counted(tokens, cache):
    rows.append(len(tokens) / 5)  # four beams and greedy's row; in the first step, one
    return step_of(memories[:50])(tokens, cache)


decoding.beam_search(counted, torch.full((50,), START), end=END, max_length=longest)
steps = 1 + sum(rows[1:]) / 50
print(f"steps a picture: {steps:.1f}; without a rule to stop it would be {longest}")

# %% tags=["remove-cell"]
glue("decoding_steps", steps, display=False)
glue("decoding_longest", longest, display=False)

# %% [markdown]
# The rule needs {glue:text}`decoding_steps:.1f` steps a picture in place of {glue:text}`decoding_longest:d`, and changes no result.
#
# ## Sampling
#
# Often there is no best sentence: five people describe a scene in five ways, all of them right. **Sampling** draws each word from the model's
# distribution. A **temperature** $\tau$ makes it sharper or flatter (the scale of chapter 10 is $1 / \tau$); $z_v$ is the logit of word $v$:
#
# $$
# p_v = \frac{e^{z_v / \tau}}{\sum_{u} e^{z_u / \tau}}
# $$ (eq-decoding-temperature)
#
# By hand, for logits $(\log 4, \log 2, \log 1)$: at $\tau = 1$ the probabilities are $4 : 2 : 1$; at $\tau = \tfrac12$ they are squared,
# $16 : 4 : 1$; at $\tau = 2$ their roots, $2 : \sqrt 2 : 1$. Towards $\tau = 0$ it becomes greedy, for large $\tau$ uniform.
#
# The tail is long: each of the many words that do not fit has little probability, all of them together have more. One
# draw from the tail can spoil a sentence. Two ways to cut it:
#
# - **top-k** keeps the $k$ most probable words {cite}`fan2018`;
# - **top-p**, or nucleus sampling, keeps the fewest words that together hold the probability $p$ {cite}`holtzman2020`:
#
# $$
# S_p = \text{the smallest } S \text{ with } \sum_{v \in S} p_v \ge p, \qquad
# p'_v = \begin{cases} p_v \,/ \sum_{u \in S_p} p_u & v \in S_p \\ 0 & \text{else} \end{cases}
# $$ (eq-decoding-nucleus)
#
# With the probabilities $0.4, 0.3, 0.15, 0.1, 0.05$ and $p = 0.8$: $0.4 + 0.3 = 0.7$ is not enough, so three words stay, and the first
# gets $0.4 / 0.85 = 0.47$. The plain loop, the package, and `transformers`:

# %% tags=["nbval-check-output"]
from transformers import TopKLogitsWarper, TopPLogitsWarper


def nucleus_by_hand(probs, p):
    """The new probabilities of a list that is sorted from the largest down."""
    kept = []
    for prob in probs:
        if sum(kept) < p:
            kept.append(prob)
    return [prob / sum(kept) for prob in kept] + [0.0] * (len(probs) - len(kept))


probs = torch.tensor([0.4, 0.3, 0.15, 0.1, 0.05])
ours = decoding.truncate(probs.log(), top_p=0.8).softmax(-1)
print([round(prob, 3) for prob in nucleus_by_hand(probs.tolist(), 0.8)])
assert torch.allclose(ours, torch.tensor(nucleus_by_hand(probs.tolist(), 0.8)))
logits = 2 * torch.randn(7, V, generator=torch.Generator().manual_seed(0))
assert torch.equal(decoding.truncate(logits, top_k=9), TopKLogitsWarper(9)(None, logits))
assert torch.equal(decoding.truncate(logits, top_p=0.9), TopPLogitsWarper(0.9)(None, logits))
print("top-k and top-p equal those of transformers")

# %% tags=["remove-input"]
show_source(decoding.truncate)

# %% [markdown]
# Where does the captioner hesitate? We take its greedy captions, compute the **entropy** of each next word, $-\sum_v p_v \log_2 p_v$ bits, and keep
# the most uncertain moments.

# %%
moments = []
for text, memory in zip(write(decoding.greedy, memories[:40])[0], memories, strict=False):
    ids = shipped.tokenize(text)[:-1]  # without the end
    logits = shipped.decode(memory[None], torch.tensor([ids]))[0]  # (T, V)
    probs = logits.softmax(-1)
    bits = -(probs * probs.log2()).nan_to_num().sum(-1)
    place = int(bits.argmax())
    so_far = " ".join(shipped.words[number] for number in ids[max(1, place - 3):place + 1])
    moments.append((bits[place].item(), so_far or "(start)", logits[place]))
moments.sort(key=lambda moment: -moment[0])
different = {text: (bits, text, logits) for bits, text, logits in reversed(moments)}
hesitant = sorted(different.values(), key=lambda moment: -moment[0])[:4]
for bits, text, _ in hesitant:
    print(f"{bits:.2f} bits after: {text}")

# %% [markdown]
# {numref}`fig-decoding-explorer` shows the next word at these moments. Lower the temperature: which words die first? Then put it back to 1, and
# lower top-p until two words are left. Choose another moment: how many does the same top-p keep there? Top-k would keep the same number everywhere.

# %%
from mmcourse.book.figures.sampling import SamplingExplorer

explorer = SamplingExplorer([(text, shipped.words, logits) for _, text, logits in hesitant])

# %% mystnb={"figure": {"caption": "The next word, at moments at which the captioner hesitates. Change the temperature, cut the tail, and draw words.", "name": "fig-decoding-explorer"}, "image": {"alt": "Bars of the probabilities of twelve words, four times: as the model gives them, at temperature 0.5, with the top three, and with a top-p of 0.9."}} tags=["remove-input"]
explorer

# %% [markdown]
# ## Repetition
#
# Maximising has a vice: a text that repeats itself becomes more and more probable {cite}`holtzman2020`. Captions are short, so we rarely see it. We look
# where it shows: the captioner whose end is forbidden must go on and on. Two remedies:
#
# - **No repeated n-grams**: a word that would complete an n-gram that was already written gets probability zero {cite}`paulus2018`.
# - A **repetition penalty** $\theta > 1$ (not the weights, in this section) makes each word $v$ of those written, $W$, less probable. {cite:t}`keskar2019` divide its logit $z_v$ by $\theta$,
#   whatever its sign. We take a later variant, that of `transformers`, which multiplies a logit that is not positive:
#
# $$
# z'_v = \begin{cases} z_v / \theta & v \in W,\ z_v > 0 \\ z_v \cdot \theta & v \in W,\ z_v \le 0 \\ z_v & v \notin W \end{cases}
# $$ (eq-decoding-repetition)
#
# Two cases, because dividing a negative number makes it larger. By hand, $\theta = 2$: logits $(2, -2, 3)$, the first two written, become $(1, -4, 3)$.
# The paper's rule gives $(1, -1, 3)$: the second word was written, and is now more probable than before.

# %% tags=["nbval-check-output"]
from transformers import NoRepeatNGramLogitsProcessor, RepetitionPenaltyLogitsProcessor

two_written = torch.tensor([[0, 1, 0]])
print(decoding.discourage(torch.tensor([[2.0, -2.0, 3.0]]), two_written, 2.0).tolist())
dice = torch.Generator().manual_seed(0)
logits, written = torch.randn(9, 5, generator=dice), torch.randint(5, (9, 14), generator=dice)
pairs = ((decoding.discourage(logits, written, 1.3), RepetitionPenaltyLogitsProcessor(1.3)),
         (decoding.ban_ngrams(logits, written, 3), NoRepeatNGramLogitsProcessor(3)))
for ours, reference in pairs:
    assert torch.allclose(ours, reference(written, logits.clone()), atol=1e-6)
print("both equal those of transformers")

# %% tags=["remove-input"]
show_source(decoding.discourage)

# %% tags=["remove-input"]
show_source(decoding.ban_ngrams)

# %% [markdown]
# A measure: of all sequences of three words in a text, the share that has occurred before in the same text. Nothing repeated gives 0.

# %%
def repeated(texts, n=3):
    """Share of the n-grams of each text that it already had, the mean over the texts."""
    shares = []
    for text in texts:
        grams = list(zip(*(text.split()[start:] for start in range(n)), strict=False))
        shares.append(1 - len(set(grams)) / len(grams))
    return float(np.mean(shares))


LOOPS = {"greedy": (decoding.greedy, {}), "beam 4": (decoding.beam_search, {}),
         "sampling": (decoding.sample, {}),
         "greedy, penalty 1.3": (decoding.greedy, {"repetition_penalty": 1.3}),
         "greedy, no 3-gram twice": (decoding.greedy, {"no_repeat_ngram_size": 3}),
         "beam 4, no 3-gram twice": (decoding.beam_search, {"no_repeat_ngram_size": 3})}
loops = {}
for name, (decode, options) in LOOPS.items():
    torch.manual_seed(0)
    texts, log_probs = write(decode, memories[:40], endless, **options)
    loops[name] = repeated(texts), log_probs.mean() / longest
    print(f"{name:24} {loops[name][0]:5.1%} repeated, log P a word {loops[name][1]:6.2f}")
    print("   ", fill(texts[0], 84, subsequent_indent="    "))

# %% tags=["remove-cell"]
for name, (share, each) in loops.items():
    key = name.replace(",", "").replace(" ", "_").replace(".", "").replace("-", "")
    glue(f"decoding_loop_{key}", share, display=False)
    glue(f"decoding_each_{key}", float(each), display=False)

# %% [markdown]
# Greedy repeats {glue:text}`decoding_loop_greedy:.0%` of its three-word sequences and beam search {glue:text}`decoding_loop_beam_4:.0%`; sampling
# {glue:text}`decoding_loop_sampling:.0%`. The ban makes it {glue:text}`decoding_loop_greedy_no_3gram_twice:.0%` by construction. It does not make the text good: read it. The model was
# never taught to go on after a caption, and forbidding the symptom does not change that. Beam search takes no penalty in the package: it ranks rows by the model's
# log-probability, and the penalty would change what is ranked.
#
# What do the remedies cost where nothing loops? A caption may have to repeat a word: "one hammer above one key". We count how many of the references do, and
# give 300 ordinary captions, with their end, each remedy:

# %%
from mmcourse.evaluation import bleu_counts, bleu_from_counts, bootstrap, fact_score


def fact_counts(texts, scenes):
    """Of each caption: facts true, facts stated, facts found of those due, facts due: (n, 4)."""
    rows = []
    for text, scene in zip(texts, scenes, strict=True):
        score = fact_score(text, scene)
        stated, due = len(score.true | score.false), len(scene.facts)
        rows.append([len(score.true), stated, due - len(score.missed), due])
    return np.array(rows)


def true_share(rows):
    return rows[:, 0].sum() / rows[:, 1].sum()


def stated_share(rows):
    return rows[:, 2].sum() / rows[:, 3].sum()


def less(statistic, first, second):
    """The statistic of the first less that of the second, on the same scenes, with its interval."""
    return bootstrap(lambda a, b: statistic(a) - statistic(b), first, second, draws=1000)


# %%
own = [text.split() for scene in val for text in scene.captions]
again = np.mean([len(set(words)) < len(words) for words in own])
print(f"references that repeat a word: {again:.0%}")
plain, _ = write(decoding.greedy)
free, price, changed = fact_counts(plain, val), {}, {}
REMEDIES = {"penalty 1.3": {"repetition_penalty": 1.3},
            "no 3-gram twice": {"no_repeat_ngram_size": 3},
            "no word twice": {"no_repeat_ngram_size": 1}}
for name, options in REMEDIES.items():
    texts, _ = write(decoding.greedy, **options)
    changed[name] = sum(a != b for a, b in zip(texts, plain, strict=True))
    price[name] = less(true_share, fact_counts(texts, val), free)
    value, low, high, _ = price[name]
    print(f"{name:16} {changed[name]:3} captions changed, "
          f"facts true {value:+.3f} ({low:+.3f} to {high:+.3f})")

# %% tags=["remove-cell"]
glue("decoding_references_repeat", float(again), display=False)
glue("decoding_changed_penalty", changed["penalty 1.3"], display=False)
glue("decoding_changed_ban", changed["no 3-gram twice"], display=False)
glue("decoding_price_word", price["no word twice"].value, display=False)

# %% [markdown]
# In brackets stands the 95 % interval of the difference to plain greedy search, from a bootstrap over the scenes ([chapter 13](13_evaluation.py)). {glue:text}`decoding_references_repeat:.0%` of the
# references repeat a word, so forbidding every word to come twice costs much: {glue:text}`decoding_price_word:+.3f`. The penalty and the ban on three words change {glue:text}`decoding_changed_penalty:d` and {glue:text}`decoding_changed_ban:d` captions. Where their
# intervals hold 0, these scenes show no change of the facts.
#
# ## The cache
#
# To write word $t$, the decoder needs the keys and values of all earlier words. They have not changed since, so a **KV cache** keeps
# them ([chapter 2](02_transformer.py)). Multiplications and additions of one decoder layer for a sentence of $T$ words that looks at
# $S$ places, without and with it:
#
# $$
# \begin{aligned}
# C_{\text{without}} &= \sum_{t=1}^{T} \left( 28 t D^2 + 4 S D^2 + 4 t^2 D + 4 t S D \right) \\
# C_{\text{with}} &= 28 T D^2 + 4 S D^2 + \sum_{t=1}^{T} \left( 4 t D + 4 S D \right)
# \end{aligned}
# $$ (eq-decoding-cost)
#
# $28 D^2$ are a word's own matrices: 8 for self-attention, 4 for the query and output of cross-attention, 16 for the feed-forward network. $4 S D^2$ are the
# keys and values of the memory. The rest is attention itself. The first line grows with $T^3$, the second with $T^2$. PyTorch can count:

# %%
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mmcourse.transformer import DecoderLayer


def cost(T, S, D):
    """Operations of one layer without and with a cache."""
    without = sum(28 * t * D**2 + 4 * S * D**2 + 4 * t**2 * D + 4 * t * S * D
                  for t in range(1, T + 1))
    attention = sum(4 * t * D + 4 * S * D for t in range(1, T + 1))
    return without, 28 * T * D**2 + 4 * S * D**2 + attention


# %% tags=["nbval-check-output"]
layer = DecoderLayer(24, 3).eval().requires_grad_(False)
x, memory = torch.randn(1, 7, 24), torch.randn(1, 5, 24)
# The counter does not see into PyTorch's fused kernel, so both take the plain one.
with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as again:
    for t in range(1, 8):
        layer(x[:, :t], memory)
with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as cached:
    cache = {}
    for t in range(7):
        layer(x[:, t:t + 1], memory, cache=cache)
assert (again.get_total_flops(), cached.get_total_flops()) == cost(7, 5, 24)
print("counted:", again.get_total_flops(), "without,", cached.get_total_flops(), "with")

# %% [markdown]
# Operations are not seconds. The clock of one core, with the shipped captioner's decoder fed with random vectors, so that we can make $T$ as large as we like:

# %%
def without_cache(x, memory):
    """All words again for each new one, (1, T, D)."""
    lengths = range(1, x.shape[1] + 1)
    return torch.cat([shipped.decoder(x[:, :t], memory)[:, -1:] for t in lengths], 1)


def with_cache(x, memory):
    """Each word once."""
    cache = {}
    return torch.cat([shipped.decoder(word, memory, cache=cache) for word in x.split(1, 1)], 1)


# %%
torch.set_num_threads(1)
lengths, seconds = [8, 16, 32, 64, 128, 256], {}
x = torch.randn(1, 256, 128, generator=torch.Generator().manual_seed(0))
gap = (without_cache(x[:, :40], memories[:1]) - with_cache(x[:, :40], memories[:1])).abs().max()
assert gap < 1e-4
for name, function in (("without", without_cache), ("with", with_cache)):
    seconds[name] = []
    for T in lengths:
        tries = []
        for _ in range(3 if T < 256 else 1):
            began = time.process_time()
            function(x[:, :T], memories[:1])
            tries.append(time.process_time() - began)
        seconds[name].append(min(tries))
ratios = [a / b for a, b in zip(seconds["without"], seconds["with"], strict=True)]
for T, ratio in zip(lengths, ratios, strict=True):
    print(f"T = {T:3}: the cache is {ratio:.1f} times as fast")

# %% mystnb={"figure": {"caption": "Seconds of one core to write a sentence of T words, one picture. Left: measured. Right: how many times faster the cache is, and how many times fewer operations it needs.", "name": "fig-decoding-cache"}, "image": {"alt": "Two plots on logarithmic axes against the length. Left, seconds with and without a cache: the line without a cache bends upwards. Right, the ratio of the two in seconds and in operations."}} tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.9))
for name, colour in (("without", ORANGE), ("with", BLUE)):
    left.loglog(lengths, seconds[name], "o-", color=colour, markersize=4, label=f"{name} cache")
right.loglog(lengths, ratios, "o-", color=INK, markersize=4, label="seconds")
fewer = [np.divide(*cost(T, memories.shape[1], 128)) for T in lengths]
right.loglog(lengths, fewer, "--", color=GREY, label="operations")
for axis in (left, right):
    axis.set_xticks(lengths, lengths)
    axis.minorticks_off()
    axis.legend()
left.set(title="seconds", xlabel="T")
right.set(title="without / with", xlabel="T");

# %% tags=["remove-cell"]
glue("decoding_cache_gap", float(gap), display=False)
glue("decoding_ratio_short", ratios[2], display=False)
glue("decoding_ratio_long", ratios[-1], display=False)
glue("decoding_fewer_long", float(fewer[-1]), display=False)

# %% [markdown]
# The outputs differ by at most {glue:text}`decoding_cache_gap:.1e`. At 32 words the cache is {glue:text}`decoding_ratio_short:.1f` times as fast, at 256
# words {glue:text}`decoding_ratio_long:.0f` times. In operations it would be {glue:text}`decoding_fewer_long:.0f` times: one word at a time keeps a
# computer waiting for memory and for Python, many words at a time keep it multiplying.
#
# What the cache costs is memory: $2 \cdot \text{layers} \cdot D \cdot (T + S)$ numbers a row. Beams share the $S$ part, because they look at the same picture;
# `reorder` in {mod}`mmcourse.transformer` copies the $T$ part only.
#
# ## Strategies compared
#
# Now the second question: which sentence do we want? We let each strategy describe 300 scenes of `val` and measure what is true, what is stated, the usual scores,
# how many different words it used, the log-probability, and the time.

# %%
STRATEGIES = {
    "greedy": (decoding.greedy, {}),
    "beam 4": (decoding.beam_search, {}),
    "beam 4, α = 0": (decoding.beam_search, {"length_penalty": 0.0}),
    "sample, τ = 1": (decoding.sample, {}),
    "sample, τ = 0.5": (decoding.sample, {"temperature": 0.5}),
    "sample, top-k 5": (decoding.sample, {"top_k": 5}),
    "sample, top-p 0.9": (decoding.sample, {"top_p": 0.9}),
}
references = [scene.captions for scene in val]


def judge(texts):
    """Of each caption: counts of facts (n, 4), counts for BLEU (n, 10), CIDEr-D (n,)."""
    counts = bleu_counts(texts, references)
    return fact_counts(texts, val), counts, cider_d(texts, references, each=True)


# %%
def bleu_4(counts):
    return bleu_from_counts(counts.sum(0))[3]


table, judged = {}, {}
for name, (decode, options) in STRATEGIES.items():
    began = time.process_time()
    drawn = []
    for seed in range(3 if decode is decoding.sample else 1):
        torch.manual_seed(seed)
        drawn.append(write(decode, **options))
    spent = 1000 * (time.process_time() - began) / len(val) / len(drawn)
    each = [judge(texts) for texts, _ in drawn]  # a scene's numbers are the mean of its draws
    facts, counts, cider = (np.mean(parts, axis=0) for parts in zip(*each, strict=True))
    judged[name] = facts, counts, cider
    first = drawn[0][0]
    table[name] = {"precision": true_share(facts), "recall": stated_share(facts),
                   "bleu": bleu_4(counts), "cider": cider.mean(), "captions": len(set(first)),
                   "words": len(set(" ".join(first).split())),
                   "log_prob": np.mean([log_probs.mean() for _, log_probs in drawn]), "ms": spent}

# %% tags=["remove-cell"]
KEYS = dict(zip(STRATEGIES, ("greedy", "beam", "beam0", "sample", "half", "topk", "topp"), strict=True))
for name, row in table.items():
    for key, value in row.items():
        number = value if isinstance(value, int) else float(value)
        glue(f"decoding_{KEYS[name]}_{key}", number, display=False)
glue("decoding_least", min(row["captions"] for row in table.values()), display=False)

# %% [markdown]
# | 300 scenes of `val` | fact precision | fact recall | BLEU-4 | CIDEr-D | different words | mean log P | ms a picture |
# |---|---|---|---|---|---|---|---|
# | greedy | {glue:text}`decoding_greedy_precision:.3f` | {glue:text}`decoding_greedy_recall:.3f` | {glue:text}`decoding_greedy_bleu:.3f` | {glue:text}`decoding_greedy_cider:.2f` | {glue:text}`decoding_greedy_words:d` | {glue:text}`decoding_greedy_log_prob:.2f` | {glue:text}`decoding_greedy_ms:.1f` |
# | beam 4, $\alpha = 1$ | {glue:text}`decoding_beam_precision:.3f` | {glue:text}`decoding_beam_recall:.3f` | {glue:text}`decoding_beam_bleu:.3f` | {glue:text}`decoding_beam_cider:.2f` | {glue:text}`decoding_beam_words:d` | {glue:text}`decoding_beam_log_prob:.2f` | {glue:text}`decoding_beam_ms:.1f` |
# | beam 4, $\alpha = 0$ | {glue:text}`decoding_beam0_precision:.3f` | {glue:text}`decoding_beam0_recall:.3f` | {glue:text}`decoding_beam0_bleu:.3f` | {glue:text}`decoding_beam0_cider:.2f` | {glue:text}`decoding_beam0_words:d` | {glue:text}`decoding_beam0_log_prob:.2f` | {glue:text}`decoding_beam0_ms:.1f` |
# | sample, $\tau = 1$ | {glue:text}`decoding_sample_precision:.3f` | {glue:text}`decoding_sample_recall:.3f` | {glue:text}`decoding_sample_bleu:.3f` | {glue:text}`decoding_sample_cider:.2f` | {glue:text}`decoding_sample_words:d` | {glue:text}`decoding_sample_log_prob:.2f` | {glue:text}`decoding_sample_ms:.1f` |
# | sample, $\tau = 0.5$ | {glue:text}`decoding_half_precision:.3f` | {glue:text}`decoding_half_recall:.3f` | {glue:text}`decoding_half_bleu:.3f` | {glue:text}`decoding_half_cider:.2f` | {glue:text}`decoding_half_words:d` | {glue:text}`decoding_half_log_prob:.2f` | {glue:text}`decoding_half_ms:.1f` |
# | sample, top-k 5 | {glue:text}`decoding_topk_precision:.3f` | {glue:text}`decoding_topk_recall:.3f` | {glue:text}`decoding_topk_bleu:.3f` | {glue:text}`decoding_topk_cider:.2f` | {glue:text}`decoding_topk_words:d` | {glue:text}`decoding_topk_log_prob:.2f` | {glue:text}`decoding_topk_ms:.1f` |
# | sample, top-p 0.9 | {glue:text}`decoding_topp_precision:.3f` | {glue:text}`decoding_topp_recall:.3f` | {glue:text}`decoding_topp_bleu:.3f` | {glue:text}`decoding_topp_cider:.2f` | {glue:text}`decoding_topp_words:d` | {glue:text}`decoding_topp_log_prob:.2f` | {glue:text}`decoding_topp_ms:.1f` |
#
# Sampling: means of the seeds 0, 1 and 2, but the different words are those of seed 0. The time is that of one core for decoding alone, 50 pictures at once. The baseline is greedy. What does a row gain over it, and
# is the gain more than chance? On the same scenes, with 95 % intervals:

# %%
MEASURES = {"facts true": (0, true_share), "BLEU-4": (1, bleu_4), "CIDEr-D": (2, np.mean)}
gain = {}
print(f"{'less greedy':18}" + "".join(f"{measure:^27}" for measure in MEASURES))
for name in list(STRATEGIES)[1:]:
    cells = ""
    for measure, (part, statistic) in MEASURES.items():
        found = less(statistic, judged[name][part], judged["greedy"][part])
        gain[name, measure] = found
        mark = "*" if found.low * found.high > 0 else " "
        cells += f"{found.value:+8.3f} ({found.low:+.3f}, {found.high:+.3f}){mark}"
    print(f"{name:18}{cells}")

# %% tags=["remove-cell"]
for name, key in zip(STRATEGIES, KEYS.values(), strict=True):
    for measure, short in (("facts true", "true"), ("BLEU-4", "bleu"), ("CIDEr-D", "cider")):
        if (name, measure) in gain:
            glue(f"decoding_gain_{key}_{short}", gain[name, measure].value, display=False)
glue("decoding_comparisons", len(gain), display=False)
glue("decoding_loss_topk_true", -gain["sample, top-k 5", "facts true"].value, display=False)

# %% [markdown]
# A star means that zero lies outside. These are {glue:text}`decoding_comparisons:d` comparisons, so expect about one star from chance alone; a star that only just misses zero is worth little.
#
# Compare top-k 5 with greedy search. The share of true facts falls by {glue:text}`decoding_loss_topk_true:.3f`, and its interval is far from zero. BLEU-4 and CIDEr-D change by
# {glue:text}`decoding_gain_topk_bleu:+.3f` and {glue:text}`decoding_gain_topk_cider:+.2f`, which cannot be told from noise; with a single seed they may even come out higher. So the two scores do not show, on these scenes, that more facts are
# false. (Our guess at the reason: one wrong noun costs a caption few of its n-grams.) The beams show the reverse. With four of them BLEU-4 rises by {glue:text}`decoding_gain_beam_bleu:+.3f`, and the facts are
# no truer. Perhaps the beams find wordings that are more usual for the same facts; we have not measured that. **Overlap of words and truth are two measures, and each can move without the other.**
#
# ### Quality against variety
#
# The row with the fewest different captions has {glue:text}`decoding_least:d` of 300. That says little: the scenes are different. Variety counts
# within one picture: five captions of the same scene, how many of them are different? We draw five of each of 60 scenes, at several temperatures and
# several top-p, and plot it against the share of true facts.

# %%
def frontier(**options):
    """Mean number of different captions among five a picture, and their fact precision."""
    torch.manual_seed(0)
    texts, _ = write(decoding.sample, memories[:60].repeat_interleave(5, 0), **options)
    variety = np.mean([len(set(texts[at:at + 5])) for at in range(0, len(texts), 5)])
    scenes = [scene for scene in val[:60] for _ in range(5)]
    return float(variety), fact_scores(texts, scenes)["all"][0]


lines = {"temperature": [(tau, *frontier(temperature=tau))
                         for tau in (0.03, 0.1, 0.3, 0.6, 1.0, 1.4)],
         "top-p": [(p, *frontier(top_p=p)) for p in (0.2, 0.4, 0.8, 0.95)]}

# %% mystnb={"figure": {"caption": "Variety within a picture against truth. Each dot is a setting; greedy and beam search write one caption and stand at 1.", "name": "fig-decoding-frontier"}, "image": {"alt": "Fact precision against the number of different captions among five. Two curves, for temperature and for top-p, begin near greedy search on the left and fall to the right."}} tags=["hide-input"]
figure, axes = plt.subplots(figsize=(6, 3))
for (name, points), colour in zip(lines.items(), (BLUE, ORANGE), strict=True):
    values, variety, precision = zip(*points, strict=True)
    side, shift = ("left", (4, 4)) if name == "temperature" else ("right", (-4, -11))
    axes.plot(variety, precision, "o-", color=colour, label=name, markersize=5)
    for value, x, y in points:
        axes.annotate(f"{value:g}", (x, y), shift, textcoords="offset points",
                      color=colour, fontsize=8, ha=side)
choosers = ("greedy", decoding.greedy, "s", 9), ("beam 4", decoding.beam_search, "D", 4)
for name, decode, marker, size in choosers:
    precision = fact_scores(write(decode, memories[:60])[0], val[:60])["all"][0]
    axes.plot(1, precision, marker, color=INK, fillstyle="none", label=name, markersize=size)
axes.set(xlabel="different captions among five", ylabel="fact precision", xlim=(0.7, 5.2))
axes.legend();

# %% tags=["remove-cell"]
glue("decoding_cold_variety", lines["temperature"][0][1], display=False)
glue("decoding_hot_variety", lines["temperature"][-1][1], display=False)
glue("decoding_cold_precision", lines["temperature"][0][2], display=False)
glue("decoding_hot_precision", lines["temperature"][-1][2], display=False)

# %% [markdown]
# From $\tau = 0.03$ to $1.4$ the captions of one picture go from {glue:text}`decoding_cold_variety:.1f` to {glue:text}`decoding_hot_variety:.1f` different ones in five, and the share of true facts
# from {glue:text}`decoding_cold_precision:.2f` to {glue:text}`decoding_hot_precision:.2f`. There is no best point, only a choice: one caption for a reader who cannot see the picture asks for truth; ten suggestions for a
# writer may ask for variety.
#
# ## More beams are not better for ever
#
# More beams come closer to the goal {eq}`eq-decoding-goal`. Is the goal what we want? In translation, quality rises with the first few beams and falls with hundreds {cite}`koehn2017`; the exact
# maximum is often the empty sentence {cite}`stahlberg2019`. Our captioner, with $\alpha = 0$, so that the score is the log-probability itself:

# %%
sizes, curve, beam_facts = [1, 2, 4, 8, 16, 32], [], []
for beams in sizes:
    texts, log_probs = write(decoding.beam_search, hundred, beams=beams, length_penalty=0.0)
    precision, recall = fact_scores(texts, val[:100])["all"]
    beam_facts.append(fact_counts(texts, val[:100]))
    curve.append((float(log_probs.mean()), precision, recall, bleu(texts, references[:100])[3],
                  float(np.mean([len(text.split()) for text in texts]))))
    print(f"{beams:2} beams: mean log P {curve[-1][0]:.3f}, facts {precision:.3f} true, "
          f"{recall:.3f} stated, BLEU-4 {curve[-1][3]:.3f}, {curve[-1][4]:.2f} words")
for name, share in (("true", true_share), ("stated", stated_share)):
    value, low, high, _ = less(share, beam_facts[-1], beam_facts[0])
    print(f"32 beams less 1, facts {name}: {value:+.3f} ({low:+.3f} to {high:+.3f})")

# %% mystnb={"figure": {"caption": "Against the number of beams, on 100 scenes. Left: what the search maximises. Right: what we care about.", "name": "fig-decoding-beams"}, "image": {"alt": "Two plots against the number of beams from 1 to 32. Left, the mean log-probability rises and levels off. Right, fact precision, fact recall and BLEU-4."}} tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.8))
columns = list(zip(*curve, strict=True))
left.semilogx(sizes, columns[0], "o-", color=INK, markersize=4)
left.set(title="mean log P", xlabel="beams")
for name, values, colour in zip(("fact precision", "fact recall", "BLEU-4"), columns[1:4],
                                (BLUE, TEAL, PINK), strict=True):
    right.semilogx(sizes, values, "o-", color=colour, markersize=4, label=name)
right.set(xlabel="beams", ylim=(0, 1))
right.legend()
for axis in (left, right):
    axis.set_xticks(sizes, sizes)
    axis.minorticks_off()

# %% tags=["remove-cell"]
glue("decoding_beams_1", curve[0][0], display=False)
glue("decoding_beams_4", curve[2][0], display=False)
glue("decoding_beams_32", curve[-1][0], display=False)
for index, beams in ((0, 1), (2, 4), (-1, 32)):
    glue(f"decoding_true_{beams}", curve[index][1], display=False)
    glue(f"decoding_stated_{beams}", curve[index][2], display=False)
    glue(f"decoding_long_{beams}", curve[index][4], display=False)

# %% [markdown]
# The log-probability goes from {glue:text}`decoding_beams_1:.2f` with one beam to {glue:text}`decoding_beams_4:.2f` with 4 and {glue:text}`decoding_beams_32:.2f` with 32, and the mean length from {glue:text}`decoding_long_1:.1f` to {glue:text}`decoding_long_4:.1f` and {glue:text}`decoding_long_32:.1f` words. The share of
# the facts that are stated goes from {glue:text}`decoding_stated_1:.3f` to {glue:text}`decoding_stated_4:.3f` and {glue:text}`decoding_stated_32:.3f`, the share of true ones from {glue:text}`decoding_true_1:.3f` to {glue:text}`decoding_true_4:.3f` and {glue:text}`decoding_true_32:.3f`. A search that finds more probable sentences is a better search. Whether they are better sentences is
# a property of the model.
#
# ## How exact is it?
#
# Beam search promises nothing. On a model that is small enough we can try every sentence, and count how often it finds the best one. We take random models of five words whose next word
# depends on the last one, and sentences of at most six.

# %% tags=["nbval-check-output"]
def best_of_all(model, max_length, end=0):
    """The largest log-probability of any sentence, by trying all of them."""
    best = -math.inf
    words = range(1, len(model))
    for length in range(max_length + 1):
        for body in itertools.product(words, repeat=length):
            whole = (1, *body) if length == max_length else (1, *body, end)
            best = max(best, sum(model[a][b] for a, b in itertools.pairwise(whole)))
    return best


models = [random_model(seed) for seed in range(40)]
truth = [best_of_all(model.tolist(), 6) for model in models]
for beams in (1, 2, 3, 5, 10):
    found = [decoding.beam_search(step_through(model), torch.tensor([1]), end=0, max_length=6,
                                  beams=beams, length_penalty=0.0).log_prob.item()
             for model in models]
    exact = sum(abs(a - b) < 1e-4 for a, b in zip(found, truth, strict=True))
    print(f"{beams:2} beams: the best sentence in {exact} of {len(models)} models")
    assert all(a < b + 1e-4 for a, b in zip(found, truth, strict=True))

# %% [markdown]
# It never finds more than the truth (the assertion), and with more beams it finds the truth more often.
#
# ## What came after
#
# - **Another cut.** **Min-p** {cite}`nguyen2025` keeps the words whose probability is at least a fixed share of the largest one. Its authors report better quality and variety than with top-p, above all at high temperatures. {cite:t}`schaeffer2025` go through the same evidence and find no advantage, in the benchmarks once each
#   way of sampling may try as many settings.
# - **Draw many, keep what they agree on.** In translation, {cite:t}`eikema2020` find, the most probable sentence holds so little probability that it is nearly arbitrary. They draw sentences and keep the one that is most like the others under some score: **minimum Bayes risk decoding**. Short answers can vote: self-consistency
#   {cite}`wang2023consistency` draws several ways of reasoning and takes the most frequent answer.
# - **Less what it says without looking.** Visual contrastive decoding {cite}`leng2024` runs a model with the picture and with a distorted one. It takes $1 + a$ times the first logits less $a$ times the second, among the words that pass the rule of min-p. Its authors report fewer things named that are not there. The second run is
#   the blind captioner of chapter 14 in the same weights; {eq}`eq-text_to_image-guidance` is the same sum, for drawing.
# - **Only what a form allows.** Programs that read an answer need a form, such as JSON. In **constrained decoding** each word that would break it gets probability zero, as the end did in our experiment. {cite:t}`willard2023` find these words quickly, by an index of the vocabulary. The form is then certain; the content is not.
# - **A cache in pages.** {cite:t}`kwon2023` keep the cache of a row in blocks of one size, as an operating system keeps memory in pages. No row reserves room for the longest answer, and rows that begin alike share blocks.
#
# A decoder chooses among what its model offers, and that depends on what the model sees: drawings, so far. [Chapter 16](16_photographs.py) turns to photographs, and to an eye that others have trained.
#
# ## What goes wrong
#
# All of these run, and write words that look like a caption.
#
# ### The cache is not reordered
#
# When a beam is dropped and another one continues twice, the rows of the cache must follow. We take that away: the cache is repeated once for the beams, as it must be, and never
# reordered afterwards. A row then reads the past of another one.

# %%
from mmcourse.transformer import reorder


def repeat_only(cache, rows, *, shared=None):
    """The mistake: rows are repeated at the first step, and stay where they are at all others."""
    if not cache.get("repeated"):
        cache["repeated"] = True
        reorder(cache, rows, shared=shared)


# %%
damage = {}
for name, function in (("reordered", reorder), ("not reordered", repeat_only)):
    told = []
    with patch.object(decoding.beams, "reorder", function):  # one picture at a time, so none leaves
        for memory in memories[:60].split(1):
            (text,), (claimed,) = write(decoding.beam_search, memory)
            told.append((text, claimed, true_log_prob(memory, text)))
    texts, claimed, true = zip(*told, strict=True)
    facts = fact_scores(texts, val[:60])["all"][0]
    damage[name] = facts, np.mean(claimed), np.mean(true)
    print(f"{name:14} facts true {facts:.3f}; log P claimed {damage[name][1]:.2f}, "
          f"true {damage[name][2]:.2f}")
print("for example:", texts[0])

# %% tags=["remove-cell"]
for name, key in (("reordered", "good"), ("not reordered", "bad")):
    for value, what in zip(damage[name], ("facts", "claimed", "true"), strict=True):
        glue(f"decoding_reorder_{key}_{what}", float(value), display=False)

# %% [markdown]
# The share of true facts goes from {glue:text}`decoding_reorder_good_facts:.2f` to {glue:text}`decoding_reorder_bad_facts:.2f`. There is a test that needs no facts: the log-probability that the search claims,
# {glue:text}`decoding_reorder_bad_claimed:.2f`, is not that of the sentence, {glue:text}`decoding_reorder_bad_true:.2f`. With the cache in order they are {glue:text}`decoding_reorder_good_claimed:.2f` and
# {glue:text}`decoding_reorder_good_true:.2f`. Score a decoder's output again by teacher forcing, and compare.
#
# ### Positions off by one
#
# With a cache, the word that goes in is one word, but it is word number $t$. A decoder that forgets this, or counts from the wrong end, gives it another's position:

# %%
def late(memory):
    """The mistake: from the second word on, each gets the position of the word before it."""
    def step(tokens, cache):
        past = cache.get("length", 0)
        cache["length"] = max(0, past - 1)
        logits = shipped.decode(memory, tokens, cache=cache)[:, -1]
        cache["length"] = past + 1
        return logits

    return step


shifted, shifted_facts = {}, {}
for name, maker in (("right", step_of), ("off by one", late)):
    texts, _ = write(decoding.greedy, hundred, maker)
    shifted[name] = fact_scores(texts, val[:100])["all"]
    shifted_facts[name] = fact_counts(texts, val[:100])
    print(f"{name:10} facts true {shifted[name][0]:.3f}, stated {shifted[name][1]:.3f}")
    print("   ", texts[0])
value, low, high, _ = less(true_share, shifted_facts["off by one"], shifted_facts["right"])
print(f"off by one less right, facts true: {value:+.3f} ({low:+.3f} to {high:+.3f})")

# %% tags=["remove-cell"]
glue("decoding_position_range", f"{low:+.3f} to {high:+.3f}", display=False)
for name, key in (("right", "right"), ("off by one", "off")):
    glue(f"decoding_position_{key}", shifted[name][0], display=False)
    glue(f"decoding_position_{key}_recall", shifted[name][1], display=False)

# %% [markdown]
# The true share goes from {glue:text}`decoding_position_right:.2f` to {glue:text}`decoding_position_off:.2f` (95 % interval of the difference: {glue:text}`decoding_position_range`), the stated share from {glue:text}`decoding_position_right_recall:.2f` to
# {glue:text}`decoding_position_off_recall:.2f`. That is little for such a mistake: who looks at this score only may never notice. "With the cache equals without it" finds it at once.
#
# ### The penalty the wrong way round
#
# {eq}`eq-decoding-repetition` has two cases. Code that always divides, as the paper's formula does, and gets log-probabilities, which are all negative, makes what was written *more* probable. We give the
# endless captioner this penalty and the right one:

# %%
def encouraging(memory, theta=1.3):
    """The mistake: the log-probabilities of the words so far are divided by theta."""
    step = endless(memory)

    def wrong(tokens, cache):
        cache["so far"] = torch.cat([cache["so far"], tokens], 1) if "so far" in cache else tokens
        log_probs = step(tokens, cache).log_softmax(-1)
        return log_probs.scatter(1, cache["so far"], log_probs.gather(1, cache["so far"]) / theta)

    return wrong


wrong_way = {}
for name, maker, options in (("no penalty", endless, {}), ("wrong way", encouraging, {}),
                             ("right way", endless, {"repetition_penalty": 1.3})):
    texts, _ = write(decoding.greedy, memories[:40], maker, **options)
    wrong_way[name] = np.mean([len(set(text.split())) for text in texts])
    print(f"{name:11} {wrong_way[name]:.1f} different words of {longest}, "
          f"{repeated(texts):.0%} repeated: {texts[0][:40]} ...")

# %% tags=["remove-cell"]
for name, words in wrong_way.items():
    glue(f"decoding_penalty_{name.split()[0]}", float(words), display=False)

# %% [markdown]
# A text of {glue:text}`decoding_longest:d` words has {glue:text}`decoding_penalty_no:.1f` different words without a penalty, {glue:text}`decoding_penalty_wrong:.1f` with the wrong one and
# {glue:text}`decoding_penalty_right:.1f` with the right one. An exercise does the same to the length penalty. The package refuses values that cannot be meant:

# %% tags=["nbval-check-output"]
for options in ({"length_penalty": -1.0}, {"beams": 0}, {"no_repeat_ngram_size": -2}):
    try:
        decoding.beam_search(tree_step, start, end=0, max_length=3, **options)
    except ValueError as error:
        print(error)

# %% [markdown]
# ## Exercises
#
# ```{exercise-start} Three temperatures on paper
# :label: ex-decoding-temperature
# ```
# *Easy, 10 minutes.* Logits are $(\log 9, \log 3, \log 1)$. Compute {eq}`eq-decoding-temperature` for $\tau = 1, \tfrac12, 2$ as fractions or roots. What happens as $\tau \to 0$, and
# which words does a top-p of 0.9 keep at each of the three temperatures?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-decoding-temperature
# :label: so-decoding-temperature
# :class: dropdown
# ````
# $\tau = 1$: $9 : 3 : 1$, so $9/13, 3/13, 1/13$. $\tau = \tfrac12$: squares, $81 : 9 : 1$ over 91. $\tau = 2$: roots, $3 : \sqrt 3 : 1$. As $\tau \to 0$ all goes to the first word. Top-p 0.9 keeps two words
# ($12/13 = 0.92$), two ($81/91 = 0.89$ is just not enough), and three ($(3 + \sqrt 3) / (4 + \sqrt 3) = 0.83$).

# %% tags=["nbval-check-output"]
logits = torch.tensor([9.0, 3.0, 1.0]).log()
for tau in (1.0, 0.5, 2.0):
    kept = decoding.truncate(logits / tau, top_p=0.9).isfinite().sum().item()
    probs = [round(prob, 3) for prob in (logits / tau).softmax(-1).tolist()]
    print(f"tau {tau}: {probs}, top-p 0.9 keeps {kept}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} What the cache weighs
# :label: ex-decoding-memory
# ```
# *Easy, 10 minutes.* The cache of `shipped.decode(memory, tokens, cache=cache)` is a dict, empty at first, that holds other dicts; its tensors are the keys and values of each layer. How many numbers do they
# hold for one picture after $T$ tokens have gone in, of which the start is the first, with greedy search? With four beams and greedy's row, if these rows share the picture's part, and if they do not?
# Check your formula for greedy search by adding up the tensors.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-decoding-memory
# :label: so-decoding-memory
# :class: dropdown
# ````
# Keys and values, in each layer, of $T$ tokens and $N$ places: $2 \cdot \text{layers} \cdot D \cdot (T + N)$. Five rows that share: $2 \cdot \text{layers} \cdot D \cdot (5T + N)$; that do not: five times the first.

# %% tags=["nbval-check-output"]
def numbers_in(cache):
    """How many numbers the tensors of a nested dict hold."""
    if isinstance(cache, dict):
        return sum(map(numbers_in, cache.values()))
    return cache.numel() if isinstance(cache, torch.Tensor) else 0


T, (_, N, D), layers, cache = 9, memories.shape, len(shipped.decoder.layers), {}
shipped.decode(memories[:1], torch.full((1, T), 7), cache=cache)
assert numbers_in(cache) == 2 * layers * D * (T + N)
once = 2 * layers * D
print(f"greedy {once * (T + N):,}; five rows that share {once * (5 * T + N):,}, "
      f"that do not {5 * once * (T + N):,}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} The length penalty the wrong way round
# :label: ex-decoding-wrong
# ```
# *Medium, 20 minutes.* `mmcourse.book.figures.beams.beam_steps` tells what a beam search saw: of each step a list of candidates (parent, word, log-probability, fate). Collect the finished ones of 150 pictures, with
# 8 beams. Choose the best by $\log P / T$, by $\log P$, and, wrongly, by $\log P \cdot T$. How long are the winners, which share of the facts do they state, and is the difference more than chance?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-decoding-wrong
# :label: so-decoding-wrong
# :class: dropdown
# ````
# Multiplying a negative number by the length pushes long sentences down, harder than the plain sum does. The candidates are those of one search with $\alpha = 1$, so this measures the choice alone. We follow
# the parents of each finished candidate back to the start, and compare the chosen texts on the same scenes.

# %%
from mmcourse.book.figures.beams import beam_steps

RULES = {"log P / T": lambda s, T: s / T, "log P": lambda s, T: s, "log P * T": lambda s, T: s * T}
chosen = {rule: [] for rule in RULES}
for index in range(150):
    _, steps = beam_steps(step_of(memories[index:index + 1]), torch.tensor([START]),
                          end=END, max_length=longest, beams=8)
    ended = [(step, place) for step, row in enumerate(steps)
             for place, candidate in enumerate(row) if candidate[3] == "ended"]
    for rule, score in RULES.items():
        step, at = max(ended, key=lambda pair: score(steps[pair[0]][pair[1]][2], pair[0] + 1))
        words = []
        while step >= 0:
            parent, word, *_ = steps[step][at]
            words, at, step = [shipped.words[word], *words], parent, step - 1
        chosen[rule].append(" ".join(word for word in words if word != "<end>"))

# %%
counts = {rule: fact_counts(texts, val[:150]) for rule, texts in chosen.items()}
fewer = {}
for rule, texts in chosen.items():
    fewer[rule] = less(stated_share, counts[rule], counts["log P / T"])
    print(f"{rule:10} {np.mean([len(text.split()) for text in texts]):.1f} words, "
          f"{true_share(counts[rule]):.3f} true, {stated_share(counts[rule]):.3f} stated, "
          f"{fewer[rule].value:+.3f} ({fewer[rule].low:+.3f} to {fewer[rule].high:+.3f})")

# %% tags=["remove-cell"]
for rule, key in zip(RULES, ("mean", "sum", "wrong"), strict=True):
    glue(f"decoding_rule_{key}", float(stated_share(counts[rule])), display=False)

# %% [markdown]
# The mean states {glue:text}`decoding_rule_mean:.3f` of the facts, the sum {glue:text}`decoding_rule_sum:.3f`, the product {glue:text}`decoding_rule_wrong:.3f`. The shorter winners state fewer facts than those of the mean. The product
# stays close to the plain sum, whose winners are short already.
#
# ````{solution-end}
# ````
#
# ```{exercise-start} Draw many, keep one
# :label: ex-decoding-rank
# ```
# *Medium, 15 minutes.* Draw eight captions of each of 60 pictures at $\tau = 0.7$ and keep the one with the largest log-probability a word. Compare its log-probability and its facts with those of four beams and of a
# single draw. What does this way need that beam search does not, and the other way round?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-decoding-rank
# :label: so-decoding-rank
# :class: dropdown
# ````
# It needs eight whole captions of each picture; beam search carries five rows, and needs the reordering of its cache and a rule to stop. Any other judge could rank the draws, for example one that compares text and picture. But draws are all that there is to rank: where the model
# is unsure, the best sentence may not be among eight. Beam search looks at all continuations of what it kept.

# %%
torch.manual_seed(0)
texts, log_probs = write(decoding.sample, memories[:60].repeat_interleave(8, 0), temperature=0.7)
each = log_probs / [len(text.split()) + 1 for text in texts]
kept = each.reshape(60, 8).argmax(1) + 8 * np.arange(60)
beam_texts, beam_log_probs = write(decoding.beam_search, memories[:60])
ranked = {}
for name, chosen_texts, totals in (("one draw", texts[::8], log_probs[::8]),
                                   ("best of 8", [texts[i] for i in kept], log_probs[kept]),
                                   ("four beams", beam_texts, beam_log_probs)):
    rows = fact_counts(chosen_texts, val[:60])
    ranked[name] = totals.mean(), rows
    print(f"{name:10} mean log P {totals.mean():6.2f}, facts {true_share(rows):.3f} true, "
          f"{stated_share(rows):.3f} stated")
value, low, high, _ = less(true_share, ranked["best of 8"][1], ranked["one draw"][1])
print(f"best of 8 less one draw, facts true: {value:+.3f} ({low:+.3f} to {high:+.3f})")

# %% tags=["remove-cell"]
for name, key in (("one draw", "one"), ("best of 8", "eight"), ("four beams", "beams")):
    glue(f"decoding_rank_{key}", float(ranked[name][0]), display=False)
    glue(f"decoding_rank_{key}_true", float(true_share(ranked[name][1])), display=False)

# %% [markdown]
# In this one run of draws, the best of eight comes about as far as four beams: its mean log-probability is {glue:text}`decoding_rank_eight:.2f` (beams {glue:text}`decoding_rank_beams:.2f`, one draw {glue:text}`decoding_rank_one:.2f`), and
# {glue:text}`decoding_rank_eight_true:.3f` of its facts are true (beams {glue:text}`decoding_rank_beams_true:.3f`, one draw {glue:text}`decoding_rank_one_true:.3f`). Our guess: the captioner is sure of most words, so eight draws often hold its best sentence.
#
# ````{solution-end}
# ````
#
# ```{exercise-start} Two models, one distribution
# :label: ex-decoding-speculative
# ```
# *Hard, 30 minutes.* Speculative decoding {cite}`leviathan2023` lets a small model $q$ propose a word $v$, which the large model $p$ accepts with probability $\min(1, p_v / q_v)$; if it refuses, the word is drawn from
# $\max(0, p - q)$, normalised. Show that the word has the distribution $p$ exactly, and how often a proposal is accepted. Check both with numbers.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-decoding-speculative
# :label: so-decoding-speculative
# :class: dropdown
# ````
# Word $v$ is proposed and accepted with probability $q_v \min(1, p_v / q_v) = \min(p_v, q_v)$. The sum $a = \sum_v \min(p_v, q_v)$ is the share accepted. A refusal, with probability $1 - a$, adds
# $\max(0, p_v - q_v) / (1 - a)$, since $\sum_v \max(0, p_v - q_v) = 1 - a$. Together: $\min(p_v, q_v) + \max(0, p_v - q_v) = p_v$. The large model can judge several proposed words in one pass; that is where time is saved.

# %% tags=["nbval-check-output"]
dice = torch.Generator().manual_seed(0)
p, q = torch.randn(2, 6, generator=dice, dtype=torch.float64).softmax(-1)
accepted = torch.minimum(p, q)
rest = (p - q).clamp(min=0)
assert torch.allclose(accepted + (1 - accepted.sum()) * rest / rest.sum(), p)
draws = torch.multinomial(q, 200_000, replacement=True, generator=dice)
yes = torch.rand(200_000, generator=dice) < (p / q)[draws]
draws[~yes] = torch.multinomial(rest, int((~yes).sum()), replacement=True, generator=dice)
far = (draws.bincount(minlength=6) / 200_000 - p).abs().max()
print(f"accepted {accepted.sum():.2f}; drawn and wanted equal to 0.01: {bool(far < 0.01)}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ## Quiz
#
# ::::::{card}
# :class-card: quiz
# **1.** Greedy search takes the most probable word at each step. Why is its sentence not always the most probable one?
#
# :::{dropdown} The softmax is not exact, and small errors add up over the words
# **No.** The probabilities are those of the model. The choice itself is short-sighted, with exact numbers too.
# :::
# :::{dropdown} A less probable word can lead to much more probable ones
# **Yes.** In the tree, *dog* starts with 0.4 and ends with 0.9; *cat* starts with 0.5 and ends with 0.4.
# :::
# :::{dropdown} It ends too early
# **No.** It may end early or late. Both of our sentences had two steps.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **2.** The probabilities are 0.6, 0.2, 0.1, 0.06, 0.04. What does a top-p of 0.7 keep?
#
# :::{dropdown} The first word
# **No.** It holds 0.6, and that is less than 0.7.
# :::
# :::{dropdown} All words with a probability above 0.7
# **No.** That would be none. Top-p looks at the sum from the top down.
# :::
# :::{dropdown} The first two
# **Yes.** 0.6 is not enough, $0.6 + 0.2 = 0.8$ is. They become 0.75 and 0.25.
# :::
# :::{dropdown} Seven words of ten
# **No.** A share of the probability, not of the words.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **3.** What does a length penalty of 1 maximise?
#
# :::{dropdown} The mean log-probability of a word
# **Yes.** The sum divided by $T^1$, the end counted.
# :::
# :::{dropdown} The log-probability of the sentence
# **No.** That is a length penalty of 0.
# :::
# :::{dropdown} The length of the sentence
# **No.** Longer sentences are punished less than with 0. A long one still has to be probable in the mean.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **4.** The log-probability that your beam search reports differs from that of the same sentence under teacher forcing. What is most likely?
#
# :::{dropdown} Too few beams: the search settled for a less probable sentence
# **No.** Fewer beams find another sentence. The number that belongs to a sentence stays the same.
# :::
# :::{dropdown} The temperature was not 1
# **No.** Beam search has none here, and a reported log-probability should be the model's own.
# :::
# :::{dropdown} Rounding
# **No.** That explains the sixth digit, and no more.
# :::
# :::{dropdown} The cache and its row do not belong together
# **Yes.** It was not reordered, or positions are wrong; then words were chosen with another past. This comparison is the test for it.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **5.** You raise the number of beams from 4 to 32, and the captions get worse. What does it say?
#
# :::{dropdown} The search has a bug
# **No.** It may be right. Look at the log-probability: if it rose, the search did its work.
# :::
# :::{dropdown} The model gives high probability to sentences that we do not want
# **Yes.** Fewer beams did not reach them. The error of the search covered an error of the model.
# :::
# :::{dropdown} 32 is not enough yet
# **No.** More of the same comes closer to the maximum of the model's probability, and that is what got worse.
# :::
# ::::::
#
# ## Take-aways
#
# - A model gives probabilities; a decoder chooses. Greedy is short-sighted, beam search keeps some alternatives, sampling draws.
# - The most probable sentence and the best sentence are two things. Measure truth and variety, since BLEU and CIDEr-D need not notice a false fact: on 300 scenes, {glue:text}`decoding_greedy_precision:.2f` of the facts are true with greedy search, {glue:text}`decoding_beam_precision:.2f` with
#   four beams, {glue:text}`decoding_sample_precision:.2f` when drawn at $\tau = 1$.
# - Temperature reshapes a distribution, top-k and top-p cut its tail; top-p keeps more words where the model is less sure.
# - The cache changes no number by more than rounding, and saves a factor that grows with the length: {glue:text}`decoding_ratio_long:.0f` at 256 words on the machine that made this page.
# - Test a decoder with what must not change: cache on and off, one row and many, claimed and true log-probability.
#
# ## Further reading
#
# - {cite:t}`holtzman2020`: why maximising repeats itself, and nucleus sampling (section 3); the measurements begin with section 4.
# - {cite:t}`wu2016`: length penalty and other terms in a system that was used; section 7.
# - {cite:t}`stahlberg2019`: exact search, and the empty translation that it finds.
# - {cite:t}`keskar2019`: the repetition penalty, section 4.1.
# - {cite:t}`paulus2018`: no trigram twice, section 2.5.
# - {cite:t}`leviathan2023`: a small model proposes, a large one decides.

# %% tags=["remove-cell"]
torch.manual_seed(0)
voices = (("greedy", decoding.greedy, {}), ("beam 4", decoding.beam_search, {}), ("τ = 1", decoding.sample, {}),
          ("τ = 1.5", decoding.sample, {"temperature": 1.5}), ("top-p 0.9", decoding.sample, {"top_p": 0.9}))
figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.3), width_ratios=(1, 2.6))
left.imshow(val[shown].image)
left.axis("off")
right.axis("off")
for line, ((name, decode, options), colour) in enumerate(zip(voices, (INK, BLUE, ORANGE, PINK, TEAL), strict=True)):
    (text,), (log_prob,) = write(decode, memories[shown:shown + 1], **options)
    right.text(0, 0.92 - 0.2 * line, name, color=colour, weight="bold", va="center",
               fontsize=9, transform=right.transAxes)
    right.text(0.2, 0.92 - 0.2 * line, fill(f"{text} ({log_prob:.1f})", 62), va="center", fontsize=9,
               transform=right.transAxes)
glue("decoding_promise", figure, display=False)
plt.close(figure)
