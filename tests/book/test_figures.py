"""AttentionExplorer and MaskExplorer: their numbers are the package's, and a keyboard is enough."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from mmcourse.attention import scaled_dot_product_attention
from mmcourse.book import plotting
from mmcourse.book.figures.attention import AttentionExplorer, MaskExplorer
from tests.helpers import drag, middle, said, says, traits

PAPER = {
    "query": [0.98, 0.0],
    "key": [[1, 0], [0, 1], [1, 1]],
    "value": [[0, 10], [10, 0], [5, 20]],
    "names": ["red", "big", "car"],
}


# ---- the arithmetic of the page is the arithmetic of the package


@pytest.mark.parametrize(("sources", "size", "stretch"), [(1, 3, 1), (7, 1, 6000), (100, 5, 0.001)])
def test_attention_in_the_page(call, sources, size, stretch):
    generator = torch.Generator().manual_seed(sources)
    query, key, value = (
        torch.randn(*shape, generator=generator, dtype=torch.float64)
        for shape in [(1, 2), (sources, 2), (sources, size)]
    )
    query *= stretch
    figure = AttentionExplorer(query[0], key, value)
    found = call(figure, "attend", traits(figure))
    output, weights = scaled_dot_product_attention(query, key, value, return_weights=True)
    np.testing.assert_allclose(found["weights"], weights[0], atol=1e-5)
    np.testing.assert_allclose(found["output"], output[0], atol=1e-5)


@pytest.mark.parametrize("scaled", [True, False])
def test_wider_attention_in_the_page(call, scaled):
    """A width d_k: vectors of d_k numbers whose dot product is sqrt(d_k / 2) times as large."""
    figure, width = AttentionExplorer(**PAPER), 128
    rows = {
        name: torch.tensor(PAPER[name]).reshape(-1, 2).double()
        for name in ("query", "key", "value")
    }
    longer = {name: torch.zeros(len(rows[name]), width).double() for name in ("query", "key")}
    for name, row in longer.items():
        row[:, :2] = rows[name] * (width / 2) ** 0.25
    if not scaled:
        longer["query"] *= width**0.5
    expected = scaled_dot_product_attention(
        longer["query"], longer["key"], rows["value"], return_weights=True
    )[1][0]
    found = call(figure, "attend", {**traits(figure), "width": width, "scaled": scaled})
    np.testing.assert_allclose(found["weights"], expected, atol=1e-5)
    assert (
        max(found["weights"]) < 0.5
    ) == scaled or not scaled  # with the scale, width changes nothing
    if scaled:
        np.testing.assert_allclose(
            found["weights"], call(figure, "attend", traits(figure))["weights"], atol=1e-9
        )


@pytest.mark.parametrize(
    ("targets", "sources", "causal", "padding"),
    [(5, 5, True, 2), (7, 4, True, 0), (3, 9, True, 4), (4, 6, False, 6), (1, 1, True, 0)],
)
def test_masked_weights_in_the_page(call, targets, sources, causal, padding):
    scores = (
        4 * torch.randn(targets, sources, generator=torch.Generator().manual_seed(targets)).double()
    )
    figure = MaskExplorer(scores, causal=causal, padding=padding)
    eye, seen = torch.eye(sources).double(), torch.arange(sources) < sources - padding
    query = (
        scores * sources**0.5
    )  # with the unit vectors as keys, the scores of attention are these scores
    expected, weights = scaled_dot_product_attention(
        query, eye, eye, seen, causal=causal, return_weights=True
    )
    np.testing.assert_allclose(call(figure, "maskedWeights", traits(figure)), weights, atol=1e-5)
    assert call(figure, "seen", traits(figure)) == (weights > 0).sum(-1).tolist() and torch.equal(
        expected, weights
    )


def test_colours_in_the_page(call):
    steps = np.linspace(0, 1, 21)
    ours = [call(AttentionExplorer(**PAPER), "shade", float(step)) for step in steps[::5]]
    for step, colour in zip(steps[::5], ours, strict=True):
        levels = [int(level) for level in colour[4:-1].split(",")]
        np.testing.assert_allclose(levels, np.array(plotting.WEIGHTS(step)[:3]) * 255, atol=3)


# ---- what Python checks, and what it leaves on paper


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"query": [float("nan"), 0]},
            r"query must be finite numbers of shape \(2\), got shape \(2,\) with NaN",
        ),
        (
            {"key": [[1, 0, 0]] * 3},
            r"key must be finite numbers of shape \(S, 2\), got shape \(3, 3\)",
        ),
        ({"key": [[1, 0], [1]]}, "key must be finite numbers"),
        (
            {"value": [[1.0], [2.0]]},
            r"value must be finite numbers of shape \(3, d_v\), got shape \(2, 1\)",
        ),
        ({"names": ["red"]}, "names must be 3 words, got 1"),
    ],
)
def test_wrong_vectors_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        AttentionExplorer(**{**PAPER, **change})


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        ([[0, float("nan")]], {}, "scores must be finite numbers of shape"),
        (np.zeros((0, 3)), {}, r"scores must be finite .* got shape \(0, 3\)"),
        ([[0, 1]], {"padding": 3}, "padding must be between 0 and the 2 sources, got 3"),
        ([[0, 1]], {"targets": ["a", "b"]}, "targets must be 1 words, got 2"),
    ],
)
def test_wrong_scores_are_refused(scores, options, message):
    with pytest.raises(ValueError, match=message):
        MaskExplorer(scores, **options)


@pytest.mark.parametrize(
    "figure",
    [AttentionExplorer(**PAPER), MaskExplorer([[0.0]]), MaskExplorer(np.eye(100))],
    ids=["attention", "one word", "a hundred words"],
)
def test_a_still_picture_comes_with_it(figure):
    data, _ = figure._repr_mimebundle_()
    assert (
        data["image/svg+xml"].lstrip().startswith("<?xml") and len(data["image/svg+xml"]) < 300_000
    )
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == figure.model_id


@pytest.mark.parametrize(("causal", "padding"), [(True, 0), (False, 2), (True, 2)])
def test_the_still_mask(causal, padding):
    scores = 3 * torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    image = (
        MaskExplorer(scores, causal=causal, padding=padding).draw().axes[0].images[0].get_array()
    )
    hidden = torch.arange(4) >= 4 - padding
    hidden = hidden | torch.ones(4, 4).triu(1).bool() if causal else hidden.expand(4, 4)
    np.testing.assert_allclose(image, scores.masked_fill(hidden, -np.inf).softmax(-1), atol=1e-6)


def test_drawing_leaves_no_figure_open():
    before = plt.get_fignums()
    MaskExplorer([[0.0]])._repr_mimebundle_()
    assert plt.get_fignums() == before


# ---- in a browser, by keyboard


def test_attention_by_keyboard(show):
    page = show(AttentionExplorer(**PAPER))
    assert (
        said(page)
        == "“red” and “car” have the largest weight, 0.40 each. The output is (4.00, 12.00)."
    )
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
    moved = page.get_by_label("tip of the arrow big").get_attribute("aria-valuetext")
    assert moved == "0.25 to the right, 1.00 up", "with shift five times as far"
    assert "(4.00, 12.00)" not in said(page)


def test_the_table_of_attention(show):
    page = show(AttentionExplorer(**PAPER))
    page.get_by_label("width").press(
        "ArrowRight"
    )  # d_k = 8: products twice as large, and divided by 2.83
    rows = [row.locator("td").all_inner_texts()[:3] for row in page.locator("tbody tr").all()]
    assert rows == [["1.96", "0.69", "0.40"], ["0.00", "0.00", "0.20"], ["1.96", "0.69", "0.40"]]
    assert page.locator(".mm-sum").inner_text() == (
        "output = 0.40 · (0, 10) + 0.20 · (10, 0) + 0.40 · (5, 20) = (4.00, 12.00)"
    )


def test_attention_by_pointer(show):
    page = show(AttentionExplorer(**PAPER))
    box = page.locator("svg[role=group]").bounding_box()
    tip = page.get_by_label("tip of the arrow query").locator("circle").bounding_box()
    page.mouse.move(tip["x"] + tip["width"] / 2, tip["y"] + tip["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
    assert said(page).startswith(
        "All keys have the same weight: the output is the mean of the values."
    )
    one = box["width"] * 76 / 320  # pixels for a length of 1
    page.mouse.move(
        box["x"] + box["width"] / 2 + one / 2, box["y"] + box["height"] / 2 - one, steps=4
    )
    page.mouse.up()
    place = page.get_by_label("tip of the arrow query").get_attribute("aria-valuetext").split()
    assert (float(place[0]), float(place[4])) == pytest.approx((0.5, 1), abs=0.02), "right, then up"


def test_masks_by_keyboard(show):
    words = ["the", "red", "car", "stands", "here"]
    page = show(MaskExplorer(np.eye(5), words, words))
    assert said(page).startswith("Word 5 (“here”) sees words 1 to 5.")
    page.get_by_label("causal").focus()
    page.keyboard.press("Space")
    page.get_by_label("row of the grid").focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    assert said(page).startswith(
        "Word 3 (“car”) sees words 1 to 3. The largest weight is 0.58, on word 3 (“car”)."
    )
    assert page.get_by_label("row of the grid").get_attribute("aria-valuetext") == said(page)
    page.get_by_label("causal").press("Space")
    assert said(page).startswith("Word 3 (“car”) sees words 1 to 5."), "without a move of the row"
    page.get_by_label("padding").focus()
    page.keyboard.press("End")
    assert "may look nowhere: all its weights are zero, and so is its output." in said(page)


def test_the_grids_of_masks(show):
    scores = np.arange(12).reshape(3, 4) - 5.001  # one is nearly 0, and below
    page = show(MaskExplorer(scores, ["a", "b", "c"], ["w", "x", "y", "z"], causal=True, padding=1))
    weights = np.exp(scores) * np.tri(3, 4, 1) * [1, 1, 1, 0]
    weights /= weights.sum(1, keepdims=True)
    seen = weights > 0
    for grid, numbers in (
        (page.locator("svg").nth(0), scores),
        (page.locator("svg").nth(1), weights),
    ):
        texts = grid.locator("text[text-anchor=middle]")
        expected = [
            f"{number:.2f}".replace("-0.00", "0.00") if numbers is scores or sees else "0"
            for number, sees in zip(numbers.ravel(), seen.ravel(), strict=True)
        ]
        assert texts.all_text_contents() == expected
        assert grid.locator("text[transform]").all_text_contents() == ["w", "x", "y", "pad"]
    struck = page.locator("svg").nth(0).locator("text[style*=line-through]").all_text_contents()
    assert struck == [f"{number:.2f}" for number in scores[~seen]], "what is hidden is crossed out"
    white = page.locator("svg").nth(1).locator("text[style*='--paper']").all_text_contents()
    assert white == [f"{weight:.2f}" for weight in weights[weights > 0.5]], (
        "on dark cells the numbers are white"
    )


def test_rows_that_see_one_word_or_none(show):
    page = show(MaskExplorer(np.zeros((3, 2)), causal=True))
    page.get_by_label("row of the grid").focus()
    page.keyboard.press("ArrowUp")
    assert said(page) == "Word 2 (“2”) sees word 1 only, so the weight of “1” is 1."
    page.keyboard.press("ArrowUp")
    assert (
        said(page)
        == "Word 1 (“1”) may look nowhere: all its weights are zero, and so is its output."
    )
    page.get_by_label("padding").press("End")
    assert said(page).endswith("so is its output. 3 of the 3 rows may look nowhere.")


def test_a_large_grid_names_every_tenth_word(show):
    grid = show(MaskExplorer(np.zeros((50, 50)))).locator("svg").first
    heads = grid.locator("text[transform]").all_text_contents()
    assert [head for head in heads if head] == ["10", "20", "30", "40", "50"]


def test_attention_by_finger(show):
    page = show(AttentionExplorer(**PAPER), 390, has_touch=True)
    tip, plane = (
        page.get_by_label("tip of the arrow query").locator("circle"),
        page.locator("svg[role=group]"),
    )
    drag(page, middle(tip), middle(plane))
    assert says(page, "All keys have the same weight: the output is the mean of the values.")
    page.get_by_text("Start again").tap()
    assert says(page, "(4.00, 12.00)")
    page.get_by_label("divide by").tap()
    slider = page.get_by_label("width").bounding_box()
    page.touchscreen.tap(slider["x"] + slider["width"] - 3, slider["y"] + slider["height"] / 2)
    assert page.get_by_label("width").get_attribute("aria-valuetext") == "2048"
    drag(page, middle(tip), [middle(tip)[0], middle(plane)[1] - 60])
    assert says(page, "Nearly all the weight is on “car”: the softmax is saturated.")


def test_masks_by_finger(show):
    words = ["the", "red", "car", "stands", "here"]
    page = show(MaskExplorer(np.eye(5), words, words), 390, has_touch=True)
    page.get_by_label("causal").tap()
    for grid in (page.locator("svg").nth(place).bounding_box() for place in (0, 1)):
        for row, word in enumerate(words, 1):
            page.touchscreen.tap(
                grid["x"] + 80, grid["y"] + grid["width"] * (62 + 44 * (row - 0.5)) / 296
            )
            assert says(page, f"Word {row} (“{word}”) sees word")
    drag(page, middle(page.get_by_label("padding")), (385, middle(page.get_by_label("padding"))[1]))
    assert says(page, "may look nowhere")


@pytest.mark.parametrize("width", [320, 1440])
@pytest.mark.parametrize("count", [1, 100])
def test_one_and_a_hundred_fit_the_page(show, width, count):
    rows = np.random.default_rng(count).normal(size=(count, 2))
    for figure in (AttentionExplorer([1, 0], rows, rows), MaskExplorer(rows @ rows.T, causal=True)):
        assert said(show(figure, width))
