"""Any model of the course by its name: shipped with it, in a folder, or on the Hugging Face hub."""

from pathlib import Path

from mmcourse.captioning import SceneCaptioner
from mmcourse.photographs import PhotographCaptioner
from mmcourse.weights import CONFIG, WEIGHTS, find_file, read_config

SHIPPED = Path(__file__).with_name("shipped")
NAMES = ("scenes",)  # of the shipped models
CLASSES = (SceneCaptioner, PhotographCaptioner)
KNOWN = "scenes, a folder that `mmcourse train` wrote, or owner/name on the Hugging Face hub"


def load(name, **options):
    """The shipped model ``scenes``, one in a folder that training wrote, or ``owner/name``.

    It comes in the class that it was saved in. ``options`` are for a download, as ``revision``.
    Raises ValueError, which says what to do, when there is none or its files are cut off, changed
    or of another model.
    """
    known = name in NAMES or Path(name).is_dir() or "/" in str(name)
    if not known:
        raise ValueError(f"there is no captioner {str(name)!r}: expected {KNOWN}")
    folder = SHIPPED / name if name in NAMES else name
    try:
        config = read_config(find_file(folder, CONFIG, **options))
        weights = find_file(folder, WEIGHTS, **options)
        return class_of(config).from_files(config, weights)
    except Exception as error:  # those of several libraries
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"cannot load the captioner {str(name)!r} ({reason}): expected {KNOWN}"
        ) from error


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
