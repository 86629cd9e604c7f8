"""Models by name: what was saved comes back, and what is not that is refused by name.

It is refused before it costs memory.
"""

import json
import os

import numpy as np
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from mmcourse.captioning import Captioner, SceneCaptioner
from mmcourse.data import EmojiScenes
from mmcourse.data.language import vocabulary
from mmcourse.hub import SHIPPED, load
from mmcourse.photographs import PhotographCaptioner
from mmcourse.weights import LARGEST_CONFIG, SavedModel, new_name


def tiny(**settings):
    torch.manual_seed(0)
    sizes = {"width": 24, "heads": 3, "channels": (8, 8, 16), "blocks": (0, 0, 1)}
    return SceneCaptioner(vocabulary(), **sizes | settings).eval()


@pytest.fixture(scope="module")
def model():
    return tiny()


@pytest.fixture
def folder(model, tmp_path):
    """A folder with a whole model, to be spoiled."""
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def image():
    return EmojiScenes("val")[0].image


def change_config(folder, **changes):
    """Change values of config.json; None takes one out."""
    file = folder / "config.json"
    config = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({name: x for name, x in config.items() if x is not None}))


def change_weights(folder, change):
    """Let ``change`` work on the dict of tensors, and leave no checksum that tells."""
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    change_config(folder, sha256=None)


def refused(folder):
    """The message with which a folder is refused."""
    with pytest.raises(
        ValueError, match="cannot load the captioner .*: expected scenes, a"
    ) as error:
        load(folder)
    return str(error.value)


# ---- what was saved comes back


def test_a_saved_captioner_says_the_same(model, folder):
    again = load(folder)
    assert type(again) is SceneCaptioner and not again.training
    assert again.caption(image(), "greedy").text == model.caption(image(), "greedy").text
    tensors = model.state_dict()
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in again.state_dict().items())


def test_one_that_was_loaded_can_be_saved_again(folder, tmp_path):
    again = load(folder)
    config = dict(again._hub_mixin_config)
    again.save_pretrained(tmp_path / "again")
    assert again._hub_mixin_config == config, "a model is the same after it was saved"
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_a_captioner_on_the_hub(model, folder, monkeypatch):
    asked = []

    def download(name, filename, *, revision):
        asked.append((name, filename, revision))
        return str(folder / filename)

    monkeypatch.setattr("mmcourse.weights.hf_hub_download", download)
    monkeypatch.setattr("mmcourse.weights.hub_answers", lambda: True)
    again = load("somebody/captioner", revision="v2")
    assert again.caption(image(), "greedy").text == model.caption(image(), "greedy").text
    files = ("config.json", "model.safetensors")
    assert asked == [("somebody/captioner", file, "v2") for file in files]


def test_nothing_is_printed_when_it_is_loaded(folder, monkeypatch, capsys):
    def download(name, filename):
        print("what a library has to say")
        return str(folder / filename)

    monkeypatch.setattr("mmcourse.weights.hf_hub_download", download)
    monkeypatch.setattr("mmcourse.weights.hub_answers", lambda: True)
    load("somebody/captioner")
    assert capsys.readouterr() == ("", "")


def test_a_hub_that_does_not_answer_is_asked_once(folder, monkeypatch):
    """With a name that was downloaded before, and with one that was not."""
    asked = []

    def get_session():
        asked.append("hub")
        raise OSError("no network")

    def download(name, filename, *, local_files_only):
        assert local_files_only
        if name == "somebody/new":
            raise LocalEntryNotFoundError("not in the cache")
        return str(folder / filename)

    monkeypatch.setattr("mmcourse.weights.get_session", get_session)
    monkeypatch.setattr("mmcourse.weights.hf_hub_download", download)
    assert load("somebody/captioner").words
    asked.clear()
    message = "hub does not answer, and somebody/new was not downloaded before: connect"
    with pytest.raises(ValueError, match=message):
        load("somebody/new")
    assert asked == ["hub"]


def test_half_precision_on_the_disk_is_single_in_memory(model, folder):
    def halve(tensors):
        tensors |= {name: tensor.half() for name, tensor in tensors.items()}

    change_weights(folder, halve)
    for name, tensor in load(folder).state_dict().items():
        assert tensor.dtype == torch.float32, name
        torch.testing.assert_close(tensor, model.state_dict()[name], atol=1e-3, rtol=1e-3)


