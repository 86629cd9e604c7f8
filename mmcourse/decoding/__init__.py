"""From next-token scores to a sentence: greedy search, sampling and beam search, with a cache.

The three functions know nothing of the model. They call ``step(tokens, cache)``, which gives the
logits (B, V) of the next token. ``tokens`` is a LongTensor (B, t) of the tokens that the model has
not seen: first the prompt, then one token a call. ``cache`` is a dict, empty in the first call, in
which the model keeps all that has B rows: what it needs of earlier tokens and of the image. Between
two calls rows are dropped (they ended), and beam search repeats and reorders them; only a dict
under the name ``cross`` keeps one row a picture, which all its beams share.
"""

from mmcourse.decoding.beams import Row, Search, advance, beam_search
from mmcourse.decoding.tokens import (
    Generated,
    as_prompts,
    ban_ngrams,
    discourage,
    greedy,
    next_log_probs,
    sample,
    truncate,
    write_token_by_token,
)

__all__ = [
    "Generated",
    "Row",
    "Search",
    "advance",
    "as_prompts",
    "ban_ngrams",
    "beam_search",
    "discourage",
    "greedy",
    "next_log_probs",
    "sample",
    "truncate",
    "write_token_by_token",
]
