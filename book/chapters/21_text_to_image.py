# ---
# jupyter:
#   course: {notebook: notebooks/21_text_to_image.ipynb}
# ---

# %% [markdown]
# # Text to image
#
# At the end you can turn noise into a picture of a sentence, say what each part of such a model is for, and count which facts of the sentence came true.
#
# ```{glue:figure} text_to_image_promise
# :name: fig-text_to_image-promise
# :alt: Twelve small generated pictures in three rows, each above its caption, the number of facts that came true, and of those that nobody asked for. The backgrounds are right and the things can be recognised; in several, one of two things is drawn twice.
#
# The first four held-out captions of each kind, by their index and not by eye: four scenes with new indices, four with a pair of nouns that training never showed, four with a colour on a noun that it never showed. Under each its caption, how many of the facts asked for the independent judge finds in it, and how many it finds that nobody asked for.
# ```
#
# ::::{card}
# :class-card: chapter-card
#
# **Goals**
#
# - turn pictures into tokens with a quantizer, and pass a gradient through it
# - say what DALL-E was, and correct an account that says otherwise
# - train a rectified flow in one dimension, and follow it from noise to data
# - steer a sampler by classifier-free guidance, and say what it costs
# - judge generated pictures by facts, with a judge that did not choose them
#
# **Before you start:** [GPT](04_gpt.py), [captioning](14_captioning.py), and [how facts are counted](13_evaluation.py).
#
# :::{card-footer}
# Reading {measured}`reading` min · runs in {measured}`seconds` s on two CPU cores, {measured}`megabytes` MB ·
# difficulty ●●●
# :::
# ::::

# %% tags=["remove-cell"]
import textwrap

import matplotlib.pyplot as plt
import numpy as np
import scipy.linalg
import torch
import torch.nn.functional as F
from myst_nb import glue
from torch import nn

from mmcourse.book.figures.drawing import DrawingSteps
from mmcourse.book.plotting import BLUE, GREY, ORANGE, show_images, use_style
from mmcourse.book.source import show_source
from mmcourse.data.world import WORLD_NOUNS, DrawnWorld
from mmcourse.evaluation import fact_score
from mmcourse.hub import load
from mmcourse.recipes import text_to_image_studies as studies

use_style()
torch.set_num_threads(1)


# %% tags=["remove-cell"]
def cell_of(value):
    """A share with its interval, as the tables of this page write it."""
    spelled = [f"{share:.2f}".removeprefix("0") for share in value]
    return f"{spelled[0]} ({spelled[1]} to {spelled[2]})"


# %% [markdown]
# ## Why not predict the picture?
#
# The captioner of chapter 14 learned from pairs: picture in, words out. Turn the pairs round, words in, pixels out, and train with the squared error. What would such a network draw?
#
# Our world on this page is small, so that one core can learn it: {glue:text}`text_to_image_nouns` nouns by one artist, each 24 pixels wide and in one of four places, in one group or two, on the twelve backgrounds of the course. Everything else is as in the scenes before: facts, captions, and which pairs and colours training never shows. Here is a caption that training never shows, and the picture that has the *least* squared error of all that this caption could mean: the mean of many true pictures.

# %% mystnb={"figure": {"caption": "Left: three pictures of one caption. Right: the mean of two hundred such pictures.", "name": "fig-text_to_image-mean"}, "image": {"alt": "Three clear drawings of a bell above two apples in the rain. In the mean two half-transparent bells stand side by side, and the rain is a grey haze."}}
from random import Random

world = DrawnWorld("composition")
scene = world[1]
true = [world.render(scene.description, Random(f"again/{number}"), "again").image for number in range(200)]
mean = np.mean(true, 0).astype(np.uint8)
show_images([*true[:3], mean], ["one", "another", "a third", "their mean"], columns=4);

# %% tags=["remove-cell"]
glue("text_to_image_nouns", len(WORLD_NOUNS), display=False)
glue("text_to_image_caption", scene.captions[0], display=False)

# %% [markdown]
# The caption, "{glue:text}`text_to_image_caption`", leaves open where things stand, how dark the sky is, and where the drops fall. A network that must give *one* answer gives the mean of all of them, and the mean of many right pictures is a wrong one. A model that draws must **choose**. There are two ways to it, and this page builds both:
#
# 1. make the picture a row of tokens, and let a GPT choose one after the other, each given those before (DALL-E, 2021);
# 2. begin with noise, which is the choice, and carry it by small steps to a picture (diffusion and flows, what is used since 2022).
#
# How would you find out whether "{glue:text}`text_to_image_caption`" was drawn rightly, for a thousand captions? Keep the question; the chapter answers it before it shows a result.
#
# ## Pictures as tokens
#
# An **autoencoder** is an encoder, which turns a picture into fewer numbers, and a decoder, which turns them back. A GPT writes numbers from a fixed list, so the fewer numbers must be from a list. **Vector quantization** {cite:p}`oord2017` replaces each vector by the nearest of $K$ learned vectors, the **codes**; the number of the code is the token (such an autoencoder is called a *VQ-VAE*):
#
# $$
# k(z) = \arg\min_{j} \lVert z - e_j \rVert^2, \qquad q(z) = e_{k(z)}
# $$ (eq-text_to_image-codes)
#
# | symbol | what it is | shape |
# |---|---|---|
# | $z$ | what an encoder says of a cell of the picture, 8 by 8 pixels | $C$ numbers |
# | $e_1, \dots, e_K$ | the codes, together the **codebook** | $C$ each |
# | $k(z)$ | the token of the cell | a number, 1 to $K$ (in the code from 0) |
# | $q(z)$ | what the decoder gets | $C$ |
#
# The minimum has no useful derivative: move $z$ a little, and $q(z)$ stays where it is. The way out is a lie that works: the **straight-through estimator** {cite:p}`bengio2013` says that rounding has the slope of the identity. With $\operatorname{sg}$ for "stop the gradient here", that is one line:
#
# $$
# \tilde q = z + \operatorname{sg}[\, q(z) - z \,]
# $$ (eq-text_to_image-through)
#
# Its value is $q(z)$, its derivative by $z$ is 1. The codes get no gradient at all. They follow the vectors that choose them, by running means with a decay $\gamma$; $m_j$ is how many vectors of the batch chose code $j$, and $z_i$ are these vectors:
#
# $$
# n_j \leftarrow \gamma n_j + (1 - \gamma)\, m_j, \qquad s_j \leftarrow \gamma s_j + (1 - \gamma) \sum_{i:\, k(z_i) = j} z_i, \qquad e_j = s_j / n_j
# $$ (eq-text_to_image-averages)
#
# And a **commitment loss**, $\beta \lVert z - \operatorname{sg}[q(z)] \rVert^2$, pulls the encoder's vectors towards their codes, so that they do not run away from them ($\beta = 0.25$).
#
# ### On paper
#
# Two codes in one dimension, $e_1 = 0$ and $e_2 = 4$, each with $n = 1$ and $s = e$, and $\gamma = 0.5$. A batch brings $1$, $5$ and $7$. The first is nearer to 0, the others to 4. So $m_1 = 1$, $m_2 = 2$, and
#
# - $n_1 = 0.5 + 0.5 = 1$, $s_1 = 0 + 0.5 \cdot 1 = 0.5$, so $e_1 = 0.5$;
# - $n_2 = 0.5 + 0.5 \cdot 2 = 1.5$, $s_2 = 0.5 \cdot 4 + 0.5 \cdot 12 = 8$, so $e_2 = 5.33$.
#
# Each code went half the way to the mean of its vectors, or a little more where many came. In the plainest code:

# %% tags=["nbval-check-output"]
from mmcourse.text_to_image import VectorQuantizer, straight_through


def one_update(codes, vectors, decay=0.5):
    """Codes after a batch, all numbers."""
    after = []
    for number, code in enumerate(codes):
        mine = [z for z in vectors if min(range(len(codes)), key=lambda j: (z - codes[j]) ** 2) == number]
        n = decay * 1 + (1 - decay) * len(mine)
        s = decay * code + (1 - decay) * sum(mine)
        after.append(s / n)
    return after


quantizer = VectorQuantizer(2, 1, decay=0.5)
quantizer.codebook.copy_(torch.tensor([[0.0], [4.0]]))
quantizer.sums.copy_(quantizer.codebook)
quantizer(torch.tensor([[1.0], [5.0], [7.0]]))
print("plain:  ", [round(code, 4) for code in one_update([0.0, 4.0], [1.0, 5.0, 7.0])])
print("package:", quantizer.codebook.flatten().tolist())
assert torch.allclose(quantizer.codebook.flatten(), torch.tensor(one_update([0.0, 4.0], [1.0, 5.0, 7.0])))

# %% tags=["remove-input"]
show_source(VectorQuantizer.follow)

# %% tags=["remove-input"]
show_source(straight_through)

# %% [markdown]
# The reference is a second implementation, in loops over NumPy, which the tests hold against the package for three odd shapes. Here we check the slope, against the definition: the derivative of a loss $\mathcal{L}(\tilde q)$ by $z$ must be the derivative by $q$, plus that of the commitment loss.

