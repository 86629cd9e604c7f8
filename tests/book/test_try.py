"""The page on which a reader tries the captioner: in a browser, from a folder, with no network."""

import base64
import gzip
import io
import json
import re
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from PIL import Image

from book._ext.tried import PAGE, SCRIPTS, written
from mmcourse.captioning.confidence import nouns_of
from mmcourse.data import EmojiScenes
from mmcourse.data.drawings import nouns
from mmcourse.data.pictures import load_picture
from mmcourse.hub import load_captioner
from mmcourse.serving.onnx import ABOUT, PICTURE, WORDS, OnnxCaptioner
from tests.book.pages import PAGES, ROOT
from tests.book.test_browser import AXE, NOT_OURS, TOO_WIDE, opened
from tools.book.captioner_page import ON_DEMAND, RUNTIME, SCENES, TRY
from tools.book.captioner_page_study import in_page

SAID = re.compile(r"“(.*)”\. It gives (\d+)\s% that every noun is right")
DICE = np.random.default_rng(0)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def captioner():
    return load_captioner("scenes")


@pytest.fixture(scope="module")
def address(site, tmp_path_factory):
    """The page in a folder whose name has spaces and letters that are not ASCII."""
    folder = tmp_path_factory.mktemp("try") / "Übung 1 (多模态) & mehr"
    folder.symlink_to(site, target_is_directory=True)
    return f"{folder.as_uri()}/{PAGE}.html"


@pytest.fixture
def fresh(browser, address):
    """The page, opened from a folder. It must not complain, nor ask for anything from elsewhere."""
    with opened(browser, address) as (tab, problems):
        yield tab
        assert problems == []


@pytest.fixture(scope="module")
def shared(browser, address, captioner):
    """The page, its problems, and what is said of its last scene: opened once, which is quicker."""
    last = EmojiScenes("val")[SCENES[-1]].image
    with opened(browser, address) as (tab, problems):
        yield tab, problems, captioner.caption(last, "greedy").text


@pytest.fixture
def page(shared):
    """The page at rest: it has described its last scene, and says nothing more."""
    tab, problems, text = shared
    tab.get_by_role("tab", name="A scene").click()
    tab.locator(".try-scenes button").last.click()
    tab.locator(".try-say").filter(has_text=f"“{text}”").wait_for()
    tab.evaluate("document.querySelector('.try-card > .try-say').textContent = ''")
    yield tab
    assert problems == []


@pytest.fixture
def engine(page):
    """The page, for what its script computes."""
    page.evaluate("Captioner.load().then((about) => { globalThis.ABOUT = about; })")
    return page


def said(tab):
    """The sentence that the page says last, and its confidence in per cent."""
    box = tab.locator(".try-card > .try-say").filter(has_text="that every noun is right")
    box.wait_for()
    sentence, percent = SAID.search(box.inner_text()).groups()
    return sentence, int(percent)


def answers(tab, text):
    """Wait until the page says this in place of a sentence."""
    tab.locator("[role=status]").filter(has_text=text).first.wait_for()
    return True


