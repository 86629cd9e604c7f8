"""GPT and Llama against transformers at random weights; and what loading refuses, by name."""

import json

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from mmcourse.gpt import GPT, Llama
from tests.helpers import close
from tests.other_models import CASES, their_logits, their_model

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """``pairs(family, number)`` is the reference and ours with its weights, made once."""
    made = {}

    def get(family, number):
        if (family, number) not in made:
            folder = tmp_path_factory.mktemp(family)
            theirs = their_model(family, number, folder)
            ours = class_of(family).from_transformers(folder).requires_grad_(False)
            made[family, number] = theirs, ours
        return made[family, number]

    return get


def class_of(family):
    return GPT if family == "gpt2" else Llama


def some_ids(theirs, *shape):
    torch.manual_seed(3)
    return torch.randint(theirs.config.vocab_size, shape)


@pytest.mark.parametrize(("family", "number"), CASES)
class TestParity:
    def test_logits(self, pairs, family, number):
        theirs, ours = pairs(family, number)
        for shape in ((1, 1), (3, 19), (2, 60)):
            ids = some_ids(theirs, *shape)
            close(ours(ids), theirs(ids).logits, 1e-5)

    def test_hidden_states(self, pairs, family, number):
        theirs, ours = pairs(family, number)
        ids = some_ids(theirs, 2, 13)
        body = theirs.transformer if family == "gpt2" else theirs.model
        close(ours.hidden(ids), body(ids).last_hidden_state, 1e-5)

    @pytest.mark.parametrize("side", ["left", "right"])
    def test_padding(self, pairs, family, number, side):
        theirs, ours = pairs(family, number)
        ids = some_ids(theirs, 4, 23)
        mask = torch.ones_like(ids, dtype=torch.bool)
        for row, length in enumerate((23, 1, 9, 16)):
            mask[row, : 23 - length] = False
        if side == "right":
            mask = mask.flip(1)
        found = ours(ids, mask)
        assert found.isfinite().all()
        close(found[mask], their_logits(theirs, ids, mask)[mask], 1e-5)

    def test_cache(self, pairs, family, number):
        theirs, ours = pairs(family, number)
        ids = some_ids(theirs, 3, 31)
        wanted = theirs(ids).logits
        for pieces in ((30, 1), (1, 1, 12, 17), (5, 26)):
            cache = {}
            found = [ours(part, cache=cache) for part in ids.split(pieces, 1)]
            close(torch.cat(found, 1), wanted, 1e-5)

    def test_cache_of_padded_rows(self, pairs, family, number):
        theirs, ours = pairs(family, number)
        ids = some_ids(theirs, 2, 29)
        mask = torch.ones_like(ids, dtype=torch.bool)
        mask[1, :8] = False
        wanted = their_logits(theirs, ids, mask)
        cache = {}
        found = [ours(ids[:, :11], mask[:, :11], cache=cache)]
        found.append(ours(ids[:, 11:20], cache=cache))
        found.append(ours(ids[:, 20:], mask[:, 20:], cache=cache))
        close(torch.cat(found, 1)[mask], wanted[mask], 1e-5)

    def test_greedy_writes_the_same_50_tokens(self, pairs, family, number):
        theirs, ours = pairs(family, number)
        prompts = [some_ids(theirs, 1, length)[0].tolist() for length in (4, 1, 9)]
        lengths = [len(prompt) for prompt in prompts]
        ids = torch.zeros(3, max(lengths), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, -len(prompt) :] = torch.tensor(prompt)
            mask[row, -len(prompt) :] = 1
        options = {"do_sample": False, "max_new_tokens": 50, "pad_token_id": 0}
        wanted = theirs.generate(ids, attention_mask=mask, **options)[:, max(lengths) :].tolist()
        end = unused(wanted, theirs.config.vocab_size)
        if end is None:
            pytest.skip("every token was written")
        assert ours.generate(prompts, end=end, max_length=50).tokens == wanted
        alone = [ours.generate([prompt], end=end, max_length=50).tokens[0] for prompt in prompts]
        assert alone == wanted


def unused(rows, vocab_size):
    """A token that stands in none of the rows, so that nothing ends early."""
    free = set(range(vocab_size)) - {token for row in rows for token in row}
    return min(free, default=None)


@pytest.fixture
def folder(tmp_path):
    """``folder(family)`` is a checkpoint that a test may damage."""

    def make(family, number=0):
        their_model(family, number, tmp_path)
        return tmp_path

    return make


def edit_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_tensors(folder, change):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path)


