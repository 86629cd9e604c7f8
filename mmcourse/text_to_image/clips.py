"""Short clips from words: nine frames, laid out as one sheet, are drawn by the same flow.

Letters: F frames of a clip, H and W rows and columns of pixels of a frame.
"""

from random import Random
from typing import NamedTuple

import numpy as np
import torch

from mmcourse.data.backgrounds import paint
from mmcourse.data.clips import DIRECTIONS
from mmcourse.data.sprites import artwork, sprite
from mmcourse.data.world import STYLE
from mmcourse.text_to_image.captions import PAD
from mmcourse.text_to_image.model import TextToImage

CLIP_NOUNS = ["heart", "star", "apple", "banana", "car", "fish", "tree", "house"]
HELD_OUT = {("heart", "left"), ("car", "up"), ("fish", "right"), ("house", "down")}
FRAMES = 9  # three rows of three
FRAME = 32  # pixels of a frame's side
THING = 16  # pixels of the thing's side
SPEED = 2  # pixels from a frame to the next


class Clip(NamedTuple):
    """A moving thing: its frames, uint8 (F, H, W, 3), and what is true of it."""

    frames: np.ndarray  #: uint8 (F, H, W, 3)
    noun: str  #: what moves
    direction: str  #: where to

    @property
    def caption(self):
        """What is said of it."""
        return clip_caption(self.noun, self.direction)


def clip_caption(noun, direction):
    """The caption of a thing that moves."""
    article = "an" if noun[0] in "aeiou" else "a"
    return f"{article} {noun} moves {direction}"


def clip_vocabulary():
    """Every word of the captions of clips, sorted."""
    return sorted({"a", "an", "moves", *CLIP_NOUNS, *DIRECTIONS})


class MovingThings:
    """Endless clips: ``MovingThings(split)[index]``.

    In ``train`` a few nouns never move in some direction; in ``composition`` they do.
    """

    def __init__(self, split="train"):
        pairs = {(noun, direction) for noun in CLIP_NOUNS for direction in DIRECTIONS}
        kept = {"train": pairs - HELD_OUT, "composition": HELD_OUT}
        if split not in kept:
            raise ValueError(f"unknown split {split!r}: choose train or composition")
        self.split = split
        self.pairs = sorted(kept[split])

    def __getitem__(self, index):
        rng = Random(f"clips/{self.split}/{index}")
        noun, direction = rng.choice(self.pairs)
        return move(noun, direction, rng)


def move(noun, direction, rng):
    """A clip of a thing on paper that goes in a direction, at a place that ``rng`` chooses."""
    ground = paint("paper", FRAME, rng)
    drawn, _ = sprite(artwork(noun, STYLE), THING, None, False)
    room = FRAME - THING  # the way of the thing, in pixels
    dx, dy = DIRECTIONS[direction]
    across = rng.randint(0, room)
    frames = []
    for number in range(FRAMES):
        done = SPEED * number
        x = across if dx == 0 else (done if dx > 0 else room - done)
        y = across if dy == 0 else (done if dy > 0 else room - done)
        frame = ground.copy()
        frame.paste(drawn, (x, y), drawn)
        frames.append(np.array(frame))
    return Clip(np.stack(frames), noun, direction)


def as_sheet(frames):
    """Frames (9, H, W, 3) as one picture (3 H, 3 W, 3), row by row."""
    rows = [np.concatenate(list(frames[start : start + 3]), 1) for start in (0, 3, 6)]
    return np.concatenate(rows)


def frames_of(sheet):
    """The frames (9, H, W, 3) of a sheet (3 H, 3 W, 3)."""
    height, width = sheet.shape[0] // 3, sheet.shape[1] // 3
    parts = sheet.reshape(3, height, 3, width, 3).swapaxes(1, 2)
    return parts.reshape(FRAMES, height, width, 3)


class TextToClip(TextToImage):
    """Draws clips: the sheet of the frames is the picture."""

    def tokenize(self, captions):
        """Ids (B, T). ValueError, which names it, for a word that captions of clips do not have."""
        rows = []
        for caption in captions:
            words = caption.lower().split()
            unknown = [word for word in words if word not in self.ids]
            if unknown or not words:
                raise ValueError(
                    f"unknown words: {', '.join(unknown) or 'none at all'}. A clip shows "
                    f"{clip_caption('NOUN', 'DIRECTION')}, with {', '.join(CLIP_NOUNS)}"
                )
            rows.append(torch.tensor([self.ids[word] for word in words]))
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=PAD)

    def film(self, captions, seed=0, steps=20, guidance=2.0):
        """Frames (B, 9, H, W, 3) of a list of captions."""
        return np.stack([frames_of(sheet) for sheet in self.draw(captions, seed, steps, guidance)])


def read_clip(frames):
    """What a clip (9, H, W, 3) shows, by arithmetic alone: (noun, direction).

    The thing is what differs from the median of the border. Its centre moves along the axis on
    which the first and the last third of the frames differ most. The noun is that of the drawing
    which fits best, in the frame in the middle.
    """
    frames = np.asarray(frames, float)
    edge = np.concatenate([frames[:, 0].reshape(-1, 3), frames[:, -1].reshape(-1, 3)])
    paper = np.median(edge, 0)
    there = np.abs(frames - paper).mean(-1)  # (F, H, W)
    there = np.where(there > 30, there, 0)
    weight = there.sum((1, 2)).clip(1e-9)  # (F,)
    places = np.arange(frames.shape[1])
    x = (there.sum(1) * places).sum(1) / weight  # (F,)
    y = (there.sum(2) * places).sum(1) / weight
    right, down = (part[-3:].mean() - part[:3].mean() for part in (x, y))
    direction = "right" if right > 0 else "left"
    if abs(down) > abs(right):
        direction = "down" if down > 0 else "up"
    return best_fit(frames[FRAMES // 2], paper), direction


def best_fit(frame, paper):
    """The noun whose drawing, somewhere on ``paper`` (3,), is nearest to a frame (H, W, 3)."""
    found = {}
    for noun in CLIP_NOUNS:
        drawn = np.array(sprite(artwork(noun, STYLE), THING, None, False)[0], float)
        alpha = drawn[..., 3:] / 255  # (16, 16, 1)
        patch = alpha * drawn[..., :3] + (1 - alpha) * paper
        gaps = []
        for row in range(FRAME - THING + 1):
            for column in range(FRAME - THING + 1):
                part = frame[row : row + THING, column : column + THING]
                inside = np.square(part - patch).sum()
                outside = np.square(frame - paper).sum() - np.square(part - paper).sum()
                gaps.append(inside + outside)
        found[noun] = min(gaps)
    return min(found, key=found.get)
