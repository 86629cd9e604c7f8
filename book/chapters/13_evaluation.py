# ---
# jupyter:
#   course: {notebook: notebooks/13_evaluation.ipynb}
# ---

# %% [markdown]
# # Evaluation
#
# At the end of this chapter you can say how good a captioner, a classifier or a search is, how sure you are of the number, and
# what the number does not see.
#
# ```{glue:figure} evaluation_promise
# :name: fig-evaluation-promise
# :alt: A small picture, and beside it bars of four scores for two sentences. The false sentence has the longer bars for BLEU-4, ROUGE-L and CIDEr-D, the true one has the longer bar for fact precision.
#
# Two sentences about one picture, scored with one reference. The false one gets the better score from three of four metrics.
# ```
#
# ::::{card}
# :class-card: chapter-card
#
# **Goals**
#
# - compute BLEU, ROUGE-L, CIDEr-D and CLIPScore by hand, and explain what each of them ignores
# - measure how often a metric prefers a true sentence to a false one
# - read a confusion table; choose between accuracy, macro F1 and micro F1; count recall@k both ways
# - put an interval around any number, and compare two systems on the same pictures
# - measure whether a confidence means what it says
# - find a leak, and count how many comparisons were made before the one that is reported
#
# **Before you start:** logarithms and counting; a standard error is in [chapter 0](00_before_attention.py). We judge the captioner that
# [chapter 14](14_captioning.py) builds. It comes with the course, and here it is enough that it takes a picture and writes a sentence.
#
# :::{card-footer}
# Reading {measured}`reading` min · runs in {measured}`seconds` s on two CPU cores, {measured}`megabytes` MB ·
# difficulty ●●○
# :::
# ::::

# %% tags=["remove-cell"]
import math
import re
from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import product
from random import Random

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from myst_nb import glue
from PIL import Image
from torch import nn

from mmcourse.book.plotting import BLUE, GREY, INK, ORANGE, PAPER, TEAL, WEIGHTS, show_images, use_style
from mmcourse.book.source import show_source

use_style()

# %% [markdown]
# ## Two sentences about one picture
#
# In [chapter 12](12_training.py) an answer was a name, right or wrong. A sentence is harder to judge.
# Here is a scene, and four sentences that people might have written about it.

# %% tags=["nbval-check-output"]
from mmcourse.data import EmojiScenes, language

val = [EmojiScenes("val")[index] for index in range(240)]
scene = next(scene for scene in val if scene.description.relation)
references = scene.captions[:4]
for text in references:
    print(text)

# %% mystnb={"image": {"alt": "One scene with two kinds of things on a simple background."}}
show_images([scene.image], size=2.2);

# %% [markdown]
# These are the **references**. Now two more sentences, each a **hypothesis** that some system could have written. The first repeats
# the first reference with a single change; the second is what another writer would say.

# %% tags=["nbval-check-output"]
from mmcourse.evaluation import bleu, fact_score

turned = replace(scene.description, relation=language.INVERSE[scene.description.relation])
near_copy = language.captions(turned, Random(f"{scene.key}/captions"))[0]
other_writer = language.captions(scene.description, Random("another writer"))[4]
for text in (near_copy, other_writer):
    score, facts = bleu([text], [references])[3], fact_score(text, scene)
    print(f"BLEU-4 {score:.2f}   facts that are true {facts.precision:.2f}   {text}")

# %% tags=["remove-cell"]
glue("evaluation_first_false", bleu([near_copy], [references])[3], display=False)
glue("evaluation_first_true", bleu([other_writer], [references])[3], display=False)

# %% [markdown]
# The first sentence puts the things the wrong way round, and has a BLEU-4 of {glue:text}`evaluation_first_false:.2f`. The second is
# true, and has {glue:text}`evaluation_first_true:.2f`. Most captioning papers print a BLEU. **What do
# such numbers measure, how often do they side with the false sentence, and when is a difference between two of them more than luck?**
#
# ## Scores of words: BLEU
#
# An **n-gram** is a sequence of n words that stand next to each other. The n-gram **precision** asks how many n-grams of a
# hypothesis occur in a reference:
#
# $$
# p_n = \frac{\sum_{g} \min\bigl(c_g,\; \max_j c_{gj}\bigr)}{\sum_{g} c_g}
# $$ (eq-evaluation-precision)
#
# | symbol | what it is |
# |---|---|
# | $g$ | runs over the different n-grams of the hypothesis |
# | $c_g$ | how often the hypothesis holds $g$ |
# | $c_{gj}$ | how often reference $j$ holds $g$ |
#
# The minimum **clips**: a word repeated ten times counts as often as one reference has it. A precision alone is won by a sentence that
# says one safe word. So BLEU {cite}`papineni2002` multiplies the geometric mean of the precisions by a **brevity penalty**:
#
# $$
# \text{BLEU-}n = \min\bigl(1,\; e^{1 - r/c}\bigr) \cdot \bigl(p_1\, p_2 \cdots p_n\bigr)^{1/n}
# $$ (eq-evaluation-bleu)
#
# where $c$ is the number of words of the hypothesis and $r$ that of the reference whose length is closest. For a whole
# **corpus**, a list of hypotheses, numerators, denominators and lengths are each summed over the hypotheses first, and divided once.
#
# On paper: the hypothesis *a dog on the grass*, the reference *a big dog on the grass*.
#
# | n | n-grams of the hypothesis | in the reference |
# |---|---|---|
# | 1 | a, dog, on, the, grass | 5 of 5 |
# | 2 | a dog, dog on, on the, the grass | 3 of 4 |
# | 3 | a dog on, dog on the, on the grass | 2 of 3 |
# | 4 | a dog on the, dog on the grass | 1 of 2 |
#
# The product of the four is $\tfrac34 \cdot \tfrac23 \cdot \tfrac12 = \tfrac14$, its fourth root $\sqrt{1/2}$. The hypothesis has 5 words against
# 6, so BLEU-4 is $e^{-1/5} \sqrt{1/2}$. In plain Python:

# %% tags=["nbval-check-output"]
HYPOTHESIS, REFERENCE = "a dog on the grass", "a big dog on the grass"


def grams(text, n):
    """How often a text holds each n-gram."""
    words = text.split()
    return Counter(tuple(words[i:i + n]) for i in range(len(words) - n + 1))


def bleu_by_hand(hypothesis, reference, n):
    precisions = []
    for order in range(1, n + 1):
        ours, theirs = grams(hypothesis, order), grams(reference, order)
        common = sum(min(count, theirs[gram]) for gram, count in ours.items())
        precisions.append(common / max(1, ours.total()))  # a short text has no long n-grams
    c, r = len(hypothesis.split()), len(reference.split())
    return min(1, math.exp(1 - r / max(1, c))) * math.prod(precisions) ** (1 / n)


ours = bleu([HYPOTHESIS], [[REFERENCE]])
for n in (1, 2, 3, 4):
    by_hand = bleu_by_hand(HYPOTHESIS, REFERENCE, n)
    print(f"BLEU-{n}  by hand {by_hand:.6f}   mmcourse {ours[n - 1]:.6f}")
    assert math.isclose(by_hand, ours[n - 1], abs_tol=1e-8)
assert math.isclose(ours[3], math.exp(-1 / 5) * math.sqrt(1 / 2), abs_tol=1e-8)

# %% [markdown]
# The package counts in the same way, for many hypotheses with several references each. Of two counters, `|` keeps the larger count of
# each n-gram and `&` the smaller: `|` over the references gives the maximum of {eq}`eq-evaluation-precision`, `&` its minimum.

# %% tags=["remove-cell"]
from mmcourse.evaluation import bleu_counts, bleu_from_counts, cider_d, fast, rouge_l
from mmcourse.evaluation.captions import clipped_cosine, weigh

# %% tags=["remove-input"]
show_source(bleu_counts)

# %% tags=["remove-input"]
show_source(bleu_from_counts)

# %% [markdown]
# `bleu_counts` gives ten whole numbers a caption, and BLEU of any set of captions needs only their sums. We use that for intervals below.
#
# For thousands of captions `mmcourse.evaluation.fast` has a second form, which counts the n-grams of all captions at once. It gives every word
# a number; two n-grams that are one word apart make an (n + 1)-gram, which gets a number again. Then counting is sorting.

# %% tags=["remove-input"]
show_source(fast.count_ngrams)

# %% tags=["nbval-check-output"]
plain = bleu_counts([HYPOTHESIS], [[REFERENCE]])
print("plain", plain.tolist(), "\nfast ", fast.bleu_counts([HYPOTHESIS], [[REFERENCE]]).tolist())
assert (plain == fast.bleu_counts([HYPOTHESIS], [[REFERENCE]])).all()

# %% [markdown]
# ## Scores of words: ROUGE-L and CIDEr-D
#
# **ROUGE-L** {cite}`lin2004` takes the **longest common subsequence**: the most words that both texts hold in the same order, with gaps
# allowed. With $\ell$ its length, $c$ the words of the hypothesis and $r$ those of the reference:
#
# $$
# P = \frac{\ell}{c}, \qquad R = \frac{\ell}{r}, \qquad
# F = \frac{(1 + \beta^2)\, P R}{R + \beta^2 P}, \qquad \beta = 1.2
# $$ (eq-evaluation-rouge)
#
# $\beta > 1$ lets recall weigh more; 1.2 is the value in COCO's code, which also takes the largest $P$ and the largest $R$ over several
# references, not always of the same one. In our example all five words of the hypothesis are common, so $P = 1$ and $R = 5/6$.

# %% tags=["nbval-check-output"]
@cache
def common_length(first, second):
    """Longest common subsequence of two tuples of words, from its definition."""
    if not first or not second:
        return 0
    if first[-1] == second[-1]:
        return 1 + common_length(first[:-1], second[:-1])
    return max(common_length(first[:-1], second), common_length(first, second[:-1]))


def rouge_by_hand(hypothesis, reference, beta=1.2):
    first, second = tuple(hypothesis.split()), tuple(reference.split())
    length = common_length(first, second)
    if length == 0:  # nothing in common, so P = R = 0
        return 0.0
    P, R = length / len(first), length / len(second)
    return (1 + beta**2) * P * R / (R + beta**2 * P)


by_hand, ours = rouge_by_hand(HYPOTHESIS, REFERENCE), rouge_l([HYPOTHESIS], [[REFERENCE]])
print(f"ROUGE-L  by hand {by_hand:.6f}   mmcourse {ours:.6f}")
assert math.isclose(by_hand, ours, abs_tol=1e-12)

# %% tags=["remove-input"]
show_source(rouge_l)

# %% [markdown]
# **CIDEr-D** {cite}`vedantam2015` asks which n-grams are worth something. What every picture's references hold ("there is a")
# says nothing about this picture. So each n-gram weighs $\log (I / I_g)$, where $I_g$ of all $I$ pictures have it in a reference:
#
# $$
# \text{CIDEr-D} = \frac{10}{4M} \sum_{n=1}^{4} \sum_{j=1}^{M} e^{-(l - l_j)^2 / 2 \sigma^2}\;
# \frac{\min(h_n, h_{nj}) \cdot h_{nj}}{\lVert h_n \rVert\, \lVert h_{nj} \rVert},
# \qquad h_n(g) = c_g \log \frac{I}{\max(1, I_g)}
# $$ (eq-evaluation-cider)
#
# | symbol | what it is |
# |---|---|
# | $g$, $c_g$ | an n-gram, and how often the text holds it |
# | $h_n$, $h_{nj}$ | vectors of the hypothesis and of reference $j$: an entry $h_n(g)$ for each n-gram $g$ of order $n$ |
# | $\min$ | taken entry by entry, so that a repeated n-gram counts for no more than in the reference |
# | $M$ | how many references this picture has |
# | $l$, $l_j$ | the numbers of words of the hypothesis and of reference $j$ |
# | $\sigma$ | how far the lengths may differ: 6 words, so $2 \sigma^2 = 72$ |
# | $I$, $I_g$ | the number of pictures; of those with $g$ in a reference, where none counts as one |
#
# This is the formula of COCO's code, which papers run. {cite:t}`vedantam2015` print another: there each count $c_g$ is divided by
# the number of all n-grams of order $n$ in its text. From a cosine such a divisor cancels. From CIDEr-D's minimum it does not: where
# hypothesis and reference differ in length, the two formulas differ.
#
# The score of a corpus is the mean over its pictures. On paper, two pictures with one reference each: *a dog* and *a cat*. The
# word *a* is in both, so it weighs $\log(2/2) = 0$. *dog*, *cat* and the two pairs weigh $\log 2$ each. The hypothesis *a dog* for the
# first picture agrees in single words and in pairs, and there are no longer n-grams: $\tfrac{10}{4}(1 + 1) = 5$. The same
# hypothesis for the second picture shares only *a*, and gets 0.

