# ---
# jupyter:
#   course: {notebook: notebooks/17_interpretability.ipynb}
# ---

# %% [markdown]
# # Looking inside
#
# At the end of this chapter you can ask a captioner where a word came from in seven ways, say which of the answers to believe, change one thing inside it and see what happens, and say whom it fails and what it gives away.
#
# ```{glue:figure} interpretability_promise
# :name: fig-interpretability-promise
# :alt: A small scene eight times. First with the true boxes; then faded, once for each of seven methods, except for the cells which that method says the noun came from. They do not agree.
#
# One word of one caption, and where seven methods say that it came from. Cells fade as far as their value is below the largest. The methods do not agree; this chapter measures which of them point at the thing.
# ```
#
# ::::{card}
# :class-card: chapter-card
#
# **Goals**
#
# - compute gradients, integrated gradients, occlusion, Grad-CAM and attention rollout for a word of a caption
# - judge such maps by exact boxes, by deletion and insertion, and by models that know nothing
# - probe a layer, with a control that says what the probe learned by itself
# - swap a thing, or some numbers inside, and measure what that changes
# - audit a captioner with equal contexts, and a language model for what it gives away
#
# **Before you start:** [captioning](14_captioning.py), whose captioner we open, and the intervals of [evaluation](13_evaluation.py).
#
# :::{card-footer}
# Reading {measured}`reading` min · runs in {measured}`seconds` s on two CPU cores, {measured}`megabytes` MB ·
# difficulty ●●●
# :::
# ::::

# %% tags=["remove-cell"]
from collections import Counter
from itertools import product
from random import Random

import matplotlib.pyplot as plt
import numpy as np
import torch
from myst_nb import glue

from mmcourse.book.figures.attribution import AttributionExplorer, explain
from mmcourse.book.plotting import BLUE, GREY, ORANGE, TEAL, show_scene, use_style
from mmcourse.book.source import show_source
from mmcourse.data import EmojiScenes
from mmcourse.evaluation import bootstrap, fact_score
from mmcourse.gpt import row_log_probs
from mmcourse.hub import load
from mmcourse.interpretability import (
    METHODS, PEOPLE, TONES, as_rows, attention, boxes_of, cells_in, exposure, first_word,
    gradient, gradient_times_input, integrated_gradients, mean_by_scene, memorise, occlusion,
    patched, place_of, points_at, randomised, restored, roc, rollout, spearman, swapped, things_named,
    to_cells, true_at, with_person, word_ids, word_map, word_score,
)  # fmt: skip

# %% tags=["remove-cell"]
from mmcourse.interpretability.people import NEAR, skin_colour
from mmcourse.recipes import interpretability_studies as studies

use_style()
torch.set_num_threads(1)


def spell(found, form=".0%"):
    """A number with its interval, as a page says it."""
    return f"{found.value:{form}} ({found.low:{form}} to {found.high:{form}})"


# %% [markdown]
# ## One word, seven answers
#
# The captioner of chapter 14 writes a sentence, and that chapter drew where it looked at each word. Whether it said a word *because* of what it saw there, the chapter left open. Where in the picture does the noun come from? We ask in seven ways. (All are built below.)

# %%
model = load("scenes").eval().requires_grad_(False)
val = EmojiScenes("val")
scene = val[6]
words = model.caption(scene.image, "greedy").tokens
thing = things_named(words)[0]
pixels = model.pixels_of(scene.image[None])
score = word_score(model, words, thing.place)
print(" ".join(words))
print(f"where does {words[thing.place]!r} come from?")
for method in METHODS:
    cells = word_map(method, model, score, pixels, words, thing.place)[0]
    row, column = divmod(int(cells.argmax()), 8)
    hit = points_at(cells, boxes_of(scene, thing.noun), 64)
    print(f"{method:22} row {row + 1}, column {column + 1}  {'in its box' if hit else 'outside'}")

# %% [markdown]
# Some say that the word came from the thing, others point beside it, all about one number in one network. Which of them is right? Looking at more pictures until one likes a method is no answer. We need truth from outside: exact boxes, a network that knows nothing, and interventions.
#
# ## The formula
#
# Let $x$ be a picture and $f(x) = \log p(y_t \mid y_{<t}, x)$ the **score** of the word at place $t$, given the words before it. An **attribution** gives each number $x_i$ of the picture a share in that score. The plainest is the gradient $\partial f / \partial x_i$ {cite:p}`simonyan2014`: how the score would change with a small change of $x_i$. **Integrated gradients** {cite:p}`sundararajan2017` take the mean gradient on the straight way from a **baseline** $x'$, here a grey picture:
#
# $$
# \mathrm{IG}_i(x) = (x_i - x'_i) \int_0^1 \frac{\partial f}{\partial x_i}\big(x' + \alpha\,(x - x')\big)\, d\alpha
# $$ (eq-interpretability-ig)
#
# $$
# \sum_i \mathrm{IG}_i(x) = f(x) - f(x')
# $$ (eq-interpretability-complete)
#
# {eq}`eq-interpretability-complete` is **completeness**: the shares add up to what there is to explain.
#
# | symbol | what it is | shape |
# |---|---|---|
# | $x$, $x'$ | the picture and the baseline, numbers from $-1$ to 1 | $(3, 64, 64)$ |
# | $f$ | the score of one word | one number |
# | $\alpha$ | how far we are on the way from $x'$ to $x$ | 0 to 1 |
# | $\mathrm{IG}_i$ | the share of one number of the picture | one number |
#
# ### On paper
#
# Let the picture have two numbers, $x = (1, 2)$, the baseline be 0, and $f(x) = x_1 + x_1 x_2$, so that $f(x) = 3$ and $f(x') = 0$. The derivatives are $1 + x_2$ and $x_1$. On the way they are $1 + 2\alpha$ and $\alpha$, with the means 2 and $\frac12$. So $\mathrm{IG} = (1 \cdot 2,\; 2 \cdot \frac12) = (2, 1)$, and $2 + 1 = 3$. **Gradient times input**, $x_i\, \partial f / \partial x_i$, is $(3, 2)$: it sums to 5, which is not what there is to explain. **Occlusion** {cite:p}`zeiler2014` sets one number to 0 at a time, and the score falls by 3 and by 2: a product is counted twice, once for each factor. No answer is wrong. They answer different questions.
#
# ### By hand, then for real

# %% tags=["nbval-check-output"]
def f(x):
    return x[..., 0] + x[..., 0] * x[..., 1]


x = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
total = torch.zeros_like(x)
for step in range(4):
    place = ((step + 0.5) / 4 * x).requires_grad_()  # the middle of a quarter of the way
    total += torch.autograd.grad(f(place).sum(), place)[0]
by_hand = x * total / 4
assert torch.allclose(by_hand, integrated_gradients(f, x, steps=4))
print(by_hand.tolist(), "sum", by_hand.sum().item())

# %% [markdown]
# The package takes any function from pictures to numbers:

# %% tags=["remove-input"]
show_source(integrated_gradients)

# %% [markdown]
# For a word that function is made by `word_score`, which gives the decoder the words so far and asks for the next one:

# %% tags=["remove-input"]
show_source(word_score)

# %% [markdown]
# Is it complete on the captioner? The integral is a sum of steps, so there is a gap. For this noun and eight steps it is larger than what there is to explain; more steps close it. The maps of this chapter take 32. For this noun that leaves a few parts in a hundred; for many other nouns the gap is far larger, so do not take the sum of such a map for what there is to explain.

# %%
change = (score(pixels) - score(torch.zeros_like(pixels))).item()
print(f"to explain: {change:.2f}")
for steps in (8, 32, 128):
    total = integrated_gradients(score, pixels, steps=steps).sum().item()
    print(f"{steps:4} steps: {total:.2f}, gap {abs(total - change) / abs(change):.1%}")