def encode(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def bring(tab, name, content):
    """Open a file of this name, as with the button of the page."""
    tab.get_by_role("tab", name="A file").click()
    kind = name.rpartition(".")[2]
    kind = {"txt": "text/plain", "svg": "image/svg+xml"}.get(kind, f"image/{kind}")
    tab.get_by_label("Open a picture").set_input_files(
        {"name": name, "mimeType": kind, "buffer": content}
    )


@torch.no_grad()
def test_numbers_are_pythons(engine, captioner):
    for index in (0, 7, 123, 456):
        image = EmojiScenes("val")[index].image
        here = in_page(engine, encode(Image.fromarray(image)), "png")
        np.testing.assert_array_equal(here["pixels"], image.ravel())
        memory = captioner.encode(image[None])
        expected = captioner.decode(memory, torch.tensor([here["ids"]]), return_weights=True)
        for name, numbers in zip(("logits", "attention"), expected, strict=True):
            np.testing.assert_allclose(here[name], numbers.flatten(), atol=1e-4, rtol=0)
        np.testing.assert_allclose(here["memory"], memory.flatten(), atol=1e-4, rtol=0)
        caption = captioner.caption(image, "greedy")
        assert " ".join(here["words"]) == caption.text
        assert here["confidence"] == pytest.approx(caption.confidence, abs=1e-4)
        looks = engine.evaluate(
            """async (image) => {
              const { looks } = await Captioner.caption(Uint8Array.from(image));
              return looks.map((look) => [...look]);
            }""",
            image.ravel().tolist(),
        )
        np.testing.assert_allclose(looks, caption.attention.mean((0, 1)), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "size",
    [
        (64, 64),
        (65, 64),
        (33, 65),
        (1, 1),
        (300, 170),
        (40, 700),
        (10, 25),
        (128, 5),
        (50, 101),
        (1500, 1600),
        (700, 3200),
    ],
)
def test_a_picture_is_made_smaller_as_in_python(engine, size):
    noise = DICE.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    here = in_page(engine, encode(Image.fromarray(noise)), "png")
    np.testing.assert_array_equal(here["pixels"], load_picture(noise).ravel())


def test_what_is_transparent_lies_on_white_as_in_python(engine):
    noise = DICE.integers(0, 256, (90, 120, 4), dtype=np.uint8)
    image = Image.fromarray(noise)
    here = in_page(engine, encode(image), "png")
    assert np.abs(here["pixels"] - load_picture(image).ravel().astype(int)).max() <= 1


def test_a_photograph_that_lies_on_its_side_is_turned(engine):
    turned = Image.Exif()
    turned[0x0112] = 6
    wide = Image.fromarray(DICE.integers(0, 256, (8, 12, 3), dtype=np.uint8)).resize((96, 64))
    content = encode(wide, "JPEG", exif=turned, quality=100, subsampling=0)
    here = in_page(engine, content, "jpeg")
    expected = load_picture(io.BytesIO(content)).ravel().astype(int)
    assert np.abs(here["pixels"] - expected).mean() < 2


def test_nouns_are_found_as_in_python(engine):
    call = "(words) => Captioner.nounsOf(words)"
    names = [noun.name for noun in nouns()]
    text = "a palm tree above two slices of cake on the grass"
    found = [names[number - 1] for number in engine.evaluate(call, text.split())]
    assert sorted(found) == ["palm tree", "slice of cake"]


def test_nothing_large_is_loaded_before_it_is_asked_for(fresh):
    names = fresh.evaluate("performance.getEntriesByType('resource').map((one) => one.name)")
    scripts = {name.rpartition("/")[2].partition("?")[0] for name in names}
    assert not scripts & {*ON_DEMAND, "packed.js", "ort.wasm.min.js"}
    content = json.loads((TRY / "scenes.js").read_text("utf-8").partition("= ")[2].rstrip(";\n"))
    runtime = [RUNTIME / "ort.wasm.min.js", RUNTIME / "packed.js"]
    captioner = sum(path.stat().st_size for path in [*runtime, TRY / "graphs.js"])
    assert content["megabytes"] == round(captioner / 1e6, 1)
    assert captioner + (TRY / "pictures.js").stat().st_size <= 25e6
    assert f"{content['megabytes']} MB" in fresh.locator(".try-say").inner_text()


def test_other_pages_load_nothing_of_it(site):
    files = (*SCRIPTS, *ON_DEMAND, "page.css", "packed.js", "ort.wasm")
    for name in PAGES:
        text = (site / f"{name}.html").read_text(encoding="utf-8")
        loaded = [file for file in files if f"try/{file}" in text or f"onnxruntime/{file}" in text]
        assert loaded == ([*SCRIPTS, "page.css"] if name == PAGE else []), name


def test_the_first_page_leads_there(site):
    assert (
        f'href="{PAGE}.html"' in (site / "index.html").read_text("utf-8").partition("<article")[2]
    )


def test_a_scene_by_mouse_says_what_python_says(page, captioner):
    for number in (1, 5, 9):
        page.locator(".try-scenes button").nth(number).click()
        scene = EmojiScenes("val")[SCENES[number]]
        expected = captioner.caption(scene.image, "greedy")
        page.locator(".try-say").filter(has_text=expected.text).wait_for()
        assert said(page) == (expected.text, round(100 * expected.confidence))
        assert "a hint at most" not in page.locator(".try-output").inner_text()
        note = page.locator(".try-output .try-note").inner_text()
        assert f"Someone who knows the scene says: “{scene.captions[0]}”." in note
        words = zip(expected.tokens[:-1], expected.attention.mean((0, 1)), strict=False)
        sharp = [float(look.max()) if nouns_of(word) else 0.0 for word, look in words]
        chosen = page.locator(".try-sentence [aria-checked=true]").inner_text()
        assert chosen == expected.tokens[int(np.argmax(sharp))]
        assert page.locator(".try-sentence button").all_inner_texts() == [
            *expected.tokens[:-1],
            "■",
        ]


RECORD = """(selector) => {
  const element = document.querySelector(selector);
  globalThis.recorder?.disconnect();
  globalThis.recorded = [];
  globalThis.recorder = new MutationObserver(() => recorded.push(element.textContent));
  recorder.observe(element, { childList: true });
}"""


def test_of_pictures_that_are_chosen_quickly_the_last_one_counts(page, captioner):
    expected = captioner.caption(EmojiScenes("val")[SCENES[9]].image, "greedy")
    page.evaluate(RECORD, ".try-card > .try-say")
    page.evaluate(
        """() => {
          const scenes = document.querySelectorAll(".try-scenes button");
          [1, 5, 9].forEach((number) => scenes[number].click());
        }"""
    )
    assert said(page)[0] == expected.text
    sentences = [text for text in page.evaluate("recorded") if "It gives" in text]
    assert len(sentences) == 1
    words = page.locator(".try-sentence button")
    assert words.all_inner_texts() == [*expected.tokens[:-1], "■"]


def test_a_picture_that_comes_while_words_are_written_takes_their_place(page, captioner):
    expected = captioner.caption(EmojiScenes("val")[SCENES[9]].image, "greedy")
    page.evaluate(
        """() => {
          const scenes = document.querySelectorAll(".try-scenes button");
          const words = document.querySelector(".try-sentence");
          const next = new MutationObserver(() => {
            if (words.querySelectorAll("button").length !== 2) return;
            next.disconnect();
            scenes[9].click();
          });
          next.observe(words, { childList: true, subtree: true });
          scenes[1].click();
        }"""
    )
    assert said(page)[0] == expected.text
    words = page.locator(".try-sentence button")
    assert words.all_inner_texts() == [*expected.tokens[:-1], "■"]


def test_who_hears_the_page_hears_of_one_word_and_after_the_sentence(page):
    page.evaluate(RECORD, ".try-look")
    page.locator(".try-scenes button").nth(3).click()
    said(page)
    page.locator(".try-look").filter(has_text="it looked most").wait_for()
    assert len([text for text in page.evaluate("recorded") if text]) == 1
    name = page.locator(".try-frame svg").get_attribute("aria-label")
    assert name.endswith("where the captioner looked in the picture")


def test_all_by_keyboard(page, captioner):
    page.get_by_role("tab", name="A scene").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expected = captioner.caption(EmojiScenes("val")[SCENES[1]].image, "greedy")
    page.locator(".try-say").filter(has_text=expected.text).wait_for()
    weights = expected.attention.mean((0, 1))  # (T, N)
    page.keyboard.press("Tab")
    page.keyboard.press("End")
    assert "To end the sentence it looked" in page.locator(".try-look").inner_text()
    for _ in expected.tokens:
        page.keyboard.press("ArrowLeft")
    for word, look in zip(expected.tokens[:-1], weights, strict=False):
        row, column = divmod(int(look.argmax()), 8)
        text = page.locator(".try-look").inner_text()
        assert f"For “{word}” it looked most at row {row + 1}, column {column + 1}" in text
        assert f"{100 * look.max():.0f}\xa0%" in text
        veil = "parts => parts.map((part) => +part.getAttribute('fill-opacity'))"
        faded = page.locator(".try-veil").evaluate_all(veil)
        np.testing.assert_allclose(faded, 0.9 * (1 - look / look.max()), atol=2e-3)
        frame = page.locator(".try-peak")
        corner = [frame.get_attribute("x"), frame.get_attribute("y")]
        assert corner == [str(8 * column), str(8 * row)]
        page.keyboard.press("ArrowRight")
    assert "To end the sentence it looked" in page.locator(".try-look").inner_text()


def test_a_photograph_from_a_file(page, captioner):
    path = ROOT / "mmcourse/data/photographs/Images/cat.jpg"
    bring(page, "cat.jpg", path.read_bytes())
    sentence, percent = said(page)
    assert sentence and 0 <= percent <= 100
    doubted = (
        "That is low: it may well be wrong" in page.locator(".try-card > .try-say").inner_text()
    )
    caption = captioner.caption(str(path), "greedy")
    assert doubted == (caption.confidence < captioner.low_confidence)
    assert doubted  # as for most photographs
    assert "it is a hint at most" in page.locator(".try-output").inner_text()
    assert page.locator(".try-scenes [aria-checked=true]").count() == 0  # it is no scene
    with page.expect_file_chooser():
        page.get_by_label("Open a picture").click()
    assert page.get_by_label("Open a picture").input_value() == ""  # the same file may come again
    width, height = Image.open(path).size
    assert f"The picture has {width} × {height} pixels" in page.locator(".try-output").inner_text()


NOISE = Image.fromarray(DICE.integers(0, 256, (80, 80, 3), dtype=np.uint8))


def bomb(width, height):
    return encode(Image.new("1", (width, height)))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("words.txt", b"no picture", "“words.txt” is no picture that this browser can read. Bring"),
        ("empty.png", b"", "“empty.png” is empty. Bring a PNG"),
        (
            "drawing.svg",
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            "is a drawing in SVG, which has no",
        ),
        ("cut.png", encode(Image.new("RGB", (9, 9)))[:40], "is no picture that this browser can"),
        ("half.png", encode(NOISE)[:9000], "“half.png” is cut off or damaged: copy or download it"),
        ("huge.png", bomb(10_000, 10_000), "10000 × 10000 pixels, and the page takes up to 50 mil"),
        ("long.png", bomb(20_000, 1), "no side longer than 16,384. Make it smaller first"),
        ("tall.png", bomb(1, 20_000), "no side longer than 16,384. Make it smaller first"),
    ],
)
def test_bad_files_get_a_sentence_that_says_what_to_do(page, name, content, sentence):
    bring(page, name, content)
    assert answers(page, sentence)
    assert page.locator(".try-sentence button, .try-frame image[href]").count() == 0
    bring(page, "good.png", encode(Image.fromarray(EmojiScenes("val")[10].image)))
    assert said(page)[0]


