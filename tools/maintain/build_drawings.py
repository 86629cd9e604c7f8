"""Build mmcourse/data/drawings/*.webp: one sprite sheet for each drawing style, from the styles'
published SVG sets.

Readers do not need this: the sheets are in the repository. It is here so that anyone can check or
extend them. It needs Node's ``npm`` (to fetch the sets) and ``pip install resvg-py==0.5.0
pillow==13.0.0``:

    python tools/maintain/build_drawings.py --cache some/folder

The rows of ``nouns.csv`` decide what is drawn and in which order. Every drawing is treated the same
way: its transparent margin is trimmed, it is scaled until its longer side fills 62 of the 64 pixels
of its cell, and it is centred there. A style that lacks a noun has an empty cell. The same inputs
give the same bytes.
"""

import argparse
import csv
import hashlib
import io
import json
import re
import subprocess
import tarfile
from pathlib import Path

from PIL import Image
from resvg_py import svg_to_bytes

FOLDER = Path(__file__).resolve().parents[2] / "mmcourse" / "data" / "drawings"
CELL, FILL, COLUMNS = 64, 62, 20
STYLES = {  # our name: npm package, version, sha256 of its archive
    "noto": (
        "@iconify-json/noto",
        "1.2.9",
        "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
    ),
    "blob": (
        "@iconify-json/noto-v1",
        "1.2.5",
        "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37",
    ),
    "twemoji": (
        "@iconify-json/twemoji",
        "1.2.5",
        "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
    ),
    "fluent": (
        "@iconify-json/fluent-emoji-flat",
        "1.2.6",
        "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
    ),
    "emojitwo": (
        "@iconify-json/emojione",
        "1.2.3",
        "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e",
    ),
    "openmoji": (
        "@iconify-json/openmoji",
        "1.2.29",
        "03181e2c156cab35cf4a62f1f7886bd971d59212e75ac3f189d5a4cae3930fc5",
    ),
}
NAMES = (
    "emojibase-data",
    "17.0.0",
    "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
)
RENAMED = {  # names that the two oldest sets use for what has another name today
    "bullseye": "direct-hit",
    "person-with-skullcap": "man-with-chinese-cap",
    "robot": "robot-face",
}


def fetch(package, version, sha256, cache):
    """The opened archive of a pinned npm package; downloads it into ``cache`` unless it is
    there.
    """
    path = cache / f"{package.lstrip('@').replace('/', '-')}-{version}.tgz"
    if not path.exists():
        subprocess.run(["npm", "pack", "--silent", f"{package}@{version}"], cwd=cache, check=True)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != sha256:
        raise SystemExit(
            f"{path}: expected sha256 {sha256}, got {found}. Delete the file and run again."
        )
    return tarfile.open(path)


def load(archive, member):
    return json.load(archive.extractfile(f"package/{member}"))


def code(text):
    """'1f6a3-200d-2640' from '1F6A3-200D-2640-FE0F': the code points without the variation
    selector.
    """
    return "-".join(part for part in text.lower().split("-") if part != "fe0f")


def icon(icons, names):
    """(body, left, top, width, height) of the first of ``names`` in an Iconify set, or None.
    Aliases are followed.
    """
    for name in names:
        entry = icons["icons"].get(name) or icons["icons"].get(
            icons.get("aliases", {}).get(name, {}).get("parent")
        )
        if entry:
            size = {side: entry.get(side, icons.get(side, 16)) for side in ("width", "height")}
            return (
                entry["body"],
                entry.get("left", 0),
                entry.get("top", 0),
                size["width"],
                size["height"],
            )
    return None


def render(view, drawing, pixels):
    body, left, top, width, height = drawing
    frame = f'x="{left}" y="{top}" width="{width}" height="{height}"'
    inner = f'<svg {frame} viewBox="{left} {top} {width} {height}">'
    x, y, side = view
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{pixels}" height="{pixels}" viewBox="{x} {y} {side} {side}">'
        f"{inner}{body}</svg></svg>"
    )
    png = svg_to_bytes(svg_string=svg, width=pixels, height=pixels, skip_system_fonts=True)
    return Image.open(io.BytesIO(bytes(png))).convert("RGBA")


def cell(drawing):
    """One drawing, trimmed, scaled and centred in a (64, 64) RGBA image."""
    _, left, top, width, height = drawing
    side = max(width, height)
    box = (
        render((left, top, side), drawing, 512)
        .getchannel("A")
        .point(lambda a: 255 * (a > 8))
        .getbbox()
    )
    x0, y0, x1, y1 = (value * side / 512 for value in box)
    view = max(x1 - x0, y1 - y0) * CELL / FILL
    image = render((left + (x0 + x1 - view) / 2, top + (y0 + y1 - view) / 2, view), drawing, CELL)
    return Image.composite(
        image, Image.new("RGBA", image.size), image.getchannel("A").point(lambda a: 255 * (a > 0))
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--cache", type=Path, default=Path("emoji-cache"), help="folder for the downloaded archives"
    )
    parser.add_argument("--nouns", type=Path, default=FOLDER / "nouns.csv")
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    with open(options.nouns, encoding="utf-8", newline="") as file:
        codes = [
            code("-".join(f"{ord(c):x}" for c in row["emoji"])) for row in csv.DictReader(file)
        ]
    sets = {style: fetch(*pin, options.cache) for style, pin in STYLES.items()}
    icons = {style: load(archive, "icons.json") for style, archive in sets.items()}
    chars = {
        style: {code(k): v for k, v in load(sets[style], "chars.json").items()} for style in STYLES
    }
    labels = {
        code(e["hexcode"]): e["label"] for e in load(fetch(*NAMES, options.cache), "en/data.json")
    }
    missing = {}
    for style in STYLES:
        sheet = Image.new("RGBA", (COLUMNS * CELL, -(-len(codes) // COLUMNS) * CELL))
        for index, point in enumerate(codes):
            if chars[style]:
                names = [chars[style].get(point)]
            else:  # the two oldest sets have no table of code points: find the drawing by its name
                names = [
                    re.sub(r"[^a-z0-9]+", "-", labels[point].lower().replace("’", "")).strip("-")
                ]
                names += [chars[other][point] for other in STYLES if point in chars[other]]
                names += [RENAMED[name] for name in names if name in RENAMED]
            drawing = icon(icons[style], names)
            if drawing:
                sheet.paste(cell(drawing), (index % COLUMNS * CELL, index // COLUMNS * CELL))
            else:
                missing.setdefault(style, []).append(labels[point])
        sheet.save(options.out / f"{style}.webp", lossless=True, quality=100, method=6)
        print(f"{style}: {len(codes) - len(missing.get(style, []))} of {len(codes)} drawings")
    for style, names in missing.items():
        print(f"{style} lacks: {', '.join(names)}")


if __name__ == "__main__":
    main()
