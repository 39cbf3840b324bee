"""Experiments: batches that are grouped by a tracking id, and end with everything they own.

An ephemeral batch brings an agent and documents of its own along. When it has expired and has no
unfinished job, cleaning up deletes all of it and leaves a tombstone.
"""

import re
import secrets
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any

import structlog
from django.conf import settings
from django.contrib.postgres.aggregates import ArrayAgg, BoolAnd, BoolOr
from django.db import OperationalError, connection, transaction
from django.db.models import Case, Count, Exists, Max, Min, OuterRef, Q, QuerySet, Sum, Value, When
from psycopg.errors import DeadlockDetected as Deadlock
from psycopg.errors import LockNotAvailable

from access import audit
from access.actors import Actor
from access.errors import Conflict, Invalid, NotFound
from batches import agents, batches, documents
from batches.batches import Config
from batches.documents import Draft
from batches.models import (
    BATCH_OPEN,
    JOB_OPEN,
    Agent,
    Batch,
    BatchStatus,
    Document,
    Job,
    ModelEndpoint,
    TestSuite,
)

logger = structlog.get_logger(__name__)

MAX_DAYS = 365
STATUSES = ("running", "completed", "cancelled", "failed")
# Deleted in one transaction, which takes a few hundred milliseconds: so many batches at most, and
# no further one where they made more calls than that.
CHUNK, CHUNK_CALLS = 100, 10_000
_TRACKING_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# One experiment of a user is made at a time, so that two at once cannot pass the cap together.
_CAP_LOCK = 7_301_002


@dataclass(frozen=True)
class Plan:
    """What an experiment is beside its batch. `agent` holds the fields of one of its own."""

    tracking_id: str = ""
    description: str = ""
    is_ephemeral: bool = False
    expires_in_days: int | None = None
    agent: Mapping[str, Any] | None = None
    documents: Sequence[Draft] = ()


def create(
    actor: Actor,
    plan: Plan,
    *,
    endpoint: ModelEndpoint,
    config: Config,
    now: datetime,
    agent: Agent | None = None,
    suite: TestSuite | None = None,
    asked: Sequence[Document] = (),
    target_count: int | None = None,
    deadline_at: datetime | None = None,
) -> Batch:
    """Make an experiment's batch with all it brings along, or nothing.

    Raises:
        Invalid: a cap is reached, or a part breaks a rule.
    """
    _check(plan, suite)
    expires_at = None
    if plan.is_ephemeral:
        days = plan.expires_in_days or settings.EVALSCHED_EXPERIMENT_DEFAULT_DAYS
        expires_at = now + timedelta(days=days)
    with transaction.atomic():
        if plan.is_ephemeral:
            _refuse_over_cap(actor, now)
        batch = batches.prepare(
            user_id=actor.user.pk,
            endpoint=endpoint,
            agent=agent,
            config=config,
            deadline_at=deadline_at,
            tracking_id=plan.tracking_id or _new_tracking_id(now),
            description=plan.description,
            is_ephemeral=plan.is_ephemeral,
            expires_at=expires_at,
        )
        if plan.agent is not None:
            fields = {"endpoint": endpoint, **plan.agent}
            batches.appoint(batch, agents.create_ephemeral(batch, **fields))
            batch.endpoint, batch.model_name = batch.agent.endpoint, batch.agent.endpoint.name
        if plan.documents:
            asked = [*asked, *documents.create_ephemeral(batch, plan.documents)]
        batches.fill(batch, config, suite=suite, documents=asked, first=target_count, now=now)
        audit.record(actor, "experiment.started", batch, {"tracking_id": batch.tracking_id})
    return batch


