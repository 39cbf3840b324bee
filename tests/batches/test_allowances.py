"""An endpoint's limits over all workers: in Redis, and each for itself where Redis is away."""

import asyncio
import time
from itertools import pairwise

import pytest
from pytest_django import Settings

from access import clock
from batches import batches
from batches.allowances import Allowance, Rate
from batches.batches import Config
from batches.models import Batch
from tests.batches.engine_at_work import make_asked, work, work_to_the_end
from tests.processes_at_work import at_once
from tests.servers_http import ModelServer

SECONDS = 3.0
# A call that is let go late because the machine is busy comes closer to the next one.
LATE = 0.3


def take_for(rate: Rate, seconds: float, *, tasks: int = 4) -> list[float]:
    """Take from the rate in a loop of its own; return when each was allowed, in seconds."""
    taken: list[float] = []

    async def caller(allowance: Allowance) -> None:
        while True:
            await allowance.take(rate)
            taken.append(time.monotonic())

    async def scenario() -> None:
        allowance = Allowance()
        callers = [asyncio.create_task(caller(allowance)) for _ in range(tasks)]
        await asyncio.wait(callers, timeout=seconds)
        for task in callers:
            task.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        await allowance.close()

    asyncio.run(scenario())
    return taken


def assert_never_more(starts: list[float], *, per_second: float, burst: float) -> None:
    """In no window of any length."""
    for first, begin in enumerate(starts):
        for last in range(first, len(starts)):
            allowed = (starts[last] - begin + LATE) * per_second + burst
            assert last - first + 1 <= allowed, f"{last - first + 1} in {starts[last] - begin} s"


@pytest.mark.django_db(transaction=True)
def test_six_hundred_a_minute_over_two_loops_is_ten_a_second_and_hardly_less() -> None:
    rate = Rate.per_minute("requests:test", 600)
    assert (rate.interval_ms, rate.burst) == (100, 10)

    one, other = at_once(lambda: take_for(rate, SECONDS), lambda: take_for(rate, SECONDS))

    starts = sorted(one + other)
    assert one
    assert other
    assert_never_more(starts, per_second=10, burst=rate.burst)
    assert len(starts) >= 0.8 * (SECONDS * 10 + rate.burst)


def test_what_was_not_used_is_saved_up_to_a_second_and_no_further() -> None:
    rate = Rate.per_minute("requests:idle", 600)
    take_for(rate, 0.1)
    time.sleep(1.5)

    starts = take_for(rate, 0.5)

    assert 10 <= len(starts) <= 10 + 5 + 4


def test_a_rate_below_one_a_second_has_no_burst() -> None:
    rate = Rate.per_minute("requests:slow", 30)

    async def booked() -> list[float]:
        allowance = Allowance()
        waits = [await allowance.book(rate, 1) for _ in range(3)]
        await allowance.close()
        return waits

    # The second is due in 2 s, further ahead than anything is booked: both are told to come back.
    assert asyncio.run(booked()) == [pytest.approx(wait, abs=100) for wait in (0, -2000, -2000)]


def test_what_is_given_back_may_be_used_again_but_not_saved_beyond_the_burst() -> None:
    rate = Rate.per_minute("tokens:back", 6000)

    async def booked() -> tuple[float, float, float]:
        allowance = Allowance()
        await allowance.book(rate, 1100)
        full = await allowance.book(rate, 0)
        await allowance.book(rate, -1000)
        after = await allowance.book(rate, 0)
        await allowance.book(rate, -50_000)
        await allowance.book(rate, 300)
        saved = await allowance.book(rate, 0)
        await allowance.close()
        return full, after, saved

    full, after, saved = asyncio.run(booked())
    # 1100 tokens are 11 s, of which the burst of 100 may come at once.
    assert full == pytest.approx(10_000, abs=300)
    assert after == pytest.approx(0, abs=300)
    assert saved == pytest.approx(2_000, abs=300)


