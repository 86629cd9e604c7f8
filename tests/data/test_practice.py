"""Practice: harder than the scenes, but nothing in it that training may not show."""

import itertools
from random import Random

import numpy as np
import pytest
from PIL import Image

from mmcourse.data import Practice, backgrounds, practice, splits, sprites
from mmcourse.data.drawings import HELD_OUT_STYLE, STYLES, drawing

DATASET = Practice()
SAMPLES = [DATASET[index] for index in range(200)]
CROWDS = SAMPLES[1::2]


def test_determined_by_the_index():
    again = [Practice()[index] for index in range(0, 200, 37)]
    assert all(
        np.array_equal(a.image, b.image) and a.objects == b.objects
        for a, b in zip(again, SAMPLES[::37], strict=True)
    )
    assert len({scene.image.tobytes() for scene in SAMPLES}) == len(SAMPLES)


def test_every_second_picture_is_a_crowd():
    assert all(scene.description and scene.captions for scene in SAMPLES[::2])
    assert all(scene.description is None and len(scene.objects) == 4 for scene in CROWDS)


def test_nothing_held_out_is_shown():
    for scene in SAMPLES:
        assert all(
            thing.style in STYLES and thing.style != HELD_OUT_STYLE for thing in scene.objects
        )
        assert not any(
            thing.colour and splits.held_out(thing.colour, thing.noun) for thing in scene.objects
        )
        names = {thing.noun for thing in scene.objects}
        assert not any(splits.held_out(*pair) for pair in itertools.combinations(names, 2))


@pytest.mark.parametrize("size", [32, 64, 99])
def test_a_crowd_has_one_thing_in_each_quarter(size):
    for index in range(1, 40, 2):
        scene = Practice(size=size)[index]
        assert scene.image.shape == (size, size, 3) and scene.image.dtype == np.uint8
        for thing, (row, column) in zip(
            scene.objects, itertools.product((0, 1), (0, 1)), strict=True
        ):
            x0, y0, x1, y1 = thing.box
            left, top = column * (size // 2), row * (size // 2)
            assert left <= x0 < x1 <= left + size // 2 and top <= y0 < y1 <= top + size // 2


def test_boxes_of_a_crowd_are_tight():
    """Beside the same background without things, little shows outside boxes, much on each edge."""
    touched, outside = [], 0
    for scene in CROWDS:
        rng = Random(scene.key)
        empty = np.array(backgrounds.paint(rng.choice(tuple(backgrounds.PAINT)), 64, rng)).astype(
            int
        )
        shown = abs(scene.image - empty).max(-1) > 24
        for thing in scene.objects:
            x0, y0, x1, y1 = thing.box
            touched += [
                line.any()
                for line in (
                    shown[y0, x0:x1],
                    shown[y1 - 1, x0:x1],
                    shown[y0:y1, x0],
                    shown[y0:y1, x1 - 1],
                )
            ]
            shown[y0:y1, x0:x1] = False
        outside += shown.sum()
    assert np.mean(touched) > 0.95
    assert outside < 20 * len(CROWDS), "faint edges of drawings, no more"


def test_boxes_of_redrawn_things_are_tight():
    for seed in range(60):
        rng = Random(seed)
        image, box = sprites.sprite(DATASET.draw("cat", "noto", rng), 30, None, False)
        assert image.getchannel("A").point(lambda value: 255 * (value > 127)).getbbox() == box
        assert 20 <= max(box[2] - box[0], box[3] - box[1]) <= 30, "still of its size"


def test_redrawing_changes_most_drawings_and_keeps_what_they_are():
    rng, plain = (
        Random(0),
        np.asarray(Image.fromarray(drawing("cat", "noto")).convert("RGBa"), dtype=float),
    )
    gaps = [
        np.abs(np.asarray(DATASET.draw("cat", "noto", rng).convert("RGBa")) - plain).mean()
        for _ in range(200)
    ]
    assert 0.05 < np.mean(np.array(gaps) == 0) < 0.3, "some stay as they are"
    assert np.max(gaps) < 80 and np.mean(gaps) > 5


def test_a_reduced_drawing_has_few_colours_and_a_hard_edge():
    for name, style in (("cat", "fluent"), ("cat", "noto"), ("car", "emojitwo")):
        pixels = np.asarray(practice.reduced(name, style)).reshape(-1, 4)
        assert (
            set(np.unique(pixels[:, 3])) == {0, 255} and len(np.unique(pixels[:, :3], axis=0)) <= 6
        )


def test_outlines_are_black_lines_around_what_was_there():
    for flat in (False, True):
        before, after = (
            np.asarray(picture).astype(int)
            for picture in (
                practice.reduced("cat", "twemoji")
                if flat
                else Image.fromarray(drawing("cat", "twemoji")),
                practice.outlined("cat", "twemoji", flat),
            )
        )
        changed = (before != after).any(-1)
        assert 0.05 < changed.mean() < 0.5 and (after[changed] == (0, 0, 0, 255)).all()
        assert (after[..., 3] >= before[..., 3]).all()


def test_only_names_the_nouns():
    names = ["cat", "dog", "owl", "car", "crown", "castle"]
    assert {
        thing.noun for index in range(60) for thing in Practice(only=names)[index].objects
    } == set(names)


@pytest.mark.parametrize("index", [-1, -2])
def test_indices_count_from_zero(index):
    with pytest.raises(IndexError, match=f"counted from 0, got index {index}"):
        DATASET[index]
