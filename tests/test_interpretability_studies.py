"""The studies of chapter 17: what is stored, that its first rows come again, and what they ask."""

import json

import numpy as np
import pytest

from mmcourse.data import EmojiScenes
from mmcourse.data.drawings import styles_of
from mmcourse.data.language import noun_table
from mmcourse.interpretability import METHODS, PEOPLE, TONES, boxes_of, centre_map, points_at
from mmcourse.recipes import interpretability_studies as studies
from mmcourse.recipes import stored


@pytest.mark.parametrize("name", studies.STUDIES)
def test_what_is_stored_says_how_it_was_made(name):
    found = studies.read(name)
    assert found["command"] == f"python -m mmcourse.recipes.interpretability_studies {name}"
    assert found["seconds"] > 0 and found["machine"] and found["torch"]
    assert len(found["rows"]) > 0


def same(first, second, tolerance=0.02):
    """Whether two rows are equal, numbers but for what another processor computes."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    if isinstance(first, list):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, float) or isinstance(second, float):
        return abs(first - second) <= tolerance * max(1, abs(first))
    return first == second


@pytest.mark.parametrize(
    ("name", "constant", "count"), [("causal", "SWAPPED", 3), ("people", "CONTEXTS", 1)]
)
def test_the_first_rows_come_again(monkeypatch, name, constant, count):
    monkeypatch.setattr(studies, constant, count)
    again = studies.STUDIES[name]()["rows"]
    before = studies.read(name)["rows"]
    assert 0 < len(again) <= count
    for one, other in zip(again, before, strict=False):
        assert same(one, other), (one, other)


def test_the_first_maps_come_again(monkeypatch):
    monkeypatch.setattr(studies, "WHERE", 5)
    again = studies.where()["rows"]
    before = studies.read("where")["rows"]
    for one, other in zip(again, before, strict=False):
        for part in ("scene", "noun", "hit", "deletion", "insertion", "share"):
            assert same(one[part], other[part]), part
    assert len(again) > 3
    for one, other in zip(again[1:], before[1:], strict=False):  # the first has no thing before it
        assert one["shuffled"] == other["shuffled"]


def test_shuffled_boxes_are_those_of_the_thing_before():
    found = studies.read("where")
    val, middle = EmojiScenes("val"), found["methods"].index("centre")
    for before, row in zip(found["rows"][:40], found["rows"][1:], strict=False):
        boxes = boxes_of(val[before["scene"]], before["noun"])
        assert row["shuffled"][middle] == points_at(centre_map(8), boxes, 64)


def test_new_nouns_are_new_to_the_probe(monkeypatch):
    asked = []

    def probe_right(seen, new, labels):
        asked.append((set(seen.nouns), set(new.nouns)))
        return np.ones(len(new.nouns)), new.scenes

    monkeypatch.setattr(studies, "probe_right", probe_right)
    monkeypatch.setattr(studies, "PROBED", ("pixels",))
    monkeypatch.setattr(studies, "FIT", 60)
    monkeypatch.setattr(studies, "PROBE_TEST", 30)
    found = studies.probes()
    assert [row["encoder"] for row in found["rows"]] == ["trained", "untrained"]
    for number in (0, 5):
        task, *controls, strange = asked[number : number + 5]
        assert controls == [task] * 3
        assert strange[0] < task[0] and strange[1] < task[1] and not strange[0] & strange[1]


def test_only_the_skewed_arm_is_shown_frequencies(monkeypatch):
    shown = []
    monkeypatch.setattr(studies, "train_small", lambda names, seed: shown.append((names, seed)))
    monkeypatch.setattr(studies, "captions_of", lambda model, scenes: [])
    monkeypatch.setattr(studies, "WORLD_TEST", 1)
    found = studies.frequency()
    for row, (names, seed) in zip(found["rows"], shown, strict=True):
        assert row["seed"] == seed
        expected = row["weights"] if row["arm"] == "skewed" else [1] * studies.WORLD
        assert [names.count(name) for name in found["names"]] == expected


def test_where_has_a_number_for_each_method_and_baseline():
    found = studies.read("where")
    assert found["methods"] == [*METHODS, "centre", "random"]
    for row in found["rows"]:
        assert 0 < row["share"] < 1 and row["scene"] < found["scenes"]
        for part in ("hit", "shuffled", "deletion", "insertion"):
            assert len(row[part]) == len(found["methods"]) and min(row[part]) >= 0
            assert max(row[part]) <= 1


def test_an_untouched_model_agrees_with_itself():
    found = studies.read("sanity")
    whole = np.array([row["rank"] for row in found["rows"] if row["parts"] == 0])
    empty = (whole == 0) & (np.array(found["methods"]) == "Grad-CAM")  # nothing above zero
    assert np.allclose(whole[~empty], 1, atol=1e-3) and empty.sum() <= 6
    seeds = {row["seed"] for row in found["rows"]}
    assert seeds == set(studies.SEEDS)


def test_rivals_are_of_one_kind():
    for noun in ("dog", "apple", "bus", "woman"):
        styles = styles_of(noun)[:2]
        found = studies.rivals(noun, styles)
        assert noun not in found and len(found) > 1
        for other in found:
            assert noun_table()[other].category == noun_table()[noun].category
            assert noun_table()[other].article == noun_table()[noun].article
            assert set(styles) <= set(styles_of(other))


def test_people_are_asked_about_in_each_tone():
    found = studies.read("people")
    assert found["tones"] == ["as drawn", *TONES]
    for row in found["rows"]:
        assert list(row["said"]) == list(PEOPLE)
        assert all(len(said) == len(found["tones"]) for said in row["said"].values())


def test_the_world_of_the_frequencies():
    names = studies.world_nouns()
    assert len(set(names)) == len(names) == studies.WORLD
    found = studies.read("frequency")
    assert found["names"] == names
    for row in found["rows"]:
        assert sorted(row["weights"]) == sorted(studies.WEIGHTS * 4)
        assert len(row["said"]) == found["scenes"]
    assert len({tuple(row["weights"]) for row in found["rows"]}) == len(studies.SEEDS)


def test_a_small_captioner_is_trained(monkeypatch):
    monkeypatch.setattr(studies, "STEPS", 22)
    monkeypatch.setattr(studies, "BATCH", 2)
    first, second = (studies.train_small(["dog", "car"], seed) for seed in (0, 0))
    assert not first.training
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert one.equal(other)


def test_cells_of_a_scene_stay_together():
    right = np.array([True, False, True, True])
    assert studies.by_scene(right, np.array([0, 0, 3, 3])) == [[1, 2], [2, 2]]
    assert studies.share_of_cells([(0, 0, 32, 32)]) == 0.25


def test_a_study_is_stored_whole(monkeypatch, tmp_path):
    monkeypatch.setattr(stored, "FOLDER", tmp_path)
    monkeypatch.setitem(studies.STUDIES, "where", lambda: {"rows": [{"a": 1}]})
    studies.main("where")
    kept = json.loads((tmp_path / "interpretability_where.json").read_text())
    assert kept["command"].endswith("interpretability_studies where")
    assert kept["rows"] == [{"a": 1}] and "torch" in kept
