"""Decoding: against plain searches written out below, against exhaustive search, and against ``transformers``."""

import itertools
import math

import pytest
import torch
import transformers

from mmcourse.decoding import (
    Generated,
    ban_ngrams,
    beam_search,
    discourage,
    greedy,
    sample,
    truncate,
)
from mmcourse.transformer import Decoder

END, START = 0, 1


class Toy:
    """A random language model whose next token depends on the picture and on the last two tokens.

    It reads both from the cache alone, so it goes wrong when the cache is not repeated, reordered or kept.
    """

    def __init__(self, batch=1, vocabulary=4, seed=0, scale=2.0):
        generator = torch.Generator().manual_seed(seed)
        shape = (batch, vocabulary, vocabulary, vocabulary)
        self.table = scale * torch.randn(shape, generator=generator, dtype=torch.float64)
        self.start = torch.full((batch,), START)
        self.seen = []  # shapes of the tokens in each call

    def step(self, tokens, cache):
        self.seen.append(tuple(tokens.shape))
        if cache:
            cache["history"] = torch.cat([cache["history"], tokens], 1)
        else:
            cache["picture"], cache["history"] = torch.arange(len(tokens)), tokens
        history = torch.cat([torch.zeros_like(cache["history"][:, :1]), cache["history"]], 1)
        return self.table[cache["picture"], history[:, -2], history[:, -1]]

    def row(self, picture):
        """The same model with one picture only."""
        alone = Toy()
        alone.table, alone.start = (
            self.table[picture : picture + 1],
            self.start[picture : picture + 1],
        )
        return alone

    def log_probs(self, picture, written, prompt=(START,)):
        history = [0, *prompt, *written]
        return self.table[picture, history[-2], history[-1]].log_softmax(-1).tolist()

    def log_prob(self, picture, written, prompt=(START,)):
        return sum(
            self.log_probs(picture, written[:i], prompt)[token] for i, token in enumerate(written)
        )


def strip(written):
    return [token for token in written if token != END]


def whole(tokens, max_length):
    """The tokens with the end token, if there was one."""
    return tokens if len(tokens) == max_length else [*tokens, END]


def plain_greedy(toy, picture, max_length, prompt=(START,), size=99):
    written = []
    while len(written) < max_length and END not in written:
        log_probs = plain_ban(toy.log_probs(picture, written, prompt), [*prompt, *written], size)
        written.append(log_probs.index(max(log_probs)))
    return written


def plain_beams(toy, picture, max_length, beams, length_penalty, size=99):
    """Beam search with lists, without a cache, without an early stop; (score, log_prob, written)."""
    vocabulary = toy.table.size(-1)
    live, complete = [(0.0, [])], []
    for length in range(1, max_length + 1):
        candidates = []
        for log_prob, written in live:
            following = plain_ban(toy.log_probs(picture, written), [START, *written], size)
            candidates += [
                (log_prob + following[token], [*written, token]) for token in range(vocabulary)
            ]
        candidates.sort(reverse=True)
        complete += [c for c in candidates[:beams] if c[1][-1] == END or length == max_length]
        live = [c for c in candidates if c[1][-1] != END][:beams]
    path = plain_greedy(toy, picture, max_length, size=size)
    complete.append((toy.log_prob(picture, path), path))
    return max(
        (log_prob / len(written) ** length_penalty, log_prob, written)
        for log_prob, written in complete
    )


def exhaustive(toy, picture, max_length, length_penalty):
    tokens = range(1, toy.table.size(-1))
    written = [
        [*body, END] for n in range(max_length) for body in itertools.product(tokens, repeat=n)
    ]
    written += [list(body) for body in itertools.product(tokens, repeat=max_length)]
    return max((toy.log_prob(picture, w) / len(w) ** length_penalty, w) for w in written)


def plain_ban(log_probs, written, size):
    """Log-probabilities (a list) without those that would repeat an n-gram of the list ``written``."""
    ngrams = [written[i : i + size] for i in range(len(written) - size + 1)]
    return [
        -math.inf if [*written[len(written) - size + 1 :], token] in ngrams else log_prob
        for token, log_prob in enumerate(log_probs)
    ]


def never_ends(toy):
    toy.table[..., END] = -torch.inf
    return toy


