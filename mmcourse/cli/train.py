"""``mmcourse train``: train a captioner by one of the course's recipes."""

import argparse

from mmcourse.cli.arguments import above_zero, add_data, check_root, not_negative, positive
from mmcourse.cli.messages import complain

ABOUT = "train a captioner on EmojiScenes or on photographs, or go on from its last checkpoint"
EXAMPLES = """  mmcourse train --config small --out runs/small
  mmcourse train --config shipped --out runs/shipped --workers 2
  mmcourse train --data flickr8k --root DIR --encoder efficientnet-lite0 --out runs/photographs"""
CONFIGS = ("small", "shipped")  # of mmcourse.recipes.scenes
CHANGES = (
    "steps",
    "passes",
    "batch_size",
    "learning_rate",
    "accumulate",
    "mixed_precision",
    "seed",
    "workers",
)  # names of a TrainingConfig that can be given here


def add_arguments(parser):
    parser.add_argument(
        "--out",
        required=True,
        metavar="DIR",
        help="folder for the checkpoint, the log and the model",
    )
    parser.add_argument(
        "--config",
        choices=CONFIGS,
        default="small",
        help="for scenes: small (minutes on two cores, the default) or shipped",
    )
    add_data(parser)
    add_photograph_arguments(parser)
    add_schedule(parser)
    parser.add_argument(
        "--resume", action="store_true", default=None, help="insist on a checkpoint to go on from"
    )
    parser.add_argument(
        "--fresh",
        action="store_false",
        default=None,
        dest="resume",
        help="start anew, over what is in DIR",
    )


def add_photograph_arguments(parser):
    parser.add_argument(
        "--encoder",
        default="efficientnet-lite0",
        metavar="NAME",
        help="for photographs: efficientnet-lite0 (the default), or a model of transformers by "
        "owner/name or folder",
    )
    parser.add_argument(
        "--fine-tune", action="store_true", help="train the encoder too (no features are kept)"
    )
    parser.add_argument(
        "--min-count",
        type=above_zero,
        default=5,
        help="a word of photographs that is rarer is unknown (default: 5)",
    )


def add_schedule(parser):
    numbers = {
        "steps": (above_zero, ""),
        "passes": (positive, "; over photographs, in place of steps"),
        "batch-size": (above_zero, "; scenes, or photographs with all their captions"),
        "learning-rate": (positive, ""),
    }
    for name, (kind, more) in numbers.items():
        parser.add_argument(
            f"--{name}", type=kind, default=argparse.SUPPRESS, help=f"instead of the recipe's{more}"
        )
    parser.add_argument(
        "--accumulate",
        type=above_zero,
        default=1,
        help="pieces to compute a batch in, to save memory (default: 1)",
    )
    parser.add_argument(
        "--mixed-precision",
        choices=("no", "bf16"),
        default="no",
        help="bf16 is faster on a recent GPU",
    )
    parser.add_argument(
        "--seed", type=not_negative, default=0, help="of weights and dropout (default: 0)"
    )
    parser.add_argument(
        "--workers",
        type=not_negative,
        default=1,
        help="processes that prepare samples (default: 1)",
    )


def run(options):
    """Train; the folder can be given to ``--model`` afterwards."""
    from accelerate import PartialState

    check_root(options)
    changes = {name: getattr(options, name) for name in CHANGES if hasattr(options, name)}
    if options.data == "scenes":
        rows = train_on_scenes(options, changes)
    else:
        rows = train_on_photographs(options, changes)
    say = PartialState().print  # once, however many processes there are
    say(", ".join(f"{name} {number:.3g}" for name, number in rows[-1].items()))
    say_kept(rows, options, say)
    say(f"try it: mmcourse caption PICTURE --model {options.out}")


def say_kept(rows, options, say):
    """Of photographs, say which step the model is of, and whether the run ended early."""
    if options.data == "scenes":
        return
    from mmcourse.recipes.photographs import BEST
    from mmcourse.training import best_row

    best = best_row(rows, BEST)
    if best:
        say(
            f"kept: step {best['step']} of {rows[-1]['step']}, the best on the validation split "
            f"({BEST} {best[BEST]:.3f})"
        )


def train_on_scenes(options, changes):
    from mmcourse.recipes import scenes

    if "passes" in changes:
        raise ValueError("--passes is for photographs; scenes are endless: give --steps")

    return scenes.train(options.config, options.out, resume=options.resume, **changes)


def train_on_photographs(options, changes):
    from mmcourse.recipes import photographs

    found, notes = photographs.load(options.data, options.root, ("train", "val"))
    for note in notes:
        complain("train", note)
    return photographs.train(
        "fine-tune" if options.fine_tune else "photographs",
        found,
        options.out,
        encoder=options.encoder,
        min_count=options.min_count,
        features=options.cache or photographs.features_folder(options.root),
        report=lambda note: complain("train", note),
        resume=options.resume,
        **changes,
    )
