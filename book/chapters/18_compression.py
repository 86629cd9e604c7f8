# ---
# jupyter:
#   course: {notebook: notebooks/18_compression.ipynb}
# ---

# %% [markdown]
# # Smaller and faster
#
# At the end of this chapter you can make a trained captioner smaller, with fewer bits and with fewer numbers, say what each way costs in facts, and tell a model that is smaller from one that is faster.
#
# ```{glue:figure} compression_promise
# :name: fig-compression-promise
# :alt: Points, one for each way to make the captioner smaller. The horizontal axis is the size, the vertical axis the recall of facts. Quantised models with 8 to 5 bits lie high and in the left half; pruned and factored ones fall steeply.
#
# The ways of this chapter to make the captioner smaller: its size, and how many of the facts of a scene it still states. The grey diamond is the captioner as shipped. (The ranges taken from grey pictures are left out.)
# ```
#
# ::::{card}
# :class-card: chapter-card
#
# **Goals**
#
# - quantise weights and inputs by hand, and store 4 bits as 4 bits
# - find which layer, and which channel, suffers from few bits
# - prune, factor and distil a captioner, with and without training afterwards
# - let a cheap draft write and the captioner check, with the same words
# - report size, speed and facts in one table, with intervals
#
# **Before you start:** [captioning](14_captioning.py), whose captioner we shrink, the cache of [decoding](15_decoding.py), and the intervals of [evaluation](13_evaluation.py).
#
# :::{card-footer}
# Reading {measured}`reading` min · runs in {measured}`seconds` s on two CPU cores, {measured}`megabytes` MB ·
# difficulty ●●○
# :::
# ::::

# %% tags=["remove-cell"]
import copy
import tempfile
from pathlib import Path
from warnings import catch_warnings, simplefilter

import matplotlib.pyplot as plt
import numpy as np
import torch
from myst_nb import glue

# %% tags=["remove-cell"]
from mmcourse.book.figures.bits import BitsExplorer, settings
from mmcourse.book.plotting import BLUE, GREY, ORANGE, PINK, TEAL, use_style
from mmcourse.book.source import show_source
from mmcourse.compression import (
    DynamicLinear, NGramDraft, QuantisedSceneCaptioner, Scheme, best_rank_r, break_even, choose_scale,
    distillation_loss, expected_words, fake_quantise, keep_floats, kept_energy, magnitude_mask,
    pack, paired_change, precision_recall, quantisable, quantise, quantise_model, record_ranges,
    relative_error, speculate, unpack, weight_bytes,
)  # fmt: skip
from mmcourse.data import EmojiScenes
from mmcourse.evaluation import bootstrap
from mmcourse.hub import load
from mmcourse.recipes import compression_studies as studies

use_style()
torch.set_num_threads(1)

# %% [markdown]
# ## How much of a number does a sentence need?
#
# The captioner of chapter 14 holds 1.78 million numbers. On the disk each takes 16 bits. We keep fewer bits of every number, in the plainest way, and let it describe one scene (`keep_floats` turns what is left into floats again, once, so that writing is fast):

# %%
captioner = load("scenes").requires_grad_(False)
val = EmojiScenes("val")
scene = val[6]
text = captioner.caption(scene.image, "greedy").text
print(f"16 bits {weight_bytes(captioner) / 1e6:5.2f} MB  {text}")
for bits in (8, 6, 4, 2):
    small = QuantisedSceneCaptioner.of(captioner, bits, per_channel=False)
    text = keep_floats(small).caption(scene.image, "greedy").text
    print(f"{bits} bits  {weight_bytes(small) / 1e6:5.2f} MB  {text}")

# %% [markdown]
# Down to 4 bits the words change and the facts stay; with 2 bits nothing is left of the picture. Which numbers break it? All a little, or a few? And is the smaller captioner also faster? A single sentence answers none of that.
#
# ## The formula
#
# **Quantisation** replaces a number $x$ by a small whole number $q$, its **code**, which times a **scale** is nearly the number again {cite:p}`jacob2018`:
#
# $$
# q = \mathrm{clamp}\big(\mathrm{round}(x / s) + z,\; l,\; h\big), \qquad \hat x = s\,(q - z)
# $$ (eq-compression-quantise)
#
# With $b$ bits the codes go from $l = -2^{b-1}$ to $h = 2^{b-1} - 1$. Scale and **zero point** come from the numbers that are to be covered:
#
# $$
# \begin{aligned}
# \text{symmetric: } & s = \frac{\max |x|}{(h - l)/2}, & z &= 0 \\
# \text{affine: } & s = \frac{\max x - \min x}{h - l}, & z &= l - \mathrm{round}\!\left(\frac{\min x}{s}\right)
# \end{aligned}
# $$ (eq-compression-scale)
#
# where minimum and maximum are taken to include 0, which so has an exact code: padding and ReLU give zeros.
#
# | symbol | what it is | shape |
# |---|---|---|
# | $x$, $\hat x$ | a number, and what is left of it | of a weight: $(C, n)$, $C$ rows of $n$ numbers |
# | $q$ | its code, from $l$ to $h$ | $(C, n)$ whole numbers |
# | $s$, $z$ | scale and zero point | one each for the tensor, or $(C)$, one a row |
# | $b$ | bits | 2 to 8 |
#
# **Per tensor**, one scale serves a whole weight; **per channel**, each of its $C$ rows has its own. A row is what one output of the layer is computed with; of a convolution, the kernel of one output channel.
#
# ### On paper
#
# Take $b = 3$, so codes from $-4$ to $3$, and the row $(0.3,\; -0.7,\; 1.05,\; 0)$. Symmetric: $s = 1.05 / 3.5 = 0.3$. Divided by it the row is $(1,\; -2.33,\; 3.5,\; 0)$, the codes are $(1, -2, 3, 0)$ since 4 is out of range, and what is left is $(0.3,\; -0.6,\; 0.9,\; 0)$. Affine: $s = 1.75 / 7 = 0.25$, $z = -4 - \mathrm{round}(-2.8) = -1$. The codes are $(0, -4, 3, -1)$, and what is left is $(0.25,\; -0.75,\; 1,\; 0)$. The affine scheme wastes no code on numbers that do not come; it has a zero point to store and to subtract.
#
# ### By hand, then for real
#
# A `Scheme` says how many bits, and which of the two ways; `fake_quantise` makes codes and goes back at once, from $x$ to $\hat x$:

# %% tags=["nbval-check-output"]
row = [0.3, -0.7, 1.05, 0.0]
low, high = -4, 3
scale = (max(row) - min(row)) / (high - low)
zero = low - round(min(row) / scale)
codes = [min(max(round(x / scale) + zero, low), high) for x in row]
by_hand = [scale * (code - zero) for code in codes]
print("scale", scale, "zero point", zero, "codes", codes)
affine = fake_quantise(torch.tensor([row]), Scheme(3, symmetric=False))
assert torch.allclose(torch.tensor([by_hand]), affine)
symmetric = fake_quantise(torch.tensor([row]), Scheme(3))[0]
print("symmetric:", [round(number, 3) for number in symmetric.tolist()])