# %% tags=["nbval-check-output"]
def cider_by_hand(hypotheses, references, divide=False):
    """One reference a picture, COCO's formula; with ``divide`` that of the paper."""
    def weigh(text, n):
        counts = grams(text, n)
        divisor = max(1, counts.total()) if divide else 1
        seen = {gram: sum(gram in grams(other, n) for other in references) for gram in counts}
        return {gram: count / divisor * math.log(len(references) / max(1, seen[gram]))
                for gram, count in counts.items()}

    total = 0.0
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        gap = len(hypothesis.split()) - len(reference.split())
        for n in (1, 2, 3, 4):
            ours, theirs = weigh(hypothesis, n), weigh(reference, n)
            dot = sum(min(ours.get(gram, 0), weight) * weight for gram, weight in theirs.items())
            norms = math.hypot(*ours.values()) * math.hypot(*theirs.values())
            total += 10 / 4 * math.exp(-gap**2 / 72) * dot / norms if dot else 0.0
    return total / len(hypotheses)


# %% tags=["nbval-check-output"]
said, written = ["a dog", "a dog"], ["a dog", "a cat"]
print("mean of 5 and 0: by hand", cider_by_hand(said, written),
      "  mmcourse", round(cider_d(said, [[text] for text in written]), 12))
texts, firsts = [scene.captions[1] for scene in val[:40]], [s.captions[0] for s in val[:40]]
coco, paper = (cider_by_hand(texts, firsts, divide) for divide in (False, True))
print(f"40 captions of scenes: COCO's formula {coco:.3f}   the paper's {paper:.3f}")
assert abs(coco - cider_d(texts, [[text] for text in firsts])) < 1e-9

# %% tags=["remove-input"]
show_source(weigh)

# %% tags=["remove-input"]
show_source(clipped_cosine)

# %% tags=["remove-input"]
show_source(cider_d)

# %% [markdown]
# The two formulas give nearly the same here, but not the same: a CIDEr-D needs the name of its program too.
#
# CIDEr-D of a caption depends on all other pictures of the test. Of one picture alone it is always 0, since $I = I_g = 1$. And it goes up to 10, not to 1.
#
# ### Against the reference
#
# Three functions that agree with our own hands prove little. The scorers of the COCO challenge {cite}`lin2014`, in the package
# `pycocoevalcap`, are what papers use. We score real captions of the shipped captioner on all scenes with both.

# %%
from mmcourse.captioning import PAD
from mmcourse.hub import load

shipped = load("scenes").requires_grad_(False)


def describe(scenes, strategy="greedy", size=60, **options):
    """Sentences of the shipped captioner about many pictures, ``size`` at a time."""
    images = [scene if isinstance(scene, np.ndarray) else scene.image for scene in scenes]
    return [caption.text for start in range(0, len(images), size)
            for caption in shipped.caption(images[start:start + size], strategy, **options)]


greedy = describe(val)
for scene, text in zip(val[:3], greedy, strict=False):
    print("captioner:", text, "\nreference:", scene.captions[0], "\n")

# %%
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

references = [scene.captions for scene in val]
given = dict(enumerate(references)), {i: [text] for i, text in enumerate(greedy)}
theirs = [*Bleu(4).compute_score(*given, verbose=0)[0], Rouge().compute_score(*given)[0],
          Cider().compute_score(*given)[0]]
ours = [*bleu(greedy, references), rouge_l(greedy, references), cider_d(greedy, references)]
names = ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr-D"]
for name, a, b in zip(names, ours, theirs, strict=True):
    print(f"{name:8} mmcourse {a:.6f}   pycocoevalcap {b:.6f}")
word_gap = float(np.abs(np.subtract(ours, theirs)).max())
assert word_gap < 1e-9

# %% tags=["remove-cell"]
glue("evaluation_word_gap", word_gap, display=False)
glue("evaluation_scenes", len(val), display=False)

# %% [markdown]
# The largest difference is {glue:text}`evaluation_word_gap:.1e`.
#
# ## Scores of facts
#
# There is another way: parse the sentence into facts, such as a thing, its number or its place, and look each one up ([chapter 14](14_captioning.py) shows a sentence with its facts). With $F$ the set of facts that a
# hypothesis states, $W$ those that are true of the scene, and $D$ those that a full caption states:
#
# $$
# \text{fact precision} = \frac{|F \cap W|}{|F|}, \qquad \text{fact recall} = \frac{|F \cap D|}{|D|}
# $$ (eq-evaluation-facts)
#
# $D$ is a part of $W$. What is missing from a precision of 1 is our **hallucination** rate. The best-known measure of it, CHAIR
# {cite}`rohrbach2018`, counts objects only: of all objects that the captions name, the share that is not in the picture. Ours counts numbers,
# colours, sizes, places and backgrounds as well, so the two cannot be compared. On paper: a scene holds two red cars
# at night, and the caption says *two blue cars at night*. It states four facts (car, two, blue, night), three are true, and
# four are due: 3/4 and 3/4. CHAIR would find nothing wrong: a car is there.

# %% tags=["nbval-check-output"]
from mmcourse.data.language import Description, Group, parse
from mmcourse.data.scenes import Scene

cars = Scene(np.zeros((64, 64, 3), np.uint8),
             Description((Group("car", 2, "red"),), None, "night"), (), "by hand")
stated = parse("two blue cars at night")
true = {fact for fact in stated if cars.holds(fact)}
print("stated", sorted(stated, key=str))
print("false ", stated - true)
by_hand = len(true) / len(stated), len(stated & cars.facts) / len(cars.facts)
assert by_hand == fact_score("two blue cars at night", cars)[:2] == (3 / 4, 3 / 4)

# %% tags=["remove-input"]
show_source(fact_score)

# %% [markdown]
# In this chapter the facts are our truth: they come from the program that painted the scene, so no one had to judge. For photographs such a
# truth is rare. Then one needs people, or a parser that errs (SPICE, {cite}`anderson2016`), or the next idea.
#
# ## A score that looks at the picture: CLIPScore's idea
#
# The two towers of [chapter 10](10_contrastive.py) map pictures and sentences into one space, and are trained so that a picture and its own caption point
# the same way. So the angle between them is a score, and it needs no reference {cite}`hessel2021`:
#
# $$
# \text{CLIPScore}(v, t) = w \cdot \max\bigl(\cos(v, t),\, 0\bigr), \qquad w = 2.5
# $$ (eq-evaluation-clip)
#
# $v$ and $t$ are here the vectors of picture and sentence, of $E$ numbers each (chapter 10 calls them $u$ and $v$). With CLIP's encoders the cosines stay below about 0.4; $w$ only stretches
# them towards $[0, 1]$. **RefCLIPScore** also looks at references $t_j$; it is the harmonic mean of two numbers:
#
# $$
# \text{RefCLIPScore} = \frac{2 s m}{s + m}, \qquad s = \text{CLIPScore}(v, t), \qquad
# m = \max\bigl(\max_j \cos(t, t_j),\, 0\bigr)
# $$ (eq-evaluation-refclip)
#
# On paper: $v = (1, 0)$ and $t = (4, 3)$ have the cosine 4/5, so CLIPScore is 2. With a reference $(0, 1)$, whose cosine with $t$ is 3/5, the
# harmonic mean of 2 and 0.6 is $2.4 / 2.6$.

# %% tags=["nbval-check-output"]
from mmcourse.evaluation import clip_score, ref_clip_score

v, t, t1 = np.array([[1, 0]]), np.array([[4, 3]]), np.array([[[0, 1]]])
cosine = (v * t).sum() / np.sqrt((v**2).sum() * (t**2).sum())
print("CLIPScore   ", 2.5 * cosine, clip_score(v, t)[0])
print("RefCLIPScore", round(2.4 / 2.6, 6), ref_clip_score(v, t, t1)[0].round(6))
torch.manual_seed(0)
many_v, many_t = torch.randn(2, 50, 65)
clip_gap = abs(clip_score(many_v, many_t)
               - 2.5 * F.cosine_similarity(many_v, many_t).clamp(min=0).numpy()).max()
print("PyTorch's cosine on 50 random pairs agrees to 1e-5:", bool(clip_gap < 1e-5))
assert clip_gap < 1e-5

# %% tags=["remove-input"]
show_source(clip_score)

# %% tags=["remove-input"]
show_source(ref_clip_score)

# %% [markdown]
# CLIP itself is a download of some hundred megabytes, trained on 400 million pictures with texts {cite}`radford2021`. This page runs
# without a network, so we train a tiny pair of encoders on scenes. It shows how such a score behaves, which kinds of
# errors it sees and which it does not. It does not show how good CLIP's own score is on photographs. (The course's own CLIP, of chapter 10, could
# take its place. Its picture tower began as the captioner's, so it is no independent judge either.)
#
# The picture's encoder takes the grid that the shipped captioner makes and looks at it four times. The sentence's encoder is a recurrent network
# (it takes one word after the other and keeps a state), so it could know the order of the words. Training pulls each picture to its own caption
# among 128; the loss is that of [chapter 10](10_contrastive.py), {eq}`eq-contrastive-clip`, the optimiser that of [chapter 12](12_training.py).
#
# One thing is wrong with this judge: below, it judges the captioner **whose own encoder it uses**. Where that encoder takes a camera for
# sunglasses, judge and captioner may make the same mistake, and the score will not show it. A judge for real use must not share parts with
# what it judges, nor may a captioner be trained to please it. We do it to save minutes. What the pair says of sentences that the captioner
# did not write (all foils below) is not touched by this.

# %% tags=["hide-input"]
class Pair(nn.Module):
    """Pictures and sentences in one space of ``width`` numbers."""

    def __init__(self, words, width=128):
        super().__init__()
        self.pooling = nn.Linear(width, 4)
        self.picture = nn.Linear(4 * width, width)
        self.embedding = nn.Embedding(words, width)
        self.text = nn.GRU(width, width, batch_first=True)
        self.scale = nn.Parameter(torch.tensor(2.5))

    def encode_image(self, memory):  # (B, N, D) to (B, D)
        weights = self.pooling(memory).softmax(1)  # (B, N, 4): four ways to look at the grid
        pooled = weights.transpose(1, 2) @ memory  # (B, 4, D)
        return F.normalize(self.picture(pooled.flatten(1)), dim=-1)

    def encode_text(self, tokens):  # (B, T) to (B, D)
        states, _ = self.text(self.embedding(tokens))  # (B, T, D)
        last = (tokens != PAD).sum(1) - 1
        return F.normalize(states[torch.arange(len(tokens)), last], dim=-1)


# %% tags=["hide-input"]
def grids(scenes, size=100):
    """What the shipped captioner's encoder makes of pictures: (B, N, D)."""
    images = np.stack([scene.image for scene in scenes])
    return torch.cat([shipped.encode(images[at:at + size])
                      for at in range(0, len(images), size)])


def tokens_of(texts):
    rows = [torch.tensor(shipped.tokenize(text)) for text in texts]
    return nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)


train = [EmojiScenes("train")[index] for index in range(1600)]
train_grids = grids(train)  # (1600, 64, 128)
train_tokens = tokens_of([text for scene in train for text in scene.captions])
train_tokens = train_tokens.view(len(train), 5, -1)  # (1600, 5, T)

