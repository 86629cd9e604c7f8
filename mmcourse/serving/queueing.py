"""How long requests wait: three formulas, and a simulation of batches.

Letters: arrivals come at a rate λ a second (``rate``), a service takes S seconds, the load is
ρ = λ E[S] and must be below 1, or the queue grows without end. Waiting is the time before service
begins; latency is waiting and service.
"""

import math
from collections import deque
from typing import NamedTuple

MODULUS, MULTIPLIER = 2**31 - 1, 16807  # of the "minimal standard" generator


def load_of(rate, service):
    """The load ρ. ValueError where it is not in [0, 1), or a service takes no time."""
    if rate < 0 or service <= 0:
        raise ValueError(
            f"expected a rate of 0 or more and a service above 0, got {rate}, {service}"
        )
    load = rate * service
    if load >= 1:
        raise ValueError(
            f"{rate:g} arrivals a second of {service:g} seconds each are a load of {load:.2f}: "
            "at 1 or more the queue grows without end"
        )
    return load


def mm1_wait(rate, service):
    """Mean waiting time of M/M/1: Poisson arrivals, exponential services with mean ``service``.

    It is ρ S / (1 - ρ). The errors are those of :func:`~mmcourse.serving.queueing.load_of`.
    """
    load = load_of(rate, service)
    return load * service / (1 - load)


def md1_wait(rate, service):
    """Mean waiting time of M/D/1: Poisson arrivals, and each service takes ``service`` seconds.

    It is half that of M/M/1.
    """
    return mg1_wait(rate, service, 0.0)


def mg1_wait(rate, service, deviation):
    """Mean waiting time of M/G/1: services with a mean and a standard ``deviation``, in seconds.

    λ E[S²] / (2 (1 - ρ)), the formula of Pollaczek and Khinchine.
    """
    load = load_of(rate, service)
    second_moment = service**2 + deviation**2
    return rate * second_moment / (2 * (1 - load))


def closed_loop(clients, fixed, each, most):
    """Throughput and latency where so many clients each ask again as soon as they are answered.

    A batch of b takes ``fixed + b * each`` seconds and has at most ``most``. All clients wait or
    are served, so batches are as large as they can be, and the latency is clients / throughput,
    by Little's law. Returns both.
    """
    size = min(clients, most)
    throughput = size / (fixed + size * each)
    return throughput, clients / throughput


def poisson_arrivals(rate, count, seed=1):
    """The times of ``count`` arrivals at a mean ``rate``, a list in seconds.

    The random numbers are those of the "minimal standard" generator, which a page's script has
    exactly as well. ``seed`` is from 1 to 2³¹ - 2.
    """
    if not 1 <= seed < MODULUS:
        raise ValueError(f"seed must be from 1 to {MODULUS - 1}, got {seed}")
    now = 0.0
    times = []
    for _ in range(count):
        seed = seed * MULTIPLIER % MODULUS
        now -= math.log(seed / MODULUS) / rate
        times.append(now)
    return times


class Simulation(NamedTuple):
    """What became of each arrival: lists with a row for each, but ``batches``."""

    arrivals: list  #: when it came
    starts: list  #: when its batch began, None where it was refused
    ends: list  #: when its batch was done, None where it was refused
    batches: list  #: the size of each batch, in the order of time

    @property
    def latencies(self):
        """Seconds from arrival to end of those that were served."""
        pairs = zip(self.arrivals, self.ends, strict=True)
        return [end - arrival for arrival, end in pairs if end is not None]

    @property
    def refused(self):
        """How many were refused."""
        return self.ends.count(None)

    @property
    def throughput(self):
        """Served arrivals a second, from time 0 to the last end."""
        served = [end for end in self.ends if end is not None]
        return len(served) / max(served)


def simulate(arrivals, seconds_of, most=1, wait=0.0, limit=math.inf):
    """One server that takes batches, as :class:`~mmcourse.serving.Batcher` does: a Simulation.

    Args:
        arrivals: times, ascending.
        seconds_of: a function from the size of a batch to how long it takes.
        most: the largest batch.
        wait: how long the first of a batch waits for others, from when it came.
        limit: how many may wait; one who comes then is refused.
    """
    starts = [None] * len(arrivals)
    ends = [None] * len(arrivals)
    batches = []
    waiting = deque()
    free = 0.0  # when the server is free
    coming = 0  # the next arrival
    while coming < len(arrivals) or waiting:
        if not waiting:
            waiting.append(coming)
            coming += 1
        full = len(waiting) >= most
        begin = max(free, arrivals[waiting[0]] + (0 if full else wait))
        while coming < len(arrivals) and arrivals[coming] <= begin:
            if len(waiting) < limit:
                waiting.append(coming)
                if len(waiting) == most:  # full: no need to wait for more
                    begin = max(free, arrivals[coming])
            coming += 1
        size = min(most, len(waiting))
        end = begin + seconds_of(size)
        for _ in range(size):
            one = waiting.popleft()
            starts[one], ends[one] = begin, end
        batches.append(size)
        free = end
    return Simulation(list(arrivals), starts, ends, batches)


def percentile(values, share):
    """The smallest value that at least this ``share`` of the values do not exceed.

    ValueError for no values, or a share that is not in (0, 1].
    """
    if not values or not 0 < share <= 1:
        raise ValueError(f"expected values and a share in (0, 1], got {len(values)} and {share}")
    place = max(1, math.ceil(round(share * len(values), 9)))
    return sorted(values)[place - 1]
