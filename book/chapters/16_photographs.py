# ---
# jupyter:
#   course: {notebook: notebooks/16_photographs.ipynb}
# ---

# %% [markdown]
# # Photographs
#
# At the end of this chapter you can give the captioner an eye that others have trained, train the rest on photographs
# from the files that people have on disk, and say which of the resulting numbers mean anything.
#
# ```{glue:figure} photographs_promise
# :name: fig-photographs-promise
# :alt: A photograph under a grid of seven by seven cells, and the same photograph three times, each time faded but for the cells that the captioner looked at for one word.
#
# A photograph of the training set, the grid of a pretrained encoder, and where the captioner looked for three of its words.
# ```
#
# ::::{card}
# :class-card: chapter-card
#
# **Goals**
#
# - say what a pretrained encoder gives that pixels do not, and measure it
# - use its grid as the memory of a decoder, whatever the encoder
# - read Flickr8k and COCO from raw files in which something is always wrong
# - tell a score that shows memory from one that shows sight
# - recognise a wrong normalisation, which raises no error
#
# **Before you start:** [how a picture becomes a grid of vectors](05_vision.py) and [the captioner](14_captioning.py).
#
# :::{card-footer}
# Reading {measured}`reading` min · runs in {measured}`seconds` s on two CPU cores, {measured}`megabytes` MB ·
# difficulty ●●○
# :::
# ::::

# %% tags=["remove-cell"]
import os
import shutil
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from myst_nb import glue
from PIL import Image
from transformers import logging

from mmcourse.book.plotting import PAPER, show_images, show_scene, use_style
from mmcourse.book.source import show_source

use_style()
logging.set_verbosity_error()
logging.disable_progress_bar()
workshop = Path(tempfile.mkdtemp())  # for what this chapter writes

# %% [markdown]
# ## Sixteen photographs
#
# The scenes of [chapter 14](14_captioning.py) are endless: another training picture costs a computer next to nothing. Photographs with
# captions cost a person's minutes. **Flickr8k** {cite}`hodosh2013` has 8,000, each with five captions;
# **COCO** {cite}`lin2014` has some 120,000. Neither comes with this course. What comes with it is a folder in the same format with
# 22 photographs that we may pass on (its file `NOTICE` says whose they are), and five captions each that we wrote. Sixteen are for training.

# %% tags=["nbval-check-output"]
from mmcourse.data.captioned import TINY, load_photographs

found, notes = load_photographs("flickr8k", TINY)
train_set, held_out = found["train"], found["val"] + found["test"]
print(f"{len(train_set)} photographs for training, {len(held_out)} held out")
for caption in train_set[5].captions:
    print("  ", caption)

# %% mystnb={"image": {"alt": "Eight small photographs of the training set, among them a cat, a cup of coffee and an astronaut."}}
from mmcourse.data.pictures import load_picture

show_images([load_picture(one.path, 112) for one in train_set[2:10]], columns=4, size=1.5);

# %% [markdown]
# In chapter 14 the captioner learned to see and to write at once, from as many scenes as it wanted. Sixteen photographs cannot
# teach anybody what a cat is, and 8,000 hardly can. Yet captioners of photographs are trained on such sets.
# **Who taught them to see? And if we train on sixteen photographs and the score is high, what have we shown?**
#
# ## What a pretrained encoder gives
#
# Somebody else's training. An encoder that learned to sort a million photographs of ImageNet into a thousand classes
# {cite}`deng2009` has a vector for each place of a picture, and these vectors are useful for other tasks. We take it as it
# is (**frozen**: its weights do not change), and train only what comes after it.
#
# How useful? We ask without any training. Here are 163 nouns, each drawn by two groups of artists. For a drawing of the one group we
# look for the nearest drawing of the other: with a good representation it shows the same thing. We compare the pixels, the vectors of an
# encoder with random weights, and those of the same network as it was trained: EfficientNet-Lite0, a later and simpler relative of the networks of
# {cite:t}`tan2019`, which comes in a small package and needs no download.

# %% tags=["nbval-check-output"]
from mmcourse.photographs import PretrainedEncoder, load_encoder

lite0 = load_encoder("efficientnet-lite0")
size = sum(parameter.numel() for parameter in lite0.parameters())
with torch.no_grad():
    grid = lite0(lite0.prepare(train_set[5].path)[None])
print(f"{size:,} parameters, pictures of {lite0.size} x {lite0.size} pixels")
print("its grid of one photograph:", tuple(grid.shape))

# %%
from mmcourse.data.drawings import drawing, nouns, styles_of


def drawings(style):
    """The same 163 nouns in one style, as pictures of 64 x 64 pixels."""
    names = [noun.name for noun in nouns() if {"noto", "openmoji"} <= set(styles_of(noun.name))]
    return [Image.fromarray(drawing(name, style)) for name in names[::2]]


def is_found(queries, others):
    """Whether each query (n, d) finds its own, by the angle, as the nearest of the others: (n,)."""
    similarity = torch.nn.functional.normalize(queries) @ torch.nn.functional.normalize(others).T
    return (similarity.argmax(1) == torch.arange(len(queries))).float().numpy()


noto, openmoji = drawings("noto"), drawings("openmoji")
print(f"chance: {1 / len(noto):.1%}")

# %%
def at_96(encoder, mean=127.0, scale=128.0):
    """The same network for pictures of 96 x 96 pixels: five times faster, and enough here."""
    return PretrainedEncoder(encoder.network, encoder.extract, 96, [mean] * 3, [scale] * 3)


