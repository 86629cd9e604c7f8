"""What came true of a caption, how far generated pictures are from true ones, and whether they are
new.

Letters: n pictures, D features, F kinds of facts.
"""

from collections import Counter

import numpy as np

from mmcourse.data.language import INVERSE
from mmcourse.evaluation import bootstrap, fact_score

KINDS = ("object", "count", "colour", "relation", "background")


def fact_counts(readings, scenes):
    """What a judge's ``readings``, captions, say of pictures of ``scenes``: ints (n, 1 + F, 4).

    The first row is of all kinds together, the others of KINDS. The four numbers are: stated and
    true, stated, due and stated, due.
    """
    table = np.zeros((len(readings), 1 + len(KINDS), 4), int)
    for row, (reading, scene) in enumerate(zip(readings, scenes, strict=True)):
        score = fact_score(reading, scene)
        # a drawing's natural colour is true, but no caption is due to state it
        found = [fact for fact in score.true if fact[0] == "colour" and fact not in scene.facts]
        true = Counter(fact[0] for fact in score.true)
        stated = true + Counter(fact[0] for fact in score.false)
        natural = Counter(fact[0] for fact in found)
        missed = Counter(fact[0] for fact in score.missed)
        for place, kind in enumerate(KINDS, 1):
            hit = true[kind] - natural[kind]
            table[row, place] = true[kind], stated[kind], hit, hit + missed[kind]
        table[row, 0] = table[row, 1:].sum(0)
    return table


def share(counts, kind="all", recall=False, draws=1000):
    """Precision, or recall, of one kind of fact with its 95 % interval, resampled by caption.

    ``counts`` are those of :func:`fact_counts`, or of several seeds, (seeds, n, 1 + F, 4).
    """
    counts = np.asarray(counts)
    if counts.ndim == 4:
        counts = counts.sum(0)  # a caption with all its pictures is one item
    place = 0 if kind == "all" else 1 + KINDS.index(kind)
    first = 2 if recall else 0
    hits = counts[:, place, first]
    whole = counts[:, place, first + 1]
    return bootstrap(lambda a, b: a.sum() / max(1, b.sum()), hits, whole, draws=draws)


def frechet_distance(first, second):
    r"""The Fréchet distance of two clouds (n, D), each taken for a Gaussian.

    :math:`|\mu_1 - \mu_2|^2 + \mathrm{tr}(C_1 + C_2 - 2 (C_1^{1/2} C_2 C_1^{1/2})^{1/2})` (Dowson
    and Landau 1982; Heusel et al. 2017 take it of Inception's features). ValueError unless both
    have the same D and two rows or more.
    """
    first = np.asarray(first, float)
    second = np.asarray(second, float)
    if first.ndim != 2 or second.ndim != 2 or first.shape[1] != second.shape[1]:
        raise ValueError(
            f"expected two clouds (n, D) of one D, got shapes {first.shape} and {second.shape}"
        )
    if min(len(first), len(second)) < 2:
        raise ValueError("a cloud needs two points or more to have a covariance, got one")
    apart = first.mean(0) - second.mean(0)
    C1 = np.cov(first.T).reshape(first.shape[1], -1)  # (D, D)
    C2 = np.cov(second.T).reshape(first.shape[1], -1)
    root = symmetric_root(C1)
    middle = symmetric_root(root @ C2 @ root)
    return float(apart @ apart + np.trace(C1) + np.trace(C2) - 2 * np.trace(middle))


def symmetric_root(matrix):
    """The root of a symmetric matrix (D, D) without negative eigenvalues."""
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return (vectors * np.sqrt(values.clip(0))) @ vectors.T


def nearest(images, known, batch=500):
    """The nearest of ``known`` pictures for each of ``images``, both uint8 (n, H, W, 3).

    Returns their numbers (n,) and the distances (n,): the root mean square difference of pixels, of
    255.
    """
    flat = np.asarray(images, np.float32).reshape(len(images), -1)
    squares = (flat**2).sum(1)[:, None]
    best = np.full(len(flat), np.inf)
    number = np.zeros(len(flat), int)
    for start in range(0, len(known), batch):
        part = np.asarray(known[start : start + batch], np.float32).reshape(-1, flat.shape[1])
        distance = squares - 2 * flat @ part.T + (part**2).sum(1)  # (n, batch)
        place = distance.argmin(1)
        least = distance[np.arange(len(flat)), place]
        closer = least < best
        best = np.where(closer, least, best)
        number = np.where(closer, start + place, number)
    return number, np.sqrt(best.clip(0) / flat.shape[1])


def checklist(reading, scene):
    """What a full caption of a scene states, and whether a ``reading`` says it: pairs, sorted."""
    missed = fact_score(reading, scene).missed
    order = {kind: place for place, kind in enumerate(KINDS)}
    facts = sorted(scene.facts, key=lambda fact: (order.get(fact[0], 9), fact))
    found = []
    for fact in facts:
        words = " ".join(str(part) for part in fact[1:])
        found.append((f"{fact[0]}: {words}", not is_missed(fact, missed)))
    return found


def is_missed(fact, missed):
    """Whether a fact is among those missed; a relation may be there the other way round."""
    if fact[0] != "relation":
        return fact in missed
    _, first, relation, second = fact
    return fact in missed or ("relation", second, INVERSE[relation], first) in missed
