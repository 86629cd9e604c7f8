"""The study of arms of chapter 20: what each arm sees, what is stored, and what it shows."""

import json

import numpy as np
import pytest
import torch

from mmcourse.data.dialogues import TURNS
from mmcourse.recipes import stored
from mmcourse.recipes import vqa_studies as studies
from mmcourse.vqa import KINDS, Asked, all_words, not_reading


@pytest.fixture(scope="module")
def found():
    return studies.read()


@pytest.fixture(scope="module")
def asked():
    return studies.test_questions()


def test_who_does_not_read_knows_each_kind_by_its_own_known_words():
    kinds = (*KINDS, *TURNS)
    hidden = not_reading([Asked(0, "x ?", "y", kind, (("a ?", "b"),)) for kind in kinds])
    assert len({each.text for each in hidden}) == len(kinds)
    assert all(set(each.text.split()) <= set(all_words()) for each in hidden)
    assert all(each.history == () for each in hidden)
    with pytest.raises(KeyError):
        not_reading([Asked(0, "x ?", "y", "smell")])


def test_what_each_arm_sees():
    asked = [Asked(0, "is there a dog ?", "yes", "presence")]
    memory = {"trained": torch.ones(1, 4, 3), "untrained": 2 * torch.ones(1, 4, 3)}
    for arm in studies.ARMS:
        read, seen = studies.as_seen_by(arm, asked, memory)
        assert (read == asked) == (arm != "does not read")
        expected = {"untrained encoder": 2.0, "does not look": 0.0}.get(arm, 1.0)
        assert seen.unique().tolist() == [expected]
    assert studies.moved(asked, 7)[0].scene == 7 and asked[0].scene == 0


def test_scenes_of_tuning_are_not_those_that_are_reported():
    rows = {}
    for name, (dataset, first, count) in studies.PARTS.items():
        of_split = rows.setdefault((type(dataset).__name__, dataset.split), set())
        own = set(range(first, first + count))
        assert not own & of_split, name
        of_split |= own


def test_flags_come_back():
    flags = [True, False, False, True]
    assert studies.packed(flags) == "1001"
    assert studies.unpacked(studies.packed(flags)).tolist() == flags


def test_every_arm_is_stored_as_soon_as_it_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "FOLDER", tmp_path)
    monkeypatch.setattr(studies, "load_all", dict)
    monkeypatch.setattr(studies, "settings", dict)

    def measure(arm, parts):
        if arm == studies.ARMS[2]:
            raise KeyboardInterrupt
        return {"arm": arm}

    monkeypatch.setattr(studies, "measure", measure)
    with pytest.raises(KeyboardInterrupt):
        studies.main("table")
    kept = json.loads((tmp_path / "vqa_table.json").read_text())
    assert [row["arm"] for row in kept["rows"]] == list(studies.ARMS[:2])
    assert kept["command"] == "python -m mmcourse.recipes.vqa_studies table"
    assert {"seconds", "machine", "torch"} <= set(kept)


def test_every_arm_was_trained_with_every_seed_and_answered_all(found, asked):
    assert [row["arm"] for row in found["rows"]] == list(studies.ARMS)
    for row in found["rows"]:
        assert tuple(each["seed"] for each in row["seeds"]) == studies.SEEDS
        assert {float(rate) for rate in row["rates"]} == set(studies.RATES)
        assert row["rates"][str(row["rate"])] == max(row["rates"].values())
        assert studies.RATES[0] < row["rate"] < studies.RATES[-1]  # the text says so
        for each in row["seeds"]:
            for name, questions in asked.items():
                assert len(each[name]) == len(each[f"{name} chosen"]) == len(questions)
    settings = found["settings"]
    assert (settings["steps"], settings["steps of each rate tried"]) == (
        studies.STEPS, studies.TRIED_STEPS,
    )  # fmt: skip


def test_what_the_study_shows(found):
    val = {
        row["arm"]: np.mean([studies.unpacked(seed["val"]).mean() for seed in row["seeds"]])
        for row in found["rows"]
    }
    assert val["answerer"] > val["untrained encoder"] + 0.1
    assert val["answerer"] > max(val["does not look"], val["does not read"]) + 0.05
    assert val["does not look"] < 0.4


def test_without_grounding_presence_is_a_coins_throw(found, asked):
    presence = [each.kind == "presence" for each in asked["val"]]
    share = {
        row["arm"]: np.mean([studies.unpacked(seed["val"])[presence] for seed in row["seeds"]])
        for row in found["rows"]
    }
    assert share["answerer"] > 0.7 and abs(share["no grounding"] - 0.5) < 0.1
