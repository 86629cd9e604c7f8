"""Language models: what must not matter, the loss, writing, the parts of today's block, n-grams."""

import math
from collections import Counter
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmcourse import decoding
from mmcourse.gpt import (
    GPT,
    GroupedQueryAttention,
    Llama,
    NgramModel,
    RMSNorm,
    SwiGLU,
    bits_per_byte,
    cache_bytes,
    next_token_loss,
    pad,
    rotary_angles,
    rotary_frequencies,
    rotate,
    row_log_probs,
    token_log_probs,
)
from mmcourse.gpt.block import grouped_attention
from tests.helpers import close, randomise

V = 23


def gpt(**options):
    torch.manual_seed(0)
    return randomise(GPT(V, 12, 2, 3, 40, **options)).double().eval()


def llama(**options):
    torch.manual_seed(0)
    return randomise(Llama(V, 12, 2, 6, 2, 17, 40, **options)).double().eval()


MODELS = {
    "gpt": gpt,
    "untied gpt": partial(gpt, tied=False, hidden=9),
    "llama": llama,
    "window": partial(llama, window=3, tied=True),
    "qwen": partial(llama, bias=True, normed=True, head_width=4),
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


def some_ids(*shape, seed=1):
    return torch.randint(V, shape, generator=torch.Generator().manual_seed(seed))


class TestWhatMustNotMatter:
    def test_the_future(self, model):
        ids = some_ids(2, 15)
        changed = ids.clone()
        changed[:, 9:] = (changed[:, 9:] + 1) % V
        close(model(ids)[:, :9], model(changed)[:, :9])
        assert (model(ids)[:, 9:] - model(changed)[:, 9:]).abs().amax(-1).min() > 1e-3

    def test_the_batch(self, model):
        ids = some_ids(5, 11)
        together = model(ids)
        for row in range(5):
            close(together[row], model(ids[row : row + 1])[0])

    @pytest.mark.parametrize("side", ["left", "right"])
    def test_padding_and_what_stands_there(self, model, side):
        rows = [some_ids(length, seed=length).tolist() for length in (7, 1, 12)]
        for fill in (0, V - 1):
            ids, mask = pad(rows, side=side, fill=fill)
            together = model(ids, mask)
            for number, row in enumerate(rows):
                close(together[number][mask[number]], model(torch.tensor([row]))[0])

    def test_a_row_that_is_all_padding(self, model):
        ids = some_ids(2, 6)
        mask = torch.ones_like(ids, dtype=torch.bool)
        mask[1] = False
        found = model(ids, mask)
        assert found.isfinite().all()
        close(found[0], model(ids[:1])[0])
        model.loss(ids, mask).backward()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)

    def test_the_cache(self, model):
        ids = some_ids(3, 19)
        cache = {}
        found = [model(part, cache=cache) for part in ids.split((1, 6, 1, 11), 1)]
        close(torch.cat(found, 1), model(ids))

    def test_padding_that_comes_after_the_first_call(self, model):
        ids = some_ids(2, 9)
        mask = torch.ones_like(ids, dtype=torch.bool)
        mask[1, 5:] = False
        cache = {}
        found = [model(ids[:, :4], cache=cache), model(ids[:, 4:], mask[:, 4:], cache=cache)]
        close(torch.cat(found, 1)[mask], model(ids, mask)[mask])

    def test_the_position_of_the_first_token_is_used(self):
        """Tokens have an order: a shifted sentence is another one for GPT."""
        model = gpt()
        states = model.hidden(torch.full((1, 8), 3))[0]
        assert (states[1:] - states[:-1]).abs().amax(-1).min() > 1e-3

    def test_rotary_positions_see_distances_only(self):
        """Where a text stands does not matter to Llama: a token that is never looked at shifts."""
        model = llama()
        ids = some_ids(2, 7)
        frequencies = model.frequencies.double()
        cos, sin = rotary_angles(torch.arange(7)[None], frequencies)
        far_cos, far_sin = rotary_angles(torch.arange(11, 18)[None], frequencies)
        layer = model.layers[0]
        x = model.embedding(ids)
        close(layer(x, cos, sin), layer(x, far_cos, far_sin), 1e-9)

    def test_a_window_forgets(self):
        model = llama(window=3)
        model.layers = model.layers[:1]
        ids = some_ids(1, 12)
        changed = ids.clone()
        changed[:, 4] = (changed[:, 4] + 1) % V
        moved = (model(ids) - model(changed)).abs().amax(-1)[0] > 1e-9
        assert moved.tolist() == [4 <= place < 7 for place in range(12)]


