"""The application: answers, limits, refusals, metrics, log, drift, and a model that is replaced."""

import asyncio
import io
import json
import threading
import time
import tracemalloc
import types

import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from starlette.requests import ClientDisconnect

import mmcourse
from mmcourse.captioning import SceneCaptioner
from mmcourse.data import EmojiScenes
from mmcourse.data.language import vocabulary
from mmcourse.hub import load_captioner
from mmcourse.recipes.serving_studies import malformed, pictures
from mmcourse.serving import Full, Monitor, Reference, Stopped, TooLate
from mmcourse.serving import server as application
from mmcourse.serving.server import Limits, LocalWriter, make_app

TINY = {"width": 8, "heads": 2, "decoder_layers": 1, "channels": [8, 8, 8], "blocks": [0, 0, 0]}


def tiny(seed=0, **options):
    torch.manual_seed(seed)
    return SceneCaptioner(vocabulary(), **TINY | options, max_length=6).eval()


class Echo:
    """A writer that says how bright a picture is; it fails as it is told, and can be held."""

    size = 64
    waiting = 0
    busy_seconds = 0.0

    def __init__(self, error=None):
        self.error = error
        self.go = asyncio.Event()
        self.go.set()
        self.inside = 0
        self.most = 0
        self.stopped = False

    async def start(self):
        pass

    async def stop(self):
        self.stopped = True

    async def write(self, picture):
        self.inside += 1
        self.most = max(self.most, self.inside)
        await self.go.wait()
        self.inside -= 1
        if self.error:
            raise self.error
        text = f"{picture.mean():.1f}"
        return {"caption": text, "confidence": 0.4, "low_confidence": True, "batch": 1}


def ask(writer, *calls, limits=None, monitor=None):
    """The responses to some calls, functions of a client, and what was logged."""
    rows = []

    async def main():
        app = make_app(writer, limits, monitor, rows.append)
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
                return [await call(client) for call in calls]

    return asyncio.run(asyncio.wait_for(main(), 60)), rows