# %% tags=["nbval-check-output"]
torch.manual_seed(0)
quantizer = VectorQuantizer(5, 3).double().eval()
z = torch.randn(7, 3, dtype=torch.float64, requires_grad=True)
target = torch.randn(7, 3, dtype=torch.float64)
codes, tokens, commitment = quantizer(z)
(F.mse_loss(codes, target) + commitment).backward()
q = quantizer.codebook[tokens]
by_hand = 2 * (q - target) / 21 + 0.25 * 2 * (z.detach() - q) / 21
print("largest difference below 1e-12:", (z.grad - by_hand).abs().max().item() < 1e-12)

# %% [markdown]
# ### What becomes of a codebook
#
# A code that nothing chooses never moves, and so is hardly ever chosen later. When most codes are dead, the pictures get blurred however many codes there are on paper: the codebook has **collapsed**. The measure is the perplexity of the tokens: $K$ when all codes are used equally, 1 when one is used alone. A cure is to put an idle code on a vector of the batch, drawn at random (as *Jukebox* does, {cite:t}`dhariwal2020`). We trained a small autoencoder with 256 codes for {glue:text}`text_to_image_code_steps` steps, with three seeds each; one change at a time.

# %% tags=["hide-input"]
rows = studies.read("codes")["rows"]
print(f"{'arm':22}{'codes used':>12}{'perplexity':>20}{'error of a pixel, of 255':>28}")
for arm in dict.fromkeys(row["arm"] for row in rows):
    mine = [row for row in rows if row["arm"] == arm]
    used = [row["used"] for row in mine]
    spread = {name: [row[name] for row in mine] for name in ("perplexity", "error")}
    print(f"{arm:22}{np.mean(used):12.0%}"
          f"{min(spread['perplexity']):10.0f} to {max(spread['perplexity']):3.0f}"
          f"{min(spread['error']):20.1f} to {max(spread['error']):.1f}")

# %% tags=["remove-cell"]
glue("text_to_image_code_steps", studies.read("codes")["steps"], display=False)
for name, arm in (("plain", "as they are"), ("revived", "idle codes revived"), ("free", "without commitment")):
    mine = [row for row in rows if row["arm"] == arm]
    glue(f"text_to_image_used_{name}", float(np.mean([row["used"] for row in mine])), display=False)
    glue(f"text_to_image_error_{name}", float(np.mean([row["error"] for row in mine])), display=False)

# %% [markdown]
# From {glue:text}`text_to_image_used_plain:.0%` of the codes in use to {glue:text}`text_to_image_used_revived:.0%`, by reviving alone; the mean error of a pixel goes from {glue:text}`text_to_image_error_plain:.1f` to {glue:text}`text_to_image_error_revived:.1f`. (Ranges are over the three seeds, which is few: they say what happened, not how far it could go.) Without the commitment loss more codes are used ({glue:text}`text_to_image_used_free:.0%`), and yet the error is larger ({glue:text}`text_to_image_error_free:.1f`), in all three seeds. We guess that vectors which are not pulled to their codes lie farther off from them. Whether that holds in a longer training, or without the batch norm that stands before our codes, we have not tried.
#
# ## DALL-E as it really was
#
# With pictures as tokens, text to image is a language model. The sentence has words $w_1, \dots, w_T$, the picture has codes $c_1, \dots, c_N$, row by row, and a GPT reads one after the other:
#
# $$
# p(w, c) = \prod_{t=1}^{T} p(w_t \mid w_{<t}) \, \prod_{n=1}^{N} p(c_n \mid w, c_{<n})
# $$ (eq-text_to_image-gpt)
#
# This is DALL-E {cite:p}`ramesh2021`: a **discrete variational autoencoder** turns 256 by 256 pixels into 32 by 32 tokens out of 8,192, and a decoder-only Transformer of 12 billion parameters reads up to 256 tokens of text and writes 1,024 of the picture. The loss weighs text by 1/8 and picture by 7/8. Where we take the nearest code and a straight-through gradient, its encoder gives probabilities over the codes and training relaxes the choice with the **Gumbel-softmax** {cite:p}`jang2017`: a softmax of logits plus random numbers, which comes near to a hard choice as a temperature falls. (The noise is $-\log(-\log u)$, with $u$ drawn evenly between 0 and 1.) Of many pictures that it drew, CLIP (chapter 10) chose the ones to show.
#
# :::{admonition} An article, corrected
# [An article that this course corrects](articles.py) describes DALL-E as "DETR for pictures plus BERT for text", and loads it by `AutoModel.from_pretrained('openai/dall-e')`. DETR is a detector and BERT an encoder; neither is in DALL-E, and neither can write a token. OpenAI published the discrete autoencoder, not the Transformer, and `transformers` knows no such kind of model. And what a GPT generates are numbers: until a decoder has turned them into pixels, `image.show()` has nothing to show.
# :::
#
# Ours is the GPT of chapter 4 with a vocabulary of words and 512 codes, and 64 codes a picture:

# %% tags=["remove-input"]
from mmcourse.text_to_image import PictureGPT

show_source(PictureGPT.loss)

# %% mystnb={"figure": {"caption": "What our GPT over codes draws for the first captions of the held-out kinds, decoded here from its stored tokens: backgrounds, and hardly a thing. How many facts are true stands in the table further down.", "name": "fig-text_to_image-gpt"}, "image": {"alt": "Eight small generated pictures, made of 64 coarse cells each, under their captions."}} tags=["hide-input"]
from mmcourse.text_to_image import to_images

samples = studies.read("samples")["rows"]
picture_codes = load("picture_codes")
with torch.no_grad():
    drawn = picture_codes.decode(torch.tensor([row["codes"] for row in samples]).view(-1, 8, 8))
titles = [textwrap.fill(row["caption"], 24) for row in samples]
figure = show_images(list(to_images(drawn).numpy()), titles, columns=4, size=1.7)
for axes in figure.axes:
    axes.title.set_fontsize(6)

# %% [markdown]
# ## From noise to data, in one dimension
#
# The second way needs no tokens. Let $x_1$ be a piece of data, a number for now, and $x_0$ a number of noise, drawn from a normal distribution. Join them by a straight line, along which a time $t$ runs from 0 to 1:
#
# $$
# x_t = (1 - t)\, x_0 + t\, x_1
# $$ (eq-text_to_image-line)
#
# Whoever moves along it has the velocity $x_1 - x_0$. A **rectified flow** {cite:p}`liu2023flow,lipman2023` (the second call it *flow matching*) is a function $v(x, t)$ that is trained to say that velocity, from the place and the time alone:
#
# $$
# \mathcal{L} = \mathbb{E}_{x_0,\, x_1,\, t}\; \lVert\, v(x_t, t) - (x_1 - x_0) \,\rVert^2
# $$ (eq-text_to_image-flow)
#
# The time $t$ is drawn between 0 and 1; our code draws it more often in the middle, as {cite:t}`esser2024` do, and can move that middle (`shift`, which is 1 until pictures come). Noise and data are paired at random. So through one place run many lines in different directions, and the best that $v$ can do is their mean. Here is the whole idea: **the mean direction, blurred as it is, is good enough to move a small step.** After the step we ask again, and nearer to the data fewer lines cross. The sampler takes $J$ such steps (**Euler's method**):
#
# $$
# x_{t + 1/J} = x_t + \tfrac{1}{J}\, v(x_t, t)
# $$ (eq-text_to_image-euler)
#
# ### On paper
#
# Let the data be $-1$ or $+1$, equally often. At $t = 0.5$ we stand at $x = 0.5$. Which lines come through here? One ends in $+1$ and began at $x_0 = (x - t)/(1 - t) = 0$; the other ends in $-1$ and began at $x_0 = (x + t)/(1 - t) = 2$. Noise of 0 is more probable than noise of 2, by $e^0$ against $e^{-2^2/2} = 0.1353$, so the first has the probability $1/1.1353 = 0.8808$. Their velocities are $1 - 0 = 1$ and $-1 - 2 = -3$. The mean is $0.8808 \cdot 1 + 0.1192 \cdot (-3) = 0.523$: on to the right, but slower than the line to $+1$.

# %% tags=["nbval-check-output"]
def velocity(x, t, condition=None, points=(-1.0, 1.0)):
    """The mean velocity of all lines through x (n,) at the times t (n,), for data of two points."""
    chance, speed = [], []
    for point in points:
        start = (x - t * point) / (1 - t)  # where the line to this point began
        chance.append((-start.square() / 2).exp())
        speed.append(point - start)
    return (chance[0] * speed[0] + chance[1] * speed[1]) / (chance[0] + chance[1])


print(f"{velocity(torch.tensor([0.5]), torch.tensor([0.5])).item():.3f}")

# %% [markdown]
# Now we follow this velocity from forty numbers of noise. The sampler is the package's, the one that will draw pictures:

# %% tags=["remove-input"]
from mmcourse.text_to_image import RectifiedFlow

show_source(RectifiedFlow.loss)

# %% tags=["remove-input"]
show_source(RectifiedFlow.path)

