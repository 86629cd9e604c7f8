"""The server under load, a killed replica, a stop, and drift: measured, stored, and read.

``python -m mmcourse.recipes.serving_studies NAME`` makes ``measured/serving_NAME.json`` beside this
file, with the command, the seconds and the machine in it; NAME is one of ``STUDIES``. The page
reads it with :func:`read`. Servers are started as a user starts them, ``mmcourse serve``, in
processes of their own; those who ask are in this process. Where arms are compared, they take turns.
``ray`` needs the extra of that name, the others ``serve``.
"""

import asyncio
import io
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from mmcourse.data import EmojiScenes
from mmcourse.recipes.contrastive import SHIPPED
from mmcourse.recipes.stored import machine, read_study, write_study
from mmcourse.recipes.vqa import load_captioner
from mmcourse.serving import (
    Batcher,
    Monitor,
    fit_reference,
    percentile,
    poisson_arrivals,
    statistics_of,
)
from mmcourse.serving.load import LOST, closed_load, open_load, request
from mmcourse.weights import WEIGHTS, checksum

STRATEGIES = ("greedy", "beam")
BATCH = 16  # as mmcourse serve has it
CLIENTS = (1, 8, 64)
SERVICE_SIZES = (1, 2, 4, 8, 16)
LOADS = (0.3, 0.6, 0.8, 1.3, 2.0)  # of what one at a time can bear
SLEEP_FIXED, SLEEP_EACH = 0.2, 0.1  # seconds of a batch, and of each picture in it
OVERLOAD = 10_000  # requests
STOPS = 10  # times that a server is stopped under load
MALFORMED = 200
REFERENCE, CHECKED, STYLED = 2000, 5000, 1000  # pictures
WINDOWS = (25, 50, 100)
RATE = 0.01  # of false alarms, for a window


def read(name):
    """What a study found, a dict."""
    return read_study(f"serving_{name}")


# A server of its own ----------------------------------------------------------------------------


class Server:
    """A running ``mmcourse serve``: its ``port``, ``process``, and ``lines`` when it has ended."""

    def __init__(self, process, port, log):
        self.process = process
        self.port = port
        self.log = log

    def memory(self):
        """Megabytes that the process holds in memory now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def cpu_seconds(self):
        """How long processors have worked for it. It does not count what others do meanwhile."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        """Ask it to stop, and wait for the end. Returns its last line, a dict."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(180)
        return self.last_line()

    def last_line(self):
        """The last line of JSON that it logged, a dict."""
        lines = self.log.read_text().splitlines()
        return json.loads([line for line in lines if line.startswith("{")][-1])


@contextmanager
def serving(folder, *arguments):
    """Within ``with``, a :class:`Server` with these arguments, which logs into a folder."""
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        port = tried.getsockname()[1]
    log = Path(folder, f"serve-{port}.log")
    command = [sys.executable, "-m", "mmcourse", "serve", "--port", str(port), *arguments]
    variables = os.environ | {"OMP_NUM_THREADS": "1"}
    with open(log, "w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=variables)
    try:
        wait_until_ready(process, port, log)
        yield Server(process, port, log)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(180)


def wait_until_ready(process, port, log):
    """Return when a server takes requests. RuntimeError, with its log, where it does not."""
    for _ in range(4000):
        if process.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=1)
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"no server on port {port}: {log.read_text()[-2000:]}")