def frames(kind, **options):
    first, second = [Image.fromarray(EmojiScenes("val")[index].image) for index in (10, 11)]
    moving = {"save_all": True, "append_images": [second], "duration": 100, "lossless": True}
    return encode(first, kind, **moving, **options)


def test_of_an_animation_the_first_picture_counts(page, captioner):
    note = page.locator(".try-output .try-note")
    for kind in ("GIF", "PNG", "WEBP"):
        bring(page, f"moving.{kind.lower()}", frames(kind))
        note.filter(has_text="sees its first picture only").wait_for()
        expected = captioner.caption(io.BytesIO(frames(kind)), "greedy").text
        page.locator(".try-say").filter(has_text=f"“{expected}”").wait_for()
        still = encode(Image.new("RGB", (65, 64), "red"), kind)
        bring(page, f"still.{kind.lower()}", still)
        note.filter(has_text="65 × 64").filter(has_not_text="first picture only").wait_for()


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "JPEG", "BMP"])
def test_an_animation_is_told_from_a_picture(engine, kind):
    profile = {} if kind in ("GIF", "BMP") else {"icc_profile": DICE.bytes(1000)}
    scene = Image.fromarray(EmojiScenes("val")[10].image)
    call = "(bytes) => Captioner.animated(Uint8Array.from(bytes))"
    for options in ({}, profile):
        assert engine.evaluate(call, list(encode(scene, kind, **options))) is False
        if kind in ("GIF", "PNG", "WEBP"):
            assert engine.evaluate(call, list(frames(kind, **options))) is True


