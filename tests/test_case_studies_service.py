"""The case study of customer service: departments, requests, noise, and both ways to an intent."""

import numpy as np
import pytest
import torch

from mmcourse.case_studies.service import (
    NAMES,
    TRUE_TEXT,
    by_sound,
    by_words,
    department_of,
    hear,
    in_noise,
    make_requests,
    sure_for,
)
from mmcourse.data.speech import spoken_nouns, voices
from mmcourse.hub import load


@pytest.fixture(scope="module")
def requests():
    """One voice of the validation."""
    return make_requests("val")


def test_every_spoken_noun_has_a_department_and_every_department_nouns():
    found = {noun: NAMES[department_of(noun)] for noun in spoken_nouns("en")}
    assert set(found.values()) == set(NAMES)
    assert found["dog"] == "animals" and found["lemon"] == found["tulip"] == "food and plants"
    assert found["taxi"] == "travel" and found["robot"] == "everything else"
    with pytest.raises(ValueError, match="unknown noun 'justice'"):
        department_of("justice")


def test_requests_are_what_was_promised(requests):
    assert requests.words == spoken_nouns("en") and set(requests.voices) == set(voices("val", "en"))
    assert [department_of(word) for word in requests.words] == requests.department.tolist()
    assert make_requests("val").lines == requests.lines != make_requests("val", seed=1).lines
    many = [make_requests("val", seed=seed) for seed in range(6)]
    named = np.array([[department_of(line.removeprefix("about my order: ")) for line in each.lines]
                      for each in many])  # fmt: skip
    share = (named == requests.department).mean()
    by_luck = (np.bincount(requests.department) / len(requests.words) @ np.bincount(
        requests.department)) / len(requests.words)  # fmt: skip
    assert abs(share - (TRUE_TEXT + (1 - TRUE_TEXT) * by_luck)) < 0.06


def test_requests_need_a_voice():
    with pytest.raises(ValueError, match="one voice or more of test, got count 0"):
        make_requests("test", 0)
    with pytest.raises(ValueError, match="unknown split"):
        make_requests("all")


@pytest.mark.parametrize("decibels", [20, 10, 0])
def test_noise_is_as_loud_as_it_says(requests, decibels):
    few = requests._replace(sounds=requests.sounds[:5])
    for before, after in zip(few.sounds, in_noise(few, decibels).sounds, strict=True):
        ratio = before.square().mean() / (after - before).square().mean()
        assert 10 * ratio.log10().item() == pytest.approx(decibels, abs=0.01)


def test_what_is_heard_is_what_the_recogniser_reads(requests):
    model = load("speech").float().eval()
    few = requests._replace(sounds=requests.sounds[:6])
    vectors, texts, clear = hear(model, few)
    for sound, value in zip(few.sounds, clear, strict=True):
        assert value == pytest.approx(model.log_probs(sound).max(-1)[0].mean().item(), abs=1e-5)
    assert texts == [model.read(sound) for sound in few.sounds]
    assert vectors.shape == (6, model.output.in_features) and np.isfinite(vectors).all()


def test_words_say_their_department_and_nothing_says_nothing():
    said = np.exp(by_words(["dog", "", "about my order: lemon", "of justice"], sure=0.8))
    assert said.sum(1) == pytest.approx(np.ones(4))
    rest = 0.2 / len(NAMES)
    expected = np.full(len(NAMES), rest)
    expected[NAMES.index("animals")] += 0.8
    assert said[0] == pytest.approx(expected)
    assert said[[1, 3]] == pytest.approx(np.full((2, len(NAMES)), 1 / len(NAMES)))
    assert said[2].argmax() == NAMES.index("food and plants")
    both = by_words(["dog", "lemon"], sure=[0.8, 0.3])
    assert both[0] == pytest.approx(np.log(said[0]))
    assert both[1] == pytest.approx(by_words(["lemon"], sure=0.3)[0])
    assert np.exp(by_words(["dog"], sure_for([0.7]))).max() == pytest.approx(0.7)
    assert sure_for([0.0, 1.0]).tolist() == [0.01, 0.99]
    for sure in (0, 1):
        with pytest.raises(ValueError, match="sure must be between"):
            by_words(["dog"], sure=sure)


def test_the_line_from_sound_is_the_penalised_optimum():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    department = np.arange(120) % len(NAMES)
    vectors = rng.normal(size=(120, 5)) + np.eye(len(NAMES))[department][:, :5] * 2
    others = rng.normal(size=(7, 5))
    found = by_sound(vectors, department, others)
    assert np.exp(found).sum(1) == pytest.approx(np.ones(7), abs=1e-5)
    mean, spread = vectors.mean(0), vectors.std(0) + 1e-6
    theirs = LogisticRegression(C=0.5, max_iter=2000, tol=1e-8).fit(
        (vectors - mean) / spread, department
    )
    expected = theirs.predict_log_proba((others - mean) / spread)
    assert found == pytest.approx(expected, abs=2e-2)
    with pytest.raises(ValueError, match="a department for each vector, got 3 for 120"):
        by_sound(vectors, department[:3], others)


def test_the_shipped_recogniser_sends_words_of_a_new_voice_right(requests):
    torch.set_num_threads(1)
    _, texts, _ = hear(load("speech").float().eval(), requests)
    assert (by_words(texts).argmax(1) == requests.department).mean() > 0.6


def test_noise_makes_it_less_clear(requests):
    model = load("speech").float().eval()
    few = requests._replace(sounds=requests.sounds[:20])
    clean, noisy = (hear(model, each)[2].mean() for each in (few, in_noise(few, 0)))
    assert noisy < clean < 0
