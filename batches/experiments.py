"""Experiments: batches that are grouped by a tracking id, and end with everything they own.

An ephemeral batch brings an agent and documents of its own along. When it has expired and has no
unfinished job, cleaning up deletes all of it and leaves a tombstone.
"""

import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.contrib.postgres.aggregates import ArrayAgg, BoolAnd, BoolOr
from django.db import connection, transaction
from django.db.models import Case, Count, Exists, Max, Min, OuterRef, Q, QuerySet, Sum, Value, When

from access import audit
from access.actors import Actor
from access.errors import Conflict, Invalid, NotFound
from batches import agents, batches, cleanup, documents, tracking_ids, users
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
    Tombstone,
)

logger = structlog.get_logger(__name__)

MAX_DAYS = 365
STATUSES = ("running", "completed", "cancelled", "failed")
# One experiment of a user, and one batch of an experiment, is made at a time.
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
            _make_one_at_a_time(actor, plan)
            _refuse_one_more(endpoint.project_id, actor.user.pk, plan, now)
            _refuse_more_documents(endpoint.project_id, plan, asked[:target_count])
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


def check(
    project_id: uuid.UUID,
    user_id: uuid.UUID,
    plan: Plan,
    suite: TestSuite | None,
    asked: Sequence[Document],
    *,
    now: datetime,
) -> None:
    """Refuse what `create` would refuse of a plan before it makes anything.

    Raises:
        Invalid: a cap is reached, or two parts do not go together.
    """
    _check(plan, suite)
    if plan.is_ephemeral:
        _refuse_one_more(project_id, user_id, plan, now)
        _refuse_more_documents(project_id, plan, asked)


def has_batch(*conditions: Q, **fields: Any) -> Exists:
    """Whether the experiment of a row has a batch like that. It narrows sums to no part of one."""
    same = {"project": OuterRef("project"), "tracking_id": OuterRef("tracking_id")}
    return Exists(Batch.objects.filter(*conditions, **same, **fields))


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
        Conflict: one is under way and `cancel` is not set, or a schedule's baseline.
    """
    with transaction.atomic():
        found = list(
            _of(actor.project.pk, tracking_id).select_for_update(no_key=True).order_by("pk")
        )
        if not found:
            raise missing(actor.project.pk, tracking_id)
        under_way = [batch for batch in found if batch.status in BATCH_OPEN]
        if under_way and not cancel:
            raise Conflict("This experiment is under way. Cancel it first, or send ?cancel=true.")
        users.refuse_if_baseline(found)
        ids = [batch.pk for batch in found]
        if not cancel and Job.objects.filter(batch__in=ids, status__in=JOB_OPEN).exists():
            raise Conflict("Its last calls are still in flight. Try again in a moment.")
        for batch in under_way:
            batches.cancel(batch, now=now, reason="The experiment was deleted.")
        details = {"tracking_id": tracking_id, "batches": len(found)}
        audit.record(actor, "experiment.deleted", found[0], details)
        cleanup.lock_documents(ids)
        if _of(actor.project.pk, tracking_id).exclude(pk__in=ids).exists():
            raise Conflict("A batch was added to this experiment at this very moment. Try again.")
        cleanup.bury(ids, now)
    return len(found)


def missing(project_id: uuid.UUID, tracking_id: str) -> NotFound:
    """Return the refusal for a tracking id without a batch, which says what became of it."""
    buried = Tombstone.objects.filter(project_id=project_id, tracking_id=tracking_id)
    if last := buried.order_by("created_at").last():
        return NotFound(f"This experiment was cleaned up, {last.created_at:%Y-%m-%d %H:%M} UTC.")
    return NotFound("There is no experiment of this tracking id in this project.")


def _of(project_id: uuid.UUID, tracking_id: str) -> Any:
    return Batch.objects.filter(project_id=project_id, tracking_id=tracking_id)


def _check(plan: Plan, suite: TestSuite | None) -> None:
    if plan.tracking_id and not tracking_ids.acceptable(plan.tracking_id):
        raise Invalid.field("tracking_id", tracking_ids.COMPLAINT)
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


def _make_one_at_a_time(actor: Actor, plan: Plan) -> None:
    """Let two at once not pass a cap together."""
    wanted = [str(actor.user.pk)]
    if plan.tracking_id:
        wanted.append(f"{actor.project.pk}/{plan.tracking_id}")
    with connection.cursor() as cursor:
        for what in wanted:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [_CAP_LOCK, what])


def _refuse_one_more(project_id: uuid.UUID, user_id: uuid.UUID, plan: Plan, now: datetime) -> None:
    """Refuse another experiment of the user; a further batch of one that lives is none."""
    most = settings.EVALSCHED_EXPERIMENT_MAX_PER_USER
    # The API sees no other project.
    live = Batch.objects.filter(project=project_id, is_ephemeral=True, expires_at__gt=now)
    if plan.tracking_id and live.filter(tracking_id=plan.tracking_id).exists():
        return
    if live.filter(user=user_id).values("tracking_id").distinct().count() >= most:
        raise Invalid.field(
            "is_ephemeral",
            f"You have {most} experiments, the most a user may have in a project "
            "(EVALSCHED_EXPERIMENT_MAX_PER_USER). Delete one, or wait until one expires.",
        )


def _refuse_more_documents(project_id: uuid.UUID, plan: Plan, asked: Sequence[Document]) -> None:
    """Count what is brought along or asked about, in all batches of the experiment."""
    most, count = settings.EVALSCHED_EXPERIMENT_MAX_DOCUMENTS, len(plan.documents)
    if asked or plan.documents:
        known: dict[str, Any] = {
            "project": project_id,
            "tracking_id": plan.tracking_id,
            "asked": [document.pk for document in asked],
        }
        with connection.cursor() as cursor:
            cursor.execute(_DOCUMENTS, known)
            count += cursor.fetchone()[0]
    if count > most:
        raise Invalid.field(
            "ephemeral_documents" if plan.documents else "document_ids",
            f"An experiment has at most {most} documents (EVALSCHED_EXPERIMENT_MAX_DOCUMENTS), "
            f"those of its other batches included; these would be {count}.",
        )


_DOCUMENTS = """
    WITH others AS (
        SELECT id FROM batches_batch
        WHERE project_id = %(project)s AND tracking_id = %(tracking_id)s AND tracking_id <> ''
    )
    SELECT count(*) FROM (
        SELECT d.id FROM batches_document d JOIN others ON others.id = d.ephemeral_batch_id
        UNION SELECT j.document_id FROM batches_job j JOIN others ON others.id = j.batch_id
            WHERE j.document_id IS NOT NULL
        UNION SELECT unnest(%(asked)s::uuid[])
    ) AS known
"""


def _new_tracking_id(now: datetime) -> str:
    return f"exp-{now:%Y%m%d}-{secrets.token_hex(4)}"
