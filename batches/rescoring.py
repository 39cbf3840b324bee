"""Old answers under a suite's new assertions: a new batch beside the old one, and no call."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.db.models import Count, F, Q, Sum

from access import audit, rows
from access.actors import Actor
from access.errors import Conflict
from batches import cases, outcomes, questions, scoring, suites
from batches.cases import CaseDraft
from batches.models import (
    BATCH_OPEN,
    JOB_OPEN,
    Batch,
    Job,
    JobOutcome,
    JobStatus,
    TestCase,
    TestSuite,
)
from batches.scoring.registry import ASKING

# It is done while somebody waits.
MOST_CALLS = 10_000
_PAGE = 500
_NAMED = 5


@dataclass(frozen=True)
class _Now:
    """What a case is now; `draft` has the agent's assertions beside its own."""

    id: uuid.UUID
    content_hash: str
    draft: CaseDraft


def rescore(actor: Actor, batch: Batch, *, now: datetime) -> Batch:
    """Make a batch of the same answers, scored by the suite as it is now. All or nothing.

    Calls that brought no answer stay what they were. Cases that were added since have no answers
    and are not in it. What it cost is what the calls cost then.

    Raises:
        Conflict: it or a call of it is under way, the suite is gone, a question was changed or
            removed since, an assertion asks another model, or there are too many calls to wait for.
    """
    with transaction.atomic():
        batch = rows.locked(batch)
        suite = _suite(batch)
        current = _paired(batch, suite)
        made = _copied(actor, batch, suite)
        for page in _pages(batch):
            _insert(made, [_scored(job, current[job.case_id]) for job in page if job.case_id])
        Batch.objects.filter(pk=made.pk).move(batch.status, completed_at=now, **_counters(made))
        audit.record(actor, "batch.rescored", made, {"from": str(batch.pk)})
        # The copy of an expired one may be cleaned up as soon as others see it.
        made.refresh_from_db()
    return made


def _suite(batch: Batch) -> TestSuite:
    if batch.status in BATCH_OPEN:
        raise Conflict("This batch is under way. Rescore it when it has ended.")
    if Job.objects.filter(batch=batch, status__in=JOB_OPEN).exists():
        raise Conflict("Its last calls are still in flight. Try again in a moment.")
    if batch.suite is None:
        raise Conflict("Only a batch of a suite that still exists can be rescored.")
    if batch.total > MOST_CALLS:
        raise Conflict(f"Rescoring takes at most {MOST_CALLS:,} calls. Run the suite again.")
    suite: TestSuite = batch.suite
    return suite


def _paired(batch: Batch, suite: TestSuite) -> dict[uuid.UUID, _Now]:
    """Return for each case that was asked what it is now."""
    asked = Job.objects.filter(batch=batch)
    old = TestCase.objects.in_bulk(set(asked.values_list("case_id", flat=True)) - {None})
    wanted = {row.key: row for row in TestCase.objects.filter(suite=suite).current()}
    assertions = scoring.parse(batch.assertions)
    found, changed = {}, []
    for row in old.values():
        new = wanted.get(row.key)
        if new is None or not _same_question(row, new):
            changed.append(row.key)
            continue
        found[row.pk] = _Now(new.pk, new.content_hash, questions.of_case(new, assertions))
    gone = asked.filter(case_id=None).values_list("case_key", flat=True)
    _refuse_changed(sorted({*changed, *gone}))
    _refuse_asking(found)
    return found


def _same_question(old: TestCase, new: TestCase) -> bool:
    same: bool = cases.rendered(suites.draft_of(old)) == cases.rendered(suites.draft_of(new))
    return old.pk == new.pk or same


def _refuse_changed(keys: list[str]) -> None:
    if keys:
        named = ", ".join(keys[:_NAMED]) + (" and others" if len(keys) > _NAMED else "")
        raise Conflict(
            f"The questions of these cases were changed or removed since: {named}. "
            "Their answers cannot be rescored. Run the suite again."
        )


def _refuse_asking(found: dict[uuid.UUID, _Now]) -> None:
    asking = {
        assertion.base
        for now in found.values()
        for assertion in now.draft.assertions
        if assertion.base in ASKING
    }
    if asking:
        raise Conflict(
            f"The suite has {' and '.join(sorted(asking))} assertions, which ask another model, "
            "and rescoring makes no calls. Run the suite again."
        )


