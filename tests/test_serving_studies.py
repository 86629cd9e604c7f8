"""The stored studies of chapter 19: what they hold, and what they show."""

import asyncio
import json
import time

import numpy as np
import pytest

from mmcourse.hub import SHIPPED
from mmcourse.recipes import serving_studies as studies
from mmcourse.recipes import stored
from mmcourse.serving import (
    Reference,
    fit_reference,
    poisson_arrivals,
    simulate,
    statistics_of,
)
from mmcourse.serving import load as loading
from mmcourse.serving.load import LOST, Answer, Client, closed_load, open_load
from mmcourse.weights import WEIGHTS, checksum


@pytest.mark.parametrize("name", studies.STUDIES)
def test_every_study_says_how_it_was_made(name):
    found = studies.read(name)
    assert found["command"] == f"python -m mmcourse.recipes.serving_studies {name}"
    assert {"seconds", "machine", "torch"} <= set(found)


def test_batches_serve_more_with_the_same_work():
    rows = {(r["strategy"], r["clients"], r["arm"]): r for r in studies.read("load")["rows"]}
    assert len(rows) == len(studies.STRATEGIES) * len(studies.CLIENTS) * len(studies.ARMS)
    for strategy in studies.STRATEGIES:
        work = {
            (clients, arm): np.median(rows[strategy, clients, arm]["a CPU second"])
            for clients in studies.CLIENTS
            for arm in studies.ARMS
        }
        assert work[8, "batches"] > 1.5 * work[8, "one at a time"]
        assert min(work[64, "batches"], work[8, "batches"]) > 2 * work[1, "batches"]
        assert rows[strategy, 64, "one at a time"]["batch"] == 1


def test_the_queue_study_has_both_arms():
    rows = studies.read("queue")["rows"]
    loads = {arm: [row["load"] for row in rows if row["arm"] == arm] for arm in studies.ARMS}
    assert loads["batches"] == list(studies.LOADS)
    assert loads["one at a time"] == [load for load in studies.LOADS if load < 1]
    single = {row["load"]: row["mean"] for row in rows if row["arm"] == "one at a time"}
    assert single[0.8] > single[0.3]
    for row in rows:
        times = poisson_arrivals(row["rate"], row["count"], seed=1 + round(1000 * row["load"]))
        most, wait = (studies.BATCH, 0.005) if row["arm"] == "batches" else (1, 0)
        fixed, each = studies.SLEEP_FIXED, studies.SLEEP_EACH
        expected = simulate(times, lambda size, f=fixed, c=each: f + c * size, most, wait)
        assert row["mean"] == pytest.approx(np.mean(expected.latencies), rel=0.3)


def test_under_overload_everybody_is_answered_and_memory_stays():
    found = studies.read("overload")
    assert found["requests"] == studies.OVERLOAD == sum(found["statuses"].values())
    assert set(found["statuses"]) == {"200", "503"}
    assert found["rate"] == pytest.approx(2 * found["capacity"])
    memory = [megabytes for _, megabytes in found["memory"]]
    assert max(memory) < found["memory before"] + 100
    assert found["after"]["statuses"] == {"200": 160}
    assert found["stop"]["accepted"] == found["stop"]["answered"]


def test_no_stop_lost_an_accepted_request():
    rows = studies.read("stop")["rows"]
    assert len(rows) == studies.STOPS
    for row in rows:
        assert row["accepted"] == row["answered"] == row["statuses"]["200"] > 0


def test_every_bad_upload_got_a_4xx():
    found = studies.read("malformed")
    counts = [row["statuses"] for row in found["rows"]]
    assert sum(sum(each.values()) for each in counts) == found["requests"] == studies.MALFORMED
    assert all(status[0] == "4" for each in counts for status in each)
    assert found["after"] == {"200": 5}


def test_a_killed_replica_lost_nothing_and_was_replaced():
    killed = studies.read("ray")["killed"]
    assert killed["statuses"] == {"200": killed["requests"]}
    assert killed["inside at the kill"] > 0
    assert (killed["replicas before"], killed["replicas after"], killed["same"]) == (2, 2, 1)
    assert killed["replaced after"] > 0
    assert [row["replicas"] for row in studies.read("ray")["rows"]] == [1, 2]
    stop = studies.read("ray")["stop"]
    assert stop["event"] == "stop" and stop["accepted"] == stop["answered"] > killed["requests"]


