"""``mmcourse serve`` in a process of its own: a stop, a reload, bad uploads, and bad use."""

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from mmcourse import cli
from mmcourse.cli import serve
from mmcourse.recipes.serving_studies import (
    closed_load,
    count_statuses,
    malformed,
    pictures,
    send_raw,
    serving,
)
from mmcourse.serving import Registry
from mmcourse.weights import WEIGHTS


def ask(port, count=4, clients=2):
    return asyncio.run(closed_load(port, pictures(4), clients, count))


@pytest.mark.slow
def test_a_stop_under_load_loses_nothing_that_was_accepted(model, tmp_path):
    with serving(tmp_path, "--model", model, "--strategy", "greedy") as server:

        async def ask_and_stop():
            asking = asyncio.create_task(closed_load(server.port, pictures(4), 16, 10**6))
            await asyncio.sleep(1.0)
            server.process.send_signal(signal.SIGTERM)
            return await asking

        answers = asyncio.run(ask_and_stop())
        server.process.wait(60)
        lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    statuses = count_statuses(answers)
    assert set(statuses) <= {"200", "0", "503"} and statuses["200"] > 0
    assert statuses["0"] + statuses.get("503", 0) <= 16  # each client stopped at one
    last = lines[-1]
    assert last["event"] == "stop" and last["accepted"] == last["answered"] == statuses["200"]
    assert server.process.returncode in (0, -signal.SIGTERM)


@pytest.mark.slow
def test_a_model_is_replaced_while_it_runs_and_a_damaged_one_is_not(model, tmp_path):
    registry = Registry(tmp_path / "registry")
    registry.promote(registry.add(model))
    with serving(tmp_path, "--registry", str(registry.folder)) as server:

        def hang_up(event):
            server.process.send_signal(signal.SIGHUP)
            for _ in range(300):
                if f'"event": "{event}"' in server.log.read_text():
                    return count_statuses(ask(server.port))
                time.sleep(0.1)
            pytest.fail(f"no {event}: {server.log.read_text()}")

        assert hang_up("reload") == {"200": 4}
        weights = registry.path() / WEIGHTS
        weights.write_bytes(weights.read_bytes()[:-1] + b"?")
        assert hang_up("reload failed") == {"200": 4}
        assert "the former model stays" in server.log.read_text()
        shutil.rmtree(registry.folder)
        assert count_statuses(ask(server.port)) == {"200": 4}


def test_replicas_are_not_loaded_again_at_a_hangup_and_the_server_goes_on(monkeypatch, capsys):
    class Replicas:
        size = 64

        def reload(self):
            raise RuntimeError("replicas do not load it again")

    said = []

    def run(server):
        os.kill(os.getpid(), signal.SIGHUP)
        for _ in range(100):
            said.extend(capsys.readouterr())
            if "the former model stays" in "".join(said):
                break
            time.sleep(0.05)

    before = signal.signal(signal.SIGHUP, lambda *_: None)  # or the signal would end the tests
    monkeypatch.setattr(serve, "writer_of", lambda options, limits: Replicas())
    monkeypatch.setattr("uvicorn.Server.run", run)
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        port = tried.getsockname()[1]
    try:
        cli.main(["serve", "--port", str(port), "--replicas", "2"])
    finally:
        signal.signal(signal.SIGHUP, before)
    assert "the former model stays: replicas do not load it again" in "".join(said)
    assert '"event": "reload failed"' in "".join(said)


@pytest.mark.slow
def test_uploads_that_are_no_pictures_stop_nothing(model, tmp_path):
    with serving(tmp_path, "--model", model, "--strategy", "greedy") as server:
        uploads = [data for kind, data in malformed(pictures(1)[0], 70) if kind != "slow"]

        async def send_all():
            return [await send_raw(server.port, data) for data in uploads]

        statuses = asyncio.run(send_all())
        assert len(statuses) == 65 and all(400 <= status < 500 for status in statuses)
        assert count_statuses(ask(server.port)) == {"200": 4}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_no_disk_for_the_log_stops_no_answer(model):
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        port = tried.getsockname()[1]
    command = [sys.executable, "-m", "mmcourse", "serve", "--port", str(port), "--model", model]
    with open("/dev/full", "w") as full:
        process = subprocess.Popen(command, stdout=full, env=os.environ | {"OMP_NUM_THREADS": "1"})
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=1)
                break
            except OSError:
                time.sleep(0.1)
        assert count_statuses(ask(port)) == {"200": 4}
    finally:
        process.terminate()
        process.wait(60)


def test_a_port_that_is_taken(model, complaint):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert cli.main(["serve", "--port", str(port), "--model", model]) == 2
    assert f"cannot listen on 127.0.0.1 port {port}" in complaint()


BAD = [
    (["--port", "99999999"], "cannot listen on 127.0.0.1 port 99999999"),
    (["--model", "nothing"], "there is no model 'nothing'"),
    (["--model", "vqa"], "is a Answerer and writes no captions"),
    (["--registry", "{folder}/new"], "no model is in production: promote one first"),
    (["--registry", "{folder}/new", "--model", "clip"], "give --model or --registry, not both"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD)
def test_bad_use(arguments, message, complaint, tmp_path):
    given = [each.format(folder=tmp_path) for each in arguments]
    assert cli.main(["serve", *([] if "--port" in given else ["--port", "8999"]), *given]) == 2
    assert message in complaint()


def test_a_damaged_model_is_not_served(model, tmp_path, complaint):
    folder = shutil.copytree(model, tmp_path / "damaged")
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-9])
    assert cli.main(["serve", "--port", "8999", "--model", str(folder)]) == 2
    assert "damaged" in complaint()


def test_without_the_extra_it_says_what_to_install(monkeypatch, complaint):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert cli.main(["serve"]) == 2
    assert "pip install 'mmcourse[serve]'" in complaint()


def test_the_shipped_model_is_watched_and_others_are_not(model):
    parse = cli.command_line().parse_args
    for strategy in ("greedy", "beam"):
        monitor = serve.monitor_of(parse(["serve", "--strategy", strategy]))
        assert monitor.reference.count == 2000 and 0.8 < monitor.reference.means[-1] < 1
    assert serve.monitor_of(parse(["serve", "--model", model])) is None
    assert serve.monitor_of(parse(["serve", "--registry", "x"])) is None
