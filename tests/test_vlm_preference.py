"""Preferences, instructions and tiles: formulas by hand, rewards that can be gamed, bad input."""

import math
from dataclasses import replace
from random import Random

import numpy as np
import pytest
import torch

from mmcourse import hub
from mmcourse.data import EmojiScenes
from mmcourse.evaluation import fact_score
from mmcourse.vlm import (
    Instruction,
    Pair,
    box_iou,
    box_text,
    cut_into_tiles,
    dpo_loss,
    fact_reward,
    instructions,
    is_right,
    overview,
    preference_pair,
    read_box,
    self_critical_loss,
    sentence_log_probs,
)
from tests.helpers import close

SCENES = [EmojiScenes("val")[number] for number in range(40)]


# DPO ------------------------------------------------------------------------------------------


def trl_sigmoid_loss(policy_chosen, policy_rejected, reference_chosen, reference_rejected, beta):
    """The sigmoid loss as the library TRL writes it: a difference of log-ratios."""
    policy = policy_chosen - policy_rejected
    reference = reference_chosen - reference_rejected
    return (-torch.nn.functional.logsigmoid(beta * (policy - reference))).mean()


@pytest.mark.parametrize(("size", "beta"), [(1, 0.1), (5, 0.7), (33, 3.0)])
def test_dpo_equals_the_formula_of_trl_with_its_gradient(size, beta):
    torch.manual_seed(size)
    ours = [(-8 * torch.rand(size)).double().requires_grad_() for _ in range(4)]
    theirs = [one.detach().clone().requires_grad_() for one in ours]
    loss = dpo_loss(*ours, beta=beta)
    other = trl_sigmoid_loss(*theirs, beta)
    close(loss, other)
    loss.backward()
    other.backward()
    for mine, one in zip(ours, theirs, strict=True):
        close(mine.grad, one.grad)
    plain = [
        -math.log(1 / (1 + math.exp(-beta * ((a - c) - (b - d)))))
        for a, b, c, d in zip(*[one.tolist() for one in ours], strict=True)
    ]
    assert math.isclose(loss.item(), sum(plain) / size, rel_tol=1e-9)


def test_dpo_at_the_start_is_log_two_and_stays_finite():
    before = torch.tensor([-3.0, -9.0]), torch.tensor([-5.0, -2.0])
    close(dpo_loss(*before, *before), torch.tensor(math.log(2)), 1e-6)
    far = torch.tensor([-5000.0])
    near = torch.tensor([0.0])
    assert dpo_loss(far, near, near, near, beta=1.0) == 5000
    assert dpo_loss(near, far, near, near, beta=1.0) == 0


def test_beta_is_a_tenth_unless_given():
    torch.manual_seed(0)
    four = [-8 * torch.rand(5) for _ in range(4)]
    close(dpo_loss(*four), dpo_loss(*four, beta=0.1), 0)


def test_dpo_refuses():
    x = torch.zeros(3)
    with pytest.raises(ValueError, match="beta must be above 0, got 0"):
        dpo_loss(x, x, x, x, beta=0)
    with pytest.raises(ValueError, match=r"\(3,\), \(3,\), \(3,\), \(2,\)"):
        dpo_loss(x, x, x, x[:2])


def test_a_pair_is_the_best_and_the_worst():
    assert preference_pair(["a", "b", "c"], [0.2, 0.9, 0.1]) == Pair("b", "c")
    assert preference_pair(["a", "b", "c", "d"], [0.5, 0.9, 0.5, 0.9]) == Pair("b", "a")
    with pytest.raises(
        ValueError, match=r"^all 2 .* score 0.5, so none.*: leave this picture out, or sample more$"
    ):
        preference_pair(["a", "b"], [0.5, 0.5])
    expected = "^expected a score for each of two sentences or more, got 1 sentences and 1 scores"
    with pytest.raises(ValueError, match=expected):
        preference_pair(["a"], [0.5])
    with pytest.raises(ValueError, match="got 2 sentences and 3 scores"):
        preference_pair(["a", "b"], [0.5, 0.1, 0.2])


# Self-critical training ------------------------------------------------------------------------


