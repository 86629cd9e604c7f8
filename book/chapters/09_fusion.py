# ---
# jupyter:
#   course: {notebook: notebooks/09_fusion.ipynb}
# ---

# %% [markdown]
# # Fusion
#
# At the end of this chapter you can join a text and a picture in seven ways, check them against PyTorch, and
# say from a measured table which kinds of question each of them learnt to answer, and why one of them, but for a norm, cannot.
#
# ```{glue:figure} fusion_promise
# :name: fig-fusion-promise
# :alt: Two small pictures, each with two groups of drawings in two colours. Below each stand two questions, about the colour and about the number of a thing, with their answers.
#
# Two pictures, and two questions about each, with their answers. Who reads only the question, or sees only the picture, has to guess.
# ```
#
# ::::{card}
# :class-card: chapter-card
#
# **Goals**
#
# - compute a gate by hand, and repair a formula whose shapes do not fit
# - join two sequences early, late, by a gate, by cross-attention, through a bottleneck, and by products
# - tell a question that needs both sides from one that needs them to interact
# - combine two opinions into a distribution, by a vote and by Bayes' rule
# - measure what is left of a model when one side is missing or noisy
#
# **Before you start:** [attention](01_attention.py), [the Transformer](02_transformer.py), and
# [how a picture becomes vectors](05_vision.py).
#
# :::{card-footer}
# Reading {measured}`reading` min · runs in {measured}`seconds` s on two CPU cores, {measured}`megabytes` MB ·
# difficulty ●●○
# :::
# ::::

# %% tags=["remove-cell"]
import math
from statistics import NormalDist

import matplotlib.pyplot as plt
import numpy as np
import torch
from myst_nb import glue
from torch import nn

from mmcourse.book.figures.fusion import FusionExplorer
from mmcourse.book.plotting import INK, TEAL, use_style
from mmcourse.book.source import show_source
from mmcourse.evaluation import bootstrap

# %% tags=["remove-cell"]
from mmcourse.fusion import (
    KINDS,
    BilinearFusion,
    BottleneckFusion,
    ConcatFusion,
    GatedFusion,
    LateFusion,
    MultimodalTransformer,
    TwoGroups,
    answers,
    combine,
    predict,
    tokenizer,
    vote,
)
from mmcourse.recipes import fusion_studies as studies
from mmcourse.vision import to_pixels

use_style()
torch.set_printoptions(precision=3, sci_mode=False)

# %% [markdown]
# ## A question that neither side can answer
#
# Here is a scene, and five questions about it. Each scene of this chapter has two groups of things: one thing in one
# colour, and two things in another. There are ten kinds of things: dog, owl, spider, croissant, sailboat, mailbox, backpack, printer,
# envelope and gear.

# %% tags=["nbval-check-output"]
world = TwoGroups("val")
scene, asked = world.ask(3)
for question in asked:
    print(f"{question.kind:9} {question.text:46} {question.answer}")

# %% tags=["hide-input"] mystnb={"image": {"alt": "A small square picture with three drawings: two of one kind in one colour, and one of another kind in another colour."}}
plt.figure(figsize=(2.2, 2.2))
plt.imshow(scene.image)
plt.axis("off");

# %% [markdown]
# A **modality** is a kind of signal, such as text or pictures. A model of several is **multimodal**. Before we build one we ask
# whether this task needs both. Two readers try, each with one eye closed. The first sees the question alone, and
# says the most frequent answer to such a question. The second sees the picture and is told the kind of question, but
# not which thing is meant. It has two answers left, one for each group that it sees (for *presence*: yes and no), and throws a
# coin: one half. About what the first can do we count on 400 scenes.

# %% tags=["nbval-check-output"]
tested = [world.ask(index) for index in range(400)]
for kind in KINDS:
    found = [question.answer for _, questions in tested for question in questions if question.kind == kind]
    most = max(set(found), key=found.count)
    print(f"{kind:9} {len(set(found)):2} answers, most frequent: {most:16} {found.count(most) / 400:4.0%}")

# %% [markdown]
# The last column is about what the question alone can reach. (A little more is possible: an *object* question rules out the thing that it
# names.) A picture alone reaches one half, for every kind: the thing that is named is drawn at random. So **a model that is right in much more than half of the cases uses both sides**. The
# data is made so; in data that people collected, the question alone often goes far, and {cite:t}`goyal2017vqa` balance such data with
# pairs of similar pictures that have different answers to the same question.
#
# [Chapter 3](03_text.py) turned a text into a row of vectors, [chapter 5](05_vision.py) a picture, each alone. **How do we make one vector of a sequence of words
# and a grid of cells**, so that the answer can be read off it? Joining them is called **fusion**. The words are $H_T$, a matrix of $T$ rows, the cells are $H_I$, a matrix of $N$ rows,
# and both have $D$ columns.
#
# ## A formula that is not defined
#
# An article that this course [corrects](articles.py) fuses in layer $l$ by
#
# $$
# h^{(l)} = \operatorname{MHA}(H_T, H_I) + (1 - \alpha_l)\,(H_T + H_I) ,
# $$
#
# where MHA is the multi-head attention of chapter 1 and $\alpha_l$ a number. We try it with six words and sixteen cells.

# %% tags=["raises-exception"]
torch.manual_seed(0)
H_T, H_I = torch.randn(6, 4), torch.randn(16, 4)  # (T, D) and (N, D)
H_T + H_I

# %% [markdown]
# The sum of a $6 \times 4$ and a $16 \times 4$ matrix is not defined. And where $T = N$ by accident, it adds word 1 to
# cell 1, word 2 to cell 2: pairs that mean nothing. Test it: put the cells into another order. The attention does
# not change, since it is a sum over cells. The formula does.

# %% tags=["nbval-check-output"]
H_I = torch.randn(6, 4)
turned = H_I.flip(0)
print("the sum, cells in another order:", torch.allclose(H_T + H_I, H_T + turned))
attention = nn.MultiheadAttention(4, 1, batch_first=True)
same = torch.allclose(attention(H_T, H_I, H_I)[0], attention(H_T, turned, turned)[0], atol=1e-6)
print("the attention, in another order:", same)

# %% [markdown]
# There is a third fault. The weight $1 - \alpha_l$ is on one term only, so nothing is traded: at $\alpha_l = 1$ the text itself
# is gone, and at 0 all three are added. A gate trades one thing for another. Two changes repair the
# formula. First, what the picture adds must have a row for each word: that is what attention gives. Second, both terms
# get a weight, and the weights sum to one.
#
# ## The formula
#
# $$
# C = \operatorname{MHA}(H_T, H_I), \qquad
# \alpha = \sigma\!\left([H_T; C]\, W + b\right), \qquad
# H = \alpha \odot H_T + (1 - \alpha) \odot C
# $$ (eq-fusion-gate)
#
# | symbol | what it is | shape |
# |---|---|---|
# | $H_T$ | vectors of the words | $T \times D$ |
# | $H_I$ | vectors of the cells of the picture | $N \times D$ |
# | $C$ | **context**: what each word found in the picture | $T \times D$ |
# | $[H_T; C]$ | each word's vector and its context, side by side | $T \times 2D$ |
# | $W$, $b$ | weights and bias of the gate, learnt | $2D \times D$, $D$ |
# | $\sigma$ | the sigmoid, $\sigma(z) = 1 / (1 + e^{-z})$ | |
# | $\alpha$ | **gate**: how much of the word is kept, between 0 and 1 | $T \times D$ |
# | $H$ | the words, mixed with what they saw | $T \times D$ |
#
# Each number of each word has a gate of its own. With the gate at 1 the word stays as it is; at 0 the word is replaced by what
# it found. {cite:t}`arevalo2017` gate two transformed vectors in this way, one for each modality. Ours does it word by word, over a
# context from cross-attention, so that the shapes fit for all lengths.
#
# ### On paper
#
# Two words, three cells, $D = 2$, and a picture with a red and a green thing. Let
#
# $$
# H_T = \sqrt 2 \ln 2 \begin{pmatrix} 1 & 0 \\ 0 & 0 \end{pmatrix}, \qquad
# H_I = \begin{pmatrix} 1 & 0 \\ 0 & 0 \\ 0 & 4 \end{pmatrix} ,
# $$
#
# one head, and no projections, so that queries are $H_T$, and keys and values are $H_I$. For the first word the scores
# after the division by $\sqrt{2}$ are $\ln 2, 0, 0$, their exponentials $2, 1, 1$, the weights
# $\frac12, \frac14, \frac14$. Its context is $\frac12 (1, 0) + \frac14 (0, 0) + \frac14 (0, 4) = (\frac12, 1)$. The second
# word asks for nothing, so it gets the mean, $(\frac13, \frac43)$. Let $W = 0$ and $b = \ln 3$ in both columns. Then
# every gate is $\sigma(\ln 3) = 3 / (1 + 3) = \frac34$. The second row of $H$ is
# $\frac34 (0, 0) + \frac14 (\frac13, \frac43) = (\frac1{12}, \frac13)$. Do the first on paper before you go on.
#
# ### By hand, then for real

# %%
def attend(word, cells):
    powers = []
    for cell in cells:
        score = sum(x * y for x, y in zip(word, cell, strict=True)) / math.sqrt(len(word))
        powers.append(math.exp(score))
    context = []
    for column in zip(*cells, strict=True):  # one number of all cells
        context.append(sum(p * x for p, x in zip(powers, column, strict=True)) / sum(powers))
    return context


