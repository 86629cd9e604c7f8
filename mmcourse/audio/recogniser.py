"""A recogniser of speech: convolutions, our encoder, and a symbol or nothing for every frame."""

from typing import NamedTuple

import torch
from torch import nn

from mmcourse.audio.beam import ctc_beam
from mmcourse.audio.ctc import ctc_greedy
from mmcourse.audio.features import RATE, checked, log_mel
from mmcourse.audio.listening import pieces
from mmcourse.transformer import Encoder, sinusoidal_positions
from mmcourse.weights import SavedModel

STRIDE = 3  # frames of the spectrum, 10 ms each, that become one of the encoder
PADDING = RATE // 10  # silence before and after what is heard: 0.1 s
QUIET = 1e-3  # what has no louder sample is silence
PEAK = 0.5  # the loudest sample of the clips of training
LOUDEST = 100  # times that a quiet sound is made louder, at most


class Heard(NamedTuple):
    """What was heard in a piece of a sound."""

    start: float  #: its first second
    end: float  #: its last
    text: str  #: what was said


def one_channel(waveform):
    """The waveform ``(N,)`` as a tensor of floats, or ValueError."""
    waveform = checked(waveform)
    if waveform.dim() != 1:
        raise ValueError(
            f"expected one channel (N,), got {tuple(waveform.shape)}: take the mean of the channels"
        )
    return waveform


def louder(waveform):
    """The waveform, multiplied so that its loudest sample is 0.5, unless it is louder already."""
    gain = PEAK / waveform.abs().max().clamp(min=PEAK / LOUDEST)
    return waveform * gain.clamp(min=1)


class Recogniser(SavedModel):
    """Log-mel frames ``(B, T, M)`` to log-probabilities of symbols ``(B, T', V)``.

    ``symbols`` are the words, letters or characters that can be written; V is one more, since
    number 0 is CTC's blank. T' is T / 3, rounded up. Trained with :func:`~mmcourse.audio.ctc_loss`
    or PyTorch's.
    """

    def __init__(self, symbols, width=112, heads=4, layers=3, mels=80, dropout=0.1):
        super().__init__()
        self.symbols = symbols
        self.numbers = {symbol: number for number, symbol in enumerate(symbols, 1)}
        self.longest = max(map(len, symbols))
        self.mels = mels
        self.conv1 = nn.Conv1d(mels, width, 5, stride=STRIDE, padding=2)
        self.conv2 = nn.Conv1d(width, width, 5, padding=2)
        self.norm = nn.LayerNorm(width)
        self.encoder = Encoder(layers, width, heads, dropout=dropout)
        self.output = nn.Linear(width, len(symbols) + 1)

    @classmethod
    def sizes_in(cls, shapes):
        """Width and mels; see :meth:`mmcourse.weights.SavedModel.sizes_in`."""
        width, mels, _ = shapes["conv1.weight"]
        return {"width": width, "mels": mels}

    def forward(self, features, lengths=None):
        """``(B, T, M)`` to ``(B, T', V)``; ``lengths`` as in :meth:`encode`."""
        x = self.encode(features, lengths)
        return self.output(x).log_softmax(-1)

    def encode(self, features, lengths=None):
        """What the encoder makes of ``(B, T, M)``: a vector for each step, ``(B, T', D)``.

        ``lengths`` ``(B,)`` are the frames of each row that are sound and not padding. What lies
        behind them changes nothing before them.
        """
        if lengths is not None:
            features = features.masked_fill(~self.inside(lengths, features.shape[1])[..., None], 0)
        x = nn.functional.gelu(self.conv1(features.transpose(1, 2)))  # (B, D, T')
        mask = None
        if lengths is not None:
            inside = self.inside(self.steps(lengths), x.shape[2])  # (B, T')
            x = x * inside[:, None]
            mask = inside[:, None, None]  # (B, 1, 1, T')
        x = nn.functional.gelu(self.conv2(x)).transpose(1, 2)  # (B, T', D)
        x = self.norm(x) + sinusoidal_positions(x.shape[1], x.shape[2]).to(x)
        return self.encoder(x, mask)

    @staticmethod
    def inside(lengths, longest):
        """True ``(B, longest)`` where a row of this length has something."""
        return torch.arange(longest, device=lengths.device) < lengths[:, None]

    @staticmethod
    def steps(frames):
        """How many steps of the encoder so many ``frames`` become."""
        return (frames + STRIDE - 1) // STRIDE

    def spell(self, text):
        """The numbers of the symbols of a text, a list: always the longest symbol that fits.

        Spaces are left out unless the space is a symbol. ValueError for what cannot be written.
        """
        found = []
        place = 0
        while place < len(text):
            sizes = range(min(self.longest, len(text) - place), 0, -1)
            fits = [text[place : place + size] for size in sizes]
            fits = [symbol for symbol in fits if symbol in self.numbers]
            if fits:
                found.append(self.numbers[fits[0]])
                place += len(fits[0])
            elif text[place] == " ":
                place += 1
            else:
                raise ValueError(f"cannot write {text[place:]!r}: it begins with no symbol")
        return found

    def text_of(self, numbers):
        """The text of numbers of symbols, with spaces between words of Latin letters."""
        text = ""
        for number in numbers:
            symbol = self.symbols[number - 1]
            if text and " " not in self.numbers and (text[-1] + symbol[0]).isascii():
                text += " "
            text += symbol
        return text

    @torch.no_grad()
    def log_probs(self, waveform):
        """The log-probabilities ``(T', V)`` of a waveform ``(N,)`` at 16 kHz of a few seconds.

        A quiet one is first made as loud as the clips of training, and silence of 0.1 s is put
        before and after it.
        """
        waveform = louder(one_channel(waveform)).to(self.output.weight.dtype)
        padded = nn.functional.pad(waveform, (PADDING, PADDING))
        features = log_mel(padded, mels=self.mels)
        return self(features[None])[0]

    def read(self, waveform, language_model=None, **options):
        """The text of a waveform ``(N,)`` at 16 kHz of a few seconds; of silence, none.

        Greedy, or with a ``language_model`` by :func:`~mmcourse.audio.ctc_beam`, to which the
        ``options`` go.
        """
        waveform = one_channel(waveform)
        if waveform.abs().max() < QUIET:
            return ""
        log_probs = self.log_probs(waveform)
        if language_model is None:
            return self.text_of(ctc_greedy(log_probs)).strip()
        best = ctc_beam(log_probs, language_model=language_model, **options)[0]
        return self.text_of(best.symbols).strip()

    def listen(self, blocks, language_model=None, **options):
        """Each piece of a sound of any length, as it comes: :class:`Heard`, one after the other.

        ``blocks`` are as in :func:`~mmcourse.audio.listening.pieces`.
        """
        for start, piece in pieces(blocks):
            text = self.read(piece, language_model, **options)
            yield Heard(start / RATE, (start + len(piece)) / RATE, text)

    def transcribe(self, waveform, language_model=None, **options):
        """The text of a waveform ``(N,)`` at 16 kHz, of any length; see :meth:`read`."""
        heard = self.listen([one_channel(waveform)], language_model, **options)
        return " ".join(each.text for each in heard if each.text)
