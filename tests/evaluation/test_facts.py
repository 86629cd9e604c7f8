"""Facts of captions against made-up scenes and real ones."""

import pytest

from mmcourse.data.scenes import EmojiScenes
from mmcourse.evaluation import FactScore, fact_score, fact_scores


class Scene:
    """A blue car to the left of two dogs at night; that they are brown need not be said."""

    facts = frozenset(
        {
            ("object", "car"),
            ("count", "car", 1),
            ("colour", "car", "blue"),
            ("object", "dog"),
            ("count", "dog", 2),
            ("relation", "car", "left of", "dog"),
            ("background", "night"),
        }
    )
    more = {("colour", "dog", "brown"), ("relation", "dog", "right of", "car")}

    def holds(self, fact):
        return fact in self.facts or fact in self.more


class Below(Scene):
    facts = frozenset({("object", "cat"), ("relation", "cat", "below", "dog")})
    more = {("relation", "dog", "above", "cat")}


@pytest.fixture
def states(monkeypatch):
    """Captions written as facts, so that these tests depend on no grammar."""

    def state(*facts):
        spoken[" ; ".join(map(str, facts))] = set(facts)
        return " ; ".join(map(str, facts))

    spoken = {"": set()}
    monkeypatch.setattr("mmcourse.evaluation.facts.parse", spoken.__getitem__)
    return state


class TestFactScore:
    def test_by_hand(self, states):
        caption = states(
            ("object", "car"),
            ("count", "car", 1),
            ("colour", "car", "red"),
            ("colour", "dog", "brown"),
        )
        score = fact_score(caption, Scene())
        assert isinstance(score, FactScore)
        assert score.precision == 3 / 4  # the brown dog is true
        assert score.recall == 2 / 7  # but nobody asked for it
        assert score.true == {("object", "car"), ("count", "car", 1), ("colour", "dog", "brown")}
        assert score.false == {("colour", "car", "red")}
        assert score.missed == Scene.facts - score.true

    def test_a_full_caption(self, states):
        score = fact_score(states(*Scene.facts), Scene())
        assert score == (1.0, 1.0, Scene.facts, frozenset(), frozenset())

    def test_a_relation_and_its_inverse_are_one_fact(self, states):
        one, other = ("relation", "car", "left of", "dog"), ("relation", "dog", "right of", "car")
        for facts in ([one], [other], [one, other]):
            assert fact_score(states(*facts), Scene())[:3] == (1.0, 1 / 7, {one})
        for facts in ([("relation", "cat", "below", "dog")], [("relation", "dog", "above", "cat")]):
            score = fact_score(states(*facts), Below())
            assert score[:2] == (1.0, 1 / 2) and score.missed == {("object", "cat")}

    def test_a_relation_turned_round_is_false(self, states):
        score = fact_score(states(("relation", "dog", "left of", "car")), Scene())
        assert score[:2] == (0.0, 0.0) and len(score.missed) == 7

    def test_silence_does_not_win(self, states):
        score = fact_score("", Scene())
        assert score == (0.0, 0.0, frozenset(), frozenset(), Scene.facts)

    def test_a_single_fact(self, states):
        class Alone(Scene):
            facts, more = frozenset({("object", "car")}), set()

        caption = states(("object", "car"))
        assert fact_score(caption, Alone())[:2] == (1.0, 1.0)
        assert fact_scores([caption], [Alone()]) == {"all": (1.0, 1.0), "object": (1.0, 1.0)}

    @pytest.mark.parametrize("caption", [["a", "car"], None, 3])
    def test_needs_a_string(self, caption):
        message = (
            f"caption must be a string, got {type(caption).__name__}; for many call fact_scores"
        )
        with pytest.raises(TypeError, match=message):
            fact_score(caption, Scene())

    def test_of_a_real_scene(self):
        scenes = EmojiScenes("val")
        for index in range(20):
            scene = scenes[index]
            for caption in scene.captions:
                assert fact_score(caption, scene) == (
                    1.0,
                    1.0,
                    *fact_score(scene.captions[0], scene)[2:],
                )
            for foil in scene.foils:
                assert (
                    fact_score(foil.false, scene).precision
                    < fact_score(foil.true, scene).precision
                    == 1.0
                )


class TestFactScores:
    def test_by_hand(self, states):
        captions = [
            states(
                ("object", "car"),
                ("object", "cow"),
                ("background", "day"),
                ("colour", "dog", "brown"),
            ),
            states(("relation", "dog", "above", "cat")),
            "",
        ]
        assert fact_scores(captions, [Scene(), Below(), Scene()]) == {
            "all": (3 / 5, 2 / 16),
            "background": (0.0, 0.0),
            "colour": (1.0, 0.0),
            "count": (0.0, 0.0),
            "object": (1 / 2, 1 / 5),
            "relation": (1.0, 1 / 3),
        }

    def test_one_caption_has_its_fact_score(self, states):
        caption = states(("object", "car"), ("count", "car", 2), ("count", "dog", 2))
        found = fact_scores([caption], [Scene()])
        assert found["all"] == fact_score(caption, Scene())[:2] == (2 / 3, 2 / 7)
        assert list(found) == sorted(found)

    @pytest.mark.parametrize(
        ("captions", "scenes"), [([], []), ([""], []), ([""], [Scene(), Scene()])]
    )
    def test_lengths(self, captions, scenes):
        message = (
            f"one scene for each caption, .*got {len(captions)} captions, {len(scenes)} scenes"
        )
        with pytest.raises(ValueError, match=message):
            fact_scores(captions, scenes)
