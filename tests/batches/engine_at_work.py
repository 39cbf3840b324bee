"""Batches against the model server, and the engine working on them in this process."""

from collections.abc import Callable
from typing import Any

from django.db import connection

from access import clock
from batches import engine
from batches.cases import CaseDraft
from batches.models import Batch
from config import queues
from tests.factories import make_actor, make_batch, make_endpoint, make_suite
from tests.servers_http import ModelServer


def make_asked(
    server: ModelServer,
    cases: int | list[CaseDraft] = 5,
    *,
    endpoint: dict[str, Any] | None = None,
    **config: Any,
) -> Batch:
    """Make a batch whose endpoint is the model server, priced at 1 and 2 USD per million.

    `endpoint` holds further fields of it.
    """
    actor = make_actor()
    fields = {"api_key": "the-key", "price_input": 1, "price_output": 2, **(endpoint or {})}
    asked = make_endpoint(actor, provider="openai", base_url=server.base_url, model="m", **fields)
    return make_batch(
        actor,
        suite=make_suite(actor, cases=cases),
        endpoint=asked,
        now=clock.database_now(),
        **config,
    )


def work(batch: Batch, stopping: Callable[[], bool] = lambda: False) -> bool:
    return engine.work(batch.pk, stopping=stopping)


def work_to_the_end(batch: Batch) -> Batch:
    """Work one slice after the other, as workers do."""
    for _ in range(100):
        if not work(batch):
            break
    batch.refresh_from_db()
    return batch


COUNTERS = """
    SELECT b.total, b.running, b.done, b.passed, b.failed, b.errors, b.unscored,
        b.latency_count, b.ttft_count, b.input_tokens, b.output_tokens,
        round(b.score_sum::numeric, 6), round(b.weight_sum::numeric, 6),
        round(b.latency_sum_ms::numeric, 3), round(b.ttft_sum_ms::numeric, 3),
        coalesce(b.total_cost, 0), coalesce(b.judge_cost, 0)
    FROM batches_batch b WHERE b.id = %s
"""
AGGREGATES = """
    SELECT count(*), count(*) FILTER (WHERE status = 'running'),
        count(*) FILTER (WHERE status = 'done'), count(*) FILTER (WHERE outcome = 'passed'),
        count(*) FILTER (WHERE outcome = 'failed'), count(*) FILTER (WHERE outcome = 'error'),
        count(*) FILTER (WHERE outcome = 'unscored'),
        count(latency_ms), count(ttft_ms),
        coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0),
        round(coalesce(sum(score * weight), 0)::numeric, 6),
        round(coalesce(sum(weight) FILTER (WHERE score IS NOT NULL), 0)::numeric, 6),
        round(coalesce(sum(latency_ms), 0)::numeric, 3),
        round(coalesce(sum(ttft_ms), 0)::numeric, 3), coalesce(sum(cost), 0),
        coalesce(sum(judge_cost), 0)
    FROM batches_job WHERE batch_id = %s
"""


def counters_and_aggregates(batch: Batch) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Read both in one statement: of one moment, whatever others commit meanwhile."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT * FROM ({COUNTERS}) AS counters, ({AGGREGATES}) AS aggregates",
            [batch.pk, batch.pk],
        )
        row = cursor.fetchone()
    return row[: len(row) // 2], row[len(row) // 2 :]


def hints() -> int:
    """Count the hints for workers that wait in the broker."""
    return queues.lengths()["batches"]
