"""LLaVA's layout with copied weights, and the article's model out of parts of transformers."""

import pytest
import torch
from torch import nn
from transformers import (
    AutoConfig,
    BertConfig,
    BertLMHeadModel,
    BertModel,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    MistralConfig,
    SiglipVisionConfig,
    ViTConfig,
    ViTModel,
)

from mmcourse.vlm import VLM, MultimodalEncoderDecoder, pretrained
from tests.helpers import close

SIZES = [  # width of the tower and of the language model, heads, kv heads, layer that is taken
    (32, 40, 4, 2, -2),
    (24, 16, 2, 2, -1),
    (16, 36, 6, 3, -3),
]


def llava(width=32, text=40, heads=4, kv_heads=2, layer=-2, tied=False, **changes):
    """A small LLaVA with random weights, those of words and output the same if ``tied``."""
    vision = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=20,
        num_hidden_layers=3,
        num_attention_heads=4,
        image_size=24,
        patch_size=8,
        projection_dim=12,
    )
    words = LlamaConfig(
        vocab_size=99,
        hidden_size=text,
        intermediate_size=28,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=64,
        eos_token_id=0,
        tie_word_embeddings=tied,
    )
    settings = {"vision_config": vision, "text_config": words} | changes
    config = LlavaConfig(image_token_id=98, vision_feature_layer=layer, **settings)
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config).eval()
    for part in model.parameters():
        nn.init.normal_(part, std=0.2)
    return model


@pytest.mark.parametrize("sizes", SIZES)
def test_logits_equal_llavas_with_several_pictures_and_a_cache(sizes):
    theirs = llava(*sizes)
    ours = VLM.from_transformers(theirs)
    assert ours.picture == 98
    rows = [ours.expand([1, 98, 5, 98, 6, 7], 9), ours.expand([98, 1, 2, 98, 3, 4], 9)]
    ids = torch.tensor(rows)
    pixels = torch.randn(4, 3, 24, 24)
    with torch.no_grad():
        expected = theirs(input_ids=ids, pixel_values=pixels).logits
        cells = ours.encode(pixels)
        assert cells.shape == (4, 9, sizes[0])
        assert expected.abs().max() > 0.1
        close(ours(ids, cells), expected, 1e-5)
        cache = {}
        first = ours(ids[:, :-2], cells, cache=cache)
        rest = ours(ids[:, -2:], cache=cache)
        close(torch.cat([first, rest], 1), expected, 1e-5)
        wrong = ours(ids, cells.flip(0))
        assert (wrong - expected).abs().max() > 1e-3


def equals(theirs):
    """Whether the joined model has the logits of a LLaVA for one picture."""
    ours = VLM.from_transformers(theirs)
    ids = torch.tensor([ours.expand([1, 98, 5], 9)])
    pixels = torch.randn(1, 3, 24, 24)
    with torch.no_grad():
        expected = theirs(input_ids=ids, pixel_values=pixels).logits
        close(ours(ids, ours.encode(pixels)), expected, 1e-5)
    return True


def test_a_projector_may_have_its_own_width_inside():
    theirs = llava()
    projector = theirs.model.multi_modal_projector
    projector.linear_1 = nn.Linear(32, 28)
    projector.linear_2 = nn.Linear(28, 40)
    assert equals(theirs)


def test_a_language_model_whose_first_and_last_layer_are_one():
    theirs = llava(tied=True)
    theirs.lm_head.weight.data.copy_(theirs.model.language_model.embed_tokens.weight)
    assert equals(theirs)


def test_padding_on_the_left_and_what_is_written():
    theirs = llava()
    ours = VLM.from_transformers(theirs)
    pixels = torch.randn(2, 3, 24, 24)
    prompts = [[1, 98, 5, 6, 7], [98, 3]]
    written = ours.generate(prompts, ours.encode(pixels), end=0, max_length=5)
    for row, prompt in enumerate(prompts):
        ids = torch.tensor([ours.expand(prompt, 9)])
        out = theirs.generate(
            input_ids=ids,
            pixel_values=pixels[row : row + 1],
            max_new_tokens=5,
            do_sample=False,
            pad_token_id=0,
        )
        found = out[0, ids.shape[1] :].tolist()
        assert (found[: found.index(0)] if 0 in found else found) == written.tokens[row]


def test_a_saved_folder(tmp_path):
    theirs = llava()
    theirs.save_pretrained(tmp_path)
    ours = VLM.from_transformers(tmp_path)
    ids = torch.tensor([ours.expand([1, 98, 5], 9)])
    pixels = torch.randn(1, 3, 24, 24)
    with torch.no_grad():
        close(
            ours(ids, ours.encode(pixels)), theirs(input_ids=ids, pixel_values=pixels).logits, 1e-5
        )
    assert not any(part.requires_grad for part in ours.parameters())
    assert not ours.training


def test_parts_that_do_not_fit_are_named_with_their_widths():
    model = llava()
    model.model.multi_modal_projector.linear_1 = nn.Linear(24, 40)
    with pytest.raises(ValueError, match=r"maps width 24 to 40.*gives 32.*reads 40"):
        VLM.from_transformers(model)
    model = llava()
    model.model.multi_modal_projector.linear_2 = nn.Linear(40, 44)
    with pytest.raises(ValueError, match=r"maps width 32 to 44.*gives 32.*reads 40"):
        VLM.from_transformers(model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vision_feature_select_strategy": "full"}, "select_strategy is 'full'"),
        ({"projector_hidden_act": "relu"}, "projector_hidden_act is 'relu'"),
        ({"vision_feature_layer": 2}, "vision_feature_layer is 2"),
        ({"vision_feature_layer": -4}, "vision_feature_layer is -4"),
        ({"vision_feature_layer": 0}, "vision_feature_layer is 0"),
        ({"text_config": MistralConfig()}, "^text_config.model_type is 'mistral'"),
        (
            {"vision_config": SiglipVisionConfig()},
            "^vision_config.model_type is 'siglip_vision_model'",
        ),
    ],
)
def test_other_settings_are_refused_by_name(changes, message):
    model = llava()
    for name, value in changes.items():
        setattr(model.config, name, value)
    with pytest.raises(ValueError, match=message):
        VLM.from_transformers(model)


