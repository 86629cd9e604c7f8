"""Pretrained parts joined: bridges from a picture to a language model, LoRA, and preferences.

Shapes: B batch, T tokens, P pictures, N cells of a picture, D_in width of a cell, K vectors that a
picture is for the language model, D width of the language model, V vocabulary, r rank.
"""

from mmcourse.vlm.bridges import (
    GatedBridge,
    GatedCrossAttention,
    Projector,
    QueryTransformer,
    neighbours,
)
from mmcourse.vlm.instructions import (
    Instruction,
    box_iou,
    box_text,
    instructions,
    is_right,
    read_box,
)
from mmcourse.vlm.lora import LoRALinear, add_lora, lora_layers, merge_lora, remove_lora
from mmcourse.vlm.model import PICTURE, VLM
from mmcourse.vlm.multimodal import MultimodalEncoderDecoder
from mmcourse.vlm.preference import (
    Pair,
    dpo_loss,
    fact_reward,
    preference_pair,
    self_critical_loss,
    sentence_log_probs,
)
from mmcourse.vlm.tiles import cut_into_tiles, overview

__all__ = [
    "PICTURE",
    "VLM",
    "GatedBridge",
    "GatedCrossAttention",
    "Instruction",
    "LoRALinear",
    "MultimodalEncoderDecoder",
    "Pair",
    "Projector",
    "QueryTransformer",
    "add_lora",
    "box_iou",
    "box_text",
    "cut_into_tiles",
    "dpo_loss",
    "fact_reward",
    "instructions",
    "is_right",
    "lora_layers",
    "merge_lora",
    "neighbours",
    "overview",
    "preference_pair",
    "read_box",
    "remove_lora",
    "self_critical_loss",
    "sentence_log_probs",
]
