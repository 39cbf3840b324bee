"""What must be 0 when all is well, counted in the database."""

from datetime import datetime, timedelta

import structlog
from django.db import connection
from django.db.models import Count, Exists, F, OuterRef, Q

from access import heartbeats
from alerts import evaluations
from alerts.models import Notification, NotificationStatus
from batches.models import JOB_OPEN, Batch, BatchStatus, Job, JobStatus
from evalsched import schedules
from evalsched.models import Run, RunStatus

logger = structlog.get_logger(__name__)
SCAN = "invariants"
_MINUTE = timedelta(minutes=1)
_RECENT = timedelta(hours=1)


def scan(now: datetime) -> None:
    """Count once a minute, keep the counts for whoever asks, and log what is broken."""
    last = heartbeats.last(SCAN)
    if last is not None and now - last.seen_at < _MINUTE:
        return
    counts = broken(now)
    heartbeats.note(SCAN, now=now, found=counts)
    if any(counts.values()):
        logger.error("invariants broken", **{name: n for name, n in counts.items() if n})


def last_counts() -> dict[str, int]:
    """Return what the last scan counted; empty before the first one."""
    last = heartbeats.last(SCAN)
    return last.found if last else {}


def broken(now: datetime) -> dict[str, int]:
    """Return how often each invariant is broken; a name without trouble counts 0."""
    return {
        "schedules_due_over_60_s": schedules.due(now - _MINUTE).count(),
        "leases_expired_over_60_s": Job.objects.filter(
            status=JobStatus.RUNNING, lease_expires_at__lt=now - _MINUTE
        ).count(),
        "batches_open_without_open_job_over_30_s": _open_without_jobs(now),
        "batches_completed_with_missing_results": _incomplete(now),
        "runs_past_their_deadline_over_60_s": Run.objects.filter(
            status=RunStatus.RUNNING, deadline_at__lt=now - _MINUTE
        ).count(),
        "projects_not_evaluated_over_3_min": evaluations.overdue(now),
        "notifications_late_over_5_min": Notification.objects.filter(
            status=NotificationStatus.PENDING, not_before__lt=now - 5 * _MINUTE
        ).count(),
    }


def _open_without_jobs(now: datetime) -> int:
    open_jobs = Job.objects.filter(batch=OuterRef("pk"), status__in=JOB_OPEN)
    old = Batch.objects.open().filter(updated_at__lt=now - timedelta(seconds=30))
    return old.exclude(Exists(open_jobs)).count()


def _incomplete(now: datetime) -> int:
    """Look at the batches of the last hour: older ones were looked at before."""
    recent = Batch.objects.filter(
        status=BatchStatus.COMPLETED, completed_at__gt=now - _RECENT
    ).annotate(written=Count("jobs", filter=Q(jobs__status=JobStatus.DONE)))
    return recent.exclude(written=F("total")).count()


def table_bytes() -> dict[str, int]:
    """Return the size of our tables with their indexes, those by day as one."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT coalesce(whole.relname, part.relname),
                sum(pg_total_relation_size(part.oid))::bigint
            FROM pg_class part
            LEFT JOIN pg_inherits ON inhrelid = part.oid
            LEFT JOIN pg_class whole ON whole.oid = inhparent
            WHERE part.relkind = 'r' AND part.relnamespace = 'public'::regnamespace
                AND part.relname ~ '^(access|alerts|batches|evalsched)_'
            GROUP BY 1
            """
        )
        return dict(cursor.fetchall())
