"""The recipe of the detector: a short run teaches, and goes on where it stopped."""

import numpy as np
import pytest
import torch

from mmcourse.data import EmojiScenes
from mmcourse.detection import DETR
from mmcourse.recipes import detection as recipe

SHORT = {"scenes": 64, "watched": 10, "batch_size": 8, "log_every": 1}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, *recipe.train("shipped", folder, steps=24, **SHORT)


def test_a_short_run_teaches(whole):
    folder, model, log = whole
    losses = [row["loss"] for row in log]
    assert np.mean(losses[-4:]) < np.mean(losses[:4]) - 1
    assert 0 <= log[-1]["AP50"] <= 1
    saved = DETR.from_pretrained(folder)
    picture = EmojiScenes("val")[0].image[None]
    assert torch.allclose(saved(picture)[1], model(picture)[1], atol=1e-5)


def test_the_backbone_stays_that_of_the_captioner(whole):
    _, model, _ = whole
    theirs = recipe.load_convolutions().state_dict()
    for name, tensor in model.convolutions.state_dict().items():
        assert torch.equal(tensor, theirs[name])


def test_a_run_goes_on_to_the_same_numbers(tmp_path, whole):
    _, _, log = whole
    recipe.look_at(recipe.Practice(), range(64), recipe.load_convolutions(), restyled=True).save(
        tmp_path / recipe.SEEN
    )

    class Stop(Exception):
        pass

    steps = iter(range(100))
    plain = recipe.terms

    def stopping(model, batch):
        if next(steps) == 10:
            raise Stop
        return plain(model, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "terms", stopping)
        with pytest.raises(Stop):
            recipe.train("shipped", tmp_path, steps=24, save_every=5, **SHORT)
    _, again = recipe.train("shipped", tmp_path, steps=24, save_every=5, **SHORT)
    assert [row["loss"] for row in again] == pytest.approx([row["loss"] for row in log], rel=1e-4)


def test_what_was_seen_is_kept_whole(tmp_path):
    seen = recipe.look_at(EmojiScenes("val"), range(5), recipe.load_convolutions())
    seen.save(tmp_path / "seen.safetensors")
    again = recipe.SeenScenes.load(tmp_path / "seen.safetensors")
    assert torch.equal(seen.features, again.features) and len(again) == 5
    for index in range(5):
        scene = EmojiScenes("val")[index]
        labels, boxes = again.objects[index]
        names = [recipe.nouns()[label].name for label in labels.tolist()]
        assert names == [thing.noun for thing in scene.objects]
        assert (boxes * 64).round().int().tolist() == [list(thing.box) for thing in scene.objects]
    batch = recipe.collate([again[0], again[3]])
    assert batch["features"].shape == (2, 64, 128) and batch["features"].dtype == torch.float32


def test_features_are_those_that_the_model_sees():
    convolutions = recipe.load_convolutions()
    model = recipe.begin(convolutions).eval()
    seen = recipe.look_at(EmojiScenes("val"), range(3), convolutions)
    images = np.stack([EmojiScenes("val")[index].image for index in range(3)])
    with torch.no_grad():
        assert torch.allclose(seen.features.float(), model.see(images), atol=2e-2)
    found, truths = recipe.detect(model, seen)
    assert len(found) == len(truths) == 3 and found[0].boxes.shape == (16, 4)
