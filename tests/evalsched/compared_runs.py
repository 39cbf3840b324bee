"""Runs that have completed, with the results that a test wants, made as the engine makes them."""

import uuid
from collections.abc import Collection
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from batches import claims
from batches.models import Batch, Job, JobOutcome
from batches.results import Claim, Result
from evalsched import admission, runs
from evalsched.models import Run, RunStatus, RunTrigger, Schedule
from tests.factories import NOW, make_actor, make_run, make_schedule, make_suite


def make_cases_schedule(cases: int, **fields: Any) -> Schedule:
    actor = make_actor()
    return make_schedule(actor, suite=make_suite(actor, cases=cases), **fields)


def batch_of(run: Run) -> Batch:
    assert run.batch_id is not None
    return Batch.objects.get(pk=run.batch_id)


def make_completed(schedule: Schedule, *, hours: int = 0, **brought: Any) -> Run:
    """Make the scheduled run of so many hours after NOW; `brought` as of `bring_results`."""
    return make_ended(make_under_way(schedule, hours=hours), **brought)


def make_under_way(schedule: Schedule, *, hours: int = 0) -> Run:
    moment = NOW + timedelta(hours=hours)
    run = make_run(schedule, scheduled_for=moment, trigger=RunTrigger.SCHEDULE)
    assert admission.start_queued(moment) == 1
    run.refresh_from_db()
    return run


def make_ended(run: Run, **brought: Any) -> Run:
    """Bring the run's results, as `bring_results`, and settle it."""
    assert run.batch_id is not None
    bring_results(run.batch_id, run.scheduled_for, **brought)
    runs.settle(run.batch_id, now=run.scheduled_for + timedelta(minutes=1))
    run.refresh_from_db()
    assert run.status == RunStatus.COMPLETED, run.error_message
    return run


def bring_results(
    batch_id: uuid.UUID,
    now: datetime,
    *,
    wrong: Collection[int] = (),
    broken: Collection[int] = (),
    unscored: Collection[int] = (),
    latency_ms: float = 100.0,
    cost: Decimal | None = None,
) -> None:
    """Answer every call of the batch, a window after the other; cases are numbered from 1.

    Those in `wrong` fail in every repeat, those in `broken` meet a broken endpoint, those in
    `unscored` a judge who is away.
    """
    numbers = dict(Job.objects.filter(batch=batch_id).values_list("pk", "ordinal"))

    def result(claim: Claim) -> Result:
        number = numbers[claim.job_id] + 1
        if number in broken:
            return Result(
                claim,
                JobOutcome.ERROR,
                attempts=5,
                wall_ms=9,
                error_class="infra",
                error_message="no connection",
            )
        if number in unscored:
            took = latency_ms + number
            return Result(claim, JobOutcome.UNSCORED, attempts=1, wall_ms=9, latency_ms=took)
        fails = number in wrong
        return Result(
            claim,
            JobOutcome.FAILED if fails else JobOutcome.PASSED,
            attempts=1,
            wall_ms=9,
            score=0.0 if fails else 1.0,
            latency_ms=latency_ms + number,
            ttft_ms=latency_ms / 10 + number,
            cost=cost,
        )

    held = claims.exchange(batch_id, [], want=len(numbers), now=now).claims
    while held:
        results = [result(claim) for claim in held]
        held = claims.exchange(batch_id, results, want=len(numbers), now=now).claims
