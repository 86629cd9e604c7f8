"""One palette and one style for every figure of the book."""

import sys

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap

INK, GREY, PAPER = "#1f2933", "#6b7280", "#ffffff"
BLUE, ORANGE, TEAL, PINK, GOLD = PALETTE = ("#2166a5", "#e07b28", "#1b9e83", "#c2417c", "#c9a21a")
WEIGHTS = LinearSegmentedColormap.from_list(
    "weights", [PAPER, "#9cc4e4", BLUE, "#0b2545"]
)  # 0 is white, 1 is dark


def use_style():
    """Set the book's style. Call it once, at the top of a notebook: figures become vector drawings on white paper."""
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

        # SVG is sharp on a page; PNG shows where SVG is held back: in a notebook that is not trusted yet, on code
        # hosts. Without dates, the same bytes come out of every run.
        set_matplotlib_formats("svg", "png", bbox_inches="tight", metadata={"Date": None})


def show_images(images, titles=None, columns=6, size=1.3):
    """Draw pictures, uint8 arrays (H, W, 3), on a grid; ``size`` is one picture's width in inches. Gives the figure."""
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    figure = plt.figure(figsize=(columns * size, rows * (size + 0.25 * bool(titles))))
    for index, image in enumerate(images):
        axes = figure.add_subplot(rows, columns, index + 1, title=titles[index] if titles else "")
        axes.imshow(np.asarray(image))
        axes.axis("off")
    return figure


def attention_map(weights, targets, sources, *, axes=None, title="", values=False):
    """Draw weights (T, S), a row a target, a column a source, and give the axes; ``values=True`` writes the numbers."""
    weights, size = np.asarray(weights), 0.6 if values else 0.45
    axes = axes or plt.subplots(figsize=(1.2 + size * len(sources), 0.8 + size * len(targets)))[1]
    axes.imshow(weights, cmap=WEIGHTS, vmin=0, vmax=1)
    axes.set_xticks(range(len(sources)), sources, rotation=45, ha="left", rotation_mode="anchor")
    axes.set_yticks(range(len(targets)), targets)
    axes.tick_params(length=0, top=False, bottom=False, labeltop=True, labelbottom=False)
    axes.set_title(title)
    for (row, column), weight in np.ndenumerate(weights if values else np.empty((0, 0))):
        axes.text(
            column,
            row,
            f"{weight:.2f}",
            ha="center",
            va="center",
            color=PAPER if weight > 0.5 else INK,
        )
    return axes


def show_scene(image, *, boxes=(), labels=(), weights=None, axes=None, title=""):
    """Draw a picture (H, W, 3), boxes (x0, y0, x1, y1) in its pixels, and fade patches of little weight (h, w)."""
    axes = axes or plt.subplots(figsize=(2.4, 2.4))[1]
    picture = axes.imshow(image)
    if weights is not None:
        fade = 0.9 * (1 - np.asarray(weights) / np.max(np.asarray(weights)))
        veil = np.dstack([np.ones((*fade.shape, 3)), fade])
        axes.imshow(veil, extent=picture.get_extent())
    for (x0, y0, x1, y1), label, colour in zip(boxes, labels, PALETTE * len(boxes), strict=False):
        axes.add_patch(
            plt.Rectangle((x0 - 0.5, y0 - 0.5), x1 - x0, y1 - y0, fill=False, edgecolor=colour)
        )
        axes.text(x0, y0 - 1, label, color=PAPER, fontsize=7, backgroundcolor=colour)
    axes.set(title=title, xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    return axes
