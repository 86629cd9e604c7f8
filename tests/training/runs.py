"""Small runs that the tests of training share: models, samples, losses, and how to start one.

Runs that must survive something bad are processes of their own: ``python runs.py FOLDER {json}``.
"""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import PyTorchModelHubMixin
from safetensors import safe_open
from torch import nn

import mmcourse
from mmcourse.captioning import SceneCaptioner
from mmcourse.data import Practice
from mmcourse.data.language import vocabulary
from mmcourse.training import CHECKPOINT, TrainingConfig, checkpoint, loop, read_log, train
from mmcourse.training import folder as folder_module
from mmcourse.training import run as run_module

POSIX = pytest.mark.skipif(os.name != "posix", reason="Windows has other signals and no fork")

# ---- models, samples and losses


class Tiny(nn.Module, PyTorchModelHubMixin):
    """A regression with dropout, an embedding and a norm."""

    def __init__(self, width=6, dropout=0.3, names=("a", "b")):
        super().__init__()
        self.embedding = nn.Embedding(11, width)
        self.layers = nn.Sequential(
            nn.Linear(width, width), nn.LayerNorm(width), nn.Dropout(dropout), nn.Linear(width, 1)
        )

    def forward(self, x):
        return self.layers(self.embedding(x)).squeeze(-1)


def tiny(seed=0, **options):
    torch.manual_seed(seed)
    return Tiny(**options)


class Endless:
    def __getitem__(self, index):
        return index % 11, float(index * index % 5)


class Broken(Endless):
    """Fails from one index on, as a run would that is cut off there."""

    def __init__(self, last):
        self.last = last

    def __getitem__(self, index):
        if index >= self.last:
            raise RuntimeError("cut off")
        return super().__getitem__(index)


class Slow(Endless):
    """Takes so many seconds for a sample."""

    def __init__(self, pause):
        self.pause = pause

    def __getitem__(self, index):
        time.sleep(self.pause)
        return super().__getitem__(index)


def loss(model, batch):
    x, y = batch
    return ((model(x) - y.float()) ** 2).mean()


def explode_at(step, value=math.nan):
    """The loss, times ``value`` at one of the steps."""
    count = [0]

    def objective(model, batch):
        count[0] += 1
        return loss(model, batch) * (value if count[0] == step else 1)

    return objective


class Sentences:
    """Sentences of unequal length, filled up with 0: a mean over words is none over sentences."""

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        x = torch.zeros(7, dtype=torch.long)
        length = rng.integers(1, 8)
        x[:length] = torch.tensor(rng.integers(1, 9, length))
        return x, x.flip(0).sort(descending=True).values


def reader(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Embedding(9, 6), nn.Linear(6, 9))


def next_word(model, batch):
    x, y = batch
    return nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten(), ignore_index=0)


def two_terms(model, batch):
    x, _ = batch
    return torch.stack([next_word(model, batch), model(x).square().mean()])


def words(batch):
    return (batch[1] != 0).sum()


def words_and_numbers(batch):
    return torch.stack([words(batch), torch.tensor(batch[0].numel())])


class Branched(Tiny):
    """``extra`` serves some samples, ``never`` none: processes differ in what has gradients."""

    def __init__(self):
        super().__init__(dropout=0.0)
        self.extra = nn.Linear(6, 6)
        self.never = nn.Linear(6, 6)

    def forward(self, x):
        seen = self.embedding(x)
        if (x == 3).any():
            seen = seen + self.extra(seen) * (x == 3)[:, None]
        return self.layers(seen).squeeze(-1)


def branched():
    torch.manual_seed(0)
    return Branched()


def captioner():
    torch.manual_seed(0)
    return SceneCaptioner(
        vocabulary(), width=8, heads=2, decoder_layers=1, channels=[8, 8, 8], blocks=[0, 0, 0]
    )


# ---- runs


def run(
    folder,
    model=None,
    dataset=None,
    resume=None,
    evaluate=None,
    objective=loss,
    collate=None,
    count=None,
    **changes,
):
    """Train in ``folder``, for twelve steps if not told otherwise; ``changes`` are settings."""
    settings = {
        "steps": 12,
        "batch_size": 4,
        "learning_rate": 0.02,
        "warmup": 2,
        "log_every": 1,
        "save_every": 5,
    }
    return train(
        model or tiny(),
        dataset or Endless(),
        objective,
        TrainingConfig(**settings | changes),
        folder,
        resume=resume,
        evaluate=evaluate,
        collate=collate,
        count=count,
    )


