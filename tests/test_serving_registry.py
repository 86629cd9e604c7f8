"""The registry: what it records, that it is whole whenever writing stops, and who is in use."""

import json
import os
import re
import shutil
import time

import pytest
import torch
from filelock import FileLock, Timeout

from mmcourse.captioning import SceneCaptioner
from mmcourse.data.language import vocabulary
from mmcourse.hub import load_captioner
from mmcourse.serving import Registry
from mmcourse.weights import CONFIG, WEIGHTS, change_config, checksum

TINY = {"width": 8, "heads": 2, "decoder_layers": 1, "channels": [8, 8, 8], "blocks": [0, 0, 0]}


def make_run(folder, seed):
    """The folder of a run, with a model and a log."""
    torch.manual_seed(seed)
    SceneCaptioner(vocabulary(), **TINY, max_length=6).save_pretrained(folder)
    rows = [{"step": step, "loss": 6.0 - step + seed} for step in (0, 1, 2)]
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def runs(tmp_path):
    return [make_run(tmp_path / f"run{seed}", seed) for seed in range(3)]


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "registry")


def test_it_says_which_run_made_which_weights(registry, runs):
    names = [registry.add(run, {"rate": 0.1}, "a note") for run in runs]
    assert len(set(names)) == 3
    for name, run, seed in zip(names, runs, range(3), strict=True):
        record = registry.record(name)
        assert record["run"] == str(run) and record["settings"] == {"rate": 0.1}
        assert record["last_row"] == {"step": 2, "loss": 4.0 + seed}
        assert record["class"] == "SceneCaptioner" and record["note"] == "a note"
        assert name == checksum(run / CONFIG)[:12]
        assert record["sha256"] == {
            CONFIG: checksum(run / CONFIG),
            WEIGHTS: checksum(run / WEIGHTS),
        }
        copy = shutil.copy(run / WEIGHTS, run / "elsewhere")
        assert registry.made_by(copy)["id"] == name
    assert sorted(record["id"] for record in registry.records()) == sorted(names)


def test_a_run_without_a_log_and_without_words(registry, runs, monkeypatch):
    (runs[0] / "log.jsonl").unlink()
    monkeypatch.setattr(time, "gmtime", lambda *now: (2026, 3, 9, 7, 5, 1, 0, 68, 0))
    record = registry.record(registry.add(runs[0]))
    assert record["last_row"] is None and record["note"] == "" and record["settings"] == {}
    assert record["added"] == "2026-03-09T07:05:01Z"


def test_a_registry_is_opened_again(registry, runs):
    name = registry.add(runs[0])
    registry.promote(name)
    again = Registry(str(registry.folder))
    assert again.records() == registry.records() and again.path() == registry.path()
    assert again.path() == registry.folder / "models" / name
    assert again.add(runs[1]) in {record["id"] for record in registry.records()}
    with registry.lock, pytest.raises(Timeout):  # of both: one writes at a time
        FileLock(again.lock.lock_file, timeout=0.01, is_singleton=False).acquire()


def test_weights_that_change_while_they_are_copied_are_not_added(registry, runs, monkeypatch):
    real = shutil.copyfile

    def copy_late(source, target):
        if str(source).endswith(WEIGHTS):
            source.write_bytes(source.read_bytes()[:-1] + b"?")
        return real(source, target)

    monkeypatch.setattr(shutil, "copyfile", copy_late)
    with pytest.raises(ValueError, match="is damaged"):
        registry.add(runs[0])
    assert registry.records() == [] and os.listdir(registry.models) == []


def test_what_it_holds_loads(registry, runs):
    name = registry.add(runs[0])
    registry.promote(name)
    shutil.rmtree(runs[0])
    model = load_captioner(str(registry.path()))
    torch.manual_seed(0)
    expected = SceneCaptioner(vocabulary(), **TINY, max_length=6)
    torch.testing.assert_close(model.output.weight, expected.output.weight)


def test_the_same_model_is_added_once_and_another_calibration_is_another(registry, runs):
    name = registry.add(runs[0], {"first": True})
    assert registry.add(runs[0], {"first": False}) == name
    assert registry.record(name)["settings"] == {"first": True}
    change_config(runs[0], calibration=[0.0, 1.0, 0.0])
    assert registry.add(runs[0]) != name


