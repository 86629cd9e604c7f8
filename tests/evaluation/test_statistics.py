"""Statistics: against values by hand, scikit-learn, SciPy, and a ranking by brute force."""

import numpy as np
import pytest
from scipy.stats import bootstrap as scipy_bootstrap
from sklearn.metrics import accuracy_score, confusion_matrix, precision_recall_fscore_support

from mmcourse.evaluation import (
    Scores,
    accuracy,
    bootstrap,
    confusion_table,
    precision_recall_f1,
    recall_at_k,
)


def answers(seed, items, classes, kind=str):
    """Predicted and true classes; some classes are never called, others never true."""
    rng = np.random.default_rng(seed)
    true = rng.integers(classes, size=items)
    predicted = np.where(rng.random(items) < 0.5, true, rng.integers(1, classes + 2, size=items))
    return [[kind(f"{number:02}") for number in numbers] for numbers in (predicted, true)]


ANSWERS = [
    answers(0, 1, 1),
    answers(1, 7, 3),
    answers(2, 60, 5, int),
    answers(3, 300, 11),
    answers(4, 12, 40, int),
    (["a", "a"], ["b", "b"]),
    ([True, False, True], [True, True, False]),
]
TRUE, CALLED = ["cat"] * 4 + ["dog"] + ["cow"], ["cat", "cat", "cat", "dog", "dog", "cat"]


class TestAnswers:
    def test_table_by_hand(self):
        classes, table = confusion_table(CALLED, TRUE)
        assert classes.tolist() == ["cat", "cow", "dog"]
        assert table.tolist() == [[3, 0, 1], [1, 0, 0], [0, 0, 1]]

    def test_scores_by_hand(self):
        assert accuracy(CALLED, TRUE) == pytest.approx(4 / 6)
        each = precision_recall_f1(CALLED, TRUE)
        assert isinstance(each, Scores)
        assert each.precision.tolist() == [3 / 4, 0.0, 1 / 2]
        assert each.recall.tolist() == [3 / 4, 0.0, 1.0]
        assert each.f1.tolist() == pytest.approx([3 / 4, 0.0, 2 / 3])

    def test_averages_by_hand(self):
        macro = precision_recall_f1(CALLED, TRUE, "macro")
        assert macro == pytest.approx((5 / 12, 7 / 12, 17 / 36))
        assert macro.f1 != pytest.approx(2 * 5 / 12 * 7 / 12)  # not the F1 of the two means
        assert precision_recall_f1(CALLED, TRUE, "micro") == pytest.approx((4 / 6,) * 3)
        assert all(type(number) is float for number in macro)

    @pytest.mark.parametrize(("predicted", "true"), ANSWERS)
    def test_against_sklearn(self, predicted, true):
        classes, table = confusion_table(predicted, true)
        assert classes.tolist() == sorted({*predicted, *true})
        assert table.tolist() == confusion_matrix(true, predicted).tolist()
        assert accuracy(predicted, true) == pytest.approx(
            accuracy_score(true, predicted), abs=1e-12
        )
        for average in (None, "macro", "micro"):
            expected = precision_recall_fscore_support(
                true, predicted, average=average, zero_division=0
            )[:3]
            for ours, theirs in zip(
                precision_recall_f1(predicted, true, average), expected, strict=True
            ):
                assert ours == pytest.approx(theirs, rel=0, abs=1e-12)

    def test_order_of_items_and_names_of_classes_do_not_matter(self):
        predicted, true = (np.array(side) for side in ANSWERS[3])
        order = np.random.default_rng(0).permutation(len(true))
        for scores in (precision_recall_f1, accuracy):
            assert np.array_equal(scores(predicted[order], true[order]), scores(predicted, true))
        renamed = [[f"class {name}" for name in side] for side in (predicted, true)]
        assert precision_recall_f1(*renamed, "macro") == precision_recall_f1(
            predicted, true, "macro"
        )

    @pytest.mark.parametrize("function", [confusion_table, accuracy, precision_recall_f1])
    def test_errors(self, function):
        for predicted, true in (
            (["a"], ["a", "b"]),
            ([], []),
            (np.zeros((3, 2)), np.zeros((3, 2))),
            ("a", "a"),
        ):
            with pytest.raises(
                ValueError, match="expected two lists of as many classes, got shapes .*argmax"
            ):
                function(predicted, true)
        for predicted, true in (
            ([1, 2], ["1", "2"]),
            ([0.1, 0.9], [0.0, 1.0]),
            ([None], [None]),
            ([1], [True]),
        ):
            with pytest.raises(
                TypeError,
                match="strings, integers or booleans, and of one type in both lists, got ",
            ):
                function(predicted, true)

    def test_unknown_average(self):
        with pytest.raises(
            ValueError, match="average must be macro, micro or None, got 'weighted'"
        ):
            precision_recall_f1(["a"], ["a"], "weighted")


