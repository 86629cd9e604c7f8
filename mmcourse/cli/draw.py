"""``mmcourse draw``: make a picture from words."""

from pathlib import Path

from mmcourse.cli.arguments import above_zero, not_negative

ABOUT = "draw a picture of a sentence: one or two of forty kinds of things, on a background"
EXAMPLES = """  mmcourse draw "two red cars in the snow"
  mmcourse draw "a blue owl above a castle at night" --out owl.png --seed 3
  mmcourse draw "a dog on a beach" --steps 4 --guidance 1"""
LARGEST = 4096  # pixels of a side
LAST_SEED = 2**63 - 1
ENDINGS = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp")


def add_arguments(parser):
    parser.add_argument("words", nargs="+", metavar="CAPTION", help="words in quotation marks")
    parser.add_argument(
        "--model", default="text_to_image", help="a model that draws (default: the shipped one)"
    )
    parser.add_argument(
        "--out", metavar="FILE", default="drawing.png", help="the picture (default: drawing.png)"
    )
    parser.add_argument(
        "--seed", type=not_negative, default=0, help="another number, another picture (default: 0)"
    )
    parser.add_argument(
        "--steps",
        type=above_zero,
        default=20,
        help="from noise to picture: fewer are faster, and less exact (default: 20)",
    )
    parser.add_argument(
        "--guidance",
        type=float,
        default=2.0,
        help="how much the words count: 0 not at all, 1 as learned (default: 2)",
    )
    parser.add_argument(
        "--size", type=above_zero, default=256, help="of the file, in pixels (default: 256)"
    )


def run(options):
    """Write the picture of a caption, and print where it is."""
    if len(options.words) > 1:
        raise ValueError(
            f'put the words in quotation marks: mmcourse draw "{" ".join(options.words)[:80]}"'
        )
    if Path(options.out).suffix.lower() not in ENDINGS:
        raise ValueError(f"--out writes {', '.join(ENDINGS)}, got {options.out}")
    if not -20 <= options.guidance <= 20:
        raise ValueError(f"--guidance lies between -20 and 20, got {options.guidance:g}")
    if options.size > LARGEST:
        raise ValueError(f"--size is at most {LARGEST}, got {options.size}")
    if options.seed > LAST_SEED:
        raise ValueError(f"--seed is at most {LAST_SEED}, got {options.seed}")
    from PIL import Image

    from mmcourse.text_to_image.captions import check_caption

    check_caption(options.words[0])  # before the model: a bad caption shows at once
    model = load_model(options.model)
    drawn = model.draw(options.words[0], options.seed, options.steps, options.guidance)
    size = (options.size, options.size)
    Image.fromarray(drawn).resize(size, Image.Resampling.NEAREST).save(options.out)
    print(options.out)


def load_model(name):
    """A model that draws. ValueError for one that does not."""
    from mmcourse.hub import load
    from mmcourse.text_to_image import TextToImage

    model = load(name)
    if not isinstance(model, TextToImage):
        raise ValueError(f"{name!r} is a {type(model).__name__} and draws nothing")
    return model
