"""The figure of chapter 18: bits and scales to choose, and what becomes of a layer and a caption.

Shapes: C rows of a weight, n numbers in a row.
"""

from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import torch
import traitlets

from mmcourse.book.figures import Figure, numbers, script
from mmcourse.book.figures.encoding import decode_png, encode_png
from mmcourse.book.plotting import GREY, ORANGE
from mmcourse.compression.captioner import QuantisedSceneCaptioner, weight_bytes
from mmcourse.compression.layers import keep_floats
from mmcourse.compression.quantise import (
    BITS,
    Scheme,
    choose_scale,
    dequantise,
    quantise,
    relative_error,
)

BINS = 60  # of the histogram


def outcome(weights, bits, per_channel):
    """What the figure says of weights (C, n) in a symmetric scheme: a dict.

    ``values`` are the weights after it, row by row; ``error`` is relative; ``used`` is how many
    codes a row uses, in the mean.
    """
    x = torch.tensor(weights, dtype=torch.float32)
    scheme = Scheme(bits, True, per_channel)
    scale, zero_point = choose_scale(x, scheme)
    codes = quantise(x, scale, zero_point, scheme)
    values = dequantise(codes, scale, zero_point)
    return {
        "values": values.flatten().tolist(),
        "error": relative_error(x, values),
        "used": float(np.mean([len(row.unique()) for row in codes])),
    }


def settings(captioner, images):
    """What a captioner writes of pictures at each number of bits, with one scale a layer and with
    one a channel, and how large it is then: a dict for :class:`BitsExplorer`.
    """
    found = {}
    for bits, per_channel in product(reversed(BITS), (False, True)):
        small = QuantisedSceneCaptioner.of(captioner, bits, per_channel=per_channel)
        written = keep_floats(small).caption(list(images), "greedy")
        key = f"{bits} {'channel' if per_channel else 'tensor'}"
        found[key] = {"bytes": weight_bytes(small), "texts": [one.text for one in written]}
    return found


class BitsExplorer(Figure):
    """Bits and scales to choose: the weights of a layer, their error, and the captions.

    ``weights`` (C, n) are those of one layer, ``settings`` come from :func:`settings`, and
    ``pictures`` are those that are captioned, with what the whole captioner writes in ``texts``.
    Raises ValueError where they do not fit.
    """

    _esm = script("bits.js")
    layer = traitlets.Unicode().tag(sync=True)
    weights = traitlets.List().tag(sync=True)
    settings = traitlets.Dict().tag(sync=True)
    pictures = traitlets.List().tag(sync=True)
    texts = traitlets.List().tag(sync=True)

    def __init__(self, layer, weights, settings, pictures, texts):
        values = numbers("weights", weights, ("C", "n"))
        expected = {f"{bits} {kind}" for bits in BITS for kind in ("tensor", "channel")}
        if set(settings) != expected:
            raise ValueError(
                f"settings must have {len(expected)} keys such as '8 tensor', got "
                f"{sorted(settings)[:3]}: take them from settings()"
            )
        for key, setting in settings.items():
            if len(setting["texts"]) != len(pictures):
                raise ValueError(
                    f"{key} must have a text for each of {len(pictures)} pictures, got "
                    f"{len(setting['texts'])}"
                )
        super().__init__(
            layer=layer,
            weights=[[round(value, 4) for value in row] for row in values],
            settings=settings,
            pictures=[encode_png(picture) for picture in pictures],
            texts=list(texts),
        )

    def draw(self):
        """The layer at 4 bits, with one scale and with one a channel, and the first caption."""
        figure, axes = plt.subplots(1, 3, figsize=(7.4, 2.5), width_ratios=(1, 2, 2))
        axes[0].imshow(decode_png(self.pictures[0]))
        axes[0].axis("off")
        flat = np.array(self.weights).flatten()
        bins = np.linspace(flat.min(), flat.max(), BINS + 1)
        for place, kind in zip(axes[1:], ("tensor", "channel"), strict=True):
            found = outcome(self.weights, 4, kind == "channel")
            place.hist(flat, bins, color=GREY, alpha=0.4, label="weights")
            place.hist(found["values"], bins, color=ORANGE, histtype="step", label="4 bits")
            place.set(yscale="log", xlabel="weight")
            place.set_title(f"a scale a {kind}: error {found['error']:.0%}", fontsize=9)
        axes[1].legend(fontsize=7)
        text = self.settings["4 tensor"]["texts"][0]
        figure.suptitle(f"4 bits, a scale a tensor: “{text}”", fontsize=9)
        return figure
