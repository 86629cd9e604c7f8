"""Where did it look, and did it need what lies there? Pointing, and erasing.

Boxes are (x0, y0, x1, y1) in pixels, x1 and y1 exclusive. A grid has N cells, a picture S pixels a
side.
"""

import math
from random import Random

import numpy as np

from mmcourse.data.backgrounds import paint
from mmcourse.data.language import phrase_book
from mmcourse.vqa.reading import named_in


def asked_things(scene, question):
    """The objects of a scene that a question names or that are its answer, a list.

    ``question`` has ``text`` and ``answer``.
    """
    book, _ = phrase_book()
    names = set()
    for phrase in (*named_in(question.text), question.answer):
        kind, name = book.get(tuple(phrase.split()), (None, None))
        if kind == "object":
            names.add(name)
    return [thing for thing in scene.objects if thing.noun in names]


def pointed_at(weights, size):
    """The middle (x, y) in pixels of the cell with the largest of N weights; S is ``size``."""
    side = math.isqrt(len(weights))
    row, column = divmod(int(np.argmax(weights)), side)
    step = size / side
    return (column + 0.5) * step, (row + 0.5) * step


def hits(point, boxes):
    """Whether a point (x, y) lies in one of the boxes."""
    x, y = point
    return any(x0 <= x < x1 and y0 <= y < y1 for x0, y0, x1, y1 in boxes)


def empty(dataset, scene):
    """The background of a scene (S, S, 3) without its things, pixel by pixel as it was painted.

    ``dataset`` is the :class:`~mmcourse.data.scenes.EmojiScenes` that the scene comes from.
    """
    rng = Random(scene.key)
    description = dataset.describe(rng)  # takes the same random numbers as before
    return np.array(paint(description.background, dataset.size, rng))


def erase(image, background, boxes, margin=2):
    """A copy of the picture in which the boxes, each wider by ``margin``, show the background.

    A box is tight around what is opaque; the soft edge of a drawing lies outside.
    """
    found = image.copy()
    for x0, y0, x1, y1 in boxes:
        rows = slice(max(0, y0 - margin), y1 + margin)
        columns = slice(max(0, x0 - margin), x1 + margin)
        found[rows, columns] = background[rows, columns]
    return found


def elsewhere(boxes, avoid, size, rng, tries=200):
    """For each box one of the same size, where it touches none to ``avoid`` and none of the others.

    None where ``tries`` draws found no place for one of them.
    """
    found = []
    for x0, y0, x1, y1 in boxes:
        width, height = x1 - x0, y1 - y0
        for _ in range(tries):
            x, y = rng.randint(0, size - width), rng.randint(0, size - height)
            box = (x, y, x + width, y + height)
            if not any(touch(box, other) for other in (*avoid, *found)):
                found.append(box)
                break
        else:
            return None
    return found


def touch(first, second):
    """Whether two boxes share a pixel."""
    return all(first[axis] < second[axis + 2] and second[axis] < first[axis + 2] for axis in (0, 1))
