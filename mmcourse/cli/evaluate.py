"""``mmcourse evaluate``: the scores of a captioner on a split."""

import json

from mmcourse.cli.arguments import (
    BEAMS,
    SPLITS,
    above_zero,
    add_data,
    add_model,
    add_strategy,
    check_root,
    strategy_options,
)
from mmcourse.cli.messages import complain

ABOUT = "score a captioner: BLEU-4, ROUGE-L, CIDEr-D, and of scenes the facts that it states"
EXAMPLES = """  mmcourse evaluate --split style --scenes 500
  mmcourse evaluate --model runs/small --strategy greedy --json
  mmcourse evaluate --data flickr8k --root DIR --model runs/photographs --split test"""


def add_arguments(parser):
    add_model(parser)
    parser.add_argument(
        "--split",
        choices=(*SPLITS, "test"),
        default="val",
        help="which scenes or photographs (default: val)",
    )
    parser.add_argument(
        "--scenes", type=above_zero, default=500, help="how many scenes (default: 500)"
    )
    add_strategy(parser)
    add_data(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options):
    """Print the scores of a captioner on scenes or photographs of a split."""
    from mmcourse.hub import load_captioner

    check_root(options)
    beams = strategy_options(options).get("beams", BEAMS)
    model = load_captioner(options.model)
    if options.data == "scenes":
        what, scores = on_scenes(model, options, beams)
    else:
        what, scores = on_photographs(model, options, beams)
    if options.json:
        print(json.dumps(scores))
        return
    print(f"{what} of {options.split}")
    for name, number in scores.items():
        digits = 0 if isinstance(number, int) else 3
        print(f"{name:<29}{number:8.{digits}f}")


def on_scenes(model, options, beams):
    """What was judged, in words, and the scores."""
    from mmcourse.recipes import scenes

    scores = scenes.evaluate(model, options.split, options.scenes, options.strategy, beams)
    return f"{options.scenes} scenes", scores


def on_photographs(model, options, beams):
    """What was judged, in words, and the scores."""
    from mmcourse.photographs import evaluate
    from mmcourse.recipes import photographs

    found, notes = photographs.load(options.data, options.root, (options.split,))
    for note in notes:
        complain("evaluate", note)
    folder = options.cache or photographs.features_folder(options.root)
    inputs, found = photographs.prepare(
        model, found, folder, report=lambda note: complain("evaluate", note)
    )
    judged = found[options.split]
    scores, _ = evaluate(model, judged, inputs, options.strategy, beams)
    return f"{len(judged)} photographs of {options.data},", scores
