"""Connectionist temporal classification (Graves et al. 2006): a text without its times.

Letters: T steps, V symbols of which number 0 is the blank, L symbols of a text. A **path** has a
symbol for each step; its text is what is left when repeats are merged and then blanks removed.
"""

import torch

BLANK = 0


def collapse(path):
    """The text of a path: repeats merged, then blanks removed. A list of numbers to another."""
    text = []
    before = BLANK
    for symbol in path:
        if symbol not in (before, BLANK):
            text.append(symbol)
        before = symbol
    return text


def ctc_loss(log_probs, targets, lengths=None, target_lengths=None):
    r"""Minus the log-probability of a text: of all its paths (Graves et al. 2006, eq. 5 to 8).

    Log-probabilities ``(T, V)`` and a text ``(L,)`` give one number; ``(B, T, V)`` and ``(B, L)``
    give ``(B,)``, where ``lengths`` ``(B,)`` are the steps of each row and ``target_lengths`` the
    symbols of its text. A text that needs more steps than there are has the loss infinity, and
    gradients of zero. ValueError for shapes that do not fit or a blank in a text.
    """
    if log_probs.dim() == 2:
        return ctc_loss(log_probs[None], targets[None])[0]
    lengths, target_lengths = checked_lengths(log_probs, targets, lengths, target_lengths)
    states = with_blanks(targets)  # (B, S)
    may_skip = skips(states)  # (B, S)
    emitted = log_probs.gather(2, states[:, None].expand(-1, log_probs.shape[1], -1))  # (B, T, S)
    lowest = log_probs.new_tensor(torch.finfo(log_probs.dtype).min / 4)  # -inf has no gradient
    alpha = lowest.expand(states.shape).clone()
    alpha[:, :2] = emitted[:, 0, :2]
    for step in range(1, log_probs.shape[1]):
        from_before = shifted(alpha, 1, lowest)
        from_skip = shifted(alpha, 2, lowest).where(may_skip, lowest)
        reached = torch.stack([alpha, from_before, from_skip]).logsumexp(0)  # (B, S)
        going_on = (step < lengths)[:, None]
        alpha = (reached + emitted[:, step]).clamp(min=lowest).where(going_on, alpha)
    return losses_of(alpha, target_lengths, lowest)


def with_blanks(targets):
    """A blank before, between and after the symbols: ``(B, L)`` to ``(B, 2 L + 1)``."""
    states = targets.new_full((targets.shape[0], 2 * targets.shape[1] + 1), BLANK)
    states[:, 1::2] = targets
    return states


def skips(states):
    """Where ``(B, S)`` a path may come from two states before: not over a needed blank.

    A symbol may follow the last one without a blank between them, unless they are the same.
    """
    two_before = torch.roll(states, 2, 1)
    allowed = (states != BLANK) & (states != two_before)
    allowed[:, :2] = False
    return allowed


def shifted(alpha, by, lowest):
    """``alpha`` moved to the right: what each state is reached from."""
    filler = lowest.expand(alpha.shape[0], by)
    return torch.cat([filler, alpha[:, :-by]], 1)[:, : alpha.shape[1]]


def losses_of(alpha, target_lengths, lowest):
    """The loss ``(B,)``: a path ends in the last blank or in the last symbol."""
    last = (2 * target_lengths)[:, None]
    at_blank = alpha.gather(1, last)
    at_symbol = alpha.gather(1, (last - 1).clamp(min=0)).where(last > 0, lowest)
    total = torch.cat([at_blank, at_symbol], 1).logsumexp(1)
    impossible = total < lowest / 2
    return (-total).masked_fill(impossible, float("inf"))


def checked_lengths(log_probs, targets, lengths, target_lengths):
    """Both lengths as tensors, or ValueError."""
    if log_probs.dim() != 3 or targets.dim() != 2 or len(log_probs) != len(targets):
        raise ValueError(
            "expected log-probabilities (B, T, V) and texts (B, L), got "
            f"{tuple(log_probs.shape)} and {tuple(targets.shape)}"
        )
    rows, steps, symbols = log_probs.shape
    longest = targets.shape[1]
    if steps == 0:
        raise ValueError("expected at least one step, got none")
    if lengths is None:
        lengths = torch.full((rows,), steps)
    if target_lengths is None:
        target_lengths = torch.full((rows,), longest)
    if int(lengths.min()) < 1 or int(lengths.max()) > steps:
        raise ValueError(
            f"lengths must lie between 1 and the {steps} steps, got {lengths.tolist()}"
        )
    if int(target_lengths.min()) < 0 or int(target_lengths.max()) > longest:
        raise ValueError(
            f"target_lengths must lie between 0 and {longest}, got {target_lengths.tolist()}"
        )
    said = targets[torch.arange(longest) < target_lengths[:, None]]
    if said.numel() and (int(said.min()) < 1 or int(said.max()) >= symbols):
        raise ValueError(
            f"a text has symbols from 1 to {symbols - 1} (0 is the blank), got {said.tolist()}"
        )
    return lengths, target_lengths


def ctc_greedy(log_probs):
    """The text of the best path of ``(T, V)``: a list of numbers."""
    return collapse(log_probs.argmax(-1).tolist())


def ctc_choose(log_probs, texts):
    """Which of the ``texts``, lists of numbers, is the most probable under ``(T, V)``.

    It is for a list that is known to hold what was said: the text with the smallest
    :func:`ctc_loss`. ValueError for an empty list.
    """
    if not texts:
        raise ValueError("expected at least one text to choose from")
    targets = torch.nn.utils.rnn.pad_sequence(
        [torch.tensor(text, dtype=torch.long) for text in texts], batch_first=True
    )
    target_lengths = torch.tensor([len(text) for text in texts])
    rows = log_probs.expand(len(texts), *log_probs.shape)
    return int(ctc_loss(rows, targets, None, target_lengths).argmin())
