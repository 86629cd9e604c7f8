"""CaptionExplorer and what it shows of a beam search: what is refused, computed, and used."""

import numpy as np
import pytest
import torch

from mmcourse.book.figures.beams import beam_steps
from mmcourse.book.figures.captions import CaptionExplorer, retell
from mmcourse.captioning import SceneCaptioner
from mmcourse.data import EmojiScenes
from mmcourse.data.language import vocabulary
from mmcourse.decoding import beam_search
from tests.helpers import attributes, said, says, traits

END = 0
WORDS = ["<end>", "<start>", "one", "two", "red", "blue", "dog", "dogs", "car", "cars"]
PICTURE = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)


def toy(seed, pull=1.0):
    """A step function: the next word depends on the last one and on how many there were.

    ``pull`` moves the end.
    """
    table = 2 * torch.randn(20, 10, 10, generator=torch.Generator().manual_seed(seed))

    def step(tokens, cache):
        cache["length"] = cache.get("length", -1) + 1
        logits = table[cache["length"], tokens[:, -1]].clone()
        logits[:, END] += pull * cache["length"] - 4
        return logits

    return step


def search(seed, beams=4, max_length=12):
    return beam_steps(toy(seed), torch.tensor([1]), end=END, max_length=max_length, beams=beams)


def leader(steps, last):
    """(step, place, log-probability per word) of the best finished sentence, or None."""
    finished = [
        (number, place, log_prob / (number + 1))
        for number, step in enumerate(steps[: last + 1])
        for place, (_, _, log_prob, fate) in enumerate(step)
        if fate == "ended"
    ]
    return max(finished, key=lambda one: one[2], default=None)


def lives(steps, step, place, last):
    """Whether a candidate, or what came of it, is finished or a beam after step ``last``."""
    fate = steps[step][place][3]
    return (
        fate == "ended"
        or (step == last and fate != "dropped")
        or (
            step < last
            and any(
                parent == place and lives(steps, step + 1, child, last)
                for child, (parent, *_) in enumerate(steps[step + 1])
            )
        )
    )


def text_of(steps, step, place):
    return (
        []
        if step < 0
        else [*text_of(steps, step - 1, steps[step][place][0]), steps[step][place][1]]
    )


def story(seed=0, cells=16):
    found, steps = search(seed)
    tokens = [*found.tokens[0], END]
    weights = torch.rand(
        2, 3, len(tokens), cells, generator=torch.Generator().manual_seed(seed)
    ).softmax(-1)
    told = [[(parent, WORDS[token], *rest) for parent, token, *rest in step] for step in steps]
    return {
        "picture": PICTURE,
        "words": [WORDS[token] for token in tokens],
        "attention": weights,
        "truth": "one dog",
        "boxes": [("dog", (2, 2, 10, 10))],
        "steps": told,
    }


# ---- Python


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("beams, max_length", [(1, 12), (3, 12), (4, 4), (5, 12)])
def test_steps_tell_what_the_search_did(seed, beams, max_length):
    found, steps = search(seed, beams, max_length)
    expected = beam_search(
        toy(seed), torch.tensor([1]), end=END, max_length=max_length, beams=beams
    )
    assert found.tokens == expected.tokens and torch.equal(found.score, expected.score)

    finished = {}
    for number, candidates in enumerate(steps):
        assert sum(fate == "kept" for *_, fate in candidates) == (
            beams if number + 1 < len(steps) else 0
        )
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


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: CaptionExplorer([]), "at least one story"),
        (
            lambda: CaptionExplorer([story() | {"attention": story()["attention"] * torch.nan}]),
            "attention must be finite",
        ),
        (
            lambda: CaptionExplorer([story() | {"attention": story()["attention"][:, :, 1:]}]),
            r"\(layers, H, \d+, N\), got",
        ),
        (lambda: CaptionExplorer([story(cells=15)]), "must form a square, as 64 do, got N = 15"),
        (
            lambda: CaptionExplorer([story() | {"steps": [[(-1, "a", float("nan"), "kept")]]}]),
            "log-probabilities must",
        ),
    ],
)
def test_what_cannot_be_shown_is_refused_in_words(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "figure",
    [lambda: CaptionExplorer([story(cells=1)]), lambda: CaptionExplorer([story() | {"boxes": []}])],
)
def test_a_still_picture_stands_beside_the_live_one(figure):
    data, _ = figure()._repr_mimebundle_()
    assert data["image/svg+xml"].count("<image") >= 1
    assert "application/vnd.jupyter.widget-view+json" in data


