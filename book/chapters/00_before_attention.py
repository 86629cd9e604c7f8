# ---
# jupyter:
#   course: {notebook: notebooks/00_before_attention.ipynb, module: none}
# ---

# %% [markdown]
# # Before attention
#
# At the end you can read the lines of chapters 1 and 2: give the shape of a tensor, follow a derivative backwards, and
# train a small network and say how sure you are of its score.
#
# ```{glue:figure} before_promise
# :name: fig-before_attention-promise
# :alt: Twelve drawings by one group of artists, four each of animals, foods and vehicles. Above each stands what the network says it is; most answers are right, and a wrong one has a frame.
#
# Drawings by artists who took no part in the training, and what the network of this page says they show. It learns in
# seconds, from a thumbnail of 64 pixels. Wrong answers are framed.
# ```
#
# All twelve things are known from the training, drawn by others. On the whole test set it is right less often: {glue:text}`before_network_all:.0%`.
#
# ::::{card}
# :class-card: chapter-card
#
# **Goals**
#
# - read shapes, and predict what broadcasting does
# - differentiate by hand, by a small difference and by autograd, and see that they agree
# - compute a softmax, a cross-entropy and a gradient step on paper
# - write a training loop, and report its score beside a baseline and with an interval
# - recognise four mistakes that raise no error
#
# **Before you start:** Python, a little NumPy, and what a derivative is.
#
# :::{card-footer}
# Reading {measured}`reading` min · runs in {measured}`seconds` s on two CPU cores, {measured}`megabytes` MB ·
# difficulty ●○○
# :::
# ::::
#
# ## Do you need this page?
#
# Answer these five on a piece of paper. All right? Then begin with [chapter 1](01_attention.py).
#
# **1.** `x` has the shape (32, 10, 64) and `w` the shape (64). What are the shapes of `x * w` and `(x * w).sum(-1)`?
#
# :::{dropdown} Answer 1
# (32, 10, 64) and (32, 10). See *Tensors and shapes*.
# :::
#
# **2.** The logits of an example are $(0, \log 3)$, and the first class is the true one. How large are its cross-entropy, in
# nats, and its derivatives with respect to the two logits?
#
# :::{dropdown} Answer 2
# The probabilities are ¼ and ¾, so the loss is $\log 4 \approx 1.39$ nats and the derivatives are $-\tfrac34$ and $\tfrac34$.
# See *Softmax and cross-entropy*.
# :::
#
# **3.** What do `zero_grad`, `backward` and `step` do, and what happens without the first?
#
# :::{dropdown} Answer 3
# They clear the gradients, compute them, and change the weights. Without the first, each new gradient is added to the sum of
# all before. See *The loop*.
# :::
#
# **4.** What can two linear layers in a row compute that one cannot?
#
# :::{dropdown} Answer 4
# Nothing. It takes a nonlinearity between them. See *A network*.
# :::
#
# **5.** A network names 80 of 100 new drawings rightly. How large is the standard error of that share?
#
# :::{dropdown} Answer 5
# $\sqrt{0.8 \cdot 0.2 / 100} = 0.04$. See *How sure are we?*
# :::

# %% tags=["remove-cell"]
import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from myst_nb import glue
from torch import nn

from mmcourse.book.figures.descent import DescentExplorer
from mmcourse.book.plotting import BLUE, GREY, ORANGE, show_images, use_style
from mmcourse.book.source import show_source
from mmcourse.data.drawings import HELD_OUT_STYLE, STYLES, drawing, nouns, styles_of
from mmcourse.evaluation import bootstrap
from mmcourse.vision import to_pixels

use_style()
torch.set_printoptions(precision=3, sci_mode=False)
torch.set_num_threads(1)  # so small a network is not quicker with two

# %% [markdown]
# ## Animal, food or vehicle?
#
# [Our data](data.py) are drawings of things in six styles, each by one group of artists (`noto` and `blob` come from the same company). Here are one animal, one food and one vehicle in four
# styles, and under each what our program gets: the mean red, green and blue in an 8 × 8 grid of squares, 192 numbers.
#
# The notebook of this page begins with the imports, which the page leaves out: `np` is NumPy, `plt` is Matplotlib, `nn` is `torch.nn`, and `F` is `torch.nn.functional`. What is not defined here, such as `drawing` and
# `show_images`, comes from the course's package `mmcourse`.

# %%
KINDS = ("animal", "food", "vehicle")
things = [noun for noun in nouns() if noun.category in KINDS]


def on_white(name, style):
    """A drawing on white paper: (64, 64, 3), numbers from 0 to 255."""
    art = drawing(name, style).astype(float)  # (64, 64, 4): red, green, blue, opacity
    opaque = art[..., 3:] / 255  # (64, 64, 1)
    return art[..., :3] * opaque + 255 * (1 - opaque)  # (64, 64, 3)


def thumbnail(name, style):
    """The mean colours of 8 x 8 squares: uint8 (8, 8, 3)."""
    squares = on_white(name, style).reshape(8, 8, 8, 8, 3)  # (rows, 8, columns, 8, 3)
    return squares.mean((1, 3)).round().astype(np.uint8)


# %% mystnb={"image": {"alt": "Three drawn things, each by four groups of artists, and below each the same as eight by eight coloured squares, in which the kind of thing is hard to see."}} tags=["hide-input"]
complete = [thing for thing in things if len(styles_of(thing.name)) == 6]
short = [thing for thing in complete if len(thing.name) < 6]
shown = [next(thing.name for thing in short if thing.category == kind) for kind in KINDS]
pairs = [(name, style) for name in shown for style in (*STYLES[:3], HELD_OUT_STYLE)]
large = [on_white(*pair).astype(np.uint8) for pair in pairs]
small = [thumbnail(*pair) for pair in pairs]
titles = [f"{name}\n{style}" for name, style in pairs]
show_images(large + small, titles + [""] * len(small), columns=12, size=0.62);

# %% [markdown]
# Nobody says which numbers matter. **How does a program find a rule from examples, and how well does the rule serve for artists
# whom it has never seen?** Guess a share of right answers before you go on.
#
# ## Tensors and shapes
#
# (New terms are bold, and in [the glossary](../glossary.md), in English and Chinese.) A **tensor** is numbers on a grid with any number of axes. Its **shape** says how long each axis is: () for a single number, (192)
# for a vector, (5, 192) for a matrix of five rows. PyTorch calls an axis a dimension, `dim`, and axis -1 is the last. A sum or mean over an axis takes
# it away; `keepdim=True` leaves it with length 1. Examples that are processed together are a **batch**, and the batch is the first axis.

