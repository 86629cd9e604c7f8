"""Batches and queues: order, limits, waiting, stopping; formulas, simulations, and by hand."""

import asyncio
import selectors
import threading
import time
import types

import numpy as np
import pytest

from mmcourse import serving
from mmcourse.serving import Batcher, Full, Stopped, TooLate


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 20))


class Jumping(selectors.DefaultSelector):
    """Where nothing is ready it waits no second: the clock ``now`` jumps to the next event."""

    now = 0.0

    def select(self, timeout=None):
        found = super().select(0)
        if not found and timeout:
            self.now += timeout
        return found


@pytest.fixture
def run_by_its_own_clock(monkeypatch):
    """Runs a coroutine in seconds that only the loop counts, so that no other work disturbs it.

    It is called with a function that makes the coroutine of a clock.
    """

    def run_it(main):
        selector = Jumping()
        clock = lambda: selector.now  # noqa: E731
        monkeypatch.setattr(serving.batching, "time", types.SimpleNamespace(monotonic=clock))

        def new_loop():
            loop = asyncio.SelectorEventLoop(selector)
            loop.time = clock
            return loop

        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(main(clock))

    return run_it


class Slow(Batcher):
    """A batcher whose work takes so many seconds of the loop's own clock; its thread is idle."""

    def __init__(self, seconds, **options):
        super().__init__(None, **options)
        self.seconds = seconds
        self.batches = []

    async def call(self, items):
        self.batches.append(items)
        await asyncio.sleep(self.seconds)
        return items


async def ask_at(batcher, times, clock):
    """When those who come at these times are answered."""

    async def one(when):
        await asyncio.sleep(when - clock())
        await batcher.submit(when)
        return clock()

    batcher.start()
    ends = await asyncio.gather(*map(one, times))
    await batcher.stop()
    return ends


class Work:
    """Doubles numbers; remembers its batches; waits for ``go`` where it is told to."""

    def __init__(self, held=False):
        self.batches = []
        self.threads = set()
        self.go = threading.Event()
        if not held:
            self.go.set()

    def __call__(self, items):
        self.threads.add(threading.get_ident())
        assert self.go.wait(10)
        self.batches.append(items)
        return [2 * item for item in items]


async def settle():
    """Let everything that is ready happen."""
    for _ in range(20):
        await asyncio.sleep(0.001)


