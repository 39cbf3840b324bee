"""Workers killed, stopped, cut off from Redis or PostgreSQL: no result lost, none written twice."""

import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
from django.db import connection
from redis import Redis

from access.hints import hint
from batches import rescues
from batches.batches import WORK
from batches.models import BatchStatus, Job
from tests.faults.long_batches import (
    CASES,
    CLAIMED,
    CONCURRENCY,
    EARLY,
    Ends,
    Story,
    done,
    make_long_batch,
    ticks,
    wait_for_the_end,
)
from tests.faults.sizes import SIZES, chance
from tests.processes_at_work import SOFT_SHUTDOWN_SECONDS, Running, ticking, until, worker
from tests.servers_http import ModelServer

pytestmark = [
    pytest.mark.processes,
    pytest.mark.xdist_group("processes"),
    pytest.mark.django_db(transaction=True),
]


def wait_for(story: Story, results: int, running: Running) -> None:
    until(lambda: done(story.batch) >= results, seconds=SIZES.patience_s, what=running.said)


def kill_workers(
    story: Story, moments: Iterable[int], directory: Path, environment: Mapping[str, str]
) -> None:
    """Kill the worker each time so many results are in, start another, and see the batch end."""
    with ExitStack() as workers:
        working = workers.enter_context(worker(directory, settings=environment))
        for results in moments:
            wait_for(story, results, working)
            working.kill()
            assert done(story.batch) < CASES
            working = workers.enter_context(worker(directory, settings=environment))
            story.struck()
        wait_for_the_end(story.batch)


def test_workers_killed_in_the_middle_lose_no_result_and_double_none(
    server: ModelServer, ends: Ends, tmp_path: Path
) -> None:
    story = Story("worker killed", make_long_batch(server), server)
    moments = [round(share * CASES) for share in SIZES.kill_at]
    with ticks(tmp_path):
        kill_workers(story, moments, tmp_path, SIZES.holding)

    story.judge(ends)


def test_a_storm_of_kills_loses_no_result_and_doubles_none(
    server: ModelServer, ends: Ends, tmp_path: Path
) -> None:
    # Not in the last twentieth: jobs that lost two workers wait there to run alone.
    possible = range(CASES // 20, CASES * 19 // 20)
    moments = sorted(chance("storm").sample(possible, SIZES.storm_kills))
    story = Story("storm of kills, short leases", make_long_batch(server), server)
    with ticking():
        kill_workers(story, moments, tmp_path, {"EVALSCHED_SLICE_SECONDS": "45"})

    story.judge(ends)


def test_a_pool_whose_children_are_killed_again_and_again_is_filled_up_and_goes_on(
    server: ModelServer, ends: Ends, tmp_path: Path
) -> None:
    story = Story("pool children killed", make_long_batch(server), server)
    with worker(tmp_path, settings=SIZES.holding) as running, ticks(tmp_path):
        main = psutil.Process(running.process.pid)
        for number in range(1, SIZES.children_kills + 1):
            wait_for(story, number * CASES // (SIZES.children_kills + 1), running)
            for child in main.children():
                child.kill()
            assert done(story.batch) < CASES
            story.struck()
        wait_for_the_end(story.batch)
        assert main.is_running()

    story.judge(ends)


def test_redis_emptied_again_and_again_costs_only_time(
    server: ModelServer,
    ends: Ends,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    _redis_databases: list[Redis],  # noqa: PT019  its value is used
) -> None:
    # Where ticks run in this process, this is what they go by.
    monkeypatch.setattr(rescues, "HINT_AGAIN", timedelta(seconds=1))
    server.configure(latency_ms=SIZES.outage_latency_ms)
    story = Story("Redis emptied", make_long_batch(server), server, losing=False)
    with worker(tmp_path, settings=SIZES.environment) as running, ticks(tmp_path):
        wait_for(story, EARLY, running)
        while done(story.batch) < CASES:
            for redis in _redis_databases:
                redis.flushdb()
            story.struck()
            time.sleep(SIZES.flush_every_s)
        wait_for_the_end(story.batch)

    assert story.outages > 10
    story.judge(ends)


def test_a_worker_told_to_stop_hands_over_and_exits_in_time(
    server: ModelServer, ends: Ends, tmp_path: Path
) -> None:
    server.configure(latency_ms=SIZES.outage_latency_ms)
    story = Story("worker told to stop", make_long_batch(server), server, losing=False)
    with worker(tmp_path, settings=SIZES.holding) as first:
        wait_for(story, EARLY, first)
        first.ask_to_stop()
        first.wait(SOFT_SHUTDOWN_SECONDS + 16)
        batch = story.batch
        batch.refresh_from_db()
        assert (batch.status, batch.running) == (BatchStatus.RUNNING, 0), first.said()
        assert batch.done < CASES
    # No tick: the hint that the first one left is enough.
    with worker(tmp_path, settings=SIZES.holding):
        story.struck()
        wait_for_the_end(batch)

    story.judge(ends)


def test_a_worker_whose_database_connections_are_cut_again_and_again_goes_on(
    server: ModelServer,
    ends: Ends,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rescues, "HINT_AGAIN", timedelta(seconds=1))
    server.configure(latency_ms=SIZES.outage_latency_ms)
    story = Story("database connections cut", make_long_batch(server), server)
    cuts = 0
    with worker(tmp_path, settings=SIZES.environment) as running, ticks(tmp_path):
        wait_for(story, EARLY, running)
        while done(story.batch) < CASES:
            cuts += cut_connections()
            story.struck()
            time.sleep(SIZES.cut_every_s)
        wait_for_the_end(story.batch)

    assert cuts >= 3
    # Each cut may hide that jobs were handed out, or come while a process takes up the batch.
    story.judge(ends)


def cut_connections() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database()"
            " AND application_name IN ('evalsched-worker', 'evalsched-beat')"
        )
        return int(cursor.fetchone()[0])


def freeze_outside_of_transactions(running: Running) -> None:
    """Freeze it with no lock in its hands: PostgreSQL takes those away after a minute only."""
    while True:
        running.freeze()
        time.sleep(0.05)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name = 'evalsched-worker' AND state <> 'idle'"
            )
            if not cursor.fetchone()[0]:
                return
        running.thaw()
        time.sleep(0.01)


