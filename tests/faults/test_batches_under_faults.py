"""Workers killed, stopped, cut off from Redis or PostgreSQL: no result lost, none written twice."""

import logging
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from pytest_django import Settings
from redis import Redis

from access import clock
from batches import rescues
from batches.models import Batch, BatchStatus, Job
from tests.factories import make_actor, make_batch, make_endpoint, make_suite
from tests.processes_at_work import LOOPBACK, SOFT_SHUTDOWN_SECONDS, ticking, until, worker
from tests.servers_http import ModelServer

pytestmark = [
    pytest.mark.processes,
    pytest.mark.xdist_group("processes"),
    pytest.mark.django_db(transaction=True),
]
CASES, CONCURRENCY, EARLY = 200, 10, 40
logger = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def running() -> Iterator[ModelServer]:
    with ModelServer() as server:
        yield server


@pytest.fixture
def server(running: ModelServer, settings: Settings) -> ModelServer:
    settings.EVALSCHED_PRIVATE_HOSTS = [LOOPBACK]
    running.reset()
    running.configure(latency_ms=100)
    return running


@pytest.fixture
def ends(transactional_db: None) -> Iterator[Callable[[], int]]:
    """Count how often a batch came to an end, in whichever process."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE TABLE noted_ends (batch_id uuid);
            CREATE FUNCTION note_end() RETURNS trigger LANGUAGE plpgsql AS
                'BEGIN INSERT INTO noted_ends VALUES (NEW.id); RETURN NULL; END';
            CREATE TRIGGER note_end AFTER UPDATE OF status ON batches_batch FOR EACH ROW
                WHEN (NEW.completed_at IS NOT NULL AND OLD.completed_at IS NULL)
                EXECUTE FUNCTION note_end();
            """
        )

    def count() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM noted_ends")
            return int(cursor.fetchone()[0])

    yield count
    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER note_end ON batches_batch; DROP FUNCTION note_end()")
        cursor.execute("DROP TABLE noted_ends")


def make_long_batch(server: ModelServer) -> Batch:
    actor = make_actor()
    return make_batch(
        actor,
        suite=make_suite(actor, cases=CASES),
        endpoint=make_endpoint(actor, provider="openai", base_url=server.base_url, model="m"),
        now=clock.database_now(),
        concurrency=CONCURRENCY,
    )


def done(batch: Batch) -> int:
    return Batch.objects.values_list("done", flat=True).get(pk=batch.pk)


def wait_for_the_end(batch: Batch) -> None:
    until(
        lambda: Batch.objects.filter(pk=batch.pk, completed_at__isnull=False).exists(),
        seconds=60,
        what=lambda: f"the end of the batch, {done(batch)} done",
    )


def assert_nothing_lost_nor_doubled(batch: Batch) -> None:
    """Every case has exactly one result, and the counters say what the jobs say."""
    batch.refresh_from_db()
    assert (batch.status, batch.running) == (BatchStatus.COMPLETED, 0)
    jobs = Job.objects.filter(batch=batch)
    assert jobs.count() == CASES
    assert set(jobs.values_list("status", "outcome")) == {("done", "passed")}
    assert sorted(jobs.values_list("output", flat=True)) == sorted(
        f"Say {number}." for number in range(1, CASES + 1)
    )
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*), count(latency_ms), sum(input_tokens), sum(output_tokens),
                sum(latency_ms), sum(score * weight), max(latency_ms) >= 100
            FROM batches_job WHERE batch_id = %s
            """,
            [batch.pk],
        )
        found = cursor.fetchone()
    assert found == (
        batch.done,
        batch.latency_count,
        batch.input_tokens,
        batch.output_tokens,
        pytest.approx(batch.latency_sum_ms),
        batch.score_sum,
        True,
    )


def report_extra_calls(server: ModelServer, what: str) -> int:
    extra = server.calls().count - CASES
    logger.warning("%s: %s calls more than cases", what, extra)
    return extra


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


def test_a_worker_whose_database_connections_are_cut_goes_on(
    server: ModelServer, ends: Callable[[], int], tmp_path: Path
) -> None:
    batch = make_long_batch(server)
    with worker(tmp_path) as running, ticking():
        until(lambda: done(batch) >= EARLY, what=running.said)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'evalsched-worker'"
            )
            assert cursor.fetchone()[0] > 0
        wait_for_the_end(batch)

    assert_nothing_lost_nor_doubled(batch)
    assert ends() == 1
    assert report_extra_calls(server, "connections cut") <= 2 * CONCURRENCY
