"""What a run keeps beside the model: its optimiser, the losses so far, and its logs."""

import time
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from accelerate.utils import broadcast, broadcast_object_list
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from mmcourse.training.best import best_row, is_exhausted
from mmcourse.training.checkpoint import CHECKPOINT, export, facts_of, restore, save
from mmcourse.training.folder import locked, read_log, write_log
from mmcourse.training.schedule import learning_rate_at, parameter_groups

#: A run saves after so many seconds, whatever ``save_every`` is. No kill costs two minutes.
SAVE_SECONDS = 100

#: What each row of the log has, before the numbers of ``evaluate``.
COLUMNS = ("step", "learning_rate", "loss", "gradient_norm")


class Run:
    """A run of :func:`~mmcourse.training.train`: its optimiser, its losses so far, and its folder.

    ``history`` (steps, 2) has the loss and the gradient norm of each step; ``rows`` are those of
    the log. ``best`` has the tensors of the best model so far, where ``config.keep_best`` asks for
    one; ``is_enough`` says that there was no better one for long.
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
        self.best = None
        self.is_enough = False

    @contextmanager
    def open(self, resume):
        """Within ``with``, the folder is this run's; it gives the number of the first step."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder, self.accelerator):
            self.begin(resume)
            with self.make_bar() as self.bar, self.make_board() as self.board:
                yield self.first

    def begin(self, resume):
        """Go on from the checkpoint, or start fresh."""
        if resume is None:
            resume = (self.folder / CHECKPOINT).exists()
        self.first = 0
        if resume:
            self.first, self.history, self.best = restore(
                self.folder, self.model, self.optimizer, self.facts
            )
            self.rows = [row for row in read_log(self.folder) if row["step"] <= self.first]
            self.is_enough = is_exhausted(self.rows, self.config.keep_best, self.config.patience)
        self.check_agreement()
        if not resume:
            self.save(0)  # a full disk shows now, not in an hour
            self.export()
        self.history = self.history.to(self.accelerator.device)
        self.model.train()
        self.saved_at = time.monotonic()

    def check_agreement(self):
        """All processes begin at the same step, or they do not see the same folder."""
        first = torch.tensor([self.first], device=self.accelerator.device)
        begins = self.accelerator.gather(first).tolist()
        if len(set(begins)) > 1:
            raise ValueError(
                f"the processes begin after steps {begins}: {self.folder} must be on a disk that "
                "all of them share"
            )

    def make_bar(self):
        """The progress bar, which only process 0 has, and only on a terminal."""
        size = self.config.batch_size
        return tqdm(
            total=self.config.steps * size,
            initial=self.first * size,
            unit=" samples",
            unit_scale=True,
            disable=None if self.is_main else True,
        )

    def make_board(self):
        """TensorBoard's events, which only process 0 writes."""
        if not self.is_main:
            return nullcontext()
        return SummaryWriter(self.folder, purge_step=self.first + 1)

    def set_learning_rate(self, learning_rate):
        """Set the rate of the next update."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate

    def is_time_to_save(self):
        """Whether the last checkpoint is so old that a kill would cost too much."""
        return time.monotonic() - self.saved_at >= SAVE_SECONDS

    def end_step(self, step, loss, norm, stopping, saving):
        """Keep what a step gave; log, evaluate and save when it is time; stop if asked to."""
        self.history[step, 0] = loss
        self.history[step, 1] = norm
        self.bar.update(self.config.batch_size)
        done = step + 1
        evaluating = self.is_due(done, self.config.evaluate_every)
        logging = evaluating or self.is_due(done, self.config.log_every)
        saving = saving or stopping or self.is_due(done, self.config.save_every)
        if logging or saving:
            self.check_finite()
        if logging:
            self.log(done, evaluating)
        is_best = evaluating and self.is_best(done)
        if saving or is_best or self.is_enough:
            self.save(done)
        if is_best or (saving and self.best is None):
            self.export()
        if stopping and done < self.config.steps:
            raise KeyboardInterrupt(
                f"stopped after step {done} of {self.config.steps}; the checkpoint in "
                f"{self.folder} is whole: start the same run again to go on"
            )

    def is_due(self, done, every):
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
        rate = learning_rate_at(done - 1, self.config)
        row = dict(zip(COLUMNS, (done, rate, loss, norm), strict=True))
        self.rows.append(row)
        if not self.is_main:
            return
        if evaluating and self.evaluate:
            with torch.no_grad():
                row |= numbers_of(self.evaluate(self.model.eval()))
            self.model.train()
            if self.config.keep_best and self.config.keep_best not in row:
                raise ValueError(
                    f"keep_best must name a number that evaluate returns, one of {list(row)}, got "
                    f"{self.config.keep_best!r}"
                )
        write_log(self.folder, self.rows)
        for name, number in row.items():
            self.board.add_scalar(name, number, done)
        self.bar.set_postfix(loss=loss)

    def is_best(self, done):
        """Whether the evaluation after ``done`` steps is the best; its tensors are kept then.

        Process 0 has the evaluations, and tells the others what follows from them.
        """
        name = self.config.keep_best
        if not name:
            return False
        found = None
        if self.is_main:
            best = best_row(self.rows, name)
            is_best = best is not None and best["step"] == done
            found = is_best, is_exhausted(self.rows, name, self.config.patience)
        is_best, self.is_enough = broadcast_object_list([found])[0]
        if is_best:
            self.best = copy_of(self.model)
        return is_best

    def save(self, done):
        """Write the checkpoint after ``done`` steps, once, however many processes there are."""
        if self.is_main:
            facts = self.facts | {"step": done}
            save(self.folder, self.model, self.optimizer, self.history, facts, self.best)
        self.saved_at = time.monotonic()

    def export(self):
        """Write the model as it is into the folder, to be loaded; process 0 does."""
        if self.is_main:
            export(self.folder, self.model)

    def end(self):
        """Put the model into evaluation mode, the best one if that was kept; return the log."""
        self.model.eval()
        if self.best is not None:
            self.model.load_state_dict(self.best)
            self.export()
        return broadcast_object_list([self.rows])[0]  # that of process 0, which wrote it


def copy_of(model):
    """The tensors of a model in a dict, as they are now."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def numbers_of(scores):
    """What ``evaluate`` returned, in numbers of Python, which a log can hold.

    Raises ValueError for anything but a dict of numbers whose names the log does not use itself.
    """
    if not isinstance(scores, dict):
        raise ValueError(f"evaluate must return a dict of names and numbers, got {scores!r:.80}")
    numbers = {}
    for name, number in scores.items():
        if isinstance(number, (np.generic, np.ndarray, torch.Tensor)):
            number = number.tolist()  # a list if it is several numbers
        if not isinstance(name, str) or not isinstance(number, (int, float)):
            raise ValueError(
                f"evaluate must return a dict of names and single numbers, got {name!r}: "
                f"{number!r:.80}"
            )
        if name in COLUMNS:
            raise ValueError(f"the log has a {name!r} of its own: evaluate must use another name")
        numbers[name] = number
    return numbers
