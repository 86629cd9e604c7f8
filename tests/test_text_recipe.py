"""The recipe of the shipped text model: order of the rows, what counts, and a run of two steps."""

import json

import pytest
import torch

from mmcourse.hub import load, load_tokenizer
from mmcourse.recipes import text as recipe
from mmcourse.text import MaskedLanguageModel


def test_rows_come_once_an_epoch_and_alike_ones_together():
    rows = [[number] * (1 + number * 7 % 50) for number in range(400)]
    source = recipe.Rows(rows, 10)
    first = [source[number] for number in range(400)]
    second = [source[number] for number in range(400, 800)]
    assert sorted(first) == sorted(second) == sorted(rows)
    assert first != second
    assert source[3] == first[3]
    batches = [[len(row) for row in first[cut : cut + 10]] for cut in range(0, 400, 10)]
    spread = [max(lengths) - min(lengths) for lengths in batches]
    assert sum(spread) / len(spread) < 3.5  # of lengths from 1 to 50; unsorted it is about 40
    assert batches != sorted(batches)


def test_evaluation_hides_the_same_tokens_each_time():
    torch.manual_seed(0)
    model = MaskedLanguageModel(40, 12, 1, 2, 16).eval()
    rows = [[2 + (number * step) % 37 for step in range(1, 9)] for number in range(30)]
    once, again = recipe.evaluate(model, rows), recipe.evaluate(model, rows, batch_size=200)
    assert once == again
    assert 3 < once["masked loss"] < 4.5 and 0 <= once["masked right"] < 0.3


@pytest.fixture
def few(monkeypatch):
    read = ["a small bird", "a red cat on the grass"] * 30
    monkeypatch.setattr(recipe, "texts", lambda split: read)
    monkeypatch.setattr(recipe, "lines", lambda split: read[:3])
    monkeypatch.setattr(recipe, "VOCABULARY", 270)


def test_a_run_leaves_a_model_and_its_tokenizer(few, tmp_path):
    rows = recipe.train("text", tmp_path, steps=2, batch_size=8)
    assert rows[-1]["masked loss"] > 0
    model, tokenizer = load(tmp_path), load_tokenizer(tmp_path)
    assert isinstance(model, MaskedLanguageModel)
    assert len(tokenizer) == len(model.bias) == 270
    assert tokenizer.special == {"<pad>": 0, "<mask>": 1}
    sizes = json.loads((tmp_path / "config.json").read_text())
    assert sizes["width"] == recipe.MODEL["text"]["width"]


def test_the_shipped_model_reads():
    model, tokenizer = load("text"), load_tokenizer("text")
    assert len(tokenizer) == len(model.bias)
    rows = [tokenizer.encode(line)[:64] for line in recipe.lines("val")[::40]]
    scores = recipe.evaluate(model, rows)
    assert scores["masked loss"] < 5.5 and scores["masked right"] > 0.15


def test_models_without_a_tokenizer_say_so(tmp_path):
    with pytest.raises(ValueError, match="has no tokenizer.json: expected a model of texts"):
        load_tokenizer("scenes")