def gate_by_hand(words, cells, bias):
    """The gate with W = 0: the same for all words."""
    mixed = []
    for word in words:
        context = attend(word, cells)
        alpha = [1 / (1 + math.exp(-b)) for b in bias]
        mixed.append([a * x + (1 - a) * c for a, x, c in zip(alpha, word, context, strict=True)])
    return mixed


# %% tags=["nbval-check-output"]
words = [[math.sqrt(2) * math.log(2), 0.0], [0.0, 0.0]]
cells = [[1.0, 0.0], [0.0, 0.0], [0.0, 4.0]]
by_hand = gate_by_hand(words, cells, [math.log(3), math.log(3)])
for row in by_hand:
    print([round(number, 4) for number in row])

# %% [markdown]
# This is the class of the package, from its file:

# %% tags=["remove-input"]
show_source(GatedFusion)

# %% [markdown]
# The class shows `fuse`; `forward` is inherited from `Fusion`. It calls `complete_both`, which puts the vectors of each side together with its
# mask (and one learnt vector where a side is missing, see below), and then `fuse`. `text.keys` is the mask in the shape that
# attention wants. After the mix come a mean over the words and a feed-forward network, since we want one
# vector. We set the projections to the unit matrix, and compare the mix with the lines above.

# %% tags=["nbval-check-output"]
model = GatedFusion(2, 1, 3).double()
with torch.no_grad():
    for part in ("query", "key", "value", "output"):
        getattr(model.attention, part).weight.copy_(torch.eye(2))
        getattr(model.attention, part).bias.zero_()
    model.gate.weight.zero_()
    model.gate.bias.fill_(math.log(3))
text, image = model.complete_both(torch.tensor([words]).double(), torch.tensor([cells]).double())
context, alpha = model.open(text, image)
mixed = alpha * text.vectors + (1 - alpha) * context
torch.testing.assert_close(mixed[0], torch.tensor(by_hand).double())
print("equal; the gate is", alpha[0, 0].tolist())

# %% [markdown]
# ## Against the reference
#
# Our lines and our class could share a mistake, so PyTorch computes the same: `nn.MultiheadAttention` for the context, and `nn.Bilinear` for the
# fusion by products, which comes below. The sizes are odd, some cells are masked, and all is in double precision, so that
# rounding stays far below what a mistake would do.

# %%
def gap_of_gate(B, T, N, D, heads):
    ours = GatedFusion(D, heads, 5).double()
    theirs = nn.MultiheadAttention(D, heads, batch_first=True).double()
    with torch.no_grad():
        for i, part in enumerate((ours.attention.query, ours.attention.key, ours.attention.value)):
            part.weight.copy_(theirs.in_proj_weight.chunk(3)[i])
            part.bias.copy_(theirs.in_proj_bias.chunk(3)[i])
    ours.attention.output.load_state_dict(theirs.out_proj.state_dict())
    text, image = torch.randn(B, T, D).double(), torch.randn(B, N, D).double()
    seen = torch.rand(B, N) < 0.5
    seen[:, 0] = True  # a softmax over nothing is not defined
    context = theirs(text, image, image, key_padding_mask=~seen)[0]
    alpha = torch.sigmoid(torch.cat([text, context], -1) @ ours.gate.weight.T + ours.gate.bias)
    pooled = (alpha * text + (1 - alpha) * context).mean(1)
    expected = pooled + ours.feed_forward(ours.norm(pooled))
    return (ours(text, image, None, seen) - expected).abs().max().item()


def gap_of_products(B, T, N, D):
    ours, theirs = BilinearFusion(D, rank=D).double(), nn.Bilinear(D, D, D, bias=False).double()
    with torch.no_grad():
        ours.text_factor.weight.copy_(theirs.weight.transpose(1, 2).reshape(-1, D))
        ours.image_factor.weight.copy_(torch.eye(D).repeat(D, 1))
    text, image = torch.randn(B, T, D).double(), torch.randn(B, N, D).double()
    return (ours(text, image) - theirs(text.mean(1), image.mean(1))).abs().max().item()


# %% tags=["nbval-check-output"]
torch.manual_seed(1)
gaps = [gap_of_gate(*shape) for shape in [(3, 5, 7, 12, 3), (1, 1, 4, 6, 1), (4, 9, 1, 20, 5)]]
gaps += [gap_of_products(*shape) for shape in [(3, 5, 7, 12), (1, 1, 4, 6), (4, 9, 1, 20)]]
print("all closer than 1e-12:", max(gaps) < 1e-12)

# %% tags=["remove-cell"]
glue("fusion_gap", max(gaps), display=False)

# %% [markdown]
# The largest difference is {glue:text}`fusion_gap:.1e`. `tests/test_fusion.py` compares the other fusions in the same way: *early* with
# `nn.TransformerEncoder`'s layers, *bottleneck* with two of them for each layer, *cross-attention* with `nn.MultiheadAttention`.
#
# ## Seven ways
#
# All take text $(B, T, D)$, image $(B, N, D)$ and two masks, and give $(B, D)$. They differ in *when* the sides meet.
#
# | name | how | meets |
# |---|---|---|
# | **concatenation** | mean of the words and mean of the cells, side by side; a network of one hidden layer | after the means |
# | **bilinear** | each output is a sum of products of a number from the text and one from the picture | after the means |
# | **late** | each side forms an opinion alone; the opinions are mixed | in the answer only |
# | **early** | one joint sequence through an encoder | from the first layer on |
# | **gated** | {eq}`eq-fusion-gate` | each word with all cells |
# | **cross-attention** | the words look at the picture, twice | each word with all cells |
# | **bottleneck** | each side looks at itself and at $K$ shared tokens | in $K$ tokens |
#
# What gives *one* vector in those whose tokens look? *Early* puts a learnt token in front of the joint sequence and reads that token after the
# last layer. *Gated* and *cross-attention* take the mean over the words, *bottleneck* the mean of its $K$ tokens. After every fusion comes
# the same **head**: a layer norm, and a linear layer from $D$ to the answers.
#
# **Late fusion.** Let $f$ and $g$ be networks, and $\bar t$ and $\bar v$ the means of the words and of the cells:
#
# $$
# z = w_T\, f(\bar t) + w_I\, g(\bar v), \qquad (w_T, w_I) = \operatorname{softmax}\left(s_T(\bar t), s_I(\bar v)\right)
# $$ (eq-fusion-late)
#
# $s_T$ and $s_I$ are linear maps to one number: how sure a side is. This is a relative of the **mixture of experts** {cite:p}`jacobs1991`, whose
# experts see the same input, each learning a part of the cases; ours see one side each.
#
# **Bilinear fusion.** Another article that this course corrects writes $Y = \text{BERT}(T) \cdot \text{Visual}(X)$ and does not say which product the dot is. Attention is one
# reading of it, this is another. The output number $i$ is $\bar t\, W_i\, \bar v^\top$. A matrix $W_i$ for each output needs $D^3$
# numbers. {cite:t}`yu2017` write each as a product of two thin matrices, $U_i$ and $V_i$, both $D \times k$, so that
#
# $$
# z_i = \bar t\, U_i V_i^\top\, \bar v^\top = \sum_{j=1}^{k} \left(\bar t\, U_i\right)_j \left(\bar v\, V_i\right)_j .
# $$ (eq-fusion-bilinear)
#
# With $k = 1$, followed by a linear map (our head has one), it is the product of {cite:t}`kim2017` without its nonlinearity; that map gives each *answer* a form of rank
# up to $D$. We leave out the normalisation of {cite:t}`yu2017`, since our head begins with one.
#
# **Bottleneck.** {cite:t}`nagrani2021` give the sides $K$ tokens $Z$ as the one place to meet. In each layer
#
# $$
# [H_T'; Z_T] = \operatorname{layer}_T\left([H_T; Z]\right), \qquad
# [H_I'; Z_I] = \operatorname{layer}_I\left([H_I; Z]\right), \qquad
# Z' = \tfrac12\,(Z_T + Z_I) ,
# $$ (eq-fusion-bottleneck)
#
# where $[\cdot\,; \cdot]$ here puts one sequence after the other. It costs $(T + K)^2 + (N + K)^2$ scores instead of $(T + N)^2$.
#
# ### See it
#
# Who can know of whom? A row of {numref}`fig-fusion-explorer` is a token, a column what it may have heard of. Choose *bottleneck* and one
# layer: no word has heard of a cell yet. With a second layer every word has. With *cross-attention* the cells never
# hear of a word, however many layers there are. (The table begins at the fusion: before it, the encoder has already let the words hear of one another.)

# %% tags=["remove-input"] mystnb={"figure": {"caption": "Which token has heard of which, with four words, six cells and a bottleneck token. Blue: of its own kind. Orange with a dot: of another.", "name": "fig-fusion-explorer"}, "image": {"alt": "Four tables of filled squares. Late: two blue blocks, words and cells apart. Cross-attention: words have also heard of all cells. Bottleneck: words and cells have heard of the bottleneck token, and it of all. Early: all squares are filled."}}
FusionExplorer("cross-attention", bottlenecks=1, layers=1)

