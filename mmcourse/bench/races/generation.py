"""Greedy and beam search with a cache, from pictures that are encoded already.

The peer's decoder has the weights of the shipped captioner, so both must write the same captions.
"""

from functools import partial

import numpy as np
import torch

from mmcourse import decoding
from mmcourse.bench.races.peers import peer_captioner
from mmcourse.captioning import END, PAD, START
from mmcourse.data import EmojiScenes
from mmcourse.hub import load

PICTURES = 32
SINGLE = 8  # pictures that are described one after the other
BEAMS = 4


def rows(race):
    """Greedy search and four beams, each picture by picture and in a batch."""
    model = load("scenes").to(race.device)
    peer = peer_captioner(model)
    scenes = EmojiScenes("val")
    count = 2 if race.quick else PICTURES
    with torch.no_grad():
        memory = model.encode(np.stack([scenes[index].image for index in range(count)]))
    for beams in (1, BEAMS):
        for size in (1, count):
            memories = memory.split(size)[:SINGLE]
            yield generation_row(race, model, peer and peer.eval(), memories, beams)


def generation_row(race, model, peer, memories, beams):
    """A row: tokens a second, the end tokens included. Each of ``memories`` is (B, N, D)."""
    contenders = {"ours": partial(our_ids, model, memories, beams), "generate": None}
    ids = contenders["ours"]()
    notes = ["float32"]
    if peer:
        contenders["generate"] = partial(peer_ids, peer, memories, beams)
        pairs = zip(ids, contenders["generate"](), strict=True)
        same = sum(ours == theirs for ours, theirs in pairs)
        notes.append(f"the same ids in {same} of {len(ids)} captions")
    batch, cells, width = memories[0].shape
    tokens = sum(len(row) + 1 for row in ids)
    return race.row(
        f"beam search, {beams} beams" if beams > 1 else "greedy search",
        f"B {batch}, D {width}, N {cells}",
        contenders,
        2,
        work=dict.fromkeys(contenders, tokens),
        unit="tokens/s",
        notes=notes,
    )


@torch.inference_mode()
def our_ids(model, memories, beams=1):
    """Ids of a caption for each row of some memories."""
    search = decoding.greedy
    if beams > 1:
        search = partial(decoding.beam_search, beams=beams)
    found = []
    for memory in memories:

        def step(tokens, cache, memory=memory):
            return model.decode(memory, tokens, cache=cache)[:, -1]

        start = torch.full((len(memory),), START, device=memory.device)
        found += search(step, start, end=END, max_length=model.max_length).tokens
    return found


@torch.inference_mode()
def peer_ids(peer, memories, beams=1):
    """As :func:`our_ids`, by ``generate``.

    Its beams stop as ours do, when no unfinished one can still win.
    """
    from transformers.modeling_outputs import BaseModelOutput

    options = {}
    if beams > 1:
        options = {"num_beams": beams, "early_stopping": "never"}
    found = []
    for memory in memories:
        rows = peer.generate(encoder_outputs=BaseModelOutput(memory), **options)
        for row in rows[:, 1:].tolist():
            found.append([token for token in row if token not in (PAD, END)])
    return found
