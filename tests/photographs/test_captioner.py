"""The captioner of photographs: its memory, its batches, what it saves, what it learns, how it is
judged.
"""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mmcourse.captioning import END, PAD, START, UNKNOWN, SceneCaptioner
from mmcourse.hub import load
from mmcourse.photographs import (
    Pairs,
    PhotographCaptioner,
    Photographs,
    PretrainedEncoder,
    evaluate,
    inputs_of,
)
from mmcourse.weights import new_name
from tests.photographs.helpers import tiny


def test_features_and_pictures_give_the_same_memory(some, vit):
    captioner = tiny(some, vit)
    pixels = captioner.prepare([one.path for one in some])
    memory = captioner.encode(pixels)
    assert pixels.shape == (6, 3, 32, 32) and memory.shape == (6, 16, 24)
    torch.testing.assert_close(
        captioner.encode(captioner.pretrained(pixels)), memory, atol=1e-5, rtol=1e-5
    )
    torch.testing.assert_close(captioner.encode(pixels[3:4]), memory[3:4], atol=1e-5, rtol=1e-5)
    assert (memory[0] - memory[1]).abs().max() > 1e-3, "the picture matters"


@pytest.mark.parametrize(
    "count, cells, channels, width", [(1, 4, 5, 12), (3, 9, 7, 24), (2, 25, 3, 36)]
)
def test_the_memory_by_hand(some, monkeypatch, count, cells, channels, width):
    side = int(cells**0.5)
    network = torch.nn.Conv2d(3, channels, 8, stride=8)
    monkeypatch.setattr(
        "mmcourse.photographs.captioner.load_encoder",
        lambda name: PretrainedEncoder(
            network, torch.nn.Conv2d.forward, 8 * side, [127.0] * 3, [128.0] * 3
        ),
    )
    captioner = tiny(some, "any", width=width, heads=3)
    features = torch.randn(count, cells, channels) * 3 + 1
    norm, linear = captioner.projector
    torch.nn.init.normal_(norm.weight), torch.nn.init.normal_(norm.bias)
    normed = (features - features.mean(-1, keepdim=True)) / (
        features.var(-1, correction=0, keepdim=True) + 1e-5
    ).sqrt()
    memory = (
        (normed * norm.weight + norm.bias) @ linear.weight.T
        + linear.bias
        + captioner.grid_positions
    )
    torch.testing.assert_close(
        captioner.encode(features), captioner.encoder(memory), atol=1e-5, rtol=1e-5
    )


def test_where_a_feature_lies_matters(some, vit):
    captioner = tiny(some, vit)
    features = torch.randn(1, 16, 24)
    moved = captioner.encode(features.roll(1, 1))
    assert (captioner.encode(features).roll(1, 1) - moved).abs().max() > 1e-2


def test_what_is_trained_and_what_is_saved(some, vit):
    frozen, tuned = tiny(some, vit), tiny(some, vit, fine_tune=True)
    assert not any("pretrained" in name for name in frozen.state_dict())
    assert any(name.startswith("pretrained.network") for name in tuned.state_dict())
    for captioner, moves in ((frozen, False), (tuned, True)):
        pairs = Pairs(some, lambda one, captioner=captioner: captioner.prepare([one.path])[0])
        captioner.train().loss(captioner.collate([pairs[index] for index in range(8)])).backward()
        weight = captioner.pretrained.network.embeddings.patch_embeddings.projection.weight
        assert (weight.grad is not None and weight.grad.abs().max() > 0) == moves
        assert (
            captioner.projector[1].weight.grad.abs().max() > 0 and not captioner.pretrained.training
        )


def test_batches(some, vit):
    captioner = tiny(some[:5], vit)
    pairs = Pairs(some, lambda one: torch.full((16, 24), float(one.path.stem)))
    assert len(pairs) == 30 and pairs[29][1] == some[5].captions[4] and pairs[5][0].max() == 1
    batch = captioner.collate([pairs[0], pairs[26], pairs[3]])
    assert batch["inputs"].shape == (3, 16, 24) and batch["inputs"][1].max() == 5
    rows = [[number for number in row if number != PAD] for row in batch["tokens"].tolist()]
    assert all(row[0] == START and row[-1] == END for row in rows)
    words = [[captioner.words[number] for number in row[1:-1]] for row in rows]
    assert " ".join(words[0]) == some[0].captions[0] and words[1][-1] == "<unknown>"


