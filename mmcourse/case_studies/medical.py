"""Pictures with notes, and a split that lets a patient stand on both sides.

Everything here is made up: the patients, the pictures, the notes and the illness. What is true of
the world is only the way in which the items hang together, several visits of one patient.

Shapes: n visits, S side of a picture, V words of the notes.
"""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from mmcourse.training import parameter_groups

SIDE = 24
PATTERN = 0.4  # how strong a patient's own pattern is; the noise has 0.5
SYMPTOMS = {"cough": (0.6, 0.35), "fever": (0.45, 0.25), "tired": (0.6, 0.5), "pain": (0.4, 0.3)}
HABITS = (
    "smoker", "carpenter", "teacher", "runner", "cat at home", "dog at home", "diabetic", "asthma",
    "night shifts", "vegetarian", "allergic to penicillin", "works in a bakery", "lives alone",
    "three children", "retired", "old fracture", "takes aspirin", "migraine", "swims", "farmer",
    "plays the trumpet", "hip replaced", "wears a pacemaker", "often travels",
)  # fmt: skip
WORDS = (*SYMPTOMS, *HABITS)
SIDES = ("picture", "note", "both")


class Visits(NamedTuple):
    """Visits of patients, row by row."""

    patient: np.ndarray  #: (n,) the number of the patient
    ill: np.ndarray  #: (n,) booleans, the same in all visits of a patient
    pictures: np.ndarray  #: (n, S, S), about 0 on average
    notes: np.ndarray  #: (n, V), 1 where a word of ``WORDS`` stands in the note

    def note(self, row):
        """The note of a visit, as it would be read."""
        return ", ".join(word for word, there in zip(WORDS, self.notes[row], strict=True) if there)


def make_visits(patients=150, visits=5, seed=0, shared=True):
    """Made-up :class:`Visits`, equally many of each patient; four patients in ten are ill.

    A picture is the patient's own pattern, noise, and a blurred spot: in three ill pictures of four
    a bright one, in as many healthy ones a dark one. A note has symptoms, a little more often those
    of the ill, and the patient's habits, which have nothing to do with the illness. Unless
    ``shared``, pattern and habits are drawn anew at each visit, so that nothing in picture or note
    tells who it is. Raises ValueError for fewer than ten patients or two visits.
    """
    if patients < 10 or visits < 2:
        raise ValueError(
            f"expected ten patients or more with two visits or more, got {patients} and {visits}"
        )
    rng = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), visits)
    ill = (rng.permutation(patients) < 0.4 * patients)[patient]
    pictures, notes = [], []
    for number, is_ill in enumerate(ill):
        if number % visits == 0 or not shared:
            pattern = smooth(rng)
            habits = rng.random(len(HABITS)) < 0.15
        picture = PATTERN * pattern + 0.5 * rng.normal(size=(SIDE, SIDE))
        if rng.random() < 0.75:
            picture += spot(rng) * (1 if is_ill else -1)
        said = [rng.random() < shares[0 if is_ill else 1] for shares in SYMPTOMS.values()]
        pictures.append(picture)
        notes.append([*said, *(habits & (rng.random(len(HABITS)) < 0.9))])
    return Visits(patient, ill, np.array(pictures, np.float32), np.array(notes, np.float32))


def smooth(rng):
    """A pattern (S, S) of slow waves, of spread 1: what a body, and a scanner, look like always."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    waves = [
        rng.normal() * np.cos(2 * np.pi * (rng.uniform(-2, 2) * x + rng.uniform(-2, 2) * y + phase))
        for phase in rng.random(8)
    ]
    pattern = np.sum(waves, 0)
    return (pattern - pattern.mean()) / pattern.std()


def spot(rng, height=1.6, width=1.5):
    """A blurred spot (S, S) somewhere."""
    y, x = np.mgrid[:SIDE, :SIDE]
    row, column = rng.uniform(3, SIDE - 4, 2)
    return height * np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * width**2))


def split_visits(patient, by, seed, share=1 / 3):
    """Which visits are for the test: booleans (n,), a ``share`` of them.

    ``by`` is ``visit``, any visits, or ``patient``, all visits of some patients. Raises ValueError
    for another.
    """
    patient = np.asarray(patient)
    rng = np.random.default_rng(seed)
    if by == "visit":
        return rng.permutation(len(patient)) < share * len(patient)
    if by == "patient":
        names = np.unique(patient)
        chosen = rng.permutation(names)[: round(share * len(names))]
        return np.isin(patient, chosen)
    raise ValueError(f"a split is by visit or by patient, got {by!r}")


def overlap(patient, test):
    """The share of the test's patients that also have visits in training: 0 in an honest split."""
    patient, test = np.asarray(patient), np.asarray(test, bool)
    tested = np.unique(patient[test])
    return float(np.isin(tested, patient[~test]).mean())


class PictureAndNote(nn.Module):
    """Two small encoders and one line: pictures (B, S, S) and notes (B, V) to logits (B,).

    ``sides`` is one of ``SIDES``: what it may use. The other side is replaced by zeros.
    """

    def __init__(self, sides="both", width=48):
        super().__init__()
        if sides not in SIDES:
            raise ValueError(f"sides must be one of {', '.join(SIDES)}, got {sides!r}")
        self.sides = sides
        cells = (SIDE // 4) ** 2
        self.picture = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1), nn.GELU(), nn.Conv2d(16, 32, 3, 2, 1), nn.GELU(),
            nn.Flatten(), nn.Linear(32 * cells, width), nn.GELU(),
        )  # fmt: skip
        self.note = nn.Sequential(nn.Linear(len(WORDS), width), nn.GELU())
        self.head = nn.Linear(2 * width, 1)

    def forward(self, pictures, notes):
        """Logits (B,) of being ill."""
        seen = self.picture(pictures[:, None])
        read = self.note(notes)
        if self.sides == "note":
            seen = torch.zeros_like(seen)
        if self.sides == "picture":
            read = torch.zeros_like(read)
        return self.head(torch.cat([seen, read], 1))[:, 0]


def fit(visits, train, sides, seed, *, steps=150, batch=64, rate=2e-3, decay=0.05):
    """The probabilities (n,) of being ill that a model gives all visits, trained on ``train`` (n,).

    AdamW, a rate that falls to 0. The batches depend on the seed alone. Raises ValueError where
    ``train`` has visits of the ill only, or of the healthy only.
    """
    train = np.asarray(train, bool)
    if len(set(visits.ill[train].tolist())) < 2:
        raise ValueError(
            f"expected ill and healthy visits in training, got {train.sum()} of a kind"
        )
    torch.manual_seed(seed)
    model = PictureAndNote(sides)
    pictures, notes = torch.from_numpy(visits.pictures), torch.from_numpy(visits.notes)
    ill = torch.from_numpy(visits.ill).float()
    rows = torch.from_numpy(np.flatnonzero(train))
    optimizer = torch.optim.AdamW(parameter_groups(model, decay), lr=rate)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - step / steps)
        chosen = rows[torch.randint(len(rows), (batch,))]
        logits = model(pictures[chosen], notes[chosen])
        F.binary_cross_entropy_with_logits(logits, ill[chosen]).backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        return model(pictures, notes).sigmoid().numpy()


def known_patients(visits, train):
    """Who it is and nothing else: the share of ill visits of the same patient in training (n,).

    A patient that training does not have gets the share of all. It knows nothing of the illness.
    """
    train = np.asarray(train, bool)
    guess = np.full(len(train), visits.ill[train].mean())
    for number in np.unique(visits.patient[train]):
        own = visits.patient == number
        guess[own] = visits.ill[own & train].mean()
    return guess
