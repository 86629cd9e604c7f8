"""Vision models of ``transformers``, each behind its own image processor, whatever that does.

Shapes: B batch, S side of a picture in pixels, P patches, K numbers of a patch, N cells of the
grid, C numbers that the encoder has for each.
"""

import json
import re

import numpy as np
import torch
from PIL import Image
from torch import nn

from mmcourse.data.pictures import load_picture
from mmcourse.photographs.encoders import PROBE, PretrainedEncoder, fingerprint

LARGEST = 1024  # pixels along the side of a square that a picture is put into
TOKENS = 16  # most that stand before the patches; five in a DINOv2 with registers
#: Steps of processors that change colours, not places, and the values that switch them off.
COLOURS = {
    "do_rescale": False,
    "do_normalize": False,
    "do_flip_channel_order": False,
    "include_top": False,
}


class ProcessedEncoder(PretrainedEncoder):
    """A vision model of ``transformers`` that sees what its own image processor makes of a picture.

    So sizes, crops, the order of colours and the normalisation are those of its training. Pictures
    must all get the same square grid: where the processor keeps a picture's form, it is given a
    square in which the picture's edge is repeated. ValueError when its grids still differ.

    A processor may cut the picture into patches itself, as SigLIP 2's NaFlex does. Then prepared
    pictures are (B, 1, P, K).
    """

    def __init__(self, network, processor):
        nn.Module.__init__(self)
        self.network = network.eval()
        self.processor = processor
        self.square, self.form = self._find_form()
        self.size, self.is_patched = self._find_size()
        self.fingerprint = fingerprint(network, settings_of(processor), self.square)

    def _find_form(self):
        """Whether pictures are put into a square first, and what form the processor gives them."""
        for square in (False, True):
            probes = (PROBE, PROBE.transpose(1, 0, 2), PROBE[:, :40])
            forms = {form_of(self.process(probe, square)) for probe in probes}
            if len(forms) == 1:
                return square, forms.pop()
        raise ValueError(
            f"{type(self.processor).__name__} makes pictures of several sizes, {sorted(forms)}: "
            "expected one. Give it a size, as with do_resize and size in preprocessor_config.json"
        )

    def _find_size(self):
        """The side S of a prepared picture, and whether it comes in patches."""
        if len(self.form) == 2 and self.form[0] == self.form[1]:  # rows and columns of patches
            return self.form[0] * self.processor.patch_size, True
        if len(self.form) == 3 and self.form[0] == 3 and self.form[1] == self.form[2]:
            return self.form[1], False
        raise ValueError(
            f"{type(self.processor).__name__} makes pictures of the shape {self.form}: expected "
            "(3, S, S), one square picture"
        )

    def process(self, picture, square, **changes):
        """What the processor makes of a picture that is upright and in RGB, a dict of tensors."""
        pixels = load_picture(picture, None)  # (H, W, 3)
        if square:
            longer = max(pixels.shape[:2])
            pixels = load_picture(pixels, min(longer, LARGEST))
        return self.processor(
            Image.fromarray(pixels),
            input_data_format="channels_last",  # else guessed, wrongly for one row of pixels
            return_tensors="pt",
            **changes,
        )

    def view(self, picture):
        """What the grid covers of a picture, uint8 (S, S, 3): a processor may cut off its edges."""
        if self.is_patched:
            return load_picture(picture, self.size)
        changes = {name: off for name, off in COLOURS.items() if hasattr(self.processor, name)}
        pixels = self.process(picture, self.square, **changes)["pixel_values"][0]  # (3, S, S)
        return np.clip(pixels.numpy(), 0, 255).round().astype(np.uint8).transpose(1, 2, 0)

    def prepare(self, picture):
        """A picture (path, PIL picture or array) for the network: (3, S, S), or (1, P, K)."""
        pixels = self.process(picture, self.square)["pixel_values"].float()
        return pixels if self.is_patched else pixels[0]

    def extract(self, network, pixels):
        """What the network says of prepared pictures."""
        if not self.is_patched:
            return network(pixel_values=pixels).last_hidden_state
        count = len(pixels)
        patches = pixels[:, 0]  # (B, P, K)
        cells = self.form[0] * self.form[1]
        is_cell = torch.arange(patches.shape[1], device=pixels.device) < cells  # (P)
        output = network(
            pixel_values=patches,
            pixel_attention_mask=is_cell.long().expand(count, -1),  # (B, P)
            spatial_shapes=torch.tensor([self.form] * count, device=pixels.device),  # (B, 2)
        )
        return output.last_hidden_state[:, :cells]

    def cells_of(self, rows):
        """How many of a grid's rows are cells: by the size of a patch, where the model says it."""
        patch = getattr(self.network.config, "patch_size", None)
        if isinstance(patch, int):
            cells = (self.size // patch) ** 2
            if 0 <= rows - cells <= TOKENS:
                return cells
        return super().cells_of(rows)


def form_of(inputs):
    """The shape of a picture, (3, H, W); of one in patches how many rows and columns they make."""
    if "spatial_shapes" in inputs:
        return tuple(inputs["spatial_shapes"][0].tolist())
    return tuple(inputs["pixel_values"].shape[1:])


def settings_of(processor):
    """A processor's settings as one text: what is set, and the family, whatever it is built on."""
    settings = json.loads(processor.to_json_string())
    family = re.sub("(Pil|Fast)$", "", type(processor).__name__)
    kept = {
        name: value
        for name, value in settings.items()
        if value is not None and not name.startswith("_") and name != "image_processor_type"
    }
    return json.dumps([family, kept], sort_keys=True)
