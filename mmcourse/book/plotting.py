"""One palette and one style for every figure of the book.

Shapes: H height and W width of a picture; T target positions, S source positions.
"""

import itertools
import math
import sys

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap

INK = "#1f2933"
GREY = "#6b7280"
PAPER = "#ffffff"
BLUE = "#2166a5"
ORANGE = "#e07b28"
TEAL = "#1b9e83"
PINK = "#c2417c"
GOLD = "#c9a21a"
PALETTE = (BLUE, ORANGE, TEAL, PINK, GOLD)

#: The colours of attention weights, from white at 0 to dark at 1.
WEIGHTS = LinearSegmentedColormap.from_list("weights", [PAPER, "#9cc4e4", BLUE, "#0b2545"])


def use_style():
    """Set the book's style. Call it once, at the top of a notebook.

    Figures become vector drawings on white paper, with a PNG beside each, the same bytes on every
    run.
    """
    mpl.rcParams.update(
        {
            "figure.figsize": (6.4, 3.2),
            "figure.facecolor": PAPER,
            "figure.constrained_layout.use": True,
            "font.size": 10,
            "axes.titlesize": 9,
            "axes.labelsize": 10,
            "text.color": INK,
            "axes.labelcolor": INK,
            "axes.edgecolor": GREY,
            "xtick.color": INK,
            "ytick.color": INK,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": mpl.cycler(color=PALETTE),
            "axes.grid": False,
            "lines.linewidth": 1.8,
            "legend.frameon": False,
            "image.interpolation": "none",
            "svg.hashsalt": "mmcourse",
        }
    )
    if "ipykernel" in sys.modules:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        # SVG is sharp on a page; PNG shows where SVG is held back: in a notebook that is not
        # trusted yet, and on code hosts.
        set_matplotlib_formats("svg", "png", bbox_inches="tight", metadata={"Date": None})


def show_images(images, titles=None, columns=6, size=1.3):
    """Draw pictures, uint8 arrays (H, W, 3), on a grid, and return the figure.

    ``titles`` are as many texts; ``size`` is the width of one picture in inches.
    """
    columns = min(columns, len(images))
    rows = math.ceil(len(images) / columns)
    height = size + 0.25 if titles else size
    figure = plt.figure(figsize=(columns * size, rows * height))
    for index, image in enumerate(images):
        axes = figure.add_subplot(rows, columns, index + 1)
        axes.imshow(np.asarray(image))
        axes.axis("off")
        if titles:
            axes.set_title(titles[index])
    return figure


def attention_map(weights, targets, sources, *, axes=None, title="", values=False):
    """Draw weights (T, S), a row a target and a column a source, and return the axes.

    ``targets`` and ``sources`` are T and S labels; ``values=True`` writes the numbers.
    """
    weights = np.asarray(weights)
    if axes is None:
        cell = 0.6 if values else 0.45  # inches
        size = (1.2 + cell * len(sources), 0.8 + cell * len(targets))
        _, axes = plt.subplots(figsize=size)
    axes.imshow(weights, cmap=WEIGHTS, vmin=0, vmax=1)
    axes.set_xticks(range(len(sources)), sources, rotation=45, ha="left", rotation_mode="anchor")
    axes.set_yticks(range(len(targets)), targets)
    axes.tick_params(length=0, top=False, bottom=False, labeltop=True, labelbottom=False)
    axes.set_title(title)
    if values:
        write_values(axes, weights)
    return axes


def write_values(axes, weights):
    """Write each weight (T, S) into its cell of an attention map."""
    for (row, column), weight in np.ndenumerate(weights):
        colour = PAPER if weight > 0.5 else INK
        axes.text(column, row, f"{weight:.2f}", ha="center", va="center", color=colour)


def show_scene(image, *, boxes=(), labels=(), weights=None, axes=None, title=""):
    """Draw a picture (H, W, 3), and return the axes.

    ``boxes`` are (x0, y0, x1, y1) in its pixels, with a label each. ``weights`` (h, w) are of the
    patches of a grid over the picture: those of little weight fade.
    """
    if axes is None:
        _, axes = plt.subplots(figsize=(2.4, 2.4))
    picture = axes.imshow(image)
    if weights is not None:
        fade_patches(axes, np.asarray(weights), picture.get_extent())
    colours = itertools.cycle(PALETTE)
    for (x0, y0, x1, y1), label, colour in zip(boxes, labels, colours, strict=False):
        corner = (x0 - 0.5, y0 - 0.5)  # a pixel's middle is a whole number
        axes.add_patch(plt.Rectangle(corner, x1 - x0, y1 - y0, fill=False, edgecolor=colour))
        axes.text(x0, y0 - 1, label, color=PAPER, fontsize=7, backgroundcolor=colour)
    axes.set(title=title, xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return axes


def fade_patches(axes, weights, extent):
    """Lay white over a picture: nine tenths where a patch has no weight, none over the largest."""
    opacity = 0.9 * (1 - weights / weights.max())  # (h, w)
    white = np.ones((*opacity.shape, 3))
    axes.imshow(np.dstack([white, opacity]), extent=extent)


def show_attention(image, tokens, attention, columns=6):
    """Draw a picture (H, W, 3), and for each token where a captioner looked; return the figure.

    ``attention`` (layers, heads, T, N) is that of a :class:`~mmcourse.captioning.Caption`, with T
    ``tokens`` and the N cells of a square grid. Its mean over layers and heads is drawn.
    """
    weights = np.asarray(attention).mean((0, 1))  # (T, N)
    side = math.isqrt(weights.shape[1])
    rows = math.ceil((1 + len(tokens)) / columns)
    figure, grid = plt.subplots(
        rows,
        columns,
        figsize=(1.3 * columns, 1.5 * rows),
        squeeze=False,
        layout="constrained",
    )
    panels = grid.flatten()
    for axes in panels:
        axes.axis("off")
    show_scene(image, axes=panels[0], title="the picture")
    for axes, token, row in zip(panels[1:], tokens, weights, strict=False):
        show_scene(image, weights=row.reshape(side, side), axes=axes, title=token)
    return figure