def test_the_reference_is_of_the_shipped_model():
    found = studies.read("drift")
    assert found["sha256"] == checksum(SHIPPED / "scenes" / WEIGHTS)
    assert set(found["reference"]) == set(studies.STRATEGIES)
    again = fit_reference(studies.watch("val", 0, 96, "greedy"))
    reference = Reference(**found["reference"]["greedy"])
    error = np.array(reference.deviations) / np.sqrt(96)
    assert (np.abs(np.subtract(again.means, reference.means)) < 4 * error).all()


def test_false_alarms_are_rare_and_style_is_noticed():
    for row in studies.read("drift")["rows"]:
        false, windows = row["alarms"]["checked"]
        assert windows == studies.CHECKED // row["window"] and false / windows <= 0.03
        assert row["alarms"]["style"][0] == row["alarms"]["style"][1] > 0
        assert row["delays"]["1.0"]["p50"] <= 1.5 * row["window"]


# How they are made -------------------------------------------------------------------------------


def test_alarms_and_delays_of_made_up_statistics():
    rng = np.random.default_rng(0)
    rows = rng.normal(0.5, 0.1, (2000, 7))
    moved = rows - 0.3
    reference = fit_reference(rows)
    assert studies.alarms_of(rows[:100], reference, 25) == [None] * 4
    assert all(studies.alarms_of(moved[:100], reference, 25))
    whole = studies.delays(rows, moved, 1.0, reference, 25, streams=50)
    assert max(whole) <= 50 and min(whole) >= 1
    part = studies.delays(rows, moved, 0.2, reference, 25, streams=50)
    assert np.median([delay for delay in part if delay]) > np.median(whole)


def answer(status, sent, seconds, batch=1):
    return Answer(status, seconds, json.dumps({"batch": batch}).encode(), sent)


def test_summaries_by_hand():
    answers = [answer(200, 10, 1), answer(200, 10, 3, 2), answer(503, 10.5, 0.1), answer(0, 11, 9)]
    found = studies.summary(answers)
    assert found["statuses"] == {"0": 1, "200": 2, "503": 1}
    assert (found["throughput"], found["mean"], found["batch"]) == (0.67, 2, 1.5)
    assert (found["p50"], found["p95"]) == (1, 3)
    assert studies.refusals(answers) == {"p50": 0.1, "p95": 0.1}
    assert studies.summary(answers[2:]) == {"statuses": {"0": 1, "503": 1}}


def test_a_study_is_stored_with_its_command(tmp_path, monkeypatch):
    monkeypatch.setattr(stored, "FOLDER", tmp_path)
    monkeypatch.setitem(studies.STUDIES, "drift", lambda folder: {"rows": [{"a": 1}]})
    studies.main("drift")
    assert studies.read("drift")["rows"] == [{"a": 1}]


async def plain_server(answers):
    """A server that answers each request with the next of some bytes, and its requests."""
    asked = []

    async def serve(reader, writer):
        while answers:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            asked.append((head, await reader.readexactly(length)))
            writer.write(answers.pop(0))
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1], asked


GOOD = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def test_a_client_asks_and_reads():
    async def main():
        answers = [
            GOOD,
            b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            GOOD,
        ]
        server, port, asked = await plain_server(answers)
        client = Client(port)
        found = [await client.ask(b"abc") for _ in range(2)]
        assert client.writer is None  # the server said that it closes
        found.append(await client.ask(b"abc"))
        client.close()
        server.close()
        return found, asked

    found, asked = asyncio.run(main())
    assert [(one.status, one.body) for one in found] == [(200, b"ok"), (503, b""), (200, b"ok")]
    head, body = asked[0]
    assert head.startswith(b"POST /caption HTTP/1.1\r\n") and body == b"abc"


