"""Arguments that several commands take, and how their values are checked."""

import argparse
import math

SPLITS = ("train", "val", "composition", "style")  #: of scenes
DATA = ("scenes", "flickr8k", "coco")
STRATEGIES = ("beam", "greedy", "sample")
BEAMS = 4
SAMPLING = ("temperature", "top_k", "top_p", "seed")


def above_zero(text):
    """A whole number above 0."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")
    return int(text)


def not_negative(text):
    """A whole number, 0 or more."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number, 0 or more, got {text!r}")
    return int(text)


def positive(text):
    """A number above 0."""
    number = to_number(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return number


def share(text):
    """A number above 0, at most 1."""
    number = to_number(text)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"expected a share above 0, at most 1, got {text!r}")
    return number


def to_number(text):
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number, got {text!r}") from None


def add_model(parser):
    """``--model``."""
    parser.add_argument(
        "--model",
        default="scenes",
        help="scenes (the shipped one, for drawn scenes; the default), a folder that "
        "mmcourse train wrote, or owner/name on the hub",
    )


def add_strategy(parser):
    """``--strategy`` and ``--beams``."""
    parser.add_argument(
        "--strategy",
        choices=STRATEGIES,
        default="beam",
        help="how words are chosen (default: beam)",
    )
    parser.add_argument(
        "--beams",
        type=above_zero,
        help=f"how many captions beam search follows (default: {BEAMS})",
    )


def strategy_options(options):
    """What was asked for of beam search or of sampling, as a dict for ``Captioner.caption``.

    Raises ValueError for an option that does not fit the strategy.
    """
    fitting = {"beam": ("beams",), "sample": SAMPLING, "greedy": ()}[options.strategy]
    given = {}
    for name in ("beams", *SAMPLING):
        value = getattr(options, name, None)
        if value is None:
            continue
        if name not in fitting:
            needed = "beam" if name == "beams" else "sample"
            raise ValueError(
                f"--{name.replace('_', '-')} does not fit --strategy {options.strategy}: "
                f"leave it out, or take --strategy {needed}"
            )
        given[name] = value
    return given


def add_data(parser):
    """``--data``, ``--root`` and ``--cache``."""
    parser.add_argument(
        "--data",
        choices=DATA,
        default="scenes",
        help="scenes (the default), or photographs on your disk",
    )
    parser.add_argument(
        "--root", metavar="DIR", help="where the photographs lie, as they are distributed"
    )
    parser.add_argument(
        "--cache",
        metavar="DIR",
        help="where features of photographs are kept (default: ROOT/features)",
    )


def check_root(options):
    """Raise ValueError when ``--root`` is missing for photographs, or given for scenes."""
    if options.data == "scenes" and options.root:
        raise ValueError(
            f"--root {options.root} is a folder of photographs: add --data flickr8k or --data coco"
        )
    if options.data != "scenes" and not options.root:
        raise ValueError(f"--data {options.data} needs --root DIR, the folder that it lies in")