# %% tags=["nbval-check-output"]
names = [thing.name for thing in complete[:5]]
batch = torch.tensor(np.stack([thumbnail(name, "noto") for name in names]))
x = batch.float()
print("a batch", tuple(x.shape), "· one row a picture", tuple(x.flatten(1).shape))
print("mean over the rows and columns of squares", tuple(x.mean((1, 2)).shape))
colour = x.mean((0, 1, 2))  # of the whole batch: (3,)
print("less the mean colour", tuple((x - colour).shape))
print("row plus column", tuple((torch.zeros(5, 1) + torch.zeros(4)).shape))

# %% [markdown]
# `(5, 8, 8, 3) - (3)` works by **broadcasting**. PyTorch lines the shapes up from the *last* axis. Two lengths fit when they
# are equal, or when one is 1 or missing, which is then repeated. So (5, 1) and (4) give (5, 4), a table of all pairs: what you
# want, or a mistake that nobody reports.
#
# A product of matrices, `A @ B`, takes $(n, m)$ and $(m, p)$ to $(n, p)$: its number in row $i$ and column $j$ is the dot product of row
# $i$ of the first and column $j$ of the second, the sum of their products place by place. Axes before these two count matrices, and broadcast. $A^\top$, the **transpose**, has rows and columns exchanged.
#
# (Later chapters round lengths: $\lfloor 7/2 \rfloor = 3$ is down, the **floor**, and $\lceil 7/2 \rceil = 4$ is up.)
#
# Pixels from 0 to 255 go into a network as numbers from -1 to 1, and the three colours, the **channels**, come before rows and columns. By hand, `x / 127.5 - 1`, and `movedim` for the
# axes. (Below, `assert_close` stops the program if two tensors differ by more than rounding.) For the drawings and scenes of this course, by this function:

# %% tags=["remove-input"]
show_source(to_pixels)

# %% tags=["nbval-check-output"]
by_hand = (x / 127.5 - 1).movedim(-1, 1)  # (5, 3, 8, 8)
torch.testing.assert_close(to_pixels(batch), by_hand)
print("equal", tuple(by_hand.shape))

# %% [markdown]
# ## A derivative, three ways
#
# To learn is to make one number small, the **loss**. First on a problem that fits on paper: a line
# $w x + b$ near the points $(0, 1)$, $(1, 3)$ and $(2, 2)$. Its loss is the mean squared error of its $n = 3$ points,
#
# $$
# \mathcal{L}(w, b) = \frac1n \sum_{i=1}^{n} e_i^2, \qquad e_i = w x_i + b - y_i .
# $$ (eq-before_attention-line)
#
# The derivative $\partial \mathcal{L} / \partial w$ says how fast $\mathcal{L}$ grows with the weight $w$ while $b$ stays. All derivatives together, in the shape
# of the weights, are the **gradient** $\nabla \mathcal{L}$. We need one rule. $g \circ f$ is $g$ *after* $f$: read it from right to left,
# $(g \circ f)(x) = g(f(x))$. The **chain rule** multiplies the derivatives on the way:
#
# $$
# (g \circ f)'(x) = g'(f(x))\; f'(x)
# $$ (eq-before_attention-chain)
#
# Where a weight reaches the loss along several paths, their products are added.
# The error is $f$ and the square is $g$; $e_i$ grows by $x_i$ for each unit of $w$, and by 1 for each of $b$. So $\partial \mathcal{L} / \partial w = \frac1n \sum 2 e_i x_i$ and
# $\partial \mathcal{L} / \partial b = \frac1n \sum 2 e_i$. At $w = b = 0$ the errors are $-1, -3, -2$:
#
# $$
# \mathcal{L} = \tfrac{1 + 9 + 4}{3} = \tfrac{14}{3}, \qquad
# \tfrac{\partial \mathcal{L}}{\partial w} = \tfrac23 (0 - 3 - 4) = -\tfrac{14}{3}, \qquad
# \tfrac{\partial \mathcal{L}}{\partial b} = \tfrac23 (-1 - 3 - 2) = -4 .
# $$
#
# (Where $f$ takes and gives vectors, its derivative is a matrix, the **Jacobian**: row $i$, column $j$ holds $\partial f_i / \partial x_j$. In
# {eq}`eq-before_attention-chain` the product is then one of matrices, in this order.)
#
# That is the first way, by hand. The second needs no rule: move one weight a little up and a little down, and divide,
#
# $$
# \frac{\partial \mathcal{L}}{\partial w} \approx \frac{\mathcal{L}(w + h, b) - \mathcal{L}(w - h, b)}{2h},
# $$
#
# here with $h = 10^{-5}$. The third leaves the chain rule to PyTorch. In the cell, `across` and `height` are the $x_i$ and $y_i$; `assert` stops the program if what follows it is not true.

# %% tags=["nbval-check-output"]
across = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64)
height = torch.tensor([1.0, 3.0, 2.0], dtype=torch.float64)


def line_loss(weights):
    errors = weights[0] * across + weights[1] - height  # (3,)
    return (errors**2).mean()


weights = torch.zeros(2, dtype=torch.float64, requires_grad=True)
line_loss(weights).backward()  # fills weights.grad
h = 1e-5
steps = h * torch.eye(2, dtype=torch.float64)  # a small step of one weight a row
up = torch.stack([line_loss(weights.detach() + step) for step in steps])
down = torch.stack([line_loss(weights.detach() - step) for step in steps])
found = {"by hand": torch.tensor([-14 / 3, -4.0], dtype=torch.float64),
         "a small difference": (up - down) / (2 * h), "autograd": weights.grad}
for name, gradient in found.items():
    print(f"{name:18}", [round(number, 6) for number in gradient.tolist()])
    assert torch.allclose(gradient, found["by hand"], atol=1e-6)

# %% [markdown]
# **Autograd** records every operation on a tensor that `requires_grad`, except under `no_grad`; `detach` gives the numbers without their record. `backward` walks the record from the loss to the
# weights, applies the chain rule at each operation, and *adds* what it finds to `grad`: **backpropagation** {cite}`rumelhart1986`. A small difference is only near the derivative, and needs the loss twice for each weight. One
# `backward` gives all derivatives for a few times the work of one loss {cite}`baydin2018`, be it two weights or a billion.
#
# ## One step downhill
#
# The gradient points to where the loss grows fastest, so we go the other way. With $\theta$ for all weights,
#
# $$
# \theta \leftarrow \theta - \eta\, \nabla \mathcal{L}(\theta),
# $$ (eq-before_attention-step)
#
# where $\eta$ is a positive number, the **learning rate**. This is **gradient descent**. On paper, from $\theta = (0, 0)$ with
# $\eta = 0.3$: $\theta = (1.4, 1.2)$. The new errors are $0.2$, $-0.4$ and $2$, so the loss falls from $4.67$ to $1.4$.