class TestGreedy:
    def test_by_hand(self):
        probs = torch.tensor(
            [[0.1, 0.3, 0.6, 0.0], [0.5, 0.1, 0.1, 0.3]]
        )  # what follows token 1, what follows token 2

        def step(tokens, cache):
            return probs[tokens[:, -1] - 1].log()

        result = greedy(step, torch.tensor([1, 2]), end=0, max_length=9)
        assert isinstance(result, Generated)
        assert result.tokens == [[2], []]
        assert result.log_prob.tolist() == pytest.approx([math.log(0.6 * 0.5), math.log(0.5)])
        assert result.score.tolist() == pytest.approx([math.log(0.3) / 2, math.log(0.5)])

    @pytest.mark.parametrize("max_length", [1, 2, 7, 30])
    def test_equals_the_plain_loop_row_by_row(self, max_length):
        toy = Toy(batch=12, vocabulary=5)
        result = greedy(toy.step, toy.start, end=END, max_length=max_length)
        lengths = set()
        for picture in range(12):
            written = plain_greedy(toy, picture, max_length)
            lengths.add(len(written))
            assert result.tokens[picture] == strip(written)
            assert result.log_prob[picture].item() == pytest.approx(
                toy.log_prob(picture, written), abs=1e-12
            )
            assert result.score[picture].item() == pytest.approx(
                toy.log_prob(picture, written) / len(written)
            )
        assert max_length < 3 or len(lengths) > 2  # rows ended at different times

    def test_a_row_does_not_depend_on_its_batch(self):
        toy = Toy(batch=6, seed=3)
        together = greedy(toy.step, toy.start, end=END, max_length=8)
        for picture in range(6):
            alone = greedy(toy.row(picture).step, toy.start[:1], end=END, max_length=8)
            assert alone.tokens == together.tokens[picture : picture + 1]
            assert torch.equal(alone.log_prob, together.log_prob[picture : picture + 1])
            assert torch.equal(alone.score, together.score[picture : picture + 1])

    def test_reads_a_prompt_once_and_then_single_tokens(self):
        toy = never_ends(Toy(batch=2, vocabulary=5, seed=1))
        prompt = torch.tensor([[1, 3, 2], [1, 2, 4]])
        result = greedy(toy.step, prompt, end=END, max_length=4)
        assert toy.seen == [(2, 3), (2, 1), (2, 1), (2, 1)]
        for picture in range(2):
            assert result.tokens[picture] == plain_greedy(toy, picture, 4, prompt[picture].tolist())

    def test_a_row_that_ended_costs_nothing(self):
        toy = Toy(batch=9, vocabulary=5, seed=2)
        result = greedy(toy.step, toy.start, end=END, max_length=50)
        assert sum(rows for rows, _ in toy.seen) == sum(
            len(whole(tokens, 50)) for tokens in result.tokens
        )

    @pytest.mark.parametrize("size", [1, 2, 3])
    def test_equals_the_plain_loop_without_repeated_ngrams(self, size):
        toy = Toy(batch=9, vocabulary=6, seed=8)
        result = greedy(toy.step, toy.start, end=END, max_length=12, no_repeat_ngram_size=size)
        for picture in range(9):
            assert result.tokens[picture] == strip(plain_greedy(toy, picture, 12, size=size))

    def test_stops_as_soon_as_all_rows_have_ended(self):
        toy = Toy(batch=5, seed=2)
        toy.table[..., END] += 3.0
        result = greedy(toy.step, toy.start, end=END, max_length=50)
        assert len(toy.seen) == 1 + max(map(len, result.tokens)) < 50

    def test_takes_part_in_no_gradient(self):
        weight = torch.zeros(3, requires_grad=True)
        for decode in (greedy, sample, beam_search):
            result = decode(
                lambda tokens, cache: weight.expand(len(tokens), 3),
                torch.tensor([1]),
                end=0,
                max_length=2,
            )
            assert not result.log_prob.requires_grad


