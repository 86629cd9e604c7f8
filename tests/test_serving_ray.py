"""Replicas: what one does, and what the front does when one dies. Ray itself is played by a stub.

That Ray does its part the study ``ray`` has measured: ``test_serving_studies.py``.
"""

import asyncio
import faulthandler
import logging
import os
import signal
import sys
import threading
import time
import types

import pytest
import torch

from mmcourse.data import EmojiScenes
from mmcourse.hub import load_captioner
from mmcourse.serving import Full, Stopped, ray_app
from mmcourse.serving.ray_app import RayWriter, Replica
from mmcourse.serving.server import Limits

NICENESS = "RAY_worker_niceness"


class Died(Exception):
    """Stands for Ray's errors about a dead process."""


@pytest.fixture(autouse=True)
def ray(monkeypatch):
    """Modules in the place of Ray's; gives what was asked of them."""
    asked = []
    exceptions = types.ModuleType("ray.exceptions")
    exceptions.RayActorError = type("RayActorError", (Died,), {})
    exceptions.WorkerCrashedError = type("WorkerCrashedError", (Died,), {})
    serve = types.ModuleType("ray.serve")

    def deployment(target, **options):
        asked.append(options)
        bound = types.SimpleNamespace(target=target)
        bind = lambda *given: setattr(bound, "given", given) or bound  # noqa: E731
        return types.SimpleNamespace(bind=bind)

    serve.deployment = deployment
    serve.start = lambda **options: asked.append(options)
    serve.run = lambda application, **options: asked.append((application, options)) or Handle()
    serve.shutdown = lambda: asked.append("serve down")
    module = types.ModuleType("ray")
    module.init = lambda **options: asked.append(options)
    module.shutdown = lambda: asked.append("ray down")
    module.serve, module.exceptions = serve, exceptions
    for name, each in (("ray", module), ("ray.serve", serve), ("ray.exceptions", exceptions)):
        monkeypatch.setitem(sys.modules, name, each)
    monkeypatch.setattr(ray_app, "PAUSE", 0.01)
    module.asked = asked
    return module


class Handle:
    """Answers as it is told: a list of results and errors, then the picture itself."""

    def __init__(self, *results):
        self.results = list(results)
        self.write = types.SimpleNamespace(remote=self.remote)
        self.calls = 0
        self.hold = asyncio.Event()
        self.hold.set()

    async def remote(self, picture):
        self.calls += 1
        await self.hold.wait()
        result = self.results.pop(0) if self.results else picture
        if isinstance(result, Exception):
            raise result
        return result


def writer_with(handle, **limits):
    writer = RayWriter(lambda: None, 64, "greedy", 2, Limits(**limits))
    writer.handle = handle
    return writer


def test_ray_is_told_of_a_replica_whose_model_hangs():
    replica = Replica(lambda: load_captioner("scenes"), "greedy", Limits(hung=5))
    replica.check_health()
    replica.writer.batcher.begun = time.monotonic() - 4
    replica.check_health()
    replica.writer.batcher.begun -= 2
    with pytest.raises(RuntimeError, match="at one batch for more than 5 s"):
        replica.check_health()
    assert writer_with(Handle()).busy_seconds == 0


def test_a_replica_says_what_the_model_says_in_batches():
    images = [EmojiScenes("val")[index].image for index in range(3)]
    for image in images:
        image.flags.writeable = False  # as Ray hands them over
    model = load_captioner("scenes")
    replica = Replica(lambda: model, "greedy", Limits(wait=30, batch=3))  # full at three
    started = []
    start = replica.writer.start
    replica.writer.start = lambda: started.append(1) or start()

    async def main():
        return await asyncio.gather(*map(replica.write, images))

    found = asyncio.run(main())
    expected = model.caption(images, "greedy")
    assert [one["caption"] for one in found] == [one.text for one in expected]
    assert {one["batch"] for one in found} == {3} and started == [1]


@pytest.mark.parametrize("deaths", [1, 2, 3])
def test_a_picture_whose_replica_died_goes_to_another(ray, deaths):
    kinds = (ray.exceptions.RayActorError, ray.exceptions.WorkerCrashedError)
    handle = Handle(*(kinds[number % 2]("died") for number in range(deaths)))
    writer = writer_with(handle)
    assert asyncio.run(writer.write("picture")) == "picture"
    assert handle.calls == deaths + 1 and writer.waiting == 0


def test_it_is_not_tried_for_ever(ray):
    handle = Handle(*(ray.exceptions.RayActorError("died") for _ in range(9)))
    writer = writer_with(handle)
    with pytest.raises(Died):
        asyncio.run(writer.write("picture"))
    assert handle.calls == ray_app.TRIES and writer.waiting == 0


