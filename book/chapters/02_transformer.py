# ---
# jupyter:
#   course: {notebook: notebooks/02_transformer.ipynb}
# ---

# %% [markdown]
# # Transformer
#
# At the end you can build a Transformer encoder and decoder from attention, say what each part is for, and prove that
# yours computes the same numbers as PyTorch's.

# %% tags=["remove-cell"]
import matplotlib.pyplot as plt
from matplotlib.colors import LinearSegmentedColormap
from myst_nb import glue

from mmcourse.book.plotting import (BLUE, GOLD, GREY, INK, ORANGE, PAPER, PINK, TEAL,
                               attention_map, show_scene, use_style)
from mmcourse.book.source import show_source

use_style()
SIGNED = LinearSegmentedColormap.from_list("signed", [BLUE, PAPER, ORANGE])

# %% tags=["remove-cell"]
def sublayer(axes, stream, side, y, name, colour):
    """Leave the stream at height y, pass a norm and a sub-layer, come back to be added."""
    x = stream + side * 1.35
    axes.plot([stream, x, x, stream], [y, y, y + 1.2, y + 1.2], color=GREY, linewidth=1.2)
    for text, height, fill in (("layer norm", 0.3, GREY), (name, 0.78, colour)):
        box = {"boxstyle": "round,pad=0.32", "facecolor": fill, "edgecolor": "none"}
        axes.text(x, y + height, text, ha="center", va="center", color=PAPER, fontsize=9,
                  bbox=box)
    circle = {"boxstyle": "circle,pad=0.12", "facecolor": PAPER, "edgecolor": INK}
    axes.text(stream, y + 1.2, "+", ha="center", va="center", bbox=circle)


def stream(axes, x, top, inputs, outputs):
    """The residual stream at x, from its inputs to its outputs."""
    line = {"arrowstyle": "-|>", "color": INK, "linewidth": 2.2}
    axes.annotate("", (x, top), (x, 0.1), arrowprops=line)
    axes.text(x, 0.0, inputs, ha="center", va="top")
    axes.text(x, top + 0.08, outputs, ha="center", va="bottom")


# %% mystnb={"figure": {"caption": "An encoder layer and a decoder layer. The vertical line is the residual stream: every sub-layer reads it, and adds what it found. The decoder also looks at what the encoder wrote.", "name": "fig-transformer-diagram"}, "image": {"alt": "A diagram. On the left, a vertical line for the source words passes two sub-layers, self-attention and feed-forward, each with a norm before it and a plus after it. On the right, a line for the target words passes three: causal self-attention, cross-attention and feed-forward. An arrow leads from the top of the left line to the cross-attention."}} tags=["remove-input"]
figure, axes = plt.subplots(figsize=(6.8, 4.9))
stream(axes, 0.6, 4.0, "source: words + positions", "memory $(S, D)$")
stream(axes, 6.6, 5.5, "target so far: words + positions", "next word")
self_attention, feed_forward = ("self-attention", BLUE), ("feed-forward", TEAL)
for y, part in zip((0.6, 2.2), (self_attention, feed_forward), strict=True):
    sublayer(axes, 0.6, 1, y, *part)
parts = ("causal self-attention", BLUE), ("cross-attention", ORANGE), feed_forward
for y, part in zip((0.6, 2.2, 3.8), parts, strict=True):
    sublayer(axes, 6.6, -1, y, *part)
arrow = {"arrowstyle": "-|>", "color": ORANGE, "linewidth": 1.8}
axes.plot([1.5, 3.4, 3.4], [4.22, 4.22, 2.98], color=ORANGE)
axes.annotate("", (4.45, 2.98), (3.36, 2.98), arrowprops=arrow)
axes.set(xlim=(-0.9, 8.2), ylim=(-0.4, 6))
axes.axis("off");

# %% [markdown]
# ::::{card}
# :class-card: chapter-card
#
# **Goals**
#
# - compute positions, a layer norm, a residual and a feed-forward network by hand
# - build encoder and decoder layers, and check them against PyTorch
# - show with a gradient who sees whom, and so tell an encoder from an autoregressive model
# - count parameters and operations, and say what a key-value cache saves
# - recognise three ways in which a Transformer fails without an error message
#
# **Before you start:** [chapter 1](01_attention.py) on attention; derivatives, and how a network is trained ([chapter 0](00_before_attention.py)).
#
# :::{card-footer}
# Reading {measured}`reading` min · runs in {measured}`seconds` s on two CPU cores, {measured}`megabytes` MB · difficulty ●●○
# :::
# ::::

# %% [markdown]
# ## The same words, another picture
#
# Here is a scene of [our data](data.py) with two sentences about it. They have the same words. One is true.

# %%
from mmcourse.data import EmojiScenes


def sideways(scene):
    """Whether a scene has a foil that only swaps what is left and what is right."""
    swapped = any(foil.kind == "order" for foil in scene.foils)
    return swapped and scene.description.relation in ("left of", "right of")


scenes = EmojiScenes("val")
scene = next(scene for scene in (scenes[index] for index in range(200)) if sideways(scene))
foil = next(foil for foil in scene.foils if foil.kind == "order")
true, false = foil.true.split(), foil.false.split()
print("true: ", foil.true)
print("false:", foil.false)
assert true != false and sorted(true) == sorted(false)

# %% mystnb={"image": {"alt": "A small scene with two kinds of things side by side; the true sentence says which is on the left."}} tags=["hide-input"]
show_scene(scene.image, title=f"{scene.key}");

# %% [markdown]
# Can attention tell the two sentences apart? We give every word a random vector, let a multi-head attention of chapter 1
# look at each sentence, and compare what every word has got from it: once without a mask, and once with the causal mask of
# chapter 1, which hides from each word what comes after it. (We sort the outputs by word, so that each word meets itself.)

# %%
import torch

from mmcourse.attention import MultiHeadAttention

torch.manual_seed(0)
table = {word: torch.randn(16) for word in sorted(set(true))}
attention = MultiHeadAttention(width=16, heads=4)


def look(words, positions=0.0, causal=False):
    """What each word gets from the sentence, (T, 16), in alphabetical order."""
    x = torch.stack([table[word] for word in words]) + positions  # (T, 16)
    seen = attention(x[None], causal=causal)[0]
    return seen[sorted(range(len(words)), key=words.__getitem__)]


gap = (look(true) - look(false)).abs().max()
gap_causal = (look(true, causal=True) - look(false, causal=True)).abs().max()
print("largest difference between the two sentences:")
print(f"without a mask {gap:.0e}, with a causal mask {gap_causal:.2f}")
assert gap < 1e-5 and gap_causal > 0.01

# %% [markdown]
# Without a mask, nothing but rounding. Attention takes a weighted mean of all words, and a mean does not know the order of what
# it is taken of. From these vectors no later layer without a mask, however large, can find out what is on the left. A causal mask
# gives a part of the order away, because it says which words come before which: {cite:t}`haviv2022` train language models with
# nothing else. But a model that may look both ways has no such mask. So: **what must we add to the words, and how do we
# stack attention so that many layers can be trained?** The first question takes one section, the second takes three.

# %% [markdown]
# ## Positions
#
# We give each word a second vector that depends on its place alone, and add the two:
#
# $$
# x_p = e_p + \mathrm{PE}_p
# $$ (eq-transformer-input)
#
# Here $p = 0, \dots, T-1$ is the **position** in a sentence of $T$ words, $e_p$ is the **embedding** of the word there
# (a row of a table of $V$ words by $D$ numbers that is learned), $\mathrm{PE}_p$ is the position's vector, its **positional encoding**, and all three have $D$ numbers,
# the **width** of the model. The table $\mathrm{PE}$ has shape $(T, D)$. {cite:t}`vaswani2017` fill it with waves:
#
# $$
# \mathrm{PE}_{p,\,2i} = \sin\left(p\,\omega_i\right), \qquad
# \mathrm{PE}_{p,\,2i+1} = \cos\left(p\,\omega_i\right), \qquad
# \omega_i = 10000^{-2i/D}
# $$ (eq-transformer-positions)
#
# where $i = 0, \dots, D/2 - 1$ counts pairs of columns. The first pair turns by one radian a word, the last one almost not at all:
# like the hands of a clock, fast ones tell near places apart and slow ones tell far places apart.
#
# By hand, with $T = 3$ and $D = 4$: $\omega_0 = 1$ and $\omega_1 = 10000^{-1/2} = 1/100$.
#
# | $p$ | $\sin p$ | $\cos p$ | $\sin (p/100)$ | $\cos (p/100)$ |
# |---|---|---|---|---|
# | 0 | 0 | 1 | 0 | 1 |
# | 1 | 0.841 | 0.540 | 0.010 | 1.000 |
# | 2 | 0.909 | -0.416 | 0.020 | 1.000 |
#
# The same in the plainest code:

# %% tags=["nbval-check-output"]
import math


