"""``scenes_small``, the studies of chapter 18, and what is refused of a folder."""

import copy
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mmcourse.compression import (
    QuantisedSceneCaptioner,
    check_calibration,
    divergence,
    fact_counts,
    keep_floats,
    mixed_plan,
    paired_change,
    precision_recall,
    quantisable,
    quantise_static,
    record_ranges,
    sensitivity,
    weight_bytes,
    write_one_by_one,
)
from mmcourse.compression.measure import compare_speed
from mmcourse.data import EmojiScenes
from mmcourse.evaluation import fact_scores
from mmcourse.hub import SHIPPED, load
from mmcourse.recipes import compression_studies as studies
from mmcourse.recipes import stored
from mmcourse.weights import change_config


@pytest.fixture(scope="module")
def captioner():
    return load("scenes").requires_grad_(False)


@pytest.fixture(scope="module")
def small():
    return keep_floats(load("scenes_small")).requires_grad_(False)


@pytest.fixture(scope="module")
def scenes():
    return [EmojiScenes("val")[index] for index in range(3000, 3300)]


@pytest.fixture
def folder(tmp_path):
    """A copy of the shipped folder, to be spoiled."""
    return shutil.copytree(SHIPPED / "scenes_small", tmp_path / "small")


# ---- what was to be reached


def test_it_is_as_small_as_it_had_to_be(small):
    files = [(SHIPPED / "scenes_small" / name) for name in ("model.safetensors", "config.json")]
    assert sum(file.stat().st_size for file in files) <= 2_000_000
    assert 0 <= files[0].stat().st_size - weight_bytes(small) < 25_000


def test_it_states_the_facts_that_the_original_states(captioner, small, scenes):
    """On scenes that nothing else looks at. The goal is one point; other computers may differ."""
    images = studies.images_of(scenes)
    counts = [fact_counts(studies.captions_of(m, images), scenes) for m in (captioner, small)]
    change = precision_recall(counts[1]) - precision_recall(counts[0])
    assert (np.abs(change) < 0.03).all()


def test_the_stored_table_says_that_it_stays_within_a_point(tmp_path):
    name = studies.ship(tmp_path)
    again = load_file(tmp_path / "model.safetensors")
    shipped = load_file(SHIPPED / "scenes_small" / "model.safetensors")
    assert again.keys() == shipped.keys()
    assert all(torch.equal(again[key], shipped[key]) for key in again)
    assert name in ("8 bits", "4 and 8 bits, careful")


def test_what_is_shipped_is_the_smaller_one_that_keeps_the_rule(tmp_path, monkeypatch):
    found = studies.read("table")
    rows = {row["name"]: row for row in found["rows"]}
    read = studies.read
    monkeypatch.setattr(studies, "read", lambda name: found if name == "table" else read(name))
    rows["4 and 8 bits, careful"]["val"] = rows["4 bits"]["val"]
    assert studies.ship(tmp_path) == "8 bits"
    bits = json.loads((tmp_path / "config.json").read_text())["bits"]
    assert set(bits.values()) == {8}
    rows["8 bits"]["val"] = rows["4 bits"]["val"]
    with pytest.raises(ValueError, match="stays within a point"):
        studies.ship(tmp_path)


# ---- what is stored


@pytest.mark.parametrize("name", studies.STUDIES)
def test_what_is_stored_says_how_it_was_made(name):
    found = studies.read(name)
    assert found["command"].startswith(f"python -m mmcourse.recipes.compression_studies {name} ")
    assert found["seconds"] > 0 and found["machine"] and found["torch"]


def test_every_model_wrote_of_every_scene():
    rows = {row["name"]: row for row in studies.read("table")["rows"]}
    assert list(rows) == list(studies.variants("runs/none"))
    for row in rows.values():
        for split in studies.SPLITS:
            assert studies.unpacked(row[split]).shape == (studies.SCENES, 4)
    whole = rows["original"]
    for name, row in rows.items():
        for split in studies.SPLITS:  # what is due does not depend on who writes
            due = studies.unpacked(row[split])[:, 3]
            assert (due == studies.unpacked(whole[split])[:, 3]).all(), name


