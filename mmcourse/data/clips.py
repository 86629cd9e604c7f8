"""MovingScenes: short clips of drawings that move, whose every clip exists backwards as well.

``MovingScenes(split)[index]`` depends on these two alone, as a scene does. A coin decides whether a
clip is run forwards or backwards, after everything else is drawn. So a set of frames, without their
order, is as likely to be of the one event as of its opposite.

Letters: F frames of a clip, H and W rows and columns of pixels of a frame.
"""

from functools import cache
from random import Random
from typing import NamedTuple

import numpy as np
from PIL import Image

from mmcourse.data.backgrounds import paint
from mmcourse.data.language import noun_table
from mmcourse.data.scenes import count_from_zero
from mmcourse.data.splits import SPLITS, held_out, styles_for
from mmcourse.data.sprites import artwork, sprite

DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
FRAMES = 8
FRAME = 32  # pixels of a frame's side
STEPS = 3  # from a frame to the next, in which something changes
PAIR = 11  # pixels of the side of each of two things
NOUNS = ("apple", "banana", "car", "fish", "heart", "house", "star", "tree")
PLACES = ("paper", "dots", "stripes", "snow", "room", "sunset")
# each event, and what it is backwards; of a blink the two nouns change places
BACKWARDS = {
    "left": "right",
    "right": "left",
    "up": "down",
    "down": "up",
    "grow": "shrink",
    "shrink": "grow",
    "meet": "part",
    "part": "meet",
    "blink": "blink",
}
EVENTS = tuple(BACKWARDS)
#: The four kinds of events, and the events of each.
KINDS = {
    "motion": ("left", "right", "up", "down"),
    "size": ("grow", "shrink"),
    "distance": ("meet", "part"),
    "order": ("blink",),
}
# what a noun is kept from, there and back, and the event that a clip of it begins as
WAYS = {"left": "right", "up": "down", "grow": "grow"}


class Clip(NamedTuple):
    """A short clip and what is true of it."""

    frames: np.ndarray  #: uint8 (F, H, W, 3)
    event: str  #: one of EVENTS
    nouns: tuple[str, ...]  #: one or two, in the order of the caption
    background: str  #: what it is painted on, as in the scenes
    when: tuple[int, ...]  #: the numbers of the frames in which it happens
    question: str  #: of yes or no
    answer: str  #: the other one of the clip backwards
    key: str  #: its split and number

    @property
    def caption(self):
        """What is said of it."""
        return clip_caption(self.event, self.nouns)

    @property
    def kind(self):
        """The kind of its event, one of KINDS."""
        return kind_of(self.event)

    def backwards(self):
        """The clip with its last frame first, and what is true of that."""
        event, nouns = opposite(self.event, self.nouns)
        return self._replace(
            frames=self.frames[::-1].copy(),
            event=event,
            nouns=nouns,
            when=tuple(len(self.frames) - 1 - number for number in reversed(self.when)),
            answer="no" if self.answer == "yes" else "yes",
            key=f"{self.key}/backwards",
        )


def kind_of(event):
    """The kind of an event, one of KINDS."""
    return next(kind for kind, events in KINDS.items() if event in events)


def opposite(event, nouns):
    """The event and the nouns of a clip that is run backwards."""
    return BACKWARDS[event], tuple(reversed(nouns)) if event == "blink" else tuple(nouns)


def clip_caption(event, nouns):
    """The caption of an event of one noun or two."""
    names = [f"{noun_table()[noun].article} {noun}" for noun in nouns]
    return sentence(event, names)


def clip_question(event, nouns):
    """The question of yes or no whether that is what happens."""
    names = [f"the {noun}" for noun in nouns]
    words = sentence(event, names)
    for said, asked in (
        (" moves ", " move "),
        (" blinks ", " blink "),
        (f" {event}s", f" {event}"),
    ):
        words = words.replace(said, asked)
    return f"{'do' if event in KINDS['distance'] else 'does'} {words} ?"


def sentence(event, names):
    """A sentence on things that have ``names``, as *a star* or *the star*."""
    if event in DIRECTIONS:
        return f"{names[0]} moves {event}"
    if event in KINDS["size"]:
        return f"{names[0]} {event}s"
    first, second = names
    if event in KINDS["distance"]:
        return f"{first} and {second} {event}"
    return f"{first} blinks before {second}"


@cache
def all_captions():
    """Every caption, as a dict to its event and its nouns. Two that meet come in the alphabet."""
    found = {}
    for event in EVENTS:
        single = kind_of(event) in ("motion", "size")
        for first in NOUNS:
            for second in (None,) if single else NOUNS:
                nouns = (first,) if single else (first, second)
                if first != second and (event == "blink" or nouns == tuple(sorted(nouns))):
                    found[clip_caption(event, nouns)] = event, nouns
    return found


def novelty(event, nouns):
    """What no clip of ``train`` shows: ``way``, a noun in this way; ``pair``, two nouns; or None.

    A noun is kept from a way and from the way back, else it would tell the direction by itself.
    """
    if len(nouns) == 2:
        return "pair" if held_out(*nouns) else None
    way = event if event in WAYS else BACKWARDS[event]
    return "way" if held_out(way, nouns[0]) else None


