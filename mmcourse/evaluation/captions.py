"""How good is a caption? Scores of its words against references, and against the picture.

BLEU, ROUGE-L and CIDEr-D equal COCO's ``pycocoevalcap`` without its tokeniser: they split a caption
at its spaces and change nothing. They are written as one would do them by hand, with counters;
:mod:`mmcourse.evaluation.fast` has BLEU and CIDEr-D again, for corpora of thousands.
"""

import math
from collections import Counter

import numpy as np

CIDER_ORDERS = (1, 2, 3, 4)
CIDER_SIGMA = 6.0  # words; how far two lengths may differ before CIDEr-D punishes it
ROUGE_BETA = 1.2  # above 1, recall weighs more than precision

# BLEU ----------------------------------------------------------------------------------------


def bleu(hypotheses, references, max_order=4):
    r"""BLEU-1 to BLEU-n of a corpus (Papineni et al. 2002, section 2.3).

    .. math:: \text{BLEU-}n = \min(1, e^{1 - r / c}) \, (p_1 p_2 \cdots p_n)^{1/n}

    :math:`p_k` is the share of the hypotheses' k-grams that a reference has too; a k-gram
    counts at most as often as in the reference that has it most often. c is the length of all
    hypotheses, r that of the reference closest to each (the shorter of two). Counts are summed
    over the corpus, so BLEU is not the mean over the captions.

    ``hypotheses`` is a list of captions, ``references`` one list of captions for each;
    ``max_order`` is n. Returns a list of n floats in [0, 1], a trace above 0 where nothing is
    common (COCO adds 1e-15). Raises TypeError for a string instead of a list or vice versa,
    ValueError for no captions, lists that do not pair, or references without words.
    """
    counts = bleu_counts(hypotheses, references, max_order)  # (I, 2 n + 2)
    return bleu_from_counts(counts.sum(0))


def bleu_counts(hypotheses, references, max_order=4):
    """What each caption adds to BLEU: integers (I, 2 n + 2).

    Their sum over any captions goes to :func:`bleu_from_counts`. The columns: n-grams shared
    with a reference for orders 1 to n, n-grams of the caption for orders 1 to n, its words, the
    words of the closest reference. Arguments and errors as in :func:`bleu`.
    """
    check_order(max_order)
    rows = []
    for hypothesis, others in split_words(hypotheses, references):
        shared = []
        stated = []
        for order in range(1, max_order + 1):
            ours = ngrams(hypothesis, order)
            allowed = Counter()
            for other in others:
                allowed |= ngrams(other, order)  # of each n-gram the larger count
            common = ours & allowed  # of each n-gram the smaller count
            shared.append(common.total())
            stated.append(ours.total())
        closest = closest_length(hypothesis, others)
        rows.append([*shared, *stated, len(hypothesis), closest])
    return np.array(rows)


def bleu_from_counts(counts):
    """BLEU-1 to BLEU-n, a list of n floats, from the sum (2 n + 2,) of captions' counts."""
    *ngram_counts, length, closest = np.asarray(counts).tolist()
    max_order = len(ngram_counts) // 2
    shared = ngram_counts[:max_order]
    stated = ngram_counts[max_order:]
    tiny = 1e-15  # COCO's two guards against a division by zero
    small = 1e-9
    precisions = [(s + tiny) / (n + small) for s, n in zip(shared, stated, strict=True)]
    brevity = min(1.0, math.exp(1 - (closest + small) / (length + tiny)))
    scores = []
    for order in range(1, max_order + 1):
        product = math.prod(precisions[:order])
        scores.append(brevity * product ** (1 / order))
    return scores


def closest_length(hypothesis, others):
    """The length of the reference that is closest in length; of two as close, the shorter."""
    lengths = [len(other) for other in others]
    return min(lengths, key=lambda length: (abs(length - len(hypothesis)), length))


# ROUGE-L -------------------------------------------------------------------------------------


