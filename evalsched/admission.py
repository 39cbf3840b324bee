"""Which of the waiting runs may start: oldest nominal time first, up to the cluster's caps."""

import uuid
from collections.abc import Collection
from datetime import datetime

import structlog
from django.conf import settings
from django.core.exceptions import ObjectDoesNotExist
from django.db import DatabaseError, connection, transaction
from django.db.models import Q

from evalsched import runs
from evalsched.models import (
    ONE_BY_ONE,
    OverlapPolicy,
    Run,
    RunStatus,
    RunTrigger,
    ScheduleKind,
)

logger = structlog.get_logger(__name__)
# One admission at a time over the cluster: two that count at once would let a fourth run in.
_ADMISSION_LOCK = 7_301_001
_AT_ONCE = 100


def start_queued(now: datetime) -> int:
    """Give waiting runs their batches, oldest nominal time first, up to the cluster's caps.

    Evaluations and model runs have a cap each. Backfills come after everything else. Of one
    schedule only one scheduled or backfilled run is running at a time, unless its overlap policy is
    `allow`: the next one waits here for its turn.
    """
    if not Run.objects.filter(status=RunStatus.TRIGGERED).exists():
        return 0
    caps = {
        ScheduleKind.EVALUATION: settings.EVALSCHED_MAX_CONCURRENT_RUNS,
        ScheduleKind.MODEL_RUN: settings.EVALSCHED_MAX_CONCURRENT_MODEL_RUNS,
    }
    with transaction.atomic():
        if not _admission_is_ours():
            return 0
        return sum(_admit(kind, cap, now) for kind, cap in caps.items())


def _admission_is_ours() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_ADMISSION_LOCK])
        return bool(cursor.fetchone()[0])


def _admit(kind: ScheduleKind, cap: int, now: datetime) -> int:
    taken = Run.objects.taking_places().filter(schedule__kind=kind)
    running = list(taken.values_list("schedule_id", "trigger"))
    room = cap - len(running)
    busy = {schedule_id for schedule_id, trigger in running if trigger in ONE_BY_ONE}
    looked_at: list[uuid.UUID] = []
    started = 0
    # Failing to start takes no place, so more may be looked at than there is room for.
    while len(looked_at) < _AT_ONCE and (run := _next_waiting(kind, busy, looked_at)):
        if started >= room:
            logger.info("at capacity", kind=kind.value, running=len(running) + started, cap=cap)
            break
        looked_at.append(run.pk)
        if _start_safely(run, now):
            started += 1
            busy |= {run.schedule_id} if run.trigger in ONE_BY_ONE else set()
    return started


def _next_waiting(
    kind: ScheduleKind, busy: Collection[uuid.UUID], looked_at: Collection[uuid.UUID]
) -> Run | None:
    """Return the run whose turn it is; `busy` are the schedules that have one running."""
    queues = Q(trigger__in=ONE_BY_ONE, schedule__in=busy)
    waiting = (
        Run.objects.filter(status=RunStatus.TRIGGERED, schedule__kind=kind)
        .exclude(pk__in=looked_at)
        .exclude(queues & ~Q(schedule__overlap_policy=OverlapPolicy.ALLOW))
        .select_related("schedule")
        .order_by("scheduled_for", "pk")
    )
    first = waiting.exclude(trigger=RunTrigger.BACKFILL).first()
    return first or waiting.filter(trigger=RunTrigger.BACKFILL).first()


def _start_safely(run: Run, now: datetime) -> bool:
    """Start a run; what goes wrong with it is logged and does not stop the others."""
    try:
        with transaction.atomic():
            return runs.start(run, now=now)
    except (DatabaseError, ObjectDoesNotExist) as error:
        logger.warning("run not started", run=str(run.pk), error=repr(error))
        return False