def test_without_redis_each_process_keeps_to_a_share(settings: Settings) -> None:
    settings.REDIS_URL = "unix:///nowhere/redis.sock"
    rate = Rate.per_minute("requests:alone", 600)

    async def booked() -> tuple[list[float], float]:
        allowance = Allowance()
        began = time.monotonic()
        waits = [await allowance.book(rate, 1) for _ in range(3)]
        took = time.monotonic() - began
        await allowance.close()
        return waits, took

    waits, took = asyncio.run(booked())
    # A quarter of ten a second.
    assert waits == [pytest.approx(wait, abs=took * 1000 + 1) for wait in (0, 400, 800)]
    assert took < 0.3, "the calls wait for a Redis that is away"


@pytest.mark.django_db(transaction=True)
def test_two_workers_keep_the_delay_between_all_starts(server: ModelServer) -> None:
    batch = make_asked(server, 24, concurrency=6, delay_ms=60)

    def worker() -> None:
        while work(batch) or not finished(batch):
            time.sleep(0.01)

    at_once(worker, worker)

    starts = sorted(server.calls().starts)
    assert len(starts) == 24
    gaps = [after - before for before, after in pairwise(starts)]
    assert_never_more(starts, per_second=1000 / 60, burst=1)
    assert sum(gaps) < 24 * 0.06 * 2, "kept, and not much more than that"
    batch.refresh_from_db()
    assert batch.passed == 24


@pytest.mark.django_db(transaction=True)
def test_two_batches_of_one_endpoint_share_its_requests(server: ModelServer) -> None:
    one = make_asked(server, 20, endpoint={"requests_per_minute": 600})
    other = make_batch_beside(one)

    at_once(lambda: work_to_the_end(one), lambda: work_to_the_end(other))

    starts = sorted(server.calls().starts)
    assert len(starts) == 40
    assert_never_more(starts, per_second=10, burst=10)
    assert starts[-1] - starts[0] < (40 - 10) / 10 / 0.95 + 0.5
    # Waiting for one's turn is no latency.
    assert max(latencies(one) + latencies(other)) < 1000


@pytest.mark.django_db(transaction=True)
def test_tokens_that_were_guessed_too_high_are_given_back(server: ModelServer) -> None:
    """Uncorrected, five times two guesses of 200 tokens would last 20 s."""
    server.configure(failures_first=1)
    batch = make_asked(server, 5, endpoint={"tokens_per_minute": 6000}, concurrency=1)

    began = time.monotonic()
    work_to_the_end(batch)

    assert batch.passed == 5
    assert server.calls().count == 10
    assert time.monotonic() - began < 18


@pytest.mark.django_db(transaction=True)
def test_tokens_that_were_guessed_too_low_are_booked_after_the_answer(server: ModelServer) -> None:
    server.configure(answer="1 2 3 4 " * 25)
    batch = make_asked(
        server,
        4,
        endpoint={"tokens_per_minute": 6000},
        concurrency=1,
        parameters={"max_tokens": 1},
    )

    work_to_the_end(batch)

    assert batch.done == 4
    starts = server.calls().starts
    # 102 tokens a call at 100 a second; a second's worth may come at once.
    assert starts[-1] - starts[0] >= 1.9


def make_batch_beside(batch: Batch) -> Batch:
    """Make another batch on the same endpoint."""
    assert batch.suite is not None
    assert batch.endpoint is not None
    return batches.create(
        user_id=batch.user_id,
        suite=batch.suite,
        endpoint=batch.endpoint,
        config=Config(),
        now=clock.database_now(),
    )


def finished(batch: Batch) -> bool:
    return Batch.objects.filter(pk=batch.pk, completed_at__isnull=False).exists()


def latencies(batch: Batch) -> list[float]:
    return [latency or 0 for latency in batch.jobs.values_list("latency_ms", flat=True)]
