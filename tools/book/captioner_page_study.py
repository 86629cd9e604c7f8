"""Compare the captioner of the page book/try.md with Python's, over 500 scenes and the photographs.

    python -m tools.book.captioner_page_study

The script of the page runs in Chromium, from a folder, on pictures as files. What is found is
stored as the study ``serving_page``, which the page shows (``{tried}`` in book/_ext/tried.py).
"""

import base64
import io
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from playwright.sync_api import sync_playwright

from mmcourse.data import EmojiScenes
from mmcourse.data.pictures import load_picture
from mmcourse.hub import load_captioner
from mmcourse.recipes.stored import machine, write_study
from tools.book.captioner_page import TRY
from tools.book.pdf import find_browser

SCENES = 500
PHOTOGRAPHS = Path(__file__).resolve().parents[2] / "mmcourse" / "data" / "photographs" / "Images"
SIZES = ((64, 64), (65, 64), (100, 64), (33, 65), (300, 200), (1, 1), (90, 200), (1600, 1200))
RUN = """async ([content, type]) => {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const began = performance.now();
  const pixels = Captioner.fit(await Captioner.open(new File([bytes], "picture", { type })));
  const found = await Captioner.caption(pixels);
  const seconds = (performance.now() - began) / 1000;
  const { memory, readings } = await Captioner.see(pixels);
  const written = found.words.map((word) => ABOUT.words.indexOf(word));
  const ids = [ABOUT.start, ...written].slice(0, ABOUT.max_length);
  const { logits, attention } = await Captioner.decode(memory, ids);
  const packed = (numbers) => { // as text, which crosses to Python quickly
    const bytes = new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
    return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  };
  return { pixels: packed(pixels), words: found.words, confidence: found.confidence, seconds, ids,
    memory: packed(memory.data), readings: packed(readings.data), logits: packed(logits.data),
    attention: packed(attention.data) };
}"""


def main():
    captioner = load_captioner("scenes")
    page = Path(tempfile.mkdtemp()) / "page.html"
    script = (TRY / "captioner.js").as_uri()
    page.write_text(f'<!doctype html><meta charset="utf-8"><script src="{script}"></script>')
    with (
        sync_playwright() as play,
        play.chromium.launch(executable_path=find_browser(), args=["--disable-gpu"]) as browser,
    ):
        tab = browser.new_page()
        tab.goto(page.as_uri())
        began = time.perf_counter()
        tab.evaluate("Captioner.load().then((about) => { globalThis.ABOUT = about; })")
        loading = time.perf_counter() - began
        sizes = [compare_size(tab, size) for size in SIZES]
        photographs = compare_photographs(tab, captioner)
        scenes = compare_scenes(tab, captioner)
    found = machine() | {"browser": "Chromium, one thread", "seconds_to_load": round(loading, 2)}
    found |= {"scenes": scenes, "png_of_other_sizes": sizes, "photographs": photographs}
    write_study("serving_page", found)


def in_page(tab, content, kind):
    """What the page makes of the bytes of a picture, a dict."""
    found = tab.evaluate(RUN, [base64.b64encode(content).decode(), f"image/{kind}"])
    found["pixels"] = np.frombuffer(base64.b64decode(found["pixels"]), np.uint8)
    for name in ("memory", "readings", "logits", "attention"):
        found[name] = np.frombuffer(base64.b64decode(found[name]), np.float32)
    return found


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@torch.no_grad()
def compare_scenes(tab, captioner):
    """The numbers and the sentences of so many scenes of val, in the page and in Python."""
    split = EmojiScenes("val")
    apart = dict.fromkeys(("memory", "readings", "logits", "attention", "confidence"), 0.0)
    same = 0
    pixels = 0
    seconds = []
    for index in range(SCENES):
        image = split[index].image
        here = in_page(tab, png(Image.fromarray(image)), "png")
        pixels += int((here["pixels"] != image.ravel()).sum())
        memory = captioner.encode(image[None])
        features = captioner.convolutions(captioner.pixels_of(image[None]))
        logits, attention = captioner.decode(
            memory, torch.tensor([here["ids"]]), return_weights=True
        )
        caption = captioner.caption(image, "greedy")
        there = {
            "memory": memory,
            "readings": captioner.noun_head(features).softmax(-1),
            "logits": logits,
            "attention": attention,
            "confidence": torch.tensor([caption.confidence]),
        }
        for name, numbers in there.items():
            gap = np.abs(here[name] - numbers.flatten().numpy()).max()
            apart[name] = max(apart[name], float(gap))
        same += " ".join(here["words"]) == caption.text
        seconds.append(here["seconds"])
    return {
        "count": SCENES,
        "same_sentences": same,
        "pixels_that_differ": pixels,
        "largest_difference": apart,
        "seconds_median": round(float(np.median(seconds)), 3),
        "seconds_longest": round(max(seconds), 3),
    }


def compare_size(tab, size):
    """How far a PNG of a size lies from Python's, made smaller: in levels of 255."""
    dice = np.random.default_rng(0)
    coarse = dice.integers(0, 256, (size[1] // 5 + 1, size[0] // 5 + 1, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    here = in_page(tab, png(image), "png")
    gap = np.abs(here["pixels"] - load_picture(image).ravel().astype(int))
    return {"size": list(size), "largest": int(gap.max()), "seconds": round(here["seconds"], 2)}


def compare_photographs(tab, captioner):
    """The course's photographs, JPEG files: pixels, sentences, and how often it is in doubt."""
    paths = sorted(PHOTOGRAPHS.glob("*.jpg"))
    means = []
    same = 0
    doubted = 0
    for path in paths:
        here = in_page(tab, path.read_bytes(), "jpeg")
        gap = np.abs(here["pixels"] - load_picture(path).ravel().astype(int))
        means.append(float(gap.mean()))
        caption = captioner.caption(str(path), "greedy")
        same += " ".join(here["words"]) == caption.text
        doubted += bool(here["confidence"] < captioner.low_confidence)
    return {
        "count": len(paths),
        "same_pixels": means.count(0),
        "mean_difference_median": round(float(np.median(means)), 3),
        "mean_difference_largest": round(float(max(means)), 3),
        "same_sentences": same,
        "low_confidence": doubted,
    }


if __name__ == "__main__":
    main()
