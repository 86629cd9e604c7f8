"""CLIP and SigLIP of transformers, with random weights, in layers of the course."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPVisionConfig,
    SiglipConfig,
    SiglipModel,
    SiglipTextConfig,
    SiglipVisionConfig,
)

from mmcourse.contrastive import CLIP, clip_loss, siglip_loss
from mmcourse.contrastive.pretrained import QuickGELU, from_transformers
from tests.helpers import close

# the picture's side, patch, width, heads, layers, hidden; the text's width, heads, layers,
# hidden, context; E, activation
SIZES = [
    (15, 5, 12, 3, 1, 20, 10, 2, 2, 14, 7, 6, "quick_gelu"),
    (28, 7, 15, 5, 3, 17, 9, 1, 1, 31, 11, 13, "gelu"),
    (32, 8, 20, 4, 2, 33, 20, 4, 3, 26, 9, 20, "gelu_pytorch_tanh"),
]
WORDS = 40


def theirs(kind, sizes, **changes):
    """A model of transformers with every parameter at random."""
    side, patch, width, heads, layers, hidden, *text, embedding, activation = sizes
    text_width, text_heads, text_layers, text_hidden, context = text
    if kind == "siglip":
        text_width = width  # its two towers end in the same width
        text_heads = heads
    vision = dict(
        image_size=side,
        patch_size=patch,
        hidden_size=width,
        num_attention_heads=heads,
        num_hidden_layers=layers,
        intermediate_size=hidden,
        hidden_act=activation,
    )
    words = dict(
        vocab_size=WORDS,
        hidden_size=text_width,
        num_attention_heads=text_heads,
        num_hidden_layers=text_layers,
        intermediate_size=text_hidden,
        max_position_embeddings=context,
        hidden_act=activation,
        eos_token_id=WORDS - 1,
        bos_token_id=0,
        pad_token_id=1,
    )
    torch.manual_seed(width)
    if kind == "clip":
        config = CLIPConfig(
            text_config=CLIPTextConfig(**words | changes).to_dict(),
            vision_config=CLIPVisionConfig(**vision).to_dict(),
            projection_dim=embedding,
        )
        model = CLIPModel(config)
    else:
        config = SiglipConfig(
            text_config=SiglipTextConfig(**words | changes).to_dict(),
            vision_config=SiglipVisionConfig(**vision).to_dict(),
        )
        model = SiglipModel(config)
    for name, parameter in model.named_parameters():
        if "logit" not in name:
            torch.nn.init.normal_(parameter, std=0.3)
    torch.nn.init.constant_(model.logit_scale, math.log(7.0))
    if kind == "siglip":
        torch.nn.init.constant_(model.logit_bias, -2.5)
    return model.eval()


def inputs(model, batch=4, seed=0):
    """Pixels and token numbers; texts end at different places, filled up with the end."""
    generator = torch.Generator().manual_seed(seed)
    vision = model.config.vision_config
    text = model.config.text_config
    side = vision.image_size
    pixels = torch.randn(batch, 3, side, side, generator=generator)
    tokens = torch.randint(2, WORDS - 1, (batch, text.max_position_embeddings), generator=generator)
    for row in range(batch):
        tokens[row, 2 + row :] = WORDS - 1
    return pixels, tokens


@pytest.mark.parametrize("kind", ["clip", "siglip"])
@pytest.mark.parametrize("sizes", SIZES)
def test_both_towers_give_the_same_embeddings(kind, sizes):
    reference = theirs(kind, sizes)
    ours = from_transformers(reference)
    pixels, tokens = inputs(reference)
    with torch.no_grad():
        wanted = reference(pixel_values=pixels, input_ids=tokens)
        close(ours.encode_image(pixels), wanted.image_embeds, 1e-5)
        close(ours.encode_text(tokens), wanted.text_embeds, 1e-5)
        image = reference.get_image_features(pixel_values=pixels).pooler_output
        close(ours.image_tower(pixels), image, 1e-5)
        logits = ours.similarity(wanted.image_embeds, wanted.text_embeds)
        close(logits, wanted.logits_per_image, 1e-4)
    assert not ours.training and not any(p.requires_grad for p in ours.parameters())


@pytest.mark.parametrize("kind", ["clip", "siglip"])
@pytest.mark.parametrize("sizes", SIZES)
def test_loss_and_gradients_are_those_of_transformers(kind, sizes):
    reference = theirs(kind, sizes).double()
    ours = from_transformers(reference).double().requires_grad_()
    pixels, tokens = inputs(reference)
    pixels = pixels.double()
    wanted = reference(pixel_values=pixels, input_ids=tokens, return_loss=True).loss
    image = ours.image_tower(pixels)
    text = ours.text_tower(tokens)
    scale = ours.log_scale.exp()
    if kind == "clip":
        loss = clip_loss(image, text, scale)
    else:
        loss = siglip_loss(image, text, scale, ours.bias)
    close(loss, wanted, 1e-6)
    loss.backward()
    wanted.backward()
    vision = reference.vision_model.embeddings
    words = reference.text_model.embeddings
    same = [
        (ours.log_scale.grad, reference.logit_scale.grad.reshape(())),
        (ours.image_tower.patches.projection.weight.grad, vision.patch_embedding.weight.grad),
        (ours.image_tower.positions.grad[0], vision.position_embedding.weight.grad),
        (ours.text_tower.embedding.weight.grad, words.token_embedding.weight.grad),
    ]
    if kind == "siglip":
        same.append((ours.bias.grad, reference.logit_bias.grad.reshape(())))
    for mine, other in same:
        assert other.abs().max() > 1e-6
        close(mine, other, 1e-6)


def test_old_configurations_of_clip_read_at_the_largest_number():
    reference = theirs("clip", SIZES[0], eos_token_id=2)
    ours = from_transformers(reference)
    pixels, tokens = inputs(reference)
    with torch.no_grad():
        wanted = reference.get_text_features(input_ids=tokens).pooler_output
    close(ours.text_tower(tokens), wanted, 1e-5)


def test_siglip_scale_is_not_clamped_and_clips_is():
    for kind, expected in (("clip", 100.0), ("siglip", 150.0)):
        reference = theirs(kind, SIZES[0])
        torch.nn.init.constant_(reference.logit_scale, math.log(150.0))
        assert from_transformers(reference).scale().item() == pytest.approx(expected)


def test_quick_gelu():
    x = torch.linspace(-4, 4, 9)
    close(QuickGELU()(x), x / (1 + torch.exp(-1.702 * x)), 1e-6)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A small CLIP and a small SigLIP as folders, with tokenizer and preprocessing."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import CLIPImageProcessor, PreTrainedTokenizerFast, SiglipImageProcessor

    found = {}
    for kind, processor in (("clip", CLIPImageProcessor), ("siglip", SiglipImageProcessor)):
        folder = tmp_path_factory.mktemp(kind)
        theirs(kind, SIZES[2]).save_pretrained(folder)
        words = {"<start>": 0, "<pad>": 1, "<unknown>": 2, "a": 3, "red": 4, "car": 5, "<end>": 39}
        tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unknown>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<start> $A <end>", special_tokens=[("<start>", 0), ("<end>", 39)]
        )
        PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unknown>", eos_token="<end>"
        ).save_pretrained(folder)
        processor(size={"height": 32, "width": 32}, image_std=[0.5, 0.25, 0.2]).save_pretrained(
            folder
        )
        found[kind] = folder
    return found


@pytest.mark.parametrize("kind, length", [("clip", 5), ("siglip", 9)])
def test_a_folder_brings_its_tokenizer_and_its_colours(folders, kind, length):
    model = CLIP.from_transformers(folders[kind])
    tokens = model.tokenize(["a red car", "car"])
    assert tokens.tolist()[0][:5] == [0, 3, 4, 5, 39]
    assert tokens.shape == (2, length)  # SigLIP's are filled up to the full length
    assert model.tokenize(["car " * 50]).shape == (1, 9)
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[..., 1] = 255
    mean = model.mean.flatten()
    pixels = model.prepare([picture])[0, :, 3, 4]
    close(pixels, (torch.tensor([0.0, 1.0, 0.0]) - mean) / torch.tensor([0.5, 0.25, 0.2]), 1e-6)
    assert model.image_features([picture]).shape == model.text_features(["a car"]).shape == (1, 20)
    for text in ("", "   "):
        with pytest.raises(ValueError, match="empty"):
            model.tokenize([text])
    with pytest.raises(TypeError, match="put it in a list"):
        model.tokenize("a car")


def test_its_preprocessing_of_a_square_picture_is_that_of_its_files(folders):
    from transformers import AutoImageProcessor

    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    for kind in ("clip", "siglip"):
        processor = AutoImageProcessor.from_pretrained(folders[kind])
        wanted = processor(picture, do_center_crop=False, return_tensors="pt")["pixel_values"]
        close(CLIP.from_transformers(folders[kind]).prepare([picture]), wanted, 1e-5)


def test_what_is_no_clip_is_refused(folders, tmp_path):
    with pytest.raises(ValueError, match="expected a folder, or owner/name"):
        CLIP.from_transformers("nothing here")
    with pytest.raises(ValueError, match="cannot load"):
        CLIP.from_transformers(tmp_path)
    config = json.loads((folders["clip"] / "config.json").read_text())
    config["model_type"] = "bert"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="cannot load"):
        CLIP.from_transformers(tmp_path)
    reference = theirs("clip", SIZES[0])
    model = from_transformers(reference)
    with pytest.raises(ValueError, match="without a tokenizer"):
        model.tokenize(["a car"])
    with pytest.raises(ValueError, match="reads 7 tokens, got 8"):
        model.text_tower(torch.zeros(1, 8, dtype=torch.long))


def test_a_tower_without_an_embedding_or_with_an_unknown_activation_is_refused():
    reference = theirs("siglip", SIZES[0])
    reference.vision_model.use_head = False
    with pytest.raises(ValueError, match="no pooling head"):
        from_transformers(reference)
    reference = theirs("clip", SIZES[0])
    reference.config.vision_config.hidden_act = "relu6"
    with pytest.raises(ValueError, match="unknown activation 'relu6'"):
        from_transformers(reference)


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_a_folder_that_asks_to_run_its_own_code(folders, tmp_path, monkeypatch, file):
    """Nobody is asked for leave either, whose answer might be yes."""
    folder = shutil.copytree(folders["clip"], tmp_path / "model")
    (folder / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass\n")
    classes = {"AutoConfig": "code.Own", "AutoModel": "code.Own"}
    if file == "tokenizer_config.json":
        classes = {"AutoTokenizer": ["code.Own", None]}
    (folder / file).write_text(json.dumps({"model_type": "own", "auto_map": classes}))
    monkeypatch.setattr("builtins.input", lambda prompt: "y")
    if file == "config.json":
        with pytest.raises(ValueError, match="custom code"):
            CLIP.from_transformers(folder)
    else:
        CLIP.from_transformers(folder)  # with the tokenizer that transformers itself has
    assert not (tmp_path / "ran").exists()