# %% tags=["remove-input"]
show_source(choose_scale)

# %% tags=["remove-input"]
show_source(quantise)

# %% [markdown]
# ### Against the reference
#
# `torch.ao.quantization` has observers that choose scales and functions that quantise. We compare scales, codes and what is left, on every weight of the captioner, for both schemes, per tensor and per channel, with 8 and with 4 bits. Equal means equal, to the last bit:

# %%
from torch.ao import quantization as ao


def theirs(x, scheme):
    """Scale, zero point and what is left by PyTorch."""
    kind = "symmetric" if scheme.symmetric else "affine"
    ends = scheme.low, scheme.high
    options = {"dtype": torch.qint8, "quant_min": ends[0], "quant_max": ends[1]}
    if scheme.per_channel:
        options["qscheme"] = getattr(torch, f"per_channel_{kind}")
        observer = ao.PerChannelMinMaxObserver(0, **options)
    else:
        options["qscheme"] = getattr(torch, f"per_tensor_{kind}")
        observer = ao.MinMaxObserver(**options)
    observer(x)
    scale, zero = observer.calculate_qparams()
    if scheme.per_channel:
        left = torch.fake_quantize_per_channel_affine(x, scale, zero.int(), 0, *ends)
    else:
        left = torch.fake_quantize_per_tensor_affine(x, scale, zero.int(), *ends)
    return scale, zero, left


# %% tags=["nbval-check-output"]
compared = 0
with catch_warnings():
    simplefilter("ignore")
    schemes = [Scheme(b, s, c) for b in (8, 4) for s in (True, False) for c in (True, False)]
    for layer in quantisable(captioner).values():
        for scheme in schemes:
            scale, zero, left = theirs(layer.weight, scheme)
            ours = choose_scale(layer.weight, scheme)
            assert torch.equal(scale, ours[0]) and torch.equal(zero.int(), ours[1])
            assert torch.equal(left, fake_quantise(layer.weight, scheme))
            compared += 1
print(compared, "tensors, all equal")

# %% [markdown]
# PyTorch is not always equal to itself: `fake_quantize` adds the zero point after rounding, as {eq}`eq-compression-quantise`, and `quantize_per_channel` before. With an odd zero point a half is then rounded to the other neighbour. In the symmetric scheme both are the same, and our codes are equal to those of `quantize_per_channel`, too (`tests/test_compression.py`).
#
# ### Four bits in four bits
#
# A byte has 8 bits, so two codes of 4 share one. A model that keeps its 4-bit codes in bytes of their own is no smaller than one with 8 bits. `pack` puts the bits of a row one after the other, for any number of them:

# %% tags=["nbval-check-output"]
codes = torch.tensor([[-8, 7, 0, -1, 3]], dtype=torch.int8)
packed = pack(codes, 4)
print(codes[0].tolist(), "->", [f"{byte:08b}" for byte in packed[0].tolist()])
assert torch.equal(unpack(packed, 4, 5), codes)

# %% [markdown]
# The code plus 8 goes from 0 to 15; the first code lies in the lower half of the first byte, which is printed on the right. A layer then holds its bytes and its scales, and makes numbers of them when it is used. A quantised copy of the captioner is filled layer by layer:

# %% tags=["remove-input"]
show_source(QuantisedSceneCaptioner.of)

# %% [markdown]
# ## See it
#
# In {numref}`fig-compression-bits`, lower the bits, and switch from one scale a tensor to one a channel. The weights are those of the first convolution, which sees the pixels.

# %%
shown = [val[index].image for index in (6, 2, 9)]
texts = [caption.text for caption in captioner.caption(shown, "greedy")]
first = captioner.get_submodule(studies.FIRST).weight.flatten(1)  # (32, 75)
found = settings(captioner, shown)
explorer = BitsExplorer("the first convolution", first.tolist(), found, shown, texts)

# %% mystnb={"figure": {"caption": "The weights of the first convolution before and after quantisation, and what the captioner writes when all of its layers are treated so.", "name": "fig-compression-bits"}, "image": {"alt": "A scene, and two histograms of weights with 4 bits: with one scale a tensor the quantised weights lie on few values; with one scale a channel they are spread as the weights are."}} tags=["remove-input"]
explorer

# %% [markdown]
# ### An outlier channel
#
# Why does one scale a tensor fail early? We call a row loud when its largest number is large. The loudest row sets the scale of all. We take the layer whose loudest row stands out most from its median row; an error is the length of $x - \hat x$ divided by that of $x$:

# %%
def loudness(weight):
    """The largest number of the loudest row by that of the median row, and of each row."""
    reach = weight.flatten(1).abs().amax(1)
    return (reach.max() / reach.median()).item(), reach


ratios = {name: loudness(layer.weight)[0] for name, layer in quantisable(captioner).items()}
worst = max(ratios, key=ratios.get)
weight = captioner.get_submodule(worst).weight.flatten(1)
print(f"{worst}: the loudest row is {ratios[worst]:.1f} times the median row")
for kind, per_channel in (("a tensor", False), ("a channel", True)):
    left = fake_quantise(weight, Scheme(4, per_channel=per_channel))
    per_row = (weight - left).norm(dim=1) / weight.norm(dim=1)
    error = relative_error(weight, left)
    print(f"4 bits, a scale {kind:9}: error {error:.0%}, median of the rows {per_row.median():.0%}")

# %% tags=["remove-cell"]
glue("compression_outlier_layer", worst, display=False)
glue("compression_outlier_ratio", float(ratios[worst]), display=False)
alone = fake_quantise(weight, Scheme(4, per_channel=False))
median = ((weight - alone).norm(dim=1) / weight.norm(dim=1)).median()
glue("compression_outlier_error", float(median), display=False)
own = fake_quantise(weight, Scheme(4))
glue("compression_outlier_own", float(((weight - own).norm(dim=1) / weight.norm(dim=1)).median()), display=False)

# %% [markdown]
# With one scale for all, the rows of {glue:text}`compression_outlier_layer` have a median error of {glue:text}`compression_outlier_error:.0%`, each with its own of {glue:text}`compression_outlier_own:.0%`. Inputs of layers can have such channels, too, and there a scale a channel cannot be used: an output is a sum over the channels of the input, and a scale can be taken out of a sum only where all of it has the same. {cite:t}`dettmers2022` found, in all layers of language models from 6.7 billion parameters on, a few channels of the inputs that are far larger than all others, and keep these in 16 bits.
#
# ## What each way costs
#
# Three roads lead from here. **Weight-only** quantisation stores codes and computes in floats. **Dynamic** quantisation also makes codes of each linear layer's input, anew at each call, so that whole numbers are multiplied. **Static** quantisation fixes the ranges of inputs before, on **calibration data**. All three, and the ways of the next sections, are in one table: precision and recall of the facts (chapter 14) in the first 1,000 scenes of each split, written greedily (`compression_studies.read("table")`). In brackets stands the 95 % interval of the *change* from the original, on the same scenes, which are redrawn together; for the original the interval of the value itself. *MB* counts every tensor as it is stored: codes, scales, and in half precision what has no codes, but not their names and the configuration, together about 0.02 MB. In *bfloat16* ([chapter 12](12_training.py)) only the weights were rounded. *Inputs too* is dynamic quantisation with one scale for an input of 100 pictures, so with other batches it may write other words. *Fixed ranges* is static. *One scale* is one a tensor; all other rows have one a channel.

