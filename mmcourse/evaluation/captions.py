"""How good is a caption? BLEU, ROUGE-L and CIDEr-D compare words with those of references, ``fact_score`` facts.

The three equal COCO's ``pycocoevalcap`` without its tokeniser: they split a caption at its spaces and change nothing.
CLIPScore compares a caption with the picture itself. For classes, rankings and intervals see
:mod:`mmcourse.evaluation.statistics`.
"""

import math
from collections import Counter
from typing import NamedTuple

import numpy as np

from mmcourse.data.language import INVERSE, parse

# Captions, word by word ----------------------------------------------------------------------------------------------


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
    return bleu_from_counts(bleu_counts(hypotheses, references, max_order).sum(0))


def bleu_counts(hypotheses, references, max_order=4):
    """What each caption adds to BLEU: integers (I, 2 n + 2), whose sum over captions goes to :func:`bleu_from_counts`.

    The columns: n-grams shared with a reference for orders 1 to n, n-grams of the caption for orders 1 to n, its words,
    the words of the closest reference. Arguments and errors as in :func:`bleu`.
    """
    if max_order < 1:
        raise ValueError(f"max_order must be at least 1, got {max_order}")
    texts, image = _split(hypotheses, references)
    images, length = len(hypotheses), np.array(list(map(len, texts)))
    common, stated = [], []
    for text, _, count, cell in _count_ngrams(texts, image, max_order):
        ours, allowed = np.zeros((2, len(text)), int)
        hypothesis = text < images
        ours[cell[hypothesis]] = count[hypothesis]
        np.maximum.at(
            allowed, cell[~hypothesis], count[~hypothesis]
        )  # the reference that has it most often
        shared = np.minimum(ours[cell], allowed[cell])[hypothesis]
        common.append(np.bincount(text[hypothesis], shared, images))
        stated.append(np.bincount(text[hypothesis], count[hypothesis], images))
    distance = abs(length - length[image])[images:]
    order = np.lexsort(
        (length[images:], distance, image[images:])
    )  # each image's closest reference first
    closest = length[images:][order][np.unique(image[images:], return_index=True)[1]]
    return np.stack([*common, *stated, length[:images], closest], 1).astype(int)


def bleu_from_counts(counts):
    """BLEU-1 to BLEU-n, a list of n floats, from the sum (2 n + 2,) of the counts of any captions."""
    *counts, length, closest = np.asarray(counts).tolist()
    orders, tiny, small = len(counts) // 2, 1e-15, 1e-9  # COCO's guards against a division by zero
    brevity = min(1.0, math.exp(1 - (closest + small) / (length + tiny)))
    precisions = [(counts[n] + tiny) / (counts[n + orders] + small) for n in range(orders)]
    return [
        brevity * math.prod(precisions[:order]) ** (1 / order) for order in range(1, orders + 1)
    ]


def rouge_l(hypotheses, references, each=False):
    r"""Mean ROUGE-L (Lin 2004, section 3): how many words a caption and a reference share in the same order.

    .. math:: F = (1 + \beta^2) P R \, / \, (R + \beta^2 P), \quad \beta = 1.2

    P is the length of the longest common subsequence by the length of the hypothesis, R by that of the reference; both
    are the largest over the references. Arguments and errors as in :func:`bleu`. Returns a float in [0, 1], or with
    ``each`` an array (I,), a score for each caption.
    """
    (texts, _), scores, beta = _split(hypotheses, references), [], 1.2
    for words, others in zip(texts, references, strict=False):
        others = [other.split() for other in others]
        common = [_common_length(words, other) for other in others]
        precision = max(common) / max(1, len(words))
        recall = max(length / len(other) for length, other in zip(common, others, strict=True))
        scores.append(
            (1 + beta**2) * precision * recall / (recall + beta**2 * precision)
            if precision
            else 0.0
        )
    return np.array(scores) if each else sum(scores) / len(scores)