# %%
torch.manual_seed(0)
pair = Pair(len(shipped.words))
optimiser = torch.optim.AdamW(pair.parameters(), lr=2e-3)
STEPS = 300
for step in range(STEPS):
    rows = torch.randperm(len(train))[:128]
    chosen = train_tokens[rows, torch.randint(5, (128,))]
    cosines = pair.encode_image(train_grids[rows]) @ pair.encode_text(chosen).T  # (128, 128)
    scores = pair.scale.exp() * cosines
    own = torch.arange(128)  # caption i belongs to picture i
    loss = (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    if step % 75 == 0 or step == STEPS - 1:
        print(f"step {step:3}  loss {loss.item():.2f}  (guessing: {math.log(128):.2f})")
pair.requires_grad_(False)
val_features = pair.encode_image(grids(val))  # (240, 128)

# %% [markdown]
# ## One table for all
#
# Now we need systems to judge. Some are the shipped captioner, used well or badly; some are baselines; some are made to be
# true or false on purpose. Each scene's first caption is set aside, and the other four are the references.
#
# - **second writer**: a true and full caption, phrased independently of the references;
# - **greedy**, **beam**, **sample**, **sample hot** (temperature 1.5): four ways to take words from the shipped captioner ([chapter 15](15_decoding.py));
# - **short-sighted**: the captioner gets pictures of 16 pixels, enlarged again;
# - **terse**: one thing and its number, nothing else; always true;
# - **near copy**: a reference in which one fact was changed; always false;
# - **other scene**, **frequent**: a caption of another picture, and the most frequent caption of the training scenes.
#
# The near copies need a function that changes one fact of a description:

# %% tags=["hide-input"]
def lies(description, rng):
    """The description with one fact changed, once for every kind that applies."""
    group, *rest = description.groups

    def change(**what):
        return replace(description, groups=(replace(group, **what), *rest))

    used, table = {one.noun for one in description.groups}, language.noun_table()
    alike = [name for name, noun in table.items()
             if noun.category == table[group.noun].category and name not in used]
    grounds = [name for name in language.BACKGROUNDS if name != description.background]
    result = {"object": change(noun=rng.choice(alike)),
              "count": change(count=group.count % 3 + 1),
              "background": replace(description, background=rng.choice(grounds))}
    if group.colour:
        tints = [colour for colour in language.COLOURS if colour != group.colour]
        result["colour"] = change(colour=rng.choice(tints))
    if group.size in language.SIZES:
        result["size"] = change(size="big" if group.size == "small" else "small")
    if description.relation:
        turned = language.INVERSE[description.relation]
        result["relation"] = replace(description, relation=turned)
    return result


# %% tags=["hide-input"]
def near_copies(scene, which):
    """Reference number ``which`` of a scene with one fact changed, once for each kind."""
    changed = lies(scene.description, Random(f"{scene.key}/lies"))
    return {kind: language.captions(description, Random(f"{scene.key}/captions"))[which]
            for kind, description in changed.items()}


def second_writer(scene):
    """A true caption of the scene that does not know the references."""
    rng = Random(f"{scene.key}/second")
    return rng.choice(language.captions(scene.description, rng))


def terse(scene):
    group = scene.description.groups[0]
    plain = replace(group, colour=None, size="medium")
    return f"a picture of {language.noun_phrase(plain, Random(0).choice)}"


print(val[0].captions[1], "\n")
for kind, text in near_copies(val[0], 1).items():
    print(f"{kind:10} {text}")

# %%
torch.manual_seed(0)
small = [np.array(Image.fromarray(s.image).resize((16, 16)).resize((64, 64))) for s in val]
heard = Counter(text for scene in train for text in scene.captions)
frequent = heard.most_common(1)[0][0]
choose = Random(0).choice
systems = {
    "second writer": [second_writer(scene) for scene in val],
    "greedy": greedy,
    "beam": describe(val, "beam"),
    "sample": describe(val, "sample"),
    "sample hot": describe(val, "sample", temperature=1.5),
    "short-sighted": describe(small),
    "terse": [terse(scene) for scene in val],
    "near copy": [choose(list(near_copies(scene, 1).values())) for scene in val],
    "other scene": [scene.captions[0] for scene in val[1:] + val[:1]],
    "frequent": [frequent] * len(val),
}

# %%
from mmcourse.evaluation import fact_scores

four = [scene.captions[1:] for scene in val]


def judge(texts):
    """All metrics of one system."""
    precision, recall = fact_scores(texts, val)["all"]
    return {"BLEU-4": bleu(texts, four)[3], "ROUGE-L": rouge_l(texts, four),
            "CIDEr-D": cider_d(texts, four),
            "CLIPScore": float(clip_score(val_features, pair.encode_text(tokens_of(texts))).mean()),
            "precision": precision, "recall": recall}


table = {name: judge(texts) for name, texts in systems.items()}
print(f"{'':14}" + "".join(f"{metric:>11}" for metric in table["greedy"]))
for name, row in table.items():
    print(f"{name:14}" + "".join(f"{number:11.2f}" for number in row.values()))

# %% tags=["remove-cell"]
for name, row in table.items():
    for metric, number in row.items():
        glue(f"evaluation_{name.replace(' ', '_').replace('-', '_')}_{metric}", number, display=False)

# %% [markdown]
# {glue:text}`evaluation_scenes:d` scenes of `val`, four references each, tokens split at spaces, seed 0; *CLIPScore* is that of our
# tiny pair, which shares the captioner's encoder. Read two rows against each other. **Near copy** is false in every sentence and has a BLEU-4 of
# {glue:text}`evaluation_near_copy_BLEU-4:.2f`. **Second writer** is true in every word and has {glue:text}`evaluation_second_writer_BLEU-4:.2f`.
# **Terse** never says anything false, and its BLEU-4 is {glue:text}`evaluation_terse_BLEU-4:.2f`. That is no mistake of BLEU: it says little, and its fact
# recall of {glue:text}`evaluation_terse_recall:.2f` says so too. But BLEU mixes the two questions, is it true and is it complete, with a third one:
# does it use the references' words?
#
# ### Do they rank systems as the truth does?
#
# Metrics are used to rank. **Spearman's rank correlation** is 1 when two columns put the systems into the same order, 0 when they have nothing to do with
# each other. We compute it between each metric and fact precision, twice: over the captioner's own variants,
# which make the same kind of errors, more or fewer of them; and over all systems.

# %%
from scipy.stats import spearmanr

variants = ["greedy", "beam", "sample", "sample hot", "short-sighted"]
ranks = {}
for metric in ("BLEU-4", "ROUGE-L", "CIDEr-D", "CLIPScore"):
    ranks[metric] = [float(spearmanr([table[name][metric] for name in group],
                                     [table[name]["precision"] for name in group]).statistic)
                     for group in (variants, list(table))]
    print(f"{metric:10} variants {ranks[metric][0]:5.2f}   all systems {ranks[metric][1]:5.2f}")

# %% mystnb={"figure": {"caption": "Each letter is a system. Blue: variants of one captioner. Orange: the others. Where a metric agreed with the truth, the letters would rise from left to right.", "name": "fig-evaluation-systems"}, "image": {"alt": "Three scatter plots of BLEU-4, CIDEr-D and CLIPScore against fact precision, a letter for each of ten systems. The terse system is at the right end with low BLEU-4 and CIDEr-D."}} tags=["hide-input"]
figure, axes = plt.subplots(1, 3, figsize=(7.2, 3.5))
for axis, metric in zip(axes, ("BLEU-4", "CIDEr-D", "CLIPScore"), strict=True):
    for letter, (name, row) in zip("abcdefghij", table.items(), strict=True):
        axis.plot(row["precision"], row[metric], marker=f"${letter}$", linestyle="",
                  color=BLUE if name in variants else ORANGE, markersize=8, label=name)
    axis.set(xlabel="fact precision", title=metric, xlim=(-0.06, 1.06))
    axis.grid(color="#e5e7eb")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, fontsize=8);

# %% tags=["remove-cell"]
for metric, (own, every) in ranks.items():
    glue(f"evaluation_rank_own_{metric}", own, display=False)
    glue(f"evaluation_rank_all_{metric}", every, display=False)

# %% [markdown]
# | rank correlation with fact precision | BLEU-4 | ROUGE-L | CIDEr-D | CLIPScore (tiny pair) |
# |---|---|---|---|---|
# | variants of one captioner | {glue:text}`evaluation_rank_own_BLEU-4:.2f` | {glue:text}`evaluation_rank_own_ROUGE-L:.2f` | {glue:text}`evaluation_rank_own_CIDEr-D:.2f` | {glue:text}`evaluation_rank_own_CLIPScore:.2f` |
# | all systems | {glue:text}`evaluation_rank_all_BLEU-4:.2f` | {glue:text}`evaluation_rank_all_ROUGE-L:.2f` | {glue:text}`evaluation_rank_all_CIDEr-D:.2f` | {glue:text}`evaluation_rank_all_CLIPScore:.2f` |
#
# With so few systems a correlation is rough: in the first row, one exchange of neighbours costs 0.1. *Greedy* and *beam* are such neighbours.
# Their precisions are {glue:text}`evaluation_greedy_precision:.3f` and {glue:text}`evaluation_beam_precision:.3f`. Which of the two comes first these scenes do not say
# ({numref}`fig-evaluation-bootstrap`), and the scores of words put *beam* first. So 0.90 and 1.00 cannot be told apart here. The second row holds
# systems that we made up, some to be hard for metrics. What one may take from the table is the reason to look: a metric can be a good thermometer for
# *one* model while it is tuned, and a bad judge between models that differ in kind. A correlation that someone reports is one of metric,
# systems *and* data.
#
# ## True or false? One question a metric should answer
#
# A **foil** is a sentence with one false fact {cite}`shekhar2017`, as in chapter 10. We put three questions to each metric, and count how often it prefers the true sentence; a tie
# counts half.
#
# - **Twins**: the true sentence and the foil use the same words but for the changed fact. Each scene brings such pairs, `scene.foils`.
# - **Near copy against second writer**: the false sentence is a reference with one change, the true one was written independently. This is closer to use:
#   a captioner that has learned the phrases well and looks badly, against one that phrases things in its own way. All five references are there.
# - **The same with one reference**, the one that the near copy copies. Many data sets have only one, and people's five sentences differ
#   more than those of our small grammar, so each of their phrases is rarer.

# %% tags=["hide-input"]
def each_score(texts, references, image_features):
    """Every metric of every single sentence: a dict of arrays."""
    counts = bleu_counts(texts, references)
    return {"BLEU-4": np.array([bleu_from_counts(row)[3] for row in counts]),
            "ROUGE-L": rouge_l(texts, references, each=True),
            "CIDEr-D": cider_d(texts, references, each=True),
            "CLIPScore": clip_score(image_features, pair.encode_text(tokens_of(texts)))}


def preferences(pairs, many=5):
    """Share of pairs (scene number, kind, true, false) in which a metric prefers the true one."""
    numbers, kinds, true, false = zip(*pairs, strict=True)
    refs, kinds = [references[number][:many] for number in numbers], np.array(kinds)
    scores = each_score(true + false, refs + refs, val_features[list(numbers) * 2])
    wins = {}
    for metric, score in scores.items():
        gap = score[:len(true)] - score[len(true):]
        wins[metric] = (gap > 1e-9) + 0.5 * (abs(gap) <= 1e-9)
    return {kind: {"pairs": int((kinds == kind).sum())}
            | {metric: float(win[kinds == kind].mean()) for metric, win in wins.items()}
            for kind in dict.fromkeys(kinds.tolist())}


# %%
twins = [(number, foil.kind, foil.true, foil.false)
         for number, scene in enumerate(val) for foil in scene.foils]
copies = [(number, kind, second_writer(scene), false)
          for number, scene in enumerate(val)
          for kind, false in near_copies(scene, 0).items()]
preferred = {"twins": preferences(twins), "copies": preferences(copies),
             "one ref.": preferences(copies, many=1)}
for name, rows in preferred.items():
    print(f"{name:11}{'pairs':>6}" + "".join(f"{metric:>11}" for metric in ranks))
    for kind, row in rows.items():
        shares = "".join(f"{row[metric]:11.0%}" for metric in ranks)
        print(f"{kind:11}{row['pairs']:6}{shares}")
    print()

# %% tags=["remove-cell"]
for name, rows in preferred.items():
    for metric in ranks:
        pairs_of = np.array([row["pairs"] for row in rows.values()])
        shares = np.array([row[metric] for row in rows.values()])
        mean = float((pairs_of * shares).sum() / pairs_of.sum())
        glue(f"evaluation_{name.split()[0]}_{metric}", mean, display=False)
