"""The loop: a step is a batch, its gradient, and AdamW's update. Everything around it has a name.

What a run keeps beside the model, and what it writes down, is in :class:`Run`.
"""

from pathlib import Path

import torch
from accelerate.utils import broadcast, broadcast_object_list
from torch import nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from mmcourse.training.checkpoint import (
    CHECKPOINT,
    facts_of,
    read_log,
    restore,
    save,
    write_log,
)
from mmcourse.training.distributed import Pieces, add_up, start_accelerator
from mmcourse.training.interruptions import Interrupt, memory_advice
from mmcourse.training.schedule import learning_rate_at, parameter_groups


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
        evaluate: ``evaluate(model)`` is a dict of floats for the log, called in evaluation mode
            without gradients, by process 0 while the others wait.
        resume: True goes on from the checkpoint, False starts fresh, None goes on if there is one.
            The number of processes may be another one than before.

    Raises KeyboardInterrupt after the step in which Ctrl-C came; FloatingPointError when a loss or
    gradient is infinite or NaN; MemoryError when the device has too little; OSError when the folder
    cannot be written; FileNotFoundError or ValueError when the checkpoint to go on from is missing,
    cut off or of another configuration. In each case the last checkpoint stays whole.
    """
    accelerator = start_accelerator(config.mixed_precision)
    pieces = Pieces(config, accelerator, count)
    run = Run(model, config, Path(folder), accelerator, evaluate)
    first = run.begin(resume)
    model.train()
    with memory_advice(config), run, Interrupt() as interrupt:
        for step, batch in enumerate(pieces.of_steps(dataset, first, collate), first):
            run.set_learning_rate(learning_rate_at(step, config))
            value = torch.zeros((), device=accelerator.device)
            for piece, samples, share in batch:
                seed_random_numbers(config.seed, step, piece, accelerator.device)
                with accelerator.autocast():
                    part = (loss(model, samples) * share).sum()
                part.backward()
                value += part.detach()
            value, stopping = add_up(value, interrupt.asked, run.parameters, accelerator)
            norm = nn.utils.clip_grad_norm_(run.parameters, config.clip)
            run.optimizer.step()
            run.optimizer.zero_grad()
            run.end_step(step, value, norm, stopping)
    return run.end()


def seed_random_numbers(seed, step, piece, device):
    """Seed PyTorch's random numbers for one piece of one step."""
    number = seed * 1_000_003 + piece * 15_485_863 + step
    if device.type == "cpu":  # here torch.manual_seed, which seeds GPUs too, takes 0.2 ms
        torch.default_generator.manual_seed(number)
    else:
        torch.manual_seed(number)


class Run:
    """What a run keeps beside the model: its optimiser, the losses so far, and the files in its
    folder.

    ``history`` (steps, 2) has the loss and the gradient norm of each step; ``rows`` are those of
    the log.
    """

    def __init__(self, model, config, folder, accelerator, evaluate=None):
        self.model = model
        self.config = config
        self.folder = folder
        self.accelerator = accelerator
        self.evaluate = evaluate
        self.is_main = accelerator.is_main_process
        broadcast(model.to(accelerator.device).state_dict())
        groups = parameter_groups(model, config.weight_decay)
        self.optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, fused=True)
        self.parameters = [p for group in groups for p in group["params"]]
        self.facts = facts_of(model, config)
        self.history = torch.zeros(config.steps, 2)
        self.rows = []

    def begin(self, resume):
        """Go on from the checkpoint, or start fresh; return the number of the first step."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if resume is None:
            resume = (self.folder / CHECKPOINT).exists()
        self.first = 0
        if resume:
            self.first, self.history = restore(self.folder, self.model, self.optimizer, self.facts)
            self.rows = [row for row in read_log(self.folder) if row["step"] <= self.first]
        self.check_agreement()
        if not resume:
            self.save(0)  # a full disk shows now, not in an hour
        self.history = self.history.to(self.accelerator.device)
        return self.first

    def check_agreement(self):
        """All processes begin at the same step, or they do not see the same folder."""
        first = torch.tensor([self.first], device=self.accelerator.device)
        begins = self.accelerator.gather(first).tolist()
        if len(set(begins)) > 1:
            raise ValueError(
                f"the processes begin after steps {begins}: {self.folder} must be on a disk that "
                "all of them share"
            )

    def __enter__(self):
        size = self.config.batch_size
        self.bar = tqdm(
            total=self.config.steps * size,
            initial=self.first * size,
            unit=" samples",
            unit_scale=True,
            disable=None if self.is_main else True,
        )
        if self.is_main:
            self.board = SummaryWriter(self.folder, purge_step=self.first + 1)
        return self

    def __exit__(self, *_):
        self.bar.close()
        if self.is_main:
            self.board.close()

    def set_learning_rate(self, learning_rate):
        """Set the rate of the next update."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate

    def end_step(self, step, loss, norm, stopping):
        """Keep what a step gave; log, evaluate and save when it is time; stop if asked to."""
        self.history[step, 0] = loss
        self.history[step, 1] = norm
        self.bar.update(self.config.batch_size)
        done = step + 1
        evaluating = self.is_time(done, self.config.evaluate_every)
        logging = evaluating or self.is_time(done, self.config.log_every)
        saving = stopping or self.is_time(done, self.config.save_every)
        if logging or saving:
            self.check_finite()
        if logging:
            self.log(done, evaluating)
        if saving:
            self.save(done)
        if stopping and done < self.config.steps:
            raise KeyboardInterrupt(
                f"stopped after step {done} of {self.config.steps}; the checkpoint in "
                f"{self.folder} is whole: start the same run again to go on"
            )

    def is_time(self, done, every):
        """Whether something that is done ``every`` so many steps is due after ``done`` of them."""
        return done == self.config.steps or (every > 0 and done % every == 0)

    def check_finite(self):
        """Raise FloatingPointError when a loss or a gradient norm so far is infinite or NaN."""
        bad = (~self.history.isfinite()).any(1).nonzero().flatten().tolist()
        if bad:
            raise FloatingPointError(
                f"step {bad[0] + 1}: loss and gradient norm are {self.history[bad[0]].tolist()}. "
                f"The checkpoint in {self.folder} is from before: lower the learning rate, warm up "
                "longer, or look at that step's batch"
            )

    def log(self, done, evaluating):
        """Add a row to the log: the means since the row before, and perhaps an evaluation."""
        before = self.rows[-1]["step"] if self.rows else 0
        loss, norm = self.history[before:done].mean(0).tolist()
        row = {
            "step": done,
            "learning_rate": learning_rate_at(done - 1, self.config),
            "loss": loss,
            "gradient_norm": norm,
        }
        self.rows.append(row)
        if not self.is_main:
            return
        if evaluating and self.evaluate:
            with torch.no_grad():
                row |= self.evaluate(self.model.eval())
            self.model.train()
        write_log(self.folder, self.rows)
        for name, number in row.items():
            self.board.add_scalar(name, number, done)
        self.bar.set_postfix(loss=loss)

    def save(self, done):
        """Write the checkpoint after ``done`` steps, once, however many processes there are."""
        if self.is_main:
            facts = self.facts | {"step": done}
            save(self.folder, self.model, self.optimizer, self.history, facts)

    def end(self):
        """Put the model into evaluation mode; return the log."""
        self.model.eval()
        return broadcast_object_list([self.rows])[0]  # that of process 0, which wrote it