def test_a_transparent_picture_is_said_to_lie_on_white(page):
    bring(page, "glass.png", encode(Image.new("RGBA", (80, 60), (200, 0, 0, 90))))
    note = page.locator(".try-output .try-note").filter(has_text="transparent: they lie on white")
    note.wait_for()


def test_a_picture_can_be_dropped_and_pasted(page, captioner):
    image = EmojiScenes("val")[40].image
    content = base64.b64encode(encode(Image.fromarray(image))).decode()
    expected = captioner.caption(image, "greedy").text
    for kind, target in (("drop", ".try-card"), ("paste", "body")):
        page.locator(".try-scenes button").first.dispatch_event("click")
        page.locator(".try-say").filter(has_not_text=expected).filter(
            has_text="It gives"
        ).wait_for()
        page.evaluate(
            """([kind, target, content]) => {
              const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
              const data = new DataTransfer();
              data.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
              data.items.add(new File(["no picture"], "second.txt", { type: "text/plain" }));
              const options = { bubbles: true, cancelable: true };
              const event = kind === "drop"
                ? new DragEvent("drop", { dataTransfer: data, ...options })
                : new ClipboardEvent("paste", { clipboardData: data, ...options });
              document.querySelector(target).dispatchEvent(event);
            }""",
            [kind, target, content],
        )
        page.locator(".try-say").filter(has_text=expected).wait_for()
        note = page.locator(".try-output .try-note").inner_text()
        assert "Of 2 files it took the first." in note


def test_without_a_camera_it_says_what_to_do(fresh):
    fresh.get_by_role("tab", name="A photograph").click()
    for error, sentence in [
        ("NotAllowedError", "Allow it (beside the address of the page), or open a file"),
        ("NotFoundError", "There is no camera here. Connect one, or open a file"),
        ("NotReadableError", "The camera is busy"),
        ("OddError", "browsers allow it for pages whose address begins with https"),
    ]:
        fresh.evaluate(
            """(name) => { navigator.mediaDevices.getUserMedia = async () => {
              throw new DOMException("no", name); }; }""",
            error,
        )
        fresh.get_by_role("button", name="Start the camera").click()
        assert answers(fresh, sentence)
    fresh.evaluate("Object.defineProperty(navigator, 'mediaDevices', { value: undefined })")
    fresh.get_by_role("button", name="Start the camera").click()
    assert answers(fresh, "Open a file instead")


LATE = """() => { // the reader takes long to allow the camera
  const devices = navigator.mediaDevices, ask = devices.getUserMedia.bind(devices);
  devices.getUserMedia = async (wish) => {
    const stream = await ask(wish);
    globalThis.track = stream.getTracks()[0];
    await new Promise((resolve) => { globalThis.allow = resolve; });
    return stream;
  };
}"""


@contextmanager
def with_a_camera(browser, chromium, address):
    """The page in a browser with a camera, and its problems; a photograph was taken."""
    flags = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with (
        browser.browser_type.launch(
            executable_path=chromium, args=["--disable-gpu", *flags]
        ) as own,
        opened(own, address) as (tab, problems),
    ):
        tab.get_by_role("tab", name="A photograph").click()
        tab.get_by_role("button", name="Start the camera").click()
        tab.get_by_role("button", name="Take the picture").click()
        assert said(tab)[0]
        tab.evaluate("globalThis.track = document.querySelector('video').srcObject.getTracks()[0]")
        yield tab, problems


def test_a_photograph_is_taken_and_the_camera_stopped(browser, chromium, address):
    with with_a_camera(browser, chromium, address) as (tab, problems):
        tab.get_by_role("tab", name="A scene").click()
        assert tab.evaluate("track.readyState") == "ended"
        tab.evaluate(LATE)
        tab.get_by_role("tab", name="A photograph").click()
        tab.get_by_role("button", name="Start the camera").click()
        tab.wait_for_function("globalThis.allow !== undefined")  # else Playwright calls it
        tab.get_by_role("tab", name="A file").click()
        tab.evaluate("allow()")
        tab.wait_for_function("track.readyState === 'ended'")
        assert tab.evaluate("document.querySelector('video').srcObject") is None
        assert problems == []


