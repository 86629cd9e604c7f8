"""The folder of a model: written with its class and a checksum, and read strictly.

It holds two files. ``config.json`` has the arguments that the model was made with,
``model.safetensors`` its tensors. Nothing is unpickled. Nothing is allocated before the sizes in
the first file agree with the shapes in the second.

A folder always holds a whole model, the former one or the new one, whenever the writing stops: both
files are written in a folder beside them, then get their places, the configuration last.
:func:`place_of` finds it where the writing stopped between the two.
"""

import hashlib
import inspect
import json
import os
import shutil
from contextlib import contextmanager, redirect_stdout
from pathlib import Path, PurePath

import numpy as np
from huggingface_hub import PyTorchModelHubMixin, constants, get_session, hf_hub_download
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
SAVING = ".saving"  # a folder in that of a model, for what has not got its place yet
LARGEST_CONFIG = 16_000_000  # bytes; that of `scenes` has 10,000

UNNAMED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

CARD = """---
{{ card_data }}
---
# {{ class_name }}

A model of the course `mmcourse`, as the course saved it. `config.json` has the arguments that it
was made with and the checksum of `model.safetensors`, which holds its {{ parameters }} parameters.
To load it:

```python
from mmcourse.hub import load

model = load("FOLDER")  # the path of this folder
```

This text is written by itself and knows no more. Where the model was trained by `mmcourse train`,
`log.jsonl` beside it has the losses and the scores of that run. Of a captioner of photographs, the
weights are those of the line with the highest CIDEr-D, if there was a validation split.
"""  # README.md, in place of the text of the hub library, which says that the hub has the model


