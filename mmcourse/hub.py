"""Any model of the course by its name: shipped with it, in a folder, or on the Hugging Face hub."""

from pathlib import Path

from mmcourse.audio import Recogniser
from mmcourse.captioning import Captioner, SceneCaptioner
from mmcourse.compression import QuantisedSceneCaptioner
from mmcourse.contrastive import CLIP
from mmcourse.detection import DETR
from mmcourse.gpt import GPT, Llama
from mmcourse.photographs import PhotographCaptioner
from mmcourse.text import TOKENIZER, BPETokenizer, MaskedLanguageModel, TextEncoder
from mmcourse.text_to_image import (
    Autoencoder,
    CentreReader,
    CodeAutoencoder,
    PictureGPT,
    TextToImage,
)
from mmcourse.text_to_image.clips import TextToClip
from mmcourse.video import ClipReader
from mmcourse.vqa import Answerer
from mmcourse.weights import CONFIG, WEIGHTS, find_file, read_config

SHIPPED = Path(__file__).with_name("shipped")
# of the shipped models
NAMES = (
    "scenes",
    "scenes_small",
    "text",
    "gpt",
    "speech",
    "clips",
    "detection",
    "clip",
    "vqa",
    "text_to_image",
    "picture_codes",
    "picture_judge",
)
CLASSES = (
    SceneCaptioner,
    QuantisedSceneCaptioner,
    PhotographCaptioner,
    MaskedLanguageModel,
    TextEncoder,
    GPT,
    Llama,
    Recogniser,
    CLIP,
    Answerer,
    Autoencoder,
    CodeAutoencoder,
    TextToImage,
    PictureGPT,
    CentreReader,
    TextToClip,
    DETR,
    ClipReader,
)
KNOWN = (
    f"{', '.join(NAMES)}, a folder that `mmcourse train` wrote, "
    "or owner/name on the Hugging Face hub"
)


def load(name, **options):
    """A shipped model (of ``NAMES``), one in a folder that training wrote, or ``owner/name``.

    It comes in the class that it was saved in; an answerer comes with its encoder. ``options`` are
    for a download, as ``revision``. Raises ValueError, which says what to do, when there is none
    or its files are cut off, changed or of another model.
    """
    known = name in NAMES or Path(name).is_dir() or "/" in str(name)
    if not known:
        raise ValueError(f"there is no model {str(name)!r}: expected {KNOWN}")
    folder = SHIPPED / name if name in NAMES else name
    try:
        config = read_config(find_file(folder, CONFIG, **options))
        weights = find_file(folder, WEIGHTS, **options)
        model = class_of(config).from_files(config, weights)
        if isinstance(model, Answerer):
            model.attach(load_encoder(model.encoder_name))
        return model
    except Exception as error:  # those of several libraries
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"cannot load the model {str(name)!r} ({reason}): expected {KNOWN}"
        ) from error


def load_encoder(name):
    """What an answerer sees with: a shipped captioner. ValueError for any other name."""
    if name not in NAMES:
        raise ValueError(f"its encoder must be one of {', '.join(NAMES)}, got {name!r}")
    return load_captioner(name)


def load_captioner(name, **options):
    """As :func:`load`. ValueError for a model that writes no captions."""
    model = load(name, **options)
    if not isinstance(model, Captioner):
        raise ValueError(
            f"{str(name)!r} is a {type(model).__name__} and writes no captions: take scenes, or a "
            "captioner that `mmcourse train` wrote"
        )
    return model


def load_tokenizer(name, **options):
    """The tokenizer of a model of texts, as ``text``; names and options are those of :func:`load`.

    Raises ValueError when there is none, or a file of another version.
    """
    folder = SHIPPED / name if name in NAMES else name
    try:
        return BPETokenizer.load(find_file(folder, TOKENIZER, **options))
    except FileNotFoundError as error:
        raise ValueError(f"{str(name)!r} has no {TOKENIZER}: expected a model of texts") from error


def class_of(config):
    """The class of a model by its configuration.

    Models from before the class was saved there are captioners.
    """
    if "class" not in config:
        return PhotographCaptioner if "encoder" in config else SceneCaptioner
    for known in CLASSES:
        if known.__name__ == config["class"]:
            return known
    raise ValueError(f"{CONFIG} is of the unknown class {config['class']!r}: update mmcourse")