def plain_positions(length, width):
    """The table of waves, number by number."""
    positions = torch.zeros(length, width)
    for p in range(length):
        for i in range(width // 2):
            angle = p / 10000 ** (2 * i / width)
            positions[p, 2 * i], positions[p, 2 * i + 1] = math.sin(angle), math.cos(angle)
    return positions


hand = torch.tensor([[0, 1, 0, 1],
                     [0.841, 0.540, 0.010, 1.000],
                     [0.909, -0.416, 0.020, 1.000]])
print(plain_positions(3, 4).numpy().round(3))
assert torch.allclose(plain_positions(3, 4), hand, atol=5e-4)

# %% [markdown]
# The package does it without loops:

# %%
from mmcourse.transformer import sinusoidal_positions

# %% tags=["remove-input"]
show_source(sinusoidal_positions)

# %% tags=["nbval-check-output"]
for length, width in ((3, 4), (1, 2), (50, 34)):
    ours, plain = sinusoidal_positions(length, width), plain_positions(length, width)
    assert torch.allclose(ours, plain, atol=1e-5)
print("equal on three shapes")

# %% [markdown]
# {numref}`fig-transformer-positions` shows the table. Its right half shows the dot product of two rows. A sine and a cosine
# of one frequency give $\sin a \sin b + \cos a \cos b = \cos(a - b)$, so
#
# $$
# \mathrm{PE}_p \cdot \mathrm{PE}_q = \sum_{i=0}^{D/2-1} \cos\left((p - q)\,\omega_i\right)
# $$ (eq-transformer-distance)
#
# depends only on the distance of $p$ and $q$, wherever they stand. But a cosine is even, $\cos(-a) = \cos(a)$: the word before me
# and the word after me have the same dot product with my position. To tell them apart, attention needs its projections, which are
# learned. An exercise below finds a matrix that turns every position into the one before it. With it in
# the query, the largest product is that with the word before me, and one matrix serves all places.

# %% mystnb={"figure": {"caption": "Left: the position table, a row a position. Right: the dot product of three positions with all others, divided by its largest value; the curve is the same, moved.", "name": "fig-transformer-positions"}, "image": {"alt": "Left: a heat map in which the first columns alternate fast from row to row and the last columns hardly change. Right: three curves of equal shape with peaks at positions 8, 32 and 56."}} tags=["hide-input"]
positions = sinusoidal_positions(64, 32)
figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.9), layout="constrained")
picture = left.imshow(positions, cmap=SIGNED, vmin=-1, vmax=1, aspect="auto")
left.set(xlabel="column", ylabel="position $p$")
figure.colorbar(picture, ax=left, shrink=0.8)
for p, colour in ((8, BLUE), (32, ORANGE), (56, TEAL)):
    right.plot(positions @ positions[p] / 16, color=colour, label=f"$p = {p}$")
right.set(xlabel="position $q$", ylabel=r"$\mathrm{PE}_p \cdot \mathrm{PE}_q$, scaled")
right.set_ylim(0, 1.3)
right.legend(ncols=3, loc="upper center", fontsize=8, columnspacing=1, handlelength=1.2);

# %% [markdown]
# Now the two sentences are no longer the same:

# %%
positions = sinusoidal_positions(len(true), 16)
gap_with = (look(true, positions) - look(false, positions)).abs().max()
print(f"largest difference without positions {gap:.0e}, with positions {gap_with:.2f}")
assert gap_with > 0.01

# %% [markdown]
# A table of learned numbers does the same job (BERT and GPT-2 use one; so does our captioner). It knows no position beyond the longest sentence that it was
# trained on. Newer models turn queries and keys by an angle that depends on the position {cite}`su2024`; that uses the
# same identity for sines and cosines, and [chapter 4](04_gpt.py) builds it.

# %% [markdown]
# ## The parts of a layer
#
# ### Residual: add, do not replace
#
# A **residual connection** {cite}`he2016` adds what a part computes to what it was given:
#
# $$
# x \leftarrow x + f(x)
# $$ (eq-transformer-residual)
#
# $x$ and $f(x)$ have the same shape $(T, D)$. Through the whole stack runs one sum, the **residual stream**; a layer reads
# it and adds to it, and what no layer takes away arrives at the end. The derivative says what this changes. Take one number
# and $f(x) = x/2$, ten times. Without the residual the derivative is $(1/2)^{10}$; with it, it is $(1 + 1/2)^{10}$:

# %% tags=["nbval-check-output"]
x = torch.tensor(1.0, requires_grad=True)
without = with_residual = x
for _ in range(10):
    without = without / 2
    with_residual = with_residual + with_residual / 2
for name, y in (("without", without), ("with", with_residual)):
    print(f"{name:8} residual: dy/dx = {torch.autograd.grad(y, x)[0].item():.3f}")
assert abs(without.item() - 0.5**10) < 1e-6 and abs(with_residual.item() - 1.5**10) < 1e-3

# %% [markdown]
# Without the 1, the first layer of this toy would hardly hear how wrong the last one was. With it, the signal arrives, but the
# numbers grow. The next part keeps them in hand. (A real $f$ need not shrink its input. [Chapter 5](05_vision.py) takes one thing
# away at a time, the residual, the norm and the size of the first weights, and measures what each does to the derivative.)

# %% [markdown]
# ### Layer norm: the same scale everywhere
#
# A **layer norm** {cite}`ba2016` takes one position's $D$ numbers, subtracts their mean $\mu$, divides by their standard
# deviation, and then lets the model choose a scale and a shift:
#
# $$
# \operatorname{norm}(x) = \gamma \odot \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}} + \beta, \qquad
# \mu = \frac{1}{D}\sum_{j=1}^{D} x_j, \qquad
# \sigma^2 = \frac{1}{D}\sum_{j=1}^{D} (x_j - \mu)^2
# $$ (eq-transformer-norm)
#
# $x$, $\gamma$ and $\beta$ have $D$ numbers; $\mu$ and $\sigma^2$ are one number each, for each position of each sentence alone;
# $\odot$ multiplies number by number; $\varepsilon = 10^{-5}$ prevents a division by zero. At the start $\gamma = 1$ and $\beta = 0$.
#
# By hand: $x = (1, 1, 3, 3)$ has $\mu = 2$ and $\sigma^2 = (1 + 1 + 1 + 1)/4 = 1$, so its norm is $(-1, -1, 1, 1)$. The vector
# $10x + 5$ has the same norm, but for $\varepsilon$: scale and shift of the input are gone.

# %% tags=["nbval-check-output"]
def plain_norm(x, eps=1e-5):
    """Layer norm with scale 1 and shift 0."""
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / (variance + eps).sqrt()


x = torch.tensor([1.0, 1.0, 3.0, 3.0])
print(plain_norm(x).numpy().round(3), plain_norm(10 * x + 5).numpy().round(3))
batch = torch.randn(2, 5, 12)
assert torch.allclose(plain_norm(batch), torch.nn.LayerNorm(12)(batch), atol=1e-5)

# %% [markdown]
# ### Feed-forward: each position thinks alone
#
# Attention moves information between positions. The **feed-forward network** works on what has arrived, at every position
# alone and with the same weights:
#
# $$
# \operatorname{feed}(x) = \operatorname{gelu}(x W_1 + b_1)\, W_2 + b_2, \qquad \operatorname{gelu}(z) = z\,\Phi(z)
# $$ (eq-transformer-feed)
#
# $x$ has $D$ numbers, $W_1$ is $(D, 4D)$ and $b_1$ has $4D$ numbers, $W_2$ is $(4D, D)$ and $b_2$ has $D$. $\Phi(z)$ is the
# probability that a standard normal variable is below $z$, so GELU {cite}`hendrycks2016` is a ReLU with a soft corner. (A ReLU,
# $\max(z, 0)$, stood in its place in 2017.)
#
# By hand, with two hidden numbers: $x = (1, -1)$, $W_1$ the identity, $b_1 = b_2 = 0$. $\Phi(1) = 0.841$ and $\Phi(-1) = 0.159$, so the
# hidden numbers are $(0.841, -0.159)$. With $W_2 = \begin{pmatrix} 1 & 1 \\ 1 & -1 \end{pmatrix}$ the output is
# their sum and their difference, $(0.683, 1)$:

# %% tags=["nbval-check-output"]
def gelu(z):
    """z times the probability that a standard normal variable is below z."""
    return z * (1 + torch.erf(z / math.sqrt(2))) / 2


hidden = gelu(torch.tensor([1.0, -1.0]))
output = hidden @ torch.tensor([[1.0, 1.0], [1.0, -1.0]])
print(hidden.numpy().round(3), output.numpy().round(3))
assert torch.allclose(gelu(batch), torch.nn.functional.gelu(batch), atol=1e-6)

# %% [markdown]
# ## The encoder layer
#
# Now the parts make a layer. $X$ has shape $(T, D)$, a row a position. The **pre-norm** layer {cite}`xiong2020` is
#
# $$
# \begin{aligned}
# X &\leftarrow X + \operatorname{attention}(\operatorname{norm}_1(X)) \\
# X &\leftarrow X + \operatorname{feed}(\operatorname{norm}_2(X))
# \end{aligned}
# $$ (eq-transformer-pre)
#
# and the **post-norm** layer, as it was in 2017 {cite}`vaswani2017`, puts the norm on the stream itself:
#
# $$
# \begin{aligned}
# X &\leftarrow \operatorname{norm}_1\left(X + \operatorname{attention}(X)\right) \\
# X &\leftarrow \operatorname{norm}_2\left(X + \operatorname{feed}(X)\right)
# \end{aligned}
# $$ (eq-transformer-post)
#
# The difference looks like taste. Below we measure when it is not. The pre-norm layer in five plain lines:

# %%
def plain_layer(x, layer):
    """An encoder layer with the weights of ``layer``, line by line as in the formula."""
    x = x + layer.attention(layer.norm1(x))  # (B, T, D): positions exchange
    first, _, _, last = layer.feed_forward
    hidden = gelu(first(layer.norm2(x)))  # (B, T, 4D): each position alone
    return x + last(hidden)  # (B, T, D)


# %% [markdown]
# The package adds the choice of the norm's place, dropout (numbers set to zero at random, see chapter 12; none here) and the
# weights to look at:

# %%
from mmcourse.transformer import Encoder, EncoderLayer

# %% tags=["remove-input"]
show_source(EncoderLayer)

# %% tags=["nbval-check-output"]
torch.manual_seed(0)
for B, T, D, H in ((1, 1, 2, 1), (2, 5, 15, 3), (3, 9, 24, 4)):
    layer, x = EncoderLayer(D, H), torch.randn(B, T, D)
    assert torch.allclose(layer(x), plain_layer(x, layer), atol=1e-5)
print("equal on three shapes")

# %% [markdown]
# An **encoder** is a stack of such layers with one more norm at the end, because a pre-norm stream leaves the last layer
# without one. Every position may look at every other, before and after it. That is right for a text or a picture
# that is all there from the start.

