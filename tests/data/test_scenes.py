"""EmojiScenes: determined, true to their description, and split as promised."""

import hashlib
import multiprocessing
import resource
from collections import Counter
from random import Random

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader

from mmcourse.data import (
    SPLITS,
    EmojiScenes,
    Practice,
    backgrounds,
    language,
    scenes,
    splits,
    sprites,
)
from mmcourse.data.drawings import HELD_OUT_STYLE, STYLES, drawing

COUNT = 400


@pytest.fixture(scope="module", params=SPLITS)
def split(request):
    dataset = EmojiScenes(request.param)
    return request.param, [dataset[index] for index in range(COUNT)]


def digest(dataset, indices):
    parts = hashlib.sha256()
    for index in indices:
        scene = dataset[index]
        parts.update(scene.image.tobytes())
        texts = (scene.captions, scene.questions, scene.foils, scene.objects)
        parts.update(repr(texts).encode())
    return parts.hexdigest()[:16]


PINNED = {
    ("train", 64): "8ab519fad2663e3a",
    ("val", 64): "41c882cae3a13933",
    ("composition", 96): "67424adb68f61b51",
    ("style", 64): "edeaab628a6fcf44",
    ("style", 131): "0e5835a9feeb3578",
}


@pytest.mark.parametrize(
    "name, size", [("train", 64), ("val", 64), ("composition", 96), ("style", 64), ("style", 131)]
)
def test_a_scene_is_determined_by_split_and_index(name, size):
    dataset = EmojiScenes(name, size)
    assert digest(dataset, [7, 0, 12345]) == digest(EmojiScenes(name, size), [7, 0, 12345])
    assert digest(dataset, range(20)) == PINNED[name, size], (
        "scenes changed: the captioner must be trained again"
    )


def test_no_two_scenes_are_alike(split):
    name, found = split
    assert len({scene.image.tobytes() for scene in found}) == COUNT
    other = EmojiScenes(SPLITS[SPLITS.index(name) - 1])
    assert not any(np.array_equal(other[index].image, found[index].image) for index in range(20))


def test_boxes_are_tight_inside_and_apart(split):
    for scene in split[1]:
        height, width, _ = scene.image.shape
        for thing in scene.objects:
            x0, y0, x1, y1 = thing.box
            assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
            low, high = scenes.PIXELS[thing.size]
            assert 0.6 * low <= max(x1 - x0, y1 - y0) <= high
        boxes = [thing.box for thing in scene.objects]
        for number, a in enumerate(boxes):
            for b in boxes[:number]:
                assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (
                    "two drawings overlap"
                )


def test_a_box_holds_its_drawing():
    """In the box the picture differs from the background alone; around it, it does not."""
    dataset = EmojiScenes("val", 64)
    for index in range(30):
        scene = dataset[index]
        rng = Random(scene.key)
        dataset.describe(rng)
        bare = np.array(backgrounds.paint(scene.description.background, 64, rng))
        changed = (bare != scene.image).any(-1)
        allowed = np.zeros_like(changed)
        for thing in scene.objects:
            x0, y0, x1, y1 = thing.box
            assert changed[y0:y1, x0:x1].mean() > 0.2
            allowed[max(y0 - 1, 0) : y1 + 1, max(x0 - 1, 0) : x1 + 1] = True
        assert (changed & ~allowed).mean() < 0.01


def test_objects_are_what_the_description_says(split):
    for scene in split[1]:
        for number, group in enumerate(scene.description.groups):
            things = [thing for thing in scene.objects if thing.group == number]
            assert len(things) == group.count
            assert {(t.noun, t.colour, t.size) for t in things} == {
                (group.noun, group.colour, group.size)
            }


def test_relations_are_where_the_boxes_say(split):
    for scene in split[1]:
        if not scene.description.relation:
            continue
        boxes = [np.array([t.box for t in scene.objects if t.group == number]) for number in (0, 1)]
        (ax0, ay0, bx0, by0) = (*boxes[0].min(0)[:2], *boxes[1].min(0)[:2])
        (ax1, ay1, bx1, by1) = (*boxes[0].max(0)[2:], *boxes[1].max(0)[2:])
        apart = {
            "left of": ax1 <= bx0,
            "right of": bx1 <= ax0,
            "above": ay1 <= by0,
            "below": by1 <= ay0,
        }
        assert [name for name, true in apart.items() if true] == [scene.description.relation]


