"""Batches: made with all their jobs, cancelled, resumed, and brought to their one end."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models import Sum

from access import audit, rows
from access.actors import Actor
from access.errors import Conflict, Invalid
from access.hints import hint
from batches import announcements, cleanup, expectations, graders, jobs, signals, users
from batches import documents as documents_
from batches.models import (
    BATCH_OPEN,
    DOCUMENT_OPEN,
    Agent,
    Batch,
    BatchStatus,
    Document,
    Job,
    JobOutcome,
    JobStatus,
    ModelEndpoint,
    TestSuite,
)

WORK = "batches.work"
# How many calls one worker process keeps in flight; a wider batch wakes several.
CALLS_PER_WORKER = 100
MAX_CONCURRENCY = 1_000
MAX_REPEATS = 100
MAX_JOBS = 200_000


@dataclass(frozen=True)
class Config:
    """How a batch is executed; `timeout_ms` is one attempt's, `max_cost` in USD.

    `parameters` win over the endpoint's. `judge_model_id` and `embedding_model_id` (an id, a name
    or a model) are asked by assertions that name no one themselves.
    """

    concurrency: int = 10
    repeats: int = 1
    timeout_ms: int = 60_000
    delay_ms: int = 0
    max_cost: Decimal | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    judge_model_id: str | None = None
    embedding_model_id: str | None = None
    tags: tuple[str, ...] = ()
    name: str = ""

    @classmethod
    def stored(cls, config: dict[str, Any], *, name: str) -> "Config":
        """Return what a schedule keeps as JSON."""
        money = config.get("max_cost")
        return cls(**config | {"max_cost": None if money is None else Decimal(money)}, name=name)


def create(
    *,
    user_id: uuid.UUID,
    endpoint: ModelEndpoint,
    config: Config,
    now: datetime,
    suite: TestSuite | None = None,
    documents: Sequence[Document] = (),
    agent: Agent | None = None,
    target_count: int | None = None,
    deadline_at: datetime | None = None,
    description: str = "",
) -> Batch:
    """Make a batch with all its jobs, and wake workers for it.

    It asks about the suite's current version, or about the documents; of either the first
    `target_count`. It belongs to the endpoint's project and to `user_id`.

    Raises:
        Invalid: there is nothing to ask, it would be too many calls, an assertion has no judge, or
            a budget could not be kept.
    """
    with transaction.atomic():
        batch = prepare(
            user_id=user_id,
            endpoint=endpoint,
            agent=agent,
            config=config,
            deadline_at=deadline_at,
            description=description,
        )
        fill(batch, config, suite=suite, documents=documents, first=target_count, now=now)
    return batch


def prepare(
    *,
    user_id: uuid.UUID,
    endpoint: ModelEndpoint,
    config: Config,
    agent: Agent | None = None,
    deadline_at: datetime | None = None,
    **about: Any,
) -> Batch:
    """Store a batch without jobs; `fill` gives it some, in the same transaction.

    `about` holds further fields, such as those of an experiment.
    """
    batch = drafted(
        user_id=user_id,
        endpoint=endpoint,
        config=config,
        agent=agent,
        deadline_at=deadline_at,
        **about,
    )
    batch.save(force_insert=True)
    return batch


def drafted(
    *,
    user_id: uuid.UUID,
    endpoint: ModelEndpoint,
    config: Config,
    agent: Agent | None = None,
    **about: Any,
) -> Batch:
    """Return the batch that would be stored."""
    batch = Batch(
        project_id=endpoint.project_id,
        user_id=user_id,
        name=config.name,
        endpoint=endpoint,
        model_name=endpoint.name,
        concurrency=config.concurrency,
        repeats=config.repeats,
        timeout_ms=config.timeout_ms,
        delay_ms=config.delay_ms,
        max_cost=config.max_cost,
        parameters=config.parameters,
        tags=list(config.tags),
        **about,
    )
    if agent is not None:
        appoint(batch, agent)
    return batch


def appoint(batch: Batch, agent: Agent) -> None:
    """Let the agent answer, as it is now; the batch's own parameters win over the agent's."""
    batch.agent = agent
    batch.agent_name = agent.name
    batch.instructions = agent.primary_instructions
    batch.assertions = agent.assertions
    batch.parameters = agent.parameters | batch.parameters


def fill(
    batch: Batch,
    config: Config,
    *,
    suite: TestSuite | None = None,
    documents: Sequence[Document] = (),
    first: int | None = None,
    now: datetime,
) -> None:
    """Give a batch its jobs and wake those who work on it, or fetch its documents first.

    Raises:
        Invalid: as `create`.
    """
    documents = documents[:first]
    items = len(documents) if suite is None else min(suite.case_count, first or suite.case_count)
    if suite is not None and not items:
        raise Invalid.field(
            "test_suite_id", f"The suite '{suite.name}' has no cases. Add some and run it again."
        )
    if not items:
        raise Invalid.field("document_ids", "There is no document to ask about. Add some first.")
    if items * batch.repeats > MAX_JOBS:
        raise Invalid.field("repeats", f"A batch makes at most {MAX_JOBS:,} calls.")
    if suite is not None:
        batch.suite, batch.suite_name = suite, suite.name
        batch.suite_version, batch.suite_hash = suite.version, suite.content_hash
    batch.total = items * batch.repeats
    batch.waiting_documents = sum(one.status in DOCUMENT_OPEN for one in documents)
    asked = graders.find(batch, items, config.judge_model_id, config.embedding_model_id)
    batch.graders = [grader.as_json() for grader in asked]
    if batch.max_cost is not None:
        total = documents_.characters(documents) if suite is None else 0
        length = total / items if suite is None else expectations.mean_characters(suite)
        batch.expected_call_cost = expectations.call_cost(batch, length, asked, items, now)
    batch.save()
    if suite is not None:
        jobs.of_cases(batch, items)
    else:
        jobs.of_documents(batch, documents)
    if batch.waiting_documents:
        hint(documents_.FETCH)
    else:
        wake(batch, now)


def wake(batch: Batch, now: datetime) -> None:
    """Hint as many workers as the batch's concurrency needs."""
    Batch.objects.filter(pk=batch.pk).update(hinted_at=now)
    hint(WORK, batch.pk, times=-(-batch.concurrency // CALLS_PER_WORKER))


def cancel(batch: Batch, *, now: datetime, reason: str = "Cancelled.") -> bool:
    """Stop the batch; calls in flight are dropped. Return False when it had ended already."""
    with transaction.atomic():
        return finish(rows.locked(batch), BatchStatus.CANCELLED, now=now, error_message=reason)


def delete(actor: Actor, batch: Batch, *, now: datetime) -> None:
    """Delete a batch that has ended, with its results; one of an experiment leaves a tombstone.

    Raises:
        Conflict: it is under way, others of its experiment may ask about its documents, or a
            schedule's runs are to be compared with it.
    """
    with transaction.atomic():
        batch = rows.locked(batch)
        if batch.status in BATCH_OPEN:
            raise Conflict("This batch is under way. Cancel it first.")
        users.refuse_if_baseline([batch])
        audit.record(actor, "batch.deleted", batch)
        if batch.is_ephemeral:
            _refuse_in_use(batch)
        if batch.tracking_id:
            cleanup.bury([batch.pk], now)
        else:
            batch.delete()


def _refuse_in_flight(batch: Batch) -> None:
    if Job.objects.filter(batch=batch, status=JobStatus.RUNNING).exists():
        raise Conflict("Its last calls are still in flight. Try again in a moment.")


def _refuse_in_use(batch: Batch) -> None:
    _refuse_in_flight(batch)
    cleanup.lock_documents([batch.pk])
    same = Batch.objects.filter(project_id=batch.project_id, tracking_id=batch.tracking_id)
    if same.open().exists():
        raise Conflict(
            "Another batch of this experiment is under way and may ask about this one's documents. "
            "Cancel it first, or wait until it has ended."
        )


def resume(batch: Batch, *, now: datetime) -> Batch:
    """Run what is missing or met an error of the endpoint; what has an outcome stays.

    Raises:
        Conflict: it is under way, nothing is missing, or its suite or endpoint is gone.
    """
    with transaction.atomic():
        batch = rows.locked(batch)
        if batch.status in BATCH_OPEN:
            raise Conflict("This batch is under way; there is nothing to resume.")
        if batch.endpoint_id is None or (batch.suite_name and batch.suite_id is None):
            raise Conflict("The suite or the model endpoint of this batch was deleted.")
        jobs = Job.objects.filter(batch=batch)
        errors = jobs.filter(outcome=JobOutcome.ERROR)
        missing = jobs.filter(status__in=[JobStatus.NOT_RUN, JobStatus.CANCELLED])
        tokens = errors.aggregate(input=Sum("input_tokens"), output=Sum("output_tokens"))
        again = errors.move(
            JobStatus.PENDING, outcome=None, finished_at=None, lost_workers=0, **_EMPTY
        )
        if not again + missing.move(JobStatus.PENDING):
            _refuse_in_flight(batch)
            raise Conflict("Every case of this batch has its result; there is nothing to resume.")
        Batch.objects.filter(pk=batch.pk).move(
            BatchStatus.PENDING,
            completed_at=None,
            started_at=None,
            p95_latency_ms=None,
            error_class="",
            error_message="",
            deadline_at=None,
            consecutive_infra=0,
            consecutive_unjudged=0,
            done=batch.done - again,
            errors=batch.errors - again,
            input_tokens=batch.input_tokens - (tokens["input"] or 0),
            output_tokens=batch.output_tokens - (tokens["output"] or 0),
            waiting_documents=documents_.fetch_again(batch),
        )
        batch.refresh_from_db()
        if not batch.waiting_documents:
            wake(batch, now)
    return batch


_EMPTY: dict[str, Any] = {
    "output": "",
    "score": None,
    "assertions": [],
    "error_class": "",
    "error_message": "",
}


def finish(
    batch: Batch,
    status: BatchStatus,
    *,
    now: datetime,
    error_class: str = "",
    error_message: str = "",
) -> bool:
    """Bring the batch to its end, once; its waiting jobs end with it.

    The caller holds a lock of the batch's row, so the counters are those of this moment. The
    signal goes out after the commit.
    """
    moved = Batch.objects.filter(pk=batch.pk).move(
        status,
        completed_at=now,
        error_class=error_class,
        error_message=error_message,
        p95_latency_ms=_p95_latency_ms(batch),
    )
    if not moved:
        return False
    waiting = Job.objects.filter(batch=batch, status=JobStatus.PENDING)
    waiting.move(JobStatus.CANCELLED if status == BatchStatus.CANCELLED else JobStatus.NOT_RUN)
    announcements.ended(batch, status, error_message, now=now)
    transaction.on_commit(lambda: tell(batch.pk), robust=True)
    return True


def tell(batch_id: uuid.UUID) -> None:
    signals.batch_finished.send_robust(sender=Batch, batch_id=batch_id)


def _p95_latency_ms(batch: Batch) -> float | None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY latency_ms)"
            " FROM batches_job WHERE batch_id = %s AND latency_ms IS NOT NULL",
            [batch.pk],
        )
        p95: float | None = cursor.fetchone()[0]
    return p95