def paper_of(tab):
    tab.get_by_role("tab", name="A drawing").click()
    paper = tab.locator("canvas.try-paper")
    paper.wait_for()
    return paper


DRAWN = "() => document.querySelector('canvas.try-paper').toDataURL()"


def test_a_drawing_by_mouse_and_by_keyboard(fresh):
    page = fresh
    paper = paper_of(page)
    blank = page.evaluate(DRAWN)
    page.get_by_role("button", name="Undo").click()
    assert answers(page, "There is nothing to undo")
    page.locator("select").and_(page.get_by_label("Stamp", exact=True)).select_option(label="pear")
    box = paper.bounding_box()
    middle = {"x": box["width"] / 2, "y": box["height"] / 2}
    paper.dispatch_event("pointerdown", {"button": 2, "isPrimary": True})
    assert page.evaluate(DRAWN) == blank
    paper.click(position=middle)
    sentence, percent = said(page)
    assert "pear" in sentence and percent > 50
    by_mouse = page.evaluate(DRAWN)
    page.get_by_role("button", name="Undo").click()
    assert page.evaluate(DRAWN) == blank != by_mouse
    paper.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert page.locator(".try-cross").is_visible()
    page.keyboard.press("Enter")
    by_keyboard = page.evaluate(DRAWN)
    assert by_keyboard != blank
    page.get_by_role("radio", name="Brush").click()
    paper.focus()
    page.keyboard.press("Space")
    dotted = page.evaluate(DRAWN)
    assert dotted != by_keyboard
    box = paper.bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 150, box["y"] + 90, steps=4)
    page.mouse.up()
    assert page.evaluate(DRAWN) != dotted
    page.get_by_role("button", name="Undo").click()
    assert page.evaluate(DRAWN) == dotted
    page.get_by_role("button", name="Begin again").click()
    assert page.evaluate(DRAWN) == blank
    assert answers(page, "The paper is empty")
    page.get_by_role("button", name="Undo").click()
    assert page.evaluate(DRAWN) == dotted
    assert said(page)


def test_what_is_drawn_stays_where_the_place_changes(fresh):
    page = fresh
    paper = paper_of(page)
    where = page.locator("select").and_(page.get_by_label("Where", exact=True))
    blank = {}
    for place in ("on a beach", "in the snow"):
        where.select_option(label=place)
        blank[place] = page.evaluate(DRAWN)
        assert answers(page, "The paper is empty")
    page.locator("select").and_(page.get_by_label("Stamp", exact=True)).select_option(label="pear")
    box = paper.bounding_box()
    paper.click(position={"x": box["width"] / 2, "y": box["height"] / 2})
    in_snow = page.evaluate(DRAWN)
    page.get_by_role("radio", name="Brush").click()
    paper.focus()
    page.keyboard.press("Space")
    dotted = page.evaluate(DRAWN)
    where.select_option(label="on a beach")
    on_sand = page.evaluate(DRAWN)
    assert len({dotted, on_sand, *blank.values()}) == 4
    page.get_by_role("button", name="Undo").click()
    assert page.evaluate(DRAWN) == dotted
    assert where.evaluate("one => one.selectedOptions[0].label") == "in the snow"
    page.get_by_role("button", name="Undo").click()
    assert page.evaluate(DRAWN) == in_snow
    assert "pear" in said(page)[0]
    page.get_by_role("button", name="Undo").click()
    assert page.evaluate(DRAWN) == blank["in the snow"]
    assert answers(page, "The paper is empty")
    assert page.locator(".try-sentence button").count() == 0


def test_a_drawing_does_not_take_the_place_of_what_came_after_it(page, captioner):
    paper_of(page)
    expected = captioner.caption(EmojiScenes("val")[SCENES[1]].image, "greedy").text
    page.evaluate(
        """() => {
          const paper = document.querySelector("canvas.try-paper");
          paper.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
          document.querySelectorAll(".try-scenes button")[1].click();
        }"""
    )
    assert said(page)[0] == expected
    page.wait_for_timeout(500)
    assert said(page)[0] == expected


def test_by_touch_on_a_phone(browser, address):
    with opened(browser, address, 390, has_touch=True, is_mobile=True) as (tab, problems):
        tab.locator(".try-scenes button").nth(2).tap()
        assert said(tab)[0]
        tab.locator(".try-sentence button").first.tap()
        assert "it looked most at row" in tab.locator(".try-look").inner_text()
        tab.get_by_role("tab", name="A drawing").tap()
        paper = tab.locator("canvas.try-paper")
        paper.wait_for()
        blank = tab.evaluate(DRAWN)
        paper.tap()
        assert tab.evaluate(DRAWN) != blank
        assert said(tab)[0]
        paper.scroll_into_view_if_needed()
        answer = tab.locator(".try-say").bounding_box()  # in view, without scrolling to it
        assert answer["y"] >= 0 and answer["y"] + answer["height"] <= 900
        small = "parts => parts.map((e) => e.getBoundingClientRect().height).filter((h) => h < 24)"
        assert tab.locator(".try-card :is(button, select):visible").evaluate_all(small) == []
        assert problems == []