def png(image):
    """The bytes of a PNG file of an array."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def pictures(count=64, split="val"):
    """Scenes as PNG files, a list of bytes."""
    scenes = EmojiScenes(split)
    return [png(scenes[index].image) for index in range(count)]


def summary(answers):
    """Throughput and latencies of those who got a caption, and how many got what: a dict."""
    good = [answer for answer in answers if answer.status == 200]
    found = {"statuses": count_statuses(answers)}
    if good:
        begin = min(answer.sent for answer in answers)
        end = max(answer.sent + answer.seconds for answer in good)
        seconds = [answer.seconds for answer in good]
        found |= {
            "throughput": round(len(good) / (end - begin), 2),
            "mean": round(float(np.mean(seconds)), 5),
            "p50": round(percentile(seconds, 0.5), 5),
            "p95": round(percentile(seconds, 0.95), 5),
            "p99": round(percentile(seconds, 0.99), 5),
            "batch": round(float(np.mean([json.loads(one.body)["batch"] for one in good])), 2),
        }
    return found


def count_statuses(answers):
    """How many answers have each status: a dict with texts as names."""
    statuses = [answer.status for answer in answers]
    return {str(status): statuses.count(status) for status in sorted(set(statuses))}


# Drift ------------------------------------------------------------------------------------------


def watch(split, first, count, strategy):
    """The statistics (count, K) of scenes of a split and of what the shipped model says of them."""
    model = load_captioner()
    scenes = EmojiScenes(split)
    rows = []
    for start in range(first, first + count, BATCH):
        stop = min(start + BATCH, first + count)
        images = [scenes[index].image for index in range(start, stop)]
        captions = model.caption(images, strategy)
        for image, caption in zip(images, captions, strict=True):
            rows.append(statistics_of(image, caption.confidence))
    return np.array(rows)


def alarms_of(rows, reference, window):
    """Which windows of some statistics raise an alarm, a list of names or None."""
    monitor = Monitor(reference, window, RATE)
    found = []
    for row in rows:
        alarm = monitor.add(row)
        if monitor.pictures % window == 0:
            found.append(alarm.statistic if alarm else None)
    return found


def delays(before, after, share, reference, window, streams=400, seed=0):
    """Pictures from a change to the first alarm, in so many streams: a list.

    Until the change pictures are of ``before``, from then on this ``share`` of them is of
    ``after``. The change comes at any place of a window.
    """
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(streams):
        monitor = Monitor(reference, window, RATE)
        changed = int(rng.integers(window))
        for number in range(changed + 100 * window):
            new = number >= changed and rng.random() < share
            source = after if new else before
            alarm = monitor.add(source[rng.integers(len(source))])
            if alarm and number >= changed:
                found.append(number + 1 - changed)
                break
        else:
            found.append(None)
    return found


def drift_row(reference, window, parts, shares=(1.0, 0.5, 0.2)):
    """The row of a window: its false alarms, and its delays for shares of another style."""

    row = {"window": window, "alarms": {}}
    for name in ("checked", "composition", "style"):
        alarms = alarms_of(parts[name], reference, window)
        kinds = [alarm for alarm in alarms if alarm]
        row["alarms"][name] = [len(kinds), len(alarms)]
        if name == "style":
            row["statistics"] = {kind: kinds.count(kind) for kind in sorted(set(kinds))}
    row["delays"] = {}
    for share in shares:
        seen = delays(parts["checked"], parts["style"], share, reference, window)
        late = [delay for delay in seen if delay is not None]
        row["delays"][str(share)] = {
            "streams": len(seen),
            "missed": seen.count(None),
            "p50": percentile(late, 0.5) if late else None,
            "p95": percentile(late, 0.95) if late else None,
        }
    return row


def study_drift(folder):
    """A reference on val, false alarms on further scenes of val, delays on style."""
    references = {}
    for strategy in STRATEGIES:
        references[strategy] = fit_reference(watch("val", 0, REFERENCE, strategy))
    parts = {
        "checked": watch("val", REFERENCE, CHECKED, "greedy"),
        "composition": watch("composition", 0, STYLED, "greedy"),
        "style": watch("style", 0, STYLED, "greedy"),
    }
    fitted = references["greedy"]
    sure = {name: round(rows[:, -1].mean().item(), 3) for name, rows in parts.items()}
    return {
        "reference": {name: each.to_dict() for name, each in references.items()},
        "sha256": checksum(SHIPPED / "scenes" / WEIGHTS),
        "settings": {
            "reference": REFERENCE, "checked": CHECKED, "style": STYLED, "rate": RATE,
        },
        "mean confidence": sure,
        "rows": [drift_row(fitted, window, parts) for window in WINDOWS],
    }  # fmt: skip


# Load -------------------------------------------------------------------------------------------


def service_times(strategy, rounds=7):
    """Seconds that the model takes for a batch, the median of so many rounds, by its size."""
    model = load_captioner()
    scenes = EmojiScenes("val")
    images = [scenes[index].image for index in range(max(SERVICE_SIZES))]
    model.caption(images, strategy)
    times = {size: [] for size in SERVICE_SIZES}
    for _ in range(rounds):
        for size in SERVICE_SIZES:
            start = time.perf_counter()
            model.caption(images[:size], strategy)
            times[size].append(time.perf_counter() - start)
    return {size: float(np.median(seconds)) for size, seconds in times.items()}


def fit_line(times):
    """The fixed part and the part of each picture, by least squares: seconds of batches by size."""
    each, fixed = np.polyfit(list(times), list(times.values()), 1)
    return float(fixed), float(each)


ARMS = {"batches": ("--batch", str(BATCH)), "one at a time": ("--batch", "1", "--wait-ms", "0")}


def study_load(folder, rounds=3):
    """Closed loads on a server with batches and on one without, in turns."""
    sent = pictures()
    found = {"settings": {"batch": BATCH, "wait": 0.005, "rounds": rounds}, "rows": []}
    for strategy in STRATEGIES:
        with (
            serving(folder, "--strategy", strategy, *ARMS["batches"]) as first,
            serving(folder, "--strategy", strategy, *ARMS["one at a time"]) as second,
        ):
            servers = dict(zip(ARMS, (first, second), strict=True))
            for server in servers.values():
                asyncio.run(closed_load(server.port, sent, 8, 32))  # warm
            for clients in CLIENTS:
                found["rows"] += race(servers, sent, strategy, clients, rounds)
        found.setdefault("service", {})[strategy] = service_times(strategy)
    return found


def race(servers, sent, strategy, clients, rounds):
    """A row for each server: what so many clients got of it, with the rounds in turns."""
    count = {1: 24, 8: 64, 64: 128}[clients] // (2 if strategy == "beam" else 1)
    answers = {name: [] for name in servers}
    cpu = {name: [] for name in servers}
    order = list(servers)
    for _ in range(rounds):
        for name in order:
            before = servers[name].cpu_seconds()
            found = asyncio.run(closed_load(servers[name].port, sent, clients, count))
            good = sum(answer.status == 200 for answer in found)
            cpu[name].append(round(good / (servers[name].cpu_seconds() - before), 2))
            answers[name].append(found)
        order.reverse()
    rows = []
    for name, of_rounds in answers.items():
        row = {"strategy": strategy, "clients": clients, "arm": name}
        row["rounds"] = [summary(each)["throughput"] for each in of_rounds]
        row["a CPU second"] = cpu[name]
        together = [answer for each in of_rounds for answer in each]
        row |= summary(together) | {"throughput": float(np.median(row["rounds"]))}
        rows.append(row)
        print(row, flush=True)
    return rows


# Queues -----------------------------------------------------------------------------------------


class Sleeper:
    """A writer whose model only sleeps, as long as a batch takes: it disturbs no other."""

    size = 64

    def __init__(self, limits):
        self.batcher = Batcher(
            self.work, limits.batch, limits.wait, limits.waiting, limits.patience
        )

    @property
    def waiting(self):
        return len(self.batcher.waiting)

    @property
    def busy_seconds(self):
        return self.batcher.busy_seconds

    async def start(self):
        self.batcher.start()

    async def stop(self):
        await self.batcher.stop()

    async def write(self, picture):
        return await self.batcher.submit(picture)

    def work(self, pictures):
        time.sleep(SLEEP_FIXED + SLEEP_EACH * len(pictures))
        found = {"caption": "", "confidence": 1.0, "low_confidence": False}
        return [found | {"batch": len(pictures)} for _ in pictures]


def study_queue(folder, seconds=45):
    """Open loads on the application with a model that sleeps; a simulation is to say the same.

    All rows are measured at the same time, since none of them needs a processor for long.
    """
    rows = asyncio.run(all_queues(seconds))
    settings = {"fixed": SLEEP_FIXED, "each": SLEEP_EACH, "seconds": seconds}
    return {"settings": settings, "rows": rows}


async def all_queues(seconds):
    """The rows of all arms and loads; one at a time gets only those that it can bear."""
    wanted = [(arm, load) for load in LOADS for arm in ARMS if load < 1 or arm == "batches"]
    return await asyncio.gather(*(queue_row(arm, load, seconds) for arm, load in wanted))


async def queue_row(arm, load, seconds):
    """What became of Poisson arrivals at this share of what one at a time can bear."""
    import httpx

    from mmcourse.serving.server import Limits, make_app

    batch, wait = (BATCH, 0.005) if arm == "batches" else (1, 0)
    limits = Limits(batch=batch, wait=wait, waiting=10_000, uploads=10_000, patience=1000)
    app = make_app(Sleeper(limits), limits, log=lambda row: None)
    rate = load / (SLEEP_FIXED + SLEEP_EACH)
    times = poisson_arrivals(rate, round(rate * seconds), seed=1 + round(1000 * load))
    [picture] = pictures(1)
    latencies = []
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as client,
    ):
        begin = time.perf_counter()

        async def one_request(when):
            await asyncio.sleep(begin + when - time.perf_counter())
            sent = time.perf_counter()
            response = await client.post("/caption", content=picture, timeout=None)
            assert response.status_code == 200
            latencies.append(time.perf_counter() - sent)

        await asyncio.gather(*(one_request(when) for when in times))
    row = {"arm": arm, "load": load, "rate": rate, "count": len(times)}
    return row | {"mean": float(np.mean(latencies)), "p95": percentile(latencies, 0.95)}


# Too much ---------------------------------------------------------------------------------------


def study_overload(folder):
    """Twice as many requests as can be answered: what each gets, and the memory meanwhile."""
    sent = pictures()
    with serving(folder, "--strategy", "greedy") as server:
        asyncio.run(closed_load(server.port, sent, 64, 640))  # warm: memory has its size
        capacity = summary(asyncio.run(closed_load(server.port, sent, 64, 640)))["throughput"]
        before = server.memory()
        answers, memory = asyncio.run(overload(server, sent, 2 * capacity))
        after = summary(asyncio.run(closed_load(server.port, sent, 8, 160)))
        last = server.stop()
    head = {"capacity": capacity, "rate": 2 * capacity, "requests": len(answers)}
    memories = {"memory before": before, "memory": memory}
    return (
        head
        | summary(answers)
        | memories
        | {"after": after, "stop": last, "refused": refusals(answers)}
    )


async def overload(server, sent, rate):
    """Answers to requests at a rate, and rows of seconds and megabytes."""
    times = poisson_arrivals(rate, OVERLOAD, seed=7)
    asking = asyncio.create_task(open_load(server.port, sent, times))
    memory = []
    start = time.perf_counter()
    while not asking.done():
        memory.append([round(time.perf_counter() - start, 2), round(server.memory(), 1)])
        await asyncio.sleep(0.5)
    return await asking, memory


def refusals(answers):
    """How long a refusal takes: the median and the 95th percentile, in seconds."""
    seconds = [answer.seconds for answer in answers if answer.status == 503]
    if not seconds:
        return {}
    return {"p50": percentile(seconds, 0.5), "p95": percentile(seconds, 0.95)}


# Stopping ---------------------------------------------------------------------------------------


def study_stop(folder):
    """A server is told to stop while 32 clients ask; several times."""
    return {"rows": [stop_once(folder, seed) for seed in range(STOPS)]}


def stop_once(folder, seed, clients=32):
    """The row of a stop: what the clients got, and what the server says it accepted."""
    after = 0.5 + random.Random(seed).random()
    with serving(folder, "--strategy", "greedy") as server:

        async def ask_and_stop():
            asking = asyncio.create_task(closed_load(server.port, pictures(8), clients, 10**6))
            await asyncio.sleep(after)
            server.process.send_signal(signal.SIGTERM)
            return await asking

        answers = asyncio.run(ask_and_stop())
        server.process.wait(60)
        last = server.last_line()
    row = {"after": round(after, 3), "statuses": count_statuses(answers)}
    row |= {"accepted": last["accepted"], "answered": last["answered"]}
    print(row, flush=True)
    return row


# What is no picture -----------------------------------------------------------------------------


def study_malformed(folder):
    """Uploads that are no pictures, and requests that are none: what each gets."""
    good = pictures(1)[0]
    kinds = malformed(good, MALFORMED)
    with serving(folder, "--strategy", "greedy") as server:

        async def send_all():
            some = asyncio.Semaphore(16)

            async def send_one(data):
                async with some:
                    return await send_raw(server.port, data)

            return await asyncio.gather(*(send_one(data) for _, data in kinds))

        statuses = asyncio.run(send_all())
        after = asyncio.run(closed_load(server.port, [good], 1, 5))
        last = server.stop()
    table = {}
    for (kind, _), status in zip(kinds, statuses, strict=True):
        row = table.setdefault(kind, {})
        row[str(status)] = row.get(str(status), 0) + 1
    rows = [{"kind": kind, "statuses": row} for kind, row in table.items()]
    return {"requests": len(kinds), "after": count_statuses(after), "stop": last, "rows": rows}


async def send_raw(port, data, seconds=30):
    """The status of the answer to some bytes, LOST for none."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        await writer.drain()
        head = await asyncio.wait_for(reader.readline(), seconds)
        return int(head.split()[1])
    except (OSError, IndexError, ValueError, TimeoutError):
        return LOST
    finally:
        writer.close()


