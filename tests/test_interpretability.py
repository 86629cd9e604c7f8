"""Maps, curves, probes, patches, people and privacy, each against plain arithmetic."""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from scipy.stats import rankdata, spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_curve

from mmcourse import gpt
from mmcourse.captioning import START
from mmcourse.data import EmojiScenes
from mmcourse.data.drawings import nouns
from mmcourse.data.sprites import artwork
from mmcourse.evaluation import fact_score
from mmcourse.hub import load
from mmcourse.interpretability import (
    METHODS,
    PARTS,
    PEOPLE,
    TONES,
    Redrawn,
    area,
    as_rows,
    attention,
    attention_rollout,
    boxes_of,
    categories,
    cells_in,
    centre_map,
    contexts,
    control_task,
    covered,
    deletion,
    exposure,
    first_word,
    fit_probe,
    grad_cam,
    gradient,
    insertion,
    integrated_gradients,
    labelled_cells,
    layer_cells,
    logit_lens,
    mean_by_scene,
    memorise,
    occlusion,
    patched,
    peak,
    place_of,
    points_at,
    privacy,
    randomised,
    restored,
    roc,
    rollout,
    skin_of,
    spearman,
    swapped,
    things_named,
    to_cells,
    toned,
    true_at,
    with_person,
    word_ids,
    word_map,
    word_score,
)
from mmcourse.interpretability.causal import LAYERS, check_layer, listening
from mmcourse.interpretability.measures import ranks
from mmcourse.interpretability.people import is_person, skin_colour
from mmcourse.interpretability.probes import LAYERS as PROBED
from tests.helpers import close

VAL = EmojiScenes("val")
TENNIS = VAL[2]  # two things


@pytest.fixture(scope="module")
def model():
    return load("scenes").eval().requires_grad_(False)


@pytest.fixture(scope="module")
def twice(model):
    """The same in double precision."""
    return load("scenes").double().eval().requires_grad_(False)


def pixels_of(model, *scenes):
    return model.pixels_of(np.stack([scene.image for scene in scenes]))


def with_two_things(count=1, start=0):
    found = [VAL[index] for index in range(start, start + 40)]
    return [scene for scene in found if len(scene.description.groups) == 2][:count]


# ---- words


def test_nouns_are_found_where_they_stand_the_longest_first():
    words = ["two", "police", "cars", "left", "of", "an", "ice", "cream", "cone", "at", "night"]
    assert [tuple(thing) for thing in things_named(words)] == [
        (1, 3, "police car"),
        (6, 9, "ice cream cone"),
    ]
    assert place_of("ice cream cone", words) == 6
    assert things_named([]) == []


def test_each_noun_of_a_scene_is_found_in_its_captions():
    for scene in (VAL[index] for index in range(30)):
        for caption in scene.captions:
            named = {thing.noun for thing in things_named(caption.split())}
            assert named == {group.noun for group in scene.description.groups}


def test_a_word_that_the_caption_does_not_hold():
    with pytest.raises(ValueError, match="does not name 'cat': it names dog, bus"):
        place_of("cat", ["a", "dog", "above", "a", "bus"])
    with pytest.raises(ValueError, match="it names nothing"):
        place_of("cat", ["is"])


def test_a_picture_without_the_thing():
    scene = with_two_things()[0]
    names = sorted({thing.noun for thing in scene.objects})
    with pytest.raises(ValueError, match=f"has no 'volcano', so no box: it has {names[0]}"):
        boxes_of(scene, "volcano")
    assert boxes_of(scene, names[0]) == [t.box for t in scene.objects if t.noun == names[0]]
    with pytest.raises(ValueError, match="no box to point at"):
        points_at(torch.rand(64), [], 64)


def test_score_is_the_log_probability_of_the_word(twice):
    scenes = [VAL[index] for index in (0, 5, 9)]
    pixels = pixels_of(twice, *scenes)
    words = ["two", "open", "books", "on", "a", "road", "<end>"]
    for place in (0, 2, 6):
        found = word_score(twice, words, place)(pixels)
        memory = twice.encode(np.stack([scene.image for scene in scenes]))
        ids = [START, *(twice.ids[word] for word in words)]
        logits = twice.decode(memory, torch.tensor([ids[:-1]] * 3))[:, place]
        expected = logits.softmax(-1)[:, ids[place + 1]].log()
        close(found, expected)