def summed(rows: QuerySet[Batch]) -> Any:
    """Return one row (a dictionary) per experiment among `rows`, its batches taken together.

    Its status is `running` while a batch is under way, else `failed` where one did not complete.
    """
    return (
        rows.exclude(tracking_id="")
        .values("tracking_id")
        .annotate(
            created_at=Min("created_at"),
            expires_at=Max("expires_at"),
            is_ephemeral=BoolOr("is_ephemeral"),
            description=Max("description"),
            users=ArrayAgg("user_id", order_by="pk"),
            batches=Count("pk"),
            status=Case(
                When(BoolOr(Q(status__in=BATCH_OPEN)), then=Value("running")),
                When(BoolAnd(Q(status=BatchStatus.COMPLETED)), then=Value("completed")),
                When(BoolAnd(Q(status=BatchStatus.CANCELLED)), then=Value("cancelled")),
                default=Value("failed"),
            ),
            total=Sum("total"),
            done=Sum("done"),
            passed=Sum("passed"),
            failed=Sum("failed"),
            errors=Sum("errors"),
            unscored=Sum("unscored"),
            total_cost=Sum("total_cost"),
        )
        .order_by("-created_at")
    )


def firsts(rows: QuerySet[Any]) -> QuerySet[Any]:
    """Return the first batch of each experiment among `rows`, in whatever project."""
    earlier = Batch.objects.filter(
        project=OuterRef("project"), tracking_id=OuterRef("tracking_id"), pk__lt=OuterRef("pk")
    )
    return rows.exclude(tracking_id="").filter(~Exists(earlier))


def cancel(actor: Actor, tracking_id: str, *, now: datetime, reason: str) -> int:
    """Stop the experiment's batches that are under way, and return how many were."""
    with transaction.atomic():
        under_way = _of(actor.project.pk, tracking_id).filter(status__in=BATCH_OPEN)
        stopped = [
            batch
            for batch in under_way.order_by("pk")
            if batches.cancel(batch, now=now, reason=reason)
        ]
        for batch in stopped:
            audit.record(actor, "batch.cancelled", batch)
    return len(stopped)


def extend(actor: Actor, tracking_id: str, *, days: int, now: datetime) -> int:
    """Let the experiment's batches expire `days` from now, and return how many they are.

    Raises:
        NotFound: there is no ephemeral batch of that tracking id.
    """
    expires_at = now + timedelta(days=days)
    with transaction.atomic():
        live = _of(actor.project.pk, tracking_id).filter(is_ephemeral=True)
        extended: int = live.update(expires_at=expires_at, updated_at=now)
        if not extended:
            raise NotFound("There is no experiment of this tracking id that expires.")
        first = _of(actor.project.pk, tracking_id).order_by("created_at")[0]
        details = {"tracking_id": tracking_id, "expires_at": expires_at.isoformat()}
        audit.record(actor, "experiment.extended", first, details)
    return extended


def delete(actor: Actor, tracking_id: str, *, cancel: bool, now: datetime) -> int:
    """Delete all batches of the experiment with what they own; tombstones remain.

    Raises:
        NotFound: there is none.
        Conflict: one is under way and `cancel` is not set.
    """
    with transaction.atomic():
        found = list(
            _of(actor.project.pk, tracking_id).select_for_update(no_key=True).order_by("pk")
        )
        if not found:
            raise NotFound("There is no experiment of this tracking id in this project.")
        under_way = [batch for batch in found if batch.status in BATCH_OPEN]
        if under_way and not cancel:
            raise Conflict("This experiment is under way. Cancel it first, or send ?cancel=true.")
        ids = [batch.pk for batch in found]
        if not cancel and Job.objects.filter(batch__in=ids, status__in=JOB_OPEN).exists():
            raise Conflict("Its last calls are still in flight. Try again in a moment.")
        for batch in under_way:
            batches.cancel(batch, now=now, reason="The experiment was deleted.")
        details = {"tracking_id": tracking_id, "batches": len(found)}
        audit.record(actor, "experiment.deleted", found[0], details)
        _lock_documents(ids)
        if _of(actor.project.pk, tracking_id).exclude(pk__in=ids).exists():
            raise Conflict("A batch was added to this experiment at this very moment. Try again.")
        _bury(ids, now)
    return len(found)


def expired(now: datetime) -> int:
    """Return how many experiments wait to be cleaned up, those under way included."""
    return Batch.objects.filter(is_ephemeral=True, expires_at__lte=now).count()


