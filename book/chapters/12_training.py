# ---
# jupyter:
#   course: {notebook: notebooks/12_training.ipynb}
# ---

# %% [markdown]
# # Training
#
# At the end you can say what each part of a training recipe computes, measure whether it helps on *your* data, and move a run
# to several processes, or pick it up after a power cut, without changing its losses.
#
# ```{glue:figure} training_promise
# :name: fig-training-promise
# :alt: Two panels of learning curves over training steps. Left, the loss on the training pictures falls for both runs. Right, the share of new pictures that is named rightly ends higher for one run than for the other.
#
# One network, the same few pictures, two recipes. With both, the loss of the pictures that they train on falls. How well
# they name new ones is another matter, and the subject of this chapter.
# ```
#
# ::::{card}
# :class-card: chapter-card
#
# **Goals**
#
# - compute label smoothing, one step of AdamW, a learning rate and a clipped gradient by hand, and compare with PyTorch
# - leave out each part of a recipe in turn, tune both sides alike, and read from intervals over seeds which parts help
# - learn from pictures without labels in two ways, and measure when that pays
# - accumulate gradients, resume a killed run and use two processes, and prove that the losses stay the same
# - recognise five mistakes that raise no error
#
# **Before you start:** [the vision Transformer](05_vision.py), and a training loop with its cross-entropy ([chapter 0](00_before_attention.py)).
#
# :::{card-footer}
# Reading {measured}`reading` min · runs in {measured}`seconds` s on two CPU cores, {measured}`megabytes` MB ·
# difficulty ●●○
# :::
# ::::

# %% tags=["remove-cell"]
import copy
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random

import matplotlib.pyplot as plt
import numpy as np
import optuna
import torch
import torch.nn.functional as F
from IPython.display import Markdown, display
from myst_nb import glue
from scipy import stats
from torch import nn

# %% tags=["remove-cell"]
from mmcourse.data import EmojiScenes
from mmcourse.data.drawings import nouns, styles_of
from mmcourse.data.language import BACKGROUNDS, Description, Group
from mmcourse.book.plotting import BLUE, GOLD, GREY, ORANGE, show_images, use_style
from mmcourse.training.selfsupervision import (
    MaskedAutoencoder, pseudo_labels, pseudo_weight, semi_supervised_loss
)
from mmcourse.book.source import show_source
from mmcourse.training import (
    TrainingConfig, cut, learning_rate_at, parameter_groups, read_log, step_indices, train
)
from mmcourse.vision import VisionTransformer, to_pixels

use_style()
torch.set_num_threads(1)  # so small a network is not quicker with two
optuna.logging.set_verbosity(optuna.logging.WARNING)
workplace = tempfile.TemporaryDirectory()
FOLDER = Path(workplace.name)

# %% [markdown]
# ## Which part of the recipe does the work?
#
# We have trained networks since [chapter 0](00_before_attention.py), and took most of the recipe for granted. Here we take it apart.
# The task is that of [chapter 5](05_vision.py): name the one thing in a small scene, here out of ten. But now labels are rare. We
# have {glue:text}`training_pool:,` training scenes, and use {glue:text}`training_few:d` of them.

# %%
SIZE, FEW = 32, 200

def choose(seed):
    """One thing of each of ten categories, drawn in every style."""
    found = {}
    for noun in Random(seed).sample(nouns(), len(nouns())):
        if noun.name.isalpha() and len(styles_of(noun.name)) == 6:
            found.setdefault(noun.category, noun.name)
    return [name for _, name in sorted(found.items())][:10]

def make_scenes(name, split, count):
    """Pixels (count, 3, SIZE, SIZE) and the number of the thing (count)."""
    world, images = EmojiScenes(split, SIZE), []
    for index in range(count):
        rng = Random(f"training/{name}/{index}")
        thing = Group(things[index % 10], size="big")
        about = Description((thing,), None, rng.choice(tuple(BACKGROUNDS)))
        images.append(world.render(about, rng, "").image)
    return to_pixels(np.stack(images)), torch.arange(count) % 10

things = choose(0)
pool = make_scenes("pool", "train", 3000)
val, test = make_scenes("val", "val", 500), make_scenes("test", "val", 2000)
few = pool[0][:FEW], pool[1][:FEW]
print(", ".join(things))

# %% tags=["remove-cell"]
glue("training_few", FEW, display=False)
glue("training_pool", len(pool[0]), display=False)
glue("training_val", len(val[0]), display=False)
glue("training_test", len(test[0]), display=False)