# %% mystnb={"figure": {"caption": "Left: straight lines between noise and data, paired at random, cross. Right: the paths that the mean velocity gives do not cross, and end in the data.", "name": "fig-text_to_image-lines"}, "image": {"alt": "Left panel: forty straight lines from scattered points to minus one or plus one, crossing each other. Right panel: forty curves that part in the middle and run to the two points without crossing."}}
torch.manual_seed(0)
noise = torch.randn(40).sort().values
data = torch.randint(2, (40,)) * 2.0 - 1
paths = torch.stack(RectifiedFlow(velocity).path(noise, steps=50))  # (51, 40)
figure, axes = plt.subplots(1, 2, figsize=(7.2, 2.6), sharey=True)
axes[0].plot([0, 1], torch.stack([noise, data]), color=GREY, linewidth=0.7)
axes[1].plot(torch.linspace(0, 1, 51), paths, color=BLUE, linewidth=0.7)
axes[0].set(title="lines of the training", xlabel="t", ylabel="x")
axes[1].set(title="paths of the flow", xlabel="t");

# %% [markdown]
# Two paths of the exact flow cannot cross, since at one place and time there is one velocity (large steps of Euler's method can jump over that). So the flow sorts the noise: what lies right of 0 goes to $+1$. It never saw such a pairing; it came out of the mean.
#
# ### Against a solution that is known
#
# When the data are normal with mean $m$ and spread $s$, the mean velocity can be written down, and so can the path: $x_t = t\,m + \sqrt{(1-t)^2 + t^2 s^2}\; x_0$ (an exercise). If all data are one point, $s = 0$, the path is a straight line and one step is exact. Otherwise Euler's method makes an error that halves when the steps are doubled:

# %% tags=["nbval-check-output"]
def normal_velocity(m, s):
    def velocity(x, t, condition=None):
        slope = (t * s**2 - (1 - t)) / ((1 - t) ** 2 + (t * s) ** 2)
        return m + slope * (x - t * m)
    return velocity


x0 = torch.linspace(-2, 2, 9, dtype=torch.float64)
one_point = RectifiedFlow(normal_velocity(3.0, 0.0)).sample(x0, steps=1)
print("one point, one step: exact to 1e-12:", (one_point - 3).abs().max().item() < 1e-12)
errors = {}
for steps in (50, 100, 200, 400):
    found = RectifiedFlow(normal_velocity(2.0, 0.5)).sample(x0, steps=steps)
    errors[steps] = (found - (2 + 0.5 * x0)).abs().max().item()
print("error of", {steps: round(error, 4) for steps, error in errors.items()})
assert 1.9 < errors[200] / errors[400] < 2.1

# %% [markdown]
# ### A network learns the velocity
#
# Nobody can write down the velocity between noise and pictures. But equation {eq}`eq-text_to_image-flow` only asks for samples. A network of three layers, told $x$ and $t$, learns the velocity of the two points from them:

# %%
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1))


def learned(x, t, condition=None):
    return net(torch.stack([x, t], -1))[..., 0]


flow = RectifiedFlow(learned)
optimizer = torch.optim.Adam(net.parameters(), 3e-3)
for _ in range(1500):
    loss = flow.loss(torch.randint(2, (256,)) * 2.0 - 1)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
made = flow.sample(torch.randn(2000), steps=50)
near = ((made.abs() - 1).abs() < 0.1).double().mean()
print(f"of 2,000 samples {near:.0%} lie within 0.1 of a point, {(made > 0).double().mean():.0%} on the right")
points = torch.randint(2, (200_000,)) * 2.0 - 1
with torch.no_grad():
    losses = [one.loss(points).item() for one in (flow, RectifiedFlow(velocity))]
print(f"loss of the network {losses[0]:.2f}, of the exact mean velocity {losses[1]:.2f}")

# %% tags=["remove-cell"]
glue("text_to_image_near", float(near), display=False)
glue("text_to_image_last_loss", losses[0], display=False)
glue("text_to_image_exact_loss", losses[1], display=False)

# %% [markdown]
# The loss stays at {glue:text}`text_to_image_last_loss:.2f`. The exact mean velocity, the best that there is, has {glue:text}`text_to_image_exact_loss:.2f`: nearly all that is left is lines that cross, for no function of place and time can say each line's own velocity. And yet the network still has something to learn, as {glue:text}`text_to_image_near:.0%` of its samples are near a point, where the exact velocity brings all. **The loss of a flow says how much the lines cross, plus what is still to be learned**; that it stops falling does not mean that it stopped learning.
#
# ## The same with pictures
#
# Five things are added, and none of them changes the idea.
#
# **Latents.** A picture is 12,288 pixel values, of which much is detail that nobody misses. So $x_1$ is not the picture but its **latents**, what an autoencoder makes of it (**latent diffusion**, {cite:t}`rombach2022`). Our encoder is as plain as can be: each cell of 8 by 8 pixels is 192 numbers, and we keep their first 48 principal components (around grey, and with things counting twenty times as much as background). The decoder began as the same linear map backwards, with convolutions that look at the neighbours and correct it, and was trained.
#
# **A Transformer that guesses the data.** The picture is cut into 16 patches of 2 by 2 cells, which stand behind the caption's words in one sequence: a small **DiT** {cite:p}`peebles2023`. A patch is 192 numbers, as many as our network is wide. Noise fills all of them, and a velocity $x_1 - x_0$ holds the noise, so that the network would have to carry every number through. The data are simpler than that. So the network says $\hat x_1$, what the noise will become, and the velocity leads straight there:
#
# $$
# v(x_t, t) = \frac{\hat x_1(x_t, t) - x_t}{1 - t}
# $$ (eq-text_to_image-guess)
#
# On a line from $x_0$ to $x_1$ this is $x_1 - x_0$ when the guess is right. (In the code $1 - t$ counts as 0.05 at least, so that nothing is divided by zero.) The loss stays that of the velocity. {cite:t}`li2025` argue for this guess where a patch holds many numbers, and we measure below what it does here.
#
# **The time and the words**, which scale and shift what each layer reads, and gate what it adds (**adaptive norm**). A sublayer is the attention or the feed-forward network of a layer, $h$ are the states after the layer norm, and $\odot$ multiplies number by number. A small network makes the vectors $a$, $b$ and $g$, three for each sublayer, of $c$: the time, plus the sum of the caption's words without their order (divided by the root of their number), as {cite:t}`esser2024` add the two. To these vectors each layer adds a learnt table of its own:
#
# $$
# x \leftarrow x + g(c) \odot \operatorname{sublayer}\big( h \odot (1 + a(c)) + b(c) \big)
# $$ (eq-text_to_image-modulation)

# %% tags=["remove-input"]
from mmcourse.text_to_image.denoiser import TimedLayer

show_source(TimedLayer.forward)

# %% [markdown]
# **The times that matter.** At which time is it decided what stands in the picture? Take two pictures that differ in one noun only, with latents $x$ and $y$. An observer who knows both of them, and sees $x_t$, must say which it is. At $t$ the two are $t\,\lVert x - y \rVert$ apart, and the noise has the spread $1 - t$ in every direction. The best that anybody can do is to say the nearer one, and with the cumulative normal distribution $\Phi$ the share of errors is
#
# $$
# \Phi\!\left( - \frac{t\, \lVert x - y \rVert}{2\,(1 - t)} \right)
# $$
#
# On paper: two pictures at a distance of 27 and $t = 0.1$ give $0.1 \cdot 27 / (2 \cdot 0.9) = 1.5$, and $\Phi(-1.5) = 0.07$. To the eye that picture is noise. Here are all pairs of our nouns, at the same place on the same background:

# %% mystnb={"figure": {"caption": "Solid: the share of pairs of nouns that the best observer confuses, on average over all pairs. Dashed: how much of the training is spent before that time, without a shift and with a shift of 6.", "name": "fig-text_to_image-decided"}, "image": {"alt": "Against the time from 0 to 0.6: the share of errors falls from a half to nearly nothing by 0.2. One dashed curve, without shift, has hardly risen there; the other, shifted, is at two thirds."}}
from mmcourse.data.language import Description, Group
from mmcourse.text_to_image import shifted
from mmcourse.vision import to_pixels

model = load("text_to_image")
world = DrawnWorld()
alone = [Description((Group(noun, 1, None),), None, "snow") for noun in WORLD_NOUNS]
pictures = np.stack([world.render(one, Random("same"), "same").image for one in alone])
latents = model.autoencoder.encode(to_pixels(torch.from_numpy(pictures))).flatten(1)  # (40, 3072)
apart = torch.pdist(latents)  # (780,)
normal = torch.distributions.Normal(0, 1)
times = torch.linspace(0, 0.6, 61)
errors = torch.stack([normal.cdf(-t * apart / (2 * (1 - t))).mean() for t in times])
drawn = torch.randn(100_000).sigmoid()
figure, axes = plt.subplots(figsize=(6, 2.6))
axes.plot(times, errors, color=BLUE)
for shift in (1, 6):
    spent = [(shifted(drawn, shift) < t).float().mean() for t in times]
    axes.plot(times, spent, "--", color=ORANGE if shift == 6 else GREY)
    axes.annotate(f"shift {shift}", (0.42, spent[42] - 0.12))
