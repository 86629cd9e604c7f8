# ---
# jupyter:
#   course: {notebook: notebooks/06_audio.ipynb}
# ---

# %% [markdown]
# # Audio: from a waveform to words
#
# At the end of this chapter you can turn a sound into a picture of its frequencies, train a network to write what is said without anyone saying when, search for the best text, and report an error rate of voices that the network has never heard.
#
# ```{glue:figure} audio_promise
# :name: fig-audio-promise
# :alt: Above, the log-mel spectrum of a spoken caption, dark bands that bend over time. Below it, on the same time axis, coloured peaks of probability, each with the word that the recogniser writes there.
#
# A caption, spoken by a voice that trained nothing: its log-mel spectrum, and below it what the recogniser of this chapter finds probable, each peak with its word. Between the words it says *nothing*. What is wrong in it was left as it is.
# ```
#
# ::::{card}
# :class-card: chapter-card
#
# **Goals**
#
# - compute frames, windows, spectra and mel filters by hand, and then a log-mel spectrum
# - list all paths of a text, and sum them with the forward recursion of CTC
# - find the best text by a prefix beam search with a language model
# - count word and character errors, on voices that were kept apart
#
# **Before you start:** [chapter 2](02_transformer.py), whose encoder listens here, and [chapter 4](04_gpt.py), whose n-gram model helps it to spell.
#
# :::{card-footer}
# Reading {measured}`reading` min · runs in {measured}`seconds` s on two CPU cores, {measured}`megabytes` MB ·
# difficulty ●●○
# :::
# ::::

# %% tags=["remove-cell"]
import itertools
import math
from random import Random

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from myst_nb import glue
from torch import nn

# %% tags=["remove-cell"]
from mmcourse.audio import (
    character_error_rate, collapse, ctc_beam, ctc_greedy, ctc_loss, dtw, edits, frame,
    log_mel, mel_filters, power_spectrum, to_mel, word_error_rate,
)  # fmt: skip
from mmcourse.book.figures.spectrum import SpectrumExplorer
from mmcourse.book.plotting import BLUE, GREY, ORANGE, TEAL, use_style
from mmcourse.book.source import show_source
from mmcourse.data import EmojiScenes
from mmcourse.data.backgrounds import PAINT
from mmcourse.data.language import Description, Group
from mmcourse.data.speech import (
    LANGUAGES, SPLITS, at_16_khz, plain_text, speech, spoken_nouns, voices,
)  # fmt: skip
from mmcourse.evaluation import bootstrap
from mmcourse.hub import load
from mmcourse.recipes.audio import batch_of, ready
from mmcourse.recipes.audio_studies import interval, rates_by_voice
from mmcourse.recipes.stored import read_study

use_style()
torch.set_num_threads(1)

# %% [markdown]
# ## Sixteen thousand numbers a second
#
# A microphone measures the pressure of the air, again and again. The row of these **samples** is the **waveform**. Ours has 16,000 samples a second. Here are two nouns by a voice of our data.

# %%
jacky = {clip.text: clip for clip in speech("en_jacky", "noun")}
for word in ("umbrella", "ship"):
    waveform = jacky[word].waveform
    seconds = len(waveform) / 16_000
    print(f"{word:9} {len(waveform):6} samples, {seconds:.2f} s,", waveform[3000:3004].round(3))

# %% [markdown]
# A question that we cannot answer yet: **which words are in these numbers, and where?** Nobody marked where they begin. The same word by another voice is longer or shorter, higher or lower, and its samples are other numbers. A recogniser has to find in both what a listener finds.
#
# The figure plays two nouns and shows what we build in the next sections. Move the frame with the slider or the arrow keys: the orange mark moves in all three pictures.

# %% tags=["remove-input"] mystnb={"image": {"alt": "Wave and log-mel spectrum of two spoken nouns, umbrella and ship. The hiss at the start of ship is dark at the high frequencies, the vowels are dark in bands at the low ones."}}
SpectrumExplorer([(word, jacky[word].waveform) for word in ("umbrella", "ship")])

# %% [markdown]
# In *ship* the hiss of *sh* lies high up and the vowel low down, in bands. In *umbrella* the bands bend from sound to sound. That is what words look like.
#
# **Who speaks?** A program, espeak-ng: {glue:text}`audio_voices` synthetic voices say 150 nouns and some captions of our scenes, in English and Mandarin. They differ in formants (the frequencies that a mouth makes stronger), pitch and speed, the English ones also in accent. **What we show holds for one synthesiser, whose voices differ less than people do.** 8 voices are held out for testing and 2 for choices. Without its accent and pitch, a voice is what espeak-ng calls a variant: no variant of the held-out voices is heard in training, but the four accents of the English voices for testing are.
#
# ## From samples to frequencies
#
# ### Frames
#
# A vowel is the same for some hundredths of a second. So we cut the waveform into **frames** of $W = 400$ samples (25 ms), one every 160 samples (10 ms), the **hop**. Frame $t$ of the $T$ frames of waveform $s$ is
#
# $$
# x_{tn} = s_{\,t h + n - W/2}, \qquad n = 0, \dots, W - 1
# $$ (eq-audio-frame)
#
# | symbol | what it is | here |
# |---|---|---|
# | $s_i$ | sample $i$; before the first and after the last, the waveform in a mirror | |
# | $W$ | samples of a frame | 400 |
# | $h$ | the hop, samples from one frame to the next | 160 |
# | $T$ | number of frames: the number of samples divided by $h$, rounded down, and at least 1 | |
# | $x_{tn}$ | sample $n$ of frame $t$ | $(T, W)$ |
#
# On paper, with $W = 4$ and $h = 2$, the waveform 1, 2, 3, 4, 5, 6: frame 0 is centred on the first sample, so it is 3, 2, 1, 2 (the mirror first), frame 1 is 1, 2, 3, 4, and frame 2 is 3, 4, 5, 6.

# %% tags=["nbval-check-output"]
print(frame(torch.tensor([1.0, 2, 3, 4, 5, 6]), 4, 2).tolist())

