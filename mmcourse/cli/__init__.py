"""The command line: ``mmcourse caption | train | evaluate | data | bench``.

Exit codes: 0 all went well, 1 some pictures could not be captioned, 2 bad use or bad input, 130 Ctrl-C.
"""

import argparse
import functools
import json
import sys
from dataclasses import asdict
from pathlib import Path

import mmcourse

EXAMPLES = """examples:
  mmcourse caption photo.png drawings/*.jpg
  mmcourse evaluate --split style --scenes 500
  mmcourse train --config small --out runs/small
  mmcourse caption photo.png --model runs/small
  mmcourse train --data flickr8k --root DIR --encoder efficientnet-lite0 --out runs/photographs
  mmcourse data --split val --count 20 --out scenes
  mmcourse bench --only layers --profile"""
ROWS = ("layers", "training", "generation", "scores", "peak", "learning")
SPLITS = ("train", "val", "composition", "style")  # of scenes
DATA = ("scenes", "flickr8k", "coco")
CONFIGS = {  # settings of the Captioner, and of its TrainingConfig
    "small": (
        {"width": 96, "channels": [24, 48, 96]},
        {"steps": 600, "batch_size": 64, "learning_rate": 1e-3},
    ),
    "shipped": (
        {},
        {
            "steps": 20000,
            "restarts": (10000, 15000),
            "batch_size": 64,
            "learning_rate": 1.2e-3,
            "weight_decay": 0.05,
        },
    ),
    "photographs": (
        {},
        {"steps": 7000, "batch_size": 64, "learning_rate": 5e-4, "weight_decay": 0.05},
    ),
    "fine-tune": (
        {"fine_tune": True},
        {"steps": 7000, "batch_size": 32, "learning_rate": 5e-5, "weight_decay": 0.05},
    ),
}


def caption(options):
    """Print one line for each picture; those that cannot be read are named on stderr."""
    from mmcourse.hub import load

    model, failed = load(options.model), 0
    for picture in options.pictures:
        try:
            found = model.caption(picture, options.strategy, options.beams)
        except (OSError, ValueError) as error:
            failed += 1
            print(f"mmcourse caption: {error}", file=sys.stderr)
            continue
        low = found.confidence < model.low_confidence
        note = (
            f" (low confidence {found.confidence:.2f}: unlike what the model has seen)"
            if low
            else ""
        )
        line = {
            "picture": picture,
            "caption": found.text,
            "confidence": found.confidence,
            "low_confidence": low,
        }
        print(json.dumps(line) if options.json else f"{picture}: {found.text}{note}", flush=True)
    return 0 if not failed else 1 if failed < len(options.pictures) else 2