def malformed(good, count, seed=0):
    """``count`` pairs of a kind and the bytes of a request that must not be answered with 200.

    ``good`` are the bytes of a PNG file, which are spoilt in various ways.
    """
    rng = random.Random(seed)
    makers = {
        "cut off": lambda: request(good[: rng.randrange(1, len(good) - 20)], "/caption"),
        "changed bytes": lambda: request(spoil(good, rng), "/caption"),
        "noise": lambda: request(rng.randbytes(rng.randrange(1, 5000)), "/caption"),
        "noise after a PNG's first bytes": lambda: request(
            good[:8] + rng.randbytes(500), "/caption"
        ),
        "claims many pixels": lambda: request(claim(good, rng), "/caption"),
        "large and empty": lambda: request(large(rng), "/caption"),
        "another kind of file": lambda: request(rng.choice(OTHER_FILES), "/caption"),
        "says another type": lambda: other_type(good, rng),
        "nothing": lambda: request(b"", "/caption"),
        "too many bytes": lambda: request(bytes(rng.randrange(2_000_001, 12_000_000)), "/caption"),
        "path": lambda: request(good, rng.choice(PATHS)),
        "method": lambda: b"%s /caption HTTP/1.1\r\nHost: x\r\n\r\n" % rng.choice(METHODS),
        "not HTTP": lambda: rng.randbytes(60) + b"\r\n\r\n",
        "slow": lambda: request(good, "/caption")[: -rng.randrange(1, 1000)],
    }
    names = list(makers)
    return [(name, makers[name]()) for name in (names[i % len(names)] for i in range(count))]


