"""How good is a caption? BLEU, ROUGE-L and CIDEr-D compare words with those of references, ``fact_score`` facts.

The three equal COCO's ``pycocoevalcap`` without its tokeniser: they split a caption at its spaces and change nothing.
"""

import math
from collections import Counter
from typing import NamedTuple

from mmcourse.data.language import INVERSE, parse


def bleu(hypotheses, references, max_order=4):
    r"""BLEU-1 to BLEU-n of a corpus (Papineni et al. 2002, section 2.3).

    .. math:: \text{BLEU-}n = \min(1, e^{1 - r / c}) \, (p_1 p_2 \cdots p_n)^{1/n}

    :math:`p_k` is the share of the hypotheses' k-grams that a reference has too; a k-gram counts at most as often as in
    the reference that has it most often. c is the length of all hypotheses, r that of the reference closest to each
    (the shorter of two). Counts are summed over the corpus, so BLEU is not the mean over the captions.

    ``hypotheses`` is a list of captions, ``references`` one list of captions for each; ``max_order`` is n. Returns a
    list of n floats in [0, 1], a trace above 0 where nothing is common (COCO adds 1e-15). Raises TypeError for a string
    instead of a list or vice versa, ValueError for no captions, lists that do not pair, or references without words.
    """
    if max_order < 1:
        raise ValueError(f"max_order must be at least 1, got {max_order}")
    common, stated, length, closest = Counter(), Counter(), 0, 0
    for words, others in _split(hypotheses, references):
        length += len(words)
        closest += min((abs(len(other) - len(words)), len(other)) for other in others)[1]
        for order in range(1, max_order + 1):
            ours, allowed = _ngrams(words, order), Counter()
            for other in others:
                allowed |= _ngrams(other, order)  # the larger count of each n-gram
            common[order] += (ours & allowed).total()  # the smaller one
            stated[order] += ours.total()
    tiny, small = 1e-15, 1e-9  # COCO's guards against a division by zero
    brevity = min(1.0, math.exp(1 - (closest + small) / (length + tiny)))
    precisions = [(common[order] + tiny) / (stated[order] + small) for order in range(1, max_order + 1)]
    return [brevity * math.prod(precisions[:order]) ** (1 / order) for order in range(1, max_order + 1)]


def rouge_l(hypotheses, references):
    r"""Mean ROUGE-L (Lin 2004, section 3): how many words a caption and a reference share in the same order.

    .. math:: F = (1 + \beta^2) P R \, / \, (R + \beta^2 P), \quad \beta = 1.2

    P is the length of the longest common subsequence by the length of the hypothesis, R by that of the reference; both
    are the largest over the references. Arguments and errors as in :func:`bleu`. Returns a float in [0, 1].
    """
    scores, beta = [], 1.2
    for words, others in _split(hypotheses, references):
        common = [_common_length(words, other) for other in others]
        precision = max(common) / max(1, len(words))
        recall = max(length / len(other) for length, other in zip(common, others, strict=True))
        scores.append((1 + beta**2) * precision * recall / (recall + beta**2 * precision) if precision else 0.0)
    return sum(scores) / len(scores)


def cider_d(hypotheses, references):
    r"""Mean CIDEr-D (Vedantam et al. 2015, section 8): cosine similarity of n-gram counts; rare n-grams weigh more.

    .. math:: \frac{10}{4 M} \sum_{n=1}^4 \sum_{j=1}^M e^{-(l - l_j)^2 / 2 \sigma^2}
              \frac{\min(g_n, g_{nj}) \cdot g_{nj}}{\|g_n\| \, \|g_{nj}\|}, \quad \sigma = 6

    for M references; l and :math:`l_j` are lengths. The vector g holds each n-gram's count times :math:`\log(I / I_g)`,
    where :math:`I_g` of all I images have it in a reference; the minimum denies a gain from repeated words. It depends
    on the whole corpus: of a single image it is 0. Arguments and errors as in :func:`bleu`. Returns a float in [0, 10].
    """
    pairs, images = _split(hypotheses, references), Counter()
    for _, others in pairs:
        images.update({gram for other in others for order in range(1, 5) for gram in _ngrams(other, order)})

    def weigh(words, order):
        return {gram: n * math.log(len(pairs) / max(1, images[gram])) for gram, n in _ngrams(words, order).items()}

    total = 0.0
    for words, others in pairs:
        for order in range(1, 5):
            ours = weigh(words, order)
            for other in others:
                theirs = weigh(other, order)
                dot = sum(min(ours[gram], theirs[gram]) * theirs[gram] for gram in ours.keys() & theirs.keys())
                norms = math.hypot(*ours.values()) * math.hypot(*theirs.values())
                penalty = math.exp(-((len(words) - len(other)) ** 2) / (2 * 6.0**2))
                total += penalty * dot / norms / len(others) if dot else 0.0
    return 10 * total / 4 / len(pairs)


