"""How long a run will take, as far as the last one tells."""

import uuid
from datetime import timedelta

from django.conf import settings

from batches.batches import Config
from batches.models import Batch, TestSuite
from evalsched.models import Schedule


def of_schedule(schedule: Schedule) -> list[str]:
    """Return what the schedule's author should know of its runs' length, as sentences."""
    stored = schedule.batch_test_config
    return warnings(
        schedule.suite,
        schedule.model_endpoint.pk,
        concurrency=stored.get("concurrency", Config.concurrency),
        repeats=stored.get("repeats", Config.repeats),
    )


def warnings(
    suite: TestSuite, endpoint_id: uuid.UUID, *, concurrency: int, repeats: int
) -> list[str]:
    """Warn of a suite that takes longer than a run may, by the latency of the last batch."""
    latency_ms = _latency_ms(suite.project_id, endpoint_id)
    if latency_ms is None:
        return []
    calls = suite.case_count * repeats
    expected = timedelta(milliseconds=calls * latency_ms / concurrency)
    limit = timedelta(seconds=settings.EVALSCHED_RUN_TIMEOUT_SECONDS)
    if expected <= limit:
        return []
    enough = -(-calls * latency_ms // (limit / timedelta(milliseconds=1)))
    return [
        f"{calls:,} calls of {latency_ms:,.0f} ms, {concurrency} at once, take about "
        f"{expected / timedelta(minutes=1):.0f} min, and a run may take "
        f"{limit / timedelta(minutes=1):g} min. Raise the concurrency to {enough:.0f} or more, "
        "or shorten the suite."
    ]


def _latency_ms(project_id: uuid.UUID, endpoint_id: uuid.UUID) -> float | None:
    made = Batch.objects.evaluations()
    asked = made.filter(project_id=project_id, endpoint_id=endpoint_id)
    sums = asked.filter(latency_count__gt=0).order_by("-created_at")
    last = sums.values_list("latency_sum_ms", "latency_count").first()
    return None if last is None else last[0] / last[1]
