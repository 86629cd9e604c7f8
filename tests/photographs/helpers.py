"""What the tests of photographs share: small data sets and encoders as people have them, and a
small captioner.
"""

import json

import numpy as np
import torch
from PIL import Image

from mmcourse.data.captioned import vocabulary
from mmcourse.photographs import PhotographCaptioner

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


def flickr8k(root, form="captions", folder="Images", names=NAMES):
    """A small set in the form of Flickr8k: captions.txt, Flickr8k.token.txt or Karpathy's JSON."""
    texts = {}
    for seed, name in enumerate(names):
        picture(root / folder / name, seed)
        texts[name] = [f"{text} {seed}" for text in TEXTS]
    if form == "captions":
        lines = ["image,caption"]
        for name, five in texts.items():
            lines += [f"{name},{quoted(text)}" for text in five]
        (root / "captions.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    elif form == "token":
        lines = []
        for name, five in texts.items():
            lines += [f"{name}#{number}\t{text}" for number, text in enumerate(five)]
        (root / "Flickr8k.token.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    elif form == "karpathy":
        entries = [
            karpathy_entry(seed, name, five) for seed, (name, five) in enumerate(texts.items())
        ]
        truth = {"images": entries, "dataset": "flickr8k"}
        (root / "dataset_flickr8k.json").write_text(json.dumps(truth))
    return root


def karpathy_entry(seed, name, five):
    """A picture of Flickr8k as Karpathy's file has it."""
    sentences = [
        {"raw": text, "tokens": text.split(), "sentid": 5 * seed + number}
        for number, text in enumerate(five)
    ]
    split = ("train", "val", "test")[seed % 3]
    return {"filename": name, "split": split, "imgid": seed, "sentences": sentences}


def split_files(root, train, dev, test):
    for part, names in (("train", train), ("dev", dev), ("test", test)):
        (root / f"Flickr_8k.{part}Images.txt").write_text("\n".join(names) + "\n")


def coco(root, karpathy=False):
    """A small set in the form of COCO: 36 pictures to train on and 4 of val."""
    notes = {"train": [], "val": []}
    images = {"train": [], "val": []}
    for number in range(40):
        part = "val" if number >= 36 else "train"
        name = f"{number:012}.jpg"
        picture(root / f"{part}2017" / name, number)
        images[part].append({"id": number, "file_name": name, "license": 1})
        for n, text in enumerate(TEXTS):
            note = {"id": 5 * number + n, "image_id": number, "caption": f"{text} {number}"}
            notes[part].append(note)
    (root / "annotations").mkdir()
    for part in notes:
        truth = {"images": images[part], "annotations": notes[part][::-1], "info": {}}
        (root / "annotations" / f"captions_{part}2017.json").write_text(json.dumps(truth))
    if karpathy:
        entries = [coco_entry(number) for number in range(40)]
        (root / "dataset_coco.json").write_text(json.dumps({"images": entries}))
    return root


def coco_entry(number):
    """A picture of COCO as Karpathy's file has it."""
    return {
        "filepath": "val2014",
        "filename": f"COCO_val2014_{number:012}.jpg",
        "cocoid": number,
        "split": ("train", "restval", "val", "test")[number % 4],
        "sentences": [{"raw": text, "sentid": 5 * number + n} for n, text in enumerate(TEXTS)],
    }


def names_of(found):
    return {split: [one.path.name for one in part] for split, part in found.items()}


SMALL = dict(hidden_size=24, num_hidden_layers=2, num_attention_heads=3, intermediate_size=32)


TOWERS = {
    "vision_config": SMALL | {"image_size": 32, "patch_size": 8},
    "text_config": SMALL | {"vocab_size": 50, "bos_token_id": 1, "eos_token_id": 2},
}
PATCHES = SMALL | {"image_size": 32, "patch_size": 8}
SQUARE = {"height": 32, "width": 32}
SHORTEST = {"shortest_edge": 32}
LARGER = {"shortest_edge": 40}  # than what is cut out
CONVOLUTIONS = {"hidden_sizes": [8, 24], "depths": [1, 1]}
SWIN = {"image_size": 32, "patch_size": 4, "embed_dim": 12, "depths": [1, 1], "num_heads": [1, 2]}
LEVIT = {"hidden_sizes": [8, 16, 24], "num_attention_heads": [1, 2, 3], "depths": [1, 1, 1]}
MOBILEVIT = {
    "image_size": 32,
    "hidden_sizes": [8, 12, 16],
    "neck_hidden_sizes": [4, 8, 8, 12, 12, 16, 24],
    "num_attention_heads": 2,
}

#: Of each family of ``transformers`` the class of the configuration, of the model, of the
#: processor, what the first and the last are made with, and the side of the grid.
FAMILIES = {
    "vit": ("ViTConfig", "ViTModel", "ViT", PATCHES, {"size": SQUARE}, 4),
    "deit": (
        "DeiTConfig",
        "DeiTModel",
        "DeiT",
        PATCHES,
        {"size": {"height": 40, "width": 40}, "crop_size": SQUARE},
        4,
    ),
    "beit": (
        "BeitConfig",
        "BeitModel",
        "Beit",
        PATCHES | {"vocab_size": 20, "use_absolute_position_embeddings": True},
        {"size": {"height": 40, "width": 40}, "crop_size": SQUARE, "do_center_crop": True},
        4,
    ),
    "clip": (
        "CLIPConfig",
        "CLIPModel",
        "CLIP",
        TOWERS,
        {"size": SHORTEST, "crop_size": SQUARE},
        4,
    ),
    "siglip": ("SiglipConfig", "SiglipModel", "Siglip", TOWERS, {"size": SQUARE}, 4),
    "siglip2": (
        "Siglip2Config",
        "Siglip2Model",
        "Siglip2",
        TOWERS | {"vision_config": SMALL | {"num_patches": 16, "patch_size": 8}},
        {"patch_size": 8, "max_num_patches": 27},  # not a square: two are filled up
        5,
    ),
    "dinov2": (
        "Dinov2Config",
        "Dinov2Model",
        "Bit",
        SMALL | {"image_size": 28, "patch_size": 4},
        {"size": LARGER, "crop_size": {"height": 28, "width": 28}},
        7,
    ),
    "dinov2_with_registers": (
        "Dinov2WithRegistersConfig",
        "Dinov2WithRegistersModel",
        "Bit",
        SMALL | {"image_size": 12, "patch_size": 6},  # fewer patches than tokens before them
        {"size": LARGER, "crop_size": {"height": 12, "width": 12}},
        2,
    ),
    "convnext": (
        "ConvNextConfig",
        "ConvNextModel",
        "ConvNext",
        CONVOLUTIONS | {"num_stages": 2},
        {"size": SHORTEST, "crop_pct": 0.875},
        4,
    ),
    "resnet": (
        "ResNetConfig",
        "ResNetModel",
        "ConvNext",
        CONVOLUTIONS | {"embedding_size": 8},
        {"size": SHORTEST, "crop_pct": 0.875},
        4,
    ),
    "swin": ("SwinConfig", "SwinModel", "ViT", SWIN | {"window_size": 4}, {"size": SQUARE}, 4),
    "efficientnet": (
        "EfficientNetConfig",
        "EfficientNetModel",
        "EfficientNet",
        {"image_size": 64, "width_coefficient": 0.1, "depth_coefficient": 0.1, "hidden_dim": 128},
        {"size": {"height": 64, "width": 64}, "include_top": True, "rescale_offset": True},
        2,
    ),
    "mobilevit": (
        "MobileViTConfig",
        "MobileViTModel",
        "MobileViT",
        MOBILEVIT,
        {"size": LARGER, "crop_size": SQUARE, "do_flip_channel_order": True},
        1,
    ),
    "mobilenet": (
        "MobileNetV2Config",
        "MobileNetV2Model",
        "MobileNetV2",
        {"image_size": 64, "depth_multiplier": 0.1, "finegrained_output": False},
        {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}},
        2,
    ),
    "levit": (
        "LevitConfig",
        "LevitModel",
        "Levit",
        LEVIT | {"image_size": 64, "key_dim": [4, 4, 4], "patch_size": 16},
        {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}},
        1,
    ),
}


def random_model(family):
    """A tiny random model of a family of ``transformers``, and its preprocessing."""
    import transformers

    config, model, processor, sizes, settings, _ = FAMILIES[family]
    torch.manual_seed(0)
    network = getattr(transformers, model)(getattr(transformers, config)(**sizes)).eval()
    return network, getattr(transformers, f"{processor}ImageProcessorPil")(**settings)


def save_model(family, folder):
    """A tiny model as the hub would hold it; also give its preprocessing and its grid's side."""
    model, settings = random_model(family)
    for part in model.modules():  # away from 0 and 1, so that a wrong order or a wrong norm shows
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.uniform_(-0.5, 0.5)
    model.save_pretrained(folder)
    settings.save_pretrained(folder)
    return model, settings, FAMILIES[family][-1]


def tiny(some, encoder, **settings):
    torch.manual_seed(0)
    sizes = {"width": 24, "heads": 3, "decoder_layers": 1, "dropout": 0.0, "max_length": 9}
    return PhotographCaptioner(vocabulary(some, 1), encoder, **sizes | settings).eval()