def test_a_frozen_worker_that_comes_back_after_its_lease_writes_nothing(
    server: ModelServer, ends: Ends, tmp_path: Path
) -> None:
    story = Story("worker frozen past its lease", make_long_batch(server), server)
    with worker(tmp_path, settings=SIZES.holding) as frozen, ticks(tmp_path):
        wait_for(story, EARLY, frozen)
        freeze_outside_of_transactions(frozen)
        before = done(story.batch)
        assert before < CASES - 2 * EARLY
        with worker(tmp_path, settings=SIZES.holding) as other:
            story.struck()
            wait_for(story, before + EARLY, other)
            lost = Job.objects.filter(batch=story.batch, lost_workers=1).count()
            frozen.thaw()
            wait_for_the_end(story.batch)

    assert 0 < lost <= CLAIMED
    story.judge(ends, allowed=lost)


def test_twenty_hints_too_many_change_nothing(
    server: ModelServer, ends: Ends, tmp_path: Path
) -> None:
    story = Story("hints doubled 20 times", make_long_batch(server), server, losing=False)
    for _ in range(20):
        hint(WORK, story.batch.pk)
    with worker(tmp_path, concurrency=3, settings=SIZES.environment), ticks(tmp_path):
        wait_for_the_end(story.batch)

    assert server.calls().max_in_flight <= CONCURRENCY
    story.note_pause()
    story.judge(ends)


def test_a_case_that_kills_its_worker_ends_as_an_error_and_takes_no_other_along(
    server: ModelServer, ends: Ends, tmp_path: Path
) -> None:
    """Each time, with everything in flight beside it."""
    story = Story("a case kills its worker", make_long_batch(server), server)
    # Long leases only make the ordinary suite wait.
    times = SIZES.environment or {"EVALSCHED_LEASE_SECONDS": "1"}
    with (
        worker(tmp_path, app="tests.faults.poisoned", POISON="Say 12.", settings=times),
        ticks(tmp_path),
    ):
        wait_for_the_end(story.batch)

    poisoned = Job.objects.get(batch=story.batch, outcome="error")
    assert (poisoned.case_key, poisoned.error_class) == ("case-12", "infra")
    assert "worker was lost 4 times" in poisoned.error_message
    story.outages = server.calls().prompts["Say 12."]
    assert story.outages == 4
    others = Job.objects.filter(batch=story.batch).exclude(pk=poisoned.pk)
    assert others.filter(lost_workers__gt=2).count() == 0
    story.note_pause()
    # Two of its four workers had others in flight.
    story.judge(ends, errors=1, allowed=4 + 2 * (CLAIMED - 1))


def test_a_small_batch_is_done_before_any_of_ten_large_ones_is_half_done(
    server: ModelServer, tmp_path: Path
) -> None:
    large = [make_long_batch(server, cases=400, concurrency=5) for _ in range(10)]
    small = make_long_batch(server, cases=10, concurrency=5)
    with worker(tmp_path, concurrency=2, EVALSCHED_SLICE_SECONDS="1") as running, ticking():
        until(lambda: done(small) == 10, seconds=40, what=running.said)
        shares = [done(batch) / 400 for batch in large]

    small.refresh_from_db()
    assert small.status == BatchStatus.COMPLETED
    assert max(shares) < 0.5
    assert sum(share > 0 for share in shares) >= 8, "they have had their turns"
