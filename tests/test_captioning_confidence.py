"""The confidence: from plain loops, whatever the words and the search; and is it calibrated?"""

import json
import math

import numpy as np
import pytest
import torch
from PIL import Image

from mmcourse import cli
from mmcourse.captioning import END, START, Captioner, SceneCaptioner, noun_evidence
from mmcourse.captioning.confidence import log_odds
from mmcourse.data import EmojiScenes
from mmcourse.data.drawings import nouns
from mmcourse.data.language import vocabulary
from mmcourse.data.strangers import Strangers
from mmcourse.evaluation import auroc, ece, fact_score, fit_logistic
from mmcourse.hub import load
from mmcourse.recipes import scenes as recipe

NAMES = ["nothing", *(noun.name for noun in nouns())]


def tiny(**settings):
    """A captioner that has learnt nothing, whose noun head is sure of something in each cell."""
    torch.manual_seed(0)
    sizes = {"width": 24, "heads": 3, "channels": (8, 8, 16), "blocks": (0, 0, 1)}
    model = SceneCaptioner(vocabulary(), **sizes | settings).eval()
    torch.nn.init.normal_(model.noun_head.weight, std=0.7)
    return model.requires_grad_(False)


@pytest.fixture(scope="module")
def shipped():
    return load("scenes").requires_grad_(False)


def pictures(split, count, first=0):
    return np.stack([EmojiScenes(split)[first + index].image for index in range(count)])


def evidence_by_loops(model, image, named):
    """A view, a cell, a noun at a time."""
    views = []
    for picture in (image, image[:, ::-1]):
        pixels = torch.tensor(picture.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        scores = model.noun_head(model.convolutions(pixels))[0].double()  # (N, 1 + nouns)
        views.append([[math.exp(s) for s in row] for row in scores.tolist()])
    views = [[[s / sum(row) for s in row] for row in view] for view in views]
    best = {name: [max(row[NAMES.index(name)] for row in view) for view in views] for name in named}
    seen = min((sum(values) / 2 for values in best.values()), default=0.0)
    others = []
    for view in views:
        rest = [
            sum(p for name, p in zip(NAMES[1:], row[1:], strict=True) if name not in named)
            for row in view
        ]
        others.append(max(rest))
    return seen, sum(others) / 2


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("two big red cats to the left of an alarm clock in the snow", ["cat", "alarm clock"]),
        ("a dog", ["dog"]),
        ("dogs dogs and a dog", ["dog"]),
        ("at night there is", []),
        ("", []),
    ],
)
@pytest.mark.parametrize("size", [64, 40])
def test_evidence_from_plain_loops(text, named, size):
    model = tiny(image_size=size)
    image = EmojiScenes("val", size)[4].image
    (found,) = noun_evidence(model, image[None], [text])
    assert found.tolist() == pytest.approx(evidence_by_loops(model, image, named), abs=1e-5)


def test_each_row_has_its_own_evidence():
    model = tiny()
    texts = ["a cat", "two dogs below a cat", "at sea"]
    together = noun_evidence(model, pictures("val", 3), texts)
    for row, text in enumerate(texts):
        alone = noun_evidence(model, pictures("val", 3)[row : row + 1], [text])
        assert alone[0] == pytest.approx(together[row], abs=1e-5)
    assert noun_evidence(model, pictures("val", 1)[:0], []).shape == (0, 2)


def test_a_mirror_image_has_the_same_evidence():
    model = tiny()
    images = pictures("val", 2)
    mirrored = np.ascontiguousarray(images[:, :, ::-1])
    texts = ["a cat", "two dogs below a cat"]
    assert noun_evidence(model, images, texts) == pytest.approx(
        noun_evidence(model, mirrored, texts), abs=1e-5
    )


def test_log_odds():
    found = log_odds([0.5, 0.8, 0.0, 1.0])
    assert found.tolist() == pytest.approx([0, math.log(4), -math.log(999), math.log(999)])


