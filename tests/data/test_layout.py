"""Layouts: trees of things, and where their leaves are put."""

from random import Random

import pytest

from mmcourse.data.layout import HORIZONTAL, VERTICAL, Leaf, Row, extent, layout, place

A, B, C, D = (Leaf(pixels, index) for index, pixels in enumerate((10, 20, 30, 5)))


def test_extent_by_hand():
    assert extent(A) == (10, 10)
    assert extent(Row(HORIZONTAL, A, B)) == (30, 20)
    assert extent(Row(VERTICAL, A, B)) == (20, 30)
    assert extent(Row(VERTICAL, Row(HORIZONTAL, A, B), C)) == (30, 50)


@pytest.mark.parametrize(
    "relation, expected",
    [
        ("left of", Row(HORIZONTAL, Row(VERTICAL, A, B), C)),
        ("right of", Row(HORIZONTAL, C, Row(VERTICAL, A, B))),
        ("above", Row(VERTICAL, Row(HORIZONTAL, A, B), C)),
        ("below", Row(VERTICAL, C, Row(HORIZONTAL, A, B))),
    ],
)
def test_two_groups_lie_along_their_relation(relation, expected):
    assert layout(relation, [[A, B], [C]], Random(0)) == expected


def test_one_group_alternates_and_starts_either_way():
    found = {layout(None, [[A, B, C]], Random(seed)) for seed in range(20)}
    across = Row(VERTICAL, Row(HORIZONTAL, A, B), C)
    down = Row(HORIZONTAL, Row(VERTICAL, A, B), C)
    assert found == {across, down}
    assert layout(None, [[A]], Random(0)) == A


@pytest.mark.parametrize("relation", ["left of", "right of", "above", "below"])
def test_places_are_inside_apart_and_in_order(relation):
    pixels = [leaf.pixels for leaf in (A, B, C, D)]
    firsts = set()
    for seed in range(200):
        tree = layout(relation, [[A, B], [C, D]], Random(seed))
        corners = place(tree, (3, 4, 67, 70), Random(seed))
        assert sorted(corners) == [0, 1, 2, 3]
        boxes = [(*corners[i], *(part + pixels[i] for part in corners[i])) for i in range(4)]
        for x0, y0, x1, y1 in boxes:
            assert 3 <= x0 < x1 <= 67 and 4 <= y0 < y1 <= 70
        axis = 0 if relation in ("left of", "right of") else 1
        first, second = boxes[:2], boxes[2:]
        if relation in ("right of", "below"):
            first, second = second, first
        assert max(box[axis + 2] for box in first) <= min(box[axis] for box in second)
        middles = [
            [sum(box[part] for box in group for part in (1 - axis, 3 - axis)) / 4]
            for group in (first, second)
        ]
        assert abs(middles[0][0] - middles[1][0]) < 40
        firsts.add(corners[0])
    assert len(firsts) > 50, "anywhere that fits"