# %% tags=["remove-cell"]
found = studies.read("table")
counts = {row["name"]: {split: studies.unpacked(row[split]) for split in studies.SPLITS} for row in found["rows"]}
sizes = {row["name"]: row["bytes"] for row in found["rows"]}
same = {row["name"]: row["same"] / studies.SCENES for row in found["rows"]}


def measured(name, split, which):
    """The value, and the interval of its change (of itself for the original), in points."""
    ours, whole = counts[name][split], counts["original"][split]
    value = 100 * precision_recall(ours)[which]
    if name == "original":
        interval = bootstrap(lambda rows: precision_recall(rows)[which], ours, draws=1000)
    else:
        interval = paired_change(ours, whole, which)
    return value, 100 * interval.low, 100 * interval.high


cells = {(name, split, which): measured(name, split, which)
         for name in counts for split in studies.SPLITS for which in (0, 1)}


# %% tags=["remove-cell"]
def spell(name, split, which):
    """A value with its interval, as the table has it."""
    value, low, high = cells[name, split, which]
    sign = "" if name == "original" else "+"
    return f"{value:.1f} ({low:{sign}.1f} to {high:{sign}.1f})"


# %% tags=["remove-cell"]
for (name, split, which), (value, low, high) in cells.items():
    key = f"compression_{name}_{split}_{('precision', 'recall')[which]}".replace(" ", "_").replace(",", "").replace("%", "p")
    glue(key, float(value), display=False)
    glue(f"{key}_low", float(low), display=False)
    glue(f"{key}_high", float(high), display=False)
glue("compression_small_style", -float(cells["4 and 8 bits, careful", "style", 0][1]), display=False)
for name, size in sizes.items():
    glue(f"compression_{name}_mb".replace(" ", "_").replace(",", "").replace("%", "p"), size / 1e6, display=False)
    glue(f"compression_{name}_same".replace(" ", "_").replace(",", "").replace("%", "p"), float(same[name]), display=False)

# %% tags=["remove-input"]
QUANTISED = [name for name in counts if not any(part in name for part in ("pruned", "rank,", "neurons", "student", "untrained"))]
OTHERS = [name for name in counts if name not in QUANTISED]


def show(names, split):
    """One table, a row for each model."""
    print(f"{split + ', in %':28}{'MB':>5}{'precision (change)':>24}{'recall (change)':>24}" + f"{'same':>7}" * (split == "val"))
    for name in names:
        line = f"{name:28}{sizes[name] / 1e6:5.2f}{spell(name, split, 0):>24}{spell(name, split, 1):>24}"
        print(line + (f"{same[name]:7.0%}" if split == "val" else ""))


show(QUANTISED, "val")

# %% [markdown]
# *Same* is the share of sentences that are word for word those of the original. With 8 bits a channel, {glue:text}`compression_8_bits_mb:.2f` MB, the changes lie from {glue:text}`compression_8_bits_val_precision_low:+.1f` to {glue:text}`compression_8_bits_val_precision_high:+.1f` points of precision and from {glue:text}`compression_8_bits_val_recall_low:+.1f` to {glue:text}`compression_8_bits_val_recall_high:+.1f` of recall: within one point. With 4 bits for every layer recall falls to {glue:text}`compression_4_bits_val_recall:.1f` with a scale a channel, and to {glue:text}`compression_4_bits_one_scale_val_recall:.1f` with one for each tensor.
#
# ### One layer carries half of it
#
# *4 bits, first layer 8* differs from *4 bits* in one layer only: the first convolution, 2,400 of 1.78 million numbers, keeps 8 bits. Recall rises from {glue:text}`compression_4_bits_val_recall:.1f` to {glue:text}`compression_4_bits_first_layer_8_val_recall:.1f`, which is {glue:text}`compression_regained:.0%` of what 4 bits had cost, for {glue:text}`compression_first_kb:.1f` kB (95 % interval of that share: {glue:text}`compression_regained_low:.0%` to {glue:text}`compression_regained_high:.0%`; it is {glue:text}`compression_regained_composition:.0%` on composition and {glue:text}`compression_regained_style:.0%` on style). How do we find such a layer without the table? We give 4 bits to one layer at a time and measure how far the distributions of words move: the mean of $\sum_v p_v \log (p_v / p'_v)$ over the words, where $p$ are the original's probabilities and $p'$ the new ones. It is called the Kullback-Leibler divergence, counts in nats, and is 0 where nothing moved. We take it on {glue:text}`compression_calibrated` scenes that no table uses (`read("layers")`):

# %% tags=["remove-cell"]
layers = studies.read("layers")
costs = layers["costs"]
glue("compression_calibrated", studies.CALIBRATED[1], display=False)
glue("compression_first_kb", (sizes["4 bits, first layer 8"] - sizes["4 bits"]) / 1e3, display=False)
glue("compression_first_share", costs[studies.FIRST] / sum(costs.values()), display=False)


# %% tags=["remove-cell"]
def regained(*counted):
    """Of the recall that 4 bits cost, the share that a first layer with 8 bits gives back."""
    whole, four, spared = (precision_recall(rows)[1] for rows in counted)
    return (spared - four) / (whole - four)


for split in studies.SPLITS:
    three = [counts[name][split] for name in ("original", "4 bits", "4 bits, first layer 8")]
    share = bootstrap(regained, *three, draws=1000)
    glue("compression_regained" + ("" if split == "val" else f"_{split}"), float(regained(*three)), display=False)
    if split == "val":
        glue("compression_regained_low", float(share.low), display=False)
        glue("compression_regained_high", float(share.high), display=False)

# %% tags=["hide-input"] mystnb={"figure": {"caption": "What each layer alone costs with 4 bits a channel, on logarithmic axes; the horizontal axis is how many numbers it has.", "name": "fig-compression-layers"}, "image": {"alt": "Points over logarithmic axes. The first convolution has the fewest numbers and the largest cost, far above all others."}}
figure, axes = plt.subplots(figsize=(6.4, 2.8))
kinds = {"convolutions": BLUE, "encoder": TEAL, "decoder": PINK, "": ORANGE}
for name, cost in costs.items():
    kind = next(kind for kind in kinds if name.startswith(kind))
    axes.plot(captioner.get_submodule(name).weight.numel(), cost, "o", color=kinds[kind])
    if cost > 0.003:
        axes.annotate(f" {name}", (captioner.get_submodule(name).weight.numel(), cost), fontsize=7)
for kind, colour in kinds.items():
    axes.plot([], [], "o", color=colour, label=kind or "words and nouns")
axes.set(xscale="log", yscale="log", xlabel="numbers", ylabel="nats a word")
axes.legend(fontsize=7);