# %% mystnb={"image": {"alt": "Two rows of small scenes. Each shows one thing, at different places and sizes, on different backgrounds."}} tags=["hide-input"]
def to_bytes(pixels):
    return ((pixels + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()

show_images(to_bytes(pool[0][:10]), [things[label] for label in pool[1][:10]], columns=5, size=1.2);

# %% [markdown]
# Two more sets hold new scenes: we make choices with the {glue:text}`training_val:d` of `val`, and report on the
# {glue:text}`training_test:,` of `test`. The network is a small vision Transformer. People who train such networks use a
# **recipe** with many parts. Here are eight:
#
# | part | when it is off |
# |---|---|
# | AdamW, an optimiser | stochastic gradient descent with **momentum**: 0.9 times the last step is added to each step |
# | **warm-up**: the learning rate rises at first | it starts at the full rate |
# | **cosine**: the rate falls to zero | it stays |
# | gradient clipping | a gradient can have any length |
# | label smoothing | the truth has probability one |
# | dropout | no number is dropped |
# | weight decay | weights are not pulled to zero |
# | **augmentation**: each picture is changed at random each time | the pictures as they are |
#
# **Guess before you read on:** which of the eight helps most on new pictures, and which not at all? First we need to know
# what each of them computes.
#
# ## The loss, and a softer truth
#
# A classifier gives a picture $x$ a score for each class, the **logits**, and softmax makes of them probabilities $p_k$ for the $K$ classes. The loss is the
# **cross-entropy** with the truth, a distribution $q$:
#
# $$
# \mathcal{L}(q, p) = -\sum_{k=1}^{K} q_k \log p_k, \qquad
# q_k = (1 - \varepsilon)\,[k = y] + \frac{\varepsilon}{K}
# $$ (eq-training-smoothing)
#
# - $y$ is the number of the true class, and $[k = y]$ is 1 for it and 0 for the others.
# - $\varepsilon$ is a number from 0 to 1. With $\varepsilon = 0$ this is the cross-entropy of [chapter 0](00_before_attention.py), $-\log p_y$, which [chapter 14](14_captioning.py) takes of each word.
# - With $\varepsilon > 0$ it is **label smoothing** {cite}`szegedy2016`: a part $\varepsilon$ of the truth is spread over all classes. To be
#   certain no longer pays, and the weights need not grow without end.
#
# ### On paper
#
# Three classes, the second is true, logits whose exponentials are 1, 2, 1, so $p = (\tfrac14, \tfrac12, \tfrac14)$. Without
# smoothing the loss is $\log 2$. With $\varepsilon = 0.3$ the truth is $q = (0.1, 0.8, 0.1)$, and the loss is
# $0.8 \log 2 + 0.2 \log 4 = 1.2 \log 2$.

# %% tags=["nbval-check-output"]
def smoothed(logits, labels, epsilon):
    """Mean over the rows of logits (B, K)."""
    K = logits.shape[1]
    q = torch.full_like(logits, epsilon / K)
    q[range(len(labels)), labels] += 1 - epsilon
    return -(q * logits.log_softmax(1)).sum(1).mean()

logits = torch.tensor([[1.0, 2, 1]]).log()
for epsilon in (0.0, 0.3):
    print(f"{epsilon}: {smoothed(logits, torch.tensor([1]), epsilon):.4f}")
print(f"on paper: {math.log(2):.4f} and {1.2 * math.log(2):.4f}")

# %% tags=["nbval-check-output"]
torch.manual_seed(0)
for B, K, epsilon in [(1, 2, 0.5), (7, 3, 0.1), (5, 11, 0.03)]:
    logits, labels = 4 * torch.randn(B, K), torch.randint(K, (B,))
    theirs = F.cross_entropy(logits, labels, label_smoothing=epsilon)
    ours = smoothed(logits, labels, epsilon)
    assert abs(ours - theirs) < 1e-5
    print(f"B {B}, K {K}: equal to PyTorch's")

# %% [markdown]
# ## The step: AdamW
#
# Training moves the weights $\theta$ against the gradient $g$ of the loss. **AdamW** {cite}`loshchilov2019` is Adam {cite}`kingma2015`,
# of which chapter 0 took a first step, with another weight decay. It keeps two running means for each weight, of the gradient and of its square. In step $s = 1, 2, \dots$:
#
# $$
# \begin{aligned}
# m &\leftarrow \beta_1 m + (1 - \beta_1)\, g, \qquad & v &\leftarrow \beta_2 v + (1 - \beta_2)\, g^2, \\
# \hat m &= \frac{m}{1 - \beta_1^s}, & \hat v &= \frac{v}{1 - \beta_2^s}, \\
# \theta &\leftarrow \theta - \eta \lambda \theta - \eta\, \frac{\hat m}{\sqrt{\hat v} + \epsilon}
# \end{aligned}
# $$ (eq-training-adamw)
#
# - $g$, $m$, $v$ and $\theta$ have the same shape, and all operations are element by element. $m$ and $v$ start at 0.
# - $\beta_1 = 0.9$ and $\beta_2 = 0.999$: how long the means remember. $\hat m$ and $\hat v$ correct for the start at 0.
# - $\eta$ is the **learning rate**, $\lambda$ the **weight decay**, $\epsilon = 10^{-8}$ avoids a division by 0. (The paper multiplies $\lambda \theta$ by the schedule alone,
#   not by the learning rate. This is PyTorch's form.)
#
# The fraction is about $\pm 1$ where the gradient stays the same, however small it is, and nearer to 0 where its sign changes from batch to
# batch. So $\eta$ sets the size of a step, and the scale of the gradient does not. But $\eta$ is no bound. After a long silence,
# the first gradient moves its weight by $\eta\, (1 - \beta_1) / \sqrt{1 - \beta_2}$, which is $3.2\, \eta$ ({cite:t}`kingma2015`,
# section 2.1). A gradient that then grows by $\beta_2 / \beta_1$ in each step brings it to
#
# $$
# \eta\, \frac{1 - \beta_1}{\sqrt{(1 - \beta_2)(1 - \beta_1^2 / \beta_2)}} \approx 7.3\, \eta,
# $$
#
# and by the inequality of Cauchy and Schwarz no gradients bring it further. Below we run both.
#
# ### On paper
#
# One weight $\theta = 1$ with gradient $g = 0.2$, $\eta = 0.1$, $\lambda = 0.5$. In the first step $\hat m = g$ and $\hat v = g^2$, so the
# fraction is 1, and $\theta = 1 - 0.1 \cdot 0.5 \cdot 1 - 0.1 \cdot 1 = 0.85$. With $g = 0.002$ it would be the same.

# %% tags=["nbval-check-output"]
def adamw(theta, g, memory, eta, decay, beta1=0.9, beta2=0.999, epsilon=1e-8):
    """One step, in place; memory is (s, m, v)."""
    s, m, v = memory[0] + 1, memory[1], memory[2]
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    update = (m / (1 - beta1**s)) / ((v / (1 - beta2**s)).sqrt() + epsilon)
    theta -= eta * decay * theta + eta * update
    memory[:] = s, m, v

for g in (0.2, 0.002):
    theta = torch.tensor([1.0])
    adamw(theta, torch.tensor([g]), [0, 0, 0], eta=0.1, decay=0.5)
    print(f"gradient {g}: {theta.item():.4f}")

# %% tags=["nbval-check-output"]
def last_step(gradients):
    """How far the last step moves a weight, in units of eta, without decay."""
    theta, memory = torch.zeros(1, dtype=torch.float64), [0, 0, 0]
    for g in torch.tensor(gradients, dtype=torch.float64):
        before = theta.clone()
        adamw(theta, g, memory, eta=1.0, decay=0.0)
    return (theta - before).abs().item()

silence = [0.0] * 5000
growing = [(0.999 / 0.9) ** i for i in range(300)]
print(f"always the same {last_step([1.0] * 1000):.1f}, "
      f"after a silence {last_step([*silence, 1.0]):.1f}, "
      f"growing after a silence {last_step(silence + growing):.1f}")

# %% tags=["nbval-check-output"]
torch.manual_seed(0)
for shape in [(1,), (5, 3), (2, 7, 3)]:
    weight = nn.Parameter(torch.randn(shape))
    ours, memory = weight.detach().clone(), [0, 0, 0]
    optimiser = torch.optim.AdamW([weight], lr=0.03, weight_decay=0.2)
    for _ in range(10):
        weight.grad = torch.randn(shape)
        adamw(ours, weight.grad, memory, 0.03, 0.2)
        optimiser.step()
    assert torch.allclose(ours, weight, atol=1e-5)
    print(f"{shape}: ten steps equal to torch.optim.AdamW")

# %% [markdown]
# Should every weight decay? The usual argument: a large matrix can fit noise; a bias or the scale of a norm hardly can. The course follows
# this custom, without having measured it, and lets the weights of linear layers and convolutions decay, nothing else:

# %% tags=["remove-input"]
show_source(parameter_groups)

# %% [markdown]
# ## The learning rate over time
#
# In the first steps $\hat v$ rests on few gradients, so the size of a step is uncertain. One remedy is to let the rate rise for $w$ steps, the
# **warm-up**. Towards the end, smaller steps are to settle. With $S$ steps in all, the rate of step $s = 0, 1, \dots, S - 1$ is
#
# $$
# \eta_s = \begin{cases}
# \eta\, \dfrac{s + 1}{w} & s < w \\[2ex]
# \dfrac{\eta}{2} \left(1 + \cos \dfrac{\pi\, (s - w)}{S - w}\right) & s \ge w
# \end{cases}
# $$ (eq-training-schedule)
#
# The second line is half a **cosine** {cite}`loshchilov2017`. On paper, for $\eta = 1$, $w = 2$, $S = 6$: the rates are $\tfrac12, 1$, then
# $\tfrac12 (1 + \cos 0) = 1$, and $\tfrac12 (1 + \cos \tfrac{\pi}{4}) = 0.854$, $\tfrac12 (1 + \cos \tfrac{\pi}{2}) = 0.5$, 0.146.

# %% tags=["nbval-check-output"]
paper = TrainingConfig(steps=6, batch_size=1, learning_rate=1.0, warmup=2)
print([round(learning_rate_at(step, paper), 3) for step in range(6)])

# %% tags=["remove-input"]
show_source(learning_rate_at)

# %% [markdown]
# The code has one more line. With **restarts** the rate jumps up again at given steps, and falls once more. The same paper proposes them; in the
# course each starts from half of the rate before. The shipped captioner ([chapter 14](14_captioning.py)) was trained so. The reference for the falling part is PyTorch's own
# schedule:

# %% tags=["nbval-check-output"]
config = TrainingConfig(steps=60, batch_size=1, learning_rate=0.3, warmup=7)
optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=60 - 7)
gap = 0
for step in range(7, 60):
    gap = max(gap, abs(learning_rate_at(step, config) - optimiser.param_groups[0]["lr"]))
    optimiser.step()
    reference.step()
assert gap < 1e-5
print("the falling part is equal to CosineAnnealingLR")

# %% mystnb={"figure": {"caption": "The learning rate as a part of its peak: warm-up and cosine, and the same with two restarts.", "name": "fig-training-rate"}, "image": {"alt": "Two curves over 100 steps. Both rise in the first ten. One falls along a cosine to zero at the end; the other falls to zero and jumps up twice, to a half and to a quarter of the peak."}} tags=["hide-input"]
figure, axes = plt.subplots(figsize=(6.4, 2.2))
for restarts, colour, label in (((), BLUE, "cosine"), ((50, 75), ORANGE, "with restarts")):
    config = TrainingConfig(100, 1, 1.0, warmup=10, restarts=restarts)
    axes.plot([learning_rate_at(step, config) for step in range(100)], color=colour, label=label)
axes.set(xlabel="step", ylabel="rate / peak", ylim=(0, 1.05))
axes.legend();

# %% [markdown]
# ## Clipping, dropout, augmentation
#
# **Gradient clipping** {cite}`pascanu2013` shortens the gradient of all weights together, $g$, when it is longer than $c$. Its direction stays:
#
# $$
# g \leftarrow g \cdot \min\!\left(1, \frac{c}{\lVert g \rVert}\right)
# $$ (eq-training-clip)
#
# On paper: $g = (3, 4)$ has length 5; for $c = 1$ it becomes $(0.6, 0.8)$.

# %% tags=["nbval-check-output"]
def clip(gradients, c):
    norm = sum(g.square().sum() for g in gradients).sqrt()
    return [g * min(1, c / norm) for g in gradients]

print([round(number, 4) for number in clip([torch.tensor([3.0, 4.0])], 1)[0].tolist()])
torch.manual_seed(0)
for shapes in [[(5,)], [(2, 3), (7,)], [(1, 4, 3), (1,), (6, 5)]]:
    weights = [nn.Parameter(torch.zeros(shape)) for shape in shapes]
    for weight in weights:
        weight.grad = torch.randn(weight.shape)
    ours = clip([weight.grad for weight in weights], 0.7)
    nn.utils.clip_grad_norm_(weights, 0.7)
    assert all(torch.allclose(w.grad, o, atol=1e-5) for w, o in zip(weights, ours, strict=True))
print("equal to PyTorch's on three sets of shapes")

# %% [markdown]
# **Dropout** {cite}`srivastava2014` sets each number of a layer to zero with probability $r$ while training. The paper makes the weights smaller
# in use, so that the mean stays. Libraries make the numbers that are left larger while training, which the paper names as another way to the same:
#
# $$
# \tilde x_i = \frac{z_i}{1 - r}\, x_i, \qquad z_i = \begin{cases} 0 & \text{with probability } r \\ 1 & \text{otherwise} \end{cases}
# $$ (eq-training-dropout)
#
# On paper: with $r = \tfrac14$, a 3 becomes 0 in one of four steps and 4 in the other three, 3 in the mean. When we use the network, nothing is dropped. PyTorch's
# `F.dropout` draws other random numbers than we would. We can still compare: read the $z$ off its zeros.

# %% tags=["nbval-check-output"]
torch.manual_seed(0)
for r, shape in [(0.25, (3, 5)), (0.5, (7,)), (0.9, (2, 3, 4))]:
    x = torch.randn(shape)
    theirs = F.dropout(x, r)
    z = (theirs != 0).float()
    assert torch.allclose(z / (1 - r) * x, theirs, atol=1e-5)
many = F.dropout(torch.full((100_000,), 3.0), 0.25)
print(f"values {sorted({round(v, 4) for v in many.tolist()})}, mean {many.mean():.1f}")

# %% [markdown]
# **Augmentation** says in code what should not matter. A mirrored, shifted, larger or darker picture of a tomato shows a tomato. Which changes are
# harmless is knowledge about the task: mirroring would ruin a digit, or a caption that says "left".

# %%
def augment(pixels):
    """Mirror, shift, zoom and light each picture (B, 3, h, w) at random."""
    B = len(pixels)
    zoom, mirror = 0.8 + 0.4 * torch.rand(B), (torch.rand(B) < 0.5) * 2 - 1
    theta = torch.zeros(B, 2, 3)  # where each pixel comes from: a matrix and a shift
    theta[:, 0, 0], theta[:, 1, 1] = zoom * mirror, zoom
    theta[:, :, 2] = 0.5 * torch.rand(B, 2) - 0.25
    grid = F.affine_grid(theta, pixels.shape, align_corners=False)
    moved = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    return moved * (0.8 + 0.4 * torch.rand(B, 1, 1, 1)) + 0.3 * torch.rand(B, 1, 1, 1) - 0.15

# %% mystnb={"image": {"alt": "One scene six times: first as it is, then mirrored, shifted, zoomed, lighter or darker."}} tags=["hide-input"]
torch.manual_seed(0)
changed = augment(pool[0][3:4].expand(5, -1, -1, -1)).clamp(-1, 1)
titles = ["as it is", *["augmented"] * 5]
show_images(to_bytes(torch.cat([pool[0][3:4], changed])), titles, size=1.15);

# %% [markdown]
# ## The loop
#
# Here is the whole recipe as one loop with eight switches. `on` is the set of parts that are on.

# %%
PARTS = ("AdamW", "warm-up", "cosine", "clipping", "smoothing", "dropout", "decay",
         "augmentation")
STEPS, BATCH, RATE, DECAY = 64, 32, 1e-2, 0.1

class Namer(nn.Module):
    """A vision Transformer, and a linear layer on its class token."""
    def __init__(self, dropout=0.0):
        super().__init__()
        self.encoder = VisionTransformer(SIZE, 8, 32, layers=1, heads=4, dropout=dropout)
        self.head = nn.Linear(32, len(things))

    def forward(self, pixels):
        return self.head(self.encoder(pixels)[:, 0])  # (B, 10)

def namer(seed, dropout=0.0):
    torch.manual_seed(seed)
    return Namer(dropout)

# %%
@torch.no_grad()
def judge(model, data):
    """Cross-entropy, and the share of right names."""
    logits = model.eval()(data[0])
    right = (logits.argmax(1) == data[1]).float().mean()
    return F.cross_entropy(logits, data[1]).item(), right.item()

# %%
def fit(on, seed, data=few, rate=RATE, decay=DECAY, steps=STEPS, model=None, looks=4):
    """Train a Namer; return it and rows of step, train loss, val loss, val share."""
    model = model or namer(seed, 0.1 * ("dropout" in on))
    warmup = steps // 10 * ("warm-up" in on)
    config = TrainingConfig(steps, BATCH, rate, warmup, seed=seed)
    groups = parameter_groups(model, decay * ("decay" in on))
    optimiser = (torch.optim.AdamW(groups, fused=True) if "AdamW" in on else
                 torch.optim.SGD(groups, momentum=0.9, fused=True))
    curve = []
    for step, batch in enumerate(step_indices(len(data[1]), config)):
        torch.manual_seed(1000 * seed + step)
        falling, rising = learning_rate_at(step, config), min(1, (step + 1) / (warmup or 1))
        for group in optimiser.param_groups:
            group["lr"] = falling if "cosine" in on else rate * rising
        x = augment(data[0][batch]) if "augmentation" in on else data[0][batch]
        loss = F.cross_entropy(model.train()(x), data[1][batch],
                               label_smoothing=0.1 * ("smoothing" in on))
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0 if "clipping" in on else math.inf)
        optimiser.step()
        if (step + 1) % (steps // looks) == 0:
            curve.append((step + 1, judge(model, data)[0], *judge(model, val)))
    return model, curve

# %% [markdown]
# The package's loop is `mmcourse.training.train`. It has the parts that a real run needs besides: checkpoints, a log, several processes.
# We look at these later. First: is it the same loop? Same seed, no random parts, then the logits must agree.

# %%
def namer_loss(model, batch):
    pixels, labels = batch
    return F.cross_entropy(model(pixels), labels, label_smoothing=0.1)

fixed = set(PARTS) - {"dropout", "augmentation"}
by_hand, _ = fit(fixed, seed=3, steps=30)
config = TrainingConfig(30, BATCH, RATE, warmup=3, weight_decay=0.1, clip=1.0, seed=3)
real = namer(seed=3)
train(real, list(zip(*few, strict=True)), namer_loss, config, FOLDER / "same")
with torch.no_grad():
    gap = (by_hand(val[0]) - real(val[0])).abs().max().item()
print(f"largest difference of a logit after 30 steps: {gap:.0e}")
assert gap < 1e-4

# %% tags=["remove-cell"]
glue("training_loop_gap", float(gap), display=False)

# %% [markdown]
# They differ by {glue:text}`training_loop_gap:.0e` at most, which is rounding.
#
# ## Each part, left out
#
# What is a part worth? We leave it out of the whole recipe and look what is lost. That sounds simple, and three things can spoil it.
#
# **Unequal tuning.** A rate that suits AdamW need not suit SGD, whose step grows with the gradient, and weight decay works differently in the two. AdamW pulls by $\eta \lambda \theta$
# in a step. SGD adds $\lambda \theta$ to the gradient, and its momentum sums up about ten of them, so the pull is near $10\, \eta \lambda \theta$. With the same numbers we
# would compare settings and not optimisers. So **each recipe gets a small search of its own**: three rates, then a second decay at the best of
# them, one run each, judged on `val`. SGD has lists of its own, with higher rates and lower decays; a few runs with yet another seed told us where to
# look. The search has a seed that is not used again.

# %%
SEARCH_SEED = 100
RATES = {"AdamW": (0.003, 0.01, 0.03), "SGD": (0.02, 0.06, 0.2)}
DECAYS = {"AdamW": (0.1, 1.0), "SGD": (0.001, 0.01)}

def tune(on):
    """The rate and the decay with the best share on val, of three rates, then two decays."""
    optimiser = "AdamW" if "AdamW" in on else "SGD"
    first, second = DECAYS[optimiser]

    def share(rate, decay):
        return fit(on, SEARCH_SEED, rate=rate, decay=decay, looks=1)[1][-1][3]

    tried = {(rate, first): share(rate, first) for rate in RATES[optimiser]}
    best_rate = max(tried, key=tried.get)[0]
    if "decay" in on:
        tried[best_rate, second] = share(best_rate, second)
    return max(tried, key=tried.get)

settings = {"all on": set(PARTS), "nothing on": set()}
settings |= {f"without {part}": set(PARTS) - {part} for part in PARTS}
chosen = {name: tune(on) for name, on in settings.items()}

# %% [markdown]
# **Chance.** Another seed gives other first weights, another order of the pictures, and another share of right names. So each recipe is trained with
# {glue:text}`training_seeds:d` seeds, {glue:text}`training_steps:d` steps on the {glue:text}`training_few:d` pictures each, and judged on `test`.

# %%
SEEDS = (0, 1, 2, 3, 4)
curves, right = {}, {}
for name, on in settings.items():
    rate, decay = chosen[name]
    runs = [fit(on, seed, rate=rate, decay=decay) for seed in SEEDS]
    curves[name] = np.array([curve for _, curve in runs])  # (seeds, rows, 4)
    right[name] = np.array([judge(model, test)[1] for model, _ in runs])  # (seeds,)
spread = np.mean([shares.var(ddof=1) for shares in right.values()]) ** 0.5

# %% [markdown]
# **Many comparisons.** Let $a$ and $b$ be two recipes with $n$ seeds each, $\bar a$ and $\bar b$ their mean shares, and $s_a$ and $s_b$ their standard deviations, with $n - 1$ in the
# denominator. The difference $\bar a - \bar b$ has the standard error $\sqrt{s_a^2 / n + s_b^2 / n}$, from these two alone and not from all recipes, since they
# need not be equally noisy. Half of a confidence interval of 95 % is this error times a quantile of Student's distribution (Welch's interval, which assumes that shares over seeds are spread normally). But with nine
# such intervals, all about nothing and independent, 37 tables of a hundred have at least one that leaves out zero. We make {glue:text}`training_comparisons:d` comparisons: eight parts, and
# *nothing on*. So each interval gets a ninth of the 5 % (**Bonferroni correction**), and then at most one table in twenty holds a false "helps" or "does harm".

# %%
COMPARISONS = len(PARTS) + 1

def difference(a, b, comparisons=COMPARISONS):
    """Mean of a minus mean of b, each (seeds,), and half the width of its interval."""
    errors = np.array([a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)])  # squared
    freedom = errors.sum() ** 2 / (errors**2 / [len(a) - 1, len(b) - 1]).sum()
    quantile = stats.t.ppf(1 - 0.025 / comparisons, freedom)
    return a.mean() - b.mean(), quantile * errors.sum() ** 0.5

