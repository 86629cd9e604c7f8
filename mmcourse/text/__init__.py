"""Text: tokens of bytes or of words, an encoder that reads them, and how it is pre-trained.

Shapes: B batch, T tokens, D width, V vocabulary.
"""

from mmcourse.text.bpe import PATTERN, TOKENIZER, BPETokenizer
from mmcourse.text.encoder import LSTMEncoder, TextClassifier, TextEncoder, mean_of_tokens, pad
from mmcourse.text.loading import minilm_folder
from mmcourse.text.masking import IGNORE, MaskedLanguageModel, mask_tokens
from mmcourse.text.words import WordTokenizer

__all__ = [
    "IGNORE",
    "PATTERN",
    "TOKENIZER",
    "BPETokenizer",
    "LSTMEncoder",
    "MaskedLanguageModel",
    "TextClassifier",
    "TextEncoder",
    "WordTokenizer",
    "mask_tokens",
    "mean_of_tokens",
    "minilm_folder",
    "pad",
]
