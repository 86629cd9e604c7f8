"""The figures that answer back: their numbers are the package's, and a keyboard alone is enough to use them."""

import json
import shutil
import subprocess

import numpy as np
import pytest
import torch

from mmcourse import plotting
from mmcourse.attention import scaled_dot_product_attention
from mmcourse.figures.attention import AttentionExplorer, MaskExplorer

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PAPER = {"query": [0.98, 0.0], "key": [[1, 0], [0, 1], [1, 1]], "value": [[0, 10], [10, 0], [5, 20]],
         "names": ["red", "big", "car"]}  # fmt: skip


def traits(figure):
    """What the page receives from Python."""
    return {name: figure.get_state()[name] for name in figure.get_state() if not name.startswith("_")
            and name not in {"layout", "tabbable", "tooltip"}}  # fmt: skip


@pytest.fixture(scope="session")
def page():
    """An empty page, 800 px wide, in the chromium of this machine."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM:
        pytest.skip("no chromium on this machine")
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser.new_page(viewport={"width": 800, "height": 900})
        browser.close()


def show(page, figure, width=800):
    """Draw a figure as anywidget does: style, module, ``render`` with a model. Errors in the page fail the test."""
    page.set_viewport_size({"width": width, "height": 900})
    page.goto("about:blank")
    page.set_content(f"<style>{figure._css}</style><main></main>")
    page.evaluate("""async ([script, data]) => {
        const module = await import(URL.createObjectURL(new Blob([script], { type: "text/javascript" })));
        module.default.render({ model: { get: (name) => data[name], on() {} }, el: document.querySelector("main") });
    }""", [figure._esm, traits(figure)])


def said(page):
    return page.locator("[role=status]").inner_text()


@pytest.fixture(scope="session")
def call(tmp_path_factory, request):
    """``call(figure, "name", argument)`` runs an exported function of the figure's script, in node or in chromium."""
    folder, node = tmp_path_factory.mktemp("scripts"), shutil.which("node")

    def run(figure, name, argument):
        if node:
            file = folder / f"{type(figure).__name__}.mjs"
            file.write_text(figure._esm, encoding="utf-8")
            code = f"import {{ {name} }} from {json.dumps(file.as_uri())};"
            code += f"console.log(JSON.stringify({name}({json.dumps(argument)})))"
            done = subprocess.run([node, "--input-type=module", "-e", code], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            return json.loads(done.stdout)
        return request.getfixturevalue("page").evaluate("""async ([script, name, argument]) => {
            const file = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
            return (await import(file))[name](argument);
        }""", [figure._esm, name, argument])

    return run


# The arithmetic of the page is the arithmetic of the package ---------------------------------------------------------


@pytest.mark.parametrize(("sources", "size", "stretch"), [(1, 3, 1), (7, 1, 60), (100, 5, 0.001)])
def test_attention_in_the_page(call, sources, size, stretch):
    generator = torch.Generator().manual_seed(sources)
    query, key, value = (torch.randn(*shape, generator=generator, dtype=torch.float64)
                         for shape in [(1, 2), (sources, 2), (sources, size)])  # fmt: skip
    query *= stretch
    figure = AttentionExplorer(query[0], key, value)
    found = call(figure, "attend", traits(figure))
    output, weights = scaled_dot_product_attention(query, key, value, return_weights=True)
    np.testing.assert_allclose(found["weights"], weights[0], atol=1e-5)
    np.testing.assert_allclose(found["output"], output[0], atol=1e-5)


@pytest.mark.parametrize("scaled", [True, False])
def test_wider_attention_in_the_page(call, scaled):
    """The width d_k of the figure: vectors of d_k numbers whose dot product is sqrt(d_k / 2) times as large."""
    figure, width = AttentionExplorer(**PAPER), 128
    rows = {name: torch.tensor(PAPER[name]).reshape(-1, 2).double() for name in ("query", "key", "value")}
    longer = {name: torch.zeros(len(rows[name]), width).double() for name in ("query", "key")}
    for name, row in longer.items():
        row[:, :2] = rows[name] * (width / 2) ** 0.25
    if not scaled:
        longer["query"] *= width**0.5
    expected = scaled_dot_product_attention(longer["query"], longer["key"], rows["value"], return_weights=True)[1][0]
    found = call(figure, "attend", {**traits(figure), "width": width, "scaled": scaled})
    np.testing.assert_allclose(found["weights"], expected, atol=1e-5)
    assert (max(found["weights"]) < 0.5) == scaled or not scaled  # with the scale, width changes nothing
    if scaled:
        np.testing.assert_allclose(found["weights"], call(figure, "attend", traits(figure))["weights"], atol=1e-9)


@pytest.mark.parametrize(("targets", "sources", "causal", "padding"),
                         [(5, 5, True, 2), (7, 4, True, 0), (3, 9, True, 4), (4, 6, False, 6), (1, 1, True, 0)])
def test_masked_weights_in_the_page(call, targets, sources, causal, padding):
    scores = 4 * torch.randn(targets, sources, generator=torch.Generator().manual_seed(targets)).double()
    figure = MaskExplorer(scores, causal=causal, padding=padding)
    eye, seen = torch.eye(sources).double(), torch.arange(sources) < sources - padding
    query = scores * sources**0.5  # with the unit vectors as keys, the scores of attention are these scores
    expected, weights = scaled_dot_product_attention(query, eye, eye, seen, causal=causal, return_weights=True)
    np.testing.assert_allclose(call(figure, "maskedWeights", traits(figure)), weights, atol=1e-5)
    assert call(figure, "seen", traits(figure)) == (weights > 0).sum(-1).tolist() and torch.equal(expected, weights)


def test_colours_in_the_page(call):
    steps = np.linspace(0, 1, 21)
    ours = [call(AttentionExplorer(**PAPER), "shade", float(step)) for step in steps[::5]]
    for step, colour in zip(steps[::5], ours, strict=True):
        levels = [int(level) for level in colour[4:-1].split(",")]
        np.testing.assert_allclose(levels, np.array(plotting.WEIGHTS(step)[:3]) * 255, atol=3)


# What Python checks, and what it leaves on paper ---------------------------------------------------------------------


@pytest.mark.parametrize(("change", "message"), [
    ({"query": [float("nan"), 0]}, r"query must be finite numbers of shape \(2\), got shape \(2,\) with NaN"),
    ({"key": [[1, 0, 0]] * 3}, r"key must be finite numbers of shape \(S, 2\), got shape \(3, 3\)"),
    ({"key": [[1, 0], [1]]}, "key must be finite numbers"),
    ({"value": [[1.0], [2.0]]}, r"value must be finite numbers of shape \(3, d_v\), got shape \(2, 1\)"),
    ({"names": ["red"]}, "names must be 3 words, got 1"),
])  # fmt: skip
def test_wrong_vectors_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        AttentionExplorer(**{**PAPER, **change})


@pytest.mark.parametrize(("scores", "options", "message"), [
    ([[0, float("nan")]], {}, "scores must be finite numbers of shape"),
    (np.zeros((0, 3)), {}, r"scores must be finite .* got shape \(0, 3\)"),
    ([[0, 1]], {"padding": 3}, "padding must be between 0 and the 2 sources, got 3"),
    ([[0, 1]], {"targets": ["a", "b"]}, "targets must be 1 words, got 2"),
])  # fmt: skip
def test_wrong_scores_are_refused(scores, options, message):
    with pytest.raises(ValueError, match=message):
        MaskExplorer(scores, **options)


@pytest.mark.parametrize("figure", [AttentionExplorer(**PAPER), MaskExplorer([[0.0]]), MaskExplorer(np.eye(100))],
                         ids=["attention", "one word", "a hundred words"])
def test_a_still_picture_comes_with_it(figure):
    data, _ = figure._repr_mimebundle_()
    assert data["image/svg+xml"].lstrip().startswith("<?xml") and len(data["image/svg+xml"]) < 300_000
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == figure.model_id


# In a browser, by keyboard -------------------------------------------------------------------------------------------


def test_attention_by_keyboard(page):
    show(page, AttentionExplorer(**PAPER))
    assert said(page) == "“red” and “car” have the largest weight, 0.40 each. The output is (4.00, 12.00)."
    page.get_by_label("tip of the arrow query").focus()
    for _ in range(20):
        page.keyboard.press("ArrowUp")
    assert said(page).startswith("“car” has the largest weight")
    page.get_by_label("width").focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert page.get_by_label("width").get_attribute("aria-valuetext") == "512"
    assert said(page).startswith("“car” has the largest weight")
    page.get_by_label("divide by").focus()
    page.keyboard.press("Space")
    assert said(page).startswith("Nearly all the weight is on “car”: the softmax is saturated.")
    page.get_by_text("Start again").focus()
    page.keyboard.press("Enter")
    assert page.get_by_label("divide by").is_checked() and "(4.00, 12.00)" in said(page)
    page.get_by_label("tip of the arrow big").focus()
    page.keyboard.press("Shift+ArrowRight")
    assert "(4.00, 12.00)" not in said(page)


def test_attention_by_pointer(page):
    show(page, AttentionExplorer(**PAPER))
    box = page.locator("svg[role=group]").bounding_box()
    tip = page.get_by_label("tip of the arrow query").locator("circle").bounding_box()
    page.mouse.move(tip["x"] + tip["width"] / 2, tip["y"] + tip["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    assert said(page).startswith("All keys have the same weight: the output is the mean of the values.")


def test_masks_by_keyboard(page):
    words = ["the", "red", "car", "stands", "here"]
    show(page, MaskExplorer(np.eye(5), words, words))
    assert said(page).startswith("Word 5 (“here”) sees words 1 to 5.")
    page.get_by_label("causal").focus()
    page.keyboard.press("Space")
    page.get_by_label("row of the grid").focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    assert said(page).startswith("Word 3 (“car”) sees words 1 to 3. The largest weight is 0.58, on word 3 (“car”).")
    assert page.get_by_label("row of the grid").get_attribute("aria-valuetext") == said(page)
    page.get_by_label("padding").focus()
    page.keyboard.press("End")
    assert "may look nowhere: all its weights are zero, and so is its output." in said(page)


@pytest.mark.parametrize("width", [320, 1440])
@pytest.mark.parametrize("count", [1, 100])
def test_one_and_a_hundred_fit_the_page(page, width, count):
    rows = np.random.default_rng(count).normal(size=(count, 2))
    for figure in (AttentionExplorer([1, 0], rows, rows), MaskExplorer(rows @ rows.T, causal=True)):
        show(page, figure, width)
        assert said(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