def test_without_a_network_only_what_is_stored_is_asked_for(monkeypatch, tmp_path):
    asked = []

    def fail(name, **options):
        asked.append((str(name), options))
        raise OSError(" ")

    monkeypatch.setattr(AutoConfig, "from_pretrained", fail)
    said = (
        r"^cannot load 'some/llava-1.5' \(OSError\): expected the files of a LLaVA; without a "
        "network fetch them elsewhere, put them into one folder, and give that folder$"
    )
    for answers in (True, False):
        monkeypatch.setattr(pretrained, "hub_answers", lambda: answers)  # noqa: B023
        with pytest.raises(ValueError, match=said):
            VLM.from_transformers("some/llava-1.5")
        assert asked.pop() == ("some/llava-1.5", {"local_files_only": not answers})
    with pytest.raises(ValueError, match="cannot load"):
        VLM.from_transformers(tmp_path)
    assert asked == [(str(tmp_path), {"local_files_only": False})]  # a folder needs no network


def test_what_cannot_be_had(tmp_path):
    with pytest.raises(ValueError, match="a folder, or owner/name as .*, got 'no such thing'$"):
        VLM.from_transformers("no such thing")
    with pytest.raises(ValueError, match="cannot load"):
        VLM.from_transformers(tmp_path)
    BertModel(
        BertConfig(hidden_size=8, num_attention_heads=2, num_hidden_layers=1)
    ).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"cannot load .*model_type is 'bert', expected 'llava'"):
        VLM.from_transformers(tmp_path)
    with pytest.raises(ValueError, match="model_type is None, expected 'llava'"):
        VLM.from_transformers(nn.Linear(2, 2))


# The article's model ---------------------------------------------------------------------------


def parts(text=24, image=32, **changes):
    """A BERT, a ViT and a decoder, small and random."""
    torch.manual_seed(0)
    small = {"num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 32}
    bert = BertModel(BertConfig(vocab_size=40, hidden_size=text, **small))
    vit = ViTModel(ViTConfig(hidden_size=image, image_size=16, patch_size=8, **small))
    settings = {"hidden_size": text, "is_decoder": True, "add_cross_attention": True} | changes
    decoder = BertLMHeadModel(BertConfig(vocab_size=50, **small, **settings))
    return bert, vit, decoder


def test_the_articles_model_by_its_parts():
    bert, vit, decoder = parts()
    model = MultimodalEncoderDecoder(bert, vit, decoder).eval()
    ids = torch.randint(40, (2, 6))
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    pixels = torch.randn(2, 3, 16, 16)
    answer = torch.randint(50, (2, 5))
    logits = model(ids, pixels, answer, mask)
    assert logits.shape == (2, 5, 50)
    assert model.kind.shape == (2, 24) and 0.01 < model.kind.std() < 0.03
    everything = torch.ones_like(mask)
    close(model(ids, pixels, answer), model(ids, pixels, answer, everything), 0)
    assert model.encode(ids, pixels)[1].dtype == torch.bool
    other = ids.clone()
    other[1, 4:] = 7
    close(model(other, pixels, answer, mask), logits, 1e-5)  # padding is not read
    changed = answer.clone()
    changed[:, 3] = (changed[:, 3] + 1) % 50
    later = model(ids, pixels, changed, mask)
    close(later[:, :3], logits[:, :3], 1e-5)  # nothing looks ahead
    assert not torch.allclose(later[:, 3:], logits[:, 3:], atol=1e-4)
    assert not torch.allclose(model(ids, -pixels, answer, mask), logits, atol=1e-4)
    assert not torch.allclose(model(ids.flip(1), pixels, answer, mask), logits, atol=1e-4)
    alone = model(ids[1:, :4], pixels[1:], answer[1:])
    close(alone, logits[1:], 1e-5)
    memory, visible = model.encode(ids, pixels, mask)
    words = bert(ids, attention_mask=mask.long()).last_hidden_state + model.kind[0]
    patches = model.image_projection(vit(pixels).last_hidden_state) + model.kind[1]
    close(memory, torch.cat([words, patches], 1), 1e-6)
    assert visible.tolist()[1] == [True] * 4 + [False] * 2 + [True] * 5
    logits.sum().backward()
    assert bert.embeddings.word_embeddings.weight.grad.abs().sum() > 0
    assert vit.embeddings.patch_embeddings.projection.weight.grad.abs().sum() > 0


def test_a_decoder_that_cannot_look_is_refused():
    said = (
        "^the decoder must be causal and look at the encoders: make its BertConfig with "
        "is_decoder=True, add_cross_attention=True$"
    )
    with pytest.raises(ValueError, match=said):
        MultimodalEncoderDecoder(*parts(is_decoder=False, add_cross_attention=False))
    with pytest.raises(ValueError, match=said):
        MultimodalEncoderDecoder(*parts(add_cross_attention=False))
    bert, vit, _ = parts()
    with pytest.raises(ValueError, match="width 32, the text model 24: make them equal$"):
        MultimodalEncoderDecoder(bert, vit, parts(text=32)[2])
