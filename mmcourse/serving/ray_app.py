"""The same application over several processes, which Ray Serve starts and watches.

The front is the application of :mod:`mmcourse.serving.server`, limits and all. Behind it are
replicas: processes with a model each, on this machine or others. Ray chooses one for each picture,
and starts another where one dies. It needs the extra ``ray``.
"""

import asyncio
import logging
import os
import signal
import threading

from mmcourse.serving.batching import Full, Stopped
from mmcourse.serving.server import LocalWriter

TRIES = 4  # of one picture, on one replica after another
PAUSE = 0.2  # seconds before another try, in which Ray notices who has died
APPLICATION = "captions"


class Replica:
    """What a process of Ray does: it loads a model and describes pictures, in its own batches."""

    def __init__(self, load, strategy, limits):
        import torch

        torch.set_num_threads(1)  # as many replicas as cores
        self.writer = LocalWriter(load, strategy, limits)
        self.started = False
        self.hung = limits.hung

    def check_health(self):
        """Ray asks this, and replaces a replica that raises: here, where the model hangs."""
        if self.writer.busy_seconds > self.hung:
            raise RuntimeError(f"the model has been at one batch for more than {self.hung:g} s")

    async def write(self, picture):
        """What is said of one picture, a dict."""
        if not self.started:
            self.started = True
            await self.writer.start()  # here, since it needs the loop that runs
        return await self.writer.write(picture)


def deployment(load, strategy, replicas, limits):
    """The application that Ray Serve is to run."""
    from ray import serve

    options = {
        "num_replicas": replicas,
        "max_ongoing_requests": 2 * limits.batch,  # one batch is worked on, one waits
        "ray_actor_options": {"num_cpus": 0},  # as many as are asked for, not as there are cores
        "health_check_period_s": 1,
    }
    return serve.deployment(Replica, name="replica", **options).bind(load, strategy, limits)


def take_signals_back():
    """Let this program's own handlers answer SIGINT and SIGTERM again.

    Ray puts another before them when it starts, which prints where the program is and ends it:
    nothing that was accepted would be answered. Only the main thread may set handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.getsignal(number))


class RayWriter:
    """Captions by replicas; what the application needs, as
    :class:`~mmcourse.serving.server.LocalWriter`.

    ``load`` is a function that loads the model, in each replica; ``size`` are the pixels along a
    side of what it sees. A picture whose replica died is given to another: describing it twice does
    no harm, so nothing that was accepted is lost.
    """

    def __init__(self, load, size, strategy, replicas, limits):
        self.size = size
        self.waiting = 0
        self.limit = limits.waiting + replicas * limits.batch
        self.stopping = False
        self.application = deployment(load, strategy, replicas, limits)
        self.handle = None

    async def start(self):
        """Start Ray and the replicas, and wait until they have loaded."""
        await asyncio.to_thread(self.start_replicas)
        take_signals_back()

    @property
    def busy_seconds(self):
        """0, since Ray itself asks each replica whether its model hangs."""
        return 0.0

    def start_replicas(self):
        import ray
        from ray import serve

        os.environ.setdefault("RAY_worker_niceness", "0")  # by default all others go first
        # a process of Ray imports what we import
        variables = {"env_vars": {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}}
        ray.init(
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env=variables,
        )
        serve.start(proxy_location="Disabled")  # the front is ours
        self.handle = serve.run(self.application, name=APPLICATION, route_prefix=None)

    def reload(self):
        """Always a RuntimeError: replicas keep the model that they began with."""
        raise RuntimeError("replicas do not load it again: stop the server and start it anew")

    async def write(self, picture):
        """What a replica says of one picture. Raises Full, Stopped, or what Ray does."""
        if self.stopping:
            raise Stopped("the server is stopping: ask another one")
        if self.waiting >= self.limit:
            raise Full(f"{self.limit} requests wait already: try again later")
        self.waiting += 1
        try:
            return await self.try_replicas(picture)
        finally:
            self.waiting -= 1

    async def try_replicas(self, picture):
        """Ask one replica after another, as long as they die."""
        from ray.exceptions import RayActorError, WorkerCrashedError

        for left in reversed(range(TRIES)):
            try:
                return await self.handle.write.remote(picture)
            except (RayActorError, WorkerCrashedError):
                if not left:
                    raise
                await asyncio.sleep(PAUSE)

    async def stop(self):
        """Let those that were accepted be answered, then stop the replicas and Ray."""
        self.stopping = True
        while self.waiting:
            await asyncio.sleep(0.02)
        await asyncio.to_thread(self.stop_replicas)

    def stop_replicas(self):
        import ray
        from ray import serve

        serve.shutdown()
        ray.shutdown()
