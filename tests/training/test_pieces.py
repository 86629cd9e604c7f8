"""A batch in pieces, one after another, has the losses of the whole batch."""

import pytest
import torch

from mmcourse.data import Practice
from mmcourse.training import cut
from tests.training.runs import (
    Sentences,
    captioner,
    loss,
    losses,
    next_word,
    reader,
    run,
    tiny,
    train_captioner,
    two_terms,
    words,
    words_and_numbers,
)


@pytest.mark.parametrize("length, pieces", [(8, 2), (5, 2), (7, 3), (4, 4), (3, 1), (64, 5)])
def test_pieces_are_neighbours_in_order(length, pieces):
    parts = cut(list(range(length)), pieces)
    assert len(parts) == pieces and sum(parts, []) == list(range(length))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("accumulate", [2, 3, 5])
@pytest.mark.parametrize("objective, count", [(next_word, words), (two_terms, words_and_numbers)])
def test_pieces_have_the_losses_of_the_whole(tmp_path, accumulate, objective, count):
    options = dict(dataset=Sentences(), objective=objective, count=count, batch_size=5, clip=0.3)
    run(tmp_path / "whole", reader(), **options)
    run(tmp_path / "pieces", reader(), accumulate=accumulate, **options)
    assert losses(tmp_path / "pieces") == [
        pytest.approx(row, rel=1e-5) for row in losses(tmp_path / "whole")
    ]


def test_a_mean_over_samples_needs_no_count(tmp_path):
    run(tmp_path / "whole", tiny(dropout=0), batch_size=5)
    run(tmp_path / "pieces", tiny(dropout=0), batch_size=5, accumulate=2)
    assert losses(tmp_path / "pieces") == [
        pytest.approx(row, rel=1e-5) for row in losses(tmp_path / "whole")
    ]


def test_without_a_count_a_mean_over_words_is_another(tmp_path):
    run(tmp_path / "whole", reader(), Sentences(), objective=next_word)
    run(tmp_path / "pieces", reader(), Sentences(), objective=next_word, accumulate=2)
    assert losses(tmp_path / "pieces")[0][1] != pytest.approx(
        losses(tmp_path / "whole")[0][1], rel=1e-3
    )


@pytest.mark.parametrize("count", [None, words_and_numbers])
def test_several_terms_are_summed(tmp_path, count):
    run(tmp_path / "terms", reader(), Sentences(), objective=two_terms, count=count)
    run(tmp_path / "sum", reader(), Sentences(), objective=lambda *both: two_terms(*both).sum())
    assert losses(tmp_path / "terms") == [
        pytest.approx(row, rel=1e-6) for row in losses(tmp_path / "sum")
    ]


def test_each_piece_has_its_own_dropout(tmp_path):
    """Both samples of a batch are equal: with equal random numbers the pieces would be, too."""
    seen = []

    def watched(model, batch):
        seen.append(model(batch[0]).detach())
        return loss(model, batch)

    run(
        tmp_path,
        tiny(),
        [(3, 1.0), (3, 1.0)],
        objective=watched,
        steps=3,
        batch_size=2,
        warmup=0,
        accumulate=2,
    )
    assert len(seen) == 6 and not any(torch.equal(seen[i], seen[i + 1]) for i in range(0, 6, 2))


def test_the_captioner_in_pieces(tmp_path, monkeypatch):
    """Two terms over unequal numbers of words and cells; half of the pictures have no caption."""
    monkeypatch.setattr("mmcourse.captioning.scenes.restyle", lambda pixels: pixels)
    for accumulate in (1, 2):
        train_captioner(tmp_path / str(accumulate), accumulate=accumulate)
    assert losses(tmp_path / "1") == [
        pytest.approx(row, rel=1e-5) for row in losses(tmp_path / "2")
    ]
    model = captioner().eval()
    batch = model.collate([Practice()[index] for index in range(6)])
    torch.testing.assert_close(model.loss(batch), model.terms(batch).sum())


def test_a_batch_has_a_sample_for_each_piece(tmp_path):
    with pytest.raises(ValueError, match="batch_size must be at least 5.* accumulate 5, got 4"):
        run(tmp_path, accumulate=5)