class TestWriting:
    def test_with_every_decoder(self, model):
        prompts = [[3, 4, 5], [9], [1, 2]]
        ids, mask = pad(prompts, side="left")
        step = partial(model.step, mask=mask)
        for decode in (decoding.greedy, decoding.beam_search):
            together = decode(step, ids, end=0, max_length=12)
            for number, prompt in enumerate(prompts):
                alone = decode(model.step, torch.tensor([prompt]), end=0, max_length=12)
                assert together.tokens[number] == alone.tokens[0]
                close(together.log_prob[number], alone.log_prob[0])

    def test_generate_is_the_decoder(self, model):
        prompts = [[3, 4, 5], [9]]
        for decode in (decoding.greedy, decoding.beam_search, decoding.sample):
            options = {}
            if decode is decoding.sample:
                options = {"generator": torch.Generator().manual_seed(0)}
            found = model.generate(prompts, end=0, max_length=9, decode=decode, **options)
            log_prob = found.log_prob
            for number, prompt in enumerate(prompts):
                row = found.tokens[number]
                if len(row) < 9:
                    row = [*row, 0]
                ids = torch.tensor([prompt + row])
                told = token_log_probs(model(ids), ids)[0, len(prompt) - 1 :].sum()
                close(told, log_prob[number])

    def test_the_prompt_is_read_once(self, model):
        seen = []
        hidden = model.hidden

        def watch(ids, mask=None, *, cache=None):
            seen.append((tuple(ids.shape), mask is not None))
            return hidden(ids, mask, cache=cache)

        model.hidden = watch
        model.generate([[1, 2, 3], [4]], end=V - 1, max_length=3)
        assert seen[0] == ((2, 3), True)
        assert {shape[1] for shape, _ in seen[1:]} <= {1}
        assert not any(masked for _, masked in seen[1:])

    def test_fills_the_context_to_its_last_token(self, model):
        found = model.generate([[1] * 30], end=V - 1, max_length=11)
        assert len(found.tokens[0]) <= 11
        with pytest.raises(ValueError, match="prompt of 30 tokens and 12 more do not fit"):
            model.generate([[1] * 30], end=0, max_length=12)
        with pytest.raises(TypeError, match="lists of ids, got a tensor: give prompts.tolist"):
            model.generate(torch.tensor([[1, 2]]), end=0, max_length=3)

    @pytest.mark.parametrize("prompts", [[], [[]], [[1], []]])
    def test_empty_prompts(self, model, prompts):
        with pytest.raises(ValueError, match="at least one id"):
            model.generate(prompts, end=0, max_length=3)