def test_places_and_words_that_are_not_there(model):
    for place in (-1, 3):
        with pytest.raises(ValueError, match=f"3 words, counted from 0, got place {place}"):
            word_score(model, ["a", "dog", "<end>"], place)
    with pytest.raises(ValueError, match="'xylophone' is no word of the model"):
        word_score(model, ["a", "xylophone"], 1)
    word_score(model, ["a", "xylophone"], 0)  # it comes later


# ---- maps


def quadratic(pixels):
    """A score with a gradient that is known: the sum of squares, channels weighted 1, 2, 3."""
    weights = torch.tensor([1.0, 2.0, 3.0], dtype=pixels.dtype)
    return (pixels**2 * weights[:, None, None]).sum((1, 2, 3))


def test_gradient_and_integrated_gradients_of_a_known_function():
    pixels = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    weights = torch.tensor([1.0, 2.0, 3.0])[:, None, None].double()
    close(gradient(quadratic, pixels), 2 * weights * pixels)
    baseline = torch.randn_like(pixels)
    for steps in (1, 5):  # the gradient is linear, so the middle is exact
        found = integrated_gradients(quadratic, pixels, baseline, steps)
        close(found, weights * (pixels**2 - baseline**2))
    assert not pixels.requires_grad
    with pytest.raises(ValueError, match="at least one step, got 0"):
        integrated_gradients(quadratic, pixels, steps=0)


def test_integrated_gradients_are_complete(twice):
    scene = VAL[1]
    words = twice.caption(scene.image, "greedy").tokens
    score = word_score(twice, words, things_named(words)[0].place)
    pixels = pixels_of(twice, scene)
    change = (score(pixels) - score(torch.zeros_like(pixels))).item()
    gaps = []
    for steps in (8, 64):
        total = integrated_gradients(score, pixels, steps=steps).sum().item()
        gaps.append(abs(total - change) / abs(change))
    assert gaps[1] < 0.05 and gaps[1] <= gaps[0] + 1e-3
    assert abs(change) > 1


def test_occlusion_of_a_known_function():
    pixels = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    weights = torch.tensor([1.0, 2.0, 3.0])[:, None, None].double()
    own = (pixels**2 * weights).sum(1).unflatten(1, (3, 2)).unflatten(3, (3, 2)).sum((2, 4))
    close(occlusion(quadratic, pixels, 2, 1), own.flatten(1))
    whole = quadratic(pixels)
    close(occlusion(quadratic, pixels, 2, 3), whole[:, None].expand(2, 9))
    corner = own[:, :2, :2].sum((1, 2))
    close(occlusion(quadratic, pixels, 2, 2)[:, 0], corner)
    for window in (0, 4):
        with pytest.raises(ValueError, match=f"from 1 to 3 cells along a side, got {window}"):
            occlusion(quadratic, pixels, 2, window)


def test_attention_is_that_of_the_caption(model):
    scene = with_two_things()[0]
    caption = model.caption(scene.image, "greedy")
    pixels = pixels_of(model, scene)
    for place in (0, 3, len(caption.tokens) - 1):
        own = caption.attention[:, :, place]  # (layers, H, N)
        close(attention(model, pixels, caption.tokens, place)[0], own.mean((0, 1)), 1e-5)
        found = attention(model, pixels, caption.tokens, place, layer=1, head=2)[0]
        close(found, own[1, 2], 1e-5)
        found = attention(model, pixels, caption.tokens, place, head=3)[0]
        close(found, own[:, 3].mean(0), 1e-5)


@pytest.mark.parametrize(
    ("name", "number", "count"), [("layer", 2, 2), ("head", 4, 4), ("head", -1, 4)]
)
def test_a_layer_or_head_that_is_not_there(model, name, number, count):
    pixels = pixels_of(model, VAL[0])
    message = f"the decoder has {count} {name}s, from 0 to {count - 1}, got {number}"
    with pytest.raises(ValueError, match=message):
        attention(model, pixels, ["a", "dog"], 1, **{name: number})


