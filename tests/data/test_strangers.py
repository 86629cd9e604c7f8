"""Strangers: redrawn scenes of val, on which the confidence is calibrated."""

from random import Random

import numpy as np
import pytest
from PIL import Image

from mmcourse.data import EmojiScenes, splits
from mmcourse.data.drawings import STYLES, drawing, nouns
from mmcourse.data.strangers import HANDS, Strangers

SCENES = [Strangers()[index] for index in range(60)]


def redrawn(hand, seed, name="cat", style="noto"):
    return HANDS[hand](Image.fromarray(drawing(name, style)), Random(seed))


def test_determined_by_the_index():
    for index in (3, 41):
        assert np.array_equal(Strangers()[index].image, SCENES[index].image)


def test_the_held_out_style_has_no_part():
    assert all(thing.style in STYLES for scene in SCENES for thing in scene.objects)
    assert all(splits.novelty(scene.description) is None for scene in SCENES)


def test_they_are_the_descriptions_of_val_drawn_anew():
    for index, scene in enumerate(SCENES[:20]):
        plain = EmojiScenes("val")[index]
        assert scene.description == plain.description
        assert not np.array_equal(scene.image, plain.image)


@pytest.mark.parametrize("hand", HANDS)
def test_a_hand_redraws_and_leaves_something(hand):
    """Every noun in every style, at the smallest size of a scene."""
    plain = np.asarray(Image.fromarray(drawing("cat", "noto")).convert("RGBa"), dtype=int)
    changes = []
    for seed in range(10):
        image = redrawn(hand, seed)
        assert image.mode == "RGBA" and image.size == (64, 64)
        changes.append(np.abs(np.asarray(image.convert("RGBa")) - plain).mean())
    assert np.mean(changes) > 2 and len(set(changes)) > 5
    for seed, noun in enumerate(nouns()):
        for style in splits.styles_for(noun.name, "train")[:1]:
            alpha = redrawn(hand, seed, noun.name, style).getchannel("A")
            small = np.asarray(alpha.resize((17, 17), Image.Resampling.BOX))
            assert (small > 127).sum() >= 10, noun.name


def test_hands_can_be_chosen():
    one = Strangers(hands=("grey",))
    saturation = [
        np.asarray(one.draw("tomato", "noto", Random(seed)).convert("RGB").convert("HSV"))[..., 1]
        for seed in range(5)
    ]
    assert np.median(np.stack(saturation)) < 90
    rng, drawn = Random(0), set()
    for _ in range(40):
        drawn.add(np.asarray(Strangers().draw("cat", "noto", rng)).tobytes())
    assert len(drawn) > 30
