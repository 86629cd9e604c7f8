"""Speculation: greedy search's words, whatever is proposed; the cache; the arithmetic."""

import copy

import numpy as np
import pytest
import torch

from mmcourse.captioning import END, START, SceneCaptioner
from mmcourse.compression import (
    ModelDraft,
    NGramDraft,
    QuantisedSceneCaptioner,
    cut_cache,
    expected_words,
    speculate,
    write_one_by_one,
)
from mmcourse.data import EmojiScenes
from mmcourse.data.language import vocabulary
from mmcourse.hub import load


@pytest.fixture(scope="module")
def captioner():
    return load("scenes").requires_grad_(False)


@pytest.fixture(scope="module")
def images():
    return np.stack([EmojiScenes("val")[index].image for index in range(24)])


@pytest.fixture(scope="module")
def greedy(captioner, images):
    return write_one_by_one(captioner, images)


class Words:
    """A draft that proposes words by a rule."""

    def __init__(self, rule):
        self.rule = rule

    def propose(self, tokens, count):
        return self.rule(tokens, count)


def drafts(captioner, images, greedy, row):
    """Drafts of all sorts, good and bad."""
    torch.manual_seed(row)
    others = greedy[:row] + greedy[row + 1 :]
    yield NGramDraft(others, sure=0.0)
    yield NGramDraft(others, sure=1.0)
    yield Words(lambda tokens, count: ([START, *greedy[row], END][len(tokens) :])[:count])
    yield Words(lambda tokens, count: torch.randint(4, 700, (count,)).tolist())
    yield Words(lambda tokens, count: [END] * count)
    yield Words(lambda tokens, count: [])
    yield ModelDraft(captioner, captioner.encode(images[row : row + 1]))


@pytest.mark.parametrize("ahead", [0, 1, 3, 7, 40])
def test_the_words_are_those_of_greedy_search(captioner, images, greedy, ahead):
    for row in range(0, 24, 1 if ahead == 3 else 6):
        memory = captioner.encode(images[row : row + 1])
        for draft in drafts(captioner, images, greedy, row):
            found = speculate(captioner, memory, draft, ahead)
            assert found.tokens == greedy[row]
            assert found.accepted <= found.proposed
            assert found.passes + found.accepted >= len(found.tokens) + 1


@pytest.mark.parametrize("seed", range(4))
def test_untrained_captioners_that_never_end(seed):
    torch.manual_seed(seed)
    sizes = {"width": 24, "heads": 3, "channels": [8, 8], "blocks": [0, 1], "max_length": 9}
    model = SceneCaptioner(vocabulary(), **sizes).eval().requires_grad_(False)
    image = torch.randint(0, 255, (1, 64, 64, 3), dtype=torch.uint8)
    (expected,) = write_one_by_one(model, image.numpy())
    memory = model.encode(image)
    for ahead in (0, 2, 20):
        for draft in (NGramDraft([expected]), Words(lambda _, count: [5] * count)):
            assert speculate(model, memory, draft, ahead).tokens == expected


def test_a_perfect_draft_saves_passes(captioner, images, greedy):
    memory = captioner.encode(images[:1])
    words = [*greedy[0], END]
    perfect = Words(lambda tokens, count: words[len(tokens) - 1 :][:count])
    found = speculate(captioner, memory, perfect, 3)
    assert found.passes == -(-len(words) // 4)
    assert speculate(captioner, memory, perfect, 0).passes == len(words)
    itself = ModelDraft(captioner, memory)
    assert speculate(captioner, memory, itself, 3).passes == -(-len(words) // 4)


def test_a_draft_that_remembers_proposes_as_one_that_does_not(captioner, images, greedy):
    small = QuantisedSceneCaptioner.of(captioner, 4)  # often another choice
    memory = small.encode(images[:1])
    draft = ModelDraft(small, memory)
    words = [START, *greedy[0]]
    for length in (1, 4, 5, 9, 3, 7):  # accepted, refused, all accepted, and from an earlier place
        found = draft.propose(words[:length], 3)
        assert found == ModelDraft(small, memory).propose(words[:length], 3)
    proposed = draft.propose(words[:4], 3)
    longer = [*words[:4], *proposed, 5]  # all were accepted, and one more was written
    assert draft.propose(longer, 3) == ModelDraft(small, memory).propose(longer, 3)


def test_what_is_refused(captioner, images):
    memory = captioner.encode(images[:2])
    draft = NGramDraft([[5, 6]])
    with pytest.raises(ValueError, match="memory of one picture"):
        speculate(captioner, memory, draft)
    with pytest.raises(ValueError, match="0 or more words, got -1"):
        speculate(captioner, memory[:1], draft, -1)
    with pytest.raises(ValueError, match="at least one sentence"):
        NGramDraft([])


def test_n_grams_propose_what_followed_most_often():
    draft = NGramDraft([[5, 6, 7], [5, 6, 8], [5, 6, 8], [9, 6, 7]], sure=0.6)
    assert draft.propose([START], 1) == [5]
    assert draft.propose([START, 5], 3) == [6, 8, END]
    assert draft.propose([START, 9], 2) == [6, 7]  # the last two words say more than the last
    assert draft.propose([START, 5, 6, 8, END], 3) == []
    assert draft.propose([START, 77], 3) == []
    assert NGramDraft([[5], [6]], sure=0.6).propose([START], 2) == []
    assert NGramDraft([[5], [6]], sure=0.5).propose([START], 1) == [5]  # at least, not above


def test_a_cut_cache_is_that_of_fewer_words(captioner, images):
    memory = captioner.encode(images[:1])
    tokens = torch.tensor([[START, 5, 80, 9, 31]])
    whole, part = {}, {}
    captioner.decode(memory, tokens, cache=whole)
    captioner.decode(memory, tokens[:, :3], cache=part)
    before = copy.deepcopy(whole)
    cut_cache(whole, 9)
    assert whole["length"] == before["length"] == 5
    cut_cache(whole, 3)
    assert whole["length"] == 3
    following = torch.tensor([[44, 45]])
    ours = captioner.decode(memory, following, cache=whole)
    torch.testing.assert_close(
        ours, captioner.decode(memory, following, cache=part), atol=1e-5, rtol=1e-5
    )


def test_words_a_pass_in_the_mean():
    assert expected_words(0.5, 2) == 1.75
    for rate in (0.0, 0.3, 0.9):
        for ahead in (0, 1, 5):
            closed = (1 - rate ** (ahead + 1)) / (1 - rate)
            assert expected_words(rate, ahead) == pytest.approx(closed)
            rng = np.random.default_rng(0)
            accepted = rng.random((20000, ahead)) < rate
            counted = 1 + np.cumprod(accepted, axis=1).sum(1) if ahead else np.ones(1)
            assert expected_words(rate, ahead) == pytest.approx(counted.mean(), abs=0.1)
    assert expected_words(1.0, 4) == 5
    with pytest.raises(ValueError, match="must be a probability"):
        expected_words(1.1, 2)
