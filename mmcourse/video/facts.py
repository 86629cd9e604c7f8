"""What a model says of a clip: a caption, a rank among captions, and which way time runs.

A fact is a pair: an event, and the one or two nouns of its caption. B clips, F frames, T steps in
time, N cells of a step.
"""

from typing import NamedTuple

import torch

from mmcourse.data.clips import EVENTS, NOUNS, all_captions, opposite


class Scores(NamedTuple):
    """Log-probabilities of the three parts of a caption, and where each looked."""

    event: torch.Tensor  #: (B, events)
    first: torch.Tensor  #: (B, nouns)
    second: torch.Tensor  #: (B, nouns + 1), the last for no second noun
    weights: torch.Tensor | None  #: (B, 3, T, N) of the readout, the mean over its heads


def all_facts():
    """Everything that a caption can state, a list of (event, nouns)."""
    return list(all_captions().values())


def targets_of(event, nouns):
    """The numbers of the three parts of a caption, a list."""
    second = NOUNS.index(nouns[1]) if len(nouns) == 2 else len(NOUNS)
    return [EVENTS.index(event), NOUNS.index(nouns[0]), second]


def caption_scores(scores, facts):
    """The log-probability of each of some facts for each clip, (B, facts): the sum of its parts."""
    rows = torch.tensor([targets_of(*fact) for fact in facts])  # (facts, 3)
    return sum(scores[place][:, rows[:, place]] for place in range(3))


def log_probability(scores, facts):
    """The log-probability (B,) of one fact for each clip."""
    rows = torch.tensor([targets_of(*fact) for fact in facts])  # (B, 3)
    found = [scores[place].gather(1, rows[:, place : place + 1]) for place in range(3)]
    return torch.cat(found, 1).sum(1)


def best_facts(scores):
    """The most probable fact that a caption can state, for each clip: a list."""
    candidates = all_facts()
    best = caption_scores(scores, candidates).argmax(1)
    return [candidates[number] for number in best.tolist()]


def reads_rightly(scores, facts):
    """Whether the most probable caption is the true one, booleans (B,)."""
    found = best_facts(scores)
    return torch.tensor([one == other for one, other in zip(found, facts, strict=True)])


def knows_direction(scores, facts):
    """Whether the truth is more probable than what is true of the clip backwards, booleans (B,).

    Both have the same frames. Of the ties every second one counts as right.
    """
    true = log_probability(scores, facts)
    other = log_probability(scores, [opposite(*fact) for fact in facts])
    tie = torch.arange(len(true)) % 2 == 0
    return torch.where(true == other, tie, true > other)


def weights_of_frames(scores, frames):
    """How much each part of a caption looked at each of so many frames, (B, 3, F).

    The frames of a tubelet share its weight.
    """
    over_time = scores.weights.sum(-1)  # (B, 3, T)
    each = frames // over_time.shape[-1]
    return over_time.repeat_interleave(each, -1) / each