def verdict(gain, half):
    if abs(gain) <= half:
        return "cannot be told"
    return "helps" if gain > 0 else "does harm"

gains = {part: difference(right["all on"], right[f"without {part}"]) for part in PARTS}

# %% tags=["remove-cell"]
flat = {name: data[0].flatten(1) for name, data in (("few", few), ("test", test))}
nearest = few[1][torch.cdist(flat["test"], flat["few"]).argmin(1)]
pixels_share = (nearest == test[1]).float().mean().item()

# %% tags=["remove-input"]
def numbers(name):
    rate, decay = chosen[name]
    decay = f"{decay:g}" if "decay" in settings[name] else "–"
    train_loss, val_loss = curves[name][:, -1, 1:3].mean(0)
    return (f"{rate:g} | {decay} | {train_loss:.2f} | {val_loss:.2f} | {right[name].mean():.1%} ± "
            f"{right[name].std(ddof=1):.1%}")

lines = ["| recipe | rate | decay | loss on train | loss on val | right on test "
         "| what the part is worth | so it |",
         "|---|" + "--:|" * 6 + "---|", f"| *all on* | {numbers('all on')} | | |"]
for part, (gain, half) in gains.items():
    lines.append(f"| without {part} | {numbers(f'without {part}')} | "
                 f"{100 * gain:+.1f} ± {100 * half:.1f} | {verdict(gain, half)} |")
gain, half = difference(right["all on"], right["nothing on"])
lines.append(f"| *nothing on* | {numbers('nothing on')} | {100 * gain:+.1f} ± {100 * half:.1f} | "
             f"{verdict(gain, half)} |")
display(Markdown("\n".join(lines)))

# %% tags=["remove-cell"]
whole_gain, whole_half = difference(right["all on"], right["nothing on"])
glue("training_whole_gain", 100 * float(whole_gain), display=False)
glue("training_whole_half", 100 * float(whole_half), display=False)
glue("training_whole_verdict", verdict(whole_gain, whole_half), display=False)
glue("training_comparisons", COMPARISONS, display=False)
glue("training_seeds", len(SEEDS), display=False)
glue("training_steps", STEPS, display=False)
glue("training_pixels", float(pixels_share), display=False)
glue("training_spread", float(spread), display=False)
glue("training_single", 2 * 2**0.5 * float(spread), display=False)

# %% tags=["remove-cell"]
for word, key in (("helps", "up"), ("does harm", "down"), ("cannot be told", "unsure")):
    found = [part for part in sorted(PARTS, key=lambda part: -abs(gains[part][0]))
             if verdict(*gains[part]) == word]
    glue(f"training_{key}", ", ".join(found) or "none", display=False)
for key, choose_one in (("least", min), ("most", max)):
    glue(f"training_half_{key}", 100 * float(choose_one(half for _, half in gains.values())),
         display=False)