# %% tags=["nbval-check-output"]
with torch.no_grad():  # a step is no part of the loss
    weights -= 0.3 * weights.grad
print(f"weights {[round(number, 3) for number in weights.tolist()]}, loss {line_loss(weights):.3f}")
assert abs(line_loss(weights) - 1.4) < 1e-9

# %% [markdown]
# How large should $\eta$ be? In {numref}`fig-before_attention-descent` the loss is a bowl over $w$ and $b$.
#
# 1. Press *Ten steps* at the rate that is set. Then start again at 0.02: safe, and slow.
# 2. Start again at 0.38: each step crosses the valley, and still comes down.
# 3. Start again at 0.43, a little more. Now each step ends higher than it began.

# %% mystnb={"figure": {"caption": "Gradient descent on the loss of the line. Left the loss over both weights, right the line among its points.", "name": "fig-before_attention-descent"}, "image": {"alt": "Three pictures of the same oval bowl with the steps of three learning rates. With the smallest the steps stop on the way, with the middle one they cross the valley and come near the bottom, and with the largest they jump across the valley and get farther away."}} tags=["remove-input"]
DescentExplorer(across, height)

# %% [markdown]
# The bowl itself sets the limit: in its steepest direction the second derivative is 4.77, and with a rate above $2 / 4.77 = 0.42$ the distance in that direction grows. (An exercise derives it.) The
# loss of a network is no bowl, and its largest useful rate is found by trying.
#
# ## A network
#
# A **linear layer** takes a row $x$ to $x W + b$, with weights $W$ and a **bias** $b$; inside a larger model it is also called a **projection**. Two of them with a **nonlinearity** between are a network:
#
# $$
# f(x) = \operatorname{relu}(x W_1 + b_1)\, W_2 + b_2, \qquad \operatorname{relu}(z) = \max(z, 0)
# $$ (eq-before_attention-network)
#
# For a batch of $B$ pictures $x$ is $(B, 192)$, $W_1$ is $(192, 64)$ and $b_1$ has 64 numbers, added to every row by broadcasting. The 64 numbers between the layers are **hidden**. $W_2$ is $(64, 3)$ and
# $b_2$ has 3 numbers. $\operatorname{relu}$ acts on each number alone. The output is $(B, 3)$: for each picture a **logit** for each kind, a score that may be any number.
#
# Without the nonlinearity it is one linear layer again.
#
# $$
# (x W_1 + b_1)\, W_2 + b_2 = x\,(W_1 W_2) + (b_1 W_2 + b_2)
# $$
#
# With it, two numbers in the
# middle suffice for $|x|$, which no linear layer gives: $W_1 = (1 \;\; {-1})$, $W_2 = \begin{pmatrix} 1 \\ 1 \end{pmatrix}$, no biases. On paper, $x = -3$ becomes
# $(-3, 3)$, then $(0, 3)$, then $3$.

# %%
class Network(nn.Module):
    """Rows (B, inputs) to logits (B, outputs)."""

    def __init__(self, inputs, hidden, outputs):
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.last = nn.Linear(hidden, outputs)

    def forward(self, x):
        hidden = F.relu(self.first(x))  # (B, hidden)
        return self.last(hidden)  # (B, outputs)


# %% tags=["nbval-check-output"]
torch.manual_seed(0)
network, rows = Network(192, 64, 3), torch.randn(5, 192)
hidden = (rows @ network.first.weight.T + network.first.bias).clamp_min(0)  # relu
by_hand = hidden @ network.last.weight.T + network.last.bias
torch.testing.assert_close(network(rows), by_hand)
parameters = sum(weights.numel() for weights in network.parameters())
print(f"equal {tuple(by_hand.shape)}, {parameters:,} parameters")

# %% [markdown]
# An `nn.Module` knows its **parameters**, the numbers that training changes, those of its parts included. `nn.Linear` keeps the transpose of our $W$.
# Its first weights are random; `manual_seed`, with a **seed**, makes them the same in every run on one computer. (`randn` draws from the **normal distribution** with mean 0 and standard deviation 1, the *standard* one.)
#
# ## Softmax and cross-entropy
#
# From $K$ logits $z_1, \dots, z_K$ a **softmax** makes probabilities, positive numbers whose sum is 1. The **cross-entropy** is minus the logarithm of the one
# that the true class $y$ got:
#
# $$
# p_k = \frac{e^{z_k}}{\sum_{j=1}^{K} e^{z_j}}, \qquad \mathcal{L} = -\log p_y
# $$ (eq-before_attention-softmax)
#
# Over a batch we take the mean. With the natural logarithm its unit is the **nat**. A model that gives all $K$ classes the same probability has the loss $\log K$. On paper: the logits $(0, \log 2, 0)$ have the exponentials $1, 2, 1$, the probabilities are
# $(\frac14, \frac12, \frac14)$, and if the second class is true the loss is $\log 2 \approx 0.69$ nats.
#
# A large $z$ overflows: in 32 bits $e^{89}$ is already infinite. But adding one number $c$ to all logits changes no probability, since $e^c$ cancels, so we subtract the largest, $m$:
#
# $$
# \log p_k = (z_k - m) - \log \sum_{j=1}^{K} e^{z_j - m}, \qquad m = \max_j z_j .
# $$ (eq-before_attention-stable)
#
# The largest exponential is then $e^0$, and the sum lies between 1 and $K$. This is **log-softmax**. The derivative is short (an exercise derives it):
#
# $$
# \frac{\partial \mathcal{L}}{\partial z_k} = p_k - [k = y]
# $$ (eq-before_attention-logits)
#
# with $[k = y]$ equal to 1 for the true class and 0 otherwise: what the model said, minus what is true.

# %%
def cross_entropy(logits, labels):
    """Mean over a batch: logits (B, K), true classes (B,)."""
    shifted = logits - logits.max(-1, keepdim=True).values  # (B, K)
    log_p = shifted - shifted.exp().sum(-1, keepdim=True).log()  # (B, K)
    return -log_p[torch.arange(len(labels)), labels].mean()  # of each row the true class


