"""Whether the scheduler lives: how old its last tick is, and what waits for it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Min

from access import heartbeats
from alerts.models import Notification, NotificationStatus
from batches.models import Batch
from evalsched import schedules
from evalsched.models import Run, RunStatus

TICK = "tick"
# A few ticks may be lost, to a restart of the broker say, before it is worth waking somebody.
TICKS_MISSED = 6
LATE = timedelta(seconds=60)
# Workers renew their sign of life every 15 s.
WORKER_GONE = timedelta(seconds=60)


@dataclass(frozen=True)
class Pulse:
    """All ages in seconds; None where there is nothing of the kind."""

    stuck: str
    tick_age_seconds: float | None
    oldest_due_seconds: float | None
    oldest_waiting_run_seconds: float | None
    oldest_waiting_batch_seconds: float | None
    oldest_waiting_notification_seconds: float | None
    workers_seen: int
    running_runs: int
    stalled_runs: int


def taken(now: datetime) -> Pulse:
    """Measure it. `stuck` says in words what is wrong, and is empty when nothing is."""
    last_tick = heartbeats.last(TICK)
    tick_age = max(now - last_tick.seen_at, timedelta(0)) if last_tick else None
    due = schedules.due(now)
    oldest_due = _age(due.aggregate(at=Min("next_run_at"))["at"], now)
    waiting = Run.objects.filter(status=RunStatus.TRIGGERED)
    idle = Batch.objects.open().filter(running=0)
    late = Notification.objects.filter(status=NotificationStatus.PENDING, not_before__lte=now)
    running = Run.objects.filter(status=RunStatus.RUNNING)
    return Pulse(
        stuck=_stuck(tick_age, oldest_due),
        tick_age_seconds=None if tick_age is None else tick_age.total_seconds(),
        oldest_due_seconds=oldest_due,
        oldest_waiting_run_seconds=_age(waiting.aggregate(at=Min("triggered_at"))["at"], now),
        oldest_waiting_batch_seconds=_age(idle.aggregate(at=Min("created_at"))["at"], now),
        oldest_waiting_notification_seconds=_age(late.aggregate(at=Min("not_before"))["at"], now),
        workers_seen=heartbeats.seen_since(now - WORKER_GONE, kind="worker"),
        running_runs=running.count(),
        stalled_runs=running.filter(deadline_at__lt=now).count(),
    )


def _stuck(tick_age: timedelta | None, oldest_due: float | None) -> str:
    if tick_age is None:
        return "No tick has ever run. Start beat and a worker for the queue 'ticks'."
    allowed = max(LATE, TICKS_MISSED * timedelta(seconds=settings.EVALSCHED_TICK_SECONDS))
    if tick_age > allowed:
        return (
            f"The last tick was {tick_age.total_seconds():.0f} s ago. Are beat and the worker for "
            "the queue 'ticks' running, and do they reach the broker?"
        )
    if oldest_due is not None and oldest_due > allowed.total_seconds():
        return f"A schedule has been due for {oldest_due:.0f} s. See the worker's log for why."
    return ""


def _age(since: datetime | None, now: datetime) -> float | None:
    return None if since is None else max((now - since).total_seconds(), 0.0)