OTHER_FILES = (
    b"<svg xmlns='http://www.w3.org/2000/svg'><rect width='9' height='9'/></svg>",
    b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\n",
    b"PK\x03\x04" + bytes(60),
    b"<!DOCTYPE html><script>alert(1)</script>",
    b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(20),
    b"\x7fELF" + bytes(100),
)
PATHS = (
    "/../../etc/passwd", "/caption/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/caption%00",
    "/caption/..%2f..%2fetc", "//etc/passwd", "/page.html", "/static/../server.py",
)  # fmt: skip
METHODS = (b"GET", b"PUT", b"DELETE", b"PATCH")


def spoil(good, rng):
    """A PNG file with a few bytes of its picture changed."""
    data = bytearray(good)
    for _ in range(8):
        place = rng.randrange(45, len(data) - 16)  # after the header, before the end
        data[place] ^= 1 + rng.randrange(255)
    return bytes(data)


def claim(good, rng):
    """A PNG file whose header says that it is huge, with the checksum that fits."""
    side = rng.choice((10_000, 65_000, 2**31 - 1))
    header = good[12:16] + side.to_bytes(4) * 2 + good[24:29]
    return good[:12] + header + zlib.crc32(header).to_bytes(4) + good[33:]


def large(rng):
    """A PNG file of few bytes and many pixels, all alike."""
    file = io.BytesIO()
    Image.new("1", (rng.choice((5000, 12_000)), 5000)).save(file, "PNG")
    return file.getvalue()


