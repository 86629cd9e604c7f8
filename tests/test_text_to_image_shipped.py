"""Text to image: the shipped models load, are small, and score as their cards and studies say."""

from collections import Counter

import numpy as np
import pytest
import torch

from mmcourse.cli import main
from mmcourse.hub import SHIPPED, load
from mmcourse.recipes import text_to_image_studies as studies
from mmcourse.recipes.text_to_image import adamw, fit, muon_and_adamw, train_flow
from mmcourse.text_to_image import TextToImage, fact_counts, share
from mmcourse.text_to_image.captions import world_vocabulary
from mmcourse.text_to_image.clips import clip_caption, frames_of, read_clip
from mmcourse.vision import to_pixels

NAMES = ("text_to_image", "picture_codes", "picture_judge")


@pytest.fixture(scope="module")
def held():
    return studies.held_out_scenes(6)


@pytest.fixture(scope="module")
def judge():
    return load("picture_judge")


def precision(readings, found, kind):
    return share(fact_counts(readings, found), kind, draws=2).value


def test_all_weights_together_are_small():
    assert sum((SHIPPED / name / "model.safetensors").stat().st_size for name in NAMES) < 8e6


def test_the_judge_reads_true_pictures_and_what_codes_keep(judge, held):
    found = [scene for part in held.values() for scene in part]
    true = np.stack([scene.image for scene in found])
    assert precision(judge.read(true), found, "object") > 0.9
    codes = load("picture_codes")
    with torch.no_grad():
        again = studies.as_images(codes.decode(codes.tokens(to_pixels(true))))
        rebuilt = studies.as_images(load("text_to_image").autoencoder(to_pixels(true)))
    assert precision(judge.read(again), found, "object") > 0.6
    assert precision(judge.read(rebuilt), found, "object") > 0.9


def test_the_model_draws_the_backgrounds_that_were_asked_for(judge, held):
    found = held["new pair"]
    drawn = load("text_to_image").draw([studies.caption_of(scene) for scene in found], steps=4)
    assert precision(judge.read(np.stack(drawn)), found, "background") == 1


def test_the_card_says_what_the_study_found():
    rows = {
        (row["arm"], row["judge"], row["group"], row["kind"]): row
        for row in studies.read("table")["rows"]
        if "judge" in row
    }
    card = (SHIPPED / "text_to_image" / "README.md").read_text(encoding="utf-8")
    for kind in studies.KINDS:
        value, low, high = rows["flow", "independent", "all", kind]["precision"]
        written = f"{value:.3f} ({low:.3f} to {high:.3f})"
        assert written in card, (kind, written)


class Echo:
    """Judges that read what ``say`` makes of the number of a picture, its first value."""

    def __init__(self, say):
        self.say = say

    def read(self, images, both=True):
        found = [self.say(int(image.flat[0])) for image in images]
        return {name: found for name in ("captioner", "independent")[0 if both else 1 :]}


def rows_of(say, held):
    """Rows of the table for pictures of two seeds whose first value is the scene's number."""
    count = len(held["new pair"])
    numbered = np.arange(3 * count, dtype=np.uint8).reshape(3, count, 1, 1, 1)
    drawn = {group: [part, part] for group, part in zip(held, numbered, strict=True)}
    rows = studies.table_rows("flow", drawn, held, Echo(say))
    assert len(rows) == 2 * 4 * 6
    return {(row["judge"], row["group"], row["kind"]): row for row in rows}


def test_a_judge_that_reads_the_captions_finds_all_true(held):
    scenes = [scene for part in held.values() for scene in part]
    rows = rows_of(lambda number: scenes[number].captions[0], held)
    assert {row["precision"][0] for row in rows.values()} == {1.0}
    assert all(row["recall"][0] == 1.0 for row in rows.values())