def test_a_folder_from_before_the_class_was_saved(model, folder):
    former = {after: before for before, after in SceneCaptioner.former_names.items()}

    def as_before(tensors):
        for name in list(tensors):
            tensors[new_name(name, former)] = tensors.pop(name)

    change_weights(folder, as_before)
    change_config(folder, **{"class": None})
    names = set(load_file(folder / "model.safetensors"))
    assert {"places", "eye.projection.weight", "grid.weight", "naming.weight"} <= names
    again = load(folder)
    assert type(again) is SceneCaptioner
    tensors = model.state_dict()
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in again.state_dict().items())


def test_the_shipped_one_is_small():
    assert sum(file.stat().st_size for file in (SHIPPED / "scenes").iterdir()) < 4e6
    shipped = load("scenes")
    assert type(shipped) is SceneCaptioner and not shipped.training
    stored = load_file(SHIPPED / "scenes" / "model.safetensors").values()
    assert {tensor.dtype for tensor in stored} == {torch.float16}
    assert {tensor.dtype for tensor in shipped.parameters()} == {torch.float32}


class Tied(SavedModel):
    """A model whose output layer is its table of words."""

    def __init__(self, words=5, width=3):
        super().__init__()
        self.embedding = torch.nn.Embedding(words, width)
        self.output = torch.nn.Linear(width, words, bias=False)
        self.output.weight = self.embedding.weight


def test_a_tied_model_comes_back(tmp_path):
    tied = Tied()
    tied.save_pretrained(tmp_path)
    assert len(load_file(tmp_path / "model.safetensors")) == 1
    again = Tied.from_pretrained(tmp_path)
    assert again.output.weight is again.embedding.weight
    assert torch.equal(again.output.weight, tied.output.weight)
    change_weights(tmp_path, lambda tensors: tensors.update(other=tensors.popitem()[1]))
    with pytest.raises(ValueError, match="missing embedding.weight, output.weight; left over oth"):
        Tied.from_pretrained(tmp_path)


# ---- what is not a model


def test_names_that_are_none(tmp_path):
    with pytest.raises(ValueError, match="there is no captioner 'nowhere': expected scenes, a fol"):
        load("nowhere")
    refused(tmp_path / "missing")
    assert "expected an ordinary file" in refused(tmp_path)


def test_another_class_than_was_saved(folder):
    for other in (PhotographCaptioner, Captioner):
        with pytest.raises(ValueError, match="config.json is of a SceneCaptioner, not of a"):
            other.from_pretrained(folder)
    change_config(folder, **{"class": "VideoCaptioner"})
    assert "unknown class 'VideoCaptioner': update mmcourse" in refused(folder)


@pytest.mark.parametrize("kind", ["device", "pipe", "folder"])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_files_that_are_no_ordinary_files(folder, name, kind):
    (folder / name).unlink()
    if kind == "device":
        (folder / name).symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(folder / name)
    else:
        (folder / name).mkdir()
    assert f"expected an ordinary file {folder / name}" in refused(folder)


@pytest.mark.parametrize(
    "text, said",
    [
        ("[1, 2]", "holds a list, expected names and values"),
        ("", "Expecting value"),
        ('{"vocabulary": ["a"', "Expecting"),
        ('{"class": "SceneCaptioner"}', "vocabulary"),
        ('"' + "a" * LARGEST_CONFIG + '"', "bytes, expected at most 16,000,000"),
    ],
)
def test_configurations_that_are_none(folder, text, said):
    (folder / "config.json").write_text(text)
    assert said in refused(folder)


def test_weights_that_were_cut_off(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    assert "is damaged, or of another model than config.json" in refused(folder)
    change_config(folder, sha256=None)
    refused(folder)


def test_one_flipped_bit(folder):
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-100] ^= 64
    weights.write_bytes(content)
    assert "model.safetensors is damaged, or of another model" in refused(folder)
    change_config(folder, sha256=None)
    load(folder)  # as folders from before checksums were saved


# ---- tensors


def test_tensors_that_are_missing_or_left_over(folder):
    def rename(tensors):
        tensors["output.gain"] = tensors.pop("output.bias")

    change_weights(folder, rename)
    assert "missing output.bias; left over output.gain)" in refused(folder)