class TestTruncate:
    logits = torch.tensor([0.1, 0.4, 0.05, 0.3, 0.15]).log()  # in order: 0.4, 0.3, 0.15, 0.1, 0.05

    def kept(self, **options):
        return truncate(self.logits, **options).isfinite().nonzero()[:, 0].tolist()

    @pytest.mark.parametrize(
        ("top_k", "kept"),
        [
            (1, [1]),
            (2, [1, 3]),
            (4, [0, 1, 3, 4]),
            (5, [0, 1, 2, 3, 4]),
            (9, [0, 1, 2, 3, 4]),
            (None, [0, 1, 2, 3, 4]),
        ],
    )
    def test_top_k(self, top_k, kept):
        assert self.kept(top_k=top_k) == kept

    @pytest.mark.parametrize(
        ("top_p", "kept"),
        [
            (1e-9, [1]),
            (0.39, [1]),
            (0.41, [1, 3]),
            (0.69, [1, 3]),
            (0.71, [1, 3, 4]),
            (0.86, [0, 1, 3, 4]),
            (0.96, [0, 1, 2, 3, 4]),
            (1.0, [0, 1, 2, 3, 4]),
        ],
    )
    def test_top_p(self, top_p, kept):
        assert self.kept(top_p=top_p) == kept

    def test_a_share_that_is_reached_exactly_needs_no_further_token(self):
        kept = truncate(
            torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64).log(), top_p=0.5
        ).isfinite()
        assert kept.tolist() == [True, False, False]

    def test_top_p_is_a_share_of_what_top_k_left(self):
        assert self.kept(top_k=2, top_p=0.56) == [1]  # 0.4 / 0.7 = 0.571
        assert self.kept(top_p=0.56) == [1, 3]

    def test_what_is_kept_keeps_its_logit_and_its_place(self):
        logits = torch.randn(3, 4, 7, generator=torch.Generator().manual_seed(0))
        before = logits.clone()
        cut = truncate(logits, top_k=3, top_p=0.9)
        assert torch.equal(cut[cut.isfinite()], logits[cut.isfinite()]) and torch.equal(
            logits, before
        )
        assert (cut.isfinite().sum(-1) <= 3).all() and (cut.isfinite().sum(-1) >= 1).all()
        assert torch.equal(cut.argmax(-1), logits.argmax(-1))

    @pytest.mark.parametrize("shape", [(1, 2), (5, 7), (3, 31)])
    @pytest.mark.parametrize(
        ("top_k", "top_p"), [(1, None), (3, None), (None, 0.3), (None, 0.9), (4, 0.8), (50, 1.0)]
    )
    def test_equals_transformers(self, shape, top_k, top_p):
        logits = 2 * torch.randn(
            shape, generator=torch.Generator().manual_seed(shape[1]), dtype=torch.float64
        )
        theirs = transformers.TemperatureLogitsWarper(0.7)(None, logits.clone())
        for warper, value in (
            (transformers.TopKLogitsWarper, top_k),
            (transformers.TopPLogitsWarper, top_p),
        ):
            theirs = theirs if value is None else warper(value)(None, theirs)
        assert torch.allclose(truncate(logits / 0.7, top_k, top_p), theirs, rtol=0, atol=1e-6)

    def test_of_equal_logits_exactly_k_stay(self):
        assert truncate(torch.zeros(2, 6), top_k=2).isfinite().sum(-1).tolist() == [2, 2]

    @pytest.mark.parametrize(
        "options",
        [
            {"top_k": 0},
            {"top_k": -1},
            {"top_p": 0.0},
            {"top_p": 1.01},
            {"top_p": -0.5},
            {"top_p": float("nan")},
        ],
    )
    def test_refuses_what_keeps_nothing(self, options):
        name, value = next(iter(options.items()))
        with pytest.raises(ValueError, match=f"{name} .*got {value}; None keeps all"):
            truncate(self.logits, **options)