axes.set(xlabel="t", ylim=(0, 1))
for t in (0.05, 0.1, 0.2):
    share = {shift: (shifted(drawn, shift) < t).float().mean() for shift in (1, 6)}
    print(f"t = {t:.2f}: {errors[round(100 * t)]:6.1%} confused; before it lie "
          f"{share[1]:.0%} of the times without a shift, {share[6]:.0%} with one")

# %% tags=["remove-cell"]
glue("text_to_image_confused", float(errors[20]), display=False)
glue("text_to_image_early_plain", float((drawn < 0.2).float().mean()), display=False)
glue("text_to_image_early_shifted", float((shifted(drawn, 6) < 0.2).float().mean()), display=False)

# %% [markdown]
# By $t = 0.2$, when a picture is still four parts noise, the best observer confuses {glue:text}`text_to_image_confused:.1%` of the pairs: **what is drawn is decided before the noise looks like anything**. (The network is not told the two pictures, so for it the hour comes later, if anything; how much, we did not measure.) After that the noisy picture itself says what it is, and the caption is hardly needed. So the times from which the caption can be learned are the early ones, and drawn around the middle only {glue:text}`text_to_image_early_plain:.0%` of them are. {cite:t}`esser2024` move the times for large pictures, of which each part is seen through much noise and all of them together through little:
#
# $$
# t' = \frac{t}{t + s\,(1 - t)}
# $$ (eq-text_to_image-shift)
#
# (written for our direction of time; this $s$ is the shift, not a spread). With $s = 6$ the early times are {glue:text}`text_to_image_early_shifted:.0%`. The sampler's steps are moved alike: small ones while it is decided what the picture shows, large ones while it is painted.
#
# **Guidance.** In training, one caption in ten is replaced by a token for *no caption*. So one network knows two velocities: $v_c$ for the caption and $v_\varnothing$ for any picture. **Classifier-free guidance** {cite:p}`ho2022guidance` exaggerates their difference:
#
# $$
# v_g = v_\varnothing + g\,(v_c - v_\varnothing)
# $$ (eq-text_to_image-guidance)
#
# Here $g$ is a number, the guidance, and no longer the gate of {eq}`eq-text_to_image-modulation`; the $w$ of its authors is $g - 1$. $g = 1$ is the caption's velocity, $g = 0$ that of no caption; above 1 the picture is pushed to where it is *more* like the caption than like other pictures. On paper: $v_c = (2, 0)$, $v_\varnothing = (1, 1)$ and $g = 3$ give $(1, 1) + 3 \cdot (1, -1) = (4, -2)$. The price is a second pass, and what we measure below.

# %% tags=["nbval-check-output"]
from mmcourse.text_to_image import guided

v_c, v_none = torch.tensor([2.0, 0.0]), torch.tensor([1.0, 1.0])
print({g: guided(v_c, v_none, g).tolist() for g in (0, 1, 3)})
assert guided(v_c, v_none, 1) is v_c and guided(v_c, v_none, 0) is v_none  # exactly, without rounding

# %% [markdown]
# We load the shipped model and draw a caption of our own. From the command line it is `mmcourse draw "two red cars in the snow"`.

# %% mystnb={"figure": {"caption": "One caption with four seeds: other noise, another picture, though not always a very different one.", "name": "fig-text_to_image-seeds"}, "image": {"alt": "Four small generated pictures, each of two red cars in the snow. Three of them are nearly alike."}}
for name in ("autoencoder", "denoiser"):
    numbers = sum(part.numel() for part in getattr(model, name).parameters())
    print(f"{name}: {numbers / 1e6:.2f} million parameters")
drawn = model.draw(["two red cars in the snow"] * 4, seed=0)
show_images(drawn, columns=4, size=1.5);

# %% [markdown]
# A word that it does not know it refuses, and so it does more than three things, with what to do. (A caption of known words may still ask for what it never saw.)

# %% tags=["nbval-check-output"]
for caption in ("two flamingos at sea", "a volcano at night", "", "一只狗在雪地里", "dog " * 10_000):
    try:
        model.draw(caption)
    except ValueError as error:
        print(f"{caption[:20]!r}: {str(error).split('. It draws')[0][:65]}")

# %% [markdown]
# ## Judged by facts
#
# Here is the answer to the question of the beginning. A captioner reads the generated picture, and `fact_score` (chapter 13) compares what it reads with the scene that the caption describes: objects, counts, colours, relations, background. **Precision** is the share of what the judge reads that was asked for; **recall** is the share of what was asked for that the judge reads.
#
# A judge can be wrong, and it can be fooled. So there are two:
#
# - the captioner of chapter 14, which knows 325 nouns and saw this artist among others;
# - an **independent judge**: a small convolutional network that finds centres of things. It shares the drawings and the painter of backgrounds with what draws, since these are the world, but no weights and no training pictures. It saw things on any pixel and in sizes around ours, blurred and noisy, and the held-out pairs and colours too, so that a new combination is not harder *for the judge*. It chose no setting of these tables. But its readings of other captions decided how the flow is trained, and before that how the world looks: things once stood anywhere, which was not learned.
#
# What a judge says of *true* pictures is the first row of the table. What it says of true pictures that went through the autoencoder is the second: no flow over these latents can be expected to do better. Three rows are cheap: the training picture whose facts agree best with the caption; the background of the caption with nothing on it; and the flow's pictures, each judged by the *next* caption, which is what chance agrees on. *Autoencoder only* and *codes only* are true pictures, encoded and decoded again; the second is the ceiling of the GPT.
#
# All scenes are held out, {glue:text}`text_to_image_captions` of each kind. A *new index* is a new picture but seldom a new description: {glue:text}`text_to_image_seen_index` of its {glue:text}`text_to_image_captions` were described in training too, nearly all that have one kind of thing. What the other two kinds say was never said in training. The flow (10 steps, guidance 2) and the GPT draw each caption with {glue:text}`text_to_image_sample_seeds` seeds, of which the captioner, which is slow, reads the first. Intervals are resampled by caption (where all or none are right they have no width; what none of {glue:text}`text_to_image_all_captions` captions showed may still hold for {glue:text}`text_to_image_unseen:.1%` of such captions, by Clopper and Pearson's exact interval {cite:p}`clopper1934`). The seeds overlap (a picture of seed 1 begins with the noise of the next picture of seed 0), so there are fewer noises than pictures. There is one training of each model, and the intervals do not say what another would give.

# %% tags=["hide-input"]
table = studies.read("table")
scores = {(r["arm"], r["judge"], r["group"], r["kind"]): r for r in table["rows"] if "judge" in r}
extra = {r["arm"]: r for r in table["rows"] if "frechet" in r}
NAMES = {"true pictures": "true pictures", "autoencoder": "autoencoder only",
         "codes": "codes only", "nearest training caption": "nearest caption",
         "background alone": "background alone", "flow, next caption": "flow, next caption",
         "GPT": "GPT over codes", "flow": "flow"}
ARMS = [arm for arm in NAMES if arm in extra]
SIDES = [(kind, what) for kind in ("object", "all") for what in ("precision", "recall")]
for judge in ("independent", "captioner"):
    print(f"by the {judge} judge" if judge == "independent" else "\nby the captioner of chapter 14")
    print(f"{'':20}{'things: precision':>18}{'recall':>18}{'facts: precision':>18}{'recall':>18}")
    for arm in ARMS:
        line = [cell_of(scores[arm, judge, "all", kind][what]) for kind, what in SIDES]
        print(f"{NAMES[arm]:20}" + "".join(f"{one:>18}" for one in line))

# %% tags=["remove-cell"]
glue("text_to_image_captions", table["captions"], display=False)
glue("text_to_image_unseen", 1 - 0.025 ** (1 / (3 * table["captions"])), display=False)
glue("text_to_image_sample_seeds", table["seeds"], display=False)
for arm in ARMS:
    short = {"flow, next caption": "chance"}.get(arm, arm.split()[0].lower())
    for judge in ("independent", "captioner"):
        for kind in ("object", "all", "relation", "background"):
            for what in ("precision", "recall"):
                value = scores[arm, judge, "all", kind][what][0]
                glue(f"text_to_image_{short}_{judge}_{kind}_{what}", value, display=False)