def post(body, **headers):
    """A call that sends a body; ``content_type`` and the like are headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda client: client.post("/caption", content=body, headers=named)


def get(path):
    return lambda client: client.get(path)


def encoded(image, kind="PNG", **options):
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def good():
    return pictures(4)


def test_it_says_what_the_command_line_says(good):
    model = load_captioner("scenes")
    expected = model.caption([io.BytesIO(picture) for picture in good])
    found, _ = ask(LocalWriter(lambda: model), *map(post, good))
    for response, caption in zip(found, expected, strict=True):
        body = response.json()
        assert response.status_code == 200 and body["caption"] == caption.text
        assert body["confidence"] == pytest.approx(caption.confidence, rel=1e-4)
        assert body["low_confidence"] == (caption.confidence < 0.5)
        assert body["confidence_is"] == model.confidence_is


def test_together_they_say_what_they_say_alone(good):
    model = load_captioner("scenes")
    writer = LocalWriter(lambda: model, "greedy", Limits(wait=30, batch=4))  # full at four

    async def all_at_once(client):
        return await asyncio.gather(*(post(picture)(client) for picture in good))

    (((*found,), _),) = [ask(writer, all_at_once)]
    found = found[0]
    assert [one.json()["batch"] for one in found] == [4] * 4
    for response, picture in zip(found, good, strict=True):
        alone = model.caption(io.BytesIO(picture), "greedy")
        assert response.json()["caption"] == alone.text
        assert response.json()["confidence"] == pytest.approx(alone.confidence, rel=1e-4)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM"])
def test_every_kind_of_picture_is_read(kind):
    image = np.full((30, 40, 3), 128, np.uint8)
    (found,), _ = ask(Echo(), post(encoded(image, kind), content_type=f"image/{kind.lower()}"))
    assert found.status_code == 200 and float(found.json()["caption"]) == pytest.approx(128, abs=3)


def test_without_a_type_and_with_that_of_bytes():
    body = encoded(np.zeros((8, 8, 3), np.uint8))
    calls = post(body), post(body, content_type="application/octet-stream")
    found, _ = ask(Echo(), *calls)
    assert [one.status_code for one in found] == [200, 200]


BAD = [
    (b"", {}, 400, "got none"),
    (b"x" * 2_000_001, {}, 413, "at most 2,000,000 bytes"),
    (b"x" * 8_000_001, {}, 413, "at most 2,000,000 bytes"),
    (b"no picture", {}, 422, "is none: convert it"),
    (b"<html>", {"content_type": "text/html; charset=utf-8"}, 415, "as image/..., got text/html"),
    (b"{}", {"content_type": "application/json"}, 415, "got application/json"),
]


@pytest.mark.parametrize(("body", "headers", "status", "message"), BAD)
def test_bad_uploads(body, headers, status, message, good):
    (found, then), rows = ask(Echo(), post(body, **headers), post(good[0]))
    assert found.status_code == status and message in found.json()["error"]
    assert "connection" not in found.headers
    assert then.status_code == 200
    assert [row["status"] for row in rows if row["event"] == "request"] == [status, 200]


def test_pixels_are_counted_before_they_are_decoded(monkeypatch):
    body = encoded(np.zeros((101, 100, 3), np.uint8))
    limits = Limits(pixels=10_000)
    (found,), _ = ask(Echo(), post(body), limits=limits)
    assert found.status_code == 422
    assert "at most 10,000 pixels are taken, got 10,100" in found.json()["error"]
    (found,), _ = ask(Echo(), post(encoded(np.zeros((100, 100, 3), np.uint8))), limits=limits)
    assert found.status_code == 200
    monkeypatch.setattr(application, "load_picture", lambda *_: pytest.fail("it was decoded"))
    (found,), _ = ask(Echo(), post(body), limits=limits)
    assert found.status_code == 422


def chunks(*parts, pause=0.0):
    """A body that comes in parts, without a length."""

    async def body():
        for part in parts:
            await asyncio.sleep(pause)
            yield part

    return lambda client: client.post("/caption", content=body())


def test_a_body_without_a_length_is_counted_as_it_comes(good):
    (found, whole), _ = ask(
        Echo(), chunks(*[b"x" * 500_000] * 5), chunks(good[0][:100], good[0][100:])
    )
    assert found.status_code == 413 and whole.status_code == 200


def test_of_a_body_that_is_too_large_no_more_is_kept_than_is_allowed():
    async def stream():
        for _ in range(60):
            yield bytes(500_000)

    tracemalloc.start()
    with pytest.raises(application.Refused, match="at most 2,000,000 bytes"):
        asyncio.run(application.read_body(types.SimpleNamespace(stream=stream), Limits()))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8_000_000


def test_a_slow_upload_is_given_up(good):
    limits = Limits(upload_seconds=0.1)
    (found,), _ = ask(Echo(), chunks(good[0][:50], good[0][50:], pause=0.3), limits=limits)
    assert found.status_code == 408 and "more than 0.1 s" in found.json()["error"]
    assert found.headers["connection"] == "close"


@pytest.mark.parametrize("error", [Full("64 wait"), TooLate("waited"), Stopped("stops")])
def test_what_cannot_be_held_is_told_when_to_come_again(error, good):
    (found, ready), rows = ask(Echo(error), post(good[0]), get("/ready"))
    assert found.status_code == 503 and found.headers["retry-after"] == "1"
    assert found.json() == {"error": str(error)} and ready.status_code == 200
    assert rows[-1] == {"event": "stop", "accepted": 0, "answered": 0}


def test_a_fault_of_the_model_is_no_ones_end(good, caplog):
    writer = Echo(RuntimeError("secret"))
    (found,), rows = ask(writer, post(good[0]))
    assert found.status_code == 500 and "secret" not in found.text
    assert "RuntimeError" in found.json()["error"] and "secret" in caplog.text
    assert rows[-1] == {"event": "stop", "accepted": 1, "answered": 0}


def test_no_more_are_inside_than_may_be(good):
    writer = Echo()

    async def many(client):
        writer.go.clear()
        tasks = [asyncio.create_task(post(good[0])(client)) for _ in range(5)]
        while writer.inside < 3:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        writer.go.set()
        return await asyncio.gather(*tasks)

    (found, later), _ = ask(writer, many, post(good[0]), limits=Limits(uploads=3))
    assert sorted(one.status_code for one in found) == [200, 200, 200, 503, 503]
    told = {one.json()["error"] for one in found if one.status_code == 503}
    assert told == {"3 requests are inside: try again later"}
    assert writer.most == 3 and later.status_code == 200


def test_paths_and_methods(good):
    calls = [
        get("/nothing"), get("/caption"), get("/page.html"), get("/docs"), get("/../server.py"),
        lambda client: client.put("/caption", content=good[0]),
        lambda client: client.post("/caption/../../etc/passwd", content=good[0]),
    ]  # fmt: skip
    found, _ = ask(Echo(), *calls)
    assert [one.status_code for one in found] == [404, 405, 404, 404, 404, 405, 404]


def test_what_else_it_has():
    paths = ("/", "/health", "/ready", "/openapi.json")
    (page, health, ready, described), rows = ask(Echo(), *map(get, paths))
    assert "<title>mmcourse" in page.text and page.headers["content-type"].startswith("text/html")
    assert "http" not in page.text.replace("https://", "http").split("<script>")[0]
    assert health.json() == {"status": "alive"} and ready.json() == {"ready": True}
    operation = described.json()["paths"]["/caption"]["post"]
    assert "image/*" in operation["requestBody"]["content"]
    assert {"200", "400", "408", "413", "415", "422", "503"} <= set(operation["responses"])
    assert [row["event"] for row in rows] == ["start", "stop"]


def test_it_is_not_ready_before_it_starts_and_when_it_stops():
    writer = Echo()
    app = make_app(writer)

    async def main():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            before = await client.get("/ready")
            async with app.router.lifespan_context(app):
                inside = await client.get("/ready")
            return before, inside, await client.get("/ready")

    found = asyncio.run(main())
    assert [one.status_code for one in found] == [503, 200, 503] and writer.stopped


@pytest.mark.parametrize(("seconds", "status"), [(0.0, 200), (59.9, 200), (60.1, 503)])
def test_a_model_that_hangs_is_noticed(seconds, status):
    writer = Echo()
    writer.busy_seconds = seconds
    found, _ = ask(writer, get("/health"), get("/ready"))
    assert [one.status_code for one in found] == [status, status]
    assert found[1].json() == {"ready": status == 200}
    assert ("hangs" in found[0].json()["status"]) == (status == 503)


def test_while_a_model_hangs_who_waits_is_refused_and_then_it_goes_on(good):
    go = threading.Event()
    model = tiny(0)
    writes = model.caption
    model.caption = lambda *given: go.wait(30) and writes(*given)
    limits = Limits(hung=0.2, patience=0.3, wait=0, batch=1)

    async def hang(client):
        first = asyncio.create_task(post(good[0])(client))
        while (await client.get("/health")).status_code == 200:
            await asyncio.sleep(0.02)
        second = await post(good[1])(client)
        go.set()
        return [second, await first, await client.get("/health"), await client.get("/ready")]

    (found,), _ = ask(LocalWriter(lambda: model, "greedy", limits), hang, limits=limits)
    assert [one.status_code for one in found] == [503, 200, 200, 200]
    assert found[0].json() == {"error": "waited more than 0.3 seconds"}


def numbers_of(text):
    """The samples of metrics in Prometheus' format: a dict by name and labels."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name, *sample.labels.values()] = sample.value
    return found