for kind in ("object", "order", "relation", "background"):
    glue(f"evaluation_twins_clip_{kind}", preferred["twins"][kind]["CLIPScore"], display=False)

# %% mystnb={"figure": {"caption": "How often a metric prefers the true sentence. Left: true and false differ in one fact. Middle: the false sentence is a reference with one change, the true one was written independently. Right: the same, with that reference alone. The dashed line is a coin.", "name": "fig-evaluation-foils"}, "image": {"alt": "Three dot plots with a row for each kind of foil and four dots a row, one for each metric. In the left plot the metrics of words are far right of the line at one half, in the middle plot they spread, in the right plot they are left of the line."}} tags=["hide-input"]
figure, axes = plt.subplots(1, 3, figsize=(7.3, 3.2), sharex=True)
titles = "twins", "copy against writer, 5 references", "1 reference"
for axis, rows, title in zip(axes, preferred.values(), titles, strict=True):
    for shift, metric, colour, marker in zip((-0.27, -0.09, 0.09, 0.27), ranks,
                                             (BLUE, TEAL, GREY, ORANGE), "osD^", strict=True):
        height = np.arange(len(rows)) + shift
        axis.plot([row[metric] for row in rows.values()], height, marker,
                  color=colour, label=metric, markersize=4)
    axis.axvline(0.5, color=INK, linestyle="--", linewidth=1)
    axis.set(yticks=range(len(rows)), yticklabels=list(rows), title=title, xlim=(-0.03, 1.03),
             xlabel="prefers the true one")
    axis.invert_yaxis()
    axis.grid(axis="y", color="#e5e7eb")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4);

# %% [markdown]
# | prefers the true sentence, all kinds | BLEU-4 | ROUGE-L | CIDEr-D | CLIPScore (tiny pair) | facts |
# |---|---|---|---|---|---|
# | twins | {glue:text}`evaluation_twins_BLEU-4:.0%` | {glue:text}`evaluation_twins_ROUGE-L:.0%` | {glue:text}`evaluation_twins_CIDEr-D:.0%` | {glue:text}`evaluation_twins_CLIPScore:.0%` | 100 % |
# | near copy against second writer, 5 references | {glue:text}`evaluation_copies_BLEU-4:.0%` | {glue:text}`evaluation_copies_ROUGE-L:.0%` | {glue:text}`evaluation_copies_CIDEr-D:.0%` | {glue:text}`evaluation_copies_CLIPScore:.0%` | 100 % |
# | the same, 1 reference | {glue:text}`evaluation_one_BLEU-4:.0%` | {glue:text}`evaluation_one_ROUGE-L:.0%` | {glue:text}`evaluation_one_CIDEr-D:.0%` | {glue:text}`evaluation_one_CLIPScore:.0%` | 100 % |
#
# The facts have 100 % by construction: here they *are* the truth. Scores of words do well on twins, where the only difference is the word that
# matters. They do worse when the true sentence uses words of its own, and with a single reference they side with the false one most of the time. More
# references help, since they hold more ways to say it. Of the scores of words, CIDEr-D does best on wrong things. Our guess is that a noun is a rare word, and weighs much. Where two things are the wrong way
# round (`relation`, `order`) all words may be right, and the scores of words are at or near their weakest.
#
# The CLIPScore of our pair has not seen any reference, so it is the same in the second and third row. On twins it prefers the true thing in {glue:text}`evaluation_twins_clip_object:.0%` and the
# true background in {glue:text}`evaluation_twins_clip_background:.0%` of the pairs. On who stands where (`relation`, `order`) it has
# {glue:text}`evaluation_twins_clip_relation:.0%` and {glue:text}`evaluation_twins_clip_order:.0%`, where a coin has 50 %. Large models trained in this way were
# found to be weak there too: with a hundred strangers to tell apart, the set of things is enough, and order need not be learned {cite}`yuksekgonul2023`.
# [Chapter 10](10_contrastive.py) finds the same in the course's CLIP, and says what it took to change that.
#
# ### The two worst sentences of a real captioner
#
# Foils are made up. Does it happen with captions that a model wrote? Among the greedy captions, we look for the false one
# with the highest BLEU-4 and the entirely true one with the lowest.

# %% tags=["hide-input"]
single = each_score(greedy, references, val_features)["BLEU-4"]
facts = [fact_score(text, scene) for text, scene in zip(greedy, val, strict=True)]
false_high = max((i for i in range(len(val)) if facts[i].false), key=lambda i: single[i])
true_low = min((i for i in range(len(val)) if not facts[i].false), key=lambda i: single[i])
for title, i in (("false, high BLEU-4", false_high), ("true, low BLEU-4", true_low)):
    print(f"{title}: {single[i]:.2f}, fact precision {facts[i].precision:.2f}")
    print("  says:", greedy[i], "\n  refs:", "\n        ".join(val[i].captions[:3]))
    for fact in sorted(facts[i].false, key=str):
        print("  false:", *fact)
    print()

# %% mystnb={"image": {"alt": "Two scenes: the one whose false caption has the highest BLEU-4, and the one whose true caption has the lowest."}} tags=["hide-input"]
show_images([val[false_high].image, val[true_low].image], ["false, high", "true, low"], size=1.8);

# %% tags=["remove-cell"]
glue("evaluation_false_high", float(single[false_high]), display=False)
glue("evaluation_true_low", float(single[true_low]), display=False)

# %% [markdown]
# {glue:text}`evaluation_false_high:.2f` for a sentence with a false fact, {glue:text}`evaluation_true_low:.2f` for one without. (A BLEU-4 of a single sentence is
# 0 as soon as no four words in a row are shared. It was made for corpora.)
#
# ## The same captions, other tokens
#
# All scores of words compare **tokens**. Who decides what a token is? People write *A dog, on the grass.* Split at spaces, *dog,* is not *dog*
# and *A* is not *a*. COCO's evaluation first runs a program in Java, the Penn Treebank (PTB) tokenizer: lower case, punctuation split off, then thrown away.
# Other scripts keep the punctuation, or the case. We take captions and references in plain English spelling and change the tokens, and nothing else. One
# last row shows an accident: there only the references are spelled like this.

# %% tags=["nbval-check-output", "hide-input"]
def spelled(text):
    """As people write it: a capital, commas at their words, a full stop."""
    return text[0].upper() + text[1:].replace(" ,", ",") + "."


def ptb_like(text):
    """Words, the 's and n't that PTB splits off, and punctuation marks."""
    return re.findall(r"\w+(?=n't)|n't|'\w+|\w+|[^\w\s]", text)


TOKENISERS = {
    "split at spaces": str.split,
    "lower case, split at spaces": lambda text: text.lower().split(),
    "PTB-like, punctuation kept": lambda text: ptb_like(text.lower()),
    "PTB-like, punctuation dropped": lambda text: [
        token for token in ptb_like(text.lower()) if re.search(r"\w", token)],
    "characters": lambda text: list(text.replace(" ", "_")),
}
for name, tokenise in TOKENISERS.items():
    print(f"{name:30}", *tokenise("The dog's ball, it isn't red.")[:18])

# %%
def tokenised(texts, tokenise):
    return [" ".join(tokenise(spelled(text))) for text in texts]


token_scores = {}
for name, tokenise in TOKENISERS.items():
    theirs = [tokenised(texts, tokenise) for texts in references]
    token_scores[name] = bleu(tokenised(greedy, tokenise), theirs)
# The captions as the captioner wrote them, without capital and full stop:
token_scores["captions raw, references spelled"] = bleu(
    greedy, [tokenised(texts, str.split) for texts in references])
print(f"{'':34}BLEU-1  BLEU-2  BLEU-3  BLEU-4")
for name, scores in token_scores.items():
    print(f"{name:34}" + "".join(f"{score:6.3f}  " for score in scores))

# %% tags=["remove-cell"]
honest = list(TOKENISERS)[:4]  # words as tokens, captions and references spelled alike
glue("evaluation_token_low", min(token_scores[name][3] for name in honest), display=False)
glue("evaluation_token_high", max(token_scores[name][3] for name in honest), display=False)
glue("evaluation_token_characters", token_scores["characters"][3], display=False)
glue("evaluation_token_raw", token_scores["captions raw, references spelled"][3], display=False)

# %% [markdown]
# In the first five rows the captions are the same, and so are the references. BLEU-4 goes from {glue:text}`evaluation_token_low:.2f` to
# {glue:text}`evaluation_token_high:.2f` with words as tokens, and to {glue:text}`evaluation_token_characters:.2f` with characters. A full stop at the end of every
# sentence is an n-gram that everybody gets right. In the last row the *sentences* are the same, but not their spelling: the captions have no capital, no
# full stop and a space before each comma, as our captioner writes them. Everybody misses what only one side has, and BLEU-4 is
# {glue:text}`evaluation_token_raw:.2f`. This accident is common: the model's output was prepared in another way than the references.
#
# The lesson: **a BLEU without the name of its tokenizer cannot be compared with any other** {cite}`post2018`. Take published numbers only for comparison when
# you score with the same program.
#
# ## Answers: accuracy, precision, recall, F1
#
# When a system must choose one of $C$ classes, there is a plain truth for each item. A **confusion table** counts who was taken for whom. Let
# $n_{ij}$ be the number of items of class $i$ that were called $j$. For one class $i$,
#
# $$
# P_i = \frac{n_{ii}}{\sum_{k} n_{ki}}, \qquad R_i = \frac{n_{ii}}{\sum_{k} n_{ik}}, \qquad
# F_i = \frac{2 P_i R_i}{P_i + R_i} = \frac{2\, n_{ii}}{\sum_k n_{ki} + \sum_k n_{ik}}
# $$ (eq-evaluation-f1)
#
# **Precision** $P_i$ divides by the column, all that were called $i$; **recall** $R_i$ by the row, all that are $i$; **F1** is their harmonic mean.
# **Accuracy** is the share of all items on the diagonal. There are two ways to average over classes:
#
# $$
# F_{\text{macro}} = \frac1C \sum_{i=1}^{C} F_i, \qquad
# F_{\text{micro}} = \frac{2 \sum_i n_{ii}}{\sum_i \bigl(\sum_k n_{ki} + \sum_k n_{ik}\bigr)}
# $$ (eq-evaluation-macro)
#
# **Macro** gives each class one vote, **micro** each item. Where each item has one class, each row sum and each column sum counts every item once, so
# $F_{\text{micro}}$ is the accuracy. On paper, six items:
#
# | true \ called | cat | cow | dog | recall |
# |---|---|---|---|---|
# | cat | 3 | 0 | 1 | 3/4 |
# | cow | 1 | 0 | 0 | 0/1 |
# | dog | 0 | 0 | 1 | 1/1 |
# | precision | 3/4 | 0/0 → 0 | 1/2 | |
#
# Accuracy is 4/6. The F1 of the classes are $\tfrac34$, $0$ and $\tfrac23$, so the macro F1 is $\tfrac{17}{36} \approx 0.47$.

# %% tags=["nbval-check-output"]
from mmcourse.evaluation import accuracy, confusion_table, precision_recall_f1

true = ["cat", "cat", "cat", "cat", "cow", "dog"]
called = ["cat", "cat", "cat", "dog", "cat", "dog"]
f1 = []
for name in sorted(set(true)):
    right = sum(a == b == name for a, b in zip(called, true, strict=True))
    f1.append(2 * right / (called.count(name) + true.count(name)))
by_hand = sum(f1) / len(f1)
macro, micro = (precision_recall_f1(called, true, average) for average in ("macro", "micro"))
print(confusion_table(called, true)[1])
print(f"macro F1 by hand {by_hand:.4f}  mmcourse {macro.f1:.4f}  on paper {17 / 36:.4f}")
print(f"micro F1 {micro.f1:.4f}  accuracy {accuracy(called, true):.4f}  on paper {4 / 6:.4f}")
assert math.isclose(by_hand, macro.f1) and math.isclose(micro.f1, 4 / 6)

# %% tags=["remove-input"]
show_source(precision_recall_f1)

# %% [markdown]
# Some texts compute a macro F1 as the F1 of macro precision and macro recall. That is another number, and it can rank
# systems the other way round {cite}`opitz2019`. Ours, and scikit-learn's, is the mean of the F1.
#
# ### On real captions: which colour?
#
# Scenes with one kind of thing let us read a caption as an answer: which colour does it state? The truth is the tint of the thing, or *none* for a thing
# in its natural colours. That class is far more frequent than any other. We take such scenes of `val`, `composition` and `style`.

