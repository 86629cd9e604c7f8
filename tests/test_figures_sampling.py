"""SamplingExplorer: what it refuses, that its arithmetic is the package's, and that a keyboard alone can use it."""

import json
import shutil

import pytest
import torch

from mmcourse.decoding import truncate
from mmcourse.figures.sampling import SamplingExplorer

WORDS = [f"word{number}" for number in range(30)] + ["<end>"]
LOGITS = 2 * torch.randn(2, 31, generator=torch.Generator().manual_seed(0))
MOMENTS = [("a", WORDS, LOGITS[0]), ("a red", WORDS, LOGITS[1])]


@pytest.mark.parametrize("moments, message", [
    ([], "at least one .text so far, words, logits."),
    ([("a", WORDS, LOGITS[0, 1:])], r"logits must be finite numbers of shape \(31\), got shape \(30,\)"),
    ([("a", WORDS, LOGITS[0] * torch.nan)], "logits must be finite numbers"),
])  # fmt: skip
def test_what_cannot_be_shown_is_refused_in_words(moments, message):
    with pytest.raises(ValueError, match=message):
        SamplingExplorer(moments)


def test_words_stand_from_the_largest_down():
    moment = SamplingExplorer(MOMENTS).moments[1]
    assert moment["words"][0] == WORDS[LOGITS[1].argmax()] and len(moment["words"]) == 12
    assert moment["logits"] == pytest.approx(LOGITS[1].sort(descending=True).values.tolist(), abs=6e-4)


def test_still_picture_stands_beside_the_live_one():
    data, _ = SamplingExplorer(MOMENTS)._repr_mimebundle_()
    assert "<svg" in data["image/svg+xml"] and "application/vnd.jupyter.widget-view+json" in data


@pytest.fixture
def page(tmp_path):
    """The figure on a page 320 pixels wide, without a server; an error in its script fails the test."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright (pip install playwright)")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not program:
        pytest.skip("needs a browser: chromium or google-chrome")
    state = {key: value for key, value in SamplingExplorer(MOMENTS).get_state().items() if key != "layout"}
    (tmp_path / "page.html").write_text(f"""<!doctype html><meta charset="utf-8">
<style></style><div id="here"></div><script type="application/json">{json.dumps(state).replace("<", "%3C")}</script>
<script type="module">
const state = JSON.parse(document.querySelector("[type='application/json']").textContent.replaceAll("%3C", "<"));
document.querySelector("style").textContent = state._css;
window.module = await import(URL.createObjectURL(new Blob([state._esm], {{ type: "text/javascript" }})));
module.default.render({{ model: {{ get: (name) => state[name], on() {{}} }}, el: document.getElementById("here") }});
window.state = state;</script>""", encoding="utf-8")  # fmt: skip
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page, errors = browser.new_page(viewport={"width": 320, "height": 800}), []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((tmp_path / "page.html").as_uri())
        page.wait_for_function("window.state")
        yield page
        assert errors == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
        browser.close()


def test_the_page_cuts_as_the_package(page):
    for moment, logits in enumerate(LOGITS.double()):
        ordered = logits.sort(descending=True).values
        for temperature, k, p in [(1, 31, 1), (0.3, 31, 1), (1.7, 5, 1), (0.8, 31, 0.6), (1.2, 9, 0.9), (1, 1, 0.05)]:
            probs = page.evaluate("([m, ...rest]) => module.cut(state.moments[m].logits, ...rest)",
                                  [moment, temperature, k, p])  # fmt: skip
            expected = truncate(ordered / temperature, k, p).softmax(-1)
            torch.testing.assert_close(torch.tensor(probs, dtype=torch.float64), expected, atol=2e-3, rtol=0)
            assert page.evaluate("module.entropy", probs) == pytest.approx(
                torch.special.entr(expected).sum().item() / 0.6931, abs=0.02)  # fmt: skip
    assert page.evaluate("[0, 0.49, 0.51, 0.99].map((x) => module.pick([0.5, 0.3, 0.2, 0], x))") == [0, 0, 1, 2]


def test_by_keyboard(page):
    said = page.get_by_role("status")
    assert "After “a”: 31 of 31 words are left, which held 100.0\u00a0%" in said.text_content()
    page.get_by_role("slider", name="Top-k").press("Home")
    assert "1 of 31 words" in said.text_content() and "among 1.0 equally" in said.text_content()
    page.get_by_role("button", name="Draw 20 words").press("Enter")
    assert page.get_by_role("row").nth(1).get_by_role("cell").last.text_content() == "20"
    page.get_by_role("radio").first.press("ArrowRight")
    assert "After “a red”: 1 of 31" in said.text_content()
    assert page.get_by_role("row").nth(1).get_by_role("cell").last.text_content() == ""
