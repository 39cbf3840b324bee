"""The one mechanism that hands out jobs and takes in results.

Claiming and flushing lock the batch's row first. So the concurrency holds over all workers, the
counters are exact at every commit, and whoever takes in the last result finalises the batch: two
last workers cannot each see the other's job open.
"""

import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F

from batches import batches
from batches.models import BATCH_OPEN, Batch, BatchStatus, Job, JobOutcome, JobStatus

# The fourth lost worker is the job's doing: it ends as an error instead of a fifth attempt.
MOST_CLAIMS = 4
# So many broken calls in a row open the circuit: the rest would most likely fail as well.
CIRCUIT = 5
# A hint is repeated when nobody has worked on the batch for so long.
HINT_AGAIN = timedelta(seconds=30)


@dataclass(frozen=True)
class Claim:
    """A job that this worker may call and write, until its lease ends or another claims it."""

    job_id: int
    claim_no: int
    case_id: uuid.UUID | None


@dataclass(frozen=True)
class Result:
    """What came of a claimed job. Cost in USD, score 0..1; None is unknown."""

    claim: Claim
    outcome: JobOutcome
    attempts: int
    wall_ms: float
    weight: float = 1
    output: str = ""
    score: float | None = None
    assertions: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    latency_ms: float | None = None
    ttft_ms: float | None = None
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    cost: Decimal | None = None
    error_class: str = ""
    error_message: str = ""


@dataclass(frozen=True)
class Exchange:
    """What came back for the results: further claims, and whether the batch goes on.

    `open` False: stop the calls in flight. `waiting` counts the jobs that nobody has claimed.
    """

    claims: list[Claim]
    open: bool
    waiting: int


def exchange(
    batch_id: uuid.UUID, results: Sequence[Result], *, want: int, now: datetime
) -> Exchange:
    """Take in results and hand out at most `want` jobs, in one transaction.

    A result whose claim is no longer the job's is dropped: another worker has it now.
    """
    with transaction.atomic():
        batch = Batch.objects.select_for_update().filter(pk=batch_id).first()
        if batch is None:
            return Exchange([], open=False, waiting=0)
        if results:
            _take_in(batch, results, now)
        if batch.status in BATCH_OPEN and batch.deadline_at and batch.deadline_at <= now:
            _time_out(batch, now)
            return Exchange([], open=False, waiting=0)
        if _end_if_complete(batch, now) or batch.status not in BATCH_OPEN:
            return Exchange([], open=False, waiting=0)
        claims = _hand_out(batch, min(want, batch.concurrency - batch.running), now)
        return Exchange(claims, open=True, waiting=batch.total - batch.done - batch.running)


def renew(claims: Collection[Claim], *, now: datetime) -> set[int]:
    """Lengthen the leases and return the ids of the jobs that are still this worker's."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE batches_job j SET lease_expires_at = %s
            FROM unnest(%s::bigint[], %s::int[]) AS mine(id, claim_no)
            WHERE j.id = mine.id AND j.claim_no = mine.claim_no AND j.status = 'running'
            RETURNING j.id
            """,
            [_lease_end(now), [c.job_id for c in claims], [c.claim_no for c in claims]],
        )
        return {row[0] for row in cursor.fetchall()}


def give_back(batch_id: uuid.UUID, claims: Collection[Claim], *, now: datetime) -> None:
    """Return jobs without a result: others may claim them at once."""
    with transaction.atomic():
        batch = Batch.objects.select_for_update().filter(pk=batch_id).first()
        if batch is None:
            return
        returned = 0
        for claim in claims:
            held = Job.objects.filter(pk=claim.job_id, claim_no=claim.claim_no, status="running")
            # It was no fault of the job: this claim does not count towards MOST_CLAIMS.
            returned += held.move(
                _status_without_worker(batch), lease_expires_at=None, claim_no=F("claim_no") - 1
            )
        Batch.objects.filter(pk=batch.pk).update(running=F("running") - returned)


def expire(now: datetime) -> int:
    """End the batches whose deadline has passed while no worker looked. Return how many."""
    late = Batch.objects.open().filter(deadline_at__lt=now)
    ended = 0
    for batch_id in late.values_list("pk", flat=True)[:500]:
        with transaction.atomic():
            batch = Batch.objects.select_for_update().get(pk=batch_id)
            ended += _time_out(batch, now)
    return ended