class SavedModel(nn.Module, PyTorchModelHubMixin, model_card_template=CARD):
    """A network that is saved into a folder, or to the Hugging Face hub, and loaded from there.

    A subclass says with :meth:`sizes_in` which of its arguments a weight file determines.
    """

    #: Beginnings of names in folders from before the class was saved, and what they are now.
    former_names = {}

    def __new__(cls, *args, **named):
        """Keep what the model is made with. TypeError for what ``config.json`` cannot hold."""
        model = super().__new__(cls, *args, **named)
        try:
            given = inspect.signature(cls.__init__).bind_partial(model, *args, **named).arguments
        except TypeError:
            return model  # __init__ says it better
        parameters = inspect.signature(cls.__init__).parameters
        for name, value in list(given.items())[1:]:  # without self
            if parameters[name].kind in UNNAMED:
                raise TypeError(
                    f"{cls.__name__} takes {name!r} without names of their own, so nobody could "
                    "load it again: name each argument in __init__"
                )
            kept = plain(value, f"{name!r} of {cls.__name__}")
            if model._hub_mixin_config is None:
                model._hub_mixin_config = {}
            model._hub_mixin_config[name] = kept
        return model

    @classmethod
    def sizes_in(cls, shapes):
        """The arguments that tensors of these shapes were made with.

        ``shapes`` is a dict of name and shape. A list whose length alone is known, as that of
        words, is given as that length.
        """
        return {}

    @classmethod
    def from_pretrained(cls, name, **options):
        """Load a folder, or ``owner/name`` on the Hugging Face hub.

        ``options`` are those of ``hf_hub_download``. Raises ValueError when a file is not what was
        saved: cut off, changed, of another class or of other sizes.
        """
        config = read_config(find_file(name, CONFIG, **options))
        return cls.from_files(config, find_file(name, WEIGHTS, **options))

    @classmethod
    def from_files(cls, config, weights):
        """Load from what :func:`read_config` gives and the path of a weight file.

        The model is in evaluation mode and in single precision. The errors are those of
        :meth:`from_pretrained`.
        """
        saved_class = config.get("class", cls.__name__)
        if saved_class != cls.__name__:
            raise ValueError(
                f"{CONFIG} is of a {saved_class}, not of a {cls.__name__}: "
                "mmcourse.hub.load takes the right class"
            )
        check_checksum(weights, config.get("sha256"))
        renamed = {}
        if "class" not in config:
            renamed = cls.former_names
        shapes = read_shapes(weights, renamed)
        try:
            sizes = cls.sizes_in(shapes)
        except (KeyError, IndexError) as error:
            raise ValueError(f"{WEIGHTS} is of another model: no fitting tensor {error}") from error
        check_sizes(config, sizes)
        arguments = inspect.signature(cls.__init__).parameters
        model = cls(**{name: value for name, value in config.items() if name in arguments})
        load_tensors(model, weights, renamed)
        return model.eval()

    def save_pretrained(
        self,
        save_directory,
        *,
        config=None,
        repo_id=None,
        push_to_hub=False,
        model_card_kwargs=None,
        **push_options,
    ):
        """Save into a folder, which is made if need be; with ``push_to_hub`` to the hub as well.

        A kill at any moment leaves the model that was there before, or this one. A README.md that
        is there stays. The other arguments are those of
        :class:`~huggingface_hub.PyTorchModelHubMixin`.
        """
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        beside = new_folder_for_saving(folder)
        try:
            super().save_pretrained(beside, config=config, model_card_kwargs=model_card_kwargs)
            put_in_place(beside, folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
        if not push_to_hub:
            return None
        return self.push_to_hub(
            repo_id or folder.resolve().name,
            config=config,
            model_card_kwargs=model_card_kwargs,
            **push_options,
        )

    def _save_pretrained(self, save_directory):
        """Write the weights, then the configuration with the class and the checksum."""
        super()._save_pretrained(save_directory)
        config = self._hub_mixin_config or {}  # None for a class without arguments
        facts = {
            "class": type(self).__name__,
            "sha256": checksum(save_directory / WEIGHTS),
        }
        text = json.dumps(config | facts, sort_keys=True, indent=2)
        (save_directory / CONFIG).write_text(text, encoding="utf-8")

    def generate_model_card(self, *args, **named):
        """The text of README.md, which the base class writes."""
        parameters = sum(parameter.numel() for parameter in self.parameters())
        return super().generate_model_card(
            *args, class_name=type(self).__name__, parameters=f"{parameters:,}", **named
        )


def plain(value, name):
    """A value of Python that comes back from JSON as it is, but for tuples, which become lists.

    Numbers of NumPy and paths become Python's. TypeError, with the ``name``, for anything else.
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return plain(value.item(), name)
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [plain(part, name) for part in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: plain(part, name) for key, part in value.items()}
    raise TypeError(
        f"config.json cannot hold {name}, so nobody could load the model again: expected text, "
        "numbers, True, False, None, or lists and dicts of these (with text as keys), got "
        f"{value!r:.80}. Of a set or generator pass list(...), of an array or tensor .tolist()"
    )


def new_folder_for_saving(folder):
    """An empty folder in that of a model. What an earlier kill left is brought to its end first."""
    beside = folder / SAVING
    config = place_of(folder, CONFIG)
    if config.parent == beside:
        os.replace(config, folder / CONFIG)
    if beside.is_symlink() or beside.is_file():
        beside.unlink()  # a link to anywhere is not followed
    if beside.exists():
        shutil.rmtree(beside)
    beside.mkdir()
    return beside


def put_in_place(beside, folder):
    """Move the files of a model to their places, the configuration last."""
    order = {WEIGHTS: 1, CONFIG: 2}  # all others first
    for file in sorted(beside.iterdir(), key=lambda file: order.get(file.name, 0)):
        if file.name == "README.md" and (folder / file.name).exists():
            continue  # somebody may have written into it
        with open(file, "rb+") as opened:
            os.fsync(opened.fileno())
        os.replace(file, folder / file.name)


def place_of(folder, file):
    """The path of a file of a model.

    Where a kill came when the weights had their place and the configuration had not, it still is
    in the folder for saving.
    """
    late = folder / SAVING / CONFIG
    if file != CONFIG or not late.is_file() or not (folder / WEIGHTS).is_file():
        return folder / file
    try:
        is_of_weights = read_config(late).get("sha256") == checksum(folder / WEIGHTS)
    except ValueError:  # itself cut off
        is_of_weights = False
    return late if is_of_weights else folder / file


def find_file(name, file, **options):
    """The path of a file in a folder, or, downloaded, of ``owner/name`` on the hub."""
    if Path(name).is_dir():
        return place_of(Path(name), file)
    online = hub_answers()
    if not online:
        options["local_files_only"] = True  # else it is tried six times, for 25 seconds
    try:
        with redirect_stdout(None):  # the library of the hub prints
            return Path(hf_hub_download(str(name), file, **options))
    except LocalEntryNotFoundError as error:
        if online:
            raise
        raise OSError(
            f"the Hugging Face hub does not answer, and {name} was not downloaded before: "
            "connect to the network, or fetch its folder elsewhere and copy it here"
        ) from error


def hub_answers():
    """Whether the Hugging Face hub can be reached: one try."""
    try:
        get_session().head(constants.ENDPOINT, timeout=5)
    except Exception:  # those of the library behind the session, which is not always the same
        return False
    return True


@contextmanager
def quiet_transformers():
    """Keep ``transformers`` quiet while it loads.

    It reports at length which weights are left over, as those of a text tower.
    """
    from transformers import logging

    verbosity = logging.get_verbosity()
    bars = logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def read_config(path):
    """What ``config.json`` holds, a dict.

    ValueError when it is no ordinary file, too large, or no dict in JSON.
    """
    if not path.is_file():
        raise ValueError(f"expected an ordinary file {path}: copy the folder of the model again")
    size = path.stat().st_size
    if size > LARGEST_CONFIG:
        raise ValueError(
            f"{path} has {size:,} bytes, expected at most {LARGEST_CONFIG:,}: "
            "it is not the configuration of a model"
        )
    config = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds a {type(config).__name__}, expected names and values")
    return config


def change_config(folder, **values):
    """Set values in the ``config.json`` of a model's folder; the others stay as they are."""
    path = Path(folder, CONFIG)
    config = read_config(path) | values
    path.write_text(json.dumps(config, sort_keys=True, indent=2), encoding="utf-8")


def checksum(path):
    """The SHA-256 of a file, 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_checksum(path, expected):
    """ValueError unless the file is there, with the ``expected`` checksum if that is known."""
    if not path.is_file():
        raise ValueError(f"expected an ordinary file {path}: copy the folder of the model again")
    if expected is None:
        return  # saved before there were checksums
    found = checksum(path)
    if found != expected:
        raise ValueError(
            f"{path.name} is damaged, or of another model than {CONFIG}: its sha256 is {found}, "
            f"expected {expected}. Copy both files again"
        )


def read_shapes(path, renamed):
    """Name and shape of each tensor of a file, from its first bytes.

    ``renamed`` is that of :func:`new_name`. ValueError for a file without a tensor.
    """
    with safe_open(path, "pt") as file:
        shapes = {
            new_name(name, renamed): tuple(file.get_slice(name).get_shape())
            for name in file.keys()  # noqa: SIM118 (it is no dict)
        }
    if not shapes:
        raise ValueError(f"{path.name} holds no tensor: copy the folder of the model again")
    return shapes


def new_name(name, renamed):
    """What a tensor is called today. ``renamed`` is a dict of how names began, and begin now."""
    for before, after in renamed.items():
        if name.startswith(before):
            return after + name.removeprefix(before)
    return name


def check_sizes(config, sizes):
    """ValueError when ``config.json`` says another size than the weight file has."""
    for name, size in sizes.items():
        if name not in config:
            continue
        given = config[name]
        if isinstance(given, list) and not isinstance(size, list):
            given = len(given)
        if given != size:
            raise ValueError(
                f"{CONFIG} says {name} {given!s:.80}, but {WEIGHTS} was saved with {size}: "
                "take both files from the same model"
            )


def load_tensors(model, path, renamed):
    """Copy the tensors of a file into the model. ValueError, by name, for each that does not fit.

    Every tensor of the model must be there, and no other, in the same shape. Numbers may have
    another precision, as half of it on the disk, but whole numbers stay whole. Of tensors that are
    one in memory the file holds one.
    """
    tensors = {new_name(name, renamed): tensor for name, tensor in load_file(path).items()}
    expected = model.state_dict()
    loaded = {expected[name].data_ptr() for name in expected if name in tensors}
    missing = [
        name
        for name, tensor in expected.items()
        if name not in tensors and tensor.data_ptr() not in loaded
    ]
    left_over = [name for name in tensors if name not in expected]
    if missing or left_over:
        raise ValueError(
            f"{path.name} is of another model: missing {listed(missing)}; "
            f"left over {listed(left_over)}"
        )
    for name, tensor in tensors.items():
        check_tensor(name, tensor, expected[name])
    model.load_state_dict(tensors, strict=False)  # strict in the lines above, which know of ties


def check_tensor(name, tensor, expected):
    """ValueError unless a tensor has the shape and the kind of number that the model expects."""
    if tensor.shape != expected.shape:
        raise ValueError(
            f"the tensor {name} has the shape {tuple(tensor.shape)}, "
            f"expected {tuple(expected.shape)}"
        )
    if expected.is_floating_point() and tensor.is_floating_point():
        return
    if tensor.dtype != expected.dtype:
        raise ValueError(f"the tensor {name} holds {tensor.dtype}, expected {expected.dtype}")


def listed(names):
    """The first three names, and how many more there are."""
    if not names:
        return "none"
    text = ", ".join(names[:3])
    if len(names) > 3:
        text += f" and {len(names) - 3} more"
    return text
