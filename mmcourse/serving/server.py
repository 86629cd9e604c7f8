"""The web application: pictures come in, captions go out, and what cannot be held is refused.

``POST /caption`` takes the bytes of a picture as its body. ``GET /`` is a page that sends one,
``/health`` says that the process lives and its model goes on, ``/ready`` that it takes requests,
``/metrics`` has numbers for Prometheus, ``/openapi.json`` describes all this. It needs the extra
``serve``.
"""

import asyncio
import io
import itertools
import json
import logging
import secrets
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from PIL import Image
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client import generate_latest as metrics_text
from starlette.requests import ClientDisconnect

import mmcourse
from mmcourse.data.pictures import FORMATS, load_picture
from mmcourse.serving.batching import Batcher, Full, Stopped, TooLate
from mmcourse.serving.drift import statistics_of

PAGE = Path(__file__).with_name("page.html")
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)  # bounds of the bins of latency
SIZES = (1, 2, 4, 8, 16, 32, 64)  # ... and of batches


@dataclass(frozen=True)
class Limits:
    """What one server holds. Memory stays below ``uploads * size`` and one decoded picture."""

    size: int = 2_000_000  #: bytes of a picture
    pixels: int = 16_000_000  #: of a picture, decoded
    uploads: int = 128  #: requests that are inside at a time
    waiting: int = 64  #: pictures that wait for the model
    upload_seconds: float = 10.0  #: for sending a picture
    patience: float = 10.0  #: seconds that a picture may wait for the model
    batch: int = 16  #: pictures that the model sees at a time
    wait: float = 0.005  #: seconds that a picture waits for company
    hung: float = 60.0  #: seconds for one batch, after which the model is taken to hang


class Refused(Exception):
    """A request that gets an error: ``status`` and a sentence that says what to do."""

    def __init__(self, status, sentence):
        super().__init__(sentence)
        self.status = status


class LocalWriter:
    """Captions by a model in this process, in batches.

    ``load`` is a function without arguments that returns a captioner of scenes; :meth:`reload`
    calls it again. ``strategy`` is that of :meth:`~mmcourse.captioning.Captioner.caption`.
    """

    def __init__(self, load, strategy="beam", limits=None):
        limits = limits or Limits()
        self.load = load
        self.strategy = strategy
        self.model = load()
        self.batcher = Batcher(
            self.caption, limits.batch, limits.wait, limits.waiting, limits.patience
        )

    @property
    def size(self):
        """Pixels along a side of the pictures that the model sees."""
        return self.model.image_size

    @property
    def waiting(self):
        """How many pictures wait."""
        return len(self.batcher.waiting)

    @property
    def busy_seconds(self):
        """For how long the model has been at its present batch, 0 if it has none."""
        return self.batcher.busy_seconds

    def caption(self, pictures):
        """What is said of each of a list of pictures, uint8 (size, size, 3): a list of dicts."""
        model = self.model  # the same for all of a batch, also when it is replaced meanwhile
        return [
            describe(model, one, len(pictures)) for one in model.caption(pictures, self.strategy)
        ]

    async def start(self):
        """Begin to take pictures."""
        self.batcher.start()

    async def stop(self):
        """Answer those that wait, and end."""
        await self.batcher.stop()

    async def write(self, picture):
        """What :meth:`caption` says of one picture. Raises what the batcher raises."""
        return await self.batcher.submit(picture)

    def reload(self):
        """Load the model again and use it from the next batch on.

        Where that fails, or the new model takes pictures of another size or fails on a grey one,
        the former one stays and the error is raised.
        """
        new = self.load()
        if new.image_size != self.size:
            raise ValueError(f"the new model sees {new.image_size} pixels, the present {self.size}")
        grey = Image.new("RGB", (new.image_size, new.image_size), "grey")
        new.caption(grey, self.strategy)
        self.model = new


def describe(model, caption, batch):
    """A Caption as JSON can hold it; ``batch`` is how many pictures were described together."""
    return {
        "caption": caption.text,
        "confidence": caption.confidence,
        "confidence_is": model.confidence_is,
        "low_confidence": caption.confidence < model.low_confidence,
        "batch": batch,
    }