def rouge_l(hypotheses, references, each=False):
    r"""Mean ROUGE-L (Lin 2004, section 3): the words that two captions share in the same order.

    .. math:: F = (1 + \beta^2) P R \, / \, (R + \beta^2 P), \quad \beta = 1.2

    P is the length of the longest common subsequence by the length of the hypothesis, R by that
    of the reference; both are the largest over the references. Arguments and errors as in
    :func:`bleu`. Returns a float in [0, 1], or with ``each`` an array (I,), a score for each
    caption.
    """
    scores = []
    for hypothesis, others in split_words(hypotheses, references):
        precision = 0.0
        recall = 0.0
        for other in others:
            common = longest_common_subsequence(hypothesis, other)
            precision = max(precision, common / max(1, len(hypothesis)))
            recall = max(recall, common / len(other))
        if precision == 0:  # nothing in common, and recall is 0 too
            scores.append(0.0)
        else:
            weighed = (1 + ROUGE_BETA**2) * precision * recall
            scores.append(weighed / (recall + ROUGE_BETA**2 * precision))
    return np.array(scores) if each else sum(scores) / len(scores)


def longest_common_subsequence(first, second):
    """How many words two lists share in the same order, with gaps allowed.

    Row by row: ``row[n]`` is the answer for the words of ``first`` so far and n words of
    ``second``.
    """
    above = [0] * (len(second) + 1)
    for word in first:
        row = [0]
        for column, other in enumerate(second):
            if word == other:
                row.append(above[column] + 1)
            else:
                row.append(max(above[column + 1], row[column]))
        above = row
    return above[-1]


# CIDEr-D -------------------------------------------------------------------------------------


def cider_d(hypotheses, references, each=False):
    r"""Mean CIDEr-D (Vedantam et al. 2015): cosine of n-gram counts; rare ones weigh more.

    .. math:: \frac{10}{4 M} \sum_{n=1}^4 \sum_{j=1}^M e^{-(l - l_j)^2 / 2 \sigma^2}
              \frac{\min(h_n, h_{nj}) \cdot h_{nj}}{\|h_n\| \, \|h_{nj}\|}, \quad \sigma = 6

    for M references; l and :math:`l_j` are lengths. The vector h holds for each n-gram g its count
    times :math:`\log(I / \max(1, I_g))`, where :math:`I_g` of all I images have it in a reference;
    the minimum, taken entry by entry, denies a gain from repeated words. This is the formula of
    COCO's code. The paper's divides each count by the number of the text's n-grams
    of that order, which changes the minimum where lengths differ. It depends on the whole corpus:
    of a single image it is 0. Arguments and errors as in :func:`bleu`. Returns a float in
    [0, 10], or with ``each`` an array (I,), a score for each caption.
    """
    corpus = split_words(hypotheses, references)
    images_with = count_images(others for _, others in corpus)
    scores = []
    for hypothesis, others in corpus:
        total = 0.0
        for order in CIDER_ORDERS:
            ours = weigh(ngrams(hypothesis, order), images_with, len(corpus))
            for other in others:
                theirs = weigh(ngrams(other, order), images_with, len(corpus))
                gap = len(hypothesis) - len(other)
                penalty = math.exp(-(gap**2) / (2 * CIDER_SIGMA**2))
                total += penalty * clipped_cosine(ours, theirs)
        scores.append(10 * total / (len(CIDER_ORDERS) * len(others)))
    return np.array(scores) if each else sum(scores) / len(scores)


def count_images(references):
    """In how many images an n-gram of order 1 to 4 is in a reference: a Counter."""
    images_with = Counter()
    for others in references:
        found = set()
        for other in others:
            for order in CIDER_ORDERS:
                found.update(ngrams(other, order))
        images_with.update(found)
    return images_with


def weigh(counts, images_with, images):
    """The vector of a text: for each of its n-grams the count times log(I / I_g), as a dict."""
    vector = {}
    for gram, count in counts.items():
        rarity = math.log(images / max(1, images_with[gram]))
        vector[gram] = count * rarity
    return vector


