"""The answerer: equal to plain PyTorch with copied weights, blind to padding, batch and future."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmcourse.training import parameter_groups
from mmcourse.vqa import (
    SHARED,
    Answerer,
    Asked,
    Lessons,
    all_answers,
    all_words,
    ask_about,
    belongs_to_an_answer,
    fit,
    learning,
    log_odds,
    pad_rows,
    prompt_tokens,
    turn_tokens,
)
from mmcourse.vqa.answering import LONGEST_ANSWER, TOGETHER, rows_of_one_length
from mmcourse.vqa.conversation import ASK, END, PAD, START
from mmcourse.weights import change_config
from tests.helpers import close, copy_attention, randomise

pytestmark = pytest.mark.usefixtures("double")
WORDS = ["is", "there", "a", "dog", "cat", "yes", "no", "what", "colour", "it", "red", "pale"]
ANSWERS = ["yes", "no", "red", "pale red"]
SHAPES = [(3, 7, 12, 3, 5), (1, 4, 8, 1, 9), (2, 9, 20, 5, 6)]  # B, N, width, heads, channels


def made(N=9, width=12, heads=3, channels=5, layers=2, **more):
    torch.manual_seed(1)
    model = Answerer(WORDS, ANSWERS, channels, N, width, heads, layers, 7, 5, 24, **more)
    randomise(model)
    with torch.no_grad():
        model.grounding.sharpness.fill_(1.5)
    return model.eval()


def ids(text, model):
    return [model.ids[word] for word in text.split()]


def torch_decoder(model, width, heads):
    """torch.nn.TransformerDecoderLayers with the weights of ours."""
    layers = []
    for layer in model.decoder.layers:
        theirs = nn.TransformerDecoderLayer(
            width, heads, 7, 0.0, "gelu", batch_first=True, norm_first=True
        )
        copy_attention(layer.attention, theirs.self_attn)
        copy_attention(layer.cross_attention, theirs.multihead_attn)
        theirs.linear1.load_state_dict(layer.feed_forward[0].state_dict())
        theirs.linear2.load_state_dict(layer.feed_forward[3].state_dict())
        for number in (1, 2, 3):
            ours = getattr(layer, f"norm{number}")
            getattr(theirs, f"norm{number}").load_state_dict(ours.state_dict())
        layers.append(theirs.eval())
    return layers


def plainly_grounded(layer, words, cells):
    """What each word finds, one word and one cell at a time."""
    found = torch.zeros_like(words)
    for row, place in torch.cartesian_prod(torch.arange(len(words)), torch.arange(words.shape[1])):
        query = layer.word_key.weight @ words[row, place]
        scores = [
            query @ (layer.cell_key.weight @ cell + layer.cell_key.bias) for cell in cells[row]
        ]
        powers = [(layer.sharpness * score).exp() for score in scores]
        mean = sum(p * cell for p, cell in zip(powers, cells[row], strict=True)) / sum(powers)
        found[row, place] = layer.value(mean) + max(scores) * layer.strength
    return found


@pytest.mark.parametrize("shape", SHAPES)
def test_states_equal_torchs_decoder(shape):
    B, N, width, heads, channels = shape
    model = made(N, width, heads, channels)
    memory = torch.randn(B, N, channels)
    tokens = torch.randint(4, 16, (B, 6))
    words = model.embedding(tokens)
    cells = memory @ model.look.weight.T + model.look.bias + model.places[0]
    x = words + model.positions[0, :6] + plainly_grounded(model.grounding, words, cells)
    future = torch.ones(6, 6).triu(1).bool()
    for layer in torch_decoder(model, width, heads):
        x = layer(x, cells, tgt_mask=future)
    close(model.states(memory, tokens), model.decoder.norm(x))


def test_scores_of_the_grounding_are_products_of_keys():
    model, memory = made(), torch.randn(2, 9, 5)
    prompts = [prompt_tokens("is there a dog ?", (), model.ids)] * 2
    layer, cells = model.grounding, model.look(memory) + model.places
    found = model.grounded(memory, prompts)
    assert found.shape == (2, 6, 9)
    key = layer.cell_key(cells[1, 4])
    close(found[1, 3, 4], layer.word_key(model.embedding.weight[prompts[0][3]]) @ key)
    plain = Answerer(WORDS, ANSWERS, 5, 9, 12, 3, 1, 7, 0, 24)
    assert plain.states(memory, torch.tensor(prompts)).shape == (2, 6, 12)
    with pytest.raises(
        ValueError, match="^this answerer has no grounding: make it with ground=64$"
    ):
        plain.grounded(memory, prompts)


def test_a_cache_changes_nothing():
    model, memory = made(), torch.randn(2, 9, 5)
    tokens = torch.randint(4, 16, (2, 7))
    cache = {}
    parts = [model.states(memory, tokens[:, a:b], cache=cache) for a, b in ((0, 3), (3, 4), (4, 7))]
    close(torch.cat(parts, 1), model.states(memory, tokens))


def test_rows_may_share_a_picture():
    model, memory = made(), torch.randn(2, 9, 5)
    tokens = torch.randint(4, 16, (6, 5))
    shared = model.states(memory, tokens)
    close(shared, model.states(memory.repeat_interleave(3, 0), tokens))


def test_neither_the_future_nor_padding_nor_the_batch_is_read():
    model, memory = made(), torch.randn(3, 9, 5)
    tokens = torch.randint(4, 16, (3, 7))
    before = model.states(memory, tokens)
    other = tokens.clone()
    other[:, 4:] = PAD
    close(model.states(memory, other)[:, :4], before[:, :4])
    close(model.states(memory[1:2], tokens[1:2]), before[1:2])
    assert (model.states(memory, other)[:, 4:] - before[:, 4:]).abs().max() > 1e-3


def test_cells_have_places_and_the_memory_counts():
    model, memory = made(), torch.randn(2, 9, 5)
    tokens = torch.randint(4, 16, (2, 5))
    before = model.states(memory, tokens)
    assert (model.states(memory.flip(1), tokens) - before).abs().max() > 1e-3
    nn.init.zeros_(model.places)
    order = torch.randperm(9)
    close(model.states(memory[:, order], tokens), model.states(memory, tokens))


def test_too_many_words():
    model = made()
    with pytest.raises(ValueError, match="reads at most 24 words of a conversation, got 25"):
        model.states(torch.randn(1, 9, 5), torch.ones(1, 25).long())
    assert model.states(torch.randn(1, 9, 5), torch.ones(1, 24).long()).shape == (1, 24, 12)
    cache = {}
    model.states(torch.randn(1, 9, 5), torch.ones(1, 20).long(), cache=cache)
    with pytest.raises(ValueError, match="got 25"):
        model.states(torch.randn(1, 9, 5), torch.ones(1, 5).long(), cache=cache)


# ---- what is learnt


def test_tokens_of_a_conversation():
    model = made()
    history = (("is there a dog ?", "yes"),)
    prompt = prompt_tokens("What colour is it?", history, model.ids)
    expected = [START, *ids("is there a dog", model), ASK, *ids("yes", model), END]
    assert prompt == [*expected, *ids("what colour is it", model), ASK]
    assert turn_tokens("is there a cat ?", "no", model.ids)[-3:] == [ASK, model.ids["no"], END]
    with pytest.raises(KeyError):
        turn_tokens("is there a unicorn ?", "no", model.ids)


def plainly_due(row):
    """Which tokens of a list are to be said, with a flag and a loop."""
    found, answering = [], False
    for token in row:
        found.append(answering and token != PAD)
        if token == ASK:
            answering = True
        if token == END:
            answering = False
    return found


def test_what_is_to_be_said_are_answers_and_their_ends():
    model = made()
    rows = [
        [START, *turn_tokens("is there a dog", "yes", model.ids)],
        [
            START, *turn_tokens("is there a dog", "pale red", model.ids),
            *turn_tokens("what colour is it", "red", model.ids),
        ],
        [START, *ids("is there a", model), ASK],
    ]  # fmt: skip
    tokens = pad_rows(rows)
    assert belongs_to_an_answer(tokens).tolist() == [plainly_due(row) for row in tokens.tolist()]
    assert belongs_to_an_answer(tokens)[1].sum() == 5


def test_terms_by_hand():
    model, memory = made(), torch.randn(2, 9, 5)
    rows = [
        [START, *turn_tokens("is there a dog", "yes", model.ids)],
        [
            START, *turn_tokens("is there a cat", "yes", model.ids),
            *turn_tokens("what colour is it", "pale red", model.ids),
        ],
    ]  # fmt: skip
    words, chosen = [], []
    for row, answers, cells in zip(rows, ([0], [0, 3]), memory, strict=True):
        states = model.states(cells[None], torch.tensor([row]))[0]
        due = plainly_due(row)
        for position in range(1, len(row)):
            if due[position]:
                log_probs = model.output(states[position - 1]).log_softmax(0)
                words.append(-log_probs[row[position]])
        for position, answer in zip(
            [place for place, token in enumerate(row) if token == ASK], answers, strict=True
        ):
            chosen.append(-model.choice(states[position]).log_softmax(0)[answer])
    expected = torch.stack([sum(words) / len(words), sum(chosen) / len(chosen)])
    choices = torch.tensor([[0, -1], [0, 3]])
    close(model.terms(memory, pad_rows(rows), choices), expected)
    more = F.pad(pad_rows(rows), (0, 3), value=PAD)
    close(model.terms(memory, more, choices), expected)


def test_without_a_classifier_there_is_one_term():
    torch.manual_seed(0)
    model = Answerer(WORDS, (), 5, 9, 12, 3, 1, 7, 5, 24)
    tokens = pad_rows([[START, *turn_tokens("is there a dog", "yes", model.ids)]])
    words, chosen = model.terms(torch.randn(1, 9, 5), tokens, torch.tensor([[0]]))
    assert words > 0 and chosen == 0
    said = "^this answerer has no classifier: make it with a list of answers$"
    with pytest.raises(ValueError, match=said):
        model.answer_all(torch.randn(1, 9, 5), [Asked(0, "is there a dog", "", "")], choose=True)


LESSONS = [
    Asked(4, "is there a dog ?", "yes", "presence"),
    Asked(4, "what colour is it ?", "pale red", "colour", (("is there a dog ?", "yes"),)),
    Asked(7, "is there a cat ?", "no", "presence"),
]


def test_a_batch_has_the_questions_of_its_scenes():
    model = made()
    lessons = Lessons(LESSONS, model)
    rows, tokens, choices = lessons.batch(50, torch.Generator().manual_seed(0))
    assert set(rows.tolist()) == {4, 7} and tokens.shape[0] == 50 * SHARED == len(choices)
    seen = set()
    for row, sentence, answers in zip(
        rows.repeat_interleave(SHARED).tolist(), tokens.tolist(), choices.tolist(), strict=True
    ):
        words = [token for token in sentence if token != PAD]
        (number,) = [n for n, known in enumerate(lessons.tokens) if known == words]
        assert LESSONS[number].scene == row
        assert [answer for answer in answers if answer >= 0] == lessons.choices[number]
        seen.add(number)
    assert seen == {0, 1, 2} and lessons.choices == [[0], [0, 3], [1]]
    assert set(choices[:, 1].tolist()) == {-1, 3}
    again = lessons.batch(50, torch.Generator().manual_seed(0))
    assert torch.equal(again[1], tokens)
    assert not torch.equal(lessons.batch(50, torch.Generator().manual_seed(1))[0], rows)


def test_an_answer_that_cannot_be_given_is_no_lesson():
    with pytest.raises(KeyError):
        Lessons([Asked(0, "is there a dog ?", "what", "presence")], made())
    plain = Answerer(WORDS, (), 5, 9, 12, 3, 1, 7, 5, 24)
    assert Lessons([Asked(0, "is there a dog ?", "what", "presence")], plain).choices == [[0]]


def test_training_step_by_step():
    """AdamW, whose rate warms up and falls, with clipped gradients, on what the seed draws."""
    torch.set_default_dtype(torch.float32)
    model = made(N=4).float()
    memory, lessons = 3 * torch.randn(8, 4, 5).half(), Lessons(LESSONS, model)
    by_hand, again = copy.deepcopy(model), copy.deepcopy(model)
    logged = []
    settings = {"steps": 101, "rate": 3e-3, "seed": 5, "scenes": 3, "decay": 0.3}
    fit(model, lessons, memory, log=lambda *parts: logged.append(parts), **settings)
    generator = torch.Generator().manual_seed(5)
    optimizer = torch.optim.AdamW(parameter_groups(by_hand, 0.3), lr=0.0, fused=True)
    losses, norms = [], []
    for step in range(101):
        rate = 3e-3 * (step + 1) / 5
        if step >= 5:
            rate = 3e-3 * (1 + math.cos(math.pi * (step - 5) / (101 - 5))) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate
        rows, tokens, choices = lessons.batch(3, generator)
        loss = by_hand.train().terms(memory[rows].float(), tokens, choices).sum()
        loss.backward()
        norms.append(nn.utils.clip_grad_norm_(by_hand.parameters(), 1.0).item())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert max(norms) > 2 * min(norms)  # so that it matters at which norm they are clipped
    assert logged == [(0, pytest.approx(losses[0])), (100, pytest.approx(losses[100], abs=1e-4))]
    for ours, theirs in zip(model.parameters(), by_hand.parameters(), strict=True):
        close(ours, theirs, 1e-6)
    fit(again, lessons, memory, **settings)
    for ours, theirs in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_what_training_is_unless_told_otherwise(monkeypatch):
    torch.set_default_dtype(torch.float32)
    seen = []
    monkeypatch.setattr(learning, "parameter_groups", lambda model, decay: seen.append(decay) or [
        {"params": list(model.parameters())}])  # fmt: skip
    lessons = Lessons(LESSONS, made(N=4))
    monkeypatch.setattr(
        lessons, "batch", lambda scenes, generator: seen.append(scenes) or batch(4, generator)
    )
    batch = Lessons(LESSONS, made(N=4)).batch
    fit(made(N=4).float(), lessons, torch.randn(8, 4, 5), steps=2, rate=1e-3, seed=0)
    assert seen == [0.01, 32, 32]


def test_it_learns_to_look_and_to_remember():
    torch.set_default_dtype(torch.float32)
    torch.manual_seed(0)
    model = Answerer(WORDS, ANSWERS, 5, 4, 16, 2, 1, 16, 4, 24)
    memory = torch.randn(8, 4, 5).half()
    asked = []
    for scene in range(8):
        there = "yes" if scene < 4 else "no"
        colour = "red" if scene % 2 else "pale red"
        asked.append(Asked(scene, "is there a dog ?", there, "presence"))
        for history, answer in (("dog", colour), ("cat", "no")):
            turns = ((f"is there a {history} ?", there),)
            asked.append(Asked(scene, "what colour is it ?", answer, "colour", turns))
    fit(model, Lessons(asked, model), memory, steps=150, rate=1e-2, seed=0, scenes=8)
    assert not model.training
    for choose in (False, True):
        texts, log_probs = model.answer_all(memory, asked, choose)
        assert texts == [each.answer for each in asked]
        assert min(log_probs) > math.log(0.5) and max(log_probs) <= 0


# ---- answering


def questions():
    texts = ["is there a dog ?", "what colour is it ?", "is there a cat ?", "what colour ?"]
    history = (("is there a dog ?", "no"),)
    return [Asked(n % 2, texts[n % 4], "", "", history * (n % 3 == 0)) for n in range(9)]


def plainly_written(model, memory, prompt):
    """Greedy writing without a cache, one row alone: words and their log-probability."""
    tokens, total = list(prompt), 0.0
    for _ in range(LONGEST_ANSWER):
        states = model.states(memory[None], torch.tensor([tokens]))[0, -1]
        log_probs = model.output(states).log_softmax(0)
        best = int(log_probs.argmax())
        total += log_probs[best].item()
        tokens.append(best)
        if best == END:
            break
    words = [token for token in tokens[len(prompt) :] if token != END]
    return " ".join(model.words[token] for token in words), total


def test_many_answers_equal_single_ones():
    model, memory = made(), torch.randn(2, 9, 5)
    asked = questions()
    texts, log_probs = model.answer_all(memory, asked)
    chosen, choice_probs = model.answer_all(memory, asked, choose=True)
    for row, each in enumerate(asked):
        prompt = prompt_tokens(each.text, each.history, model.ids)
        text, log_prob = plainly_written(model, memory[each.scene], prompt)
        assert texts[row] == text and log_probs[row] == pytest.approx(log_prob)
        state = model.states(memory[each.scene][None], torch.tensor([prompt]))[0, -1]
        of_all = model.choice(state).log_softmax(0)
        assert chosen[row] == ANSWERS[int(of_all.argmax())]
        assert choice_probs[row] == pytest.approx(of_all.max().item())


def test_rows_of_one_length_are_each_there_once():
    prompts = [[0] * length for length in [3, 5, 3] + [4] * (TOGETHER + 1)]
    batches = rows_of_one_length(prompts)
    assert sorted(row for rows in batches for row in rows) == list(range(len(prompts)))
    assert all(len({len(prompts[row]) for row in rows}) == 1 for rows in batches)
    assert max(map(len, batches)) == TOGETHER


def test_attention_is_that_of_the_last_question_mark():
    model, memory = made(), torch.randn(2, 9, 5)
    prompts = [prompt_tokens("is there a dog ?", (), model.ids)] * 2
    weights = model.attention(memory, prompts)
    assert weights.shape == (2, 2, 3, 9)
    close(weights.sum(-1), torch.ones(2, 2, 3))
    _, all_weights = model.states(memory, torch.tensor(prompts), return_weights=True)
    close(weights, all_weights[:, :, :, len(prompts[0]) - 1])
    assert (all_weights[:, :, :, 0] - weights).abs().max() > 1e-3


def test_confidence():
    model = made()
    own = [0.9, 0.5, 1e-9, 1.0]
    log_probs = [math.log(p) for p in own]
    assert model.confidences(log_probs) == pytest.approx(own)
    assert "not calibrated" in model.confidence_is
    model.calibration = [0.3, 2.0]
    found = model.confidences(log_probs)
    for confidence, p in zip(found[:2], own, strict=False):
        assert confidence == pytest.approx(1 / (1 + math.exp(-0.3) * ((1 - p) / p) ** 2))
    assert found[3] > found[0] > found[1] > found[2]
    assert 0 < found[2] < 1e-6 and found[3] < 1
    assert model.confidence_is.startswith("probability that the answer is right, fitted on")
    assert log_odds([0.5]).tolist() == [[0.0]]
    limit = math.log((1 - 1e-6) / 1e-6)
    assert log_odds([0, 1]).ravel() == pytest.approx([-limit, limit])
    assert made(calibration=[0.3, 2.0]).confidences(log_probs) == found


def test_what_an_answerer_is_unless_told_otherwise():
    torch.manual_seed(0)
    model = Answerer(all_words())
    assert model.look.weight.shape == (128, 128) and model.places.shape == (1, 64, 128)
    assert [layer.attention.heads for layer in model.decoder.layers] == [4, 4]
    assert model.grounding.word_key.weight.shape == (64, 128)
    assert model.grounding.word_key.bias is None and model.grounding.sharpness == 10
    assert model.max_length == 64 and model.positions.shape == (1, 64, 128)
    assert model.encoder_name == "scenes" and model.choice is None and model.calibration is None
    for weights, spread in (
        (model.embedding.weight, 0.02), (model.positions, 0.02), (model.grounding.strength, 0.3),
    ):  # fmt: skip
        assert weights.std().item() == pytest.approx(spread, rel=0.2)


@pytest.mark.parametrize("small", [False, True])
def test_weights_of_another_size_are_refused_by_name(small, tmp_path):
    answers, ground = ((), 0) if small else (ANSWERS, 5)
    model = Answerer(WORDS, answers, 5, 9, 12, 3, 2, 7, ground, 24).float()
    model.save_pretrained(tmp_path)
    again = Answerer.from_pretrained(tmp_path)
    assert again.words == model.words and again.answers == list(answers)
    assert (again.grounding is None) == (again.choice is None) == small
    sizes = {"channels": 5, "cells": 9, "width": 12, "layers": 2, "max_length": 24}
    for name, size in (sizes | {"ground": ground}).items():
        change_config(tmp_path, **{name: size + 1})
        said = f"^config.json says {name} {size + 1}, .* with {size}:"
        with pytest.raises(ValueError, match=said):
            Answerer.from_pretrained(tmp_path)
        change_config(tmp_path, **{name: size})
    for name, texts in (("vocabulary", WORDS), ("answers", answers)):
        change_config(tmp_path, **{name: [*texts, "more"]})
        with pytest.raises(ValueError, match=f"^config.json says {name} .* with {len(texts)}:"):
            Answerer.from_pretrained(tmp_path)
        change_config(tmp_path, **{name: list(texts)})
    assert Answerer.from_pretrained(tmp_path).words == model.words


def test_words_and_answers_are_those_of_the_scenes():
    from mmcourse.data import EmojiScenes
    from mmcourse.data.captioned import words_of

    words, answers = set(all_words()), all_answers()
    assert len(set(answers)) == len(answers) and len(all_words()) == len(words)
    assert all_words() == sorted(words) and "and" in words and "," not in words
    for split in ("val", "style"):
        for index in range(60):
            for question in EmojiScenes(split, 32)[index].questions:
                assert question.answer in answers
                assert words.issuperset(words_of(f"{question.text} {question.answer}"))


def test_ask_about():
    from mmcourse.data import EmojiScenes

    scenes = [EmojiScenes("val", 32)[index] for index in range(3)]
    asked = ask_about(scenes)
    assert [each.scene for each in asked] == [
        row for row, scene in enumerate(scenes) for _ in scene.questions
    ]
    assert asked[0].turns == ((asked[0].text, asked[0].answer),)
    assert [each.text for each in asked if each.scene == 1] == [q.text for q in scenes[1].questions]
    both = Asked(0, "b ?", "2", "k", (("a ?", "1"),))
    assert both.turns == (("a ?", "1"), ("b ?", "2"))