def clean_up(now: datetime) -> Iterator[int]:
    """Delete what has expired, oldest first; yield after each chunk how many batches it was.

    One whose experiment has an unfinished job is left for later, and so is a chunk that somebody
    else stands in the way of. Two at once share the work.
    """
    after: _Place | None = None
    while True:
        deleted = 0
        try:
            with transaction.atomic():
                locked = _lock_expired(now, after)
                if not locked:
                    return
                after = locked[-1].expires_at, locked[-1].pk
                gone = _deletable([batch.pk for batch in locked])
                _bury(gone, now)
            deleted = len(gone)
        except OperationalError as error:
            # After a lock was waited for in vain, or two waited for each other, the next chunk may
            # do. Everything else, such as a lost connection, meets that one as well.
            if after is None or not isinstance(error.__cause__, (LockNotAvailable, Deadlock)):
                raise
            logger.warning("experiments left for later", reason=str(error.__cause__))
        yield deleted


# When a batch expired, and its id.
_Place = tuple[datetime | None, uuid.UUID]


def _lock_expired(now: datetime, after: _Place | None) -> list[Batch]:
    waiting = Batch.objects.filter(is_ephemeral=True, expires_at__lte=now)
    if after is not None:
        waiting = waiting.filter(expires_at__gte=after[0]).exclude(
            expires_at=after[0], pk__lte=after[1]
        )
    rows = waiting.select_for_update(skip_locked=True).order_by("expires_at", "pk")
    locked = list(rows.only("pk", "expires_at", "total")[:CHUNK])
    calls = accumulate(batch.total for batch in locked)
    few = sum(made <= CHUNK_CALLS for made in calls)
    return locked[: max(few, 1)]


