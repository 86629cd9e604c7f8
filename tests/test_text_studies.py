"""The stored studies of text encoders: fair to each arm, stored whole, and read by the page."""

import json

import pytest
import torch

from mmcourse.data.glosses import KINDS, glosses
from mmcourse.recipes import text_studies as studies
from mmcourse.text import TextEncoder


def test_batches_give_every_row_once_an_epoch_and_alike_ones_together():
    rows = [[0] * (1 + number * 7 % 30) for number in range(100)]
    order = studies.batches(rows, 10, seed=3)
    epochs = [[next(order) for _ in range(10)] for _ in range(2)]
    for epoch in epochs:
        assert sorted(row for batch in epoch for row in batch) == list(range(100))
    assert epochs[0] != epochs[1]
    lengths = [[len(rows[row]) for row in batch] for batch in epochs[0]]
    assert sum(max(batch) - min(batch) for batch in lengths) / 10 < 12  # unsorted it is about 27
    again = studies.batches(rows, 10, seed=3)
    assert [next(again) for _ in range(10)] == epochs[0]


def test_training_pauses_at_each_stop_and_goes_on():
    torch.manual_seed(0)
    model = studies.TextClassifier(TextEncoder(40, 8, 1, 2, 16), 3)
    rows = [[1 + number % 3] * 4 for number in range(12)]
    labels = torch.tensor([number % 3 for number in range(12)])
    course = studies.fine_tune(model, rows, labels, 1e-2, [2, 60], 4, seed=0)
    found = []
    for step in course:
        found.append((step, (studies.predict(model, rows) == labels).float().mean().item()))
    assert [step for step, _ in found] == [2, 60]
    assert found[1][1] == 1.0


def test_both_encoders_have_the_same_sizes():
    shapes = [
        {name: weights.shape for name, weights in studies.fresh(arm, 0).state_dict().items()}
        for arm in ("pre-trained", "untrained")
    ]
    assert shapes[0] == shapes[1]
    assert not torch.equal(
        studies.fresh("untrained", 0).encoder.embedding.weight,
        studies.fresh("untrained", 1).encoder.embedding.weight,
    )


def test_the_settings_of_an_arm_are_chosen_on_validation_glosses(monkeypatch):
    monkeypatch.setitem(studies.PLANS, 10, {"draws": 1, "trials": 1, "batch": 4, "steps": 8})
    asked = []
    real = studies.asked_of.__wrapped__

    def few(split):
        asked.append(split)
        chosen, rows, truth = real(split)
        return chosen[:8], rows[:8], truth[:8]

    monkeypatch.setattr(studies, "asked_of", few)
    rate, steps, tried = studies.choose("LSTM", 10)
    assert set(asked) == {"val"}
    assert set(tried) == set(studies.RATES["LSTM"])
    assert {len(found) for name, found in tried.items() if name != rate} == {2}
    assert list(tried[rate]) == [2, 4, 8]
    assert tried[rate][steps] == max(tried[rate].values())


def test_the_loss_over_all_counts_what_can_be_seen():
    torch.manual_seed(0)
    model = studies.tiny()
    ids = torch.tensor([[5, 6, 7, 8, 9, 10], [5, 6, 7, 0, 0, 0]])
    batch = {"ids": ids, "mask": ids != 0}
    counted = []
    model.loss = lambda inputs, targets, mask: counted.append(targets)
    studies.loss_over_all(model, batch)
    studies.masked_loss(model, batch)
    assert torch.equal(counted[0] != studies.IGNORE, batch["mask"])
    hidden = counted[1] != studies.IGNORE
    assert (hidden <= batch["mask"]).all() and hidden.sum() < batch["mask"].sum()


@pytest.fixture(scope="module")
def stored():
    return studies.read("labels")


def test_what_is_stored_is_whole(stored):
    asked, _, truth = studies.asked_of("test")
    assert {(row["labels"], row["arm"]) for row in stored["rows"]} == {
        (count, arm) for count in studies.PLANS for arm in ("bag", *studies.RATES)
    }
    assert "text_studies labels" in stored["command"] and stored["seconds"] > 60
    for row in stored["rows"]:
        assert len(row["right"]) == studies.PLANS[row["labels"]]["draws"] >= 3
        assert {len(answers) for answers in row["right"]} == {len(asked)} == {len(truth)}
        assert set("".join(row["right"])) == {"0", "1"}
    assert len(json.dumps(stored)) < 100_000


def test_what_is_stored_comes_again(stored):
    """The cheapest arm, whose result does not depend on the processor."""
    for row in stored["rows"]:
        if row["arm"] == "bag" and row["labels"] < 1000:
            again = studies.answers("bag", row["labels"], row["setting"], seed=0)
            found = torch.tensor([int(one) for one in row["right"][0]])
            assert (again == found).float().mean() > 0.99


def test_labels_are_drawn_from_train_alone():
    lines = {gloss.line for gloss in glosses("train")}
    drawn = studies.draw(100, 0)
    assert {gloss.line for gloss in drawn} <= lines
    rows, kinds = studies.rows_of(drawn)
    assert max(map(len, rows)) <= studies.LONGEST
    assert [KINDS[kind] for kind in kinds] == [gloss.kind for gloss in drawn]
