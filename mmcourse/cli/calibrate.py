"""``mmcourse calibrate``: make a captioner's confidence a probability."""

from pathlib import Path

from mmcourse.cli.arguments import above_zero

ABOUT = "fit a captioner of scenes' confidence to how often its nouns are right"
EXAMPLES = """  mmcourse calibrate --model runs/small
  mmcourse calibrate --model runs/small --scenes 3000"""


def add_arguments(parser):
    parser.add_argument(
        "--model",
        required=True,
        metavar="DIR",
        help="a folder that mmcourse train wrote; its config.json gets three numbers",
    )
    parser.add_argument(
        "--scenes",
        type=above_zero,
        default=300,
        help="how many plain scenes, and as many redrawn ones (default: 300)",
    )


def run(options):
    """Fit the numbers, print them, and write them into the model's configuration."""
    from mmcourse.captioning import SceneCaptioner
    from mmcourse.hub import load
    from mmcourse.recipes import scenes
    from mmcourse.weights import change_config

    if not Path(options.model).is_dir():
        raise ValueError(f"expected a folder that `mmcourse train` wrote, got {options.model}")
    model = load(options.model)
    if not isinstance(model, SceneCaptioner):
        raise ValueError(f"{options.model} is no captioner of scenes: only those are calibrated")
    numbers = scenes.calibrate(model, options.scenes)
    change_config(options.model, calibration=numbers)
    print("calibration", *numbers)
