"""Endpoints that turn away, hang, flood or answer nonsense: each call ends, the next is as ever."""

from decimal import Decimal

import pytest

from batches.models import Job
from tests.batches.engine_at_work import counters_and_aggregates, make_asked, work_to_the_end
from tests.servers_http import ModelServer

pytestmark = pytest.mark.django_db(transaction=True)

INFRA = ("error", None, "infra")
TOO_SLOW = ("failed", 0.0, "timeout")
ENDS = {
    "hang": TOO_SLOW,
    "trickle": TOO_SLOW,
    "huge": INFRA,
    "gzip_bomb": INFRA,
    "html": INFRA,
    "broken_json": INFRA,
    "empty_choices": INFRA,
    "refusal": ("failed", 0.0, "refused"),
    "nul": ("failed", 0.0, ""),
}


def test_busy_and_broken_answers_are_tried_again_and_cost_no_latency(server: ModelServer) -> None:
    server.configure(latency_ms=40, share_429=0.05, share_500=0.02, retry_after="1")
    batch = work_to_the_end(make_asked(server, 150, concurrency=25))

    assert (batch.status, batch.passed, batch.errors) == ("completed", 150, 0)
    jobs = list(Job.objects.filter(batch=batch))
    again = [job for job in jobs if job.attempts > 1]
    assert len(again) >= 5
    assert server.calls().count == sum(job.attempts for job in jobs)
    assert max((job.wall_ms or 0) - (job.latency_ms or 0) for job in again) > 1000
    assert max(job.latency_ms or 0 for job in jobs) < 1000
    assert batch.total_cost == 150 * Decimal("0.000006")


def test_whatever_comes_ends_as_documented_and_the_next_case_is_unaffected(
    server: ModelServer,
) -> None:
    """Every other call meets one of them, two at a time on the same connections."""
    hostile = dict(zip(range(1, 2 * len(ENDS), 2), ENDS, strict=True))
    server.configure(
        latency_ms=20, prompt_modes={f"Say {number}.": mode for number, mode in hostile.items()}
    )
    batch = work_to_the_end(make_asked(server, 2 * len(ENDS), concurrency=2, timeout_ms=3000))

    found = {job.ordinal + 1: job for job in Job.objects.filter(batch=batch)}
    ends = {
        mode: (found[number].outcome, found[number].score, found[number].error_class)
        for number, mode in hostile.items()
    }
    assert ends == ENDS
    assert all(found[number].error_message for number in hostile if hostile[number] != "nul")
    usual = [job for number, job in found.items() if number not in hostile]
    assert {(job.outcome, job.score, job.attempts) for job in usual} == {("passed", 1.0, 1)}
    assert (batch.status, batch.done, batch.errors) == ("completed", 2 * len(ENDS), 5)
    assert counters_and_aggregates(batch)[0] == counters_and_aggregates(batch)[1]
    assert sum(len(job.output) for job in found.values()) < 1000
