"""Workers killed, stopped, cut off from Redis or PostgreSQL: no result lost, none written twice."""

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from redis import Redis

from access.hints import hint
from batches import rescues
from batches.batches import WORK
from batches.models import BatchStatus, Job
from tests.faults.long_batches import (
    CASES,
    CONCURRENCY,
    EARLY,
    assert_nothing_lost_nor_doubled,
    done,
    make_long_batch,
    report_extra_calls,
    wait_for_the_end,
)
from tests.processes_at_work import SOFT_SHUTDOWN_SECONDS, Running, ticking, until, worker
from tests.servers_http import ModelServer

pytestmark = [
    pytest.mark.processes,
    pytest.mark.xdist_group("processes"),
    pytest.mark.django_db(transaction=True),
]


def test_a_worker_killed_in_the_middle_loses_no_result_and_doubles_none(
    server: ModelServer, ends: Callable[[], int], tmp_path: Path
) -> None:
    batch = make_long_batch(server)
    with worker(tmp_path) as killed, ticking():
        until(lambda: done(batch) >= EARLY, what=killed.said)
        killed.kill()
        before = done(batch)
        assert before < CASES
        with worker(tmp_path):
            wait_for_the_end(batch)

    assert_nothing_lost_nor_doubled(batch)
    assert ends() == 1
    # Those in flight, and those answered since the last flush.
    assert report_extra_calls(server, "worker killed") <= 2 * CONCURRENCY


def test_redis_emptied_again_and_again_costs_only_time(
    server: ModelServer,
    ends: Callable[[], int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    _redis_databases: list[Redis],  # noqa: PT019  its value is used
) -> None:
    # Ticks run in this process, so this is what they go by.
    monkeypatch.setattr(rescues, "HINT_AGAIN", timedelta(seconds=1))
    batch = make_long_batch(server)
    flushed = 0
    with worker(tmp_path) as running, ticking():
        until(lambda: done(batch) >= EARLY, what=running.said)
        deadline = time.monotonic() + 60
        while done(batch) < CASES:
            assert time.monotonic() < deadline, running.said()
            for redis in _redis_databases:
                redis.flushdb()
            flushed += 1
            time.sleep(0.02)
        wait_for_the_end(batch)

    assert flushed > 10
    assert_nothing_lost_nor_doubled(batch)
    assert ends() == 1
    assert report_extra_calls(server, "Redis emptied") == 0


def test_a_worker_told_to_stop_hands_over_and_exits_in_time(
    server: ModelServer, ends: Callable[[], int], tmp_path: Path
) -> None:
    batch = make_long_batch(server)
    with worker(tmp_path) as first:
        until(lambda: done(batch) >= EARLY, what=first.said)
        first.ask_to_stop()
        first.wait(SOFT_SHUTDOWN_SECONDS + 16)
        batch.refresh_from_db()
        assert (batch.status, batch.running) == (BatchStatus.RUNNING, 0), first.said()
        assert batch.done < CASES
    # No tick: the hint that the first one left is enough.
    with worker(tmp_path):
        wait_for_the_end(batch)

    assert_nothing_lost_nor_doubled(batch)
    assert ends() == 1
    assert report_extra_calls(server, "worker stopped") == 0


def test_a_worker_whose_database_connections_are_cut_again_and_again_goes_on(
    server: ModelServer,
    ends: Callable[[], int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rescues, "HINT_AGAIN", timedelta(seconds=1))
    batch = make_long_batch(server)
    times = cuts = 0
    with worker(tmp_path) as running, ticking():
        until(lambda: done(batch) >= EARLY, what=running.said)
        deadline = time.monotonic() + 60
        while done(batch) < CASES:
            assert time.monotonic() < deadline, running.said()
            cuts += cut_connections()
            times += 1
            time.sleep(0.5)
        wait_for_the_end(batch)

    assert cuts >= 3
    assert_nothing_lost_nor_doubled(batch)
    assert ends() == 1
    # Each cut may hide that jobs were handed out, or come while a process takes up the batch.
    assert report_extra_calls(server, f"connections cut {times} times") <= times * 2 * CONCURRENCY


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


def cut_connections() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'evalsched-worker'"
        )
        return int(cursor.fetchone()[0])


def test_a_frozen_worker_that_comes_back_after_its_lease_writes_nothing(
    server: ModelServer, ends: Callable[[], int], tmp_path: Path
) -> None:
    batch = make_long_batch(server)
    with worker(tmp_path) as frozen, ticking():
        until(lambda: done(batch) >= EARLY, what=frozen.said)
        freeze_outside_of_transactions(frozen)
        before = done(batch)
        with worker(tmp_path) as other:
            until(lambda: done(batch) >= before + EARLY, what=other.said)
            lost = Job.objects.filter(batch=batch, lost_workers=1).count()
            frozen.thaw()
            wait_for_the_end(batch)
        # What it had in flight when it froze has its answers, which nobody wants any more.
        until(lambda: not server.calls().in_flight)

    assert 0 < lost <= CONCURRENCY + CONCURRENCY // 2
    assert_nothing_lost_nor_doubled(batch)
    assert ends() == 1
    assert report_extra_calls(server, "worker frozen") <= lost


def test_twenty_hints_too_many_change_nothing(
    server: ModelServer, ends: Callable[[], int], tmp_path: Path
) -> None:
    batch = make_long_batch(server)
    for _ in range(20):
        hint(WORK, batch.pk)
    with worker(tmp_path, concurrency=3), ticking():
        wait_for_the_end(batch)

    assert_nothing_lost_nor_doubled(batch)
    assert ends() == 1
    assert server.calls().max_in_flight <= CONCURRENCY
    assert report_extra_calls(server, "hints doubled 20 times") == 0


def test_a_case_that_kills_its_worker_ends_as_an_error_and_takes_no_other_along(
    server: ModelServer, ends: Callable[[], int], tmp_path: Path
) -> None:
    """Each time, with everything in flight beside it."""
    batch = make_long_batch(server)
    app = "tests.faults.poisoned"
    with worker(tmp_path, app=app, POISON="Say 12.", EVALSCHED_LEASE_SECONDS="1"), ticking():
        wait_for_the_end(batch)

    poisoned = Job.objects.get(batch=batch, outcome="error")
    assert (poisoned.case_key, poisoned.error_class) == ("case-12", "infra")
    assert "worker was lost 4 times" in poisoned.error_message
    assert server.calls().prompts["Say 12."] == 4
    batch.refresh_from_db()
    assert (batch.status, batch.passed, batch.errors) == ("completed", CASES - 1, 1)
    others = Job.objects.filter(batch=batch).exclude(pk=poisoned.pk)
    assert others.filter(lost_workers__gt=2).count() == 0
    assert set(others.values_list("status", "outcome")) == {("done", "passed")}
    assert ends() == 1
    # Two of its four workers had others in flight.
    extra = report_extra_calls(server, "a case that kills its worker")
    assert extra <= 3 + 2 * (CONCURRENCY + CONCURRENCY // 2)


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