def test_another_error_is_not_tried_again():
    handle = Handle(ValueError("bad"))
    with pytest.raises(ValueError, match="bad"):
        asyncio.run(writer_with(handle).write("picture"))
    assert handle.calls == 1


def test_no_more_wait_than_may_and_a_stop_lets_them_finish(ray):
    async def main():
        handle = Handle()
        handle.hold.clear()
        writer = writer_with(handle, waiting=1, batch=1)  # and one batch in each of two replicas
        tasks = [asyncio.create_task(writer.write(number)) for number in range(3)]
        await asyncio.sleep(0.01)
        assert writer.waiting == 3
        with pytest.raises(Full, match="3 requests wait already"):
            await writer.write(4)
        stopping = asyncio.create_task(writer.stop())
        await asyncio.sleep(0.05)
        with pytest.raises(Stopped, match="^the server is stopping: ask another one$"):
            await writer.write(5)
        assert "serve down" not in ray.asked
        handle.hold.set()
        await stopping
        return await asyncio.gather(*tasks)

    assert asyncio.run(main()) == [0, 1, 2]
    assert ray.asked[-2:] == ["serve down", "ray down"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_handler_that_was_put_before_ours_is_taken_away(number, tmp_path):
    came = []
    before = signal.signal(number, lambda *_: came.append(number))
    try:
        with open(tmp_path / "trace", "w") as trace:
            faulthandler.register(number, trace, chain=False)  # as Ray does, below Python
            os.kill(os.getpid(), number)
            assert came == []
            ray_app.take_signals_back()
            os.kill(os.getpid(), number)
            assert came == [number]
    finally:
        faulthandler.unregister(number)
        signal.signal(number, before)


def test_outside_the_main_thread_no_handler_is_touched(monkeypatch):
    monkeypatch.setattr(signal, "signal", lambda *_: pytest.fail("only the main thread may"))
    errors = []

    def run():
        try:
            ray_app.take_signals_back()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert errors == []


def test_signals_are_taken_back_when_ray_has_started(ray, monkeypatch):
    order = []
    writer = RayWriter(len, 64, "beam", 3, Limits())
    monkeypatch.setattr(RayWriter, "start_replicas", lambda self: order.append("replicas"))
    monkeypatch.setattr(ray_app, "take_signals_back", lambda: order.append("signals"))
    asyncio.run(writer.start())
    assert order == ["replicas", "signals"]


def test_replicas_do_not_load_the_model_again_and_say_so(ray):
    said = "^replicas do not load it again: stop the server and start it anew$"
    with pytest.raises(RuntimeError, match=said):
        RayWriter(len, 64, "beam", 3, Limits()).reload()


def test_ray_is_asked_for_what_was_set(ray, monkeypatch):
    limits = Limits(batch=8, wait=0.02)
    writer = RayWriter(len, 64, "beam", 3, limits)
    assert ray.asked == [
        {
            "name": "replica",
            "num_replicas": 3,
            "max_ongoing_requests": 16,
            "ray_actor_options": {"num_cpus": 0},
            "health_check_period_s": 1,
        }
    ]
    assert writer.size == 64 and writer.application.target is Replica
    assert writer.application.given == (len, "beam", limits)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv(NICENESS, "")
    monkeypatch.delenv(NICENESS)
    asyncio.run(writer.start())
    assert ray.asked[1:] == [
        {
            "include_dashboard": False,
            "log_to_driver": False,
            "logging_level": logging.ERROR,
            "runtime_env": {"env_vars": {"PYTHONPATH": ""}},
        },
        {"proxy_location": "Disabled"},
        (writer.application, {"name": "captions", "route_prefix": None}),
    ]
    assert isinstance(writer.handle, Handle)
    assert os.environ[NICENESS] == "0"
    os.environ[NICENESS] = "5"
    asyncio.run(writer.start())
    assert os.environ[NICENESS] == "5"  # who set it knows why


def test_replicas_import_what_the_front_imports(ray, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/some/where")
    asyncio.run(RayWriter(len, 64, "beam", 3, Limits()).start())
    options = next(each for each in ray.asked if "runtime_env" in each)
    assert options["runtime_env"] == {"env_vars": {"PYTHONPATH": "/some/where"}}


def test_a_replica_computes_in_one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    Replica(lambda: None, "greedy", Limits())
    assert torch.get_num_threads() == 1
    torch.set_num_threads(threads)


def test_a_replica_has_the_limits_that_were_set():
    limits = Limits(batch=3, wait=0.2, waiting=5, patience=7)
    batcher = Replica(lambda: None, "greedy", limits).writer.batcher
    assert (batcher.most, batcher.wait, batcher.limit, batcher.patience) == (3, 0.2, 5, 7)
