"""A training step of the captioner on the words of 64 captions: forward, backward, AdamW.

It races against the peer's, and against the operations a second of one large matrix product, which
are as many as this machine can do.

Shapes: B pictures, D width, N cells of the grid, T words, V vocabulary.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from mmcourse.bench.races.peers import grid_cells, peer_captioner
from mmcourse.bench.timing import Step
from mmcourse.captioning import PAD, SceneCaptioner
from mmcourse.data import EmojiScenes
from mmcourse.data.language import vocabulary
from mmcourse.vision import to_pixels

TINY = {"width": 16, "heads": 2, "channels": (8, 8, 8), "blocks": (0, 0, 0)}
SHIPPED = {}
WIDE = {"width": 256, "heads": 8, "channels": (64, 128, 256)}
BATCH = 64
PEAK_GOAL = 0.5  # at the larger width
PEER = "VisionEncoderDecoderModel"


def rows(race):
    """Two rows at the width of the shipped captioner, and two at twice that."""
    if race.quick:
        yield from training_rows(race, TINY, 2, None)
        return
    yield from training_rows(race, SHIPPED, BATCH, None)
    yield from training_rows(race, WIDE, BATCH, PEAK_GOAL)


def training_rows(race, arguments, count, peak_goal):
    """A row against the peer, and one against the peak of the machine."""
    model, batch, sizes = captioner_and_batch(race, arguments, count)
    peer = peer_captioner(model)
    side = matrix_side(race)
    matrix = torch.randn(side, side, device=race.device)
    ours = update(model, partial(word_loss, batch))
    steps = {
        "ours": ours,
        PEER: peer and update(peer.train(), partial(peer_loss, batch)),
        "matrix product": Step(partial(torch.mm, matrix, matrix), lambda call: call()),
    }
    operations = {"ours": count_operations(ours), "matrix product": 2 * side**3 / 1e9}
    race.say(f"captioner, training step, {sizes}")
    runs, settings = race.settle(steps)
    notes = settings[:-1]
    if peer:
        notes.append(f"{millions(model)} and {millions(peer)} million parameters")
    yield race.row(
        "captioner, training step",
        sizes,
        {"ours": runs["ours"], PEER: runs[PEER]},
        1.2,
        work={"ours": count, PEER: count},
        unit="samples/s",
        notes=notes,
    )
    yield race.row(
        "training step, share of the peak",
        sizes,
        {"ours": runs["ours"], "matrix product": runs["matrix product"]},
        peak_goal,
        work=operations,
        unit="GFLOP/s",
        notes=[settings[0], settings[-1], f"{operations['ours']:.1f} GFLOP a step"],
    )


def count_operations(step):
    """Floating-point operations of a Step, in thousand millions."""
    with FlopCounterMode(display=False) as counter:
        step.run(step.module)
    return counter.get_total_flops() / 1e9


def matrix_side(race):
    """Rows of a square matrix that is large for the device."""
    if race.quick:
        return 64
    return 2048 if race.device.type == "cpu" else 8192


def captioner_and_batch(race, arguments, count):
    """A fresh captioner, a batch of scenes to train on, and the sizes as a text."""
    torch.manual_seed(0)
    model = SceneCaptioner(vocabulary(), **arguments).to(race.device).train()
    scenes = EmojiScenes("train")
    batch = model.collate([scenes[index] for index in range(count)])
    batch = {name: tensor.to(race.device) for name, tensor in batch.items()}
    width = model.embedding.embedding_dim
    words = batch["tokens"].shape[1] - 1
    return model, batch, f"B {count}, D {width}, N {grid_cells(model)}, T {words}"


def millions(module):
    """How many parameters a module has, in millions, as a text."""
    count = sum(parameter.numel() for parameter in module.parameters())
    return f"{count / 1e6:.2f}"


def update(module, loss):
    """A Step: forward, backward, and an update by AdamW. ``loss(call)`` is a tensor."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4, fused=True)

    def run(call):
        loss(call).backward()
        optimizer.step()
        optimizer.zero_grad()

    return Step(module, run)


def word_loss(batch, call):
    """Mean cross-entropy of the next word, by our captioner."""
    logits = call(batch["images"], batch["tokens"][:, :-1])  # (B, T, V)
    return cross_entropy(logits, batch["tokens"])


def peer_loss(batch, call):
    """Mean cross-entropy of the next word, by the peer, which is spared its cache."""
    found = call(
        pixel_values=to_pixels(batch["images"]),
        decoder_input_ids=batch["tokens"][:, :-1],
        use_cache=False,
    )
    return cross_entropy(found.logits, batch["tokens"])


def cross_entropy(logits, tokens):
    """Of logits (B, T, V) for all tokens (B, T + 1) but the first; padding does not count."""
    targets = tokens[:, 1:].flatten()
    return F.cross_entropy(logits.float().flatten(0, 1), targets, ignore_index=PAD)
