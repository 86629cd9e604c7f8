"""The search finds a term of the glossary in the plural too: "logits" leads to *logit*."""


def add_plurals(app):
    """Add the plurals of the glossary's English terms to what the search looks up.

    The builder has collected the entries of all pages by now, and writes them when it is done.
    """
    indexer = getattr(app.builder, "indexer", None)
    if indexer is None:  # a builder without a search
        return []
    for document, entries in indexer._index_entries.items():
        plurals = [
            (f"{term}s", anchor, main)
            for term, anchor, main in entries
            if anchor.startswith("term-") and term.isascii() and not term.endswith("s")
        ]
        indexer._index_entries[document] = [*entries, *plurals]
    return []


def setup(app):
    app.connect("html-collect-pages", add_plurals)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
