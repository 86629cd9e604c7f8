"""The recipe of the recogniser: symbols, noise, batches, and a few steps that teach something."""

import math

import pytest
import torch

from mmcourse.audio import Recogniser, ctc_loss
from mmcourse.data.speech import LANGUAGES, SPLITS, plain_text, speech, table, voices
from mmcourse.recipes import audio as recipe
from mmcourse.recipes.audio_studies import interval, rates_by_voice
from mmcourse.recipes.stored import read_study
from mmcourse.training import TrainingConfig


def small():
    torch.manual_seed(0)
    return Recogniser(recipe.all_symbols(), 12, 3, 1, dropout=0.0)


def test_every_transcript_can_be_written():
    model = small()
    for split in SPLITS:
        for language in LANGUAGES:
            for voice in voices(split, language):
                about = next(v for v in table()["voices"] if v["name"] == voice)
                for text in map(plain_text, about["captions"] + table()["nouns"][language]):
                    assert model.text_of(model.spell(text)) == text
    assert len(model.spell("two red dogs")) == 3 and len(model.spell("小提琴")) == 1


def test_noise_is_as_loud_as_it_says():
    waveform = torch.sin(torch.arange(16_000) / 5)
    for colour in (0, 1, 2):
        for decibels in (0, 20):
            generator = torch.Generator().manual_seed(1)
            noise = recipe.add_noise(waveform, decibels, generator, colour) - waveform
            ratio = waveform.square().mean() / noise.square().mean()
            assert math.isclose(10 * ratio.log10().item(), decibels, abs_tol=0.01)


def test_batches_fit_and_their_loss_is_ours():
    model = small().eval()
    clips = [(torch.from_numpy(clip.waveform), clip.text) for clip in speech("zh_travis")[148:152]]
    features, lengths, targets, target_lengths = batch = recipe.batch_of(recipe.ready(model, clips))
    assert features.shape[:2] == (4, lengths.max()) and features.shape[2] == 80
    log_probs = model(features, lengths)
    losses = ctc_loss(log_probs, targets, model.steps(lengths), target_lengths)
    expected = (losses / target_lengths).mean()
    torch.testing.assert_close(recipe.loss_of(model, batch), expected, atol=1e-3, rtol=1e-4)


def few_clips(model, count=5):
    clips = [(torch.randn(3000 + 400 * i) / 10, "dog" if i % 2 else "ship") for i in range(count)]
    return recipe.ready(model, clips)


def test_what_is_varied_keeps_its_mels_and_roughly_its_length():
    features = torch.randn(40, 80)
    lengths = set()
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        changed = recipe.varied(features, generator)
        assert changed.shape[1] == 80 and 34 <= len(changed) <= 46
        assert changed.isfinite().all()
        lengths.add(len(changed))
    assert len(lengths) > 5
    assert recipe.varied(features[:1], torch.Generator().manual_seed(0)).shape == (1, 80)


def test_a_stretch_along_the_mels_moves_a_tone_and_masks_hide_the_mean():
    features = torch.zeros(40, 80)
    features[:, 40] = 100.0
    places = set()
    for seed in range(20):
        changed = recipe.varied(features, torch.Generator().manual_seed(seed))
        places.add(changed.sum(0).argmax().item())
        assert (changed == features.mean()).all(1).sum() < 8  # frames that are hidden
        assert (changed == features.mean()).all(0).sum() < 10  # mels that are hidden
    assert max(places) <= 45 and min(places) >= 35 and len(places) > 4


def test_a_batch_depends_on_its_number_alone_and_each_clip_comes_once():
    model = small()
    nouns = few_clips(model, recipe.NOUNS + 8)
    captions = few_clips(model, recipe.CAPTIONS)
    batches = recipe.Batches([nouns], [captions])
    for step in (0, 1, 2, 5):
        for one, other in zip(
            batches[step], recipe.Batches([nouns], [captions])[step], strict=True
        ):
            assert torch.equal(one, other)
    assert len(batches[2][0]) == recipe.CAPTIONS and len(batches[3][0]) == recipe.NOUNS
    assert not torch.equal(batches[0][1], recipe.Batches([nouns], [captions], seed=1)[0][1])
    numbered = [(features, torch.tensor([number])) for number, (features, _) in enumerate(nouns)]
    order = []
    batches = recipe.Batches([numbered], [captions])
    for step in (0, 1, 3, 4, 6):  # the steps of nouns, five batches: four epochs of 40
        order += batches[step][2].flatten().tolist()
    for epoch in range(4):
        assert sorted(order[40 * epoch : 40 * epoch + 40]) == list(range(40))