# %% tags=["hide-input"]
others = {split: [EmojiScenes(split)[index] for index in range(150)]
          for split in ("composition", "style")}
told = {"val": greedy} | {split: describe(scenes) for split, scenes in others.items()}
single_thing = [(text, scene) for split, scenes in ({"val": val} | others).items()
                for text, scene in zip(told[split], scenes, strict=True)
                if len(scene.description.groups) == 1]


def colour_in(text):
    return min((fact[2] for fact in parse(text) if fact[0] == "colour"), default="none")


called = [colour_in(text) for text, _ in single_thing]
true = [scene.description.groups[0].colour or "none" for _, scene in single_thing]
print(len(true), "answers;", Counter(true).most_common(3))

# %%
from sklearn.metrics import precision_recall_fscore_support

ours = precision_recall_f1(called, true)
theirs = precision_recall_fscore_support(true, called, zero_division=0)
class_gap = float(max(abs(a - b).max() for a, b in zip(ours, theirs[:3], strict=True)))
assert class_gap < 1e-12
classes, counts = confusion_table(called, true)
print("        precision recall   F1  items")
for name, p, r, f, row in zip(classes, *ours, counts, strict=True):
    print(f"{name:8}{p:8.2f}{r:8.2f}{f:8.2f}{row.sum():5}")
answers = {"captioner": called, "always none": ["none"] * len(true),
           "shuffled": Random(0).sample(called, len(called))}
answer_scores = {name: (accuracy(texts, true), precision_recall_f1(texts, true, "macro").f1)
                 for name, texts in answers.items()}

# %% mystnb={"figure": {"caption": "Who is taken for whom. A row is a true colour, a column what the caption says; shades are shares of a row.", "name": "fig-evaluation-confusion"}, "image": {"alt": "A square table of counts, a row for each true colour and a column for each stated colour. The dark cells lie on the diagonal; the row of none holds most items."}} tags=["hide-input"]
figure, axes = plt.subplots(figsize=(4.6, 4.2))
row_shares = counts / counts.sum(1, keepdims=True).clip(1)
axes.imshow(row_shares, cmap=WEIGHTS, vmin=0, vmax=1)
for (row, column), number in np.ndenumerate(counts):
    axes.text(column, row, number or "", ha="center", va="center", fontsize=8,
              color=PAPER if row_shares[row, column] > 0.5 else INK)
axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
axes.set_yticks(range(len(classes)), classes)
axes.set(xlabel="the caption says", ylabel="true");

# %% tags=["remove-cell"]
glue("evaluation_class_gap", class_gap, display=False)
glue("evaluation_answers", len(true), display=False)
glue("evaluation_classes", len(classes), display=False)
glue("evaluation_none", true.count("none") / len(true), display=False)
for name, (share, f1) in answer_scores.items():
    glue(f"evaluation_accuracy_{name.replace(' ', '_')}", share, display=False)
    glue(f"evaluation_macro_{name.replace(' ', '_')}", f1, display=False)

# %% [markdown]
# | {glue:text}`evaluation_answers:d` answers | accuracy = micro F1 | macro F1 |
# |---|---|---|
# | captioner | {glue:text}`evaluation_accuracy_captioner:.2f` | {glue:text}`evaluation_macro_captioner:.2f` |
# | always *none* | {glue:text}`evaluation_accuracy_always_none:.2f` | {glue:text}`evaluation_macro_always_none:.2f` |
# | the captioner's answers, shuffled | {glue:text}`evaluation_accuracy_shuffled:.2f` | {glue:text}`evaluation_macro_shuffled:.2f` |
#
# The largest difference from Scikit-learn's numbers is {glue:text}`evaluation_class_gap:.1g`. *None* makes up {glue:text}`evaluation_none:.0%` of the items, so an answer that
# never looks has that accuracy. Its macro F1 is {glue:text}`evaluation_macro_always_none:.2f`, since all but one of the {glue:text}`evaluation_classes:d` classes have an F1 of 0. Neither average is *right*. Ask what
# an error costs: if each picture counts alike, micro; if a rare class must not be forgotten, macro. And print the baseline next to either.
#
# ## Rankings: recall@k
#
# A search, as in chapter 10, has no single answer. For a query $q$ it sorts all items by a score, and we ask whether something relevant is among the first $k$:
#
# $$
# \text{recall@}k = \frac1Q \sum_{q=1}^{Q} \bigl[\, \operatorname{rank}(q) \le k \,\bigr], \qquad
# \operatorname{rank}(q) = 1 + \bigl|\{\, i \notin R_q : s_{qi} \ge \max_{j \in R_q} s_{qj} \,\}\bigr|
# $$ (eq-evaluation-recall)
#
# $s_{qi}$ is the score of item $i$ for query $q$, $R_q$ the set of relevant items, and $[\cdot]$ is 1 if true. The rank is that of the best relevant item. With five
# captions a picture, picture to text asks for any of the five among five times as many items; text to picture has a single right answer. Guessing, both find
# as much at $k = 1$, so neither is harder by counting. Look at the $\ge$: an item that is
# **tied** with the right one is counted ahead of it. A model that gives everything the same score must not find anything.
#
# On paper: three pictures with one caption each, and scores
#
# | picture \ caption | 1 | 2 | 3 |
# |---|---|---|---|
# | 1 | **0.9** | 0.8 | 0.1 |
# | 2 | 0.5 | **0.7** | 0.6 |
# | 3 | 0.2 | 0.3 | **0.4** |
#
# Along the rows the right one is always first: recall@1 is 1. Down the columns it is first, second, second: recall@1 is 1/3, recall@2 is 1.

# %% tags=["nbval-check-output"]
from mmcourse.evaluation import recall_at_k


def recall_by_hand(scores, relevant, k):
    """Sort each row; of equal scores, what is not relevant comes first."""
    hits = 0
    for row, answers in zip(scores.tolist(), relevant.tolist(), strict=True):
        ranking = sorted(range(len(row)), key=lambda item: (-row[item], answers[item]))
        hits += any(answers[item] for item in ranking[:k])
    return hits / len(scores)


scores = np.array([[0.9, 0.8, 0.1], [0.5, 0.7, 0.6], [0.2, 0.3, 0.4]])
relevant = np.eye(3, dtype=bool)
for name, s, r in (("picture to text", scores, relevant),
                   ("text to picture", scores.T, relevant.T)):
    for k in (1, 2):
        print(f"{name} recall@{k}: {recall_at_k(s, r, k):.3f}")
        assert recall_at_k(s, r, k) == recall_by_hand(s, r, k)
print("all scores equal:", recall_at_k(np.ones((3, 3)), relevant, 1))

# %% tags=["remove-input"]
show_source(recall_at_k)

# %% [markdown]
# On real data: the tiny pair searches among {glue:text}`evaluation_scenes:d` pictures and their five captions each. The reference is the brute-force sort.

# %%
texts = [text for scene in val for text in scene.captions]
text_features = pair.encode_text(tokens_of(texts))  # (1200, 128)
similarity = (val_features @ text_features.T).numpy()  # (240, 1200)
owner = np.repeat(np.arange(len(val)), 5)
relevant = owner == np.arange(len(val))[:, None]
found = {}
print("                    recall@1     @5    @10   (guessing: @1)")
for name, s, r in (("picture to text", similarity, relevant),
                   ("text to picture", similarity.T, relevant.T)):
    found[name] = [recall_at_k(s, r, k) for k in (1, 5, 10)]
    assert found[name] == [recall_by_hand(s, r, k) for k in (1, 5, 10)]
    print(f"{name:20}" + "".join(f"{share:7.1%}" for share in found[name])
          + f"  {r.mean():10.1%}")

# %% tags=["remove-cell"]
for name, values in found.items():
    for k, value in zip((1, 5, 10), values, strict=True):
        glue(f"evaluation_{name.split()[0]}_recall_{k}", value, display=False)
share = found["picture to text"][0]
glue("evaluation_recall_error", math.sqrt(share * (1 - share) / len(val)), display=False)

# %% [markdown]
# | {glue:text}`evaluation_scenes:d` pictures, 5 captions each, seed 0 | recall@1 | recall@5 | recall@10 |
# |---|---|---|---|
# | picture to text | {glue:text}`evaluation_picture_recall_1:.0%` | {glue:text}`evaluation_picture_recall_5:.0%` | {glue:text}`evaluation_picture_recall_10:.0%` |
# | text to picture | {glue:text}`evaluation_text_recall_1:.0%` | {glue:text}`evaluation_text_recall_5:.0%` | {glue:text}`evaluation_text_recall_10:.0%` |
#
# Is one direction harder? The share $p$ of $Q$ independent queries has a **standard error** of $\sqrt{p (1 - p) / Q}$, the typical size of its chance; for the first number
# of the table it is {glue:text}`evaluation_recall_error:.1%`. The rows differ by a few points, so these
# pictures do not say that one direction is harder.
#
# Two things make such numbers incomparable: the number of items (it is easier among 240 pictures than among 5,000) and what counts as relevant.
#
# ## How sure can we be? The bootstrap
#
# Greedy and beam captions differ in precision. By how much would the difference change on other scenes? We cannot draw new scenes for ever, but we can
# imitate it: the **bootstrap** {cite}`efron1993` draws $n$ of our $n$ scenes *with replacement*, and computes the number again. After $B$ draws, the middle 95 % of the
# values $\theta^*_1 \dots \theta^*_B$ form a **confidence interval**:
#
# $$
# \bigl[\, q_{\alpha/2},\; q_{1 - \alpha/2} \,\bigr], \qquad q_p = \text{the value below which a share } p \text{ of }
# \theta^*_1, \dots, \theta^*_B \text{ lies}, \qquad \alpha = 0.05
# $$ (eq-evaluation-bootstrap)
#
# On paper: three captions, one right, two wrong: $(1, 0, 0)$. There are $3^3 = 27$ equally likely draws. The mean is 0 in $2^3 = 8$ of them, 1/3 in 12, 2/3 in 6 and 1
# in one. We check this with all 27 draws, and then the package's random draws with SciPy's.

# %% tags=["nbval-check-output"]
from mmcourse.evaluation import bootstrap

sample = np.array([1, 0, 0])
every = Counter(int(sample[list(index)].sum()) for index in product(range(3), repeat=3))
many = bootstrap(np.sum, sample, draws=20000)
drawn = Counter(many.draws.tolist())
for total in range(4):
    print(f"mean {total}/3: {every[total]:2} of 27 = {every[total] / 27:.3f}   "
          f"drawn {drawn[total] / 20000:.2f}")

# %% tags=["nbval-check-output"]
from scipy import stats

values = np.random.default_rng(0).gamma(2.0, size=50)
ours = bootstrap(np.mean, values, draws=1000, seed=1)
theirs = stats.bootstrap((values,), np.mean, n_resamples=1000, method="percentile",
                         rng=np.random.default_rng(1), vectorized=False).confidence_interval
print(f"mmcourse {ours.low:.6f} to {ours.high:.6f}")
print(f"SciPy    {theirs.low:.6f} to {theirs.high:.6f}")
assert max(abs(ours.low - theirs.low), abs(ours.high - theirs.high)) < 1e-12

# %% tags=["remove-input"]
show_source(bootstrap)

# %% [markdown]
# To **compare two systems**, look at their difference on the same draws: the interval of the difference is what counts. A picture that is hard for one system is hard for the other
# as well, and in the difference this cancels. If the interval holds 0, these scenes do not tell the two apart. We compare greedy decoding with beam search and with sampling.

# %%
def fact_counts(texts):
    """True and stated facts of each caption: (scenes, 2)."""
    scores = [fact_score(text, scene) for text, scene in zip(texts, val, strict=True)]
    return np.array([(len(s.true), len(s.true) + len(s.false)) for s in scores])


def precision(counts):
    return counts[:, 0].sum() / counts[:, 1].sum()


def bleu4(counts):
    return bleu_from_counts(counts.sum(0))[3]


compared = {}
rows = {name: (fact_counts(systems[name]), bleu_counts(systems[name], four))
        for name in variants}