def test_what_is_retold_is_what_the_captioner_does():
    torch.manual_seed(0)
    model = SceneCaptioner(
        vocabulary(), width=8, heads=2, decoder_layers=2, channels=[8] * 3, blocks=[0] * 3
    ).eval()
    scene = next(
        scene
        for scene in map(EmojiScenes("train").__getitem__, range(99))
        if len(scene.objects) > 1 and scene.objects[0].colour
    )
    told, caption = retell(model, scene, beams=3), model.caption(scene.image, beams=3)
    assert told["words"] == caption.tokens and told["truth"] == scene.captions[0]
    torch.testing.assert_close(told["attention"], caption.attention)
    first = scene.objects[0]
    assert told["boxes"][0] == (f"{first.colour} {first.noun}", first.box) and len(
        told["boxes"]
    ) == len(scene.objects)
    step, place, score = leader(told["steps"], len(told["steps"]) - 1)
    words = [word for word in text_of(told["steps"], step, place) if word != "<end>"]
    assert words == [word for word in caption.tokens if word != "<end>"]
    assert score == pytest.approx(caption.log_prob / (step + 1), abs=1e-3)


def test_the_still_caption_shows_the_words_at_which_it_looked_most_closely():
    weights = torch.full((2, 1, 6, 4), 0.1)
    for word, top in enumerate([0.2, 0.9, 0.7, 0.3, 0.8, 0.6]):
        weights[:, :, word, word % 4] = top
    words = ["two", "red", "dogs", "one", "blue", "<end>"]
    truth, *seen = CaptionExplorer([story() | {"words": words, "attention": weights}]).draw().axes
    assert [axis.get_title() for axis in (truth, *seen)] == [
        "the truth",
        "red",
        "dogs",
        "blue",
        "<end>",
    ]
    veils = [axis.images[1].get_array()[..., 3] for axis in seen]
    assert [int(veil.argmin()) for veil in veils] == [1, 2, 0, 1] and veils[
        0
    ].max() == pytest.approx(0.9 * (1 - 1 / 9))


# ---- in a browser


def test_numbers_of_captions_equal_torch(call):
    told = story()
    weights, figure = told["attention"], CaptionExplorer([told])
    shown = traits(figure)["stories"][0]
    for layer, head, expected in [
        (-1, -1, weights.mean((0, 1))),
        (1, -1, weights[1].mean(0)),
        (0, 2, weights[0, 2]),
    ]:
        rows = [
            call(figure, "look", shown, word, layer, head) for word in range(len(shown["words"]))
        ]
        torch.testing.assert_close(torch.tensor(rows), expected, atol=6e-4, rtol=0)
    found, steps = search(0)
    best = call(figure, "best", steps, len(steps) - 1)
    assert best["score"] == pytest.approx(found.score.item(), abs=1e-3)
    assert text_of(steps, best["step"], best["place"])[:-1] == found.tokens[0]


@pytest.mark.parametrize("seed", [0, 3])
def test_the_race_after_each_step(call, seed):
    figure, steps = CaptionExplorer([story(seed)]), search(seed)[1]
    for last in range(len(steps)):
        expected = [
            [lives(steps, step, place, last) for place in range(len(steps[step]))]
            for step in range(last + 1)
        ]
        assert call(figure, "alive", steps, last) == expected
        best, found = leader(steps, last), call(figure, "best", steps, last)
        assert (found and (found["step"], found["place"], pytest.approx(found["score"]))) == best
    assert leader(steps, 3) is None and leader(steps, 6) != leader(steps, len(steps) - 1)


def looking():
    """A story with plain weights: words look at cell 1, which a dog covers, 6, a car, and 15."""
    weights = torch.full((2, 3, 3, 16), 0.02)
    for word, (cell, weight) in enumerate([(1, 0.4), (6, 0.6), (15, 0.9)]):
        weights[:, :, word, cell] = weight
    return story() | {
        "words": ["dog", "car", "<end>"],
        "attention": weights,
        "boxes": [("dog", (6, 0, 12, 5)), ("red car", (12, 7, 24, 12))],
    }


