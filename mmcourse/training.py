"""One training loop for every model of the course, on Hugging Face Accelerate.

Step ``s`` depends on three things only: the weights and moments after step ``s - 1``, the samples ``s * batch_size`` to
``(s + 1) * batch_size - 1``, and random numbers seeded with ``(seed, s)``. So a run that was killed and goes on from its last
checkpoint has the losses of a run that was never killed: bit for bit on a CPU with the same number of threads.
"""

import json
import math
import os
import signal
import tempfile
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import send_to_device
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

CHECKPOINT, LOG = "checkpoint.safetensors", "log.jsonl"
FREE = {"step", "log_every", "evaluate_every", "save_every", "workers"}  # may differ between a checkpoint and the run


@dataclass(frozen=True)
class TrainingConfig:
    """The settings of a run.

    The learning rate rises for ``warmup`` steps, then falls to 0. Gradients are scaled down to a norm of at most ``clip``.
    ``mixed_precision`` is ``"no"`` or ``"bf16"``. ``log_every``, ``evaluate_every`` and ``save_every`` are in steps; the
    last step is always logged, evaluated and saved, and 0 means only that one.
    """

    steps: int
    batch_size: int
    learning_rate: float
    warmup: int = 0
    weight_decay: float = 0.01
    clip: float = 1.0
    mixed_precision: str = "no"
    seed: int = 0
    log_every: int = 50
    evaluate_every: int = 0
    save_every: int = 500
    workers: int = 0

    def __post_init__(self):
        if min(self.steps, self.batch_size, self.learning_rate, self.clip) <= 0:
            raise ValueError(f"steps, batch_size, learning_rate and clip must be above 0, got {self}")
        if not 0 <= self.warmup < self.steps:
            raise ValueError(f"warmup must end before the run, got {self.warmup} of {self.steps} steps; take about 5 %")
        if self.mixed_precision not in ("no", "bf16"):
            raise ValueError(f"mixed_precision must be 'no' or 'bf16', got {self.mixed_precision!r}")


class TrainingStopped(KeyboardInterrupt):
    """Ctrl-C was pressed: the step was finished and a whole checkpoint written; the message says how to go on."""


def learning_rate_at(step, config):
    r"""Learning rate of step ``step`` (from 0): linear warm-up, then half a cosine (Loshchilov and Hutter 2017, equation 5).

    .. math:: \eta_s = \frac{\eta}{2} \left(1 + \cos \frac{\pi (s - w)}{S - w}\right) \quad \text{for } s \ge w
    """
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    return config.learning_rate / 2 * (1 + math.cos(math.pi * (step - config.warmup) / (config.steps - config.warmup)))


def parameter_groups(model, weight_decay):
    """Groups for the optimiser: the weights of linear and convolution layers decay; biases, norms and embeddings do not."""
    embeddings = {id(layer.weight) for layer in model.modules() if isinstance(layer, nn.Embedding)}
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)]
    decaying = {id(layer.weight) for layer in layers} - embeddings  # an embedding tied to the output layer is an embedding
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [{"params": [p for p in parameters if id(p) in decaying], "weight_decay": weight_decay},
            {"params": [p for p in parameters if id(p) not in decaying], "weight_decay": 0.0}]


def step_indices(length, config, first=0):
    """Yield the indices of each step from ``first`` on: in order if ``length`` is None, else shuffled anew for each epoch."""
    epoch, order = -1, None
    for step in range(first, config.steps):
        indices = range(step * config.batch_size, (step + 1) * config.batch_size)
        if length is None:
            yield list(indices)
            continue
        batch = []
        for epoch_here, offset in (divmod(index, length) for index in indices):
            if epoch_here != epoch:
                epoch, order = epoch_here, np.random.default_rng([config.seed, epoch_here]).permutation(length)
            batch.append(int(order[offset]))
        yield batch