def test_metrics_count(good):
    calls = [post(good[0]), post(good[1]), post(b"no"), get("/metrics")]
    (*_, found), _ = ask(Echo(), *calls)
    numbers = numbers_of(found.text)
    assert numbers["mmcourse_requests_total", "200"] == 2
    assert numbers["mmcourse_requests_total", "422"] == 1
    assert numbers["mmcourse_latency_seconds_count",] == 3
    assert numbers["mmcourse_batch_size_count",] == 2
    assert numbers["mmcourse_low_confidence_total",] == 2
    assert numbers["mmcourse_requests_inside",] == 0 == numbers["mmcourse_pictures_waiting",]


def test_the_log_has_no_picture_and_no_caption(good):
    _, rows = ask(Echo(), post(good[0]), post(b"no picture"))
    first, second = (row for row in rows if row["event"] == "request")
    assert set(first) == {"event", "status", "ms", "id", "bytes", "batch", "confidence"}
    assert set(second) == {"event", "status", "ms", "id", "bytes"}
    assert first["id"] != second["id"] and first["bytes"] == len(good[0])
    (found,), rows = ask(Echo(), post(good[0]))
    assert found.headers["x-request-id"] == rows[1]["id"]


def test_lines_are_json(capsys):
    application.print_line({"event": "x", "status": 200})
    row = json.loads(capsys.readouterr().out)
    assert row.pop("time") > 1e9 and row == {"event": "x", "status": 200}


