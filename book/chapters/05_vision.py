# ---
# jupyter:
#   course: {notebook: notebooks/05_vision.ipynb}
# ---

# %% [markdown]
# # Vision
#
# At the end you can turn a picture into a row of vectors in two ways, by a convolutional network and by a vision Transformer,
# prove that yours computes what `transformers` computes, and say from a measurement which of the two to train on little data.

# %% tags=["remove-cell"]
import copy
from collections import Counter
from random import Random

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
import transformers
from myst_nb import glue
from torch import nn

from mmcourse.data import EmojiScenes
from mmcourse.data.drawings import HELD_OUT_STYLE, STYLES, drawing, nouns, styles_of
from mmcourse.data.language import BACKGROUNDS, Description, Group
from mmcourse.book.figures.convolution import ConvolutionExplorer
from mmcourse.book.figures.patches import PatchExplorer
from mmcourse.book.plotting import (
    BLUE, GREY, INK, ORANGE, WEIGHTS, attention_map, show_images, show_scene, use_style
)
from mmcourse.book.source import show_source
from mmcourse.vision import ConvEncoder, PatchEmbedding, ResidualBlock, VisionTransformer, to_pixels

use_style()

# %% mystnb={"figure": {"caption": "A picture becomes a row of tokens. Left: a scene of the course. Middle: cut into patches, numbered row by row. Right: a row a patch, its numbers as colours: this is all that a Transformer sees.", "name": "fig-vision-tokens"}, "image": {"alt": "Three panels: a small scene with drawn things, the same scene cut into a grid of numbered patches, and a matrix of coloured cells with one row for each patch."}} tags=["remove-input"]
torch.manual_seed(0)
val = EmojiScenes("val", 64)
opening = next(scene.image for scene in (val[index] for index in range(10**4))
               if len(scene.objects) == 3 and scene.description.background == "grass")