@contextmanager
def without(browser, address, script):
    """The page in a browser that lacks what a script takes away."""
    with browser.new_page() as tab:
        tab.set_default_timeout(120_000)
        tab.add_init_script(script)
        tab.goto(address)
        yield tab


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ("delete globalThis.WebAssembly", "This browser has no WebAssembly"),
        ("WebAssembly.validate = () => false", "This browser has no WebAssembly"),
        ("delete globalThis.DecompressionStream", "This browser is too old to unpack"),
    ],
)
def test_a_browser_that_cannot_gets_a_sentence_and_a_still_picture(
    browser, address, script, sentence
):
    with without(browser, address, script) as tab:
        assert sentence in tab.locator("#try-captioner").inner_text()
        assert tab.locator(".try-still img").is_visible() and not tab.locator(".try-card").count()


def test_the_still_picture_is_for_paper_and_for_browsers_without_scripts(browser, address):
    with opened(browser, address) as (tab, _):
        assert not tab.locator(".try-still").is_visible() and tab.locator(".try-card").is_visible()
        tab.emulate_media(media="print")
        assert tab.locator(".try-still").is_visible() and not tab.locator(".try-card").is_visible()
    with opened(browser, address, java_script_enabled=False) as (tab, _):
        assert tab.locator(".try-still img").is_visible()
        assert "scripts are off" in tab.locator("article noscript").inner_text()


def test_a_folder_that_is_not_whole_is_told_and_can_be_mended(browser, address):
    with browser.new_page() as tab:
        tab.set_default_timeout(120_000)
        tab.route("**/graphs.js", lambda route: route.abort())
        tab.goto(address)
        tab.locator(".try-scenes button").first.click()
        assert answers(tab, "graphs.js did not come. Reload the page")
        tab.unroute("**/graphs.js")
        tab.locator(".try-scenes button").nth(1).click()
        assert said(tab)[0]
        tab.evaluate("void (Captioner.fit = () => { throw new RangeError('no memory'); })")
        tab.locator(".try-scenes button").first.click()
        assert answers(tab, "This did not work; your browser says: “no memory”. Reload the page")


def test_every_state_is_accessible_and_fits(fresh):
    options = {
        "resultTypes": ["violations"],
        "preload": False,  # axe asks for style sheets again, which a page from a folder may not
        "rules": {rule: {"enabled": False} for rule in NOT_OURS},
    }
    fresh.add_style_tag(content="* { transition: none !important; }")
    fresh.locator(".try-scenes button").first.click()
    said(fresh)
    fresh.evaluate(AXE)
    for panel in ("A scene", "A file", "A photograph", "A drawing"):
        fresh.get_by_role("tab", name=panel).click()
        if panel == "A drawing":
            fresh.locator("canvas.try-paper").wait_for()
        for width, theme in ((1440, "light"), (1440, "dark"), (320, "dark")):
            fresh.set_viewport_size({"width": width, "height": 900})
            fresh.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
            assert fresh.evaluate(TOO_WIDE) == []
            found = fresh.evaluate("options => axe.run('#try-captioner', options)", options)
            violations = [rule["id"] for rule in found["violations"]]
            assert violations == [], (panel, width, theme)


def test_numbers_are_written_as_people_write_them(site):
    assert [written(value) for value in (500, 9.346e-05, 0.00123, 0.277, 0.0, 2.0)] == [
        "500",
        "0.000093",
        "0.0012",
        "0.277",
        "0.0",
        "2.0",
    ]
    assert ">0.000093<" in (site / f"{PAGE}.html").read_text(encoding="utf-8")


def test_the_graphs_are_those_of_the_shipped_captioner(engine, captioner, tmp_path):
    """tools/book/captioner_page.py was run since the captioner changed."""
    lines = (TRY / "graphs.js").read_text(encoding="utf-8").splitlines()
    packed = dict(re.findall(r'packedFiles\["(.*?)"\] = "(.*?)";', "\n".join(lines)))
    assert set(packed) == {PICTURE, WORDS, ABOUT}
    for name, content in packed.items():
        (tmp_path / name).write_bytes(gzip.decompress(base64.b64decode(content)))
    graphs = OnnxCaptioner(tmp_path)
    images = np.stack([EmojiScenes("style")[index].image for index in range(3)])
    memory, _ = graphs.see(images)
    with torch.no_grad():
        np.testing.assert_allclose(memory, captioner.encode(images), atol=1e-4, rtol=0)
    assert graphs.about["words"] == captioner.words
    assert graphs.about["calibration"] == list(captioner.calibration)
    assert len(nouns()) == 325 and "325 things" in (ROOT / f"{PAGE}.md").read_text("utf-8")


@pytest.mark.parametrize("rows", [slice(0, 800), slice(800, 1600)])
def test_what_is_transparent_in_a_large_picture_lies_on_white_and_is_told(engine, rows):
    image = np.full((1600, 1500, 4), (200, 0, 0, 255), np.uint8)  # which is read in two bands
    image[rows] = 0
    pixels, notes = engine.evaluate(
        """async (bytes) => {
          const file = new File([Uint8Array.from(bytes)], "glass.png", { type: "image/png" });
          const source = await Captioner.open(file);
          return [[...Captioner.fit(source)], source.notes];
        }""",
        list(encode(Image.fromarray(image))),
    )
    expected = load_picture(Image.fromarray(image)).ravel()
    assert np.abs(np.subtract(pixels, expected, dtype=int)).max() <= 1
    assert notes == ["Parts of it are transparent: they lie on white."]


