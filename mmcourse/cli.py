"""The command line: ``mmcourse caption | train | evaluate | data``.

Exit codes: 0 all went well, 1 some pictures could not be captioned, 2 bad use or bad input, 130 Ctrl-C.
"""

import argparse
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
  mmcourse data --split val --count 20 --out scenes"""
SPLITS = ("train", "val", "composition", "style")
CONFIGS = {  # settings of the Captioner, and of its TrainingConfig
    "small": ({"width": 96, "channels": [24, 48, 96]}, {"steps": 600, "batch_size": 64, "learning_rate": 1e-3}),
    "shipped": ({}, {"steps": 10000, "batch_size": 64, "learning_rate": 1.2e-3, "weight_decay": 0.05})}


def caption(options):
    """Print one line for each picture; those that cannot be read are named on stderr."""
    from mmcourse.captioning import LOW_CONFIDENCE, Captioner

    model, failed = Captioner.from_pretrained(options.model).eval(), 0
    for picture in options.pictures:
        try:
            found = model.caption(picture, options.strategy, options.beams)
        except (OSError, ValueError) as error:
            failed += 1
            print(f"mmcourse caption: {error}", file=sys.stderr)
            continue
        low = found.confidence < LOW_CONFIDENCE
        note = f" (low confidence {found.confidence:.2f}: unlike what the model has seen)" if low else ""
        line = {"picture": picture, "caption": found.text, "confidence": found.confidence, "low_confidence": low}
        print(json.dumps(line) if options.json else f"{picture}: {found.text}{note}", flush=True)
    return 0 if not failed else 1 if failed < len(options.pictures) else 2


def train(options):
    """Train a captioner on EmojiScenes; its folder can be given to ``--model`` afterwards."""
    import torch

    from mmcourse import training
    from mmcourse.captioning import Captioner
    from mmcourse.data import Practice, language

    settings, schedule = CONFIGS[options.config]
    names = training.TrainingConfig.__annotations__
    schedule = schedule | {name: value for name, value in vars(options).items() if name in names}
    config = training.TrainingConfig(**schedule, warmup=min(200, schedule["steps"] // 20), evaluate_every=1000)
    torch.manual_seed(config.seed)
    model = Captioner(language.vocabulary(), **settings)
    rows = training.train(
        model, Practice(), Captioner.loss, config, options.out, collate=model.collate, resume=options.resume,
        evaluate=lambda model: _scores(model, "val", min(200, 10 * config.steps), "greedy"))
    print(", ".join(f"{name} {number:.3g}" for name, number in rows[-1].items()))
    print(f"try it: mmcourse caption PICTURE --model {options.out}")


def evaluate(options):
    """Print the scores of a captioner on scenes of a split."""
    from mmcourse.captioning import Captioner

    model = Captioner.from_pretrained(options.model).eval()
    scores = _scores(model, options.split, options.scenes, options.strategy, options.beams)
    table = "\n".join(f"{name:<24}{number:8.3f}" for name, number in scores.items())
    print(json.dumps(scores) if options.json else f"{options.scenes} scenes of {options.split}\n{table}")


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
            truth = {name: getattr(scene, name) for name in ("captions", "caption_zh", "background")}
            truth |= {many: [asdict(one) for one in getattr(scene, many)] for many in ("objects", "questions", "foils")}
            truth |= {"picture": picture, "facts": sorted(scene.facts, key=str)}
            print(json.dumps(truth, ensure_ascii=False), file=lines)


def _scores(model, split, count, strategy, beams=1):
    from tqdm import tqdm

    from mmcourse.data import EmojiScenes
    from mmcourse.metrics import bleu, cider_d, fact_scores, rouge_l

    scenes, captions = [EmojiScenes(split, model.image_size)[index] for index in range(count)], []
    for start in tqdm(range(0, count, 50), unit="x50 scenes", leave=False, disable=None):
        captions += [one.text for one in model.caption([s.image for s in scenes[start:start + 50]], strategy, beams)]
    references = [scene.captions for scene in scenes]
    scores = {"BLEU-4": bleu(captions, references)[3], "ROUGE-L": rouge_l(captions, references),
              "CIDEr-D": cider_d(captions, references)}
    for kind, (precision, recall) in fact_scores(captions, scenes).items():
        scores |= {f"{kind} precision": precision, f"{kind} recall": recall}
    return scores


def _above_zero(text):
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")
    return int(text)


def _parser():
    examples = {"epilog": EXAMPLES, "formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser("mmcourse", description="Caption pictures; train and judge models.", **examples)
    parser.add_argument("--version", action="version", version=f"mmcourse {mmcourse.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="caption | train | evaluate | data")

    def command(run, about):
        sub = commands.add_parser(run.__name__, help=about, description=about, **examples)
        sub.set_defaults(run=run)
        return sub.add_argument

    add = command(caption, "say what is on pictures")
    add("pictures", nargs="+", metavar="PICTURE", help="a PNG, JPEG, GIF, WebP, BMP, TIFF or PPM file")
    judge = command(evaluate, "score a captioner: BLEU-4, ROUGE-L, CIDEr-D, and the facts that it states")
    judge("--split", choices=SPLITS, default="val", help="which scenes (default: val)")
    judge("--scenes", type=_above_zero, default=500, help="how many (default: 500)")
    for option in (add, judge):
        option("--model", default="scenes", help="scenes (the shipped one), a trained folder, or owner/name on the hub")
        option("--strategy", choices=("beam", "greedy", "sample"), default="beam", help="how words are chosen")
        option("--beams", type=_above_zero, default=4, help="how many captions beam search follows (default: 4)")
        option("--json", action="store_true", help="print JSON")

    add = command(train, "train a captioner on EmojiScenes, or go on from its last checkpoint")
    add("--out", required=True, metavar="DIR", help="folder for the checkpoint, the log and the model")
    add("--config", choices=CONFIGS, default="small", help="small (minutes on two cores, the default) or shipped")
    for name, kind in (("steps", _above_zero), ("batch-size", _above_zero), ("learning-rate", float)):
        add(f"--{name}", type=kind, default=argparse.SUPPRESS, help="instead of the configuration's")
    add("--mixed-precision", choices=("no", "bf16"), default="no", help="bf16 is faster on a recent GPU")
    add("--seed", type=int, default=0, help="of weights and dropout (default: 0)")
    add("--workers", type=int, default=1, help="processes that compose scenes (default: 1)")
    add("--resume", action="store_true", default=None, help="insist on a checkpoint to go on from")
    add("--fresh", action="store_false", default=None, dest="resume", help="start anew, over what is in DIR")

    add = command(data, "write scenes of EmojiScenes as PNG, with their truth as JSON lines")
    add("--out", required=True, metavar="FOLDER", help="folder for the pictures and scenes.jsonl")
    add("--split", choices=SPLITS, default="val", help="which scenes (default: val)")
    add("--count", type=_above_zero, default=16, help="how many (default: 16)")
    add("--size", type=_above_zero, default=64, help="pixels a side (default: 64)")
    return parser


def main(arguments=None):
    """Run the command line with a list of arguments (default: those of the process); return the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options) or 0
    except (KeyboardInterrupt, OSError, ValueError, ArithmeticError) as error:
        print(f"mmcourse {options.command}: {str(error) or 'stopped'}", file=sys.stderr)
        return 130 if isinstance(error, KeyboardInterrupt) else 2
