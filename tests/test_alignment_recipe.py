"""The study of alignment: its arms on a toy, and that what is stored is whole."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmcourse.alignment import Discriminator, procrustes
from mmcourse.contrastive import recall_at_k
from mmcourse.recipes import alignment_studies as studies


@pytest.fixture(scope="module")
def toy():
    """Scenes whose texts are their pictures turned, both whitened, with a little noise."""
    torch.manual_seed(0)
    image = torch.randn(300, studies.AXES)
    turn = torch.linalg.qr(torch.randn(studies.AXES, studies.AXES))[0]
    text = image @ turn + 0.1 * torch.randn(300, studies.AXES)
    words = (image[:, :9] > 0).float()
    ones = torch.ones(studies.AXES)
    return SimpleNamespace(
        image=image, text=text, words=words, word_list=list("abcdefghi"),
        spread={"image": ones, "text": ones},
    )  # fmt: skip


ROWS = torch.arange(200)


def recall(maps, toy):
    part = SimpleNamespace(image=toy.image[200:], text=toy.text[200:])
    return studies.retrieve(maps, toy, part, np.eye(100, dtype=bool)).mean()


def test_every_seed_has_pairs_of_its_own_and_more_pairs_hold_the_fewer():
    few, many = studies.pairs_of(10, 0), studies.pairs_of(100, 0)
    assert (many[:10] == few).all() and len(set(many.tolist())) == 100
    assert (studies.pairs_of(10, 1) != few).any()
    assert len(studies.pairs_of(0, 0)) == 0


@pytest.mark.parametrize("whiten", [True, False])
def test_maps_in_closed_form_find_a_turn(toy, whiten):
    setting = {"size": studies.AXES, "whiten": whiten, "rounds": 0}
    image, text = studies.by_procrustes(toy, ROWS, setting, 0)
    turn = procrustes(toy.image[ROWS], toy.text[ROWS])
    torch.testing.assert_close(image(toy.image), toy.image @ turn)
    assert recall((image, text), toy) > 0.95
    assert recall(studies.by_cca(toy, ROWS, {"size": 32, "ridge": 1.0}, 0), toy) > 0.9


def test_networks_learn_from_pairs_and_repeat(toy):
    setting = {"rate": 3e-3, "within": 1, "contrast": 1, "scale": 14.3}
    maps = studies.by_training(toy, ROWS, setting, 0, steps=60)
    assert recall(maps, toy) > 0.3
    again = studies.by_training(toy, ROWS, setting, 0, steps=60)
    torch.testing.assert_close(maps[0](toy.image), again[0](toy.image))
    assert recall(studies.by_training(toy, ROWS[:0], {"rate": 3e-3, "within": 1}, 0, 20), toy) < 0.2


@pytest.mark.parametrize(
    "term",
    [
        {"across": 1}, {"meet": 1}, {"reversal": 1.0},
        {"fool": 1.0, "noise": 0.5, "judge steps": 2, "code": 16},
    ],
)  # fmt: skip
def test_each_term_changes_what_is_learned(toy, term):
    plain = studies.by_training(toy, ROWS, {"rate": 3e-3, "within": 1}, 0, 5)
    changed = studies.by_training(toy, ROWS, {"rate": 3e-3, "within": 1, **term}, 0, 5)
    first, second = plain[1](toy.text), changed[1](toy.text)
    assert second.shape[1] == term.get("code", studies.CODE)
    assert first.shape != second.shape or not torch.allclose(first, second)


def test_a_rotation_against_a_judge_stays_a_rotation(toy):
    image, _ = studies.by_rotation(toy, ROWS[:0], {"rate": 1e-3, "rounds": 0}, 0, 5)
    lengths = image(toy.image).norm(dim=1)
    torch.testing.assert_close(lengths, toy.image.norm(dim=1), atol=1e-4, rtol=1e-4)


def test_step_of_the_judge_leaves_the_encoders_alone():
    judge, codes = Discriminator(3), torch.randn(5, 3, requires_grad=True)
    before = judge.layers[0].weight.clone()
    studies.step_judge(judge, torch.optim.SGD(judge.parameters(), 1.0), codes, torch.randn(4, 3))
    assert codes.grad is None
    assert (judge.layers[0].weight != before).any()


def test_retrieval_is_recall_at_1_and_takes_means_away(toy):
    torch.manual_seed(0)
    table, relevant = torch.randn(6, 6).numpy(), np.random.default_rng(0).random((6, 6)) < 0.3
    relevant |= np.eye(6, dtype=bool)
    found = studies.found_right(table, relevant)
    assert found.mean() == pytest.approx(recall_at_k(table, 1, relevant))
    assert not studies.found_right(np.zeros((2, 2)), np.eye(2, dtype=bool)).any()  # ties are lost
    maps = studies.by_cca(toy, ROWS, {"size": 8, "ridge": 1.0}, 0)
    shifted = (lambda x: maps[0](x) + 5, lambda x: maps[1](x) - 3)
    assert recall(shifted, toy) == recall(maps, toy)


def test_new_judge_tells_apart_what_differs(toy):
    maps = (lambda x: x[:, :4] + 3), (lambda x: x[:, :4])
    assert studies.new_judge(maps, toy, toy, 0) < 0.75  # means are taken away
    wide = (lambda x: 5 * x[:, :4]), (lambda x: x[:, :4])
    assert studies.new_judge(wide, toy, toy, 0) > 0.8
    hidden = studies.blurred(wide, {"noise": 1000.0})
    assert studies.new_judge(hidden, toy, toy, 0) < 0.75
    assert studies.unlike(wide, toy, toy) > studies.unlike(maps, toy, toy)


def test_flags_are_packed_without_loss():
    flags = np.random.default_rng(0).random((2, studies.TESTED)) < 0.5
    assert (studies.unpacked(studies.packed(flags)) == flags).all()


def test_words_are_marked():
    found = studies.words_in(["a dog", "a cat and a dog"], ["cat", "dog"])
    assert found.tolist() == [[0, 1], [1, 1]]


@pytest.mark.parametrize("arm", studies.ARMS)
def test_what_is_stored_is_whole(arm):
    rows = studies.read(arm)["rows"]
    assert [row["pairs"] for row in rows] == list(studies.counts_for(arm))
    for row in rows:
        tried = [found["setting"] for found in row["tried"]]
        settings = studies.ARMS[arm][1] or [studies.without_judge(row["pairs"])]
        assert tried == settings
        assert row["setting"] in tried
        assert len(row["seeds"]) == len(studies.SEEDS)
        for seed in row["seeds"]:
            assert studies.unpacked(seed["right"]).shape == (2, studies.TESTED)
            assert ("judge" in seed) == (row["pairs"] in (0, studies.TRAINING))