def test_who_is_in_production_and_the_way_back(registry, runs):
    first, second, third = (registry.add(run) for run in runs)
    with pytest.raises(ValueError, match="no model was in trial before"):
        registry.roll_back("trial")
    with pytest.raises(ValueError, match="no model is in production: promote one first"):
        registry.path()
    registry.promote(first)
    with pytest.raises(ValueError, match="no model was in production before"):
        registry.roll_back()
    registry.promote(second)
    registry.promote(second)
    registry.promote(third, "trial")
    assert registry.stages() == {"production": [first, second], "trial": [third]}
    assert registry.path().name == second and registry.path("trial").name == third
    assert registry.roll_back() == first
    assert registry.path().name == first


@pytest.mark.parametrize("file", [CONFIG, WEIGHTS])
def test_a_changed_model_is_neither_promoted_nor_served(registry, runs, file):
    first, second = (registry.add(run) for run in runs[:2])
    registry.promote(first)
    registry.promote(second)
    path = registry.models / second / file
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(ValueError, match=f"{file} is damaged"):
        registry.path()
    with pytest.raises(ValueError, match="is damaged"):
        registry.promote(second, "trial")
    assert registry.roll_back() == first and registry.path().name == first


def test_nobody_rolls_back_to_a_damaged_model(registry, runs):
    first, second = (registry.add(run) for run in runs[:2])
    registry.promote(first)
    registry.promote(second)
    (registry.models / first / WEIGHTS).unlink()
    with pytest.raises(ValueError, match="expected an ordinary file"):
        registry.roll_back()
    assert registry.path().name == second


def test_a_damaged_run_is_not_added(registry, runs):
    path = runs[0] / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(ValueError, match="is damaged"):
        registry.add(runs[0])
    with pytest.raises(ValueError, match="expected an ordinary file"):
        registry.add(runs[0] / "nothing")
    change_config(runs[1], sha256=None)
    with pytest.raises(ValueError, match="no checksum of its weights"):
        registry.add(runs[1])
    assert registry.records() == [] and os.listdir(registry.models) == []


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_stop_at_any_moment_leaves_no_half_model(registry, runs, monkeypatch, stop):
    kept = registry.add(runs[0])
    real, calls = os.replace, []

    def replace(*arguments):
        calls.append(arguments)
        if len(calls) == stop:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(os, "replace", replace)
    try:
        name = registry.add(runs[1])
    except KeyboardInterrupt:
        name = None
    monkeypatch.undo()
    names = {record["id"] for record in registry.records()}
    assert names == {kept} | ({name} if name else set())
    assert not [folder for folder in os.listdir(registry.models) if folder.startswith(".")]
    again = registry.add(runs[1])  # what was left is in nobody's way
    registry.promote(again)


def test_what_a_kill_left_is_cleared_and_not_listed(registry, runs):
    name = registry.add(runs[0])
    left = registry.models / f".adding-{name}"
    left.mkdir()
    (left / "part").write_text("x")
    assert [record["id"] for record in registry.records()] == [name]
    shutil.rmtree(registry.models / name)
    assert registry.add(runs[0]) == name and not left.exists()


def test_a_full_disk_changes_no_stage(registry, runs, monkeypatch):
    first, second = (registry.add(run) for run in runs[:2])
    registry.promote(first)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="could not write"):
        registry.promote(second)
    monkeypatch.undo()
    assert registry.path().name == first


@pytest.mark.parametrize("name", ["", "nothing", "../run0", ".", "/etc"])
def test_names_that_are_no_model(registry, runs, name):
    with pytest.raises(ValueError, match="it has none$"):
        registry.record(name)
    known = ", ".join(sorted(registry.add(run) for run in runs))
    with pytest.raises(ValueError, match=re.escape(f"no model {name!r}: it has {known}")):
        registry.record(name)


def test_removing(registry, runs):
    first, second, third = (registry.add(run) for run in runs)
    registry.promote(first)
    registry.promote(second)
    for name in (first, second):
        with pytest.raises(ValueError, match="is or was in production"):
            registry.remove(name)
    registry.remove(third)
    assert {record["id"] for record in registry.records()} == {first, second}
    with pytest.raises(ValueError, match="no model of the registry"):
        registry.made_by(runs[2] / WEIGHTS)