# %% [markdown]
# ### Window and Fourier transform
#
# The **Fourier transform** of a frame says how much of each frequency is in it: it multiplies the frame with a wave of that frequency and adds up. What is alike adds up to much, all else cancels. Before that, the frame is multiplied with a **window** that fades in and out:
#
# $$
# w_n = \tfrac12 - \tfrac12 \cos \frac{2 \pi n}{W}, \qquad
# P_{tk} = \Big| \sum_{n=0}^{W-1} w_n\, x_{tn}\, e^{-2 \pi i k n / W} \Big|^2, \qquad k = 0, \dots, \tfrac{W}{2}
# $$ (eq-audio-power)
#
# $w_n$ is the Hann window, $(W)$; $i$ is here the imaginary unit, $i^2 = -1$, with which $e^{-i a} = \cos a - i \sin a$ holds a cosine and a sine in one number; $P_{tk}$ is the **power** of frequency $k$ in frame $t$, $(T, W/2 + 1)$. Frequency $k$ makes $k$ turns in a frame, that is $16000\, k / W$ turns a second, or hertz (Hz). With $W = 4$ the window is $0, \frac12, 1, \frac12$. The frame $1, 2, 3, 4$ becomes $0, 1, 3, 2$. For $k = 0$ all factors are 1: the sum is 6 and the power 36. For $k = 1$ they are $1, -i, -1, i$: $-i - 3 + 2i = -3 + i$, power 10. For $k = 2$ they are $1, -1, 1, -1$: $-1 + 3 - 2 = 0$.

# %% tags=["nbval-check-output"]
print([round(p, 6) for p in power_spectrum(torch.tensor([1.0, 2, 3, 4])).tolist()])

# %% [markdown]
# ### Mels
#
# From 300 to 400 Hz is a large step for an ear, from 5,000 to 5,100 Hz a small one. The **mel** scale was drawn from listeners' judgements of which tone sounds half as high as another {cite:p}`stevens1937`. Of its many formulas we take the one that Whisper uses: straight up to 1,000 Hz, then logarithmic.
#
# $$
# m(f) = \begin{cases} 15 f / 1000 & f < 1000 \\ 15 + 27 \log(f / 1000) / \log 6.4 & \text{else} \end{cases}
# $$ (eq-audio-mel)
#
# $f$ is a frequency in Hz, $m(f)$ its mels. By hand: 500 Hz are 7.5 mels, 1,000 Hz are 15, 6,400 Hz are $15 + 27 = 42$. A **mel filter** is a triangle over frequencies. The corners of the triangles are equally far apart in mels, so the high ones are wide. Each is so high that its area, over hertz, is 1, so a wide one is low: at its middle it is 2 divided by its width. With the triangles in a matrix $F$, $(W/2 + 1, M)$, the **log-mel spectrum** is
#
# $$
# \begin{aligned}
# L_{tj} &= \log_{10} \max \Big( 10^{-10}, \sum_k P_{tk} F_{kj} \Big), \\
# Y_{tj} &= \tfrac14 \Big( 4 + \max \big( L_{tj},\, \max_{t'j'} L_{t'j'} - 8 \big) \Big)
# \end{aligned}
# $$ (eq-audio-logmel)
#
# $L$ and $Y$ are $(T, M)$, with $M = 80$ filters. The logarithm turns *twice as loud* into *so much more*, and the maximum lifts what is more than 8 powers of ten below the loudest up to that level. The 80 filters, the 25 ms and the 10 ms are in the paper on Whisper {cite:p}`radford2023`; the two floors and the 4 are in its code. A waveform multiplied by $a$ has $\frac14 \log_{10} a^2$ added everywhere (above the floor), and nothing else changes. For $a = 10$ that is 0.5:

# %% tags=["nbval-check-output"]
assert [to_mel(f).item() for f in (500, 1000)] == [7.5, 15.0]
assert math.isclose(to_mel(6400).item(), 42)
features = log_mel(torch.from_numpy(jacky["umbrella"].waveform).double())
louder = log_mel(10 * torch.from_numpy(jacky["umbrella"].waveform).double()) - features
print(round(louder.min().item(), 4), round(louder.max().item(), 4))

# %% tags=["hide-input"] mystnb={"figure": {"name": "fig-audio-filters", "caption": "Every eighth of the 80 mel filters, each divided by its largest value. The axis is the frequency in hertz."}, "image": {"alt": "Ten triangles over frequencies from 0 to 8000 hertz: narrow on the left, wider and wider to the right."}}
figure, axes = plt.subplots(figsize=(7.2, 1.8))
for filter in mel_filters().T[4::8]:
    axes.plot(torch.linspace(0, 8000, 201), filter / filter.max(), color=BLUE)
axes.set(xlabel="Hz", yticks=[0, 1], xlim=(0, 8000));

# %% [markdown]
# ### By hand, then for real
#
# The formulas in the plainest way, for one frame, with sines and cosines:

# %%
def by_hand(samples, t, W=400, h=160):
    window = [0.5 - 0.5 * math.cos(2 * math.pi * n / W) for n in range(W)]
    x = [samples[t * h + n - W // 2] * window[n] for n in range(W)]
    powers = []
    for k in range(W // 2 + 1):
        real = sum(x[n] * math.cos(2 * math.pi * k * n / W) for n in range(W))
        imaginary = sum(x[n] * math.sin(2 * math.pi * k * n / W) for n in range(W))
        powers.append(real**2 + imaginary**2)
    mels = torch.tensor(powers, dtype=torch.float64) @ mel_filters()
    return mels.clamp(min=1e-10).log10()


waveform = torch.from_numpy(jacky["umbrella"].waveform).double()
found = by_hand(waveform.tolist(), 20)
expected = (found + 4) / 4
assert torch.allclose(log_mel(waveform)[20], expected, atol=1e-9)

# %% tags=["remove-input"]
show_source(log_mel)

# %% [markdown]
# ### Against the reference
#
# PyTorch's `stft` gives the same frames and powers, and one frame more at the end, which we drop as Whisper does. It knows nothing of mels, so we multiply with the filters ourselves. `tests/test_audio_whisper.py` compares with `transformers.WhisperFeatureExtractor`, which computes in single precision: there the difference is below $10^{-5}$ for noise, and a few $10^{-5}$ where a sound is nearly pure and most filters are close to empty.

# %% tags=["nbval-check-output"]
window = torch.hann_window(400, dtype=torch.float64)
theirs = torch.stft(waveform, 400, 160, window=window, return_complex=True).abs() ** 2  # (W / 2 + 1, T + 1)
theirs = (theirs.T[:-1] @ mel_filters()).clamp(min=1e-10).log10()
theirs = (torch.maximum(theirs, theirs.max() - 8) + 4) / 4
print("closer than 1e-10:", (theirs - log_mel(waveform)[: len(theirs)]).abs().max().item() < 1e-10)

# %% [markdown]
# ## A text without its times
#
# The recogniser gives, for each step of 30 ms, a probability to each of $V$ symbols. A text has fewer symbols than there are steps, and nobody said which step belongs to which. **Connectionist temporal classification** (CTC) {cite:p}`graves2006` adds one symbol, the **blank** –, which says *nothing here*. A **path** $\pi$ has one symbol for each step. Its text $\mathcal{C}(\pi)$ is what is left when we merge repeats, then remove blanks: *a a – b* and *– a b b* both say *ab*, *a – a* says *aa*, and *a a a* says *a*. The probability of a path is a product over its steps: once the sound $x$ is known, no step knows what the others wrote. The probability of a text $y$ is that of all its paths together:
#
# $$
# p(y \mid x) = \sum_{\pi:\ \mathcal{C}(\pi) = y}\ \prod_{t=1}^{T} p_t(\pi_t), \qquad \mathcal{L} = - \log p(y \mid x)
# $$ (eq-audio-ctc)
#
# | symbol | what it is | shape |
# |---|---|---|
# | $p_t(v)$ | the probability of symbol $v$ at step $t$; $v = 0$ is the blank. From here on $T$ counts steps | $(T, V)$ |
# | $\pi$ | a path, one symbol for each of $T$ steps | $T$ |
# | $y$ | a text of $L$ symbols, none of them blank; $L$ is no longer the spectrum | $L$ |
# | $\mathcal{C}$ | merges repeats, then removes blanks | |
#
# ### Three steps by hand
#
# Two letters, three steps, and the same probabilities at each: blank 0.5, *a* 0.3, *b* 0.2. All paths that say *ab*:

# %% tags=["nbval-check-output"]
p = {"–": 0.5, "a": 0.3, "b": 0.2}
total = 0
for path in itertools.product("–ab", repeat=3):
    if collapse([" –ab".index(c) - 1 for c in path]) == [1, 2]:
        value = math.prod(p[c] for c in path)
        total += value
        print(" ".join(path), f"{value:.3f}")
print(f"together {total:.3f}, loss {-math.log(total):.4f}")

# %% [markdown]
# Five of the 27 paths. *a a b*: $0.3 \cdot 0.3 \cdot 0.2 = 0.018$; *a b b*: $0.012$; and three with a blank, $0.030$ each. With 100 steps no computer lists them. But the paths share their beginnings. Write a blank before, between and after the letters, $z = $ – *a* – *b* –, and let $\alpha_t(s)$ be the probability of all beginnings of $t$ steps that have come to place $s$ of $z$ (from here on $s$ is a place and no sample):
#
# $$
# \alpha_t(s) = p_t(z_s) \big( \alpha_{t-1}(s) + \alpha_{t-1}(s - 1) + [\text{skip}]\ \alpha_{t-1}(s - 2) \big)
# $$ (eq-audio-forward)
#
# A path stays, goes on by one, or skips a blank. It may **skip** only to a letter, and only if the letter before it is another one: between two equal letters the blank is needed. Places are counted from 1, and what would come from before the first is 0. $[\text{skip}]$ is 1 where a skip is allowed, else 0. At the first step a path is at place 1 or 2; at the last it must be at one of the last two places. (The code counts places from 0.)

# %% tags=["nbval-check-output"]
z, alpha = "–a–b–", [0.5, 0.3, 0, 0, 0]
print("step 1 ", alpha)
for step in (2, 3):
    alpha = [
        p[z[s]] * (alpha[s] + (alpha[s - 1] if s > 0 else 0)
                   + (alpha[s - 2] if s > 1 and z[s] not in ("–", z[s - 2]) else 0))
        for s in range(5)
    ]  # fmt: skip
    print("step", step, "", [round(value, 3) for value in alpha])
print(f"together {alpha[-1] + alpha[-2]:.3f}")
assert math.isclose(alpha[-1] + alpha[-2], total)

# %% [markdown]
# The same 0.120 in $5 \cdot 3$ sums. The package does this with logarithms, for a batch of texts at once:

# %% tags=["remove-input"]
show_source(ctc_loss)

# %% [markdown]
# PyTorch's loss and its gradients, with a repeat, an empty text, texts of other lengths, and one that cannot be said (*aaa* needs five steps with its blanks and gets four):

# %% tags=["nbval-check-output"]
torch.manual_seed(0)
ours = torch.randn(4, 11, 5, dtype=torch.float64, requires_grad=True)
theirs = ours.detach().clone().requires_grad_()
texts = torch.tensor([[1, 2, 3], [2, 2, 0], [0, 0, 0], [1, 1, 1]])
steps, lengths = torch.tensor([11, 7, 5, 4]), torch.tensor([3, 2, 0, 3])
found = ctc_loss(ours.log_softmax(-1), texts, steps, lengths)
expected = F.ctc_loss(theirs.log_softmax(-1).transpose(0, 1), texts, steps, lengths, reduction="none")
found[:3].sum().backward()
expected[:3].sum().backward()
print([round(value, 4) for value in found.tolist()])
print("losses:", (found[:3] - expected[:3]).abs().max().item() < 1e-10, expected[3].item())
print("gradients:", (ours.grad - theirs.grad)[:3].abs().max().item() < 1e-10)

# %% [markdown]
# ## The recogniser
#
# Two convolutions make one step of three frames; chapter 2's encoder lets each step look at all others; a linear layer and a softmax give each symbol a probability at each step. There are {glue:text}`audio_symbols` symbols: the blank, English words, Mandarin nouns, and the Chinese characters that captions also need. We took whole words and not letters, since the voices of training speak 38 of our 62 minutes, which is little to learn spelling from (a guess: we did not compare the two). The price of whole words is that it can write no word that it was not taught.

# %%
model = load("speech")
print(f"{sum(p.numel() for p in model.parameters()):,} parameters")

# %% tags=["remove-input"]
show_source(type(model).encode)

# %% tags=["remove-input"]
show_source(type(model).forward)

# %% tags=["remove-cell"]
glue("audio_symbols", len(model.symbols) + 1, display=False)
glue("audio_voices", sum(len(voices(split, language)) for split in SPLITS for language in LANGUAGES),
     display=False)

# %% [markdown]
# `python -m mmcourse.recipes.audio runs/audio` trains it on the voices of `train` with {eq}`eq-audio-ctc`. Each time that a clip is heard it is a little slower or faster, and a little higher or lower along the mels, and a few of its frames and mels are hidden {cite:p}`park2019`. (Stretching the frequencies is {cite:t}`jaitly2013`'s, who do it in hertz; we stretch the mels.) Half of the batches have noise. What it does for the error rate in noise stands below; what the rest does we did not measure. The shipped weights are one run, with one seed, that was made in two parts; their card, `mmcourse/shipped/speech/README.md`, says how.
#
# What does it write for a voice that it has never heard?

# %%
log_probs = model.log_probs(torch.from_numpy(jacky["umbrella"].waveform))
best = log_probs.argmax(-1).tolist()
print("path:", " ".join("–" if v == 0 else model.text_of([v]) for v in best))
print("text:", model.text_of(ctc_greedy(log_probs)))

# %% [markdown]
# Most steps say nothing. {numref}`fig-audio-promise` shows a caption over time. The times of the peaks are not exact: the loss asks for the order only.
#
# ## Searching for the best text
#
# **Greedy** reading takes the most probable symbol of each step. That is the best *path*, and {eq}`eq-audio-ctc` asks for the best *text*. On paper: two steps, blank 0.6 and *a* 0.4 at each. The best path is – –, with 0.36. But *a* has three paths, *a a*, *a –* and *– a*: $0.16 + 0.24 + 0.24 = 0.64$.

# %% tags=["nbval-check-output"]
small = torch.tensor([[0.6, 0.4], [0.6, 0.4]]).log()
for found in ctc_beam(small):
    print(found.symbols, f"{math.exp(found.log_prob):.2f}")
print("greedy:", ctc_greedy(small))

# %% [markdown]
# **Prefix beam search** {cite:p}`hannun2014` goes through the steps and keeps the best beginnings of *texts*. For each it adds up two sums: of the paths that end in a blank, and of those that end in its last letter. (The two are kept apart for the case that this letter comes again: after a blank it is a new letter, otherwise it merges with the last one.) A **language model** may judge each new symbol. A text is then scored by
#
# $$
# \log p(y \mid x) + \lambda \log p_{\text{language}}(y) + \beta L
# $$ (eq-audio-beam)
#
# $\lambda$ is its weight, and $\beta$ a bonus for each of the $L$ symbols, since every factor of a probability makes long texts less probable. ({cite:t}`hannun2014` multiply with the number of words to the power of $\beta$, so theirs is $\beta \log L$.) Our language model is chapter 4's n-gram model, on symbols. `tests/test_audio.py` shows that a wide search finds what brute force over all paths finds, with language model and without.
#
# ## How wrong is it?
#
# The **word error rate** is the smallest number of words to replace, remove or insert, divided by the number of words that were said; the **character error rate** is the same in characters:
#
# $$
# \text{WER} = \frac{S + D + I}{N}
# $$ (eq-audio-wer)
#
# $S$, $D$ and $I$ are the words **substituted, deleted and inserted**, $N$ those that were said. *two red dogs in the snow*, heard as *two dogs in a snow now*: *red* is deleted, *the* substituted, *now* inserted, so $\frac36$. The rate can be above 1. Chinese is written without spaces, so for Mandarin captions we count characters.

# %% tags=["nbval-check-output"]
said, text = "two red dogs in the snow", "two dogs in a snow now"
print(edits(said.split(), text.split()), word_error_rate(said, text))
print(f"{character_error_rate(said, text):.3f}")

# %% [markdown]
# (They equal `jiwer`'s on random texts in the tests.) Now the held-out voices. We take every third of the 150 nouns, and for the slow baseline every fifth. In the table, *greedy* writes any symbols it likes, or none. *From the list* knows the list of the 150 nouns and takes the one with the smallest CTC loss. The baseline, *warped templates*, which learns nothing and knows the list too, compares with recordings of four training voices (more would be slower, and may be better) by **dynamic time warping** {cite:p}`sakoe1978`: it stretches one sound to fit the other and adds up what still differs. (They count a step in both sounds at once twice; we count it once.) The intervals draw voices *and* words again; four voices are few, so they are rough. The third column hears other nouns and knows fewer voices: small differences between columns say nothing. One training seed.

# %%
heard, warped = read_study("audio_heard")["rows"], read_study("audio_baselines")["rows"]


def rate_of(rows, way, rate=word_error_rate, **wanted):
    rows = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    value, low, high = interval(rows, way, rate)
    return f"{value:4.0%} ({low:3.0%} to {high:3.0%})"


print("isolated nouns     greedy             from the list      warped templates")
for language in ("en", "zh"):
    wanted = {"language": language, "kind": "noun", "noise": None}
    columns = [rate_of(heard, way, **wanted) for way in ("greedy", "listed")]
    columns.append(rate_of(warped, "heard", language=language, noise=None))
    print(f"{language:17} ", "  ".join(columns))

# %%
print("word error by voice, from the list")
for language in ("en", "zh"):
    nouns = [row for row in heard if row["language"] == language and row["kind"] == "noun"]
    nouns = [row for row in nouns if row["noise"] is None]
    values = rates_by_voice(nouns, "listed")
    print(f"{language}:", "  ".join(f"{name[3:]} {value:.0%}" for name, value in
                                   zip(sorted({row["voice"] for row in nouns}), values)))

# %% [markdown]
# {glue:text}`audio_goal`
#
# **On clean sound, from the list, the templates do as well**, and have learned nothing. (A guess at why: one synthesiser says a word in much the same way in all its voices.) In noise, below, they fail; but the recogniser was trained with noise, and nobody gave the templates noisy recordings, so that is no fair race. Captions, which are no list of words, they cannot write.
#
# Whole captions are harder. The network saw few of them, 16 a voice, and in running speech one word colours the next; which of the two counts we did not measure. The search may use an n-gram model of captions of other scenes, whose weight was set before anything was measured. (One of the 64 Mandarin captions for testing is, word for word, among its 3,000; of the English ones none.)

# %%
print("captions              greedy             search with language model")
for language, rate, name in (("en", word_error_rate, "words"), ("en", character_error_rate, "characters"),
                             ("zh", character_error_rate, "characters")):
    wanted = {"language": language, "kind": "caption", "noise": None}
    columns = [rate_of(heard, way, rate, **wanted) for way in ("greedy", "beam")]
    print(f"{language} {name:17} ", "  ".join(columns))
row = next(row for row in heard if row["kind"] == "caption" and row["language"] == "en")
print("\nsaid:   ", row["said"])
print("greedy: ", row["greedy"])
print("search: ", row["beam"])

# %% [markdown]
# How much does noise harm? We add white noise (equally strong at all frequencies), some **decibels** (dB) below the voice, to every sixth noun, and count the errors of the choice from the list. 10 decibels are a factor of ten in power: at 20 dB the noise has a hundredth of the voice's power, at 0 dB as much as the voice. What is noise in training worth? Two trainings of half the length answer, which differ in nothing but the noise.

# %%
def rates_in_noise(rows, language):
    rows = [row for row in rows if row["kind"] == "noun" and row["language"] == language]
    noisy = {row["said"] for row in rows if row["noise"] == 10}
    return [rate_of([row for row in rows if row["said"] in noisy], "listed", noise=decibels)
            for decibels in (None, 20, 10, 0)]


halves = read_study("audio_noise")
trained = {"shipped": heard, "half, noise": halves["with"], "half, no noise": halves["without"]}
print("trained            none               20 dB              10 dB              0 dB")
for language in ("en", "zh"):
    for name, rows in trained.items():
        print(f"{language} {name:15}", "  ".join(rates_in_noise(rows, language)))
    warp = rate_of([row for row in warped if row["language"] == language], "heard", noise=10)
    print(f"{language} templates      {'':40}{warp}")

# %% [markdown]
# One training each, so of small differences this table says nothing. At 20 and 10 decibels the difference of the two halves is not small. The noise of training was white, or pink or brown (stronger at low frequencies), 0 to 30 decibels below the voice, in half of the batches; here it is white. Noise of another kind may harm more.
#
# `mmcourse hear FILE.wav` writes what is said in a file of any length: it cuts the sound where it is quiet, in pieces of at most 8 s. The clips of training all have their loudest sample near 0.5. A recording that is quieter is first made as loud, at most a hundred times.
#
# ## Speech meets pictures
#
# A spoken caption can find its scene. Two ways lead there. One writes the caption and searches with words, as `mmcourse search` does. The other never writes: it makes one vector $a_i$ of each of $B$ sounds and one vector $v_i$ of each picture, all of length 1, and asks that those which belong together are more alike than all others:
#
# $$
# \mathcal{L} = - \frac1B \sum_{i=1}^{B} \log \frac{e^{\kappa\, a_i \cdot v_i}}{\sum_{j=1}^{B} e^{\kappa\, a_i \cdot v_j}}
# $$ (eq-audio-contrast)
#
# $a_i$ and $v_i$ have $E$ numbers each; $\kappa$ says how much a difference counts. By hand: two sounds, two pictures, $\kappa = 1$; alikeness 1 on the diagonal and 0 beside it. Then each sound gives its picture $e / (e + 1) = 0.731$, and the loss is 0.313.

# %% tags=["nbval-check-output"]
sounds = pictures = torch.eye(2)
scores = sounds @ pictures.T  # (B, B)
print(round(F.cross_entropy(scores, torch.arange(2)).item(), 3))

# %% [markdown]
# We try both, with scenes of one thing. A picture's vector is what the encoder of the shipped captioner ([chapter 14](14_captioning.py)) makes of it: for each number of a vector the largest value over its 64 cells, less the mean over training scenes.

# %%
names = spoken_nouns("en")
captioner = load("scenes")


def scenes_of(split, number):
    """For each of the 150 nouns a scene with one such thing: pictures (150, 64, 64, 3)."""
    world, images = EmojiScenes(split), []
    for name in names:
        rng = Random(f"{split}/{number}/{name}")
        about = Description((Group(name, 1, None, "big"),), None, rng.choice(list(PAINT)))
        images.append(world.render(about, rng, name).image)
    return np.stack(images)


@torch.no_grad()
def seen(images):
    return captioner.encode(images).amax(1)  # (150, D)


shown = [seen(scenes_of("train", number)) for number in range(8)]
middle = torch.stack(shown).mean((0, 1))
shown = [F.normalize(pictures - middle, dim=-1) for pictures in shown]
new = {split: scenes_of(split, 0) for split in ("val", "style")}
print(len(shown), "times", tuple(shown[0].shape))

# %% [markdown]
# A sound becomes one vector in the same way: for each number of a vector the largest value over the steps of the recogniser's encoder.

# %%
@torch.no_grad()
def sounds_of(voice):
    """One vector for each of the 150 nouns (150, D), and what the recogniser writes."""
    pairs = ready(model, [(torch.from_numpy(c.waveform), c.text) for c in speech(voice, "noun")])
    features, lengths, _, _ = batch_of(pairs)
    states = model.encode(features, lengths)  # (150, T', D)
    steps = model.steps(lengths)
    outside = ~model.inside(steps, states.shape[1])[..., None]  # (150, T', 1): padding
    log_probs = model.output(states).log_softmax(-1)
    written = [model.text_of(ctc_greedy(row[:n])) for row, n in zip(log_probs, steps)]
    return states.masked_fill(outside, -torch.inf).amax(1), written


trained = torch.stack([sounds_of(voice)[0] for voice in voices("train", "en")])  # (10, 150, D)
tested = [sounds_of(voice) for voice in voices("test", "en")]
asked = torch.cat([sounds for sounds, _ in tested])  # (600, D)
print(tuple(trained.shape), tuple(asked.shape))

# %% [markdown]
# **Without words**: two layers lead from sounds to the space of pictures, trained with {eq}`eq-audio-contrast` ($\kappa = 20$). A batch is the 150 nouns of one voice, and a scene of each.

# %%
def joined(trained, asked, seed, steps=400, scale=20):
    """Vectors of the sounds ``asked`` in the space of pictures (n, D)."""
    torch.manual_seed(seed)
    D = trained.shape[-1]
    layers = nn.Sequential(nn.Linear(D, 256), nn.GELU(), nn.Linear(256, len(middle)))
    optimizer = torch.optim.AdamW(layers.parameters(), 3e-3)
    for _ in range(steps):
        sounds = trained[torch.randint(len(trained), ())]
        pictures = shown[torch.randint(len(shown), ())]
        scores = F.normalize(layers(sounds), dim=-1) @ pictures.T  # (B, B)
        loss = F.cross_entropy(scale * scores, torch.arange(len(names)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        return F.normalize(layers(asked), dim=-1)


def without_words(split, seed):
    """Is the nearest of the 150 scenes the right one? (voices, nouns)"""
    pictures = F.normalize(seen(new[split]) - middle, dim=-1)
    nearest = (joined(trained, asked, seed) @ pictures.T).argmax(1)
    return (nearest.reshape(-1, len(names)) == torch.arange(len(names))).double().numpy()


# %% [markdown]
# **Through words**: the recogniser writes the noun, the captioner a sentence about each scene, and we look for the noun in the sentences. Where several have it, one is drawn, so the right one counts as a part. The last row knows what was said.

# %%
def through_words(split, written):
    """The chance that a scene drawn of those with the word is the right one (voices, nouns)."""
    sentences = [f" {caption.text} " for caption in captioner.caption(list(new[split]), "greedy")]
    chances = []
    for number, word in enumerate(written):
        fits = [bool(word) and f" {word} " in text for text in sentences]
        chances.append(fits[number % len(names)] / max(sum(fits), 1))
    return np.array(chances).reshape(-1, len(names))


heard_words = [word for _, written in tested for word in written]
for split in ("val", "style"):
    ways = {"without words": np.mean([without_words(split, seed) for seed in range(3)], axis=0),
            "through words": through_words(split, heard_words),
            "the true words": through_words(split, [plain_text(name) for name in names])}
    for way, right in ways.items():
        share = bootstrap(np.mean, right.mean(0))  # the nouns are drawn again
        print(f"{split:6} {way:15} {share.value:4.0%} ({share.low:3.0%} to {share.high:3.0%})")
print(f"chance {1 / len(names):.1%}")

# %% [markdown]
# The share of 150 nouns, by four voices that trained nothing, that find their scene among 150. The intervals draw the nouns again and keep the four voices; *without words* is the mean of three seeds. `val` has other scenes by the same artists, `style` an artist whom neither the captioner nor the layers have met. Even whoever knows the true words finds only the scenes that the captioner names rightly. The layers of the way without words saw pairs only, no text. The encoders under it did: the recogniser was trained with transcripts, the captioner with captions. Encoders that are trained on pairs alone could join pictures to a language that nobody writes.
#
# ## What came after
#
# - **More data, and a decoder.** Whisper {cite:p}`radford2023` has the spectra of this chapter, two convolutions, the encoder of chapter 2, and its decoder: it writes word pieces one after the other and needs no CTC. It was trained on 680,000 hours of sound with transcripts from the web. `mmcourse.audio.WhisperEncoder.from_transformers` loads its encoder into our layers, and a test shows the same outputs on random weights.
# - **Harder training.** What is trained on clean sound only fails in noise, as the table shows. Mixing in noise, echoes and other voices is a usual cure; SpecAugment {cite:p}`park2019`, which we use, hides bands of the spectrum and stretches of time.
# - **Fewer labels.** wav2vec 2.0 {cite:p}`baevski2020` learns from sound alone, by finding the right piece of sound for a hidden place among wrong ones. It is then fine-tuned with CTC on few transcripts.
# - **Sound as tokens.** Neural codecs such as SoundStream {cite:p}`zeghidour2021` and EnCodec {cite:p}`defossez2022` turn sound into rows of whole numbers and back, with the quantizer that chapter 21 uses for pictures, several after one another: each codes what the one before left over. A language model can then read and write sound.
#
# Of each you can now ask: which spectrum, which loss, and whose voices were kept apart?
#
# ## What goes wrong
#
# **Aliasing.** A rate of 16,000 samples a second holds frequencies up to 8,000 Hz. A tone of 11,000 Hz, of which we keep every third sample of 48,000, comes back as a tone of 5,000 Hz that was never there. So a filter takes away what is too high, first.

# %% tags=["nbval-check-output"]
tone = np.sin(2 * np.pi * 11_000 * np.arange(48_000) / 48_000)
for name, samples in (("every third sample", tone[::3]), ("filtered first", at_16_khz(tone, 48_000))):
    power = power_spectrum(frame(torch.as_tensor(samples.copy()).double()))[20:-20].mean(0)
    print(f"{name:19} loudest {40 * power.argmax().item()} Hz, power {power.max().item():.0f}")

# %% [markdown]
# Filtered first, the power of that false tone rounds to 0.
#
# **A leaky split.** A linear classifier (log-mel shrunk to 12 x 40 numbers; ridge regression, that is least squares with a penalty on large weights) guesses the noun, on the same clips under three splits, five folds each (a fold is a fifth of the clips or of the voices, judged by a classifier of the rest). All train on each clip and two copies of it, a little slower and a little faster, and all are judged on clips without copies. *Copies*: clips and copies are split at random, each for itself. *Clips*: clips are split at random and a copy stays with its clip, so that a voice is on both sides, with other words. *Voices*: no voice is on both sides.

# %%
rows = read_study("audio_split")["rows"]
print("share wrong   mean of five folds   lowest   highest")
for language in ("en", "zh"):
    for name in ("copies", "clips", "voices"):
        folds = [row["wrong"] for row in rows if (row["language"], row["split"]) == (language, name)]
        print(f"{language} {name:10} {np.mean(folds):12.1%} {min(folds):16.1%} {max(folds):8.1%}")
        glue(f"audio_split_{language}_{name}", float(np.mean(folds)), display=False)

# %% [markdown]
# With copies on both sides the classifier seems to make {glue:text}`audio_split_en_copies:.1%` errors in English; of voices that it has not met it makes {glue:text}`audio_split_en_voices:.1%`. It had the same recording in training, slightly stretched. **Split first, then copy.** The random split that keeps copies with their clips does not flatter the mean here. We guess why: each voice says each word once, so whoever has met the voice has not met it with this word. It flatters something else. Its folds all look alike, while those by voice lie far apart: *the next voices* may be easy or hard, and only the split by voice says so. (A fold by voice has two or three voices.)
#
# ## Exercises
#
# ```{exercise-start} How many paths?
# :label: ex-audio-paths
# ```
# *Easy, 10 minutes.* How many paths of 4 steps say *ab*, and how many say *aa*? Count by hand or by a loop. Why fewer?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-audio-paths
# :label: so-audio-paths
# :class: dropdown
# ````
# Between two equal letters a blank is needed, which takes a step.

# %% tags=["nbval-check-output"]
for text in ([1, 2], [1, 1]):
    print(text, sum(collapse(path) == text for path in itertools.product(range(3), repeat=4)))

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} Which tone comes back?
# :label: ex-audio-alias
# ```
# *Easy, 10 minutes.* A waveform has 8,000 samples a second. At which frequency does a tone of 5,000 Hz seem to be? And one of 7,900 Hz? Check with `power_spectrum`.
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-audio-alias
# :label: so-audio-alias
# :class: dropdown
# ````
# The samples of a tone of $f$ and of one of $8000 - f$ are the same, for a sine but for the sign: 3,000 and 100 Hz.

# %% tags=["nbval-check-output"]
for pitch in (5000, 7900):
    tone = torch.cos(2 * math.pi * pitch * torch.arange(400).double() / 8000)
    print(pitch, "seems", 20 * power_spectrum(tone).argmax().item())

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} Forget the rule of skips
# :label: ex-audio-skip
# ```
# *Medium, 15 minutes.* In {eq}`eq-audio-forward`, let every letter be reached by a skip, also after an equal one. By the three steps above, which probability does *aa* get then, and what is the right one? Which texts are not harmed?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-audio-skip
# :label: so-audio-skip
# :class: dropdown
# ````
# Right is one path, *a – a*, with 0.045. With the wrong rule the sum also holds paths that say *a*, such as *a a a* read as two letters. Texts without a doubled letter are not harmed, so the fault can live long.

# %% tags=["nbval-check-output"]
def forward(z, careful):
    alpha = [0.5, 0.3, 0, 0, 0]
    for _ in range(2):
        new = []
        for s in range(5):
            reached = alpha[s] + (alpha[s - 1] if s > 0 else 0)
            if s > 1 and z[s] != "–" and (z[s] != z[s - 2] or not careful):
                reached += alpha[s - 2]
            new.append(p[z[s]] * reached)
        alpha = new
    return alpha[-1] + alpha[-2]


print(f"right {forward('–a–a–', True):.3f}, wrong {forward('–a–a–', False):.3f}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} A rate above one
# :label: ex-audio-rate
# ```
# *Easy, 5 minutes.* Somebody says two words. Find two such words, and what is heard, so that the word error rate is 2. Why is one minus the rate no accuracy?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-audio-rate
# :label: so-audio-rate
# :class: dropdown
# ````
# Insertions are not bounded by what was said, so one minus the rate can be negative.

# %% tags=["nbval-check-output"]
print(word_error_rate("a dog", "the log in a bog"), word_error_rate("a dog", "one hot day we"))

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} Warping by hand
# :label: ex-audio-warp
# ```
# *Medium, 15 minutes.* The rows 1, 1, 3 and 1, 3, 3, 3 are sounds of one number a frame. An alignment goes from both first frames to both last ones, and each of its steps goes on by one frame in the first sound, in the second, or in both; it adds up the distances of the frames that meet. Find the alignment with the smallest sum by hand. What is the smallest sum for 1, 1, 3 and 1, 2, 3? Then check with `dtw`, which takes tensors of shape (frames, 1) and divides the sum by the number of frames of both together. Why is the nearest template slow when there are many?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-audio-warp
# :label: so-audio-warp
# :class: dropdown
# ````
# Both ones go to the one, the three to all threes: the sum is 0. In the second pair the 2 lies 1 beside whatever it goes to: the sum is 1, divided by 6 frames 0.167. Each comparison costs $T \cdot S$ distances, for every template.

# %% tags=["nbval-check-output"]
rows = [torch.tensor(row)[:, None] for row in ([1.0, 1, 3], [1.0, 3, 3, 3], [1.0, 2, 3])]
print(f"{dtw(rows[0], rows[1]):.3f} {dtw(rows[0], rows[2]):.3f}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ```{exercise-start} A dictionary of pictures
# :label: ex-audio-scene
# ```
# *Hard, 40 minutes.* Join the Mandarin voices to the same pictures, with layers of their own. Nobody has told either which Mandarin word means which English one. How often does a spoken Mandarin noun, by a voice of `test`, find the English one by *en_jacky*, among 150? And what would chance find?
# ```{exercise-end}
# ```

# %% [markdown]
# ````{solution-start} ex-audio-scene
# :label: so-audio-scene
# :class: dropdown
# ````
# Both ways lead to the pictures, so the sounds meet there. The two lists of nouns have the same order, which is used for counting only.

# %%
assert voices("test", "en")[-1] == "en_jacky"
english = joined(trained, asked, seed=0)[-len(names) :]
mandarin = torch.stack([sounds_of(voice)[0] for voice in voices("train", "zh")])
spoken = torch.cat([sounds_of(voice)[0] for voice in voices("test", "zh")])
nearest = (joined(mandarin, spoken, seed=0) @ english.T).argmax(1).reshape(-1, len(names))
right = (nearest == torch.arange(len(names))).double().numpy()
share = bootstrap(np.mean, right.mean(0))
print(f"{share.value:.0%} ({share.low:.0%} to {share.high:.0%}), chance {1 / len(names):.1%}")

# %% [markdown]
# ````{solution-end}
# ````
#
# ## Quiz
#
# ::::::{card}
# :class-card: quiz
# **1.** Which text does the path *– a a – a b b –* say?
#
# :::{dropdown} aab
# **Yes.** The blank keeps the two *a* apart; the repeats beside each other merge.
# :::
# :::{dropdown} ab
# **No.** That removes blanks first and merges then. The order is the other one.
# :::
# :::{dropdown} aaabb
# **No.** Repeats merge: a symbol may last for several steps.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **2.** Why is the frame multiplied with a window?
#
# :::{dropdown} To make it shorter, which is faster
# **No.** It has as many samples as before.
# :::
# :::{dropdown} So that its ends add no frequencies
# **Yes.** A hard cut would look like frequencies that are not there: the transform sees the frame as if it were repeated; the window makes the ends meet.
# :::
# :::{dropdown} Because loud sounds would be too loud
# **No.** It fades both ends, whatever the loudness.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **3.** The best path has probability 0.3 and says *cat*. What is certain?
#
# :::{dropdown} The text cat has at least probability 0.3
# **Yes.** Its other paths can only add to it.
# :::
# :::{dropdown} No text is more probable than cat
# **No.** Another text may have many paths of less than 0.3 each.
# :::
# :::{dropdown} A beam search will write cat
# **No.** It looks for texts, and may find a better one.
# :::
# ::::::
#
# ::::::{card}
# :class-card: quiz
# **4.** A team adds noise to each recording five times, shuffles everything and takes a tenth for testing. What is wrong?
#
# :::{dropdown} Noise makes the test too hard
# **No.** The test is too easy.
# :::
# :::{dropdown} Nearly each recording in the test is in training as well, with other noise
# **Yes.** Split recordings, better voices, first.
# :::
# :::{dropdown} A tenth is too little
# **No.** A larger test with the same leak says the same wrong thing more surely.
# :::
# ::::::
#
# ## Take-aways
#
# - A waveform becomes a picture in four steps: frames, power of frequencies, mel filters, logarithm. Ours equals Whisper's to single precision.
# - CTC sums over all paths that say a text, in as many sums as places times steps. A blank keeps equal letters apart.
# - The best path need not be of the best text. A prefix beam search looks for texts, and a language model may help it.
# - An error rate belongs to the voices that were kept apart, with an interval over voices; copies of a recording on both sides make it a fiction.
#
# ## Further reading
#
# - {cite:t}`graves2006`: CTC, with the forward and backward recursions.
# - {cite:t}`hannun2014`: the prefix beam search, in one page.
# - {cite:t}`radford2023`: Whisper, and how it does on data sets that it was not trained on.
# - {cite:t}`baevski2020`: learning from sound alone.

# %% tags=["remove-cell"]
goals = []
for language, name, goal in (("en", "English", 0.15), ("zh", "Mandarin", 0.10)):
    nouns = [r for r in heard if r["language"] == language and r["kind"] == "noun" and r["noise"] is None]
    said = [r["said"] for r in nouns]
    found = word_error_rate(said, [r["listed"] for r in nouns])
    free = word_error_rate(said, [r["greedy"] for r in nouns])
    word = "reached" if found <= goal else "missed"
    goals.append(f"{name}, with the list {found:.1%} ({word}), written freely {free:.1%} "
                 f"({'reached' if free <= goal else 'missed'})")
glue("audio_goal", "The goals were at most 15 % in English and 10 % in Mandarin. " + "; ".join(goals) + ".",
     display=False)

# %% tags=["remove-cell"]
figure, (top, low) = plt.subplots(2, 1, figsize=(7.2, 3.4), sharex=True)
shown_clip = speech("en_jacky", "caption")[2]
padded = F.pad(torch.from_numpy(shown_clip.waveform), (1600, 1600))
log_probs = model.log_probs(torch.from_numpy(shown_clip.waveform))
seconds = len(padded) / 16_000
top.imshow(log_mel(padded).T, origin="lower", aspect="auto", cmap="Blues", extent=(0, seconds, 0, 80))
top.set_title(f"said: {shown_clip.text}", fontsize=9)
top.set(ylabel="mel filter")
times = (np.arange(len(log_probs)) + 0.5) * 0.03
probabilities = log_probs.exp().numpy()
shown = sorted(set(ctc_greedy(log_probs)))
low.plot(times, probabilities[:, 0], color=GREY, linestyle=":", label="nothing")
place = 0
for number, v in enumerate(sorted(shown, key=lambda v: int(probabilities[:, v].argmax()))):
    low.plot(times, probabilities[:, v], color=(BLUE, ORANGE, TEAL)[number % 3])
    place = max(times[int(probabilities[:, v].argmax())], place + 0.14)  # no name over another
    low.text(place, 1.05, model.text_of([v]), fontsize=8, rotation=60, rotation_mode="anchor")
low.set(xlabel="seconds", ylabel="probability", ylim=(0, 1.9), yticks=[0, 0.5, 1], xlim=(0, seconds))
low.legend(loc="upper left", bbox_to_anchor=(0, 1.05))
glue("audio_promise", figure, display=False)
plt.close(figure)
