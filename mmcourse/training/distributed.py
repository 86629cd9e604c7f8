"""One batch in several pieces: who computes which, what each counts, how gradients are added up.

The loss of a batch is a mean. In pieces it is the sum of their means, each times the share of the
batch that the piece has. A process computes ``accumulate`` pieces one after another; several
processes compute theirs at the same time.
"""

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import send_to_device
from torch.utils.data import DataLoader

from mmcourse.training.interruptions import ignore_interrupts
from mmcourse.training.schedule import step_indices


def start_accelerator(mixed_precision):
    """The device and precision of this process, and its connection to any others."""
    AcceleratorState._reset_state()  # else the precision of the first run holds for all later ones
    return Accelerator(mixed_precision=mixed_precision, cpu=not torch.accelerator.is_available())


def cut(batch, pieces):
    """Cut a list into ``pieces`` lists of neighbours, as equal in length as can be."""
    ends = [piece * len(batch) // pieces for piece in range(pieces + 1)]
    return [batch[first:last] for first, last in zip(ends, ends[1:], strict=False)]


class Pieces:
    """The pieces of the batches of a run; ``own`` are the numbers of those that this process has.

    ``dataset``, ``collate`` and ``count`` are those of :func:`~mmcourse.training.train`. ValueError
    if there are no samples, or more pieces of a batch than samples in it.
    """

    def __init__(self, dataset, config, accelerator, collate=None, count=None):
        processes = accelerator.num_processes
        first = accelerator.process_index * config.accumulate
        self.dataset = dataset
        self.config = config
        self.accelerator = accelerator
        self.collate = collate
        self.count = count
        self.length = len(dataset) if hasattr(dataset, "__len__") else None
        self.total = processes * config.accumulate
        self.own = range(first, first + config.accumulate)
        if self.length == 0:
            raise ValueError("the dataset has no samples: check its folder and its split")
        if config.batch_size < self.total:
            raise ValueError(
                f"batch_size must be at least {self.total}, a sample for each of {processes} "
                f"processes times accumulate {config.accumulate}, got {config.batch_size}"
            )
        sizes = [len(part) for part in cut(range(config.batch_size), self.total)]
        shares = [[sizes[piece] / config.batch_size] for piece in self.own]
        self.sample_shares = torch.tensor(shares, device=accelerator.device)  # (own, 1)

    def of_steps(self, first=0):
        """Yield, for each step from ``first`` on, the pieces that this process computes.

        A piece is its number, its samples on the device, and its share of the batch, a number for
        each term of the loss.
        """
        loader = iter(self.loader(first))
        for _ in range(first, self.config.steps):
            batches = [send_to_device(next(loader), self.accelerator.device) for _ in self.own]
            shares = self.counted_shares(batches) if self.count else self.sample_shares
            yield zip(self.own, batches, shares, strict=True)

    def loader(self, first):
        """The DataLoader of the pieces that this process computes, from step ``first`` on."""

        def indices():
            for batch in step_indices(self.length, self.config, first):
                parts = cut(batch, self.total)
                for piece in self.own:
                    yield parts[piece]

        return DataLoader(
            self.dataset,
            batch_sampler=indices(),
            collate_fn=self.collate,
            num_workers=self.config.workers,
            worker_init_fn=ignore_interrupts,
            pin_memory=self.accelerator.device.type == "cuda",
        )

    def counted_shares(self, batches):
        """The shares of pieces in the whole batch by what ``count`` counts: (own, terms)."""
        device = self.accelerator.device
        counts = [torch.as_tensor(self.count(batch), device=device).flatten() for batch in batches]
        counts = torch.stack(counts)  # (own, terms)
        return counts / self.accelerator.reduce(counts.sum(0), "sum")


def add_up(loss, wishes, parameters, accelerator):
    """Add up the loss and, in place, the gradients of all processes.

    ``wishes`` is a list of booleans; each comes back True if any of the processes has it so. All
    is one message. A gradient that no process has stays None, so that the optimiser leaves its
    parameter alone.
    """
    if accelerator.num_processes == 1:
        return loss, wishes
    is_used = []
    gradients = []
    for parameter in parameters:
        gradient = parameter.grad
        is_used.append(gradient is not None)
        if gradient is None:
            gradient = torch.zeros_like(parameter)
        gradients.append(gradient.flatten())
    flags = loss.new_tensor(wishes + is_used)
    lengths = [1, len(wishes), len(is_used), *map(len, gradients)]
    message = accelerator.reduce(torch.cat([loss[None], flags, *gradients]), "sum")
    loss, wishes, is_used, *gradients = message.split(lengths)
    for parameter, used, gradient in zip(parameters, is_used.tolist(), gradients, strict=True):
        parameter.grad = gradient.view_as(parameter) if used > 0 else None
    return loss[0], (wishes > 0).tolist()