# %% [markdown]
# ## Both sides is not the same as together
#
# Late fusion gets the whole question and the whole picture. Is there anything that it can never answer? Let both weights be one half, and leave out the norm of the head. The
# score of an answer is then a number from the text plus a number from the picture, $a(t, v) = p(t) + q(v)$. Take two questions, $t$ and $t'$, and two
# pictures, $v$ and $v'$. Each of the four numbers comes once with plus and once with minus:
#
# $$
# a(t, v) - a(t, v') - a(t', v) + a(t', v') = 0 .
# $$ (eq-fusion-additive)
#
# Now ask "is there a dog?" and "is there an owl?" of a picture with a dog and one with an owl. The score of *yes* less that of *no* is such a sum too, and it must be
# above 0, below, below, above: the left side must be large. **Additive** scores cannot do it. This is the **exclusive or** of logic, up to exchanging yes and no: the answer
# depends on whether the two agree. We test it on untrained models: the left side, for random texts and pictures. (The bottleneck ends in a layer norm of its own. We take it
# out here, to see what is left without it.)

# %% tags=["nbval-check-output"]
def mixed_difference(model):
    torch.manual_seed(3)
    t, v = torch.randn(2, 5, 12).double(), torch.randn(2, 9, 12).double()
    a = model(t, v) - model(t, v.flip(0))  # one row for each t: the change from one picture to the other
    return (a[0] + a[1]).abs().max().item()


torch.manual_seed(2)
models = {"late, halves": LateFusion(12, 20, learned=False), "bilinear": BilinearFusion(12, 3),
          "concatenation": ConcatFusion(12, 20), "gated": GatedFusion(12, 3, 20),
          "bottleneck, 1 layer": BottleneckFusion(12, 3, 20, layers=1),
          "bottleneck, 2 layers": BottleneckFusion(12, 3, 20)}
for name, model in models.items():
    if "bottleneck" in name:
        model.norm = nn.Identity()
    print(f"{name:20} interacts: {mixed_difference(model.double()) > 1e-10}")

# %% [markdown]
# Late fusion with fixed weights does not interact, and neither does a bottleneck of one layer before its last norm: there each side
# reads the bottleneck of the start. Learnt weights change the scores, but not which answer is the largest. Multiply all scores of a pair by
# $e^{s_T(\bar t)} + e^{s_I(\bar v)}$, which is above 0: what is left is again a number from the text plus a number from the picture. We test that too.

# %% tags=["nbval-check-output"]
torch.manual_seed(4)
late, last = LateFusion(12, 20).double(), nn.Linear(12, 2).double()  # a head without a norm
t, v = torch.randn(2, 5, 12).double(), torch.randn(2, 9, 12).double()
rows, columns = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 0, 1])  # all four pairs
scores = last(late(t[rows], v[columns]))  # (4, 2)
lead = scores[:, 0] - scores[:, 1]  # the score of one answer less that of the other
factor = late.text_score(t.mean(1))[rows].exp() + late.image_score(v.mean(1))[columns].exp()
for name, found in (("as it is", lead), ("times the factor", lead * factor[:, 0])):
    print(f"{name:17} interacts: {(found[0] - found[1] - found[2] + found[3]).abs() > 1e-10}")

# %% [markdown]
# What could change the answer is the norm of the head, which divides by the size of the mixture before the bias of each answer is added. How much that
# is worth after training, the table will show.
#
# Which of our kinds need an interaction? *Presence*, *count*, *colour* and *relation* do: in each there are two questions and two pictures as with the dog and the owl. ("One owl or two?", "one dog or two?", of one owl with two dogs
# and of two owls with one dog.) But *object* does not: "what is above the owl?" is answered by
# "the things that I see, minus the thing that is named". That is a sum. So a task may need **both sides** and still no
# **interaction**. We look for that row in the table.
#
# ## All seven, trained
#
# The encoders are the same for all fusions. The words go through one Transformer layer (chapter 2). The picture goes through the
# convolutions of the captioner that comes with the course (you build it in chapter 14; here it only sees). They are **frozen**: they were trained to write captions and to name what is in
# each cell, and do not change here, so each picture's features are computed once. Four neighbouring cells are averaged, which leaves 16, and
# the features are **whitened**: the 128 numbers of a cell are turned into new axes that do not vary together, and each axis is scaled to about the same spread (those with very little are left
# small). We suspect that otherwise the few axes that tell nouns apart drown those that tell colours apart, and did not measure it.

# %% tags=["remove-input"]
show_source(studies.see)

# %% [markdown]
# Every fusion has {glue:text}`fusion_size` parameters (within 5 %), the same {glue:text}`fusion_steps` batches of {glue:text}`fusion_batch` questions, and {glue:text}`fusion_scenes` scenes for training.
# Compute is not equal: the row of early fusion took {glue:text}`fusion_early_cpu` seconds of one core, that of bilinear fusion {glue:text}`fusion_bilinear_cpu`.
# Each row of the table tried {glue:text}`fusion_rates` learning rates, with half of the steps and one seed, on {glue:text}`fusion_tuning` other scenes; as long as the best was the smallest or the largest, it also tried the
# half or the double. It takes the best. Decay was not tuned. Then come three seeds. All that took
# {glue:text}`fusion_minutes` minutes on one core, more than a page may. So it is a recipe, `python -m mmcourse.recipes.fusion_studies
# table`, whose answers to every question are stored; this page reads them. (It ran in two parts: the further rates came later.)
#
# The numbers are percent. The first interval is over scenes, the second over three training runs, and that is the one that matters here: another run gives another model. The kinds have the second.

# %%
table = {row["arm"]: row for row in studies.read("table")["rows"]}
right = {arm: np.stack([studies.unpacked(seed["right"]) for seed in row["seeds"]]).reshape(3, -1, len(KINDS))
         for arm, row in table.items()}  # (seeds, scenes, kinds)


def over_scenes(rows):
    """Half the width of the 95 % interval of the mean, scenes drawn anew: rows (seeds, scenes, kinds)."""
    found = bootstrap(np.mean, rows.mean((0, 2)))
    return (found.high - found.low) / 2


def over_seeds(rows):
    """Half the width of the 95 % interval of the mean, over three training runs."""
    means = rows.reshape(len(rows), -1).mean(1)
    return 4.30 * means.std(ddof=1) / math.sqrt(len(means))  # t with 2 degrees of freedom


# %%
print(f"{'':19}{'all':>6}{'scenes':>8}{'seeds':>7}" + "".join(f"{kind:>10}" for kind in KINDS) + "   runs")
for arm in sorted(table, key=lambda arm: right[arm].mean()):
    line = f"{arm:19}{100 * right[arm].mean():6.1f}"
    line += f"{100 * over_scenes(right[arm]):7.1f}{100 * over_seeds(right[arm]):7.1f} "
    for number in range(len(KINDS)):
        rows = right[arm][:, :, [number]]
        line += f"{100 * rows.mean():7.0f}±{100 * over_seeds(rows):<2.0f}"
    print(line + "  " + " ".join(f"{100 * share:.0f}" for share in right[arm].mean((1, 2))))

# %% tags=["remove-cell"]
stored = studies.read("table")
sizes = [row["parameters"] for row in table.values()]
assert max(sizes) / min(sizes) < 1.1
assert all(abs(size / studies.PARAMETERS - 1) < 0.05 for size in sizes)
glue("fusion_size", f"{studies.PARAMETERS:,}", display=False)
glue("fusion_steps", f"{studies.STEPS:,}", display=False)
glue("fusion_batch", studies.BATCH, display=False)
glue("fusion_scenes", f"{studies.TRAINING:,}", display=False)
glue("fusion_rates", len(studies.RATES), display=False)
glue("fusion_tuning", studies.TUNING, display=False)

# %% tags=["remove-cell"]
for arm in ("late", "concatenation", "gated", "cross-attention", "bilinear", "early", "bottleneck"):
    for number, kind in enumerate(KINDS):
        glue(f"fusion_{arm}_{kind}", float(right[arm][:, :, number].mean()), display=False)
glue("fusion_picture_colour", float(right["picture alone"][:, :, KINDS.index("colour")].mean()), display=False)
related = [right[arm][:, :, KINDS.index("relation")].mean() for arm in table]
glue("fusion_best_relation", float(max(related)), display=False)
glue("fusion_early_half", float(max(table["early"]["rates"].values())), display=False)
glue("fusion_early_all", float(right["early"].mean()), display=False)
glue("fusion_question_alone", float(right["question alone"].mean()), display=False)
spreads = {arm: np.ptp(rows.mean((1, 2))) for arm, rows in right.items()}
widest = max(spreads, key=spreads.get)
glue("fusion_widest", widest, display=False)
glue("fusion_widest_low", float(right[widest].mean((1, 2)).min()), display=False)
glue("fusion_widest_high", float(right[widest].mean((1, 2)).max()), display=False)
leads = [np.diff(sorted(row["rates"].values()))[-1] for row in table.values()]
glue("fusion_near_rates", int(sum(lead < 0.03 for lead in leads)), display=False)
glue("fusion_minutes", f"{stored['seconds'] / 60:.0f}", display=False)
glue("fusion_early_cpu", table["early"]["cpu seconds"], display=False)
glue("fusion_bilinear_cpu", table["bilinear"]["cpu seconds"], display=False)

# %% tags=["remove-cell"]
for row in table.values():  # the best rate is none of the ends
    tried = sorted(map(float, row["rates"]))
    assert tried[0] < row["rate"] < tried[-1], row["arm"]


def each_seed(rows):
    """The share of each seed, as text."""
    shares = [f"{share:.0%}" for share in rows.mean(1)]
    return f"{shares[0]}, {shares[1]} and {shares[2]}"