def test_a_sentence_ends_where_it_is_as_long_as_may_be(engine, captioner):
    image = EmojiScenes("val")[0].image
    words, looks = engine.evaluate(
        """async (image) => {
          const { memory } = await Captioner.see(Uint8Array.from(image));
          const longest = ABOUT.max_length;
          ABOUT.max_length = 3;
          const { words, looks } = await Captioner.write(memory);
          ABOUT.max_length = longest;
          return [words, looks.length];
        }""",
        image.ravel().tolist(),
    )
    assert words == captioner.caption(image, "greedy").tokens[:3] and looks == 3


def test_a_sentence_that_is_stopped_has_one_word_and_without_a_noun_no_confidence(
    engine, captioner
):
    image = EmojiScenes("val")[0].image
    call = "(image) => Captioner.caption(Uint8Array.from(image), () => false)"
    found = engine.evaluate(call, image.ravel().tolist())
    assert found["words"] == captioner.caption(image, "greedy").tokens[:1]
    assert nouns_of(found["words"][0]) == [] and found["confidence"] == 0


def test_a_noun_that_is_named_twice_counts_once(engine):
    call = "(words) => Captioner.nounsOf(words)"
    names = [noun.name for noun in nouns()]
    text = "a palm tree above a car and a palm tree"
    found = engine.evaluate(call, text.split())
    assert sorted(names[number - 1] for number in found) == ["car", "palm tree"]


def test_a_gif_with_a_control_block_is_still(engine):
    scene = Image.fromarray(EmojiScenes("val")[10].image)
    call = "(bytes) => Captioner.animated(Uint8Array.from(bytes))"
    content = encode(scene, "GIF", transparency=0)
    assert b"\x21\xf9\x04" in content
    assert engine.evaluate(call, list(content)) is False


def test_doubt_is_told_where_the_confidence_is_low(page, captioner):
    for number in (1, 5, 9):
        page.locator(".try-scenes button").nth(number).click()
        expected = captioner.caption(EmojiScenes("val")[SCENES[number]].image, "greedy")
        say = page.locator(".try-card > .try-say").filter(has_text=f"“{expected.text}”. It gives")
        doubted = "it may well be wrong" in say.inner_text()
        assert doubted == (expected.confidence < captioner.low_confidence)


def test_of_a_bad_file_nothing_earlier_stays(page):
    assert "it looked most" in page.locator(".try-look").inner_text()
    bring(page, "words.txt", b"no picture")
    assert answers(page, "is no picture that this browser can read")
    assert page.locator(".try-look").inner_text() == ""
    assert page.locator(".try-output .try-note").inner_text() == ""


def test_the_browser_leaves_what_is_dropped_to_the_page(page):
    taken = """(name) => {
      const data = new DataTransfer();
      data.items.add(new File(["no picture"], "words.txt", { type: "text/plain" }));
      const event = new DragEvent(name, { dataTransfer: data, bubbles: true, cancelable: true });
      return !document.querySelector(".try-card").dispatchEvent(event);
    }"""
    assert page.evaluate(taken, "dragover")  # else nothing can be dropped
    assert page.evaluate(taken, "drop")  # else the browser opens it in place of the page
    assert answers(page, "is no picture that this browser can read")


def test_a_photograph_has_the_cameras_pixels_and_the_button_stops_it(browser, chromium, address):
    with with_a_camera(browser, chromium, address) as (tab, problems):
        width, height = tab.evaluate(
            "(({ videoWidth, videoHeight }) => [videoWidth, videoHeight])"
            "(document.querySelector('video'))"
        )
        note = tab.locator(".try-output .try-note").inner_text()
        assert width != height and f"The picture has {width} × {height} pixels" in note
        tab.get_by_role("button", name="Stop the camera").click()
        assert tab.evaluate("track.readyState") == "ended"
        assert not tab.get_by_role("button", name="Take the picture").is_visible()
        assert tab.get_by_role("button", name="Start the camera").is_visible()
        assert problems == []


def select(tab, name, label):
    tab.locator("select").and_(tab.get_by_label(name, exact=True)).select_option(label=label)


def take_brush(tab, colour):
    tab.get_by_role("radio", name="Brush").click()
    select(tab, "Colour", colour)


def is_black(tab, x, y):
    """Whether a pixel of the drawing has the black of the brush."""
    paper = tab.locator("canvas.try-paper")
    call = "(paper, [x, y]) => [...paper.getContext('2d').getImageData(x, y, 1, 1).data]"
    return paper.evaluate(call, [x, y]) == [20, 20, 20, 255]


def test_a_line_is_drawn_where_the_mouse_goes(fresh):
    paper = paper_of(fresh)
    take_brush(fresh, "black")
    box = paper.bounding_box()
    corners = [(box["x"] + x * box["width"], box["y"] + y * box["height"])
               for x, y in ((0.1, 0.25), (0.5, 0.25), (0.5, 0.75))]  # fmt: skip
    fresh.mouse.move(*corners[0])
    fresh.mouse.down()
    for corner in corners[1:]:
        fresh.mouse.move(*corner)
    fresh.mouse.up()
    assert is_black(fresh, 64, 64) and is_black(fresh, 128, 128)  # of 256 x 256
    assert not is_black(fresh, 77, 128)  # between the first corner and the last


