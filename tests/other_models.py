"""Small language models of transformers with random weights, saved into a folder: the reference."""

import torch
import transformers

# Three odd configurations of each family: no two sizes of one are equal.
SIZES = {
    "gpt2": [
        {"vocab_size": 37, "n_embd": 20, "n_layer": 3, "n_head": 5, "n_positions": 71},
        {"vocab_size": 11, "n_embd": 6, "n_layer": 1, "n_head": 2, "n_positions": 83, "n_inner": 7},
        {
            "vocab_size": 101,
            "n_embd": 24,
            "n_layer": 2,
            "n_head": 3,
            "n_positions": 64,
            "n_inner": 50,
            "tie_word_embeddings": False,
            "layer_norm_epsilon": 1e-3,
        },
    ],
    "llama": [
        {"sizes": (37, 20, 3, 5, 1, 31, 71)},
        {
            "sizes": (53, 24, 2, 6, 3, 17, 90),
            "tie_word_embeddings": True,
            "rms_norm_eps": 1e-2,
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 500.0,
                "factor": 4.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            },
        },
        {
            "sizes": (11, 12, 1, 2, 2, 40, 77),
            "attention_bias": True,
            "head_dim": 10,
            "rope_parameters": {"rope_type": "linear", "rope_theta": 30.0, "factor": 3.0},
        },
    ],
    "mistral": [
        {"sizes": (37, 20, 3, 5, 1, 31, 71), "sliding_window": 5},
        {"sizes": (29, 8, 2, 4, 2, 13, 90), "sliding_window": None},
        {"sizes": (11, 12, 1, 3, 3, 40, 77), "sliding_window": 17, "head_dim": 6},
    ],
    "qwen2": [
        {"sizes": (37, 20, 3, 5, 1, 31, 71)},
        {"sizes": (29, 8, 2, 4, 2, 13, 90), "tie_word_embeddings": True},
        {"sizes": (11, 12, 1, 3, 3, 40, 77), "rope_parameters": {"rope_theta": 1e6}},
    ],
    "qwen3": [
        {"sizes": (37, 20, 3, 5, 1, 31, 71), "head_dim": 6},
        {"sizes": (29, 8, 2, 4, 2, 13, 90), "head_dim": 2, "tie_word_embeddings": True},
        {"sizes": (11, 12, 1, 3, 3, 40, 77), "head_dim": 8, "attention_bias": True},
    ],
}
CASES = [(family, number) for family in SIZES for number in range(3)]
NAMES = (
    *("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "intermediate_size", "max_position_embeddings"),
)
PREFIX = {
    "gpt2": "GPT2",
    "llama": "Llama",
    "mistral": "Mistral",
    "qwen2": "Qwen2",
    "qwen3": "Qwen3",
}


def their_model(family, number, folder):
    """A model of transformers, with every number random, saved into ``folder``."""
    options = dict(SIZES[family][number])
    if "sizes" in options:
        options |= dict(zip(NAMES, options.pop("sizes"), strict=True))
    prefix = PREFIX[family]
    config = getattr(transformers, f"{prefix}Config")(
        **options, bos_token_id=0, eos_token_id=None, pad_token_id=None
    )
    name = "LMHeadModel" if family == "gpt2" else "ForCausalLM"
    model = getattr(transformers, prefix + name)(config).eval().requires_grad_(False)
    torch.manual_seed(100 + number)
    for parameter in model.parameters():
        parameter.normal_(std=0.25)
        if parameter.dim() == 1:
            parameter += 0.7
    model.save_pretrained(folder)
    return model


def their_logits(model, ids, mask=None):
    """Logits of the reference, with positions that count tokens only, as its generate does."""
    if mask is None:
        return model(ids).logits
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    return model(ids, attention_mask=mask.long(), position_ids=positions).logits
