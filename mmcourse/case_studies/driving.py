"""A camera and a range finder look down a road, in fog and when one of them fails.

The road is made up: one or two of the course's drawings stand on it, at known distances. To brake
one must know *what* stands in the own lane, which a picture says, and *how far*, which a
range says.

Shapes: n scenes, H and W of a picture, M directions of the range finder, D width.
"""

import math
from functools import cache
from random import Random
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from mmcourse.data.drawings import drawing
from mmcourse.fusion import ConcatFusion, drop_sides
from mmcourse.training import parameter_groups

HIGH, WIDE, BEAMS = 24, 36, 24
FAR = 60.0  # metres: what the range finder says where nothing stands
BRAKE = 20.0  # metres
BEHIND = 30.0  # metres of fog before the road and the sky
HAZE = 0.7  # the grey of fog
BESIDE = (-3.0, 3.0)  # metres to the side; the own lane is at 0
FOCAL = 34.0  # pixels for a metre in a distance of a metre
SOLID = ("man", "police officer", "cow", "motorcycle")
LIGHT = ("balloon", "maple leaf", "envelope", "umbrella")
STYLE = "noto"
ARMS = ("camera", "range", "both", "both, dropout")


class Roads(NamedTuple):
    """Scenes of a road, row by row."""

    pictures: np.ndarray  #: (n, 3, H, W) from 0 to 1
    ranges: np.ndarray  #: (n, M) metres, ``FAR`` where nothing is
    brake: np.ndarray  #: (n,) booleans, the truth
    things: list  #: what stands where, n tuples of (noun, metres, lane)


@cache
def small_drawing(noun, size):
    """A drawing (size, size, 4) with numbers from 0 to 1."""
    picture = Image.fromarray(drawing(noun, STYLE)).resize((size, size), Image.Resampling.BOX)
    return np.asarray(picture, np.float32) / 255


def make_roads(count, seed=0, fog=0.0):
    """``count`` made-up :class:`Roads`; ``fog`` from 0 on, at 0.1 half is gone in seven metres.

    Things are 1.2 to 2.4 metres high whatever they are, and the camera nods, so neither size nor
    height in the picture tells the distance exactly. Fog hides from the camera what is far, and
    takes a share of the range's echoes. The truth does not depend on fog. ValueError for no scene
    or less than no fog.
    """
    if count < 1 or fog < 0:
        raise ValueError(f"expected one scene or more and fog from 0 on, got {count} and {fog}")
    rows = [make_road(Random(f"road/{seed}/{number}"), fog) for number in range(count)]
    pictures, ranges, brake, things = zip(*rows, strict=True)
    return Roads(np.stack(pictures), np.stack(ranges), np.array(brake), list(things))


def make_road(rng, fog):
    """One scene: its picture (3, H, W), ranges (M,), whether to brake, and what stands there."""
    things = []
    lanes = [0.0] if rng.random() < 0.8 else []
    lanes += rng.sample(BESIDE, 1 if lanes else rng.choice((1, 2)))
    for lane in lanes:
        noun = rng.choice(SOLID if rng.random() < 0.5 else LIGHT)
        near = rng.random() < 0.7
        things.append((noun, rng.uniform(6, BRAKE) if near else rng.uniform(BRAKE, 45), lane))
    things.sort(key=lambda thing: -thing[1])  # the nearest is painted last
    nod = rng.uniform(-3, 3)
    shade = rng.uniform(0.55, 0.85)
    picture = np.full((HIGH, WIDE, 3), shade, np.float32)
    picture[int(HIGH / 2 + nod) :] *= 0.6  # the road
    clear = math.exp(-fog * BEHIND)
    picture = clear * picture + (1 - clear) * HAZE
    ranges = np.full(BEAMS, FAR)
    for noun, metres, lane in things:
        high = rng.uniform(1.2, 2.4)
        size = max(2, round(FOCAL * high / metres * 2))
        column = WIDE / 2 + FOCAL * lane / metres - size / 2
        row = HIGH / 2 + nod + FOCAL * 1.2 / metres - size
        paste(picture, small_drawing(noun, size), round(row), round(column), fog * metres)
        left, right = np.array([column, column + size]) * BEAMS / WIDE
        ranges[max(0, round(left)) : max(0, round(right))] = metres
    noise = np.random.default_rng(rng.getrandbits(32))
    picture = (picture + 0.03 * noise.normal(size=picture.shape)).clip(0, 1)
    ranges = ranges + 0.4 * noise.normal(size=BEAMS)
    ranges[noise.random(BEAMS) < 0.05 + min(0.3, 2 * fog)] = FAR
    brake = any(noun in SOLID and lane == 0 and metres < BRAKE for noun, metres, lane in things)
    return picture.transpose(2, 0, 1).astype(np.float32), ranges.clip(0, FAR), brake, tuple(things)


