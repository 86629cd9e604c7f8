# Independent answers that the hidden tests of A3 compare with, computed another way than in the solution: the tests of a
# function see them, students do not.
import math
from collections import Counter
from itertools import product


def ref_softmax(logits, temperature=1.0):
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    with np.errstate(invalid="ignore"):  # a row of -inf gives NaN, as the formula does
        return np.exp(scaled - np.logaddexp.reduce(scaled, axis=-1, keepdims=True))


def ref_cut(probs, keeps):
    """Keep the first words of each row, sorted from the best down; keeps(sorted probabilities) says how many."""
    kept = np.zeros(probs.shape)
    for row in np.ndindex(probs.shape[:-1]):
        best = sorted(range(probs.shape[-1]), key=lambda word, row=row: (-probs[row][word], word))
        best = best[: keeps([probs[row][word] for word in best])]
        total = sum(probs[row][word] for word in best)
        for word in best:
            kept[row][word] = probs[row][word] / total
    return kept


def ref_top_k(probs, k):
    return ref_cut(probs, lambda ordered: k)


def ref_top_p(probs, p):
    def keeps(ordered):
        total, count = 0.0, 0
        while count < len(ordered) and total < p:
            total, count = total + ordered[count], count + 1
        return count

    return ref_cut(probs, keeps)


def ref_draw(probs, u):
    drawn = []
    for row, number in zip(probs, u, strict=True):
        total, found = 0.0, None
        for word, prob in enumerate(row):
            total += prob
            if prob > 0 and (found is None or not found[1]):
                found = word, total > number
        drawn.append(found[0])
    return np.array(drawn)


def ref_model(random, words, scale=1.5, shift=4.0):
    """A model whose logits depend on the length, on the last word and on the sum of all words."""
    tables = [random.normal(size=(rows, words)) * scale for rows in (5, words, 7)]

    def step(rows):
        rows = np.asarray(rows)
        if rows.ndim != 2 or rows.dtype.kind != "i":
            raise ValueError(f"step takes whole numbers (B, t), the words of B rows; it got {rows.dtype} {rows.shape}")
        return tables[0][rows.shape[1] % 5] + tables[1][rows[:, -1]] + tables[2][rows.sum(1) % 7] + shift

    return step


def ref_log_probs(step, row):
    """The log-probabilities of the word after this row, a list."""
    logits = [float(logit) for logit in step(np.array([row]))[0]]
    most = max(logits)
    whole = most + math.log(sum(math.exp(logit - most) for logit in logits))
    return [logit - whole for logit in logits]


def ref_line(step, row, end, choices):
    """Words and log-probability of the line in which choices(row, number of the word) is the next word, while it gives one."""
    word = choices(row)
    if word is None:
        return row[1:], 0.0
    log_prob = ref_log_probs(step, row)[word]
    if word == end:
        return row[1:], log_prob
    words, rest = ref_line(step, [*row, word], end, choices)
    return words, log_prob + rest


def ref_greedy(step, start, end, max_length):
    def choose(row):
        log_probs = ref_log_probs(step, row)
        return log_probs.index(max(log_probs)) if len(row) <= max_length else None

    words, log_prob = ref_line(step, [start], end, choose)
    return np.array(words, dtype=int), log_prob


def ref_sample(step, start, end, u, temperature, k, p):
    def choose(row):
        if len(row) > len(u):
            return None
        probs = ref_top_p(ref_top_k(ref_softmax(step(np.array([row])), temperature), k), p)
        return int(ref_draw(probs, u[len(row) - 1 : len(row)])[0])

    words, log_prob = ref_line(step, [start], end, choose)
    return np.array(words, dtype=int), log_prob


def ref_whole(x, projections):
    """Causal attention of a whole sentence (B, T, D), keys and values."""
    query, keys, values = (np.einsum("btd,de->bte", x, projections[name]) for name in ("query", "key", "value"))
    output = np.zeros(x.shape)
    for batch, at in np.ndindex(x.shape[:2]):
        scores = keys[batch, : at + 1] @ query[batch, at] / x.shape[-1] ** 0.5
        output[batch, at] = ref_softmax(scores, 1.0) @ values[batch, : at + 1]
    return output, keys, values


def ref_costs(length, width):
    def call(new, source):
        return 3 * new * width**2 + 2 * new * source * width

    sums = np.zeros((2, length), dtype=np.int64)
    for row, cached in enumerate([False, True]):
        total = 0
        for word in range(1, length + 1):
            total += call(1 if cached else word, word)
            sums[row, word - 1] = total
    return sums


