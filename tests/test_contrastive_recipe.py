"""How the shipped CLIP is trained: its pairs, its start, both stages in small, and the study."""

from random import Random

import numpy as np
import pytest
import torch

from mmcourse import hub
from mmcourse.contrastive import CLIP, clip_loss, recall_at_k, same_text
from mmcourse.data import EmojiScenes, Practice
from mmcourse.data.language import parse, vocabulary
from mmcourse.recipes import contrastive as recipe
from mmcourse.recipes import sides as study
from mmcourse.vision import to_pixels

SMALL = {"image_layers": 1, "text_layers": 1, "embedding": 8, "probes": 1}


@pytest.fixture
def small(monkeypatch):
    """Models of little width in both recipes."""
    tiny = {"width": 8, "heads": 2, "channels": [8, 8, 8], "blocks": [0, 0, 0], "concepts": 3}
    monkeypatch.setitem(recipe.MODEL, "scratch", SMALL | tiny)
    monkeypatch.setitem(recipe.MODEL, "sides", SMALL | tiny | {"sides": 4})


def holds(scene, text):
    return all(scene.holds(fact) for fact in parse(text))


def test_pairs_are_true_and_foils_are_false():
    pairs = recipe.Pairs(foils=True)
    scenes = Practice()
    short = 0
    for index in range(40):
        image, caption, true, false = pairs[index]
        scene = scenes[2 * index]
        assert np.array_equal(image, scene.image)
        assert holds(scene, caption) and holds(scene, true)
        assert len(false) == 2 and not any(holds(scene, text) for text in false)
        if scene.description.relation:
            assert any(parse(text) != parse(true) for text in false)
        short += len(parse(caption)) < len(parse(true))
    assert 4 <= short <= 20
    assert pairs[7][1:] == pairs[7][1:] and recipe.Pairs()[7][3] == []


def test_foils_of_two_groups_come_first():
    pairs = recipe.Pairs(foils=True)
    for index in range(40):
        scene = Practice()[2 * index]
        if scene.description.relation:
            true = {fact for fact in parse(pairs[index][2]) if fact[0] == "relation"}
            for text in pairs[index][3]:
                changed = {fact for fact in parse(text) if fact[0] == "relation"}
                kinds = {foil.kind for foil in scene.foils}
                assert changed != true or "binding" in kinds


def test_rewording_changes_words_and_no_facts():
    changed = 0
    for index in range(60):
        for foil in EmojiScenes("val")[index].foils:
            true, false = recipe.reword([foil.true, foil.false], Random(index))
            assert parse(true) == parse(foil.true) and parse(false) == parse(foil.false)
            changed += true != foil.true
    assert changed > 60


def test_it_begins_as_the_captioner():
    """The cells are the memory of the captioner: the second layer changes nothing yet."""
    torch.manual_seed(0)
    model = CLIP(vocabulary()).eval()
    recipe.begin_as_captioner(model)
    images = np.stack([EmojiScenes("val")[index].image for index in range(3)])
    captioner = hub.load("scenes")
    with torch.no_grad():
        torch.testing.assert_close(
            model.image_tower.tokens(to_pixels(images)), captioner.encode(images)
        )


def test_the_loss_is_that_of_the_pairs(small):
    model = CLIP(vocabulary(), **recipe.MODEL["scratch"]).eval()
    batch = recipe.collate(model, [recipe.Pairs()[index] for index in range(4)])
    image = model.encode_image(to_pixels(batch["images"]))
    text = model.encode_text(batch["texts"])
    expected = clip_loss(image, text, model.scale(), positives=same_text(batch["texts"]))
    torch.testing.assert_close(recipe.loss(model, batch), expected)


def test_both_stages_in_small(small, tmp_path):
    rows = recipe.train("scratch", tmp_path / "pairs", steps=2, batch_size=4)
    assert {"loss", "to text R@1", "to picture R@10", "foil object"} <= rows[-1].keys()
    before = hub.load(str(tmp_path / "pairs"))
    recipe.train(
        "sides", tmp_path / "sides", start=tmp_path / "pairs", seen=8, steps=3, batch_size=4
    )
    model = hub.load(str(tmp_path / "sides"))
    assert model.has_sides and model.side_weight.item() in [
        pytest.approx(x) for x in recipe.WEIGHTS
    ]
    after = model.state_dict()
    for name, tensor in before.state_dict().items():
        assert torch.equal(tensor, after[name]), f"{name} was to stay as it was"
    fresh = CLIP(vocabulary(), **recipe.MODEL["sides"]).state_dict()
    assert not torch.equal(
        after["text_sides.projection.weight"], fresh["text_sides.projection.weight"]
    )


def test_the_loss_of_sides_sees_foils(small):
    model = CLIP(vocabulary(), **recipe.MODEL["sides"]).eval()
    seen = recipe.SeenPairs(model, 5)
    assert len(seen) == 5 and seen[0][0].shape == (64, 8)
    batch = recipe.collate_seen(model, [seen[index] for index in range(5)])
    assert len(batch["foils"]) == 10
    value = recipe.loss_of_sides(model, batch)
    image = model.image_sides(batch["tokens"].float()).flatten(1)
    text, foils = (model.text_sides(batch[name]).flatten(1) for name in ("texts", "foils"))
    same = same_text(batch["texts"])
    expected = clip_loss(image, text, model.scale(), positives=same, negatives=foils)
    torch.testing.assert_close(value, expected)
    assert value > clip_loss(image, text, model.scale(), positives=same)


def test_scores_have_intervals():
    found = recipe.interval(np.array([True] * 30 + [False] * 10))
    value, low, high = (
        float(number) for number in found.strip(")").replace(" to ", " (").split(" (")
    )
    assert value == 0.75 and low < 0.75 < high


def test_the_table_of_the_card():
    lines = recipe.score_table(count=40).splitlines()
    assert lines[0].count("`clip`") == 3 and lines[0].count("`clip-pairs`") == 3
    assert len(lines) == 2 + 2 + 8 and all(line.count("|") == 8 for line in lines)


def test_recall_of_the_card_is_recall():
    generator = np.random.default_rng(0)
    table = generator.integers(0, 3, (40, 9)) / 2
    relevant = generator.random((40, 9)) < 0.4
    relevant[:, 0] = True
    assert recipe.first_is_right(table, relevant).mean() == recall_at_k(table, 1, relevant)


@pytest.mark.slow
def test_the_study_in_small():
    captioner = hub.load("scenes")
    world = study.World("train", 100, captioner)
    assert all(scene.description.relation for scene in world.scenes)
    assert {group.noun for scene in world.scenes for group in scene.description.groups} <= set(
        study.WORLD
    )
    for arm, foils in study.ARMS:
        model = study.fit(arm, foils, 5e-3, 0, world, steps=2, batch=8)
        recall, relation = study.judge(model, world, slice(60))
        assert 0 <= recall <= 1 and 0 <= relation <= 1
