"""Whether the scheduler lives: how old its last tick is, and what waits for it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Min

from access import heartbeats
from alerts import evaluations
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
    rule_evaluation_lag_seconds: float | None
    oldest_waiting_run_seconds: float | None
    oldest_waiting_batch_seconds: float | None
    oldest_waiting_notification_seconds: float | None
    workers_seen: int
    running_runs: int
    stalled_runs: int


def taken(now: datetime) -> Pulse:
    """Measure it. `stuck` says in words what is wrong, and is empty when nothing is."""
    tick_age, oldest_due = _tick_age(now), _oldest_due(now)
    waiting = Run.objects.filter(status=RunStatus.TRIGGERED)
    idle = Batch.objects.open().filter(running=0)
    late = Notification.objects.filter(status=NotificationStatus.PENDING, not_before__lte=now)
    running = Run.objects.filter(status=RunStatus.RUNNING)
    return Pulse(
        stuck=_stuck(tick_age, oldest_due, now),
        tick_age_seconds=tick_age,
        oldest_due_seconds=oldest_due,
        rule_evaluation_lag_seconds=_age(evaluations.judged_until(), now),
        oldest_waiting_run_seconds=_age(waiting.aggregate(at=Min("triggered_at"))["at"], now),
        oldest_waiting_batch_seconds=_age(idle.aggregate(at=Min("created_at"))["at"], now),
        oldest_waiting_notification_seconds=_age(late.aggregate(at=Min("not_before"))["at"], now),
        workers_seen=heartbeats.seen_since(now - WORKER_GONE, kind="worker"),
        running_runs=running.count(),
        stalled_runs=running.filter(deadline_at__lt=now).count(),
    )


def stuck(now: datetime) -> str:
    """Return in words what keeps the scheduler from its work, an empty string when nothing does."""
    return _stuck(_tick_age(now), _oldest_due(now), now)


def _tick_age(now: datetime) -> float | None:
    last = heartbeats.last(TICK)
    return _age(last.seen_at if last else None, now)


def _oldest_due(now: datetime) -> float | None:
    return _age(schedules.due(now).aggregate(at=Min("next_run_at"))["at"], now)


def _stuck(tick_age: float | None, oldest_due: float | None, now: datetime) -> str:
    if tick_age is None:
        return "No tick has ever run. Start beat and a worker for the queue 'ticks'."
    allowed = max(LATE.total_seconds(), TICKS_MISSED * settings.EVALSCHED_TICK_SECONDS)
    if tick_age > allowed:
        return (
            f"The last tick was {tick_age:.0f} s ago. Are beat and the worker for "
            "the queue 'ticks' running, and do they reach the broker?"
        )
    if oldest_due is not None and oldest_due > allowed:
        return f"A schedule has been due for {oldest_due:.0f} s. See the worker's log for why."
    if projects := evaluations.overdue(now):
        return (
            f"The alert rules of {projects} project{'s' if projects > 1 else ''} have not been "
            "evaluated for three minutes. See the log of the worker for the queue 'ticks' for why."
        )
    return ""


def _age(since: datetime | None, now: datetime) -> float | None:
    return None if since is None else max((now - since).total_seconds(), 0.0)