class TestBatcher:
    def test_everybody_gets_the_own_result_and_batches_keep_the_order(self):
        work = Work(held=True)

        async def main():
            batcher = Batcher(work, most=4, wait=0)
            batcher.start()
            tasks = [asyncio.create_task(batcher.submit(number)) for number in range(10)]
            await settle()
            work.go.set()
            results = await asyncio.gather(*tasks)
            await batcher.stop()
            return results

        assert run(main()) == [2 * number for number in range(10)]
        assert [item for batch in work.batches for item in batch] == list(range(10))
        assert max(map(len, work.batches)) == 4 and len(work.batches) in (3, 4)
        assert threading.get_ident() not in work.threads and len(work.threads) == 1

    def test_the_first_waits_for_company_and_no_longer_than_it_is_told(self, run_by_its_own_clock):
        async def main(clock):
            batcher = Slow(1, most=8, wait=0.2)
            ends = await ask_at(batcher, [0, 0.05, 0.21], clock)
            return ends, batcher.batches

        ends, batches = run_by_its_own_clock(main)
        assert ends == pytest.approx([1.2, 1.2, 2.2], abs=1e-3)
        assert batches == [[0, 0.05], [0.21]]

    def test_a_full_batch_does_not_wait(self, run_by_its_own_clock):
        async def main(clock):
            batcher = Slow(1, most=3, wait=60)
            return await ask_at(batcher, [0, 2, 5], clock), batcher.batches

        ends, batches = run_by_its_own_clock(main)
        assert ends == pytest.approx([6, 6, 6], abs=1e-3) and batches == [[0, 2, 5]]

    def test_one_who_waited_for_the_worker_does_not_wait_again_for_company(
        self, run_by_its_own_clock
    ):
        async def main(clock):
            batcher = Slow(1, most=8, wait=0.3)
            return await ask_at(batcher, [0, 0.9], clock), batcher.batches

        ends, batches = run_by_its_own_clock(main)
        assert ends == pytest.approx([1.3, 2.3], abs=1e-3) and batches == [[0], [0.9]]

    def test_a_full_queue_refuses_at_once_and_goes_on(self):
        work = Work(held=True)

        async def main():
            batcher = Batcher(work, most=1, wait=0, limit=2)
            batcher.start()
            first = asyncio.create_task(batcher.submit(0))
            await settle()  # it is worked on, so it does not wait
            tasks = [asyncio.create_task(batcher.submit(number)) for number in (1, 2)]
            await settle()
            with pytest.raises(Full, match="2 requests wait already"):
                await batcher.submit(3)
            work.go.set()
            results = await asyncio.gather(first, *tasks)
            results.append(await batcher.submit(4))
            await batcher.stop()
            return results

        assert run(main()) == [0, 2, 4, 8]

    def test_who_waited_too_long_is_told_so_and_never_worked_on(self, run_by_its_own_clock):
        async def main(clock):
            batcher = Slow(1, most=1, wait=0, patience=0.5)
            batcher.start()
            first = asyncio.create_task(batcher.submit(0))
            await asyncio.sleep(0.2)
            second = asyncio.create_task(batcher.submit(1))
            await asyncio.sleep(0.4)
            third = asyncio.create_task(batcher.submit(2))
            with pytest.raises(TooLate, match=r"more than 0\.5 seconds"):
                await second
            results = await asyncio.gather(first, third)
            await batcher.stop()
            return results, batcher.batches

        assert run_by_its_own_clock(main) == ([0, 2], [[0], [2]])

    def test_who_waits_is_told_so_also_while_the_work_hangs(self, run_by_its_own_clock):
        async def main(clock):
            batcher = Slow(1000, most=1, wait=0, patience=0.5)
            batcher.start()
            first = asyncio.create_task(batcher.submit(0))
            await asyncio.sleep(0.2)
            with pytest.raises(TooLate):
                await batcher.submit(1)
            told = clock()
            assert not first.done()
            await batcher.stop()
            return told

        assert run_by_its_own_clock(main) == pytest.approx(0.7, abs=0.05)

    def test_how_long_the_work_has_run_is_known(self):
        work = Work(held=True)

        async def main():
            batcher = Batcher(work, most=1, wait=0)
            batcher.start()
            assert batcher.busy_seconds == 0
            task = asyncio.create_task(batcher.submit(1))
            await settle()
            early = batcher.busy_seconds
            await asyncio.sleep(0.05)
            assert 0 < early < early + 0.04 < batcher.busy_seconds
            work.go.set()
            await task
            assert batcher.busy_seconds == 0
            with pytest.raises(TypeError):
                await batcher.submit(None)  # which cannot be doubled
            assert batcher.busy_seconds == 0
            await batcher.stop()

        run(main())

    def test_it_goes_on_when_all_who_waited_were_too_late(self, run_by_its_own_clock):
        async def main(clock):
            batcher = Slow(1, most=1, wait=0, patience=0.5)
            batcher.start()
            first = asyncio.create_task(batcher.submit(0))
            await asyncio.sleep(0.1)
            with pytest.raises(TooLate):
                await batcher.submit(1)
            later = await asyncio.wait_for(batcher.submit(2), 20)
            await batcher.stop()
            return await first, later

        assert run_by_its_own_clock(main) == (0, 2)

    def test_who_has_gone_is_not_worked_on(self):
        work = Work(held=True)

        async def main():
            batcher = Batcher(work, most=1, wait=0)
            batcher.start()
            first = asyncio.create_task(batcher.submit(0))
            await settle()
            second = asyncio.create_task(batcher.submit(1))
            third = asyncio.create_task(batcher.submit(2))
            await settle()
            second.cancel()
            work.go.set()
            results = await asyncio.gather(first, third)
            await batcher.stop()
            return results

        assert run(main()) == [0, 4]
        assert work.batches == [[0], [2]]

    def test_stopping_answers_all_who_wait_and_takes_no_more(self):
        work = Work(held=True)

        async def main():
            batcher = Batcher(work, most=2, wait=60)
            batcher.start()
            tasks = [asyncio.create_task(batcher.submit(number)) for number in range(5)]
            await settle()
            stopping = asyncio.create_task(batcher.stop())
            await settle()
            with pytest.raises(Stopped, match="^the server is stopping: ask another one$"):
                await batcher.submit(9)
            work.go.set()
            await stopping
            assert all(task.done() for task in tasks)
            return await asyncio.gather(*tasks)

        assert run(main()) == [0, 2, 4, 6, 8]

    def test_stopping_an_idle_one_ends(self):
        async def main():
            batcher = Batcher(Work())
            batcher.start()
            await settle()
            await batcher.stop()

        run(main())

    @pytest.mark.parametrize("items", [(1, 13, 2, 3), (13, 1), (1, 13), (13,)])
    def test_a_bad_item_harms_itself_alone(self, items):
        def work(items):
            if 13 in items:
                raise ZeroDivisionError("13")
            return items

        async def main():
            batcher = Batcher(work, most=4, wait=0.05)
            batcher.start()
            tasks = [asyncio.create_task(batcher.submit(item)) for item in items]
            results = await asyncio.gather(*tasks, return_exceptions=True)
            later = await batcher.submit(5)
            await batcher.stop()
            return results, later

        results, later = run(main())
        assert later == 5
        for item, result in zip(items, results, strict=True):
            assert isinstance(result, ZeroDivisionError) if item == 13 else result == item

    def test_all_batches_are_worked_on_in_one_thread_of_its_own(self):
        names = []

        def work(items):
            names.append(threading.current_thread().name)
            return items

        async def main():
            batcher = Batcher(work, most=1, wait=0)
            batcher.start()
            others = [asyncio.to_thread(time.sleep, 0.01) for _ in range(3)]
            await asyncio.gather(*others, *[batcher.submit(number) for number in range(6)])
            await batcher.stop()

        run(main())
        assert names == ["batch_0"] * 6

    def test_what_it_is_unless_told_otherwise(self):
        batcher = Batcher(Work())
        found = (batcher.most, batcher.wait, batcher.limit, batcher.patience)
        assert found == (16, 0.005, 64, 10.0)

    def test_too_few_results_are_an_error_and_not_a_mix_up(self):
        async def main():
            batcher = Batcher(lambda items: [], most=1, wait=0)
            batcher.start()
            with pytest.raises(ValueError, match="0 results for 1 items"):
                await batcher.submit(1)
            await batcher.stop()

        run(main())

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"most": 0}, "most must be 1 or more, got 0"),
            ({"wait": -1}, "wait must be 0 or more, got -1"),
            ({"limit": 0}, "limit must be 1 or more, got 0"),
            ({"patience": 0}, "patience must be above 0 seconds, got 0"),
        ],
    )
    def test_what_is_refused(self, change, message):
        with pytest.raises(ValueError, match=message):
            Batcher(Work(), **change)