for other in ("beam", "sample"):
    for metric, statistic, which in (("precision", precision, 0), ("BLEU-4", bleu4, 1)):
        compared[other, metric] = bootstrap(lambda a, b, s=statistic: s(a) - s(b),
                                            rows["greedy"][which], rows[other][which])
        value, low, high, _ = compared[other, metric]
        print(f"greedy - {other:7} {metric:10} {value:+.3f}  95 %: {low:+.3f} to {high:+.3f}")
alone = [bootstrap(precision, rows[name][0]) for name in ("greedy", "beam")]

# %% mystnb={"figure": {"caption": "Bootstrap draws of a difference in fact precision. Where zero lies inside the shaded 95 %, these scenes do not tell the two systems apart.", "name": "fig-evaluation-bootstrap"}, "image": {"alt": "Two histograms of bootstrap draws of the difference in fact precision, greedy minus beam and greedy minus sample, with the middle 95 percent shaded and a line at zero."}} tags=["hide-input"]
figure, axes = plt.subplots(1, 2, figsize=(7, 2.5), sharex=True)
for axis, other in zip(axes, ("beam", "sample"), strict=True):
    _, low, high, draws = compared[other, "precision"]
    axis.axvspan(low, high, color=BLUE, alpha=0.15, linewidth=0)
    axis.hist(draws, 40, color=BLUE)
    axis.axvline(0, color=ORANGE, linestyle="--")
    axis.set(title=f"greedy minus {other}", xlabel="difference in fact precision", yticks=[])

# %% tags=["remove-cell"]
for (other, metric), interval in compared.items():
    name = f"evaluation_{other}_{metric}"
    verdict = "holds 0" if interval.low <= 0 <= interval.high else "does not hold 0"
    glue(f"{name}_value", interval.value, display=False)
    glue(f"{name}_range", f"{interval.low:+.3f} to {interval.high:+.3f}", display=False)
    glue(f"{name}_verdict", verdict, display=False)
glue("evaluation_alone_width", sum(one.high - one.low for one in alone) / 2, display=False)
beam_interval = compared["beam", "precision"]
glue("evaluation_paired_width", beam_interval.high - beam_interval.low, display=False)

# %% [markdown]
# | greedy minus | metric | difference | 95 % interval | the interval |
# |---|---|---|---|---|
# | beam | fact precision | {glue:text}`evaluation_beam_precision_value:+.3f` | {glue:text}`evaluation_beam_precision_range` | {glue:text}`evaluation_beam_precision_verdict` |
# | beam | BLEU-4 | {glue:text}`evaluation_beam_BLEU-4_value:+.3f` | {glue:text}`evaluation_beam_BLEU-4_range` | {glue:text}`evaluation_beam_BLEU-4_verdict` |
# | sample | fact precision | {glue:text}`evaluation_sample_precision_value:+.3f` | {glue:text}`evaluation_sample_precision_range` | {glue:text}`evaluation_sample_precision_verdict` |
# | sample | BLEU-4 | {glue:text}`evaluation_sample_BLEU-4_value:+.3f` | {glue:text}`evaluation_sample_BLEU-4_range` | {glue:text}`evaluation_sample_BLEU-4_verdict` |
#
# Greedy's precision alone has an interval about {glue:text}`evaluation_alone_width:.3f` wide, and so has beam's; the interval of their paired difference is
# {glue:text}`evaluation_paired_width:.3f` wide. Two intervals that overlap therefore say little; compute the difference. And the bootstrap knows these scenes
# only: it says nothing about another seed of *training*, another artist, or photographs. In machine translation this test is the custom {cite}`koehn2004`.
#
# ## Does a confidence mean what it says?
#
# Many systems give a number with each answer: *0.8 sure*. The number is **calibrated** when it keeps its word: of all answers with confidence $p$, the share $p$ is right,
# for each $p$. To measure that, sort $N$ answers by their confidence into $M$ bins of one width. A **reliability diagram** draws, for each bin, the share that is right against the mean confidence; on the
# diagonal a number means what it says. The mean distance from it, where each answer counts alike, is the **expected calibration error** {cite}`guo2017`:
#
# $$
# \text{ECE} = \sum_{m=1}^{M} \frac{|B_m|}{N}\, \bigl|\, \operatorname{acc}(B_m) - \operatorname{conf}(B_m) \,\bigr|
# $$ (eq-evaluation-ece)
#
# $B_m$ are the answers in bin $m$, $|B_m|$ is their number, $\operatorname{acc}$ the share of them that is right and $\operatorname{conf}$ the mean of their confidences. On paper: six
# answers with confidence 0.1, 0.3, 0.5, 0.9, 0.9 and 0.9, of which the first and the last are wrong, and $M = 2$ bins that meet at 0.5. The lower bin holds three answers with
# mean confidence 0.3, and 2/3 of them are right; the upper bin 0.9 and 2/3. So $\text{ECE} = \tfrac12 \cdot 0.3667 + \tfrac12 \cdot 0.2333 = 0.3$.

# %% tags=["nbval-check-output"]
from sklearn.calibration import calibration_curve

from mmcourse.evaluation import auroc, ece, reliability


def ece_by_hand(confidence, right, bins=10):
    total = 0.0
    for number in range(bins):
        low, high = number / bins, (number + 1) / bins
        inside = (low < confidence) & (confidence <= high)
        if inside.any():
            total += inside.sum() * abs(right[inside].mean() - confidence[inside].mean())
    return total / len(right)


confidence = np.array([0.1, 0.3, 0.5, 0.9, 0.9, 0.9])
right = np.array([False, True, True, True, True, False])
print("ECE by hand", round(ece_by_hand(confidence, right, 2), 6),
      "  mmcourse", round(ece(confidence, right, 2), 6))
found = reliability(confidence, right, 2)
theirs = calibration_curve(right, confidence, n_bins=2)
print("accuracy of each bin:", found.accuracy.round(4), "  scikit-learn", theirs[0].round(4))
assert np.allclose(found.accuracy, theirs[0]) and np.allclose(found.confidence, theirs[1])

# %% tags=["remove-input"]
show_source(reliability)

# %% tags=["remove-input"]
show_source(ece)

# %% [markdown]
# Now a real one. A captioner gives a probability to each word, and it is common to call their geometric mean, the exponential of the mean log-probability, the model's confidence. The shipped captioner
# gives another number: `confidence`, which is to be the probability that every noun of the sentence is right ([chapter 14](14_captioning.py) fits it, to scenes that no table shows). We ask both of scenes of `val` and
# `style`. *Right* means that the sentence names a thing, and none that is not there.

# %%
def nouns_right(text, scene):
    """Whether a caption names something, and nothing that is not there."""
    stated = {fact for fact in parse(text) if fact[0] == "object"}
    return bool(stated) and all(map(scene.holds, stated))


judged = val + others["style"]
answers = [one for start in range(0, len(judged), 60)
           for one in shipped.caption([s.image for s in judged[start:start + 60]], "greedy")]
right = np.array([nouns_right(a.text, s) for a, s in zip(answers, judged, strict=True)])
sure = {"mean of the words": np.array([math.exp(a.log_prob / len(a.tokens)) for a in answers]),
        "confidence": np.array([answer.confidence for answer in answers]),
        "one number for all": np.full(len(right), right.mean())}
for name, values in sure.items():
    print(f"{name:19} ECE {ece(values, right):.3f}   AUC {auroc(values, right):.3f}")

# %% [markdown]
# The **AUC** asks another question: take one right and one wrong answer; how often has the right one more confidence? The third row answers every picture with the same number, the share that is right. Its ECE is 0 and its
# AUC 1/2: it is calibrated and knows nothing. The two belong side by side. Neither sees the other: $p^3$ in place of $p$ leaves every AUC as it is.