def _deletable(locked: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    """Return which of the locked batches have ended with all of their experiment, calls included.

    Locked first and looked at then: whoever starts or reruns a job locks its batch, and whoever
    makes one about a document of another batch of the experiment locks the document.
    """
    _lock_documents(locked)
    open_ = Batch.objects.open().exclude(tracking_id="")
    ended = (
        Batch.objects.filter(pk__in=locked)
        .exclude(pk__in=_copied_and_in_use(locked))
        .filter(
            ~Exists(open_.filter(project=OuterRef("project"), tracking_id=OuterRef("tracking_id")))
        )
    )
    # A cancelled batch may have calls in flight. State by state, as the indexes are.
    for status in JOB_OPEN:
        ended = ended.filter(~Exists(Job.objects.filter(batch=OuterRef("pk"), status=status)))
    return list(ended.order_by().values_list("pk", flat=True))


def _copied_and_in_use(locked: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    """Lock the copies that were scored anew; return the originals of those that others hold.

    Deleting an original changes its copies. To wait for whoever holds one, who may wait for the
    original in turn, would be a deadlock.
    """
    copies = Batch.objects.filter(rescored_from__in=locked).order_by()
    free = copies.select_for_update(skip_locked=True, no_key=True)
    mine = set(free.values_list("pk", flat=True))
    originals = copies.values_list("pk", "rescored_from_id")
    return [original for copy, original in originals if copy not in mine]


def _lock_documents(batch_ids: Sequence[uuid.UUID]) -> None:
    """Let nobody ask about the batches' own documents any more until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM (SELECT FROM batches_document WHERE ephemeral_batch_id = ANY(%s)"
            " ORDER BY id FOR UPDATE) AS locked",
            [list(batch_ids)],
        )


def _bury(batch_ids: Sequence[uuid.UUID], now: datetime) -> None:
    """Delete locked batches with all they own, from the leaves up, and leave tombstones."""
    with connection.cursor() as cursor:
        cursor.execute(_BURY_OWNED, {"batches": list(batch_ids), "now": now})
        # Their agents go by the foreign key: deleted before, each would still be taken out of its
        # batch, which is a new version of a row that is about to go.
        cursor.execute("DELETE FROM batches_batch WHERE id = ANY(%s)", [list(batch_ids)])
    if batch_ids:
        logger.info("experiments cleaned up", batches=len(batch_ids))


# What is counted and hashed is what is deleted, read once. The tombstone has the batch's id.
_BURY_OWNED = """
    WITH calls AS (
        DELETE FROM batches_job WHERE batch_id = ANY(%(batches)s)
        RETURNING batch_id, case_hash, ordinal, repeat
    ), hashes AS (
        SELECT batch_id, string_agg(case_hash, '' ORDER BY ordinal, repeat) AS hashes
        FROM calls GROUP BY batch_id
    ), pages AS (
        DELETE FROM batches_document WHERE ephemeral_batch_id = ANY(%(batches)s)
        RETURNING ephemeral_batch_id
    ), counts AS (
        SELECT ephemeral_batch_id, count(*) AS documents FROM pages GROUP BY ephemeral_batch_id
    )
    INSERT INTO batches_tombstone (id, project_id, user_id, created_at, batch_id, name,
        tracking_id, suite_name, suite_hash, model_name, agent_name, status, total, passed, failed,
        errors, unscored, documents, content_hash, avg_score, total_cost, began_at, ended_at,
        expired_at)
    SELECT b.id, b.project_id, b.user_id, %(now)s, b.id, b.name, b.tracking_id, b.suite_name,
        b.suite_hash, b.model_name, b.agent_name, b.status, b.total, b.passed, b.failed, b.errors,
        b.unscored, coalesce(counts.documents, 0),
        encode(sha256(convert_to(coalesce(hashes.hashes, ''), 'UTF8')), 'hex'),
        b.score_sum / nullif(b.weight_sum, 0), b.total_cost, b.created_at,
        coalesce(b.completed_at, %(now)s), b.expires_at
    FROM batches_batch b
    LEFT JOIN hashes ON hashes.batch_id = b.id
    LEFT JOIN counts ON counts.ephemeral_batch_id = b.id
    WHERE b.id = ANY(%(batches)s)
    ON CONFLICT DO NOTHING
"""


def _of(project_id: uuid.UUID, tracking_id: str) -> Any:
    return Batch.objects.filter(project_id=project_id, tracking_id=tracking_id)


def _check(plan: Plan, suite: TestSuite | None) -> None:
    if plan.tracking_id and not _TRACKING_ID.fullmatch(plan.tracking_id):
        raise Invalid.field("tracking_id", "A tracking id is 1 to 64 letters, digits and . _ -.")
    if not plan.is_ephemeral:
        for field, given in (
            ("expires_in_days", plan.expires_in_days),
            ("ephemeral_agent", plan.agent),
            ("ephemeral_documents", plan.documents),
        ):
            if given:
                raise Invalid.field(field, "Only an experiment with is_ephemeral true has this.")
    if suite is not None and plan.documents:
        raise Invalid.field("ephemeral_documents", "A batch asks about a suite or documents.")
    if len(plan.documents) > settings.EVALSCHED_EXPERIMENT_MAX_DOCUMENTS:
        raise Invalid.field(
            "ephemeral_documents",
            f"An experiment has at most {settings.EVALSCHED_EXPERIMENT_MAX_DOCUMENTS} documents "
            f"(EVALSCHED_EXPERIMENT_MAX_DOCUMENTS); these are {len(plan.documents)}.",
        )


def _refuse_over_cap(actor: Actor, now: datetime) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [_CAP_LOCK, str(actor.user.pk)]
        )
    most = settings.EVALSCHED_EXPERIMENT_MAX_PER_USER
    live = Batch.objects.filter(user=actor.user, is_ephemeral=True, expires_at__gt=now)
    if live.values("project_id", "tracking_id").distinct().count() >= most:
        raise Invalid.field(
            "is_ephemeral",
            f"You have {most} experiments, the most a user may have "
            "(EVALSCHED_EXPERIMENT_MAX_PER_USER). Delete one, or wait until one expires.",
        )


def _new_tracking_id(now: datetime) -> str:
    return f"exp-{now:%Y%m%d}-{secrets.token_hex(4)}"