def test_what_the_page_says_of_the_table():
    rows = {row["name"]: row for row in studies.read("table")["rows"]}

    def recall(name):
        return precision_recall(studies.unpacked(rows[name]["val"]))[1]

    whole = recall("original")
    names = ("ranges of grey pictures", "8 bits, fixed ranges")
    assert abs(recall("8 bits") - whole) < 0.01
    assert recall("4 bits") > recall("4 bits, one scale") + 0.05
    assert recall("4 bits, first layer 8") > recall("4 bits") + 0.01
    grey = paired_change(*(studies.unpacked(rows[name]["val"]) for name in names), 0)
    assert grey.high < 0  # a small loss, and a loss
    assert recall("pruned 50 %, retrained") > recall("pruned 50 %, first spared") + 0.02
    assert recall("shallow student") > recall("shallow, untrained") + 0.5
    assert recall("shallow student") < whole - 0.02  # the goal that was missed
    assert rows["8 bits"]["bytes"] < 2e6


def test_the_first_row_comes_again(captioner):
    scenes = studies.scenes_of("val", 0, 60)
    images = studies.images_of(scenes)
    row = studies.read("table")["rows"][0]
    again = fact_counts(studies.captions_of(captioner, images), scenes)
    same = (again == studies.unpacked(row["val"])[:60]).all(1)
    assert same.mean() > 0.9  # another processor may choose another word at a tie


def test_speculation_wrote_the_same_words():
    found = studies.read("speed")
    assert len(found["equal"]) == 5 and all(found["equal"].values())
    assert found["ratios"]["original"] == [1, 1, 1]
    assert found["ratios"]["no cache"][0] < 1
    for name, rows in found["passes"].items():
        for passes, proposed, accepted in rows:
            assert passes > 0 and 0 <= accepted <= proposed, name


def test_arms_were_tuned_each_and_have_three_seeds():
    rows = studies.read("teacher")["rows"]
    for arm in studies.ARMS:
        own = [row for row in rows if row["arm"] == arm]
        assert tuple(row["seed"] for row in own) == studies.SEEDS
        for row in own:
            assert set(row["rates"]) == {str(rate) for rate in studies.RATES}
            assert row["rates"][str(row["rate"])] == min(row["rates"].values())


def test_three_seeds_do_not_show_that_a_teacher_harms():
    """What the page says: every seed lost recall, and the interval of the mean includes 0."""
    recall = {
        (row["arm"], row["seed"]): precision_recall(studies.unpacked(row["val"]))[1]
        for row in studies.read("teacher")["rows"]
    }
    gaps = [recall["taught", seed] - recall["not taught", seed] for seed in studies.SEEDS]
    half = 4.303 * np.std(gaps, ddof=1) / np.sqrt(3)  # Student t, two degrees of freedom
    assert max(gaps) < 0 < np.mean(gaps) + half


def test_words_a_pass_are_those_that_were_written():
    """Behind an accepted end the captioner's own word is thrown away."""
    passes = studies.read("speed")["passes"]
    words = [row[0] for row in passes["speculation, none ahead"]]  # a word each pass
    for rows in passes.values():
        for count, (ran, _, accepted) in zip(words, rows, strict=True):
            assert count <= ran + accepted <= count + 1


def test_one_layer_carries_most_of_the_cost(captioner):
    costs = studies.read("layers")["costs"]
    assert set(costs) == set(quantisable(captioner))
    assert max(costs, key=costs.get) == studies.FIRST
    assert costs[studies.FIRST] > 0.3 * sum(costs.values())


def test_a_row_is_stored_as_soon_as_it_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "FOLDER", tmp_path)

    stops = ["c"]

    def broken(folder, rows):
        for name in ("a", "b", "c"):
            if name in stops:
                stops.clear()
                raise KeyboardInterrupt
            if name not in rows:
                yield name, {"name": name}

    monkeypatch.setitem(studies.STUDIES, "table", broken)
    with pytest.raises(KeyboardInterrupt):
        studies.main("table", "nowhere")
    kept = json.loads((tmp_path / "compression_table.json").read_text())
    assert [row["name"] for row in kept["rows"]] == ["a", "b"]
    studies.main("table", "nowhere")
    kept = json.loads((tmp_path / "compression_table.json").read_text())
    assert [row["name"] for row in kept["rows"]] == ["a", "b", "c"]


