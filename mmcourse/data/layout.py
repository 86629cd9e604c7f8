"""Where things stand in a scene, so that none covers another and every relation is plain to see.

A layout is a tree. A leaf is a thing, a row puts two parts one beside the other or one above
the other.
"""

from typing import NamedTuple

HORIZONTAL = 0
VERTICAL = 1
PLAY = 4  # pixels by which two things of a row may be out of line


class Leaf(NamedTuple):
    """A thing that needs a square."""

    pixels: int  #: the side of the square
    index: int  #: which thing it is


class Row(NamedTuple):
    """Two parts in a row, each a leaf or a row."""

    axis: int  #: HORIZONTAL or VERTICAL
    first: tuple  #: the one on the left, or above
    second: tuple  #: the one on the right, or below


def layout(relation, groups, rng):
    """The tree of one or two groups, which are lists of leaves.

    ``relation`` is that of the first group to the second, None for one group. Two groups form a row
    along the relation, and the things of each group a row across it. One group starts with either
    axis, and its rows alternate.
    """
    if relation is None:
        (leaves,) = groups
        return _alternate(leaves, rng.randrange(2))
    axis = HORIZONTAL if relation in ("left of", "right of") else VERTICAL
    first, second = (_in_line(leaves, 1 - axis) for leaves in groups)
    if relation in ("right of", "below"):
        return Row(axis, second, first)
    return Row(axis, first, second)


def _in_line(leaves, axis):
    """All leaves in rows along one axis."""
    tree = leaves[0]
    for leaf in leaves[1:]:
        tree = Row(axis, tree, leaf)
    return tree


def _alternate(leaves, axis):
    """Each further leaf beside or below what is there, in turn."""
    tree = leaves[0]
    for leaf in leaves[1:]:
        tree = Row(axis, tree, leaf)
        axis = 1 - axis
    return tree


def extent(tree):
    """Width and height that a layout needs."""
    if isinstance(tree, Leaf):
        return tree.pixels, tree.pixels
    first_width, first_height = extent(tree.first)
    second_width, second_height = extent(tree.second)
    if tree.axis == HORIZONTAL:
        return first_width + second_width, max(first_height, second_height)
    return max(first_width, second_width), first_height + second_height


def place(tree, region, rng):
    """The corner (x, y) of each leaf in the region (x0, y0, x1, y1): a dict by its index."""
    low = list(region[:2])
    high = list(region[2:])
    if isinstance(tree, Leaf):
        x = rng.randint(low[0], high[0] - tree.pixels)
        y = rng.randint(low[1], high[1] - tree.pixels)
        return {tree.index: (x, y)}
    axis = tree.axis
    across = 1 - axis
    need = extent(tree)
    # one band for both parts, so that "left of" never looks like "above"
    band = min(need[across] + PLAY, high[across] - low[across])
    low[across] += rng.randint(0, high[across] - low[across] - band)
    high[across] = low[across] + band
    spare = high[axis] - low[axis] - need[axis]
    border = low[axis] + extent(tree.first)[axis] + rng.randint(0, spare)
    end_of_first = list(high)
    end_of_first[axis] = border
    start_of_second = list(low)
    start_of_second[axis] = border
    corners = place(tree.first, (*low, *end_of_first), rng)
    return corners | place(tree.second, (*start_of_second, *high), rng)