@pytest.mark.parametrize("shape", [(1, 1, 3, 5), (2, 3, 2, 7), (3, 2, 1, 1)])
def test_rollout_is_a_sum_over_ways(shape):
    batch, layers, heads, size = shape
    weights = torch.rand(batch, layers, heads, size, size, dtype=torch.float64).softmax(-1)
    found = rollout(weights)
    close(found.sum(-1), torch.ones(batch, size, dtype=torch.float64))
    steps = 0.5 * weights.mean(2) + 0.5 * torch.eye(size).double()
    for row, start, end in product(range(batch), range(size), range(size)):
        total = 0.0
        for way in product(range(size), repeat=layers - 1):
            stops = [start, *way, end]  # from the last layer down to the first
            part = 1.0
            for layer in range(layers):
                part *= steps[row, layers - 1 - layer, stops[layer], stops[layer + 1]].item()
            total += part
        assert math.isclose(found[row, start, end].item(), total, rel_tol=1e-9)


def test_rollout_through_the_encoder(twice):
    scene = VAL[3]
    pixels = pixels_of(twice, scene)
    words = twice.caption(scene.image, "greedy").tokens
    features = twice.convolutions(pixels)
    nouns_seen = twice.noun_embedding(twice.noun_head(features).softmax(-1))
    x = features + twice.grid_positions + nouns_seen
    layer = twice.encoder.layers[0]
    _, weights = layer.attention(layer.norm1(x), return_weights=True)
    mixed = 0.5 * weights.mean(1)[0] + 0.5 * torch.eye(64).double()
    looks = attention(twice, pixels, words, 2)[0]
    found = attention_rollout(twice, pixels, words, 2)
    close(found[0], looks @ mixed)
    assert not torch.allclose(found[0], looks, atol=1e-4)
    assert not twice.encoder._forward_pre_hooks


def test_grad_cam_leaves_no_hook_and_is_not_below_zero(model):
    scene = VAL[3]
    words = model.caption(scene.image, "greedy").tokens
    pixels = pixels_of(model, scene)
    found = grad_cam(word_score(model, words, 1), pixels, model.convolutions.stages)
    assert found.shape == (1, 64) and found.min() == 0 and not found.requires_grad
    assert not model.convolutions.stages._forward_hooks
    with pytest.raises(RuntimeError):
        grad_cam(broken, pixels, model.convolutions.stages)
    assert not model.convolutions.stages._forward_hooks


def broken(*given):
    raise RuntimeError("a score that fails")


def test_cells_sum_their_pixels():
    values = torch.randn(2, 3, 6, 6, dtype=torch.float64)
    found = to_cells(values, 2)
    assert found.shape == (2, 9)
    close(found[1, 5], values[1, :, 2:4, 4:6].sum())


def test_each_method_gives_a_map_of_the_right_sign(model):
    scene = with_two_things()[0]
    words = model.caption(scene.image, "greedy").tokens
    place = things_named(words)[0].place
    score = word_score(model, words, place)
    pixels = pixels_of(model, scene)
    maps = {name: word_map(name, model, score, pixels, words, place) for name in METHODS}
    assert all(cells.shape == (1, 64) for cells in maps.values())
    for name in ("attention", "rollout", "gradient", "Grad-CAM"):
        assert maps[name].min() >= 0
    for name in ("gradient x input", "integrated gradients", "occlusion"):
        assert maps[name].min() < 0 < maps[name].max()
    close(maps["gradient"], to_cells(gradient(score, pixels).abs(), 8), 1e-6)
    with pytest.raises(ValueError, match="unknown method 'lime': choose one of attention"):
        word_map("lime", model, score, pixels, words, place)


def test_a_map_does_not_depend_on_the_rest_of_the_batch(twice):
    first, second = with_two_things(2)
    words = twice.caption(first.image, "greedy").tokens
    score = word_score(twice, words, 1)
    alone, both = pixels_of(twice, first), pixels_of(twice, first, second)
    for name in METHODS:
        one = word_map(name, twice, score, alone, words, 1)
        close(word_map(name, twice, score, both, words, 1)[:1], one, 1e-8)


# ---- measures