def cider_d(hypotheses, references, each=False):
    r"""Mean CIDEr-D (Vedantam et al. 2015): cosine similarity of n-gram counts; rare n-grams weigh more.

    .. math:: \frac{10}{4 M} \sum_{n=1}^4 \sum_{j=1}^M e^{-(l - l_j)^2 / 2 \sigma^2}
              \frac{\min(g_n, g_{nj}) \cdot g_{nj}}{\|g_n\| \, \|g_{nj}\|}, \quad \sigma = 6

    for M references; l and :math:`l_j` are lengths. The vector g holds each n-gram's count times :math:`\log(I / I_g)`,
    where :math:`I_g` of all I images have it in a reference; the minimum denies a gain from repeated words. It depends
    on the whole corpus: of a single image it is 0. Arguments and errors as in :func:`bleu`. Returns a float in [0, 10],
    or with ``each`` an array (I,), a score for each caption.
    """
    texts, image = _split(hypotheses, references)
    images, length = len(hypotheses), np.array(list(map(len, texts)))
    cosines = np.zeros(
        len(texts)
    )  # of each text with the hypothesis of its image, summed over the orders
    for text, gram, count, cell in _count_ngrams(texts, image, 4):
        reference = text >= images
        gram_of = np.full(len(text), -1)
        gram_of[cell[reference]] = gram[reference]
        found = np.bincount(
            gram_of[gram_of >= 0], minlength=gram.max(initial=0) + 1
        )  # images with it in a reference
        weighed = count * np.log(images / np.maximum(1, found))[gram]
        ours = np.zeros(len(text))
        ours[cell[~reference]] = weighed[~reference]
        dot = np.bincount(text, np.minimum(ours[cell], weighed) * weighed, len(texts))
        norm = np.sqrt(np.bincount(text, weighed**2, len(texts)))
        cosines += np.divide(dot, norm * norm[image], out=np.zeros(len(texts)), where=dot > 0)
    cosines *= np.exp(-((length - length[image]) ** 2) / (2 * 6.0**2))
    scores = 10 / 4 * np.bincount(image[images:], cosines[images:]) / np.bincount(image[images:])
    return scores if each else float(scores.mean())


# Captions, fact by fact ----------------------------------------------------------------------------------------------


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
        raise TypeError(
            f"caption must be a string, got {type(caption).__name__}; for many call fact_scores()"
        )
    stated, due = (frozenset(map(_one_way, facts)) for facts in (parse(caption), scene.facts))
    true = frozenset(filter(scene.holds, stated))
    precision, recall = len(true) / max(1, len(stated)), len(stated & due) / max(1, len(due))
    return FactScore(precision, recall, true, stated - true, due - stated)


def fact_scores(captions, scenes):
    """Precision and recall over a corpus, in which each fact counts once: a dict from a kind of fact to the two.

    Its keys are "all" and each kind that is stated or due; a share of nothing is 0. Errors are those of :func:`bleu`.
    """
    if not len(captions) == len(scenes) > 0:
        raise ValueError(
            f"expected one scene for each caption, got {len(captions)} captions, {len(scenes)} scenes"
        )
    counts = Counter()
    for caption, scene in zip(captions, scenes, strict=True):
        score, due = fact_score(caption, scene), frozenset(map(_one_way, scene.facts))
        sets = {
            "true": score.true,
            "stated": score.true | score.false,
            "found": due - score.missed,
            "due": due,
        }
        counts.update(
            (kind, name)
            for name, facts in sets.items()
            for fact in facts
            for kind in ("all", fact[0])
        )
    return {
        kind: (
            counts[kind, "true"] / max(1, counts[kind, "stated"]),
            counts[kind, "found"] / max(1, counts[kind, "due"]),
        )
        for kind in sorted({key[0] for key in counts})
    }


def _one_way(fact):
    """Of a relation and its inverse the one that comes first in the alphabet; any other fact as it is."""
    if fact[0] == "relation" and INVERSE[fact[2]] < fact[2]:
        return ("relation", fact[3], INVERSE[fact[2]], fact[1])
    return fact


# Captions against the picture itself ---------------------------------------------------------------------------------


