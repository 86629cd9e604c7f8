"""SpaceExplorer: what it refuses, that its arithmetic is the package's, and a keyboard."""

import numpy as np
import pytest
import torch

from mmcourse.book.figures.space import SpaceExplorer, flat_places
from mmcourse.contrastive import clip_loss, cosines
from tests.helpers import said, says

PICTURES = [np.full((8, 8, 3), 40 * number, np.uint8) for number in range(4)]
TEXTS = ["a cat", "two red cars", "a castle", "snow"]
DICE = torch.Generator().manual_seed(0)
IMAGE = torch.randn(4, 6, generator=DICE)
TEXT = IMAGE + 0.4 * torch.randn(4, 6, generator=DICE)


def explorer(**changes):
    given = {"pictures": PICTURES, "texts": TEXTS, "image": IMAGE, "text": TEXT} | changes
    return SpaceExplorer(**given)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"texts": TEXTS[:3]}, "texts must be 4 words, got 3"),
        ({"image": IMAGE[:3]}, r"image must be finite numbers of shape \(4, E\)"),
        ({"text": TEXT * torch.nan}, "text must be finite numbers"),
        ({"image": torch.zeros(4, 6)}, "image must have a direction in each row"),
        ({"scale": 0.5}, "scale must lie between 1 and 100"),
        ({"pictures": [picture / 255 for picture in PICTURES]}, "uint8"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_words(changes, message):
    with pytest.raises(ValueError, match=message):
        explorer(**changes)


def test_still_picture_stands_beside_the_live_one():
    data, _ = explorer()._repr_mimebundle_()
    assert "<svg" in data["image/svg+xml"] and "application/vnd.jupyter.widget-view+json" in data


def test_places_fill_the_square_and_pairs_lie_together():
    places = np.array(flat_places(np.concatenate([IMAGE, TEXT + 5])))
    assert places.shape == (8, 2) and places.min() == 0 and places.max() == 1
    own = np.linalg.norm(places[:4] - places[4:], axis=1)
    others = np.linalg.norm(places[:4] - np.roll(places[4:], 1, 0), axis=1)
    assert own.mean() < others.mean()  # though all texts lie far from all pictures


def test_the_page_computes_as_the_package(call):
    figure = explorer()
    table = cosines(IMAGE, TEXT)
    for scale in (1, 14.3, 100):
        loss = call(figure, "tableLoss", figure.cosines, scale)
        assert loss == pytest.approx(clip_loss(IMAGE, TEXT, scale).item(), abs=0.02)
        found = call(figure, "among", figure.cosines[1], scale)
        assert found == pytest.approx((scale * table[1]).softmax(0).tolist(), abs=0.01)


def test_by_keyboard(show):
    page = show(explorer(), 320)
    assert "Picture 1 finds its own" in said(page) and "Scale 14.5" in said(page)
    page.get_by_role("radio").first.press("ArrowRight")
    assert "Picture 2 finds its own" in said(page)
    page.get_by_role("slider").press("Home")
    assert "Scale 1.0" in said(page)


def test_by_mouse_and_finger(show):
    page = show(explorer(), 700)
    page.locator("svg text").nth(2).hover()
    assert says(page, "Text 3 finds its own")
    assert page.get_by_role("row").nth(1).inner_text().startswith("picture 3")
    page.locator("svg image").nth(3).click()
    assert says(page, "Picture 4 finds its own")
    assert page.get_by_role("radio").nth(3).get_attribute("aria-checked") == "true"