def test_arrows_move_the_cross_and_other_fingers_draw_nothing(fresh):
    paper = paper_of(fresh)
    blank = fresh.evaluate(DRAWN)
    paper.dispatch_event("pointerdown", {"button": 0, "isPrimary": False})
    assert fresh.evaluate(DRAWN) == blank
    take_brush(fresh, "black")
    paper.focus()
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", "ArrowUp", "ArrowUp", "ArrowUp", "Space"):
        fresh.keyboard.press(key)
    assert is_black(fresh, 152, 104) and not is_black(fresh, 128, 128)
    for key in ("ArrowLeft", "ArrowDown", "ArrowDown", "ArrowDown", "ArrowDown", "Space"):
        fresh.keyboard.press(key)
    assert is_black(fresh, 144, 136)


def test_a_stamp_is_as_large_as_it_is_told(fresh):
    paper_of(fresh)
    blank = fresh.evaluate(DRAWN)
    drawn = []
    for size in ("small", "medium", "big"):
        select(fresh, "Size", size)
        fresh.locator("canvas.try-paper").press("Enter")
        drawn.append(fresh.evaluate(DRAWN))
        fresh.get_by_role("button", name="Undo").click()
    assert len({blank, *drawn}) == 4


def test_what_is_drawn_stays_as_it_was_drawn(fresh):
    paper = paper_of(fresh)
    for stamp, size in (("pear", "big"), ("car", "small")):
        select(fresh, "Stamp", stamp)
        select(fresh, "Size", size)
        paper.press("Enter")
        for _ in range(9):
            paper.press("ArrowLeft")
    for colour, width in (("black", "30"), ("white", "10")):
        take_brush(fresh, colour)
        fresh.get_by_label("Width").fill(width)
        paper.press("Space")
        for _ in range(9):
            paper.press("ArrowDown")
    before = fresh.evaluate(DRAWN)
    select(fresh, "Where", "in the snow")
    fresh.get_by_role("button", name="Undo").click()
    assert fresh.evaluate(DRAWN) == before


def test_a_hundred_steps_can_be_undone(fresh):
    paper = paper_of(fresh)
    take_brush(fresh, "black")
    drawn = []
    for number in range(103):
        paper.press("ArrowLeft" if number < 50 and number % 2 else "ArrowUp")
        paper.press("Space")
        drawn.append(fresh.evaluate(DRAWN))
    undo = fresh.get_by_role("button", name="Undo")
    for number in range(100):
        undo.click()
        assert fresh.evaluate(DRAWN) == drawn[101 - number]
    undo.click()
    assert answers(fresh, "There is nothing to undo")


def test_of_paper_that_became_empty_nothing_is_said(fresh):
    paper = paper_of(fresh)
    paper.press("Enter")
    said(fresh)
    fresh.evaluate(
        """() => {
          const words = document.querySelector(".try-sentence");
          const next = new MutationObserver(() => {
            if (words.querySelectorAll("button").length !== 2) return;
            next.disconnect();
            [...document.querySelectorAll(".try-button")]
              .find((one) => one.textContent === "Begin again").click();
          });
          next.observe(words, { childList: true, subtree: true });
        }"""
    )
    paper.press("Enter")
    assert answers(fresh, "The paper is empty")
    fresh.wait_for_timeout(500)
    assert "The paper is empty" in fresh.locator(".try-card > .try-say").inner_text()
    assert fresh.locator(".try-sentence button").count() == 0


def test_no_scene_is_marked_while_there_is_paper(fresh):
    fresh.locator(".try-scenes button").first.click()
    said(fresh)
    paper_of(fresh)
    select(fresh, "Where", "in the snow")
    assert answers(fresh, "The paper is empty")
    assert fresh.locator(".try-scenes [aria-checked=true]").count() == 0


def test_drawings_that_did_not_come_can_come_later(browser, address):
    with browser.new_page() as tab:
        tab.set_default_timeout(120_000)
        tab.route("**/pictures.js", lambda route: route.abort())
        tab.goto(address)
        tab.get_by_role("tab", name="A drawing").click()
        assert answers(tab, "pictures.js did not come. Reload the page")
        tab.unroute("**/pictures.js")
        tab.get_by_role("tab", name="A scene").click()
        paper_of(tab)


def test_a_word_under_the_mouse_shows_where_it_looked(page):
    for number in (0, 1):
        word = page.locator(".try-sentence button").nth(number)
        word.hover()
        start = f"For “{word.inner_text()}” it looked"
        page.locator(".try-look").filter(has_text=start).wait_for()


def test_arrows_down_and_up_go_on_and_back(page):
    page.get_by_role("tab", name="A scene").focus()
    for key, name in (
        ("ArrowDown", "A file"),
        ("ArrowDown", "A photograph"),
        ("ArrowUp", "A file"),
    ):
        page.keyboard.press(key)
        assert page.get_by_role("tab", selected=True).inner_text() == name
