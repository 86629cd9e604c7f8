"""A folder of pictures that is found by words: an index on the disk, and a search in it.

Shapes: n pictures, E numbers of an embedding.

The index is a folder of shards. Each is a safetensors file with the embeddings ``(rows, E)`` of
some pictures in half precision; its metadata name the model and the pictures. A picture is known by
its name, size and time of change, so a later look encodes what is new or changed, and nothing else.
"""

import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from tqdm import tqdm

from mmcourse.contrastive.neighbours import nearest, neighbours
from mmcourse.training import write_whole

SUFFIXES = {".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".ppm"}
SHARD = 512  # pictures in a shard: so many at most are encoded again after a kill
BATCH = 64  # pictures that are encoded together
WHERE = ".mmcourse-search"  # the folder of the index, in the folder of the pictures


class Picture(NamedTuple):
    """A picture as the index knows it."""

    name: str  #: its path below the folder
    size: int  #: of its file, in bytes
    changed: int  #: when, in nanoseconds


class Hit(NamedTuple):
    """A picture that was found."""

    path: Path  #: of its file
    score: float  #: the cosine of its embedding and the query's


class Report(NamedTuple):
    """What a look at the folder has done."""

    encoded: int  #: pictures that were new or had changed
    kept: int  #: pictures whose embedding was there
    gone: int  #: pictures that are not there any more
    unreadable: dict  #: name and reason of those that are no picture, or changed meanwhile
    damaged: int  #: shards that were cut off and are encoded again


class PictureIndex:
    """The index of a folder of pictures, those in its folders included.

    ``model`` is a :class:`~mmcourse.contrastive.DualEncoder`; ``where`` the folder of the
    index, by default ``.mmcourse-search`` in the folder. Raises NotADirectoryError when there is no
    folder, ValueError when the index there is of another model.
    """

    def __init__(self, folder, model, where=None):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise NotADirectoryError(f"expected a folder of pictures, found none at {self.folder}")
        self.model = model
        self.fingerprint = model.fingerprint()
        self.where = Path(where) if where else self.folder / WHERE
        self.pictures = []
        self.embeddings = None  # (n, E) in half precision
        self.damaged = 0
        self.searchers = {}
        self.known = {}  # the embedding (E,) of each picture, by Picture
        for shard in sorted(self.where.glob("shard-*.safetensors")):
            self.read(shard)

    def read(self, shard):
        """Take in one shard. One that was cut off is removed."""
        try:
            with safe_open(shard, "pt") as file:
                facts = file.metadata() or {}
                rows = file.get_tensor("embeddings").numpy()
        except SafetensorError:
            shard.unlink()
            self.damaged += 1
            return
        if facts.get("model") != self.fingerprint:
            raise ValueError(
                f"the index in {self.where} was made with another model: give --index another "
                "folder for this one, or remove that index"
            )
        pictures = [Picture(*entry) for entry in json.loads(facts["pictures"])]
        self.known |= dict(zip(pictures, rows, strict=True))

    def update(self, progress=None):
        """Look at the folder, encode what is new or changed: a :class:`Report`.

        ``progress`` False shows no bar, None one on a terminal. Whoever is stopped goes on after
        the last whole shard. Raises ValueError for a folder without a readable picture, OSError
        when the index cannot be written.
        """
        present = list_pictures(self.folder)
        if not present:
            raise ValueError(
                f"found no pictures in {self.folder}: expected files that end with "
                f"{', '.join(sorted(SUFFIXES))}"
            )
        missing = [picture for picture in present if picture not in self.known]
        gone = len(self.known.keys() - set(present))
        unreadable = {}
        hidden = None if progress is None else not progress
        with tqdm(total=len(missing), unit=" pictures", disable=hidden) as bar:
            for start in range(0, len(missing), SHARD):
                self.encode(missing[start : start + SHARD], unreadable, bar)
        self.pictures = [picture for picture in present if picture in self.known]
        if not self.pictures:
            name, reason = next(iter(unreadable.items()))
            raise ValueError(
                f"no picture in {self.folder} can be read; the first: {name}: {reason}"
            )
        self.embeddings = np.stack([self.known[picture] for picture in self.pictures])
        self.searchers = {}
        encoded = len(missing) - len(unreadable)
        kept = len(self.pictures) - encoded
        self.tidy(gone)
        return Report(encoded, kept, gone, unreadable, self.damaged)

    def encode(self, pictures, unreadable, bar):
        """Encode some pictures and write their shard."""
        rows = {}
        for start in range(0, len(pictures), BATCH):
            batch = pictures[start : start + BATCH]
            readable = []
            pixels = []
            for picture in batch:
                try:
                    pixels.append(self.model.prepare([self.folder / picture.name]))
                    if describe(self.folder, picture.name) != picture:
                        raise ValueError("it changed while it was read: search again")
                    readable.append(picture)
                except (OSError, ValueError) as error:
                    del pixels[len(readable) :]
                    unreadable[picture.name] = str(error)
            if readable:
                with torch.no_grad():
                    found = self.model.encode_image(torch.cat(pixels)).half().cpu()
                rows |= dict(zip(readable, found, strict=True))
            bar.update(len(batch))
        if rows:
            self.write(rows)

    def write(self, rows):
        """Write a shard of embeddings by :class:`Picture`, whole or not at all."""
        facts = {"model": self.fingerprint, "pictures": json.dumps(list(rows))}
        self.where.mkdir(parents=True, exist_ok=True)
        number = 1 + max(map(shard_number, self.where.glob("shard-*.safetensors")), default=-1)
        embeddings = torch.stack(list(rows.values()))
        file = self.where / f"shard-{number:06}.safetensors"
        try:
            write_whole(file, save({"embeddings": embeddings}, facts))
        except OSError as error:
            raise OSError(f"{error}; or give another folder with --index") from error
        self.known |= {picture: row.numpy() for picture, row in rows.items()}

    def tidy(self, gone):
        """When more than half of what the shards hold is gone, write them anew."""
        if gone <= len(self.pictures):
            return
        old = list(self.where.glob("shard-*.safetensors"))
        current = {picture: torch.from_numpy(self.known[picture]) for picture in self.pictures}
        self.known = {}
        self.write(current)
        for shard in old:
            shard.unlink()

    def search(self, query, k=10, backend="exact"):
        """The k nearest pictures of a query, the best first: a list of :class:`Hit`.

        ``query`` and the errors are those of :meth:`embed`, ``backend`` is that of
        :func:`mmcourse.contrastive.neighbours.neighbours`.
        """
        return self.find(self.embed(query), k, backend)

    def embed(self, query):
        """The embedding (E,) of a query: a text, or a picture as :func:`is_picture` knows it.

        Raises ValueError for an empty one, and the errors of reading a picture.
        """
        if is_picture(query):
            return self.model.image_features([query]).numpy()[0]
        if not query.strip():
            raise ValueError("the query is empty: say what to look for, as 'two red cars'")
        return self.model.text_features([query]).numpy()[0]

    def find(self, embedding, k=10, backend="exact"):
        """The k pictures nearest to an embedding (E,) of length 1: a list of :class:`Hit`."""
        if backend == "exact":
            rows, scores = nearest(self.embeddings, embedding[None], k)
        else:
            if backend not in self.searchers:
                self.searchers[backend] = neighbours(backend, self.embeddings)
            rows, scores = self.searchers[backend](embedding[None], k)
        found = zip(rows[0].tolist(), scores[0].tolist(), strict=True)
        return [Hit(self.folder / self.pictures[row].name, score) for row, score in found]


def is_picture(query):
    """Whether a query is a picture: an array, a PIL picture, or a path that looks like one."""
    if isinstance(query, str):
        return Path(query).suffix.lower() in SUFFIXES and (
            os.sep in query or Path(query).exists() or " " not in query
        )
    return True


def list_pictures(folder):
    """All pictures below a folder by the ends of their names, sorted: a list of :class:`Picture`.

    Folders and files whose names begin with a dot are left out, and links to folders.
    """
    found = []
    for path, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for file in files:
            if file.startswith(".") or Path(file).suffix.lower() not in SUFFIXES:
                continue
            name = Path(path, file).relative_to(folder).as_posix()
            picture = describe(folder, name)
            if picture:
                found.append(picture)
    return sorted(found)


def describe(folder, name):
    """What the index knows a file by, or None when it is not there (any more)."""
    try:
        state = os.stat(Path(folder, name))
    except OSError:
        return None
    return Picture(name, state.st_size, state.st_mtime_ns)


def shard_number(shard):
    """The number in the name of a shard."""
    return int(shard.stem.removeprefix("shard-"))
