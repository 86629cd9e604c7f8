"""Beam search, against plain searches and exhaustive search."""

import math

import pytest
import torch

from mmcourse.decoding import (
    beam_search,
    greedy,
)
from tests.plain_decoding import (
    END,
    START,
    Toy,
    exhaustive,
    never_ends,
    plain_beams,
    strip,
    whole,
)


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
        # Greedy writes 2 5 (0.4 * 0.34). Two beams drop it: 3 6 (0.32) and 4 7 (0.28) are more
        # probable so far.
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
        # The end is all but certain after three tokens; what goes on is so improbable that no
        # length makes up for it.
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