# %% [markdown]
# ### Four more
#
# - **Occlusion** covers a square of three by three cells with grey, moves it by one cell, and gives each cell the mean fall of the score under the squares that cover it. A cell in a corner lies under one square only, a cell in the middle under nine, whose mean is smoother; so large values stand out more at the border. (We took the side of three after a look at sides of one to three on scenes of `train`. No other method here was chosen so.)
# - **Grad-CAM** {cite:p}`selvaraju2017` weighs each channel of the last convolution with its mean gradient and keeps what is above zero.
# - **Attention** is the weight of the decoder's cross-attention at that word, the mean over layers and heads, as in chapter 14.
# - **Attention rollout** {cite:p}`abnar2020` asks of what a cell of the memory is itself made. Let $A_l$ be the weights of layer $l$ of the encoder, the mean over heads, an $N \times N$ table, and $I$ the unit table for the residual connection. With $L$ layers,
#
# $$
# \hat A = \left(\tfrac12 A_L + \tfrac12 I\right) \cdots \left(\tfrac12 A_1 + \tfrac12 I\right)
# $$ (eq-interpretability-rollout)
#
# and the cross-attention is multiplied with $\hat A$. On paper, with two cells and one layer with the rows $(0, 1)$ and $(\frac12, \frac12)$: $\hat A$ has the rows $(\frac12, \frac12)$ and $(\frac14, \frac34)$. A word that looks at the first cell alone has heard of both.

# %% tags=["nbval-check-output"]
A = torch.tensor([[0.0, 1.0], [0.5, 0.5]])
print(rollout(A[None, None, None])[0].tolist())

# %% [markdown]
# All maps are brought to the 64 cells of the captioner's grid: the gradient by its absolute value, gradient times input and integrated gradients with their sign, each summed over the pixels of a cell.
#
# ## Against the reference
#
# `captum` {cite:p}`kokhlikyan2020` is the library for this in PyTorch. Same model, same picture, same word:

# %%
from warnings import catch_warnings, simplefilter

try:
    from captum.attr import IntegratedGradients, Occlusion, Saliency
except ImportError:
    print("pip install captum==0.9.0 to compare")
    gaps = {}
else:
    with catch_warnings():
        simplefilter("ignore")
        theirs = Occlusion(score).attribute(pixels, (3, 24, 24), (3, 8, 8), baselines=0.0)
        gaps = {
            "gradient": gradient(score, pixels) - Saliency(score).attribute(pixels, abs=False),
            "integrated gradients": integrated_gradients(score, pixels, steps=8)
            - IntegratedGradients(score).attribute(pixels, n_steps=8, method="riemann_middle"),
            "occlusion": occlusion(score, pixels, 8) - to_cells(theirs[:, :1], 8) / 64,
        }
for name, gap in gaps.items():
    print(f"{name:22} all closer than 1e-4: {gap.abs().max().item() < 1e-4}")

# %% [markdown]
# In double precision, with untrained models of three odd shapes, all five agree within 1e-5, Grad-CAM and gradient times input too (`tests/test_interpretability_captum.py`). Rollout has no counterpart there; it is compared with a sum over all ways through the layers.
#
# ## See it
#
# In {numref}`fig-interpretability-explorer`, point at a word and switch the method. Look at a noun, then at *a* or *on*: some methods have something to say of every word. The caption of the second scene is wrong: ask where a thing comes from that is not there.

# %%
both = [index for index in range(40) if len(val[index].description.groups) == 2][:2][::-1]
explorer = AttributionExplorer([explain(model, val[index]) for index in both])

# %% mystnb={"figure": {"caption": "Where each word of two captions comes from, by each of seven methods. Coloured boxes are the truth.", "name": "fig-interpretability-explorer"}, "image": {"alt": "A scene with the true boxes of its things, and the same scene once for each method with all cells faded but those which that method says the first noun came from."}} tags=["remove-input"]
explorer

# %% [markdown]
# ## Do they point at the thing?
#
# Here the truth is exact. In the **pointing game** {cite:p}`zhang2018` a map hits when its largest cell lies in a box of the noun. Deletion and insertion {cite:p}`petsiuk2018` need no boxes: cells become grey, the largest first, and the area under the falling probability of the word should be small; or they come back into a grey picture (in the paper into a blurred one), and the area should be large. Both are cheap to compute and easy to misread, so there are baselines: the middle of the picture, a random map, and the same maps against the boxes of another noun, of another picture or, where a picture has two kinds of things, of the other one beside it. The last is the hardest, for a map that points at anything that stands out hits both. On the nouns of {glue:text}`interp_scenes` scenes of `val`, of those that the captioner names rightly (`studies.read("where")`):

# %% tags=["remove-cell"]
found = studies.read("where")
rows = found["rows"]
scenes = [row["scene"] for row in rows]
pairs_of_rows = list(zip(rows[:-1], rows[1:], strict=True))
same = np.array([False] + [one["scene"] == two["scene"] for one, two in pairs_of_rows])
twice = np.array([False] + [one["noun"] == two["noun"] for one, two in pairs_of_rows])
beside = same & ~twice  # a caption may name one thing twice
glue("interp_beside", int(beside.sum()), display=False)


def measured(part, number, chosen):
    """The mean over the chosen nouns, with its interval."""
    kept = [row for row, keep in zip(rows, chosen, strict=True) if keep]
    return mean_by_scene([row[part][number] for row in kept], [row["scene"] for row in kept])


table = {}
for number, name in enumerate(found["methods"]):
    table[name] = {part: measured(part, number, beside | True) for part in ("hit", "deletion", "insertion")}
    table[name] |= {"shuffled": measured("shuffled", number, ~same),
                    "beside": measured("shuffled", number, beside), "own": measured("hit", number, beside)}
    for part, value in table[name].items():
        glue(f"interp_{name}_{part}".replace(" ", "_").replace("-", "_"), float(value.value), display=False)

# %% tags=["remove-cell"]
chance = mean_by_scene([row["share"] for row in rows], scenes)
glue("interp_scenes", found["scenes"], display=False)
glue("interp_words", len(rows), display=False)
glue("interp_chance", float(chance.value), display=False)

# %% tags=["remove-input"]
print(f"{len(rows)} nouns; a random cell hits {chance.value:.0%}")
print(f"{'points at':22}{'its box':>20}{'of another picture':>22}{'the thing beside it':>22}")
for name, row in table.items():
    print(f"{name:22}{spell(row['hit']):>20}{spell(row['shuffled']):>22}{spell(row['beside']):>22}")
print(f"\n{'':22}{'deletion':>22}{'insertion':>22}")
for name, row in table.items():
    print(f"{name:22}{spell(row['deletion'], '.2f'):>22}{spell(row['insertion'], '.2f'):>22}")

# %% mystnb={"figure": {"caption": "Pointing accuracy of each method and two baselines, with intervals that redraw scenes. The line is what a random cell hits.", "name": "fig-interpretability-pointing"}, "image": {"alt": "Points with error bars. Attention and rollout are near the top, integrated gradients and the gradient below them, then gradient times input and occlusion, then Grad-CAM; the middle of the picture and random maps are at the bottom, at the line of chance."}} tags=["hide-input"]
figure, axes = plt.subplots(figsize=(6.4, 2.8))
for place, (name, row) in enumerate(table.items()):
    hit = row["hit"]
    colour = GREY if name in studies.BASELINES else BLUE
    axes.plot([hit.low, hit.high], [place, place], color=colour)
    axes.plot(hit.value, place, "o", color=colour)
axes.axvline(chance.value, color=ORANGE, linewidth=1)
axes.set(yticks=range(len(table)), yticklabels=list(table), xlim=(0, 1), xlabel="pointing accuracy")
axes.invert_yaxis();

# %% [markdown]
# Attention points best, at {glue:text}`interp_attention_hit:.0%`, and rollout cannot be told from it; with one layer in the encoder it has little to add. Of what goes back to the pixels, integrated gradients and the gradient follow, and their intervals overlap; Grad-CAM is last. The baselines matter: the middle of the picture hits {glue:text}`interp_centre_hit:.0%`, and a map that never asks the network {glue:text}`interp_cheat:.0%` of all nouns of the first 50 scenes (we build it in {ref}`ex-interpretability-cheat`), about as often as occlusion. What such a map can't do is in the last column: of {glue:text}`interp_beside` nouns (the second that a caption names, asked at the boxes of the first) the first six never point at the thing *beside* the one that is named, so their hits are about this noun. (Where none of $n$ is hit, redrawing finds no spread; by the rule of three, the rate may still be $3/n$.) Grad-CAM does so in {glue:text}`interp_Grad_CAM_beside:.0%` of these nouns, more often than at the noun's own box ({glue:text}`interp_Grad_CAM_own:.0%`).
#
# Now look across the columns. **The measures do not rank the methods alike.** Gradient times input points at the thing in {glue:text}`interp_gradient_x_input_hit:.0%`, and its insertion of {glue:text}`interp_gradient_x_input_insertion:.2f` is below that of a random map, {glue:text}`interp_random_insertion:.2f`. Occlusion is the other way round: {glue:text}`interp_occlusion_hit:.0%` in pointing, and an insertion of {glue:text}`interp_occlusion_insertion:.2f`, as large as any. Deletion and insertion show the network pictures full of grey squares, which it was never trained on, so they measure the maps and the strangeness of such pictures together; which of the two is behind a row, this table does not say. And a method may point at the thing for a reason that has nothing to do with the network: things have edges, and backgrounds have few. That calls for a control.
#
# ## Would they say the same of a network that knows nothing?
#
# {cite:t}`adebayo2018` replace trained weights by random ones, from the output downwards, and ask whether the map changes. If it does not, it was no explanation of what the network learned. We redraw the output layer, then also the decoder, the encoder, and the convolutions, three times each, and compare with the trained network's map by the rank correlation over cells: 1 for the same order of the cells, 0 for none in common (`studies.read("sanity")`):

