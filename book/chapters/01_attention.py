# ---
# jupyter:
#   course: {notebook: notebooks/01_attention.ipynb}
# ---

# %% [markdown]
# # Attention
#
# At the end of this chapter you can write attention in ten lines, prove that your lines equal PyTorch's, and train a
# layer that looks up an answer in a scene: ask it for the colour of one thing, and it looks at that thing.
#
# ```{glue:figure} attention_promise
# :name: fig-attention-promise
# :alt: One scene, shown twice, with a question above each. What the layer does not look at is faded. With the first question one kind of thing stays visible, with the second question the other kind.
#
# One scene, two questions. The layer that we train in this chapter puts a weight on every object; what gets little
# weight is faded. Each question makes the same layer look elsewhere.
# ```
#
# ::::{card}
# :class-card: chapter-card
#
# **Goals**
#
# - compute attention by hand, and in ten lines of plain Python
# - name every symbol of the formula, and the shape of every matrix
# - mask what may not be seen, and say what a row gets that may look nowhere
# - show that several heads are one formula, applied side by side
# - measure what attention can do that a mean cannot, and what it costs
#
# **Before you start:** Python, a little NumPy or PyTorch, matrix products, and what a derivative is. Tensors, softmax, cross-entropy,
# embeddings and the training loop are in [chapter 0](00_before_attention.py), whose five questions say whether you need it.
#
# :::{card-footer}
# Reading {measured}`reading` min · runs in {measured}`seconds` s on two CPU cores, {measured}`megabytes` MB ·
# difficulty ●●○
# :::
# ::::

# %% tags=["remove-cell"]
import math
import time
from random import Random
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from myst_nb import glue
from torch import nn

from mmcourse.book.figures.attention import AttentionExplorer, MaskExplorer
from mmcourse.book.plotting import GREY, INK, attention_map, show_scene, use_style
from mmcourse.book.source import show_source

use_style()
torch.set_printoptions(precision=3, sci_mode=False)

# %% [markdown]
# ## A question that a mean cannot answer
#
# [EmojiScenes](data.py) are small pictures whose content we know exactly. With each comes a list of **foils**: false captions
# that differ from a true one in one fact; the true one comes with it. In a foil of the kind `binding` two things have swapped their
# colours. We take the first validation scene with three things and such a foil, whose two captions use the same words.

# %%
from mmcourse.data import EmojiScenes

scenes = EmojiScenes("val")


def same_words(foil):
    return sorted(foil.true.split()) == sorted(foil.false.split())


def suits(scene):
    return len(scene.objects) == 3 and any(
        foil.kind == "binding" and same_words(foil) for foil in scene.foils)


scene = next(scene for scene in map(scenes.__getitem__, range(2000)) if suits(scene))

# %% mystnb={"image": {"alt": "A small square picture with three drawings of two kinds, each kind tinted in its own colour, with a box and a label around each drawing."}} tags=["hide-input"]
boxes = [thing.box for thing in scene.objects]
show_scene(scene.image, boxes=boxes, labels=[thing.noun for thing in scene.objects]);

# %% [markdown]
# This is its foil:

# %% tags=["nbval-check-output"]
foil = next(foil for foil in scene.foils if foil.kind == "binding")
print("true: ", foil.true)
print("false:", foil.false)

# %% [markdown]
# A computer needs vectors. So we give every word a vector of eight random numbers, and describe a caption by the
# **mean** of its word vectors. This is **mean pooling**.

# %% tags=["nbval-check-output"]
torch.manual_seed(0)
vector = {word: torch.randn(8) for word in sorted(set(foil.true.split()))}


def mean(caption):
    return torch.stack([vector[word] for word in caption.split()]).mean(0)


gap = (mean(foil.true) - mean(foil.false)).abs().max()
print(f"largest difference between the two captions: {gap:.6f}")

# %% [markdown]
# The true caption and the false one are the same vector: they use the same words, and a mean forgets who stands next
# to whom. The mean knows that two colours are there and that two things are there. It does not know which colour
# belongs to which thing. No layer that comes after the mean can bring this back.
#
# The scene itself has the same problem. Here are the objects that it is made of, one after the other:

# %% tags=["nbval-check-output"]
for thing in scene.objects:
    print(f"{thing.noun:12} {thing.colour:8} {thing.size}")

# %% [markdown]
# Now somebody asks:

# %% tags=["nbval-check-output"]
asked = [question for question in scene.questions if question.kind == "colour"]
for question in asked:
    print(question.text)

# %% [markdown]
# You answer at once: you look for the thing, then you read its colour, and you leave the other things alone. *Which*
# thing you look at depends on the question. So no fixed weights single it out, neither one third for each object nor
# any others. **How does a layer compute, from the question and the objects, how much to look at each object?** And how
# can that be learned by following a derivative?
#
# ## The formula
#
# A Python dictionary `{"horse": "red", "cup": "green"}` answers such questions. It compares the word that is asked
# for with every key, finds the one that is equal, and gives its value. Two things are wrong with it. A key that is
# nearly right finds nothing, and "equal or not" has no derivative.
#
# Attention is a dictionary whose keys match *by degree*. What asks is a **query**, a vector $q$. Each thing that can
# be found has a **key** $k_s$, which says what it can be found by, and a **value** $v_s$, which says what is found
# there. Three steps:
#
# 1. **Score** each source by the dot product of query and key, divided by $\sqrt{d_k}$.
# 2. Turn the scores into **weights** with a softmax: positive numbers whose sum is one.
# 3. Give the weighted mean of the values.
#
# For target $t$, of $T$ targets, and source $s$, of $S$ sources:
#
# $$
# w_{ts} = \frac{\exp\left(q_t \cdot k_s / \sqrt{d_k}\right)}{\sum_{r=1}^{S} \exp\left(q_t \cdot k_r / \sqrt{d_k}\right)},
# \qquad
# o_t = \sum_{s=1}^{S} w_{ts}\, v_s
# $$ (eq-attention-row)
#
# Stack the queries as the rows of a matrix $Q$, the keys as the rows of $K$ and the values as the rows of $V$. Then
# all targets are one line, the **scaled dot-product attention** of {cite:t}`vaswani2017`:
#
# $$
# \operatorname{attention}(Q, K, V) = \operatorname{softmax}\!\left(\frac{Q K^\top}{\sqrt{d_k}}\right) V
# $$ (eq-attention)
#
# | symbol | what it is | shape |
# |---|---|---|
# | $T$ | target length: how many positions ask | a number |
# | $S$ | source length: how many positions can be looked at | a number |
# | $d_k$ | length of a query and of a key (they must agree) | a number |
# | $d_v$ | length of a value (often $d_v = d_k$) | a number |
# | $Q$ | queries, one a row | $T \times d_k$ |
# | $K$ | keys, one a row | $S \times d_k$ |
# | $V$ | values, one a row | $S \times d_v$ |
# | $QK^\top / \sqrt{d_k}$ | scores | $T \times S$ |
# | softmax, along each row | weights; each row sums to one | $T \times S$ |
# | output | one mean of values for each target | $T \times d_v$ |
#
# When targets and sources are the same sequence we speak of **self-attention**. When one sequence asks and another
# answers, such as words that look at a picture, we speak of **cross-attention**. The formula is the same.
#
# Why divide by $\sqrt{d_k}$? Take a query and a key whose $d_k$ numbers are independent, with mean 0 and variance 1.
# Each product of two of them has variance 1, the dot product adds $d_k$ of them, so its variance is $d_k$ and its
# typical size is $\sqrt{d_k}$. The division brings the scores back to size 1, whatever the width. At the end of the
# chapter we leave it out and measure what happens.
#
# ## Worked by hand
#
# Three tokens, two dimensions. Take the words *red*, *big* and *car*. Let the first axis stand for colour and the
# second for size. *red* has to do with colour, *big* with size, *car* with both:
#
# $$
# K = \begin{pmatrix} 1 & 0 \\ 0 & 1 \\ 1 & 1 \end{pmatrix},
# \qquad
# V = \begin{pmatrix} 0 & 10 \\ 10 & 0 \\ 5 & 20 \end{pmatrix},
# \qquad
# Q = \sqrt{2} \ln 2 \; K .
# $$
#
# The factor $\sqrt 2 \ln 2$ is there to keep the paper clean: it turns every exponential into a power of two. For the
# first query, *red*:
#
# | source | $q_1 \cdot k_s$ | divided by $\sqrt{d_k} = \sqrt 2$ | exponential | weight |
# |---|---|---|---|---|
# | red | $\sqrt 2 \ln 2$ | $\ln 2$ | 2 | 2/5 = 0.4 |
# | big | 0 | 0 | 1 | 1/5 = 0.2 |
# | car | $\sqrt 2 \ln 2$ | $\ln 2$ | 2 | 2/5 = 0.4 |
#
# The output is the mean of the values with these weights:
#
# $$
# o_1 = 0.4 \, (0, 10) + 0.2 \, (10, 0) + 0.4 \, (5, 20) = (4, 12).
# $$
#
# Do the second and the third row on paper before you go on. Row two has the exponentials 1, 2, 2, and row
# three has 2, 2, 4.
#
# ## In ten plain lines, then for real
#
# The formula {eq}`eq-attention-row` in plain Python, without a library for arrays:

# %%
def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def attention_by_hand(query, key, value):
    output = []
    for q in query:
        powers = [math.exp(dot(q, k) / math.sqrt(len(q))) for k in key]
        weights = [power / sum(powers) for power in powers]
        output.append([dot(weights, column) for column in zip(*value, strict=True)])
    return output


# %% tags=["nbval-check-output"]
key = [[1, 0], [0, 1], [1, 1]]
value = [[0, 10], [10, 0], [5, 20]]
query = [[math.sqrt(2) * math.log(2) * number for number in row] for row in key]
by_hand = attention_by_hand(query, key, value)
for row in by_hand:
    print([round(number, 6) for number in row])

# %% [markdown]
# The first row is the one from the paper; compare yours with the other two. Now the function that the whole course
# uses. It comes from `mmcourse/attention.py`, and this is its source, taken from the file:

# %%
from mmcourse.attention import scaled_dot_product_attention

# %% tags=["remove-input"]
show_source(scaled_dot_product_attention)

# %% [markdown]
# Without the mask, which comes below, three steps remain: scores, softmax, weighted mean. (`wide` matters only where
# numbers have 16 bits: scores can be larger than such numbers can be, so they get 32.) The leading dots in the
# shapes mean that any number of dimensions may come first, such as batch and heads. The plain lines and the module
# agree:

# %% tags=["nbval-check-output"]
Q, K, V = (torch.tensor(rows, dtype=torch.float64) for rows in (query, key, value))
output, weights = scaled_dot_product_attention(Q, K, V, return_weights=True)
torch.testing.assert_close(output, torch.tensor(by_hand, dtype=torch.float64))
print(weights.round(decimals=6))
print("each row sums to", weights.sum(-1).round(decimals=6))

# %% [markdown]
# ## Against PyTorch
#
# Our lines and our module could share a mistake. So we compare with PyTorch, on shapes that hide nothing: all lengths
# differ, and some are one.

# %% tags=["nbval-check-output"]
torch.manual_seed(1)
gaps = []
for leading, T, S, d_k, d_v in [((), 3, 4, 5, 2), ((2,), 7, 1, 3, 6), ((2, 3), 5, 9, 7, 7),
                                ((1, 2), 9, 5, 64, 1), ((4,), 1, 33, 1, 11)]:
    Q, K, V = (torch.randn(*leading, *shape) for shape in [(T, d_k), (S, d_k), (S, d_v)])
    theirs = F.scaled_dot_product_attention(Q, K, V)
    ours = scaled_dot_product_attention(Q, K, V)
    gaps.append((ours - theirs).abs().max().item())
    print(f"{str(leading):7} T={T} S={S:2} d_k={d_k:2} d_v={d_v:2} close: {gaps[-1] < 1e-6}")
assert max(gaps) < 1e-6

# %% tags=["remove-cell"]
glue("attention_gap", max(gaps), display=False)

# %% [markdown]
# The largest difference over the five shapes is {glue:text}`attention_gap:.1e`. That is rounding in 32 bits; its last
# digits differ between machines.
#
# ## See it
#
# {numref}`fig-attention-hand` shows the weights of the example on paper as a heat map: a row for each target that
# asks, a column for each source.

# %% mystnb={"figure": {"caption": "The weights of the example on paper. Every row sums to one.", "name": "fig-attention-hand"}, "image": {"alt": "A heat map of three rows and three columns named red, big and car. The rows read 0.40 0.20 0.40, then 0.20 0.40 0.40, then 0.25 0.25 0.50."}} tags=["hide-input"]
attention_map(weights, ["red", "big", "car"], ["red", "big", "car"], values=True);

# %% [markdown]
# The next figure is the same three keys in the plane, with a query that you can move.
#
# 1. Turn the query, by its tip, and see which bar grows. It is the key with the largest dot product, which need not
#    be the one that points the same way: *car* is longer than *red*, so it wins everywhere between the two axes and
#    ties with *red* on the first. Then make the query longer. The weights go from equal thirds, at length zero,
#    towards all or nothing: a short query asks everyone, a long one only the best match.
# 2. Press *Start again* and move the slider $d_k$. A query and a key with more numbers have a larger dot product,
#    typically $\sqrt{d_k / 2}$ times the one in the plane, so that is what the slider does to it. The division takes
#    the growth back, and the weights stay where they are.
# 3. Point the query between *red* and *car*, and switch the division off. Now the same slider drives the weights to
#    all or nothing: the softmax **saturates**. A tie stays a tie at every width, so keep off the axis.

# %% mystnb={"figure": {"caption": "Attention as arrows. The query starts as the first row of the example on paper; a key's arrow is as thick as its weight.", "name": "fig-attention-explorer"}, "image": {"alt": "Left, three arrows in the plane named red, big and car, and a query that points the same way as red. Right, a bar for each weight: 0.4 for red, 0.2 for big, 0.4 for car."}} tags=["remove-input"]
AttentionExplorer(query[0], key, value, names=["red", "big", "car"])

# %% [markdown]
# ## What may not be seen: masks
#
# Sometimes a target must not look at a source. Two reasons come up again and again.
#
# - **Causal mask**: a model that writes word after word must not see the words that it has yet to write. Target $t$
#   may look at source $s$ only when $s \le t$.
# - **Padding mask**: sentences in one batch have different lengths. The short ones are filled up with a padding token,
#   and nobody should look at it.
#
# A **mask** is a table of booleans, and in this course **`True` means "may look"**. Where it is `False` the score
# becomes the lowest number there is, *before* the softmax, so that the weight is zero and the other weights still sum
# to one. {numref}`fig-attention-masks` shows the same scores under four masks.

# %% tags=["nbval-check-output"]
torch.manual_seed(2)
Q, K, V = torch.randn(3, 5, 4)  # T = S = 5, d_k = d_v = 4
words = ["a", "red", "car", "pad", "pad"]
padding = torch.tensor([word != "pad" for word in words])  # (S,), the same for every target
masks = {"no mask": {}, "causal": {"causal": True}, "padding": {"mask": padding},
         "both": {"mask": padding, "causal": True}}
for name, options in masks.items():
    weights = scaled_dot_product_attention(Q, K, V, **options, return_weights=True)[1]
    print(f"{name:8} sums of the rows:", weights.sum(-1).round(decimals=6))

# %% mystnb={"figure": {"caption": "The same scores under four masks. White means a weight of zero.", "name": "fig-attention-masks"}, "image": {"alt": "Four heat maps of five rows and five columns. Without a mask every cell has some colour. With the causal mask the cells right of the diagonal are white. With the padding mask the last two columns are white. With both, both parts are white."}} tags=["hide-input"]
figure, axes = plt.subplots(2, 2, figsize=(5.4, 5.6))
for axis, (name, options) in zip(axes.flat, masks.items(), strict=True):
    weights = scaled_dot_product_attention(Q, K, V, **options, return_weights=True)[1]
    attention_map(weights, words, words, axes=axis, title=name)

# %% [markdown]
# In {numref}`fig-attention-mask-explorer` you can put the masks on yourself. Switch the causal mask on and go down the
# rows: each word sees one word more than the one before, and the weights that remain grow so that their sum stays one.
# Then hide more and more words as padding. What does a row get when nothing is left to be seen?

# %% mystnb={"figure": {"caption": "Scores and weights of five words, with masks that you can switch. The framed row is the one that the sentence explains.", "name": "fig-attention-mask-explorer"}, "image": {"alt": "A heat map of the weights of five words on five words, with the causal mask on: the cells right of the diagonal are white, and the weights of every row sum to one."}} tags=["remove-input"]
said = ["the", "red", "car", "stands", "here"]
MaskExplorer(Q @ K.T / math.sqrt(4), said, said, causal=True)

# %% [markdown]
# PyTorch agrees, mask by mask:

# %% tags=["nbval-check-output"]
past = torch.ones(5, 5).tril().bool()
for name, allowed in {"causal": past, "padding": padding, "both": past & padding}.items():
    ours = scaled_dot_product_attention(Q, K, V, **masks[name])
    theirs = F.scaled_dot_product_attention(Q, K, V, attn_mask=allowed.expand(5, 5))
    torch.testing.assert_close(ours, theirs)
    print(f"{name:8} equal")

# %% [markdown]
# ### A row that may look nowhere
#
# What if a target may look at no source at all? The formula has no answer: the softmax would divide zero by zero.
# This happens in practice, with an empty caption in a batch or with a sentence that is all padding. Implementations
# disagree, so we ask them.

# %%
nowhere = torch.zeros(5, 5, dtype=torch.bool)
layer = nn.MultiheadAttention(4, 1, batch_first=True)
plainly = (Q @ K.T).masked_fill(~nowhere, -math.inf).softmax(-1)
blind = {
    "ours": scaled_dot_product_attention(Q, K, V, nowhere),
    "torch.nn.functional": F.scaled_dot_product_attention(Q, K, V, attn_mask=nowhere),
    "torch.nn.MultiheadAttention": layer(Q[None], K[None], V[None], attn_mask=~nowhere)[0],
    "minus infinity and softmax": plainly @ V,
}
for name, result in blind.items():
    verdict = "NaN" if result.isnan().any() else "zeros" if not result.any() else "numbers"
    print(f"{name:28} {verdict}")

# %% [markdown]
# **NaN**, "not a number", is what floating point writes for 0/0. One NaN in one row makes the loss NaN, and through
# the gradient every weight of the model: the training is lost. Ours gives zeros, forwards and backwards: who sees nothing takes
# nothing. A mask of the wrong type or shape gets a message that says what was expected:

# %% tags=["nbval-check-output"]
for wrong in (torch.ones(5, 5), torch.ones(3, 5, dtype=torch.bool)):
    try:
        scaled_dot_product_attention(Q, K, V, wrong)
    except (TypeError, ValueError) as error:
        print(fill(f"{type(error).__name__}: {error}", 88), end="\n\n")

# %% [markdown]
# ## Several heads
#
# One attention gives each target one mean. A target that needs two things from two places, the colour of this and the
# size of that, would get a mixture of both. **Multi-head attention** runs $H$ attentions side by side. Each **head**
# $h$ has its own queries, keys and values, made by matrices that are learned. From targets $X$ and sources $Y$:
#
# $$
# \begin{aligned}
# A_h &= \operatorname{attention}\left(X W^Q_h,\; Y W^K_h,\; Y W^V_h\right), \qquad h = 1, \dots, H \\
# \operatorname{MHA}(X, Y) &= \left[ A_1 \;\cdots\; A_H \right] W^O
# \end{aligned}
# $$ (eq-attention-heads)
#
# | symbol | what it is | shape |
# |---|---|---|
# | $D$ | **width** of the model: the length of a token's vector | a number |
# | $H$ | number of heads; it divides $D$ | a number |
# | $d_k = D / H$ | width of a head | a number |
# | $X$, $Y$ | targets and sources; in self-attention $Y = X$ | $T \times D$, $S \times D$ |
# | $W^Q_h, W^K_h, W^V_h$ | projections of head $h$ | $D \times d_k$ |
# | $A_h$ | what head $h$ found | $T \times d_k$ |
# | $\left[ A_1 \cdots A_H \right]$ | the heads side by side | $T \times D$ |
# | $W^O$ | mixes what the heads found | $D \times D$ |
#
# Each projection may add a bias, a vector that the formula leaves out. Nobody computes head after head: the $H$
# matrices $W^Q_h$ are the columns of one $D \times D$ matrix, one product makes all queries, and a reshape cuts them
# into heads.

# %%
from mmcourse.attention import MultiHeadAttention

# %% tags=["remove-input"]
show_source(MultiHeadAttention)

# %% [markdown]
# (The `cache` is for writing word after word without computing old keys again; [chapter 2](02_transformer.py) fills it.) First we check
# the class against formula {eq}`eq-attention-heads`, with a loop over the heads:

# %% tags=["nbval-check-output"]
torch.manual_seed(3)
B, T, S, D, H = 2, 4, 7, 15, 3
ours = MultiHeadAttention(D, H)
X, Y = torch.randn(B, T, D), torch.randn(B, S, D)
found = []
for h in range(H):
    part = slice(h * D // H, (h + 1) * D // H)  # the columns of head h
    q, k, v = ours.query(X)[..., part], ours.key(Y)[..., part], ours.value(Y)[..., part]
    found.append(scaled_dot_product_attention(q, k, v))  # (B, T, d_k)
torch.testing.assert_close(ours(X, Y), ours.output(torch.cat(found, -1)))
print("the loop over heads and the module agree:", tuple(ours(X, Y).shape))

# %% [markdown]
# Then against `torch.nn.MultiheadAttention`. It keeps three projections in one matrix, so we cut its weights in three
# and copy them. And **its boolean masks mean the opposite of ours**: there, `True` means "may *not* look".

# %%
def copy_weights(ours, theirs):
    parts = [ours.query, ours.key, ours.value]
    with torch.no_grad():
        for i, part in enumerate(parts):
            part.weight.copy_(theirs.in_proj_weight.chunk(3)[i])
            part.bias.copy_(theirs.in_proj_bias.chunk(3)[i])
    ours.output.load_state_dict(theirs.out_proj.state_dict())


# %% tags=["nbval-check-output"]
torch.manual_seed(4)
gaps = []
shapes = [(1, 1, 1, 3, 1), (2, 5, 7, 15, 3), (3, 8, 4, 20, 5), (2, 6, 9, 128, 2)]
for B, T, S, D, H in shapes:
    theirs = nn.MultiheadAttention(D, H, batch_first=True)
    nn.init.normal_(theirs.in_proj_bias)  # it starts at zero, which would hide a mistake
    ours = MultiHeadAttention(D, H)
    copy_weights(ours, theirs)
    X, Y, seen = torch.randn(B, T, D), torch.randn(B, S, D), torch.rand(B, S) < 0.7
    seen[:, 0] = True  # so that no row is blind, which PyTorch answers with NaN
    expected = theirs(X, Y, Y, key_padding_mask=~seen, average_attn_weights=False)
    result = ours(X, Y, seen[:, None, None, :], return_weights=True)
    gaps += [(a - b).abs().max().item() for a, b in zip(result, expected, strict=True)]
    print(f"B={B} T={T} S={S} D={D:3} H={H} d_k={D // H:2}  close: {max(gaps[-2:]) < 1e-5}")
assert max(gaps) < 1e-5

# %% tags=["remove-cell"]
glue("attention_heads_gap", max(gaps), display=False)

# %% [markdown]
# The largest difference, outputs and weights together, is {glue:text}`attention_heads_gap:.1e`.
#
# ### More heads cost no parameters, and without a mask order means nothing
#
# Two facts to keep. The number of parameters does not depend on $H$. And attention without a causal mask does not know
# in what order the tokens come: when the sources are shuffled, keys and values move together and the sum in
# {eq}`eq-attention-row` stays. When the tokens of self-attention are shuffled, the outputs are shuffled in the same
# way, which is called **permutation equivariance**. A causal mask ends it: it says which tokens come before which.

# %% tags=["nbval-check-output"]
for H in (1, 2, 4, 8):
    layer = MultiHeadAttention(64, H)
    print(H, "heads:", sum(p.numel() for p in layer.parameters()), "parameters")

layer = layer.double()
X, Y = torch.randn(2, 2, 6, 64).double()  # both (2, 6, 64)
order = torch.tensor([3, 0, 5, 1, 4, 2])
print("sources shuffled, same output:", torch.allclose(layer(X, Y[:, order]), layer(X, Y)))
for causal in (False, True):
    moved, straight = layer(X[:, order], causal=causal), layer(X, causal=causal)
    shuffled = torch.allclose(moved, straight[:, order])
    print(f"tokens shuffled, output shuffled: {shuffled}, causal mask: {causal}")

# %% [markdown]
# So to attention without a causal mask a sentence is a bag of words, and the two captions of the first section still
# look alike to it, in one layer or in many. With the mask, a token of the first layer sees *which* tokens come before
# it, but still not in what order. The objects of a scene *are* a bag: there the lack of order is right. For words, [chapter
# 2](02_transformer.py) adds the positions to the vectors.
#
# ## Use it: what colour is it?
#
# Now the question from the start, learned from data. A scene becomes a set of **objects**, each the sum of two
# learned vectors: one for its noun and one for its colour. The question is the vector of the noun that is asked for.
# The answer is one of nine: eight tints, or "its own colours".
#
# We use scenes with two kinds of things whose colours differ, and ask for both. `describe` gives the content of a
# scene without painting it, which is faster; the first line checks on our scene that it is the same.

# %%
from mmcourse.data.drawings import nouns
from mmcourse.data.language import COLOURS
from mmcourse.data.splits import novelty

assert scenes.describe(Random(scene.key)) == scene.description
NOUNS = {noun.name: i for i, noun in enumerate(nouns(), 1)}  # 0 is padding
ANSWERS = [None, *COLOURS]  # None: its own colours


def to_numbers(groups):
    """Three rows (noun, colour); scenes of two things are padded with a row of zeros."""
    rows = [[NOUNS[group.noun], 1 + ANSWERS.index(group.colour)]
            for group in groups for _ in range(group.count)]
    return rows + [[0, 0]] * (3 - len(rows))


# %%
def load(split, count, new=None):
    """Things (N, 3, 2), nouns asked for (N,) and answers (N,), from ``count`` scenes."""
    source, things, asked, answer = EmojiScenes(split), [], [], []
    for index in range(count):
        description = source.describe(Random(f"{split}/{index}"))
        groups = description.groups
        if novelty(description) == new and len({group.colour for group in groups}) == 2:
            for group in groups:
                things.append(to_numbers(groups))
                asked.append(NOUNS[group.noun])
                answer.append(ANSWERS.index(group.colour))
    return torch.tensor(things), torch.tensor(asked), torch.tensor(answer)


train_data, val_data = load("train", 20000), load("val", 5000)
new_pairs = load("composition", 5000, "pair")
new_tints = load("composition", 5000, "binding")
for name, data in {"train": train_data, "val": val_data, "composition, new pair": new_pairs,
                   "composition, new tint": new_tints}.items():
    print(len(data[2]), "questions in", name)

# %% [markdown]
# In the `composition` split each scene holds a pair of nouns, or a tint on a noun, that no training scene has. These
# are two kinds of novelty, so they are counted apart.
#
# Four layers compete. They share the vectors and the answering head and differ in one method only, `read`: what they
# take from the objects. *Blind* sees no objects, only the question. *Mean* takes the mean of the objects. *Deep Sets*
# {cite}`zaheer2017` sends each object through a small network before the mean. An object then stands
# for a noun *with* its colour, so this baseline can do what *Mean* cannot.
# *Attention* lets the question look. (`nn.GELU` is a ReLU with a soft corner.)

# %%
def network(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, 128), nn.GELU(), nn.Linear(128, outputs))


