"""``mmcourse evaluate`` on scenes."""

import json

import pytest

from mmcourse import cli
from mmcourse.data import EmojiScenes, splits
from mmcourse.evaluation import bleu, cider_d, fact_scores, rouge_l
from mmcourse.hub import load
from mmcourse.recipes import scenes as recipe


def test_evaluate(model, capsys):
    given = ["evaluate", "--model", model, "--scenes", "3", "--split", "style"]
    assert cli.main([*given, "--strategy", "greedy", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    scenes = [EmojiScenes("style")[index] for index in range(3)]
    captioner = load(model)
    captions = [captioner.caption(scene.image, "greedy").text for scene in scenes]
    references = [scene.captions for scene in scenes]
    assert scores["BLEU-4"] == pytest.approx(bleu(captions, references)[3])
    assert scores["ROUGE-L"] == pytest.approx(rouge_l(captions, references))
    assert scores["CIDEr-D"] == pytest.approx(cider_d(captions, references))
    facts = (scores["all precision"], scores["all recall"])
    assert facts == pytest.approx(fact_scores(captions, scenes)["all"])


def test_the_table(model, capsys):
    assert cli.main(["evaluate", "--model", model, "--scenes", "2"]) == 0
    table = capsys.readouterr().out
    assert table.startswith("2 scenes of val\n")
    assert "BLEU-4" in table and "all recall" in table


def test_beams_are_those_of_beam_search(model, complaint):
    given = ["evaluate", "--model", model, "--strategy", "greedy", "--beams", "3"]
    assert cli.main(given) == 2
    assert "--beams does not fit --strategy greedy" in complaint()


@pytest.mark.parametrize("beams, expected", [([], 4), (["--beams", "7"], 7)])
def test_how_many_beams(model, monkeypatch, capsys, beams, expected):
    seen = []
    monkeypatch.setattr(
        "mmcourse.recipes.scenes.evaluate", lambda *given: seen.append(given[1:]) or {}
    )
    assert cli.main(["evaluate", "--model", model, "--scenes", "6", *beams]) == 0
    assert seen == [("val", 6, "beam", expected)]


@pytest.mark.parametrize(("split", "name"), [("composition", "new"), ("val", "like a new")])
def test_each_novelty_has_its_own_rows(model, capsys, split, name):
    given = ["evaluate", "--model", model, "--scenes", "40", "--split", split]
    assert cli.main([*given, "--strategy", "greedy", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    scenes = [EmojiScenes(split)[index] for index in range(40)]
    written = load(model).caption([scene.image for scene in scenes], "greedy")
    for kind in ("pair", "binding"):
        part = [
            (caption.text, scene)
            for caption, scene in zip(written, scenes, strict=True)
            if kind in splits.compared_with(scene.description)
        ]
        texts, chosen = zip(*part, strict=True)
        precision, recall = fact_scores(texts, chosen)["all"]
        assert scores[f"{name} {kind}, scenes"] == len(part) < 40
        assert scores[f"{name} {kind}, precision"] == pytest.approx(precision)
        assert scores[f"{name} {kind}, recall"] == pytest.approx(recall)


def test_other_splits_have_no_novelties(model, capsys):
    assert cli.main(["evaluate", "--model", model, "--scenes", "2", "--split", "style"]) == 0
    assert "new" not in capsys.readouterr().out


def test_precision_and_recall_of_a_novelty_are_not_exchanged():
    """Sentences that name one thing alone are true and say little."""
    scenes = [EmojiScenes("composition")[index] for index in range(20)]
    texts = [f"a {scene.description.groups[0].noun}" for scene in scenes]
    scores = recipe.scores_by_novelty(texts, scenes, "composition")
    assert scores["new pair, precision"] > 0.6 > scores["new pair, recall"] > 0
    assert scores["new pair, scenes"] + scores["new binding, scenes"] == 20