# %% [markdown]
# ## The decoder layer
#
# A **decoder** writes. Its layer has three sub-layers: self-attention that is **causal** (a position sees itself and
# what comes before), **cross-attention** to the **memory** $M$ of shape $(S, D)$ that an encoder made, and the
# feed-forward network:
#
# $$
# \begin{aligned}
# X &\leftarrow X + \operatorname{attention}_{\text{causal}}(\operatorname{norm}_1(X)) \\
# X &\leftarrow X + \operatorname{attention}(\operatorname{norm}_2(X),\, M) \\
# X &\leftarrow X + \operatorname{feed}(\operatorname{norm}_3(X))
# \end{aligned}
# $$ (eq-transformer-decoder)
#
# In the cross-attention the queries come from $X$, $(T, D)$, the keys and values from $M$. $T$ and $S$ need not be equal.
# A model with an encoder and a decoder gives a sentence $y_1, \dots, y_T$ for a source $x$ the probability
#
# $$
# p(y \mid x) = \prod_{t=1}^{T} p\left(y_t \mid y_1, \dots, y_{t-1},\, x\right)
# $$ (eq-transformer-chain)
#
# A model that predicts each element from those before it is **autoregressive**. {eq}`eq-transformer-chain` is always true as
# a statement about probabilities. It is true of the network only if the output at $t - 1$ does not depend on $y_t$ or any word after it. The causal mask
# makes sure of that, and lets us train on all $T$ places at once.

# %%
from mmcourse.transformer import Decoder, DecoderLayer

# %% tags=["remove-input"]
show_source(DecoderLayer)

# %% [markdown]
# ## Against PyTorch
#
# `torch.nn` has both layers. We copy its weights into ours and compare. PyTorch keeps the three projections of an attention in
# one matrix, and its masks mean the opposite of ours: `True` is "may not look".

# %%
from torch import nn


def copy_attention(ours, theirs):
    """Copy the weights of torch.nn.MultiheadAttention."""
    weights, biases = theirs.in_proj_weight.chunk(3), theirs.in_proj_bias.chunk(3)
    parts = ours.query, ours.key, ours.value
    for part, weight, bias in zip(parts, weights, biases, strict=True):
        part.load_state_dict({"weight": weight, "bias": bias})
    ours.output.load_state_dict(theirs.out_proj.state_dict())


def copy_layer(ours, theirs):
    """Copy the weights of torch.nn.TransformerEncoderLayer or TransformerDecoderLayer."""
    copy_attention(ours.attention, theirs.self_attn)
    if isinstance(ours, DecoderLayer):
        copy_attention(ours.cross_attention, theirs.multihead_attn)
    ours.feed_forward[0].load_state_dict(theirs.linear1.state_dict())
    ours.feed_forward[3].load_state_dict(theirs.linear2.state_dict())
    for name, part in theirs.named_children():
        if name.startswith("norm"):
            getattr(ours, name).load_state_dict(part.state_dict())


# %%
torch.manual_seed(0)
options = {"dropout": 0.0, "activation": "gelu", "batch_first": True}
worst = 0.0
for B, T, S, D, H in ((1, 1, 3, 6, 1), (2, 5, 7, 15, 3), (3, 8, 4, 40, 5)):
    for norm_first in (True, False):
        x, memory = torch.randn(B, T, D), torch.randn(B, S, D)
        theirs = nn.TransformerEncoderLayer(D, H, 4 * D, norm_first=norm_first, **options)
        ours = EncoderLayer(D, H, norm_first=norm_first)
        copy_layer(ours, theirs)
        encoder_gap = (ours(x) - theirs(x)).abs().max().item()
        theirs = nn.TransformerDecoderLayer(D, H, 4 * D, norm_first=norm_first, **options)
        ours = DecoderLayer(D, H, norm_first=norm_first)
        copy_layer(ours, theirs)
        hidden = torch.ones(T, T, dtype=torch.bool).triu(1)  # PyTorch: True = may not look
        expected = theirs(x, memory, tgt_mask=hidden)
        decoder_gap = (ours(x, memory) - expected).abs().max().item()
        worst = max(worst, encoder_gap, decoder_gap)
        print(f"B {B} T {T} S {S} D {D:2} H {H} {'pre-norm: ' if norm_first else 'post-norm:'} "
              f"encoder {encoder_gap:.0e}, decoder {decoder_gap:.0e}")
assert worst < 1e-5

# %% tags=["remove-cell"]
glue("transformer_worst", worst, display=False)

# %% [markdown]
# The largest difference is {glue:text}`transformer_worst:.0e`, which is rounding. The tests of the package check the same in
# double precision, with padding masks, with dropout, and for whole stacks.
#
# ### Four mistakes with `nn.Transformer`
#
# PyTorch also has the whole model as one class. It is tempting to make it as `nn.Transformer(width, layers)`,
# to call it with one argument, and to expect a language model. Let us do that.

# %% tags=["nbval-check-output", "remove-stderr"]
torch.manual_seed(0)
for width, layers in ((100, 6), (64, 4)):
    try:
        options = {"dim_feedforward": 64, "dropout": 0.0, "batch_first": True}
        model = nn.Transformer(width, layers, **options)
        model(torch.randn(1, 5, width))
    except (AssertionError, TypeError) as error:
        print(f"nn.Transformer({width}, {layers}): {type(error).__name__}: {error}")
built = len(model.encoder.layers)
print(f"wanted {layers} layers; got {built} layers of {model.nhead} heads")

# %% [markdown]
# The second argument is the number of heads, not of layers, so the first call dies because 100 is not a multiple of 6, and the second
# builds something else than was meant. It needs a source **and** a target. And when it gets both, two things are still
# missing that no message mentions:

# %% tags=["nbval-check-output", "remove-stderr"]
source, target = torch.randn(1, 6, 64), torch.randn(1, 5, 64)
changed = target.clone()
changed[:, -1] += 1.0  # another last word
causal = torch.ones(5, 5, dtype=torch.bool).triu(1)  # PyTorch: True = may not look
with torch.no_grad():
    before, after = model(source, target), model(source, changed)
    leak = (after - before)[:, 0].abs().max()
    before = model(source, target, tgt_mask=causal)
    after = model(source, changed, tgt_mask=causal)
    masked_leak = (after - before)[:, 0].abs().max()
    moved = (model(source.flip(1), target, tgt_mask=causal) - before).abs().max()
print("first output moves with the last word:  ", leak.item() > 1e-3)
print("the same, with a causal mask:           ", masked_leak.item() > 1e-3)
print("outputs move with the order of the source:", moved.item() > 1e-4)

# %% [markdown]
# `nn.Transformer` sets no causal mask and adds no positions. Both are the caller's job. With our modules the mask is built
# into the decoder, because our decoders write word by word (one that gives all its answers at once goes without, as
# that of {cite:t}`carion2020`, which finds the objects of a picture); positions stay with the model, because text and pictures need different ones.

# %% [markdown]
# ## Who sees whom
#
# Is a Transformer an autoregressive network? We can ask it. Output $t$ and input $s$ have $D$ numbers each, so the
# derivative of one with respect to the other is a $D \times D$ matrix: each number of the output by each number of the input. The root of
# the sum of its squares, its norm, says how much $t$ depends on $s$:

# %%
from torch.autograd.functional import jacobian as jacobian_of


def influence(model, x):
    """(T, T): how strongly each output depends on each input; 1 is the strongest."""
    jacobian = jacobian_of(lambda x: model(x[None])[0], x)  # (T, D, T, D)
    norms = jacobian.square().sum((1, 3)).sqrt()
    return norms / norms.max()


torch.manual_seed(0)
encoder, decoder = Encoder(2, 16, 4), Decoder(2, 16, 4)
memory, x = torch.randn(1, 5, 16), torch.randn(8, 16)
both_ways = influence(encoder, x)
one_way = influence(lambda x: decoder(x, memory), x)
print("inputs that output 0 depends on: encoder", (both_ways[0] > 0).sum().item(),
      "· decoder", (one_way[0] > 0).sum().item())
assert (both_ways > 0).all() and not one_way.triu(1).any()

# %% mystnb={"figure": {"caption": "How strongly each output (row) depends on each input (column), as the size of the derivative on a logarithmic scale. Grey: exactly zero.", "name": "fig-transformer-influence"}, "image": {"alt": "Two heat maps of eight rows and columns. The encoder's is filled. The decoder's is filled on and below the diagonal, and grey above it."}} tags=["hide-input"]
figure, axes = plt.subplots(1, 2, figsize=(6.6, 3.0))
shades = plt.get_cmap("Blues").copy()
shades.set_bad("#d5d8dd")
for part, weights in zip(axes, (both_ways, one_way), strict=True):
    part.set_title("encoder" if weights is both_ways else "decoder")
    shown = weights.masked_fill(weights == 0, torch.nan).log10()
    picture = part.imshow(shown, cmap=shades, vmin=-2, vmax=0)
    part.set(xlabel="input position $s$", ylabel="output position $t$")
figure.colorbar(picture, ax=axes, shrink=0.8, label="$\\log_{10}$ of influence");

# %% [markdown]
# So the answer is: a part of it is. The decoder is autoregressive: its derivative above the diagonal is exactly zero, and
# {eq}`eq-transformer-chain` holds. The encoder is not: its first output depends on the last input. BERT is an encoder
# {cite}`devlin2019`, GPT is a stack of decoder layers without cross-attention {cite}`radford2019`, and the model of 2017 is one of
# each. Such a GPT layer is our `EncoderLayer` with a causal mask; we use it so below.

# %% [markdown]
# ## The cache
#
# When a decoder writes word $t$, the words before it have not changed, and causality says that nothing computed for
# them has changed either. A **key-value cache** keeps each layer's keys and values, $K_{<t}$ and $V_{<t}$ of shape $(t-1, d_k)$ in each
# head, and a step computes only the new row:
#
# $$
# K_{\le t} = \begin{bmatrix} K_{<t} \\ k_t \end{bmatrix}, \qquad
# V_{\le t} = \begin{bmatrix} V_{<t} \\ v_t \end{bmatrix}, \qquad
# o_t = \operatorname{softmax}\left(\frac{q_t K_{\le t}^\top}{\sqrt{d_k}}\right) V_{\le t}
# $$ (eq-transformer-cache)
#
# with $q_t$, $k_t$, $v_t$ and $o_t$ of $d_k$ numbers each. The memory's keys and values are computed once. In `mmcourse` the cache is a dict
# that the caller owns, empty at first.