@torch.no_grad()
def vectors(encoder, pictures):
    """The mean over the grid for each picture: (n, C)."""
    pixels = torch.stack([encoder.prepare(picture) for picture in pictures])
    return torch.cat([encoder(part).mean(1) for part in pixels.split(50)])


def pixels_of(pictures):
    return torch.stack([torch.tensor(load_picture(one, 16)).flatten() / 127.5 - 1
                        for one in pictures])


def random_encoder(seed, side):
    """The same network before any training."""
    torch.manual_seed(seed)
    network = type(lite0.network).from_name("efficientnet-lite0")
    return PretrainedEncoder(network, lite0.extract, side, [127.0] * 3, [128.0] * 3)


# %% [markdown]
# A drawing can be easy to compare: all of them are centred and fill their square. So we ask a second time, with queries as things lie in a scene: mirrored,
# smaller, and away from the centre.

# %%
from PIL import ImageOps

from mmcourse.evaluation import bootstrap


def moved(picture):
    """The same drawing mirrored, smaller, and away from the centre."""
    canvas = Image.new("RGBA", picture.size)
    canvas.paste(ImageOps.mirror(picture).resize((40, 40), Image.Resampling.BOX), (20, 22))
    return canvas


queries = {"centred": openmoji, "moved": [moved(picture) for picture in openmoji]}
encoders = [random_encoder(seed, 96) for seed in range(3)] + [at_96(lite0)]
stock = [vectors(encoder, noto) for encoder in encoders]
same = {}
for place, pictures in queries.items():
    hits = [is_found(vectors(encoder, pictures), others)
            for encoder, others in zip(encoders, stock, strict=True)]
    same["pixels", place] = is_found(pixels_of(pictures), pixels_of(noto))
    same["random encoder", place] = np.mean(hits[:3], axis=0)  # of each drawing, of three seeds
    same["pretrained encoder", place] = hits[3]

# %%
def less(first, second):
    """The share of the first less that of the second, on the same drawings, with its interval."""
    return bootstrap(lambda a, b: a.mean() - b.mean(), first, second)


for (name, place), hits in same.items():
    gap = less(same["pretrained encoder", place], hits)
    print(f"{place:8} {name:19} {hits.mean():5.1%}   pretrained less this {gap.value:+.1%} "
          f"({gap.low:+.1%} to {gap.high:+.1%})")

# %% tags=["remove-cell"]
for (name, place), hits in same.items():
    gap = less(same["pretrained encoder", place], hits)
    for part, value in (("same", hits.mean()), ("low", gap.low), ("high", gap.high)):
        glue(f"photographs_{part}_{place}_{name.split()[0]}", float(value), display=False)
glue("photographs_drawings", len(noto), display=False)

# %% [markdown]
# In brackets stands the 95 % interval of the difference, from a bootstrap over the {glue:text}`photographs_drawings:d` drawings. While the drawings are centred, pixels find the same thing in
# {glue:text}`photographs_same_centred_pixels:.0%` of the cases and the pretrained encoder in {glue:text}`photographs_same_centred_pretrained:.0%`: these two cannot be told apart. That is less odd than it
# seems, since the nouns of this course were chosen by how well their drawings agree in pixels ([data card](data.py)). Once they are moved, pixels find
# {glue:text}`photographs_same_moved_pixels:.0%`, the pretrained encoder {glue:text}`photographs_same_moved_pretrained:.0%`. Those it recognises in another place and size, and in drawings, which it was not trained on. The form
# of the network is not enough for that: the same network with random weights, the mean of three draws, finds {glue:text}`photographs_same_centred_random:.0%` and
# {glue:text}`photographs_same_moved_random:.0%`. The training made the difference: of its weights, and of the statistics of its normalisation, which an untrained network has not measured.
#
# ## The grid as a memory
#
# The captioner of chapter 14 has three parts: convolutions that turn the picture into $N$ vectors, an encoder layer that lets them look
# at one another, and a decoder. We exchange the convolutions. First the picture becomes numbers as the encoder was trained to see them, each colour
# shifted and scaled by constants that belong to the encoder:
#
# $$
# \hat{x} = \frac{x - \mu}{\sigma}
# $$ (eq-photographs-normalise)
#
# The encoder gives a grid of features $F$, one row for each of
#
# $$
# N = \left(\frac{S}{P}\right)^2
# $$ (eq-photographs-cells)
#
# cells. Its rows have another width than the decoder, and do not say where they are. A layer norm, a linear map and a table
# of learned positions repair both:
#
# $$
# M = \operatorname{norm}(F)\, W + b + E
# $$ (eq-photographs-memory)
#
# | symbol | what it is | shape |
# |---|---|---|
# | $x$ | the picture, values 0 to 255 | $S \times S \times 3$ |
# | $\mu, \sigma$ | mean and scale of each colour, as in the encoder's training | 3 numbers each |
# | $P$ | pixels along the side of a cell: the patch of a vision Transformer, the stride of a convolutional network | a number |
# | $F$ | what the encoder gives, without its class token | $N \times C$ |
# | $W, b$ | learned here | $C \times D$, $D$ |
# | $E$ | a learned position for each cell | $N \times D$ |
# | $M$ | the memory that the decoder looks at | $N \times D$ |
#
# ### By hand
#
# A picture of 4 pixels by 4 with $P = 2$ has $N = (4/2)^2 = 4$ cells. With $\mu = 127$ and $\sigma = 128$ a white pixel, 255, becomes
# $128/128 = 1$, and a black one $-127/128$. Let the features of one cell be $(3, 1)$: their mean is 2, their deviation 1, so the
# norm gives $(1, -1)$. With $W = \begin{pmatrix} 2 & 0 \\ 1 & 1 \end{pmatrix}$, $b = (0, 1)$ and $E = (0.5, 0.5)$ in this cell, the memory is
# $(2 - 1, -1) + (0, 1) + (0.5, 0.5)$, which is $(1.5, 0.5)$.

