"""The loop: a step is a batch, its gradient, and AdamW's update. Everything around it has a name.

What a run keeps and writes is in :mod:`mmcourse.training.run`.
"""

from pathlib import Path

import torch
from torch import nn

from mmcourse.training.distributed import Pieces, add_up, start_accelerator
from mmcourse.training.interruptions import Interrupt, memory_advice
from mmcourse.training.run import Run
from mmcourse.training.schedule import learning_rate_at


def train(
    model, dataset, loss, config, folder, *, collate=None, count=None, evaluate=None, resume=None
):
    """Train ``model`` in place with AdamW (Loshchilov and Hutter 2019); return the rows of the log.

    Args:
        model: the module; it ends on the device of the run, in evaluation mode. Process 0 gives the
            first weights.
        dataset: ``dataset[i]`` depends on ``i`` alone. With ``len`` it is shuffled each epoch;
            without, it is endless.
        loss: ``loss(model, batch)`` is a tensor, the mean over the batch; its random numbers are
            PyTorch's. Several terms, each a mean over something else, are a vector, and training
            takes their sum.
        folder: gets the checkpoint, ``log.jsonl``, TensorBoard's events, and what
            ``model.save_pretrained`` writes, all by process 0. Every process reads it, so several
            machines need it on a disk that they share.
        collate: makes a batch of a list of samples; PyTorch's default if None.
        count: ``count(batch)`` is over how many things ``loss`` is a mean, a number for each term;
            the samples if None. Without it, a mean over words weighs the words of a piece of a
            batch by its samples.
        evaluate: ``evaluate(model)`` is a dict of numbers for the log, called in evaluation mode
            without gradients, by process 0 while the others wait.
        resume: True goes on from the checkpoint, False starts fresh, None goes on if there is one.
            The number of processes may be another one than before.

    With ``config.keep_best`` the run ends with the model of its best evaluation, and with
    ``config.patience`` it ends early; :func:`~mmcourse.training.best_row` says which that was.

    A run saves every ``config.save_every`` steps and every 100 seconds; it may be started outside
    the main thread.

    Raises KeyboardInterrupt after the step in which Ctrl-C or SIGTERM came, which only the main
    thread hears; FloatingPointError when a loss or gradient is infinite or NaN; MemoryError when
    the device has too little; OSError when the folder cannot be written, and its kind
    BlockingIOError when another run is training there; FileNotFoundError or ValueError when the
    checkpoint to go on from is missing, damaged or of another configuration; ValueError when there
    are no samples, when ``config.json`` cannot hold what the model was made with, and when
    ``evaluate`` returns anything but numbers. In each case the last checkpoint stays whole.
    """
    accelerator = start_accelerator(config.mixed_precision)
    pieces = Pieces(dataset, config, accelerator, collate, count)
    run = Run(model, config, Path(folder), accelerator, evaluate)
    with memory_advice(config), run.open(resume) as first, Interrupt() as interrupt:
        for step, batch in enumerate(pieces.of_steps(first), first):
            if run.is_enough:
                break
            run.set_learning_rate(learning_rate_at(step, config))
            value = torch.zeros((), device=accelerator.device)
            for piece, samples, share in batch:
                seed_random_numbers(config.seed, step, piece, accelerator.device)
                with accelerator.autocast():
                    part = (loss(model, samples) * share).sum()
                part.backward()
                value += part.detach()
            wishes = [interrupt.asked, run.is_time_to_save()]
            value, wishes = add_up(value, wishes, run.parameters, accelerator)
            norm = nn.utils.clip_grad_norm_(run.parameters, config.clip)
            run.optimizer.step()
            run.optimizer.zero_grad()
            run.end_step(step, value, norm, *wishes)
        return run.end()


def seed_random_numbers(seed, step, piece, device):
    """Seed PyTorch's random numbers for one piece of one step."""
    number = seed * 1_000_003 + piece * 15_485_863 + step
    if device.type == "cpu":  # here torch.manual_seed, which seeds GPUs too, takes 0.2 ms
        torch.default_generator.manual_seed(number)
    else:
        torch.manual_seed(number)
