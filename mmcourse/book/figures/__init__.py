"""Figures that answer back.

The numbers come from Python; the arithmetic and the drawing happen in the page. A figure is an
anywidget whose traits are its data, so it works in JupyterLab and, without a server, in the book.
"""

import base64
import io
from pathlib import Path

import anywidget
import matplotlib.pyplot as plt
import numpy as np

from mmcourse.book import plotting

HERE = Path(__file__).parent
COLOURS = ("INK", "GREY", "PAPER", "BLUE", "ORANGE", "TEAL", "PINK", "GOLD")


def script(name):
    """The JavaScript of a figure: common.js, then its own file."""
    common = (HERE / "common.js").read_text(encoding="utf-8")
    own = (HERE / name).read_text(encoding="utf-8")
    return f"{common}\n{own}"


def style():
    """The CSS of all figures: the colours of :mod:`mmcourse.book.plotting`, then figures.css."""
    colours = [f"  --{name.lower()}: {getattr(plotting, name)};\n" for name in COLOURS]
    rules = (HERE / "figures.css").read_text(encoding="utf-8")
    return ".mm-figure {\n" + "".join(colours) + "}\n" + rules


class Figure(anywidget.AnyWidget):
    """The base. A figure has ``_esm = script("its.js")``, traits, and ``draw``, a still picture."""

    _css = style()

    def _repr_mimebundle_(self, **options):
        """The live figure; and the still one, for paper and without scripts, as SVG and PNG."""
        data, metadata = super()._repr_mimebundle_(**options)
        picture = self.draw()
        vectors = io.StringIO()
        picture.savefig(vectors, format="svg", bbox_inches="tight", metadata={"Date": None})
        pixels = io.BytesIO()
        picture.savefig(pixels, format="png", bbox_inches="tight")
        plt.close(picture)
        data["text/plain"] = f"{type(self).__name__}()"
        data["image/svg+xml"] = vectors.getvalue()
        data["image/png"] = base64.b64encode(pixels.getvalue()).decode()
        return data, metadata


def numbers(name, value, shape):
    """``value`` as (nested) lists of numbers, if all are finite and it has this ``shape``.

    A letter in ``shape`` is any length of at least 1. Raises ValueError, with the ``name``.
    """
    expected = f"{name} must be finite numbers of shape ({', '.join(map(str, shape))})"
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{expected}, but: {error}") from None
    if not fits(array.shape, shape):
        raise ValueError(f"{expected}, got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{expected}, got shape {array.shape} with NaN or infinity in it")
    return array.tolist()


def fits(found, shape):
    """Whether the shape that was ``found`` is this one."""
    if len(found) != len(shape):
        return False
    for length, wanted in zip(found, shape, strict=True):
        if isinstance(wanted, int):
            if length != wanted:
                return False
        elif length == 0:
            return False
    return True


def words(name, value, count):
    """``value`` as a list of words, or the numbers from 1 where it is None.

    Raises ValueError when they are not ``count``.
    """
    if value is None:
        value = range(1, count + 1)
    listed = [str(word) for word in value]
    if len(listed) != count:
        raise ValueError(f"{name} must be {count} words, got {len(listed)}")
    return listed
