"""The case study of driving: the road, its truth, fog, and what a missing side may change."""

import numpy as np
import pytest
import torch

from mmcourse.case_studies.driving import (
    ARMS,
    BEAMS,
    BRAKE,
    FAR,
    HIGH,
    SOLID,
    WIDE,
    CameraAndRange,
    filled,
    fit,
    make_roads,
    paste,
    predict,
)
from mmcourse.evaluation import auroc


@pytest.mark.parametrize("count, seed, fog", [(1, 0, 0.0), (7, 3, 0.05), (40, 1, 0.2)])
def test_roads_are_what_was_promised(count, seed, fog):
    roads = make_roads(count, seed, fog)
    assert roads.pictures.shape == (count, 3, HIGH, WIDE) and roads.ranges.shape == (count, BEAMS)
    assert roads.pictures.min() >= 0 and roads.pictures.max() <= 1
    assert roads.ranges.min() >= 0 and roads.ranges.max() <= FAR
    for things, brake in zip(roads.things, roads.brake, strict=True):
        must = any(noun in SOLID and lane == 0 and far < BRAKE for noun, far, lane in things)
        assert must == brake
    again = make_roads(count, seed, fog)
    assert (again.pictures == roads.pictures).all() and again.things == roads.things


def test_fog_leaves_more_of_what_is_near():
    roads = make_roads(300, fog=0.08)
    nearest = np.array([min(metres for _, metres, _ in things) for things in roads.things])
    spread = roads.pictures.std((1, 2, 3))
    near, middle, far = (
        spread[(low < nearest) & (nearest < high)].mean()
        for low, high in ((6, 9), (9, 20), (20, 45))
    )
    assert near > 1.3 * middle and middle > 1.1 * far
    assert abs(far - 0.03) < 0.01  # the noise of the camera and little else


def test_fog_changes_what_is_seen_and_not_what_is_true():
    clear, foggy = make_roads(60), make_roads(60, fog=0.1)
    assert clear.things == foggy.things and (clear.brake == foggy.brake).all()
    assert foggy.pictures.std() < 0.8 * clear.pictures.std()
    assert (foggy.ranges == FAR).mean() > (clear.ranges == FAR).mean() + 0.03


def test_the_range_finder_hears_what_stands_in_the_lane():
    roads = make_roads(200, seed=4)
    middle = roads.ranges[:, BEAMS // 2 - 1 : BEAMS // 2 + 1].min(1)
    own = [[far for _, far, lane in things if lane == 0] for things in roads.things]
    gaps = [abs(heard - far[0]) for heard, far in zip(middle, own, strict=True) if far]
    assert np.median(gaps) < 1 and np.mean(np.array(gaps) < 2) > 0.8


def test_a_drawing_is_laid_over_a_picture_where_it_is_opaque():
    picture = np.zeros((4, 5, 3), np.float32)
    drawn = np.ones((3, 3, 4), np.float32)
    drawn[0, 0, 3] = 0.0
    paste(picture, drawn, -1, 3, haze=0.0)
    expected = np.zeros((4, 5))
    expected[:2, 3:] = 1
    assert (picture[..., 0] == expected).all()
    paste(picture, drawn, 9, 9, haze=0.0)  # outside
    assert (picture[..., 0] == expected).all()
    paste(picture, drawn, 2, 0, haze=50.0)
    assert picture[3, 1] == pytest.approx([0.7, 0.7, 0.7], abs=1e-5)


def test_a_road_says_what_it_needs():
    for count, fog in ((0, 0.0), (3, -1.0)):
        with pytest.raises(ValueError, match="expected one scene or more"):
            make_roads(count, fog=fog)


def test_what_is_missing_changes_nothing():
    torch.manual_seed(0)
    model = CameraAndRange().eval()
    pictures, ranges = torch.rand(3, 3, HIGH, WIDE), 60 * torch.rand(3, BEAMS)
    there, gone = torch.ones(3, 1, dtype=torch.bool), torch.zeros(3, 1, dtype=torch.bool)
    with torch.no_grad():
        for seen, heard in ((True, False), (False, True)):
            other = (there, gone) if seen else (gone, there)
            before = model(pictures, ranges, *other)
            assert (model(1 - pictures, ranges, *other) != before).any() == seen
            assert (model(pictures, 60 - ranges, *other) != before).any() == heard
        both = model(pictures, ranges, there, there)
        mixed = model(pictures, ranges, torch.tensor([[True], [False], [True]]), there)
    assert torch.allclose(mixed[[0, 2]], both[[0, 2]], atol=1e-6) and mixed[1] != both[1]


def test_an_arm_of_one_side_never_sees_the_other():
    roads = make_roads(60)
    other = make_roads(60, seed=9)
    for arm, side in (("camera", "ranges"), ("range", "pictures")):
        model = fit(roads, arm, 0, steps=3)
        changed = roads._replace(**{side: getattr(other, side)})
        assert (predict(model, roads, arm) == predict(model, changed, arm)).all()
        same = fit(changed, arm, 0, steps=3)
        assert (predict(same, roads, arm) == predict(model, roads, arm)).all()


@pytest.mark.parametrize("arm", ARMS)
def test_a_few_steps_learn_something_and_are_the_same_twice(arm):
    roads = make_roads(80)
    said = predict(fit(roads, arm, 0, steps=80), roads, arm)
    assert auroc(said, roads.brake) > 0.65
    assert (predict(fit(roads, arm, 0, steps=80), roads, arm) == said).all()


def test_dropout_is_what_its_arm_adds():
    roads = make_roads(60)
    runs = [fit(roads, *way, steps=4, **share) for way, share in (
        (("both", 0), {}), (("both, dropout", 0), {"dropped": 0.0}), (("both, dropout", 0), {}),
    )]  # fmt: skip
    plain, none, some = (predict(model, roads, "both") for model in runs)
    # drop_sides draws numbers even where it hides nothing, so only the first batch is the same
    assert plain.shape == none.shape == some.shape and (none != some).any()
    assert not (runs[0].fusion.no_image != fit(roads, "both", 0, steps=1).fusion.no_image).any()
    assert (runs[2].fusion.no_image != runs[0].fusion.no_image).any()


def test_a_side_is_filled_with_its_mean():
    roads, like = make_roads(5), make_roads(9, seed=2)
    found = filled(roads, like, "ranges")
    assert found.ranges == pytest.approx(np.tile(like.ranges.mean(0), (5, 1)))
    assert (found.pictures == roads.pictures).all() and (found.brake == roads.brake).all()
    with pytest.raises(ValueError, match="pictures or ranges, got 'brake'"):
        filled(roads, like, "brake")
    with pytest.raises(ValueError, match="arm must be one of camera"):
        fit(roads, "all", 0)