# %% [markdown]
# The first convolution alone has {glue:text}`compression_first_share:.0%` of the sum. So bits can be **mixed**: 4 for the layers that cost least for what they save, 8 for the others, as long as the costs together stay below a limit. That is what *4 and 8 bits* does, with limits of {glue:text}`compression_careful` nats a word for the careful one and {glue:text}`compression_bold` for the other. (Costs need not add up. The limits were set before we saw the table; the scenes of the table had no part in the plan.)

# %% tags=["remove-cell"]
glue("compression_careful", studies.MIXED[0], display=False)
glue("compression_bold", studies.MIXED[1], display=False)

# %% tags=["remove-input"]
show(QUANTISED, "composition")
print()
show(QUANTISED, "style")

# %% [markdown]
# The losses on composition and style are of the same kind. (Of the {glue:text}`compression_comparisons` intervals in these tables and in those of the next section about one in twenty misses by chance.) *Ranges of grey pictures* is a mistake on purpose, see below.
#
# ### What we ship
#
# We wanted at most 2 MB, and at most one point less of precision and of recall on `val`. The rule was: of *8 bits* and *4 and 8 bits, careful*, the smaller one whose two intervals lie within one point. It is *4 and 8 bits, careful*: from {glue:text}`compression_4_and_8_bits_careful_val_precision_low:+.1f` to {glue:text}`compression_4_and_8_bits_careful_val_precision_high:+.1f` points of precision and from {glue:text}`compression_4_and_8_bits_careful_val_recall_low:+.1f` to {glue:text}`compression_4_and_8_bits_careful_val_recall_high:+.1f` of recall. These are the scenes by which it was chosen, so the tables of composition and style are the fairer test. On style, for which nothing was promised, precision may have lost up to {glue:text}`compression_small_style:.1f` points. `mmcourse.hub.load("scenes_small")` reads it, strictly, as all models: packed codes and scales in safetensors, the bits of each layer in `config.json`, and there, too, a checksum of the file of weights.

# %%
small = load("scenes_small")
folder = Path(load.__globals__["SHIPPED"], "scenes_small")
on_disk = sum((folder / name).stat().st_size for name in ("model.safetensors", "config.json"))
bits = sorted(set(small._hub_mixin_config["bits"].values()))
print(f"{on_disk / 1e6:.2f} MB on the disk; bits: {bits}")
print(keep_floats(small).caption(scene.image, "greedy").text)

# %% [markdown]
# ## Fewer numbers
#
# ### Pruning
#
# **Pruning** sets weights to zero. By **magnitude**, the smallest of each layer go first {cite:p}`han2015`. On paper: of $(0.3, -0.7, 1.05, 0.1)$ half goes, and $(0, -0.7, 1.05, 0)$ stays. A zero saves nothing by itself. Stored as a bit for each place and 16 bits for each number that stays, a layer of half zeros takes $\frac12 \cdot 16 + 1 = 9$ bits a number: no less than 8-bit codes, for which nothing was thrown away. The reference is `torch.nn.utils.prune`:

# %% tags=["nbval-check-output"]
from torch.nn.utils import prune

layer = torch.nn.Linear(7, 5)
mask = magnitude_mask(layer.weight.data, 0.4)
prune.l1_unstructured(layer, "weight", amount=0.4)
print("equal:", torch.equal(mask.float(), layer.weight_mask))

# %% [markdown]
# **Structured** pruning leaves out whole neurons, heads or layers, and what is left is a smaller dense model. {cite:t}`michel2019` found that most heads of a translator can go one at a time. Of our captioner's {glue:text}`compression_heads` heads, silenced one at a time and measured in the same way, the three that cost least and the three that cost most:

# %% tags=["remove-input"]
heads = sorted(layers["heads"], key=lambda row: row[2])
for name, head, cost in [*heads[:3], *heads[-3:]]:
    print(f"{name:34} head {head}  {cost:.4f} nats a word")

# %% tags=["remove-cell"]
glue("compression_heads", len(heads), display=False)
glue("compression_heads_cheap", sum(cost < 0.01 for _, _, cost in heads), display=False)

# %% [markdown]
# {glue:text}`compression_heads_cheap` of them cost less than 0.01 nats, and the most expensive more than half a nat. So there is no rule "heads are superfluous": one has to look.
#
# ### Low rank
#
# A weight $W$, $(C, n)$, is the product of a tall and a wide table if its **rank** $r$ is small. The nearest such product comes from the **singular value decomposition** $W = \sum_i \sigma_i u_i v_i^\top$, with $\sigma_1 \ge \sigma_2 \ge \dots$, cut after $r$ parts {cite:p}`eckart1936`, and what is lost is known before:
#
# $$
# \lVert W - W_r \rVert^2 = \sum_{i > r} \sigma_i^2
# $$ (eq-compression-lowrank)
#
# Here $u_i$ and $v_i$ are columns of length one, $W_r$ is the sum of the first $r$ parts, and $\lVert \cdot \rVert^2$ is the squared length, the sum of the squares of all numbers. Two factors hold $r\,(C + n)$ numbers, which is fewer than $C n$ only below $r = C n / (C + n)$. On paper: $W = \mathrm{diag}(3, 1)$ has the singular values 3 and 1. With rank 1, $\mathrm{diag}(3, 0)$ is left, and $3^2 / (3^2 + 1^2) = 90\,\%$ of the squared length. What four of our layers keep at the largest rank that still saves anything (`break_even`):

# %%
for name in ("decoder.layers.0.attention.query", "noun_head", "noun_embedding", "output"):
    weight = captioner.get_submodule(name).weight
    rank = break_even(weight)
    left, right = best_rank_r(weight, rank)
    lost = ((weight - left @ right).norm() / weight.norm()) ** 2
    assert abs(1 - lost - kept_energy(weight, rank)) < 1e-5
    kept = kept_energy(weight, rank)
    random = kept_energy(torch.randn_like(weight), rank)
    shape = str(tuple(weight.shape))
    print(f"{name:33} {shape:11} rank {rank:3} keeps {kept:.1%} (random: {random:.1%})")

# %% [markdown]
# The share in brackets is the baseline: a table without any structure keeps that much. A layer near it has no low rank to be found.
#
# ### The student and the teacher
#
# **Distillation** {cite:p}`hinton2015` trains a small network, the **student**, on what a trained one, the **teacher**, says. A true word is one word; the teacher's probabilities also say which others were near. With logits $z$ of the student and $z'$ of the teacher, over $V$ words, both divided by the **temperature** $\tau$ of [chapter 15](15_decoding.py):
#
# $$
# \mathcal{L} = -\tau^2 \sum_{v=1}^{V} p_v \log q_v, \qquad p = \mathrm{softmax}(z' / \tau), \quad q = \mathrm{softmax}(z / \tau)
# $$ (eq-compression-distil)
#
# (So in this section $z$ is no zero point and $q$ no code.) The factor $\tau^2$ keeps the gradient about as large as without a temperature. On paper, with $\tau = 1$ and two words: the teacher says $p = (\frac34, \frac14)$, an untrained student $q = (\frac12, \frac12)$. Then $\mathcal{L} = \log 2 \approx 0.69$, and the gradient in the student's logits is $q - p = (-\frac14, \frac14)$.