def fail(batch_id: uuid.UUID, sentence: str, *, now: datetime) -> None:
    """End a batch that cannot run at all, with the reason."""
    with transaction.atomic():
        batch = Batch.objects.select_for_update().filter(pk=batch_id).first()
        if batch is not None:
            batches.finish(
                batch, BatchStatus.FAILED, now=now, error_class="rejected", error_message=sentence
            )


def rescue(now: datetime) -> int:
    """Free the jobs whose lease has ended, and wake workers for batches that nobody works on."""
    lost = Job.objects.filter(status=JobStatus.RUNNING, lease_expires_at__lt=now)
    for batch_id in sorted(set(lost.values_list("batch_id", flat=True))):
        _rescue_batch(batch_id, now)
    idle = Batch.objects.open().filter(hinted_at__lt=now - HINT_AGAIN)
    woken = 0
    for batch in idle.order_by("hinted_at")[:500]:
        with transaction.atomic():
            # The condition again: two ticks at once hint once.
            if Batch.objects.filter(pk=batch.pk, hinted_at=batch.hinted_at).update(hinted_at=now):
                batches.wake(batch, now)
                woken += 1
    return woken


def _rescue_batch(batch_id: uuid.UUID, now: datetime) -> None:
    with transaction.atomic():
        batch = Batch.objects.select_for_update().get(pk=batch_id)
        lost = Job.objects.filter(
            batch=batch, status=JobStatus.RUNNING, lease_expires_at__lt=now
        ).order_by("pk")
        poisonous = lost.filter(claim_no__gte=MOST_CLAIMS)
        ended = poisonous.move(
            JobStatus.DONE,
            outcome=JobOutcome.ERROR,
            lease_expires_at=None,
            finished_at=now,
            error_class="infra",
            error_message=f"Its worker was lost {MOST_CLAIMS} times; it is not tried again.",
        )
        freed = lost.move(_status_without_worker(batch), lease_expires_at=None)
        batch.running -= ended + freed
        batch.done += ended
        batch.errors += ended
        batch.save(update_fields=["running", "done", "errors", "updated_at"])
        if not _end_if_complete(batch, now) and freed and batch.status in BATCH_OPEN:
            batches.wake(batch, now)


def _status_without_worker(batch: Batch) -> JobStatus:
    if batch.status in BATCH_OPEN:
        return JobStatus.PENDING
    if batch.status == BatchStatus.CANCELLED:
        return JobStatus.CANCELLED
    return JobStatus.NOT_RUN


def _end_if_complete(batch: Batch, now: datetime) -> bool:
    return (
        batch.status in BATCH_OPEN
        and batch.done == batch.total
        and batches.finish(batch, BatchStatus.COMPLETED, now=now)
    )


def _hand_out(batch: Batch, room: int, now: datetime) -> list[Claim]:
    """Claim the next jobs of the locked batch and note that it is being worked on."""
    changes: dict[str, Any] = {"hinted_at": now}
    claims: list[Claim] = []
    if room > 0:
        with connection.cursor() as cursor:
            cursor.execute(
                """
                UPDATE batches_job SET status = 'running', claim_no = claim_no + 1,
                    lease_expires_at = %s, started_at = %s
                -- An array is made once; IN may be planned to ask again for every row, and with
                -- locked rows passed over each time the limit would not hold.
                WHERE id = ANY(ARRAY(SELECT id FROM batches_job
                    WHERE batch_id = %s AND status = 'pending'
                    ORDER BY ordinal, repeat LIMIT %s FOR UPDATE))
                RETURNING id, claim_no, case_id
                """,
                [_lease_end(now), now, batch.pk, room],
            )
            claims = [Claim(*row) for row in cursor.fetchall()]
        batch.running += len(claims)
        changes["running"] = batch.running
    rows = Batch.objects.filter(pk=batch.pk)
    if batch.status == BatchStatus.PENDING and claims:
        changes["started_at"] = batch.started_at or now
        rows.move(BatchStatus.RUNNING, **changes)
    else:
        rows.update(**changes)
    return claims