# %% tags=["nbval-check-output"]
F = np.array([3.0, 1.0])
W, b, E = np.array([[2.0, 0.0], [1.0, 1.0]]), np.array([0.0, 1.0]), np.array([0.5, 0.5])
normed = (F - F.mean()) / F.std()
print("white and black:", (np.array([255, 0]) - 127) / 128)
print("norm:", normed, "  memory:", normed @ W + b + E)

# %% [markdown]
# ## Then for real
#
# A captioner that sees with Lite0. Its words are those of the training captions; `vocabulary` leaves out what comes less than
# `min_count` times, which with our few captions is nothing.

# %% tags=["nbval-check-output"]
from mmcourse.data.captioned import vocabulary
from mmcourse.photographs import PhotographCaptioner

words = vocabulary(train_set, min_count=1)
sizes = dict(width=64, heads=4, decoder_layers=2, dropout=0.1)
torch.manual_seed(0)
captioner = PhotographCaptioner(words, "efficientnet-lite0", **sizes).eval()
trained = sum(parameter.numel() for parameter in captioner.parameters())
print(f"{len(words)} words, {trained:,} parameters to train")

# %% tags=["remove-input"]
show_source(PhotographCaptioner.encode)

# %% [markdown]
# `self.projector` and `self.grid_positions` are {eq}`eq-photographs-memory`, then the encoder layer follows. The plain lines give the same:

# %% tags=["nbval-check-output"]
pixels = captioner.prepare([one.path for one in train_set[:3]])  # (B, 3, S, S)
with torch.no_grad():
    features = captioner.pretrained(pixels)  # (B, N, C)
    norm, linear = captioner.projector
    mean, variance = features.mean(-1, keepdim=True), features.var(-1, keepdim=True, correction=0)
    F = (features - mean) / (variance + norm.eps).sqrt() * norm.weight + norm.bias
    M = F @ linear.weight.T + linear.bias + captioner.grid_positions  # (B, N, D)
    memory = captioner.encode(pixels)
torch.testing.assert_close(captioner.encoder(M), memory, atol=1e-5, rtol=1e-5)
print("features", tuple(features.shape), "  memory", tuple(memory.shape))

# %% [markdown]
# ### Against the reference
#
# `load_encoder` takes any vision model of `transformers` that gives a square grid, by its name on the Hugging Face hub or by a folder: ViT
# {cite}`dosovitskiy2021`, CLIP {cite}`radford2021` and SigLIP {cite}`zhai2023` (their losses are in [chapter 10](10_contrastive.py)), DINOv2 {cite}`oquab2024`, ResNet {cite}`he2016`. They differ in
# their size, in their normalisation, and in what stands before the patches: ViT and CLIP have a class token there, DINOv2 may have registers
# as well, SigLIP and ResNet nothing. Each comes with an **image processor**, which scales, crops and normalises a photograph as in the model's
# training. We use that processor itself: whoever reads a few of its settings and does the rest by hand forgets one, as the order of the colours.
# Lite0 is a `PretrainedEncoder`, with a mean and a scale:

# %% tags=["remove-input"]
show_source(PretrainedEncoder)

# %% [markdown]
# For a model of `transformers`, a subclass asks the processor instead. Where a processor would keep a photograph's form, the photograph first becomes a square, so that all grids are alike:

# %% tags=["remove-input"]
from mmcourse.photographs.processed import ProcessedEncoder

show_source(ProcessedEncoder.process)

# %% tags=["remove-input"]
show_source(ProcessedEncoder.prepare)

# %% [markdown]
# We need no download to see whether this is right. We make a tiny ViT with random weights, save it as the hub would hold it, and compare with
# what the library computes by itself:

# %% tags=["nbval-check-output"]
from transformers import ViTConfig, ViTImageProcessorPil, ViTModel

torch.manual_seed(0)
sides = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=48)
vit = ViTModel(ViTConfig(**sides, image_size=48, patch_size=8)).eval()
processor = ViTImageProcessorPil(size={"height": 48, "width": 48})
for part in (vit, processor):
    part.save_pretrained(workshop / "vit")
encoder = load_encoder(workshop / "vit")
photograph = train_set[5].path
with torch.no_grad():
    theirs = vit(**processor(Image.open(photograph), return_tensors="pt")).last_hidden_state
    ours = encoder(encoder.prepare(photograph)[None])
print("theirs", tuple(theirs.shape), "  ours", tuple(ours.shape))
assert (theirs[:, 1:] - ours).abs().max() < 1e-5

# %% [markdown]
# Theirs has one row more: the class token, which is no place in the picture. Ours are the other rows. With a real model only the name
# changes, to `openai/clip-vit-base-patch16` for CLIP. Without a network this says which three files to fetch, and where to put them.
#
# ## From raw files to a score
#
# A frozen encoder gives the same features in every epoch, so we compute them once and keep them. `FeatureCache` writes them to
# the disk, 128 photographs a file; a run that was stopped goes on after the last whole file.

# %%
from mmcourse.photographs import Pairs, evaluate, inputs_of