def paste(picture, drawn, row, column, haze):
    """Lay a drawing (S, S, 4) into a picture (H, W, 3) at a corner, greyed by ``haze``."""
    high, wide = picture.shape[:2]
    top, left = max(0, row), max(0, column)
    bottom, right = min(high, row + len(drawn)), min(wide, column + len(drawn))
    if top >= bottom or left >= right:
        return
    part = drawn[top - row : bottom - row, left - column : right - column]
    clear = math.exp(-haze)
    colour = clear * part[..., :3] + (1 - clear) * HAZE
    cover = part[..., 3:]
    picture[top:bottom, left:right] = cover * colour + (1 - cover) * picture[top:bottom, left:right]


class CameraAndRange(nn.Module):
    """Two encoders, and the concatenation of chapter 9: logits (B,) of having to brake."""

    def __init__(self, width=64):
        super().__init__()
        cells = (HIGH // 4) * (WIDE // 4)
        self.camera = nn.Sequential(
            nn.Conv2d(3, 12, 3, 2, 1), nn.GELU(), nn.Conv2d(12, 24, 3, 2, 1), nn.GELU(),
            nn.Flatten(), nn.Linear(24 * cells, width), nn.GELU(),
        )  # fmt: skip
        self.range = nn.Sequential(nn.Linear(BEAMS, width), nn.GELU(), nn.Linear(width, width))
        self.fusion = ConcatFusion(width, width)
        self.head = nn.Linear(width, 1)

    def forward(self, pictures, ranges, camera_works, range_works):
        """Logits (B,) of pictures (B, 3, H, W) and ranges (B, M).

        ``camera_works`` and ``range_works`` are (B, 1), booleans: what is False is replaced by a
        learnt vector.
        """
        seen = self.camera(pictures)[:, None]  # (B, 1, D)
        heard = self.range(1 - ranges / FAR)[:, None]
        return self.head(self.fusion(heard, seen, range_works, camera_works))[:, 0]


def fit(roads, arm, seed, *, steps=200, batch=64, rate=2e-3, dropped=0.4, decay=0.05):
    """A model of ``ARMS`` trained on roads; with dropout a side is hidden in a share ``dropped``.

    AdamW, a rate that falls to 0. Raises ValueError for another arm.
    """
    if arm not in ARMS:
        raise ValueError(f"arm must be one of {'; '.join(ARMS)}, got {arm!r}")
    torch.manual_seed(seed)
    model = CameraAndRange()
    generator = torch.Generator().manual_seed(seed)
    data = [torch.as_tensor(part).float() for part in (roads.pictures, roads.ranges, roads.brake)]
    optimizer = torch.optim.AdamW(parameter_groups(model, decay), lr=rate)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * (1 - step / steps)
        rows = torch.randint(len(data[2]), (batch,), generator=generator)
        pictures, ranges, brake = (part[rows] for part in data)
        camera = torch.full((batch, 1), arm != "range")
        heard = torch.full((batch, 1), arm != "camera")
        if arm == "both, dropout":
            heard, camera = drop_sides(heard, camera, dropped, generator)
        logits = model(pictures, ranges, camera, heard)
        F.binary_cross_entropy_with_logits(logits, brake).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


@torch.no_grad()
def predict(model, roads, arm, *, camera=True, heard=True):
    """The probabilities (n,) of having to brake; ``camera`` or ``heard`` False is a known failure.

    An arm of one side never gets the other.
    """
    works = [torch.full((len(roads.brake), 1), fine) for fine in
             (camera and arm != "range", heard and arm != "camera")]  # fmt: skip
    pictures = torch.as_tensor(roads.pictures)
    return model(pictures, torch.as_tensor(roads.ranges).float(), *works).sigmoid().numpy()


def filled(roads, like, side):
    """The roads with a side replaced by its mean over the roads ``like``: no training is needed.

    ``side`` is ``pictures`` or ``ranges``; ValueError for another.
    """
    if side not in ("pictures", "ranges"):
        raise ValueError(f"side must be pictures or ranges, got {side!r}")
    mean = getattr(like, side).mean(0)
    return roads._replace(**{side: np.broadcast_to(mean, getattr(roads, side).shape).copy()})