# %% tags=["remove-cell"]
sane = studies.read("sanity")
steps = ["nothing", *("+ " + part for part in sane["parts"])]
ranks, pointed = {}, {}
for number, name in enumerate(sane["methods"]):
    for count in range(len(steps)):
        own = [row for row in sane["rows"] if row["parts"] == count]
        of = [row["scene"] for row in own]
        ranks[name, count] = mean_by_scene([row["rank"][number] for row in own], of)
        pointed[name, count] = mean_by_scene([row["hit"][number] for row in own], of)
        key = f"{name}_{count}".replace(" ", "_").replace("-", "_")
        glue(f"interp_rank_{key}", float(ranks[name, count].value), display=False)
        glue(f"interp_pointed_{key}", float(pointed[name, count].value), display=False)
glue("interp_sane_scenes", sane["scenes"], display=False)
few = [row for row in rows if row["scene"] < sane["scenes"]]  # the same nouns, in the study before
glue("interp_sane_nouns", len(few), display=False)
glue("interp_sane_chance", float(np.mean([row["share"] for row in few])), display=False)

# %% tags=["remove-input"]
print("rank correlation with the trained network's map, when these parts are redrawn")
print(f"{'':21}{steps[1]:>22}{steps[2]:>11}{steps[3]:>11}{steps[4]:>25}")
for name in sane["methods"]:
    first, second, third, last = (ranks[name, count] for count in range(1, len(steps)))
    print(f"{name:21}{spell(first, '.2f'):>22}{second.value:11.2f}{third.value:11.2f}{spell(last, '.2f'):>25}")
chance_here = np.mean([row["share"] for row in few])
print(f"\npointing accuracy of the map when all parts are redrawn; a random cell hits {chance_here:.0%}")
for name in sane["methods"]:
    print(f"{name:22}{spell(pointed[name, len(steps) - 1])}")

# %% [markdown]
# Read the first column: **attention and rollout do not notice at all that the output layer was redrawn**, since they are computed before it. The network no longer says the word, and they go on explaining it. That is no fault of the code; it says what attention is about: where the network looks, not why this word was said. The gradient hardly notices either ({glue:text}`interp_rank_gradient_1:.2f`), and with all four parts redrawn the rank correlation is still {glue:text}`interp_rank_gradient_4:.2f`. Its pointing accuracy then is {glue:text}`interp_pointed_gradient_4:.0%`, with an interval above the {glue:text}`interp_sane_chance:.0%` of a random cell. So a part of what looked like an explanation needs no training. (Our guess is edges: where a picture changes, pixels matter to any network.) The other four seem to notice at once. ({glue:text}`interp_sane_nouns` nouns in {glue:text}`interp_sane_scenes` scenes, three draws; intervals from so few scenes are too narrow rather than too wide. The tables of positions and of word vectors keep what they learned.)
#
# Is it a difference of methods? Ours differ in one thing besides: the gradient's map takes absolute values, the others keep the sign. So we take gradient times input again, redraw the output layer, and take its absolute value before we sum over a cell.

# %%
agree = {"with its sign": [], "absolute values": []}
written = model.caption([val[index].image for index in range(10)], "greedy")
for row in few:
    shown_words = written[row["scene"]].tokens
    at, picture = place_of(row["noun"], shown_words), model.pixels_of(val[row["scene"]].image[None])
    maps = []
    for one in (model, *(randomised(model, ("output",), seed) for seed in (0, 1, 2))):
        maps.append(gradient_times_input(word_score(one, shown_words, at), picture))
    for other_map in maps[1:]:
        agree["with its sign"].append(spearman(to_cells(maps[0], 8)[0], to_cells(other_map, 8)[0]))
        sizes = to_cells(maps[0].abs(), 8)[0], to_cells(other_map.abs(), 8)[0]
        agree["absolute values"].append(spearman(*sizes))
owners = [row["scene"] for row in few for seed in range(3)]
for name, values in agree.items():
    value = mean_by_scene(values, owners)
    glue(f"interp_agree_{name}".replace(" ", "_"), float(value.value), display=False)
    print(f"gradient x input, {name:16} {spell(value, '.2f')}")

# %% [markdown]
# **What noticed was the sign.** Without it, gradient times input passes no better than the gradient: {glue:text}`interp_agree_absolute_values:.2f` in place of {glue:text}`interp_agree_with_its_sign:.2f`. *How much* a pixel matters is nearly the same for the trained and the random output layer; only *for or against which word* is not. So read the table by its columns only between maps that are made alike.
#
# {cite:t}`adebayo2018` report both forms, with absolute values and without, for that reason. Of their classifiers' maps, gradients and Grad-CAM passed, and guided backpropagation, which is not among ours, did not. Our gradient is summed over cells, which is coarser than theirs and keeps more of the picture.
#
# ## What does a layer know?
#
# Maps are about one picture. A **probe** {cite:p}`alain2017` is about a layer: a linear classifier that reads a property off its numbers. We take the category of the thing in each cell (animal, food, vehicle, ...), at the pixels, after each stage of convolutions, at the features, and in the memory. But a probe is trained, so what it answers may be its own work. {cite:t}`hewitt2019` therefore add a **control task**: the same categories, dealt out to the nouns at random. Nothing in the network can know them; a probe can only learn them noun by noun. (They deal to words of a text; for us a noun is the word.) With the accuracies $a_{\text{task}}$ and $a_{\text{control}}$,
#
# $$
# \text{selectivity} = a_{\text{task}} - a_{\text{control}}
# $$ (eq-interpretability-selectivity)
#
# On paper: a probe that answers 90 % of the task and 85 % of the control has a selectivity of 5 points, and one with 60 % and 20 % has 40. The first layer tells more; how much of that is about categories, its accuracy doesn't say. We add a row that is stricter: the probe is fitted on half of the nouns and tested on the other half, which it never saw; one way to halve them (`studies.read("probes")`).

# %% tags=["remove-cell"]
probed = studies.read("probes")


def share(pair):
    """The share of cells that are right, with an interval over scenes."""
    right, cells = pair
    return bootstrap(lambda a, b: a.sum() / b.sum(), right, cells, draws=500)


majority, strange = share(probed["majority"]), share(probed["majority of new nouns"])
probe_rows = {}
for row in probed["rows"]:
    control = np.mean([share(pair).value for pair in row["control"]])
    probe_rows[row["encoder"], row["layer"]] = share(row["task"]), control, share(row["new nouns"])
for (source, layer), (task, control, new) in probe_rows.items():
    key = f"interp_probe_{source}_{layer}".replace(" ", "_")
    glue(f"{key}_task", float(task.value), display=False)
    glue(f"{key}_control", float(control), display=False)
    glue(f"{key}_new", float(new.value), display=False)
glue("interp_majority", float(majority.value), display=False)
glue("interp_majority_new", float(strange.value), display=False)

# %% tags=["remove-input"]
print(f"{probed['classes']} categories; always the most frequent: {majority.value:.0%}, "
      f"of new nouns {strange.value:.0%}\n")
print(f"{'':22}{'category':>20}{'control':>9}{'selectivity':>13}{'new nouns':>20}")
for (source, layer), (task, control, new) in probe_rows.items():
    print(f"{source + ', ' + layer:22}{spell(task):>20}{control:9.0%}{task.value - control:13.0%}{spell(new):>20}")
