"""Two answers become one: a vote, and Bayes' rule.

Shapes: B batch, M sides, R answers.
"""

import torch


def vote(log_probs, weights=None):
    r"""The mean of the probabilities of M sides, :math:`\sum_m w_m\, p_m(r)`: their logs (B, R).

    ``log_probs`` (B, M, R) are log-probabilities, ``weights`` (B, M) or (M,) sum to one, equal
    unless given. Raises ValueError where they do not.
    """
    sides = log_probs.shape[-2]
    if weights is None:
        weights = log_probs.new_full((sides,), 1 / sides)
    sums = weights.sum(-1)
    if (weights < 0).any() or not torch.allclose(sums, torch.ones_like(sums), atol=1e-4):
        raise ValueError("weights must be positive and sum to one over the sides")
    return (log_probs + weights.log()[..., None]).logsumexp(-2)


def combine(log_probs, log_prior):
    r"""What M sides say together if, given the answer, they are independent: logs (B, R).

    :math:`p(r \mid t, v) \propto p(r \mid t)\, p(r \mid v) / p(r)`, normalised: Bayes' rule with
    :math:`p(t, v \mid r) = p(t \mid r)\, p(v \mid r)`. ``log_probs`` (B, M, R) are
    log-probabilities, ``log_prior`` (R,) or (B, R) those of the answer before anything is seen.
    """
    sides = log_probs.shape[-2]
    joint = log_probs.sum(-2) - (sides - 1) * log_prior  # (B, R)
    return joint.log_softmax(-1)