start = time.perf_counter()
to_input, unreadable, notes = inputs_of(captioner, train_set + held_out, workshop / "features")
first = time.perf_counter() - start
start = time.perf_counter()
to_input, unreadable, notes = inputs_of(captioner, train_set + held_out, workshop / "features")
again = time.perf_counter() - start
kept = sum(file.stat().st_size for file in (workshop / "features").iterdir())
print(f"computed in {first:.2f} s, found again in {again:.3f} s, {kept / 22 / 1e3:.0f} kB a photograph")

# %% tags=["remove-cell"]
glue("photographs_kilobytes", kept / 22 / 1e3, display=False)

# %% [markdown]
# That is {glue:text}`photographs_kilobytes:.0f` kB a photograph, in half precision. Now the training of the rest: 80 pairs of a
# photograph and a caption, the loop of [chapter 12](12_training.py). For comparison we train the same captioner with other things in place of
# the features: those of three random encoders, **noise** (random numbers, drawn once for each photograph, which hold nothing of the picture), and
# zeros (it is blind). The numbers of a random encoder are tiny. The layer norm of {eq}`eq-photographs-memory` would take them for zeros, so we scale them to a standard deviation of one, as noise has.

# %%
from mmcourse.training import TrainingConfig, train


def noise(photograph):
    generator = torch.Generator().manual_seed(sum(photograph.name.encode()))
    return torch.randn(49, 1280, generator=generator)


@torch.no_grad()
def random_features(encoder):
    """What an encoder makes of each photograph, and how large: scaled grids, their deviation."""
    grids = {one: encoder(encoder.prepare(one.path)[None])[0] for one in train_set + held_out}
    deviation = torch.stack(list(grids.values())).std()
    return {one: grid / deviation for one, grid in grids.items()}, deviation.item()


sources = {"pretrained encoder": to_input, "noise": noise,
           "blind": lambda photograph: torch.zeros(49, 1280)}
for seed in range(3):
    grids, deviation = random_features(random_encoder(seed, 224))
    sources[f"random encoder {seed}"] = grids.__getitem__
    print(f"random encoder {seed}: deviation {deviation:.0e} before scaling")

# %%
config = TrainingConfig(steps=200, batch_size=16, learning_rate=2e-3, warmup=20, seed=1)
models, scores = {}, {}
for name, features_of in sources.items():
    torch.manual_seed(0)
    model = PhotographCaptioner(words, "efficientnet-lite0", **sizes)
    train(model, Pairs(train_set, features_of), PhotographCaptioner.loss, config,
          workshop / name.replace(" ", "-"), collate=model.collate)
    models[name] = model
    scores[name] = [evaluate(model, part, features_of)[0] for part in (train_set, held_out)]
print("                     trained on          held out")
print("                     BLEU-4  CIDEr-D     BLEU-4  CIDEr-D")
for name, parts in scores.items():
    row = "     ".join(f"{one['BLEU-4']:6.3f}  {one['CIDEr-D']:6.2f} " for one in parts)
    print(f"{name:20} {row}")

# %% tags=["remove-cell"]
for name, (seen, unseen) in scores.items():
    key = name.replace(" encoder", "").replace(" ", "_")
    glue(f"photographs_bleu_{key}", seen["BLEU-4"], display=False)
    glue(f"photographs_cider_{key}", seen["CIDEr-D"], display=False)
    glue(f"photographs_new_{key}", unseen["BLEU-4"], display=False)
    glue(f"photographs_newcider_{key}", unseen["CIDEr-D"], display=False)

# %% [markdown]
# Read the first two columns slowly. A BLEU-4 of {glue:text}`photographs_bleu_pretrained:.2f` is several times what is published for new photographs (*The full data*, below). But look at the second row:
# noise, in which there is nothing to see, reaches {glue:text}`photographs_bleu_noise:.2f`. It suffices that the sixteen
# grids differ. The captioner has learned sixteen captions by heart, and which grid calls for which. **With so few photographs
# this score measures memory, not sight.** The blind one, to which all photographs are alike, cannot do it
# ({glue:text}`photographs_bleu_blind:.2f`). Those with one of three random encoders reach {glue:text}`photographs_bleu_random_0:.2f`,
# {glue:text}`photographs_bleu_random_1:.2f` and {glue:text}`photographs_bleu_random_2:.2f` in as many steps. Their grids differ too, if in something harder to learn by heart than noise; what makes it harder, we have not measured.
#
# The two columns on the right are the test, and all rows fail it. Six photographs are too few to rank the rows: do not read more into their
# differences.

# %%
_, said = evaluate(models["pretrained encoder"], held_out, to_input)
for one, caption in zip(held_out, said, strict=True):
    print(f"{one.path.stem:10} {caption}")

# %% mystnb={"image": {"alt": "The six photographs that were held out: gravel, a flower, an airplane, an admiral, mountains, and many small pictures of a cat."}}
show_images([load_picture(one.path, 112) for one in held_out],
            [one.path.stem for one in held_out], size=1.2);

# %% [markdown]
# Where a sentence fits in part, our guess is that the held-out photograph resembles one of the sixteen for the encoder; the words are
# those of the sixteen. With 8,000 photographs the program is the same. We expect of them that captions can no longer be learned by heart
# before something more general is.
#
# ### Where it looks
#
# The memory has places, so the attention of each word can be laid over the photograph, as in chapter 14:

# %% mystnb={"figure": {"caption": "A photograph of the training set and its grid; then the attention of four words of its caption, the mean over layers and heads.", "name": "fig-photographs-attention"}, "image": {"alt": "Five copies of a photograph of a cat. The first has a grid of seven by seven cells. The others are faded but for some cells."}} tags=["hide-input"]
def looks(photograph, count, axes):
    """Draw the grid of a photograph, and where the captioner looked for its closest words."""
    image = load_picture(photograph.path, 112)
    caption = models["pretrained encoder"].caption(photograph.path, "greedy")
    weights = caption.attention.mean((0, 1))  # (T, N)
    show_scene(image, axes=axes[0], title="its grid")
    for line in range(16, 112, 16):
        axes[0].axhline(line - 0.5, color=PAPER, linewidth=0.6)
        axes[0].axvline(line - 0.5, color=PAPER, linewidth=0.6)
    closest = sorted(weights[:-1].max(1).values.argsort(descending=True)[:count].tolist())
    for axis, word in zip(axes[1:], closest, strict=True):
        show_scene(image, weights=weights[word].view(7, 7), axes=axis, title=caption.tokens[word])
    return caption.text


cat = next(one for one in train_set if one.path.stem == "cat")
figure, axes = plt.subplots(1, 5, figsize=(7.2, 1.7))
sentence = looks(cat, 4, axes)

# %% [markdown]
# Here too: what was learned by heart needs no look at the right place. These maps show the mechanism at work; whether they point at the things that are
# named can only be measured with boxes, as chapter 14 does.
#
# ## Files as people have them
#
# Flickr8k is around in several forms: `captions.txt` or `Flickr8k.token.txt`, with official lists of the splits, with the split of
# {cite:t}`karpathy2015` as JSON, or with none. `load_photographs` takes all of these, and COCO's annotations. And something is always wrong. We make such a
# folder: Windows line ends and a byte order mark, a caption in another encoding, one of a picture that is not there, a row twice, and a
# JPEG whose end is missing.

# %% tags=["nbval-check-output"]
messy = workshop / "messy"
shutil.copytree(TINY, messy)
lines = (TINY / "captions.txt").read_bytes()
lines += b"lost.jpg,a picture that nobody has\n" + lines.splitlines()[-1] + b"\n"
lines += b"cat.jpg,a cat in a caf\xe9\n" + b'cat.jpg,"a ""big"" cat, asleep"\n'
(messy / "captions.txt").write_bytes(b"\xef\xbb\xbf" + lines.replace(b"\n", b"\r\n"))
shutil.copy(messy / "Images" / "cat.jpg", messy / "Images" / "new.jpg")
(messy / "Images" / "coins.jpg").write_bytes((TINY / "Images" / "coins.jpg").read_bytes()[:900])

found_messy, notes = load_photographs("flickr8k", messy)
messy_input, unreadable, more = inputs_of(captioner, found_messy["train"], workshop / "messy-features")
for note in [*notes, *more]:
    print(note.replace(str(messy), "DIR"))
cat_messy = next(one for one in found_messy["train"] if one.path.stem == "cat")
print(cat_messy.captions[-2:])

# %% [markdown]
# Each fault is counted, said once, and left out; the run goes on. That a JPEG is broken shows only when it is read, so
# the cache finds it. The words of a caption are small letters, digits and apostrophes, everything else separates them. **BLEU depends on
# this**: the same captions with another rule for words have another score ([chapter 13](13_evaluation.py)), so a score without its rule says little.
#
# ## The full data
#
# Nothing above needs 8,000 photographs, and nothing above says how good this captioner gets with them. These are the
# numbers that others report for Flickr8k, to know what to expect:
#
# | captioner | BLEU-4 | source |
# |---|---|---|
# | LSTM with soft attention on the grid of a VGG network | 19.5 | {cite:t}`xu2015`, table 1 |
# | the same with hard attention | 21.3 | {cite:t}`xu2015`, table 1 |
# | this chapter's, frozen Lite0, ViT or CLIP | not measured | needs the photographs: the commands below |
#
# The numbers are in percent, and each was computed with its own rule for words, which alone can move BLEU by more than a point {cite}`post2018`. Ours is missing because the data may
# not be passed on with the course, and nobody has run these commands on it for this page. With Flickr8k in a folder, they train and score the captioner, with features and checkpoints kept, so
# that a stopped run goes on when it is started again:
#
# ```sh
# pip install "mmcourse[photographs]"
# mmcourse train --data flickr8k --root flickr8k --encoder efficientnet-lite0 --out runs/lite0
# mmcourse evaluate --data flickr8k --root flickr8k --model runs/lite0 --split test
#
# mmcourse train --data flickr8k --root flickr8k --encoder openai/clip-vit-base-patch16 --out runs/clip
# mmcourse evaluate --data flickr8k --root flickr8k --model runs/clip --split val
# mmcourse caption holiday.jpg --model runs/clip
# ```
#
# A run makes 20 passes over the photographs (`--passes`). A step takes 13 of them with all their captions, so that each is encoded once for its captions. After each
# pass (where passes are short, after as many as make 50 steps) it describes 500 photographs of the validation split, or all if there are fewer. It keeps the model with the best CIDEr-D there, says of which
# step that is, and ends when six evaluations in a row were no better. None of these numbers has been tried on Flickr8k.
#
# For COCO write `--data coco`. `--fine-tune` trains the encoder as well, with a smaller rate, in 15 passes, without a cache and at many times the cost.
#
# ### Optional: with Flickr8k on your disk
#
# The next cell does something only where the environment variable `FLICKR8K_ROOT` names the folder.

