"""The frames of clips in another order, alone, or one of them taken out: uint8 (B, F, H, W, 3)."""

import numpy as np


def shuffled(clips, seed=0):
    """Every clip with its frames in an order of its own, drawn with ``seed``."""
    clips = np.asarray(clips)
    generator = np.random.default_rng(seed)
    orders = generator.permuted(np.tile(np.arange(clips.shape[1]), (len(clips), 1)), axis=1)
    return np.take_along_axis(clips, orders[:, :, None, None, None], 1)


def backwards(clips):
    """Every clip with its last frame first."""
    return np.asarray(clips)[:, ::-1].copy()


def one_frame(clips, number=None, seed=0):
    """Every clip as one of its frames, again and again.

    That is frame ``number``, or, where it is None, one that is drawn with ``seed`` for each clip.
    """
    clips = np.asarray(clips)
    frames = clips.shape[1]
    chosen = np.full(len(clips), number)
    if number is None:
        chosen = np.random.default_rng(seed).integers(frames, size=len(clips))
    one = clips[np.arange(len(clips)), chosen]  # (B, H, W, 3)
    return np.repeat(one[:, None], frames, 1)


def without_frame(clips, number):
    """Every clip with frame ``number`` covered by the one before it, or, of the first, after it.

    So nothing happens from the one to the other, and the frame looks like a frame.
    """
    clips = np.array(clips)
    clips[:, number] = clips[:, number - 1 if number else 1]
    return clips