_KEPT = (
    *("project_id", "name", "endpoint", "agent", "model_name", "agent_name", "instructions"),
    *("assertions", "description", "tracking_id", "is_ephemeral", "expires_at", "concurrency"),
    *("repeats", "timeout_ms", "delay_ms", "parameters", "tags", "total", "started_at"),
    *("latency_sum_ms", "latency_count", "ttft_sum_ms", "ttft_count", "input_tokens"),
    *("output_tokens", "total_cost", "p95_latency_ms", "error_class", "error_message"),
)


def _copied(actor: Actor, batch: Batch, suite: TestSuite) -> Batch:
    made = Batch(
        user=actor.user,
        suite=suite,
        suite_name=suite.name,
        suite_version=suite.version,
        suite_hash=suite.content_hash,
        rescored_from=batch,
        **{name: getattr(batch, name) for name in _KEPT},
    )
    made.save(force_insert=True)
    return made


def _pages(batch: Batch) -> Iterator[list[Job]]:
    last = 0
    while page := list(Job.objects.filter(batch=batch, pk__gt=last).order_by("pk")[:_PAGE]):
        yield page
        last = page[-1].pk


def _scored(job: Job, now: _Now) -> dict[str, Any]:
    """Return what the job's copy has of its own; without an outcome it keeps the old one."""
    draft = now.draft
    own: dict[str, Any] = {
        "id": job.pk,
        "case_id": str(now.id),
        "case_hash": now.content_hash,
        "tags": list(draft.tags),
        "weight": draft.weight,
    }
    if job.status != JobStatus.DONE or job.error_class:
        return own
    scored = scoring.score(
        scoring.effective(draft.assertions, draft.expected),
        scoring.Answer(job.output, job.latency_ms or 0.0, job.cost),
        variables=draft.variables,
        threshold=draft.threshold,
    )
    return own | {
        "outcome": outcomes.outcome_of(scored.passed),
        "score": scored.score,
        "assertions": [asdict(item) for item in scored.assertions],
    }


_INSERT = """
    INSERT INTO batches_job (project_id, batch_id, case_id, case_key, case_hash, ordinal, repeat,
        tags, weight, status, outcome, claim_no, lost_workers, attempts, output, score, assertions,
        latency_ms, ttft_ms, wall_ms, input_tokens, cached_tokens, output_tokens, cost, prices,
        cost_unknown_because, reserved_cost, error_class, error_message, started_at, finished_at)
    SELECT j.project_id, %s, r.case_id, j.case_key, r.case_hash, j.ordinal, j.repeat, r.tags,
        r.weight, j.status, coalesce(r.outcome, j.outcome), 0, 0, j.attempts, j.output,
        CASE WHEN r.outcome IS NULL THEN j.score ELSE r.score END,
        CASE WHEN r.outcome IS NULL THEN j.assertions ELSE r.assertions END,
        j.latency_ms, j.ttft_ms, j.wall_ms, j.input_tokens, j.cached_tokens, j.output_tokens,
        j.cost, j.prices, j.cost_unknown_because, 0, j.error_class, j.error_message, j.started_at,
        j.finished_at
    FROM jsonb_to_recordset(%s::jsonb) AS r(id bigint, case_id uuid, case_hash text, tags text[],
        weight float8, outcome text, score float8, assertions jsonb)
    JOIN batches_job j ON j.id = r.id
"""


def _insert(made: Batch, results: list[dict[str, Any]]) -> None:
    """Copy a page of jobs in one statement: the answers do not leave the database."""
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [made.pk, json.dumps(results)])


def _counters(made: Batch) -> dict[str, Any]:
    outcomes_ = {
        "passed": JobOutcome.PASSED,
        "failed": JobOutcome.FAILED,
        "errors": JobOutcome.ERROR,
        "unscored": JobOutcome.UNSCORED,
    }
    found = Job.objects.filter(batch=made).aggregate(
        done=Count("pk", filter=Q(status=JobStatus.DONE)),
        score_sum=Sum(F("score") * F("weight"), default=0.0),
        weight_sum=Sum("weight", filter=Q(score__isnull=False), default=0.0),
        **{name: Count("pk", filter=Q(outcome=outcome)) for name, outcome in outcomes_.items()},
    )
    return dict(found)