for arm in ("early", "gated", "bottleneck"):
    for number, kind in enumerate(KINDS):
        glue(f"fusion_{arm}_{kind}_seeds", each_seed(right[arm][:, :, number]), display=False)

# %% [markdown]
# The row *LSTM, concatenation* is the model of an article that this course corrects, repaired: an LSTM for the words (chapter 3 has it), convolutions for the picture, both side by
# side, and a dense layer. The article stops there: it has no layer that answers, and no loss. It gets the hidden layer and the head that all have.
#
# **Look at the kinds, and not only at the mean.** *Late* has {glue:text}`fusion_late_object:.0%` of *object*, which a sum can answer, and
# {glue:text}`fusion_late_presence:.0%` of *presence*, where a coin has one half. For scores that add up {eq}`eq-fusion-additive` says so, learnt weights included; the
# norm of the head could have done better and did not. A mean over kinds hides it.
#
# **No row learnt *relation*.** The best row has {glue:text}`fusion_best_relation:.0%`, and who sees the picture alone could have one half. That a fusion *can*
# compute an interaction is no promise that it learns it. Whether it is the features, the size or the number of steps we did not find out.
#
# Concatenation and bilinear take the means of both sides. They have
# {glue:text}`fusion_concatenation_count:.0%` and {glue:text}`fusion_bilinear_count:.0%` of *count*, {glue:text}`fusion_concatenation_presence:.0%` and {glue:text}`fusion_bilinear_presence:.0%` of *presence*,
# and {glue:text}`fusion_concatenation_colour:.0%` and {glue:text}`fusion_bilinear_colour:.0%` of *colour*, about as much as the picture alone, {glue:text}`fusion_picture_colour:.0%`. The gate, cross-attention and the bottleneck have
# much of *colour*, {glue:text}`fusion_gated_colour:.0%`, {glue:text}`fusion_cross-attention_colour:.0%` and {glue:text}`fusion_bottleneck_colour:.0%`, and little of *count*, {glue:text}`fusion_gated_count:.0%`, {glue:text}`fusion_cross-attention_count:.0%` and {glue:text}`fusion_bottleneck_count:.0%`.
# Early has much of *colour*, {glue:text}`fusion_early_colour:.0%`, and of *count* {glue:text}`fusion_early_count_seeds` with its three seeds. So attention, whose weights sum to one however many cells fit, can count here, and sometimes
# did; that the others did not may be a matter of training. We took none of it apart. (A guess: a mean over all cells keeps little of the colours. The picture alone does not
# reach its one half of them either.)
#
# **Look at the seeds.** The widest apart are those of *{glue:text}`fusion_widest`*, from {glue:text}`fusion_widest_low:.0%` to {glue:text}`fusion_widest_high:.0%`; the gate's *presence* is {glue:text}`fusion_gated_presence_seeds`. In
# {glue:text}`fusion_near_rates` of the ten rows the two best learning rates were less than three points apart on the tuning scenes, so which of them was taken is
# partly luck. And with half of the steps early fusion had {glue:text}`fusion_early_half:.0%`, with all of them {glue:text}`fusion_early_all:.0%`: more steps may give another order.
#
# ### How many comparisons
#
# With seven fusions there are 21 pairs to compare, so a few of them will look real by luck alone, and the best of seven is partly the luckiest. We
# compare the best with each of the others, scene by scene, with intervals so wide that those of all 21 pairs are right together in 95 % of the
# cases (Bonferroni: $1 - 0.05/21$ each). We look at six of the pairs only, but chose them after the best was known; 21 covers that. For the kinds it is five times as many. So far out, a bootstrap
# would count a handful of draws, so we take the normal distribution: a mean of 400 scenes is near to it.

# %%
def behind(best, arm, comparisons):
    """How far an arm is behind, the interval, and the verdict: rows (seeds, scenes, kinds)."""
    gap = (best.astype(float) - arm).mean((0, 2))  # (scenes,)
    errors = NormalDist().inv_cdf(1 - 0.025 / comparisons)  # 1.96 for one comparison
    half = errors * gap.std(ddof=1) / math.sqrt(len(gap))
    seeds = best.mean((1, 2))[:, None] - arm.mean((1, 2))  # each seed of the best less each of the arm
    if gap.mean() - half <= 0:
        return gap.mean(), half, "cannot be told from it"
    if seeds.min() <= 0:
        return gap.mean(), half, "behind in the mean, but seeds overlap"
    return gap.mean(), half, "behind, with every seed"


# %%
fusions = [row for row in table if row not in (studies.LSTM, *studies.ONE_SIDED)]
best = max(fusions, key=lambda arm: right[arm].mean())
print(f"all: {best} against")
for arm in sorted(set(fusions) - {best}, key=lambda arm: right[arm].mean()):
    gap, half, verdict = behind(right[best], right[arm], 21)
    print(f"   {arm:16} {gap:6.1%}  [{gap - half:6.1%}, {gap + half:6.1%}]  {verdict}")
leads = {}
for number, kind in enumerate(KINDS):
    rows = {arm: right[arm][:, :, [number]] for arm in fusions}
    first = max(fusions, key=lambda arm: rows[arm].mean())
    others = [arm for arm in fusions if arm != first]
    last = [arm for arm in others if "every" in behind(rows[first], rows[arm], 105)[2]]
    leads[kind] = first, set(last)
    print(f"{kind}: {first} {rows[first].mean():.0%}; behind with every seed: {', '.join(last) or 'none'}")

# %% tags=["remove-cell"]
verdicts = {arm: behind(right[best], right[arm], 21)[2] for arm in fusions if arm != best}
assert [arm for arm, verdict in verdicts.items() if "every" in verdict] == ["late"]
assert leads["colour"] == ("cross-attention", {"late", "concatenation", "bilinear"})
assert leads["count"] == ("concatenation", {"late", "early", "gated", "cross-attention", "bottleneck"})
assert leads["presence"] == ("bilinear", set(fusions) - {"bilinear"})

# %% [markdown]
# The intervals are over scenes. They do not know that another training run gives another model, so we also ask that each of the three seeds of
# the best arm beats each of the other arm's. Three are few: of two arms that are alike, one has all its seeds above the other's in one case of ten. So
# *behind, with every seed* is a strong hint and no proof. In the mean over the kinds only *late* is. By kind there is more. In *colour*, cross-attention is ahead of late, concatenation and bilinear.
# In *count*, concatenation is ahead of late and of the four whose tokens attend. In *presence*, bilinear is ahead of all others. And a comparison at one size, one budget and one set of frozen features is no law about fusions.
#
# ### One row again
#
# Stored numbers want a check. The page trains one row itself, the gate with the first seed, and compares its answers with the stored ones.

# %%
torch.set_num_threads(1)  # as the recipe does: sums of parts round in another way
loaded = studies.load_all()
row = table["gated"]
gated = studies.train_arm("gated", loaded, row["rate"], seed=0)
again = studies.right(gated, "gated", loaded["test"])
print(f"again {again.mean():.3f}, stored {right['gated'][0].mean():.3f}, "
      f"same for {(again == right['gated'][0].reshape(-1)).mean():.0%} of the questions")
assert again.mean() > 0.55  # on any computer

# %% [markdown]
# A computer that rounds in another way ends with other weights, so its answers may differ from the stored ones as another seed's do.
#
# ## Two opinions, one answer
#
# Late fusion by hand: two models answer apart, and what they say is combined afterwards. How? Another article that this course
# corrects writes, for an answer $r$, a text $t$ and a picture $v$,
#
# $$
# p(r \mid t, v) = p(r \mid t)\, p(r \mid v) .
# $$
#
# Try it with two answers. The text says $(0.8, 0.2)$ and the picture says $(0.6, 0.4)$. The products are $0.48$ and $0.08$. They sum to $0.56$: this
# is **no distribution over $r$**. Two honest ways to combine are a vote, the mean of both, here $(0.7, 0.3)$, and Bayes' rule. If text and picture are independent *given the answer*,
# $p(t, v \mid r) = p(t \mid r)\, p(v \mid r)$, then
#
# $$
# p(r \mid t, v) = \frac{p(r \mid t)\, p(r \mid v) / p(r)}{\sum_{r'} p(r' \mid t)\, p(r' \mid v) / p(r')}
# $$ (eq-fusion-bayes)
#
# where $p(r)$ is the probability of the answer before anything is seen. With a prior of one half each this gives
# $0.48 / 0.56 = 0.857$ and $0.143$: two sides that agree make each other surer, which no vote does.

# %% tags=["nbval-check-output"]
opinions = torch.tensor([[[0.8, 0.2], [0.6, 0.4]]]).log()  # (1, 2 sides, 2 answers)
prior = torch.tensor([0.5, 0.5]).log()
print("product     ", opinions.sum(1).exp()[0], "sum", round(opinions.sum(1).exp().sum().item(), 2))
print("vote        ", vote(opinions).exp()[0])
print("Bayes       ", combine(opinions, prior).exp()[0])
print("other prior ", combine(opinions, torch.tensor([0.8, 0.2]).log()).exp()[0])

# %% tags=["remove-input"]
show_source(combine)

# %% [markdown]
# With the prior $(0.8, 0.2)$ the text says nothing that we did not know, so Bayes' rule leaves what the picture says.
#
# Is the assumption true here? The prior is the share of each answer in training, **for the kind of question**, which both sides know. The opinion of
# the question is counted too: the shares of the answers to the same words in training, with the prior counted in as if seen once. The opinion of the picture is that of the
# one-sided model, which we train briefly.