def test_an_answer_that_is_cut_off_is_lost():
    async def main():
        server, port, _ = await plain_server([GOOD[:-1]])
        found = await Client(port).ask(b"abc")
        server.close()
        return found

    lost = asyncio.run(main())
    assert lost.status == LOST and lost.body == b""


def test_after_a_lost_answer_a_client_connects_anew():
    async def main():
        server, port, _ = await plain_server([b"HTTP/1.1 nonsense\r\n\r\n", GOOD])
        client = Client(port)
        found = [await client.ask(b"abc") for _ in range(2)]
        client.close()
        server.close()
        return [one.status for one in found]

    assert asyncio.run(main()) == [LOST, 200]


def test_an_answer_without_a_length_has_no_body():
    async def main():
        answer = b"HTTP/1.1 204 No\r\nX-Note: a: b: c\r\nConnection: close\r\n\r\n"
        server, port, _ = await plain_server([answer])
        found = await Client(port).ask(b"abc")
        server.close()
        return found

    found = asyncio.run(main())
    assert (found.status, found.body) == (204, b"")


def test_a_client_asks_the_computer_that_it_was_told():
    async def main():
        server, port, _ = await plain_server([GOOD])  # at 127.0.0.1
        elsewhere = await Client(port, host="127.0.0.9").ask(b"abc")
        here = await Client(port, host="127.0.0.1").ask(b"abc")
        server.close()
        return elsewhere.status, here.status

    assert asyncio.run(main()) == (LOST, 200)


def test_nobody_there_is_lost_and_a_client_stops():
    found = asyncio.run(closed_load(1, [b"a"], clients=3, count=100))
    assert [one.status for one in found] == [LOST] * 3


def test_loads_send_as_many_as_they_are_told():
    async def main(count=12):
        server, port, asked = await plain_server([GOOD] * 3 * count)
        closed = await closed_load(port, [b"a", b"bb"], clients=3, count=count)
        begin = time.perf_counter()
        opened = await open_load(port, [b"a", b"bb"], [0.01 * number for number in range(count)])
        server.close()
        return closed, opened, asked, begin

    closed, opened, asked, begin = asyncio.run(main())
    assert [one.status for one in closed + opened] == [200] * 24
    assert sorted(body for _, body in asked) == [b"a"] * 12 + [b"bb"] * 12
    for number, one in enumerate(opened):
        assert one.sent > begin + 0.01 * number - 0.001  # never before its time


def test_free_connections_are_used_again(monkeypatch):
    made = []

    class Instant:
        def __init__(self, port):
            made.append(port)

        async def ask(self, picture):
            return Answer(200, 0.0, picture, time.perf_counter())

        def close(self):
            made.append("closed")

    monkeypatch.setattr(loading, "Client", Instant)
    found = asyncio.run(open_load(7, [b"a"], [0.0, 0.01, 0.02]))
    assert len(found) == 3 and made == [7, "closed"]


def test_in_an_open_load_a_request_is_late_from_when_it_was_due():
    async def main():
        server, port, _ = await plain_server([GOOD] * 2)
        asking = asyncio.create_task(open_load(port, [b"a"], [0.0, 0.05]))
        await asyncio.sleep(0.01)
        time.sleep(0.3)  # this program has other work
        found = await asking
        server.close()
        return found

    first, second = asyncio.run(main())
    assert second.sent - first.sent == pytest.approx(0.05, abs=1e-6)
    assert 0.25 < second.seconds < 0.4 + first.seconds
    assert 0 < first.seconds < 5


def test_a_replacement_is_waited_for_and_not_for_ever(monkeypatch):
    found = iter([[1], [1], [1, 2]])
    monkeypatch.setattr(studies, "replicas_of", lambda process: next(found))
    assert 0.3 < asyncio.run(studies.seconds_until(0, 2)) < 2
    monkeypatch.setattr(studies, "replicas_of", lambda process: [1])
    assert asyncio.run(studies.seconds_until(0, 2, most=0.1)) is None


def test_statistics_of_the_study_are_those_of_the_monitor():
    row = studies.watch("val", 5, 1, "greedy")[0]
    image = studies.EmojiScenes("val")[5].image
    np.testing.assert_allclose(row, statistics_of(image, row[-1]))
