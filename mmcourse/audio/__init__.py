"""From a waveform to words: mel spectra, CTC, a recogniser, and how wrong it is.

``features`` makes a spectrum of a waveform. ``ctc`` is the loss of a text without its times,
``beam`` the search for the best text, ``language`` the model that helps it. ``recogniser`` is the
network and ``listening`` cuts long sounds for it. ``errors`` counts its mistakes, ``templates`` is
what it is compared with, and ``whisper`` the encoder of a model that came after.
"""

from mmcourse.audio.beam import Found, ctc_beam
from mmcourse.audio.ctc import BLANK, collapse, ctc_choose, ctc_greedy, ctc_loss
from mmcourse.audio.errors import Edits, character_error_rate, edits, word_error_rate
from mmcourse.audio.features import (
    HOP,
    RATE,
    WINDOW,
    frame,
    from_mel,
    hann,
    log_mel,
    mel_filters,
    power_spectrum,
    to_mel,
)
from mmcourse.audio.language import SymbolModel
from mmcourse.audio.listening import pieces
from mmcourse.audio.recogniser import Heard, Recogniser
from mmcourse.audio.templates import NearestTemplate, dtw
from mmcourse.audio.whisper import WhisperEncoder

__all__ = [
    "BLANK",
    "HOP",
    "RATE",
    "WINDOW",
    "Edits",
    "Found",
    "Heard",
    "NearestTemplate",
    "Recogniser",
    "SymbolModel",
    "WhisperEncoder",
    "character_error_rate",
    "collapse",
    "ctc_beam",
    "ctc_choose",
    "ctc_greedy",
    "ctc_loss",
    "dtw",
    "edits",
    "frame",
    "from_mel",
    "hann",
    "log_mel",
    "mel_filters",
    "pieces",
    "power_spectrum",
    "to_mel",
    "word_error_rate",
]