# %% tags=["nbval-check-output"]
paper = torch.tensor([[1.0, 2.0, 1.0]]).log()
print(f"on paper 0.693, here {cross_entropy(paper, torch.tensor([1])):.3f}")
torch.manual_seed(0)
gaps = []
for B, K in [(1, 2), (7, 3), (5, 11)]:
    logits = (100 * torch.randn(B, K)).requires_grad_()
    labels = torch.randint(K, (B,))
    gaps.append((cross_entropy(logits, labels) - F.cross_entropy(logits, labels)).abs().item())
    F.cross_entropy(logits, labels).backward()
    formula = (logits.softmax(-1) - F.one_hot(labels, K)) / B  # the mean divides by B
    torch.testing.assert_close(logits.grad, formula.detach())
assert max(gaps) < 1e-4
print("loss and derivative equal PyTorch's on three shapes")

# %% [markdown]
# ### A step on paper
#
# One input $x = (2, 1)$, a linear layer with $W = 0$ and no bias, two classes, the first is true. The logits are $(0, 0)$, the probabilities
# $(\frac12, \frac12)$, the loss $\log 2 = 0.693$, and by {eq}`eq-before_attention-logits` the derivative with respect to the logits is $(-\frac12, \frac12)$. Since $z = x W$, the weight $W_{jk}$ reaches only $z_k$, multiplied by $x_j$. So the chain rule gives
#
# $$
# \frac{\partial \mathcal{L}}{\partial W} = x^\top \left(-\tfrac12 \;\; \tfrac12\right) = \begin{pmatrix} -1 & 1 \\ -\tfrac12 & \tfrac12 \end{pmatrix}.
# $$
#
# Take $\eta = \frac15 \log 3$, which keeps the paper clean. Then $W = \eta \begin{pmatrix} 1 & -1 \\ \frac12 & -\frac12 \end{pmatrix}$, the logits are
# $\pm\frac52 \eta = \pm\frac12 \log 3$, and the first class gets $\frac{\sqrt3}{\sqrt3 + 1/\sqrt3} = \frac34$. The loss is $\log \frac43 = 0.288$.

# %% tags=["nbval-check-output"]
x, truth = torch.tensor([[2.0, 1.0]]), torch.tensor([0])
W = torch.zeros(2, 2, requires_grad=True)
loss = F.cross_entropy(x @ W, truth)
loss.backward()
print("gradient", W.grad.tolist())
with torch.no_grad():
    W -= torch.tensor(3.0).log() / 5 * W.grad
after = F.cross_entropy(x @ W, truth)
print(f"loss {loss:.3f}, after the step {after:.3f}, first class {(x @ W).softmax(-1)[0, 0]:.2f}")

# %% [markdown]
# ## The loop
#
# A **training loop** repeats the step on batches drawn at random: their gradient is on average that of all examples, and cheaper. Plain gradient descent gives all weights one rate; **Adam** {cite}`kingma2015` gives each
# its own step size:
#
# $$
# \theta \leftarrow \theta - \eta\, \frac{\hat m}{\sqrt{\hat v} + \epsilon}
# $$ (eq-before_attention-adam)
#
# $\hat m$ and $\hat v$ are running means of a weight's gradient and of its square, corrected for their start at zero; $\epsilon = 10^{-8}$. While the gradient stays the same
# the fraction is about $\pm 1$, however small the gradient is (until $\epsilon$ counts); where its sign keeps changing, it is near 0. On paper: in the first step $\hat m$ is the gradient and $\hat v$ its square, so with
# $\eta = 0.1$ our line goes from $(0, 0)$ to $(0.1, 0.1)$. [Chapter 12](12_training.py) has later steps by hand, and three
# refinements: **weight decay** pulls each weight a little towards zero in every step, **gradient clipping** shortens a gradient that is longer than a limit, and a
# **learning-rate schedule** changes $\eta$ from step to step.

# %% tags=["nbval-check-output"]
weights = torch.zeros(2, dtype=torch.float64, requires_grad=True)
line_loss(weights).backward()
torch.optim.Adam([weights], lr=0.1).step()
assert torch.allclose(weights, torch.tensor([0.1, 0.1], dtype=torch.float64), atol=1e-6)
print([round(number, 6) for number in weights.tolist()])

# %%
def train(data, seed, make=lambda: Network(192, 64, 3), rate=1e-2, steps=600, clear=True):
    """A model trained on rows x (N, inputs) and their classes y (N,)."""
    x, y = data
    torch.manual_seed(seed)
    model = make()
    optimiser = torch.optim.Adam(model.parameters(), lr=rate)
    for _ in range(steps):
        rows = torch.randint(len(y), (64,))  # the batch
        loss = F.cross_entropy(model(x[rows]), y[rows])
        if clear:
            optimiser.zero_grad()  # forget the gradient of the step before
        loss.backward()  # compute this one
        optimiser.step()  # move the weights
    return model


# %% [markdown]
# A pass over all examples is an **epoch**.
#
# ## On real drawings
#
# Two thirds of the things, in five styles, are the **training set**. The other third, by the same
# artists, is the **validation set**: on it we choose settings. The drawings in the sixth style, by artists of another project, are the **test set**: nothing below is chosen on it.

# %% tags=["hide-input"]
def load(names, styles):
    """Thumbnails as rows (N, 192), and the kinds (N,)."""
    pairs = [(thing, style) for thing in names for style in styles if style in styles_of(thing.name)]
    images = to_pixels([thumbnail(thing.name, style) for thing, style in pairs])
    return images.flatten(1), torch.tensor([KINDS.index(thing.category) for thing, _ in pairs])


new = things[2::3]  # every third thing is kept out of the training
known = [thing for thing in things if thing not in new]
training, validation = load(known, STYLES), load(new, STYLES)
tests = {"known things": load(known, [HELD_OUT_STYLE]), "new things": load(new, [HELD_OUT_STYLE])}
for name, (x, _) in {"training": training, "validation": validation, **tests}.items():
    print(f"{len(x):3} drawings: {name}")

# %%
@torch.no_grad()
def right(model, data):
    """For each drawing, 1 when the largest logit (the argmax) is the truth, else 0: (N,)."""
    x, y = data
    return (model(x).argmax(-1) == y).double().numpy()