# %%
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def write_again(x):
    """Without a cache: for each new word, compute all words so far again."""
    outputs = [decoder(x[:, : t + 1], memory)[:, -1:] for t in range(x.shape[1])]
    return torch.cat(outputs, 1)


def write_with_cache(x):
    """With it: compute the new word only."""
    cache = {}
    outputs = [decoder(x[:, t : t + 1], memory, cache=cache) for t in range(x.shape[1])]
    return torch.cat(outputs, 1)


def operations(function, *inputs):
    """Multiplications and additions in the matrix products of a call."""
    plain = sdpa_kernel(SDPBackend.MATH)  # it does not count PyTorch's fused attention
    with torch.no_grad(), plain, FlopCounterMode(display=False) as counter:
        function(*inputs)
    return counter.get_total_flops()


# %% tags=["nbval-check-output"]
x = torch.randn(1, 32, 16)
with torch.no_grad():
    assert torch.allclose(write_with_cache(x), write_again(x), atol=1e-5)
again, cached = operations(write_again, x), operations(write_with_cache, x)
print(f"32 words: {again:,} operations without a cache, {cached:,} with it: "
      f"{again / cached:.1f} times fewer")

# %% tags=["remove-cell"]
glue("transformer_saved", again / cached, display=False)

# %% [markdown]
# The same numbers come out with {glue:text}`transformer_saved:.1f` times fewer operations, and the gain grows with the length. The price is memory: $2D$ numbers
# a word and layer. [Chapter 14](14_captioning.py) writes its captions this way, and [chapter 15](15_decoding.py) counts and measures what it saves there.

# %% [markdown]
# ## What it costs
#
# An encoder layer of width $D$ with $4D$ hidden numbers has
#
# $$
# \underbrace{4D^2 + 4D}_{\text{attention}} + \underbrace{8D^2 + 5D}_{\text{feed-forward}} + \underbrace{4D}_{\text{two norms}}
# = 12D^2 + 13D
# $$ (eq-transformer-parameters)
#
# parameters. The number of heads is not in it. A product of an $(a, b)$ and a $(b, c)$ matrix takes $2abc$ operations, so a sentence of $T$ words takes
#
# $$
# \underbrace{24\,T D^2}_{\text{weights}} + \underbrace{4\,T^2 D}_{\text{scores and means}}
# $$ (eq-transformer-operations)
#
# operations a layer. We check both by counting:

# %% tags=["nbval-check-output"]
for T, D, H in ((8, 32, 4), (50, 64, 2), (400, 64, 16)):
    layer = EncoderLayer(D, H)
    parameters = sum(parameter.numel() for parameter in layer.parameters())
    counted = operations(layer, torch.randn(1, T, D))
    assert parameters == 12 * D**2 + 13 * D and counted == 24 * T * D**2 + 4 * T**2 * D
    print(f"T {T:3}  D {D}: {parameters:6,} parameters, {counted:11,} operations, "
          f"{4 * T**2 * D / counted:4.0%} of them between positions")

# %% [markdown]
# The first term is twice the weights that a word passes, times the words. The second grows with the square of the length and takes over when
# $T > 6D$ (an exercise asks why). {cite:t}`kaplan2020` count $2\,T^2 D$ for it, half of ours: their table has the products of queries and keys
# and leaves out the weighted mean of the values.

# %% [markdown]
# ## Use it: who is on the left?
#
# Back to the first question. We take captions of scenes with one thing beside another, and train a small
# encoder to point at the word for what is on the **left**. Captions begin from either thing ("a cat to the left of a dog", "a
# dog right of a cat"), so the first noun is not the answer. From the split `composition` we take the scenes whose two nouns never meet in training.

# %%
from random import Random

from mmcourse.data import language
from mmcourse.data.splits import novelty


# %%
def beside(split, count, new=None):
    """Captions of one thing beside one other: (words, place of the noun on the left)."""
    scenes, found, number = EmojiScenes(split), [], -1
    while len(found) < count:
        number += 1
        key = f"{split}/{number}"
        description = scenes.describe(Random(key))
        names = [group.noun for group in description.groups if group.count == 1]
        if description.relation not in ("left of", "right of") or len(names) < 2:
            continue
        if novelty(description) != new:  # of composition only pairs, not tints
            continue
        captions = language.captions(description, Random(f"{key}/captions"))
        words = captions[number % 5].split()
        left = names[description.relation == "right of"]
        if all(words.count(name) == 1 for name in names):  # leaves out names of two words
            found.append((words, words.index(left)))
    return found


train = beside("train", 2000)
val, composition = beside("val", 400), beside("composition", 400, "pair")
for words, place in train[:3]:
    print(f"{' '.join(words)}   ->   {words[place]}")

# %%
vocabulary = ["<pad>", *language.vocabulary()]
ids = {word: number for number, word in enumerate(vocabulary)}
LENGTH = max(len(words) for words, _ in train + val + composition)


def tensors(sentences):
    """Ids (B, LENGTH), padded with 0, and the places (B,)."""
    rows = [[ids[word] for word in words] for words, _ in sentences]
    rows = [row + [0] * (LENGTH - len(row)) for row in rows]
    return torch.tensor(rows), torch.tensor([place for _, place in sentences])


# %%
class Pointer(nn.Module):
    """Gives every word of a sentence a score: ids (B, T) to scores (B, T)."""

    def __init__(self, positions, encoder, width=32):
        super().__init__()
        self.embedding = nn.Embedding(len(vocabulary), width)
        self.score = nn.Linear(width, 1)
        self.positions, self.encoder = positions, encoder

    def forward(self, tokens):
        words = tokens != 0
        x = self.embedding(tokens) + self.positions  # (B, T, D)
        x = self.encoder(x, words[:, None, None])
        return self.score(x)[..., 0].masked_fill(~words, -1e9)


# %% [markdown]
# One small training loop serves the whole chapter. It uses Adam {cite}`kingma2015`: gradient descent in which each weight has a step size of its
# own, found from its past gradients. What it makes small is the cross-entropy: minus the logarithm of the probability that the model gave to
# the right answer, as a mean. With the natural logarithm its unit is called nat. The scores from which a softmax makes the
# probabilities are called logits. [Chapter 0](00_before_attention.py) computes all of these by hand. (The course's real loop, with checkpoints, is `mmcourse.training`.)

# %%
def fit(model, loss, steps, rate=3e-3, warmup=20, seed=0):
    """Take steps of Adam on ``loss(generator)``, and give the loss of each step."""
    generator, losses = torch.Generator().manual_seed(seed), []
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * min(1, (step + 1) / max(warmup, 1))
        value = loss(generator)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        losses.append(value.item())
    return losses


# %%
data, places = tensors(train)


def pointing_loss(model, batch=64):
    """The cross-entropy of pointing, on random captions: a loss for fit."""

    def loss(generator):
        rows = torch.randint(len(data), (batch,), generator=generator)
        return nn.functional.cross_entropy(model(data[rows]), places[rows])

    return loss


@torch.no_grad()
def accuracy(model, sentences):
    """Share of the sentences in which the model points at the right word."""
    tokens, right = tensors(sentences)
    return (model(tokens).argmax(-1) == right).float().mean().item()


# %%
def trained(positions, steps=200):
    """A pointer of two layers, trained with the given positions."""
    torch.manual_seed(0)
    model = Pointer(positions, Encoder(layers=2, width=32, heads=4))
    fit(model, pointing_loss(model), steps)
    return model


torch.manual_seed(0)
tables = {"none": torch.zeros(LENGTH, 32), "sinusoidal": sinusoidal_positions(LENGTH, 32),
          "learned": nn.Parameter(torch.randn(LENGTH, 32))}
pointers = {name: trained(table) for name, table in tables.items()}
parts = train[:400], val, composition
scores = {name: [accuracy(model, part) for part in parts] for name, model in pointers.items()}


# %%
def first_noun(sentences):
    """The baseline that always points at the noun that is named first."""
    named = language.noun_words()
    return sum(place == min(i for i, word in enumerate(words) if word in named)
               for words, place in sentences) / len(sentences)


scores["first noun"] = [first_noun(part) for part in parts]
for name, values in scores.items():
    print(f"{name:10}", *(f"{value:6.1%}" for value in values))

# %% tags=["remove-cell"]
for name, pair in scores.items():
    for split, value in zip(("train", "val", "composition"), pair, strict=True):
        glue(f"transformer_{name.replace(' ', '_')}_{split}", value, display=False)
glue("transformer_captions", len(val), display=False)
glue("transformer_error", (0.25 / len(val)) ** 0.5, display=False)

# %% [markdown]
# | positions | scenes of the training | new scenes (`val`) | pairs never seen in training (`composition`) | seed |
# |---|---|---|---|---|
# | baseline: point at the first noun | {glue:text}`transformer_first_noun_train:.1%` | {glue:text}`transformer_first_noun_val:.1%` | {glue:text}`transformer_first_noun_composition:.1%` |  |
# | none | {glue:text}`transformer_none_train:.1%` | {glue:text}`transformer_none_val:.1%` | {glue:text}`transformer_none_composition:.1%` | 0 |
# | sinusoidal | {glue:text}`transformer_sinusoidal_train:.1%` | {glue:text}`transformer_sinusoidal_val:.1%` | {glue:text}`transformer_sinusoidal_composition:.1%` | 0 |
# | learned | {glue:text}`transformer_learned_train:.1%` | {glue:text}`transformer_learned_val:.1%` | {glue:text}`transformer_learned_composition:.1%` | 0 |
#
# Without positions and without a causal mask the encoder finds the two nouns and tosses a coin between them on new scenes: the two sentences of our first question are one to it. What
# it gets right beyond that in training ({glue:text}`transformer_none_train:.1%`) it has learned by heart: for these very words, which noun was on the left that time. With
# positions it reads, and with pairs of nouns that never met in training it is right about as often as with the others. Waves and learned positions are too close to say which is
# better: this is one seed, and of {glue:text}`transformer_captions:d` captions a share is uncertain by up to {glue:text}`transformer_error:.1%` (one standard error). The exact digits depend on the machine; the gap between the two
# upper rows and the two lower ones does not.
# {numref}`fig-transformer-reading` shows where the words look in the first layer.

