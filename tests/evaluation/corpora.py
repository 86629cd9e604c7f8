"""Random corpora of captions and references, and what COCO's scorers say of them."""

import random

import pytest


def corpus(seed, captions, vocabulary, shortest=1):
    """Captions of words that are rare or frequent, with 1 to 5 references.

    Some hypotheses are a reference, some a reference said twice.
    """
    rng = random.Random(seed)

    def caption(shortest):
        length = rng.randint(shortest, 13)
        return " ".join(f"w{int(vocabulary * rng.random() ** 2)}" for _ in range(length))

    references = [[caption(1) for _ in range(rng.randint(1, 5))] for _ in range(captions)]
    hypotheses = []
    for others in references:
        choices = [rng.choice(others), caption(shortest), f"{others[0]} {others[0]}"]
        hypotheses.append(rng.choice(choices))
    return hypotheses, references


CORPORA = [
    corpus(0, 1, 3),
    corpus(1, 2, 4),
    corpus(2, 7, 6),
    corpus(3, 40, 12),
    corpus(4, 60, 300),
    corpus(5, 25, 5, shortest=0),
    corpus(6, 3, 2, shortest=0),
    (["", ""], [["a b c"], ["a"]]),
    (["a b", "c"], [["d e f"], ["g"]]),
    (["a a a a a", "b b"], [["a a b a", "a"], ["b", "b a b"]]),
]


def theirs(scorer, hypotheses, references, **options):
    """The score of one of COCO's scorers, to be compared to 1e-12."""
    written = dict(enumerate(references))
    said = {number: [hypothesis] for number, hypothesis in enumerate(hypotheses)}
    found, _ = scorer.compute_score(written, said, **options)
    return pytest.approx(found, rel=0, abs=1e-12)
