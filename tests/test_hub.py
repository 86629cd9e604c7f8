"""Models by name: what was saved comes back, and what is not that is refused by name.

It is refused before it costs memory.
"""

import copy
import json
import os
import shutil
import signal
from pathlib import Path

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
from mmcourse.weights import LARGEST_CONFIG, SavedModel, find_file, new_name


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
    with pytest.raises(ValueError, match="cannot load the model .*: expected scenes, ") as error:
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


# ---- what it is made with


class Named(SavedModel):
    """A model that is made with anything."""

    def __init__(self, names, *, size=3, other=None):
        super().__init__()
        self.names = names
        self.weight = torch.nn.Parameter(torch.ones(int(size)))


@pytest.mark.parametrize(
    "names",
    [
        {"a", "b"},
        (name for name in "ab"),
        np.arange(2),
        torch.ones(2),
        torch.tensor(1.0),
        b"ab",
        {1: "a"},
        {"deep": [1, {"x": {2, 3}}]},
        torch.float16,
        torch.nn.GELU(),
        print,
    ],
    ids=lambda names: type(names).__name__,
)
def test_what_json_cannot_hold_is_refused_when_the_model_is_made(names):
    """Needed or with a default, by name or by place: it would be lost without a word."""
    Named([])
    for make in (
        lambda: Named(names),
        lambda: Named(names=names),
        lambda: Named([], size=names),
        lambda: Named([], other=names),
    ):
        with pytest.raises(TypeError, match="config.json cannot hold '.*' of Named, so nobody cou"):
            make()


def test_what_json_has_another_word_for_is_saved(tmp_path):
    names = ("a", np.str_("b"), Path("c"), np.int64(4), np.float32(0.5), np.bool_(True), None)
    model = Named(names, size=np.int64(5), other={"deep": (np.uint8(7), [Path("d/e")])})
    assert model.names is names, "the model itself gets what was given"
    model.save_pretrained(tmp_path)
    again = Named.from_pretrained(tmp_path)
    assert again.names == ["a", "b", "c", 4, 0.5, True, None]
    assert again.weight.shape == (5,)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["other"] == {"deep": [7, ["d/e"]]}


def test_what_is_saved_does_not_change_with_what_was_given(tmp_path):
    names = ["a"]
    model = Named(names)
    names.append("b")
    model.save_pretrained(tmp_path)
    assert Named.from_pretrained(tmp_path).names == ["a"]


def test_arguments_without_names_are_refused():
    class Loose(Named):
        def __init__(self, *names, **others):
            super().__init__(names, **others)

    Loose()
    for make in (lambda: Loose("a"), lambda: Loose(size=2)):
        with pytest.raises(TypeError, match="Loose takes '.*' without names of their own"):
            make()


def test_wrong_arguments_are_named_as_in_python():
    with pytest.raises(TypeError, match="unexpected keyword argument 'sizes'"):
        Named([], sizes=3)
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        Named()


def test_a_copy_is_saved_as_the_first(model, tmp_path):
    twin = copy.deepcopy(model)
    for name, one in (("first", model), ("twin", twin)):
        one.save_pretrained(tmp_path / name)
    for file in ("config.json", "model.safetensors"):
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "twin" / file).read_bytes()


# ---- a kill while it is saved


def save_and_die(model, folder, event):
    """Save in a child that kills itself at the event of this number; whether it got so far.

    Events: a file reaches the disk, gets its place, or is removed, or a folder is.
    """
    child = os.fork()
    if child == 0:
        count = [0]

        def counted(real):
            def call(*arguments, **options):
                count[0] += 1
                if count[0] == event:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments, **options)

            return call

        for name in ("fsync", "replace", "unlink", "rmdir", "mkdir", "open"):
            setattr(os, name, counted(getattr(os, name)))
        torch.set_num_threads(1)
        model.save_pretrained(folder)
        os._exit(0)
    return os.waitpid(child, 0)[1] != 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("same", [True, False])