glue("text_to_image_flow_steps", table["trained_on"]["flow"] // 64, display=False)
glue("text_to_image_flow_pictures", table["trained_on"]["flow"], display=False)
for kind in ("colour", "count"):
    glue(f"text_to_image_pure_{kind}", scores["flow", "independent", "all", kind]["precision"][0], display=False)
glue("text_to_image_gpt_share", table["trained_on"]["GPT"] / table["trained_on"]["flow"], display=False)
glue("text_to_image_seen_index", studies.read("novelty")["rows"][0]["shown"], display=False)
goals = {"object": 0.70, "all": 0.60}
least = {kind: min(scores["flow", "independent", "all", kind][what][0] for what in ("precision", "recall"))
         for kind in goals}
reached = {kind: least[kind] >= goal for kind, goal in goals.items()}
verdict = {(True, True): "Both are reached.", (True, False): "The first is reached, the second is missed.",
           (False, True): "The first is missed, the second is reached.", (False, False): "Both are missed."}
glue("text_to_image_verdict", verdict[reached["object"], reached["all"]], display=False)

# %% [markdown]
# Before the training we set two goals for the flow, by the independent judge: precision of objects at least 0.70, of all facts at least 0.60. {glue:text}`text_to_image_verdict` It has {glue:text}`text_to_image_flow_independent_object_precision:.2f` and {glue:text}`text_to_image_flow_independent_all_precision:.2f`. **Precision alone asks for little**: the background with nothing on it has {glue:text}`text_to_image_background_independent_all_precision:.2f` in all facts, more than the nearest training caption, and a recall of {glue:text}`text_to_image_background_independent_all_recall:.2f`. So we count a goal as reached only if recall reaches it as well, a rule that was added after a first measurement and changes nothing here.
#
# What fails most is not the drawing of things but **which thing goes where**. Backgrounds come true ({glue:text}`text_to_image_flow_independent_background_precision:.2f`), objects mostly; counts have {glue:text}`text_to_image_pure_count:.2f`, colours {glue:text}`text_to_image_pure_colour:.2f` and relations {glue:text}`text_to_image_flow_independent_relation_precision:.2f` (a count, a colour or a relation is true only with its noun). Look at the first figure: things are drawn twice where two different ones were asked for, a colour goes to both, and left and right are exchanged. (Of a large model {cite:t}`ramesh2022` say that it is weak at tying attributes to the right things.) Judged by the next caption, the same pictures have {glue:text}`text_to_image_chance_independent_object_precision:.2f` of the objects, which is what chance gives. The judge reads true pictures nearly without error, also through the autoencoder, so what is missing is the flow's, unless this judge misreads pictures that are not quite true.
#
# **The judges differ.** The captioner gives the flow {glue:text}`text_to_image_flow_captioner_object_precision:.2f` of the objects, the independent judge {glue:text}`text_to_image_flow_independent_object_precision:.2f`; through the codes, where pictures are coarse, they find {glue:text}`text_to_image_codes_captioner_object_precision:.2f` and {glue:text}`text_to_image_codes_independent_object_precision:.2f`. The captioner chooses among eight times as many nouns, which may be a reason; by the autoencoder's blur alone it loses little ({glue:text}`text_to_image_autoencoder_captioner_object_precision:.2f` against {glue:text}`text_to_image_true_captioner_object_precision:.2f`). Which of them is right about a doubtful picture nobody has checked by eye. So read the rows of models as what *this* judge says.
#
# The nearest training caption has a precision of {glue:text}`text_to_image_nearest_independent_all_precision:.2f` in all facts (and a recall of {glue:text}`text_to_image_nearest_independent_all_recall:.2f`: it leaves out what it has not), without a model that draws. The flow has {glue:text}`text_to_image_flow_independent_all_precision:.2f` and {glue:text}`text_to_image_flow_independent_all_recall:.2f`: over all facts together it does not beat looking up. A world as small as this one can be looked up. That is a warning: **a score of facts does not ask whether anything was made.** Where the combination is new, look at the rows by kind:

# %% tags=["hide-input"]
for what in ("precision", "recall"):
    print(f"{f'all facts: {what}':26}" + "".join(f"{group:>22}" for group in studies.GROUPS))
    for arm in ("true pictures", "nearest training caption", "GPT", "flow"):
        line = [cell_of(scores[arm, "independent", group, "all"][what]) for group in studies.GROUPS]
        print(f"{NAMES[arm]:26}" + "".join(f"{one:>22}" for one in line))
    print()
print(f"{'the flow, by fact':26}{'precision':>22}{'recall':>22}")
for kind in studies.KINDS:
    row = scores["flow", "independent", "all", kind]
    print(f"{kind:26}{cell_of(row['precision']):>22}{cell_of(row['recall']):>22}")

# %% tags=["remove-cell"]
for group in studies.GROUPS:
    for arm in ("flow", "nearest training caption"):
        short = f"{arm.split()[0]}_{group.replace(' ', '_')}"
        glue(f"text_to_image_{short}", scores[arm, "independent", group, "all"]["precision"][0], display=False)
        glue(f"text_to_image_recall_{short}", cell_of(scores[arm, "independent", group, "all"]["recall"]), display=False)

# %% [markdown]
# On new indices the flow has {glue:text}`text_to_image_flow_new_index:.2f`, on new pairs {glue:text}`text_to_image_flow_new_pair:.2f`, on new colours {glue:text}`text_to_image_flow_new_binding:.2f`; the nearest training caption {glue:text}`text_to_image_nearest_new_index:.2f`, {glue:text}`text_to_image_nearest_new_pair:.2f` and {glue:text}`text_to_image_nearest_new_binding:.2f`. **What is looked up leaves out what is new**, as the recall shows: on new pairs the nearest caption has {glue:text}`text_to_image_recall_nearest_new_pair`, since no training picture holds both things, and the flow {glue:text}`text_to_image_recall_flow_new_pair`. That is the flow's one clear win in this table: its precision is below that of looking up in all three columns, and so is its recall on new indices; on new colours the two recalls cannot be told apart. The three kinds of caption differ in more than novelty (a new pair always has two things, a new index often one), so the columns should be read downwards, arm against arm.
#
# The GPT has {glue:text}`text_to_image_gpt_independent_object_precision:.2f` of the objects, where chance has {glue:text}`text_to_image_chance_independent_object_precision:.2f`, and {glue:text}`text_to_image_gpt_independent_background_precision:.2f` of the backgrounds: it has learned backgrounds, and no things. The race is not a fair one: in training the GPT was shown {glue:text}`text_to_image_gpt_share:.0%` as many pictures as the flow, its pictures are made of 512 codes whose own reconstructions the judge reads with {glue:text}`text_to_image_codes_independent_object_precision:.2f` of the objects right, and only the flow's recipe was changed after trials (see below). It shows what the way is, not how far it goes.
#
# ### What each part is worth
#
# An earlier form of this model guessed the velocity of single cells, drew its times around one half, told its norms the time alone and was trained by AdamW. In forty minutes it learned backgrounds, and patches of colour where things should be; both goals were missed by far. Then, in trials of seven minutes that sixty other captions judged, five parts were changed, some of them at once, which explains little. So here three of the five are taken away, each alone, in a training of {glue:text}`text_to_image_arms_steps` steps (the real one has {glue:text}`text_to_image_flow_steps:,`), with one seed; {glue:text}`text_to_image_arms_captions` held-out captions that are in no other table, the independent judge. The last part is the optimizer: **Muon** {cite:p}`jordan2024`, which makes all directions of a matrix's update about equally strong, and is meant for the matrices of hidden layers; AdamW keeps the rest.

# %% tags=["hide-input"]
found = studies.read("arms")
print(f"{'':26}{'loss':>7}{'things: precision':>21}{'recall':>17}{'facts: precision':>19}")
for row in found["rows"]:
    line = f"{row['arm']:26}{row['loss']:7.3f}{cell_of(row['objects']):>21}"
    print(f"{line}{cell_of(row['objects recalled']):>17}{cell_of(row['facts']):>19}")

# %% tags=["remove-cell"]
arms = {row["arm"]: row["objects"][0] for row in found["rows"]}
glue("text_to_image_arms_steps", found["steps"], display=False)
glue("text_to_image_arms_captions", found["captions"], display=False)
names = ["shipped", "adamw_fast", "adamw_slow", "unshifted", "velocity"]
for name, value in zip(names, arms.values(), strict=True):
    glue(f"text_to_image_arm_{name}", value, display=False)

# %% [markdown]
# This is early in the training, and with few captions the intervals are wide. Guessing the velocity ({glue:text}`text_to_image_arm_velocity:.2f` of the objects against {glue:text}`text_to_image_arm_shipped:.2f`) and AdamW at its lower rate ({glue:text}`text_to_image_arm_adamw_slow:.2f`) lie apart from the shipped recipe; AdamW at the higher rate ({glue:text}`text_to_image_arm_adamw_fast:.2f`) and times without a shift ({glue:text}`text_to_image_arm_unshifted:.2f`) are lower too, but by less than these numbers can tell. (Chance had {glue:text}`text_to_image_chance_independent_object_precision:.2f` in the table above, so the lowest rows have hardly begun to draw things. Over all facts no row lies apart from the shipped one.) The losses of the row without a shift are of other times, and cannot be compared with the others. Muon's rate was taken from its authors, AdamW had two; which is better after 8,000 steps we do not know. The patches and the words in the norms were not taken away alone. One seed of training: another would move each row.
#
# ### As near as true pictures? As old as the training pictures?
#
# Facts say nothing of looks. The usual measure is the **Fréchet distance** {cite:p}`dowson1982,heusel2017`, which with features of the Inception network is called *FID*: take features of generated and of true pictures, take each cloud for a normal distribution with mean $\mu$ and covariance $C$, and compare the two:
#
# $$
# d^2 = \lVert \mu_1 - \mu_2 \rVert^2 + \operatorname{tr}\!\big( C_1 + C_2 - 2\, (C_1^{1/2} C_2\, C_1^{1/2})^{1/2} \big)
# $$ (eq-text_to_image-frechet)
#
# We print $d^2$, as everybody does. In one dimension it is $(\mu_1 - \mu_2)^2 + (s_1 - s_2)^2$. With SciPy's root of a matrix as the reference:

# %% tags=["nbval-check-output"]
from mmcourse.text_to_image import frechet_distance

gaps = []
for seed, (n, D) in enumerate([(9, 3), (40, 7), (25, 1)]):
    dice = np.random.default_rng(seed)
    a, b = dice.normal(size=(n, D)) @ dice.normal(size=(D, D)), dice.normal(1, 2, size=(n + 5, D))
    C1, C2 = np.cov(a.T).reshape(D, D), np.cov(b.T).reshape(D, D)
    theirs = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(C1 + C2 - 2 * scipy.linalg.sqrtm(C1 @ C2).real)
    gaps.append(abs(frechet_distance(a, b) - theirs))
print("all closer than 1e-6:", max(gaps) < 1e-6)

# %% [markdown]
# We take the independent judge's features (64 numbers, in place of the Inception network's 2,048, so the values compare with nothing outside this page). And we look for that of the {glue:text}`text_to_image_known:,` training pictures which is nearest to each generated one: a model that only remembers has distances near zero. As the rule, the same for true pictures that were never trained on:

# %% tags=["hide-input"]
print(f"{'':26}{'Fréchet':>9}   nearest, of 255 a pixel: 5 %, median, 95 %")
for arm in [arm for arm in ARMS if arm != "flow, next caption"]:
    row = extra[arm]
    print(f"{NAMES[arm]:26}{row['frechet']:9.3f}   " + ", ".join(f"{part:.1f}" for part in row["nearest"]))

# %% tags=["remove-cell"]
glue("text_to_image_frechet_flow", extra["flow"]["frechet"], display=False)
glue("text_to_image_known", studies.SHOWN, display=False)
glue("text_to_image_frechet_nearest", extra["nearest training caption"]["frechet"], display=False)
glue("text_to_image_frechet_true", extra["true pictures"]["frechet"], display=False)
glue("text_to_image_near_flow", extra["flow"]["nearest"][1], display=False)
glue("text_to_image_near_true", extra["true pictures"]["nearest"][1], display=False)
glue("text_to_image_near_blur", extra["autoencoder"]["nearest"][1], display=False)

# %% [markdown]
# The Fréchet distance of true pictures to *other* true pictures is {glue:text}`text_to_image_frechet_true:.3f`, not 0, since these are {glue:text}`text_to_image_all_captions` pictures of other captions. A part of it is the mix: the pictures compared with are all of the kind of a new index, where two thirds of ours combine anew and so have more often two kinds of things. So it is a rule, not a floor, and the nearest training captions lie below it with {glue:text}`text_to_image_frechet_nearest:.3f`. The flow has {glue:text}`text_to_image_frechet_flow:.3f`. Its median distance to the nearest training picture is {glue:text}`text_to_image_near_flow:.1f`; true pictures have {glue:text}`text_to_image_near_true:.1f`, and true pictures through the autoencoder, as smooth as the flow's own, {glue:text}`text_to_image_near_blur:.1f`. So hardly any picture is a copy of one of them as a whole: 95 of 100 lie farther than the first number of the row. (The nearest training captions *are* training pictures; what they have beyond 0 is the rounding of single precision. For the GPT's row only the first 24,000 were searched.) That single drawings are copied is what we want here, since each noun has one drawing, and this measure cannot see it.
#
# ### Steps and guidance
#
# Both are chosen when we draw, without a new training. {glue:text}`text_to_image_setting_captions` held-out captions that are in no other table, one seed, the independent judge:

# %% mystnb={"figure": {"caption": "Fact precision (all facts, with 95 % intervals by caption) and Fréchet distance, against the number of steps at a guidance of 2, and against guidance at 10 steps.", "name": "fig-text_to_image-settings"}, "image": {"alt": "Two panels with a solid line for precision and a dashed one for the Fréchet distance. Left against 1 to 16 steps, right against a guidance of 0 to 5."}} tags=["hide-input"]
figure, panels = plt.subplots(1, 2, figsize=(7.2, 2.8), sharey=True)
for axes, name in zip(panels, ("steps", "guidance"), strict=True):
    rows = studies.read(name)["rows"]
    x = [row[name] for row in rows]
    shares = np.array([row["all"] for row in rows])
    reach = np.abs(shares[:, 1:].T - shares[:, 0])
    axes.errorbar(x, shares[:, 0], reach, color=BLUE, marker="o", markersize=4)
    axes.set(xlabel=name, ylim=(0, 1))
    other = axes.twinx()
    other.plot(x, [row["frechet"] for row in rows], "--", color=ORANGE, marker="s", markersize=4)
    other.set(ylim=(0, 14), ylabel="Fréchet (dashed)")
panels[0].set_xscale("log", base=2)
panels[0].set_xticks([1, 2, 4, 8, 16], ["1", "2", "4", "8", "16"])
panels[0].set_ylabel("precision (solid)");

# %% tags=["remove-cell"]
steps_rows = {row["steps"]: row for row in studies.read("steps")["rows"]}
guidance_rows = {row["guidance"]: row for row in studies.read("guidance")["rows"]}
glue("text_to_image_setting_captions", studies.read("steps")["captions"], display=False)
glue("text_to_image_all_captions", 3 * table["captions"], display=False)
for steps in (1, 4, 16):
    glue(f"text_to_image_steps_{steps}", steps_rows[steps]["all"][0], display=False)
for guidance in (0, 1, 2, 5):
    glue(f"text_to_image_guidance_{guidance}", guidance_rows[guidance]["all"][0], display=False)
    glue(f"text_to_image_apart_{guidance}", guidance_rows[guidance]["frechet"], display=False)

# %% [markdown]
# One step goes to the mean of the caption's pictures, pushed away from the mean of all (a guidance of 2 doubles the difference): a blur, which has {glue:text}`text_to_image_steps_1:.2f`; four steps give {glue:text}`text_to_image_steps_4:.2f`, sixteen {glue:text}`text_to_image_steps_16:.2f`. Guidance of 0 does not read the caption and has {glue:text}`text_to_image_guidance_0:.2f`; 1 has {glue:text}`text_to_image_guidance_1:.2f`, 2 has {glue:text}`text_to_image_guidance_2:.2f` and 5 has {glue:text}`text_to_image_guidance_5:.2f`. The Fréchet distances of these four are {glue:text}`text_to_image_apart_0:.2f`, {glue:text}`text_to_image_apart_1:.2f`, {glue:text}`text_to_image_apart_2:.2f` and {glue:text}`text_to_image_apart_5:.2f`. (Of {glue:text}`text_to_image_setting_captions` pictures, so not to be held against the table's.) Guidance of 0 should give any picture of the world; its distance says that the model has hardly learned to draw without a caption, perhaps since it had only one example in ten for that. In facts 1 and 2 cannot be told apart here, by their intervals; 2 lies nearer to the true pictures (these distances have no interval), and 5 loses both. Facts and looks need not agree on the best guidance, and who chooses one must say by which. (The default of 2 was set before this was measured.)
#
# ### Watch it happen
#
# Choose a caption and move the time. What the judge reads, and which facts are true, are computed for each step. What is decided first?

# %% mystnb={"figure": {"caption": "A picture on its way from noise, in six steps, for the first held-out caption with a new pair and the first with a new colour.", "name": "fig-text_to_image-steps"}, "image": {"alt": "Two rows of six pictures, from coloured noise at time 0 to a generated picture at time 1."}} tags=["remove-input"]
from mmcourse.text_to_image import checklist

judge = load("picture_judge")
held = studies.held_out_scenes(4)
films = []
for found in [held["new pair"][0], held["new binding"][0]]:
    caption = studies.caption_of(found)
    pictures = model.steps_of(caption, seed=0, steps=6)
    readings = judge.read(pictures)
    facts = [checklist(reading, found) for reading in readings]
    films.append({"caption": caption, "pictures": list(pictures), "readings": readings, "facts": facts})
times = [shifted(step / 6, model.flow.shift) for step in range(7)]
DrawingSteps(films, times)

# %% [markdown]
# Compare when the background comes true, when the colours do, and when the things, if they do. By the curve above, which noun it is should be decided in the first steps; the judge must *see* it, and reads it later. Two pictures are an illustration of that, not a measurement.
#
# ## Clips
#
# [Chapter 7](07_video.py) reads clips. Here one is drawn. It is nine frames. Lay them out as one sheet of three by three, and it is a picture: the same encoder, the same network (on 12 by 12 cells), the same flow. In `mmcourse.text_to_image.clips` eight nouns move left, right, up or down on paper, and four pairs of a noun and a direction are kept from training. Here is a true clip, as the network would see it:

# %% mystnb={"figure": {"caption": "A true clip of nine frames, to be read row by row, as one sheet.", "name": "fig-text_to_image-clip"}, "image": {"alt": "Nine frames in three rows; a star is farther to the right in each."}}
from mmcourse.text_to_image.clips import as_sheet, move, read_clip

clip = move("star", "right", Random(1))
sheet = as_sheet(clip.frames)  # (96, 96, 3)
print(f"{clip.caption!r}: the judge reads {read_clip(clip.frames)}")
show_images([sheet], columns=1, size=1.8);

# %% [markdown]
# The judge here is arithmetic: the centre of what is not paper moves to some side, and the noun is that of the drawing that fits best. It is right about all true clips of the tests. The model has 0.6 million weights and 3,000 steps of training (`python -m mmcourse.recipes.text_to_image clips`, one seed; the weights are not shipped). It drew every pair of a noun and a direction, with {glue:text}`text_to_image_sample_seeds` seeds of noise:

# %% tags=["hide-input"]
from scipy.stats import binomtest

clips = studies.read("clips")["rows"]
print("in brackets 95 %, exact".ljust(26) + f"{'clips':>6}{'noun':>18}{'direction':>18}{'both':>18}")
for split, name in (("train", "pairs of the training"), ("composition", "pairs never shown")):
    mine = [row for row in clips if row["split"] == split]
    line = f"{name:26}{len(mine):6}"
    for judged in (["noun"], ["direction"], ["noun", "direction"]):
        test = binomtest(sum(all(row[what] for what in judged) for row in mine), len(mine))
        low, high = test.proportion_ci()
        line += f"{test.statistic:6.0%} ({low:3.0%} to {high:4.0%})".rjust(18)
    print(line)

# %% mystnb={"figure": {"caption": "Generated clips of the four pairs that training never showed, each to be read row by row.", "name": "fig-text_to_image-clips"}, "image": {"alt": "Four sheets of nine frames each: a car that rises, a fish that goes right, a heart that goes left and a house that sinks, a little blurred."}} tags=["hide-input"]
shown = [row for row in clips if "sheet" in row]
sheets = [studies.from_text(row["sheet"]) for row in shown]
show_images(sheets, [row["caption"] for row in shown], columns=4, size=1.7);

# %% [markdown]
# Eight nouns on paper that go straight on are easy, and a judge by arithmetic is kind. The clips never shown are four pairs, each with several seeds, which the intervals take for independent: so they are too narrow. But nothing was added for time: a clip asks for no other mathematics than a picture, only for more cells, among which attention keeps the thing the same from frame to frame.
#
# ## What came after
#
# DALL-E 2 {cite:p}`ramesh2022` left the tokens: a model makes a CLIP embedding of a picture from that of the caption, and diffusion draws from it. {cite:t}`rombach2022` put diffusion into the latents of an autoencoder, with the caption read by cross-attention; that became Stable Diffusion. {cite:t}`peebles2023` replaced the convolutional U-Net by a Transformer, DiT. {cite:t}`esser2024` brought these together with rectified flow, on latents, with words and cells in one attention but with weights of their own; what we built is its idea in small, with one set of weights. Video diffusion began with a U-Net over space and time {cite:p}`ho2022video`; later models are Transformers over patches of space and time.
#
# The tokens did not die. Chameleon {cite:p}`chameleon2024` and Emu3 {cite:p}`wang2024emu` train one Transformer on texts and pictures as tokens, which can both read and draw (Emu3 is then tuned to two models, one for each): equation {eq}`eq-text_to_image-gpt` with better codes and more of everything.
#
# A practitioner of 2026 starts from published weights of such a model, and adapts them (chapter 22 has the tool, LoRA). What you know of it now: the autoencoder, the velocity, the time in the norms, guidance as two passes, and what the number of steps and the guidance trade.
#
# ## What goes wrong
#
# ### Guidance too high
#
# Guidance leaves the region in which the velocity was trained: no training latent is *that* much like a caption. With a guidance of 12 in place of 2:

# %% mystnb={"figure": {"caption": "Four held-out captions: above with a guidance of 2, below with 12.", "name": "fig-text_to_image-high"}, "image": {"alt": "Upper row: four generated pictures. Lower row: the same four with guidance of 12, in other colours and contrasts."}}
wanted = [studies.caption_of(found) for found in held["new index"]]
rows = [model.draw(wanted, seed=0, steps=12, guidance=g) for g in (2, 12)]
outside = [np.mean([((one == 0) | (one == 255)).mean() for one in row]) for row in rows]
print(f"values at the very end of the scale: {outside[0]:.0%} with 2, {outside[1]:.0%} with 12")
show_images([*rows[0], *rows[1]], columns=4, size=1.4);

# %% tags=["remove-cell"]
glue("text_to_image_clipped_2", float(outside[0]), display=False)
glue("text_to_image_clipped_12", float(outside[1]), display=False)

# %% [markdown]
# {glue:text}`text_to_image_clipped_12:.0%` of all colour values are cut off at black or full, against {glue:text}`text_to_image_clipped_2:.0%`.
#
# ### The time forgotten
#
# A velocity belongs to a time. If it is always told the same time, it moves by the mean velocity of *that* time at every noise. We break that on purpose, with the exact velocity of the two points, so that nothing else is wrong:

# %% tags=["nbval-check-output"]
torch.manual_seed(0)
noise = torch.randn(2000)
right = {}
for name, told in (("its time", None), ("always 0.5", 0.5), ("always 0.1", 0.1)):
    def forgetful(x, t, condition, told=told):
        return velocity(x, t if told is None else torch.full_like(t, told))

    made = RectifiedFlow(forgetful).sample(noise, steps=50)
    right[name] = ((made.abs() - 1).abs() < 0.1).double().mean().item()
    print(f"told {name:10}: {right[name]:.0%} within 0.1 of a point")

# %% tags=["remove-cell"]
glue("text_to_image_told", right["its time"], display=False)
glue("text_to_image_untold", right["always 0.1"], display=False)

# %% [markdown]
# From {glue:text}`text_to_image_told:.0%` to {glue:text}`text_to_image_untold:.0%`, and no error message. In a network, the same comes of a time that is not passed on, or that is scaled otherwise in drawing than in training.
#
# ## Exercises
#
# ```{exercise-start} The path of a normal distribution
# :label: ex-text_to_image-normal
# ```
# *Medium, 20 minutes.* Noise is normal with mean 0 and spread 1, data with mean $m$ and spread $s$, independent. (The best guess of one normal number from another is a line, whose slope is their covariance over the variance of the second.) Show that the mean velocity at $x$ and $t$ is $m + \frac{t s^2 - (1 - t)}{(1-t)^2 + t^2 s^2} (x - t m)$, and that $x_t = t\,m + \sqrt{(1-t)^2 + t^2 s^2}\; x_0$ follows it. Check the formula by drawing a million pairs and keeping those that pass near $x = 1$ at $t = 0.4$, with $m = 2$ and $s = 0.5$.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-text_to_image-normal
# :label: so-text_to_image-normal
# :class: dropdown
# ````
# $x_t$ and $x_1 - x_0$ are both sums of normal numbers, so the mean of the second given the first is a line, with the slope covariance over variance. The covariance of $(1-t) x_0 + t x_1$ and $x_1 - x_0$ is $t s^2 - (1 - t)$, the variance of $x_t$ is $(1-t)^2 + t^2 s^2$; the means are $t m$ and $m$. For the path, write $r = \sqrt{(1-t)^2 + t^2 s^2}$: its derivative is $(t s^2 - (1-t))/r$. So $x_t = t m + r x_0$ moves by $m + \frac{t s^2 - (1-t)}{r} x_0$, and $x_0 = (x_t - t m)/r$ makes it the velocity above.

# %% tags=["nbval-check-output"]
dice = np.random.default_rng(0)
x0, x1 = dice.normal(size=1_000_000), 2 + 0.5 * dice.normal(size=1_000_000)
near = np.abs(0.6 * x0 + 0.4 * x1 - 1) < 0.02
formula = normal_velocity(2.0, 0.5)(torch.tensor(1.0), torch.tensor(0.4)).item()
print(f"formula {formula:.2f}, mean of the lines near it {(x1 - x0)[near].mean():.2f}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} Straighter paths
# :label: ex-text_to_image-reflow
# ```
# *Medium, 20 minutes.* {cite:t}`liu2023flow` train a second flow on pairs that the first one made: noise, and where the flow carried it (**reflow**). In one dimension such lines do not cross, so the second flow should need fewer steps. Try it with the two points: train a second network on 20,000 pairs of the first flow (50 steps), and compare both with 1 and with 2 steps, by the share of samples within 0.2 of a point.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-text_to_image-reflow
# :label: so-text_to_image-reflow
# :class: dropdown
# ````
# With one step the first flow stops at the mean of both points; the second has a line of its own for almost every start. Only around 0, where the ends of neighbours lie apart, it must bend. With many steps it is no better: it learned from what the first one made, errors included.

# %%
torch.manual_seed(1)
starts = torch.randn(20_000)
ends = flow.sample(starts, steps=50)
second = nn.Sequential(
    nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 64), nn.SiLU(), nn.Linear(64, 1)
)
reflow = RectifiedFlow(lambda x, t, condition: second(torch.stack([x, t], -1))[..., 0])
optimizer = torch.optim.Adam(second.parameters(), 3e-3)
for _ in range(1500):
    rows = torch.randint(len(starts), (256,))
    reflow.loss(ends[rows], noise=starts[rows]).backward()
    optimizer.step()
    optimizer.zero_grad()
fresh = torch.randn(2000)
for steps in (1, 2, 50):
    ends = [one.sample(fresh, steps=steps).abs() for one in (flow, reflow)]
    close_by = [((end - 1).abs() < 0.2).double().mean() for end in ends]
    print(f"{steps:2} steps: first flow {close_by[0]:.0%}, second {close_by[1]:.0%}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} A better step
# :label: ex-text_to_image-heun
# ```
# *Medium, 20 minutes.* **Heun's method** goes an Euler step, asks for the velocity there, and goes the step again with the mean of both velocities. Write it and compare the largest error with Euler's for the normal data ($m = 2$, $s = 0.5$), at the same number of velocities asked for: 8 steps of Heun against 16 of Euler, and 32 against 64. By what does Heun's error shrink when the steps are doubled?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-text_to_image-heun
# :label: so-text_to_image-heun
# :class: dropdown
# ````
# Its error comes near to a quarter when the steps are doubled, where Euler's is halved. At the last step Heun asks for the velocity at $t = 1$, which for pictures the network was hardly trained on; samplers leave the correction out there.

# %% tags=["nbval-check-output"]
def heun(velocity, x, steps):
    for step in range(steps):
        t, after = torch.tensor(step / steps).double(), torch.tensor((step + 1) / steps).double()
        first = velocity(x, t)
        second = velocity(x + first / steps, after)
        x = x + (first + second) / 2 / steps
    return x


x0 = torch.linspace(-2, 2, 9, dtype=torch.float64)
v, exact = normal_velocity(2.0, 0.5), 2 + 0.5 * x0
for steps in (8, 16, 32):
    euler = RectifiedFlow(v).sample(x0, steps=2 * steps)
    print(f"{2 * steps:2} velocities: Euler {(euler - exact).abs().max():.4f}, "
          f"Heun {(heun(v, x0, steps) - exact).abs().max():.5f}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} The best of four
# :label: ex-text_to_image-best
# ```
# *Medium, 15 minutes.* DALL-E let CLIP choose among many pictures. Draw the twelve captions of this page with four seeds each, and let the *captioner* choose the picture of which it reads most facts. How many facts come true by the captioner, and how many by the independent judge? Compare with the first set of seeds alone. Why is the first number no evidence?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-text_to_image-best
# :label: so-text_to_image-best
# :class: dropdown
# ````
# The captioner's number rises because it was the one that chose: each of its errors in favour of a picture helps that picture to be chosen. Only what the other judge says counts, and of that only what is beyond the noise of twelve captions. This is why the judge that chooses must not be the one that counts.

# %%
captioner = load("scenes")
scenes12 = [found for part in held.values() for found in part]
captions12 = [studies.caption_of(found) for found in scenes12]
by_seed = [np.stack(model.draw(captions12, seed=100 * seed, steps=8)) for seed in range(4)]


def marks_of(readings):
    pairs = zip(readings, scenes12, strict=True)
    return np.array([np.mean([mark for _, mark in checklist(*pair)]) for pair in pairs])


seen = [marks_of([c.text for c in captioner.caption(list(one), strategy="greedy")]) for one in by_seed]
other = [marks_of(judge.read(one)) for one in by_seed]
chosen = np.argmax(seen, 0)
for name, marks in (("captioner, which chose", seen), ("independent judge", other)):
    best = np.mean([marks[seed][row] for row, seed in enumerate(chosen)])
    print(f"{name:24} first set {np.mean(marks[0]):.0%}, best of four {best:.0%}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} Distance to itself
# :label: ex-text_to_image-frechet
# ```
# *Easy, 10 minutes.* Compute the Fréchet distance of two samples of the *same* normal distribution in 64 dimensions, with 100, 300, 1,000 and 10,000 points each. What follows for a comparison of a distance of 300 pictures with one of 10,000?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-text_to_image-frechet
# :label: so-text_to_image-frechet
# :class: dropdown
# ````
# The true distance is 0, and the estimate is above 0 with few points, for the covariance of few points is wrong in every direction, and errors never cancel in a distance. Distances can be compared only for as many pictures, which is why the table of this page has the row of true pictures.

# %% tags=["nbval-check-output"]
dice = np.random.default_rng(0)
for n in (100, 300, 1000, 10_000):
    print(f"{n:6}: {frechet_distance(dice.normal(size=(n, 64)), dice.normal(size=(n, 64))):.2f}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ## Quiz
#
# ::::::{card}
# :class-card: quiz
# **1.** What is the gradient of the straight-through output by the encoder's vector $z$?
#
# :::{dropdown} Zero, since rounding has no slope almost everywhere
# **No.** That is the true derivative, and with it the encoder would learn nothing from the decoder.
# :::
# :::{dropdown} That of the identity, whatever the nearest code is
# **Yes.** The difference to the code is a constant for the gradient.
# :::
# :::{dropdown} The distance between the vector and its nearest code
# **No.** A distance is one number. The gradient of the commitment loss points along the difference to the code, and is added to that of the output.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **2.** The loss of a rectified flow has stopped falling, far above zero. What follows?
#
# :::{dropdown} The network is too small for the data
# **No.** It may be, but this does not show it: the best possible velocity has a loss above zero too.
# :::
# :::{dropdown} The learning rate must be lowered before going on
# **No.** Perhaps it helps; the height of the loss does not say so.
# :::
# :::{dropdown} By itself nothing, since crossing lines keep it up
# **Yes.** One velocity cannot be that of all lines through a place. Judge the samples.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **3.** What does a guidance of 1 compute?
#
# :::{dropdown} The velocity of the caption alone, in one pass
# **Yes.** The unconditional velocity cancels; our code does not even compute it.
# :::
# :::{dropdown} The mean of the two velocities, in two passes
# **No.** That is a guidance of a half.
# :::
# :::{dropdown} The velocity of no caption at all, in one pass
# **No.** That is a guidance of 0.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **4.** Why does the independent judge read true pictures, in a row of its own?
#
# :::{dropdown} To train it further on pictures like these
# **No.** It is never trained on what it judges.
# :::
# :::{dropdown} To know what a perfect drawing would score
# **Yes.** On true pictures every miss is the judge's own. How often it errs on bad drawings this row does not say.
# :::
# :::{dropdown} To show that the world is easy to draw
# **No.** It shows that the world is easy to *read*, which is something else.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **5.** Which of these was a part of the first DALL-E?
#
# :::{dropdown} A detector with bipartite matching, as the eye
# **No.** That is DETR ([chapter 8](08_detection.py)), which finds things in pictures.
# :::
# :::{dropdown} A masked language model that encodes the caption
# **No.** That is BERT. The caption's tokens are read by the same GPT that writes the picture.
# :::
# :::{dropdown} An autoencoder with codes, and a GPT over words and codes
# **Yes.** And CLIP, from outside, to choose among the results.
# :::
# ::::::
#
# ## Take-aways
#
# - A model that must give one answer gives the mean of all, and the mean of pictures is a blur. A model that draws must choose: token by token, or by its noise.
# - Vector quantization makes pictures tokens. Its gradient is a lie that works; what must be watched is how many codes live.
# - A rectified flow learns the mean velocity between noise and data. It is wrong for each line, and right for a small step.
# - Guidance exaggerates what the caption changes; what it buys in facts, and what it costs in looks, must be measured.
# - Count what came true, with a judge that did not choose the pictures, by precision *and* recall, beside what it says of true pictures, of an empty background and of the nearest training picture. Of what ours reads in the flow's pictures, {glue:text}`text_to_image_flow_independent_object_precision:.2f` of the objects and {glue:text}`text_to_image_flow_independent_all_precision:.2f` of all facts were asked for, on held-out scenes, two thirds of which combine what training never combined.
#
# ## Further reading
#
# - {cite:t}`oord2017` and {cite:t}`ramesh2021`: codes, and DALL-E.
# - {cite:t}`liu2023flow` and {cite:t}`lipman2023`: the flow, from two sides.
# - {cite:t}`ho2022guidance`: guidance, from its authors.
# - {cite:t}`peebles2023` and {cite:t}`esser2024`: Transformers that draw, and what was tried on the way.

# %% tags=["remove-cell"]
show = [found for part in held.values() for found in part]
drawn = model.draw([studies.caption_of(found) for found in show], seed=0, steps=12)
read = judge.read(np.stack(drawn))
titles = []
for text, found in zip(read, show, strict=True):
    marks = checklist(text, found)
    caption = textwrap.fill(studies.caption_of(found), 26)
    added = len(fact_score(text, found).false)
    titles.append(f"{caption}\n{sum(m for _, m in marks)} of {len(marks)} facts, {added} not asked")
figure, grid = plt.subplots(3, 4, figsize=(7.4, 7.6))
for axes, image, title in zip(grid.flat, drawn, titles, strict=True):
    axes.imshow(image)
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel(title, fontsize=8)
glue("text_to_image_promise", figure, display=False)
plt.close(figure)
