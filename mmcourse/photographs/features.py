"""What an encoder sees in photographs, kept on the disk, and the pairs that training takes.

Shapes: N cells of the grid, C numbers that the encoder has for each.
"""

import hashlib
import time
from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from tqdm import tqdm

from mmcourse.photographs.captioner import PhotographCaptioner
from mmcourse.training import write_whole

NAMES_SHOWN = 20  # of pictures that cannot be read
REASONS_SHOWN = 5
SHARD = 128  # photographs in one file of features at most
WRITE_SECONDS = 60  # a file is written after so long: no kill costs more


class FeatureCache:
    """What an encoder sees in photographs, computed once and kept on the disk in half precision.

    A photograph is known by its name, size and time of change: a look at the folder, where its
    content would have to be read. Features are known by the encoder's fingerprint: ``others``
    counts the files of other encoders (of other weights, of another preprocessing), which are left
    alone; ``damaged`` those that were cut off and are now removed.
    """

    def __init__(self, folder, encoder):
        self.folder = Path(folder)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.encoder = encoder.to(self.device)
        self.shards = {}  # the file that holds the features of a key
        self.others = 0
        self.damaged = 0
        for shard in sorted(self.folder.glob("features-*.safetensors")):
            self._find(shard)

    def _find(self, shard):
        """Note which features a file holds; remove it when it was cut off."""
        try:
            with safe_open(shard, "pt") as file:
                keys = list(file.keys())
                facts = file.metadata() or {}
        except SafetensorError:
            shard.unlink()
            self.damaged += 1
            return
        if facts.get("encoder") == self.encoder.fingerprint:
            self.shards |= dict.fromkeys(keys, shard)
        else:
            self.others += 1

    @staticmethod
    def key(photograph):
        """What a photograph is known by; it changes when the file does."""
        state = photograph.path.stat()
        return f"{photograph.name} {state.st_size} {state.st_mtime_ns}"

    @torch.no_grad()
    def fill(self, photographs, batch_size=32):
        """Compute what is missing, 128 photographs a file, or as many as a minute allows.

        Gives those that cannot be read, as a dict with the reason. Whoever is stopped goes on after
        the last whole file. Raises OSError when the folder cannot be written, and ValueError for an
        encoder that says something else of the same picture each time.
        """
        unreadable = {}
        keyed = _readable(photographs, self.key, unreadable)  # one may be gone by now
        missing = [one for one, key in keyed if key not in self.shards]
        if missing:
            self.encoder.eval()
            self.encoder.check_repeatable(self.device)
        features = {}
        written_at = time.monotonic()
        with tqdm(total=len(missing), unit=" photographs", disable=None) as bar:
            for batch in _batches(missing, batch_size):
                features |= self._features(batch, unreadable)
                bar.update(len(batch))
                is_late = time.monotonic() - written_at >= WRITE_SECONDS
                if len(features) >= SHARD or is_late:
                    self._write(features)
                    features = {}
                    written_at = time.monotonic()
        self._write(features)
        return unreadable

    def _features(self, batch, unreadable):
        """Features (N, C) of the photographs of a batch, by key.

        Those that cannot be read go into the dict ``unreadable`` instead.
        """

        def prepare(photograph):
            return self.encoder.prepare(photograph.path)

        pixels = dict(_readable(batch, prepare, unreadable))
        if not pixels:
            return {}
        batch_of_pixels = torch.stack(list(pixels.values())).to(self.device)  # (B, 3, S, S)
        grids = self.encoder(batch_of_pixels).half().cpu()  # (B, N, C)
        by_photograph = dict(zip(pixels, grids, strict=True))
        keyed = _readable(by_photograph, self.key, unreadable)
        return {
            key: by_photograph[photograph].clone(memory_format=torch.contiguous_format)
            for photograph, key in keyed
        }

    def _write(self, features):
        if not features:
            return
        name = f"{self.encoder.fingerprint} {min(features)}"
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        shard = self.folder / f"features-{digest}.safetensors"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(shard, save(features, {"encoder": self.encoder.fingerprint}))
        except OSError as error:
            raise OSError(f"{error}; or give another folder with --cache") from error
        self.shards |= dict.fromkeys(features, shard)

    def __call__(self, photograph):
        """Features (N, C) of a photograph that :meth:`fill` has seen."""
        key = self.key(photograph)
        with safe_open(self.shards[key], "pt") as file:
            return file.get_tensor(key).float()


