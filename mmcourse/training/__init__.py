"""One training loop for every model of the course, in one process or, with Hugging Face Accelerate, in many.

Step ``s`` depends on three things only: the weights and moments after step ``s - 1``, samples ``s * batch_size`` to
``(s + 1) * batch_size - 1``, and random numbers seeded with ``(seed, s)``. So a run that was killed and goes on from
its last checkpoint has the losses of a run that was never killed: bit for bit on a CPU with as many threads.

A batch can be cut into pieces of neighbouring samples: one for each process of ``accelerate launch``, or, with
``accumulate``, several that a process computes one after another. Each piece counts by its share of the batch and the
gradients are added up, so the losses are those of the whole batch (to 1e-5: sums are rounded in another order). Two
things can differ: the random numbers of dropout, which are seeded with the number of the piece too (so two processes
equal ``accumulate=2`` in one), and layers that mix samples, such as batch normalisation.
"""

import json
import math
import os
import re
import signal
import tempfile
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import broadcast, broadcast_object_list, send_to_device
from numpy.random import default_rng
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

CHECKPOINT, LOG = "checkpoint.safetensors", "log.jsonl"
FREE = {
    "step",
    "accumulate",
    "log_every",
    "evaluate_every",
    "save_every",
    "workers",
}  # may differ from a checkpoint's
UNWRITTEN = (
    "could not write {} ({}). What was saved before is whole: make room on the disk, then start the same run "
    "again to go on"
)


@dataclass(frozen=True)
class TrainingConfig:
    """The settings of a run: the rate rises for ``warmup`` steps, then falls to 0; gradients are cut to norm ``clip``.

    ``batch_size`` counts the samples of a step in all processes together, which compute it in ``accumulate`` pieces
    each. At each of the steps ``restarts`` the rate starts again, from half of where it started before.
    ``mixed_precision`` is ``"no"`` or ``"bf16"``. ``log_every``, ``evaluate_every`` and ``save_every`` are in steps;
    the last step is always logged, evaluated and saved, and 0 means only that one. ``workers`` prepare samples, in
    each process.
    """

    steps: int
    batch_size: int
    learning_rate: float
    warmup: int = 0
    restarts: tuple[int, ...] = ()
    weight_decay: float = 0.01
    clip: float = 1.0
    accumulate: int = 1
    mixed_precision: str = "no"
    seed: int = 0
    log_every: int = 50
    evaluate_every: int = 0
    save_every: int = 500
    workers: int = 0

    def __post_init__(self):
        if min(self.steps, self.batch_size, self.learning_rate, self.clip, self.accumulate) <= 0:
            raise ValueError(
                f"steps, batch_size, learning_rate, clip and accumulate must be above 0, got {self}"
            )
        if not 0 <= self.warmup < min([*self.restarts, self.steps]):
            raise ValueError(
                f"warmup must end before the run, got {self.warmup} of {self.steps} steps; take about 5 %"
            )
        if list(self.restarts) != sorted({step for step in self.restarts if step < self.steps}):
            raise ValueError(
                f"restarts must rise and lie before step {self.steps}, got {self.restarts}"
            )
        if self.mixed_precision not in ("no", "bf16"):
            raise ValueError(
                f"mixed_precision must be 'no' or 'bf16', got {self.mixed_precision!r}"
            )


def learning_rate_at(step, config):
    r"""Learning rate of step ``step`` (from 0): linear warm-up, then cosines (Loshchilov and Hutter 2017, equation 5).

    .. math:: \eta_s = \frac{\eta}{2} \left(1 + \cos \frac{\pi (s - w)}{S - w}\right) \quad \text{for } s \ge w

    After a restart, :math:`w` is its step and :math:`S` that of the next one (or the end), and :math:`\eta` is halved.
    """
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    ends = [config.warmup, *config.restarts, config.steps]
    cycle = max(index for index, end in enumerate(ends) if end <= step)
    first, last = ends[cycle], ends[cycle + 1]
    return (
        config.learning_rate
        / 2 ** (cycle + 1)
        * (1 + math.cos(math.pi * (step - first) / (last - first)))
    )


