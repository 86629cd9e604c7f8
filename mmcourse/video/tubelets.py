"""From a clip to rows of tokens: one for each patch of each frame, or for each tubelet.

Shapes: B batch, F frames of a clip, T = F / t steps in time after embedding, H and W rows and
columns of pixels, N cells of a step, C channels, D width of a token.
"""

import numpy as np
import torch
from torch import nn


def to_clips(clips):
    """Turn uint8 clips ``(B, F, H, W, 3)`` into a float tensor ``(B, F, 3, H, W)`` in [-1, 1].

    ``clips`` is an array, a tensor or a list of arrays (F, H, W, 3). Raises a ValueError when they
    have other shapes or sizes that differ, a TypeError when they are not uint8.
    """
    if not isinstance(clips, torch.Tensor):
        sizes = sorted({np.shape(clip) for clip in clips})
        if len(sizes) > 1:
            raise ValueError(
                f"clips of one batch must have one size, got {sizes[0]} and {sizes[1]}. Read them "
                "with read_clip, which brings each to one size and number of frames."
            )
        clips = torch.tensor(np.asarray(clips))
    if clips.dim() != 5 or clips.shape[-1] != 3:
        raise ValueError(
            f"clips must be (B, F, H, W, 3), got {tuple(clips.shape)}. Pass one clip as clip[None]."
        )
    if clips.dtype != torch.uint8:
        raise TypeError(
            f"clips must be uint8, values 0 to 255, got {clips.dtype}. "
            "Try (255 * x).astype('uint8')."
        )
    return clips.permute(0, 1, 4, 2, 3).float() / 127.5 - 1


def cut_tubelets(clips, tube):
    """Cut ``(B, F, C, H, W)`` into tubelets of ``tube`` = (frames, rows, columns).

    Returns ``(B, T, N, C * frames * rows * columns)``; within a tubelet the channel comes first, as
    in the weight of a three-dimensional convolution. ValueError unless the tube divides the clip.
    """
    long, high, wide = tube
    batch, frames, channels, rows, columns = clips.shape
    if frames % long or rows % high or columns % wide:
        raise ValueError(
            f"a tubelet of {long} frames and {high} x {wide} pixels must divide the clip, got "
            f"{frames} frames of {rows} x {columns}. Change the tubelet, or sample other frames."
        )
    x = clips.reshape(
        batch, frames // long, long, channels, rows // high, high, columns // wide, wide
    )
    x = x.permute(0, 1, 4, 6, 3, 2, 5, 7)  # (B, T, rows, columns, C, long, high, wide)
    return x.flatten(4).flatten(2, 3)  # (B, T, N, C * long * high * wide)


class TubeletEmbedding(nn.Module):
    """One linear map of every tubelet: ``(B, F, C, H, W)`` to ``(B, T, N, D)``.

    Arnab et al. 2021, section 3.2. A tubelet of one frame is a patch of it.
    """

    def __init__(self, channels, tube, width):
        super().__init__()
        self.tube = tuple(tube)
        self.projection = nn.Linear(channels * int(np.prod(self.tube)), width)

    def forward(self, clips):
        return self.projection(cut_tubelets(clips, self.tube))


class FrameStem(nn.Module):
    """Two small convolutions in every frame: ``(B, F, 3, H, W)`` to ``(B, F, C, H/4, W/4)``.

    They see a frame, and its difference from the mean of all frames, which has no ground that
    stands still. Convolutions before the patches are from Xiao et al. 2021; the stem is the same in
    all models of the chapter.
    """

    def __init__(self, channels=32):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(6, channels // 2, 5, stride=2, padding=2),
            nn.GroupNorm(4, channels // 2),
            nn.GELU(),
            nn.Conv2d(channels // 2, channels, 3, stride=2, padding=1),
            nn.GroupNorm(4, channels),
            nn.GELU(),
        )

    def forward(self, clips, mask=None):
        """``mask`` (B, F): True for the frames of which the mean is taken, None for all."""
        batch = len(clips)
        if mask is None:
            mean = clips.mean(1, keepdim=True)
        else:
            share = mask / mask.sum(1, keepdim=True).clamp(min=1)  # (B, F)
            mean = (clips * share[:, :, None, None, None]).sum(1, keepdim=True)
        moved = clips - mean  # (B, F, 3, H, W), the same whatever the order of the frames
        seen = torch.cat([clips, moved], 2)  # (B, F, 6, H, W)
        grid = self.layers(seen.flatten(0, 1))  # (B F, C, H / 4, W / 4)
        return grid.unflatten(0, (batch, -1))
