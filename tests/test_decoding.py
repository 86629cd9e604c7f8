"""Greedy search, against a plain loop; with a real decoder's cache; and what errors say."""

import math

import pytest
import torch

from mmcourse.decoding import (
    Generated,
    beam_search,
    greedy,
    sample,
)
from mmcourse.transformer import Decoder
from tests.plain_decoding import (
    END,
    START,
    Toy,
    never_ends,
    plain_greedy,
    strip,
    whole,
)


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
