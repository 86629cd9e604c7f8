"""Pictures and their texts in one space, and whom each of them finds.

Shapes: n pairs, E numbers of an embedding, S side of a picture in pixels.
"""

import numpy as np
import traitlets
from matplotlib import pyplot as plt
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from mmcourse.book.figures import Figure, numbers, script, words
from mmcourse.book.figures.encoding import decode_png, encode_png
from mmcourse.book.plotting import BLUE, GREY, INK, PAPER, WEIGHTS


class SpaceExplorer(Figure):
    """``pictures``, uint8 (S, S, 3), and as many ``texts``; picture i belongs to text i.

    ``image`` and ``text`` are their embeddings (n, E); ``scale`` is what cosines are multiplied by
    at first, from 1 to 100.
    """

    _esm = script("space.js")
    pictures = traitlets.List().tag(sync=True)
    texts = traitlets.List().tag(sync=True)
    cosines = traitlets.List().tag(sync=True)
    places = traitlets.List().tag(sync=True)
    scale = traitlets.Float().tag(sync=True)

    def __init__(self, pictures, texts, image, text, scale=14.3):
        count = len(pictures)
        texts = words("texts", texts, count)
        image = rows_of_length_one("image", image, count)
        text = rows_of_length_one("text", text, count)
        if not 1 <= scale <= 100:
            raise ValueError(f"scale must lie between 1 and 100, got {scale}")
        super().__init__(
            pictures=[encode_png(picture) for picture in pictures],
            texts=texts,
            cosines=np.round(image @ text.T, 4).tolist(),
            places=flat_places(np.concatenate([image, text])),
            scale=float(scale),
        )

    def draw(self):
        """The map, and the table of cosines."""
        figure, (axes, table) = plt.subplots(1, 2, figsize=(7.2, 3.4))
        count = len(self.pictures)
        places = np.array(self.places)
        own = zip(places[:count], places[count:], strict=True)
        for number, ((x, y), (u, v)) in enumerate(own):
            axes.plot([x, u], [y, v], color=GREY, linewidth=0.8, zorder=0)
            picture = OffsetImage(decode_png(self.pictures[number]), zoom=0.4)
            axes.add_artist(AnnotationBbox(picture, (x, y), frameon=False))
            axes.text(
                *(u, v, str(number + 1)),
                ha="center",
                va="center",
                fontsize=8,
                bbox={"boxstyle": "circle", "facecolor": PAPER, "edgecolor": BLUE},
            )
        axes.set(xlim=(-0.12, 1.12), ylim=(1.12, -0.12), xticks=[], yticks=[])
        axes.set_title("squares: pictures; circles: texts")
        cosines = np.array(self.cosines)
        table.imshow(cosines, cmap=WEIGHTS, vmin=0, vmax=1)
        for (row, column), cosine in np.ndenumerate(cosines):
            value = f"{cosine:.1f}".replace("-0.0", "0.0")
            colour = PAPER if cosine > 0.5 else INK
            table.text(column, row, value, ha="center", va="center", fontsize=8, color=colour)
        labels = range(1, count + 1)
        table.set(xticks=range(count), yticks=range(count), xlabel="text", ylabel="picture")
        table.set(xticklabels=labels, yticklabels=labels, title="cosines")
        return figure


def rows_of_length_one(name, rows, count):
    """Embeddings (n, E) as an array of unit rows. ValueError where one has no direction."""
    rows = np.array(numbers(name, rows, (count, "E")))
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not lengths.all():
        raise ValueError(f"{name} must have a direction in each row, got a row of zeros")
    return rows / lengths


def flat_places(rows):
    """Places (2 n, 2) between 0 and 1 for rows (2 n, E): their two principal components.

    The mean of the pictures and that of the texts are taken away first, so that the gap between the
    two does not fill the map.
    """
    count = len(rows) // 2
    centred = np.concatenate([half - half.mean(0) for half in (rows[:count], rows[count:])])
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    places = np.zeros((len(rows), 2))
    flat = centred @ directions[:2].T  # (2 n, 2), or one column where E is 1
    places[:, : flat.shape[1]] = flat
    low = places.min(0)
    span = np.maximum(places.max(0) - low, 1e-9)
    return np.round((places - low) / span, 4).tolist()
