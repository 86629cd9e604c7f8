"""A captioner of scenes that is saved, and loaded, with quantised weights."""

from mmcourse.captioning import SceneCaptioner
from mmcourse.compression.layers import KINDS, QuantisedLayer, plan_of, put
from mmcourse.compression.quantise import Scheme


class QuantisedSceneCaptioner(SceneCaptioner):
    """A :class:`~mmcourse.captioning.SceneCaptioner` whose layers are quantised.

    ``bits`` is a dict of layers' names and their bits, from 2 to 8; all other tensors are floats.
    ``symmetric`` and ``per_channel`` are those of :class:`Scheme`. The other arguments are those
    of a captioner. Raises ValueError for bits, or a layer, that cannot be.
    """

    former_names = {}

    def __init__(
        self,
        vocabulary,
        bits,
        symmetric=True,
        per_channel=True,
        width=128,
        heads=4,
        encoder_layers=1,
        decoder_layers=2,
        image_size=64,
        channels=(32, 64, 128),
        blocks=(0, 1, 2),
        dropout=0.0,
        max_length=28,
        blind=False,
        calibration=None,
    ):
        super().__init__(
            vocabulary,
            width,
            heads,
            encoder_layers,
            decoder_layers,
            image_size,
            channels,
            blocks,
            dropout,
            max_length,
            blind,
            calibration,
        )
        if not isinstance(bits, dict) or not bits:
            raise ValueError(
                f"bits must name layers and their bits, such as {{'output': 8}}, got {bits!r:.80}"
            )
        for name, each in plan_of(self, bits).items():
            layer = self.get_submodule(name)
            scheme = Scheme(each, symmetric, per_channel)
            put(self, name, KINDS[type(layer)].like(layer, scheme))

    @classmethod
    def of(cls, captioner, bits, *, symmetric=True, per_channel=True):
        """A quantised copy of a captioner. ``bits`` as in :func:`quantise_model`."""
        arguments = dict(captioner._hub_mixin_config or {})
        plan = plan_of(captioner, bits)
        model = cls(**arguments, bits=plan, symmetric=symmetric, per_channel=per_channel)
        theirs = captioner.state_dict()
        rest = {name: tensor for name, tensor in theirs.items() if name in model.state_dict()}
        model.load_state_dict(rest, strict=False)
        for name in plan:
            layer = captioner.get_submodule(name)
            try:
                model.get_submodule(name).fill(layer.weight.data, getattr(layer, "bias", None))
            except ValueError as error:
                raise ValueError(f"the layer {name} cannot be quantised: {error}") from error
        return model.eval()

    @classmethod
    def sizes_in(cls, shapes):
        """As in :class:`~mmcourse.weights.SavedModel`: what packed codes still tell."""
        known = dict(shapes)
        width = shapes["positions"][2]
        for name, shape in shapes.items():
            if name.endswith(".codes"):
                layer = name.removesuffix(".codes")
                stage = layer.startswith("convolutions.stages.")
                known[f"{layer}.weight"] = (shape[0], 0, 0, 0) if stage else (shape[0], width)
        return super().sizes_in(known)

    @property
    def device(self):
        """As in :class:`~mmcourse.captioning.Captioner`."""
        return self.positions.device

    @property
    def dtype(self):
        """As in :class:`~mmcourse.captioning.Captioner`."""
        return self.positions.dtype

    def store(self, folder):
        """Save into a folder as ``save_pretrained`` does, with all parameters in half
        precision; the scales stay as they are.
        """
        kept = {name: tensor.data for name, tensor in self.named_parameters()}
        try:
            for parameter in self.parameters():
                parameter.data = parameter.data.half()
            self.save_pretrained(folder)
        finally:
            for name, parameter in self.named_parameters():
                parameter.data = kept[name]


def weight_bytes(model):
    """How many bytes the tensors of a model take when stored: floats in half precision, but for
    the scales of quantised layers.
    """
    total = 0
    scales = {id(layer.scale) for layer in model.modules() if isinstance(layer, QuantisedLayer)}
    for tensor in (*model.parameters(), *model.buffers()):
        size = tensor.element_size()
        if tensor.is_floating_point() and id(tensor) not in scales:
            size = 2
        total += size * tensor.numel()
    return total
