"""The nearest of many embeddings: exactly, by a product of matrices, or nearly, by a graph.

Shapes: n rows, q queries, E numbers of an embedding.
"""

import numpy as np

ROWS = 2**16  # rows that are compared at a time, which bounds the memory
BACKENDS = ("exact", "faiss", "usearch")
LINKS = 32  # neighbours of a row in the graph of faiss and of usearch
EFFORT = 128  # candidates that their search keeps; more find more and take longer


def nearest(rows, queries, k):
    """The k rows with the largest products with each query, exactly: numbers and products (q, k).

    ``rows`` is (n, E) in any precision, ``queries`` (q, E). Equal products come in the order of the
    rows. Rows are compared 65,536 at a time, so that a million of them take no more memory than
    they do on the disk.
    """
    k = min(k, len(rows))
    queries = np.asarray(queries, np.float32)
    best = np.zeros((len(queries), 0), np.int64)
    scores = np.zeros((len(queries), 0), np.float32)
    for start in range(0, len(rows), ROWS):
        part = np.asarray(rows[start : start + ROWS], np.float32)  # (part, E)
        products = queries @ part.T  # (q, part)
        numbers = np.broadcast_to(np.arange(start, start + len(part)), products.shape)
        best = np.concatenate([best, numbers], 1)
        scores = np.concatenate([scores, products], 1)
        order = np.argsort(-scores, 1, kind="stable")[:, :k]
        best = np.take_along_axis(best, order, 1)
        scores = np.take_along_axis(scores, order, 1)
    return best, scores


def neighbours(backend, rows):
    """A function ``(queries, k)`` to numbers and products (q, k), as :func:`nearest` gives them.

    ``backend`` is exact, faiss or usearch. The last two walk a graph of neighbours (Malkov and
    Yashunin 2020) and may miss some. Raises ValueError for another, or where its package is
    missing.
    """
    if backend not in BACKENDS:
        raise ValueError(f"unknown backend {backend!r}: choose {', '.join(BACKENDS)}")
    if backend == "exact":
        return lambda queries, k: nearest(rows, queries, k)
    try:
        return with_faiss(rows) if backend == "faiss" else with_usearch(rows)
    except ImportError as error:
        raise ValueError(
            f"the backend {backend!r} needs a package that is missing ({error}): "
            "pip install 'mmcourse[search]'"
        ) from error


def with_faiss(rows):
    """A graph of faiss over rows (n, E)."""
    import faiss

    graph = faiss.IndexHNSWFlat(rows.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = EFFORT
    graph.hnsw.efSearch = EFFORT
    for start in range(0, len(rows), ROWS):
        graph.add(np.ascontiguousarray(rows[start : start + ROWS], np.float32))

    def search(queries, k):
        scores, numbers = graph.search(np.asarray(queries, np.float32), min(k, len(rows)))
        return numbers, scores

    return search


def with_usearch(rows):
    """A graph of usearch over rows (n, E), in half precision."""
    from usearch.index import Index

    graph = Index(
        ndim=rows.shape[1],
        metric="ip",
        dtype="f16",
        connectivity=LINKS,
        expansion_add=EFFORT,
        expansion_search=EFFORT,
    )
    graph.add(np.arange(len(rows)), np.asarray(rows, np.float32))

    def search(queries, k):
        queries = np.asarray(queries, np.float32)
        found = [graph.search(query, min(k, len(rows))) for query in queries]
        numbers = np.stack([match.keys.astype(np.int64) for match in found])
        scores = np.stack([1 - match.distances for match in found])
        return numbers, scores

    return search
