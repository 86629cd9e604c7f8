"""Text to image: the small world, what may be drawn, the judges, clips, and mmcourse draw."""

import warnings
from itertools import product
from random import Random
from types import SimpleNamespace

import numpy as np
import pytest
import scipy.linalg
import torch

from mmcourse.cli import main
from mmcourse.data.language import INVERSE, RELATIONS, Description, Group, parse, plain
from mmcourse.data.splits import held_out, new_colours, novelty
from mmcourse.data.world import CELL, PIXELS, STYLE, WORLD_NOUNS, WORLD_SPLITS, DrawnWorld
from mmcourse.text_to_image import (
    CentreReader,
    centres,
    check_caption,
    checklist,
    fact_counts,
    frechet_distance,
    nearest,
    reader,
    share,
    world_vocabulary,
)
from mmcourse.text_to_image.captions import MAX_WORDS, as_words
from mmcourse.text_to_image.clips import (
    CLIP_NOUNS,
    DIRECTIONS,
    HELD_OUT,
    MovingThings,
    TextToClip,
    as_sheet,
    clip_caption,
    clip_vocabulary,
    frames_of,
    move,
    read_clip,
)
from mmcourse.text_to_image.judging import KINDS
from mmcourse.text_to_image.reader import TINTS, disturb, relation_of, say, things_in
from mmcourse.vision import ResidualBlock, to_pixels
from tests.helpers import close, randomise

# The world ------------------------------------------------------------------------------------


def test_the_world_has_forty_nouns_that_its_artist_drew():
    assert len(set(WORLD_NOUNS)) == len(WORLD_NOUNS) == 40