for name, start in (("nothing on", "nothing"), ("all on", "all"),
                    ("without augmentation", "plain")):
    for index, what in enumerate(("train", "new"), 1):
        key = f"training_{start}_{what}_loss"
        glue(key, float(curves[name][:, -1, index].mean()), display=False)
rising = curves["nothing on"][:, :, 2].mean(0)  # loss on val, (rows,)
glue("training_nothing_least_loss", float(rising.min()), display=False)
apart = {name: curves[name][:, -1, 2].mean() - curves[name][:, -1, 1].mean() for name in settings}
narrower = apart["all on"] < apart["without augmentation"]
glue("training_gap_word", "narrower" if narrower else "not narrower", display=False)
ends = {rate for rates in RATES.values() for rate in (rates[0], rates[-1])}
edges = sum(rate in ends for rate, _ in chosen.values())
glue("training_edges", edges, display=False)
glue("training_recipes", len(settings), display=False)

# %% [markdown]
# The rate and decay are what the search chose; the losses are means over the seeds, the share is the mean ± one standard deviation over the seeds; what a part is worth is the share of
# *all on* minus that without it, in percentage points, ± half of its interval. The baselines, without training: the name of the nearest training picture by pixels,
# {glue:text}`training_pixels:.0%`; a guess, 10 %. All losses here are computed without smoothing, so they can be compared, also those of models that trained with it.

# %% mystnb={"figure": {"caption": "Share of right names on the pictures of val (mean of the seeds). Grey, dotted: nothing on. Orange, dashed: all on. Gold, dashes and dots: all but this part.", "name": "fig-training-parts"}, "image": {"alt": "Eight small panels, one for each part, with three curves each over the steps of training: nothing on, all on, and all but this part."}} tags=["hide-input"]
figure, axes = plt.subplots(2, 4, figsize=(7.4, 3.6), sharex=True, sharey=True)
for axis, part in zip(axes.flat, PARTS, strict=True):
    for name, colour, style in (("nothing on", GREY, ":"), ("all on", ORANGE, "--"),
                                (f"without {part}", GOLD, "-.")):
        curve = curves[name].mean(0)
        axis.plot(curve[:, 0], curve[:, 3], style, color=colour)
    axis.set_title(part)
for axis in axes[1]:
    axis.set_xlabel("step")
for axis in axes[:, 0]:
    axis.set_ylabel("right on val");

# %% tags=["remove-cell"]
figure, (left, right_axis) = plt.subplots(1, 2, figsize=(7.2, 2.6))
for name, colour, label in (("nothing on", GREY, "no recipe"), ("all on", ORANGE, "all parts")):
    curve = curves[name].mean(0)
    left.plot(curve[:, 0], curve[:, 1], color=colour, label=label)
    right_axis.plot(curve[:, 0], 100 * curve[:, 3], color=colour, label=label)
left.set(xlabel="step", ylabel="loss, training pictures", ylim=(0, None))
right_axis.set(xlabel="step", ylabel="% right, new pictures", ylim=(0, 100))
right_axis.legend()
glue("training_promise", figure, display=False)
plt.close(figure)

# %% [markdown]
# So this is the answer to our question, for each part within the full recipe:
#
# | helps | does harm | cannot be told from here |
# |---|---|---|
# | {glue:text}`training_up` | {glue:text}`training_down` | {glue:text}`training_unsure` |
#
# The whole recipe against *nothing on*: {glue:text}`training_whole_gain:+.1f` ± {glue:text}`training_whole_half:.1f` points ({glue:text}`training_whole_verdict`). Where the whole helps and
# a part of it cannot be told, the part may be too small for our intervals, or others may stand in for it; this table cannot say which. "Cannot be told" is no verdict on a part. It says that an effect, if there is one, is
# not large enough for {glue:text}`training_seeds:d` seeds, whose intervals reach {glue:text}`training_half_least:.1f` to {glue:text}`training_half_most:.1f` points to either side.
#
# Look at the losses too. With *nothing on*, the loss of the training pictures ends at {glue:text}`training_nothing_train_loss:.2f`. That of new ones ends at
# {glue:text}`training_nothing_new_loss:.2f`, and was {glue:text}`training_nothing_least_loss:.2f` at its lowest of the four times that we looked. When it rises while the other falls, this is **overfitting**. With all parts but
# augmentation the two end at {glue:text}`training_plain_train_loss:.2f` and {glue:text}`training_plain_new_loss:.2f`. With it too, so that no picture comes twice, they end at {glue:text}`training_all_train_loss:.2f` and
# {glue:text}`training_all_new_loss:.2f`: a gap that is {glue:text}`training_gap_word`. A narrower gap alone does not name more pictures; look at the shares for that.
#
# What the table does not say. It holds for these {glue:text}`training_few:d` training pictures, this network and {glue:text}`training_steps:d` steps; the seeds change nothing of that. The search was small: one run a setting,
# and in {glue:text}`training_edges:d` of {glue:text}`training_recipes:d` recipes the chosen rate lies at an end of its list, so a better one may lie beyond. And a part that does nothing in a short run of a
# small network may be worth it in a long run of a deep one. This is why a recipe is measured and not copied.
#
# ## Pictures without labels
#
# Labels cost work, pictures do not. Suppose that we have {glue:text}`training_pool:,` scenes and only 1 % of them has a label, or 10 %. **Supervised**
# training uses those alone. Two ways use the rest too.
#
# ### Self-supervised: hide and paint
#
# In **self-supervised** training the picture is its own label, as the text was in [chapter 3](03_text.py). A **masked autoencoder** {cite}`he2022` hides most patches, encodes the others, and a
# small decoder paints what was hidden. With $M$ the set of hidden patches, $x_n$ the pixels of patch $n$, brought to mean 0 and variance 1, and
# $\hat x_n$ what was painted, both of $P^2 C$ numbers:
#
# $$
# \mathcal{L}_\text{masked} = \frac{1}{|M|} \sum_{n \in M} \frac{1}{P^2 C} \lVert \hat x_n - x_n \rVert^2
# $$ (eq-training-masked)
#
# On paper: two hidden patches of two pixels each. One is painted $(1, 0)$ and is $(1, -1)$: error $\tfrac12 (0 + 1)$. The other is painted as it is:
# 0. The loss is $\tfrac14$. Seen patches do not count; to copy them is no task.
#
# Afterwards we throw the decoder away and train the encoder on, with the labels that we have. This is **fine-tuning**.

# %% tags=["remove-input"]
show_source(MaskedAutoencoder.forward)

# %% [markdown]
# `scatter` puts what was seen back in its place, among learned mask tokens. The package's test copies the weights of
# `transformers.ViTMAEForPreTraining` and gets the same painting and the same loss. Here with one shape:

