"""Sound of any length in pieces that a recogniser can read, cut where it is quiet."""

import torch

from mmcourse.audio.features import RATE

LONGEST = 8 * RATE  # samples of a piece
WITHIN = 4 * RATE  # its end is the quietest place in its last so many samples
STRETCH = RATE // 20  # over how many samples it must be quiet: 50 ms


def pieces(blocks):
    """Pairs of the first sample's number and a piece, at most 8 s, of the ``blocks`` of a sound.

    ``blocks`` is an iterable of waveforms ``(N,)``, one after the other. No more than a block and
    a piece are held at once.
    """
    start = 0
    rest = torch.zeros(0)
    for block in blocks:
        rest = torch.cat([rest, torch.as_tensor(block, dtype=torch.float32)])
        while len(rest) > LONGEST:
            cut = quietest(rest[:LONGEST])
            yield start, rest[:cut]
            start += cut
            rest = rest[cut:]
    if len(rest):
        yield start, rest


def quietest(waveform):
    """The number of the sample in the middle of the quietest 50 ms of a waveform's last 4 s."""
    first = len(waveform) - WITHIN
    parts = waveform[first:].unfold(0, STRETCH, STRETCH // 2)  # (stretches, 50 ms)
    power = parts.square().mean(1)
    return first + int(power.argmin()) * (STRETCH // 2) + STRETCH // 2