seeds, trained, tuned = range(3), {}, {}
models = {"network": lambda: Network(192, 64, 3), "linear": lambda: nn.Linear(192, 3)}
for name, make in models.items():
    scores = {}
    for rate in (1e-3, 1e-2, 1e-1):
        runs = [train(training, seed, make, rate) for seed in seeds]
        scores[rate] = np.mean([right(run, validation) for run in runs])
        if scores[rate] == max(scores.values()):
            trained[name], best = runs, rate
    tuned[name] = scores
    print(f"{name:8}", {rate: f"{score:.1%}" for rate, score in scores.items()}, "best", best)

# %% tags=["remove-cell"]
for scores in tuned.values():
    assert max(scores, key=scores.get) == 1e-2  # what the text says
lost = {name: max(scores.values()) - scores[1e-1] for name, scores in tuned.items()}
assert lost["network"] > lost["linear"] > 0

# %% [markdown]
# The numbers are shares of right answers on the validation set, the mean of three seeds. Both models chose among the same three rates. The middle one is best for both, and the largest costs the network more than the linear layer. Does what they learn carry over? {numref}`fig-before_attention-curves` trains the network for longer and longer.

# %% mystnb={"figure": {"caption": "Cross-entropy of the network on the drawings that it trained on and on the validation set, by the number of steps, both axes logarithmic. Grey: the loss when all kinds get the same probability.", "name": "fig-before_attention-curves"}, "image": {"alt": "Two curves over the number of steps. The training loss falls all the way, below one hundredth. The validation loss falls at first and then rises."}} tags=["hide-input"]
lengths, losses = [3, 10, 30, 100, 300, 1000], {"training": [], "validation": []}
for length in lengths:
    model = train(training, 0, steps=length)
    with torch.no_grad():
        for name, (x, y) in {"training": training, "validation": validation}.items():
            losses[name].append(F.cross_entropy(model(x), y).item())
axes = plt.subplots(figsize=(5.2, 2.7))[1]
axes.loglog(lengths, losses["training"], "o-", color=BLUE, label="training")
axes.loglog(lengths, losses["validation"], "s--", color=ORANGE, label="validation")
axes.axhline(np.log(3), color=GREY, linestyle=":", linewidth=1)
axes.set(xlabel="steps", ylabel="cross-entropy, nats")
axes.set_xticks(lengths, lengths)
axes.minorticks_off()
axes.legend();

# %% tags=["remove-cell"]
lowest = int(np.argmin(losses["validation"]))
assert 0 < lowest < len(lengths) - 1
glue("before_lowest", lengths[lowest], display=False)
glue("before_lowest_loss", losses["validation"][lowest], display=False)
glue("before_last_loss", losses["validation"][-1], display=False)
glue("before_last_train", losses["training"][-1], display=False)

# %% [markdown]
# The training loss falls to {glue:text}`before_last_train:.3f` nats. The validation loss is lowest after {glue:text}`before_lowest:d` steps, {glue:text}`before_lowest_loss:.2f`, and then rises to
# {glue:text}`before_last_loss:.2f`: the network learns its drawings by heart, and its loss on others grows. (The share of right answers need not fall: the loss punishes who is certain and wrong.) This is **overfitting**, and why a score on
# the training set says little about new drawings.
#
# ### How sure are we?
#
# With other drawings the score would be different. Its **standard error**, how far a score from $n$ drawings typically lies from the mean over many such samples, is
#
# $$
# \mathrm{SE} = \frac{s}{\sqrt n}, \qquad \text{for a share } p \text{ of right answers:}\quad \sqrt{\frac{p\,(1 - p)}{n}},
# $$ (eq-before_attention-error)
#
# with $s$ the **standard deviation** of the $n$ numbers, the root of their **variance**, which is their mean squared distance from their mean. On paper: 80 of 100 right, $\sqrt{0.8 \cdot 0.2 / 100} = 0.04$. The **bootstrap** {cite}`efron1993` needs no formula: draw $n$ of the $n$ items
# with replacement, compute the score, do so 2,000 times; the middle 95 % of the scores are an interval ([chapter 13](13_evaluation.py)). Both hold for independent items only.

# %% tags=["nbval-check-output"]
answers = np.array([1.0] * 80 + [0.0] * 20)
interval = bootstrap(np.mean, answers)
assert abs(interval.draws.std() - 0.04) < 0.002
print(f"by formula 0.040, spread of the draws {interval.draws.std():.3f}")
print(f"80 of 100: 95 % between {interval.low:.0%} and {interval.high:.0%}")

# %% [markdown]
# Two cheap baselines: always say the most frequent kind; or find the nearest training drawing, by the distance of pixels, and say its kind.

# %% tags=["hide-input"]
x, y = training
frequent = y.bincount().argmax()
guesses = {"frequent": lambda rows: frequent.expand(len(rows)),
           "nearest": lambda rows: y[torch.cdist(rows, x).argmin(1)]}  # distances of all pairs
hits = {}
for group, (rows, truth) in tests.items():
    for name, guess in guesses.items():
        hits[name, group] = (guess(rows) == truth).double().numpy()
    for name, runs in trained.items():
        hits[name, group] = np.mean([right(run, (rows, truth)) for run in runs], 0)  # over seeds
for name in (*guesses, *trained):
    hits[name, "all"] = np.concatenate([hits[name, group] for group in tests])
    print(f"{name:8}", *(f"{group} {hits[name, group].mean():.1%}" for group in (*tests, "all")))

# %% tags=["remove-cell"]
for (name, group), values in hits.items():
    found = bootstrap(np.mean, values)
    key = f"before_{name}_{group.split()[0]}"
    glue(key, found.value, display=False)
    glue(f"{key}_interval", f"{found.low:.0%} to {found.high:.0%}".replace("%", "\u00a0%"), display=False)
for name in ("linear", "nearest", "frequent"):
    gap = bootstrap(lambda a, b: a.mean() - b.mean(), hits["network", "all"], hits[name, "all"])
    text = f"{100 * gap.low:+.0f} to {100 * gap.high:+.0f} points".replace("-", "\u2212")
    glue(f"before_gap_{name}", text, display=False)
    assert name == "linear" or (gap.low > 0) == (name == "frequent")  # what the text says
glue("before_parameters", parameters, display=False)
glue("before_trained", len(training[1]), display=False)
for name, runs in trained.items():
    shares = [np.concatenate([right(run, data) for data in tests.values()]).mean() for run in runs]
    glue(f"before_{name}_seeds", f"{min(shares):.0%} to {max(shares):.0%}".replace("%", "\u00a0%"), display=False)
