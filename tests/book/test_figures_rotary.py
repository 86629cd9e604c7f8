"""RotaryExplorer: what it refuses, that its arithmetic is the package's, and a keyboard."""

import pytest
import torch

from mmcourse.book.figures.rotary import RotaryExplorer
from mmcourse.gpt import rotary_angles, rotary_frequencies, rotate
from tests.helpers import said

QUERY = [1.0, 0.5, -0.3, 0.2, 0.9, 1.1]
KEY = [0.8, -0.4, 0.6, 0.7, 0.1, 0.5]
FREQUENCIES = rotary_frequencies(6, 100.0).tolist()


def figure():
    return RotaryExplorer(QUERY, KEY, FREQUENCIES)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((QUERY, KEY[:4], FREQUENCIES), r"key must be finite numbers of shape \(6\)"),
        (
            (QUERY, KEY, FREQUENCIES[:2]),
            "a frequency for each pair of the query's 6 numbers, got 2",
        ),
        (([float("nan")] * 6, KEY, FREQUENCIES), "query must be finite numbers"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_words(arguments, message):
    with pytest.raises(ValueError, match=message):
        RotaryExplorer(*arguments)


def test_still_picture_stands_beside_the_live_one():
    data, _ = figure()._repr_mimebundle_()
    assert "<svg" in data["image/svg+xml"] and "application/vnd.jupyter.widget-view+json" in data


def test_the_page_turns_as_the_package(call):
    query, key, frequencies = map(torch.tensor, (QUERY, KEY, FREQUENCIES))
    for m, n in ((0, 0), (9, 4), (3, 30), (32, 1)):
        asks = rotate(query[None, None, None], *rotary_angles(torch.tensor([[m]]), frequencies))
        answers = rotate(key[None, None, None], *rotary_angles(torch.tensor([[n]]), frequencies))
        expected = (asks * answers).view(2, 3).sum(0).tolist()
        assert call(figure(), "products", QUERY, KEY, FREQUENCIES, m, n) == pytest.approx(
            expected, abs=1e-5
        )


def test_by_keyboard(show):
    page = show(figure(), 320)
    assert "Query at position 9, key at 4: distance 5" in said(page)
    product = said(page).split("product ")[1]
    page.get_by_role("button", name="Both one on").press("Enter")
    assert said(page) == f"Query at position 10, key at 5: distance 5, product {product}"
    page.get_by_role("slider", name="Position of the key").press("ArrowRight")
    assert "distance 4" in said(page) and product not in said(page)
    page.get_by_role("slider", name="Position of the key").press("Home")
    page.get_by_role("button", name="Both one back").press("Enter")
    assert "key at 0" in said(page)