class TestSample:
    logits = torch.tensor([0.5, -1.0, 1.5, 0.0, 0.7])

    def frequencies(self, draws=40_000, **options):
        def step(tokens, cache):
            return self.logits.expand(len(tokens), -1)

        generator = torch.Generator().manual_seed(5)
        result = sample(
            step,
            torch.ones(draws, dtype=torch.long),
            end=0,
            max_length=1,
            generator=generator,
            **options,
        )
        ids = torch.tensor([row[0] if row else 0 for row in result.tokens])
        assert torch.allclose(
            result.log_prob, self.logits.log_softmax(-1)[ids]
        )  # the model's own, whatever is cut
        return ids.bincount(minlength=5) / draws

    @pytest.mark.parametrize(
        ("options", "cut"),
        [
            ({}, []),
            ({"temperature": 0.5}, []),
            ({"temperature": 3.0}, []),
            ({"top_k": 2}, [0, 1, 3]),
            ({"top_p": 0.6}, [0, 1, 3]),
            ({"temperature": 2.0, "top_k": 3, "top_p": 0.5}, [0, 1, 3]),
        ],
    )
    def test_frequencies_are_the_cut_distribution(self, options, cut):
        logits = self.logits.clone() / options.get("temperature", 1.0)
        logits[cut] = -torch.inf
        expected = logits.softmax(-1)
        found = self.frequencies(**options)
        assert (found[cut] == 0).all()
        assert ((found - expected).abs() <= 4.5 * (expected * (1 - expected) / 40_000).sqrt()).all()

    def test_temperature_comes_before_top_p(self):
        assert self.frequencies(temperature=10.0, top_p=0.5).count_nonzero() == 3
        assert self.frequencies(temperature=0.2, top_p=0.5).count_nonzero() == 1

    def test_a_seed_repeats_the_batch(self):
        toy = Toy(batch=8, seed=4)

        def draw(seed):
            generator = torch.Generator().manual_seed(seed)
            return sample(toy.step, toy.start, end=END, max_length=9, generator=generator)

        first, again, other = draw(1), draw(1), draw(2)
        assert first.tokens == again.tokens != other.tokens
        assert torch.equal(first.log_prob, again.log_prob)

    def test_log_prob_and_score_are_those_of_the_row(self):
        toy = Toy(batch=9, seed=5)
        result = sample(
            toy.step, toy.start, end=END, max_length=5, generator=torch.Generator().manual_seed(0)
        )
        for picture, tokens in enumerate(result.tokens):
            written = whole(tokens, 5)
            assert result.log_prob[picture].item() == pytest.approx(toy.log_prob(picture, written))
            assert result.score[picture].item() == pytest.approx(
                toy.log_prob(picture, written) / len(written)
            )

    def test_draws_from_the_cut_distribution(self):
        logits = torch.tensor([1.0, 0.5, 0.0, -0.5, -1.0], dtype=torch.float64)
        result = sample(
            lambda tokens, cache: logits.expand(len(tokens), 5),
            torch.ones(20000, dtype=torch.long),
            end=0,
            max_length=1,
            temperature=0.8,
            top_k=4,
            top_p=0.9,
            generator=torch.Generator().manual_seed(0),
        )
        counts = torch.tensor([row[0] if row else 0 for row in result.tokens]).bincount(minlength=5)
        expected = truncate(logits / 0.8, 4, 0.9).softmax(-1)
        assert torch.allclose(counts / 20000, expected.float(), rtol=0, atol=0.015)

    def test_the_best_token_only_is_greedy(self):
        toy = Toy(batch=7, vocabulary=6, seed=6)
        expected = greedy(toy.step, toy.start, end=END, max_length=8)
        for options in ({"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-3}):
            result = sample(toy.step, toy.start, end=END, max_length=8, **options)
            assert result.tokens == expected.tokens
            assert torch.equal(result.log_prob, expected.log_prob)


class TestRepetition:
    @pytest.mark.parametrize("penalty", [1.0, 1.3, 2.5, 0.7])
    @pytest.mark.parametrize(
        "shape", [(1, 3, 1), (4, 7, 5), (3, 5, 11)]
    )  # rows, vocabulary, tokens written
    def test_penalty_equals_transformers(self, shape, penalty):
        rows, vocabulary, length = shape
        generator = torch.Generator().manual_seed(vocabulary)
        logits = torch.randn(rows, vocabulary, generator=generator, dtype=torch.float64)
        written = torch.randint(vocabulary, (rows, length), generator=generator)
        theirs = transformers.RepetitionPenaltyLogitsProcessor(penalty)(written, logits.clone())
        assert torch.allclose(discourage(logits, written, penalty), theirs, rtol=0, atol=1e-6)

    @pytest.mark.parametrize("size", [1, 2, 3, 4])
    @pytest.mark.parametrize("shape", [(1, 3, 1), (40, 3, 9), (30, 2, 13), (5, 7, 2)])
    def test_ban_equals_transformers(self, shape, size):
        rows, vocabulary, length = shape
        generator = torch.Generator().manual_seed(rows)
        logits = torch.randn(rows, vocabulary, generator=generator)
        written = torch.randint(vocabulary, (rows, length), generator=generator)
        ours = ban_ngrams(logits, written, size)
        theirs = transformers.NoRepeatNGramLogitsProcessor(size)(written, logits.clone())
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-6)
        assert ours.isinf().any() == (length >= size and shape != (5, 7, 2) or size == 1)

    def test_by_hand(self):
        logits, written = torch.tensor([[2.0, -2.0, 3.0]]), torch.tensor([[0, 1, 0]])
        assert discourage(logits, written, 2.0).tolist() == [
            [1.0, -4.0, 3.0]
        ]  # once, however often it was written
        assert ban_ngrams(logits, written, 2).tolist() == [[2.0, -math.inf, 3.0]]  # 0 1 was there
        assert ban_ngrams(logits, written, 0) is logits and ban_ngrams(logits, written, 4) is logits
        assert logits.tolist() == [[2.0, -2.0, 3.0]]

    def test_a_loop_ends(self):
        table = torch.tensor(
            [[9.0, 0.0, 0.0, 0.0], [0.0, 0.0, 9.0, 0.0], [1.0, 0.0, 0.0, 5.0], [1.0, 0.0, 5.0, 0.0]]
        )

        def step(tokens, cache):
            return table[tokens[:, -1]]

        options = {"end": 0, "max_length": 8}
        assert greedy(step, torch.tensor([1]), **options).tokens == [[2, 3, 2, 3, 2, 3, 2, 3]]
        assert greedy(step, torch.tensor([1]), no_repeat_ngram_size=2, **options).tokens == [
            [2, 3, 2]
        ]
        assert greedy(step, torch.tensor([1]), repetition_penalty=9.0, **options).tokens == [[2, 3]]

    def test_log_prob_stays_the_models(self):
        toy = Toy(batch=9, vocabulary=4, seed=4, scale=1.5)
        for decode, options in [
            (greedy, {"repetition_penalty": 3.0}),
            (greedy, {"no_repeat_ngram_size": 1}),
            (sample, {"repetition_penalty": 3.0}),
            (beam_search, {"no_repeat_ngram_size": 2}),
        ]:
            result = decode(toy.step, toy.start, end=END, max_length=6, **options)
            for picture, tokens in enumerate(result.tokens):
                expected = toy.log_prob(picture, whole(tokens, 6))
                assert result.log_prob[picture].item() == pytest.approx(expected)

    def test_tokens_of_the_prompt_count(self):
        toy = never_ends(Toy(batch=6, vocabulary=9, seed=5))
        prompt = torch.tensor([[1, 4, 6]] * 6)
        for decode in (greedy, sample, beam_search):
            for tokens in decode(
                toy.step, prompt, end=END, max_length=4, no_repeat_ngram_size=1
            ).tokens:
                assert len({1, 4, 6, *tokens}) == 7


class TestBeamSearch:
    @pytest.mark.parametrize("size", [1, 2, 3])
    def test_equals_the_plain_search_without_repeated_ngrams(self, size):
        for seed, vocabulary, max_length in [(0, 4, 5), (1, 3, 9), (2, 6, 8)]:
            toy = Toy(batch=10, vocabulary=vocabulary, seed=seed, scale=1.5)
            result = beam_search(
                toy.step,
                toy.start,
                end=END,
                max_length=max_length,
                beams=3,
                no_repeat_ngram_size=size,
            )
            for picture in range(10):
                score, _, _ = plain_beams(toy, picture, max_length, 3, 1.0, size)
                written = [
                    START,
                    *whole(result.tokens[picture], max_length),
                ]  # of equal scores it may be the other one
                ngrams = list(zip(*(written[i:] for i in range(size)), strict=False))
                assert len(ngrams) == len(set(ngrams))
                assert result.score[picture].item() == pytest.approx(score, abs=1e-12)
                assert toy.log_prob(picture, written[1:]) == pytest.approx(
                    result.log_prob[picture].item(), abs=1e-12
                )

    def test_a_picture_that_is_done_costs_nothing(self):
        toy = Toy(batch=12, vocabulary=5, seed=2)
        toy.table[:6, ..., END] += 8.0
        beam_search(toy.step, toy.start, end=END, max_length=12, beams=3)
        rows = [rows for rows, _ in toy.seen[1:]]
        assert (
            rows == sorted(rows, reverse=True)
            and 24 >= rows[0] > rows[-1]
            and all(n % 4 == 0 for n in rows)
        )

    @pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0, 2.0])
    @pytest.mark.parametrize("beams", [1, 2, 3, 5])
    def test_equals_the_plain_search(self, beams, length_penalty):
        for seed, vocabulary, max_length in [
            (0, 4, 5),
            (1, 3, 9),
            (2, 7, 4),
            (3, 2, 6),
            (4, 5, 1),
            (5, 6, 2),
        ]:
            toy = Toy(batch=10, vocabulary=vocabulary, seed=seed, scale=1.5)
            result = beam_search(
                toy.step,
                toy.start,
                end=END,
                max_length=max_length,
                beams=beams,
                length_penalty=length_penalty,
            )
            for picture in range(10):
                score, log_prob, written = plain_beams(
                    toy, picture, max_length, beams, length_penalty
                )
                assert result.tokens[picture] == strip(written)
                assert result.score[picture].item() == pytest.approx(score, abs=1e-12)
                assert result.log_prob[picture].item() == pytest.approx(log_prob, abs=1e-12)

    @pytest.mark.parametrize("length_penalty", [0.0, 1.0, 1.7])
    def test_many_beams_find_what_exhaustive_search_finds(self, length_penalty):
        for vocabulary, max_length, beams in [(3, 5, 50), (4, 4, 90), (6, 2, 8)]:
            toy = Toy(batch=4, vocabulary=vocabulary, seed=vocabulary)
            result = beam_search(
                toy.step,
                toy.start,
                end=END,
                max_length=max_length,
                beams=beams,
                length_penalty=length_penalty,
            )
            for picture in range(4):
                score, written = exhaustive(toy, picture, max_length, length_penalty)
                assert result.tokens[picture] == strip(written)
                assert result.score[picture].item() == pytest.approx(score)

    def test_is_never_worse_than_greedy(self):
        better = 0
        for seed in range(25):
            toy = Toy(batch=10, vocabulary=5, seed=seed, scale=1.0)
            plain = greedy(toy.step, toy.start, end=END, max_length=7)
            for length_penalty in (0.0, 1.0):
                result = beam_search(
                    toy.step,
                    toy.start,
                    end=END,
                    max_length=7,
                    beams=2,
                    length_penalty=length_penalty,
                )
                lengths = torch.tensor([len(whole(row, 7)) for row in plain.tokens])
                bound = plain.log_prob / lengths**length_penalty
                assert (result.score >= bound - 1e-12).all()
                better += (result.score > bound + 1e-9).sum().item()
        assert better > 100  # and it was worth the effort

    def test_greedys_path_counts_even_when_the_beams_have_left_it(self):
        # Greedy writes 2 5 (0.4 * 0.34). Two beams drop it, as 3 6 (0.32) and 4 7 (0.28) are more probable so far.
        follow = {
            1: {2: 0.4, 3: 0.32, 4: 0.28},
            2: {5: 0.34, 6: 0.33, 7: 0.33},
            3: {6: 1.0},
            4: {7: 1.0},
            5: {0: 1.0},
            6: {0: 0.2, 6: 0.8},
            7: {0: 0.2, 7: 0.8},
            0: {0: 1.0},
        }
        table = torch.zeros(8, 8)
        for token, probs in follow.items():
            table[token, list(probs)] = torch.tensor(list(probs.values()))

        def step(tokens, cache):
            return table[tokens[:, -1]].log()

        options = {"end": 0, "max_length": 9, "beams": 2, "length_penalty": 0.0}
        result = beam_search(step, torch.tensor([1]), **options)
        assert result.tokens == [[2, 5]] and result.score.item() == pytest.approx(
            math.log(0.4 * 0.34)
        )
        table[6, [0, 6]] = torch.tensor([0.5, 0.5])  # now 3 6 is better, and ends
        result = beam_search(step, torch.tensor([1]), **options)
        assert result.tokens == [[3, 6]] and result.score.item() == pytest.approx(
            math.log(0.32 * 0.5)
        )

    def test_a_row_does_not_depend_on_its_batch(self):
        toy = Toy(batch=7, vocabulary=5, seed=7)
        together = beam_search(toy.step, toy.start, end=END, max_length=8, beams=3)
        for picture in range(7):
            alone = beam_search(
                toy.row(picture).step, toy.start[:1], end=END, max_length=8, beams=3
            )
            assert alone.tokens == together.tokens[picture : picture + 1]
            assert torch.allclose(
                alone.score, together.score[picture : picture + 1], rtol=0, atol=1e-12
            )

    def test_returns_the_best_unfinished_row_when_no_beam_ends(self):
        toy = never_ends(Toy(batch=3, vocabulary=4, seed=8))
        result = beam_search(toy.step, toy.start, end=END, max_length=4, beams=100)
        for picture in range(3):
            score, written = exhaustive(toy, picture, 4, 1.0)
            assert result.tokens[picture] == written and len(written) == 4
            assert result.score[picture].item() == pytest.approx(score)
        assert len(toy.seen) == 4

    @pytest.mark.parametrize("vocabulary", [1, 2, 3])
    def test_more_beams_than_continuations(self, vocabulary):
        toy = Toy(batch=2, vocabulary=vocabulary, seed=9)
        toy.start = torch.full((2,), min(START, vocabulary - 1))
        result = beam_search(toy.step, toy.start, end=END, max_length=3, beams=40)
        for picture in range(2):
            prompt = toy.start[:1].tolist()
            written = whole(result.tokens[picture], 3)
            assert result.log_prob[picture].item() == pytest.approx(
                toy.log_prob(picture, written, prompt), abs=1e-12
            )
        assert vocabulary > 1 or result.tokens == [[], []]

    def test_stops_when_nothing_unfinished_can_win(self):
        # The end is all but certain after three tokens; what goes on is so improbable that no length makes up for it.
        def step(tokens, cache):
            cache["length"] = cache.get("length", torch.zeros(len(tokens))) + 1
            logits = torch.zeros(len(tokens), 3)
            logits[:, 2] = 500.0
            logits[cache["length"] == 4, 0] = 1000.0
            calls.append(len(tokens))
            return logits

        calls = []
        result = beam_search(step, torch.tensor([1, 1]), end=0, max_length=40, beams=2)
        assert result.tokens == [[2, 2, 2], [2, 2, 2]]
        assert calls == [2, 6, 6, 6]  # two pictures, then two beams and greedy's row for each

    def test_reads_a_prompt_once(self):
        toy = never_ends(Toy(batch=2, vocabulary=5, seed=1))
        prompt = torch.tensor([[1, 3, 2], [1, 2, 4]])
        result = beam_search(toy.step, prompt, end=END, max_length=3, beams=2)
        assert toy.seen == [(2, 3), (6, 1), (6, 1)]
        for picture in range(2):
            log_prob = toy.log_prob(picture, result.tokens[picture], prompt[picture].tolist())
            assert result.log_prob[picture].item() == pytest.approx(log_prob)
            assert result.score[picture].item() == pytest.approx(log_prob / 3)