glue("before_tested", len(hits["network", "all"]), display=False)
glue("before_new", len(hits["network", "new things"]), display=False)

# %% [markdown]
# Right answers for artists who took no part in the training: {glue:text}`before_tested:d` drawings, one for each of {glue:text}`before_tested:d` things, of which {glue:text}`before_new:d` show things whose name no training drawing has. (The validation set has them, by others; and some have kin in the training: *train* has *bullet train*.) Intervals are over the drawings of *these* artists: how other artists would differ, one group cannot say. Trained rows are the mean of the seeds 0, 1, 2.
#
# | | known things | new things | all | 95 % interval of *all* | lowest to highest seed |
# |---|---|---|---|---|---|
# | most frequent kind | {glue:text}`before_frequent_known:.0%` | {glue:text}`before_frequent_new:.0%` | {glue:text}`before_frequent_all:.0%` | {glue:text}`before_frequent_all_interval` | |
# | nearest training drawing | {glue:text}`before_nearest_known:.0%` | {glue:text}`before_nearest_new:.0%` | {glue:text}`before_nearest_all:.0%` | {glue:text}`before_nearest_all_interval` | |
# | one linear layer | {glue:text}`before_linear_known:.0%` | {glue:text}`before_linear_new:.0%` | {glue:text}`before_linear_all:.0%` | {glue:text}`before_linear_all_interval` | {glue:text}`before_linear_seeds` |
# | network | {glue:text}`before_network_known:.0%` | {glue:text}`before_network_new:.0%` | {glue:text}`before_network_all:.0%` | {glue:text}`before_network_all_interval` | {glue:text}`before_network_seeds` |
#
# The network beats the most frequent kind. The interval of their difference, on the same drawings, is {glue:text}`before_gap_frequent`. More than that these drawings do not say:
# network less linear layer is {glue:text}`before_gap_linear`, network less nearest drawing {glue:text}`before_gap_nearest`. An interval that contains 0, or ends close to it, leaves open which of the two is better. By this score, what {glue:text}`before_parameters:,` numbers have learned cannot be told
# apart from looking up the nearest of {glue:text}`before_trained:d` drawings. A score without its baseline would have hidden that. [Chapter 5](05_vision.py) looks for a better way to see.
#
# ## Words are rows of a table
#
# A network takes numbers, and a word is none. So each word of a vocabulary gets a row of a table $E$, $(V, D)$, for $V$ words and $D$ numbers, learned like any weight: its **embedding** {cite}`bengio2003`. Looking up row $i$ is the same as
# multiplying with a **one-hot vector** $u_i$, which is 1 at place $i$ and 0 elsewhere:
#
# $$
# e_i = u_i E
# $$ (eq-before_attention-embedding)
#
# On paper: $(0 \;\; 1) \begin{pmatrix} 5 & 6 \\ 7 & 8 \end{pmatrix} = (7 \;\; 8)$. So only the rows of words in the batch get a gradient that is not zero.

# %% tags=["nbval-check-output"]
words = {word: place for place, word in enumerate(["a", "cat", "dog", "red"])}
table = nn.Embedding(len(words), 3)  # (V, D)
ids = torch.tensor([words[word] for word in ["a", "red", "cat"]])  # (T,)
torch.testing.assert_close(table(ids), F.one_hot(ids, len(words)).float() @ table.weight)
table(ids).sum().backward()
print("rows with a gradient:", table.weight.grad.any(-1).tolist())

# %% [markdown]
# Three words that later chapters use. An **n-gram** is $n$ words in a row: "a red cat" has the 2-grams "a red" and "red cat". A **language model** gives the next word's probability from the words before it; its loss is the cross-entropy of the word that came, and
# the classes are the words. Training shows it the *true* words before each place, even where it would have written others: **teacher forcing**.
#
# ## What came after
#
# The loop is still this one. What practitioners of 2026 put into it has changed:
#
# - **The optimiser.** AdamW {cite}`loshchilov2019` decays the weights apart from the gradient; chapter 12 uses it. Muon makes the step of a matrix nearly orthogonal, equally long in all directions; {cite:t}`liu2025` train large language models with it and report about half of AdamW's computation, when the size of the model and the amount of data are chosen so that the computation is smallest.
# - **The nonlinearity.** Many Transformers have a GELU in place of the ReLU ([chapter 2](02_transformer.py)), or the product, place by place, of two linear layers with a nonlinearity on one.
# - **The first layer.** In ours each weight belongs to one place, so a thing that has moved meets other weights. [Chapter 5](05_vision.py) shares weights over places.
# - **The start.** Where trained weights exist one mostly starts from them, as [chapter 16](16_photographs.py) does.
#
# ## What goes wrong
#
# We train the network again with one thing wrong.

# %%
wrong = {"nothing wrong": {}, "rate 100 times as large": {"rate": 1.0},
         "no zero_grad": {"clear": False},
         "no nonlinearity": {"make": lambda: nn.Sequential(nn.Linear(192, 64), nn.Linear(64, 3))}}
damage = {}
for name, options in wrong.items():
    runs = [train(training, seed, **options) for seed in seeds]
    damage[name] = [[right(run, data).mean() for data in (training, validation)] for run in runs]
    low, high = np.min(damage[name], 0), np.max(damage[name], 0)
    print(f"{name:23} training {low[0]:.0%} to {high[0]:.0%}, "
          f"validation {low[1]:.0%} to {high[1]:.0%}")

# %% tags=["remove-cell"]
for key, name in {"right": "nothing wrong", "rate": "rate 100 times as large", "clear": "no zero_grad",
                  "bend": "no nonlinearity"}.items():
    low, high = np.min(damage[name], 0), np.max(damage[name], 0)
    for place, split in enumerate(("train", "val")):
        text = f"{low[place]:.0%} to {high[place]:.0%}".replace("%", "\u00a0%")
        glue(f"before_damage_{key}_{split}", text, display=False)
ranges = {name: (np.min(values, 0), np.max(values, 0)) for name, values in damage.items()}
for name in ("rate 100 times as large", "no zero_grad"):
    assert ranges[name][1][0] < 0.5 and ranges["no nonlinearity"][1][0] < 0.97  # what the text says
glue("before_frequent_val", (validation[1] == frequent).float().mean().item(), display=False)