class TestErrors:
    @pytest.mark.parametrize(
        ("ids", "kind", "message"),
        [
            ([[1, 2]], TypeError, "LongTensor of token ids, got list"),
            (torch.tensor([[1.0]]), TypeError, "got torch.float32"),
            (torch.tensor([[1]], dtype=torch.int32), TypeError, "got torch.int32"),
            (
                torch.tensor([1, 2]),
                ValueError,
                r"\(B, T\) with at least one token, got shape \(2,\)",
            ),
            (torch.zeros(2, 0, dtype=torch.long), ValueError, r"got shape \(2, 0\)"),
            (torch.tensor([[1, V]]), ValueError, f"between 0 and {V - 1}, .* got {V}"),
            (torch.tensor([[-1, 2]]), ValueError, "got -1"),
            (torch.zeros(1, 41, dtype=torch.long), ValueError, "at most 40 tokens .* got 41"),
        ],
    )
    def test_ids(self, model, ids, kind, message):
        with pytest.raises(kind, match=message):
            model(ids)

    def test_the_context_counts_the_cache(self, model):
        cache = {}
        model(some_ids(1, 39), cache=cache)
        model(some_ids(1, 1), cache=cache)
        with pytest.raises(ValueError, match="at most 40 tokens .* got 41"):
            model(some_ids(1, 1), cache=cache)

    def test_padding_does_not_count(self, model):
        ids = some_ids(2, 45)
        mask = torch.ones_like(ids, dtype=torch.bool)
        mask[:, :5] = False
        close(model(ids, mask)[:, 5:], model(ids[:, 5:]))
        mask[1, 4] = True
        with pytest.raises(ValueError, match="got 41"):
            model(ids, mask)

    @pytest.mark.parametrize(
        ("mask", "kind", "message"),
        [
            (torch.ones(2, 5), TypeError, "torch.bool tensor, True = a token, got torch.float32"),
            ([[True]], TypeError, "got list"),
            (torch.ones(2, 4, dtype=torch.bool), ValueError, r"\(2, 5\), got \(2, 4\)"),
            (torch.ones(5, dtype=torch.bool), ValueError, r"got \(5,\)"),
        ],
    )
    def test_masks(self, model, mask, kind, message):
        with pytest.raises(kind, match=message):
            model(some_ids(2, 5), mask)

    def test_sizes_that_do_not_divide(self):
        with pytest.raises(ValueError, match="width 10 and heads 3"):
            GPT(V, 10, 1, 3, 8)
        with pytest.raises(ValueError, match="kv_heads must divide heads, got 4 and 6"):
            Llama(V, 12, 1, 6, 4, 8, 8)
        with pytest.raises(ValueError, match="width 10 and heads 3"):
            Llama(V, 10, 1, 3, 1, 8, 8)
        with pytest.raises(ValueError, match="must be even, got 3"):
            Llama(V, 12, 1, 4, 1, 8, 8)

    def test_pad(self):
        with pytest.raises(ValueError, match="side must be left or right, got 'up'"):
            pad([[1]], side="up")


class TestPad:
    def test_both_sides(self):
        ids, mask = pad([[1, 2, 3], [4]], fill=9)
        assert ids.tolist() == [[1, 2, 3], [4, 9, 9]]
        assert mask.tolist() == [[True] * 3, [True, False, False]]
        ids, mask = pad([[1, 2, 3], [4]], side="left")
        assert ids.tolist() == [[1, 2, 3], [0, 0, 4]]
        assert mask.tolist() == [[True] * 3, [False, False, True]]


class TestLoss:
    def test_by_hand(self):
        """Labels are shifted once: the logits at a token are about the next one."""
        probs = torch.tensor([[[0.1, 0.9], [0.3, 0.7], [0.5, 0.5]]])
        ids = torch.tensor([[0, 1, 0]])
        wanted = -(math.log(0.9) + math.log(0.3)) / 2
        assert next_token_loss(probs.log(), ids).item() == pytest.approx(wanted)
        close(token_log_probs(probs.log(), ids), torch.tensor([[0.9, 0.3]]).log(), 1e-6)

    def test_equals_the_reference_with_padding(self, model):
        rows = [some_ids(length, seed=length).tolist() for length in (9, 2, 5)]
        ids, mask = pad(rows)
        losses = []
        for row in rows:
            logits = model(torch.tensor([row]))[0]
            losses += F.cross_entropy(logits[:-1], torch.tensor(row[1:]), reduction="none").tolist()
        assert model.loss(ids, mask).item() == pytest.approx(sum(losses) / len(losses))
        assert len(losses) == 13

    def test_counts_only_what_is_asked(self, model):
        ids = some_ids(2, 8)
        counted = torch.zeros_like(ids, dtype=torch.bool)
        counted[0, 5:] = True
        counted[1, 0] = True  # the first token is never predicted
        log_probs = token_log_probs(model(ids), ids)
        assert model.loss(ids, counted=counted).item() == pytest.approx(
            -log_probs[0, 4:].mean().item()
        )

    def test_is_that_of_transformers(self):
        from transformers import GPT2Config, GPT2LMHeadModel

        theirs = GPT2LMHeadModel(GPT2Config(vocab_size=V, n_embd=12, n_layer=1, n_head=3)).eval()
        ids = some_ids(3, 7)
        output = theirs(ids, labels=ids)
        close(next_token_loss(output.logits, ids), output.loss, 1e-6)

    def test_nothing_to_predict(self, model):
        with pytest.raises(ValueError, match="no token is left to be predicted"):
            model.loss(some_ids(2, 1))
        with pytest.raises(ValueError, match="no token is left to be predicted"):
            model.loss(some_ids(1, 3), torch.tensor([[True, False, False]]))

    def test_untrained_loss_is_that_of_a_uniform_guess(self):
        torch.manual_seed(0)
        for model in (GPT(V, 48, 2, 3, 40), Llama(V, 48, 2, 6, 2, 17, 40)):
            assert model.loss(some_ids(9, 40)).item() == pytest.approx(math.log(V), abs=0.05)

    @pytest.mark.parametrize(
        "make", [lambda: GPT(V, 24, 1, 3, 40), lambda: Llama(V, 24, 1, 6, 2, 32, 40)]
    )
    def test_learns(self, make):
        torch.manual_seed(0)
        model = make()
        ids = torch.arange(40)[None] % V
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(60):
            optimizer.zero_grad()
            model.loss(ids).backward()
            optimizer.step()
        assert model.loss(ids).item() < 0.2

    def test_every_parameter_learns(self, model):
        model.loss(some_ids(4, 12)).backward()
        for name, parameter in model.named_parameters():
            silent = name.endswith("attention.key.bias")  # it cancels in the softmax
            if "normed" not in name and not silent:
                assert parameter.grad.abs().max() > 1e-9, name