# %% tags=["nbval-check-output"]
torch.manual_seed(0)
small = MaskedAutoencoder(VisionTransformer(12, 4, 8, 1, 2), hidden=0.5, width=8, heads=2)
pictures = torch.randn(2, 3, 12, 12)
painted, hidden = small(pictures, noise := torch.rand(2, 9))
print("painted", tuple(painted.shape), "hidden", hidden.sum(1).tolist(), "of 9")
total = 0.0
for b in range(2):
    for n in hidden[b].nonzero()[:, 0].tolist():  # patch n: row n // 3, column n % 3
        row, column = 4 * (n // 3), 4 * (n % 3)
        x = pictures[b, :, row:row + 4, column:column + 4].flatten()
        x = (x - x.mean()) / x.std()
        total += (painted[b, n] - x).square().mean().item()
by_hand = total / hidden.sum().item()
print("equal:", abs(by_hand - small.loss(pictures, noise).item()) < 1e-5)

# %%
def pretrain(steps=240):
    """An encoder that has learned to paint the pool's pictures; it sees no label."""
    torch.manual_seed(0)
    model = MaskedAutoencoder(namer(0).encoder)
    config = TrainingConfig(steps, 64, 2e-3, warmup=steps // 10)
    pictures = list(augment(pool[0]))
    rows = train(model, pictures, lambda m, x: m.loss(x), config, FOLDER / "masked")
    return model, rows

masked, rows = pretrain()
print(f"loss {rows[0]['loss']:.2f} in the first steps, {rows[-1]['loss']:.2f} in the last")

# %% mystnb={"figure": {"caption": "New scenes, what the encoder saw of them, and what it painted. Each patch was brought to mean 0 and variance 1 for the loss; here its true mean and variance are put back, so look at shapes, not at brightness.", "name": "fig-training-masked"}, "image": {"alt": "Three rows of five small pictures: scenes, the same with most patches grey, and the same with blurred guesses in the hidden patches."}} tags=["hide-input"]
torch.manual_seed(1)
shown = val[0][:5]
with torch.no_grad():
    painted, hidden = masked.eval()(shown)
patches = F.unfold(shown, 8, stride=8).transpose(1, 2)  # (5, N, 192)
mean, std = patches.mean(-1, keepdim=True), patches.std(-1, keepdim=True)
grey = torch.where(hidden[..., None], torch.zeros(()), patches)
guess = torch.where(hidden[..., None], painted * std + mean, patches)
fold = [F.fold(x.transpose(1, 2), SIZE, 8, stride=8).clamp(-1, 1) for x in (patches, grey, guess)]
show_images(to_bytes(torch.cat(fold)), columns=5, size=1.1);

# %% [markdown]
# ### Semi-supervised: believe yourself
#
# In **semi-supervised** training labelled and unlabelled pictures are mixed. **Pseudo-labels** {cite}`lee2013` take the network's own most probable class for the
# truth. With $n$ labelled and $n'$ unlabelled pictures in a batch, and $\tilde y_j$ the most probable class of the unlabelled picture $j$:
#
# $$
# \mathcal{L} = \frac{1}{n} \sum_{i=1}^{n} -\log p_i[y_i] \; + \; \alpha_s\, \frac{1}{n'} \sum_{j=1}^{n'} -\log p'_j[\tilde y_j]
# $$ (eq-training-pseudo)
#
# The weight $\alpha_s$ is 0 at first, since early answers are guesses, and rises in a line. We take the pseudo-label from the picture as it is, only where its probability is at least one
# half, and train on the augmented picture. {cite:t}`sohn2020` do likewise, with a picture that is mirrored and shifted, and with a threshold of 0.95. Ours is lower, since a threshold
# that nothing passes tests nothing. We count what passes ours, how much of that is right, and what would have passed theirs.

# %% tags=["remove-input"]
show_source(pseudo_labels)

# %% tags=["remove-input"]
show_source(semi_supervised_loss)

# %%
CONFIDENCE = 0.5
LONG = 112  # steps: before that few answers are sure enough
UNSMOOTHED = set(PARTS) - {"smoothing"}  # the loss of the pseudo-labels has none

def believe(model, unknown):
    """Pseudo-labels (B,) of pictures of the pool, and counts.

    The counts: how many pictures, how many have a label, a right one, a probability of 0.95.
    """
    with torch.no_grad():
        logits = model.eval()(pool[0][unknown])
    pseudo, surer = pseudo_labels(logits, CONFIDENCE), pseudo_labels(logits, 0.95)
    kinds = pseudo >= 0, pseudo == pool[1][unknown], surer >= 0
    return pseudo, [len(unknown), *(kind.sum().item() for kind in kinds)]

# %%
def fit_pseudo(seed, labelled, steps=LONG):
    """As `fit(UNSMOOTHED, ...)`, and in each step as many pictures of the pool without labels.

    Returns the model, and a row of counts from `believe` for each step with a weight above 0.
    """
    model, counts = namer(seed, 0.1), []
    config = TrainingConfig(steps, BATCH, RATE, steps // 10, seed=seed)
    optimiser = torch.optim.AdamW(parameter_groups(model, DECAY), fused=True)
    batches = step_indices(len(labelled[1]), config), step_indices(len(pool[1]), config)
    for step, (known, unknown) in enumerate(zip(*batches, strict=True)):
        torch.manual_seed(1000 * seed + step)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate_at(step, config)
        pseudo, counted = believe(model, unknown)
        weight = pseudo_weight(step, steps // 4, steps // 2, final=1.0)
        counts += [counted] * (weight > 0)
        both = augment(torch.cat([labelled[0][known], pool[0][unknown]]))
        logits, others = model.train()(both).split([len(known), len(unknown)])
        loss = semi_supervised_loss(logits, labelled[1][known], others, pseudo, weight)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    return model, counts

# %%
def fine_tuned(seed, labelled):
    model = namer(seed, 0.1)
    model.encoder.load_state_dict(masked.encoder.state_dict())
    return fit(UNSMOOTHED, seed, labelled, steps=LONG, model=model, looks=1)

ways = {"supervised": lambda seed, labelled: fit(UNSMOOTHED, seed, labelled, steps=LONG, looks=1),
        "masked patches, then labels": fine_tuned, "pseudo-labels": fit_pseudo}
named, believed = {}, {}
for percent in (1, 10):
    count = len(pool[1]) * percent // 100
    labelled = pool[0][:count], pool[1][:count]
    for way, learn in ways.items():
        results = [learn(seed, labelled) for seed in SEEDS[:3]]
        named[way, percent] = np.array([judge(model, test)[1] for model, _ in results])
    believed[percent] = np.sum([counts for _, counts in results], axis=(0, 1))
    seen, passed, correct, _ = believed[percent]
    print(f"{percent:2} % of the labels: {passed / seen:.0%} of the pictures got a pseudo-label, "
          f"{correct / max(passed, 1):.0%} of these are right")

# %% tags=["remove-input"]
lines = ["| labels | " + " | ".join(ways) + " |", "|--:|" + "--:|" * len(ways)]
for percent in (1, 10):
    each = [named[way, percent] for way in ways]
    cells = [f"{values.mean():.1%} ± {values.std(ddof=1):.1%}" for values in each]
    lines.append(f"| {percent} % ({len(pool[1]) * percent // 100:,}) | " + " | ".join(cells) + " |")
display(Markdown("\n".join(lines)))

# %% tags=["remove-cell"]
for (way, percent), values in named.items():
    key = f"training_{way.split()[0].replace('-', '_')}_{percent}"
    glue(key, float(values.mean()), display=False)
    if way != "supervised":
        gain, half = difference(values, named["supervised", percent], comparisons=5)
        glue(f"{key}_gain", 100 * float(gain), display=False)
        glue(f"{key}_half", 100 * float(half), display=False)
        glue(f"{key}_verdict", verdict(gain, half), display=False)
for percent, (seen, passed, correct, surer) in believed.items():
    glue(f"training_passed_{percent}", float(passed / seen), display=False)
    glue(f"training_surer_{percent}", float(surer / seen), display=False)
    glue(f"training_correct_{percent}", float(correct / max(passed, 1)), display=False)
gain, half = difference(named["supervised", 10], named["supervised", 1], comparisons=5)
glue("training_labels_gain", 100 * float(gain), display=False)
glue("training_labels_half", 100 * float(half), display=False)
glue("training_labels_verdict", verdict(gain, half), display=False)
glue("training_long", LONG, display=False)
glue("training_painted_first", float(rows[0]["loss"]), display=False)
glue("training_painted_last", float(rows[-1]["loss"]), display=False)

# %% [markdown]
# Share of right names on `test`, mean of three seeds ± one standard deviation. Guessing gives 10 %. All three ways have {glue:text}`training_long:d` steps and the same rate, decay and
# parts; no way was tuned for itself. What each gains over supervised training, in points, with intervals for five comparisons as above (the fifth is the step from 1 to 10 %):
#
# | labels | masked patches, then labels | pseudo-labels |
# |--:|---|---|
# | 1 % | {glue:text}`training_masked_1_gain:+.1f` ± {glue:text}`training_masked_1_half:.1f`: {glue:text}`training_masked_1_verdict` | {glue:text}`training_pseudo_labels_1_gain:+.1f` ± {glue:text}`training_pseudo_labels_1_half:.1f`: {glue:text}`training_pseudo_labels_1_verdict` |
# | 10 % | {glue:text}`training_masked_10_gain:+.1f` ± {glue:text}`training_masked_10_half:.1f`: {glue:text}`training_masked_10_verdict` | {glue:text}`training_pseudo_labels_10_gain:+.1f` ± {glue:text}`training_pseudo_labels_10_half:.1f`: {glue:text}`training_pseudo_labels_10_verdict` |
#
# Ten times the labels: {glue:text}`training_labels_gain:+.1f` ± {glue:text}`training_labels_half:.1f` points ({glue:text}`training_labels_verdict`).
#
# Read it with two thoughts. **A pseudo-label is the model's own answer, mistakes included.** While they counted, {glue:text}`training_passed_1:.0%` of the pictures had one with 1 % of the labels, and
# {glue:text}`training_correct_1:.0%` of those were right. With 10 % of the labels it was {glue:text}`training_passed_10:.0%`, of which {glue:text}`training_correct_10:.0%` were right. The others teach mistakes. (A
# threshold of 0.95 would have let {glue:text}`training_surer_1:.1%` and {glue:text}`training_surer_10:.1%` pass.)
# **Painting is another task than naming.** Its loss fell from
# {glue:text}`training_painted_first:.2f` to {glue:text}`training_painted_last:.2f`, where 1 is what painting the mean gives, and {numref}`fig-training-masked` shows what that is worth. {cite:t}`he2022` train for
# hundreds of passes over a million photographs; we have a few passes over {glue:text}`training_pool:,` small scenes. So this table measures the methods at this size and with these settings, and is no verdict on them.

# %% [markdown]
# ## Half the bits
#
# A float32 has 24 significant bits. A **bfloat16** has 8, at the same range, and half the memory. In **mixed precision** {cite}`micikevicius2018` matrix
# products run in a short format, weights, loss and sums stay in the long one. (The paper's short format is float16. Its range is smaller,
# so the loss is multiplied by a large number too.) Why not all in the short one?

# %% tags=["nbval-check-output"]
for kind in (torch.float32, torch.bfloat16):
    weight = torch.tensor(1.0, dtype=kind)
    for _ in range(100):
        weight += 0.001
    print(f"{str(kind):15} 1 + 100 times 0.001 = {weight.item():.3f}")

# %% [markdown]
# A small step is rounded away, a hundred times. So the weights that are stepped stay long. In `train` it is one setting, `mixed_precision="bf16"`. We measure on this
# processor:

# %%
def seconds(mixed, width, repeats=5):
    """Median of the time of a training step's forward and backward pass, and its loss."""
    torch.manual_seed(0)
    encoder = VisionTransformer(SIZE, 8, width, layers=2, heads=4)
    head, times = nn.Linear(width, 10), []
    for _ in range(repeats):
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss = F.cross_entropy(head(encoder(few[0][:64])[:, 0]), few[1][:64])
        loss.backward()
        times.append(time.perf_counter() - start)
    return np.median(times), loss.item()

ratios, gaps = {}, []
for width in (32, 128):
    (full, first), (half, second) = (seconds(mixed, width) for mixed in (False, True))
    ratios[width] = full / half
    gaps.append(abs(first - second))
    print(f"width {width:3}: float32 {1000 * full:5.1f} ms, bf16 {1000 * half:5.1f} ms, "
          f"so {full / half:.2f} times as fast; the losses differ by {gaps[-1]:.0e}")

# %% tags=["remove-cell"]
glue("training_bf16_small", float(ratios[32]), display=False)
glue("training_bf16_large", float(ratios[128]), display=False)
glue("training_bf16_gap", float(max(gaps)), display=False)

# %% [markdown]
# On the machine that made this page, bf16 ran at {glue:text}`training_bf16_small:.2f` times the speed of float32 at width 32, and at
# {glue:text}`training_bf16_large:.2f` times at width 128. Below 1 means slower; a likely reason is a processor without instructions for bf16, which converts back
# and forth. Recent graphics cards, and some processors, have units for it. The losses of this one step, each a mean over 64 pictures, differ by up to {glue:text}`training_bf16_gap:.0e`; what comes of
# it in a whole training we have not measured. Measure both on your machine before you choose.
#
# ## A batch in pieces
#
# A batch that does not fit into memory is computed in pieces: gradients add up, and one step follows. This is **gradient accumulation**. Several processes, each on
# a processor or machine of its own, do the same side by side. For the loss it is one thing. Let the loss be a mean over $c$ things in the batch (samples or words), of which $c_i$ are
# in piece $i$, and $\mathcal{L}_i$ the mean over those:
#
# $$
# \mathcal{L} = \sum_i \frac{c_i}{c}\, \mathcal{L}_i, \qquad g = \sum_i \frac{c_i}{c}\, g_i, \qquad c = \sum_i c_i
# $$ (eq-training-pieces)
#
# $g_i$ is the gradient of $\mathcal{L}_i$, and $g$ of $\mathcal{L}$. On paper: three words with losses 1, 2, 6 have mean 3. In pieces of two words and one: $\tfrac23 \cdot 1.5 + \tfrac13 \cdot 6 = 3$. The mean
# of the pieces' means is 3.75, which is wrong.

# %% tags=["nbval-check-output"]
def gradient(model, pieces):
    """Gradient of the mean over all samples, added up piece by piece."""
    model.zero_grad()
    total = sum(len(labels) for _, labels in pieces)
    for pixels, labels in pieces:
        share = len(labels) / total
        (share * F.cross_entropy(model(pixels), labels)).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])

model, pixels, labels = namer(0), few[0][:32], few[1][:32]
whole = gradient(model, [(pixels, labels)])
for sizes in ([8, 8, 8, 8], [20, 12], [1, 30, 1]):
    pieces = list(zip(pixels.split(sizes), labels.split(sizes), strict=True))
    gap = (gradient(model, pieces) - whole).abs().max().item()
    assert gap < 1e-5
    print(f"pieces of {sizes}: equal to 1e-5")

# %% [markdown]
# In `train`, `accumulate=4` cuts each batch in four. When the loss is a mean over something else than samples, `count` says over how many things; without it a
# word in a piece with few words would count more. The captioner's loss (chapter 14) has two terms, each with a count of its own: words, and cells of the grid.

# %% tags=["remove-input"]
show_source(cut)

# %% [markdown]
# Three things differ even so. Rounding, at the seventh digit. Dropout and random augmentation: each piece draws its own random numbers, so four pieces are another draw than one
# batch. And a layer that mixes samples, such as batch normalisation, sees a smaller batch; the course has none.
#
# ## A run that is killed
#
# Long runs end early: a power cut, a time limit, a full disk. A run can go on as if nothing had happened when the checkpoint holds everything that the next step depends on: the weights,
# AdamW's $m$ and $v$, the number of the step. And when nothing else matters: in `train`, sample order and random numbers follow from the seed and the number of the step alone.
#
# We write a small program that trains, and give it an option to die.

# %%
PROGRAM = '''
import os, signal, sys
import torch
import torch.nn.functional as F
from torch import nn
from mmcourse.training import TrainingConfig, train

folder, die_at = sys.argv[1], int(sys.argv[2])
torch.manual_seed(0)
x = torch.randn(500, 8)
dataset = list(zip(x, x.square().sum(1)))
model = nn.Sequential(nn.Linear(8, 32), nn.GELU(), nn.Linear(32, 1))
calls = []

def loss(model, batch):
    calls.append(1)
    if len(calls) == die_at:
        os.kill(os.getpid(), signal.SIGKILL)  # as a power cut: no time to clean up
    return F.mse_loss(model(batch[0])[:, 0], batch[1])

config = TrainingConfig(40, 30, 1e-2, warmup=4, log_every=1, save_every=10)
train(model, dataset, loss, config, folder)
'''
program = FOLDER / "program.py"
program.write_text(PROGRAM);

# %%
def start(*command):
    """Run a command with two threads or fewer; return its exit code and what it said."""
    settings = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, *map(str, command)], env=settings,
                          capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr

for name, die_at in (("whole", 0), ("killed", 27)):
    code, said = start(program, FOLDER / name, die_at)
    print(f"{name}: exit code {code}, {len(read_log(FOLDER / name))} steps in the log")

# %% [markdown]
# The exit code -9 is the signal that cannot be caught. The last checkpoint is from step 20, so the steps after it are lost. We start the same program again. It finds the
# checkpoint and goes on:

# %%
start(program, FOLDER / "killed", 0)
whole, killed = (read_log(FOLDER / name) for name in ("whole", "killed"))
for name, rows_of in (("killed", killed), ("never killed", whole)):
    print(f"{name:12}: {len(rows_of)} steps, last loss {rows_of[-1]['loss']:.6f}")
assert killed == whole, "bit for bit"

# %% [markdown]
# All forty losses are the same, bit for bit. The package's tests kill a run twenty times, also in the middle of writing a file. A checkpoint is written beside the old
# one and then renamed, so a whole one is there at any time.
#
# ## Searching for settings
#
# A learning rate, a weight decay, a dropout: nobody knows the best beforehand. **Hyper-parameter search** tries some; above we tried a few by hand. We use `optuna` {cite}`akiba2019`. Its default
# sampler, TPE, tries at random at first, ten times unless told otherwise, and then more often near what was good. We have eight trials, so we let it begin after four. Learning rates are tried on a logarithmic scale: from 0.001 to 0.002 is as far as from 0.01 to 0.02.

# %%
tried = {}

def objective(trial):
    rate = trial.suggest_float("rate", 1e-3, 1e-1, log=True)
    parts = set(PARTS) - {part for part in ("smoothing", "dropout", "decay")
                          if not trial.suggest_categorical(part, [True, False])}
    tried[trial.number] = fit(parts, seed=0, rate=rate, looks=1)[0]
    return judge(tried[trial.number], val)[1]

study = optuna.create_study(direction="maximize",
                            sampler=optuna.samplers.TPESampler(n_startup_trials=4, seed=0))
study.enqueue_trial({"rate": RATE, "smoothing": True, "dropout": True, "decay": True})
study.optimize(objective, n_trials=8)
best, ours = study.best_trial, study.trials[0]
for name, trial in (("our settings", ours), ("the best of eight", best)):
    on_test = judge(tried[trial.number], test)[1]
    values = ", ".join(f"{key} {value:.2g}" for key, value in trial.params.items())
    print(f"{name:17} val {trial.value:.1%}, test {on_test:.1%} ({values})")

# %% tags=["remove-cell"]
for name, trial in (("ours", ours), ("best", best)):
    glue(f"training_{name}_val", float(trial.value), display=False)
    glue(f"training_{name}_test", float(judge(tried[trial.number], test)[1]), display=False)
gain = judge(tried[best.number], test)[1] - judge(tried[ours.number], test)[1]
beyond = abs(gain) > 2 * 2**0.5 * spread
glue("training_search_gain", float(gain), display=False)
glue("training_search_verdict", "more than that" if beyond else "less than that", display=False)

# %% mystnb={"figure": {"caption": "The eight trials: learning rate, and the share of right names on val. The first, our setting, is filled.", "name": "fig-training-search"}, "image": {"alt": "A scatter of eight points: the share of right names over a logarithmic learning rate."}} tags=["hide-input"]
figure, axes = plt.subplots(figsize=(5.4, 2.4))
for trial in study.trials:
    axes.plot(trial.params["rate"], trial.value, "o", color=BLUE,
              markerfacecolor="none" if trial.number else BLUE)
axes.set(xscale="log", xlabel="learning rate", ylabel="right on val");

# %% [markdown]
# Two columns, since the share on `val` chose the best trial, and the best of eight is also the luckiest. So both models are judged once on `test`, pictures that no choice was made with: the best has
# {glue:text}`training_best_val:.1%` on `val` and {glue:text}`training_best_test:.1%` on `test`; our settings had {glue:text}`training_ours_val:.1%` and {glue:text}`training_ours_test:.1%`. These
# are single runs. With a standard deviation $\sigma$ over seeds, which was {glue:text}`training_spread:.1%` above, two single runs differ by $\sqrt{2}\, \sigma$ through their seeds alone, and a
# difference below about twice that, {glue:text}`training_single:.1%`, says nothing. The difference on `test` is {glue:text}`training_search_gain:+.1%`: {glue:text}`training_search_verdict`. What eight trials
# do show ({numref}`fig-training-search`) is which rates were far off.
#
# ## Keeping track
#
# `train` writes three things into its folder (and holds a lock, so that no second run writes there): the checkpoint, `log.jsonl` with a line for each row, and an event file for **TensorBoard**, a program that draws the curves of all runs
# below a folder while they go: `tensorboard --logdir runs`. The event file can be read back:

# %%
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(str(FOLDER / "whole")).Reload()
print("curves:", ", ".join(events.Tags()["scalars"]))
for event, row in list(zip(events.Scalars("loss"), read_log(FOLDER / "whole"), strict=True))[:3]:
    print(f"step {event.step}: TensorBoard {event.value:.4f}, log {row['loss']:.4f}")

# %% [markdown]
# Name a folder after what is new in the run, and keep the command beside it. A number without the command that made it cannot be made again.
#
# ## Two processes, many machines
#
# `accelerate launch` starts a program several times and tells each copy its number. The program that we killed above needs no change for that. Each process takes a share of each
# batch, neighbouring samples: of 30 samples the first process takes 15 and the second 15. It computes the gradient of its share; the gradients are weighed by {eq}`eq-training-pieces`,
# added up over all processes, and every process takes the same step.

# %%
LAUNCH = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", 2,
          "--num_machines", 1, "--mixed_precision", "no", "--dynamo_backend", "no",
          "--main_process_port", 0)