def test_peak_is_the_middle_of_its_cell():
    cells = torch.zeros(16)
    cells[7] = 1.0  # row 1, column 3 of 4
    assert peak(cells, 32) == (28.0, 12.0)
    assert points_at(cells, [(0, 0, 4, 4), (28, 12, 29, 13)], 32)
    assert not points_at(cells, [(29, 12, 32, 13)], 32)
    assert not points_at(cells, [(20, 8, 28, 32)], 32)  # x1 is exclusive


def test_centre_is_in_the_middle_for_odd_and_even_sides():
    assert centre_map(5).argmax() == 12
    assert centre_map(4).argmax() in (5, 6, 9, 10)
    ring = centre_map(5)
    assert ring[0] < ring[6] < ring[12]


def test_covering_takes_the_largest_first():
    pixels = torch.ones(1, 3, 8, 8)
    cells = torch.arange(16.0)
    steps = covered(pixels, cells, 4)
    assert steps.shape == (5, 3, 8, 8)
    assert [int((step == 0).sum()) for step in steps] == [0, 48, 96, 144, 192]
    assert (steps[1][:, 6:] == 0).all()  # the last row of cells
    for cuts in (0, 3, 32):
        with pytest.raises(ValueError, match=f"cuts must divide the 16 cells, got {cuts}"):
            covered(pixels, cells, cuts)


def test_deletion_and_insertion_of_a_known_function():
    def score(pixels):  # the log of the share of the upper left quarter that is left
        return (pixels[:, :, :4, :4].mean((1, 2, 3)) + 1e-12).log()

    pixels = torch.ones(1, 3, 8, 8, dtype=torch.float64)
    quarter = torch.zeros(4, 4).double()
    quarter[:2, :2] = 1.0
    cells = (quarter + torch.linspace(0, 0.1, 16).reshape(4, 4)).flatten()
    close(deletion(score, pixels, cells, 4), torch.tensor([1.0, 0, 0, 0, 0]).double())
    close(insertion(score, pixels, cells, 4), torch.tensor([0.0, 1, 1, 1, 1]).double())
    close(deletion(score, pixels, -cells, 4), torch.tensor([1.0, 1, 1, 1, 0]).double())
    assert area(torch.tensor([1.0, 0, 0, 0, 0])) == 0.125
    assert area(torch.tensor([0.0, 1.0])) == 0.5


@pytest.mark.parametrize("size", [3, 8, 25])
def test_rank_correlation_equals_scipy(size):
    draws = np.random.default_rng(size)
    first, second = draws.integers(0, 5, size=(2, size)).astype(float)
    first[0], second[-1] = 9, 9
    assert np.array_equal(ranks(torch.tensor(first)), rankdata(first))
    expected = spearmanr(first, second).statistic
    assert math.isclose(spearman(torch.tensor(first), torch.tensor(second)), expected)
    assert spearman(torch.ones(4), torch.rand(4)) == 0.0


def test_scenes_are_redrawn_whole():
    values, scenes = [1, 1, 1, 0, 0, 0, 1, 1], [7, 7, 7, 3, 3, 3, 9, 9]
    found = mean_by_scene(values, scenes, draws=300)
    assert found.value == 5 / 8 and 0 <= found.low < found.value < found.high <= 1
    possible = {(3 * a + 2 * c) / (3 * a + 3 * b + 2 * c)
                for a, b, c in product(range(4), repeat=3) if a + b + c == 3}  # fmt: skip
    assert all(min(abs(draw - one) for one in possible) < 1e-12 for draw in found.draws)
    assert mean_by_scene([0.5, 0.5], [0, 1]).high == 0.5


