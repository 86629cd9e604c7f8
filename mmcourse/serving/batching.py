"""Batches formed from requests that wait.

A model needs less time for eight pictures at once than for one picture eight times. Requests come
one by one, so a server lets them wait in a queue and takes several from it. Nobody waits longer for
company than a few milliseconds, and no more wait than the queue has places.
"""

import asyncio
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field


class Full(Exception):
    """As many requests wait as may wait."""


class TooLate(Exception):
    """A request waited so long that its answer is of no use any more."""


class Stopped(Exception):
    """No more requests are taken."""


@dataclass
class Waiting:
    """A request in the queue: what it asks, since when, and where its answer goes."""

    item: object  #: what ``work`` gets
    since: float  #: by ``time.monotonic()``
    answer: asyncio.Future = field(repr=False)  #: done when there is a result or an error


class Batcher:
    """Hands items to ``work`` in batches, in the order in which they came.

    Args:
        work: a function of a list that returns as long a list, in the same order. It runs in a
            thread of its own, one batch at a time.
        most: how many items a batch has at most.
        wait: for how many seconds the first item of a batch waits for others, counted from when it
            came. 0 takes whoever is there.
        limit: how many items wait at most. One more raises :class:`Full`.
        patience: an item that has waited for so many seconds is not begun any more, and raises
            :class:`TooLate`, also while ``work`` hangs.

    Where ``work`` fails on several items, each is tried alone, so that only those fail that are bad
    themselves. ``start`` and ``stop`` are called in the event loop that calls ``submit``.
    """

    def __init__(self, work, most=16, wait=0.005, limit=64, patience=10.0):
        for name, value, least in (("most", most, 1), ("wait", wait, 0), ("limit", limit, 1)):
            if value < least:
                raise ValueError(f"{name} must be {least} or more, got {value}")
        if patience <= 0:
            raise ValueError(f"patience must be above 0 seconds, got {patience}")
        self.work = work
        self.most = most
        self.wait = wait
        self.limit = limit
        self.patience = patience
        self.waiting = deque()
        self.arrived = asyncio.Event()  # somebody came, or the batcher is to stop
        self.stopping = False
        self.begun = None  # when the present call of work began
        self.thread = ThreadPoolExecutor(1, thread_name_prefix="batch")
        self.loop_task = None

    def start(self):
        """Begin to take batches."""
        self.loop_task = asyncio.create_task(self.run())

    @property
    def busy_seconds(self):
        """For how long the present call of ``work`` has run; 0 if there is none."""
        return 0.0 if self.begun is None else time.monotonic() - self.begun

    async def submit(self, item):
        """The result of ``work`` for one item. Raises Full, TooLate, Stopped, or what work does."""
        if self.stopping:
            raise Stopped("the server is stopping: ask another one")
        if len(self.waiting) >= self.limit:
            raise Full(f"{self.limit} requests wait already: try again later")
        loop = asyncio.get_running_loop()
        answer = loop.create_future()
        loop.call_later(self.patience + 0.01, self.drop_late)  # even if no batch ends until then
        self.waiting.append(Waiting(item, time.monotonic(), answer))
        self.arrived.set()
        return await answer

    async def stop(self):
        """Take no more items, answer all that wait, and end the thread."""
        self.stopping = True
        self.arrived.set()
        if self.loop_task:
            await self.loop_task
        self.thread.shutdown()

    async def run(self):
        """Take one batch after another until the batcher stops and nobody waits."""
        while True:
            batch = await self.next_batch()
            if batch:
                await self.answer(batch)
            elif self.stopping:
                return

    async def next_batch(self):
        """The items that are worked on next: an empty list when it is time to look again."""
        if not self.waiting and not self.stopping:
            await self.arrived.wait()
        self.arrived.clear()
        self.drop_late()
        while self.waiting and len(self.waiting) < self.most and not self.stopping:
            left = self.waiting[0].since + self.wait - time.monotonic()
            if left <= 0:
                break
            try:
                await asyncio.wait_for(self.arrived.wait(), left)
            except TimeoutError:
                break
            self.arrived.clear()
        size = min(self.most, len(self.waiting))
        return [self.waiting.popleft() for _ in range(size)]

    def drop_late(self):
        """Let those go who waited too long, or who are not there any more."""
        now = time.monotonic()
        while self.waiting and now - self.waiting[0].since > self.patience:
            late = self.waiting.popleft()
            if not late.answer.done():
                late.answer.set_exception(TooLate(f"waited more than {self.patience:g} seconds"))
        gone = [one for one in self.waiting if one.answer.done()]
        for one in gone:
            self.waiting.remove(one)

    async def answer(self, batch):
        """Work on a batch and hand each its result."""
        try:
            results = await self.call([one.item for one in batch])
        except Exception as error:
            if len(batch) > 1:
                for one in batch:
                    await self.answer([one])
            elif not batch[0].answer.done():
                batch[0].answer.set_exception(error)
            return
        for one, result in zip(batch, results, strict=True):
            if not one.answer.done():  # else whoever asked has gone
                one.answer.set_result(result)

    async def call(self, items):
        """What ``work`` makes of items, computed in the thread, so that the loop goes on."""
        self.begun = time.monotonic()
        try:
            loop = asyncio.get_running_loop()
            results = await loop.run_in_executor(self.thread, self.work, items)
        finally:
            self.begun = None
        if len(results) != len(items):
            raise ValueError(f"work gave {len(results)} results for {len(items)} items")
        return results
