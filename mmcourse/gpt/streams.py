"""Texts as one stream of ids, cut into blocks: what a language model is pre-trained on."""

import torch


def stream(rows, end):
    """Rows of ids, one after the other, each with ``end`` after it, and one ``end`` first.

    A LongTensor (tokens,). A block of it may begin inside a text; no id is padding.
    """
    ids = [end]
    for row in rows:
        ids += row
        ids.append(end)
    return torch.tensor(ids)


class Blocks:
    """A stream of ids cut into blocks of ``length``: sample ``i`` is a LongTensor (length,).

    A block begins with the last id of the one before, so that each id but the first is predicted
    once. What is left at the end is lost. ValueError where there is not one block.
    """

    def __init__(self, ids, length):
        if length < 2 or len(ids) < length:
            raise ValueError(
                "expected blocks of at least 2 ids, and at least one block, "
                f"got length {length} and {len(ids)} ids"
            )
        self.ids = ids
        self.length = length

    def __len__(self):
        return (len(self.ids) - 1) // (self.length - 1)

    def __getitem__(self, index):
        if not 0 <= index < len(self):
            raise IndexError(f"there are {len(self)} blocks, got number {index}")
        start = index * (self.length - 1)
        return self.ids[start : start + self.length]