def test_the_same_clips_are_varied_anew():
    nouns = few_clips(small(), 1) * recipe.NOUNS  # all alike, so that their order changes nothing
    batches = recipe.Batches([nouns], [nouns])
    lengths = [batches[step][1].tolist() for step in (0, 1, 3)]
    assert lengths[0] != lengths[1] != lengths[2] != lengths[0]


def test_a_stretch_keeps_the_low_mels_in_their_place():
    features = torch.zeros(40, 80)
    features[:, 0] = 100.0
    kept = 0
    for seed in range(20):
        changed = recipe.varied(features, torch.Generator().manual_seed(seed))
        assert changed[:, 2:].max() < 10, "the lowest mel moved up"
        kept += (changed[:, 0] > 50).any().item()
    assert kept == 20, "it is lost where nothing hides it"


def test_every_second_batch_of_a_kind_is_noisy():
    model = small()
    clean, noisy = few_clips(model), few_clips(model)
    clean = [(torch.zeros_like(features), target) for features, target in clean]
    noisy = [(torch.ones_like(features), target) for features, target in noisy]
    batches = recipe.Batches([clean, noisy], [clean, noisy])
    is_noisy = [bool(batches[step][0].any()) for step in range(12)]
    assert is_noisy == [
        False,
        True,
        False,
        False,
        True,
        True,
        False,
        True,
        False,
        False,
        True,
        True,
    ]


def test_the_copies_are_the_clip_and_its_noise():
    model = small()
    clips = [(torch.sin(torch.arange(4000) / 5), "dog")]
    copies = recipe.copies_of(model, clips)
    assert len(copies) == 1 + recipe.NOISY
    different = {features.sum().item() for [(features, _)] in copies}
    assert len(different) == len(copies)
    assert torch.equal(copies[0][0][0], recipe.ready(model, clips)[0][0])
    for waveform, text in recipe.with_noise(clips, 3):
        noise = waveform - clips[0][0]
        decibels = 10 * (clips[0][0].square().mean() / noise.square().mean()).log10()
        assert text == "dog" and 0 <= decibels <= 30


def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path):
    model = small()
    clips = few_clips(model)
    settings = {"batch_size": 1, "learning_rate": 3e-3, "save_every": 3, "log_every": 1}
    whole = small()
    recipe.train(whole, tmp_path / "whole", [clips], [clips], TrainingConfig(steps=6, **settings))
    stopped = StopsAfter(clips, 3)
    with pytest.raises(KeyboardInterrupt):
        recipe.train(
            small(), tmp_path / "cut", [stopped], [clips], TrainingConfig(steps=6, **settings)
        )
    again = small()
    recipe.train(again, tmp_path / "cut", [clips], [clips], TrainingConfig(steps=6, **settings))
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name


class StopsAfter(list):
    """Clips that interrupt the training when the batch after ``batches`` of nouns is asked for."""

    def __init__(self, clips, batches):
        super().__init__(clips)
        self.left = batches * recipe.NOUNS

    def __getitem__(self, index):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return super().__getitem__(index)


def test_a_few_steps_teach_two_words(tmp_path):
    model = small()
    time = torch.arange(6000) / 16_000
    clips = [
        (torch.sin(2 * math.pi * 400 * time), "dog"),
        (torch.sin(2 * math.pi * 3000 * time), "ship"),
    ]
    clips = recipe.ready(model, clips)
    config = TrainingConfig(steps=40, batch_size=1, learning_rate=1e-2, log_every=1)
    rows = recipe.train(model, tmp_path, [clips], [clips], config)
    assert rows[-1]["loss"] < rows[0]["loss"] / 4


def test_an_interval_holds_the_rate_and_one_wrong_voice_widens_it():
    rows = [
        {"voice": voice, "said": word, "way": "no" if voice == "a" else word}
        for voice in "abcd"
        for word in ("one", "two", "three")
    ]
    assert rates_by_voice(rows, "way").tolist() == [1, 0, 0, 0]
    value, low, high = interval(rows, "way")
    assert value == 0.25 and low == 0 and high >= 0.5


def test_the_stored_studies_say_what_the_chapter_says():
    heard = read_study("audio_heard")["rows"]
    halves = read_study("audio_noise")

    def wrong(rows, language, noise, way="listed"):
        rows = [r for r in rows if r["kind"] == "noun" and r["language"] == language]
        noisy = {r["said"] for r in rows if r["noise"] == 10}
        rows = [r for r in rows if r["noise"] == noise and (noise is None or r["said"] in noisy)]
        return interval(rows, way)[0]

    assert wrong(heard, "en", None) <= 0.15 and wrong(heard, "zh", None) <= 0.10  # the goals
    for language in LANGUAGES:
        for noise in (20, 10):
            with_noise = wrong(halves["with"], language, noise)
            assert wrong(halves["without"], language, noise) > with_noise + 0.2
