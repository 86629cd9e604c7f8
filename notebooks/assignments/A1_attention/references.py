# Independent answers that the hidden tests of A1 compare with, computed another way than in the solution: the tests of a
# function see them, students do not.
def ref_softmax(scores, axis=-1):
    scores = np.asarray(scores, dtype=np.float64)
    with np.errstate(invalid="ignore"):  # a row of -inf gives NaN, as the formula does
        return np.exp(scores - np.logaddexp.reduce(scores, axis=axis, keepdims=True))


def ref_attention(query, key, value, mask=None):
    scores = np.einsum("...td,...sd->...ts", query, key) / query.shape[-1] ** 0.5
    mask = np.broadcast_to(True if mask is None else np.asarray(mask, bool), scores.shape)
    weights = np.zeros(scores.shape)
    for row in np.ndindex(scores.shape[:-1]):
        if mask[row].any():
            weights[row][mask[row]] = ref_softmax(scores[row][mask[row]])
    return np.einsum("...ts,...sd->...td", weights, value), weights


def ref_causal(length, source):
    return np.array([[s - (source - length) <= t for s in range(source)] for t in range(length)])


def ref_padding(lengths, source):
    return np.array([[[s < n for s in range(source)]] for n in lengths])


def ref_split(x, heads):
    return np.stack(np.split(x, heads, axis=-1), axis=1)


def ref_merge(x):
    return np.concatenate([x[:, head] for head in range(x.shape[1])], axis=-1)


def ref_heads(x, context, projections, heads, mask=None):
    batch, length, width = x.shape
    query, key, value = x @ projections["query"], context @ projections["key"], context @ projections["value"]
    parts, size = [], width // heads
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        parts.append(ref_attention(query[..., part], key[..., part], value[..., part], mask)[0])
    return np.concatenate(parts, axis=-1) @ projections["output"]


def ref_query_gradient(query, key, value, grad):
    gradient, step = np.zeros(query.shape), 1e-5
    for index in np.ndindex(query.shape):
        up, down = query.copy(), query.copy()
        up[index] += step
        down[index] -= step
        change = ref_attention(up, key, value)[0] - ref_attention(down, key, value)[0]
        gradient[index] = (grad * change).sum() / (2 * step)
    return gradient


def ref_largest(width, scaled, random):
    query, key = random.normal(size=(50, 1, width)), random.normal(size=(50, 16, width))
    scale = width**0.5 if scaled else 1.0
    return float(np.mean([ref_softmax(keys @ one[0] / scale).max() for one, keys in zip(query, key, strict=True)]))