# %%
def spoken(data):
    return [tuple(ids[mask].tolist()) for ids, mask in zip(data["ids"], data["mask"], strict=True)]


train, test = loaded["train"][0], loaded["test"][0]
counts = torch.full((len(KINDS), len(answers())), 0.1)
counts.index_put_((train["kind"], train["answer"]), torch.tensor(1.0), accumulate=True)
known = counts / counts.sum(1, keepdim=True)  # (kinds, R)
heard = {}
for sentence, kind, answer in zip(spoken(train), train["kind"], train["answer"], strict=True):
    heard.setdefault(sentence, known[kind].clone())[answer] += 1
said = [heard.get(sentence, known[kind]) for sentence, kind in zip(spoken(test), test["kind"], strict=True)]
by_question = nn.functional.normalize(torch.stack(said), p=1).log()  # (Q, R)

# %%
model = studies.train_arm("picture alone", loaded, table["picture alone"]["rate"], seed=0, steps=300)
by_picture = predict(model, *studies.as_seen_by("picture alone", *loaded["test"]))  # (Q, R)
opinions = torch.stack([by_question, by_picture], 1)  # (Q, 2, R)
prior = known.log()[test["kind"]]
ways = {"question alone": by_question, "picture alone": by_picture,
        "product": opinions.sum(1), "vote": vote(opinions), "Bayes": combine(opinions, prior)}
opinion = {}
for name, logs in ways.items():
    hit = (logs.argmax(1) == test["answer"]).float()
    opinion[name] = [hit[test["kind"] == kind].mean().item() for kind in range(len(KINDS))]
    print(f"{name:15} sum {logs.exp().sum(1).mean():.2f}  right: "
          + "".join(f"{kind} {share:4.0%}  " for kind, share in zip(KINDS, opinion[name], strict=True)))

# %% tags=["remove-cell"]
for name in ("product", "vote", "Bayes"):
    glue(f"fusion_{name}_object", opinion[name][KINDS.index("object")], display=False)
    glue(f"fusion_{name}_presence", opinion[name][KINDS.index("presence")], display=False)
glue("fusion_product_sum", ways["product"].exp().sum(1).mean().item(), display=False)

# %% [markdown]
# The products sum to {glue:text}`fusion_product_sum:.2f` on average and not to 1. For *object*, the question rules out the thing that it names, the picture all that it does not show,
# and what neither rules out is the answer: {glue:text}`fusion_Bayes_object:.0%` are right by Bayes' rule and {glue:text}`fusion_vote_object:.0%` by a vote. A vote adds where Bayes' rule
# multiplies: what the question rules out keeps half of what the picture gives to it. As a choice of the largest, the bare product does about as well as Bayes' rule here, {glue:text}`fusion_product_object:.0%`:
# dividing by the prior and normalising make it a distribution, whose numbers one may hope to believe, and change little of which answer is first. For *presence* Bayes' rule gets {glue:text}`fusion_Bayes_presence:.0%`.
# This is one short training with one seed.
#
# The assumption is false in both. Given the answer *yes*, the noun of the question is one of the two things in the picture; given the answer *dog* of an *object* question,
# the thing that is named is the other one in the picture. In *object* that need do no harm, since what one side rules out stays ruled out. In *presence* all is lost: each side alone has
# to say one half, and so do both together.
#
# ## When one side is missing
#
# A user sends no picture; a camera is covered in fog. A fusion must then say something too. Each of ours
# puts one learnt vector in the place of a side that is missing. But that vector has no gradient unless sides are missing in training.
# **Modality dropout** hides one side in a share of the training examples, here {glue:text}`fusion_dropped:.0%`, half of
# them text and half picture. ({cite:t}`neverova2016` drop each channel by itself, so several may go at once, in the fusion of networks that were trained before; ours hides at most one
# side, from the start.) The learning rates are chosen again, and everything else is as before.
#
# In three further columns both sides are there, but each number of the picture's features gets random noise, of 0.5, 1 or 2 times its standard deviation over the test
# scenes. No arm saw noise in training. All numbers are percent, with half the width of the interval over three seeds.

# %%
dropped = {row["arm"]: row for row in studies.read("dropout")["rows"]}
columns = ("right", *(f"noise {noise}" for noise in studies.NOISES), "no image", "no text")


def shares_of(row, name):
    return np.stack([studies.unpacked(seed[name]) for seed in row["seeds"]]).reshape(3, -1, len(KINDS))


print(f"{'':25}" + "".join(f"{name:>11}" for name in columns))
for arm, row in dropped.items():
    for name, found in (("", table[arm]), (" + dropout", row)):
        line = f"{arm + name:25}"
        for column in columns:
            answered = shares_of(found, column)
            line += f"{100 * answered.mean():7.1f}±{100 * over_seeds(answered):<3.1f}"
        print(line)

# %% tags=["remove-cell"]
glue("fusion_dropped", studies.DROPPED, display=False)
for column in ("no image", "no text"):
    for name, rows in (("plain", table), ("drop", dropped)):
        means = {arm: shares_of(rows[arm], column).mean() for arm in dropped}
        glue(f"fusion_{name}_{column[3:]}_bilinear", float(means["bilinear"]), display=False)
        others = [share for arm, share in means.items() if arm != "bilinear"]
        glue(f"fusion_{name}_{column[3:]}_low", float(min(others)), display=False)
        glue(f"fusion_{name}_{column[3:]}_high", float(max(others)), display=False)
glue("fusion_most_frequent", float(test["answer"].bincount().max() / len(test["answer"])), display=False)

# %% [markdown]
# Read the two columns on the right first. Without a picture the mark is the row *question alone* of the first table,
# {glue:text}`fusion_question_alone:.1%`. Without dropout six of the seven arms have {glue:text}`fusion_plain_image_low:.1%` to {glue:text}`fusion_plain_image_high:.1%`: there is nothing that dropout could bring them, and with it they have {glue:text}`fusion_drop_image_low:.1%` to {glue:text}`fusion_drop_image_high:.1%`.
# **One breaks, bilinear**: without a picture it has {glue:text}`fusion_plain_image_bilinear:.1%`, and with dropout {glue:text}`fusion_drop_image_bilinear:.1%`. (A guess: it multiplies all that the question says by a vector that nothing has trained.)
# Without the text not even the kind of question is known, so the mark is the most frequent of all answers, {glue:text}`fusion_most_frequent:.1%`, and all are near it with dropout and without.
# So dropout is a cure for what breaks, and you see what breaks only when you hide a side.
#
# What does it cost with both sides there? By kind:

# %%
longer = {row["arm"]: row for row in studies.read("longer")["rows"]}
print(f"{'':33}{'all':>10}" + "".join(f"{kind:>10}" for kind in KINDS))
for arm, row in dropped.items():
    rows = {arm: table[arm], "   + dropout": row}
    if arm in longer:
        rows[f"   + dropout, {studies.whole_steps():,} steps"] = longer[arm]
    for name, found in rows.items():
        whole = shares_of(found, "right")
        line = f"{name:33}{100 * whole.mean():6.1f}±{100 * over_seeds(whole):<3.1f}"
        for number in range(len(KINDS)):
            kind = whole[:, :, [number]]
            line += f"{100 * kind.mean():7.0f}±{100 * over_seeds(kind):<2.0f}"
        print(line)

# %% tags=["remove-cell"]
apart = []
for arm, row in dropped.items():
    plain, drop = shares_of(table[arm], "right").mean((1, 2)), shares_of(row, "right").mean((1, 2))
    if plain.min() > drop.max() or drop.min() > plain.max():
        apart.append(arm)
    glue(f"fusion_plain_{arm}", float(plain.mean()), display=False)
    glue(f"fusion_drop_{arm}", float(drop.mean()), display=False)
    lost = plain.mean() - shares_of(table[arm], "noise 2.0").mean()
    glue(f"fusion_plain_{arm}_lost", float(lost), display=False)
    for number, kind in enumerate(KINDS):
        share = shares_of(row, "right")[:, :, number].mean()
        glue(f"fusion_drop_{arm}_{kind}", float(share), display=False)
for arm in longer:
    plain, drop, again = (shares_of(found[arm], "right").mean((1, 2)) for found in (table, dropped, longer))
    assert again.max() < plain.min()
    glue(f"fusion_longer_{arm}", float(again.mean()), display=False)
    regained = (again.mean() - drop.mean()) / (plain.mean() - drop.mean())
    glue(f"fusion_regained_{arm}", float(regained), display=False)
glue("fusion_apart", ", ".join(apart) or "none", display=False)
glue("fusion_longer_steps", f"{studies.whole_steps():,}", display=False)
relation = {arm: shares_of(row, "right")[:, :, KINDS.index("relation")].mean() for arm, row in dropped.items()}
glue("fusion_drop_relation", float(max(relation.values())), display=False)
glue("fusion_other_rates", sum(row["rate"] != table[arm]["rate"] for arm, row in dropped.items()), display=False)

