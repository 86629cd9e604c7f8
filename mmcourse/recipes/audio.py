"""The recogniser of chapter 06, ``speech``: nouns and captions, English and Mandarin.

``python -m mmcourse.recipes.audio FOLDER`` trains it; ``FOLDER/half`` then holds what
:func:`mmcourse.hub.load` reads, in half precision. A run that was stopped goes on from its last
checkpoint.
"""

import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F

from mmcourse import training
from mmcourse.audio import Recogniser, log_mel
from mmcourse.audio.recogniser import PADDING
from mmcourse.data.speech import LANGUAGES, plain_text, speech, table, voices
from mmcourse.training import TrainingConfig
from mmcourse.training.schedule import sample_indices

TRAINING = TrainingConfig(
    steps=13_000, batch_size=1, learning_rate=2e-3, warmup=200, restarts=(6500,)
)
SHORT = replace(TRAINING, steps=6500, restarts=())  # compares noise and no noise
MODEL = {"width": 96, "heads": 4, "layers": 2}
NOUNS = 32  # in a batch of nouns
CAPTIONS = 8  # in a batch of captions, which are as long as the nouns
NOISY = 3  # copies of each clip with noise, of which one is heard in every second batch
DECIBELS = (0, 30)  # how far below the voice the noise is
COLOURS = (0, 1, 2)  # white, pink, brown
CAPTION_STEPS = 3  # one step in three is of captions


def clips_of(split, kind):
    """The clips of all voices of a split, waveforms as tensors: a list of (waveform, text)."""
    found = []
    for language in LANGUAGES:
        for voice in voices(split, language):
            found += [(torch.from_numpy(each.waveform), each.text) for each in speech(voice, kind)]
    return found


def all_symbols():
    """Every symbol that some transcript needs, a list: English words, and Mandarin nouns.

    What else a Mandarin caption has is written character by character.
    """
    nouns = table()["nouns"]
    symbols = {name for language in LANGUAGES for name in nouns[language]}
    for voice in table()["voices"]:
        for text in voice["captions"]:
            plain = plain_text(text)
            symbols |= set(plain.split() if voice["language"] == "en" else plain)
    return sorted(symbols)


def add_noise(waveform, decibels, generator, colour):
    """The waveform with noise so many ``decibels`` below it.

    ``colour`` is the power of the frequency by which the noise falls: 0 is white, 1 pink, 2 brown.
    """
    white = torch.randn(len(waveform), generator=generator)
    spectrum = torch.fft.rfft(white)
    frequency = torch.arange(1, len(spectrum) + 1)
    noise = torch.fft.irfft(spectrum * frequency ** (-colour / 2), len(waveform))
    wanted = waveform.square().mean() * 10 ** (-decibels / 10)
    return waveform + noise * (wanted / noise.square().mean().clamp(min=1e-12)).sqrt()


def ready(model, clips):
    """Pairs of features (T, M) and target (L,) of clips, padded as the recogniser pads."""
    found = []
    for waveform, text in clips:
        features = log_mel(F.pad(waveform, (PADDING, PADDING)))
        found.append((features, torch.tensor(model.spell(text))))
    return found


def with_noise(clips, seed):
    """The clips with noise of a random colour and loudness, a list of (waveform, text)."""
    generator = torch.Generator().manual_seed(seed)
    low, high = DECIBELS
    found = []
    for waveform, text in clips:
        decibels = low + (high - low) * torch.rand((), generator=generator).item()
        colour = COLOURS[torch.randint(len(COLOURS), (), generator=generator)]
        found.append((add_noise(waveform, decibels, generator, colour), text))
    return found


def copies_of(model, clips):
    """What is :func:`ready` of the clips as they are, and of each noisy copy: a list of lists."""
    return [ready(model, clips), *(ready(model, with_noise(clips, n)) for n in range(NOISY))]