_COLUMNS = {
    "outcome": "text",
    "attempts": "int",
    "wall_ms": "float8",
    "output": "text",
    "score": "float8",
    "assertions": "jsonb",
    "latency_ms": "float8",
    "ttft_ms": "float8",
    "input_tokens": "int",
    "cached_tokens": "int",
    "output_tokens": "int",
    "cost": "numeric",
    "error_class": "text",
    "error_message": "text",
}
# Names and types from the table above, no data.
_WRITE = f"""
    UPDATE batches_job j SET status = 'done', lease_expires_at = NULL, finished_at = %s,
        {", ".join(f"{name} = r.{name}" for name in _COLUMNS)}
    FROM jsonb_to_recordset(%s::jsonb) AS r(id bigint, claim_no int,
        {", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())})
    WHERE j.id = r.id AND j.claim_no = r.claim_no AND j.status = 'running' AND j.batch_id = %s
    RETURNING j.id
"""  # noqa: S608


def _take_in(batch: Batch, results: Sequence[Result], now: datetime) -> None:
    """Write the results that are still wanted and add them to the locked batch's counters."""
    rows = [
        {"id": result.claim.job_id, "claim_no": result.claim.claim_no}
        | {name: getattr(result, name) for name in _COLUMNS}
        for result in results
    ]
    with connection.cursor() as cursor:
        cursor.execute(_WRITE, [now, json.dumps(rows, default=str), batch.pk])
        accepted = {row[0] for row in cursor.fetchall()}
    written = [result for result in results if result.claim.job_id in accepted]
    if not written:
        return
    _count(batch, written)
    batch.running -= len(written)
    batch.save(update_fields=[*_COUNTERS, "running", "updated_at"])
    _stop_what_is_hopeless(batch, written, now)


def _stop_what_is_hopeless(batch: Batch, written: Sequence[Result], now: datetime) -> None:
    """End the batch where the endpoint refused a call for good, or broke five times in a row."""
    rejected = next((result for result in written if result.error_class == "rejected"), None)
    if rejected:
        status, error_class, sentence = BatchStatus.FAILED, "rejected", rejected.error_message
    elif batch.consecutive_infra >= CIRCUIT and batch.done < batch.total:
        last = next(item.error_message for item in reversed(written) if item.error_message)
        status, error_class = BatchStatus.STOPPED_CIRCUIT, "infra"
        sentence = f"Stopped after {batch.consecutive_infra} broken calls in a row: {last}"
    else:
        return
    if batches.finish(batch, status, now=now, error_class=error_class, error_message=sentence):
        batch.status = status


_COUNTERS = (
    "consecutive_infra",
    "done",
    "passed",
    "failed",
    "errors",
    "unscored",
    "score_sum",
    "weight_sum",
    "latency_sum_ms",
    "latency_count",
    "ttft_sum_ms",
    "ttft_count",
    "input_tokens",
    "output_tokens",
    "total_cost",
)
_COUNTER_OF = {
    JobOutcome.PASSED: "passed",
    JobOutcome.FAILED: "failed",
    JobOutcome.ERROR: "errors",
    JobOutcome.UNSCORED: "unscored",
}


def _count(batch: Batch, results: Sequence[Result]) -> None:
    for result in results:
        batch.done += 1
        counter = _COUNTER_OF[result.outcome]
        setattr(batch, counter, getattr(batch, counter) + 1)
        broken = result.error_class == "infra"
        batch.consecutive_infra = batch.consecutive_infra + 1 if broken else 0
        if result.score is not None:
            batch.score_sum += result.score * result.weight
            batch.weight_sum += result.weight
        if result.latency_ms is not None:
            batch.latency_sum_ms += result.latency_ms
            batch.latency_count += 1
        if result.ttft_ms is not None:
            batch.ttft_sum_ms += result.ttft_ms
            batch.ttft_count += 1
        batch.input_tokens += result.input_tokens or 0
        batch.output_tokens += result.output_tokens or 0
        if result.cost is not None:
            batch.total_cost = (batch.total_cost or Decimal(0)) + result.cost


def _lease_end(now: datetime) -> datetime:
    return now + timedelta(seconds=settings.EVALSCHED_LEASE_SECONDS)


def _time_out(batch: Batch, now: datetime) -> bool:
    started = batch.started_at or batch.created_at
    minutes = ((batch.deadline_at or now) - started) / timedelta(minutes=1)
    sentence = (
        f"Timed out after {minutes:.3g} min with {batch.done} of {batch.total} calls done. "
        "Raise the concurrency, shorten the suite, or raise EVALSCHED_RUN_TIMEOUT_SECONDS."
    )
    return batches.finish(
        batch, BatchStatus.FAILED, now=now, error_class="timeout", error_message=sentence
    )