# %% tags=["nbval-check-output"]
logits = torch.zeros(1, 2, requires_grad=True)
teacher_logits = torch.tensor([[3.0, 1.0]]).log()
loss = distillation_loss(logits, teacher_logits, 1.0)
loss.sum().backward()
print(f"{loss.item():.4f}", [round(number, 4) for number in logits.grad[0].tolist()])
reference = torch.nn.functional.cross_entropy(logits, teacher_logits.softmax(-1))
assert torch.allclose(loss[0], reference)

# %% [markdown]
# Two students, trained by one command (`python -m mmcourse.recipes.compression FOLDER`). *Narrow* has half the width and is trained from scratch, {glue:text}`compression_narrow_steps` steps of 32 pictures, against 20,000 of 64 for the teacher. *Shallow* is the teacher without one block of its convolutions and one of its two decoder layers, as {cite:t}`sanh2019` begin theirs, and then {glue:text}`compression_shallow_steps` steps. Both learn from the truth with a weight of 0.1, and with 0.9 from the teacher's eight largest probabilities for each word and each cell, made to sum to one, with $\tau = 2$. The pruned captioner, too, went on learning so, with its zeros fixed. Each was trained once, with one seed, and its learning rate was not tuned. Of the other rows, *low rank, 75 %* has two factors with 75 % of the numbers for each linear layer, *neurons, 25 % gone* lacks a quarter of the hidden neurons of each feed-forward network, and *first spared* keeps the first convolution whole.

# %% tags=["remove-cell"]
from mmcourse.recipes import compression as recipe

glue("compression_narrow_steps", f"{recipe.TRAINING['narrow']['steps']:,}", display=False)
glue("compression_pruned_steps", recipe.TRAINING["pruned"]["steps"], display=False)
glue("compression_shallow_steps", f"{recipe.TRAINING['shallow']['steps']:,}", display=False)

# %% tags=["remove-input"]
for split in studies.SPLITS:
    show(["original", *OTHERS], split)
    print()

# %% [markdown]
# **At the same size, numbers taken away cost more than bits taken away**, as long as nobody trains afterwards. Half of the weights set to zero, the first layer spared, leaves a recall of {glue:text}`compression_pruned_50_p_first_spared_val_recall:.1f` on `val`, at {glue:text}`compression_pruned_50_p_first_spared_mb:.2f` MB; 6 bits take {glue:text}`compression_6_bits_mb:.2f` MB and leave {glue:text}`compression_6_bits_val_recall:.1f`. With 30 % gone, sparing the first layer takes recall from {glue:text}`compression_pruned_30_p_val_recall:.1f` to {glue:text}`compression_pruned_30_p_first_spared_val_recall:.1f`: it is the same layer that bore few bits badly. Low rank at half of the numbers of the linear layers leaves {glue:text}`compression_low_rank_50_p_val_recall:.1f`.
#
# **Training afterwards gives much back.** After {glue:text}`compression_pruned_steps` steps with its zeros fixed the pruned captioner is at {glue:text}`compression_pruned_50_p_retrained_val_recall:.1f`. The shallow one starts at {glue:text}`compression_shallow_untrained_val_recall:.1f`: with two layers cut out, the others find nothing that they know (a guess). It learns up to {glue:text}`compression_shallow_student_val_recall:.1f`, the narrow one up to {glue:text}`compression_narrow_student_val_recall:.1f`. **Both students miss the goal of one point**, by far. All training of this chapter took less than half an hour of one core; the shallow student saw 48,000 pictures and the narrow one 192,000, which were 24,000 different ones, half of them with a caption; the teacher 1.28 million. Whether more steps would do, we did not try. As it stands, a student of {glue:text}`compression_shallow_student_8_bits_mb:.2f` MB is worth less than the original with 5 bits, which takes {glue:text}`compression_5_bits_mb:.2f`.
#
# ### Does the teacher help?
#
# The table does not say: a student without a teacher is missing. So here are narrow students with {glue:text}`compression_arm_steps` steps each, on the same lessons, with three seeds; each arm has its own learning rate, the better of two. Facts are those of the first 400 scenes of `val`, and the *loss of truth* is that of true words and cells (`read("teacher")`):

# %% tags=["remove-cell"]
arms = studies.read("teacher")
glue("compression_arm_steps", studies.STEPS, display=False)
scores = {}
for row in arms["rows"]:
    scores.setdefault(row["arm"], []).append([*(100 * precision_recall(studies.unpacked(row["val"]))), row["loss"]])
scores = {arm: np.array(rows) for arm, rows in scores.items()}
gap = scores["taught"] - scores["not taught"]  # of each seed: precision, recall, loss
for number, name in enumerate(("precision", "recall", "loss")):
    glue(f"compression_gap_{name}", float(gap[:, number].mean()), display=False)
    glue(f"compression_gap_{name}_low", float(gap[:, number].min()), display=False)
    glue(f"compression_gap_{name}_high", float(gap[:, number].max()), display=False)

# %% tags=["remove-input"]
print(f"{'':12}{'precision of three seeds':>26}{'recall':>22}{'loss of truth':>22}")
for arm, rows in scores.items():
    columns = [" ".join(f"{value:5.{digits}f}" for value in rows[:, number]) for number, digits in enumerate((1, 1, 2))]
    print(f"{arm:12}{columns[0]:>26}{columns[1]:>22}{columns[2]:>22}")

# %% [markdown]
# **Here it did not help.** In each of the three seeds the student that was taught states fewer of the facts: its recall differs by {glue:text}`compression_gap_recall_low:.1f` to {glue:text}`compression_gap_recall_high:.1f` points. (With three seeds, a 95 % interval of the mean by Student's t still includes no difference at all, so that a teacher harms is not shown either.) Its loss of the truth is higher, too; but that is what the other one was trained on. What this says is narrow. {glue:text}`compression_arm_steps` steps are a twentieth of the narrow student's, and all six are still bad. For both arms the larger of the two rates was the better, so a still larger one may be better yet. $\tau = 2$ and the weight of 0.9 were not tuned. Whether the narrow student of the table would be better without its teacher we do not know. That a distilled student is good is no evidence that distillation was.
#
# ## Faster
#
# ### A draft, and somebody who checks
#
# A decoder writes a word, reads it, writes the next. Reading five words at once takes a large model hardly longer than reading one, since it spends most of the time on fetching its weights. **Speculative decoding** {cite:p}`leviathan2023,chen2023sampling` uses that: a cheap **draft** proposes $k$ words, the captioner reads all of them in one pass, keeps them up to the first that it would not have chosen itself, and puts its own there. With greedy search the sentence is the same, word for word, whatever the draft proposes; only the number of passes changes. (In floats there is one exception: reading several words at once rounds otherwise than reading one, so where two words are equal to the last digits the choice may differ. And where the inputs of layers are quantised anew at each call, the scale depends on which words are read together, and sentences do change. The rule for sampling is proved in an exercise of [chapter 15](15_decoding.py).) Let each word be accepted with probability $\alpha$, independently. A pass gives one word in any case, a second if the first proposal is accepted ($\alpha$), a third if the first two are ($\alpha^2$), and so on up to $\alpha^k$. The sum is
#
# $$
# E = \frac{1 - \alpha^{k+1}}{1 - \alpha}
# $$ (eq-compression-speculate)
#
# words in the mean. On paper: $\alpha = \frac12$, $k = 2$: $1 + \frac12 + \frac14 = 1.75$. In the code, `cut_cache` lets the cache forget the words that were refused:

# %% tags=["remove-input"]
show_source(speculate)

# %% [markdown]
# The cheapest draft looks at no picture. It counts, in captions that the captioner wrote of `train`, which word followed the last two words most often, and proposes it where that was the case at least three times in ten. The sentences are those of greedy search:

# %%
train = EmojiScenes("train")
seen = captioner.caption([train[index].image for index in range(200)], "greedy")
draft = NGramDraft([captioner.tokenize(caption.text)[1:-1] for caption in seen], sure=0.3)
images = np.stack([val[index].image for index in range(40)])
with torch.no_grad():
    memory = captioner.encode(images)
greedy = captioner.write(memory, "greedy")
fast = [speculate(captioner, memory[place : place + 1], draft, ahead=4) for place in range(40)]
spoken = [[captioner.words[number] for number in one.tokens] for one in fast]
assert spoken == [one.tokens[:-1] for one in greedy]
words = sum(len(one.tokens) + 1 for one in fast)
passes = sum(one.passes for one in fast)
print(f"40 sentences, all equal; {words} words in {passes} passes, {words / passes:.2f} a pass")
proposed = sum(one.proposed for one in fast)
print(f"accepted: {sum(one.accepted for one in fast)} of {proposed} proposed words")

# %% [markdown]
# (The share accepted is not $\alpha$: words behind the first that was refused count as refused, whatever they are. The end counts as a word. Passes and accepted words are together a little more than the words: where the proposed end is accepted, the captioner's own word behind it is dropped.)
#
# ### What is faster, and what is only smaller
#
# One core, one picture at a time, all in one run in turns (`read("speed")`). A ratio above 1 is faster than the captioner as it is; in brackets the smallest and the largest of {glue:text}`compression_rounds` rounds. These ratios are of one machine, and of a model so small that much of the time is not arithmetic.

# %% tags=["remove-cell"]
speed = studies.read("speed")
glue("compression_rounds", 7, display=False)
for name, (middle, *_) in speed["ratios"].items():
    key = name.replace(" ", "_").replace(",", "").replace("(", "").replace(")", "").replace("%", "p")
    glue(f"compression_speed_{key}", float(middle), display=False)
base = speed["ratios"]["speculation, none ahead"][0]
glue("compression_cache", base / speed["ratios"]["no cache"][0], display=False)
glue("compression_gain", speed["ratios"]["speculation, n-grams, 4"][0] / base, display=False)
glue("compression_loss", speed["ratios"]["speculation, narrow student, 4"][0] / base, display=False)
glue("compression_unpacking", 1 / speed["ratios"]["8 bits, unpacked each time"][0], display=False)
ran = {name: sum(passes for passes, _, _ in rows) for name, rows in speed["passes"].items()}
per_pass = {name: ran["speculation, none ahead"] / count for name, count in ran.items()}  # the same words in all
glue("compression_words_a_pass", float(per_pass["speculation, n-grams, 4"]), display=False)
assert all(speed["equal"].values())

# %% tags=["remove-input"]
print(f"{'':36}{'ratio':>20}{'words a pass':>16}")
for name, (middle, least, most) in speed["ratios"].items():
    print(f"{name:36}{f'{middle:.2f} ({least:.2f} to {most:.2f})':>20}" + (f"{per_pass[name]:16.2f}" if name in per_pass else ""))
compiled = speed["compiled"]
if "error" in compiled:
    print("torch.compile:", compiled["error"])
else:
    print(f"torch.compile, convolutions alone: {compiled['ratio'][0]:.2f}, after {compiled['seconds']:.0f} s of compiling")

# %% [markdown]
# - **Codes.** A captioner that unpacks at each call takes {glue:text}`compression_unpacking:.0f` times as long: unpacking is done in PyTorch's own small steps, for every word. With the floats held, the speed cannot be told from that of the original, and memory holds floats and codes; only the file is smaller. PyTorch's kernels for whole numbers, and bfloat16, are slower here: at this width, and on this processor.
# - **Zeros and factors** cannot be told from the original. Fewer layers are faster, {glue:text}`compression_speed_shallow_student:.2f`, and so is half the width, {glue:text}`compression_speed_narrow_student:.2f`. (Each model writes its own sentences, so their length has a part in its ratio.)
# - **The cache.** The loops *no cache* and *none ahead* differ in nothing else: with it writing is {glue:text}`compression_cache:.2f` times as fast, with sentences of a dozen words and the encoder's time in both; it is a quotient of medians, and the ranges of the two rows overlap. [Chapter 15](15_decoding.py) counts what a cache saves. (`write`, which is the first row, has the cache, too, and also computes where each word looked.)
# - **Speculation.** Beside *none ahead*, its fair baseline, the n-grams give {glue:text}`compression_words_a_pass:.2f` words a pass and {glue:text}`compression_gain:.2f` times the speed, which cannot be told from 1. The narrow student as a draft has more words accepted and makes it slower, {glue:text}`compression_loss:.2f`: it must see and write, too. Fewer passes, and no time saved: proposing, cutting the cache and reading words in vain cost time, and the encoder's time is in all. Which of these it is we did not take apart.
#
# The last line is `torch.compile`, which makes one program of the steps of a network. On your machine the compiler that it needs may be missing. Then this says so:

# %%
function = torch.compile(lambda x: (x * x).sum())
try:
    print("compiled:", function(torch.ones(3)).item())
except Exception as error:
    print("torch.compile needs a C++ compiler here:", type(error).__name__)

# %% [markdown]
# ## What came after
#
# - **Weights only, with data.** GPTQ {cite:p}`frantar2023` rounds one column after another and lets the columns that are left make up for the error; AWQ {cite:p}`lin2024` looks at the inputs to find which channels of a weight must not suffer. Both store large language models in 3 or 4 bits a weight. You know the scheme underneath; what they choose better is the code, or the scale.
# - **Quantisation in training.** {cite:t}`jacob2018` quantise and go back in each forward pass, with the gradient passed through the rounding, so that the network learns to bear it.
# - **Drafts by sampling.** With sampling in place of greedy search a word is accepted with a probability that leaves the distribution exactly as it was {cite:p}`leviathan2023,chen2023sampling`.
#
# ## What goes wrong
#
# **Calibration data of another kind.** Static ranges come from pictures that somebody chose. Grey pictures are pictures, too, and the multiplication does not complain: most ranges are too narrow, and inputs outside of them are cut. The interval of the change of precision on `val` goes from {glue:text}`compression_8_bits_fixed_ranges_val_precision_low:+.1f` to {glue:text}`compression_8_bits_fixed_ranges_val_precision_high:+.1f` points with ranges of scenes, from {glue:text}`compression_ranges_of_grey_pictures_val_precision_low:+.1f` to {glue:text}`compression_ranges_of_grey_pictures_val_precision_high:+.1f` with those of grey pictures: a small loss, and easy to miss. (Why ranges so narrow cost so little we did not find out.) So `record_ranges` asks the noun head first, which sees nothing in grey pictures, and in noise something in nearly every cell, and refuses both. For the row of the table it was told `any_kind=True`:

