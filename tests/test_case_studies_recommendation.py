"""The case study of recommendation: made-up shops, factors, content, and the cold start."""

import numpy as np
import pytest

from mmcourse.case_studies.recommendation import (
    WORLDS,
    content_scores,
    embed_items,
    factorise,
    label_features,
    make_items,
    make_shop,
    picture,
    popularity,
    principal,
    solve,
    split_items,
    taste_aucs,
)
from mmcourse.hub import load


def test_items_differ_and_are_what_their_titles_say():
    items = make_items(50)
    assert len({item.text for item in items}) == 50
    assert all(item.text.endswith(f"{item.colour} {item.noun}") for item in items)
    assert {item.text.split()[0] for item in make_items()} == {"a", "an"}
    assert make_items(50) == items != make_items(50, seed=1)
    with pytest.raises(ValueError, match="ten items or more"):
        make_items(3)


def test_a_picture_shows_the_thing_in_its_tint_alone():
    item = next(item for item in make_items() if item.colour == "red")
    image = picture(item).astype(int)
    assert image.shape == (64, 64, 3)
    red = (image[..., 0] > image[..., 1] + 60) & (image[..., 0] > image[..., 2] + 60)
    assert red.mean() > 0.03
    assert np.abs(image[0, 0] - image[-1, -1]).max() < 10  # plain paper


def test_pictures_and_titles_become_unit_vectors():
    seen, read = embed_items(make_items(12), load("clip").eval())
    assert seen.shape == read.shape
    for vectors in (seen, read):
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(12), abs=1e-4)


@pytest.mark.parametrize("world", WORLDS)
def test_a_shop_follows_its_tastes(world):
    shop = make_shop(make_items(60), 300, world, seed=1, looks=0.5)
    assert shop.taste.shape == shop.liked.shape == shop.looked.shape == (300, 60)
    assert (
        abs(shop.liked.mean() - shop.taste.mean()) < 0.02 and abs(shop.looked.mean() - 0.5) < 0.02
    )
    assert shop.liked[shop.taste > 0.8].mean() > 0.8 > 0.2 > shop.liked[shop.taste < 0.2].mean()


def test_only_the_world_of_content_follows_labels():
    items = make_items(60)
    labels = label_features(items)
    assert (labels.sum(1) == 2).all()
    fits = []
    for world in WORLDS:
        taste = make_shop(items, 300, world).taste
        logits = np.log(taste / (1 - taste))
        logits = logits - logits.mean(0)  # without what is popular
        weights = np.linalg.lstsq(labels, logits.T, rcond=None)[0]
        rest = logits - (labels @ weights).T
        fits.append(1 - (rest**2).sum() / (logits**2).sum())
    assert fits[0] > 0.95 and fits[1] < 0.7


def test_a_shop_says_what_it_needs():
    for options in ({"world": "real"}, {"looks": 0}):
        with pytest.raises(ValueError, match="expected a world of content, hidden"):
            make_shop(make_items(12), 20, **options)


@pytest.mark.parametrize("rows, columns, factors", [(3, 5, 2), (1, 7, 4), (6, 4, 3)])
def test_each_row_is_solved_as_a_penalised_least_squares(rows, columns, factors):
    rng = np.random.default_rng(rows)
    known = rng.random((rows, columns)) < 0.7
    rest = np.where(known, rng.normal(size=(rows, columns)), 0.0)
    other = rng.normal(size=(columns, factors))
    found = solve(rest, known, other, 0.5)
    for number in range(rows):
        kept = known[number]
        stacked = np.vstack([other[kept], np.sqrt(0.5) * np.eye(factors)])
        wanted = np.concatenate([rest[number, kept], np.zeros(factors)])
        expected = np.linalg.lstsq(stacked, wanted, rcond=None)[0]
        assert found[number] == pytest.approx(expected, abs=1e-8)


def test_factors_are_fit_to_looks_and_know_nothing_of_a_new_item():
    shop = make_shop(make_items(60), 300, "hidden", looks=0.5)
    trained = shop.looked.copy()
    trained[:, :10] = False
    people, items = factorise(shop.liked, trained)
    assert not items[:10].any() and items[10:].any(1).all()
    scores = popularity(shop.liked, trained) + people @ items.T
    assert len(set(scores[0, :10].round(12))) == 1
    held = ~shop.looked
    held[:, :10] = False
    better = np.nanmean(taste_aucs(scores, shop.liked, held))
    plain = np.broadcast_to(popularity(shop.liked, trained), scores.shape)
    assert better > np.nanmean(taste_aucs(plain, shop.liked, held)) + 0.03
    assert np.nanmean(taste_aucs(scores, shop.liked, shop.looked & ~trained)) == 0.5


def test_what_was_not_trained_on_is_not_read():
    shop = make_shop(make_items(40), 80)
    trained = shop.looked & (np.arange(40) > 5)
    turned = np.where(trained, shop.liked, ~shop.liked)
    labels = label_features(shop.items)
    for arm in (
        lambda liked: factorise(liked, trained)[0],
        lambda liked: content_scores(liked, trained, labels),
    ):
        assert arm(shop.liked) == pytest.approx(arm(turned))


def test_factors_say_what_they_need():
    table = np.ones((3, 4), bool)
    for looked in (table[:2], np.zeros((3, 4), bool)):
        with pytest.raises(ValueError, match="two tables"):
            factorise(table, looked)


def test_popularity_is_drawn_to_the_mean():
    liked = np.array([[True, False, True], [True, False, False]])
    looked = np.array([[True, True, False], [True, True, False]])
    assert popularity(liked, looked) == pytest.approx([(2 + 2.5) / 7, 2.5 / 7, 0.5])


def test_content_of_labels_finds_tastes_for_new_items_where_labels_decide():
    items = make_items()
    new_item, new_noun = split_items(items)
    shop = make_shop(items, 200, "content")
    scores = content_scores(shop.liked, shop.looked & ~(new_item | new_noun), label_features(items))
    assert np.nanmean(taste_aucs(scores, shop.liked, shop.looked & new_noun)) > 0.62


def test_new_things_are_new():
    items = make_items()
    new_item, new_noun = split_items(items)
    old_nouns = {items[row].noun for row in np.flatnonzero(~(new_item | new_noun))}
    assert not (new_item & new_noun).any() and new_item.sum() > 20 < new_noun.sum()
    assert all(items[row].noun in old_nouns for row in np.flatnonzero(new_item))
    assert not any(items[row].noun in old_nouns for row in np.flatnonzero(new_noun))


def test_principal_directions_keep_distances():
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(9, 3)) @ rng.normal(size=(3, 7))
    found = principal(flat, 3)
    gaps = [((x[:, None] - x) ** 2).sum(-1) for x in (flat, found)]
    ratio = gaps[0][0, 1] / gaps[1][0, 1]
    assert gaps[0] == pytest.approx(ratio * gaps[1], abs=1e-8)
    assert (found**2).sum(1).mean() == pytest.approx(1)
    with pytest.raises(ValueError, match="1 to 7 directions, got 8"):
        principal(flat, 8)


def test_the_score_is_that_of_pairs():
    scores = np.array([[3.0, 2.0, 2.0, 1.0], [1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0]])
    liked = np.array([[True, False, True, False], [True, False, True, False], [True] * 4])
    found = taste_aucs(scores, liked, np.ones((3, 4), bool))
    assert found[:2] == pytest.approx([(1 + 1 + 0.5 + 1) / 4, 0.5]) and np.isnan(found[2])
    shown = np.array([[True, False, False, True]] * 3)
    assert taste_aucs(scores, liked, shown)[0] == 1