def test_a_tensor_too_many(folder):
    change_weights(folder, lambda tensors: tensors.update(extra=torch.zeros(2)))
    assert "missing none; left over extra)" in refused(folder)


def test_many_missing_tensors_are_counted(folder):
    def leave_out(tensors):
        for name in [name for name in tensors if "norm" in name]:
            del tensors[name]

    change_weights(folder, leave_out)
    said = refused(folder)
    assert "missing decoder.layers.0.norm1.bias" in said or "missing encoder.layers.0.norm1" in said
    assert said.count("norm") == 3 and "more; left over none" in said


def test_a_file_without_a_tensor_or_without_the_words(folder):
    change_weights(folder, lambda tensors: tensors.pop("embedding.weight"))
    assert "no fitting tensor 'embedding.weight'" in refused(folder)
    change_weights(folder, lambda tensors: tensors.clear())
    assert "model.safetensors holds no tensor" in refused(folder)


@pytest.mark.parametrize("name", ["output.weight", "noun_head.bias", "encoder.norm.weight"])
def test_a_tensor_of_another_shape(folder, name):
    def grow(tensors):
        tensors[name] = torch.cat([tensors[name], tensors[name]])

    change_weights(folder, grow)
    assert f"the tensor {name} has the shape (" in refused(folder)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool])
def test_a_tensor_of_whole_numbers(folder, dtype):
    def count(tensors):
        tensors["output.bias"] = torch.ones_like(tensors["output.bias"], dtype=dtype)

    change_weights(folder, count)
    assert f"the tensor output.bias holds {dtype}, expected torch.float32" in refused(folder)


def test_whole_numbers_of_a_normalisation_stay_whole(tmp_path):
    class Normalised(SavedModel):
        def __init__(self):
            super().__init__()
            self.norm = torch.nn.BatchNorm1d(2)

    Normalised().save_pretrained(tmp_path)
    Normalised.from_pretrained(tmp_path)

    def halve(tensors):
        tensors["norm.num_batches_tracked"] = torch.tensor(0.5)

    change_weights(tmp_path, halve)
    with pytest.raises(
        ValueError, match="num_batches_tracked holds torch.float32, expected torch.i"
    ):
        Normalised.from_pretrained(tmp_path)


# ---- sizes, before anything is allocated


@pytest.mark.parametrize(
    "name, value, true",
    [
        ("decoder_layers", 100_000, 2),
        ("decoder_layers", 1, 2),
        ("encoder_layers", 3, 1),
        ("encoder_layers", "many", 1),
        ("width", 48_000, 24),
        ("max_length", 2_000_000_000, 28),
        ("image_size", 64_000, 64),
        ("image_size", 65, 64),
        ("channels", [8, 8, 16, 16], [8, 8, 16]),
        ("channels", [8, 9, 16], [8, 8, 16]),
        ("blocks", [0, 0, 100_000], [0, 0, 1]),
        ("blocks", [0, 1, 0], [0, 0, 1]),
        ("vocabulary", ["a", "cat"], len(vocabulary())),
    ],
)
def test_sizes_are_checked_before_anything_is_allocated(folder, monkeypatch, name, value, true):
    monkeypatch.setattr(SceneCaptioner, "__init__", lambda *_, **__: pytest.fail("allocated"))
    change_config(folder, **{name: value})
    shown = len(value) if name == "vocabulary" else value
    said = refused(folder)
    assert f"config.json says {name} {shown}, but model.safetensors was saved with {true}" in said


@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"image_size": 32, "width": 12, "heads": 2, "max_length": 3},
        {"channels": (8, 16), "blocks": (2, 1), "image_size": 20},
        {"channels": (8, 16, 8, 24), "blocks": (0, 3, 0, 0), "decoder_layers": 11},
        {"encoder_layers": 0, "decoder_layers": 12},
    ],
)
def test_sizes_in_a_weight_file_are_those_of_the_model(sizes):
    model = tiny(**sizes)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for name, size in SceneCaptioner.sizes_in(shapes).items():
        given = model._hub_mixin_config[name]
        if name == "vocabulary":
            given = len(given)
        assert np.array_equal(size, given), name


def test_a_configuration_that_leaves_sizes_out(folder):
    change_config(folder, blocks=None)  # taken for the default, (0, 1, 2)
    assert "missing convolutions.stages.2.change" in refused(folder)