class TestFormulas:
    def test_by_hand(self):
        # λ = 8, S = 0.1: ρ = 0.8
        assert serving.mm1_wait(8, 0.1) == pytest.approx(0.4)
        assert serving.md1_wait(8, 0.1) == pytest.approx(0.2)
        assert serving.mg1_wait(8, 0.1, 0.1) == pytest.approx(0.4)  # exponential: deviation = mean
        assert serving.mm1_wait(0, 0.1) == 0

    @pytest.mark.parametrize(("rate", "service"), [(10, 0.1), (11, 0.1)])
    def test_a_load_of_one_has_no_mean(self, rate, service):
        for formula in (serving.mm1_wait, serving.md1_wait):
            with pytest.raises(ValueError, match="the queue grows without end"):
                formula(rate, service)

    @pytest.mark.parametrize(("rate", "service"), [(-1, 0.1), (1, 0), (1, -0.1)])
    def test_what_is_refused(self, rate, service):
        with pytest.raises(ValueError, match="expected a rate of 0 or more"):
            serving.mm1_wait(rate, service)

    def test_closed_loop_by_hand(self):
        # batches of 8 take 10 + 8 * 5 = 50 ms
        throughput, latency = serving.closed_loop(8, 0.010, 0.005, 16)
        assert throughput == pytest.approx(160) and latency == pytest.approx(0.05)
        throughput, latency = serving.closed_loop(64, 0.010, 0.005, 16)
        assert throughput == pytest.approx(16 / 0.09) and latency == pytest.approx(64 * 0.09 / 16)


class TestArrivals:
    def test_the_generator_is_the_published_one(self):
        # Park and Miller: after 10,000 steps from 1 the number is 1043618065
        seed = 1
        for _ in range(10_000):
            seed = seed * serving.queueing.MULTIPLIER % serving.queueing.MODULUS
        assert seed == 1043618065

    def test_gaps_are_exponential(self):
        times = np.array(serving.poisson_arrivals(5, 20_000, seed=3))
        gaps = np.diff(times)
        assert gaps.min() > 0
        assert gaps.mean() == pytest.approx(0.2, rel=0.03)
        assert gaps.std() == pytest.approx(0.2, rel=0.03)
        assert np.corrcoef(gaps[1:], gaps[:-1])[0, 1] == pytest.approx(0, abs=0.03)

    @pytest.mark.parametrize("seed", [0, 2**31 - 1])
    def test_seeds_that_are_refused(self, seed):
        with pytest.raises(ValueError, match="seed must be from 1"):
            serving.poisson_arrivals(1, 1, seed)