# %% [markdown]
# | | training | validation |
# |---|---|---|
# | nothing wrong | {glue:text}`before_damage_right_train` | {glue:text}`before_damage_right_val` |
# | rate 100 times as large | {glue:text}`before_damage_rate_train` | {glue:text}`before_damage_rate_val` |
# | no `zero_grad` | {glue:text}`before_damage_clear_train` | {glue:text}`before_damage_clear_val` |
# | no nonlinearity | {glue:text}`before_damage_bend_train` | {glue:text}`before_damage_bend_val` |
#
# Each range is that of three seeds. The most frequent kind alone is right in {glue:text}`before_frequent_val:.0%` of the validation set. None of the three raises an error.
# At a hundred times the rate, and with gradients that pile up, the network ends near that guess. Without the nonlinearity it is a linear layer in two parts: in as many steps it learns less by heart, and on the validation set it scores like
# the one above.
#
# The fourth mistake is a softmax without its maximum, in a model that is certain:

# %% tags=["nbval-check-output"]
certain = torch.tensor([[0.0, 100.0, 3.0]])
naive = certain.exp() / certain.exp().sum()
print("naive softmax", naive[0].tolist(), "· log", naive.log()[0].tolist())
print("loss of the naive one ", -naive.log()[0, 2].item())
print("loss of the stable one", cross_entropy(certain, torch.tensor([2])).item())

# %% [markdown]
# $e^{100}$ is infinite in 32 bits, and infinity divided by infinity is **NaN**, "not a number"; the others get probability 0, whose loss is infinite. One NaN in the gradient, and after the next step every weight that it reaches is NaN. So give logits to `F.cross_entropy`, and never probabilities: it takes the logarithm of the softmax itself.
#
# ## Exercises
#
# ```{exercise-start} Which shapes fit?
# :label: ex-before_attention-shapes
# ```
# *Easy, 10 minutes.* Say what comes out, or that it fails, before you run it: shapes (3, 1) + (4); (5, 3) + (5); (2, 1, 6) @ (6, 4). Then: a model gives `predicted` of shape (5, 1), the truth `wanted` has
# shape (5), and both hold the same five numbers, 0 to 4. What is `((predicted - wanted) ** 2).mean()`?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-before_attention-shapes
# :label: so-before_attention-shapes
# :class: dropdown
# ````
# (3, 4); an error, since 3 and 5 meet at the last axis; (2, 1, 4). The loss is not 0: (5, 1) and (5) give (5, 5), all pairs. The mean over $i$ and $j$ of $(i - j)^2$ is $4$. A line with `assert predicted.shape == wanted.shape`
# finds it.

# %% tags=["nbval-check-output"]
print(tuple((torch.zeros(3, 1) + torch.zeros(4)).shape))
try:
    torch.zeros(5, 3) + torch.zeros(5)
except RuntimeError as error:
    print(error)
print(tuple((torch.zeros(2, 1, 6) @ torch.zeros(6, 4)).shape))
wanted = torch.arange(5.0)
predicted = wanted[:, None]  # (5, 1)
print(((predicted - wanted) ** 2).mean().item())

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} How small is a small difference?
# :label: ex-before_attention-difference
# ```
# *Easy, 10 minutes.* Take $f(z) = e^z$ at $z = 1$, whose derivative is $e$. Compute $(f(z + h) - f(z)) / h$ for $h = 10^{-1}, 10^{-2}, \dots, 10^{-7}$ in 32-bit numbers (PyTorch's default, which keep about seven digits). How does the error go, and why?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-before_attention-difference
# :label: so-before_attention-difference
# :class: dropdown
# ````
# At first it falls like $h$, because over a shorter step the curve is closer to a straight line. Then it grows: the two values agree in almost all of their seven digits, and their difference is what rounding left of them ($z + h$ is rounded too). This is why the check
# in the text uses 64 bits, and a step to both sides: there the errors of the two sides cancel to first order, and what is left falls like $h^2$.

# %%
z = torch.tensor(1.0)
for power in range(1, 8):
    h = 10.0**-power
    error = ((z + h).exp() - z.exp()) / h - z.exp()
    print(f"h = 1e-{power}: error {error.item():+.5f}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} What the model said, minus what is true
# :label: ex-before_attention-softmax
# ```
# *Medium, 15 minutes.* Derive {eq}`eq-before_attention-logits` from $\mathcal{L} = \log \sum_j e^{z_j} - z_y$. Then: to what do all its components sum, and what does that say of a step that changes the logits themselves?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-before_attention-softmax
# :label: so-before_attention-softmax
# :class: dropdown
# ````
# By the chain rule the derivative of $\log s$ with respect to $z_k$ is $\frac1s \frac{\partial s}{\partial z_k}$ with $s = \sum_j e^{z_j}$, which is $e^{z_k} / s = p_k$. The derivative of $-z_y$ is $-1$ for $k = y$ and 0 otherwise. The components sum to
# $1 - 1 = 0$: such a step leaves the sum of the logits as it is. It lifts the true one by as much as it lowers the others together.

# %% tags=["nbval-check-output"]
z = torch.tensor([[0.3, -1.0, 2.0, 0.0]], requires_grad=True)
F.cross_entropy(z, torch.tensor([3])).backward()
torch.testing.assert_close(z.grad[0], z.detach().softmax(-1)[0] - torch.tensor([0.0, 0, 0, 1]))
print("sum below 1e-6:", abs(z.grad.sum().item()) < 1e-6)

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} The largest rate
# :label: ex-before_attention-rate
# ```
# *Medium, 20 minutes.* A bowl over one weight is $\mathcal{L} = \frac a2 (\theta - \theta^*)^2$ with $a > 0$. By which factor does a step change the distance $\theta - \theta^*$? For which $\eta$ does it shrink, and which is best? The second derivatives of {eq}`eq-before_attention-line` are a matrix; its
# eigenvalues are how much the bowl bends in its steepest and flattest direction. Compute them with `torch.linalg.eigvalsh`, and check the limit of 0.42.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-before_attention-rate
# :label: so-before_attention-rate
# :class: dropdown
# ````
# The gradient is $a(\theta - \theta^*)$, so a step multiplies the distance by $1 - \eta a$. It shrinks for $0 < \eta < 2/a$, and $\eta = 1/a$ is there in one step. In two directions each has its own $a$: the steepest sets the limit, and the
# flattest is then slow. The matrix is $\frac2n \sum_i \begin{pmatrix} x_i^2 & x_i \\ x_i & 1 \end{pmatrix}$.