grid = torch.tensor(opening).unflatten(1, (4, 16)).unflatten(0, (4, 16)).movedim(2, 1)
figure, (left, middle, right) = plt.subplots(1, 3, figsize=(7.2, 2.5))
left.imshow(opening)
middle.imshow(np.full((70, 70, 3), 255, np.uint8))
for n, patch in enumerate(grid.flatten(0, 1)):
    y, x = 18 * (n // 4), 18 * (n % 4)
    middle.imshow(patch, extent=(x, x + 16, y + 16, y))
    middle.text(x + 1, y + 4.5, n, fontsize=6, color="white", backgroundcolor=INK)
middle.set(xlim=(-1, 71), ylim=(71, -1))
with torch.no_grad():
    right.imshow(PatchEmbedding(64, 16, 24)(to_pixels(opening[None]))[0], cmap="RdBu_r")
right.set(title="numbers of a token", ylabel="patch")
for axes in (left, middle):
    axes.axis("off");

# %% [markdown]
# ::::{card}
# :class-card: chapter-card
#
# **Goals**
#
# - compute a convolution and a patch embedding by hand, and count their weights
# - trace the shape of a picture through a residual network and through a ViT
# - copy weights between your model and `transformers.ViTModel`, and measure the difference
# - train both encoders on drawings, and test them on a style that they have never seen
# - recognise four mistakes that raise no error
#
# **Before you start:** [attention](01_attention.py), [the Transformer](02_transformer.py), what a derivative is; the training loop, $\circ$ and
# $\lfloor\;\rfloor$ are in [chapter 0](00_before_attention.py).
#
# :::{card-footer}
# Reading {measured}`reading` min · runs in {measured}`seconds` s on two CPU cores, {measured}`megabytes` MB · difficulty ●●○
# :::
# ::::
#
# ## Are two drawings of one thing near each other?
#
# Our data are drawings of things by six groups of artists. We call a group's way of drawing a **style**. Here are three things in
# all six.

# %% tags=["remove-cell"]
ALL = (*STYLES, HELD_OUT_STYLE)
complete = [noun for noun in nouns() if len(styles_of(noun.name)) == len(ALL)]

# %%
def on_white(name, style):
    """A drawing on white paper: uint8 (64, 64, 3)."""
    art = drawing(name, style).astype(float)
    opaque = art[..., 3:] / 255
    return (art[..., :3] * opaque + 255 * (1 - opaque)).round().astype(np.uint8)

# %% mystnb={"image": {"alt": "Three rows of six small drawings. Each row shows one thing in six styles, which differ in colour, outline and pose."}} tags=["hide-input"]
animals = [noun.name for noun in complete if noun.category == "animal"]
shown = Random(1).sample(animals, 3)
titles = [*ALL, *[""] * (2 * len(ALL))]
show_images([on_white(name, style) for name in shown for style in ALL], titles, size=1.1);

# %% [markdown]
# You see at once that a row shows one thing. Does a computer that compares pixels see it too? Let $a$ and $b$ be two pictures, each a
# list of $n$ numbers from -1 to 1. Their distance is
#
# $$
# d(a, b) = \sqrt{\frac{1}{n} \sum_{i=1}^{n} (a_i - b_i)^2}.
# $$ (eq-vision-distance)
#
# Take a drawing of the last style, and look for the nearest among all things in the five other styles. **Guess before you read on:** for which
# share of the things is the nearest drawing the same thing?

# %%
def pixels_of(style, names):
    """The drawings of a style as rows of numbers: (names, 64 * 64 * 3)."""
    return to_pixels([on_white(name, style) for name in names]).flatten(1)

names = [noun.name for noun in complete]
rows = {style: pixels_of(style, names) for style in ALL}
same = torch.arange(len(names))

def distances(first, second):
    return torch.cdist(first, second) / first.shape[1] ** 0.5  # formula of the text

far = torch.stack([distances(rows[HELD_OUT_STYLE], rows[style]) for style in STYLES], 1)
nearest = far.flatten(1).argmin(1) % len(names)  # far: (names, 5 styles, names)
found = (nearest == same).float().mean().item()
own = distances(rows[HELD_OUT_STYLE], rows[HELD_OUT_STYLE]).fill_diagonal_(torch.inf)
fooled = (own.amin(1)[:, None] < far[same, :, same]).float().mean().item()
print(f"the nearest of {5 * len(names)} drawings is the same thing: {found:.1%}")
print(f"by chance: {1 / len(names):.1%}")

# %% tags=["remove-cell"]
glue("vision_things", len(names), display=False)
glue("vision_found", found, display=False)
glue("vision_fooled", fooled, display=False)

# %% mystnb={"figure": {"caption": "How often the nearest drawing, by pixels, in the style of the column shows the same thing as the drawing in the style of the row.", "name": "fig-vision-styles"}, "image": {"alt": "A heat map of six rows and six columns of styles. Off the diagonal, all shares are below one half; the column of the held-out style is the palest."}} tags=["hide-input"]
share = np.eye(len(ALL))
for i, one in enumerate(ALL):
    for j, other in enumerate(ALL):
        hit = distances(rows[one], rows[other]).argmin(1) == same
        share[i, j] = hit.float().mean()
attention_map(share, ALL, ALL, values=True);

# %% [markdown]
# Pixels find {glue:text}`vision_found:.0%` of {glue:text}`vision_things:d` things. {numref}`fig-vision-styles` shows every pair of styles.
# Take a drawing of the last style and one of the same thing in another style: for {glue:text}`vision_fooled:.0%` of these pairs, some *other* thing of the last style is nearer.
# Pixels compare colours at equal places. A thing that is shifted, turned or painted in another blue is far from itself.
#
# So we want numbers that change less when the artist changes than when the thing changes. A network that makes them is an **image
# encoder**. Ours gives a row of vectors, one for each region of the picture, because a decoder will look at regions
# ([captioning](14_captioning.py) does). A vector of that row is a **token**, as a word is. We come back to the question at the end of the chapter, with trained encoders.
#
# ## Convolution: one small pattern, looked for everywhere
#
# A **convolution** slides a small pattern, the **kernel**, over the picture. At each place it multiplies the kernel with the pixels under it
# and sums. With a bias and $C$ input channels (three for red, green, blue):
#
# $$
# y_{o,i,j} = b_o + \sum_{c=1}^{C} \sum_{u=0}^{k-1} \sum_{v=0}^{k-1} w_{o,c,u,v}\; x_{c,\; s i + u - p,\; s j + v - p}
# $$ (eq-vision-convolution)
#
# - $x$ is the input, $C \times h \times w$: channels, height and width. Outside of the picture $x$ is 0.
# - $w$ are the kernels, $C' \times C \times k \times k$: one for each of the $C'$ output channels, $k$ pixels wide and high.
# - $b$ is the bias, $C'$ numbers.
# - $s$ is the **stride**: the kernel moves $s$ pixels at a time. $p$ is the **padding**: rows and columns of zeros around the picture.
# - $y$ is the output, $C' \times h' \times w'$. A channel of it is called a **feature map**. The kernel fits
#
# $$
# h' = \left\lfloor \frac{h + 2p - k}{s} \right\rfloor + 1
# $$ (eq-vision-size)
#
# times from top to bottom, and the same holds for the width ($\lfloor\;\rfloor$ rounds down). (A mathematician would flip the kernel first and call ours a *cross-correlation*.
# Since the kernel is learned, it makes no difference. An exercise below flips it.)
#
# ### On paper
#
# A picture of $4 \times 4$ pixels, dark on the left and bright on the right, and a kernel that subtracts what is left from what is right:
#
# $$
# x = \begin{bmatrix} 0 & 0 & 1 & 1 \\ 0 & 0 & 1 & 1 \\ 0 & 0 & 1 & 1 \\ 0 & 0 & 0 & 1 \end{bmatrix},
# \qquad
# w = \begin{bmatrix} -1 & 0 & 1 \\ -1 & 0 & 1 \\ -1 & 0 & 1 \end{bmatrix},
# \qquad k = 3,\; s = 1,\; p = 0,\; b = 0.
# $$
#
# By {eq}`eq-vision-size` the output has $4 - 3 + 1 = 2$ rows and 2 columns. Its first number: the left column of the first $3 \times 3$ window sums to
# 0, the right column to 3, so $y_{0,0} = 3 - 0 = 3$. One to the right, the window's columns sum to 0, 3, 3: again 3. The windows of the second row meet the
# 0 in the last row: $y_{1,0} = 2 - 0$ and $y_{1,1} = 3 - 0$.
#
# ### With loops
#
# Formula {eq}`eq-vision-convolution` word for word:

# %%
def convolve(x, w, b, stride=1, padding=0):
    """Picture (C, h, w), kernels (C', C, k, k), bias (C') to feature maps (C', h', w')."""
    x = F.pad(x, (padding,) * 4)
    outputs, _, k, _ = w.shape
    height, width = ((side - k) // stride + 1 for side in x.shape[1:])
    y = torch.empty(outputs, height, width)
    for o in range(outputs):
        for i in range(height):
            for j in range(width):
                window = x[:, stride * i:stride * i + k, stride * j:stride * j + k]
                y[o, i, j] = (w[o] * window).sum() + b[o]
    return y

# %% tags=["nbval-check-output"]
picture = torch.tensor([[0., 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]])[None]
kernel = torch.tensor([[-1., 0, 1], [-1, 0, 1], [-1, 0, 1]])[None, None]
edges = convolve(picture, kernel, torch.zeros(1))
print(edges[0])

# %% [markdown]
# These are the numbers from paper. PyTorch's `F.conv2d` computes the same, for a batch of pictures, without loops in Python. We compare on
# odd shapes, strides and paddings.

# %% tags=["nbval-check-output"]
torch.manual_seed(0)
cases = [(1, (4, 4), 1, 3, 1, 0), (3, (7, 5), 4, 3, 2, 1), (2, (9, 8), 5, 5, 3, 2)]
for C, size, outputs, k, stride, padding in cases:
    x, w, b = torch.randn(C, *size), torch.randn(outputs, C, k, k), torch.randn(outputs)
    ours = convolve(x, w, b, stride, padding)
    theirs = F.conv2d(x[None], w, b, stride, padding)[0]
    print(f"{str(size):7} stride {stride} padding {padding} -> {tuple(theirs.shape)}, "
          f"equal: {torch.allclose(ours, theirs, atol=1e-5)}")

# %% [markdown]
# ### Move the window
#
# Point at the left picture of {numref}`fig-vision-window`, or tap it. The right picture is the output of {eq}`eq-vision-convolution`; the table shows
# the products under the window, and below it stands their sum. Choose another kernel and look at what it answers to: where is its sum largest?

# %% mystnb={"figure": {"caption": "A kernel slides over a picture of 16 \u00d7 16 pixels. The framed number on the right is the sum under the frame on the left.", "name": "fig-vision-window"}, "image": {"alt": "Left: a cow of 16 by 16 grey pixels with a frame around 3 by 3 of them. Right: the sums of the kernel that looks for dark left of bright, red at left edges of white parts and blue at right edges, with a frame around one."}} tags=["remove-input"]
small = torch.nn.functional.avg_pool2d(
    torch.tensor(on_white(shown[0], HELD_OUT_STYLE)).double().mean(-1)[None], 4)[0] / 255
left_right = np.array([[-1, 0, 1]] * 3)
ConvolutionExplorer(small.round(decimals=1), {
    "dark left, bright right": left_right, "dark above, bright below": left_right.T,
    "mean of nine": np.full((3, 3), 1 / 9), "brighter than its neighbours": [[0, -1, 0], [-1, 4, -1], [0, -1, 0]],
})

# %% [markdown]
# ### Why this shape
#
# A convolution says two things about pictures before it has seen any. What matters is *local*: a kernel looks at $k \times k$ pixels. And
# the same pattern matters *everywhere*: all places share one kernel. We compare with a linear layer that maps the same input to the
# same number of outputs.

# %% tags=["nbval-check-output"]
layer = nn.Conv2d(3, 16, kernel_size=3, padding=1)
weights = sum(p.numel() for p in layer.parameters())
dense = (3 * 48 * 48) * (16 * 48 * 48) + 16 * 48 * 48
print(f"convolution {weights:,} weights, linear layer {dense:,} weights")

# %% tags=["remove-cell"]
glue("vision_dense_ratio", dense // weights, display=False)

# %% [markdown]
# The linear layer has {glue:text}`vision_dense_ratio:,` times as many. Sharing has a consequence that we can test: **shift the input and the
# output shifts with it**. With stride 2 that holds only for shifts by an even number of pixels, because the kernel lands on every second pixel.

# %% tags=["nbval-check-output"]
def inside(maps):
    return maps[..., 3:-3, 3:-3]  # away from the border, where zeros come in

torch.manual_seed(0)
x = torch.randn(1, 3, 24, 24)
for stride, shift in [(1, 1), (2, 2), (2, 1)]:
    layer = nn.Conv2d(3, 4, 3, stride, padding=1)
    moved = layer(x.roll(shift, -1))
    expected = layer(x).roll(max(shift // stride, 1), -1)
    gap = (inside(moved) - inside(expected)).abs().max().item()
    print(f"stride {stride}, shift {shift} px: the output is shifted too: {gap < 1e-5}")

# %% [markdown]
# What does a kernel see in a real scene? We fix four by hand. Training will find its own.

# %% mystnb={"figure": {"caption": "A scene and four feature maps. Blue is negative, red positive; the lines along the edges come from the zeros around the picture. The last kernel is one pixel wide and compares channels, not places.", "name": "fig-vision-kernels"}, "image": {"alt": "A scene with things, and beside it four feature maps in blue and red: one shows vertical outlines, one horizontal outlines, one dots and thin lines, one the red areas."}} tags=["hide-input"]
across = kernel[0, 0].expand(3, 3, 3) / 9
spot = torch.tensor([[0., -1, 0], [-1, 4, -1], [0, -1, 0]]).expand(3, 3, 3) / 9
red = torch.zeros(3, 3, 3)
red[:, 1, 1] = torch.tensor([1., -0.5, -0.5])
bank = torch.stack([across, across.transpose(1, 2), spot, red])
maps = F.conv2d(to_pixels(opening[None]), bank, padding=1)[0]
figure, axes = plt.subplots(1, 5, figsize=(7.2, 1.8))
axes[0].imshow(opening)
for axis, image in zip(axes[1:], maps, strict=True):
    axis.imshow(image, cmap="RdBu_r", vmin=-1, vmax=1)
titles = ("scene", "left-right", "above-below", "spots", "redness")
for axis, title in zip(axes, titles, strict=True):
    axis.set_title(title)
    axis.axis("off");

# %% [markdown]
# ## Receptive field: what a number has seen
#
# One kernel of $3 \times 3$ is too small for a thing. Stacked layers see more: a number of layer $l$ depends on $k_l$ numbers a side of layer
# $l - 1$, each of which has seen a window of its own. The side $r_l$ of the window of pixels that a number of layer $l$ depends on is its **receptive field**:
#
# $$
# r_l = r_{l-1} + (k_l - 1) \prod_{m=1}^{l-1} s_m, \qquad r_0 = 1,
# $$ (eq-vision-receptive)
#
# where $k_l$ and $s_l$ are the kernel side and the stride of layer $l$. On paper, for kernels 5, 3, 3, each with stride 2: $r_1 = 1 + 4 = 5$;
# $r_2 = 5 + 2 \cdot 2 = 9$; $r_3 = 9 + 2 \cdot 4 = 17$ pixels. Strides multiply, so depth with strides sees far.

# %%
def receptive_field(kernels, strides):
    field, step = 1, 1
    for k, stride in zip(kernels, strides, strict=True):
        field, step = field + (k - 1) * step, step * stride
    return field

def convolutions(model):
    return [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]

torch.manual_seed(0)
encoder = ConvEncoder(64).eval()
layers = convolutions(encoder)
field = receptive_field([c.kernel_size[0] for c in layers], [c.stride[0] for c in layers])
print("on paper:", receptive_field([5, 3, 3], [2, 2, 2]), "pixels")
print(f"the encoder of the next section, {len(layers)} convolutions: {field} pixels")

# %% [markdown]
# The formula says which pixels *can* matter. How much does each matter? The derivative of the token in the middle with respect to each pixel tells.
# We take the network's convolutions and leave out its normalisations, which look at the whole picture to find a mean and a variance.

# %% mystnb={"figure": {"caption": "How strongly each pixel moves the token in the middle (its square root, for the eye), before any training. The square is the receptive field by the formula.", "name": "fig-vision-receptive"}, "image": {"alt": "A dark blot in the middle of a picture that fades well before the orange square drawn around it."}} tags=["hide-input"]
bare = copy.deepcopy(encoder.stages)
for module in list(bare.modules()):
    for name, child in module.named_children():
        if isinstance(child, nn.GroupNorm):
            setattr(module, name, nn.Identity())
cells = field // encoder.stride + 3
side = encoder.stride * cells
canvas = torch.zeros(8, 3, side, side).normal_(generator=torch.Generator().manual_seed(0))
canvas.requires_grad_()
bare(canvas)[:, :, cells // 2, cells // 2].pow(2).sum().backward()
influence = canvas.grad.abs().sum((0, 1))
seen = (influence > 0).nonzero()
measured = (seen.max(0).values - seen.min(0).values + 1).max().item()
figure, axes = plt.subplots(figsize=(3, 3))
axes.imshow((influence / influence.max()).sqrt(), cmap=WEIGHTS)
y, x = (seen.min(0).values - 0.5).tolist()
axes.add_patch(plt.Rectangle((x, y), measured, measured, fill=False, ec=ORANGE))
axes.set(xlabel="pixels", ylabel="pixels");

# %%
order = influence.flatten().sort(descending=True).values
half = int((order.cumsum(0) < order.sum() / 2).sum())
print(f"measured: {measured} pixels a side, by the formula {field}")
print(f"half of all influence lies in {half / field**2:.1%} of the square")
assert measured == field

# %% tags=["remove-cell"]
glue("vision_field", field, display=False)
glue("vision_half", half / field**2, display=False)

# %% [markdown]
# The measured square has the side that {eq}`eq-vision-receptive` gives, {glue:text}`vision_field:d` pixels. But half of the influence lies in
# {glue:text}`vision_half:.1%` of its area: the middle is reached by many paths, a corner by one. {cite:t}`luo2016` call the dark blot of {numref}`fig-vision-receptive`
# the **effective receptive field**.
#
# ## Residual blocks: learn a change
#
# More layers see more and compute more. They are also harder to train: {cite:t}`he2016` made plain networks deeper and got a larger error on the *training* pictures, although
# a norm after each convolution kept the derivatives in size. They add the input back:
#
# $$
# y = x + f(x), \qquad f = \operatorname{conv}_2 \circ \operatorname{GELU} \circ \operatorname{norm}_2 \circ \operatorname{conv}_1 \circ \operatorname{GELU} \circ \operatorname{norm}_1,
# $$ (eq-vision-residual)
#
# with $x$ and $y$ of the same shape $C \times h \times w$. ($g \circ h$ is $g$ after $h$: read $f$ from right to left, the norm comes first.) This is a **residual block**: $f$ learns a
# change of $x$, and when weights and bias of $\operatorname{conv}_2$ are zero the block does nothing at all. This order, with norm and activation *before* each convolution and nothing
# after the sum, is from a second paper {cite}`he2016b`; in the first, the convolutions came before their norms and the sum passed a ReLU. (GELU is the soft ReLU of
# [the Transformer](02_transformer.py). The norm is **group normalisation** {cite}`wu2018`: a picture's channels, in groups, get mean 0 and variance 1, then a learned scale and
# shift. It needs no other picture of the batch. Both papers have ReLU and batch normalisation instead.)
#
# Each number of $y$ depends on each number of $x$, so the derivative is a matrix: $I + f'$, where $I$ is the identity and $f'$ the matrix of the derivatives of $f$. Through a stack these matrices are
# multiplied. The $I$ gives a path from the top to the bottom that passes no weight. It is no guarantee: where $f' = -I$, nothing arrives. {cite:t}`he2016b` argue that this will not happen for all pictures of a batch.
#
# Three things act on the size of the derivative at the bottom of an untrained stack: the addition, the norm, and the size of the first weights. We take one away at a time, then two, then all. The first weights are either
# those of {cite:t}`he2015`, with variance 2 / (numbers under the kernel), made for ReLU, or those that PyTorch draws unless told otherwise, with a sixth of that variance.

# %%
def gradient(depth, parts, seed):
    """Size of the derivative at the input of a stack of GELU and convolution."""
    torch.manual_seed(seed)
    picture = torch.randn(1, 16, 12, 12, dtype=torch.double, requires_grad=True)
    x = picture
    for _ in range(depth):
        layer = nn.Conv2d(16, 16, 3, padding=1, dtype=torch.double)
        if "He's start" in parts:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        change = F.group_norm(x, 8) if "norm" in parts else x
        change = layer(F.gelu(change))  # (1, 16, 12, 12)
        x = x + change if "addition" in parts else change
    x.pow(2).mean().sqrt().backward()
    return picture.grad.norm().item()

# %%
depths = (5, 20, 50)
stacks = [("addition", "norm", "He's start"), ("norm", "He's start"), ("addition", "He's start"),
          ("addition", "norm"), ("addition",), ("norm",), ("He's start",), ()]
size = {}
for parts in stacks:
    for depth in depths:
        size[parts, depth] = np.median([gradient(depth, parts, seed) for seed in range(3)])
    numbers = "  ".join(f"{depth} layers {size[parts, depth]:.0e}" for depth in depths)
    print(f"{' + '.join(parts) or 'none of them':28} {numbers}")

# %% tags=["remove-cell"]
short = {"addition": "add", "norm": "norm", "He's start": "he"}
for parts in stacks:
    name = "_".join(short[part] for part in parts) or "none"
    glue(f"vision_stack_{name}", float(size[parts, depths[-1]]), display=False)
    glue(f"vision_stack_{name}_20", float(size[parts, 20]), display=False)
glue("vision_deep", depths[-1], display=False)
z = torch.linspace(-8, 8, 10001)
density = torch.exp(-z.square() / 2)
gelu = (F.gelu(z).square() * density).sum() / density.sum()
glue("vision_gelu", gelu.item(), display=False)

# %% [markdown]
# Each number is the median of three seeds; we compare at {glue:text}`vision_deep:d` layers. With none of the three the derivative is {glue:text}`vision_stack_none:.0e`: PyTorch's weights are small, each layer shrinks
# what it gets, and nothing reaches the bottom. **One cure is enough against that**: the addition alone gives {glue:text}`vision_stack_add:.0f`, the norm alone {glue:text}`vision_stack_norm:.0f`. He's start alone delays it
# ({glue:text}`vision_stack_he_20:.0e` after 20 layers, {glue:text}`vision_stack_he:.0e` after {glue:text}`vision_deep:d`): it is made for ReLU, which passes half of the
# mean square of random numbers. GELU passes {glue:text}`vision_gelu:.2f` of it when the numbers have size one, and only a quarter when they are small, since it halves small numbers: what has begun to shrink shrinks faster.
#
# Take one away from all three. Without the norm the derivative is {glue:text}`vision_stack_add_he:.0e`: large weights *and* an addition make every layer larger than the last. Without the addition it is {glue:text}`vision_stack_norm_he:.0f`,
# and it grew with depth. Without He's start it is {glue:text}`vision_stack_add_norm:.2f`, with all three {glue:text}`vision_stack_add_norm_he:.2f`: in the two stacks with addition *and* norm it changes
# least from 5 layers to {glue:text}`vision_deep:d`. So against vanishing the addition is not needed, since a norm does that too; the two together keep the derivative steadier than either alone. That is a statement about untrained stacks: how well they train,
# this cell does not say.
#
# Here are the block and the encoder of this course, from the file itself.

# %% tags=["remove-input"]
show_source(ResidualBlock)

# %% tags=["remove-input"]
show_source(ConvEncoder)

# %% [markdown]
# Now by hand. We walk through the same weights with plain functions, and print the shape after each step.

# %%
def residual_block(block, x):
    norm1, _, conv1, norm2, _, conv2 = block.change
    for norm, conv in ((norm1, conv1), (norm2, conv2)):
        change = x if norm is norm1 else change
        change = F.gelu(F.group_norm(change, norm.num_groups, norm.weight, norm.bias))
        change = F.conv2d(change, conv.weight, conv.bias, padding=1)
    return x + change

def conv_encoder(model, x, tell=print):
    *stages, norm, _ = model.stages
    for layer in stages:
        if isinstance(layer, ResidualBlock):
            x = residual_block(layer, x)
        else:
            x = F.conv2d(x, layer.weight, layer.bias, layer.stride, layer.padding)
        tell(f"{type(layer).__name__:13} -> {tuple(x.shape)}")
    x = F.gelu(F.group_norm(x, norm.num_groups, norm.weight, norm.bias))
    x = x.reshape(*x.shape[:2], -1).swapaxes(1, 2)  # (B, C, h', w') to (B, N, C)
    return x @ model.projection.weight.T + model.projection.bias

# %%
pictures = to_pixels(np.stack([EmojiScenes("val", 48)[index].image for index in range(2)]))
with torch.no_grad():
    tokens = conv_encoder(encoder, pictures)
    gap = (tokens - encoder(pictures)).abs().max().item()
print(f"tokens {tuple(tokens.shape)}, largest difference {gap:.0e}")
assert gap < 1e-5

# %% [markdown]
# Each stage halves the height and the width and has more channels. The last grid is read **row by row**: token $n$ is the cell in row
# $\lfloor n / w' \rfloor$ and column $n \bmod w'$. A picture of another size gives another number of tokens, without new weights.
#
# ## Patches: cut, flatten, multiply
#
# A Transformer needs a row of vectors, and does not care where they come from. {cite:t}`dosovitskiy2021` take the shortest way: cut the picture into $N$
# squares of $P \times P$ pixels, the **patches**, write the numbers of each as one long vector, and multiply by one matrix. This is the **patch embedding**:
#
# $$
# z_n = x_n E + b, \qquad n = 1, \dots, N, \qquad N = \frac{h\,w}{P^2},
# $$ (eq-vision-patch)
#
# - $P$ divides the height $h$ and the width $w$, so that no pixel is left over.
# - $x_n$ is patch $n$ as a row, $1 \times P^2 C$: first all of channel one, row by row, then channel two, and so on.
# - $E$ is learned, $P^2 C \times D$, and $b$ is $1 \times D$. All patches share them.
# - $z_n$ is the token, $1 \times D$. All tokens together are $N \times D$.
#
# ### On paper
#
# Our $4 \times 4$ picture with $C = 1$ and $P = 2$ has $N = 4$ patches of four numbers. Let $D = 2$: the first number of a token is the mean of its patch, the second is
# right minus left.
#
# $$
# E^\top = \begin{bmatrix} \tfrac14 & \tfrac14 & \tfrac14 & \tfrac14 \\ -\tfrac12 & \tfrac12 & -\tfrac12 & \tfrac12 \end{bmatrix}
# $$
#
# The fourth patch is $(1, 1, 0, 1)$, so its token is $\left(\tfrac34,\; -\tfrac12 + \tfrac12 - 0 + \tfrac12\right) = (0.75, 0.5)$.
#
# Cutting is one `reshape` and one `permute`: give rows and columns a name of their own, put the two grid axes first, and merge the rest.

# %% tags=["nbval-check-output"]
def cut(images, P):
    """(B, C, h, w) to (B, N, C * P * P), patches row by row."""
    B, C, h, w = images.shape
    x = images.reshape(B, C, h // P, P, w // P, P)  # (B, C, rows, P, columns, P)
    x = x.permute(0, 2, 4, 1, 3, 5)  # (B, rows, columns, C, P, P)
    return x.reshape(B, -1, C * P * P)

E = torch.tensor([[1., 1, 1, 1], [-2, 2, -2, 2]]).T / 4
patches = cut(picture[None], 2)
print("patches", patches[0].tolist())
print("tokens ", (patches @ E)[0].tolist())

# %% [markdown]
# Look at {eq}`eq-vision-convolution` again. A kernel as wide as the stride never sees a pixel twice: its windows are the patches, and its sum is
# one column of $x_n E$. **The patch embedding is a convolution with $k = s = P$**, and the columns of $E$ are its kernels. That is how the package writes it:

# %% tags=["remove-input"]
show_source(PatchEmbedding)

# %% tags=["nbval-check-output"]
torch.manual_seed(0)
for size, P, width, C in [(6, 3, 5, 3), (12, 4, 7, 1), (48, 8, 64, 3)]:
    layer, images = PatchEmbedding(size, P, width, C), torch.randn(2, C, size, size)
    E = layer.projection.weight.flatten(1).T  # (C * P * P, D)
    b = layer.projection.bias
    by_hand = cut(images, P) @ E + b
    print(f"{size:2} px, patch {P}: {tuple(by_hand.shape)}, "
          f"equal: {torch.allclose(by_hand, layer(images), atol=1e-5)}")

# %% [markdown]
# ### How small should a patch be?
#
# Choose the side of a patch in {numref}`fig-vision-patches` and watch two numbers: with half the side there are four times as many tokens, and attention
# compares sixteen times as many pairs. Then pick a patch, with the pointer or the arrow keys. From which side on can you tell a thing by one patch alone, and at
# which side does a patch hold nothing but a colour?

# %% mystnb={"figure": {"caption": "A scene cut into patches of a side that you choose, and one patch enlarged.", "name": "fig-vision-patches"}, "image": {"alt": "A scene under a white grid of patches, with the number of patches and of pairs above it."}} tags=["remove-input"]
PatchExplorer(opening)

# %% [markdown]
# ## A class token, positions, and the Transformer
#
# Attention without a causal mask does not know where a token stands: shuffle the tokens and the outputs are shuffled, nothing else
# ([attention](01_attention.py)). So we add a learned vector for each place, its **position**. And we want one vector for the whole picture. Instead of choosing a patch we put a
# learned vector before all patches, the **class token**: it shows nothing itself, and gathers what it needs by attention. A **ViT**, vision Transformer, is
#
# $$
# \begin{aligned}
# Z_0 &= \begin{bmatrix} z_\text{class} \\ x_1 E + b \\ \vdots \\ x_N E + b \end{bmatrix} + E_\text{pos} \\
# Z'_l &= Z_{l-1} + \operatorname{MHA}(\operatorname{LN}(Z_{l-1})) \\
# Z_l &= Z'_l + \operatorname{FFN}(\operatorname{LN}(Z'_l)), \qquad l = 1, \dots, L \\
# Y &= \operatorname{LN}(Z_L),
# \end{aligned}
# $$ (eq-vision-vit)
#
# where $z_\text{class}$ is $1 \times D$, $E_\text{pos}$ is $(1 + N) \times D$, and all $Z$ and $Y$ are $(1 + N) \times D$. MHA is multi-head attention, FFN the feed-forward network, LN the layer
# norm, each with weights of its own in each layer. The first row of $Y$ is the picture, the others are its patches. From the encoder of
# [chapter 2](02_transformer.py) on, nothing knows that there were pixels.

# %% tags=["remove-input"]
show_source(VisionTransformer)

# %% [markdown]
# Formula {eq}`eq-vision-vit` by hand, with the weights of the model:

# %%
def vit(model, images):
    projection = model.patches.projection
    E = projection.weight.flatten(1).T  # (C * P * P, D)
    patches = cut(images, projection.kernel_size[0]) @ E + projection.bias  # (B, N, D)
    first = model.class_token.expand(len(images), 1, -1)
    Z = torch.cat([first, patches], 1) + model.positions  # (B, 1 + N, D)
    for layer in model.encoder.layers:
        Z = Z + layer.attention(layer.norm1(Z))
        Z = Z + layer.feed_forward(layer.norm2(Z))
    return model.encoder.norm(Z)

torch.manual_seed(0)
model = VisionTransformer(48, 8, 64, layers=2, heads=4).eval()
with torch.no_grad():
    output = model(pictures)
    gap = (vit(model, pictures) - output).abs().max().item()
print(f"{tuple(output.shape)}, largest difference {gap:.0e}")
assert gap < 1e-5

# %% [markdown]
# ## The same numbers as `transformers`
#
# Our test by hand uses our own attention. If that were wrong, both would be wrong. So we compare with `ViTModel` of `transformers`, which was written by
# others: random weights, copied name by name.

# %%
def copy_weights(ours, theirs):
    names = {"class_token": "embeddings.cls_token",
             "positions": "embeddings.position_embeddings"}
    parts = {"attention.query": "attention.q_proj", "attention.key": "attention.k_proj",
             "attention.value": "attention.v_proj", "attention.output": "attention.o_proj",
             "norm1": "layernorm_before", "norm2": "layernorm_after",
             "feed_forward.0": "mlp.fc1", "feed_forward.3": "mlp.fc2"}
    for kind in ("weight", "bias"):
        theirs_is = f"embeddings.patch_embeddings.projection.{kind}"
        names[f"patches.projection.{kind}"] = theirs_is
        names[f"encoder.norm.{kind}"] = f"layernorm.{kind}"
        for i in range(len(ours.encoder.layers)):
            for mine, other in parts.items():
                names[f"encoder.layers.{i}.{mine}.{kind}"] = f"layers.{i}.{other}.{kind}"
    weights = theirs.state_dict()
    assert set(names.values()) == set(weights), "every weight is copied"
    ours.load_state_dict({mine: weights[other] for mine, other in names.items()})

# %%
def pair(size, patch, width, layers, heads, hidden, channels):
    """A ViTModel with random weights and our VisionTransformer with the same."""
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        image_size=size, patch_size=patch, hidden_size=width, num_hidden_layers=layers,
        num_attention_heads=heads, intermediate_size=hidden, num_channels=channels)
    theirs = transformers.ViTModel(config, add_pooling_layer=False).eval()
    for weight in theirs.parameters():
        nn.init.normal_(weight, std=0.3)  # also biases and positions, which start at zero
    ours = VisionTransformer(size, patch, width, layers, heads, hidden, channels=channels)
    copy_weights(ours, theirs)
    return ours.eval(), theirs

# %%
shapes = [(6, 3, 3, 1, 1, 5, 3), (12, 4, 15, 2, 3, 7, 1),
          (10, 2, 20, 3, 5, 33, 4), (48, 8, 128, 2, 2, 96, 3)]
gaps = []
for shape in shapes:
    ours, theirs = pair(*shape)
    images = torch.randn(2, shape[-1], shape[0], shape[0])
    with torch.no_grad():
        expected = theirs(images).last_hidden_state
        gaps.append((ours(images) - expected).abs().max().item())
    head = shape[2] // shape[4]
    print(f"{tuple(expected.shape)!s:13} head width {head:2}: {gaps[-1]:.0e}")
assert max(gaps) < 1e-5

# %% tags=["remove-cell"]
glue("vision_gap", max(gaps), display=False)

# %% [markdown]
# The largest difference is {glue:text}`vision_gap:.0e`, no more than rounding: numbers of 32 bits have about seven digits.
#
# ### Three errors that stop the code
#
# Who joins a text encoder and an image encoder from `transformers` can easily make three errors, and each of them stops the
# program. (An article that this course corrects makes all three; [chapter 9](09_fusion.py) repairs it line by line.) First, a class that is not there: `VisionTransformer` is the name in other
# libraries, and in ours.

# %% tags=["nbval-check-output"]
for name in ("VisionTransformer", "ViTModel"):
    print(f"transformers has {name}: {hasattr(transformers, name)}")

# %% [markdown]
# Second, the image model does not return a tensor. It returns an object with several, and `torch.cat` refuses it. The tokens are its `last_hidden_state`.

# %% tags=["nbval-check-output"]
ours, theirs = pair(12, 4, 20, 1, 5, 30, 3)
text = torch.randn(2, 7, 20)  # (B, T, D): seven words
with torch.no_grad():
    answer = theirs(torch.randn(2, 3, 12, 12))
print(type(answer).__name__, "is a tensor:", isinstance(answer, torch.Tensor))
try:
    torch.cat([text, answer], dim=1)
except TypeError as error:
    print(str(error).splitlines()[0])
patches = answer.last_hidden_state
print("tokens of the picture", tuple(patches.shape))

# %% [markdown]
# Third, concatenating along axis 1 makes the row *longer*, not the vectors *wider*. A linear layer for $2D$ numbers does not fit; one for $D$ does.

# %% tags=["nbval-check-output"]
both = torch.cat([text, patches], dim=1)  # (B, T + 1 + N, D)
print("joined", tuple(both.shape))
try:
    nn.Linear(2 * 20, 5)(both)
except RuntimeError as error:
    print(error)
print("with Linear(D, 5):", tuple(nn.Linear(20, 5)(both).shape))

# %% [markdown]
# ## Both encoders on drawings
#
# Now the encoders learn. The task: **name the thing in a scene**, from a list that we choose by a rule, one thing from each of the first ten categories, each drawn in all
# styles. A scene shows one of them on one of the course's backgrounds, anywhere, sometimes mirrored. We test in two ways: on new scenes (`val`),
# and on scenes by artists that training never shows (`style`).

# %%
SIZE, SEED = 40, 0

def choose(seed):
    """One thing of each of ten categories, drawn in every style."""
    found = {}
    for noun in Random(seed).sample(complete, len(complete)):
        if noun.name.isalpha():  # one word, to fit above a picture
            found.setdefault(noun.category, noun.name)
    return [name for _, name in sorted(found.items())][:10]

# %%
def make_scene(world, index, things):
    """One thing, big, somewhere on one of the backgrounds."""
    rng = Random(f"vision/{world.split}/{index}")
    group = Group(things[index % len(things)], size="big")
    about = Description((group,), None, rng.choice(tuple(BACKGROUNDS)))
    return world.render(about, rng, "")

def make_scenes(split, count, things):
    """Pictures (count, SIZE, SIZE, 3), and the number of the thing in each."""
    world = EmojiScenes(split, SIZE)
    images = [make_scene(world, index, things).image for index in range(count)]
    return np.stack(images), torch.arange(count) % len(things)

things = choose(SEED)
scenes = {"train": make_scenes("train", 1200, things)}
scenes |= {split: make_scenes(split, 500, things) for split in ("val", "style")}
print(", ".join(things))

# %% mystnb={"image": {"alt": "Ten small scenes, five from training and five by the unseen artists, with the name of the thing above each."}} tags=["hide-input"]
examples = [(split, index) for split in ("train", "style") for index in range(5)]
titles = [f"{things[index]}, {split}" for split, index in examples]
pictures = [scenes[split][0][index] for split, index in examples]
show_images(pictures, titles, columns=5, size=1.4);

# %% [markdown]
# A classifier is an encoder, one vector for the picture, and a linear layer. For the ViT the vector is the class token. The ConvEncoder has none, so we take the mean of its
# tokens. Both get about the same number of weights and {glue:text}`vision_tokens:d` regions of $8 \times 8$ pixels.

# %%
class Classifier(nn.Module):
    def __init__(self, encoder, width, read):
        super().__init__()
        self.encoder, self.read, self.head = encoder, read, nn.Linear(width, len(things))

    def forward(self, images):
        return self.head(self.read(self.encoder(images)))

def class_token(tokens):
    return tokens[:, 0]

def mean(tokens):
    return tokens.mean(1)

def convolutional(seed=SEED):
    torch.manual_seed(seed)
    return Classifier(ConvEncoder(64, channels=(16, 32, 64), blocks=(0, 1, 1)), 64, mean)

def transformer(seed=SEED):
    torch.manual_seed(seed)
    return Classifier(VisionTransformer(SIZE, 8, 64, layers=2, heads=4), 64, class_token)

# %% [markdown]
# The loop makes the cross-entropy small, minus the logarithm of the probability of the right answer. It uses AdamW {cite}`loshchilov2019`: a gradient descent in which each weight has its own step size, and in which all
# weights are pulled a little towards zero (*weight decay*). The rate grows at first and then falls to nearly zero (`OneCycleLR`), and a gradient that is longer than 1 is cut to that length (*clipping*). ([Chapter 0](00_before_attention.py) has the formula of the cross-entropy, [chapter 12](12_training.py) those of the rest.)

# %%
def train(model, steps=400, rate=2e-3, prepare=to_pixels, seed=SEED):
    """Minimise the cross-entropy on the training scenes; give the loss of every step."""
    pixels, labels = prepare(scenes["train"][0]), scenes["train"][1]
    generator = torch.Generator().manual_seed(seed)
    learned = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(learned, rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    losses = []
    for _ in range(steps):
        batch = torch.randint(len(pixels), (32,), generator=generator)
        loss = F.cross_entropy(model(pixels[batch]), labels[batch])
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
    model.eval()
    return losses

# %%
@torch.no_grad()
def accuracy(model, split, prepare=to_pixels):
    images, labels = scenes[split]
    return (model(prepare(images)).argmax(1) == labels).float().mean().item()

conv, vision = convolutional(), transformer()
curves = {"ConvEncoder": train(conv), "VisionTransformer": train(vision)}
for name, model in (("ConvEncoder", conv), ("VisionTransformer", vision)):
    weights = sum(p.numel() for p in model.parameters())
    print(f"{name:17} {weights:,} weights, val {accuracy(model, 'val'):.1%}, "
          f"style {accuracy(model, 'style'):.1%}")

# %% [markdown]
# The baselines see no more than they must. One always says the most frequent thing. The other compares pixels, as at the start, and gives the name of the nearest training
# scene.

# %%
flat = {split: to_pixels(images).flatten(1) for split, (images, _) in scenes.items()}
scores = {}
for split in ("val", "style"):
    labels = scenes[split][1]
    nearest = scenes["train"][1][torch.cdist(flat[split], flat["train"]).argmin(1)]
    scores["pixels", split] = (nearest == labels).float().mean().item()
    scores["majority", split] = Counter(labels.tolist()).most_common(1)[0][1] / len(labels)
    scores["conv", split] = accuracy(conv, split)
    scores["vit", split] = accuracy(vision, split)
for (name, split), score in scores.items():
    print(f"{split:6} {name:9} {score:.1%}")

# %% tags=["remove-cell"]
for (name, split), score in scores.items():
    glue(f"vision_{name}_{split}", score, display=False)
for name, model in (("conv", conv), ("vit", vision)):
    glue(f"vision_{name}_weights", sum(p.numel() for p in model.parameters()), display=False)
    glue(f"vision_{name}_train", accuracy(model, "train"), display=False)
count = len(scenes["val"][1])
glue("vision_tokens", vision.encoder.patches.patches, display=False)
glue("vision_seed", SEED, display=False)
glue("vision_count", count, display=False)
glue("vision_train_count", len(scenes["train"][1]), display=False)
glue("vision_error", (0.25 / count) ** 0.5, display=False)
glue("vision_classes", len(things), display=False)
glue("vision_steps", len(curves["ConvEncoder"]), display=False)

# %% [markdown]
# | encoder | weights | `train` | `val` | `style` | seed |
# |---|---|---|---|---|---|
# | most frequent thing | 0 | | {glue:text}`vision_majority_val:.1%` | {glue:text}`vision_majority_style:.1%` | |
# | nearest training scene by pixels | 0 | | {glue:text}`vision_pixels_val:.1%` | {glue:text}`vision_pixels_style:.1%` | |
# | ConvEncoder, mean of tokens | {glue:text}`vision_conv_weights:,` | {glue:text}`vision_conv_train:.1%` | {glue:text}`vision_conv_val:.1%` | {glue:text}`vision_conv_style:.1%` | {glue:text}`vision_seed:d` |
# | VisionTransformer, class token | {glue:text}`vision_vit_weights:,` | {glue:text}`vision_vit_train:.1%` | {glue:text}`vision_vit_val:.1%` | {glue:text}`vision_vit_style:.1%` | {glue:text}`vision_seed:d` |
#
# `train` has {glue:text}`vision_train_count:,` scenes, `val` and `style` have {glue:text}`vision_count:d` each, so that a share of these is uncertain by up to {glue:text}`vision_error:.1%` (one standard error, for these
# {glue:text}`vision_classes:d` things). Other machines, seeds and rates move it too. Is the order of the two encoders one of them? Two more seeds, and for both half the rate and twice the rate:

# %%
makers = {"ConvEncoder": convolutional, "VisionTransformer": transformer}
others_of = [(2e-3, 1), (2e-3, 2), (1e-3, SEED), (4e-3, SEED)]
repeats = {"ConvEncoder": [scores["conv", "val"]], "VisionTransformer": [scores["vit", "val"]]}
for name, make in makers.items():
    for rate, seed in others_of:
        model = make(seed)
        train(model, rate=rate, seed=seed)
        repeats[name].append(accuracy(model, "val"))
for position, (rate, seed) in enumerate([(2e-3, SEED), *others_of]):
    row = ", ".join(f"{name} {values[position]:.1%}" for name, values in repeats.items())
    print(f"rate {rate} seed {seed}: {row}")

# %% tags=["remove-cell"]
for key, name in (("conv", "ConvEncoder"), ("vit", "VisionTransformer")):
    glue(f"vision_{key}_lowest", min(repeats[name]), display=False)
    glue(f"vision_{key}_highest", max(repeats[name]), display=False)

# %% [markdown]
# The ConvEncoder names {glue:text}`vision_conv_lowest:.0%` to {glue:text}`vision_conv_highest:.0%` of the things in `val`, the ViT {glue:text}`vision_vit_lowest:.0%` to {glue:text}`vision_vit_highest:.0%`. With
# this much data, of this kind and for {glue:text}`vision_steps:d` steps, in five runs each, no seed and no rate that we tried turns the order round.

# %% mystnb={"figure": {"caption": "Loss on the training batches, mean of twenty steps. The dotted line is the loss of a model that gives every thing the same probability.", "name": "fig-vision-curves"}, "image": {"alt": "Two falling curves. The curve of the vision Transformer falls sooner, then the curves meet, and both end at about the same low loss."}} tags=["hide-input"]
figure, axes = plt.subplots(figsize=(6.4, 2.6))
for (name, losses), colour, style in zip(curves.items(), (BLUE, ORANGE), ("-", "--"), strict=True):
    smooth = np.reshape(losses[:len(losses) // 20 * 20], (-1, 20)).mean(1)
    axes.plot(20 * np.arange(1, len(smooth) + 1), smooth, style, color=colour, label=name)
axes.axhline(np.log(len(things)), color=GREY, linestyle=":", linewidth=1)
axes.set(xlabel="step", ylabel="cross-entropy", ylim=(0, None))
axes.legend();

# %% [markdown]
# Read the table from left to right. From `train` to `val` the drawings are the same and only their places and backgrounds are new: comparing pixels finds
# {glue:text}`vision_pixels_val:.0%` of the things there, the ConvEncoder {glue:text}`vision_conv_val:.0%`, the ViT {glue:text}`vision_vit_val:.0%`. From `val` to `style` the drawings are new too. There the ConvEncoder
# falls to {glue:text}`vision_conv_style:.0%` and the ViT to {glue:text}`vision_vit_style:.0%`, where the pixels find {glue:text}`vision_pixels_style:.0%`. A part of what they have learned is *this thing*, and a part is
# only *these drawings*. More things and more artists may help, which this page does not test. (The shipped captioner has seen more things, by the same five groups of artists.)
#
# Both fit the training scenes about equally well: {glue:text}`vision_conv_train:.0%` and {glue:text}`vision_vit_train:.0%`. In {numref}`fig-vision-curves` the loss of the ViT even falls sooner. So a loss on training scenes
# does not tell which encoder to take: the difference is what carries over to new scenes. The usual explanation is that the convolution starts out knowing that near pixels belong together and that a thing is the same
# thing elsewhere, while the ViT has to find both out from examples, and ours are few.
# {cite:t}`dosovitskiy2021` report the same order on a million photographs, and the opposite after pre-training on hundreds of millions. So for the small data of this course we take the ConvEncoder.
#
# ### What they have learned
#
# Where does the class token look? {numref}`fig-vision-attention` shows its attention weights in the last layer, mean of the heads.

# %% mystnb={"figure": {"caption": "Scenes of val, and below what the class token of the trained ViT attends to in the last layer: a patch fades as far as its weight is below the largest.", "name": "fig-vision-attention"}, "image": {"alt": "Two rows of five small scenes. In the lower row patches are faded to white by different amounts. What stays visible is the thing itself in some scenes, and background around it in others."}} tags=["hide-input"]
with torch.no_grad():
    weights = vision.encoder(to_pixels(scenes["val"][0][:5]), return_weights=True)[1]
looks = weights[:, -1, :, 0, 1:].mean(1).unflatten(1, (SIZE // 8, -1))  # (5, rows, columns)
figure, axes = plt.subplots(2, 5, figsize=(7.2, 3))
for index, (above, below) in enumerate(axes.T):
    image, label = scenes["val"][0][index], scenes["val"][1][index]
    show_scene(image, axes=above, title=things[label])
    show_scene(image, weights=looks[index], axes=below)

# %% [markdown]
# In some scenes it looks at the thing, as at the tomato. In others it looks around the thing, as with the alien. Attention weights show where a token takes its numbers from. They do not show what for: here
# the vectors have already been mixed in the layer before.
#
# And what do the positions know? Nobody told the ViT which patch lies below which. In {numref}`fig-vision-positions` each little map compares the position of one patch with
# those of all patches, by the cosine of their angle.

# %% mystnb={"figure": {"caption": "Cosine between the learned position of one patch (the place of the little map) and the positions of all patches. Red is alike, blue is opposed.", "name": "fig-vision-positions"}, "image": {"alt": "A square grid of little maps. In the maps of border patches the whole border is red and the inside blue. In the maps of inner patches the own cell is dark red, most of the inside pale, and most of the border blue."}} tags=["hide-input"]
place = F.normalize(vision.encoder.positions[0, 1:].detach(), dim=-1)
side = SIZE // 8
alike = (place @ place.T).unflatten(0, (side, side)).unflatten(2, (side, side))
figure, axes = plt.subplots(side, side, figsize=(4, 4))
for (row, column), axis in np.ndenumerate(axes):
    axis.imshow(alike[row, column], cmap="RdBu_r", vmin=-1, vmax=1)
    axis.set(xticks=[], yticks=[])

# %% [markdown]
# In {numref}`fig-vision-places` pick one patch of a scene to see its map large. Walk along the border with the arrow keys, then through the middle: where
# do the neighbours stay red, and what happens at the step from the border to the inside?

# %% mystnb={"figure": {"caption": "A scene as the trained ViT gets it. Pick a patch: the map shows the cosine of its learned position with all others.", "name": "fig-vision-places"}, "image": {"alt": "A scene under a grid of 25 patches, and a map of 25 squares in red and blue: the cosines of the middle position with all positions."}} tags=["remove-input"]
PatchExplorer(scenes["val"][0][0], sizes=[8], positions=vision.encoder.positions[0, 1:].detach())

# %%
def neighbourly(positions):
    """Mean cosine of positions that touch (in a row or a column), and of all others."""
    place = F.normalize(positions[0, 1:].detach(), dim=-1)
    row, column = torch.arange(len(place)) // side, torch.arange(len(place)) % side
    steps = (row[:, None] - row).abs() + (column[:, None] - column).abs()
    cosine = place @ place.T
    return cosine[steps == 1].mean().item(), cosine[steps > 1].mean().item()

touch, apart = neighbourly(vision.encoder.positions)
start = neighbourly(transformer().encoder.positions)
print(f"before training: touching {start[0]:+.2f}, others {start[1]:+.2f}")
print(f"after training:  touching {touch:+.2f}, others {apart:+.2f}")

# %% tags=["remove-cell"]
glue("vision_touch", touch, display=False)
glue("vision_apart", apart, display=False)

# %% [markdown]
# Positions of patches that touch have a mean cosine of {glue:text}`vision_touch:.2f`, others {glue:text}`vision_apart:.2f`; before training there was no such difference.
# But look at the little maps again: the positions of the border are like each other, also across the picture, and differ from those inside. What the model has found out from the pictures is mainly *border or inside*.
# That makes many neighbours alike, and is far less than a plane. A convolution has the plane from the start. Why border and inside? Do the things keep away from the border?

# %%
world = EmojiScenes("train", SIZE)
covered = torch.zeros(300, side, side, dtype=torch.bool)
for index in range(len(covered)):
    left, top, right, bottom = make_scene(world, index, things).objects[0].box  # pixels
    covered[index, top // 8:(bottom - 1) // 8 + 1, left // 8:(right - 1) // 8 + 1] = True
border = torch.ones(side, side, dtype=torch.bool)
border[1:-1, 1:-1] = False
reached = covered[:, border].any(1).float().mean().item()
outer, inner = covered[:, border].float().mean().item(), covered[:, ~border].float().mean().item()
print(f"boxes that reach a patch of the border: {reached:.0%}")
print(f"a patch of the border has a part of a box in {outer:.0%} of the scenes, "
      f"one inside in {inner:.0%}")

# %% tags=["remove-cell"]
glue("vision_reached", reached, display=False)
glue("vision_looked", len(covered), display=False)
glue("vision_outer", outer, display=False)
glue("vision_inner", inner, display=False)

# %% [markdown]
# They do not: in {glue:text}`vision_looked:d` scenes of the training {glue:text}`vision_reached:.0%` of the boxes reach the ring of border patches. But one given patch of the border has a part of the box in {glue:text}`vision_outer:.0%` of the scenes, and one inside in
# {glue:text}`vision_inner:.0%`. That may be what the positions have learned. It is a guess: to know, we would have to move the things and train again.
#
# ### The question of the start
#
# Is the same thing in another style now near? We make the question harder than at the start: the things stand anywhere, on any background. For a scene by the unseen artists
# we look for the nearest training scene, by the vector that the classifier reads, and see whether it shows the same thing. First for the things that the encoders have learned to name, then
# for others that they have never seen.

# %%
@torch.no_grad()
def rediscovered(vector, known, asked):
    """For each asked scene, whether the nearest known one shows the same thing: 1 or 0."""
    (gallery, names), (queries, truth) = known, asked
    distance = torch.cdist(vector(to_pixels(queries)), vector(to_pixels(gallery)))
    return (names[distance.argmin(1)] == truth).float()

others = [name for name in choose(SEED + 1) if name not in things]
known = [part[:500] for part in scenes["train"]]
unknown = {split: make_scenes(split, 500, others) for split in ("train", "style")}
kinds = {"pixels": lambda x: x.flatten(1), "ConvEncoder": lambda x: mean(conv.encoder(x)),
         "VisionTransformer": lambda x: class_token(vision.encoder(x))}
again, hits = {}, {}
for name, vector in kinds.items():
    learned = rediscovered(vector, known, scenes["style"]).mean().item()
    hits[name] = rediscovered(vector, unknown["train"], unknown["style"])
    again[name] = learned, hits[name].mean().item()
    print(f"{name:17} learned things {learned:.0%}, never seen {again[name][1]:.0%}")

# %% [markdown]
# Scenes of one thing are no independent questions. So we compare with the pixels thing by thing, and take the standard error over the things:

# %%
gain = {}
for name in ("ConvEncoder", "VisionTransformer"):
    more = hits[name] - hits["pixels"]  # (500,); scene i shows thing i modulo their number
    each = torch.stack([more[n::len(others)].mean() for n in range(len(others))])
    gain[name] = each.mean().item(), (each.std() / len(others) ** 0.5).item()
    print(f"{name:17} never seen, less the pixels: {gain[name][0]:+.0%} ± {gain[name][1]:.0%}")

# %% tags=["remove-cell"]
for key, name in (("pixels", "pixels"), ("conv", "ConvEncoder"), ("vit", "VisionTransformer")):
    glue(f"vision_again_{key}", again[name][0], display=False)
    glue(f"vision_new_{key}", again[name][1], display=False)
for key, name in (("conv", "ConvEncoder"), ("vit", "VisionTransformer")):
    glue(f"vision_gain_{key}", gain[name][0], display=False)
    glue(f"vision_gain_{key}_error", gain[name][1], display=False)
glue("vision_chance", 1 / len(things), display=False)
glue("vision_chance_new", 1 / len(others), display=False)
glue("vision_others", len(others), display=False)

# %% [markdown]
# | nearest by | {glue:text}`vision_classes:d` learned things | {glue:text}`vision_others:d` things never seen |
# |---|---|---|
# | chance | {glue:text}`vision_chance:.0%` | {glue:text}`vision_chance_new:.0%` |
# | pixels | {glue:text}`vision_again_pixels:.0%` | {glue:text}`vision_new_pixels:.0%` |
# | ConvEncoder | {glue:text}`vision_again_conv:.0%` | {glue:text}`vision_new_conv:.0%` |
# | VisionTransformer | {glue:text}`vision_again_vit:.0%` | {glue:text}`vision_new_vit:.0%` |
#
# Compare the columns. For things that it was trained on, an encoder finds more than the pixels do. For the {glue:text}`vision_others:d` that it has never seen, no gain is left: against the pixels
# the ConvEncoder has {glue:text}`vision_gain_conv:+.0%` ± {glue:text}`vision_gain_conv_error:.0%`, the ViT {glue:text}`vision_gain_vit:+.0%` ± {glue:text}`vision_gain_vit_error:.0%` (one standard error over the things; one seed each).
# So the answer to our question is yes for {glue:text}`vision_classes:d` things, and no for the others: these two encoders have learned their things, not what makes any two drawings alike.
#
# ## What came after
#
# - **The start.** For photographs few train an encoder from nothing. One takes the weights of an encoder that has learned from pictures with their captions, such as CLIP {cite}`radford2021` or SigLIP {cite}`zhai2023`, or from
#   pictures alone, such as DINOv2 {cite}`oquab2024`; [chapter 16](16_photographs.py) does. All three are ViTs at heart, as on this page (CLIP also comes as a residual network).
# - **Learning without labels.** A masked autoencoder {cite}`he2022` hides most patches of a picture and learns to paint them.
# - **Convolutions came back.** ConvNeXt {cite}`liu2022` keeps the convolution, takes over much else from the Transformer, and competes with Transformers of its time. A few convolutions before a ViT make it easier to train {cite}`xiao2021`.
#
# Words and pictures are now the same kind of thing, rows of vectors. Chapters [6](06_audio.py), [7](07_video.py) and [8](08_detection.py) do the same with sound and clips, and find things in pictures; [chapter 9](09_fusion.py) joins words and pictures.
#
# ## What goes wrong
#
# Four mistakes. None raises an error, and each leaves all shapes as they should be.
#
# ### Forget the positions
#
# We train the same ViT with positions that are zero and stay zero. Then we shuffle the patches of every test picture, the same way for all.

# %%
def shuffle(images):
    """Pictures whose patches of 8 x 8 pixels are in another order."""
    side = SIZE // 8
    order = torch.randperm(side**2, generator=torch.Generator().manual_seed(SEED))
    x = cut(to_pixels(images), 8)[:, order]
    x = x.unflatten(2, (3, 8, 8)).unflatten(1, (side, side))
    return x.permute(0, 3, 1, 4, 2, 5).reshape(len(images), 3, SIZE, SIZE)

without = transformer()
without.encoder.positions.data.zero_()
without.encoder.positions.requires_grad_(False)
train(without)
order = {}
for name, model in (("with", vision), ("without", without)):
    order[name] = accuracy(model, "val"), accuracy(model, "val", shuffle)
    print(f"{name:7} positions: val {order[name][0]:.1%}, shuffled {order[name][1]:.1%}")

# %% mystnb={"image": {"alt": "Four scenes, and below each the same scene with its square patches in another order, so that the thing is in pieces."}} tags=["hide-input"]
mixed = ((shuffle(scenes["val"][0][:4]) + 1) * 127.5).round().byte().movedim(1, -1)
show_images([*scenes["val"][0][:4], *mixed], columns=4, size=1.3);

# %%
gap = {}
with torch.no_grad():
    for name, model in (("with", vision), ("without", without)):
        before = class_token(model.encoder(to_pixels(scenes["val"][0][:32])))
        after = class_token(model.encoder(shuffle(scenes["val"][0][:32])))
        gap[name] = (after - before).abs().max().item()
print("largest change of the class token")
print(f"with positions {gap['with']:.1f}, without {gap['without']:.0e}")
assert gap["without"] < 1e-4

# %% tags=["remove-cell"]
for name in order:
    glue(f"vision_order_{name}", order[name][0], display=False)
    glue(f"vision_shuffled_{name}", order[name][1], display=False)
    glue(f"vision_change_{name}", gap[name], display=False)

# %% [markdown]
# Without positions the class token does not move ({glue:text}`vision_change_without:.0e` is rounding): **to this model a picture is a bag of patches.** With positions the token moves, but not many answers do:
# {glue:text}`vision_order_with:.1%` of the things become {glue:text}`vision_shuffled_with:.1%`.
#
# Now look at the first column. The bag of patches names {glue:text}`vision_order_without:.1%`, the ViT with positions {glue:text}`vision_order_with:.1%`: with one seed, and {glue:text}`vision_error:.1%` of error in each, that cannot be told from the same. To name
# a thing by its colours and bits of outline, our small ViT makes little use of where they are. **The score does not show this mistake, but it is not harmless**: let a cat and a dog
# change places patch by patch, and no training can tell this model which of them stands left. A test by shuffling, as here, finds the mistake.
#
# ### Forget the class token
#
# In row 0 stands the class token, if there is one. We take the trained ViT and make three slips of one index.

# %%
@torch.no_grad()
def slip(kind):
    """Accuracy on val when rows and positions do not match."""
    encoder, images = vision.encoder, to_pixels(scenes["val"][0])
    patches = encoder.patches(images)
    first = encoder.class_token.expand(len(images), -1, -1)
    if kind == "none":
        x = torch.cat([first, patches], 1) + encoder.positions
    elif kind == "class token at the end":
        x = torch.cat([patches, first], 1) + encoder.positions
    elif kind == "no class token":
        x = patches + encoder.positions[:, 1:]
    else:
        wrong = torch.cat([encoder.positions[:, :1], encoder.positions[:, :-1]], 1)
        x = torch.cat([first, patches], 1) + wrong
    named = vision.head(encoder.encoder(x)[:, 0]).argmax(1)
    return (named == scenes["val"][1]).float().mean().item()

for kind in ("none", "class token at the end", "no class token", "positions off by one"):
    print(f"{kind:22} {slip(kind):.1%}")

# %% tags=["remove-cell"]
glue("vision_slip_end", slip("class token at the end"), display=False)
glue("vision_slip_none", slip("no class token"), display=False)
glue("vision_slip_off", slip("positions off by one"), display=False)

# %% [markdown]
# With no class token, `[:, 0]` is the patch in the top left corner, and {glue:text}`vision_order_with:.1%` becomes {glue:text}`vision_slip_none:.1%`. At the end instead of the beginning: {glue:text}`vision_slip_end:.1%`. Both are far above chance,
# so the slip can pass for a badly trained model. Positions that are one place off shift the picture by a patch, and give {glue:text}`vision_slip_off:.1%`: a model that makes little use of its positions loses little, and
# the score hides the error. A ConvEncoder has no class token, so reading its token 0 as "the picture" is the same mistake.
#
# ### The residual in the wrong place
#
# Each of these looks right and keeps the shape. We run them with the weights of `ViTModel`, and with those that we have trained.

# %%
def right(layer, x):
    x = x + layer.attention(layer.norm1(x))
    return x + layer.feed_forward(layer.norm2(x))

def from_normed(layer, x):  # adds to the normalised input
    x = layer.norm1(x)
    x = x + layer.attention(x)
    x = layer.norm2(x)
    return x + layer.feed_forward(x)

def lost(layer, x):  # the second branch starts from the first layer's input
    return x + layer.feed_forward(layer.norm2(x + layer.attention(layer.norm1(x))))

def norm_after(layer, x):  # the order of 2017, with weights of the order of 2021
    x = layer.norm1(x + layer.attention(x))
    return layer.norm2(x + layer.feed_forward(x))

@torch.no_grad()
def run(encoder, images, layer_by):
    x = encoder.patches(images)
    x = torch.cat([encoder.class_token.expand(len(x), -1, -1), x], 1) + encoder.positions
    for layer in encoder.encoder.layers:
        x = layer_by(layer, x)
    return encoder.encoder.norm(x)

# %%
ours, theirs = pair(*shapes[-1])
images = torch.randn(2, 3, 48, 48)
with torch.no_grad():
    expected = theirs(images).last_hidden_state
wiring = {}
for layer_by in (right, from_normed, lost, norm_after):
    difference = (run(ours, images, layer_by) - expected).abs().max().item()
    tokens = run(vision.encoder, to_pixels(scenes["val"][0]), layer_by)
    named = vision.head(tokens[:, 0]).argmax(1)
    hit = (named == scenes["val"][1]).float().mean().item()
    wiring[layer_by.__name__] = hit
    print(f"{layer_by.__name__:12} {tuple(tokens.shape)}  val {hit:5.1%}  "
          f"from ViTModel {difference:.0e}")

# %% tags=["remove-cell"]
wrong = [hit for name, hit in wiring.items() if name != "right"]
glue("vision_wiring_lowest", min(wrong), display=False)
glue("vision_wiring_highest", max(wrong), display=False)

# %% [markdown]
# The shapes are equal, and with trained weights a wrong wiring still names {glue:text}`vision_wiring_lowest:.0%` to {glue:text}`vision_wiring_highest:.0%` of the things, so nothing stops us from using it. The comparison with an
# independent implementation shows the error at once: the differences are as large as the numbers themselves. So we compare first, and train afterwards.
#
# ### Pixels from 0 to 255
#
# `to_pixels` maps 0 to 255 to the range from -1 to 1. Here is what happens to the trained models on other ranges, and to a ViT that is trained on 0 to 255.

# %%
def as_bytes(images):
    return torch.tensor(images).movedim(-1, 1).float()  # 0 to 255

def as_shares(images):
    return as_bytes(images) / 255  # 0 to 1

ranges = {"-1 to 1": to_pixels, "0 to 1": as_shares, "0 to 255": as_bytes}
raw = transformer()
train(raw, prepare=as_bytes)
for name, prepare in ranges.items():
    print(f"{name:8} ConvEncoder {accuracy(conv, 'val', prepare):.1%}, "
          f"VisionTransformer {accuracy(vision, 'val', prepare):.1%}")
print(f"trained on 0 to 255: VisionTransformer {accuracy(raw, 'val', as_bytes):.1%}")

# %% tags=["remove-cell"]
for key, prepare in (("shares", as_shares), ("bytes", as_bytes)):
    glue(f"vision_conv_{key}", accuracy(conv, "val", prepare), display=False)
    glue(f"vision_vit_{key}", accuracy(vision, "val", prepare), display=False)
glue("vision_raw", accuracy(raw, "val", as_bytes), display=False)
with torch.no_grad():
    size = raw.encoder.patches(as_bytes(scenes["val"][0])).std().item()
glue("vision_raw_size", size, display=False)
glue("vision_raw_positions", raw.encoder.positions.std().item(), display=False)

# %% [markdown]
# The trained ConvEncoder falls from {glue:text}`vision_conv_val:.1%` to {glue:text}`vision_conv_shares:.1%` on the range 0 to 1 and to {glue:text}`vision_conv_bytes:.1%` on 0 to 255; the ViT from
# {glue:text}`vision_vit_val:.1%` to {glue:text}`vision_vit_shares:.1%` and {glue:text}`vision_vit_bytes:.1%`. With {glue:text}`vision_chance:.0%` by chance, little or nothing is left. The range 0 to 1 looks harmless, and is not: to the model all pictures are
# pale, without a pixel that is darker than middle grey.
#
# Trained on 0 to 255 from the start, the same ViT reaches {glue:text}`vision_raw:.1%`. Its patch tokens have a standard deviation of {glue:text}`vision_raw_size:.0f`, its positions one of {glue:text}`vision_raw_positions:.2f`, so the positions drown.
# That alone would cost little here, as the model without positions shows. A guess at the rest: what the first layer adds to the patch tokens is small beside them in the same way, so that the second layer sees
# little new. A checkpoint belongs to its range, and the range belongs into one function that everybody calls.
#
# ## Exercises
#
# ```{exercise-start} How many tokens, how many weights
# :label: ex-vision-count
# ```
# *Easy, 5 minutes.* "ViT-B/16" has pictures of 224 pixels a side in three channels, patches of 16 and width 768. How many tokens does its encoder see, the class token included? How many weights has its patch
# embedding? Answer on paper, then check with `PatchEmbedding`.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-vision-count
# :label: so-vision-count
# :class: dropdown
# ````
# There are $(224 / 16)^2$ patches and one class token. The matrix $E$ is $P^2 C \times D$, and $b$ has $D$ numbers.

# %% tags=["nbval-check-output"]
base = PatchEmbedding(224, 16, 768)
print("tokens", (224 // 16) ** 2 + 1, "weights", 16 * 16 * 3 * 768 + 768)
assert base.patches == (224 // 16) ** 2
assert sum(p.numel() for p in base.parameters()) == 16 * 16 * 3 * 768 + 768

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} Flip the kernel
# :label: ex-vision-flip
# ```
# *Easy, 10 minutes.* In mathematics, convolution is $y_{i,j} = \sum_{u,v} w_{u,v}\, x_{i-u,\,j-v}$, with a minus; $u$ and $v$ run from $-1$ to $1$ for a kernel of $3 \times 3$ whose middle is $w_{0,0}$. Take the kernel of the
# numbers 1 to 9, row by row, and a picture of $5 \times 5$ that is 0 except for a 1 in the middle. Compute the $3 \times 3$ numbers in the middle of $y$ with `convolve`, without padding. What do you see, and what
# does our formula {eq}`eq-vision-convolution` give for the same picture?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-vision-flip
# :label: so-vision-flip
# :class: dropdown
# ````
# Replacing $u$ by $-u$ turns the kernel by half a turn, so we flip both axes and correlate. With the minus, a single 1 is replaced by the kernel as it is; ours gives the kernel
# turned by half a turn. Learned kernels come out turned, and the result is the same.

# %% tags=["nbval-check-output"]
point = torch.zeros(1, 5, 5)
point[0, 2, 2] = 1
numbers = torch.arange(1., 10).reshape(1, 1, 3, 3)
print("with the minus\n", convolve(point, numbers.flip(2, 3), torch.zeros(1))[0].int())
print("formula of this chapter\n", convolve(point, numbers, torch.zeros(1))[0].int())

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} One pixel wide
# :label: ex-vision-one
# ```
# *Easy, 10 minutes.* What does a convolution with $k = 1$ compute? Show that `nn.Conv2d(5, 7, 1)` and `nn.Linear(5, 7)` give the same numbers, with the weights of one copied to the other. Which line of
# `ConvEncoder` could be written the other way?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-vision-one
# :label: so-vision-one
# :class: dropdown
# ````
# It mixes the channels of each place and looks at no other place: a linear layer for every pixel alone. The `projection` of `ConvEncoder` is a `Linear` after flattening. It could be a
# `Conv2d` with $k = 1$ before it.

# %% tags=["nbval-check-output"]
torch.manual_seed(0)
one, linear = nn.Conv2d(5, 7, 1), nn.Linear(5, 7)
linear.weight.data, linear.bias.data = one.weight.data[:, :, 0, 0], one.bias.data
maps = torch.randn(2, 5, 3, 4)
mixed = linear(maps.movedim(1, -1)).movedim(-1, 1)
print("equal:", torch.allclose(one(maps), mixed, atol=1e-6))

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} A shift by one cell, and by half of one
# :label: ex-vision-shift
# ```
# *Medium, 20 minutes.* Put each of the ten things in the first style, 32 pixels wide (every second pixel of `on_white`), in the middle of a white canvas of 96 pixels. Move it to the right by 8 pixels, then by 4. The trained ConvEncoder makes
# $12 \times 12$ tokens; leave out three cells on each side, where the border of the canvas acts. Compare the moved tokens with those before, with the grid shifted back by one cell, or by none: mean absolute difference,
# divided by the standard deviation of the tokens. Predict first: which shift is easy?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-vision-shift
# :label: so-vision-shift
# :class: dropdown
# ````
# The strides multiply to 8, so a shift by 8 pixels shifts the grid of tokens by one cell. A little difference remains: the border of the canvas, where zeros come in, does not move along, and the
# tokens and the norms see it. A shift by 4 pixels lands between two cells, and neither shift of the grid undoes it, for any of the ten things. {cite:t}`zhang2019` smooths before each stride to soften this.

# %%
def placed(x):
    """Tokens of the ten things at column x, without the border: (10, 6, 6, D)."""
    canvas = np.full((len(things), 96, 96, 3), 255, np.uint8)
    canvas[:, 32:64, x:x + 32] = [on_white(name, STYLES[0])[::2, ::2] for name in things]
    with torch.no_grad():
        return conv.encoder(to_pixels(canvas)).unflatten(1, (12, 12))[:, 3:-3, 3:-3]

before = placed(32)
for shift, cells in [(8, 1), (8, 0), (4, 0), (4, 1)]:
    moved = placed(32 + shift)
    apart = moved[:, :, cells:] - before[:, :, :6 - cells]
    gaps = apart.abs().mean((1, 2, 3)) / before.std()
    print(f"{shift} px, {cells} cells back: difference {gaps.mean():.3f} "
          f"({gaps.min():.3f} to {gaps.max():.3f})")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} A larger picture
# :label: ex-vision-larger
# ```
# *Medium, 20 minutes.* A ViT has a position for each patch, so a larger picture does not fit. The usual remedy keeps the class token's position and interpolates the grid of the others. Write it: from a
# `VisionTransformer` for 12 pixels make one for 20 with the same patch of 4, by `F.interpolate(..., mode="bicubic")`. Check against `ViTModel(..., interpolate_pos_encoding=True)`.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-vision-larger
# :label: so-vision-larger
# :class: dropdown
# ````
# The positions are rows of a grid, read row by row. We make the grid, resize it as if it were a picture of $D$ channels, and read it row by row again.

# %%
def enlarge(model, size, **options):
    weights = model.state_dict()
    first, grid = weights["positions"][:, :1], weights["positions"][:, 1:]
    rows = int(grid.shape[1] ** 0.5)
    new = size // model.patches.projection.kernel_size[0]
    grid = grid.unflatten(1, (rows, rows)).movedim(-1, 1)  # (1, D, rows, columns)
    grid = F.interpolate(grid, size=(new, new), mode="bicubic", align_corners=False)
    weights["positions"] = torch.cat([first, grid.flatten(2).transpose(1, 2)], 1)
    larger = VisionTransformer(size, 4, **options)
    larger.load_state_dict(weights)
    return larger.eval()

ours, theirs = pair(12, 4, 20, 2, 5, 30, 3)
larger = enlarge(ours, 20, width=20, layers=2, heads=5, hidden=30)
images = torch.randn(2, 3, 20, 20)
with torch.no_grad():
    expected = theirs(images, interpolate_pos_encoding=True).last_hidden_state
    gap = (larger(images) - expected).abs().max().item()
print(f"{tuple(expected.shape)}, largest difference {gap:.0e}")
assert gap < 1e-5

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} What a smaller patch costs
# :label: ex-vision-cost
# ```
# *Medium, 15 minutes.* For a picture of 64 pixels, patches of 16, 8 and 4: how many tokens $n$, class token included, and how many multiplications has one encoder layer of width $D = 64$ with
# a hidden layer of $4D$? Which part grows with $n$, which with $n^2$, and when are they equal?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-vision-cost
# :label: so-vision-cost
# :class: dropdown
# ````
# The linear layers are $4 D^2$ (query, key, value, output) and $8 D^2$ (feed-forward) per token: $12 n D^2$. Attention multiplies $n \times n$ pairs by $D$ twice, once for the weights and once for the
# sum: $2 n^2 D$. They are equal at $n = 6 D$. Halving the patch makes $n$ four times as large, and the attention part sixteen times.

# %% tags=["nbval-check-output"]
D = 64
for P in (16, 8, 4):
    n = (64 // P) ** 2 + 1
    linear, attention = 12 * n * D**2, 2 * n**2 * D
    print(f"patch {P:2}: {n:3} tokens, linear {linear:12,}, attention {attention:12,}")
print("equal at", 6 * D, "tokens")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} A block that halves
# :label: ex-vision-halve
# ```
# *Hard, 25 minutes.* `ResidualBlock` keeps the shape. {cite:t}`he2016` also have one that halves height and width and changes the channels: the first convolution of $f$ has stride 2, and the input
# reaches the sum through a convolution with $k = 1$ and stride 2. Write `Halve(before, after)` in the order of {eq}`eq-vision-residual`, with group norms of 8 groups (so `before` and `after` are multiples of 8). Test the shape
# on an odd size, and that the block is the shortcut alone when weights and bias of the last convolution are zero.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-vision-halve
# :label: so-vision-halve
# :class: dropdown
# ````
# With $k = 3$, $p = 1$ and with $k = 1$, $p = 0$, formula {eq}`eq-vision-size` gives the same $h' = \lfloor (h - 1) / 2 \rfloor + 1$ for stride 2, so that the sum fits also for odd sizes.

# %% tags=["nbval-check-output"]
class Halve(nn.Module):
    def __init__(self, before, after):
        super().__init__()
        self.change = nn.Sequential(
            nn.GroupNorm(8, before), nn.GELU(),
            nn.Conv2d(before, after, 3, stride=2, padding=1),
            nn.GroupNorm(8, after), nn.GELU(), nn.Conv2d(after, after, 3, padding=1))
        self.shortcut = nn.Conv2d(before, after, 1, stride=2)

    def forward(self, x):
        return self.shortcut(x) + self.change(x)

block, x = Halve(8, 16), torch.randn(2, 8, 7, 10)
print(tuple(block(x).shape))
nn.init.zeros_(block.change[-1].weight)
nn.init.zeros_(block.change[-1].bias)
print("the shortcut alone:", torch.equal(block(x), block.shortcut(x)))

# %% [markdown]
# ````{solution-end}
# ````
#
# ## Quiz
#
# ::::::{card}
# :class-card: quiz
# **1.** A picture has $32 \times 32$ pixels. A convolution has $k = 5$, $s = 2$, $p = 2$. How large is the output?
#
# :::{dropdown} 14 × 14
# **No.** That is the size without padding: $\lfloor (32 - 5) / 2 \rfloor + 1$.
# :::
# :::{dropdown} 15 × 15
# **No.** Count again with {eq}`eq-vision-size`: padding adds 2 on *both* sides.
# :::
# :::{dropdown} 16 × 16
# **Yes.** $\lfloor (32 + 4 - 5) / 2 \rfloor + 1 = 15 + 1$.
# :::
# :::{dropdown} 32 × 32
# **No.** That is stride 1. The kernel moves two pixels at a time.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **2.** Why can a patch embedding be written as a convolution?
#
# :::{dropdown} Because with $k = s$ its windows are the patches
# **Yes.** Every window is one patch, and all windows share the kernels, as all patches share $E$.
# :::
# :::{dropdown} Because a convolution sees the neighbours of a patch
# **No.** This one does not: its windows do not overlap. Neighbours meet in attention only.
# :::
# :::{dropdown} Because it is followed by a Transformer
# **No.** What follows does not change what the layer computes.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **3.** You set all positions of a ViT to zero, also while training. What can it no longer learn?
#
# :::{dropdown} Whether the picture shows a cat
# **No.** A bag of patches with fur and whiskers can say that.
# :::
# :::{dropdown} How many patches of each colour there are
# **No.** Counting needs no order.
# :::
# :::{dropdown} To average the patches
# **No.** Attention with equal weights is the average, in any order.
# :::
# :::{dropdown} Whether the cat stands left of the dog
# **Yes.** The class token is the same for every order of the patches, so it is the same for both pictures (as long as patches contain no part of both).
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **4.** In a residual block you start with weights and bias of the last convolution at zero. What does the block compute before the first step?
#
# :::{dropdown} Zero
# **No.** The change is zero, but the input is added.
# :::
# :::{dropdown} Its input
# **Yes.** $y = x + 0$. A deep stack of such blocks starts as the identity.
# :::
# :::{dropdown} The normalised input
# **No.** The norm is inside $f$. If it stands on the path of $x$, we have one of the wrong wirings above.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **5.** `ViTModel(images)` gives `output`. Your friend's line `torch.cat([text, output], dim=1)` fails. What is the best repair?
#
# :::{dropdown} Import VisionTransformer from transformers
# **No.** There is no class of that name there.
# :::
# :::{dropdown} Call torch.tensor on the output
# **No.** It holds several tensors and is no table of numbers.
# :::
# :::{dropdown} Use output.last_hidden_state, and a layer for D numbers after it
# **Yes.** These are the tokens, $(B, 1 + N, D)$. Axis 1 gets longer, and the width stays $D$.
# :::
# :::{dropdown} Use dim=2
# **No.** The error remains, since `output` is still no tensor. And with tokens, axis 2 needs rows of equal number.
# :::
# ::::::
#
# ## Take-aways
#
# - Distance of pixels is not distance of things. An encoder has to be learned.
# - A convolution shares one small kernel over all places. Few weights, and what it knows about a place it knows about all places.
# - A residual block adds a learned change to its input, which gives the derivative a path that passes no weight. Addition and norm together keep the derivative of an untrained stack steadier over depth than either alone.
# - A patch embedding is one matrix for all patches, and the same as a convolution with $k = s = P$. A ViT adds a class token and positions, and the rest is the Transformer.
# - Wrong positions, rows, residuals and pixel ranges leave the shapes right. Compare with an independent implementation, then train.
#
# ## Further reading
#
# - {cite:t}`lecun1998`: convolutional networks, learned from end to end.
# - {cite:t}`he2016`: residual learning, and what happens without. {cite:t}`he2016b`: the order of our block, and what the sum does to the derivative.
# - {cite:t}`wu2018`: group normalisation, for small batches.
# - {cite:t}`luo2016`: how little of its receptive field a network uses.
# - {cite:t}`dosovitskiy2021`: the ViT. Its figure 7 compares learned positions as we did; after far more data they know rows and columns.
# - {cite:t}`raghu2021`: what layers of ViTs and of convolutional networks see, compared.
# - {cite:t}`xiao2021`: a few convolutions in place of the patch embedding make a ViT easier to train.
# - {cite:t}`zhang2019`: why a shift by one pixel changes the answer of a network with strides.