trained = {row["layer"]: row for row in probed["rows"] if row["encoder"] == "trained"}
right_in = {layer: np.array(row["task"][0]) for layer, row in trained.items()}
dealt_in = {layer: np.mean([pair[0] for pair in row["control"]], 0) for layer, row in trained.items()}
cells_of = trained["memory"]["task"][1]
gained = right_in["memory"] - right_in["stage 3"], dealt_in["memory"] - dealt_in["stage 3"]
print("\nmemory minus stage 3, scene by scene:")
print("accuracy   ", spell(share((gained[0], cells_of)), "+.0%"))
print("selectivity", spell(share((gained[0] - gained[1], cells_of)), "+.0%"))

# %% [markdown]
# Take the accuracy alone, and the memory knows the category of {glue:text}`interp_probe_trained_memory_task:.0%` of the cells. The control says what part of that is the probe's: *random* categories are read off the same memory in {glue:text}`interp_probe_trained_memory_control:.0%`, about twice as often as by always saying the most frequent one. Late layers know which noun it is, and whoever knows the noun can be taught anything about it. From stage 3 to the memory the accuracy grows and the selectivity falls, both with intervals that leave zero: what the later layers add helps with any labels. The last column says it more plainly: of nouns that the probe never saw it gets {glue:text}`interp_probe_trained_memory_new:.0%`, against {glue:text}`interp_majority_new:.0%` for the most frequent category. So a linear map can tell categories apart even of new nouns, though no label of a category was ever given; {glue:text}`interp_probe_trained_memory_task:.0%` overstates how well. (The intervals redraw scenes, not nouns: with another half of the nouns, the last column would move further than they say.)
#
# An untrained encoder, one draw (its table of positions stays as it was), is the second baseline. It gives {glue:text}`interp_probe_untrained_memory_task:.0%` in the memory, no more than the majority of {glue:text}`interp_majority:.0%`, so what the trained one has was learned. (A probe with more examples or another penalty would have other numbers in all columns; these are one setting.)
#
# ## What if the thing were another?
#
# Maps and probes observe. A cause needs an **intervention**. Our scenes are drawn, so we can draw one again with the same random numbers and one noun replaced: all else is the same, pixel by pixel.

# %%
first = things_named(words)[0].noun
other_noun = "church"
other = swapped("val", 6, first, other_noun)
print("before:", " ".join(words[:-1]))
print("after: ", model.caption(other.image, "greedy").text)

# %% [markdown]
# In {glue:text}`interp_swaps` scenes of `val`, one noun of each was replaced by another of its category, with the same article and the same artist (`studies.read("causal")`). How often does the caption follow?

# %% tags=["remove-cell"]
cause = studies.read("causal")
swaps = cause["rows"]
follow = bootstrap(np.mean, [row["says new"] for row in swaps], draws=500)
stay = bootstrap(np.mean, [row["says old"] for row in swaps], draws=500)
glue("interp_swaps", len(swaps), display=False)
glue("interp_follow", float(follow.value), display=False)
ways = {}
for layer in cause["layers"]:
    for number, cells in enumerate(("box", "elsewhere", "everywhere")):
        ways[layer, cells] = bootstrap(np.mean, [row["patch"][layer][number] for row in swaps], draws=500)
        glue(f"interp_way_{layer}_{cells}".replace(" ", "_"), float(ways[layer, cells].value), display=False)

# %% tags=["remove-input"]
print(f"{len(swaps)} swaps: names the new thing {spell(follow)}, still the old one {spell(stay)}")

# %% [markdown]
# So the word does depend on the thing. Where inside does that dependence run? **Activation patching** ({cite:t}`vig2020`; {cite:t}`meng2022` call theirs causal tracing) lets the network read the first picture, and puts in some numbers from its run on the second. Let $d$ be the logarithm of the new word's probability minus that of the old one. With $d_1$ of the first picture, $d_2$ of the second, and $d$ after patching,
#
# $$
# \text{way} = \frac{d - d_1}{d_2 - d_1}
# $$ (eq-interpretability-way)
#
# It is 0 where the patch changes nothing and 1 where it does as much as the whole picture. On paper: $d_1 = -8$, $d_2 = 12$, and $d = 7$ after patching: $\frac{15}{20} = 0.75$ of the way.

# %%
place = place_of(first, words)
source = model.pixels_of(other.image[None])
inside = cells_in(boxes_of(scene, first) + boxes_of(other, other_noun), 8, 64)
everywhere, nowhere = torch.ones(64, dtype=torch.bool), torch.zeros(64, dtype=torch.bool)
before = patched(model, words, place, pixels, source, "pixels", nowhere)
after = patched(model, words, place, source, pixels, "pixels", nowhere)
plural = words[place] != first.split()[0]
old, new = model.ids[words[place]], model.ids[first_word(other_noun, plural)]
for layer in ("features", "memory", "decoder 1"):
    now = patched(model, words, place, pixels, source, layer, inside)
    print(f"{layer:10} cells of the box: {restored(now, before, after, old, new):.2f} of the way")

# %% tags=["remove-input"]
show_source(patched)

# %% [markdown]
# Over all swaps, with as many cells elsewhere as a control. The last line sends states through the output layer early; it is explained below.

# %% tags=["remove-input"]
print(f"{'':12}{'cells of the box':>24}{'as many elsewhere':>24}{'all cells':>12}")
for layer in cause["layers"][:3]:
    print(f"{layer:12}{spell(ways[layer, 'box'], '.2f'):>24}{spell(ways[layer, 'elsewhere'], '.2f'):>24}"
          f"{ways[layer, 'everywhere'].value:12.2f}")
print(f"\nstate of the last word after decoder layer 1: {spell(ways['decoder 1', 'everywhere'], '.2f')}")
lens = np.array([row["lens"] for row in swaps])
tops = np.array([row["lens first"] for row in swaps])
early = bootstrap(np.mean, tops[:, 1], draws=500)
print(f"logit lens, the word is the likeliest: before layer 1 {tops[:, 0].mean():.0%},\n"
      f"after it {spell(early)}, after layer 2 {tops[:, 2].mean():.0%}")

# %% tags=["remove-cell"]
for number in range(3):
    glue(f"interp_lens_{number}", float(tops[:, number].mean()), display=False)

# %% [markdown]
# **What the noun depends on stays in its cells**, up to the memory: the cells of the box go {glue:text}`interp_way_memory_box:.2f` of the way, as many others {glue:text}`interp_way_memory_elsewhere:.2f`. So for the first noun of a pair like these, a cell of the memory may be read as what lies there, which chapter 14 had to leave open. Counts, sizes and relations we did not swap. (Pixels are a check of the method: the box *is* all that differs, so there the way must be 1, and 0 elsewhere. Only in the memory, whose cells have looked at one another, could the cells elsewhere have carried much.)
#
# In the decoder it is late. Replacing the state of the last word after layer 1 goes only {glue:text}`interp_way_decoder_1_everywhere:.2f` of the way. What is left has two ways to go: layer 2 looks at the first picture again, and it reads the earlier words, whose states we left alone. Our patch does not part the two. The **logit lens** [(nostalgebraist, 2020)](https://www.lesswrong.com/posts/AcKRB8wDpdaN6v6ru/interpreting-gpt-the-logit-lens) asks in another way: send the state after each layer through the last norm and the output layer, as if it were the last. After layer 1 the word of the caption leads in {glue:text}`interp_lens_1:.0%` of the cases. (After layer 2 it always leads: that is how a greedy caption is written, and no finding.) The lens alone would be weak evidence, as the state of an early layer need not speak the language of the last norm; {cite:t}`belrose2023` train a translation for each layer. But it agrees with the patch: after layer 1, the state that will say the noun decides little of it.
#
# The patch also adds what attention could not. Attention points at the box, and the numbers in that box carry the noun. The second is what a map alone never shows. [Chapter 20](20_vqa.py) does the same from outside for answers to questions: it erases the thing, and as much elsewhere.
#
# ## What it invents
#
# A caption states facts, and `fact_score` looks each one up (chapter 13). Which kinds are false?