# %%
grey = np.full((20, 64, 64, 3), 128, dtype=np.uint8)
noise = np.random.default_rng(0).integers(0, 255, grey.shape, dtype=np.uint8)
for bad in (grey, noise, grey[:0], grey / 255):
    try:
        record_ranges(captioner, bad)
    except (ValueError, TypeError) as error:
        print(type(error).__name__, "-", str(error).split(". ")[0])
ranges = [record_ranges(captioner, pictures, any_kind=True) for pictures in (images, grey)]
narrower = [name for name in ranges[0] if ranges[1][name][1] < 0.8 * ranges[0][name][1]]
print(f"ranges that end below 0.8 of what scenes need: {len(narrower)} of {len(ranges[0])}")

# %% [markdown]
# **A layer of another kind, bits that cannot be, a folder that was changed.** Each is refused by name:

# %%
with tempfile.TemporaryDirectory() as place:
    QuantisedSceneCaptioner.of(captioner, 8).store(place)
    weights = Path(place, "model.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1  # one bit
    weights.write_bytes(content)
    attempts = {
        "bits": lambda: quantise_model(copy.deepcopy(captioner), 1),
        "layer": lambda: quantise_model(torch.nn.Sequential(torch.nn.LSTM(8, 8)), 8),
        "one bit of the file": lambda: QuantisedSceneCaptioner.from_pretrained(place),
    }
    for name, attempt in attempts.items():
        try:
            attempt()
        except ValueError as error:
            print(f"{name}: {str(error).split('. ')[0]}")

# %% [markdown]
# **A smaller file, and nothing faster.** Zeros that are multiplied take as long as other numbers, and codes that become floats at each call take longer. Which of size, memory and time you need is the first question, and each row of the tables answers it differently.
#
# ## Exercises
#
# ```{exercise-start} Two bits on paper
# :label: ex-compression-paper
# ```
# *Easy, 10 minutes.* Quantise the row $(1.5, -0.4, 0.2, 0.9)$ symmetrically with 2 bits, on paper. Which codes are possible, which are used, and what is left? Why is the largest number not kept exactly?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-compression-paper
# :label: so-compression-paper
# :class: dropdown
# ````
# The codes are $-2, -1, 0, 1$, so $(h - l) / 2 = 1.5$ and $s = 1$. Divided by it and rounded: $(2, 0, 0, 1)$, and 2 is cut to 1. What is left is $(1, 0, 0, 1)$. There are as many codes below zero as at and above it, so with this scale the end at the top is half a step out of reach.

# %% tags=["nbval-check-output"]
row = torch.tensor([[1.5, -0.4, 0.2, 0.9]])
scheme = Scheme(2)
codes = quantise(row, *choose_scale(row, scheme), scheme)
print("codes", codes[0].tolist(), "left", fake_quantise(row, scheme)[0].tolist())

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} An outlier of your own
# :label: ex-compression-outlier
# ```
# *Easy, 10 minutes.* Take a weight of $16 \times 64$ normal numbers and multiply one row by 50. Plot or print the error of the *other* rows with 8, 6, 4 and 3 bits, with one scale a tensor and one a channel. How many bits does the outlier cost the others?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-compression-outlier
# :label: so-compression-outlier
# :class: dropdown
# ````
# One scale is 50 times as coarse for the others, and $\log_2 50 \approx 5.6$: with 8 bits they have what about 3 bits of their own would give. With 4 bits nothing is left of them.

# %%
torch.manual_seed(0)
weight = torch.randn(16, 64)
weight[3] *= 50
others = torch.arange(16) != 3
for bits in (8, 6, 4, 3):
    errors = []
    for per_channel in (False, True):
        left = fake_quantise(weight, Scheme(bits, per_channel=per_channel))
        errors.append(relative_error(weight[others], left[others]))
    print(f"{bits} bits: one scale {errors[0]:.0%}, one a channel {errors[1]:.1%}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} Integers all the way
# :label: ex-compression-integers
# ```
# *Medium, 15 minutes.* `DynamicLinear.like(layer, Scheme(8)).fill(layer.weight, layer.bias)` multiplies codes; its input gets one affine scale. Show for one linear layer of the captioner and random inputs that its output is that of a layer with `fake_quantise`d weight and input. Then make one row of the input 100 times larger than the others. What happens to the outputs of the other rows of the batch?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-compression-integers
# :label: so-compression-integers
# :class: dropdown
# ````
# Scales can be taken out of the sum, since each weight row has one and the input has one. The outlier sets the scale of the whole batch, and with it the error of every other row: a picture in the same batch changes your caption. Real systems take a scale for each row.

# %%
layer = captioner.noun_head
eight = DynamicLinear.like(layer, Scheme(8)).fill(layer.weight, layer.bias)
x = torch.randn(6, 128)
inputs = fake_quantise(x, Scheme(8, symmetric=False, per_channel=False))
expected = torch.nn.functional.linear(inputs, fake_quantise(layer.weight, Scheme(8)), layer.bias)
print("largest difference below 1e-4:", bool((eight(x) - expected).abs().max() < 1e-4))
before = (eight(x) - layer(x))[1:].norm()
x[0] *= 100
print(f"error of the other rows: {(eight(x) - layer(x))[1:].norm() / before:.0f} times as large")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} When does a draft pay?
# :label: ex-compression-pay
# ```
# *Medium, 15 minutes.* A pass of the captioner takes 1; each proposed word takes $c$, and reading it 0.05 more. With acceptance $\alpha$ and $k$ words ahead, how many words a unit of time are there? For $\alpha = 0.5$ and $0.8$ and $c = 0$ (n-grams) and $0.5$ (a student), find the best $k$.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-compression-pay
# :label: so-compression-pay
# :class: dropdown
# ````
# Words a pass by {eq}`eq-compression-speculate`, divided by $1 + k (c + 0.05)$. A draft that takes half as long as the captioner pays little, or not at all: with it and $\alpha = 0.5$, nothing ahead is best.

# %% tags=["nbval-check-output"]
for cost in (0.0, 0.5):
    for rate in (0.5, 0.8):
        gains = {k: expected_words(rate, k) / (1 + k * (cost + 0.05)) for k in range(9)}
        best = max(gains, key=gains.get)
        print(f"c = {cost}, acceptance {rate}: best k = {best}, {gains[best]:.2f} times as fast")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} Your own plan
