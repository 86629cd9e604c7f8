"""Whisper's spectra and its encoder, equal to those of ``transformers``."""

import pytest
import torch
import torch.nn.functional as F
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel
from transformers.audio_utils import mel_filter_bank

from mmcourse.audio import WhisperEncoder, log_mel, mel_filters
from tests.helpers import close


@pytest.mark.parametrize("samples", [16_000, 23_457, 40_001])
@pytest.mark.parametrize("mels", [80, 128])
def test_log_mel_is_whispers(samples, mels):
    noise = torch.randn(samples, generator=torch.Generator().manual_seed(samples))
    waveform = 0.3 * noise.clip(-3, 3)
    theirs = WhisperFeatureExtractor(feature_size=mels)(
        waveform.numpy(), sampling_rate=16_000, return_tensors="pt", padding="max_length"
    )
    filled = F.pad(waveform, (0, 30 * 16_000 - samples))
    ours = log_mel(filled.double(), mels=mels)
    close(ours.T.float(), theirs.input_features[0], 1e-5)


def test_mel_filters_are_slaneys():
    theirs = mel_filter_bank(201, 80, 0, 8000, 16_000, norm="slaney", mel_scale="slaney")
    close(mel_filters(80), torch.from_numpy(theirs), 1e-7)


@pytest.mark.parametrize(
    ("mels", "width", "heads", "layers", "context"),
    [(16, 24, 3, 2, 50), (7, 12, 1, 1, 9), (80, 20, 5, 3, 11)],
)
def test_whisper_encoder_is_transformers(mels, width, heads, layers, context, tmp_path):
    torch.manual_seed(0)
    config = WhisperConfig(
        num_mel_bins=mels, d_model=width, encoder_layers=layers, encoder_attention_heads=heads,
        encoder_ffn_dim=13, decoder_layers=1, decoder_attention_heads=1, decoder_ffn_dim=8,
        max_source_positions=context, vocab_size=9, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    theirs = WhisperModel(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    ours = WhisperEncoder.from_transformers(theirs)
    features = torch.randn(2, 2 * context, mels)
    expected = theirs.encoder(features.transpose(1, 2)).last_hidden_state
    close(ours(features), expected, 1e-5)
    theirs.save_pretrained(tmp_path)
    close(WhisperEncoder.from_transformers(tmp_path)(features), expected, 1e-5)
    with pytest.raises(ValueError, match="at most"):
        ours(torch.randn(1, 2 * context + 2, mels))
    ours.save_pretrained(tmp_path / "ours")
    assert torch.equal(WhisperEncoder.from_pretrained(tmp_path / "ours")(features), ours(features))


def test_what_is_no_whisper(tmp_path):
    with pytest.raises(ValueError, match="the folder of a Whisper"):
        WhisperEncoder.from_transformers(tmp_path / "nothing")
