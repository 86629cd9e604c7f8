"""Greedy search and beam search, against ``generate`` of ``transformers``."""

import pytest
import torch
import transformers

from mmcourse.decoding import (
    beam_search,
    greedy,
)
from tests.plain_decoding import (
    strip,
)


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
        """With ``early_stopping="never"``; theirs may leave greedy's path, so ours may win."""
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