# %% [markdown]
# The arms whose seeds do not overlap, with dropout and without: {glue:text}`fusion_apart`. Bilinear, which needed it, went from {glue:text}`fusion_plain_bilinear:.1%` to {glue:text}`fusion_drop_bilinear:.1%`. What is lost is not the same in each.
# Concatenation loses most in *count*, from {glue:text}`fusion_concatenation_count:.0%` to {glue:text}`fusion_drop_concatenation_count:.0%`, cross-attention in *presence*, from {glue:text}`fusion_cross-attention_presence:.0%` to {glue:text}`fusion_drop_cross-attention_presence:.0%`; *object* stays as it was in all.
#
# Is it that three training examples of ten lack a side, so that as many steps show fewer whole questions? Two arms we trained again, with dropout and {glue:text}`fusion_longer_steps` steps, which show as many whole questions as before.
# Concatenation then has {glue:text}`fusion_longer_concatenation:.1%`, after {glue:text}`fusion_drop_concatenation:.1%` with as many steps and {glue:text}`fusion_plain_concatenation:.1%` without dropout, and cross-attention {glue:text}`fusion_longer_cross-attention:.1%`, after {glue:text}`fusion_drop_cross-attention:.1%` and {glue:text}`fusion_plain_cross-attention:.1%`. So {glue:text}`fusion_regained_concatenation:.0%` and {glue:text}`fusion_regained_cross-attention:.0%` of the loss
# came back with the time (for cross-attention the intervals are about as wide as what came back). A part is left: no seed with dropout reaches one without.
# ({glue:text}`fusion_other_rates` of the seven arms chose another learning rate with dropout. Cross-attention chose the same, so there it is not the rate.) In *relation* no arm with dropout beats one half either: the best has {glue:text}`fusion_drop_relation:.0%`.
#
# **Noise.** Two standard deviations on the picture take {glue:text}`fusion_plain_late_lost:.0%` of all answers from late fusion without dropout, {glue:text}`fusion_plain_bilinear_lost:.0%` from bilinear and {glue:text}`fusion_plain_concatenation_lost:.0%` from concatenation, which
# take a mean over the cells. They take {glue:text}`fusion_plain_early_lost:.0%` from early, {glue:text}`fusion_plain_gated_lost:.0%` from the gate, {glue:text}`fusion_plain_cross-attention_lost:.0%` from cross-attention and {glue:text}`fusion_plain_bottleneck_lost:.0%` from the bottleneck, which weigh the cells. A
# mean over 16 cells also averages the noise, but that it is the cause is a guess: the four also had more to lose, as in *colour*, where they are so much better.
#
# ### Which side does a model use?
#
# Two ways to ask. The **ablation** takes a side away and counts what is lost. The **gradient** takes nothing away. Let $G_T$ and $G_I$ be the derivatives of the true answer's logit
# by $H_T$ and $H_I$. Each number is multiplied by its derivative, and the sizes of the two sides are compared:
#
# $$
# \frac{\lVert H_T \odot G_T \rVert}{\lVert H_T \odot G_T \rVert + \lVert H_I \odot G_I \rVert}
# $$
#
# This share of the text is between 0 and 1. The numbers are means over three seeds, with half the interval over them.

# %%
least, text_share = 1.0, {}
print(f"{'':16}{'lost without, %':>22}{'share of the text by gradient, by kind':>50}")
print(f"{'':16}{'text':>9}{'picture':>13}" + "".join(f"{kind:>10}" for kind in KINDS))
for arm in fusions:
    row = table[arm]
    whole = shares_of(row, "right").astype(float)
    losses = [whole - shares_of(row, f"no {side}") for side in ("text", "image")]
    lost = [loss.mean() for loss in losses]
    lines = [f"{100 * loss.mean():7.1f}±{100 * over_seeds(loss):<4.1f}" for loss in losses]
    share = np.mean([[seed["share of text"][kind] for kind in KINDS] for seed in row["seeds"]], 0)
    least, text_share[arm] = min(least, *lost), dict(zip(KINDS, share, strict=True))
    print(f"{arm:16}" + "".join(lines) + "".join(f"{x:10.2f}" for x in share))

# %% tags=["remove-cell"]
glue("fusion_least_lost", float(least), display=False)
of_picture = [1 - share["relation"] for share in text_share.values()]
glue("fusion_picture_share_low", float(min(of_picture)), display=False)
glue("fusion_picture_share_high", float(max(of_picture)), display=False)

# %% [markdown]
# By ablation all fusions use both sides: the least that any of them loses without one is {glue:text}`fusion_least_lost:.0%` of all answers. These are arms without dropout,
# so a part of the loss may be that they never saw a missing side. The gradient's share differs between arms. To first order, it says how much the logit would
# change if the numbers of a side were scaled down, and not whether what is read there is right: in *relation*, where no arm beats one half, the picture has {glue:text}`fusion_picture_share_low:.2f` to {glue:text}`fusion_picture_share_high:.2f` of it. So take the ablation for *whether* a side is
# used, and the gradient as a hint to *where* to look.
#
# ### What the gate does
#
# The trained gate has a value for each word and number. {numref}`fig-fusion-gate` shows its mean over the numbers, for three questions about the scene beside them. Their
# answers are *red*, *yes* and *above*.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "The gate of each word, mean over its numbers. A bar to the right of the line: the word weighs more. To the left: what it saw weighs more.", "name": "fig-fusion-gate"}, "image": {"alt": "A small scene, and three groups of horizontal bars, one group for each of three questions and one bar for each word. Each bar begins at a line at one half and goes to the left or to the right."}}
chosen = [0, 2, 3]  # colour, presence, relation of the first scene
reader = tokenizer()
figure, (left, *places) = plt.subplots(1, 4, figsize=(7.4, 2.2), width_ratios=(0.8, 1, 1, 1))
scene, asked = world.ask(0)
assert [asked[number].answer for number in chosen] == ["red", "yes", "above"]
left.imshow(scene.image)
left.axis("off")
with torch.no_grad():
    data, features = loaded["test"]
    text, image = gated.encode(data["ids"][chosen], data["mask"][chosen], features[data["scene"][chosen]])
    both = gated.fusion.complete_both(text, image, data["mask"][chosen])
    opened = gated.fusion.open(*both)[1].mean(-1)  # (3, T)
for place, question, value in zip(places, chosen, opened, strict=True):
    ids = data["ids"][question][data["mask"][question]]
    names = [reader.words[number] for number in ids]
    place.barh(range(len(names)), value[: len(names)] - 0.5, left=0.5, color=TEAL)
    place.set_yticks(range(len(names)), names, fontsize=8)
    place.axvline(0.5, color=INK, linewidth=0.8)
    place.set(xlim=(0, 1), xlabel="gate", title=KINDS[data["kind"][question]])
    place.invert_yaxis()

# %% tags=["remove-cell"]
with torch.no_grad():
    sides = gated.fusion.complete_both(*gated.encode(data["ids"], data["mask"], features[data["scene"]]), data["mask"])
    context, opened = gated.fusion.open(*sides)
opened, there = opened.mean(-1), data["mask"]  # (Q, T)
nouns = [number for number, word in enumerate(reader.words) if word in answers()[-10:]]
is_noun = torch.isin(data["ids"], torch.tensor(nouns)) & there
assert is_noun.any(1).all()
glue("fusion_gate_nouns", opened[is_noun].mean().item(), display=False)
glue("fusion_gate_rest", opened[there & ~is_noun].mean().item(), display=False)
glue("fusion_gate_low", opened[there].quantile(0.025).item(), display=False)
glue("fusion_gate_high", opened[there].quantile(0.975).item(), display=False)
glue("fusion_size_words", sides[0].vectors[there].norm(dim=-1).mean().item(), display=False)
glue("fusion_size_context", context[there].norm(dim=-1).mean().item(), display=False)

# %% [markdown]
# Over all test questions the gate is {glue:text}`fusion_gate_nouns:.2f` on average at a noun and {glue:text}`fusion_gate_rest:.2f` at another word: hardly a difference. For 95 % of all words
# it lies between {glue:text}`fusion_gate_low:.2f` and {glue:text}`fusion_gate_high:.2f`. Do not read it as the share of the text. It is a mean over 48 numbers that may do
# different things, and it weighs two vectors of different lengths: here $H_T$ has {glue:text}`fusion_size_words:.1f` on average and $C$ has {glue:text}`fusion_size_context:.1f`. A
# context that is twice as long with half of the weight adds the same. And it is one model with one seed.
#
# ## BERT and ViT, line by line
#
# The article of the first formula also builds a `MultimodalTransformer` from the library `transformers`. Chapter 5 met its errors one by one; here they are in its order, and with what
# to do instead. The first line does not run:

# %% tags=["raises-exception"]
from transformers import BertModel, VisionTransformer  # noqa: F401

# %% [markdown]
# The class is called `ViTModel`. The article puts the outputs of the two encoders one after the other, along dimension 1:

# %% tags=["raises-exception"]
from transformers import BertConfig, BertModel, ViTConfig, ViTModel