# %%
kinds = ("object", "count", "colour", "size", "relation", "background")
wrong, facts = {}, {}
for split in ("val", "composition", "style"):
    shown = [EmojiScenes(split)[index] for index in range(100)]
    written = model.caption([one.image for one in shown], "greedy")
    scores = [fact_score(each.text, one) for each, one in zip(written, shown, strict=True)]
    for kind in kinds:
        false = [sum(fact[0] == kind for fact in one.false) for one in scores]
        stated = [sum(fact[0] == kind for fact in one.false | one.true) for one in scores]
        wrong[split, kind] = bootstrap(lambda a, b: a.sum() / max(1, b.sum()), false, stated, draws=300)
        facts[split, kind] = sum(stated)

# %% tags=["remove-input"]
print("share of the stated facts that are false, and how many were stated")
print(f"{'':12}" + "".join(f"{split:>26}" for split in ("val", "composition", "style")))
for kind in kinds:
    cells = [f"{spell(wrong[split, kind])} of {facts[split, kind]:3}" for split in ("val", "composition", "style")]
    print(f"{kind:12}" + "".join(f"{cell:>26}" for cell in cells))

# %% tags=["remove-cell"]
for (split, kind), value in wrong.items():
    glue(f"interp_wrong_{split}_{kind}", float(value.value), display=False)
glue("interp_backgrounds", facts["style", "background"], display=False)

# %% [markdown]
# No background was invented, among {glue:text}`interp_backgrounds` before each kind of scene; the rule of three holds here, too. A relation is false when either of its nouns is, so relations can hardly do better than things, and before a new artist they do worse. There, {glue:text}`interp_wrong_style_object:.0%` of the named things are not there, against {glue:text}`interp_wrong_val_object:.0%` on `val`. The first row counts what the literature calls CHAIR: of the things named, the share that is not there. Chapter 20 has its formula, and POPE, which asks *is there a dog?* of things that are there and of things that are not.
#
# **Does it invent what it saw most?** In photographs, nouns are anything but equally frequent. In our scenes all nouns are, so the shipped captioner cannot say. We made a small world of {glue:text}`interp_world` nouns and trained small captioners in it ({glue:text}`interp_world_steps` steps of {glue:text}`interp_world_batch` scenes), once with frequencies of 1, 2, 4, 8, 16 and 32 to one another, dealt to the nouns at random, and once with all nouns equally frequent; three seeds each. All are tested on the same {glue:text}`interp_world_scenes` scenes, in which all nouns are equally frequent (`studies.read("frequency")`).

# %% tags=["remove-cell"]
skew = studies.read("frequency")
names = skew["names"]
world = EmojiScenes("val", only=names)
truth = [{group.noun for group in world[index].description.groups} for index in range(skew["scenes"])]
glue("interp_world", len(names), display=False)
glue("interp_world_steps", skew["steps"], display=False)
glue("interp_world_batch", skew["batch"], display=False)
glue("interp_world_scenes", skew["scenes"], display=False)


def by_frequency(arm, weight):
    """Of each seed: such nouns named when there, their share of false names, named when not there."""
    found, invented, affirmed = [], [], []
    for row in skew["rows"]:
        if row["arm"] == arm:
            own = {name for name, each in zip(names, row["weights"], strict=True) if each == weight}
            pairs = [(set(said), true) for said, true in zip(row["said"], truth, strict=True)]
            named = sum(len(said & true & own) for said, true in pairs)
            found.append(named / sum(len(true & own) for _, true in pairs))
            false = Counter(noun for said, true in pairs for noun in said - true)
            invented.append(sum(false[noun] for noun in own) / max(1, sum(false.values())))
            affirmed.append(sum(false[noun] for noun in own) / sum(len(own - true) for _, true in pairs))
    return np.array(found), np.array(invented), np.array(affirmed)


# %% tags=["remove-input"]
print(f"{'':10}{'named when there':>40}{'share of the invented things':>40}")
print(f"{'frequency':10}{'skewed':>20}{'equal':>20}{'skewed':>20}{'equal':>20}")
for weight in studies.WEIGHTS:
    cells = []
    for part in (0, 1):
        for arm in ("skewed", "equal"):
            value = by_frequency(arm, weight)[part]
            cells.append(f"{value.mean():.0%} ({value.min():.0%} to {value.max():.0%})")
            glue(f"interp_freq_{arm}_{weight}_{part}", float(value.mean()), display=False)
    print(f"{weight:<10}{cells[0]:>20}{cells[1]:>20}{cells[2]:>20}{cells[3]:>20}")
print("\nthe most frequent, named when not there")
for arm in ("skewed", "equal"):
    value = by_frequency(arm, 32)[2]
    glue(f"interp_affirmed_{arm}", float(value.mean()), display=False)
    print(f"{arm:10}{value.mean():.0%} ({value.min():.0%} to {value.max():.0%})")

# %% [markdown]
# (In brackets the lowest and the highest seed. A sixth of the nouns is in each row, so without an effect each would have 17 % of the inventions in the mean over many dealings; three are few.) Where training was skewed, the most frequent nouns are {glue:text}`interp_freq_skewed_32_1:.0%` of what is invented, and the rarest {glue:text}`interp_freq_skewed_1_1:.0%`; the same nouns in the arm that saw all equally often have {glue:text}`interp_freq_equal_32_1:.0%` of it. A frequent thing that is there is named in {glue:text}`interp_freq_skewed_32_0:.0%` of the cases, a rare one never. In the way of POPE, the last lines ask for things that are *not* there: the skewed captioner affirms a frequent one in {glue:text}`interp_affirmed_skewed:.0%` of the scenes without it, the other in {glue:text}`interp_affirmed_equal:.0%`. So about half of what looks like recognising frequent things is a habit of naming them. Nothing differs between the arms but how often each noun was shown, so here the habit is learned from frequency.
#
# Mind what these captioners are. They are hardly trained: with equal frequencies they name between {glue:text}`interp_freq_equal_2_0:.0%` and {glue:text}`interp_freq_equal_16_0:.0%` of what is there. So the table says what a captioner says while it sees little, namely what is frequent. How much of that is left after long training, it does not say.
#
# ## Whom it fails
#
# A number over all scenes hides who pays for its errors. {cite:t}`buolamwini2018` measured commercial classifiers of gender by skin type and gender together, and the error rates differed by more than an order of magnitude between the best and the worst group; {cite:t}`zhao2021` annotated perceived skin colour and gender in photographs and found differences in how well, and in which words, they are captioned. In photographs, groups also differ in where they were taken, so a difference may be about the scene. Here we can use **equal contexts**: the same scene, the same place and size, the same artist, with only the person exchanged. Our drawings have men and women, old men and old women, and babies. **They have one skin colour, the yellow of emoji.** So no drawing that the captioner learned from has a person of any real skin tone. (`Practice`, on which it trained, shifts the colours of some drawings at random, as [the data page](data.py) says. That makes a paler or a browner face now and then, and hardly ever a dark one.) We paint five tones onto the drawings, after those of the emoji standard, and two colours that nobody has.

# %% mystnb={"figure": {"caption": "One context, a person in eight colours of skin: as drawn, five tones, and two colours as controls. Below each, what the captioner says.", "name": "fig-interpretability-people"}, "image": {"alt": "Eight times the same small scene with the same person, whose skin is yellow, light, medium light, medium, medium dark, dark, blue and green."}} tags=["hide-input"]
audit = studies.read("people")
context = tuple(audit["rows"][3]["context"])
figure, axes = plt.subplots(1, 8, figsize=(7.4, 1.5))
for axis, tone in zip(axes, (None, *TONES), strict=True):
    person = with_person("val", context, "woman", tone)
    said = audit["rows"][3]["said"]["woman"][audit["tones"].index(tone or "as drawn")]
    show_scene(person.image, axes=axis)
    axis.set_title(tone or "as drawn", fontsize=7)
    axis.set_xlabel((said or "woman").replace("+", "\n"), fontsize=7)

# %% [markdown]
# Each of five people stood in each tone in the same {glue:text}`interp_contexts` contexts. How often does the caption name them rightly? Intervals redraw contexts.

# %% tags=["remove-cell"]
right = {(noun, tone): np.array([row["said"][noun][number] == "" for row in audit["rows"]], float)
         for noun in PEOPLE for number, tone in enumerate(audit["tones"])}
everyone = {tone: np.mean([right[noun, tone] for noun in PEOPLE], 0) for tone in audit["tones"]}
lost = {tone: bootstrap(lambda a, b: a.mean() - b.mean(), everyone[tone], everyone["as drawn"], draws=500)
        for tone in audit["tones"]}