class TestSimulation:
    def test_by_hand(self):
        # batches of at most 2, alone 3 s, two 4 s
        found = serving.simulate([0, 1, 2, 10], {1: 3, 2: 4}.get, most=2)
        assert found.starts == [0, 3, 3, 10] and found.ends == [3, 7, 7, 13]
        assert found.batches == [1, 2, 1] and found.latencies == [3, 6, 5, 3]
        assert found.throughput == pytest.approx(4 / 13)

    def test_waiting_for_company_by_hand(self):
        found = serving.simulate([0, 1, 5], lambda size: 1, most=2, wait=2)
        assert found.starts == [1, 1, 7]  # full at 1; the last waits in vain
        found = serving.simulate([0, 3], lambda size: 1, most=2, wait=2)
        assert found.starts == [2, 5]  # the second came too late
        found = serving.simulate([0, 1, 1.5], lambda size: 4, most=1, wait=2)
        assert found.starts == [0, 4, 8]  # a batch of one is full at once

    def test_who_waited_for_the_server_does_not_wait_again(self):
        found = serving.simulate([0, 1], lambda size: 5, most=4, wait=0.5)
        assert found.starts == [0.5, 5.5]

    def test_a_full_queue_refuses(self):
        found = serving.simulate([0, 1, 2, 3, 11], lambda size: 10, most=1, limit=2)
        assert found.starts == [0, 10, 20, None, 30] and found.refused == 1
        assert len(found.latencies) == 4

    @pytest.mark.parametrize("rate", [3.0, 7.0, 9.0])
    def test_one_at_a_time_is_md1(self, rate):
        times = serving.poisson_arrivals(rate, 60_000, seed=11)
        found = serving.simulate(times, lambda size: 0.1)
        waited = np.mean(found.latencies) - 0.1
        assert waited == pytest.approx(serving.md1_wait(rate, 0.1), rel=0.1)

    def test_littles_law(self):
        times = serving.poisson_arrivals(6, 5000, seed=5)
        found = serving.simulate(times, lambda size: 0.05 + 0.05 * size, most=8)
        end = max(found.ends)
        grid = np.arange(0, end, 0.01)
        inside = np.searchsorted(times, grid, "right") - np.searchsorted(
            np.sort(found.ends), grid, "right"
        )
        assert inside.mean() == pytest.approx(5000 / end * np.mean(found.latencies), rel=0.01)

    def test_a_fixed_batch_service_keeps_all_and_the_order(self):
        times = serving.poisson_arrivals(100, 500, seed=2)
        found = serving.simulate(times, lambda size: 0.01 + 0.005 * size, most=16, wait=0.005)
        assert sum(found.batches) == 500 and max(found.batches) <= 16
        assert found.starts == sorted(found.starts)
        assert all(start >= came for start, came in zip(found.starts, times, strict=True))

    @pytest.mark.parametrize(("most", "wait", "rate"), [(3, 0.1, 5), (16, 0.005, 30), (1, 0, 4)])
    def test_the_batcher_makes_the_batches_of_the_simulation(
        self, run_by_its_own_clock, most, wait, rate
    ):
        times = serving.poisson_arrivals(rate, 200, seed=4)
        expected = serving.simulate(times, lambda size: 0.2, most, wait)

        async def main(clock):
            batcher = Slow(0.2, most=most, wait=wait, limit=200, patience=1000)
            ends = await ask_at(batcher, times, clock)
            return ends, list(map(len, batcher.batches))

        ends, sizes = run_by_its_own_clock(main)
        assert sizes == expected.batches
        assert ends == pytest.approx(expected.ends, abs=1e-3)


class TestPercentile:
    def test_by_hand(self):
        values = [5, 1, 4, 2, 3]
        shares = {0.2: 1, 0.21: 2, 0.5: 3, 0.95: 5, 1: 5}
        for share, expected in shares.items():
            assert serving.percentile(values, share) == expected
        assert serving.percentile(list(range(1, 101)), 0.95) == 95
        assert serving.percentile(list(range(1, 11)), 0.7) == 7  # 0.7 * 10 is not quite 7

    @pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1], 0), ([1], 1.1)])
    def test_what_is_refused(self, values, share):
        with pytest.raises(ValueError, match="expected values and a share"):
            serving.percentile(values, share)