class Metrics:
    """What is counted, for Prometheus."""

    def __init__(self, writer):
        self.registry = CollectorRegistry()
        named = {"registry": self.registry}
        self.requests = Counter(
            "mmcourse_requests", "Requests for a caption, by the status of the answer",
            ["status"], **named,
        )  # fmt: skip
        self.latency = Histogram(
            "mmcourse_latency_seconds", "From the first byte of a request to its answer",
            buckets=SECONDS, **named,
        )  # fmt: skip
        self.batch = Histogram(
            "mmcourse_batch_size", "Pictures that were described together, by picture",
            buckets=SIZES, **named,
        )  # fmt: skip
        self.unsure = Counter("mmcourse_low_confidence", "Captions of low confidence", **named)
        self.alarms = Counter("mmcourse_drift_alarms", "Windows unlike the reference", **named)
        self.inside = Gauge("mmcourse_requests_inside", "Requests without an answer yet", **named)
        waiting = Gauge("mmcourse_pictures_waiting", "Pictures that wait for the model", **named)
        waiting.set_function(lambda: writer.waiting)


class Desk:
    """Where requests come in: each is read, checked, described, counted and logged.

    ``writer`` has ``size``, ``waiting``, ``busy_seconds``, ``start``, ``stop`` and ``write``, as
    :class:`LocalWriter`. ``monitor`` is a :class:`~mmcourse.serving.Monitor` or None. ``log`` is
    called with a dict for each request; a picture or a caption is never in it.
    """

    def __init__(self, writer, limits, monitor, log):
        self.writer = writer
        self.limits = limits
        self.monitor = monitor
        self.log = log
        self.metrics = Metrics(writer)
        self.inside = 0
        self.ready = False
        self.accepted = 0  # pictures that were given to the writer and not refused by it
        self.answered = 0  # ... of which the caption was returned
        self.decoder = ThreadPoolExecutor(1, thread_name_prefix="decode")  # a picture at a time
        self.run = secrets.token_hex(3)
        self.numbers = itertools.count(1)

    @property
    def hangs(self):
        """Whether the model has been at one batch for so long that it will hardly come back."""
        return self.writer.busy_seconds > self.limits.hung

    async def caption(self, request):
        """The answer to a request, whatever it is."""
        begin = time.perf_counter()
        row = {"id": f"{self.run}-{next(self.numbers)}"}
        self.inside += 1
        self.metrics.inside.set(self.inside)
        try:
            answer = await self.describe(request, row)
            status = 200
        except Refused as error:
            answer, status = {"error": str(error)}, error.status
        except Exception as error:  # a fault of ours; the next request is none the worse for it
            logging.getLogger(__name__).exception("request %s failed", row["id"])
            answer, status = {"error": f"the server failed ({type(error).__name__})"}, 500
        finally:
            self.inside -= 1
            self.metrics.inside.set(self.inside)
        seconds = time.perf_counter() - begin
        self.metrics.requests.labels(str(status)).inc()
        self.metrics.latency.observe(seconds)
        self.log({"event": "request", "status": status, "ms": round(1000 * seconds, 1)} | row)
        headers = {"X-Request-Id": row["id"]}
        if status == 503:
            headers["Retry-After"] = "1"
        if status == 408:
            headers["Connection"] = "close"  # the rest of the picture is not wanted
        return JSONResponse(answer, status, headers)

    async def describe(self, request, row):
        """The caption of the picture that a request brings, a dict. Raises Refused."""
        if self.inside > self.limits.uploads:
            raise Refused(503, f"{self.limits.uploads} requests are inside: try again later")
        check_type(request.headers.get("content-type", ""))
        body = await read_body(request, self.limits)
        row["bytes"] = len(body)
        picture = await self.decode(body)
        self.accepted += 1
        try:
            found = await self.writer.write(picture)
        except (Full, TooLate, Stopped) as error:
            self.accepted -= 1  # it is told so
            raise Refused(503, str(error)) from error
        self.answered += 1
        self.metrics.batch.observe(found["batch"])
        self.metrics.unsure.inc(found["low_confidence"])
        row |= {"batch": found["batch"], "confidence": round(found["confidence"], 3)}
        self.watch(picture, found["confidence"])
        return found

    async def decode(self, body):
        """The picture of some bytes, uint8 (size, size, 3). Raises Refused."""
        loop = asyncio.get_running_loop()
        arguments = (body, self.limits.pixels, self.writer.size)
        try:
            return await loop.run_in_executor(self.decoder, read_picture, *arguments)
        except ValueError as error:
            raise Refused(422, str(error)) from error
        except MemoryError as error:
            raise Refused(503, str(error)) from error

    def watch(self, picture, confidence):
        """Show a picture and its confidence to the monitor."""
        if self.monitor is None:
            return
        alarm = self.monitor.add(statistics_of(picture, confidence))
        if alarm:
            self.metrics.alarms.inc()
            self.log(
                {"event": "drift", "statistic": alarm.statistic, "score": round(alarm.score, 1)}
            )

    async def start(self):
        await self.writer.start()
        self.ready = True
        self.log({"event": "start"})

    async def stop(self):
        self.ready = False
        await self.writer.stop()
        self.decoder.shutdown()
        self.log({"event": "stop", "accepted": self.accepted, "answered": self.answered})


