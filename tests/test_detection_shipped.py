"""The shipped detector: it loads, is light, and finds what its card says."""

import json

import pytest
import torch

from mmcourse.data import EmojiScenes
from mmcourse.data.drawings import nouns
from mmcourse.detection import DETR, average_precision
from mmcourse.hub import SHIPPED, load
from mmcourse.recipes import detection as recipe

FOLDER = SHIPPED / "detection"


@pytest.fixture(scope="module")
def model():
    return load("detection").requires_grad_(False)


@pytest.mark.parametrize(("split", "least"), [("val", 0.8), ("composition", 0.75), ("style", 0.3)])
def test_it_finds_things(model, split, least):
    seen = recipe.look_at(EmojiScenes(split), range(120), model.convolutions)
    assert average_precision(*recipe.detect(model, seen)) > least


def test_half_precision_changes_little(model):
    images = torch.stack([torch.tensor(EmojiScenes("val")[index].image) for index in range(4)])
    double = load("detection").double()
    (logits, boxes), (fine_logits, fine_boxes) = model(images), double(images)
    assert (boxes - fine_boxes).abs().max() < 1e-3
    assert (logits.softmax(-1) - fine_logits.softmax(-1)).abs().max() < 1e-2


def test_its_folder_is_whole_and_light(model):
    assert (FOLDER / "model.safetensors").stat().st_size < 3_000_000
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert "python -m mmcourse.recipes.detection" in card
    config = json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))
    assert config["class"] == "DETR" and config["names"] == [noun.name for noun in nouns()]
    assert isinstance(model, DETR) and not model.training


def test_its_backbone_is_the_captioners(model):
    theirs = load("scenes").convolutions.state_dict()
    for name, tensor in model.convolutions.state_dict().items():
        assert torch.equal(tensor, theirs[name])


def test_it_names_the_one_thing_that_is_there(model):
    scene = next(s for s in map(EmojiScenes("val").__getitem__, range(50)) if len(s.objects) == 1)
    found = model.find(scene.image, 0.5)
    assert {one.name for one in found} == {scene.objects[0].noun}  # perhaps twice