@pytest.mark.parametrize("counts", [(5, 5, 5), (1, 1), (2, 2), (5, 3, 1), (4,)])
def test_a_picture_is_encoded_once_for_all_its_captions(some, vit, counts):
    """The loss and its gradients are those of pairs of the picture and one caption."""
    captioner = tiny(some, vit, encoder_layers=1)
    encoded = []
    captioner.encoder.register_forward_hook(lambda _, given, __: encoded.append(len(given[0])))
    samples = [
        (torch.randn(16, 24), list(one.captions[:count]))
        for one, count in zip(some, counts, strict=False)
    ]
    pairs = [(grid, text) for grid, texts in samples for text in texts]
    gradients = []
    for batch in (captioner.collate(samples), captioner.collate(pairs)):
        captioner.zero_grad()
        captioner.loss(batch).backward()
        gradients.append({name: p.grad for name, p in captioner.named_parameters()})
    assert encoded == [len(counts), sum(counts)]
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-4)
    assert captioner.counts(captioner.collate(samples)) == captioner.counts(
        captioner.collate(pairs)
    )


def test_a_sample_of_a_photograph_has_all_its_captions(some):
    samples = Photographs(some, lambda one: torch.full((16, 24), float(one.path.stem)))
    assert len(samples) == 6
    grid, texts = samples[4]
    assert grid.max() == 4 and texts == list(some[4].captions)


def test_long_captions_are_cut(some, vit):
    captioner = tiny(some, vit, max_length=4)
    ids = captioner.tokenize("the dog's ball is red 0")
    assert [captioner.words[number] for number in ids] == [
        "<start>",
        "the",
        "dog's",
        "ball",
        "<end>",
    ]
    assert captioner.tokenize("a dog")[-1] == END and len(captioner.tokenize("a dog")) == 4
    assert captioner(torch.randn(1, 16, 24), torch.tensor([ids[:-1]])).shape[1] == 4, (
        "as many as it has positions"
    )


def test_unknown_words_are_read_but_not_learnt(some, vit):
    captioner = tiny(some, vit)
    sample = torch.randn(16, 24)
    batch = captioner.collate([(sample, "a zyzzyva runs")])
    tokens = batch["tokens"]
    assert tokens[0, 2] == UNKNOWN
    log_probs = captioner(sample[None], tokens[:, :-1])[0].log_softmax(-1)
    by_hand = -(log_probs[0, tokens[0, 1]] + log_probs[2, tokens[0, 3]] + log_probs[3, END]) / 3
    torch.testing.assert_close(captioner.loss(batch), by_hand)
    longer = {
        "inputs": batch["inputs"],
        "tokens": torch.nn.functional.pad(tokens, (0, 2), value=PAD),
    }
    torch.testing.assert_close(captioner.loss(longer), by_hand)


@pytest.mark.parametrize("fine_tune", [False, True])
def test_a_saved_captioner_says_the_same(tmp_path, some, vit, fine_tune):
    captioner = tiny(some, vit, fine_tune=fine_tune)
    if fine_tune:
        with torch.no_grad():
            for parameter in captioner.pretrained.parameters():
                parameter.mul_(1.1)
    captioner.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert isinstance(again, PhotographCaptioner)
    for one in some[:2]:
        mine, theirs = captioner.caption(one.path), again.caption(str(one.path))
        assert mine.text == theirs.text and mine.log_prob == pytest.approx(
            theirs.log_prob, abs=1e-5
        )
    assert theirs.attention.shape == (1, 3, min(len(theirs.tokens), 9), 16)
    chosen = min(len(theirs.tokens), again.max_length)  # a sentence that is cut has no end
    assert theirs.confidence == pytest.approx(np.exp(theirs.log_prob / chosen), rel=1e-4)