def train(options):
    """Train a captioner on EmojiScenes or on photographs; its folder can be given to ``--model`` afterwards."""
    import torch
    from accelerate import PartialState

    from mmcourse import training
    from mmcourse.captioning import SceneCaptioner
    from mmcourse.data import Practice, language

    if (scenes := options.data == "scenes") and options.root:
        raise ValueError(
            f"--root {options.root} is a folder of photographs: add --data flickr8k or --data coco"
        )
    settings, schedule = CONFIGS[
        options.config if scenes else "fine-tune" if options.fine_tune else "photographs"
    ]
    names = training.TrainingConfig.__annotations__
    schedule = schedule | {name: value for name, value in vars(options).items() if name in names}
    schedule["restarts"] = tuple(
        step for step in schedule.get("restarts", ()) if step < schedule["steps"]
    )
    config = training.TrainingConfig(
        **schedule, warmup=min(200, schedule["steps"] // 20), evaluate_every=1000
    )
    torch.manual_seed(config.seed)
    with training.memory_advice(config):
        if scenes:
            model, dataset = SceneCaptioner(language.vocabulary(), **settings), Practice()
            judge = functools.partial(
                _scores, split="val", count=min(200, 10 * config.steps), strategy="greedy"
            )
        else:
            from mmcourse.data.captioned import vocabulary
            from mmcourse.photographs import Pairs, PhotographCaptioner, evaluate

            found = _photographs(options, ("train", "val"))
            model = PhotographCaptioner(
                vocabulary(found["train"], options.min_count), options.encoder, **settings
            )
            look, found = _look(options, model, found, config.batch_size)
            dataset = Pairs(found["train"], look)
            judge = (lambda model: evaluate(model, found["val"], look)[0]) if found["val"] else None
    rows = training.train(
        model,
        dataset,
        type(model).terms,
        config,
        options.out,
        collate=model.collate,
        count=model.counts,
        resume=options.resume,
        evaluate=judge,
    )
    say = PartialState().print  # once, however many processes there are
    say(", ".join(f"{name} {number:.3g}" for name, number in rows[-1].items()))
    say(f"try it: mmcourse caption PICTURE --model {options.out}")


def evaluate(options):
    """Print the scores of a captioner on scenes or photographs of a split."""
    from mmcourse.hub import load

    model = load(options.model)
    if options.data == "scenes":
        count, scores = (
            options.scenes,
            _scores(model, options.split, options.scenes, options.strategy, options.beams),
        )
    else:
        from mmcourse.photographs import evaluate

        look, found = _look(options, model, _photographs(options, (options.split,)), 32)
        count = len(found[options.split])
        scores, _ = evaluate(model, found[options.split], look, options.strategy, options.beams)
    table = "\n".join(f"{name:<24}{number:8.3f}" for name, number in scores.items())
    kind = "scenes" if options.data == "scenes" else f"photographs of {options.data},"
    print(json.dumps(scores) if options.json else f"{count} {kind} of {options.split}\n{table}")


def data(options):
    """Write scenes as PNG, and one line of truth for each into ``scenes.jsonl``."""
    from PIL import Image
    from tqdm import tqdm

    from mmcourse.data import EmojiScenes

    folder, scenes = Path(options.out), EmojiScenes(options.split, options.size)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "scenes.jsonl", "w", encoding="utf-8") as lines:
        for index in tqdm(range(options.count), unit=" scenes", disable=None):
            scene, picture = scenes[index], f"{options.split}-{index:06d}.png"
            Image.fromarray(scene.image).save(folder / picture)
            truth = {
                "captions": scene.captions,
                "caption_zh": scene.caption_zh,
                "picture": picture,
                "background": scene.description.background,
                "facts": sorted(scene.facts, key=str),
            }
            truth |= {
                many: [asdict(one) for one in getattr(scene, many)]
                for many in ("objects", "questions", "foils")
            }
            print(json.dumps(truth, ensure_ascii=False), file=lines)