# ---- measures


def test_counts_add_up_to_the_scores_of_facts(captioner, scenes):
    some = scenes[:60]
    captions = studies.captions_of(captioner, studies.images_of(some))
    captions[3] = "nothing of this kind"
    counts = fact_counts(captions, some)
    expected = fact_scores(captions, some)["all"]
    np.testing.assert_allclose(precision_recall(counts), expected)
    assert (studies.unpacked(studies.packed(counts)) == counts).all()


def test_no_change_is_no_change(captioner, scenes):
    captions = studies.captions_of(captioner, studies.images_of(scenes[:60]))
    counts = fact_counts(captions, scenes[:60])
    for which in (0, 1):
        same = paired_change(counts, counts, which)
        assert same.value == same.low == same.high == 0
    worse = counts.copy()
    worse[:, [0, 2]] = 0
    assert paired_change(worse, counts, 1).high < -0.5


def test_divergence_against_pytorch(captioner, scenes):
    images = studies.images_of(scenes[:5])
    sentences = write_one_by_one(captioner, images)
    small = QuantisedSceneCaptioner.of(captioner, 4)
    found = divergence(small, captioner, images, sentences)
    total, words = 0.0, 0
    for row, ids in enumerate(sentences):
        tokens = captioner.inputs_of([ids])
        own = [
            m.decode(m.encode(images[row : row + 1]), tokens)[0].log_softmax(-1)
            for m in (small, captioner)
        ]
        total += torch.nn.functional.kl_div(*own, reduction="sum", log_target=True).item()
        words += tokens.shape[1]
    assert found == pytest.approx(total / words, rel=1e-4)
    assert divergence(captioner, captioner, images, sentences) == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match="at least one picture"):
        divergence(small, captioner, images[:0], [])


def test_speed_is_a_ratio_to_the_first():
    def busy(count):
        return lambda: sum(index * index for index in range(count))

    found = compare_speed({"long": busy(60_000), "short": busy(6_000)}, rounds=5)
    assert found["long"] == [1, 1, 1] and found["short"][0] > 3


# ---- calibration


def test_ranges_hold_every_input(captioner, scenes):
    images = studies.images_of(scenes[:20])
    ranges = record_ranges(captioner, images)
    assert len(ranges) == sum(type(layer) is torch.nn.Linear for layer in captioner.modules())
    assert not any(layer._forward_pre_hooks for layer in captioner.modules())
    low, high = ranges["convolutions.projection"]
    features = captioner.convolutions.stages(captioner.pixels_of(images))
    assert low == pytest.approx(features.min().item(), abs=1e-4)
    assert high == pytest.approx(features.max().item(), abs=1e-4)
    static = quantise_static(copy.deepcopy(captioner), ranges)
    again = studies.captions_of(static, images)
    counts = fact_counts(again, scenes[:20])
    assert precision_recall(counts)[1] > 0.8


def test_pictures_of_another_kind_are_refused(captioner, scenes):
    grey = np.full((8, 64, 64, 3), 128, np.uint8)
    noise = np.random.default_rng(0).integers(0, 255, (8, 64, 64, 3), dtype=np.uint8)
    for bad in (grey, noise):
        with pytest.raises(ValueError, match="of another kind than the captioner's"):
            check_calibration(captioner, bad)
    with pytest.raises(ValueError, match="got none"):
        record_ranges(captioner, grey[:0], any_kind=True)
    with pytest.raises(TypeError, match="images must be uint8"):
        sensitivity(captioner, grey / 255)
    with pytest.raises(ValueError, match="pictures must have 64 x 64 pixels"):
        record_ranges(captioner, grey[:, :32, :32])
    assert record_ranges(captioner, grey, any_kind=True)
    check_calibration(captioner, studies.images_of(scenes[:8]))