@pytest.mark.parametrize("fine_tune", [False, True])
def test_a_folder_from_before_the_class_was_saved(tmp_path, some, vit, fine_tune):
    captioner = tiny(some, vit, fine_tune=fine_tune)
    captioner.save_pretrained(tmp_path)
    former = {after: before for before, after in PhotographCaptioner.former_names.items()}
    tensors = load_file(tmp_path / "model.safetensors")
    before = {new_name(name, former): tensor for name, tensor in tensors.items()}
    assert {"places", "eye.1.weight"} <= set(before)
    assert fine_tune == any(name.startswith("sight.network.") for name in before)
    save_file(before, tmp_path / "model.safetensors")
    config = json.loads((tmp_path / "config.json").read_text())
    del config["class"], config["sha256"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    again = load(tmp_path)
    assert type(again) is PhotographCaptioner
    assert again.caption(some[0].path).text == captioner.caption(some[0].path).text


def test_sizes_are_checked_before_the_encoder_is_loaded(tmp_path, some, vit, monkeypatch):
    tiny(some, vit).save_pretrained(tmp_path)
    monkeypatch.setattr(PhotographCaptioner, "__init__", lambda *_, **__: pytest.fail("allocated"))
    config = json.loads((tmp_path / "config.json").read_text())
    for name in ("width", "encoder_layers", "decoder_layers", "max_length"):
        changed = config | {name: 100_000}
        (tmp_path / "config.json").write_text(json.dumps(changed))
        with pytest.raises(ValueError, match=f"config.json says {name} 100000, but model.saf"):
            load(tmp_path)


def test_weights_of_another_kind_of_training_are_refused(tmp_path, some, vit):
    tiny(some, vit, fine_tune=True).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"fine_tune": False}))
    with pytest.raises(ValueError, match="missing none; left over pretrained.network.*and .* more"):
        load(tmp_path)


def test_another_encoder_than_in_training_is_refused(tmp_path, some, vit):
    shutil.copytree(vit, tmp_path / "vit")
    tiny(some, str(tmp_path / "vit")).save_pretrained(tmp_path / "model")
    settings = tmp_path / "vit" / "preprocessor_config.json"
    settings.write_text(
        json.dumps(json.loads(settings.read_text()) | {"image_std": [1.0, 1.0, 1.0]})
    )
    with pytest.raises(ValueError, match="is not the one it was trained with"):
        load(tmp_path / "model")
    shutil.rmtree(tmp_path / "vit")
    with pytest.raises(ValueError, match="cannot load the model"):
        load(tmp_path / "model")


def test_evaluation(tmp_path, some, vit):
    from mmcourse.evaluation import bleu, cider_d, rouge_l

    captioner = tiny(some, vit)
    to_input, *_ = inputs_of(captioner, some, tmp_path / "cache")
    scores, captions = evaluate(captioner, some, to_input)
    references = [list(one.captions) for one in some]
    assert captions == [captioner.caption(one.path, "greedy").text for one in some]
    assert scores == pytest.approx(
        {
            "BLEU-4": bleu(captions, references)[3],
            "ROUGE-L": rouge_l(captions, references),
            "CIDEr-D": cider_d(captions, references),
        }
    )
    assert evaluate(captioner, some * 9, to_input)[1] == captions * 9, (
        "more than fit into one batch"
    )
    beams = [captioner.caption(one.path, "beam", 2).text for one in some]
    assert evaluate(captioner, some, to_input, "beam", 2)[1] == beams != captions


def test_each_caption_has_its_own_confidence(some, vit):
    captioner = tiny(some, vit)
    captions = captioner.caption([one.path for one in some[:3]])
    for caption in captions:
        mean = caption.log_prob / min(len(caption.tokens), captioner.max_length)
        assert caption.confidence == pytest.approx(np.exp(mean), rel=1e-4)
    assert len({caption.confidence for caption in captions}) == 3


def test_the_captioner_of_scenes_is_judged_on_photographs_too(tmp_path, some):
    scenes = SceneCaptioner(
        ["a", "dog"], width=8, heads=2, channels=[8] * 3, blocks=[0] * 3, max_length=4
    ).eval()
    to_input, unreadable, notes = inputs_of(scenes, some, tmp_path)
    assert evaluate(scenes, some, to_input)[1] == [
        scenes.caption(one.path, "greedy").text for one in some
    ]
    assert not unreadable and not notes and not list(tmp_path.glob("features-*"))


def test_it_learns_the_photographs_by_heart(tmp_path, some, vit):
    captioner = tiny(some, vit, width=48)
    to_input, *_ = inputs_of(captioner, some, tmp_path)
    samples = [(to_input(one), one.captions[int(one.path.stem) % 5]) for one in some]
    optimizer = torch.optim.AdamW(captioner.parameters(), lr=3e-3)
    for _ in range(80):
        loss = captioner.loss(captioner.collate(samples))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert evaluate(captioner, some, to_input)[1] == [text for _, text in samples]
