"""The recipe of ``clips``, the studies of chapter 07, and the shipped reader."""

import json
from zlib import crc32

import numpy as np
import pytest
import torch

from mmcourse.data.clips import MovingScenes
from mmcourse.hub import SHIPPED, load
from mmcourse.recipes import video as recipe
from mmcourse.recipes import video_studies as studies
from mmcourse.video import ClipReader, knows_direction, reads_rightly, shuffled, targets_of

DIGEST = 1778997219  # of the facts of some clips that the stored study was measured on


def test_a_batch_is_its_clips():
    data = MovingScenes("train")
    clips = [data[0], data[1], data[2]]
    batch = recipe.collate(clips)
    assert batch["frames"].shape == (3, 8, 32, 32, 3) and batch["frames"].dtype == torch.uint8
    for row, clip in enumerate(clips):
        assert np.array_equal(batch["frames"][row], clip.frames)
        assert batch["targets"][row].tolist() == targets_of(clip.event, clip.nouns)


def test_a_few_steps_teach_something_and_go_on_as_if_never_stopped(tmp_path):
    small = {"steps": 30, "judged": 20, "learning_rate": 3e-3}
    whole = recipe.train("clips", tmp_path / "whole", **small, log_every=10, save_every=10)
    assert whole[-1]["loss"] < whole[0]["loss"] - 0.03  # the share of each answer, at least
    assert {"direction", "caption"} <= set(whole[-1])

    class Stop(Exception):
        pass

    calls = []

    def stopping(model, batch, before=recipe.loss):
        calls.append(1)
        if len(calls) > 15:
            raise Stop
        return before(model, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "loss", stopping)
        with pytest.raises(Stop):
            recipe.train("clips", tmp_path / "cut", **small, log_every=10, save_every=10)
    again = recipe.train("clips", tmp_path / "cut", **small, log_every=10, save_every=10)
    assert again[-1]["loss"] == whole[-1]["loss"]
    first = ClipReader.from_pretrained(tmp_path / "whole").state_dict()
    second = ClipReader.from_pretrained(tmp_path / "cut").state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_arms_see_what_they_may():
    frames = np.stack([MovingScenes("train")[number].frames for number in range(3)])
    assert studies.as_seen_by("joint", frames, 0) is frames
    one = studies.as_seen_by("one frame", frames, 0)
    assert one.shape == (3, 1, 32, 32, 3)
    assert any((one[0, 0] == frame).all() for frame in frames[0])
    sample = studies.SeenClips("one frame")[5]
    assert sample.frames.shape == (1, 32, 32, 3)
    assert np.array_equal(sample.frames, studies.SeenClips("one frame")[5].frames)


@pytest.fixture(scope="module")
def arms():
    return studies.read()


def shares(row, name):
    return [studies.unpacked(seed[name]).mean() for seed in row["seeds"]]


def test_the_arms_are_equal_but_for_the_encoder(arms):
    rows = {row["arm"]: row for row in arms["rows"]}
    assert list(rows) == list(studies.ARMS)
    counts = [row["parameters"] for name, row in rows.items() if name != "one frame"]
    assert max(counts) / min(counts) < 1.08
    for row in rows.values():
        assert [seed["seed"] for seed in row["seeds"]] == list(studies.SEEDS)
        assert sum(seed["cpu seconds"] for seed in row["seeds"]) > 0
        for seed in row["seeds"]:
            for split, count in arms["clips"].items():
                assert len(seed[split]) == len(seed[f"{split} captions"]) == count


def test_who_cannot_know_is_at_a_half(arms):
    rows = {row["arm"]: row for row in arms["rows"]}
    for name in ("one frame", "mean of frames"):
        assert abs(np.mean(shares(rows[name], "val")) - 0.5) < 0.05
    for name in ("factorised", "joint", "divided", "tubelets"):
        assert np.mean(shares(rows[name], "val")) > 0.6
        assert abs(np.mean(shares(rows[name], "val shuffled")) - 0.5) < 0.07


def test_stored_flags_are_of_the_clips_of_now(arms):
    """The study's clips are made again by the page: that they have not changed since."""
    path = studies.path_of("video_arms")
    assert json.loads(path.read_text())["clips"] == studies.TESTED
    facts = []
    for split in studies.TESTED:
        data = MovingScenes(split)
        facts += [(data[number].event, data[number].nouns) for number in range(100)]
    assert crc32(repr(facts).encode()) == DIGEST, "other clips: measure the arms again"


@pytest.fixture(scope="module")
def shipped():
    return load("clips")


def test_the_shipped_reader_knows_the_direction(shipped):
    frames, facts = recipe.seen("val", 0, 200)
    scores = shipped.read(frames)
    assert knows_direction(scores, facts).float().mean() > 0.8
    assert reads_rightly(scores, facts).float().mean() > 0.5
    mixed = shipped.read(shuffled(frames))
    assert abs(knows_direction(mixed, facts).float().mean() - 0.5) < 0.15


def test_the_shipped_reader_is_small_and_has_a_card():
    assert sum(file.stat().st_size for file in (SHIPPED / "clips").iterdir()) < 1_500_000
    card = (SHIPPED / "clips" / "README.md").read_text(encoding="utf-8")
    assert "python -m mmcourse.recipes.video" in card


def test_two_more_trainings_of_the_recipe_reach_the_goal_too():
    rows = studies.read("long")["rows"]
    assert [row["seed"] for row in rows] == list(studies.SEEDS)
    for row in rows:
        assert studies.unpacked(row["val"]).mean() >= 0.9
        assert abs(studies.unpacked(row["val shuffled"]).mean() - 0.5) < 0.07