# %% mystnb={"figure": {"caption": "Self-attention of the trained encoder's first layer, mean over its heads, on the shortest validation caption. A row is the word that looks.", "name": "fig-transformer-reading"}, "image": {"alt": "A heat map of the words of a short caption against themselves."}} tags=["hide-input"]
words, _ = min(val, key=lambda pair: len(pair[0]))
with torch.no_grad():
    model, tokens = pointers["sinusoidal"], tensors([(words, 0)])[0]
    x = model.embedding(tokens) + model.positions
    mask = (tokens != 0)[:, None, None]
    weights = model.encoder(x, mask, return_weights=True)[1]  # (1, layers, H, T, T)
T = len(words)
attention_map(weights[0, 0].mean(0)[:T, :T], words, words);

# %% [markdown]
# ## Use it: tell it from the other side
#
# Now encoder and decoder together. The task is translation in small: a caption tells a scene from one thing, and the model tells it from
# the other. "A big cat to the left of a dog" becomes "a dog to the right of a big cat". The nouns change places, each takes its colour and
# size along, and the relation turns round. We use animals only, so that seconds of training are enough.

# %%
from operator import itemgetter

from mmcourse.data.drawings import nouns

animals = {noun.name for noun in nouns() if noun.category == "animal"}


# %%
def two_ways(split, count, new=None):
    """Pairs of sentences that tell one scene from either of its things."""
    scenes, found, number = EmojiScenes(split), [], -1
    scenes.names = [name for name in scenes.names if name in animals]
    while len(found) < count:
        number += 1
        rng = Random(f"{split}/{number}")
        description = scenes.describe(rng)
        groups = description.groups
        if novelty(description) != new or not description.relation:
            continue
        if all(group.count == 1 and group.noun in animals for group in groups):
            source = language.clause(description, rng.choice)
            target = language.clause(description, itemgetter(0), swap=True)
            found.append((source, target))
    return found


told = {"train": two_ways("train", 4000), "val": two_ways("val", 200),
        "composition": two_ways("composition", 200, "pair")}
for source, target in told["train"][:3]:
    print(f"{source}   ->   {target}")

# %%
PAD, START, END = range(3)
said = {word for pairs in told.values() for pair in pairs
        for text in pair for word in text.split()}
book = ["<pad>", "<start>", "<end>", *sorted(said)]
number_of = {word: number for number, word in enumerate(book)}


def pad(sentences):
    """Ids with START and END, (B, T), padded with PAD."""
    rows = [[START, *map(number_of.get, sentence.split()), END] for sentence in sentences]
    longest = max(map(len, rows))
    return torch.tensor([row + [PAD] * (longest - len(row)) for row in rows])


# %%
class Rewriter(nn.Module):
    """Source ids (B, S) and target ids (B, T) to logits (B, T, V)."""

    def __init__(self, width=64, heads=4, layers=1):
        super().__init__()
        self.width = width
        self.table = nn.Parameter(torch.randn(len(book), width) * width**-0.5)
        self.encoder = Encoder(layers, width, heads)
        self.decoder = Decoder(layers, width, heads)

    def place(self, tokens, past=0):
        positions = sinusoidal_positions(past + tokens.shape[1], self.width)[past:]
        return self.table[tokens] * self.width**0.5 + positions

    def encode(self, source):
        mask = (source != PAD)[:, None, None]  # (B, 1, 1, S)
        return self.encoder(self.place(source), mask), mask

    def decode(self, tokens, memory, mask, past=0, **options):
        return self.decoder(self.place(tokens, past), memory, memory_mask=mask, **options)

    def forward(self, source, target):
        return self.decode(target, *self.encode(source)) @ self.table.T  # (B, T, V)


# %% [markdown]
# In training the decoder gets the target without its last word and must give the target without its first: the labels are shifted by one. All places
# are predicted in one pass (**teacher forcing**). The table of words embeds the source, embeds the target, and scores
# the next word {cite}`press2017`.

# %%
from mmcourse.decoding import greedy

sources, targets = (pad(side) for side in zip(*told["train"], strict=True))


def rewriting_loss(generator):
    rows = torch.randint(len(sources), (64,), generator=generator)
    logits = rewriter(sources[rows], targets[rows, :-1])
    logits, labels = logits.flatten(0, 1), targets[rows, 1:].flatten()
    return nn.functional.cross_entropy(logits, labels, ignore_index=PAD)


torch.manual_seed(0)
rewriter = Rewriter()
losses = fit(rewriter, rewriting_loss, steps=240)
print(f"first loss {losses[0]:.2f}, mean of the last twenty {sum(losses[-20:]) / 20:.3f}")


# %% [markdown]
# Then it writes with `greedy` of `mmcourse.decoding`, which takes the most probable word again and again. The function `step` gives it the scores of the
# next word and keeps the cache.

# %%
def rewrite(sentences):
    """Write the other side of each sentence, word by word, with the cache."""
    memory, mask = rewriter.encode(pad(sentences))

    def step(tokens, cache):
        past = cache.get("past", 0)
        cache["past"] = past + tokens.shape[1]
        own = cache.setdefault("decoder", {})
        seen = cache.setdefault("cross", {"mask": mask})["mask"]  # rows that end are dropped
        x = rewriter.decode(tokens, memory, seen, past, cache=own)
        return x[:, -1] @ rewriter.table.T

    written = greedy(step, torch.full((len(sentences),), START), end=END, max_length=20)
    return [" ".join(book[token] for token in tokens) for tokens in written.tokens]


# %%
exact, repeated = {}, {}
for split in ("val", "composition"):
    given, wanted = zip(*told[split], strict=True)
    written = rewrite(given)
    exact[split] = sum(map(str.__eq__, written, wanted)) / len(wanted)
    repeated[split] = sum(map(str.__eq__, given, wanted)) / len(wanted)
    print(f"{split}: {exact[split]:.1%} right; repeating the source: {repeated[split]:.1%}")
for source, text, target in list(zip(given, written, wanted, strict=True))[:3]:
    print(f"{source}\n   -> {text}   {'right' if text == target else 'wrong: ' + target}")

# %% tags=["remove-cell"]
for split, value in exact.items():
    glue(f"transformer_exact_{split}", value, display=False)
    glue(f"transformer_repeated_{split}", repeated[split], display=False)
glue("transformer_sentences", len(told["val"]), display=False)
glue("transformer_sentence_error", (0.25 / len(told["val"])) ** 0.5, display=False)

# %% [markdown]
# | model | new scenes (`val`) | pairs never seen in training (`composition`) | seed |
# |---|---|---|---|
# | baseline: repeat the source | {glue:text}`transformer_repeated_val:.1%` | {glue:text}`transformer_repeated_composition:.1%` | |
# | encoder and decoder, one layer each | {glue:text}`transformer_exact_val:.1%` | {glue:text}`transformer_exact_composition:.1%` | 0 |
#
# A sentence counts only when every word is right. Of {glue:text}`transformer_sentences:d` sentences a share is uncertain by up to {glue:text}`transformer_sentence_error:.1%`. {numref}`fig-transformer-cross` shows where the decoder looked while it wrote: the order of the
# things is turned round, and so the attention crosses.

# %% mystnb={"figure": {"caption": "Cross-attention, mean over the heads, of a validation sentence that came out right. A row is the word that is being written, a column a word of the source.", "name": "fig-transformer-cross"}, "image": {"alt": "A heat map with a written sentence as rows and its source as columns. The first written words look at the last words of the source, and the last ones at the first."}} tags=["hide-input"]
given, wanted = zip(*told["val"], strict=True)
right = [text == target for text, target in zip(rewrite(given), wanted, strict=True)]
source, target = given[right.index(True)], wanted[right.index(True)]
with torch.no_grad():
    memory, mask = rewriter.encode(pad([source]))
    tokens = pad([target])[:, :-1]
    weights = rewriter.decode(tokens, memory, mask, return_weights=True)[1]
columns = ["<start>", *source.split(), "<end>"]
attention_map(weights[0, 0].mean(0), [*target.split(), "<end>"], columns);

# %% [markdown]
# ## What came after
#
# A layer of a language model of 2026 is still {eq}`eq-transformer-pre`, often with other parts. [Chapter 4](04_gpt.py) builds all four:
#
# - **Positions by rotation.** Queries and keys are turned by angles that grow with their place, as an exercise below turns the waves, so that a score knows how far apart, and in which order, two words stand {cite}`su2024`. Nothing is added to the words.
# - **A simpler norm.** RMSNorm {cite}`zhang2019rms` divides by the root of the mean square and subtracts no mean.
# - **A gate.** The feed-forward network multiplies two linear layers of which one is bent {cite}`shazeer2020`.
# - **A smaller cache.** Several heads share keys and values {cite}`ainslie2023`, so that fewer than $2D$ numbers a word and layer are kept.
#
# With these layers we go on in three directions: an encoder that reads texts ([chapter 3](03_text.py)), a model that writes them ([chapter 4](04_gpt.py)), and
# encoders of pictures ([chapter 5](05_vision.py)).
#
# ## What goes wrong
#
# Each of these fails without an error message.
#
# ### No causal mask: a wonderful loss
#
# We train a language model on the captions, twice, from the same seed. It is a GPT in small: our encoder with a causal mask. The second one
# forgets the mask, so each word may look at the next one, which is the answer.

# %%
GO, STOP = len(vocabulary), len(vocabulary) + 1


def with_ends(sentences):
    """Ids (B, LENGTH + 2): GO, the words, STOP, padding."""
    tokens = nn.functional.pad(tensors(sentences)[0], (1, 1))
    tokens[:, 0] = GO
    for row, (words, _) in enumerate(sentences):
        tokens[row, len(words) + 1] = STOP
    return tokens


