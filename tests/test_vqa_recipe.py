"""The recipe of the answerer and its study: where training begins, and what is stored."""

import numpy as np
import pytest
import torch

from mmcourse.data.dialogues import TURNS, TwoThings
from mmcourse.data.drawings import nouns
from mmcourse.evaluation import auroc
from mmcourse.recipes import vqa as recipe
from mmcourse.vqa import Answerer, Asked, all_answers, all_words, prompt_tokens


@pytest.fixture(scope="module")
def captioner():
    return recipe.load_captioner()


@pytest.fixture(scope="module")
def seen(captioner):
    """Forty scenes, their memory and the nouns of their cells."""
    scenes = [recipe.EmojiScenes("train")[index] for index in range(40)]
    memory = recipe.encode([scene.image for scene in scenes], captioner.encode)
    return scenes, memory, recipe.cells_of(scenes)


def test_encoding_in_batches_is_encoding(captioner, seen):
    scenes, memory, cells = seen
    assert memory.dtype == torch.float16 and memory.shape == (40, 64, 128)
    one = captioner.encode(scenes[7].image[None])[0]
    torch.testing.assert_close(memory[7].float(), one, atol=2e-3, rtol=2e-3)
    present = {nouns()[number - 1].name for number in cells[7].unique().tolist() if number}
    assert present <= {group.noun for group in scenes[7].description.groups}


def test_it_begins_as_the_captioner(captioner):
    torch.manual_seed(0)
    model = Answerer(all_words(), (), **recipe.MODEL)
    recipe.start_from(model, captioner)
    words = ["red", "left", "grass"]
    for word in words:
        same = captioner.output.weight[captioner.ids[word]]
        torch.testing.assert_close(model.output.weight[model.ids[word]], same)
        known = captioner.embedding.weight[captioner.ids[word]]
        torch.testing.assert_close(model.embedding.weight[model.ids[word]], known)
    lengths = model.embedding.weight[[model.ids["dog"], model.ids["dogs"]]].norm(dim=1)
    torch.testing.assert_close(lengths, torch.full((2,), recipe.NOUN_LENGTH))
    ours = dict(model.decoder.named_parameters())
    for name, theirs in captioner.decoder.named_parameters():
        torch.testing.assert_close(ours[name], theirs)


def test_grounding_begins_as_a_comparison(captioner, seen):
    scenes, memory, cells = seen
    torch.manual_seed(0)
    model = Answerer(all_words(), (), **recipe.MODEL)
    recipe.start_from(model, captioner, memory, cells)
    names = sorted({group.noun for scene in scenes for group in scene.description.groups})
    prompts = [prompt_tokens(f"is there a {name} ?", (), model.ids) for name in names]
    scores, there = [], []
    with torch.no_grad():
        seen_keys = model.grounding.cell_key(memory.float() + model.places)
        for name, prompt in zip(names, prompts, strict=True):
            query = model.grounding.word_key(model.embedding.weight[prompt[-2]])
            scores += (seen_keys @ query).amax(1).tolist()
            there += [any(g.noun == name for g in s.description.groups) for s in scenes]
    squashed = 1 / (1 + np.exp(-np.array(scores)))
    assert auroc(squashed, np.array(there)) > 0.95


def test_second_turns_carry_the_first():
    scenes = [TwoThings("val", 64)[index] for index in range(3)]
    asked = recipe.ask_in_turn(scenes, 10)
    assert [each.scene for each in asked] == [10] * 6 + [11] * 6 + [12] * 6
    assert all(len(each.history) == 1 and each.history[0][1] for each in asked)


def test_lessons_hold_every_kind(captioner):
    memory, asked = recipe.lessons_of(captioner.encode, 6, 2)
    assert memory.shape == (8, 64, 128)
    assert {each.scene for each in asked} == set(range(8))
    assert {each.kind for each in asked if each.scene >= 6} == set(TURNS)
    presence = [each.answer for each in asked if each.kind == "presence"]
    assert presence.count("yes") >= 6 and presence.count("no") >= 6


def test_calibration_gives_two_numbers(captioner, monkeypatch):
    model = Answerer(all_words(), all_answers(), **recipe.MODEL)
    rng = np.random.default_rng(0)
    own = rng.uniform(0.05, 0.95, 3000)
    right = rng.random(3000) < own
    texts = ["yes" if flag else "no" for flag in right]
    monkeypatch.setattr(model, "answer_all", lambda *_: (texts, np.log(own).tolist()))
    offset, weight = recipe.calibrate(model, None, [Asked(0, "", "yes", "")] * 3000)
    assert abs(offset) < 0.2 and abs(weight - 1) < 0.15 and model.calibration == [offset, weight]