def test_a_plan_spends_what_it_may(captioner):
    costs = studies.read("layers")["costs"]
    before = -1
    for most in (0.0, 0.001, 0.01, 10.0):
        plan = mixed_plan(captioner, costs, most)
        few = [name for name, bits in plan.items() if bits == 4]
        assert sum(costs[name] for name in few) <= most and len(few) > before
        assert set(plan.values()) <= {4, 8}
        before = len(few)
    assert before == len(costs)
    with pytest.raises(ValueError, match="costs must name the 40 layers"):
        mixed_plan(captioner, {}, 1.0)


def test_a_plan_looks_at_what_is_saved(captioner):
    sizes = {name: one.weight.numel() for name, one in quantisable(captioner).items()}
    plan = mixed_plan(captioner, dict.fromkeys(sizes, 1.0), 1.0)
    assert [name for name, bits in plan.items() if bits == 4] == [max(sizes, key=sizes.get)]


@pytest.mark.parametrize("bits", [2, 4])
def test_sensitivity_is_the_divergence_of_one_layer(captioner, scenes, monkeypatch, bits):
    from mmcourse.compression import calibration

    images = studies.images_of(scenes[:6])
    one = {studies.FIRST: captioner.get_submodule(studies.FIRST)}
    monkeypatch.setattr(calibration, "quantisable", lambda model: one)
    found = sensitivity(captioner, images, bits)
    small = keep_floats(QuantisedSceneCaptioner.of(captioner, {studies.FIRST: bits}))
    sentences = write_one_by_one(captioner, images)
    expected = divergence(small, captioner, images, sentences)
    assert found == {studies.FIRST: pytest.approx(expected, rel=1e-3)}


# ---- a folder that was changed


def spoil(folder, change):
    """Let ``change`` work on the tensors, and write the checksum that fits."""
    from mmcourse.weights import checksum

    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")
    change_config(folder, sha256=checksum(folder / "model.safetensors"))


def some_codes(tensors):
    return next(name for name in tensors if name.endswith("output.codes"))


def drop(tensors):
    del tensors["output.scale"]


def shorten(tensors):
    tensors["output.codes"] = tensors["output.codes"][:, :-1].contiguous()


def as_floats(tensors):
    tensors["output.codes"] = tensors["output.codes"].half()


def add(tensors):
    tensors["more"] = torch.zeros(1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop, "missing output.scale"),
        (shorten, r"the tensor output.codes has the shape \(704, \d+\), expected"),
        (as_floats, "the tensor output.codes holds torch.float16, expected torch.uint8"),
        (add, "left over more"),
    ],
)
def test_tensors_that_do_not_fit_are_named(folder, change, message):
    spoil(folder, change)
    with pytest.raises(ValueError, match=message):
        load(folder)


def test_a_bit_that_changed_is_found(folder):
    file = folder / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-1000] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged, or of another model"):
        load(folder)
    file.write_bytes(content[:1000])
    with pytest.raises(ValueError, match="is damaged"):
        load(folder)


@pytest.mark.parametrize(
    ("name", "bits", "message"),
    [
        ("output", 3, r"the tensor output.codes has the shape"),
        ("output", 1, "bits must be a whole number from 2 to 8, got 1"),
        ("head", 8, "there is no layer 'head' that can be quantised"),
    ],
)
def test_a_changed_scheme_is_refused(folder, name, bits, message):
    config = json.loads((folder / "config.json").read_text())
    change_config(folder, bits=config["bits"] | {name: bits})
    with pytest.raises(ValueError, match=message):
        load(folder)


def test_other_changes_of_the_scheme(folder):
    change_config(folder, symmetric=False)
    with pytest.raises(ValueError, match=r"missing .*zero_point"):
        load(folder)
    change_config(folder, symmetric=True, per_channel=False)
    with pytest.raises(ValueError, match=r"scale has the shape"):
        load(folder)
    change_config(folder, per_channel=True, width=64)
    with pytest.raises(ValueError, match="says width 64, but"):
        load(folder)
