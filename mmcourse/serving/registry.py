"""A registry of models on a disk: which run made which weights, and which of them are in use.

``models/ID/`` has the files of a model and ``record.json``, which says where they are from; ID is
the beginning of the checksum of ``config.json``, which holds that of the weights. ``stages.json``
says which model is in ``production`` and which were before. A folder gets its name when it is
whole; a file is replaced at once. So whoever reads sees a whole registry, whenever the writing
stopped.
"""

import json
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

from mmcourse.training import read_log, write_whole
from mmcourse.weights import CONFIG, WEIGHTS, check_checksum, checksum, place_of, read_config

RECORD = "record.json"
STAGES = "stages.json"
PRODUCTION = "production"
ID_LENGTH = 12  # hexadecimal digits


class Registry:
    """The models of a folder, which is made where there is none."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.models = self.folder / "models"
        self.models.mkdir(parents=True, exist_ok=True)
        self.lock = FileLock(self.folder / ".lock")

    # ---- which run made which weights

    def add(self, run, settings=None, note=""):
        """Copy the model in the folder of a ``run``, and return its id.

        Adding it again changes nothing. ``settings`` is a dict, such as those that a search chose;
        the record also has the last row of the run's log. Raises ValueError where the run has no
        whole model.
        """
        run = Path(run)
        config = place_of(run, CONFIG)
        weights_digest = read_config(config).get("sha256")
        if weights_digest is None:
            raise ValueError(
                f"{config} has no checksum of its weights: load and save the model again"
            )
        check_checksum(run / WEIGHTS, weights_digest)
        digest = checksum(config)
        name = digest[:ID_LENGTH]
        with self.lock:
            if (self.models / name).exists():
                return name
            rows = read_log(run)
            record = {
                "id": name,
                "sha256": {CONFIG: digest, WEIGHTS: weights_digest},
                "class": read_config(config).get("class"),
                "run": str(run),
                "settings": settings or {},
                "last_row": rows[-1] if rows else None,
                "added": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "note": note,
            }
            self.copy(config, run / WEIGHTS, record)
        return name

    def copy(self, config, weights, record):
        """Put the files of a model and its record into a folder that then gets its name."""
        beside = self.models / f".adding-{record['id']}"
        shutil.rmtree(beside, ignore_errors=True)  # left by a kill
        beside.mkdir()
        try:
            shutil.copyfile(config, beside / CONFIG)
            shutil.copyfile(weights, beside / WEIGHTS)
            for file, digest in record["sha256"].items():
                check_checksum(beside / file, digest)  # nobody wrote in the meantime
            write_whole(beside / RECORD, json.dumps(record, indent=1).encode())
            for file in (CONFIG, WEIGHTS):
                with open(beside / file, "rb+") as opened:
                    os.fsync(opened.fileno())
            os.replace(beside, self.models / record["id"])
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def records(self):
        """The records of all models, a list of dicts, the oldest first."""
        folders = [folder for folder in self.models.iterdir() if not folder.name.startswith(".")]
        found = [self.record(folder.name) for folder in folders]
        return sorted(found, key=lambda record: (record["added"], record["id"]))

    def record(self, name):
        """The record of a model, a dict. ValueError, with the ids that there are, for another."""
        path = self.models / name / RECORD
        if not name or not path.is_file():
            known = sorted(folder.name for folder in self.models.glob("[!.]*"))
            raise ValueError(
                f"the registry has no model {name!r}: it has {', '.join(known) or 'none'}"
            )
        return json.loads(path.read_text(encoding="utf-8"))

    def made_by(self, weights):
        """The record of a file of weights, by its checksum. ValueError where it is unknown."""
        digest = checksum(weights)
        for record in self.records():
            if record["sha256"][WEIGHTS] == digest:
                return record
        raise ValueError(
            f"no model of the registry has the weights of {weights} ({digest[:12]} ...)"
        )

    # ---- which is in use

    def stages(self):
        """For each stage the ids of its models, the present one last: a dict of lists."""
        try:
            return json.loads((self.folder / STAGES).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}

    def promote(self, name, stage=PRODUCTION):
        """Give a model a stage. It is checked first: ValueError where its files were changed."""
        self.check(name)
        with self.lock:
            stages = self.stages()
            history = stages.setdefault(stage, [])
            if not history or history[-1] != name:
                history.append(name)
            self.write_stages(stages)

    def roll_back(self, stage=PRODUCTION):
        """Give a stage back to the model that had it before, and return its id.

        ValueError where there was none.
        """
        with self.lock:
            stages = self.stages()
            history = stages.get(stage, [])
            if len(history) < 2:
                raise ValueError(f"no model was in {stage} before the present one")
            self.check(history[-2])
            history.pop()
            self.write_stages(stages)
        return history[-1]

    def write_stages(self, stages):
        write_whole(self.folder / STAGES, json.dumps(stages, indent=1).encode())

    def path(self, stage=PRODUCTION):
        """The folder of the model that has a stage now, checked. ValueError where none has it."""
        history = self.stages().get(stage)
        if not history:
            raise ValueError(f"no model is in {stage}: promote one first")
        self.check(history[-1])
        return self.models / history[-1]

    def check(self, name):
        """ValueError unless the files of a model are those that were added."""
        for file, digest in self.record(name)["sha256"].items():
            check_checksum(self.models / name / file, digest)

    def remove(self, name):
        """Delete a model that has no stage. ValueError for one that has or had one."""
        with self.lock:
            self.record(name)
            for stage, history in self.stages().items():
                if name in history:
                    raise ValueError(f"{name} is or was in {stage}: a way back may need it")
            trash = self.models / f".removing-{name}"
            with suppress(FileNotFoundError):
                shutil.rmtree(trash)
            os.replace(self.models / name, trash)
            shutil.rmtree(trash)