def test_a_full_disk_stops_no_answer(monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("builtins.print", full)
    application.print_line({"event": "x"})


def test_drift_is_counted_and_logged(good):
    dark = encoded(np.zeros((64, 64, 3), np.uint8))
    reference = Reference((0.6,) * 6 + (0.9,), (0.1,) * 7, 1000)
    calls = [post(dark)] * 7 + [get("/metrics")]
    (*_, found), rows = ask(Echo(), *calls, monitor=Monitor(reference, window=3))
    assert numbers_of(found.text)["mmcourse_drift_alarms_total",] == 2
    alarms = [row for row in rows if row["event"] == "drift"]
    assert len(alarms) == 2 and alarms[0]["statistic"] == "red" and alarms[0]["score"] < -5


class TestReload:
    def test_a_new_model_is_used_and_a_bad_one_is_not(self, good):
        first, second = tiny(0), tiny(1)
        loaded = iter([first, second, ValueError("damaged"), tiny(2, image_size=32)])

        def load():
            model = next(loaded)
            if isinstance(model, Exception):
                raise model
            return model

        writer = LocalWriter(load, "greedy")
        assert writer.model is first and writer.size == 64
        writer.reload()
        assert writer.model is second
        with pytest.raises(ValueError, match="damaged"):
            writer.reload()
        with pytest.raises(ValueError, match="sees 32 pixels, the present 64"):
            writer.reload()
        assert writer.model is second

    def test_a_model_that_fails_on_a_picture_is_not_used(self, monkeypatch):
        broken = tiny(1)
        monkeypatch.setattr(broken, "encode", lambda images: 1 / 0)
        loaded = iter([tiny(0), broken])
        writer = LocalWriter(lambda: next(loaded), "greedy")
        former = writer.model
        with pytest.raises(ZeroDivisionError):
            writer.reload()
        assert writer.model is former

    def test_requests_go_on_meanwhile(self, good):
        writer = LocalWriter(lambda: tiny(0), "greedy")

        async def reload_meanwhile(client):
            thread = threading.Thread(target=writer.reload)
            thread.start()
            found = [await post(picture)(client) for picture in good]
            thread.join()
            return found

        (found,), _ = ask(writer, reload_meanwhile)
        assert {one.status_code for one in found} == {200}


def test_the_uploads_of_the_study_are_many_kinds_and_each_is_its_own(good):
    kinds = malformed(good[0], 60)
    assert len({kind for kind, _ in kinds}) == 14 and len({data for _, data in kinds}) > 45
    assert malformed(good[0], 60) == kinds


def test_spoilt_pictures_are_refused(good):
    kinds = [
        data.split(b"\r\n\r\n", 1)[1]
        for kind, data in malformed(good[0], 196)
        if kind in ("cut off", "changed bytes", "noise", "claims many pixels", "large and empty")
    ]
    found, _ = ask(Echo(), *(post(body, content_type="image/png") for body in kinds))
    assert len(found) == 70 and {one.status_code for one in found} == {422}


def test_scenes_are_seen_as_they_are():
    scene = EmojiScenes("val")[5]
    seen = application.read_picture(encoded(scene.image), 10**6, 64)
    np.testing.assert_array_equal(seen, scene.image)


def test_a_writer_has_the_limits_that_were_set():
    limits = Limits(batch=3, wait=0.2, waiting=5, patience=7)
    batcher = LocalWriter(tiny, limits=limits).batcher
    assert (batcher.most, batcher.wait, batcher.limit, batcher.patience) == (3, 0.2, 5, 7)


def test_latency_is_counted_in_seconds(good):
    writer = Echo()

    async def slow(client):
        writer.go.clear()
        asyncio.get_running_loop().call_later(0.1, writer.go.set)
        return await post(good[0])(client)

    (_, found), _ = ask(writer, slow, get("/metrics"))
    assert 0.05 < numbers_of(found.text)["mmcourse_latency_seconds_sum",] < 10


def test_no_memory_for_a_picture_is_told_when_to_come_again(good, monkeypatch):
    def full(*_):
        raise MemoryError("there is too little memory")

    monkeypatch.setattr(application, "load_picture", full)
    (found,), _ = ask(Echo(), post(good[0]))
    assert found.status_code == 503 and found.headers["retry-after"] == "1"
    assert found.json() == {"error": "there is too little memory"}


def test_an_upload_that_is_cut_off_is_refused():
    async def stream():
        yield b"half of it"
        raise ClientDisconnect

    with pytest.raises(
        application.Refused, match="^the connection ended before the picture did$"
    ) as refused:
        asyncio.run(application.read_body(types.SimpleNamespace(stream=stream), Limits()))
    assert refused.value.status == 400


def test_captions_of_high_confidence_are_not_counted_as_low(good, monkeypatch):
    writer = Echo()
    sure = {"caption": "a cup", "confidence": 0.9, "low_confidence": False, "batch": 1}

    async def write(picture):
        return sure

    monkeypatch.setattr(writer, "write", write)
    (_, found), _ = ask(writer, post(good[0]), get("/metrics"))
    assert numbers_of(found.text)["mmcourse_low_confidence_total",] == 0


def test_who_waits_is_counted_at_the_time():
    writer = Echo()

    async def later(client):
        writer.waiting = 7
        return await client.get("/metrics")

    (before, after), _ = ask(writer, get("/metrics"), later)
    found = [numbers_of(one.text)["mmcourse_pictures_waiting",] for one in (before, after)]
    assert found == [0, 7]


def test_it_is_not_ready_while_it_stops():
    ready = []

    class Last(Echo):
        async def stop(self):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
                ready.append((await client.get("/ready")).status_code)

    app = make_app(Last(), log=lambda row: None)

    async def main():
        async with app.router.lifespan_context(app):
            pass

    asyncio.run(main())
    assert ready == [503]


def test_a_type_may_have_capitals():
    body = encoded(np.zeros((8, 8, 3), np.uint8))
    (found,), _ = ask(Echo(), post(body, content_type="Image/PNG"))
    assert found.status_code == 200


def test_what_the_model_gets_has_its_size():
    seen = []

    class Small(Echo):
        size = 32

        async def write(self, picture):
            seen.append(picture)
            return await super().write(picture)

    ask(Small(), post(encoded(np.zeros((90, 70, 3), np.uint8))))
    assert [(one.shape, one.dtype) for one in seen] == [((32, 32, 3), np.uint8)]


def test_one_picture_is_decoded_at_a_time(good, monkeypatch):
    names = []
    real = application.read_picture

    def read_picture(*arguments):
        names.append(threading.current_thread().name)
        return real(*arguments)

    monkeypatch.setattr(application, "read_picture", read_picture)

    async def together(client):
        return await asyncio.gather(*(post(picture)(client) for picture in good * 2))

    ask(Echo(), together)
    assert names == ["decode_0"] * 8  # so that one decoded picture is all that memory holds


def test_as_many_bytes_as_may_be_are_taken():
    async def body_of(*parts):
        async def stream():
            for part in parts:
                yield part

        request = types.SimpleNamespace(stream=stream)
        return await application.read_body(request, Limits(size=100))

    assert asyncio.run(body_of(b"a" * 60, b"b" * 40)) == b"a" * 60 + b"b" * 40
    with pytest.raises(application.Refused, match="at most 100 bytes are taken"):
        asyncio.run(body_of(b"a" * 60, b"b" * 41))
    with pytest.raises(application.Refused, match="^expected the bytes of a picture, got none$"):
        asyncio.run(body_of())


def test_what_a_log_says_of_requests(good, caplog):
    """Numbers of requests, milliseconds, what was accepted and answered."""
    writer = Echo()

    async def slow(client):
        writer.go.clear()
        asyncio.get_running_loop().call_later(0.1, writer.go.set)
        begin = time.perf_counter()
        await post(good[0])(client)
        return 1000 * (time.perf_counter() - begin)

    (measured, *_), rows = ask(writer, slow, post(good[1]), post(good[2]))
    requests = [row for row in rows if row["event"] == "request"]
    runs, numbers = zip(*(row["id"].split("-") for row in requests), strict=True)
    assert numbers == ("1", "2", "3") and len(set(runs)) == 1 and len(runs[0]) == 6
    assert 50 < requests[0]["ms"] < measured + 1
    assert all(row["ms"] == round(row["ms"], 1) for row in requests)
    assert rows[-1] == {"event": "stop", "accepted": 3, "answered": 3}
    other = ask(Echo(), post(good[0]))[1]
    assert other[1]["id"].split("-")[0] != runs[0]  # each start has its own
    (found,), rows = ask(Echo(RuntimeError("broken")), post(good[0]))
    (record,) = [one for one in caplog.records if one.name == "mmcourse.serving.server"]
    assert record.getMessage() == f"request {rows[1]['id']} failed" and record.exc_info


def test_numbers_of_a_log_are_rounded(good):
    writer = Echo()

    async def write(picture):
        return {"caption": "a cup", "confidence": 0.123456, "low_confidence": True, "batch": 1}

    writer.write = write
    reference = Reference((0.61,) * 6 + (0.9,), (0.13,) * 7, 1000)
    dark = encoded(np.zeros((64, 64, 3), np.uint8))
    _, rows = ask(writer, *[post(dark)] * 3, monitor=Monitor(reference, window=3))
    assert rows[1]["confidence"] == 0.123
    (alarm,) = [row for row in rows if row["event"] == "drift"]
    assert alarm["score"] == round(alarm["score"], 1) != round(alarm["score"])


def test_metrics_say_what_they_are(good):
    (_, found), _ = ask(Echo(), post(good[0]), get("/metrics"))
    families = {one.name: one for one in text_string_to_metric_families(found.text)}
    assert {name: one.documentation for name, one in families.items() if "created" not in name} == {
        "mmcourse_requests": "Requests for a caption, by the status of the answer",
        "mmcourse_latency_seconds": "From the first byte of a request to its answer",
        "mmcourse_batch_size": "Pictures that were described together, by picture",
        "mmcourse_low_confidence": "Captions of low confidence",
        "mmcourse_drift_alarms": "Windows unlike the reference",
        "mmcourse_requests_inside": "Requests without an answer yet",
        "mmcourse_pictures_waiting": "Pictures that wait for the model",
    }
    assert families["mmcourse_requests"].samples[0].labels == {"status": "200"}
    for name, bounds in (
        ("mmcourse_latency_seconds", application.SECONDS),
        ("mmcourse_batch_size", application.SIZES),
    ):
        edges = [s.labels["le"] for s in families[name].samples if s.name.endswith("_bucket")]
        assert [float(edge) for edge in edges] == [*map(float, bounds), float("inf")]


def test_it_says_which_program_it_is():
    app = make_app(Echo())
    assert (app.title, app.version) == ("mmcourse", mmcourse.__version__)
    assert isinstance(app.state.desk, application.Desk)
    for path in ("/docs", "/redoc"):  # theirs need a network
        (found,), _ = ask(Echo(), get(path))
        assert found.status_code == 404


def test_a_line_is_printed_at_once(monkeypatch):
    printed = []
    monkeypatch.setattr("builtins.print", lambda *line, **how: printed.append((line, how)))
    monkeypatch.setattr(time, "time", lambda: 1234.56789)
    application.print_line({"event": "x"})
    assert printed == [(('{"time": 1234.568, "event": "x"}',), {"flush": True})]


def test_a_new_model_is_tried_on_grey_with_the_strategy(monkeypatch):
    asked = []
    model = tiny()
    writer = LocalWriter(lambda: model, "greedy")
    monkeypatch.setattr(model, "caption", lambda *parts: asked.append(parts))
    writer.reload()
    ((picture, strategy),) = asked
    assert strategy == "greedy" and picture.size == (model.image_size,) * 2
    assert picture.getpixel((0, 0)) == (128, 128, 128)
