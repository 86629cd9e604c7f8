"""The figure of chapter 19: how arrivals, the largest batch and the wait make latency."""

import matplotlib.pyplot as plt
import numpy as np
from traitlets import Float, Int

from mmcourse.book.figures import Figure, script
from mmcourse.book.plotting import BLUE, GREY, ORANGE
from mmcourse.serving import percentile, poisson_arrivals, simulate

COUNT = 400  # arrivals
SHOWN = 40  # of them as bars
MOST = (1, 2, 4, 8, 16)


def outcome(rate, most, wait, fixed, each):
    """What the figure says of 400 Poisson arrivals, times in milliseconds: a dict.

    A batch of b takes ``fixed + b * each``; ``most`` is its largest size, ``wait`` how long its
    first waits for others. ``bars`` are arrival, start and end of the first 40.
    """
    arrivals = [1000 * time for time in poisson_arrivals(rate, COUNT)]
    found = simulate(arrivals, lambda size: fixed + size * each, most, wait)
    latencies = found.latencies
    bars = list(zip(found.arrivals, found.starts, found.ends, strict=True))[:SHOWN]
    return {
        "p50": percentile(latencies, 0.5),
        "p95": percentile(latencies, 0.95),
        "throughput": 1000 * found.throughput,
        "batch": COUNT / len(found.batches),
        "bars": [list(bar) for bar in bars],
    }


class QueueExplorer(Figure):
    """Waiting and service of the first of 400 requests, for a rate, a batch and a wait to choose.

    ``rate`` is arrivals a second, from 5 to 200; ``most`` the largest batch, one of ``MOST``;
    ``wait`` milliseconds from 0 to 100. A batch of b takes ``fixed + b * each`` milliseconds.
    Raises ValueError for another.
    """

    _esm = script("queue.js")
    rate = Int().tag(sync=True)
    most = Int().tag(sync=True)
    wait = Int().tag(sync=True)
    fixed = Float().tag(sync=True)
    each = Float().tag(sync=True)

    def __init__(self, rate=60, most=1, wait=0, *, fixed=10.0, each=5.0):
        if not 5 <= rate <= 200:
            raise ValueError(f"rate must be from 5 to 200 a second, got {rate}")
        if most not in MOST:
            raise ValueError(f"most must be one of {', '.join(map(str, MOST))}, got {most}")
        if not 0 <= wait <= 100:
            raise ValueError(f"wait must be from 0 to 100 ms, got {wait}")
        if fixed < 0 or each <= 0:
            raise ValueError(f"a batch must take time, got {fixed} and {each} ms a picture")
        super().__init__(rate=rate, most=most, wait=wait, fixed=fixed, each=each)

    def draw(self):
        """The bars for one at a time and for batches of 16, at the same rate."""
        figure, axes = plt.subplots(1, 2, figsize=(7.4, 2.8), sharex=True, sharey=True)
        for most, place in zip((1, 16), axes, strict=True):
            found = outcome(self.rate, most, self.wait, self.fixed, self.each)
            rows = np.arange(SHOWN)
            arrived, started, ended = np.array(found["bars"]).T
            place.barh(rows, started - arrived, left=arrived, color=GREY, alpha=0.5, label="waits")
            place.barh(rows, ended - started, left=started, color=BLUE, label="is served")
            place.plot(arrived, rows, "|", color=ORANGE, markersize=4, label="arrives")
            place.set_title(f"batches of at most {most}: 95 % within {found['p95']:.0f} ms")
            place.set(xlabel="milliseconds")
        axes[0].set(ylabel="request")
        axes[0].invert_yaxis()
        axes[1].legend(fontsize=8, loc="lower left")
        return figure