def test_the_self_critical_loss_and_its_gradient_by_hand():
    log_probs = torch.tensor([-1.0, -2.0, -4.0], requires_grad=True)
    rewards = torch.tensor([1.0, 0.5, 0.0], requires_grad=True)
    loss = self_critical_loss(log_probs, rewards, torch.tensor([0.5, 0.5, 0.5]))
    close(loss, torch.tensor((0.5 * 1 + 0 + -0.5 * 4) / 3), 1e-6)
    loss.backward()
    close(log_probs.grad, torch.tensor([-0.5, 0, 0.5]) / 3, 1e-6)
    assert rewards.grad is None
    with pytest.raises(ValueError, match=r"^expected a reward and.*\(3,\), \(2,\) and \(3,\)"):
        self_critical_loss(log_probs, rewards[:2], rewards)


def test_the_gradient_is_that_of_the_expected_reward():
    torch.manual_seed(0)
    logits = torch.randn(4, dtype=torch.double, requires_grad=True)
    rewards = torch.tensor([0.0, 1.0, 0.3, 0.7], dtype=torch.double)
    exact = torch.autograd.grad(-(logits.softmax(0) * rewards).sum(), logits)[0]
    found = torch.zeros(4, dtype=torch.double)
    for choice in range(4):  # the mean over all samples, with any baseline
        probability = logits.detach().softmax(0)[choice]
        one = logits.log_softmax(0)[choice : choice + 1]
        loss = self_critical_loss(one, rewards[choice : choice + 1], torch.tensor([0.9]).double())
        found += probability * torch.autograd.grad(loss, logits)[0]
    close(found, exact)


def test_sentence_log_probs_are_those_of_writing():
    captioner = hub.load("scenes")
    scenes = SCENES[:5]
    memory = captioner.encode(np.stack([scene.image for scene in scenes])).detach()
    written = captioner.write(memory, "greedy")
    rows = [[captioner.ids[word] for word in one.tokens[:-1]] for one in written]
    found = sentence_log_probs(captioner, memory, rows)
    close(found, torch.tensor([one.log_prob for one in written]), 1e-4)
    assert len({len(row) for row in rows}) > 1
    one = sentence_log_probs(captioner, memory[1:2], rows[1:2])
    close(found[1:2], one, 1e-5)
    assert found.requires_grad


def test_rewards_are_shares_of_facts():
    scene = SCENES[0]
    score = fact_score(scene.captions[0], scene)
    assert score.precision == score.recall == 1
    for kind in ("f1", "f0.5", "precision", "recall"):
        assert fact_reward(scene.captions[0], scene, kind) == 1
        assert fact_reward("of of", scene, kind) == 0
    many = next(scene for scene in SCENES if len(scene.facts) > 4)
    noun = many.objects[0].noun
    short = fact_score(noun, many)
    assert fact_reward(noun, many, "precision") == 1  # so few words can win
    assert fact_reward(noun, many, "recall") == short.recall == 1 / len(many.facts)
    f1 = 2 * short.recall / (1 + short.recall)
    assert math.isclose(fact_reward(noun, many), f1)
    share = 1.25 / (1 + 0.25 / short.recall)  # 1 / F = (1 / P + 0.25 / R) / 1.25
    assert math.isclose(fact_reward(noun, many, "f0.5"), share) and share > f1
    with pytest.raises(ValueError, match=r"unknown reward 'bleu'.*f1, f0.5, precision, recall"):
        fact_reward("a dog", many, "bleu")


# Instructions ----------------------------------------------------------------------------------


def test_instructions_are_true_of_their_scenes():
    tasks = set()
    for number, scene in enumerate(SCENES):
        found = instructions(scene, Random(number))
        tasks |= set(found)
        assert found["caption"].answer in scene.captions
        assert found["caption"].prompt == "picture"
        asked = {(one.text, one.answer) for one in scene.questions}
        question = found["question"]
        assert (question.prompt + " ?", question.answer) in asked
        there = [thing.noun for thing in scene.objects]
        if "box" in found:
            noun = found["box"].prompt.removeprefix("where is the ")
            assert there.count(noun) == 1
            assert read_box(found["box"].answer) == scene.objects[there.index(noun)].box
        else:
            assert all(there.count(noun) > 1 for noun in there)
        absent = found["refusal"].prompt.removeprefix("where is the ")
        assert absent not in there
        assert found["refusal"].answer == f"there is no {absent}"
        assert all(one.task == task for task, one in found.items())
    assert tasks == {"caption", "question", "box", "refusal"}
    for task in ("caption", "question"):
        assert len({instructions(SCENES[3], Random(seed))[task] for seed in range(9)}) > 2
    world = [thing.noun for thing in SCENES[3].objects] + ["dragon"]
    refused = instructions(SCENES[3], Random(0), world)["refusal"]
    assert refused.answer == "there is no dragon"
    assert instructions(SCENES[3], Random(1)) == instructions(SCENES[3], Random(1))


