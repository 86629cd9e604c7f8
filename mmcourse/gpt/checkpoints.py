"""Checkpoints of other people's language models: read strictly, and told by name what is wrong."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from mmcourse.weights import (
    CONFIG,
    WEIGHTS,
    check_sizes,
    check_tensor,
    find_file,
    listed,
    read_config,
)

INDEX = WEIGHTS + ".index.json"  # of a checkpoint in several files


def load_checkpoint(cls, name, **options):
    """A model of class ``cls`` from the folder or hub id ``name``.

    Errors are those of :meth:`~mmcourse.gpt.language_model.LanguageModel.from_transformers`.
    """
    if not Path(name).is_dir() and (str(name).count("/") > 1 or str(name)[:1] in (".", "/", "~")):
        raise ValueError(
            f"there is no folder {name}: give the path of one that transformers saved, or "
            "owner/name of a model on huggingface.co"
        )
    config = read_config(find_file(name, CONFIG, **options))
    family = config.get("model_type")
    if family not in cls.families:
        raise ValueError(
            f"{CONFIG} is of the family {family!r}, but {cls.__name__} loads "
            f"{' and '.join(cls.families)}: take another class or another checkpoint"
        )
    refuse(config, "quantization_config", None)
    try:
        arguments = cls.arguments_of(config)
    except KeyError as error:
        raise ValueError(f"{CONFIG} does not say {error}, which {family} needs") from error
    source = Tensors(read_tensors(name, **options))
    tensors = cls.tensors_of(source, arguments)
    source.finish()
    shapes = {ours: tuple(tensor.shape) for ours, tensor in tensors.items()}
    check_sizes(arguments, cls.sizes_in(shapes))
    model = cls(**arguments)
    expected = model.state_dict()
    for ours, tensor in tensors.items():
        check_tensor(ours, tensor, expected[ours])
    model.load_state_dict(tensors)
    return model.eval()


def refuse(config, setting, *known):
    """ValueError where ``config`` has a setting that is none of the ``known`` ones."""
    value = config.get(setting, known[0])
    if value not in known:
        choices = " or ".join(repr(one) for one in known)
        raise ValueError(
            f"{CONFIG} has {setting} = {value!r:.80}, which this class does not support "
            f"(it knows {choices}): load the checkpoint with transformers instead"
        )


def count_layers(shapes):
    """How many layers tensors of these names, ``layers.0. ...``, have."""
    numbers = {name.split(".")[1] for name in shapes if name.startswith("layers.")}
    return len(numbers)


def read_tensors(name, **options):
    """All tensors of a checkpoint, a dict, from one file or several.

    ValueError where there is no file of safetensors, or the index names what is not there.
    """
    try:
        return load_file(existing(find_file(name, WEIGHTS, **options)))
    except (OSError, ValueError) as error:
        alone = error
    try:
        index = existing(find_file(name, INDEX, **options))
    except (OSError, ValueError):
        raise ValueError(
            f"expected {WEIGHTS} or {INDEX} in {name}: {alone}. Files that end in .bin hold "
            "pickles, which could run any program; save the model again with safetensors"
        ) from alone
    places = json.loads(index.read_text(encoding="utf-8")).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ValueError(f"{INDEX} has no weight_map: copy the folder of the model again")
    found = {}
    for file in sorted(set(places.values())):
        found |= load_file(existing(find_file(name, file, **options)))
    missing = [tensor for tensor in places if tensor not in found]
    if missing:
        raise ValueError(f"{INDEX} names tensors that are in no file: {listed(missing)}")
    return found


def existing(path):
    """The path, if there is a file. ValueError otherwise."""
    if not path.is_file():
        raise ValueError(f"there is no file {path.name}")
    return path


class Tensors:
    """Tensors of a checkpoint, which are taken one by one; what nobody takes is left over.

    ``tensors`` is a dict by name.
    """

    def __init__(self, tensors):
        self.left = dict(tensors)
        self.start = ""
        self.missing = []

    def prefix(self, start):
        """Names begin with ``start``, unless the checkpoint is of a model without its head."""
        if any(name.startswith(start) for name in self.left):
            self.start = start

    def ignore(self, *ends):
        """Drop tensors whose names end so."""
        for name in list(self.left):
            if name.endswith(ends):
                del self.left[name]

    def take(self, name):
        """The tensor of a name, in single precision. One that is missing is noted."""
        tensor = self.left.pop(self.start + name, None)
        if tensor is None:
            self.missing.append(self.start + name)
            return torch.zeros(3, 3)  # only until finish() raises
        if not tensor.is_floating_point():
            raise ValueError(
                f"the tensor {self.start + name} holds {tensor.dtype}, expected numbers with a "
                "point: this class does not load quantised weights"
            )
        return tensor.float()

    def take_head(self, found, embedding, tied):
        """Put the last layer into ``found``, or, where it is tied, see that a copy is equal.

        ``embedding`` is their name of the embedding. ValueError for a copy that differs.
        """
        copy = self.left.pop("lm_head.weight", None)
        if not tied and copy is None:
            self.missing.append("lm_head.weight")
        elif not tied:
            found["head.weight"] = copy.float()
        elif copy is not None and not torch.equal(copy.float(), found["embedding.weight"]):
            raise ValueError(
                f"{CONFIG} says that lm_head.weight is tied to {self.start + embedding}, but "
                "the two tensors differ: set tie_word_embeddings to false, or repair the file"
            )

    def finish(self):
        """ValueError, by name, if a tensor was missing or is left over."""
        if self.missing or self.left:
            raise ValueError(
                f"the checkpoint does not fit its {CONFIG}: missing {listed(self.missing)}; "
                f"left over {listed(sorted(self.left))}"
            )
