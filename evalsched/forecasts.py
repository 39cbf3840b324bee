"""How long a run will take, as far as its configuration and the last one tell."""

import math
import uuid

from django.conf import settings

from batches.batches import MAX_CONCURRENCY, Config
from batches.models import Batch, TestSuite
from evalsched.models import Schedule

_MINUTE_MS = 60_000


def of_schedule(schedule: Schedule) -> list[str]:
    """Return what the schedule's author should know of its runs' length, as sentences."""
    stored = schedule.batch_test_config
    return warnings(
        schedule.suite,
        schedule.model_endpoint.pk,
        concurrency=stored.get("concurrency", Config.concurrency),
        repeats=stored.get("repeats", Config.repeats),
        delay_ms=stored.get("delay_ms", Config.delay_ms),
    )


def warnings(
    suite: TestSuite,
    endpoint_id: uuid.UUID,
    *,
    concurrency: int,
    repeats: int,
    delay_ms: int = Config.delay_ms,
) -> list[str]:
    """Warn of a suite that takes longer than a run may: by its delay, or the last batch's calls."""
    calls = suite.case_count * repeats
    found = [_of_delay(calls, delay_ms)]
    latency_ms = _latency_ms(suite.project_id, endpoint_id)
    if latency_ms is not None:
        found.append(_of_latency(calls, latency_ms, concurrency))
    return [sentence for sentence in found if sentence]


def _of_delay(calls: int, delay_ms: int) -> str:
    # The first call does not wait.
    pauses = calls - 1
    takes = _too_long(pauses * delay_ms)
    if not takes:
        return ""
    return (
        f"{calls:,} calls that begin {delay_ms:,} ms apart {takes} "
        f"Lower delay_ms to {_limit_ms() // pauses:,} or less, or shorten the suite."
    )


def _of_latency(calls: int, latency_ms: float, concurrency: int) -> str:
    takes = _too_long(calls * latency_ms / concurrency)
    if not takes:
        return ""
    enough = math.ceil(calls * latency_ms / _limit_ms())
    if latency_ms > _limit_ms():
        advice = "A single call takes longer than that: choose a faster model."
    elif enough > MAX_CONCURRENCY:
        advice = f"More than {MAX_CONCURRENCY:,} at once are not possible: shorten the suite."
    else:
        advice = f"Raise the concurrency to {enough:,} or more, or shorten the suite."
    return f"{calls:,} calls of {latency_ms:,.0f} ms, {concurrency} at once, {takes} {advice}"


def _too_long(expected_ms: float) -> str:
    """Say how long it takes and how long it may; empty where that is long enough."""
    if expected_ms <= _limit_ms():
        return ""
    return (
        f"take about {expected_ms / _MINUTE_MS:,.0f} min, "
        f"and a run may take {_limit_ms() / _MINUTE_MS:g} min."
    )


def _limit_ms() -> int:
    return int(settings.EVALSCHED_RUN_TIMEOUT_SECONDS * 1000)


def _latency_ms(project_id: uuid.UUID, endpoint_id: uuid.UUID) -> float | None:
    made = Batch.objects.evaluations()
    asked = made.filter(project_id=project_id, endpoint_id=endpoint_id)
    sums = asked.filter(latency_count__gt=0).order_by("-created_at")
    last = sums.values_list("latency_sum_ms", "latency_count").first()
    return None if last is None else last[0] / last[1]