# %% tags=["hide-input"] mystnb={"figure": {"caption": "Reliability of two confidences, on val and style together: the share of captions whose nouns are all right, against the mean confidence, in ten bins. The more captions, the larger the dot.", "name": "fig-evaluation-reliability"}, "image": {"alt": "Two reliability diagrams with a diagonal. On the left, for the mean of the words, the dots crowd between one half and 0.9. On the right, for the captioner's confidence, they spread from 0 to 1, and the largest is near the upper end."}}
figure, axes = plt.subplots(1, 2, figsize=(6.4, 3.2), sharey=True)
for axis, (name, values) in zip(axes, list(sure.items())[:2], strict=True):
    bins = reliability(values, right)
    axis.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1)
    axis.scatter(bins.confidence, bins.accuracy, s=6 + bins.counts, color=BLUE, zorder=2)
    axis.set(title=name, xlabel="confidence", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
axes[0].set(ylabel="share right");

# %% [markdown]
# ### How sure can we be of an ECE?
#
# Each bin's gap is an absolute value, so chance cannot cancel: few answers give an ECE above 0 even when every number is true. How far above, we can try: keep the confidences, and let each
# answer be right by a coin that has just this probability. The bootstrap has the same bias, once more: a draw holds less variety than the answers themselves. So we give its interval *and* what a perfect confidence would get.

# %%
splits = {"both": slice(None), "val": slice(len(val)), "style": slice(len(val), None)}
rng = np.random.default_rng(0)
print(f"{len(right)} captions            AUC    ECE  95 % interval    if perfect  too sure by")
for name, split in product(("mean of the words", "confidence"), splits):
    values, truth = sure[name][splits[split]], right[splits[split]]
    perfect = [ece(values, rng.random(len(values)) < values) for _ in range(1000)]
    value, low, high, _ = bootstrap(ece, values, truth, draws=1000)
    print(f"{name:17} {split:5} {auroc(values, truth):5.2f}  {value:.3f}  {low:.3f} to {high:.3f}"
          f"       < {np.quantile(perfect, 0.95):.3f}        {values.mean() - truth.mean():+.2f}")

# %% [markdown]
# *If perfect*: below this stays a perfect confidence in 95 of 100 tries, so an ECE below it cannot be told from perfect. *Too sure by* is the mean confidence minus the share that is right. Where it has different
# signs on the two splits, they cancel in a bin that both fall into: **the ECE of a mixture can be small while that of each part is not.** So look at each kind of picture alone. Away from where it was fitted, a confidence is
# often worse {cite}`ovadia2019`. [Chapter 14](14_captioning.py) has more scenes, and the third split.
#
# ## What came after
#
# - **A language model as the judge.** CLAIR {cite}`chan2023` shows a language model the caption and the references and asks how likely it is, from 0 to 100, that both describe one picture. Its authors find that it agrees with people more closely than earlier scores. But {cite:t}`zheng2023` find that judges of pairs
#   lean to one place in the order and to the longer answer, and {cite:t}`panickssery2024` that they score their own summaries above others which people find as good. So ask in both orders, and take a judge that shares no parts with the judged; ours shared its encoder.
# - **Facts of free text.** FActScore {cite}`min2023` lets a language model cut a long text into small statements and checks each against a source; the score is the share that is supported. FaithScore {cite}`jing2024` checks against a picture, with a model that sees. You know both as fact precision, here with a parser and
#   a truth that can err. What was left out needs a second number.
# - **Few people, many machine judgements.** In **prediction-powered inference** {cite}`angelopoulos2023` a machine judges all items and people a random part. The difference on that part corrects the mean over all. The interval holds however bad the machine is; the better it is, the narrower the interval.
# - **Votes.** In Chatbot Arena {cite}`chiang2024` people see two answers and choose the better; these votes rank the models. {cite:t}`singh2025` report that some providers could try variants there in private and keep the best score, in one case among 27. What the best of twenty is worth, we measure below.
#
# Each of these is one more metric. Ask of it what we asked of BLEU: which foils does it see, how does it agree with the truth, how wide is its interval? The captioner that we judged is built in [chapter 14](14_captioning.py).
#
# ## What goes wrong
#
# ### A leak
#
# A **leak** is knowledge of the test that a system should not have. Take a captioner that learns nothing: find the most similar training picture and repeat its caption
# (with more neighbours, and the caption on which they agree, it is no bad one: {cite:t}`devlin2015`). We measure similarity by the angle between the captioner's mean grids. First honestly. Then the test pictures get into the store as well, each changed in one pixel, as if
# it had been downloaded twice and saved again.

# %%
def nearest(queries, store, texts):
    """For each picture the text of the most similar one in the store, and its similarity."""
    best = (F.normalize(queries, dim=-1) @ F.normalize(store, dim=-1).T).max(1)
    return [texts[index] for index in best.indices.tolist()], best.values


def saved_again(scene):
    image = scene.image.copy()
    image[0, 0] ^= 1
    return replace(scene, image=image)


queries, store = grids(val).mean(1), train_grids.mean(1)
texts = [scene.captions[0] for scene in train]
copied = [saved_again(scene) for scene in val]
more = torch.cat([store, grids(copied).mean(1)])
neighbour, similar = nearest(queries, store, texts)
leaked, too_similar = nearest(queries, more, texts + [scene.captions[0] for scene in val])
known = {scene.image.tobytes() for scene in train + copied}
print("test pictures found among training pictures, byte by byte:",
      sum(scene.image.tobytes() in known for scene in val))
leak = {name: judge(texts) for name, texts in (("honest", neighbour), ("leaked", leaked))}
for name, row in leak.items():
    print(f"{name:8} BLEU-4 {row['BLEU-4']:.2f}   fact precision {row['precision']:.2f}")

# %% tags=["remove-cell"]
for name, row in leak.items():
    glue(f"evaluation_{name}_precision", row["precision"], display=False)
    glue(f"evaluation_{name}_bleu", row["BLEU-4"], display=False)
glue("evaluation_similar", float(similar.median()), display=False)
glue("evaluation_too_similar", float(too_similar.median()), display=False)

# %% [markdown]
# | nearest neighbour, {glue:text}`evaluation_scenes:d` scenes | BLEU-4 | fact precision | median similarity of the neighbour |
# |---|---|---|---|
# | honest | {glue:text}`evaluation_honest_bleu:.2f` | {glue:text}`evaluation_honest_precision:.2f` | {glue:text}`evaluation_similar:.4f` |
# | with a leak | {glue:text}`evaluation_leaked_bleu:.2f` | {glue:text}`evaluation_leaked_precision:.2f` | {glue:text}`evaluation_too_similar:.4f` |
#
# The leaked system has learned nothing that would help with another picture. A search for identical files finds no test picture in the store, because one pixel differs. What gives it away is the
# similarity: every test picture has a twin. So split by *origin* (the same photograph, the same speaker, the same day stays on one
# side), and look at the nearest neighbours of a score that is too good. Leaks of this kind have been found in many fields {cite}`kapoor2023`.
#
# ### Twenty ideas, one of them "works"
#
# A 95 % interval misses the truth once in twenty times. Who compares $m$ ideas that all change nothing, sees at least one "significant" improvement or damage with probability
#
# $$
# P(\text{at least one}) = 1 - (1 - \alpha)^m
# $$ (eq-evaluation-many)
#
# if the comparisons are independent: {glue:text}`evaluation_many:.0%` for twenty. The simplest remedy demands an interval of $1 - \alpha / m$ of each comparison
# (**Bonferroni**): for twenty, 99.75 %. We make 200 ideas that change nothing. We sample captions twice with different random numbers; an "idea" is a
# coin that decides for each scene which of the two is called *new* and which *old*. The truth of each comparison is a difference of zero.
#
# How many draws does such an interval need? Beyond each end of 95 % lie 25 of 1,000 draws, but beyond each end of 99.75 % only a single one, and an end that hangs on one draw is noise.
# So we take 20,000 draws, which leaves 25 there too.

# %%
def draw_times(items, draws):
    """How often each item is in a draw with replacement: (draws, items)."""
    drawn = np.random.default_rng(0).integers(items, size=(draws, items))
    places = drawn + items * np.arange(draws)[:, None]  # a number for each draw and item
    return np.bincount(places.ravel(), minlength=places.size).reshape(places.shape)


torch.manual_seed(1)
first, again = fact_counts(systems["sample"]), fact_counts(describe(val, "sample"))
rng, times = np.random.default_rng(1), draw_times(len(val), 20000).astype(float)
values, ends = [], []
for _ in range(200):
    coin = rng.random((len(val), 1)) < 0.5
    new, old = np.where(coin, first, again), np.where(coin, again, first)  # (scenes, 2)
    (new_true, new_all), (old_true, old_all) = (times @ new).T, (times @ old).T
    differences = new_true / new_all - old_true / old_all  # (20000,)
    values.append(precision(new) - precision(old))
    ends.append(np.percentile(differences, [2.5, 97.5, 2.5 / 20, 100 - 2.5 / 20]))
low, high, strict_low, strict_high = np.transpose(ends)
wrong = (low > 0) | (high < 0)
strict_ones = int(((strict_low > 0) | (strict_high < 0)).sum())
print(f"{wrong.mean():.1%} of 200 ideas that change nothing are 'significant'")
print("in each group of 20 ideas:", wrong.reshape(10, 20).sum(1).tolist())
print("best of the first 20: ", f"{max(values[:20]):+.3f}")
print(f"with the level 1 - 0.05 / 20: {strict_ones} of 200")

# %% tags=["remove-cell"]
glue("evaluation_many", 1 - 0.95**20, display=False)
glue("evaluation_wrong", float(wrong.mean()), display=False)
glue("evaluation_groups", int((wrong.reshape(10, 20).sum(1) > 0).sum()), display=False)
glue("evaluation_wrong_error", math.sqrt(0.05 * 0.95 / 200), display=False)
glue("evaluation_best_idea", float(max(values[:20])), display=False)
glue("evaluation_strict", strict_ones, display=False)

# %% mystnb={"image": {"alt": "Sixty horizontal intervals around zero, sorted by their difference. The ones that do not cross the zero line are orange."}} tags=["hide-input"]
figure, axes = plt.subplots(figsize=(6, 2.8))
for height, idea in enumerate(np.argsort(values[:60])):
    axes.plot([low[idea], high[idea]], [height, height],
              color=ORANGE if wrong[idea] else GREY, linewidth=1.5)
axes.axvline(0, color=INK, linewidth=1)
axes.set(yticks=[], xlabel="new minus old, fact precision: 60 ideas that change nothing");

# %% [markdown]
# {glue:text}`evaluation_wrong:.1%` of the comparisons are wrong, where about 5 % were promised (with a standard error of {glue:text}`evaluation_wrong_error:.1%`, for 200 of
# them), and {glue:text}`evaluation_groups:d` of the 10 groups of twenty hold at least one. Report the best of the first
# twenty alone, and you have "gained" {glue:text}`evaluation_best_idea:+.3f`. The remedies: count and report all comparisons that were made, not those in the paper {cite}`dodge2019`; demand $1 - \alpha / m$ of each
# (with it {glue:text}`evaluation_strict:d` of the 200 remain here, where 0.25 % of 200 are half a comparison); or choose on one set of pictures and report on another, which is touched once.
#
# ## Exercises
#
# ```{exercise-start} Clipping
# :label: ex-evaluation-clipping
# ```
# *Easy, 5 minutes.* The hypothesis is *the the the the*, the references are *the cat is on the mat* and *a cat sat*. Compute $p_1$ of {eq}`eq-evaluation-precision` with its
# minimum, and without: then each word of the hypothesis that stands in some reference counts, however often. And compute BLEU-1 of {eq}`eq-evaluation-bleu`, on paper. Which reference gives $r$? Check it with `bleu`.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-evaluation-clipping
# :label: so-evaluation-clipping
# :class: dropdown
# ````
# Without the minimum all four words occur in a reference: $p_1 = 1$. The first reference has *the* twice, so clipped $p_1 = 2/4$. Four words are closest to the second reference
# with its three ($r = 3$), so there is no brevity penalty, and BLEU-1 is 1/2.

# %% tags=["nbval-check-output"]
score = bleu(["the the the the"], [["the cat is on the mat", "a cat sat"]], max_order=1)[0]
print(round(score, 6))
assert math.isclose(score, 0.5, abs_tol=1e-8)

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} The answer that never looks
# :label: ex-evaluation-constant
# ```
# *Easy, 10 minutes.* A share $s$ of the items belongs to one of $C$ classes, and a system always answers this class. Give its accuracy and its macro F1 as formulas. Check them with `always none`
# (`true` and `classes` are there). For which $s$ is the macro F1 above one half?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-evaluation-constant
# :label: so-evaluation-constant
# :class: dropdown
# ````
# The accuracy is $s$. The class has precision $s$ and recall 1, so its F1 is $2s/(1+s)$; all others have 0. The macro F1 is $\frac{2s}{C(1+s)}$, which is at most $1/C$. For $C \ge 2$ it never exceeds one half.

# %%
s, C = true.count("none") / len(true), len(set(true))
by_formula = s, 2 * s / (C * (1 + s))
always = ["none"] * len(true)
measured = accuracy(always, true), precision_recall_f1(always, true, "macro").f1
print([round(number, 4) for number in (*by_formula, *measured)])
assert np.allclose(by_formula, measured)

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} The mean of BLEU is not BLEU
# :label: ex-evaluation-mean
# ```
# *Medium, 10 minutes.* Compute BLEU-4 of the greedy captions as a corpus, and the mean of the BLEU-4 of each caption. Why do they differ? What share of the captions has a BLEU-4 below 0.001?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-evaluation-mean
# :label: so-evaluation-mean
# :class: dropdown
# ````
# A corpus sums the counts before it divides and takes the root; a caption without a shared 4-gram just adds nothing to the numerator. In the mean of single scores it counts as 0, however many single words and pairs are right. Papers that report
# "BLEU" may mean either.

# %%
counts = bleu_counts(greedy, references)
corpus = bleu_from_counts(counts.sum(0))[3]
alone = np.array([bleu_from_counts(row)[3] for row in counts])
print(f"corpus {corpus:.3f}   mean of captions {alone.mean():.3f}   "
      f"captions below 0.001: {(alone < 1e-3).mean():.1%}")
assert corpus == bleu(greedy, references)[3]

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} Ties
# :label: ex-evaluation-ties
# ```
# *Medium, 10 minutes.* Someone computes recall@1 as `(scores.argmax(1) == answer).mean()`. Give a model that knows nothing the recall@1 of 1 under this code, for pictures 0 to 9 and captions 0 to 9, when all
# right answers happen to be item 0. What does `recall_at_k` give? Then the model diverges, and all its scores are NaN: what do `argmax` of NumPy and of PyTorch answer, and
# what does `recall_at_k` do?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-evaluation-ties
# :label: so-evaluation-ties
# :class: dropdown
# ````
# `argmax` takes the first of equal scores, so constant scores always answer 0. Data sets that list the right item first are common, and so are constant scores (a network that collapsed). In `argmax` of NumPy and of PyTorch,
# NaN counts as the largest number, so a row of NaN answers 0 as well: a diverged model can look perfect. `recall_at_k` refuses NaN.

# %% tags=["nbval-check-output"]
scores, answer = np.zeros((10, 10)), np.zeros(10, int)
relevant = answer[:, None] == np.arange(10)
print("argmax:", (scores.argmax(1) == answer).mean(),
      "  recall_at_k:", recall_at_k(scores, relevant, 1))
diverged = scores * np.nan
print("argmax of NaN: NumPy", (diverged.argmax(1) == answer).mean(),
      "  PyTorch", (torch.tensor(diverged).argmax(1).numpy() == answer).mean())
try:
    recall_at_k(diverged, relevant, 1)
except ValueError as error:
    print(error)

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} Does a 95 % interval hold the truth 95 % of the time?
# :label: ex-evaluation-coverage
# ```
# *Medium, 15 minutes.* Take a system whose captions are right with probability 0.9, independently. Draw test sets of 20, 80 and 320 captions, 200 of each, and count how often the bootstrap
# interval of the accuracy holds 0.9. How wide are the intervals?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-evaluation-coverage
# :label: so-evaluation-coverage
# :class: dropdown
# ````
# With 20 captions the percentile bootstrap holds the truth clearly less often than it says: two errors more or less are a lot, and a test set without any error gives an interval of width zero. It becomes honest with size. Four times as many captions halve
# the width.

