"""Beam search told step by step: what it weighed, what it kept, what it finished.

The search itself is not changed. Shapes: V tokens of the vocabulary, t tokens written so far.
"""

import torch

from mmcourse.decoding import beam_search


def watch(step, calls):
    """The same ``step`` for :func:`mmcourse.decoding.beam_search`, which fills ``calls``.

    Each call adds a dict of the ``rows`` so far (rows, t), their log-probabilities, ``total``
    (rows,), and those of the next token, ``next`` (rows, V). They lie in the cache too, where the
    search repeats and reorders them with all else: so each row knows its own past.
    """

    def watching(tokens, cache):
        before = cache.get("watched")
        if before is None:
            rows = tokens
            total = torch.zeros(len(tokens), device=tokens.device)
        else:
            rows = torch.cat([before["rows"], tokens], 1)
            total = before["total"] + before["next"].gather(1, tokens)[:, 0]
        logits = step(tokens, cache)
        cache["watched"] = {"rows": rows, "total": total, "next": logits.log_softmax(-1)}
        calls.append(dict(cache["watched"]))
        return logits

    return watching


def beam_steps(step, start, *, end, max_length, beams=4):
    """Search from one prompt, ``start`` (1,), and tell how: (what was found, the steps).

    A step is a list of candidates (parent, token, log-probability, fate), the best first. The
    parent is its place in the step before, -1 at the start. The fate is ``kept``, ``ended``,
    ``dropped``, or ``greedy``: no beam, but kept as greedy search would choose it.
    """
    calls = []
    found = beam_search(watch(step, calls), start, end=end, max_length=max_length, beams=beams)
    written = [[tuple(row) for row in call["rows"][:, 1:].tolist()] for call in calls]
    steps = []
    places = {(): -1}  # of each text in the step before
    for index, call in enumerate(calls):
        length = index + 1
        rows = written[index]
        kept = written[length] if length < len(written) else []
        candidates = best_candidates(call, rows, beams)
        finished = {
            text for text in list(candidates)[:beams] if text[-1] == end or length == max_length
        }
        greedy = greedy_candidate(call, rows, end)
        if greedy:
            text, log_prob = greedy
            candidates.setdefault(text, log_prob)
            if text[-1] == end or length == max_length:
                finished.add(text)
        steps.append(
            [
                (places[text[:-1]], text[-1], round(log_prob, 3), fate(text, finished, kept))
                for text, log_prob in candidates.items()
            ]
        )
        places = {text: place for place, text in enumerate(candidates)}
    return found, steps


def best_candidates(call, rows, beams):
    """The 2 * ``beams`` best continuations of the beams, as {text: log-probability}."""
    first_beam = int(len(rows) > 1)  # row 0 follows greedy's path; the first call has one row
    vocabulary = call["next"].shape[1]
    totals = call["total"][:, None] + call["next"]  # (rows, V)
    best, index = totals[first_beam:].flatten().topk(2 * beams)
    candidates = {}
    for log_prob, number in zip(best.tolist(), index.tolist(), strict=True):
        row = rows[first_beam + number // vocabulary]
        candidates[(*row, number % vocabulary)] = log_prob
    return candidates


def greedy_candidate(call, rows, end):
    """How greedy search goes on: (text, log-probability), or None when it has ended."""
    if end in rows[0]:
        return None
    totals = call["total"][0] + call["next"][0]  # (V,)
    token = int(totals.argmax())
    return (*rows[0], token), totals[token].item()


def fate(text, finished, kept):
    """What became of a candidate. ``kept`` are the rows of the next step, greedy's the first."""
    if text in finished:
        return "ended"
    if text in kept[1:]:
        return "kept"
    if text in kept:
        return "greedy"
    return "dropped"