def bench(options):
    """Race ours against other libraries, and print one table."""
    from mmcourse.bench import bench, table

    found = bench(
        options.only or ROWS[:-1],
        quick=options.quick,
        device=options.device,
        profile=options.profile,
    )
    print(table(found))
    if options.json:
        Path(options.json).write_text(
            json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def _photographs(options, splits):
    """The photographs of the splits, as lists in a dict. What is wrong in the files is said on stderr."""
    from mmcourse.data.captioned import load_photographs

    if not options.root:
        raise ValueError(f"--data {options.data} needs --root DIR, the folder that it lies in")
    found, notes = load_photographs(options.data, options.root)
    _say(options, notes)
    if not found[splits[0]]:
        raise ValueError(
            f"{options.data} in {options.root} has no photographs of {splits[0]}, but "
            + ", ".join(f"{len(photographs)} of {split}" for split, photographs in found.items())
        )
    return {split: found[split] for split in splits}


def _look(options, model, found, batch_size):
    """What the model takes for a photograph, as a function, and the photographs without those that cannot be read."""
    from mmcourse.photographs import inputs_of

    everything = [one for part in found.values() for one in part]
    look, unreadable, notes = inputs_of(
        model, everything, options.cache or Path(options.root, "features"), batch_size
    )
    _say(options, notes)
    return look, {
        split: [one for one in part if one not in unreadable] for split, part in found.items()
    }


def _say(options, notes):
    for note in notes:
        print(f"mmcourse {options.command}: {note}", file=sys.stderr)


def _scores(model, split, count, strategy, beams=1):
    from mmcourse.data import EmojiScenes
    from mmcourse.evaluation import fact_scores
    from mmcourse.photographs import evaluate

    scenes = [EmojiScenes(split, model.image_size)[index] for index in range(count)]
    scores, captions = evaluate(
        model, scenes, lambda scene: model.prepare([scene.image])[0], strategy, beams
    )
    for kind, (precision, recall) in fact_scores(captions, scenes).items():
        scores |= {f"{kind} precision": precision, f"{kind} recall": recall}
    return scores


def _above_zero(text):
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")
    return int(text)


def _parser():
    examples = {"epilog": EXAMPLES, "formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser(
        "mmcourse", description="Caption pictures; train and judge models.", **examples
    )
    parser.add_argument("--version", action="version", version=f"mmcourse {mmcourse.__version__}")
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="caption | train | evaluate | data | bench"
    )

    def command(run, about):
        sub = commands.add_parser(run.__name__, help=about, description=about, **examples)
        sub.set_defaults(run=run)
        return sub.add_argument

    add = command(caption, "say what is on pictures")
    add(
        "pictures",
        nargs="+",
        metavar="PICTURE",
        help="a PNG, JPEG, GIF, WebP, BMP, TIFF or PPM file",
    )
    judge = command(
        evaluate, "score a captioner: BLEU-4, ROUGE-L, CIDEr-D, and the facts that it states"
    )
    judge(
        "--split",
        choices=(*SPLITS, "test"),
        default="val",
        help="which scenes or photographs (default: val)",
    )
    judge("--scenes", type=_above_zero, default=500, help="how many scenes (default: 500)")
    for option in (add, judge):
        option(
            "--model",
            default="scenes",
            help="scenes (the shipped one), a trained folder, or owner/name on the hub",
        )
        option(
            "--strategy",
            choices=("beam", "greedy", "sample"),
            default="beam",
            help="how words are chosen",
        )
        option(
            "--beams",
            type=_above_zero,
            default=4,
            help="how many captions beam search follows (default: 4)",
        )
        option("--json", action="store_true", help="print JSON")

    add = command(
        train,
        "train a captioner on EmojiScenes or on photographs, or go on from its last checkpoint",
    )
    for option in (add, judge):
        option(
            "--data",
            choices=DATA,
            default="scenes",
            help="scenes (the default), or photographs on your disk",
        )
        option("--root", metavar="DIR", help="where the photographs lie, as they are distributed")
        option(
            "--cache",
            metavar="DIR",
            help="where features of photographs are kept (default: ROOT/features)",
        )
    add(
        "--encoder",
        default="efficientnet-lite0",
        metavar="NAME",
        help="for photographs: efficientnet-lite0, or a model of transformers by owner/name or folder",
    )
    add("--fine-tune", action="store_true", help="train the encoder too (no features are kept)")
    add(
        "--min-count",
        type=_above_zero,
        default=5,
        help="a word of photographs that is rarer is unknown (default: 5)",
    )
    add(
        "--out",
        required=True,
        metavar="DIR",
        help="folder for the checkpoint, the log and the model",
    )
    add(
        "--config",
        choices=("small", "shipped"),
        default="small",
        help="for scenes: small (minutes on two cores, the default) or shipped",
    )
    for name, kind in (
        ("steps", _above_zero),
        ("batch-size", _above_zero),
        ("learning-rate", float),
    ):
        add(
            f"--{name}", type=kind, default=argparse.SUPPRESS, help="instead of the configuration's"
        )
    add(
        "--accumulate",
        type=_above_zero,
        default=1,
        help="pieces to compute a batch in, to save memory (default: 1)",
    )
    add(
        "--mixed-precision",
        choices=("no", "bf16"),
        default="no",
        help="bf16 is faster on a recent GPU",
    )
    add("--seed", type=int, default=0, help="of weights and dropout (default: 0)")
    add("--workers", type=int, default=1, help="processes that prepare samples (default: 1)")
    add("--resume", action="store_true", default=None, help="insist on a checkpoint to go on from")
    add(
        "--fresh",
        action="store_false",
        default=None,
        dest="resume",
        help="start anew, over what is in DIR",
    )

    add = command(data, "write scenes of EmojiScenes as PNG, with their truth as JSON lines")
    add("--out", required=True, metavar="FOLDER", help="folder for the pictures and scenes.jsonl")
    add("--split", choices=SPLITS, default="val", help="which scenes (default: val)")
    add("--count", type=_above_zero, default=16, help="how many (default: 16)")
    add("--size", type=_above_zero, default=64, help="pixels a side (default: 64)")

    add = command(
        bench, "race our code against other libraries on this machine (about ten minutes)"
    )
    add(
        "--only",
        nargs="+",
        choices=ROWS,
        metavar="ROW",
        help=f"some of {', '.join(ROWS)}; the default is all but the last, which takes twenty minutes",
    )
    add(
        "--quick",
        action="store_true",
        help="tiny sizes, to see that it works: the times mean nothing",
    )
    add("--json", metavar="FILE", help="also write what was found to a file")
    add("--profile", action="store_true", help="also show where the time goes")
    add("--device", default="cpu", help="cpu (the default) or cuda")
    return parser


def main(arguments=None):
    """Run the command line with a list of arguments (default: those of the process); return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except (KeyboardInterrupt, OSError, ValueError, ArithmeticError, MemoryError) as error:
        print(f"mmcourse {options.command}: {str(error) or 'stopped'}", file=sys.stderr)
        return 130 if isinstance(error, KeyboardInterrupt) else 2