def test_boxes_as_text():
    assert box_text((0, 3, 40, 63)) == "0 3 40 63"
    assert read_box(" 0 3 40 63 ") == (0, 3, 40, 63)
    for wrong in ("0 3 40", "0 3 40 63 1", "5 3 5 63", "0 9 40 9", "a b c d", "", "0 -3 4 5"):
        assert read_box(wrong) is None
    assert box_iou((0, 0, 4, 4), (0, 0, 4, 4)) == 1
    assert box_iou((0, 0, 4, 4), (2, 0, 6, 4)) == 8 / 24
    assert box_iou((0, 0, 4, 4), (1, 2, 3, 7)) == 4 / (16 + 10 - 4)
    assert box_iou((1, 4, 7, 6), (2, 3, 5, 8)) == 6 / (12 + 15 - 6)
    assert box_iou((0, 0, 4, 4), (0, 5, 4, 9)) == 0
    assert box_iou((0, 0, 4, 4), (5, 0, 6, 4)) == 0
    assert box_iou((0, 0, 4, 4), (5, 5, 9, 9)) == 0


def test_what_counts_as_right():
    box = Instruction("box", "where is the car", "0 0 10 10")
    assert is_right(box, "0 0 10 9") and is_right(box, " 0 0 10 5")
    assert not is_right(box, "0 0 10 4")
    assert not is_right(box, "there is no car")
    refused = Instruction("refusal", "where is the car", "there is no car")
    assert is_right(refused, "there is no dog")
    assert not is_right(refused, "0 0 10 10")
    asked = Instruction("question", "how many", "two")
    assert is_right(asked, " two ") and not is_right(asked, "two dogs")
    with pytest.raises(ValueError, match="^a caption is right in part: .*fact_score"):
        is_right(Instruction("caption", "picture", "a dog"), "a dog")


# Tiles -----------------------------------------------------------------------------------------


def test_tiles_are_the_parts_of_the_picture():
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    tiles = cut_into_tiles(image, 3)
    assert tiles.shape == (6, 3, 3, 3)
    assert (tiles[0] == image[:3, :3]).all()
    assert (tiles[1] == image[:3, 3:6]).all()
    assert (tiles[3] == image[3:, :3]).all()
    assert (tiles[5, :, :2] == image[3:, 6:]).all()
    assert (tiles[5, :, 2] == image[3:, 7]).all()  # filled with the last column
    assert (cut_into_tiles(image[:5], 3)[3, 2] == image[4, :3]).all()
    whole = np.full((4, 4, 3), 7, np.uint8)
    whole[:2, :2] = 11
    assert (overview(whole, 2)[0, 0] == 11).all() and (overview(whole, 2)[1] == 7).all()
    halves = np.zeros((4, 4, 3), np.uint8)
    halves[:, 1::2] = 100
    assert (overview(halves, 2) == 50).all()  # the mean of a box, and of nothing beside it
    assert overview(image, 4).shape == (4, 4, 3) and overview(image, 4).dtype == np.uint8
    with pytest.raises(ValueError, match=r"expected uint8 \(H, W, 3\), got float64"):
        cut_into_tiles(image / 255, 3)
    with pytest.raises(ValueError, match=r"got uint8 \(6, 8\)"):
        cut_into_tiles(image[..., 0], 3)
    assert cut_into_tiles(image, 1).shape == (48, 1, 1, 3)
    with pytest.raises(ValueError, match="at least one pixel"):
        cut_into_tiles(image, 0)


def test_a_scene_without_its_picture_still_answers():
    scene = replace(SCENES[1], image=None)
    assert instructions(scene, Random(0)) == instructions(SCENES[1], Random(0))