def check_type(content_type):
    """Raise Refused for a body that says itself that it is no picture."""
    kind = content_type.split(";")[0].strip().lower()
    if kind and not kind.startswith("image/") and kind != "application/octet-stream":
        raise Refused(415, f"expected the bytes of a picture as image/..., got {kind[:40]}")


async def read_body(request, limits):
    """The bytes that a request brings. Raises Refused: too many, too slow, none, or cut off."""
    body = bytearray()
    received = 0
    try:
        async with asyncio.timeout(limits.upload_seconds):
            async for chunk in request.stream():
                received += len(chunk)
                if received <= limits.size:  # what is more is dropped, and the refusal then heard
                    body += chunk
    except TimeoutError as error:
        raise Refused(408, f"the picture took more than {limits.upload_seconds:g} s") from error
    except ClientDisconnect as error:
        raise Refused(400, "the connection ended before the picture did") from error
    if received > limits.size:
        raise Refused(413, f"at most {limits.size:,} bytes are taken: make the picture smaller")
    if not body:
        raise Refused(400, "expected the bytes of a picture, got none")
    return bytes(body)


def read_picture(body, pixels, size):
    """The picture of some bytes, uint8 (size, size, 3). ValueError for none, or one too large."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(io.BytesIO(body), formats=FORMATS) as image:
                found = image.width * image.height
        except Exception:  # load_picture says what is wrong
            found = 0
    if found > pixels:
        raise ValueError(f"at most {pixels:,} pixels are taken, got {found:,}: make it smaller")
    return load_picture(io.BytesIO(body), size)


DESCRIBED = {
    "requestBody": {
        "required": True,
        "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}},
    },
    "responses": {
        "200": {
            "description": "A caption, how sure the model is, and with how many it was written"
        },
        "400": {"description": "No body, or one that was cut off"},
        "408": {"description": "The picture came too slowly"},
        "413": {"description": "Too many bytes"},
        "415": {"description": "The body says that it is no picture"},
        "422": {"description": "No picture, a damaged one, or too many pixels"},
        "503": {"description": "Too busy or stopping: Retry-After says when to ask again"},
    },
}


def make_app(writer, limits=None, monitor=None, log=None):
    """The FastAPI application. The arguments are those of :class:`Desk`, its ``app.state.desk``."""
    desk = Desk(writer, limits or Limits(), monitor, log or print_line)

    @asynccontextmanager
    async def lifespan(app):
        await desk.start()
        yield
        await desk.stop()

    about = {"title": "mmcourse", "version": mmcourse.__version__}
    app = FastAPI(
        **about, docs_url=None, redoc_url=None, lifespan=lifespan
    )  # theirs need a network
    app.state.desk = desk

    @app.post("/caption", openapi_extra=DESCRIBED, summary="Describe a picture")
    async def caption(request: Request):
        return await desk.caption(request)

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page():
        return PAGE.read_text(encoding="utf-8")

    @app.get("/health", summary="Whether the process lives and its model goes on")
    async def health():
        if desk.hangs:
            return JSONResponse({"status": "the model hangs: start the server again"}, 503)
        return {"status": "alive"}

    @app.get("/ready", summary="Whether it takes requests")
    async def ready():
        ready = desk.ready and not desk.hangs
        return JSONResponse({"ready": ready}, 200 if ready else 503)

    @app.get("/metrics", response_class=PlainTextResponse, summary="Numbers for Prometheus")
    async def metrics():
        text = metrics_text(desk.metrics.registry)
        return PlainTextResponse(text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    return app


def print_line(row):
    """Print what happened as a line of JSON, with the time. A full disk stops nothing."""
    line = json.dumps({"time": round(time.time(), 3)} | row)
    with suppress(OSError):
        print(line, flush=True)