def clip_score(image_features, text_features, weight=2.5):
    r"""CLIPScore of each pair (Hessel et al. 2021, section 3): :math:`w \max(\cos(v, t), 0)`, no reference needed.

    Features are arrays or CPU tensors (I, D), those of a picture and of its caption in one space, in which training has
    made their cosine large for pairs. The authors' are CLIP's, of "A photo depicts" and the caption. Returns an array
    (I,) in [0, w]. Raises ValueError for other shapes, NaN, or features of length 0, which have no direction.
    """
    return weight * np.maximum(0.0, _cosines(image_features, text_features))


def ref_clip_score(image_features, text_features, reference_features, weight=2.5):
    """RefCLIPScore of each pair: the harmonic mean of CLIPScore and the largest cosine with a reference, at least 0.

    ``reference_features`` are (I, M, D) for M references of each picture. Returns an array (I,); 0 where either is 0.
    """
    score = clip_score(image_features, text_features, weight)
    reference_features = np.asarray(reference_features)
    if reference_features.ndim != 3:
        raise ValueError(
            f"reference_features must be (I, M, D), got shape {reference_features.shape}"
        )
    closest = np.max(
        [_cosines(text_features, one) for one in reference_features.swapaxes(0, 1)], 0
    ).clip(0)
    return np.divide(
        2 * score * closest, score + closest, out=np.zeros(len(score)), where=score * closest > 0
    )


def _cosines(first, second):
    """Cosines (I,) of the rows of two arrays (I, D)."""
    first, second = np.asarray(first, float), np.asarray(second, float)
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(
            f"features must be (I, D), a row for each pair, got shapes {first.shape} and {second.shape}"
        )
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    if not (norms > 0).all():  # NaN too
        raise ValueError(
            f"pair {int(np.argmin(norms > 0))} has features of length 0 or with NaN; look at the encoder"
        )
    return (first * second).sum(1) / norms


# Shared by the scores of words ---------------------------------------------------------------------------------------


def _count_ngrams(texts, image, max_order):
    """Counts n-grams of all texts at once, for n from 1: yields arrays with an entry for each n-gram of each text.

    ``texts`` are lists of words, ``image`` (T,) says to which image each belongs. The entries: the number of the text,
    that of the n-gram, how often the one holds the other, and a number for the pair of image and n-gram, below E.
    """
    numbers = {}
    gram = np.array(
        [numbers.setdefault(word, len(numbers)) for words in texts for word in words], int
    )
    text = np.repeat(np.arange(len(texts)), list(map(len, texts)))
    for _ in range(max_order):
        kinds = gram.max(initial=0) + 1
        entries, count = np.unique(text * kinds + gram, return_counts=True)
        owner, kind = np.divmod(entries, kinds)
        yield owner, kind, count, np.unique(image[owner] * kinds + kind, return_inverse=True)[1]
        inside = text[:-1] == text[1:]  # two n-grams one word apart are an (n + 1)-gram
        gram = np.unique((gram[:-1] * kinds + gram[1:])[inside], return_inverse=True)[1]
        text = text[1:][inside]


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
    """Checks captions and references; returns the words of each, hypotheses first, and the number of its image."""
    if isinstance(hypotheses, str) or isinstance(references, str):
        raise TypeError(
            "hypotheses must be a list of strings and references a list of lists of strings, got a string"
        )
    if not len(hypotheses) == len(references) > 0:
        raise ValueError(
            f"expected one list of references for each hypothesis, got {len(hypotheses)} hypotheses and "
            f"{len(references)} lists"
        )
    texts, image = [], list(range(len(hypotheses)))
    for number, (hypothesis, others) in enumerate(zip(hypotheses, references, strict=True)):
        if isinstance(others, str) or not all(
            isinstance(text, str) for text in [hypothesis, *others]
        ):
            raise TypeError(
                f"a hypothesis must be a string and its references a list of strings, even a single one; "
                f"number {number} has {hypothesis!r} and {others!r}"
            )
        words = [other.split() for other in others]
        if not words or not all(words):
            raise ValueError(
                f"hypothesis {number} needs at least one reference, each with words, got {others!r}"
            )
        texts += words
        image += [number] * len(words)
    return [text.split() for text in hypotheses] + texts, np.array(image)