@pytest.mark.parametrize("calibration", [[-1.0, 0.8, -0.3], [0.5, 0.0, 0.0]])
def test_a_probability_by_hand(calibration):
    model = tiny(calibration=calibration)
    image = pictures("val", 1)
    text = "two dogs below a cat"
    ids = [model.ids[word] for word in text.split()]
    (found,) = model.confidences(image, None, [ids])
    score = calibration[0]
    evidence = evidence_by_loops(model, image[0], ["dog", "cat"])
    for weight, share in zip(calibration[1:], evidence, strict=True):
        share = min(max(share, 0.001), 0.999)
        score += weight * math.log(share / (1 - share))
    assert found == pytest.approx(1 / (1 + math.exp(-score)), abs=1e-5)
    assert model.confidence_is == "probability that every noun is right"
    (plain,) = tiny().confidences(image, None, [ids])
    assert (
        plain == pytest.approx(evidence[0], abs=1e-5) and "not calibrated" in tiny().confidence_is
    )


@pytest.mark.parametrize("calibration", [[1.0], [1.0, 2.0], [0.0] * 4])
def test_three_numbers_calibrate(calibration):
    with pytest.raises(ValueError, match=f"three numbers, or None, got {len(calibration)}"):
        tiny(calibration=calibration)


@pytest.mark.parametrize("calibration", [None, [3.0, 0.1, 0.0]])
def test_a_sentence_without_a_noun_has_none(calibration):
    model = tiny(calibration=calibration)
    ids = [model.ids["at"], model.ids["night"]]
    assert model.confidences(pictures("val", 2), None, [ids, []]) == [0.0, 0.0]


def test_it_depends_on_the_nouns_and_not_on_the_words_around(shipped):
    image = pictures("val", 1)
    noun = EmojiScenes("val")[0].objects[0].noun  # it is there, so the words decide

    def sure(text):
        return shipped.confidences(image, None, [shipped.tokenize(text)[1:-1]])[0]

    one = sure(f"one {noun} at night")
    assert one == sure(f"on a beach there is one big {noun}")
    assert one > 2 * sure(f"one {noun} to the left of a lion at night")


def test_the_search_does_not_matter(shipped):
    """Whatever found a sentence, its confidence is that of the picture and the sentence."""
    images = list(pictures("style", 12))
    torch.manual_seed(0)
    searches = [
        shipped.caption(images, "greedy"),
        shipped.caption(images, "beam", beams=20, length_penalty=0.0),
        shipped.caption(images, "sample", temperature=1.5),
        shipped.caption(images, "greedy", repetition_penalty=1.5),
    ]
    for found in searches:
        for image, caption in zip(images, found, strict=True):
            ids = shipped.tokenize(caption.text)[1:-1]
            (again,) = shipped.confidences(image[None], None, [ids])
            assert caption.confidence == pytest.approx(again, abs=1e-5)
    texts = [[caption.text for caption in found] for found in searches]
    assert texts[0] != texts[1] != texts[2]


def test_what_is_written_of_a_memory_has_no_confidence(shipped):
    memory = shipped.encode(pictures("val", 1))
    assert shipped.write(memory)[0].confidence is None


@pytest.mark.parametrize("strategy", ["greedy", "beam", "sample"])
@pytest.mark.parametrize("max_length", [4, 28])
def test_any_captioner_has_the_geometric_mean_of_its_words(strategy, max_length):
    model = tiny(max_length=max_length)
    image = pictures("val", 1)
    torch.manual_seed(1)
    caption = model.caption(image[0], strategy)
    memory = model.encode(image)
    ids = [model.ids[word] for word in caption.tokens[:-1]]
    for sentence in (ids, ids[:2], []):  # short ones have an end, and one that is cut has not
        targets = [*sentence, END][:max_length]
        logits = model.decode(memory, torch.tensor([[START, *targets[:-1]]]))[0].double()
        chosen = logits.softmax(-1)[range(len(targets)), targets]
        (found,) = Captioner.confidences(model, image, memory, [sentence])
        assert found == pytest.approx(chosen.prod().item() ** (1 / len(targets)), rel=1e-4)