def test_splits_keep_their_promise(split):
    name, found = split
    for scene in found:
        nouns = [group.noun for group in scene.description.groups]
        held = len(nouns) == 2 and splits.held_out(*nouns)
        held |= any(
            g.colour and splits.held_out(g.colour, g.noun) for g in scene.description.groups
        )
        assert held == (name == "composition")
        assert {thing.style for thing in scene.objects} <= (
            {HELD_OUT_STYLE} if name == "style" else set(STYLES)
        )
        for group in scene.description.groups:
            noun = language.noun_table()[group.noun]
            assert group.colour is None or (noun.tintable and group.colour not in noun.denied)


def test_composition_asks_for_what_training_never_shows(split):
    """Not as a tint, and not as the colour of a twentieth of a drawing."""
    name, found = split
    kinds = [splits.novelty(scene.description) for scene in found]
    if name != "composition":
        assert set(kinds) == {None}
        return
    assert 0.4 < kinds.count("pair") / COUNT < 0.6
    for scene, kind in zip(found, kinds, strict=True):
        groups = scene.description.groups
        if kind == "pair":
            assert splits.held_out(groups[0].noun, groups[1].noun)
            continue
        assert kind == "binding"
        assert splits.held_out(groups[0].colour, groups[0].noun)
        for style in STYLES:
            if style in splits.styles_for(groups[0].noun, "train"):
                assert share_of_colour(groups[0].noun, style, groups[0].colour) < 0.05


def share_of_colour(noun, style, colour):
    """The share of a drawing's opaque pixels in a colour, pixel by pixel."""
    count = total = 0
    for *rgb, alpha in drawing(noun, style).reshape(-1, 4).tolist():
        total += alpha > 127
        count += alpha > 127 and colour_of(*rgb) == colour
    return count / total


def colour_of(red, green, blue):
    """The word for a colour, or None for black, white and grey."""
    hue, saturation, value = (
        Image.new("RGB", (1, 1), (red, green, blue)).convert("HSV").getpixel((0, 0))
    )
    if saturation <= 60 or value <= 60:
        return None
    if hue < 30 and value < 176:
        return "brown"
    ends = {9: "red", 30: "orange", 48: "yellow", 117: "green", 181: "blue", 213: "purple"}
    for end, word in (ends | {245: "pink", 256: "red"}).items():
        if hue < end:
            return word
    return None


@pytest.mark.parametrize("name", ["val", "composition"])
def test_what_a_novelty_is_compared_with(name):
    dataset = EmojiScenes(name)
    found = Counter()
    for index in range(COUNT):
        description = dataset[index].description
        kinds = splits.compared_with(description)
        found.update(kinds)
        if name == "composition":
            assert kinds == (splits.novelty(description),)
            continue
        assert ("pair" in kinds) == (len(description.groups) == 2)
        first = description.groups[0]
        natural = set()
        for style in splits.styles_for(first.noun, "train"):
            natural |= sprites.natural_colours(first.noun, style, parts=20)
        held = [c for c in splits.held_out_colours(first.noun) if c not in natural]
        tinted = first.colour is not None and first.colour not in natural
        assert ("binding" in kinds) == (tinted and bool(held))
    assert min(found.values()) > 15


def test_what_training_shows_is_as_it_was():
    """Pixels, boxes and captions of 200 pictures, before the composition split was narrowed."""
    parts = hashlib.sha256()
    for dataset in (EmojiScenes("train"), Practice()):
        for index in range(100):
            scene = dataset[index]
            parts.update(scene.image.tobytes())
            captions = scene.captions if scene.description else None
            parts.update(repr((captions, scene.objects)).encode())
    assert parts.hexdigest()[:16] == "bc63ce54ccca39bf"