def test_a_kill_leaves_the_former_model_or_the_new_one(tmp_path, same):
    """Also a kill during the saving that comes after a kill."""
    former = Named(["former"])
    new = Named(["former"] if same else ["new"], size=3 if same else 4)
    torch.nn.init.zeros_(new.weight)
    found = []
    for event in range(1, 60):
        folder = tmp_path / str(event)
        former.save_pretrained(folder)
        died = save_and_die(new, folder, event)
        found.append(Named.from_pretrained(folder).weight.sum().item())
        for again in range(1, 60):
            shutil.rmtree(tmp_path / "twice", ignore_errors=True)
            shutil.copytree(folder, tmp_path / "twice")
            if not save_and_die(new, tmp_path / "twice", again):
                break
            assert Named.from_pretrained(tmp_path / "twice").weight.sum().item() in (0.0, 3.0)
            if event % 4:
                break  # the second kill at every moment only after every fourth first one
        new.save_pretrained(folder)
        assert Named.from_pretrained(folder).weight.sum() == 0
        assert sorted(os.listdir(folder)) == ["README.md", "config.json", "model.safetensors"]
        if not died:
            break
    assert not died and found[0] == 3.0 and found[-1] == 0.0 and set(found) == {3.0, 0.0}
    assert sorted(found, reverse=True) == found, "once it is the new one, it stays the new one"
    assert len(found) > 6


def test_a_kill_while_the_first_model_is_saved(tmp_path):
    """There is none before it, and none where the second file is missing altogether."""
    Named(["a"]).save_pretrained(tmp_path)
    beside = tmp_path / ".saving"
    beside.mkdir()
    (tmp_path / "config.json").rename(beside / "config.json")
    assert Named.from_pretrained(tmp_path).names == ["a"]
    assert load_class_of(tmp_path) == "Named"
    (beside / "config.json").write_text('{"names": ["a')
    with pytest.raises(ValueError, match="expected an ordinary file"):
        Named.from_pretrained(tmp_path)


def load_class_of(folder):
    return json.loads(find_file(folder, "config.json").read_text())["class"]


def test_what_stands_where_files_are_saved_first(tmp_path):
    """A link is not followed, and what lies there is not taken for a model."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "config.json").write_text("{}")
    folder = tmp_path / "model"
    for kind in ("link", "file", "folder"):
        Named(["a"]).save_pretrained(folder)
        if kind == "link":
            (folder / ".saving").symlink_to(victim)
        elif kind == "file":
            (folder / ".saving").write_text("")
        else:
            shutil.copytree(victim, folder / ".saving")
        assert Named.from_pretrained(folder).names == ["a"]
        Named(["b"]).save_pretrained(folder)
        assert Named.from_pretrained(folder).names == ["b"]
        assert (victim / "config.json").read_text() == "{}"
        assert not (folder / ".saving").exists()


def test_a_readme_that_is_there_stays(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    Named(["a"]).save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"


def test_a_full_disk_leaves_the_former_model(tmp_path, monkeypatch):
    Named(["a"]).save_pretrained(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    for call in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, full)
            with pytest.raises(OSError, match="No space left"):
                Named(["b"]).save_pretrained(tmp_path)
        assert Named.from_pretrained(tmp_path).names == ["a"]
        assert not (tmp_path / ".saving").exists()


def test_a_model_is_pushed_under_the_name_of_its_folder(tmp_path, monkeypatch):
    pushed = []
    monkeypatch.setattr(Named, "push_to_hub", lambda self, *a, **k: pushed.append((a, k)) or "url")
    folder = tmp_path / "captioner"
    assert Named(["a"]).save_pretrained(folder, push_to_hub=True, private=True) == "url"
    ((name,), options) = pushed[0]
    assert name == "captioner" and options["private"] is True
    assert Named.from_pretrained(folder).names == ["a"]


# ---- what is not a model


def test_names_that_are_none(tmp_path):
    with pytest.raises(ValueError, match="there is no model 'nowhere': expected scenes, "):
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
