"""Spectra, CTC, the search and the rates: equal to independent ones; the recogniser's masks."""

import itertools
import math
import random

import jiwer
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmcourse.audio import (
    Edits,
    NearestTemplate,
    Recogniser,
    SymbolModel,
    character_error_rate,
    collapse,
    ctc_beam,
    ctc_choose,
    ctc_greedy,
    ctc_loss,
    dtw,
    edits,
    frame,
    from_mel,
    log_mel,
    mel_filters,
    pieces,
    power_spectrum,
    to_mel,
    word_error_rate,
)
from mmcourse.audio.listening import LONGEST, WITHIN
from mmcourse.audio.recogniser import QUIET, louder
from mmcourse.audio.templates import dtw_to_all, template_features
from mmcourse.gpt import NgramModel
from tests.helpers import close

INFINITY = float("inf")


@pytest.fixture(autouse=True)
def same_numbers():
    torch.manual_seed(0)


def sound(samples, seed=0):
    """Samples of a chord with noise, float32."""
    time = torch.arange(samples) / 16_000
    noise = torch.randn(samples, generator=torch.Generator().manual_seed(seed))
    return 0.3 * torch.sin(2 * math.pi * 440 * time) + 0.05 * noise * (time % 0.1)


# Spectra -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("samples", "size", "hop"), [(1000, 400, 160), (333, 64, 20), (77, 10, 7)])
def test_spectra_are_torch_stft(samples, size, hop):
    waveform = sound(samples).double()
    window = torch.hann_window(size, dtype=torch.float64)
    theirs = torch.stft(waveform, size, hop, window=window, return_complex=True).abs() ** 2
    ours = power_spectrum(frame(waveform, size, hop))
    assert len(ours) == samples // hop
    close(ours.T, theirs[:, : len(ours)])


def test_spectra_by_the_sum():
    frames = sound(7 * 12).double().reshape(7, 12)
    window = [0.5 - 0.5 * math.cos(2 * math.pi * n / 12) for n in range(12)]
    for row, found in zip(frames.tolist(), power_spectrum(frames), strict=True):
        for k in range(7):
            terms = [x * w * np.exp(-2j * math.pi * k * n / 12)
                     for n, (x, w) in enumerate(zip(row, window, strict=True))]  # fmt: skip
            assert abs(abs(sum(terms)) ** 2 - found[k].item()) < 1e-10


def test_mel_scale():
    assert to_mel(0) == 0 and to_mel(500) == 7.5 and to_mel(1000) == 15
    close(to_mel(6400), torch.tensor(42.0).double())
    hertz = torch.tensor([0.0, 80, 999, 1000, 1001, 7999]).double()
    close(from_mel(to_mel(hertz)), hertz, 1e-8)