# :label: ex-compression-plan
# ```
# *Hard, 20 minutes.* `studies.read("layers")["costs"]` has what each layer costs with 4 bits. Give 4 bits to all layers but the $m$ most expensive ones, and 8 to these (the captioner takes a dict of names and bits). For $m = 0, 1, 2, 4$ print the size and, on 40 scenes of `train`, how many sentences are those of the original. Where would you stop?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-compression-plan
# :label: so-compression-plan
# :class: dropdown
# ````
# Few sentences are word for word those of the original, whatever $m$ is: with few bits the captioner says the same facts in other words. So this measure hardly shows what the first layer is worth, which the facts of the table show clearly. And 40 scenes are too few to tell neighbours apart. Choose the measure first, then the plan.

# %%
pictures = [train[index].image for index in range(40)]
whole = [caption.text for caption in seen[:40]]
costs = studies.read("layers")["costs"]
order = sorted(costs, key=costs.get, reverse=True)
for m in (0, 1, 2, 4):
    plan = {name: 8 if name in order[:m] else 4 for name in costs}
    mixed = keep_floats(QuantisedSceneCaptioner.of(captioner, plan))
    texts = [caption.text for caption in mixed.caption(pictures, "greedy")]
    share = np.mean([a == b for a, b in zip(texts, whole, strict=True)])
    print(f"m = {m}: {weight_bytes(mixed) / 1e6:.2f} MB, {share:.0%} the same")

# %% [markdown]
# ````{solution-end}
# ````
#
# ## Quiz
#
# ::::::{card}
# :class-card: quiz
# **1.** One row of a weight is 50 times as large as the others. What does one scale a tensor do with 4 bits?
#
# :::{dropdown} It cuts the large row at the end of the range, and the others are as exact as with a scale of their own
# **No.** The scale covers the largest number, of which at most half a step is cut, and the step is the same for all rows.
# :::
# :::{dropdown} It keeps the large row and turns the others to zero
# **Yes.** A step of the scale is then larger than all of the other numbers.
# :::
# :::{dropdown} It spreads the error evenly over all rows
# **No.** In absolute size, yes; but the small rows have nothing else.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **2.** A model with half of its weights set to zero takes as long as before. Why?
#
# :::{dropdown} A dense multiplication multiplies zeros, too
# **Yes.** Only a kernel or a shape that skips them saves time: whole neurons or heads, or hardware for a fixed pattern of zeros.
# :::
# :::{dropdown} The zeros were not retrained, so the processor still sees the former numbers in its cache and loads them once more
# **No.** The numbers are zeros. They are multiplied like any others.
# :::
# :::{dropdown} The file was not compressed
# **No.** That is size on the disk. It does not change what is computed.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **3.** Speculative decoding with a very bad draft gives ...
#
# :::{dropdown} worse sentences, since some of the bad words get through
# **No.** No word is kept that the captioner would not have chosen.
# :::
# :::{dropdown} the same sentences, and more time than without
# **Yes.** One word a pass as before, and the draft and the words in vain on top.
# :::
# :::{dropdown} the same sentences in the same time, because rejected words are free
# **No.** They were proposed and read.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **4.** A distilled student scores better than an older model of its size. What shows that the teacher helped?
#
# :::{dropdown} That the teacher itself scores better than both of them, on all of the splits and with intervals that do not overlap
# **No.** A good teacher may teach nothing.
# :::
# :::{dropdown} The same student with the same steps and lessons and its own learning rate, without the teacher
# **Yes.** With several seeds; then the teacher is the only difference.
# :::
# :::{dropdown} A lower training loss
# **No.** With soft targets the loss is another quantity. It cannot be compared.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **5.** A table with the shape $(128, 128)$ is replaced by factors of rank 80. What do we gain?
#
# :::{dropdown} Nothing: two factors hold more numbers than the table
# **Yes.** $80 \cdot 256 = 20{,}480$ against 16,384. The rank must be below 64.
# :::
# :::{dropdown} 80 of 128, so the layer is 37 % smaller
# **No.** That would be so if one factor alone were stored.
# :::
# :::{dropdown} A more exact layer, since singular values are sorted by size and those that are left out are only noise of the training
# **No.** What is left out may be small, and it need not be noise.
# :::
# ::::::
#
# ## Take-aways
#
# - A code, a scale and a zero point: with 8 bits a channel the captioner takes {glue:text}`compression_8_bits_mb:.2f` in place of {glue:text}`compression_original_mb:.2f` MB, and its facts stay within one point.
# - Damage is not spread evenly. One layer of 2,400 numbers carried {glue:text}`compression_regained:.0%` of what 4 bits cost in recall on `val`, and with one scale a tensor the loudest row sets that of all others.
# - Smaller is not faster. What was faster here did less work: a cache, fewer layers, half the width. Fewer passes were not.
# - Pruning and low rank need training afterwards, and should be compared with plain codes of the same size. Students of a few minutes miss the goal by far, and in our short runs a teacher was no gain.
# - A draft changes how often the captioner runs, and, but for ties in rounding, not what it writes.
#
# ## Further reading
#
# - {cite:t}`jacob2018`: whole numbers from end to end, and training that knows of it.
# - {cite:t}`dettmers2022`: outlier channels of large language models.
# - {cite:t}`hinton2015`: the paper on distillation, with soft targets and a temperature.
# - {cite:t}`han2015` and {cite:t}`michel2019`: what can be left out, weights and heads.
# - {cite:t}`leviathan2023` and {cite:t}`chen2023sampling`: drafts that change nothing but the time.
# - {cite:t}`frantar2023` and {cite:t}`lin2024`: how 4 bits are chosen for language models.

# %% tags=["remove-cell"]
figure, axes = plt.subplots(figsize=(6.4, 3.2))
for name in counts:
    colour = BLUE if name in QUANTISED else ORANGE if "student" in name or "untrained" in name else PINK
    recall = cells[name, "val", 1][0]
    if name not in ("ranges of grey pictures", "original"):
        axes.plot(sizes[name] / 1e6, recall, "o", color=colour)
axes.plot(sizes["original"] / 1e6, cells["original", "val", 1][0], "D", color=GREY, markersize=7)
for name, offset in (("8 bits", (0, -11)), ("4 bits", (5, -5)), ("4 and 8 bits, careful", (-20, -20)), ("original", (-16, -14)),
                     ("pruned 50 %, first spared", (5, -3)), ("low rank, 50 %", (5, -3)), ("shallow student", (5, -3))):
    place = (sizes[name] / 1e6, cells[name, "val", 1][0])
    axes.annotate(name, place, offset, textcoords="offset points", fontsize=7)
for colour, label in ((BLUE, "quantised"), (PINK, "pruned, low rank"), (ORANGE, "students")):
    axes.plot([], [], "o", color=colour, label=label)
axes.set(xlabel="MB", ylabel="recall of facts on val, %", ylim=(-3, 103), xlim=(0, 3.8))
axes.legend(fontsize=7, loc="lower right")
glue("compression_promise", figure, display=False)
plt.close(figure)
glue("compression_comparisons", 2 * len(studies.SPLITS) * len(counts), display=False)