class TestRowLogProbs:
    def test_equals_one_by_one(self, model):
        rows = [some_ids(length, seed=length).tolist() for length in (9, 2, 5, 5, 12, 3, 7)]
        first = [1, 1, 3, 4, 11, 2, 5]
        for given, starts in ((1, [1] * 7), (first, first)):
            found = row_log_probs(model, rows, given, batch_size=3)
            for row, start, log_prob in zip(rows, starts, found, strict=True):
                ids = torch.tensor([row])
                wanted = token_log_probs(model(ids), ids)[0, start - 1 :].sum().item()
                assert log_prob == pytest.approx(wanted)

    def test_the_first_id_has_no_probability(self, model):
        with pytest.raises(ValueError, match="first must be at least 1 and below"):
            row_log_probs(model, [[1, 2, 3]], 0)
        with pytest.raises(ValueError, match="below the length of its row, got 3 of 3"):
            row_log_probs(model, [[1, 2, 3]], 3)


class TestBitsPerByte:
    def test_by_hand(self):
        assert bits_per_byte(torch.tensor([0.25, 0.5]).log(), 6) == pytest.approx(0.5)
        assert bits_per_byte([math.log(0.5)] * 4, 4) == pytest.approx(1.0)

    def test_of_an_empty_text(self):
        with pytest.raises(ValueError, match="at least one byte, got 0"):
            bits_per_byte([0.0], 0)


class TestInitialisation:
    @pytest.mark.parametrize(
        "model", [GPT(900, 64, 8, 4, 300), Llama(900, 64, 8, 4, 2, 170, 300)], ids=["gpt", "llama"]
    )
    def test_is_that_of_gpt2(self, model):
        last = {"attention.output.weight", "feed_forward.3.weight", "feed_forward.down.weight"}
        for name, parameter in model.named_parameters():
            if parameter.dim() == 1:
                assert parameter.unique().tolist() == [1.0 if "weight" in name else 0.0]
                continue
            end = name.split(".", 2)[-1]
            wanted = 0.02 / 4 if end in last else 0.02  # the root of 2 * 8 layers
            assert parameter.std().item() == pytest.approx(wanted, rel=0.1), name
            assert parameter.mean().abs() < wanted / 10


class TestDropout:
    def test_acts_in_training_only(self):
        torch.manual_seed(0)
        model = GPT(V, 24, 2, 3, 40, dropout=0.3)
        ids = some_ids(1, 9)
        assert not torch.equal(model(ids), model(ids))
        model.eval()
        assert torch.equal(model(ids), model(ids))

    def test_acts_on_words_and_positions_together(self):
        model = randomise(GPT(V, 24, 2, 3, 40, dropout=0.3)).eval()
        model.dropout.train()
        model.dropout.p = 1.0  # everything is dropped, so that all places are alike
        logits = model(some_ids(1, 9))
        close(logits, logits[:, :1].expand_as(logits), 1e-5)