@pytest.mark.parametrize("split", WORLD_SPLITS)
def test_scenes_depend_on_split_and_index_and_stand_on_the_grid(split):
    world = DrawnWorld(split)
    for index in range(60):
        scene = world[index]
        assert (scene.image == DrawnWorld(split)[index].image).all()
        assert scene.image.shape == (64, 64, 3)
        corners = set()
        for thing in scene.objects:
            x0, y0, x1, y1 = thing.box
            assert thing.noun in WORLD_NOUNS and thing.style == STYLE
            assert x1 - x0 <= PIXELS and y1 - y0 <= PIXELS
            assert x0 // CELL == (x1 - 1) // CELL - (x1 - 1) // CELL + x0 // CELL
            corners.add((x0 // CELL, y0 // CELL))
        assert len(corners) == len(scene.objects)


def test_on_the_grid_a_thing_covers_nine_cells_and_none_covers_another():
    world = DrawnWorld()
    for index in range(80):
        taken = np.zeros((8, 8), int)
        for thing in world[index].objects:
            x0, y0, x1, y1 = thing.box
            column, row = (x0 + x1) // 2 // CELL - 1, (y0 + y1) // 2 // CELL - 1
            assert x0 >= 8 * column and x1 <= 8 * column + 24
            taken[row : row + 3, column : column + 3] += 1
        assert taken.max() == 1


def test_training_never_shows_what_is_held_out():
    for split in ("train", "val"):
        world = DrawnWorld(split)
        assert not any(novelty(world.describe(Random(str(index)))) for index in range(2000))
    world = DrawnWorld("composition")
    kinds = set()
    for index in range(300):
        description = world.describe(Random(str(index)))
        names = [group.noun for group in description.groups]
        kind = novelty(description)
        kinds.add(kind)
        if kind == "binding":
            assert description.groups[0].colour in new_colours(names[0])
            assert len(names) == 1 or not held_out(*names)
    assert kinds == {"pair", "binding"}
    assert (DrawnWorld("train")[0].image != DrawnWorld("val")[0].image).any()


def test_anywhere_things_vary_in_size_and_place():
    world = DrawnWorld(places="any")
    boxes = [thing.box for index in range(60) for thing in world[index].objects]
    assert len({x0 % 8 for x0, *_ in boxes}) == 8
    sizes = {max(x1 - x0, y1 - y0) for x0, y0, x1, y1 in boxes}
    assert min(sizes) <= 20 and max(sizes) >= 27


def test_another_split_is_refused():
    with pytest.raises(ValueError, match="unknown split 'style': choose one of train"):
        DrawnWorld("style")
    with pytest.raises(ValueError, match="unknown places 'free': choose one of four, grid, any"):
        DrawnWorld(places="free")
    with pytest.raises(IndexError):
        DrawnWorld()[-1]


def test_things_stand_in_four_places_as_the_caption_says():
    seen = set()
    for index in range(400):
        scene = DrawnWorld("val")[index]
        middles = []
        for number in range(len(scene.description.groups)):
            own = [thing.box for thing in scene.objects if thing.group == number]
            middles.append(np.mean([((y0 + y1) / 2, (x0 + x1) / 2) for x0, y0, x1, y1 in own], 0))
            seen |= {(x0 > 31, y0 > 31) for x0, y0, *_ in own}
        if scene.description.relation:
            assert relation_of(*middles) == scene.description.relation
    assert len(seen) == 4


def test_two_of_a_kind_stand_side_by_side_or_one_above_the_other():
    places = set()
    for index in range(300):
        scene = DrawnWorld()[index]
        if len(scene.description.groups) == 1 and scene.description.groups[0].count == 2:
            (x0, y0, *_), (x1, y1, *_) = (thing.box for thing in scene.objects)
            places.add((abs(x0 - x1) > 12, abs(y0 - y1) > 12))
    assert places == {(True, False), (False, True)}


def test_on_the_grid_things_stand_on_more_than_four_places():
    world = DrawnWorld(places="grid")
    boxes = [thing.box for index in range(80) for thing in world[index].objects]
    assert len({(x0 // 8, y0 // 8) for x0, y0, *_ in boxes}) > 16


# What may be drawn ----------------------------------------------------------------------------


def test_every_caption_of_the_world_may_be_drawn():
    known = set(world_vocabulary())
    for split in WORLD_SPLITS:
        for index in range(80):
            for caption in DrawnWorld(split)[index].captions:
                assert check_caption(caption) == caption.split()
                assert set(caption.split()) <= known
    assert "small" not in known and "tiger" not in known


def test_a_caption_as_people_type_it():
    assert as_words("Two red cars, in the snow.") == [
        "two",
        "red",
        "cars",
        ",",
        "in",
        "the",
        "snow",
    ]
    assert check_caption("A Dog") == ["a", "dog"]
    assert check_caption('"A dog; two cats!?"') == ["a", "dog", "two", "cats"]


@pytest.mark.parametrize(
    ("caption", "message"),
    [
        ("", "^the caption is empty: write, for example, 'two red cars in the snow'$"),
        ("  . ", "caption is empty"),
        (
            "dog " * 10_000,
            "at most 24 words, got 10,000: say one or two kinds of things, where they are to one "
            "another, and on which background$",
        ),
        ("a zebra in the snow", "unknown words: 'zebra'. It draws dog, cat"),
        ("four dogs", "unknown words: 'four'"),
        ("a tiger at night", "drawings of tiger, but this model never learned them"),
        ("a tiger and two volcanoes", "drawings of tiger, volcano"),
        ("一只狗在雪地里", "captions are English, got '一只狗在雪地里'"),
        ("狗 猫 " + "b" * 70, "captions are English, got '狗 猫 " + "b" * 56 + "'. It"),
        ("in the snow", "kinds of things, got 0 in 'in the snow': it can draw dog, cat, "),
        ("a dog , a cat , a pig", "one or two kinds of things, got 3"),
        ("b c d e f g h", "'b', 'c', 'd', 'e', 'f' and 2 more. It"),
        ("b c d e f g", "'b', 'c', 'd', 'e', 'f' and 1 more. It"),
        ("b c d e f", "unknown words: 'b', 'c', 'd', 'e', 'f'. It"),
        ("q" * 21, f"unknown words: '{'q' * 20}'. It"),
        ("three dogs left of three cats", "up to 3 things, got 6: ask for fewer"),
        ("a dog in the snow at night", "has one background, got night, snow"),
        (
            "a dog to the left of a dog",
            "^a relation joins two kinds of things, got one kind: say two nouns$",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_words(caption, message):
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        check_caption(caption)


def test_a_caption_of_the_most_words_may_be_drawn():
    longest = ["a"] * (MAX_WORDS - 1) + ["dog"]
    assert check_caption(" ".join(longest)) == longest
    with pytest.raises(ValueError, match="at most 24 words, got 25"):
        check_caption(" ".join(["a", *longest]))


@pytest.mark.parametrize("caption", [None, 7, ["a dog"]])
def test_what_is_no_text_is_refused(caption):
    kind = type(caption).__name__
    with pytest.raises(TypeError, match=f"must be a string, got {kind}; give many as a list"):
        check_caption(caption)


# The independent judge ------------------------------------------------------------------------


def perfect(scene):
    """What a reader without errors would give for a scene: probabilities and logits."""
    targets = centres([scene])
    nouns = torch.nn.functional.one_hot(targets["nouns"][0], 41).movedim(-1, 0).float()
    tints = torch.nn.functional.one_hot(targets["tints"][0].clamp(min=0), 9).movedim(-1, 0).float()
    return 0.9 * nouns + 0.1 / 41, tints


@pytest.mark.parametrize("split", ["val", "composition"])
def test_a_perfect_reader_says_exactly_what_is_there(split):
    world = DrawnWorld(split)
    for index in range(60):
        scene = world[index]
        reading = say(things_in(*perfect(scene)), scene.description.background)
        assert all(mark for _, mark in checklist(reading, scene)), (reading, scene.captions[0])
        counts = fact_counts([reading], [scene])[0]
        assert counts[0, 0] == counts[0, 1] and counts[0, 2] == counts[0, 3] == len(scene.facts)


def test_centres_hold_noun_tint_and_place():
    scene = DrawnWorld("val")[2]
    targets = centres([scene, scene])
    assert (targets["nouns"] > 0).sum() == 2 * len(scene.objects)
    for thing in scene.objects:
        x0, y0, x1, y1 = thing.box
        row, column = (y0 + y1) // 16, (x0 + x1) // 16
        assert WORLD_NOUNS[targets["nouns"][1, row, column] - 1] == thing.noun
        assert TINTS[targets["tints"][1, row, column]] == thing.colour
    assert ((targets["tints"] == -1) == (targets["nouns"] == 0)).all()


def test_of_two_neighbours_the_surer_is_the_thing():
    probabilities = torch.zeros(41, 8, 8)
    probabilities[0] = 1.0
    for row, column, noun, chance in (
        (2, 2, 5, 0.9),
        (2, 3, 6, 0.7),
        (6, 6, 7, 0.6),
        (0, 7, 8, 0.4),
    ):
        probabilities[0, row, column] = 1 - chance
        probabilities[noun, row, column] = chance
    tints = torch.zeros(9, 8, 8)
    tints[3, 2, 2] = 1
    found = things_in(probabilities, tints)
    assert found == [(WORLD_NOUNS[4], TINTS[3], 2, 2), (WORLD_NOUNS[6], None, 6, 6)]


def test_what_a_judge_says():
    assert say([], "snow") == "in the snow"
    assert say([("dog", "red", 1, 1), ("dog", "red", 5, 5)], "snow") == "two red dogs in the snow"
    four = [("dog", tint, 1, 1) for tint in ("red", "red", "blue", "red")]
    assert say(four, "sea") == "three red dogs at sea"
    two = [("dog", "red", 1, 1), ("dog", None, 5, 5)]
    assert say(two, "sea") == "two red dogs at sea"  # the surer one's
    assert say(two[::-1], "sea") == "two dogs at sea"
    beside = [("dog", None, 3, 1), ("cat", None, 4, 6)]
    assert say(beside, "night") == "a dog to the left of a cat at night"
    many = [*beside, ("pig", "blue", 1, 1)]
    assert say(many, "night") == "a dog , a cat , a blue pig at night"
    assert parse(say(many, "night")) >= {("object", "pig"), ("colour", "pig", "blue")}


@pytest.mark.parametrize(
    ("second", "relation"),
    [
        ((1, 5), "left of"),
        ((0, -5), "right of"),
        ((5, 1), "above"),
        ((-5, 2), "below"),
        ((0.1, 0.4), "left of"),
        ((0.4, 0.1), "above"),
        ((3, 3), "left of"),
    ],
)
def test_relations_go_along_the_longer_axis(second, relation):
    assert relation_of(np.zeros(2), np.array(second)) == relation


def test_the_reader_learns_its_targets():
    torch.manual_seed(0)
    world = DrawnWorld("train", "any")
    scenes = [world[index] for index in range(4)]
    images = np.stack([scene.image for scene in scenes])
    model = CentreReader(width=16, blocks=1)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    losses = []
    for _ in range(60):
        loss = model.loss(images, centres(scenes))
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < losses[0] / 3
    assert len(model.eval().read(images)) == 4


def test_the_loss_of_the_reader_by_hand(monkeypatch):
    monkeypatch.setattr(reader, "disturb", lambda pixels: pixels)
    scenes = [DrawnWorld("val")[index] for index in range(3)]
    images = np.stack([scene.image for scene in scenes])
    torch.manual_seed(0)
    model = CentreReader(width=16, blocks=1)
    targets = centres(scenes)
    log_probs = [part.log_softmax(1) for part in model(to_pixels(images))]
    nouns, tints, places = [], [], []
    for row, place in enumerate(targets["place"]):
        places.append(-log_probs[2][row, place])
        for y, x in np.ndindex(8, 8):
            noun, tint = targets["nouns"][row, y, x], targets["tints"][row, y, x]
            weight = 1.0 if noun else 0.2
            nouns.append((weight, -weight * log_probs[0][row, noun, y, x]))
            if tint >= 0:
                tints.append(-log_probs[1][row, tint, y, x])
    by_hand = sum(loss for _, loss in nouns) / sum(weight for weight, _ in nouns)
    by_hand = by_hand + sum(tints) / len(tints) + sum(places) / len(places)
    close(model.loss(images, targets), by_hand, 1e-5)


def test_what_a_reader_is_unless_told_otherwise():
    model = CentreReader()
    assert model.nouns.weight.shape == (1 + len(WORLD_NOUNS), 64, 1, 1)
    assert sum(isinstance(part, ResidualBlock) for part in model.features) == 2
    assert model.features(torch.randn(2, 3, 64, 64)).min() > -0.171  # a GELU's least


def test_how_pictures_are_disturbed():
    """In other light, noisy and blurred, each picture by its own numbers."""
    torch.manual_seed(0)
    grey = torch.full((4000, 3, 8, 8), 0.5)
    out = disturb(grey)
    light = out.mean((1, 2, 3))  # 0.5 a + b, with a in 0.85 to 1.15 and b in -0.1 to 0.1
    assert light.mean() == pytest.approx(0.5, abs=0.005)
    assert light.min() == pytest.approx(0.325, abs=0.03)
    assert light.max() == pytest.approx(0.675, abs=0.03)
    spread = (0.3**2 / 12 * 0.25 + 0.2**2 / 12) ** 0.5
    assert light.std() == pytest.approx(spread, abs=0.005)
    noise = out.std((1, 2, 3))  # 0 to 0.2
    assert noise.mean() == pytest.approx(0.1, abs=0.005) and 0.19 < noise.max() < 0.25
    edge, inner = out[..., 0, :].mean(), out[..., 2:6, 2:6].mean()
    assert abs(edge - inner) < 0.01  # a blur does not darken the edges
    board = ((torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2 - 1).float()
    out = disturb(board.expand(4000, 3, 8, 8))
    left = (out * board)[..., 1:7, 1:7].mean((1, 2, 3))  # a blurred board has a ninth of its height
    assert left.mean() == pytest.approx(1 - 4 / 9, abs=0.01)
    assert 0.07 < left.min() < 0.15 and 1 < left.max() < 1.2


def test_disturbed_pictures_differ_each_time_and_stay_near():
    torch.manual_seed(0)
    pixels = torch.rand(3, 3, 64, 64) * 2 - 1
    first, second = disturb(pixels), disturb(pixels)
    assert (first - second).abs().mean() > 0.02
    assert (first - pixels).abs().mean() < 0.8


# Counting -------------------------------------------------------------------------------------

SCENE = SimpleNamespace(
    description=Description(
        (Group("car", 2, "red"), Group("dog")), "left of", "snow"
    )
)  # fmt: skip
SCENE.facts = SCENE.description.facts
SCENE.holds = lambda fact: fact in SCENE.facts


def test_facts_by_hand():
    reading = "two blue cars to the left of a cat in the snow"
    counts = fact_counts([reading], [SCENE])[0]
    by_kind = dict(zip(("all", *KINDS), counts.tolist(), strict=True))
    assert by_kind["object"] == [1, 2, 1, 2]  # car is right, cat wrong, dog missed
    assert by_kind["count"] == [1, 2, 1, 2]
    assert by_kind["colour"] == [0, 1, 0, 1]
    assert by_kind["relation"] == [0, 1, 0, 1]
    assert by_kind["background"] == [1, 1, 1, 1]
    assert by_kind["all"] == [3, 7, 3, 7]
    with pytest.raises(ValueError, match="argument 2 is longer"):
        fact_counts([reading], [SCENE, SCENE])


def test_what_is_true_by_nature_counts_for_precision_only():
    scene = next(s for s in map(DrawnWorld("val").__getitem__, range(99)) if not any(
        group.colour for group in s.description.groups) and s.holds(
            ("colour", s.description.groups[0].noun, "red")))  # fmt: skip
    reading = plain(scene.description).replace(
        scene.description.groups[0].noun, f"red {scene.description.groups[0].noun}", 1
    )
    counts = dict(zip(("all", *KINDS), fact_counts([reading], [scene])[0].tolist(), strict=True))
    assert counts["colour"] == [1, 1, 0, 0]


def test_a_checklist_by_hand():
    found = checklist("a dog to the right of two red cars", SCENE)
    assert found == [
        ("object: car", True),
        ("object: dog", True),
        ("count: car 2", True),
        ("count: dog 1", True),
        ("colour: car red", True),
        ("relation: car left of dog", True),
        ("background: snow", False),
    ]


@pytest.mark.parametrize("relation", INVERSE)
@pytest.mark.parametrize("nouns", [("car", "dog"), ("dog", "car")])
def test_a_relation_that_is_not_said_is_missed(relation, nouns):
    first, second = nouns
    description = Description((Group(first), Group(second)), relation, "snow")
    scene = SimpleNamespace(facts=description.facts, holds=lambda fact: fact in description.facts)
    name = f"relation: {first} {relation} {second}"
    both = f"a {first} and a {second} in the snow"
    assert dict(checklist(both, scene)) == {
        f"object: {first}": True,
        f"object: {second}": True,
        f"count: {first} 1": True,
        f"count: {second} 1": True,
        name: False,
        "background: snow": True,
    }
    words = RELATIONS[relation][1][0]
    assert dict(checklist(f"a {first} {words} a {second} in the snow", scene))[name]
    words = RELATIONS[INVERSE[relation]][1][0]
    assert dict(checklist(f"a {second} {words} a {first} in the snow", scene))[name]


def test_shares_are_of_all_facts_and_their_interval_by_caption():
    table = np.zeros((3, 6, 4), int)
    table[:, 0] = [[1, 2, 1, 4], [3, 3, 3, 4], [0, 0, 0, 4]]
    table[:, 1] = [[1, 1, 1, 1], [0, 1, 0, 1], [0, 0, 0, 1]]
    assert share(table, draws=50).value == pytest.approx(4 / 5)
    assert share(table, recall=True, draws=50).value == pytest.approx(4 / 12)
    assert share(table, "object", draws=50).value == pytest.approx(1 / 2)
    seeds = np.stack([table, table, table])
    nothing = np.zeros((3, 6, 4), int)
    nothing[0] = [[1, 1, 1, 1]] * 6
    assert share(nothing, draws=50).value == 1  # one fact in all
    assert len(share(table).draws) == 1000 and len(share(table, draws=20).draws) == 20
    once, thrice = share(table, draws=300), share(seeds, draws=300)
    assert (once.low, once.high) == (thrice.low, thrice.high)  # seeds are no more captions


@pytest.mark.parametrize(("n", "width"), [(9, 3), (40, 7), (12, 1)])
def test_the_frechet_distance_equals_scipys_root(n, width):
    dice = np.random.default_rng(n)
    a = dice.normal(size=(n, width)) @ dice.normal(size=(width, width))
    b = dice.normal(1, 2, size=(n + 5, width))
    C1, C2 = (np.cov(cloud.T).reshape(width, width) for cloud in (a, b))
    root = scipy.linalg.sqrtm(C1 @ C2).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(C1 + C2 - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(expected, abs=1e-6)
    assert frechet_distance(a, b) == pytest.approx(frechet_distance(b, a), abs=1e-8)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(a, a + 2) == pytest.approx(4 * width, abs=1e-6)
    few = dice.normal(size=(3, 9))  # fewer points than features: roots of 0, give or take
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-5)
    assert frechet_distance(few, few + 1) == pytest.approx(9, abs=1e-5)


def test_clouds_that_do_not_pair_are_refused():
    with pytest.raises(ValueError, match="two clouds"):
        frechet_distance(np.zeros((4, 3)), np.zeros((4, 2)))
    with pytest.raises(ValueError, match="two clouds"):
        frechet_distance(np.zeros((4, 3)), np.zeros((2, 3, 1)))
    expected = "^a cloud needs two points or more to have a covariance, got one$"
    with pytest.raises(ValueError, match=expected):
        frechet_distance(np.zeros((1, 3)), np.zeros((4, 3)))
    assert frechet_distance([[0, 0], [2, 0]], [[1, 0], [3, 0]]) == pytest.approx(1)  # two suffice


@pytest.mark.parametrize("batch", [2, 3, 100])
def test_the_nearest_picture_is_the_nearest(batch):
    dice = np.random.default_rng(0)
    known = dice.integers(0, 256, size=(7, 8, 8, 3), dtype=np.uint8)
    known[6] = known[0]  # of two alike the first
    images = known[[5, 0, 3]].copy()
    images[0] = images[0] // 2 + 60
    number, gap = nearest(images, known, batch)
    table = np.array(
        [[np.sqrt(((a.astype(float) - b) ** 2).mean()) for b in known] for a in images]
    )
    assert number.tolist() == table.argmin(1).tolist()
    assert gap == pytest.approx(table.min(1), abs=1e-2)
    large = dice.integers(0, 256, size=(20, 64, 64, 3), dtype=np.uint8)
    number, gap = nearest(large, large, batch)
    assert number.tolist() == list(range(20)) and (gap < 0.1).all()  # of itself, rounding or not


# Clips ----------------------------------------------------------------------------------------


def read_place(frame):
    """The first row in which something stands, and the first column."""
    there = np.abs(frame.astype(int) - frame[0, -1]).sum(-1) > 60
    return there.any(1).argmax(), there.any(0).argmax()


def test_clips_move_where_they_say_and_the_judge_reads_them():
    for pair in [("star", "left"), ("apple", "down"), ("house", "up"), ("car", "right")]:
        clip = move(*pair, Random(1))
        assert clip.frames.shape == (9, 32, 32, 3)
        assert read_clip(clip.frames) == pair
        assert read_clip(clip.frames[::-1])[1] != pair[1]
    for number, (noun, direction) in enumerate(product(CLIP_NOUNS, DIRECTIONS)):
        assert read_clip(move(noun, direction, Random(number)).frames) == (noun, direction)
    empty = np.full((9, 32, 32, 3), 240, np.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_clip(empty)[1] == "left"  # of nothing it says something, and does not fail
    mixed = move("star", "up", Random(0)).frames
    mixed[4] = move("car", "up", Random(0)).frames[4]
    assert read_clip(mixed) == ("car", "up")  # the noun is that of the frame in the middle
    assert clip_caption("apple", "up") == "an apple moves up"
    assert clip_caption("umbrella", "up") == "an umbrella moves up"
    places = {tuple(read_place(move("car", "left", Random(n)).frames[0])) for n in range(200)}
    assert len(places) == 17  # every height at which it fits into the frame
    assert move("car", "left", Random(0)).caption == "a car moves left"


def test_some_pairs_are_held_out_of_clips():
    train, new = MovingThings(), MovingThings("composition")
    shown = {(train[i].noun, train[i].direction) for i in range(300)}
    assert shown == {(n, d) for n in CLIP_NOUNS for d in DIRECTIONS} - HELD_OUT
    assert {(new[i].noun, new[i].direction) for i in range(60)} == HELD_OUT
    assert (train[3].frames == MovingThings()[3].frames).all()
    pairs = [(clip.noun, clip.direction) for clip in map(train.__getitem__, range(20))]
    other = MovingThings("composition")
    other.pairs = train.pairs
    assert [(clip.noun, clip.direction) for clip in map(other.__getitem__, range(20))] != pairs
    with pytest.raises(ValueError, match="choose train or composition"):
        MovingThings("val")


def test_a_sheet_and_its_frames():
    frames = np.random.default_rng(0).integers(0, 256, (9, 4, 5, 3))
    sheet = as_sheet(frames)
    assert sheet.shape == (12, 15, 3)
    assert (sheet[4:8, 10:15] == frames[5]).all()
    assert (frames_of(sheet) == frames).all()


def test_clips_are_drawn_as_sheets(tmp_path):
    torch.manual_seed(0)
    model = TextToClip(clip_vocabulary(), 5, 24, width=8, layers=1, heads=2, side=12).eval()
    films = model.film(["a star moves up", "an apple moves left"], steps=1)
    assert films.shape == (2, 9, 32, 32, 3)
    assert (films[1] == frames_of(model.draw("an apple moves left", seed=1, steps=1))).mean() > 0.99
    model.save_pretrained(tmp_path)
    assert TextToClip.from_pretrained(tmp_path).film(["a star moves up"], steps=1).shape[0] == 1
    shown = r"A clip shows a NOUN moves DIRECTION, with heart, star, .*, house$"
    with pytest.raises(ValueError, match=rf"^unknown words: dog, runs\. {shown}"):
        model.draw("a dog runs up")
    with pytest.raises(ValueError, match=rf"^unknown words: none at all\. {shown}"):
        model.draw("")
    randomise(model)
    usual = model.film(["a star moves up"])
    assert (usual == model.film(["a star moves up"], 0, 20, 2.0)).all()
    for other in ((1, 20, 2.0), (0, 21, 2.0), (0, 20, 3.0)):
        assert (usual != model.film(["a star moves up"], *other)).any(), other


# The command ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a", "dog"], 'quotation marks: mmcourse draw "a dog"'),
        (["a dog", "--out", "dog.svg"], "--out writes .png"),
        (["a dog", "--guidance", "99"], "--guidance lies between -20 and 20, got 99"),
        (["a dog", "--guidance", "nan"], "--guidance lies between"),
        (["a dog", "--size", "4097"], "--size is at most 4096, got 4097"),
        (["a dog", "--seed", str(2**63)], "--seed is at most 9223372036854775807, got"),
        (["a zebra"], "unknown words: 'zebra'"),
        (["a dog", "--model", "gpt"], "'gpt' is a GPT and draws nothing"),
    ],
)
def test_bad_use_is_refused_in_one_line(arguments, message, capsys):
    assert main(["draw", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("mmcourse draw: ") and message in error and error.count("\n") == 1


@pytest.mark.parametrize("option", ["--steps", "--size"])
def test_numbers_begin_at_one(option, capsys):
    with pytest.raises(SystemExit):
        main(["draw", "a dog", option, "0"])
    assert option in capsys.readouterr().err