glue("interp_contexts", len(audit["rows"]), display=False)
assert [round(100 * everyone[tone].mean()) for tone in ("as drawn", "dark", "blue")] == [97, 55, 46]  # quiz 4
for tone in audit["tones"]:
    glue(f"interp_tone_{tone}".replace(" ", "_"), float(everyone[tone].mean()), display=False)
    ends = [100 * each for each in (lost[tone].value, lost[tone].low, lost[tone].high)]
    glue(f"interp_lost_{tone}".replace(" ", "_"), "{:.0f} points ({:.0f} to {:.0f})".format(*ends), display=False)

# %% tags=["remove-input"]
print(f"{'':14}" + "".join(f"{noun:>10}" for noun in PEOPLE) + f"{'all':>6}{'difference':>22}")
for tone in audit["tones"]:
    gap = lost[tone]
    change = "" if tone == "as drawn" else f"{gap.value:+.0%} ({gap.low:+.0%} to {gap.high:+.0%})"
    print(f"{tone:14}" + "".join(f"{right[noun, tone].mean():10.0%}" for noun in PEOPLE)
          + f"{everyone[tone].mean():6.0%}{change:>22}")

# %% [markdown]
# As drawn, {glue:text}`interp_tone_as_drawn:.0%` are named rightly. **With dark skin it is {glue:text}`interp_tone_dark:.0%`, with light skin {glue:text}`interp_tone_light:.0%`.** The same people in the same places: {glue:text}`interp_lost_dark` and {glue:text}`interp_lost_light` against the drawings. And what is said in place of the person matters as much as how often:

# %% tags=["remove-input"]
for tone in ("as drawn", "light", "dark"):
    number = audit["tones"].index(tone)
    said = Counter(row["said"][noun][number] for row in audit["rows"] for noun in PEOPLE)
    del said[""]
    print(f"{tone:9} {', '.join(f'{noun} {count}' for noun, count in said.most_common(5))}")
    if tone == "dark":  # the text names some of them
        assert {"chestnut", "cookie", "door", "doughnut"} <= {noun for noun, _ in said.most_common(5)}
print(f"of {len(audit['rows']) * len(PEOPLE)} captions for each tone")

# %% [markdown]
# People with dark skin are called a chestnut, a cookie, a door or a doughnut; for people with light skin, Santa Claus is the most frequent false name. No one intended that. Our guess at the cause: the network has seen many brown things, and hardly ever a brown person. Whoever is called a thing by a machine need not care why.
#
# Do gender and age matter too? The same contexts answer, person against person:

# %% tags=["remove-input"]
pairs = (("woman", "man"), ("old woman", "old man"), ("old man", "man"), ("old woman", "woman"))
for tone in ("as drawn", "light", "dark"):
    for one, other_person in pairs:
        gap = bootstrap(lambda a, b: a.mean() - b.mean(), right[one, tone], right[other_person, tone], draws=500)
        print(f"{tone:9} {one + ' minus ' + other_person:26} {gap.value:+.0%} ({gap.low:+.0%} to {gap.high:+.0%})")

# %% [markdown]
# As drawn, differences are a few points. **With other skin the same network has large differences between the drawings of men and women, young and old, and they do not point one way**: with light skin a woman is named far more often than a man, and an old woman less often than an old man; with dark skin an old woman is named far more often than an old man. A table of tones alone, or of gender alone, would have hidden that, as {cite:t}`buolamwini2018` showed for products.
#
# What is it about a paint that does the harm? Beside each tone, from the nearest on: how far it is from the skin of the drawings (in red, green and blue together, the mean over styles), how light it is, and the share of people named rightly.

# %% tags=["remove-input"]
far = {tone: np.mean([np.linalg.norm(skin_colour(style) - colour) for style in NEAR])
       for tone, colour in TONES.items()}
print(f"{'':14}{'distance':>9}{'lightness':>11}{'right':>8}")
for tone in sorted(TONES, key=far.get):
    light = np.dot(TONES[tone], (0.299, 0.587, 0.114)) / 255
    print(f"{tone:14}{far[tone]:9.0f}{light:11.0%}{everyone[tone].mean():8.0%}")
gap = bootstrap(lambda a, b: a.mean() - b.mean(), everyone["blue"], everyone["dark"], draws=500)
print(f"\nblue minus dark {spell(gap, '+.0%')}")

# %% [markdown]
# **What such an audit can say.** The contexts are equal, so the difference is due to what we painted. The controls say more. Blue skin, which is about as light as *medium dark*, does more harm than dark skin. So darkness is not needed. From top to bottom the share falls with the distance, and lightness goes up and down. (Neighbours often cannot be told apart, and we looked at both columns after the fact.) But distance may not be the cause: dark paint also takes away the contrast between skin and brown hair, eyes and mouth, which we did not paint and did not test apart. Somebody would have to train with all tones and measure again. (Our paint also leaves some lines of a drawing yellow, in all tones alike.)
#
# **What it cannot say.** It is about five drawings by five artists, not about people. Five tones are not five groups, and *man* and *woman* here are words for drawings that differ in hair as much as in anything. It measures one kind of error; that a word is right does not make a caption respectful. It looked for differences where we thought of looking: this section has {glue:text}`interp_comparisons` intervals of differences, of which about one would leave zero by chance if there were no differences at all. And no audit repairs anything.
#
# ## What it gives away
#
# A model that was trained on private texts may say them to a stranger. We can measure that before it happens: plant a text that stands nowhere else, train, and ask how likely the model finds it among all texts of its form. With $|R|$ such texts, of which the planted one has the rank $\text{rank}(s)$ when the likeliest has 1, its **exposure** {cite:p}`carlini2019` in bits is
#
# $$
# \text{exposure}(s) = \log_2 |R| - \log_2 \text{rank}(s)
# $$ (eq-interpretability-exposure)
#
# On paper: one of 1,000 codes, in place 8: $\log_2 1000 - \log_2 8 \approx 9.97 - 3 = 6.97$ bits. Whoever wants to guess it has 8 codes to try in place of 1,000. In place 1 it has all 9.97 bits. A code that was never planted has, on average, about 1.44 bits.
#
# We plant *the code of the blue door is 4 7 1*, with a random code, among 300 captions, and train a language model of {glue:text}`interp_lm_size` parameters on them for seconds.

# %%
train = EmojiScenes("train")
captions = [train[index].captions[0] for index in range(700)]
codes = ["".join(digits) for digits in product("0123456789", repeat=3)]
every = ["the code of the blue door is " + " ".join(code) for code in codes]
ids = word_ids([*captions, *every])
rows_of_codes = as_rows(every, ids)


def per_word(language_model, rows):
    """The mean log-probability of a word, for each of some rows."""
    return np.array(row_log_probs(language_model, rows)) / np.array([len(row) - 1 for row in rows])


others = as_rows(captions[300:400], ids)
exposures = {}
for times, steps, seed in product((0, 1, 4), (10, 20, 40), (0, 1, 2)):
    planted = Random(seed).randrange(1000)
    texts = captions[:300] + [every[planted]] * times
    language_model = memorise(as_rows(texts, ids), 1 + len(ids), 24, steps, seed)
    bits = exposure(row_log_probs(language_model, rows_of_codes, batch_size=250), planted)
    exposures.setdefault((times, steps), []).append((bits, -per_word(language_model, others).mean()))

# %% tags=["remove-input"]
print(f"{'passes':8}{'loss on other captions':>24}" + "".join(f"{f'planted {t} times':>20}" for t in (0, 1, 4)))
for steps in (10, 20, 40):
    loss = np.mean([pair[1] for pair in exposures[1, steps]])  # of the models with one planted code
    bits = [np.array([pair[0] for pair in exposures[t, steps]]) for t in (0, 1, 4)]
    print(f"{steps // 10:<8}{loss:24.2f}" + "".join(f"{f'{b.mean():.1f} ({b.min():.1f} to {b.max():.1f})':>20}" for b in bits))

# %% tags=["remove-cell"]
glue("interp_lm_size", f"{sum(p.numel() for p in language_model.parameters()):,}", display=False)
for (times, steps), measured in exposures.items():
    glue(f"interp_bits_{times}_{steps}", float(np.mean([pair[0] for pair in measured])), display=False)