# %%
root = os.environ.get("FLICKR8K_ROOT")
if not root:
    print("FLICKR8K_ROOT is not set: nothing to do. Get Flickr8k, set the variable, run again.")
else:
    flickr, notes = load_photographs("flickr8k", root)
    print(*notes, {split: len(part) for split, part in flickr.items()}, sep="\n")
    some, new = flickr["train"][:500], flickr["val"][:100]
    model = PhotographCaptioner(vocabulary(flickr["train"]), "efficientnet-lite0")
    flickr_input, bad, _ = inputs_of(model, some + new, workshop / "flickr8k")
    train(model, Pairs([one for one in some if one not in bad], flickr_input),
          PhotographCaptioner.loss, TrainingConfig(500, 32, 5e-4, 25), workshop / "flickr8k-run",
          collate=model.collate)
    print(evaluate(model, [one for one in new if one not in bad], flickr_input)[0])

# %% [markdown]
# It trains on 500 photographs for some minutes: too few for the numbers of the table, enough to see that everything works.
#
# ## What came after
#
# - **Cells that stay good.** DINOv3 {cite}`simeoni2025` learned from pictures alone and is made to be used frozen. Its authors report that in long training the features of single places become worse. They add a term that holds the similarities between places near those of an earlier state. For a memory of cells that is the part that counts.
# - **Which layer?** We take the last. {cite:t}`bolya2025` find that their encoder, from contrastive training, has its best features for many tasks in layers further in, and tune it to bring them to the end. With another layer $F$ is another table, and all else on this page stays.
# - **No square.** NaViT {cite}`dehghani2023` keeps a photograph's form. It takes as many patches as there are and packs several photographs into one row, with a mask between them; SigLIP 2 {cite}`tschannen2025` has variants that keep the form too. Then {eq}`eq-photographs-cells` has two sides, and one table $E$ no longer fits.
# - **What an encoder takes for equal.** {cite:t}`tong2024` search for pairs of pictures that are near each other for CLIP and differ plainly, to DINOv2 as to people. Language models that see through CLIP often answer wrongly about them. Our search for the nearest drawing is such a test, before any decoder is trained.
# - **Registers.** {cite:t}`darcet2024` find that large vision Transformers use some patches of plain background for computations of their own: the vectors there become very long, and maps of attention have spots. With a few **register tokens** beside the patches the spots went away. These are the rows that our code leaves out of the grid.
#
# So a spot on a map need not be about that place. What a word of a caption does depend on, and how one can know, is the question of [chapter 17](17_interpretability.py).
#
# ## What goes wrong
#
# **The wrong normalisation.** Each encoder was trained on numbers of one kind, and none complains about others. We give Lite0 what is usual
# elsewhere: values from 0 to 1, the raw 0 to 255, and blue in place of red. First the drawings again, then the captions of our
# sixteen photographs, which the captioner knows by heart:

# %%
class Swapped(PretrainedEncoder):
    def prepare(self, picture):
        return super().prepare(picture).flip(0)  # blue, green, red


def wrong(kind, side):
    mean, scale = {"0 to 1": (0.0, 255.0), "0 to 255": (0.0, 1.0)}.get(kind, (127.0, 128.0))
    make = Swapped if kind == "blue for red" else PretrainedEncoder
    return make(lite0.network, lite0.extract, side, [mean] * 3, [scale] * 3)


damage = {}
for kind in ("right", "0 to 1", "0 to 255", "blue for red"):
    whole, small = wrong(kind, 224), wrong(kind, 96)
    hits = is_found(vectors(small, openmoji), vectors(small, noto))
    gap = less(hits, same["pretrained encoder", "centred"])
    with torch.no_grad():
        grids = {one: whole(whole.prepare(one.path)[None])[0] for one in train_set}
    known = evaluate(models["pretrained encoder"], train_set, grids.__getitem__)[0]["BLEU-4"]
    damage[kind] = hits.mean(), known, gap
    print(f"{kind:14} same thing found {hits.mean():.1%}, less right {gap.value:+.1%} "
          f"({gap.low:+.1%} to {gap.high:+.1%})   BLEU-4 of known photographs {known:.3f}")

# %% tags=["remove-cell"]
for kind, (share, known, _) in damage.items():
    glue(f"photographs_wrong_{kind.replace(' ', '_')}", float(share), display=False)
    glue(f"photographs_wrongbleu_{kind.replace(' ', '_')}", known, display=False)
clear = sum(gap.low > 0 or gap.high < 0 for _, _, gap in damage.values())
glue("photographs_wrong_clear", clear, display=False)

# %% [markdown]
# No error, in any row. How much harm? Of the drawings the right one finds {glue:text}`photographs_wrong_right:.0%`, raw values {glue:text}`photographs_wrong_0_to_255:.0%`, values from 0 to 1 {glue:text}`photographs_wrong_0_to_1:.0%`,
# blue for red {glue:text}`photographs_wrong_blue_for_red:.0%`. Of these three differences {glue:text}`photographs_wrong_clear:d` have an interval clear of zero on {glue:text}`photographs_drawings:d` drawings; the others cannot be told from noise. The captions of known photographs go from
# {glue:text}`photographs_wrongbleu_right:.2f` to {glue:text}`photographs_wrongbleu_0_to_255:.2f` with raw values, and hardly notice the others
# ({glue:text}`photographs_wrongbleu_0_to_1:.2f` and {glue:text}`photographs_wrongbleu_blue_for_red:.2f`): what was learned by heart is recognised through
# a good deal of damage. Only one of three mistakes shows plainly in the captions, and in one training at that. That is the trap: such a mistake may cost little or much, and
# neither an error nor a small test says which. That is why `load_encoder` leaves the preprocessing to the encoder's own
# image processor, and why the encoder's fingerprint, which includes it, is kept with the features and with the captioner.
#
# **Features of another encoder.** A cache that goes by names only would serve yesterday's features for today's encoder. Ours goes by the
# fingerprint, and says what it leaves alone:

# %% tags=["nbval-check-output"]
from mmcourse.photographs import FeatureCache

cache = FeatureCache(workshop / "features", wrong("0 to 1", 224))
print(f"files of other encoders: {cache.others}, features for this one: {len(cache.shards)}")

# %% [markdown]
# ## Exercises
#
# ```{exercise-start} How many cells, how many bytes
# :label: ex-photographs-cells
# ```
# *Easy, 5 minutes.* Use {eq}`eq-photographs-cells` for ViT-B/16 at 224 pixels ($C = 768$), DINOv2-B/14 at 224 ($C = 768$), SigLIP-B/16 at 384 ($C = 768$) and
# Lite0 at 224 with a stride of 32 ($C = 1280$). How large are the features of 8,091 photographs in half precision, two bytes a number?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-photographs-cells
# :label: so-photographs-cells
# :class: dropdown
# ````
# Twice the number of cells times $C$ for each photograph. The finer grid of SigLIP costs three times as much as that of ViT.

# %% tags=["nbval-check-output"]
for name, S, P, C in (("ViT-B/16", 224, 16, 768), ("DINOv2-B/14", 224, 14, 768),
                      ("SigLIP-B/16", 384, 16, 768), ("Lite0", 224, 32, 1280)):
    N = (S // P) ** 2
    print(f"{name:12} {N:4} cells, {2 * N * C * 8091 / 1e9:.1f} GB")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} What a centre crop cuts off
# :label: ex-photographs-crop
# ```
# *Easy, 10 minutes.* Many image processors scale a photograph until its shorter side fits and cut the middle square out. For Lite0 we keep the whole photograph and
# fill the square by repeating its edge. For our 22 photographs: which share of the pixels would the crop lose, on the mean and at most? Which photograph
# suffers most?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-photographs-crop
# :label: so-photographs-crop
# :class: dropdown
# ````
# The crop keeps a square of the shorter side. A caption speaks about the whole photograph, also about what the crop cut off.

# %% tags=["nbval-check-output"]
lost = {}
for one in train_set + held_out:
    sides = Image.open(one.path).size
    lost[one.path.stem] = 1 - min(sides) / max(sides)
worst = max(lost, key=lost.get)
print(f"mean {np.mean(list(lost.values())):.0%}, at most {lost[worst]:.0%} ({worst})")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} A person's BLEU-4
# :label: ex-photographs-human
# ```
# *Medium, 15 minutes.* Score people as if they were captioners: the first caption of each of the 22 photographs against the other four. Then
# a captioner that always writes the caption of the photograph before. What do the two numbers say about BLEU-4 on so few photographs?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-photographs-human
# :label: so-photographs-human
# :class: dropdown
# ````
# People who describe the same photograph rarely use the same four words in a row. On 22 captions there are few sequences of four to match at all, so the
# number moves with every match. A low BLEU-4 does not show a false caption, and a high one, as we saw, not a true one.

# %% tags=["nbval-check-output"]
from mmcourse.evaluation import bleu, cider_d

everything = train_set + held_out
others = [list(one.captions[1:]) for one in everything]
own = [one.captions[0] for one in everything]
for name, captions in (("a person", own), ("the one before", own[-1:] + own[:-1])):
    print(f"{name:15} BLEU-4 {bleu(captions, others)[3]:.3f}  CIDEr-D {cider_d(captions, others):.2f}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} Words that are not there
# :label: ex-photographs-unknown
# ```
# *Medium, 10 minutes.* Build the vocabulary of the sixteen photographs with `min_count` 1, 2 and 5. Which share of the words of the held-out captions is
# unknown to each? Why do captioners leave rare words out all the same?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-photographs-unknown
# :label: so-photographs-unknown
# :class: dropdown
# ````
# A word that came once has one context to be learned from, and costs a row of the output layer. The captioner reads an unknown word as a sign of its own, and never learns to
# write that sign.

# %% tags=["nbval-check-output"]
new_words = [word for one in held_out for text in one.captions for word in text.split()]
for least in (1, 2, 5):
    known = set(vocabulary(train_set, least))
    unknown = np.mean([word not in known for word in new_words])
    print(f"min_count {least}: {len(known):3} words, {unknown:.0%} of the held-out words unknown")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} How much of the picture does a cell see?
# :label: ex-photographs-cell
# ```
# *Hard, 25 minutes.* Paint one cell of a photograph grey (32 by 32 pixels for Lite0) and measure how far the features of each of the 49 cells move. Which share
# of all movement is in the painted cell? Does a map of attention say where the decoder looked, or where the information came from?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-photographs-cell
# :label: so-photographs-cell
# :class: dropdown
# ````
# A cell's features come from a receptive field (chapter 5) that is larger than the cell, so its neighbours move too. The attention names the cell whose vector was
# used; the information in it can come from around it. In a vision Transformer, where each patch has looked at all others, from anywhere.

