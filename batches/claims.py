"""The one mechanism that hands out jobs and takes in results.

Claiming and flushing lock the batch's row first. So the concurrency holds over all workers, the
counters are exact at every commit, and whoever takes in the last result finalises the batch: two
last workers cannot each see the other's job open.
"""

import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from batches import budgets, endings, recording
from batches.batches import CALLS_PER_WORKER
from batches.models import BATCH_OPEN, Batch, BatchStatus, Job, JobOutcome, JobStatus
from batches.results import Claim, Result

# A job that has lost so many workers runs alone from then on.
SUSPECT_FROM = 2


@dataclass(frozen=True)
class Exchange:
    """What came back for the results: further claims, and whether the batch goes on.

    `open` False: stop the calls in flight. `limit` is how many this worker may have in flight, so
    that all together keep to the concurrency. `waiting` counts the jobs that nobody has claimed.
    """

    claims: list[Claim]
    open: bool
    waiting: int = 0
    limit: int = 0


def exchange(
    batch_id: uuid.UUID, results: Sequence[Result], *, want: int, held: int = 0, now: datetime
) -> Exchange:
    """Take in results and hand out at most `want` jobs, in one transaction.

    A result whose claim is no longer the job's is dropped: another worker has it now. `held` is
    how many claims the worker still has. A worker that has the batch to itself gets a little more
    than may be in flight, so that a call which lands is followed at once.

    The concurrency holds over all workers, whatever their order: nobody has more calls in flight
    than claims, and while several have claims these are no more than the concurrency. More are
    handed out to a lone worker only, whose limit is the concurrency, and until they are fewer
    again nobody else gets any.
    """
    with transaction.atomic():
        batch = Batch.objects.select_for_update().filter(pk=batch_id).first()
        if batch is None:
            return Exchange([], open=False)
        if results:
            _take_in(batch, results, now)
        if endings.of_itself(batch, now):
            return Exchange([], open=False)
        others = batch.running - held
        # Claims ahead would take the others' places: theirs is what no one else may call.
        most = batch.concurrency + (0 if others else ahead(batch.concurrency))
        room = min(want, most - batch.running, budgets.affordable(batch))
        if batch.waiting_documents:
            room = 0
        if want > 0 and room <= 0 and held == 0:
            # It goes away again, and whoever fills the places may be about to leave.
            Batch.objects.filter(pk=batch.pk).update(hinted_at=None)
        claims = _hand_out(batch, room, held == 0, now)
        if endings.at_budget(batch, now):
            return Exchange([], open=False)
        return Exchange(
            claims,
            open=True,
            waiting=batch.total - batch.done - batch.running,
            limit=batch.concurrency - others,
        )


def ahead(concurrency: int) -> int:
    """Return how many jobs are claimed beyond those in flight: one for each of them.

    None of a batch so wide that several workers share it.
    """
    return 0 if concurrency > CALLS_PER_WORKER else concurrency


def somebody_was_sent_away(batch_id: uuid.UUID, *, now: datetime) -> bool:
    """Return whether a worker came for the open batch, found no place, and nobody came since.

    The caller is to wake another one; asked again at once the answer is no.
    """
    sent_away = Batch.objects.open().filter(pk=batch_id, hinted_at=None)
    return bool(sent_away.update(hinted_at=now))


def renew(claims: Collection[Claim], *, now: datetime) -> set[tuple[int, int]]:
    """Lengthen the leases and return the fences of the claims that still hold."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE batches_job j SET lease_expires_at = %s
            FROM unnest(%s::bigint[], %s::int[]) AS mine(id, claim_no)
            WHERE j.id = mine.id AND j.claim_no = mine.claim_no AND j.status = 'running'
            RETURNING j.id, j.claim_no
            """,
            [_lease_end(now), [c.job_id for c in claims], [c.claim_no for c in claims]],
        )
        return set(cursor.fetchall())


def note_content(asked: Mapping[Claim, str]) -> None:
    """Write down the content hash of what each claimed job really asks.

    A document may have been changed since the batch was made, and questions pair by their hashes.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE batches_job j SET case_hash = mine.content_hash
            FROM unnest(%s::bigint[], %s::int[], %s::text[]) AS mine(id, claim_no, content_hash)
            WHERE j.id = mine.id AND j.claim_no = mine.claim_no AND j.status = 'running'
                AND j.case_hash <> mine.content_hash
            """,
            [[c.job_id for c in asked], [c.claim_no for c in asked], list(asked.values())],
        )


def give_back(
    batch_id: uuid.UUID,
    claims: Collection[Claim],
    *,
    called: Collection[Claim] = (),
    now: datetime,
) -> None:
    """Return jobs without a result: others may claim them at once.

    Of them `called` were under way when they were stopped, so their reservation counts as spent.
    """
    with transaction.atomic():
        batch = Batch.objects.select_for_update().filter(pk=batch_id).first()
        if batch is None:
            return
        paid = {claim.fence for claim in called} if batch.max_cost is not None else set()
        for claim in claims:
            held = Job.objects.filter(pk=claim.job_id, claim_no=claim.claim_no, status="running")
            if held.move(without_worker(batch), lease_expires_at=None):
                batch.running -= 1
                batch.reserved_cost -= claim.reserved_cost
                _spend(batch, [claim.reserved_cost] if claim.fence in paid else [])
        batch.save(update_fields=["running", "reserved_cost", "total_cost", "updated_at"])


