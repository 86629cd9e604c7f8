"""Sampling, what is cut from a distribution, and what keeps a text from repeating itself."""

import math

import pytest
import torch
import transformers

from mmcourse.decoding import (
    ban_ngrams,
    beam_search,
    discourage,
    greedy,
    sample,
    truncate,
)
from tests.plain_decoding import (
    END,
    Toy,
    never_ends,
    whole,
)


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

    def test_a_share_of_1_keeps_all_tokens_though_their_sum_is_rounded(self):
        logits = 3 * torch.randn(50, 704, generator=torch.Generator().manual_seed(0))
        assert torch.equal(truncate(logits, top_p=1.0), logits)
        assert torch.equal(truncate(logits, top_k=9, top_p=1.0), truncate(logits, top_k=9))

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
