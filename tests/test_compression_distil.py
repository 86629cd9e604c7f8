"""Distillation: the loss against PyTorch's, what a lesson holds, and that a student learns."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmcourse.captioning import PAD, SceneCaptioner
from mmcourse.captioning.captioner import next_words
from mmcourse.compression import distillation_loss, lessons, soft_loss, student_terms
from mmcourse.compression.distil import Soft, collate, largest
from mmcourse.data import Practice
from mmcourse.data.language import vocabulary
from mmcourse.recipes import compression as recipe

SHAPES = [(1, 3), (4, 7), (2, 5, 11)]


@pytest.fixture(scope="module")
def teacher():
    return recipe.load_teacher()


@pytest.fixture(scope="module")
def told(teacher):
    return lessons(teacher, [Practice()[index] for index in range(24)])


def tiny():
    torch.manual_seed(0)
    return SceneCaptioner(vocabulary(), width=24, heads=3, channels=[8, 8, 16], blocks=[0, 0, 1])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_distillation_equals_the_divergence_of_pytorch(shape, temperature):
    torch.manual_seed(0)
    student = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(shape, dtype=torch.float64)
    loss = distillation_loss(student, teacher, temperature)
    p = (teacher / temperature).softmax(-1)
    log_q = (student / temperature).log_softmax(-1)
    divergence = F.kl_div(log_q, p, reduction="none").sum(-1)
    entropy = -(p * p.log()).sum(-1)
    torch.testing.assert_close(loss, temperature**2 * (divergence + entropy))
    (gradient,) = torch.autograd.grad(loss.sum(), student)
    torch.testing.assert_close(gradient, temperature * (log_q.exp() - p))


def test_a_hot_gradient_is_that_of_the_logits():
    """Hinton et al. 2015, equation 4: for high temperatures, the difference of centred logits."""
    torch.manual_seed(0)
    student = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(3, 5, dtype=torch.float64)
    loss = distillation_loss(student, teacher, 1000.0).sum()
    (gradient,) = torch.autograd.grad(loss, student)
    centred = (student - student.mean(-1, keepdim=True)) - (
        teacher - teacher.mean(-1, keepdim=True)
    )
    torch.testing.assert_close(gradient, centred / 5, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("shape", SHAPES)
def test_all_classes_kept_is_the_whole_loss(shape):
    torch.manual_seed(0)
    student, teacher = torch.randn(shape), torch.randn(shape).half().float()
    whole = distillation_loss(student, teacher, 2.0)
    soft = largest(teacher, shape[-1])
    torch.testing.assert_close(soft_loss(student, soft, 2.0), whole, atol=1e-5, rtol=1e-5)
    # with two classes of the teacher, these share all of its probability
    two = largest(teacher, 2)
    hidden = torch.full(shape, -1e9).scatter(-1, two.classes.long(), two.logits.float())
    expected = distillation_loss(student, hidden, 2.0)
    torch.testing.assert_close(soft_loss(student, two, 2.0), expected, atol=1e-5, rtol=1e-5)


def test_what_is_refused():
    for bad in (0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="temperature must be above 0"):
            distillation_loss(torch.zeros(1, 2), torch.zeros(1, 2), bad)
        with pytest.raises(ValueError, match="temperature must be above 0"):
            soft_loss(torch.zeros(1, 2), Soft(torch.zeros(1, 1).long(), torch.zeros(1, 1)), bad)
    with pytest.raises(ValueError, match="same vocabulary"):
        distillation_loss(torch.zeros(1, 2), torch.zeros(1, 3), 1.0)


def test_a_lesson_holds_what_the_teacher_says(teacher, told):
    assert [lesson.tokens is None for lesson in told] == [index % 2 == 1 for index in range(24)]
    spoken = [lesson for lesson in told if lesson.tokens is not None]
    for lesson in spoken:  # nothing of the batch that they were made in
        assert (lesson.tokens != PAD).all()
        assert len(lesson.words.classes) == len(lesson.words.logits) == len(lesson.tokens) - 1
    batch = collate(told)
    assert len(batch["images"]) == 24 and len(batch["tokens"]) == 12
    images = batch["images"]
    with torch.no_grad():
        features = teacher.convolutions(teacher.pixels_of(images))
        cells = teacher.noun_head(features)
        words = teacher.decode(teacher.relate(features[:12]), batch["tokens"][:, :-1])
    there = next_words(batch["tokens"]) != PAD
    best = words.argmax(-1)[there]
    assert (best == batch["word classes"][..., 0].long()[there]).float().mean() > 0.99
    kept = cells.gather(-1, batch["cell classes"].long())
    assert (kept - batch["cell logits"].float()).abs().max() < 0.05  # half precision
    assert batch["word classes"].shape[1] == batch["tokens"].shape[1] - 1


def test_a_share_of_nothing_is_the_captioners_own_loss(teacher, told):
    batch = collate(told)
    model = tiny().eval()
    with torch.no_grad():
        own = model.terms({name: batch[name] for name in ("images", "tokens", "cells")})
        found = student_terms(model, batch, share=0.0)
    torch.testing.assert_close(found, own, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_terms_are_softened(told, temperature):
    batch = collate(told[:6])
    model = tiny().eval()
    with torch.no_grad():
        found = student_terms(model, batch, share=1.0, temperature=temperature)
        features = model.convolutions(model.pixels_of(batch["images"]))
        memory = model.relate(features[: len(batch["tokens"])])
        words = model.decode(memory, batch["tokens"][:, :-1])
        cells = model.noun_head(features)
    there = next_words(batch["tokens"]) != PAD
    each = soft_loss(words, Soft(batch["word classes"], batch["word logits"]), temperature)
    torch.testing.assert_close(found[0], each[there].mean(), atol=1e-4, rtol=1e-4)
    each = soft_loss(cells, Soft(batch["cell classes"], batch["cell logits"]), temperature)
    weight = torch.where(batch["cells"] > 0, 1.0, 0.1)
    mean = (each * weight).sum() / weight.sum()
    torch.testing.assert_close(found[1], mean, atol=1e-4, rtol=1e-4)


def test_the_terms_are_means_over_what_is_counted(told):
    batch = collate(told)
    words, cells = recipe.counts(batch).tolist()
    assert words == sum(len(one.tokens) - 1 for one in told if one.tokens is not None)
    full = sum(int((one.cells > 0).sum()) for one in told)
    assert cells == pytest.approx(full + 0.1 * (24 * 64 - full), rel=1e-5)
    model = tiny().eval()
    first = student_terms(model, collate(told[:8]))
    second = student_terms(model, collate(told[8:]))
    parts = recipe.counts(collate(told[:8])), recipe.counts(collate(told[8:]))
    together = (first * parts[0] + second * parts[1]) / (parts[0] + parts[1])
    torch.testing.assert_close(student_terms(model, batch), together, atol=1e-4, rtol=1e-4)


def test_the_teacher_teaches_best_who_is_the_teacher(teacher, told):
    batch = collate(told)
    with torch.no_grad():
        own = student_terms(teacher, batch, share=1.0).sum()
        other = student_terms(tiny().eval(), batch, share=1.0).sum()
    assert own < 0.5 * other


def test_shallow_begins_as_the_teacher(teacher):
    model = recipe.student("shallow").eval()
    same = "decoder.layers.0.feed_forward.0.weight"
    assert torch.equal(model.state_dict()[same], teacher.state_dict()[same])
    norm = model.convolutions.stages[-2]
    assert torch.equal(norm.weight, teacher.convolutions.stages[-2].weight)
    assert len(model.decoder.layers) == 1 and len(model.convolutions.stages) == 7
    images = np.stack([Practice()[0].image])
    with torch.no_grad():  # up to the block that is left out both compute the same
        pixels = model.pixels_of(images)
        ours, theirs = (m.convolutions.stages[:5](pixels) for m in (model, teacher))
    assert torch.equal(ours, theirs)


def test_few_steps_teach_and_a_stopped_run_goes_on(tmp_path, told, monkeypatch):
    monkeypatch.setattr(recipe, "judge", lambda model: {})
    settings = {"steps": 12, "batch_size": 8, "learning_rate": 2e-3, "log_every": 1}
    rows = recipe.train("narrow", tmp_path / "whole", told, **settings)
    losses = [row["loss"] for row in rows]
    assert np.mean(losses[-3:]) < 0.97 * np.mean(losses[:3])

    class Stopped(Exception):
        pass

    calls = []

    def stopping(model, batch, **named):
        calls.append(0)
        if len(calls) == 8:
            raise Stopped
        return student_terms(model, batch, **named)

    monkeypatch.setattr(recipe, "student_terms", stopping)
    with pytest.raises(Stopped):
        recipe.train("narrow", tmp_path / "cut", told, save_every=4, **settings)
    monkeypatch.setattr(recipe, "student_terms", student_terms)
    again = recipe.train("narrow", tmp_path / "cut", told, save_every=4, **settings)
    assert [row["loss"] for row in again] == losses


def test_pruned_weights_are_zero_in_every_step(told, teacher, monkeypatch):
    model = recipe.student("pruned")
    masks = recipe.pruned_masks(teacher)
    seen = []

    def look(model, batch, **named):
        seen.append(all((model.get_submodule(n).weight[~m] == 0).all() for n, m in masks.items()))
        return torch.zeros(2)

    monkeypatch.setattr(recipe, "student_terms", look)
    recipe.masked_terms(model, collate(told[:4]), masks, 0.9)
    assert seen == [True]


def test_pruned_weights_stay_zero(tmp_path, told, teacher, monkeypatch):
    monkeypatch.setattr(recipe, "judge", lambda model: {})
    recipe.train("pruned", tmp_path, told, steps=2, batch_size=4)
    model = SceneCaptioner.from_pretrained(tmp_path)
    masks = recipe.pruned_masks(teacher)
    assert masks[recipe.FIRST].all()
    changed = 0
    for name, mask in masks.items():
        weight = model.get_submodule(name).weight
        assert (weight[~mask] == 0).all(), name
        assert name == recipe.FIRST or abs((~mask).float().mean() - recipe.PRUNED) < 0.01
        changed += int(not torch.equal(weight[mask], teacher.get_submodule(name).weight[mask]))
    assert changed > 30