class Reader(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.noun = nn.Embedding(len(NOUNS) + 1, width)
        self.colour = nn.Embedding(len(ANSWERS) + 1, width)
        self.answer = network(2 * width, len(ANSWERS))
        self.each = network(width, width)
        self.attention = MultiHeadAttention(width, heads=1)

    def forward(self, things, asked, mask=None):
        mask = things[..., 0] != 0 if mask is None else mask  # (B, S), True = a thing
        objects = self.noun(things[..., 0]) + self.colour(things[..., 1])  # (B, S, D)
        question = self.noun(asked)  # (B, D)
        found = self.read(question, objects, mask)  # (B, D)
        return self.answer(torch.cat([question, found], -1))  # (B, 9)


# %%
def mean_of(objects, mask):
    return (objects * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


class Blind(Reader):
    def read(self, question, objects, mask):
        return torch.zeros_like(question)


class Mean(Reader):
    def read(self, question, objects, mask):
        return mean_of(objects, mask)


class DeepSets(Reader):
    def read(self, question, objects, mask):
        return mean_of(self.each(objects), mask)


class Attention(Reader):
    def read(self, question, objects, mask):
        return self.attention(question[:, None], objects, mask[:, None, None, :])[:, 0]


# %% [markdown]
# The question is one target, so $T = 1$. The objects are the sources, so $S = 3$ with the padding. Every layer gets
# the same training, three times with three seeds, at a rate that was tuned for none of them. It makes the **cross-entropy** small, minus the logarithm of the probability of the
# right answer, by Adam {cite}`kingma2015`: gradient descent in which each weight has a step size of its own ([chapter 0](00_before_attention.py) has both formulas).

# %%
def train(kind, seed, steps=300, batch=256):
    torch.manual_seed(seed)
    model = kind()
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    things, asked, answer = train_data
    for _ in range(steps):
        i = torch.randint(len(answer), (batch,))
        loss = F.cross_entropy(model(things[i], asked[i]), answer[i])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


@torch.no_grad()
def accuracy(model, data, mask=None):
    things, asked, answer = data
    return (model(things, asked, mask).argmax(-1) == answer).float().mean().item()


# %%
pairs = val_data[0][:, 2, 0] == 0  # scenes with one thing of each kind
tinted = (val_data[0][..., 1] != 1).all(1)  # no thing in its own colours; padding is 0
tests = {"val": val_data, "pairs": [part[pairs] for part in val_data],
         "tinted": [part[tinted] for part in val_data],
         "new_pair": new_pairs, "new_tint": new_tints}
kinds = Blind, Mean, DeepSets, Attention
models = {kind: [train(kind, seed) for seed in range(3)] for kind in kinds}
scores = {(kind.__name__, name): [accuracy(model, data) for model in models[kind]]
          for kind in models for name, data in tests.items()}

# %% tags=["remove-cell"]
for (kind, name), values in scores.items():
    glue(f"attention_{kind}_{name}", float(np.mean(values)), display=False)
    glue(f"attention_{kind}_{name}_spread", float(np.ptp(values) / 2), display=False)
most = train_data[2].bincount().argmax()
for name, data in tests.items():
    glue(f"attention_most_{name}", (data[2] == most).float().mean().item(), display=False)
untinted = sum(not noun.tintable for noun in nouns()) / len(nouns())
glue("attention_untinted", untinted, display=False)
glue("attention_questions", len(val_data[2]), display=False)
glue("attention_tinted_questions", int(tinted.sum()), display=False)
used = {"Blind": ("noun", "answer"), "Mean": ("noun", "colour", "answer"),
        "DeepSets": ("noun", "colour", "answer", "each"),
        "Attention": ("noun", "colour", "answer", "attention")}
for kind, parts in used.items():
    size = sum(p.numel() for part in parts for p in getattr(models[Blind][0], part).parameters())
    glue(f"attention_{kind}_size", size, display=False)

# %% [markdown]
# Right answers, mean of the seeds 0, 1 and 2, ± half of the range. In the column *both tinted* no thing has its own
# colours ({glue:text}`attention_tinted_questions` questions of {glue:text}`attention_questions:,`):
#
# | layer | parameters in use | val | val, both tinted | composition, new pair | composition, new tint |
# |---|---|---|---|---|---|
# | always the most frequent answer | 0 | {glue:text}`attention_most_val:.1%` | {glue:text}`attention_most_tinted:.1%` | {glue:text}`attention_most_new_pair:.1%` | {glue:text}`attention_most_new_tint:.1%` |
# | Blind | {glue:text}`attention_Blind_size:,` | {glue:text}`attention_Blind_val:.1%`&nbsp;±&nbsp;{glue:text}`attention_Blind_val_spread:.1%` | {glue:text}`attention_Blind_tinted:.1%`&nbsp;±&nbsp;{glue:text}`attention_Blind_tinted_spread:.1%` | {glue:text}`attention_Blind_new_pair:.1%`&nbsp;±&nbsp;{glue:text}`attention_Blind_new_pair_spread:.1%` | {glue:text}`attention_Blind_new_tint:.1%`&nbsp;±&nbsp;{glue:text}`attention_Blind_new_tint_spread:.1%` |
# | Mean | {glue:text}`attention_Mean_size:,` | {glue:text}`attention_Mean_val:.1%`&nbsp;±&nbsp;{glue:text}`attention_Mean_val_spread:.1%` | {glue:text}`attention_Mean_tinted:.1%`&nbsp;±&nbsp;{glue:text}`attention_Mean_tinted_spread:.1%` | {glue:text}`attention_Mean_new_pair:.1%`&nbsp;±&nbsp;{glue:text}`attention_Mean_new_pair_spread:.1%` | {glue:text}`attention_Mean_new_tint:.1%`&nbsp;±&nbsp;{glue:text}`attention_Mean_new_tint_spread:.1%` |
# | Deep Sets | {glue:text}`attention_DeepSets_size:,` | {glue:text}`attention_DeepSets_val:.1%`&nbsp;±&nbsp;{glue:text}`attention_DeepSets_val_spread:.1%` | {glue:text}`attention_DeepSets_tinted:.1%`&nbsp;±&nbsp;{glue:text}`attention_DeepSets_tinted_spread:.1%` | {glue:text}`attention_DeepSets_new_pair:.1%`&nbsp;±&nbsp;{glue:text}`attention_DeepSets_new_pair_spread:.1%` | {glue:text}`attention_DeepSets_new_tint:.1%`&nbsp;±&nbsp;{glue:text}`attention_DeepSets_new_tint_spread:.1%` |
# | **Attention** | {glue:text}`attention_Attention_size:,` | **{glue:text}`attention_Attention_val:.1%`**&nbsp;±&nbsp;{glue:text}`attention_Attention_val_spread:.1%` | **{glue:text}`attention_Attention_tinted:.1%`**&nbsp;±&nbsp;{glue:text}`attention_Attention_tinted_spread:.1%` | **{glue:text}`attention_Attention_new_pair:.1%`**&nbsp;±&nbsp;{glue:text}`attention_Attention_new_pair_spread:.1%` | **{glue:text}`attention_Attention_new_tint:.1%`**&nbsp;±&nbsp;{glue:text}`attention_Attention_new_tint_spread:.1%` |
#
# *Blind* can learn only which colours a noun had in training. For most nouns "its own colours" is the best guess all
# the same, so beside the constant answer it has little to gain from what it learned by heart. *Mean* also knows which
# two colours are in the scene, and has to guess which belongs to the noun. It does better than one half because not
# every colour is as likely on every noun: {glue:text}`attention_untinted:.0%` of the nouns are never tinted. But where
# the scene has one thing of each kind, its input is provably the same for both answers: the sum of two nouns and two
# colours, in any order (on these scenes *Mean* has {glue:text}`attention_Mean_pairs:.1%`, *Deep Sets*
# {glue:text}`attention_DeepSets_pairs:.1%`, *Attention* {glue:text}`attention_Attention_pairs:.1%`). *Deep Sets* ties a
# colour to its noun before the mean and comes much further. *Attention* looks up the thing and reads its colour. The
# last digits change with the machine and the seed. On `val`, the steps from *Blind* to *Mean*, to *Deep Sets* and to
# *Attention* are many times larger than the spread of the seeds.
#
# Look at the column *both tinted* before you believe a ranking. There *Deep Sets* lies with *Mean*, near one half,
# and the seeds cannot tell the two apart: nearly all that it gained on `val` is the step "tinted or in its own colours". Can it not hold the pairs? We
# train it longer and ask it about the scenes that it trained on:

# %%
longer = [train(DeepSets, seed, steps=1000) for seed in range(3)]
both = (train_data[0][..., 1] != 1).all(1)
groups = {"train": train_data, "train, both tinted": [part[both] for part in train_data],
          "val": val_data, "val, both tinted": tests["tinted"]}
for name, data in groups.items():
    values = [accuracy(model, data) for model in longer]
    print(f"{name:19} {np.mean(values):.1%} ± {np.ptp(values) / 2:.1%}")

# %% [markdown]
# It answers nearly everything about the scenes of training, those with two tints too, so one vector can hold the pairs. What it
# lacks is generalisation: it has learned these scenes, not the lookup. *Attention* has the lookup built in. That is a
# finding about this task, these sizes and this much data, not about all functions of sets.
#
# On `composition`, remember what the score says: these layers never had to *see* a red horse. They got the noun and the
# colour as clean vectors. To read them from pixels is the task of [chapter 5](05_vision.py).
#
# ### Where does it look?
#
# We know which objects are the right ones, so "it looks at the right place" is a number: the weight that falls on
# things of the kind that was asked for.

# %%
@torch.no_grad()
def look(model, things, asked):
    """The weights (B, S) that the question puts on the objects."""
    objects = model.noun(things[..., 0]) + model.colour(things[..., 1])
    mask = (things[..., 0] != 0)[:, None, None, :]
    question = model.noun(asked)[:, None]
    return model.attention(question, objects, mask, return_weights=True)[1][:, 0, 0]


things, asked_noun, answer = val_data
right = things[..., 0] == asked_noun[:, None]  # (N, 3)
shares = [(look(model, things, asked_noun) * right).sum(-1).mean().item()
          for model in models[Attention]]
uniform = right.sum(-1) / (things[..., 0] != 0).sum(-1)
print(f"weight on the right things {np.mean(shares):.3f} ± {np.ptp(shares) / 2:.3f}, "
      f"with equal weights {uniform.mean():.3f}")

# %% tags=["remove-cell"]
glue("attention_share", float(np.mean(shares)), display=False)
glue("attention_share_uniform", uniform.mean().item(), display=False)
model = models[Attention][0]
numbers = to_numbers(scene.description.groups)
figure, axes = plt.subplots(1, 2, figsize=(6.4, 3.4))
for axis, group, question in zip(axes, scene.description.groups, asked, strict=True):
    inputs = torch.tensor([numbers]), torch.tensor([NOUNS[group.noun]])
    weights, said = look(model, *inputs)[0].tolist(), ANSWERS[model(*inputs).argmax()]
    veil = np.zeros(scene.image.shape[:2])
    for weight, (x0, y0, x1, y1) in zip(weights, boxes, strict=True):
        veil[y0:y1, x0:x1] = np.maximum(veil[y0:y1, x0:x1], weight)
    show_scene(scene.image, weights=veil, axes=axis, title=f"{question.text}\nThe layer says: {said}")
    for weight, (x0, y0, x1, _) in zip(weights, boxes, strict=True):
        axis.text((x0 + x1) / 2, y0 - 1, f"{weight:.2f}", ha="center", color=INK, fontsize=9)
glue("attention_promise", figure, display=False)
plt.close(figure)

# %% [markdown]
# On average over the three seeds {glue:text}`attention_share:.0%` of the weight is on the right things, against
# {glue:text}`attention_share_uniform:.0%` with equal weights. Nobody told the layer where to look: the loss only knew
# the colours. {numref}`fig-attention-promise`, at the top, is the layer of seed 0 on our scene; the numbers in it are weights.
#
# {numref}`fig-attention-learned` shows how it does it. Each row is a noun as a question, each column a noun as an
# object, without a colour. The diagonal wins: the layer has learned queries and keys in which each noun matches
# itself.

# %% mystnb={"figure": {"caption": "Weights of ten nouns as questions (rows) on the same ten nouns as objects (columns).", "name": "fig-attention-learned"}, "image": {"alt": "A heat map of ten rows and ten columns, named after things; the dark cells lie on the diagonal."}} tags=["hide-input"]
model = models[Attention][0]
chosen = sorted((name for name in NOUNS if len(name) < 9), key=len)[:10]
ids = torch.tensor([NOUNS[name] for name in chosen])
with torch.no_grad():
    words = model.noun(ids)[None]
    match = model.attention(words, words, return_weights=True)[1][0, 0]
attention_map(match, chosen, chosen);

# %% [markdown]
# A warning. Here we can check the weights against the truth. In a deep model the vectors are mixtures already, and a
# large weight need not be the reason for an answer {cite}`jain2019`.
#
# ## What it costs
#
# The scores are a $T \times S$ matrix. Each entry takes $d_k$ multiplications, and the weighted mean takes $d_v$
# more: $T S (d_k + d_v)$ in all. The matrix itself takes $T S$ numbers of memory. In self-attention $T = S$, so twice
# the length means four times the cost. We measure with $d_k = 64$:

# %%
def seconds(function, *inputs, repeats=5):
    """The shortest of some runs, which other programs on the machine disturb the least."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function(*inputs)
        times.append(time.perf_counter() - start)
    return min(times)


lengths = [256, 512, 1024, 2048]
ours, theirs = [], []
for length in lengths:
    Q, K, V = torch.randn(3, 1, 1, length, 64)  # B = H = 1
    ours.append(1e3 * seconds(scaled_dot_product_attention, Q, K, V))
    theirs.append(1e3 * seconds(F.scaled_dot_product_attention, Q, K, V))
    print(f"T = S = {length:4}: ours {ours[-1]:6.2f} ms, PyTorch {theirs[-1]:6.2f} ms,"
          f" weights {4 * length**2 / 2**20:5.2f} MiB")

# %% mystnb={"figure": {"caption": "Time of one attention against the length of the sequence, both axes logarithmic.", "name": "fig-attention-cost"}, "image": {"alt": "A log-log plot with two rising curves, ours and the fused kernel of PyTorch, next to a dashed line that shows four times the time for twice the length."}} tags=["hide-input"]
figure, axis = plt.subplots(figsize=(5, 3))
axis.loglog(lengths, ours, "o-", label="ours")
axis.loglog(lengths, theirs, "s-", label="PyTorch's fused kernel")
square = [ours[-1] * (length / lengths[-1]) ** 2 for length in lengths]
axis.loglog(lengths, square, "--", color=GREY, label="four times the time for twice the length")
axis.set(xlabel="T = S", ylabel="milliseconds")
axis.set_xticks(lengths, lengths)
axis.minorticks_off()
axis.legend(loc="lower left", bbox_to_anchor=(0, 1));  # above the plot, away from the lines

# %% tags=["remove-cell"]
slope = np.polyfit(np.log(lengths[1:]), np.log(ours[1:]), 1)[0]
glue("attention_slope", float(slope), display=False)
glue("attention_speedup", float(ours[-1] / theirs[-1]), display=False)

# %% [markdown]
# The time grows with the length to the power {glue:text}`attention_slope:.1f` on the machine that made this page; the
# formula counts operations and says 2. PyTorch's fused kernel computes the same numbers and at length 2048 is
# {glue:text}`attention_speedup:.1f` times as fast here. It never writes the $T \times S$ matrix to memory, an idea
# known as FlashAttention {cite}`dao2022`; how much of the gain comes from that, this cell does not tell. The last
# exercise builds its core. Ours gives back the weights, so that you can look at them.
#
# ## Two shorthands, taken at their word
#
# Two ways of putting it are handy in talk. Code takes them at their word: the first then ignores the question, and the
# second does not run.
#
# **"$Q$, $K$ and $V$ are the query, the key and the value."** They are matrices, with one vector a row. Were $K$ a
# single vector, there would be one score, the softmax of one number is 1, and the output would be $V$ whatever is
# asked:

# %% tags=["nbval-check-output"]
torch.manual_seed(5)
q, k, v = torch.randn(3, 1, 4)  # "vectors": matrices of one row
for question in (q, -q, 100 * q):
    assert torch.equal(scaled_dot_product_attention(question, k, v), v)
print("one source: the output is its value, whatever the query")

# %% [markdown]
# **"Multiply the states of the text with the features of the picture."** Text states are
# $T \times D$, picture features are $N \times D'$, for $N$ patches. Neither product of the two is defined:

# %% tags=["nbval-check-output"]
text, picture = torch.randn(6, 32), torch.randn(49, 48)  # 6 words, 7 x 7 patches
for product in (torch.matmul, torch.mul):
    try:
        product(text, picture)
    except RuntimeError as error:
        print(f"{product.__name__}: {error}")

# %% [markdown]
# Someone has to say which operation is meant. Attention is one answer: project both to a common width, let the words
# ask and the patches answer. The result has one row for each word, so it fits back into the text:

# %% tags=["nbval-check-output"]
to_width = nn.Linear(48, 32)
looked = MultiHeadAttention(32, 4)(text[None], to_width(picture)[None])
print(tuple(looked[0].shape), "+", tuple(text.shape), "->", tuple((text + looked[0]).shape))

# %% [markdown]
# ## What came after
#
# The formula is the one that practitioners of 2026 use. What has changed is how it is computed and what is kept:
#
# - **The kernel.** FlashAttention {cite}`dao2022` and its successors compute the same numbers in pieces and never
#   write the $T \times S$ matrix; the square in the number of operations stays.
# - **Fewer keys and values.** A model that writes keeps the keys and values of all words so far, for each head.
#   **Grouped-query attention** {cite}`ainslie2023` lets several heads share one set: with 8 heads in 2 groups a quarter
#   is kept. In our formula that ties $W^K_h$ and $W^V_h$ within a group, and $W^Q_h$ stays free; [chapter 4](04_gpt.py) builds it.
# - **Positions.** They go into the queries and keys instead of the tokens {cite}`su2024`. [Chapter 2](02_transformer.py) adds
#   them to the tokens first, and [chapter 4](04_gpt.py) turns queries and keys.
#
# ## What goes wrong
#
# Each of these mistakes runs without an error. So we make each on purpose and measure what it does.
#
# ### Drop the division by $\sqrt{d_k}$
#
# Take random queries and keys with variance 1, and 16 sources. We measure two things. The **entropy** of a row of
# weights, $-\sum_s w_s \log_2 w_s$, in bits: it is 4 when all 16 weights are equal and 0 when one source has all the
# weight. And how much the weights answer to a change of the scores, and of the query, through the derivative of the softmax:
#
# $$
# \frac{\partial w_s}{\partial z_r} = w_s \left( [s = r] - w_r \right)
# $$ (eq-attention-jacobian)
#
# Here $z_r$ is the score of source $r$, and $[s = r]$ is 1 when $s = r$ and 0 otherwise. When one weight is 1 and the
# others are 0, every entry is zero: nothing flows back, and the layer cannot learn to look elsewhere. A query acts
# through the scores, $z_r = c\, q \cdot k_r$, where $c$ is $1 / \sqrt{d_k}$ or 1. So $\partial w / \partial q$ is the matrix
# of {eq}`eq-attention-jacobian` times the keys, times $c$.

# %%
def sharpness(query, key, factor):
    """Mean entropy in bits, mean norm of dw/dz, and mean and median norm of dw/dq."""
    weights = (factor * query @ key.T).softmax(-1)  # (500, 16)
    entropy = -(weights * weights.clamp_min(1e-30).log2()).sum(-1)
    by_score = torch.diag_embed(weights) - weights[..., None] * weights[..., None, :]
    by_query = factor * by_score @ key  # (500, 16, d_k)
    scores, queries = by_score.norm(dim=(-2, -1)), by_query.norm(dim=(-2, -1))
    return [number.item() for number in
            (entropy.mean(), scores.mean(), queries.mean(), queries.median())]


torch.manual_seed(6)
widths, scaled, plain = [1, 4, 16, 64, 256, 1024], [], []
for width in widths:
    query, key = torch.randn(500, width), torch.randn(16, width)
    scaled.append(sharpness(query, key, 1 / math.sqrt(width)))
    plain.append(sharpness(query, key, 1.0))
    for name, row in {"with": scaled[-1], "without": plain[-1]}.items():
        bits, by_score, mean_q, median_q = row
        print(f"d_k = {width:4} {name:8} {bits:.1f} bits, by the scores {by_score:.2f}, "
              f"by the query {mean_q:.2f}, median {median_q:.4f}")

# %% mystnb={"figure": {"caption": "Entropy of the weights (left), and mean size of their derivative by the scores (right), with and without the division.", "name": "fig-attention-scale"}, "image": {"alt": "Two plots against the head width from 1 to 1024. With the division both curves stay nearly level. Without it the entropy falls almost to zero; the derivative rises a little up to width 4 and then falls to a fifth of that."}} tags=["hide-input"]
figure, axes = plt.subplots(1, 2, figsize=(6.8, 2.9))
labels = "entropy, bits", "size of the derivative"
for axis, column, label in zip(axes, (0, 1), labels, strict=True):
    axis.semilogx(widths, [row[column] for row in scaled], "o-", label="with the division")
    axis.semilogx(widths, [row[column] for row in plain], "s-", label="without")
    axis.set(xlabel="head width $d_k$", ylabel=label, ylim=(0, None))
    axis.set_xticks(widths, widths)
    axis.minorticks_off()
axes[0].legend();

# %% tags=["remove-cell"]
glue("attention_bits_scaled", scaled[-1][0], display=False)
glue("attention_bits_plain", plain[-1][0], display=False)
glue("attention_slope_loss", scaled[-1][1] / plain[-1][1], display=False)
glue("attention_query_mean", plain[-1][2] / scaled[-1][2], display=False)
glue("attention_query_median", plain[-1][3], display=False)
glue("attention_query_median_scaled", scaled[-1][3], display=False)

# %% [markdown]
# At $d_k = 1024$ the rows have {glue:text}`attention_bits_scaled:.1f` bits with the division and
# {glue:text}`attention_bits_plain:.1f` without, and the mean derivative by the scores is
# {glue:text}`attention_slope_loss:.0f` times smaller. The derivative by the query tells more. Without the division its
# *mean* is {glue:text}`attention_query_mean:.0f` times **larger**, since the factor $1 / \sqrt{d_k}$ is gone from it too. Its
# *median* falls from {glue:text}`attention_query_median_scaled:.2f` to {glue:text}`attention_query_median:.4f`: most
# queries get next to nothing, and a few, whose two best scores lie close together, get a jolt. So the danger is not that
# all derivatives become small. It is that most nearly vanish and a few are large. Does a training feel it? We train the lookup again without the division, with the seeds from above. (A
# query that is $\sqrt{d_k}$ times as long cancels it.)

# %%
class Unscaled(Reader):
    def read(self, question, objects, mask):
        longer = math.sqrt(question.shape[-1]) * question[:, None]
        return self.attention(longer, objects, mask[:, None, None, :])[:, 0]


unscaled = {kind: [accuracy(train(kind, seed, steps=60), val_data) for seed in range(3)]
            for kind in (Attention, Unscaled)}
for kind, values in unscaled.items():
    spread = np.ptp(values) / 2
    print(f"{kind.__name__:10} after 60 steps: {np.mean(values):.1%} ± {spread:.1%}")

# %% [markdown]
# In this task the damage does not show: the two scores cannot be told apart, at $d_k = 64$ with three objects and one layer.
# The figure above holds for scores of random queries and keys with variance 1. How much a training feels depends on
# how large its scores are at the start, and a one-layer lookup is easy.
#
# ### Mask after the softmax
#
# Multiply the weights with the mask *after* the softmax, and the forbidden weights are zero too. But the sum in the
# denominator has already seen the forbidden sources. We change the last token of five and see whether earlier rows
# notice.

# %% tags=["nbval-check-output"]
torch.manual_seed(7)
Q, K, V = torch.randn(3, 5, 4)
past = torch.ones(5, 5).tril().bool()


def early(Q, K, V):
    return scaled_dot_product_attention(Q, K, V, causal=True)


def late(Q, K, V):
    return ((Q @ K.T / math.sqrt(4)).softmax(-1) * past) @ V


changed = K.clone()
changed[-1] = torch.randn(4)
for function in (early, late):
    leak = (function(Q, changed, V) - function(Q, K, V))[:-1].abs().max()
    print(f"{function.__name__:5} mask: earlier outputs change by {leak:.3f}")
print("sums of the rows, mask after:", ((Q @ K.T / 2).softmax(-1) * past).sum(-1))

# %% [markdown]
# The future leaks: earlier outputs change when a later token changes, by way of the denominator. And the rows no
# longer sum to one: a target with much hidden future gets little weight in all. Training raises no error. But when the
# model writes, the future is not there yet, so the same beginning gives other outputs than in training.
#
# ### Turn the mask round, or forget it
#
# In some libraries `True` in a mask means "may look", in others it means "hidden". We give the trained layer the
# padding mask as it should be, none at all, and inverted:

# %%
there = val_data[0][..., 0] != 0
wrong_masks = {"right": there, "forgotten": torch.ones_like(there), "inverted": ~there}
damage = {name: [accuracy(model, val_data, mask) for model in models[Attention]]
          for name, mask in wrong_masks.items()}
for name, values in damage.items():
    print(f"{name:10} {np.mean(values):.1%} ± {np.ptp(values) / 2:.1%}")

# %% tags=["remove-cell"]
glue("attention_mask_inverted", float(np.mean(damage["inverted"])), display=False)
glue("attention_mask_forgotten", float(np.mean(damage["right"]) - np.mean(damage["forgotten"])), display=False)

# %% [markdown]
# Inverted, the layer looks only at padding, or nowhere, and falls to {glue:text}`attention_mask_inverted:.0%`, where
# *Blind* has {glue:text}`attention_Blind_val:.0%`: what it finds now is nothing that it was trained on, and the seeds
# differ widely. Forgotten, the mask costs {glue:text}`attention_mask_forgotten:.1%` here. Our guess is that padding,
# which is one vector, seldom resembles the noun. That is the dangerous kind: neither a test of shapes nor the accuracy
# finds it. What finds it is a test of an invariance: *more padding changes nothing*. `tests/test_attention.py` has it.
#
# ## Exercises
#
# ```{exercise-start} Another query on paper
# :label: ex-attention-paper
# ```
# *Easy, 5 minutes.* Keep $K$ and $V$ of the example on paper. Take the query $q = (0, \sqrt 2 \ln 3)$. Compute the
# three weights and the output as fractions.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-attention-paper
# :label: so-attention-paper
# :class: dropdown
# ````
# The scores after the division are $0, \ln 3, \ln 3$, the exponentials $1, 3, 3$, the weights $1/7, 3/7, 3/7$. The
# output is $\frac17 (0, 10) + \frac37 (10, 0) + \frac37 (5, 20) = \left(\frac{45}{7}, \frac{70}{7}\right)$.

# %% tags=["nbval-check-output"]
query = [[0, math.sqrt(2) * math.log(3)]]
(row,) = attention_by_hand(query, [[1, 0], [0, 1], [1, 1]], [[0, 10], [10, 0], [5, 20]])
print([round(7 * number, 6) for number in row], "sevenths")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} A bias that does nothing
# :label: ex-attention-bias
# ```
# *Easy, 10 minutes.* Add the same vector $c$ to every key. What happens to the weights? Which parameters of
# `MultiHeadAttention` are therefore useless? Prove it on paper, then in code.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-attention-bias
# :label: so-attention-bias
# :class: dropdown
# ````
# Every score of row $t$ grows by the same number, $q_t \cdot c / \sqrt{d_k}$. The factor
# $\exp(q_t \cdot c / \sqrt{d_k})$ cancels in {eq}`eq-attention-row`. So nothing changes, and the bias of the key
# projection is useless. (The bias of the query is not: it adds $c \cdot k_s$, which differs from source to source. That
# of the value adds the same vector to every output that sees something, which the bias of the output can do as well.)

# %% tags=["nbval-check-output"]
torch.manual_seed(8)
layer, X = MultiHeadAttention(12, 3).double(), torch.randn(2, 5, 12).double()
before = layer(X)
for name in ("key", "query"):
    part = getattr(layer, name)
    nn.init.normal_(part.bias)
    print(f"new bias of the {name:5}: same output {torch.allclose(layer(X), before)}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} From attention to a dictionary
# :label: ex-attention-dictionary
# ```
# *Easy, 10 minutes.* Multiply all queries of the example on paper by $\beta$ and let $\beta$ grow. To what does each
# row of weights tend? How large must $\beta$ be for the row of *car* to have a weight above 0.99 on itself? Why do
# the other two rows never get there?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-attention-dictionary
# :label: so-attention-dictionary
# :class: dropdown
# ````
# The exponentials of *car* are $2^\beta, 2^\beta, 4^\beta$, so its weight on itself is
# $4^\beta / (4^\beta + 2 \cdot 2^\beta) = 1 / (1 + 2^{1-\beta})$. It is above 0.99 when $2^{1 - \beta} < 1/99$, that
# is, when $\beta > 1 + \log_2 99$. *red* has the same score with *red* and with *car*, and *big* the same with *big*
# and *car*: a tie stays a tie, one half each. A dot product also rewards long keys, which a dictionary does not.

# %% tags=["nbval-check-output"]
K = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
print(f"threshold: {1 + math.log2(99):.3f}")
for beta in (0, 1, 4, 7.62, 7.64, 20):
    Q = beta * math.sqrt(2) * math.log(2) * K
    rows = scaled_dot_product_attention(Q, K, K, return_weights=True)[1]
    print(f"beta {beta:5}  red {rows[0].numpy().round(3)}  car {rows[2].numpy().round(4)}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} Repair the late mask
# :label: ex-attention-late
# ```
# *Medium, 15 minutes.* Someone masks after the softmax and then divides each row by its sum. Show on paper that this
# equals the mask before the softmax. Then find scores for which it fails in 32-bit numbers.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-attention-late
# :label: so-attention-late
# :class: dropdown
# ````
# The denominator of the first softmax is the same for the whole row, so it cancels when we divide by the sum of what
# is left:
# $\frac{e^{z_s} / Z}{\sum_{r \text{ visible}} e^{z_r} / Z} = \frac{e^{z_s}}{\sum_{r \text{ visible}} e^{z_r}}$. In 32
# bits, a hidden score that is about 104 above the visible ones pushes their weights below the smallest number there
# is. They become 0, and the row 0/0.

# %% tags=["nbval-check-output"]
mask = torch.tensor([True, True, False])


def repaired(z):
    kept = z.softmax(-1) * mask
    return kept / kept.sum(-1, keepdim=True)


def before(z):
    return z.masked_fill(~mask, torch.finfo(z.dtype).min).softmax(-1)


for hidden in (0.0, 50.0, 80.0, 110.0):
    z = torch.tensor([1.0, 2.0, hidden])
    after, right = repaired(z).numpy().round(3), before(z).numpy().round(3)
    print(f"hidden score {hidden:5}: repaired {after}, before {right}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} The derivative
# :label: ex-attention-derivative
# ```
# *Medium, 25 minutes.* Let $\mathcal{L}$ be a loss and $g_t = \partial \mathcal{L} / \partial o_t$. Derive $\partial \mathcal{L} / \partial Q$ for
# attention without a mask, using {eq}`eq-attention-jacobian`. Write it in three lines and compare it with
# `torch.autograd`.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-attention-derivative
# :label: so-attention-derivative
# :class: dropdown
# ````
# From $o_t = \sum_s w_{ts} v_s$ follows $\partial \mathcal{L} / \partial w_{ts} = g_t \cdot v_s$, which we call $a_{ts}$. With
# {eq}`eq-attention-jacobian`,
# $\partial \mathcal{L} / \partial z_{tr} = \sum_s a_{ts} w_{ts} ([s = r] - w_{tr}) = w_{tr} \left(a_{tr} - \sum_s w_{ts} a_{ts}\right)$:
# a score should grow when its value is better than the mean of what is found now. Last,
# $z_{tr} = q_t \cdot k_r / \sqrt{d_k}$ gives
# $\partial \mathcal{L} / \partial q_t = \sum_r \frac{\partial \mathcal{L}}{\partial z_{tr}} k_r / \sqrt{d_k}$.

# %% tags=["nbval-check-output"]
torch.manual_seed(9)
Q = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
K, V = torch.randn(7, 5).double(), torch.randn(7, 3).double()
output, W = scaled_dot_product_attention(Q, K, V, return_weights=True)
output.pow(3).sum().backward()

G = 3 * output.detach() ** 2  # the derivative of the loss by the output
A = G @ V.T
Z = W.detach() * (A - (W.detach() * A).sum(-1, keepdim=True))
torch.testing.assert_close(Z @ K / math.sqrt(5), Q.grad)
print("equal")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} Attention without the matrix
# :label: ex-attention-chunks
# ```
# *Hard, 40 minutes.* Compute attention while looking at the sources in chunks of 64, without ever holding a
# $T \times S$ matrix. Keep for every target the largest score so far, the sum of exponentials and the weighted sum of
# values, and correct the two sums when a larger score comes along. {cite:t}`milakov2018` do this for the sum of exponentials,
# {cite:t}`rabe2021` for the weighted sum too. Compare with the module on
# scores up to several hundred.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-attention-chunks
# :label: so-attention-chunks
# :class: dropdown
# ````
# Let $m$ be the largest score so far, and both sums hold $e^{z - m}$. When a chunk brings a larger $m'$, multiply
# both by $e^{m - m'}$, then add the chunk. At the end divide. The memory is $T \times 64$. This is the core of
# FlashAttention; the rest is about keeping the chunks in fast memory.

# %% tags=["nbval-check-output"]
def attention_in_chunks(Q, K, V, size=64):
    top = Q.new_full((len(Q), 1), -math.inf)  # (T, 1)
    total, output = Q.new_zeros(len(Q), 1), Q.new_zeros(len(Q), V.shape[-1])
    for k, v in zip(K.split(size), V.split(size), strict=True):
        scores = Q @ k.T / math.sqrt(Q.shape[-1])  # (T, 64)
        higher = torch.maximum(top, scores.amax(-1, keepdim=True))
        powers, shrink = (scores - higher).exp(), (top - higher).exp()
        total = total * shrink + powers.sum(-1, keepdim=True)
        output = output * shrink + powers @ v
        top = higher
    return output / total


torch.manual_seed(10)
Q, K, V = 30 * torch.randn(300, 16), 5 * torch.randn(1000, 16), torch.randn(1000, 8)
Q, K, V = Q.double(), K.double(), V.double()
gap = (attention_in_chunks(Q, K, V) - scaled_dot_product_attention(Q, K, V)).abs().max()
print("largest score above 300:", bool((Q @ K.T / 4).max() > 300))
print("equal within 1e-9:", bool(gap < 1e-9))

# %% [markdown]
# ````{solution-end}
# ````
#
# ## Quiz
#
# ::::::{card}
# :class-card: quiz
# **1.** $T = 5$ words look at $S = 7$ patches, with $d_k = 3$ and $d_v = 2$. What is the shape of the output?
#
# :::{dropdown} 5 × 7
# **No.** That is the shape of the weights: one for each word and each patch.
# :::
# :::{dropdown} 7 × 2
# **No.** That is the shape of the values. The output has a row for each one that asks.
# :::
# :::{dropdown} 5 × 2
# **Yes.** One row for each word, and a row is a mean of values, so it is as long as a value.
# :::
# :::{dropdown} 5 × 3
# **No.** Queries have this shape. The width $d_k$ disappears in the dot product.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **2.** Why can *Mean* only guess on scenes with one thing of each kind, however long it trains?
#
# :::{dropdown} Swapping the two colours leaves its input unchanged
# **Yes.** The right answer changes, the vector does not, and a function gives one answer for one input.
# :::
# :::{dropdown} Its vectors are too short; with width 512 it would work
# **No.** The two sums are equal at every width.
# :::
# :::{dropdown} It has fewer parameters than attention
# **No.** More parameters after the mean cannot separate two inputs that are equal.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **3.** What does the division by $\sqrt{d_k}$ do?
#
# :::{dropdown} It makes each row of weights sum to one
# **No.** The softmax does that, with or without the division.
# :::
# :::{dropdown} It keeps the scores at a size at which the softmax still has a slope
# **Yes.** Without it, the scores of random vectors grow with $\sqrt{d_k}$, and most derivatives nearly vanish.
# :::
# :::{dropdown} It makes attention faster, since small numbers are quicker to multiply
# **No.** It is one more operation for each score.
# :::
# :::{dropdown} It makes every head look at something else
# **No.** Heads differ because their projections differ.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **4.** `seen` (B, S) is `True` for real tokens. What do you pass to `torch.nn.MultiheadAttention` as
# `key_padding_mask`?
#
# :::{dropdown} `seen`
# **No.** There `True` means "ignore this key". You would look at the padding only.
# :::
# :::{dropdown} `seen[:, None, None, :]`
# **No.** That is the shape for *our* class, which broadcasts to (B, H, T, S), and it would still be inverted.
# :::
# :::{dropdown} `seen.float()`
# **No.** A mask of floats is *added* to the scores: padding gets 0 and real tokens get 1, so everything stays visible.
# :::
# :::{dropdown} `~seen`
# **Yes.** That class hides what is `True`.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **5.** Cross-attention has a padding mask and no causal one. You shuffle the sources, and their mask in the same way. What happens to its output?
#
# :::{dropdown} It is shuffled in the same way
# **No.** The output has a row for each target, and the targets did not move.
# :::
# :::{dropdown} Nothing, up to rounding
# **Yes.** Each target takes a sum over sources, and a sum has no order. Word order needs positions, which chapter 2
# adds.
# :::
# :::{dropdown} It changes in a way that cannot be foretold
# **No.** Keys, values and mask move together, so each term of the sum is still there.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **6.** A self-attention layer handles 500 tokens. With 2,000 tokens, how much memory do its weights take?
#
# :::{dropdown} 4 times as much
# **No.** Queries, keys and values grow like that. The weights are a square.
# :::
# :::{dropdown} 8 times as much
# **No.** The number of weights is $T S$, and both factors grow by 4.
# :::
# :::{dropdown} 16 times as much
# **Yes.** $T S$ grows from 500² to 2,000². A fused kernel never stores them all, but still computes them.
# :::
# ::::::
#
# ## Take-aways
#
# - Attention is a dictionary whose keys match by degree: a score for each source, a softmax, a weighted mean of values.
# - It answers what a mean cannot, because the weights depend on the question; and it learns to look from the answers alone.
# - The division by $\sqrt{d_k}$ keeps the scores of random queries and keys at size one, so that the weights can still change.
# - A mask goes in before the softmax. Libraries differ in what `True` means and in what a blind row gives, so test the invariance: more padding changes nothing, and the future changes nothing.
# - Time and memory grow with $T S$, and without a causal mask the order of the tokens is not seen at all.
#
# ## Further reading
#
# - {cite:t}`bahdanau2015`: the first attention in a neural translator; its score is a small network instead of a dot product.
# - {cite:t}`vaswani2017`, sections 3.2.1 to 3.2.3: the formula of this chapter, the heads, and the reason for the division in a footnote.
# - {cite:t}`rush2018`: the same paper line by line, with code.
# - {cite:t}`zaheer2017`: what functions of a set can look like, and so what the *Deep Sets* line of our table can do.
# - {cite:t}`michel2019`: how many heads a trained model can lose.
# - {cite:t}`milakov2018`, {cite:t}`rabe2021` and {cite:t}`dao2022`: the normaliser of a softmax in one pass, attention that never holds its matrix, and the kernel that keeps the pieces in fast memory.
# - {cite:t}`jain2019`: why a large weight is not yet an explanation.