def parameter_groups(model, weight_decay):
    """Groups for the optimiser: weights of linear and convolution layers decay; biases, norms and embeddings do not."""
    kinds = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    decaying = {id(layer.weight) for layer in model.modules() if isinstance(layer, kinds)}
    decaying -= {
        id(layer.weight) for layer in model.modules() if isinstance(layer, nn.Embedding)
    }  # even if tied
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if id(p) in decaying], "weight_decay": weight_decay},
        {"params": [p for p in parameters if id(p) not in decaying], "weight_decay": 0.0},
    ]


def step_indices(length, config, first=0):
    """Yield the indices of each step from ``first`` on: in order if ``length`` is None, else shuffled each epoch."""
    orders = {}
    for step in range(first, config.steps):
        batch = range(step * config.batch_size, (step + 1) * config.batch_size)
        if length:
            orders = {
                epoch: orders.get(epoch)
                or default_rng([config.seed, epoch]).permutation(length).tolist()
                for epoch in {i // length for i in batch}
            }
            batch = (orders[i // length][i % length] for i in batch)
        yield list(batch)


def cut(batch, pieces):
    """Cut a list into ``pieces`` lists of neighbours, as equal in length as can be."""
    ends = [piece * len(batch) // pieces for piece in range(pieces + 1)]
    return [batch[first:last] for first, last in zip(ends, ends[1:], strict=False)]


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
    tensors = {"history": history} | {
        f"model.{name}": tensor for name, tensor in model.state_dict().items()
    }
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": tensor for name, tensor in moments.items()}
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    write_whole(folder / CHECKPOINT, save(tensors, {"facts": json.dumps(facts)}))
    if hasattr(
        model, "save_pretrained"
    ):  # config.json and weights, so that from_pretrained(folder) works
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
        raise FileNotFoundError(
            f"expected a checkpoint at {path}, found none: check the folder, or start a fresh run"
        )
    try:
        with safe_open(path, "pt") as file:
            saved = json.loads(file.metadata()["facts"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError, TypeError) as error:
        raise ValueError(
            f"expected a whole checkpoint, but {path} ({path.stat().st_size} bytes) is cut off or of "
            f"another kind ({error}): restore it from a copy, or start a fresh run"
        ) from error
    for name in sorted((facts.keys() | saved.keys()) - FREE):
        if (there := saved.get(name)) != (here := facts.get(name)):
            raise ValueError(
                f"the checkpoint in {folder} is of another configuration: {name} is {there!s:.80} there "
                f"and {here!s:.80} here. Use the same, or another folder, or start a fresh run"
            )
    state = {}
    for key, tensor in tensors.items():
        if key.startswith("optimizer."):
            _, index, name = key.split(".")
            state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    model.load_state_dict({name: tensors[f"model.{name}"] for name in model.state_dict()})
    return saved["step"], tensors["history"]


def _add_up(loss, pressed, parameters, accelerator):
    """Add up the loss and, in place, the gradients of all processes; also return whether Ctrl-C came in any of them.

    It is one message. A gradient that no process has stays None, so that the optimiser leaves its parameter alone.
    """
    if accelerator.num_processes == 1:
        return loss, bool(pressed)
    some = [len(pressed), *(parameter.grad is not None for parameter in parameters)]
    flat = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters]
    message = accelerator.reduce(torch.cat([loss[None], loss.new_tensor(some), *flat]), "sum")
    loss, some, *flat = message.split([1, len(some), *map(len, flat)])
    pressed, *used = some.tolist()
    for parameter, has, gradient in zip(parameters, used, flat, strict=True):
        parameter.grad = gradient.view_as(parameter) if has else None
    return loss[0], pressed > 0


@contextmanager
def memory_advice(config):
    """Turn what Python and PyTorch raise when the device has too little memory into a MemoryError with advice."""
    try:
        yield
    except (
        MemoryError,
        RuntimeError,
    ) as error:  # CUDA's is a RuntimeError, and so is PyTorch's for a CPU
        if isinstance(error, RuntimeError) and not re.search(
            "out of memory|allocate memory", str(error)
        ):
            raise
        raise MemoryError(
            f"out of memory with batch_size {config.batch_size} and accumulate {config.accumulate}: take "
            f"a smaller batch_size, or accumulate={2 * config.accumulate}, which has the same losses and "
            f"needs about half ({error!r})"
        ) from error


def _ignore_interrupt(worker):
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C reaches the workers too, and the step still needs them


def train(
    model, dataset, loss, config, folder, *, collate=None, count=None, evaluate=None, resume=None
):
    """Train ``model`` in place with AdamW (Loshchilov and Hutter 2019); return the log, a list of dicts.

    Args:
        model: the module; it ends on the device of the run, in evaluation mode. Process 0 gives the first weights.
        dataset: ``dataset[i]`` depends on ``i`` alone. With ``len`` it is shuffled each epoch; without, it is endless.
        loss: ``loss(model, batch)`` is a tensor, the mean over the batch; its random numbers are PyTorch's. Several
            terms, each a mean over something else, are a vector, and training takes their sum.
        folder: gets the checkpoint, ``log.jsonl``, TensorBoard's events, and what ``model.save_pretrained`` writes, all
            by process 0. Every process reads it, so several machines need it on a disk that they share.
        collate: makes a batch of a list of samples; PyTorch's default if None.
        count: ``count(batch)`` is over how many things ``loss`` is a mean, a number for each term; the samples if None.
            Without it, a mean over words weighs the words of a piece of a batch by its samples.
        evaluate: ``evaluate(model)`` is a dict of floats for the log, called in evaluation mode without gradients, by
            process 0 while the others wait.
        resume: True goes on from the checkpoint, False starts fresh, None goes on if there is one. The number of
            processes may be another one than before.

    Raises KeyboardInterrupt after the step in which Ctrl-C came; FloatingPointError when a loss or gradient is infinite
    or NaN; MemoryError when the device has too little; OSError when the folder cannot be written; FileNotFoundError or
    ValueError when the checkpoint to go on from is missing, cut off or of another configuration. In each case the last
    checkpoint stays whole.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    AcceleratorState._reset_state()  # else the precision of the first run in a process would hold for all later ones
    accelerator = Accelerator(
        mixed_precision=config.mixed_precision, cpu=not torch.accelerator.is_available()
    )
    main, device = accelerator.is_main_process, accelerator.device
    pieces = accelerator.num_processes * config.accumulate
    if config.batch_size < pieces:
        raise ValueError(
            f"batch_size must be at least {pieces}, a sample for each of {accelerator.num_processes} "
            f"processes times accumulate {config.accumulate}, got {config.batch_size}"
        )
    broadcast(model.to(device).state_dict())
    optimizer = torch.optim.AdamW(
        parameter_groups(model, config.weight_decay), lr=config.learning_rate, fused=True
    )
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    settings = {
        f"model.{name}": value
        for name, value in (getattr(model, "_hub_mixin_config", None) or {}).items()
    }
    shapes = {
        f"the shape of {name}": list(tensor.shape) for name, tensor in model.state_dict().items()
    }
    facts = json.loads(
        json.dumps(asdict(config) | settings | shapes)
    )  # as they come back from a file: no tuples
    step, rows, history = (
        0,
        [],
        torch.zeros(config.steps, 2),
    )  # history: loss and norm of the gradient at each step
    going_on = resume or (resume is None and (folder / CHECKPOINT).exists())
    if going_on:
        step, history = _restore(folder, model, optimizer, facts)
        rows = [row for row in read_log(folder) if row["step"] <= step]
    begins = accelerator.gather(torch.tensor([step], device=device)).tolist()
    if len(set(begins)) > 1:
        raise ValueError(
            f"the processes begin after steps {begins}: {folder} must be on a disk that all of them share"
        )
    if main and not going_on:
        _save(
            folder, model, optimizer, history, facts | {"step": 0}
        )  # a full disk shows now, not in an hour
    history = history.to(device)

    mine = range(
        accelerator.process_index * config.accumulate,
        (accelerator.process_index + 1) * config.accumulate,
    )
    steps = step_indices(len(dataset) if hasattr(dataset, "__len__") else None, config, step)
    indices = (parts[piece] for parts in (cut(batch, pieces) for batch in steps) for piece in mine)
    loader = iter(
        DataLoader(
            dataset,
            batch_sampler=indices,
            collate_fn=collate,
            num_workers=config.workers,
            worker_init_fn=_ignore_interrupt,
            pin_memory=device.type == "cuda",
        )
    )
    parts = cut(range(config.batch_size), pieces)
    samples = torch.tensor(
        [[len(parts[piece]) / config.batch_size] for piece in mine], device=device
    )
    size, pressed = config.batch_size, []
    bar = tqdm(
        total=config.steps * size,
        initial=step * size,
        unit=" samples",
        unit_scale=True,
        disable=None if main else True,
    )
    board = SummaryWriter(folder, purge_step=step + 1) if main else nullcontext()
    with bar, board, memory_advice(config), ExitStack() as end:
        end.callback(signal.signal, signal.SIGINT, signal.getsignal(signal.SIGINT))
        signal.signal(
            signal.SIGINT,
            lambda *_: signal.default_int_handler(*_) if pressed else pressed.append(True),
        )
        while step < config.steps:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(step, config)
            batches = [send_to_device(next(loader), device) for _ in mine]
            shares = samples  # of each piece in the whole batch: (pieces, terms)
            if count:
                counts = torch.stack(
                    [torch.as_tensor(count(batch), device=device).flatten() for batch in batches]
                )
                shares = counts / accelerator.reduce(counts.sum(0), "sum")
            value = torch.zeros((), device=device)
            model.train()
            for piece, batch, share in zip(mine, batches, shares, strict=True):
                torch.manual_seed(config.seed * 1_000_003 + piece * 15_485_863 + step)
                with accelerator.autocast():
                    part = (loss(model, batch) * share).sum()
                part.backward()
                value += part.detach()
            value, stopping = _add_up(value, pressed, parameters, accelerator)
            norm = nn.utils.clip_grad_norm_(parameters, config.clip)
            optimizer.step()
            optimizer.zero_grad()
            history[step, 0], history[step, 1] = value, norm
            step += 1
            bar.update(size)

            logging, evaluating, saving = (
                step == config.steps or (every > 0 and step % every == 0)
                for every in (config.log_every, config.evaluate_every, config.save_every)
            )
            if not (logging or evaluating or saving or stopping):
                continue
            bad = (~history.isfinite()).any(1).nonzero().flatten().tolist()
            if bad:
                raise FloatingPointError(
                    f"step {bad[0] + 1}: loss and gradient norm are {history[bad[0]].tolist()}. The checkpoint in "
                    f"{folder} is from before: lower the learning rate, warm up longer, or look at that step's batch"
                )
            if logging or evaluating:
                row = {"step": step, "learning_rate": learning_rate_at(step - 1, config)}
                row["loss"], row["gradient_norm"] = (
                    history[rows[-1]["step"] if rows else 0 : step].mean(0).tolist()
                )
                rows.append(row)
                if main:
                    if evaluating and evaluate:
                        with torch.no_grad():
                            row |= evaluate(model.eval())
                    write_whole(
                        folder / LOG, "".join(json.dumps(row) + "\n" for row in rows).encode()
                    )
                    for name, number in row.items():
                        board.add_scalar(name, number, step)
                    bar.set_postfix(loss=row["loss"])
            if main and (saving or stopping):
                _save(folder, model, optimizer, history, facts | {"step": step})
            if stopping and step < config.steps:
                raise KeyboardInterrupt(
                    f"stopped after step {step} of {config.steps}; the checkpoint in {folder} is "
                    "whole: start the same run again to go on"
                )
    model.eval()
    return broadcast_object_list([rows])[0]  # those of process 0, when its files are there