def train_captioner(folder, **changes):
    model = captioner()
    settings = {"steps": 3, "batch_size": 6, "learning_rate": 1e-3}
    return run(
        folder,
        model,
        Practice(),
        objective=SceneCaptioner.terms,
        collate=model.collate,
        count=model.counts,
        **settings | changes,
    )


def losses(folder):
    return [(row["step"], row["loss"], row["gradient_norm"]) for row in read_log(folder)]


def near(first, second):
    """Two runs have the same losses, but for rounding."""
    assert losses(first) == [pytest.approx(row, rel=1e-5) for row in losses(second)]


def saved_step(folder):
    with safe_open(Path(folder) / CHECKPOINT, "pt") as file:
        return json.loads(file.metadata()["facts"])["step"]


# ---- runs in a process of their own

LAUNCH = (
    "-m",
    "accelerate.commands.launch",
    *("--multi_gpu", "--num_processes", "2", "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"),
)


def start(folder, *launch, **changes):
    """Train in a subprocess; ``changes`` are settings, and of ``main`` below."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(mmcourse.__file__).parents[1]),
        "CUDA_VISIBLE_DEVICES": "",
    }
    return subprocess.Popen(
        [sys.executable, *launch, __file__, str(folder), json.dumps(changes)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_rows(folder, count):
    for _ in range(2400):
        if len(read_log(folder)) >= count:
            return
        time.sleep(0.05)
    raise AssertionError("the run did not start")


def main(folder, kills=(), limit=0, pause=0.0, jobs=False, **changes):
    """Train in ``folder``, or do the ``jobs``.

    With ``kills``, children train, in a folder for each list of numbers. A child dies by SIGKILL at
    the event that its number names, and the next one goes on; the last one lives.
    """
    torch.set_num_threads(1)
    if limit:
        import resource  # which Windows has not

        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if jobs:
        return do_jobs(Path(folder))
    if not kills:
        return run(folder, dataset=Slow(pause), **changes)
    run(Path(folder) / "warm", steps=3)  # so that the children find everything imported
    for number, events in enumerate(kills):
        for event in [*events, 10**9]:
            if not os.fork():
                die_at(event)
                run(Path(folder) / str(number), **changes)
                os._exit(0)
            ended = os.wait()[1]
            assert ended == 0 if event == 10**9 else os.WTERMSIG(ended) == signal.SIGKILL


def die_at(event):
    """Make this process kill itself at the event of this number.

    Events: a step begins, a file is half written, it reaches the disk, it gets its name.
    """
    count = [0]

    def counted(real, half=False):
        def call(*arguments, **options):
            count[0] += 1
            if count[0] == event:
                if half:
                    path, data = arguments
                    path.with_name(path.name + ".part").write_bytes(data[: len(data) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        return call

    checkpoint.write_whole = counted(folder_module.write_whole, half=True)
    folder_module.write_whole = checkpoint.write_whole
    os.fsync = counted(os.fsync)
    os.replace = counted(os.replace)
    loop.seed_random_numbers = counted(loop.seed_random_numbers)


def do_jobs(folder):
    """What both processes of the launch do; each writes what it saw."""
    rank = int(os.environ["RANK"])
    rows = {
        "plain": run(
            folder / "plain",
            tiny(dropout=0, seed=7 * rank),
            batch_size=5,
            evaluate=lambda model: {"rank": rank},
        ),
        "words": run(
            folder / "words",
            reader(),
            Sentences(),
            objective=two_terms,
            count=words_and_numbers,
            batch_size=5,
            clip=0.3,
        ),
        "dropout": run(folder / "dropout", batch_size=6),
        "shuffled": run(
            folder / "shuffled",
            tiny(dropout=0),
            [(x % 11, float(x)) for x in range(9)],
            workers=1,
        ),
        "branches": run(folder / "branches", branched()),
        "onward": run(folder / "onward", tiny(seed=5 + rank), Broken(10**9), save_every=4),
    }
    train_captioner(folder / "captioner")
    messages = []
    apart = folder / ("apart" if rank else "plain")
    for place, model, options in (
        (folder / "cut", tiny(), {"objective": explode_at(8)}),
        (apart, tiny(dropout=0), {"batch_size": 5}),
    ):
        try:
            run(place, model, **options)
        except (FloatingPointError, ValueError) as error:
            messages.append(f"{type(error).__name__} {error}")
    run_module.SAVE_SECONDS = 0 if rank else math.inf  # what one process wishes, both do
    with pytest.raises(FloatingPointError):
        run(folder / "hurry", objective=explode_at(8), save_every=0, log_every=0)
    facts = [rows, messages, os.environ.get("WORLD_SIZE")]
    (folder / f"rank-{rank}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(sys.argv[1], **json.loads(sys.argv[2]))
