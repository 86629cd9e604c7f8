"""Beam search told step by step: what it weighed, what it kept, what it finished. The search itself is not changed."""

import torch

from mmcourse.decoding import beam_search


def watch(step, calls):
    """The same ``step`` for :func:`mmcourse.decoding.beam_search`; ``calls`` fills with what it saw and answered.

    Each call adds the rows so far (rows, t), their log-probabilities (rows,) and those of the next word (rows, V). All
    three lie in the cache too, where the search repeats and reorders them: so each row knows its own past.
    """

    def watching(tokens, cache):
        seen = cache.get("watched")
        rows, total = tokens, torch.zeros(len(tokens), device=tokens.device)
        if seen:
            rows = torch.cat([seen["rows"], tokens], 1)
            total = seen["total"] + seen["next"].gather(1, tokens)[:, 0]
        logits = step(tokens, cache)
        cache["watched"] = {"rows": rows, "total": total, "next": logits.log_softmax(-1)}
        calls.append(dict(cache["watched"]))
        return logits

    return watching


def beam_steps(step, start, *, end, max_length, beams=4):
    """Searches from one prompt, ``start`` (1,), and gives (what was found, the candidates of each step, best first).

    A candidate is (parent, token, log-probability, fate). The parent is its place in the step before, -1 at the start.
    The fate is ``kept``, ``ended``, ``dropped``, or ``greedy``: no beam, but kept as greedy search would choose it.
    """
    calls, steps, places = [], [], {(): -1}
    found = beam_search(watch(step, calls), start, end=end, max_length=max_length, beams=beams)
    written = [[tuple(row) for row in call["rows"][:, 1:].tolist()] for call in calls]
    for length, (call, rows, after) in enumerate(
        zip(calls, written, [*written[1:], []], strict=True), 1
    ):
        first = int(len(rows) > 1)  # row 0 follows greedy's path, the others are the beams
        total, size = call["total"][:, None] + call["next"], call["next"].shape[1]
        best, index = total[first:].flatten().topk(2 * beams)
        texts = {
            (*rows[first + i // size], i % size): x
            for x, i in zip(best.tolist(), index.tolist(), strict=True)
        }
        finished = {text for text in list(texts)[:beams] if text[-1] == end or length == max_length}
        if end not in rows[0]:
            word = int(total[0].argmax())
            texts.setdefault((*rows[0], word), total[0, word].item())
            finished |= {(*rows[0], word)} if word == end or length == max_length else set()
        fates = {text: "ended" if text in finished else "kept" if text in after[1:] else
                 "greedy" if text in after else "dropped" for text in texts}  # fmt: skip
        steps.append(
            [(places[text[:-1]], text[-1], round(x, 3), fates[text]) for text, x in texts.items()]
        )
        places = {text: place for place, text in enumerate(texts)}
    return found, steps