class TestWithADecoder:
    """The same results with the key-value cache of a real decoder and without any cache."""

    def models(self):
        torch.manual_seed(0)
        batch, vocabulary, width = 3, 7, 12
        embed, decoder = torch.nn.Embedding(vocabulary, width), Decoder(2, width, 3)
        head, memory = torch.nn.Linear(width, vocabulary), torch.randn(batch, 5, width)
        for module in (embed, decoder, head):
            module.double().eval()
        torch.nn.init.normal_(head.weight, std=1.5)
        memory = memory.double()

        def cached(tokens, cache):
            return head(decoder(embed(tokens), memory, cache=cache))[:, -1]

        def recomputed(tokens, cache):
            cache["tokens"] = torch.cat([cache["tokens"], tokens], 1) if cache else tokens
            cache.setdefault("memory", memory)
            return head(decoder(embed(cache["tokens"]), cache["memory"]))[:, -1]

        return cached, recomputed, torch.full((batch,), START)

    @pytest.mark.parametrize("decode", [greedy, sample, beam_search])
    def test_the_cache_changes_nothing(self, decode):
        cached, recomputed, start = self.models()
        results = []
        for step in (cached, recomputed):
            options = {"generator": torch.Generator().manual_seed(3)} if decode is sample else {}
            results.append(decode(step, start, end=END, max_length=9, **options))
        assert results[0].tokens == results[1].tokens
        assert torch.allclose(results[0].log_prob, results[1].log_prob, rtol=0, atol=1e-9)


