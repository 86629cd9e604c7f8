"""The figure of chapter 17: point at a word of a caption, and switch the method that explains it.

Shapes: T words, N cells of the captioner's grid.
"""

import math

import numpy as np
import traitlets
from matplotlib import pyplot as plt

from mmcourse.book.figures import Figure, numbers, script
from mmcourse.book.figures.encoding import decode_png, encode_png
from mmcourse.book.plotting import show_scene
from mmcourse.interpretability import METHODS, things_named, word_map, word_score


def explain(captioner, scene):
    """What AttributionExplorer shows of a scene: every method's map of every word of its caption.

    The caption is written greedily.
    """
    words = captioner.caption(scene.image, "greedy").tokens
    pixels = captioner.pixels_of(scene.image[None])
    maps = {method: [] for method in METHODS}
    for place in range(len(words)):
        score = word_score(captioner, words, place)
        for method in METHODS:
            found = word_map(method, captioner, score, pixels, words, place)
            maps[method].append(found[0].tolist())
    return {
        "picture": scene.image,
        "words": words,
        "maps": maps,
        "boxes": [(thing.noun, thing.box) for thing in scene.objects],
    }


class AttributionExplorer(Figure):
    """Scenes to choose from: for each word of a caption, the map of each method over the picture.

    ``stories`` come from :func:`explain`. Each map is divided by its largest value, in hundredths;
    what is below 0 is left out. The N cells are a square.
    """

    _esm = script("attribution.js")
    stories = traitlets.List().tag(sync=True)

    def __init__(self, stories):
        if not stories:
            raise ValueError("stories must be a list with at least one story, as explain gives it")
        super().__init__(stories=[self.pack(**story) for story in stories])

    @staticmethod
    def pack(picture, words, maps, boxes):
        """A story as the page gets it: few characters, checked numbers."""
        packed = {}
        for method, values in maps.items():
            array = np.array(numbers(f"the maps of {method}", values, (len(words), "N")))
            if math.isqrt(array.shape[1]) ** 2 != array.shape[1]:
                raise ValueError(f"the N cells must form a square, got N = {array.shape[1]}")
            top = array.max(1, keepdims=True)
            share = np.divide(array, top, out=np.zeros_like(array), where=top > 0)
            packed[method] = (100 * share.clip(0)).round().astype(int).tolist()
        named = things_named(list(words))
        return {
            "picture": encode_png(picture),
            "size": picture.shape[:2],
            "words": list(words),
            "first": named[0].place if named else 0,
            "maps": packed,
            "boxes": [(name, [int(side) for side in box]) for name, box in boxes],
        }

    def draw(self):
        """The first scene's first noun, by each method."""
        story = self.stories[0]
        picture = decode_png(story["picture"])
        word = story["first"]
        columns = 4
        rows = -(-(1 + len(story["maps"])) // columns)
        figure, axes = plt.subplots(rows, columns, figsize=(7.2, 2 * rows), squeeze=False)
        places = iter(axes.flat)
        names = [name for name, _ in story["boxes"]]
        boxes = [box for _, box in story["boxes"]]
        show_scene(picture, boxes=boxes, labels=names, axes=next(places), title="the truth")
        for method, maps in story["maps"].items():
            side = math.isqrt(len(maps[word]))
            weights = np.reshape(maps[word], (side, side)) + 1e-9
            show_scene(picture, weights=weights, axes=next(places), title=method)
        for empty in places:
            empty.axis("off")
        figure.suptitle(f"Where “{story['words'][word]}” comes from, by each method")
        return figure
