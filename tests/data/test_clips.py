"""MovingScenes: determined by (split, index), honest splits, and nothing but the order tells."""

from random import Random

import numpy as np
import pytest

from mmcourse.data.clips import (
    BACKWARDS,
    EVENTS,
    FRAMES,
    KINDS,
    NOUNS,
    STEPS,
    TRACKS,
    MovingScenes,
    all_captions,
    as_gif,
    blinking,
    clip_caption,
    clip_question,
    kind_of,
    novelty,
    opposite,
)
from mmcourse.data.drawings import HELD_OUT_STYLE
from mmcourse.data.splits import held_out


@pytest.fixture(scope="module")
def clips():
    data = MovingScenes("train")
    return [data[number] for number in range(600)]


def test_a_clip_depends_on_split_and_index_alone(clips):
    again = MovingScenes("train")[17]
    assert np.array_equal(again.frames, clips[17].frames) and again[1:] == clips[17][1:]
    other = MovingScenes("val")[17]
    assert not np.array_equal(other.frames, clips[17].frames)
    assert again.frames.shape == (FRAMES, 32, 32, 3) and again.frames.dtype == np.uint8


@pytest.mark.parametrize("index", [-1, 1.5, "3"])
def test_an_index_is_a_number_from_zero(index):
    with pytest.raises((IndexError, TypeError, ValueError)):
        MovingScenes("train")[index]


def test_unknown_split():
    with pytest.raises(ValueError, match="choose one of train, val, composition, style"):
        MovingScenes("test")


def test_backwards_twice_is_the_clip(clips):
    for clip in clips[:50]:
        turned = clip.backwards()
        assert np.array_equal(turned.frames, clip.frames[::-1])
        assert turned.caption != clip.caption and turned.answer != clip.answer
        assert turned.question == clip.question
        again = turned.backwards()
        assert np.array_equal(again.frames, clip.frames)
        assert (again.event, again.nouns, again.when) == (clip.event, clip.nouns, clip.when)


def test_forwards_and_backwards_are_equally_likely(clips):
    for kind, events in KINDS.items():
        of_kind = [clip for clip in clips if clip.kind == kind]
        first = events[0]
        if kind == "order":
            share = np.mean([clip.nouns[0] < clip.nouns[1] for clip in of_kind])
        elif kind == "motion":
            share = np.mean([clip.event in ("left", "up") for clip in of_kind])
        else:
            share = np.mean([clip.event == first for clip in of_kind])
        assert abs(share - 0.5) < 4 * 0.5 / len(of_kind) ** 0.5, kind


def test_when_is_when_frames_change(clips):
    for clip in clips[:200]:
        changes = [
            number
            for number in range(1, FRAMES)
            if not np.array_equal(clip.frames[number], clip.frames[number - 1])
        ]
        if clip.kind == "order":
            touched = {n for gone in clip.when for n in (gone, gone + 1) if 0 < n < FRAMES}
            assert set(changes) == touched
        else:
            assert len(clip.when) == STEPS + 1
            assert set(changes) <= set(clip.when[1:]) and len(changes) >= STEPS - 1


@pytest.mark.parametrize(("event", "axis"), [("right", 0), ("down", 1)])
def test_things_go_where_the_caption_says(event, axis):
    done = [0, 0, 1, 2, 3, 3, 3, 3]
    for seed in range(60):
        (track,) = TRACKS[event](done, Random(seed))
        steps = np.diff([place[axis] for place in track])
        assert (steps > 0).tolist() == (np.diff(done) > 0).tolist() and set(steps) <= {0, 3, 4}
        assert len({place[1 - axis] for place in track}) == 1
        for place in (track[0], track[-1]):
            assert 0 <= place[axis] <= 32 - place[2]


def test_things_that_meet_come_nearer_and_overlap_by_two_pixels_at_most():
    done = [0, 1, 2, 3, 3, 3, 3, 3]
    for seed in range(60):
        first, second = (np.array(track) for track in TRACKS["meet"](done, Random(seed)))
        distance = np.abs(first[:, :2] - second[:, :2]).max(1)
        assert (np.diff(distance)[:3] < 0).all() and (distance >= first[0, 2] - 2).all()


def test_things_get_larger_or_smaller(clips):
    for clip in [clip for clip in clips if clip.kind == "size"][:40]:
        first, last = clip.frames[0].astype(int), clip.frames[-1].astype(int)
        changed = np.abs(first - last).sum(-1) > 60
        assert changed.any()
        assert clip.when[-1] - clip.when[0] == STEPS


def test_training_shows_nothing_that_is_held_out(clips):
    for clip in clips:
        assert novelty(clip.event, clip.nouns) is None
        event, nouns = opposite(clip.event, clip.nouns)
        assert novelty(event, nouns) is None  # what is held out is held out both ways
    new = MovingScenes("composition")
    found = {novelty(new[number].event, new[number].nouns) for number in range(150)}
    assert found == {"way", "pair"}


def test_each_kind_of_novelty_exists_and_is_closed_backwards():
    for event in EVENTS:
        for noun in NOUNS:
            if kind_of(event) in ("motion", "size"):
                turned = BACKWARDS[event]
                assert novelty(event, (noun,)) == novelty(turned, (noun,))
    assert novelty("right", ("car",)) == novelty("left", ("car",)) == "way"
    assert novelty("blink", ("tree", "house")) == novelty("meet", ("house", "tree")) == "pair"
    assert held_out("tree", "house")