@pytest.mark.parametrize(("mels", "size", "rate"), [(80, 400, 16_000), (5, 64, 8000)])
def test_mel_filters_are_triangles_of_area_one(mels, size, rate):
    corners = from_mel(torch.linspace(0, to_mel(rate / 2).item(), mels + 2)).numpy()
    hertz = np.arange(size // 2 + 1) * rate / size
    for number, found in enumerate(mel_filters(mels, size, rate).T.numpy()):
        left, middle, right = corners[number : number + 3]
        expected = np.interp(hertz, [left, middle, right], [0, 2 / (right - left), 0])
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_log_mel_is_cut_eight_powers_of_ten_below_the_loudest():
    waveform = torch.zeros(20_000).double()
    waveform[:4000] = sound(4000).double()
    found = log_mel(waveform)
    assert found[60:].unique().numel() == 1
    assert math.isclose((found.max() - found.min()).item(), 2)
    power = power_spectrum(frame(waveform[:4000]))[10] @ mel_filters()
    close(found[10], (power.log10() + 4) / 4)


def test_log_mel_in_batches_and_at_any_loudness():
    waveforms = torch.stack([sound(9000, 1), sound(9000, 2)]).double()
    both = log_mel(waveforms)
    assert both.shape == (2, 56, 80)
    close(both[1], log_mel(waveforms[1]))
    louder = log_mel(0.25 * waveforms[0]) - both[0]
    close(louder, torch.full_like(louder, math.log10(1 / 16) / 4), 1e-6)
    assert log_mel(waveforms[0].float()).dtype == torch.float32


def test_log_mel_at_another_rate_has_the_same_frames():
    assert log_mel(torch.rand(8000), rate=8000).shape == (100, 80)
    assert log_mel(torch.rand(44_100), rate=44_100).shape == (100, 80)
    waveform = sound(4000).double()
    power = power_spectrum(frame(waveform, 200, 80)) @ mel_filters(40, 200, 8000)
    expected = power.clamp(min=1e-10).log10()
    expected = (torch.maximum(expected, expected.max() - 8) + 4) / 4
    close(log_mel(waveform, 8000, 40), expected)


@pytest.mark.parametrize("samples", [1, 2, 199, 200, 201, 400])
def test_short_sounds(samples):
    found = log_mel(torch.full((samples,), 0.5))
    assert found.shape == (max(1, samples // 160), 80) and found.isfinite().all()


def test_silence_has_one_number():
    found = log_mel(torch.zeros(5000))
    assert (found == found[0, 0]).all() and found[0, 0] == -1.5


@pytest.mark.parametrize(
    ("waveform", "words"),
    [
        (torch.zeros(0), "at least one sample"),
        (torch.tensor(1.0), "at least one sample"),
        (torch.zeros(9, dtype=torch.int16), "divide whole numbers of 16 bits by 32768"),
        (torch.tensor([0.0, math.nan]), "NaN or infinity"),
    ],
)
def test_what_is_no_waveform(waveform, words):
    with pytest.raises(ValueError, match=words):
        log_mel(waveform)


# CTC -----------------------------------------------------------------------------------------


def random_log_probs(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype).log_softmax(-1)


def all_paths(log_probs):
    """The probability of every text, by all V ** T paths."""
    steps, symbols = log_probs.shape
    texts = {}
    for path in itertools.product(range(symbols), repeat=steps):
        value = math.exp(sum(log_probs[t, s].item() for t, s in enumerate(path)))
        text = tuple(collapse(path))
        texts[text] = texts.get(text, 0.0) + value
    return texts


def test_collapse():
    assert collapse([0, 1, 1, 0, 1, 2, 2, 0]) == [1, 1, 2]
    assert collapse([0, 0]) == [] and collapse([]) == []


@pytest.mark.parametrize(("steps", "symbols"), [(1, 3), (3, 3), (5, 4)])
def test_loss_is_that_of_all_paths(steps, symbols):
    log_probs = random_log_probs(steps, symbols)
    texts = all_paths(log_probs)
    assert math.isclose(sum(texts.values()), 1)
    for text, probability in texts.items():
        found = ctc_loss(log_probs, torch.tensor(text, dtype=torch.long))
        assert math.isclose(found.item(), -math.log(probability), abs_tol=1e-9)


BATCHES = [  # T, V, texts, steps
    (11, 5, [[1, 2, 3], [2, 2, 2], [], [4]], [11, 5, 7, 1]),
    (6, 3, [[1, 1, 2, 2], [1, 2, 1, 2]], [6, 4]),
    (30, 40, [[7, 7, 7, 3, 39], [12]], [22, 30]),
    (4, 4, [[1, 1, 1], [1, 2, 3, 1]], [4, 3]),  # neither can be said
    (1, 2, [[], [1]], [1, 1]),
]


@pytest.mark.parametrize(("steps", "symbols", "texts", "lengths"), BATCHES)
def test_loss_and_gradients_are_torchs(steps, symbols, texts, lengths):
    logits = torch.randn(len(texts), steps, symbols, dtype=torch.float64)
    targets = torch.zeros(len(texts), max(map(len, texts)), dtype=torch.long)
    for row, text in enumerate(texts):
        targets[row, : len(text)] = torch.tensor(text)
    lengths, target_lengths = torch.tensor(lengths), torch.tensor([len(text) for text in texts])
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    found = ctc_loss(ours.log_softmax(-1), targets, lengths, target_lengths)
    expected = F.ctc_loss(
        theirs.log_softmax(-1).transpose(0, 1), targets, lengths, target_lengths, reduction="none"
    )
    assert torch.equal(found.isinf(), expected.isinf())
    possible = found.isfinite()
    close(found[possible], expected[possible], 1e-8)
    if possible.any():
        found[possible].sum().backward()
        expected[possible].sum().backward()
        close(ours.grad[possible], theirs.grad[possible], 1e-8)
        assert (ours.grad[~possible] == 0).all()


def test_loss_in_single_precision():
    logits = torch.randn(3, 50, 30)
    targets = torch.randint(1, 30, (3, 12))
    found = ctc_loss(logits.log_softmax(-1), targets)
    lengths = torch.full((3,), 50), torch.full((3,), 12)
    theirs = F.ctc_loss(logits.log_softmax(-1).transpose(0, 1), targets, *lengths, reduction="none")
    torch.testing.assert_close(found, theirs, atol=1e-4, rtol=1e-5)


def test_padding_does_not_change_the_loss():
    log_probs, targets = random_log_probs(2, 9, 4), torch.tensor([[1, 2, 3], [3, 3, 3]])
    lengths, target_lengths = torch.tensor([5, 9]), torch.tensor([2, 1])
    before = ctc_loss(log_probs, targets, lengths, target_lengths)
    log_probs[0, 5:] = random_log_probs(4, 4, seed=5)
    targets = torch.tensor([[1, 2, 0], [3, 0, 0]])
    close(ctc_loss(log_probs, targets, lengths, target_lengths), before)
    close(ctc_loss(log_probs[0, :5], targets[0, :2]), before[0])


def test_an_impossible_text_has_no_gradient():
    logits = torch.randn(2, 3, requires_grad=True)
    found = ctc_loss(logits.log_softmax(-1), torch.tensor([1, 1]))
    assert found == INFINITY
    found.backward()
    assert (logits.grad == 0).all()


@pytest.mark.parametrize(
    ("shape", "targets", "named", "words"),
    [
        ((5, 2, 3), [[1]], {}, "expected log-probabilities"),
        ((1, 0, 3), [[1]], {}, "at least one step"),
        ((1, 4, 3), [[0]], {}, "symbols from 1 to 2"),
        ((1, 4, 3), [[3]], {}, "symbols from 1 to 2"),
        ((1, 4, 3), [[1]], {"lengths": torch.tensor([5])}, "between 1 and the 4 steps"),
        ((1, 4, 3), [[1]], {"lengths": torch.tensor([0])}, "between 1 and the 4 steps"),
        ((1, 4, 3), [[1]], {"target_lengths": torch.tensor([2])}, "between 0 and 1"),
    ],
)
def test_what_the_loss_refuses(shape, targets, named, words):
    with pytest.raises(ValueError, match=words):
        ctc_loss(torch.zeros(shape), torch.tensor(targets), **named)


def test_choosing_from_a_list():
    log_probs = random_log_probs(4, 3, seed=7)
    texts = all_paths(log_probs)
    listed = [list(text) for text in texts]
    assert tuple(listed[ctc_choose(log_probs, listed)]) == max(texts, key=texts.get)
    assert ctc_choose(log_probs, [[1, 1, 1, 1], [2]]) == 1
    with pytest.raises(ValueError, match="at least one text"):
        ctc_choose(log_probs, [])


def test_greedy():
    log_probs = F.one_hot(torch.tensor([0, 2, 2, 0, 2, 1]), 3).float().log_softmax(-1)
    assert ctc_greedy(log_probs) == [2, 2, 1]


# The search ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "symbols", "seed"), [(4, 3, 0), (5, 3, 1), (6, 2, 2), (4, 4, 3)])
def test_a_wide_search_is_exhaustive(steps, symbols, seed):
    log_probs = random_log_probs(steps, symbols, seed=seed)
    texts = all_paths(log_probs)
    found = ctc_beam(log_probs, width=10_000, least=0.0001)
    assert {tuple(each.symbols) for each in found} == texts.keys()
    for each in found:
        assert math.isclose(math.exp(each.log_prob), texts[tuple(each.symbols)], rel_tol=1e-9)
    assert tuple(found[0].symbols) == max(texts, key=texts.get)


def bigrams(prefix, symbol):
    """A language model of two symbols and the end that likes to alternate."""
    before = prefix[-1] if prefix else 0
    table = {0: (0.2, 0.5, 0.3), 1: (0.3, 0.1, 0.6), 2: (0.2, 0.7, 0.1)}
    return math.log(table[before][symbol or 0])


@pytest.mark.parametrize(("weight", "bonus"), [(1.0, 0.0), (0.6, 0.4), (2.5, -0.3)])
def test_a_language_model_counts_in_the_search(weight, bonus):
    log_probs = random_log_probs(5, 3, seed=4)

    def score(text, probability):
        pairs = zip([text[:n] for n in range(len(text) + 1)], [*text, None], strict=True)
        language = sum(bigrams(prefix, symbol) for prefix, symbol in pairs)
        return math.log(probability) + weight * language + bonus * len(text)

    expected = {text: score(text, value) for text, value in all_paths(log_probs).items()}
    found = ctc_beam(log_probs, 10_000, bigrams, weight, bonus)
    for each in found:
        assert math.isclose(each.score, expected[tuple(each.symbols)], rel_tol=1e-9)
    assert tuple(found[0].symbols) == max(expected, key=expected.get)
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)


def test_a_language_model_sees_the_whole_prefix():
    log_probs = random_log_probs(5, 3, seed=6)

    def model(prefix, symbol):
        return -sum((place + 2) * each for place, each in enumerate(prefix)) % 7 - (symbol or 3)

    for each in ctc_beam(log_probs, 10_000, model):
        text = tuple(each.symbols)
        pairs = zip([text[:n] for n in range(len(text) + 1)], [*text, None], strict=True)
        language = sum(model(prefix, symbol) for prefix, symbol in pairs)
        assert math.isclose(each.score - each.log_prob, language, abs_tol=1e-9)


def test_a_narrow_search_keeps_what_the_language_model_likes():
    log_probs = torch.tensor([[0.1, 0.5, 0.4]]).log()
    found = ctc_beam(log_probs, 1, lambda prefix, symbol: {1: -9.0}.get(symbol, 0.0))
    assert [each.symbols for each in found] == [[2]]


def test_a_bonus_counts_without_a_language_model():
    for each in ctc_beam(random_log_probs(4, 3), 100, bonus=0.7):
        assert math.isclose(each.score - each.log_prob, 0.7 * len(each.symbols), abs_tol=1e-9)


def test_rare_symbols_are_left_out():
    log_probs = torch.tensor([[0.5, 0.49, 0.01], [0.5, 0.49, 0.01]]).log()
    texts = {tuple(each.symbols) for each in ctc_beam(log_probs, 100, least=0.02)}
    assert texts == {(), (1,)}
    assert (2,) in {tuple(each.symbols) for each in ctc_beam(log_probs, 100, least=0.005)}


def test_the_search_beats_the_best_path():
    """Two steps of blank 0.6 and a 0.4: the best path is empty, the best text is a."""
    log_probs = torch.tensor([[0.6, 0.4], [0.6, 0.4]]).log()
    assert ctc_greedy(log_probs) == []
    best = ctc_beam(log_probs)[0]
    assert best.symbols == [1] and math.isclose(math.exp(best.log_prob), 0.64, rel_tol=1e-6)


def test_a_narrow_search_keeps_as_many_as_it_may():
    log_probs = random_log_probs(12, 6)
    assert len(ctc_beam(log_probs, width=3)) == 3
    assert ctc_beam(log_probs, width=50)[0].score >= ctc_beam(log_probs, width=1)[0].score
    sure = torch.full((3, 4), -20.0)
    sure[:, 2] = 0
    assert ctc_beam(sure)[0].symbols == [2]
    with pytest.raises(ValueError, match="at least 1"):
        ctc_beam(log_probs, width=0)


def test_symbol_model_is_a_distribution():
    model = SymbolModel([[1, 2, 3], [1, 2], [3, 3]], 4, 3)
    for prefix in ((), (1,), (1, 2), (2, 2, 3)):
        total = sum(math.exp(model(prefix, symbol)) for symbol in (None, 1, 2, 3))
        assert math.isclose(total, 1)
    assert model((1,), 2) > model((1,), 3)
    assert model((9, 9, 1, 2), 3) == model((1, 2), 3)
    counts = NgramModel([0, 1, 2, 3, 0, 1, 2, 0, 3, 3, 0], 3, 4)
    for prefix, history in (((), (0,)), ((1,), (0, 1)), ((2, 1, 2), (1, 2))):
        for symbol in (1, 2, 3, None):
            expected = counts.probability(history, symbol or 0)
            assert math.isclose(math.exp(model(prefix, symbol)), expected)
    assert SymbolModel([[1, 2]], 3, 1)((), 1) == SymbolModel([[1, 2]], 3, 1)((2,), 1)


# Rates ---------------------------------------------------------------------------------------

PAIRS = [
    ("the dog sat", "the dog sat"),
    ("the dog sat", "dog sat down"),
    ("a", ""),
    ("a b c d", "d c b a"),
    ("one", "one two three four"),
]


@pytest.mark.parametrize(("said", "heard"), PAIRS)
def test_rates_are_jiwers(said, heard):
    assert math.isclose(word_error_rate(said, heard), jiwer.wer(said, heard))
    assert math.isclose(character_error_rate(said, heard), jiwer.cer(said, heard))


def test_rates_of_many_texts_are_jiwers():
    rng = random.Random(1)
    texts = [[" ".join(rng.choices("abcde", k=rng.randint(1, 9))) for _ in range(60)]
             for _ in range(2)]  # fmt: skip
    assert math.isclose(word_error_rate(*texts), jiwer.wer(*texts))
    assert math.isclose(character_error_rate(*texts), jiwer.cer(*texts))
    for said, heard in zip(*texts, strict=True):
        found, theirs = edits(said.split(), heard.split()), jiwer.process_words(said, heard)
        assert found.total == theirs.substitutions + theirs.deletions + theirs.insertions


def test_edits():
    assert edits("kitten", "sitting") == Edits(2, 0, 1)
    assert edits("", "ab") == Edits(0, 0, 2) and edits("ab", "") == Edits(0, 2, 0)
    assert edits("ab", "ba").total == 2


def test_of_ways_with_as_few_edits_the_one_that_keeps_the_length_counts():
    def ways(said, heard):
        if not said or not heard:
            yield Edits(0, len(said), len(heard))
            return
        for s, d, i in ways(said[1:], heard[1:]):
            yield Edits(s + (said[0] != heard[0]), d, i)
        for s, d, i in ways(said[1:], heard):
            yield Edits(s, d + 1, i)
        for s, d, i in ways(said, heard[1:]):
            yield Edits(s, d, i + 1)

    words = ["".join(word) for size in range(4) for word in itertools.product("ab", repeat=size)]
    for said, heard in [*itertools.product(words, repeat=2), ("bab", "ccba")]:
        best = min(ways(said, heard), key=lambda way: (way.total, way.deleted + way.inserted))
        assert edits(said, heard) == best


def test_rates_refuse():
    with pytest.raises(ValueError, match="as many texts"):
        word_error_rate(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="nothing was said"):
        word_error_rate("", "a")


# Templates -----------------------------------------------------------------------------------


def test_dtw_by_all_alignments():
    """The least sum over every way, by recursion without memory."""

    def least(costs, row, column):
        if row == column == 0:
            return costs[0][0]
        ways = [(row - 1, column - 1), (row - 1, column), (row, column - 1)]
        return costs[row][column] + min(least(costs, *way) for way in ways if min(way) >= 0)

    for T, S in ((1, 4), (3, 3), (4, 5)):
        first, second = torch.randn(T, 3).double(), torch.randn(S, 3).double()
        costs = torch.cdist(first, second).tolist()
        assert math.isclose(dtw(first, second), least(costs, T - 1, S - 1) / (T + S))


def test_dtw_does_not_mind_how_long_a_sound_lasts():
    first = torch.randn(5, 3).double()
    assert dtw(first, first.repeat_interleave(3, 0)) < 1e-6
    assert dtw(first, torch.randn(5, 3).double()) > 0.1


def test_dtw_to_all_is_dtw():
    query = torch.randn(6, 4).double()
    lengths = torch.tensor([3, 9, 1, 6])
    templates = torch.randn(4, 9, 4).double()
    expected = [dtw(query, each[:size]) for each, size in zip(templates, lengths, strict=True)]
    wanted = torch.tensor(expected, dtype=torch.float64)
    close(dtw_to_all(query, templates, lengths), wanted, 1e-9)


def test_nearest_template():
    words = [(sound(4000 + 900 * n, n) * torch.linspace(0, n, 4000 + 900 * n), f"w{n}")
             for n in (1, 2, 3)]  # fmt: skip
    nearest = NearestTemplate(words)
    assert [nearest.transcribe(waveform) for waveform, _ in words] == ["w1", "w2", "w3"]
    found = template_features(words[0][0])
    assert found.shape[1] == 80 and found.mean(0).abs().max() < 1e-5


# The recogniser ------------------------------------------------------------------------------


def small(symbols=" abc", **more):
    torch.manual_seed(3)
    return Recogniser(symbols, 12, 3, 2, 16, **more).eval()


@pytest.mark.parametrize("lengths", [[7, 3, 20], [1, 20, 2], [20, 19, 18]])
def test_padding_does_not_change_what_is_heard(lengths):
    model = small().double()
    features = torch.randn(3, 20, 16).double()
    found = model(features, torch.tensor(lengths))
    assert found.shape == (3, 7, 5)
    close(found.exp().sum(-1), torch.ones(3, 7).double())
    for row, length in enumerate(lengths):
        alone = model(features[row : row + 1, :length])
        assert alone.shape[1] == model.steps(length)
        close(found[row, : alone.shape[1]], alone[0])


def test_spelling():
    model = small()
    assert model.spell("cab a") == [4, 2, 3, 1, 2] and model.text_of([4, 2, 3]) == "cab"
    words = small(["dog", "do", "狗", "小狗", "two"])
    assert words.spell("two dog") == [5, 1] and words.spell("小狗狗") == [4, 3]
    assert words.text_of([5, 1]) == "two dog" and words.text_of([4, 3]) == "小狗狗"
    with pytest.raises(ValueError, match="cannot write 'zb'"):
        model.spell("azb")


def test_it_learns_three_words():
    """A few steps on three sounds are enough to write each of them."""
    torch.manual_seed(0)
    model = Recogniser(" abc", 24, 2, 1, dropout=0.0)
    time = torch.arange(6400) / 16_000
    words = [(torch.sin(2 * math.pi * pitch * time), text)
             for pitch, text in ((300, "ab"), (900, "ca"), (2500, "b"))]  # fmt: skip
    features = torch.stack([log_mel(F.pad(waveform, (1600, 1600))) for waveform, _ in words])
    targets = torch.tensor([[2, 3], [4, 2], [3, 0]])
    lengths, target_lengths = torch.full((3,), 20), torch.tensor([2, 2, 1])
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(200):
        loss = ctc_loss(model(features), targets, lengths, target_lengths).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    assert [model.transcribe(waveform) for waveform, _ in words] == ["ab", "ca", "b"]
    judge = SymbolModel([[2, 3], [4, 2], [3]], 5, 3)
    assert [model.transcribe(waveform, judge) for waveform, _ in words] == ["ab", "ca", "b"]


@pytest.mark.parametrize("samples", [1, 399, 5000])
def test_silence_and_a_sample(samples):
    model = small()
    assert model.transcribe(torch.zeros(samples)) == ""
    assert model.transcribe(torch.full((samples,), QUIET / 2)) == ""
    assert isinstance(model.transcribe(torch.full((samples,), 0.5)), str)
    with pytest.raises(ValueError, match="at least one sample"):
        model.transcribe(torch.zeros(0))


def test_what_reads_is_padded_and_hears_what_is_not_silent():
    model, seen = small(), []
    model.forward = lambda features: seen.append(features) or torch.zeros(1, 4, 5)
    waveform = sound(3000)
    model.read(waveform)
    padded = F.pad(louder(waveform), (1600, 1600))
    assert torch.equal(seen[0][0], log_mel(padded, mels=16))
    model.read(torch.full((900,), 0.0011))
    assert len(seen) == 2
    model.read(torch.full((900,), 0.0009))
    assert len(seen) == 2


def test_a_language_model_and_its_options_reach_the_search():
    model = small()
    model.forward = lambda features: random_log_probs(1, 4, 5, seed=2)

    def only_b(prefix, symbol):
        return 0.0 if symbol == (None if prefix else 3) else -50.0

    assert model.transcribe(sound(3000), only_b) == "b"
    free = model.text_of(ctc_beam(random_log_probs(1, 4, 5, seed=2)[0], 99)[0].symbols).strip()
    assert model.transcribe(sound(3000), only_b, weight=0.0, width=99) == free != "b"


def test_pieces_without_a_word_leave_no_space():
    model, said = small(), iter(["a", "", "b"])
    model.read = lambda *_: next(said)
    assert model.transcribe(torch.randn(20 * 16_000).clip(-1, 1)) == "a b"


@pytest.mark.parametrize("shape", [(2, 900), (900, 2), (0,)])
def test_what_cannot_be_read(shape):
    model = small()
    for hear in (model.read, model.log_probs, model.transcribe):
        with pytest.raises(ValueError, match=r"one channel \(N,\)|at least one sample"):
            hear(torch.zeros(shape))


def test_it_cuts_where_the_power_is_least_and_not_the_mean():
    waveform = 0.5 * (-1.0) ** torch.arange(10 * 16_000)  # loud, of mean 0
    waveform[100_000:102_000] = 0.01
    [(_, first), _] = pieces([waveform])
    assert 100_000 < len(first) < 102_000


def test_pieces_are_the_whole_and_cut_where_it_is_quiet():
    waveform = torch.randn(45 * 16_000)
    pauses = [7 * 16_000, 13 * 16_000 + 800, 19 * 16_000]
    for pause in pauses:
        waveform[pause - 1200 : pause + 1200] = 0
    for size in (16_000, 100_000, len(waveform)):
        found = list(pieces(waveform.split(size)))
        assert torch.equal(torch.cat([piece for _, piece in found]), waveform)
        assert all(LONGEST - WITHIN <= len(piece) <= LONGEST for _, piece in found[:-1])
        starts = [start for start, _ in found]
        assert all(
            abs(start - pause) <= 1200 for start, pause in zip(starts[1:], pauses, strict=False)
        )
        assert starts == [0, *np.cumsum([len(piece) for _, piece in found])[:-1].tolist()]
    assert list(pieces([])) == []


def test_an_hour_is_heard_in_pieces():
    model = small()
    model.read = lambda piece, *_: str(len(piece) <= LONGEST)
    minute = torch.randn(60 * 16_000)
    heard = list(model.listen(minute for _ in range(3)))
    assert {each.text for each in heard} == {"True"}
    assert heard[0].start == 0 and heard[-1].end == 180
    assert all(one.end == two.start for one, two in itertools.pairwise(heard))


def test_it_is_saved_and_loaded(tmp_path):
    model = small()
    model.save_pretrained(tmp_path)
    again = Recogniser.from_pretrained(tmp_path)
    assert again.symbols == " abc"
    features = torch.randn(1, 9, 16)
    assert torch.equal(again(features), model(features))


def test_a_quiet_sound_is_read_like_a_loud_one():
    torch.manual_seed(0)
    model = Recogniser(["a", "b"], 12, 3, 1, mels=20, dropout=0.0).eval()
    waveform = torch.randn(4000).clamp(-3, 3) / 6  # the loudest sample is at most 0.5
    waveform = waveform / waveform.abs().max() / 2
    expected = model.log_probs(waveform)
    for factor in (0.5, 0.1, 0.01):
        torch.testing.assert_close(model.log_probs(waveform * factor), expected, atol=1e-4, rtol=0)
    assert torch.equal(louder(waveform * 2), waveform * 2)  # what is loud stays
    assert louder(waveform * 1e-4).abs().max() <= 0.0051  # silence does not become a voice
    assert torch.equal(louder(torch.zeros(5)), torch.zeros(5))