def _readable(photographs, to_input, unreadable):
    """Yield each photograph with its input.

    Those that cannot be read go into the dict ``unreadable`` instead, with the reason.
    """
    for photograph in photographs:
        try:
            yield photograph, to_input(photograph)
        except (OSError, ValueError) as error:
            unreadable[photograph] = str(error)


def _batches(photographs, batch_size):
    """Lists of at most so many, none across the border of two files."""
    for start in range(0, len(photographs), SHARD):
        of_file = photographs[start : start + SHARD]
        for first in range(0, len(of_file), batch_size):
            yield of_file[first : first + batch_size]


def _prepared(captioner, photograph):
    return captioner.prepare([photograph.path])[0]


def inputs_of(captioner, photographs, folder, batch_size=32):
    """What training and evaluation need of photographs: a function, a dict, and notes.

    The function gives what ``captioner.encode`` takes for a photograph. The dict has those that
    cannot be read, with the reason. The function gives features, kept in ``folder``, where a
    pretrained encoder stays as it is; else the picture itself. The notes are lines for the user:
    what could not be read, and what else was found in the folder.
    """
    if isinstance(captioner, PhotographCaptioner) and not captioner.fine_tune:
        to_input = FeatureCache(folder, captioner.pretrained)
        unreadable = to_input.fill(photographs, batch_size)
        notes = _notes_of(to_input)
    else:
        to_input = partial(_prepared, captioner)
        unreadable = {}
        notes = []
        everything = tqdm(photographs, unit=" photographs", disable=None)
        for _ in _readable(everything, to_input, unreadable):
            pass  # only to see which cannot be read
    return to_input, unreadable, notes + _notes_of_unreadable(unreadable)


def _notes_of_unreadable(unreadable):
    """Lines for the user: the names of pictures that cannot be read, and why not the first few."""
    if not unreadable:
        return []
    names = [photograph.name for photograph in unreadable]
    shown = ", ".join(names[:NAMES_SHOWN])
    if len(names) > NAMES_SHOWN:
        shown += f" and {len(names) - NAMES_SHOWN:,} more"
    reasons = list(unreadable.values())[:REASONS_SHOWN]
    return [f"{len(names):,} pictures that cannot be read: {shown}", *reasons]


def _notes_of(cache):
    """Lines for the user: which files of features were found that are of no use."""
    notes = []
    if cache.damaged:
        notes.append(
            f"{cache.damaged} files of features in {cache.folder} were cut off: computed again"
        )
    if cache.others:
        notes.append(
            f"{cache.others} files of features in {cache.folder} are of other encoders: left alone"
        )
    return notes


class Pairs:
    """The samples of training: each caption of each photograph, with the photograph's input.

    That is what ``to_input(photograph)`` gives, see :func:`inputs_of`.
    """

    def __init__(self, photographs, to_input):
        self.pairs = [(one, text) for one in photographs for text in one.captions]
        self.to_input = to_input

    def __len__(self):
        return len(self.pairs)

    def __getitem__(self, index):
        photograph, text = self.pairs[index]
        return self.to_input(photograph), text


class Photographs:
    """The samples of training by photograph: its input, and all its captions.

    Otherwise as :class:`Pairs`. The captioner sees each photograph once a step for all of them.
    """

    def __init__(self, photographs, to_input):
        self.photographs = list(photographs)
        self.to_input = to_input

    def __len__(self):
        return len(self.photographs)

    def __getitem__(self, index):
        photograph = self.photographs[index]
        return self.to_input(photograph), list(photograph.captions)