class TestRMSNorm:
    def test_by_hand(self):
        norm = RMSNorm(4, eps=0.0)
        close(norm(torch.tensor([1.0, 1.0, 1.0, -1.0])), torch.tensor([1.0, 1.0, 1.0, -1.0]))
        norm.weight.data = torch.tensor([1.0, 2.0, 3.0, 4.0])
        x = torch.tensor([2.0, 0.0, 0.0, 0.0])  # its root mean square is 1
        close(norm(x), torch.tensor([2.0, 0.0, 0.0, 0.0]))

    @pytest.mark.parametrize("shape", [(5,), (3, 7), (2, 3, 11)])
    def test_equals_pytorch(self, shape):
        torch.manual_seed(0)
        ours = RMSNorm(shape[-1], eps=1e-3)
        theirs = nn.RMSNorm(shape[-1], eps=1e-3)
        randomise(ours)
        theirs.load_state_dict(ours.state_dict())
        x = torch.randn(shape) / 20  # so small that eps counts
        close(ours(x), theirs(x), 1e-6)

    def test_half_precision_does_not_overflow(self):
        x = torch.full((1, 8), 400.0, dtype=torch.float16)  # its square is too large for float16
        assert RMSNorm(8).half()(x).tolist() == [[1.0] * 8]


class TestRotary:
    def test_a_model_of_half_precision_has_exact_angles(self, monkeypatch):
        """In half precision, 257 positions on would be 256 or 258."""
        model = Llama(V, 12, 1, 2, 1, 8, 300).bfloat16().eval()
        seen = []

        def noted(positions, frequencies):
            seen.extend(rotary_angles(positions, frequencies))
            return seen

        monkeypatch.setattr("mmcourse.gpt.llama.rotary_angles", noted)
        model(some_ids(1, 300))
        close(seen[0][0, 0, :, 0], torch.arange(300.0).cos(), 1e-4)

    def test_by_hand(self):
        """A quarter turn of the first pair, an eighth of the second."""
        angles = torch.tensor([math.pi / 2, math.pi / 4])
        x = torch.tensor([[[[1.0, 1.0, 0.0, 0.0]]]])  # pairs (1, 0) and (1, 0)
        half = math.sqrt(0.5)
        close(
            rotate(x, angles.cos(), angles.sin()), torch.tensor([[[[0.0, half, 1.0, half]]]]), 1e-6
        )

    def test_frequencies(self):
        close(rotary_frequencies(4), torch.tensor([1.0, 0.01]), 1e-7)
        close(rotary_frequencies(4, theta=16.0), torch.tensor([1.0, 0.25]), 1e-7)
        slow = rotary_frequencies(4, scaling={"rope_type": "linear", "factor": 8.0})
        close(slow, torch.tensor([0.125, 0.00125]), 1e-7)
        assert rotary_frequencies(6, scaling={"rope_type": "default"}).shape == (3,)

    def test_llama3_keeps_fast_pairs_and_slows_slow_ones(self):
        scaling = {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        }
        plain = rotary_frequencies(128, 500_000.0)
        ratio = rotary_frequencies(128, 500_000.0, scaling) / plain
        turns = 8192 * plain / (2 * math.pi)
        assert (ratio[turns > 4] == 1).all()
        close(ratio[turns < 1], torch.full_like(ratio[turns < 1], 1 / 8), 1e-6)
        between = ratio[(turns > 1) & (turns < 4)]
        assert len(between) > 2 and ((between > 1 / 8) & (between < 1)).all()

    def test_a_product_depends_on_the_distance_only(self):
        torch.manual_seed(0)
        query, key = torch.randn(2, 1, 1, 1, 8).double()
        frequencies = rotary_frequencies(8).double()
        products = []
        for place in (0, 5, 300):
            turned = rotate(query, *rotary_angles(torch.tensor([[place]]), frequencies))
            other = rotate(key, *rotary_angles(torch.tensor([[place + 3]]), frequencies))
            products.append((turned * other).sum())
        close(products[1], products[0])
        close(products[2], products[0])
        assert (products[0] - (query * key).sum()).abs() > 0.01
        close(turned.norm(), query.norm())

    def test_positions_are_exact_in_half_precision(self):
        model = llama()
        single = model.frequencies
        assert single.dtype == torch.float32
        assert torch.equal(model.bfloat16().frequencies, single)
        ids = some_ids(1, 30)
        close(model(ids).float(), llama().float()(ids), 0.3)

    def test_errors(self):
        with pytest.raises(ValueError, match="must be even, got 5"):
            rotary_frequencies(5)
        with pytest.raises(ValueError, match="'llama3' needs .*missing: low_freq_factor, high"):
            rotary_frequencies(
                8,
                scaling={
                    "rope_type": "llama3",
                    "factor": 2.0,
                    "original_max_position_embeddings": 128,
                },
            )
        with pytest.raises(ValueError, match="'yarn' is not supported"):
            rotary_frequencies(4, scaling={"rope_type": "yarn"})