# ---- the shipped one


@pytest.mark.parametrize(
    ("split", "most", "least"),
    [("val", 0.07, 0.97), ("composition", 0.08, 0.93), ("style", 0.19, 0.83)],
)
def test_the_shipped_one_is_calibrated(shipped, split, most, least):
    """On 300 scenes; its card has the numbers of 2,000."""
    found = [EmojiScenes(split)[index] for index in range(300)]
    captions = shipped.caption([scene.image for scene in found], "greedy")
    right = np.array([nouns_right(c.text, s) for c, s in zip(captions, found, strict=True)])
    sure = np.array([caption.confidence for caption in captions])
    assert ece(sure, right) <= most
    assert auroc(sure, right) >= least


def nouns_right(text, scene):
    """From the facts that are false, not from those that hold."""
    score = fact_score(text, scene)
    stated = [fact for fact in score.true | score.false if fact[0] == "object"]
    return len(stated) > 0 and not any(fact in score.false for fact in stated)


def test_it_tells_the_unknown_from_the_known(shipped):
    known = [one.confidence for one in shipped.caption(list(pictures("val", 100)), "greedy")]
    noise = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 3), dtype=np.uint8)
    smooth = [
        np.asarray(Image.fromarray(n[:4, :4]).resize((64, 64), Image.Resampling.BICUBIC))
        for n in noise
    ]
    unknown = [one.confidence for one in shipped.caption([*noise, *smooth], "greedy")]
    assert np.mean(np.array(known) >= shipped.low_confidence) > 0.9
    assert np.mean(np.array(unknown) < shipped.low_confidence) > 0.9


# ---- how it is fitted


def test_calibration_is_a_fit_to_scenes_of_its_own(shipped):
    model = load("scenes").requires_grad_(False)
    model.calibration = None
    count = 60
    found = recipe.calibrate(model, count)
    evidence, right = [], []
    plain = [EmojiScenes("val")[recipe.CALIBRATION + index] for index in range(count)]
    strange = [Strangers()[recipe.CALIBRATION + count + index] for index in range(count)]
    for scene in plain + strange:
        (caption,) = shipped.caption([scene.image], "greedy")
        evidence.append(noun_evidence(shipped, scene.image[None], [caption.text])[0])
        right.append(nouns_right(caption.text, scene))
    evidence = np.clip(evidence, 0.001, 0.999)
    weights = fit_logistic(np.log(evidence / (1 - evidence)), right)
    assert found == pytest.approx(weights.tolist(), abs=2e-3)
    assert model.calibration == found and 0.3 < np.mean(right) < 0.95


def test_what_calibrates_trains_nothing_and_is_not_reported():
    assert recipe.CALIBRATION >= 100_000


def test_the_command(tmp_path, monkeypatch, capsys):
    tiny().save_pretrained(tmp_path)
    before = json.loads((tmp_path / "config.json").read_text())
    monkeypatch.setattr(recipe, "calibrate", lambda model, count: [count, 0.5, -0.25])
    assert cli.main(["calibrate", "--model", str(tmp_path), "--scenes", "7"]) == 0
    assert capsys.readouterr().out == "calibration 7 0.5 -0.25\n"
    after = json.loads((tmp_path / "config.json").read_text())
    assert after == before | {"calibration": [7, 0.5, -0.25]}
    assert load(tmp_path).calibration == [7, 0.5, -0.25]


@pytest.mark.parametrize("model", ["scenes", "owner/name"])
def test_the_command_wants_a_folder(model, capsys):
    assert cli.main(["calibrate", "--model", model]) == 2
    assert "expected a folder that `mmcourse train` wrote" in capsys.readouterr().err
