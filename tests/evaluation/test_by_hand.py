"""What chapter 13 writes by hand: the package's numbers, also where there is nothing to count."""

import ast
import math
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from mmcourse.evaluation import bleu, cider_d, rouge_l

CHAPTER = Path(__file__).parents[2] / "book" / "chapters" / "13_evaluation.py"


@pytest.fixture(scope="module")
def chapter():
    """The functions of the chapter's cells by name."""
    names = {"math": math, "Counter": Counter, "cache": cache}
    tree = ast.parse(CHAPTER.read_text(encoding="utf-8"))
    wanted = ("grams", "bleu_by_hand", "common_length", "rouge_by_hand", "cider_by_hand")
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name in wanted:
            exec(compile(ast.Module([node], []), CHAPTER.name, "exec"), names)
    return names


PAIRS = [
    ("a dog on the grass", "a big dog on the grass"),
    ("a dog", "a dog"),  # no three words in a row
    ("dog", "a dog on the grass"),
    ("", "a dog"),
    ("a cat sat", "two dogs"),  # nothing in common
    ("a a a a a", "a b a"),
]


@pytest.mark.parametrize(("hypothesis", "reference"), PAIRS)
def test_bleu(chapter, hypothesis, reference):
    for order in (1, 2, 3, 4):
        by_hand = chapter["bleu_by_hand"](hypothesis, reference, order)
        ours = bleu([hypothesis], [[reference]], order)[-1]
        if by_hand == 0:
            assert ours < 0.011  # the traces that COCO adds
        else:
            assert by_hand == pytest.approx(ours, abs=1e-8)


@pytest.mark.parametrize(("hypothesis", "reference"), PAIRS)
def test_rouge(chapter, hypothesis, reference):
    by_hand = chapter["rouge_by_hand"](hypothesis, reference)
    assert by_hand == pytest.approx(rouge_l([hypothesis], [[reference]]), abs=1e-12)


def test_cider(chapter):
    """Some n-grams of the hypotheses are in no reference, so that I_g = 0."""
    said, written = zip(*PAIRS, strict=True)
    by_hand = chapter["cider_by_hand"](said, written)
    assert by_hand == pytest.approx(cider_d(said, [[text] for text in written]), abs=1e-12)
    assert by_hand > 0
