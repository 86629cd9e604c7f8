"""A spoken request and a line of text go to the department that they are about.

The voices are chapter 6's, which espeak-ng made; the departments and the text are made up.

Shapes: n requests, C departments, D width of the recogniser.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from mmcourse.audio.features import log_mel
from mmcourse.audio.recogniser import PADDING, louder
from mmcourse.data.drawings import nouns
from mmcourse.data.speech import speech, spoken_nouns, voices

DEPARTMENTS = {
    "animals": ("animal",),
    "food and plants": ("food", "plant"),
    "travel": ("vehicle", "place"),
    "home and office": ("household", "office", "device", "tool"),
    "clothing": ("clothing",),
    "everything else": (),
}
NAMES = tuple(DEPARTMENTS)
TRUE_TEXT = 0.6  # of the text lines that name a thing of the right department


class Requests(NamedTuple):
    """Requests, row by row: somebody says one word, and wrote a line before."""

    sounds: list  #: n waveforms, tensors at 16 kHz
    words: list  #: what is said
    voices: list  #: who says it
    department: np.ndarray  #: (n,) the number of the department, the truth
    lines: list  #: n lines of text, as ``about my order: lemon``


def department_of(noun):
    """The number of the department for a noun, by its category. ValueError for an unknown noun."""
    categories = {each.name: each.category for each in nouns()}
    if noun not in categories:
        raise ValueError(f"unknown noun {noun!r}: expected one that can be drawn")
    for number, kinds in enumerate(DEPARTMENTS.values()):
        if categories[noun] in kinds:
            return number
    return len(NAMES) - 1


def make_requests(split, count=None, seed=0):
    """The :class:`Requests` of the first ``count`` English voices of a split, 150 words each.

    The line beside a request names a thing of the right department in six cases of ten, and any
    thing otherwise. Errors are those of :func:`mmcourse.data.speech.voices`; ValueError for fewer
    than one voice.
    """
    chosen = voices(split, "en")[:count]
    if not chosen:
        raise ValueError(f"expected one voice or more of {split}, got count {count}")
    rng = np.random.default_rng(seed)
    told = spoken_nouns("en")
    home = np.array([department_of(noun) for noun in told])
    sounds, words, names, lines = [], [], [], []
    for voice in chosen:
        for clip in speech(voice, "noun"):
            own = home[told.index(clip.text)]
            pool = np.flatnonzero(home == own) if rng.random() < TRUE_TEXT else range(len(told))
            sounds.append(torch.from_numpy(clip.waveform))
            words.append(clip.text)
            names.append(voice)
            lines.append(f"about my order: {told[rng.choice(pool)]}")
    department = np.array([department_of(word) for word in words])
    return Requests(sounds, words, names, department, lines)


def in_noise(requests, decibels, seed=0):
    """The requests with white noise so many ``decibels`` below the voice."""
    generator = torch.Generator().manual_seed(seed)
    noisy = []
    for sound in requests.sounds:
        noise = torch.randn(len(sound), generator=generator)
        loud = sound.square().mean() * 10 ** (-decibels / 10) / noise.square().mean()
        noisy.append(sound + noise * loud.sqrt())
    return requests._replace(sounds=noisy)


@torch.no_grad()
def hear(model, requests):
    """What the recogniser makes of each sound: vectors (n, D), texts, and how clear it was (n,).

    A vector is the mean of the encoder's over time. Clearness is the mean log-probability of the
    most probable symbol of each step: 0 where nothing was in doubt.
    """
    vectors, texts, clear = [], [], []
    for sound in requests.sounds:
        padded = F.pad(louder(sound), (PADDING, PADDING))
        features = log_mel(padded, mels=model.mels)[None]
        states = model.encode(features)  # (1, T', D)
        vectors.append(states[0].mean(0))
        likely, best = model.output(states)[0].log_softmax(-1).max(-1)
        symbols = [number for number in best.unique_consecutive().tolist() if number]
        texts.append(model.text_of(symbols).strip())
        clear.append(likely.mean().item())
    return torch.stack(vectors).float().numpy(), texts, np.array(clear)


def by_words(texts, sure=0.9):
    """Log-probabilities (n, C) of departments by the nouns in texts, as heard or as written.

    A text without a known noun says nothing: all departments alike. Else ``sure``, one number or
    (n,), goes to the department of its last noun, and what is left to all.
    """
    sure = np.broadcast_to(np.asarray(sure, float), len(texts))
    if not ((sure > 0) & (sure < 1)).all():
        raise ValueError(f"sure must be between 0 and 1, got {sure.min()} to {sure.max()}")
    known = {each.name for each in nouns()}
    found = np.full((len(texts), len(NAMES)), 1 / len(NAMES))
    for row, text in enumerate(texts):
        named = [word for word in text.split() if word in known]
        if named:
            found[row] = (1 - sure[row]) / len(NAMES)
            found[row, department_of(named[-1])] += sure[row]
    return np.log(found)


def sure_for(right):
    """The ``sure`` of :func:`by_words` that names the right department in a share ``right`` (n,).

    What is beyond an equal share for all; kept between 0.01 and 0.99.
    """
    return np.clip((np.asarray(right) * len(NAMES) - 1) / (len(NAMES) - 1), 0.01, 0.99)


def by_sound(vectors, department, others, penalty=1.0):
    """Log-probabilities (n, C) for ``others`` (n, D), by a line fit to vectors (m, D).

    Multinomial logistic regression. Raises ValueError for vectors and truths that do not pair.
    """
    if len(vectors) != len(department):
        raise ValueError(
            f"expected a department for each vector, got {len(department)} for {len(vectors)}"
        )
    mean, spread = vectors.mean(0), vectors.std(0) + 1e-6
    x = torch.as_tensor((vectors - mean) / spread).float()
    weights = torch.zeros(x.shape[1] + 1, len(NAMES), requires_grad=True)
    target = torch.as_tensor(department)
    optimizer = torch.optim.LBFGS([weights], max_iter=100)

    def loss():
        optimizer.zero_grad()
        logits = x @ weights[:-1] + weights[-1]
        total = F.cross_entropy(logits, target) + penalty * weights[:-1].square().sum() / len(x)
        total.backward()
        return total

    optimizer.step(loss)
    with torch.no_grad():
        new = torch.as_tensor((others - mean) / spread).float()
        return (new @ weights[:-1] + weights[-1]).log_softmax(-1).numpy()