def test_the_drawing_of_a_caption(show):
    page = show(CaptionExplorer([looking()]))
    assert said(page) == (
        "“car”, 2 of 3 (all layers, all heads): the largest weight, 0.60, lies in row 2, column 3, "
        "inside the box of red car."
    )
    scene = page.get_by_label("Where the captioner looked for “car”")
    cells = attributes(scene.locator("g rect"), "x", "y", "width", "height", "fill-opacity")
    assert [cell[:4] for cell in cells] == [[6 * (n % 4), 6 * (n // 4), 6, 6] for n in range(16)]
    assert [cell[4] for cell in cells] == [
        0.0 if n == 6 else 0.85 for n in range(16)
    ]  # 0.88 * (1 - 0.02 / 0.6)
    boxes = attributes(scene.locator("rect[stroke]"), "x", "y", "width", "height")
    assert boxes == [[6, 0, 6, 5], [12, 7, 12, 5], [12, 6, 6, 6]], (
        "two boxes, and the frame of the largest weight"
    )
    words = page.get_by_role("radiogroup", name="Words of the caption").get_by_role("radio")
    for place, end in enumerate(
        [
            "row 1, column 2, inside the box of dog.",
            "inside the box of red car.",
            "row 4, column 4, outside of all boxes.",
        ]
    ):
        words.nth(place).click()
        assert said(page).endswith(end)


def test_a_scene_with_fewer_layers_and_heads(show):
    page = show(
        CaptionExplorer([looking(), looking() | {"attention": looking()["attention"][:1, :1]}])
    )
    page.get_by_label("Layer").select_option(label="2")
    page.get_by_label("Head").select_option(label="3")
    page.get_by_role("radiogroup", name="Scene").get_by_role("radio").last.click()
    assert "(layer 1, head 1): the largest weight, 0.60, lies in row 2" in said(page)


@pytest.mark.parametrize("seed", [0, 3])
def test_the_table_and_the_tree_of_beams(show, seed):
    told = story(seed)
    page, steps = show(CaptionExplorer([told])), told["steps"]
    page.get_by_role("radio", name="How it found the words").click()
    fates = {"kept": "kept", "ended": "finished", "dropped": "dropped", "greedy": "greedy"}
    for last in range(len(steps)):
        best = leader(steps, last)
        rows = [row.locator("td").all_inner_texts() for row in page.locator("tr").all()[1:]]
        for place, (row, (_, word, log_prob, fate)) in enumerate(
            zip(rows, steps[last], strict=True)
        ):
            assert row[0].split()[-1] == word.replace("<end>", "■")
            assert [float(row[1]), float(row[2])] == pytest.approx(
                [log_prob, log_prob / (last + 1)], abs=0.0051
            )
            assert row[3] == ("best" if best and best[:2] == (last, place) else fates[fate])
        drawn = [
            (step, place)
            for step in range(last + 1)
            for place, (*_, fate) in enumerate(steps[step])
            if fate != "dropped" or step == last
        ]
        tree = page.get_by_role("region", name="Tree of beams")
        assert tree.locator("text").all_text_contents() == [
            steps[s][p][1].replace("<end>", "■") for s, p in drawn
        ]
        starts = [
            float(path.split()[1].partition("C")[0])
            for (path,) in attributes(tree.locator("path"), "d")
        ]
        assert starts == [18 + 30 * steps[s][p][0] for s, p in drawn if s], (
            "an edge begins at the parent"
        )
        way = [
            strokes == ["var(--orange)"] for strokes in attributes(tree.locator("rect"), "stroke")
        ]
        shown = [steps[s][p][1] for (s, p), on in zip(drawn, way, strict=True) if on]
        assert shown == (text_of(steps, *best[:2]) if best else [])
        assert ("No sentence is finished" in said(page)) == (best is None)
        page.get_by_role("button", name="Next").click()


def test_captions_by_finger(show):
    told = story()
    page = show(CaptionExplorer([told, story(3)]), 390, has_touch=True)
    for place in (1, 0):
        page.get_by_role("radiogroup", name="Words of the caption").get_by_role("radio").nth(
            place
        ).tap()
        assert says(page, f"“{told['words'][place]}”, {place + 1} of {len(told['words'])}")
    page.get_by_role("radio", name="How it found the words").tap()
    page.get_by_role("button", name="Next").tap()
    assert says(page, f"Step 2 of {len(told['steps'])}")
    page.get_by_role("radiogroup", name="Scene").get_by_role("radio").last.tap()
    assert says(page, "Step 1 of")


@pytest.mark.parametrize("count", [1, 100])
def test_a_caption_of_one_word_and_of_a_hundred(show, count):
    words = [*(f"word{number}" for number in range(count - 1)), "<end>"]
    steps = [
        [(min(number, 1) - 1, word, -0.5 - number, "ended" if word == "<end>" else "kept")]
        for number, word in enumerate(words)
    ]
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
    assert f"“{first['words'][1]}”, 2 of {len(first['words'])}" in said(page) and place in said(
        page
    )
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