def test_randomised_parts_are_new_and_the_rest_is_not(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    for count in range(len(PARTS) + 1):
        other = randomised(model, PARTS[:count], 0).state_dict()
        changed = {name for name in before if not torch.equal(before[name], other[name])}
        owners = {name.split(".")[0] for name in changed}
        expected = {"output", "decoder", "encoder", "convolutions"} & set(PARTS[:count])
        if "convolutions" in expected:
            expected |= {"noun_head", "noun_embedding"}
        assert owners == expected
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(state, torch.random.get_rng_state())
    first, second = (randomised(model, ("output",), seed).output.weight for seed in (0, 1))
    assert not torch.equal(first, second)
    with pytest.raises(ValueError, match="no part 'eye' of a captioner: choose of output"):
        randomised(model, ("eye",), 0)


# ---- probes


def test_layers_of_cells(model):
    images = np.stack([VAL[index].image for index in range(3)])
    widths = {"pixels": 192, "stage 1": 32, "stage 2": 64, "stage 3": 128}
    for layer in PROBED:
        cells = layer_cells(model, images, layer)
        assert cells.shape == (3, 64, widths.get(layer, 128))
    pixels = model.pixels_of(images)
    patch = layer_cells(model, images, "pixels")[1, 10]  # row 1, column 2
    close(patch, pixels[1, :, 8:16, 16:24].flatten())
    stages = model.convolutions.stages
    first = stages[0](pixels)[2, :, 4:8, 0:4].mean((1, 2))
    close(layer_cells(model, images, "stage 1")[2, 8], first, 1e-5)
    third = stages[:-2](pixels)  # all but the norm and the GELU
    close(layer_cells(model, images, "stage 3"), third.flatten(2).transpose(1, 2), 1e-5)
    close(layer_cells(model, images, "memory"), model.encode(images), 1e-5)
    with pytest.raises(ValueError, match="unknown layer 'stage 4': choose one of pixels"):
        layer_cells(model, images, "stage 4")


def test_labelled_cells_are_those_in_boxes(model):
    scenes = [VAL[index] for index in range(5)]
    cells = labelled_cells(model, scenes, "features", size=2)
    names = [noun.name for noun in nouns()]
    whole = layer_cells(model, np.stack([scene.image for scene in scenes]), "features")
    assert len(cells.values) == len(cells.nouns) == len(cells.scenes)
    for number, scene in enumerate(scenes):
        own = cells.scenes == number
        assert {names[noun] for noun in cells.nouns[own]} <= {t.noun for t in scene.objects}
        rows = cells.values[torch.from_numpy(own)]
        distances = (rows[:, None] - whole[number]).abs().amax(-1).amin(1)
        assert len(rows) > 0 and distances.max() < 1e-3


def test_control_tasks_deal_the_same_answers_to_other_nouns():
    true = categories()
    assert len(true) == len(nouns()) and true.max() + 1 == len({n.category for n in nouns()})
    same = [noun.category == nouns()[0].category for noun in nouns()]
    assert np.array_equal(true == true[0], same)
    tasks = [control_task(true, seed) for seed in (0, 0, 1)]
    assert np.array_equal(tasks[0], tasks[1]) and not np.array_equal(tasks[0], tasks[2])
    for task in tasks:
        assert np.array_equal(np.bincount(task), np.bincount(true))
        assert (task == true).mean() < 0.3


@pytest.mark.parametrize("shape", [(40, 5, 3), (90, 5, 4), (61, 7, 5)])
def test_probe_equals_scikit_learn(shape):
    count, width, classes = shape
    torch.manual_seed(count)
    values = torch.randn(count, width, dtype=torch.float64) * 3 + 1
    labels = (values[:, :classes] + torch.randn(count, classes)).argmax(1).numpy()
    decay = 0.05
    probe = fit_probe(values, labels, classes, decay=decay, steps=500)
    x = ((values - values.mean(0)) / values.std(0)).numpy()
    theirs = LogisticRegression(C=1 / (decay * count), tol=1e-10, max_iter=5000).fit(x, labels)
    scores = x @ probe.weight.numpy() + probe.bias.numpy()
    found = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    expected = theirs.predict_proba(x)
    assert np.abs(found - expected).max() < 1e-4
    assert np.array_equal(probe.predict(values), theirs.predict(x))


# ---- causes


def test_a_redrawn_scene_differs_in_its_things_alone():
    index, scene = next(
        (i, VAL[i]) for i in range(80) if any(t.noun == "dog" for t in VAL[i].objects) or i == 79
    )
    was = scene.objects[0].noun
    same = Redrawn("val", artwork)[index]
    assert np.array_equal(same.image, scene.image) and same == replace(scene, image=same.image)
    other = swapped("val", index, was, "volcano")
    boxes = boxes_of(scene, was) + boxes_of(other, "volcano")
    inside = np.zeros((64, 64), bool)
    for x0, y0, x1, y1 in boxes:
        inside[max(0, y0 - 2) : y1 + 2, max(0, x0 - 2) : x1 + 2] = True
    changed = (other.image != scene.image).any(-1)
    assert changed.any() and not (changed & ~inside).any()


def test_a_swapped_scene_tells_the_new_truth():
    for scene, index in [(VAL[i], i) for i in range(12)]:
        was = scene.description.groups[0].noun
        other = swapped("val", index, was, "church")
        assert ("object", "church") in other.facts and ("object", was) not in other.facts
        assert len(other.facts) == len(scene.facts)
        assert fact_score(other.captions[0], other).precision == 1.0
        assert [o.box for o in other.objects if o.noun != "church"] == [
            o.box for o in scene.objects if o.noun != was
        ]


def test_swaps_that_cannot_be():
    scene = with_two_things()[0]
    index = int(scene.key.split("/")[1])
    first, second = (group.noun for group in scene.description.groups)
    with pytest.raises(ValueError, match="has no 'tornado', so no box"):
        swapped("val", index, "tornado", "church")
    with pytest.raises(ValueError, match=f"has '{second}' already"):
        swapped("val", index, first, second)
    with pytest.raises(ValueError, match="unknown noun 'churhc': did you mean church"):
        swapped("val", index, first, "churhc")
    assert swapped("val", index, first, first).facts == scene.facts


def test_first_words():
    assert first_word("police car", False) == "police" and first_word("man", True) == "men"


def test_cells_in_boxes():
    found = cells_in([(0, 0, 8, 8), (15, 24, 17, 25)], 4, 32).reshape(4, 4)
    assert found.nonzero().tolist() == [[0, 0], [3, 1], [3, 2]]


@pytest.fixture(scope="module")
def pair(twice):
    """Two scenes that differ in one noun, and a caption of the first."""
    scene = VAL[1]  # a wolf on plain paper
    was = scene.objects[0].noun
    other = swapped("val", 1, was, "church")
    words = [*scene.captions[0].split(), "<end>"]
    return words, place_of(was, words), *(pixels_of(twice, each) for each in (scene, other))


def test_patching_nothing_and_everything(twice, pair):
    words, place, pixels, source = pair
    nothing, everything = torch.zeros(64, dtype=torch.bool), torch.ones(64, dtype=torch.bool)
    own = word_score(twice, words, place)
    target = twice.ids[words[place]]
    for layer in LAYERS:
        same = patched(twice, words, place, pixels, source, layer, nothing)
        close(same[target], own(pixels)[0])
        swap = patched(twice, words, place, pixels, source, layer, everything)
        if layer != "decoder 1":  # whose second layer goes on looking at the first picture
            close(swap[target], own(source)[0])
        close(swap.exp().sum(), torch.tensor(1.0).double())
        assert not torch.allclose(same, swap, atol=1e-2)
    for part in twice.decoder.layers:
        assert not part._forward_hooks


def test_patching_cells_changes_these_cells_alone(twice, pair):
    words, place, pixels, source = pair
    cells = torch.zeros(64, dtype=torch.bool)
    cells[[9, 30]] = True
    mixed = pixels.clone()
    mixed[:, :, 8:16, 8:16] = source[:, :, 8:16, 8:16]
    mixed[:, :, 24:32, 48:56] = source[:, :, 24:32, 48:56]
    expected = word_score(twice, words, place)(mixed)[0]
    found = patched(twice, words, place, pixels, source, "pixels", cells)
    close(found[twice.ids[words[place]]], expected)
    memory = twice.relate(twice.convolutions(pixels))
    memory[:, cells] = twice.relate(twice.convolutions(source))[:, cells]
    ids = [START, *(twice.ids[word] for word in words[:place])]
    logits = twice.decode(memory, torch.tensor([ids]))[0, -1]
    found = patched(twice, words, place, pixels, source, "memory", cells)
    close(found, logits.log_softmax(-1))
    features = twice.convolutions(pixels).clone()
    features[:, cells] = twice.convolutions(source)[:, cells]
    logits = twice.decode(twice.relate(features), torch.tensor([ids]))[0, -1]
    found = patched(twice, words, place, pixels, source, "features", cells)
    close(found, logits.log_softmax(-1))


def test_patching_the_first_layer_replaces_the_last_state(twice, pair):
    words, place, pixels, source = pair
    ids = torch.tensor([[START, *(twice.ids[word] for word in words[:place])]])
    memories = [twice.relate(twice.convolutions(each)) for each in (pixels, source)]
    x = twice.embedding(ids) + twice.positions[:, : ids.shape[1]]
    states = [twice.decoder.layers[0](x, memory) for memory in memories]
    joined = torch.cat([states[0][:, :-1], states[1][:, -1:]], 1)
    last = twice.decoder.layers[1](joined, memories[0])[:, -1]
    expected = twice.output(twice.decoder.norm(last))[0].log_softmax(-1)
    everything = torch.ones(64, dtype=torch.bool)
    close(patched(twice, words, place, pixels, source, "decoder 1", everything), expected)


def test_a_state_is_replaced_where_any_cell_is(twice, pair):
    words, place, pixels, source = pair
    some = torch.arange(64) == 17
    for layer in LAYERS[3:]:
        whole = patched(twice, words, place, pixels, source, layer, some | True)
        close(patched(twice, words, place, pixels, source, layer, some), whole)


def test_layers_that_cannot_be_patched(model, pair):
    words, place, pixels, source = pair
    for layer in ("decoder 3", "encoder", "decoder 0"):
        with pytest.raises(ValueError, match=f"no layer '{layer}': choose one of pixels, features"):
            patched(model, words, place, pixels, source, layer, torch.ones(64, dtype=torch.bool))
    check_layer(model, "decoder 2")


def test_what_listens_is_gone_after_an_error(model):
    part = model.decoder.layers[0]
    with pytest.raises(RuntimeError), listening(part, lambda output: None):
        assert part._forward_hooks
        broken()
    assert not part._forward_hooks


def test_how_much_of_the_way():
    before, after = torch.tensor([0.0, -3.0]), torch.tensor([-5.0, -1.0])
    assert restored(before, before, after, 0, 1) == 0.0
    assert restored(after, before, after, 0, 1) == 1.0
    assert restored(torch.tensor([-1.0, -0.5]), before, after, 0, 1) == 0.5


def test_the_lens_ends_at_what_the_model_says(twice, pair):
    words, place, pixels, _ = pair
    lens = logit_lens(twice, pixels, words, place)
    assert lens.shape == (3, len(twice.words))
    target = twice.ids[words[place]]
    close(lens[-1, target], word_score(twice, words, place)(pixels)[0])
    close(lens.exp().sum(-1), torch.ones(3).double())
    before = twice.embedding.weight[twice.ids[words[place - 1]]] + twice.positions[0, place]
    close(lens[0], twice.output(twice.decoder.norm(before)).log_softmax(-1))


# ---- people


def test_tones_repaint_skin_and_nothing_else():
    for noun, style, tone in product(PEOPLE, ("noto", "twemoji", "emojitwo"), ("dark", "blue")):
        skin = skin_of(noun, style)
        assert 0.1 < skin.mean() < 0.9
        plain = np.asarray(toned(noun, style, None).convert("RGBA"), int)
        painted = np.asarray(toned(noun, style, tone).convert("RGBA"), int)
        assert np.array_equal(plain[~skin], painted[~skin])
        assert np.array_equal(plain[..., 3], painted[..., 3])
        opaque = skin & (plain[..., 3] == 255)
        near = np.abs(painted[opaque][:, :3] - np.array(TONES[tone])).max(1) < 12
        assert near.mean() > 0.5
    with pytest.raises(ValueError, match="unknown tone 'grey': choose one of light"):
        toned("man", "noto", "grey")


def test_tones_go_from_light_to_dark_and_hair_is_no_skin():
    greys = [sum(colour) for colour in list(TONES.values())[:5]]
    assert greys == sorted(greys, reverse=True)
    for style in ("noto", "twemoji", "emojitwo"):  # hair above the face
        assert skin_of("woman", style)[:8].mean() < 0.05 < skin_of("woman", style)[24:40].mean()
        assert skin_colour(style)[0] > skin_colour(style)[2]


def test_contexts_are_all_scenes_where_nobody_else_is():
    category = {noun.name: noun.category for noun in nouns()}
    expected = []
    for index in range(40):
        first, *others = VAL[index].description.groups
        kinds = {category[group.noun] for group in others}
        if first.colour is None and not kinds & {"person", "action", "face"}:
            expected.append((index, first.noun))
    assert contexts("val", len(expected)) == expected
    assert is_person("woman") and is_person("clown face") and not is_person("dog")


def test_contexts_are_equal():
    found = contexts("val", 12, start=3)
    assert len(set(found)) == 12 and found[0][0] >= 3
    for context in found:
        index, was = context
        base = VAL[index]
        assert base.description.groups[0].noun == was
        assert base.description.groups[0].colour is None
        assert not any(is_person(group.noun) for group in base.description.groups[1:])
        man, woman = (with_person("val", context, noun) for noun in ("man", "woman"))
        dark = with_person("val", context, "man", "dark")
        assert man.facts != woman.facts and man.facts == dark.facts
        assert [t.box for t in man.objects] == [t.box for t in dark.objects]
        changed = (man.image != dark.image).any(-1)
        assert 0 < changed.sum() < 0.6 * 64 * 64
        assert man.description.relation == base.description.relation


# ---- privacy


def test_exposure_by_hand():
    log_probs = np.log([0.4, 0.3, 0.2, 0.1])
    assert [exposure(log_probs, number) for number in (0, 1, 3)] == [2.0, 1.0, 0.0]
    assert exposure([-1.0] * 8, 3) == 0.0  # of equal ones it is the last
    with pytest.raises(ValueError, match="a number of 4 candidates, got 4"):
        exposure(log_probs, 4)


@pytest.mark.parametrize("size", [5, 30, 101])
def test_roc_equals_scikit_learn(size):
    draws = np.random.default_rng(size)
    scores = draws.integers(0, 9, size).astype(float)
    members = draws.random(size) < 0.4
    members[:2] = True, False
    false, true, _ = roc_curve(members, scores, drop_intermediate=False)
    found = roc(scores, members)
    assert np.allclose(found.false, false) and np.allclose(found.true, true)
    for limit in (0.0, 0.1, 0.5, 1.0):
        assert true_at(found, limit) == true[false <= limit].max()


def test_roc_needs_both_kinds():
    for members in ([True, True], [False, False], [True]):
        with pytest.raises(ValueError, match="members and others among them"):
            roc([0.1, 0.2], members)


def test_each_pass_reads_every_row_once_in_a_new_order(monkeypatch):
    batches = []

    def pad(rows):
        batches.append([row[1] for row in rows])
        return gpt.pad(rows)

    monkeypatch.setattr(privacy, "pad", pad)
    rows = [[0, number, 0] for number in range(1, 8)]
    memorise(rows, 8, 3, steps=9, seed=4, batch_size=3)
    assert [len(batch) for batch in batches] == [3, 3, 1] * 3
    passes = [sum(batches[start : start + 3], []) for start in (0, 3, 6)]
    assert all(sorted(order) == list(range(1, 8)) for order in passes)
    assert passes[0] != passes[1] != passes[2] and passes[0] != sorted(passes[0])


def test_a_small_model_learns_by_heart():
    texts = ["the code of the dog is 4 1", "the code of the cat is 2 7"]
    ids = word_ids(texts)
    assert ids == {
        word: n
        for n, word in enumerate(["1", "2", "4", "7", "cat", "code", "dog", "is", "of", "the"], 1)
    }
    rows = as_rows(texts, ids)
    assert rows[0][0] == rows[0][-1] == 0 and len(rows[0]) == 10
    model = memorise(rows, 1 + len(ids), 10, steps=150, seed=0)
    assert not model.training
    for row in rows:
        said = model(torch.tensor([row]))[0].argmax(-1).tolist()
        assert said[6:-1] == row[7:]  # from "is" on, and "dog" or "cat" is given
    again = memorise(rows, 1 + len(ids), 10, steps=150, seed=0)
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True)
    )