class MovingScenes:
    """Endless clips: ``MovingScenes(split)[index]`` for any index from 0, a :class:`Clip`.

    ``train`` and ``val`` show the same kinds of clips; each of ``composition`` has a
    :func:`novelty`; those of ``style`` are drawn by the artist that training never shows.
    ValueError for another split.
    """

    def __init__(self, split="train"):
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
        self.split = split

    def __getitem__(self, index):
        key = f"moving/{self.split}/{count_from_zero(index)}"
        rng = Random(key)
        kind = rng.choice(tuple(KINDS))
        wanted = self.split == "composition"
        while True:
            event, nouns = draw_event(kind, rng)
            if (novelty(event, nouns) is not None) == wanted:
                break
        style = "style" if self.split == "style" else "train"
        styles = [rng.choice(styles_for(noun, style)) for noun in nouns]
        background = rng.choice(PLACES)
        frames, when = film(event, nouns, styles, background, rng)
        asked, answer = ((event, nouns), "yes")
        if rng.randrange(2):
            asked, answer = opposite(event, nouns), "no"
        clip = Clip(frames, event, nouns, background, when, clip_question(*asked), answer, key)
        if rng.randrange(2):  # the coin
            clip = clip.backwards()._replace(key=key)
        return clip


def draw_event(kind, rng):
    """An event of a kind, as it is before the coin falls, and its nouns."""
    if kind == "motion":
        return WAYS[rng.choice(("left", "up"))], (rng.choice(NOUNS),)
    if kind == "size":
        return "grow", (rng.choice(NOUNS),)
    nouns = tuple(rng.sample(NOUNS, 2))
    if kind == "distance":
        return "meet", tuple(sorted(nouns))
    return "blink", nouns


# Filming -------------------------------------------------------------------------------------


def film(event, nouns, styles, background, rng):
    """The frames of an event, (F, H, W, 3), and the numbers of those in which it happens."""
    ground = paint(background, FRAME, rng)
    if event == "blink":
        when = tuple(sorted(rng.sample(range(FRAMES), 2)))
        tracks = blinking(when, rng)
    else:
        start = rng.randrange(FRAMES - STEPS)
        when = tuple(range(start, start + STEPS + 1))
        done = [min(max(number - start, 0), STEPS) for number in range(FRAMES)]
        tracks = TRACKS[event](done, rng)
    frames = []
    for number in range(FRAMES):
        frame = ground.copy()
        for noun, style, track in zip(nouns, styles, tracks, strict=True):
            if track[number] is not None:
                x, y, pixels = track[number]
                drawn = cut_out(noun, style, pixels)
                frame.paste(drawn, (x, y), drawn)
        frames.append(np.array(frame))
    return np.stack(frames), when


def moving(across):
    """Tracks of a thing that moves along a row or a column, to the right or down."""

    def tracks(done, rng):
        pixels = rng.randint(12, 15)
        speed = rng.randint(3, 4)
        room = FRAME - pixels
        start = rng.randint(0, room - speed * STEPS)
        other = rng.randint(0, room)
        track = []
        for steps in done:
            place = start + speed * steps
            track.append((place, other, pixels) if across else (other, place, pixels))
        return [track]

    return tracks


def growing(done, rng):
    """The track of a thing that gets larger, about its middle."""
    small = rng.randint(7, 9)
    largest = small + 3 * STEPS
    x = rng.randint(0, FRAME - largest)
    y = rng.randint(0, FRAME - largest)
    track = []
    for steps in done:
        pixels = small + 3 * steps
        margin = (largest - pixels) // 2
        track.append((x + margin, y + margin, pixels))
    return [track]


def meeting(done, rng):
    """Tracks of two things that come nearer, in a row or a column."""
    across, swapped = rng.randrange(2), rng.randrange(2)
    base = rng.randint(2, FRAME - PAIR - 2)
    others = (base + rng.randint(-2, 2), base + rng.randint(-2, 2))
    near, far = rng.randint(0, 1), FRAME - PAIR - rng.randint(0, 1)
    tracks = [[], []]
    for steps in done:
        moved = 5 * steps // STEPS
        for track, place, other in zip(tracks, (near + moved, far - moved), others, strict=True):
            track.append((place, other, PAIR) if across else (other, place, PAIR))
    return tracks[::-1] if swapped else tracks


def blinking(when, rng):
    """Tracks of two things that stand side by side; each is gone for one frame, None."""
    across, swapped = rng.randrange(2), rng.randrange(2)
    tracks = []
    for low, high in ((0, 4), (FRAME // 2, FRAME // 2 + 4)):
        place = rng.randint(low, high)
        other = rng.randint(0, FRAME - PAIR)
        corner = (place, other) if across else (other, place)
        tracks.append([(*corner, PAIR)] * FRAMES)
    if swapped:
        tracks.reverse()
    for track, number in zip(tracks, when, strict=True):
        track[number] = None
    return tracks


TRACKS = {"right": moving(True), "down": moving(False), "grow": growing, "meet": meeting}


@cache
def cut_out(noun, style, pixels):
    """A drawing as it is stuck onto a frame."""
    drawn, _ = sprite(artwork(noun, style), pixels, None, False)
    return drawn


def as_gif(frames, path, milliseconds=150):
    """Write frames (F, H, W, 3) as an animated GIF, which loses some colours."""
    first, *rest = [Image.fromarray(frame) for frame in frames]
    first.save(path, save_all=True, append_images=rest, duration=milliseconds, loop=0)