# %% tags=["nbval-check-output"]
rng = np.random.default_rng(0)
for size in (20, 80, 320):
    intervals = [bootstrap(np.mean, rng.random(size) < 0.9, draws=400, seed=seed)
                 for seed in range(200)]
    holds = np.mean([one.low <= 0.9 <= one.high for one in intervals])
    width = np.mean([one.high - one.low for one in intervals])
    print(f"{size:4} captions: holds the truth in {holds:.0%}, mean width {width:.2f}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} Two errors that cancel
# :label: ex-evaluation-cancel
# ```
# *Easy, 10 minutes.* A system says 0.7 about each of 1,000 pictures. On 500 of them it is right 450 times, on the other 500 it is right 250 times. What are the ECE of each half, the ECE of all, and the AUC of all? First on paper,
# then with `ece` and `auroc`.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-evaluation-cancel
# :label: so-evaluation-cancel
# :class: dropdown
# ````
# One half is right in 0.9, so 0.7 is too modest by 0.2; the other in 0.5, and 0.7 is too sure by 0.2. Of all, 700 of 1,000 are right, as it says: an ECE of 0. Since all confidences are equal, the AUC is 1/2. One number per kind of picture, 0.9 and 0.5, would be as
# well calibrated and would know something.

# %% tags=["nbval-check-output"]
same = np.full(1000, 0.7)
hits = np.r_[np.arange(500) < 450, np.arange(500) < 250]
for name, part in (("first", slice(500)), ("second", slice(500, None)), ("all", slice(None))):
    print(f"{name:7} ECE {ece(same[part], hits[part]):.3f}   AUC {auroc(same[part], hits[part]):.2f}")
by_kind = np.repeat([0.9, 0.5], 500)
print(f"by kind ECE {ece(by_kind, hits):.3f}   AUC {auroc(by_kind, hits):.2f}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} The score that knows the other pictures
# :label: ex-evaluation-company
# ```
# *Medium, 15 minutes.* Score the greedy captions of the first 60 scenes with CIDEr-D, once among themselves and once among all scenes of `val`, each caption against the five captions of its scene (`references`; `each=True` gives the score
# of each caption). The 60 captions and their references are the same. Which of the two means is higher? Does every caption's score move in the same direction?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-evaluation-company
# :label: so-evaluation-company
# :class: dropdown
# ````
# The weights $\log(I / I_g)$ depend on the company. Among more pictures, what is rare weighs more compared with what is frequent, and the cosines shift towards the rare n-grams. A caption gains
# where it shares its rare n-grams with its references. It loses where it has rare ones that they have not: with a wrong noun, but also as a true sentence in an order of words that
# no reference has. Most of ours rise, some fall, and a fall does not mean that the caption is false. So CIDEr-D
# can be compared on the same test set only, and not between a part and the whole.

# %%
among_few = cider_d(greedy[:60], references[:60], each=True)
among_all = cider_d(greedy, references, each=True)[:60]
print(f"among 60: {among_few.mean():.3f}   among {len(val)}: {among_all.mean():.3f}")
falls = np.flatnonzero(among_all < among_few)
print("captions whose score rises", int((among_all > among_few).sum()), "falls", len(falls))
print("of those that fall, entirely true", sum(not facts[number].false for number in falls))
for number in falls[np.argsort(among_all[falls] - among_few[falls])][:3]:
    print(f"{among_few[number]:.2f} -> {among_all[number]:.2f}  {greedy[number]}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} Shuffle instead of drawing
# :label: ex-evaluation-shuffle
# ```
# *Hard, 25 minutes.* A **permutation test** asks: if the two systems were the same, how often would a difference as large as ours appear? Exchange the two captions of each scene by a coin, compute the difference in fact precision, repeat 2,000 times, and count the
# differences that are at least as large in size as the real one. The real arrangement is one of the possible ones, so count it too: $m$ of 2,000 give the share $(1 + m)/(1 + 2000)$,
# which is never 0. Do it for greedy against beam and against sample, and compare with the intervals above.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-evaluation-shuffle
# :label: so-evaluation-shuffle
# :class: dropdown
# ````
# The share is called the p-value. Where not one of the 2,000 reaches the real difference, it is $1/2001$: the honest statement is "at most that", not 0. Both methods use the pairs; the bootstrap asks how far the difference could be from its value, the permutation test whether it could be zero. A p-value below 0.05 and an interval without 0 nearly always come together.

# %%
def permutation_test(first, second, draws=2000):
    rng, real = np.random.default_rng(0), abs(precision(first) - precision(second))
    larger = 0
    for _ in range(draws):
        coin = rng.random((len(first), 1)) < 0.5
        new, old = np.where(coin, first, second), np.where(coin, second, first)
        larger += abs(precision(new) - precision(old)) >= real - 1e-12
    return (1 + larger) / (1 + draws)  # the real one is one of the draws


for other in ("beam", "sample"):
    low, high = compared[other, "precision"][1:3]
    p = permutation_test(rows["greedy"][0], rows[other][0])
    print(f"greedy against {other:7} p = {p:.4f}   interval {low:+.3f} to {high:+.3f}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ## Quiz
#
# ::::::{card}
# :class-card: quiz
# **1.** Two papers report BLEU-4 of 0.26 and 0.20 on the same data set. What follows?
#
# :::{dropdown} The first model is better, by six points of BLEU
# **No.** Only if both were scored with the same tokens, references and program. Other tokens alone can make such a difference.
# :::
# :::{dropdown} Nothing, until one program scores both
# **Yes.** Tokenizer, case, punctuation and the number of references all change BLEU. Ask for the captions, not for the number.
# :::
# :::{dropdown} The second model hallucinates more
# **No.** BLEU does not look at the picture. A true sentence in other words has a low BLEU.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **2.** A captioner says *a dog to the left of a car* and the references say *a dog to the right of a car*. Which score falls most, compared with a perfect sentence?
#
# :::{dropdown} BLEU-1
# **No.** Seven of eight words are still there; BLEU-1 loses one eighth.
# :::
# :::{dropdown} ROUGE-L
# **No.** The longest common subsequence loses one word of eight.
# :::
# :::{dropdown} The precision of the relation
# **Yes.** The sentence states one relation, and it is false: 0 of 1. The other scores see a sentence that is nearly right.
# :::
# :::{dropdown} Fact recall, which becomes 0, since the sentence is false
# **No.** Dog, car and their numbers are still found. Only the relation is missed.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **3.** 98 % of the pictures hold no defect. A detector that never reports one has an accuracy of 98 %. Which number shows that it is useless?
#
# :::{dropdown} Micro F1
# **No.** With one class an item, micro F1 is the accuracy: 98 %.
# :::
# :::{dropdown} Macro F1
# **Yes.** The class *defect* has an F1 of 0, and the mean over the two classes stays below one half.
# :::
# :::{dropdown} The precision of the class *no defect*
# **No.** That is 98 % as well.
# :::
# :::{dropdown} The recall of the class *no defect*
# **No.** That is 100 %: whoever always says it misses none.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **4.** System A has a fact precision of 0.90 (interval 0.88 to 0.92), B of 0.92 (0.90 to 0.94), on the same scenes. Is B better?
#
# :::{dropdown} No, because the two intervals overlap by half of their width
# **No.** Overlapping intervals do not say that. On the same scenes the two numbers move together, and the interval of their difference can be much narrower.
# :::
# :::{dropdown} Yes, because 0.92 is more than 0.90
# **No.** On other scenes it might be the other way round.
# :::
# :::{dropdown} Look at the interval of the paired difference
# **Yes.** Draw scenes, and take the difference of both systems on the same draw. If that interval does not hold 0, these scenes tell the two apart.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **5.** You try 30 settings on the test set and report the best with its 95 % interval. What is wrong?
#
# :::{dropdown} Nothing, the interval says how sure the number is
# **No.** The interval is right for one setting that was chosen beforehand. The best of 30 was chosen *because* its luck was good.
# :::
# :::{dropdown} The interval must be computed with more draws
# **No.** More draws make its ends more exact. They do not remove the choice.
# :::
# :::{dropdown} The number is too high: choose on other scenes, report on these once
# **Yes.** Then no luck of the choice is left in the number. Say how many settings were tried as well.
# :::
# :::{dropdown} 30 settings are too few to find the best one
# **No.** More of them would make the bias larger.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **6.** A confidence has an ECE of 0.01 on 10,000 pictures, half of them photographs, half drawings. What follows?
#
# :::{dropdown} It is calibrated on the photographs
# **No.** It may be too modest on photographs and too sure on drawings, and the two cancel. Look at each kind alone.
# :::
# :::{dropdown} Its high values go with right answers, and its low values with wrong ones
# **No.** One and the same number for all can have this ECE. The AUC says how well right and wrong are told apart.
# :::
# :::{dropdown} In this mixture, each well-filled bin is about as right as it says
# **Yes.** That is all that ECE measures, and for this mixture only. A bin with few answers weighs little, and may be far off.
# :::
# :::{dropdown} With more bins the ECE would be smaller
# **No.** Where a bin is divided, its parts can no longer cancel each other, so ECE stays or grows.
# :::
# ::::::
#
# ## Take-aways
#
# - BLEU, ROUGE-L and CIDEr-D ask whether a sentence uses the references' words. With one reference, between a false near copy of it and a true sentence in other words, BLEU-4 chose the true one
#   {glue:text}`evaluation_one_BLEU-4:.0%` of the time.
# - A score that compares picture and sentence needs no reference. It is as good as its encoders; test them on foils before you trust it.
# - A number needs its tokenizer, its baseline and its interval: with four ways to cut words, the same captions had a BLEU-4 between {glue:text}`evaluation_token_low:.2f` and {glue:text}`evaluation_token_high:.2f`.
# - Accuracy and micro F1 count items, macro F1 counts classes. With a frequent class the two tell different stories.
# - Compare systems on the same items by the interval of their difference, count every comparison, and distrust what is too good.
# - A confidence of 0.8 should be right eight times in ten, on each kind of picture. ECE measures that, AUC what the confidence knows.
#
# ## Further reading
#
# - {cite:t}`papineni2002`: BLEU; section 2 works through clipping and the brevity penalty.
# - {cite:t}`vedantam2015`: CIDEr, and its variant D.
# - {cite:t}`hessel2021`: CLIPScore, how well it agrees with people, and where it does not.
# - {cite:t}`post2018`: how much the BLEU of the same output changes with its tokens.
# - {cite:t}`koehn2004`: the bootstrap for comparing two systems that write text.
# - {cite:t}`guo2017`: reliability diagrams, ECE, and how one number calibrates a network.
# - {cite:t}`opitz2019`: two definitions of macro F1, and where they disagree.
# - {cite:t}`kapoor2023`: leaks that made results in science too good.

# %% mystnb={"image": {"alt": "A scene, and four pairs of bars: on most metrics the false sentence of the two has the longer bar."}} tags=["remove-cell"]
# The picture at the top: with one reference, the pair that the scores of words get wrong by most.
order = [pair_ for pair_ in copies if pair_[1] in ("object", "relation")]
numbers, _, true_texts, false_texts = zip(*order, strict=True)
refs = [references[number][:1] for number in numbers]
names, scale = ["BLEU-4", "ROUGE-L", "CIDEr-D"], {"CIDEr-D": 10}
top = {kind: each_score(texts, refs, val_features[list(numbers)])
       for kind, texts in (("false", false_texts), ("true", true_texts))}
gaps = [(top["false"][name] - top["true"][name]) / scale.get(name, 1) for name in names]
at = int(np.argmax(np.min(gaps, 0)))
figure, (left, axes) = plt.subplots(1, 2, figsize=(6.8, 2.7), width_ratios=(1, 2))
left.imshow(val[numbers[at]].image)
left.axis("off")
for shift, (kind, texts, colour) in enumerate((("false", false_texts, ORANGE),
                                               ("true", true_texts, BLUE))):
    values = [top[kind][name][at] / scale.get(name, 1) for name in names]
    values.append(fact_score(texts[at], val[numbers[at]]).precision)
    axes.barh(np.arange(4) + 0.38 * shift, values, 0.36, color=colour, label=f"{kind}: {texts[at]}")
axes.set(xlim=(0, 1.02), yticks=np.arange(4) + 0.19)
axes.set_yticklabels([*names[:2], "CIDEr-D / 10", "facts"])
axes.invert_yaxis()
figure.legend(loc="outside lower center", fontsize=8)

# %% tags=["remove-cell"]
assert min(gap[at] for gap in gaps) > 0
glue("evaluation_promise", figure, display=False)
plt.close(figure)
