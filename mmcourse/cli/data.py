"""``mmcourse data``: write scenes as pictures, with their truth."""

import json
from dataclasses import asdict
from pathlib import Path

from mmcourse.cli.arguments import SPLITS, above_zero

ABOUT = "write scenes of EmojiScenes as PNG, with their truth as JSON lines"
EXAMPLES = """  mmcourse data --split val --count 20 --out scenes
  mmcourse data --split style --size 128 --out large
  mmcourse data --split val --count 500 --coco --out boxes"""


def add_arguments(parser):
    parser.add_argument(
        "--out", required=True, metavar="FOLDER", help="folder for the pictures and scenes.jsonl"
    )
    parser.add_argument(
        "--split", choices=SPLITS, default="val", help="which scenes (default: val)"
    )
    parser.add_argument("--count", type=above_zero, default=16, help="how many (default: 16)")
    parser.add_argument("--size", type=above_zero, default=64, help="pixels a side (default: 64)")
    parser.add_argument(
        "--coco", action="store_true", help="also write instances.json, the boxes in COCO's layout"
    )


def run(options):
    """Write ``SPLIT-000000.png`` and so on, and ``scenes.jsonl`` with a line of truth for each.

    With ``--coco`` also ``instances.json``.
    """
    from PIL import Image
    from tqdm import tqdm

    from mmcourse.data import EmojiScenes
    from mmcourse.data.instances import coco_instances

    folder = make_folder(options.out)
    scenes = EmojiScenes(options.split, options.size)
    written, names = [], []
    with open(folder / "scenes.jsonl", "w", encoding="utf-8") as lines:
        for index in tqdm(range(options.count), unit=" scenes", disable=None):
            scene = scenes[index]
            picture = f"{options.split}-{index:06d}.png"
            Image.fromarray(scene.image).save(folder / picture)
            print(json.dumps(truth(scene, picture), ensure_ascii=False), file=lines)
            if options.coco:
                written.append(scene)
                names.append(picture)
    if options.coco:
        instances = json.dumps(coco_instances(written, names), ensure_ascii=False)
        (folder / "instances.json").write_text(instances, encoding="utf-8")


def make_folder(name):
    """Make a folder and those above it. Raises ValueError where a file is in the way."""
    folder = Path(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        in_the_way = [str(path) for path in (folder, *folder.parents) if path.is_file()]
        raise ValueError(
            f"--out must be a folder, but {''.join(in_the_way)} is a file: give another name"
        ) from error
    return folder


def truth(scene, picture):
    """All that is known of a scene, as a dict for JSON; ``picture`` is the name of its file."""
    return {
        "captions": scene.captions,
        "caption_zh": scene.caption_zh,
        "picture": picture,
        "background": scene.description.background,
        "facts": sorted(scene.facts, key=str),
        "objects": [asdict(thing) for thing in scene.objects],
        "questions": [asdict(question) for question in scene.questions],
        "foils": [asdict(foil) for foil in scene.foils],
    }