@pytest.fixture(scope="module")
def gpt2():
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=11,
        n_positions=32,
        n_embd=16,
        n_layer=2,
        n_head=2,
        bos_token_id=1,
        eos_token_id=0,
        pad_token_id=0,
        initializer_range=0.6,
    )
    return transformers.GPT2LMHeadModel(config).double().eval()


class TestAgainstTransformers:
    @staticmethod
    def step(model):
        def step(tokens, cache):
            cache["tokens"] = torch.cat([cache["tokens"], tokens], 1) if cache else tokens
            return model(cache["tokens"]).logits[:, -1]

        return step

    prompts = torch.tensor([[1, second, third] for second in range(2, 9) for third in (3, 5)])

    def test_greedy(self, gpt2):
        result = greedy(self.step(gpt2), self.prompts, end=0, max_length=10)
        theirs = gpt2.generate(
            self.prompts,
            attention_mask=torch.ones_like(self.prompts),
            do_sample=False,
            max_new_tokens=10,
        )[:, 3:]
        assert result.tokens == [strip(row) for row in theirs.tolist()]
        assert len(set(map(len, result.tokens))) > 2

    @pytest.mark.parametrize(
        "options",
        [
            {"repetition_penalty": 1.4},
            {"no_repeat_ngram_size": 2},
            {"repetition_penalty": 1.2, "no_repeat_ngram_size": 3},
        ],
    )
    def test_greedy_without_repetition(self, gpt2, options):
        result = greedy(self.step(gpt2), self.prompts, end=0, max_length=10, **options)
        theirs = gpt2.generate(
            self.prompts,
            attention_mask=torch.ones_like(self.prompts),
            do_sample=False,
            max_new_tokens=10,
            **options,
        )[:, 3:]
        assert result.tokens == [strip(row) for row in theirs.tolist()]
        assert result.tokens != greedy(self.step(gpt2), self.prompts, end=0, max_length=10).tokens

    @pytest.mark.parametrize(("beams", "length_penalty"), [(2, 0.0), (3, 1.0), (5, 0.5), (4, 2.0)])
    def test_beam_search(self, gpt2, beams, length_penalty):
        """With ``early_stopping="never"``; theirs does not keep greedy's path, so ours may score higher."""
        result = beam_search(
            self.step(gpt2),
            self.prompts,
            end=0,
            max_length=10,
            beams=beams,
            length_penalty=length_penalty,
        )
        theirs = gpt2.generate(
            self.prompts,
            attention_mask=torch.ones_like(self.prompts),
            do_sample=False,
            max_new_tokens=10,
            num_beams=beams,
            length_penalty=length_penalty,
            early_stopping="never",
            return_dict_in_generate=True,
            output_scores=True,
        )
        equal = 0
        for ours, score, row, their_score in zip(
            result.tokens,
            result.score.tolist(),
            theirs.sequences[:, 3:].tolist(),
            theirs.sequences_scores.tolist(),
            strict=True,
        ):
            assert score >= their_score - 1e-5  # theirs are sums in float32
            if score <= their_score + 1e-5:
                assert ours == strip(row)
                equal += 1
        assert equal >= len(self.prompts) - 2