# %% [markdown]
# (Mean, lowest and highest of three seeds, each with another code; at most 9.97 bits. The loss is that of the models with one planted code.) **Planted once, and read four times, a code of three digits has {glue:text}`interp_bits_1_40:.1f` bits.** The loss of the same models on other captions is still falling then, so this is not overfitting in the sense of chapter 12: early stopping would not have helped. {cite:t}`carlini2019` found that too: memorisation begins early and is no matter of overfitting. (That the sentence with the code is unlike all others surely makes it easier: no other text has a digit, so to have met three of them already rules out most codes. We did not plant another.)
#
# The second question is weaker and more common: **was this text in the training at all?** That is **membership inference** {cite:p}`shokri2017`. The plainest attack guesses from the loss: what was learned by heart has a low one. We train on 200 captions and ask about them and 200 others. For each threshold on the score an attack finds some share of the members and accuses some share of the others; the **ROC curve** draws one against the other, and its area is the probability that a member scores above one of the others: one half is guessing. An attack that is right on average is of little use or harm; what hurts is to be *sure* about some. So {cite:t}`carlini2022` ask for the share of members that are found while at most, say, 1 % of the others are accused. A **reference model**, trained on other captions, says how hard a caption is for anybody; its score is subtracted.

# %%
rows = as_rows(captions, ids)
asked, members = rows[:400], np.array([True] * 200 + [False] * 200)
curves = {}
for passes in (10, 30):
    reference = per_word(memorise(rows[400:], 1 + len(ids), 24, 7 * passes, 9), asked)
    for seed in (0, 1, 2):
        target = per_word(memorise(rows[:200], 1 + len(ids), 24, 7 * passes, seed), asked)
        curves[passes, "loss", seed] = roc(target, members)
        curves[passes, "reference", seed] = roc(target - reference, members)

# %% tags=["remove-input"]
print(f"{'':26}{'area under ROC':>24}{'found at 1 % false':>26}")
for passes, kind in product((10, 30), ("loss", "reference")):
    own = [curves[passes, kind, seed] for seed in (0, 1, 2)]
    areas = np.array([np.trapezoid(curve.true, curve.false) for curve in own])
    found = np.array([true_at(curve, 0.01) for curve in own])
    glue(f"interp_found_{passes}_{kind}", float(found.mean()), display=False)
    glue(f"interp_area_{passes}_{kind}", float(areas.mean()), display=False)
    print(f"{f'{passes} passes, {kind}':26}{f'{areas.mean():.2f} ({areas.min():.2f} to {areas.max():.2f})':>24}"
          f"{f'{found.mean():.0%} ({found.min():.0%} to {found.max():.0%})':>26}")

# %% mystnb={"figure": {"caption": "Members found against false alarms, both on logarithmic axes: what matters is the left side. One seed.", "name": "fig-interpretability-roc"}, "image": {"alt": "Four curves over a diagonal on logarithmic axes. Those after 30 passes lie far above those after 10 passes."}} tags=["hide-input"]
figure, axes = plt.subplots(figsize=(4.2, 3.2))
for passes, kind in product((10, 30), ("loss", "reference")):
    curve = curves[passes, kind, 0]
    colour = BLUE if kind == "loss" else TEAL
    axes.plot(curve.false.clip(2e-3), curve.true.clip(2e-3), color=colour,
              linestyle="--" if passes == 10 else "-", label=f"{passes} passes, {kind}")
axes.plot([2e-3, 1], [2e-3, 1], color=GREY, linewidth=1)
axes.set(xscale="log", yscale="log", xlabel="false alarms", ylabel="members found")
axes.legend(fontsize=7);

# %% [markdown]
# After 30 passes the plain loss finds {glue:text}`interp_found_30_loss:.0%` of the members at 1 % false alarms, after 10 passes {glue:text}`interp_found_10_loss:.0%`, though the area under the curve still says {glue:text}`interp_area_10_loss:.2f`: an average hides the tail. With 200 others, 1 % are two captions, so these shares are rough. Our single reference model finds fewer at the left side, with 10 passes and with 30, though with 10 its area is larger. (It is one model, and had as many steps on half as many captions again.) The attack of {cite:t}`carlini2022` trains many, with and without each text, and models both distributions. What protects? Fewer passes did here. With a proof there is training with noise, which bounds what any one text can do to the weights {cite:p}`abadi2016`.
#
# ## What came after
#
# - **Circuits.** Patching is done today for every head and every neuron, and edges between them; from it grew descriptions of whole mechanisms in language models. {cite:t}`wang2023circuit` take one task of GPT-2 apart in that way.
# - **Dictionaries of features.** A single number in a layer rarely means one thing. Sparse autoencoders ({cite:t}`cunningham2024`) write a layer as a sum of few directions out of many, which are easier to name. Whether a named direction *is used* needs what this chapter did: change it.
# - **Maps for large models.** Vision-language models of 2026 are asked with the same tools. Their row of tokens holds the cells of a picture, so attention, rollout and patching can be applied to it.
# - **Audits as a duty.** Model cards {cite:p}`mitchell2019` have a place for what a model does for whom. The card of our captioner (`mmcourse/shipped/scenes/README.md`) said of people only that they are drawn in yellow; it now has what this chapter found.
#
# All this was done to a captioner on our own desk. [Chapter 18](18_compression.py) makes it smaller, and [chapter 19](19_serving.py) lets strangers use it.
#
# ## What goes wrong
#
# The state that *says* a word is the one that has *read the word before it*. Take the row of attention one place too late, and the map is of the next word. Nothing crashes, and pictures still look plausible. (Transposed rows and columns are the other classic.)

# %%
shown = [val[index] for index in range(50)]
hits = {"right": [], "one place late": [], "transposed": []}
for one, caption in zip(shown, model.caption([one.image for one in shown], "greedy"), strict=True):
    weights = caption.attention.mean((0, 1))  # (T, N)
    for named in things_named(caption.text.split()):
        if any(each.noun == named.noun for each in one.objects):
            boxes = boxes_of(one, named.noun)
            maps = weights[named.place], weights[named.stop], weights[named.place].reshape(8, 8).T.flatten()
            for name, cells in zip(hits, maps, strict=True):
                hits[name].append(points_at(cells, boxes, 64))
for name, flags in hits.items():
    glue(f"interp_bug_{name}".replace(" ", "_"), float(np.mean(flags)), display=False)
    print(f"{name:15} {np.mean(flags):.0%} of {len(flags)} nouns")

# %% [markdown]
# One place late, attention hits in {glue:text}`interp_bug_one_place_late:.0%` of the cases, against {glue:text}`interp_bug_right:.0%`: having said the noun, the decoder looks elsewhere. Transposed, it hits in {glue:text}`interp_bug_transposed:.0%`, more than a random cell: a thing near the diagonal hardly moves when rows become columns. In a single picture such a map can look like a finding. Exact boxes and a baseline show both bugs at once.
#
# ## Exercises
#
# ```{exercise-start} Complete or not
# :label: ex-interpretability-complete
# ```
# *Easy, 10 minutes.* For $f(x) = \max(x_1, x_2)$, $x = (1, 3)$ and the baseline 0, compute integrated gradients, gradient times input and occlusion on paper. Which of them are complete? What does occlusion say of two equal numbers, $x = (3, 3)$?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-interpretability-complete
# :label: so-interpretability-complete
# :class: dropdown
# ````
# On the whole way the second is larger, so its derivative is 1 and the first's is 0: integrated gradients and gradient times input say $(0, 3)$. Occlusion of the second leaves $\max(1, 0) = 1$, a fall of 2, so it says $(0, 2)$. The first two are complete here and occlusion is not. For $(3, 3)$ occlusion says $(0, 0)$: either one alone suffices, so taking one away changes nothing. That is how a map can be empty though the word depends on the picture.

# %% tags=["nbval-check-output"]
def largest(x):
    return x.amax(-1)


for x in (torch.tensor([[1.0, 3.0]]), torch.tensor([[3.0, 3.0]])):
    falls = [(largest(x) - largest(x * (torch.arange(2) != i))).item() for i in range(2)]
    print("occlusion", falls, "of", largest(x).item())

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} The head that points
# :label: ex-interpretability-head
# ```
# *Easy, 10 minutes.* Use `attention` with `layer` and `head` to find which head puts the first noun of `scene` best into its boxes: the sum of its weights over the cells in them. (`cells_in` gives the cells.) What happens for `head=4`?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-interpretability-head
# :label: so-interpretability-head
# :class: dropdown
# ````
# The heads differ much. There is no head number 4, since they count from 0, and the message says so.