code, said = start(*LAUNCH, program, FOLDER / "two", 0)
print("exit code", code)
two = read_log(FOLDER / "two")
gap = max(abs(a["loss"] - b["loss"]) / b["loss"] for a, b in zip(two, whole, strict=True))
print(f"{len(two)} steps; the losses differ from those of one process by {gap:.0e} at most")
assert code == 0 and gap < 1e-5, said

# %% tags=["remove-cell"]
glue("training_two_gap", float(gap), display=False)

# %% mystnb={"image": {"alt": "One falling curve of the loss of one process, and dots of the loss of two processes that lie on it."}} tags=["hide-input"]
figure, axes = plt.subplots(figsize=(5.4, 2.2))
axes.plot([row["step"] for row in whole], [row["loss"] for row in whole], color=BLUE,
          label="one process")
axes.plot([row["step"] for row in two], [row["loss"] for row in two], "o", color=ORANGE,
          markersize=4, label="two processes")
axes.set(xlabel="step", ylabel="loss")
axes.legend();

# %% [markdown]
# The losses agree to {glue:text}`training_two_gap:.0e`. What the loop does for it:
#
# - `batch_size` is the batch of all processes together. So the losses, the learning rate and the number of steps mean the same on one process and on eight.
# - Process 0 gives all others its first weights, and it alone writes checkpoints, log and progress, and evaluates while the others wait.
# - The number of processes is not part of the checkpoint: a run may begin with one process and go on with two, and back.
# - Loss and gradients travel in one message a step. For large models, `torch`'s `DistributedDataParallel` sends parts of it while others are still computed, and
#   FSDP divides the weights themselves. Then the loop is no longer as short as ours.
#
# The flag `--multi_gpu` says "several processes"; on a computer without a GPU they share its cores. On a computer with four GPUs and then on two such computers:
#
# ```sh
# accelerate launch --num_processes 4 -m mmcourse train --out runs/four
#
# # on each of two computers; --machine_rank 1 on the second, and a disk that both of them see
# accelerate launch --num_machines 2 --num_processes 8 --machine_rank 0 \
#     --main_process_ip 10.0.0.5 --main_process_port 29500 -m mmcourse train --out /shared/runs/eight
# ```
#
# `accelerate config` asks for these numbers once and writes them to a file; then `accelerate launch -m mmcourse train ...` is enough. With more processes each has less to do a step, until the messages take
# longer than the work. Then one takes a larger batch, so fewer steps, and a larger learning rate. In proportion to the batch is a common rule for SGD {cite}`goyal2017`, with a longer warm-up; for Adam the square root is common. Both
# are rules of thumb: search again.
#
# ## What came after
#
# - **Other optimisers, tuned alike.** Muon (chapter 0) and its like work on the step of a whole matrix, where AdamW goes number by number. {cite:t}`wen2025` tune ten optimisers for language models, each by itself. The fastest work on matrices; their speed falls from 1.4 times that of AdamW at 0.1 billion
#   parameters to 1.1 times at 1.2 billion. Larger claims they put down to unequal tuning, which we met, and to comparisons before the rate has fallen.
# - **A rate that need not know the end.** The cosine must know $S$. A rate that is constant after the warm-up and falls only in a last part, the **cool-down**, need not: one long run gives several lengths, a cool-down from a checkpoint for each. MiniCPM {cite}`hu2024` was trained so; {cite:t}`hagele2024` find that
#   it scales as predictably as the cosine.
# - **Settings from a small model.** The best rate depends on the width of a network. The **maximal update parametrisation** ties first weights and rates of each layer to its width, so that many of the best settings hardly move as the network grows. {cite:t}`yang2022tensor` tune a small network and take them over.
# - **Share what is kept.** In our loop every process keeps all weights, gradients and AdamW's $m$ and $v$. ZeRO {cite}`rajbhandari2020` leaves a part of them to each, and fetches weights when they are needed: **sharding**, which FSDP does in PyTorch. The step is the same.
# - **Eight bits.** DeepSeek-V3 {cite}`deepseek2024v3` computes most large matrix products in eight bits, with a scale for each small block of numbers. The weights that are stepped stay long, for the reason that we saw. In trials with two smaller models, over about a trillion tokens, the loss stayed within 0.25 % of that
#   in bfloat16.
#
# So far a model answered with a name, and a share of right names told which recipe is better. For sentences [chapter 13](13_evaluation.py) has to look for something else.
#
# ## What goes wrong
#
# Each of these mistakes leaves a program that runs.
#
# **The wrong learning rate.** All parts are on, and only the rate changes, by factors of ten from the one that our search chose.