torch.manual_seed(0)
small = {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
bert = BertModel(BertConfig(vocab_size=len(tokenizer()), hidden_size=48, **small))
vit = ViTModel(ViTConfig(hidden_size=48, image_size=64, patch_size=16, **small))
ids, pixels = torch.ones(2, 6).long(), torch.randn(2, 3, 64, 64)
both = torch.cat((bert(ids).last_hidden_state, vit(pixels)), dim=1)

# %% [markdown]
# The output of the image model is an object with several tensors, and not one. With `.last_hidden_state` the concatenation runs. The third fault is about fusion: the tokens are
# $(B, T, D)$ and $(B, N, D)$, and the article goes on with a linear layer made for features of *both* widths.

# %% tags=["raises-exception"]
both = torch.cat((bert(ids).last_hidden_state, vit(pixels).last_hidden_state), dim=1)
print("joined along the sequence:", tuple(both.shape))
nn.Linear(48 + 48, 48)(both)

# %% [markdown]
# The joined sequence is longer, not wider. So it needs a layer that mixes along the sequence: attention. That is early fusion. What the article calls
# a decoder gives, for each position, a distribution over words, of which nobody says which one is the answer. We read the answer's
# own token. Padding of the text is masked, which the article forgets too. In the lines below, `fusion` is early fusion with one layer, the two projections bring both sides to its width, and `decoder` is
# one linear layer from the answer's token to the answers.

# %% tags=["remove-input"]
show_source(MultimodalTransformer.forward)

# %% [markdown]
# Both encoders start from random numbers, with two layers, and learn from 300 scenes, from pixels, in a short run. Do gradients reach the first layer of both?

# %%
images = to_pixels(np.stack([TwoGroups("train")[index].image for index in range(300)]))
part = {name: value[: 300 * len(KINDS)] for name, value in loaded["train"][0].items()}
model = MultimodalTransformer(bert, vit, len(answers()))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
generator = torch.Generator().manual_seed(0)
losses = []
for _ in range(150):
    rows = torch.randint(len(part["answer"]), (32,), generator=generator)
    log_probs = model(part["ids"][rows], images[part["scene"][rows]], part["mask"][rows])
    loss = nn.functional.nll_loss(log_probs, part["answer"][rows])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
print(f"loss at first {losses[0]:.2f}, of the last 20 steps {np.mean(losses[-20:]):.2f}; "
      f"a guess among all answers has {math.log(len(answers())):.2f}")
first_layers = {"words": bert.embeddings.word_embeddings.weight,
                "patches": vit.embeddings.patch_embeddings.projection.weight}
for name, weight in first_layers.items():
    print(f"length of the last gradient at the {name}: {weight.grad.norm():.4f}")

# %% tags=["remove-cell"]
assert all(weight.grad.norm() > 0 for weight in first_layers.values())
entropy = float(-(known * known.log()).sum(1).mean())
glue("fusion_bert_last", float(np.mean(losses[-20:])), display=False)
glue("fusion_bert_first", losses[0], display=False)
glue("fusion_kind_entropy", entropy, display=False)

# %% [markdown]
# The loss goes from {glue:text}`fusion_bert_first:.2f` to {glue:text}`fusion_bert_last:.2f`. Who only knows the kind of question and how frequent
# its answers are has {glue:text}`fusion_kind_entropy:.2f`, so nothing shows yet that the picture is of use. One seed and 150 steps do not tell more than that the parts fit and that gradients reach both. Those who have few examples start from pretrained parts: `MultimodalTransformer.from_pretrained(text, image, answers)`
# takes a BERT and a ViT from a folder or from the hub.
#
# ## What came after
#
# The large models of today choose among the same ways of meeting, and join parts that were trained before. [Chapter 22](22_vlm.py) builds and measures the first three kinds.
#
# - **Gated cross-attention.** Flamingo {cite:p}`alayrac2022` puts cross-attention layers between the frozen layers of a language
#   model, each behind a gate that begins closed: $H_T + \tanh(a)\, C$ with a learnt number $a$ that starts at 0 (and a second such gate on a feed-forward network). It adds, where
#   ours trades, so that at the start the language model is left as it was.
# - **Early, by a projection.** LLaVA {cite:p}`liu2023` turns the patches of a vision encoder into vectors of the size of words, by one
#   linear map, and puts them into the sequence of a language model.
# - **A few tokens in between.** The Q-Former of BLIP-2 {cite:p}`li2023` has learnt queries that look at the frozen picture
#   and hand a fixed, small number of vectors on. It is a relative of the bottleneck, in one direction.
# - **Early from the start.** Chameleon {cite:p}`chameleon2024` turns pictures into tokens of a vocabulary and trains one Transformer on mixed sequences.
#
# Of each of them you can now ask the same: which shapes meet, who hears of whom, and what stands for a missing side.
# Ours learnt from questions with their answers. The next chapter asks what can be learnt from less: a picture, and what somebody said about it.
#
# ## What goes wrong
#
# We train nothing here; we take the gate from above and forget one thing. Questions in a batch have different lengths, and the rest
# is padding. What if it is read? Two parts of the model take the mask: the encoder of the words, and the mean over the words after the mix.

# %%
data, features = loaded["test"]


@torch.no_grad()
def answered(for_encoder, for_mean, features=features):
    """Which questions the gate answers rightly, when its two parts take these masks (Q, T)."""
    found = []
    for rows in torch.arange(len(data["answer"])).split(256):
        cells = features[data["scene"][rows]]
        text, image = gated.encode(data["ids"][rows], for_encoder[rows], cells)
        fused = gated.fusion(text, image, for_mean[rows])
        found.append(gated.head(gated.norm(fused)).argmax(1))
    return torch.cat(found) == data["answer"]


# %%
mask, everything = data["mask"], torch.ones_like(data["mask"])
hits = {"right": answered(mask, mask),
        "padding read by the mean": answered(mask, everything),
        "by the encoder": answered(everything, mask),
        "by both": answered(everything, everything),
        "mask inverted": answered(~mask, ~mask),
        "cells in another order": answered(mask, mask, features.flip(1)),
        "another scene": answered(mask, mask, features.roll(1, 0))}
damage = {name: hit.float().view(-1, len(KINDS)).mean(0).tolist() for name, hit in hits.items()}
for name, shares in damage.items():
    by_kind = "".join(f"{kind} {share:4.0%}  " for kind, share in zip(KINDS, shares, strict=True))
    print(f"{name:26}{by_kind}")

# %% tags=["remove-cell"]
assert (data["kind"].view(-1, len(KINDS)) == torch.arange(len(KINDS))).all()
for name, values in damage.items():
    key = name.replace(" ", "_")
    glue(f"fusion_damage_{key}", float(np.mean(values)), display=False)
glue("fusion_no_padding", mask.all(1).float().mean().item(), display=False)

# %% [markdown]
# Read by the mean over the words alone, padding costs little: {glue:text}`fusion_damage_padding_read_by_the_mean:.1%` of all answers are right instead of {glue:text}`fusion_damage_right:.1%`. Read by the encoder's attention it costs most, {glue:text}`fusion_damage_by_the_encoder:.1%`, since every
# word now mixes with it; by both, {glue:text}`fusion_damage_by_both:.1%`. With the mask inverted it is {glue:text}`fusion_damage_mask_inverted:.1%`. (That also hides the whole question in {glue:text}`fusion_no_padding:.0%` of the cases, those without padding.) No
# error is raised. With the cells in reverse order it is {glue:text}`fusion_damage_cells_in_another_order:.0%`: this model makes little use of where a thing is, and *relation* it never learnt. With the picture of the scene *before* it {glue:text}`fusion_damage_another_scene:.0%` are right: that is what rows that slip against each other do, and it is the first thing to test when a multimodal model
# is no better than its text. `tests/test_fusion.py` has the invariances: more padding changes nothing, the order of tokens changes nothing (the *encoders* add positions), and a row does not see its batch.
#
# ## Exercises
#
# ```{exercise-start} Another gate on paper
# :label: ex-fusion-paper
# ```
# *Easy, 5 minutes.* Keep $H_T$ and $H_I$ of the example on paper, and $W = 0$. Take $b = (0, -\ln 3)$. Compute the row of $H$ for the
# *second* word, and say which of its two numbers comes mostly from the picture.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-fusion-paper
# :label: so-fusion-paper
# :class: dropdown
# ````
# The gates are $\sigma(0) = \frac12$ and $\sigma(-\ln 3) = \frac14$. The second word is $(0, 0)$ with the context $(\frac13, \frac43)$, so
# its row is $(\frac12 \cdot \frac13, \frac34 \cdot \frac43) = (\frac16, 1)$. The second number has the smaller gate, so three quarters of it
# come from the picture.

# %% tags=["nbval-check-output"]
print([round(number, 4) for number in gate_by_hand(words, cells, [0.0, -math.log(3)])[1]])

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} Count the scores
# :label: ex-fusion-scores
# ```
# *Easy, 10 minutes.* A text has $T = 20$ tokens and a picture $N = 576$ patches. How many scores does one head compute in one
# layer of early fusion (without the answer's token), of cross-attention, and of a bottleneck with $K = 4$? Why does the bottleneck save so little
# here, and for which lengths would it save half?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-fusion-scores
# :label: so-fusion-scores
# :class: dropdown
# ````
# Early fusion computes $(T + N)^2 = 355{,}216$ scores, cross-attention $TN = 11{,}520$, the bottleneck $(T + K)^2 + (N + K)^2 = 576 + 336{,}400$. What
# the bottleneck saves is $2TN$ less $2K(T + N) + 2K^2$, and that is small beside $N^2$ when one side is short. With $T = N$ and small $K$ it is
# $2N^2$ of $4N^2$: one half. Its paper joins sound and video, which are both long.