def clipped_cosine(ours, theirs):
    """Cosine of two vectors (dicts); no entry of ``ours`` counts for more than in ``theirs``."""
    dot = 0.0
    for gram, weight in theirs.items():
        dot += min(ours.get(gram, 0.0), weight) * weight
    if dot == 0:  # nothing in common, or nothing that weighs
        return 0.0
    return dot / (math.hypot(*ours.values()) * math.hypot(*theirs.values()))


# Captions against the picture itself ---------------------------------------------------------


def clip_score(image_features, text_features, weight=2.5):
    r"""CLIPScore of each pair (Hessel et al. 2021, section 3): :math:`w \max(\cos(v, t), 0)`.

    It needs no reference. Features are arrays or CPU tensors (I, D), those of a picture and of its
    caption in one space, in which training has made their cosine large for pairs. The authors' are
    CLIP's, of "A photo depicts" and the caption. Returns an array (I,) in [0, w]. Raises ValueError
    for other shapes, NaN, or features of length 0, which have no direction.
    """
    return weight * np.maximum(0.0, _cosines(image_features, text_features))


def ref_clip_score(image_features, text_features, reference_features, weight=2.5):
    """RefCLIPScore: the harmonic mean of CLIPScore and the largest cosine with a reference.

    ``reference_features`` are (I, M, D) for M references of each picture; a cosine below 0 is 0.
    Returns an array (I,), a score for each pair; 0 where either is 0.
    """
    score = clip_score(image_features, text_features, weight)  # (I,)
    reference_features = np.asarray(reference_features)
    if reference_features.ndim != 3:
        shape = reference_features.shape
        raise ValueError(f"reference_features must be (I, M, D), got shape {shape}")
    by_reference = reference_features.swapaxes(0, 1)  # (M, I, D)
    cosines = [_cosines(text_features, features) for features in by_reference]
    closest = np.max(cosines, 0).clip(0)  # (I,)
    harmonic = np.zeros(len(score))
    either = score * closest > 0
    np.divide(2 * score * closest, score + closest, out=harmonic, where=either)
    return harmonic


def _cosines(first, second):
    """Cosines (I,) of the rows of two arrays (I, D)."""
    first = np.asarray(first, float)
    second = np.asarray(second, float)
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(
            "features must be (I, D), a row for each pair, "
            f"got shapes {first.shape} and {second.shape}"
        )
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)  # (I,)
    directed = norms > 0  # False for NaN too
    if not directed.all():
        raise ValueError(
            f"pair {int(np.argmin(directed))} has features of length 0 or with NaN; "
            "look at the encoder"
        )
    return (first * second).sum(1) / norms


# Shared by the scores of words ---------------------------------------------------------------


def ngrams(words, order):
    """How often words hold each n-gram, a tuple of ``order`` words in a row: a Counter."""
    last = len(words) - order
    return Counter(tuple(words[start : start + order]) for start in range(last + 1))


def split_words(hypotheses, references):
    """The words of each hypothesis with those of its references: a list of pairs, checked.

    Raises the errors of :func:`bleu`.
    """
    if isinstance(hypotheses, str) or isinstance(references, str):
        raise TypeError(
            "hypotheses must be a list of strings and references a list of lists of strings, "
            "got a string"
        )
    if len(hypotheses) != len(references) or len(hypotheses) == 0:
        raise ValueError(
            "expected one list of references for each hypothesis, and at least one, "
            f"got {len(hypotheses)} hypotheses and {len(references)} lists"
        )
    corpus = []
    for number, (hypothesis, others) in enumerate(zip(hypotheses, references, strict=True)):
        texts = [hypothesis, *others]
        if isinstance(others, str) or not all(isinstance(text, str) for text in texts):
            raise TypeError(
                "a hypothesis must be a string and its references a list of strings, even a "
                f"single one; number {number} has {hypothesis!r} and {others!r}"
            )
        words = [other.split() for other in others]
        if not words or not all(words):
            raise ValueError(
                f"hypothesis {number} needs at least one reference, each with words, got {others!r}"
            )
        corpus.append((hypothesis.split(), words))
    return corpus


def check_order(max_order):
    """Raise ValueError unless ``max_order`` is 1 or more."""
    if max_order < 1:
        raise ValueError(f"max_order must be at least 1, got {max_order}")
