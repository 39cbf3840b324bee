"""Batches long enough for something to happen to their workers, and what has to hold then."""

import logging

import pytest
from django.db import connection

from access import clock
from batches.models import Batch, BatchStatus, Job
from tests.factories import make_actor, make_batch, make_endpoint, make_suite
from tests.processes_at_work import until
from tests.servers_http import ModelServer

CASES, CONCURRENCY, EARLY = 200, 10, 40
logger = logging.getLogger(__name__)


def make_long_batch(
    server: ModelServer, *, cases: int = CASES, concurrency: int = CONCURRENCY
) -> Batch:
    actor = make_actor()
    return make_batch(
        actor,
        suite=make_suite(actor, cases=cases),
        endpoint=make_endpoint(actor, provider="openai", base_url=server.base_url, model="m"),
        now=clock.database_now(),
        concurrency=concurrency,
    )


def done(batch: Batch) -> int:
    return Batch.objects.values_list("done", flat=True).get(pk=batch.pk)


def wait_for_the_end(batch: Batch) -> None:
    until(
        lambda: Batch.objects.filter(pk=batch.pk, completed_at__isnull=False).exists(),
        seconds=100,
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
