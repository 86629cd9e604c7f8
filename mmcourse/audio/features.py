"""From a waveform to the logarithm of its mel spectrum, one step after the other.

Letters: N samples of a waveform, T frames, W samples of a frame's window, K = W / 2 + 1
frequencies, M mel filters. The settings are those of Whisper (Radford et al. 2023, section 2.2):
16,000 samples a second, windows of 25 ms, one every 10 ms.
"""

import math
from functools import cache

import torch

RATE = 16_000  # samples a second
WINDOW = 400  # samples of a frame: 25 ms
HOP = 160  # samples from one frame to the next: 10 ms
FLOOR = 1e-10  # the smallest power whose logarithm is taken
RANGE = 8.0  # powers of ten below the loudest that are kept
LINEAR_UNTIL = 1000.0  # Hz: below, the mel scale is linear
MELS_AT = 15.0  # mels at 1000 Hz
MELS_A_FACTOR = 27.0  # above, so many mels for each factor of 6.4


def hann(size):
    r"""The periodic Hann window ``(size,)``: :math:`\frac12 - \frac12\cos(2\pi n / W)`."""
    return 0.5 - 0.5 * torch.cos(2 * math.pi * torch.arange(size, dtype=torch.float64) / size)


def frame(waveform, size=WINDOW, hop=HOP):
    """Cut a waveform ``(..., N)`` into frames ``(..., T, size)``, one every ``hop`` samples.

    The first frame is centred on the first sample. What lies before and after is the waveform in
    a mirror; of a waveform of half a window or less, zeros come first. T is N divided by the hop,
    rounded down, and at least 1.
    """
    length = waveform.shape[-1]
    half = size // 2
    waveform = torch.nn.functional.pad(waveform, (0, max(0, half + 1 - length)))
    shape = waveform.shape
    mirrored = torch.nn.functional.pad(waveform.reshape(1, -1, shape[-1]), (half, half), "reflect")
    mirrored = mirrored.reshape(*shape[:-1], -1)  # (..., N + size)
    frames = mirrored.unfold(-1, size, hop)  # (..., at least T, size)
    return frames[..., : max(1, length // hop), :]


def power_spectrum(frames):
    """The power ``(..., K)`` of each frequency in frames ``(..., W)``.

    It is the squared size of the Fourier transform of the frame times the Hann window.
    """
    window = hann(frames.shape[-1]).to(frames)
    return torch.fft.rfft(frames * window).abs() ** 2


def to_mel(hertz):
    """Frequencies in Hz as mels, of Slaney's scale: linear up to 1000 Hz, then logarithmic."""
    hertz = torch.as_tensor(hertz, dtype=torch.float64)
    low = hertz * MELS_AT / LINEAR_UNTIL
    high = MELS_AT + MELS_A_FACTOR * torch.log(hertz.clamp(min=1) / LINEAR_UNTIL) / math.log(6.4)
    return torch.where(hertz < LINEAR_UNTIL, low, high)


def from_mel(mels):
    """Mels as frequencies in Hz: the inverse of :func:`to_mel`."""
    mels = torch.as_tensor(mels, dtype=torch.float64)
    low = mels * LINEAR_UNTIL / MELS_AT
    high = LINEAR_UNTIL * torch.exp(math.log(6.4) * (mels - MELS_AT) / MELS_A_FACTOR)
    return torch.where(mels < MELS_AT, low, high)


@cache
def mel_filters(mels=80, size=WINDOW, rate=RATE):
    """Triangles ``(K, mels)`` that gather frequencies into mels, float64.

    Their corners are equally far apart on the mel scale, from 0 Hz to half the rate. Each triangle
    has the area 1 over Hz (Slaney's normalisation), so a wide one is low.
    """
    corners = from_mel(torch.linspace(0, to_mel(rate / 2), mels + 2, dtype=torch.float64))
    frequencies = torch.linspace(0, rate / 2, size // 2 + 1, dtype=torch.float64)[:, None]
    left, centre, right = corners[:-2], corners[1:-1], corners[2:]  # (mels,) each
    rising = (frequencies - left) / (centre - left)  # (K, mels)
    falling = (right - frequencies) / (right - centre)
    triangles = torch.minimum(rising, falling).clamp(min=0)
    return triangles * 2 / (right - left)


def log_mel(waveform, rate=RATE, mels=80):
    """The log-mel spectrum ``(..., T, mels)`` of a waveform ``(..., N)`` of floats.

    It is the base-10 logarithm of the power in each mel filter, cut 8 below its largest value in
    the waveform, plus 4, divided by 4: at most 2 between its smallest and its largest number, 0.5
    more everywhere for a sound ten times as loud, and -1.5 everywhere for silence. Frames and hop
    are 25 ms and 10 ms at any ``rate``.

    ValueError for a waveform without samples, of another type, or with samples that are no numbers.
    """
    waveform = checked(waveform)
    size = 2 * round(WINDOW / 2 * rate / RATE)
    frames = frame(waveform, size, round(HOP * rate / RATE))  # (..., T, size)
    power = power_spectrum(frames) @ mel_filters(mels, size, rate).to(waveform)  # (..., T, mels)
    logarithm = power.clamp(min=FLOOR).log10()
    loudest = logarithm.amax((-2, -1), keepdim=True)
    return (torch.maximum(logarithm, loudest - RANGE) + 4) / 4


def checked(waveform):
    """The waveform as a tensor of floats, or ValueError."""
    waveform = torch.as_tensor(waveform)
    if not waveform.is_floating_point():
        raise ValueError(
            f"expected samples between -1 and 1 as floats, got {waveform.dtype}: "
            "divide whole numbers of 16 bits by 32768"
        )
    if waveform.dim() == 0 or waveform.shape[-1] == 0:
        raise ValueError("expected at least one sample, got none")
    if not waveform.isfinite().all():
        raise ValueError("expected samples that are numbers, got NaN or infinity among them")
    return waveform
