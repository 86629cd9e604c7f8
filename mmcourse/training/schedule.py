"""The plan of a run: its settings, and of each step the learning rate and the samples."""

import itertools
import math
import operator
from dataclasses import dataclass

from numpy.random import default_rng
from torch import nn

WHOLE_NUMBERS = (
    *("steps", "batch_size", "warmup", "accumulate", "seed"),
    *("log_every", "evaluate_every", "save_every", "patience", "workers"),
)


@dataclass(frozen=True)
class TrainingConfig:
    """The settings of a run.

    The rate rises for ``warmup`` steps, then falls to 0; gradients are cut to norm ``clip``.
    ``batch_size`` counts the samples of a step in all processes together, which compute it in
    ``accumulate`` pieces each. At each of the steps ``restarts`` the rate starts again, from half
    of where it started before. ``mixed_precision`` is ``"no"`` or ``"bf16"``. ``log_every``,
    ``evaluate_every`` and ``save_every`` are in steps; the last step is always logged, evaluated
    and saved, and 0 means only that one. A run also saves every 100 seconds.

    ``keep_best`` names one of the numbers of the evaluation. Then the model that is saved and that
    the run ends with is that of the evaluation with the highest one, the first of equals; and
    after ``patience`` evaluations that were no better the run stops, unless that is 0. ``workers``
    prepare samples, in each process. Numbers of NumPy and PyTorch become Python's, since a
    checkpoint cannot hold others.

    Raises ValueError for a setting that is out of range.
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
    keep_best: str = ""
    patience: int = 0
    workers: int = 0

    def __post_init__(self):
        for name in WHOLE_NUMBERS:
            self._convert(name, operator.index, "a whole number")
        for name in ("learning_rate", "weight_decay", "clip"):
            self._convert(name, float, "a number")
        self._convert("restarts", whole_numbers, "a tuple of whole numbers")
        for name in ("steps", "batch_size", "learning_rate", "clip", "accumulate"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.patience < 0 or (self.patience and not self.keep_best):
            raise ValueError(
                "patience counts evaluations without a better keep_best, so it needs keep_best and "
                f"is 0 or more, got {self.patience} with keep_best {self.keep_best!r}"
            )
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must lie between 0 and 2**32 - 1, got {self.seed}")
        if not 0 <= self.warmup < min([*self.restarts, self.steps]):
            raise ValueError(
                f"warmup must end before the run, got {self.warmup} of {self.steps} steps; "
                "take about 5 %"
            )
        rising = sorted(set(self.restarts))
        if list(self.restarts) != rising or max(self.restarts, default=0) >= self.steps:
            raise ValueError(
                f"restarts must rise and lie before step {self.steps}, got {self.restarts}"
            )
        if self.mixed_precision not in ("no", "bf16"):
            raise ValueError(
                f"mixed_precision must be 'no' or 'bf16', got {self.mixed_precision!r}"
            )

    def _convert(self, name, kind, expected):
        value = getattr(self, name)
        try:
            object.__setattr__(self, name, kind(value))  # the way past frozen
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} must be {expected}, got {value!r:.80}") from error


def whole_numbers(values):
    """A tuple of Python's whole numbers; TypeError if there is anything else among ``values``."""
    return tuple(operator.index(value) for value in values)


def learning_rate_at(step, config):
    r"""Learning rate of step ``step`` (from 0): linear warm-up, then cosines.

    .. math:: \eta_s = \frac{\eta}{2} \left(1 + \cos \frac{\pi (s - w)}{S - w}\right)
        \quad \text{for } s \ge w

    (Loshchilov and Hutter 2017, equation 5). After a restart, :math:`w` is its step and :math:`S`
    that of the next one (or the end), and :math:`\eta` is halved.
    """
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    ends = [config.warmup, *config.restarts, config.steps]
    cycle = sum(end <= step for end in ends) - 1  # 0 before the first restart
    first = ends[cycle]
    last = ends[cycle + 1]
    peak = config.learning_rate / 2**cycle
    return peak / 2 * (1 + math.cos(math.pi * (step - first) / (last - first)))


def parameter_groups(model, weight_decay):
    """Groups for the optimiser: what decays by ``weight_decay``, and what does not.

    Weights of linear and convolution layers decay; biases, norms and embeddings do not.
    """
    decaying = set()
    for layer in model.modules():
        if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)):
            decaying.add(layer.weight)
    for layer in model.modules():
        if isinstance(layer, nn.Embedding):
            decaying.discard(layer.weight)  # it may be tied to a linear layer
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in parameters if p in decaying], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p not in decaying], "weight_decay": 0.0},
    ]


def sample_indices(length, seed, first=0):
    """Yield the index of each sample of a run, without end, from the ``first`` on.

    They come in order if ``length`` is None, else epoch after epoch, each shuffled from ``(seed,
    epoch)``.
    """
    if length is None:
        yield from itertools.count(first)
    done = first % length
    for epoch in itertools.count(first // length):
        order = default_rng([seed, epoch]).permutation(length).tolist()
        yield from order[done:]
        done = 0


def step_indices(length, config, first=0):
    """Yield the indices of the samples of each step from ``first`` on.

    They come in order if ``length`` is None, else shuffled each epoch.
    """
    indices = sample_indices(length, config.seed, first * config.batch_size)
    for _ in range(first, config.steps):
        yield list(itertools.islice(indices, config.batch_size))