class FactScore(NamedTuple):
    """The facts of a caption against those of its scene; a relation and its inverse are one fact."""

    precision: float  #: share of the stated facts that are true, which is 1 - hallucination rate
    recall: float  #: share of the facts of a full caption that are stated
    true: frozenset  #: stated and true
    false: frozenset  #: stated and not true
    missed: frozenset  #: not stated, though a full caption states it


def fact_score(caption, scene):
    """Precision and recall of the facts in a caption (the idea of SPICE, Anderson et al. 2016, with exact facts).

    ``scene.facts`` is what a full caption states, ``scene.holds(fact)`` says what is true; more can be true than a full
    caption states (a drawing's natural colour), and it counts for precision only. A caption that states nothing has
    precision 0 and recall 0, so that silence does not win. Raises TypeError if the caption is not a string.
    """
    if not isinstance(caption, str):
        raise TypeError(f"caption must be a string, got {type(caption).__name__}; for many call fact_scores()")
    stated, due = (frozenset(map(_one_way, facts)) for facts in (parse(caption), scene.facts))
    true = frozenset(filter(scene.holds, stated))
    precision, recall = len(true) / max(1, len(stated)), len(stated & due) / max(1, len(due))
    return FactScore(precision, recall, true, stated - true, due - stated)


def fact_scores(captions, scenes):
    """Precision and recall over a corpus, in which each fact counts once: a dict from a kind of fact to the two.

    Its keys are "all" and each kind that is stated or due; a share of nothing is 0. Errors are those of :func:`bleu`.
    """
    if not len(captions) == len(scenes) > 0:
        raise ValueError(f"expected one scene for each caption, got {len(captions)} captions, {len(scenes)} scenes")
    counts = Counter()
    for caption, scene in zip(captions, scenes, strict=True):
        score, due = fact_score(caption, scene), frozenset(map(_one_way, scene.facts))
        sets = {"true": score.true, "stated": score.true | score.false, "found": due - score.missed, "due": due}
        counts.update((kind, name) for name, facts in sets.items() for fact in facts for kind in ("all", fact[0]))
    return {kind: (counts[kind, "true"] / max(1, counts[kind, "stated"]),
                   counts[kind, "found"] / max(1, counts[kind, "due"])) for kind in sorted({key[0] for key in counts})}


def _one_way(fact):
    """Of a relation and its inverse the one that comes first in the alphabet; any other fact as it is."""
    if fact[0] == "relation" and INVERSE[fact[2]] < fact[2]:
        return ("relation", fact[3], INVERSE[fact[2]], fact[1])
    return fact


def _ngrams(words, order):
    return Counter(zip(*(words[i:] for i in range(order)), strict=False))


def _common_length(first, second):
    """Length of the longest common subsequence of two lists."""
    above = [0] * (len(second) + 1)
    for word in first:
        row = [0]
        for column, other in enumerate(second):
            row.append(above[column] + 1 if word == other else max(above[column + 1], row[column]))
        above = row
    return above[-1]


def _split(hypotheses, references):
    """Checks captions and references; returns a list of (words, [words of each reference])."""
    if isinstance(hypotheses, str) or isinstance(references, str):
        raise TypeError("hypotheses must be a list of strings and references a list of lists of strings, got a string")
    if not len(hypotheses) == len(references) > 0:
        raise ValueError(f"expected one list of references for each hypothesis, got {len(hypotheses)} hypotheses and "
                         f"{len(references)} lists")
    for number, (hypothesis, others) in enumerate(zip(hypotheses, references, strict=True)):
        if isinstance(others, str) or not all(isinstance(text, str) for text in [hypothesis, *others]):
            raise TypeError(f"a hypothesis must be a string and its references a list of strings, even a single one; "
                            f"number {number} has {hypothesis!r} and {others!r}")
        if not others or not all(other.split() for other in others):
            raise ValueError(f"hypothesis {number} needs at least one reference, each with words, got {others!r}")
    return [(text.split(), list(map(str.split, others))) for text, others in zip(hypotheses, references, strict=True)]