def write_whole(path, data):
    """Write bytes to ``path`` whole or not at all: to a file beside it, through to the disk, then renamed over ``path``."""
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def load_checkpoint(folder):
    """Read ``(tensors, facts)`` of the checkpoint in ``folder``.

    Raises FileNotFoundError when there is none, ValueError when the file is cut off or of another kind.
    """
    path = Path(folder) / CHECKPOINT
    if not path.is_file():
        raise FileNotFoundError(f"expected a checkpoint at {path}, found none: check the folder, or start a fresh run")
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["facts"])  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"expected a whole training checkpoint, but {path} ({path.stat().st_size} bytes) is cut off or of "
                         f"another kind ({error}): restore it from a copy, or start a fresh run") from error


def read_log(folder):
    """The rows of ``log.jsonl``: dicts with ``step``, ``loss``, ``learning_rate``, ...; a row that was cut off is left out."""
    path = Path(folder) / LOG
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _save(folder, model, optimizer, pending, facts):
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in moments.items()}
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in (tensors | {"pending": pending}).items()}
    try:
        write_whole(folder / CHECKPOINT, save(tensors, {"facts": json.dumps(facts)}))
        if hasattr(model, "save_pretrained"):  # config.json and weights, so that from_pretrained(folder) works
            with tempfile.TemporaryDirectory(dir=folder) as export:
                model.save_pretrained(export)
                for file in Path(export).iterdir():
                    write_whole(folder / file.name, file.read_bytes())
    except (OSError, SafetensorError) as error:
        raise OSError(f"step {facts['step']} could not be saved in {folder} ({error}). The checkpoint saved before is whole: "
                      "make room on the disk, then start the same run again to go on from it") from error


def _restore(folder, model, optimizer, facts):
    tensors, saved = load_checkpoint(folder)
    weights = {name.removeprefix("model."): tensor for name, tensor in tensors.items() if name.startswith("model.")}
    there = saved | {f"the shape of {name}": list(tensor.shape) for name, tensor in weights.items()}
    here = facts | {f"the shape of {name}": list(tensor.shape) for name, tensor in model.state_dict().items()}
    for name in sorted((here.keys() | there.keys()) - FREE):
        if here.get(name) != there.get(name):
            raise ValueError(f"the checkpoint in {folder} is of another configuration: {name} is {str(there.get(name))[:80]} "
                             f"there and {str(here.get(name))[:80]} here. Use that, or another folder, or start a fresh run")
    model.load_state_dict(weights)
    state = {}
    for key, tensor in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    return saved["step"], tensors["pending"]


@contextmanager
def _hold_interrupt():
    """Yield a list to which the first Ctrl-C is added; the second one interrupts at once."""
    pressed = []
    previous = signal.signal(signal.SIGINT, lambda *now: signal.default_int_handler(*now) if pressed else pressed.append(now))
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, previous)


def _ignore_interrupt(worker):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the workers too, and the step still needs them


