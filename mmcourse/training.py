"""One training loop for every model of the course, on Hugging Face Accelerate.

Step ``s`` depends on three things only: the weights and moments after step ``s - 1``, samples ``s * batch_size`` to
``(s + 1) * batch_size - 1``, and random numbers seeded with ``(seed, s)``. So a run that was killed and goes on from
its last checkpoint has the losses of a run that was never killed: bit for bit on a CPU with as many threads.
"""

import json
import math
import os
import signal
import tempfile
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import send_to_device
from numpy.random import default_rng
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

CHECKPOINT, LOG = "checkpoint.safetensors", "log.jsonl"
FREE = {"step", "log_every", "evaluate_every", "save_every", "workers"}  # may differ between a checkpoint and the run
UNWRITTEN = ("could not write {} ({}). What was saved before is whole: make room on the disk, then start the same run "
             "again to go on")


@dataclass(frozen=True)
class TrainingConfig:
    """The settings of a run: the rate rises for ``warmup`` steps, then falls to 0; gradients are cut to norm ``clip``.

    ``mixed_precision`` is ``"no"`` or ``"bf16"``. ``log_every``, ``evaluate_every`` and ``save_every`` are in steps;
    the last step is always logged, evaluated and saved, and 0 means only that one.
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


def learning_rate_at(step, config):
    r"""Learning rate of step ``step`` (from 0): linear warm-up, then a cosine (Loshchilov and Hutter 2017, equation 5).

    .. math:: \eta_s = \frac{\eta}{2} \left(1 + \cos \frac{\pi (s - w)}{S - w}\right) \quad \text{for } s \ge w
    """
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    return config.learning_rate / 2 * (1 + math.cos(math.pi * (step - config.warmup) / (config.steps - config.warmup)))


def parameter_groups(model, weight_decay):
    """Groups for the optimiser: weights of linear and convolution layers decay; biases, norms and embeddings do not."""
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    decaying = {id(layer.weight) for layer in model.modules() if isinstance(layer, kinds)}
    decaying -= {id(layer.weight) for layer in model.modules() if isinstance(layer, nn.Embedding)}  # even if tied
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [{"params": [p for p in parameters if id(p) in decaying], "weight_decay": weight_decay},
            {"params": [p for p in parameters if id(p) not in decaying], "weight_decay": 0.0}]


def step_indices(length, config, first=0):
    """Yield the indices of each step from ``first`` on: in order if ``length`` is None, else shuffled each epoch."""
    orders = {}
    for step in range(first, config.steps):
        batch = range(step * config.batch_size, (step + 1) * config.batch_size)
        if length:
            orders = {epoch: orders.get(epoch) or default_rng([config.seed, epoch]).permutation(length).tolist()
                      for epoch in {i // length for i in batch}}
            batch = (orders[i // length][i % length] for i in batch)
        yield list(batch)


def write_whole(path, data):
    """Write bytes to ``path`` whole or not at all: to a file beside it, through to the disk, then renamed."""
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OSError(UNWRITTEN.format(path, error.strerror)) from error


def read_log(folder):
    """Rows of ``log.jsonl``: dicts of ``step``, ``loss``, ``gradient_norm``, ``learning_rate`` and the evaluation."""
    path = Path(folder) / LOG
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def _save(folder, model, optimizer, history, facts):
    tensors = {"history": history} | {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in moments.items()}
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    write_whole(folder / CHECKPOINT, save(tensors, {"facts": json.dumps(facts)}))
    if hasattr(model, "save_pretrained"):  # config.json and weights, so that from_pretrained(folder) works
        with tempfile.TemporaryDirectory() as export:
            try:
                model.save_pretrained(export)
            except (OSError, SafetensorError) as error:
                raise OSError(UNWRITTEN.format(export, error)) from error
            for file in Path(export).iterdir():
                write_whole(folder / file.name, file.read_bytes())


def _restore(folder, model, optimizer, facts):
    path = folder / CHECKPOINT
    if not path.is_file():
        raise FileNotFoundError(f"expected a checkpoint at {path}, found none: check the folder, or start a fresh run")
    try:
        with safe_open(path, "pt") as file:
            saved = json.loads(file.metadata()["facts"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(f"expected a whole checkpoint, but {path} ({path.stat().st_size} bytes) is cut off or of "
                         f"another kind ({error}): restore it from a copy, or start a fresh run") from error
    for name in sorted((facts.keys() | saved.keys()) - FREE):
        there, here = str(saved.get(name))[:80], str(facts.get(name))[:80]
        if saved.get(name) != facts.get(name):
            raise ValueError(f"the checkpoint in {folder} is of another configuration: {name} is {there} there and "
                             f"{here} here. Use the same, or another folder, or start a fresh run")
    state = {}
    for key, tensor in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    model.load_state_dict({name: tensors[f"model.{name}"] for name in model.state_dict()})
    return saved["step"], tensors["history"]


def _ignore_interrupt(worker):
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the workers too, and the step still needs them


def train(model, dataset, loss, config, folder, *, collate=None, evaluate=None, resume=None):
    """Train ``model`` in place with AdamW (Loshchilov and Hutter 2019); return the log, a list of dicts.

    Args:
        model: the module; it ends on the device of the run, in evaluation mode.
        dataset: ``dataset[i]`` depends on ``i`` alone. With ``len`` it is shuffled each epoch; without, it is endless.
        loss: ``loss(model, batch)`` is a scalar tensor, the mean over the batch; its random numbers are PyTorch's.
        folder: gets the checkpoint, ``log.jsonl``, TensorBoard's events, and what ``model.save_pretrained`` writes.
        collate: makes a batch of a list of samples; PyTorch's default if None.
        evaluate: ``evaluate(model)`` is a dict of floats for the log, called in evaluation mode without gradients.
        resume: True goes on from the checkpoint, False starts fresh, None goes on if there is one.

    Raises KeyboardInterrupt after the step in which Ctrl-C came; FloatingPointError when a loss or gradient is infinite
    or NaN; OSError when the folder cannot be written; FileNotFoundError or ValueError when the checkpoint to go on from
    is missing, cut off or of another configuration. In each case the last checkpoint stays whole.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    AcceleratorState._reset_state()  # else the precision of the first run in a process would hold for all later ones
    accelerator = Accelerator(mixed_precision=config.mixed_precision)
    if accelerator.num_processes > 1:
        raise ValueError(f"expected one process, got {accelerator.num_processes}: start without `accelerate launch`")
    optimizer = torch.optim.AdamW(parameter_groups(model, config.weight_decay), lr=config.learning_rate, fused=True)
    _, optimizer = accelerator.prepare(model, optimizer)
    settings = {f"model.{name}": value for name, value in (getattr(model, "_hub_mixin_config", None) or {}).items()}
    shapes = {f"the shape of {name}": list(tensor.shape) for name, tensor in model.state_dict().items()}
    facts = json.loads(json.dumps(asdict(config) | settings | shapes))  # as they come back from a file: no tuples
    step, rows, history = 0, [], torch.zeros(config.steps, 2)  # history: loss and norm of the gradient at each step
    if resume or (resume is None and (folder / CHECKPOINT).exists()):
        step, history = _restore(folder, model, optimizer, facts)
        rows = [row for row in read_log(folder) if row["step"] <= step]
    else:
        _save(folder, model, optimizer, history, facts | {"step": 0})  # a full disk shows now, not in an hour
    history = history.to(accelerator.device)

    indices = step_indices(len(dataset) if hasattr(dataset, "__len__") else None, config, step)
    loader = DataLoader(dataset, batch_sampler=indices, collate_fn=collate, num_workers=config.workers,
                        worker_init_fn=_ignore_interrupt, pin_memory=accelerator.device.type == "cuda")
    size, pressed = config.batch_size, []
    bar = tqdm(total=config.steps * size, initial=step * size, unit=" samples", unit_scale=True, disable=None)
    board = SummaryWriter(folder, purge_step=step + 1)
    with bar, board, ExitStack() as end:
        end.callback(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT))
        signal.signal(signal.SIGINT, lambda *_: signal.default_int_handler(*_) if pressed else pressed.append(True))
        for batch in loader:
            torch.manual_seed(config.seed * 1_000_003 + step)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(step, config)
            with accelerator.autocast():
                value = loss(model.train(), send_to_device(batch, accelerator.device))
            accelerator.backward(value)
            norm = accelerator.clip_grad_norm_(model.parameters(), config.clip)
            optimizer.step()
            optimizer.zero_grad()
            history[step, 0], history[step, 1] = value.detach(), norm
            step += 1
            bar.update(size)

            logging, evaluating, saving = (step == config.steps or (every > 0 and step % every == 0) for every in
                                           (config.log_every, config.evaluate_every, config.save_every))
            if not (logging or evaluating or saving or pressed):
                continue
            bad = (~history.isfinite()).any(1).nonzero().flatten().tolist()
            if bad:
                raise FloatingPointError(
                    f"step {bad[0] + 1}: loss and gradient norm are {history[bad[0]].tolist()}. The checkpoint in "
                    f"{folder} is from before: lower the learning rate, warm up longer, or look at that step's batch")
            if logging or evaluating:
                row = {"step": step, "learning_rate": learning_rate_at(step - 1, config)}
                row["loss"], row["gradient_norm"] = history[rows[-1]["step"] if rows else 0:step].mean(0).tolist()
                if evaluating and evaluate:
                    with torch.no_grad():
                        row |= evaluate(model.eval())
                rows.append(row)
                write_whole(folder / LOG, "".join(json.dumps(row) + "\n" for row in rows).encode())
                for name, number in row.items():
                    board.add_scalar(name, number, step)
                bar.set_postfix(loss=row["loss"])
            if saving or pressed:
                _save(folder, model, optimizer, history, facts | {"step": step})
            if pressed and step < config.steps:
                raise KeyboardInterrupt(f"stopped after step {step} of {config.steps}; the checkpoint in {folder} is "
                                        "whole: start the same run again to go on")
    model.eval()
    return rows
