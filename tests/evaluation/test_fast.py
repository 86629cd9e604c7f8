"""The fast form of BLEU and CIDEr-D: the plain form's numbers, COCO's, and faster than both."""

import time

import numpy as np
import pytest
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider

from mmcourse.data import EmojiScenes
from mmcourse.evaluation import captions, fast
from tests.evaluation.corpora import CORPORA, corpus, theirs


@pytest.mark.parametrize(("hypotheses", "references"), [*CORPORA, corpus(7, 300, 40)])
class TestAgainstThePlainForm:
    @pytest.mark.parametrize("max_order", [1, 2, 4, 6])
    def test_counts_are_the_same_integers(self, hypotheses, references, max_order):
        plain = captions.bleu_counts(hypotheses, references, max_order)
        found = fast.bleu_counts(hypotheses, references, max_order)
        assert found.dtype == plain.dtype == int
        assert found.tolist() == plain.tolist()

    def test_bleu(self, hypotheses, references):
        assert fast.bleu(hypotheses, references) == captions.bleu(hypotheses, references)

    def test_cider_d(self, hypotheses, references):
        plain = captions.cider_d(hypotheses, references, each=True)
        found = fast.cider_d(hypotheses, references, each=True)
        assert found == pytest.approx(plain, rel=0, abs=1e-12)
        assert fast.cider_d(hypotheses, references) == pytest.approx(plain.mean(), abs=1e-12)


@pytest.mark.parametrize("form", [captions, fast])
def test_a_large_corpus_has_cocos_values(form):
    hypotheses, references = corpus(6, 900, 2000)
    expected = theirs(Bleu(4), hypotheses, references, verbose=0)
    assert form.bleu(hypotheses, references) == expected
    assert form.cider_d(hypotheses, references) == theirs(Cider(), hypotheses, references)


def test_orders():
    with pytest.raises(ValueError, match="max_order must be at least 1, got 0"):
        fast.bleu(["a"], [["a"]], 0)


def test_it_is_faster():
    """Both forms in turn, the best of three: four times here, eight on 5,000 captions."""
    scenes = [EmojiScenes("val")[index] for index in range(600)]
    said = [scene.captions[0] for scene in scenes]
    written = [scene.captions[1:] for scene in scenes]
    seconds = {captions: [], fast: []}
    for _ in range(3):
        for form, times in seconds.items():
            start = time.perf_counter()
            form.bleu(said, written)
            form.cider_d(said, written)
            times.append(time.perf_counter() - start)
    assert min(seconds[fast]) < 0.5 * min(seconds[captions])


def test_ngrams_by_hand():
    texts = [["a", "b", "a"], ["a", "b"], ["c"]]  # the first two belong to image 0
    singles, pairs = fast.count_ngrams(texts, np.array([0, 0, 1]), 2)
    assert singles.text.tolist() == [0, 0, 1, 1, 2]
    assert singles.gram.tolist() == [0, 1, 0, 1, 2]
    assert singles.count.tolist() == [2, 1, 1, 1, 1]
    assert singles.pair.tolist() == [0, 1, 0, 1, 2]
    assert pairs.text.tolist() == [0, 0, 1] and pairs.count.tolist() == [1, 1, 1]
    assert pairs.gram[0] == pairs.gram[2] != pairs.gram[1]