def ref_best(totals, log_probs, count):
    log_probs = np.asarray(log_probs)
    found = [(-(totals[row] + log_probs[row, word]), row, word) for row, word in np.ndindex(log_probs.shape)]
    best = sorted(found)[: int(count)]
    row, word = (np.array([one[place] for one in best], dtype=int) for place in (1, 2))
    return row, word, -np.array([one[0] for one in best], dtype=float)


def ref_beams(step, start, end, max_length, beams, alpha):
    live, finished = [(0.0, [start])], []
    for length in range(1, max_length + 1):
        grown = [(total + log_prob, [*row, word])
                 for total, row in live for word, log_prob in enumerate(ref_log_probs(step, row))]
        grown.sort(key=lambda candidate: -candidate[0])
        finished += [(total / length**alpha, row[1:-1]) for total, row in grown[:beams] if row[-1] == end]
        live = [candidate for candidate in grown if candidate[1][-1] != end][:beams]
    finished += [(total / max_length**alpha, row[1:]) for total, row in live]
    score, words = max(finished, key=lambda line: line[0])
    return np.array(words, dtype=int), score


def ref_every_line(step, start, end, max_length, beams, alpha):
    """The best of all lines, by trying each."""
    words, lines = step(np.array([[start]])).shape[1], {}
    for line in product(range(words), repeat=max_length):
        line = line[: line.index(end) + 1] if end in line else line
        lines[line] = 0.0
    for line in lines:
        row = [start]
        for word in line:
            lines[line] += ref_log_probs(step, row)[word]
            row.append(word)
    best = max(lines, key=lambda line: lines[line] / len(line) ** alpha)
    return np.array([word for word in best if word != end], dtype=int), lines[best] / len(best) ** alpha


def ref_lines(random, vocabulary, most, count):
    """Lines of 1 to ``most`` random words."""
    words = ["sea", "gull", "seal", "red", "fog", "pier", "rain", "sun", "net", "two", "boat", "in"][:vocabulary]
    return [" ".join(random.choice(words, size=random.integers(1, most + 1))) for _ in range(count)]


def ref_grams(text, n):
    words = text.split()
    return list(zip(*(words[start:] for start in range(n)), strict=False))


def ref_bleu_counts(hypothesis, references, max_order):
    common, stated = [], []
    for n in range(1, max_order + 1):
        ours, count = ref_grams(hypothesis, n), 0
        for gram in set(ours):
            count += min(ours.count(gram), max(ref_grams(reference, n).count(gram) for reference in references))
        common.append(count)
        stated.append(len(ours))
    length = len(hypothesis.split())
    closest = sorted(len(reference.split()) for reference in references)
    closest.sort(key=lambda other: abs(other - length))
    return np.array([*common, *stated, length, closest[0]])


def ref_bleu(hypotheses, references, max_order):
    rows = [ref_bleu_counts(*pair, max_order).tolist() for pair in zip(hypotheses, references, strict=True)]
    *counts, length, closest = map(sum, zip(*rows, strict=True))
    scores = []
    for order in range(1, max_order + 1):
        logs = [math.log((counts[k] + 1e-15) / (counts[k + max_order] + 1e-9)) for k in range(order)]
        scores.append(math.exp(min(0.0, 1 - (closest + 1e-9) / (length + 1e-15)) + sum(logs) / order))
    return np.array(scores)


def ref_rarity(text, n, references):
    holders = Counter(gram for others in references for gram in {gram for one in others for gram in ref_grams(one, n)})
    return np.array([math.log(len(references)) - math.log(max(1, holders[gram])) for gram in ref_grams(text, n)])


def ref_similarity(hypothesis, reference, n, references):
    kinds = sorted({*ref_grams(hypothesis, n), *ref_grams(reference, n)})
    ours, theirs = np.zeros(len(kinds)), np.zeros(len(kinds))
    for text, vector in ((hypothesis, ours), (reference, theirs)):
        for gram, weight in zip(ref_grams(text, n), ref_rarity(text, n, references), strict=True):
            vector[kinds.index(gram)] += weight
    norms = np.linalg.norm(ours) * np.linalg.norm(theirs)
    return float(np.minimum(ours, theirs) @ theirs / norms) if norms else 0.0


def ref_cider(hypotheses, references):
    scores = []
    for hypothesis, others in zip(hypotheses, references, strict=True):
        gaps = [len(hypothesis.split()) - len(other.split()) for other in others]
        parts = [[math.exp(-(gap**2) / 72) * ref_similarity(hypothesis, other, n, references) for n in (1, 2, 3, 4)]
                 for gap, other in zip(gaps, others, strict=True)]
        scores.append(10 * np.mean(parts))
    return np.array(scores)
