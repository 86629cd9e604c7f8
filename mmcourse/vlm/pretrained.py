"""A LLaVA checkpoint of ``transformers`` in layers of the course, with copied weights.

Shapes: P pictures, S side of a picture in pixels, N patches, D_in width of the picture tower.
"""

import re
from pathlib import Path

import torch
from torch import nn

from mmcourse.contrastive.pretrained import VisionTower, copy, copy_layer
from mmcourse.gpt import Llama
from mmcourse.gpt.checkpoints import Tensors
from mmcourse.vlm.bridges import Projector
from mmcourse.weights import hub_answers, quiet_transformers


class LlavaEyes(nn.Module):
    """CLIP's picture tower without its last layers: pixels (P, 3, S, S) to patches (P, N, D_in).

    LLaVA takes what comes out ``skipped`` layers before the end, without CLIP's last norm and
    without the class token (Liu et al. 2023, section 4.1).
    """

    def __init__(self, config, skipped):
        super().__init__()
        self.tower = VisionTower(config, "clip", 1)
        self.tower.projection = nn.Identity()
        kept = config.num_hidden_layers - skipped
        self.tower.encoder.layers = self.tower.encoder.layers[:kept]
        self.tower.encoder.norm = nn.Identity()

    def encode(self, pixels):
        """Patches (P, N, D_in) of pixels (P, 3, S, S)."""
        tower = self.tower
        x = tower.patches(pixels)  # (P, N, D_in)
        first = tower.class_token.expand(len(x), -1, -1)
        x = torch.cat([first, x], 1) + tower.positions
        x = tower.encoder(tower.first_norm(x))
        return x[:, 1:]


def load_llava(name, join):
    """A LLaVA from a folder, ``owner/name`` on the hub, or a model in memory: what ``join`` makes.

    ``join`` is the class that joins encoder, bridge and language model, ``VLM``. The
    picture's id is that of the checkpoint. ValueError for what is no LLaVA of a CLIP and a Llama;
    it names the parts that do not fit, and says what to do when files cannot be had.
    """
    if isinstance(name, nn.Module):
        return convert(name, join)
    is_folder = Path(name).is_dir()
    if not is_folder and not re.fullmatch(r"[\w.-]+/[\w.-]+", str(name)):
        raise ValueError(
            f"expected a folder, or owner/name as llava-hf/llava-1.5-7b-hf, got {str(name)!r}"
        )
    try:
        from transformers import AutoConfig, LlavaForConditionalGeneration

        options = {"local_files_only": not is_folder and not hub_answers()}
        with quiet_transformers():
            check_config(AutoConfig.from_pretrained(name, **options))
            theirs = LlavaForConditionalGeneration.from_pretrained(
                name, dtype=torch.float32, **options
            )
    except Exception as error:  # those of several libraries
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"cannot load {str(name)!r} ({reason}): expected the files of a LLaVA; without a "
            "network fetch them elsewhere, put them into one folder, and give that folder"
        ) from error
    return convert(theirs, join)


def check_config(config):
    """ValueError, by name, for a configuration whose parts are not those of the course."""
    if getattr(config, "model_type", None) != "llava":
        raise ValueError(f"model_type is {getattr(config, 'model_type', None)!r}, expected 'llava'")
    expected = {
        "vision_config.model_type": (config.vision_config.model_type, "clip_vision_model"),
        "text_config.model_type": (config.text_config.model_type, "llama"),
        "vision_feature_select_strategy": (config.vision_feature_select_strategy, "default"),
        "projector_hidden_act": (config.projector_hidden_act, "gelu"),
    }
    for setting, (found, known) in expected.items():
        if found != known:
            raise ValueError(f"{setting} is {found!r}, expected {known!r}")
    layer = config.vision_feature_layer
    if not isinstance(layer, int) or not -config.vision_config.num_hidden_layers <= layer < 0:
        raise ValueError(f"vision_feature_layer is {layer!r}, expected a number below 0, as -2")


@torch.no_grad()
def convert(theirs, join):
    """The parts of a ``LlavaForConditionalGeneration`` with its weights, joined by ``join``."""
    config = getattr(theirs, "config", None)
    check_config(config)
    parts = theirs.model
    eyes = LlavaEyes(config.vision_config, -1 - config.vision_feature_layer)
    copy_eyes(eyes.tower, parts.vision_tower)
    bridge = copy_projector(parts.multi_modal_projector, config)
    text = config.text_config.to_dict()
    text["tie_word_embeddings"] = False  # the checkpoint holds both
    arguments = Llama.arguments_of(text)
    tensors = {f"model.{name}": one for name, one in parts.language_model.state_dict().items()}
    tensors["lm_head.weight"] = theirs.lm_head.weight
    source = Tensors(tensors)
    found = Llama.tensors_of(source, arguments)
    source.finish()
    language = Llama(**arguments)
    language.load_state_dict(found)
    model = join(eyes, bridge, language, picture=config.image_token_id)
    return model.eval().requires_grad_(False)


def copy_eyes(ours, theirs):
    """Copy a CLIPVisionModel into a tower, up to the layers that the tower has."""
    vision = getattr(theirs, "vision_model", theirs)
    embeddings = vision.embeddings
    ours.patches.projection.weight.copy_(embeddings.patch_embedding.weight)
    ours.patches.projection.bias.zero_()  # CLIP's has none
    ours.positions.copy_(embeddings.position_embedding.weight[None])
    ours.class_token.copy_(embeddings.class_embedding)
    copy(ours.first_norm, vision.pre_layrnorm)
    for number, layer in enumerate(ours.encoder.layers):
        copy_layer(layer, vision.encoder.layers[number])


def copy_projector(theirs, config):
    """A :class:`Projector` with the weights of a LLaVA's. ValueError where it fits neither side."""
    seen = config.vision_config.hidden_size
    read = config.text_config.hidden_size
    first, second = theirs.linear_1, theirs.linear_2
    if first.in_features != seen or second.out_features != read:
        raise ValueError(
            f"the parts do not fit: the projector maps width {first.in_features} to "
            f"{second.out_features}, but the picture tower gives {seen} and the language model "
            f"reads {read}"
        )
    ours = Projector(seen, read, first.out_features)
    copy(ours.layers[0], first)
    copy(ours.layers[2], second)
    return ours