# %%
class Writer(nn.Module):
    """Ids (B, T) to logits (B, T, V) of the word after each."""

    def __init__(self, causal, width=64):
        super().__init__()
        self.causal, self.width = causal, width
        self.table = nn.Parameter(torch.randn(len(vocabulary) + 2, width) * width**-0.5)
        self.encoder = Encoder(layers=2, width=width, heads=4)

    def forward(self, tokens):
        T = tokens.shape[1]
        past = torch.ones(T, T, dtype=torch.bool).tril()  # True = may look
        x = self.table[tokens] * self.width**0.5 + sinusoidal_positions(T, self.width)
        return self.encoder(x, past if self.causal else None) @ self.table.T


# %%
captions, new = with_ends(train), with_ends(val[:100])


def word_loss(logits, words):
    """Mean surprise, in nats a word, without the padding."""
    logits, words = logits.flatten(0, -2), words.flatten()
    return nn.functional.cross_entropy(logits, words, ignore_index=PAD)


def writing_loss(model):
    """The next-word loss on random captions: a loss for fit."""

    def loss(generator):
        batch = captions[torch.randint(len(captions), (64,), generator=generator)]
        return word_loss(model(batch[:, :-1]), batch[:, 1:])

    return loss


# %%
writers, reported, honest = {}, {}, {}
for name in ("causal", "no mask"):
    torch.manual_seed(0)
    model = writers[name] = Writer(name == "causal")
    fit(model, writing_loss(model), steps=120)
    with torch.no_grad():
        reported[name] = word_loss(model(new[:, :-1]), new[:, 1:]).item()
        # Now one place at a time, with only the words before it in the input.
        alone = [model(new[:, :t])[:, -1:] for t in range(1, new.shape[1])]
        honest[name] = word_loss(torch.cat(alone, 1), new[:, 1:]).item()
    print(f"{name:8} validation loss {reported[name]:.3f}, "
          f"with the future hidden {honest[name]:.3f}")

# %% tags=["remove-cell"]
for name in writers:
    glue(f"transformer_reported_{name.replace(' ', '_')}", reported[name], display=False)
    glue(f"transformer_honest_{name.replace(' ', '_')}", honest[name], display=False)

# %% [markdown]
# | model | validation loss as logged | loss when the future is hidden | seed |
# |---|---|---|---|
# | causal mask | {glue:text}`transformer_reported_causal:.2f` | {glue:text}`transformer_honest_causal:.2f` | 0 |
# | no mask | {glue:text}`transformer_reported_no_mask:.2f` | {glue:text}`transformer_honest_no_mask:.2f` | 0 |
#
# The log says that the model without a mask is far better. It is learning to copy the next word from its input. When it writes, the next word is not there, and its loss is {glue:text}`transformer_honest_no_mask:.2f`, far above the
# {glue:text}`transformer_honest_causal:.2f` of the causal model, whose two numbers agree, as they must. The loss on held-out captions does not warn us: they leak too. What each of them writes:

# %%
@torch.no_grad()
def write(model, count=3, length=16):
    """Draw captions word by word."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.full((count, 1), GO)
    for _ in range(length):
        drawn = torch.multinomial(model(tokens)[:, -1].softmax(-1), 1, generator=generator)
        tokens = torch.cat([tokens, drawn], 1)
    names = [*vocabulary, "", "."]
    texts = [" ".join(names[token] for token in row[1:]) for row in tokens.tolist()]
    return [text.split(" .")[0] for text in texts]


for name, model in writers.items():
    print(f"{name}:", *write(model), sep="\n   ")

# %% [markdown]
# The causal model writes sentences that are built like captions, if not always true to life. The other one strings words together: it never had to predict one.
#
# The test that catches it needs no training: change the last word, and look whether an earlier output moves, as we did in
# "Who sees whom". Put it into the tests of every decoder that you write.

# %% [markdown]
# ### Deep stacks: no residual, and the norm in the wrong place
#
# Now depth. We take {eq}`eq-transformer-pre`, {eq}`eq-transformer-post`, and a pre-norm layer without its residuals, stack each many times, and look at
# the untrained stacks first: how large is the stream after each layer, and how much of it still tells one position from another?

# %%
class WithoutResidual(EncoderLayer):
    """A pre-norm layer that replaces instead of adding."""

    def forward(self, x, mask=None, return_weights=False):
        update, weights = self.attention(self.norm1(x), mask=mask, return_weights=True)
        x = self.feed_forward(self.norm2(update))
        return (x, weights) if return_weights else x


def stack(kind, layers, width=32, heads=4, seed=0):
    """An encoder whose layers are of the given kind."""
    torch.manual_seed(seed)
    encoder = Encoder(0, width, heads)
    make = WithoutResidual if kind == "no residual" else EncoderLayer
    for _ in range(layers):
        encoder.layers.append(make(width, heads, norm_first=kind != "post-norm"))
    return encoder


# %% mystnb={"figure": {"caption": "Untrained stacks of 24 layers. Left: size of the residual stream after each layer (root mean square). Right: the part of it in which the positions of a sentence differ, in numbers of 64 bits and on a logarithmic scale. The curve without residual ends where it meets rounding.", "name": "fig-transformer-depth"}, "image": {"alt": "Left: the pre-norm stream grows slowly with depth, the post-norm stream keeps its size, and without residual the stream is small. Right: without residual the differences between positions fall faster and faster and reach rounding after three layers; with residual they stay."}} tags=["hide-input"]
figure, (left, right) = plt.subplots(1, 2, figsize=(7, 2.9), layout="constrained")
looks = {"pre-norm": (BLUE, "-"), "post-norm": (ORANGE, "--"), "no residual": (PINK, ":")}
stream_size, difference = {}, {}
for kind, (colour, style) in looks.items():
    encoder = stack(kind, 24).double()
    x = torch.randn(8, 16, 32, generator=torch.Generator().manual_seed(1)).double()
    stream_size[kind], difference[kind] = [], []
    with torch.no_grad():
        for layer in encoder.layers:
            x = layer(x)  # (B, T, D)
            own = x - x.mean(1, keepdim=True)  # what is not common to all positions
            stream_size[kind].append(x.square().mean().sqrt().item())
            difference[kind].append((own.norm() / x.norm()).item())
    left.plot(range(1, 25), stream_size[kind], style, color=colour, label=kind)
    above = [share if share > 1e-14 else math.nan for share in difference[kind]]
    right.semilogy(range(1, 25), above, style, color=colour, marker=".")
left.set(xlabel="layer", ylabel="size of the stream", ylim=(0, None))
right.set(xlabel="layer", ylabel="share that differs")
left.legend(loc="upper left", bbox_to_anchor=(0.2, 0.5));

# %% tags=["remove-cell"]
for kind in stream_size:
    name = kind.replace(" ", "_").replace("-", "_")
    glue(f"transformer_stream_{name}", stream_size[kind][-1], display=False)
    glue(f"transformer_difference_{name}", difference[kind][-1], display=False)
for layer in range(3):
    glue(f"transformer_share_{layer + 1}", difference["no residual"][layer], display=False)
assert difference["no residual"][2] > 1e-14 > difference["no residual"][3]

# %% [markdown]
# After 24 layers the pre-norm stream has size {glue:text}`transformer_stream_pre_norm:.1f`, since each layer adds its part, and the post-norm stream
# {glue:text}`transformer_stream_post_norm:.1f`, since each norm resets it. Without residuals the share of the stream in which positions differ is
# {glue:text}`transformer_share_1:.0e` after one layer, {glue:text}`transformer_share_2:.0e` after two, {glue:text}`transformer_share_3:.0e` after three, and below rounding
# from the fourth on, even with 64 bits (pre-norm after 24: {glue:text}`transformer_difference_pre_norm:.2f`). Each attention is a mean, and a mean of means of means comes
# out the same everywhere. {cite:t}`dong2021` prove it for attention without skip connections or feed-forward networks: the differences vanish doubly exponentially with
# depth. They also show that skip connections and feed-forward networks can stop it. Our stack has kept its feed-forward networks, and with these random weights they do not. A stack that has
# mixed all words into one cannot point at any.
#
# Then we train each on "who is on the left", on the same data with three seeds and a large rate. The post-norm stack runs once more with a **warm-up**: the
# rate grows from zero over the first steps. Those that fail run again with a tenth of the rate, so that we see whether the rate is to blame.

# %%
DEPTH, STEPS, SEEDS = 12, 80, range(3)
runs = {"pre-norm": ("pre-norm", 1e-2, 0), "post-norm": ("post-norm", 1e-2, 0),
        "post-norm, warm-up": ("post-norm", 1e-2, 40), "post-norm, slow": ("post-norm", 1e-3, 0),
        "no residual": ("no residual", 1e-2, 0), "no residual, slow": ("no residual", 1e-3, 0)}
same = sum(math.log(len(words)) for words, _ in train) / len(train)
print(f"loss of the same score for every word: {same:.2f}")
curves, depth_scores = {}, {}
for name, (kind, rate, warmup) in runs.items():
    curves[name], depth_scores[name] = [], []
    for seed in SEEDS:
        encoder = stack(kind, DEPTH, seed=seed)
        model = Pointer(sinusoidal_positions(LENGTH, 32), encoder)
        loss = pointing_loss(model, batch=32)
        curves[name].append(fit(model, loss, STEPS, rate, warmup, seed))
        depth_scores[name].append(accuracy(model, val))
    last = ", ".join(f"{sum(curve[-20:]) / 20:.2f}" for curve in curves[name])
    right = ", ".join(f"{score:.1%}" for score in depth_scores[name])
    print(f"{name:18} loss {last}   accuracy on val {right}")

# %% mystnb={"figure": {"caption": "Training loss of stacks of twelve layers, mean of ten steps, a curve for each of three seeds. Grey, dashed: the loss of a coin that chooses between the two nouns; dotted: the loss of the same score for every word. Post-norm and no residual lie on the dotted line.", "name": "fig-transformer-curves"}, "image": {"alt": "Curves of the loss over the steps, three for each kind of stack, with a dashed line for the loss of a coin and a dotted line far above it. Pre-norm comes near the dashed line or falls below it. Post-norm with warm-up falls at first and then climbs back, to different heights. Slow post-norm comes near the dashed line. Post-norm and no residual are flat, at the dotted line."}} tags=["hide-input"]
figure, axes = plt.subplots(figsize=(6.4, 2.9))
looks = {"pre-norm": (BLUE, "-"), "post-norm": (ORANGE, "-"), "post-norm, warm-up": (GOLD, "-."),
         "post-norm, slow": (TEAL, "--"), "no residual": (PINK, ":")}
for name, (colour, style) in looks.items():
    means = torch.tensor(curves[name]).unfold(1, 10, 1).mean(-1)  # (seeds, STEPS - 9)
    lines = axes.plot(range(10, STEPS + 1), means.T, style, color=colour, linewidth=1.2)
    lines[0].set_label(name)
for level, style in ((math.log(2), "--"), (same, ":")):
    axes.axhline(level, color=GREY, linewidth=1, linestyle=style)
axes.set(xlabel="step", ylabel="loss", ylim=(0, None), xlim=(None, 115),
         xticks=range(0, STEPS + 1, 20))
axes.legend(fontsize=8, loc="center right");

# %% tags=["remove-cell"]
for name, values in depth_scores.items():
    name = name.replace(", ", "_").replace("-", "_").replace(" ", "_")
    for seed, value in zip(SEEDS, values, strict=True):
        glue(f"transformer_depth_{name}_{seed}", value, display=False)
warm, late = curves["post-norm, warm-up"], slice(-20, None)
lowest = [min(sum(curve[step:step + 10]) / 10 for step in range(STEPS - 9)) for curve in warm]
glue("transformer_lowest", ", ".join(f"{loss:.2f}" for loss in lowest), display=False)
glue("transformer_end", ", ".join(f"{sum(c[late]) / 20:.2f}" for c in warm), display=False)
glue("transformer_same", same, display=False)
glue("transformer_steps", STEPS, display=False)

# %% [markdown]
# | twelve layers | rate | seed 0 | seed 1 | seed 2 |
# |---|---|---|---|---|
# | baseline: point at the first noun | | {glue:text}`transformer_first_noun_val:.1%` | | |
# | pre-norm | 1/100 | {glue:text}`transformer_depth_pre_norm_0:.1%` | {glue:text}`transformer_depth_pre_norm_1:.1%` | {glue:text}`transformer_depth_pre_norm_2:.1%` |
# | post-norm | 1/100 | {glue:text}`transformer_depth_post_norm_0:.1%` | {glue:text}`transformer_depth_post_norm_1:.1%` | {glue:text}`transformer_depth_post_norm_2:.1%` |
# | post-norm with warm-up | 1/100 | {glue:text}`transformer_depth_post_norm_warm_up_0:.1%` | {glue:text}`transformer_depth_post_norm_warm_up_1:.1%` | {glue:text}`transformer_depth_post_norm_warm_up_2:.1%` |
# | post-norm | 1/1000 | {glue:text}`transformer_depth_post_norm_slow_0:.1%` | {glue:text}`transformer_depth_post_norm_slow_1:.1%` | {glue:text}`transformer_depth_post_norm_slow_2:.1%` |
# | pre-norm without residuals | 1/100 | {glue:text}`transformer_depth_no_residual_0:.1%` | {glue:text}`transformer_depth_no_residual_1:.1%` | {glue:text}`transformer_depth_no_residual_2:.1%` |
# | pre-norm without residuals | 1/1000 | {glue:text}`transformer_depth_no_residual_slow_0:.1%` | {glue:text}`transformer_depth_no_residual_slow_1:.1%` | {glue:text}`transformer_depth_no_residual_slow_2:.1%` |
#
# These are the right answers on `val`. At the large rate the pre-norm stack finds the two nouns with each seed; how far it gets beyond the coin differs. Post-norm without warm-up and the stack without residuals stay at
# the loss of giving every word of a caption the same score, {glue:text}`transformer_same:.2f`, far above that of the coin ({numref}`fig-transformer-curves`): they do not even find the
# two nouns.
#
# Without residuals a tenth of the rate does not help. That fits what we saw before training: what tells the words apart is averaged away long before it reaches the last layer.
#
# The post-norm stack fails for another reason: untrained, it still tells the positions apart (a share of {glue:text}`transformer_difference_post_norm:.2f` differs after 24 layers), and at a
# tenth of the rate it finds the nouns, with each seed. So the large rate is what it cannot bear, and pre-norm can. {cite:t}`xiong2020` show that near the output of a post-norm stack the gradients are large at the start, so that
# a large rate makes training unstable, and that a warm-up helps. Ours helps for a while: the loss falls to {glue:text}`transformer_lowest` (the lowest mean of ten steps, by seed) and then climbs back to
# {glue:text}`transformer_end` (the last twenty). How much is left depends on the seed: here the warm-up puts the damage off and does not reliably prevent it. That pre-norm bears a larger rate speaks for it. This is one depth, one task and {glue:text}`transformer_steps:d` steps: it shows that the place of the norm can decide, not that it always does.

# %% [markdown]
# ## Exercises
#
# ```{exercise-start} The parameters of a decoder layer
# :label: ex-transformer-parameters
# ```
# *Easy, 10 minutes.* {eq}`eq-transformer-parameters` counts an encoder layer. Write the formula for a decoder layer with $4D$ hidden numbers,
# and check it for two widths.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-transformer-parameters
# :label: so-transformer-parameters
# :class: dropdown
# ````
# One more attention, $4D^2 + 4D$, and one more norm, $2D$: together $16D^2 + 19D$.

# %% tags=["nbval-check-output"]
for D, H in ((8, 2), (30, 3)):
    counted = sum(parameter.numel() for parameter in DecoderLayer(D, H).parameters())
    assert counted == 16 * D**2 + 19 * D
    print(f"D {D:2}: {counted:,}")

# %% [markdown]
# ````{solution-end}
# ````

# %% [markdown]
# ```{exercise-start} A layer norm that meets a constant
# :label: ex-transformer-constant
# ```
# *Easy, 5 minutes.* What is the layer norm of $(4, 4, 4, 4)$ by {eq}`eq-transformer-norm`, for any $\gamma$ and $\beta$? What would it be with $\varepsilon = 0$? Check both with
# `plain_norm`, where $\gamma = 1$ and $\beta = 0$.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-transformer-constant
# :label: so-transformer-constant
# :class: dropdown
# ````
# The mean is 4 and the variance 0. The numerator is 0, so with $\varepsilon > 0$ the fraction is 0 and the result is $\beta$, whatever $\gamma$ is. With $\varepsilon = 0$ it is
# $0/0$, NaN ("not a number"). In the next attention the NaN reaches all positions of its own sentence that may look at it, and no other sentence of the batch. It gets into the whole batch
# only through a mean over the batch, such as the loss, and from there through the gradient into all weights.

# %% tags=["nbval-check-output"]
constant = torch.full((4,), 4.0)
print(plain_norm(constant).tolist(), plain_norm(constant, eps=0).tolist())

# %% [markdown]
# ````{solution-end}
# ````

# %% [markdown]
# ```{exercise-start} Where length takes over
# :label: ex-transformer-length
# ```
# *Easy, 10 minutes.* In {eq}`eq-transformer-operations`, at which length do both terms cost the same? Check it with `operations` for $D = 16$.
# What does that length say for GPT-2 with $D = 768$ and at most 1,024 words?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-transformer-length
# :label: so-transformer-length
# :class: dropdown
# ````
# $4T^2D = 24TD^2$ when $T = 6D$. GPT-2 never gets there: $6 \cdot 768 = 4{,}608$. Most of its work is in the weights, even at full length.

# %% tags=["nbval-check-output"]
D = 16
T = 6 * D
assert operations(EncoderLayer(D, 2), torch.randn(1, T, D)) == 2 * 24 * T * D**2
share = 4 * 1024**2 * 768 / (24 * 1024 * 768**2 + 4 * 1024**2 * 768)
print(f"D {D}: equal at T = {T}; GPT-2 at full length: {share:.0%} between positions")

# %% [markdown]
# ````{solution-end}
# ````

# %% [markdown]
# ```{exercise-start} A step is a rotation
# :label: ex-transformer-rotation
# ```
# *Medium, 15 minutes.* Show that for each $k$ there is **one** matrix $R_k$, $(D, D)$, with $\mathrm{PE}_{p+k} = \mathrm{PE}_p R_k$ for all $p$. You need the addition theorems,
# $\sin(a + b) = \sin a \cos b + \cos a \sin b$ and $\cos(a + b) = \cos a \cos b - \sin a \sin b$. Build the matrix with `torch.block_diag`, which puts small matrices along a diagonal,
# and check it on `sinusoidal_positions(40, 12)` for $k = 5$. Then use it for $k = -1$: for each position, which one has the largest dot product with $\mathrm{PE}_p R_{-1}$?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-transformer-rotation
# :label: so-transformer-rotation
# :class: dropdown
# ````
# Take $a = p\,\omega_i$ and $b = k\,\omega_i$ in the addition theorems. Each pair $(\sin a, \cos a)$ is turned by the angle $k\,\omega_i$, and $R_k$ has these two-by-two rotations on its
# diagonal. It does not depend on $p$: a linear layer can learn "k words further". The product $\mathrm{PE}_p R_{-1} \cdot \mathrm{PE}_q$ is $\mathrm{PE}_{p-1} \cdot \mathrm{PE}_q$, which is largest at
# $q = p - 1$: with $R_{-1}$ in the projection of the queries, attention tells the word before from the word after, which the bare product of two positions cannot.

# %% tags=["nbval-check-output"]
def rotation(k, width):
    """The matrix that moves every position by k places, (D, D)."""
    angles = [k / 10000 ** (2 * i / width) for i in range(width // 2)]
    turns = [[[math.cos(b), -math.sin(b)], [math.sin(b), math.cos(b)]] for b in angles]
    return torch.block_diag(*map(torch.tensor, turns))


table = sinusoidal_positions(40, 12)
assert torch.allclose(table[5:], table[:-5] @ rotation(5, 12), atol=1e-5)
print(f"one matrix {tuple(rotation(5, 12).shape)} moves all {len(table) - 5} positions")
products = table @ rotation(-1, 12) @ table.T  # (40, 40)
print("largest at the word before:", products[1:].argmax(-1).tolist() == list(range(39)))

# %% [markdown]
# ````{solution-end}
# ````

# %% [markdown]
# ```{exercise-start} Padding must change nothing
# :label: ex-transformer-padding
# ```
# *Medium, 15 minutes.* A sentence of 5 words stands in a batch padded to length 8. Show that with the right mask an encoder's first 5 outputs
# are what they are without padding, whatever finite numbers the padding holds. Then pass the mask with PyTorch's meaning (`True` = padding) by mistake: by how much does an
# output move at most? Does anything raise? And what if the padding holds a NaN?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-transformer-padding
# :label: so-transformer-padding
# :class: dropdown
# ````
# With the right mask nothing changes. With the inverted one every word looks only at padding, and outputs move by an amount that can be compared with their size, which the last norm has set to 1. Nothing raises: shapes and types are
# right. A test like this one finds it. A NaN leaks through the right mask too: its weight is 0, but $0 \cdot \text{NaN}$ is NaN. So fill padding with numbers.

# %% tags=["nbval-check-output"]
torch.manual_seed(0)
encoder, sentence = Encoder(2, 16, 4), torch.randn(1, 5, 16)
padded = torch.cat([sentence, 100 * torch.randn(1, 3, 16)], 1)
mask = (torch.arange(8) < 5)[None, None, None]  # (1, 1, 1, S), True = may look
right, wrong = (encoder(padded, choice)[:, :5] for choice in (mask, ~mask))
print(f"right mask: equal to 1e-5: {torch.allclose(right, encoder(sentence), atol=1e-5)}")
damage = (wrong - encoder(sentence)).abs().max().item()
print(f"inverted:   an output moves by up to {damage:.1f}")
padded[:, 5:] = torch.nan
print(f"NaN in the padding, right mask: {encoder(padded, mask)[:, :5].isnan().sum()} of 80 are NaN")

# %% [markdown]
# ````{solution-end}
# ````

# %% [markdown]
# ```{exercise-start} A cache that starts again at zero
# :label: ex-transformer-cache
# ```
# *Medium, 20 minutes.* In `rewrite`, the step tells `place` how many words are `past`. Drop that, so that each new word gets position 0, and
# measure how many sentences of `told["val"]` still come out right. Why is nothing raised?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-transformer-cache
# :label: so-transformer-cache
# :class: dropdown
# ````
# The decoder adds no positions itself, so it cannot know that they are wrong: each vector is a valid input. The model, however, has never seen a
# sentence in which all words stand at the start, and its sentences fall apart. "Cache on equals cache off" is the test for this; the package has it for the decoder and for
# the captioner.

# %%
def rewrite_forgetting(sentences):
    """As rewrite, but every word that is written stands at position 0."""
    memory, mask = rewriter.encode(pad(sentences))

    def step(tokens, cache):
        seen = cache.setdefault("cross", {"mask": mask})["mask"]
        x = rewriter.decode(tokens, memory, seen, past=0, cache=cache)
        return x[:, -1] @ rewriter.table.T

    written = greedy(step, torch.full((len(sentences),), START), end=END, max_length=20)
    return [" ".join(book[token] for token in tokens) for tokens in written.tokens]


given, wanted = zip(*told["val"], strict=True)
forgotten = sum(map(str.__eq__, rewrite_forgetting(given), wanted)) / len(wanted)
print(f"right positions {exact['val']:.1%}, position 0 for all {forgotten:.1%}")
assert forgotten < exact["val"]

# %% [markdown]
# ````{solution-end}
# ````

# %% [markdown]
# ```{exercise-start} A mask for a prefix
# :label: ex-transformer-prefix
# ```
# *Hard, 25 minutes.* A **prefix language model** reads its first $n$ words both ways and writes the others one by one. Write the mask
# $(T, T)$ for it, and check it with `influence` on an untrained `Encoder`. A relation is transitive when "$t$ sees $u$" and "$u$ sees $s$" give "$t$ sees $s$". Is your mask transitive, and
# what would two layers show if it were not? Try a mask in which each position sees itself and the one before.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-transformer-prefix
# :label: so-transformer-prefix
# :class: dropdown
# ````
# A target may look at what is before it, at itself, and at the whole prefix. One layer shows that the layer keeps to the mask. The zeros stay zeros through any number of layers, because what may be
# seen is transitive: if $t$ sees $u$ and $u$ sees $s$, then $t$ sees $s$ anyway. In the mask "itself and the one before", position 2 sees 1 and 1 sees 0, but 2 does not see 0: after two
# layers 2 depends on 0 all the same. With such a mask the test of one layer says nothing about two; with a transitive one, one layer is enough.

# %% tags=["nbval-check-output"]
def prefix_mask(length, prefix):
    """Every target sees the prefix, and what comes before it, and itself."""
    past = torch.ones(length, length, dtype=torch.bool).tril()
    return past | (torch.arange(length) < prefix)


def depends(layers, mask):
    """Which outputs (rows) depend on which inputs after so many layers, (T, T)."""
    torch.manual_seed(0)
    encoder, x = Encoder(layers, 16, 4), torch.randn(6, 16)
    return influence(lambda x: encoder(x, mask), x) > 0


prefix = prefix_mask(6, prefix=3)
band = torch.ones(6, 6, dtype=torch.bool).tril().triu(-1)  # itself and the one before
for layers in (1, 2):
    print(f"layers: {layers}, as the prefix mask says: {torch.equal(depends(layers, prefix), prefix)}, "
          f"as the band says: {torch.equal(depends(layers, band), band)}")
print(depends(2, prefix).int().numpy())
assert torch.equal(depends(2, prefix), prefix)

# %% [markdown]
# ````{solution-end}
# ````

# %% [markdown]
# ## Quiz
#
# ::::::{card}
# :class-card: quiz
# **1.** An encoder without positions and without a causal mask reads "a cat above a dog" and "a dog above a cat". What can a classifier on top of it do?
#
# :::{dropdown} Tell them apart if it has enough layers
# **No.** Each word gets the same vector in both sentences, after any number of layers. There is nothing left to tell apart.
# :::
# :::{dropdown} Tell them apart if it has more than one head
# **No.** Each head takes weighted means, and a mean has no order. Many heads take many means.
# :::
# :::{dropdown} Nothing but guess which of the two it was
# **Yes.** The two inputs are the same set of vectors, so all outputs are the same set. The table above shows the coin.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **2.** Which model is autoregressive?
#
# :::{dropdown} Any stack of layers with a causal mask
# **Yes.** Output $t$ then depends on nothing after $t$, so it may predict word $t + 1$ from the words up to $t$.
# :::
# :::{dropdown} Any Transformer
# **No.** In an encoder the first output depends on the last input. We saw it in the derivative.
# :::
# :::{dropdown} Only a model with an encoder and a decoder
# **No.** GPT has no encoder and is autoregressive. It needs the mask, not the memory.
# :::
# :::{dropdown} Any model that was trained to predict the next word
# **No.** Our model without a mask was trained for just that, and cheated.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **3.** The validation loss of your language model falls to almost zero, and what it writes makes no sense. What do you look at first?
#
# :::{dropdown} The learning rate, which may have been too large for the last steps
# **No.** Such a rate makes the loss high. This one is too good.
# :::
# :::{dropdown} Whether an output changes when a later word changes
# **Yes.** A loss that good on held-out text says that the answer is in the input. One changed word proves it.
# :::
# :::{dropdown} Overfitting
# **No.** An overfitted model has a low training loss and a high validation loss. Here both are low.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **4.** Where does the number 12 in $12D^2$ come from?
#
# :::{dropdown} From twelve heads
# **No.** The number of heads does not change the number of parameters: the heads share the width.
# :::
# :::{dropdown} From twelve layers
# **No.** It is the count of one layer.
# :::
# :::{dropdown} From three matrices for attention and nine for the rest
# **No.** Attention has four: query, key, value and output.
# :::
# :::{dropdown} From four matrices, and two of four times the size
# **Yes.** $4D^2$ for query, key, value and output, and $2 \cdot 4D^2$ for the feed-forward network.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **5.** What does a key-value cache change?
#
# :::{dropdown} The time and the memory, but no output
# **Yes.** The words before have not changed, and causality keeps what was computed for them valid. We pay $2D$ numbers a word and layer.
# :::
# :::{dropdown} The output, a little: old keys are out of date
# **No.** Keys of earlier words depend on earlier words only, so they are never out of date in a causal model.
# :::
# :::{dropdown} Training time as well
# **No.** Training computes all positions in one pass and has nothing to reuse from a step before.
# :::
# ::::::

# %% [markdown]
# ## Take-aways
#
# - Attention without a causal mask does not know order. Positions bring it in, and without either no depth helps.
# - A layer is attention (positions exchange), a feed-forward network (each position alone), a residual and a norm around each.
# - An encoder sees both ways. A decoder sees the past and the memory. In a Transformer it is the causal mask that makes the model autoregressive (a recurrent network is so without one).
# - The cache changes the cost and no number. A layer has $12D^2 + 13D$ parameters and takes $24TD^2 + 4T^2D$ operations.
# - The worst mistakes raise nothing: test causality, padding and the cache as invariances.
#
# ## Further reading
#
# - {cite:t}`vaswani2017` is the source; its section 3 has the post-norm layers, the positions and the shared table. The pre-norm, the GELU, the cache and the counts came later.
# - {cite:t}`xiong2020` explain by gradients why post-norm needs a warm-up; {cite:t}`dong2021` prove that attention without skip connections or
#   feed-forward networks loses all differences between positions, doubly exponentially with depth.
# - {cite:t}`haviv2022` train causal models without positions, and find that they learn where a word stands.
# - {cite:t}`phuong2022` write all the variants down as exact pseudocode.
# - {cite:t}`elhage2021` take the view of the residual stream and read small models with it.
# - {cite:t}`kaplan2020` count parameters and operations too (without embeddings, and with half of our term for attention), and show what they buy.
