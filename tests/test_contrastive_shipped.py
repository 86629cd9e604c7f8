"""What the shipped CLIP of scenes must reach, and its first half must not."""

import pytest
import torch

from mmcourse.contrastive import recall_at_k, true_of
from mmcourse.data import EmojiScenes
from mmcourse.hub import SHIPPED, load
from mmcourse.recipes.contrastive import foil_answers


@pytest.fixture(scope="module")
def models():
    clip = load("clip")
    return {"clip": clip, "clip-pairs": clip.without_sides()}


def scores(model, split, first, count):
    """Recall@1 both ways among some scenes, and the share of each kind of foil."""
    scenes = [EmojiScenes(split)[index] for index in range(first, first + count)]
    captions = [scene.captions[0] for scene in scenes]
    image = model.image_features([scene.image for scene in scenes])
    table = (image @ model.text_features(captions).T).numpy()
    relevant = true_of(captions, scenes)
    recalls = [recall_at_k(table, 1, relevant), recall_at_k(table.T, 1, relevant.T)]
    return recalls, {kind: x.mean() for kind, x in foil_answers(model, scenes, image).items()}


@pytest.mark.parametrize("split, least", [("val", 0.85), ("composition", 0.85), ("style", 0.75)])
def test_it_finds_and_knows_left_from_right(models, split, least):
    """Among 200 scenes that no number of the card was measured on."""
    recalls, foils = scores(models["clip"], split, 5000, 200)
    assert min(recalls) > least
    assert foils["relation"] > 0.93 and foils["order"] > 0.93
    assert foils["object"] > 0.7 and foils["count"] > 0.9 and foils["background"] > 0.98


def test_pairs_alone_find_and_guess_the_relation(models):
    recalls, foils = scores(models["clip-pairs"], "val", 5000, 200)
    assert min(recalls) > 0.8
    assert 0.38 < foils["relation"] < 0.62


def test_without_sides_it_is_what_stands_first_in_an_embedding(models, tmp_path):
    """The whole is scaled by the sides' weight, and its direction stays; saved, it comes back."""
    images = [EmojiScenes("val")[index].image for index in range(5)]
    whole = models["clip-pairs"].image_features(images)
    joined = models["clip"].image_features(images)[:, : whole.shape[1]]
    joined = joined / joined.norm(dim=1, keepdim=True)
    assert (whole - joined).abs().max() < 1e-6
    assert not models["clip-pairs"].training
    models["clip-pairs"].save_pretrained(tmp_path)
    again = load(tmp_path)
    assert not again.has_sides and (again.image_features(images) == whole).all()


def test_it_is_small():
    assert sum(path.stat().st_size for path in (SHIPPED / "clip").iterdir()) < 6_000_000


def test_it_takes_what_people_type(models):
    """A bare noun finds a picture with it among the first 20 of 200 about every second time."""
    scenes = [EmojiScenes("val")[index] for index in range(5000, 5200)]
    image = models["clip"].image_features([scene.image for scene in scenes])
    found = 0
    for scene in scenes[:40]:
        noun = scene.description.groups[0].noun
        (text,) = models["clip"].text_features([f"{noun.title()}!"])
        best = (image @ text).topk(20).indices.tolist()
        found += any(noun == g.noun for row in best for g in scenes[row].description.groups)
    assert found > 18


def test_pictures_of_another_size_are_refused(models):
    pixels = models["clip"].prepare([EmojiScenes("val")[0].image])
    with pytest.raises(ValueError, match=r"64 x 64 pixels, got \(32, 128\): prepare"):
        models["clip"].encode_image(pixels.reshape(1, 3, 32, 128))
    with pytest.raises(ValueError, match="at least one text, got an empty list"):
        models["clip"].text_features([])
    with pytest.raises(ValueError, match="at least one picture, got an empty list"):
        models["clip"].image_features([])


def test_it_works_in_half_and_double_precision(models):
    picture, text = EmojiScenes("val")[0].image, EmojiScenes("val")[0].captions[0]
    single = models["clip"]
    expected = single.similarity(single.image_features([picture]), single.text_features([text]))
    for kind in (torch.bfloat16, torch.float16, torch.float64):
        model = load("clip").to(kind)
        found = model.similarity(model.image_features([picture]), model.text_features([text]))
        assert (found - expected).abs().max() < (2.0 if kind != torch.float64 else 1e-4), kind


def test_of_a_long_text_the_beginning_is_read(models):
    model = models["clip"]
    long = "two red cars in the snow " * 9
    assert len(long.split()) > model.max_length
    first = " ".join(long.split()[: model.max_length])
    assert (model.tokenize([long]) == model.tokenize([first])).all()


def test_the_scale_is_in_single_precision():
    assert load("clip").half().scale().dtype == torch.float32