def other_type(good, rng):
    """A request whose head says that its body is something else."""
    kind = rng.choice((b"text/html", b"application/json", b"multipart/form-data; boundary=x"))
    return request(good, "/caption").replace(b"image/png", kind, 1)


# Replicas ---------------------------------------------------------------------------------------


def study_ray(folder, clients=24, rounds=5):
    """One replica, then two; of these one is killed at last, while it is asked."""
    sent = pictures()
    found = {"settings": {"clients": clients}, "rows": []}
    for replicas in ("1", "2"):
        with serving(folder, "--strategy", "greedy", "--replicas", replicas) as server:
            asyncio.run(closed_load(server.port, sent, clients, 200))  # warm
            asked = [
                asyncio.run(closed_load(server.port, sent, clients, 200)) for _ in range(rounds)
            ]
            row = {"replicas": int(replicas)}
            row["rounds"] = [summary(each)["throughput"] for each in asked]
            row |= summary([answer for each in asked for answer in each])
            found["rows"].append(row | {"throughput": float(np.median(row["rounds"]))})
            print(row, flush=True)
            if replicas == "2":
                found["killed"] = asyncio.run(kill_under_load(server, sent, clients))
            found["stop"] = server.stop()
    return found


async def kill_under_load(server, sent, clients, count=500):
    """Kill a replica while clients ask: what they got, by seconds, and when it was replaced."""
    before = replicas_of(server.process.pid)
    asking = asyncio.create_task(closed_load(server.port, sent, clients, count))
    await asyncio.sleep(3)
    killed = time.perf_counter()
    os.kill(before[0], signal.SIGKILL)
    back = asyncio.create_task(seconds_until(server.process.pid, len(before)))
    answers = await asking
    waited = [one.seconds for one in answers if one.sent < killed < one.sent + one.seconds]
    seconds = [int(one.sent + one.seconds - killed + 100) - 100 for one in answers]
    replaced = await back
    return {
        "replaced after": replaced,
        "replicas before": len(before),
        "replicas after": len(replicas_of(server.process.pid)),
        "same": len({*before} & {*replicas_of(server.process.pid)}),
        "requests": len(answers),
        "inside at the kill": len(waited),
        "longest": round(max(one.seconds for one in answers), 3),
        "a second": {str(second): seconds.count(second) for second in sorted(set(seconds))},
    } | summary(answers)


