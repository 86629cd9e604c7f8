"""Unusual right answers to A3, which must get all points (tools/classroom/trials.py tries them all).

Each is a pair (what stands in the solution, what stands there instead) or the whole answer.
"""

from runpy import run_path

from tools.classroom.assignments import FOLDER

FOR_EVERY_FUNCTION = run_path(str(FOLDER / "A1_attention" / "right_answers.py"))["FOR_EVERY_FUNCTION"]

RIGHT = {
    "temperature_softmax": {
        "by logarithms": "def temperature_softmax(logits, temperature):\n    z = logits / temperature\n"
                         "    return np.exp(z - np.logaddexp.reduce(z, axis=-1)[..., None])",
        "row by row": "def temperature_softmax(logits, temperature=1.0):\n    def row(z):\n        e = np.exp((z - z.max()) / temperature)\n"
                      "        return e / e.sum()\n    return np.apply_along_axis(row, -1, logits)",
        "a default": ("temperature):", "temperature=1.0, axis=-1):"),
        "math in loops": "import math\ndef temperature_softmax(logits, temperature):\n    out = np.empty(logits.shape)\n"
                         "    for at in np.ndindex(logits.shape[:-1]):\n        z = [float(x) / temperature for x in logits[at]]\n"
                         "        e = [math.exp(x - max(z)) for x in z]\n        out[at] = np.array(e) / math.fsum(e)\n    return out",
        "the largest first": ("    logits = logits / temperature\n", "    logits = (logits - np.max(logits, -1, keepdims=True)) / temperature\n"),
    },
    "keep_top_k": {
        "ranks": "def keep_top_k(probs, k):\n    rank = np.argsort(np.argsort(-probs, -1, kind='stable'), -1, kind='stable')\n"
                 "    kept = np.where(rank < k, probs, 0)\n    return kept / kept.sum(-1, keepdims=True)",
        "counted": "def keep_top_k(probs, k):\n    n = np.arange(probs.shape[-1])\n    a, b = probs[..., :, None], probs[..., None, :]\n"
                   "    better = ((b > a) | ((b == a) & (n[None, :] < n[:, None]))).sum(-1)\n    kept = probs * (better < k)\n"
                   "    return kept / kept.sum(-1)[..., None]",
        "sorted": "def keep_top_k(probs, k):\n    out = np.zeros(probs.shape)\n    for at in np.ndindex(probs.shape[:-1]):\n"
                  "        best = sorted(range(probs.shape[-1]), key=lambda w: (-probs[at][w], w))[:k]\n"
                  "        out[at][best] = probs[at][best] / probs[at][best].sum()\n    return out",
        "heapq": "import heapq\ndef keep_top_k(probs, k):\n    flat = probs.reshape(-1, probs.shape[-1])\n    out = np.zeros_like(flat)\n"
                 "    for row, kept in zip(flat, out):\n        for p, w in heapq.nsmallest(k, [(-p, w) for w, p in enumerate(row)]):\n            kept[w] = -p\n"
                 "    return (out / out.sum(1, keepdims=True)).reshape(probs.shape)",
        "lexsort": "def keep_top_k(probs, k):\n    order = np.lexsort((np.broadcast_to(np.arange(probs.shape[-1]), probs.shape), -probs), axis=-1)[..., :k]\n"
                   "    kept = np.zeros_like(probs)\n    np.put_along_axis(kept, order, np.take_along_axis(probs, order, -1), -1)\n"
                   "    return kept / kept.sum(-1, keepdims=True)",
        "one word at a time": "def keep_top_k(probs, k):\n    left, kept = np.array(probs), np.zeros_like(probs)\n    for _ in range(min(k, probs.shape[-1])):\n"
                              "        at = left.argmax(-1)[..., None]\n        np.put_along_axis(kept, at, np.take_along_axis(probs, at, -1), -1)\n"
                              "        np.put_along_axis(left, at, -1.0, -1)\n    return kept / kept.sum(-1, keepdims=True)",
    },
    "keep_top_p": {
        "row by row": "def keep_top_p(probs, p):\n    def row(q):\n        total, kept = 0.0, np.zeros_like(q)\n        for w in sorted(range(len(q)), key=lambda w: (-q[w], w)):\n"
                      "            if total >= p:\n                break\n            kept[w] = q[w]\n            total += q[w]\n        return kept / kept.sum()\n"
                      "    return np.apply_along_axis(row, -1, probs)",
        "the number of words": "def keep_top_p(probs, p):\n    order = np.argsort(-probs, -1, kind='stable')\n"
                               "    sums = np.cumsum(np.take_along_axis(probs, order, -1), -1)\n"
                               "    count = np.minimum((sums < p).sum(-1) + 1, probs.shape[-1])\n    rank = np.argsort(order, -1)\n"
                               "    kept = np.where(rank < count[..., None], probs, 0.0)\n    return kept / kept.sum(-1, keepdims=True)",
        "searchsorted": "def keep_top_p(probs, p):\n    flat = probs.reshape(-1, probs.shape[-1])\n    out = np.zeros(flat.shape)\n    for row, kept in zip(flat, out):\n"
                        "        order = np.argsort(-row, kind='stable')\n        count = np.searchsorted(row[order].cumsum(), p) + 1\n"
                        "        kept[order[:count]] = row[order[:count]]\n    return (out / out.sum(-1)[:, None]).reshape(probs.shape)",
        "shifted sums": ("ordered.cumsum(axis=-1) - ordered", "np.concatenate([np.zeros_like(ordered[..., :1]), ordered.cumsum(-1)[..., :-1]], -1)"),
        "top-k row by row": "def keep_top_p(probs, p):\n    out = np.zeros_like(probs)\n    for at in np.ndindex(probs.shape[:-1]):\n"
                            "        k = next((k for k in range(1, len(probs[at])) if np.sort(probs[at])[::-1][:k].sum() >= p), len(probs[at]))\n"
                            "        out[at] = keep_top_k(probs[at], k)\n    return out",
    },
    "draw": {
        "loops": "def draw(probs, u):\n    words = []\n    for row, number in zip(probs, u):\n        total = 0.0\n        for w, q in enumerate(row):\n"
                 "            total += q\n            if total > number:\n                break\n        else:\n            w = np.flatnonzero(row)[-1]\n"
                 "        words.append(w)\n    return np.array(words)",
        "searchsorted": "def draw(probs, u):\n    found = [np.searchsorted(np.cumsum(row), number, side='right') for row, number in zip(probs, u)]\n"
                        "    return np.array([min(w, np.nonzero(row)[0].max()) for w, row in zip(found, probs)])",
        "counted": "def draw(probs, u):\n    w = (probs.cumsum(1) <= u[:, None]).sum(1)\n    last = np.array([np.flatnonzero(row > 0)[-1] for row in probs])\n"
                   "    return np.minimum(w, last)",
        "accumulate and bisect": "import bisect, itertools\ndef draw(probs, u):\n    out = np.zeros(len(u), dtype=int)\n    for i in range(len(u)):\n"
                                 "        sums = list(itertools.accumulate(probs[i].tolist()))\n        w = bisect.bisect_right(sums, u[i])\n"
                                 "        out[i] = w if w < len(sums) else max(j for j, q in enumerate(probs[i]) if q > 0)\n    return out",
        "32 bits": ("return np.where(above.any(axis=-1), above.argmax(axis=-1), last)", "return np.where(above.any(-1), above.argmax(-1), last).astype(np.int32)"),
    },
    "greedy": {
        "a while loop": "def greedy(step, start, end, max_length):\n    words, total = [], 0\n    while len(words) < max_length:\n"
                        "        z = step(np.array([[start] + words], dtype=int))[0]\n        z = z - np.logaddexp.reduce(z)\n        w = z.argmax()\n        total += z[w]\n"
                        "        if w == end:\n            break\n        words.append(w)\n    return np.array(words, dtype=np.int64), total",
        "an array that grows": "def greedy(step, start, end, max_length):\n    rows, total = np.array([[start]]), 0.0\n    for _ in range(max_length):\n"
                               "        q = temperature_softmax(step(rows), 1)\n        w = np.argmax(q, axis=-1)\n        total = total + np.log(q[0, w[0]])\n"
                               "        if w[0] == end:\n            return rows[0, 1:], total\n        rows = np.hstack([rows, w[:, None]])\n    return rows[0, 1:], total",
        "math.log": ("np.log(probs[word])", "__import__('math').log(probs[word])"),
        "log-softmax": ("        log_prob += np.log(probs[word])", "        log_prob += float(np.log(probs)[word])"),
        "recursion": "def greedy(step, start, end, max_length, row=None):\n    row = [start] if row is None else row\n    if len(row) > max_length:\n"
                     "        return np.array(row[1:], dtype=int), 0.0\n    q = temperature_softmax(step(np.array([row])), 1.0)[0]\n    w = int(np.argmax(q))\n"
                     "    if w == end:\n        return np.array(row[1:], dtype=int), np.log(q[w])\n"
                     "    words, rest = greedy(step, start, end, max_length, row + [w])\n    return words, np.log(q[w]) + rest",
        "a softmax with a default": "def temperature_softmax(logits, temperature=1.0):\n    e = np.exp((logits - logits.max(-1, keepdims=True)) / temperature)\n"
                                    "    return e / e.sum(-1, keepdims=True)\ndef greedy(step, start, end, max_length):\n    row, total = [start], 0.0\n"
                                    "    for _ in range(max_length):\n        q = temperature_softmax(step(np.array([row]))[0])\n        w = int(q.argmax())\n        total += np.log(q[w])\n"
                                    "        if w == end:\n            break\n        row.append(w)\n    return np.array(row[1:], dtype=int), total",
    },
    "sample": {
        "one row of probabilities": "def sample(step, start, end, u, temperature, k, p):\n    row, total = [start], 0.0\n    for x in u:\n        z = step(np.array([row]))[0]\n"
                                    "        q = keep_top_p(keep_top_k(temperature_softmax(z, temperature), k), p)\n        w = draw(q[None], np.array([x]))[0]\n"
                                    "        total += z[w] - np.logaddexp.reduce(z)\n        if w == end:\n            break\n        row.append(w)\n"
                                    "    return np.array(row[1:], dtype=int), total",
        "a while loop": "def sample(step, start, end, u, temperature, k, p):\n    rows, total, t = np.array([[start]]), 0.0, 0\n    while t < len(u):\n        z = step(rows)\n"
                        "        q = keep_top_p(probs=keep_top_k(probs=temperature_softmax(z, temperature), k=k), p=p)\n        w = draw(q, u[t : t + 1])\n"
                        "        total += np.log(temperature_softmax(z, 1.0))[0, w[0]]\n        if w[0] == end:\n            break\n        rows, t = np.c_[rows, w], t + 1\n"
                        "    return rows[0, 1:], total",
        "draws one at a time": "def draw(probs, u, seen=None):\n    probs, u = np.atleast_2d(probs), np.atleast_1d(u)\n    found = []\n    for row, x in zip(probs, u):\n"
                               "        sums = row.cumsum()\n        found.append(int((sums > x).argmax()) if (sums > x).any() else int(np.flatnonzero(row)[-1]))\n"
                               "    return np.array(found)\ndef sample(step, start, end, u, temperature, k, p):\n    row, total = [start], 0.0\n    for x in u:\n        z = step(np.array([row]))[0]\n"
                               "        w = draw(keep_top_p(keep_top_k(temperature_softmax(z, temperature), k), p), x, seen=row)[0]\n"
                               "        total += np.log(temperature_softmax(z, 1.0)[w])\n        if w == end:\n            break\n        row.append(w)\n"
                               "    return np.array(row[1:], dtype=int), total",
        "sum of a list": "def sample(step, start, end, u, temperature, k, p):\n    words, parts = [start], []\n    for x in list(u):\n        z = step(np.array(words)[None, :])\n"
                         "        q = temperature_softmax(z, temperature)\n        q = keep_top_p(keep_top_k(q, k), p)\n        w = draw(q, np.array([x])).item()\n"
                         "        parts.append(float(np.log(temperature_softmax(z, 1.0)[0][w])))\n        words.append(w)\n        if w == end:\n            words.pop()\n            break\n"
                         "    return np.array(words[1:], dtype=int), sum(parts)",
    },
    "cached_attention": {
        "minus infinity": ("-1e300", "-np.inf"),
        "in blocks": "def cached_attention(x, keys, values, projections):\n    q, k, v = (np.einsum('btd,de->bte', x, projections[n]) for n in ('query', 'key', 'value'))\n"
                     "    old = keys.shape[1]\n    keys, values = np.append(keys, k, axis=1), np.append(values, v, axis=1)\n    out = np.empty_like(x)\n"
                     "    for t in range(x.shape[1]):\n        s = np.einsum('bd,bsd->bs', q[:, t], keys[:, : old + t + 1]) / np.sqrt(x.shape[2])\n"
                     "        out[:, t] = np.einsum('bs,bsd->bd', temperature_softmax(s, 1.0), values[:, : old + t + 1])\n    return out, keys, values",
        "tri": ("np.arange(source) <= np.arange(new)[:, None] + source - new", "np.tri(new, source, source - new, dtype=bool)"),
        "added": ("np.where(may_look, scores, -1e300)", "scores + np.where(may_look, 0.0, -np.inf)"),
        "hidden in place": ("temperature_softmax(np.where(may_look, scores, -1e300), 1.0)", "None\n    scores[:, ~may_look] = -np.inf\n    weights = temperature_softmax(scores, 1.0)"),
        "a softmax with a mask": "def temperature_softmax(logits, temperature=1.0, mask=None):\n    z = logits / temperature\n    z = z if mask is None else np.where(mask, z, -np.inf)\n"
                                 "    e = np.exp(z - z.max(-1, keepdims=True))\n    return e / e.sum(-1, keepdims=True)\n"
                                 "def cached_attention(x, keys, values, projections):\n    q = x @ projections['query']\n    keys = np.concatenate((keys, x @ projections['key']), 1)\n"
                                 "    values = np.concatenate((values, x @ projections['value']), 1)\n    t, s = x.shape[1], keys.shape[1]\n"
                                 "    w = temperature_softmax(q @ keys.transpose(0, 2, 1) / x.shape[-1] ** 0.5, mask=np.tri(t, s, s - t, dtype=bool))\n    return w @ values, keys, values",
        "a list of three": ("return weights @ values, keys, values", "return [weights @ values, keys, values]"),
    },
    "costs": {
        "loops": "def costs(length, width):\n    a, b, out = 0, 0, [[], []]\n    for t in range(1, length + 1):\n        a += 3 * t * width**2 + 2 * t * t * width\n"
                 "        b += 3 * width**2 + 2 * t * width\n        out[0].append(a)\n        out[1].append(b)\n    return np.array(out)",
        "closed form": "def costs(length, width):\n    n, d = np.arange(1, length + 1), width\n    s1, s2 = n * (n + 1) // 2, n * (n + 1) * (2 * n + 1) // 6\n"
                       "    return np.array([3 * d * d * s1 + 2 * d * s2, 3 * d * d * n + 2 * d * s1])",
        "floats": ("np.arange(1, length + 1)", "np.arange(1.0, length + 1)"),
        "unsigned": ("np.arange(1, length + 1)", "np.arange(1, length + 1, dtype=np.uint64)"),
        "vstack": ("np.stack([without, cached]).cumsum(axis=1)", "np.vstack([np.cumsum(without), np.cumsum(cached)])"),
        "accumulate": "from itertools import accumulate\ndef costs(length, width):\n    words = range(1, length + 1)\n"
                      "    return np.array([list(accumulate(3 * t * width**2 + 2 * t**2 * width for t in words)),\n"
                      "                     list(accumulate(3 * width**2 + 2 * t * width for t in words))])",
    },
    "best_candidates": {
        "sorted": "def best_candidates(totals, log_probs, count):\n    every = [(totals[b] + log_probs[b, v], b, v) for b in range(len(totals)) for v in range(log_probs.shape[1])]\n"
                  "    every.sort(key=lambda one: -one[0])\n    score, row, word = (np.array(part) for part in zip(*every[:count]))\n    return row, word, score",
        "divmod": ("return best // log_probs.shape[1], best % log_probs.shape[1], extended[best]",
                   "rows, words = divmod(best, log_probs.shape[1])\n    return rows, words, extended[best]"),
        "unravel_index": "def best_candidates(totals, log_probs, count):\n    all_totals = np.add(totals[:, np.newaxis], log_probs)\n"
                         "    rows, words = np.unravel_index(np.argsort(-all_totals, axis=None, kind='stable')[:count], all_totals.shape)\n    return rows, words, all_totals[rows, words]",
        "heapq": "import heapq\ndef best_candidates(totals, log_probs, count):\n    best = heapq.nsmallest(count, ((-(totals[b] + log_probs[b][v]), b, v) for b, v in np.ndindex(log_probs.shape)))\n"
                 "    return np.array([b for _, b, _ in best]), np.array([v for _, _, v in best]), np.array([-s for s, _, _ in best])",
        "lexsort": "def best_candidates(totals, log_probs, count):\n    rows, words = np.indices(log_probs.shape).reshape(2, -1)\n    sums = (totals[:, None] + log_probs).flatten()\n"
                   "    at = np.lexsort((words, rows, -sums))[:count]\n    return rows[at], words[at], sums[at]",
        "a list of three": ("return best // log_probs.shape[1], best % log_probs.shape[1], extended[best]",
                            "return list((best // log_probs.shape[1], best % log_probs.shape[1], extended[best]))"),
    },
    "beam_search": {
        "lists of lines": "def beam_search(step, start, end, max_length, beams, alpha):\n    live, done = [(0.0, [start])], []\n    for length in range(1, max_length + 1):\n"
                          "        z = step(np.array([row for _, row in live]))\n        logs = z - np.logaddexp.reduce(z, axis=1, keepdims=True)\n"
                          "        parents, words, totals = best_candidates(np.array([t for t, _ in live]), logs, 2 * beams)\n        going = []\n"
                          "        for place, (b, w, t) in enumerate(zip(parents, words, totals)):\n            if w == end:\n                if place < beams:\n"
                          "                    done.append((t / length**alpha, live[b][1][1:]))\n            elif len(going) < beams:\n                going.append((t, live[b][1] + [int(w)]))\n"
                          "        live = going\n    done += [(t / max_length**alpha, row[1:]) for t, row in live]\n    score, words = max(done, key=lambda line: line[0])\n"
                          "    return np.array(words, dtype=int), score",
        "its own candidates": ("best_candidates(totals, log_probs, 2 * beams)", "(lambda s: (lambda at: (at // s.shape[1], at % s.shape[1], s.ravel()[at]))"
                               "(np.argsort(-s, axis=None, kind='stable')[: 2 * beams]))(totals[:, None] + log_probs)"),
        "logits and logaddexp": ("np.log(temperature_softmax(step(rows), 1.0))", "(lambda z: z - np.logaddexp.reduce(z, -1)[:, None])(step(rows))"),
        "candidates with an option": "plain = best_candidates\ndef best_candidates(totals, log_probs, count, seen=None):\n    return plain(totals, log_probs, count)\n"
                                     "def beam_search(step, start, end, max_length, beams, alpha):\n    rows, totals, done = np.array([[start]]), np.zeros(1), []\n"
                                     "    for length in range(1, max_length + 1):\n        logs = np.log(temperature_softmax(step(rows), 1.0))\n"
                                     "        at, words, totals = best_candidates(totals, logs, 2 * beams, seen=rows)\n        for i in range(min(beams, len(words))):\n"
                                     "            if words[i] == end:\n                done.append((totals[i] / length**alpha, rows[at[i], 1:]))\n"
                                     "        keep = [i for i in range(len(words)) if words[i] != end][:beams]\n        rows = np.c_[rows[at[keep]], words[keep]]\n        totals = totals[keep]\n"
                                     "    done += [(t / max_length**alpha, row[1:]) for t, row in zip(totals, rows)]\n    best = max(range(len(done)), key=lambda i: done[i][0])\n"
                                     "    return done[best][1], done[best][0]",
        "the score as an array": ("return best_words, best_score", "return best_words, np.array(best_score)"),
    },
    "bleu_counts": {
        "list.count": "def bleu_counts(hypothesis, references, max_order):\n    def grams(text, n):\n        w = text.split()\n        return [' '.join(w[i : i + n]) for i in range(len(w) - n + 1)]\n"
                      "    out = []\n    for n in range(1, max_order + 1):\n        h = grams(hypothesis, n)\n"
                      "        out.append(sum(min(h.count(g), max(grams(r, n).count(g) for r in references)) for g in set(h)))\n"
                      "    out += [len(grams(hypothesis, n)) for n in range(1, max_order + 1)]\n    c = len(hypothesis.split())\n"
                      "    return np.array(out + [c, sorted((abs(len(r.split()) - c), len(r.split())) for r in references)[0][1]])",
        "a vector of floats": ("return np.array(common + stated", "return np.array([*map(float, common + stated)]"),
        "zip": ("Counter(tuple(words[at : at + n]) for at in range(len(words) - n + 1))", "Counter(zip(*(words[at:] for at in range(n))))"),
        "a dictionary": ("    from collections import Counter\n", "    from collections import Counter, defaultdict\n    shown = defaultdict(int)\n"),
        "min of a sorted list": ("min(lengths, key=lambda other: (abs(other - length), other))", "min(sorted(lengths), key=lambda other: abs(other - length))"),
    },
    "bleu": {
        "math": "import math\ndef bleu(hypotheses, references, max_order):\n    total = [0] * (2 * max_order + 2)\n    for h, r in zip(hypotheses, references):\n"
                "        total = [a + int(b) for a, b in zip(total, bleu_counts(h, r, max_order))]\n    c, r = total[-2:]\n    bp = min(1, math.exp(min(0, 1 - (r + 1e-9) / (c + 1e-15))))\n"
                "    out, product = [], 1.0\n    for n in range(max_order):\n        product *= (total[n] + 1e-15) / (total[n + max_order] + 1e-9)\n        out.append(bp * product ** (1 / (n + 1)))\n    return np.array(out)",
        "logarithms": ("precisions.cumprod() ** (1 / np.arange(1, max_order + 1))", "np.exp(np.cumsum(np.log(precisions)) / np.arange(1, max_order + 1))"),
        "sum of arrays": ("np.sum(counts, axis=0)", "sum(counts)"),
        "geometric means": ("brevity * precisions.cumprod() ** (1 / np.arange(1, max_order + 1))",
                            "np.array([brevity * np.prod(precisions[:n]) ** (1 / n) for n in range(1, max_order + 1)])"),
        "counts with an option": "plain_counts = bleu_counts\ndef bleu_counts(hypothesis, references, max_order, lower=False):\n    return plain_counts(hypothesis, references, max_order)\n"
                                 "def bleu(hypotheses, references, max_order):\n    c = np.array([bleu_counts(h, r, max_order, lower=False) for h, r in zip(hypotheses, references)]).sum(0)\n"
                                 "    p = (c[:max_order] + 1e-15) / (c[max_order : 2 * max_order] + 1e-9)\n    bp = min(1.0, np.exp(1 - (c[-1] + 1e-9) / (c[-2] + 1e-15)))\n"
                                 "    return bp * np.power(np.cumprod(p), 1 / (np.arange(max_order) + 1))",
    },
    "rarity": {
        "Counter": "from collections import Counter\nimport math\ndef rarity(text, n, references):\n    def grams(t):\n        w = t.split()\n        return [tuple(w[i : i + n]) for i in range(len(w) - n + 1)]\n"
                   "    held = Counter(g for others in references for g in {g for r in others for g in grams(r)})\n"
                   "    return np.array([math.log(len(references) / max(1, held[g])) for g in grams(text)])",
        "any": "def rarity(text, n, references):\n    w = text.split()\n    out = []\n    for i in range(len(w) - n + 1):\n        g = w[i : i + n]\n"
               "        count = sum(any(r.split()[j : j + n] == g for r in others for j in range(len(r.split()))) for others in references)\n"
               "        out.append(np.log(len(references)) - np.log(max(count, 1)))\n    return np.array(out)",
        "strings": "def rarity(text, n, references):\n    def grams(t):\n        w = t.split()\n        return ['\\t'.join(w[i : i + n]) for i in range(len(w) + 1 - n)]\n"
                   "    sets = [set().union(*map(grams, others)) for others in references]\n    return np.array([np.log(len(sets) / max(1, sum(g in s for s in sets))) for g in grams(text)])",
        "fromiter": "def rarity(text, n, references):\n    from functools import reduce\n    g = lambda t: list(zip(*(t.split()[i:] for i in range(n))))\n"
                    "    s = [reduce(set.union, (set(g(r)) for r in others), set()) for others in references]\n"
                    "    return np.fromiter((np.log(len(s) / max(1, sum(x in y for y in s))) for x in g(text)), float)",
    },
    "similarity": {
        "vectors": "def similarity(hypothesis, reference, n, references):\n    def grams(t):\n        w = t.split()\n        return [tuple(w[i : i + n]) for i in range(len(w) - n + 1)]\n"
                   "    kinds = sorted(set(grams(hypothesis)) | set(grams(reference)))\n    h, r = np.zeros(len(kinds)), np.zeros(len(kinds))\n"
                   "    for vector, text in ((h, hypothesis), (r, reference)):\n        for g, weight in zip(grams(text), rarity(text, n, references)):\n            vector[kinds.index(g)] += weight\n"
                   "    length = np.linalg.norm(h) * np.linalg.norm(r)\n    return np.minimum(h, r) @ r / length if length > 0 else 0",
        "math.sqrt": ("norms = np.sqrt(", "import math\n    norms = math.sqrt("),
        "errors as zero": ("    if norms == 0:\n        return 0.0\n", "    if not norms:\n        return np.float64(0)\n"),
        "defaultdict": ("words, entries = text.split(), {}", "from collections import defaultdict\n        words, entries = text.split(), defaultdict(float)"),
        "rarity with a cache": "plain_rarity, kept = rarity, {}\ndef rarity(text, n, references, memo=None):\n    memo = {} if memo is None else memo\n"
                               "    key = (text, n)\n    if key not in memo:\n        memo[key] = plain_rarity(text, n, references)\n    return memo[key]\n"
                               "def similarity(hypothesis, reference, n, references):\n    memo = {}\n    def vector(text):\n        w, out = text.split(), {}\n"
                               "        for i, x in enumerate(rarity(text, n, references, memo=memo)):\n            out[tuple(w[i : i + n])] = out.get(tuple(w[i : i + n]), 0) + x\n        return out\n"
                               "    h, r = vector(hypothesis), vector(reference)\n    norm = np.sqrt(sum(x * x for x in h.values())) * np.sqrt(sum(x * x for x in r.values()))\n"
                               "    return sum(min(h.get(g, 0), x) * x for g, x in r.items()) / norm if norm else 0.0",
    },
    "cider_d": {
        "one sum": "def cider_d(hypotheses, references):\n    return np.array([10 * np.mean([[np.exp(-((len(h.split()) - len(r.split())) ** 2) / 72) * similarity(h, r, n, references)\n"
                   "                            for n in range(1, 5)] for r in others]) for h, others in zip(hypotheses, references)])",
        "math.exp": ("np.exp(-(gap**2) / 72)", "__import__('math').exp(-gap * gap / 72)"),
        "a sigma": ("np.exp(-(gap**2) / 72)", "np.exp(-(gap**2) / (2 * 6.0**2))"),
        "filled": "def cider_d(hypotheses, references):\n    out = np.zeros(len(hypotheses))\n    for i, h in enumerate(hypotheses):\n        for r in references[i]:\n"
                  "            weight = np.exp(-((len(h.split()) - len(r.split())) ** 2) / 72)\n            for n in (1, 2, 3, 4):\n"
                  "                out[i] += weight * similarity(h, r, n, references) * 10 / 4 / len(references[i])\n    return out",
        "similarity with an option": "plain_similarity = similarity\ndef similarity(hypothesis, reference, n, references, times=1.0):\n"
                                     "    return times * plain_similarity(hypothesis, reference, n, references)\n"
                                     "def cider_d(hypotheses, references):\n    def weight(h, r):\n        return np.exp(-((len(h.split()) - len(r.split())) ** 2) / 72)\n"
                                     "    return np.array([sum(similarity(h, r, n, references, times=weight(h, r)) for r in others for n in (1, 2, 3, 4)) * 2.5 / len(others)\n"
                                     "                     for h, others in zip(hypotheses, references)])",
    },
}