# %%
rate, decay = chosen["all on"]
damage = {"as chosen": right["all on"][:3].mean()}
for name, on, factor in (("a tenth", set(PARTS), 0.1), ("ten times", set(PARTS), 10),
                         ("ten times, bare", set(PARTS) - {"warm-up", "clipping"}, 10)):
    models = [fit(on, seed, rate=factor * rate, decay=decay, looks=1)[0] for seed in SEEDS[:3]]
    damage[name] = np.mean([judge(model, test)[1] for model in models])
for name, share in damage.items():
    print(f"{name:15}: right on test {share:.1%}")

# %% tags=["remove-cell"]
for name, key in (("as chosen", "good"), ("a tenth", "low"), ("ten times", "high"),
                  ("ten times, bare", "bare")):
    glue(f"training_rate_{key}", float(damage[name]), display=False)
glue("training_rate_worst", min(damage, key=damage.get), display=False)

# %% [markdown]
# The rate that we chose names {glue:text}`training_rate_good:.0%`, a tenth of it {glue:text}`training_rate_low:.0%`, ten times {glue:text}`training_rate_high:.0%`, and
# ten times with neither warm-up nor clipping {glue:text}`training_rate_bare:.0%` (means of three seeds). The worst here is *{glue:text}`training_rate_worst`*. No message
# says so. Try rates a factor of three apart before anything else.
#
# **A loss over padding.** Sentences of a batch are filled up to one length. A model that guesses the next word from the word before it (a table, in effect) learns from captions,
# once with the filling left out of the loss, once with it counted:

# %%
captions = [text.split() for i in range(300) for text in EmojiScenes("train")[i].captions]
words = sorted({word for caption in captions for word in caption})
numbers = {word: 2 + i for i, word in enumerate(words)}  # 0 is padding, 1 the start
longest = 1 + max(map(len, captions))
ids = torch.tensor([[1, *(numbers[word] for word in caption)] + [0] * (longest - 1 - len(caption))
                    for caption in captions])
inputs, labels = ids[:, :-1], ids[:, 1:]
print(f"{(labels == 0).float().mean():.0%} of the places are padding")

def table_of_words(ignore, steps=150):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(len(words) + 2, 32), nn.Linear(32, len(words) + 2))
    optimiser = torch.optim.AdamW(model.parameters(), 1e-2)
    for batch in step_indices(1200, TrainingConfig(steps, 32, 1e-2)):
        loss = F.cross_entropy(model(inputs[batch]).flatten(0, 1), labels[batch].flatten(),
                               ignore_index=0 if ignore else -100)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return loss.item(), F.cross_entropy(model(inputs[1200:]).flatten(0, 1),
                                        labels[1200:].flatten(), ignore_index=0).item()

# %%
padding = {}
for ignore in (True, False):
    said, words_only = padding[ignore] = table_of_words(ignore)
    print(f"padding {'left out' if ignore else 'counted '}: training says {said:.2f}, "
          f"loss of new captions' words {words_only:.2f}")

# %% tags=["remove-cell"]
for ignore, name in ((True, "out"), (False, "in")):
    glue(f"training_padding_{name}_says", padding[ignore][0], display=False)
    glue(f"training_padding_{name}_words", padding[ignore][1], display=False)

# %% [markdown]
# With padding counted, training reports {glue:text}`training_padding_in_says:.2f` instead of {glue:text}`training_padding_out_says:.2f`. It looks better, and padding after padding
# is easy to guess. On the words of new captions the two models are at {glue:text}`training_padding_in_words:.2f` and {glue:text}`training_padding_out_words:.2f`. **Compare losses only when they are means over the same things.**
#
# **The mean of the pieces' means.** Accumulation over pieces with unequal numbers of words, without `count`:

# %% tags=["nbval-check-output"]
order = (labels[:64] != 0).sum(1).argsort()  # short captions first
counts = [(labels[piece] != 0).sum().item() for piece in order.split(16)]
one_word = [round(sum(counts) / 4 / count, 2) for count in counts]
print("words in the pieces:", counts)
print("what one word counts, as a multiple of what it should:", one_word)

# %% [markdown]
# A word of the shortest captions counts more than a word of the longest. Nothing fails, and nothing tells you.
#
# **Judging with dropout on.** Without `model.eval()` the network is judged with numbers missing, and each time with others:

# %%
def judged_while_training(model, seed):
    torch.manual_seed(seed)
    with torch.no_grad():
        return (model.train()(val[0]).argmax(1) == val[1]).float().mean().item()

forgetful = namer(0, dropout=0.3)
forgetful, _ = fit(set(PARTS), seed=0, model=forgetful)
proper = judge(forgetful, val)[1]
wrongly = [judged_while_training(forgetful, seed) for seed in range(3)]
print(f"in evaluation mode {proper:.1%}, with dropout {', '.join(f'{s:.1%}' for s in wrongly)}")

# %% tags=["remove-cell"]
glue("training_proper", float(proper), display=False)
glue("training_wrongly", float(np.mean(wrongly)), display=False)

# %% [markdown]
# With a dropout of 0.3 the share is {glue:text}`training_wrongly:.1%` in the mean instead of {glue:text}`training_proper:.1%`. `train` calls `evaluate` in evaluation mode.
#
# **A loss that is not a number.** One bad batch makes a loss infinite, one step makes all weights NaN, and every later checkpoint is worthless. `train` looks before it writes, stops, and says where:

# %% tags=["nbval-check-output"]
calls = []

def poisoned(model, batch):
    calls.append(1)
    return namer_loss(model, batch) * (math.nan if len(calls) == 8 else 1)

config = TrainingConfig(20, BATCH, RATE, save_every=5, log_every=1)
try:
    train(namer(0), list(zip(*few, strict=True)), poisoned, config, FOLDER / "nan")
except FloatingPointError as error:
    print(str(error).replace(str(FOLDER), "FOLDER").replace(". ", ".\n").replace(": lower", ":\nlower"))

# %% [markdown]
# The checkpoint of step 5 is still there, and whole.
#
# ## Exercises
#
# ```{exercise-start} The smallest loss
# :label: ex-training-floor
# ```
# *Easy, 10 minutes.* With label smoothing the loss {eq}`eq-training-smoothing` never reaches 0. For which $p$ is it smallest, and how small is it for $K = 10$ and $\varepsilon = 0.1$?
# Find the number on paper, then by gradient descent on ten logits.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-training-floor
# :label: so-training-floor
# :class: dropdown
# ````
# The cross-entropy of $q$ and $p$ is smallest for $p = q$, and is then the entropy of $q$. Here $q_y = 0.91$ and the nine others are 0.01. So a training loss of 0.5 can be the
# smallest possible. Losses that were computed with different $\varepsilon$ cannot be compared. Compute both with $\varepsilon = 0$, as `judge` does, and they can, whatever the models were trained with.

# %% tags=["nbval-check-output"]
on_paper = -(0.91 * math.log(0.91) + 9 * 0.01 * math.log(0.01))
logits = nn.Parameter(torch.zeros(1, 10))
optimiser = torch.optim.Adam([logits], lr=0.05)
for _ in range(500):
    loss = smoothed(logits, torch.tensor([3]), 0.1)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
