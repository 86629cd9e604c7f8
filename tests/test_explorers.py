"""PatchExplorer and CaptionExplorer: what they refuse, what they compute, and that a keyboard alone can use them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import said, says, traits

from mmcourse.decoding import beam_search
from mmcourse.figures.beams import beam_steps
from mmcourse.figures.captions import CaptionExplorer
from mmcourse.figures.patches import PatchExplorer

END, WORDS = 0, ["<end>", "<start>", "one", "two", "red", "blue", "dog", "dogs", "car", "cars"]
PICTURE = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
POSITIONS = torch.randn(9, 5, generator=torch.Generator().manual_seed(0))


def toy(seed, pull=1.0):
    """A step function: the next word depends on the last one and on how many there were. ``pull`` moves the end."""
    table = 2 * torch.randn(20, 10, 10, generator=torch.Generator().manual_seed(seed))

    def step(tokens, cache):
        cache["length"] = cache.get("length", -1) + 1
        logits = table[cache["length"], tokens[:, -1]].clone()
        logits[:, END] += pull * cache["length"] - 4
        return logits

    return step


def search(seed, beams=4, max_length=12):
    return beam_steps(toy(seed), torch.tensor([1]), end=END, max_length=max_length, beams=beams)


def text_of(steps, step, place):
    return [] if step < 0 else [*text_of(steps, step - 1, steps[step][place][0]), steps[step][place][1]]


def story(seed=0, cells=16):
    found, steps = search(seed)
    tokens = [*found.tokens[0], END]
    weights = torch.rand(2, 3, len(tokens), cells, generator=torch.Generator().manual_seed(seed)).softmax(-1)
    told = [[(parent, WORDS[token], *rest) for parent, token, *rest in step] for step in steps]
    return {"picture": PICTURE, "words": [WORDS[token] for token in tokens], "attention": weights, "truth": "one dog",
            "boxes": [("dog", (2, 2, 10, 10))], "steps": told}  # fmt: skip


# Python --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("beams, max_length", [(1, 12), (3, 12), (4, 4), (5, 12)])
def test_steps_tell_what_the_search_did(seed, beams, max_length):
    found, steps = search(seed, beams, max_length)
    expected = beam_search(toy(seed), torch.tensor([1]), end=END, max_length=max_length, beams=beams)
    assert found.tokens == expected.tokens and torch.equal(found.score, expected.score)

    finished = {}
    for number, candidates in enumerate(steps):
        assert sum(fate == "kept" for *_, fate in candidates) == (beams if number + 1 < len(steps) else 0)
        for place, (parent, token, log_prob, fate) in enumerate(candidates):
            words, cache = [1, *text_of(steps, number, place)], {}
            model, pairs = toy(seed), zip(words, words[1:], strict=False)
            terms = [model(torch.tensor([[a]]), cache).log_softmax(-1)[0, b] for a, b in pairs]
            assert log_prob == pytest.approx(sum(terms).item(), abs=1e-3)
            assert number == 0 or steps[number - 1][parent][3] in {"kept", "greedy"}
            if fate == "ended":
                assert token == END or number + 1 == max_length
                finished[tuple(words[1:])] = log_prob / (number + 1)
    best = max(finished, key=finished.get)
    assert [token for token in best if token != END] == found.tokens[0]
    assert finished[best] == pytest.approx(found.score.item(), abs=1e-3)


@pytest.mark.parametrize("make, message", [
    (lambda: PatchExplorer(PICTURE / 255), "picture must be a uint8 array .H, W, 3., values 0 to 255, got float64"),
    (lambda: PatchExplorer(PICTURE[:20]), "must be square, got .20, 24."),
    (lambda: PatchExplorer(PICTURE, sizes=[8, 7]), "must divide the side of the picture, 24 pixels, got .8, 7."),
    (lambda: PatchExplorer(PICTURE, positions=POSITIONS * torch.nan), "positions must be finite numbers"),
    (lambda: PatchExplorer(PICTURE, positions=POSITIONS[:8]), "a row for each patch.* 8 rows"),
    (lambda: CaptionExplorer([]), "at least one story"),
    (lambda: CaptionExplorer([story() | {"attention": story()["attention"] * torch.nan}]), "attention must be finite"),
    (lambda: CaptionExplorer([story() | {"attention": story()["attention"][:, :, 1:]}]), r"\(layers, H, \d+, N\), got"),
    (lambda: CaptionExplorer([story(cells=15)]), "must form a square, as 64 do, got N = 15"),
    (lambda: CaptionExplorer([story() | {"steps": [[(-1, "a", float("nan"), "kept")]]}]), "log-probabilities must"),
])  # fmt: skip
def test_what_cannot_be_shown_is_refused_in_words(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("figure", [
    lambda: PatchExplorer(PICTURE), lambda: PatchExplorer(PICTURE, positions=POSITIONS),
    lambda: CaptionExplorer([story(cells=1)]), lambda: CaptionExplorer([story() | {"boxes": []}]),
])  # fmt: skip
def test_still_picture_stands_beside_the_live_one(figure):
    data, _ = figure()._repr_mimebundle_()
    assert data["image/svg+xml"].count("<image") >= 1 and "application/vnd.jupyter.widget-view+json" in data


# In a browser --------------------------------------------------------------------------------------------------------


def test_numbers_of_patches_equal_torch(call):
    figure = PatchExplorer(PICTURE, positions=POSITIONS)
    rows = torch.tensor([call(figure, "cosines", figure.positions, chosen) for chosen in range(9)])
    expected = F.cosine_similarity(POSITIONS[:, None], POSITIONS[None], dim=-1)
    torch.testing.assert_close(rows, expected, atol=1e-4, rtol=0)
    assert call(figure, "cost", 24, 8) == {"columns": 3, "tokens": 9, "pairs": 81, "values": 192}


def test_numbers_of_captions_equal_torch(call):
    told = story()
    weights, figure = told["attention"], CaptionExplorer([told])
    shown = traits(figure)["stories"][0]
    for layer, head, expected in [(-1, -1, weights.mean((0, 1))), (1, -1, weights[1].mean(0)), (0, 2, weights[0, 2])]:
        rows = [call(figure, "look", shown, word, layer, head) for word in range(len(shown["words"]))]
        torch.testing.assert_close(torch.tensor(rows), expected, atol=6e-4, rtol=0)
    found, steps = search(0)
    best = call(figure, "best", steps, len(steps) - 1)
    assert best["score"] == pytest.approx(found.score.item(), abs=1e-3)
    assert text_of(steps, best["step"], best["place"])[:-1] == found.tokens[0]


def test_patches_by_keyboard(show):
    page = show(PatchExplorer(PICTURE, positions=POSITIONS))
    assert "patch 0, in row 0 and column 0" in said(page) and "9 tokens" in said(page)
    page.get_by_role("slider", name="Patch", exact=True).focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "ArrowDown"):
        page.keyboard.press(key)
    nearest = F.cosine_similarity(POSITIONS[7:8], POSITIONS).argsort(descending=True)[1]
    assert "patch 7, in row 2 and column 1" in said(page) and f"most like that of patch {nearest} " in said(page)
    page.get_by_role("radio", name="8", exact=True).focus()
    page.keyboard.press("ArrowRight")
    assert "16 tokens" in said(page) and "Choose that size" in said(page)


@pytest.mark.parametrize("rows, sizes", [(1, [24]), (144, [2])])
def test_one_patch_and_many(show, rows, sizes):
    page = show(PatchExplorer(PICTURE, sizes=sizes, positions=torch.randn(rows, 3)))
    assert f"{rows} token" in said(page) and page.get_by_role("slider").count() == 2


def test_patches_by_finger(show):
    page = show(PatchExplorer(PICTURE, positions=POSITIONS), 390, has_touch=True)
    for name in ("Patch", "Patch in the map of cosines"):
        box = page.get_by_role("slider", name=name, exact=True).bounding_box()
        for patch in (5, 7):
            row, column = divmod(patch, 3)
            x, y = (column + 0.5) / 3, (row + 0.5) / 3  # of the picture
            page.touchscreen.tap(box["x"] + box["width"] * x, box["y"] + box["height"] * y)
            assert says(page, f"This is patch {patch}, in row {row} and column {column}")
    page.get_by_role("radio", name="4", exact=True).tap()
    assert says(page, "4 × 4 pixels") and says(page, "36 tokens")


def test_captions_by_finger(show):
    told = story()
    page = show(CaptionExplorer([told, story(3)]), 390, has_touch=True)
    for place in (1, 0):
        page.get_by_role("radiogroup", name="Words of the caption").get_by_role("radio").nth(place).tap()
        assert says(page, f"“{told['words'][place]}”, {place + 1} of {len(told['words'])}")
    page.get_by_role("radio", name="How it found the words").tap()
    page.get_by_role("button", name="Next").tap()
    assert says(page, f"Step 2 of {len(told['steps'])}")
    page.get_by_role("radiogroup", name="Scene").get_by_role("radio").last.tap()
    assert says(page, "Step 1 of")


@pytest.mark.parametrize("count", [1, 100])
def test_a_caption_of_one_word_and_of_a_hundred(show, count):
    words = [*(f"word{number}" for number in range(count - 1)), "<end>"]
    steps = [[(min(number, 1) - 1, word, -0.5 - number, "ended" if word == "<end>" else "kept")]
             for number, word in enumerate(words)]  # fmt: skip
    weights = torch.rand(1, 1, count, 4, generator=torch.Generator().manual_seed(0)).softmax(-1)
    figure = CaptionExplorer([story() | {"words": words, "attention": weights, "steps": steps}])
    assert figure._repr_mimebundle_()[0]["image/svg+xml"]
    page = show(figure, 320)
    page.get_by_role("radiogroup", name="Words of the caption").get_by_role("radio").last.click()
    assert said(page).startswith(f"The end, {count} of {count}")
    page.get_by_role("radio", name="How it found the words").click()
    page.get_by_role("slider", name="Step").press("End")
    assert said(page).startswith(f"Step {count} of {count}: 1 candidates, of which 1 finished.")


def test_captions_by_keyboard(show):
    first, second = story(), story(3, cells=1)
    page = show(CaptionExplorer([first, second]))
    words = page.get_by_role("radiogroup", name="Words of the caption").get_by_role("radio")
    words.first.click()
    page.keyboard.press("ArrowRight")
    weights = first["attention"].mean((0, 1))[1]
    place = f"row {int(weights.argmax()) // 4 + 1}, column {int(weights.argmax()) % 4 + 1}, "
    assert f"“{first['words'][1]}”, 2 of {len(first['words'])}" in said(page) and place in said(page)
    page.get_by_label("Head").select_option(label="2")
    assert "head 2" in said(page)

    page.get_by_role("radio", name="How it found the words").click()
    page.get_by_role("slider", name="Step").focus()
    page.keyboard.press("End")
    assert f"Step {len(first['steps'])} of" in said(page) and "The search stops" in said(page)
    assert f"“{' '.join(first['words'][:-1])}”" in said(page)
    page.get_by_role("button", name="Previous").press("Enter")
    assert f"Step {len(first['steps']) - 1} of" in said(page)
    page.get_by_role("radiogroup", name="Scene").get_by_role("radio").first.press("ArrowRight")
    assert f"Step 1 of {len(second['steps'])}" in said(page)