def test_all_kinds_of_scenes_occur(split):
    descriptions = [scene.description for scene in split[1]]
    assert (
        {d.background for d in descriptions} == set(backgrounds.PAINT) == set(language.BACKGROUNDS)
    )
    assert {d.relation for d in descriptions} == {None, *language.RELATIONS}
    groups = [group for d in descriptions for group in d.groups]
    assert {g.count for g in groups} == {1, 2, 3} and {g.size for g in groups} == set(scenes.PIXELS)
    assert {g.colour for g in groups} == {None, *language.COLOURS}


def test_a_tint_has_the_colour_of_its_name():
    right = []
    for noun in language.noun_table().values():
        for colour in sprites.RGB:
            if noun.tintable and colour not in noun.denied:
                image, _ = sprites.sprite(
                    EmojiScenes.draw(noun.name, "twemoji", None), 25, colour, False
                )
                right.append(colour in sprites.colours_in(image))
    assert len(right) > 1000 and np.mean(right) > 0.95


def test_what_has_one_colour_is_tinted_in_that_colour():
    flat = Image.new("RGBA", (20, 20), (90, 90, 90, 255))
    for colour, rgb in sprites.RGB.items():
        tinted, _ = sprites.sprite(flat, 20, colour, False)
        assert np.abs(np.asarray(tinted)[..., :3].astype(int) - rgb).max() <= 2, colour


def test_natural_colours():
    assert "green" in sprites.natural_colours("frog", "noto")
    assert "blue" not in sprites.natural_colours("frog", "noto")


def test_holds(split):
    for scene in split[1]:
        assert all(map(scene.holds, scene.facts))
        for thing in scene.objects:
            assert not scene.holds(("count", thing.noun, 4)) and not scene.holds(
                ("background", "moon")
            )
            natural = (
                sprites.natural_colours(thing.noun, thing.style)
                if thing.colour is None
                else {thing.colour}
            )
            others = [t.style for t in scene.objects if t.noun == thing.noun]
            for colour in language.COLOURS:
                any_style = any(
                    colour in sprites.natural_colours(thing.noun, style) for style in others
                )
                expected = colour in natural or (thing.colour is None and any_style)
                assert scene.holds(("colour", thing.noun, colour)) == expected
        if scene.description.relation:
            first, second = (group.noun for group in scene.description.groups)
            relation = scene.description.relation
            assert scene.holds(("relation", second, language.INVERSE[relation], first))
            assert not scene.holds(("relation", second, relation, first))


def test_workers_give_the_same_scenes():
    dataset = EmojiScenes("train")
    loader = DataLoader(
        dataset, batch_sampler=[[0, 1, 2], [3, 4, 5]], num_workers=2, collate_fn=list
    )
    assert [s.image.tobytes() for batch in loader for s in batch] == [
        dataset[i].image.tobytes() for i in range(6)
    ]


def _megabytes(count):
    dataset = EmojiScenes("train")
    for index in range(count):
        dataset[index].captions  # noqa: B018
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def test_memory_is_bounded():
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        few, many = pool.map(_megabytes, [1500, 6000], chunksize=1)
    assert many - few < 40, f"{few:.0f} MB after 1,500 scenes, {many:.0f} MB after 6,000"


@pytest.mark.parametrize("size", [32, 47, 64, 96, 128])
def test_any_size(size):
    for index in range(60):
        assert EmojiScenes("train", size)[index].image.shape == (size, size, 3)


def test_errors_teach():
    with pytest.raises(
        ValueError, match="unknown split 'test': choose one of train, val, composition, style"
    ):
        EmojiScenes("test")
    with pytest.raises(ValueError, match="at least 32 pixels"):
        EmojiScenes("train", 16)
    with pytest.raises(IndexError, match="counted from 0, got index -1"):
        EmojiScenes("train")[-1]


def test_an_index_is_a_whole_number():
    dataset = EmojiScenes("train")
    assert np.array_equal(dataset[np.int64(3)].image, dataset[3].image)
    for index in (1.5, "1", None, slice(0, 3)):
        with pytest.raises(TypeError):
            dataset[index]


@pytest.mark.parametrize("only", [[], ["cat"]])
def test_a_smaller_world_has_two_nouns(only):
    with pytest.raises(ValueError, match="only must be two nouns or more, in any split but"):
        EmojiScenes("train", only=only)
    with pytest.raises(ValueError, match=r"for composition"):
        EmojiScenes("composition", only=["cat", "dog"])