class TestLoading:
    @pytest.mark.parametrize("family", ["gpt2", "qwen2"])
    def test_tied_weights_stored_twice(self, folder, family):
        number = 0 if family == "gpt2" else 1
        place = folder(family, number)
        once = class_of(family).from_transformers(place)
        name = "transformer.wte.weight" if family == "gpt2" else "model.embed_tokens.weight"

        def twice(tensors):
            tensors["lm_head.weight"] = tensors[name].clone()

        edit_tensors(place, twice)
        again = class_of(family).from_transformers(place)
        ids = torch.tensor([[1, 5, 2]])
        assert torch.equal(once(ids), again(ids))

    def test_no_such_folder(self, tmp_path):
        with pytest.raises(ValueError, match="there is no folder .*/nowhere: give the path"):
            GPT.from_transformers(tmp_path / "nowhere")

    def test_tied_weights_that_differ(self, folder):
        place = folder("gpt2")
        edit_tensors(place, lambda t: t.update({"lm_head.weight": t["transformer.wte.weight"] + 1}))
        with pytest.raises(ValueError, match=r"lm_head.weight is tied to transformer.wte.weight"):
            GPT.from_transformers(place)

    def test_without_the_prefix_and_with_tables_of_the_mask(self, folder):
        """As the first GPT-2 lies on the hub."""
        place = folder("gpt2")
        whole = GPT.from_transformers(place)

        def rename(tensors):
            for name in list(tensors):
                tensors[name.removeprefix("transformer.")] = tensors.pop(name)
            tensors["h.0.attn.bias"] = torch.ones(1, 1, 5, 5)
            tensors["h.1.attn.masked_bias"] = torch.tensor(-1e4)

        edit_tensors(place, rename)
        ids = torch.tensor([[1, 5, 2]])
        assert torch.equal(whole(ids), GPT.from_transformers(place)(ids))

    def test_several_files(self, folder):
        place = folder("llama")
        whole = Llama.from_transformers(place)
        theirs = transformers.LlamaForCausalLM.from_pretrained(place)
        (place / "model.safetensors").unlink()
        theirs.save_pretrained(place, max_shard_size="4KB")
        assert len(list(place.glob("*.safetensors"))) > 2
        again = Llama.from_transformers(place)
        for name, tensor in whole.state_dict().items():
            assert torch.equal(tensor, again.state_dict()[name])

    def test_several_files_of_which_one_is_missing(self, folder):
        place = folder("llama")
        theirs = transformers.LlamaForCausalLM.from_pretrained(place)
        (place / "model.safetensors").unlink()
        theirs.save_pretrained(place, max_shard_size="4KB")
        sorted(place.glob("*.safetensors"))[1].unlink()
        with pytest.raises(ValueError, match=r"no file model-00002"):
            Llama.from_transformers(place)

    def test_an_index_that_names_too_much(self, folder):
        place = folder("llama")
        (place / "model.safetensors").rename(place / "part.safetensors")
        index = {"weight_map": {"lm_head.weight": "part.safetensors", "x": "part.safetensors"}}
        (place / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(ValueError, match="names tensors that are in no file: x"):
            Llama.from_transformers(place)
        (place / "model.safetensors.index.json").write_text("{}")
        with pytest.raises(ValueError, match="has no weight_map"):
            Llama.from_transformers(place)

    def test_half_precision_becomes_single(self, folder):
        place = folder("qwen3")

        def halve(tensors):
            for name in tensors:
                tensors[name] = tensors[name].bfloat16()

        edit_tensors(place, halve)
        model = Llama.from_transformers(place)
        assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float32}
        assert not model.training

    def test_old_settings_of_rotary_positions(self, folder):
        place = folder("llama", 1)
        new = Llama.from_transformers(place)
        config = json.loads((place / "config.json").read_text())
        settings = config.pop("rope_parameters")
        config["rope_theta"] = settings.pop("rope_theta")
        config["rope_scaling"] = settings
        (place / "config.json").write_text(json.dumps(config))
        old = Llama.from_transformers(place)
        assert torch.equal(new.frequencies, old.frequencies)
        config["rope_scaling"] = {"type": "linear", "factor": 2.0}
        (place / "config.json").write_text(json.dumps(config))
        assert Llama.from_transformers(place).frequencies[0] == 0.5

    @pytest.mark.parametrize(
        ("family", "changes", "message"),
        [
            ("gpt2", {"model_type": "bert"}, "family 'bert', but GPT loads gpt2"),
            ("llama", {"model_type": "gpt2"}, "Llama loads llama and mistral and qwen2 and qwen3"),
            ("gpt2", {"activation_function": "relu"}, "activation_function = 'relu'"),
            ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights = False"),
            ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "by_inverse_layer_idx = True"),
            ("gpt2", {"add_cross_attention": True}, "add_cross_attention = True"),
            ("gpt2", {"quantization_config": {"bits": 4}}, "quantization_config = {'bits': 4}"),
            ("gpt2", {"n_head": 3}, "heads must divide the width"),
            (
                "gpt2",
                {"n_positions": 72},
                "says context 72, but model.safetensors was saved with 71",
            ),
            ("gpt2", {"vocab_size": 38}, "says vocab_size 38"),
            ("gpt2", {"n_inner": 5}, r"feed_forward.0.weight has the shape \(80, 20\)"),
            ("llama", {"hidden_act": "gelu"}, "hidden_act = 'gelu'"),
            ("llama", {"mlp_bias": True}, "mlp_bias = True"),
            ("llama", {"hidden_size": 25}, "says width 25"),
            ("llama", {"intermediate_size": 25}, "says hidden 25"),
            ("llama", {"num_key_value_heads": 5}, r"attention.key.weight has the shape \(4, 20\)"),
            ("qwen2", {"use_sliding_window": True}, "use_sliding_window = True"),
            ("qwen3", {"layer_types": ["sliding_attention"]}, "layer_types = 'sliding_attention'"),
            ("llama", {"partial_rotary_factor": 0.5}, "partial_rotary_factor = 0.5"),
            (
                "llama",
                {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 2.0}},
                "rotary positions 'yarn' is not supported",
            ),
            (
                "llama",
                {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
                "partial_rotary_factor = 0.5",
            ),
            (
                "llama",
                {"rope_parameters": None, "rope_scaling": {"type": "dynamic", "factor": 2.0}},
                "rotary positions 'dynamic' is not supported",
            ),
        ],
    )
    def test_refuses_by_name(self, folder, family, changes, message):
        place = folder(family)
        edit_config(place, **changes)
        with pytest.raises(ValueError, match=message):
            class_of(family).from_transformers(place)

    @pytest.mark.parametrize(
        ("family", "change", "message"),
        [
            (
                "gpt2",
                lambda t: t.pop("transformer.h.1.ln_2.bias"),
                "missing transformer.h.1.ln_2.bias;",
            ),
            ("gpt2", lambda t: t.update(more=torch.ones(2)), "left over more"),
            (
                "gpt2",
                lambda t: t.pop("transformer.h.0.attn.c_attn.weight"),
                "missing transformer.h.0.attn",
            ),
            ("llama", lambda t: t.pop("lm_head.weight"), "missing lm_head.weight"),
            (
                "llama",
                lambda t: t.update({"model.layers.0.self_attn.q_proj.bias": torch.ones(20)}),
                "left over model.layers.0.self_attn.q_proj.bias",
            ),
            (
                "llama",
                lambda t: t.update({"model.norm.weight": torch.ones(21)}),
                "tensor norm.weight",
            ),
            (
                "llama",
                lambda t: t.update({"model.norm.weight": torch.ones(20, dtype=torch.int8)}),
                "model.norm.weight holds torch.int8",
            ),
            (
                "qwen3",
                lambda t: t.pop("model.layers.2.self_attn.k_norm.weight"),
                "layers.2.self_attn.k_norm",
            ),
        ],
    )
    def test_names_tensors_that_do_not_fit(self, folder, family, change, message):
        place = folder(family)
        edit_tensors(place, change)
        with pytest.raises(ValueError, match=message):
            class_of(family).from_transformers(place)

    @pytest.mark.parametrize(
        ("family", "setting"),
        [
            ("llama", "intermediate_size"),
            ("mistral", "num_key_value_heads"),
            ("qwen3", "head_dim"),
        ],
    )
    def test_a_setting_is_missing(self, folder, family, setting):
        place = folder(family)
        config = json.loads((place / "config.json").read_text())
        del config[setting]
        (place / "config.json").write_text(json.dumps(config))
        with pytest.raises(ValueError, match=f"does not say '{setting}'"):
            Llama.from_transformers(place)

    def test_only_a_pickle(self, folder):
        place = folder("gpt2")
        (place / "model.safetensors").rename(place / "pytorch_model.bin")
        with pytest.raises(ValueError, match="which could run any program"):
            GPT.from_transformers(place)