# %% tags=["nbval-check-output"]
inputs = torch.tensor([[0.0, 1], [1, 1], [2, 1]])  # a row (x, 1) a point
flattest, steepest = torch.linalg.eigvalsh(2 * inputs.T @ inputs / 3).tolist()
print(f"steepest {steepest:.2f}, flattest {flattest:.2f}, limit {2 / steepest:.2f}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} What a line cannot do
# :label: ex-before_attention-xor
# ```
# *Medium, 20 minutes.* Four inputs, $(0,0), (0,1), (1,0), (1,1)$, are of class 1 when their two numbers differ, else of class 0. Show on paper that a linear layer whose logits give each of the four its right class cannot exist. Then train `nn.Linear(2, 2)` and `Network(2, 16, 2)` on the four, with Adam, and compare the losses. Where does the first one stop, and why?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-before_attention-xor
# :label: so-before_attention-xor
# :class: dropdown
# ````
# Let $d$ be the logit of class 1 less that of class 0: linear in the input, plus a constant. Then $d(0,0) + d(1,1) = d(0,1) + d(1,0)$. The right classes need a negative left side and a positive right side. With all four at probability one half the loss is $\log 2$, and no linear layer gets below: the four losses are
# $\log(1 + e^u)$ with $u = d(0,0), d(1,1), -d(0,1), -d(1,0)$, whose sum is 0; this curve bends upwards, so the mean of four of its values is at least its value at their mean, $\log(1 + e^0)$.

# %% tags=["nbval-check-output"]
corners = torch.tensor([[0.0, 0], [0, 1], [1, 0], [1, 1]])
differ = torch.tensor([0, 1, 1, 0])
for name, make in {"linear": lambda: nn.Linear(2, 2), "network": lambda: Network(2, 16, 2)}.items():
    model = train((corners, differ), 0, make, rate=1e-2)
    print(f"{name:8} loss {F.cross_entropy(model(corners), differ).item():.2f}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ## Quiz
#
# ::::::{card}
# :class-card: quiz
# **1.** A model that gives all ten classes the same probability has which cross-entropy?
#
# :::{dropdown} 0.1 nats
# **No.** That is the probability. The loss is minus its logarithm.
# :::
# :::{dropdown} $\log 10 \approx 2.30$ nats
# **Yes.** $-\log \frac1{10} = \log 10$, whatever is true. A first loss far above it says that the model starts out certain and wrong.
# :::
# :::{dropdown} It depends on which class is true
# **No.** All have the same probability, so all cost the same.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **2.** From the first steps on the training loss jumps up and down and ends above that of guessing. What do you try first?
#
# :::{dropdown} A smaller learning rate
# **Yes.** Steps that overshoot look like this. Divide the rate by ten.
# :::
# :::{dropdown} More steps, so that it has the time to come down
# **No.** A step that overshoots goes on overshooting, as in the bowl at 0.43.
# :::
# :::{dropdown} A larger network
# **No.** It can fit more, but with steps of a fitting size only.
# :::
# :::{dropdown} Weight decay against overfitting
# **No.** An overfitted model has a *low* training loss.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **3.** You choose the learning rate by the score on the test set and report that score. What is wrong with it?
#
# :::{dropdown} Nothing, as long as no test example was trained on
# **No.** The choice was fitted to the test set as well, if only by one number.
# :::
# :::{dropdown} It is too low on average: the other rates would have scored better on other data
# **No.** It goes the other way: we kept the rate that was lucky there.
# :::
# :::{dropdown} It is too high on average
# **Yes.** The best of several noisy scores is partly luck. Choose on a validation set, and test once.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **4.** A vocabulary of 10,000 words, a batch of 5 different words. How many rows of the embedding table get a gradient other than zero from it, if nothing else uses the table?
#
# :::{dropdown} 10,000
# **No.** The one-hot vector of a word multiplies all other rows by 0.
# :::
# :::{dropdown} At most 5
# **Yes.** One row a word. (With weight decay or Adam's running means the other rows may move all the same.)
# :::
# :::{dropdown} None: a lookup has no derivative
# **No.** *Which* row is looked up has none. The numbers in the row have one.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **5.** Of the same 100 drawings one system names 80 rightly and another 84. Is the second better?
#
# :::{dropdown} Yes: 84 is more than 80
# **No.** Each share has a standard error of about 4 points; another hundred drawings could turn it round.
# :::
# :::{dropdown} Certainly not
# **No.** It may be: what we can say is that these numbers do not show it.
# :::
# :::{dropdown} That cannot be said from these two numbers
# **Yes.** Look at which drawings each got right, and take the interval of the difference on the same drawings.
# :::
# ::::::
#
# ## Take-aways
#
# - A shape says what a tensor means. Broadcasting fits shapes from the last axis, also where you did not mean it.
# - A gradient is the chain rule, from the loss back to the weights. By hand and by autograd it is the same number, and a small difference comes near it.
# - Cross-entropy is minus the log-probability of the truth; its derivative with respect to the logits is what was said minus what is true.
# - A training loop is four lines: loss, clear, backward, step. The learning rate is the first thing to try when it fails.
# - A score counts on data that nothing was trained or chosen on, beside a cheap baseline and with an interval.
#
# ## Further reading
#
# - {cite:t}`goodfellow2016`: a textbook; chapters 2 to 4 have the mathematics of this page, chapter 6 its networks and backpropagation.
# - {cite:t}`baydin2018`: how a program computes derivatives, what autograd does, and what it is not.
# - {cite:t}`rumelhart1986`: four pages that showed what hidden layers learn by backpropagation.
# - {cite:t}`kingma2015`: Adam, and where its corrections come from.
# - {cite:t}`bengio2003`: words as learned vectors, in a language model.

# %% tags=["remove-cell"]
chosen = [thing for kind in KINDS
          for thing in [thing for thing in things if thing.category == kind][1::6][:4]]
rows, _ = load(chosen, [HELD_OUT_STYLE])
with torch.no_grad():
    said = trained["network"][0](rows).argmax(-1).tolist()
figure, axes = plt.subplots(2, 6, figsize=(7.2, 3))
for axis, thing, kind in zip(axes.flat, chosen, said, strict=True):
    axis.imshow(on_white(thing.name, HELD_OUT_STYLE).astype(np.uint8))
    axis.set(xticks=[], yticks=[], title=f"{KINDS[kind]}?")
    axis.spines[:].set(visible=KINDS[kind] != thing.category, color=ORANGE, linewidth=3)
glue("before_promise", figure, display=False)
plt.close(figure)