def brute_force(scores, relevant, k):
    """Sort each query's items, the highest score first, of equals the one not relevant."""
    hits = 0
    for row, answers in zip(scores, relevant, strict=True):
        ranking = sorted(range(len(row)), key=lambda item: (-row[item], answers[item]))
        hits += any(answers[item] for item in ranking[:k])
    return hits / len(scores)


class TestRecallAtK:
    def test_by_hand(self):
        scores = [[0.9, 0.8, 0.1], [0.5, 0.7, 0.6], [0.2, 0.3, 0.4]]
        relevant = np.eye(3, dtype=bool)  # ranks 1, 1, 1; turned round 1, 2, 2
        assert [recall_at_k(scores, relevant, k) for k in (1, 2, 3)] == [1.0, 1.0, 1.0]
        scores = np.array(scores).T
        assert [recall_at_k(scores, relevant, k) for k in (1, 2, 3)] == [
            pytest.approx(1 / 3),
            1.0,
            1.0,
        ]

    def test_one_of_several_captions_is_enough(self):
        scores, relevant = [[0.1, 0.9, 0.5, 0.8]], np.array([[True, False, True, False]])
        assert [recall_at_k(scores, relevant, k) for k in (1, 2, 3)] == [0.0, 0.0, 1.0]

    @pytest.mark.parametrize(
        ("pictures", "captions", "levels"), [(1, 1, 9), (3, 5, 2), (17, 2, 4), (40, 5, 1000)]
    )
    @pytest.mark.parametrize("k", [1, 2, 5, 10])
    def test_against_brute_force_both_ways(self, pictures, captions, levels, k):
        rng = np.random.default_rng(levels)
        owner = np.repeat(np.arange(pictures), captions)
        scores = (
            rng.integers(levels, size=(pictures, len(owner))) / levels
        )  # with few levels there are many ties
        relevant = owner == np.arange(pictures)[:, None]
        scores += 0.3 * relevant
        assert recall_at_k(scores, relevant, k) == pytest.approx(
            brute_force(scores, relevant, k), abs=1e-12
        )
        assert recall_at_k(scores.T, relevant.T, k) == pytest.approx(
            brute_force(scores.T, relevant.T, k), abs=1e-12
        )

    def test_equal_scores_find_nothing(self):
        relevant = np.eye(6, dtype=bool)
        assert [recall_at_k(np.ones((6, 6)), relevant, k) for k in (1, 5, 6)] == [0.0, 0.0, 1.0]
        assert recall_at_k(np.full((6, 6), -np.inf), relevant, 1) == 0.0

    def test_errors(self):
        good = np.eye(3, dtype=bool)
        with pytest.raises(TypeError, match="relevant must be boolean, True where .* got int64"):
            recall_at_k(np.ones((3, 3)), np.arange(3), 1)
        spoiled = np.eye(3)
        spoiled[1, 2] = np.nan
        for scores in (np.ones((3, 4)), np.ones(3), spoiled):
            with pytest.raises(
                ValueError, match=r"must be \(queries, items\) without NaN, got shapes"
            ):
                recall_at_k(scores, good, 1)
        with pytest.raises(ValueError, match="without NaN"):
            recall_at_k(np.ones((0, 3)), np.ones((0, 3), bool), 1)
        with pytest.raises(
            ValueError, match="k must be at least 1.* got k = 0 and 0 queries without one"
        ):
            recall_at_k(np.eye(3), good, 0)
        with pytest.raises(ValueError, match="got k = 1 and 2 queries without one"):
            recall_at_k(np.eye(3), np.array([[True, False, False]] + [[False] * 3] * 2), 1)


def values(seed, items):
    rng = np.random.default_rng(seed)
    first = rng.gamma(2.0, size=items)
    return first, first + rng.normal(0.1, 0.5, size=items)