# %% tags=["nbval-check-output"]
T, N, K = 20, 576, 4
print((T + N) ** 2, T * N, (T + K) ** 2 + (N + K) ** 2)

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} Late fusion as a sum of logits
# :label: ex-fusion-late
# ```
# *Medium, 15 minutes.* Show on paper that a linear head on {eq}`eq-fusion-late`, without a norm before it, mixes the *logits* of the two sides. Then show that with
# weights of one half the softmax of mixed logits is the normalised geometric mean of the two distributions, and check it in code. How does it differ
# from a vote?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-fusion-late
# :label: so-fusion-late
# :class: dropdown
# ````
# A head is $x M + c$. For weights that sum to one,
# $(w_T f + w_I g) M + c = w_T (f M + c) + w_I (g M + c)$. With a half each, the exponential of the mean of two logits is
# the root of the product of their exponentials, so the softmax is $\sqrt{p_r q_r}$ over its sum: the geometric mean. A vote is the arithmetic
# mean. An answer that one side rules out is out in the geometric mean, and keeps a half of its probability in a vote.

# %% tags=["nbval-check-output"]
torch.manual_seed(4)
a, b = torch.randn(2, 5, dtype=torch.float64)
mixed = ((a + b) / 2).softmax(0)
geometric = (a.softmax(0) * b.softmax(0)).sqrt()
print(torch.allclose(mixed, geometric / geometric.sum()))

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} A product answers the exclusive or
# :label: ex-fusion-xor
# ```
# *Medium, 15 minutes.* Let $t$ and $t'$ be $1$ and $-1$ (dog, owl), and $v$ and $v'$ also. Give numbers $u$ and $w$ with which the bilinear form
# $u t \cdot w v$ is the right score of *yes* for all four pairs. Now take $n$ nouns, noun $i$ being 1 in place $i$ and 0 elsewhere, and pictures with one thing. Which rank is needed, if the score is to be 1 for
# equal nouns and 0 for others? And if it need only be larger for equal nouns?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-fusion-xor
# :label: so-fusion-xor
# :class: dropdown
# ````
# $u = w = 1$: the product is $1$ for equal signs and $-1$ for others. The score that is 1 for equal nouns and 0 for others is $t\, I\, v^\top$. The unit
# matrix has rank $n$, so exactly that score needs $k = n$. To be merely *larger* for equal nouns much less is enough: put the $n$ nouns on a circle and take the
# dot product, which has rank 2. (With two things in a picture that is not enough: their mean lies between them on the circle, where a third may be.)

# %% tags=["nbval-check-output"]
n = 10
angle = 2 * math.pi * torch.arange(n) / n
U = torch.stack([angle.cos(), angle.sin()], 1)  # (n, 2)
scores = U @ U.T
equal = bool((scores.argmax(1) == torch.arange(n)).all())
print("rank", int(torch.linalg.matrix_rank(scores)), "equal nouns win:", equal)

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} When Bayes' rule is right
# :label: ex-fusion-bayes
# ```
# *Medium, 20 minutes.* Make a joint distribution of an answer with three values, a text with four and a picture with five, in which text and picture are independent given the
# answer. Compute $p(r \mid t, v)$ from the joint distribution and by `combine`, and compare. Then break the independence and look at the largest difference. (Hint: `combine` takes logarithms, of
# the opinions $(\ldots, 2, R)$, text before picture, and of the prior $(R)$.)
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-fusion-bayes
# :label: so-fusion-bayes
# :class: dropdown
# ````
# $p(r, t, v) = p(r)\, p(t \mid r)\, p(v \mid r)$ is such a joint distribution. To break it we mix in another joint distribution, drawn at random.

# %% tags=["nbval-check-output"]
torch.manual_seed(5)
r = nn.functional.normalize(torch.rand(3), p=1, dim=0)  # (R,)
given_t = nn.functional.normalize(torch.rand(3, 4), p=1)  # (R, T)
given_v = nn.functional.normalize(torch.rand(3, 5), p=1)  # (R, V)
independent = r[:, None, None] * given_t[:, :, None] * given_v[:, None, :]  # (R, T, V)
other = torch.rand(3, 4, 5) ** 4
for name, joint in {"independent": independent, "mixed": independent + other / other.sum()}.items():
    joint = joint / joint.sum()
    of_t, of_v, prior_r = joint.sum(2), joint.sum(1), joint.sum((1, 2))
    log_t = (of_t / of_t.sum(0)).T.log()  # (T, R)
    log_v = (of_v / of_v.sum(0)).T.log()  # (V, R)
    both = torch.stack([log_t[:, None].expand(4, 5, 3), log_v[None].expand(4, 5, 3)], -2)
    gap = combine(both, prior_r.log()).exp() - (joint / joint.sum(0)).permute(1, 2, 0)
    print(f"{name:12} largest difference {gap.abs().max():.3f}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ## Quiz
#
# ::::::{card}
# :class-card: quiz
# **1.** $H_T$ is $7 \times 32$ and $H_I$ is $49 \times 32$. Which of these is defined?
#
# :::{dropdown} $H_T + H_I$, an entry-by-entry sum with one weight for each layer
# **No.** A sum needs equal shapes. Broadcasting would not help either: 7 and 49 differ and neither is 1.
# :::
# :::{dropdown} The context, $\operatorname{MHA}(H_T, H_I)$
# **Yes.** Lengths may differ; the result has a row for each of the 7 words.
# :::
# :::{dropdown} A linear layer from 64 to 32 on the sequence $[H_T; H_I]$ of 56 rows
# **No.** One sequence after the other is longer, not wider: the layer gets 32 numbers a row.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **2.** On new scenes the question alone reaches 5 % and the picture alone 50 %. A model that cannot interact reaches nearly 100 %. How can that be?
#
# :::{dropdown} It overfits
# **No.** Then it would be good on training scenes only.
# :::
# :::{dropdown} The task needs both sides, and a sum of what they say is enough
# **Yes.** As *object* does: what is seen, minus what is named.
# :::
# :::{dropdown} The baselines were computed on other questions than those of the model
# **No.** That would be an error to look for, but the result needs no error.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **3.** The text gives $(0.8, 0.2)$, the picture $(0.6, 0.4)$, and before anything is seen the answers have $(0.8, 0.2)$. What does Bayes' rule say, if text and picture are
# independent given the answer?
#
# :::{dropdown} $(0.48, 0.08)$, the products of what both sides say
# **No.** They sum to 0.56. Divided by that sum they would be right for a prior of one half each.
# :::
# :::{dropdown} $(0.7, 0.3)$, the mean
# **No.** That is a vote.
# :::
# :::{dropdown} $(0.6, 0.4)$, as the picture alone
# **Yes.** The text says what was known before, so the picture alone decides.
# :::
# :::{dropdown} $(0.857, 0.143)$, since both sides agree on the first answer
# **No.** That holds for a prior of one half each.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **4.** A bottleneck of one layer has $K = 4$ tokens. What can $H_I'$ and $Z_I$ of {eq}`eq-fusion-bottleneck` depend on?
#
# :::{dropdown} On the picture alone
# **Yes.** In the first layer it reads the bottleneck of the start, which no word has written to.
# :::
# :::{dropdown} On the picture and on four of the words
# **No.** The four tokens are not words; after more layers they carry what all words wrote.
# :::
# :::{dropdown} On the picture and all words, through the four tokens
# **No.** That is so from the second layer on.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **5.** Modality dropout hides each side in a part of the training examples. What is it for?
#
# :::{dropdown} It is dropout of single numbers, and so a cure for overfitting
# **No.** It hides a side whole, and the model learns what to say without it.
# :::
# :::{dropdown} It makes attention look at the picture more than at the text
# **No.** It hides both as often.
# :::
# :::{dropdown} It teaches what to answer when a side is missing
# **Yes.** It gives the vector that stands for a missing side a gradient, and the layers after it practice.
# :::
# ::::::
#
# ## Take-aways
#
# - Two sequences have different lengths, so they cannot be added. Attention makes of the second one a row for each row of the first, and then a gate can mix them.
# - A task may need both sides without needing them to interact. Look at the table by kind before you credit a fusion: no mean shows a kind that nobody learnt.
# - A fusion that only adds up opinions cannot answer an exclusive or; products, attention and hidden layers over both sides can.
# - Opinions are combined by a vote or by Bayes' rule with its assumption; their bare product is no distribution.
# - Measure what a model says without one side before you train for it, and what that training costs with both.
#
# ## Further reading
#
# - {cite:t}`nagrani2021`: bottleneck tokens, and a comparison of early, middle and late fusion for sound and video.
# - {cite:t}`arevalo2017`: the gate for two vectors, on posters and plots of films.
# - {cite:t}`kim2017` and {cite:t}`yu2017`: bilinear forms of low rank for questions about pictures.
# - {cite:t}`goyal2017vqa`: how far a question alone goes in collected data, and a balanced set.
# - {cite:t}`neverova2016`: dropping whole modalities.
# - {cite:t}`jacobs1991`: the mixture of experts, a relative of late fusion with learnt weights.

# %% tags=["remove-cell"]
figure, places = plt.subplots(1, 2, figsize=(6.4, 3.4))
for place, index in zip(places, (3, 9), strict=True):
    scene, asked = world.ask(index)
    place.imshow(scene.image)
    place.axis("off")
    for line, question in enumerate(asked[:2]):
        for text, weight, down in ((question.text, "normal", 0.0), (question.answer, "bold", 0.09)):
            place.text(0.5, -0.06 - 0.2 * line - down, text, transform=place.transAxes, ha="center",
                       va="top", fontsize=9, fontweight=weight)
glue("fusion_promise", figure, display=False)
plt.close(figure)