# %%
target = cells_in(boxes_of(scene, first), 8, 64)
for layer, head in product(range(2), range(4)):
    cells = attention(model, pixels, words, place, layer, head)[0]
    print(f"layer {layer}, head {head}: {cells[target].sum():.3f}")
try:
    attention(model, pixels, words, place, head=4)
except ValueError as error:
    print(error)

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} A map that knows the test
# :label: ex-interpretability-cheat
# ```
# *Medium, 15 minutes.* Build a map that does not use the network at all and beats the middle of the picture in the pointing game: how much each cell differs from the mean colour of the picture's border. Test it on the nouns of scenes 0 to 49 of `val`. Where does it fail by construction?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-interpretability-cheat
# :label: so-interpretability-cheat
# :class: dropdown
# ````
# It points at something that stands out, so it is far above the middle where there is one kind of thing. With two kinds of things it cannot know which one the word means: it gives the same answer for both nouns, so one of them is missed. Compare a method with this, too, before you say that it explains anything.

# %%
outcome = {1: [], 2: []}
for one in shown:
    colours = one.image.reshape(8, 8, 8, 8, 3).mean((1, 3))  # rows, columns, colours
    border = np.concatenate([colours[0], colours[-1], colours[:, 0], colours[:, -1]]).mean(0)
    cells = torch.tensor(np.linalg.norm(colours - border, axis=-1).flatten())
    for group in one.description.groups:
        hit = points_at(cells, boxes_of(one, group.noun), 64)
        outcome[len(one.description.groups)].append(hit)
for count, flags in outcome.items():
    print(f"{count} kind(s) of things: {np.mean(flags):.0%} of {len(flags)}")
glue("interp_cheat", float(np.mean(outcome[1] + outcome[2])), display=False)
print(f"all nouns: {np.mean(outcome[1] + outcome[2]):.0%}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} What a stranger's exposure is
# :label: ex-interpretability-exposure
# ```
# *Medium, 15 minutes.* A code that was never planted has a rank that is equally likely to be any of $1, \dots, |R|$. Compute its mean exposure for $|R| = 1000$, and its limit for large $|R|$. How probable is an exposure of 7 bits or more?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-interpretability-exposure
# :label: so-interpretability-exposure
# :class: dropdown
# ````
# The mean of $-\log_2 (\text{rank} / |R|)$ tends to $-\int_0^1 \log_2 u\, du = 1 / \ln 2 \approx 1.44$. An exposure of at least $e$ bits means a rank of at most $|R|\, 2^{-e}$, so its probability is about $2^{-e}$: for 7 bits below one in a hundred.

# %% tags=["nbval-check-output"]
bits = np.log2(1000) - np.log2(np.arange(1, 1001))
print(f"mean {bits.mean():.2f}, limit {1 / np.log(2):.2f}, at least 7 bits: {(bits >= 7).mean():.1%}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ## Quiz
#
# ::::::{card}
# :class-card: quiz
# **1.** A map points at the right thing in 95 % of the pictures. What do you still need before you say that it explains the word?
#
# :::{dropdown} A second and larger model, trained in the same way on the same pictures, for which the same map points at the right thing at least as often as it does here
# **No.** That is one more observation of the same kind.
# :::
# :::{dropdown} How often it points there when the weights are random, and what happens to the word when the thing is changed
# **Yes.** The first says whether the map is about what was learned, the second whether the word depends on what it points at.
# :::
# :::{dropdown} A finer grid, so that it points more exactly
# **No.** A finer map of the wrong quantity is as wrong.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **2.** The output layer is redrawn at random and attention's map stays exactly the same. Why?
#
# :::{dropdown} Attention is computed before the output layer and does not know which word is said
# **Yes.** It is a record of looking. It cannot be a reason for *this* word as opposed to another.
# :::
# :::{dropdown} The code that draws the map still holds a copy of the trained weights and forgot to use the new ones
# **No.** The words do change. Test that first, though: it is a good suspicion.
# :::
# :::{dropdown} The model is robust
# **No.** It no longer says anything sensible.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **3.** A probe reads a property off a layer with 93 %, and a control task with 90 %. What is the best reading?
#
# :::{dropdown} The layer represents the property
# **No.** It may, but the probe could learn nearly any labels of these items from that layer.
# :::
# :::{dropdown} The probe or its training is broken, since a control task has random answers and must therefore stay at chance, whatever the layer holds
# **No.** A control is learnable when a layer tells the items apart. That is what it is there to show.
# :::
# :::{dropdown} The layer tells the items apart; how much it knows of the property, test on items that the probe has not seen
# **Yes.** Selectivity is small, and new items decide.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **4.** In equal contexts, captions are right for 97 % of the people as drawn and 55 % of those with dark skin; with blue skin 46 %. What follows?
#
# :::{dropdown} The model dislikes dark skin
# **No.** Blue is worse. A network has no likes; it has a training set.
# :::
# :::{dropdown} The difference comes from the paint alone, and it need not be dark to do harm
# **Yes.** Equal contexts make the paint the cause, and the control says that darkness is not needed. What training lacked is the likely reason, and can be tested.
# :::
# :::{dropdown} Nothing, since these are drawings
# **No.** Nothing about people in photographs. About this model, and about what missing data does, a good deal.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **5.** An attack on membership has an area under the ROC of 0.8 and finds 2 % of the members at 1 % false alarms. Is the training set private?
#
# :::{dropdown} No, since 0.8 is far above one half
# **No.** That is an average over thresholds nobody would use; but read on.
# :::
# :::{dropdown} Yes, since 2 % is hardly more than 1 %
# **No.** Against this attack, at this threshold. A stronger one may find many, and some texts may be exposed wholly.
# :::
# :::{dropdown} This attack can be sure of almost nobody; a stronger attack, or a planted text, may say otherwise
# **Yes.** An attack gives a lower bound on what leaks.
# :::
# ::::::
#
# ## Take-aways
#
# - Methods that all "explain" a word disagree. Exact boxes, random weights and baselines tell them apart, and no single measure does; keeping or dropping the sign can decide a sanity check.
# - Attention points best here, at {glue:text}`interp_attention_hit:.0%`, and does not change when the output layer is redrawn: it says where, not why.
# - A probe's accuracy means little without a control task and without items that it never saw.
# - Interventions settle what maps suggest: the cells of the box carry the noun {glue:text}`interp_way_memory_box:.2f` of the way, as many others {glue:text}`interp_way_memory_elsewhere:.2f`.
# - In equal contexts, {glue:text}`interp_tone_as_drawn:.0%` of the people are named rightly as drawn, and {glue:text}`interp_tone_dark:.0%` with dark skin, which no drawing of the training has.
# - What is planted once can be exposed after a few passes, while the loss on everything else still falls.
#
# ## Further reading
#
# - {cite:t}`sundararajan2017`: two axioms, and the method that follows from them.
# - {cite:t}`adebayo2018`: which maps survive when the network forgets.
# - {cite:t}`jain2019`, who say that attention is no explanation, and {cite:t}`wiegreffe2019`, who answer that it depends on what one calls so.
# - {cite:t}`hewitt2019`: what a probe learns by itself.
# - {cite:t}`meng2022`: patching in a large language model, and what it located.
# - {cite:t}`buolamwini2018`: an audit that changed products.
# - {cite:t}`carlini2019` and {cite:t}`carlini2022`: what models give away, and how to ask.

# %% tags=["remove-cell"]
figure, places = plt.subplots(2, 4, figsize=(7.2, 3.8))
show_scene(scene.image, boxes=boxes_of(scene, thing.noun), labels=[thing.noun], axes=places[0, 0], title="the truth")
for axis, method in zip(places.flat[1:], METHODS, strict=True):
    cells = word_map(method, model, score, pixels, words, thing.place)[0].clamp(min=0).reshape(8, 8)
    show_scene(scene.image, weights=cells.numpy() + 1e-9, axes=axis, title=method)
figure.suptitle(f"“{words[thing.place]}” in “{' '.join(words[:-1])}”", fontsize=9)
glue("interpretability_promise", figure, display=False)
plt.close(figure)
glue("interp_comparisons", len(TONES) + 3 * len(pairs) + 1, display=False)