def train(model, dataset, loss, config, folder, *, collate=None, evaluate=None, resume=None):
    """Train ``model`` with AdamW (Loshchilov and Hutter 2019); return the log, a list of dicts.

    Args:
        model: the module to train, in place; it ends on the device of the run, in evaluation mode.
        dataset: ``dataset[i]`` depends on ``i`` alone. With ``len`` it is shuffled each epoch; without, it is endless.
        loss: ``loss(model, batch)`` returns a scalar tensor, the mean over the batch; its random numbers are PyTorch's.
        config: the ``TrainingConfig``.
        folder: gets ``checkpoint.safetensors``, ``log.jsonl``, events for TensorBoard, and what ``save_pretrained`` writes.
        collate: makes a batch of a list of samples; PyTorch's default if None.
        evaluate: ``evaluate(model)`` returns a dict of floats for the log; called in evaluation mode without gradients.
        resume: True goes on from the checkpoint, False starts fresh, None goes on if there is one.

    Raises TrainingStopped at Ctrl-C; FloatingPointError when the loss or its gradient is not finite; OSError when the folder
    cannot be written; FileNotFoundError or ValueError when the checkpoint to go on from is missing, cut off or of another
    configuration. The last checkpoint stays whole in each case.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    AcceleratorState._reset_state()  # else the precision of the first run in a process would hold for all later ones
    accelerator = Accelerator(mixed_precision=config.mixed_precision)
    optimizer = torch.optim.AdamW(parameter_groups(model, config.weight_decay), lr=config.learning_rate, fused=True)
    _, stepper = accelerator.prepare(model, optimizer)
    settings = {f"model.{name}": value for name, value in (getattr(model, "_hub_mixin_config", None) or {}).items()}
    facts = json.loads(json.dumps(asdict(config) | settings))  # as they come back from a file: lists, not tuples
    step, pending, rows = 0, torch.zeros(0, 2), []  # pending: loss and gradient norm of each step since the last row
    if resume or (resume is None and (folder / CHECKPOINT).exists()):
        step, pending = _restore(folder, model, optimizer, facts)
        rows = [row for row in read_log(folder) if row["step"] <= step]
    else:
        _save(folder, model, optimizer, pending, facts | {"step": 0})  # a full disk shows now, not in an hour
    write_whole(folder / LOG, "".join(json.dumps(row) + "\n" for row in rows).encode())
    pending = pending.to(accelerator.device)

    indices = step_indices(len(dataset) if hasattr(dataset, "__len__") else None, config, step)
    loader = DataLoader(dataset, batch_sampler=indices, collate_fn=collate, num_workers=config.workers,
                        worker_init_fn=_ignore_interrupt, pin_memory=accelerator.device.type == "cuda")
    bar = tqdm(total=config.steps, initial=step, unit="step", disable=None)
    board = SummaryWriter(folder, purge_step=step + 1)
    with _hold_interrupt() as pressed, bar, board, open(folder / LOG, "a") as log:
        model.train()
        clock, since = time.perf_counter(), step
        for batch in loader:
            torch.manual_seed(config.seed * 1_000_003 + step)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(step, config)
            with accelerator.autocast():
                value = loss(model, send_to_device(batch, accelerator.device))
            accelerator.backward(value)
            norm = accelerator.clip_grad_norm_(model.parameters(), config.clip)
            stepper.step()
            stepper.zero_grad()
            pending = torch.cat([pending, torch.stack([value.detach().float(), norm.float()])[None]])
            step += 1
            bar.update()

            logging, evaluating, saving = (step == config.steps or bool(every and step % every == 0) for every in
                                           (config.log_every, evaluate and config.evaluate_every, config.save_every))
            if not (logging or evaluating or saving or pressed):
                continue
            if not pending.isfinite().all():
                bad = int(pending.isfinite().all(1).int().argmin())
                raise FloatingPointError(
                    f"step {step - len(pending) + bad + 1}: expected a finite loss and gradient norm, got {pending[bad].tolist()}. "
                    f"The checkpoint in {folder} is from before it. Lower the learning rate, warm up longer, or look at the batch")
            if logging or evaluating:
                row = {"step": step, "learning_rate": learning_rate_at(step - 1, config)}
                row["loss"], row["gradient_norm"] = pending.mean(0).tolist()
                row["samples_per_second"] = (step - since) * config.batch_size / (time.perf_counter() - clock)
                if evaluating and evaluate:
                    with torch.no_grad():
                        row |= evaluate(model.eval())
                    model.train()
                pending, clock, since = pending[:0], time.perf_counter(), step
                rows.append(row)
                print(json.dumps(row), file=log, flush=True)
                for name, number in row.items():
                    board.add_scalar(name, number, step)
                bar.set_postfix(loss=row["loss"], samples_per_second=row["samples_per_second"])
            if saving or pressed:
                _save(folder, model, optimizer, pending, facts | {"step": step})
            if pressed and step < config.steps:
                raise TrainingStopped(f"stopped after step {step} of {config.steps}; {folder} holds a whole checkpoint: "
                                      "start the same run again to go on from it")
    model.eval()
    return rows
