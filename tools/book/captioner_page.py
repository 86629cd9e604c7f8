"""Make the files that the page book/try.md loads: the captioner as ONNX graphs, what runs them, and
pictures.

    python -m tools.book.captioner_page --cache some/folder

The files are in the repository, so that the book builds without this. It is to be run again when
the shipped captioner, the drawings or the pinned version of ONNX Runtime changed; it needs Node's
``npm`` for the latter. A page that is read from a folder can load scripts alone, so each file is
packed into a script: gzip, in base64.
"""

import argparse
import base64
import gzip
import io
import json
import shutil
import tempfile
from importlib import metadata
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

from mmcourse.book.plotting import show_attention
from mmcourse.data import EmojiScenes
from mmcourse.data.backgrounds import PAINT, paint
from mmcourse.data.drawings import FOLDER as DRAWINGS
from mmcourse.data.drawings import STYLES, nouns, styles_of
from mmcourse.data.language import BACKGROUNDS
from mmcourse.data.sprites import RGB
from mmcourse.hub import load_captioner
from mmcourse.serving.onnx import export
from tools.book.vendor import PAGES, copy, fetch

TRY = Path(__file__).resolve().parents[2] / "book" / "static" / "try"
RUNTIME = PAGES / "onnxruntime"
# npm package, version, sha256 of its archive
ONNXRUNTIME = (
    "onnxruntime-web",
    "1.30.0",
    "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71",
)
SCENES = (3, 10, 14, 21, 26, 33, 40, 47, 58, 66, 77, 91)  # of the split that training never showed
STILL = 10
STYLE = STYLES[0]
DRAWN = 256  # pixels, the side of what one draws on
ON_DEMAND = ("graphs.js", "pictures.js")  # in TRY; the page loads them when they are asked for


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path("vendor-cache"),
        help="folder for the downloaded archive",
    )
    cache = parser.parse_args().cache
    cache.mkdir(parents=True, exist_ok=True)
    pack_runtime(cache)
    captioner = load_captioner("scenes")
    pack_captioner(captioner)
    write_pictures()
    write_scenes()
    write_still(captioner)


def pack_runtime(cache):
    """ONNX Runtime: its script as it is, what it loads packed, and its licences."""
    name, version, sha256 = ONNXRUNTIME
    loaded = ["ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"]
    with fetch(name, version, sha256, cache) as archive:
        copy(archive, {"dist/ort.wasm.min.js": "ort.wasm.min.js"}, RUNTIME)
        members = {name: archive.extractfile(f"package/dist/{name}").read() for name in loaded}
    write_packed(RUNTIME / "packed.js", members, f"{name} {version}, MIT, see NOTICE")
    wheel = metadata.distribution("onnxruntime")  # the archive has no text of the licence
    for text in ("LICENSE", "ThirdPartyNotices.txt"):
        shutil.copyfile(wheel.locate_file(f"onnxruntime/{text}"), RUNTIME / text)


def pack_captioner(captioner):
    """The two graphs of the captioner, and what is about them."""
    with tempfile.TemporaryDirectory() as folder:
        files = {path.name: path.read_bytes() for path in export(captioner, folder)}
    write_packed(TRY / "graphs.js", files, "the captioner of scenes, from mmcourse export")


def write_packed(path, files, note):
    """A script that puts files, packed, where the page unpacks them."""
    lines = [f"// Made by tools/book/captioner_page.py: {note}.", "globalThis.packedFiles ??= {};"]
    for name, content in files.items():
        packed = base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()
        lines.append(f'globalThis.packedFiles["{name}"] = "{packed}";')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_pictures():
    """What one draws with: the drawings of one artist, the backgrounds, and the colours."""
    sheet = (DRAWINGS / f"{STYLE}.webp").read_bytes()
    drawn = [
        {"name": noun.name, "category": noun.category, "place": place}
        for place, noun in enumerate(nouns())
        if STYLE in styles_of(noun.name)
    ]
    backgrounds = [
        {"name": BACKGROUNDS[name][1][0], "picture": png(paint(name, DRAWN, Random(name)))}
        for name in PAINT
    ]
    content = {
        "sheet": f"data:image/webp;base64,{base64.b64encode(sheet).decode()}",
        "nouns": drawn,
        "backgrounds": backgrounds,
        "colours": {
            name: f"rgb({red}, {green}, {blue})" for name, (red, green, blue) in RGB.items()
        },
    }
    write_script("pictures.js", "coursePictures", content, "see mmcourse/data/drawings/NOTICE")


def write_scenes():
    """Scenes to choose from, and how much the page loads for the captioner."""
    split = EmojiScenes("val")
    scenes = []
    for index in SCENES:
        scene = split[index]
        picture = png(Image.fromarray(scene.image))
        scenes.append({"picture": picture, "truth": scene.captions[0]})
    loaded = [RUNTIME / "ort.wasm.min.js", RUNTIME / "packed.js", TRY / "graphs.js"]
    megabytes = round(sum(path.stat().st_size for path in loaded) / 1e6, 1)
    content = {"scenes": scenes, "megabytes": megabytes}
    write_script("scenes.js", "courseScenes", content, "scenes of the split val")


def write_script(name, variable, content, note):
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    head = f"// Made by tools/book/captioner_page.py; {note}.\n"
    (TRY / name).write_text(f"{head}globalThis.{variable} = {text};\n", encoding="utf-8")


def png(image):
    """A Pillow picture as the address of a PNG that holds itself."""
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def write_still(captioner):
    """The picture for paper, and for browsers that cannot run the captioner."""
    scene = EmojiScenes("val")[STILL]
    found = captioner.caption(scene.image, "greedy")
    figure = show_attention(np.asarray(scene.image), found.tokens, found.attention)
    figure.savefig(TRY / "still.png", bbox_inches="tight", dpi=130)


if __name__ == "__main__":
    main()