def test_the_style_split_has_the_held_out_artist(monkeypatch):
    from mmcourse.data import clips as module

    seen = set()
    before = module.cut_out
    monkeypatch.setattr(module, "cut_out", lambda *a: (seen.add(a[1]), before(*a))[1])
    MovingScenes("style")[3]
    assert seen == {HELD_OUT_STYLE}
    seen.clear()
    MovingScenes("val")[3]
    assert seen and HELD_OUT_STYLE not in seen


def test_captions_and_questions():
    assert clip_caption("left", ("apple",)) == "an apple moves left"
    assert clip_caption("shrink", ("star",)) == "a star shrinks"
    assert clip_caption("part", ("fish", "star")) == "a fish and a star part"
    assert clip_caption("blink", ("fish", "apple")) == "a fish blinks before an apple"
    assert clip_question("up", ("car",)) == "does the car move up ?"
    assert clip_question("grow", ("car",)) == "does the car grow ?"
    assert clip_question("meet", ("car", "fish")) == "do the car and the fish meet ?"
    assert clip_question("blink", ("car", "fish")) == "does the car blink before the fish ?"


def test_a_caption_has_one_meaning(clips):
    table = all_captions()
    assert len(table) == 8 * 4 + 8 * 2 + 2 * 28 + 56
    for clip in clips:
        assert table[clip.caption] == (clip.event, clip.nouns)


def test_a_gif_is_the_clip(tmp_path, clips):
    from mmcourse.video import read_clip

    as_gif(clips[0].frames, tmp_path / "clip.gif")
    read = read_clip(tmp_path / "clip.gif").astype(int)
    assert np.abs(read - clips[0].frames).mean() < 6  # it has 256 colours a frame


class OtherCoin(Random):
    """Draws as Random does, but for the draw number ``turned`` of ``randrange(2)``, which it turns.

    It counts these draws in ``tosses``. Draws that the methods of Random make are not among them.
    """

    turned = None
    tosses = 0

    def randrange(self, *limits):
        found = super().randrange(*limits)
        if limits != (2,):
            return found
        OtherCoin.tosses += 1
        return 1 - found if OtherCoin.tosses == OtherCoin.turned else found


@pytest.mark.parametrize("split", ["val", "composition", "style"])
def test_the_last_coin_alone_turns_a_clip(monkeypatch, split):
    """So a clip and the clip backwards are equally likely: the theorem of chapter 07."""
    monkeypatch.setattr("mmcourse.data.clips.Random", OtherCoin)
    data = MovingScenes(split)
    kinds = set()
    for number in range(40):
        OtherCoin.tosses, OtherCoin.turned = 0, None
        clip = data[number]
        OtherCoin.turned, OtherCoin.tosses = OtherCoin.tosses, 0
        other, turned = data[number], clip.backwards()
        assert np.array_equal(other.frames, turned.frames)
        assert other[1:-1] == turned[1:-1]  # all but the key
        assert not np.array_equal(other.frames, clip.frames)
        kinds.add(clip.kind)
    assert kinds == set(KINDS)


def share_is(flags, expected):
    """Whether a share is what it should be, within four standard deviations."""
    return abs(np.mean(flags) - expected) < 4 * (expected * (1 - expected) / len(flags)) ** 0.5


def test_nothing_beside_the_clip_tells(clips):
    for kind in KINDS:
        of_kind = [clip for clip in clips if clip.kind == kind]
        assert share_is([clip.answer == "yes" for clip in of_kind], 0.5), kind
        for place in ("paper", "dots", "stripes", "snow", "room", "sunset"):
            assert share_is([clip.background == place for clip in of_kind], 1 / 6), (kind, place)


def test_questions_ask_for_either_event(clips):
    for kind, (first, *_) in KINDS.items():
        asked = [clip for clip in clips if clip.event in (first, BACKWARDS[first])]
        true = [clip.answer == "yes" for clip in asked]
        said = [clip.question == clip_question(first, clip.nouns) for clip in asked]
        if kind != "order":
            assert share_is(said, 0.5), kind
        assert share_is(true, 0.5), kind


def test_the_ground_is_that_of_the_clip(monkeypatch):
    from mmcourse.data import clips as module

    painted = []
    before = module.paint
    monkeypatch.setattr(module, "paint", lambda *a: (painted.append(a[0]), before(*a))[1])
    made = [MovingScenes("train")[number] for number in range(60)]
    assert painted == [clip.background for clip in made]


def test_each_blinks_at_either_side_and_moving_things_stand_everywhere():
    firsts = [TRACKS["right"]([0] * 8, Random(seed))[0][0][0] for seed in range(200)]
    assert min(firsts) == 0 and max(firsts) >= 10
    sides = []
    for seed in range(100):
        first, second = blinking((1, 4), Random(seed))
        assert first[1] is None and second[4] is None and first.count(None) == 1
        sides.append(first[0][:2] < second[0][:2])
    assert share_is(sides, 0.5)


def test_what_the_page_says_of_the_new():
    """Three ways of one noun each and four pairs: chapter 07 and the card of ``clips``."""
    ways = {(way, noun) for way in ("left", "up", "grow") for noun in NOUNS if held_out(way, noun)}
    assert ways == {("left", "car"), ("grow", "fish"), ("up", "star")}
    pairs = {(a, b) for a in NOUNS for b in NOUNS if a < b and held_out(a, b)}
    assert len(pairs) == 4