print(f"on paper {on_paper:.4f}, found {loss.item():.4f}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} A loss in other units
# :label: ex-training-scale
# ```
# *Easy, 10 minutes.* Multiply a loss by 1000. What changes in the steps of SGD, what in those of AdamW, and what in those of SGD with clipping to length 1? Check AdamW with `adamw` and the same twenty random gradients, once as they are and once times 1000.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-training-scale
# :label: so-training-scale
# :class: dropdown
# ````
# With SGD the same gradient makes a step 1000 times as long. In AdamW $\hat m$ and $\sqrt{\hat v}$ both grow by 1000, and the fraction stays (except for $\epsilon$). With clipping, all gradients
# that were longer than 0.001 are cut to 1: SGD's steps (without momentum) all have the length $\eta$.

# %% tags=["nbval-check-output"]
torch.manual_seed(0)
gradients = torch.randn(20, 6)
ends = []
for scale in (1, 1000):
    theta, memory = torch.ones(6), [0, 0, 0]
    for g in scale * gradients:
        adamw(theta, g, memory, eta=0.01, decay=0.1)
    ends.append(theta)
print("same path:", torch.allclose(*ends, atol=1e-5))

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} Why the W in AdamW
# :label: ex-training-decay
# ```
# *Medium, 15 minutes.* Older code adds the decay to the gradient: $g + \lambda \theta$ goes through {eq}`eq-training-adamw`, without the term $\eta \lambda \theta$. PyTorch's `torch.optim.Adam` does so. Take two weights
# of 1. Their gradients are pure noise with mean 0, of standard deviation 10 for one and 0.1 for the other. How far does each decay in 500 steps with $\eta = 0.01$, $\lambda = 0.1$, with both optimisers? Noise moves a weight too,
# so take a few thousand copies of each, and their means.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-training-decay
# :label: so-training-decay
# :class: dropdown
# ````
# In Adam the decay is divided by $\sqrt{\hat v}$ as well, so a weight with large gradients hardly decays, and one with small gradients decays fast. In AdamW all weights decay alike: after 500 steps by
# $(1 - 0.001)^{500} \approx 0.61$, plus the noise, which the mean over many copies removes.

# %%
for kind in (torch.optim.Adam, torch.optim.AdamW):
    torch.manual_seed(0)
    weights = nn.Parameter(torch.ones(2, 4000))
    optimiser = kind([weights], lr=0.01, weight_decay=0.1)
    for _ in range(500):
        weights.grad = torch.randn(2, 4000) * torch.tensor([[10.0], [0.1]])
        optimiser.step()
    large, small = weights.mean(1).tolist()
    print(f"{kind.__name__:5}: large gradients {large:.2f}, small gradients {small:.2f}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} Seven samples, three processes
# :label: ex-training-share
# ```
# *Easy, 10 minutes.* A batch has seven samples, with 1, 2, ..., 7 words. Three processes share it as `cut` does. Which samples does each get, and what are the shares $c_i / c$ when the loss is a mean over samples, and when it is a
# mean over words? Check that the shares give the mean of any seven numbers.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-training-share
# :label: so-training-share
# :class: dropdown
# ````
# Neighbours, as equally many as can be. Shares of samples and of words are not the same, and each serves its own mean.

# %% tags=["nbval-check-output"]
parts = cut(list(range(1, 8)), 3)
by_samples = [len(part) / 7 for part in parts]
by_words = [sum(part) / 28 for part in parts]
print(parts, [f"{s:.2f}" for s in by_samples], [f"{s:.2f}" for s in by_words])
values = cut([3.0, 1, 4, 1, 5, 9, 2], 3)
mean = sum(share * np.mean(part) for share, part in zip(by_samples, values, strict=True))
print(f"{mean:.4f} = {25 / 7:.4f}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} How many seeds
# :label: ex-training-seeds
# ```
# *Medium, 15 minutes.* The standard deviation over seeds of a share of right names is `spread`. You want to see an improvement of one percentage point: it shall be twice the standard error of the difference of two means. How many seeds does each
# of the two settings need? How many runs would our table need, without those for tuning?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-training-seeds
# :label: so-training-seeds
# :class: dropdown
# ````
# With $n$ seeds each, the standard error of the difference is $\sigma \sqrt{2 / n}$. It must be at most 0.005, so $n \ge 2 (\sigma / 0.005)^2$. This is for one comparison; our table has nine, so the quantile is larger than 2 and more
# seeds are needed. Small improvements in papers with one seed deserve the same calculation.

# %%
seeds = math.ceil(2 * (spread / 0.005) ** 2)
print(f"sigma {spread:.1%}: {seeds} seeds each, {seeds * len(settings):,} runs for the table")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} The mean of the weights
# :label: ex-training-mean
# ```
# *Hard, 25 minutes.* Without a falling rate the weights jitter to the end. Another remedy keeps a running mean of them, $\bar\theta \leftarrow 0.95\, \bar\theta + 0.05\, \theta$ after each step, and uses $\bar\theta$ in the end. Train with a constant rate, with augmentation, on the
# {glue:text}`training_few:d` pictures, and compare $\theta$ and $\bar\theta$ on `test`, for three seeds.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-training-mean
# :label: so-training-mean
# :class: dropdown
# ````
# The mean costs one more copy of the weights and no gradient. Three seeds, each with both weights of one run: look whether all three differences have the same sign.

# %%
def with_mean(seed, steps=STEPS):
    model = namer(seed)
    mean = copy.deepcopy(model)
    optimiser = torch.optim.AdamW(model.parameters(), RATE)
    for batch in step_indices(FEW, TrainingConfig(steps, BATCH, RATE, seed=seed)):
        loss = F.cross_entropy(model.train()(augment(few[0][batch])), few[1][batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            for average, weight in zip(mean.parameters(), model.parameters(), strict=True):
                average.lerp_(weight, 0.05)
    return judge(model, test)[1], judge(mean, test)[1]

for seed in SEEDS[:3]:
    last, mean = with_mean(seed)
    print(f"seed {seed}: last weights {last:.1%}, mean of the weights {mean:.1%}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ## Quiz
#
# ::::::{card}
# :class-card: quiz
# **1.** In the first step of AdamW, without weight decay, a weight has gradient $-0.0001$. The learning rate is 0.01. How does it move?
#
# :::{dropdown} By -0.000001
# **No.** That is SGD, and with the wrong sign: a step goes against the gradient.
# :::
# :::{dropdown} By about +0.01
# **Yes.** In the first step $\hat m / \sqrt{\hat v}$ is the sign of the gradient.
# :::
# :::{dropdown} By about +0.000001
# **No.** That would be SGD. AdamW divides by the size of the gradient.
# :::
# :::{dropdown} Not at all, since $m$ starts at 0
# **No.** The correction by $1 - \beta_1^s$ undoes the start at 0.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **2.** Your training loss falls, the loss on new pictures rises. Which of these is the first thing to try?
#
# :::{dropdown} A longer warm-up
# **No.** It helps where training is unstable at first. Here training goes well; too well.
# :::
# :::{dropdown} A larger network
# **No.** It fits the training pictures even faster. (Very large networks with much data are another story.)
# :::
# :::{dropdown} More pictures, or augmentation
# **Yes.** This is overfitting, and both give the network pictures that it has not seen. Whether they help enough, measure.
# :::
# :::{dropdown} Gradient clipping
# **No.** It guards against rare, long steps, not against learning by heart.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **3.** One process with batch size 64 becomes four processes, and `batch_size` stays 64 in `train`. What else must you change for the same losses, up to rounding, without dropout and augmentation?
#
# :::{dropdown} Nothing
# **Yes.** The batch size is that of all processes together; each computes 16 samples.
# :::
# :::{dropdown} The learning rate, times four
# **No.** That rule is for a batch that grows with the number of processes. Here it does not.
# :::
# :::{dropdown} The number of steps, divided by four
# **No.** Each step still takes one batch of 64.
# :::
# :::{dropdown} The seed
# **No.** Then the order of the samples would be another one.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **4.** You tried 200 settings, and the best has 71.0 % on `val`. What do you report?
#
# :::{dropdown} 71.0 %, the best on val
# **No.** The best of 200 owes part of its share to luck on these pictures.
# :::
# :::{dropdown} The mean of the 200
# **No.** That tells how good a random setting is.
# :::
# :::{dropdown} Its share on pictures that no choice was made with
# **Yes.** One measurement on `test`, best with several seeds.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **5.** Which run does *not* go on with the same losses after a crash?
#
# :::{dropdown} One whose checkpoint has the weights and AdamW's $m$ and $v$, and whose sample order follows from seed and step
# **No.** That one has all that the next step needs, if its random numbers follow from the step too.
# :::
# :::{dropdown} One whose checkpoint has the weights only
# **Yes.** AdamW would start with $m = v = 0$: its first steps are as long as those of a new run.
# :::
# :::{dropdown} One that was killed between two checkpoints
# **No.** It computes the steps since the last checkpoint again, and they are the same.
# :::
# ::::::
#
# ## Take-aways
#
# - A recipe is a hypothesis about your data. Tune both sides alike, take several seeds, count your comparisons, and believe only a difference whose interval leaves out zero.
# - AdamW's step does not change with the scale of the gradient; the learning rate sets its size, though it is no bound. So the learning rate is the first thing to get right.
# - Where labels are rare, measure what more of them would bring before a method that does without, and look whether the method acted at all.
# - A loss is a mean over something. Whoever cuts a batch, over time or over processes, must weigh the pieces by how much of it they hold.
# - A run whose every step follows from seed, step number and checkpoint can be killed, resumed and spread over machines without a change of its losses.
#
# ## Further reading
#
# - {cite:t}`loshchilov2019`: why weight decay and an L2 penalty are not the same for Adam, the subject of an exercise above.
# - {cite:t}`loshchilov2017`: the cosine, and restarts.
# - {cite:t}`szegedy2016`: label smoothing, in section 7.
# - {cite:t}`he2022`: masked autoencoders, at a scale where they pay.
# - {cite:t}`lee2013` and {cite:t}`sohn2020`: pseudo-labels, and which of them to believe.
# - {cite:t}`micikevicius2018`: training with half the bits.
# - {cite:t}`goyal2017`: large batches on many machines, and the learning rate.
# - {cite:t}`akiba2019`: the design of Optuna.