# %%
image = load_picture(cat.path, 224)
painted = image.copy()
painted[96:128, 96:128] = 127  # row 3, column 3
with torch.no_grad():
    before, after = lite0(torch.stack([lite0.prepare(image), lite0.prepare(painted)]))
moved = (after - before).norm(dim=-1).view(7, 7)
around = moved[2:5, 2:5].sum() - moved[3, 3]
print(f"in the cell {moved[3, 3] / moved.sum():.0%}, in the eight around it {around / moved.sum():.0%}, "
      f"elsewhere {1 - (moved[3, 3] + around) / moved.sum():.0%}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ## Quiz
#
# ::::::{card}
# :class-card: quiz
# **1.** A captioner has a BLEU-4 of 0.95 on the photographs that it was trained on. What do you know?
#
# :::{dropdown} It describes photographs nearly as well as people do
# **No.** People's captions agree far less with one another. Such a number on training data is a sign of learning by heart.
# :::
# :::{dropdown} Its encoder sees well
# **No.** With noise in place of the features the number is nearly as high. It suffices that photographs can be told apart.
# :::
# :::{dropdown} It has learned these captions by heart
# **Yes.** Whether it can do more shows on photographs that it has not seen.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **2.** Why may the features of a frozen encoder be computed once and kept?
#
# :::{dropdown} Because they do not change during training
# **Yes.** The same photograph, weights and normalisation give the same numbers in every epoch.
# :::
# :::{dropdown} Because features need less space than a JPEG
# **No.** They need about as much or more; what they save is the time of the encoder.
# :::
# :::{dropdown} Because the decoder does not look at the photograph
# **No.** It looks at its features for each word. That is a reason to have them at hand, not that they stay the same.
# :::
# :::{dropdown} One may not, since each epoch needs new ones
# **No.** That is true when the encoder is fine-tuned, or the photographs are varied at random.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **3.** A ViT gives 197 rows for a picture of 224 pixels with patches of 16. What is the extra row?
#
# :::{dropdown} The position of the picture
# **No.** Positions are added to the rows; they are none themselves.
# :::
# :::{dropdown} The class token
# **Yes.** It belongs to no place. There are 14 times 14 patches, and one token before them that stands for the whole. As a cell of a grid it would shift all others by one.
# :::
# :::{dropdown} A patch that was cut in half at the edge
# **No.** 224 is a multiple of 16, so no patch is cut.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **4.** A captioner was trained with pixels from -1 to 1, as its encoder expects them. In use you give it raw ones, from 0 to 255. What happens?
#
# :::{dropdown} The encoder raises an error about the range
# **No.** Any real numbers go through a network. Nothing checks that they are the right ones.
# :::
# :::{dropdown} Nothing, since the layer norm after the encoder repairs the scale
# **No.** It comes after the whole encoder, whose layers saw numbers that they never met. The BLEU-4 of captions known by heart fell from {glue:text}`photographs_wrongbleu_right:.2f` to {glue:text}`photographs_wrongbleu_0_to_255:.2f`.
# :::
# :::{dropdown} Captions get worse, and no error says why
# **Yes.** Only a comparison with the right normalisation, or with the encoder's own preprocessing, shows the mistake.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **5.** Two papers report BLEU-4 of 21 and 22 on Flickr8k. Which is better?
#
# :::{dropdown} The second, by one point
# **No.** Not before you know that both used the same split, the same rule for words, and the same number of runs.
# :::
# :::{dropdown} That cannot be said from the two numbers
# **Yes.** Another rule for words alone can move the score by more than this {cite}`post2018`.
# :::
# :::{dropdown} Neither, since BLEU-4 says nothing about a caption
# **No.** On the same captions under the same rule it says something about shared word sequences; across papers it says less.
# :::
# ::::::
#
# ## Take-aways
#
# - A pretrained encoder brings what others' data taught it: it finds a moved thing in another artist's drawing in
#   {glue:text}`photographs_same_moved_pretrained:.0%` of the cases, pixels in {glue:text}`photographs_same_moved_pixels:.0%`, the same network untrained in
#   {glue:text}`photographs_same_moved_random:.0%`. With all drawings centred, pixels do as well.
# - Its grid of features, mapped to the decoder's width and given positions, is the memory; class and register tokens are no places.
# - On sixteen photographs a high score is memory: noise reaches {glue:text}`photographs_bleu_noise:.2f`, and new photographs
#   {glue:text}`photographs_new_pretrained:.2f`.
# - An encoder comes with its normalisation. Another one raises no error, and a small test may not show it either: take the encoder's own preprocessing.
# - Count what is wrong in the files, say it once, and go on.
#
# ## Further reading
#
# - {cite:t}`xu2015`: a decoder that attends to the grid of a frozen, pretrained network; section 4 and table 1.
# - {cite:t}`hodosh2013`: Flickr8k, how the captions were collected.
# - {cite:t}`karpathy2015`: the split that most papers on Flickr8k and COCO share.
# - {cite:t}`tan2019`: the family of networks from which Lite0 comes.
# - {cite:t}`radford2021`, {cite:t}`zhai2023` and {cite:t}`oquab2024`: encoders trained on captions and on pictures alone, instead of classes.

# %% tags=["remove-cell"]
astronaut = next(one for one in train_set if one.path.stem == "astronaut")
figure, axes = plt.subplots(1, 4, figsize=(7.2, 2.2))
sentence = looks(astronaut, 3, axes)
figure.suptitle(f"“{sentence}”", fontsize=10)
glue("photographs_promise", figure, display=False)
plt.close(figure)
shutil.rmtree(workshop)