def batch_of(clips):
    """Features (B, T, M), their lengths, targets (B, L) and theirs, of what is :func:`ready`."""
    features, targets = zip(*clips, strict=True)
    lengths = torch.tensor([len(each) for each in features])
    target_lengths = torch.tensor([len(each) for each in targets])
    features = torch.nn.utils.rnn.pad_sequence(features, batch_first=True)
    targets = torch.nn.utils.rnn.pad_sequence(targets, batch_first=True)
    return features, lengths, targets, target_lengths


def loss_of(model, batch):
    """The mean over symbols of PyTorch's CTC loss, which equals ours and is faster."""
    features, lengths, targets, target_lengths = batch
    log_probs = model(features, lengths).transpose(0, 1)  # (T', B, V)
    steps = model.steps(lengths)
    return F.ctc_loss(log_probs, targets, steps, target_lengths, zero_infinity=True)


def varied(features, generator):
    """The features (T, M) as another voice might say them, at another speed, with parts masked.

    The stretch along the mels is Jaitly and Hinton's (2013), the masks are Park et al.'s (2019).
    """
    frames, mels = features.shape
    slow, high = (0.85 + 0.3 * torch.rand(2, generator=generator)).tolist()
    size = (max(round(frames * slow), 1), round(mels * (0.9 + (high - 0.85) * 2 / 3)))
    changed = F.interpolate(features[None, None], size, mode="bilinear", align_corners=False)[0, 0]
    if size[1] < mels:
        changed = F.pad(changed, (0, mels - size[1]), value=features.min().item())
    changed = changed[:, :mels].clone()
    for axis, widest in ((0, 8), (1, 10)):
        width = torch.randint(widest, (1,), generator=generator).item()
        room = max(changed.shape[axis] - width, 1)
        start = torch.randint(room, (1,), generator=generator).item()
        changed.narrow(axis, start, min(width, changed.shape[axis] - start)).fill_(features.mean())
    return changed


class Batches:
    """Batch number ``step`` of a training, which depends on that number alone.

    ``nouns`` and ``captions`` are lists of copies of the same clips, of which the first has no
    noise; every second batch is of that one. One batch in three is of captions. Each clip comes
    once before any comes twice, and is :func:`varied` anew each time.
    """

    def __init__(self, nouns, captions, seed=0):
        self.copies = {"noun": nouns, "caption": captions}
        self.seed = seed

    def __getitem__(self, step):
        turn = step // CAPTION_STEPS
        if step % CAPTION_STEPS == CAPTION_STEPS - 1:
            return self.batch("caption", turn, CAPTIONS, step)
        return self.batch("noun", step - turn, NOUNS, step)

    def batch(self, kind, turn, count, step):
        """The ``turn``-th batch of this ``kind``, of ``count`` clips."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        clips = self.copies[kind][0]
        if turn % 2 and len(self.copies[kind]) > 1:
            noisy = self.copies[kind][1:]
            clips = noisy[torch.randint(len(noisy), (), generator=generator)]
        indices = islice(sample_indices(len(clips), self.seed, turn * count), count)
        drawn = [clips[index] for index in indices]
        return batch_of([(varied(features, generator), target) for features, target in drawn])


def train(model, folder, nouns, captions, config=TRAINING):
    """Train, or go on with a training; return the rows of its log."""
    return training.train(
        model,
        Batches(nouns, captions, config.seed),
        loss_of,
        config,
        folder,
        collate=lambda batches: batches[0],
    )


def main(folder, way=None):
    """Train the recogniser and store it; ``short`` and ``clean`` for half as long.

    ``clean`` is trained on the clips without noise alone.
    """
    torch.set_num_threads(1)
    torch.manual_seed(TRAINING.seed)
    model = Recogniser(all_symbols(), **MODEL)
    nouns = copies_of(model, clips_of("train", "noun"))
    captions = copies_of(model, clips_of("train", "caption"))
    if way == "clean":
        nouns, captions = nouns[:1], captions[:1]
    train(model, folder, nouns, captions, SHORT if way else TRAINING)
    model.half().save_pretrained(Path(folder) / "half")


if __name__ == "__main__":
    main(*sys.argv[1:])
