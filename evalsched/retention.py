"""What is too old to be kept: finished runs, batches with their results, and notifications.

What other runs are compared with stays: a chosen baseline, and the last good run of a schedule.
"""

from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from alerts.models import NOTIFICATION_OPEN, Event, Notification
from batches.models import BATCH_FINISHED, Batch
from evalsched import baselines
from evalsched.models import RUN_FINISHED, Run, Schedule

logger = structlog.get_logger(__name__)

# Each chunk is a transaction of its own. A batch may have 200,000 results.
_RUNS = 500
_BATCHES = 20
_EVENTS = 500


def forget_old(now: datetime) -> None:
    """Delete what is older than the settings say, oldest first. Two at once do no harm."""
    results = now - timedelta(days=settings.EVALSCHED_RESULT_RETENTION_DAYS)
    told = now - timedelta(days=settings.EVALSCHED_EVALUATION_RETENTION_DAYS)
    forgotten = {
        "runs": _delete(_old_runs(results), _RUNS),
        "batches": _delete(_old_batches(results), _BATCHES),
        "events": _delete(_old_events(told), _EVENTS),
    }
    if any(forgotten.values()):
        logger.info("old rows deleted", **forgotten)


def _old_runs(before: datetime) -> QuerySet[Run]:
    runs = Run.objects.alias(telling=baselines.TELLING)
    good = baselines.GOOD & Q(batch__suite=F("schedule__suite"))
    better = Q(telling__gt=OuterRef("telling")) | Q(
        telling=OuterRef("telling"), completed_at__gt=OuterRef("completed_at")
    )
    others = runs.filter(good, better, schedule=OuterRef("schedule"))
    chosen = Schedule.objects.filter(baseline=OuterRef("pk"))
    last_good = Q(Exists(runs.filter(good, pk=OuterRef("pk")))) & ~Exists(others)
    old = runs.filter(status__in=RUN_FINISHED, completed_at__lt=before)
    return old.exclude(Q(Exists(chosen)) | last_good).order_by("completed_at")


def _old_batches(before: datetime) -> QuerySet[Batch]:
    """Those of no run: a run that is kept keeps its results.

    What expires by itself has its own time, and leaves a tombstone when that has come.
    """
    old = Batch.objects.filter(
        status__in=BATCH_FINISHED, completed_at__lt=before, is_ephemeral=False
    )
    return old.exclude(Exists(Run.objects.filter(batch=OuterRef("pk")))).order_by("completed_at")


def _old_events(before: datetime) -> QuerySet[Event]:
    """Those of which nobody is still to hear."""
    waiting = Notification.objects.filter(event=OuterRef("pk"), status__in=NOTIFICATION_OPEN)
    return Event.objects.filter(~Exists(waiting), occurred_at__lt=before).order_by("occurred_at")


def _delete(rows: QuerySet[Any], at_once: int) -> int:
    """Delete chunk by chunk, each in a transaction of its own, what nobody else has locked."""
    deleted = 0
    while True:
        with transaction.atomic():
            found = rows.select_for_update(skip_locked=True, of=("self",))
            keys = list(found.values_list("pk", flat=True)[:at_once])
            if not keys:
                return deleted
            # The database deletes what hangs on them.
            rows.model._default_manager.filter(pk__in=keys).delete()
        deleted += len(keys)