class TestBootstrap:
    @pytest.mark.parametrize(
        ("items", "draws", "level"), [(2, 30, 0.5), (13, 200, 0.9), (101, 500, 0.95)]
    )
    def test_one_sample_equals_scipy(self, items, draws, level):
        sample, _ = values(items, items)
        for statistic in (np.mean, np.median):
            theirs = scipy_bootstrap(
                (sample,),
                statistic,
                n_resamples=draws,
                confidence_level=level,
                vectorized=False,
                method="percentile",
                rng=np.random.default_rng(7),
            )
            found = bootstrap(statistic, sample, draws=draws, level=level, seed=7)
            assert found.value == statistic(sample)
            assert found[1:3] == pytest.approx(tuple(theirs.confidence_interval), rel=0, abs=1e-12)
            assert found.draws == pytest.approx(theirs.bootstrap_distribution, rel=0, abs=1e-12)

    @pytest.mark.parametrize("items", [3, 40, 77])
    def test_paired_difference_equals_scipy(self, items):
        def difference(a, b):
            return a.mean() - b.mean()

        samples = values(items, items)
        theirs = scipy_bootstrap(
            samples,
            difference,
            n_resamples=300,
            vectorized=False,
            paired=True,
            method="percentile",
            rng=np.random.default_rng(0),
        )
        found = bootstrap(difference, *samples, draws=300)
        assert found[1:3] == pytest.approx(tuple(theirs.confidence_interval), rel=0, abs=1e-12)

    def test_pairs_stay_together(self):
        first = np.arange(20.0)
        found = bootstrap(lambda a, b: (a - b).mean(), first, first + 3)
        assert found.low == found.high == found.value == -3.0

    def test_each_item_meets_its_own_partner(self):
        """A statistic that reads pair by pair: it changes when the draws of a sample are mixed."""
        first = values(3, 30)[0]
        same = bootstrap(lambda a, b: (a == b).mean(), first, first.copy(), draws=50)
        assert same.low == same.high == same.value == 1.0
        rows = np.stack([first, first + 1], 1)  # (30, 2)
        gap = bootstrap(
            lambda a, b, c: abs(b - a[:, 0] + c - a[:, 1]).max(), rows, first, rows[:, 1]
        )
        assert gap.draws.max() == 0.0

    def test_the_same_items_of_every_sample_are_drawn(self):
        numbers = np.arange(12)
        seen = []

        def remember(a, b):
            seen.append((a.tolist(), b.tolist()))
            return 0.0

        bootstrap(remember, numbers, 100 + numbers, draws=20)
        assert all([100 + one for one in first] == second for first, second in seen)
        assert len({tuple(first) for first, _ in seen[:20]}) == 20, "each draw is its own"
        assert any(len(set(first)) < 12 for first, _ in seen), "drawn with replacement"

    def test_rows_and_texts_are_items(self):
        rows = np.array([[1, 2], [3, 4], [5, 5]])
        found = bootstrap(lambda drawn: drawn[:, 0].sum() / drawn[:, 1].sum(), rows, draws=50)
        assert found.value == pytest.approx(9 / 11) and found.low < found.value < found.high
        assert bootstrap(
            lambda texts: (texts == "a").mean(), ["a", "b", "a"], draws=50
        ).value == pytest.approx(2 / 3)

    def test_seed_draws_and_level(self):
        sample = values(0, 50)[0]
        found = bootstrap(np.mean, sample)
        assert len(found.draws) == 2000 and np.array_equal(
            found.draws, bootstrap(np.mean, sample, seed=0).draws
        )
        assert not np.array_equal(found.draws, bootstrap(np.mean, sample, seed=1).draws)
        inside = ((found.low <= found.draws) & (found.draws <= found.high)).mean()
        assert inside == pytest.approx(0.95, abs=0.002)
        wide = bootstrap(np.mean, sample, level=0.99)
        assert wide.low < found.low < found.value < found.high < wide.high
        assert [type(number) for number in found[:3]] == [float] * 3

    def test_width_is_that_of_the_mean(self):
        sample = values(0, 400)[0]
        found = bootstrap(np.mean, sample)
        error = sample.std() / np.sqrt(len(sample))
        assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.1)

    @pytest.mark.parametrize("samples", [(), ([1.0],), ([],), ([1.0, 2.0], [1.0, 2.0, 3.0])])
    def test_samples(self, samples):
        with pytest.raises(
            ValueError, match="expected samples of as many items, two or more, got samples of"
        ):
            bootstrap(np.mean, *samples)

    @pytest.mark.parametrize(
        "options", [{"draws": 0}, {"level": 0.0}, {"level": 1.0}, {"level": 95}, {"seed": -1}]
    )
    def test_options(self, options):
        with pytest.raises(
            ValueError, match="draws must be at least 1, level between 0 and 1, and seed at least 0"
        ):
            bootstrap(np.mean, [1.0, 2.0], **options)
