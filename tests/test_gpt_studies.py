"""The stored studies of language models: fair to each arm, and with the right error."""

import math

import numpy as np
import pytest
import torch

from mmcourse.data.glosses import KINDS, glosses
from mmcourse.data.splits import held_out
from mmcourse.recipes import gpt as recipe
from mmcourse.recipes import gpt_studies as studies

NAMES = tuple(studies.STUDIES)


class TestTuned:
    @pytest.mark.parametrize("best", [1e-5, 1e-3, 3e-3, 0.2])
    def test_the_best_rate_is_never_at_the_edge(self, best):
        rate, tried = studies.tuned(lambda rate: abs(math.log(rate / best)), (1e-3, 3e-3, 9e-3))
        assert min(tried) < rate < max(tried)
        assert abs(math.log(rate / best)) < math.log(3)
        assert {1e-3, 3e-3, 9e-3} <= set(tried)

    def test_a_loss_that_is_no_number_never_wins(self):
        losses = {1.0: 2.0, 3.0: 1.0, 9.0: math.nan}
        rate, tried = studies.tuned(losses.get, (1.0, 3.0, 9.0))
        assert rate == 3.0 and tried[9.0] == math.inf


class TestInterval:
    def test_adds_seeds_and_items(self):
        rng = np.random.default_rng(0)
        items = rng.normal(size=400)
        alike = np.stack([items, items, items])  # the seeds agree: only the items vary
        value, half = studies.interval(alike)
        assert value == pytest.approx(items.mean())
        assert half == pytest.approx(1.96 * items.std() / 20, rel=0.1)
        apart = np.array([[1.0], [2.0], [3.0]]).repeat(50, 1)  # only the seeds vary
        value, half = studies.interval(apart)
        assert (value, half) == (pytest.approx(2), pytest.approx(4.303 / math.sqrt(3), rel=1e-3))
        _, both = studies.interval(alike + np.array([[-1.0], [0.0], [1.0]]))
        assert both == pytest.approx(
            math.hypot(4.303 / math.sqrt(3), 1.96 * items.std() / 20), 0.02
        )

    def test_a_ratio_of_sums(self):
        value, _ = studies.interval([[2.0, 9.0]] * 3, [1, 10])
        assert value == 1.0

    def test_needs_all_seeds(self):
        with pytest.raises(ValueError, match="values of 3 seeds, got 2"):
            studies.interval([[1.0, 2.0]] * 2)


def test_no_block_comes_twice_in_one_reading():
    ids = torch.arange(127 * 40 + 1)
    batch = studies.blocks_batch(ids, 5)
    firsts = [batch(step)[0][:, 0].tolist() for step in range(5)]
    assert sorted(sum(firsts, [])) == list(range(0, 127 * 40, 127))
    again = [batch(step)[0][:, 0].tolist() for step in range(5, 10)]
    assert sorted(sum(again, [])) == sorted(sum(firsts, [])) and again != firsts
    assert studies.blocks_batch(ids, 5)(3)[0].tolist() == batch(3)[0].tolist()
    assert studies.blocks_batch(ids, 6)(0)[0].tolist() != batch(0)[0].tolist()


def test_from_nothing_has_weights_as_wide_as_its_width_asks_for():
    model = studies.starting_points()["from nothing"](0)
    assert model.embedding.weight.std().item() == pytest.approx(recipe.SPREAD, rel=0.02)
    known = studies.starting_points()["pre-trained"](0)
    assert not torch.equal(known.embedding.weight, model.embedding.weight)


def test_compositions_that_the_dictionary_names_are_left_out():
    told = studies.in_dictionary()
    assert ("red", "panda") in told and all(held_out(*pair) for pair in told)
    numbers = studies.scenes("composition", 60)
    left_out = set(range(max(numbers))) - set(numbers)
    for number in range(max(numbers)):
        groups = recipe.described("composition", number)[0].groups
        named = any((group.colour, group.noun) in told for group in groups)
        assert named == (number in left_out)
    assert studies.scenes("val", 5, first=7) == [7, 8, 9, 10, 11]


def test_bag_of_words():
    chosen = glosses("train")[::400]
    bag = studies.BagOfWords(chosen, 100.0)
    log_probs = bag.log_probs(chosen)
    assert log_probs.shape == (len(chosen), len(KINDS))
    assert np.mean(studies.right(bag.choose(chosen), chosen)) > 0.95
    places = [KINDS.index(gloss.kind) for gloss in chosen]
    assert bag.loss(chosen) == pytest.approx(-log_probs[range(len(chosen)), places].mean())
    few = [gloss for gloss in chosen if gloss.kind != KINDS[0]]
    assert (studies.BagOfWords(few, 1.0).log_probs(chosen)[:, 0] == -20).all()


@pytest.mark.parametrize("name", NAMES)
def test_stored_whole_with_inner_rates_and_three_seeds(name):
    found = studies.read(name)
    assert found["command"] == f"python -m mmcourse.recipes.gpt_studies {name}"
    assert found["seconds"] < 900 and "1 thread" in found["machine"]
    for row in found["rows"]:
        if "rate" in row:
            rates = [float(rate) for rate in row["rates"]]
            assert min(rates) < row["rate"] < max(rates)
    seeds = [row["seed"] for row in found["rows"] if "rate" in row and "seed" in row]
    assert all(seeds.count(seed) * 3 == len(seeds) for seed in studies.SEEDS)