class TestErrors:
    toy = Toy(batch=2)
    decoders = pytest.mark.parametrize("decode", [greedy, sample, beam_search])

    @decoders
    @pytest.mark.parametrize(
        ("start", "kind", "message"),
        [
            (torch.tensor([1.0]), TypeError, "LongTensor of token ids, got torch.float32"),
            (torch.tensor([True]), TypeError, "LongTensor of token ids, got torch.bool"),
            ([1, 1], TypeError, "LongTensor of token ids, got list"),
            (
                torch.tensor(1),
                ValueError,
                r"\(B,\) or \(B, t\) with at least one token, got shape \(\)",
            ),
            (torch.ones(1, 1, 1, dtype=torch.long), ValueError, r"got shape \(1, 1, 1\)"),
            (
                torch.ones(2, 0, dtype=torch.long),
                ValueError,
                r"at least one token, got shape \(2, 0\)",
            ),
        ],
    )
    def test_start(self, decode, start, kind, message):
        with pytest.raises(kind, match=message):
            decode(self.toy.step, start, end=END, max_length=3)

    @decoders
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"max_length": 0}, "max_length must be at least 1 token, got 0"),
            ({"end": 4}, "end must be a token of the vocabulary, 0 to 3, got 4"),
            ({"end": -1}, "end must be a token of the vocabulary, 0 to 3, got -1"),
        ],
    )
    def test_end_and_length(self, decode, options, message):
        with pytest.raises(ValueError, match=message):
            decode(self.toy.step, self.toy.start, **{"end": END, "max_length": 3, **options})

    @decoders
    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_bad_logits(self, decode, bad):
        with pytest.raises(ValueError, match=r"hold NaN or \+inf, or only -inf"):
            decode(
                lambda tokens, cache: torch.tensor([[0.0, bad, 1.0]]),
                torch.tensor([1]),
                end=0,
                max_length=3,
            )

    @decoders
    def test_nothing_to_choose(self, decode):
        with pytest.raises(ValueError, match="only -inf"):
            decode(
                lambda tokens, cache: torch.full((1, 3), -math.inf),
                torch.tensor([1]),
                end=0,
                max_length=3,
            )

    @decoders
    @pytest.mark.parametrize("shape", [(1, 2, 4), (4,), (3, 4), (1, 4)])
    def test_shape_of_logits(self, decode, shape):
        with pytest.raises(ValueError, match=r"next token's logits \(2, V\), got shape"):
            decode(
                lambda tokens, cache: torch.zeros(shape), torch.tensor([1, 1]), end=0, max_length=3
            )

    def test_rows_that_are_not_in_the_cache(self):
        with pytest.raises(
            ValueError, match=r"logits \(15, V\), got shape \(3, 4\).*has B rows in the cache"
        ):
            beam_search(
                lambda tokens, cache: torch.zeros(3, 4),
                torch.ones(3, dtype=torch.long),
                end=0,
                max_length=3,
            )

    @pytest.mark.parametrize("beams", [0, -3])
    def test_beams(self, beams):
        with pytest.raises(ValueError, match=f"beams must be at least 1, got {beams}"):
            beam_search(self.toy.step, self.toy.start, end=END, max_length=3, beams=beams)

    @pytest.mark.parametrize("length_penalty", [-0.1, math.nan])
    def test_length_penalty(self, length_penalty):
        with pytest.raises(
            ValueError, match=f"length_penalty must be 0 or more .*got {length_penalty}"
        ):
            beam_search(
                self.toy.step, self.toy.start, end=END, max_length=3, length_penalty=length_penalty
            )

    @pytest.mark.parametrize("penalty", [0, -1.0, math.nan])
    @pytest.mark.parametrize("decode", [greedy, sample])
    def test_repetition_penalty(self, decode, penalty):
        with pytest.raises(
            ValueError,
            match=f"repetition_penalty must be above 0, got {penalty}; 1 changes nothing",
        ):
            decode(self.toy.step, self.toy.start, end=END, max_length=3, repetition_penalty=penalty)

    @decoders
    @pytest.mark.parametrize("size", [-1, 2.0])
    def test_no_repeat_ngram_size(self, decode, size):
        with pytest.raises(
            ValueError, match=f"no_repeat_ngram_size must be a whole number of tokens, got {size}"
        ):
            decode(self.toy.step, self.toy.start, end=END, max_length=3, no_repeat_ngram_size=size)

    @pytest.mark.parametrize("temperature", [0, -1.0, math.nan])
    def test_temperature(self, temperature):
        with pytest.raises(
            ValueError, match=f"temperature must be above 0, got {temperature}.*greedy"
        ):
            sample(self.toy.step, self.toy.start, end=END, max_length=3, temperature=temperature)

    def test_cuts(self):
        with pytest.raises(ValueError, match="top_k must be"):
            sample(self.toy.step, self.toy.start, end=END, max_length=3, top_k=0)
        with pytest.raises(ValueError, match="top_p is a share"):
            sample(self.toy.step, self.toy.start, end=END, max_length=3, top_p=1.5)