async def seconds_until(process, count, most=120):
    """How long it takes until so many replicas are below a process; None where ``most`` is over."""
    start = time.perf_counter()
    while time.perf_counter() < start + most:
        if len(replicas_of(process)) >= count:
            return round(time.perf_counter() - start, 1)
        await asyncio.sleep(0.2)
    return None


def replicas_of(process):
    """The process ids of Ray's replicas below a process, by /proc."""
    parents, names = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            names[int(folder.name)] = (folder / "cmdline").read_bytes()
            parents[int(folder.name)] = int(
                (folder / "stat").read_text().rsplit(")", 1)[1].split()[1]
            )
        except OSError:
            continue  # it has ended

    def is_below(number):
        while number in parents:
            if number == process:
                return True
            number = parents[number]
        return False

    found = [number for number, name in names.items() if name.startswith(b"ray::ServeReplica")]
    return sorted(number for number in found if is_below(number))


STUDIES = {
    "drift": study_drift,
    "load": study_load,
    "queue": study_queue,
    "overload": study_overload,
    "stop": study_stop,
    "malformed": study_malformed,
    "ray": study_ray,
}


def main(name):
    """Make a study and store it."""
    torch.set_num_threads(1)
    start = time.time()
    with tempfile.TemporaryDirectory() as folder:
        found = STUDIES[name](folder)
    command = f"python -m mmcourse.recipes.serving_studies {name}"
    head = {"command": command, "seconds": round(time.time() - start)} | machine()
    write_study(f"serving_{name}", head | found)


if __name__ == "__main__":
    main(sys.argv[1])