def test_a_judge_that_always_reads_the_same_is_right_by_chance(held):
    rows = rows_of(lambda number: "a dog", held)
    for group, found in held.items():
        dogs = np.mean([("object", "dog") in scene.facts for scene in found])
        assert rows["independent", group, "object"]["precision"][0] == pytest.approx(dogs, abs=1e-4)
    scenes = [scene for part in held.values() for scene in part]
    dogs = np.mean([("object", "dog") in scene.facts for scene in scenes])
    row = rows["captioner", "all", "object"]
    assert row["precision"][0] == pytest.approx(dogs, abs=1e-4)


def test_pictures_are_drawn_in_batches_with_other_seeds():
    asked = []

    def draw(captions, seed):
        asked.append((captions, seed))
        return [np.full((2, 2, 3), len(asked), np.uint8)] * len(captions)

    images = studies.in_batches(draw, ["a", "b", "c", "d", "e"], 3, size=2)
    assert [captions for captions, _ in asked] == [["a", "b"], ["c", "d"], ["e"]]
    seeds = [seed for _, seed in asked]
    assert len(set(seeds)) == 3 and studies.in_batches(draw, ["a"], 4).shape == (1, 2, 2, 3)
    assert asked[-1][1] == seeds[0] + 1
    assert images[:, 0, 0, 0].tolist() == [1, 1, 2, 2, 3]


def test_an_empty_background_has_nothing_on_it(judge, held):
    found = held["new pair"]
    images = np.stack([studies.empty(scene) for scene in found])
    readings = judge.read(images)
    assert precision(readings, found, "background") == 1
    assert share(fact_counts(readings, found), "object", recall=True, draws=2).value < 0.2


def test_the_next_caption_is_judged_by_another_picture(held):
    class Drawer:
        autoencoder = None

        def draw(self, captions, seed, steps, guidance):
            return [np.full((1, 1, 3), len(text), np.uint8) for text in captions]

    arms = studies.arms_of({"flow": Drawer()}, None)
    found = held["new index"]
    own, other = arms["flow"](found, 0), arms["flow, next caption"](found, 0)
    assert (own[:-1] == other[1:]).all() and (own[-1] == other[0]).all()


def test_what_was_trained_on_is_in_the_log(tmp_path):
    model = torch.nn.Linear(1, 1)
    model.save_pretrained = lambda folder: None
    optimizers = [adamw(model.parameters(), 0.1)]
    fit(model, lambda step: model.weight.square().sum(), 130, optimizers, tmp_path)
    assert studies.trained_on(tmp_path, train_flow) == 130 * 64


def test_what_is_new_in_held_out_scenes():
    rows = {row["group"]: row for row in studies.read("novelty")["rows"]}
    assert rows["new pair"]["shown"] == rows["new binding"]["shown"] == 0
    assert 0 < rows["new index"]["shown"] < rows["new index"]["captions"]


def test_held_out_scenes_are_new_and_of_their_kind(held):
    from mmcourse.data.splits import novelty

    kinds = {"new index": None, "new pair": "pair", "new binding": "binding"}
    for group, kind in kinds.items():
        assert len(held[group]) == 6
        assert {novelty(scene.description) for scene in held[group]} == {kind}


def test_the_nearest_training_caption_shares_most_facts(held):
    from mmcourse.data.world import DrawnWorld

    found = held["new pair"][:3]
    chosen = studies.most_alike(found, 60)
    for scene, number in zip(found, chosen, strict=True):
        alike = [
            len(other.facts & scene.facts) / len(other.facts | scene.facts)
            for other in map(DrawnWorld().__getitem__, range(60))
        ]
        assert alike[number] == max(alike)


