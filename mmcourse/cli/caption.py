"""``mmcourse caption``: say what is on pictures."""

import json
import sys
import tempfile
from pathlib import Path

from mmcourse.cli.arguments import (
    above_zero,
    add_model,
    add_strategy,
    not_negative,
    positive,
    share,
    strategy_options,
)
from mmcourse.cli.messages import complain

ABOUT = "say what is on drawn scenes, or photographs with a model trained on them"
EXAMPLES = """  mmcourse caption scene.png drawings/*.jpg
  mmcourse caption scene.png --strategy sample --temperature 0.7 --top-p 0.9 --seed 1
  mmcourse caption scene.png --show attention.png
  cat scene.png | mmcourse caption - --json
  mmcourse caption photo.jpg --model runs/photographs"""
STDIN = "-"


def add_arguments(parser):
    parser.add_argument(
        "pictures",
        nargs="+",
        metavar="PICTURE",
        help="a PNG, JPEG, GIF, WebP, BMP, TIFF or PPM file, or - for one from standard input",
    )
    add_model(parser)
    add_strategy(parser)
    parser.add_argument(
        "--temperature",
        type=positive,
        help="of sampling: below 1 prefers probable words (default: 1)",
    )
    parser.add_argument(
        "--top-k", type=above_zero, help="of sampling: choose among so many words (default: all)"
    )
    parser.add_argument(
        "--top-p",
        type=share,
        help="of sampling: choose among the fewest words that hold this probability (default: all)",
    )
    parser.add_argument(
        "--seed", type=not_negative, help="of sampling: the same captions each time"
    )
    parser.add_argument(
        "--show",
        metavar="FILE",
        help="draw where the captioner looked for each word of one picture (.png, .svg or .pdf)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON, one object a line")


def run(options):
    """Print one line for each picture; those that cannot be captioned are named on stderr."""
    from mmcourse.hub import load_captioner

    check(options)
    model = load_captioner(options.model)
    failed = 0
    for name in options.pictures:
        try:
            describe(model, name, options)
        except (OSError, ValueError) as error:
            failed += 1
            complain("caption", error)
    if failed == len(options.pictures):
        return 2
    return 1 if failed else 0


def check(options):
    """Raise ValueError for options that do not fit one another, before a model is loaded."""
    strategy_options(options)
    if options.pictures.count(STDIN) > 1:
        raise ValueError("standard input holds one picture: give - once")
    if not options.show:
        return
    if len(options.pictures) > 1:
        raise ValueError(f"--show draws one picture, got {len(options.pictures)}")
    if Path(options.show).suffix not in (".png", ".svg", ".pdf"):
        raise ValueError(f"--show writes .png, .svg or .pdf, got {options.show}")


def describe(model, name, options):
    """Caption the picture of a file, or ``-``, and print the line. Raises OSError or ValueError."""
    if name != STDIN:
        describe_file(model, name, name, options)
        return
    content = sys.stdin.buffer.read()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "picture")
        path.write_bytes(content)
        try:
            describe_file(model, str(path), STDIN, options)
        except (OSError, ValueError) as error:
            raise ValueError(str(error).replace(str(path), "standard input")) from error


def describe_file(model, path, name, options):
    """Caption the picture at ``path``, and print the line under its ``name``."""
    found = model.caption(path, options.strategy, **generation_options(options))
    frames = count_frames(path)
    low = found.confidence < model.low_confidence
    if options.json:
        line = {
            "picture": name,
            "caption": found.text,
            "confidence": found.confidence,
            "confidence_is": model.confidence_is,
            "low_confidence": low,
        }
        if frames > 1:
            line |= {"frame": 1, "frames": frames}
        print(json.dumps(line), flush=True)
    else:
        note = f" (low confidence {found.confidence:.2f}: {model.confidence_is})"
        frame = f" (frame 1 of {frames})" if frames > 1 else ""
        print_line(name, f"{found.text}{frame}{note if low else ''}")
    if options.show:
        draw_attention(model, path, found, options.show)


def generation_options(options):
    """What ``Captioner.caption`` takes besides the strategy. Each picture begins at the seed."""
    given = strategy_options(options)
    if "seed" in given:
        import torch

        given["generator"] = torch.Generator().manual_seed(given.pop("seed"))
    return given


def count_frames(path):
    """How many frames or pages a picture has; the model sees the first."""
    from PIL import Image

    with Image.open(path) as image:
        return getattr(image, "n_frames", 1)


def print_line(name, text):
    """Print a picture's name and a text.

    What the terminal's encoding lacks is escaped, and that is said on stderr.
    """
    line = f"{name}: {text}"
    encoding = sys.stdout.encoding or "utf-8"
    try:
        line.encode(encoding)
    except UnicodeEncodeError:
        line = line.encode(encoding, "backslashreplace").decode(encoding)
        complain(
            "caption",
            f"the terminal's encoding, {encoding}, cannot print this name, so it is escaped here: "
            f"{name!a}. PYTHONIOENCODING=utf-8 or --json may help",
        )
    print(line, flush=True)


def draw_attention(model, path, caption, file):
    """Write the picture of where the captioner looked for each word."""
    import matplotlib

    matplotlib.use("Agg")
    from mmcourse.book.plotting import show_attention

    figure = show_attention(model.view(path), caption.tokens, caption.attention)
    figure.savefig(file, bbox_inches="tight", dpi=200)