class TestGroupedQueries:
    @pytest.mark.parametrize(("heads", "groups"), [(6, 1), (6, 2), (6, 6), (2, 1)])
    def test_equals_full_attention_with_repeated_weights(self, double, heads, groups):
        ours = GroupedQueryAttention(12, heads, groups, bias=True)
        randomise(ours)
        x = torch.randn(2, 7, 12)
        cos, sin = rotary_angles(torch.zeros(1, 7), torch.ones(1))  # no turn
        found = ours(x, cos, sin)
        theirs = nn.MultiheadAttention(12, heads, batch_first=True)
        width = 12 // heads
        with torch.no_grad():
            rows = [ours.query.weight]
            biases = [ours.query.bias]
            for part in (ours.key, ours.value):
                weight = part.weight.view(groups, width, 12).repeat_interleave(heads // groups, 0)
                rows.append(weight.reshape(12, 12))
                bias = part.bias.view(groups, width).repeat_interleave(heads // groups, 0)
                biases.append(bias.flatten())
            theirs.in_proj_weight.copy_(torch.cat(rows))
            theirs.in_proj_bias.copy_(torch.cat(biases))
            theirs.out_proj.weight.copy_(ours.output.weight)
            theirs.out_proj.bias.zero_()
        hidden = torch.ones(7, 7, dtype=torch.bool).triu(1)
        close(found, theirs(x, x, x, attn_mask=hidden, need_weights=False)[0])

    def test_the_weights_are_those_that_are_used(self, double):
        layer = randomise(GroupedQueryAttention(12, 6, 2))
        x = torch.randn(2, 5, 12)
        cos, sin = rotary_angles(torch.arange(5)[None], rotary_frequencies(2).double())
        found, weights = layer(x, cos, sin, return_weights=True)
        close(found, layer(x, cos, sin))
        assert weights.shape == (2, 6, 5, 5)
        close(weights.sum(-1), torch.ones(2, 6, 5))
        assert (weights.triu(1) == 0).all()

    def test_who_may_look_nowhere_finds_nothing(self):
        query = torch.randn(1, 4, 3, 8)
        key, value = torch.randn(2, 1, 2, 3, 8)
        mask = torch.tensor([False, True, True])[None, None, None]  # the first place is padding
        found = grouped_attention(query, key, value, mask)
        assert (found[:, :, 0] == 0).all() and (found[:, :, 1:] != 0).all()


class TestSwiGLU:
    def test_by_hand(self):
        layer = SwiGLU(1, 2)
        layer.gate.weight.data = torch.tensor([[1.0], [0.0]])
        layer.up.weight.data = torch.tensor([[2.0], [5.0]])
        layer.down.weight.data = torch.tensor([[3.0, 7.0]])
        silu = 2 / (1 + math.exp(-2))
        close(layer(torch.tensor([2.0])), torch.tensor([silu * 4 * 3]), 1e-5)


class TestCacheMemory:
    @pytest.mark.parametrize(
        ("model", "groups", "width"),
        [(GPT(V, 12, 2, 3, 40), 3, 4), (Llama(V, 12, 2, 6, 2, 17, 40), 2, 2)],
        ids=["gpt", "llama"],
    )
    def test_equals_the_formula(self, model, groups, width):
        cache = {}
        model(some_ids(3, 7), cache=cache)
        for _ in range(4):
            model(some_ids(3, 1), cache=cache)
        layers = 2
        assert cache_bytes(cache) == 2 * layers * 3 * 11 * groups * width * 4

    def test_padding_is_not_counted(self):
        ids, mask = pad([[1, 2], [3]])
        cache = {}
        GPT(V, 12, 1, 3, 40)(ids, mask, cache=cache)
        assert cache_bytes(cache) == 2 * 2 * 2 * 12 * 4


class TestSaved:
    def test_comes_back(self, model, tmp_path):
        model.float().save_pretrained(tmp_path)
        again = type(model).from_pretrained(tmp_path)
        ids = some_ids(2, 9)
        assert torch.equal(model(ids), again(ids))
        assert not again.training
        (tmp_path / "config.json").write_text(
            (tmp_path / "config.json").read_text().replace('"width": 12', '"width": 18')
        )
        with pytest.raises(ValueError, match="says width 18"):
            type(model).from_pretrained(tmp_path)


def plain_kneser_ney(ids, order, vocab_size):
    """The formula in the plainest way, counted anew for each question."""

    def grams(size):
        return [tuple(ids[i : i + size]) for i in range(len(ids) - size + 1)]

    tables = {order: Counter(grams(order))}
    for size in range(order - 1, 0, -1):
        # in how many of the next longer n-grams an n-gram is the rest
        tables[size] = Counter(gram[1:] for gram in tables[size + 1])

    def probability(history, token):
        result = 1 / vocab_size
        for size in range(order):
            if size > len(history):
                return result
            context = tuple(history[len(history) - size :])
            table = tables[size + 1]
            after = {gram[-1]: n for gram, n in table.items() if gram[:-1] == context}
            if not after:
                return result
            n1 = sum(n == 1 for n in table.values())
            n2 = sum(n == 2 for n in table.values())
            d = n1 / (n1 + 2 * n2) if n1 else 0.5
            total = sum(after.values())
            result = max(after.get(token, 0) - d, 0) / total + d * len(after) / total * result
        return result

    return probability


class TestNgrams:
    ids = some_ids(400, seed=7).remainder(6).tolist()

    @pytest.mark.parametrize("order", [1, 2, 3, 5])
    def test_equals_the_plain_formula(self, order):
        model = NgramModel(self.ids, order, 8)
        plain = plain_kneser_ney(self.ids, order, 8)
        for start in range(0, 60, 7):
            for length in range(5):
                history = tuple(self.ids[start : start + length])
                for token in range(8):
                    assert model.probability(history, token) == pytest.approx(plain(history, token))

    @pytest.mark.parametrize("order", [1, 2, 4])
    def test_sums_to_one(self, order):
        model = NgramModel(self.ids, order, 8)
        for history in ((), (1,), (1, 2, 3), (7, 7, 7), (0, 7)):
            total = sum(model.probability(history, token) for token in range(8))
            assert total == pytest.approx(1)

    def test_by_hand(self):
        """The word "Francisco" comes after one word only: elsewhere it is improbable."""
        san, francisco, a, b, c, glasses = range(6)
        ids = [san, francisco] * 5 + [a, glasses, b, glasses, c, glasses]
        model = NgramModel(ids, 2, 6)
        assert model.probability((c, c), glasses) > model.probability((c, c), francisco)
        counted = NgramModel(ids, 1, 6)
        assert counted.probability((), francisco) > counted.probability((), glasses)

    def test_log_probs(self):
        model = NgramModel(self.ids, 3, 8)
        text = [1, 5, 2, 0]
        wanted = [model.probability(tuple(text[max(0, i - 2) : i]), text[i]) for i in range(4)]
        assert model.log_probs(text) == pytest.approx([math.log(p) for p in wanted])

    def test_errors(self):
        with pytest.raises(ValueError, match="order must be at least 1, got 0"):
            NgramModel([1, 2], 0, 8)
        with pytest.raises(ValueError, match="at least 3 ids to count, got 2"):
            NgramModel([1, 2], 3, 8)
        with pytest.raises(ValueError, match="between 0 and 7, got 1 to 8"):
            NgramModel([1, 8], 1, 8)
        with pytest.raises(TypeError, match="history must be a tuple of ids, got list"):
            NgramModel([1, 2], 1, 8).probability([1], 2)
