"""Tasks as texts: a prompt, and the answer that a language model shall write after it.

A prompt ends with " ="; the answer ends with the token that ends every text.
"""

import re

from mmcourse.data.language import COLOURS, COUNTS, SIZES, noun_table
from mmcourse.data.splits import held_out
from mmcourse.gpt.language_model import pad

NUMBERS = "".join(zh for zh, _ in COUNTS.values())
TINTS = "|".join(COLOURS.values())
WIDTHS = "".join(zh for zh, _ in SIZES.values())


def as_prompt(tokenizer, text, end):
    """The ids of a prompt, a list: a new text, ``text``, and the sign that asks for the answer."""
    return [end, *tokenizer.encode(f"{text} =")]


def as_answer(tokenizer, text, end):
    """The ids of an answer, a list, with the ``end`` that the model has to write too."""
    return [*tokenizer.encode(f" {text}"), end]


def collate(pairs):
    """Pairs of prompt and answer, lists of ids, as a batch: ids, mask and what counts, (B, T) each.

    A prompt is read; only the answer is to be predicted.
    """
    ids, mask = pad([prompt + answer for prompt, answer in pairs])
    counted = mask.clone()
    for row, (prompt, _) in enumerate(pairs):
        counted[row, : len(prompt)] = False
    return ids, mask, counted


def novelty(description):
    """What training never showed in a scene: ``binding``, ``pair``, or ``none``.

    A binding is a colour on a noun, a pair two nouns.
    """
    groups = description.groups
    for group in groups:
        if group.colour and held_out(group.colour, group.noun):
            return "binding"
    if len(groups) == 2 and held_out(groups[0].noun, groups[1].noun):
        return "pair"
    return "none"


def measure_words(text, description):
    """Of how many groups a Mandarin text names the noun, and of how many with its measure word.

    Between number and noun may stand a colour and a size, as in the captions of scenes.
    """
    named = 0
    right = 0
    for group in description.groups:
        noun = noun_table()[group.noun]
        phrase = rf"[{NUMBERS}](\w{{1,2}}?)(?:(?:{TINTS})的)?(?:[{WIDTHS}]的?)?{noun.zh}"
        found = re.search(phrase, text)
        if found:
            named += 1
            right += found[1] == noun.measure
    return named, right
