"""Figures that answer back. The numbers come from Python; the arithmetic and the drawing happen in the page.

A figure is an anywidget whose traits are its data, so it works in JupyterLab and, without a server, in the book.
"""

import base64
import io
from pathlib import Path

import anywidget
import matplotlib.pyplot as plt
import numpy as np

from mmcourse.book import plotting

HERE = Path(__file__).parent
COLOURS = "".join(f"  --{name.lower()}: {getattr(plotting, name)};\n"
                  for name in ("INK", "GREY", "PAPER", "BLUE", "ORANGE", "TEAL", "PINK", "GOLD"))  # fmt: skip


def script(name):
    """The JavaScript of a figure: common.js, then its own file."""
    return "\n".join((HERE / part).read_text(encoding="utf-8") for part in ("common.js", name))


class Figure(anywidget.AnyWidget):
    """The base. A figure has ``_esm = script("its.js")``, traits for its data, and ``draw``, its still picture."""

    _css = f".mm-figure {{\n{COLOURS}}}\n" + (HERE / "figures.css").read_text(encoding="utf-8")

    def _repr_mimebundle_(self, **options):
        """The live figure, and for readers without scripts, and for paper, the still one as SVG and PNG."""
        data, metadata = super()._repr_mimebundle_(**options)
        picture = self.draw()
        drawn, dots = io.StringIO(), io.BytesIO()
        picture.savefig(drawn, format="svg", bbox_inches="tight", metadata={"Date": None})
        picture.savefig(dots, format="png", bbox_inches="tight")
        plt.close(picture)
        data["text/plain"] = f"{type(self).__name__}()"
        data["image/svg+xml"] = drawn.getvalue()
        data["image/png"] = base64.b64encode(dots.getvalue()).decode()
        return data, metadata


def numbers(name, value, shape):
    """``value`` as (nested) lists of numbers, if all are finite and it has this shape; a letter is any length >= 1."""
    expected = f"{name} must be finite numbers of shape ({', '.join(map(str, shape))})"
    try:
        array = np.asarray(value, dtype=float)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{expected}, but: {error}") from None
    fits = len(shape) == array.ndim and all(
        length == wanted if isinstance(wanted, int) else length > 0
        for length, wanted in zip(array.shape, shape, strict=True))  # fmt: skip
    if not fits or not np.isfinite(array).all():
        found = f"shape {array.shape}" + (
            "" if np.isfinite(array).all() else " with NaN or infinity in it"
        )
        raise ValueError(f"{expected}, got {found}")
    return array.tolist()
