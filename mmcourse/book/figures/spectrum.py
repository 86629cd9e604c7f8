"""Sounds that play, with their wave, the spectrum of a frame, and their log-mel spectrum."""

import base64

import matplotlib.pyplot as plt
import numpy as np
import torch
import traitlets

from mmcourse.audio import HOP, RATE, log_mel
from mmcourse.book.figures import Figure, script
from mmcourse.book.plotting import BLUE

LONGEST = 3 * RATE  # samples: they lie in the page


class SpectrumExplorer(Figure):
    """Short sounds to choose from: pairs of a label and a waveform ``(N,)`` at 16 kHz.

    They are stored in the page with 16 bits a sample, at most 3 s each.
    """

    _esm = script("spectrum.js")
    sounds = traitlets.List().tag(sync=True)

    def __init__(self, sounds):
        if not sounds:
            raise ValueError("sounds must be a list with at least one (label, waveform)")
        super().__init__(sounds=[self.pack(*sound) for sound in sounds])

    @staticmethod
    def pack(label, waveform):
        """A sound as the page gets it: samples and log-mel in bytes. ValueError if too long."""
        waveform = torch.as_tensor(waveform)
        if not 0 < len(waveform) <= LONGEST:
            raise ValueError(
                f"{label!r} has {len(waveform)} samples, expected 1 to {LONGEST}, which is 3 s"
            )
        samples = (waveform.clip(-1, 1) * 32767).round().numpy().astype("<i2")
        features = log_mel(waveform)  # (T, M)
        low = features.amin()
        shades = (255 * (features - low) / (features.amax() - low).clamp(min=1e-9)).round()
        return {
            "label": str(label),
            "audio": base64.b64encode(samples.tobytes()).decode(),
            "mel": base64.b64encode(shades.numpy().astype(np.uint8).tobytes()).decode(),
            "frames": features.shape[0],
            "mels": features.shape[1],
        }

    def draw(self):
        """Wave and log-mel spectrum of the first two sounds."""
        shown = self.sounds[:2]
        figure, axes = plt.subplots(2, len(shown), figsize=(7.2, 3.2), squeeze=False)
        for column, sound in enumerate(shown):
            samples = np.frombuffer(base64.b64decode(sound["audio"]), "<i2") / 32768
            mel = np.frombuffer(base64.b64decode(sound["mel"]), np.uint8)
            mel = mel.reshape(sound["frames"], sound["mels"])
            seconds = len(samples) / RATE
            wave, spectrum = axes[:, column]
            wave.plot(np.arange(len(samples)) / RATE, samples, color=BLUE, linewidth=0.4)
            wave.set(title=sound["label"], xlim=(0, seconds), xticks=[])
            extent = (0, sound["frames"] * HOP / RATE, 0, sound["mels"])
            spectrum.imshow(mel.T, origin="lower", aspect="auto", cmap="Blues", extent=extent)
            spectrum.set(xlabel="seconds", ylabel="mel filter", xlim=(0, seconds))
        return figure