def without_worker(batch: Batch) -> JobStatus:
    """Return what becomes of a job that no worker has any more."""
    if batch.status in BATCH_OPEN:
        return JobStatus.PENDING
    if batch.status == BatchStatus.CANCELLED:
        return JobStatus.CANCELLED
    return JobStatus.NOT_RUN


def _hand_out(batch: Batch, room: int, alone: bool, now: datetime) -> list[Claim]:
    """Claim the next jobs of the locked batch and note that it is being worked on."""
    # Who asks for nothing only waits for its last calls: others may be woken meanwhile.
    changes: dict[str, Any] = {"hinted_at": now} if room > 0 else {}
    claims = _claim(batch, "lost_workers < %s", room, now) if room > 0 else []
    if room > 0 and alone and not claims:
        claims = _claim(batch, "lost_workers >= %s", 1, now)
    if claims:
        batch.running += len(claims)
        batch.reserved_cost += sum(claim.reserved_cost for claim in claims)
        changes |= {"running": batch.running, "reserved_cost": batch.reserved_cost}
    rows = Batch.objects.filter(pk=batch.pk)
    if batch.status == BatchStatus.PENDING and claims:
        if batch.started_at is None:
            changes |= {"started_at": now, "done_before": batch.done}
        rows.move(BatchStatus.RUNNING, **changes)
    elif changes:
        rows.update(**changes)
    return claims


def _claim(batch: Batch, condition: str, room: int, now: datetime) -> list[Claim]:
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            WITH claimed AS (
                UPDATE batches_job SET status = 'running', claim_no = claim_no + 1,
                    lease_expires_at = %s, started_at = %s, reserved_cost = %s
                -- An array is made once; IN may be planned to ask again for every row, and with
                -- locked rows passed over each time the limit would not hold.
                WHERE id = ANY(ARRAY(SELECT id FROM batches_job
                    WHERE batch_id = %s AND status = 'pending' AND {condition}
                    ORDER BY ordinal, repeat LIMIT %s FOR UPDATE))
                RETURNING *)
            SELECT id, claim_no, case_id, reserved_cost, lost_workers >= %s, document_id
            FROM claimed ORDER BY ordinal, repeat
            """,  # noqa: S608  the two conditions above, no data
            [
                _lease_end(now),
                now,
                budgets.reservation(batch),
                batch.pk,
                SUSPECT_FROM,
                room,
                SUSPECT_FROM,
            ],
        )
        return [Claim(*row) for row in cursor.fetchall()]


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
    "prices": "jsonb",
    "cost_unknown_because": "text",
    "judge_cost": "numeric",
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
    RETURNING j.id, j.claim_no, j.reserved_cost, j.case_key
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
        # By the claim, not the job: a worker that was away may bring two results of one job.
        found = {(job_id, claim_no): rest for job_id, claim_no, *rest in cursor.fetchall()}
    written = [result for result in results if result.claim.fence in found]
    if not written:
        return
    _count(batch, written)
    batch.running -= len(written)
    batch.reserved_cost -= sum(reserved_cost for reserved_cost, _ in found.values())
    if batch.max_cost is not None:
        _spend(batch, [result.claim.reserved_cost for result in written if result.unpriced])
        for result in written:
            _spend_on_judges(batch, result.unknown_judge_cost)
    batch.save(update_fields=[*_COUNTERS, "running", "reserved_cost", "updated_at"])
    keys = [found[result.claim.fence][1] for result in written]
    recording.record(batch, list(zip(written, keys, strict=True)), now=now)
    errors = [(result.error_class, result.error_message) for result in written]
    judges_errors = [result.judge_failure for result in written if result.judge_failure]
    if endings.if_hopeless(batch, errors, judges_errors, now):
        batch.refresh_from_db(fields=["status"])


_COUNTERS = (
    "consecutive_infra",
    "consecutive_unjudged",
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
    "judge_cost",
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
        _count_in_a_row(batch, result)
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
            _spend(batch, [result.cost])
        _spend_on_judges(batch, result.judge_cost)


def _count_in_a_row(batch: Batch, result: Result) -> None:
    """Count what opens the circuit; a call or a judge that answers closes its row."""
    if result.error_class == "infra":
        batch.consecutive_infra += 1
    elif result.error_class != "timeout":
        batch.consecutive_infra = 0
    if result.judge_failure:
        batch.consecutive_unjudged += 1
    elif result.judge_failure is not None:
        batch.consecutive_unjudged = 0


def _spend(batch: Batch, costs: Sequence[Decimal]) -> None:
    if costs:
        batch.total_cost = (batch.total_cost or Decimal(0)) + sum(costs)


def _spend_on_judges(batch: Batch, cost: Decimal | None) -> None:
    if cost is not None:
        batch.judge_cost = (batch.judge_cost or Decimal(0)) + cost


def _lease_end(now: datetime) -> datetime:
    return now + timedelta(seconds=settings.EVALSCHED_LEASE_SECONDS)
