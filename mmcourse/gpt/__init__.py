"""Language models that write from left to right: GPT-2's block and today's, with real weights.

Shapes: B batch, T tokens of this call, S tokens so far (those in the cache and the T), D width,
H heads, d_k width of a head, V vocabulary. A mask is boolean, ``True`` = a token, ``False`` =
padding.
"""

from mmcourse.gpt.block import (
    GroupedQueryAttention,
    LlamaLayer,
    RMSNorm,
    SwiGLU,
    rotary_angles,
    rotary_frequencies,
    rotate,
)
from mmcourse.gpt.gpt2 import GPT, GPTLayer
from mmcourse.gpt.language_model import (
    LanguageModel,
    bits_per_byte,
    cache_bytes,
    draw_weights,
    next_token_loss,
    pad,
    row_log_probs,
    token_log_probs,
)
from mmcourse.gpt.llama import Llama
from mmcourse.gpt.ngrams import NgramModel
from mmcourse.gpt.streams import Blocks, stream
from mmcourse.gpt.tasks import as_answer, as_prompt, collate, measure_words, novelty

__all__ = [
    "GPT",
    "Blocks",
    "GPTLayer",
    "GroupedQueryAttention",
    "LanguageModel",
    "Llama",
    "LlamaLayer",
    "NgramModel",
    "RMSNorm",
    "SwiGLU",
    "as_answer",
    "as_prompt",
    "bits_per_byte",
    "cache_bytes",
    "collate",
    "measure_words",
    "draw_weights",
    "next_token_loss",
    "novelty",
    "pad",
    "rotary_angles",
    "rotary_frequencies",
    "rotate",
    "row_log_probs",
    "stream",
    "token_log_probs",
]