def test_the_rates_of_both_optimizers_warm_up_and_fall(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    model.save_pretrained = lambda folder: None
    optimizers = [adamw(model[0].parameters(), 0.5), adamw(model[1].parameters(), 0.1)]
    rates = []

    def loss(step):
        rates.append([optimizer.param_groups[0]["lr"] for optimizer in optimizers])
        return model(torch.ones(1, 2)).square().sum()

    before = [layer.weight.clone() for layer in model]
    fit(model, loss, 1000, optimizers, tmp_path)
    assert all((layer.weight != old).any() for layer, old in zip(model, before, strict=True))
    first, second = zip(*rates, strict=True)
    assert first == pytest.approx([5 * rate for rate in second])
    assert first[0] < 0.02 and max(first) == pytest.approx(0.5) and first[-1] < 0.001
    assert first[30] < first[60] and first[500] > first[900]


def test_muon_has_the_matrices_of_the_layers_and_adamw_all_else():
    model = TextToImage(world_vocabulary(), 3, 24, width=8, layers=2, heads=2)
    model.autoencoder.requires_grad_(False)
    muon, other = muon_and_adamw(model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    moved = [names[id(p)] for group in muon.param_groups for p in group["params"]]
    assert len(moved) == 2 * (4 + 2)  # four matrices of attention, two of the feed-forward part
    assert all(name.startswith("denoiser.layers.") and name.endswith("weight") for name in moved)
    rest = [names[id(p)] for group in other.param_groups for p in group["params"]]
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    assert sorted(moved + rest) == sorted(trained)


def test_the_weights_that_are_kept_are_an_average(tmp_path):
    class Counter(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1, 1))

        def save_pretrained(self, folder):
            pass

    model = Counter()
    optimizers = [torch.optim.SGD(model.parameters(), 1.0)]
    kept = fit(model, lambda step: -model.weight.sum(), 200, optimizers, tmp_path, average=0.9)
    assert kept is not model and 0 < kept.weight.item() < model.weight.item()
    assert fit(model, lambda step: -model.weight.sum(), 2, optimizers, tmp_path) is model


def test_the_command_writes_a_picture(tmp_path, capsys):
    from PIL import Image

    path = tmp_path / "drawing.png"
    words = "two red cars in the snow"
    assert main(["draw", words, "--out", str(path), "--steps", "2", "--size", "96"]) == 0
    assert capsys.readouterr().out.strip() == str(path)
    first = np.asarray(Image.open(path))
    assert first.shape == (96, 96, 3)
    main(["draw", words, "--out", str(path), "--steps", "2", "--size", "96", "--seed", "1"])
    assert (np.asarray(Image.open(path)) != first).any()


def test_each_arm_of_the_study_changes_one_thing():
    x, t = torch.randn(2, 3, 8, 8), torch.tensor([0.3, 0.6])
    found = {}
    for arm, (kind, change, optimizers) in studies.ARMS.items():
        torch.manual_seed(0)
        model = kind(world_vocabulary(), 3, 24, width=8, layers=1, heads=2)
        torch.nn.init.normal_(model.denoiser.output.weight)
        if change is not None:
            change(model)
        ids = model.tokenize(["a dog", "two red cars"])
        straight = torch.equal(model.flow.velocity(x, t, ids), model.guess(x, t, ids))
        found[arm] = (straight, model.flow.shift, [type(o).__name__ for o in optimizers(model)])
    both = ["Muon", "AdamW"]
    assert found == {
        "as shipped": (False, 6.0, both),
        "AdamW alone, rate 0.0015": (False, 6.0, ["AdamW"]),
        "AdamW alone, rate 0.0005": (False, 6.0, ["AdamW"]),
        "times not shifted": (False, 1.0, both),
        "velocity guessed": (True, 6.0, both),
    }
    assert [row["arm"] for row in studies.read("arms")["rows"]] == list(found)


def test_stored_clips_are_those_that_the_judge_read():
    rows = studies.read("clips")["rows"]
    asked = Counter((row["split"], row["seed"]) for row in rows)
    expected = {"train": 28, "composition": 4}
    assert asked == {(split, seed): expected[split] for split in expected for seed in studies.SEEDS}
    shown = [row for row in rows if "sheet" in row]
    assert len(shown) == 4
    for row in shown:
        sheet = studies.from_text(row["sheet"])
        assert (studies.from_text(studies.as_text(sheet)) == sheet).all()
        noun, direction = read_clip(frames_of(sheet))
        right = clip_caption(noun, direction) == row["caption"]
        assert right == (row["noun"] and row["direction"])
